/* res_pair_cpu.h - rows of any type for res_cpu.h, by vectors and by pairs of them: loads, stores, conversions.  Kept
 * order is explained there.
 *
 * Included by res_cpu.h alone, no guard. */

/* Elements d .. d + n - 1, n at most ATTN_W; dtype is a constant. */
ATTN_INLINE ATTN_VEC_T ATTN_FN(_load)(const void *row, int d, int n, int dtype)
{
    const uint16_t *half = (const uint16_t *)row + d;
    if (dtype == ATTN_F16)
        return n == ATTN_W ? ATTN_V(load_f16)(half) : ATTN_V(load_f16_n)(half, n);
    if (dtype == ATTN_BF16)
        return n == ATTN_W ? ATTN_V(load_bf16)(half) : ATTN_V(load_bf16_n)(half, n);
    return n == ATTN_W ? ATTN_V(load_f32)((const float *)row + d) : ATTN_V(load_f32_n)((const float *)row + d, n);
}

ATTN_INLINE void ATTN_FN(_store)(void *row, int d, int n, int dtype, int stream, ATTN_VEC_T x)
{
    float *to = (float *)row + d, few[ATTN_W];
    uint16_t *half = (uint16_t *)row + d;
    if (n < ATTN_W) {
        ATTN_V(store_f32)(few, x);
        for (int i = 0; i < n; ++i)
            if (dtype == ATTN_F32)
                to[i] = few[i];
            else
                half[i] = dtype == ATTN_F16 ? attn__f32_to_f16(few[i]) : attn__f32_to_bf16(few[i]);
    } else if (dtype == ATTN_F16) {
        stream ? ATTN_V(stream_f16)(half, x) : ATTN_V(store_f16)(half, x);
    } else if (dtype == ATTN_BF16) {
        stream ? ATTN_V(stream_bf16)(half, x) : ATTN_V(store_bf16)(half, x);
    } else {
        stream ? ATTN_V(stream_f32)(to, x) : ATTN_V(store_f32)(to, x);
    }
}

ATTN_INLINE void ATTN_FN(_convert)(void *to, int to_dtype, const void *from, int from_dtype, int count, int stream)
{
    for (int d = 0; d < count; d += ATTN_W) {
        const int n = count - d < ATTN_W ? count - d : ATTN_W;
        ATTN_FN(_store)(to, d, n, to_dtype, stream, ATTN_FN(_load)(from, d, n, from_dtype));
    }
}

/* Elements as floats, in their order. */
ATTN_NOINLINE void ATTN_FN(_get)(float *to, const void *from, int dtype, int count)
{
    if (dtype == ATTN_F32)
        ATTN_FN(_convert)(to, ATTN_F32, from, ATTN_F32, count, 0);
    else if (dtype == ATTN_F16)
        ATTN_FN(_convert)(to, ATTN_F32, from, ATTN_F16, count, 0);
    else
        ATTN_FN(_convert)(to, ATTN_F32, from, ATTN_BF16, count, 0);
}

ATTN_NOINLINE void ATTN_FN(_put)(void *to, int dtype, const float *from, int count, int stream)
{
    if (dtype == ATTN_F32)
        ATTN_FN(_convert)(to, ATTN_F32, from, ATTN_F32, count, stream);
    else if (dtype == ATTN_F16)
        ATTN_FN(_convert)(to, ATTN_F16, from, ATTN_F32, count, stream);
    else
        ATTN_FN(_convert)(to, ATTN_BF16, from, ATTN_F32, count, stream);
}

ATTN_INLINE int64_t ATTN_FN(_size)(int dtype)
{
    return dtype == ATTN_F32 ? 4 : 2;
}

/* Row t of x[n], or of table[n], from element d on. */
ATTN_INLINE void *ATTN_FN(_row)(const attn_res_tensor *x, const void *const *table, int64_t n, int64_t t, int64_t d)
{
    char *base = table ? (char *)table[n] : (char *)x->data + ATTN_FN(_size)(x->dtype) * n * x->stride[0];
    return base + ATTN_FN(_size)(x->dtype) * (t * x->stride[1] + d);
}

/* ---- pairs of vectors ----------------------------------------------------------------------------- */

/* Where element d of a row is in its kept order. */
ATTN_INLINE int ATTN_FN(_kept)(int d)
{
    const int in = d % ATTN_RES_PAIR;
    return ATTN_DTYPE == ATTN_BF16 ? d - in + in % 2 * ATTN_W + in / 2 : d;
}

