/* call.c - memory, content, running and checking of the calls of call.h. */
#include "call.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/run.h>
#include "check.h"
#include "gpu.h"

/* ---- making: memory --------------------------------------------------------------------------- */

enum { GUARD = 64, PATTERN = 0xa5 };

/* Inputs are NaN wherever nothing is stored, each in a block of its own that ends where it ends. */
static void *input(case_call *call, int64_t bytes)
{
    size_t size = bytes > 0 ? (size_t)bytes : 1;
    void *data = malloc(size);
    if (!data || call->input_count == CASE_BLOCKS)
        abort();
    memset(data, 0xff, size);
    call->inputs[call->input_count].data = data;
    call->inputs[call->input_count++].bytes = size;
    return data;
}

static uint64_t inputs_hash(const case_call *call)
{
    uint64_t h = 1;
    for (int n = 0; n < call->input_count; n++) {
        const unsigned char *at = call->inputs[n].data;
        size_t left = call->inputs[n].bytes;
        for (; left; left -= left < 8 ? left : 8, at += 8) {
            uint64_t word = 0;
            memcpy(&word, at, left < 8 ? left : 8);
            h = (h ^ word) * 0x100000001b3u;
            h ^= h >> 29;
        }
    }
    return h;
}

static void output(case_block *block, int64_t bytes)
{
    block->bytes = (size_t)bytes + 2 * GUARD;
    block->data = malloc(block->bytes);
    if (!block->data)
        abort();
    memset(block->data, PATTERN, block->bytes);
}

/* Sets the strides of a layout for n[batch, seq, head, dim]; *skip becomes the first element's place.
 * Returns how many elements the tensor spans. */
static int64_t lay(int kind, const int64_t n[4], int64_t stride[4], int64_t *skip)
{
    /* Order from slowest to fastest, gap behind each dimension, and step of the fastest. */
    static const struct {
        int order[4], gap, step, same;
    } forms[LAYOUT_COUNT] = {[LAYOUT_DEFAULT] = {{0, 1, 2, 3}, 0, 1, -1}, [LAYOUT_BSHD] = {{0, 1, 2, 3}, 0, 1, -1},
                             [LAYOUT_BHSD] = {{0, 2, 1, 3}, 0, 1, -1},    [LAYOUT_SBHD] = {{1, 0, 2, 3}, 0, 1, -1},
                             [LAYOUT_PADDED] = {{0, 1, 2, 3}, 3, 1, -1},  [LAYOUT_PADDED8] = {{0, 1, 2, 3}, 8, 1, -1},
                             [LAYOUT_PADDED32] = {{0, 1, 2, 3}, 32, 1, -1},
                             [LAYOUT_SHIFTED] = {{0, 1, 2, 3}, 0, 1, -1},
                             [LAYOUT_DIM2] = {{0, 1, 2, 3}, 0, 2, -1},    [LAYOUT_DMAJOR] = {{0, 2, 3, 1}, 0, 1, -1},
                             [LAYOUT_SAME_B] = {{0, 1, 2, 3}, 0, 1, 0},   [LAYOUT_SAME_S] = {{0, 1, 2, 3}, 0, 1, 1},
                             [LAYOUT_SAME_H] = {{0, 1, 2, 3}, 0, 1, 2}};
    int64_t place = forms[kind].step, last = 0;
    for (int m = 3; m >= 0; m--) {
        int dim = forms[kind].order[m];
        stride[dim] = place;
        place = place * n[dim] + forms[kind].gap;
        if (kind == LAYOUT_PADDED8 || kind == LAYOUT_PADDED32)
            place = (place + forms[kind].gap - 1) / forms[kind].gap * forms[kind].gap;
    }
    if (forms[kind].same >= 0)
        stride[forms[kind].same] = 0;
    *skip = kind == LAYOUT_PADDED || kind == LAYOUT_SHIFTED;
    for (int m = 0; m < 4; m++) {
        if (n[m] <= 0)
            return 0;
        last += (n[m] - 1) * stride[m];
    }
    return last + 1;
}

