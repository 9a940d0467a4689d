/* pack_cpu.h - K and V of a tile, of any type and strides, into the panels that the register kernel of product_cpu.h
 * reads; and what is done where V is not finite.  Included by forward_cpu.h alone. */

#if ATTN_KV_DTYPE == ATTN_NARROW
/* ---- 8 and 4 bits to f32 ------------------------------------------------------------------------ */

/* Dim d of a row that begins at element `at`, as it is stored. */
ATTN_INLINE float ATTN_FN(_stored)(const attn_tensor *t, int64_t at, int d)
{
    const uint8_t *const data = (const uint8_t *)t->data;
    const int64_t i = at + ATTN_FN(_dim_at)(t, d);
    return t->dtype == ATTN_E4M3   ? attn__e4m3_to_f32(data[i])
           : t->dtype == ATTN_E5M2 ? attn__e5m2_to_f32(data[i])
           : t->dtype == ATTN_INT8 ? (float)(int8_t)data[i]
                                   : attn__int4_to_f32(data[(i - (i & 1)) / 2], (int)(i & 1));
}

/* A vector of elements from number i on, as they are stored; of int4 from an even one. */
ATTN_INLINE ATTN_VEC_T ATTN_FN(_stored_vec)(int32_t dtype, const uint8_t *data, int64_t i)
{
    return dtype == ATTN_E4M3   ? ATTN_V(load_e4m3)(data + i)
           : dtype == ATTN_E5M2 ? ATTN_V(load_e5m2)(data + i)
           : dtype == ATTN_INT8 ? ATTN_V(load_int8)(data + i)
                                : ATTN_V(load_int4)(data + i / 2);
}

/* Dims d .. end of a row, which share a scale. */
ATTN_INLINE void ATTN_FN(_widen_group)(const attn_tensor *t, int64_t at, int d, int end, float scale, float zero,
                                       float *out)
{
    const uint8_t *const data = (const uint8_t *)t->data;
    for (; ATTN_FN(_dims_adjoin)(t) && d + ATTN_W <= end; d += ATTN_W)
        ATTN_V(store_f32)(out + d, (ATTN_FN(_stored_vec)(t->dtype, data, at + d) - ATTN_V(set1)(zero)) *
                                       ATTN_V(set1)(scale));
    for (; d < end; ++d)
        out[d] = (ATTN_FN(_stored)(t, at, d) - zero) * scale;
}

/* The row of one token and head: [first] sequence or page, [token] in it. */
ATTN_NOINLINE void ATTN_FN(_widen_row)(const attn_tensor *t, const attn_scale *s, int b, int64_t first, int64_t token,
                                       int g, int dim, float *out)
{
    const int64_t at = first * t->stride[0] + token * t->stride[1] + g * t->stride[2];
    if (!(ATTN_SCALED && s->scale)) {
        ATTN_FN(_widen_group)(t, at, 0, dim, 1.0f, 0.0f, out);
        return;
    }
    /* Scales of whole sequences are by sequence also where tokens are in pages. */
    int64_t place = (s->stride[1] ? first : b) * s->stride[0] + token * s->stride[1] + g * s->stride[2];
    const int group = s->group && s->group < dim ? s->group : dim;
    for (int d = 0; d < dim; d += group, place += s->stride[3])
        ATTN_FN(_widen_group)(t, at, d, d + group < dim ? d + group : dim, s->scale[place],
                              s->zero ? s->zero[place] : 0.0f, out);
}
#endif

/* ---- packing ------------------------------------------------------------------------------------ */

/* Two 16-bit elements as one 32-bit pair, the first in the lower half; 0 for a missing row and beyond dim. */
ATTN_INLINE float ATTN_FN(_pair)(const attn_tensor *t, const ATTN_KV_T *row, int d, const ATTN_KV_T *row2, int d2,
                                 int dim)
{
    uint16_t bits[2] = {0, 0};
    if (row && d < dim)
        memcpy(&bits[0], row + ATTN_FN(_dim_at)(t, d), sizeof bits[0]);
    if (row2 && d2 < dim)
        memcpy(&bits[1], row2 + ATTN_FN(_dim_at)(t, d2), sizeof bits[1]);
    return attn__f32_from_bits(bits[0] | (uint32_t)bits[1] << 16);
}

