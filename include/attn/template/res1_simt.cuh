/* res1_simt.cuh - phase 1 of Attention Residuals on any GPU, and its gradient (res.h has the equations): all types,
 * up to 64 queries and blocks, any rows.
 *
 * Included by instance.h for ATTN_ARCH_SIMT, no guard.  What tensor cores can do is res1_sm80.cuh's; this is for all
 * else.  A block takes a token at a time.  Logits: a warp has a row of V and up to ATTN_RES_SB queries, so that their
 * sums stay within the warp.  Weights: a warp has a query.  Results: a thread has 8 columns of ATTN_RES_NB rows.  V
 * is read once from memory, then from a cache, once for each ATTN_RES_SB queries. */

#include <attn/template/res_cuda.cuh>

#define ATTN_RES_SB 4
#define ATTN_RES_NB 4
/* Shared memory, floats: [S][N] of each of two (backward; else one), [N] of r, [warps][N] of sums over queries. */
#define ATTN_RES_LOGITS(queries, blocks) ((queries) * (blocks))
#define ATTN_RES_FLOATS(queries, blocks) \
    ((1 + ATTN_RES_BACKWARD) * ATTN_RES_LOGITS(queries, blocks) + (blocks) * (1 + ATTN_RES_BACKWARD * ATTN_WARPS))
enum { ATTN_FN(_shared_bytes) = 4 * ATTN_RES_FLOATS(ATTN_TILE_Q, ATTN_TILE_K) };
#define ATTN_SHARED_BYTES ATTN_FN(_shared_bytes)
#define ATTN_ROW_ALIGN 0

ATTN_DEVICE void ATTN_FN(_load_v)(const ATTN_FN(_args) *a, int n, int64_t t, int d, float *x)
{
    ATTN_FN(_load)(a->v[n], t * a->p.v.stride[1] + d, ATTN_DTYPE, a->wide & ATTN_FN(_wide_v), x);
}

/* Of token t: the logits to x[s][n], 1 / root of the mean squares to r[n]; backward: dO1 . v to u[s][n]. */
ATTN_DEVICE void ATTN_FN(_logits)(const ATTN_FN(_args) *a, int64_t t, float *x, float *u, float *r)
{
    const int blocks = a->p.blocks, queries = a->p.queries, first = a->p.dim - a->p.key_dim;
    const int groups = (queries + ATTN_RES_SB - 1) / ATTN_RES_SB;
    for (int item = (int)threadIdx.x / 32; item < blocks * groups; item += ATTN_WARPS) {
        const int n = item / groups, s0 = item % groups * ATTN_RES_SB;
        float dot[ATTN_RES_SB], grad[ATTN_RES_SB], squares = 0.0f;
        ATTN_UNROLL
        for (int s = 0; s < ATTN_RES_SB; ++s)
            dot[s] = grad[s] = 0.0f;
        for (int d = 8 * attn__lane(); d < a->p.dim; d += 256) {
            float v[8], y[8];
            if (!ATTN_RES_BACKWARD && d < first)
                continue;
            ATTN_FN(_load_v)(a, n, t, d, v);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                squares += d >= first ? v[i] * v[i] : 0.0f;
            ATTN_UNROLL
            for (int s = 0; s < ATTN_RES_SB; ++s) {
                if (s0 + s < queries && d >= first) {
                    ATTN_FN(_load_w)(a, s0 + s, d - first, y);
                    ATTN_UNROLL
                    for (int i = 0; i < 8; ++i)
                        dot[s] += v[i] * y[i];
                }
                if (ATTN_RES_BACKWARD && s0 + s < queries) {
                    ATTN_FN(_load)(a->p.do1.data, (s0 + s) * a->p.do1.stride[0] + t * a->p.do1.stride[1] + d,
                                   a->p.do1.dtype, a->wide & ATTN_FN(_wide_do1), y);
                    ATTN_UNROLL
                    for (int i = 0; i < 8; ++i)
                        grad[s] += v[i] * y[i];
                }
            }
        }
        const float root = attn__inverse_root(ATTN_FN(_warp_sum)(squares) / (float)a->p.key_dim + a->p.eps);
        ATTN_UNROLL
        for (int s = 0; s < ATTN_RES_SB; ++s) {
            const float all = ATTN_FN(_warp_sum)(dot[s]);
            const float all_u = ATTN_RES_BACKWARD ? ATTN_FN(_warp_sum)(grad[s]) : 0.0f;
            if (attn__lane() == 0 && s0 + s < queries) {
                x[(s0 + s) * blocks + n] = all * (root * a->p.scale);
                if (ATTN_RES_BACKWARD)
                    u[(s0 + s) * blocks + n] = all_u;
            }
        }
        if (attn__lane() == 0 && s0 == 0)
            r[n] = root;
    }
}

