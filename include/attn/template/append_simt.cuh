/* append_simt.cuh - new tokens into a KV cache, in memory of a device: attn_append_kv.
 *
 * Included by instance.h for ATTN_KERNEL_APPEND; any GPU from Pascal on.  run/append.h computes the same in host
 * memory, and promises what is relied on here.  Memory is the limit: everything is read once and written once, 16
 * bytes at a time where strides allow.
 *
 *     strip: one new token, up to `each` heads of k, of v, or of q       a warp has 32 / lanes strips
 *                                  lanes
 *              +-----------+-----------+-----------+----           a lane: 8 dims of one head after the other, so
 *       head 0 | 8 dims    | 8 dims    |           |               that sines and cosines are computed once for all
 *       head 1 |           |           |           |
 *              +-----------+-----------+-----------+----
 *              |  a group of 32 dims, 4 lanes, has a scale  |
 *
 * Lengths and page numbers come from the caller's memory and may be wrong: they are clamped, and a token that has no
 * place then is not written. */

#include <string.h>
#include <attn/device/cuda.cuh>
#include <attn/device/math.cuh>
#include <attn/device/rope.h>
#include <attn/template/device_cuda.cuh>
#include <attn/template/element_cuda.cuh>

#define ATTN_THREADS (32 * ATTN_WARPS)
/* Heads of a strip where there are strips enough for every GPU without. */
#define ATTN_EACH_MOST 8
#define ATTN_ENOUGH    8192

enum { ATTN_FN(_new_k), ATTN_FN(_new_v), ATTN_FN(_new_q), ATTN_FN(_sides) };

/* What goes where: k, v or q. */
typedef struct ATTN_FN(_side) {
    attn_tensor from, to;
    attn_scale scale;
    int32_t heads, dim, rotated;
    int32_t strips;             /* of a token */
    int32_t wide_from, wide_to; /* in pieces of 8 elements */
    int32_t compute;            /* scales */
} ATTN_FN(_side);

typedef struct ATTN_FN(_args) {
    attn_params p;
    ATTN_FN(_side) side[ATTN_FN(_sides)];
    attn__rope rope;
    int64_t strips;
    int32_t per_token; /* strips */
    int32_t each;      /* heads of a strip */
    int32_t lanes;     /* of a strip, a power of two */
    int32_t dims;      /* the most of all sides */
    int32_t compute;   /* scales */
    int32_t tall;      /* of whole heads that have more dims than the lanes hold at once */
} ATTN_FN(_args);

/* A strip of work; no heads: there is none. */
typedef struct ATTN_FN(_strip) {
    int side, head, heads;
    int64_t position;
    int64_t from, to, scale; /* elements where head 0 begins */
} ATTN_FN(_strip);

ATTN_DEVICE int64_t ATTN_FN(_clamp)(int64_t x, int64_t most)
{
    return x < 0 ? 0 : x > most ? most : x;
}

