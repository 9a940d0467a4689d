/* forward_simt.cuh - attention forward with f32 multiply-adds alone: O = softmax(scale Q K^T + ...) V and LSE.
 *
 * Included by instance.h for ATTN_ARCH_SIMT (f32, f16, bf16, any strides; any GPU from Pascal on); uses every parameter
 * of begin.h.  A block computes one unit (plan_cuda.cuh): ATTN_TILE_Q rows against all their keys, ATTN_TILE_K at a
 * time.  A warp has whole rows, so that only K and V are shared between warps, or (SHARE = 2) half of the keys and of
 * the columns of rows that its neighbour has the other half of.
 *
 *     registers of a thread, of 4 x 8 in a warp      shared memory, f32 whatever the inputs are
 *       S, then P  [RT rows][KT keys]                  Q  [DIM][TILE_Q]             all dims
 *       O          [RT rows][CT columns]               K  [2][SLICE dims][TILE_K]   a slice and the next one,
 *       the next slice of K or V, as it lies           V  [2][SLICE_V keys][DIM_V]  in the same place
 *                                                      P  [TILE_K][TILE_Q]
 *     for each tile:   for each slice of dims:  S += Q K^T
 *                      P = 2^(S - m), to shared memory, for it changes hands within the warp, or the two
 *                      for each slice of keys:  O += P V
 *
 * Before a slice is multiplied the loads of the next one are issued to registers; after it they are converted and
 * stored to the other buffer: one barrier a slice, no load is waited for, and no cp.async is needed.
 *
 * What binds is the issue of instructions, one a clock for 32 multiply-adds, so as few others as can be.  All reads of
 * shared memory are of 16 bytes: for each dim RT rows and KT keys, (RT + KT) / 4 loads for RT KT multiply-adds; the
 * same for P V.  At 8 x 8 that is one load to 16 multiply-adds (94 % of the peak at best), at 8 x 4 or 4 x 8 to 10.7
 * (91 %).  Lanes that differ in bit 0 or 4 have different rows, in bits 1 to 3 different keys or columns: each half of
 * a warp then reads 128 different bytes at most, and a load takes two clocks of shared memory; at 8 x 8, half of its
 * time.
 *
 * The other bound are registers: a bank of even and one of odd ones give one operand a clock each.  A multiply-add
 * reads three, so one must be the one of the instruction before (it is kept), and of the others one even, one odd.
 * That is why Q, K and P are turned: a load brings 4 rows or keys of one dim, x[r] is kept along a row of the product,
 * y[j] alternates, and S[r][j] has a place of the other kind.  Were 4 dims to come at once, x[d] and y[d] would be of
 * one kind, and each S, to which all dims are added, of the wrong one half of the time.  Rows of the product are gone
 * through there and back, so that from one to the next y[j] is kept.
 *
 * S and O fill the registers.  So m, l and the unit are in shared memory, and what follows from the thread's number
 * is found again where it is needed (attn__anew).
 *
 * ATTN_NARROW, K and V in 8 or 4 bits: a piece is 8 elements with their scale and zero point, and becomes f32 where any
 * other does, on the way to shared memory.
 *
 * ATTN_HEAD_DIM 0 (any) and above 256: Q is not kept but comes in slices, as K does; V's columns are cut into chunks
 * of ATTN_CHUNK_V, units of their own that compute their scores again.
 *
 * Hidden keys must have no effect, but 0 times a NaN or infinity of their V is NaN.  Such a V shows in O for certain,
 * so it is not looked for: a unit whose O or l is not finite is computed again and leaves hidden keys out one by one
 * (careful).  What is finite costs one vote a unit. */

#define ATTN_STREAM_Q (ATTN_HEAD_DIM == 0 || ATTN_HEAD_DIM > 256)
#if ATTN_HEAD_DIM_V == 0 || ATTN_HEAD_DIM_V > 256
#define ATTN_CHUNK_V 128
#endif

#include <attn/template/plan_cuda.cuh>
#include <attn/device/narrow.cuh>
#include <attn/template/unit_cuda.cuh>
#include <attn/template/score_cuda.cuh>
#include <attn/template/finish_cuda.cuh>

#define ATTN_THREADS (32 * ATTN_WARPS)
#define ATTN_COLUMNS ((ATTN_CHUNK_V + 31) / 32 * 32)
/* Warps that have the same rows: one, or where both keys and columns are many, two. */
#define ATTN_SHARE (ATTN_TILE_K >= 128 && ATTN_COLUMNS >= 128 && ATTN_COLUMNS % 64 == 0 && ATTN_WARPS % 2 == 0 ? 2 : 1)
#define ATTN_RT (ATTN_TILE_Q * ATTN_SHARE / (4 * ATTN_WARPS))     /* rows of a thread: RV adjoin, */
#define ATTN_RV (ATTN_RT % 4 == 0 ? 4 : ATTN_RT % 2 == 0 ? 2 : 1) /* the next ones are 4 RV further */
#define ATTN_KT (ATTN_TILE_K / (8 * ATTN_SHARE))  /* keys of a thread: 4 adjoin, the next 4 are 32 further */
#define ATTN_CT (ATTN_COLUMNS / (8 * ATTN_SHARE)) /* columns of O of a thread, likewise */
#define ATTN_ROW_OF(r) ((r) / ATTN_RV * (4 * ATTN_RV) + (r) % ATTN_RV)
#define ATTN_KEY_OF(j) ((j) / 4 * 32 + (j) % 4)
/* A slice of K has this many dims, one of V as many keys as fit into its place.  32 are faster, but where Q comes in
 * slices, too, 64x64 tiles fit into 48 KB with 16 alone. */
#define ATTN_SLICE \
    (ATTN_STREAM_Q ? (ATTN_KV_DTYPE == ATTN_F32 ? 32 : 16) \
                   : ATTN_HEAD_DIM <= 128 && (ATTN_HEAD_DIM + 15) / 16 % 2 == 0 ? 32 : 16)
#define ATTN_SLICE_MOST ATTN_MAX(ATTN_SLICE * (ATTN_PITCH_K + ATTN_STREAM_Q * ATTN_PITCH_Q), 1024)
#define ATTN_SLICE_V (32 * ATTN_COLUMNS <= ATTN_SLICE_MOST   ? 32 \
                      : 16 * ATTN_COLUMNS <= ATTN_SLICE_MOST ? 16 \
                      : 8 * ATTN_COLUMNS <= ATTN_SLICE_MOST  ? 8  \
                                                             : 4)
/* So many of them are multiplied in one run of instructions: a thousand multiply-adds.  With fewer, a run's begin and
 * end show; with more the loops outgrow the instruction cache (docs/performance.md). */
#define ATTN_STEP (ATTN_RT * ATTN_KT * ATTN_SLICE <= 1024 ? ATTN_SLICE : 16)
#define ATTN_STEP_V (ATTN_RT * ATTN_CT * ATTN_SLICE_V <= 1024 ? ATTN_SLICE_V : ATTN_RT * ATTN_CT <= 64 ? 16 : 8)
/* Floats from a dim of K and of Q to the next in shared memory, from a key to the next in P, from one of 8 threads
 * to the next in l, from a row to the next in O: what threads store side by side in two of them lies in different
 * banks. */
