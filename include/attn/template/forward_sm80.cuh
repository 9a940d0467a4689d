/* forward_sm80.cuh - attention forward with mma.sync: O = softmax(scale Q K^T + ...) V and LSE.
 *
 * Included by instance.h for ATTN_ARCH_SM80 (f16 and bf16; runs on every GPU from sm_80 on) and ATTN_ARCH_SM75 (f16);
 * uses every parameter of begin.h.  A block computes one unit (plan_cuda.cuh): ATTN_TILE_Q rows against all their keys,
 * ATTN_TILE_K at a time.  Its ATTN_WARPS warps have 16 MT rows each; nothing is shared between warps but K and V, up to
 * 128 columns of V.  Beyond, two warps share their rows, see below.
 *
 *                keys of tile j               registers of a warp:   O [16 MT][DV]  f32
 *              +------------------+                                  S [16 MT][TILE_K]  f32, turned into
 *    16 MT     |     |     |      |                                  P [16 MT][TILE_K]  16 bits, piece by piece
 *     rows     | mma 16 x 8 x 16  |           shared memory:  Q [TILE_Q][D], K and V [STAGES][TILE_K][D] each
 *              +------------------+
 *
 * A step:  S = Q K^T;  the greatest of S;  then 16 keys at a time O += P V, while P = 2^(S - r) of the next 16 keys is
 * computed between its mma.  The other block of the multiprocessor fills what gaps remain.  With two stages, K and V
 * of the next tile are copied beside a whole step, which has one barrier.  With one stage, V is copied beside Q K^T
 * and the next K beside P V, which takes two barriers and half of the shared memory.
 *
 * 32 rows a warp (MT = 2), where the accumulators allow it: an mma 16x8x16 reads 256 bytes of K or V from shared
 * memory, which at 128 bytes a clock is as much as the tensor cores take; two row tiles share them.  O of 32 rows and
 * 256 columns is too much for one warp.  So two warps have the same 32 rows (SHARE = 2): of S each computes half of the
 * keys, of O half of the columns; P they give each other through shared memory, in the very registers in which an mma
 * takes it.  Of 64 keys and 256 dims a warp then reads 104 pieces of 512 bytes instead of 144.
 *
 * Rows of shared memory are swizzled: their 16-byte pieces change places, by eight, with the row's number, so that the
 * 8 rows of an ldmatrix lie in different banks, and so do the 128 bytes of a line that is copied.  Where rows are no
 * multiple of 128 bytes they are padded by 16.
 *
 * r, which is subtracted, is not the running maximum but one that is at most 8 (a factor of 256) below it: O is
 * rescaled only when a row outgrows that, in practice in the first tiles alone.  l and O have the same r, so nothing
 * is lost; P stays within 2^8.  Of two warps that share rows each lifts r by its own keys; behind the barrier after
 * which they have each other's P they take the greater one (_agree), which costs a comparison if they have the same.
 *
 * Hidden keys must have no effect, but 0 times a NaN or infinity of their V is NaN.  Such a V shows in O for certain,
 * so it is not looked for: a unit whose O or l is not finite is computed again in three passes, with V's finite
 * elements, and with 1 in place of what is +inf or NaN, then -inf or NaN: where a row sees one of those, O becomes
 * infinite, or NaN from both.  What is finite costs one vote a unit. */

#if ATTN_TILE_Q % (16 * ATTN_WARPS)
#error "attn: ATTN_TILE_Q must be a multiple of 16 * ATTN_WARPS on this arch"
#endif
#if ATTN_STAGES > 2
#error "attn: ATTN_STAGES must be 1 or 2 on this arch"
#endif

#include <attn/template/plan_cuda.cuh>
#include <attn/device/copy.cuh>
#include <attn/device/mma.cuh>
#include <attn/template/unit_cuda.cuh>
#include <attn/template/score_cuda.cuh>
#include <attn/template/finish_cuda.cuh>
#include <attn/template/pair_cuda.cuh>

#define ATTN_NV ((ATTN_HEAD_DIM_V + 15) / 16 * 2) /* 8-column tiles of O */
/* Warps that share rows, each with its part of the keys of S and of the columns of O. */
#define ATTN_SHARE (ATTN_NV > 16 && ATTN_NV % 4 == 0 && ATTN_WARPS % 2 == 0 && ATTN_TILE_K % 32 == 0 ? 2 : 1)
#define ATTN_MT (ATTN_TILE_Q * ATTN_SHARE / (16 * ATTN_WARPS)) /* 16-row tiles of a warp */
#define ATTN_KS ((ATTN_HEAD_DIM + 15) / 16)       /* steps of 16 dims in Q K^T */
#define ATTN_NK (ATTN_TILE_K / 8 / ATTN_SHARE)    /* 8-key tiles of S of a warp */
#define ATTN_NC (ATTN_NV / ATTN_SHARE)            /* 8-column tiles of O of a warp */
#define ATTN_NP (ATTN_SHARE == 1 || ATTN_NK < 4 ? 2 : ATTN_NK / 2) /* pieces of P, 16 keys each, in registers */
#define ATTN_SWIZZLE (ATTN_KS % 4 == 0 && ATTN_NC % 8 == 0) /* else rows are padded */
#define ATTN_K_BYTES (32 * ATTN_KS + (ATTN_SWIZZLE ? 0 : 16)) /* a row of K in shared memory */
#define ATTN_V_BYTES (16 * ATTN_NV + (ATTN_SWIZZLE ? 0 : 16)) /* a row of V */
#define ATTN_Q_BYTES (ATTN_K_BYTES > ATTN_V_BYTES ? ATTN_K_BYTES : ATTN_V_BYTES) /* a row of Q, later of O */
#define ATTN_K_AT (ATTN_TILE_Q * ATTN_Q_BYTES)
#define ATTN_V_AT (ATTN_K_AT + ATTN_STAGES * ATTN_TILE_K * ATTN_K_BYTES)
#define ATTN_P_AT (ATTN_V_AT + ATTN_STAGES * ATTN_TILE_K * ATTN_V_BYTES)
#define ATTN_P_BYTES ((ATTN_SHARE - 1) * ATTN_MT * (ATTN_NK + 1) * 256) /* what a warp gives to the other: P, then r */
#define ATTN_UNIT_AT (ATTN_P_AT + ATTN_WARPS * ATTN_P_BYTES)
/* What is in shared memory for want of registers: the unit, and where its key 0 begins in K and in V. */
typedef struct ATTN_FN(_kept) {
    ATTN_FN(_unit) unit;
    const ATTN_KV_T *k, *v;
} ATTN_FN(_kept);
enum { ATTN_FN(_shared_bytes) = ATTN_UNIT_AT + (int)sizeof(ATTN_FN(_kept)) };
#define ATTN_KEPT(smem) ((ATTN_FN(_kept) *)(void *)((smem) + ATTN_UNIT_AT))
#define ATTN_SHARED_BYTES ATTN_FN(_shared_bytes)
#define ATTN_ROW_ALIGN 16
#define ATTN_DEVICE_FN ATTN_FN(_device)
#define ATTN_KEEP_Q (ATTN_MT * ATTN_KS <= 8 && ATTN_MT * ATTN_NK <= 16) /* Q has room in registers beside S: it stays */
/* Threads that copy a row: a power of two, so that each has the same piece of all its rows. */
#define ATTN_LANES(pieces) ((pieces) <= 2 ? 2 : (pieces) <= 4 ? 4 : (pieces) <= 8 ? 8 : (pieces) <= 16 ? 16 : 32)
#define ATTN_KEEP_FIRST (ATTN_HEAD_DIM == ATTN_HEAD_DIM_MIN) /* so have its first pieces of K and V; not in a range */
#define ATTN_AHEAD (ATTN_SHARE == 2 ? 2 : 1) /* operands of K and V that are under way, as far as registers allow */
#define ATTN_SLACK 8.0f     /* how far, in log2, a score may exceed r */
#define ATTN_NO_SCORE -1e30f /* r of a row that has seen none: finite, so that -inf - r is -inf */

