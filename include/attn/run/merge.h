/* merge.h - merge of partial results over disjoint keys: split-KV, cascade, ring.  C11, C++ and CUDA. */
#ifndef ATTN_RUN_MERGE_H
#define ATTN_RUN_MERGE_H

#include <attn/run/validate.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static inline float attn__load(const void *data, int64_t i, int32_t dtype)
{
    if (dtype == ATTN_F32)
        return ((const float *)data)[i];
    uint16_t h = ((const uint16_t *)data)[i];
    return dtype == ATTN_F16 ? attn__f16_to_f32(h) : attn__bf16_to_f32(h);
}

static inline void attn__store(void *data, int64_t i, int32_t dtype, float f)
{
    if (dtype == ATTN_F32)
        ((float *)data)[i] = f;
    else
        ((uint16_t *)data)[i] = dtype == ATTN_F16 ? attn__f32_to_f16(f) : attn__f32_to_bf16(f);
}

static inline attn_status attn__merge_check(attn_merge_params *p, const attn_merge_params *given, attn__text *t)
{
    attn_status status = attn__read(p, (uint32_t)sizeof *p, given, t);
    if (status != ATTN_OK)
        return status;
    const uint32_t types = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16;
    const attn__int_row ints[] = {
        { "flags", p->flags & ~ATTN_LSE_BASE2, 0, 0, "0 in all bits but ATTN_LSE_BASE2" },
        { "parts", p->parts, 1, INT32_MAX, NULL },
        { "batch", p->batch, 0, INT32_MAX, NULL },
        { "seq_q", p->seq_q, 0, INT32_MAX, NULL },
        { "heads_q", p->heads_q, 1, INT32_MAX, NULL },
        { "head_dim_v", p->head_dim_v, 1, 65536, NULL },
        { "threads", p->threads, 0, 1024, NULL },
        { "device", p->device, 0, ATTN_DEVICE_CUDA, "ATTN_DEVICE_CPU, ATTN_DEVICE_CUDA, or 0" },
    };
    status = attn__check_ints(ints, sizeof ints / sizeof ints[0], t);
    if (status != ATTN_OK)
        return status;

    int work = p->batch > 0 && p->seq_q > 0;
    attn__view part, o;
    if (!p->o.dtype)
        p->o.dtype = ATTN_F32;
    attn__view_set(&part, "part_o", &p->part_o, types, 0, work, p->batch, p->seq_q, p->heads_q, p->head_dim_v);
    attn__view_set(&o, "o", &p->o, types, 0, work, p->batch, p->seq_q, p->heads_q, p->head_dim_v);
    attn__compact(&part);
    attn__compact(&o);
    int64_t rows = attn__mul(attn__mul(p->batch, p->heads_q), p->seq_q);
    if (!p->part_o_stride)
        p->part_o_stride = attn__mul(rows, p->head_dim_v);
    if (!p->part_lse_stride[0] && !p->part_lse_stride[1] && !p->part_lse_stride[2]) {
        p->part_lse_stride[0] = rows;
        p->part_lse_stride[1] = attn__mul(p->heads_q, p->seq_q);
        p->part_lse_stride[2] = p->seq_q;
    }
    if (!p->lse_stride[0] && !p->lse_stride[1]) {
        p->lse_stride[0] = attn__mul(p->heads_q, p->seq_q);
        p->lse_stride[1] = p->seq_q;
    }

    status = attn__check_dtype(&part, t);
    if (status == ATTN_OK)
        status = attn__check_dtype(&o, t);
    if (status == ATTN_OK && p->part_o.dim_block)
        status = attn__bad(t, "part_o.dim_block %d: must be 0", (int)p->part_o.dim_block);
    if (status == ATTN_OK)
        status = attn__check_view(&part, 0, 0, t);
    if (status == ATTN_OK)
        status = attn__check_view(&o, 1, 0, t);
    if (status == ATTN_OK && p->lse)
        status = attn__check_lse("lse_stride", p->lse_stride, p->batch, p->heads_q, p->seq_q, t);
    if (status != ATTN_OK)
        return status;

    const attn__pointer_row pointers[] = {
        { "part_lse", p->part_lse }, { "sink_logits", p->sink_logits }, { "lse", p->lse }
    };
    if (work && !p->part_lse)
        return attn__bad(t, "part_lse NULL: must be set, there is work to do");
    for (size_t i = 0; i < sizeof pointers / sizeof pointers[0]; i++)
        if ((uintptr_t)pointers[i].pointer % 4)
            return attn__bad(t, "%s %p: must be a multiple of 4 bytes", pointers[i].field, pointers[i].pointer);
    int64_t extent[4] = { p->parts, p->batch, p->heads_q, p->seq_q };
    int64_t stride[4] = { p->part_lse_stride[0], p->part_lse_stride[1], p->part_lse_stride[2], 1 };
    int widest = 0;
    int64_t far = attn__add(attn__mul(p->parts - 1, attn__abs(p->part_o_stride)),
                            attn__reach(part.extent, p->part_o.stride, 4, &widest));
    if (rows == INT64_MAX || far > INT64_MAX / 8 || attn__reach(extent, stride, 4, &widest) > INT64_MAX / 8)
        return attn__bad(t, "part_o_stride %lld: too large, the parts would span over 2^63 bytes",
                         (long long)p->part_o_stride);
    return ATTN_OK;
}

