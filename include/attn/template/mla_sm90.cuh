/* mla_sm90.cuh - attention over a latent cache for Hopper: V is the first dims of K, and a tile of keys is read once
 * for both products.
 *
 * Included by instance.h for ATTN_KERNEL_MLA (ATTN_ARCH_SM90; f16 and bf16); uses every parameter of begin.h but
 * ATTN_BLOCKS, which is 1.  All query heads of a KV head are rows of one unit (plan_cuda.cuh), 64 of them.  What a
 * block computes list_cuda.cuh says: a share of all tiles, or parts of a fixed number of keys.  Its warps have roles:
 *
 *     warp 0         plans: works out the next unit and its tiles, and writes them down as a job
 *     warps 1 .. 3   load: tiles of K, as far ahead as there is room
 *     warps 4 ..     compute: two warpgroups.  Warpgroup g has every second tile's scores, and half of V's columns
 *
 *           keys of a tile                 dims of V
 *          +--------------+          +---------+---------+
 *     64   | S, P: by     |     64   |    O    |    O    |      S = Q K^T of tile t is warpgroup t % 2's, alone
 *     rows | warpgroup    |     rows | warp-   | warp-   |      O += P V of each tile is both warpgroups', by halves
 *          | t % 2        |          | group 0 | group 1 |
 *          +--------------+          +---------+---------+
 *
 *     shared memory: Q [Q_PANELS][64][64], the last dims being kept in registers; K [STAGES][TILE_K / 8][panel][8][64]
 *     registers of a warpgroup: O [64][DV / 2] f32, S [64][TILE_K] f32, P twice, Q [64][64 KEPT]
 *
 * A tile lies in shared memory by eights of keys, each all panels of 64 dims, so that both products reach every panel
 * by two constant strides.  It comes and goes in three parts: the dims that V has not, which S alone needs, and V's
 * two halves, each of which one warpgroup needs longer than the other; so the next tile's first parts are on their way
 * while P V of the last one is still to be done.  A box copies a part of eight keys: a page of any multiple of eight
 * is like a dense tensor.  Other pages, and packed sequences, are copied by 16 bytes.
 *
 * What warpgroup g does in tile t of its own, where "ask" and "wait" are of the tensor cores:
 *
 *     ask for S of t;  take P of t - 1 from the other warpgroup, ask for O += P V of t - 1;  wait for S
 *     P = 2^(S - r), and give it to the other one;  wait for O, leave tile t - 1
 *     ask for O += P V of t;  wait for O, leave tile t
 *
 * So tensor cores see S of t, P V of t - 1, S of t + 1, P V of t ..., and the exponentials of one warpgroup stand
 * beside products of the other.  P passes between the warps of the same rows, lane to lane, as the operand that it is.
 *
 * r is one for both warpgroups: the maximum of a part's first tile, and lifted only when a score outgrows it by
 * ATTN_ROOM (in log2), which goes along with P.  The greatest weight of a row need not be 1, then, as where r is
 * the maximum, and is rounded like others; were it nearly all of the row, O would err by as much.  So O is divided by
 * the sum of the weights as they were, but of the greatest as it was rounded; lse is of the plain sum.
 *
 * Hidden keys must have no effect, but 0 times a NaN or infinity of their V is NaN.  V of keys that no row of the unit
 * sees is made 0 where it lies, once S of the tile is done; of keys that only some rows see, what is not finite.  A
 * row that sees such a key has a NaN for its score and so is NaN, since V is of K; unless the score is -inf: then the
 * end of the unit makes those columns NaN that V has something in which is not finite.
 *
 * What bounds it, a tile of TILE_K keys on a multiprocessor: the tensor cores take 64 (D + DV) TILE_K / 2048 clocks,
 * so 34 a key at 576 / 512; shared memory, at 128 bytes a clock, 38 a key with tiles of 48 and three stages, 37 with
 * 64 and two.  An H200 gives 790 TFLOP/s to a matrix product, 43 clocks a key: of 128 heads that is the bound.  Of 16
 * heads it is memory: 1152 bytes a key on each of 132 multiprocessors every 38 clocks would be 6.8 TB/s. */

#define ATTN_EARLY
#define ATTN_SHARE_TILES 6
#include <attn/device/cluster.cuh>
#include <attn/device/wgmma.cuh>
#include <attn/device/tma.cuh>
#include <attn/template/plan_cuda.cuh>
#include <attn/template/unit_cuda.cuh>
#include <attn/template/pair_cuda.cuh>
#include <attn/template/finish_cuda.cuh>
#include <attn/template/list_cuda.cuh>

#define ATTN_K_PANELS (ATTN_HEAD_DIM / 64)   /* of 64 dims: rows of 128 bytes, swizzled */
#define ATTN_V_PANELS (ATTN_HEAD_DIM_V / 64)
#if ATTN_HEAD_DIM_V == 128                   /* columns of O of a warpgroup: a number, as products take it */
#define ATTN_HALF 64
#elif ATTN_HEAD_DIM_V == 256
#define ATTN_HALF 128
#elif ATTN_HEAD_DIM_V == 384
#define ATTN_HALF 192
#else
#define ATTN_HALF 256
#endif
#define ATTN_NS (ATTN_TILE_K / 2)            /* registers of S */
#define ATTN_NO (ATTN_HALF / 2)              /* of O */
#define ATTN_NP (ATTN_TILE_K / 4)            /* of P */
#define ATTN_EIGHTS (ATTN_TILE_K / 8)        /* of keys */
#define ATTN_V_HALF (ATTN_V_PANELS / 2)
#define ATTN_REST (ATTN_K_PANELS - ATTN_V_PANELS)
#define ATTN_PARTS 3                         /* of a tile: half V, half V, the rest of K; a loader each */
#define ATTN_LOAD_REGISTERS 56
#define ATTN_REGISTERS      224
#define ATTN_JOBS 2

/* Shared memory: K; Q, as many panels as there is room for, one less than all at most; P, by warps and lanes; r of each
 * row; whether it was lifted, a byte for each warp; whether something is not finite, by warpgroups and warps: of a
 * tile, and of a unit, twice; sums of rows, twice; barriers; jobs. */
