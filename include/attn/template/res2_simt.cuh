/* res2_simt.cuh - phase 2 of Attention Residuals on any GPU, and its gradient (res.h has the equations).
 *
 * Included by instance.h for ATTN_ARCH_SIMT, no guard.  It is bound by memory: of an element some 10 multiply-adds
 * for 6 to 16 bytes.  A token's row is read once, ATTN_RES_CHUNKS times 8 elements a thread, and stays in registers
 * across the sums over it.
 *
 * Forward, a block has one token and as many warps as hold its row: blocks that end and begin hide the memory's
 * latency, and multiprocessors nearer to it take more of them.  What counts is how many have room, and that there
 * are few instructions, which bind next: rows stay packed in between, each has one address, nothing is divided.
 *
 * Backward, blocks stay, with w and a thread's share of dw in registers, and a token belongs to a group of a block's
 * warps.  Then what hides the latency is how much is asked for ahead, more than registers hold.  So each thread has a
 * ring of stages in shared memory, to which cp.async brings its own pieces of later tokens.  No other thread reads
 * them, which is why the ring has no barrier. */
#include <attn/template/res_cuda.cuh>

/* Chunks of 8 elements of a thread, if a token takes all warps of the block; pieces of 16 bytes of a chunk. */
#define ATTN_RES_MOST (ATTN_HEAD_DIM ? ATTN_HEAD_DIM : ATTN_RES_DIM)
#define ATTN_RES_CHUNKS ((ATTN_RES_MOST / 8 + ATTN_THREADS - 1) / ATTN_THREADS)
#define ATTN_RES_PIECES (ATTN_DTYPE == ATTN_F32 ? 2 : 1)
#define ATTN_ROW_ALIGN 0

#if ATTN_KERNEL == ATTN_KERNEL_RES2
/* Two sums of each four lanes, twice. */
#define ATTN_SHARED_BYTES (2 * 64 * ATTN_WARPS)
/* Blocks that registers are shared among: no more than have room where that is for 1024 threads. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 750
#define ATTN_RES_ROOM (ATTN_BLOCKS * ATTN_THREADS > 1024 ? 1024 / ATTN_THREADS : ATTN_BLOCKS)
#else
#define ATTN_RES_ROOM ATTN_BLOCKS
#endif

/* What a thread has of a row, as it lies: chunks of 8 elements that begin at its first one, 256 later ... */
typedef struct ATTN_FN(_row) {
    ATTN_FN(_raw) x[ATTN_RES_CHUNKS];
} ATTN_FN(_row);

/* plain, here and below, a constant: all rows are of the instance's type and begin at multiples of 16 bytes. */
ATTN_DEVICE int ATTN_FN(_type)(const attn_res_tensor *x, int plain)
{
    return plain ? ATTN_DTYPE : x->dtype;
}

ATTN_DEVICE char *ATTN_FN(_place)(const attn_res_tensor *x, int64_t t, int d, int plain)
{
    return (char *)x->data + (t * x->stride[1] + d) * (ATTN_FN(_type)(x, plain) == ATTN_F32 ? 4 : 2);
}

/* Row t of x from element d on, if it is wanted; else, and from `dim` on, zeros. */
ATTN_DEVICE void ATTN_FN(_get)(const attn_res_tensor *x, int wanted, int64_t t, int d, int dim, int wide, int plain,
                               ATTN_FN(_row) *row)
{
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c)
        row->x[c].x[0] = row->x[c].x[1] = make_uint4(0, 0, 0, 0);
    if (!wanted)
        return;
    const char *const from = ATTN_FN(_place)(x, t, d, plain);
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c)
        if (d + 256 * c < dim)
            ATTN_FN(_fetch)(from, 256 * c, ATTN_FN(_type)(x, plain), plain || wide, &row->x[c]);
}

/* Stores a row of `type`, if there is a tensor for it. */
ATTN_DEVICE void ATTN_FN(_give)(const attn_res_tensor *x, int64_t t, int d, int dim, int wide, int plain,
                                const ATTN_FN(_row) *row, int type)
{
    if (!x->data)
        return;
    char *const to = ATTN_FN(_place)(x, t, d, plain);
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        float y[8];
        if (d + 256 * c >= dim)
            continue;
        ATTN_UNROLL
        for (int i = 0; i < ATTN_RES_PIECES && plain; ++i)
            *(uint4 *)(void *)(to + (c * 32 * ATTN_RES_PIECES + i) * 16) = row->x[c].x[i];
        if (!plain) {
            ATTN_FN(_open)(&row->x[c], type, y);
            ATTN_FN(_store)(to, 256 * c, x->dtype, wide, y);
        }
    }
}

