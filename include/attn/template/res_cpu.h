/* res_cpu.h - Attention Residuals on a CPU: both phases and their gradients (res.h has the equations).
 *
 * Included by instance.h for the CPU archs, no guard.  A thread takes runs of tokens, and does all of a token before
 * the next one: its N rows of V come from memory once, asked for while the token before is computed, and are in a cache
 * when they are read again.  Phase 1 has 2 N S multiply-adds an element, which is what binds with 8 queries and 8
 * blocks; with one query memory does.  So both products are tiles of registers:
 *
 *     logits     ATTN_RES_NB rows of V by ATTN_RES_SB queries, sums over dims; the tile of the first queries has the
 *                rows' squares, too.  A chunk of dims at a time, whose w stays in the L1, packed as the tiles read it
 *     results    ATTN_RES_OB rows by a pair of vectors, sums over blocks, which go from registers to where they belong
 *
 * What no cache keeps until it is read is stored past the caches: else each of its lines would be fetched first.
 *
 * All work on pairs of vectors, 2 ATTN_W elements.  Of bf16 the first vector of a pair has the elements at even places,
 * the second those at odd ones: conversions without a shuffle.  Floats that are kept for such an instance are in that
 * order, too: "kept order".  A row with a key of its own is two parts, the dims before the key and those of the key.
 *
 *     of a call      w * gain [S][R], norm_gain [D]; backward: a sum of dw for each run of tokens [runs][S][R]
 *     of a thread    products, factors; copies of rows
 *
 * How tokens are cut into runs depends on their number alone and runs are added in their order, so dw, too, is the
 * same bits with any number of threads. */

#include <math.h>
#include <string.h>
#if defined(_OPENMP)
#include <omp.h>
#endif
#include <attn/template/vocabulary_cpu.h>

#define ATTN_RES_NB 2
#define ATTN_RES_SB (ATTN_W == 16 ? 8 : 4)
#define ATTN_RES_OB (ATTN_W == 16 ? 8 : 4)
#define ATTN_RES_BACKWARD (ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD || ATTN_KERNEL == ATTN_KERNEL_RES2_BACKWARD)
#define ATTN_RES_PHASE1 (ATTN_KERNEL == ATTN_KERNEL_RES1 || ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD)
/* Elements of a pair of vectors; of 64 bytes, a line of the caches nearly everywhere; the greater of both. */
#define ATTN_RES_PAIR (2 * ATTN_W)
#define ATTN_RES_LINE (64 / (int)sizeof(ATTN_KV_T))
#define ATTN_RES_STEP (ATTN_RES_LINE < ATTN_RES_PAIR ? ATTN_RES_PAIR : ATTN_RES_LINE)
/* Floats of w in a chunk of dims, 16 KB: it stays in the L1 while the rows pass; least dims. */
#define ATTN_RES_CHUNK 4096
#define ATTN_RES_CHUNK_DIMS 256
/* Eighths of the next token's V that are asked for beside the products of this one; the rest beside its results. */
#define ATTN_RES_FETCH 3
/* Bytes of a result from which on its stores go past the caches (docs/performance.md). */
#define ATTN_RES_STREAM_BYTES ((int64_t)16 << 20)
/* Runs of a backward call, at most; each has sums of its own. */
#define ATTN_RES_RUNS 32
/* Tokens of a run: in a backward call the least. */
#define ATTN_RES_TOKENS (ATTN_RES_BACKWARD ? 64 : 16)

/* What is the same for all threads of a call. */
typedef struct ATTN_FN(_call) {
    const attn_res_params *p;
    int blocks, queries, dim, key, first; /* N, S, D, R, D - R */
    int wide;              /* queries of a tile */
    int pitch, first_pitch; /* floats of a kept row of the key, of the dims before it: multiples of a pair */
    int chunk;             /* dims of which products are made at a time */
    int fetch;             /* phase 1: of the next token's V, dims before this one are asked for beside the products */
    int copy;              /* of phase 2: o1 is copied before the sum is stored, which is to be where it is */
    int stream, stream_p, stream_block, stream_norm; /* past the caches go: o1, dv, h or dp; p_out or do1; ... */
    int64_t runs, run, next; /* tokens of a run; the next one to be taken */
    size_t gain_at, parts_at, scratch_at, scratch; /* floats: in the workspace; of a thread */
    float *w, *gain, *parts;
} ATTN_FN(_call);

/* The scratch of a thread. */
typedef struct ATTN_FN(_own) {
    float *y, *u;  /* [N][ATTN_RES_QUERIES]: w . v, then weights; dO1 . v */
    float *square; /* [N]: of v, then 1 / root of its mean */
    float *c;      /* [N][2 ATTN_RES_QUERIES]: factors of dO1 and w */
    float *copy;   /* [N or 2 S][a pair]: of rows that are mixed */
    float *rows;   /* phase 1 backward: dO1 [S][D]; phase 2: the sum, then h, and o1, [D] each */
    int run;
} ATTN_FN(_own);