#define ATTN_EIGHT_BYTES (1024 * ATTN_K_PANELS)
#define ATTN_STAGE_BYTES (ATTN_EIGHTS * ATTN_EIGHT_BYTES)
#define ATTN_P_BYTES (64 * ATTN_TILE_K * 2)
#define ATTN_Q_ROOM ((232448 - 3072 - ATTN_STAGES * ATTN_STAGE_BYTES - ATTN_P_BYTES) / 8192)
#define ATTN_Q_PANELS (ATTN_Q_ROOM < ATTN_K_PANELS ? ATTN_Q_ROOM : ATTN_K_PANELS - 1)
#define ATTN_KEPT (ATTN_K_PANELS - ATTN_Q_PANELS)
/* Of a half of V the panels that are kept of neither. */
#define ATTN_BOTH_HALVES (ATTN_V_HALF - (ATTN_KEPT > ATTN_REST ? ATTN_KEPT - ATTN_REST : 0))
#define ATTN_Q_AT (ATTN_STAGES * ATTN_STAGE_BYTES)
#define ATTN_P_AT (ATTN_Q_AT + ATTN_Q_PANELS * 8192)
#define ATTN_R_AT (ATTN_P_AT + ATTN_P_BYTES)
#define ATTN_LIFTED_AT (ATTN_R_AT + 64 * 4)
#define ATTN_BAD_AT (ATTN_LIFTED_AT + 2 * 4)
#define ATTN_WRONG_AT (ATTN_BAD_AT + 2 * 4 * 4)
#define ATTN_SUMS_AT (ATTN_WRONG_AT + 2 * 2 * 4 * 4)
#define ATTN_BARRIERS_AT (ATTN_SUMS_AT + 2 * 2 * 64 * 8)
ATTN_STATIC_ASSERT(ATTN_Q_ROOM >= 1 && ATTN_KEPT <= 3,
                   "attn: fewer ATTN_STAGES, or a smaller ATTN_TILE_K: shared memory is for 232448 bytes");

/* mbarriers, by number; those of K PARTS for a stage. */
#define ATTN_K_FULL 0
#define ATTN_K_EMPTY (ATTN_K_FULL + ATTN_PARTS * ATTN_STAGES)
#define ATTN_JOB_FULL (ATTN_K_EMPTY + ATTN_PARTS * ATTN_STAGES)
#define ATTN_JOB_EMPTY (ATTN_JOB_FULL + ATTN_JOBS)
#define ATTN_BARRIERS (ATTN_JOB_EMPTY + ATTN_JOBS)
#define ATTN_JOBS_AT (ATTN_BARRIERS_AT + (8 * ATTN_BARRIERS + 15) / 16 * 16)

/* Named barriers: P of a warpgroup for the other one, from 0 and from 1; a warpgroup's own; of both; of the two warps
 * of the same rows; of all threads, when mbarriers have been made. */
#define ATTN_P_GIVEN(group) (1 + (group))
#define ATTN_OF_GROUP(group) (3 + (group))
#define ATTN_OF_BOTH 5
#define ATTN_OF_ROWS(warp) (6 + (warp))
#define ATTN_MADE 10

/* What warp 0 tells the others: tiles from .. to of a unit, of which a part may have none; to -1: there is no more. */
typedef struct ATTN_FN(_job) {
    int from, to;
    int part;  /* where the result goes, if it is not `whole` */
    int whole;
    ATTN_FN(_unit) unit;
} ATTN_FN(_job);
enum { ATTN_FN(_shared_bytes) = ATTN_JOBS_AT + ATTN_JOBS * (int)sizeof(ATTN_FN(_job)) };
ATTN_STATIC_ASSERT(ATTN_FN(_shared_bytes) <= 232448, "attn: what lies beside K, Q and P takes 3072 bytes at most");
#define ATTN_SHARED_BYTES ATTN_FN(_shared_bytes)
#define ATTN_ROW_ALIGN 16
#define ATTN_DEVICE_FN ATTN_FN(_device)

#define ATTN_NO_SCORE -1e30f /* r of a row that has seen none: finite, so that -inf - r is -inf */
#define ATTN_ROOM (ATTN_DTYPE == ATTN_BF16 ? 40.0f : 8.0f) /* how far, in log2, a score may exceed r */

#if ATTN_HAS_WGMMA

ATTN_DEVICE uint32_t ATTN_FN(_barrier)(uint32_t base, int number)
{
    return base + (uint32_t)(ATTN_BARRIERS_AT + 8 * number);
}

/* Waits with all lanes: none may fall behind, or it would miss a phase. */
ATTN_DEVICE void ATTN_FN(_wait)(uint32_t base, int number, unsigned parity)
{
    attn__mbarrier_wait(ATTN_FN(_barrier)(base, number), (int)(parity & 1));
    __syncwarp();
}

ATTN_DEVICE ATTN_FN(_job) *ATTN_FN(_job_at)(unsigned char *smem, unsigned count)
{
    return (ATTN_FN(_job) *)(void *)(smem + ATTN_JOBS_AT) + count % ATTN_JOBS;
}

/* ---- warp 0: jobs ---------------------------------------------------------------------------------- */

ATTN_DEVICE void ATTN_FN(_plan_jobs)(const ATTN_FN(_args) *a, unsigned char *smem, uint32_t base)
{
    ATTN_FN(_feed) feed;
    ATTN_FN(_work) work;
    ATTN_FN(_unit) unit;
    int more;
    ATTN_FN(_feed_start)(a, 0, &feed);
    ATTN_NO_UNROLL
    for (unsigned count = 0;; ++count) {
        ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, count);
        more = ATTN_FN(_next_work)(a, 0, &feed, &work, &unit);
        if (!count)
            attn__barrier(ATTN_MADE, 32 * ATTN_WARPS);
        ATTN_FN(_wait)(base, ATTN_JOB_EMPTY + (int)(count % ATTN_JOBS), count / ATTN_JOBS ^ 1);
        if (attn__lane() == 0) {
            job->to = -1;
            if (more) {
                job->from = work.from;
                job->to = work.to;
                job->part = a->shares ? count > 0 : work.part;
                job->whole = work.from == 0 && work.to == work.tiles.count && (a->shares || a->parts == 1);
                job->unit = unit;
            }
            attn__mbarrier_arrive(ATTN_FN(_barrier)(base, ATTN_JOB_FULL + (int)(count % ATTN_JOBS)));
        }
        __syncwarp();
        if (!more)
            return;
    }
}

/* ---- warps 1 to 3: copies -------------------------------------------------------------------------- */

/* Where a loader is. */
typedef struct ATTN_FN(_load) {
    uint32_t base;
    int part;         /* number of the loader; as boxes it copies this part of each tile */
    unsigned count;   /* tiles so far */
    int pending;      /* the stage whose copies of 16 bytes are under way; -1: none */
    int b, g, len_k;  /* of the unit */
    int64_t base_k;
} ATTN_FN(_load);

/* The page where key j lies, or what stands for it: its last coordinate; *row: its place there. */
ATTN_DEVICE int ATTN_FN(_page_of)(const ATTN_FN(_args) *a, const ATTN_FN(_load) *w, int j, int *row)
{
    const attn_params *p = &a->p;
    *row = j;
    if (!ATTN_PAGED || !p->page_size)
        return w->b;
    const int entry = (int)attn__divide((unsigned)j, a->by_page);
    *row = j - entry * p->page_size;
    if (j >= w->len_k)
        return 0;
    const int page = p->block_table ? p->block_table[w->b * p->block_table_stride + entry]
                                    : p->page_indices[p->page_indptr[w->b] + entry];
    return page < 0 || (p->num_pages && page >= p->num_pages) ? 0 : page;
}

/* Element of k where key j begins. */
ATTN_DEVICE int64_t ATTN_FN(_key_at)(const ATTN_FN(_args) *a, const ATTN_FN(_load) *w, int j)
{
    int row;
    const int page = ATTN_FN(_page_of)(a, w, j, &row);
    return j < w->len_k ? page * a->p.k.stride[0] + (w->base_k + row) * a->p.k.stride[1] : 0;
}

