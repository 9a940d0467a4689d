/* res1_sm80.cuh - phase 1 of Attention Residuals and its gradient on tensor cores (res.h has the equations).
 *
 * Included by instance.h for ATTN_ARCH_SM80, no guard: 16-bit types, rows that begin at multiples of 16 bytes,
 * forward up to 16 blocks (and any queries, 8 at a time), backward up to 8 of both.
 *
 * What binds is memory, if the arithmetic is not done by multiply-adds: with 8 queries and blocks the forward pass
 * has 136 of them for 32 bytes of an element, the backward pass 330 for 48, more than an H200 can do in that time.  A
 * token is a matrix product: 8 blocks are the 8 columns of an mma.
 *
 * A block of threads takes tokens one after the other.  A warp has a range of dims, in strips of 64, and in shared
 * memory a ring of strips, as many as have room: cp.async brings there those of this token and of later ones.  No other
 * warp reads them, so none need wait; a place is filled again as soon as it was read for the last time.  A strip is
 * read in two ways, 16 bytes each, with r = lane / 4, c = lane % 4:
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
#include <attn/template/res_stages_cuda.cuh>

#define ATTN_RES_OWN ((ATTN_HEAD_DIM + 64 * ATTN_WARPS - 1) / (64 * ATTN_WARPS)) /* strips of a warp */
#define ATTN_RES_HOLDS (ATTN_RES_OWN * ATTN_RES_TILES <= 4)   /* w in registers; else it is read for each token */
/* Tokens of a block, as measured; 0: blocks stay. */
#define ATTN_RES_RUN (ATTN_HEAD_DIM > 1024 || ATTN_RES_BACKWARD ? 0 : 8)
/* dw: strips whose sums share registers.  A row of products has 8 columns; few queries leave room for other strips'. */
#define ATTN_RES_SHARE (ATTN_TILE_Q > 4 ? 1 : ATTN_TILE_Q > 2 ? 2 : ATTN_TILE_Q > 1 ? 4 : 8)
#define ATTN_RES_SHARES ((ATTN_RES_OWN + ATTN_RES_SHARE - 1) / ATTN_RES_SHARE)
#define ATTN_RES_STRIPS (ATTN_RES_OWN * ATTN_WARPS) /* of a row, whatever its length: zeros beyond, but no branches */
#define ATTN_RES_TILES ((ATTN_TILE_K + 7) / 8)          /* of 8 blocks */
#define ATTN_RES_QUERY (ATTN_TILE_Q < 8 ? ATTN_TILE_Q : 8) /* queries at a time */
/* Bytes of a strip of one row, and of a row of w. */
#define ATTN_RES_PIECE 128
#define ATTN_RES_PITCH (ATTN_RES_STRIPS * ATTN_RES_PIECE)
/* Floats that a lane gives to the other warps for each tile, and all of them: twice, by turns, and the rows' scale. */
#define ATTN_RES_GIVEN (ATTN_RES_BACKWARD ? 4 : 2)
#define ATTN_RES_GIVEN_FLOATS (ATTN_WARPS * ATTN_RES_TILES * (32 * ATTN_RES_GIVEN + 8))
#define ATTN_RES_FIXED (4 * (2 * ATTN_RES_GIVEN_FLOATS + 8))
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

/* What lies where in shared memory. */
typedef struct ATTN_FN(_space) {
    float *given;        /* [2][GIVEN_FLOATS] */
    float *scale;        /* [8] of rows of w */
    unsigned char *w;    /* [S][PITCH], then the low halves */
    unsigned char *rows; /* the warp's own: [stages][rows][PIECE] */
    int first_strip;     /* the warp's */
    int rows_at_once;    /* of a strip in a stage */
} ATTN_FN(_space);

/* A pair as the sum of two pairs. */
ATTN_DEVICE void ATTN_FN(_split)(float x, float y, uint32_t *high, uint32_t *low)
{
    *high = ATTN_RES_PACK(x, y);
    *low = ATTN_RES_PACK(x - ATTN_RES_LOW(*high), y - ATTN_RES_HIGH(*high));
}