/* The other way round than _open. */
ATTN_DEVICE void ATTN_FN(_close)(const float *x, int dtype, ATTN_FN(_raw) *raw)
{
    if (dtype == ATTN_F32) {
        uint32_t y[8];
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            y[i] = __float_as_uint(x[i]);
        raw->x[0] = make_uint4(y[0], y[1], y[2], y[3]);
        raw->x[1] = make_uint4(y[4], y[5], y[6], y[7]);
    } else {
        raw->x[0] = make_uint4(ATTN_FN(_pack)(x[0], x[1], dtype), ATTN_FN(_pack)(x[2], x[3], dtype),
                               ATTN_FN(_pack)(x[4], x[5], dtype), ATTN_FN(_pack)(x[6], x[7], dtype));
    }
}

/* Sums over the block, each in all threads.  Four lanes' are added before the barrier, those of all behind it. */
ATTN_DEVICE void ATTN_FN(_block_sums)(unsigned char *shared, float *x, float *y)
{
    const int lane = attn__lane(), count = (int)blockDim.x / 4;
    if (count > 8) {
        float2 *const given = (float2 *)(void *)shared;
        ATTN_UNROLL
        for (int mask = 1; mask < 4; mask *= 2) {
            *x += attn__shuffle_xor(*x, mask);
            *y += attn__shuffle_xor(*y, mask);
        }
        if (lane % 4 == 0)
            given[threadIdx.x / 4] = make_float2(*x, *y);
        __syncthreads();
        *x = *y = 0.0f;
        ATTN_UNROLL
        for (int i = 0; i < 8 * ATTN_WARPS; i += 32)
            if (i + lane < count) {
                const float2 z = given[i + lane];
                *x += z.x;
                *y += z.y;
            }
    }
    *x = ATTN_FN(_warp_sum)(*x);
    *y = ATTN_FN(_warp_sum)(*y);
}

