/* res2_simt.cuh - phase 2 of Attention Residuals on any GPU, and its gradient (res.h has the equations).
 *
 * Included by instance.h for ATTN_ARCH_SIMT, no guard.  It is bound by memory: of an element some 10 multiply-adds
 * for 6 to 16 bytes.  A token belongs to a group of warps of a block, as many as hold its row, ATTN_RES_CHUNKS times
 * 8 elements a thread: the row is read once, all of it at the same time, and stays in registers across the sums over
 * the group.  Both kernels are persistent: cp.async brings the rows of the next tokens to shared memory, a thread's
 * to where it alone will read them; w stays in registers, and so does, backward, a thread's share of dw. */

#include <attn/template/res_cuda.cuh>

/* Chunks of 8 elements of a thread, if a token takes all warps of the block. */
#define ATTN_RES_MOST (ATTN_HEAD_DIM ? ATTN_HEAD_DIM : ATTN_RES_DIM)
#define ATTN_RES_CHUNKS ((ATTN_RES_MOST / 8 + ATTN_THREADS - 1) / ATTN_THREADS)
#define ATTN_SHARED_BYTES (16 * ATTN_WARPS) /* and what there is for rows */
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

/* What a thread has of a token: its chunks' rows as they lie. */
typedef struct ATTN_FN(_rows) {
    ATTN_FN(_raw) row[3][ATTN_RES_CHUNKS];
} ATTN_FN(_rows);

/* Which: the sum, O1, and the update or dh. */
enum { ATTN_FN(_sum), ATTN_FN(_o1), ATTN_FN(_other) };

ATTN_ANYWHERE const attn_res_tensor *ATTN_FN(_tensor)(const attn_res_params *p, int which)
{
    return which == ATTN_FN(_sum) ? &p->p : which == ATTN_FN(_o1) ? &p->o1 : ATTN_RES_BACKWARD ? &p->dh : &p->update;
}

/* Is it read? */
ATTN_ANYWHERE int ATTN_FN(_has)(const attn_res_params *p, int which)
{
    if (which == ATTN_FN(_o1))
        return ATTN_RES_BACKWARD || p->h.data || p->norm.data;
    return ATTN_FN(_tensor)(p, which)->data != NULL;
}

ATTN_ANYWHERE int ATTN_FN(_wide_of)(int which)
{
    return which == ATTN_FN(_sum)  ? ATTN_FN(_wide_p)
           : which == ATTN_FN(_o1) ? ATTN_FN(_wide_o1)
                                   : (ATTN_RES_BACKWARD ? ATTN_FN(_wide_dh) : ATTN_FN(_wide_update));
}

/* Where a thread's 16 bytes of chunk c of a row lie. */
ATTN_DEVICE unsigned char *ATTN_FN(_slot)(const ATTN_FN(_args) *a, unsigned char *smem, int stage, int which, int c,
                                          int half)
{
    const int n = ((stage * 3 + which) * ATTN_RES_CHUNKS + c) * a->halves + half;
    return smem + ATTN_SHARED_BYTES + (n * ATTN_THREADS + (int)threadIdx.x) * 16;
}

/* Copies the rows of token t: elements 8 (own + c step) ... */
ATTN_DEVICE void ATTN_FN(_copy_rows)(const ATTN_FN(_args) *a, unsigned char *smem, int64_t t, int own, int step,
                                     int stage)
{
    ATTN_UNROLL
    for (int which = 0; which < 3; ++which) {
        const attn_res_tensor *const x = ATTN_FN(_tensor)(&a->p, which);
        const int dtype = which == ATTN_FN(_sum) ? ATTN_DTYPE : x->dtype;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            const unsigned char *const from =
                (const unsigned char *)x->data + (t * x->stride[1] + d) * (dtype == ATTN_F32 ? 4 : 2);
            if (!ATTN_FN(_has)(&a->p, which) || t >= a->p.tokens || d >= a->p.dim)
                continue;
            attn__copy_async(ATTN_FN(_slot)(a, smem, stage, which, c, 0), from, 16);
            if (dtype == ATTN_F32)
                attn__copy_async(ATTN_FN(_slot)(a, smem, stage, which, c, 1), from + 16, 16);
        }
    }
    attn__copy_async_commit();
}

