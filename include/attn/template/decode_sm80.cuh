/* decode_sm80.cuh - attention of few query rows against a long cache: O = softmax(scale Q K^T + ...) V and LSE, at the
 * speed of the memory that K and V come from.
 *
 * Included by instance.h for ATTN_KERNEL_DECODE on ATTN_ARCH_SM80 and ATTN_ARCH_SM90, which has clusters; uses every
 * parameter of begin.h.  All query heads of a KV head are rows of one unit (plan_cuda.cuh), so K and V are read once
 * for up to ATTN_TILE_Q of them.  A tile is ATTN_TILE_K keys and values, and one warp's alone: it copies tiles into a
 * ring of its own, ATTN_STAGES of them, and waits for nobody until its keys are used up.
 *
 *     block:  warp 0   tile 0, W, 2 W ...   ring of STAGES tiles     \
 *             warp 1   tile 1, W + 1 ...    ring of STAGES tiles      | sum of all warps, in shared memory
 *             ...                                                     |
 *             warp W-1                      ring of STAGES tiles     /
 *
 *              rows                          rows
 *           +--------+                    +--------+
 *     keys  |  S^T   |  A = K, B = Q^T    |  O^T   |  dims of V;  A = V^T, B = P^T
 *           +--------+                    +--------+
 *
 * Rows are N in both products, by 8: few of them waste nothing.  The sums of the first product are operands of the
 * second once 8 keys by 8 rows of them, packed, are transposed (movmatrix).  A lane has the same two of 8 rows, 2c and
 * the next, in S^T and in O^T, so that what a row is multiplied with is in the lane that needs it.
 *
 * Who reads which keys (a unit has as many tiles as its rows see keys in; lengths are read here, not by the host):
 *   clusters  the blocks of a cluster share the tiles of one unit, each sends the others their slices of its sum, and
 *             each finishes its own slice.  For calls of few units, where there are clusters.
 *   list      the tiles of all sequences stand in one list, of which each block has an equal share, whatever the
 *             lengths; heads walk the list side by side.  Copies run on from one unit into the next.  What a share
 *             has of a unit that it has not whole is a partial result, which launch_cuda.cuh merges.
 *   parts     of a fixed number of keys, where the call says so: as the forward templates.
 *
 * There is no running maximum.  r, which is subtracted from scores, is 0 at first, and becomes their maximum only where
 * one outgrows it by ATTN_ROOM (in log2) or a row begins ATTN_NEAR below; with bf16, whose exponents are those of f32,
 * that is seldom, so that sums add without weights.  The greatest weight of a row is then not 1 and is rounded, too: O
 * is divided by the sum of what it was made of, and lse is of the sum as it was.
 *
 * Hidden keys must have no effect, but 0 times a NaN or infinity of their V is NaN; such a V shows in O.  A unit that
 * is not finite is done again in three passes, as forward_sm80.cuh has it: with 1 in place of what is +inf or NaN, then
 * -inf or NaN, else 0, which gives marks; then with V's finite elements. */

#if ATTN_ARCH == ATTN_ARCH_SM90
#define ATTN_CLUSTERS 8
#define ATTN_EARLY
#include <attn/device/cluster.cuh>
#endif
#include <attn/template/plan_cuda.cuh>
#include <attn/device/copy.cuh>
#include <attn/device/mma.cuh>
#include <attn/template/unit_cuda.cuh>
#include <attn/template/score_cuda.cuh>
#include <attn/template/finish_cuda.cuh>
#include <attn/template/pair_cuda.cuh>

#define ATTN_RN (ATTN_TILE_Q / 8)                 /* tiles of 8 rows */
/* Numbers of K and V in 16 bits; of ATTN_NARROW at most, and at least. */
#define ATTN_PER(type) ((type) == ATTN_INT4 ? 4 : (type) >= ATTN_E4M3 ? 2 : 1)
#define ATTN_PER_MOST (ATTN_KV_DTYPE == ATTN_NARROW ? 4 : 1)
#define ATTN_WIDEST (ATTN_KV_DTYPE == ATTN_NARROW ? ATTN_E4M3 : ATTN_KV_DTYPE)
#define ATTN_STEPS(dim) (((dim) + 16 * ATTN_PER_MOST - 1) / (16 * ATTN_PER_MOST) * ATTN_PER_MOST)
#define ATTN_KS ATTN_STEPS(ATTN_HEAD_DIM)         /* steps of 16 dims in Q K^T */
#define ATTN_NV ATTN_STEPS(ATTN_HEAD_DIM_V)       /* 16-dim tiles of O^T */
#define ATTN_NK (ATTN_TILE_K / 16)                /* 16-key tiles of S^T */
#define ATTN_CHAINS (ATTN_RN * ATTN_NK <= 2 && ATTN_KS >= 4 ? 2 : 1) /* independent sums for each tile of S^T */
/* Pieces of 16 bytes in a row of K or V: by two, as ldmatrix takes them. */
#define ATTN_ROW_PIECES(dim, type) (((dim) + 16 * ATTN_PER(type) - 1) / (16 * ATTN_PER(type)) * 2)
#define ATTN_K_BYTES (16 * ATTN_ROW_PIECES(ATTN_HEAD_DIM, ATTN_WIDEST))
#define ATTN_V_BYTES (16 * ATTN_ROW_PIECES(ATTN_HEAD_DIM_V, ATTN_WIDEST))
/* A stage of a ring: keys; values; scales and zero points of both, if there are any, of each 32 dims and key. */
#define ATTN_SCALE_BYTES(dim) (ATTN_SCALED ? ((dim) + 31) / 32 * ATTN_TILE_K * 4 : 0)
#define ATTN_K_SCALES (ATTN_TILE_K * (ATTN_K_BYTES + ATTN_V_BYTES))
#define ATTN_K_ZEROS (ATTN_K_SCALES + ATTN_SCALE_BYTES(ATTN_HEAD_DIM))
#define ATTN_V_SCALES (ATTN_K_ZEROS + ATTN_SCALE_BYTES(ATTN_HEAD_DIM))
#define ATTN_V_ZEROS (ATTN_V_SCALES + ATTN_SCALE_BYTES(ATTN_HEAD_DIM_V))
#define ATTN_STAGE_BYTES (ATTN_V_ZEROS + ATTN_SCALE_BYTES(ATTN_HEAD_DIM_V))
/* Q fits into registers; else its operands lie in shared memory. */
#define ATTN_KEEP_Q (ATTN_KV_DTYPE == ATTN_NARROW || ATTN_RN * ATTN_KS <= 24)
#define ATTN_PITCH (16 * ATTN_NV + 4)             /* floats from row to row of a warp's O */
#define ATTN_SLICES (ATTN_CLUSTERS ? ATTN_CLUSTERS : 1)
#define ATTN_MOST_PARTS (ATTN_SLICES > ATTN_WARPS ? ATTN_SLICES : ATTN_WARPS)

/* Shared memory: the rings; each warp's O, then r and both sums of its rows; whether it is wrong; marks of passes; Q;
 * its unit; and what the blocks of the cluster send: slices, then r and sum of all rows; the barrier that counts
 * them. */
#define ATTN_O_AT (ATTN_WARPS * ATTN_STAGES * ATTN_STAGE_BYTES)
#define ATTN_RL_AT (ATTN_O_AT + ATTN_WARPS * ATTN_TILE_Q * ATTN_PITCH * 4)
#define ATTN_WRONG_AT (ATTN_RL_AT + ATTN_WARPS * ATTN_TILE_Q * 16)
#define ATTN_MARKS_AT (ATTN_WRONG_AT + ATTN_WARPS * 4)
#define ATTN_Q_AT ((ATTN_MARKS_AT + ATTN_TILE_Q * 4 * ATTN_NV + 15) / 16 * 16)
#define ATTN_UNIT_AT (ATTN_Q_AT + (ATTN_KEEP_Q ? 0 : ATTN_RN * ATTN_KS * 256))
enum { ATTN_FN(_kept_bytes) = ((int)sizeof(ATTN_FN(_unit)) + 15) / 16 * 16 + 48 };
#define ATTN_SLICES_AT (ATTN_UNIT_AT + ATTN_WARPS * ATTN_FN(_kept_bytes))
#define ATTN_SENT_AT (ATTN_SLICES_AT + (ATTN_CLUSTERS ? ATTN_TILE_Q * 64 * ATTN_NV + 64 * ATTN_SLICES : 0))
#define ATTN_BARRIER_AT (ATTN_SENT_AT + (ATTN_CLUSTERS ? ATTN_SLICES * ATTN_TILE_Q * 8 : 0))
enum { ATTN_FN(_shared_bytes) = ATTN_BARRIER_AT + (ATTN_CLUSTERS ? 16 : 0) };
ATTN_STATIC_ASSERT(ATTN_FN(_shared_bytes) <= 232448, "attn: fewer ATTN_WARPS or ATTN_STAGES, or a smaller ATTN_TILE_Q: "
                   "shared memory is for 232448 bytes");
#define ATTN_SHARED_BYTES ATTN_FN(_shared_bytes)
#define ATTN_ROW_ALIGN 16
#define ATTN_DEVICE_FN ATTN_FN(_device)