/* The same for a cache of n[page, token, head, dim]. */
static int64_t lay_pages(attn_tensor *t, int kind, int is_k, const int64_t n[4])
{
    int64_t skip, x = t->dtype == ATTN_INT4 ? 32 : 16 / oracle_size(t->dtype);
    if (kind == PAGES_BLOCKED && is_k && n[3] % x == 0) {
        t->dim_block = (int32_t)x;
        t->stride[3] = n[1] * x;
        t->stride[1] = x;
        t->stride[2] = n[3] * n[1];
        t->stride[0] = n[2] * n[3] * n[1];
        return n[0] * t->stride[0];
    }
    static const int as[PAGES_COUNT] = {LAYOUT_DEFAULT, LAYOUT_BSHD, LAYOUT_BHSD, LAYOUT_DMAJOR, LAYOUT_DMAJOR};
    if (t->dtype == ATTN_INT4 && as[kind] == LAYOUT_DMAJOR) /* two dims of int4 are a byte */
        kind = PAGES_HND;
    return lay(as[kind], n, t->stride, &skip);
}

/* ---- making: content -------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t value)
{
    h = (h ^ value) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 31);
}

/* Near enough to normal, and cheap: four 16-bit uniforms, deviation 1. */
static double gauss(uint64_t h)
{
    double sum = (double)(h & 0xffff) + (double)(h >> 16 & 0xffff) + (double)(h >> 32 & 0xffff) + (double)(h >> 48);
    return (sum / 65536 - 2) * 1.7320508075688772;
}

typedef struct place {
    int tensor; /* 'q', 'k' or 'v' */
    int64_t batch, token, tokens, head, dim, dims;
} place;

static uint64_t place_hash(uint64_t seed, const place *at)
{
    uint64_t h = mix(mix(mix(seed, (uint64_t)at->tensor), (uint64_t)at->batch), (uint64_t)at->token);
    h = mix(mix(h, (uint64_t)at->head), (uint64_t)at->dim);
    return mix(h, h >> 32);
}

static double content(int fill, uint64_t seed, const place *at)
{
    double random = gauss(place_hash(seed, at));
    int q = at->tensor == 'q', k = at->tensor == 'k', v = at->tensor == 'v';
    int64_t token = at->token, d = at->dim;
    switch (fill) {
    case FILL_OUTLIER:
        if (k && d == at->dims / 3)
            return 10 + random;
        if (k && token == 0)
            return d % 2 ? 3 : -3;
        return q ? 2 * random + (d % 2 ? 1 : -1) : v && token == 0 ? random / 16 : random;
    case FILL_HUGE:
        return v ? 1000 * random : 100 * random;
    case FILL_EQUAL:
        return v ? 1.25 : 0.5;
    case FILL_ONEHOT:
        /* With some noise in k, or all keys but one had the same weight.  Where v is k each dim of o is one weight, so
         * a single error of rounding would be all of o's, and how it compares with the plain one's luck. */
        return v ? random : (token % at->dims == d) * (q ? 40.0 : 1.0) + (k ? random / 50 : 0);
    case FILL_RISING:
    case FILL_FALLING: /* dim 0 carries it */
        if (d > 0 || v)
            return random;
        return q ? sqrt((double)at->dims) : (fill == FILL_RISING ? 30.0 : -30.0) * (double)token / (double)at->tokens;
    case FILL_NAN_Q:
        return q && token % 4 == 0 && d == at->dims / 2 ? NAN : random;
    case FILL_NAN_K:
        return k && token == at->tokens * 3 / 4 && d == 0 ? NAN : random;
    case FILL_NAN_V:
        return v && token == at->tokens / 2 && (d == at->dims - 1 || d == at->dims / 2) ? NAN : random;
    case FILL_NAN_KV:
        return !q && token >= at->tokens - 1 - at->tokens / 8 ? NAN : random;
    case FILL_INF_K:
        return k && token == at->tokens * 2 / 3 && d == 0 ? INFINITY : random;
    case FILL_INF_V:
        if (v && token == at->tokens * 2 / 3 && (d == 0 || d == at->dims - 1))
            return at->head % 2 ? -INFINITY : INFINITY;
        return random;
    default:
        return random;
    }
}

/* ---- making: the call ------------------------------------------------------------------------- */

typedef struct lengths_of {
    int used[64], room[64]; /* tokens of a sequence, and its place */
    int total, longest;
} lengths_of;

