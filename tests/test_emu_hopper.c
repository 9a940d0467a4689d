/* test_emu_hopper.c - the emulator's mbarriers, TMA, wgmma, clusters and registers: small kernels in the shape of the
 * real ones, each with a list of bugs.  Without a bug a kernel is right under all options; each bug is caught under
 * some.
 *
 * Compiled twice: the second time with -fsanitize=thread, for the races.  What the functions compute is held against
 * their definitions, and against a GPU, by test_primitives.c.  C11. */
#include <attn/device/cluster.cuh>
#include <attn/device/convert.h>
#include <attn/device/copy.cuh>
#include <attn/device/tma.cuh>
#include <attn/device/wgmma.cuh>
#include "check.h"

#include <stdlib.h>

enum { TILES = 5, ROWS = 64, COLUMNS = 64, TILE = ROWS * COLUMNS * 2 };

typedef struct args {
    attn__tma_map a, b, o;
    float *out; /* [64][64] */
    int bug;
} args;

/* ---- a pipeline: sum over tiles of A B[tile], A and B by TMA, two stages ---------------------------- */

enum {
    NO_BUG,
    NO_MADE,          /* mbarriers are not shown to copies */
    NO_INIT_BARRIER,  /* and used at once */
    NO_FULL_WAIT,     /* consumers read what has not landed */
    NO_EMPTY_WAIT,    /* the producer overwrites what is being read */
    EARLY_RELEASE,    /* a stage is given back before the products of it are done */
    WRONG_PARITY,
    TOO_FEW_BYTES,    /* announced */
    TOO_MANY_BYTES,
    TOO_MANY_ARRIVALS,
    MISALIGNED,       /* a box */
    ODD_START,        /* of a box, in dimension 0 */
    NO_FENCE,         /* before products */
    NO_COMMIT,
    READ_EARLY,       /* accumulators before the wait */
    WRITE_EARLY,
    WRONG_SWIZZLE,
    WRONG_STRIDE,
    OUT_OF_BOUNDS,    /* a descriptor */
    CHANGED_A,        /* registers of A */
    DESCRIPTORS_DIFFER, /* between threads */
    NOT_ALL_THREADS,  /* of a warpgroup */
    WAIT_APART,       /* one warp waits once more */
    NO_STORE_WAIT,    /* the block ends before its store has read */
    NO_READ_WAIT,     /* shared memory is written under a store */
    NO_PROXY_FENCE,   /* between what threads write and a store of it */
    LATE_PROXY_FENCE, /* the thread that stores has not seen those of others */
    NO_COPY_FENCE,    /* between copies of 16 bytes and a store of them */
    NO_GRID_WAIT,     /* started early, it does not wait for the kernel before */
    BUGS
};

static const struct {
    int bug;
    const char *says; /* "": a wrong result will do */
    int race;         /* caught in the second build alone */
} pipeline_bugs[] = {
    {NO_MADE, "without attn__mbarrier_made", 0},
    {NO_INIT_BARRIER, "no mbarrier at", 0},
    {NO_FULL_WAIT, "", 0},
    {NO_EMPTY_WAIT, "", 0},
    {EARLY_RELEASE, "", 0},
    {WRONG_PARITY, "deadlock", 0},
    {TOO_FEW_BYTES, "more bytes have landed", 0},
    {TOO_MANY_BYTES, "deadlock", 0},
    {TOO_MANY_ARRIVALS, "", 0},
    {MISALIGNED, "is not aligned to 128", 0},
    {ODD_START, "must be a multiple of 16", 0},
    {NO_FENCE, "no attn__wgmma_fence", 0},
    {NO_COMMIT, "", 0},
    {READ_EARLY, "", 0},
    {WRITE_EARLY, "was written while products were under way", 0},
    {WRONG_SWIZZLE, "", 0},
    {WRONG_STRIDE, "", 0},
    {OUT_OF_BOUNDS, "wgmma reads byte", 0},
    {CHANGED_A, "a register of A was written", 0},
    {DESCRIPTORS_DIFFER, "differ between threads", 0},
    {NOT_ALL_THREADS, "deadlock", 0},
    {WAIT_APART, "how often they waited", 0},
    {NO_STORE_WAIT, "", 0},
    {NO_READ_WAIT, "", 0},
    {NO_PROXY_FENCE, "no attn__fence_async since", 1},
    {LATE_PROXY_FENCE, "no attn__fence_async since", 1},
    {NO_COPY_FENCE, "no attn__fence_async since", 1},
    {NO_GRID_WAIT, "before attn__grid_wait", 0},
};