#define ATTN_NO_SCORE -1e30f /* r of a sum of none */
#if ATTN_DTYPE == ATTN_BF16 && ATTN_KV_DTYPE != ATTN_NARROW
#define ATTN_ROOM 40.0f /* how far, in log2, a score may exceed r */
#define ATTN_NEAR 30.0f /* how far below it the first may be */
#else
#define ATTN_ROOM 8.0f
#define ATTN_NEAR 0.0f
#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 10 * ATTN_ARCH

/* What P and V are in products. */
#define ATTN_F16_PV (ATTN_DTYPE == ATTN_F16 || ATTN_KV_DTYPE == ATTN_NARROW)

/* d[16x8] += a[16x16] b[16x8] */
ATTN_DEVICE void ATTN_FN(_mma)(float *d, const uint32_t *a, const uint32_t *b)
{
#if ATTN_F16_PV
    attn__mma_f16(d, a, b);
#else
    attn__mma_bf16(d, a, b);
#endif
}

#include <attn/template/list_cuda.cuh>

/* What a warp keeps in shared memory, since in registers it would lie through the loop: its unit, and what comes after
 * that, for itself and for its copies, which are ahead. */
typedef struct ATTN_FN(_kept) {
    ATTN_FN(_unit) unit;
    ATTN_FN(_feed) feed, ahead;
} ATTN_FN(_kept);
ATTN_STATIC_ASSERT(sizeof(ATTN_FN(_kept)) <= ATTN_FN(_kept_bytes), "attn: what a warp keeps has outgrown its place");

/* ---- a warp's sums ----------------------------------------------------------------------------------- */

typedef struct ATTN_FN(_state) {
    uint32_t q[ATTN_RN][ATTN_KS][2];
    float o[ATTN_RN][ATTN_NV][4]; /* O^T */
    float minus_r[2 * ATTN_RN];   /* of rows 2c and the next of each 8 */
    float l[2 * ATTN_RN], rounded[2 * ATTN_RN]; /* its sum of P, and of P as it was rounded, of this lane's keys */
    float unit;                   /* what makes a score in S one in log2 */
    int pass;                     /* 0, or 1 to 3 for the parts of a V that is not finite */
    int clear, clears;            /* tiles whose scores nothing changes: the first, how many */
    int look;                     /* why r needs more than the greatest score: 1 some lane has seen no key yet, and
                                   * 2 V's scales come with tiles */
#if ATTN_KV_DTYPE == ATTN_NARROW
    int raw;                      /* q is as it came */
    int k_careful, v_careful;     /* how careful the products must be (narrow_cuda.cuh) */
    float start[2 * ATTN_RN];     /* what sums of K Q^T begin with */
    float up[2 * ATTN_RN];        /* k_scale, by what its row of Q was multiplied with */
    float k_scale;                /* of all of the unit's K */
    float scaled[2 * ATTN_RN];    /* of f16: sum of the weights of which `rounded` is */
#endif
} ATTN_FN(_state);

/* In shared memory piece n of row r lies at n ^ x, so that the same piece of 8 rows lies in different banks, and what
 * is copied at a time is a whole line, where rows that are padded instead touch two. */
ATTN_DEVICE int ATTN_FN(_swizzle)(int row, int pieces)
{
    return pieces % 8 == 0 ? row & 7 : pieces % 4 == 0 ? row >> 1 & 3 : row >> 2 & 1;
}

/* Rows come in steps of 32 pieces. */
#define ATTN_EVEN(pieces) (32 % (pieces) == 0)

/* x, kept in a register rather than computed from the thread's number for each tile.  Narrow types have none free. */
#define ATTN_KEEP(x) (ATTN_KV_DTYPE == ATTN_NARROW ? (x) : attn__anew(x))

/* This lane's row for ldmatrix, of a tile of K or V in shared memory: where it begins, and 16 times its swizzle. */
typedef struct ATTN_FN(_row_at) {
    uint32_t at, x;
} ATTN_FN(_row_at);

/* Of the four matrices 8 keys by 8 dims the second is, of K (A of K Q^T), that of the next keys, of V (A of V^T P^T),
 * transposed, that of the next dims. */
ATTN_DEVICE ATTN_FN(_row_at) ATTN_FN(_row_of)(uint32_t tile, int pieces, int is_v)
{
    const int lane = attn__lane(), second = lane / 8 % 2, third = lane / 16;
    const int row = lane % 8 + (is_v ? third : second) * 8;
    ATTN_FN(_row_at) r;
    r.at = tile + (uint32_t)(row * pieces * 16);
    r.x = (uint32_t)(((is_v ? second : third) ^ ATTN_FN(_swizzle)(row, pieces)) * 16);
    r.at = (uint32_t)ATTN_KEEP((int)r.at);
    r.x = (uint32_t)ATTN_KEEP((int)r.x);
    return r;
}

/* The address of dims 16 n .. of it, `keys` keys further. */
ATTN_DEVICE uint32_t ATTN_FN(_dims_at)(ATTN_FN(_row_at) r, int stage, int keys, int n, int pieces)
{
    const uint32_t row = r.at + (uint32_t)stage;
    if (pieces % 8 == 0) /* rows begin at multiples of 128 bytes */
        return ((row + r.x) ^ (uint32_t)(n % 4 * 32)) + (uint32_t)(keys * pieces * 16 + n / 4 * 128);
    return row + ((uint32_t)(n * 32) ^ r.x) + (uint32_t)(keys * pieces * 16);
}

/* Q as operand of step ks. */
ATTN_DEVICE void ATTN_FN(_get_q)(const ATTN_FN(_state) *w, const unsigned char *smem, int r, int ks, uint32_t *q)
{
    if (ATTN_KEEP_Q) {
        q[0] = w->q[r][ks][0];
        q[1] = w->q[r][ks][1];
    } else {
        const uint2 x = *(const uint2 *)(const void *)(smem + ATTN_Q_AT + (r * ATTN_KS + ks) * 256 + attn__lane() * 8);
        q[0] = x.x;
        q[1] = x.y;
    }
}

/* Key n (of 2 ATTN_NK: lane / 4 and each 8th after it) of row 2c + r % 2 of the 8 of tile r / 2, in S^T. */
#define ATTN_S(s, n, r) (s)[(n) / 2][(r) / 2][(n) % 2 * 2 + (r) % 2]

/* P = 2^(S - r). */
ATTN_DEVICE void ATTN_FN(_exponents)(ATTN_FN(_state) *w, float (*s)[ATTN_RN][4])
{
    ATTN_UNROLL
    for (int r = 0; r < 2 * ATTN_RN; ++r) {
        ATTN_UNROLL
        for (int n = 0; n < 2 * ATTN_NK; ++n) {
            float *const p = &ATTN_S(s, n, r);
            *p = attn__exp2(fmaf(*p, w->unit, w->minus_r[r]));
            w->l[r] += *p;
        }
    }
}

/* P of 8 keys and 8 rows, two of each lane, as half of an operand; what it was rounded to is counted in `rounded`. */
ATTN_DEVICE uint32_t ATTN_FN(_operand)(float *rounded, float p0, float p1)
{
#if ATTN_F16_PV
    const uint32_t x = attn__pack_f16(p0, p1);
    rounded[0] += attn__low_f16(x);
    rounded[1] += attn__high_f16(x);
#else
    const uint32_t x = attn__pack_bf16(p0, p1);
    rounded[0] += attn__low_bf16(x);
    rounded[1] += attn__high_bf16(x);
#endif
    return attn__transpose_8x8(x);
}

#if ATTN_KV_DTYPE == ATTN_NARROW
#include <attn/template/narrow_cuda.cuh>
#endif

#if ATTN_KV_DTYPE != ATTN_NARROW
/* What step ks needs of a row of Q: lower and upper half of k. */
ATTN_DEVICE void ATTN_FN(_q_pairs)(const uint16_t *row, int ks, int dim, uint32_t *q)
{
    ATTN_UNROLL
    for (int n = 0; n < 2; ++n) {
        const int d = ks * 16 + n * 8;
        q[n] = d < dim ? *(const uint32_t *)(const void *)(row + d + attn__lane() % 4 * 2) : 0u;
    }
}
#endif

/* Q of the unit as operands of K Q^T: into registers, or by all warps together into shared memory.  Rows beyond the
 * last are as the last, and nobody looks at what becomes of them; zeros from dim on. */
ATTN_DEVICE void ATTN_FN(_load_q)(int type, const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, unsigned char *smem,
                                  ATTN_FN(_state) *w)
{
    const int dim = ATTN_FN(_dim)(a), lane = attn__lane();
    const int first = ATTN_KEEP_Q ? 0 : (int)threadIdx.x / 32, step = ATTN_KEEP_Q ? 1 : ATTN_WARPS;
    (void)type;
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RN; ++r) {
        const uint16_t *const row = (const uint16_t *)a->p.q.data +
                                    ATTN_FN(_q_at)(a, u, ATTN_FN(_place_of)(a, u, 8 * r + lane / 4));
        ATTN_UNROLL
        for (int ks = first; ks < ATTN_KS; ks += step) {
            uint32_t q[2];
#if ATTN_KV_DTYPE == ATTN_NARROW
            ATTN_FN(_q_pairs)(type, row, ks, dim, q);
#else
            ATTN_FN(_q_pairs)(row, ks, dim, q);
#endif
            if (ATTN_KEEP_Q) {
                w->q[r][ks][0] = q[0];
                w->q[r][ks][1] = q[1];
            } else {
                *(uint2 *)(void *)(smem + ATTN_Q_AT + (r * ATTN_KS + ks) * 256 + lane * 8) = make_uint2(q[0], q[1]);
            }
        }
    }