/* Sequences of a batch: the longest, an empty one, and what the seed says. */
static void make_lengths(int batch, int longest, int vary, int gaps, uint64_t seed, int turn, lengths_of *out)
{
    memset(out, 0, sizeof *out);
    for (int b = 0; b < batch; b++) {
        static const char patterns[2][5] = {"Lr0r", "rLr0"}; /* longest, random, empty */
        char which = vary && batch > 1 ? patterns[turn][b % 4] : 'L';
        uint64_t random = mix(seed, (uint64_t)(b + 7 * turn)) >> 20;
        int used = which == 'L' ? longest : which == '0' ? 0 : (int)(random % ((uint64_t)longest + 1));
        out->used[b] = used;
        out->room[b] = gaps ? used + b % 3 : used;
        out->total += out->room[b];
        if (out->room[b] > out->longest)
            out->longest = out->room[b];
    }
    if (!vary)
        out->longest = longest;
}

static const int32_t *running_sum(case_call *call, const int *counts, int batch)
{
    int32_t *sums = input(call, (batch + 1) * (int64_t)sizeof *sums);
    sums[0] = 0;
    for (int b = 0; b < batch; b++)
        sums[b + 1] = sums[b] + counts[b];
    return sums;
}

static const int32_t *numbers(case_call *call, const int *counts, int batch)
{
    int32_t *all = input(call, batch * (int64_t)sizeof *all);
    for (int b = 0; b < batch; b++)
        all[b] = counts[b];
    return all;
}

/* Of k and v: their values divided by scales, which belong to what the token is and not where it lies. */
typedef struct scaling {
    const test_case *c;
    uint64_t seed;
    float *scale, *zero;
    const attn_scale *of;
} scaling;

static void put_scaled(const scaling *s, const attn_params *p, const attn_tensor *t, int64_t index, const place *at,
                       double value)
{
    /* What makes the ordinary fill the whole range of the type. */
    const double unit = t->dtype == ATTN_INT8 ? 32 : t->dtype == ATTN_INT4 ? 3 : t->dtype == ATTN_E4M3 ? 100 : 1;
    if (s && s->scale) {
        place own = {at->tensor + 1, 0, 0, 0, 0, 0, 0};
        const test_case *c = s->c;
        if (c->scales >= SCALES_HEAD) {
            own.batch = at->batch;
            own.head = at->head;
        }
        if (c->scales == SCALES_TOKEN) {
            own.token = at->token;
            own.dim = c->group ? at->dim / c->group : 0;
        }
        const uint64_t h = place_hash(s->seed, &own);
        const int64_t where = oracle_scale_index(p, s->of, at->batch, at->token, at->head, at->dim);
        const int below = c->fill == FILL_INF_V || !(h >> 10 & 7);
        const double scale = (double)(float)((0.5 + (double)(h & 255) / 256) / (below ? -unit : unit));
        const float zero = s->zero ? (float)(h >> 8 & 3) - 1 : 0;
        /* With the score; o in f16 has no room for that. */
        const int grows =
            c->fill == FILL_RISING && c->scales == SCALES_TOKEN && at->tensor == 'v' && c->o_dtype != ATTN_F16;
        value = value / scale + (double)zero;
        s->scale[where] = (float)(grows ? ldexp(scale, (int)(24 * at->token / at->tokens)) : scale);
        if (s->zero)
            s->zero[where] = c->fill == FILL_NAN_ZERO && at->tensor == 'v' && at->token == at->tokens - 1
                                 ? (at->head % 2 ? INFINITY : NAN)
                                 : zero;
    }
    oracle_store(t->dtype, t->data, index, value);
    if (t->dtype == ATTN_E5M2 && isinf(value)) /* which a conversion makes the greatest number */
        ((uint8_t *)t->data)[index] = value < 0 ? 0xfc : 0x7c;
}

/* Memory for scales of n[batch or page, token, head, dim], and their strides.  They lie in another order than tokens
 * do, so that one is not taken for the other. */