/* The block's token. */
ATTN_DEVICE void ATTN_FN(_one)(const ATTN_FN(_args) *a, unsigned char *shared, int plain)
{
    const int dim = a->p.dim, first = dim - a->p.key_dim;
    const int d = ((int)threadIdx.x / 32 * 32 * ATTN_RES_CHUNKS + attn__lane()) * 8;
    const int64_t t = ATTN_FN(_token)(a, a->from + blockIdx.x);
    const int mixes = a->p.h.data || a->p.norm.data, adds = a->p.update.data != NULL;
    ATTN_FN(_row) p, update, o1, w;
    ATTN_FN(_get)(&a->p.p, 1, t, d, dim, a->wide & ATTN_FN(_wide_p), plain, &p);
    ATTN_FN(_get)(&a->p.update, adds, t, d, dim, a->wide & ATTN_FN(_wide_update), plain, &update);
    ATTN_FN(_get)(&a->p.o1, mixes, t, d, dim, a->wide & ATTN_FN(_wide_o1), plain, &o1);
    const float lse = mixes ? a->p.lse[t] : 0.0f;
    int type = ATTN_DTYPE; /* of p */
    float x[8], y[8];
    if (adds) {
        type = plain ? ATTN_DTYPE : a->p.p_out.dtype;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            ATTN_FN(_open)(&p.x[c], ATTN_DTYPE, x);
            ATTN_FN(_open)(&update.x[c], ATTN_FN(_type)(&a->p.update, plain), y);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                x[i] += y[i];
            ATTN_FN(_close)(x, type, &p.x[c]);
        }
    }
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        w.x[c].x[0] = w.x[c].x[1] = make_uint4(0, 0, 0, 0);
        if (a->quick && d + 256 * c >= first && d + 256 * c < dim) /* while the rows are under way */
            ATTN_FN(_fetch)(a->p.w.data, d - first + 256 * c, ATTN_DTYPE, 1, &w.x[c]);
    }
    ATTN_FN(_give)(&a->p.p_out, t, d, dim, a->wide & ATTN_FN(_wide_p_out), plain, &p, type);
    ATTN_FN(_give)(&a->p.block, t, d, dim, a->wide & ATTN_FN(_wide_block), plain, &p, type);
    if (!mixes)
        return;
    float by_w = 0.0f, squares = 0.0f, unused = 0.0f;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int is_key = d + 256 * c >= first && d + 256 * c < dim;
        if (a->quick)
            ATTN_FN(_open)(&w.x[c], ATTN_DTYPE, y);
        else if (is_key)
            ATTN_FN(_load_w)(a, 0, d + 256 * c - first, y);
        ATTN_FN(_open)(&p.x[c], type, x);
        ATTN_UNROLL
        for (int i = 0; i < 8 && is_key; ++i) {
            by_w += x[i] * y[i];
            squares += x[i] * x[i];
        }
    }
    ATTN_FN(_block_sums)(shared, &by_w, &squares);
    const float r = attn__inverse_root(squares * a->per_key + a->p.eps);
    const float f = ATTN_FN(_sigmoid_minus)(lse - by_w * (r * a->p.scale));
    const int type_h = ATTN_FN(_type)(&a->p.h, plain);
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS && (!plain || f != 1.0f); ++c) {
        ATTN_FN(_open)(&p.x[c], type, x);
        ATTN_FN(_open)(&o1.x[c], ATTN_FN(_type)(&a->p.o1, plain), y);
        ATTN_UNROLL
        for (int i = 0; i < 8 && f != 1.0f; ++i) /* else O1 may be anything */
            x[i] = y[i] + f * (x[i] - y[i]);
        ATTN_FN(_close)(x, type_h, &p.x[c]);
    }
    ATTN_FN(_give)(&a->p.h, t, d, dim, a->wide & ATTN_FN(_wide_h), plain, &p, type_h);
    if (!a->p.norm.data)
        return;
    squares = 0.0f;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        ATTN_FN(_open)(&p.x[c], type_h, x);
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            squares += x[i] * x[i]; /* zeros from dim on */
    }
    ATTN_FN(_block_sums)(shared + ATTN_SHARED_BYTES / 2, &squares, &unused);
    const float by = attn__inverse_root(squares * a->per_dim + a->p.norm_eps);
    const int type_norm = ATTN_FN(_type)(&a->p.norm, plain);
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        if (d + 256 * c >= dim)
            continue;
        if (a->p.norm_gain.data)
            ATTN_FN(_load)(a->p.norm_gain.data, d + 256 * c, a->p.norm_gain.dtype,
                           a->wide & ATTN_FN(_wide_norm_gain), y);
        ATTN_FN(_open)(&p.x[c], type_h, x);
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            x[i] = a->p.norm_gain.data ? x[i] * by * y[i] : x[i] * by;
        ATTN_FN(_close)(x, type_norm, &p.x[c]);
    }
    ATTN_FN(_give)(&a->p.norm, t, d, dim, a->wide & ATTN_FN(_wide_norm), plain, &p, type_norm);
}

ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_RES_ROOM)
{
    ATTN_SHARED(shared);
    ATTN_FN(_one)(&a, shared, 1);
}

ATTN_GLOBAL(ATTN_FN(_kernel_any), ATTN_FN(_args), ATTN_THREADS, 1)
{
    ATTN_SHARED(shared);
    ATTN_FN(_one)(&a, shared, 0);
}

#else
/* Backward: blocks of a multiprocessor that stay. */
#define ATTN_RES_STAY ATTN_BLOCKS
#define ATTN_RES_STAGE_BYTES (3 * ATTN_RES_CHUNKS * ATTN_RES_PIECES * 16 * ATTN_THREADS)
/* Sums of up to 4 numbers of each warp, twice, by turns.  Behind them stages, as many as have room; none will do. */
#define ATTN_SHARED_BYTES (2 * 16 * ATTN_WARPS)
#include <attn/template/res_stages_cuda.cuh>

/* What a thread has of each token of its warps' group: chunks of 8 elements that begin at d, d + 256 ... */
typedef struct ATTN_FN(_share) {
    int64_t token, stride; /* the first token of the group, and how far it is to its next */
    int d, number, first;  /* number: of the group in the block; first: its first warp */
    int here;              /* whether there is such a token */
    int turn;              /* of the two places for sums of warps */
} ATTN_FN(_share);

