/* test_append.c - attn_append_kv and attn_merge, in host memory and on every CUDA instance that serves them: what is
 * written, element for element, against the oracle; that nothing else is; what is refused.
 *
 * The cache of a case is that of cases.h; its new tokens are the q of other cases with the same lengths.  Built twice:
 * for a GPU, and with ATTN_EMULATED for the emulator. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/run.h>
#include "call.h"
#include "check.h"
#include "gpu.h"
#ifdef ATTN_EMULATED
#include "emu.h"
#endif

enum { MOST = 64 };

/* ---- one call ----------------------------------------------------------------------------------- */

/* A case of a cache, and what is new. */
typedef struct append_case {
    test_case cache;
    int new_dtype, new_layout, q_out, q_dtype; /* q_out: is q rotated, too */
    int without_k, without_v, compute;
} append_case;

typedef struct append_call {
    case_call cache, k, v, q;
    attn_append_params a;
} append_call;

static void name_of(const append_case *c, char *text, size_t size)
{
    static const char *const types[] = {"", "f32", "f16", "bf16"};
    case_name(&c->cache, text, size);
    snprintf(text + strlen(text), size - strlen(text), " new:%s:%d%s%s%s%s", types[c->new_dtype], c->new_layout,
             c->q_out ? " q:" : "", c->q_out ? types[c->q_dtype] : "",
             c->without_k ? " v" : c->without_v ? " k" : "", c->compute ? " compute" : "");
}

/* A case whose q has the lengths of this one. */
static int make_new(const append_case *c, uint64_t seed, int heads, int dim, case_call *call)
{
    test_case n = c->cache;
    n.dtype = n.kv_dtype = c->new_dtype;
    n.o_dtype = c->q_dtype ? c->q_dtype : c->new_dtype;
    n.heads_q = heads;
    n.heads_k = 1;
    n.dim = n.dim_v = dim;
    n.q_layout = c->new_layout;
    n.o_layout = c->new_layout;
    n.k_layout = n.v_layout = LAYOUT_DEFAULT;
    n.paged = n.scales = n.rope = n.v_in_k = 0;
    n.varlen &= VARLEN_CU_Q | VARLEN_USED_Q;
    return case_make(&n, seed, call);
}

static int make(const append_case *c, uint64_t seed, append_call *call)
{
    memset(call, 0, sizeof *call);
    if (case_make(&c->cache, seed, &call->cache) ||
        make_new(c, seed, c->cache.heads_k, c->cache.dim, &call->k) ||
        make_new(c, seed, c->cache.heads_k, c->cache.dim_v, &call->v) ||
        make_new(c, seed, c->cache.heads_q, c->cache.dim, &call->q))
        return -1;
    attn_params *p = &call->cache.p;
    if (p->seqused_q) /* no more new tokens than there are in all */
        for (int b = 0; b < p->batch; b++)
            if (p->seqused_q[b] > oracle_keys(p, b))
                ((int32_t *)(uintptr_t)p->seqused_q)[b] = (int32_t)oracle_keys(p, b);
    call->a.struct_size = sizeof call->a;
    call->a.flags = c->compute ? ATTN_APPEND_SCALES : 0;
    if (!c->without_k)
        call->a.k = call->k.p.q;
    if (!c->without_v)
        call->a.v = call->v.p.q;
    if (c->q_out)
        call->a.q = call->q.p.o;
    /* Other values than those of k. */
    attn_params own = call->v.p;
    own.o = own.q;
    for (int64_t b = 0; b < own.batch; b++)
        for (int64_t i = 0; i < oracle_rows(&own, b); i++)
            for (int64_t h = 0; h < own.heads_q; h++)
                for (int64_t d = 0; d < own.head_dim; d++) {
                    const int64_t at = oracle_o_index(&own, b, i, h, d);
                    oracle_store(own.q.dtype, own.q.data, at, 0.75 - oracle_load(own.q.dtype, own.q.data, at));
                }
    return 0;
}

static void drop(append_call *call)
{
    case_free(&call->cache);
    case_free(&call->k);
    case_free(&call->v);
    case_free(&call->q);
}

/* A copy of the block of the cache's inputs that a pointer lies in, to be compared with it. */
typedef struct copy_of {
    const case_block *block;
    char *bytes;
} copy_of;

static copy_of copied(const case_call *call, const void *pointer)
{
    copy_of c = {NULL, NULL};
    for (int n = 0; n < call->input_count; n++) {
        const case_block *block = &call->inputs[n];
        if ((const char *)pointer >= (const char *)block->data &&
            (const char *)pointer < (const char *)block->data + block->bytes) {
            c.block = block;
            c.bytes = case_copy(block);
        }
    }
    return c;
}

