/* narrow_cuda.cuh - K and V in e4m3, e5m2, int8 or int4, as decode_sm80.cuh reads them: the type is the call's.
 *
 * Included by decode_sm80.cuh for ATTN_NARROW, no guard.  Bytes lie in shared memory as they lie in the cache, and
 * become f16 in registers beside the products, in which every one of these numbers is exact.  A row of Q is multiplied
 * by the power of two that makes it fit; P is f16, too.
 *
 * ldmatrix moves 16 bits at a time, PER numbers rather than one, so what arrives in a register is not in the order of
 * an operand.  But a sum over dims may take them in any order that Q has, too, and rows of O^T may be any dims: so
 * nothing is moved within a warp.  Of what one ldmatrix brings, c being lane % 4 and x lane / 4:
 *
 *     K  a word has dims 2 PER c .. of key x               number i of it is k = 2 c + i / PER, of operand i % PER
 *     V  a word has dims PER x .. of keys 2 c and the next     number i % PER is row x of O^T's 8-row tile i % PER
 *
 * Integers, but with groups or zero points, are not even converted: each is taken for the bits of an f16 below the
 * least exponent, where one is 2^-24, or 2^-20 if it lies four bits up.  With its sign turned over it is 8 (int8: 128)
 * too large.  In the upper half of a pair all its other bits are turned over instead, and the sign of f16 is set: it is
 * 7 (127) too small, so that sums stay near 0.  What sums would be of zeros is what they are wrong by: those of K begin
 * with its opposite, from those of V it is subtracted in the end.
 *
 * Scales, where one holds for a whole unit: K's is in what scores are multiplied with, V's in what O is.  Else they
 * come with the tile, [group][key]: K's multiply the sums of their dims, V's the weights before they are packed; r is
 * then of scores plus the logarithm of the key's greatest scale, so that what is packed is in range.  Zero points come
 * with the tile: K's are subtracted from its numbers; V's times the weights are a product of their own. */

#include <attn/device/narrow.cuh>

/* With O in f16 it shows what weights times scales are rounded to: it is made up for, or with groups what they have
 * lost is in a product of its own. */
#define ATTN_NARROW_EXACT (ATTN_DTYPE == ATTN_F16)

/* The logarithm of V's scale that r follows, at most, either way: r of two warps must not be further apart than what
 * f32 can hold the quotient of. */
#define ATTN_SCALE_LOG 60.0f

/* Numbers of 32 bits as pairs of f16: ATTN_PER of them.  type: a constant. */
ATTN_DEVICE void ATTN_FN(_pairs)(int type, uint32_t x, uint32_t *d)
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

/* Whether integers stay as they are, for which O must leave registers.  type: a constant. */
#define ATTN_RAW(type, careful) (ATTN_RN * ATTN_NV <= 8 && (type) >= ATTN_INT8 && !(careful))

/* Zeros as a pair of them, which is what makes pairs of numbers.  up: of int4, four bits up. */
ATTN_DEVICE uint32_t ATTN_FN(_raw_zero)(int type, int up)
{
    return type == ATTN_INT8 ? 0x807f0080u : up ? 0x80700080u : 0x80070008u;
}

/* What makes a sum over operands one of numbers. */
ATTN_DEVICE float ATTN_FN(_one)(int type, int careful, int up)
{
    return !ATTN_RAW(type, careful) ? 1.0f : type == ATTN_INT4 && up ? 1048576.0f : 16777216.0f;
}

/* What V would be of zeros: `weights` is the sum of this lane's, whose keys are all even or all odd, `other` of those
 * 4 lanes away. */
ATTN_DEVICE float ATTN_FN(_zeros)(int type, int careful, float weights, float other)
{
    const int odd = attn__lane() / 4 % 2;
    const float most = type == ATTN_INT8 ? 128.0f : 8.0f;
    if (!ATTN_RAW(type, careful))
        return 0.0f;
    return (odd ? other : weights) * most - (odd ? weights : other) * (most - 1.0f);
}

