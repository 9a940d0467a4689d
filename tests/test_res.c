/* test_res.c - Attention Residuals: every instance of it that the list has, on cases that follow from its descriptor
 * and on random ones, against res_oracle.c; that oracle's gradients against finite differences; refusals; texts.
 *
 * A call's tensors lie in one arena, NaN wherever nothing is stored.  Afterwards no byte may have changed but those of
 * results.  --count: random calls (300). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/run.h>
#include "call.h"
#include "check.h"
#include "gpu.h"
#include "header_instances.h"
#include "oracle.h"
#include "res_oracle.h"

enum { LAY_COMPACT, LAY_PADDED, LAY_PADDED8, LAY_INTERLEAVED, LAY_TABLE, LAYS };
enum { FILL_NORMAL, FILL_LOUD, FILL_ZERO, FILL_ALIKE, FILL_ONE_NAN, FILL_ONE_INF, FILLS };

/* What a call looks like. */
typedef struct res_case {
    int blocks, queries, tokens, dim, key_dim, lay, fill, w_dtype, out_dtype, gain;
    int update, p_out, block, h, norm, norm_gain; /* phase 2 */
    int lse, dlse, flags, dw, threads, least;
    float eps, scale;
} res_case;

typedef struct res_call {
    attn_res_params p;
    char *arena, *before, *may; /* may: bytes that are results */
    size_t used, bytes;
    int device;
    uint64_t state;
    const void *v_table[ATTN_RES_BLOCKS];
    void *dv_table[ATTN_RES_BLOCKS];
} res_call;

static int call_bit(const attn_instance *t)
{
    return attn__res_call(t->kernel);
}

static void name_of(const res_case *c, char *text, size_t size)
{
    snprintf(text, size, "n%d s%d t%d d%d r%d lay%d fill%d w%d o%d%s%s%s%s%s%s%s lse%d/%d f%d%s th%d ws%d e%g s%g",
             c->blocks, c->queries, c->tokens, c->dim, c->key_dim, c->lay, c->fill, c->w_dtype, c->out_dtype,
             c->gain ? " gain" : "", c->update ? " update" : "", c->p_out ? " p_out" : "", c->block ? " block" : "",
             c->h ? "" : " no_h", c->norm ? " norm" : "", c->norm_gain ? " norm_gain" : "", c->lse, c->dlse, c->flags,
             c->dw ? "" : " no_dw", c->threads, c->least, (double)c->eps, (double)c->scale);
}

/* ---- memory ------------------------------------------------------------------------------------- */

static char *take(res_call *call, size_t bytes, size_t off)
{
    char *at = call->arena + (call->used + 255) / 256 * 256 + 256 + off;
    call->used = (size_t)(at - call->arena) + bytes + 64;
    if (call->used > call->bytes)
        abort();
    return at;
}

static double number(res_call *call, int fill)
{
    return check_normal(&call->state) * (fill == FILL_LOUD ? 30 : fill == FILL_ZERO ? 0 : 1);
}

static void tensor(res_call *call, attn_res_tensor *x, int64_t n0, int64_t n1, int64_t width, int dtype, int lay)
{
    const int64_t size = oracle_size(dtype), pad = lay == LAY_PADDED ? 3 : lay == LAY_PADDED8 ? 8 : 0;
    x->dtype = dtype;
    x->stride[1] = width + pad;
    x->stride[0] = x->stride[1] * n1 + 2 * pad;
    if (lay == LAY_INTERLEAVED) {
        x->stride[0] = width;
        x->stride[1] = n0 * width;
    }
    const int64_t span = (n0 - 1) * x->stride[0] + (n1 - 1) * x->stride[1] + width;
    x->data = take(call, (size_t)((span > 0 ? span : 1) * size), lay == LAY_PADDED ? (size_t)size : 0);
    if (lay == LAY_COMPACT)
        x->stride[0] = x->stride[1] = 0;
}

static void strides(const attn_res_tensor *x, int64_t n1, int64_t width, int64_t *s)
{
    const int compact = !x->stride[0] && !x->stride[1];
    s[0] = compact ? n1 * width : x->stride[0];
    s[1] = compact ? width : x->stride[1];
}

static void fill(res_call *call, const attn_res_tensor *x, int64_t n0, int64_t n1, int64_t width, int kind, double by)
{
    int64_t s[2];
    strides(x, n1, width, s);
    for (int64_t n = 0; n < n0; n++)
        for (int64_t t = 0; t < n1; t++)
            for (int64_t d = 0; d < width; d++) {
                const double y = by * (kind == FILL_ALIKE && d ? 1 : number(call, kind));
                oracle_store(x->dtype, x->data, n * s[0] + t * s[1] + d, y);
            }
    if (n1 > 1 && (kind == FILL_ONE_NAN || kind == FILL_ONE_INF))
        oracle_store(x->dtype, x->data, (n0 - 1) * s[0] + s[1] + width / 2, kind == FILL_ONE_NAN ? NAN : INFINITY);
}

static void results(res_call *call, const attn_res_tensor *x, int64_t n0, int64_t n1, int64_t width)
{
    int64_t s[2];
    const int64_t size = oracle_size(x->dtype);
    strides(x, n1, width, s);
    for (int64_t n = 0; n < n0; n++)
        for (int64_t t = 0; t < n1; t++)
            memset(call->may + ((char *)x->data - call->arena) + (n * s[0] + t * s[1]) * size, 1,
                   (size_t)(width * size));
}

static float *floats(res_call *call, int64_t count, int result)
{
    float *x = (float *)(void *)take(call, (size_t)(count > 0 ? count : 1) * 4, 0);
    for (int64_t n = 0; n < count; n++)
        x[n] = (float)number(call, FILL_NORMAL);
    if (result)
        memset(call->may + ((char *)x - call->arena), 1, (size_t)count * 4);
    return x;
}

/* Table instead of data. */
static void split(const attn_res_tensor *x, int64_t n0, void **table)
{
    for (int64_t n = 0; n < n0; n++)
        table[n] = (char *)x->data + n * x->stride[0] * oracle_size(x->dtype);
}

