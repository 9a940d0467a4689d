/* forward_sm90.cuh - attention forward for Hopper: TMA, wgmma, roles for warps, blocks that stay.
 *
 * Included by instance.h for ATTN_ARCH_SM90 (f16 and bf16; compute capability 9.0 alone); uses every parameter of
 * begin.h but ATTN_BLOCKS, which is 1, and ATTN_PAGED.  A block takes units (plan_cuda.cuh: ATTN_TILE_Q positions of
 * one query head, all their keys) from a counter until there are none.  Its warps have roles:
 *
 *     warp 0         loads: asks for Q of a unit, then K and V tile by tile, as far ahead as there is room
 *     warp 1         plans: asks for the next unit, works out its rows, keys and masks, and writes them down as a job
 *     warps 4 ..     compute: warpgroup g has rows 64 g .. 64 g + 63 of the unit, and all keys
 *
 *                keys of a tile                       shared memory:  Q [1 or 2][TILE_Q][D]   jobs [4]
 *              +------------------+                                   K [STAGES][TILE_K][D]   O [TILE_Q][DV] if it fits
 *  warpgroup 0 |  64 x TILE_K x D |                                   V [STAGES][TILE_K][DV]
 *              +------------------+                   registers of a warpgroup:
 *  warpgroup 1 |     wgmma        |                      S [64][TILE_K] f32, O [64][DV] f32, P [64][TILE_K] 16 bits,
 *              +------------------+                      P twice where there is room
 *
 * A step of a warpgroup, all of whose tiles, of one unit after the other, form one stream:
 *
 *     ask for S = Q K^T of this tile, and behind it for O += P V of the tile before;  wait for S
 *     mask S;  P = 2^(S - r), beside P V;  wait for O
 *
 * At the first tile of a unit P V belongs to the unit before: then O is divided by the sum, as elsewhere it would be
 * rescaled, and stored, and the next P V begins a new one.  So neither the tensor cores nor the copies see the end of
 * a unit.
 *
 * Nothing but the exponentials stands between S and the next product.  r is the maximum of a unit's first keys, and
 * stays: any r gives the same result as long as nothing overflows, and P, l and O have room above it.  That a row
 * outgrows it is seen in its sum; then the warp does the tile again from the true maximum, by which O is multiplied.
 * Overflow would come at 2^15 with f16, later with bf16; but where a weight of 2^9 is far above all others, its
 * rounding would show in O, as that of 1, which is none, does not.  So r is lifted from 2^9 on, which costs less than
 * to sum up what is rounded.  A row that has seen no key yet has an r below all scores, so its first key lifts it.
 *
 * With two arrays for P (ATTN_TWO_P) its numbers are packed while the other one is multiplied.  With one they are
 * packed after the wait, S is overwritten by them, and growth is looked for before the exponentials.
 *
 * What is hidden must have no effect, but 0 times a NaN or infinity of its V is NaN.  Such a V shows in O for certain:
 * a warp that finds its rows not finite says so in the job and stores nothing.  The job then comes again three times,
 * as forward_sm80.cuh has it: with V's finite elements; with 1 in place of what is +inf or NaN, else 0, and equal
 * scores; with 1 in place of what is -inf or NaN.  Warp 0 changes the tiles of V.
 *
 * The last tile of a sequence ends where the sequence ends (ATTN_VARLEN): beyond may be no memory, or no numbers.  Its
 * first keys are then some of the tile before, and are hidden. */

#include <attn/device/wgmma.cuh>
#include <attn/device/tma.cuh>
#include <attn/device/cluster.cuh>
#define ATTN_PACK_GQA   0
#define ATTN_PERSISTENT 1
#include <attn/template/plan_cuda.cuh>
#include <attn/device/mma.cuh>
#include <attn/template/unit_cuda.cuh>
#include <attn/template/score_cuda.cuh>
#include <attn/template/finish_cuda.cuh>
#include <attn/template/pair_cuda.cuh>

#define ATTN_GROUPS (ATTN_TILE_Q / 64)             /* warpgroups that compute */
#define ATTN_KS ((ATTN_HEAD_DIM + 15) / 16)        /* steps of 16 dims in Q K^T */
#define ATTN_K_PANELS ((ATTN_HEAD_DIM + 63) / 64)  /* of 64 dims: rows of 128 bytes, swizzled */
#define ATTN_V_PANELS ((ATTN_HEAD_DIM_V + 63) / 64)
#define ATTN_NS (ATTN_TILE_K / 2)                  /* registers of S */
#define ATTN_NO (ATTN_HEAD_DIM_V / 2)              /* of O */
#define ATTN_NP (ATTN_TILE_K / 4)                  /* of P */
#define ATTN_JOBS  4

/* Shared memory; what it may be used for beyond one Q and the stages, as far as there is room. */
#define ATTN_Q_BYTES (ATTN_TILE_Q * 128 * ATTN_K_PANELS)
#define ATTN_K_BYTES (ATTN_TILE_K * 128 * ATTN_K_PANELS)
#define ATTN_V_BYTES (ATTN_TILE_K * 128 * ATTN_V_PANELS)
#define ATTN_O_BYTES (ATTN_TILE_Q * 128 * ATTN_V_PANELS)
#define ATTN_REST (230400 - ATTN_Q_BYTES - ATTN_STAGES * (ATTN_K_BYTES + ATTN_V_BYTES))
/* The bias, or else the mask, comes as boxes, too; which begin at multiples of 16 bytes, as tiles with ATTN_VARLEN do
 * not. */
#define ATTN_BOX_MASK (ATTN_BOOL_MASK && !ATTN_BIAS && ATTN_TILE_K % 128 == 0)
#if defined(ATTN_SCORE_MOD) || defined(ATTN_MASK)
#define ATTN_BOX 0
#else
#define ATTN_BOX \
    ((ATTN_BOX_MASK || (ATTN_BIAS && !ATTN_BOOL_MASK)) && !ATTN_VARLEN && ATTN_REST >= ATTN_BOX_MOST)
#endif
/* Two tiles of bytes, or of 16 bits, or one of f32. */
#define ATTN_BOX_MOST (ATTN_TILE_Q * (ATTN_BOX_MASK ? 2 * ATTN_TILE_K : 128 * ((ATTN_TILE_K + 31) / 32)))
#define ATTN_BOX_BYTES (ATTN_BOX * ATTN_BOX_MOST)
#define ATTN_ROOM (ATTN_REST - ATTN_BOX_BYTES)
#define ATTN_KEEP_O (ATTN_ROOM >= ATTN_O_BYTES) /* O leaves through shared memory, beside the next unit */
#define ATTN_Q_STAGES (ATTN_ROOM - ATTN_KEEP_O * ATTN_O_BYTES >= ATTN_Q_BYTES ? 2 : 1)
#define ATTN_K_AT (ATTN_Q_STAGES * ATTN_Q_BYTES)
#define ATTN_V_AT (ATTN_K_AT + ATTN_STAGES * ATTN_K_BYTES)
#define ATTN_O_AT (ATTN_V_AT + ATTN_STAGES * ATTN_V_BYTES)
#define ATTN_BOX_AT (ATTN_O_AT + ATTN_KEEP_O * ATTN_O_BYTES)
#define ATTN_BARRIERS_AT (ATTN_BOX_AT + ATTN_BOX_BYTES)

/* mbarriers, by number. */
#define ATTN_Q_FULL 0
#define ATTN_Q_EMPTY (ATTN_Q_FULL + ATTN_Q_STAGES)
#define ATTN_K_FULL (ATTN_Q_EMPTY + ATTN_Q_STAGES)
#define ATTN_K_EMPTY (ATTN_K_FULL + ATTN_STAGES)
#define ATTN_V_FULL (ATTN_K_EMPTY + ATTN_STAGES)
#define ATTN_V_EMPTY (ATTN_V_FULL + ATTN_STAGES)
#define ATTN_V_RAW (ATTN_V_EMPTY + ATTN_STAGES) /* a tile has landed that is yet to be changed */
#define ATTN_JOB_TAKEN (ATTN_V_RAW + 1) /* warp 0 has begun with a job: the next one may be planned */
#define ATTN_JOB_FULL (ATTN_JOB_TAKEN + 1)
#define ATTN_JOB_EMPTY (ATTN_JOB_FULL + ATTN_JOBS)
#define ATTN_BOX_FULL (ATTN_JOB_EMPTY + ATTN_JOBS)
#define ATTN_BOX_EMPTY (ATTN_BOX_FULL + 2 * ATTN_BOX)
#define ATTN_BARRIERS (ATTN_BOX_EMPTY + 2 * ATTN_BOX)
#define ATTN_JOBS_AT (ATTN_BARRIERS_AT + (8 * ATTN_BARRIERS + 15) / 16 * 16)

/* What warp 1 tells the others.  It has as many places as jobs may be under way: one whose O is stored, one that is
 * computed, one whose Q is loaded, one that is planned. */
enum { ATTN_FN(_job_unit), ATTN_FN(_job_pause), ATTN_FN(_job_end) }; /* pause: nothing follows at once */
typedef struct __align__(16) ATTN_FN(_job) {
    int kind;
    int start;     /* the tile that comes first; those before it come last */
    int first, to; /* the lowest tile, and where the last one ends or later; at least one tile */
    int edge[4][2]; /* of each warpgroup: tiles between need no mask */
    int ends[4];    /* of each warpgroup: where the last tile that it needs ends or later */
    int pass;       /* 0, or 1 to 3 for the parts of a V that is not finite */
    int plain;      /* how O leaves if it is right: 1 by 16 bytes, 2 through shared memory, 0 otherwise */
    int from_key, to_key;       /* without chunks row r sees of all keys from_key + r .. to_key + r - 1 */
    float *lse;                 /* of row 0; NULL: not wanted */
#if ATTN_SINK_LOGITS
    float sink;                 /* the head's logit, in log2 */
#endif
    unsigned char wrong[16];    /* by each warp that computes, in pass 0: its rows are not finite */
    ATTN_FN(_unit) unit;
} ATTN_FN(_job);
enum { ATTN_FN(_shared_bytes) = ATTN_JOBS_AT + ATTN_JOBS * (int)sizeof(ATTN_FN(_job)) };
#define ATTN_SHARED_BYTES ATTN_FN(_shared_bytes)
#define ATTN_ROW_ALIGN 16
#define ATTN_DEVICE_FN ATTN_FN(_device)

/* What may change scores row by row: of one thing there may be code for each role of P.  Softcap and ALiBi alone take
 * other ways, beside the rest of the softmax. */
#if defined(ATTN_SCORE_MOD) || defined(ATTN_MASK)
#define ATTN_BY_ROW (1 + ATTN_BIAS + ATTN_BOOL_MASK)
#else
#define ATTN_BY_ROW (ATTN_BIAS + ATTN_BOOL_MASK)
#endif
#define ATTN_CHANGES (ATTN_BY_ROW ? ATTN_BY_ROW + ATTN_SOFTCAP + ATTN_ALIBI : 0)

/* Registers of a thread: all that the block starts with, given from the first warpgroup to those that compute.  Jobs
 * with more than a diagonal need more to be planned. */
#define ATTN_WIDE_PLAN (ATTN_WINDOW || ATTN_CHUNK)
#define ATTN_LOAD_REGISTERS \
    (ATTN_GROUPS == 1 ? 56 : ATTN_GROUPS == 2 ? (ATTN_WIDE_PLAN ? 40 : 24) : ATTN_GROUPS == 3 ? 32 : 24)
#define ATTN_REGISTERS \
    (ATTN_GROUPS == 1 ? 256 : ATTN_GROUPS == 2 ? (ATTN_WIDE_PLAN ? 232 : 240) : ATTN_GROUPS == 3 ? 160 : 112)
#define ATTN_TWO_P \
    (ATTN_CHANGES <= 1 && ATTN_NO + ATTN_NS + 2 * ATTN_NP + 32 <= ATTN_REGISTERS)
/* 1: under a diagonal the first of two warpgroups leaves out a unit's last tile, of which its rows see nothing. */
#define ATTN_SKIP (ATTN_TILE_Q == 128 && ATTN_TILE_K == 64 && ATTN_CAUSAL && !ATTN_WINDOW && !ATTN_CHUNK && !ATTN_ALIBI)
/* 1: two warpgroups with small tiles and nothing but a diagonal between products, for short prompts: they take no
 * turns, and O leaves in two parts. */
#define ATTN_SMALL \
    (ATTN_GROUPS == 2 && ATTN_HEAD_DIM_V <= 64 && ATTN_KEEP_O && !ATTN_CHANGES && !ATTN_SOFTCAP && !ATTN_ALIBI && \
     !ATTN_WINDOW && !ATTN_CHUNK)