/* Pairs of 32 bits as products take them. */
ATTN_DEVICE void ATTN_FN(_operands)(int type, int careful, uint32_t x, uint32_t *d)
{
    if (!ATTN_RAW(type, careful)) {
        ATTN_FN(_pairs)(type, x, d);
    } else if (type == ATTN_INT8) {
        d[0] = attn__and_xor(0x00ff00ffu, x, ATTN_FN(_raw_zero)(type, 0));
        d[1] = attn__and_xor(0x00ff00ffu, x >> 8, ATTN_FN(_raw_zero)(type, 0));
    } else {
        ATTN_UNROLL
        for (int i = 0; i < 4; ++i)
            d[i] = attn__and_xor(i % 2 ? 0x00f000f0u : 0x000f000fu, x >> i / 2 * 8, ATTN_FN(_raw_zero)(type, i % 2));
    }
}

/* How careful the products with K or V must be. */
ATTN_DEVICE int ATTN_FN(_careful)(const attn_scale *s, int groups)
{
    return ATTN_SCALED && s->zero ? 2 : ATTN_SCALED && groups > 1;
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

/* Where those of block `block` (of 32 dims) are, from key `key` on, of what begins at `scales`.  Blocks beyond the last
 * dim are as the last group: zeros times something that is finite. */
ATTN_DEVICE const float *ATTN_FN(_scales_at)(const unsigned char *scales, int groups, int shift, int block, int key)
{
    const int last = groups > 1 ? groups - 1 : 0, group = block >> shift < last ? block >> shift : last;
    return (const float *)(const void *)scales + group * ATTN_TILE_K + key;
}

/* ---- Q ------------------------------------------------------------------------------------------------ */

/* Of lane / 4's row of Q what step ks needs, as it comes: two neighbouring dims, and those 4 or 2 further. */
ATTN_DEVICE void ATTN_FN(_q_pairs)(int type, const uint16_t *row, int ks, int dim, uint32_t *q)
{
    const int c = attn__lane() % 4, is_int4 = type == ATTN_INT4, d = is_int4 ? ks / 2 * 32 + c * 8 + ks % 2 * 2
                                                                             : ks * 16 + c * 4;
    q[0] = q[1] = 0;
    if (d < dim) {
        q[0] = *(const uint32_t *)(const void *)(row + d);
        q[1] = *(const uint32_t *)(const void *)(row + d + (is_int4 ? 4 : 2));
    }
}

/* Makes operands of that: lower and upper half of k.  A row is multiplied by the power of two that makes its greatest
 * 2^14 or more, but less than 2^15, for f16 holds what is in a bf16, but not as large or small, and a number of f16
 * divided by 16 only then; its four lanes have each a part of it. */
ATTN_DEVICE void ATTN_FN(_convert_q)(int type, ATTN_FN(_state) *w)
{
    const int is_bf16 = ATTN_DTYPE == ATTN_BF16, raw = ATTN_RAW(type, w->k_careful);
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RN; ++r) {
        uint32_t top = 0;
        ATTN_UNROLL
        for (int n = 0; n < 4 * ATTN_KS; ++n) {
            const uint32_t size = w->q[r][n / 4][n % 2] >> (n / 2 % 2 * 16) & 0x7fffu;
            top = size > top ? size : top;
        }
        ATTN_UNROLL
        for (int n = 1; n < 4; n *= 2) {
            const uint32_t other = (uint32_t)attn__shuffle_int((int)top, attn__lane() ^ n);
            top = other > top ? other : top;
        }
        top = is_bf16 ? top >> 7 : (top >> 10 > 1 ? top >> 10 : 1) + 112; /* its exponent, as in f32 */
        const uint32_t exponent = top > 15 ? top : 15;
        const float down = attn__f32_from_bits((268 - exponent) << 23);
        const float down_up = raw && type == ATTN_INT4 ? down * 0.0625f : down; /* for 2^-20 instead of 2^-24 */
        /* Of scores that f32 does not hold with 2^24 more the order is all that matters. */
        const float one = ATTN_FN(_one)(type, w->k_careful, 0);
        const float up = w->k_scale * attn__f32_from_bits(((raw && exponent > 230 ? 230 : exponent) - 14) << 23) * one;
        w->up[2 * r] = attn__shuffle(up, attn__lane() % 4 * 8);
        w->up[2 * r + 1] = attn__shuffle(up, attn__lane() % 4 * 8 + 4);
        float zero_sums[4]; /* a row of them is as any other */
        ATTN_UNROLL
        for (int n = 0; n < 4; ++n)
            zero_sums[n] = 0.0f;
        ATTN_UNROLL
        for (int ks = 0; ks < ATTN_KS; ++ks) {
            const uint32_t x = w->q[r][ks][0], y = w->q[r][ks][1];
            w->q[r][ks][0] = attn__pack_f16(ATTN_LOW(x) * down, ATTN_LOW(y) * down);
            w->q[r][ks][1] = attn__pack_f16(ATTN_HIGH(x) * down_up, ATTN_HIGH(y) * down_up);
            if (raw) {
                const uint32_t low = ATTN_FN(_raw_zero)(type, 0) ^ 0x80008000u;
                const uint32_t high = ATTN_FN(_raw_zero)(type, 1) ^ 0x80008000u;
                const uint32_t zeros[4] = { low, low, high, high };
                attn__mma_f16(zero_sums, zeros, w->q[r][ks]);
            }
        }
        w->start[2 * r] = zero_sums[0];
        w->start[2 * r + 1] = zero_sums[1];
    }
    w->raw = 0;
}