static void make(res_call *call, const attn_instance *t, const res_case *c, uint64_t seed)
{
    const int64_t n = c->blocks, s = c->queries, tokens = c->tokens, dim = c->dim,
                  key = c->key_dim ? c->key_dim : c->dim;
    const int bit = call_bit(t), lay = c->lay == LAY_TABLE ? LAY_PADDED8 : c->lay, dtype = t->dtype;
    const int g_dtype = t->row_align ? dtype : c->out_dtype; /* of dO1, which some read in their own type alone */
    const int again = (c->flags & (ATTN_RES_ADD_DV | ATTN_RES_ADD_DP)) != 0;
    const double root = 1 / sqrt((double)dim);
    attn_res_params *p = &call->p;
    memset(call, 0, sizeof *call);
    call->state = seed;
    call->device = t->device != NULL;
    call->bytes =
        (size_t)((6 * (n + s) + 40) * (tokens + 1) * (dim + 24) * 4 + 80 * 1024 + 8 * s * (key + tokens + 64));
    call->arena = gpu_map(call->bytes, call->device);
    call->before = malloc(call->bytes);
    call->may = calloc(call->bytes, 1);
    if (!call->arena || !call->before || !call->may)
        abort();
    memset(call->arena, 0xff, call->bytes);
    p->struct_size = sizeof *p;
    p->device = call->device ? ATTN_DEVICE_CUDA : ATTN_DEVICE_CPU;
    p->flags = (uint32_t)c->flags & (bit & (ATTN__RES_1B | ATTN__RES_2B) ? ATTN_RES_FLAGS_ALL : ATTN_RES_FROM_LAST);
    p->blocks = c->blocks;
    p->queries = c->queries;
    p->tokens = tokens;
    p->dim = c->dim;
    p->key_dim = c->key_dim;
    p->eps = c->eps;
    p->scale = c->scale;
    p->threads = c->threads;
    const int64_t queries = bit & (ATTN__RES_1 | ATTN__RES_1B) ? s : 1;
    p->lse_stride = c->lay == LAY_COMPACT ? 0 : tokens + 3;
    p->dw_stride = c->lay == LAY_COMPACT ? 0 : key + 5;
    tensor(call, &p->w, queries, 1, key, c->w_dtype ? c->w_dtype : dtype, LAY_COMPACT);
    fill(call, &p->w, queries, 1, key, FILL_NORMAL, root * 4);
    if (!c->w_dtype)
        p->w.dtype = 0;
    if (c->gain) {
        tensor(call, &p->gain, 1, 1, key, c->gain, LAY_COMPACT);
        fill(call, &p->gain, 1, 1, key, FILL_NORMAL, 1);
    }
    if (bit & (ATTN__RES_1 | ATTN__RES_1B)) {
        tensor(call, &p->v, n, tokens, dim, dtype, lay);
        fill(call, &p->v, n, tokens, dim, c->fill, 1);
        if (c->lay == LAY_TABLE) {
            split(&p->v, n, (void **)call->v_table);
            p->v.data = NULL;
            p->v.stride[0] = 0;
            p->v_table = call->v_table;
        }
    } else {
        tensor(call, &p->p, 1, tokens, dim, dtype, lay);
        fill(call, &p->p, 1, tokens, dim, c->fill, 1);
    }
    if (c->lse || bit != ATTN__RES_1)
        p->lse = floats(call, queries * (tokens + 3), 0);
    if (bit & ATTN__RES_1 && c->lse) {
        for (int64_t q = 0; q < queries; q++)
            memset(call->may + ((char *)p->lse - call->arena) + 4 * q * (p->lse_stride ? p->lse_stride : tokens), 1,
                   (size_t)tokens * 4);
    }
    if (bit == ATTN__RES_1 && c->h) { /* else lse alone */
        tensor(call, &p->o1, s, tokens, dim, c->out_dtype, lay);
        results(call, &p->o1, s, tokens, dim);
    } else if (bit & (ATTN__RES_2 | ATTN__RES_2B)) {
        tensor(call, &p->o1, 1, tokens, dim, c->out_dtype, lay);
        fill(call, &p->o1, 1, tokens, dim, FILL_NORMAL, 1);
    }
    if (bit == ATTN__RES_2) {
        if (tokens > 2) { /* a token of which O1 has no part, and is anything */
            int64_t at[2];
            strides(&p->o1, tokens, dim, at);
            p->lse[2] = -INFINITY;
            oracle_store(p->o1.dtype, p->o1.data, 2 * at[1] + dim / 2, NAN);
        }
        if (c->update) {
            tensor(call, &p->update, 1, tokens, dim, c->update, lay);
            fill(call, &p->update, 1, tokens, dim, FILL_NORMAL, 1);
        }
        if (c->p_out)
            tensor(call, &p->p_out, 1, tokens, dim, c->p_out, lay);
        if (c->update || c->p_out)
            results(call, c->p_out ? &p->p_out : &p->p, 1, tokens, dim);
        attn_res_tensor *const more[] = {&p->block, &p->h, &p->norm};
        const int types[] = {c->block, c->h ? c->out_dtype : 0, c->norm};
        for (int i = 0; i < 3; i++)
            if (types[i]) {
                tensor(call, more[i], 1, tokens, dim, types[i], lay);
                results(call, more[i], 1, tokens, dim);
            }
        if (c->norm_gain) {
            tensor(call, &p->norm_gain, 1, 1, dim, c->norm_gain, LAY_COMPACT);
            fill(call, &p->norm_gain, 1, 1, dim, FILL_NORMAL, 1);
        }
    }
    if (bit == ATTN__RES_1B) {
        /* lse as the forward call would have it. */
        attn_res_params full;
        attn__text none = {NULL, 0};
        res_answer a;
        attn_res_params f = *p;
        tensor(call, &f.o1, s, tokens, dim, ATTN_F32, LAY_COMPACT);
        f.flags = 0;
        if (attn__res_prepare(&full, ATTN_KERNEL_RES1, &f, &none) != ATTN_OK || res_oracle(ATTN_KERNEL_RES1, &full, &a))
            abort();
        for (int64_t q = 0; q < s; q++)
            for (int64_t i = 0; i < tokens; i++)
                p->lse[q * full.lse_stride + i] = (float)a.at[RES_LSE][q * tokens + i];
        res_oracle_free(&a);
        if (c->dlse)
            p->dlse = floats(call, s * (tokens + 3), 0);
        tensor(call, &p->do1, s, tokens, dim, g_dtype, lay);
        fill(call, &p->do1, s, tokens, dim, FILL_NORMAL, 1);
        tensor(call, &p->dv, n, tokens, dim, c->out_dtype, lay);
        if (again)
            fill(call, &p->dv, n, tokens, dim, FILL_NORMAL, 1);
        results(call, &p->dv, n, tokens, dim);
        if (c->lay == LAY_TABLE) {
            split(&p->dv, n, call->dv_table);
            p->dv.data = NULL;
            p->dv_table = call->dv_table;
        }
    }
    if (bit == ATTN__RES_2B) {
        tensor(call, &p->dh, 1, tokens, dim, c->out_dtype, lay);
        fill(call, &p->dh, 1, tokens, dim, FILL_NORMAL, 1);
        tensor(call, &p->dp, 1, tokens, dim, c->out_dtype, lay);
        if (again)
            fill(call, &p->dp, 1, tokens, dim, FILL_NORMAL, 1);
        results(call, &p->dp, 1, tokens, dim);
        if (c->dlse) {
            tensor(call, &p->do1, 1, tokens, dim, c->out_dtype, lay);
            results(call, &p->do1, 1, tokens, dim);
            p->dlse = floats(call, tokens, 1);
        }
    }
    if (bit & (ATTN__RES_1B | ATTN__RES_2B) && c->dw) {
        p->dw = floats(call, queries * (key + 5), 0);
        for (int64_t q = 0; q < queries; q++)
            memset(call->may + ((char *)p->dw - call->arena) + 4 * q * (p->dw_stride ? p->dw_stride : key), 1,
                   (size_t)key * 4);
        if (c->gain)
            p->dgain = floats(call, key, 1);
    }
    memcpy(call->before, call->arena, call->bytes);
}