/* The rows of token t, from shared memory if they are there, else from where they lie; zeros where there is nothing. */
ATTN_DEVICE void ATTN_FN(_read_rows)(const ATTN_FN(_args) *a, unsigned char *smem, int64_t t, int own, int step,
                                     int stage, ATTN_FN(_rows) *rows)
{
    if (a->stages)
        ATTN_FN(_wait)(a->stages);
    ATTN_UNROLL
    for (int which = 0; which < 3; ++which) {
        const attn_res_tensor *const x = ATTN_FN(_tensor)(&a->p, which);
        const int dtype = which == ATTN_FN(_sum) ? ATTN_DTYPE : x->dtype;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            ATTN_FN(_raw) *const raw = &rows->row[which][c];
            raw->x[0] = raw->x[1] = make_uint4(0, 0, 0, 0);
            if (!ATTN_FN(_has)(&a->p, which) || t >= a->p.tokens || d >= a->p.dim)
                continue;
            if (a->stages) {
                raw->x[0] = *(const uint4 *)(const void *)ATTN_FN(_slot)(a, smem, stage, which, c, 0);
                if (dtype == ATTN_F32)
                    raw->x[1] = *(const uint4 *)(const void *)ATTN_FN(_slot)(a, smem, stage, which, c, 1);
            } else {
                ATTN_FN(_fetch)(x->data, t * x->stride[1] + d, dtype, a->wide & ATTN_FN(_wide_of)(which), raw);
            }
        }
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
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    float *const smem = (float *)(void *)shared;
    const int step = 32 * a.group, own = (int)threadIdx.x % step, at_once = ATTN_WARPS / a.group;
    const int first = a.p.dim - a.p.key_dim, mixes = a.p.h.data || a.p.norm.data;
    const int64_t stride = (int64_t)gridDim.x * at_once, mine = (int)threadIdx.x / step;
    float w[ATTN_RES_CHUNKS][8];
    ATTN_FN(_rows) rows;
    ATTN_FN(_fetch_w)(&a, own, step, w);
    for (int n = 0; n < a.stages; ++n)
        ATTN_FN(_copy_rows)(&a, shared, (int64_t)blockIdx.x * at_once + mine + n * stride, own, step, n);
    int stage = 0;
    for (int64_t base = (int64_t)blockIdx.x * at_once; base < a.p.tokens; base += stride) {
        const int64_t t = base + mine;
        const int here = t < a.p.tokens; /* the others come to the barriers */
        float sum[ATTN_RES_CHUNKS][8], o1[ATTN_RES_CHUNKS][8], dot = 0.0f, squares = 0.0f;
        const float lse = here && mixes ? a.p.lse[t] : 0.0f;
        ATTN_FN(_read_rows)(&a, shared, t, own, step, stage, &rows);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            ATTN_FN(_open)(&rows.row[ATTN_FN(_sum)][c], ATTN_DTYPE, sum[c]);
            ATTN_FN(_open)(&rows.row[ATTN_FN(_o1)][c], a.p.o1.dtype, o1[c]);
            if (a.p.update.data) {
                float x[8];
                ATTN_FN(_open)(&rows.row[ATTN_FN(_other)][c], a.p.update.dtype, x);
                ATTN_UNROLL
                for (int i = 0; i < 8; ++i)
                    sum[c][i] += x[i];
                ATTN_FN(_round)(sum[c], a.p.p_out.dtype);
            }
        }
        if (a.stages)
            ATTN_FN(_copy_rows)(&a, shared, t + a.stages * stride, own, step, stage);
        stage = stage + 1 < a.stages ? stage + 1 : 0;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            if (!here || d >= a.p.dim)
                continue;
            if (a.p.p_out.data)
                ATTN_FN(_store)(a.p.p_out.data, t * a.p.p_out.stride[1] + d, a.p.p_out.dtype,
                                a.wide & ATTN_FN(_wide_p_out), sum[c]);
            if (a.p.block.data)
                ATTN_FN(_store)(a.p.block.data, t * a.p.block.stride[1] + d, a.p.block.dtype,
                                a.wide & ATTN_FN(_wide_block), sum[c]);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i) {
                dot += d >= first ? sum[c][i] * w[c][i] : 0.0f;
                squares += d >= first ? sum[c][i] * sum[c][i] : 0.0f;
            }
        }
        if (!mixes)
            continue;
        ATTN_FN(_group_sums)(&a, smem, &dot, &squares);
        const float r = ATTN_FN(_inverse_root)(squares / (float)a.p.key_dim + a.p.eps);
        const float f = ATTN_FN(_sigmoid_minus)(lse - dot * (r * a.p.scale));
        dot = squares = 0.0f;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                sum[c][i] = f == 1.0f ? sum[c][i] : o1[c][i] + f * (sum[c][i] - o1[c][i]);
            if (!here || d >= a.p.dim)
                continue;
            if (a.p.h.data)
                ATTN_FN(_store)(a.p.h.data, t * a.p.h.stride[1] + d, a.p.h.dtype, a.wide & ATTN_FN(_wide_h), sum[c]);
            if (a.p.norm.data) {
                ATTN_FN(_round)(sum[c], a.p.h.dtype);
                ATTN_UNROLL
                for (int i = 0; i < 8; ++i)
                    squares += sum[c][i] * sum[c][i];
            }
        }
        if (!a.p.norm.data)
            continue;
        ATTN_FN(_group_sums)(&a, smem, &squares, &dot);
        const float by = ATTN_FN(_inverse_root)(squares / (float)a.p.dim + a.p.norm_eps);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            float g[8];
            if (!here || d >= a.p.dim)
                continue;
            if (a.p.norm_gain.data)
                ATTN_FN(_load)(a.p.norm_gain.data, d, a.p.norm_gain.dtype, a.wide & ATTN_FN(_wide_norm_gain), g);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                sum[c][i] = a.p.norm_gain.data ? sum[c][i] * by * g[i] : sum[c][i] * by;
            ATTN_FN(_store)(a.p.norm.data, t * a.p.norm.stride[1] + d, a.p.norm.dtype, a.wide & ATTN_FN(_wide_norm),
                            sum[c]);
        }
    }
}