/* Elements d .. d + n - 1, n at most a pair, zeros behind them: of a row of any type, to kept order. */
ATTN_NOINLINE void ATTN_FN(_get2)(float *to, const void *row, int d, int n, int dtype)
{
    float few[ATTN_RES_PAIR] = { 0 };
    ATTN_FN(_get)(few, (const char *)row + ATTN_FN(_size)(dtype) * d, dtype, n);
    for (int i = 0; i < ATTN_RES_PAIR; ++i)
        to[ATTN_FN(_kept)(i)] = few[i];
}

/* A pair that was kept. */
ATTN_INLINE void ATTN_FN(_load_kept)(ATTN_VEC_T x[2], const float *from)
{
    x[0] = ATTN_V(load_f32)(from);
    x[1] = ATTN_V(load_f32)(from + ATTN_W);
}

ATTN_INLINE void ATTN_FN(_keep)(float *to, const ATTN_VEC_T x[2])
{
    ATTN_V(store_f32)(to, x[0]);
    ATTN_V(store_f32)(to + ATTN_W, x[1]);
}

/* Elements d .. d + n - 1 of a row: quick if they are a pair of the instance's type. */
ATTN_INLINE void ATTN_FN(_load2)(ATTN_VEC_T x[2], const void *row, int d, int n, int dtype)
{
    const uint16_t *half = (const uint16_t *)row + d;
    if (n < ATTN_RES_PAIR || dtype != ATTN_DTYPE) {
        float few[ATTN_RES_PAIR];
        ATTN_FN(_get2)(few, row, d, n, dtype);
        ATTN_FN(_load_kept)(x, few);
    } else if (ATTN_DTYPE == ATTN_BF16) {
        ATTN_V(load2_bf16)(half, x);
    } else if (ATTN_DTYPE == ATTN_F16) {
        x[0] = ATTN_V(load_f16)(half);
        x[1] = ATTN_V(load_f16)(half + ATTN_W);
    } else {
        ATTN_FN(_load_kept)(x, (const float *)row + d);
    }
}

ATTN_INLINE void ATTN_FN(_store2)(void *row, int d, int n, int dtype, int stream, const ATTN_VEC_T x[2])
{
    uint16_t *half = (uint16_t *)row + d;
    if (n < ATTN_RES_PAIR || dtype != ATTN_DTYPE) {
        float few[ATTN_RES_PAIR];
        ATTN_VEC_T y[2];
        y[0] = x[0];
        y[1] = x[1];
        if (ATTN_DTYPE == ATTN_BF16)
            ATTN_V(zip)(y);
        ATTN_FN(_keep)(few, y);
        ATTN_FN(_put)((char *)row + ATTN_FN(_size)(dtype) * d, dtype, few, n, stream);
    } else if (ATTN_DTYPE == ATTN_BF16) {
        stream ? ATTN_V(stream2_bf16)(half, x) : ATTN_V(store2_bf16)(half, x);
    } else {
        ATTN_FN(_store)(row, d, ATTN_W, ATTN_DTYPE, stream, x[0]);
        ATTN_FN(_store)(row, d + ATTN_W, ATTN_W, ATTN_DTYPE, stream, x[1]);
    }
}

/* What x becomes when it is stored and read again. */
ATTN_INLINE ATTN_VEC_T ATTN_FN(_round)(ATTN_VEC_T x, int dtype)
{
    uint16_t half[ATTN_W];
    if (dtype == ATTN_F32)
        return x;
    if (dtype == ATTN_F16) {
        ATTN_V(store_f16)(half, x);
        return ATTN_V(load_f16)(half);
    }
    ATTN_V(store_bf16)(half, x);
    return ATTN_V(load_bf16)(half);
}

/* A row to kept order: a pair of each of `wide` rows, of which this is the one of that index, then the next pairs;
 * zeros behind its end.  Asks for what lies `ahead` elements behind it; 0: for nothing. */
ATTN_NOINLINE void ATTN_FN(_pack)(float *to, int wide, int index, const void *row, int dtype, int count, int64_t ahead)
{
    to += index * ATTN_RES_PAIR;
    for (int d = 0; d < count; d += ATTN_RES_PAIR, to += wide * ATTN_RES_PAIR) {
        const int n = count - d < ATTN_RES_PAIR ? count - d : ATTN_RES_PAIR;
        ATTN_VEC_T x[2];
        if (ahead)
            __builtin_prefetch((const char *)row + ATTN_FN(_size)(dtype) * (d + ahead), 0, 3);
        ATTN_FN(_load2)(x, row, d, n, dtype);
        ATTN_FN(_keep)(to, x);
    }
}
