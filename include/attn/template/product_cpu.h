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
            __builtin_prefetch(u->k_soon[u->soon] + d, 0, 2);
        for (int d = 0; d < u->c->dim_v; d += line)
            __builtin_prefetch(u->v_soon[u->soon] + d, 0, 2);
    }
}

/* ---- few rows: K and V as they lie -------------------------------------------------------------- */

/* Rows of K and V pass in the order of the unit's table, and each line that is read asks for the same line of a row
 * ATTN_AHEAD places further on: behind the last K comes the first V, behind the last V the next tile's first K.  So
 * the memory is never idle and never asked for a burst. */

/* acc[r * all + j] += Q[r] K[j] for mr rows, q_row apart, and nk keys.  two: keys of even numbers come first. */
ATTN_INLINE void ATTN_FN(_dot_keys)(const int mr, const int nk, const int all, const int two, const float *q, int q_row,
                                    const ATTN_KV_T *const *k, const ATTN_KV_T *const *ahead, int dim,
                                    ATTN_VEC_T *acc)
{
    const int line = 64 / (int)sizeof(ATTN_KV_T), step = line > ATTN_W ? line : ATTN_W;
    int d = 0;
    for (; d + step <= dim; d += step)
        ATTN_UNROLL for (int c = 0; c < step; c += ATTN_W)
            ATTN_UNROLL for (int j = 0; j < nk; ++j) {
                const int at = two ? j % 2 * all / 2 + j / 2 : j;
                if (c == 0)
                    __builtin_prefetch(ahead[j] + d, 0, 3);
                const ATTN_VEC_T x = ATTN_KV_LOAD(k[j] + d + c);
                ATTN_UNROLL for (int r = 0; r < mr; ++r)
                    acc[r * all + at] = ATTN_V(fma)(ATTN_V(load_f32)(q + r * q_row + d + c), x, acc[r * all + at]);
            }
    for (; d < dim; d += ATTN_W) /* Q is padded with zeros */
        ATTN_UNROLL for (int j = 0; j < nk; ++j) {
            const int at = two ? j % 2 * all / 2 + j / 2 : j;
            if (d % line == 0)
                __builtin_prefetch(ahead[j] + d, 0, 3);
            const ATTN_VEC_T x = d + ATTN_W <= dim ? ATTN_KV_LOAD(k[j] + d) : ATTN_KV_LOAD_N(k[j] + d, dim - d);
            ATTN_UNROLL for (int r = 0; r < mr; ++r)
                acc[r * all + at] = ATTN_V(fma)(ATTN_V(load_f32)(q + r * q_row + d), x, acc[r * all + at]);
        }
}

/* Scores of mr rows and W keys, as many at a time as make W sums, which are then added up across their vectors
 * together. */
ATTN_INLINE void ATTN_FN(_dot_rows)(const int mr, const int keys, const int two, const float *q, int q_row,
                                    const ATTN_KV_T *const *k, const ATTN_KV_T *const *ahead, int dim, float *s)
{
    const int nk = ATTN_W / (mr == 3 ? 4 : mr), lot = nk < keys ? nk : keys;
    for (int j = 0; j < ATTN_W; j += nk) {
        ATTN_VEC_T acc[ATTN_W];
        float t[ATTN_W];
        ATTN_UNROLL for (int i = 0; i < ATTN_W; ++i)
            acc[i] = ATTN_V(set1)(0.0f);
        ATTN_UNROLL for (int i = 0; i < nk; i += lot)
            ATTN_FN(_dot_keys)(mr, lot, nk, two, q, q_row, k + j + i, ahead + j + i, dim, acc + (two ? i / 2 : i));
        ATTN_V(store_f32)(t, ATTN_V(sums)(acc));
        ATTN_UNROLL for (int r = 0; r < mr; ++r)
            ATTN_UNROLL for (int h = 0; h <= two; ++h)
                memcpy(s + r * ATTN_TILE_K + (two ? h * ATTN_TILE_K / 2 + j / 2 : j), t + r * nk + h * nk / 2,
                       sizeof(float) * (size_t)(nk >> two));
    }
}

