/* res1_sm80.cuh - phase 1 of Attention Residuals and its gradient on tensor cores (res.h has the equations).
 *
 * Included by instance.h for ATTN_ARCH_SM80, no guard: 16-bit types, rows that begin at multiples of 16 bytes,
 * forward up to 16 blocks (and any queries, 8 at a time), backward up to 8 of both.
 *
 * What binds is memory, if the arithmetic is not done by multiply-adds: with 8 queries and blocks the forward pass
 * has 136 of them for 32 bytes of an element, the backward pass 330 for 48, more than an H200 can do in that time.  A
 * token is a matrix product: 8 blocks are the 8 columns of an mma.
 *
 * Up to 8 blocks, and rows of 4096 at most, a block of threads has one token, and V stays in registers between logits
 * and results (ATTN_RES_ONCE): multiprocessors nearer to memory take more of such blocks.
 *
 * Else it takes tokens one after the other.  A warp has a range of dims, in strips of 64, and in shared memory a ring
 * of strips, as many as have room: cp.async brings there those of this token and of later ones.  No other warp reads
 * them, so none need wait; a place is filled again as soon as it was read for the last time.  A strip is read in two
 * ways, 16 bytes each, with r = lane / 4, c = lane % 4:
 *
 *     logits    D[s | n'][n] += [w ; v][s | n'][d] v[d][n]     rows 8 .. 15: v once more, its diagonal the squares
 *               lane: chunks c and c + 4 of row n = r.  Products over dims do not ask for their order, so register i of
 *               one operand goes with register i of the other: what lies in memory is an operand as it is
 *     across warps, by shared memory: the one barrier of a token
 *     results   O1[d][s] = [v | v][d][n | n] [P high ; P low][n | n][s]
 *               lane: chunk r of rows n = 2c and 2c + 1, whose elements t and t + 1, put together, are the operand of
 *               the 16 dims 8r + t and 8r + t + 1, r = 0 .. 7; of 4 such products the lane gets chunk r of queries 2c
 *               and 2c + 1, so that a warp stores 128 bytes of 4 rows at once
 *
 * Chunk q of row n lies at q ^ (n & 6) ^ 4 (n & 1): both ways are free of bank conflicts.
 *
 * w times the gain has more digits than the type: it is kept as the sum of two numbers, as are weights, so that the
 * results are those of f32.  Rows of w are scaled by a power of 2, for f16.
 *
 * Backward: [w ; dO1] v gives logits and u = dO1 . v at once, then
 *
 *     dv[d][n] = [dO1 | w][d][s | s] [P ; dx r][s | s][n] - [v | v][d][n | n] diag(...)   and with the low halves of
 *                the right factors
 *     dw[d][s] += [v | v][d][n | n] [dx r high ; low][n | n][s]            in registers over all tokens of the block */

#include <attn/device/mma.cuh>
#include <attn/template/res_cuda.cuh>

#define ATTN_RES_OWN ((ATTN_HEAD_DIM + 64 * ATTN_WARPS - 1) / (64 * ATTN_WARPS)) /* strips of a warp */
/* Phase 1 of few blocks: a block of threads has one token, whose V stays in registers, SPAN strips of each warp, as
 * measured; ATTN_WARPS are those of calls that are not plain. */
#define ATTN_RES_ONCE (ATTN_KERNEL == ATTN_KERNEL_RES1 && ATTN_RES_TILES == 1 && ATTN_HEAD_DIM <= 4096)
#define ATTN_RES_SPAN (ATTN_HEAD_DIM > 512 ? 8 : 4)
#define ATTN_RES_PLAIN_THREADS \
    (ATTN_RES_ONCE ? (ATTN_HEAD_DIM + 64 * ATTN_RES_SPAN - 1) / (64 * ATTN_RES_SPAN) * 32 : ATTN_THREADS)
/* Blocks of a multiprocessor that stay. */
#define ATTN_RES_STAY (ATTN_RES_ONCE ? ATTN_WARPS < 8 ? 3 : 1 : ATTN_BLOCKS)
#define ATTN_RES_HOLDS (ATTN_RES_OWN * ATTN_RES_TILES <= 4)   /* w in registers; else it is read for each token */
/* Tokens of a block, as measured; 0: blocks stay. */
#define ATTN_RES_RUN (ATTN_HEAD_DIM > 1024 || ATTN_RES_BACKWARD ? 0 : 8)
/* Backward with up to 4 queries: w and dO1 are rows 0 .. 3 and 4 .. 7 of one matrix; half of the products remain. */
#define ATTN_RES_FEW (ATTN_RES_BACKWARD && ATTN_TILE_Q <= 4)
/* dw: strips whose sums share registers.  A row of products has 8 columns; few queries leave room for other strips'. */
#define ATTN_RES_SHARE (ATTN_TILE_Q > 4 ? 1 : ATTN_TILE_Q > 2 ? 2 : ATTN_TILE_Q > 1 ? 4 : 8)
#define ATTN_RES_SHARES ((ATTN_RES_OWN + ATTN_RES_SHARE - 1) / ATTN_RES_SHARE)
/* Strips of which a warp has logits before it waits for the others: worth it with few tokens under way. */
#define ATTN_RES_FIRST (ATTN_RES_BACKWARD || ATTN_RES_TILES > 1 ? ATTN_RES_OWN / 2 : ATTN_RES_OWN)
#define ATTN_RES_STRIPS (ATTN_RES_OWN * ATTN_WARPS) /* of a row, whatever its length: zeros beyond, but no branches */
#define ATTN_RES_TILES ((ATTN_TILE_K + 7) / 8)          /* of 8 blocks */
#define ATTN_RES_QUERY (ATTN_TILE_Q < 8 ? ATTN_TILE_Q : 8) /* queries at a time */
#define ATTN_RES_COPIES (2 * ATTN_RES_TILES + 2 * ATTN_RES_BACKWARD) /* of a strip, by each lane */
/* Bytes of a strip of one row, and of a row of w. */
#define ATTN_RES_PIECE 128
#define ATTN_RES_ZEROS (ATTN_RES_OWN * ATTN_RES_PIECE)
#define ATTN_RES_PITCH (ATTN_RES_STRIPS * ATTN_RES_PIECE)
/* Floats that a lane gives to the other warps for each tile, and all of them: twice, by turns, and the rows' scale. */
#define ATTN_RES_GIVEN (ATTN_RES_BACKWARD && !ATTN_RES_FEW ? 4 : 2)
#define ATTN_RES_GIVEN_FLOATS (ATTN_WARPS * ATTN_RES_TILES * (32 * ATTN_RES_GIVEN + 8))
#define ATTN_RES_FIXED ((4 * (2 * ATTN_RES_GIVEN_FLOATS + 8) + 127) / 128 * 128 + ATTN_RES_ZEROS)
#define ATTN_RES_W_BYTES(queries, low) ((queries) * (1 + (low)) * ATTN_RES_PITCH)
/* Of a strip of each warp. */
#define ATTN_RES_STAGE_BYTES(rows) ((rows) * ATTN_WARPS * ATTN_RES_PIECE)
enum {
    ATTN_FN(_shared_bytes) =
        ATTN_RES_FIXED + ATTN_RES_W_BYTES(ATTN_RES_BACKWARD ? ATTN_RES_QUERY : 1, 1) +
        ATTN_RES_OWN * ATTN_RES_STAGE_BYTES(ATTN_TILE_K + ATTN_RES_BACKWARD * ATTN_TILE_Q)
};
#define ATTN_SHARED_BYTES ATTN_FN(_shared_bytes)
#define ATTN_ROW_ALIGN 16
#include <attn/template/res_stages_cuda.cuh>