#if ATTN_KV_DTYPE == ATTN_NARROW
    w->k_scale = ATTN_FN(_unit_scale)(&a->p.k_scale, a->k_groups, u);
    w->raw = 1;
#endif
    if (!ATTN_KEEP_Q)
        __syncthreads();
}

ATTN_DEVICE void ATTN_FN(_clear)(ATTN_FN(_state) *w)
{
    ATTN_UNROLL
    for (int n = 0; n < ATTN_RN * ATTN_NV * 4; ++n)
        w->o[n / 4 / ATTN_NV][n / 4 % ATTN_NV][n % 4] = 0.0f;
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_RN; ++n)
        w->l[n] = w->rounded[n] = w->minus_r[n] = 0.0f;
    w->look = 1;
#if ATTN_KV_DTYPE == ATTN_NARROW
    ATTN_UNROLL
    for (int n = 0; n < 2 * ATTN_RN; ++n)
        w->scaled[n] = 0.0f;
#endif
}

#if ATTN_KV_DTYPE != ATTN_NARROW
/* S^T = K Q^T of a tile, which is in the ring at `stage`. */
ATTN_DEVICE void ATTN_FN(_scores)(int type, const ATTN_FN(_args) *a, const ATTN_FN(_state) *w,
                                  const unsigned char *smem, ATTN_FN(_row_at) k, const unsigned char *tile, int stage,
                                  float (*s)[ATTN_RN][4])
{
    float other[ATTN_NK][ATTN_RN][4]; /* the second chain */
    (void)type, (void)a, (void)tile;
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NK * ATTN_RN * 4; ++n)
        s[n / 4 / ATTN_RN][n / 4 % ATTN_RN][n % 4] = other[n / 4 / ATTN_RN][n / 4 % ATTN_RN][n % 4] = 0.0f;
    ATTN_UNROLL
    for (int ks = 0; ks < ATTN_KS; ++ks) {
        uint32_t q[ATTN_RN][2];
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RN; ++r)
            ATTN_FN(_get_q)(w, smem, r, ks, q[r]);
        ATTN_UNROLL
        for (int kk = 0; kk < ATTN_NK; ++kk) {
            uint32_t x[4];
            attn__ldmatrix_x4(x, ATTN_FN(_dims_at)(k, stage, 16 * kk, ks, ATTN_K_BYTES / 16));
            ATTN_UNROLL
            for (int r = 0; r < ATTN_RN; ++r)
                ATTN_FN(_mma)(ks % ATTN_CHAINS ? other[kk][r] : s[kk][r], x, q[r]);
        }
    }
    if (ATTN_CHAINS > 1) {
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NK * ATTN_RN * 4; ++n)
            s[n / 4 / ATTN_RN][n / 4 % ATTN_RN][n % 4] += other[n / 4 / ATTN_RN][n / 4 % ATTN_RN][n % 4];
    }
}
#endif

/* Which tiles _change leaves alone: those that all rows see whole, by their intervals.  Where that begins before the
 * last tile of sink tokens, these and the others are one run of tiles. */
ATTN_DEVICE void ATTN_FN(_find_clear)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_tiles) *t,
                                      ATTN_FN(_state) *w)
{
    const int before = t->sinks - t->first, to = (int)((unsigned)u->span.full_hi / ATTN_TILE_K) + before;
    w->clear = (int)(((unsigned)u->span.full_lo + ATTN_TILE_K - 1) / ATTN_TILE_K) + before;
    w->clears = to > w->clear && w->pass < 2 && !ATTN_FN(_has_score)(a) ? to - w->clear : 0;
}

/* What changes the scores of a tile: softcap, biases, masks. */
ATTN_DEVICE void ATTN_FN(_change)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_state) *w, int k0,
                                  float (*s)[ATTN_RN][4])
{
    const int changed = ATTN_FN(_has_score)(a), edge = ATTN_FN(_is_edge)(&u->span, k0);
    if (!changed && !edge && w->pass < 2)
        return;
    const int column = k0 + attn__lane() / 4;
    ATTN_UNROLL
    for (int r = 0; r < 2 * ATTN_RN; ++r) {
        const ATTN_FN(_place) at = ATTN_FN(_place_of)(a, u, attn__lane() % 4 * 2 + r % 2 + r / 2 * 8);
        float x[2 * ATTN_NK];
        ATTN_UNROLL
        for (int n = 0; n < 2 * ATTN_NK; ++n)
            x[n] = ATTN_S(s, n, r);
        if (changed)
            ATTN_FN(_score_row)(a, u, at.i, ATTN_FN(_head)(a, u, at), column, 1, 8, 2 * ATTN_NK, x);
        if (edge) {
            const attn__keys keys = ATTN_FN(_row_keys)(u, at.i);
            ATTN_UNROLL
            for (int n = 0; n < 2 * ATTN_NK; ++n)
                x[n] = ATTN_FN(_sees)(&keys, column + n * 8) ? x[n] : ATTN_NEG_INF;
        }
        ATTN_UNROLL
        for (int n = 0; n < 2 * ATTN_NK; ++n) {
            if (w->pass >= 2 && x[n] != ATTN_NEG_INF)
                x[n] = 0.0f; /* as much as any other: its own weight may have been rounded to 0 */
            ATTN_S(s, n, r) = x[n];
        }
    }
}

/* Sets r, which is 0 at first, to the maximum of each row, if a row of the warp has outgrown it or begins far below. */
ATTN_DEVICE void ATTN_FN(_lift)(const ATTN_FN(_args) *a, ATTN_FN(_state) *w, const unsigned char *tile,
                                float (*s)[ATTN_RN][4])
{
    float top[2 * ATTN_RN];
    int over = w->look;
    ATTN_UNROLL
    for (int r = 0; r < 2 * ATTN_RN; ++r) {
        top[r] = ATTN_S(s, 0, r);
        ATTN_UNROLL
        for (int n = 1; n < 2 * ATTN_NK; ++n)
            top[r] = attn__max(top[r], ATTN_S(s, n, r));
        top[r] *= w->unit;
        over |= top[r] + w->minus_r[r] > ATTN_ROOM;
    }
    if (!attn__any(over))
        return;
#if ATTN_SCALED
    if (w->look & 2)
        ATTN_FN(_tops_scaled)(a, w, tile, s, top);
#else
    (void)a, (void)tile;
#endif
    if (w->look) {
        int none = 0;
        over = 0;
        ATTN_UNROLL
        for (int r = 0; r < 2 * ATTN_RN; ++r) {
            over |= top[r] + w->minus_r[r] > ATTN_ROOM;
            none |= w->l[r] == 0.0f;
        }
        if (w->look & 1) {
            ATTN_UNROLL
            for (int r = 0; r < 2 * ATTN_RN; ++r)
                over |= w->l[r] == 0.0f && w->minus_r[r] == 0.0f && top[r] < -ATTN_NEAR && top[r] > ATTN_NEG_INF;
            w->look = (w->look & 2) | attn__any(none);
        }
        if (!attn__any(over))
            return;
    }
    ATTN_UNROLL
    for (int r = 0; r < 2 * ATTN_RN; ++r) {
        const float before = -w->minus_r[r];
        float sum = w->l[r], now = top[r];
        ATTN_UNROLL
        for (int n = 4; n < 32; n *= 2) {
            sum += attn__shuffle_xor(sum, n);
            now = attn__max(now, attn__shuffle_xor(now, n));
        }
        if (sum != 0.0f)
            now = attn__max(now, before);
        else if ((now > -ATTN_NEAR && now < ATTN_NEAR) || now == ATTN_NEG_INF)
            now = 0.0f;
        const float factor = sum != 0.0f ? attn__exp2(before - now) : 1.0f;
        w->minus_r[r] = -now;
        w->l[r] *= factor;
        w->rounded[r] *= factor;
#if ATTN_KV_DTYPE == ATTN_NARROW
        w->scaled[r] *= factor;
#endif
        ATTN_UNROLL
        for (int e = r % 2; e < 4 * ATTN_NV; e += 2)
            w->o[r / 2][e / 4][e % 4] *= factor;
    }
}

