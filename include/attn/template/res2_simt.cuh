/* res2_simt.cuh - phase 2 of Attention Residuals on any GPU, and its gradient (res.h has the equations).
 *
 * Included by instance.h for ATTN_ARCH_SIMT, no guard.  It is bound by memory: of an element some 10 multiply-adds
 * for 6 to 16 bytes.  A token belongs to a group of warps of a block, as many as hold its row, ATTN_RES_CHUNKS times
 * 8 elements a thread: the row is read once, all of it at the same time, and stays in registers across the sums over
 * the group.  Both kernels are persistent: the rows of the next token are loaded while this one is computed, w stays in
 * registers, and so does, backward, a thread's share of dw. */

#include <attn/template/res_cuda.cuh>

/* Chunks of 8 elements of a thread, if a token takes all warps of the block. */
#define ATTN_RES_MOST (ATTN_HEAD_DIM ? ATTN_HEAD_DIM : ATTN_RES_DIM)
#define ATTN_RES_CHUNKS ((ATTN_RES_MOST / 8 + ATTN_THREADS - 1) / ATTN_THREADS)
#define ATTN_SHARED_BYTES (4 * 4 * ATTN_WARPS)
#define ATTN_ROW_ALIGN 0

/* Sums of two numbers over the warps of the group. */
ATTN_DEVICE void ATTN_FN(_group_sums)(const ATTN_FN(_args) *a, float *smem, float *x, float *y)
{
    const int warp = (int)threadIdx.x / 32, first = warp / a->group * a->group;
    *x = ATTN_FN(_warp_sum)(*x);
    *y = ATTN_FN(_warp_sum)(*y);
    if (a->group == 1)
        return;
    if (attn__lane() == 0) {
        smem[2 * warp] = *x;
        smem[2 * warp + 1] = *y;
    }
    __syncthreads();
    *x = *y = 0.0f;
    for (int w = first; w < first + a->group; ++w) {
        *x += smem[2 * w];
        *y += smem[2 * w + 1];
    }
    __syncthreads();
}

/* What a thread has of a token: its chunks' rows as they lie, for the next one while this one is computed. */
typedef struct ATTN_FN(_rows) {
    ATTN_FN(_raw) sum[ATTN_RES_CHUNKS], o1[ATTN_RES_CHUNKS], other[ATTN_RES_CHUNKS]; /* other: the update, or dh */
} ATTN_FN(_rows);

/* Elements 8 (own + c step) ... of the rows of token t; zeros where there is nothing. */
ATTN_DEVICE void ATTN_FN(_fetch_rows)(const ATTN_FN(_args) *a, int64_t t, int own, int step, int plain,
                                      ATTN_FN(_rows) *rows)
{
    const attn_res_tensor *const other = ATTN_RES_BACKWARD ? &a->p.dh : &a->p.update;
    const int wide = plain || a->wide & (ATTN_RES_BACKWARD ? ATTN_FN(_wide_dh) : ATTN_FN(_wide_update));
    const int mixes = ATTN_RES_BACKWARD || a->p.h.data || a->p.norm.data;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = 8 * (own + c * step);
        const uint4 zero = make_uint4(0, 0, 0, 0);
        rows->sum[c].x[0] = rows->sum[c].x[1] = rows->o1[c].x[0] = rows->o1[c].x[1] = zero;
        rows->other[c].x[0] = rows->other[c].x[1] = zero;
        if (t >= a->p.tokens || d >= a->p.dim)
            continue;
        ATTN_FN(_fetch)(a->p.p.data, t * a->p.p.stride[1] + d, ATTN_DTYPE, plain || a->wide & ATTN_FN(_wide_p),
                        &rows->sum[c]);
        if (other->data)
            ATTN_FN(_fetch)(other->data, t * other->stride[1] + d, plain ? ATTN_DTYPE : other->dtype, wide,
                            &rows->other[c]);
        if (mixes)
            ATTN_FN(_fetch)(a->p.o1.data, t * a->p.o1.stride[1] + d, plain ? ATTN_DTYPE : a->p.o1.dtype,
                            plain || a->wide & ATTN_FN(_wide_o1), &rows->o1[c]);
    }
}