ATTN_DEVICE void ATTN_FN(_share_make)(const ATTN_FN(_args) *a, ATTN_FN(_share) *own)
{
    const int warp = (int)threadIdx.x / 32, at_once = ATTN_WARPS / a->group;
    own->number = warp / a->group;
    own->first = own->number * a->group;
    own->d = ((warp - own->first) * 32 * ATTN_RES_CHUNKS + attn__lane()) * 8;
    own->token = (int64_t)blockIdx.x * at_once + own->number;
    own->stride = (int64_t)gridDim.x * at_once;
    own->here = own->turn = 0;
}

/* Three sums over the warps of the group. */
ATTN_DEVICE void ATTN_FN(_group_sums)(const ATTN_FN(_args) *a, unsigned char *shared, ATTN_FN(_share) *own, float *x)
{
    float4 *const given = (float4 *)(void *)shared + own->turn * ATTN_WARPS;
    ATTN_UNROLL
    for (int i = 0; i < 3; ++i)
        x[i] = ATTN_FN(_warp_sum)(x[i]);
    if (a->group == 1)
        return;
    if (attn__lane() == 0)
        given[threadIdx.x / 32] = make_float4(x[0], x[1], x[2], 0.0f);
    __syncthreads(); /* whoever writes here again has come to the other turn's, which is behind all reads of this one */
    own->turn ^= 1;
    x[0] = x[1] = x[2] = 0.0f;
    ATTN_UNROLL
    for (int w = 0; w < ATTN_WARPS; ++w) {
        if (w >= a->group)
            continue;
        const float4 y = given[own->first + w];
        x[0] += y.x;
        x[1] += y.y;
        x[2] += y.z;
    }
}

/* The rows of a token that are read.  What a thread has of them, as it lies. */
enum { ATTN_FN(_row_p), ATTN_FN(_row_o1), ATTN_FN(_row_dh), ATTN_FN(_rows_read) };
typedef struct ATTN_FN(_rows) {
    ATTN_FN(_raw) x[ATTN_FN(_rows_read)][ATTN_RES_CHUNKS];
} ATTN_FN(_rows);

ATTN_DEVICE const attn_res_tensor *ATTN_FN(_tensor)(const ATTN_FN(_args) *a, int row)
{
    return row == ATTN_FN(_row_p) ? &a->p.p : row == ATTN_FN(_row_o1) ? &a->p.o1 : &a->p.dh;
}

/* Where a stage has this thread's piece of a row. */
ATTN_DEVICE int ATTN_FN(_place)(int row, int chunk, int piece)
{
    return (((row * ATTN_RES_CHUNKS + chunk) * ATTN_RES_PIECES + piece) * ATTN_THREADS + (int)threadIdx.x) * 16;
}

/* Asks for the rows of the n-th token; what there is not becomes zeros. */
ATTN_DEVICE void ATTN_FN(_copy_rows)(const ATTN_FN(_args) *a, const ATTN_FN(_share) *own, int64_t n,
                                     unsigned char *stage)
{
    const int64_t t = ATTN_FN(_token)(a, n);
    ATTN_UNROLL
    for (int row = 0; row < ATTN_FN(_rows_read); ++row) {
        const attn_res_tensor *const from = ATTN_FN(_tensor)(a, row);
        const char *const data = (const char *)from->data + (t * from->stride[1] + own->d) * (2 * ATTN_RES_PIECES);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c)
            ATTN_UNROLL
            for (int i = 0; i < ATTN_RES_PIECES; ++i)
                attn__copy_async(stage + ATTN_FN(_place)(row, c, i), data + (c * 32 * ATTN_RES_PIECES + i) * 16,
                                 n < a->p.tokens && own->d + 256 * c < a->p.dim ? 16 : 0);
    }
    attn__copy_async_commit();
}

/* The rows of the n-th token from a stage of the ring, which then is a later token's; the next stage. */
ATTN_DEVICE int ATTN_FN(_take_rows)(const ATTN_FN(_args) *a, const ATTN_FN(_share) *own, int64_t n,
                                    unsigned char *ring, int stage, ATTN_FN(_rows) *rows)
{
    unsigned char *const from = ring + stage * a->stage_bytes;
    ATTN_FN(_wait)(a->stages - 1);
    ATTN_UNROLL
    for (int row = 0; row < ATTN_FN(_rows_read); ++row)
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c)
            ATTN_UNROLL
            for (int i = 0; i < ATTN_RES_PIECES; ++i)
                rows->x[row][c].x[i] = *(const uint4 *)(const void *)(from + ATTN_FN(_place)(row, c, i));
    ATTN_FN(_copy_rows)(a, own, n + a->stages * own->stride, from);
    return stage + 1 < a->stages ? stage + 1 : 0;
}