/* Queries, and rows of V, as tiles have them. */
ATTN_INLINE size_t ATTN_FN(_padded)(const ATTN_FN(_call) *c)
{
    return (size_t)((c->queries + c->wide - 1) / c->wide * c->wide);
}
ATTN_INLINE size_t ATTN_FN(_listed)(const ATTN_FN(_call) *c)
{
    return (size_t)(c->blocks + 2 * ATTN_RES_NB - 1);
}

#include <attn/template/res_pair_cpu.h>
#if ATTN_RES_PHASE1
#include <attn/template/res_product_cpu.h>
#endif

/* Whether a result goes past the caches, [blocks][tokens][D]: it must be more than one holds, and lie as such stores
 * want it. */
ATTN_INLINE int ATTN_FN(_streams)(const ATTN_FN(_call) *c, const attn_res_tensor *x, const void *const *table,
                                  int blocks)
{
    const int64_t size = ATTN_FN(_size)(x->dtype);
    int is = (x->data || table) && size * blocks * c->p->tokens * c->dim >= ATTN_RES_STREAM_BYTES &&
             size * x->stride[1] % 64 == 0 && size * c->first % 64 == 0;
    for (int n = 0; n < blocks && is; ++n)
        is = (uintptr_t)ATTN_FN(_row)(x, table, n, 0, 0) % 64 == 0;
    return is;
}

/* ---- a token of each kernel --------------------------------------------------------------------- */

#if ATTN_KERNEL == ATTN_KERNEL_RES1
ATTN_NOINLINE void ATTN_FN(_token)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t)
{
    const attn_res_params *p = c->p;
    const void *v[ATTN_RES_BLOCKS + 2 * ATTN_RES_NB];
    void *to[ATTN_RES_QUERIES];
    ATTN_FN(_mixed) m;
    ATTN_FN(_logits)(c, own, t, v, NULL);
    for (int s = 0; s < c->queries; s += ATTN_W) { /* lanes are queries */
        float *y = own->y + s, tops[ATTN_W], sums[ATTN_W];
        ATTN_VEC_T top = ATTN_V(load_f32)(y), sum = ATTN_V(set1)(0.0f);
        for (int n = 1; n < c->blocks; ++n)
            top = ATTN_V(max)(top, ATTN_V(load_f32)(y + n * ATTN_RES_QUERIES));
        for (int n = 0; n < c->blocks; ++n) {
            float *x = y + n * ATTN_RES_QUERIES;
            const ATTN_VEC_T e = ATTN_V(exp2)((ATTN_V(load_f32)(x) - top) * ATTN_V(set1)(ATTN_LOG2E));
            ATTN_V(store_f32)(x, e);
            sum = sum + e;
        }
        for (int n = 0; n < c->blocks; ++n) {
            float *x = y + n * ATTN_RES_QUERIES;
            ATTN_V(store_f32)(x, ATTN_V(load_f32)(x) / sum);
        }
        ATTN_V(store_f32)(tops, top);
        ATTN_V(store_f32)(sums, sum);
        for (int i = s; i < c->queries && i < s + ATTN_W && p->lse; ++i)
            p->lse[i * p->lse_stride + t] = c->blocks == 1 ? tops[i - s] : tops[i - s] + logf(sums[i - s]);
    }
    if (!p->o1.data)
        return;
    for (int s = 0; s < c->queries; ++s)
        to[s] = ATTN_FN(_row)(&p->o1, NULL, s, t, 0);
    memset(&m, 0, sizeof m);
    m.row = v;
    m.rows = c->blocks;
    m.outs = c->queries;
    m.dims = c->dim;
    m.c = own->y;
    m.by_out = 1;
    m.by_row = ATTN_RES_QUERIES;
    m.to = to;
    m.dtype = p->o1.dtype;
    m.stream = c->stream;
    m.ahead = t + 1 < p->tokens ? p->v.stride[1] : 0;
    m.ask = c->fetch;
    ATTN_FN(_mix)(&m, own->copy, 0);
}

#elif ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD
/* With P = exp(x - lse), u = dO1 . v and dx = P (dlse + u - sum of P u):
 *     dv[n] += sum over s of P dO1[s] + dx scale r w[s], - v[n] r^2 / R sum over s of dx x      (the last two: key)
 *     dw[s] += sum over n of dx scale r v[n] */