/* w times the gain, of a thread's chunks; zeros outside of the key. */
ATTN_DEVICE void ATTN_FN(_fetch_w)(const ATTN_FN(_args) *a, int own, int step, float (*w)[8])
{
    const int first = a->p.dim - a->p.key_dim, mixes = ATTN_RES_BACKWARD || a->p.h.data || a->p.norm.data;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = 8 * (own + c * step);
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            w[c][i] = 0.0f;
        if (mixes && d >= first && d < a->p.dim)
            ATTN_FN(_load_w)(a, 0, d - first, w[c]);
    }
}

#if ATTN_KERNEL == ATTN_KERNEL_RES2
ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, float *smem, int plain)
{
    const int ahead = plain && ATTN_DTYPE != ATTN_F32;
    const int step = 32 * a->group, own = (int)threadIdx.x % step, at_once = ATTN_WARPS / a->group;
    const int first = a->p.dim - a->p.key_dim, mixes = a->p.h.data || a->p.norm.data;
    const int64_t stride = (int64_t)gridDim.x * at_once, mine = (int)threadIdx.x / step;
    float w[ATTN_RES_CHUNKS][8];
    ATTN_FN(_rows) rows;
    ATTN_FN(_fetch_w)(a, own, step, w);
    if (ahead)
        ATTN_FN(_fetch_rows)(a, (int64_t)blockIdx.x * at_once + mine, own, step, plain, &rows);
    for (int64_t base = (int64_t)blockIdx.x * at_once; base < a->p.tokens; base += stride) {
        const int64_t t = base + mine;
        const int here = t < a->p.tokens; /* the others come to the barriers */
        float sum[ATTN_RES_CHUNKS][8], o1[ATTN_RES_CHUNKS][8], dot = 0.0f, squares = 0.0f;
        const float lse = here && mixes ? a->p.lse[t] : 0.0f;
        if (!ahead)
            ATTN_FN(_fetch_rows)(a, t, own, step, plain, &rows);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            ATTN_FN(_open)(&rows.sum[c], ATTN_DTYPE, sum[c]);
            ATTN_FN(_open)(&rows.o1[c], plain ? ATTN_DTYPE : a->p.o1.dtype, o1[c]);
            if (a->p.update.data) {
                float x[8];
                ATTN_FN(_open)(&rows.other[c], plain ? ATTN_DTYPE : a->p.update.dtype, x);
                ATTN_UNROLL
                for (int i = 0; i < 8; ++i)
                    sum[c][i] += x[i];
                ATTN_FN(_round)(sum[c], plain ? ATTN_DTYPE : a->p.p_out.dtype);
            }
        }
        if (ahead)
            ATTN_FN(_fetch_rows)(a, t + stride, own, step, plain, &rows);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            if (!here || d >= a->p.dim)
                continue;
            if (a->p.p_out.data)
                ATTN_FN(_store)(a->p.p_out.data, t * a->p.p_out.stride[1] + d, plain ? ATTN_DTYPE : a->p.p_out.dtype,
                                plain || a->wide & ATTN_FN(_wide_p_out), sum[c]);
            if (a->p.block.data)
                ATTN_FN(_store)(a->p.block.data, t * a->p.block.stride[1] + d, plain ? ATTN_DTYPE : a->p.block.dtype,
                                plain || a->wide & ATTN_FN(_wide_block), sum[c]);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i) {
                dot += d >= first ? sum[c][i] * w[c][i] : 0.0f;
                squares += d >= first ? sum[c][i] * sum[c][i] : 0.0f;
            }
        }
        if (!mixes)
            continue;
        ATTN_FN(_group_sums)(a, smem, &dot, &squares);
        const float r = ATTN_FN(_inverse_root)(squares / (float)a->p.key_dim + a->p.eps);
        const float f = ATTN_FN(_sigmoid_minus)(lse - dot * (r * a->p.scale));
        dot = squares = 0.0f;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                sum[c][i] = f == 1.0f ? sum[c][i] : o1[c][i] + f * (sum[c][i] - o1[c][i]);
            if (!here || d >= a->p.dim)
                continue;
            if (a->p.h.data)
                ATTN_FN(_store)(a->p.h.data, t * a->p.h.stride[1] + d, plain ? ATTN_DTYPE : a->p.h.dtype,
                                plain || a->wide & ATTN_FN(_wide_h), sum[c]);
            if (a->p.norm.data) {
                ATTN_FN(_round)(sum[c], plain ? ATTN_DTYPE : a->p.h.dtype);
                ATTN_UNROLL
                for (int i = 0; i < 8; ++i)
                    squares += sum[c][i] * sum[c][i];
            }
        }
        if (!a->p.norm.data)
            continue;
        ATTN_FN(_group_sums)(a, smem, &squares, &dot);
        const float by = ATTN_FN(_inverse_root)(squares / (float)a->p.dim + a->p.norm_eps);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            float g[8];
            if (!here || d >= a->p.dim)
                continue;
            if (a->p.norm_gain.data)
                ATTN_FN(_load)(a->p.norm_gain.data, d, a->p.norm_gain.dtype, a->wide & ATTN_FN(_wide_norm_gain), g);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                sum[c][i] = a->p.norm_gain.data ? sum[c][i] * by * g[i] : sum[c][i] * by;
            ATTN_FN(_store)(a->p.norm.data, t * a->p.norm.stride[1] + d, plain ? ATTN_DTYPE : a->p.norm.dtype,
                            plain || a->wide & ATTN_FN(_wide_norm), sum[c]);
        }
    }
}