/* The sequence of packed row `row`: the last that begins at it or before. */
ATTN_DEVICE int ATTN_FN(_sequence_of)(const attn_params *p, int64_t row)
{
    int low = 0, high = p->batch;
    while (high - low > 1) {
        const int middle = (int)(((unsigned)low + (unsigned)high) / 2);
        if (p->cu_seqlens_q[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Strip `number`. */
ATTN_DEVICE ATTN_FN(_strip) ATTN_FN(_strip_make)(const ATTN_FN(_args) *a, int64_t number)
{
    const attn_params *p = &a->p;
    ATTN_FN(_strip) s;
    memset(&s, 0, sizeof s);
    if (number >= a->strips)
        return s;
    /* 64-bit division takes a hundred instructions. */
    const int few = a->strips <= INT32_MAX;
    int64_t row = few ? (int64_t)((unsigned)number / (unsigned)a->per_token) : number / a->per_token;
    int64_t first = 0, i, len_q = p->seq_q, len_k = p->seq_k, base_k = 0;
    int part = (int)(number - row * a->per_token), b;
    if (p->cu_seqlens_q) {
        b = ATTN_FN(_sequence_of)(p, row);
        i = row - p->cu_seqlens_q[b];
        len_q = ATTN_FN(_clamp)((int64_t)p->cu_seqlens_q[b + 1] - p->cu_seqlens_q[b], p->seq_q);
    } else {
        b = few ? (int)((unsigned)row / (unsigned)p->seq_q) : (int)(row / p->seq_q);
        i = row = row - (int64_t)b * p->seq_q;
        first = b;
    }
    if (p->seqused_q)
        len_q = ATTN_FN(_clamp)(p->seqused_q[b], len_q);
    if (i < 0 || i >= len_q)
        return s;
    if (p->cu_seqlens_k) {
        base_k = p->cu_seqlens_k[b] < 0 ? 0 : p->cu_seqlens_k[b];
        len_k = ATTN_FN(_clamp)(p->cu_seqlens_k[b + 1] - base_k, p->seq_k);
    } else if (p->page_indptr) {
        const int64_t pages = (int64_t)p->page_indptr[b + 1] - p->page_indptr[b];
        len_k = pages > 0 ? ATTN_FN(_clamp)((pages - 1) * p->page_size + p->last_page_len[b], p->seq_k) : 0;
    }
    if (p->seqused_k)
        len_k = ATTN_FN(_clamp)(p->seqused_k[b], len_k);
    for (; part >= a->side[s.side].strips; ++s.side)
        part -= a->side[s.side].strips;
    const ATTN_FN(_side) *side = &a->side[s.side];
    s.head = part * a->each;
    s.heads = side->heads - s.head < a->each ? side->heads - s.head : a->each;
    s.position = (p->rope_style && p->rope_offset ? p->rope_offset[b] : len_k - len_q) + i;
    s.from = first * side->from.stride[0] + row * side->from.stride[1];
    if (s.side == ATTN_FN(_new_q)) {
        s.to = first * side->to.stride[0] + row * side->to.stride[1];
        return s;
    }
    const int64_t j = len_k - len_q + i;
    int64_t place = p->cu_seqlens_k ? 0 : b, token = base_k + j;
    if (p->page_size && j >= 0) {
        const int32_t *pages = p->block_table ? p->block_table + b * p->block_table_stride
                                              : p->page_indices + p->page_indptr[b];
        const int entry = (int)((unsigned)j / (unsigned)p->page_size);
        place = pages[entry];
        token = j - (int64_t)entry * p->page_size;
    }
    if (j < 0 || place < 0 || (p->page_size && p->num_pages && place >= p->num_pages))
        s.heads = 0;
    s.to = place * side->to.stride[0] + token * side->to.stride[1];
    s.scale = (side->scale.stride[1] ? place : b) * side->scale.stride[0] + token * side->scale.stride[1];
    return s;
}

ATTN_DEVICE int64_t ATTN_FN(_dim_at)(const attn_tensor *t, int d)
{
    return t->dim_block ? d / t->dim_block * t->stride[3] + d % t->dim_block : d * t->stride[3];
}

/* Eight dims of a row from d on; zeros beyond its last.  plain: as _strips has it. */
ATTN_DEVICE void ATTN_FN(_read)(const ATTN_FN(_side) *side, int plain, int64_t at, int d, float *x)
{
    if (plain || (side->wide_from && d < side->dim)) {
        ATTN_FN(_get8)(side->from.data, at + d, side->from.dtype, x);
        return;
    }
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e)
        x[e] = d + e < side->dim
                   ? ATTN_FN(_get)(side->from.data, at + (d + e) * side->from.stride[3], side->from.dtype)
                   : 0.0f;
}

/* The angles of eight dims from d on. */
ATTN_DEVICE void ATTN_FN(_angles)(const attn__rope *r, int rotated, int64_t position, int d, float *sine, float *cosine)
{
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e) {
        sine[e] = 0.0f;
        cosine[e] = 1.0f;
    }
    if (!rotated || d >= 2 * r->half)
        return;
    double f = attn__rope_frequency(r, attn__rope_pair(r, d));
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e) {
        const int pair = attn__rope_pair(r, d + e);
        if (r->style == ATTN_ROPE_INTERLEAVED && e % 2) {
            sine[e] = sine[e - 1];
            cosine[e] = cosine[e - 1];
            f *= r->power[0]; /* of the next pair */
        } else if (d + e < 2 * r->half) {
            f = pair ? f : r->unit;
            attn__rope_angle_of(r, pair, f, position, &sine[e], &cosine[e]);
            f *= r->style == ATTN_ROPE_INTERLEAVED ? 1.0 : r->power[0];
        }
    }
}

/* The same dims, rotated. */
ATTN_DEVICE void ATTN_FN(_read_rotated)(const ATTN_FN(_side) *side, const attn__rope *r, int plain, int64_t at, int d,
                                        const float *sine, const float *cosine, float *x)
{
    float other[8];
    ATTN_FN(_read)(side, plain, at, d, x);
    if (d >= 2 * r->half)
        return;
    if (r->style == ATTN_ROPE_INTERLEAVED) {
        ATTN_UNROLL
        for (int e = 0; e < 8; ++e)
            other[e] = x[e ^ 1];
    } else if (plain || (side->wide_from && r->half % 8 == 0)) {
        ATTN_FN(_read)(side, plain, at, attn__rope_other(r, d), other);
    } else {
        ATTN_UNROLL
        for (int e = 0; e < 8; ++e)
            other[e] = d + e < 2 * r->half ? ATTN_FN(_get)(side->from.data,
                                                           at + attn__rope_other(r, d + e) * side->from.stride[3],
                                                           side->from.dtype)
                                           : 0.0f;
    }
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e)
        if (d + e < 2 * r->half)
            x[e] = attn__rope_turn(attn__rope_is_first(r, d + e), x[e], other[e], sine[e], cosine[e]);
}

