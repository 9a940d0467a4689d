/* res2_simt.cuh - phase 2 of Attention Residuals on any GPU, and its gradient (res.h has the equations).
 *
 * Included by instance.h for ATTN_ARCH_SIMT, no guard.  It is bound by memory: of an element some 10 multiply-adds
 * for 6 to 16 bytes.  A token belongs to a group of warps of a block, as many as hold its row, ATTN_RES_CHUNKS times
 * 8 elements a thread: the row is read once, and stays in registers across the sums over the group.
 *
 * Forward, a group has one token: blocks that end and begin hide the memory's latency, and multiprocessors nearer to it
 * take more of them.
 *
 * Backward, and forward with the longest rows if there is no update, blocks stay, with w and a thread's share of dw in
 * registers.  Then what hides the latency is how much is asked for ahead, more than registers hold.  So each thread has
 * a ring of stages in shared memory, to which cp.async brings its own pieces of later tokens.  No other thread reads
 * them, which is why the ring has no barrier. */

/* Blocks of a multiprocessor that stay; whether forward they do: rows of which registers hold too few, if but two are
 * read. */
#define ATTN_RES_STAY (ATTN_RES_BACKWARD ? ATTN_BLOCKS : 1)
#define ATTN_RES_STAYS (!ATTN_RES_BACKWARD && ATTN_DTYPE != ATTN_F32 && ATTN_RES_MOST > 4096)
#include <attn/template/res_cuda.cuh>
#include <attn/template/res_stages_cuda.cuh>

/* Chunks of 8 elements of a thread, if a token takes all warps of the block; pieces of 16 bytes of a chunk. */
#define ATTN_RES_MOST (ATTN_HEAD_DIM ? ATTN_HEAD_DIM : ATTN_RES_DIM)
#define ATTN_RES_CHUNKS ((ATTN_RES_MOST / 8 + ATTN_THREADS - 1) / ATTN_THREADS)
#define ATTN_RES_PIECES (ATTN_DTYPE == ATTN_F32 ? 2 : 1)
#define ATTN_RES_STAGE_BYTES(rows) ((rows) * ATTN_RES_CHUNKS * ATTN_RES_PIECES * 16 * ATTN_THREADS)
/* Blocks that registers are shared among, forward: no more than have room where that is for 1024 threads. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 750
#define ATTN_RES_ROOM (ATTN_BLOCKS * ATTN_THREADS > 1024 ? 1024 / ATTN_THREADS : ATTN_BLOCKS)
#else
#define ATTN_RES_ROOM ATTN_BLOCKS
#endif
/* Sums of up to 4 numbers of each warp, twice, by turns.  Behind them stages, as many as have room; none will do. */
#define ATTN_SHARED_BYTES (2 * 16 * ATTN_WARPS)
#define ATTN_ROW_ALIGN 0

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
    own->token = a->from + (int64_t)blockIdx.x * at_once + own->number;
    own->stride = (int64_t)gridDim.x * at_once;
    own->here = own->turn = 0;
}

/* Sums of `count` numbers, up to 4, over the warps of the group. */
ATTN_DEVICE void ATTN_FN(_group_sums)(const ATTN_FN(_args) *a, unsigned char *shared, ATTN_FN(_share) *own, int count,
                                      float *x)
{
    float4 *const given = (float4 *)(void *)shared + own->turn * ATTN_WARPS;
    ATTN_UNROLL
    for (int i = 0; i < count; ++i)
        x[i] = ATTN_FN(_warp_sum)(x[i]);
    if (a->group == 1)
        return;
    if (attn__lane() == 0)
        given[threadIdx.x / 32] = make_float4(x[0], count > 1 ? x[1] : 0.0f, count > 2 ? x[2] : 0.0f, 0.0f);
    __syncthreads(); /* whoever writes here again has come to the other turn's, which is behind all reads of this one */
    own->turn ^= 1;
    ATTN_UNROLL
    for (int i = 0; i < count; ++i)
        x[i] = 0.0f;
    ATTN_UNROLL
    for (int w = 0; w < ATTN_WARPS; ++w) {
        if (w >= a->group)
            continue;
        const float4 y = given[own->first + w];
        x[0] += y.x;
        if (count > 1)
            x[1] += y.y;
        if (count > 2)
            x[2] += y.z;
    }
}

