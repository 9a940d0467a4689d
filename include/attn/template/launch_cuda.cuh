/* launch_cuda.cuh - the merge of partial results, and the launch of a CUDA instance.
 *
 * Included by a template after its kernel ATTN_FN(_kernel), last of all, no guard: undoes the macros of
 * plan_cuda.cuh and pair_cuda.cuh. */

#if ATTN_DEBUG
#include <attn/template/debug_cuda.cuh>
#endif

#define ATTN_MERGE_THREADS 128

/* The merge may start before the kernel has ended, where that one says so; and waits for its results. */
#ifdef ATTN_EARLY
#define ATTN_AFTER_KERNEL() attn__grid_wait()
#define ATTN_LAUNCH_MERGE(name, grid, threads, shared_bytes, stream, args) \
    ATTN_LAUNCH_EARLY(name, grid, 1, threads, shared_bytes, stream, args)
#else
#define ATTN_AFTER_KERNEL() ((void)0)
#define ATTN_LAUNCH_MERGE ATTN_LAUNCH
#endif

/* Merges the parts of one row: a warp for each row, lanes along the parts, then along the columns.  Each column adds
 * them in their order. */
ATTN_GLOBAL(ATTN_FN(_merge_kernel), ATTN_FN(_args), ATTN_MERGE_THREADS, 1)
{
#if ATTN_KERNEL == ATTN_KERNEL_DECODE && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 10 * ATTN_ARCH
    __trap(); /* compiled for a processor that the kernel is not for, either */
#else
    const int warps = ATTN_MERGE_THREADS / 32, dim_v = a.p.head_dim_v, lane = attn__lane();
    const int per = ATTN_FN(_group)(&a) * a.p.seq_q;
    const int64_t step = (int64_t)gridDim.x * warps;
    for (int64_t n = (int64_t)blockIdx.x * warps + (threadIdx.x >> 5); n < a.rows; n += step) {
        ATTN_FN(_unit) u;
        const int row = (int)(n % per);
        u.g = (int)(n / per % a.heads);
        u.b = (int)(n / per / a.heads);
        ATTN_FN(_sequence)(&a, &u);
        const int group = ATTN_FN(_group)(&a), i = row / group, h = u.g * group + row % group;
        if (i >= u.len_q)
            continue;
        ATTN_FN(_parts) parts = { a.parts, n, n, a.part_rows };
#if ATTN_KERNEL == ATTN_KERNEL_DECODE
        if (a.shares && !ATTN_FN(_parts_of)(&a, &u, row, &parts))
            continue;
#endif
        ATTN_AFTER_KERNEL();
        float m = ATTN_NEG_INF, l = 0.0f, lse;
        for (int s = lane; s < parts.count; s += 32)
            m = attn__max(m, a.part_m[ATTN_FN(_part_at)(&parts, s)]);
        ATTN_UNROLL
        for (int k = 1; k < 32; k *= 2)
            m = attn__max(m, attn__shuffle_xor(m, k));
        const float zero = m == ATTN_NEG_INF ? 0.0f : m;
        for (int s = lane; s < parts.count; s += 32) {
            const int64_t at = ATTN_FN(_part_at)(&parts, s);
            l += attn__exp2(a.part_m[at] - zero) * a.part_l[at];
        }
        ATTN_UNROLL
        for (int k = 1; k < 32; k *= 2)
            l += attn__shuffle_xor(l, k);
        const float scale = ATTN_FN(_finish)(&a, h, m, l, &lse);
        const int64_t to = ATTN_FN(_o_at)(&a, &u, i, h);
        for (int first = 0; first < dim_v; first += 128) { /* each lane every 32nd dim */
            float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            for (int base = 0; base < parts.count; base += 32) {
                const int own = base + lane < parts.count ? base + lane : parts.count - 1;
                const int64_t own_at = ATTN_FN(_part_at)(&parts, own);
                /* A part that saw no key has nothing in part_o. */
                const int seen = a.part_l[own_at] != 0.0f;
                const float weight = seen ? attn__exp2(a.part_m[own_at] - zero) : 0.0f;
                const int left = parts.count - base;
                ATTN_UNROLL_4
                for (int s = 0; s < (left < 32 ? left : 32); ++s) {
                    const float w = attn__shuffle(weight, s);
                    const float *const o = a.part_o + ATTN_FN(_part_at)(&parts, base + s) * dim_v + first;
                    if (!attn__shuffle_int(seen, s))
                        continue;
                    ATTN_UNROLL
                    for (int k = 0; k < 4; ++k)
                        sum[k] += first + lane + 32 * k < dim_v ? w * o[lane + 32 * k] : 0.0f;
                }
            }
            ATTN_UNROLL
            for (int k = 0; k < 4; ++k)
                if (first + lane + 32 * k < dim_v)
                    ATTN_FN(_put_o)(&a, to + (first + lane + 32 * k) * a.p.o.stride[3], sum[k] * scale);
        }
        if (lane == 0)
            ATTN_FN(_put_lse)(&a, &u, i, h, lse);
    }
    ATTN_AFTER_KERNEL(); /* or what comes next might not wait for the kernel itself */
#endif
}

