/* test_emu.c - the emulator itself: each device function against its definition, and each detector on a small broken
 * kernel, which must be caught, and on the mended one, which must not.
 *
 * Compiled twice: the second time with -fsanitize=thread, for the races. */
#include <stdlib.h>
#include <attn/device/copy.cuh>
#include <attn/device/math.cuh>
#include <attn/device/mma.cuh>
#include "check.h"

enum { THREADS = 128 };

/* ---- running a kernel under all options --------------------------------------------------------- */

typedef struct args {
    int *in, *out;
    const float *x;
    float *y;
    unsigned *counter;
    int n, broken;
} args;

static int ints[2][4096];
static float floats[2][4096];
static unsigned counters[4];

static args fresh(void)
{
    args a = {ints[0], ints[1], floats[0], floats[1], counters, 0, 0};
    uint64_t state = check_seed();
    for (int i = 0; i < 4096; i++) {
        ints[0][i] = (int)(check_rand(&state) >> 48);
        floats[0][i] = (float)check_range(&state, -8, 8);
    }
    memset(ints[1], 0, sizeof ints[1]);
    memset(floats[1], 0, sizeof floats[1]);
    memset(counters, 0, sizeof counters);
    return a;
}

static void set_options(int n)
{
    emu_set.schedule = n % EMU_SCHEDULES;
    emu_set.landing = n / EMU_SCHEDULES % EMU_LANDINGS;
    emu_set.resident = 1 + n / (EMU_SCHEDULES * EMU_LANDINGS) % 3;
    emu_set.seed = (uint64_t)n;
}
enum { OPTIONS = 3 * EMU_SCHEDULES * EMU_LANDINGS };

#define RUNS(kernel, grid, shared, a) \
    CHECK_MSG(ATTN_LAUNCH(kernel, grid, THREADS, shared, NULL, a) == cudaSuccess, "%s", emu_report())

/* The launch fails, and the report has this text. */
static void fails(cudaError_t e, const char *text)
{
    CHECK_MSG(e == cudaErrorLaunchFailure, "must fail (%s), answers %d", text, e);
    CHECK_MSG(strstr(emu_report(), text) != NULL, "must say '%s', says: %s", text, emu_report());
    emu_forget();
}
#define FAILS(kernel, grid, shared, a, text) fails(ATTN_LAUNCH(kernel, grid, THREADS, shared, NULL, a), text)

/* ---- blocks and barriers ------------------------------------------------------------------------ */

