/* res_cpu.h - Attention Residuals on a CPU: both phases and their gradients (res.h has the equations).
 *
 * Included by instance.h for the CPU archs, no guard.  A thread takes runs of tokens, and does all of a token before
 * the next one: its N rows of V come from memory once and are in a cache when they are read again, so phase 1 with
 * one query is bound by reads; with 8 queries and 8 blocks by multiply-adds, 2 N S of them an element.  So both
 * products are tiles of registers: ATTN_RES_NB rows of V by ATTN_RES_SB queries of sums over dims, and ATTN_RES_NB
 * rows of results by two vectors of sums over blocks.
 *
 *     of a call      w * gain [S][R]; backward: a sum of dw for each run of tokens [runs][S][R]
 *     of a thread    x, coefficients [S][N]; results before they are rounded [NB][D]; backward: dO1 as f32 [S][D]
 *
 * How tokens are cut into runs depends on their number alone and runs are added in their order, so dw, too, is the
 * same bits with any number of threads. */

#include <math.h>
#include <string.h>
#if defined(_OPENMP)
#include <omp.h>
#endif
#include <attn/template/vocabulary_cpu.h>

#define ATTN_RES_NB 4
#define ATTN_RES_SB (ATTN_W == 16 ? 4 : 2)
#define ATTN_RES_BACKWARD (ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD || ATTN_KERNEL == ATTN_KERNEL_RES2_BACKWARD)
#define ATTN_RES_PHASE1 (ATTN_KERNEL == ATTN_KERNEL_RES1 || ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD)
/* Runs of a backward call, at most; each has sums of its own. */
#define ATTN_RES_RUNS 32
/* Tokens of a run: in a backward call the least. */
#define ATTN_RES_TOKENS (ATTN_RES_BACKWARD ? 64 : 16)

/* What is the same for all threads of a call. */
typedef struct ATTN_FN(_call) {
    const attn_res_params *p;
    int blocks, queries, dim, key, first; /* N, S, D, R, D - R */
    int64_t runs, run, next;              /* tokens of a run; the next one to be taken */
    size_t w_at, parts_at, scratch_at, scratch; /* floats: in the workspace; of a thread */
    float *w, *parts;
} ATTN_FN(_call);

/* The scratch of a thread. */
typedef struct ATTN_FN(_own) {
    float *x, *u, *c;     /* [S][ATTN_RES_BLOCKS]: logits or weights; dO1 . v; twice as many factors */
    float *r;             /* [N]: 1 / root of the mean square */
    float *out, *rows;    /* [NB][D]; [S or 3][D] */
    int run;
} ATTN_FN(_own);

/* ---- rows of any type --------------------------------------------------------------------------- */

ATTN_INLINE void ATTN_FN(_get_f16)(float *to, const uint16_t *from, int count)
{
    int d = 0;
    for (; d + ATTN_W <= count; d += ATTN_W)
        ATTN_V(store_f32)(to + d, ATTN_V(load_f16)(from + d));
    for (; d < count; ++d)
        to[d] = attn__f16_to_f32(from[d]);
}

/* Row t of x[n] as floats. */
ATTN_NOINLINE void ATTN_FN(_get)(float *to, const void *data, int64_t at, int dtype, int count)
{
    if (dtype == ATTN_F32)
        memcpy(to, (const float *)data + at, sizeof *to * (size_t)count);
    else if (dtype == ATTN_F16)
        ATTN_FN(_get_f16)(to, (const uint16_t *)data + at, count);
    else
        for (int d = 0; d < count; ++d)
            to[d] = attn__bf16_to_f32(((const uint16_t *)data)[at + d]);
}

ATTN_NOINLINE void ATTN_FN(_put)(void *data, int64_t at, int dtype, const float *from, int count)
{
    if (dtype == ATTN_F32) {
        memcpy((float *)data + at, from, sizeof *from * (size_t)count);
    } else if (dtype == ATTN_F16) {
        uint16_t *to = (uint16_t *)data + at;
        int d = 0;
        for (; d + ATTN_W <= count; d += ATTN_W)
            ATTN_V(store_f16)(to + d, ATTN_V(load_f32)(from + d));
        for (; d < count; ++d)
            to[d] = attn__f32_to_f16(from[d]);
    } else {
        for (int d = 0; d < count; ++d)
            ((uint16_t *)data)[at + d] = attn__f32_to_bf16(from[d]);
    }
}

ATTN_INLINE void ATTN_FN(_get_row)(float *to, const attn_res_tensor *x, int64_t n, int64_t t, int count)
{
    ATTN_FN(_get)(to, x->data, n * x->stride[0] + t * x->stride[1], x->dtype, count);
}