/* The barrier of a part of a stage: `first` is that of stage 0, part 0. */
ATTN_DEVICE uint32_t ATTN_FN(_part_barrier)(uint32_t base, int first, int stage, int part)
{
    return ATTN_FN(_barrier)(base, first + ATTN_PARTS * stage + part);
}

/* The part of the tile at k0 as boxes of eight keys, a lane for each. */
ATTN_DEVICE void ATTN_FN(_load_boxes)(const ATTN_FN(_args) *a, ATTN_FN(_load) *w, int k0)
{
    const int stage = (int)(w->count % ATTN_STAGES), parity = (int)(w->count / ATTN_STAGES & 1) ^ 1;
    const int eight = attn__lane(), key = eight < ATTN_EIGHTS ? k0 + 8 * eight : w->len_k;
    const uint32_t full = ATTN_FN(_part_barrier)(w->base, ATTN_K_FULL, stage, w->part);
    const uint32_t empty = ATTN_FN(_part_barrier)(w->base, ATTN_K_EMPTY, stage, w->part);
    const attn__tma_map *const map = w->part < 2 ? &a->map_v : &a->map_rest;
    const int bytes = 1024 * (w->part < 2 ? ATTN_V_HALF : ATTN_REST), left = w->len_k - k0;
    const int there = left <= 0 ? 0 : left >= ATTN_TILE_K ? ATTN_EIGHTS : (left + 7) / 8;
    const uint32_t to =
        w->base + (uint32_t)(stage * ATTN_STAGE_BYTES + eight * ATTN_EIGHT_BYTES + w->part * ATTN_V_HALF * 1024);
    int row;
    const int page = ATTN_FN(_page_of)(a, w, key, &row); /* before the wait */
    attn__mbarrier_wait(empty, parity);
    __syncwarp();
    if (attn__lane() == 0)
        attn__mbarrier_arrive_expect(full, (uint32_t)(there * bytes));
    __syncwarp();
    if (key < w->len_k && bytes)
        attn__tma_load_5d(to, map, full, 0, row, w->part * ATTN_V_HALF, w->g, page, ATTN_L2_FIRST);
    __syncwarp();
}

/* Waits for this lane's copies of 16 bytes that are under way, but for the last tile's if `later`, and says that those
 * of the pending stage have landed: some of each part. */
ATTN_DEVICE void ATTN_FN(_landed)(ATTN_FN(_load) *w, int later)
{
    if (w->pending < 0)
        return;
    if (later)
        ATTN_COPY_ASYNC_WAIT(1);
    else
        ATTN_COPY_ASYNC_WAIT(0);
    attn__fence_async();
    __syncwarp();
    if (attn__lane() < ATTN_PARTS)
        attn__mbarrier_arrive(ATTN_FN(_part_barrier)(w->base, ATTN_K_FULL, w->pending, attn__lane()));
    w->pending = -1;
}

/* The tile at k0 by 16 bytes; each loader has every third eight of its keys.  Eight lanes have 128 bytes of a key,
 * panel by panel.  Keys beyond the last are 0. */
ATTN_DEVICE void ATTN_FN(_load_pieces)(const ATTN_FN(_args) *a, ATTN_FN(_load) *w, unsigned char *smem, int k0)
{
    const int stage = (int)(w->count % ATTN_STAGES), lane = attn__lane();
    const int parity = (int)(w->count / ATTN_STAGES & 1) ^ 1;
    const uint32_t empty = ATTN_FN(_part_barrier)(w->base, ATTN_K_EMPTY, stage, 0);
    /* Of the key whose place this lane looks up; three eights at most. */
    const int64_t at = ATTN_FN(_key_at)(a, w, k0 + 8 * (w->part + lane / 8 * ATTN_PARTS) + lane % 8);
    int waits = 0;
    ATTN_UNROLL
    for (int part = 0; part < ATTN_PARTS; ++part)
        waits |= !attn__mbarrier_try(empty + 8 * (uint32_t)part, parity);
    if (attn__any(waits)) {
        ATTN_FN(_landed)(w, 0); /* who is to leave this stage may wait for that one */
        ATTN_UNROLL
        for (int part = 0; part < ATTN_PARTS; ++part)
            attn__mbarrier_wait(empty + 8 * (uint32_t)part, parity);
    }
    __syncwarp();
    const uint16_t *const from = (const uint16_t *)a->p.k.data + w->g * a->p.k.stride[2] + lane % 8 * 8;
    ATTN_NO_UNROLL
    for (int n = 0; w->part + n * ATTN_PARTS < ATTN_EIGHTS; ++n) {
        const int eight = w->part + n * ATTN_PARTS;
        ATTN_NO_UNROLL
        for (int r = lane / 8; r < 8; r += 4) {
            const uint32_t low = (uint32_t)attn__shuffle_int((int)(uint32_t)at, 8 * n + r);
            const uint32_t high = (uint32_t)attn__shuffle_int((int)(uint32_t)((uint64_t)at >> 32), 8 * n + r);
            const uint16_t *const piece = from + (int64_t)((uint64_t)high << 32 | low);
            unsigned char *const to = smem + stage * ATTN_STAGE_BYTES + eight * ATTN_EIGHT_BYTES + r * 128 +
                                      ((lane % 8) ^ r) * 16;
            const int bytes = k0 + 8 * eight + r < w->len_k ? 16 : 0;
            ATTN_UNROLL
            for (int panel = 0; panel < ATTN_K_PANELS; ++panel)
                attn__copy_async(to + panel * 1024, piece + panel * 64, bytes);
        }
    }
    attn__copy_async_commit();
    ATTN_FN(_landed)(w, 1);
    w->pending = stage;
}

ATTN_DEVICE void ATTN_FN(_load_jobs)(const ATTN_FN(_args) *a, unsigned char *smem, uint32_t base, int part)
{
    ATTN_FN(_load) w;
    w.base = base;
    w.part = part;
    w.count = 0;
    w.pending = -1;
    ATTN_NO_UNROLL
    for (unsigned count = 0;; ++count) {
        const ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, count);
        ATTN_FN(_wait)(base, ATTN_JOB_FULL + (int)(count % ATTN_JOBS), count / ATTN_JOBS);
        const int from = job->from, to = job->to;
        if (to < 0)
            return;
        w.b = job->unit.b;
        w.g = job->unit.g;
        w.len_k = job->unit.len_k;
        w.base_k = job->unit.base_k;
        ATTN_NO_UNROLL
        for (int n = from; n < to; ++n, ++w.count) {
            if (a->boxes)
                ATTN_FN(_load_boxes)(a, &w, n * ATTN_TILE_K);
            else
                ATTN_FN(_load_pieces)(a, &w, smem, n * ATTN_TILE_K);
        }
        ATTN_FN(_landed)(&w, 0);
        attn__mbarrier_arrive_if(ATTN_FN(_barrier)(base, ATTN_JOB_EMPTY + (int)(count % ATTN_JOBS)),
                                 attn__lane() == 0);
    }
}