ATTN_DEVICE void ATTN_FN(_read)(const unsigned char *shared, int is, uint32_t *x)
{
    const uint4 y = is ? *(const uint4 *)(const void *)shared : make_uint4(0, 0, 0, 0);
    x[0] = y.x, x[1] = y.y, x[2] = y.z, x[3] = y.w;
}

ATTN_DEVICE void ATTN_FN(_space_make)(const ATTN_FN(_args) *a, unsigned char *shared, int low, ATTN_FN(_space) *m)
{
    m->given = (float *)(void *)shared;
    m->scale = m->given + 2 * ATTN_RES_GIVEN_FLOATS;
    m->first_strip = (int)threadIdx.x / 32 * ATTN_RES_OWN;
    m->w = shared + ATTN_RES_FIXED;
    m->rows_at_once = a->p.blocks + ATTN_RES_BACKWARD * a->p.queries;
    m->rows = m->w + a->p.queries * (1 + low) * ATTN_RES_PITCH +
              (int)threadIdx.x / 32 * a->stages * m->rows_at_once * ATTN_RES_PIECE;
}

/* Byte of its piece where chunk q of row n lies. */
ATTN_DEVICE int ATTN_FN(_chunk)(int n, int q)
{
    return (q ^ (n & 6) ^ (n & 1) << 2) * 16;
}

/* w times the gain, scaled, high and low halves, zeros outside of the key; a group of copies, if it is w as it lies.
 * A warp has whole rows. */
ATTN_DEVICE void ATTN_FN(_keep_w)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, int low, int plain)
{
    const int first = a->p.dim - a->p.key_dim, as_is = plain || (!low && a->wide & ATTN_FN(_wide_w));
    for (int s = (int)threadIdx.x / 32; s < a->p.queries && as_is; s += ATTN_WARPS) {
        const uint16_t *const from = (const uint16_t *)a->p.w.data + s * a->p.w.stride[0];
        for (int d = 8 * attn__lane(); d < 64 * ATTN_RES_STRIPS; d += 256) {
            const int is = d >= first && d < a->p.dim;
            attn__copy_async(m->w + s * ATTN_RES_PITCH + d / 64 * ATTN_RES_PIECE + ATTN_FN(_chunk)(s, d / 8 % 8),
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
            unsigned char *const to =
                m->w + s * ATTN_RES_PITCH + d / 64 * ATTN_RES_PIECE + ATTN_FN(_chunk)(s, d / 8 % 8);
            *(uint4 *)(void *)to = make_uint4(high[0], high[1], high[2], high[3]);
            if (low)
                *(uint4 *)(void *)(to + a->p.queries * ATTN_RES_PITCH) =
                    make_uint4(lower[0], lower[1], lower[2], lower[3]);
        }
        if (attn__lane() == 0)
            m->scale[s] = scaled ? __uint_as_float(exponent << 23) : 1.0f;
    }
}

/* What a lane needs of w for half k of a strip of the warp's. */
ATTN_DEVICE const unsigned char *ATTN_FN(_w_at)(const ATTN_FN(_space) *m, int k)
{
    const int r = attn__lane() / 4, q = k % 2 * 4 + attn__lane() % 4;
    return m->w + r * ATTN_RES_PITCH + (m->first_strip + k / 2) * ATTN_RES_PIECE + ATTN_FN(_chunk)(r, q);
}

/* Piece of row `row` of those at once. */
ATTN_DEVICE unsigned char *ATTN_FN(_piece)(const ATTN_FN(_space) *m, int stage, int row)
{
    return m->rows + (stage * m->rows_at_once + row) * ATTN_RES_PIECE;
}

/* The stage k further on the ring. */
ATTN_DEVICE int ATTN_FN(_stage_after)(const ATTN_FN(_args) *a, int stage, int k)
{
    return stage + k < a->stages ? stage + k : stage + k - a->stages;
}

/* Where rows i = lane / 8, + 4 ... of `rows` begin, this lane's dims of the first strip; those are its to copy. */
typedef struct ATTN_FN(_source) {
    const uint16_t *row[2 * ATTN_RES_TILES];
} ATTN_FN(_source);

/* Copies strip n of the `rows` rows of token t to those from `to` on. */
ATTN_DEVICE void ATTN_FN(_copy)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, const ATTN_FN(_source) *from,
                                int64_t token, int rows, int most, int to, int stage, int n)
{
    const int q = attn__lane() % 8, d = 64 * n + 8 * q, is = d < a->p.dim;
    ATTN_UNROLL
    for (int i = 0; i < most; ++i) {
        const int row = 4 * i + attn__lane() / 8;
        if (row < rows)
            attn__copy_async(ATTN_FN(_piece)(m, stage, to + row) + ATTN_FN(_chunk)(row, q),
                             from->row[i] + token + (is ? d : 0), is ? 16 : 0);
    }
}