static scaling make_scales(case_call *call, const test_case *c, uint64_t seed, const int64_t n[4], int packed,
                           attn_scale *of)
{
    const int64_t groups = c->group ? (n[3] + c->group - 1) / c->group : 1;
    scaling s = {c, seed, NULL, NULL, of};
    int64_t count = 1;
    if (!c->scales)
        return s;
    if (c->scales == SCALES_HEAD) {
        of->stride[2] = c->batch + 1;
        of->stride[0] = 1;
        count = of->stride[2] * n[2];
    } else if (c->scales == SCALES_TOKEN) {
        of->group = c->group;
        of->stride[3] = 1;
        of->stride[1] = groups + 1;
        of->stride[2] = of->stride[1] * n[1];
        of->stride[0] = packed ? 0 : of->stride[2] * n[2];
        count = of->stride[2] * n[2] * n[0];
    }
    of->scale = s.scale = input(call, count * (int64_t)sizeof *s.scale);
    if (c->zero)
        of->zero = s.zero = input(call, count * (int64_t)sizeof *s.zero);
    return s;
}

/* Fills what belongs to sequences; everything else of the block stays NaN. */
static void fill_tensor(const test_case *c, uint64_t seed, int name, const attn_params *p, const attn_tensor *t,
                        const int64_t stride[4], const scaling *by, const lengths_of *len, int packed, int heads,
                        int dims)
{
    int64_t first = 0;
    for (int b = 0; b < c->batch; b++) {
        place at = {name, b, 0, len->used[b], 0, 0, dims};
        for (at.token = 0; at.token < len->used[b]; at.token++)
            for (at.head = 0; at.head < heads; at.head++)
                for (at.dim = 0; at.dim < dims; at.dim++) {
                    int64_t index = (packed ? (first + at.token) * stride[1] : b * stride[0] + at.token * stride[1]) +
                                    at.head * stride[2] + at.dim * stride[3];
                    put_scaled(by, p, t, index, &at, content(c->fill, seed, &at));
                }
        first += len->room[b];
    }
}

static void make_tensor(case_call *call, const test_case *c, uint64_t seed, int name, attn_tensor *t, int kind,
                        int dtype, const lengths_of *len, int packed, int heads, int dims)
{
    int64_t n[4] = {packed ? 1 : c->batch, packed ? len->total : len->longest, heads, dims}, stride[4], skip;
    int64_t span = lay(kind, n, stride, &skip);
    attn_scale *const scales = name == 'k' ? &call->p.k_scale : name == 'v' ? &call->p.v_scale : NULL;
    scaling by = {c, seed, NULL, NULL, NULL};
    t->dtype = dtype;
    if (dtype == ATTN_INT4)
        skip = 0; /* an odd place would be half a byte */
    t->data = (char *)input(call, oracle_bytes(dtype, span + skip)) + oracle_bytes(dtype, skip);
    if (packed)
        stride[0] = 0;
    if (kind != LAYOUT_DEFAULT)
        memcpy(t->stride, stride, sizeof stride);
    if (scales)
        by = make_scales(call, c, seed, n, packed, scales);
    fill_tensor(c, seed, name, &call->p, t, stride, &by, len, packed, heads, dims);
}

static void fill_pages(const test_case *c, uint64_t seed, int name, const attn_params *p, const attn_tensor *t,
                       const int64_t stride[4], const scaling *by, const lengths_of *len, const int *pages, int dims)
{
    int x = t->dim_block ? t->dim_block : 1;
    for (int b = 0, first = 0; b < c->batch; b++) {
        place at = {name, b, 0, len->used[b], 0, 0, dims};
        for (at.token = 0; at.token < len->used[b]; at.token++)
            for (at.head = 0; at.head < c->heads_k; at.head++)
                for (at.dim = 0; at.dim < dims; at.dim++)
                    put_scaled(by, p, t,
                               pages[first + at.token / c->page_size] * stride[0] +
                                   at.token % c->page_size * stride[1] + at.head * stride[2] +
                                   at.dim / x * stride[3] + at.dim % x,
                               &at, content(c->fill, seed, &at));
        first += (len->used[b] + c->page_size - 1) / c->page_size;
    }
}