/* ---- the warpgroups that compute -------------------------------------------------------------------- */

typedef struct ATTN_FN(_flow) {
    uint32_t base;
    uint32_t q_low, k_low;        /* low words of the descriptors of the operands, of stage 0 */
    int group, warp;              /* number of the warpgroup, of the warp in it */
    int full;                     /* all rows of the unit see all keys before */
    float unit;                   /* what makes a score in S one in log2 */
    float minus_r[2];
    float l[2];                   /* sums of P, of this warpgroup's tiles */
    float top[2];                 /* greatest S of them, of this thread's columns */
} ATTN_FN(_flow);

/* This thread's first row in the unit; the other one is 8 further. */
ATTN_DEVICE int ATTN_FN(_first_row)(const ATTN_FN(_flow) *f)
{
    return 16 * f->warp + attn__lane() / 4;
}

/* The high word is a constant, and the steps fit into the low one, so that an address is one addition.  K and V differ
 * in nothing else. */
ATTN_DEVICE uint64_t ATTN_FN(_operand)(uint32_t low, int bytes)
{
    return attn__wgmma_desc(0, 0, ATTN_EIGHT_BYTES, 128) | (low + (uint32_t)(bytes / 16));
}
ATTN_DEVICE uint64_t ATTN_FN(_operand_q)(uint32_t low, int bytes)
{
    return attn__wgmma_desc(0, 0, 1024, 128) | (low + (uint32_t)(bytes / 16));
}

/* Asks for S += Q K^T of four dims by 16 of a panel: of Q from registers, or from shared memory. */
ATTN_DEVICE void ATTN_FN(_ask_kept)(uint32_t k, uint32_t *q, int keep, float *s)
{
    ATTN_UNROLL
    for (int n = 0; n < 4; ++n)
        ATTN_WGMMA_RS(ATTN_TILE_K, ATTN_DTYPE, ATTN_K_MAJOR, s, q + 4 * n, ATTN_FN(_operand)(k, n * 32),
                      (int)(keep || n));
}
ATTN_DEVICE void ATTN_FN(_ask_panel)(uint32_t k, uint32_t q, int keep, float *s)
{
    ATTN_UNROLL
    for (int n = 0; n < 4; ++n)
        ATTN_WGMMA_SS(ATTN_TILE_K, ATTN_DTYPE, ATTN_K_MAJOR, ATTN_K_MAJOR, s, ATTN_FN(_operand_q)(q, n * 32),
                      ATTN_FN(_operand)(k, n * 32), (int)(keep || n));
}

/* Asks for S = Q K^T of tile `count`, part by part as they come: what V has not, which is there first; the other
 * warpgroup's half, which that has left before; its own half. */
ATTN_DEVICE void ATTN_FN(_ask_scores)(const ATTN_FN(_flow) *f, unsigned count, uint32_t *q, float *s)
{
    const int stage = (int)(count % ATTN_STAGES), parity = (int)(count / ATTN_STAGES & 1);
    const uint32_t low = (uint32_t)attn__anew((int)f->q_low); /* or all of Q's would be kept in registers */
    const uint32_t k = f->k_low + (uint32_t)(stage * (ATTN_STAGE_BYTES / 16));
    attn__mbarrier_wait(ATTN_FN(_part_barrier)(f->base, ATTN_K_FULL, stage, 2), parity);
    attn__wgmma_fence();
    ATTN_UNROLL
    for (int n = ATTN_V_PANELS; n < ATTN_K_PANELS; ++n) {
        if (n >= ATTN_Q_PANELS)
            ATTN_FN(_ask_kept)(k + n * 64, q + 16 * (n - ATTN_Q_PANELS), n > ATTN_V_PANELS, s);
        else
            ATTN_FN(_ask_panel)(k + n * 64, low + n * 512, n > ATTN_V_PANELS, s);
    }
    ATTN_UNROLL
    for (int half = 0; half < 2; ++half) {
        const int part = half ? f->group : 1 - f->group;
        const uint32_t own_k = k + (uint32_t)(part * ATTN_V_HALF * 64);
        const uint32_t own_q = low + (uint32_t)(part * ATTN_V_HALF * 512);
        attn__mbarrier_wait(ATTN_FN(_part_barrier)(f->base, ATTN_K_FULL, stage, part), parity);
        attn__wgmma_fence();
        ATTN_UNROLL
        for (int n = 0; n < ATTN_BOTH_HALVES; ++n)
            ATTN_FN(_ask_panel)(own_k + n * 64, own_q + n * 512, ATTN_REST || half || n, s);
        if (part) {
            attn__wgmma_fence();
            ATTN_UNROLL
            for (int n = ATTN_BOTH_HALVES; n < ATTN_V_HALF; ++n)
                ATTN_FN(_ask_kept)(own_k + n * 64, q + 16 * (ATTN_V_HALF + n - ATTN_Q_PANELS), ATTN_REST || half || n,
                                   s);
        } else {
            attn__wgmma_fence();
            ATTN_UNROLL
            for (int n = ATTN_BOTH_HALVES; n < ATTN_V_HALF; ++n)
                ATTN_FN(_ask_panel)(own_k + n * 64, own_q + n * 512, ATTN_REST || half || n, s);
        }
        attn__wgmma_fence(); /* where both ways meet */
    }
    attn__wgmma_commit();
}

/* Asks for O += P V of the tile in `stage`. */
ATTN_DEVICE void ATTN_FN(_ask_values)(const ATTN_FN(_flow) *f, int stage, uint32_t *p, float *o)
{
    const uint32_t v = f->k_low + (uint32_t)(stage * (ATTN_STAGE_BYTES / 16) + f->group * ATTN_V_HALF * 64);
    attn__wgmma_fence();
    ATTN_UNROLL
    for (int n = 0; n < ATTN_TILE_K / 16; ++n)
        ATTN_WGMMA_RS(ATTN_HALF, ATTN_DTYPE, ATTN_MN_MAJOR, o, p + 4 * n,
                      ATTN_FN(_operand)(v, 2 * n * ATTN_EIGHT_BYTES), 1);
}

ATTN_DEVICE void ATTN_FN(_scale)(const float *factor, float *o)
{
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NO; ++n)
        o[n] *= factor[n / 2 % 2];
}

/* Asks for Q of a unit, by all warps that compute: its first dims to shared memory, and the last ones to the L2.  Rows
 * beyond the last one are as the last. */