#define ATTN_TURNS (ATTN_GROUPS > 1 && !ATTN_SMALL)
/* Behind so many fours of S the order of exponentials has a seam; 0: none.  Where that is faster only timing tells. */
#define ATTN_SEAM \
    (ATTN_GROUPS == 2 && ATTN_HEAD_DIM == 128 && ATTN_HEAD_DIM_V == 128 && ATTN_TWO_P && !ATTN_CHANGES && \
             !ATTN_SOFTCAP && !ATTN_ALIBI && !ATTN_WINDOW && !ATTN_CHUNK \
         ? ATTN_NS / 16 * 3 \
         : 0)
/* 1: what changes scores does so within the exponent, where that will do. */
#define ATTN_RAW (ATTN_TWO_P && (ATTN_CHANGES ? ATTN_BOX && !ATTN_BOX_MASK : ATTN_SOFTCAP))
/* 1: rows that see no key of a unit's first tile are common. */
#define ATTN_BLANK (ATTN_WINDOW || ATTN_CHUNK || ATTN_ALIBI)
/* Scores that are changed at a time: of several things, no more than there are registers for. */
#define ATTN_PIECE (ATTN_CHANGES <= 1 ? ATTN_NS / 2 : ATTN_TILE_K % 32 ? 4 : 8)

/* Keys of a unit's first tile whose maximum is r to begin with: enough of them, unless they are often hidden. */
#define ATTN_ROUGH_KEYS (ATTN_CHUNK || ATTN_CHANGES || ATTN_ALIBI ? ATTN_TILE_K : 32)
#define ATTN_MOST_KEYS (INT32_MAX - 65536) /* of a sequence: numbers of tiles and rows are added to numbers of keys */
#define ATTN_GROWTH 512.0f     /* a sum of P from which on r is lifted */
#define ATTN_NO_SCORE -1e30f /* r of a row that has seen none: finite, so that -inf - r is -inf */
#if ATTN_DTYPE == ATTN_BF16
#define ATTN_ABOVE  9.0f  /* with one P: how far r is above the first maximum */
#else
#define ATTN_ABOVE  0.0f
#endif

#if ATTN_HAS_WGMMA

/* The first key of the tile at k0 as it is loaded. */
ATTN_DEVICE int ATTN_FN(_load_key)(int k0, int len_k)
{
    return ATTN_VARLEN && k0 > len_k - ATTN_TILE_K ? len_k - ATTN_TILE_K : k0;
}

ATTN_DEVICE ATTN_FN(_job) *ATTN_FN(_job_at)(unsigned char *smem, unsigned count)
{
    return (ATTN_FN(_job) *)(void *)(smem + ATTN_JOBS_AT) + count % ATTN_JOBS;
}

/* Whether the bias or the mask comes as boxes. */
ATTN_DEVICE int ATTN_FN(_has_boxes)(const ATTN_FN(_args) *a)
{
    return ATTN_BOX && a->boxes;
}

/* Whether scores are changed row by row. */
ATTN_DEVICE int ATTN_FN(_by_row)(const ATTN_FN(_args) *a)
{
    return ATTN_CHANGES && ATTN_FN(_has_row)(a) && !ATTN_FN(_has_boxes)(a);
}

/* Whether ALiBi acts beside the rest of the softmax. */
ATTN_DEVICE int ATTN_FN(_is_sloping)(const ATTN_FN(_args) *a)
{
    return ATTN_ALIBI && a->p.alibi_slopes && !ATTN_FN(_by_row)(a);
}

/* Whether boxes are of a bias in f32. */
ATTN_DEVICE int ATTN_FN(_box_f32)(const ATTN_FN(_args) *a)
{
    return ATTN_BOX && !ATTN_BOX_MASK && a->p.bias.dtype == ATTN_F32;
}

/* Where the box of a tile lies, by their number: as long as they have room, two at a time. */
ATTN_DEVICE int ATTN_FN(_box_stage)(const ATTN_FN(_args) *a, unsigned count)
{
    return ATTN_FN(_box_f32)(a) ? 0 : (int)(count & 1);
}
ATTN_DEVICE int ATTN_FN(_box_parity)(const ATTN_FN(_args) *a, unsigned count)
{
    return (int)(ATTN_FN(_box_f32)(a) ? count & 1 : count >> 1 & 1);
}

/* The last keys of a slope come first: they have the greatest scores, so that r seldom has to be lifted.  The first and
 * the last tile together, of which one takes the other's turn; 0: tiles come in their order.  With sink tokens some may
 * be left out between the two. */
ATTN_DEVICE unsigned ATTN_FN(_turn)(const ATTN_FN(_args) *a, const ATTN_FN(_job) *job)
{
    if (!ATTN_FN(_is_sloping)(a) || (ATTN_SINK_TOKENS && job->unit.mask.sink_tokens))
        return 0;
    return 2u * (unsigned)job->first + (unsigned)((job->to - 1 - job->first) / ATTN_TILE_K * ATTN_TILE_K);
}

/* The tile at hand when k0 would be in their order. */
ATTN_DEVICE int ATTN_FN(_tile_at)(int k0, unsigned turn)
{
    return ATTN_ALIBI && turn ? (int)(turn - (unsigned)k0) : k0;
}

/* The tile after the one at k0, the lowest one being behind the last. */
ATTN_DEVICE int ATTN_FN(_tile_after)(const ATTN_FN(_unit) *u, int k0, int lowest, int to)
{
    const int next = ATTN_FN(_next_tile)(u, k0);
    return next < to ? next : lowest;
}

/* Where a window has two edges, a unit begins between them: with the first tile that all rows see, if there is one, so
 * that their r is a maximum of many keys. */
ATTN_DEVICE int ATTN_FN(_start_of)(const ATTN_FN(_job) *job)
{
    const attn__span *const span = &job->unit.span;
    if (!ATTN_WINDOW || (ATTN_SINK_TOKENS && job->unit.mask.sink_tokens))
        return job->first;
    const int start = (span->full_lo + ATTN_TILE_K - 1) / ATTN_TILE_K * ATTN_TILE_K;
    return start > job->first && start + ATTN_TILE_K <= span->full_hi && start < job->to ? start : job->first;
}

/* ---- warp 1: jobs ---------------------------------------------------------------------------------- */

/* The same, or as far from 0 as a number to which rows are added may be. */
ATTN_DEVICE int ATTN_FN(_near)(int64_t j)
{
    const int64_t far = ATTN_MOST_KEYS;
    return (int)(j < -far ? -far : j > far ? far : j);
}

/* Plans unit `number`; 0 if it has no row.  `again`: this place has held a unit before; then lengths and mask are
 * there, if those of all sequences are the same. */
ATTN_DEVICE int ATTN_FN(_plan_job)(const ATTN_FN(_args) *a, int number, int again, ATTN_FN(_job) *job)
{
    ATTN_FN(_unit) *const u = &job->unit;
    const int block = ATTN_FN(_unit_number)(a, number, u);
    if (!again || !a->fixed)
        ATTN_FN(_sequence)(a, u);
    if (!ATTN_FN(_unit_rows)(a, block, u))
        return 0;
    job->kind = ATTN_FN(_job_unit);
    job->pass = 0;
    job->plain = a->parts > 1 || !a->wide_o ? 0 : ATTN_KEEP_O && a->box_o ? 2 : 1;
    job->first = ATTN_FN(_next_tile)(u, -1);
    job->to = u->to;
    if (job->first >= u->to) { /* no key is seen: a tile that is hidden */
        job->first = u->from;
        job->to = u->from + 1;
    }
    job->start = ATTN_FN(_start_of)(job);
    ATTN_NO_UNROLL
    for (int g = 0; g < ATTN_GROUPS; ++g) {
        const attn__span span = ATTN_FN(_span)(a, u, 64 * g, 64 * g + 63);
        job->edge[g][0] = a->p.scale >= 0.0f ? span.full_lo : INT32_MAX;
        job->edge[g][1] = span.full_hi;
        job->ends[g] = !ATTN_SKIP || span.hi >= job->to ? job->to : span.hi > job->first ? span.hi : job->first + 1;
    }
    int64_t from, to;
    attn__mask_band_row(&u->mask, u->row0, ATTN_WINDOW, &from, &to);
    job->from_key = ATTN_FN(_near)(from);
    job->to_key = ATTN_FN(_near)(to);
    job->lse = a->parts > 1 ? NULL : a->p.lse;
    if (job->lse)
        job->lse += u->b * a->p.lse_stride[0] + u->g * a->p.lse_stride[1] + u->base_q + u->row0;
    return 1;
}

/* The next number of 0 .. count - 1, each of which is asked for once, by one thread.  The word needs no zero before:
 * its upper half says whose numbers it counts.  With the last one it becomes 0, so that the next launch does not take
 * it for its own. */
ATTN_DEVICE unsigned ATTN_FN(_ticket)(unsigned long long *word, uint32_t key, unsigned count)
{
    unsigned long long seen = atomicAdd(word, 1ull);
    while ((uint32_t)(seen >> 32) != key) { /* nobody has begun, so far as is known */
        unsigned long long now = seen + 1;
        do {
            seen = now;
            now = atomicCAS(word, seen, (unsigned long long)key << 32 | 1u);
        } while (now != seen && (uint32_t)(now >> 32) != key);
        seen = now == seen ? (unsigned long long)key << 32 : atomicAdd(word, 1ull);
    }
    if ((unsigned)seen == count - 1)
        (void)atomicExch(word, 0ull);
    return (unsigned)seen;
}

/* A unit for this block, or one beyond the last: each block asks until it gets such a one, so there are as many tickets
 * as units. */
ATTN_DEVICE int ATTN_FN(_take_unit)(const ATTN_FN(_args) *a)
{
    return a->tickets ? (int)(gridDim.x + ATTN_FN(_ticket)(a->tickets, a->ticket_key, (unsigned)a->units))
                      : (int)a->units;
}

/* One thread; begun: the block's first unit is planned.  A unit is taken when the one before it begins to be loaded,
 * no earlier: a block that holds more than it needs leaves others without work at the end. */
ATTN_DEVICE void ATTN_FN(_plan_jobs)(const ATTN_FN(_args) *a, unsigned char *smem, uint32_t barriers, int begun)
{
    const int units = (int)a->units;
    int unit = (int)blockIdx.x, planned = 0, idle = 0;
    ATTN_NO_UNROLL
    for (unsigned count = 0;; ++count) {
        ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, count);
        const uint32_t slot = count % ATTN_JOBS;
        if (count)
            attn__mbarrier_wait(barriers + 8 * ATTN_JOB_TAKEN, (int)((count - 1) & 1));
        if (planned)
            unit = ATTN_FN(_take_unit)(a);
        planned = 0;
        attn__mbarrier_wait(barriers + 8 * (ATTN_JOB_EMPTY + slot), (int)(count / ATTN_JOBS & 1) ^ 1);
        int again = 0; /* the pass that the job of this place needs now */
        if (count >= ATTN_JOBS && job->kind == ATTN_FN(_job_unit)) {
            const int *wrong = (const int *)(const void *)job->wrong;
            again = job->pass ? (job->pass + 1) & 3 : (wrong[0] | wrong[1] | wrong[2] | wrong[3]) != 0;
        }
        if (again) {
            job->pass = again;
            job->plain = 0;
            job->lse = NULL;
            for (int g = 0; g < ATTN_GROUPS && ATTN_CHANGES && again >= 2; ++g)
                job->edge[g][0] = INT32_MAX; /* every tile passes where scores are changed */
        } else {
            planned = count == 0 && begun;
            while (!planned && unit < units) {
                planned = ATTN_FN(_plan_job)(a, unit, count >= ATTN_JOBS, job);
                if (!planned)
                    unit = ATTN_FN(_take_unit)(a);
            }
            for (int n = 0; n < 16; ++n)
                job->wrong[n] = 0;
        }
#if ATTN_SINK_LOGITS
        if (planned) /* not sooner: the kernel before may write it */
            job->sink = ATTN_FN(_sink_of)(a, job->unit.g);
#endif
        /* The end must wait until all jobs have been seen to be right: once around. */
        idle = again || planned ? 0 : idle + 1;
        if (idle)
            job->kind = idle < ATTN_JOBS ? ATTN_FN(_job_pause) : ATTN_FN(_job_end);
        attn__mbarrier_arrive(barriers + 8 * (ATTN_JOB_FULL + slot));
        if (idle == ATTN_JOBS)
            return;
    }
}

/* ---- warp 0: copies -------------------------------------------------------------------------------- */

/* V of a tile as a pass of a unit needs it, in place, by a warp: 1 its finite elements, 0 for others; 2 1 for each
 * that is +inf or NaN, else 0; 3 the same of -inf. */