/* d[16x8] += a[16x16] b[16x8] */
ATTN_DEVICE void ATTN_FN(_mma)(float *d, const uint32_t *a, const uint32_t *b)
{
#if ATTN_ARCH == ATTN_ARCH_SM75
    attn__mma_f16_k8(d, a, b);
    attn__mma_f16_k8(d, a + 2, b + 1);
#elif ATTN_DTYPE == ATTN_BF16
    attn__mma_bf16(d, a, b);
#else
    attn__mma_f16(d, a, b);
#endif
}

/* Bytes of the 16-byte piece `piece` of a row that lie within dim dims; a constant for a head dim that is. */
ATTN_DEVICE int ATTN_FN(_piece_bytes)(int piece, int dim)
{
    const int bytes = 2 * dim - 16 * piece;
    return bytes < 0 ? 0 : bytes < 16 ? bytes : 16;
}

/* Bytes from the start of a row of shared memory to a 16-byte piece. */
ATTN_DEVICE int ATTN_FN(_piece_at)(int row, int piece)
{
    return 16 * (ATTN_SWIZZLE ? piece ^ (row & 7) : piece);
}

/* Address of piece 2 n or 2 n + 1 of a row, from that of piece 0 or 1. */
ATTN_DEVICE uint32_t ATTN_FN(_pieces_at)(uint32_t at, int n)
{
    return ATTN_SWIZZLE ? (at ^ (uint32_t)(n % 4 * 32)) + (uint32_t)(n / 4 * 128) : at + (uint32_t)(n * 32);
}

/* ---- from global to shared memory ---------------------------------------------------------------- */

/* Q of the unit. */
ATTN_DEVICE void ATTN_FN(_load_q)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, unsigned char *smem)
{
    const int pieces = 2 * ATTN_KS, threads = 32 * ATTN_WARPS, dim = ATTN_FN(_dim)(a);
    const ATTN_Q_T *q = (const ATTN_Q_T *)a->p.q.data;
    if (ATTN_FN(_group)(a) == 1) {
        /* The common case: a thread has the same piece of every step-th row. */
        const int lanes = ATTN_LANES(pieces), step = threads / lanes;
        const int first = (int)threadIdx.x / lanes, piece = (int)threadIdx.x % lanes;
        const int bytes = ATTN_FN(_piece_bytes)(piece, dim);
        const int64_t stride = step * a->p.q.stride[1];
        const ATTN_Q_T *from = q + ATTN_FN(_q_at)(a, u, ATTN_FN(_place_of)(a, u, 0)) + first * a->p.q.stride[1] +
                               piece * 8;
        if (piece >= pieces)
            return;
        ATTN_UNROLL_4
        for (int row = first; row < ATTN_TILE_Q; row += step, from += stride)
            attn__copy_async(smem + row * ATTN_Q_BYTES + ATTN_FN(_piece_at)(row, piece), from,
                             row < u->rows ? bytes : 0);
        return;
    }
    ATTN_NO_UNROLL
    for (int n = (int)threadIdx.x; n < ATTN_TILE_Q * pieces; n += threads) {
        const int row = n / pieces, piece = n % pieces;
        attn__copy_async(smem + row * ATTN_Q_BYTES + ATTN_FN(_piece_at)(row, piece),
                         q + ATTN_FN(_q_at)(a, u, ATTN_FN(_place_of)(a, u, row)) + piece * 8,
                         row < u->rows ? ATTN_FN(_piece_bytes)(piece, dim) : 0);
    }
}

/* Where key 0 of K or V (t) lies, for the common case of _load_tile. */
ATTN_DEVICE const ATTN_KV_T *ATTN_FN(_key_0)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const attn_tensor *t)
{
    return (const ATTN_KV_T *)t->data + (ATTN_PAGED && a->p.page_size ? 0 : ATTN_FN(_kv_at)(a, u, t, 0));
}

/* From there to this thread's piece of key j. */
ATTN_DEVICE int64_t ATTN_FN(_to_piece)(const attn_tensor *t, int pieces, int j)
{
    const int lanes = ATTN_LANES(pieces);
    return (j + (int)threadIdx.x / lanes) * t->stride[1] + (int)threadIdx.x % lanes * 8;
}