/* The greatest of |x| as bits, of which those of a NaN are the greatest, in groups of `dims` dims, 8 of each lane. */
ATTN_DEVICE int ATTN_FN(_most)(int most, int lanes, int dims)
{
    for (int w = 1; w < lanes; w *= 2) { /* all lanes come to each shuffle, whatever their group is */
        const int other = (int)attn__f32_bits(attn__shuffle_xor(attn__f32_from_bits((uint32_t)most), w));
        most = other > most && 8 * w < dims ? other : most;
    }
    return most;
}
ATTN_DEVICE int ATTN_FN(_most_of)(const float *x, int most)
{
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e) {
        const int bits = (int)(attn__f32_bits(x[e]) & 0x7fffffffu);
        most = bits > most ? bits : most;
    }
    return most;
}

/* The largest number of a quantised type. */
ATTN_DEVICE float ATTN_FN(_largest)(int dtype)
{
    return dtype == ATTN_E4M3 ? 448.0f : dtype == ATTN_E5M2 ? 57344.0f : dtype == ATTN_INT8 ? 127.0f : 7.0f;
}

/* Eight numbers as they are stored, of 8 bits or of 4. */
ATTN_DEVICE void ATTN_FN(_write_narrow)(const ATTN_FN(_side) *side, int64_t at, int d, const float *x)
{
    uint8_t *const to = (uint8_t *)side->to.data;
    const int dtype = side->to.dtype, bits = dtype == ATTN_INT4 ? 4 : 8, mask = (1 << bits) - 1;
    uint32_t word[2] = { 0, 0 };
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e) {
        const int code = dtype == ATTN_E4M3   ? attn__f32_to_e4m3(x[e])
                         : dtype == ATTN_E5M2 ? attn__f32_to_e5m2(x[e])
                                              : attn__f32_to_int(x[e], ATTN_FN(_largest)(dtype));
        const uint32_t here = (uint32_t)(code & mask);
        if (bits == 8)
            word[e / 4] |= here << (8 * (e % 4));
        else
            word[0] |= here << (4 * e);
    }
    if (side->wide_to && bits == 8) {
        *(uint2 *)(void *)(to + at + ATTN_FN(_dim_at)(&side->to, d)) = make_uint2(word[0], word[1]);
    } else if (side->wide_to) {
        *(uint32_t *)(void *)(to + (at + ATTN_FN(_dim_at)(&side->to, d)) / 2) = word[0];
    } else {
        ATTN_UNROLL
        for (int e = 0; e < 8; ++e)
            if (d + e < side->dim && bits == 8)
                to[at + ATTN_FN(_dim_at)(&side->to, d + e)] = (uint8_t)(word[e / 4] >> (8 * (e % 4)));
            else if (d + e < side->dim && e % 2 == 0)
                to[(at + ATTN_FN(_dim_at)(&side->to, d + e)) / 2] = (uint8_t)(word[0] >> (4 * e));
    }
}

ATTN_DEVICE void ATTN_FN(_write)(const ATTN_FN(_side) *side, int plain, int64_t at, int d, const float *x)
{
    if (plain || side->wide_to) {
        ATTN_FN(_put8)(side->to.data, at + ATTN_FN(_dim_at)(&side->to, d), side->to.dtype, x);
    } else {
        ATTN_UNROLL
        for (int e = 0; e < 8; ++e)
            if (d + e < side->dim)
                ATTN_FN(_put)(side->to.data, at + ATTN_FN(_dim_at)(&side->to, d + e), side->to.dtype, x[e]);
    }
}