/* ---- the products of a tile --------------------------------------------------------------------------- */

/* Each is one run of instructions: where no scales come with tiles, ones lie in their place.  `careful`: 1 with groups;
 * 2 with zero points, too, and of V on the way to what is not finite.  type and careful: constants. */

/* s += the sums over the dims of block `block` times the scales of its group and of Q, for the keys 16 kk .. */
ATTN_DEVICE void ATTN_FN(_scale_sums)(const ATTN_FN(_args) *a, const ATTN_FN(_state) *w, const unsigned char *tile,
                                      int block, int kk, float (*sum)[4], float (*s)[4])
{
    const int key = 16 * kk + attn__lane() / 4;
    ATTN_UNROLL
    for (int n = 0; n < 2; ++n) {
        float by = 1.0f;
        if (ATTN_SCALED)
            by = *ATTN_FN(_scales_at)(tile + ATTN_K_SCALES, a->k_groups, a->k_shift, block, key + 8 * n);
        ATTN_UNROLL
        for (int r = 0; r < 2 * ATTN_RN; ++r) {
            float *const to = &s[r / 2][2 * n + r % 2];
            *to = fmaf(sum[r / 2][2 * n + r % 2], w->up[r] * by, *to);
        }
    }
}

/* S^T = K Q^T of the tile at `tile`, as ATTN_FN(_scores). */
ATTN_DEVICE void ATTN_FN(_scores_of)(int type, int careful, const ATTN_FN(_args) *a, const ATTN_FN(_state) *w,
                                     const unsigned char *smem, ATTN_FN(_row_at) k, const unsigned char *tile,
                                     int stage, float (*s)[ATTN_RN][4])
{
    const int per = ATTN_PER(type), pieces = ATTN_ROW_PIECES(ATTN_HEAD_DIM, type);
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NK * ATTN_RN * 4; ++n)
        s[n / 4 / ATTN_RN][n / 4 % ATTN_RN][n % 4] = 0.0f;
    ATTN_UNROLL
    for (int kk = 0; kk < ATTN_NK; ++kk) {
        float sum[2][ATTN_RN][4]; /* of two chains */
        ATTN_UNROLL
        for (int n = 0; n < pieces / 2; ++n) {
            uint32_t x[4], b[2][8]; /* keys 16 kk .. and 8 further: operands of 16 dims, each two registers */
            attn__ldmatrix_x4(x, ATTN_FN(_dims_at)(k, stage, 16 * kk, n, pieces));
            ATTN_UNROLL
            for (int i = 0; i < 4; ++i) {
                uint32_t *const to = b[i % 2] + i / 2 * per;
                ATTN_FN(_operands)(type, careful, x[i], to);
                if (ATTN_SCALED && careful > 1) {
                    const int block = n * per / 2 + (per == 4 ? i / 2 : 0);
                    const float z = *ATTN_FN(_scales_at)(tile + ATTN_K_ZEROS, a->k_groups, a->k_shift, block,
                                                         16 * kk + i % 2 * 8 + attn__lane() / 4);
                    ATTN_UNROLL
                    for (int m = 0; m < per; ++m)
                        to[m] = attn__add_f16x2(to[m], attn__pack_f16(-z, -z));
                }
            }
            ATTN_UNROLL
            for (int step = 0; step < per; ++step) {
                const int ks = n * per + step;
                const uint32_t own[4] = { b[0][2 * step], b[1][2 * step], b[0][2 * step + 1], b[1][2 * step + 1] };
                if (ks == 0 || (careful && step % 2 == 0)) {
                    ATTN_UNROLL
                    for (int e = 0; e < 4 * ATTN_RN; ++e) {
                        sum[0][e / 4][e % 4] = ATTN_RAW(type, careful) ? w->start[e / 4 * 2 + e % 2] : 0.0f;
                        sum[1][e / 4][e % 4] = 0.0f;
                    }
                }
                ATTN_UNROLL
                for (int r = 0; r < ATTN_RN; ++r) {
                    uint32_t q[2];
                    ATTN_FN(_get_q)(w, smem, r, ks, q);
                    attn__mma_f16(sum[ks % ATTN_CHAINS][r], own, q);
                }
                if (ks == pieces / 2 * per - 1 || (careful && step % 2)) {
                    if (ATTN_CHAINS > 1) {
                        ATTN_UNROLL
                        for (int e = 0; e < 4 * ATTN_RN; ++e)
                            sum[0][e / 4][e % 4] += sum[1][e / 4][e % 4];
                    }
                    ATTN_FN(_scale_sums)(a, w, tile, careful ? ks / 2 : 0, kk, sum[0], s[kk]);
                }
            }
        }
    }
}