#define ATTN_PITCH_K (ATTN_TILE_K + 4)
#define ATTN_PITCH_Q (ATTN_TILE_Q + 4 * ATTN_STREAM_Q)
#define ATTN_PITCH_P (ATTN_TILE_Q + 4)
#define ATTN_PITCH_L (ATTN_TILE_Q < 64 ? ATTN_TILE_Q : ATTN_TILE_Q + 8) /* head dim 256 has no room for more */
#define ATTN_PITCH_O 36
#define ATTN_WIDTH_Q (ATTN_STREAM_Q ? ATTN_SLICE : (ATTN_HEAD_DIM + 15) / 16 * 16) /* dims of Q there */
/* What lies where in shared memory, in floats: Q; two slices; P; for each row 8 threads' shares of l, of SHARE = 2
 * twice; where each key of two tiles begins in K and in V, and each row in Q; rows, their m (of SHARE = 2 as either
 * warp has it, then what of a tile it gives to the other), spans of warps, the unit.  O passes through where Q, slices
 * and P were. */
#define ATTN_MAX(x, y) ((x) > (y) ? (x) : (y))
#define ATTN_STAGE \
    ATTN_MAX(ATTN_SLICE * (ATTN_PITCH_K + ATTN_STREAM_Q * ATTN_PITCH_Q), ATTN_SLICE_V * ATTN_COLUMNS)
#define ATTN_STAGE_AT (ATTN_STREAM_Q ? 0 : ATTN_WIDTH_Q * ATTN_PITCH_Q)
#define ATTN_P_AT (ATTN_STAGE_AT + 2 * ATTN_STAGE)
#define ATTN_L_AT (ATTN_P_AT + ATTN_TILE_K * ATTN_PITCH_P)
#define ATTN_KEYS_AT (ATTN_L_AT + 8 * ATTN_SHARE * ATTN_PITCH_L)
#define ATTN_Q_ROWS_AT (ATTN_KEYS_AT + 2 * 2 * 2 * ATTN_TILE_K)
#define ATTN_ROWS_AT (ATTN_Q_ROWS_AT + 2 * ATTN_TILE_Q)
#define ATTN_M_AT (ATTN_ROWS_AT + 6 * ATTN_TILE_Q)
#define ATTN_SPANS_AT (ATTN_M_AT + (ATTN_SHARE == 1 ? 1 : 4) * ATTN_TILE_Q)
#define ATTN_SCALES_AT (ATTN_SPANS_AT + (6 * ATTN_WARPS + 3) / 4 * 4) /* as the keys, of ATTN_SCALED alone */
#define ATTN_UNIT_AT (ATTN_SCALES_AT + ATTN_SCALED * 2 * 2 * 2 * ATTN_TILE_K)
enum { ATTN_FN(_shared_bytes) = 4 * ATTN_UNIT_AT + (int)sizeof(ATTN_FN(_unit)) };
#define ATTN_SHARED_BYTES ATTN_FN(_shared_bytes)
#define ATTN_ROW_ALIGN 0
#define ATTN_DEVICE_FN ATTN_FN(_device)
/* Of k and v: a constant but for narrow types. */
#define ATTN_KV_TYPE(a) (ATTN_KV_DTYPE == ATTN_NARROW ? (a)->p.k.dtype : ATTN_KV_DTYPE)
/* Elements in a piece of 16 bytes, and how many pieces of a slice a thread moves, at most. */
#define ATTN_VEC_Q (16 / (int)sizeof(ATTN_Q_T))
#define ATTN_VEC_KV (ATTN_KV_DTYPE == ATTN_NARROW ? 8 : 16 / (int)sizeof(ATTN_KV_T))
#define ATTN_PIECES(elements, vec) (((elements) / (vec) + ATTN_THREADS - 1) / ATTN_THREADS)
#define ATTN_PIECES_K ATTN_PIECES(ATTN_TILE_K * ATTN_SLICE, ATTN_VEC_KV)
#define ATTN_PIECES_Q (ATTN_STREAM_Q ? ATTN_PIECES(ATTN_TILE_Q * ATTN_SLICE, ATTN_VEC_Q) : 0)
#define ATTN_PIECES_V ATTN_PIECES(ATTN_SLICE_V * ATTN_COLUMNS, ATTN_VEC_KV)

#if ATTN_RT * ATTN_KT > 64 || ATTN_RT * ATTN_CT > 128
#error "attn: ATTN_TILE_Q / ATTN_WARPS needs too many registers with this ATTN_TILE_K or ATTN_HEAD_DIM_V"
#endif

/* A row of the unit: what it sees, its position, its query head. */
typedef struct ATTN_FN(_row) {
    attn__keys keys;
    int32_t i, h;
} ATTN_FN(_row);
ATTN_STATIC_ASSERT(ATTN_TILE_Q * ATTN_SHARE * ATTN_PITCH_O <= ATTN_L_AT, "attn: O has no room on its way out");
ATTN_STATIC_ASSERT(sizeof(ATTN_FN(_row)) == 24 && sizeof(attn__span) == 24, "attn: shared memory is laid out by hand");

/* A place in global memory; NULL if there is no such key. */
typedef const unsigned char *ATTN_FN(_at);

/* Row n of the unit, and where it begins in Q; where the keys of tile `turn` (0 and 1 by turns) begin in K and, from
 * ATTN_TILE_K on, in V. */
#define ATTN_UNIT(smem) ((ATTN_FN(_unit) *)(void *)((smem) + ATTN_UNIT_AT))
#define ATTN_ROW(smem, n) ((ATTN_FN(_row) *)(void *)((smem) + ATTN_ROWS_AT) + (n))
#define ATTN_Q_ROWS(smem) ((ATTN_FN(_at) *)(void *)((smem) + ATTN_Q_ROWS_AT))
#define ATTN_KEYS(smem, turn) ((ATTN_FN(_at) *)(void *)((smem) + ATTN_KEYS_AT) + (turn) * (2 * ATTN_TILE_K))
/* Where the scales of the same keys begin, in floats of k_scale and v_scale. */
#define ATTN_SCALES(smem, turn) ((int64_t *)(void *)((smem) + ATTN_SCALES_AT) + (turn) * (2 * ATTN_TILE_K))

/* The thread's first row of the unit; 0..7: its place along keys and columns; which half of them its warp has. */
ATTN_DEVICE int ATTN_FN(_first)(void)
{
    const int tid = attn__anew((int)threadIdx.x);
    return tid / 32 / ATTN_SHARE * (4 * ATTN_RT) + ATTN_RV * ((tid & 1) + (tid >> 3 & 2));
}
ATTN_DEVICE int ATTN_FN(_along)(void)
{
    return attn__anew((int)threadIdx.x) >> 1 & 7;
}
ATTN_DEVICE int ATTN_FN(_half)(void)
{
    return ATTN_SHARE == 1 ? 0 : attn__anew((int)threadIdx.x) >> 5 & 1;
}