/* The rows of token t from memory, of any type. */
ATTN_DEVICE void ATTN_FN(_fetch_rows)(const ATTN_FN(_args) *a, const ATTN_FN(_share) *own, int64_t t,
                                      ATTN_FN(_rows) *rows)
{
    const int wide[] = { ATTN_FN(_wide_p), ATTN_FN(_wide_o1), ATTN_FN(_wide_dh) };
    ATTN_UNROLL
    for (int row = 0; row < ATTN_FN(_rows_read); ++row)
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const attn_res_tensor *const from = ATTN_FN(_tensor)(a, row);
            const int d = own->d + 256 * c;
            ATTN_FN(_raw) *const raw = &rows->x[row][c];
            raw->x[0] = raw->x[1] = make_uint4(0, 0, 0, 0);
            if (own->here && d < a->p.dim)
                ATTN_FN(_fetch)(from->data, t * from->stride[1] + d, row ? from->dtype : ATTN_DTYPE,
                                a->wide & wide[row], raw);
        }
}

/* The gradients as res_cpu.h has them. */
ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, unsigned char *shared, int plain)
{
    const int first = a->p.dim - a->p.key_dim, add = (a->p.flags & ATTN_RES_ADD_DP) != 0;
    const float mean = 1.0f / (float)a->p.key_dim;
    unsigned char *const ring = shared + ATTN_SHARED_BYTES;
    int stage = 0;
    float dw[ATTN_RES_CHUNKS][8], w[ATTN_RES_CHUNKS][8];
    ATTN_FN(_share) own;
    ATTN_FN(_rows) rows;
    ATTN_FN(_share_make)(a, &own);
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c)
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            dw[c][i] = 0.0f;
    for (int s = 0; s < a->stages && plain; ++s)
        ATTN_FN(_copy_rows)(a, &own, own.token + s * own.stride, ring + s * a->stage_bytes);
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) { /* w behind them: whoever converts it waits for it */
        const int d = own.d + 256 * c;
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            w[c][i] = 0.0f;
        if (d >= first && d < a->p.dim)
            ATTN_FN(_load_w)(a, 0, d - first, w[c]);
    }
    float next_lse = own.token < a->p.tokens ? a->p.lse[ATTN_FN(_token)(a, own.token)] : 0.0f;
    for (int64_t n = own.token; n - own.number < a->p.tokens; n += own.stride) {
        const int64_t t = ATTN_FN(_token)(a, n);
        const int here = own.here = n < a->p.tokens;
        float sum[ATTN_RES_CHUNKS][8], g[ATTN_RES_CHUNKS][8], sums[3] = { 0.0f, 0.0f, 0.0f };
        const float lse = next_lse;
        next_lse = n + own.stride < a->p.tokens ? a->p.lse[ATTN_FN(_token)(a, n + own.stride)] : 0.0f;
        if (plain)
            stage = ATTN_FN(_take_rows)(a, &own, n, ring, stage, &rows);
        else
            ATTN_FN(_fetch_rows)(a, &own, t, &rows);
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = own.d + 256 * c;
            float o1[8];
            ATTN_FN(_open)(&rows.x[ATTN_FN(_row_p)][c], ATTN_DTYPE, sum[c]);
            ATTN_FN(_open)(&rows.x[ATTN_FN(_row_dh)][c], plain ? ATTN_DTYPE : a->p.dh.dtype, g[c]);
            ATTN_FN(_open)(&rows.x[ATTN_FN(_row_o1)][c], plain ? ATTN_DTYPE : a->p.o1.dtype, o1);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                sums[2] += g[c][i] * (o1[i] - sum[c][i]);
            ATTN_UNROLL
            for (int i = 0; i < 8 && d >= first; ++i) {
                sums[0] += sum[c][i] * w[c][i];
                sums[1] += sum[c][i] * sum[c][i];
            }
        }
        ATTN_FN(_group_sums)(a, shared, &own, sums);
        const float r = attn__inverse_root(sums[1] * mean + a->p.eps);
        const float z = sums[0] * (r * a->p.scale), f = ATTN_FN(_sigmoid_minus)(lse - z);
        const float rest = ATTN_FN(_sigmoid_minus)(z - lse), dlse = f * rest * sums[2];
        const float by_w = -dlse * a->p.scale * r, down = dlse * z * r * r * mean;
        if (here && own.d == 0 && a->p.dlse)
            a->p.dlse[t] = dlse;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = own.d + 256 * c;
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
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = own.d + 256 * c;
        if (d < a->p.dim && d >= first)
            ATTN_FN(_store)(a->part, own.token * a->p.key_dim + d - first, ATTN_F32, 1, dw[c]);
    }
}
/* plain, a constant: all rows are of the instance's type and begin at multiples of 16 bytes.  Then the text has a third
 * of the instructions, which else would bind, and fewer registers. */
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    ATTN_FN(_tokens)(&a, shared, 1);
}

