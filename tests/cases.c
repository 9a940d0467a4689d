/* cases.c - deriving and naming the cases of cases.h. */
#include "cases.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* ---- names ------------------------------------------------------------------------------------ */

static const char *const layout_names[LAYOUT_COUNT] = {"default",  "bshd",    "bhsd", "sbhd",   "padded", "padded8",
                                                       "padded32", "shifted", "dim2", "dmajor", "same_b", "same_s",
                                                       "same_h"};
static const char *const page_names[PAGES_COUNT] = {"default", "nhd", "hnd", "dmajor", "blocked"};
static const char *const fill_names[FILL_COUNT] = {"random", "outlier", "huge",  "equal", "onehot",
                                                   "rising", "falling", "nan_q", "nan_k", "nan_v",
                                                   "nan_kv", "inf_k",   "inf_v", "nan_zero"};
static const char *const type_names[] = {[ATTN_F32] = "f32",   [ATTN_F16] = "f16",   [ATTN_BF16] = "bf16",
                                         [ATTN_E4M3] = "e4m3", [ATTN_E5M2] = "e5m2", [ATTN_INT8] = "int8",
                                         [ATTN_INT4] = "int4"};
static const char *const scales_names[] = {"none", "tensor", "head", "token"};

typedef struct writer {
    char *text;
    size_t size, used;
} writer;

static void __attribute__((format(printf, 2, 3))) put(writer *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(w->text + w->used, w->size - w->used, fmt, args);
    va_end(args);
    w->used += n > 0 ? (size_t)n : 0;
    if (w->used >= w->size)
        w->used = w->size - 1;
}

static void put_same(writer *w, int same)
{
    if (same)
        put(w, ":same%s%s%s", same & SAME_BATCH ? "b" : "", same & SAME_HEAD ? "h" : "", same & SAME_QUERY ? "q" : "");
}

static void put_number(writer *w, const char *name, int value)
{
    if (value)
        put(w, " %s%d", name, value);
}

static void put_layouts(writer *w, const test_case *c)
{
    const int layouts[] = {c->q_layout, c->k_layout, c->v_layout, c->o_layout};
    for (int n = 0; n < 4; n++)
        if (layouts[n])
            put(w, " %c:%s", "qkvo"[n], layout_names[layouts[n]]);
}

void case_name(const test_case *c, char *text, size_t size)
{
    writer w = {text, size, 0};
    put(&w, "b%d h%d/%d d%d", c->batch, c->heads_q, c->heads_k, c->dim);
    if (c->dim_v != c->dim)
        put(&w, "/%d", c->dim_v);
    put(&w, " q%d k%d", c->seq_q, c->seq_k);
    if (c->causal)
        put(&w, c->causal == ATTN_CAUSAL_TOP_LEFT ? " top_left" : " causal");
    if (c->window)
        put(&w, " window%d:%d", c->left, c->right);
    put_number(&w, "chunk", c->chunk);
    put_number(&w, "sink_tokens", c->sink_tokens);
    put_number(&w, "sink_logits", c->sink_logits);
    if (c->softcap != 0)
        put(&w, " softcap%g", (double)c->softcap);
    if (c->scale != 0)
        put(&w, " scale%g", (double)c->scale);
    put_number(&w, "alibi", c->alibi);
    if (c->bias) {
        put(&w, " bias:%s%s", type_names[c->bias], c->bias_hides ? ":-inf" : "");
        put_same(&w, c->bias_same);
    }
    if (c->mask) {
        put(&w, c->mask == ATTN_BIT ? " bits" : " bools");
        put_same(&w, c->mask_same);
    }
    if (c->varlen)
        put(&w, " varlen%s%s%s%s", c->varlen & VARLEN_CU_Q ? ":cu_q" : "", c->varlen & VARLEN_CU_K ? ":cu_k" : "",
            c->varlen & VARLEN_USED_Q ? ":used_q" : "", c->varlen & VARLEN_USED_K ? ":used_k" : "");
    if (c->paged)
        put(&w, " %s%d:%s", c->paged == PAGED_CSR ? "csr" : "pages", c->page_size, page_names[c->pages]);
    put_layouts(&w, c);
    if (c->v_in_k)
        put(&w, " v_in_k");
    if (c->kv_dtype > ATTN_BF16)
        put(&w, " kv:%s", type_names[c->kv_dtype]);
    if (c->scales) {
        put(&w, " scales:%s", scales_names[c->scales]);
        put_number(&w, "group", c->group);
        put(&w, "%s", c->zero ? " zero" : "");
    }
    if (c->rope) {
        put(&w, c->rope == ATTN_ROPE_INTERLEAVED ? " rope:interleaved" : " rope");
        put_number(&w, "", c->rope_dim);
        put(&w, "%s%s", c->rope_how & ROPE_TABLES ? ":tables" : "", c->rope_how & ROPE_OFFSETS ? ":offsets" : "");
    }
    if (c->o_dtype != c->dtype)
        put(&w, " o:%s", type_names[c->o_dtype]);
    if (c->lse)
        put(&w, c->lse == LSE_NONE ? " no_lse" : " lse:padded");
    if (c->flags)
        put(&w, "%s%s%s", c->flags & ATTN_LSE_BASE2 ? " base2" : "", c->flags & ATTN_LSE_NO_SINK ? " no_sink" : "",
            c->flags & ATTN_BATCH_INVARIANT ? " invariant" : "");
    put_number(&w, "splits", c->splits);
    put_number(&w, "split_size", c->split_size);
    if (c->threads != 1)
        put(&w, " threads%d", c->threads);
    if (c->workspace)
        put(&w, c->workspace == WORKSPACE_LEAST ? " least_space" : " some_space");
    if (c->fill)
        put(&w, " %s", fill_names[c->fill]);
}