/* A float for each row of the thread: the first of them at `at`. */
ATTN_DEVICE void ATTN_FN(_rows_in)(const float *at, float *x)
{
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; r += ATTN_RV) {
        if (ATTN_RV == 4) {
            const float4 y = *(const float4 *)(at + ATTN_ROW_OF(r));
            x[r] = y.x, x[r + 1] = y.y, x[r + 2] = y.z, x[r + 3] = y.w;
        } else if (ATTN_RV == 2) {
            const float2 y = *(const float2 *)(at + ATTN_ROW_OF(r));
            x[r] = y.x, x[r + 1] = y.y;
        } else {
            x[r] = at[ATTN_ROW_OF(r)];
        }
    }
}
ATTN_DEVICE void ATTN_FN(_rows_out)(float *at, const float *x)
{
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; r += ATTN_RV) {
        if (ATTN_RV == 4)
            *(float4 *)(at + ATTN_ROW_OF(r)) = make_float4(x[r], x[r + 1], x[r + 2], x[r + 3]);
        else if (ATTN_RV == 2)
            *(float2 *)(at + ATTN_ROW_OF(r)) = make_float2(x[r], x[r + 1]);
        else
            at[ATTN_ROW_OF(r)] = x[r];
    }
}

/* ---- from global memory to registers to shared memory ----------------------------------------------- */

/* The i-th piece (16 bytes) of a thread, of rows that are `width` elements long and `all` elements in all: its row, its
 * first element in it, and whether there is one.  Most of this is constant. */
ATTN_DEVICE int ATTN_FN(_piece_row)(unsigned tid, unsigned i, unsigned width, unsigned vec)
{
    const unsigned per = width / vec;
    return (int)(ATTN_THREADS % per == 0 ? tid / per + i * (ATTN_THREADS / per) : (tid + i * ATTN_THREADS) / per);
}
ATTN_DEVICE int ATTN_FN(_piece_dim)(unsigned tid, unsigned i, unsigned width, unsigned vec)
{
    const unsigned per = width / vec;
    return (int)(ATTN_THREADS % per == 0 ? tid % per * vec : (tid + i * ATTN_THREADS) % per * vec);
}
ATTN_DEVICE int ATTN_FN(_is_piece)(unsigned tid, unsigned i, unsigned all, unsigned vec)
{
    return all / vec % ATTN_THREADS == 0 || tid + i * ATTN_THREADS < all / vec;
}

/* The same where rows become columns, `rows` of them: a warp has two pieces of 16 rows, and no two of its lanes store
 * floats to one bank. */
ATTN_DEVICE int ATTN_FN(_turned_row)(unsigned tid, unsigned i, unsigned rows)
{
    return (int)(ATTN_THREADS % (2 * rows) == 0 ? tid / 2 % rows : (tid + i * ATTN_THREADS) / 2 % rows);
}
ATTN_DEVICE int ATTN_FN(_turned_dim)(unsigned tid, unsigned i, unsigned rows, unsigned vec)
{
    const unsigned pair = ATTN_THREADS % (2 * rows) == 0 ? tid / (2 * rows) + i * (ATTN_THREADS / (2 * rows))
                                                         : (tid + i * ATTN_THREADS) / (2 * rows);
    return (int)((2 * pair + tid % 2) * vec);
}

/* The piece of the row at `at` from its element d of dim on; zeros beyond. */
ATTN_DEVICE uint4 ATTN_FN(_fetch)(ATTN_FN(_at) at, int d, int dim, int size)
{
    return at && d < dim ? __ldg((const uint4 *)(const void *)(at + d * size)) : make_uint4(0, 0, 0, 0);
}

/* A piece of k or v: 8 elements of a narrow type in two words, their scale and zero point in the others. */
ATTN_DEVICE uint4 ATTN_FN(_fetch_kv)(const attn_tensor *t, const attn_scale *s, ATTN_FN(_at) at, int64_t scale_at,
                                     int d, int dim)
{
    uint4 x = make_uint4(0, 0, 0x3f800000u, 0);
    if (ATTN_KV_DTYPE != ATTN_NARROW)
        return ATTN_FN(_fetch)(at, d, dim, (int)sizeof(ATTN_KV_T));
    if (!at || d >= dim)
        return x;
    if (t->dtype == ATTN_INT4) {
        x.x = __ldg((const uint32_t *)(const void *)(at + d / 2));
    } else {
        const uint2 y = __ldg((const uint2 *)(const void *)(at + d));
        x.x = y.x;
        x.y = y.y;
    }
    if (ATTN_SCALED && s->scale) {
        const int64_t n = scale_at + (s->group ? d / s->group * s->stride[3] : 0);
        x.z = attn__f32_bits(s->scale[n]);
        x.w = s->zero ? attn__f32_bits(s->zero[n]) : 0u;
    }
    return x;
}

/* Such a piece as 8 floats. */
ATTN_DEVICE void ATTN_FN(_open_narrow)(uint4 x, int dtype, float *y)
{
    const float scale = attn__f32_from_bits(x.z), zero = attn__f32_from_bits(x.w);
    uint32_t pair[4];
    if (dtype == ATTN_INT4) {
        attn__int4_to_f16x2(x.x, pair);
    } else if (dtype == ATTN_E4M3) {
        attn__e4m3_to_f16x2(x.x, pair);
        attn__e4m3_to_f16x2(x.y, pair + 2);
    } else if (dtype == ATTN_E5M2) {
        attn__e5m2_to_f16x2(x.x, pair);
        attn__e5m2_to_f16x2(x.y, pair + 2);
    } else {
        attn__int8_to_f16x2(x.x, pair);
        attn__int8_to_f16x2(x.y, pair + 2);
    }
    if (dtype == ATTN_INT4) { /* 4 apart, then 2 */
        ATTN_UNROLL
        for (int n = 0; n < 4; ++n)
            y[n] = attn__low_f16(pair[n]), y[n + 4] = attn__high_f16(pair[n]);
    } else {
        ATTN_UNROLL
        for (int n = 0; n < 4; ++n) {
            y[n / 2 * 4 + n % 2] = attn__low_f16(pair[n]);
            y[n / 2 * 4 + n % 2 + 2] = attn__high_f16(pair[n]);
        }
    }
    ATTN_UNROLL
    for (int n = 0; n < 8; ++n)
        y[n] = (y[n] - zero) * scale;
}

/* A piece as 4 or 8 floats; how many. */
ATTN_DEVICE int ATTN_FN(_open)(uint4 x, int dtype, float *y)
{
    if (dtype > ATTN_BF16) {
        ATTN_FN(_open_narrow)(x, dtype, y);
        return 8;
    }
    ATTN_UNROLL
    for (int n = 0; n < 4; ++n) {
        const uint32_t w = n == 0 ? x.x : n == 1 ? x.y : n == 2 ? x.z : x.w;
        if (dtype == ATTN_F32)
            y[n] = attn__f32_from_bits(w);
        else if (dtype == ATTN_F16)
            y[2 * n] = attn__low_f16(w), y[2 * n + 1] = attn__high_f16(w);
        else
            y[2 * n] = attn__low_bf16(w), y[2 * n + 1] = attn__high_bf16(w);
    }
    return dtype == ATTN_F32 ? 4 : 8;
}