ATTN_GLOBAL(pipeline, args, 256, 1)
{
    ATTN_SHARED(smem);
    const int bug = a.bug, group = (int)threadIdx.x >> 7, t = (int)threadIdx.x & 127;
    const uint32_t base = attn__shared_address(smem), tile_a = base, stage = base + TILE, stored = base + 3 * TILE;
    const uint32_t full = stored + TILE, empty = full + 16, bar_a = full + 32;
    if (threadIdx.x == 0) {
        for (uint32_t s = 0; s < 2; s++) {
            attn__mbarrier_init(full + 8 * s, 1);
            attn__mbarrier_init(empty + 8 * s, 1);
        }
        attn__mbarrier_init(bar_a, 1);
        if (bug != NO_MADE)
            attn__mbarrier_made();
    }
    if (bug != NO_GRID_WAIT)
        attn__grid_wait();
    if (bug != NO_INIT_BARRIER)
        __syncthreads();
    if (group == 0) {
        ATTN_REGISTERS_GIVE(24);
        if (t == 0) {
            attn__mbarrier_arrive_expect(bar_a, TILE);
            attn__tma_load_2d(tile_a + (bug == MISALIGNED ? 64 : 0), &a.a, bar_a, bug == ODD_START ? -4 : 0, 0,
                              ATTN_L2_FIRST);
            for (int n = 0; n < TILES; n++) {
                const uint32_t s = (uint32_t)n & 1;
                if (bug != NO_EMPTY_WAIT)
                    attn__mbarrier_wait(empty + 8 * s, (n >> 1 & 1) ^ (bug != WRONG_PARITY));
                attn__mbarrier_arrive_expect(full + 8 * s, TILE - 16 * (bug == TOO_FEW_BYTES) +
                                                               16 * (bug == TOO_MANY_BYTES));
                attn__tma_load_2d(stage + s * TILE, &a.b, full + 8 * s, 0, n * ROWS, ATTN_L2_LAST);
            }
        }
    } else {
        float d[32] = {0};
        uint32_t r[4] = {0};
        ATTN_REGISTERS_TAKE(232);
        attn__mbarrier_wait(bar_a, 0);
        for (int n = 0; n < TILES; n++) {
            const uint32_t s = (uint32_t)n & 1;
            if (bug != NO_FULL_WAIT)
                attn__mbarrier_wait(full + 8 * s, n >> 1 & 1);
            if (bug != NO_FENCE)
                attn__wgmma_fence();
            for (uint32_t k = 0; k < 4; k++) {
                uint64_t da = attn__wgmma_desc(tile_a + 32 * k, 16, 1024, 128);
                uint64_t db = attn__wgmma_desc(stage + s * TILE + 2048 * k, TILE, bug == WRONG_STRIDE ? 512 : 1024,
                                               bug == WRONG_SWIZZLE ? 64 : 128);
                if (bug == OUT_OF_BOUNDS)
                    db += TILE * 4 / 16;
                if (bug == DESCRIPTORS_DIFFER && t == 77)
                    db += 2;
                if (bug == NOT_ALL_THREADS && t == 77)
                    continue;
                ATTN_WGMMA_SS(64, ATTN_BF16, ATTN_K_MAJOR, ATTN_MN_MAJOR, d, da, db, n || k);
            }
            if (bug == CHANGED_A) {
                float e[4];
                ATTN_WGMMA_RS(8, ATTN_BF16, ATTN_K_MAJOR, e, r, attn__wgmma_desc(tile_a, 16, 1024, 128), 0);
                r[t & 3] = 1;
            }
            if (bug != NO_COMMIT)
                attn__wgmma_commit();
            if (bug == EARLY_RELEASE && t == 0)
                attn__mbarrier_arrive(empty + 8 * s);
            if (bug == WRITE_EARLY && n == 2)
                d[3] = 0;
            if (bug != READ_EARLY)
                ATTN_WGMMA_WAIT(0);
            if (bug == WAIT_APART && t / 32 == 1)
                ATTN_WGMMA_WAIT(0);
            if (bug != EARLY_RELEASE && (bug == TOO_MANY_ARRIVALS ? t < 2 : t == 0))
                attn__mbarrier_arrive(empty + 8 * s);
        }
        /* D leaves through shared memory, as two boxes of 32 floats. */
        float *o = (float *)(void *)(smem + (stored - base));
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < 16; i++) {
                const int at = 16 * half + i, row = t / 32 * 16 + t % 32 / 4 + 8 * (at >> 1 & 1);
                o[row * 32 + at / 4 * 8 + t % 4 * 2 + (at & 1) - 32 * half] = d[at];
            }
            if (bug != NO_PROXY_FENCE && bug != LATE_PROXY_FENCE)
                attn__fence_async();
            attn__barrier(1, 128);
            if (bug == NO_COPY_FENCE) {
                attn__copy_async((unsigned char *)(o + 4 * t), a.out + 4 * t, 16);
                attn__copy_async_commit();
                ATTN_COPY_ASYNC_WAIT(0);
                attn__barrier(1, 128);
            }
            if (bug == LATE_PROXY_FENCE)
                attn__fence_async();
            if (t == 0) {
                attn__tma_store_2d(&a.o, stored, 32 * half, 0);
                attn__bulk_commit();
                if (half == 1 ? bug != NO_STORE_WAIT : bug != NO_READ_WAIT)
                    ATTN_BULK_WAIT_READ(0);
            }
            attn__barrier(1, 128);
        }
    }
}