/* P of the keys 16 kk .. as operands, times the scales of block `block` of V. */
ATTN_DEVICE void ATTN_FN(_weights)(int careful, const ATTN_FN(_args) *a, ATTN_FN(_state) *w, const unsigned char *tile,
                                   int block, int kk, float (*p)[4], uint32_t (*to)[2], uint32_t (*rest)[2])
{
    ATTN_UNROLL
    for (int n = 0; n < 2; ++n) {
        float by = 1.0f;
        if (ATTN_SCALED)
            by = *ATTN_FN(_scales_at)(tile + ATTN_V_SCALES, a->v_groups, a->v_shift, block,
                                      16 * kk + 8 * n + attn__lane() / 4);
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RN; ++r) {
            float x[2];
            ATTN_UNROLL
            for (int e = 0; e < 2; ++e) {
                x[e] = p[r][2 * n + e] * by;
                if (careful) /* what is hidden may have a scale that is not finite */
                    x[e] = p[r][2 * n + e] == 0.0f ? 0.0f : x[e];
            }
            const uint32_t pair = attn__pack_f16(x[0], x[1]);
            const float packed[2] = { attn__low_f16(pair), attn__high_f16(pair) };
            to[r][n] = attn__transpose_8x8(pair);
            if (ATTN_NARROW_EXACT && careful)
                rest[r][n] = attn__transpose_8x8(attn__pack_f16(x[0] - packed[0], x[1] - packed[1]));
            ATTN_UNROLL
            for (int e = 0; e < 2; ++e) {
                if (block == 0)
                    w->rounded[2 * r + e] += ATTN_NARROW_EXACT && careful ? x[e] : packed[e];
                if (block == 0 && ATTN_NARROW_EXACT)
                    w->scaled[2 * r + e] += x[e];
            }
        }
    }
}