ATTN_NOINLINE void ATTN_FN(_token)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t)
{
    const attn_res_params *p = c->p;
    const int wide = 2 * ATTN_RES_QUERIES, queries = c->queries;
    const size_t padded = ATTN_FN(_padded)(c);
    const int64_t next = t + 1 < p->tokens ? p->do1.stride[1] : 0;
    const void *v[ATTN_RES_BLOCKS + 2 * ATTN_RES_NB], *key[ATTN_RES_BLOCKS];
    const float *row[2 * ATTN_RES_QUERIES];
    void *to[ATTN_RES_BLOCKS];
    float *sum[ATTN_RES_QUERIES], down[ATTN_RES_BLOCKS] = { 0 };
    float lse[ATTN_RES_QUERIES], dlse[ATTN_RES_QUERIES], mean[ATTN_RES_QUERIES];
    ATTN_FN(_mixed) m;
    for (int s = 0; s < queries; ++s) {
        const int group = s / c->wide * c->wide, index = s % c->wide;
        float *first = own->rows + (size_t)group * (size_t)c->first_pitch;
        float *rest = own->rows + padded * (size_t)c->first_pitch + (size_t)group * (size_t)c->pitch;
        ATTN_FN(_pack)(first, c->wide, index, ATTN_FN(_row)(&p->do1, NULL, s, t, 0), p->do1.dtype, c->first, next);
        ATTN_FN(_pack)(rest, c->wide, index, ATTN_FN(_row)(&p->do1, NULL, s, t, c->first), p->do1.dtype, c->key, next);
        lse[s] = p->lse[s * p->lse_stride + t];
        dlse[s] = p->dlse ? p->dlse[s * p->lse_stride + t] : 0.0f;
    }
    ATTN_FN(_logits)(c, own, t, v, own->rows);
    for (int s = 0; s < queries; s += ATTN_W) { /* lanes are queries */
        const int left = queries - s < ATTN_W ? queries - s : ATTN_W;
        ATTN_VEC_T all = ATTN_V(set1)(0.0f);
        for (int n = 0; n < c->blocks; ++n) {
            const ATTN_VEC_T x = ATTN_V(load_f32_n)(own->y + n * ATTN_RES_QUERIES + s, left);
            const ATTN_VEC_T u = ATTN_V(load_f32_n)(own->u + n * ATTN_RES_QUERIES + s, left);
            const ATTN_VEC_T by = ATTN_V(load_f32_n)(lse + s, left);
            const ATTN_VEC_T e = ATTN_V(exp2)((x - by) * ATTN_V(set1)(ATTN_LOG2E));
            ATTN_V(store_f32_n)(own->c + n * wide + s, e, left);
            all = ATTN_V(fma)(e, u, all);
        }
        ATTN_V(store_f32_n)(mean + s, all, left);
    }
    for (int s = 0; s < queries; s += ATTN_W) {
        const int left = queries - s < ATTN_W ? queries - s : ATTN_W;
        for (int n = 0; n < c->blocks; ++n) {
            float *weight = own->c + n * wide + s;
            const ATTN_VEC_T u = ATTN_V(load_f32_n)(own->u + n * ATTN_RES_QUERIES + s, left);
            const ATTN_VEC_T off = (ATTN_V(load_f32_n)(dlse + s, left) + u) - ATTN_V(load_f32_n)(mean + s, left);
            const ATTN_VEC_T dx = ATTN_V(load_f32_n)(weight, left) * off;
            ATTN_V(store_f32_n)(weight + queries, dx * ATTN_V(set1)(p->scale * own->square[n]), left);
            down[n] += ATTN_V(sum)(dx * ATTN_V(load_f32_n)(own->y + n * ATTN_RES_QUERIES + s, left));
        }
    }
    for (int n = 0; n < c->blocks; ++n) {
        key[n] = (const ATTN_KV_T *)v[n] + c->first;
        down[n] = -down[n] * own->square[n] * own->square[n] / (float)c->key;
    }
    if (c->parts) { /* first, as dv may be V */
        for (int s = 0; s < queries; ++s)
            sum[s] = c->parts + ((size_t)own->run * (size_t)queries + (size_t)s) * (size_t)c->pitch;
        memset(&m, 0, sizeof m);
        m.row = key;
        m.rows = c->blocks;
        m.outs = queries;
        m.dims = c->key;
        m.c = own->c + queries;
        m.by_out = 1;
        m.by_row = wide;
        m.keep = sum;
        m.add = 1;
        m.ahead = t + 1 < p->tokens ? p->v.stride[1] : 0;
        m.ask = c->fetch > c->first ? c->fetch - c->first : 0;
        ATTN_FN(_mix)(&m, own->copy, 0);
    }
    if (!p->dv.data && !p->dv_table)
        return;
    memset(&m, 0, sizeof m);
    m.kept = row;
    m.wide = c->wide;
    m.outs = c->blocks;
    m.c = own->c;
    m.by_out = wide;
    m.by_row = 1;
    m.to = to;
    m.dtype = p->dv.dtype;
    m.stream = c->stream;
    m.add = (p->flags & ATTN_RES_ADD_DV) != 0;
    for (int part = c->first ? 0 : 1; part < 2; ++part) {
        const int pitch = part ? c->pitch : c->first_pitch;
        const float *base = own->rows + (part ? padded * (size_t)c->first_pitch : 0);
        m.dims = part ? c->key : c->first;
        m.rows = part ? 2 * queries : queries;
        m.by = part ? down : NULL;
        m.v = key;
        for (int k = 0; k < m.rows; ++k) {
            const int s = k % queries, group = s / c->wide * c->wide;
            row[k] = (k < queries ? base : c->w) + (size_t)group * (size_t)pitch + s % c->wide * ATTN_RES_PAIR;
        }
        for (int n = 0; n < c->blocks; ++n)
            to[n] = ATTN_FN(_row)(&p->dv, (const void *const *)p->dv_table, n, t, part ? c->first : 0);
        ATTN_FN(_mix)(&m, own->copy, 1);
    }
}

