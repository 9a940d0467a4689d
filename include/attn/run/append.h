/* append.h - new tokens into a KV cache: what a call of attn_append_kv must be, and the call itself in host memory.
 * Memory of a device is for an instance of ATTN_KERNEL_APPEND, which relies on attn__append_check.
 * C11, C++ and CUDA. */
#ifndef ATTN_RUN_APPEND_H
#define ATTN_RUN_APPEND_H

#include <attn/device/rope.h>
#include <attn/run/merge.h>

/* ---- what is refused --------------------------------------------------------------------------- */

/* Scales that are to be computed: one for each token, head and group, in floats that follow in memory. */
static inline attn_status attn__append_check_scale(const char *name, const attn_scale *s, const attn__view *v,
                                                   attn__text *t)
{
    static const char *const of[] = { "sequence or page", "token", "head", "group" };
    const int64_t groups = s->group ? attn__ceil_div(v->extent[3], s->group) : 1;
    if (!s->scale)
        return attn__bad(t, "%s.scale NULL: must be set with ATTN_APPEND_SCALES", name);
    if (s->zero)
        return attn__bad(t, "%s.zero %p: must be NULL with ATTN_APPEND_SCALES, which computes symmetric scales", name,
                         (const void *)s->zero);
    for (int i = v->packed; i < 4; i++)
        if (!s->stride[i] && (i == 3 ? groups : v->extent[i]) > 1)
            return attn__bad(t, "%s.stride[%d] 0: must not be 0 with ATTN_APPEND_SCALES, each %s has its own", name, i,
                             of[i]);
    return ATTN_OK;
}

/* A new tensor and the cache that it goes to. */
static inline attn_status attn__append_check_side(const attn_append_params *a, const char *name, attn_tensor *from,
                                                  const attn__view *q, const attn__view *cache, int heads,
                                                  const char *scale_name, const attn_scale *scale, attn__text *t)
{
    const uint32_t wide = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16;
    attn_tensor *const to = cache->tensor;
    attn__view v;
    if (!from->data)
        return ATTN_OK;
    if (from->dim_block)
        return attn__bad(t, "%s.dim_block %d: must be 0", name, (int)from->dim_block);
    attn__view_set(&v, name, from, wide, q->packed, 0, q->extent[0], q->extent[1], heads, cache->extent[3]);
    attn__compact(&v);
    attn_status status = attn__check_dtype(&v, t);
    if (status == ATTN_OK)
        status = attn__check_view(&v, 0, 0, t);
    for (int i = cache->packed; i < 4 && status == ATTN_OK && to->data; i++)
        if (cache->extent[i] > 1 && !to->stride[i] && !(i == 3 && to->dim_block == cache->extent[3]))
            status = attn__bad(t, "%s.stride[%d] 0: must not be 0, tokens would overlap", cache->name, i);
    if (status == ATTN_OK && a->flags & ATTN_APPEND_SCALES && to->dtype >= ATTN_E4M3)
        status = attn__append_check_scale(scale_name, scale, cache, t);
    return status;
}

/* From the caller's structs to complete ones, as params.h promises of p, but that o, and what is not asked for, may be
 * missing.  In a: dtypes and strides are set. */
