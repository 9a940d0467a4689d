/* test_property.c - random calls against the oracle, and properties that need none.
 *
 * Every random case has its own seed, printed when it fails together with the smallest case that still
 * does: sizes are halved and features dropped as long as the failure stays.
 *     --count N    random cases in all, of the instances in turn: of those whose name has the text of --filter, if any
 *     --seed N     others */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/run.h>
#include "call.h"
#include "check.h"
#include "header_instances.h"

enum { MOST = 512 };

/* ---- random calls ----------------------------------------------------------------------------- */

/* Whether the instance fails on the case; the reason in text. */
static int fails(const attn_instance *t, const test_case *c, uint64_t seed, char *text, size_t size)
{
    case_call call;
    attn_info info;
    oracle_verdict verdict;
    text[0] = 0;
    if (case_make(c, seed, &call))
        return 0;
    const oracle_hooks *hooks = header_instance_hooks(t, &call.p.user);
    attn_status status = case_forward(&call, t, c->workspace, &info);
    if (status != ATTN_OK)
        snprintf(text, size, "%s: %s", attn_status_name(status), info.text);
    else if (!case_answer(&call, hooks) && !case_check(&call, &verdict))
        snprintf(text, size, "%s", verdict.text);
    case_free(&call);
    return text[0] != 0;
}

/* Ways to make a case smaller: halve the fields, count them down, zero them, or make them q's type. */
#define FIELD(name) offsetof(test_case, name)
static const struct {
    char rule;
    size_t fields[4]; /* 0 ends: the first field is never one of them */
} ways[] = {
    {'/', {FIELD(seq_q)}},
    {'/', {FIELD(seq_k)}},
    {'/', {FIELD(batch)}},
    {'/', {FIELD(heads_q), FIELD(heads_k)}},
    {'/', {FIELD(heads_q)}},
    {'/', {FIELD(heads_k)}},
    {'/', {FIELD(dim), FIELD(dim_v)}},
    {'/', {FIELD(dim)}},
    {'/', {FIELD(dim_v)}},
    {'/', {FIELD(threads)}},
    {'-', {FIELD(seq_q)}},
    {'-', {FIELD(seq_k)}},
    {'0', {FIELD(causal)}},
    {'0', {FIELD(window), FIELD(left), FIELD(right), FIELD(sink_tokens)}},
    {'0', {FIELD(chunk)}},
    {'0', {FIELD(sink_tokens)}},
    {'0', {FIELD(sink_logits)}},
    {'0', {FIELD(softcap)}},
    {'0', {FIELD(scale)}},
    {'0', {FIELD(alibi)}},
    {'0', {FIELD(bias), FIELD(bias_same), FIELD(bias_hides)}},
    {'0', {FIELD(mask), FIELD(mask_same)}},
    {'0', {FIELD(varlen)}},
    {'0', {FIELD(paged), FIELD(page_size), FIELD(pages)}},
    {'0', {FIELD(q_layout), FIELD(k_layout), FIELD(v_layout), FIELD(o_layout)}},
    {'0', {FIELD(scales), FIELD(group), FIELD(zero)}},
    {'0', {FIELD(rope), FIELD(rope_dim), FIELD(rope_how)}},
    {'0', {FIELD(lse)}},
    {'0', {FIELD(flags)}},
    {'0', {FIELD(splits), FIELD(split_size)}},
    {'0', {FIELD(workspace)}},
    {'0', {FIELD(fill)}},
    {'=', {FIELD(o_dtype)}},
};

static test_case smaller(const test_case *c, size_t way)
{
    test_case less = *c;
    for (int n = 0; n < 4 && ways[way].fields[n]; n++) {
        int32_t value; /* a float is zeroed alike */
        char *at = (char *)&less + ways[way].fields[n];
        memcpy(&value, at, sizeof value);
        value = ways[way].rule == '/'   ? value - value / 2
                : ways[way].rule == '-' ? value - (value > 1)
                : ways[way].rule == '=' ? c->dtype
                                        : 0;
        memcpy(at, &value, sizeof value);
    }
    return less;
}

static void shrink(const attn_instance *t, test_case *c, uint64_t seed, char *text, size_t size)
{
    char problem[400];
    for (int again = 1, rounds = 0; again && rounds < 50; rounds++) {
        again = 0;
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            test_case less = smaller(c, way);
            if (memcmp(&less, c, sizeof less) != 0 && case_serves(t, &less) &&
                fails(t, &less, seed, problem, sizeof problem)) {
                *c = less;
                snprintf(text, size, "%s", problem);
                again = 1;
            }
        }
    }
}