#elif ATTN_KERNEL == ATTN_KERNEL_RES2
/* sum = p + update, to where it is wanted; *square and *dot, unless NULL, += its products with itself and w. */
ATTN_INLINE void ATTN_FN(_sum)(const ATTN_FN(_call) *c, float *sum, int64_t t, int first, int dims, float *square,
                               float *dot)
{
    const attn_res_params *p = c->p;
    const char *from = (const char *)ATTN_FN(_row)(&p->p, NULL, 0, t, first);
    const char *more = p->update.data ? (const char *)ATTN_FN(_row)(&p->update, NULL, 0, t, first) : NULL;
    void *to = p->p_out.data ? ATTN_FN(_row)(&p->p_out, NULL, 0, t, first) : NULL;
    void *block = p->block.data ? ATTN_FN(_row)(&p->block, NULL, 0, t, first) : NULL;
    const int64_t ahead = t + 1 < p->tokens ? p->p.stride[1] * ATTN_FN(_size)(p->p.dtype) : 0;
    const int64_t more_ahead = more && ahead ? p->update.stride[1] * ATTN_FN(_size)(p->update.dtype) : 0;
    ATTN_VEC_T x[2], y[2], squares[2], dots[2];
    squares[0] = squares[1] = dots[0] = dots[1] = ATTN_V(set1)(0.0f);
    for (int d = 0; d < dims; d += ATTN_RES_PAIR) {
        const int n = dims - d < ATTN_RES_PAIR ? dims - d : ATTN_RES_PAIR;
        ATTN_FN(_load2)(x, from, d, n, ATTN_DTYPE);
        __builtin_prefetch(from + d * (int)sizeof(ATTN_KV_T) + ahead, 0, 3);
        if (more) {
            ATTN_FN(_load2)(y, more, d, n, p->update.dtype);
            __builtin_prefetch(more + d * ATTN_FN(_size)(p->update.dtype) + more_ahead, 0, 3);
            x[0] = ATTN_FN(_round)(x[0] + y[0], p->p_out.dtype);
            x[1] = ATTN_FN(_round)(x[1] + y[1], p->p_out.dtype);
        }
        if (to)
            ATTN_FN(_store2)(to, d, n, p->p_out.dtype, c->stream_p, x);
        if (block)
            ATTN_FN(_store2)(block, d, n, p->block.dtype, c->stream_block, x);
        ATTN_FN(_keep)(sum + d, x);
        if (!dot)
            continue;
        ATTN_FN(_load_kept)(y, c->w + d);
        ATTN_UNROLL for (int i = 0; i < 2; ++i) {
            squares[i] = ATTN_V(fma)(x[i], x[i], squares[i]);
            dots[i] = ATTN_V(fma)(x[i], y[i], dots[i]);
        }
    }
    if (dot) {
        *square = ATTN_V(sum)(squares[0] + squares[1]);
        *dot = ATTN_V(sum)(dots[0] + dots[1]);
    }
}

/* h = O1 + a (sum - O1), kept in sum as it is stored; the sum of its squares.  o1: copied already, or NULL. */
ATTN_INLINE float ATTN_FN(_blend)(const ATTN_FN(_call) *c, float *sum, const float *o1, float a, int64_t t, int first,
                                  int dims)
{
    const attn_res_params *p = c->p;
    const char *from = (const char *)ATTN_FN(_row)(&p->o1, NULL, 0, t, first);
    void *to = p->h.data ? ATTN_FN(_row)(&p->h, NULL, 0, t, first) : NULL;
    const int64_t ahead = t + 1 < p->tokens ? p->o1.stride[1] * ATTN_FN(_size)(p->o1.dtype) : 0;
    ATTN_VEC_T x[2], y[2], squares[2];
    squares[0] = squares[1] = ATTN_V(set1)(0.0f);
    for (int d = 0; d < dims; d += ATTN_RES_PAIR) {
        const int n = dims - d < ATTN_RES_PAIR ? dims - d : ATTN_RES_PAIR;
        ATTN_FN(_load_kept)(x, sum + d);
        if (a != 1.0f) { /* else O1 has no part in it, whatever it is */
            if (o1)
                ATTN_FN(_load_kept)(y, o1 + d);
            else
                ATTN_FN(_load2)(y, from, d, n, p->o1.dtype);
            x[0] = ATTN_V(fma)(ATTN_V(set1)(a), x[0] - y[0], y[0]);
            x[1] = ATTN_V(fma)(ATTN_V(set1)(a), x[1] - y[1], y[1]);
        }
        __builtin_prefetch(from + d * ATTN_FN(_size)(p->o1.dtype) + ahead, 0, 3);
        if (to)
            ATTN_FN(_store2)(to, d, n, p->h.dtype, c->stream, x);
        if (!p->norm.data)
            continue;
        ATTN_UNROLL for (int i = 0; i < 2; ++i) {
            x[i] = ATTN_FN(_round)(x[i], p->h.dtype);
            squares[i] = ATTN_V(fma)(x[i], x[i], squares[i]);
        }
        ATTN_FN(_keep)(sum + d, x);
    }
    return ATTN_V(sum)(squares[0] + squares[1]);
}

