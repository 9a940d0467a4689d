/* product_cpu.h - the two products of attention on a CPU: Q K and P V, from packed panels for many rows and from K
 * and V as they lie for few.  Included by forward_cpu.h alone, which tells why there are two ways. */

/* ---- register kernels --------------------------------------------------------------------------- */

/* acc[mr][2] = A[mr][n] B[n][NR]; element (r, t) of A lies at a[t * step + r * row]. */
ATTN_INLINE void ATTN_FN(_mul)(const int mr, const int step, const int row, const float *a, const float *b, int n,
                               ATTN_VEC_T acc[ATTN_MR][2])
{
    ATTN_UNROLL for (int r = 0; r < mr; ++r)
        acc[r][0] = acc[r][1] = ATTN_V(set1)(0.0f);
    for (int t = 0; t < n; ++t) {
        const ATTN_VEC_T b0 = ATTN_V(load_f32)(b), b1 = ATTN_V(load_f32)(b + ATTN_W);
        ATTN_UNROLL for (int r = 0; r < mr; ++r) {
            const ATTN_VEC_T x = ATTN_V(set1)(a[r * row]);
            acc[r][0] = ATTN_MUL_ADD(x, b0, acc[r][0]);
            acc[r][1] = ATTN_MUL_ADD(x, b1, acc[r][1]);
        }
        a += step;
        b += ATTN_NR;
    }
}

/* S = Q K for mr rows and one panel, over n steps; top[row][W] gathers the greatest scores. */
ATTN_INLINE void ATTN_FN(_qk_regs)(const int mr, const float *q, const float *k, int n, float scale, float *s,
                                   float *top)
{
    ATTN_VEC_T acc[ATTN_MR][2];
    ATTN_FN(_mul)(mr, ATTN_MR, 1, q, k, n, acc);
    ATTN_UNROLL for (int r = 0; r < mr; ++r) {
        if (ATTN_PAIRS == 2) {
            acc[r][0] *= ATTN_V(set1)(scale);
            acc[r][1] *= ATTN_V(set1)(scale);
        }
        ATTN_V(store_f32)(s + r * ATTN_TILE_K, acc[r][0]);
        ATTN_V(store_f32)(s + r * ATTN_TILE_K + ATTN_W, acc[r][1]);
        float *t = top + r * ATTN_W;
        ATTN_V(store_f32)(t, ATTN_V(max)(ATTN_V(max)(acc[r][0], acc[r][1]), ATTN_V(load_f32)(t)));
    }
}

/* O = O * alpha + P V for mr rows, n steps of keys and one panel of columns. */
ATTN_INLINE void ATTN_FN(_pv_regs)(const int mr, const float *s, const float *v, int n, float *o, int o_row,
                                   const float *alpha)
{
    ATTN_VEC_T acc[ATTN_MR][2];
    ATTN_FN(_mul)(mr, 1, ATTN_TILE_K, s, v, n, acc);
    ATTN_UNROLL for (int r = 0; r < mr; ++r) {
        const ATTN_VEC_T x = ATTN_V(set1)(alpha[r]);
        ATTN_V(store_f32)(o, ATTN_V(fma)(ATTN_V(load_f32)(o), x, acc[r][0]));
        ATTN_V(store_f32)(o + ATTN_W, ATTN_V(fma)(ATTN_V(load_f32)(o + ATTN_W), x, acc[r][1]));
        o += o_row;
    }
}

/* Any number of rows up to MR. */
ATTN_NOINLINE void ATTN_FN(_qk)(int rows, const float *q, const float *k, int n, float scale, float *s, float *top)
{
    switch (rows) {
#define ATTN_CASE_(mr) case mr: ATTN_FN(_qk_regs)(mr, q, k, n, scale, s, top); break;
        ATTN_HEIGHTS(ATTN_CASE_)
#undef ATTN_CASE_
    }
}

ATTN_NOINLINE void ATTN_FN(_pv)(int rows, const float *s, const float *v, int n, float *o, int o_row,
                                const float *alpha)
{
    switch (rows) {
#define ATTN_CASE_(mr) case mr: ATTN_FN(_pv_regs)(mr, s, v, n, o, o_row, alpha); break;
        ATTN_HEIGHTS(ATTN_CASE_)
#undef ATTN_CASE_
    }
}

/* Asks for the next rows of K and V of the coming tile, to be in L2 when they are packed. */
ATTN_INLINE void ATTN_FN(_prefetch)(ATTN_FN(_unit) *u, int rows)
{
    const int line = 64 / (int)sizeof(ATTN_KV_T), end = u->soon + rows < u->soon_n ? u->soon + rows : u->soon_n;
    for (; u->soon < end; ++u->soon) {
        for (int d = 0; d < u->c->dim; d += line)
            __builtin_prefetch(u->k_row[ATTN_TILE_K + u->soon] + d, 0, 2);
        for (int d = 0; d < u->c->dim_v; d += line)
            __builtin_prefetch(u->v_row[ATTN_TILE_K + u->soon] + d, 0, 2);
    }
}