/* Case n is of instance n % of; it is drawn until the instance serves it. */
static void random_calls(const attn_instance *t, int count, int from, int of)
{
    for (int n = from; n < count; n += of) {
        uint64_t seed = check_seed() ^ check_hash(t->name) ^ (uint64_t)n * 0x9e3779b97f4a7c15u, state = seed;
        test_case c;
        char name[300], text[500];
        if (!check_case("%s random %d", t->name, n))
            continue;
        do
            case_random(t, &state, &c);
        while (!case_serves(t, &c));
        if (!fails(t, &c, seed, text, sizeof text))
            continue;
        case_name(&c, name, sizeof name);
        CHECK_MSG(0, "%s: %s", name, text);
        shrink(t, &c, seed, text, sizeof text);
        case_name(&c, name, sizeof name);
        CHECK_MSG(0, "smallest: %s: %s", name, text);
    }
}

/* ---- properties ------------------------------------------------------------------------------- */

/* Query positions, as many as wanted or as the instance serves. */
static int most_queries(const attn_instance *t, const test_case *c, int wanted)
{
    const int most = t->rows ? t->rows / (c->heads_q / c->heads_k) : wanted;
    return wanted < most ? wanted : most;
}

/* The properties of one instance use a case of moderate size with everything ordinary. */
static test_case base_case(const attn_instance *t)
{
    test_case c;
    case_plain(t, &c);
    c.batch = 2;
    c.heads_k = 2;
    c.heads_q = 2 * (t->gqa ? t->gqa : 3);
    c.seq_q = most_queries(t, &c, 37);
    c.seq_k = t->tile_k + 41;
    c.o_dtype = ATTN_F32;
    c.causal = t->features & ATTN_HAS(CAUSAL) ? ATTN_CAUSAL_BOTTOM_RIGHT : 0;
    return c;
}

/* The decode of one row against many keys: where implementations cut and take another path. */
static test_case decode_case(const attn_instance *t)
{
    test_case c = base_case(t);
    c.seq_q = 1;
    c.seq_k = 2100;
    return c;
}

static void make(test_case *c, case_call *call, const attn_instance *t)
{
    case_fit(t, c);
    CHECK(!case_make(c, 5 + check_seed(), call));
    header_instance_hooks(t, &call->p.user);
}

static void forward(case_call *call, const attn_instance *t)
{
    attn_info info;
    attn_status status = case_forward(call, t, WORKSPACE_BEST, &info);
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), info.text);
}

/* Rows of two calls, addressed by each call's own strides, bit for bit. */
static void same_rows(const attn_params *a, int ba, int ia, const attn_params *b, int bb, int ib, int rows)
{
    int dims = a->head_dim_v ? a->head_dim_v : a->head_dim;
    int64_t size = oracle_size(a->o.dtype);
    for (int i = 0; i < rows && !check_failed(); i++)
        for (int h = 0; h < a->heads_q && !check_failed(); h++) {
            for (int d = 0; d < dims; d++) {
                int64_t x = oracle_o_index(a, ba, ia + i, h, d), y = oracle_o_index(b, bb, ib + i, h, d);
                CHECK_MSG(!memcmp((char *)a->o.data + x * size, (char *)b->o.data + y * size, (size_t)size),
                          "o of row %d head %d dim %d: %.9g and %.9g", i, h, d, oracle_load(a->o.dtype, a->o.data, x),
                          oracle_load(b->o.dtype, b->o.data, y));
            }
            if (a->lse && b->lse) {
                float x = a->lse[oracle_lse_index(a, ba, ia + i, h)], y = b->lse[oracle_lse_index(b, bb, ib + i, h)];
                CHECK_MSG(!memcmp(&x, &y, sizeof x), "lse of row %d head %d: %.9g and %.9g", i, h, (double)x,
                          (double)y);
            }
        }
}