ATTN_DEVICE void ATTN_FN(_split)(int pass, unsigned char *v)
{
    ATTN_NO_UNROLL
    for (int n = attn__lane(); n < ATTN_V_BYTES / 4; n += 32) {
        uint32_t *at = (uint32_t *)(void *)v + n;
        *at = ATTN_FN(_split_pair)(pass, *at);
    }
    attn__fence_async();
    __syncwarp();
}

/* Where the loader is. */
typedef struct ATTN_FN(_load) {
    uint32_t base;                        /* shared address of Q */
    unsigned q_count;                     /* units whose Q has been asked for */
    int k_stage, k_parity, v_stage, v_parity, raw_parity;
    int v_pass, v_key, v_head, v_batch;   /* the tile of V that is to be loaded next; v_pass -1: none */
    unsigned box_count;                   /* tiles whose bias has been asked for */
} ATTN_FN(_load);

ATTN_DEVICE uint32_t ATTN_FN(_barrier)(uint32_t base, int number)
{
    return base + (uint32_t)(ATTN_BARRIERS_AT + 8 * number);
}

/* Waits with all lanes: none may fall behind, or it would miss a phase. */
ATTN_DEVICE void ATTN_FN(_wait)(uint32_t base, int number, int parity)
{
    attn__mbarrier_wait(ATTN_FN(_barrier)(base, number), parity);
    __syncwarp();
}

/* V of the tile whose K was loaded before. */
ATTN_DEVICE void ATTN_FN(_load_v)(const ATTN_FN(_args) *a, ATTN_FN(_load) *w, unsigned char *smem)
{
    if (w->v_pass < 0)
        return;
    const uint32_t full = ATTN_FN(_barrier)(w->base, ATTN_V_FULL + w->v_stage);
    ATTN_FN(_wait)(w->base, ATTN_V_EMPTY + w->v_stage, w->v_parity ^ 1);
    if (attn__lane() == 0) {
        const uint32_t on = w->v_pass ? ATTN_FN(_barrier)(w->base, ATTN_V_RAW) : full;
        const uint32_t to = w->base + (uint32_t)(ATTN_V_AT + w->v_stage * ATTN_V_BYTES);
        attn__mbarrier_arrive_expect(on, ATTN_V_BYTES);
        ATTN_UNROLL
        for (int n = 0; n < ATTN_V_PANELS; ++n)
            attn__tma_load_4d(to + (uint32_t)(n * ATTN_TILE_K * 128), &a->map_v, on, 64 * n, w->v_key, w->v_head,
                              w->v_batch, ATTN_L2_LAST);
    }
    if (w->v_pass) {
        ATTN_FN(_wait)(w->base, ATTN_V_RAW, w->raw_parity);
        w->raw_parity ^= 1;
        ATTN_FN(_split)(w->v_pass, smem + ATTN_V_AT + w->v_stage * ATTN_V_BYTES);
        if (attn__lane() == 0)
            attn__mbarrier_arrive(full);
    }
    if (++w->v_stage == ATTN_STAGES) {
        w->v_stage = 0;
        w->v_parity ^= 1;
    }
}

/* Q of the unit; in a pass with equal scores from beyond the tensor, where all is 0. */
ATTN_DEVICE void ATTN_FN(_load_q)(const ATTN_FN(_args) *a, ATTN_FN(_load) *w, const ATTN_FN(_job) *job)
{
    const ATTN_FN(_unit) *const u = &job->unit;
    const int row = job->pass < 2 ? (int)u->base_q + u->row0 : INT32_MAX - ATTN_TILE_Q;
    const int stage = (int)(w->q_count % ATTN_Q_STAGES);
    const uint32_t full = ATTN_FN(_barrier)(w->base, ATTN_Q_FULL + stage);
    ATTN_FN(_wait)(w->base, ATTN_Q_EMPTY + stage, (int)(w->q_count / ATTN_Q_STAGES & 1) ^ 1);
    ++w->q_count;
    if (attn__lane() == 0) {
        attn__mbarrier_arrive_expect(full, ATTN_Q_BYTES);
        ATTN_UNROLL
        for (int n = 0; n < ATTN_K_PANELS; ++n)
            attn__tma_load_4d(w->base + (uint32_t)(stage * ATTN_Q_BYTES + n * ATTN_TILE_Q * 128), &a->map_q, full,
                              64 * n, row, u->g, ATTN_VARLEN && a->p.cu_seqlens_q ? 0 : u->b, ATTN_L2_FIRST);
    }
}

/* The bias or the mask from key `key` on, in panels of 64 bytes: no other width has all tiles as multiples.  Where all
 * rows have the same, one row. */
ATTN_DEVICE void ATTN_FN(_load_box)(const ATTN_FN(_args) *a, ATTN_FN(_load) *w, const ATTN_FN(_unit) *u, int key)
{
    const attn_tensor *const t = ATTN_BOX_MASK ? &a->p.mask : &a->p.bias;
    const int columns = ATTN_BOX_MASK ? 64 : ATTN_FN(_box_f32)(a) ? 16 : 32;
    const int panels = (ATTN_TILE_K + columns - 1) / columns, alike = t->stride[2] == 0;
    const int stage = ATTN_FN(_box_stage)(a, w->box_count);
    const uint32_t full = ATTN_FN(_barrier)(w->base, ATTN_BOX_FULL + stage);
    ATTN_FN(_wait)(w->base, ATTN_BOX_EMPTY + stage, ATTN_FN(_box_parity)(a, w->box_count) ^ 1);
    ++w->box_count;
    if (attn__lane() == 0) {
        attn__mbarrier_arrive_expect(full, (uint32_t)(panels * (alike ? 1 : ATTN_TILE_Q) * 64));
        ATTN_NO_UNROLL
        for (int n = 0; n < panels; ++n)
            attn__tma_load_4d(w->base + (uint32_t)(ATTN_BOX_AT + stage * (ATTN_BOX_BYTES / 2) + n * ATTN_TILE_Q * 64),
                              &a->map_box, full, key + n * columns, alike ? 0 : u->row0, t->stride[1] ? u->g : 0,
                              t->stride[0] ? u->b : 0, ATTN_L2_FIRST);
    }
}

/* A warp, all of whose lanes do the same; one asks. */
ATTN_DEVICE void ATTN_FN(_load_jobs)(const ATTN_FN(_args) *a, unsigned char *smem, uint32_t base)
{
    ATTN_FN(_load) w;
    w.base = base;
    w.q_count = 0;
    w.k_stage = w.k_parity = w.v_stage = w.v_parity = w.raw_parity = 0;
    w.v_pass = -1;
    w.v_key = w.v_head = w.v_batch = 0;
    w.box_count = 0;
    ATTN_NO_UNROLL
    for (unsigned count = 0;; ++count) {
        const ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, count);
        const ATTN_FN(_unit) *const u = &job->unit;
        const int slot = (int)(count % ATTN_JOBS);
        ATTN_FN(_wait)(base, ATTN_JOB_FULL + slot, (int)(count / ATTN_JOBS & 1));
        const int kind = job->kind;
        if (attn__lane() == 0)
            attn__mbarrier_arrive(ATTN_FN(_barrier)(base, ATTN_JOB_TAKEN));
        if (kind == ATTN_FN(_job_unit)) {
            if (ATTN_Q_STAGES > 1)
                ATTN_FN(_load_q)(a, &w, job);
            const int head = ATTN_FN(_kv_head)(a, u), lowest = job->first, to = job->to;
            const int start = ATTN_WINDOW ? job->start : lowest;
            const int batch = ATTN_VARLEN && a->p.cu_seqlens_k ? 0 : u->b;
            const unsigned turn = ATTN_FN(_turn)(a, job);
            ATTN_NO_UNROLL
            for (int k0 = start, first = 1, more = 1; more; first = 0) {
                const int key = (int)u->base_k + ATTN_FN(_load_key)(ATTN_FN(_tile_at)(k0, turn), u->len_k);
                const uint32_t full = ATTN_FN(_barrier)(base, ATTN_K_FULL + w.k_stage);
                ATTN_FN(_wait)(base, ATTN_K_EMPTY + w.k_stage, w.k_parity ^ 1);
                if (attn__lane() == 0) {
                    const uint32_t at = base + (uint32_t)(ATTN_K_AT + w.k_stage * ATTN_K_BYTES);
                    attn__mbarrier_arrive_expect(full, ATTN_K_BYTES);
                    ATTN_UNROLL
                    for (int n = 0; n < ATTN_K_PANELS; ++n)
                        attn__tma_load_4d(at + (uint32_t)(n * ATTN_TILE_K * 128), &a->map_k, full, 64 * n, key, head,
                                          batch, ATTN_L2_LAST);
                }
                if (++w.k_stage == ATTN_STAGES) {
                    w.k_stage = 0;
                    w.k_parity ^= 1;
                }
                ATTN_FN(_load_v)(a, &w, smem);
                if (ATTN_FN(_has_boxes)(a))
                    ATTN_FN(_load_box)(a, &w, u, key);
                if (ATTN_Q_STAGES == 1 && first) /* the last of what waits for the unit before */
                    ATTN_FN(_load_q)(a, &w, job);
                w.v_pass = job->pass;
                w.v_key = key;
                w.v_head = head;
                w.v_batch = batch;
                k0 = ATTN_FN(_tile_after)(u, k0, lowest, to);
                more = k0 != start;
            }
        } else {
            ATTN_FN(_load_v)(a, &w, smem);
            w.v_pass = -1;
        }
        __syncwarp();
        if (attn__lane() == 0)
            attn__mbarrier_arrive(ATTN_FN(_barrier)(base, ATTN_JOB_EMPTY + slot));
        if (kind == ATTN_FN(_job_end))
            return;
    }
}

/* ---- the warpgroups that compute: state ------------------------------------------------------------- */

typedef struct ATTN_FN(_flow) {
    uint32_t base;                 /* shared address of Q */
    uint32_t q_low, k_low, v_low;  /* low words of the descriptors of the operands, of stage 0 */
    uint32_t q_now;                /* that of the current Q */
    int group;                     /* number of the warpgroup */
    int first;                     /* first row of the warp in the unit */
    int row;                       /* this thread's first one; the other one is 8 further */
    unsigned count;                /* number of the current job */
    int kind;                      /* and what it is */
    int edge;                      /* some rows may not see all of the tile at hand */
    int next_stage, next_parity;   /* those of K of the tile after it */
    int skips, skipped;            /* a tile is to be left out behind the unit; and its V is yet to be left */
    unsigned q_count;              /* number of its Q, among those of units */
    int k0, to, edge_lo, edge_hi;  /* the next tile; of the unit */
    int lowest, start;             /* with windows, the first tile and the one that comes first */
    int blank;                     /* some rows of the warp have seen no key */
    unsigned turn;                 /* of the unit's tiles */
    float slope;                   /* of ALiBi, in log2 */
    int ahead;                     /* key 0 less the position of `row` */
    int k_stage, k_parity, v_stage, v_parity; /* V's are those of the tile before */
    int keep;                      /* the next P V adds to O, rather than begins it */
    float unit;                    /* what makes a score in S one in log2 */
    float minus_r[2], l[2];
    float factor[2];               /* what O is to be multiplied with */
    unsigned box_count;            /* number of the tile whose bias is next */
    int wild;                      /* some scores are too great for two terms of tanh; 2: for three */
    float lse[2];                  /* of the unit whose O is stored next */
    int late;                      /* O of that is in shared memory, and yet to be sent */
    float late_sum;                /* of it: see _sum_of */
} ATTN_FN(_flow);

/* The high word is a constant, and the steps fit into the low one, so that an address is one addition. */
ATTN_DEVICE uint64_t ATTN_FN(_operand)(uint32_t low, int bytes)
{
    return attn__wgmma_desc(0, 0, 1024, 128) | (low + (uint32_t)(bytes / 16));
}

/* Warpgroups take turns in asking for products: while one computes P, the tensor cores have those of another. */
ATTN_DEVICE void ATTN_FN(_turn_take)(const ATTN_FN(_flow) *f)
{
    if (ATTN_TURNS)
        attn__barrier(1 + f->group, 256);
}
ATTN_DEVICE void ATTN_FN(_turn_pass)(const ATTN_FN(_flow) *f)
{
    if (ATTN_TURNS)
        attn__barrier_arrive(f->group + 1 < ATTN_GROUPS ? f->group + 2 : 1, 256);
}