#if ATTN_DTYPE == ATTN_F16
#define ATTN_RES_MMA(d, a, b)     attn__mma_f16(d, a, b)
#define ATTN_RES_PACK(low, high)  attn__pack_f16(low, high)
#define ATTN_RES_LOW(x)           attn__low_f16(x)
#define ATTN_RES_HIGH(x)          attn__high_f16(x)
#else
#define ATTN_RES_MMA(d, a, b)     attn__mma_bf16(d, a, b)
#define ATTN_RES_PACK(low, high)  attn__pack_bf16(low, high)
#define ATTN_RES_LOW(x)           attn__low_bf16(x)
#define ATTN_RES_HIGH(x)          attn__high_bf16(x)
#endif

/* What lies where in shared memory; numbers are bytes from its start. */
typedef struct ATTN_FN(_space) {
    unsigned char *shared;
    float *given;    /* [2][GIVEN_FLOATS] */
    float *scale;    /* [8] of rows of w */
    int zeros;       /* [OWN][PIECE], instead of rows that there are not */
    int w;           /* [S][PITCH], then the low halves */
    int ring;        /* the warp's own: [stages][rows][PIECE] */
    int stage;       /* bytes of a stage */
    int around;      /* of all of them */
    int first_strip; /* the warp's */
} ATTN_FN(_space);

/* Where a lane reads: its chunk of a row in the first stage.  moves: all ones, or 0 for zeros, which lie still. */
typedef struct ATTN_FN(_spot) {
    int at, moves;
} ATTN_FN(_spot);

/* A pair as the sum of two pairs. */
ATTN_DEVICE void ATTN_FN(_split)(float x, float y, uint32_t *high, uint32_t *low)
{
    *high = ATTN_RES_PACK(x, y);
    *low = ATTN_RES_PACK(x - ATTN_RES_LOW(*high), y - ATTN_RES_HIGH(*high));
}

/* Byte of its piece where chunk q of row n lies. */
ATTN_DEVICE int ATTN_FN(_chunk)(int n, int q)
{
    return (q ^ (n & 6) ^ (n & 1) << 2) * 16;
}

ATTN_DEVICE void ATTN_FN(_space_make)(const ATTN_FN(_args) *a, unsigned char *shared, int low, ATTN_FN(_space) *m)
{
    m->shared = shared;
    m->given = (float *)(void *)shared;
    m->scale = m->given + 2 * ATTN_RES_GIVEN_FLOATS;
    m->zeros = ATTN_RES_FIXED - ATTN_RES_ZEROS;
    m->first_strip = (int)threadIdx.x / 32 * ATTN_RES_OWN;
    m->w = ATTN_RES_FIXED;
    m->stage = (a->p.blocks + ATTN_RES_BACKWARD * a->p.queries) * ATTN_RES_PIECE;
    m->around = a->stages * m->stage;
    m->ring = m->w + a->p.queries * (1 + low) * ATTN_RES_PITCH + (int)threadIdx.x / 32 * m->around;
    for (int i = (int)threadIdx.x; i < ATTN_RES_ZEROS / 4; i += ATTN_THREADS) /* before the barrier of w */
        ((float *)(void *)(shared + m->zeros))[i] = 0.0f;
}

/* Chunk q of row n of those that begin with row `first` of a stage.  If it is not there, one that is, of row `instead`:
 * its factors are 0 then, and it is not finite only where the result is not either; or, with -1, zeros. */
ATTN_DEVICE void ATTN_FN(_spot_make)(const ATTN_FN(_space) *m, int first, int n, int q, int is, int instead,
                                     ATTN_FN(_spot) *spot)
{
    n = is || instead < 0 ? n : instead;
    is = is || instead >= 0;
    spot->at = is ? m->ring + (first + n) * ATTN_RES_PIECE + ATTN_FN(_chunk)(n, q) : m->zeros + 16 * q;
    spot->moves = is ? -1 : 0;
}

/* Chunk q of row n of w, the warp's first strip, or of row `instead` likewise; further: bytes to the low halves. */
ATTN_DEVICE int ATTN_FN(_w_at)(const ATTN_FN(_space) *m, int n, int q, int is, int instead, int further)
{
    n = is || instead < 0 ? n : instead;
    is = is || instead >= 0;
    const int at = m->w + further + n * ATTN_RES_PITCH + m->first_strip * ATTN_RES_PIECE;
    return is ? at + ATTN_FN(_chunk)(n, q) : m->zeros + 16 * q;
}

/* 16 bytes; half: chunk q + 4 instead of q. */
ATTN_DEVICE void ATTN_FN(_read)(const ATTN_FN(_space) *m, int at, int half, uint32_t *x)
{
    const uint4 y = *(const uint4 *)(const void *)(m->shared + (at ^ 64 * half));
    x[0] = y.x, x[1] = y.y, x[2] = y.z, x[3] = y.w;
}

/* Of the stage at `place` of the ring; zeros if not `is`.  plain: all spots are in the ring. */
ATTN_DEVICE int ATTN_FN(_at)(const ATTN_FN(_space) *m, const ATTN_FN(_spot) *spot, int place, int is, int plain)
{
    if (plain)
        return is ? spot->at + place : m->zeros;
    return is ? spot->at + (place & spot->moves) : m->zeros;
}

/* The stage after that at `place` of the ring. */
ATTN_DEVICE int ATTN_FN(_after)(const ATTN_FN(_space) *m, int place)
{
    return place + m->stage < m->around ? place + m->stage : 0;
}

/* w times the gain, scaled, high and low halves, zeros outside of the key; a group of copies, if it is w as it lies.
 * A warp has whole rows. */
ATTN_DEVICE void ATTN_FN(_keep_w)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, int low, int plain)
{
    unsigned char *const w = m->shared + m->w;
    const int first = a->p.dim - a->p.key_dim, as_is = plain || (!low && a->wide & ATTN_FN(_wide_w));
    for (int s = (int)threadIdx.x / 32; s < a->p.queries && as_is; s += ATTN_WARPS) {
        const uint16_t *const from = (const uint16_t *)a->p.w.data + s * a->p.w.stride[0];
        for (int d = 8 * attn__lane(); d < 64 * ATTN_RES_STRIPS; d += 256) {
            const int is = d >= first && d < a->p.dim;
            attn__copy_async(w + s * ATTN_RES_PITCH + d / 64 * ATTN_RES_PIECE + ATTN_FN(_chunk)(s, d / 8 % 8),
                             from + (is ? d - first : 0), is ? 16 : 0);
        }
        if (attn__lane() == 0)
            m->scale[s] = 1.0f;
    }
    attn__copy_async_commit();
    if (as_is)
        return;
    for (int s = (int)threadIdx.x / 32; s < a->p.queries; s += ATTN_WARPS) {
        float most = 0.0f, x[8];
        for (int d = 8 * attn__lane(); d < a->p.key_dim; d += 256) {
            ATTN_FN(_load_w)(a, s, d, x);
            ATTN_UNROLL
            for (int i = 0; i < 8; ++i)
                most = attn__max(most, fabsf(x[i]));
        }
        const uint32_t exponent = __float_as_uint(ATTN_FN(_warp_most)(most)) >> 23;
        const int scaled = exponent > 0 && exponent < 254;
        const float by = scaled ? __uint_as_float((254 - exponent) << 23) : 1.0f;
        for (int d = 8 * attn__lane(); d < 64 * ATTN_RES_STRIPS; d += 256) {
            uint32_t high[4] = { 0, 0, 0, 0 }, lower[4] = { 0, 0, 0, 0 };
            if (d >= first && d < a->p.dim) {
                ATTN_FN(_load_w)(a, s, d - first, x);
                ATTN_UNROLL
                for (int i = 0; i < 4; ++i)
                    ATTN_FN(_split)(x[2 * i] * by, x[2 * i + 1] * by, &high[i], &lower[i]);
            }
            unsigned char *const to = w + s * ATTN_RES_PITCH + d / 64 * ATTN_RES_PIECE + ATTN_FN(_chunk)(s, d / 8 % 8);
            *(uint4 *)(void *)to = make_uint4(high[0], high[1], high[2], high[3]);
            if (low)
                *(uint4 *)(void *)(to + a->p.queries * ATTN_RES_PITCH) =
                    make_uint4(lower[0], lower[1], lower[2], lower[3]);
        }
        if (attn__lane() == 0)
            m->scale[s] = scaled ? __uint_as_float(exponent << 23) : 1.0f;
    }
}