/* ---- a cluster of two, which exchange sums ------------------------------------------------------------- */

enum {
    NO_START_SYNC = 1,  /* the other block may not have started */
    NO_END_SYNC,        /* it may have ended */
    NO_SEND_WAIT,       /* what was sent has not come */
    NEAR_WAIT,          /* does not see what another block stored */
    WRONG_RANK,         /* there is no such block */
    OTHERS_BARRIER,     /* counted in another block than written to */
    TOO_FEW_SENT,
    ARRIVE_TWICE        /* at the cluster's barrier */
};

static const struct {
    int bug;
    const char *says;
    int race; /* caught in the second build alone */
} cluster_bugs[] = {
    {NO_START_SYNC, "no mbarrier at", 0},
    {NO_END_SYNC, "has ended", 0},
    {NO_SEND_WAIT, "", 0},
    {NEAR_WAIT, "race on byte", 1},
    {WRONG_RANK, "rank 2 in a cluster of 2", 0},
    {OTHERS_BARRIER, "goes to another block", 0},
    {TOO_FEW_SENT, "deadlock", 0},
    {ARRIVE_TWICE, "again before attn__cluster_wait", 0},
};

ATTN_GLOBAL(exchange, args, 64, 1)
{
    ATTN_SHARED(smem);
    const int bug = a.bug, t = (int)threadIdx.x, rank = attn__cluster_rank();
    const uint32_t base = attn__shared_address(smem), sent = base + 1024, stored = base + 1032;
    float *slot = (float *)(void *)smem;
    slot[128 + t] = (float)(1000 * (int)blockIdx.x + t);
    if (t == 0) {
        attn__mbarrier_init(sent, 1);
        attn__mbarrier_init(stored, 64);
        attn__mbarrier_made();
        attn__mbarrier_arrive_expect(sent, 256);
    }
    if (bug != NO_START_SYNC)
        attn__cluster_sync();
    const int other = bug == WRONG_RANK ? 2 : 1 - rank;
    const uint32_t there = attn__cluster_map(base, other);
    if (bug != TOO_FEW_SENT || t != 33)
        attn__cluster_send(there + 4 * (uint32_t)t, bug == OTHERS_BARRIER ? sent : attn__cluster_map(sent, other),
                           (float)(t + rank));
    attn__cluster_store_f32(there + 256 + 4 * (uint32_t)t, (float)(2 * t + rank));
    attn__cluster_mbarrier_arrive(attn__cluster_map(stored, other));
    if (bug != NO_SEND_WAIT)
        attn__mbarrier_wait(sent, 0);
    if (bug == NEAR_WAIT)
        attn__mbarrier_wait(stored, 0);
    else
        attn__cluster_mbarrier_wait(stored, 0);
    float x = slot[t] + slot[64 + t];
    if (bug == ARRIVE_TWICE)
        attn__cluster_arrive();
    if (bug != NO_END_SYNC || rank == 0) /* what the other reads from here */
        x += attn__cluster_load_f32(attn__cluster_map(base + 512 + 4 * (uint32_t)t, other));
    a.out[64 * blockIdx.x + t] = x;
    if (bug != NO_END_SYNC)
        attn__cluster_sync();
}