static void make_pages(case_call *call, const test_case *c, uint64_t seed, const lengths_of *len)
{
    attn_params *p = &call->p;
    int counts[64], last[64], total = 0;
    for (int b = 0; b < c->batch; b++) {
        counts[b] = (len->used[b] + c->page_size - 1) / c->page_size;
        last[b] = counts[b] ? len->used[b] - (counts[b] - 1) * c->page_size : 1;
        total += counts[b];
    }
    /* A shuffled pool with a few pages that are nobody's. */
    int pool = total + 3, *pages = malloc((size_t)pool * sizeof *pages);
    if (!pages)
        abort();
    uint64_t state = seed;
    for (int n = 0; n < pool; n++) {
        int m = check_range(&state, 0, n);
        pages[n] = pages[m];
        pages[m] = n;
    }
    p->page_size = c->page_size;
    p->num_pages = pool;
    if (c->paged == PAGED_CSR) {
        p->page_indptr = running_sum(call, counts, c->batch);
        p->page_indices = numbers(call, pages, total);
        p->last_page_len = numbers(call, last, c->batch);
    } else {
        int64_t width = (p->seq_k + c->page_size - 1) / c->page_size + (c->pages == PAGES_DEFAULT ? 0 : 2);
        int32_t *table = input(call, c->batch * width * (int64_t)sizeof *table);
        for (int64_t n = 0; n < c->batch * width; n++)
            table[n] = INT32_MAX; /* past the end of a sequence: not to be followed */
        for (int b = 0, first = 0; b < c->batch; first += counts[b++])
            for (int n = 0; n < counts[b]; n++)
                table[b * width + n] = pages[first + n];
        p->block_table = table;
        p->block_table_stride = c->pages == PAGES_DEFAULT ? 0 : width;
        p->seqused_k = numbers(call, len->used, c->batch);
    }
    attn_tensor *const both[2] = {&p->k, &p->v};
    for (int m = 0; m < (c->v_in_k ? 1 : 2); m++) {
        int dims = m ? c->dim_v : c->dim;
        int64_t n[4] = {pool, c->page_size, c->heads_k, dims};
        both[m]->dtype = c->kv_dtype;
        int64_t span = lay_pages(both[m], c->pages, m == 0, n);
        both[m]->data = input(call, oracle_bytes(c->kv_dtype, span));
        const scaling by = make_scales(call, c, seed, n, 0, m ? &p->v_scale : &p->k_scale);
        fill_pages(c, seed, m ? 'v' : 'k', p, both[m], both[m]->stride, &by, len, pages, dims);
        if (c->pages == PAGES_DEFAULT)
            memset(both[m]->stride, 0, sizeof both[m]->stride);
    }
    if (c->v_in_k)
        p->v = p->k;
    free(pages);
}

/* Strides of a [batch, head, query, key] tensor with gaps, half of the time of 16 elements; rows of bits begin on a
 * byte. */
static int64_t lay_scores(const attn_params *p, int same, int compact, int bits, int64_t stride[4])
{
    int64_t n[3] = {p->batch, p->heads_q, p->seq_q}, row = bits ? (p->seq_k + 7) / 8 * 8 : p->seq_k, last = 0;
    const int wide = p->seq_k % 2 == 0;
    if (!compact)
        row = bits ? row + 8 : wide ? row / 16 * 16 + 16 : row + 3;
    stride[3] = 1;
    for (int m = 2; m >= 0; m--) {
        stride[m] = same >> m & 1 ? 0 : row; /* SAME_BATCH, SAME_HEAD, SAME_QUERY are bits 0, 1, 2 */
        row = same >> m & 1 ? row : row * n[m] + (compact || bits ? 0 : wide ? 16 : 5);
        last += n[m] > 0 ? (n[m] - 1) * stride[m] : 0;
    }
    return last + p->seq_k;
}

static int hidden(uint64_t seed, const int64_t at[4], int same, int share)
{
    uint64_t h = seed;
    if (!(same & SAME_QUERY) && at[2] % 5 == 4)
        return 1; /* a row that sees nothing */
    for (int m = 0; m < 4; m++)
        h = mix(h, m < 3 && same >> m & 1 ? 0 : (uint64_t)at[m] + 1);
    return (int)(h >> 20 & 63) < share;
}