/* The largest difference of o, and of lse, between two calls of the same shape. */
static double difference(const attn_params *a, const attn_params *b)
{
    int dims = a->head_dim_v ? a->head_dim_v : a->head_dim;
    double worst = 0;
    for (int n = 0; n < a->batch; n++)
        for (int i = 0; i < oracle_rows(a, n); i++)
            for (int h = 0; h < a->heads_q; h++) {
                for (int d = 0; d < dims; d++)
                    worst = fmax(worst, fabs(oracle_load(a->o.dtype, a->o.data, oracle_o_index(a, n, i, h, d)) -
                                             oracle_load(b->o.dtype, b->o.data, oracle_o_index(b, n, i, h, d))));
                double x = a->lse[oracle_lse_index(a, n, i, h)], y = b->lse[oracle_lse_index(b, n, i, h)];
                worst = fmax(worst, x == y ? 0 : fabs(x - y));
            }
    return worst;
}

/* o is f32 in these cases: what is left is the order of f32 sums, and P in the type of v. */
static double rounding(const attn_instance *t)
{
    return t->kv_dtype == ATTN_F32 ? 1e-5 : t->kv_dtype == ATTN_F16 ? 2e-3 : 1.6e-2;
}

static void close_to(const attn_instance *t, const attn_params *a, const attn_params *b)
{
    double worst = difference(a, b);
    CHECK_MSG(worst <= rounding(t), "differs by %g, rounding explains %g", worst, rounding(t));
}

typedef test_case shape_fn(const attn_instance *t);

static void twice(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call call;
    make(&c, &call, t);
    forward(&call, t);
    void *o = case_copy(&call.o), *lse = case_copy(&call.lse);
    forward(&call, t);
    CHECK(case_same_bits(&call, o, lse));
    free(o);
    free(lse);
    case_free(&call);
}

static void threads(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call call;
    make(&c, &call, t);
    forward(&call, t);
    void *o = case_copy(&call.o), *lse = case_copy(&call.lse);
    for (int n = 0; n <= 5; n++) {
        call.p.threads = n;
        forward(&call, t);
        CHECK_MSG(case_same_bits(&call, o, lse), "threads %d", n);
    }
    free(o);
    free(lse);
    case_free(&call);
}

static void no_window(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call call;
    make(&c, &call, t);
    forward(&call, t);
    void *o = case_copy(&call.o), *lse = case_copy(&call.lse);
    call.p.window = 1;
    call.p.window_left = call.p.window_right = -1;
    forward(&call, t);
    CHECK(case_same_bits(&call, o, lse));
    free(o);
    free(lse);
    case_free(&call);
}

/* Any order of the keys, each with its value. */
static void permuted_keys(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call a, b;
    c.causal = 0;
    c.k_layout = c.v_layout = LAYOUT_BSHD;
    make(&c, &a, t);
    make(&c, &b, t);
    attn_tensor *const from[2] = {&a.p.k, &a.p.v}, *const to[2] = {&b.p.k, &b.p.v};
    for (int m = 0; m < 2; m++)
        for (int n = 0; n < c.batch; n++)
            for (int j = 0; j < c.seq_k; j++) {
                int other = (int)(((int64_t)j * 7 + 3) % c.seq_k);
                if (c.seq_k % 7 == 0)
                    other = c.seq_k - 1 - j;
                int64_t size = oracle_size(c.kv_dtype), row = from[m]->stride[1] * size;
                memcpy((char *)to[m]->data + (n * c.seq_k + other) * row,
                       (const char *)from[m]->data + (n * c.seq_k + j) * row, (size_t)row);
            }
    forward(&a, t);
    forward(&b, t);
    close_to(t, &a.p, &b.p);
    case_free(&a);
    case_free(&b);
}