/* Waits for the next job; 1 if it is a unit. */
ATTN_DEVICE int ATTN_FN(_next_job)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem)
{
    if (ATTN_SKIP && f->skips) { /* a tile that was for others */
        f->skips = 0;
        f->skipped = 1;
        if (f->first % 64 == 0) /* the warp that lets it go; another might miss the phase */
            attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_K_FULL + f->k_stage), f->k_parity);
        ATTN_FN(_turn_take)(f);
        ATTN_FN(_turn_pass)(f);
        attn__mbarrier_arrive_if(ATTN_FN(_barrier)(f->base, ATTN_K_EMPTY + f->k_stage), threadIdx.x % 128 == 0);
        if (++f->k_stage == ATTN_STAGES) { /* its V follows: see _leave_v */
            f->k_stage = 0;
            f->k_parity ^= 1;
        }
    }
    ++f->count;
    attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_JOB_FULL + (int)(f->count % ATTN_JOBS)),
                        (int)(f->count / ATTN_JOBS & 1));
    const ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, f->count);
    const uint4 head = *(const uint4 *)(const void *)job; /* all at once: the next product waits for it */
    const uint2 edge = *(const uint2 *)(const void *)job->edge[f->group];
    f->kind = (int)head.x;
    if (f->kind != ATTN_FN(_job_unit))
        return 0;
    ++f->q_count;
    f->q_now = f->q_low + f->q_count % ATTN_Q_STAGES * (ATTN_Q_BYTES / 16);
    f->k0 = f->start = (int)head.y;
    f->lowest = (int)head.z;
    f->to = (int)head.w;
    f->edge_lo = (int)edge.x;
    f->edge_hi = (int)edge.y;
    if (ATTN_SKIP) {
        f->to = job->ends[f->group];
        f->skips = f->k0 + (f->to - f->k0 + ATTN_TILE_K - 1) / ATTN_TILE_K * ATTN_TILE_K < (int)head.w;
    }
    attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_Q_FULL + (int)(f->q_count % ATTN_Q_STAGES)),
                        (int)(f->q_count / ATTN_Q_STAGES & 1));
    if (ATTN_ALIBI) {
        const ATTN_FN(_unit) *const u = &job->unit;
        f->turn = ATTN_FN(_turn)(a, job);
        f->ahead = -(int)(u->row0 + f->row + u->mask.shift);
        f->slope = 0.0f;
        if (ATTN_FN(_is_sloping)(a) && job->pass < 2)
            f->slope = a->p.alibi_slopes[u->b * a->p.alibi_stride + u->g] * ATTN_LOG2E;
    }
    return 1;
}

/* This warp is done with job `count`. */
ATTN_DEVICE void ATTN_FN(_leave_job)(const ATTN_FN(_flow) *f, unsigned count)
{
    __syncwarp();
    attn__mbarrier_arrive_if(ATTN_FN(_barrier)(f->base, ATTN_JOB_EMPTY + (int)(count % ATTN_JOBS)),
                             attn__lane() == 0);
}

/* ---- products -------------------------------------------------------------------------------------- */

/* Asks for S = Q K^T of the tile at hand. */
ATTN_DEVICE void ATTN_FN(_ask_scores)(const ATTN_FN(_flow) *f, float *s)
{
    /* Or the descriptors of Q, the same for all tiles, would be kept in registers, and be moved to uniform ones again
     * and again. */
    const uint32_t q = (uint32_t)attn__anew((int)f->q_now);
    const uint32_t k = f->k_low + (uint32_t)(f->k_stage * (ATTN_K_BYTES / 16));
    attn__wgmma_fence();
    ATTN_UNROLL
    for (int n = 0; n < ATTN_KS; ++n)
        ATTN_WGMMA_SS(ATTN_TILE_K, ATTN_DTYPE, ATTN_K_MAJOR, ATTN_K_MAJOR, s,
                      ATTN_FN(_operand)(q, n / 4 * ATTN_TILE_Q * 128 + n % 4 * 32),
                      ATTN_FN(_operand)(k, n / 4 * ATTN_TILE_K * 128 + n % 4 * 32), (int)(n != 0));
    attn__wgmma_commit();
}

/* Asks for O += P V of the tile before. */
ATTN_DEVICE void ATTN_FN(_ask_values)(const ATTN_FN(_flow) *f, uint32_t *p, float *o)
{
    const uint32_t v = f->v_low + (uint32_t)(f->v_stage * (ATTN_V_BYTES / 16));
    attn__wgmma_fence();
    ATTN_UNROLL
    for (int n = 0; n < ATTN_TILE_K / 16; ++n)
        ATTN_WGMMA_RS(ATTN_HEAD_DIM_V, ATTN_DTYPE, ATTN_MN_MAJOR, o, p + 4 * n, ATTN_FN(_operand)(v, n * 2048),
                      n ? 1 : f->keep);
    attn__wgmma_commit();
}

/* ---- softmax --------------------------------------------------------------------------------------- */

/* Keys of position i in the tile at k0.  What an instance cannot do is a constant. */
ATTN_DEVICE attn__keys ATTN_FN(_keys_of)(const ATTN_FN(_unit) *u, int i, int k0)
{
    const int64_t huge = (int64_t)1 << 40;
    attn__mask m = u->mask;
    if (!ATTN_CAUSAL)
        m.below = huge;
    if (!ATTN_WINDOW)
        m.left = m.right = huge;
    if (!ATTN_CHUNK)
        m.chunk = 0;
    if (!ATTN_SINK_TOKENS)
        m.sink_tokens = 0;
    attn__keys keys = attn__mask_row(&m, i);
    if (ATTN_VARLEN) { /* what lies before k0 belongs to the tile before */
        keys.lo = keys.lo > k0 ? keys.lo : k0;
        keys.sink_lo = keys.sink_lo > k0 ? keys.sink_lo : k0;
    }
    return keys;
}

/* Of this thread's numbers of a row (columns 0, 1, 8, 9, 16 ... of the tile) those in columns below `end`, as the
 * lowest bits; from number `from` on. */
ATTN_DEVICE uint32_t ATTN_FN(_below)(int end, int from)
{
    const int count = (end <= 0 ? 0 : end / 8 * 2 + (end % 8 < 2 ? end % 8 : 2)) - from;
    return count <= 0 ? 0 : count < 32 ? (1u << count) - 1 : 0xffffffffu;
}

/* Hides all of row r but [begin, end).  As bits, for those become predicates by seven at a time. */
ATTN_DEVICE void ATTN_FN(_keep_columns)(int begin, int end, int r, float *s)
{
    ATTN_UNROLL
    for (int from = 0; from < ATTN_NS / 2; from += 32) {
        uint32_t bits = ATTN_FN(_below)(end, from);
        if (ATTN_VARLEN || ATTN_WINDOW)
            bits &= ~ATTN_FN(_below)(begin, from);
        ATTN_UNROLL
        for (int n = from; n < ATTN_NS / 2 && n < from + 32; ++n)
            if (!(bits & 1u << (n - from)))
                s[n / 2 * 4 + 2 * r + n % 2] = ATTN_NEG_INF;
    }
}

/* Waits for the box of the tile at hand. */
ATTN_DEVICE void ATTN_FN(_take_box)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f)
{
    attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_BOX_FULL + ATTN_FN(_box_stage)(a, f->box_count)),
                        ATTN_FN(_box_parity)(a, f->box_count));
}

/* It has been used. */
ATTN_DEVICE void ATTN_FN(_leave_box)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f)
{
    __syncwarp();
    attn__mbarrier_arrive_if(ATTN_FN(_barrier)(f->base, ATTN_BOX_EMPTY + ATTN_FN(_box_stage)(a, f->box_count)),
                             attn__lane() == 0);
    ++f->box_count;
}

/* Where a thread reads the bias of the tile at hand: of f32 from smem on, else in shared memory.  Nobody knows how it
 * came about, or each read would work it out again. */
ATTN_DEVICE int ATTN_FN(_box_at)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, int f32)
{
    const int lane = attn__lane(), row = a->p.bias.stride[2] ? f32 ? f->row : f->first + lane % 16 : 0;
    const int piece = (f32 ? lane / 2 % 2 : lane / 16) ^ (row >> 1 & 3);
    const int from = f32 ? lane % 2 * 8 : (int)f->base + (int)(f->box_count & 1) * (ATTN_BOX_BYTES / 2);
    return attn__anew(ATTN_BOX_AT + row * 64 + piece * 16 + from);
}

/* The bias of numbers 8 n .. 8 n + 7 of S. */
ATTN_DEVICE void ATTN_FN(_read_box)(const ATTN_FN(_args) *a, unsigned char *smem, int f32, int at, int n, float *bias)
{
    if (f32) { /* 16 columns are a panel */
        const int eight = a->p.bias.stride[2] ? 8 * 64 : 0;
        ATTN_UNROLL
        for (int e = 0; e < 4; ++e) {
            const float2 pair = *(const float2 *)(const void *)(smem + n * ATTN_TILE_Q * 64 + e % 2 * eight +
                                                                (at ^ e / 2 * 32));
            bias[2 * e] = pair.x;
            bias[2 * e + 1] = pair.y;
        }
    } else {
        uint32_t pair[4];
        attn__ldmatrix_x4(pair, (uint32_t)(n / 2 * ATTN_TILE_Q * 64 + (at ^ n % 2 * 32)));
        ATTN_UNROLL
        for (int e = 0; e < 4; ++e) {
            bias[2 * e] = ATTN_LOW(pair[e]);
            bias[2 * e + 1] = ATTN_HIGH(pair[e]);
        }
    }
}

/* S in log2, with the bias; what that hides is hidden whatever it was, and in a pass with equal scores the rest is
 * equal. */
ATTN_DEVICE void ATTN_FN(_add_box)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, unsigned char *smem, float *s)
{
    const float unit = ATTN_SOFTCAP && a->p.softcap > 0.0f ? a->p.softcap * ATTN_LOG2E : a->scale_log2;
    const int equal = ATTN_FN(_job_at)(smem, f->count)->pass >= 2, f32 = ATTN_FN(_box_f32)(a);
    const int at = ATTN_FN(_box_at)(a, f, f32);
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NS / 8; ++n) {
        float bias[8];
        ATTN_FN(_read_box)(a, smem, f32, at, n, bias);
        ATTN_UNROLL
        for (int e = 0; e < 8; ++e) {
            const float x = equal ? 0.0f : fmaf(s[8 * n + e], unit, bias[e] * ATTN_LOG2E);
            s[8 * n + e] = bias[e] == ATTN_NEG_INF ? ATTN_NEG_INF : x;
        }
    }
}

/* A word as which each byte that is not 0 is 1. */
ATTN_DEVICE uint32_t ATTN_FN(_ones)(uint32_t x)
{
    return (((x & 0x7f7f7f7fu) + 0x7f7f7f7fu) | x) >> 7 & 0x01010101u;
}

/* Hides what the mask hides, 128 keys at a time.  A lane makes bits of 64 bytes of one of the warp's 16 rows: bit j of
 * byte i of column[n] is key 8 j + 4 n + i.  A thread's two columns are 16 of them. */
ATTN_DEVICE void ATTN_FN(_mask_box)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, unsigned char *smem, float *s)
{
    const int lane = attn__lane(), row = a->p.mask.stride[2] ? f->first + lane / 2 : 0;
    const unsigned char *const box = smem + ATTN_BOX_AT + (f->box_count & 1) * (ATTN_BOX_BYTES / 2) + row * 64;
    ATTN_UNROLL
    for (int k = 0; k < ATTN_TILE_K / 128; ++k) {
        uint32_t column[2] = { 0, 0 }, seen[2];
        ATTN_UNROLL
        for (int n = 0; n < 4; ++n) {
            const uint4 x = *(const uint4 *)(const void *)(box + (2 * k + lane % 2) * ATTN_TILE_Q * 64 +
                                                           ((n ^ (row >> 1 & 3)) << 4));
            column[0] |= ATTN_FN(_ones)(x.x) << 2 * n | ATTN_FN(_ones)(x.z) << (2 * n + 1);
            column[1] |= ATTN_FN(_ones)(x.y) << 2 * n | ATTN_FN(_ones)(x.w) << (2 * n + 1);
        }
        ATTN_UNROLL
        for (int r = 0; r < 2; ++r) {
            uint32_t half[2];
            ATTN_UNROLL
            for (int n = 0; n < 2; ++n) {
                const int from = lane / 4 * 2 + 16 * r + n;
                const uint32_t low = (uint32_t)attn__shuffle_int((int)column[0], from);
                const uint32_t high = (uint32_t)attn__shuffle_int((int)column[1], from);
                half[n] = (lane & 2 ? high : low) >> (lane & 1) * 16 & 0xffffu;
            }
            seen[r] = half[0] | half[1] << 16;
        }
        if (!attn__any((seen[0] & seen[1]) != 0xffffffffu))
            continue;
        ATTN_UNROLL
        for (int n = 0; n < 64; ++n)
            if (!(seen[n / 2 % 2] & 1u << (n / 32 * 16 + n % 2 * 8 + n / 4 % 8)))
                s[64 * k + n] = ATTN_NEG_INF;
    }
}