static void make_bias(case_call *call, const test_case *c, uint64_t seed)
{
    attn_params *p = &call->p;
    int64_t stride[4], at[4];
    int compact = c->q_layout == LAYOUT_DEFAULT && !c->bias_same;
    int64_t span = lay_scores(p, c->bias_same, compact, 0, stride);
    p->bias.dtype = c->bias;
    p->bias.data = input(call, span * oracle_size(c->bias));
    if (!compact)
        memcpy(p->bias.stride, stride, sizeof stride);
    for (at[0] = 0; at[0] < p->batch; at[0]++)
        for (at[1] = 0; at[1] < p->heads_q; at[1]++)
            for (at[2] = 0; at[2] < p->seq_q; at[2]++)
                for (at[3] = 0; at[3] < p->seq_k; at[3]++) {
                    int64_t index = at[0] * stride[0] + at[1] * stride[1] + at[2] * stride[2] + at[3];
                    double value = gauss(mix(mix(seed, (uint64_t)index), 77));
                    if (c->bias_hides && hidden(seed, at, c->bias_same, 8))
                        value = -INFINITY;
                    oracle_store(c->bias, p->bias.data, index, value);
                }
}

static void make_mask(case_call *call, const test_case *c, uint64_t seed)
{
    attn_params *p = &call->p;
    int64_t stride[4], at[4];
    int bits = c->mask == ATTN_BIT, compact = c->q_layout == LAYOUT_DEFAULT && !c->mask_same;
    int64_t span = lay_scores(p, c->mask_same, compact, bits, stride);
    unsigned char *data = input(call, bits ? (span + 7) / 8 : span);
    p->mask.dtype = c->mask;
    p->mask.data = data;
    if (!compact)
        memcpy(p->mask.stride, stride, sizeof stride);
    for (at[0] = 0; at[0] < p->batch; at[0]++)
        for (at[1] = 0; at[1] < p->heads_q; at[1]++)
            for (at[2] = 0; at[2] < p->seq_q; at[2]++)
                for (at[3] = 0; at[3] < p->seq_k; at[3]++) {
                    int64_t index = at[0] * stride[0] + at[1] * stride[1] + at[2] * stride[2] + at[3];
                    int hide = hidden(seed + 1, at, c->mask_same, 20);
                    if (!bits) /* any byte but 0 is true */
                        data[index] = hide ? 0 : (unsigned char)(1 + at[3] % 255);
                    else if (hide)
                        data[index / 8] &= (unsigned char)~(1u << index % 8);
                    else
                        data[index / 8] |= (unsigned char)(1u << index % 8);
                }
}

static void make_heads(case_call *call, const test_case *c, uint64_t seed)
{
    attn_params *p = &call->p;
    if (c->alibi) {
        int64_t sets = c->alibi == 2 ? c->batch : 1;
        float *slopes = input(call, sets * c->heads_q * (int64_t)sizeof *slopes);
        for (int64_t n = 0; n < sets * c->heads_q; n++)
            slopes[n] = (float)(0.5 / (double)(1 + n % 7));
        p->alibi_slopes = slopes;
        p->alibi_stride = c->alibi == 2 ? c->heads_q : 0;
    }
    if (c->sink_logits) {
        float *logits = input(call, c->heads_q * (int64_t)sizeof *logits);
        for (int h = 0; h < c->heads_q; h++)
            logits[h] = (float)(2 * gauss(mix(seed, (uint64_t)h + 99)));
        p->sink_logits = logits;
    }
}

static void make_rope(case_call *call, const test_case *c, const lengths_of *k)
{
    attn_params *p = &call->p;
    p->rope_style = c->rope;
    p->rope_dim = c->rope_dim;
    p->rope_base = c->rope == ATTN_ROPE_INTERLEAVED ? 500.0f : 0;
    if (c->rope_how & ROPE_OFFSETS) {
        int32_t *offset = input(call, c->batch * (int64_t)sizeof *offset);
        for (int b = 0; b < c->batch; b++)
            offset[b] = c->rope_how & ROPE_TABLES ? b : 1000003 * b + 17;
        p->rope_offset = offset;
    }
    if (c->rope_how & ROPE_TABLES) { /* turns of their own, of every position there may be */
        int64_t half = (c->rope_dim ? c->rope_dim : c->dim) / 2, count = (k->longest + c->seq_q + c->batch) * half;
        float *cosines = input(call, count * (int64_t)sizeof *cosines);
        float *sines = input(call, count * (int64_t)sizeof *sines);
        for (int64_t n = 0; n < count; n++) {
            cosines[n] = cosf(0.37f * (float)n);
            sines[n] = sinf(0.37f * (float)n);
        }
        p->rope_cos = cosines;
        p->rope_sin = sines;
    }
}