/* Keys k0 .. k0 + ATTN_TILE_K of K or V (t); zeros beyond the last key.  first: this thread's piece of key 0 if
 * ATTN_KEEP_FIRST, else key 0. */
ATTN_DEVICE void ATTN_FN(_load_tile)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const attn_tensor *t, int k0,
                                     int pieces, int row_bytes, int dim, int len_k,
                                     const ATTN_KV_T *first, unsigned char *to)
{
    const int threads = 32 * ATTN_WARPS, lanes = ATTN_LANES(pieces), step = threads / lanes;
    const int even = ATTN_TILE_K % step == 0 && (step % 8 == 0 || 8 % step == 0);
    if (even && k0 + ATTN_TILE_K <= len_k &&
        t->stride[1] >= 0 && t->stride[1] < INT32_MAX / (2 * ATTN_TILE_K) && !(ATTN_PAGED && a->p.page_size)) {
        /* The common case: a thread has the same piece of every step-th row, all of them there, and 32 bits are enough
         * for a tile: 64 would take registers that S needs. */
        const int stride = step * (int)t->stride[1];
        const int row = (int)threadIdx.x / lanes, piece = (int)threadIdx.x % lanes;
        const ATTN_KV_T *from = first + (ATTN_KEEP_FIRST ? k0 * t->stride[1] : ATTN_FN(_to_piece)(t, pieces, k0));
        const int bytes = 8 * pieces == dim ? 16 : ATTN_FN(_piece_bytes)(piece, dim);
        to += row * row_bytes + ATTN_FN(_piece_at)(row, piece);
        if (piece >= pieces)
            return;
        ATTN_UNROLL
        for (int r = 0; r < ATTN_TILE_K / step; ++r) /* the lowest bits of row + r step are those of row ^ r step */
            attn__copy_async((unsigned char *)((uintptr_t)to ^ (uintptr_t)ATTN_FN(_piece_at)(r * step, 0)) +
                                 r * step * row_bytes,
                             from + r * stride, bytes);
        return;
    }
    ATTN_NO_UNROLL
    for (int n = (int)threadIdx.x; n < ATTN_TILE_K * pieces; n += threads) {
        const int row = n / pieces, piece = n % pieces, j = k0 + row;
        const int there = j < len_k;
        attn__copy_async(to + row * row_bytes + ATTN_FN(_piece_at)(row, piece),
                         (const ATTN_KV_T *)t->data + (there ? ATTN_FN(_kv_at)(a, u, t, j) : 0) + piece * 8,
                         there ? ATTN_FN(_piece_bytes)(piece, dim) : 0);
    }
}

/* ---- the state of a warp -------------------------------------------------------------------------- */

typedef struct ATTN_FN(_warp) {
    uint32_t q_at, k_at, v_at; /* shared addresses of this lane's rows for ldmatrix */
    const ATTN_KV_T *k_first, *v_first; /* this thread's pieces of key 0, if ATTN_KEEP_FIRST */
    int to, len_k;             /* of the unit */
    int half;                  /* of two warps that share rows: which keys of S and columns of O */
    int row;                   /* first of the rows of this lane: it has every 8th of 2 MT */
    attn__span span;           /* keys of the warp's rows together */
    int pass;                  /* of the unit: 0, or 1 to 3 for the parts of a V that is not finite */
    float unit;                /* what makes a score in S one in log2 */
} ATTN_FN(_warp);

/* Copies the tile at k0, if there is one, into a buffer. */
ATTN_DEVICE void ATTN_FN(_load_k)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_warp) *w, int k0,
                                  int buffer, unsigned char *smem)
{
    if (k0 < w->to)
        ATTN_FN(_load_tile)(a, u, &a->p.k, k0, 2 * ATTN_KS, ATTN_K_BYTES, ATTN_FN(_dim)(a), w->len_k,
                            ATTN_KEEP_FIRST ? w->k_first : ATTN_KEPT(smem)->k,
                            smem + ATTN_K_AT + buffer * ATTN_TILE_K * ATTN_K_BYTES);
}
ATTN_DEVICE void ATTN_FN(_load_v)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_warp) *w, int k0,
                                  int buffer, unsigned char *smem)
{
    if (k0 < w->to)
        ATTN_FN(_load_tile)(a, u, &a->p.v, k0, ATTN_NV, ATTN_V_BYTES, ATTN_FN(_dim_v)(a), w->len_k,
                            ATTN_KEEP_FIRST ? w->v_first : ATTN_KEPT(smem)->v,
                            smem + ATTN_V_AT + buffer * ATTN_TILE_K * ATTN_V_BYTES);
}

/* Whether any row of the warp sees any key of the tile. */
ATTN_DEVICE int ATTN_FN(_touches)(const ATTN_FN(_warp) *w, int k0)
{
    const attn__span *s = &w->span;
    return (k0 < s->hi && k0 + ATTN_TILE_K > s->lo) ||
           (ATTN_SINK_TOKENS && k0 < s->sink_hi && k0 + ATTN_TILE_K > s->sink_lo);
}

/* Operand n of Q K^T, in the order of use: 16 keys by 16 dims. */
ATTN_DEVICE void ATTN_FN(_k_operand)(uint32_t k_at, int n, uint32_t (*b)[4])
{
    if (n < ATTN_KS * (ATTN_NK / 2))
        attn__ldmatrix_x4(b[n % (ATTN_AHEAD + 1)],
                          ATTN_FN(_pieces_at)(k_at, n / (ATTN_NK / 2)) +
                              (uint32_t)(n % (ATTN_NK / 2) * 16 * ATTN_K_BYTES));
}

