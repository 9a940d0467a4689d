/* narrow_cuda.cuh - K and V in e4m3, e5m2, int8 or int4, as decode_sm80.cuh reads them: the type is the call's.
 *
 * Included by decode_sm80.cuh for ATTN_NARROW, no guard.  Bytes lie in shared memory as they lie in the cache, and
 * become 16 bits in registers beside the products, in which every one of these numbers is exact: V the type of Q, since
 * P needs its range; K f16, which costs less, and a row of Q in bf16 is multiplied by the power of two that makes it
 * fit.
 *
 * ldmatrix moves 16 bits at a time, PER numbers rather than one, so what arrives in a register is not in the order of
 * an operand.  But a sum over dims may take them in any order that Q has, too, and rows of O^T may be any dims: so
 * nothing is moved within a warp.  Of what one ldmatrix brings, c being lane % 4 and x lane / 4:
 *
 *     K  a word has dims 2 PER c .. of one key             number i of it is k = 2 c + i / PER, of operand i % PER
 *     V  a word has dims PER x .. of keys 2 c and the next     number i % PER is row x of O^T's 8-row tile i % PER
 *
 * Scales, where one holds for a whole unit: K's is in what scores are multiplied with, V's in what O is.  Else they
 * come with the tile, [group][key]: K's multiply the sums of 32 dims, V's the weights of 32 dims before they are
 * packed, with f16 times `fold`, a power of two that keeps them in range; O is divided by it.  Zero points come with
 * the tile.  What weights are rounded to is made up for, as elsewhere; but where each group of dims has others, by a
 * second product with what they have lost. */

#include <attn/device/narrow.cuh>

#define ATTN_FOLD_MOST 128.0f   /* what a scale of V times fold may be: times 2^ATTN_ROOM it is in range */
#define ATTN_FOLD_FIRST (ATTN_DTYPE == ATTN_F16 ? 0x1p120f : 1.0f) /* before any has been seen; bf16 needs none */
#if ATTN_DTYPE == ATTN_F16
#define ATTN_ADD(x, y) attn__add_f16x2(x, y)
#else
#define ATTN_ADD(x, y) attn__add_bf16x2(x, y)
#endif

/* Numbers of 32 bits as pairs: ATTN_PER of them, of f16 or of the type of Q.  type: a constant. */
ATTN_DEVICE void ATTN_FN(_k_pairs)(int type, uint32_t x, uint32_t *d)
{
    if (type == ATTN_E4M3)
        attn__e4m3_to_f16x2(x, d);
    else if (type == ATTN_E5M2)
        attn__e5m2_to_f16x2(x, d);
    else if (type == ATTN_INT8)
        attn__int8_to_f16x2(x, d);
    else
        attn__int4_to_f16x2(x, d);
}

ATTN_DEVICE void ATTN_FN(_v_pairs)(int type, uint32_t x, uint32_t *d)
{
    if (ATTN_DTYPE == ATTN_F16)
        ATTN_FN(_k_pairs)(type, x, d);
    else if (type == ATTN_E4M3)
        attn__e4m3_to_bf16x2(x, d);
    else if (type == ATTN_E5M2)
        attn__e5m2_to_bf16x2(x, d);
    else if (type == ATTN_INT8)
        attn__int8_to_bf16x2(x, d);
    else
        attn__int4_to_bf16x2(x, d);
}

/* ---- scales ------------------------------------------------------------------------------------------ */

/* The scale of all numbers of the unit, unless scales come with the tiles. */
ATTN_DEVICE float ATTN_FN(_unit_scale)(const attn_scale *s, int groups, const ATTN_FN(_unit) *u)
{
    const int one = ATTN_SCALED && s->scale && !groups && u->len_k > 0;
    return one ? s->scale[u->b * s->stride[0] + u->g * s->stride[2]] : 1.0f;
}