/* The rows of a token that are read: p, O1, the update or dh.  What a thread has of them, as it lies. */
enum { ATTN_FN(_row_p), ATTN_FN(_row_o1), ATTN_FN(_row_other), ATTN_FN(_rows_read) };
typedef struct ATTN_FN(_rows) {
    ATTN_FN(_raw) x[ATTN_FN(_rows_read)][ATTN_RES_CHUNKS];
} ATTN_FN(_rows);

ATTN_DEVICE const attn_res_tensor *ATTN_FN(_tensor)(const ATTN_FN(_args) *a, int row)
{
    return row == ATTN_FN(_row_p) ? &a->p.p : row == ATTN_FN(_row_o1) ? &a->p.o1 :
           ATTN_RES_BACKWARD ? &a->p.dh : &a->p.update;
}

ATTN_DEVICE int ATTN_FN(_is_read)(const ATTN_FN(_args) *a, int row)
{
    return row == ATTN_FN(_row_o1) ? ATTN_RES_BACKWARD || a->p.h.data || a->p.norm.data
                                   : ATTN_FN(_tensor)(a, row)->data != NULL;
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
        if (!ATTN_FN(_is_read)(a, row))
            continue;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c)
            ATTN_UNROLL
            for (int i = 0; i < ATTN_RES_PIECES; ++i)
                attn__copy_async(stage + ATTN_FN(_place)(row, c, i), data + (c * 32 * ATTN_RES_PIECES + i) * 16,
                                 n < a->p.tokens && own->d + 256 * c < a->p.dim ? 16 : 0);
    }
    attn__copy_async_commit();
}

/* The rows of token t in registers, from a stage or, if it is NULL, from memory. */
ATTN_DEVICE void ATTN_FN(_fetch_rows)(const ATTN_FN(_args) *a, const ATTN_FN(_share) *own, int64_t t, int plain,
                                      const unsigned char *stage, ATTN_FN(_rows) *rows)
{
    const int wide[] = { ATTN_FN(_wide_p), ATTN_FN(_wide_o1),
                         ATTN_RES_BACKWARD ? ATTN_FN(_wide_dh) : ATTN_FN(_wide_update) };
    ATTN_UNROLL
    for (int row = 0; row < ATTN_FN(_rows_read); ++row)
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const attn_res_tensor *const from = ATTN_FN(_tensor)(a, row);
            const int d = own->d + 256 * c;
            ATTN_FN(_raw) *const raw = &rows->x[row][c];
            raw->x[0] = raw->x[1] = make_uint4(0, 0, 0, 0);
            if (stage && (row != ATTN_FN(_row_other) || ATTN_FN(_is_read)(a, row))) {
                ATTN_UNROLL
                for (int i = 0; i < ATTN_RES_PIECES; ++i)
                    raw->x[i] = *(const uint4 *)(const void *)(stage + ATTN_FN(_place)(row, c, i));
            } else if (!stage && own->here && d < a->p.dim && ATTN_FN(_is_read)(a, row)) {
                ATTN_FN(_fetch)(from->data, t * from->stride[1] + d, plain || !row ? ATTN_DTYPE : from->dtype,
                                plain || a->wide & wide[row], raw);
            }
        }
}

/* w times the gain, of a thread's chunks; zeros outside of the key. */
ATTN_DEVICE void ATTN_FN(_fetch_w)(const ATTN_FN(_args) *a, const ATTN_FN(_share) *own, float (*w)[8])
{
    const int first = a->p.dim - a->p.key_dim, mixes = ATTN_FN(_is_read)(a, ATTN_FN(_row_o1));
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = own->d + 256 * c;
        ATTN_UNROLL
        for (int i = 0; i < 8; ++i)
            w[c][i] = 0.0f;
        if (mixes && d >= first && d < a->p.dim)
            ATTN_FN(_load_w)(a, 0, d - first, w[c]);
    }
}