/* What `to` points to in the block is at the same place in its copy. */
static void *in_copy(const copy_of *c, const void *to)
{
    return c->bytes + ((const char *)to - (const char *)c->block->data);
}

static void check_copy(copy_of *c, const char *what)
{
    if (c->bytes)
        CHECK_MSG(!memcmp(c->bytes, c->block->data, c->block->bytes), "%s: something else was written to", what);
    free(c->bytes);
}

/* ---- what must be there -------------------------------------------------------------------------- */

static int same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* Whether `got` is what `want`, or something within eps of it, is rounded to. */
static int fits(int dtype, double got, double want, double eps)
{
    if (same(got, oracle_round(dtype, want)))
        return 1;
    return oracle_round(dtype, want - eps) <= got && got <= oracle_round(dtype, want + eps);
}

/* A row of new values as floats, rotated; eps: what f32 may err by. */
static void new_row(const attn_params *p, const attn_tensor *t, const case_call *shape, int64_t b, int64_t i, int64_t h,
                    int dims, int rotates, double *x, double *eps)
{
    attn_params own = shape->p;
    own.o = *t;
    double most = 0;
    for (int64_t d = 0; d < dims; d++) {
        x[d] = oracle_load(t->dtype, t->data, oracle_o_index(&own, b, i, h, d));
        most = fmax(most, fabs(x[d]));
    }
    *eps = rotates && p->rope_style ? 1e-6 * most : 0;
    if (rotates)
        oracle_rotate(p, oracle_position(p, b) + i, x);
}

/* One row of the cache in memory and as it was; the copy becomes what was found, where that is right. */
static void check_row(const append_call *call, int is_v, int64_t b, int64_t i, int64_t g, const copy_of *cache,
                      const copy_of *scales)
{
    const attn_params *p = &call->cache.p;
    const attn_tensor *t = is_v ? &p->v : &p->k;
    const attn_scale *s = is_v ? &p->v_scale : &p->k_scale;
    const int dims = is_v && p->head_dim_v ? p->head_dim_v : p->head_dim, group = s->group ? s->group : dims;
    const int64_t j = oracle_keys(p, b) - oracle_rows(p, b) + i;
    const float top = t->dtype == ATTN_E4M3 ? 448 : t->dtype == ATTN_E5M2 ? 57344 : t->dtype == ATTN_INT8 ? 127 : 7;
    double x[1200], eps;
    new_row(p, is_v ? &call->a.v : &call->a.k, is_v ? &call->v : &call->k, b, i, g, dims, !is_v, x, &eps);
    for (int d0 = 0; d0 < dims; d0 += group) {
        const int64_t at = s->scale ? oracle_scale_index(p, s, b, j, g, d0) : 0;
        const int end = d0 + group < dims ? d0 + group : dims;
        float scale = s->scale ? s->scale[at] : 1;
        if (call->a.flags & ATTN_APPEND_SCALES) {
            float most = 0;
            for (int d = d0; d < end; d++)
                most = isnan(x[d]) || fabsf((float)x[d]) > most ? fabsf((float)x[d]) : most;
            const float want = most / top;
            CHECK_MSG(same((double)scale, (double)want) || fabsf(scale - want) <= (float)eps / top,
                      "scale of batch %d token %d head %d dim %d is %.9g, must be %.9g", (int)b, (int)i, (int)g, d0,
                      (double)scale, (double)want);
            memcpy((float *)in_copy(scales, s->scale) + at, &scale, sizeof scale);
        }
        const float zero = s->zero ? s->zero[at] : 0;
        for (int d = d0; d < end; d++) {
            const int64_t index = oracle_kv_index(p, t, dims, b, j, g, d);
            const double got = oracle_load(t->dtype, t->data, index);
            double want = x[d], step = eps;
            if (t->dtype > ATTN_BF16) {
                want = (double)(scale == 0 ? 0 : (float)x[d] / scale + zero);
                step = scale == 0 ? 0 : eps / fabs((double)scale);
            }
            CHECK_MSG(fits(t->dtype, got, want, step), "%c of batch %d token %d head %d dim %d is %.9g, must be %.9g",
                      is_v ? 'v' : 'k', (int)b, (int)i, (int)g, d, got, oracle_round(t->dtype, want));
            if (t->dtype == ATTN_INT4) {
                oracle_store(ATTN_INT4, in_copy(cache, t->data), index, got);
                continue;
            }
            const int64_t size = oracle_size(t->dtype);
            memcpy((char *)in_copy(cache, t->data) + index * size, (const char *)t->data + index * size, (size_t)size);
        }
    }
}