ATTN_INLINE void ATTN_FN(_norm)(const ATTN_FN(_call) *c, const float *h, const float *gain, float by, int64_t t,
                                int first, int dims)
{
    const attn_res_params *p = c->p;
    void *to = ATTN_FN(_row)(&p->norm, NULL, 0, t, first);
    ATTN_VEC_T x[2], y[2];
    for (int d = 0; d < dims; d += ATTN_RES_PAIR) {
        ATTN_FN(_load_kept)(x, h + d);
        x[0] = x[0] * ATTN_V(set1)(by);
        x[1] = x[1] * ATTN_V(set1)(by);
        if (gain) {
            ATTN_FN(_load_kept)(y, gain + d);
            x[0] = x[0] * y[0];
            x[1] = x[1] * y[1];
        }
        ATTN_FN(_store2)(to, d, dims - d < ATTN_RES_PAIR ? dims - d : ATTN_RES_PAIR, p->norm.dtype, c->stream_norm, x);
    }
}

ATTN_NOINLINE void ATTN_FN(_token)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t)
{
    const attn_res_params *p = c->p;
    const int first = c->first, key = c->key, split = c->first_pitch;
    float *sum = own->rows, *o1 = c->copy ? sum + split + c->pitch : NULL, square = 0.0f, dot = 0.0f;
    if (o1) {
        ATTN_FN(_pack)(o1, 1, 0, ATTN_FN(_row)(&p->o1, NULL, 0, t, 0), p->o1.dtype, first, 0);
        ATTN_FN(_pack)(o1 + split, 1, 0, ATTN_FN(_row)(&p->o1, NULL, 0, t, first), p->o1.dtype, key, 0);
    }
    if (first)
        ATTN_FN(_sum)(c, sum, t, 0, first, NULL, NULL);
    ATTN_FN(_sum)(c, sum + split, t, first, key, &square, p->h.data || p->norm.data ? &dot : NULL);
    if (!p->h.data && !p->norm.data)
        return;
    const float r = 1.0f / sqrtf(square / (float)key + p->eps);
    const float z = dot * (r * p->scale), a = 1.0f / (1.0f + expf(p->lse[t] - z));
    float all = first ? ATTN_FN(_blend)(c, sum, o1, a, t, 0, first) : 0.0f;
    all += ATTN_FN(_blend)(c, sum + split, o1 ? o1 + split : NULL, a, t, first, key);
    if (!p->norm.data)
        return;
    const float by = 1.0f / sqrtf(all / (float)c->dim + p->norm_eps);
    const float *gain = p->norm_gain.data ? c->gain : NULL;
    if (first)
        ATTN_FN(_norm)(c, sum, gain, by, t, 0, first);
    ATTN_FN(_norm)(c, sum + split, gain ? gain + split : NULL, by, t, first, key);
}

#else
/* Of dims first .. first + dims - 1: e += sum of g (O1 - p); of the key's, whose w is not NULL, the products of p. */
ATTN_INLINE void ATTN_FN(_products)(const ATTN_FN(_call) *c, int64_t t, int first, int dims, const float *w, float *e,
                                    float *square, float *dot)
{
    const attn_res_params *p = c->p;
    const void *from = ATTN_FN(_row)(&p->p, NULL, 0, t, first), *o1 = ATTN_FN(_row)(&p->o1, NULL, 0, t, first);
    const char *dh = (const char *)ATTN_FN(_row)(&p->dh, NULL, 0, t, first);
    const int64_t ahead = t + 1 < p->tokens ? p->dh.stride[1] * ATTN_FN(_size)(p->dh.dtype) : 0;
    ATTN_VEC_T x[2], y[2], g[2], es[2], squares[2], dots[2];
    es[0] = es[1] = squares[0] = squares[1] = dots[0] = dots[1] = ATTN_V(set1)(0.0f);
    for (int d = 0; d < dims; d += ATTN_RES_PAIR) {
        const int n = dims - d < ATTN_RES_PAIR ? dims - d : ATTN_RES_PAIR;
        __builtin_prefetch(dh + d * ATTN_FN(_size)(p->dh.dtype) + ahead, 0, 3);
        ATTN_FN(_load2)(x, from, d, n, ATTN_DTYPE);
        ATTN_FN(_load2)(y, o1, d, n, p->o1.dtype);
        ATTN_FN(_load2)(g, dh, d, n, p->dh.dtype);
        ATTN_UNROLL for (int i = 0; i < 2; ++i)
            es[i] = ATTN_V(fma)(g[i], y[i] - x[i], es[i]);
        if (!w)
            continue;
        ATTN_FN(_load_kept)(y, w + d);
        ATTN_UNROLL for (int i = 0; i < 2; ++i) {
            squares[i] = ATTN_V(fma)(x[i], x[i], squares[i]);
            dots[i] = ATTN_V(fma)(x[i], y[i], dots[i]);
        }
    }
    *e += ATTN_V(sum)(es[0] + es[1]);
    *square += ATTN_V(sum)(squares[0] + squares[1]);
    *dot += ATTN_V(sum)(dots[0] + dots[1]);
}