/* Where those of the sequence, and of this head, begin that come with tiles; of a page without the page. */
ATTN_DEVICE int64_t ATTN_FN(_scales_of)(const ATTN_FN(_args) *a, const attn_scale *s, const ATTN_FN(_unit) *u)
{
    const int64_t head = u->g * s->stride[2];
    if (!s->stride[1])
        return head + u->b * s->stride[0];
    return ATTN_PAGED && a->p.page_size ? head : head + u->b * s->stride[0] + u->base_k * s->stride[1];
}

/* Those of lane % ATTN_TILE_K's key, which lies in row `row` of `page`; zeros if it is not there. */
ATTN_DEVICE void ATTN_FN(_copy_scales)(const attn_scale *s, int64_t from, int groups, int page, int row, int there,
                                       unsigned char *to, int zeros)
{
    const int lane = attn__lane();
    if (s->stride[1])
        from += page * s->stride[0] + row * s->stride[1];
    ATTN_NO_UNROLL
    for (int n = lane / ATTN_TILE_K; n < groups; n += 32 / ATTN_TILE_K) {
        unsigned char *const place = to + (n * ATTN_TILE_K + lane % ATTN_TILE_K) * 4;
        const int64_t at = from + n * s->stride[3];
        attn__copy_async4(place, s->scale + at, there);
        if (s->zero)
            attn__copy_async4(place + zeros, s->zero + at, there);
    }
}

/* Two neighbouring scales, or zero points, of block `block` (of 32 dims), from key `key` on.  Blocks beyond the last
 * dim are as the last group: zeros times something that is finite. */
ATTN_DEVICE float2 ATTN_FN(_two)(const unsigned char *scales, int groups, int shift, int block, int key)
{
    const int last = groups > 1 ? groups - 1 : 0, group = block >> shift < last ? block >> shift : last;
    return *(const float2 *)(const void *)(scales + (group * ATTN_TILE_K + key) * 4);
}

/* ---- Q ------------------------------------------------------------------------------------------------ */

/* What a row is multiplied with, a power of two: f16 holds what is in bf16, but not as large or small.  The four lanes
 * of a row have each a part of it. */
ATTN_DEVICE float ATTN_FN(_q_down)(const uint16_t *row, int dim)
{
#if ATTN_DTYPE == ATTN_F16
    (void)row, (void)dim;
    return 1.0f;
#else
    uint32_t top = 0;
    ATTN_UNROLL
    for (int n = 0; n < (ATTN_HEAD_DIM + 31) / 32; ++n) {
        const int d = 32 * n + 8 * (attn__lane() % 4);
        uint4 x = make_uint4(0, 0, 0, 0);
        if (d < dim)
            x = *(const uint4 *)(const void *)(row + d);
        const uint32_t w[4] = { x.x, x.y, x.z, x.w };
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i) {
            const uint32_t size = w[i / 2] >> (i % 2 * 16) & 0x7fffu;
            top = size > top ? size : top;
        }
    }
    ATTN_UNROLL
    for (int n = 1; n < 4; n *= 2) {
        const uint32_t other = (uint32_t)attn__shuffle_int((int)top, attn__lane() ^ n);
        top = other > top ? other : top;
    }
    const uint32_t exponent = top >> 7 > 15 ? top >> 7 : 15; /* the greatest becomes 2^14 or more, but less than 2^15 */
    return attn__f32_from_bits((268 - exponent) << 23);
#endif
}

/* Of lane / 4's row of Q what step ks needs: lower and upper half of k. */
ATTN_DEVICE void ATTN_FN(_q_pairs)(int type, const uint16_t *row, int ks, int dim, float down, uint32_t *low,
                                   uint32_t *high)
{
    const int c = attn__lane() % 4, is_int4 = type == ATTN_INT4, d = is_int4 ? ks / 2 * 32 + c * 8 + ks % 2 * 2
                                                                             : ks * 16 + c * 4;
    uint32_t x = 0, y = 0; /* two neighbouring dims, and those 4 or 2 further */
    if (d < dim) {
        x = *(const uint32_t *)(const void *)(row + d);
        y = *(const uint32_t *)(const void *)(row + d + (is_int4 ? 4 : 2));
    }
#if ATTN_DTYPE == ATTN_BF16
    *low = attn__pack_f16(attn__low_bf16(x) * down, attn__low_bf16(y) * down);
    *high = attn__pack_f16(attn__high_bf16(x) * down, attn__high_bf16(y) * down);
#else
    (void)down;
    *low = (x & 0xffffu) | y << 16;
    *high = x >> 16 | (y & 0xffff0000u);
#endif
}