/* The rotated q; the rest of its block is as it was made. */
static void check_q(append_call *call)
{
    attn_params *p = &call->cache.p, own = call->q.p;
    const int64_t size = oracle_size(own.o.dtype);
    double x[1200], eps;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < oracle_rows(p, b); i++)
            for (int64_t h = 0; h < p->heads_q; h++) {
                attn_params from = *p;
                from.o = from.q;
                from.head_dim_v = 0;
                for (int64_t d = 0; d < p->head_dim; d++)
                    x[d] = oracle_load(p->q.dtype, p->q.data, oracle_o_index(&from, b, i, h, d));
                eps = 0;
                for (int64_t d = 0; p->rope_style && d < p->head_dim; d++)
                    eps = fmax(eps, 1e-6 * fabs(x[d]));
                oracle_rotate(p, oracle_position(p, b) + i, x);
                for (int64_t d = 0; d < p->head_dim; d++) {
                    const int64_t at = oracle_o_index(&own, b, i, h, d);
                    const double got = oracle_load(own.o.dtype, own.o.data, at);
                    CHECK_MSG(fits(own.o.dtype, got, x[d], eps),
                              "q of batch %d row %d head %d dim %d is %g, must be %g", (int)b, (int)i, (int)h, (int)d,
                              got, x[d]);
                    memset((char *)own.o.data + at * size, 0xa5, (size_t)size);
                }
            }
    for (size_t n = 0; n < call->q.o.bytes; n++)
        if (((unsigned char *)call->q.o.data)[n] != 0xa5) {
            CHECK_MSG(0, "q: byte %d is not of a row, and was written to", (int)n);
            return;
        }
}

/* instance NULL: the host. */
static void run(const attn_instance *instance, const append_case *c, const char *name)
{
    append_call call;
    char text[300] = "";
    CHECK(!make(c, check_seed() ^ check_hash(name), &call));
    attn_params *p = &call.cache.p;
    copy_of k = copied(&call.cache, p->k.data), v = copied(&call.cache, p->v.data);
    copy_of k_scale = copied(&call.cache, p->k_scale.scale), v_scale = copied(&call.cache, p->v_scale.scale);
    attn_status status;
    if (instance) {
        gpu_call there;
        p->device = ATTN_DEVICE_CUDA;
        status = attn_list_append_explain(&instance, 1, p, &call.a, text, sizeof text);
        CHECK_MSG(status == ATTN_OK && strstr(text, instance->name), "%s", text);
        if (status == ATTN_OK && !gpu_open_append(p, &call.a, &there)) {
            status = gpu_run_append(&there, instance);
            snprintf(text, sizeof text, "%s", gpu_problem());
            CHECK_MSG(gpu_close(&there, text, sizeof text), "%s", text);
        } else {
            status = ATTN_ERR_CUDA;
        }
    } else {
        p->device = ATTN_DEVICE_CPU;
        status = attn_list_append_explain(NULL, 0, p, &call.a, text, sizeof text);
        if (status == ATTN_OK)
            status = attn_list_append_kv(NULL, 0, p, &call.a, NULL);
    }
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), text);
    for (int64_t b = 0; b < p->batch && status == ATTN_OK && !check_failed(); b++)
        for (int64_t i = 0; i < oracle_rows(p, b); i++)
            for (int64_t g = 0; g < p->heads_k; g++) {
                if (call.a.k.data)
                    check_row(&call, 0, b, i, g, &k, &k_scale);
                if (call.a.v.data)
                    check_row(&call, 1, b, i, g, &v, &v_scale);
            }
    check_copy(&k, "k");
    check_copy(&v, "v");
    check_copy(&k_scale, "k_scale");
    check_copy(&v_scale, "v_scale");
    if (call.a.q.data && status == ATTN_OK)
        check_q(&call);
    drop(&call);
}

/* ---- which cases --------------------------------------------------------------------------------- */

static int pick(uint64_t *r, int count) { return check_range(r, 0, count - 1); }

static int sensible(const append_case *c)
{
    attn_instance any;
    memset(&any, 0, sizeof any);
    any.features = ~0u;
    if (!case_serves(&any, &c->cache))
        return 0;
    /* Tokens must have places of their own. */
    return c->cache.k_layout < LAYOUT_SAME_B && c->cache.v_layout < LAYOUT_SAME_B && c->new_layout < LAYOUT_SAME_B &&
           (!c->compute || (c->cache.scales == SCALES_TOKEN && !c->cache.zero && c->cache.kv_dtype > ATTN_BF16)) &&
           (!c->cache.scales || c->cache.kv_dtype > ATTN_BF16);
}