/* ---- what a case needs, and whether it makes sense -------------------------------------------- */

uint32_t case_needs(const test_case *c)
{
    return (c->causal ? ATTN_HAS(CAUSAL) : 0) | (c->window ? ATTN_HAS(WINDOW) : 0) | (c->chunk ? ATTN_HAS(CHUNK) : 0) |
           (c->sink_tokens ? ATTN_HAS(SINK_TOKENS) : 0) | (c->sink_logits ? ATTN_HAS(SINK_LOGITS) : 0) |
           (c->softcap != 0 ? ATTN_HAS(SOFTCAP) : 0) | (c->alibi ? ATTN_HAS(ALIBI) : 0) |
           (c->bias ? ATTN_HAS(BIAS) : 0) | (c->mask ? ATTN_HAS(BOOL_MASK) : 0) | (c->varlen ? ATTN_HAS(VARLEN) : 0) |
           (c->paged ? ATTN_HAS(PAGED) : 0) | (c->scales ? ATTN_HAS(SCALED) : 0) | (c->rope ? ATTN_HAS(ROPE) : 0);
}

/* Dims of a row lie side by side, from a place that is even, or a multiple of 8 if they are. */
static const int whole_rows[LAYOUT_COUNT] = {
    [LAYOUT_DEFAULT] = 1, [LAYOUT_BSHD] = 1,   [LAYOUT_BHSD] = 1,   [LAYOUT_SBHD] = 1,  [LAYOUT_PADDED8] = 1,
    [LAYOUT_PADDED32] = 1, [LAYOUT_SAME_B] = 1, [LAYOUT_SAME_S] = 1, [LAYOUT_SAME_H] = 1,
};

static int sensible(const test_case *c)
{
    if (c->dim < 1 || c->dim_v < 1 || c->heads_k < 1 || c->heads_q % c->heads_k)
        return 0;
    if (c->paged && (c->varlen & VARLEN_CU_K || c->v_layout || c->k_layout))
        return 0;
    if (c->varlen & VARLEN_CU_Q && (c->q_layout == LAYOUT_SAME_B || c->o_layout == LAYOUT_SAME_B))
        return 0;
    if (c->kv_dtype == ATTN_INT4) { /* two dims are a byte */
        if (c->dim % 2 || c->dim_v % 2 || !whole_rows[c->k_layout] || !whole_rows[c->v_layout])
            return 0;
    }
    /* Sequences, tokens or heads that share memory cannot have stored values by scales of their own. */
    if (c->scales >= SCALES_HEAD && (c->k_layout >= LAYOUT_SAME_B || c->v_layout >= LAYOUT_SAME_B))
        return 0;
    if (c->rope && (c->rope_dim ? c->rope_dim : c->dim) % 2)
        return 0;
    if (c->rope && (c->rope_dim > c->dim || (c->rope_dim ? c->rope_dim : c->dim) > ATTN_ROPE_DIM_MOST))
        return 0;
    if (c->v_in_k && (c->dim_v > c->dim || c->v_layout != c->k_layout || c->kv_dtype != c->dtype ||
                      (c->paged ? c->pages != PAGES_NHD && c->pages != PAGES_HND : c->k_layout == LAYOUT_DEFAULT)))
        return 0;
    return 1;
}

/* The head dims that an instance serves. */
static int any_dim(const attn_instance *t) { return t->head_dim != t->head_dim_min || !t->head_dim; }

static int serves_dims(const attn_instance *t, int dim, int dim_v)
{
    return !t->head_dim || (dim >= t->head_dim_min && dim <= t->head_dim &&
                            (t->head_dim_min == t->head_dim ? dim_v == t->head_dim_v
                                                            : dim_v >= t->head_dim_min && dim_v <= t->head_dim_v));
}

/* Whether rows of so many dims begin at a multiple of `align` bits. */
static int rows_aligned(int layout, int dim, int bits, int align)
{
    const int pad = layout == LAYOUT_PADDED32 ? 32 : layout == LAYOUT_PADDED8 ? 8 : dim;
    return pad * bits % align == 0 && dim % 8 == 0;
}

/* Whether all rows of q, k and v begin at a multiple of row_align bytes and are contiguous. */
static int aligned(const attn_instance *t, const test_case *c)
{
    const int align = 8 * t->row_align, q_bits = c->dtype == ATTN_F32 ? 32 : 16;
    const int kv_bits = c->kv_dtype == ATTN_F32    ? 32
                        : c->kv_dtype <= ATTN_BF16 ? 16
                        : c->kv_dtype == ATTN_INT4 ? 4
                                                   : 8;
    return !align || (rows_aligned(c->q_layout, c->dim, q_bits, align) &&
                      rows_aligned(c->k_layout, c->dim, kv_bits, align) &&
                      rows_aligned(c->v_layout, c->dim_v, kv_bits, align) && whole_rows[c->q_layout] &&
                      whole_rows[c->k_layout] && whole_rows[c->v_layout] && c->pages <= PAGES_HND);
}

