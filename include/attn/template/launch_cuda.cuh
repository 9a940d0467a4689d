/* launch_cuda.cuh - the merge of partial results, and the launch of a CUDA instance.
 *
 * Included by a template after its kernel ATTN_FN(_kernel), last of all, no guard: undoes the macros of
 * plan_cuda.cuh and pair_cuda.cuh. */

#if ATTN_DEBUG
#include <attn/template/debug_cuda.cuh>
#endif

#define ATTN_MERGE_THREADS 128
/* Columns of a lane, four neighbours each time; a warp has a row, or two have one. */
#define ATTN_MERGE_COLUMNS (ATTN_HEAD_DIM_V == 0 || ATTN_HEAD_DIM_V > 128 ? 8 : 4)
#define ATTN_MERGE_WIDE(dim_v) ((dim_v) > 32 * ATTN_MERGE_COLUMNS ? 2 : 1)
#define ATTN_MERGE_ROWS(dim_v) (ATTN_MERGE_THREADS / 32 / ATTN_MERGE_WIDE(dim_v)) /* of a block at a time */
#define ATTN_MERGE_BLOCKS 4 /* on a multiprocessor, at least */

/* The merge may start before the kernel has ended, where that one says so; and waits for its results. */
#ifdef ATTN_EARLY
#define ATTN_AFTER_KERNEL() attn__grid_wait()
#define ATTN_LAUNCH_MERGE(name, grid, threads, shared_bytes, stream, args) \
    ATTN_LAUNCH_EARLY(name, grid, 1, threads, shared_bytes, stream, args)
#else
#define ATTN_AFTER_KERNEL() ((void)0)
#define ATTN_LAUNCH_MERGE ATTN_LAUNCH
#endif

/* Asks for columns column .. column + 3, column + 128 .. of parts s .. s + 3 of a row, before the first is added. */
ATTN_DEVICE void ATTN_FN(_ask_parts)(const ATTN_FN(_args) *a, const ATTN_FN(_parts) *parts, int s, int column,
                                     float (*x)[ATTN_MERGE_COLUMNS])
{
    const int dim_v = ATTN_FN(_dim_v)(a);
    ATTN_UNROLL
    for (int e = 0; e < 4; ++e) {
        if (s + e >= parts->count)
            break;
        const float *const o = a->part_o + ATTN_FN(_part_at)(parts, s + e) * dim_v + column;
        ATTN_UNROLL
        for (int k = 0; k < ATTN_MERGE_COLUMNS; k += 4) {
            if (dim_v % 4 == 0) {
                const float4 y = column + 32 * k < dim_v ? *(const float4 *)(const void *)(o + 32 * k)
                                                         : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                x[e][k] = y.x, x[e][k + 1] = y.y, x[e][k + 2] = y.z, x[e][k + 3] = y.w;
            } else {
                ATTN_UNROLL
                for (int c = 0; c < 4; ++c)
                    x[e][k + c] = column + 32 * k + c < dim_v ? o[32 * k + c] : 0.0f;
            }
        }
    }
}

/* Stores four neighbouring columns of o. */
ATTN_DEVICE void ATTN_FN(_put_four)(const ATTN_FN(_args) *a, int64_t row, int column, const float *x)
{
    const attn_tensor *const o = &a->p.o;
    if (a->wide_o) {
        uint2 y = make_uint2(attn__pack_bf16(x[0], x[1]), attn__pack_bf16(x[2], x[3]));
        if (o->dtype == ATTN_F16)
            y = make_uint2(attn__pack_f16(x[0], x[1]), attn__pack_f16(x[2], x[3]));
        *(uint2 *)(void *)((uint16_t *)o->data + row + column) = y;
        return;
    }
    ATTN_UNROLL
    for (int c = 0; c < 4; ++c)
        if (column + c < ATTN_FN(_dim_v)(a))
            ATTN_FN(_put_o)(a, row + (column + c) * o->stride[3], x[c]);
}

/* Merges the parts of a row, by a warp that has of every `step` columns those from `first` on: lanes along the parts,
 * then along the columns.  Each column adds them in their order. */