/* ---- registers: three warpgroups share 504 a thread ----------------------------------------------------- */

enum { GREEDY = 1, NOT_GIVEN, GROWS, ODD };

static const struct {
    int bug;
    const char *says;
} register_bugs[] = {
    {GREEDY, "all ask and nothing happens"},
    {NOT_GIVEN, "all ask and nothing happens"},
    {GROWS, "this warp has 168 already"},
    {ODD, "must be a multiple of 8"},
};

ATTN_GLOBAL(split, args, 384, 1)
{
    if (threadIdx.x >= 128)
        ATTN_REGISTERS_TAKE(a.bug == GREEDY ? 248 : 240);
    else if (a.bug != NOT_GIVEN)
        ATTN_REGISTERS_GIVE(a.bug == GROWS ? 176 : a.bug == ODD ? 25 : 24);
    a.out[threadIdx.x] = 1.0f;
}

/* ---- all of them, under all options --------------------------------------------------------------------- */

enum { OPTIONS = EMU_SCHEDULES * EMU_LANDINGS * 2 };

static void set_options(int n)
{
    emu_set.schedule = n % EMU_SCHEDULES;
    emu_set.landing = n / EMU_SCHEDULES % EMU_LANDINGS;
    emu_set.resident = 1 + n / (EMU_SCHEDULES * EMU_LANDINGS);
    emu_set.seed = check_seed() + (uint64_t)n;
}

/* Whether it went wrong under some options, and if so, said `says` under one. */
static void check_bug(cudaError_t (*launch)(args *), args *a, const float *want, size_t floats, int bug,
                      const char *says)
{
    int wrong = 0, said = 0;
    a->bug = bug;
    for (int n = 0; n < OPTIONS; n++) {
        set_options(n);
        memset(a->out, 0, floats * sizeof(float));
        emu_forget();
        const cudaError_t e = launch(a);
        const int bad = e != cudaSuccess || memcmp(a->out, want, floats * sizeof(float)) != 0;
        wrong += bad;
        said += e != cudaSuccess && strstr(emu_report(), says) != NULL;
        if (!bug)
            CHECK_MSG(!bad, "options %d: %s", n, e ? emu_report() : "a wrong result");
    }
    if (bug)
        CHECK_MSG(wrong && (said || !*says), "caught under %d of %d options; must say '%s', says: %s", wrong, OPTIONS,
                  says, emu_report());
}

static cudaError_t launch_pipeline(args *a)
{
    return ATTN_LAUNCH_EARLY(pipeline, 1, 1, 256, 4 * TILE + 64, NULL, a);
}

static cudaError_t launch_exchange(args *a)
{
    return ATTN_LAUNCH_CLUSTER(exchange, 4, 2, 64, 1088, NULL, a);
}

static cudaError_t launch_split(args *a)
{
    return ATTN_LAUNCH(split, 3, 384, 0, NULL, a);
}

static void test_split(void)
{
    static float out[384], want[384];
    args a = {.out = out};
    for (int t = 0; t < 384; t++)
        want[t] = 1;
    if (check_case("registers without bugs"))
        check_bug(launch_split, &a, want, 384, 0, "");
    for (size_t i = 0; i < sizeof register_bugs / sizeof register_bugs[0]; i++)
        if (check_case("registers, bug %d", register_bugs[i].bug))
            check_bug(launch_split, &a, want, 384, register_bugs[i].bug, register_bugs[i].says);
}