ATTN_DEVICE void ATTN_FN(_ask_q)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_unit) *u,
                                 unsigned char *smem)
{
    const uint16_t *const data = (const uint16_t *)a->p.q.data;
    /* Anew, or addresses would be kept through the loop. */
    const int own = 32 * attn__anew(4 * f->group + f->warp) + attn__lane();
    const int piece = own % 8;
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        const int row = own / 8 + 32 * r;
        const uint16_t *const from = data + ATTN_FN(_q_at)(a, u, ATTN_FN(_place_of)(a, u, row)) + piece * 8;
        ATTN_UNROLL
        for (int panel = 0; panel < ATTN_Q_PANELS; ++panel)
            attn__copy_async(smem + ATTN_Q_AT + panel * 8192 + row * 128 + (piece ^ (row & 7)) * 16, from + panel * 64,
                             16);
    }
    attn__copy_async_commit();
    if (own < 64)
        attn__bulk_prefetch(data + ATTN_FN(_q_at)(a, u, ATTN_FN(_place_of)(a, u, own)) + 64 * ATTN_Q_PANELS,
                            128 * ATTN_KEPT);
}

/* What this thread keeps of it. */
ATTN_DEVICE void ATTN_FN(_keep_q)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_unit) *u,
                                  uint32_t *q)
{
    const int first = attn__anew(ATTN_FN(_first_row)(f));
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        const uint16_t *const from = (const uint16_t *)a->p.q.data +
                                     ATTN_FN(_q_at)(a, u, ATTN_FN(_place_of)(a, u, first + 8 * r)) +
                                     64 * ATTN_Q_PANELS + attn__lane() % 4 * 2;
        ATTN_UNROLL
        for (int n = 0; n < 8 * ATTN_KEPT; ++n)
            q[n / 2 * 4 + n % 2 * 2 + r] = *(const uint32_t *)(const void *)(from + 8 * n);
    }
}

/* ---- hidden keys ------------------------------------------------------------------------------------ */

/* From which key on row r (0 or 1) of this thread sees none. */
ATTN_DEVICE int ATTN_FN(_row_end)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_unit) *u, int r)
{
    return ATTN_FN(_row_keys)(u, ATTN_FN(_position)(a, u, ATTN_FN(_first_row)(f) + 8 * r)).hi;
}

/* Whether keys that some rows do not see are not finite, as this warp and the one of the same rows know it: a word of
 * each, for unit number `turn`. */
ATTN_DEVICE int *ATTN_FN(_wrong)(const ATTN_FN(_flow) *f, unsigned char *smem, unsigned turn, int group)
{
    return (int *)(void *)(smem + ATTN_WRONG_AT) + turn % 2 * 8 + 4 * group + f->warp;
}

/* In the tile at k0, whose S is done: makes V of keys that no row sees 0, and of those that some rows do not see what
 * is not finite, and says so if there was such.  A warpgroup. */
ATTN_DEVICE void ATTN_FN(_clear_hidden)(const ATTN_FN(_flow) *f, const ATTN_FN(_unit) *u, unsigned char *smem,
                                        unsigned turn, int stage, int k0)
{
    const int pieces = 8 * ATTN_V_PANELS, hi = u->span.hi; /* pieces of 16 bytes in V of a key */
    const int end = hi > k0 + ATTN_TILE_K ? ATTN_TILE_K : hi > k0 ? hi - k0 : 0;
    const int full = f->full > k0 + end ? end : f->full > k0 ? f->full - k0 : 0;
    unsigned char *const tile = smem + stage * ATTN_STAGE_BYTES;
    int *const all = (int *)(void *)(smem + ATTN_BAD_AT) + 4 * f->group;
    int bad = 0;
    attn__barrier(ATTN_OF_GROUP(f->group), 128); /* all warps have S */
    ATTN_NO_UNROLL
    for (int n = full * pieces + (int)threadIdx.x % 128; n < ATTN_TILE_K * pieces; n += 128) {
        const int key = n / pieces, piece = n % pieces;
        uint4 *const at = (uint4 *)(void *)(tile + key / 8 * ATTN_EIGHT_BYTES + piece / 8 * 1024 + key % 8 * 128 +
                                            piece % 8 * 16);
        const uint4 x = *at;
        const uint4 y = key < end ? make_uint4(ATTN_FN(_split_pair)(1, x.x), ATTN_FN(_split_pair)(1, x.y),
                                               ATTN_FN(_split_pair)(1, x.z), ATTN_FN(_split_pair)(1, x.w))
                                  : make_uint4(0, 0, 0, 0);
        bad |= key < end && (x.x != y.x || x.y != y.y || x.z != y.z || x.w != y.w);
        *at = y;
    }
    attn__fence_async();
    bad = attn__any(bad);
    if (attn__lane() == 0)
        all[f->warp] = bad;
    attn__barrier(ATTN_OF_GROUP(f->group), 128);
    if (attn__lane() == 0 && (all[0] | all[1] | all[2] | all[3]))
        *ATTN_FN(_wrong)(f, smem, turn, f->group) = 1;
}

/* ---- a tile ------------------------------------------------------------------------------------------ */

/* P = 2^(S - r), which is added to l; 1: r had to be lifted, of some row of the warp, and O is to be multiplied with
 * `factor`. */
ATTN_DEVICE int ATTN_FN(_weights)(ATTN_FN(_flow) *f, const float *s, uint32_t *p, float *factor)
{
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NS; ++n)
        f->top[n / 2 % 2] = attn__max(f->top[n / 2 % 2], s[n]);
    const int lift = attn__any(fmaf(f->top[0], f->unit, f->minus_r[0]) > ATTN_ROOM ||
                               fmaf(f->top[1], f->unit, f->minus_r[1]) > ATTN_ROOM);
    factor[0] = factor[1] = 1.0f;
    if (lift) {
        ATTN_UNROLL
        for (int r = 0; r < 2; ++r) {
            f->top[r] = attn__max(f->top[r], attn__shuffle_xor(f->top[r], 1));
            f->top[r] = attn__max(f->top[r], attn__shuffle_xor(f->top[r], 2));
            /* Of other rows it stays, or the weight of their greatest would not be what it was rounded as. */
            const int now = fmaf(f->top[r], f->unit, f->minus_r[r]) > ATTN_ROOM;
            const float to = now ? f->top[r] * f->unit : -f->minus_r[r];
            factor[r] = attn__exp2(-f->minus_r[r] - to);
            f->minus_r[r] = -to;
            f->l[r] *= factor[r];
        }
    }
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NP; ++n) {
        const float x0 = attn__exp2(fmaf(s[2 * n], f->unit, f->minus_r[n % 2]));
        const float x1 = attn__exp2(fmaf(s[2 * n + 1], f->unit, f->minus_r[n % 2]));
        f->l[n % 2] += x0 + x1;
        p[n] = ATTN_PACK(x0, x1);
    }
    return lift;
}

/* Gives P of a tile to the warp of the same rows in the other warpgroup, and r if it was lifted. */
ATTN_DEVICE void ATTN_FN(_give)(const ATTN_FN(_flow) *f, unsigned char *smem, const uint32_t *p, int lifted)
{
    const int lane = attn__lane();
    uint4 *const to = (uint4 *)(void *)(smem + ATTN_P_AT + f->warp * (ATTN_NP / 4) * 512 + lane * 16);
    float *const r = (float *)(void *)(smem + ATTN_R_AT);
    __syncwarp(); /* all lanes have what they took */
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NP / 4; ++n)
        to[32 * n] = make_uint4(p[4 * n], p[4 * n + 1], p[4 * n + 2], p[4 * n + 3]);
    if (lifted && lane % 4 == 0) {
        r[ATTN_FN(_first_row)(f)] = -f->minus_r[0];
        r[ATTN_FN(_first_row)(f) + 8] = -f->minus_r[1];
    }
    if (lane == 0)
        smem[ATTN_LIFTED_AT + 4 * f->group + f->warp] = (unsigned char)lifted;
    attn__barrier_arrive(ATTN_P_GIVEN(f->group), 256);
}