/* As _pack_k, with pairs of dims as the elements: a bf16 row read as 32-bit words holds just those. */
ATTN_NOINLINE void ATTN_FN(_pack_k_pairs)(const ATTN_FN(_unit) *u, int first, int end, int n)
{
    const attn_tensor *t = &u->c->k;
    const int dim = u->c->dim, steps = u->c->steps;
    for (int j0 = first / ATTN_NR * ATTN_NR; j0 < end; j0 += ATTN_NR) {
        float *panel = u->k + (size_t)j0 * steps;
        if (!ATTN_FN(_dims_adjoin)(t) || dim % 2) {
            for (int j = 0; j < ATTN_NR; ++j) {
                const ATTN_KV_T *row = j0 + j < n ? u->k_row[j0 + j] : 0;
                for (int d = 0; d < steps; ++d)
                    panel[d * ATTN_NR + j] = ATTN_FN(_pair)(t, row, 2 * d, row, 2 * d + 1, dim);
            }
            continue;
        }
        for (int half = 0; half < ATTN_NR; half += ATTN_W)
            for (int d = 0; d < steps; d += ATTN_W) {
                const int wide = steps - d < ATTN_W ? steps - d : ATTN_W;
                ATTN_VEC_T r[ATTN_W];
                ATTN_UNROLL for (int j = 0; j < ATTN_W; ++j)
                    r[j] = j0 + half + j < n
                               ? ATTN_V(load_f32_n)((const float *)(const void *)u->k_row[j0 + half + j] + d, wide)
                               : ATTN_V(set1)(0.0f);
                ATTN_V(transpose)(r);
                ATTN_UNROLL for (int j = 0; j < ATTN_W; ++j)
                    if (j < wide)
                        ATTN_V(store_f32)(panel + (size_t)(d + j) * ATTN_NR + half, r[j]);
            }
    }
}

/* Panels of K that hold keys first .. end of the tile; keys of a panel beyond n are zero. */
ATTN_NOINLINE void ATTN_FN(_pack_k)(const ATTN_FN(_unit) *u, int first, int end, int n)
{
    const attn_tensor *t = &u->c->k;
    const int dim = u->c->dim;
    if (ATTN_PAIRS == 2) {
        ATTN_FN(_pack_k_pairs)(u, first, end, n);
        return;
    }
    for (int j0 = first / ATTN_NR * ATTN_NR; j0 < end; j0 += ATTN_NR) {
        float *panel = u->k + (size_t)j0 * dim;
        const ATTN_KV_T *const *ahead = u->k_row + (j0 + ATTN_NR + ATTN_W <= n ? j0 + ATTN_W : j0);
        if (!ATTN_FN(_dims_adjoin)(t)) {
            for (int d = 0; d < dim; ++d) {
                const int64_t at = ATTN_FN(_dim_at)(t, d);
                for (int j = 0; j < ATTN_NR; ++j)
                    panel[d * ATTN_NR + j] = j0 + j < n ? ATTN_KV_SCALAR(u->k_row[j0 + j][at]) : 0.0f;
            }
            continue;
        }
        for (int half = 0; half < ATTN_NR; half += ATTN_W)
            for (int d = 0; d < dim; d += ATTN_W) {
                const int wide = dim - d < ATTN_W ? dim - d : ATTN_W;
                ATTN_VEC_T r[ATTN_W];
                if (wide == ATTN_W && j0 + half + ATTN_W <= n) {
                    ATTN_UNROLL for (int j = 0; j < ATTN_W; ++j) {
                        __builtin_prefetch(ahead[half + j] + d, 0, 3);
                        r[j] = ATTN_KV_LOAD(u->k_row[j0 + half + j] + d);
                    }
                } else {
                    ATTN_UNROLL for (int j = 0; j < ATTN_W; ++j)
                        r[j] = j0 + half + j < n ? ATTN_KV_LOAD_N(u->k_row[j0 + half + j] + d, wide)
                                                 : ATTN_V(set1)(0.0f);
                }
                ATTN_V(transpose)(r);
                float *out = panel + (size_t)d * ATTN_NR + half;
                if (wide == ATTN_W) {
                    ATTN_UNROLL for (int j = 0; j < ATTN_W; ++j)
                        ATTN_V(store_f32)(out + j * ATTN_NR, r[j]);
                } else {
                    ATTN_UNROLL for (int j = 0; j < ATTN_W; ++j)
                        if (j < wide)
                            ATTN_V(store_f32)(out + j * ATTN_NR, r[j]);
                }
            }
    }
}

/* As _pack_v, with pairs of keys as the elements. */
ATTN_NOINLINE void ATTN_FN(_pack_v_pairs)(const ATTN_FN(_unit) *u, int first, int end)
{
    const attn_tensor *t = &u->c->v;
    const int dim = u->c->dim_v;
    for (int d0 = 0; d0 < dim; d0 += ATTN_NR)
        for (int j = first / 2 * 2; j < end; j += 2) {
            float *out = u->v + (size_t)d0 * ATTN_TILE_K + (size_t)(j / 2) * ATTN_NR;
            if (ATTN_FN(_dims_adjoin)(t)) {
                for (int half = 0; half < ATTN_NR; half += ATTN_W) {
                    const int d = d0 + half, left = dim - d < 0 ? 0 : dim - d < ATTN_W ? dim - d : ATTN_W;
                    const uint16_t *a = (const uint16_t *)(const void *)u->v_row[j];
                    const uint16_t *b = j + 1 < end ? (const uint16_t *)(const void *)u->v_row[j + 1] : 0;
                    (void)a, (void)b, (void)left, (void)d;
                    ATTN_V(store_f32)(out + half, left ? ATTN_ZIP(a + d, b ? b + d : 0, left) : ATTN_V(set1)(0.0f));
                }
            } else
                for (int d = 0; d < ATTN_NR; ++d)
                    out[d] = ATTN_FN(_pair)(t, u->v_row[j], d0 + d, j + 1 < end ? u->v_row[j + 1] : 0, d0 + d, dim);
        }
}