#if ATTN_ROPE
#include <attn/template/rope_cuda.cuh>
#endif

/* Relies on what run.h promises of p.  A workspace of less than was asked for means fewer parts. */
static attn_status ATTN_FN(_launch)(const attn_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    ATTN_FN(_args) a;
    size_t m_at, l_at;
#if ATTN_DEBUG
    const attn_status checked = ATTN_FN(_check)(p, workspace, stream);
    if (checked != ATTN_OK)
        return checked;
    workspace = (char *)workspace + ATTN_FINDING_BYTES;
    workspace_bytes -= ATTN_FINDING_BYTES;
#endif
#if ATTN_PERSISTENT
    unsigned long long *const tickets = (unsigned long long *)workspace;
    workspace = (char *)workspace + ATTN_TICKET_BYTES;
    workspace_bytes -= ATTN_TICKET_BYTES;
#endif
#if ATTN_ROPE
    attn_params rotated = *p;
    if (p->rope_style) {
        const cudaError_t r = ATTN_FN(_rotate)(&rotated, workspace, stream);
        if (r != cudaSuccess)
            return ATTN_ERR_CUDA;
        workspace_bytes -= ATTN_FN(_rope_bytes)(p);
        workspace = (char *)workspace + ATTN_FN(_rope_bytes)(p);
        p = &rotated;
    }
#endif
    ATTN_FN(_plan)(p, 0, &a);
    if (ATTN_FN(_part_floats)(&a, &m_at, &l_at) * sizeof(float) > workspace_bytes) {
        ATTN_FN(_plan)(p, 1, &a);
        (void)ATTN_FN(_part_floats)(&a, &m_at, &l_at);
    }
    if (!a.units)
        return ATTN_OK;
    if (a.parts > 1) {
        a.part_o = (float *)workspace;
        a.part_m = (float *)workspace + m_at;
        a.part_l = (float *)workspace + l_at;
    }
#if ATTN_PERSISTENT
    cudaError_t e = cudaSuccess;
    if (p->seq_k)
        e = ATTN_FN(_start)(&a, tickets, stream);
    else
        a.parts = 0; /* a map of nothing cannot be made: the merge of no parts is what an empty row is */
#elif ATTN_KERNEL == ATTN_KERNEL_DECODE
    cudaError_t e = ATTN_FN(_start)(&a, stream);
#else
    const unsigned grid = a.units < ATTN_GRID_MOST ? (unsigned)a.units : ATTN_GRID_MOST;
    cudaError_t e =
        ATTN_LAUNCH(ATTN_FN(_kernel), grid, 32 * ATTN_WARPS, ATTN_SHARED_BYTES, stream, &a);
#endif
    if (e == cudaSuccess && a.parts != 1) {
        const int64_t blocks = ATTN_FN(_ceil)(a.rows, ATTN_MERGE_THREADS / 32);
        e = ATTN_LAUNCH_MERGE(ATTN_FN(_merge_kernel), blocks < ATTN_GRID_MOST ? (unsigned)blocks : ATTN_GRID_MOST,
                        ATTN_MERGE_THREADS, 0, stream, &a);
    }
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_MERGE_THREADS
#undef ATTN_AFTER_KERNEL
#undef ATTN_LAUNCH_MERGE
#undef ATTN_EARLY
#undef ATTN_FINDING_BYTES
#undef ATTN_TICKET_BYTES
#undef ATTN_SECTION_HEADS
#undef ATTN_PACK_GQA
#undef ATTN_PERSISTENT
#undef ATTN_CLUSTERS
#undef ATTN_SHARE_BEST
#undef ATTN_PACK
#undef ATTN_LOW
#undef ATTN_HIGH
#undef ATTN_LOG2E
#undef ATTN_LN2
#undef ATTN_NEG_INF
#undef ATTN_PART_KEYS
#undef ATTN_PART_KEYS_INVARIANT
#undef ATTN_CHUNK_V
#undef ATTN_Q_T
#undef ATTN_Q_SCALAR
#undef ATTN_KV_T
#undef ATTN_KV_SCALAR