/* The keys cut in two calls whose partial results are merged. */
static void split_and_merge(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call whole, part;
    float z[64];
    int sinks = (t->features & ATTN_HAS(SINK_LOGITS)) != 0;
    c.causal = 0;
    c.k_layout = c.v_layout = LAYOUT_BSHD;
    make(&c, &whole, t);
    make(&c, &part, t);
    for (int h = 0; h < 64; h++)
        z[h] = (float)(h % 5) - 1;
    whole.p.sink_logits = part.p.sink_logits = sinks ? z : NULL;
    forward(&whole, t);
    int dims = c.dim_v, cut = c.seq_k * 2 / 3;
    size_t rows = (size_t)c.batch * (size_t)c.seq_q * (size_t)c.heads_q;
    float *o = malloc(2 * rows * (size_t)dims * sizeof *o), *lse = malloc(2 * rows * sizeof *lse);
    if (!o || !lse)
        abort();
    part.p.flags |= ATTN_LSE_NO_SINK;
    for (int m = 0; m < 2; m++) {
        part.p.seq_k = m ? c.seq_k - cut : cut;
        if (m)
            for (int n = 0; n < 2; n++) {
                attn_tensor *x = n ? &part.p.v : &part.p.k;
                x->data = (char *)x->data + cut * x->stride[1] * oracle_size(c.kv_dtype);
            }
        forward(&part, t);
        memcpy(o + (size_t)m * rows * (size_t)dims, part.p.o.data, rows * (size_t)dims * sizeof *o);
        memcpy(lse + (size_t)m * rows, part.p.lse, rows * sizeof *lse);
    }
    attn_merge_params m;
    memset(&m, 0, sizeof m);
    m.struct_size = sizeof m;
    m.device = ATTN_DEVICE_CPU;
    m.parts = 2;
    m.batch = c.batch;
    m.seq_q = c.seq_q;
    m.heads_q = c.heads_q;
    m.head_dim_v = dims;
    m.part_o.data = o;
    m.part_o.dtype = ATTN_F32;
    m.part_lse = lse;
    m.sink_logits = sinks ? z : NULL;
    m.o = part.p.o;
    m.lse = part.p.lse;
    m.threads = 1;
    m.device = ATTN_DEVICE_CPU;
    CHECK(attn_merge(&m, NULL) == ATTN_OK);
    close_to(t, &whole.p, &part.p);
    free(o);
    free(lse);
    case_free(&whole);
    case_free(&part);
}

static void paged_is_dense(const attn_instance *t, shape_fn *shape)
{
    static const int sizes[] = {1, 16, 64, 7};
    static const int pages_of[] = {PAGES_NHD, PAGES_HND,     PAGES_DMAJOR, PAGES_NHD,
                                   PAGES_HND, PAGES_DEFAULT, PAGES_DMAJOR, PAGES_BLOCKED};
    for (int n = 0; n < 8; n++) {
        test_case c = shape(t), pages = c;
        case_call a, b;
        c.varlen = VARLEN_USED_K; /* the same lengths, padded */
        pages.paged = n % 2 ? PAGED_CSR : PAGED_TABLE;
        pages.page_size = sizes[n / 2];
        pages.pages = pages_of[n];
        case_fit(t, &pages);
        if (!case_serves(t, &pages))
            continue;
        make(&c, &a, t);
        make(&pages, &b, t);
        forward(&a, t);
        forward(&b, t);
        if (pages_of[n] == PAGES_DMAJOR || pages_of[n] == PAGES_BLOCKED)
            close_to(t, &a.p, &b.p); /* keys that do not adjoin may take another path */
        for (int m = 0; pages_of[n] < PAGES_DMAJOR && m < c.batch; m++)
            same_rows(&a.p, m, 0, &b.p, m, 0, c.seq_q);
        case_free(&a);
        case_free(&b);
    }
}

/* With ATTN_BATCH_INVARIANT a sequence has the same bits alone as in a batch of others. */
static void batch_invariant(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call all;
    c.batch = 4;
    c.varlen = VARLEN_CU_Q | VARLEN_CU_K;
    c.flags = ATTN_BATCH_INVARIANT;
    make(&c, &all, t);
    forward(&all, t);
    void *o = case_copy(&all.o), *lse = case_copy(&all.lse);
    attn_params p = all.p;
    const char *kept = o;
    p.o.data = (char *)o + ((const char *)all.p.o.data - (const char *)all.o.data);
    p.lse = (float *)(void *)((char *)lse + ((const char *)all.p.lse - (const char *)all.lse.data));
    for (int b = 0; b < c.batch && kept; b++) {
        int32_t rows[2] = {all.p.cu_seqlens_q[b], all.p.cu_seqlens_q[b + 1]};
        int32_t keys[2] = {all.p.cu_seqlens_k[b], all.p.cu_seqlens_k[b + 1]};
        attn_params saved = all.p;
        int64_t size = oracle_size(c.dtype);
        all.p.batch = 1;
        all.p.q.data = (char *)all.p.q.data + (int64_t)rows[0] * c.heads_q * c.dim * size;
        all.p.k.data = (char *)all.p.k.data + (int64_t)keys[0] * c.heads_k * c.dim * oracle_size(c.kv_dtype);
        all.p.v.data = (char *)all.p.v.data + (int64_t)keys[0] * c.heads_k * (c.v_in_k ? c.dim : c.dim_v) *
                          oracle_size(c.kv_dtype);
        all.p.cu_seqlens_q = all.p.cu_seqlens_k = NULL;
        all.p.total_q = 0;
        all.p.seq_q = rows[1] - rows[0];
        all.p.seq_k = keys[1] - keys[0];
        forward(&all, t);
        same_rows(&p, b, 0, &all.p, 0, 0, all.p.seq_q);
        all.p = saved;
    }
    free(o);
    free(lse);
    case_free(&all);
}