/* Hides keys of S; turns its sign with a scale below 0. */
ATTN_DEVICE void ATTN_FN(_hide)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, unsigned char *smem, float *s)
{
    const ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, f->count);
    const ATTN_FN(_unit) *const u = &job->unit;
    const int k0 = ATTN_FN(_tile_at)(f->k0, f->turn);
    const int column = ATTN_FN(_load_key)(k0, u->len_k) + attn__lane() % 4 * 2;
    if (a->p.scale < 0.0f && !(ATTN_SOFTCAP && a->p.softcap > 0.0f) &&
        (ATTN_BOX_MASK || !ATTN_FN(_has_boxes)(a))) {
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NS; ++n)
            s[n] = -s[n];
    }
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        if (ATTN_CHUNK || ATTN_SINK_TOKENS) {
            const attn__keys keys = ATTN_FN(_keys_of)(u, ATTN_FN(_place_of)(a, u, f->row + 8 * r).i, k0);
            ATTN_UNROLL
            for (int n = 0; n < ATTN_NS / 2; ++n)
                if (!ATTN_FN(_sees)(&keys, column + n / 2 * 8 + n % 2))
                    s[n / 2 * 4 + 2 * r + n % 2] = ATTN_NEG_INF;
            continue;
        }
        const int row = f->row + 8 * r, first = ATTN_WINDOW ? job->from_key + row : 0, end = job->to_key + row;
        /* What lies before k0 belongs to the tile before. */
        ATTN_FN(_keep_columns)((ATTN_VARLEN && first < k0 ? k0 : first) - column,
                               (end < u->len_k ? end : u->len_k) - column, r, s);
    }
}

/* S in units of the cap: its tanh.  Where all scores of a warp are below half of the cap, a polynomial. */
ATTN_DEVICE void ATTN_FN(_cap)(const ATTN_FN(_args) *a, float *s)
{
    const float by = a->cap_unit * ATTN_TANH_UNIT;
    uint32_t bits = 0;
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NS; ++n) {
        s[n] *= by;
        bits |= __float_as_uint(s[n]);
    }
    if (attn__any((bits & 0x40000000u) != 0)) { /* some are 2 or more, or no numbers */
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NS; ++n)
            s[n] = attn__tanh(s[n] * (1.0f / ATTN_TANH_UNIT));
    } else {
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NS; ++n)
            s[n] = attn__tanh_near(s[n]);
    }
}

/* Whether some of its rows may not see all of the tile at hand. */
ATTN_DEVICE int ATTN_FN(_at_edge)(const ATTN_FN(_flow) *f)
{
    const int k0 = ATTN_FN(_tile_at)(f->k0, f->turn);
    return k0 < f->edge_lo || k0 + ATTN_TILE_K > f->edge_hi;
}

/* What changes the scores of the tile at hand: softcap, biases, masks. */
ATTN_DEVICE void ATTN_FN(_change)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, unsigned char *smem, float *s)
{
    const int k0 = ATTN_FN(_tile_at)(f->k0, f->turn);
    const int edge = f->edge;
    const int by_row = ATTN_FN(_by_row)(a), box = ATTN_FN(_has_boxes)(a);
    if (ATTN_SOFTCAP && a->p.softcap > 0.0f && !by_row)
        ATTN_FN(_cap)(a, s);
    if (box && !ATTN_BOX_MASK)
        ATTN_FN(_add_box)(a, f, smem, s);
    if (!by_row && edge && (!ATTN_CHANGES || box))
        ATTN_FN(_hide)(a, f, smem, s);
    if (box && ATTN_BOX_MASK)
        ATTN_FN(_mask_box)(a, f, smem, s);
    if (!by_row && (!edge || !ATTN_CHANGES || box))
        return;
    const int negative = !by_row && a->p.scale < 0.0f && !(ATTN_SOFTCAP && a->p.softcap > 0.0f);
    const ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, f->count);
    const ATTN_FN(_unit) *const u = &job->unit;
    const int first_column = ATTN_FN(_load_key)(k0, u->len_k) + attn__lane() % 4 * 2;
    ATTN_NO_UNROLL
    for (int r = 0; r < 2; ++r) { /* half the code, as rows change places behind it */
        const int column = attn__anew(first_column); /* or what both rows need of a key would be kept, for each key */
        const ATTN_FN(_place) at = ATTN_FN(_place_of)(a, u, f->row + 8 * r);
        float x[ATTN_NS / 2];
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NS / 2; ++n)
            x[n] = s[n / 2 * 4 + n % 2];
        if (by_row) {
            ATTN_UNROLL
            for (int n = 0; n < ATTN_NS / 2; n += ATTN_PIECE) {
                ATTN_FN(_score_row)(a, u, at.i, ATTN_FN(_head)(a, u, at), column + 4 * n, 2, 8, ATTN_PIECE, x + n);
                attn__wgmma_pin(x + n, ATTN_PIECE);
            }
        }
        if (edge) {
            const attn__keys keys = ATTN_FN(_keys_of)(u, at.i, k0);
            ATTN_UNROLL
            for (int n = 0; n < ATTN_NS / 2; ++n) {
                const int j = n / 2 * 8 + n % 2;
                const int sees = ATTN_WINDOW || ATTN_CHUNK || ATTN_VARLEN ? ATTN_FN(_sees)(&keys, column + j)
                                                                           : j < keys.hi - column;
                x[n] = !sees ? ATTN_NEG_INF : negative ? -x[n] : x[n];
            }
            if (job->pass >= 2) { /* as much as any other: its own weight may have been rounded to 0 */
                ATTN_UNROLL
                for (int n = 0; n < ATTN_NS / 2; ++n)
                    x[n] = x[n] == ATTN_NEG_INF ? x[n] : 0.0f;
            }
        }
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NS / 2; ++n) {
            float *const row = s + n / 2 * 4 + n % 2;
            row[0] = row[2];
            row[2] = x[n];
        }
    }
}

/* x, and what ALiBi adds to number n of S, less what it adds to the first one of the row. */
ATTN_DEVICE float ATTN_FN(_slope)(const ATTN_FN(_flow) *f, int n, float x)
{
    return ATTN_ALIBI ? fmaf((float)(n / 4 * 8 + n % 2), f->slope, x) : x;
}

/* What it adds to the first one of each row. */
ATTN_DEVICE void ATTN_FN(_bias)(const ATTN_FN(_flow) *f, unsigned char *smem, float *bias)
{
    const int len_k = ATTN_ALIBI && ATTN_VARLEN ? ATTN_FN(_job_at)(smem, f->count)->unit.len_k : 0;
    const int key = ATTN_FN(_load_key)(ATTN_FN(_tile_at)(f->k0, f->turn), len_k);
    const int distance = key + attn__lane() % 4 * 2 + f->ahead;
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r)
        bias[r] = ATTN_ALIBI ? f->slope * (float)(distance - 8 * r) : 0.0f;
}

/* The greatest of each of the two rows; roughly: of their first keys alone. */
ATTN_DEVICE void ATTN_FN(_greatest)(int roughly, const float *s, float *top)
{
    float m[4] = { s[0], s[2], s[4], s[6] };
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NS / 8; ++n) {
        if (n == ATTN_ROUGH_KEYS / 16 && roughly)
            break;
        ATTN_UNROLL
        for (int c = 0; c < 4; ++c)
            m[c] = attn__max(attn__max(m[c], s[8 * n + 2 * c]), s[8 * n + 2 * c + 1]);
    }
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        top[r] = attn__max(m[r], m[r + 2]);
        top[r] = attn__max(top[r], attn__shuffle_xor(top[r], 1));
        top[r] = attn__max(top[r], attn__shuffle_xor(top[r], 2));
    }
}

/* Sets r to the maximum of each row: of this tile if it is the first, else of what has been seen so far, and then
 * `factor` is what O is to be multiplied with. */
ATTN_DEVICE void ATTN_FN(_lift)(ATTN_FN(_flow) *f, int first, int roughly, const float *s, const float *bias)
{
    float top[2];
    if (ATTN_ALIBI) {
        float x[ATTN_NS];
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NS; ++n)
            x[n] = fmaf(s[n], f->unit, ATTN_FN(_slope)(f, n, bias[n / 2 % 2]));
        ATTN_FN(_greatest)(roughly, x, top);
    } else {
        ATTN_FN(_greatest)(roughly, s, top);
    }
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        const float now =
            attn__max(ATTN_ALIBI ? top[r] : top[r] * f->unit, first ? ATTN_NO_SCORE : -f->minus_r[r]);
        if (!first) {
            f->factor[r] = attn__exp2(-f->minus_r[r] - now);
            f->l[r] *= f->factor[r];
        }
        f->minus_r[r] = -now;
    }
    if (ATTN_BLANK)
        f->blank = attn__any(f->minus_r[0] == -ATTN_NO_SCORE || f->minus_r[1] == -ATTN_NO_SCORE);
}

/* P of the tile at hand from S as it is, with softcap as cap[0] S + cap[1] S^3 + cap[2] S^5, and with a bias; its sum
 * is added to l.  0: some scores are too great for that, or a row has outgrown r.
 *
 * A product or sum in f32 takes a clock from the tensor cores, as both want the same registers' ports; what else there
 * is, as looking for the greatest square, does not (H200).  So softcap has two terms while all scores are below a
 * quarter of the cap or so, as those of most heads are, then three. */
ATTN_DEVICE int ATTN_FN(_weights_raw)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem, int f32,
                                      int terms, const float *bias, const float *s, uint32_t *p)
{
    float sum[2] = { 0.0f, 0.0f }, box[8];
    const int at = ATTN_BOX ? ATTN_FN(_box_at)(a, f, f32) : 0;
    int most = 0;
    (void)bias, (void)box, (void)at, (void)f32;
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NS / 4; ++n) {
        float x[4];
        if (ATTN_BOX && n % 2 == 0)
            ATTN_FN(_read_box)(a, smem, f32, at, n / 2, box);
        ATTN_UNROLL
        for (int e = 0; e < 4; ++e) {
            const float qk = s[4 * n + e], z = qk * qk;
            float slope = a->scale_log2, minus = f->minus_r[e / 2];
            if (ATTN_ALIBI)
                minus += bias[e / 2];
            if (ATTN_BOX)
                minus = fmaf(box[n % 2 * 4 + e], ATTN_LOG2E, minus);
            if (ATTN_SOFTCAP) {
                const int bits = (int)__float_as_uint(z);
                slope = terms == 2 ? fmaf(a->cap_near[1], z, a->cap_near[0])
                                   : fmaf(fmaf(a->cap[2], z, a->cap[1]), z, a->cap[0]);
                most = bits > most ? bits : most;
            }
            x[e] = attn__exp2(fmaf(slope, qk, ATTN_FN(_slope)(f, 4 * n + e, minus)));
            sum[e / 2] += x[e];
        }
        p[2 * n] = ATTN_PACK(x[0], x[1]);
        p[2 * n + 1] = ATTN_PACK(x[2], x[3]);
    }
    const float square = __uint_as_float((unsigned)most);
    const int wild = ATTN_SOFTCAP && !(square < (terms == 2 ? a->cap_near_most : a->cap_most));
    if (attn__any(wild || !(sum[0] < ATTN_GROWTH && sum[1] < ATTN_GROWTH))) {
        if (ATTN_SOFTCAP && attn__any(wild))
            f->wild = attn__any(!(square < a->cap_most)) ? 2 : 1;
        return 0;
    }
    f->l[0] += sum[0];
    f->l[1] += sum[1];
    return 1;
}

/* Whether some scores of a tile are so great that there may be greater ones than two terms of tanh will do for. */
ATTN_DEVICE int ATTN_FN(_is_far)(const ATTN_FN(_args) *a, const float *s)
{
    float top = 0.0f;
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NS; ++n)
        top = attn__max(top, fabsf(s[n]));
    return attn__any(!(top * top < 0.7f * a->cap_near_most));
}