/* Whether no sequence has more query rows of a KV head: places of packed ones may have two more than are in use. */
static int serves_rows(const attn_instance *t, const test_case *c)
{
    const int gaps = c->varlen & VARLEN_CU_Q && c->varlen & VARLEN_USED_Q ? 2 : 0;
    return !t->rows || c->heads_q / c->heads_k * (c->seq_q + gaps) <= t->rows;
}

int case_serves(const attn_instance *t, const test_case *c)
{
    return sensible(c) && (c->v_in_k || t->kernel != ATTN_KERNEL_MLA) && (case_needs(c) & ~t->features) == 0 &&
           serves_dims(t, c->dim, c->dim_v) && serves_rows(t, c) && aligned(t, c) &&
           (!t->gqa || t->gqa == c->heads_q / c->heads_k);
}

void case_fit(const attn_instance *t, test_case *c)
{
    if (t->kernel != ATTN_KERNEL_MLA)
        return;
    c->v_in_k = 1;
    if (c->paged)
        c->pages = c->pages == PAGES_DEFAULT ? PAGES_NHD : c->pages;
    else
        c->k_layout = c->k_layout == LAYOUT_DEFAULT ? LAYOUT_BSHD : c->k_layout;
    c->v_layout = c->k_layout;
}

/* ---- deriving --------------------------------------------------------------------------------- */

void case_plain(const attn_instance *t, test_case *c)
{
    memset(c, 0, sizeof *c);
    c->dtype = c->o_dtype = t->dtype;
    c->kv_dtype = t->kv_dtype == ATTN_NARROW ? ATTN_E4M3 : t->kv_dtype;
    c->batch = 1;
    c->heads_k = 1;
    c->heads_q = t->gqa ? t->gqa : 2;
    c->dim = t->head_dim ? t->head_dim : 32;
    c->dim_v = t->head_dim_v ? t->head_dim_v : c->dim;
    c->seq_q = t->rows && t->rows < 10 ? 1 : 5;
    c->seq_k = 9;
    c->threads = 1;
}

typedef struct deriver {
    const attn_instance *t;
    int level;
    case_list *list;
    int turn; /* counts cases, to let secondary choices rotate */
} deriver;

static double pairs(const test_case *c) { return (double)c->batch * c->heads_q * c->seq_q * c->seq_k; }

static void add(deriver *v, const test_case *given)
{
    test_case latent = *given, *c = &latent;
    case_fit(v->t, c);
    double limit = v->level == LEVEL_FULL ? 2e9 : v->level == LEVEL_DEFAULT ? 4e7 : 4e6;
    if (!case_serves(v->t, c) || pairs(c) * (c->dim + c->dim_v + 32) > limit)
        return;
    if (v->level == LEVEL_SHORT && v->turn++ % 7)
        return;
    for (int n = 0; n < v->list->count; n++)
        if (!memcmp(&v->list->at[n], c, sizeof *c))
            return;
    if (v->list->count == v->list->room) {
        int room = v->list->room ? 2 * v->list->room : 256;
        test_case *at = realloc(v->list->at, (size_t)room * sizeof *at);
        if (!at)
            abort();
        v->list->at = at;
        v->list->room = room;
    }
    v->list->at[v->list->count++] = *c;
}

static test_case plain(const deriver *v)
{
    test_case c;
    case_plain(v->t, &c);
    return c;
}

/* Lengths around the tiles of one side. */
static int lengths(int tile, int out[6])
{
    const int all[6] = {0, 1, tile - 1, tile, tile + 1, 2 * tile + 3};
    memcpy(out, all, sizeof all);
    return 6;
}