static void drop(res_call *call)
{
    gpu_unmap(call->arena, call->bytes, call->device);
    free(call->before);
    free(call->may);
}

/* ---- judging ------------------------------------------------------------------------------------ */

/* The bars of docs/testing.md for one result, of the coarsest type that it went through. */
static int judge(const char *what, const double *want, const double *got, int64_t count, int dtype, int gradient,
                 double condition, double scale, char *text, size_t size)
{
    static const double forward[] = {0, 1e-5, 1e-3, 8e-3}, backward[] = {0, 1e-4, 5e-3, 3e-2};
    const double grow = condition > 32 ? condition / 32 : 1, bar = (gradient ? backward : forward)[dtype] * grow;
    double off = 0, all = 0, worst = 0, most = scale > 1 ? scale : 1;
    int64_t at = -1;
    for (int64_t n = 0; n < count; n++) {
        if (want[n] == RES_FREE)
            continue;
        if (!isfinite(want[n])) {
            if (isfinite(got[n])) {
                snprintf(text, size, "%s[%lld] is %g, must be %g", what, (long long)n, got[n], want[n]);
                return 0;
            }
            continue;
        }
        if (!isfinite(got[n])) {
            snprintf(text, size, "%s[%lld] is %g, must be %g", what, (long long)n, got[n], want[n]);
            return 0;
        }
        const double e = fabs(got[n] - want[n]);
        off += e * e;
        all += want[n] * want[n];
        most = fabs(want[n]) > most ? fabs(want[n]) : most;
        if (e > worst) {
            worst = e;
            at = n;
        }
    }
    const double least = 1e-6 * scale * scale * (double)count; /* a result that cancels to nothing */
    if (off <= bar * bar * (all > least ? all : least) + 1e-30 && worst <= 2.5 * bar * most)
        return 1;
    snprintf(text, size, "%s: relative error %.3g, bar %.3g; worst [%lld] is %.9g, must be %.9g", what,
             sqrt(off / (all > least ? all : least)), bar, (long long)at, at < 0 ? 0 : got[at], at < 0 ? 0 : want[at]);
    return 0;
}

static int judge_tensor(const char *what, const attn_res_tensor *x, void *const *table, int64_t n0, int64_t n1,
                        int64_t width, const res_answer *a, int answer, int dtype, int gradient, char *text,
                        size_t size)
{
    int good;
    double *got = malloc(sizeof *got * (size_t)(n0 * n1 * width + 1));
    for (int64_t n = 0; n < n0; n++)
        for (int64_t t = 0; t < n1; t++)
            for (int64_t d = 0; d < width; d++)
                got[(n * n1 + t) * width + d] =
                    table ? oracle_load(x->dtype, table[n], t * x->stride[1] + d)
                          : oracle_load(x->dtype, x->data, n * x->stride[0] + t * x->stride[1] + d);
    good = judge(what, a->at[answer], got, n0 * n1 * width, x->dtype > dtype ? x->dtype : dtype, gradient, a->condition,
                 a->scale[answer], text, size);
    free(got);
    return good;
}

static int judge_floats(const char *what, const float *x, int64_t n0, int64_t stride, int64_t n1, const res_answer *a,
                        int answer, int dtype, int gradient, char *text, size_t size)
{
    int good;
    double *got = malloc(sizeof *got * (size_t)(n0 * n1 + 1));
    for (int64_t n = 0; n < n0; n++)
        for (int64_t t = 0; t < n1; t++)
            got[n * n1 + t] = (double)x[n * stride + t];
    good = judge(what, a->at[answer], got, n0 * n1, dtype, gradient, a->condition, a->scale[answer], text, size);
    free(got);
    return good;
}

static int judge_call(const attn_instance *t, res_call *call, const attn_res_params *p, const res_answer *a, char *text,
                      size_t size)
{
    const int bit = call_bit(t), in = t->dtype, back = bit & (ATTN__RES_1B | ATTN__RES_2B);
    const int64_t tokens = p->tokens, dim = p->dim, s = p->queries, key = p->key_dim;
    for (size_t n = 0; n < call->bytes; n++)
        if (!call->may[n] && call->arena[n] != call->before[n]) {
            snprintf(text, size, "byte %zu of the arena was written to", n);
            return 0;
        }
    if (!tokens) /* nothing is done, dw stays */
        return !memcmp(call->arena, call->before, call->bytes);
    if (bit == ATTN__RES_1)
        return (!p->o1.data || judge_tensor("o1", &p->o1, NULL, s, tokens, dim, a, RES_O1, in, 0, text, size)) &&
               (!p->lse || judge_floats("lse", p->lse, s, p->lse_stride, tokens, a, RES_LSE,
                                        in == ATTN_F32 ? in : ATTN_F16, 0, text, size));
    if (bit == ATTN__RES_2) {
        const struct {
            const char *name;
            const attn_res_tensor *x;
            int answer;
        } rows[] = {{"p_out", &p->p_out, RES_SUM},
                    {"block", &p->block, RES_SUM},
                    {"h", &p->h, RES_H},
                    {"norm", &p->norm, RES_NORM}};
        for (int n = 0; n < 4; n++) { /* the coarsest type that it went through; sums are in none but p_out's */
            int through = p->update.data ? p->p_out.dtype : ATTN_F32;
            through = n > 1 && in > through ? in : through;
            through = n == 3 && p->h.dtype > through ? p->h.dtype : through;
            if (rows[n].x->data &&
                !judge_tensor(rows[n].name, rows[n].x, NULL, 1, tokens, dim, a, rows[n].answer, through, 0, text, size))
                return 0;
        }
        return 1;
    }
    if (bit == ATTN__RES_1B &&
        !judge_tensor("dv", &p->dv, p->dv_table, p->blocks, tokens, dim, a, RES_DV, in, back, text, size))
        return 0;
    if (bit == ATTN__RES_2B &&
        (!judge_tensor("dp", &p->dp, NULL, 1, tokens, dim, a, RES_DP, in, back, text, size) ||
         (p->do1.data && !judge_tensor("do1", &p->do1, NULL, 1, tokens, dim, a, RES_DO1, in, back, text, size)) ||
         (p->dlse && !judge_floats("dlse", p->dlse, 1, tokens, tokens, a, RES_DLSE, in, back, text, size))))
        return 0;
    return (!p->dw || judge_floats("dw", p->dw, s, p->dw_stride, key, a, RES_DW, in, back, text, size)) &&
           (!p->dgain || judge_floats("dgain", p->dgain, 1, key, key, a, RES_DGAIN, in, back, text, size));
}