ATTN_GLOBAL(ATTN_FN(_kernel_any), ATTN_FN(_args), ATTN_THREADS, 1)
{
    ATTN_SHARED(shared);
    ATTN_FN(_tokens)(&a, shared, 0);
}
#endif

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

#if ATTN_RES_BACKWARD
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
    const int64_t at_once = ATTN_WARPS / ATTN_FN(_group)(p);
    return ATTN_FN(_grid_of_runs)(p->tokens / at_once + (p->tokens % at_once != 0), 0);
}

/* Sums of dw: each group of warps has its own. */
static int64_t ATTN_FN(_parts)(const attn_res_params *p)
{
    return ATTN_FN(_blocks)(p) * (ATTN_WARPS / ATTN_FN(_group)(p));
}

/* Relies on what run/res.h promises of p. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t bytes, void *stream)
{
    const int64_t blocks = ATTN_FN(_blocks)(p), parts = ATTN_FN(_parts)(p), turns = (p->tokens + parts - 1) / parts;
    attn_device device;
    ATTN_FN(_args) a;
    ATTN_FN(_start)(p, workspace, parts, &a);
    ATTN_FN(_device)(&device);
    (void)bytes;
    a.group = ATTN_FN(_group)(p);
    a.stage_bytes = ATTN_RES_STAGE_BYTES;
    a.plain = ATTN_FN(_is_plain)(&a) && ATTN_SHARED_BYTES + a.stage_bytes <= device.shared;
    if (a.plain)
        a.stages = ATTN_FN(_stages)(device.shared, ATTN_SHARED_BYTES, a.stage_bytes, 1, turns < 4 ? (int)turns : 4);
    const int shared = ATTN_SHARED_BYTES + a.stages * a.stage_bytes;
    cudaError_t e = a.plain ? ATTN_LAUNCH(ATTN_FN(_kernel), (unsigned)blocks, ATTN_THREADS, shared, stream, &a)
                            : ATTN_LAUNCH(ATTN_FN(_kernel_any), (unsigned)blocks, ATTN_THREADS, shared, stream, &a);
    if (e == cudaSuccess)
        e = ATTN_FN(_finish)(&a, stream);
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_RES_STAY
#undef ATTN_RES_STAGE_BYTES
#else
static int64_t ATTN_FN(_parts)(const attn_res_params *p)
{
    (void)p;
    return 0;
}

/* Relies on what run/res.h promises of p. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t bytes, void *stream)
{
    const unsigned threads = (unsigned)((p->dim / 8 + 32 * ATTN_RES_CHUNKS - 1) / (32 * ATTN_RES_CHUNKS) * 32);
    ATTN_FN(_args) a;
    ATTN_FN(_start)(p, workspace, 0, &a);
    (void)bytes;
    a.plain = ATTN_FN(_is_plain)(&a);
    a.quick = p->w.dtype == ATTN_DTYPE && a.wide & ATTN_FN(_wide_w) && !p->gain.data;
    cudaError_t e = cudaSuccess;
    for (; e == cudaSuccess && a.from < p->tokens; a.from += ATTN_GRID_MOST) {
        const unsigned blocks = ATTN_FN(_grid)(p->tokens - a.from, INT32_MAX);
        e = a.plain ? ATTN_LAUNCH(ATTN_FN(_kernel), blocks, threads, ATTN_SHARED_BYTES, stream, &a)
                    : ATTN_LAUNCH(ATTN_FN(_kernel_any), blocks, threads, ATTN_SHARED_BYTES, stream, &a);
    }
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_RES_ROOM
#endif

#undef ATTN_RES_MOST
#undef ATTN_RES_CHUNKS
#undef ATTN_RES_PIECES
#include <attn/template/res_end_cuda.cuh>