static void derive_lengths(deriver *v)
{
    static const int dims[] = {16, 64, 32, 24, 40};
    int q[6], k[6];
    for (int a = 0; a < lengths(v->t->tile_q, q); a++)
        for (int b = 0; b < lengths(v->t->tile_k, k); b++)
            for (int causal = 0; causal <= ATTN_CAUSAL_TOP_LEFT; causal++) {
                test_case c = plain(v);
                const int dim = dims[(a + b + causal) % COUNT(dims)];
                c.heads_q = v->t->gqa ? v->t->gqa : 1;
                if (any_dim(v->t) && serves_dims(v->t, dim, dim))
                    c.dim = c.dim_v = dim;
                c.seq_q = q[a];
                c.seq_k = k[b];
                c.causal = causal;
                c.threads = 1 + (a + b) % 2;
                add(v, &c);
            }
    /* Decode: few rows against many tiles, where the keys are split. */
    for (int rows = 1; rows <= 9; rows += 4)
        for (int tiles = 3; tiles <= 9; tiles += 3) {
            test_case c = plain(v);
            c.seq_q = rows;
            c.seq_k = tiles * v->t->tile_k + rows;
            c.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
            c.heads_q *= 2;
            c.heads_k = 2;
            c.threads = 2;
            add(v, &c);
        }
    /* A cache that no processor's own memory holds: 3 or 4 rows stream it, but for tiles that some row sees in part. */
    for (int n = 0; n < 5 && !v->t->device; n++) {
        test_case c = plain(v);
        c.dim = v->t->head_dim ? v->t->head_dim : n ? 128 : 200;
        c.dim_v = v->t->head_dim_v ? v->t->head_dim_v : n ? c.dim : 264;
        c.heads_q = v->t->gqa ? v->t->gqa : n == 0 ? 4 : n < 3 ? 3 : 1;
        c.seq_q = n < 3 ? 1 : 3;
        c.seq_k = (17 << 20) / (c.kv_dtype == ATTN_F16 || c.kv_dtype == ATTN_BF16 ? 2 : 4) / (c.dim + c.dim_v) + 5;
        c.threads = 2;
        if (n == 1) { /* the keys that weigh most are where the window begins, or hidden before it */
            c.window = 1;
            c.left = c.seq_k - 300;
            c.sink_tokens = 2;
            c.fill = FILL_FALLING;
        } else if (n == 2) {
            c.alibi = 1;
            c.paged = PAGED_TABLE;
            c.page_size = 48;
        } else if (n == 3) { /* the last tile is whole, and its last key not for the first row */
            c.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
            c.seq_k = c.seq_k / v->t->tile_k * v->t->tile_k;
            c.fill = FILL_NAN_KV;
        } else if (n == 4) { /* some sequences have fewer rows */
            c.batch = 4;
            c.seq_k /= c.batch;
            c.varlen = VARLEN_CU_Q;
        }
        add(v, &c);
    }
    test_case c = plain(v);
    c.batch = 0;
    add(v, &c);
    /* More units than blocks, of one tile or two: one ends within the next, the last alone. */
    for (int n = 1; n <= 2 && v->t->kernel == ATTN_KERNEL_FORWARD && v->t->arch == ATTN_ARCH_SM90; n++) {
        c = plain(v);
        c.batch = 3;
        c.heads_k = 5;
        c.heads_q = c.heads_k * (v->t->gqa ? v->t->gqa : 1);
        c.seq_q = v->t->tile_q;
        c.seq_k = n * v->t->tile_k;
        add(v, &c);
    }
    /* What warps with tiles of their own take in turns, and blocks in shares: several times around. */
    const int listed = v->t->kernel == ATTN_KERNEL_DECODE || v->t->kernel == ATTN_KERNEL_MLA;
    for (int n = 0; n < 4 && listed; n++) {
        c = plain(v);
        c.batch = n % 2 ? 9 : 1;
        c.heads_k = n < 2 ? 1 : 3;
        c.heads_q = c.heads_k * (v->t->gqa ? v->t->gqa : 2);
        c.seq_q = 1;
        c.seq_k = 70 * v->t->tile_k + 7;
        add(v, &c);
        c.varlen = VARLEN_USED_K;
        add(v, &c);
        c.paged = PAGED_TABLE;
        c.page_size = n < 2 ? 2 * v->t->tile_k : 5;
        add(v, &c);
    }
}

static void derive_dims(deriver *v)
{
    static const int dims[][2] = {{1, 1},     {2, 2},     {7, 7},     {8, 8},   {16, 16},   {24, 24},   {40, 40},
                                  {64, 64},   {72, 72},   {80, 80},   {96, 96}, {100, 100}, {128, 128}, {160, 160},
                                  {192, 128}, {256, 256}, {576, 512}, {64, 80}, {8, 33},    {33, 8},
                                  {16, 40},   {1024, 1024}};
    for (int n = 0; n < COUNT(dims) && any_dim(v->t); n++)
        for (int shape = 0; shape < 3; shape++) {
            test_case c = plain(v);
            c.dim = dims[n][0];
            c.dim_v = dims[n][1];
            c.seq_q = shape == 0 ? 1 : shape == 1 ? 13 : v->t->tile_q + 1;
            c.seq_k = v->t->tile_k + 5;
            c.splits = c.dim_v > 512 && shape == 0 ? 2 : 0; /* wide rows are merged, too */
            if (c.dim > 256 && shape == 2)
                c.heads_q = v->t->gqa ? v->t->gqa : 1;
            c.causal = shape == 0 ? 0 : ATTN_CAUSAL_BOTTOM_RIGHT;
            add(v, &c);
            c.causal = c.splits = 0;
            c.v_in_k = 1; /* latent attention */
            c.k_layout = c.v_layout = LAYOUT_BSHD;
            if (c.dim_v < c.dim)
                add(v, &c);
            if (shape == 1) {
                c.v_in_k = 0;
                c.q_layout = c.k_layout = c.v_layout = c.o_layout =
                    v->t->kv_dtype == ATTN_NARROW ? LAYOUT_PADDED32 : LAYOUT_PADDED8;
                add(v, &c);
            }
        }
}

static void derive_ratios(deriver *v)
{
    static const int ratios[] = {1, 3, 4, 7, 8, 71, 128};
    for (int n = 0; n < COUNT(ratios) - (v->t->kernel != ATTN_KERNEL_MLA); n++)
        for (int shape = 0; shape < 4; shape++) {
            test_case c = plain(v);
            int ratio = v->t->gqa ? v->t->gqa : ratios[n];
            c.heads_k = shape % 2 ? 3 : 1;
            c.heads_q = ratio * c.heads_k;
            c.seq_q = shape < 2 ? 1 : 7;
            c.seq_k = shape < 2 ? v->t->tile_k + 5 : 41;
            c.batch = shape == 1 ? 2 : 1;
            c.causal = shape == 3;
            add(v, &c);
        }
}