ATTN_INLINE void ATTN_FN(_put_row)(const attn_res_tensor *x, int64_t n, int64_t t, const float *from, int count)
{
    ATTN_FN(_put)(x->data, n * x->stride[0] + t * x->stride[1], x->dtype, from, count);
}

/* What a row becomes when it is stored and read again. */
ATTN_NOINLINE void ATTN_FN(_round)(float *row, int dtype, int count)
{
    for (int d = 0; d < count && dtype == ATTN_F16; ++d)
        row[d] = attn__f16_to_f32(attn__f32_to_f16(row[d]));
    for (int d = 0; d < count && dtype == ATTN_BF16; ++d)
        row[d] = attn__bf16_to_f32(attn__f32_to_bf16(row[d]));
}

/* dv or dp: row[] to its place, or added to what is there; old is scratch. */
ATTN_INLINE void ATTN_FN(_put_gradient)(void *data, int64_t at, int dtype, float *row, float *old, int add, int count)
{
    if (add) {
        ATTN_FN(_get)(old, data, at, dtype, count);
        for (int d = 0; d < count; ++d)
            row[d] += old[d];
    }
    ATTN_FN(_put)(data, at, dtype, row, count);
}

ATTN_INLINE ATTN_VEC_T ATTN_FN(_load)(const void *row, int d, int n, int own)
{
    if (own) /* of the instance's type */
        return n == ATTN_W ? ATTN_KV_LOAD((const ATTN_KV_T *)row + d) : ATTN_KV_LOAD_N((const ATTN_KV_T *)row + d, n);
    return n == ATTN_W ? ATTN_V(load_f32)((const float *)row + d) : ATTN_V(load_f32_n)((const float *)row + d, n);
}