/* S = Q K^T of one tile. */
ATTN_DEVICE void ATTN_FN(_scores)(const ATTN_FN(_warp) *w, int buffer, uint32_t (*q)[ATTN_KS][4],
                                  float (*s)[ATTN_NK][4])
{
    const uint32_t k_at = w->k_at + (uint32_t)(buffer * ATTN_TILE_K * ATTN_K_BYTES);
    uint32_t own[2][ATTN_MT][4], b[ATTN_AHEAD + 1][4];
    ATTN_UNROLL
    for (int n = 0; n < ATTN_MT * ATTN_NK * 4; ++n)
        s[n / 4 / ATTN_NK][n / 4 % ATTN_NK][n % 4] = 0.0f;
    ATTN_UNROLL
    for (int mt = 0; mt < ATTN_MT; ++mt) {
        if (!ATTN_KEEP_Q)
            attn__ldmatrix_x4(own[0][mt], w->q_at + (uint32_t)(mt * 16 * ATTN_Q_BYTES));
    }
    ATTN_UNROLL
    for (int n = 0; n < ATTN_AHEAD; ++n)
        ATTN_FN(_k_operand)(k_at, n, b);
    ATTN_UNROLL
    for (int ks = 0; ks < ATTN_KS; ++ks) {
        ATTN_UNROLL
        for (int mt = 0; mt < ATTN_MT; ++mt) {
            if (!ATTN_KEEP_Q && ks + 1 < ATTN_KS)
                attn__ldmatrix_x4(own[(ks + 1) % 2][mt],
                                  ATTN_FN(_pieces_at)(w->q_at, ks + 1) + (uint32_t)(mt * 16 * ATTN_Q_BYTES));
        }
        ATTN_UNROLL
        for (int n2 = 0; n2 < ATTN_NK / 2; ++n2) {
            const int n = ks * (ATTN_NK / 2) + n2;
            ATTN_FN(_k_operand)(k_at, n + ATTN_AHEAD, b);
            ATTN_UNROLL
            for (int mt = 0; mt < ATTN_MT; ++mt) {
                const uint32_t *x = ATTN_KEEP_Q ? q[mt][ks] : own[ks % 2][mt];
                ATTN_FN(_mma)(s[mt][2 * n2], x, b[n % (ATTN_AHEAD + 1)]);
                ATTN_FN(_mma)(s[mt][2 * n2 + 1], x, b[n % (ATTN_AHEAD + 1)] + 2);
            }
        }
    }
}

/* P = 2^(S - r) of the 16 keys kk, as an operand of P V; its sum is added to l. */
ATTN_DEVICE void ATTN_FN(_weights)(const ATTN_FN(_warp) *w, int kk, float (*s)[ATTN_NK][4], const float *minus_r,
                                   uint32_t (*p)[4], float *l)
{
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_MT; ++n) {
        const int mt = n / 2, half = n % 2;
        float *x = s[mt][2 * kk + half];
        ATTN_UNROLL
        for (int e = 0; e < 4; ++e)
            x[e] = attn__exp2(fmaf(x[e], w->unit, minus_r[2 * mt + e / 2]));
        l[2 * mt] += x[0] + x[1];
        l[2 * mt + 1] += x[2] + x[3];
        p[mt][2 * half] = ATTN_PACK(x[0], x[1]);
        p[mt][2 * half + 1] = ATTN_PACK(x[2], x[3]);
    }
}

/* What this warp gives to the one it shares its rows with, or, with `other`, gets from it. */
ATTN_DEVICE unsigned char *ATTN_FN(_gift)(unsigned char *smem, int other)
{
    return smem + ATTN_P_AT + ((int)threadIdx.x / 32 ^ other) * ATTN_P_BYTES;
}

/* P of all of the warp's keys, for itself and for the other. */
ATTN_DEVICE void ATTN_FN(_give)(const ATTN_FN(_warp) *w, unsigned char *smem, float (*s)[ATTN_NK][4],
                                const float *minus_r, uint32_t (*p)[ATTN_MT][4], float *l)
{
    unsigned char *gift = ATTN_FN(_gift)(smem, 0);
    const int lane = attn__lane();
    ATTN_UNROLL
    for (int kk = 0; kk < ATTN_NK / 2; ++kk) {
        ATTN_FN(_weights)(w, kk, s, minus_r, p[kk], l);
        ATTN_UNROLL
        for (int mt = 0; mt < ATTN_MT; ++mt)
            *(uint4 *)(gift + (kk * ATTN_MT + mt) * 512 + lane * 16) =
                make_uint4(p[kk][mt][0], p[kk][mt][1], p[kk][mt][2], p[kk][mt][3]);
    }
    ATTN_UNROLL
    for (int mt = 0; mt < ATTN_MT; ++mt)
        *(float2 *)(gift + (ATTN_NK * ATTN_MT + mt) * 256 + lane * 8) =
            make_float2(minus_r[2 * mt], minus_r[2 * mt + 1]);
}

/* x, two numbers, times y. */
ATTN_DEVICE uint32_t ATTN_FN(_times)(uint32_t x, float y)
{
    return ATTN_PACK(ATTN_KV_SCALAR(x) * y, ATTN_KV_SCALAR(x >> 16) * y);
}

/* Two warps that share rows go on with the greater r of each row. */
ATTN_DEVICE void ATTN_FN(_agree)(unsigned char *smem, float *minus_r, uint32_t (*p)[ATTN_MT][4], float *l,
                                 float (*o)[ATTN_NC][4])
{
    unsigned char *gift = ATTN_FN(_gift)(smem, 1);
    const int lane = attn__lane();
    float other[2 * ATTN_MT];
    int differ = 0;
    ATTN_UNROLL
    for (int mt = 0; mt < ATTN_MT; ++mt) {
        const float2 r = *(const float2 *)(gift + (ATTN_NK * ATTN_MT + mt) * 256 + lane * 8);
        other[2 * mt] = r.x, other[2 * mt + 1] = r.y;
        differ |= r.x != minus_r[2 * mt] || r.y != minus_r[2 * mt + 1];
    }
    if (!attn__any(differ))
        return;
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_MT; ++n) {
        const float now = minus_r[n] < other[n] ? minus_r[n] : other[n];
        const float own = attn__exp2(now - minus_r[n]);
        other[n] = attn__exp2(now - other[n]);
        minus_r[n] = now;
        l[n] *= own;
        ATTN_UNROLL
        for (int nv = 0; nv < ATTN_NC; ++nv) {
            o[n / 2][nv][n % 2 * 2] *= own;
            o[n / 2][nv][n % 2 * 2 + 1] *= own;
        }
        ATTN_UNROLL
        for (int kk = 0; kk < ATTN_NK / 2; ++kk) {
            uint32_t *theirs = (uint32_t *)(gift + (kk * ATTN_MT + n / 2) * 512 + lane * 16) + n % 2;
            p[kk][n / 2][n % 2] = ATTN_FN(_times)(p[kk][n / 2][n % 2], own);
            p[kk][n / 2][n % 2 + 2] = ATTN_FN(_times)(p[kk][n / 2][n % 2 + 2], own);
            theirs[0] = ATTN_FN(_times)(theirs[0], other[n]);
            theirs[2] = ATTN_FN(_times)(theirs[2], other[n]);
        }
    }
}