/* A piece to where its floats adjoin, and to where they are `pitch` apart. */
ATTN_DEVICE void ATTN_FN(_stash)(float *to, uint4 x, int dtype)
{
    float y[8];
    const int n = ATTN_FN(_open)(x, dtype, y);
    *(float4 *)to = make_float4(y[0], y[1], y[2], y[3]);
    if (n == 8)
        *(float4 *)(to + 4) = make_float4(y[4], y[5], y[6], y[7]);
}
ATTN_DEVICE void ATTN_FN(_stash_turned)(float *to, int pitch, uint4 x, int dtype)
{
    float y[8];
    const int n = ATTN_FN(_open)(x, dtype, y);
    ATTN_UNROLL
    for (int e = 0; e < 8; ++e)
        if (e < n)
            to[e * pitch] = y[e];
}

/* Element d of a row of a narrow type, the n-th in memory. */
ATTN_DEVICE float ATTN_FN(_narrow)(const attn_tensor *t, const attn_scale *s, ATTN_FN(_at) at, int64_t n,
                                   int64_t scale_at, int d)
{
    const int dtype = t->dtype, is_int4 = dtype == ATTN_INT4;
    const uint32_t byte = at[is_int4 ? n / 2 : n];
    uint32_t pair[2];
    float x;
    if (dtype == ATTN_E4M3)
        attn__e4m3_to_f16x2(byte, pair), x = attn__low_f16(pair[0]);
    else if (dtype == ATTN_E5M2)
        x = attn__low_f16(byte << 8);
    else
        x = (float)(is_int4 ? (int)(byte << (n % 2 ? 24 : 28)) >> 28 : (int8_t)byte);
    if (!(ATTN_SCALED && s->scale))
        return x;
    scale_at += s->group ? d / s->group * s->stride[3] : 0;
    return (x - (s->zero ? s->zero[scale_at] : 0.0f)) * s->scale[scale_at];
}

/* Where rows are not wide: elements d0 .. d0 + width of `rows` rows, one by one, straight to shared memory.  s and
 * scales: of narrow types. */
ATTN_DEVICE void ATTN_FN(_gather)(const attn_tensor *t, const attn_scale *s, const ATTN_FN(_at) *at,
                                  const int64_t *scales, int rows, int d0, int width, int dim, int dtype, float *to,
                                  int row_pitch, int dim_pitch)
{
    const int down = t->stride[3] != 1 && !t->dim_block; /* then neighbouring keys adjoin rather than dims */
    ATTN_NO_UNROLL
    for (int n0 = attn__anew((int)threadIdx.x); n0 < rows * width; n0 += 4 * ATTN_THREADS) {
        float x[4];
        int to_at[4];
        ATTN_UNROLL
        for (int e = 0; e < 4; ++e) {
            const int n = n0 + e * ATTN_THREADS, row = down ? n % rows : n / width, d = down ? n / rows : n % width;
            to_at[e] = row * row_pitch + d * dim_pitch;
            x[e] = 0.0f;
            if (n < rows * width && at[row] && d0 + d < dim) {
                const int64_t from = ATTN_FN(_dim_at)(t, d0 + d);
                if (dtype > ATTN_BF16)
                    x[e] = ATTN_FN(_narrow)(t, s, at[row], from, ATTN_SCALED ? scales[row] : 0, d0 + d);
                else if (dtype == ATTN_F32)
                    x[e] = ((const float *)(const void *)at[row])[from];
                else if (dtype == ATTN_F16)
                    x[e] = attn__low_f16(((const uint16_t *)(const void *)at[row])[from]);
                else
                    x[e] = attn__low_bf16(((const uint16_t *)(const void *)at[row])[from]);
            }
        }
        ATTN_UNROLL
        for (int e = 0; e < 4; ++e)
            if (n0 + e * ATTN_THREADS < rows * width)
                to[to_at[e]] = x[e];
    }
}

/* Finds the keys of the tile at k0, its turn being `turn`. */
ATTN_DEVICE void ATTN_FN(_find_keys)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, float *smem, int k0, int turn)
{
    for (int n = attn__anew((int)threadIdx.x); n < 2 * ATTN_TILE_K; n += ATTN_THREADS) {
        const attn_tensor *t = n < ATTN_TILE_K ? &a->p.k : &a->p.v;
        const int j = k0 + n % ATTN_TILE_K;
        ATTN_FN(_at) at = NULL;
        if (j < u->to) {
            const int64_t from = ATTN_FN(_kv_at)(a, u, t, j);
            at = (ATTN_FN(_at))t->data + (ATTN_KV_DTYPE == ATTN_NARROW && t->dtype == ATTN_INT4
                                              ? from / 2
                                              : from * (int)sizeof(ATTN_KV_T));
        }
        ATTN_KEYS(smem, turn)[n] = at;
        if (ATTN_SCALED)
            ATTN_SCALES(smem, turn)[n] =
                at ? ATTN_FN(_scale_at)(a, u, n < ATTN_TILE_K ? &a->p.k_scale : &a->p.v_scale, j) : 0;
    }
}

/* Slice s of K, and of Q if it is not kept. */
ATTN_DEVICE void ATTN_FN(_fetch_k)(const ATTN_FN(_args) *a, float *smem, int turn, int s, uint4 *x)
{
    const unsigned tid = (unsigned)attn__anew((int)threadIdx.x);
    const int dim = ATTN_FN(_dim)(a);
    ATTN_UNROLL
    for (int i = 0; i < ATTN_PIECES_K; ++i)
        if (a->wide_k && ATTN_FN(_is_piece)(tid, i, ATTN_TILE_K * ATTN_SLICE, ATTN_VEC_KV))
            x[i] = ATTN_FN(_fetch_kv)(
                &a->p.k, &a->p.k_scale, ATTN_KEYS(smem, turn)[ATTN_FN(_turned_row)(tid, i, ATTN_TILE_K)],
                ATTN_SCALED ? ATTN_SCALES(smem, turn)[ATTN_FN(_turned_row)(tid, i, ATTN_TILE_K)] : 0,
                s * ATTN_SLICE + ATTN_FN(_turned_dim)(tid, i, ATTN_TILE_K, ATTN_VEC_KV), dim);
    ATTN_UNROLL
    for (int i = 0; i < ATTN_PIECES_Q; ++i)
        if (a->wide_q && ATTN_FN(_is_piece)(tid, i, ATTN_TILE_Q * ATTN_SLICE, ATTN_VEC_Q))
            x[ATTN_PIECES_K + i] =
                ATTN_FN(_fetch)(ATTN_Q_ROWS(smem)[ATTN_FN(_turned_row)(tid, i, ATTN_TILE_Q)],
                                s * ATTN_SLICE + ATTN_FN(_turned_dim)(tid, i, ATTN_TILE_Q, ATTN_VEC_Q), dim,
                                (int)sizeof(ATTN_Q_T));
}
ATTN_DEVICE void ATTN_FN(_stash_k)(const ATTN_FN(_args) *a, float *smem, int turn, int s, float *to, const uint4 *x)
{
    const unsigned tid = (unsigned)attn__anew((int)threadIdx.x);
    float *to_q = to + ATTN_SLICE * ATTN_PITCH_K;
    if (!a->wide_k)
        ATTN_FN(_gather)(&a->p.k, &a->p.k_scale, ATTN_KEYS(smem, turn), ATTN_SCALES(smem, turn), ATTN_TILE_K,
                         s * ATTN_SLICE, ATTN_SLICE, ATTN_FN(_dim)(a), ATTN_KV_TYPE(a), to, 1, ATTN_PITCH_K);
    else
        ATTN_UNROLL
        for (int i = 0; i < ATTN_PIECES_K; ++i)
            if (ATTN_FN(_is_piece)(tid, i, ATTN_TILE_K * ATTN_SLICE, ATTN_VEC_KV))
                ATTN_FN(_stash_turned)(to + ATTN_FN(_turned_row)(tid, i, ATTN_TILE_K) +
                                           ATTN_FN(_turned_dim)(tid, i, ATTN_TILE_K, ATTN_VEC_KV) * ATTN_PITCH_K,
                                       ATTN_PITCH_K, x[i], ATTN_KV_TYPE(a));
    if (ATTN_STREAM_Q && !a->wide_q)
        ATTN_FN(_gather)(&a->p.q, NULL, ATTN_Q_ROWS(smem), NULL, ATTN_TILE_Q, s * ATTN_SLICE, ATTN_SLICE,
                         ATTN_FN(_dim)(a), ATTN_DTYPE, to_q, 1, ATTN_PITCH_Q);
    else
        ATTN_UNROLL
        for (int i = 0; i < ATTN_PIECES_Q; ++i)
            if (ATTN_FN(_is_piece)(tid, i, ATTN_TILE_Q * ATTN_SLICE, ATTN_VEC_Q))
                ATTN_FN(_stash_turned)(to_q + ATTN_FN(_turned_row)(tid, i, ATTN_TILE_Q) +
                                           ATTN_FN(_turned_dim)(tid, i, ATTN_TILE_Q, ATTN_VEC_Q) * ATTN_PITCH_Q,
                                       ATTN_PITCH_Q, x[ATTN_PIECES_K + i], ATTN_DTYPE);
}