/* By bits, so that it also holds where the compiler was told that there is no infinity. */
static inline int attn__is_empty(float lse)
{
    return attn__f32_bits(lse) == 0xff800000u;
}

/* One row.  The sink is one more part whose o is 0.  A NaN or +inf in any lse ends up in the result. */
static inline void attn__merge_row(const attn_merge_params *p, int64_t b, int64_t i, int64_t h)
{
    enum { BLOCK = 64 }; /* dims at a time: the weights are made again for each block, so nothing is allocated */
    const int base2 = (p->flags & ATTN_LSE_BASE2) != 0;
    const float nothing = attn__f32_from_bits(0xff800000u);
    const float sink = p->sink_logits ? p->sink_logits[h] * (base2 ? 1.44269504088896f : 1.0f) : nothing;
    const float *lse = p->part_lse + b * p->part_lse_stride[1] + h * p->part_lse_stride[2] + i;
    const int64_t from = b * p->part_o.stride[0] + i * p->part_o.stride[1] + h * p->part_o.stride[2];
    const int64_t to = b * p->o.stride[0] + i * p->o.stride[1] + h * p->o.stride[2];
    float most = sink, sum = 0;
    for (int32_t n = 0; n < p->parts; n++) {
        float l = lse[n * p->part_lse_stride[0]];
        most = l > most || l != l ? l : most;
    }
    if (!attn__is_empty(sink))
        sum = base2 ? exp2f(sink - most) : expf(sink - most);
    for (int32_t n = 0; n < p->parts; n++) {
        float l = lse[n * p->part_lse_stride[0]];
        if (!attn__is_empty(l))
            sum += base2 ? exp2f(l - most) : expf(l - most);
    }
    const int empty = attn__is_empty(most);
    for (int32_t d0 = 0; d0 < p->head_dim_v; d0 += BLOCK) {
        int32_t dims = p->head_dim_v - d0 < BLOCK ? p->head_dim_v - d0 : BLOCK;
        float acc[BLOCK] = { 0 };
        for (int32_t n = 0; n < p->parts; n++) {
            float l = lse[n * p->part_lse_stride[0]];
            if (attn__is_empty(l))
                continue;
            float w = (base2 ? exp2f(l - most) : expf(l - most)) / sum;
            int64_t at = n * p->part_o_stride + from + d0 * p->part_o.stride[3];
            for (int32_t d = 0; d < dims; d++)
                acc[d] += w * attn__load(p->part_o.data, at + d * p->part_o.stride[3], p->part_o.dtype);
        }
        for (int32_t d = 0; d < dims; d++)
            attn__store(p->o.data, to + (d0 + d) * p->o.stride[3], p->o.dtype, acc[d]);
    }
    if (p->lse)
        p->lse[b * p->lse_stride[0] + h * p->lse_stride[1] + i] =
            empty ? nothing : most + (base2 ? log2f(sum) : logf(sum));
}

/* All of it, in host memory. */
static inline void attn__merge_host(const attn_merge_params *p)
{
    const int64_t rows = (int64_t)p->batch * p->heads_q * p->seq_q;
#ifdef _OPENMP
    int most = omp_get_max_threads(), threads = p->threads && p->threads < most ? p->threads : most;
#pragma omp parallel for schedule(static) num_threads(threads) if (rows > 64 && threads > 1)
#endif
    for (int64_t row = 0; row < rows; row++) {
        int64_t h = row % p->heads_q, bi = row / p->heads_q;
        attn__merge_row(p, bi / p->seq_q, bi % p->seq_q, h);
    }
}

/* In host memory, whatever `device` says: for programs without a list. */
static inline attn_status attn_run_merge(const attn_merge_params *given)
{
    attn_merge_params p;
    attn__text none = { NULL, 0 };
    attn_status status = attn__merge_check(&p, given, &none);
    if (status == ATTN_OK)
        attn__merge_host(&p);
    return status;
}

#endif /* ATTN_RUN_MERGE_H */