#if ATTN_KV_DTYPE != ATTN_NARROW
/* O^T += V^T P^T. */
ATTN_DEVICE void ATTN_FN(_values)(int type, const ATTN_FN(_args) *a, ATTN_FN(_state) *w, ATTN_FN(_row_at) v_row,
                                  const unsigned char *tile, int stage, float (*s)[ATTN_RN][4])
{
    (void)type, (void)a, (void)tile;
    ATTN_FN(_exponents)(w, s);
    ATTN_UNROLL
    for (int kk = 0; kk < ATTN_NK; ++kk) {
        uint32_t p[ATTN_RN][2];
        ATTN_UNROLL
        for (int n = 0; n < 2 * ATTN_RN; ++n)
            p[n / 2][n % 2] = ATTN_FN(_operand)(w->rounded + n / 2 * 2, s[kk][n / 2][n % 2 * 2],
                                                s[kk][n / 2][n % 2 * 2 + 1]);
        ATTN_UNROLL
        for (int nv = 0; nv < ATTN_NV; ++nv) {
            uint32_t v[4];
            attn__ldmatrix_x4_trans(v, ATTN_FN(_dims_at)(v_row, stage, 16 * kk, nv, ATTN_V_BYTES / 16));
            ATTN_UNROLL
            for (int r = 0; r < ATTN_RN; ++r)
                ATTN_FN(_mma)(w->o[r][nv], v, p[r]);
        }
    }
}
#endif

/* V of a tile as a pass of a unit needs it, in place, by its warp: 1 its finite elements, 0 for others; 2 1 for each
 * that is +inf or NaN, else 0; 3 the same of -inf. */
ATTN_DEVICE void ATTN_FN(_split)(int type, const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const ATTN_FN(_state) *w,
                                 unsigned char *tile)
{
    uint32_t *const v = (uint32_t *)(void *)(tile + ATTN_TILE_K * ATTN_K_BYTES);
    const int words = 4 * ATTN_ROW_PIECES(ATTN_HEAD_DIM_V, type);
#if ATTN_KV_DTYPE == ATTN_NARROW
    const float one = ATTN_FN(_unit_scale)(&a->p.v_scale, a->v_groups, u);
#else
    (void)a, (void)u;
#endif
    ATTN_NO_UNROLL
    for (int n = attn__lane(); n < ATTN_TILE_K * words; n += 32) {
#if ATTN_KV_DTYPE == ATTN_NARROW
        v[n] = ATTN_FN(_split_word)(type, a, w->pass, one, tile, n / words, n % words / 4, v[n]);
#else
        v[n] = ATTN_FN(_split_pair)(w->pass, v[n]);
#endif
    }
#if ATTN_SCALED
    __syncwarp();
    ATTN_FN(_split_scales)(a, w->pass, tile);
#endif
    __syncwarp();
}

/* ---- copies: each warp for itself ------------------------------------------------------------------- */

typedef struct ATTN_FN(_loader) {
    ATTN_FN(_work) work;
    int at;                  /* the tile that is copied next; at or beyond work.to: no more of this work */
    int len_k;
    const unsigned char *k, *v; /* key 0 of the sequence, or of page 0, and this head */
    const unsigned char *k_lane, *v_lane; /* what this lane copies first of a whole tile that begins there */
    int k_to, v_to;                       /* and to which byte of K and V of a stage */
    int64_t k_scale, v_scale; /* the same of scales */
    const int32_t *pages;
    int where;               /* as _where says */
    int scales;              /* whether they come with tiles, of K or V */
    int page, page_after;    /* of tile at + lane * ATTN_WARPS, counted from `turn` tiles ago; and of the 32 after them.
                              * Where pages end within tiles: of key `lane` of the next tile */
    int turn;
} ATTN_FN(_loader);

/* The page of entry n of the sequence; one that is out of range is 0. */
ATTN_DEVICE int ATTN_FN(_page)(const ATTN_FN(_args) *a, const ATTN_FN(_loader) *l, int n)
{
    const int page = l->pages[n];
    return page < 0 || (a->p.num_pages && page >= a->p.num_pages) ? 0 : page;
}

/* Whether a tile lies in one page: keys are then as far from each other as in a dense tensor. */
ATTN_DEVICE int ATTN_FN(_whole_pages)(const ATTN_FN(_args) *a)
{
    return a->p.page_size % ATTN_TILE_K == 0;
}

/* Pages of 32 tiles from tile n on, a lane each; or of the keys of that tile. */
ATTN_DEVICE int ATTN_FN(_pages_from)(const ATTN_FN(_args) *a, const ATTN_FN(_loader) *l, int n)
{
    const int lane = attn__lane();
    int key;
    if (ATTN_FN(_whole_pages)(a)) {
        n += lane * ATTN_WARPS;
        key = n < l->work.to ? ATTN_FN(_key_of)(&l->work.tiles, n) : l->len_k;
    } else {
        key = n < l->work.to && lane < ATTN_TILE_K ? ATTN_FN(_key_of)(&l->work.tiles, n) + lane : l->len_k;
    }
    return key < l->len_k ? ATTN_FN(_page)(a, l, (int)attn__divide((unsigned)key, a->by_page)) : 0;
}

/* The bytes of so many numbers. */
ATTN_DEVICE int64_t ATTN_FN(_bytes)(int type, int64_t n)
{
    return type == ATTN_INT4 ? n / 2 : type >= ATTN_E4M3 ? n : 2 * n;
}

/* Where piece n of a tile lies in shared memory. */
ATTN_DEVICE int ATTN_FN(_piece_at)(int n, int pieces)
{
    const int row = n / pieces;
    return (row * pieces + (n % pieces ^ ATTN_FN(_swizzle)(row, pieces))) * 16;
}

/* Where keys lie.  0: in rows of a tensor; 1: those of a tile in rows of a page; 2: anywhere. */
ATTN_DEVICE int ATTN_FN(_where)(const ATTN_FN(_args) *a)
{
    return ATTN_PAGED && a->p.page_size ? 2 - ATTN_FN(_whole_pages)(a) : 0;
}

/* Begins with the work in l->work, which is of unit u. */
ATTN_DEVICE void ATTN_FN(_load_work)(int type, const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, ATTN_FN(_loader) *l)
{
    const attn_params *p = &a->p;
    int64_t k = u->g * p->k.stride[2], v = u->g * p->v.stride[2];
    const int lane = attn__lane(), k_pieces = ATTN_ROW_PIECES(ATTN_HEAD_DIM, type);
    const int v_pieces = ATTN_ROW_PIECES(ATTN_HEAD_DIM_V, type);
    l->at = l->work.from + attn__warp();
    l->len_k = u->len_k;
    l->pages = NULL;
    l->where = attn__anew(ATTN_FN(_where)(a));
#if ATTN_SCALED
    l->scales = attn__anew(a->k_groups | a->v_groups);
#endif
    l->page = l->page_after = l->turn = 0;
    if (ATTN_PAGED && p->page_size) {
        l->pages = p->block_table ? p->block_table + u->b * p->block_table_stride
                                  : p->page_indices + p->page_indptr[u->b];
        l->page = ATTN_FN(_pages_from)(a, l, l->at);
        if (ATTN_FN(_whole_pages)(a))
            l->page_after = ATTN_FN(_pages_from)(a, l, l->at + 32 * ATTN_WARPS);
    } else {
        k += u->b * p->k.stride[0] + u->base_k * p->k.stride[1];
        v += u->b * p->v.stride[0] + u->base_k * p->v.stride[1];
    }
    l->k = (const unsigned char *)p->k.data + ATTN_FN(_bytes)(type, k);
    l->v = (const unsigned char *)p->v.data + ATTN_FN(_bytes)(type, v);
    l->k_lane = l->k + lane / k_pieces * a->k_key + lane % k_pieces * 16;
    l->v_lane = l->v + lane / v_pieces * a->v_key + lane % v_pieces * 16;
    l->k_to = ATTN_KEEP(ATTN_FN(_piece_at)(lane, k_pieces));
    l->v_to = k_pieces == v_pieces ? l->k_to : ATTN_KEEP(ATTN_FN(_piece_at)(lane, v_pieces));
#if ATTN_SCALED
    l->k_scale = ATTN_FN(_scales_of)(a, &p->k_scale, u);
    l->v_scale = ATTN_FN(_scales_of)(a, &p->v_scale, u);
#endif
}

/* Whether rows are of whole pieces, of which 32 are rows again. */
ATTN_DEVICE int ATTN_FN(_is_full)(int type, int pieces, int dim)
{
    return ATTN_EVEN(pieces) && ATTN_FN(_bytes)(type, dim) == 16 * pieces;
}

/* Those of piece n that are of a row of `bytes`. */
ATTN_DEVICE int ATTN_FN(_of_piece)(int n, int bytes)
{
    const int left = bytes - 16 * n;
    return left <= 0 ? 0 : ATTN_KV_DTYPE != ATTN_NARROW || left > 16 ? 16 : left;
}

/* The keys k0 ... of K or V, which lie `stride` bytes from each other, the first at `from`; zeros from the last key on,
 * and behind a row's bytes. */
ATTN_DEVICE void ATTN_FN(_copy_rows)(const unsigned char *from, int64_t stride, int there, int pieces, int bytes,
                                     unsigned char *to)
{
    ATTN_UNROLL_4
    for (int n = attn__lane(); n < ATTN_TILE_K * pieces; n += 32) {
        const int row = n / pieces, piece = n % pieces;
        attn__copy_async(to + ATTN_FN(_piece_at)(n, pieces), from + row * stride + piece * 16,
                         row < there ? ATTN_FN(_of_piece)(piece, bytes) : 0);
    }
}