/* ---- the products of a tile --------------------------------------------------------------------------- */

/* Mostly, all is one run of instructions: where no scales come with tiles, ones lie in their place.  `careful`: with
 * zero points; of V also with groups, and on the way to what is not finite.  type and careful: constants. */

/* s += the sums over block `block` of dims times the scales of its group and of Q, for the keys 16 kk .. */
ATTN_DEVICE void ATTN_FN(_scale_sums)(const ATTN_FN(_args) *a, const ATTN_FN(_state) *w, const unsigned char *tile,
                                      int block, int kk, float (*sum)[2][4], float (*s)[ATTN_NK][4])
{
    ATTN_UNROLL
    for (int n = 0; n < 2; ++n) {
        float2 by = make_float2(1.0f, 1.0f);
        if (ATTN_SCALED)
            by = ATTN_FN(_two)(tile + ATTN_K_SCALES, a->k_groups, a->k_shift, block,
                               16 * kk + 8 * n + attn__lane() % 4 * 2);
        ATTN_UNROLL
        for (int e = 0; e < 2 * ATTN_RN; ++e) {
            float *const to = &s[e / 4][2 * kk + n][e % 4];
            *to = fmaf(sum[e / 4][n][e % 4], w->up[e / 2] * (e % 2 ? by.y : by.x), *to);
        }
    }
}

/* S = Q K^T of the tile at `tile`, as ATTN_FN(_scores). */
ATTN_DEVICE void ATTN_FN(_scores_of)(int type, int careful, const ATTN_FN(_args) *a, const ATTN_FN(_state) *w,
                                     const unsigned char *smem, ATTN_FN(_row_at) k, const unsigned char *tile,
                                     int stage, float (*s)[ATTN_NK][4])
{
    const int per = ATTN_PER(type), pieces = ATTN_ROW_PIECES(ATTN_HEAD_DIM, type);
    ATTN_UNROLL
    for (int n = 0; n < ATTN_RM * ATTN_NK * 4; ++n)
        s[n / 4 / ATTN_NK][n / 4 % ATTN_NK][n % 4] = 0.0f;
    ATTN_UNROLL
    for (int kk = 0; kk < ATTN_NK / 2; ++kk) {
        ATTN_UNROLL
        for (int n = 0; n < pieces / 2; ++n) {
            uint32_t x[4], b[2][8]; /* keys 16 kk .. and 8 further: operands of 16 dims, each two registers */
            attn__ldmatrix_x4(x, ATTN_FN(_dims_at)(k, stage, 16 * kk, n, pieces));
            ATTN_UNROLL
            for (int i = 0; i < 4; ++i) {
                uint32_t *const to = b[i / 2] + i % 2 * per;
                ATTN_FN(_k_pairs)(type, x[i], to);
                if (ATTN_SCALED && careful && a->p.k_scale.zero) {
                    const int block = n * per / 2 + (per == 4 ? i % 2 : 0);
                    const int key = 16 * kk + i / 2 * 8 + attn__lane() / 4;
                    const float2 z = ATTN_FN(_two)(tile + ATTN_K_ZEROS, a->k_groups, a->k_shift, block, key & ~1);
                    const float own = key & 1 ? z.y : z.x;
                    ATTN_UNROLL
                    for (int m = 0; m < per; ++m)
                        to[m] = attn__add_f16x2(to[m], attn__pack_f16(-own, -own));
                }
            }
            ATTN_UNROLL
            for (int block = 0; block < per / 2; ++block) {
                float sum[ATTN_RM][2][4];
                ATTN_UNROLL
                for (int e = 0; e < 8 * ATTN_RM; ++e)
                    sum[e / 8][e / 4 % 2][e % 4] = 0.0f;
                ATTN_UNROLL
                for (int step = 2 * block; step < 2 * block + 2; ++step) {
                    const int ks = n * per + step;
                    ATTN_UNROLL
                    for (int m = 0; m < ATTN_RM; ++m) {
                        const uint32_t *q = w->q[m][ks];
                        uint32_t own[4];
                        if (!ATTN_KEEP_Q) {
                            const uint4 y = *(const uint4 *)(const void *)(smem + ATTN_Q_AT + (m * ATTN_KS + ks) * 512 +
                                                                           attn__lane() * 16);
                            own[0] = y.x, own[1] = y.y, own[2] = y.z, own[3] = y.w;
                            q = own;
                        }
                        attn__mma_f16(sum[m][0], q, b[0] + 2 * step);
                        attn__mma_f16(sum[m][1], q, b[1] + 2 * step);
                    }
                }
                ATTN_FN(_scale_sums)(a, w, tile, n * per / 2 + block, kk, sum, s);
            }
        }
    }
}