/* Gives a case the n-th variant of a feature; 0 when there is none.  The first stands for the feature
 * in combinations. */
static int with_feature(test_case *c, const attn_instance *t, int feature, int n)
{
    const int tile = t->tile_k;
    const int windows[][2] = {{tile / 2, 3},  {0, 0},    {1, 0},  {0, 1},   {tile - 1, 0},        {tile, 0},
                              {tile + 1, 0},  {-1, 0},   {0, -1}, {-1, -1}, {c->seq_k, c->seq_k}, {5, tile},
                              {2, t->tile_q}, {tile, -1}};
    const int chunks[] = {tile / 2 + 1, 1, tile - 1, tile, tile + 1, c->seq_k, c->seq_k + 1};
    const int sinks[] = {3, 1, tile + 1, c->seq_k + 5};
    static const float caps[] = {20, 0.5f, 1000};
    static const int same[] = {
        0, SAME_BATCH, SAME_HEAD, SAME_QUERY, SAME_BATCH | SAME_HEAD, SAME_BATCH | SAME_HEAD | SAME_QUERY};
    static const int varlens[] = {VARLEN_CU_Q | VARLEN_CU_K,
                                  VARLEN_USED_K,
                                  VARLEN_CU_Q,
                                  VARLEN_CU_Q | VARLEN_USED_K,
                                  VARLEN_CU_K,
                                  VARLEN_USED_Q,
                                  VARLEN_USED_Q | VARLEN_USED_K,
                                  VARLEN_CU_Q | VARLEN_CU_K | VARLEN_USED_Q | VARLEN_USED_K};
    static const int groups[] = {32, 0, 64, 128};
    const int page_sizes[] = {16, 1, 3, 64, tile, tile + 1, 128, 257, 8, 17};
    switch (feature) {
    case ATTN_INDEX_CAUSAL:
        c->causal = n == 0 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_TOP_LEFT;
        return n < 2;
    case ATTN_INDEX_WINDOW:
        if (n >= COUNT(windows))
            return 0;
        c->window = 1;
        c->left = windows[n][0];
        c->right = windows[n][1];
        return 1;
    case ATTN_INDEX_CHUNK:
        c->chunk = n < COUNT(chunks) ? chunks[n] : 0;
        return n < COUNT(chunks);
    case ATTN_INDEX_SINK_TOKENS:
        c->sink_tokens = n < COUNT(sinks) ? sinks[n] : 0;
        if (!c->window && !c->chunk) {
            c->window = t->features & ATTN_HAS(WINDOW) ? 1 : 0;
            c->chunk = c->window ? 0 : tile / 2;
            c->left = 2;
            c->right = 1;
        }
        return n < COUNT(sinks);
    case ATTN_INDEX_SINK_LOGITS:
        c->sink_logits = 1;
        c->flags |= n == 1 ? ATTN_LSE_NO_SINK : n == 2 ? ATTN_LSE_BASE2 : 0;
        return n < 3;
    case ATTN_INDEX_SOFTCAP:
        c->softcap = n < COUNT(caps) ? caps[n] : 0;
        return n < COUNT(caps);
    case ATTN_INDEX_ALIBI:
        c->alibi = 1 + n;
        return n < 2;
    case ATTN_INDEX_BIAS:
        if (n >= 2 * COUNT(same))
            return 0;
        c->bias = n % 2 ? c->dtype : ATTN_F32;
        c->bias_same = same[n / 2];
        c->bias_hides = n % 3 == 0;
        return 1;
    case ATTN_INDEX_BOOL_MASK:
        if (n >= 2 * COUNT(same))
            return 0;
        c->mask = n % 2 ? ATTN_BIT : ATTN_BOOL;
        c->mask_same = same[n / 2];
        return 1;
    case ATTN_INDEX_VARLEN:
        if (n >= COUNT(varlens))
            return 0;
        c->varlen = varlens[n];
        c->batch = c->batch > 4 ? c->batch : 4;
        return 1;
    case ATTN_INDEX_PAGED:
        if (n >= 2 * COUNT(page_sizes))
            return 0;
        c->paged = n % 2 ? PAGED_CSR : PAGED_TABLE;
        c->page_size = page_sizes[n / 2];
        c->pages = (n + n / PAGES_COUNT) % PAGES_COUNT;
        return 1;
    case ATTN_INDEX_SCALED:
        if (n >= 20 || t->kv_dtype != ATTN_NARROW)
            return 0;
        c->kv_dtype = ATTN_E4M3 + n % 4;
        c->scales = 1 + (2 + n + n / 4) % 3;
        c->group = c->scales == SCALES_TOKEN ? groups[n / 3 % COUNT(groups)] : 0;
        c->zero = n % 5 == 2;
        return 1;
    case ATTN_INDEX_ROPE:
        if (n >= 8)
            return 0;
        c->rope = n % 2 ? ATTN_ROPE_INTERLEAVED : ATTN_ROPE_HALF_SPLIT;
        c->rope_dim = n / 2 % 2 ? c->dim / 4 * 2 : 0;
        c->rope_how = n / 2;
        return 1;
    default:
        return 0;
    }
}