/* The same of keys that lie anywhere: that of lane n at from + at. */
ATTN_DEVICE void ATTN_FN(_copy_keys)(const unsigned char *from, int64_t at, int there, int pieces, int bytes,
                                     unsigned char *to)
{
    const int lane = attn__lane();
    ATTN_UNROLL
    for (int n = 0; n < ATTN_TILE_K * pieces / 32; ++n) {
        const int row = ATTN_EVEN(pieces) ? n * (32 / pieces) + lane / pieces : (n * 32 + lane) / pieces;
        const int piece = ATTN_EVEN(pieces) ? lane % pieces : (n * 32 + lane) % pieces;
        const uint32_t low = (uint32_t)attn__shuffle_int((int)(uint32_t)at, row);
        const uint32_t high = (uint32_t)attn__shuffle_int((int)(uint32_t)((uint64_t)at >> 32), row);
        attn__copy_async(to + (row * pieces + (piece ^ ATTN_FN(_swizzle)(row, pieces))) * 16,
                         from + (int64_t)((uint64_t)high << 32 | low) + piece * 16,
                         row < there ? ATTN_FN(_of_piece)(piece, bytes) : 0);
    }
}

/* Where a tile's keys lie: rows of a tensor, or of a page, from `row` on; or, each, row `row` of page `page`. */
typedef struct ATTN_FN(_keys_at) {
    int each, page, row, there;
} ATTN_FN(_keys_at);

/* Copies a tile of K or V whose rows are all there and of whole pieces, 32 / pieces rows at a time; `from` and `at`:
 * what this lane copies first, and to which byte.  once: a constant, as attn__copy_async_once. */
ATTN_DEVICE void ATTN_FN(_copy_whole)(int once, const unsigned char *from, int64_t key_bytes, int pieces, int at,
                                      unsigned char *to)
{
    const int rows = 32 / pieces;
    ATTN_UNROLL
    for (int n = 0; n < ATTN_TILE_K * pieces / 32; ++n, from += rows * key_bytes) {
        unsigned char *const piece = to + (at ^ ATTN_FN(_swizzle)(n * rows, pieces) * 16) + n * 512;
        if (once)
            attn__copy_async_once(piece, from);
        else
            attn__copy_async(piece, from, 16);
    }
}

/* Copies a tile of K or V, which begin at `from`, `page_bytes` from page to page and key_bytes from key to key.  type:
 * a constant. */
ATTN_DEVICE void ATTN_FN(_copy_tile)(int type, const unsigned char *from, int64_t page_bytes, int64_t key_bytes,
                                     ATTN_FN(_keys_at) keys, int pieces, int dim, unsigned char *to)
{
    const int64_t at = keys.page * page_bytes + keys.row * key_bytes;
    const int bytes = (int)ATTN_FN(_bytes)(type, dim);
    if (keys.each)
        ATTN_FN(_copy_keys)(from, at, keys.there, pieces, bytes, to);
    else
        ATTN_FN(_copy_rows)(from + at, key_bytes, keys.there, pieces, bytes, to);
}

/* Copies the next tile of the work at hand.  once: a constant, see _copy_whole. */
ATTN_DEVICE void ATTN_FN(_load)(int type, int once, const ATTN_FN(_args) *a, ATTN_FN(_loader) *l, unsigned char *stage)
{
    const attn_params *p = &a->p;
    const int k0 = ATTN_FN(_key_of)(&l->work.tiles, l->at);
    ATTN_FN(_keys_at) keys = { 0, 0, k0, l->len_k - k0 };
    l->at += ATTN_WARPS;
    const int where = ATTN_TILE_Q > 16 ? ATTN_FN(_where)(a) : l->where; /* there all registers are taken */
    if (ATTN_PAGED && where) {
        if (where > 1) {
            const int key = k0 + attn__lane();
            keys.each = 1;
            keys.page = l->page;
            keys.row = key - (int)attn__divide((unsigned)key, a->by_page) * p->page_size;
            l->page = ATTN_FN(_pages_from)(a, l, l->at);
        } else {
            keys.page = attn__shuffle_int(l->page, l->turn);
            keys.row -= (int)attn__divide((unsigned)k0, a->by_page) * p->page_size;
            if (++l->turn == 32) {
                l->turn = 0;
                l->page = l->page_after;
                l->page_after = ATTN_FN(_pages_from)(a, l, l->at + 32 * ATTN_WARPS);
            }
        }
    }
    const int k_pieces = ATTN_ROW_PIECES(ATTN_HEAD_DIM, type), v_pieces = ATTN_ROW_PIECES(ATTN_HEAD_DIM_V, type);
    unsigned char *const v_stage = stage + ATTN_TILE_K * ATTN_K_BYTES;
    const uint32_t page = (uint32_t)keys.page, row = (uint32_t)keys.row;
    const int whole = !keys.each && keys.there >= ATTN_TILE_K;
    if (whole && ATTN_FN(_is_full)(type, k_pieces, ATTN_FN(_dim)(a)) &&
        ATTN_FN(_is_full)(type, v_pieces, ATTN_FN(_dim_v)(a))) { /* most tiles, of most head dims */
        ATTN_FN(_copy_whole)(once, l->k_lane + page * a->k_page + row * a->k_key, a->k_key, k_pieces, l->k_to, stage);
        ATTN_FN(_copy_whole)(once, l->v_lane + page * a->v_page + row * a->v_key, a->v_key, v_pieces, l->v_to, v_stage);
    } else {
        ATTN_FN(_copy_tile)(type, l->k, a->k_page, a->k_key, keys, k_pieces, ATTN_FN(_dim)(a), stage);
        if (!ATTN_EVEN(k_pieces) && whole && ATTN_FN(_is_full)(type, v_pieces, ATTN_FN(_dim_v)(a)))
            ATTN_FN(_copy_whole)(once, l->v_lane + page * a->v_page + row * a->v_key, a->v_key, v_pieces, l->v_to,
                                 v_stage);
        else
            ATTN_FN(_copy_tile)(type, l->v, a->v_page, a->v_key, keys, v_pieces, ATTN_FN(_dim_v)(a), v_stage);
    }
#if ATTN_SCALED
    if (l->scales) {
        const int key = attn__lane() % ATTN_TILE_K;
        const int page = keys.each ? attn__shuffle_int(keys.page, key) : keys.page;
        const int row = keys.each ? attn__shuffle_int(keys.row, key) : keys.row + key;
        ATTN_FN(_copy_scales)(&p->k_scale, l->k_scale, a->k_groups, page, row, key < keys.there, stage + ATTN_K_SCALES,
                              ATTN_K_ZEROS - ATTN_K_SCALES);
        ATTN_FN(_copy_scales)(&p->v_scale, l->v_scale, a->v_groups, page, row, key < keys.there, stage + ATTN_V_SCALES,
                              ATTN_V_ZEROS - ATTN_V_SCALES);
    }
#endif
}

/* ---- the end of a unit ------------------------------------------------------------------------------- */

/* The dim of O that row lane / 4 of 8-row tile n is; per: numbers in 16 bits (narrow_cuda.cuh), a constant. */
ATTN_DEVICE int ATTN_FN(_dim_of)(int n, int per)
{
    return n / per * per * 8 + attn__lane() / 4 * per + n % per;
}

/* A warp's sums to shared memory. */
ATTN_DEVICE void ATTN_FN(_leave)(int type, const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, ATTN_FN(_state) *w,
                                 unsigned char *smem)
{
    const int lane = attn__lane(), warp = (int)threadIdx.x / 32;
    float *const o = (float *)(void *)(smem + ATTN_O_AT) + warp * ATTN_TILE_Q * ATTN_PITCH;
    float *const rl = (float *)(void *)(smem + ATTN_RL_AT) + warp * ATTN_TILE_Q * 4;
    const int rows = u->rows;
    float l[2 * ATTN_RN], rounded[2 * ATTN_RN];
    float zero[2 * ATTN_RN]; /* what O is too large by */
    float all[2] = { 0.0f, 0.0f }; /* not finite if any is not; the other way round does no harm */
#if ATTN_KV_DTYPE == ATTN_NARROW
    const float factor = w->pass < 2 ? ATTN_FN(_unit_scale)(&a->p.v_scale, a->v_groups, u) : 1.0f;
#else
    const float factor = 1.0f;
    (void)a;
#endif
    ATTN_UNROLL
    for (int r = 0; r < 2 * ATTN_RN; ++r) {
        l[r] = w->l[r];
        rounded[r] = w->rounded[r];
    }
    ATTN_UNROLL
    for (int n = 16; n >= 4; n /= 2) { /* all rows of a step at once */
        ATTN_UNROLL
        for (int r = 0; r < 2 * ATTN_RN; ++r) {
            const float other = attn__shuffle_xor(rounded[r], n);
#if ATTN_KV_DTYPE == ATTN_NARROW
            if (n == 4)
                zero[r] = ATTN_FN(_zeros)(type, w->v_careful, rounded[r], other);
#else
            zero[r] = 0.0f;
#endif
            l[r] += attn__shuffle_xor(l[r], n);
            rounded[r] += other;
        }
    }
    ATTN_UNROLL
    for (int r = 0; r < 2 * ATTN_RN; ++r) {
        const int row = lane % 4 * 2 + r % 2 + r / 2 * 8;
#if ATTN_KV_DTYPE == ATTN_NARROW
        if (ATTN_NARROW_EXACT) {
            float scaled = w->scaled[r];
            ATTN_UNROLL
            for (int n = 4; n < 32; n *= 2)
                scaled += attn__shuffle_xor(scaled, n);
            const float ratio = rounded[r] / scaled; /* 1 but for rounding; or nothing if all is 0 or not finite, or
                                                      * scales of both signs are in it */
            rounded[r] = ratio > 0.999f && ratio < 1.001f ? l[r] * ratio : l[r];
        } else if (ATTN_SCALED && a->v_groups) { /* in bf16 that is a sixteenth of what o is rounded by */
            rounded[r] = l[r];
        }
#endif
        if (lane / 4 == 0)
            *(float4 *)(void *)(rl + row * 4) = make_float4(-w->minus_r[r], l[r], rounded[r], 0.0f);
    }
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RN; ++r) {
        const int row = lane % 4 * 2 + r * 8;
        if (row < rows) { /* the next one, too, for which there is room */
            ATTN_UNROLL
            for (int n = 0; n < 4 * ATTN_NV; ++n) {
#if ATTN_KV_DTYPE == ATTN_NARROW
                const float one = ATTN_FN(_one)(type, w->v_careful, n % 4 / 2);
#else
                const float one = 1.0f;
#endif
                const float x = fmaf(w->o[r][n / 4][n % 4], one, -zero[2 * r + n % 2]) * factor;
                all[n % 2] += x;
                o[(row + n % 2) * ATTN_PITCH + ATTN_FN(_dim_of)(n / 2, ATTN_PER(type))] = x;
            }
        }
    }
    const int wrong = attn__any(!(all[0] + all[1] - (all[0] + all[1]) == 0.0f));
    if (lane == 0)
        ((int *)(void *)(smem + ATTN_WRONG_AT))[warp] = wrong;
}