/* Grouped heads against the same keys and values copied for each query head. */
static void gqa_is_expanded(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call a, b;
    c.k_layout = c.v_layout = LAYOUT_BHSD;
    make(&c, &a, t);
    c.heads_k = c.heads_q;
    make(&c, &b, t);
    int ratio = a.p.heads_q / a.p.heads_k;
    attn_tensor *const from[2] = {&a.p.k, &a.p.v}, *const to[2] = {&b.p.k, &b.p.v};
    for (int m = 0; m < 2; m++)
        for (int n = 0; n < c.batch * c.heads_q; n++) {
            size_t head = (size_t)(from[m]->stride[2] * oracle_size(c.kv_dtype));
            memcpy((char *)to[m]->data + (size_t)n * head, (const char *)from[m]->data + (size_t)(n / ratio) * head,
                   head);
        }
    forward(&a, t);
    forward(&b, t);
    close_to(t, &a.p, &b.p);
    case_free(&a);
    case_free(&b);
}

/* Rows of a prompt computed in chunks, each against its prefix. */
static void chunked_prefill(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call whole, part;
    c.batch = 1;
    c.seq_q = c.seq_k = most_queries(t, &c, t->tile_q + 29);
    c.q_layout = c.k_layout = c.v_layout = LAYOUT_BSHD;
    make(&c, &whole, t);
    make(&c, &part, t);
    forward(&whole, t);
    for (int first = 0, rows; first < c.seq_q && !check_failed(); first += rows) {
        rows = first % 2 ? 1 : 23;
        rows = rows < c.seq_q - first ? rows : c.seq_q - first;
        attn_params saved = part.p;
        part.p.q.data = (char *)part.p.q.data + first * part.p.q.stride[1] * oracle_size(c.dtype);
        part.p.seq_q = rows;
        part.p.seq_k = first + rows;
        forward(&part, t);
        double worst = 0;
        for (int i = 0; i < rows; i++)
            for (int h = 0; h < c.heads_q; h++)
                for (int d = 0; d < c.dim_v; d++)
                    worst =
                        fmax(worst,
                             fabs(oracle_load(ATTN_F32, whole.p.o.data, oracle_o_index(&whole.p, 0, first + i, h, d)) -
                                  oracle_load(ATTN_F32, part.p.o.data, oracle_o_index(&part.p, 0, i, h, d))));
        CHECK_MSG(worst <= rounding(t), "rows %d+%d differ by %g", first, rows, worst);
        part.p = saved;
    }
    case_free(&whole);
    case_free(&part);
}

static void sink_identity(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call a, b;
    c.o_dtype = ATTN_F32;
    make(&c, &a, t);
    c.sink_logits = 1;
    make(&c, &b, t);
    forward(&a, t);
    forward(&b, t);
    for (int n = 0; n < c.batch; n++)
        for (int i = 0; i < c.seq_q; i++)
            for (int h = 0; h < c.heads_q && !check_failed(); h++) {
                double z = b.p.sink_logits[h], lse = a.p.lse[oracle_lse_index(&a.p, n, i, h)];
                double got = b.p.lse[oracle_lse_index(&b.p, n, i, h)], want = log(exp(lse - z) + 1) + z;
                CHECK_MSG(fabs(got - want) < 1e-5 * fmax(1, fabs(want)), "lse %.9g, must be %.9g", got, want);
                for (int d = 0; d < c.dim_v; d++) {
                    want = oracle_load(ATTN_F32, a.p.o.data, oracle_o_index(&a.p, n, i, h, d)) / (1 + exp(z - lse));
                    got = oracle_load(ATTN_F32, b.p.o.data, oracle_o_index(&b.p, n, i, h, d));
                    CHECK_MSG(fabs(got - want) <= rounding(t), "o %.9g, must be %.9g", got, want);
                }
            }
    case_free(&a);
    case_free(&b);
}