static void make_outputs(case_call *call, const test_case *c, const lengths_of *rows)
{
    attn_params *p = &call->p;
    int packed = c->varlen & VARLEN_CU_Q;
    int64_t n[4] = {packed ? 1 : c->batch, packed ? rows->total : p->seq_q, c->heads_q, c->dim_v}, stride[4], skip;
    int64_t span = lay(c->o_layout, n, stride, &skip), columns = packed ? rows->total : p->seq_q;
    output(&call->o, (span + skip) * oracle_size(c->o_dtype));
    p->o.dtype = c->o_dtype;
    p->o.data = (char *)call->o.data + GUARD + skip * oracle_size(c->o_dtype);
    if (packed)
        stride[0] = 0;
    if (c->o_layout != LAYOUT_DEFAULT)
        memcpy(p->o.stride, stride, sizeof stride);
    if (c->lse == LSE_NONE)
        return;
    if (c->lse == LSE_PADDED) {
        p->lse_stride[1] = columns + 3;
        p->lse_stride[0] = packed ? 0 : c->heads_q * p->lse_stride[1] + 5;
        columns += 3;
    }
    output(&call->lse, ((packed ? 1 : c->batch) * (c->heads_q * columns + 5)) * (int64_t)sizeof(float));
    p->lse = (float *)(void *)((char *)call->lse.data + GUARD);
}

int case_make(const test_case *c, uint64_t seed, case_call *call)
{
    attn_params *p = &call->p;
    lengths_of q, k;
    memset(call, 0, sizeof *call);
    if (c->batch > 64)
        return -1;
    make_lengths(c->batch, c->seq_q, c->varlen & (VARLEN_CU_Q | VARLEN_USED_Q),
                 c->varlen & VARLEN_USED_Q && c->varlen & VARLEN_CU_Q, seed, 0, &q);
    make_lengths(c->batch, c->seq_k, c->paged || c->varlen & (VARLEN_CU_K | VARLEN_USED_K),
                 c->varlen & VARLEN_USED_K && c->varlen & VARLEN_CU_K, seed, 1, &k);
    p->struct_size = sizeof *p;
    p->flags = c->flags;
    p->batch = c->batch;
    p->heads_q = c->heads_q;
    p->heads_k = c->heads_k;
    p->head_dim = c->dim;
    p->head_dim_v = c->dim_v == c->dim ? 0 : c->dim_v;
    p->seq_q = q.longest;
    p->seq_k = k.longest;
    p->total_q = c->varlen & VARLEN_CU_Q ? q.total : 0;
    make_tensor(call, c, seed, 'q', &p->q, c->q_layout, c->dtype, &q, c->varlen & VARLEN_CU_Q, c->heads_q, c->dim);
    if (c->varlen & VARLEN_CU_Q)
        p->cu_seqlens_q = running_sum(call, q.room, c->batch);
    if (c->varlen & VARLEN_USED_Q)
        p->seqused_q = numbers(call, q.used, c->batch);
    if (c->paged) {
        make_pages(call, c, seed, &k);
    } else {
        int packed = c->varlen & VARLEN_CU_K;
        if (packed)
            p->cu_seqlens_k = running_sum(call, k.room, c->batch);
        make_tensor(call, c, seed, 'k', &p->k, c->k_layout, c->kv_dtype, &k, packed, c->heads_k, c->dim);
        if (c->v_in_k)
            p->v = p->k;
        else
            make_tensor(call, c, seed, 'v', &p->v, c->v_layout, c->kv_dtype, &k, packed, c->heads_k, c->dim_v);
        if (c->varlen & VARLEN_USED_K)
            p->seqused_k = numbers(call, k.used, c->batch);
    }
    p->scale = c->scale;
    p->softcap = c->softcap;
    p->causal = c->causal;
    p->window = c->window;
    p->window_left = c->left;
    p->window_right = c->right;
    p->chunk = c->chunk;
    p->sink_tokens = c->sink_tokens;
    p->num_splits = c->splits;
    p->split_size = c->split_size;
    p->threads = c->threads;
    if (c->bias)
        make_bias(call, c, seed);
    if (c->mask)
        make_mask(call, c, seed);
    make_heads(call, c, seed);
    if (c->rope)
        make_rope(call, c, &k);
    make_outputs(call, c, &q);
    call->input_hash = inputs_hash(call);
    return 0;
}