static inline attn_status attn__append_check(attn_params *p, attn_append_params *a, const attn_params *given_p,
                                             const attn_append_params *given_a, attn__text *t)
{
    attn__view view[ATTN__VIEWS], out;
    attn_status status = attn__read(a, (uint32_t)sizeof *a, given_a, t);
    if (status != ATTN_OK)
        return status;
    const attn__int_row ints[] = {
        { "flags", a->flags & ~ATTN_APPEND_FLAGS_ALL, 0, 0, "0 in all bits but ATTN_APPEND_SCALES" },
        { "k.dtype", a->k.dtype, 0, ATTN_BIT, "an element type, or 0 for q's" },
        { "v.dtype", a->v.dtype, 0, ATTN_BIT, "an element type, or 0 for q's" },
        { "q.dtype", a->q.dtype, 0, ATTN_BIT, "an element type, or 0 for q's" },
    };
    status = attn__check_ints(ints, sizeof ints / sizeof ints[0], t);
    if (status == ATTN_OK)
        status = attn__prepare_for((a->q.data ? 1u << ATTN__Q : 0u) | (a->k.data ? 1u << ATTN__K : 0u) |
                                       (a->v.data ? 1u << ATTN__V : 0u), p, given_p, t);
    if (status != ATTN_OK)
        return status;
    if (a->flags & ATTN_APPEND_SCALES && p->k.dtype < ATTN_E4M3)
        return attn__bad(t, "flags ATTN_APPEND_SCALES: needs an 8- or 4-bit k.dtype, it is %s",
                         attn__dtype_of(p->k.dtype).name);
    memset(view, 0, sizeof view);
    attn__views(p, view);
    attn_tensor *const each[] = { &a->k, &a->v, &a->q };
    for (int i = 0; i < 3; i++)
        if (!each[i]->dtype)
            each[i]->dtype = p->q.dtype;
    status = attn__append_check_side(a, "new k", &a->k, &view[ATTN__Q], &view[ATTN__K], p->heads_k, "k_scale",
                                     &p->k_scale, t);
    if (status == ATTN_OK)
        status = attn__append_check_side(a, "new v", &a->v, &view[ATTN__Q], &view[ATTN__V], p->heads_k, "v_scale",
                                         &p->v_scale, t);
    if (status != ATTN_OK || !a->q.data)
        return status;
    const attn__view *q = &view[ATTN__Q];
    const uint32_t wide = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16;
    if (p->q.dtype > ATTN_BF16)
        return attn__bad(t, "q.dtype %d (%s): must be f32 or f16 or bf16 to be rotated", (int)p->q.dtype,
                         attn__dtype_of(p->q.dtype).name);
    if (a->q.data == p->q.data)
        return attn__bad(t, "new q.data %p: must not be q.data, q is rotated out of place", a->q.data);
    attn__view_set(&out, "new q", &a->q, wide, q->packed, 1, q->extent[0], q->extent[1], q->extent[2], q->extent[3]);
    attn__compact(&out);
    status = attn__check_dtype(&out, t);
    return status == ATTN_OK ? attn__check_view(&out, 1, 0, t) : status;
}

/* ---- where things are --------------------------------------------------------------------------- */

/* A sequence: its new tokens, its tokens in the cache with them, the first of each if packed. */
typedef struct attn__append_sequence {
    int64_t len_q, len_k, base_q, base_k, position; /* position: of the first new token, for RoPE */
} attn__append_sequence;

/* 0 if a length is out of range. */
static inline int attn__append_lengths(const attn_params *p, int64_t b, attn__append_sequence *s)
{
    s->base_q = s->base_k = 0;
    s->len_q = p->seq_q;
    s->len_k = p->seq_k;
    if (p->cu_seqlens_q) {
        s->base_q = p->cu_seqlens_q[b];
        s->len_q = p->cu_seqlens_q[b + 1] - s->base_q;
        if (s->base_q < 0 || s->len_q < 0 || s->len_q > p->seq_q || s->base_q + s->len_q > p->total_q)
            return 0;
    }
    if (p->seqused_q) {
        if (p->seqused_q[b] < 0 || p->seqused_q[b] > s->len_q)
            return 0;
        s->len_q = p->seqused_q[b];
    }
    if (p->cu_seqlens_k) {
        s->base_k = p->cu_seqlens_k[b];
        s->len_k = p->cu_seqlens_k[b + 1] - s->base_k;
    } else if (p->page_indptr) {
        const int64_t pages = (int64_t)p->page_indptr[b + 1] - p->page_indptr[b], last = p->last_page_len[b];
        if (p->page_indptr[b] < 0 || pages < 0 || (pages && (last < 1 || last > p->page_size)))
            return 0;
        s->len_k = pages ? (pages - 1) * p->page_size + last : 0;
    }
    if (s->base_k < 0 || s->len_k < 0 || s->len_k > p->seq_k)
        return 0;
    if (p->seqused_k) {
        if (p->seqused_k[b] < 0 || p->seqused_k[b] > s->len_k)
            return 0;
        s->len_k = p->seqused_k[b];
    }
    s->position = p->rope_style && p->rope_offset ? p->rope_offset[b] : s->len_k - s->len_q;
    return s->len_q <= s->len_k;
}