/* ---- one case ----------------------------------------------------------------------------------- */

static int serves(const attn_instance *t, const res_case *c)
{
    const int aligned = c->lay != LAY_PADDED || !t->row_align;
    return (!t->head_dim || (c->dim >= t->head_dim_min && c->dim <= t->head_dim)) && c->blocks <= t->tile_k &&
           c->queries <= t->tile_q && c->key_dim <= c->dim && aligned;
}

static void run_case(const attn_instance *t, const res_case *c)
{
    char name[300], text[400] = "";
    attn_info info;
    res_call call;
    res_answer answer;
    attn_res_params full;
    attn__text none = {NULL, 0};
    name_of(c, name, sizeof name);
    if (!serves(t, c) || !check_case("%s %s", t->name, name))
        return;
    make(&call, t, c, check_seed() ^ check_hash(name));
    if (attn__res_prepare(&full, t->kernel, &call.p, &none) != ATTN_OK || res_oracle(t->kernel, &full, &answer))
        abort();
    attn_status status = attn_run_res_query(t, &call.p, &info);
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), info.text);
    if (status == ATTN_OK) {
        const size_t bytes = c->least ? info.workspace_least : info.workspace;
        char *space = gpu_map(bytes + 64, call.device);
        memset(space, 0xff, bytes + 64);
        if (bytes && bytes == info.workspace_least)
            CHECK(attn_run_res(t, &call.p, space, bytes - 1, NULL) == ATTN_ERR_WORKSPACE);
        status = attn_run_res(t, &call.p, bytes ? space : NULL, bytes, NULL);
        if (call.device && !gpu_wait())
            status = ATTN_ERR_CUDA;
        CHECK_MSG(status == ATTN_OK, "%s %s", attn_status_name(status), gpu_reason());
        for (size_t n = 0; n < 64; n++)
            CHECK_MSG(space[bytes + n] == (char)0xff, "wrote beyond the workspace");
        if (status == ATTN_OK)
            CHECK_MSG(judge_call(t, &call, &full, &answer, text, sizeof text), "%s", text);
        gpu_unmap(space, bytes + 64, call.device);
    }
    res_oracle_free(&answer);
    drop(&call);
}

static res_case plain(const attn_instance *t)
{
    res_case c = {
        .blocks = 3, .queries = 2, .tokens = 5, .dim = 64, .lay = LAY_COMPACT, .h = 1, .lse = 1, .dw = 1, .dlse = 1};
    c.out_dtype = t->dtype;
    c.dim = t->head_dim && c.dim > t->head_dim ? t->head_dim : c.dim < t->head_dim_min ? t->head_dim_min : c.dim;
    c.blocks = c.blocks > t->tile_k ? t->tile_k : c.blocks;
    c.queries = c.queries > t->tile_q ? t->tile_q : c.queries;
    return c;
}

static int pick(uint64_t *state, const int *list, int count)
{
    return list[check_range(state, 0, count - 1)];
}

static res_case at_random(const attn_instance *t, uint64_t *state)
{
    static const int types[] = {ATTN_F32, ATTN_F16, ATTN_BF16}, maybe[] = {0, 0, ATTN_F32, ATTN_F16, ATTN_BF16};
    res_case c = plain(t);
    const int most = t->head_dim ? t->head_dim : 264, least = t->head_dim_min ? t->head_dim_min : 8;
    c.blocks =
        check_range(state, 1, check_range(state, 0, 4) || t->tile_k < 10 ? (t->tile_k < 9 ? t->tile_k : 9) : t->tile_k);
    c.queries =
        check_range(state, 1, check_range(state, 0, 4) || t->tile_q < 10 ? (t->tile_q < 9 ? t->tile_q : 9) : t->tile_q);
    c.tokens = check_range(state, 0, 9);
    c.dim = check_range(state, least / 8, (most < 264 || least > 264 ? most : 264) / 8) * 8;
    if (check_range(state, 0, 9) == 0)
        c.dim = check_range(state, least / 8, most / 8) * 8;
    c.key_dim = check_range(state, 0, 2) ? 0 : check_range(state, 1, c.dim / 8) * 8;
    do
        c.lay = check_range(state, 0, LAYS - 1);
    while (t->row_align && c.lay == LAY_PADDED);
    c.fill = check_range(state, 0, 3) ? FILL_NORMAL : check_range(state, 0, FILLS - 1);
    c.w_dtype = pick(state, maybe, 5);
    c.out_dtype = check_range(state, 0, 1) ? t->dtype : pick(state, types, 3);
    c.gain = pick(state, maybe, 5);
    c.update = pick(state, maybe + 1, 4);
    c.p_out = pick(state, maybe, 5);
    c.block = pick(state, maybe, 5);
    c.norm = pick(state, maybe, 5);
    c.norm_gain = c.norm ? pick(state, maybe, 5) : 0;
    c.h = check_range(state, 0, 4) > 0;
    c.lse = check_range(state, 0, 3) > 0;
    c.dlse = check_range(state, 0, 3) > 0;
    c.flags = check_range(state, 0, 1) ? 0 : check_range(state, 0, ATTN_RES_FLAGS_ALL);
    c.dw = check_range(state, 0, 4) > 0;
    c.threads = check_range(state, 0, 2);
    c.least = check_range(state, 0, 1);
    c.eps = check_range(state, 0, 1) ? 0 : 1e-6f;
    c.scale = check_range(state, 0, 1) ? 0 : 0.5f;
    return c;
}