/* P = 2^(S - r), packed; its sum is added to l.  1: O is to be multiplied with `factor` once it may be touched. */
ATTN_DEVICE int ATTN_FN(_weights)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem, int first, float *s,
                                  uint32_t *p)
{
    float sum[4], bias[2], minus[2];
    ATTN_FN(_bias)(f, smem, bias);
    int lift = first, scale = first;
    if (ATTN_SOFTCAP && first) /* by the unit's own scores: what came before differs from call to call */
        f->wild = ATTN_RAW && !f->edge && ATTN_FN(_is_far)(a, s);
    const int raw = (ATTN_BOX ? ATTN_FN(_has_boxes)(a) : ATTN_RAW && a->p.softcap > 0.0f && f->wild < 2) && !first &&
                    !(ATTN_BLANK && f->blank) && !f->edge;
    if (ATTN_RAW) {
        const int f32 = ATTN_FN(_box_f32)(a);
        if (raw && (f32                         ? ATTN_FN(_weights_raw)(a, f, smem, 1, 3, bias, s, p)
                    : ATTN_SOFTCAP && !f->wild ? ATTN_FN(_weights_raw)(a, f, smem, 0, 2, bias, s, p)
                                                : ATTN_FN(_weights_raw)(a, f, smem, 0, 3, bias, s, p)))
            return 0;
        ATTN_FN(_change)(a, f, smem, s);
    }
    ATTN_NO_UNROLL
    /* The second is right, or never will be: NaN.  The first would be in vain for a row that has seen no key. */
    for (int tries = (ATTN_RAW && raw) || (ATTN_BLANK && f->blank && !first); tries < 2; ++tries) {
        if (lift || ((ATTN_RAW || ATTN_BLANK) && tries)) {
            ATTN_FN(_lift)(f, first, first && !tries, s, bias);
            scale = 1;
        }
        minus[0] = ATTN_ALIBI ? f->minus_r[0] + bias[0] : f->minus_r[0];
        minus[1] = ATTN_ALIBI ? f->minus_r[1] + bias[1] : f->minus_r[1];
        sum[0] = sum[1] = sum[2] = sum[3] = 0.0f;
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NS / 4; ++n) {
            float x[4];
            if (n && n == ATTN_SEAM)
                attn__wgmma_seam(f->to);
            ATTN_UNROLL
            for (int e = 0; e < 4; ++e) {
                x[e] = attn__exp2(fmaf(s[4 * n + e], f->unit, ATTN_FN(_slope)(f, 4 * n + e, minus[e / 2])));
                sum[e] += x[e];
            }
            p[2 * n] = ATTN_PACK(x[0], x[1]);
            p[2 * n + 1] = ATTN_PACK(x[2], x[3]);
        }
        sum[0] += sum[1];
        sum[2] += sum[3];
        lift = attn__any(!(sum[0] < ATTN_GROWTH && sum[2] < ATTN_GROWTH));
        if (!lift)
            break;
    }
    f->l[0] += sum[0];
    f->l[1] += sum[2];
    return scale;
}

/* The same with one P, in place, not packed.  Growth shows before the exponentials. */
ATTN_DEVICE int ATTN_FN(_weights_in_place)(ATTN_FN(_flow) *f, unsigned char *smem, int first, float *s)
{
    const float none = -ATTN_NO_SCORE;
    float sum[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, bias[2], minus[2], with[2];
    int blank[2], lift = 0;
    ATTN_FN(_bias)(f, smem, bias);
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        /* A row that has seen no key: its scores as they are, for S is lost. */
        blank[r] = first || f->minus_r[r] == none;
        minus[r] = blank[r] ? 0.0f : f->minus_r[r];
        with[r] = ATTN_ALIBI ? minus[r] + bias[r] : minus[r];
    }
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NS; ++n)
        s[n] = fmaf(s[n], f->unit, ATTN_FN(_slope)(f, n, with[n / 2 % 2]));
    if (ATTN_ABOVE > 0.0f) { /* r is so far above that growth is what is not negative */
        uint32_t signs = 0xffffffffu;
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NS; ++n)
            signs &= __float_as_uint(s[n]);
        lift = (int)signs >= 0;
    } else {
        float top = s[0];
        ATTN_UNROLL
        for (int n = 1; n < ATTN_NS; ++n)
            top = attn__max(top, s[n]);
        lift = !(top < 9.0f);
    }
    lift = attn__any(lift || blank[0] || blank[1]);
    if (lift) {
        float top[2];
        ATTN_FN(_greatest)(0, s, top);
        ATTN_UNROLL
        for (int r = 0; r < 2; ++r) {
            const float found = top[r] - minus[r] + ATTN_ABOVE, before = -f->minus_r[r];
            const float now = blank[r] ? (top[r] > ATTN_NO_SCORE ? found : ATTN_NO_SCORE) : attn__max(found, before);
            if (!first) {
                f->factor[r] = blank[r] ? 1.0f : attn__exp2(before - now);
                f->l[r] *= f->factor[r];
            }
            f->minus_r[r] = -now;
            const float by = -now - minus[r];
            ATTN_UNROLL
            for (int n = 0; n < ATTN_NS / 2; ++n)
                s[n / 2 * 4 + 2 * r + n % 2] += by;
        }
    }
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NS; ++n) {
        s[n] = attn__exp2(s[n]);
        sum[n % 4] += s[n];
    }
    f->l[0] += sum[0] + sum[1];
    f->l[1] += sum[2] + sum[3];
    attn__wgmma_after(f->l[0] + f->l[1]);
    return lift;
}

/* P of the tile at hand: p with two arrays, else s, not packed.  1: O is to be multiplied with `factor`. */
ATTN_DEVICE int ATTN_FN(_softmax)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem, int first, float *s,
                                  uint32_t *p)
{
    if (ATTN_FN(_has_boxes)(a))
        ATTN_FN(_take_box)(a, f);
    if (!ATTN_RAW)
        ATTN_FN(_change)(a, f, smem, s);
    const int scale = ATTN_TWO_P ? ATTN_FN(_weights)(a, f, smem, first, s, p)
                                 : ATTN_FN(_weights_in_place)(f, smem, first, s);
    if (ATTN_FN(_has_boxes)(a))
        ATTN_FN(_leave_box)(a, f);
    return scale;
}

ATTN_DEVICE void ATTN_FN(_pack)(const float *s, uint32_t *p)
{
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NP; ++n)
        p[n] = ATTN_PACK(s[2 * n], s[2 * n + 1]);
}

ATTN_DEVICE void ATTN_FN(_scale)(const ATTN_FN(_flow) *f, float *o)
{
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NO; ++n)
        o[n] *= f->factor[n / 2 % 2];
}

/* ---- the end of a unit ----------------------------------------------------------------------------- */

/* The sums of job's rows are complete: l becomes `factor` and `lse`, or is stored as a partial result.  This is on the
 * way to the next product, so both rows go side by side, and lse is stored later. */
ATTN_DEVICE void ATTN_FN(_close)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, const ATTN_FN(_job) *job)
{
    const ATTN_FN(_unit) *const u = &job->unit;
    ATTN_UNROLL
    for (int by = 1; by < 4; by *= 2) {
        ATTN_UNROLL
        for (int r = 0; r < 2; ++r)
            f->l[r] += attn__shuffle_xor(f->l[r], by);
    }
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r)
#if ATTN_SINK_LOGITS
        f->factor[r] = ATTN_FN(_finish_beside)(job->sink, -f->minus_r[r], f->l[r], &f->lse[r]);
#else
        f->factor[r] = ATTN_FN(_finish)(a, u->g, -f->minus_r[r], f->l[r], &f->lse[r]);
#endif
    if (a->parts > 1) {
        ATTN_UNROLL
        for (int r = 0; r < 2; ++r) {
            const int row = f->row + 8 * r;
            const int64_t to = (int64_t)u->part * a->part_rows + ATTN_FN(_part_row)(a, u, row);
            f->factor[r] = 1.0f;
            if (row < u->rows && attn__lane() % 4 == 0 && job->pass < 2) {
                a->part_m[to] = f->l[r] == 0.0f ? ATTN_NEG_INF : -f->minus_r[r];
                a->part_l[to] = f->l[r];
            }
        }
    }
    f->l[0] = f->l[1] = 0.0f;
}

/* A sum of O, which is scaled, that is not finite if any is not; the other way round does no harm.  What is not finite
 * in V makes the same column of every row so, hidden or not; so the first of a thread's two rows speaks for the other
 * one, unless all of it is NaN for reasons of its own. */
ATTN_DEVICE float ATTN_FN(_sum_of)(const ATTN_FN(_flow) *f, const float *o)
{
    float sum[2] = { 0.0f, 0.0f };
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NO / 2; ++n)
        sum[n % 2] += o[n / 2 * 4 + n % 2];
    return f->factor[0] == f->factor[0] || f->factor[1] == f->factor[1] ? sum[0] + sum[1] : 0.0f;
}

/* Whether something in the rows of this warp, of which `sum` is, is not finite that might be with another V. */
ATTN_DEVICE int ATTN_FN(_is_wrong)(const ATTN_FN(_flow) *f, const ATTN_FN(_unit) *u, float sum)
{
    return attn__any(!(sum - sum == 0.0f) && f->row < u->rows);
}

/* Rows of one part, in f32. */
ATTN_DEVICE void ATTN_FN(_store_part)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_unit) *u,
                                      const float *o)
{
    const int dim_v = ATTN_FN(_dim_v)(a), column = attn__lane() % 4 * 2;
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        const int row = f->row + 8 * r;
        float *const to =
            a->part_o + ((int64_t)u->part * a->part_rows + ATTN_FN(_part_row)(a, u, row)) * dim_v + column;
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NO / 2; ++n)
            if (row < u->rows && n / 2 * 8 + n % 2 + column < dim_v)
                to[n / 2 * 8 + n % 2] = o[n / 2 * 4 + 2 * r + n % 2];
    }
}

/* By 16 bytes: four lanes that have pairs of the same row exchange them. */
ATTN_DEVICE void ATTN_FN(_store_wide)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_unit) *u,
                                      const float *o)
{
    const int q = attn__lane() % 4, dim_v = ATTN_FN(_dim_v)(a);
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r) {
        const ATTN_FN(_place) at = ATTN_FN(_place_of)(a, u, f->row + 8 * r);
        uint16_t *const to =
            (uint16_t *)a->p.o.data + ATTN_FN(_o_at)(a, u, at.i, ATTN_FN(_head)(a, u, at)) + 8 * q;
        ATTN_UNROLL
        for (int n = 0; n < ATTN_NO / 4; n += 4) {
            uint32_t x[4];
            ATTN_UNROLL
            for (int e = 0; e < 4; ++e)
                x[e] = n + e < ATTN_NO / 4 ? ATTN_PACK(o[(n + e) % (ATTN_NO / 4) * 4 + 2 * r],
                                                       o[(n + e) % (ATTN_NO / 4) * 4 + 2 * r + 1])
                                           : 0;
            ATTN_FN(_exchange)(x);
            if (f->row + 8 * r < u->rows && 8 * (n + q) < dim_v)
                *(uint4 *)(void *)(to + 8 * n) = make_uint4(x[0], x[1], x[2], x[3]);
        }
    }
}

/* Through shared memory, 16 rows of a warp as one box for each 64 columns.  What of it lies beyond the tensor is not
 * written. */
ATTN_DEVICE void ATTN_FN(_write_box)(const ATTN_FN(_flow) *f, const float *o)
{
    const int lane = attn__lane(), row = lane % 16;
    const uint32_t own = f->base + (uint32_t)(ATTN_O_AT + f->first * 128);
    if (lane == 0)
        ATTN_BULK_WAIT_READ(0); /* the rows before are on their way */
    __syncwarp();
    ATTN_UNROLL
    for (int n = 0; n < (ATTN_NO + 7) / 8; ++n) {
        uint32_t x[4];
        ATTN_UNROLL
        for (int e = 0; e < 4; ++e)
            x[e] = 8 * n + 2 * e < ATTN_NO ? ATTN_PACK(o[(8 * n + 2 * e) % ATTN_NO], o[(8 * n + 2 * e + 1) % ATTN_NO])
                                           : 0;
        const int piece = n % 4 * 2 + lane / 16;
        attn__stmatrix_x4(own + (uint32_t)(n / 4 * ATTN_TILE_Q * 128 + row * 128 + ((piece ^ (row & 7)) << 4)), x);
    }
}
ATTN_DEVICE void ATTN_FN(_send_box)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_unit) *u)
{
    attn__fence_async();
    __syncwarp();
    if (attn__lane() == 0) {
        const uint32_t own = f->base + (uint32_t)(ATTN_O_AT + f->first * 128);
        ATTN_UNROLL
        for (int n = 0; n < ATTN_V_PANELS; ++n)
            attn__tma_store_4d(&a->map_o, own + (uint32_t)(n * ATTN_TILE_Q * 128), 64 * n,
                               (int)u->base_q + u->row0 + f->first, u->g, ATTN_VARLEN && a->p.cu_seqlens_q ? 0 : u->b);
        attn__bulk_commit();
    }
}

/* Element by element: any type, any strides, any pass.  Few instructions rather than few clocks: the numbers pass
 * through the first registers. */