/* Four dims of a row, with its r and sum. */
typedef struct ATTN_FN(_quad) {
    float x[4], r, l;
} ATTN_FN(_quad);

/* The sum of n partial results, `most` (a constant) at most: quads `pitch` floats apart; r, sum and, if even, the sum
 * of the rounded weights that x is of, `rl_pitch` floats apart.  Of a part that has seen no key, whose sum is 0,
 * nothing but that counts. */
ATTN_DEVICE ATTN_FN(_quad) ATTN_FN(_add)(const float *x, int pitch, const float *rl, int rl_pitch, int n, int most,
                                         int even)
{
    ATTN_FN(_quad) q = { { 0.0f, 0.0f, 0.0f, 0.0f }, 0.0f, 0.0f };
    float4 y[ATTN_MOST_PARTS], rls[ATTN_MOST_PARTS]; /* all asked for before the first is added */
    float rounded = 0.0f;
    int weigh = 0;
    ATTN_UNROLL
    for (int k = 0; k < most; ++k) {
        y[k] = rls[k] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (most == n || k < n) {
            y[k] = *(const float4 *)(const void *)(x + k * pitch);
            if (even) {
                rls[k] = *(const float4 *)(const void *)(rl + k * rl_pitch);
            } else {
                const float2 two = *(const float2 *)(const void *)(rl + k * rl_pitch);
                rls[k].x = two.x, rls[k].y = two.y;
            }
        }
    }
    ATTN_UNROLL
    for (int k = 0; k < most; ++k) {
        q.x[0] += y[k].x, q.x[1] += y[k].y, q.x[2] += y[k].z, q.x[3] += y[k].w;
        q.l += rls[k].y;
        rounded += rls[k].z;
        weigh |= rls[k].y != 0.0f && rls[k].x != 0.0f;
    }
    if (weigh) { /* not all r are 0 */
        q.x[0] = q.x[1] = q.x[2] = q.x[3] = q.l = rounded = 0.0f;
        q.r = ATTN_NO_SCORE;
        ATTN_NO_UNROLL
        for (int k = 0; k < n; ++k)
            q.r = rl[k * rl_pitch + 1] != 0.0f ? attn__max(q.r, rl[k * rl_pitch]) : q.r;
        ATTN_NO_UNROLL
        for (int k = 0; k < n; ++k) {
            const float4 y = *(const float4 *)(const void *)(x + k * pitch);
            const float f = rl[k * rl_pitch + 1] != 0.0f ? attn__exp2(rl[k * rl_pitch] - q.r) : 0.0f;
            q.x[0] += f * y.x, q.x[1] += f * y.y, q.x[2] += f * y.z, q.x[3] += f * y.w;
            q.l += f * rl[k * rl_pitch + 1];
            rounded += even ? f * rl[k * rl_pitch + 2] : 0.0f;
        }
    }
    if (even && rounded != 0.0f) { /* as if x were of the weights that l is of */
        const float factor = q.l * attn__reciprocal(rounded);
        q.x[0] *= factor, q.x[1] *= factor, q.x[2] *= factor, q.x[3] *= factor;
    }
    if (q.l == 0.0f)
        q.r = ATTN_NO_SCORE;
    return q;
}

/* Where four dims of a row go: head, position, first dim, element of o. */
typedef struct ATTN_FN(_target) {
    int h, i, d;
    int64_t to;
} ATTN_FN(_target);

ATTN_DEVICE ATTN_FN(_target) ATTN_FN(_target_of)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int row, int d)
{
    const ATTN_FN(_place) at = ATTN_FN(_place_of)(a, u, row);
    ATTN_FN(_target) t;
    t.h = ATTN_FN(_head)(a, u, at);
    t.i = at.i;
    t.d = d;
    t.to = ATTN_FN(_o_at)(a, u, at.i, t.h) + d * a->p.o.stride[3];
    return t;
}

/* Stores them, and the row's lse with the first ones. */
ATTN_DEVICE void ATTN_FN(_put_quad)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, ATTN_FN(_target) t,
                                    const ATTN_FN(_quad) *q)
{
    const int64_t to = t.to;
    float lse;
    const float scale = ATTN_FN(_finish)(a, t.h, q->r, q->l, &lse);
    if (t.d == 0)
        ATTN_FN(_put_lse)(a, u, t.i, t.h, lse);
    if (a->wide_o) {
        uint2 pair;
        pair.x = ATTN_PACK(q->x[0] * scale, q->x[1] * scale);
        pair.y = ATTN_PACK(q->x[2] * scale, q->x[3] * scale);
        *(uint2 *)(void *)((uint16_t *)a->p.o.data + to) = pair;
        return;
    }
    ATTN_UNROLL
    for (int e = 0; e < 4; ++e)
        ATTN_FN(_put_o)(a, to + e * a->p.o.stride[3], q->x[e] * scale);
}

/* Adds up the warps' sums of quad n of the unit. */
ATTN_DEVICE ATTN_FN(_quad) ATTN_FN(_add_warps)(const ATTN_FN(_args) *a, unsigned char *smem, int n)
{
    const int quads = ATTN_FN(_dim_v)(a) / 4, row = n / quads, d = n % quads * 4;
    return ATTN_FN(_add)((const float *)(const void *)(smem + ATTN_O_AT) + row * ATTN_PITCH + d,
                         ATTN_TILE_Q * ATTN_PITCH, (const float *)(const void *)(smem + ATTN_RL_AT) + 4 * row,
                         4 * ATTN_TILE_Q, ATTN_WARPS, ATTN_WARPS, 1);
}

/* +inf, -inf or both (NaN) where a key that is seen has them: what passes 2 and 3 have marked. */
ATTN_DEVICE void ATTN_FN(_mark)(ATTN_FN(_quad) *q, unsigned marks)
{
    ATTN_UNROLL
    for (int e = 0; e < 4; ++e) {
        q->x[e] += marks >> e & 1 ? -ATTN_NEG_INF : 0.0f;
        q->x[e] += marks >> e & 16 ? ATTN_NEG_INF : 0.0f;
    }
}

#if ATTN_CLUSTERS
/* ---- clusters: the blocks send each other slices ----------------------------------------------------- */

/* Quads of four (32 bytes of o) go around: quad n is of slice n / 4 % cluster.  Quads of a slice, at most. */
ATTN_DEVICE int ATTN_FN(_slice)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u)
{
    const int fours = (u->rows * (ATTN_FN(_dim_v)(a) / 4) + 3) / 4;
    return ((fours + a->cluster - 1) >> a->cluster_log2) * 4;
}
/* Of slice n. */
ATTN_DEVICE int ATTN_FN(_slice_quads)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int n)
{
    const int quads = u->rows * (ATTN_FN(_dim_v)(a) / 4), fours = quads / 4;
    return ((fours + a->cluster - 1 - n) >> a->cluster_log2) * 4 + (fours % a->cluster == n ? quads % 4 : 0);
}

/* Says how much this block awaits, and then that the others of the cluster may send.  A block, once. */
ATTN_DEVICE void ATTN_FN(_await)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, unsigned char *smem)
{
    if (threadIdx.x == 0) {
        const uint32_t barrier = attn__shared_address(smem) + ATTN_BARRIER_AT;
        const int quads = ATTN_FN(_slice_quads)(a, u, attn__cluster_rank());
        attn__mbarrier_init(barrier, 1);
        attn__mbarrier_made();
        attn__mbarrier_arrive_expect(barrier, (uint32_t)(quads * 16 + u->rows * 8) << a->cluster_log2);
    }
    attn__cluster_arrive_made();
}