/* What a lane copies: chunk lane % 8 of rows lane / 8, + 4 ... of V, then of dO1, strip after strip of token after
 * token. */
typedef struct ATTN_FN(_copies) {
    const char *row[ATTN_RES_COPIES]; /* of the first token, this lane's dims of the warp's first strip */
    int to[ATTN_RES_COPIES];          /* in the first stage; -1: there is no such row */
    int left;                         /* dims from there to the row's end; 0: there is no such token */
    int strip;                        /* the next one, */
    int64_t nth, v, g;                /* of which token, and how many bytes from the first token's it lies */
} ATTN_FN(_copies);

ATTN_DEVICE void ATTN_FN(_copies_token)(const ATTN_FN(_args) *a, int64_t nth, ATTN_FN(_copies) *x)
{
    const int64_t t = ATTN_FN(_token)(a, nth);
    x->strip = 0;
    x->nth = nth;
    x->left = nth < a->p.tokens ? x->left : 0;
    x->v = 2 * t * a->p.v.stride[1];
    x->g = ATTN_RES_BACKWARD ? 2 * t * a->p.do1.stride[1] : 0;
}

/* To a stage; a group of copies. */
ATTN_DEVICE void ATTN_FN(_copy_strip)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, ATTN_FN(_copies) *x, int place)
{
    const int bytes = 64 * x->strip < x->left ? 16 : 0;
    ATTN_UNROLL
    for (int i = 0; i < ATTN_RES_COPIES; ++i)
        if (x->to[i] >= 0)
            attn__copy_async(m->shared + x->to[i] + place, x->row[i] + (i < 2 * ATTN_RES_TILES ? x->v : x->g), bytes);
    attn__copy_async_commit();
    x->v += ATTN_RES_PIECE;
    x->g += ATTN_RES_PIECE;
    if (++x->strip == ATTN_RES_OWN)
        ATTN_FN(_copies_token)(a, x->nth + gridDim.x, x);
}

/* And asks for the first strips. */
ATTN_DEVICE void ATTN_FN(_copies_make)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, ATTN_FN(_copies) *x)
{
    const int q = attn__lane() % 8, d = 64 * m->first_strip + 8 * q;
    ATTN_UNROLL
    for (int i = 0; i < ATTN_RES_COPIES; ++i) {
        const int is_v = i < 2 * ATTN_RES_TILES, n = 4 * (is_v ? i : i - 2 * ATTN_RES_TILES) + attn__lane() / 8;
        const int is = n < (is_v ? a->p.blocks : a->p.queries), first = is_v ? 0 : a->p.blocks;
        const int as = is_v ? n : n + 4 * ATTN_RES_FEW;
        x->row[i] = is_v ? (const char *)a->v[is ? n : 0]
                         : (const char *)a->p.do1.data + (is ? n : 0) * a->p.do1.stride[0] * 2;
        x->row[i] += 2 * d;
        x->to[i] = is ? m->ring + (first + n) * ATTN_RES_PIECE + ATTN_FN(_chunk)(as, q) : -1;
    }
    x->left = a->p.dim - d;
    ATTN_FN(_copies_token)(a, blockIdx.x, x);
    for (int place = 0; place < m->around; place += m->stage)
        ATTN_FN(_copy_strip)(a, m, x, place);
}

/* Where rows 2c and 2c + 1 of the results begin; how many dims they have from this lane's first on, chunk r of the
 * warp's first strip: 0 if they are not stored. */
typedef struct ATTN_FN(_target) {
    void *row[2];
    int left[2], first;
} ATTN_FN(_target);

ATTN_DEVICE void ATTN_FN(_target_make)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, ATTN_FN(_target) *to)
{
    to->first = 64 * m->first_strip + attn__lane() / 4 * 8;
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e)
        to->left[e] = to->row[e] ? a->p.dim - to->first : 0;
}

/* Strip k of both; at: elements from the rows' beginning to this lane's first; add: if not plain, to what is there. */
ATTN_DEVICE void ATTN_FN(_put_strip)(const ATTN_FN(_target) *to, int64_t at, int k, int dtype, int wide, int add,
                                     int plain, float (*out)[8])
{
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e)
        if (64 * k < to->left[e]) {
            if (plain)
                ATTN_FN(_store)(to->row[e], at + 64 * k, ATTN_DTYPE, 1, out[e]);
            else
                ATTN_FN(_put)(to->row[e], at + 64 * k, dtype, wide, add, out[e]);
        }
}

/* Elements t of two rows' chunks, the first in the low half. */
ATTN_DEVICE uint32_t ATTN_FN(_pair)(const uint32_t *first, const uint32_t *second, int t)
{
    return t % 2 ? attn__high_halves(first[t / 2], second[t / 2]) : attn__low_halves(first[t / 2], second[t / 2]);
}

#if ATTN_KERNEL == ATTN_KERNEL_RES1
/* From a lane's logits x[tiles][2], of query r and blocks 2c and 2c + 1, the weights as halves of pairs, and lse. */
ATTN_DEVICE void ATTN_FN(_weights)(const ATTN_FN(_args) *a, int64_t t, int tiles, float *x, uint32_t *high,
                                   uint32_t *lower)
{
    const int r = attn__lane() / 4, c = attn__lane() % 4;
    float top = -INFINITY, sum = 0.0f;
    ATTN_UNROLL
    for (int i = 0; i < 2 * tiles; ++i)
        top = top > x[i] || top != top ? top : x[i];
    ATTN_UNROLL
    for (int mask = 1; mask < 4; mask *= 2) {
        const float other = attn__shuffle_xor(top, mask);
        top = top > other || top != top ? top : other;
    }
    ATTN_UNROLL
    for (int i = 0; i < 2 * tiles; ++i) {
        x[i] = attn__exp2((x[i] - top) * ATTN_LOG2E);
        sum += x[i];
    }
    sum += attn__shuffle_xor(sum, 1);
    sum += attn__shuffle_xor(sum, 2);
    const float by = attn__reciprocal(sum);
    ATTN_UNROLL
    for (int j = 0; j < tiles; ++j)
        ATTN_FN(_split)(x[2 * j] * by, x[2 * j + 1] * by, &high[j], &lower[j]);
    if (threadIdx.x / 32 == 0 && c == 0 && r < a->p.queries && a->p.lse)
        a->p.lse[r * a->p.lse_stride + t] = top + attn__log2(sum) * ATTN_LN2;
}