/* P = 2^(S - r); O^T += V^T P^T, as ATTN_FN(_values). */
ATTN_DEVICE void ATTN_FN(_values_of)(int type, int careful, const ATTN_FN(_args) *a, ATTN_FN(_state) *w,
                                     ATTN_FN(_row_at) v_row, const unsigned char *tile, int stage,
                                     float (*s)[ATTN_RN][4])
{
    const int per = ATTN_PER(type), pieces = ATTN_ROW_PIECES(ATTN_HEAD_DIM_V, type);
    uint32_t x[4];
    if (!careful) /* before the exponentials, which else would stand before the branches, with nothing beside them */
        attn__ldmatrix_x4_trans(x, ATTN_FN(_dims_at)(v_row, stage, 0, 0, pieces));
    ATTN_FN(_exponents)(w, s);
    ATTN_UNROLL
    for (int kk = 0; kk < ATTN_NK; ++kk) {
        uint32_t weights[ATTN_RN][2], rest[ATTN_RN][2];
        ATTN_UNROLL
        for (int n = 0; n < pieces / 2; ++n) {
            uint32_t v[2][8]; /* keys 16 kk .. and 8 further: 8 dims each */
            if (careful || kk + n)
                attn__ldmatrix_x4_trans(x, ATTN_FN(_dims_at)(v_row, stage, 16 * kk, n, pieces));
            ATTN_UNROLL
            for (int i = 0; i < 4; ++i)
                ATTN_FN(_operands)(type, careful, x[i], v[i / 2] + i % 2 * per);
            ATTN_UNROLL
            for (int m = 0; m < per; ++m) {
                const uint32_t own[4] = { v[0][2 * m], v[0][2 * m + 1], v[1][2 * m], v[1][2 * m + 1] };
                const int block = n * per / 2 + m / 2;
                if (careful ? m % 2 == 0 : m + n == 0)
                    ATTN_FN(_weights)(careful, a, w, tile, block, kk, s[kk], weights, rest);
                ATTN_UNROLL
                for (int r = 0; r < ATTN_RN; ++r) {
                    ATTN_FN(_mma)(w->o[r][n * per + m], own, weights[r]);
                    if (ATTN_NARROW_EXACT && careful)
                        ATTN_FN(_mma)(w->o[r][n * per + m], own, rest[r]);
                }
                if (ATTN_SCALED && careful > 1 && a->p.v_scale.zero) {
                    const float *const z = ATTN_FN(_scales_at)(tile + ATTN_V_ZEROS, a->v_groups, a->v_shift, block,
                                                               16 * kk + attn__lane() % 4 * 2);
                    const uint32_t low = attn__pack_f16(-z[0], -z[1]), high = attn__pack_f16(-z[8], -z[9]);
                    const uint32_t zeros[4] = { low, low, high, high };
                    ATTN_UNROLL
                    for (int r = 0; r < ATTN_RN; ++r) {
                        ATTN_FN(_mma)(w->o[r][n * per + m], zeros, weights[r]);
                        if (ATTN_NARROW_EXACT)
                            ATTN_FN(_mma)(w->o[r][n * per + m], zeros, rest[r]);
                    }
                }
            }
        }
    }
}

/* The same, careful where that is asked for. */
ATTN_DEVICE void ATTN_FN(_scores)(int type, const ATTN_FN(_args) *a, const ATTN_FN(_state) *w,
                                  const unsigned char *smem, ATTN_FN(_row_at) k, const unsigned char *tile, int stage,
                                  float (*s)[ATTN_RN][4])
{
    if (!w->k_careful)
        ATTN_FN(_scores_of)(type, 0, a, w, smem, k, tile, stage, s);
    else if (ATTN_SCALED && w->k_careful == 1)
        ATTN_FN(_scores_of)(type, 1, a, w, smem, k, tile, stage, s);
    else
        ATTN_FN(_scores_of)(type, 2, a, w, smem, k, tile, stage, s);
}
ATTN_DEVICE void ATTN_FN(_values)(int type, const ATTN_FN(_args) *a, ATTN_FN(_state) *w, ATTN_FN(_row_at) v,
                                  const unsigned char *tile, int stage, float (*s)[ATTN_RN][4])
{
    if (!w->v_careful)
        ATTN_FN(_values_of)(type, 0, a, w, v, tile, stage, s);
    else if (ATTN_SCALED && w->v_careful == 1)
        ATTN_FN(_values_of)(type, 1, a, w, v, tile, stage, s);
    else
        ATTN_FN(_values_of)(type, 2, a, w, v, tile, stage, s);
}

/* Ones for all scales of V of a tile, or of K. */
ATTN_DEVICE void ATTN_FN(_put_ones)(unsigned char *scales, int groups)
{
    ATTN_NO_UNROLL
    for (int n = attn__lane(); n < (groups ? groups : 1) * ATTN_TILE_K; n += 32)
        *(float *)(void *)(scales + n * 4) = 1.0f;
}