/* ---- few rows: K and V as they lie -------------------------------------------------------------- */

/* mr x nk scores, Q rows q_row apart, keys by their pointers.  Each line that is read asks for the same line of the
 * row in ahead, so that the memory is never idle and never asked for a burst. */
ATTN_INLINE void ATTN_FN(_dot_regs)(const int mr, const int nk, const float *q, int q_row, const ATTN_KV_T *const *k,
                                    int dim, float *s, const ATTN_KV_T *const *ahead)
{
    const int line = 64 / (int)sizeof(ATTN_KV_T);
    ATTN_VEC_T acc[4][8];
    ATTN_UNROLL for (int r = 0; r < mr; ++r)
        ATTN_UNROLL for (int j = 0; j < nk; ++j)
            acc[r][j] = ATTN_V(set1)(0.0f);
    int d = 0;
    for (; d + ATTN_W <= dim; d += ATTN_W)
        ATTN_UNROLL for (int j = 0; j < nk; ++j) {
            if (ahead && d % line == 0)
                __builtin_prefetch(ahead[j] + d, 0, 3);
            const ATTN_VEC_T x = ATTN_KV_LOAD(k[j] + d);
            ATTN_UNROLL for (int r = 0; r < mr; ++r)
                acc[r][j] = ATTN_V(fma)(ATTN_V(load_f32)(q + r * q_row + d), x, acc[r][j]);
        }
    if (d < dim)
        ATTN_UNROLL for (int j = 0; j < nk; ++j) {
            const ATTN_VEC_T x = ATTN_KV_LOAD_N(k[j] + d, dim - d);
            ATTN_UNROLL for (int r = 0; r < mr; ++r) /* Q is padded with zeros */
                acc[r][j] = ATTN_V(fma)(ATTN_V(load_f32)(q + r * q_row + d), x, acc[r][j]);
        }
    ATTN_UNROLL for (int j = 0; j < nk; ++j) {
        if (mr == 4) {
            float t[4];
            ATTN_V(sum4)(acc[0][j], acc[1][j], acc[2][j], acc[3][j], t);
            ATTN_UNROLL for (int r = 0; r < 4; ++r)
                s[r * ATTN_TILE_K + j] = t[r];
        } else {
            ATTN_UNROLL for (int r = 0; r < mr; ++r)
                s[r * ATTN_TILE_K + j] = ATTN_V(sum)(acc[r][j]);
        }
    }
}

ATTN_INLINE void ATTN_FN(_dot_rows)(const int mr, const float *q, int q_row, const ATTN_KV_T *const *k,
                                    const ATTN_KV_T *const *ahead, int n, int dim, float *s)
{
    const int nk = ATTN_DOT_KEYS(mr);
    int j = 0;
    for (; ATTN_IN_ORDER && ahead && j < n; ++j)
        ATTN_FN(_dot_regs)(mr, 1, q, q_row, k + j, dim, s + j, ahead + j);
    for (; j + nk <= n; j += nk) {
        if (ahead)
            ATTN_FN(_dot_regs)(mr, nk, q, q_row, k + j, dim, s + j, ahead + j);
        else
            ATTN_FN(_dot_regs)(mr, nk, q, q_row, k + j, dim, s + j, 0);
    }
    for (; j < n; ++j)
        ATTN_FN(_dot_regs)(mr, 1, q, q_row, k + j, dim, s + j, 0);
}

/* S[rows][n] = Q K.  ahead, ahead2: what to prefetch, a row for each key, while the first 4 rows of Q pass and while
 * the others do; NULL = nothing. */
ATTN_NOINLINE void ATTN_FN(_dot)(int rows, const float *q, int q_row, const ATTN_KV_T *const *k, int n, int dim,
                                 float *s, const ATTN_KV_T *const *ahead, const ATTN_KV_T *const *ahead2)
{
    for (; rows >= 4; rows -= 4, q += 4 * (size_t)q_row, s += 4 * ATTN_TILE_K, ahead = ahead2, ahead2 = 0)
        ATTN_FN(_dot_rows)(4, q, q_row, k, ahead, n, dim, s);
    if (rows == 3)
        ATTN_FN(_dot_rows)(3, q, q_row, k, ahead, n, dim, s);
    else if (rows == 2)
        ATTN_FN(_dot_rows)(2, q, q_row, k, ahead, n, dim, s);
    else if (rows == 1)
        ATTN_FN(_dot_rows)(1, q, q_row, k, ahead, n, dim, s);
}