/* Slice s of V: all columns of ATTN_SLICE_V keys. */
ATTN_DEVICE void ATTN_FN(_fetch_v)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, float *smem, int turn, int s,
                                   uint4 *x)
{
    const unsigned tid = (unsigned)attn__anew((int)threadIdx.x);
    const ATTN_FN(_at) *key = ATTN_KEYS(smem, turn) + ATTN_TILE_K + s * ATTN_SLICE_V;
    const int64_t *scales = ATTN_SCALES(smem, turn) + ATTN_TILE_K + s * ATTN_SLICE_V;
    (void)scales;
    ATTN_UNROLL
    for (int i = 0; i < ATTN_PIECES_V; ++i)
        if (a->wide_v && ATTN_FN(_is_piece)(tid, i, ATTN_SLICE_V * ATTN_COLUMNS, ATTN_VEC_KV))
            x[i] = ATTN_FN(_fetch_kv)(
                &a->p.v, &a->p.v_scale, key[ATTN_FN(_piece_row)(tid, i, ATTN_COLUMNS, ATTN_VEC_KV)],
                ATTN_SCALED ? scales[ATTN_FN(_piece_row)(tid, i, ATTN_COLUMNS, ATTN_VEC_KV)] : 0,
                u->chunk * ATTN_CHUNK_V + ATTN_FN(_piece_dim)(tid, i, ATTN_COLUMNS, ATTN_VEC_KV),
                ATTN_FN(_dim_v)(a));
}
ATTN_DEVICE void ATTN_FN(_stash_v)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, float *smem, int turn, int s,
                                   float *to, const uint4 *x)
{
    const unsigned tid = (unsigned)attn__anew((int)threadIdx.x);
    if (!a->wide_v)
        ATTN_FN(_gather)(&a->p.v, &a->p.v_scale, ATTN_KEYS(smem, turn) + ATTN_TILE_K + s * ATTN_SLICE_V,
                         ATTN_SCALES(smem, turn) + ATTN_TILE_K + s * ATTN_SLICE_V, ATTN_SLICE_V,
                         u->chunk * ATTN_CHUNK_V, ATTN_COLUMNS, ATTN_FN(_dim_v)(a), ATTN_KV_TYPE(a), to,
                         ATTN_COLUMNS, 1);
    else
        ATTN_UNROLL
        for (int i = 0; i < ATTN_PIECES_V; ++i)
            if (ATTN_FN(_is_piece)(tid, i, ATTN_SLICE_V * ATTN_COLUMNS, ATTN_VEC_KV))
                ATTN_FN(_stash)(to + (tid + i * ATTN_THREADS) * ATTN_VEC_KV, x[i], ATTN_KV_TYPE(a));
}

/* All of Q, once a unit. */
ATTN_DEVICE void ATTN_FN(_load_q)(const ATTN_FN(_args) *a, float *smem)
{
    if (!a->wide_q) {
        ATTN_FN(_gather)(&a->p.q, NULL, ATTN_Q_ROWS(smem), NULL, ATTN_TILE_Q, 0, ATTN_WIDTH_Q, ATTN_FN(_dim)(a),
                         ATTN_DTYPE, smem, 1, ATTN_PITCH_Q);
        return;
    }
    for (int n = (int)threadIdx.x; n < ATTN_TILE_Q * (ATTN_WIDTH_Q / ATTN_VEC_Q); n += ATTN_THREADS) {
        const int row = n / 2 % ATTN_TILE_Q, d = (n / (2 * ATTN_TILE_Q) * 2 + n % 2) * ATTN_VEC_Q;
        const uint4 x = ATTN_FN(_fetch)(ATTN_Q_ROWS(smem)[row], d, ATTN_FN(_dim)(a), (int)sizeof(ATTN_Q_T));
        ATTN_FN(_stash_turned)(smem + row + d * ATTN_PITCH_Q, ATTN_PITCH_Q, x, ATTN_DTYPE);
    }
}

/* ---- multiply-adds --------------------------------------------------------------------------------- */

/* The n-th of many through 0 .. count - 1, there and back and there again. */
#define ATTN_BACK(n, count) ((n) / (count) % 2 ? (count) - 1 - (n) % (count) : (n) % (count))

/* S += Q K^T over the dims of a slice; q and k are the thread's first row and key. */
ATTN_DEVICE void ATTN_FN(_add_qk)(const float *q, const float *k, float (*s)[ATTN_KT])
{
    ATTN_NO_UNROLL
    for (int done = 0; done < ATTN_SLICE; done += ATTN_STEP) {
        ATTN_UNROLL
        for (int d = 0; d < ATTN_STEP; ++d) {
            float x[ATTN_RT], y[ATTN_KT];
            ATTN_FN(_rows_in)(q + d * ATTN_PITCH_Q, x);
            ATTN_UNROLL
            for (int j = 0; j < ATTN_KT; j += 4) {
                const float4 four = *(const float4 *)(k + d * ATTN_PITCH_K + ATTN_KEY_OF(j));
                y[j] = four.x, y[j + 1] = four.y, y[j + 2] = four.z, y[j + 3] = four.w;
            }
            ATTN_UNROLL
            for (int n = 0; n < ATTN_RT * ATTN_KT; ++n) {
                const int r = ATTN_RT < ATTN_KT ? n / ATTN_KT : ATTN_BACK(n, ATTN_RT);
                const int j = ATTN_RT < ATTN_KT ? ATTN_BACK(n, ATTN_KT) : n / ATTN_RT;
                s[r][j] += x[r] * y[j];
            }
        }
        q += ATTN_STEP * ATTN_PITCH_Q;
        k += ATTN_STEP * ATTN_PITCH_K;
    }
}

