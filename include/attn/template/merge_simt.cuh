/* merge_simt.cuh - partial results over disjoint keys into one, in memory of a device: attn_merge.
 *
 * Included by instance.h for ATTN_KERNEL_MERGE; any GPU from Pascal on.  A warp has a row; lanes lie along the columns,
 * four at a time where they lie side by side.  Reads each part once, so memory is the limit.  run/merge.h computes the
 * same in host memory, and promises what is relied on here. */

#include <string.h>
#include <attn/device/cuda.cuh>
#include <attn/device/math.cuh>
#include <attn/template/device_cuda.cuh>
#include <attn/template/element_cuda.cuh>

#define ATTN_LOG2E 1.44269504088896340736f
#define ATTN_LN2   0.69314718055994530942f
#define ATTN_NEG_INF attn__f32_from_bits(0xff800000u)
#define ATTN_THREADS (32 * ATTN_WARPS)

typedef struct ATTN_FN(_args) {
    attn_merge_params p;
    int64_t rows;
    int32_t by_four; /* columns can be moved four at a time */
} ATTN_FN(_args);

ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, 4)
{
    const attn_merge_params *p = &a.p;
    const int base2 = (p->flags & ATTN_LSE_BASE2) != 0, lane = attn__lane();
    const float unit = base2 ? 1.0f : ATTN_LOG2E;
    const int64_t step = (int64_t)gridDim.x * ATTN_WARPS;
    for (int64_t n = (int64_t)blockIdx.x * ATTN_WARPS + threadIdx.x / 32; n < a.rows; n += step) {
        const int64_t h = n % p->heads_q, at = n / p->heads_q, i = at % p->seq_q, b = at / p->seq_q;
        const float *lse = p->part_lse + b * p->part_lse_stride[1] + h * p->part_lse_stride[2] + i;
        const int64_t from = b * p->part_o.stride[0] + i * p->part_o.stride[1] + h * p->part_o.stride[2];
        const int64_t to = b * p->o.stride[0] + i * p->o.stride[1] + h * p->o.stride[2];
        const float sink = p->sink_logits ? p->sink_logits[h] * (base2 ? ATTN_LOG2E : 1.0f) : ATTN_NEG_INF;
        float most = sink, sum = 0.0f;
        for (int s = 0; s < p->parts; ++s) {
            const float l = lse[s * p->part_lse_stride[0]];
            most = l > most || l != l ? l : most;
        }
        if (sink != ATTN_NEG_INF)
            sum = attn__exp2((sink - most) * unit);
        for (int s = 0; s < p->parts; ++s) {
            const float l = lse[s * p->part_lse_stride[0]];
            if (l != ATTN_NEG_INF)
                sum += attn__exp2((l - most) * unit);
        }
        const int wide = a.by_four ? 4 : 1;
        for (int d = lane * wide; d < p->head_dim_v; d += 32 * wide) {
            float x[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            for (int s = 0; s < p->parts; ++s) {
                const float l = lse[s * p->part_lse_stride[0]];
                if (l == ATTN_NEG_INF) /* what has seen no key has nothing to say */
                    continue;
                const float w = attn__exp2((l - most) * unit) / sum;
                const int64_t part = s * p->part_o_stride + from + d * p->part_o.stride[3];
                float y[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
                if (a.by_four)
                    ATTN_FN(_get4)(p->part_o.data, part, p->part_o.dtype, y);
                else
                    y[0] = ATTN_FN(_get)(p->part_o.data, part, p->part_o.dtype);
                ATTN_UNROLL
                for (int e = 0; e < 4; ++e)
                    x[e] += w * y[e];
            }
            if (a.by_four)
                ATTN_FN(_put4)(p->o.data, to + d, p->o.dtype, x);
            else
                ATTN_FN(_put)(p->o.data, to + d * p->o.stride[3], p->o.dtype, x[0]);
        }
        __syncwarp(); /* all lanes have read lse, which may be where the parts' are */
        if (p->lse && lane == 0)
            p->lse[b * p->lse_stride[0] + h * p->lse_stride[1] + i] =
                most == ATTN_NEG_INF ? ATTN_NEG_INF : most + attn__log2(sum) * (base2 ? 1.0f : ATTN_LN2);
    }
}

static attn_status ATTN_FN(_launch)(const attn_merge_params *p, void *stream)
{
    ATTN_FN(_args) a;
    const int part_bits = p->part_o.dtype == ATTN_F32 ? 32 : 16, o_bits = p->o.dtype == ATTN_F32 ? 32 : 16;
    attn_tensor parts = p->part_o;
    memset(&a, 0, sizeof a);
    a.p = *p;
    a.rows = (int64_t)p->batch * p->seq_q * p->heads_q;
    parts.stride[0] |= p->part_o_stride; /* of any part */
    a.by_four = ATTN_FN(_in_pieces)(&parts, p->head_dim_v, 4, part_bits, part_bits / 2) &&
                ATTN_FN(_in_pieces)(&p->o, p->head_dim_v, 4, o_bits, o_bits / 2);
    const int64_t blocks = (a.rows + ATTN_WARPS - 1) / ATTN_WARPS;
    const unsigned grid = blocks < ATTN_GRID_MOST ? (unsigned)blocks : ATTN_GRID_MOST;
    const cudaError_t e = ATTN_LAUNCH(ATTN_FN(_kernel), grid, ATTN_THREADS, 0, stream, &a);
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#define ATTN_SHARED_BYTES 0
#define ATTN_ROW_ALIGN    0
#define ATTN_DEVICE_FN    ATTN_FN(_device)

#undef ATTN_LOG2E
#undef ATTN_LN2
#undef ATTN_NEG_INF
#undef ATTN_THREADS