/* Takes the other one's, and asks for O += P V of that tile: number `count` of all.  s: `scores` registers that a
 * product may be under way to. */
ATTN_DEVICE void ATTN_FN(_take)(ATTN_FN(_flow) *f, unsigned char *smem, unsigned count, int scores, float *s, float *o,
                                uint32_t *p)
{
    const int stage = (int)(count % ATTN_STAGES);
    const uint4 *const from =
        (const uint4 *)(const void *)(smem + ATTN_P_AT + f->warp * (ATTN_NP / 4) * 512 + attn__lane() * 16);
    attn__mbarrier_wait(ATTN_FN(_part_barrier)(f->base, ATTN_K_FULL, stage, f->group), (int)(count / ATTN_STAGES & 1));
    attn__barrier(ATTN_P_GIVEN(1 - f->group), 256);
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NP / 4; ++n) {
        const uint4 x = from[32 * n];
        p[4 * n] = x.x, p[4 * n + 1] = x.y, p[4 * n + 2] = x.z, p[4 * n + 3] = x.w;
    }
    const uint32_t lifts = ((const uint32_t *)(const void *)(smem + ATTN_LIFTED_AT))[1 - f->group];
    if (lifts) { /* of any warp, for all of a warpgroup wait for products together */
        const float *const now = (const float *)(const void *)(smem + ATTN_R_AT) + ATTN_FN(_first_row)(f);
        const int own = smem[ATTN_LIFTED_AT + 4 * (1 - f->group) + f->warp];
        float factor[2];
        ATTN_WGMMA_WAIT(0); /* O may be touched where no product is under way */
        attn__wgmma_pin(s, scores);
        attn__wgmma_pin(o, ATTN_NO);
        ATTN_UNROLL
        for (int r = 0; r < 2; ++r) {
            const float given = own ? now[8 * r] : -f->minus_r[r];
            factor[r] = attn__exp2(-f->minus_r[r] - given);
            f->minus_r[r] = -given;
            f->l[r] *= factor[r];
        }
        ATTN_FN(_scale)(factor, o);
    }
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(p, ATTN_NP);
    ATTN_FN(_ask_values)(f, stage, p, o);
}

/* This warp is done with a part of tile `count`. */
ATTN_DEVICE void ATTN_FN(_leave)(const ATTN_FN(_flow) *f, unsigned count, int part, int condition)
{
    __syncwarp();
    attn__mbarrier_arrive_if(ATTN_FN(_part_barrier)(f->base, ATTN_K_EMPTY, (int)(count % ATTN_STAGES), part),
                             condition && attn__lane() == 0);
}

/* Tile n of this warpgroup, number `count` of all; and unless it is the first of the part, P V of the one before. */
ATTN_DEVICE void ATTN_FN(_step)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem,
                                const ATTN_FN(_unit) *u, unsigned turn, int n, int first, unsigned count, uint32_t *q,
                                float *o)
{
    const int stage = (int)(count % ATTN_STAGES), k0 = n * ATTN_TILE_K;
    float s[ATTN_NS], factor[2];
    uint32_t p[ATTN_NP], other[ATTN_NP];
    attn__wgmma_pin(s, ATTN_NS);
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(q, 16 * ATTN_KEPT);
    ATTN_FN(_ask_scores)(f, count, q, s);
    if (!first)
        ATTN_FN(_take)(f, smem, count - 1, ATTN_NS, s, o, other);
    attn__wgmma_fence(); /* where both ways meet */
    attn__wgmma_commit();
    ATTN_WGMMA_WAIT(1);
    attn__wgmma_pin(s, ATTN_NS);
    attn__wgmma_pin_a(q, 16 * ATTN_KEPT);
    ATTN_FN(_leave)(f, count, 2, 1);
    if (a->p.scale < 0.0f) {
        ATTN_UNROLL
        for (int e = 0; e < ATTN_NS; ++e)
            s[e] = -s[e];
    }
    if (k0 + ATTN_TILE_K > f->full) {
        const int column = k0 + attn__lane() % 4 * 2;
        const int end[2] = { ATTN_FN(_row_end)(a, f, u, 0) - column, ATTN_FN(_row_end)(a, f, u, 1) - column };
        ATTN_UNROLL
        for (int e = 0; e < ATTN_NS; ++e)
            if (e / 4 * 8 + e % 2 >= end[e / 2 % 2])
                s[e] = ATTN_NEG_INF;
        ATTN_FN(_clear_hidden)(f, u, smem, turn, stage, k0);
    }
    const int lifted = ATTN_FN(_weights)(f, s, p, factor);
    ATTN_FN(_give)(f, smem, p, lifted);
    ATTN_WGMMA_WAIT(0);
    attn__wgmma_pin(o, ATTN_NO);
    if (!first)
        attn__wgmma_pin_a(other, ATTN_NP);
    ATTN_FN(_leave)(f, count - 1, f->group, !first);
    if (lifted)
        ATTN_FN(_scale)(factor, o);
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(p, ATTN_NP);
    ATTN_FN(_ask_values)(f, stage, p, o);
    attn__wgmma_commit();
    ATTN_WGMMA_WAIT(0);
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(p, ATTN_NP);
    ATTN_FN(_leave)(f, count, f->group, 1);
}

/* The other warpgroup's tile, which is the last. */
ATTN_DEVICE void ATTN_FN(_last)(ATTN_FN(_flow) *f, unsigned char *smem, unsigned count, float *o)
{
    uint32_t other[ATTN_NP];
    ATTN_FN(_take)(f, smem, count, 0, o, o, other);
    attn__wgmma_commit();
    ATTN_WGMMA_WAIT(0);
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(other, ATTN_NP);
    ATTN_FN(_leave)(f, count, f->group, 1);
}

/* ---- the end of a unit ------------------------------------------------------------------------------- */

/* Half a row of O by 16 bytes: four lanes that have pairs of the same row exchange them. */
ATTN_DEVICE void ATTN_FN(_store_wide)(uint16_t *to, int there, float scale, const float *o)
{
    const int q = attn__lane() % 4;
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NO / 4; n += 4) {
        uint32_t x[4];
        ATTN_UNROLL
        for (int e = 0; e < 4; ++e)
            x[e] = ATTN_PACK(o[4 * (n + e)] * scale, o[4 * (n + e) + 1] * scale);
        ATTN_FN(_exchange)(x);
        if (there)
            *(uint4 *)(void *)(to + 8 * (n + q)) = make_uint4(x[0], x[1], x[2], x[3]);
    }
}