static void cases_of(const attn_instance *t)
{
    static const int blocks[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 63, 64}, queries[] = {1, 2, 5, 7, 8, 9, 16, 64};
    static const int dims[] = {8, 16, 24, 32, 40, 64, 72, 96, 136, 256, 264, 384, 520, 1000, 2056, 8192};
    const int one = call_bit(t) & (ATTN__RES_1 | ATTN__RES_1B);
    const res_case base = plain(t);
    for (size_t n = 0; n < sizeof dims / sizeof *dims; n++) {
        res_case c = base;
        c.dim = t->head_dim && t->head_dim_min == t->head_dim ? t->head_dim : dims[n];
        c.tokens = c.dim > 1000 ? 2 : 5;
        run_case(t, &c);
        c.key_dim = c.dim / 16 * 8;
        run_case(t, &c);
        c.gain = ATTN_F32;
        run_case(t, &c);
    }
    for (size_t n = 0; one && n < sizeof blocks / sizeof *blocks; n++)
        for (size_t s = 0; s < sizeof queries / sizeof *queries; s++) {
            res_case c = base;
            c.blocks = blocks[n];
            c.queries = queries[s];
            c.tokens = blocks[n] * queries[s] > 256 ? 1 : 3;
            c.dim = blocks[n] * queries[s] > 256 && t->head_dim_min < 32 ? 32 : c.dim;
            run_case(t, &c);
        }
    for (int lay = 0; lay < LAYS; lay++)
        for (int out = ATTN_F32; out <= ATTN_BF16; out++) {
            res_case c = base;
            c.lay = lay;
            c.out_dtype = out;
            c.flags = ATTN_RES_FLAGS_ALL;
            c.update = c.norm = out;
            run_case(t, &c);
            c.tokens = 150; /* more than there are blocks in a grid, and than one run has */
            c.dim = t->head_dim_min < 24 ? 24 : c.dim;
            c.flags = 0;
            run_case(t, &c);
        }
    for (int kind = 0; kind < FILLS; kind++) {
        res_case c = base;
        c.fill = kind;
        c.update = kind == FILL_NORMAL ? ATTN_F32 : 0;
        run_case(t, &c);
        c.blocks = 1;
        run_case(t, &c);
    }
    for (int bits = 0; bits < 64 && call_bit(t) == ATTN__RES_2; bits++) {
        res_case c = base;
        c.update = bits & 1 ? ATTN_BF16 : 0;
        c.p_out = bits & 2 ? ATTN_F32 : 0;
        c.block = bits & 4 ? ATTN_F16 : 0;
        c.h = !(bits & 8);
        c.norm = bits & 16 ? ATTN_F16 : 0;
        c.norm_gain = bits & 32 ? ATTN_F32 : 0;
        run_case(t, &c);
    }
    res_case none = base;
    none.tokens = 0;
    run_case(t, &none);
}

/* Two tokens whose rows are 2^31 elements and more apart, in memory that costs what is touched. */
static void far(const attn_instance *t)
{
    enum { N = 2, S = 2, DIM = 16 };
    const int64_t apart = ((int64_t)1 << 31) + 64, size = oracle_size(t->dtype);
    const int one = call_bit(t) & (ATTN__RES_1 | ATTN__RES_1B), device = t->device != NULL;
    if ((t->head_dim && t->head_dim_min > DIM) || sizeof(size_t) < 8 || !check_case("far rows, %s", t->name))
        return;
    const size_t bytes = (size_t)((one ? N + 1 : 2) * apart * 4 * size + 4096);
    char *data = gpu_map(bytes, device), *out = gpu_map(bytes, device), *more = gpu_map(1 << 16, device),
         text[400] = "";
    res_call call = {.state = check_seed(), .arena = NULL};
    attn_res_params full, *p = &call.p;
    attn__text none = {NULL, 0};
    res_answer a;
    if (!data || !out || !more) {
        check_skip("there is not so much address space");
        return;
    }
    *p = (attn_res_params){.struct_size = sizeof *p,
                           .device = device ? ATTN_DEVICE_CUDA : ATTN_DEVICE_CPU,
                           .blocks = N,
                           .queries = S,
                           .tokens = 2,
                           .dim = DIM};
    attn_res_tensor *in = one ? &p->v : &p->p, *to = call_bit(t) == ATTN__RES_1      ? &p->o1
                                                     : one                           ? &p->dv
                                                     : t->kernel == ATTN_KERNEL_RES2 ? &p->h
                                                                                     : &p->dp;
    *in = (attn_res_tensor){data, {2 * apart, apart}, t->dtype, 0};
    *to = (attn_res_tensor){out, {2 * apart, apart}, t->dtype, 0};
    p->w = (attn_res_tensor){more, {DIM, DIM}, t->dtype, 0};
    p->lse = (float *)(void *)(more + 4096);
    p->do1 = p->dh = (attn_res_tensor){more + 8192, {2 * DIM, DIM}, t->dtype, 0};
    if (!one)
        p->o1 = p->do1;
    fill(&call, in, one ? N : 1, 2, DIM, FILL_NORMAL, 1);
    fill(&call, &p->w, S, 1, DIM, FILL_NORMAL, 1);
    fill(&call, &p->dh, S, 2, DIM, FILL_NORMAL, 1);
    if (call_bit(t) & (ATTN__RES_2 | ATTN__RES_2B))
        p->do1.data = NULL;
    if (attn__res_prepare(&full, t->kernel, p, &none) != ATTN_OK || res_oracle(t->kernel, &full, &a))
        abort();
    char *space = gpu_map(1 << 20, device);
    CHECK(attn_run_res(t, p, space, 1 << 20, NULL) == ATTN_OK && (!device || gpu_wait()));
    CHECK_MSG(judge_tensor("result", to, NULL,
                           call_bit(t) == ATTN__RES_1 ? S
                           : one                      ? N
                                                      : 1,
                           2, DIM, &a,
                           call_bit(t) == ATTN__RES_1      ? RES_O1
                           : one                           ? RES_DV
                           : t->kernel == ATTN_KERNEL_RES2 ? RES_H
                                                           : RES_DP,
                           t->dtype, !!(call_bit(t) & (ATTN__RES_1B | ATTN__RES_2B)), text, sizeof text),
              "%s", text);
    res_oracle_free(&a);
    gpu_unmap(space, 1 << 20, device);
    gpu_unmap(data, bytes, device);
    gpu_unmap(out, bytes, device);
    gpu_unmap(more, 1 << 16, device);
}

/* ---- the oracle's gradients ----------------------------------------------------------------------- */