/* O1 of token t from weights and V; fills the places of V with a later token's. */
ATTN_DEVICE void ATTN_FN(_results)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, int64_t t, int place,
                                   const ATTN_FN(_spot) *rows, ATTN_FN(_copies) *from, const ATTN_FN(_target) *to,
                                   const uint32_t *high, const uint32_t *lower, int plain)
{
    const int64_t at = t * a->p.o1.stride[1] + to->first;
    ATTN_UNROLL
    for (int k = 0; k < ATTN_RES_OWN; ++k) {
        uint32_t even[ATTN_RES_TILES][4], odd[ATTN_RES_TILES][4];
        float out[2][8];
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j) {
            ATTN_FN(_read)(m, ATTN_FN(_at)(m, &rows[2 * j], place, 1, plain), 0, even[j]);
            ATTN_FN(_read)(m, ATTN_FN(_at)(m, &rows[2 * j + 1], place, 1, plain), 0, odd[j]);
        }
        ATTN_UNROLL
        for (int i = 0; i < 8; i += 2) {
            float o[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            ATTN_UNROLL
            for (int j = 0; j < ATTN_RES_TILES; ++j) {
                const uint32_t y0 = ATTN_FN(_pair)(even[j], odd[j], i), y1 = ATTN_FN(_pair)(even[j], odd[j], i + 1);
                const uint32_t left[4] = { y0, y1, y0, y1 }, right[2] = { high[j], lower[j] };
                ATTN_RES_MMA(o, left, right);
            }
            out[0][i] = o[0], out[1][i] = o[1];
            out[0][i + 1] = o[2], out[1][i + 1] = o[3];
        }
        ATTN_FN(_put_strip)(to, at, k, a->p.o1.dtype, a->wide & ATTN_FN(_wide_o1), 0, plain, out);
        __syncwarp(); /* the strip has been read */
        ATTN_FN(_copy_strip)(a, m, from, place);
        place = ATTN_FN(_after)(m, place);
    }
}

ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, unsigned char *shared, int plain, int whole)
{
    const int lane = attn__lane(), r = lane / 4, c = lane % 4, warp = (int)threadIdx.x / 32;
    const int blocks = a->p.blocks, queries = a->p.queries, low = !plain && a->low;
    const int instead = plain ? 0 : -1;
    ATTN_FN(_spot) v_row[ATTN_RES_TILES], rows[2 * ATTN_RES_TILES];
    ATTN_FN(_copies) from;
    ATTN_FN(_space) m;
    ATTN_FN(_target) to;
    uint32_t held[2 * ATTN_RES_OWN][4];
    ATTN_FN(_space_make)(a, shared, low, &m);
    ATTN_FN(_keep_w)(a, &m, low, plain);
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e) {
        const int64_t at = (2 * c + e) * a->p.o1.stride[0] * (a->p.o1.dtype == ATTN_F32 ? 4 : 2);
        to.row[e] = a->p.o1.data && 2 * c + e < queries ? (char *)a->p.o1.data + at : NULL;
    }
    ATTN_FN(_target_make)(a, &m, &to);
    const int w_at = ATTN_FN(_w_at)(&m, r, c, r < queries, instead, 0);
    const int w_low_at = ATTN_FN(_w_at)(&m, r, c, low && r < queries, -1, queries * ATTN_RES_PITCH);
    ATTN_UNROLL
    for (int j = 0; j < ATTN_RES_TILES; ++j) {
        const int n = 8 * j + 2 * c;
        ATTN_FN(_spot_make)(&m, 0, 8 * j + r, c, 8 * j + r < blocks, instead, &v_row[j]);
        ATTN_FN(_spot_make)(&m, 0, n, r, n < blocks, instead, &rows[2 * j]);
        ATTN_FN(_spot_make)(&m, 0, n + 1, r, n + 1 < blocks, instead, &rows[2 * j + 1]);
    }
    ATTN_FN(_copies_make)(a, &m, &from);
    ATTN_FN(_wait)(a->stages);
    __syncthreads(); /* w */
    ATTN_UNROLL
    for (int k = 0; k < 2 * ATTN_RES_OWN && ATTN_RES_HOLDS; ++k)
        ATTN_FN(_read)(&m, w_at + k / 2 * ATTN_RES_PIECE, k % 2, held[k]);
    int start = 0, turn = 0;
    for (int64_t nth = blockIdx.x; nth < a->p.tokens; nth += gridDim.x) {
        const int64_t t = ATTN_FN(_token)(a, nth);
        const int first = attn__anew(a->p.dim - a->p.key_dim);
        float x[ATTN_RES_TILES][4], root[ATTN_RES_TILES][2], logit[ATTN_RES_TILES][2];
        uint32_t high[ATTN_RES_TILES], lower[ATTN_RES_TILES];
        int place = start;
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j)
            x[j][0] = x[j][1] = x[j][2] = x[j][3] = 0.0f;
        ATTN_FN(_wait)(a->stages - ATTN_RES_FIRST);
        __syncwarp();
        ATTN_UNROLL
        for (int k = 0; k < 2 * ATTN_RES_OWN; ++k) { /* half a strip */
            if (k == 2 * ATTN_RES_FIRST) {
                ATTN_FN(_wait)(a->stages - ATTN_RES_OWN);
                __syncwarp();
            }
            const int is_key = whole || 64 * (m.first_strip + k / 2) + 8 * (k % 2 * 4 + c) >= first;
            uint32_t here[4], w_low[4], v[4], *const w = ATTN_RES_HOLDS ? held[k] : here;
            if (!ATTN_RES_HOLDS)
                ATTN_FN(_read)(&m, w_at + k / 2 * ATTN_RES_PIECE, k % 2, w);
            if (low)
                ATTN_FN(_read)(&m, w_low_at + k / 2 * ATTN_RES_PIECE, k % 2, w_low);
            ATTN_UNROLL
            for (int j = 0; j < ATTN_RES_TILES; ++j) {
                ATTN_FN(_read)(&m, ATTN_FN(_at)(&m, &v_row[j], place, is_key, plain), k % 2, v);
                ATTN_UNROLL
                for (int i = 0; i < 4; i += 2) {
                    const uint32_t left[4] = { w[i], v[i], w[i + 1], v[i + 1] };
                    ATTN_RES_MMA(x[j], left, v + i);
                    if (low) {
                        const uint32_t left_low[4] = { w_low[i], 0, w_low[i + 1], 0 };
                        ATTN_RES_MMA(x[j], left_low, v + i);
                    }
                }
            }
            if (k % 2)
                place = ATTN_FN(_after)(&m, place);
        }
        float *const given = m.given + turn * ATTN_RES_GIVEN_FLOATS;
        float *const squares = given + ATTN_WARPS * ATTN_RES_TILES * 64;
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j) {
            *(float2 *)(void *)(given + (warp * ATTN_RES_TILES + j) * 64 + 2 * lane) = make_float2(x[j][0], x[j][1]);
            if (r / 2 == c)
                squares[(warp * ATTN_RES_TILES + j) * 8 + r] = r % 2 ? x[j][3] : x[j][2];
        }
        __syncthreads();
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j) {
            logit[j][0] = logit[j][1] = root[j][0] = root[j][1] = 0.0f;
            ATTN_UNROLL_4
            for (int n = 0; n < ATTN_WARPS; ++n) {
                const float2 y = *(const float2 *)(const void *)(given + (n * ATTN_RES_TILES + j) * 64 + 2 * lane);
                const float2 z = *(const float2 *)(const void *)(squares + (n * ATTN_RES_TILES + j) * 8 + 2 * c);
                logit[j][0] += y.x, logit[j][1] += y.y;
                root[j][0] += z.x, root[j][1] += z.y;
            }
            ATTN_UNROLL
            for (int e = 0; e < 2; ++e) {
                const float scale = a->p.scale * m.scale[r < queries ? r : 0];
                logit[j][e] *= attn__inverse_root(root[j][e] * a->per_key + a->p.eps) * scale;
                logit[j][e] = 8 * j + 2 * c + e < blocks ? logit[j][e] : -INFINITY;
            }
        }
        turn ^= 1;
        ATTN_FN(_weights)(a, t, ATTN_RES_TILES, logit[0], high, lower);
        ATTN_FN(_results)(a, &m, t, start, rows, &from, &to, high, lower, plain);
        start = place;
    }
}

