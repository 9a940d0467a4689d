/* rope_cuda.cuh - with ATTN_ROPE: a kernel ahead of the real one that writes q, rotated, to the workspace.
 *
 * Included by launch_cuda.cuh, no guard.  Done within the kernel it would be done again for each tile of keys where q
 * comes in slices, and for each part of the keys everywhere; q is small beside k and v.  Rounded to q's type, as it is
 * where a model rotates q by itself. */

#include <attn/device/rope.h>

#define ATTN_ROTATE_THREADS 128

typedef struct ATTN_FN(_rotate_args) {
    ATTN_FN(_args) a; /* of which p alone counts */
    attn__rope rope;
    ATTN_Q_T *to;     /* [rows][heads_q][head_dim] */
} ATTN_FN(_rotate_args);

/* A warp for each row of q, lanes along the dims, heads one after the other. */
ATTN_GLOBAL(ATTN_FN(_rotate_kernel), ATTN_FN(_rotate_args), ATTN_ROTATE_THREADS, 1)
{
    const attn_params *p = &a.a.p;
    const attn_tensor *q = &p->q;
    const int64_t rows = (int64_t)p->batch * p->seq_q, step = (int64_t)gridDim.x * (ATTN_ROTATE_THREADS / 32);
    for (int64_t n = (int64_t)blockIdx.x * (ATTN_ROTATE_THREADS / 32) + threadIdx.x / 32; n < rows; n += step) {
        ATTN_FN(_unit) u;
        const int i = (int)(n % p->seq_q);
        u.b = (int)(n / p->seq_q);
        ATTN_FN(_sequence)(&a.a, &u);
        if (i >= u.len_q)
            continue;
        const int64_t row = p->cu_seqlens_q ? u.base_q + i : n;
        const int64_t position = i + (p->rope_offset ? p->rope_offset[u.b] : (int64_t)u.len_k - u.len_q);
        for (int d = attn__lane(); d < p->head_dim; d += 32) {
            const int turns = d < 2 * a.rope.half, first = attn__rope_is_first(&a.rope, d);
            const int64_t at = ATTN_FN(_dim_at)(q, d);
            const int64_t with = turns ? ATTN_FN(_dim_at)(q, attn__rope_other(&a.rope, d)) : at;
            float sine = 0.0f, cosine = 1.0f;
            if (turns)
                attn__rope_angle(&a.rope, attn__rope_pair(&a.rope, d), position, &sine, &cosine);
            for (int h = 0; h < p->heads_q; ++h) {
                const ATTN_Q_T *from = (const ATTN_Q_T *)q->data + u.b * q->stride[0] + (u.base_q + i) * q->stride[1] +
                                       h * q->stride[2];
                const float own = ATTN_Q_SCALAR(from[at]);
                const float x = turns ? attn__rope_turn(first, own, ATTN_Q_SCALAR(from[with]), sine, cosine) : own;
#if ATTN_DTYPE == ATTN_F32
                a.to[(row * p->heads_q + h) * p->head_dim + d] = x;
#elif ATTN_DTYPE == ATTN_F16
                a.to[(row * p->heads_q + h) * p->head_dim + d] = (uint16_t)attn__pack_f16(x, 0.0f);
#else
                a.to[(row * p->heads_q + h) * p->head_dim + d] = (uint16_t)attn__pack_bf16(x, 0.0f);
#endif
            }
        }
    }
}

/* q of p becomes the rotated one at `to`. */
static cudaError_t ATTN_FN(_rotate)(attn_params *p, void *to, void *stream)
{
    ATTN_FN(_rotate_args) a;
    memset(&a, 0, sizeof a);
    a.a.p = *p;
    a.rope = attn__rope_make(p->rope_style, p->rope_dim, p->rope_base, p->rope_cos, p->rope_sin);
    a.to = (ATTN_Q_T *)to;
    p->q.data = to;
    p->q.dim_block = 0;
    p->q.stride[3] = 1;
    p->q.stride[2] = p->head_dim;
    p->q.stride[1] = (int64_t)p->heads_q * p->head_dim;
    p->q.stride[0] = p->cu_seqlens_q ? 0 : p->seq_q * p->q.stride[1];
    p->rope_style = ATTN_ROPE_NONE;
    const int64_t rows = (int64_t)p->batch * p->seq_q, warps = ATTN_ROTATE_THREADS / 32;
    const int64_t blocks = (rows + warps - 1) / warps;
    return ATTN_LAUNCH(ATTN_FN(_rotate_kernel), blocks < ATTN_GRID_MOST ? (unsigned)blocks : ATTN_GRID_MOST,
                       ATTN_ROTATE_THREADS, 0, stream, &a);
}

#undef ATTN_ROTATE_THREADS
