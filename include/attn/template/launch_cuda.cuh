/* launch_cuda.cuh - the merge of partial results, and the launch of a CUDA instance.
 *
 * Included by a template after its kernel ATTN_FN(_kernel), last of all, no guard: undoes the macros of
 * plan_cuda.cuh and pair_cuda.cuh. */

#if ATTN_DEBUG
#include <attn/template/debug_cuda.cuh>
#endif

#define ATTN_MERGE_THREADS 128
#define ATTN_MERGE_BLOCKS  1024 /* of wide rows, before one has several */

/* The merge may start before the kernel has ended, where that one says so; and waits for its results. */
#ifdef ATTN_EARLY
#define ATTN_AFTER_KERNEL() attn__grid_wait()
#define ATTN_LAUNCH_MERGE(name, grid, threads, shared_bytes, stream, args) \
    ATTN_LAUNCH_EARLY(name, grid, 1, threads, shared_bytes, stream, args)
#else
#define ATTN_AFTER_KERNEL() ((void)0)
#define ATTN_LAUNCH_MERGE ATTN_LAUNCH
#endif

/* Merges the parts of rows: a warp has one after the other, or a block some neighbours if they have more than 128
 * columns; lanes along the parts, then along the columns.  Each column adds them in their order. */
ATTN_GLOBAL(ATTN_FN(_merge_kernel), ATTN_FN(_args), ATTN_MERGE_THREADS, 1)
{
#if ATTN_LISTS && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 10 * ATTN_ARCH
    __trap(); /* compiled for a processor that the kernel is not for, either */
#else
    const int warps = ATTN_MERGE_THREADS / 32, dim_v = a.p.head_dim_v, lane = attn__lane();
    const int per = ATTN_FN(_group)(&a) * a.p.seq_q;
    const int warp = (int)(threadIdx.x >> 5), together = dim_v > 128; /* all warps have the same row */
    const int64_t each = together ? (a.rows + gridDim.x - 1) / gridDim.x : 1;
    const int64_t step = together ? 1 : (int64_t)gridDim.x * warps;
    const int64_t begin = together ? blockIdx.x * each : (int64_t)blockIdx.x * warps + warp;
    const int64_t end = together && begin + each < a.rows ? begin + each : a.rows;
#if ATTN_LISTS
    ATTN_FN(_parts) of_block = { 0, 0, 0, 0 }; /* of rows: where the parts of its first one lie */
    int64_t block = -1;
    int cut = 0;
#endif
    for (int64_t n = begin; n < end; n += step) {
        ATTN_FN(_unit) u;
        const int row = (int)(n % per);
        u.g = (int)(n / per % a.heads);
        u.b = (int)(n / per / a.heads);
        ATTN_FN(_sequence)(&a, &u);
        const int group = ATTN_FN(_group)(&a), i = row / group, h = u.g * group + row % group;
        if (i >= u.len_q)
            continue;
        ATTN_FN(_parts) parts = { a.parts, n, n, a.part_rows };
#if ATTN_LISTS
        if (a.shares) {
            const int within = row % ATTN_TILE_Q;
            if (block != n - within) {
                block = n - within;
                cut = ATTN_FN(_parts_of)(&a, &u, row - within, &of_block);
            }
            if (!cut)
                continue;
            parts = of_block;
            parts.first += within;
            parts.zero += within;
        }
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
        /* Each lane has every 32nd dim. */
        for (int first = together ? 128 * warp : 0; first < dim_v; first += together ? 128 * warps : 128) {
            float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            for (int base = 0; base < parts.count; base += 32) {
                const int own = base + lane < parts.count ? base + lane : parts.count - 1;
                const int64_t own_at = ATTN_FN(_part_at)(&parts, own);
                /* A part that saw no key has nothing in part_o. */
                const int seen = a.part_l[own_at] != 0.0f;
                const float weight = seen ? attn__exp2(a.part_m[own_at] - zero) : 0.0f;
                const int left = parts.count - base;
                for (int s = 0; s < (left < 32 ? left : 32); s += 4) {
                    float x[4][4]; /* all that is needed of four parts is asked for first */
                    int there[4];
                    ATTN_UNROLL
                    for (int e = 0; e < 4; ++e) {
                        const float *const o = a.part_o + ATTN_FN(_part_at)(&parts, base + s + e) * dim_v + first;
                        there[e] = attn__shuffle_int(seen, s + e) && s + e < left;
                        ATTN_UNROLL
                        for (int k = 0; k < 4; ++k)
                            x[e][k] = there[e] && first + lane + 32 * k < dim_v ? o[lane + 32 * k] : 0.0f;
                    }
                    ATTN_UNROLL
                    for (int e = 0; e < 4; ++e) {
                        const float w = attn__shuffle(weight, s + e);
                        ATTN_UNROLL
                        for (int k = 0; k < 4; ++k)
                            sum[k] += there[e] ? w * x[e][k] : 0.0f;
                    }
                }
            }
            ATTN_UNROLL
            for (int k = 0; k < 4; ++k)
                if (first + lane + 32 * k < dim_v)
                    ATTN_FN(_put_o)(&a, to + (first + lane + 32 * k) * a.p.o.stride[3], sum[k] * scale);
        }
        if (lane == 0 && !(together && warp))
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
#elif ATTN_LISTS
    cudaError_t e = ATTN_FN(_start)(&a, stream);
#else
    const unsigned grid = a.units < ATTN_GRID_MOST ? (unsigned)a.units : ATTN_GRID_MOST;
    cudaError_t e =
        ATTN_LAUNCH(ATTN_FN(_kernel), grid, 32 * ATTN_WARPS, ATTN_SHARED_BYTES, stream, &a);
#endif
    if (e == cudaSuccess && a.parts != 1) {
        const int64_t most = a.rows < 8 * ATTN_MERGE_BLOCKS ? ATTN_MERGE_BLOCKS : a.rows / 8;
        const int64_t blocks = p->head_dim_v <= 128 ? ATTN_FN(_ceil)(a.rows, ATTN_MERGE_THREADS / 32)
                               : a.rows < most      ? a.rows
                                                    : most;
        e = ATTN_LAUNCH_MERGE(ATTN_FN(_merge_kernel), blocks < ATTN_GRID_MOST ? (unsigned)blocks : ATTN_GRID_MOST,
                        ATTN_MERGE_THREADS, 0, stream, &a);
    }
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_MERGE_THREADS
#undef ATTN_MERGE_BLOCKS
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
#undef ATTN_SHARE_TILES
#undef ATTN_LISTS
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