/* Operand n of P V, in the order of use: 16 keys by 16 columns.  The warp's own keys come first. */
ATTN_DEVICE void ATTN_FN(_v_operand)(uint32_t v_at, uint32_t v_other, int n, uint32_t (*b)[4])
{
    const int kk = n / (ATTN_NC / 2), c = n % (ATTN_NC / 2);
    if (kk < ATTN_SHARE * (ATTN_NK / 2))
        attn__ldmatrix_x4_trans(b[n % (ATTN_AHEAD + 1)],
                                ATTN_FN(_pieces_at)(kk < ATTN_NK / 2 ? v_at : v_other, c) +
                                    (uint32_t)(kk % (ATTN_NK / 2) * 16 * ATTN_V_BYTES));
}

/* O += P V of one tile.  p is P of the first 16 keys, or of all of the warp's keys where two warps share rows; the rest
 * is computed, or read, on the way. */
ATTN_DEVICE void ATTN_FN(_values)(const ATTN_FN(_warp) *w, int buffer, unsigned char *smem, float (*s)[ATTN_NK][4],
                                  const float *minus_r, uint32_t (*p)[ATTN_MT][4], float *l, float (*o)[ATTN_NC][4])
{
    const uint32_t v_at = w->v_at + (uint32_t)(buffer * ATTN_TILE_K * ATTN_V_BYTES);
    const uint32_t mine = v_at + (uint32_t)(w->half * 8 * ATTN_NK * ATTN_V_BYTES);
    const uint32_t other = v_at + (uint32_t)((1 - w->half) * 8 * ATTN_NK * ATTN_V_BYTES);
    const unsigned char *gift = ATTN_FN(_gift)(smem, 1) + attn__lane() * 16;
    uint32_t b[ATTN_AHEAD + 1][4];
    ATTN_UNROLL
    for (int n = 0; n < ATTN_AHEAD; ++n)
        ATTN_FN(_v_operand)(mine, other, n, b);
    ATTN_UNROLL
    for (int kk = 0; kk < ATTN_SHARE * (ATTN_NK / 2); ++kk) {
        if (ATTN_SHARE == 1 && kk + 1 < ATTN_NK / 2)
            ATTN_FN(_weights)(w, kk + 1, s, minus_r, p[(kk + 1) % 2], l);
        ATTN_UNROLL
        for (int mt = 0; mt < ATTN_MT; ++mt)
            if (ATTN_SHARE == 2 && kk + 1 >= ATTN_NK / 2 && kk + 1 < ATTN_NK) {
                const uint4 x = *(const uint4 *)(gift + ((kk + 1 - ATTN_NK / 2) * ATTN_MT + mt) * 512);
                uint32_t *to = p[(kk + 1) % ATTN_NP][mt];
                to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
            }
        ATTN_UNROLL
        for (int n2 = 0; n2 < ATTN_NC / 2; ++n2) {
            const int n = kk * (ATTN_NC / 2) + n2;
            ATTN_FN(_v_operand)(mine, other, n + ATTN_AHEAD, b);
            ATTN_UNROLL
            for (int mt = 0; mt < ATTN_MT; ++mt) {
                ATTN_FN(_mma)(o[mt][2 * n2], p[kk % ATTN_NP][mt], b[n % (ATTN_AHEAD + 1)]);
                ATTN_FN(_mma)(o[mt][2 * n2 + 1], p[kk % ATTN_NP][mt], b[n % (ATTN_AHEAD + 1)] + 2);
            }
        }
    }
}

/* V of a tile as a pass of a unit needs it, in place: 1 its finite elements, 0 for others; 2 1 for each that is +inf or
 * NaN, else 0; 3 the same of -inf. */
ATTN_DEVICE void ATTN_FN(_split)(int pass, unsigned char *v)
{
    const int pairs = 4 * ATTN_NV;
    ATTN_NO_UNROLL
    for (int n = (int)threadIdx.x; n < ATTN_TILE_K * pairs; n += 32 * ATTN_WARPS) {
        uint32_t *at = (uint32_t *)(v + n / pairs * ATTN_V_BYTES + n % pairs * 4);
        *at = ATTN_FN(_split_pair)(pass, *at);
    }
    __syncthreads();
}

/* What changes the scores of a tile: softcap, biases, masks. */
ATTN_DEVICE void ATTN_FN(_change)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_warp) *w, int k0,
                                  float (*s)[ATTN_NK][4])
{
    const int changed = ATTN_FN(_has_score)(a), edge = ATTN_FN(_is_edge)(&w->span, k0);
    if (!changed && !edge && w->pass < 2)
        return;
    const int column = k0 + w->half * 8 * ATTN_NK + attn__lane() % 4 * 2;
    ATTN_FN(_place) at = ATTN_FN(_place_of)(a, u, w->row);
    ATTN_UNROLL
    for (int r = 0; r < 2 * ATTN_MT; ++r) {
        float x[2 * ATTN_NK];
        ATTN_UNROLL
        for (int n = 0; n < 2 * ATTN_NK; ++n)
            x[n] = s[r / 2][n / 2][r % 2 * 2 + n % 2];
        if (changed)
            ATTN_FN(_score_row)(a, u, at.i, ATTN_FN(_head)(a, u, at), column, 2, 8, 2 * ATTN_NK, x);
        if (edge) {
            const attn__keys keys = ATTN_FN(_row_keys)(u, at.i);
            ATTN_UNROLL
            for (int n = 0; n < 2 * ATTN_NK; ++n) {
                const int j = n / 2 * 8 + n % 2;
                const int sees = ATTN_WINDOW || ATTN_CHUNK ? ATTN_FN(_sees)(&keys, column + j)
                                                           : j < keys.hi - column;
                x[n] = sees ? x[n] : ATTN_NEG_INF;
            }
        }
        ATTN_UNROLL
        for (int n = 0; n < 2 * ATTN_NK; ++n) {
            if (w->pass >= 2 && x[n] != ATTN_NEG_INF)
                x[n] = 0.0f; /* as much as any other: its own weight may have been rounded to 0 */
            s[r / 2][n / 2][r % 2 * 2 + n % 2] = x[n];
        }
        at = ATTN_FN(_place_after)(a, u, at, 8);
    }
}