/* The shapes that features are tried on: tiles with an edge, the decode of few rows, more rows than keys. */
static test_case feature_shape(const deriver *v, int shape)
{
    test_case c = plain(v);
    c.batch = shape == 1 ? 2 : 1;
    c.seq_q = shape == 0 ? v->t->tile_q + 5 : shape == 1 ? 3 : v->t->tile_k + 19;
    c.seq_k = shape == 2 ? v->t->tile_k - 9 : 2 * v->t->tile_k + 3;
    c.heads_q = v->t->gqa ? v->t->gqa : shape == 1 ? 4 : 1;
    c.threads = 1 + shape % 2;
    return c;
}

static void derive_features(deriver *v)
{
    for (int f = 0; f < ATTN_FEATURE_COUNT; f++)
        for (int shape = 0; shape < 3; shape++)
            for (int n = 0; n < 64; n++) {
                test_case c = feature_shape(v, shape);
                if (!with_feature(&c, v->t, f, n))
                    break;
                if (n > 3 && v->level < LEVEL_FULL && (n + shape) % 3 == 0)
                    continue; /* each variant on two of three shapes */
                add(v, &c);
            }
    for (int f = 0; f < ATTN_FEATURE_COUNT; f++)
        for (int g = f + 1; g < ATTN_FEATURE_COUNT; g++)
            for (int shape = 0; shape < 3; shape++)
                for (int n = 0; n < (v->level == LEVEL_FULL ? 9 : 1); n++) {
                    test_case c = feature_shape(v, shape);
                    if (v->level < LEVEL_FULL && shape != 1 && shape != (f + g) % 2 * 2)
                        continue;
                    if (with_feature(&c, v->t, f, n % 3) && with_feature(&c, v->t, g, n / 3))
                        add(v, &c);
                }
    /* Sink tokens of a chunk that begins beyond the first tiles: what lies before is passed over. */
    test_case c = feature_shape(v, 1);
    c.seq_k = 6 * v->t->tile_k - 5;
    c.chunk = 3 * v->t->tile_k;
    c.sink_tokens = 5 * v->t->tile_k;
    c.window = 1;
    c.left = 2;
    c.right = 1;
    add(v, &c);
}

/* Everything that the instance has at once, one after the other joining in. */
static void derive_all_together(deriver *v)
{
    for (int shape = 0; shape < 3; shape++) {
        test_case c = feature_shape(v, shape);
        for (int f = 0; f < ATTN_FEATURE_COUNT; f++) {
            if (!(v->t->features >> f & 1))
                continue;
            with_feature(&c, v->t, f, 0);
            if (f == ATTN_INDEX_PAGED)
                c.varlen &= ~VARLEN_CU_K;
            add(v, &c);
        }
    }
}

static void derive_layouts(deriver *v)
{
    for (int l = 1; l < LAYOUT_COUNT; l++)
        for (int shape = 0; shape < 2; shape++) {
            test_case c = plain(v);
            c.batch = 2;
            c.heads_k = 2;
            c.heads_q = 2 * (v->t->gqa ? v->t->gqa : 2);
            c.seq_q = shape ? 3 : 37;
            c.seq_k = shape ? v->t->tile_k + 7 : 41;
            c.causal = v->t->features & ATTN_HAS(CAUSAL) ? ATTN_CAUSAL_BOTTOM_RIGHT : 0;
            int *const each[] = {&c.q_layout, &c.k_layout, &c.v_layout, &c.o_layout};
            int output = l < LAYOUT_SAME_B ? 4 : 3;
            for (int n = 0; n < output; n++) {
                *each[n] = l;
                add(v, &c);
                *each[n] = 0;
            }
            for (int n = 0; n < output; n++)
                *each[n] = l;
            add(v, &c);
            c.varlen = VARLEN_CU_Q | VARLEN_CU_K;
            add(v, &c);
            c.varlen = VARLEN_USED_Q | VARLEN_USED_K;
            add(v, &c);
        }
    test_case c = plain(v);
    c.q_layout = LAYOUT_BHSD;
    c.k_layout = c.v_layout = LAYOUT_PADDED;
    c.o_layout = LAYOUT_DMAJOR;
    c.lse = LSE_PADDED;
    c.seq_q = 21;
    c.seq_k = 33;
    add(v, &c);
}

static void derive_outputs(deriver *v)
{
    static const int types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    for (int n = 0; n < 3; n++)
        for (int lse = 0; lse <= LSE_NONE; lse++)
            for (int shape = 0; shape < 2; shape++) {
                test_case c = feature_shape(v, shape);
                c.o_dtype = types[n];
                c.lse = lse;
                c.flags = lse == LSE_PADDED ? ATTN_LSE_BASE2 : 0;
                c.o_layout = lse == LSE_PADDED ? LAYOUT_PADDED : LAYOUT_DEFAULT;
                add(v, &c);
            }
    static const float scales[] = {1, 0.01f, -0.3f, 3};
    for (int n = 0; n < COUNT(scales); n++) {
        test_case c = plain(v);
        c.scale = scales[n];
        add(v, &c);
    }
}