#if ATTN_KERNEL == ATTN_KERNEL_RES2
/* All that there is to do with the rows of token t.  w: NULL if it is not at hand. */
ATTN_DEVICE void ATTN_FN(_one)(const ATTN_FN(_args) *a, unsigned char *shared, ATTN_FN(_share) *own, int64_t t,
                               int plain, const ATTN_FN(_rows) *rows, float lse, float (*w)[8])
{
    const int first = a->p.dim - a->p.key_dim, mixes = ATTN_FN(_is_read)(a, ATTN_FN(_row_o1)), here = own->here;
    const float mean = 1.0f / (float)a->p.key_dim;
    float sum[ATTN_RES_CHUNKS][8], sums[2] = { 0.0f, 0.0f }, squares = 0.0f;
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        ATTN_FN(_open)(&rows->x[ATTN_FN(_row_p)][c], ATTN_DTYPE, sum[c]);
        if (a->p.update.data) {
            float x[8];
            ATTN_FN(_open)(&rows->x[ATTN_FN(_row_other)][c], plain ? ATTN_DTYPE : a->p.update.dtype, x);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                sum[c][i] += x[i];
            ATTN_FN(_round)(sum[c], plain ? ATTN_DTYPE : a->p.p_out.dtype);
        }
    }
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = own->d + 256 * c;
        float loaded[8];
        if (!here || d >= a->p.dim)
            continue;
        if (!w && mixes && d >= first)
            ATTN_FN(_load_w)(a, 0, d - first, loaded);
        if (a->p.p_out.data)
            ATTN_FN(_store)(a->p.p_out.data, t * a->p.p_out.stride[1] + d, plain ? ATTN_DTYPE : a->p.p_out.dtype,
                            plain || a->wide & ATTN_FN(_wide_p_out), sum[c]);
        if (a->p.block.data)
            ATTN_FN(_store)(a->p.block.data, t * a->p.block.stride[1] + d, plain ? ATTN_DTYPE : a->p.block.dtype,
                            plain || a->wide & ATTN_FN(_wide_block), sum[c]);
        ATTN_UNROLL
        for (int i = 0; i < 8 && mixes && d >= first; ++i) {
            sums[0] += sum[c][i] * (w ? w[c][i] : loaded[i]);
            sums[1] += sum[c][i] * sum[c][i];
        }
    }
    if (!mixes)
        return;
    ATTN_FN(_group_sums)(a, shared, own, 2, sums);
    const float r = attn__inverse_root(sums[1] * mean + a->p.eps);
    const float f = ATTN_FN(_sigmoid_minus)(lse - sums[0] * (r * a->p.scale));
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = own->d + 256 * c;
        float o1[8];
        ATTN_FN(_open)(&rows->x[ATTN_FN(_row_o1)][c], plain ? ATTN_DTYPE : a->p.o1.dtype, o1);
        ATTN_UNROLL
        for (int i = 0; i < 8 && f != 1.0f; ++i) /* else O1 may be anything */
            sum[c][i] = o1[i] + f * (sum[c][i] - o1[i]);
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
        return;
    ATTN_FN(_group_sums)(a, shared, own, 1, &squares);
    const float by = attn__inverse_root(squares / (float)a->p.dim + a->p.norm_eps);
    ATTN_UNROLL
    for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
        const int d = own->d + 256 * c;
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