/* Lifts r to the maximum of each row, if any row of the warp has outgrown it. */
ATTN_DEVICE void ATTN_FN(_lift)(const ATTN_FN(_warp) *w, float (*s)[ATTN_NK][4], float *minus_r, float *l,
                                float (*o)[ATTN_NC][4])
{
    float top[2 * ATTN_MT];
    int over = 0;
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_MT; ++n) {
        float other = s[n / 2][1][n % 2 * 2]; /* two chains: half the latency */
        top[n] = s[n / 2][0][n % 2 * 2];
        ATTN_UNROLL
        for (int e = 0; e < ATTN_NK; e += 2) {
            top[n] = attn__max(attn__max(top[n], s[n / 2][e][n % 2 * 2]), s[n / 2][e][n % 2 * 2 + 1]);
            other = attn__max(attn__max(other, s[n / 2][e + 1][n % 2 * 2]), s[n / 2][e + 1][n % 2 * 2 + 1]);
        }
        top[n] = attn__max(top[n], other);
        over |= fmaf(top[n], w->unit, minus_r[n]) > ATTN_SLACK;
    }
    if (!attn__any(over))
        return;
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_MT; ++n) {
        float now = attn__max(top[n], attn__shuffle_xor(top[n], 1));
        now = attn__max(now, attn__shuffle_xor(now, 2));
        now = attn__max(now * w->unit, -minus_r[n]);
        const float alpha = attn__exp2(-minus_r[n] - now);
        minus_r[n] = -now;
        l[n] *= alpha;
        ATTN_UNROLL
        for (int nv = 0; nv < ATTN_NC; ++nv) {
            o[n / 2][nv][n % 2 * 2] *= alpha;
            o[n / 2][nv][n % 2 * 2 + 1] *= alpha;
        }
    }
}

/* ---- the end of a unit ---------------------------------------------------------------------------- */

/* Stores a warp's columns of its rows.  Through its rows of Q, which no warp reads any more: in pieces of 16 bytes
 * where o allows it, else 8 rows at a time in f32, element by element. */
ATTN_DEVICE void ATTN_FN(_store)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_warp) *w,
                                 unsigned char *smem, float (*o)[ATTN_NC][4], const float *minus_r, float *l)
{
    /* Found anew, or it would be kept across the loop over keys, in registers that are needed there. */
    const int tid = attn__anew((int)threadIdx.x), lane = tid % 32, dim_v = ATTN_FN(_dim_v)(a);
    const int first = tid / 32 / ATTN_SHARE * 16 * ATTN_MT, half = tid / 32 % ATTN_SHARE;
    const int column = half * 8 * ATTN_NC;
    const int wide = a->wide_o && a->parts == 1 && w->pass < 2;
    unsigned char *own = smem + first * ATTN_Q_BYTES, *staging = own + half * 8 * ATTN_MT * ATTN_Q_BYTES;
    float scale[2 * ATTN_MT];
    ATTN_UNROLL
    for (int n0 = 0; n0 < 2 * ATTN_MT; n0 += 4) { /* each of the four lanes that have the same rows takes one of them */
        const int mine = n0 + lane % 4, row = first + lane / 4 + mine * 8;
        const int store = mine < 2 * ATTN_MT && row < u->rows && half == 0 && w->pass < 2;
        const ATTN_FN(_place) at = ATTN_FN(_place_of)(a, u, row);
        const int h = ATTN_FN(_head)(a, u, at);
        float sum = l[n0], r = -minus_r[n0], factor = 1.0f;
        ATTN_UNROLL
        for (int n = n0 + 1; n < n0 + 4 && n < 2 * ATTN_MT; ++n) {
            sum = n == mine ? l[n] : sum;
            r = n == mine ? -minus_r[n] : r;
        }
        if (a->parts > 1) {
            const int64_t to = (int64_t)u->part * a->part_rows + ATTN_FN(_part_row)(a, u, row);
            if (store) {
                a->part_m[to] = sum == 0.0f ? ATTN_NEG_INF : r;
                a->part_l[to] = sum;
            }
        } else {
            float lse;
            factor = ATTN_FN(_finish)(a, h, r, sum, &lse);
            if (store)
                ATTN_FN(_put_lse)(a, u, at.i, h, lse);
        }
        ATTN_UNROLL
        for (int n = n0; n < n0 + 4 && n < 2 * ATTN_MT; ++n)
            scale[n] = attn__shuffle(factor, lane / 4 * 4 + n - n0);
    }
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_MT; ++n) {
        if (wide) {
            ATTN_UNROLL
            for (int nv = 0; nv < ATTN_NC; ++nv)
                *(uint32_t *)(own + (n * 8 + lane / 4) * ATTN_Q_BYTES +
                              ATTN_FN(_piece_at)(lane / 4, column / 8 + nv) + lane % 4 * 4) =
                    ATTN_PACK(o[n / 2][nv][n % 2 * 2] * scale[n], o[n / 2][nv][n % 2 * 2 + 1] * scale[n]);
            continue;
        }
        __syncwarp(); /* the 8 rows before have been read */
        ATTN_UNROLL
        for (int nv = 0; nv < ATTN_NC; ++nv)
            *(float2 *)(staging + lane / 4 * (32 * ATTN_NC) + nv * 32 + lane % 4 * 8) =
                make_float2(o[n / 2][nv][n % 2 * 2] * scale[n], o[n / 2][nv][n % 2 * 2 + 1] * scale[n]);
        __syncwarp();
        ATTN_FN(_place) place = ATTN_FN(_place_of)(a, u, first + n * 8);
        ATTN_NO_UNROLL
        for (int k = 0; k < 8 && first + n * 8 + k < u->rows; ++k, place = ATTN_FN(_place_after)(a, u, place, 1)) {
            const float *x = (const float *)(staging + k * (32 * ATTN_NC));
            const int64_t part = (int64_t)u->part * a->part_rows + ATTN_FN(_part_row)(a, u, first + n * 8 + k);
            const int64_t o_at = ATTN_FN(_o_at)(a, u, place.i, ATTN_FN(_head)(a, u, place));
            ATTN_NO_UNROLL
            for (int d = column + lane; d < dim_v && d < column + 8 * ATTN_NC; d += 32) {
                const int64_t to = a->parts > 1 ? part * dim_v + d : o_at + d * a->p.o.stride[3];
                float y = x[d - column];
                if (w->pass >= 2) {
                    if (!(y > 0.0f))
                        continue;
                    y = w->pass == 2 ? -ATTN_NEG_INF : ATTN_NEG_INF;
                    y += a->parts > 1 ? a->part_o[to] : ATTN_FN(_get_o)(a, to);
                }
                if (a->parts > 1)
                    a->part_o[to] = y;
                else
                    ATTN_FN(_put_o)(a, to, y);
            }
        }
    }
    if (!wide)
        return;
    __syncwarp();
    if (32 % ATTN_NC == 0 && ATTN_FN(_group)(a) == 1) {
        /* The common case: a lane has the same piece of every step-th row. */
        const int step = 32 / ATTN_NC, row0 = lane / ATTN_NC, piece = column / 8 + lane % ATTN_NC;
        const int64_t stride = step * a->p.o.stride[1];
        uint16_t *to = (uint16_t *)a->p.o.data + ATTN_FN(_o_at)(a, u, u->row0 + first + row0, u->g) + piece * 8;
        const int rows = piece * 8 >= dim_v ? 0 : u->rows - first < 16 * ATTN_MT ? u->rows - first : 16 * ATTN_MT;
        ATTN_UNROLL_4
        for (int row = row0; row < rows; row += step, to += stride)
            *(uint4 *)to = *(const uint4 *)(own + row * ATTN_Q_BYTES + ATTN_FN(_piece_at)(row, piece));
        return;
    }
    ATTN_UNROLL_4
    for (int n = lane; n < 16 * ATTN_MT * ATTN_NC; n += 32) {
        const int row = n / ATTN_NC, piece = column / 8 + n % ATTN_NC;
        if (first + row < u->rows && piece * 8 < dim_v) {
            const ATTN_FN(_place) to = ATTN_FN(_place_of)(a, u, first + row);
            *(uint4 *)((uint16_t *)a->p.o.data + ATTN_FN(_o_at)(a, u, to.i, ATTN_FN(_head)(a, u, to)) + piece * 8) =
                *(const uint4 *)(own + row * ATTN_Q_BYTES + ATTN_FN(_piece_at)(row, piece));
        }
    }
}