ATTN_DEVICE void ATTN_FN(_store_any)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_job) *job,
                                     float *o)
{
    const ATTN_FN(_unit) *const u = &job->unit;
    const int dim_v = ATTN_FN(_dim_v)(a), pass = job->pass, parts = a->parts;
    if (ATTN_KEEP_O && pass) { /* rows that were right in pass 0 have been stored */
        if (attn__lane() == 0)
            ATTN_BULK_WAIT(0);
        __syncwarp();
    }
    ATTN_NO_UNROLL
    for (int column = attn__lane() % 4 * 2; column < ATTN_HEAD_DIM_V; column += 8) {
        ATTN_UNROLL
        for (int n = 0; n < 4; ++n) {
            const int row = f->row + n / 2 * 8, d = column + n % 2;
            if (row >= u->rows || d >= dim_v)
                continue;
            const ATTN_FN(_place) at = ATTN_FN(_place_of)(a, u, row);
            const int64_t part = (int64_t)u->part * a->part_rows + ATTN_FN(_part_row)(a, u, row);
            const int64_t to = parts > 1 ? part * dim_v + d
                                         : ATTN_FN(_o_at)(a, u, at.i, ATTN_FN(_head)(a, u, at)) + d * a->p.o.stride[3];
            float y = o[n];
            if (pass >= 2) {
                if (!(y > 0.0f))
                    continue;
                y = pass == 2 ? -ATTN_NEG_INF : ATTN_NEG_INF;
                y += parts > 1 ? a->part_o[to] : ATTN_FN(_get_o)(a, to);
            }
            if (parts > 1)
                a->part_o[to] = y;
            else
                ATTN_FN(_put_o)(a, to, y);
        }
        ATTN_UNROLL
        for (int n = 0; n + 4 < ATTN_NO; ++n)
            o[n] = o[n + 4];
    }
}

/* After O: the fence before a box waits for all that was stored. */
ATTN_DEVICE void ATTN_FN(_store_lse)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, const ATTN_FN(_job) *job)
{
    float *const lse = job->lse;
    ATTN_UNROLL
    for (int r = 0; r < 2; ++r)
        if (lse && f->row + 8 * r < job->unit.rows && attn__lane() % 4 == 0)
            lse[f->row + 8 * r] = ATTN_FN(_lse_of)(a, f->lse[r]);
}

/* Stores O of job `count`, which is scaled, and leaves the job. */
ATTN_DEVICE void ATTN_FN(_store)(const ATTN_FN(_args) *a, const ATTN_FN(_flow) *f, unsigned char *smem, unsigned count,
                                 float *o)
{
    ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, count);
    const ATTN_FN(_unit) *const u = &job->unit;
    const int first = f->first;
    const int wrong = ATTN_FN(_is_wrong)(f, u, ATTN_FN(_sum_of)(f, o));
    if (ATTN_KEEP_O && job->plain == 2 && !wrong && (first + 16 <= u->rows || !ATTN_VARLEN)) {
        ATTN_FN(_write_box)(f, o);
        ATTN_FN(_send_box)(a, f, u);
    } else if (job->plain && !wrong) {
        ATTN_FN(_store_wide)(a, f, u, o);
    } else if (wrong && !job->pass) {
        if (attn__lane() == 0)
            job->wrong[first / 16] = 1;
    } else if (a->parts > 1 && !job->pass) {
        ATTN_FN(_store_part)(a, f, u, o);
    } else {
        ATTN_FN(_store_any)(a, f, job, o);
    }
    ATTN_FN(_store_lse)(a, f, job);
    ATTN_FN(_leave_job)(f, count);
}

/* The same in two parts, for the first of which alone the next products wait.  0: this is none for that, and nothing
 * has been done.  The four warps of a group answer alike, for they ask for products together. */
ATTN_DEVICE int ATTN_FN(_store_early)(ATTN_FN(_flow) *f, unsigned char *smem, unsigned count, const float *o)
{
    const ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, count);
    if (job->plain != 2 || (ATTN_VARLEN && f->first / 64 * 64 + 64 > job->unit.rows))
        return 0;
    f->late_sum = ATTN_FN(_sum_of)(f, o);
    ATTN_FN(_write_box)(f, o);
    f->late = 1;
    return 1;
}
ATTN_DEVICE void ATTN_FN(_store_late)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem, unsigned count)
{
    ATTN_FN(_job) *const job = ATTN_FN(_job_at)(smem, count);
    if (!f->late)
        return;
    f->late = 0;
    if (!ATTN_FN(_is_wrong)(f, &job->unit, f->late_sum))
        ATTN_FN(_send_box)(a, f, &job->unit);
    else if (attn__lane() == 0)
        job->wrong[f->first / 16] = 1;
    ATTN_FN(_store_lse)(a, f, job);
    ATTN_FN(_leave_job)(f, count);
}

/* ---- the stream ------------------------------------------------------------------------------------ */

/* The tile at hand is multiplied: its K, and Q if it was the last, may be overwritten. */
ATTN_DEVICE void ATTN_FN(_leave_k)(const ATTN_FN(_flow) *f, int last)
{
    const int one = threadIdx.x % 128 == 0;
    attn__mbarrier_arrive_if(ATTN_FN(_barrier)(f->base, ATTN_K_EMPTY + f->k_stage), one);
    attn__mbarrier_arrive_if(ATTN_FN(_barrier)(f->base, ATTN_Q_EMPTY + (int)(f->q_count % ATTN_Q_STAGES)), one && last);
}

/* O has that of the tile before, whose V may be overwritten; and that of a tile that was left out. */
ATTN_DEVICE void ATTN_FN(_leave_v)(ATTN_FN(_flow) *f)
{
    const int one = threadIdx.x % 128 == 0;
    attn__mbarrier_arrive_if(ATTN_FN(_barrier)(f->base, ATTN_V_EMPTY + f->v_stage), one);
    if (ATTN_SKIP && f->skipped) {
        const int wraps = f->v_stage + 1 == ATTN_STAGES, stage = wraps ? 0 : f->v_stage + 1;
        if (f->first % 64 == 0)
            attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_V_FULL + stage), f->v_parity ^ wraps);
        attn__mbarrier_arrive_if(ATTN_FN(_barrier)(f->base, ATTN_V_EMPTY + stage), one);
        f->skipped = 0;
    }
}

/* From the tile at hand to the next one. */
ATTN_DEVICE void ATTN_FN(_advance)(ATTN_FN(_flow) *f, int first, int next)
{
    f->keep = !first;
    f->k0 = next;
    f->v_stage = f->k_stage;
    f->v_parity = f->k_parity;
    f->k_stage = f->next_stage;
    f->k_parity = f->next_parity;
}

/* What is known of the tile at hand and of the stage after it, before products are waited for. */
ATTN_DEVICE void ATTN_FN(_look_ahead)(ATTN_FN(_flow) *f)
{
    const int wraps = f->k_stage + 1 == ATTN_STAGES;
    f->edge = attn__anew(ATTN_FN(_at_edge)(f));
    f->next_stage = attn__anew(wraps ? 0 : f->k_stage + 1);
    f->next_parity = attn__anew(f->k_parity ^ wraps);
}

/* The tile after the one at hand; f->to or more if there is none. */
ATTN_DEVICE int ATTN_FN(_next_of)(const ATTN_FN(_flow) *f, unsigned char *smem)
{
    int next = f->k0 + ATTN_TILE_K; /* what is seen is one interval, but for sink tokens */
    if (!ATTN_WINDOW)
        return next;
    if (ATTN_SINK_TOKENS)
        next = ATTN_FN(_tile_after)(&ATTN_FN(_job_at)(smem, f->count)->unit, f->k0, f->lowest, f->to);
    else if (next >= f->to)
        next = f->lowest;
    return next == f->start ? f->to : next;
}

/* What a step has done. */
enum {
    ATTN_FN(_step_none),  /* nothing: there is no tile at hand */
    ATTN_FN(_step_tile),
    ATTN_FN(_step_unit)   /* and O is that of the unit before, which is yet to be stored */
};

/* Q K^T of the tile at hand and P V of the tile before, P being p; P of this tile becomes p_next. */
ATTN_DEVICE int ATTN_FN(_step)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem, float *s, float *o,
                               uint32_t *p, uint32_t *p_next)
{
    const int first = f->k0 >= f->to;
    if (first && !ATTN_FN(_next_job)(a, f, smem)) {
        if (ATTN_SMALL)
            ATTN_FN(_store_late)(a, f, smem, f->count - 2);
        return ATTN_FN(_step_none);
    }
    const int next = attn__anew(ATTN_FN(_next_of)(f, smem)), last = attn__anew(next >= f->to);
    ATTN_FN(_look_ahead)(f);
    attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_K_FULL + f->k_stage), f->k_parity);
    ATTN_FN(_turn_take)(f);
    attn__wgmma_pin(s, ATTN_NS);
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(p, ATTN_NP);
    ATTN_FN(_ask_scores)(f, s);
    attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_V_FULL + f->v_stage), f->v_parity);
    ATTN_FN(_ask_values)(f, p, o);
    ATTN_FN(_turn_pass)(f);
    if (ATTN_SMALL)
        ATTN_FN(_store_late)(a, f, smem, f->count - 1 - (unsigned)first);
    if (first)
        ATTN_FN(_close)(a, f, ATTN_FN(_job_at)(smem, f->count - 1));
    ATTN_WGMMA_WAIT(1);
    attn__wgmma_pin(s, ATTN_NS);
    ATTN_FN(_leave_k)(f, last);
    const int scale = ATTN_FN(_softmax)(a, f, smem, first, s, p_next);
    ATTN_WGMMA_WAIT(0);
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(p, ATTN_NP);
    ATTN_FN(_leave_v)(f);
    if (!ATTN_TWO_P)
        ATTN_FN(_pack)(s, p_next);
    if (scale)
        ATTN_FN(_scale)(f, o);
    ATTN_FN(_advance)(f, first, next);
    if (ATTN_SMALL && first && ATTN_FN(_store_early)(f, smem, f->count - 1, o))
        return ATTN_FN(_step_tile);
    return first ? ATTN_FN(_step_unit) : ATTN_FN(_step_tile);
}

/* Steps to the end of a unit; p is P of the tile before, at both ends. */
ATTN_DEVICE int ATTN_FN(_steps)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem, float *s, float *o,
                                uint32_t *p)
{
    uint32_t other[ATTN_NP];
    int done, in_other;
    ATTN_NO_UNROLL
    do { /* the two change roles: what is multiplied must not be written, nor moved */
        done = ATTN_FN(_step)(a, f, smem, s, o, p, ATTN_TWO_P ? other : p);
        in_other = ATTN_TWO_P && done == ATTN_FN(_step_unit);
        if (ATTN_TWO_P && done == ATTN_FN(_step_tile)) {
            done = ATTN_FN(_step)(a, f, smem, s, o, other, p);
            in_other = done == ATTN_FN(_step_none);
        }
    } while (done == ATTN_FN(_step_tile));
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NP && in_other; ++n)
        p[n] = other[n];
    return done;
}

/* The first step of a stream: there is no tile before. */
ATTN_DEVICE void ATTN_FN(_begin)(const ATTN_FN(_args) *a, ATTN_FN(_flow) *f, unsigned char *smem, float *s, uint32_t *p)
{
    const int next = ATTN_FN(_next_of)(f, smem);
    ATTN_FN(_look_ahead)(f);
    attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_K_FULL + f->k_stage), f->k_parity);
    ATTN_FN(_turn_take)(f);
    attn__wgmma_pin(s, ATTN_NS);
    ATTN_FN(_ask_scores)(f, s);
    ATTN_FN(_turn_pass)(f);
    ATTN_WGMMA_WAIT(0);
    attn__wgmma_pin(s, ATTN_NS);
    ATTN_FN(_leave_k)(f, next >= f->to);
    (void)ATTN_FN(_softmax)(a, f, smem, 1, s, p);
    if (!ATTN_TWO_P)
        ATTN_FN(_pack)(s, p);
    ATTN_FN(_advance)(f, 1, next);
}

/* P V of the last tile of a stream. */
ATTN_DEVICE void ATTN_FN(_end)(ATTN_FN(_flow) *f, float *o, uint32_t *p)
{
    attn__mbarrier_wait(ATTN_FN(_barrier)(f->base, ATTN_V_FULL + f->v_stage), f->v_parity);
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(p, ATTN_NP);
    ATTN_FN(_ask_values)(f, p, o);
    ATTN_WGMMA_WAIT(0);
    attn__wgmma_pin(o, ATTN_NO);
    attn__wgmma_pin_a(p, ATTN_NP);
    ATTN_FN(_leave_v)(f);
}