/* P of the keys 16 kk .. as operands, times the scales of block `block` of V. */
ATTN_DEVICE void ATTN_FN(_weights)(int careful, const ATTN_FN(_args) *a, ATTN_FN(_state) *w, const unsigned char *tile,
                                   int block, int kk, float (*p)[ATTN_NK][2], uint32_t (*to)[2], uint32_t (*rest)[2])
{
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e) {
        float2 by = make_float2(1.0f, 1.0f);
        if (ATTN_SCALED)
            by = ATTN_FN(_two)(tile + ATTN_V_SCALES, a->v_groups, a->v_shift, block,
                               16 * kk + 8 * e + attn__lane() % 4 * 2);
        if (ATTN_DTYPE == ATTN_F16) {
            by.x *= w->fold;
            by.y *= w->fold;
        }
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RN; ++r) {
            const float *const x = p[r][2 * kk + e];
            float low = x[0] * by.x, high = x[1] * by.y;
            if (careful) { /* what is hidden may have a scale that is not finite */
                low = x[0] == 0.0f ? 0.0f : low;
                high = x[1] == 0.0f ? 0.0f : high;
            }
            to[r][e] = ATTN_PACK(low, high);
            const float packed[2] = { ATTN_LOW(to[r][e]), ATTN_HIGH(to[r][e]) };
            rest[r][e] = ATTN_PACK(low - packed[0], high - packed[1]);
            if (block == 0) {
                w->scaled[r] += low + high;
                w->rounded[r] += careful ? low + high : packed[0] + packed[1];
            }
        }
    }
}