/* Number n of the cases: each thing in its turn for the first ones, at random for all. */
static int make_case(int n, append_case *c)
{
    static const int dims[] = {64, 128, 8, 40, 32, 20, 256, 80, 576, 130, 2, 96};
    static const int pages[] = {16, 1, 3, 64, 8};
    uint64_t state = (uint64_t)n * 77 + check_seed(), *r = &state;
    test_case *t = &c->cache;
    memset(c, 0, sizeof *c);
    for (int i = 0; i < 8; i++)
        check_rand(r);
    t->dtype = t->o_dtype = 1 + n % 3;
    t->kv_dtype = 1 + n % 7;
    t->batch = check_range(r, 1, 4);
    t->heads_k = check_range(r, 1, 3);
    t->heads_q = t->heads_k * check_range(r, 1, 4);
    t->dim = t->dim_v = dims[n / 3 % 12];
    if (pick(r, 4) == 0)
        t->dim_v = dims[pick(r, 12)];
    t->seq_q = pick(r, 3) ? check_range(r, 1, 5) : check_range(r, 0, 40);
    t->seq_k = t->seq_q + pick(r, 40);
    t->threads = pick(r, 3);
    if (n % 2) {
        t->paged = n % 4 == 1 ? PAGED_TABLE : PAGED_CSR;
        t->page_size = pages[pick(r, 5)];
        t->pages = pick(r, PAGES_COUNT);
    } else if (pick(r, 3) == 0) {
        t->varlen = pick(r, 2) ? VARLEN_CU_K : VARLEN_USED_K;
    }
    if (pick(r, 2))
        t->varlen |= VARLEN_CU_Q;
    if (t->paged || t->varlen)
        t->varlen |= VARLEN_USED_Q; /* so that no sequence has more new tokens than tokens */
    if (!t->paged && pick(r, 2))
        t->k_layout = t->v_layout = pick(r, LAYOUT_SAME_B);
    if (t->kv_dtype > ATTN_BF16) {
        t->scales = pick(r, 4);
        t->group = t->scales == SCALES_TOKEN ? (int[]){0, 32, 64, 128}[pick(r, 4)] : 0;
        c->compute = t->scales == SCALES_TOKEN && pick(r, 3);
        t->zero = !c->compute && t->scales && pick(r, 3) == 0;
    }
    if (pick(r, 2)) {
        t->rope = 1 + pick(r, 2);
        t->rope_dim = pick(r, 3) ? 0 : t->dim / 4 * 2;
        t->rope_how = pick(r, 4);
    }
    t->q_layout = pick(r, 3) ? LAYOUT_DEFAULT : pick(r, LAYOUT_SAME_B);
    c->new_dtype = 1 + pick(r, 3);
    c->new_layout = pick(r, 2) ? LAYOUT_DEFAULT : pick(r, LAYOUT_SAME_B);
    c->q_out = pick(r, 3) == 0;
    c->q_dtype = c->q_out ? 1 + pick(r, 3) : 0;
    c->without_k = pick(r, 8) == 0;
    c->without_v = !c->without_k && pick(r, 8) == 0;
    t->fill = pick(r, 6) ? FILL_RANDOM : FILL_NAN_Q + pick(r, FILL_COUNT - FILL_NAN_Q);
    return sensible(c);
}

static void appends(const attn_instance *instance)
{
    for (int n = 0; n < check_count(400); n++) {
        append_case c;
        char name[300];
        if (!make_case(n, &c))
            continue;
        name_of(&c, name, sizeof name);
        if (!check_case("%s %d %s", instance ? instance->name : "append: host", n, name))
            continue;
#ifdef ATTN_EMULATED
        emu_set.seed = (uint64_t)n;
        emu_set.schedule = n % EMU_SCHEDULES;
        emu_set.resident = 1 + n % 3;
        emu_forget();
#endif
        run(instance, &c, name);
    }
}

/* A prefill of many tokens, where a strip has several heads. */
static void many(const attn_instance *instance)
{
    append_case c;
    make_case(0, &c);
    memset(&c, 0, sizeof c);
    c.cache.dtype = c.cache.o_dtype = c.new_dtype = c.q_dtype = ATTN_BF16;
    c.cache.kv_dtype = ATTN_BF16;
    c.cache.batch = 1;
    c.cache.heads_k = 3;
    c.cache.heads_q = 9;
    c.cache.dim = c.cache.dim_v = 32;
    c.cache.seq_q = 3000;
    c.cache.seq_k = 3010;
    c.cache.rope = ATTN_ROPE_HALF_SPLIT;
    c.q_out = 1;
    if (check_case("%s many tokens", instance ? instance->name : "append: host"))
        run(instance, &c, "many");
}