/* Sends quad n of this block's sum to the block that finishes it, and with the first quads of each row its r and sum to
 * all. */
ATTN_DEVICE void ATTN_FN(_send)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int rank, uint32_t base, int n,
                                const ATTN_FN(_quad) *q)
{
    const int quads = ATTN_FN(_dim_v)(a) / 4, row = n / quads;
    const int owner = (n / 4) & (a->cluster - 1), at = ((n / 4) >> a->cluster_log2) * 4 + n % 4;
    const uint32_t to = base + (uint32_t)(ATTN_SLICES_AT + (rank * ATTN_FN(_slice)(a, u) + at) * 16);
    attn__cluster_send4(attn__cluster_map(to, owner), attn__cluster_map(base + ATTN_BARRIER_AT, owner), q->x[0],
                        q->x[1], q->x[2], q->x[3]);
    ATTN_NO_UNROLL
    for (int other = n - row * quads; other < a->cluster; other += quads)
        attn__cluster_send2(
            attn__cluster_map(base + (uint32_t)(ATTN_SENT_AT + (rank * ATTN_TILE_Q + row) * 8), other),
            attn__cluster_map(base + ATTN_BARRIER_AT, other), q->r, q->l);
}

/* Awaits what the blocks send, adds it up and stores this block's slice.  Where the first quads go is found before. */
ATTN_DEVICE void ATTN_FN(_finish_slice)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int rank, unsigned char *smem)
{
    const int each = ATTN_FN(_slice)(a, u), mine = ATTN_FN(_slice_quads)(a, u, rank), quads = ATTN_FN(_dim_v)(a) / 4;
    const float *const sent = (const float *)(const void *)(smem + ATTN_SENT_AT);
    int awaited = 0;
    ATTN_NO_UNROLL
    for (int n = (int)threadIdx.x; n < mine; n += 32 * ATTN_WARPS) {
        const int quad = (((n / 4) << a->cluster_log2) + rank) * 4 + n % 4, row = quad / quads;
        const ATTN_FN(_target) t = ATTN_FN(_target_of)(a, u, row, quad % quads * 4);
        if (!awaited)
            attn__cluster_mbarrier_wait(attn__shared_address(smem) + ATTN_BARRIER_AT, 0);
        awaited = 1;
        const ATTN_FN(_quad) q =
            ATTN_FN(_add)((const float *)(const void *)(smem + ATTN_SLICES_AT) + 4 * n, 4 * each, sent + 2 * row,
                          2 * ATTN_TILE_Q, a->cluster, ATTN_SLICES, 0);
        ATTN_FN(_put_quad)(a, u, t, &q);
    }
    if (!awaited) /* no block ends before it has all that others send to it */
        attn__cluster_mbarrier_wait(attn__shared_address(smem) + ATTN_BARRIER_AT, 0);
}
#endif

/* What becomes of the warps' sums, once they are in shared memory: the marks of a pass, or the result. */
ATTN_DEVICE void ATTN_FN(_deliver)(const ATTN_FN(_args) *a, int clusters, const ATTN_FN(_unit) *u,
                                   const ATTN_FN(_work) *work, int pass, unsigned char *smem)
{
    const int quads = ATTN_FN(_dim_v)(a) / 4, whole = work->from == 0 && work->to == work->tiles.count;
    unsigned char *const marks = smem + ATTN_MARKS_AT;
    ATTN_NO_UNROLL
    for (int n = (int)threadIdx.x; n < u->rows * quads; n += 32 * ATTN_WARPS) {
        const int row = n / quads, d = n % quads * 4;
        ATTN_FN(_quad) q = ATTN_FN(_add_warps)(a, smem, n);
        if (pass >= 2) {
            unsigned mark = 0;
            ATTN_UNROLL
            for (int e = 0; e < 4; ++e)
                mark |= (unsigned)(q.x[e] > 0.0f) << e;
            marks[n] = (unsigned char)(pass == 2 ? mark : marks[n] | mark << 4);
            continue;
        }
        if (pass)
            ATTN_FN(_mark)(&q, marks[n]);
#if ATTN_CLUSTERS
        if (clusters) {
            ATTN_FN(_send)(a, u, attn__cluster_rank(), attn__shared_address(smem), n, &q);
            continue;
        }
#else
        (void)clusters;
#endif
        if (whole && (a->shares || a->parts == 1)) {
            ATTN_FN(_put_quad)(a, u, ATTN_FN(_target_of)(a, u, row, d), &q);
        } else {
            const int64_t to = work->part * a->part_rows +
                               (a->shares ? (int64_t)blockIdx.x * ATTN_TILE_Q + row : ATTN_FN(_part_row)(a, u, row));
            *(float4 *)(void *)(a->part_o + to * ATTN_FN(_dim_v)(a) + d) = make_float4(q.x[0], q.x[1], q.x[2], q.x[3]);
            if (d == 0) {
                a->part_m[to] = q.l == 0.0f ? ATTN_NEG_INF : q.r;
                a->part_l[to] = q.l;
            }
        }
    }
}

/* ---- the kernels ------------------------------------------------------------------------------------- */

/* One work after the other.  type: of K and V, a constant; clusters: too, but of ATTN_NARROW, whose text is long enough
 * once for each type. */
ATTN_DEVICE void ATTN_FN(_run)(int type, const ATTN_FN(_args) *a, int clusters, unsigned char *smem)
{
    const int lane = attn__lane(), warp = attn__warp();
    unsigned char *const ring = smem + warp * ATTN_STAGES * ATTN_STAGE_BYTES;
    const ATTN_FN(_row_at) k_row =
        ATTN_FN(_row_of)(attn__shared_address(ring), ATTN_ROW_PIECES(ATTN_HEAD_DIM, type), 0);
    const ATTN_FN(_row_at) v_row = ATTN_FN(_row_of)(attn__shared_address(ring) + ATTN_TILE_K * ATTN_K_BYTES,
                                                    ATTN_ROW_PIECES(ATTN_HEAD_DIM_V, type), 1);
    ATTN_FN(_kept) *const kept = (ATTN_FN(_kept) *)(void *)(smem + ATTN_UNIT_AT + warp * ATTN_FN(_kept_bytes));
    const ATTN_FN(_unit) *const u = &kept->unit;
    ATTN_FN(_feed) feed;
    ATTN_FN(_loader) loader;
    ATTN_FN(_state) w;
    int stage = 0, started = 0;
    const int alone = ATTN_KV_DTYPE != ATTN_NARROW && clusters; /* a constant: a cluster's one work */
#ifdef ATTN_EARLY
    if (!clusters && a->parts > 1)
        attn__grid_launch_next(); /* the merge */
#endif
#if ATTN_SCALED
    ATTN_NO_UNROLL
    for (int n = 0; n < ATTN_STAGES; ++n) { /* where none will come with tiles */
        if (!a->k_groups)
            ATTN_FN(_put_ones)(ring + n * ATTN_STAGE_BYTES + ATTN_K_SCALES, 0);
        if (!a->v_groups)
            ATTN_FN(_put_ones)(ring + n * ATTN_STAGE_BYTES + ATTN_V_SCALES, 0);
    }
#endif
    ATTN_FN(_feed_start)(a, clusters, &feed);
    if (!alone && lane == 0)
        kept->feed = feed;
    w.unit = ATTN_FN(_has_score)(a) ? 1.0f : a->scale_log2;
    for (;;) {
        ATTN_FN(_work) work;
        ATTN_FN(_unit) unit;
        __syncwarp();
        if (!alone)
            feed = kept->feed;
        if (!ATTN_FN(_next_work)(a, clusters, &feed, &work, &unit))
            break;
        work.part = a->shares ? started : work.part;
        __syncwarp();
        if (!alone && lane == 0) {
            kept->unit = unit;
            kept->feed = feed;
        }
#if ATTN_CLUSTERS
        if (clusters && !alone)
            ATTN_FN(_await)(a, &unit, smem);
#endif
        ATTN_FN(_load_q)(type, a, &unit, smem, &w); /* before the first keys */
        __syncwarp();
        w.pass = 0;
        ATTN_NO_UNROLL
        for (;;) {
            int empty = 0; /* stages that are to be filled before the first tile is there */
            if (!started || w.pass) { /* a pass begins with the unit's first tile again */
                ATTN_COPY_ASYNC_WAIT(0);
                __syncwarp();
                if (!alone && lane == 0)
                    kept->ahead = kept->feed;
                loader.work = work;
                if (w.pass)
                    unit = *u;
                ATTN_FN(_load_work)(type, a, &unit, &loader);
                stage = 0;
                started = 1;
                empty = alone ? 0 : ATTN_STAGES;
#if ATTN_CLUSTERS
                if (alone) { /* what can wait comes behind them */
                    ATTN_NO_UNROLL
                    for (int n = 0; n < ATTN_STAGES; ++n) {
                        if (loader.at < loader.work.to)
                            ATTN_FN(_load)(type, 1, a, &loader, ring + n * ATTN_STAGE_BYTES);
                        attn__copy_async_commit();
                    }
                    if (!w.pass) {
                        if (lane == 0)
                            kept->unit = unit;
                        ATTN_FN(_await)(a, &unit, smem);
                        __syncwarp();
                    }
                }
#endif
            }
            ATTN_FN(_clear)(&w);
            ATTN_FN(_find_clear)(a, u, &work.tiles, &w);
#if ATTN_KV_DTYPE == ATTN_NARROW
            w.look = attn__anew(ATTN_SCALED && a->v_groups ? 3 : 1);
            w.k_careful = attn__anew(ATTN_FN(_careful)(&a->p.k_scale, a->k_groups));
            w.v_careful = w.pass ? 2 : ATTN_FN(_careful)(&a->p.v_scale, a->v_groups);
#endif
            ATTN_NO_UNROLL
            for (int t = work.from + warp - empty * ATTN_WARPS; t < work.to; t += ATTN_WARPS) {
                const int at = stage * ATTN_STAGE_BYTES;
                stage = stage + 1 < ATTN_STAGES ? stage + 1 : 0;
                if (t >= work.from) {
                    float s[ATTN_NK][ATTN_RN][4];
                    ATTN_COPY_ASYNC_WAIT(ATTN_STAGES - 1);
                    __syncwarp();
#if ATTN_KV_DTYPE == ATTN_NARROW
                    if (w.raw | w.pass) {
                        if (w.raw)
                            ATTN_FN(_convert_q)(type, &w);
                        if (w.pass)
                            ATTN_FN(_split)(type, a, u, &w, ring + at);
                    }
#else
                    if (w.pass)
                        ATTN_FN(_split)(type, a, u, &w, ring + at);
#endif
                    const int changed = (unsigned)(t - w.clear) >= (unsigned)w.clears;
                    ATTN_FN(_scores)(type, a, &w, smem, k_row, ring + at, at, s);
                    if (changed)
                        ATTN_FN(_change)(a, u, &w, ATTN_FN(_key_of)(&work.tiles, t), s);
                    ATTN_FN(_lift)(a, &w, ring + at, s);
                    ATTN_FN(_values)(type, a, &w, v_row, ring + at, at, s);
                    __syncwarp();
                }
                ATTN_NO_UNROLL
                for (;;) {
                    ATTN_FN(_unit) next;
                    if (loader.at < loader.work.to) {
                        ATTN_FN(_load)(type, alone, a, &loader, ring + at);
                        break;
                    }
                    if (clusters)
                        break;
                    __syncwarp();
                    feed = kept->ahead;
                    if (!ATTN_FN(_next_work)(a, 0, &feed, &loader.work, &next))
                        break;
                    __syncwarp();
                    if (lane == 0)
                        kept->ahead = feed;
                    ATTN_FN(_load_work)(type, a, &next, &loader);
                }
                attn__copy_async_commit();
            }
            ATTN_FN(_leave)(type, a, u, &w, smem);
            __syncthreads();
            int wrong = 0;
            ATTN_UNROLL
            for (int n = 0; n < ATTN_WARPS; ++n)
                wrong |= ((const int *)(const void *)(smem + ATTN_WRONG_AT))[n];
            const int again = w.pass == 0 && wrong;
#if ATTN_CLUSTERS
            if (clusters && w.pass == 0)
                attn__cluster_wait(); /* all have started, and said what they await */
#endif
            if (!again)
                ATTN_FN(_deliver)(a, clusters, u, &work, w.pass, smem);
            w.pass = again ? 2 : w.pass == 2 ? 3 : w.pass == 3 ? 1 : 0;
            if (!w.pass)
                break;
            __syncthreads(); /* the sums have been read */
        }
#if ATTN_CLUSTERS
        if (clusters) {
            ATTN_FN(_finish_slice)(a, u, attn__cluster_rank(), smem);
            break;
        }
#endif
        __syncthreads();
    }
    ATTN_COPY_ASYNC_WAIT(0);
}