/* Sum over phase 1 then phase 2 of random factors times results, of which the oracle's gradients are held against
 * differences: one number of each input at a time. */
static double total(int32_t kernel, const attn_res_params *p, const res_call *call)
{
    res_answer a;
    double sum = 0;
    if (res_oracle(kernel, p, &a))
        abort();
    const int64_t rows = kernel == ATTN_KERNEL_RES1 ? p->queries : 1;
    for (int64_t s = 0; s < rows; s++)
        for (int64_t t = 0; t < p->tokens; t++) {
            for (int64_t d = 0; d < p->dim; d++) {
                const attn_res_tensor *g = kernel == ATTN_KERNEL_RES1 ? &p->do1 : &p->dh;
                sum += oracle_load(g->dtype, g->data, s * g->stride[0] + t * g->stride[1] + d) *
                       a.at[kernel == ATTN_KERNEL_RES1 ? RES_O1 : RES_H][(s * p->tokens + t) * p->dim + d];
            }
            if (kernel == ATTN_KERNEL_RES1 && p->dlse)
                sum += (double)p->dlse[s * p->lse_stride + t] * a.at[RES_LSE][s * p->tokens + t];
        }
    (void)call;
    res_oracle_free(&a);
    return sum;
}

static void difference(int32_t kernel, const attn_res_params *p, const res_call *call, float *x, double want,
                       const char *what)
{
    const float was = *x, by = 1.0f / 256;
    *x = was + by;
    const double up = total(kernel, p, call);
    *x = was - by;
    const double down = total(kernel, p, call);
    *x = was;
    const double got = (up - down) / (2 * (double)by);
    CHECK_MSG(fabs(got - want) < 2e-3 * (1 + fabs(want)), "%s: gradient %g, by differences %g", what, want, got);
}

static void differences(void)
{
    static const attn_instance like1 = {.kernel = ATTN_KERNEL_RES1_BACKWARD, .dtype = ATTN_F32},
                               like2 = {.kernel = ATTN_KERNEL_RES2_BACKWARD, .dtype = ATTN_F32};
    for (int n = 0; n < 6; n++) {
        const attn_instance *t = n % 2 ? &like2 : &like1;
        const res_case c = {.blocks = 3,
                            .queries = 2,
                            .tokens = 2,
                            .dim = 16,
                            .key_dim = n / 2 == 1 ? 8 : 0,
                            .out_dtype = ATTN_F32,
                            .h = 1,
                            .lse = 1,
                            .dlse = 1,
                            .dw = 1,
                            .gain = n / 2 ? ATTN_F32 : 0,
                            .scale = n / 2 == 2 ? 0.5f : 0};
        res_call call;
        attn_res_params full;
        res_answer a;
        attn__text none = {NULL, 0};
        if (!check_case("gradients of the oracle by differences, %d", n))
            continue;
        make(&call, t, &c, check_seed() + (uint64_t)n);
        if (attn__res_prepare(&full, t->kernel, &call.p, &none) != ATTN_OK || res_oracle(t->kernel, &full, &a))
            abort();
        const int32_t forward = n % 2 ? ATTN_KERNEL_RES2 : ATTN_KERNEL_RES1;
        if (n % 2) {
            full.h.data = full.dh.data; /* wanted */
            full.h.dtype = ATTN_F32;
        }
        const int64_t key = full.key_dim, mixed = n % 2 ? full.tokens * full.dim : full.blocks * full.tokens * full.dim;
        for (int64_t i = 0; i < mixed; i++)
            difference(forward, &full, &call, (float *)(n % 2 ? full.p.data : full.v.data) + i,
                       a.at[n % 2 ? RES_DP : RES_DV][i], n % 2 ? "dp" : "dv");
        for (int64_t i = 0; i < full.queries * key; i++)
            difference(forward, &full, &call, (float *)full.w.data + i, a.at[RES_DW][i], "dw");
        for (int64_t i = 0; i < key && full.gain.data; i++)
            difference(forward, &full, &call, (float *)full.gain.data + i, a.at[RES_DGAIN][i], "dgain");
        for (int64_t i = 0; i < full.tokens && n % 2; i++) {
            difference(forward, &full, &call, full.lse + i, a.at[RES_DLSE][i], "dlse");
            for (int64_t d = 0; d < full.dim; d++)
                difference(forward, &full, &call, (float *)full.o1.data + i * full.dim + d,
                           a.at[RES_DO1][i * full.dim + d], "do1");
        }
        res_oracle_free(&a);
        drop(&call);
    }
}

static void refuses(const attn_instance *const *list, size_t count, int32_t kernel, const attn_res_params *p,
                    attn_status want, const char *text)
{
    attn_info info;
    char words[2000];
    CHECK_MSG(attn_list_res_query(list, count, kernel, p, &info) == want && strstr(info.text, text),
              "must say '%s', says '%s'", text, info.text);
    CHECK(attn_list_res_explain(list, count, kernel, p, words, sizeof words) == want && strstr(words, text));
    CHECK(attn_list_res(list, count, kernel, p, NULL, 0, NULL) == want);
}

/* ---- results that are inputs, and results that no cache holds -------------------------------------- */

/* A call of compact tensors of the instance's type, each in memory of its own. */
typedef struct views_call {
    attn_res_params p;
    attn__res_view view[ATTN__RES_VIEWS];
    char *data[ATTN__RES_VIEWS];
    size_t bytes[ATTN__RES_VIEWS];
} views_call;

static void views_make(views_call *call, const attn_instance *t, int rows, int64_t tokens, int dim)
{
    const int bit = call_bit(t), one = bit & (ATTN__RES_1 | ATTN__RES_1B);
    uint64_t state = check_seed();
    attn_res_params *p = &call->p;
    memset(call, 0, sizeof *call);
    p->struct_size = sizeof *p;
    p->device = t->device ? ATTN_DEVICE_CUDA : ATTN_DEVICE_CPU;
    p->blocks = p->queries = rows;
    p->tokens = tokens;
    p->dim = dim;
    p->threads = 1;
    p->scale = 0.1f;
    p->lse = aligned_alloc(64, sizeof *p->lse * (size_t)(one ? rows * tokens : tokens) / 64 * 64 + 64);
    for (int64_t i = 0; i < (one ? rows * tokens : tokens); i++)
        p->lse[i] = 1.5f;
    p->v.dtype = p->p.dtype = t->dtype;
    p->h.data = p; /* something, so that phase 2 mixes */
    attn__res_fill(p, bit);
    attn__res_views(p, call->view);
    for (int i = 0; i < ATTN__RES_VIEWS; i++) {
        const attn__res_view *v = &call->view[i];
        const int64_t count = v->extent[0] * v->extent[1] * v->extent[2];
        call->bytes[i] = (size_t)(count * oracle_size(t->dtype));
        if (!((v->reads | v->writes) & bit))
            continue;
        call->data[i] = v->tensor->data = aligned_alloc(64, call->bytes[i] / 64 * 64 + 64);
        for (int64_t n = 0; n < count; n++) /* few numbers, many times: that is quick */
            if (n < 4099)
                oracle_store(t->dtype, v->tensor->data, n, check_normal(&state));
            else
                memcpy(call->data[i] + n * oracle_size(t->dtype), call->data[i] + (n - 4099) * oracle_size(t->dtype),
                       (size_t)oracle_size(t->dtype));
    }
}