/* A cache of more than 2^31 elements, of which no more than the tokens is touched. */
static void far(const attn_instance *instance)
{
    enum { DIM = 16, HEADS = 2, TOKENS = 3 };
    const int64_t stride = ((int64_t)1 << 30) + 8, bytes = 2 * (TOKENS * stride + HEADS * DIM);
    static uint16_t news[TOKENS * HEADS * DIM];
    attn_params p;
    attn_append_params a;
    if (sizeof(void *) <= 4 || !check_case("%s tokens far apart", instance ? instance->name : "append: host"))
        return;
    uint16_t *cache = gpu_map((size_t)bytes, instance != NULL);
    if (!cache) {
        check_skip("there is not so much memory to map");
        return;
    }
    for (int n = 0; n < TOKENS * HEADS * DIM; n++)
        oracle_store(ATTN_F16, news, n, n + 1);
    memset(&p, 0, sizeof p);
    memset(&a, 0, sizeof a);
    p.struct_size = sizeof p;
    p.batch = 1;
    p.heads_q = p.heads_k = HEADS;
    p.head_dim = DIM;
    p.seq_q = p.seq_k = TOKENS;
    p.q.dtype = ATTN_F16;
    p.q.data = p.v.data = p.o.data = news; /* not touched */
    p.k.data = cache;
    p.k.stride[0] = p.k.stride[1] = stride;
    p.k.stride[2] = DIM;
    p.k.stride[3] = 1;
    p.device = ATTN_DEVICE_CPU;
    a.struct_size = sizeof a;
    a.k.data = news;
    attn_status status = ATTN_ERR_CUDA;
    if (instance) {
        gpu_call there;
        char text[200] = "";
        p.device = ATTN_DEVICE_CUDA;
        if (gpu_emulated) { /* whose memory is the host's: nothing is to be copied */
            status = attn_list_append_kv(&instance, 1, &p, &a, NULL);
        } else if (!gpu_open_append(&p, &a, &there)) {
            status = gpu_run_append(&there, instance);
            CHECK_MSG(gpu_close(&there, text, sizeof text), "%s", text);
        }
    } else {
        status = attn_list_append_kv(NULL, 0, &p, &a, NULL);
    }
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), gpu_problem());
    for (int n = 0; n < TOKENS * HEADS * DIM; n++)
        CHECK(cache[n / (HEADS * DIM) * stride + n % (HEADS * DIM)] == news[n]);
    gpu_unmap(cache, (size_t)bytes, instance != NULL);
}

/* ---- lengths and pages that are wrong ------------------------------------------------------------ */

static const struct {
    int varlen, paged;
    const char *field;
    int index, value; /* index -1: of the page of the newest tokens of sequence 1 */
} bad[] = {
    {VARLEN_USED_K | VARLEN_USED_Q, 0, "seqused_k", 1, 1000},
    {VARLEN_USED_K | VARLEN_USED_Q, 0, "seqused_k", 0, -3},
    {VARLEN_USED_K | VARLEN_USED_Q, 0, "seqused_q", 0, 1 << 30},
    {VARLEN_CU_Q | VARLEN_USED_Q, 0, "cu_seqlens_q", 1, 1 << 30},
    {VARLEN_CU_Q | VARLEN_USED_Q, 0, "cu_seqlens_q", 0, -7},
    {VARLEN_USED_Q, PAGED_TABLE, "block_table", -1, 99},
    {VARLEN_USED_Q, PAGED_TABLE, "block_table", -1, -1},
    {VARLEN_USED_Q, PAGED_TABLE, "seqused_k", 0, 1 << 20},
    {VARLEN_USED_Q, PAGED_CSR, "page_indices", -1, -5},
    {VARLEN_USED_Q, PAGED_CSR, "last_page_len", 1, 1 << 20},
};