static void derive_cuts(deriver *v)
{
    const int sizes[] = {1, 16, v->t->tile_k, v->t->tile_k + 1};
    static const int splits[] = {1, 2, 3, 7, 64, 1024};
    for (int shape = 0; shape < 2; shape++)
        for (int threads = 1; threads <= 3; threads++)
            for (int space = 0; space <= WORKSPACE_BETWEEN; space++) {
                test_case c = feature_shape(v, shape);
                c.threads = threads == 3 ? 0 : threads;
                c.workspace = space;
                add(v, &c);
                c.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
                for (int n = 0; n < COUNT(splits); n++) {
                    c.splits = splits[n];
                    if (v->level == LEVEL_FULL || (n + shape + threads + space) % 2 == 0)
                        add(v, &c);
                }
                c.splits = 0;
                for (int n = 0; n < COUNT(sizes); n++) {
                    c.split_size = sizes[n];
                    c.sink_logits = v->t->features & ATTN_HAS(SINK_LOGITS) ? n % 2 : 0;
                    if (v->level == LEVEL_FULL || (n / 2 + shape + threads + space) % 2 == 0)
                        add(v, &c);
                }
                c.split_size = 0;
                c.flags = ATTN_BATCH_INVARIANT;
                c.batch = 2;
                add(v, &c);
            }
    /* Partial results have as many columns as V. */
    for (int n = 0; n < 2 && any_dim(v->t); n++) {
        test_case c = feature_shape(v, 1);
        c.dim = n ? 24 : 40;
        c.dim_v = n ? 40 : 24;
        c.splits = 3;
        add(v, &c);
    }
    /* So many keys that they are cut without being asked, where there is room for it. */
    for (int space = 0; space <= WORKSPACE_BETWEEN; space++) {
        test_case c = feature_shape(v, 1);
        c.batch = 1;
        c.seq_k = 2 * 512 + 77;
        c.workspace = space;
        add(v, &c);
    }
    /* More heads than take turns, and no multiple of those. */
    test_case many = feature_shape(v, 1);
    many.batch = 1;
    many.heads_q = v->t->gqa ? 12 * v->t->gqa : 35;
    many.heads_k = many.heads_q / (v->t->gqa ? v->t->gqa : 1);
    many.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    many.splits = 3;
    add(v, &many);
    /* Every feature once with its keys cut, and every form of lengths. */
    for (int f = 0; f < ATTN_FEATURE_COUNT; f++)
        for (int n = 0; n < (f == ATTN_INDEX_VARLEN ? 8 : 2); n++) {
            test_case c = feature_shape(v, n % 2);
            c.threads = 2;
            c.splits = 3;
            if (with_feature(&c, v->t, f, n))
                add(v, &c);
        }
}

static void derive_fillers(deriver *v)
{
    static const int features[] = {-1,
                                   ATTN_INDEX_CAUSAL,
                                   ATTN_INDEX_WINDOW,
                                   ATTN_INDEX_VARLEN,
                                   ATTN_INDEX_SOFTCAP,
                                   ATTN_INDEX_BOOL_MASK,
                                   ATTN_INDEX_BIAS};
    for (int fill = 1; fill < FILL_COUNT; fill++)
        for (int shape = 0; shape < 3; shape++)
            for (int n = 0; n < COUNT(features); n++) {
                test_case c = feature_shape(v, shape);
                c.fill = fill;
                if (n > 0)
                    with_feature(&c, v->t, features[n], features[n] == ATTN_INDEX_VARLEN ? shape : 0);
                if (v->level == LEVEL_FULL || shape == 1 || (fill + n) % 2 == shape / 2)
                    add(v, &c);
                c.splits = 3;
                if (shape < 2 && n < 3)
                    add(v, &c);
                /* Its weight may be too small for f32.  The bars of f32 are too narrow for such scores. */
                c.splits = 0;
                c.scale = 4;
                if (fill == FILL_INF_V && n < 2 && c.dtype != ATTN_F32 && c.kv_dtype != ATTN_F32)
                    add(v, &c);
            }
    /* Of e5m2, which has infinities, with a scale and zero point for each token. */
    for (int fill = FILL_NAN_V; fill < FILL_COUNT; fill++)
        for (int shape = 0; shape < 6; shape++) {
            test_case c = feature_shape(v, shape / 2);
            c.fill = fill;
            if (with_feature(&c, v->t, ATTN_INDEX_SCALED, 17) &&
                (shape % 2 || with_feature(&c, v->t, ATTN_INDEX_CAUSAL, 0)))
                add(v, &c);
        }
    if (v->t->kernel != ATTN_KERNEL_DECODE)
        return;
    /* Several tiles for each of the warps among which keys are divided: scores that move on, rows that see none at
     * first, scales of V that grow. */
    for (int fill = FILL_RISING; fill <= FILL_FALLING; fill++)
        for (int n = -3; n < 20; n++) {
            test_case c = feature_shape(v, 1);
            c.fill = fill;
            c.seq_k = 25 * v->t->tile_k + 3;
            if (n == -3 && with_feature(&c, v->t, ATTN_INDEX_CHUNK, 0)) { /* all rows but one see the last keys alone */
                c.chunk = 25 * v->t->tile_k;
                c.seq_q = 4;
                add(v, &c);
            } else if (n == -1 && with_feature(&c, v->t, ATTN_INDEX_WINDOW, 0)) {
                c.left = c.seq_k * 2 / 3;
                c.seq_q = v->t->tile_k + 3;
                add(v, &c);
            } else if (n == -2) {
                add(v, &c);
            } else if (n >= 0 && with_feature(&c, v->t, ATTN_INDEX_SCALED, n) && c.scales == SCALES_TOKEN) {
                c.o_dtype = ATTN_F32;
                add(v, &c);
            }
        }
}