/* Where token j of a sequence lies in the cache: [0] sequence or page, [1] token.  0 if its page is out of range. */
typedef struct attn__append_place {
    int64_t b, first, token;
} attn__append_place;

static inline int attn__append_find(const attn_params *p, int64_t b, const attn__append_sequence *s, int64_t j,
                                    attn__append_place *at)
{
    at->b = b;
    at->first = p->cu_seqlens_k ? 0 : b;
    at->token = s->base_k + j;
    if (!p->page_size)
        return 1;
    const int32_t *pages = p->block_table ? p->block_table + b * p->block_table_stride
                                          : p->page_indices + p->page_indptr[b];
    at->first = pages[j / p->page_size];
    at->token = j % p->page_size;
    return at->first >= 0 && (!p->num_pages || at->first < p->num_pages);
}

static inline int64_t attn__dim_offset(const attn_tensor *x, int64_t d)
{
    return x->dim_block ? d / x->dim_block * x->stride[3] + d % x->dim_block : d * x->stride[3];
}

/* Of the scale of group 0.  Scales of whole sequences are by sequence also where tokens are in pages. */
static inline int64_t attn__scale_offset(const attn_scale *s, const attn__append_place *at, int64_t head)
{
    return (s->stride[1] ? at->first : at->b) * s->stride[0] + at->token * s->stride[1] + head * s->stride[2];
}

/* ---- one token ---------------------------------------------------------------------------------- */

/* Sines and cosines of a token; half 0: nothing is rotated. */
typedef struct attn__append_turn {
    float sine[ATTN_ROPE_DIM_MOST / 2], cosine[ATTN_ROPE_DIM_MOST / 2];
} attn__append_turn;

/* Dim d of a row that begins at element `at`. */
static inline float attn__append_value(const attn_tensor *x, int64_t at, int d, const attn__rope *r,
                                       const attn__append_turn *turn)
{
    const float own = attn__load(x->data, at + attn__dim_offset(x, d), x->dtype);
    if (d >= 2 * r->half)
        return own;
    const int pair = attn__rope_pair(r, d);
    const float other = attn__load(x->data, at + attn__dim_offset(x, attn__rope_other(r, d)), x->dtype);
    return attn__rope_turn(attn__rope_is_first(r, d), own, other, turn->sine[pair], turn->cosine[pair]);
}

/* The largest number of a quantised type: what the greatest value of a group becomes where scales are computed. */
static inline float attn__append_most(int32_t dtype)
{
    return dtype == ATTN_E4M3 ? 448.0f : dtype == ATTN_E5M2 ? 57344.0f : dtype == ATTN_INT8 ? 127.0f : 7.0f;
}

/* x as it is stored: the code of an 8-bit type, or the number of int4. */
static inline int attn__append_code(int32_t dtype, float x)
{
    return dtype == ATTN_E4M3   ? attn__f32_to_e4m3(x)
           : dtype == ATTN_E5M2 ? attn__f32_to_e5m2(x)
                                : attn__f32_to_int(x, attn__append_most(dtype));
}

/* A row of `dim` values from element `at` of `from` to element `to_at` of `to`; the scales begin at `scale` and
 * `zero`, if there are such, `step` floats from group to group. */
static inline void attn__append_row(const attn_tensor *from, int64_t at, const attn_tensor *to, int64_t to_at, int dim,
                                    const attn__rope *r, const attn__append_turn *turn, float *scale,
                                    const float *zero, int64_t step, int group, int compute)
{
    if (to->dtype <= ATTN_BF16) {
        for (int d = 0; d < dim; d++)
            attn__store(to->data, to_at + attn__dim_offset(to, d), to->dtype, attn__append_value(from, at, d, r, turn));
        return;
    }
    for (int d0 = 0, n = 0; d0 < dim; d0 += group ? group : dim, n++) {
        const int end = group && d0 + group < dim ? d0 + group : dim;
        if (compute) {
            float most = 0;
            for (int d = d0; d < end; d++) {
                const float x = fabsf(attn__append_value(from, at, d, r, turn));
                most = x > most || x != x ? x : most;
            }
            scale[n * step] = most / attn__append_most(to->dtype);
        }
        const float by = scale ? scale[n * step] : 1.0f, add = zero ? zero[n * step] : 0.0f;
        int low = 0;
        for (int d = d0; d < end; d++) {
            const float x = attn__append_value(from, at, d, r, turn);
            const int code = attn__append_code(to->dtype, (by == 0 ? 0.0f : x / by) + add);
            const int64_t place = to_at + attn__dim_offset(to, d);
            if (to->dtype != ATTN_INT4)
                ((uint8_t *)to->data)[place] = (uint8_t)code;
            else if (d % 2)
                ((uint8_t *)to->data)[place / 2] = attn__int4_pair(low, code);
            low = code;
        }
    }
}