/* Eight dims of the head: zeros if there is no such head or dim. */
ATTN_DEVICE void ATTN_FN(_take)(const ATTN_FN(_args) *a, const ATTN_FN(_strip) *s, int plain, int h, int d,
                                const float *sine, const float *cosine, float *x)
{
    const ATTN_FN(_side) *side = &a->side[s->side];
    const int64_t at = s->from + (s->head + h) * side->from.stride[2];
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e)
        x[e] = 0.0f;
    if (h >= s->heads || d >= side->dim)
        return;
    if (side->rotated)
        ATTN_FN(_read_rotated)(side, &a->rope, plain, at, d, sine, cosine, x);
    else
        ATTN_FN(_read)(side, plain, at, d, x);
}

/* Eight dims of a narrow type, divided by their scale; most: of the group, where that is computed. */
ATTN_DEVICE void ATTN_FN(_scale)(const ATTN_FN(_side) *side, const ATTN_FN(_strip) *s, int h, int d, int most, float *x)
{
    const attn_scale *scale = &side->scale;
    const int group = scale->group ? scale->group : side->dim;
    const int64_t at = s->scale + (s->head + h) * scale->stride[2] + d / group * scale->stride[3];
    float by, add = 0.0f;
    if (side->compute) {
        by = attn__f32_from_bits((uint32_t)most) / ATTN_FN(_largest)(side->to.dtype);
        if (d % group == 0)
            ((float *)(uintptr_t)scale->scale)[at] = by;
    } else {
        by = scale->scale[at];
        add = scale->zero ? scale->zero[at] : 0.0f;
    }
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e)
        x[e] = (by == 0.0f ? 0.0f : x[e] / by) + add;
}

/* The greatest of the groups of a head's dims that the lanes hold, or of all its dims if that is more than they hold.
 * Every lane of a warp comes here. */
ATTN_DEVICE int ATTN_FN(_greatest)(const ATTN_FN(_args) *a, const ATTN_FN(_strip) *s, int h, int d)
{
    const ATTN_FN(_side) *side = &a->side[s->side];
    const int step = 8 * a->lanes, group = side->scale.group, rotated = side->rotated && s->heads;
    float sine[8], cosine[8], x[8];
    int most = 0;
    ATTN_NO_UNROLL
    for (int t = a->tall ? d % step : d; t < (a->tall ? a->dims + step : d + 1); t += step) {
        ATTN_FN(_angles)(&a->rope, rotated, s->position, t, sine, cosine);
        ATTN_FN(_take)(a, s, 0, h, t, sine, cosine, x);
        if (!group || t == d)
            most = ATTN_FN(_most_of)(x, most);
    }
    return ATTN_FN(_most)(most, a->lanes, group ? group : step);
}

/* All strips of a block.  plain, a constant: nothing is stored in 8 or 4 bits, and all rows move in pieces of 8. */
ATTN_DEVICE void ATTN_FN(_strips)(const ATTN_FN(_args) *a, int plain)
{
    const int lanes = a->lanes, own = 8 * (attn__lane() & (lanes - 1)), step = 8 * lanes;
    const int heads = plain ? 4 : 1; /* at once, so that their loads are under way together */
    const int64_t at_once = (int64_t)gridDim.x * (ATTN_THREADS / lanes);
    const int64_t before = ((int64_t)blockIdx.x * ATTN_THREADS + threadIdx.x / 32 * 32) / lanes;
    for (int64_t n = before; n < a->strips; n += at_once) {
        const ATTN_FN(_strip) s = ATTN_FN(_strip_make)(a, n + attn__lane() / lanes);
        const ATTN_FN(_side) *side = &a->side[s.side];
        ATTN_NO_UNROLL
        for (int d = own; d < a->dims + own; d += step) {
            float sine[8], cosine[8];
            ATTN_FN(_angles)(&a->rope, side->rotated && s.heads, s.position, d, sine, cosine);
            ATTN_NO_UNROLL
            for (int h = 0; h < a->each; h += heads) {
                float x[4][8];
                const int most = !plain && a->compute ? ATTN_FN(_greatest)(a, &s, h, d) : 0;
                ATTN_UNROLL
                for (int e = 0; e < heads; ++e)
                    ATTN_FN(_take)(a, &s, plain, h + e, d, sine, cosine, x[e]);
                ATTN_UNROLL
                for (int e = 0; e < heads; ++e) {
                    if (h + e >= s.heads || d >= side->dim)
                        continue;
                    const int64_t to = s.to + (s.head + h + e) * side->to.stride[2];
                    if (!plain && side->to.dtype > ATTN_BF16) {
                        if (side->scale.scale)
                            ATTN_FN(_scale)(side, &s, h + e, d, most, x[e]);
                        ATTN_FN(_write_narrow)(side, to, d, x[e]);
                    } else {
                        ATTN_FN(_write)(side, plain, to, d, x[e]);
                    }
                }
            }
        }
    }
}

ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, 2)
{
    ATTN_FN(_strips)(&a, 0);
}
ATTN_GLOBAL(ATTN_FN(_plain_kernel), ATTN_FN(_args), ATTN_THREADS, 2)
{
    ATTN_FN(_strips)(&a, 1);
}