#else
/* The gradients as res_cpu.h has them. */
ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, float *smem, int plain)
{
    const int ahead = plain && ATTN_DTYPE != ATTN_F32;
    const int step = 32 * a->group, own = (int)threadIdx.x % step, at_once = ATTN_WARPS / a->group;
    const int first = a->p.dim - a->p.key_dim, add = (a->p.flags & ATTN_RES_ADD_DP) != 0;
    const int64_t stride = (int64_t)gridDim.x * at_once, mine = (int)threadIdx.x / step;
    float dw[ATTN_RES_CHUNKS][8], w[ATTN_RES_CHUNKS][8];
    ATTN_FN(_rows) rows;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c)
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            dw[c][i] = 0.0f;
    ATTN_FN(_fetch_w)(a, own, step, w);
    if (ahead)
        ATTN_FN(_fetch_rows)(a, (int64_t)blockIdx.x * at_once + mine, own, step, plain, &rows);
    for (int64_t base = (int64_t)blockIdx.x * at_once; base < a->p.tokens; base += stride) {
        const int64_t t = base + mine;
        const int here = t < a->p.tokens;
        float sum[ATTN_RES_CHUNKS][8], g[ATTN_RES_CHUNKS][8], dot = 0.0f, squares = 0.0f, e = 0.0f, none = 0.0f;
        const float lse = here ? a->p.lse[t] : 0.0f;
        if (!ahead)
            ATTN_FN(_fetch_rows)(a, t, own, step, plain, &rows);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            float o1[8];
            ATTN_FN(_open)(&rows.sum[c], ATTN_DTYPE, sum[c]);
            ATTN_FN(_open)(&rows.other[c], plain ? ATTN_DTYPE : a->p.dh.dtype, g[c]);
            ATTN_FN(_open)(&rows.o1[c], plain ? ATTN_DTYPE : a->p.o1.dtype, o1);
            ATTN_UNROLL
            for (int i = 0; i < 8 && here && d < a->p.dim; ++i) {
                e += g[c][i] * (o1[i] - sum[c][i]);
                dot += d >= first ? sum[c][i] * w[c][i] : 0.0f;
                squares += d >= first ? sum[c][i] * sum[c][i] : 0.0f;
            }
        }
        if (ahead)
            ATTN_FN(_fetch_rows)(a, t + stride, own, step, plain, &rows);
        ATTN_FN(_group_sums)(a, smem, &dot, &squares);
        ATTN_FN(_group_sums)(a, smem, &e, &none);
        const float r = ATTN_FN(_inverse_root)(squares / (float)a->p.key_dim + a->p.eps), z = dot * (r * a->p.scale);
        const float f = ATTN_FN(_sigmoid_minus)(lse - z), rest = ATTN_FN(_sigmoid_minus)(z - lse), dlse = f * rest * e;
        const float by_w = -dlse * a->p.scale * r, down = dlse * z * r * r / (float)a->p.key_dim;
        if (here && own == 0 && a->p.dlse)
            a->p.dlse[t] = dlse;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            float x[8];
            if (!here || d >= a->p.dim)
                continue;
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                x[i] = rest * g[c][i];
            if (a->p.do1.data)
                ATTN_FN(_store)(a->p.do1.data, t * a->p.do1.stride[1] + d, plain ? ATTN_DTYPE : a->p.do1.dtype,
                                plain || a->wide & ATTN_FN(_wide_do1), x);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i) {
                x[i] = f * g[c][i];
                if (d >= first) {
                    x[i] += by_w * w[c][i] + down * sum[c][i];
                    dw[c][i] += by_w * sum[c][i];
                }
            }
            if (a->p.dp.data)
                ATTN_FN(_put)(a->p.dp.data, t * a->p.dp.stride[1] + d, plain ? ATTN_DTYPE : a->p.dp.dtype,
                              plain || a->wide & ATTN_FN(_wide_dp), add, x);
        }
    }
    if (!a->parts)
        return;
    const int64_t part = (int64_t)blockIdx.x * at_once + mine;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = 8 * (own + c * step);
        if (d < a->p.dim && d >= first)
            ATTN_FN(_store)(a->part, part * a->p.key_dim + d - first, ATTN_F32, 1, dw[c]);
    }
}
#endif