#else
/* What there is of dv where _put_strip will store, if it is plain. */
ATTN_DEVICE void ATTN_FN(_fetch_strip)(const ATTN_FN(_target) *to, int64_t at, int k, uint4 *old)
{
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e)
        old[e] = 64 * k < to->left[e] ? *(const uint4 *)(const void *)((const uint16_t *)to->row[e] + at + 64 * k)
                                      : make_uint4(0, 0, 0, 0);
}

/* dv of token t from the factors, and its part of dw; fills the places of V and dO1 with a later token's.  rows: two of
 * V, two of dO1; w_at: two of w. */
ATTN_DEVICE void ATTN_FN(_results)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, int64_t t, int place,
                                   const ATTN_FN(_spot) *rows, const int *w_at, ATTN_FN(_copies) *from,
                                   const ATTN_FN(_target) *to, uint32_t (*for_dv)[2], uint32_t (*for_dw)[2],
                                   float (*dw)[16], int plain, int whole)
{
    const int first = attn__anew(a->p.dim - a->p.key_dim), add = (a->p.flags & ATTN_RES_ADD_DV) != 0;
    const int64_t at = t * a->p.dv.stride[1] + to->first;
    const int ahead = add && plain, is_w = attn__lane() % 4 < 2;
    uint4 old[2][2];
    if (ahead)
        ATTN_FN(_fetch_strip)(to, at, 0, old[0]);
    ATTN_UNROLL
    for (int k = 0; k < ATTN_RES_OWN; ++k) {
        const int is_key = whole || to->first + 64 * k >= first;
        uint32_t v[2][4], g[2][4], w[2][4] = { { 0, 0, 0, 0 }, { 0, 0, 0, 0 } };
        float out[2][8];
        if (ahead && k + 1 < ATTN_RES_OWN)
            ATTN_FN(_fetch_strip)(to, at, k + 1, old[(k + 1) % 2]);
        ATTN_UNROLL
        for (int e = 0; e < 2; ++e) {
            const int from_w = w_at[e] + k * ATTN_RES_PIECE;
            const int from_g = ATTN_FN(_at)(m, &rows[2 + e], place, 1, plain);
            ATTN_FN(_read)(m, ATTN_FN(_at)(m, &rows[e], place, is_key, plain), 0, v[e]);
            ATTN_FN(_read)(m, ATTN_RES_FEW && is_w ? from_w : from_g, 0, g[e]);
            if (!ATTN_RES_FEW)
                ATTN_FN(_read)(m, from_w, 0, w[e]);
        }
        ATTN_UNROLL
        for (int i = 0; i < 8; i += 2) {
            const uint32_t y0 = ATTN_FN(_pair)(v[0], v[1], i), y1 = ATTN_FN(_pair)(v[0], v[1], i + 1);
            const uint32_t values[4] = { y0, y1, y0, y1 };
            const uint32_t g0 = ATTN_FN(_pair)(g[0], g[1], i), g1 = ATTN_FN(_pair)(g[0], g[1], i + 1);
            const uint32_t factors[4] = { g0, g1, ATTN_RES_FEW ? g0 : ATTN_FN(_pair)(w[0], w[1], i),
                                          ATTN_RES_FEW ? g1 : ATTN_FN(_pair)(w[0], w[1], i + 1) };
            float o[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            ATTN_RES_MMA(dw[k / ATTN_RES_SHARE] + 2 * i, values, for_dw[k % ATTN_RES_SHARE]);
            ATTN_RES_MMA(o, values, for_dv[2]);
            if (!ATTN_RES_FEW)
                ATTN_RES_MMA(o, factors, for_dv[1]);
            ATTN_RES_MMA(o, factors, for_dv[0]);
            out[0][i] = o[0], out[1][i] = o[1];
            out[0][i + 1] = o[2], out[1][i + 1] = o[3];
        }
        __syncwarp(); /* the strip has been read */
        ATTN_FN(_copy_strip)(a, m, from, place);
        place = ATTN_FN(_after)(m, place);
        ATTN_UNROLL
        for (int e = 0; e < 2 && ahead; ++e) {
            const uint32_t x[4] = { old[k % 2][e].x, old[k % 2][e].y, old[k % 2][e].z, old[k % 2][e].w };
            ATTN_UNROLL
            for (int i = 0; i < 4; ++i) {
                out[e][2 * i] += ATTN_RES_LOW(x[i]);
                out[e][2 * i + 1] += ATTN_RES_HIGH(x[i]);
            }
        }
        ATTN_FN(_put_strip)(to, at, k, a->p.dv.dtype, a->wide & ATTN_FN(_wide_dv), add, plain, out);
    }
}

ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, unsigned char *shared, int plain, int whole)
{
    const int lane = attn__lane(), r = lane / 4, c = lane % 4, warp = (int)threadIdx.x / 32;
    const int blocks = a->p.blocks, queries = a->p.queries, first = a->p.dim - a->p.key_dim, low = !plain && a->low;
    const int query = ATTN_RES_FEW ? r % 4 : r, is_w = !ATTN_RES_FEW || r < 4;
    const int instead = plain ? 0 : -1, instead_g = plain ? 4 * ATTN_RES_FEW : -1;
    float dw[ATTN_RES_SHARES][16];
    ATTN_FN(_spot) v_row, g_row, rows[4];
    int two_of_w[2];
    ATTN_FN(_copies) from;
    ATTN_FN(_target) to;
    ATTN_FN(_space) m;
    ATTN_FN(_space_make)(a, shared, low, &m);
    ATTN_FN(_keep_w)(a, &m, low, plain);
    ATTN_UNROLL
    for (int k = 0; k < ATTN_RES_SHARES; ++k)
        ATTN_UNROLL
        for (int i = 0; i < 16; ++i)
            dw[k][i] = 0.0f;
    const int w_at = ATTN_FN(_w_at)(&m, query, c, query < queries, instead, 0);
    const int w_low_at = ATTN_FN(_w_at)(&m, query, c, low && is_w && query < queries, -1, queries * ATTN_RES_PITCH);
    const int g_first = ATTN_RES_FEW ? blocks - 4 : blocks, g_end = ATTN_RES_FEW ? queries + 4 : queries;
    ATTN_FN(_spot_make)(&m, 0, r, c, r < blocks, instead, &v_row);
    ATTN_FN(_spot_make)(&m, g_first, r, c, r < g_end, instead_g, &g_row);
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e) {
        const int n = 2 * c + e;
        to.row[e] = n < blocks ? a->dv[n] : NULL;
        ATTN_FN(_spot_make)(&m, 0, n, r, n < blocks, instead, &rows[e]);
        ATTN_FN(_spot_make)(&m, g_first, n, r, n < g_end, instead_g, &rows[2 + e]);
        two_of_w[e] = ATTN_FN(_w_at)(&m, n, r, n < queries, instead, 0);
    }
    ATTN_FN(_target_make)(a, &m, &to);
    ATTN_FN(_copies_make)(a, &m, &from);
    ATTN_FN(_wait)(a->stages);
    __syncthreads(); /* w */
    const int dv_size = a->p.dv.dtype == ATTN_F32 ? 4 : 2;
    int start = 0, turn = 0;
    for (int64_t nth = blockIdx.x; nth < a->p.tokens; nth += gridDim.x) {
        const int64_t t = ATTN_FN(_token)(a, nth);
        const int first_anew = attn__anew(first);
        int place = start;
        float x[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, y[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        ATTN_UNROLL
        for (int k = 0; k < ATTN_RES_OWN && a->p.flags & ATTN_RES_ADD_DV; k += 4) { /* a lane has a row of a strip */
            const int n = m.first_strip + k + c;
            const int64_t next = ATTN_FN(_token)(a, nth + gridDim.x);
            if (nth + gridDim.x < a->p.tokens && r < blocks && k + c < ATTN_RES_OWN && 64 * n < a->p.dim && a->dv[r])
                attn__prefetch((const char *)a->dv[r] + (next * a->p.dv.stride[1] + 64 * n) * dv_size);
        }
        const float lse = query < queries ? a->p.lse[query * a->p.lse_stride + t] : 0.0f;
        const float dlse = query < queries && a->p.dlse ? a->p.dlse[query * a->p.lse_stride + t] : 0.0f;
        ATTN_FN(_wait)(a->stages - ATTN_RES_FIRST);
        __syncwarp();
        ATTN_UNROLL
        for (int k = 0; k < 2 * ATTN_RES_OWN; ++k) { /* half a strip */
            if (k == 2 * ATTN_RES_FIRST) {
                ATTN_FN(_wait)(a->stages - ATTN_RES_OWN);
                __syncwarp();
            }
            const int is_key = whole || 64 * (m.first_strip + k / 2) + 8 * (k % 2 * 4 + c) >= first_anew;
            uint32_t w[4], w_low[4] = { 0, 0, 0, 0 }, v[4], g[4] = { 0, 0, 0, 0 };
            const int from_w = w_at + k / 2 * ATTN_RES_PIECE;
            const int from_g = ATTN_FN(_at)(&m, &g_row, place, 1, plain);
            ATTN_FN(_read)(&m, is_w ? from_w : from_g, k % 2, w);
            if (low)
                ATTN_FN(_read)(&m, w_low_at + k / 2 * ATTN_RES_PIECE, k % 2, w_low);
            ATTN_FN(_read)(&m, ATTN_FN(_at)(&m, &v_row, place, 1, plain), k % 2, v);
            if (!ATTN_RES_FEW)
                ATTN_FN(_read)(&m, from_g, k % 2, g);
            if (k % 2)
                place = ATTN_FN(_after)(&m, place);
            ATTN_UNROLL
            for (int i = 0; i < 4; i += 2) {
                const uint32_t key[2] = { is_key ? v[i] : 0, is_key ? v[i + 1] : 0 };
                const uint32_t few[4] = { w[i], key[0], w[i + 1], key[1] };
                const uint32_t few_low[4] = { w_low[i], 0, w_low[i + 1], 0 };
                const uint32_t left[4] = { w[i], g[i], w[i + 1], g[i + 1] };
                const uint32_t left_low[4] = { w_low[i], key[0], w_low[i + 1], key[1] };
                ATTN_RES_MMA(x, ATTN_RES_FEW ? few : left, v + i);
                if (!ATTN_RES_FEW || low)
                    ATTN_RES_MMA(y, ATTN_RES_FEW ? few_low : left_low, v + i);
            }
        }
        float *const given = m.given + turn * ATTN_RES_GIVEN_FLOATS;
        float *const squares = given + ATTN_WARPS * 32 * ATTN_RES_GIVEN, *const mine = given + ATTN_RES_GIVEN * lane;
        *(float2 *)(void *)(mine + warp * 32 * ATTN_RES_GIVEN) = make_float2(x[0] + y[0], x[1] + y[1]);
        if (!ATTN_RES_FEW)
            *(float2 *)(void *)(mine + warp * 128 + 2) = make_float2(x[2], x[3]);
        if (r / 2 == c)
            squares[warp * 8 + r] = ATTN_RES_FEW ? (r % 2 ? x[3] : x[2]) : r % 2 ? y[3] : y[2];
        __syncthreads();
        float u[2] = { 0.0f, 0.0f }, root[2] = { 0.0f, 0.0f }, weight[2], factor[2], down[2], weighted = 0.0f;
        x[0] = x[1] = 0.0f;
        ATTN_UNROLL_4
        for (int n = 0; n < ATTN_WARPS; ++n) {
            const float2 q = *(const float2 *)(const void *)(squares + n * 8 + 2 * c);
            if (ATTN_RES_FEW) {
                const float2 z = *(const float2 *)(const void *)(mine + n * 32 * ATTN_RES_GIVEN);
                x[0] += z.x, x[1] += z.y;
            } else {
                const float4 z = *(const float4 *)(const void *)(mine + n * 32 * ATTN_RES_GIVEN);
                x[0] += z.x, x[1] += z.y, u[0] += z.z, u[1] += z.w;
            }
            root[0] += q.x, root[1] += q.y;
        }
        ATTN_UNROLL
        for (int e = 0; e < 2 && ATTN_RES_FEW; ++e) { /* a lane has one of them, lane ^ 16 the other */
            const float other = attn__shuffle_xor(x[e], 16);
            u[e] = is_w ? other : x[e];
            x[e] = is_w ? x[e] : other;
        }
        turn ^= 1;
        const float scale = m.scale[query < queries ? query : 0];
        ATTN_UNROLL
        for (int e = 0; e < 2; ++e) {
            root[e] = attn__inverse_root(root[e] * a->per_key + a->p.eps);
            x[e] *= root[e] * a->p.scale * scale;
            weight[e] = query < queries && 2 * c + e < blocks ? attn__exp2((x[e] - lse) * ATTN_LOG2E) : 0.0f;
            weighted += weight[e] * u[e];
        }
        weighted += attn__shuffle_xor(weighted, 1);
        weighted += attn__shuffle_xor(weighted, 2);
        ATTN_UNROLL
        for (int e = 0; e < 2; ++e) {
            const float dx = weight[e] == 0.0f ? 0.0f : weight[e] * (dlse + u[e] - weighted);
            factor[e] = dx * a->p.scale * root[e];
            down[e] = dx * x[e];
            ATTN_UNROLL
            for (int mask = 4; mask < (ATTN_RES_FEW ? 16 : 32); mask *= 2)
                down[e] += attn__shuffle_xor(down[e], mask);
            down[e] *= root[e] * root[e] * a->per_key;
        }
        uint32_t p_high, p_low, f_high, f_low, by_high, by_low, for_dv[3][2];
        ATTN_FN(_split)(weight[0], weight[1], &p_high, &p_low);
        ATTN_FN(_split)(factor[0], factor[1], &f_high, &f_low);
        ATTN_FN(_split)(factor[0] * scale, factor[1] * scale, &by_high, &by_low);
        if (ATTN_RES_FEW) {
            for_dv[0][0] = attn__transpose_8x8(is_w ? by_high : p_high);
            for_dv[0][1] = attn__transpose_8x8(is_w ? by_low : p_low);
        } else {
            for_dv[0][0] = attn__transpose_8x8(p_high), for_dv[0][1] = attn__transpose_8x8(by_high);
            for_dv[1][0] = attn__transpose_8x8(p_low), for_dv[1][1] = attn__transpose_8x8(by_low);
        }
        ATTN_FN(_split)(r == 2 * c ? -down[0] : 0.0f, r == 2 * c + 1 ? -down[1] : 0.0f, &for_dv[2][0], &for_dv[2][1]);
        uint32_t for_dw[ATTN_RES_SHARE][2];
        ATTN_UNROLL
        for (int i = 0; i < ATTN_RES_SHARE; ++i) { /* query s in column s + i 8 / SHARE */
            const int s = r - i * (8 / ATTN_RES_SHARE), is = s >= 0 && s < 8 / ATTN_RES_SHARE;
            const uint32_t x0 = (uint32_t)attn__shuffle_int((int)f_high, (4 * s + c) & 31);
            const uint32_t x1 = (uint32_t)attn__shuffle_int((int)f_low, (4 * s + c) & 31);
            for_dw[i][0] = ATTN_RES_SHARE == 1 ? f_high : is ? x0 : 0;
            for_dw[i][1] = ATTN_RES_SHARE == 1 ? f_low : is ? x1 : 0;
        }

        ATTN_FN(_results)(a, &m, t, start, rows, two_of_w, &from, &to, for_dv, for_dw, dw, plain, whole);
        start = place;
    }
    /* Register 2t + e: column 2c + e, element t of chunk r. */
    float *const part = a->part + (int64_t)blockIdx.x * queries * a->p.key_dim;
    ATTN_UNROLL
    for (int k = 0; k < ATTN_RES_SHARES; ++k)
        ATTN_UNROLL
        for (int i = 0; i < 16; ++i) {
            const int column = 2 * c + i % 2, s = column % (8 / ATTN_RES_SHARE);
            const int strip = k * ATTN_RES_SHARE + column / (8 / ATTN_RES_SHARE);
            const int d = 64 * (m.first_strip + strip) + 8 * r + i / 2;
            if (a->parts && s < queries && strip < ATTN_RES_OWN && d >= first && d < a->p.dim)
                part[s * a->p.key_dim + d - first] = dw[k][i];
        }
}
#endif

#if ATTN_RES_ONCE
/* One token.  A lane loads what it needs of V for the logits, and keeps it.  Elements t of its two chunks of a strip,
 * put together, are an 8x8 matrix of which the transpose has, for lane r, that element of chunk r / 2 + 4 (r % 2): the
 * results' operand. */
ATTN_DEVICE void ATTN_FN(_plain)(const ATTN_FN(_args) *a, unsigned char *shared, int whole)
{
    const int lane = attn__lane(), r = lane / 4, c = lane % 4;
    const int warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
    const int blocks = a->p.blocks, queries = a->p.queries;
    const int64_t t = ATTN_FN(_token)(a, a->from + blockIdx.x);
    const int d0 = 64 * ATTN_RES_SPAN * warp + 8 * c, left = a->p.dim - d0;
    const int before = a->p.dim - a->p.key_dim - d0;
    const char *const v_at = (const char *)a->v[r < blocks ? r : 0] + (t * a->p.v.stride[1] + d0) * 2;
    const int64_t w_off = attn__anew64((r < queries ? r : 0) * a->p.w.stride[0] - before); /* else one for each load */
    const char *const w_at = (const char *)a->p.w.data + w_off * 2;
    const int v_left = r < blocks ? left : 0, w_left = r < queries ? left : 0;
    uint32_t v[2 * ATTN_RES_SPAN][4];
    ATTN_UNROLL
    for (int k = 0; k < 2 * ATTN_RES_SPAN; ++k) { /* half a strip */
        uint4 x = make_uint4(0, 0, 0, 0);
        if (32 * k < v_left)
            x = attn__load_256(v_at + 64 * k);
        v[k][0] = x.x, v[k][1] = x.y, v[k][2] = x.z, v[k][3] = x.w;
    }
    __syncwarp(); /* else ptxas asks for w among them, and for the last of V when w's registers are free again */
    float x[2][4] = { { 0.0f, 0.0f, 0.0f, 0.0f }, { 0.0f, 0.0f, 0.0f, 0.0f } };
    ATTN_UNROLL
    for (int k = 0; k < 2 * ATTN_RES_SPAN; ++k) {
        const int is_key = whole || 32 * k >= before;
        uint4 w = make_uint4(0, 0, 0, 0);
        if (is_key && 32 * k < w_left)
            w = *(const uint4 *)(const void *)(w_at + 64 * k);
        uint32_t y[4];
        ATTN_UNROLL
        for (int i = 0; i < 4; ++i)
            y[i] = is_key ? v[k][i] : 0;
        const uint32_t lefts[2][4] = { { w.x, y[0], w.y, y[1] }, { w.z, y[2], w.w, y[3] } };
        ATTN_RES_MMA(x[0], lefts[0], y);
        ATTN_RES_MMA(x[1], lefts[1], y + 2);
    }
    float *const given = (float *)(void *)shared, *const squares = given + warps * 64;
    *(float2 *)(void *)(given + warp * 64 + 2 * lane) = make_float2(x[0][0] + x[1][0], x[0][1] + x[1][1]);
    if (r / 2 == c)
        squares[warp * 8 + r] = r % 2 ? x[0][3] + x[1][3] : x[0][2] + x[1][2];
    __syncthreads();
    float logit[2] = { 0.0f, 0.0f }, root[2] = { 0.0f, 0.0f };
    ATTN_UNROLL_4
    for (int n = 0; n < warps; ++n) {
        const float2 y = *(const float2 *)(const void *)(given + n * 64 + 2 * lane);
        const float2 z = *(const float2 *)(const void *)(squares + n * 8 + 2 * c);
        logit[0] += y.x, logit[1] += y.y;
        root[0] += z.x, root[1] += z.y;
    }
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e) {
        logit[e] *= attn__inverse_root(root[e] * a->per_key + a->p.eps) * a->p.scale;
        logit[e] = 2 * c + e < blocks ? logit[e] : -INFINITY;
    }
    uint32_t right[2];
    ATTN_FN(_weights)(a, t, 1, logit, &right[0], &right[1]);
    if (!a->p.o1.data)
        return;
    const int d1 = 64 * ATTN_RES_SPAN * warp + (r / 2 + r % 2 * 4) * 8;
    char *const o1_at = (char *)a->p.o1.data + (2 * c * a->p.o1.stride[0] + t * a->p.o1.stride[1] + d1) * 2;
    char *const o1_next = o1_at + 2 * a->p.o1.stride[0];
    const int stored = a->p.dim - d1, left0 = 2 * c < queries ? stored : 0;
    const int left1 = 2 * c + 1 < queries ? stored : 0;
    ATTN_UNROLL
    for (int k = 0; k < ATTN_RES_SPAN; ++k) {
        float out[2][8];
        ATTN_UNROLL
        for (int i = 0; i < 8; i += 2) {
            const uint32_t y0 = attn__transpose_8x8(ATTN_FN(_pair)(v[2 * k], v[2 * k + 1], i));
            const uint32_t y1 = attn__transpose_8x8(ATTN_FN(_pair)(v[2 * k], v[2 * k + 1], i + 1));
            const uint32_t left[4] = { y0, y1, y0, y1 };
            float o[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            ATTN_RES_MMA(o, left, right);
            out[0][i] = o[0], out[1][i] = o[1];
            out[0][i + 1] = o[2], out[1][i + 1] = o[3];
        }
        if (64 * k < left0)
            ATTN_FN(_store)(o1_at, 64 * k, ATTN_DTYPE, 1, out[0]);
        if (64 * k < left1)
            ATTN_FN(_store)(o1_next, 64 * k, ATTN_DTYPE, 1, out[1]);
    }
}
#else
ATTN_DEVICE void ATTN_FN(_plain)(const ATTN_FN(_args) *a, unsigned char *shared, int whole)
{
    ATTN_FN(_tokens)(a, shared, 1, whole);
}
#endif

/* plain, a constant: results are of the instance's type and begin at multiples of 16 bytes, and so do rows of w.  Then
 * the text is half as long, and fits into the instruction cache.  whole, one too: the key is the whole row. */
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_RES_PLAIN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    ATTN_FN(_plain)(&a, shared, 1);
}