/* Adds to the greatest score of each row in `top` what V's scales make of it: the logarithm of each key's greatest. */
ATTN_DEVICE void ATTN_FN(_tops_scaled)(const ATTN_FN(_args) *a, const ATTN_FN(_state) *w, const unsigned char *tile,
                                       float (*s)[ATTN_RN][4], float *top)
{
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_NK; ++n) {
        const float *const at = (const float *)(const void *)(tile + ATTN_V_SCALES) + 8 * n + attn__lane() / 4;
        float scale = fabsf(at[0]);
        ATTN_NO_UNROLL
        for (int g = 1; g < a->v_groups; ++g) { /* infinity, of one of them, is for its dims alone */
            const float other = fabsf(at[g * ATTN_TILE_K]);
            scale = other > scale && other < -ATTN_NEG_INF ? other : scale;
        }
        const float log = attn__max(-ATTN_SCALE_LOG, fminf(ATTN_SCALE_LOG, attn__log2(scale)));
        ATTN_UNROLL
        for (int r = 0; r < 2 * ATTN_RN; ++r) {
            const float x = fmaf(ATTN_S(s, n, r), w->unit, log);
            top[r] = n ? attn__max(top[r], x) : x;
        }
    }
}

/* ---- V that is not finite ---------------------------------------------------------------------------- */

#if ATTN_SCALED
/* The same of a tile's scales and zero points of V, after its numbers. */
ATTN_DEVICE void ATTN_FN(_split_scales)(const ATTN_FN(_args) *a, int pass, unsigned char *tile)
{
    float *const scales = (float *)(void *)(tile + ATTN_V_SCALES);
    float *const zeros = (float *)(void *)(tile + ATTN_V_ZEROS);
    ATTN_NO_UNROLL
    for (int n = attn__lane(); n < (a->v_groups ? a->v_groups : 1) * ATTN_TILE_K; n += 32) {
        if (a->p.v_scale.zero) {
            const float z = zeros[n], x = -z * scales[n];
            const int wrong = !(z - z == 0.0f), marked = x != x || (pass == 2 ? x > 0.0f : x < 0.0f);
            zeros[n] = pass == 1 ? (wrong ? 0.0f : z) : wrong && marked ? -1.0f : 0.0f;
        }
        scales[n] = pass == 1 ? scales[n] : 1.0f;
    }
}
#endif

/* The same of V's numbers in four bytes: x, of key `key`, in piece `at` of its row; scale: that of the unit. */
ATTN_DEVICE uint32_t ATTN_FN(_split_word)(int type, const ATTN_FN(_args) *a, int pass, float scale,
                                          const unsigned char *tile, int key, int at, uint32_t x)
{
    const int is_e5m2 = type == ATTN_E5M2;
    if (type >= ATTN_INT8) /* all are finite */
        return pass == 1 ? x : 0;
#if ATTN_SCALED
    const int piece = at ^ ATTN_FN(_swizzle)(key, ATTN_ROW_PIECES(ATTN_HEAD_DIM_V, type));
    if (a->v_groups)
        scale = *ATTN_FN(_scales_at)(tile + ATTN_V_SCALES, a->v_groups, a->v_shift, piece / 2, key);
#else
    (void)a, (void)tile, (void)key, (void)at;
#endif
    const uint32_t exponents = is_e5m2 ? 0x7c7c7c7cu : 0x7f7f7f7fu, lowest = is_e5m2 ? 0x04040404u : 0x01010101u;
    const uint32_t not_finite = ((x & exponents) + lowest) >> 7 & 0x01010101u;
    uint32_t nan = is_e5m2 ? ((x & 0x03030303u) + 0x03030303u) >> 2 : 0x01010101u;
    if (scale == 0.0f) /* times an infinity */
        nan = 0x01010101u;
    const uint32_t sign = ((pass == 2) != (scale < 0.0f) ? ~x : x) >> 7, one = is_e5m2 ? 0x3cu : 0x38u;
    if (pass == 1) /* the place of an infinity under an infinite scale is not 0 */
        return (x & ~(not_finite * 0xffu)) |
               (scale - scale == 0.0f ? 0 : (x & not_finite << 7) | not_finite * one);
    return (not_finite & (nan | sign)) * one;
}