static void views_drop(views_call *call)
{
    for (int i = 0; i < ATTN__RES_VIEWS; i++)
        free(call->data[i]);
    free(call->p.lse);
}

static void views_run(const attn_instance *t, const attn_res_params *p)
{
    attn_info info;
    CHECK_MSG(attn_run_res_query(t, p, &info) == ATTN_OK, "%s", info.text);
    void *space = info.workspace ? aligned_alloc(64, info.workspace / 64 * 64 + 64) : NULL;
    CHECK(attn_run_res(t, p, space, info.workspace, NULL) == ATTN_OK);
    free(space);
}

/* Any result may be any input of its shape, but for two pairs, which are refused: all results are as elsewhere. */
static void in_place(const attn_instance *t)
{
    const int bit = call_bit(t), most = t->tile_q < t->tile_k ? t->tile_q : t->tile_k;
    const int rows = bit & (ATTN__RES_1 | ATTN__RES_1B) ? (most < 12 ? most : 12) : 1;
    views_call call;
    char *want[ATTN__RES_VIEWS] = {NULL};
    if (t->device && !gpu_emulated) /* whose memory is not the host's */
        return;
    views_make(&call, t, rows, 3, t->head_dim ? t->head_dim : 200);
    views_run(t, &call.p);
    for (int k = 0; k < ATTN__RES_VIEWS; k++)
        if (call.view[k].writes & bit) {
            want[k] = malloc(call.bytes[k]);
            memcpy(want[k], call.view[k].tensor->data, call.bytes[k]);
        }
    for (int i = 0; i < ATTN__RES_VIEWS; i++)
        for (int k = 0; k < ATTN__RES_VIEWS; k++) {
            const attn__res_view *in = &call.view[i], *out = &call.view[k];
            if (!(in->reads & bit) || !(out->writes & bit) || memcmp(in->extent, out->extent, sizeof in->extent))
                continue;
            if (!check_case("%s: %s is %s", t->name, out->name, in->name))
                continue;
            if ((out->tensor == &call.p.o1 && in->tensor == &call.p.v) ||
                (out->tensor == &call.p.dv && in->tensor == &call.p.do1)) {
                attn_res_params p = call.p;
                (out->tensor == &call.p.o1 ? &p.o1 : &p.dv)->data = in->tensor->data;
                refuses(&t, 1, t->kernel, &p, ATTN_ERR_ARG, ".data");
                continue;
            }
            char *kept = malloc(call.bytes[i]);
            memcpy(kept, in->tensor->data, call.bytes[i]);
            void *const own = out->tensor->data;
            out->tensor->data = in->tensor->data;
            views_run(t, &call.p);
            for (int n = 0; n < ATTN__RES_VIEWS; n++)
                CHECK_MSG(!want[n] || !memcmp(want[n], call.view[n].tensor->data, call.bytes[n]), "%s differs",
                          call.view[n].name);
            out->tensor->data = own;
            memcpy(in->tensor->data, kept, call.bytes[i]);
            free(kept);
        }
    for (int k = 0; k < ATTN__RES_VIEWS; k++)
        free(want[k]);
    views_drop(&call);
}

/* What is stored past the caches, as results of many tokens are if they lie so, is what a few tokens at a time give. */
static void many_tokens(const attn_instance *t, int dim)
{
    const int bit = call_bit(t), rows = bit & (ATTN__RES_1 | ATTN__RES_1B) ? 8 : 1;
    const int64_t tokens = ((int64_t)17 << 20) / (rows * dim * oracle_size(t->dtype)), few = tokens / 4;
    views_call call;
    char *again[ATTN__RES_VIEWS];
    if (t->device || t->head_dim || rows > t->tile_q || rows > t->tile_k ||
        !check_case("%s: many tokens of %d", t->name, dim))
        return;
    views_make(&call, t, rows, tokens, dim);
    views_run(t, &call.p);
    for (int k = 0; k < ATTN__RES_VIEWS; k++)
        again[k] = call.view[k].writes & bit ? malloc(call.bytes[k]) : NULL;
    for (int64_t at = 0; at < tokens; at += few) {
        attn_res_params part = call.p;
        attn__res_view to[ATTN__RES_VIEWS];
        attn__res_views(&part, to);
        part.tokens = tokens - at < few ? tokens - at : few;
        part.lse = call.p.lse + at;
        for (int k = 0; k < ATTN__RES_VIEWS; k++)
            if (call.data[k] && to[k].extent[1] > 1)
                to[k].tensor->data = (again[k] ? again[k] : call.data[k]) + at * dim * oracle_size(t->dtype);
        views_run(t, &part);
    }
    for (int k = 0; k < ATTN__RES_VIEWS; k++) {
        CHECK_MSG(!again[k] || !memcmp(again[k], call.data[k], call.bytes[k]), "%s differs", call.view[k].name);
        free(again[k]);
    }
    views_drop(&call);
}

/* ---- refusals ------------------------------------------------------------------------------------- */