/* S[rows][n] = Q K; n is rounded up to W. */
ATTN_NOINLINE void ATTN_FN(_dot)(int rows, const float *q, int q_row, const ATTN_KV_T *const *k, int n, int dim,
                                 float *s)
{
    for (int j = 0; j < n; j += ATTN_W) {
        const ATTN_KV_T *const *ahead = k + j + ATTN_AHEAD;
        for (int r = 0; r < rows; r += 4, ahead = k + j) { /* only the first rows of Q ask */
            const float *q4 = q + r * (size_t)q_row;
            float *s4 = s + r * ATTN_TILE_K + j;
            switch (rows - r) {
            case 1: ATTN_FN(_dot_rows)(1, ATTN_KEYS, 0, q4, q_row, k + j, ahead, dim, s4); break;
            case 2: ATTN_FN(_dot_rows)(2, ATTN_KEYS, 0, q4, q_row, k + j, ahead, dim, s4); break;
            case 3: ATTN_FN(_dot_rows)(3, ATTN_KEYS, 0, q4, q_row, k + j, ahead, dim, s4); break;
            default: ATTN_FN(_dot_rows)(4, ATTN_KEYS, 0, q4, q_row, k + j, ahead, dim, s4); break;
            }
        }
    }
}

/* O += P V for mr rows, n keys and nv vectors of columns from d; tail: the one vector has `last` elements. */
ATTN_INLINE void ATTN_FN(_axpy_regs)(const int mr, const int nv, const int tail, const int two, const float *s,
                                     const ATTN_KV_T *const *v, const ATTN_KV_T *const *ahead, int n, int d, int last,
                                     float *o, int o_row)
{
    const int line = 64 / (int)sizeof(ATTN_KV_T);
    ATTN_VEC_T acc[4][4];
    ATTN_UNROLL for (int r = 0; r < mr; ++r)
        ATTN_UNROLL for (int c = 0; c < nv; ++c)
            acc[r][c] = ATTN_V(load_f32)(o + r * (size_t)o_row + d + c * ATTN_W);
    for (int j = 0; j < n; ++j) {
        if (nv * ATTN_W >= line || d % line == 0)
            ATTN_UNROLL for (int t = 0; t < nv * ATTN_W; t += line)
                __builtin_prefetch(ahead[j] + d + t, 0, 3);
        const float *p = s + (two ? j % 2 * ATTN_TILE_K / 2 + j / 2 : j);
        ATTN_VEC_T x[4];
        ATTN_UNROLL for (int c = 0; c < nv; ++c)
            x[c] = tail ? ATTN_KV_LOAD_N(v[j] + d, last) : ATTN_KV_LOAD(v[j] + d + c * ATTN_W);
        ATTN_UNROLL for (int r = 0; r < mr; ++r) {
            const ATTN_VEC_T w = ATTN_V(set1)(p[r * ATTN_TILE_K]);
            ATTN_UNROLL for (int c = 0; c < nv; ++c)
                acc[r][c] = ATTN_V(fma)(w, x[c], acc[r][c]);
        }
    }
    ATTN_UNROLL for (int r = 0; r < mr; ++r)
        ATTN_UNROLL for (int c = 0; c < nv; ++c)
            ATTN_V(store_f32)(o + r * (size_t)o_row + d + c * ATTN_W, acc[r][c]);
}

ATTN_INLINE void ATTN_FN(_axpy_rows)(const int mr, const int two, const float *s, const ATTN_KV_T *const *v,
                                     const ATTN_KV_T *const *ahead, int n, int dim, float *o, int o_row)
{
    const int nv = ATTN_AXPY_VECS(mr);
    int d = 0;
    for (; d + nv * ATTN_W <= dim; d += nv * ATTN_W)
        ATTN_FN(_axpy_regs)(mr, nv, 0, two, s, v, ahead, n, d, 0, o, o_row);
    for (; d + ATTN_W <= dim; d += ATTN_W)
        ATTN_FN(_axpy_regs)(mr, 1, 0, two, s, v, ahead, n, d, 0, o, o_row);
    if (d < dim)
        ATTN_FN(_axpy_regs)(mr, 1, 1, two, s, v, ahead, n, d, dim - d, o, o_row);
}

/* O *= alpha. */
ATTN_INLINE void ATTN_FN(_rescale)(int rows, int dim, float *o, int o_row, const float *alpha)
{
    for (int r = 0; r < rows; ++r)
        for (int d = 0; d < dim; d += ATTN_W) {
            float *t = o + r * (size_t)o_row + d;
            ATTN_V(store_f32)(t, ATTN_V(load_f32)(t) * ATTN_V(set1)(alpha[r]));
        }
}