ATTN_NOINLINE float ATTN_FN(_dot)(const float *a, const float *b, int count)
{
    ATTN_VEC_T sum[4];
    int d = 0;
    ATTN_UNROLL for (int i = 0; i < 4; ++i)
        sum[i] = ATTN_V(set1)(0.0f);
    for (; d + 4 * ATTN_W <= count; d += 4 * ATTN_W)
        ATTN_UNROLL for (int i = 0; i < 4; ++i)
            sum[i] = ATTN_V(fma)(ATTN_V(load_f32)(a + d + i * ATTN_W), ATTN_V(load_f32)(b + d + i * ATTN_W), sum[i]);
    for (; d < count; d += ATTN_W) {
        const int n = count - d < ATTN_W ? count - d : ATTN_W;
        sum[0] = ATTN_V(fma)(ATTN_FN(_load)(a, d, n, 0), ATTN_FN(_load)(b, d, n, 0), sum[0]);
    }
    return ATTN_V(sum)((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

#if ATTN_RES_PHASE1
/* ---- the two products of phase 1 ------------------------------------------------------------------ */

/* Adds the products of elements d .. d + left - 1. */
ATTN_INLINE void ATTN_FN(_dots_step)(const void *const *v, const void *const *w, int d, int left,
                                     ATTN_VEC_T (*sum)[ATTN_RES_SB], int nb, int sb)
{
    ATTN_VEC_T a[ATTN_RES_NB];
    ATTN_UNROLL for (int n = 0; n < nb; ++n)
        a[n] = ATTN_FN(_load)(v[n], d, left, 1);
    ATTN_UNROLL for (int s = 0; s < sb; ++s) {
        const ATTN_VEC_T b = ATTN_FN(_load)(w[s], d, left, 0);
        ATTN_UNROLL for (int n = 0; n < nb; ++n)
            sum[n][s] = ATTN_V(fma)(a[n], b, sum[n][s]);
    }
}

/* x[s * ATTN_RES_BLOCKS + n] = v[n] . w[s] for nb rows and sb queries, both constants. */
ATTN_INLINE void ATTN_FN(_dots_tile)(const void *const *rows, const void *const *queries, int count, float *x, int nb,
                                     int sb)
{
    ATTN_VEC_T sum[ATTN_RES_NB][ATTN_RES_SB];
    const void *v[ATTN_RES_NB], *w[ATTN_RES_SB]; /* nothing that is stored can change them */
    int d = 0;
    ATTN_UNROLL for (int n = 0; n < nb; ++n)
        v[n] = rows[n];
    ATTN_UNROLL for (int s = 0; s < sb; ++s)
        w[s] = queries[s];
    ATTN_UNROLL for (int n = 0; n < nb; ++n)
        ATTN_UNROLL for (int s = 0; s < sb; ++s)
            sum[n][s] = ATTN_V(set1)(0.0f);
    for (; d + ATTN_W <= count; d += ATTN_W)
        ATTN_FN(_dots_step)(v, w, d, ATTN_W, sum, nb, sb);
    if (d < count)
        ATTN_FN(_dots_step)(v, w, d, count - d, sum, nb, sb);
    ATTN_UNROLL for (int n = 0; n < nb; ++n)
        ATTN_UNROLL for (int s = 0; s < sb; ++s)
            x[s * ATTN_RES_BLOCKS + n] = ATTN_V(sum)(sum[n][s]);
}

/* x[s][n] = v[n] . w[s] over `count` elements. */
ATTN_NOINLINE void ATTN_FN(_dots)(const void *const *v, int rows, const void *const *w, int queries, int count,
                                  float *x)
{
    for (int n = 0, nb; n < rows; n += nb) {
        nb = rows - n >= ATTN_RES_NB ? ATTN_RES_NB : 1;
        for (int s = 0, sb; s < queries; s += sb) {
            float *to = x + s * ATTN_RES_BLOCKS + n;
            sb = queries - s >= ATTN_RES_SB ? ATTN_RES_SB : 1;
            if (nb == 1 && sb == 1)
                ATTN_FN(_dots_tile)(v + n, w + s, count, to, 1, 1);
            else if (nb == 1)
                ATTN_FN(_dots_tile)(v + n, w + s, count, to, 1, ATTN_RES_SB);
            else if (sb == 1)
                ATTN_FN(_dots_tile)(v + n, w + s, count, to, ATTN_RES_NB, 1);
            else
                ATTN_FN(_dots_tile)(v + n, w + s, count, to, ATTN_RES_NB, ATTN_RES_SB);
        }
    }
}

/* 1 / root of the mean square of a row. */
ATTN_NOINLINE float ATTN_FN(_inverse)(const void *v, int count, float eps)
{
    ATTN_VEC_T sum[4];
    int d = 0;
    ATTN_UNROLL for (int i = 0; i < 4; ++i)
        sum[i] = ATTN_V(set1)(0.0f);
    for (; d + 4 * ATTN_W <= count; d += 4 * ATTN_W)
        ATTN_UNROLL for (int i = 0; i < 4; ++i) {
            const ATTN_VEC_T a = ATTN_FN(_load)(v, d + i * ATTN_W, ATTN_W, 1);
            sum[i] = ATTN_V(fma)(a, a, sum[i]);
        }
    for (; d < count; d += ATTN_W) {
        const ATTN_VEC_T a = ATTN_FN(_load)(v, d, count - d < ATTN_W ? count - d : ATTN_W, 1);
        sum[0] = ATTN_V(fma)(a, a, sum[0]);
    }
    return 1.0f / sqrtf(ATTN_V(sum)((sum[0] + sum[1]) + (sum[2] + sum[3])) / (float)count + eps);
}

/* out[o][d ..] = sum over k of c[o * by_out + k * by_row] row[k][d ..], for `outs` rows (a constant) that are `pitch`
 * apart and two vectors, of which n0 and n1 elements are there; add: to what is in out. */
ATTN_INLINE void ATTN_FN(_mix_tile)(float *out, size_t pitch, const void *const *row, int count, const float *c,
                                    int by_out, int by_row, int d, int n0, int n1, int outs, int own, int add)
{
    ATTN_VEC_T sum[ATTN_RES_NB][2];
    ATTN_UNROLL for (int o = 0; o < outs; ++o) {
        sum[o][0] = add ? ATTN_FN(_load)(out + (size_t)o * pitch, d, n0, 0) : ATTN_V(set1)(0.0f);
        sum[o][1] = add && n1 > 0 ? ATTN_FN(_load)(out + (size_t)o * pitch, d + ATTN_W, n1, 0) : ATTN_V(set1)(0.0f);
    }
    for (int k = 0; k < count; ++k) {
        const ATTN_VEC_T a = ATTN_FN(_load)(row[k], d, n0, own);
        const ATTN_VEC_T b = n1 > 0 ? ATTN_FN(_load)(row[k], d + ATTN_W, n1, own) : ATTN_V(set1)(0.0f);
        ATTN_UNROLL for (int o = 0; o < outs; ++o) {
            const ATTN_VEC_T f = ATTN_V(set1)(c[o * by_out + k * by_row]);
            sum[o][0] = ATTN_V(fma)(f, a, sum[o][0]);
            sum[o][1] = ATTN_V(fma)(f, b, sum[o][1]);
        }
    }
    ATTN_UNROLL for (int o = 0; o < outs; ++o) {
        float *to = out + (size_t)o * pitch + d;
        if (n0 == ATTN_W)
            ATTN_V(store_f32)(to, sum[o][0]);
        else
            ATTN_V(store_f32_n)(to, sum[o][0], n0);
        if (n1 == ATTN_W)
            ATTN_V(store_f32)(to + ATTN_W, sum[o][1]);
        else if (n1 > 0)
            ATTN_V(store_f32_n)(to + ATTN_W, sum[o][1], n1);
    }
}

/* All outs and dims; meanwhile asks for what lies `ahead` elements behind the rows: those of the next token, so that
 * memory works beside the sums.  0: for nothing. */
ATTN_INLINE void ATTN_FN(_mix)(float *out, size_t pitch, int outs, const void *const *row, int count, const float *c,
                               int by_out, int by_row, int dims, int own, int add, int64_t ahead)
{
    for (int d = 0; d < dims; d += 2 * ATTN_W) {
        for (int k = 0; k < count && ahead; ++k)
            for (int i = 0; i < 2 * ATTN_W * (int)sizeof(ATTN_KV_T); i += 64)
                __builtin_prefetch((const char *)((const ATTN_KV_T *)row[k] + ahead + d) + i, 0, 3);
        const int left = dims - d, whole = left >= 2 * ATTN_W;
        const int n0 = left < ATTN_W ? left : ATTN_W, n1 = left < 2 * ATTN_W ? left - n0 : ATTN_W;
        for (int o = 0, ob; o < outs; o += ob) {
            float *to = out + (size_t)o * pitch;
            ob = outs - o >= ATTN_RES_NB ? ATTN_RES_NB : 1;
            if (ob == ATTN_RES_NB && whole)
                ATTN_FN(_mix_tile)(to, pitch, row, count, c + o * by_out, by_out, by_row, d, ATTN_W, ATTN_W,
                                   ATTN_RES_NB, own, add);
            else if (ob == ATTN_RES_NB)
                ATTN_FN(_mix_tile)(to, pitch, row, count, c + o * by_out, by_out, by_row, d, n0, n1, ATTN_RES_NB, own,
                                   add);
            else if (whole)
                ATTN_FN(_mix_tile)(to, pitch, row, count, c + o * by_out, by_out, by_row, d, ATTN_W, ATTN_W, 1, own,
                                   add);
            else
                ATTN_FN(_mix_tile)(to, pitch, row, count, c + o * by_out, by_out, by_row, d, n0, n1, 1, own, add);
        }
    }
}

/* Of one token: its rows of V, 1 / root of their mean squares, times scale the logits, and their greatest and the sum
 * of 2^(x - greatest), which replaces x if `weigh`. */
ATTN_NOINLINE void ATTN_FN(_logits)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t, const void **v)
{
    const attn_res_params *p = c->p;
    const void *key[ATTN_RES_BLOCKS];
    const void *w[ATTN_RES_QUERIES];
    for (int n = 0; n < c->blocks; ++n) {
        const ATTN_KV_T *base = p->v_table ? (const ATTN_KV_T *)p->v_table[n]
                                           : (const ATTN_KV_T *)p->v.data + n * p->v.stride[0];
        v[n] = base + t * p->v.stride[1];
        key[n] = (const ATTN_KV_T *)v[n] + c->first;
    }
    for (int s = 0; s < c->queries; ++s)
        w[s] = c->w + (size_t)s * (size_t)c->key;
    for (int n = 0; n < c->blocks; n += ATTN_RES_NB) { /* so that rows are still in the cache for their squares */
        const int rows = c->blocks - n < ATTN_RES_NB ? c->blocks - n : ATTN_RES_NB;
        ATTN_FN(_dots)(key + n, rows, w, c->queries, c->key, own->x + n);
        for (int i = n; i < n + rows; ++i)
            own->r[i] = ATTN_FN(_inverse)(key[i], c->key, p->eps);
    }
    for (int s = 0; s < c->queries; ++s)
        for (int n = 0; n < c->blocks; ++n)
            own->x[s * ATTN_RES_BLOCKS + n] *= own->r[n] * p->scale;
}

/* 2^((x[n] - by) log2 e), to y; their sum. */
ATTN_INLINE float ATTN_FN(_exp)(const float *x, float *y, int count, float by)
{
    ATTN_VEC_T sum = ATTN_V(set1)(0.0f);
    for (int n = 0; n < count; n += ATTN_W) {
        const int left = count - n < ATTN_W ? count - n : ATTN_W;
        const ATTN_VEC_T z = (ATTN_V(load_f32_n)(x + n, left) - ATTN_V(set1)(by)) * ATTN_V(set1)(ATTN_LOG2E);
        const ATTN_VEC_T e = ATTN_V(exp2)(z);
        ATTN_V(store_f32_n)(y + n, e, left);
        sum = sum + ATTN_V(load_f32_n)(y + n, left);
    }
    return ATTN_V(sum)(sum);
}
#endif /* phase 1 */

/* ---- a token of each kernel --------------------------------------------------------------------- */

#if ATTN_KERNEL == ATTN_KERNEL_RES1
ATTN_NOINLINE void ATTN_FN(_token)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t)
{
    const attn_res_params *p = c->p;
    const void *v[ATTN_RES_BLOCKS];
    ATTN_FN(_logits)(c, own, t, v);
    for (int s = 0; s < c->queries; ++s) {
        float *x = own->x + s * ATTN_RES_BLOCKS, top = x[0];
        for (int n = 1; n < c->blocks; ++n)
            top = x[n] > top ? x[n] : top;
        const float sum = ATTN_FN(_exp)(x, x, c->blocks, top);
        if (p->lse)
            p->lse[s * p->lse_stride + t] = c->blocks == 1 ? top : top + logf(sum);
        for (int n = 0; n < c->blocks; ++n)
            x[n] = c->blocks == 1 ? x[n] : x[n] / sum;
    }
    for (int s = 0; s < c->queries && p->o1.data; s += ATTN_RES_NB) {
        const int outs = c->queries - s < ATTN_RES_NB ? c->queries - s : ATTN_RES_NB;
        ATTN_FN(_mix)(own->out, (size_t)c->dim, outs, v, c->blocks, own->x + s * ATTN_RES_BLOCKS, ATTN_RES_BLOCKS, 1,
                      c->dim, 1, 0, s == 0 && t + 1 < p->tokens ? p->v.stride[1] : 0);
        for (int o = 0; o < outs; ++o)
            ATTN_FN(_put_row)(&p->o1, s + o, t, own->out + (size_t)o * (size_t)c->dim, c->dim);
    }
}

#elif ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD
/* With P = exp(x - lse), u = dO1 . v and dx = P (dlse + u - sum of P u):
 *     dv[n] += sum over s of P dO1[s] + dx scale r w[s], - v[n] r^2 / R sum over s of dx x      (the last two: key)
 *     dw[s] += sum over n of dx scale r v[n] */
ATTN_NOINLINE void ATTN_FN(_token)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t)
{
    const attn_res_params *p = c->p;
    const int wide = ATTN_RES_BLOCKS, add = (p->flags & ATTN_RES_ADD_DV) != 0;
    const size_t dim = (size_t)c->dim;
    const void *v[ATTN_RES_BLOCKS], *row[ATTN_RES_QUERIES] = { NULL }, *key[2 * ATTN_RES_QUERIES];
    float down[ATTN_RES_BLOCKS] = { 0 };
    ATTN_FN(_logits)(c, own, t, v);
    for (int s = 0; s < c->queries; ++s) {
        ATTN_FN(_get_row)(own->rows + (size_t)s * dim, &p->do1, s, t, c->dim);
        row[s] = own->rows + (size_t)s * dim;
        key[s] = own->rows + (size_t)s * dim + c->first;
        key[c->queries + s] = c->w + (size_t)s * (size_t)c->key;
    }
    ATTN_FN(_dots)(v, c->blocks, row, c->queries, c->dim, own->u);
    for (int s = 0; s < c->queries; ++s) {
        float *x = own->x + s * wide, *u = own->u + s * wide, *f = own->c + s * wide, mean = 0.0f;
        float *weight = own->c + (c->queries + s) * wide;
        (void)ATTN_FN(_exp)(x, f, c->blocks, p->lse[s * p->lse_stride + t]);
        for (int n = 0; n < c->blocks; ++n)
            mean += f[n] * u[n];
        for (int n = 0; n < c->blocks; ++n) {
            const float dx = f[n] * ((p->dlse ? p->dlse[s * p->lse_stride + t] : 0.0f) + u[n] - mean);
            down[n] += dx * x[n];
            weight[n] = dx * p->scale * own->r[n];
        }
    }
    for (int n = 0; n < c->blocks && (p->dv.data || p->dv_table); n += ATTN_RES_NB) {
        const int outs = c->blocks - n < ATTN_RES_NB ? c->blocks - n : ATTN_RES_NB;
        ATTN_FN(_mix)(own->out, dim, outs, row, c->queries, own->c + n, 1, wide, c->first, 0, 0, 0);
        ATTN_FN(_mix)(own->out + c->first, dim, outs, key, 2 * c->queries, own->c + n, 1, wide, c->key, 0, 0, 0);
        for (int o = 0; o < outs; ++o) {
            float *out = own->out + (size_t)o * dim, *old = own->rows + (size_t)c->queries * dim;
            const ATTN_VEC_T by = ATTN_V(set1)(-down[n + o] * own->r[n + o] * own->r[n + o] / (float)c->key);
            for (int d = c->first; d < c->dim; d += ATTN_W) {
                const int left = c->dim - d < ATTN_W ? c->dim - d : ATTN_W;
                ATTN_V(store_f32_n)(out + d, ATTN_V(fma)(by, ATTN_FN(_load)(v[n + o], d, left, 1),
                                                         ATTN_FN(_load)(out, d, left, 0)), left);
            }
            if (p->dv_table)
                ATTN_FN(_put_gradient)(p->dv_table[n + o], t * p->dv.stride[1], p->dv.dtype, out, old, add, c->dim);
            else
                ATTN_FN(_put_gradient)(p->dv.data, (n + o) * p->dv.stride[0] + t * p->dv.stride[1], p->dv.dtype, out,
                                       old, add, c->dim);
        }
    }
    if (!c->parts)
        return;
    for (int n = 0; n < c->blocks; ++n)
        v[n] = (const ATTN_KV_T *)v[n] + c->first;
    ATTN_FN(_mix)(c->parts + (size_t)own->run * (size_t)c->queries * (size_t)c->key, (size_t)c->key, c->queries, v,
                  c->blocks, own->c + c->queries * wide, wide, 1, c->key, 1, 1, t + 1 < p->tokens ? p->v.stride[1] : 0);
}