/* Adds to sum[s] the rows of V, elements d ..., each by its factor x[s0 + s][n]. */
ATTN_DEVICE void ATTN_FN(_mix)(const ATTN_FN(_args) *a, int64_t t, int d, int s0, const float *x, float (*sum)[8])
{
    const int blocks = a->p.blocks, queries = a->p.queries;
    for (int n = 0; n < blocks; ++n) {
        float v[8];
        ATTN_FN(_load_v)(a, n, t, d, v);
        ATTN_UNROLL
        for (int s = 0; s < ATTN_RES_SB; ++s) {
            const float by = s0 + s < queries ? x[(s0 + s) * blocks + n] : 0.0f;
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                sum[s][i] += by * v[i];
        }
    }
}

#if ATTN_KERNEL == ATTN_KERNEL_RES1
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    const int blocks = a.p.blocks, queries = a.p.queries, lane = attn__lane();
    float *const x = (float *)(void *)shared, *const r = x + ATTN_RES_LOGITS(queries, blocks);
    for (int64_t nth = blockIdx.x; nth < a.p.tokens; nth += gridDim.x) {
        const int64_t t = ATTN_FN(_token)(&a, nth);
        ATTN_FN(_logits)(&a, t, x, NULL, r);
        __syncthreads();
        for (int s = (int)threadIdx.x / 32; s < queries; s += ATTN_WARPS) {
            float y[2], top, sum;
            ATTN_UNROLL
            for (int i = 0; i < 2; ++i)
                y[i] = lane + 32 * i < blocks ? x[s * blocks + lane + 32 * i] : -INFINITY;
            top = ATTN_FN(_warp_most)(y[0] > y[1] || y[0] != y[0] ? y[0] : y[1]);
            ATTN_UNROLL
            for (int i = 0; i < 2; ++i)
                y[i] = lane + 32 * i < blocks ? attn__exp2((y[i] - top) * ATTN_LOG2E) : 0.0f;
            sum = ATTN_FN(_warp_sum)(y[0] + y[1]);
            ATTN_UNROLL
            for (int i = 0; i < 2; ++i)
                if (lane + 32 * i < blocks)
                    x[s * blocks + lane + 32 * i] = y[i] / sum;
            if (lane == 0 && a.p.lse)
                a.p.lse[s * a.p.lse_stride + t] = top + attn__log2(sum) * ATTN_LN2;
        }
        __syncthreads();
        for (int d = 8 * (int)threadIdx.x; d < a.p.dim && a.p.o1.data; d += 8 * ATTN_THREADS)
            for (int s0 = 0; s0 < queries; s0 += ATTN_RES_SB) {
                float sum[ATTN_RES_SB][8];
                ATTN_UNROLL
                for (int s = 0; s < ATTN_RES_SB; ++s)
                    ATTN_UNROLL
                    for (int i = 0; i < 8; ++i)
                        sum[s][i] = 0.0f;
                ATTN_FN(_mix)(&a, t, d, s0, x, sum);
                ATTN_UNROLL
                for (int s = 0; s < ATTN_RES_SB; ++s)
                    if (s0 + s < queries)
                        ATTN_FN(_store)(a.p.o1.data, (s0 + s) * a.p.o1.stride[0] + t * a.p.o1.stride[1] + d,
                                        a.p.o1.dtype, a.wide & ATTN_FN(_wide_o1), sum[s]);
            }
        __syncthreads();
    }
}