/* Where rows 2c and 2c + 1 of the results begin, this lane's dims of the first strip; NULL: not stored. */
typedef struct ATTN_FN(_target) {
    void *row[2];
} ATTN_FN(_target);

/* Chunk r of strip n of both, which begin `token` elements further; add: if not plain, to what is there. */
ATTN_DEVICE void ATTN_FN(_put_strip)(const ATTN_FN(_args) *a, const ATTN_FN(_target) *to, int64_t token, int n,
                                     int dtype, int wide, int add, int plain, float (*out)[8])
{
    const int d = 64 * n + attn__lane() / 4 * 8;
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e)
        if (to->row[e] && d < a->p.dim) {
            if (plain)
                ATTN_FN(_store)(to->row[e], token + d, ATTN_DTYPE, 1, out[e]);
            else
                ATTN_FN(_put)(to->row[e], token + d, dtype, wide, add, out[e]);
        }
}

/* Elements t of two rows' chunks, the first in the low half. */
ATTN_DEVICE uint32_t ATTN_FN(_pair)(const uint32_t *first, const uint32_t *second, int t)
{
    const uint32_t x = first[t / 2], y = second[t / 2];
    return t % 2 ? x >> 16 | (y & 0xffff0000u) : (x & 0xffffu) | y << 16;
}

/* What is asked for while token t is computed: for strip k of the warp, strip k + `shift` of the token `by` or, where
 * there is none, strip k + shift - OWN of the one after that. */
typedef struct ATTN_FN(_later) {
    int shift, is[2];           /* is: whether there are such tokens */
    int64_t v[2], g[2];         /* elements from the first token's rows to theirs */
} ATTN_FN(_later);

/* stages: from strip 0 of token t to that which strip 0 asks for. */
ATTN_DEVICE void ATTN_FN(_later_make)(const ATTN_FN(_args) *a, int64_t t, int stages, ATTN_FN(_later) *later)
{
    const int tokens = stages / ATTN_RES_OWN;
    later->shift = stages - tokens * ATTN_RES_OWN;
    ATTN_UNROLL
    for (int i = 0; i < 2; ++i) {
        const int64_t at = t + (tokens + i) * (int64_t)gridDim.x;
        later->is[i] = at < a->p.tokens;
        later->v[i] = at * a->p.v.stride[1];
        later->g[i] = ATTN_RES_BACKWARD ? at * a->p.do1.stride[1] : 0;
    }
}

/* A group of copies. */
ATTN_DEVICE void ATTN_FN(_copy_strip)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, const ATTN_FN(_source) *v,
                                      const ATTN_FN(_source) *g, const ATTN_FN(_later) *later, int k, int stage)
{
    const int i = k + later->shift >= ATTN_RES_OWN, n = m->first_strip + k + later->shift - i * ATTN_RES_OWN;
    if (i ? later->is[1] : later->is[0]) {
        ATTN_FN(_copy)(a, m, v, i ? later->v[1] : later->v[0], a->p.blocks, 2 * ATTN_RES_TILES, 0, stage, n);
        if (ATTN_RES_BACKWARD)
            ATTN_FN(_copy)(a, m, g, i ? later->g[1] : later->g[0], a->p.queries, 2, a->p.blocks, stage, n);
    }
    attn__copy_async_commit();
}

/* The first strips. */
ATTN_DEVICE void ATTN_FN(_copy_first)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, const ATTN_FN(_source) *v,
                                      const ATTN_FN(_source) *g)
{
    ATTN_FN(_later) later;
    for (int k = 0; k < a->stages; ++k) {
        ATTN_FN(_later_make)(a, blockIdx.x, k, &later);
        ATTN_FN(_copy_strip)(a, m, v, g, &later, 0, k);
    }
}