#elif ATTN_KERNEL == ATTN_KERNEL_RES2
ATTN_NOINLINE void ATTN_FN(_token)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t)
{
    const attn_res_params *p = c->p;
    const int dim = c->dim;
    float *sum = own->rows, *h = own->out, *o1 = own->rows + dim;
    ATTN_FN(_get_row)(sum, &p->p, 0, t, dim);
    if (p->update.data) {
        ATTN_FN(_get_row)(h, &p->update, 0, t, dim);
        for (int d = 0; d < dim; ++d)
            sum[d] += h[d];
        ATTN_FN(_round)(sum, p->p_out.dtype, dim);
    }
    if (p->p_out.data)
        ATTN_FN(_put_row)(&p->p_out, 0, t, sum, dim);
    if (p->block.data)
        ATTN_FN(_put_row)(&p->block, 0, t, sum, dim);
    if (!p->h.data && !p->norm.data)
        return;
    const float *key = sum + c->first;
    const float r = 1.0f / sqrtf(ATTN_FN(_dot)(key, key, c->key) / (float)c->key + p->eps);
    const float z = ATTN_FN(_dot)(key, c->w, c->key) * (r * p->scale), a = 1.0f / (1.0f + expf(p->lse[t] - z));
    ATTN_FN(_get_row)(o1, &p->o1, 0, t, dim);
    for (int d = 0; d < dim; ++d)
        h[d] = a == 1.0f ? sum[d] : o1[d] + a * (sum[d] - o1[d]);
    if (p->h.data)
        ATTN_FN(_put_row)(&p->h, 0, t, h, dim);
    if (!p->norm.data)
        return;
    ATTN_FN(_round)(h, p->h.dtype, dim);
    const float by = 1.0f / sqrtf(ATTN_FN(_dot)(h, h, dim) / (float)dim + p->norm_eps);
    for (int d = 0; d < dim; ++d)
        h[d] *= by;
    if (p->norm_gain.data) {
        ATTN_FN(_get_row)(o1, &p->norm_gain, 0, 0, dim);
        for (int d = 0; d < dim; ++d)
            h[d] *= o1[d];
    }
    ATTN_FN(_put_row)(&p->norm, 0, t, h, dim);
}