/* O = O * alpha + P V for mr rows and nv vectors of columns from d; the last vector has `last` elements. */
ATTN_INLINE void ATTN_FN(_axpy_regs)(const int mr, const int nv, const int tail, const float *s,
                                     const ATTN_KV_T *const *v, int n, int d, int last, float *o, int o_row,
                                     const float *alpha, const ATTN_KV_T *const *ahead)
{
    const int line = 64 / (int)sizeof(ATTN_KV_T);
    ATTN_VEC_T acc[4][4];
    ATTN_UNROLL for (int r = 0; r < mr; ++r)
        ATTN_UNROLL for (int c = 0; c < nv; ++c)
            acc[r][c] = ATTN_V(set1)(0.0f);
    for (int j = 0; j < n; ++j) {
        if (ahead)
            ATTN_UNROLL for (int t = 0; t < nv * ATTN_W; t += line)
                __builtin_prefetch(ahead[j] + d + t, 0, 3);
        ATTN_VEC_T x[4];
        ATTN_UNROLL for (int c = 0; c < nv; ++c)
            x[c] = tail ? ATTN_KV_LOAD_N(v[j] + d, last) : ATTN_KV_LOAD(v[j] + d + c * ATTN_W);
        ATTN_UNROLL for (int r = 0; r < mr; ++r) {
            const ATTN_VEC_T w = ATTN_V(set1)(s[r * ATTN_TILE_K + j]);
            ATTN_UNROLL for (int c = 0; c < nv; ++c)
                acc[r][c] = ATTN_V(fma)(w, x[c], acc[r][c]);
        }
    }
    ATTN_UNROLL for (int r = 0; r < mr; ++r) {
        const ATTN_VEC_T a = ATTN_V(set1)(alpha[r]);
        ATTN_UNROLL for (int c = 0; c < nv; ++c) {
            float *t = o + r * (size_t)o_row + d + c * ATTN_W;
            ATTN_V(store_f32)(t, ATTN_V(fma)(ATTN_V(load_f32)(t), a, acc[r][c]));
        }
    }
}