ATTN_DEVICE void ATTN_FN(_merge_row)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_parts) *parts,
                                     int i, int h, int first, int step)
{
    const int lane = attn__lane(), dim_v = ATTN_FN(_dim_v)(a), own_first = first + 4 * lane;
    const int64_t to = ATTN_FN(_o_at)(a, u, i, h);
    float x[4][ATTN_MERGE_COLUMNS], lse;
    const int64_t at = ATTN_FN(_part_at)(parts, lane < parts->count ? lane : 0);
    const float first_m = lane < parts->count ? a->part_m[at] : ATTN_NEG_INF;
    const float first_l = lane < parts->count ? a->part_l[at] : 0.0f;
    ATTN_FN(_ask_parts)(a, parts, 0, own_first, x); /* before anything is waited for */
    float m = first_m;
    ATTN_NO_UNROLL
    for (int s = lane + 32; s < parts->count; s += 32)
        m = attn__max(m, a->part_m[ATTN_FN(_part_at)(parts, s)]);
    ATTN_UNROLL
    for (int k = 1; k < 32; k *= 2)
        m = attn__max(m, attn__shuffle_xor(m, k));
    const float zero = m == ATTN_NEG_INF ? 0.0f : m, first_weight = attn__exp2(first_m - zero);
    float l = first_weight * first_l;
    ATTN_NO_UNROLL
    for (int s = lane + 32; s < parts->count; s += 32) {
        const int64_t next = ATTN_FN(_part_at)(parts, s);
        l += attn__exp2(a->part_m[next] - zero) * a->part_l[next];
    }
    ATTN_UNROLL
    for (int k = 1; k < 32; k *= 2)
        l += attn__shuffle_xor(l, k);
    const float scale = ATTN_FN(_finish)(a, h, m, l, &lse);
    ATTN_NO_UNROLL
    for (int column = own_first; column - 4 * lane < dim_v; column += step) {
        float sum[ATTN_MERGE_COLUMNS];
        ATTN_UNROLL
        for (int k = 0; k < ATTN_MERGE_COLUMNS; ++k)
            sum[k] = 0.0f;
        ATTN_NO_UNROLL
        for (int base = 0; base < parts->count; base += 32) {
            const int left = parts->count - base < 32 ? parts->count - base : 32;
            float weight = first_weight;
            int seen = first_l != 0.0f; /* a part that saw no key has nothing in part_o */
            if (base) {
                const int64_t own = ATTN_FN(_part_at)(parts, base + (lane < left ? lane : 0));
                weight = attn__exp2(a->part_m[own] - zero);
                seen = a->part_l[own] != 0.0f;
            }
            ATTN_NO_UNROLL
            for (int s = 0; s < left; s += 4) {
                if (column != own_first || base + s)
                    ATTN_FN(_ask_parts)(a, parts, base + s, column, x);
                ATTN_UNROLL
                for (int e = 0; e < 4; ++e) {
                    const float w = attn__shuffle(weight, s + e);
                    const int there = attn__shuffle_int(seen, s + e) && s + e < left;
                    ATTN_UNROLL
                    for (int k = 0; k < ATTN_MERGE_COLUMNS; ++k)
                        if (there)
                            sum[k] = fmaf(w, x[e][k], sum[k]);
                }
            }
        }
        ATTN_UNROLL
        for (int k = 0; k < ATTN_MERGE_COLUMNS; ++k)
            sum[k] *= scale;
        ATTN_UNROLL
        for (int k = 0; k < ATTN_MERGE_COLUMNS; k += 4)
            if (column + 32 * k < dim_v)
                ATTN_FN(_put_four)(a, to, column + 32 * k, sum + k);
    }
    if (lane == 0 && first == 0)
        ATTN_FN(_put_lse)(a, u, i, h, lse);
}

/* Merges the parts of rows.  Of a list a block has part of a unit, one after the other; else as many rows as it has
 * warps for. */