/* plain, a constant: all rows are of the instance's type and begin at multiples of 16 bytes.  Then the text has a third
 * of the instructions, which else would bind. */
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    if (a.plain)
        ATTN_FN(_tokens)(&a, (float *)(void *)shared, 1);
    else
        ATTN_FN(_tokens)(&a, (float *)(void *)shared, 0);
}

/* Are all tensors with a row of each token as `plain` wants them? */
static int ATTN_FN(_is_plain)(const ATTN_FN(_args) *a)
{
    const attn_res_params *p = &a->p;
    const struct {
        const attn_res_tensor *tensor;
        int wide;
    } used[] = {
        { &p->p, ATTN_FN(_wide_p) },
        { &p->o1, ATTN_FN(_wide_o1) },
#if ATTN_RES_BACKWARD
        { &p->dh, ATTN_FN(_wide_dh) },
        { &p->dp, ATTN_FN(_wide_dp) },
        { &p->do1, ATTN_FN(_wide_do1) },
#else
        { &p->update, ATTN_FN(_wide_update) },
        { &p->p_out, ATTN_FN(_wide_p_out) },
        { &p->block, ATTN_FN(_wide_block) },
        { &p->h, ATTN_FN(_wide_h) },
        { &p->norm, ATTN_FN(_wide_norm) },
#endif
    };
    for (size_t i = 0; i < sizeof used / sizeof used[0]; ++i)
        if (used[i].tensor->data && (used[i].tensor->dtype != ATTN_DTYPE || !(a->wide & used[i].wide)))
            return 0;
    return ATTN_RES_BACKWARD || p->h.dtype == ATTN_DTYPE; /* that norm is of */
}

/* Warps of a token: the least power of two that holds its row and divides the block's; the rest is all of them. */
static int ATTN_FN(_group)(const attn_res_params *p)
{
    for (int n = 1; n < ATTN_WARPS; n *= 2)
        if (ATTN_WARPS % n == 0 && p->dim <= n * 256 * ATTN_RES_CHUNKS)
            return n;
    return ATTN_WARPS;
}

static int64_t ATTN_FN(_blocks)(const attn_res_params *p)
{
    const int64_t at_once = ATTN_WARPS / ATTN_FN(_group)(p), most = p->tokens / at_once + (p->tokens % at_once != 0);
    return ATTN_FN(_grid)(most, ATTN_FN(_multiprocessors)() * ATTN_BLOCKS);
}

static size_t ATTN_FN(_workspace)(const attn_res_params *p, int least)
{
    (void)least;
    (void)p;
#if ATTN_RES_BACKWARD
    return ATTN_FN(_part_bytes)(p, ATTN_FN(_blocks)(p) * (ATTN_WARPS / ATTN_FN(_group)(p)));
#else
    return 0;
#endif
}

/* Relies on what run/res.h promises of p. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t bytes, void *stream)
{
    ATTN_FN(_args) a;
    ATTN_FN(_start)(p, &a);
    a.group = ATTN_FN(_group)(p);
    a.plain = ATTN_FN(_is_plain)(&a);
    const int64_t blocks = ATTN_FN(_blocks)(p);
    (void)bytes;
    if (ATTN_RES_BACKWARD && (p->dw || p->dgain)) {
        a.part = (float *)workspace;
        a.parts = blocks * (ATTN_WARPS / a.group);
    }
    cudaError_t e = ATTN_LAUNCH(ATTN_FN(_kernel), (unsigned)blocks, ATTN_THREADS, ATTN_SHARED_BYTES, stream, &a);
#if ATTN_RES_BACKWARD
    if (e == cudaSuccess)
        e = ATTN_FN(_finish)(&a, stream);
#endif
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_RES_MOST
#undef ATTN_RES_CHUNKS
#include <attn/template/res_end_cuda.cuh>