#if ATTN_KERNEL == ATTN_KERNEL_RES1
/* O1 of token t from weights and V; fills the places of V with a later token's. */
ATTN_DEVICE void ATTN_FN(_results)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, int64_t t, int stage,
                                   const ATTN_FN(_source) *from, const ATTN_FN(_target) *to, const uint32_t *high,
                                   const uint32_t *lower, int plain)
{
    const int r = attn__lane() / 4, c = attn__lane() % 4, blocks = a->p.blocks;
    ATTN_FN(_later) later;
    ATTN_FN(_later_make)(a, t, a->stages, &later);
    ATTN_UNROLL
    for (int k = 0; k < ATTN_RES_OWN; ++k) {
        const int n = m->first_strip + k, at_stage = ATTN_FN(_stage_after)(a, stage, k);
        uint32_t even[ATTN_RES_TILES][4], odd[ATTN_RES_TILES][4];
        float out[2][8];
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j) {
            const int row = 8 * j + 2 * c;
            const unsigned char *const at = ATTN_FN(_piece)(m, at_stage, row);
            ATTN_FN(_read)(at + ATTN_FN(_chunk)(row, r), row < blocks, even[j]);
            ATTN_FN(_read)(at + ATTN_RES_PIECE + ATTN_FN(_chunk)(row + 1, r), row + 1 < blocks, odd[j]);
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
        ATTN_FN(_put_strip)(a, to, t * a->p.o1.stride[1], n, a->p.o1.dtype, a->wide & ATTN_FN(_wide_o1), 0, plain, out);
        __syncwarp(); /* the strip has been read */
        ATTN_FN(_copy_strip)(a, m, from, NULL, &later, k, at_stage);
    }
}

ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, unsigned char *shared, int plain)
{
    const int lane = attn__lane(), r = lane / 4, c = lane % 4, warp = (int)threadIdx.x / 32;
    const int blocks = a->p.blocks, queries = a->p.queries, first = a->p.dim - a->p.key_dim, low = !plain && a->low;
    ATTN_FN(_source) from;
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
    ATTN_UNROLL
    for (int i = 0; i < 2 * ATTN_RES_TILES; ++i)
        from.row[i] = (const uint16_t *)a->v[4 * i + lane / 8 < blocks ? 4 * i + lane / 8 : 0];
    ATTN_FN(_copy_first)(a, &m, &from, NULL);
    ATTN_FN(_wait)(a->stages);
    __syncthreads(); /* w */
    ATTN_UNROLL
    for (int k = 0; k < 2 * ATTN_RES_OWN && ATTN_RES_HOLDS; ++k)
        ATTN_FN(_read)(ATTN_FN(_w_at)(&m, k), r < queries, held[k]);
    const float mean = 1.0f / (float)a->p.key_dim;
    int stage = 0, turn = 0;
    for (int64_t t = blockIdx.x; t < a->p.tokens; t += gridDim.x) {
        float x[ATTN_RES_TILES][4], root[ATTN_RES_TILES][2];
        uint32_t high[ATTN_RES_TILES], lower[ATTN_RES_TILES];
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j)
            x[j][0] = x[j][1] = x[j][2] = x[j][3] = 0.0f;
        ATTN_FN(_wait)(a->stages - ATTN_RES_OWN);
        __syncwarp();
        ATTN_UNROLL
        for (int k = 0; k < 2 * ATTN_RES_OWN; ++k) { /* half a strip */
            const int n = m.first_strip + k / 2, q = k % 2 * 4 + c, is_key = 64 * n + 8 * q >= first;
            uint32_t here[4], w_low[4], v[4], *const w = ATTN_RES_HOLDS ? held[k] : here;
            if (!ATTN_RES_HOLDS)
                ATTN_FN(_read)(ATTN_FN(_w_at)(&m, k), r < queries, w);
            ATTN_FN(_read)(ATTN_FN(_w_at)(&m, k) + queries * ATTN_RES_PITCH, low && r < queries, w_low);
            ATTN_UNROLL
            for (int j = 0; j < ATTN_RES_TILES; ++j) {
                const int row = 8 * j + r;
                ATTN_FN(_read)(ATTN_FN(_piece)(&m, ATTN_FN(_stage_after)(a, stage, k / 2), row) + ATTN_FN(_chunk)(r, q),
                               row < blocks && is_key, v);
                ATTN_UNROLL
                for (int i = 0; i < 4; i += 2) {
                    const uint32_t left[4] = { w[i], v[i], w[i + 1], v[i + 1] };
                    const uint32_t left_low[4] = { w_low[i], 0, w_low[i + 1], 0 };
                    ATTN_RES_MMA(x[j], left, v + i);
                    if (low)
                        ATTN_RES_MMA(x[j], left_low, v + i);
                }
            }
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
        float top = -INFINITY, sum = 0.0f;
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j) {
            x[j][0] = x[j][1] = root[j][0] = root[j][1] = 0.0f;
            ATTN_UNROLL_4
            for (int n = 0; n < ATTN_WARPS; ++n) {
                const float2 y = *(const float2 *)(const void *)(given + (n * ATTN_RES_TILES + j) * 64 + 2 * lane);
                const float2 z = *(const float2 *)(const void *)(squares + (n * ATTN_RES_TILES + j) * 8 + 2 * c);
                x[j][0] += y.x, x[j][1] += y.y;
                root[j][0] += z.x, root[j][1] += z.y;
            }
            ATTN_UNROLL
            for (int e = 0; e < 2; ++e) {
                const float scale = a->p.scale * m.scale[r < queries ? r : 0];
                x[j][e] *= attn__inverse_root(root[j][e] * mean + a->p.eps) * scale;
                x[j][e] = 8 * j + 2 * c + e < blocks ? x[j][e] : -INFINITY;
                top = top > x[j][e] || top != top ? top : x[j][e];
            }
        }
        turn ^= 1;
        ATTN_UNROLL
        for (int mask = 1; mask < 4; mask *= 2) {
            const float other = attn__shuffle_xor(top, mask);
            top = top > other || top != top ? top : other;
        }
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j)
            ATTN_UNROLL
            for (int e = 0; e < 2; ++e) {
                x[j][e] = attn__exp2((x[j][e] - top) * ATTN_LOG2E);
                sum += x[j][e];
            }
        sum += attn__shuffle_xor(sum, 1);
        sum += attn__shuffle_xor(sum, 2);
        const float by = attn__reciprocal(sum);
        ATTN_UNROLL
        for (int j = 0; j < ATTN_RES_TILES; ++j)
            ATTN_FN(_split)(x[j][0] * by, x[j][1] * by, &high[j], &lower[j]);
        if (warp == 0 && c == 0 && r < queries && a->p.lse)
            a->p.lse[r * a->p.lse_stride + t] = top + attn__log2(sum) * ATTN_LN2;

        ATTN_FN(_results)(a, &m, t, stage, &from, &to, high, lower, plain);
        stage = ATTN_FN(_stage_after)(a, stage, ATTN_RES_OWN);
    }
}