/* All heads of one token; 0 if it has no place. */
static inline int attn__append_token(const attn_params *p, const attn_append_params *a, const attn__rope *rope,
                                     int64_t b, const attn__append_sequence *s, int64_t i)
{
    const int compute = (a->flags & ATTN_APPEND_SCALES) != 0;
    attn__rope still = *rope;
    attn__append_turn turn;
    attn__append_place at;
    still.half = 0;
    for (int n = 0; n < rope->half; n++)
        attn__rope_angle(rope, n, s->position + i, &turn.sine[n], &turn.cosine[n]);
    const int64_t row = s->base_q + i, first = p->cu_seqlens_q ? 0 : b;
    for (int h = 0; a->q.data && h < p->heads_q; h++)
        attn__append_row(&p->q, first * p->q.stride[0] + row * p->q.stride[1] + h * p->q.stride[2], &a->q,
                         first * a->q.stride[0] + row * a->q.stride[1] + h * a->q.stride[2], p->head_dim, rope, &turn,
                         NULL, NULL, 0, 0, 0);
    if (!a->k.data && !a->v.data)
        return 1;
    if (!attn__append_find(p, b, s, s->len_k - s->len_q + i, &at))
        return 0;
    for (int is_v = 0; is_v < 2; is_v++) {
        const attn_tensor *from = is_v ? &a->v : &a->k, *to = is_v ? &p->v : &p->k;
        const attn_scale *by = is_v ? &p->v_scale : &p->k_scale;
        for (int h = 0; from->data && h < p->heads_k; h++) {
            const int64_t scale_at = attn__scale_offset(by, &at, h);
            attn__append_row(from, first * from->stride[0] + row * from->stride[1] + h * from->stride[2], to,
                             at.first * to->stride[0] + at.token * to->stride[1] + h * to->stride[2],
                             is_v ? p->head_dim_v : p->head_dim, is_v ? &still : rope, &turn,
                             by->scale ? (float *)(uintptr_t)by->scale + scale_at : NULL,
                             by->zero ? by->zero + scale_at : NULL, by->stride[3], by->group, compute);
        }
    }
    return 1;
}

/* ---- the call in host memory -------------------------------------------------------------------- */

/* ERR_ARG if a length or page number is out of range: what has a place is written all the same. */
static inline attn_status attn__append_host(const attn_params *p, const attn_append_params *a)
{
    const attn__rope rope = attn__rope_make(p->rope_style, p->rope_dim, p->rope_base, p->rope_cos, p->rope_sin);
    const int64_t rows = (int64_t)p->batch * p->seq_q;
    int bad = 0;
#ifdef _OPENMP
    int most = omp_get_max_threads(), threads = p->threads && p->threads < most ? p->threads : most;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : bad) if (rows > 64 && threads > 1)
#endif
    for (int64_t row = 0; row < rows; row++) {
        attn__append_sequence s;
        const int64_t b = row / p->seq_q, i = row % p->seq_q;
        if (!attn__append_lengths(p, b, &s))
            bad |= 1;
        else if (i < s.len_q)
            bad |= !attn__append_token(p, a, &rope, b, &s, i);
    }
    return bad ? ATTN_ERR_ARG : ATTN_OK;
}

/* In host memory, whatever `device` says: for programs without a list. */
static inline attn_status attn_run_append_kv(const attn_params *given_p, const attn_append_params *given_a)
{
    attn_params p;
    attn_append_params a;
    attn__text none = { NULL, 0 };
    attn_status status = attn__append_check(&p, &a, given_p, given_a, &none);
    return status == ATTN_OK && attn__has_work(&p) ? attn__append_host(&p, &a) : status;
}

#endif /* ATTN_RUN_APPEND_H */