/* All tiles of a unit.  Answers whether something in the result is not finite. */
ATTN_DEVICE int ATTN_FN(_do_unit)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_warp) *w,
                                  unsigned char *smem)
{
    float o[ATTN_MT][ATTN_NC][4], minus_r[2 * ATTN_MT], l[2 * ATTN_MT];
    uint32_t q[ATTN_MT][ATTN_KS][4];
    ATTN_UNROLL
    for (int n = 0; n < ATTN_MT * ATTN_NC * 4; ++n)
        o[n / 4 / ATTN_NC][n / 4 % ATTN_NC][n % 4] = 0.0f;
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_MT; ++n) {
        minus_r[n] = -ATTN_NO_SCORE;
        l[n] = 0.0f;
    }
    int k0 = ATTN_FN(_next_tile)(u, -1);
    ATTN_FN(_load_q)(a, u, smem);
    ATTN_FN(_load_k)(a, u, w, k0, 0, smem);
    if (ATTN_STAGES == 2)
        ATTN_FN(_load_v)(a, u, w, k0, 0, smem);
    attn__copy_async_commit();
    if (ATTN_KEEP_Q) {
        ATTN_COPY_ASYNC_WAIT(0);
        __syncthreads();
        ATTN_UNROLL
        for (int n = 0; n < ATTN_MT * ATTN_KS; ++n)
            attn__ldmatrix_x4(q[n / ATTN_KS][n % ATTN_KS],
                              ATTN_FN(_pieces_at)(w->q_at, n % ATTN_KS) +
                                  (uint32_t)(n / ATTN_KS * 16 * ATTN_Q_BYTES));
    }
    ATTN_NO_UNROLL
    for (int buffer = 0; k0 < w->to; buffer ^= ATTN_STAGES - 1) {
        const int next = ATTN_FN(_next_tile)(u, k0), live = ATTN_FN(_touches)(w, k0);
        float s[ATTN_MT][ATTN_NK][4];
        uint32_t p[ATTN_NP][ATTN_MT][4]; /* of the 16 keys that are multiplied, and of the next ones; or of all own */
        ATTN_COPY_ASYNC_WAIT(0);
        __syncthreads(); /* the tile is there, and all warps have left the one before */
        if (ATTN_STAGES == 2 && w->pass)
            ATTN_FN(_split)(w->pass, smem + ATTN_V_AT + buffer * ATTN_TILE_K * ATTN_V_BYTES);
        if (ATTN_STAGES == 2)
            ATTN_FN(_load_k)(a, u, w, next, buffer ^ 1, smem);
        ATTN_FN(_load_v)(a, u, w, ATTN_STAGES == 2 ? next : k0, buffer ^ (ATTN_STAGES - 1), smem);
        attn__copy_async_commit();
        if (live) {
            ATTN_FN(_scores)(w, buffer, q, s);
            ATTN_FN(_change)(a, u, w, k0, s);
            ATTN_FN(_lift)(w, s, minus_r, l, o);
            if (ATTN_SHARE == 1)
                ATTN_FN(_weights)(w, 0, s, minus_r, p[0], l);
            else
                ATTN_FN(_give)(w, smem, s, minus_r, p, l);
            if (ATTN_SHARE == 2 && ATTN_STAGES == 2)
                attn__barrier(1 + (int)threadIdx.x / 64, 64); /* P is there */
        }
        if (ATTN_STAGES == 1) {
            ATTN_COPY_ASYNC_WAIT(0);
            __syncthreads(); /* V is there, and P of the other warp, and all have left K */
            if (w->pass)
                ATTN_FN(_split)(w->pass, smem + ATTN_V_AT);
            ATTN_FN(_load_k)(a, u, w, next, 0, smem);
            attn__copy_async_commit();
        }
        if (live && ATTN_SHARE == 2)
            ATTN_FN(_agree)(smem, minus_r, p, l, o);
        if (live)
            ATTN_FN(_values)(w, buffer, smem, s, minus_r, p, l, o);
        k0 = next;
    }
    ATTN_COPY_ASYNC_WAIT(0);
    int wrong = 0;
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_MT; ++n) {
        l[n] += attn__shuffle_xor(l[n], 1);
        l[n] += attn__shuffle_xor(l[n], 2);
        float sum = l[n]; /* not finite if any is not; the other way round does no harm */
        ATTN_UNROLL
        for (int nv = 0; nv < ATTN_NC; ++nv)
            sum += o[n / 2][nv][n % 2 * 2] + o[n / 2][nv][n % 2 * 2 + 1];
        wrong |= !(sum - sum == 0.0f);
    }
    if (ATTN_SHARE == 2) {
        __syncthreads(); /* what was given has been taken */
        ATTN_UNROLL
        for (int n = 0; n < 2 * ATTN_MT; ++n)
            *(float *)(ATTN_FN(_gift)(smem, 0) + n * 128 + attn__lane() * 4) = l[n];
    }
    wrong = __syncthreads_or(wrong);
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_MT; ++n)
        if (ATTN_SHARE == 2)
            l[n] += *(const float *)(ATTN_FN(_gift)(smem, 1) + n * 128 + attn__lane() * 4);
    if (w->pass || !wrong)
        ATTN_FN(_store)(a, u, w, smem, o, minus_r, l);
    return wrong;
}

ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), 32 * ATTN_WARPS, ATTN_BLOCKS)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 10 * ATTN_ARCH
    ATTN_SHARED(smem);
    const int lane = attn__lane(), first = (int)threadIdx.x / 32 / ATTN_SHARE * 16 * ATTN_MT;
    const uint32_t base = attn__shared_address(smem);
    /* The unit lies in shared memory: in registers, what the compiler computes from it ahead of the loop over keys, for
     * the end, would take forty of them. */
    ATTN_FN(_kept) *kept = ATTN_KEPT(smem);
    for (int64_t number = blockIdx.x; number < a.units; number += gridDim.x) {
        ATTN_FN(_unit) unit;
        ATTN_FN(_warp) w;
        if (!ATTN_FN(_unit_make)(&a, number, &unit))
            continue;
        w.k_first = ATTN_FN(_key_0)(&a, &unit, &a.p.k);
        w.v_first = ATTN_FN(_key_0)(&a, &unit, &a.p.v);
        if (threadIdx.x == 0) {
            kept->unit = unit;
            if (!ATTN_KEEP_FIRST) {
                kept->k = w.k_first;
                kept->v = w.v_first;
            }
        }
        __syncthreads();
        /* ldmatrix: lanes 0..7 give the rows of the first 8x8 matrix, 8..15 of the second, and so on.  Of Q and V the
         * second one lies below the first, the third beside it; of K, whose rows are columns of K^T, the second lies
         * beside the first. */
        w.half = (int)threadIdx.x / 32 % ATTN_SHARE;
        w.q_at = base + (uint32_t)((first + lane % 16) * ATTN_Q_BYTES + ATTN_FN(_piece_at)(lane, lane / 16));
        w.k_at = base + (uint32_t)(ATTN_K_AT + (w.half * 8 * ATTN_NK + lane % 8 + lane / 16 * 8) * ATTN_K_BYTES +
                                   ATTN_FN(_piece_at)(lane, lane / 8 % 2));
        w.v_at = base + (uint32_t)(ATTN_V_AT + lane % 16 * ATTN_V_BYTES + w.half * 16 * ATTN_NC +
                                   ATTN_FN(_piece_at)(lane, lane / 16));
        w.k_first += ATTN_FN(_to_piece)(&a.p.k, 2 * ATTN_KS, 0);
        w.v_first += ATTN_FN(_to_piece)(&a.p.v, ATTN_NV, 0);
        w.to = unit.to;
        w.len_k = unit.len_k;
        w.row = first + lane / 4;
        w.span = ATTN_FN(_span)(&a, &unit, first, first + 16 * ATTN_MT - 1);
        w.unit = ATTN_FN(_has_score)(&a) ? 1.0f : a.scale_log2;
        w.pass = 0;
        ATTN_NO_UNROLL
        do {
            const int wrong = ATTN_FN(_do_unit)(&a, &kept->unit, &w, smem);
            __syncthreads(); /* before another Q */
            w.pass = w.pass || wrong ? w.pass + 1 : 4;
        } while (w.pass < 4);
    }
#endif
}

#include <attn/template/launch_cuda.cuh>

#undef ATTN_SHARE
#undef ATTN_SWIZZLE
#undef ATTN_NC
#undef ATTN_NP
#undef ATTN_P_AT
#undef ATTN_P_BYTES
#undef ATTN_MT
#undef ATTN_KS
#undef ATTN_NV
#undef ATTN_NK
#undef ATTN_K_BYTES
#undef ATTN_V_BYTES
#undef ATTN_Q_BYTES
#undef ATTN_K_AT
#undef ATTN_V_AT
#undef ATTN_UNIT_AT
#undef ATTN_KEPT
#undef ATTN_KEEP_Q
#undef ATTN_KEEP_FIRST
#undef ATTN_LANES
#undef ATTN_SLACK
#undef ATTN_AHEAD
#undef ATTN_NO_SCORE