/* Sums of many f32 products err less if they are summed by slices first, for which there must be registers. */
#define ATTN_BY_SLICES \
    (ATTN_STREAM_Q || (ATTN_KV_DTYPE == ATTN_F32 && ATTN_HEAD_DIM > 64 && ATTN_RT * ATTN_KT <= 32))
ATTN_DEVICE void ATTN_FN(_qk)(const float *q, const float *k, float (*s)[ATTN_KT])
{
    if (ATTN_BY_SLICES) {
        float t[ATTN_RT][ATTN_KT];
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r)
            ATTN_UNROLL
            for (int j = 0; j < ATTN_KT; ++j)
                t[r][j] = 0.0f;
        ATTN_FN(_add_qk)(q, k, t);
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r)
            ATTN_UNROLL
            for (int j = 0; j < ATTN_KT; ++j)
                s[r][j] += t[r][j];
    } else {
        ATTN_FN(_add_qk)(q, k, s);
    }
}

/* O += P V over the keys of a slice; p and v are the thread's first row and column. */
ATTN_DEVICE void ATTN_FN(_pv)(const float *p, const float *v, float (*o)[ATTN_CT])
{
    ATTN_NO_UNROLL
    for (int done = 0; done < ATTN_SLICE_V; done += ATTN_STEP_V) {
        ATTN_UNROLL
        for (int k = 0; k < ATTN_STEP_V; ++k) {
            float x[ATTN_RT], y[ATTN_CT];
            ATTN_FN(_rows_in)(p + k * ATTN_PITCH_P, x);
            ATTN_UNROLL
            for (int c = 0; c < ATTN_CT; c += 4) {
                const float4 four = *(const float4 *)(v + k * ATTN_COLUMNS + 8 * c);
                y[c] = four.x, y[c + 1] = four.y, y[c + 2] = four.z, y[c + 3] = four.w;
            }
            ATTN_UNROLL
            for (int n = 0; n < ATTN_RT * ATTN_CT; ++n)
                o[n / ATTN_CT][ATTN_BACK(n, ATTN_CT)] += x[n / ATTN_CT] * y[ATTN_BACK(n, ATTN_CT)];
        }
        p += ATTN_STEP_V * ATTN_PITCH_P;
        v += ATTN_STEP_V * ATTN_COLUMNS;
    }
}

/* The same, leaving out hidden keys, whose P is -0. */
ATTN_DEVICE void ATTN_FN(_pv_careful)(const float *p, const float *v, float (*o)[ATTN_CT])
{
    ATTN_NO_UNROLL
    for (int k = 0; k < ATTN_SLICE_V; ++k)
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r) {
            const float x = p[k * ATTN_PITCH_P + ATTN_ROW_OF(r)];
            if (attn__f32_bits(x) != 0x80000000u)
                ATTN_UNROLL
                for (int c = 0; c < ATTN_CT; ++c)
                    o[r][c] += x * v[k * ATTN_COLUMNS + c / 4 * 32 + c % 4];
        }
}

/* ---- softmax --------------------------------------------------------------------------------------- */

/* What changes scores, in a loop over rows that is not unrolled, for it is long: S passes through the thread's own
 * places in P. */
ATTN_DEVICE void ATTN_FN(_change)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, float *smem, int k0, float *p,
                                  float (*s)[ATTN_KT])
{
    const int first = ATTN_FN(_first)(), along = ATTN_FN(_along)();
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; ++r)
        ATTN_UNROLL
        for (int j = 0; j < ATTN_KT; ++j)
            p[ATTN_KEY_OF(j) * ATTN_PITCH_P + ATTN_ROW_OF(r)] = s[r][j];
    ATTN_NO_UNROLL
    for (int r = 0; r < ATTN_RT; ++r) {
        const ATTN_FN(_row) *row = ATTN_ROW(smem, first + ATTN_ROW_OF(r));
        float x[ATTN_KT];
        ATTN_UNROLL
        for (int j = 0; j < ATTN_KT; ++j)
            x[j] = p[ATTN_KEY_OF(j) * ATTN_PITCH_P + ATTN_ROW_OF(r)];
        ATTN_FN(_score_row)(a, u, row->i, row->h, k0 + 4 * along, 4, 32, ATTN_KT, x);
        ATTN_UNROLL
        for (int j = 0; j < ATTN_KT; ++j)
            p[ATTN_KEY_OF(j) * ATTN_PITCH_P + ATTN_ROW_OF(r)] = x[j];
    }
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; ++r)
        ATTN_UNROLL
        for (int j = 0; j < ATTN_KT; ++j)
            s[r][j] = p[ATTN_KEY_OF(j) * ATTN_PITCH_P + ATTN_ROW_OF(r)];
}

/* S -> P, to shared memory; m, l and O follow.  edge: some row of the warp might not see some key of the tile.  Of each
 * row the greatest score so far, m, is in shared memory, too, and each thread's share of l behind its row of P. */
ATTN_DEVICE void ATTN_FN(_softmax)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, float *smem, int k0, int edge,
                                   int careful, float (*s)[ATTN_KT], float (*o)[ATTN_CT])
{
    const int first = ATTN_FN(_first)(), along = ATTN_FN(_along)(), half = ATTN_FN(_half)();
    const int own = half * (ATTN_TILE_K / ATTN_SHARE) + 4 * along; /* the thread's first key of the tile */
    float *p = smem + ATTN_P_AT + own * ATTN_PITCH_P + first;      /* its own places */
    float *m = smem + ATTN_M_AT + half * ATTN_TILE_Q + first;
    float *l = smem + ATTN_L_AT + (8 * half + along) * ATTN_PITCH_L + first;
    float top[ATTN_RT], old[ATTN_RT], sum[ATTN_RT], alpha[ATTN_RT], scale = a->scale_log2;
    int grown = 0;
    if (ATTN_FN(_has_score)(a)) {
        ATTN_FN(_change)(a, u, smem, k0 + half * (ATTN_TILE_K / ATTN_SHARE), p, s);
        scale = 1.0f;
    }
    if (edge) {
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r) {
            const attn__keys keys = ATTN_ROW(smem, first + ATTN_ROW_OF(r))->keys;
            ATTN_UNROLL
            for (int j = 0; j < ATTN_KT; ++j)
                s[r][j] = ATTN_FN(_sees)(&keys, k0 + own + ATTN_KEY_OF(j)) ? s[r][j] : ATTN_NEG_INF;
        }
    }
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; ++r) {
        top[r] = s[r][0];
        ATTN_UNROLL
        for (int j = 1; j < ATTN_KT; ++j)
            top[r] = attn__max(top[r], s[r][j]);
        top[r] = attn__max(top[r], attn__shuffle_xor(top[r], 2));
        top[r] = attn__max(top[r], attn__shuffle_xor(top[r], 4));
        top[r] = attn__max(top[r], attn__shuffle_xor(top[r], 8));
    }
    if (ATTN_SHARE == 2) {
        float *given = smem + ATTN_M_AT + 2 * ATTN_TILE_Q + first;
        if (along == 0)
            ATTN_FN(_rows_out)(given + half * ATTN_TILE_Q, top);
        attn__barrier(1 + attn__anew((int)threadIdx.x) / 64, 64);
        ATTN_FN(_rows_in)(given + (half ^ 1) * ATTN_TILE_Q, old);
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r)
            top[r] = attn__max(top[r], old[r]);
    }
    ATTN_FN(_rows_in)(m, old);
    ATTN_FN(_rows_in)(l, sum);
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; ++r) {
        top[r] = attn__max(top[r] * scale, old[r]);
        /* Nothing seen yet: every score is -inf, and so is what is left of it. */
        const float zero = top[r] == ATTN_NEG_INF ? 0.0f : top[r];
        float part = 0.0f;
        alpha[r] = attn__exp2(old[r] - zero);
        grown |= top[r] != old[r];
        ATTN_UNROLL
        for (int j = 0; j < ATTN_KT; ++j) {
            const float x = attn__exp2(s[r][j] * scale - zero);
            s[r][j] = careful && s[r][j] == ATTN_NEG_INF ? -0.0f : x;
            part += x;
        }
        sum[r] = sum[r] * alpha[r] + part;
    }
    ATTN_UNROLL
    for (int j = 0; j < ATTN_KT; ++j) {
        float x[ATTN_RT];
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r)
            x[r] = s[r][j];
        ATTN_FN(_rows_out)(p + ATTN_KEY_OF(j) * ATTN_PITCH_P, x);
    }
    ATTN_FN(_rows_out)(l, sum);
    __syncwarp(); /* all have read m */
    if (along == 0)
        ATTN_FN(_rows_out)(m, top);
    if (attn__any(grown)) {
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r)
            ATTN_UNROLL
            for (int c = 0; c < ATTN_CT; ++c)
                o[r][c] *= alpha[r];
    }
}