ATTN_INLINE void ATTN_FN(_axpy_rows)(const int mr, const float *s, const ATTN_KV_T *const *v, int n, int dim, float *o,
                                     int o_row, const float *alpha, const ATTN_KV_T *const *ahead)
{
    const int nv = ATTN_AXPY_VECS(mr), block = ATTN_IN_ORDER && ahead ? 8 : n; /* keys that pass through all columns */
    static const float one[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    for (int j = 0; j < n; j += block, alpha = one) {
        const int m = n - j < block ? n - j : block;
        const ATTN_KV_T *const *a = ahead ? ahead + j : 0;
        int d = 0;
        for (; d + nv * ATTN_W <= dim; d += nv * ATTN_W)
            ATTN_FN(_axpy_regs)(mr, nv, 0, s + j, v + j, m, d, 0, o, o_row, alpha, a);
        for (; d + ATTN_W <= dim; d += ATTN_W)
            ATTN_FN(_axpy_regs)(mr, 1, 0, s + j, v + j, m, d, 0, o, o_row, alpha, a);
        if (d < dim)
            ATTN_FN(_axpy_regs)(mr, 1, 1, s + j, v + j, m, d, dim - d, o, o_row, alpha, a);
    }
}

ATTN_NOINLINE void ATTN_FN(_axpy)(int rows, const float *s, const ATTN_KV_T *const *v, int n, int dim, float *o,
                                  int o_row, const float *alpha, const ATTN_KV_T *const *ahead,
                                  const ATTN_KV_T *const *ahead2)
{
    for (; rows >= 4; rows -= 4, s += 4 * ATTN_TILE_K, o += 4 * (size_t)o_row, alpha += 4, ahead = ahead2, ahead2 = 0)
        ATTN_FN(_axpy_rows)(4, s, v, n, dim, o, o_row, alpha, ahead);
    if (rows == 3)
        ATTN_FN(_axpy_rows)(3, s, v, n, dim, o, o_row, alpha, ahead);
    else if (rows == 2)
        ATTN_FN(_axpy_rows)(2, s, v, n, dim, o, o_row, alpha, ahead);
    else if (rows == 1)
        ATTN_FN(_axpy_rows)(1, s, v, n, dim, o, o_row, alpha, ahead);
}

/* ---- few rows over many keys: K and V as one stream --------------------------------------------- */

/* acc[r] += Q[r] x for one vector of a key. */
ATTN_INLINE void ATTN_FN(_stream_dot_step)(const int mr, const float *q, int q_row, ATTN_VEC_T x, ATTN_VEC_T acc[4])
{
    ATTN_UNROLL for (int r = 0; r < mr; ++r)
        acc[r] = ATTN_V(fma)(ATTN_V(load_f32)(q + r * q_row), x, acc[r]);
}

/* S[mr][n] = Q K, one key at a time.  What is prefetched lies ATTN_AHEAD rows on, of `then` behind the last of k. */
ATTN_INLINE void ATTN_FN(_stream_dot_rows)(const int mr, const float *q, int q_row, const ATTN_KV_T *const *k, int n,
                                           int dim, float *s, const ATTN_KV_T *const *then)
{
    const int line = 64 / (int)sizeof(ATTN_KV_T), step = 4 * ATTN_W;
    const ATTN_KV_T *const *ahead = k + ATTN_AHEAD;
    for (int j = 0; j < n; ++j) {
        ahead = j == n - ATTN_AHEAD ? then : ahead;
        const ATTN_KV_T *const row = k[j], *const next = *ahead++;
        ATTN_VEC_T acc[4];
        ATTN_UNROLL for (int r = 0; r < 4; ++r)
            acc[r] = ATTN_V(set1)(0.0f);
        int d = 0;
        for (; d + step <= dim; d += step)
            ATTN_UNROLL for (int c = 0; c < step; c += ATTN_W) {
                if (c % line == 0)
                    __builtin_prefetch(next + d + c, 0, 3);
                ATTN_FN(_stream_dot_step)(mr, q + d + c, q_row, ATTN_KV_LOAD(row + d + c), acc);
            }
        for (; d < dim; d += ATTN_W) { /* Q is padded with zeros */
            __builtin_prefetch(next + d, 0, 3);
            const ATTN_VEC_T x = d + ATTN_W <= dim ? ATTN_KV_LOAD(row + d) : ATTN_KV_LOAD_N(row + d, dim - d);
            ATTN_FN(_stream_dot_step)(mr, q + d, q_row, x, acc);
        }
        float t[4];
        ATTN_V(sum4)(acc[0], acc[1], acc[2], acc[3], t);
        ATTN_UNROLL for (int r = 0; r < mr; ++r)
            s[r * ATTN_TILE_K + j] = t[r];
    }
}

/* O = O * alpha + P V, one key at a time; O stays in L1. */
ATTN_INLINE void ATTN_FN(_stream_axpy_rows)(const int mr, const float *s, const ATTN_KV_T *const *v, int n, int dim,
                                            float *o, int o_row, const float *alpha, const ATTN_KV_T *const *then)
{
    const int line = 64 / (int)sizeof(ATTN_KV_T);
    for (int r = 0; r < mr; ++r)
        for (int d = 0; d < dim; d += ATTN_W) {
            float *t = o + r * (size_t)o_row + d;
            ATTN_V(store_f32)(t, ATTN_V(load_f32)(t) * ATTN_V(set1)(alpha[r]));
        }
    const ATTN_KV_T *const *ahead = v + ATTN_AHEAD;
    for (int j = 0; j < n; ++j) {
        ahead = j == n - ATTN_AHEAD ? then : ahead;
        const ATTN_KV_T *const row = v[j], *const next = *ahead++;
        ATTN_VEC_T w[4];
        ATTN_UNROLL for (int r = 0; r < mr; ++r)
            w[r] = ATTN_V(set1)(s[r * ATTN_TILE_K + j]);
        for (int d = 0; d < dim; d += ATTN_W) {
            if (d % line == 0)
                __builtin_prefetch(next + d, 0, 3);
            const ATTN_VEC_T x = d + ATTN_W <= dim ? ATTN_KV_LOAD(row + d) : ATTN_KV_LOAD_N(row + d, dim - d);
            ATTN_UNROLL for (int r = 0; r < mr; ++r) {
                float *t = o + r * (size_t)o_row + d;
                ATTN_V(store_f32)(t, ATTN_V(fma)(w[r], x, ATTN_V(load_f32)(t)));
            }
        }
    }
}

/* 3 or 4 rows. */
ATTN_NOINLINE void ATTN_FN(_stream_dot)(int rows, const float *q, int q_row, const ATTN_KV_T *const *k, int n, int dim,
                                        float *s, const ATTN_KV_T *const *then)
{
    switch (rows) {
#define ATTN_CASE_(mr) case mr: ATTN_FN(_stream_dot_rows)(mr, q, q_row, k, n, dim, s, then); break;
        ATTN_CASE_(3) ATTN_CASE_(4)
#undef ATTN_CASE_
    }
}

ATTN_NOINLINE void ATTN_FN(_stream_axpy)(int rows, const float *s, const ATTN_KV_T *const *v, int n, int dim, float *o,
                                         int o_row, const float *alpha, const ATTN_KV_T *const *then)
{
    switch (rows) {
#define ATTN_CASE_(mr) case mr: ATTN_FN(_stream_axpy_rows)(mr, s, v, n, dim, o, o_row, alpha, then); break;
        ATTN_CASE_(3) ATTN_CASE_(4)
#undef ATTN_CASE_
    }
}