#else
/* What there is of dv where _put_strip will store, if it is plain. */
ATTN_DEVICE void ATTN_FN(_fetch_strip)(const ATTN_FN(_args) *a, const ATTN_FN(_target) *to, int64_t token, int n,
                                       uint4 *old)
{
    const int d = 64 * n + attn__lane() / 4 * 8;
    ATTN_UNROLL
    for (int e = 0; e < 2; ++e)
        old[e] = to->row[e] && d < a->p.dim ? *(const uint4 *)((const uint16_t *)to->row[e] + token + d)
                                            : make_uint4(0, 0, 0, 0);
}

/* dv of token t from the factors, and its part of dw; fills the places of V and dO1 with a later token's. */
ATTN_DEVICE void ATTN_FN(_results)(const ATTN_FN(_args) *a, const ATTN_FN(_space) *m, int64_t t, int stage,
                                   const ATTN_FN(_source) *v_from, const ATTN_FN(_source) *g_from,
                                   const ATTN_FN(_target) *to, uint32_t (*for_dv)[2], uint32_t (*for_dw)[2],
                                   float (*dw)[16], int plain)
{
    const int r = attn__lane() / 4, c = attn__lane() % 4, blocks = a->p.blocks, queries = a->p.queries;
    const int first = a->p.dim - a->p.key_dim, add = (a->p.flags & ATTN_RES_ADD_DV) != 0;
    const int64_t at = t * a->p.dv.stride[1];
    const int ahead = add && plain;
    ATTN_FN(_later) later;
    ATTN_FN(_later_make)(a, t, a->stages, &later);
    uint4 old[2][2];
    if (ahead)
        ATTN_FN(_fetch_strip)(a, to, at, m->first_strip, old[0]);
    ATTN_UNROLL
    for (int k = 0; k < ATTN_RES_OWN; ++k) {
        const int n = m->first_strip + k, is_key = 64 * n + 8 * r >= first, even = ATTN_FN(_chunk)(2 * c, r);
        const int odd = ATTN_FN(_chunk)(2 * c + 1, r), at_stage = ATTN_FN(_stage_after)(a, stage, k);
        const unsigned char *const v_at = ATTN_FN(_piece)(m, at_stage, 2 * c);
        const unsigned char *const g_at = v_at + blocks * ATTN_RES_PIECE;
        const unsigned char *const w_at = m->w + 2 * c * ATTN_RES_PITCH + n * ATTN_RES_PIECE;
        uint32_t v[2][4], g[2][4], w[2][4];
        float out[2][8];
        if (ahead && k + 1 < ATTN_RES_OWN)
            ATTN_FN(_fetch_strip)(a, to, at, n + 1, old[(k + 1) % 2]);
        ATTN_FN(_read)(v_at + even, 2 * c < blocks && is_key, v[0]);
        ATTN_FN(_read)(v_at + ATTN_RES_PIECE + odd, 2 * c + 1 < blocks && is_key, v[1]);
        ATTN_FN(_read)(g_at + even, 2 * c < queries, g[0]);
        ATTN_FN(_read)(g_at + ATTN_RES_PIECE + odd, 2 * c + 1 < queries, g[1]);
        ATTN_FN(_read)(w_at + even, 2 * c < queries, w[0]);
        ATTN_FN(_read)(w_at + ATTN_RES_PITCH + odd, 2 * c + 1 < queries, w[1]);
        ATTN_UNROLL
        for (int i = 0; i < 8; i += 2) {
            const uint32_t y0 = ATTN_FN(_pair)(v[0], v[1], i), y1 = ATTN_FN(_pair)(v[0], v[1], i + 1);
            const uint32_t values[4] = { y0, y1, y0, y1 };
            const uint32_t factors[4] = { ATTN_FN(_pair)(g[0], g[1], i), ATTN_FN(_pair)(g[0], g[1], i + 1),
                                          ATTN_FN(_pair)(w[0], w[1], i), ATTN_FN(_pair)(w[0], w[1], i + 1) };
            float o[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            ATTN_RES_MMA(dw[k / ATTN_RES_SHARE] + 2 * i, values, for_dw[k % ATTN_RES_SHARE]);
            ATTN_RES_MMA(o, values, for_dv[2]);
            ATTN_RES_MMA(o, factors, for_dv[1]);
            ATTN_RES_MMA(o, factors, for_dv[0]);
            out[0][i] = o[0], out[1][i] = o[1];
            out[0][i + 1] = o[2], out[1][i + 1] = o[3];
        }
        __syncwarp(); /* the strip has been read */
        ATTN_FN(_copy_strip)(a, m, v_from, g_from, &later, k, at_stage);
        ATTN_UNROLL
        for (int e = 0; e < 2 && ahead; ++e) {
            const uint32_t x[4] = { old[k % 2][e].x, old[k % 2][e].y, old[k % 2][e].z, old[k % 2][e].w };
            ATTN_UNROLL
            for (int i = 0; i < 4; ++i) {
                out[e][2 * i] += ATTN_RES_LOW(x[i]);
                out[e][2 * i + 1] += ATTN_RES_HIGH(x[i]);
            }
        }
        ATTN_FN(_put_strip)(a, to, at, n, a->p.dv.dtype, a->wide & ATTN_FN(_wide_dv), add, plain, out);
    }
}

ATTN_DEVICE void ATTN_FN(_tokens)(const ATTN_FN(_args) *a, unsigned char *shared, int plain)
{
    const int lane = attn__lane(), r = lane / 4, c = lane % 4, warp = (int)threadIdx.x / 32;
    const int blocks = a->p.blocks, queries = a->p.queries, first = a->p.dim - a->p.key_dim, low = !plain && a->low;
    float dw[ATTN_RES_SHARES][16];
    ATTN_FN(_source) v_from, g_from;
    ATTN_FN(_target) to;
    ATTN_FN(_space) m;
    ATTN_FN(_space_make)(a, shared, low, &m);
    ATTN_FN(_keep_w)(a, &m, low, plain);
    ATTN_UNROLL
    for (int k = 0; k < ATTN_RES_SHARES; ++k)
        ATTN_UNROLL
        for (int i = 0; i < 16; ++i)
            dw[k][i] = 0.0f;
    ATTN_UNROLL
    for (int i = 0; i < 2; ++i) {
        const int row = 4 * i + lane / 8;
        v_from.row[i] = (const uint16_t *)a->v[row < blocks ? row : 0];
        to.row[i] = 2 * c + i < blocks ? a->dv[2 * c + i] : NULL;
        g_from.row[i] = (const uint16_t *)a->p.do1.data + (row < queries ? row : 0) * a->p.do1.stride[0];
    }
    ATTN_FN(_copy_first)(a, &m, &v_from, &g_from);
    ATTN_FN(_wait)(a->stages);
    __syncthreads(); /* w */
    const float mean = 1.0f / (float)a->p.key_dim;
    const int dv_size = a->p.dv.dtype == ATTN_F32 ? 4 : 2;
    int stage = 0, turn = 0;
    for (int64_t t = blockIdx.x; t < a->p.tokens; t += gridDim.x) {
        float x[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, y[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
        ATTN_UNROLL
        for (int k = 0; k < ATTN_RES_OWN && a->p.flags & ATTN_RES_ADD_DV; k += 4) { /* a lane has a row of a strip */
            const int n = m.first_strip + k + c;
            const int64_t next = t + gridDim.x;
            if (next < a->p.tokens && r < blocks && k + c < ATTN_RES_OWN && 64 * n < a->p.dim && a->dv[r])
                attn__prefetch((const char *)a->dv[r] + (next * a->p.dv.stride[1] + 64 * n) * dv_size);
        }
        const float lse = r < queries ? a->p.lse[r * a->p.lse_stride + t] : 0.0f;
        const float dlse = r < queries && a->p.dlse ? a->p.dlse[r * a->p.lse_stride + t] : 0.0f;
        ATTN_FN(_wait)(a->stages - ATTN_RES_OWN);
        __syncwarp();
        ATTN_UNROLL
        for (int k = 0; k < 2 * ATTN_RES_OWN; ++k) { /* half a strip */
            const int n = m.first_strip + k / 2, q = k % 2 * 4 + c, is_key = 64 * n + 8 * q >= first;
            const unsigned char *const w_at = ATTN_FN(_w_at)(&m, k);
            const unsigned char *const at =
                ATTN_FN(_piece)(&m, ATTN_FN(_stage_after)(a, stage, k / 2), r) + ATTN_FN(_chunk)(r, q);
            uint32_t w[4], w_low[4], v[4], g[4];
            ATTN_FN(_read)(w_at, r < queries, w);
            ATTN_FN(_read)(w_at + queries * ATTN_RES_PITCH, low && r < queries, w_low);
            ATTN_FN(_read)(at, r < blocks, v);
            ATTN_FN(_read)(at + blocks * ATTN_RES_PIECE, r < queries, g);
            ATTN_UNROLL
            for (int i = 0; i < 4; i += 2) {
                const uint32_t left[4] = { w[i], g[i], w[i + 1], g[i + 1] };
                const uint32_t left_low[4] = { w_low[i], is_key ? v[i] : 0, w_low[i + 1], is_key ? v[i + 1] : 0 };
                ATTN_RES_MMA(x, left, v + i);
                ATTN_RES_MMA(y, left_low, v + i);
            }
        }
        float *const given = m.given + turn * ATTN_RES_GIVEN_FLOATS, *const squares = given + ATTN_WARPS * 128;
        *(float4 *)(void *)(given + warp * 128 + 4 * lane) = make_float4(x[0] + y[0], x[1] + y[1], x[2], x[3]);
        if (r / 2 == c)
            squares[warp * 8 + r] = r % 2 ? y[3] : y[2];
        __syncthreads();
        float u[2] = { 0.0f, 0.0f }, root[2] = { 0.0f, 0.0f }, weight[2], factor[2], down[2], weighted = 0.0f;
        x[0] = x[1] = 0.0f;
        ATTN_UNROLL_4
        for (int n = 0; n < ATTN_WARPS; ++n) {
            const float4 z = *(const float4 *)(const void *)(given + n * 128 + 4 * lane);
            const float2 q = *(const float2 *)(const void *)(squares + n * 8 + 2 * c);
            x[0] += z.x, x[1] += z.y, u[0] += z.z, u[1] += z.w;
            root[0] += q.x, root[1] += q.y;
        }
        turn ^= 1;
        const float scale = m.scale[r < queries ? r : 0];
        ATTN_UNROLL
        for (int e = 0; e < 2; ++e) {
            root[e] = attn__inverse_root(root[e] * mean + a->p.eps);
            x[e] *= root[e] * a->p.scale * scale;
            weight[e] = r < queries && 2 * c + e < blocks ? attn__exp2((x[e] - lse) * ATTN_LOG2E) : 0.0f;
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
            for (int mask = 4; mask < 32; mask *= 2)
                down[e] += attn__shuffle_xor(down[e], mask);
            down[e] *= root[e] * root[e] * mean;
        }
        uint32_t p_high, p_low, f_high, f_low, by_high, by_low, for_dv[3][2];
        ATTN_FN(_split)(weight[0], weight[1], &p_high, &p_low);
        ATTN_FN(_split)(factor[0], factor[1], &f_high, &f_low);
        ATTN_FN(_split)(factor[0] * scale, factor[1] * scale, &by_high, &by_low);
        for_dv[0][0] = attn__transpose_8x8(p_high), for_dv[0][1] = attn__transpose_8x8(by_high);
        for_dv[1][0] = attn__transpose_8x8(p_low), for_dv[1][1] = attn__transpose_8x8(by_low);
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

        ATTN_FN(_results)(a, &m, t, stage, &v_from, &g_from, &to, for_dv, for_dw, dw, plain);
        stage = ATTN_FN(_stage_after)(a, stage, ATTN_RES_OWN);
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

/* plain, a constant: results are of the instance's type and begin at multiples of 16 bytes, and so do rows of w.  Then
 * the text is half as long, and fits into the instruction cache. */
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

/* Also how many sums of dw there are. */
static int64_t ATTN_FN(_parts)(const attn_res_params *p)
{
    return ATTN_FN(_grid_of_runs)(p->tokens, ATTN_RES_RUN);
}

/* Relies on what run/res.h promises of p.  As many queries at a time as leave room for a token, and as many tokens as
 * then have room: with ATTN_BLOCKS blocks a multiprocessor, if that is one at least. */
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
        a.plain = p->o1.data && p->o1.dtype == ATTN_DTYPE && a.wide & ATTN_FN(_wide_o1);
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
        const int bytes_shared = fixed + a.stages * stage;
        e = a.plain ? ATTN_LAUNCH(ATTN_FN(_kernel), (unsigned)blocks, ATTN_THREADS, bytes_shared, stream, &a)
                    : ATTN_LAUNCH(ATTN_FN(_kernel_any), (unsigned)blocks, ATTN_THREADS, bytes_shared, stream, &a);
    }
    if (e == cudaSuccess)
        e = ATTN_FN(_finish)(&a, stream);
    return e == cudaSuccess ? ATTN_OK : ATTN_ERR_CUDA;
}

#undef ATTN_RES_STRIPS
#undef ATTN_RES_OWN
#undef ATTN_RES_HOLDS
#undef ATTN_RES_SHARE
#undef ATTN_RES_SHARES
#undef ATTN_RES_RUN
#undef ATTN_RES_TILES
#undef ATTN_RES_QUERY
#undef ATTN_RES_PIECE
#undef ATTN_RES_PITCH
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