static void refusals(const attn_instance *t)
{
    const attn_instance *const list[] = {t};
    attn_res_params good, p;
    res_call call;
    const res_case c = plain(t);
    const int bit = call_bit(t), one = bit & (ATTN__RES_1 | ATTN__RES_1B), back = bit & (ATTN__RES_1B | ATTN__RES_2B);
    if (!check_case("refusals of %s", t->name))
        return;
    make(&call, t, &c, 1);
    good = call.p;
#define WRONG(change, text) (p = good, change, refuses(list, 1, t->kernel, &p, ATTN_ERR_ARG, text))
    WRONG(p.struct_size = 3, "struct_size 3: must be");
    WRONG(p.dim = 123, "dim 123: must be a multiple of 8");
    WRONG(p.dim = 0, "dim 0: must be 8 to 8192");
    WRONG(p.dim = 8200, "dim 8200: must be 8 to 8192");
    WRONG(p.key_dim = 4, "key_dim 4: must be a multiple of 8");
    WRONG(p.key_dim = p.dim + 8, "must be 0 to");
    WRONG(p.tokens = -1, "tokens -1: must be");
    WRONG(p.eps = -1, "eps -1: must be");
    WRONG(p.eps = NAN, "eps");
    WRONG(p.scale = INFINITY, "scale inf: must be finite");
    WRONG(p.device = 7, "device 7: must be");
    WRONG(p.threads = 2000, "threads 2000: must be");
    WRONG(p.reserved = 1, "reserved 1: must be 0");
    WRONG(p.flags = 64, "flags 64: must be 0");
    WRONG(p.w.data = NULL, "w.data NULL: must be set");
    WRONG(p.w.dtype = ATTN_INT8, "w.dtype 6 (int8): must be f32, f16 or bf16");
    WRONG(p.w.reserved = 2, "w.reserved 2: must be 0");
    WRONG(p.w.data = (char *)p.w.data + 1, "w.data");
    if (one) {
        const void *table[3] = {p.v.data, p.v.data, NULL};
        WRONG(p.blocks = 0, "blocks 0: must be 1 to 64");
        WRONG(p.queries = 65, "queries 65: must be 1 to 64");
        WRONG(p.v.data = NULL, "v.data NULL: must be set");
        WRONG(p.v.dtype = 0, "v.dtype 0 (?): must be");
        WRONG(p.v_table = table, "v.data: must be NULL with v_table");
        WRONG((p.v_table = table, p.v.data = NULL), "v_table[2]");
        WRONG(p.v.stride[1] = INT64_MAX / 4, "v.stride[1]");
    } else {
        WRONG(p.p.dtype = 0, "p.dtype 0 (?): must be");
        WRONG(p.lse = NULL, "lse NULL: must be set");
        WRONG(p.o1.data = NULL, "o1.data NULL");
    }
    if (bit == ATTN__RES_1) /* two queries: stride[0] counts */
        WRONG((p.o1.stride[0] = 8192, p.o1.stride[1] = 8), "o1.stride[1] 8: must be at least the");
    if (back) {
        if (one)
            WRONG(p.dw_stride = 8, "dw_stride 8: must be at least the");
        WRONG(p.dgain = p.dw, "dgain: must be NULL without gain");
        WRONG(p.dw = (float *)(void *)((char *)p.dw + 2), "dw ");
    }
    p = good;
    p.device = t->device ? ATTN_DEVICE_CPU : ATTN_DEVICE_CUDA;
    refuses(list, 1, t->kernel, &p, ATTN_ERR_UNSUPPORTED, "this list has no instance of it for");
    refuses(list, 0, t->kernel, &good, ATTN_ERR_UNSUPPORTED, "this list has no instance of it");
    refuses(list, 1, ATTN_KERNEL_FORWARD, &good, ATTN_ERR_ARG, "kernel 1: must be");
    if (one && t->tile_k < 64) {
        p = good;
        p.blocks = t->tile_k + 1;
        refuses(list, 1, t->kernel, &p, ATTN_ERR_UNSUPPORTED, "blocks");
    }
    if (one && t->dtype == ATTN_F32) {
        p = good;
        p.v.dtype = ATTN_BF16;
        refuses(list, 1, t->kernel, &p, ATTN_ERR_UNSUPPORTED, "is for f32; add attn_row(");
    }
#undef WRONG
    drop(&call);
}

/* Words of a good call replaced: whatever they say now, query and explain answer the same and with a text, and read
 * nothing but the struct (and the tables, which stay). */
static void fuzz(const attn_instance *const *list, size_t count, int times)
{
    static const uint32_t values[] = {0,          1,          2,          7,          64,         65,
                                      0x7fffffff, 0x80000000, 0xffffffff, 0x7f800000, 0x7fc00000, 1u << 20};
    uint64_t state = check_seed();
    for (size_t n = 0; n < count; n++) {
        res_call call;
        const res_case c = plain(list[n]);
        if (!check_case("fuzz of %s", list[n]->name))
            continue;
        make(&call, list[n], &c, 1);
        for (int i = 0; i < times; i++) {
            attn_res_params p = call.p;
            attn_info info;
            char words[2000], bytes[sizeof p];
            memcpy(bytes, &p, sizeof p);
            for (int k = check_range(&state, 1, 4); k > 0; k--) {
                const size_t at = (size_t)check_range(&state, 0, (int)(sizeof p / 4) - 1) * 4;
                const uint32_t x =
                    check_range(&state, 0, 3) ? values[check_range(&state, 0, 11)] : (uint32_t)check_rand(&state);
                if (at / 8 == offsetof(attn_res_params, v_table) / 8 ||
                    at / 8 == offsetof(attn_res_params, dv_table) / 8)
                    continue;
                memcpy(bytes + at, &x, 4);
            }
            memcpy(&p, bytes, sizeof p);
            if (p.struct_size > sizeof p)
                p.struct_size = sizeof p; /* it would be read so far */
            const attn_status status = attn_list_res_query(list, count, list[n]->kernel, &p, &info);
            CHECK(attn_list_res_explain(list, count, list[n]->kernel, &p, words, sizeof words) == status);
            CHECK((status == ATTN_OK) == !info.text[0] && words[0]);
            CHECK((status == ATTN_OK) == (info.instance != NULL));
        }
        drop(&call);
    }
}

/* ---- all of it ------------------------------------------------------------------------------------ */

enum { MOST = 512 };

int main(int argc, char **argv)
{
    const attn_instance *list[MOST];
    size_t listed, count = 0;
    check_begin(argc, argv);
    const attn_instance *const *all = tested_instances(&listed);
    for (size_t n = 0; n < listed && count < MOST; n++) {
        const attn_instance *t = all[n];
        char reason[300];
        if (!call_bit(t))
            continue;
        if (case_executes(t, reason, sizeof reason))
            list[count++] = t;
        else if (check_case("%s", t->name))
            check_skip(reason);
    }
    differences();
    for (size_t n = 0; n < count; n++) {
        cases_of(list[n]);
        far(list[n]);
        in_place(list[n]);
        many_tokens(list[n], 192); /* rows of whole lines of the caches */
        many_tokens(list[n], 200);
        refusals(list[n]);
    }
    fuzz(list, count, check_count(300));
    uint64_t state = check_seed();
    for (int n = 0; n < check_count(300) && count; n++) {
        const attn_instance *t = list[check_range(&state, 0, (int)count - 1)];
        const res_case c = at_random(t, &state);
        run_case(t, &c);
    }
    return check_end();
}