/* stays, a constant: a block has many tokens. */
ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, unsigned char *shared, int plain, int stays)
{
    const int mixes = ATTN_FN(_is_read)(a, ATTN_FN(_row_o1));
    unsigned char *const ring = shared + ATTN_SHARED_BYTES;
    float w[ATTN_RES_CHUNKS][8];
    ATTN_FN(_share) own;
    ATTN_FN(_rows) rows;
    ATTN_FN(_share_make)(a, &own);
    if (!stays) {
        const int64_t t = ATTN_FN(_token)(a, own.token);
        own.here = own.token < a->p.tokens; /* the others come to the barriers */
        ATTN_FN(_fetch_rows)(a, &own, t, plain, NULL, &rows);
        const float lse = mixes && own.here ? a->p.lse[t] : 0.0f;
        ATTN_FN(_one)(a, shared, &own, t, plain, &rows, lse, NULL);
        return;
    }
    for (int s = 0; s < a->stages; ++s)
        ATTN_FN(_copy_rows)(a, &own, own.token + s * own.stride, ring + s * a->stage_bytes);
    ATTN_FN(_fetch_w)(a, &own, w);
    float next_lse = mixes && own.token < a->p.tokens ? a->p.lse[ATTN_FN(_token)(a, own.token)] : 0.0f;
    int stage = 0;
    for (int64_t n = own.token; n - own.number < a->p.tokens; n += own.stride) {
        const float lse = next_lse;
        const int64_t next = n + own.stride;
        own.here = n < a->p.tokens;
        next_lse = mixes && next < a->p.tokens ? a->p.lse[ATTN_FN(_token)(a, next)] : 0.0f;
        ATTN_FN(_wait)(a->stages - 1);
        ATTN_FN(_fetch_rows)(a, &own, 0, plain, ring + stage * a->stage_bytes, &rows);
        ATTN_FN(_copy_rows)(a, &own, n + a->stages * own.stride, ring + stage * a->stage_bytes);
        stage = stage + 1 < a->stages ? stage + 1 : 0;
        ATTN_FN(_one)(a, shared, &own, ATTN_FN(_token)(a, n), plain, &rows, lse, w);
    }
}