#else
/* The gradients as res_cpu.h has them. */
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    float *const smem = (float *)(void *)shared;
    const int step = 32 * a.group, own = (int)threadIdx.x % step, at_once = ATTN_WARPS / a.group;
    const int first = a.p.dim - a.p.key_dim, add = (a.p.flags & ATTN_RES_ADD_DP) != 0;
    const int64_t stride = (int64_t)gridDim.x * at_once, mine = (int)threadIdx.x / step;
    float dw[ATTN_RES_CHUNKS][8], w[ATTN_RES_CHUNKS][8];
    ATTN_FN(_rows) rows;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c)
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            dw[c][i] = 0.0f;
    ATTN_FN(_fetch_w)(&a, own, step, w);
    for (int n = 0; n < a.stages; ++n)
        ATTN_FN(_copy_rows)(&a, shared, (int64_t)blockIdx.x * at_once + mine + n * stride, own, step, n);
    int stage = 0;
    for (int64_t base = (int64_t)blockIdx.x * at_once; base < a.p.tokens; base += stride) {
        const int64_t t = base + mine;
        const int here = t < a.p.tokens;
        float sum[ATTN_RES_CHUNKS][8], g[ATTN_RES_CHUNKS][8], dot = 0.0f, squares = 0.0f, e = 0.0f, none = 0.0f;
        const float lse = here ? a.p.lse[t] : 0.0f;
        ATTN_FN(_read_rows)(&a, shared, t, own, step, stage, &rows);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            float o1[8];
            ATTN_FN(_open)(&rows.row[ATTN_FN(_sum)][c], ATTN_DTYPE, sum[c]);
            ATTN_FN(_open)(&rows.row[ATTN_FN(_other)][c], a.p.dh.dtype, g[c]);
            ATTN_FN(_open)(&rows.row[ATTN_FN(_o1)][c], a.p.o1.dtype, o1);
            ATTN_UNROLL
            for (int i = 0; i < 8 && here && d < a.p.dim; ++i) {
                e += g[c][i] * (o1[i] - sum[c][i]);
                dot += d >= first ? sum[c][i] * w[c][i] : 0.0f;
                squares += d >= first ? sum[c][i] * sum[c][i] : 0.0f;
            }
        }
        if (a.stages)
            ATTN_FN(_copy_rows)(&a, shared, t + a.stages * stride, own, step, stage);
        stage = stage + 1 < a.stages ? stage + 1 : 0;
        ATTN_FN(_group_sums)(&a, smem, &dot, &squares);
        ATTN_FN(_group_sums)(&a, smem, &e, &none);
        const float r = ATTN_FN(_inverse_root)(squares / (float)a.p.key_dim + a.p.eps), z = dot * (r * a.p.scale);
        const float f = ATTN_FN(_sigmoid_minus)(lse - z), rest = ATTN_FN(_sigmoid_minus)(z - lse), dlse = f * rest * e;
        const float by_w = -dlse * a.p.scale * r, down = dlse * z * r * r / (float)a.p.key_dim;
        if (here && own == 0 && a.p.dlse)
            a.p.dlse[t] = dlse;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = 8 * (own + c * step);
            float x[8];
            if (!here || d >= a.p.dim)
                continue;
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                x[i] = rest * g[c][i];
            if (a.p.do1.data)
                ATTN_FN(_store)(a.p.do1.data, t * a.p.do1.stride[1] + d, a.p.do1.dtype, a.wide & ATTN_FN(_wide_do1), x);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i) {
                x[i] = f * g[c][i];
                if (d >= first) {
                    x[i] += by_w * w[c][i] + down * sum[c][i];
                    dw[c][i] += by_w * sum[c][i];
                }
            }
            if (a.p.dp.data)
                ATTN_FN(_put)(a.p.dp.data, t * a.p.dp.stride[1] + d, a.p.dp.dtype, a.wide & ATTN_FN(_wide_dp), add, x);
        }
    }
    if (!a.parts)
        return;
    const int64_t part = (int64_t)blockIdx.x * at_once + mine;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = 8 * (own + c * step);
        if (d < a.p.dim && d >= first)
            ATTN_FN(_store)(a.part, part * a.p.key_dim + d - first, ATTN_F32, 1, dw[c]);
    }
}
#endif

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