/* dO1 = rest g,  dp = a g + by_w w + by_p p,  sum += by_w p; without w the first terms alone. */
ATTN_INLINE void ATTN_FN(_gradients)(const ATTN_FN(_call) *c, int64_t t, int first, int dims, const float *w,
                                     float *sum, float a, float rest, float by_w, float by_p)
{
    const attn_res_params *p = c->p;
    const char *from = (const char *)ATTN_FN(_row)(&p->p, NULL, 0, t, first);
    const char *o1 = (const char *)ATTN_FN(_row)(&p->o1, NULL, 0, t, first);
    const void *dh = ATTN_FN(_row)(&p->dh, NULL, 0, t, first);
    void *do1 = p->do1.data ? ATTN_FN(_row)(&p->do1, NULL, 0, t, first) : NULL;
    void *dp = p->dp.data ? ATTN_FN(_row)(&p->dp, NULL, 0, t, first) : NULL;
    const int64_t ahead = t + 1 < p->tokens ? p->p.stride[1] * (int64_t)sizeof(ATTN_KV_T) : 0;
    const int64_t o1_ahead = t + 1 < p->tokens ? p->o1.stride[1] * ATTN_FN(_size)(p->o1.dtype) : 0;
    const int add = (p->flags & ATTN_RES_ADD_DP) != 0;
    for (int d = 0; d < dims; d += ATTN_RES_PAIR) {
        const int n = dims - d < ATTN_RES_PAIR ? dims - d : ATTN_RES_PAIR;
        ATTN_VEC_T x[2], y[2], g[2], to[2];
        __builtin_prefetch(from + d * (int)sizeof(ATTN_KV_T) + ahead, 0, 3);
        __builtin_prefetch(o1 + d * ATTN_FN(_size)(p->o1.dtype) + o1_ahead, 0, 3);
        ATTN_FN(_load2)(g, dh, d, n, p->dh.dtype);
        ATTN_FN(_load2)(x, from, d, n, ATTN_DTYPE); /* all is read before anything is stored: it may be the same */
        to[0] = g[0] * ATTN_V(set1)(a);
        to[1] = g[1] * ATTN_V(set1)(a);
        if (w) {
            ATTN_FN(_load_kept)(y, w + d);
            ATTN_UNROLL for (int i = 0; i < 2; ++i)
                to[i] = to[i] + ATTN_V(fma)(ATTN_V(set1)(by_p), x[i], ATTN_V(set1)(by_w) * y[i]);
        }
        if (dp && add) {
            ATTN_FN(_load2)(y, dp, d, n, p->dp.dtype);
            to[0] = to[0] + y[0];
            to[1] = to[1] + y[1];
        }
        if (do1) {
            y[0] = g[0] * ATTN_V(set1)(rest);
            y[1] = g[1] * ATTN_V(set1)(rest);
            ATTN_FN(_store2)(do1, d, n, p->do1.dtype, c->stream_p, y);
        }
        if (dp)
            ATTN_FN(_store2)(dp, d, n, p->dp.dtype, c->stream, to);
        if (w && sum) {
            ATTN_FN(_load_kept)(y, sum + d);
            y[0] = ATTN_V(fma)(ATTN_V(set1)(by_w), x[0], y[0]);
            y[1] = ATTN_V(fma)(ATTN_V(set1)(by_w), x[1], y[1]);
            ATTN_FN(_keep)(sum + d, y);
        }
    }
}

/* With g = dh and e = sum of g (O1 - p):  dO1 = (1 - a) g,  dlse = a (1 - a) e,  dz = -dlse,
 *     dp = a g + dz (scale r w - z r^2 p / R)   (the second term: key),   dw += dz scale r p */
ATTN_NOINLINE void ATTN_FN(_token)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t)
{
    const attn_res_params *p = c->p;
    float e = 0.0f, square = 0.0f, dot = 0.0f;
    if (c->first)
        ATTN_FN(_products)(c, t, 0, c->first, NULL, &e, &square, &dot);
    ATTN_FN(_products)(c, t, c->first, c->key, c->w, &e, &square, &dot);
    const float r = 1.0f / sqrtf(square / (float)c->key + p->eps);
    const float z = dot * (r * p->scale), a = 1.0f / (1.0f + expf(p->lse[t] - z));
    const float rest = 1.0f / (1.0f + expf(z - p->lse[t])); /* 1 - a, without its rounding */
    const float dlse = a * rest * e, by_w = -dlse * p->scale * r, by_p = dlse * z * r * r / (float)c->key;
    if (p->dlse)
        p->dlse[t] = dlse;
    if (c->first)
        ATTN_FN(_gradients)(c, t, 0, c->first, NULL, NULL, a, rest, by_w, by_p);
    ATTN_FN(_gradients)(c, t, c->first, c->key, c->w,
                        c->parts ? c->parts + (size_t)own->run * (size_t)c->pitch : NULL, a, rest, by_w, by_p);
}
#endif