/* Nothing outside of the cache's memory is written: the guards of gpu_close, and those of a sanitizer, say so. */
static void spoilt(const attn_instance *instance, size_t n)
{
    append_case c;
    append_call call;
    char text[300] = "";
    memset(&c, 0, sizeof c);
    c.cache.dtype = c.cache.o_dtype = c.cache.kv_dtype = c.new_dtype = ATTN_F16;
    c.cache.batch = 3;
    c.cache.heads_k = c.cache.heads_q = 2;
    c.cache.dim = c.cache.dim_v = 16;
    c.cache.seq_q = 5;
    c.cache.seq_k = 21;
    c.cache.varlen = bad[n].varlen;
    c.cache.paged = bad[n].paged;
    c.cache.page_size = bad[n].paged ? 4 : 0;
    CHECK(!make(&c, 5, &call));
    attn_params *p = &call.cache.p;
    const int64_t pages = p->page_size ? (oracle_keys(p, 1) + p->page_size - 1) / p->page_size : 0;
    const int64_t newest = p->page_indptr ? p->page_indptr[1] + pages - 1
                                          : (p->seq_k + 3) / 4 + pages - 1; /* a compact table of pages of 4 */
    const int64_t index = bad[n].index < 0 ? newest : bad[n].index;
    CHECK(oracle_rows(p, 1) > 0);
    if (instance) {
        gpu_call there;
        p->device = ATTN_DEVICE_CUDA;
        CHECK(!gpu_open_append(p, &call.a, &there));
        gpu_spoil(&there, bad[n].field, index, bad[n].value);
        attn_status status = gpu_run_append(&there, instance);
        CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), gpu_problem());
        CHECK_MSG(gpu_close(&there, text, sizeof text), "%s", text);
    } else {
        const struct {
            const char *name;
            const int32_t *at;
        } fields[] = {{"seqused_k", p->seqused_k},       {"seqused_q", p->seqused_q},
                      {"cu_seqlens_q", p->cu_seqlens_q}, {"block_table", p->block_table},
                      {"page_indices", p->page_indices}, {"last_page_len", p->last_page_len}};
        for (size_t m = 0; m < sizeof fields / sizeof *fields; m++)
            if (!strcmp(fields[m].name, bad[n].field))
                ((int32_t *)(uintptr_t)fields[m].at)[index] = bad[n].value;
        p->device = ATTN_DEVICE_CPU;
        p->threads = 1;
        CHECK(attn_list_append_kv(NULL, 0, p, &call.a, NULL) == ATTN_ERR_ARG);
    }
    drop(&call);
}

/* ---- merge on a device --------------------------------------------------------------------------- */

static void merges(const attn_instance *instance)
{
    static const int dims[] = {128, 64, 70, 3, 40, 256};
    for (int n = 0; n < check_count(60); n++) {
        attn_merge_params m;
        uint64_t state = (uint64_t)n + check_seed() * 31;
        const int parts = check_range(&state, 1, 5), batch = check_range(&state, 1, 3), seq = check_range(&state, 1, 9);
        const int heads = check_range(&state, 1, 4), dim = dims[n % 6], type = 1 + n / 2 % 3, o_type = 1 + n / 3 % 3;
        const int sink = check_range(&state, 0, 2) == 0, base2 = check_range(&state, 0, 1), pad = n % 4 == 3;
        const size_t rows = (size_t)(batch * seq * heads), pitch = (size_t)(dim + 3 * pad);
        if (!check_case("%s %d: parts %d, batch %d, seq %d, heads %d, dim %d, types %d %d%s%s%s", instance->name, n,
                        parts, batch, seq, heads, dim, type, o_type, sink ? ", sink" : "", base2 ? ", base 2" : "",
                        pad ? ", padded" : ""))
            continue;
        char *part_o = malloc((size_t)parts * rows * pitch * 4), *o = malloc(rows * pitch * 4);
        char *want_o = malloc(rows * pitch * 4);
        float *part_lse = malloc((size_t)parts * rows * 4), *lse = malloc(rows * 4), *want_lse = malloc(rows * 4);
        float logits[8];
        if (!part_o || !o || !want_o || !part_lse || !lse || !want_lse)
            abort();
        for (size_t i = 0; i < (size_t)parts * rows * pitch; i++)
            oracle_store(type, part_o, (int64_t)i, check_normal(&state));
        for (size_t i = 0; i < (size_t)parts * rows; i++)
            part_lse[i] = check_range(&state, 0, 4) ? (float)(5 * check_normal(&state)) : -INFINITY;
        for (int h = 0; h < heads; h++)
            logits[h] = (float)check_normal(&state);
        if (n % 7 == 6)
            part_lse[0] = NAN;
        memset(o, 0xa5, rows * pitch * 4);
        memset(want_o, 0xa5, rows * pitch * 4);
        memset(&m, 0, sizeof m);
        m.struct_size = sizeof m;
        m.flags = base2 ? ATTN_LSE_BASE2 : 0;
        m.parts = parts;
        m.batch = batch;
        m.seq_q = seq;
        m.heads_q = heads;
        m.head_dim_v = dim;
        const int64_t row = (int64_t)pitch;
        m.part_o = (attn_tensor){part_o, {row * heads * seq, row * heads, row, 1}, type, 0};
        m.part_o_stride = (int64_t)(rows * pitch);
        m.part_lse = part_lse;
        m.sink_logits = sink ? logits : NULL;
        m.o = m.part_o;
        m.o.data = want_o;
        m.o.dtype = o_type;
        m.lse = n % 5 ? want_lse : NULL;
        CHECK(attn_run_merge(&m) == ATTN_OK);
        m.o.data = o;
        m.lse = n % 5 ? lse : NULL;
        m.device = ATTN_DEVICE_CUDA;
        gpu_call there;
        char text[200] = "";
        CHECK(attn_list_merge_explain(&instance, 1, &m, text, sizeof text) == ATTN_OK);
        CHECK(!gpu_open_merge(&m, &there));
        attn_status status = gpu_run_merge(&there, instance);
        CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), gpu_problem());
        CHECK_MSG(gpu_close(&there, text, sizeof text), "%s", text);
        for (size_t r = 0; r < rows; r++) {
            for (int d = 0; d < dim; d++) {
                const int64_t at = (int64_t)(r * pitch) + d;
                const double got = oracle_load(o_type, o, at), want = oracle_load(o_type, want_o, at);
                const double eps = o_type == ATTN_F32 ? 3e-6 : o_type == ATTN_F16 ? 2e-3 : 1.6e-2;
                CHECK_MSG(same(got, want) || fabs(got - want) <= eps, "row %d dim %d is %g, must be %g", (int)r, d, got,
                          want);
            }
            CHECK_MSG(!m.lse || same((double)lse[r], (double)want_lse[r]) ||
                          fabsf(lse[r] - want_lse[r]) <= 2e-6f * fmaxf(1, fabsf(want_lse[r])),
                      "lse %d is %.9g, must be %.9g", (int)r, (double)lse[r], (double)want_lse[r]);
        }
        free(part_o);
        free(o);
        free(want_o);
        free(part_lse);
        free(lse);
        free(want_lse);
    }
}