/* Makes columns NaN that a row sees a key in whose V is not finite: of keys that not all rows see.  Few instructions
 * rather than few clocks: the numbers pass through the first registers. */
ATTN_DEVICE void ATTN_FN(_spoil)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_job) *job, float *o)
{
    const int from = job->from * ATTN_TILE_K, to = job->to * ATTN_TILE_K;
    const int end[2] = { ATTN_FN(_row_end)(a, f, &job->unit, 0), ATTN_FN(_row_end)(a, f, &job->unit, 1) };
    ATTN_NO_UNROLL
    for (int key = f->full > from ? f->full : from; key < job->unit.span.hi && key < to; ++key) {
        const uint16_t *const v = (const uint16_t *)a->p.k.data + ATTN_FN(_kv_at)(a, &job->unit, &a->p.k, key) +
                                  f->group * ATTN_HALF + attn__lane() % 4 * 2;
        ATTN_NO_UNROLL
        for (int c = 0; c < ATTN_HALF / 8; ++c) {
            const uint32_t y = *(const uint32_t *)(const void *)(v + 8 * c), bad = ATTN_FN(_split_pair)(1, y) ^ y;
            float x[4];
            ATTN_UNROLL
            for (int e = 0; e < 4; ++e)
                x[e] = key < end[e / 2] && (e % 2 ? bad >> 16 : bad & 0xffff) ? attn__f32_from_bits(0x7fc00000u)
                                                                                     : o[e];
            ATTN_UNROLL
            for (int e = 0; e + 4 < ATTN_NO; ++e)
                o[e] = o[e + 4];
            ATTN_UNROLL
            for (int e = 0; e < 4; ++e)
                o[ATTN_NO - 4 + e] = x[e];
        }
    }
}

/* Adds up the sums of both warpgroups and stores this one's columns: of the result, or of a partial one. */
ATTN_DEVICE void ATTN_FN(_store)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem,
                                 const ATTN_FN(_job) *job, unsigned turn, float *o)
{
    const ATTN_FN(_unit) *const u = &job->unit;
    const int lane = attn__lane(), column = f->group * ATTN_HALF + lane % 4 * 2;
    float2 *const sums = (float2 *)(void *)(smem + ATTN_SUMS_AT) + turn % 2 * 128;
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        f->l[r] += attn__shuffle_xor(f->l[r], 1);
        f->top[r] = attn__max(f->top[r], attn__shuffle_xor(f->top[r], 1));
        f->l[r] += attn__shuffle_xor(f->l[r], 2);
        f->top[r] = attn__max(f->top[r], attn__shuffle_xor(f->top[r], 2));
        if (lane % 4 == 0)
            sums[64 * f->group + ATTN_FN(_first_row)(f) + 8 * r] = make_float2(f->l[r], f->top[r]);
    }
    attn__barrier(ATTN_OF_ROWS(f->warp), 64);
    if (*ATTN_FN(_wrong)(f, smem, turn, 0) | *ATTN_FN(_wrong)(f, smem, turn, 1))
        ATTN_FN(_spoil)(a, f, job, o);
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        const int row = ATTN_FN(_first_row)(f) + 8 * r, there = row < u->rows;
        const float2 x = sums[row], y = sums[64 + row];
        const float l = x.x + y.x, m = -f->minus_r[r], top = attn__max(x.y, y.y);
        /* The greatest weight of the row, and what it was multiplied as. */
        const float weight = attn__exp2(fmaf(top, f->unit, -m)), rounded = ATTN_LOW(ATTN_PACK(weight, weight));
        const float factor = l == 0.0f ? 0.0f : l * attn__reciprocal(l + (rounded - weight));
        float lse;
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NO / 2; ++n)
            o[n / 2 * 4 + 2 * r + n % 2] *= factor;
        if (!job->whole) {
            const int64_t to = job->part * a->part_rows + (a->shares ? (int64_t)blockIdx.x * ATTN_TILE_Q + row
                                                                     : ATTN_FN(_part_row)(a, u, row));
            float *const part = a->part_o + to * ATTN_HEAD_DIM_V + column;
            ATTN_UNROLL
            for (int n = 0; n < ATTN_NO / 4; ++n)
                if (there)
                    *(float2 *)(void *)(part + 8 * n) = make_float2(o[4 * n + 2 * r], o[4 * n + 2 * r + 1]);
            if (there && f->group == 0 && lane % 4 == 0) {
                a->part_m[to] = l == 0.0f ? ATTN_NEG_INF : m;
                a->part_l[to] = l;
            }
            continue;
        }
        const ATTN_FN(_place) at = ATTN_FN(_place_of)(a, u, row);
        const int h = ATTN_FN(_head)(a, u, at);
        const int64_t to = ATTN_FN(_o_at)(a, u, at.i, h);
        const float scale = ATTN_FN(_finish)(a, h, l == 0.0f ? ATTN_NEG_INF : m, l, &lse);
        if (a->wide_o) {
            ATTN_FN(_store_wide)((uint16_t *)a->p.o.data + to + f->group * ATTN_HALF, there, scale, o + 2 * r);
        } else {
            ATTN_UNROLL
            for (int n = 0; n < ATTN_NO / 2; ++n)
                if (there)
                    ATTN_FN(_put_o)(a, to + (column + n / 2 * 8 + n % 2) * a->p.o.stride[3],
                                    o[n / 2 * 4 + 2 * r + n % 2] * scale);
        }
        if (there && f->group == 0 && lane % 4 == 0)
            ATTN_FN(_put_lse)(a, u, at.i, h, lse);
    }
}