/* ---- one call ----------------------------------------------------------------------------------- */

/* Adds the runs' sums in their order; then the gain's part. */
ATTN_INLINE void ATTN_FN(_finish)(const ATTN_FN(_call) *c, float *scratch)
{
    const attn_res_params *p = c->p;
    const size_t pitch = (size_t)c->pitch, all = (size_t)c->queries * pitch;
    const int add = (p->flags & ATTN_RES_ADD_DW) != 0, key = c->key;
    float *sum = c->parts, *gain = scratch, *w = scratch + key;
    for (int64_t n = 1; n < c->runs; ++n)
        for (size_t i = 0; i < all; ++i)
            sum[i] += c->parts[(size_t)n * all + i];
    if (p->gain.data)
        ATTN_FN(_get)(gain, p->gain.data, p->gain.dtype, key);
    for (int d = 0; d < key && p->dgain && !add; ++d)
        p->dgain[d] = 0.0f;
    for (int s = 0; s < c->queries; ++s) {
        const float *from = sum + (size_t)s * pitch;
        if (p->dgain) {
            ATTN_FN(_get)(w, ATTN_FN(_row)(&p->w, NULL, s, 0, 0), p->w.dtype, key);
            for (int d = 0; d < key; ++d)
                p->dgain[d] += w[d] * from[ATTN_FN(_kept)(d)];
        }
        for (int d = 0; d < key && p->dw; ++d) {
            const float x = from[ATTN_FN(_kept)(d)] * (p->gain.data ? gain[d] : 1.0f);
            float *to = p->dw + s * p->dw_stride + d;
            *to = add ? *to + x : x;
        }
    }
}