#endif /* __CUDA_ARCH__ */

#define ATTN_CLUSTER (ATTN_CLUSTERS ? a.cluster : 0)
#if ATTN_KV_DTYPE == ATTN_NARROW
ATTN_GLOBAL(ATTN_FN(_kernel_e4m3), ATTN_FN(_args), 32 * ATTN_WARPS, ATTN_BLOCKS)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 10 * ATTN_ARCH
    ATTN_SHARED(smem);
    ATTN_FN(_run)(ATTN_E4M3, &a, ATTN_CLUSTER, smem);
#endif
}
ATTN_GLOBAL(ATTN_FN(_kernel_e5m2), ATTN_FN(_args), 32 * ATTN_WARPS, ATTN_BLOCKS)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 10 * ATTN_ARCH
    ATTN_SHARED(smem);
    ATTN_FN(_run)(ATTN_E5M2, &a, ATTN_CLUSTER, smem);
#endif
}
ATTN_GLOBAL(ATTN_FN(_kernel_int8), ATTN_FN(_args), 32 * ATTN_WARPS, ATTN_BLOCKS)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 10 * ATTN_ARCH
    ATTN_SHARED(smem);
    ATTN_FN(_run)(ATTN_INT8, &a, ATTN_CLUSTER, smem);
#endif
}
ATTN_GLOBAL(ATTN_FN(_kernel_int4), ATTN_FN(_args), 32 * ATTN_WARPS, ATTN_BLOCKS)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 10 * ATTN_ARCH
    ATTN_SHARED(smem);
    ATTN_FN(_run)(ATTN_INT4, &a, ATTN_CLUSTER, smem);
#endif
}
#else
ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), 32 * ATTN_WARPS, ATTN_BLOCKS)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 10 * ATTN_ARCH
    ATTN_SHARED(smem);
    ATTN_FN(_run)(ATTN_KV_DTYPE, &a, 0, smem);
#endif
}
#if ATTN_CLUSTERS
ATTN_GLOBAL(ATTN_FN(_cluster_kernel), ATTN_FN(_args), 32 * ATTN_WARPS, ATTN_BLOCKS)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 10 * ATTN_ARCH
    ATTN_SHARED(smem);
    ATTN_FN(_run)(ATTN_KV_DTYPE, &a, 1, smem);
#endif
}
#endif
#endif

#if ATTN_CLUSTERS
#define ATTN_START(kernel, cluster_kernel)                                                                          \
    (a->cluster ? ATTN_LAUNCH_CLUSTER(ATTN_FN(cluster_kernel), (unsigned)a->units * (unsigned)a->cluster,           \
                                      (unsigned)a->cluster, 32 * ATTN_WARPS, ATTN_SHARED_BYTES, stream, a)          \
                : ATTN_LAUNCH(ATTN_FN(kernel), grid, 32 * ATTN_WARPS, ATTN_SHARED_BYTES, stream, a))
#else
#define ATTN_START(kernel, cluster_kernel) \
    ATTN_LAUNCH(ATTN_FN(kernel), grid, 32 * ATTN_WARPS, ATTN_SHARED_BYTES, stream, a)
#endif

/* Starts the kernel. */
static cudaError_t ATTN_FN(_start)(ATTN_FN(_args) *a, void *stream)
{
    const unsigned grid = a->shares || a->units < ATTN_GRID_MOST ? (unsigned)a->units : ATTN_GRID_MOST;
#if ATTN_KV_DTYPE == ATTN_NARROW
    switch (a->p.k.dtype) {
    case ATTN_E4M3: return ATTN_START(_kernel_e4m3, _kernel_e4m3);
    case ATTN_E5M2: return ATTN_START(_kernel_e5m2, _kernel_e5m2);
    case ATTN_INT8: return ATTN_START(_kernel_int8, _kernel_int8);
    default: return ATTN_START(_kernel_int4, _kernel_int4);
    }
#else
    return ATTN_START(_kernel, _cluster_kernel);
#endif
}

#include <attn/template/launch_cuda.cuh>

#undef ATTN_RN
#undef ATTN_KS
#undef ATTN_NV
#undef ATTN_RAW
#undef ATTN_NK
#undef ATTN_CHAINS
#undef ATTN_S
#undef ATTN_F16_PV
#undef ATTN_NARROW_EXACT
#undef ATTN_PER
#undef ATTN_PER_MOST
#undef ATTN_WIDEST
#undef ATTN_STEPS
#undef ATTN_ROW_PIECES
#undef ATTN_K_BYTES
#undef ATTN_V_BYTES
#undef ATTN_SCALE_BYTES
#undef ATTN_K_SCALES
#undef ATTN_K_ZEROS
#undef ATTN_V_SCALES
#undef ATTN_V_ZEROS
#undef ATTN_STAGE_BYTES
#undef ATTN_PITCH
#undef ATTN_KEEP_Q
#undef ATTN_Q_AT
#undef ATTN_EVEN
#undef ATTN_KEEP
#undef ATTN_SLICES
#undef ATTN_MOST_PARTS
#undef ATTN_CLUSTER
#undef ATTN_START
#undef ATTN_O_AT
#undef ATTN_RL_AT
#undef ATTN_WRONG_AT
#undef ATTN_MARKS_AT
#undef ATTN_UNIT_AT
#undef ATTN_SLICES_AT
#undef ATTN_SENT_AT
#undef ATTN_BARRIER_AT
#undef ATTN_NO_SCORE
#undef ATTN_ROOM
#undef ATTN_NEAR