ATTN_GLOBAL(ATTN_FN(_kernel_part), ATTN_FN(_args), ATTN_RES_PLAIN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    ATTN_FN(_plain)(&a, shared, 0);
}

ATTN_GLOBAL(ATTN_FN(_kernel_any), ATTN_FN(_args), ATTN_THREADS, 1)
{
    ATTN_SHARED(shared);
    ATTN_FN(_tokens)(&a, shared, 0, 0);
}

/* Also how many sums of dw there are. */
static int64_t ATTN_FN(_parts)(const attn_res_params *p)
{
    return ATTN_FN(_grid_of_runs)(p->tokens, ATTN_RES_RUN);
}

/* Relies on what run/res.h promises of p.  As many queries at a time as leave room for a token, and as many tokens as
 * then have room: with ATTN_RES_STAY blocks a multiprocessor, if that is one at least. */
static attn_status ATTN_FN(_launch)(const attn_res_params *p, void *workspace, size_t bytes, void *stream)
{
    const int stage = ATTN_RES_STAGE_BYTES(p->blocks + ATTN_RES_BACKWARD * p->queries);
    const int64_t blocks = ATTN_FN(_parts)(p);
    cudaError_t e = cudaSuccess;
    attn_device device;
    ATTN_FN(_args) a;
    ATTN_FN(_start)(p, workspace, blocks, &a);
    ATTN_FN(_device)(&device);
    (void)bytes;
    a.low = p->gain.data || p->w.dtype != ATTN_DTYPE;
    if (ATTN_RES_BACKWARD)
        a.plain = a.dv[0] && p->dv.dtype == ATTN_DTYPE && a.wide & ATTN_FN(_wide_dv);
    else
        a.plain = p->o1.data ? p->o1.dtype == ATTN_DTYPE && a.wide & ATTN_FN(_wide_o1) : ATTN_RES_ONCE;
    a.plain = a.plain && !a.low && a.wide & ATTN_FN(_wide_w);
    int at_once = ATTN_RES_QUERY;
    while (at_once > 1 && ATTN_RES_FIXED + ATTN_RES_W_BYTES(at_once, a.low) + ATTN_RES_OWN * stage > device.shared)
        at_once--;
    for (int s = 0; s < p->queries && e == cudaSuccess; s += at_once) {
        const int queries = p->queries - s < at_once ? p->queries - s : at_once;
        const int fixed = ATTN_RES_FIXED + ATTN_RES_W_BYTES(queries, a.low);
        const int64_t w_size = p->w.dtype == ATTN_F32 ? 4 : 2, o_size = p->o1.dtype == ATTN_F32 ? 4 : 2;
        a.stages = ATTN_FN(_stages)(device.shared, fixed, stage, ATTN_RES_OWN, 4 * ATTN_RES_OWN);
        a.p.queries = queries;
        a.p.w.data = (char *)p->w.data + s * p->w.stride[0] * w_size;
        if (!ATTN_RES_BACKWARD && p->o1.data)
            a.p.o1.data = (char *)p->o1.data + s * p->o1.stride[0] * o_size;
        a.p.lse = p->lse ? p->lse + s * p->lse_stride : NULL;
        const int once = ATTN_RES_ONCE && a.plain;
        const int warps = once ? (p->dim + 64 * ATTN_RES_SPAN - 1) / (64 * ATTN_RES_SPAN) : ATTN_WARPS;
        const int bytes_shared = once ? 4 * 72 * warps : fixed + a.stages * stage;
        for (a.from = 0; a.from < p->tokens && e == cudaSuccess; a.from += once ? ATTN_GRID_MOST : p->tokens) {
            const unsigned grid = once ? ATTN_FN(_grid)(p->tokens - a.from, INT32_MAX) : (unsigned)blocks;
            if (!a.plain)
                e = ATTN_LAUNCH(ATTN_FN(_kernel_any), grid, ATTN_THREADS, bytes_shared, stream, &a);
            else if (p->key_dim == p->dim)
                e = ATTN_LAUNCH(ATTN_FN(_kernel), grid, 32 * (unsigned)warps, bytes_shared, stream, &a);
            else
                e = ATTN_LAUNCH(ATTN_FN(_kernel_part), grid, 32 * (unsigned)warps, bytes_shared, stream, &a);
        }
    }
    if (e == cudaSuccess)
        e = ATTN_FN(_finish)(&a, stream);
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_RES_STRIPS
#undef ATTN_RES_FIRST
#undef ATTN_RES_OWN
#undef ATTN_RES_ONCE
#undef ATTN_RES_SPAN
#undef ATTN_RES_PLAIN_THREADS
#undef ATTN_RES_STAY
#undef ATTN_RES_HOLDS
#undef ATTN_RES_SHARE
#undef ATTN_RES_SHARES
#undef ATTN_RES_RUN
#undef ATTN_RES_TILES
#undef ATTN_RES_QUERY
#undef ATTN_RES_FEW
#undef ATTN_RES_COPIES
#undef ATTN_RES_PIECE
#undef ATTN_RES_PITCH
#undef ATTN_RES_ZEROS
#undef ATTN_RES_GIVEN
#undef ATTN_RES_GIVEN_FLOATS
#undef ATTN_RES_FIXED
#undef ATTN_RES_W_BYTES
#undef ATTN_RES_STAGE_BYTES
#undef ATTN_RES_MMA
#undef ATTN_RES_PACK
#undef ATTN_RES_LOW
#undef ATTN_RES_HIGH
#include <attn/template/res_end_cuda.cuh>