/* O = O * alpha + P V.  A few keys at a time pass through all columns; O stays in L1. */
ATTN_NOINLINE void ATTN_FN(_axpy)(int rows, const float *s, const ATTN_KV_T *const *v, int n, int dim, float *o,
                                  int o_row, const float *alpha)
{
    ATTN_FN(_rescale)(rows, dim, o, o_row, alpha);
    for (int j = 0; j < n; j += ATTN_LOT) {
        const int m = n - j < ATTN_LOT ? n - j : ATTN_LOT;
        const ATTN_KV_T *const *ahead = v + j + ATTN_AHEAD;
        for (int r = 0; r < rows; r += 4, ahead = v + j) {
            const float *s4 = s + r * ATTN_TILE_K + j;
            float *o4 = o + r * (size_t)o_row;
            switch (rows - r) {
            case 1: ATTN_FN(_axpy_rows)(1, 0, s4, v + j, ahead, m, dim, o4, o_row); break;
            case 2: ATTN_FN(_axpy_rows)(2, 0, s4, v + j, ahead, m, dim, o4, o_row); break;
            case 3: ATTN_FN(_axpy_rows)(3, 0, s4, v + j, ahead, m, dim, o4, o_row); break;
            default: ATTN_FN(_axpy_rows)(4, 0, s4, v + j, ahead, m, dim, o4, o_row); break;
            }
        }
    }
}

/* ---- 3 or 4 rows over many keys: a whole tile of a stream from memory ---------------------------- */

/* The same products.  f32: strictly in order, one key at a time in both.  16 bits: the two halves of the tile's keys
 * alternate, and the softmax between the products asks for 2 rows for each NR keys and row of Q, lest memory be idle
 * meanwhile; so the products ask for a few rows less than they read. */
#define ATTN_STREAM_KEYS (ATTN_STREAM_TWO ? ATTN_KEYS : 1)
#define ATTN_STREAM_LOT  (ATTN_STREAM_TWO ? ATTN_LOT : 1)

/* Rows that the softmax has asked for when n keys have passed in each product. */
ATTN_INLINE int ATTN_FN(_asked)(int rows, int n)
{
    return ATTN_STREAM_TWO ? n * rows / ATTN_NR : 0;
}

ATTN_NOINLINE void ATTN_FN(_stream_dot)(int rows, const float *q, int q_row, const ATTN_KV_T *const *k, int dim,
                                        float *s)
{
    for (int j = 0; j < ATTN_TILE_K; j += ATTN_W) {
        const ATTN_KV_T *const *ahead = k + j + ATTN_AHEAD - ATTN_FN(_asked)(rows, j);
        float *at = s + (ATTN_STREAM_TWO ? j / 2 : j);
        switch (rows) {
        case 3: ATTN_FN(_dot_rows)(3, ATTN_STREAM_KEYS, ATTN_STREAM_TWO, q, q_row, k + j, ahead, dim, at); break;
        case 4: ATTN_FN(_dot_rows)(4, ATTN_STREAM_KEYS, ATTN_STREAM_TWO, q, q_row, k + j, ahead, dim, at); break;
        }
    }
}

ATTN_NOINLINE void ATTN_FN(_stream_axpy)(int rows, const float *s, const ATTN_KV_T *const *v, int dim, float *o,
                                         int o_row, const float *alpha)
{
    const int m = ATTN_STREAM_LOT;
    ATTN_FN(_rescale)(rows, dim, o, o_row, alpha);
    for (int j = 0; j < ATTN_TILE_K; j += m) {
        const ATTN_KV_T *const *ahead = v + j + ATTN_AHEAD + ATTN_FN(_asked)(rows, ATTN_TILE_K - j);
        const float *at = s + (ATTN_STREAM_TWO ? j / 2 : j);
        switch (rows) {
        case 3: ATTN_FN(_axpy_rows)(3, ATTN_STREAM_TWO, at, v + j, ahead, m, dim, o, o_row); break;
        case 4: ATTN_FN(_axpy_rows)(4, ATTN_STREAM_TWO, at, v + j, ahead, m, dim, o, o_row); break;
        }
    }
}
#undef ATTN_STREAM_KEYS
#undef ATTN_STREAM_LOT