static attn_status ATTN_FN(_launch)(const attn_params *p, const attn_append_params *n, void *stream)
{
    ATTN_FN(_args) a;
    const attn_tensor *const from[] = { &n->k, &n->v, &p->q }, *const to[] = { &p->k, &p->v, &n->q };
    const int compute = (n->flags & ATTN_APPEND_SCALES) != 0;
    int plain = p->k.dtype <= ATTN_BF16 && (p->rope_style == ATTN_ROPE_INTERLEAVED || p->rope_dim % 16 == 0);
    memset(&a, 0, sizeof a);
    a.p = *p;
    a.rope = attn__rope_make(p->rope_style, p->rope_dim, p->rope_base, p->rope_cos, p->rope_sin);
    for (int i = 0; i < ATTN_FN(_sides); ++i) {
        ATTN_FN(_side) *s = &a.side[i];
        s->from = *from[i];
        s->to = *to[i];
        s->heads = i == ATTN_FN(_new_q) ? p->heads_q : p->heads_k;
        s->dim = i == ATTN_FN(_new_v) ? p->head_dim_v : p->head_dim;
        s->rotated = i != ATTN_FN(_new_v) && p->rope_style;
        if (!(i == ATTN_FN(_new_q) ? to : from)[i]->data)
            continue;
        if (i != ATTN_FN(_new_q))
            s->scale = i == ATTN_FN(_new_k) ? p->k_scale : p->v_scale;
        s->compute = compute && i != ATTN_FN(_new_q);
        s->strips = s->heads;
        const int bits_from = s->from.dtype == ATTN_F32 ? 32 : 16;
        const int bits_to = s->to.dtype == ATTN_F32    ? 32
                            : s->to.dtype <= ATTN_BF16 ? 16
                            : s->to.dtype == ATTN_INT4 ? 4
                                                       : 8;
        s->wide_from = ATTN_FN(_in_pieces)(&s->from, s->dim, 8, bits_from, 16);
        s->wide_to = ATTN_FN(_in_pieces)(&s->to, s->dim, 8, bits_to, bits_to < 16 ? bits_to : 16);
        plain &= s->wide_from && s->wide_to;
        a.dims = s->dim > a.dims ? s->dim : a.dims;
        a.per_token += s->strips;
    }
    const int64_t rows = p->cu_seqlens_q ? p->total_q : (int64_t)p->batch * p->seq_q;
    for (a.each = 1; a.each < ATTN_EACH_MOST && rows * a.per_token / (2 * a.each) >= ATTN_ENOUGH; a.each *= 2)
        ;
    a.per_token = 0;
    for (int i = 0; i < ATTN_FN(_sides); ++i) {
        a.side[i].strips = (a.side[i].strips + a.each - 1) / a.each;
        a.per_token += a.side[i].strips;
    }
    a.strips = rows * a.per_token;
    if (!a.strips)
        return ATTN_OK;
    for (a.lanes = 1; a.lanes < 32 && 8 * a.lanes < a.dims; a.lanes *= 2)
        ;
    a.compute = a.side[ATTN_FN(_new_k)].compute | a.side[ATTN_FN(_new_v)].compute;
    a.tall = 8 * a.lanes < a.dims && (!p->k_scale.group || !p->v_scale.group);
    const int64_t per_block = ATTN_THREADS / a.lanes, blocks = (a.strips + per_block - 1) / per_block;
    const unsigned grid = blocks < ATTN_GRID_MOST ? (unsigned)blocks : ATTN_GRID_MOST;
    const cudaError_t e = plain ? ATTN_LAUNCH(ATTN_FN(_plain_kernel), grid, ATTN_THREADS, 0, stream, &a)
                                : ATTN_LAUNCH(ATTN_FN(_kernel), grid, ATTN_THREADS, 0, stream, &a);
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#define ATTN_SHARED_BYTES 0
#define ATTN_ROW_ALIGN    0
#define ATTN_DEVICE_FN    ATTN_FN(_device)

#undef ATTN_THREADS
#undef ATTN_EACH_MOST
#undef ATTN_ENOUGH