static void test_pipeline(void)
{
    static _Alignas(16) uint16_t left[ROWS * COLUMNS], right[TILES * ROWS * COLUMNS];
    static _Alignas(16) float out[64 * 64], want[64 * 64];
    uint64_t state = check_seed();
    args a = {.out = out};
    const int64_t extent_a[2] = {COLUMNS, ROWS}, extent_b[2] = {COLUMNS, TILES * ROWS}, stride[2] = {1, COLUMNS};
    const int box[2] = {COLUMNS, ROWS}, box_o[2] = {32, 64};
    for (int i = 0; i < ROWS * COLUMNS; i++)
        left[i] = attn__f32_to_bf16((float)check_range(&state, -3, 3));
    for (int i = 0; i < TILES * ROWS * COLUMNS; i++)
        right[i] = attn__f32_to_bf16((float)check_range(&state, -3, 3));
    for (int m = 0; m < 64; m++)
        for (int n = 0; n < 64; n++)
            for (int k = 0; k < TILES * 64; k++)
                want[m * 64 + n] += attn__bf16_to_f32(left[m * 64 + k % 64]) * attn__bf16_to_f32(right[k * 64 + n]);
    CHECK(attn__tma_encode(&a.a, ATTN_BF16, left, 2, extent_a, stride, box, 128, 0) == cudaSuccess);
    CHECK(attn__tma_encode(&a.b, ATTN_BF16, right, 2, extent_b, stride, box, 128, 256) == cudaSuccess);
    CHECK(attn__tma_encode(&a.o, ATTN_F32, out, 2, extent_a, stride, box_o, 0, 0) == cudaSuccess);
    if (check_case("a pipeline without bugs"))
        check_bug(launch_pipeline, &a, want, 64 * 64, 0, "");
    for (size_t i = 0; i < sizeof pipeline_bugs / sizeof pipeline_bugs[0]; i++) {
        if (!check_case("pipeline, bug %d", pipeline_bugs[i].bug))
            continue;
        if (pipeline_bugs[i].race && !emu_racing)
            check_skip("a race");
        else
            check_bug(launch_pipeline, &a, want, 64 * 64, pipeline_bugs[i].bug, pipeline_bugs[i].says);
    }
}

static void test_exchange(void)
{
    static float out[256], want[256];
    args a = {.out = out};
    for (int b = 0; b < 4; b++)
        for (int t = 0; t < 64; t++)
            want[64 * b + t] = (float)(t + 1 - b % 2 + 2 * t + 1 - b % 2 + 1000 * (b ^ 1) + t);
    if (check_case("an exchange without bugs"))
        check_bug(launch_exchange, &a, want, 256, 0, "");
    for (size_t i = 0; i < sizeof cluster_bugs / sizeof cluster_bugs[0]; i++) {
        if (!check_case("exchange, bug %d", cluster_bugs[i].bug))
            continue;
        if (cluster_bugs[i].race && !emu_racing)
            check_skip("a race");
        else
            check_bug(launch_exchange, &a, want, 256, cluster_bugs[i].bug, cluster_bugs[i].says);
    }
}

/* What the driver refuses. */
static void test_encode(void)
{
    static _Alignas(16) char data[4096];
    const int64_t extent[2] = {64, 8}, stride[2] = {1, 64}, odd[2] = {1, 60};
    const int box[2] = {64, 8}, tall[2] = {64, 257}, thin[2] = {4, 8};
    attn__tma_map m;
    if (!check_case("tensor maps"))
        return;
    CHECK(attn__tma_encode(&m, ATTN_BF16, data, 2, extent, stride, box, 128, 128) == cudaSuccess);
    CHECK(attn__tma_encode(&m, ATTN_BF16, data + 2, 2, extent, stride, box, 128, 128) != cudaSuccess);
    CHECK(attn__tma_encode(&m, ATTN_BF16, data, 2, extent, odd, box, 128, 128) != cudaSuccess);
    CHECK(attn__tma_encode(&m, ATTN_BF16, data, 2, extent, stride, tall, 128, 128) != cudaSuccess);
    CHECK(attn__tma_encode(&m, ATTN_BF16, data, 2, extent, stride, thin, 0, 128) != cudaSuccess);
    CHECK(attn__tma_encode(&m, ATTN_BF16, data, 2, extent, stride, box, 64, 128) != cudaSuccess);
    CHECK(attn__tma_encode(&m, ATTN_BF16, data, 6, extent, stride, box, 0, 128) != cudaSuccess);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    emu_set.cc = 90;
    test_encode();
    test_pipeline();
    test_exchange();
    test_split();
    return check_end();
}