int case_answer(case_call *call, const oracle_hooks *hooks)
{
    oracle_free(&call->answer);
    return oracle_forward(&call->p, hooks, &call->answer);
}

void case_free(case_call *call)
{
    for (int n = 0; n < call->input_count; n++)
        free(call->inputs[n].data);
    free(call->o.data);
    free(call->lse.data);
    oracle_free(&call->answer);
    memset(call, 0, sizeof *call);
}

/* ---- running and checking --------------------------------------------------------------------- */

int case_executes(const attn_instance *t, char *reason, size_t size)
{
    attn__text text = { reason, size };
    if (size)
        *reason = '\0';
    return attn__runs(t, &text);
}

attn_status case_forward(case_call *call, const attn_instance *instance, int workspace, attn_info *info)
{
    memset(call->o.data, PATTERN, call->o.bytes);
    if (call->lse.data)
        memset(call->lse.data, PATTERN, call->lse.bytes);
    return run_forward(instance, &call->p, workspace, info);
}

/* Whether a call has written outside of its rows, and where.  `mine` marks what is a row's. */
static int stray(const case_block *block, const unsigned char *mine, int64_t *where)
{
    const unsigned char *bytes = block->data;
    for (size_t n = 0; n < block->bytes; n++)
        if (!mine[n] && bytes[n] != PATTERN) {
            *where = (int64_t)n - GUARD;
            return 1;
        }
    return 0;
}

static int check_strays(const case_call *call, oracle_verdict *verdict)
{
    const attn_params *p = &call->p;
    int64_t size = oracle_size(p->o.dtype), dims = p->head_dim_v ? p->head_dim_v : p->head_dim;
    int64_t start = (const char *)p->o.data - (const char *)call->o.data;
    unsigned char *o_mine = calloc(call->o.bytes, 1), *lse_mine = calloc(call->lse.bytes + 1, 1);
    if (!o_mine || !lse_mine)
        abort();
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < oracle_rows(p, b); i++)
            for (int64_t h = 0; h < p->heads_q; h++) {
                for (int64_t d = 0; d < dims; d++)
                    memset(o_mine + start + oracle_o_index(p, b, i, h, d) * size, 1, (size_t)size);
                if (p->lse)
                    memset(lse_mine + GUARD + oracle_lse_index(p, b, i, h) * 4, 1, 4);
            }
    int64_t where = 0;
    int in_o = stray(&call->o, o_mine, &where), in_lse = !in_o && stray(&call->lse, lse_mine, &where);
    free(o_mine);
    free(lse_mine);
    if (in_o || in_lse)
        snprintf(verdict->text, sizeof verdict->text, "%s is written outside of its rows, at byte %lld",
                 in_o ? "o" : "lse", (long long)where);
    return !in_o && !in_lse;
}

int case_check(case_call *call, oracle_verdict *verdict)
{
    memset(verdict, 0, sizeof *verdict);
    if (inputs_hash(call) != call->input_hash) {
        snprintf(verdict->text, sizeof verdict->text, "an input was changed");
        return 0;
    }
    return check_strays(call, verdict) && oracle_judge(&call->p, &call->answer, verdict);
}

void *case_copy(const case_block *block)
{
    void *copy = malloc(block->bytes + 1);
    if (!copy)
        abort();
    if (block->bytes)
        memcpy(copy, block->data, block->bytes);
    return copy;
}

int case_same_bits(const case_call *a, const void *o_copy, const void *lse_copy)
{
    return !memcmp(a->o.data, o_copy, a->o.bytes) && (!a->lse.bytes || !memcmp(a->lse.data, lse_copy, a->lse.bytes));
}