/* Floats of a thread's scratch; where its parts lie from `at` on, unless own is NULL. */
ATTN_INLINE size_t ATTN_FN(_scratch)(const ATTN_FN(_call) *c, float *at, ATTN_FN(_own) *own)
{
    const size_t row = (size_t)c->first_pitch + (size_t)c->pitch;
    const size_t products = ATTN_RES_PHASE1 ? ATTN_FN(_listed)(c) * ATTN_RES_QUERIES : 0;
    const size_t squares = ATTN_RES_BLOCKS + 2 * ATTN_W;
    const size_t copies = ATTN_RES_PHASE1 ? (size_t)c->blocks * ATTN_RES_PAIR : 0;
    const size_t factors = ATTN_RES_PHASE1 && ATTN_RES_BACKWARD ? (size_t)c->blocks * 2 * ATTN_RES_QUERIES : 0;
    const size_t rows = ATTN_KERNEL == ATTN_KERNEL_RES1            ? 0
                        : ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD ? ATTN_FN(_padded)(c)
                                                                   : 2;
    if (own) {
        own->y = at;
        own->u = own->y + products;
        own->square = own->u + products;
        own->copy = own->square + squares;
        own->c = own->copy + copies;
        own->rows = own->c + factors;
    }
    return 2 * products + squares + copies + factors + rows * row;
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
    c->wide = c->queries == 1 ? 1 : c->queries <= 4 ? 4 : ATTN_RES_SB;
    c->pitch = (c->key + ATTN_RES_PAIR - 1) / ATTN_RES_PAIR * ATTN_RES_PAIR;
    c->first_pitch = (c->first + ATTN_RES_PAIR - 1) / ATTN_RES_PAIR * ATTN_RES_PAIR;
    c->chunk = ATTN_RES_CHUNK / c->queries / 64 * 64;
    c->chunk = c->chunk > ATTN_RES_CHUNK_DIMS ? c->chunk : ATTN_RES_CHUNK_DIMS;
    c->run = ATTN_RES_TOKENS;
    if (ATTN_RES_BACKWARD && p->tokens > (int64_t)ATTN_RES_TOKENS * ATTN_RES_RUNS)
        c->run = p->tokens / ATTN_RES_RUNS + (p->tokens % ATTN_RES_RUNS != 0);
    c->runs = p->tokens / c->run + (p->tokens % c->run != 0);

    const size_t padded = ATTN_FN(_padded)(c), row = (size_t)c->first_pitch + (size_t)c->pitch;
    const int wants = ATTN_RES_BACKWARD && (p->dw || p->dgain);
    const size_t sums = wants ? (size_t)c->runs * (size_t)c->queries * (size_t)c->pitch : 0;
    const size_t scratch = ATTN_FN(_scratch)(c, NULL, NULL);
    const size_t least = 2 * (size_t)c->pitch, one = 15; /* of _finish; to multiples of 64 bytes */
    c->gain_at = (padded * (size_t)c->pitch + one) / 16 * 16;
    c->parts_at = (c->gain_at + (ATTN_KERNEL == ATTN_KERNEL_RES2 ? row : 0) + one) / 16 * 16;
    c->scratch_at = (c->parts_at + sums + one) / 16 * 16;
    c->scratch = ((scratch > least ? scratch : least) + one) / 16 * 16;
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
    const size_t sums = (size_t)c->queries * (size_t)c->pitch;
    ATTN_FN(_own) own;
    memset(scratch, 0, sizeof *scratch * c->scratch); /* so that queries that a tile has too many are 0 */
    ATTN_FN(_scratch)(c, scratch, &own);
    for (int64_t n; (n = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < c->runs;) {
        const int64_t end = c->p->tokens - n * c->run < c->run ? c->p->tokens : (n + 1) * c->run;
        own.run = (int)(ATTN_RES_BACKWARD ? n : 0);
        if (c->parts)
            memset(c->parts + (size_t)n * sums, 0, sizeof(float) * sums);
        for (int64_t t = n * c->run; t < end; ++t)
            ATTN_FN(_token)(c, &own, t);
    }
    ATTN_V(fence)();
}

/* How results are stored: past the caches; phase 2: after a copy of what the sum may overwrite. */
ATTN_INLINE void ATTN_FN(_results)(ATTN_FN(_call) *c)
{
    const attn_res_params *p = c->p;
#if ATTN_KERNEL == ATTN_KERNEL_RES1
    /* With a part of the row as key, or no results, all is asked for at one place. */
    c->fetch = !p->o1.data ? c->dim : c->first ? 0 : c->dim * ATTN_RES_FETCH / 8;
    c->stream = ATTN_FN(_streams)(c, &p->o1, NULL, c->queries);
#elif ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD
    c->fetch = !c->parts ? c->dim : c->dim * ATTN_RES_FETCH / 8;
    c->stream = ATTN_FN(_streams)(c, &p->dv, (const void *const *)p->dv_table, c->blocks);
#elif ATTN_KERNEL == ATTN_KERNEL_RES2
    c->stream = ATTN_FN(_streams)(c, &p->h, NULL, 1);
    c->stream_p = ATTN_FN(_streams)(c, &p->p_out, NULL, 1);
    c->stream_block = ATTN_FN(_streams)(c, &p->block, NULL, 1);
    c->stream_norm = ATTN_FN(_streams)(c, &p->norm, NULL, 1);
    c->copy = p->o1.data && (p->p_out.data == p->o1.data || p->block.data == p->o1.data);
#else
    c->stream = ATTN_FN(_streams)(c, &p->dp, NULL, 1);
    c->stream_p = ATTN_FN(_streams)(c, &p->do1, NULL, 1);
#endif
}

/* Relies on what run/res.h promises of p. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    ATTN_FN(_call) c;
    float *const space = (float *)workspace, *scratch;
    (void)stream;
    ATTN_FN(_plan)(p, &c);
    c.w = space;
    c.gain = space + c.gain_at;
    c.parts = c.scratch_at > c.parts_at ? space + c.parts_at : NULL;
    scratch = space + c.scratch_at;
    ATTN_FN(_results)(&c);
    if (p->w.data && (ATTN_KERNEL != ATTN_KERNEL_RES2 || p->h.data || p->norm.data)) {
        memset(c.w, 0, sizeof *c.w * ATTN_FN(_padded)(&c) * (size_t)c.pitch);
        if (p->gain.data)
            ATTN_FN(_pack)(scratch, 1, 0, p->gain.data, p->gain.dtype, c.key, 0);
        for (int s = 0; s < c.queries; ++s) {
            float *w = c.w + (size_t)(s / c.wide * c.wide) * (size_t)c.pitch;
            ATTN_FN(_pack)(w, c.wide, s % c.wide, ATTN_FN(_row)(&p->w, NULL, s, 0, 0), p->w.dtype, c.key, 0);
            w += s % c.wide * ATTN_RES_PAIR;
            for (int d = 0; d < c.key && p->gain.data; d += ATTN_RES_PAIR, w += c.wide * ATTN_RES_PAIR)
                for (int i = 0; i < ATTN_RES_PAIR; ++i)
                    w[i] *= scratch[d + i];
        }
    }
#if ATTN_KERNEL == ATTN_KERNEL_RES2
    if (p->norm.data && p->norm_gain.data) {
        ATTN_FN(_pack)(c.gain, 1, 0, p->norm_gain.data, p->norm_gain.dtype, c.first, 0);
        ATTN_FN(_pack)(c.gain + c.first_pitch, 1, 0, ATTN_FN(_row)(&p->norm_gain, NULL, 0, 0, c.first),
                       p->norm_gain.dtype, c.key, 0);
    }
#endif
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
#undef ATTN_RES_OB
#undef ATTN_RES_BACKWARD
#undef ATTN_RES_PHASE1
#undef ATTN_RES_PAIR
#undef ATTN_RES_LINE
#undef ATTN_RES_STEP
#undef ATTN_RES_CHUNK
#undef ATTN_RES_CHUNK_DIMS
#undef ATTN_RES_FETCH
#undef ATTN_RES_STREAM_BYTES
#undef ATTN_RES_RUNS
#undef ATTN_RES_TOKENS
#include <attn/template/vocabulary_end_cpu.h>