#else
/* With g = dh and e = sum of g (O1 - p):  dO1 = (1 - a) g,  dlse = a (1 - a) e,  dz = -dlse,
 *     dp = a g + dz (scale r w - z r^2 p / R)   (the second term: key),   dw += dz scale r p */
ATTN_NOINLINE void ATTN_FN(_token)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t)
{
    const attn_res_params *p = c->p;
    const int dim = c->dim, add = (p->flags & ATTN_RES_ADD_DP) != 0;
    float *sum = own->rows, *o1 = own->rows + dim, *g = own->rows + 2 * dim, *out = own->out;
    ATTN_FN(_get_row)(sum, &p->p, 0, t, dim);
    ATTN_FN(_get_row)(o1, &p->o1, 0, t, dim);
    ATTN_FN(_get_row)(g, &p->dh, 0, t, dim);
    const float *key = sum + c->first;
    const float r = 1.0f / sqrtf(ATTN_FN(_dot)(key, key, c->key) / (float)c->key + p->eps);
    const float z = ATTN_FN(_dot)(key, c->w, c->key) * (r * p->scale), a = 1.0f / (1.0f + expf(p->lse[t] - z));
    const float rest = 1.0f / (1.0f + expf(z - p->lse[t])); /* 1 - a, without its rounding */
    for (int d = 0; d < dim; ++d)
        out[d] = o1[d] - sum[d];
    const float dlse = a * rest * ATTN_FN(_dot)(g, out, dim), dw = -dlse * p->scale * r, down = dlse * z * r * r;
    if (p->dlse)
        p->dlse[t] = dlse;
    if (p->do1.data) {
        for (int d = 0; d < dim; ++d)
            out[d] = rest * g[d];
        ATTN_FN(_put_row)(&p->do1, 0, t, out, dim);
    }
    if (p->dp.data) {
        for (int d = 0; d < dim; ++d)
            out[d] = a * g[d];
        for (int d = 0; d < c->key; ++d)
            out[c->first + d] += dw * c->w[d] + down / (float)c->key * key[d];
        ATTN_FN(_put_gradient)(p->dp.data, t * p->dp.stride[1], p->dp.dtype, out, o1, add, dim);
    }
    if (c->parts) {
        float *to = c->parts + (size_t)own->run * (size_t)c->key;
        for (int d = 0; d < c->key; ++d)
            to[d] += dw * key[d];
    }
}
#endif