/* A warpgroup. */
ATTN_DEVICE void ATTN_FN(_compute)(const ATTN_FN(_args) *a, unsigned char *smem, uint32_t base, int warp)
{
    const int group = warp / 4 - 1;
    ATTN_FN(_flow) f;
    float s[ATTN_NS], o[ATTN_NO];
    uint32_t p[ATTN_NP];
    ATTN_UNROLL
    for (int n = 0; n < ATTN_NO; ++n)
        o[n] = 0.0f;
    f.base = base;
    f.q_low = (uint32_t)attn__wgmma_desc(base + (uint32_t)(group * 8192), 16, 0, 0);
    /* Or they would be worked out again for each tile, between a turn and its first product. */
    f.k_low = (uint32_t)attn__shuffle_int((int)attn__wgmma_desc(base + ATTN_K_AT, 16, 0, 0), 0);
    f.v_low = (uint32_t)attn__shuffle_int((int)attn__wgmma_desc(base + ATTN_V_AT, ATTN_TILE_K * 128, 0, 0), 0);
    f.q_now = f.q_low;
    f.group = group;
    f.edge = f.next_stage = f.next_parity = 0;
    f.skips = f.skipped = 0;
    f.first = 16 * (warp - 4);
    f.row = f.first + attn__lane() / 4;
    f.count = f.q_count = 0u - 1;
    f.kind = f.k0 = f.lowest = f.start = f.to = f.edge_lo = f.edge_hi = f.ahead = 0;
    f.blank = 0;
    f.turn = 0;
    f.slope = 0.0f;
    f.k_stage = f.k_parity = f.v_stage = f.v_parity = f.keep = 0;
    f.box_count = 0;
    f.wild = 0;
    f.unit = ATTN_FN(_by_row)(a) || (!ATTN_BOX_MASK && ATTN_FN(_has_boxes)(a)) ? 1.0f
             : ATTN_SOFTCAP && a->p.softcap > 0.0f ? a->p.softcap * ATTN_LOG2E
                                                   : fabsf(a->scale_log2);
    f.minus_r[0] = f.minus_r[1] = f.l[0] = f.l[1] = f.factor[0] = f.factor[1] = 0.0f;
    f.lse[0] = f.lse[1] = 0.0f;
    f.late = 0;
    f.late_sum = 0.0f;
    if (ATTN_TURNS && group == ATTN_GROUPS - 1)
        attn__barrier_arrive(1, 256);
    (void)ATTN_FN(_next_job)(a, &f, smem);
    ATTN_NO_UNROLL
    while (f.kind != ATTN_FN(_job_end)) {
        if (f.kind == ATTN_FN(_job_pause)) {
            ATTN_FN(_leave_job)(&f, f.count);
            (void)ATTN_FN(_next_job)(a, &f, smem);
            continue;
        }
        ATTN_FN(_begin)(a, &f, smem, s, p);
        int done;
        ATTN_NO_UNROLL
        do {
            done = ATTN_FN(_steps)(a, &f, smem, s, o, p);
            if (done == ATTN_FN(_step_none)) {
                ATTN_FN(_end)(&f, o, p);
                ATTN_FN(_close)(a, &f, ATTN_FN(_job_at)(smem, f.count - 1));
                ATTN_FN(_scale)(&f, o);
            }
            ATTN_FN(_store)(a, &f, smem, f.count - 1, o);
        } while (done == ATTN_FN(_step_unit));
    }
    if (ATTN_TURNS && group == 0)
        attn__barrier(1, 256); /* the turn that is left over */
    if (ATTN_KEEP_O && attn__lane() == 0)
        ATTN_BULK_WAIT_READ(0);
}

/* ---- the kernel ------------------------------------------------------------------------------------ */

ATTN_DEVICE void ATTN_FN(_make_barriers)(uint32_t base)
{
    ATTN_NO_UNROLL
    for (int n = 0; n < ATTN_BARRIERS; ++n) {
        const int empty = (n >= ATTN_Q_EMPTY && n < ATTN_K_FULL) || (n >= ATTN_K_EMPTY && n < ATTN_V_FULL) ||
                          (n >= ATTN_V_EMPTY && n < ATTN_V_RAW);
        const int job = n >= ATTN_JOB_EMPTY && n < ATTN_BOX_FULL, box = ATTN_BOX && n >= ATTN_BOX_EMPTY;
        attn__mbarrier_init(ATTN_FN(_barrier)(base, n),
                            empty ? ATTN_GROUPS : job ? 4 * ATTN_GROUPS + 1 : box ? 4 * ATTN_GROUPS : 1);
    }
    attn__mbarrier_made();
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
    int begun = 0;
    if (threadIdx.x == 0)
        ATTN_FN(_make_barriers)(base);
    if (threadIdx.x == 32 && !a.fixed) /* lengths may be what the kernel before writes */
        attn__grid_wait();
    if (threadIdx.x == 32) /* meanwhile */
        begun = ATTN_FN(_plan_job)(&a, (int)blockIdx.x, 0, ATTN_FN(_job_at)(smem, 0));
    if (threadIdx.x == 64) {
        attn__tma_prefetch_map(&a.map_q);
        attn__tma_prefetch_map(&a.map_k);
        attn__tma_prefetch_map(&a.map_v);
        if (ATTN_KEEP_O && a.box_o)
            attn__tma_prefetch_map(&a.map_o);
    }
    attn__grid_wait(); /* until here nothing was touched that another kernel may touch */
    attn__grid_launch_next();
    __syncthreads();
    if (warp < 4) {
        ATTN_REGISTERS_GIVE(ATTN_LOAD_REGISTERS);
        if (warp == 0)
            ATTN_FN(_load_jobs)(&a, smem, base);
        if (threadIdx.x == 32)
            ATTN_FN(_plan_jobs)(&a, smem, ATTN_FN(_barrier)(base, 0), begun);
    } else {
        ATTN_REGISTERS_TAKE(ATTN_REGISTERS);
        ATTN_FN(_compute)(&a, smem, base, warp);
    }
#endif
}

/* ---- host ------------------------------------------------------------------------------------------ */

/* A map of a tensor of rows as its strides say it, dims of which there are fewer than in the instance being zeros.
 * rows, heads, batch: how many there are. */
static cudaError_t ATTN_FN(_map)(attn__tma_map *map, const attn_tensor *t, int dim, int64_t rows, int heads, int batch,
                                 int box_rows)
{
    const int64_t extent[4] = { dim, rows, heads, batch }, any = (dim + 7) / 8 * 8;
    const int64_t stride[4] = { 1, rows > 1 ? t->stride[1] : any, heads > 1 ? t->stride[2] : any,
                                batch > 1 ? t->stride[0] : any };
    const int box[4] = { 64, box_rows, 1, 1 };
    return attn__tma_encode(map, ATTN_DTYPE, t->data, 4, extent, stride, box, 128, 256);
}

/* A map of the bias or the mask: 1, or 0 if TMA cannot follow its strides. */
static int ATTN_FN(_map_box)(ATTN_FN(_args) *a)
{
    const attn_params *p = &a->p;
    const attn_tensor *t = ATTN_BOX_MASK ? &p->mask : &p->bias;
    const int type = ATTN_BOX_MASK ? ATTN_BOOL : t->dtype == ATTN_F32 ? ATTN_F32 : ATTN_DTYPE;
    const int size = ATTN_BOX_MASK ? 1 : type == ATTN_F32 ? 4 : 2;
    const int64_t any = (p->seq_k + 15) / 16 * 16; /* a stride that is not used */
    const int64_t extent[4] = { p->seq_k, t->stride[2] ? p->seq_q : 1, t->stride[1] ? p->heads_q : 1,
                                t->stride[0] ? p->batch : 1 };
    const int64_t stride[4] = { 1, extent[1] > 1 ? t->stride[2] : any, extent[2] > 1 ? t->stride[1] : any,
                                extent[3] > 1 ? t->stride[0] : any };
    const int box[4] = { 64 / size, t->stride[2] ? ATTN_TILE_Q : 1, 1, 1 };
    for (int n = 1; n < 4; ++n)
        if (stride[n] <= 0 || stride[n] * size % 16)
            return 0;
    return (uintptr_t)t->data % 16 == 0 && t->stride[3] == 1 && (!ATTN_BOX_MASK || t->dtype == ATTN_BOOL) &&
           attn__tma_encode(&a->map_box, type, t->data, 4, extent, stride, box, 64, 128) == cudaSuccess;
}

/* A key for one launch; a graph that is replayed has the same again.  No number that is in use has its bits: as f32
 * or a pair of bf16 it is NaN, as an integer it is far below 0. */
static uint32_t ATTN_FN(_ticket_key)(void)
{
    static uint32_t launches;
    const uint32_t n = __atomic_add_fetch(&launches, 1, __ATOMIC_RELAXED) * 0x9e3779b1u;
    return 0xffa00000u | n >> 12;
}

/* Starts the kernel.  Relies on seq_k > 0. */
static cudaError_t ATTN_FN(_start)(ATTN_FN(_args) *a, unsigned long long *tickets, void *stream)
{
    const attn_params *p = &a->p;
    const int packed_q = p->cu_seqlens_q != NULL, packed_k = p->cu_seqlens_k != NULL;
    const int64_t rows_q = packed_q ? p->total_q : p->seq_q, keys = (int64_t)p->batch * p->seq_k;
    const int64_t rows_k = !packed_k ? p->seq_k : keys < INT32_MAX ? keys : INT32_MAX; /* or fewer: see the top */
    attn_device device;
    if (a->units > INT32_MAX - 65536 || p->seq_k > ATTN_MOST_KEYS) /* numbers of units have 32 bits */
        return cudaErrorInvalidValue;
    cudaError_t e =
        ATTN_FN(_map)(&a->map_q, &p->q, p->head_dim, rows_q, p->heads_q, packed_q ? 1 : p->batch, ATTN_TILE_Q);
    if (e == cudaSuccess)
        e = ATTN_FN(_map)(&a->map_k, &p->k, p->head_dim, rows_k, p->heads_k, packed_k ? 1 : p->batch, ATTN_TILE_K);
    if (e == cudaSuccess)
        e = ATTN_FN(_map)(&a->map_v, &p->v, p->head_dim_v, rows_k, p->heads_k, packed_k ? 1 : p->batch, ATTN_TILE_K);
    if (e != cudaSuccess)
        return e;
    if (ATTN_KEEP_O && a->wide_o)
        a->box_o = ATTN_FN(_map)(&a->map_o, &p->o, p->head_dim_v, rows_q, p->heads_q, packed_q ? 1 : p->batch, 16) ==
                   cudaSuccess;
    if (ATTN_BOX && (ATTN_BOX_MASK ? p->mask.data : p->bias.data))
        a->boxes = ATTN_FN(_map_box)(a);
    ATTN_FN(_device)(&device);
    const int64_t blocks = device.sms < ATTN_GRID_MOST ? device.sms : ATTN_GRID_MOST;
    const unsigned grid = (unsigned)(a->units < blocks ? a->units : blocks);
    a->by_ratio = attn__divisor_make((uint32_t)a->ratio);
    if (a->units > grid) {
        a->tickets = tickets;
        a->ticket_key = ATTN_FN(_ticket_key)();
    }
    return ATTN_LAUNCH_EARLY(ATTN_FN(_kernel), grid, 1, 32 * ATTN_WARPS, ATTN_SHARED_BYTES, stream, a);
}

#include <attn/template/launch_cuda.cuh>

#undef ATTN_GROUPS
#undef ATTN_KS
#undef ATTN_K_PANELS
#undef ATTN_V_PANELS
#undef ATTN_NS
#undef ATTN_NO
#undef ATTN_NP
#undef ATTN_JOBS
#undef ATTN_Q_BYTES
#undef ATTN_K_BYTES
#undef ATTN_V_BYTES
#undef ATTN_O_BYTES
#undef ATTN_REST
#undef ATTN_BOX
#undef ATTN_BOX_MASK
#undef ATTN_BOX_MOST
#undef ATTN_BOX_BYTES
#undef ATTN_BOX_AT
#undef ATTN_BOX_FULL
#undef ATTN_BOX_EMPTY
#undef ATTN_ROOM
#undef ATTN_KEEP_O
#undef ATTN_Q_STAGES
#undef ATTN_K_AT
#undef ATTN_V_AT
#undef ATTN_O_AT
#undef ATTN_BARRIERS_AT
#undef ATTN_Q_FULL
#undef ATTN_Q_EMPTY
#undef ATTN_K_FULL
#undef ATTN_K_EMPTY
#undef ATTN_V_FULL
#undef ATTN_V_EMPTY
#undef ATTN_V_RAW
#undef ATTN_JOB_TAKEN
#undef ATTN_JOB_FULL
#undef ATTN_JOB_EMPTY
#undef ATTN_BARRIERS
#undef ATTN_JOBS_AT
#undef ATTN_BY_ROW
#undef ATTN_CHANGES
#undef ATTN_PIECE
#undef ATTN_BLANK
#undef ATTN_WIDE_PLAN
#undef ATTN_LOAD_REGISTERS
#undef ATTN_REGISTERS
#undef ATTN_TWO_P
#undef ATTN_SMALL
#undef ATTN_TURNS
#undef ATTN_SEAM
#undef ATTN_RAW
#undef ATTN_SKIP
#undef ATTN_NO_SCORE
#undef ATTN_MOST_KEYS
#undef ATTN_GROWTH
#undef ATTN_ROUGH_KEYS
#undef ATTN_ABOVE