#else
/* The gradients as res_cpu.h has them. */
ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, unsigned char *shared, int plain, int stays)
{
    (void)stays;
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
    ATTN_FN(_fetch_w)(a, &own, w); /* behind them: whoever converts it waits for it */
    float next_lse = own.token < a->p.tokens ? a->p.lse[ATTN_FN(_token)(a, own.token)] : 0.0f;
    for (int64_t n = own.token; n - own.number < a->p.tokens; n += own.stride) {
        const int64_t t = ATTN_FN(_token)(a, n);
        const int here = own.here = n < a->p.tokens;
        float sum[ATTN_RES_CHUNKS][8], g[ATTN_RES_CHUNKS][8], sums[3] = { 0.0f, 0.0f, 0.0f };
        const float lse = next_lse;
        next_lse = n + own.stride < a->p.tokens ? a->p.lse[ATTN_FN(_token)(a, n + own.stride)] : 0.0f;
        if (plain)
            ATTN_FN(_wait)(a->stages - 1);
        ATTN_FN(_fetch_rows)(a, &own, t, plain, plain ? ring + stage * a->stage_bytes : NULL, &rows);
        if (plain)
            ATTN_FN(_copy_rows)(a, &own, n + a->stages * own.stride, ring + stage * a->stage_bytes);
        stage = stage + 1 < a->stages ? stage + 1 : 0;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_RES_CHUNKS; ++c) {
            const int d = own.d + 256 * c;
            float o1[8];
            ATTN_FN(_open)(&rows.x[ATTN_FN(_row_p)][c], ATTN_DTYPE, sum[c]);
            ATTN_FN(_open)(&rows.x[ATTN_FN(_row_other)][c], plain ? ATTN_DTYPE : a->p.dh.dtype, g[c]);
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
        ATTN_FN(_group_sums)(a, shared, &own, 3, sums);
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
#endif

/* plain, a constant: all rows are of the instance's type and begin at multiples of 16 bytes.  Then the text has a third
 * of the instructions, which else would bind, and fewer registers. */
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_RES_ROOM)
{
    ATTN_SHARED(shared);
    ATTN_FN(_tokens)(&a, shared, 1, ATTN_RES_BACKWARD);
}

#if ATTN_RES_STAYS
ATTN_GLOBAL(ATTN_FN(_kernel_stays), ATTN_FN(_args), ATTN_THREADS, ATTN_RES_STAY)
{
    ATTN_SHARED(shared);
    ATTN_FN(_tokens)(&a, shared, 1, 1);
}
#endif

ATTN_GLOBAL(ATTN_FN(_kernel_any), ATTN_FN(_args), ATTN_THREADS, 1)
{
    ATTN_SHARED(shared);
    ATTN_FN(_tokens)(&a, shared, 0, ATTN_RES_BACKWARD);
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

static int64_t ATTN_FN(_blocks)(const attn_res_params *p, int stays)
{
    const int64_t at_once = ATTN_WARPS / ATTN_FN(_group)(p), most = p->tokens / at_once + (p->tokens % at_once != 0);
    return stays ? ATTN_FN(_grid_of_runs)(most, 0) : ATTN_FN(_grid)(most, INT32_MAX);
}

/* Sums of dw: each group of warps has its own. */
static int64_t ATTN_FN(_parts)(const attn_res_params *p)
{
    return ATTN_FN(_blocks)(p, ATTN_RES_BACKWARD) * (ATTN_WARPS / ATTN_FN(_group)(p));
}

/* Relies on what run/res.h promises of p. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t bytes, void *stream)
{
    ATTN_FN(_args) a;
    ATTN_FN(_start)(p, workspace, ATTN_FN(_parts)(p), &a);
    a.group = ATTN_FN(_group)(p);
    a.plain = ATTN_FN(_is_plain)(&a);
    a.stage_bytes = ATTN_RES_STAGE_BYTES(ATTN_RES_BACKWARD ? 3 : 2);
    attn_device device;
    ATTN_FN(_device)(&device);
    const int rings = a.plain && ATTN_SHARED_BYTES + a.stage_bytes <= device.shared;
    const int stays = ATTN_RES_BACKWARD || (ATTN_RES_STAYS && rings && !p->update.data);
    const int64_t blocks = ATTN_FN(_blocks)(p, stays), at_once = blocks * (ATTN_WARPS / a.group);
    const int64_t turns = (p->tokens + at_once - 1) / at_once;
    a.plain = a.plain && (rings || !ATTN_RES_BACKWARD);
    if (stays && rings)
        a.stages = ATTN_FN(_stages)(device.shared, ATTN_SHARED_BYTES, a.stage_bytes, 1, turns < 4 ? (int)turns : 4);
    (void)bytes;
    const int shared = ATTN_SHARED_BYTES + a.stages * a.stage_bytes;
    cudaError_t e = cudaSuccess;
#if ATTN_RES_STAYS
    if (stays) {
        e = ATTN_LAUNCH(ATTN_FN(_kernel_stays), (unsigned)blocks, ATTN_THREADS, shared, stream, &a);
        return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
    }
#endif
    do {
        e = a.plain ? ATTN_LAUNCH(ATTN_FN(_kernel), (unsigned)blocks, ATTN_THREADS, shared, stream, &a)
                    : ATTN_LAUNCH(ATTN_FN(_kernel_any), (unsigned)blocks, ATTN_THREADS, shared, stream, &a);
        a.from += at_once;
    } while (!stays && e == cudaSuccess && a.from < p->tokens);
    if (e == cudaSuccess)
        e = ATTN_FN(_finish)(&a, stream);
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_RES_MOST
#undef ATTN_RES_STAY
#undef ATTN_RES_STAYS
#undef ATTN_RES_ROOM
#undef ATTN_RES_CHUNKS
#undef ATTN_RES_PIECES
#undef ATTN_RES_STAGE_BYTES
#include <attn/template/res_end_cuda.cuh>