/* ---- one call ----------------------------------------------------------------------------------- */

/* Adds the runs' sums in their order; then the gain's part. */
ATTN_INLINE void ATTN_FN(_finish)(const ATTN_FN(_call) *c, float *scratch)
{
    const attn_res_params *p = c->p;
    const size_t key = (size_t)c->key, all = (size_t)c->queries * key;
    const int add = (p->flags & ATTN_RES_ADD_DW) != 0;
    float *sum = c->parts, *gain = scratch, *w = scratch + key;
    for (int64_t n = 1; n < c->runs; ++n)
        for (size_t i = 0; i < all; ++i)
            sum[i] += c->parts[(size_t)n * all + i];
    if (p->gain.data)
        ATTN_FN(_get_row)(gain, &p->gain, 0, 0, c->key);
    for (size_t d = 0; d < key && p->dgain && !add; ++d)
        p->dgain[d] = 0.0f;
    for (int s = 0; s < c->queries; ++s) {
        if (p->dgain) {
            ATTN_FN(_get_row)(w, &p->w, s, 0, c->key);
            for (size_t d = 0; d < key; ++d)
                p->dgain[d] += w[d] * sum[(size_t)s * key + d];
        }
        for (size_t d = 0; d < key && p->dw; ++d) {
            const float x = sum[(size_t)s * key + d] * (p->gain.data ? gain[d] : 1.0f);
            float *to = p->dw + s * p->dw_stride + (int64_t)d;
            *to = add ? *to + x : x;
        }
    }
}