/* A warpgroup. */
ATTN_DEVICE void ATTN_FN(_compute)(const ATTN_FN(_args) *a, unsigned char *smem, uint32_t base, int warp)
{
    ATTN_FN(_flow) f;
    float o[ATTN_NO];
    uint32_t q[16 * ATTN_KEPT];
    unsigned tiles = 0; /* of the units before */
    f.base = base;
    f.group = warp / 4 - 1;
    f.warp = warp % 4;
    f.q_low = (uint32_t)attn__wgmma_desc(base + ATTN_Q_AT, 16, 0, 0);
    f.k_low = (uint32_t)attn__wgmma_desc(base, 1024, 0, 0);
    f.unit = fabsf(a->scale_log2);
    ATTN_FN(_wait)(base, ATTN_JOB_FULL, 0);
    int more = ATTN_FN(_job_at)(smem, 0)->to >= 0;
    if (more)
        ATTN_FN(_ask_q)(a, &f, &ATTN_FN(_job_at)(smem, 0)->unit, smem);
    ATTN_NO_UNROLL
    for (unsigned count = 0; more; ++count) {
        const ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, count), *const next = ATTN_FN(_job_at)(smem, count + 1);
        const int from = job->from, to = job->to;
        f.full = job->unit.span.full_hi;
        if (attn__lane() == 0)
            *ATTN_FN(_wrong)(&f, smem, count, f.group) = 0;
        ATTN_UNROLL
        for (int r = 0; r < 2; ++r) {
            f.minus_r[r] = -ATTN_NO_SCORE;
            f.l[r] = 0.0f;
            f.top[r] = ATTN_NEG_INF;
        }
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NO; ++n)
            o[n] = 0.0f;
        ATTN_FN(_keep_q)(a, &f, &job->unit, q);
        ATTN_COPY_ASYNC_WAIT(0);
        attn__fence_async();
        attn__barrier(ATTN_OF_BOTH, 256);
        tiles -= (unsigned)from; /* so that tile n is tiles + n of all */
        ATTN_NO_UNROLL
        for (int n = from + f.group; n < to; n += 2)
            ATTN_FN(_step)(a, &f, smem, &job->unit, count, n, n == from, tiles + (unsigned)n, q, o);
        tiles += (unsigned)to;
        if (to > from && (to - from - 1) % 2 != f.group)
            ATTN_FN(_last)(&f, smem, tiles - 1, o);
        ATTN_FN(_wait)(base, ATTN_JOB_FULL + (int)((count + 1) % ATTN_JOBS), (count + 1) / ATTN_JOBS);
        more = next->to >= 0;
        attn__barrier(ATTN_OF_BOTH, 256); /* nobody multiplies this Q any more */
        if (more)
            ATTN_FN(_ask_q)(a, &f, &next->unit, smem);
        count = (unsigned)attn__anew((int)count); /* or it would be spilled for each use */
        ATTN_FN(_store)(a, &f, smem, job, count, o);
        __syncwarp();
        attn__mbarrier_arrive_if(ATTN_FN(_barrier)(base, ATTN_JOB_EMPTY + (int)(count % ATTN_JOBS)),
                                 attn__lane() == 0);
    }
}

#endif /* ATTN_HAS_WGMMA */

ATTN_GLOBAL(ATTN_FN(_kernel), ATTN_FN(_args), 32 * ATTN_WARPS, 1)
{
#if !ATTN_HAS_WGMMA
    __trap(); /* compiled for another processor, or not for all that this one has: sm_90a */
#else
    ATTN_SHARED(smem);
    const uint32_t base = attn__shared_address(smem);
    /* The shuffle tells the compiler that it is the same in a warp. */
    const int warp = attn__warp();
    if (a.parts > 1)
        attn__grid_launch_next(); /* the merge */
    if (warp < 4) {
        ATTN_REGISTERS_GIVE(ATTN_LOAD_REGISTERS);
        if (warp == 0) {
            ATTN_FN(_plan_jobs)(&a, smem, base); /* the first one while barriers are made */
        } else {
            if (warp == 1) {
                /* A lane for each: one after the other would be 700 clocks. */
                for (int n = attn__lane(); n < ATTN_BARRIERS; n += 32)
                    attn__mbarrier_init(ATTN_FN(_barrier)(base, n), n < ATTN_K_EMPTY     ? a.boxes ? 1 : ATTN_PARTS
                                                                    : n < ATTN_JOB_FULL  ? 4
                                                                    : n < ATTN_JOB_EMPTY ? 1
                                                                                         : 8 + ATTN_PARTS);
                attn__mbarrier_made();
            }
            if (warp == 2 && attn__lane() == 0 && a.boxes)
                attn__tma_prefetch_map(&a.map_v), attn__tma_prefetch_map(&a.map_rest);
            attn__barrier(ATTN_MADE, 32 * ATTN_WARPS);
            ATTN_FN(_load_jobs)(&a, smem, base, warp - 1);
        }
    } else {
        ATTN_REGISTERS_TAKE(ATTN_REGISTERS);
        attn__barrier(ATTN_MADE, 32 * ATTN_WARPS);
        ATTN_FN(_compute)(&a, smem, base, warp);
    }
#endif
}

/* ---- host ------------------------------------------------------------------------------------------ */

/* Starts the kernel. */
static cudaError_t ATTN_FN(_start)(ATTN_FN(_args) *a, void *stream)
{
    const attn_params *p = &a->p;
    attn_device device;
    /* A box has eight keys of one page or sequence; of a packed sequence the last one might reach beyond the tensor. */
    a->boxes = p->seq_k > 0 && !p->cu_seqlens_k && p->page_size % 8 == 0;
    if (a->boxes) {
        const int64_t rows = p->page_size ? p->page_size : p->seq_k;
        const int64_t many = !p->page_size ? p->batch : p->num_pages ? p->num_pages : INT32_MAX;
        const int64_t extent[5] = { 64, rows, ATTN_K_PANELS, p->heads_k, many };
        const int box[5] = { 64, 8, ATTN_V_HALF, 1, 1 }, rest[5] = { 64, 8, ATTN_REST ? ATTN_REST : 1, 1, 1 };
        const int64_t stride[5] = { 1, rows > 1 ? p->k.stride[1] : 64, 64, p->heads_k > 1 ? p->k.stride[2] : 64,
                                    many > 1 ? p->k.stride[0] : 64 };
        cudaError_t e = attn__tma_encode(&a->map_v, ATTN_DTYPE, p->k.data, 5, extent, stride, box, 128, 0);
        if (e == cudaSuccess)
            e = attn__tma_encode(&a->map_rest, ATTN_DTYPE, p->k.data, 5, extent, stride, rest, 128, 0);
        if (e != cudaSuccess)
            return e;
    }
    ATTN_FN(_device)(&device);
    return ATTN_LAUNCH(ATTN_FN(_kernel), (unsigned)(a->units < device.sms ? a->units : device.sms), 32 * ATTN_WARPS,
                       ATTN_SHARED_BYTES, stream, a);
}

#include <attn/template/launch_cuda.cuh>

#undef ATTN_K_PANELS
#undef ATTN_V_PANELS
#undef ATTN_HALF
#undef ATTN_NS
#undef ATTN_NO
#undef ATTN_NP
#undef ATTN_EIGHTS
#undef ATTN_V_HALF
#undef ATTN_REST
#undef ATTN_PARTS
#undef ATTN_LOAD_REGISTERS
#undef ATTN_REGISTERS
#undef ATTN_JOBS
#undef ATTN_EIGHT_BYTES
#undef ATTN_STAGE_BYTES
#undef ATTN_P_BYTES
#undef ATTN_Q_ROOM
#undef ATTN_Q_PANELS
#undef ATTN_KEPT
#undef ATTN_BOTH_HALVES
#undef ATTN_Q_AT
#undef ATTN_P_AT
#undef ATTN_R_AT
#undef ATTN_LIFTED_AT
#undef ATTN_BAD_AT
#undef ATTN_SUMS_AT
#undef ATTN_WRONG_AT
#undef ATTN_BARRIERS_AT
#undef ATTN_K_FULL
#undef ATTN_K_EMPTY
#undef ATTN_JOB_FULL
#undef ATTN_JOB_EMPTY
#undef ATTN_BARRIERS
#undef ATTN_JOBS_AT
#undef ATTN_MADE
#undef ATTN_P_GIVEN
#undef ATTN_OF_GROUP
#undef ATTN_OF_BOTH
#undef ATTN_OF_ROWS
#undef ATTN_NO_SCORE
#undef ATTN_ROOM