/* ---- one unit --------------------------------------------------------------------------------------- */

/* Rows out: l and lse, then O by 32 columns through shared memory, so that lanes store along a row.  Q, K, V and P are
 * done with. */
ATTN_DEVICE void ATTN_FN(_store)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, float *smem, float (*o)[ATTN_CT])
{
    const int lane = attn__lane(), dim_v = ATTN_FN(_dim_v)(a);
    const int warp = (int)threadIdx.x / 32, row0 = warp / ATTN_SHARE * (4 * ATTN_RT);
    const int first = ATTN_FN(_first)(), along = ATTN_FN(_along)(), half = ATTN_FN(_half)();
    float scale[ATTN_RT], *own = smem + (warp * (4 * ATTN_RT) - row0) * ATTN_PITCH_O; /* rows from row0 on */
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; ++r) {
        const int n = first + ATTN_ROW_OF(r), writes = n < u->rows && along == 0 && half == 0 && u->chunk == 0;
        const ATTN_FN(_row) *row = ATTN_ROW(smem, n);
        const float m = smem[ATTN_M_AT + n];
        float l = smem[ATTN_L_AT + along * ATTN_PITCH_L + n];
        if (ATTN_SHARE == 2)
            l += smem[ATTN_L_AT + (8 + along) * ATTN_PITCH_L + n];
        l += attn__shuffle_xor(l, 2);
        l += attn__shuffle_xor(l, 4);
        l += attn__shuffle_xor(l, 8);
        scale[r] = 1.0f;
        if (a->parts > 1) {
            const int64_t at = u->part * a->part_rows + ATTN_FN(_part_row)(a, u, n);
            if (writes) {
                a->part_m[at] = m;
                a->part_l[at] = l;
            }
        } else {
            float lse;
            scale[r] = ATTN_FN(_finish)(a, row->h, m, l, &lse);
            if (writes)
                ATTN_FN(_put_lse)(a, u, row->i, row->h, lse);
        }
    }
    ATTN_UNROLL
    for (int c = 0; c < ATTN_CT; c += 4) {
        const int d = u->chunk * ATTN_CHUNK_V + 8 * (half * ATTN_CT + c) + lane;
        __syncwarp(); /* the columns before are stored */
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r)
            *(float4 *)(own + (first + ATTN_ROW_OF(r)) * ATTN_PITCH_O + 4 * along) = make_float4(
                o[r][c] * scale[r], o[r][c + 1] * scale[r], o[r][c + 2] * scale[r], o[r][c + 3] * scale[r]);
        __syncwarp();
        for (int n = row0; n < row0 + 4 * ATTN_RT && n < u->rows && d < dim_v; ++n) {
            const float x = own[n * ATTN_PITCH_O + lane];
            if (a->parts > 1)
                a->part_o[(u->part * a->part_rows + ATTN_FN(_part_row)(a, u, n)) * dim_v + d] = x;
            else
                ATTN_FN(_put_o)(
                    a, ATTN_FN(_o_at)(a, u, ATTN_ROW(smem, n)->i, ATTN_ROW(smem, n)->h) + d * a->p.o.stride[3], x);
        }
    }
}