void cases_derive(const attn_instance *t, int level, case_list *list)
{
    deriver v = {t, level, list, 0};
    memset(list, 0, sizeof *list);
    derive_lengths(&v);
    derive_dims(&v);
    derive_ratios(&v);
    derive_features(&v);
    derive_all_together(&v);
    derive_layouts(&v);
    derive_outputs(&v);
    derive_cuts(&v);
    derive_fillers(&v);
}

void cases_free(case_list *list)
{
    free(list->at);
    memset(list, 0, sizeof *list);
}

/* ---- random cases ----------------------------------------------------------------------------- */

static int pick(uint64_t *r, int count) { return check_range(r, 0, count - 1); }

static int rarely(uint64_t *r) { return pick(r, 4) == 0; }

static void random_shape(const attn_instance *t, uint64_t *r, test_case *c)
{
    static const int dims[] = {1, 3, 8, 16, 20, 24, 32, 40, 56, 64, 64, 72, 80, 96, 104, 128, 128, 160, 192, 256};
    c->batch = check_range(r, 1, 4);
    c->heads_k = check_range(r, 1, 3);
    c->heads_q = c->heads_k * (t->gqa ? t->gqa : check_range(r, 1, 8));
    if (any_dim(t)) {
        const int dim = dims[pick(r, COUNT(dims))], dim_v = rarely(r) ? dims[pick(r, COUNT(dims))] : dim;
        if (serves_dims(t, dim, dim_v)) {
            c->dim = dim;
            c->dim_v = dim_v;
        }
    }
    c->seq_q = rarely(r) ? check_range(r, 0, 2 * t->tile_q + 3) : check_range(r, 1, 40);
    c->seq_k = rarely(r) ? check_range(r, 0, 40) : check_range(r, 1, 3 * t->tile_k + 3);
    while (pairs(c) * (c->dim + c->dim_v) > 1e7)
        if (c->batch > 1)
            c->batch /= 2;
        else if (c->heads_k > 1)
            c->heads_q /= c->heads_k, c->heads_k = 1;
        else if (!t->gqa && c->heads_q > 1)
            c->heads_q = 1;
        else
            c->seq_q = c->seq_q / 2, c->seq_k = c->seq_k / 2 + 1;
}

void case_random(const attn_instance *t, uint64_t *r, test_case *c)
{
    static const int types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    case_plain(t, c);
    random_shape(t, r, c);
    for (int f = 0; f < ATTN_FEATURE_COUNT; f++) {
        if (!(t->features >> f & 1) || !rarely(r))
            continue;
        test_case with = *c;
        if (with_feature(&with, t, f, pick(r, 20)))
            *c = with;
    }
    if (c->window && rarely(r)) {
        c->left = check_range(r, -1, c->seq_k + 2);
        c->right = check_range(r, -1, c->seq_k + 2);
    }
    if (c->chunk)
        c->chunk = check_range(r, 1, c->seq_k + 2);
    if (t->kv_dtype == ATTN_NARROW && !c->scales)
        c->kv_dtype = ATTN_E4M3 + pick(r, 4);
    if (c->paged) {
        c->varlen &= ~VARLEN_CU_K;
        c->page_size = rarely(r) ? check_range(r, 1, 70) : c->page_size;
        c->pages = pick(r, PAGES_COUNT);
    }
    if (rarely(r))
        c->q_layout = pick(r, LAYOUT_SAME_B);
    if (rarely(r) && !c->paged)
        c->k_layout = c->v_layout = pick(r, LAYOUT_COUNT);
    if (rarely(r) && !c->paged)
        c->v_layout = pick(r, LAYOUT_COUNT);
    case_fit(t, c);
    if (rarely(r))
        c->o_layout = pick(r, LAYOUT_SAME_B);
    if (rarely(r))
        c->o_dtype = types[pick(r, 3)];
    c->lse = rarely(r) ? pick(r, LSE_NONE + 1) : LSE_COMPACT;
    if (rarely(r))
        c->flags |= (pick(r, 2) ? ATTN_LSE_BASE2 : 0) | (pick(r, 2) ? ATTN_BATCH_INVARIANT : 0);
    if (rarely(r))
        c->splits = check_range(r, 1, 9);
    else if (rarely(r))
        c->split_size = check_range(r, 1, c->seq_k + 1);
    c->threads = check_range(r, 0, 2);
    c->workspace = pick(r, 3);
    if (rarely(r))
        c->fill = pick(r, FILL_COUNT);
    if (rarely(r))
        c->scale = (float)(0.05 + check_uniform(r));
}