/* P = 2^(S - r); O^T += V^T P^T, as ATTN_FN(_values). */
ATTN_DEVICE void ATTN_FN(_values_of)(int type, int careful, const ATTN_FN(_args) *a, ATTN_FN(_state) *w,
                                     ATTN_FN(_row_at) v_row, const unsigned char *tile, int stage,
                                     float (*s)[ATTN_NK][4])
{
    const int per = ATTN_PER(type), pieces = ATTN_ROW_PIECES(ATTN_HEAD_DIM_V, type);
    float p[ATTN_RN][ATTN_NK][2];
    ATTN_UNROLL
    for (int n = 0; n < ATTN_RN * ATTN_NK * 2; ++n) {
        const int r = n / 2 / ATTN_NK, e = n / 2 % ATTN_NK;
        p[r][e][n % 2] = attn__exp2(fmaf(s[r / 2][e][r % 2 * 2 + n % 2], w->unit, w->minus_r[r]));
        w->l[r] += p[r][e][n % 2];
    }
    ATTN_UNROLL
    for (int kk = 0; kk < ATTN_NK / 2; ++kk) {
        ATTN_UNROLL
        for (int n = 0; n < pieces / 2; ++n) {
            uint32_t x[4], v[2][8]; /* keys 16 kk .. and 8 further: 8 dims each */
            attn__ldmatrix_x4_trans(x, ATTN_FN(_dims_at)(v_row, stage, 16 * kk, n, pieces));
            ATTN_UNROLL
            for (int i = 0; i < 4; ++i) {
                uint32_t *const to = v[i / 2] + i % 2 * per;
                ATTN_FN(_v_pairs)(type, x[i], to);
                if (ATTN_SCALED && careful && a->p.v_scale.zero && w->pass < 2) {
                    const int block = n * per / 2 + (per == 4 ? i % 2 : 0);
                    const float2 z = ATTN_FN(_two)(tile + ATTN_V_ZEROS, a->v_groups, a->v_shift, block,
                                                   16 * kk + i / 2 * 8 + attn__lane() % 4 * 2);
                    ATTN_UNROLL
                    for (int m = 0; m < per; ++m)
                        to[m] = ATTN_ADD(to[m], ATTN_PACK(-z.x, -z.y));
                }
            }
            uint32_t weights[ATTN_RN][2], rest[ATTN_RN][2];
            ATTN_UNROLL
            for (int m = 0; m < per; ++m) {
                const uint32_t own[4] = { v[0][2 * m], v[0][2 * m + 1], v[1][2 * m], v[1][2 * m + 1] };
                if (m % 2 == 0)
                    ATTN_FN(_weights)(careful, a, w, tile, n * per / 2 + m / 2, kk, p, weights, rest);
                ATTN_UNROLL
                for (int r = 0; r < ATTN_RN; ++r) {
                    ATTN_FN(_mma)(w->o[r][n * per + m], own, weights[r]);
                    if (careful)
                        ATTN_FN(_mma)(w->o[r][n * per + m], own, rest[r]);
                }
            }
        }
    }
}

/* The same for the call's type. */
ATTN_DEVICE void ATTN_FN(_scores)(const ATTN_FN(_args) *a, const ATTN_FN(_state) *w, const unsigned char *smem,
                                  ATTN_FN(_row_at) k, const unsigned char *tile, int stage, float (*s)[ATTN_NK][4])
{
    const int type = a->p.k.dtype, careful = ATTN_SCALED && a->p.k_scale.zero;
    if (type == ATTN_E4M3 && !careful)
        ATTN_FN(_scores_of)(ATTN_E4M3, 0, a, w, smem, k, tile, stage, s);
    else if (type == ATTN_E5M2 && !careful)
        ATTN_FN(_scores_of)(ATTN_E5M2, 0, a, w, smem, k, tile, stage, s);
    else if (type == ATTN_INT8 && !careful)
        ATTN_FN(_scores_of)(ATTN_INT8, 0, a, w, smem, k, tile, stage, s);
    else if (type == ATTN_INT4 && !careful)
        ATTN_FN(_scores_of)(ATTN_INT4, 0, a, w, smem, k, tile, stage, s);
    else if (type == ATTN_E4M3 && careful)
        ATTN_FN(_scores_of)(ATTN_E4M3, 1, a, w, smem, k, tile, stage, s);
    else if (type == ATTN_E5M2 && careful)
        ATTN_FN(_scores_of)(ATTN_E5M2, 1, a, w, smem, k, tile, stage, s);
    else if (type == ATTN_INT8 && careful)
        ATTN_FN(_scores_of)(ATTN_INT8, 1, a, w, smem, k, tile, stage, s);
    else if (type == ATTN_INT4 && careful)
        ATTN_FN(_scores_of)(ATTN_INT4, 1, a, w, smem, k, tile, stage, s);
}
ATTN_DEVICE void ATTN_FN(_values)(const ATTN_FN(_args) *a, ATTN_FN(_state) *w, ATTN_FN(_row_at) v,
                                  const unsigned char *tile, int stage, float (*s)[ATTN_NK][4])
{
    const int type = a->p.k.dtype, careful = w->pass || (ATTN_SCALED && (a->p.v_scale.zero || a->v_groups > 1));
    if (type == ATTN_E4M3 && !careful)
        ATTN_FN(_values_of)(ATTN_E4M3, 0, a, w, v, tile, stage, s);
    else if (type == ATTN_E5M2 && !careful)
        ATTN_FN(_values_of)(ATTN_E5M2, 0, a, w, v, tile, stage, s);
    else if (type == ATTN_INT8 && !careful)
        ATTN_FN(_values_of)(ATTN_INT8, 0, a, w, v, tile, stage, s);
    else if (type == ATTN_INT4 && !careful)
        ATTN_FN(_values_of)(ATTN_INT4, 0, a, w, v, tile, stage, s);
    else if (type == ATTN_E4M3 && careful)
        ATTN_FN(_values_of)(ATTN_E4M3, 1, a, w, v, tile, stage, s);
    else if (type == ATTN_E5M2 && careful)
        ATTN_FN(_values_of)(ATTN_E5M2, 1, a, w, v, tile, stage, s);
    else if (type == ATTN_INT8 && careful)
        ATTN_FN(_values_of)(ATTN_INT8, 1, a, w, v, tile, stage, s);
    else if (type == ATTN_INT4 && careful)
        ATTN_FN(_values_of)(ATTN_INT4, 1, a, w, v, tile, stage, s);
}