/* Relies on what run/res.h promises of p.  As many tokens in shared memory as leave room for ATTN_BLOCKS blocks. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t bytes, void *stream)
{
    attn_device device;
    ATTN_FN(_args) a;
    ATTN_FN(_start)(p, &a);
    a.group = ATTN_FN(_group)(p);
    ATTN_FN(_device)(&device);
    a.halves = 1;
    a.stages = ATTN_RES_STAGES;
    for (int which = 0; which < 3; ++which)
        if (ATTN_FN(_has)(p, which)) {
            a.halves = ATTN_FN(_tensor)(p, which)->dtype == ATTN_F32 ? 2 : a.halves;
            a.stages = a.wide & ATTN_FN(_wide_of)(which) ? a.stages : 0;
        }
    const int stage = 3 * ATTN_RES_CHUNKS * a.halves * ATTN_THREADS * 16;
    while (a.stages && ATTN_SHARED_BYTES + a.stages * stage > (device.shared + 1024) / ATTN_BLOCKS - 1024)
        a.stages--;
    const int64_t blocks = ATTN_FN(_blocks)(p);
    (void)bytes;
    if (ATTN_RES_BACKWARD && (p->dw || p->dgain)) {
        a.part = (float *)workspace;
        a.parts = blocks * (ATTN_WARPS / a.group);
    }
    cudaError_t e = ATTN_LAUNCH(ATTN_FN(_kernel), (unsigned)blocks, ATTN_THREADS,
                                ATTN_SHARED_BYTES + a.stages * stage, stream, &a);
#if ATTN_RES_BACKWARD
    if (e == cudaSuccess)
        e = ATTN_FN(_finish)(&a, stream);
#endif
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_RES_MOST
#undef ATTN_RES_CHUNKS
#include <attn/template/res_end_cuda.cuh>