#else
/* The gradients as res_cpu.h has them.  x and u become P and dx scale r. */
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    const int blocks = a.p.blocks, queries = a.p.queries, lane = attn__lane(), warp = (int)threadIdx.x / 32;
    const int key = a.p.key_dim, first = a.p.dim - key, add = (a.p.flags & ATTN_RES_ADD_DV) != 0;
    float *const x = (float *)(void *)shared, *const u = x + ATTN_RES_LOGITS(queries, blocks);
    float *const r = u + ATTN_RES_LOGITS(queries, blocks), *const downs = r + blocks;
    float *const part = a.part + (int64_t)blockIdx.x * queries * key;
    for (int64_t nth = blockIdx.x; nth < a.p.tokens; nth += gridDim.x) {
        const int64_t t = ATTN_FN(_token)(&a, nth);
        float down[2] = { 0.0f, 0.0f };
        ATTN_FN(_logits)(&a, t, x, u, r);
        __syncthreads();
        for (int s = warp; s < queries; s += ATTN_WARPS) {
            const float lse = a.p.lse[s * a.p.lse_stride + t];
            const float dlse = a.p.dlse ? a.p.dlse[s * a.p.lse_stride + t] : 0.0f;
            float mean = 0.0f, weight[2], y[2], g[2];
            ATTN_UNROLL
            for (int i = 0; i < 2; ++i) {
                const int at = s * blocks + lane + 32 * i;
                y[i] = lane + 32 * i < blocks ? x[at] : 0.0f;
                g[i] = lane + 32 * i < blocks ? u[at] : 0.0f;
                weight[i] = lane + 32 * i < blocks ? attn__exp2((y[i] - lse) * ATTN_LOG2E) : 0.0f;
                mean += weight[i] * g[i];
            }
            mean = ATTN_FN(_warp_sum)(mean);
            ATTN_UNROLL
            for (int i = 0; i < 2; ++i)
                if (lane + 32 * i < blocks) {
                    const float dx = weight[i] * (dlse + g[i] - mean);
                    down[i] += dx * y[i];
                    x[s * blocks + lane + 32 * i] = weight[i];
                    u[s * blocks + lane + 32 * i] = dx * a.p.scale * r[lane + 32 * i];
                }
        }
        ATTN_UNROLL
        for (int i = 0; i < 2; ++i)
            if (lane + 32 * i < blocks)
                downs[warp * blocks + lane + 32 * i] = down[i];
        __syncthreads();
        for (int d = 8 * (int)threadIdx.x; d < a.p.dim && a.dv[0]; d += 8 * ATTN_THREADS)
            for (int n0 = 0; n0 < blocks; n0 += ATTN_RES_NB) {
                float sum[ATTN_RES_NB][8];
                ATTN_UNROLL
                for (int n = 0; n < ATTN_RES_NB; ++n)
                    ATTN_UNROLL
                    for (int i = 0; i < 8; ++i)
                        sum[n][i] = 0.0f;
                for (int s = 0; s < queries; ++s) {
                    float g[8], w[8];
                    ATTN_FN(_load)(a.p.do1.data, s * a.p.do1.stride[0] + t * a.p.do1.stride[1] + d, a.p.do1.dtype,
                                   a.wide & ATTN_FN(_wide_do1), g);
                    if (d >= first)
                        ATTN_FN(_load_w)(&a, s, d - first, w);
                    ATTN_UNROLL
                    for (int n = 0; n < ATTN_RES_NB; ++n) {
                        if (n0 + n >= blocks)
                            continue;
                        const float by_g = x[s * blocks + n0 + n], by_w = u[s * blocks + n0 + n];
                        ATTN_UNROLL
                        for (int i = 0; i < 8; ++i)
                            sum[n][i] += d >= first ? by_g * g[i] + by_w * w[i] : by_g * g[i];
                    }
                }
                ATTN_UNROLL
                for (int n = 0; n < ATTN_RES_NB; ++n) {
                    float v[8], by = 0.0f;
                    if (n0 + n >= blocks)
                        continue;
                    if (d >= first) {
                        for (int w = 0; w < ATTN_WARPS; ++w)
                            by += downs[w * blocks + n0 + n];
                        by *= r[n0 + n] * r[n0 + n] / (float)key;
                        ATTN_FN(_load_v)(&a, n0 + n, t, d, v);
                        ATTN_UNROLL
                        for (int i = 0; i < 8; ++i)
                            sum[n][i] -= by * v[i];
                    }
                    ATTN_FN(_put)(a.dv[n0 + n], t * a.p.dv.stride[1] + d, a.p.dv.dtype, a.wide & ATTN_FN(_wide_dv), add,
                                  sum[n]);
                }
            }
        for (int d = 8 * (int)threadIdx.x; d < key && a.parts; d += 8 * ATTN_THREADS)
            for (int s0 = 0; s0 < queries; s0 += ATTN_RES_SB) {
                float sum[ATTN_RES_SB][8];
                ATTN_UNROLL
                for (int s = 0; s < ATTN_RES_SB; ++s)
                    ATTN_UNROLL
                    for (int i = 0; i < 8; ++i)
                        sum[s][i] = nth != blockIdx.x && s0 + s < queries ? part[(s0 + s) * key + d + i] : 0.0f;
                ATTN_FN(_mix)(&a, t, first + d, s0, u, sum);
                ATTN_UNROLL
                for (int s = 0; s < ATTN_RES_SB; ++s)
                    if (s0 + s < queries)
                        ATTN_FN(_store)(part, (s0 + s) * key + d, ATTN_F32, 1, sum[s]);
            }
        __syncthreads();
    }
}
#endif

/* Also how many sums of dw there are. */
static int64_t ATTN_FN(_parts)(const attn_res_params *p)
{
    return ATTN_FN(_grid)(p->tokens, ATTN_RES_BACKWARD ? ATTN_FN(_multiprocessors)() * ATTN_BLOCKS : INT32_MAX);
}

/* Relies on what run/res.h promises of p. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t bytes, void *stream)
{
    ATTN_FN(_args) a;
    const int64_t blocks = ATTN_FN(_parts)(p);
    ATTN_FN(_start)(p, workspace, blocks, &a);
    (void)bytes;
    cudaError_t e = ATTN_LAUNCH(ATTN_FN(_kernel), (unsigned)blocks, ATTN_THREADS,
                                4 * ATTN_RES_FLOATS(p->queries, p->blocks), stream, &a);
    if (e == cudaSuccess)
        e = ATTN_FN(_finish)(&a, stream);
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_RES_SB
#undef ATTN_RES_NB
#undef ATTN_RES_LOGITS
#undef ATTN_RES_FLOATS
#include <attn/template/res_end_cuda.cuh>