/* All tiles of a unit; 1 if a thread's O or l is not finite. */
ATTN_DEVICE int ATTN_FN(_tiles)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, float *smem, int careful,
                                float (*o)[ATTN_CT])
{
    const int slices = (ATTN_FN(_dim)(a) + ATTN_SLICE - 1) / ATTN_SLICE, slices_v = ATTN_TILE_K / ATTN_SLICE_V;
    const attn__span *span = (const attn__span *)(void *)(smem + ATTN_SPANS_AT) + threadIdx.x / 32;
    const int busy = (int)threadIdx.x / 32 / ATTN_SHARE * (4 * ATTN_RT) < u->rows;
    float *const stages = smem + ATTN_STAGE_AT;
    int stage = 0, turn = 0; /* which of two: slice, tile */
    const int first = ATTN_FN(_first)(), along = ATTN_FN(_along)(), half = ATTN_FN(_half)();
    float *const l = smem + ATTN_L_AT + (8 * half + along) * ATTN_PITCH_L + first;
    uint4 ahead[ATTN_MAX(ATTN_PIECES_K + ATTN_PIECES_Q, ATTN_PIECES_V)];
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; ++r) {
        if (along == 0)
            smem[ATTN_M_AT + half * ATTN_TILE_Q + first + ATTN_ROW_OF(r)] = ATTN_NEG_INF;
        l[ATTN_ROW_OF(r)] = 0.0f;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_CT; ++c)
            o[r][c] = 0.0f;
    }

    int k0 = ATTN_FN(_next_tile)(u, -1);
    if (k0 < u->to) {
        ATTN_FN(_find_keys)(a, u, smem, k0, 0);
        __syncthreads();
        ATTN_FN(_fetch_k)(a, smem, 0, 0, ahead);
        ATTN_FN(_stash_k)(a, smem, 0, 0, stages, ahead);
        __syncthreads();
    }
    for (int next; k0 < u->to; k0 = next, turn ^= 1) {
        const int sees = busy && ((k0 < span->hi && k0 + ATTN_TILE_K > span->lo) ||
                                  (ATTN_SINK_TOKENS && k0 < span->sink_hi && k0 + ATTN_TILE_K > span->sink_lo));
        float s[ATTN_RT][ATTN_KT];
        next = ATTN_FN(_next_tile)(u, k0);
        if (next < u->to)
            ATTN_FN(_find_keys)(a, u, smem, next, turn ^ 1);
        ATTN_UNROLL
        for (int r = 0; r < ATTN_RT; ++r)
            ATTN_UNROLL
            for (int j = 0; j < ATTN_KT; ++j)
                s[r][j] = 0.0f;

        ATTN_NO_UNROLL
        for (int n = 0; n < slices; ++n, stage ^= 1) {
            const float *k = stages + stage * ATTN_STAGE;
            float *other = stages + (stage ^ 1) * ATTN_STAGE;
            if (n + 1 < slices)
                ATTN_FN(_fetch_k)(a, smem, turn, n + 1, ahead);
            else
                ATTN_FN(_fetch_v)(a, u, smem, turn, 0, ahead);
            if (sees)
                ATTN_FN(_qk)((ATTN_STREAM_Q ? k + ATTN_SLICE * ATTN_PITCH_K
                                            : smem + n * (ATTN_SLICE * ATTN_PITCH_Q)) + ATTN_FN(_first)(),
                             k + ATTN_FN(_half)() * (ATTN_TILE_K / ATTN_SHARE) + 4 * ATTN_FN(_along)(), s);
            if (n + 1 < slices)
                ATTN_FN(_stash_k)(a, smem, turn, n + 1, other, ahead);
            else
                ATTN_FN(_stash_v)(a, u, smem, turn, 0, other, ahead);
            __syncthreads();
        }

        if (sees)
            ATTN_FN(_softmax)(a, u, smem, k0, ATTN_FN(_is_edge)(span, k0), careful, s, o);
        if (ATTN_SHARE == 2 && sees)
            attn__barrier(1 + attn__anew((int)threadIdx.x) / 64, 64);
        __syncwarp();

        ATTN_NO_UNROLL
        for (int n = 0; n < slices_v; ++n, stage ^= 1) {
            const float *p = smem + ATTN_P_AT + n * (ATTN_SLICE_V * ATTN_PITCH_P) + ATTN_FN(_first)();
            const float *v = stages + stage * ATTN_STAGE + ATTN_FN(_half)() * (8 * ATTN_CT) + 4 * ATTN_FN(_along)();
            float *other = stages + (stage ^ 1) * ATTN_STAGE;
            if (n + 1 < slices_v)
                ATTN_FN(_fetch_v)(a, u, smem, turn, n + 1, ahead);
            else if (next < u->to)
                ATTN_FN(_fetch_k)(a, smem, turn ^ 1, 0, ahead);
            if (sees && careful)
                ATTN_FN(_pv_careful)(p, v, o);
            else if (sees)
                ATTN_FN(_pv)(p, v, o);
            if (n + 1 < slices_v)
                ATTN_FN(_stash_v)(a, u, smem, turn, n + 1, other, ahead);
            else if (next < u->to)
                ATTN_FN(_stash_k)(a, smem, turn ^ 1, 0, other, ahead);
            __syncthreads();
        }
    }

    float doubt = 0.0f;
    ATTN_UNROLL
    for (int r = 0; r < ATTN_RT; ++r) {
        doubt += l[ATTN_ROW_OF(r)] * 0.0f;
        ATTN_UNROLL
        for (int c = 0; c < ATTN_CT; ++c)
            doubt += o[r][c] * 0.0f;
    }
    return doubt != 0.0f; /* 0 times what is not finite is NaN */
}

ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), ATTN_THREADS, ATTN_BLOCKS)
{
    ATTN_SHARED(shared);
    const int warp = (int)threadIdx.x / 32, lane = attn__lane();
    float *const smem = (float *)(void *)shared;

    for (int64_t n = blockIdx.x; n < a.units; n += gridDim.x) {
        ATTN_FN(_unit) *const u = ATTN_UNIT(smem), made;
        float o[ATTN_RT][ATTN_CT];
        if (!ATTN_FN(_unit_make)(&a, n, &made))
            continue;
        __syncthreads(); /* the unit before is done with shared memory */
        if (threadIdx.x == 0)
            *u = made;
        for (int row = (int)threadIdx.x; row < ATTN_TILE_Q; row += ATTN_THREADS) {
            const ATTN_FN(_place) at = ATTN_FN(_place_of)(&a, &made, row);
            ATTN_FN(_row) *to = ATTN_ROW(smem, row);
            to->i = at.i;
            to->h = ATTN_FN(_head)(&a, &made, at);
            to->keys = attn__mask_row(&made.mask, at.i);
            ATTN_Q_ROWS(smem)[row] = (ATTN_FN(_at))a.p.q.data + ATTN_FN(_q_at)(&a, &made, at) * (int)sizeof(ATTN_Q_T);
        }
        if (lane == 0)
            ((attn__span *)(void *)(smem + ATTN_SPANS_AT))[warp] =
                attn__mask_rows(&made.mask, ATTN_FN(_place_of)(&a, &made, warp / ATTN_SHARE * (4 * ATTN_RT)).i,
                                ATTN_FN(_place_of)(&a, &made, (warp / ATTN_SHARE + 1) * (4 * ATTN_RT) - 1).i);
        __syncthreads();
        if (!ATTN_STREAM_Q)
            ATTN_FN(_load_q)(&a, smem);
        int careful = 0;
        while (__syncthreads_or(ATTN_FN(_tiles)(&a, u, smem, careful, o)) && !careful)
            careful = 1;
        ATTN_FN(_store)(&a, u, smem, o);
    }
}

#include <attn/template/launch_cuda.cuh>

#undef ATTN_STREAM_Q
#undef ATTN_THREADS
#undef ATTN_RT
#undef ATTN_KT
#undef ATTN_COLUMNS
#undef ATTN_CT
#undef ATTN_SLICE
#undef ATTN_SLICE_MOST
#undef ATTN_SLICE_V
#undef ATTN_PITCH_K
#undef ATTN_PITCH_L
#undef ATTN_PITCH_O
#undef ATTN_WIDTH_Q
#undef ATTN_L_AT
#undef ATTN_SHARE
#undef ATTN_RV
#undef ATTN_ROW_OF
#undef ATTN_KEY_OF
#undef ATTN_BACK
#undef ATTN_STEP
#undef ATTN_STEP_V
#undef ATTN_PITCH_Q
#undef ATTN_PITCH_P
#undef ATTN_MAX
#undef ATTN_STAGE
#undef ATTN_STAGE_AT
#undef ATTN_P_AT
#undef ATTN_KEYS_AT
#undef ATTN_Q_ROWS_AT
#undef ATTN_ROWS_AT
#undef ATTN_M_AT
#undef ATTN_SPANS_AT
#undef ATTN_UNIT_AT
#undef ATTN_SCALES_AT
#undef ATTN_SCALES
#undef ATTN_KV_TYPE
#undef ATTN_VEC_Q
#undef ATTN_VEC_KV
#undef ATTN_PIECES
#undef ATTN_PIECES_K
#undef ATTN_PIECES_Q
#undef ATTN_PIECES_V
#undef ATTN_ROW
#undef ATTN_KEYS
#undef ATTN_UNIT
#undef ATTN_Q_ROWS
#undef ATTN_BY_SLICES