/* Ones for all scales of V of a tile, or of K. */
ATTN_DEVICE void ATTN_FN(_put_ones)(unsigned char *scales, int groups)
{
    ATTN_NO_UNROLL
    for (int n = attn__lane(); n < (groups ? groups : 1) * ATTN_TILE_K; n += 32)
        *(float *)(void *)(scales + n * 4) = 1.0f;
}

/* The greatest scale of V in the tile, of those that this lane looks at. */
ATTN_DEVICE float ATTN_FN(_v_scale_top)(const ATTN_FN(_args) *a, const unsigned char *tile)
{
    float top = 0.0f;
    ATTN_NO_UNROLL
    for (int n = attn__lane(); ATTN_DTYPE == ATTN_F16 && n < a->v_groups * ATTN_TILE_K; n += 32)
        top = attn__max(top, fabsf(*(const float *)(const void *)(tile + ATTN_V_SCALES + n * 4)));
    return top;
}

/* Lowers fold, of which O is, to what suits a scale of `top` in any lane. */
ATTN_DEVICE void ATTN_FN(_lower_fold)(ATTN_FN(_state) *w, float top)
{
    ATTN_UNROLL
    for (int n = 1; n < 32; n *= 2)
        top = attn__max(top, attn__shuffle_xor(top, n));
    const uint32_t exponent = attn__f32_bits(top) >> 23;
    const float fold = attn__f32_from_bits((260 - (exponent > 10 ? exponent : 10)) << 23); /* top becomes 64 or more */
    if (top * w->fold > ATTN_FOLD_MOST) {
        const float factor = fold / w->fold;
        ATTN_UNROLL
        for (int n = 0; n < ATTN_RN * ATTN_NV * 4; ++n)
            w->o[n / 4 / ATTN_NV][n / 4 % ATTN_NV][n % 4] *= factor;
        w->fold = fold;
    }
}

/* V in four bytes as a pass of a unit needs it, as ATTN_FN(_split_pair) has it. */
ATTN_DEVICE uint32_t ATTN_FN(_split_word)(int type, int pass, uint32_t x)
{
    const int is_e5m2 = type == ATTN_E5M2;
    if (type >= ATTN_INT8) /* all are finite */
        return pass == 1 ? x : 0;
    const uint32_t exponents = is_e5m2 ? 0x7c7c7c7cu : 0x7f7f7f7fu, lowest = is_e5m2 ? 0x04040404u : 0x01010101u;
    const uint32_t not_finite = ((x & exponents) + lowest) >> 7 & 0x01010101u;
    const uint32_t nan = is_e5m2 ? ((x & 0x03030303u) + 0x03030303u) >> 2 : 0x01010101u;
    const uint32_t sign = (pass == 2 ? ~x : x) >> 7;
    return pass == 1 ? x & ~(not_finite * 0xffu) : (not_finite & (nan | sign)) * (is_e5m2 ? 0x3cu : 0x38u);
}