/* Each block sums its part; the last one to finish adds the sums up. */
ATTN_GLOBAL(sum_kernel, args, THREADS, 1)
{
    ATTN_SHARED(smem);
    int *s = (int *)smem;
    const int t = (int)threadIdx.x;
    s[t] = a.in[blockIdx.x * THREADS + threadIdx.x];
    for (int step = THREADS / 2; step; step /= 2) {
        __syncthreads();
        if (t < step)
            s[t] += s[t + step];
    }
    if (t == 0) {
        a.out[1 + blockIdx.x] = s[0];
        __threadfence();
        s[1] = atomicAdd(&a.counter[0], 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (s[1] && t == 0)
        for (unsigned b = 0; b < gridDim.x; ++b)
            a.out[0] += a.out[1 + b];
}

/* Blocks that stay take units from a counter. */
ATTN_GLOBAL(units_kernel, args, THREADS, 1)
{
    ATTN_SHARED(smem);
    int *unit = (int *)smem;
    for (;;) {
        if (threadIdx.x == 0)
            *unit = (int)atomicAdd(&a.counter[0], 1u);
        __syncthreads();
        const int n = *unit;
        __syncthreads();
        if (n >= a.n)
            break;
        if (threadIdx.x < 32)
            a.out[n * 32 + (int)threadIdx.x] = a.in[n * 32 + (int)threadIdx.x] + 1;
    }
}

/* Blocks that wait for each other: only if all are resident. */
ATTN_GLOBAL(grid_kernel, args, THREADS, 1)
{
    ATTN_SHARED(smem);
    (void)smem;
    if (threadIdx.x == 0) {
        (void)atomicAdd(&a.counter[0], 1u);
        while (atomicAdd(&a.counter[0], 0u) < gridDim.x)
            ;
    }
    __syncthreads();
    a.out[blockIdx.x * THREADS + threadIdx.x] = 1;
}

ATTN_GLOBAL(votes_kernel, args, THREADS, 1)
{
    const int t = (int)threadIdx.x;
    const int or0 = __syncthreads_or(t == a.n), or1 = __syncthreads_or(0);
    const int and0 = __syncthreads_and(t >= 0), and1 = __syncthreads_and(t != a.n);
    const int count = __syncthreads_count(t % 3 == 0);
    a.out[t] = (or0 != 0) + 2 * (or1 == 0) + 4 * (and0 != 0) + 8 * (and1 == 0) + 16 * (count == (THREADS + 2) / 3);
}

/* Warps 0 and 1 hand over to 2 and 3, which hand back. */
ATTN_GLOBAL(named_kernel, args, THREADS, 1)
{
    ATTN_SHARED(smem);
    int *s = (int *)smem;
    const int t = (int)threadIdx.x;
    for (int n = 0; n < 5; ++n) {
        if (t < 64) {
            attn__barrier(2, THREADS);
            s[t] = a.in[n * 64 + t];
            attn__barrier_arrive(1, a.broken == 1 && t >= 32 ? 64 : THREADS);
            if (a.broken == 2)
                attn__barrier_arrive(1, THREADS);
        } else {
            attn__barrier_arrive(2, THREADS);
            attn__barrier(1, THREADS);
            a.out[n * 64 + t - 64] = s[127 - t];
        }
    }
}

static void test_blocks(void)
{
    for (int n = 0; n < OPTIONS; n++) {
        set_options(n);
        if (check_case("blocks, options %d", n)) {
            int sum = 0;
            args a = fresh();
            RUNS(sum_kernel, 7, THREADS * (int)sizeof(int), &a);
            for (int i = 0; i < 7 * THREADS; i++)
                sum += ints[0][i];
            CHECK(ints[1][0] == sum);

            a = fresh();
            a.n = 23;
            RUNS(units_kernel, 4, 4, &a);
            for (int i = 0; i < 23 * 32; i++)
                CHECK(ints[1][i] == ints[0][i] + 1);
            CHECK(ints[1][23 * 32] == 0);

            a = fresh();
            a.n = 77;
            RUNS(votes_kernel, 1, 0, &a);
            for (int i = 0; i < THREADS; i++)
                CHECK(ints[1][i] == 31);

            a = fresh();
            RUNS(named_kernel, 2, 64 * 4, &a);
            for (int i = 0; i < 5 * 64; i++)
                CHECK(ints[1][i] == ints[0][i / 64 * 64 + 63 - i % 64]);
        }
    }
    emu_set.resident = 4;
    for (int n = 0; n < EMU_SCHEDULES; n++) {
        emu_set.schedule = n;
        if (check_case("blocks that wait for each other, schedule %d", n)) {
            args a = fresh();
            RUNS(grid_kernel, 4, 0, &a);
            CHECK(ints[1][4 * THREADS - 1] == 1);
            a = fresh();
            FAILS(grid_kernel, 5, 0, &a, "nothing happens");
        }
    }
    set_options(0);
}

/* ---- warps -------------------------------------------------------------------------------------- */

ATTN_GLOBAL(shuffle_kernel, args, THREADS, 1)
{
    const int t = (int)threadIdx.x;
    const float x = a.x[t], across = attn__shuffle_xor(x, a.n), from = attn__shuffle(x, (t + a.n) & 31);
    const int i = attn__shuffle_int(a.in[t], 31 - attn__lane());
    a.y[t] = across;
    a.y[THREADS + t] = from;
    a.out[t] = i;
    a.out[THREADS + t] = attn__any(t == 70);
    a.out[2 * THREADS + t] = attn__any(attn__lane() < 0);
}

static void test_warps(void)
{
    for (int n = 0; n < EMU_SCHEDULES * EMU_LANDINGS; n++) {
        set_options(n);
        if (!check_case("shuffles and votes, options %d", n))
            continue;
        for (int k = 1; k < 32; k += 5) {
            args a = fresh();
            a.n = k;
            RUNS(shuffle_kernel, 1, 0, &a);
            for (int t = 0; t < THREADS; t++) {
                CHECK(floats[1][t] == floats[0][t ^ k]);
                CHECK(floats[1][THREADS + t] == floats[0][(t & ~31) + ((t + k) & 31)]);
                CHECK(ints[1][t] == ints[0][t ^ 31]);
                CHECK(ints[1][THREADS + t] == (t / 32 == 2));
                CHECK(ints[1][2 * THREADS + t] == 0);
            }
        }
    }
    set_options(0);
}

/* ---- products: fragments are filled here from whole matrices, as mma.cuh draws them -------------- */

enum { F16_K8, F16, BF16, TF32, S8, E4M3, E5M2, PRODUCTS };
static const struct product {
    const char *name;
    int k, per; /* depth; elements of a register */
} products[] = {{"f16_k8", 8, 2}, {"f16", 16, 2}, {"bf16", 16, 2}, {"tf32", 8, 1},
                {"s8", 32, 4},    {"e4m3", 32, 4}, {"e5m2", 32, 4}};

typedef struct product_args {
    int which;
    uint32_t a[32][4], b[32][2];
    float d[32][4];
    float *out;
} product_args;

ATTN_GLOBAL(product_kernel, product_args, THREADS, 1)
{
    const int l = attn__lane();
    uint32_t x[4], y[2];
    float d[4];
    int32_t i[4];
    for (int n = 0; n < 4; ++n) {
        x[n] = a.a[l][n];
        y[n & 1] = a.b[l][n & 1];
        d[n] = a.d[l][n];
        i[n] = (int32_t)d[n];
    }
    if (a.which == F16_K8)
        attn__mma_f16_k8(d, x, y);
    if (a.which == F16)
        attn__mma_f16(d, x, y);
    if (a.which == BF16)
        attn__mma_bf16(d, x, y);
    if (a.which == TF32)
        attn__mma_tf32(d, x, y);
    if (a.which == S8)
        attn__mma_s8(i, x, y);
    if (a.which == E4M3)
        attn__mma_e4m3(d, x, y);
    if (a.which == E5M2)
        attn__mma_e5m2(d, x, y);
    if (threadIdx.x < 32)
        for (int n = 0; n < 4; ++n)
            a.out[4 * l + n] = a.which == S8 ? (float)i[n] : d[n];
}

/* Small integers in each type: products and sums are exact. */
static uint32_t encode(int which, int x)
{
    const int sign = x < 0, m = sign ? -x : x;
    if (which == TF32)
        return attn__f32_bits((float)x) | 0x1abc; /* not to be read */
    if (which == F16_K8 || which == F16)
        return attn__f32_to_f16((float)x);
    if (which == BF16)
        return attn__f32_to_bf16((float)x);
    if (which == S8)
        return (uint8_t)(int8_t)x;
    if (which == E5M2)
        return (uint32_t)(attn__f32_to_f16((float)x) >> 8); /* 0 .. 7 need two bits after the first */
    static const uint8_t positive[] = {0x00, 0x38, 0x40, 0x44, 0x48, 0x4a, 0x4c, 0x4e, 0x50};
    return positive[m] | (uint32_t)sign << 7;
}

static void test_products(void)
{
    for (int which = 0; which < PRODUCTS; which++) {
        if (!check_case("mma %s", products[which].name))
            continue;
        const struct product *p = &products[which];
        const int most = which == E5M2 || which == E4M3 ? 4 : which == S8 ? 127 : 8;
        uint64_t state = check_seed() + (uint64_t)which;
        int a[16][32], b[32][8];
        product_args to;
        memset(&to, 0, sizeof to);
        to.which = which;
        to.out = floats[1];
        for (int i = 0; i < 16 * 32; i++) {
            a[i / 32][i % 32] = check_range(&state, -most, most);
            b[i / 8 % 32][i % 8] = check_range(&state, -most, most);
        }
        for (int row = 0; row < 16; row++)
            for (int k = 0; k < p->k; k++) {
                const int lane = row % 8 * 4 + k / p->per % 4, reg = row / 8 + k / (4 * p->per) * 2;
                to.a[lane][reg] |= encode(which, a[row][k]) << (32 / p->per % 32 * (k % p->per));
            }
        for (int k = 0; k < p->k; k++)
            for (int column = 0; column < 8; column++) {
                const int lane = column * 4 + k / p->per % 4, reg = k / (4 * p->per);
                to.b[lane][reg] |= encode(which, b[k][column]) << (32 / p->per % 32 * (k % p->per));
            }
        for (int i = 0; i < 128; i++)
            to.d[i / 4][i % 4] = (float)check_range(&state, -100, 100);
        RUNS(product_kernel, 1, 0, &to);
        for (int row = 0; row < 16; row++)
            for (int column = 0; column < 8; column++) {
                const int lane = row % 8 * 4 + column / 2, reg = row / 8 * 2 + column % 2;
                int sum = (int)to.d[lane][reg];
                for (int k = 0; k < p->k; k++)
                    sum += a[row][k] * b[k][column];
                CHECK_MSG(floats[1][4 * lane + reg] == (float)sum, "row %d column %d: %g, must be %d", row, column,
                          (double)floats[1][4 * lane + reg], sum);
            }
    }
    if (check_case("8-bit floats")) {
        /* 1 times every code, by mma: against sign, exponent, mantissa. */
        for (int which = E4M3; which <= E5M2; which++)
            for (int code = 0; code < 256; code++) {
                product_args to;
                const int bits = which == E4M3 ? 3 : 2, bias = which == E4M3 ? 7 : 15;
                const int mantissa = code & ((1 << bits) - 1), exponent = code >> bits & ((1 << (7 - bits)) - 1);
                float want = exponent ? ldexpf(1.0f + ldexpf((float)mantissa, -bits), exponent - bias)
                                      : ldexpf((float)mantissa, 1 - bias - bits);
                if (which == E4M3 && exponent == 15 && mantissa == 7)
                    want = NAN;
                if (which == E5M2 && exponent == 31)
                    want = mantissa ? NAN : INFINITY;
                if (code >> 7)
                    want = -want;
                memset(&to, 0, sizeof to);
                to.which = which;
                to.out = floats[1];
                to.a[0][0] = which == E4M3 ? 0x38 : 0x3c;
                to.b[0][0] = (uint32_t)code;
                RUNS(product_kernel, 1, 0, &to);
                CHECK_MSG(want != want ? floats[1][0] != floats[1][0] : floats[1][0] == want, "code %#x: %g, not %g",
                          code, (double)floats[1][0], (double)want);
            }
    }
}

/* ---- matrices in shared memory ------------------------------------------------------------------ */

/* n: bit 0 transposed load, bit 1 transposed store, of matrices that lie with a stride of 80 bytes. */
ATTN_GLOBAL(matrix_kernel, args, THREADS, 1)
{
    ATTN_SHARED(smem);
    const int l = attn__lane(), warp = (int)threadIdx.x / 32;
    uint16_t *mine = (uint16_t *)smem + warp * 32 * 40;
    uint32_t d[4];
    for (int i = l; i < 32 * 8; i += 32)
        mine[i / 8 * 40 + i % 8] = (uint16_t)(1000 * warp + i);
    __syncwarp();
    const uint32_t at = attn__shared_address(mine + l * 40);
    if (a.n & 1)
        attn__ldmatrix_x4_trans(d, at);
    else
        attn__ldmatrix_x4(d, at);
    for (int m = 0; m < 4; ++m)
        a.out[(int)threadIdx.x * 4 + m] = (int)d[m];
    __syncwarp();
    if (a.n & 2)
        attn__stmatrix_x4_trans(at, d);
    else
        attn__stmatrix_x4(at, d);
    __syncwarp();
    for (int i = l; i < 32 * 8; i += 32)
        a.out[1024 + warp * 256 + i] = mine[i / 8 * 40 + i % 8];
}

static void test_matrices(void)
{
    for (int n = 0; n < 4; n++) {
        if (!check_case("ldmatrix and stmatrix, transposed %d", n))
            continue;
        args a = fresh();
        a.n = n;
        RUNS(matrix_kernel, 1, THREADS * 80, &a);
        for (int t = 0; t < THREADS; t++)
            for (int m = 0; m < 4; m++) {
                const int l = t % 32, row = n & 1 ? l % 4 * 2 : l / 4, column = n & 1 ? l / 4 : l % 4 * 2;
                const int low = t / 32 * 1000 + m * 64 + row * 8 + column, high = low + (n & 1 ? 8 : 1);
                CHECK(ints[1][t * 4 + m] == (low | high << 16));
            }
        for (int i = 0; i < 1024; i++) {
            const int e = i % 64, back = (n & 1) != (n >> 1) ? e % 8 * 8 + e / 8 : e;
            CHECK(ints[1][1024 + i] == i / 256 * 1000 + i % 256 / 64 * 64 + back);
        }
    }
}

/* ---- cp.async ----------------------------------------------------------------------------------- */

/* Two stages under way over n tiles of THREADS times 16 bytes; rows beyond n - 1 are filled with zeros.  Broken:
 * 1 a wait that leaves one group too many, 2 no barrier after the wait, 3 none before the stage is filled anew,
 * 4 a shared address, 5 a global one that is not aligned, 6 a copy behind the end. */
ATTN_GLOBAL(copy_kernel, args, THREADS, 1)
{
    ATTN_SHARED(smem);
    const int t = (int)threadIdx.x;
    unsigned sum = 0;
    for (int n = -1; n < a.n; ++n) {
        if (n + 1 < a.n) {
            const int stage = (n + 1) & 1, last = n + 1 == a.n - 1 && t >= THREADS / 2;
            unsigned char *to = smem + stage * THREADS * 16 + t * 16;
            attn__copy_async(to + (a.broken == 4) * 8 + (a.broken == 6) * THREADS * 16,
                             a.in + ((n + 1) * THREADS + t) * 4 + (a.broken == 5), last ? 0 : 16);
        }
        attn__copy_async_commit();
        if (n < 0)
            continue;
        if (a.broken == 1)
            ATTN_COPY_ASYNC_WAIT(2);
        else
            ATTN_COPY_ASYNC_WAIT(1);
        if (a.broken != 2)
            __syncthreads();
        const int *s = (const int *)(smem + (n & 1) * THREADS * 16);
        for (int i = 0; i < 4; ++i)
            sum += (unsigned)s[((t + 40) % THREADS) * 4 + i];
        if (a.broken != 3)
            __syncthreads();
    }
    a.out[t] = (int)sum;
}

static void copy_wanted(int tiles, int *want)
{
    for (int t = 0; t < THREADS; t++) {
        want[t] = 0;
        for (int n = 0; n < tiles; n++)
            for (int i = 0; i < 4; i++) {
                const int from = (t + 40) % THREADS;
                want[t] += n == tiles - 1 && from >= THREADS / 2 ? 0 : ints[0][(n * THREADS + from) * 4 + i];
            }
    }
}

static void test_copies(void)
{
    int want[THREADS], wrong[4] = {0};
    for (int n = 0; n < OPTIONS; n++) {
        set_options(n);
        if (check_case("cp.async, options %d", n)) {
            args a = fresh();
            a.n = 7;
            copy_wanted(a.n, want);
            RUNS(copy_kernel, 3, 2 * THREADS * 16, &a);
            CHECK(!memcmp(ints[1], want, sizeof want));
            if (emu_racing)
                continue;
            for (int broken = 1; broken < 4; broken++) {
                a = fresh();
                a.n = 7;
                a.broken = broken;
                RUNS(copy_kernel, 3, 2 * THREADS * 16, &a);
                wrong[broken] += memcmp(ints[1], want, sizeof want) != 0;
            }
        }
    }
    set_options(0);
    if (check_case("cp.async, broken")) {
        args a = fresh();
        a.n = 7;
        for (int broken = 1; broken < 4; broken++) {
            a.broken = broken;
            if (emu_racing) /* under any options */
                FAILS(copy_kernel, 1, 2 * THREADS * 16, &a, "race on byte");
            else /* by a wrong result, under some */
                CHECK_MSG(wrong[broken] > 0, "broken %d: right under all options", broken);
        }
        a.broken = 4;
        FAILS(copy_kernel, 1, 2 * THREADS * 16, &a, "not aligned to 16 at ");
        a.broken = 5;
        FAILS(copy_kernel, 1, 2 * THREADS * 16, &a, "not aligned to 16 at ");
        a.broken = 6;
        FAILS(copy_kernel, 1, 2 * THREADS * 16, &a, "no address in this block's shared memory at ");
    }
}

/* ---- what must be caught ------------------------------------------------------------------------ */

enum {
    MENDED,
    NO_BARRIER,       /* a row of shared memory is read before all have written */
    NO_SYNCWARP,      /* the same within a warp, with a shuffle in between */
    SOME_LEAVE,       /* a barrier that not all come to */
    OTHER_COLLECTIVE, /* a shuffle and a vote in one warp */
    OTHER_PLACE,      /* two products in one warp */
    PAST_END,         /* of the shared memory: far, near, before it */
    NEAR_END,
    BEFORE,
    NOWHERE,          /* an address that is nobody's */
    TORN              /* bytes of one word by two threads: no race */
};

ATTN_GLOBAL(broken_kernel, args, THREADS, 1)
{
    ATTN_SHARED(smem);
    const int t = (int)threadIdx.x;
    int *s = (int *)smem;
    volatile int *far = s; /* the compiler may not know what is outside */
    s[t] = a.in[t];
    if (a.broken == SOME_LEAVE && t == 45)
        return;
    if (a.broken != NO_BARRIER)
        __syncthreads();
    a.out[t] = s[(t + 1) % THREADS];
    __syncthreads();
    s[t] = a.in[t];
    if (a.broken != NO_SYNCWARP)
        __syncwarp();
    else
        (void)attn__shuffle(0.0f, 0);
    a.out[THREADS + t] = s[t ^ 1];
    __syncthreads();
    if (a.broken == OTHER_COLLECTIVE && t % 32 == 9)
        (void)attn__any(1);
    else
        (void)attn__shuffle(0.0f, 0);
    float d[4] = {0};
    const uint32_t x[4] = {0};
    if (a.broken == OTHER_PLACE && t % 32 == 9)
        attn__mma_f16(d, x, x);
    else
        attn__mma_f16(d, x, x);
    if (a.broken == PAST_END && t == 77)
        far[THREADS + 256] = 1;
    if (a.broken == NEAR_END && t == 77)
        far[THREADS] = 1;
    if (a.broken == BEFORE && t == 77)
        far[-1] = 1;
    if (a.broken == NOWHERE && t == 77)
        *(volatile int *)(uintptr_t)4096 = 1;
    if (a.broken == TORN)
        smem[t] = 1;
    __syncthreads();
    if (a.broken == TORN)
        a.out[t] = s[t % 32];
}

static void test_broken(void)
{
    const int bytes = THREADS * (int)sizeof(int);
    for (int n = 0; n < EMU_SCHEDULES; n++) {
        set_options(n);
        if (!check_case("detectors, schedule %d", n))
            continue;
        args a = fresh();
        RUNS(broken_kernel, 3, bytes, &a);
        for (int t = 0; t < THREADS; t++) {
            CHECK(ints[1][t] == ints[0][(t + 1) % THREADS]);
            CHECK(ints[1][THREADS + t] == ints[0][t ^ 1]);
        }
        if (emu_racing) {
            a.broken = NO_BARRIER;
            FAILS(broken_kernel, 3, bytes, &a, "race on byte");
            a.broken = NO_SYNCWARP;
            FAILS(broken_kernel, 3, bytes, &a, "test_emu.c:");
        }
        a.broken = SOME_LEAVE;
        FAILS(broken_kernel, 3, bytes, &a,
              "block 0: threads 0-44,46-127 wait at __syncthreads 0 (127 of 128 have come)");
        FAILS(broken_kernel, 3, bytes, &a, "45 have returned");
        a.broken = OTHER_COLLECTIVE;
        FAILS(broken_kernel, 3, bytes, &a, "attn__any");
        FAILS(broken_kernel, 3, bytes, &a, "attn__shuffle");
        a.broken = OTHER_PLACE;
        FAILS(broken_kernel, 3, bytes, &a, "attn__mma_f16, but others of its warp are at another one");
        a.broken = PAST_END;
        FAILS(broken_kernel, 3, bytes, &a, "byte 1536 of shared memory, which has 512");
#ifndef __SANITIZE_ADDRESS__ /* which ends the program itself */
        a.broken = NEAR_END;
        FAILS(broken_kernel, 3, bytes, &a, "byte 512 of shared memory, which has 512");
        a.broken = BEFORE;
        FAILS(broken_kernel, 3, bytes, &a, "byte -4 of shared memory, which has 512");
        a.broken = NOWHERE;
        FAILS(broken_kernel, 3, bytes, &a, "thread 77: accesses 0x1000");
#endif
        a.broken = TORN;
        RUNS(broken_kernel, 3, bytes, &a);
        a = fresh();
        a.broken = 1;
        FAILS(named_kernel, 1, 64 * 4, &a, "is for");
        a.broken = 2;
        FAILS(named_kernel, 1, 64 * 4, &a, "comes to barrier 1 again");
    }
    set_options(0);
}

/* ---- the runtime -------------------------------------------------------------------------------- */

static void test_runtime(void)
{
    if (check_case("the runtime")) {
        args a = fresh();
        int value = 0;
        dim3 one = {1, 1, 1}, block = {THREADS, 1, 1}, many = {2 * THREADS, 1, 1};
        void *list[1] = {&a};
        CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess && value == 9);
        CHECK(cudaLaunchKernel(&sum_kernel, one, block, list, 49153, NULL) == cudaErrorInvalidValue);
        CHECK(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
        CHECK(cudaFuncSetAttribute(&sum_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 232448) == cudaSuccess);
        CHECK(cudaLaunchKernel(&sum_kernel, one, block, list, 232448, NULL) == cudaSuccess);
        CHECK(cudaFuncSetAttribute(&sum_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 232449) != cudaSuccess);
        CHECK(cudaLaunchKernel(&sum_kernel, one, many, list, 1024, NULL) == cudaErrorLaunchOutOfResources);
        product_args to = {.which = BF16};
        emu_set.cc = 75;
        FAILS(product_kernel, 1, 0, &to, "attn__mma_bf16 needs compute capability 8.0, this device has 7.5");
        emu_set.cc = 0;
        CHECK(ATTN_LAUNCH(sum_kernel, 1, THREADS, 512, NULL, &a) == cudaErrorNoDevice);
        CHECK(cudaGetDevice(&value) == cudaErrorNoDevice);
        emu_set.cc = 90;
        (void)cudaGetLastError();
    }
    if (check_case("math")) {
        CHECK(attn__exp2(-INFINITY) == 0.0f && attn__exp2(-126.5f) == 0.0f && attn__exp2(3.0f) == 8.0f);
        CHECK(attn__exp2(NAN) != attn__exp2(NAN) && attn__log2(0.0f) == -INFINITY && attn__log2(8.0f) == 3.0f);
        CHECK(attn__max(NAN, 1.0f) == 1.0f && attn__max(1.0f, NAN) == 1.0f && attn__max(-1.0f, 2.0f) == 2.0f);
        CHECK(fabsf(attn__tanh(0.5f) - 0.46211716f) < 1e-6f && attn__tanh(100.0f) == 1.0f);
        CHECK(attn__pack_f16(1.0f, -2.0f) == 0xc0003c00u && attn__pack_bf16(1.0f, -2.0f) == 0xc0003f80u);
        CHECK(attn__low_f16(0xc0003c00u) == 1.0f && attn__high_f16(0xc0003c00u) == -2.0f);
        CHECK(attn__low_bf16(0xc0003f80u) == 1.0f && attn__high_bf16(0xc0003f80u) == -2.0f);
    }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    test_blocks();
    test_warps();
    test_products();
    test_matrices();
    test_copies();
    test_broken();
    test_runtime();
    return check_end();
}