/* Sizes only; nothing is read. */
ATTN_NOINLINE void ATTN_FN(_plan)(const attn_res_params *p, ATTN_FN(_call) *c)
{
    memset(c, 0, sizeof *c);
    c->p = p;
    c->blocks = p->blocks;
    c->queries = p->queries;
    c->dim = p->dim;
    c->key = p->key_dim;
    c->first = p->dim - p->key_dim;
    c->run = ATTN_RES_TOKENS;
    if (ATTN_RES_BACKWARD && p->tokens > (int64_t)ATTN_RES_TOKENS * ATTN_RES_RUNS)
        c->run = p->tokens / ATTN_RES_RUNS + (p->tokens % ATTN_RES_RUNS != 0);
    c->runs = p->tokens / c->run + (p->tokens % c->run != 0);

    const size_t one = 16, w = ((size_t)c->queries * (size_t)c->key + one - 1) / one * one, dim = (size_t)c->dim;
    const int wants = ATTN_RES_BACKWARD && (p->dw || p->dgain);
    const size_t sums = wants ? (size_t)c->runs * (size_t)c->queries * (size_t)c->key : 0;
    const size_t logits = ATTN_RES_PHASE1 ? (size_t)c->queries * ATTN_RES_BLOCKS : 0;
    const size_t rows = ATTN_KERNEL == ATTN_KERNEL_RES1            ? 0
                        : ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD ? (size_t)c->queries + 1
                                                                   : 3;
    c->parts_at = w;
    c->scratch_at = w + (sums + one - 1) / one * one;
    /* x, u, the two factors, r; results; rows */
    c->scratch = 4 * logits + ATTN_RES_BLOCKS + (ATTN_RES_NB + rows) * ((dim + one - 1) / one * one);
}