/* Layout, workspace and the number of splits asked for change nothing but rounding, layout not even that. */
static void any_layout(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call a, b;
    make(&c, &a, t);
    c.q_layout = LAYOUT_BHSD;
    c.k_layout = LAYOUT_SBHD;
    c.v_layout = t->kv_dtype == ATTN_NARROW ? LAYOUT_PADDED32 : LAYOUT_PADDED8;
    c.o_layout = LAYOUT_PADDED;
    make(&c, &b, t);
    forward(&a, t);
    forward(&b, t);
    for (int n = 0; n < c.batch; n++)
        same_rows(&a.p, n, 0, &b.p, n, 0, c.seq_q);
    case_free(&a);
    case_free(&b);
}

static void any_split(const attn_instance *t, shape_fn *shape)
{
    test_case c = shape(t);
    case_call a, b;
    make(&c, &a, t);
    make(&c, &b, t);
    a.p.num_splits = 1;
    forward(&a, t);
    for (int n = 2; n <= 50; n += 8) {
        b.p.num_splits = n;
        forward(&b, t);
        close_to(t, &a.p, &b.p);
    }
    case_free(&a);
    case_free(&b);
}

static const struct {
    const char *name;
    uint32_t needs;
    int any_ratio; /* needs an instance of any ratio */
    int any_keys;  /* holds only if all keys and sequences are alike: no user macros */
    void (*check)(const attn_instance *t, shape_fn *shape);
} properties[] = {
    {"twice the same bits", 0, 0, 0, twice},
    {"any number of threads, the same bits", 0, 0, 0, threads},
    {"any layout, the same bits", 0, 0, 0, any_layout},
    {"any number of splits", 0, 0, 0, any_split},
    {"an infinite window is none", ATTN_HAS(WINDOW), 0, 0, no_window},
    {"keys in any order", 0, 0, 1, permuted_keys},
    {"split and merged is whole", 0, 0, 1, split_and_merge},
    {"paged is dense, the same bits", ATTN_HAS(PAGED) | ATTN_HAS(VARLEN), 0, 0, paged_is_dense},
    {"batch-invariant: alone as in a batch, the same bits", ATTN_HAS(VARLEN), 0, 1, batch_invariant},
    {"grouped heads are expanded heads", 0, 1, 1, gqa_is_expanded},
    {"prefill in chunks is prefill", ATTN_HAS(CAUSAL), 0, 0, chunked_prefill},
    {"sink logit is a sigmoid", ATTN_HAS(SINK_LOGITS), 0, 0, sink_identity},
};

/* Random calls of all, in turn; if --filter has a part of some names, of those alone.  A case that is asked for by its
 * whole name has the number that it had among others. */
static void random_calls_of(const attn_instance *const *all, size_t count)
{
    const attn_instance *some[MOST];
    const char *filter = check_filter();
    const int exact = filter && *filter == '=';
    size_t n_some = 0;
    for (size_t n = 0; n < count && filter && !exact; n++)
        if (strstr(all[n]->name, filter))
            some[n_some++] = all[n];
    if (n_some)
        all = some, count = n_some;
    for (size_t n = 0; n < count; n++)
        random_calls(all[n], check_count(200 * (int)count), exact ? 0 : (int)n, exact ? 1 : (int)count);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        shape_fn *shape;
    } shapes[] = {{"prefill", base_case}, {"decode", decode_case}};
    check_begin(argc, argv);
    size_t listed, count = 0;
    const attn_instance *able[MOST];
    const attn_instance *const *list = tested_instances(&listed);
    for (size_t m = 0; m < listed && count < MOST; m++) {
        const attn_instance *t = list[m];
        char reason[300];
        if (!attn__attends(t))
            continue;
        if (!case_executes(t, reason, sizeof reason)) {
            if (check_case("%s", t->name))
                check_skip(reason);
            continue;
        }
        able[count++] = t;
        for (size_t n = 0; n < sizeof properties / sizeof *properties; n++)
            for (int s = 0; s < 2; s++)
                if (!(properties[n].needs & ~t->features) && !(properties[n].any_ratio && t->gqa) &&
                    !(properties[n].any_keys && t->user) &&
                    check_case("%s %s: %s", t->name, shapes[s].name, properties[n].name))
                    properties[n].check(t, shapes[s].shape);
    }
    random_calls_of(able, count);
    return check_end();
}