/* Panels of V for keys first .. end of the tile; columns beyond dim_v are zero.  Panel by panel: writing all
 * panels of one key after the other would hit lines TILE_K * NR floats apart, which share one set of L1. */
ATTN_NOINLINE void ATTN_FN(_pack_v)(const ATTN_FN(_unit) *u, int first, int end)
{
    const attn_tensor *t = &u->c->v;
    const int dim = u->c->dim_v;
    if (ATTN_PAIRS == 2) {
        ATTN_FN(_pack_v_pairs)(u, first, end);
        return;
    }
    for (int d0 = 0; d0 < dim; d0 += ATTN_NR) {
        float *out = u->v + (size_t)d0 * ATTN_TILE_K + (size_t)first * ATTN_NR;
        const int left = dim - d0;
        for (int j = first; j < end; ++j, out += ATTN_NR) {
            const ATTN_KV_T *row = u->v_row[j];
            if (!ATTN_FN(_dims_adjoin)(t)) {
                for (int d = 0; d < ATTN_NR; ++d)
                    out[d] = d < left ? ATTN_KV_SCALAR(row[ATTN_FN(_dim_at)(t, d0 + d)]) : 0.0f;
            } else if (left >= ATTN_NR) {
                if (ATTN_W == 8) /* 4 % at 32 rows with AVX2; with AVX-512 it costs as much */
                    __builtin_prefetch(row + d0 + ATTN_NR, 0, 3);
                ATTN_V(store_f32)(out, ATTN_KV_LOAD(row + d0));
                ATTN_V(store_f32)(out + ATTN_W, ATTN_KV_LOAD(row + d0 + ATTN_W));
            } else {
                const int left2 = left - ATTN_W;
                ATTN_V(store_f32)(out, ATTN_KV_LOAD_N(row + d0, left < ATTN_W ? left : ATTN_W));
                ATTN_V(store_f32)(out + ATTN_W, ATTN_KV_LOAD_N(row + d0 + ATTN_W, left2 < 0 ? 0 : left2));
            }
        }
    }
}

/* ---- careful rows: V holds an infinity or a NaN at keys that some row may not see ---------------- */

/* Whether all of V is finite for keys first .. end of the tile. */
ATTN_NOINLINE int ATTN_FN(_v_finite)(const ATTN_FN(_unit) *u, int first, int end)
{
    const attn_tensor *t = &u->c->v;
    const int dim = u->c->dim_v;
    float sum = 0.0f; /* 0 * x is 0 unless x is not finite */
    for (int j = first; j < end; ++j) {
        const ATTN_KV_T *row = u->v_row[j];
        int d = 0;
        if (ATTN_FN(_dims_adjoin)(t)) {
            ATTN_VEC_T acc = ATTN_V(set1)(0.0f);
            for (; d + ATTN_W <= dim; d += ATTN_W)
                acc = ATTN_V(fma)(ATTN_KV_LOAD(row + d), ATTN_V(set1)(0.0f), acc);
            sum += ATTN_V(sum)(acc);
        }
        for (; d < dim; ++d)
            sum += 0.0f * ATTN_KV_SCALAR(row[ATTN_FN(_dim_at)(t, d)]);
    }
    return sum == 0.0f;
}

/* O = O * alpha + P V for one row, leaving out the keys it does not see instead of giving them weight 0. */
ATTN_NOINLINE void ATTN_FN(_careful_row)(const ATTN_FN(_unit) *u, const float *s, const unsigned char *seen, int first,
                                         int end, float alpha, float *o, int narrow)
{
    const attn_tensor *t = &u->c->v;
    const uint16_t *pairs = (const uint16_t *)(const void *)s;
    for (int d = 0; d < u->c->dim_v; ++d)
        o[d] *= alpha;
    for (int j = first; j < end; ++j)
        if (seen[j]) {
            const float w = ATTN_PAIRS == 2 && narrow ? attn__bf16_to_f32(pairs[j]) : s[j];
            for (int d = 0; d < u->c->dim_v; ++d)
                o[d] += w * ATTN_KV_SCALAR(u->v_row[j][ATTN_FN(_dim_at)(t, d)]);
        }
}