ATTN_GLOBAL(ATTN_FN(_merge_kernel), ATTN_FN(_args), ATTN_MERGE_THREADS, ATTN_MERGE_BLOCKS)
{
#if ATTN_LISTS && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 10 * ATTN_ARCH
    __trap(); /* compiled for a processor that the kernel is not for, either */
#else
    const int wide = ATTN_MERGE_WIDE(ATTN_FN(_dim_v)(&a)), together = ATTN_MERGE_ROWS(ATTN_FN(_dim_v)(&a));
    const int warp = attn__warp(), per = ATTN_FN(_group)(&a) * a.p.seq_q;
    ATTN_NO_UNROLL
    for (int64_t item = blockIdx.x; item < a.merge_items; item += gridDim.x) {
        ATTN_FN(_unit) u;
        ATTN_FN(_parts) parts;
        int row = warp / wide, end;
#if ATTN_LISTS
        if (a.shares) {
            const int rows = (ATTN_TILE_Q + (1 << a.merge_log2) - 1) >> a.merge_log2;
            const int from = ((int)item & ((1 << a.merge_log2) - 1)) * rows;
            ATTN_AFTER_KERNEL();
            if (!ATTN_FN(_parts_of)(&a, item >> a.merge_log2, &u, &parts))
                continue;
            row += from;
            end = from + rows < u.rows ? from + rows : u.rows;
        } else
#endif
        {
            const int64_t n = item * together + row, head = n / per;
            if (n >= a.rows)
                continue;
            u.b = (int)(head / a.heads);
            u.g = (int)(head - (int64_t)u.b * a.heads);
            ATTN_FN(_sequence)(&a, &u);
            u.row0 = 0;
            u.rows = u.len_q * ATTN_FN(_group)(&a);
            row = (int)(n - head * per);
            end = row < u.rows ? row + 1 : row;
            parts.count = a.parts;
            parts.zero = parts.first = head * per;
            parts.step = a.part_rows;
            ATTN_AFTER_KERNEL();
        }
        ATTN_NO_UNROLL
        for (; row < end; row += together) {
            const ATTN_FN(_place) at = ATTN_FN(_place_of)(&a, &u, row);
            ATTN_FN(_parts) own = parts;
            own.zero += row;
            own.first += row;
            ATTN_FN(_merge_row)(&a, &u, &own, at.i, ATTN_FN(_head)(&a, &u, at), warp % wide * 32 * ATTN_MERGE_COLUMNS,
                                wide * 32 * ATTN_MERGE_COLUMNS);
        }
    }
    ATTN_AFTER_KERNEL(); /* or what comes next might not wait for the kernel itself */
#endif
}

/* Starts it. */
static cudaError_t ATTN_FN(_merge)(ATTN_FN(_args) *a, void *stream)
{
    const int together = ATTN_MERGE_ROWS(a->p.head_dim_v);
    a->merge_items = ATTN_FN(_ceil)(a->rows, together);
#if ATTN_LISTS
    if (a->shares) { /* as many blocks as run at a time, if all units are cut that can be */
        const int64_t whole = (int64_t)a->p.batch * a->heads * a->blocks, most = whole < a->units ? whole : a->units;
        attn_device device;
        ATTN_FN(_device)(&device);
        while (most << a->merge_log2 < ATTN_MERGE_BLOCKS * device.sms && together << a->merge_log2 < ATTN_TILE_Q)
            ++a->merge_log2;
        a->merge_items = whole << a->merge_log2;
    }
#endif
    return ATTN_LAUNCH_MERGE(ATTN_FN(_merge_kernel),
                             a->merge_items < ATTN_GRID_MOST ? (unsigned)a->merge_items : ATTN_GRID_MOST,
                             ATTN_MERGE_THREADS, 0, stream, a);
}

#if ATTN_ROPE
#include <attn/template/rope_cuda.cuh>
#endif

/* Relies on what run.h promises of p.  A workspace of less than was asked for means fewer parts. */
static attn_status ATTN_FN(_launch)(const attn_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    ATTN_FN(_args) a;
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
    if (ATTN_FN(_part_floats)(&a, NULL) * sizeof(float) > workspace_bytes)
        ATTN_FN(_plan)(p, 1, &a);
    if (!a.units)
        return ATTN_OK;
    (void)ATTN_FN(_part_floats)(&a, (float *)workspace);
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
    if (e == cudaSuccess && a.parts != 1)
        e = ATTN_FN(_merge)(&a, stream);
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_MERGE_THREADS
#undef ATTN_MERGE_BLOCKS
#undef ATTN_MERGE_COLUMNS
#undef ATTN_MERGE_WIDE
#undef ATTN_MERGE_ROWS
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