/* ---- refusals ------------------------------------------------------------------------------------ */

/* An ordinary call in memory that is never read. */
static void ordinary(attn_params *p, attn_append_params *a)
{
    static float room[64];
    static int32_t lengths[8];
    memset(p, 0, sizeof *p);
    memset(a, 0, sizeof *a);
    p->struct_size = sizeof *p;
    p->batch = 2;
    p->heads_q = 4;
    p->heads_k = 2;
    p->head_dim = 64;
    p->seq_q = 3;
    p->seq_k = 9;
    p->q.dtype = ATTN_F16;
    p->k.dtype = p->v.dtype = ATTN_INT8;
    p->k.data = p->v.data = room;
    p->seqused_k = lengths;
    p->device = ATTN_DEVICE_CPU;
    a->struct_size = sizeof *a;
    a->k.data = a->v.data = room;
}

static void refused(const attn_params *p, const attn_append_params *a, const char *text)
{
    char buf[400];
    attn_status status = attn_append_explain(p, a, buf, sizeof buf);
    CHECK_MSG(status == ATTN_ERR_ARG && attn_append_kv(p, a, NULL) == status, "%s", attn_status_name(status));
    CHECK_MSG(strstr(buf, text), "says: %s, and not: %s", buf, text);
}

static void refusals(void)
{
    attn_params p;
    attn_append_params a;
    float scale[8] = {1, 1, 1, 1};
    char buf[400];
    if (!check_case("append: refusals"))
        return;
#define REFUSED(change, text) (ordinary(&p, &a), change, refused(&p, &a, text))
    ordinary(&p, &a);
    CHECK(attn_append_explain(&p, &a, buf, sizeof buf) == ATTN_OK);
    CHECK_MSG(strstr(buf, "the host serves this call"), "%s", buf);
    refused(NULL, &a, "params NULL: must point to a struct");
    refused(&p, NULL, "params NULL: must point to a struct");
    REFUSED(a.struct_size = 3, "struct_size 3: must be");
    REFUSED(a.flags = 6, "flags 6: must be 0 in all bits but ATTN_APPEND_SCALES");
    REFUSED(p.heads_k = 3, "heads_k 3: must divide heads_q 4");
    REFUSED(p.k.data = NULL, "k.data NULL: must be set, there is work to do");
    REFUSED(a.k.dtype = ATTN_INT8, "new k.dtype 6 (int8): must be f32 or f16 or bf16");
    REFUSED(a.v.dtype = 77, "v.dtype 77: must be an element type, or 0 for q's");
    REFUSED(a.v.dim_block = 8, "new v.dim_block 8: must be 0");
    REFUSED((p.k.stride[0] = 64, p.k.stride[3] = 1), "k.stride[1] 0: must not be 0, tokens would overlap");
    REFUSED(a.flags = ATTN_APPEND_SCALES, "k_scale.scale NULL: must be set with ATTN_APPEND_SCALES");
    REFUSED((a.flags = ATTN_APPEND_SCALES, p.k_scale.scale = p.v_scale.scale = scale),
            "k_scale.stride[0] 0: must not be 0 with ATTN_APPEND_SCALES, each sequence or page has its own");
    REFUSED((a.flags = ATTN_APPEND_SCALES, p.k_scale.scale = p.v_scale.scale = scale, p.k_scale.zero = scale),
            "must be NULL with ATTN_APPEND_SCALES, which computes symmetric scales");
    REFUSED((a.flags = ATTN_APPEND_SCALES, p.k.dtype = p.v.dtype = ATTN_F16),
            "flags ATTN_APPEND_SCALES: needs an 8- or 4-bit k.dtype, it is f16");
    REFUSED((p.k.dtype = p.v.dtype = ATTN_INT4, p.head_dim = 65), "the head dimension 65 and dim_block 0 must be even");
    REFUSED((p.k.dtype = p.v.dtype = ATTN_INT4, p.k.stride[3] = 9, p.k.stride[1] = 2, p.k.stride[0] = 4000,
             p.k.stride[2] = 1000),
            "k.stride[3] 9: must be 1, two dims of int4 are a byte");
    REFUSED((p.rope_style = ATTN_ROPE_HALF_SPLIT, p.rope_dim = 31), "rope_dim 31: must be even and at most 1024");
    REFUSED((p.rope_style = ATTN_ROPE_HALF_SPLIT, p.rope_base = 0.5f), "rope_base 0.5: must be finite and at least 1");
    REFUSED(a.q.data = scale, "q.data NULL: must be set, there is work to do");
    REFUSED((a.q.data = scale, p.q.data = scale), "new q.data");
    REFUSED((a.q.data = scale, p.q.data = scale + 4, p.q.dtype = ATTN_E4M3,
             p.o.dtype = a.k.dtype = a.v.dtype = ATTN_F16),
            "q.dtype 4 (e4m3): must be f32 or f16 or bf16 to be rotated");
    REFUSED((a.q.data = scale, p.q.data = scale + 4, a.q.stride[3] = 1), "new q.stride[0] 0: must not be 0");
#undef REFUSED
    attn_merge_params m;
    memset(&m, 0, sizeof m);
    m.struct_size = sizeof m;
    CHECK(attn_merge_explain(&m, buf, sizeof buf) == ATTN_ERR_ARG && strstr(buf, "parts 0: must be at least 1"));
    m.parts = m.heads_q = m.head_dim_v = 1;
    m.part_o.dtype = ATTN_F32;
    m.device = ATTN_DEVICE_CUDA;
    CHECK(attn_list_merge_explain(NULL, 0, &m, buf, sizeof buf) == ATTN_ERR_UNSUPPORTED);
    CHECK_MSG(strstr(buf, "this list has no merge instance; add attn_row(merge, simt, any,"), "%s", buf);
    ordinary(&p, &a);
    p.device = ATTN_DEVICE_CUDA;
    CHECK(attn_list_append_explain(NULL, 0, &p, &a, buf, sizeof buf) == ATTN_ERR_UNSUPPORTED);
    CHECK_MSG(strstr(buf, "this list has no append instance; add attn_row(append, simt, any,"), "%s", buf);
}