/* Threads worth starting: those asked for, no more than runs. */
ATTN_INLINE int ATTN_FN(_threads)(const ATTN_FN(_call) *c)
{
    int64_t n = 1;
#if defined(_OPENMP)
    n = c->p->threads ? c->p->threads : omp_get_max_threads();
#endif
    return (int)(n < c->runs ? n : c->runs);
}

static size_t ATTN_FN(_workspace)(const attn_res_params *p, int least)
{
    ATTN_FN(_call) c;
    ATTN_FN(_plan)(p, &c);
    return sizeof(float) * (c.scratch_at + c.scratch * (size_t)(least ? 1 : ATTN_FN(_threads)(&c)));
}

/* One thread's share: runs until none is left. */
ATTN_NOINLINE void ATTN_FN(_work)(ATTN_FN(_call) *c, float *scratch)
{
    const size_t logits = ATTN_RES_PHASE1 ? (size_t)c->queries * ATTN_RES_BLOCKS : 0;
    const size_t dim = ((size_t)c->dim + 15) / 16 * 16;
    ATTN_FN(_own) own;
    own.x = scratch;
    own.u = own.x + logits;
    own.c = own.u + logits;
    own.r = own.c + 2 * logits;
    own.out = own.r + ATTN_RES_BLOCKS;
    own.rows = own.out + ATTN_RES_NB * dim;
    for (int64_t n; (n = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < c->runs;) {
        const int64_t end = c->p->tokens - n * c->run < c->run ? c->p->tokens : (n + 1) * c->run;
        const size_t sums = (size_t)c->queries * (size_t)c->key;
        own.run = (int)(ATTN_RES_BACKWARD ? n : 0);
        if (c->parts)
            memset(c->parts + (size_t)n * sums, 0, sizeof(float) * sums);
        for (int64_t t = n * c->run; t < end; ++t)
            ATTN_FN(_token)(c, &own, t);
    }
}

/* Relies on what run/res.h promises of p. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    ATTN_FN(_call) c;
    float *const space = (float *)workspace, *scratch;
    (void)stream;
    ATTN_FN(_plan)(p, &c);
    c.w = space;
    c.parts = c.scratch_at > c.parts_at ? space + c.parts_at : NULL;
    scratch = space + c.scratch_at;
    if (p->w.data && (ATTN_KERNEL != ATTN_KERNEL_RES2 || p->h.data || p->norm.data))
        for (int s = 0; s < c.queries; ++s) {
            float *w = c.w + (size_t)s * (size_t)c.key;
            ATTN_FN(_get_row)(w, &p->w, s, 0, c.key);
            if (!p->gain.data)
                continue;
            ATTN_FN(_get_row)(scratch, &p->gain, 0, 0, c.key);
            for (int d = 0; d < c.key; ++d)
                w[d] *= scratch[d];
        }
    const size_t room = (workspace_bytes / sizeof(float) - c.scratch_at) / c.scratch;
    int threads = ATTN_FN(_threads)(&c);
    threads = (size_t)threads < room ? threads : (int)room;
#if defined(_OPENMP)
#pragma omp parallel num_threads(threads) if (threads > 1)
    ATTN_FN(_work)(&c, scratch + (size_t)omp_get_thread_num() * c.scratch);
#else
    ATTN_FN(_work)(&c, scratch);
#endif
    if (c.parts)
        ATTN_FN(_finish)(&c, scratch);
    return ATTN_OK;
}

/* For end.h: any strides, no shared memory, no device. */
#define ATTN_ROW_ALIGN    0
#define ATTN_SHARED_BYTES 0
#define ATTN_DEVICE_FN    NULL

#undef ATTN_RES_NB
#undef ATTN_RES_SB
#undef ATTN_RES_BACKWARD
#undef ATTN_RES_PHASE1
#undef ATTN_RES_RUNS
#undef ATTN_RES_TOKENS
#include <attn/template/vocabulary_end_cpu.h>