int main(int argc, char **argv)
{
    size_t archived;
    const attn_instance *const *archive = attn_instances(&archived);
    attn_device d;
    check_begin(argc, argv);
#ifdef ATTN_EMULATED
    emu_set.cc = 80;
    emu_set.sms = 4;
    emu_set.shared_optin = 163 << 10;
#endif
    if (!gpu_emulated) {
        refusals();
        appends(NULL);
        many(NULL);
        far(NULL);
    }
    for (size_t n = 0; n < sizeof bad / sizeof *bad && !gpu_emulated; n++)
        if (check_case("append: host %s[%d] = %d", bad[n].field, bad[n].index, bad[n].value))
            spoilt(NULL, n);
    attn_list_query_device(archive, archived, &d);
    for (size_t n = 0; n < archived; n++) {
        const attn_instance *t = archive[n];
        if (t->kernel != ATTN_KERNEL_APPEND && t->kernel != ATTN_KERNEL_MERGE)
            continue;
        if (!d.cc) {
            if (check_case("%s", t->name))
                check_skip("there is no CUDA device");
            continue;
        }
        if (t->kernel == ATTN_KERNEL_MERGE) {
            merges(t);
            continue;
        }
        appends(t);
        many(t);
        far(t);
        for (size_t m = 0; m < sizeof bad / sizeof *bad; m++)
            if (check_case("%s %s[%d] = %d", t->name, bad[m].field, bad[m].index, bad[m].value))
                spoilt(t, m);
    }
    return check_end();
}
