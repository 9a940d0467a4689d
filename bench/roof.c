/* roof.c - what this machine can do at most, measured: the roof that results are a share of.
 *
 * FMA: as many independent accumulators as hide the latency, all in registers, with the instructions that an
 * instance of that arch has.  READ: the pool from end to end, by streams side by side. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <attn/device/target.h>
#include "bench.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static volatile float sink; /* results go here, so that no loop is dropped */

/* ---- FMA --------------------------------------------------------------------------------------- */

typedef float fma_fn(long steps);

/* LANES products and sums a step and accumulator. */
typedef float vec16 __attribute__((vector_size(16)));

ATTN_NOINLINE float fma_cpu(long steps)
{
    enum { N = 12 };
    vec16 a[N], x = {.999f, .999f, .999f, .999f}, y = {1e-3f, 1e-3f, 1e-3f, 1e-3f};
    ATTN_UNROLL for (int i = 0; i < N; i++)
        a[i] = x * (float)i;
    for (long s = 0; s < steps; s++)
        ATTN_UNROLL for (int i = 0; i < N; i++)
            a[i] = a[i] * x + y;
    ATTN_UNROLL for (int i = 1; i < N; i++)
        a[0] += a[i];
    return a[0][0];
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) ATTN_NOINLINE float fma_avx2(long steps)
{
    enum { N = 12 };
    __m256 a[N], x = _mm256_set1_ps(.999f), y = _mm256_set1_ps(1e-3f);
    ATTN_UNROLL for (int i = 0; i < N; i++)
        a[i] = _mm256_set1_ps((float)i);
    for (long s = 0; s < steps; s++)
        ATTN_UNROLL for (int i = 0; i < N; i++)
            a[i] = _mm256_fmadd_ps(a[i], x, y);
    ATTN_UNROLL for (int i = 1; i < N; i++)
        a[0] = _mm256_add_ps(a[0], a[i]);
    return _mm256_cvtss_f32(a[0]);
}

__attribute__((target("avx512f"))) ATTN_NOINLINE float fma_avx512(long steps)
{
    enum { N = 24 };
    __m512 a[N], x = _mm512_set1_ps(.999f), y = _mm512_set1_ps(1e-3f);
    ATTN_UNROLL for (int i = 0; i < N; i++)
        a[i] = _mm512_set1_ps((float)i);
    for (long s = 0; s < steps; s++)
        ATTN_UNROLL for (int i = 0; i < N; i++)
            a[i] = _mm512_fmadd_ps(a[i], x, y);
    ATTN_UNROLL for (int i = 1; i < N; i++)
        a[0] = _mm512_add_ps(a[0], a[i]);
    return _mm512_cvtss_f32(a[0]);
}

/* A dot product of pairs of bf16 onto each float: 64 operations an instruction. */
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) ATTN_NOINLINE float fma_avx512bf16(long steps)
{
    enum { N = 24 };
    const __m512bh x = (__m512bh)_mm512_set1_epi16(0x3f7f), y = (__m512bh)_mm512_set1_epi16(0x3a83);
    __m512 a[N];
    ATTN_UNROLL for (int i = 0; i < N; i++)
        a[i] = _mm512_set1_ps((float)i);
    for (long s = 0; s < steps; s++)
        ATTN_UNROLL for (int i = 0; i < N; i++)
            a[i] = _mm512_dpbf16_ps(a[i], x, y);
    ATTN_UNROLL for (int i = 1; i < N; i++)
        a[0] = _mm512_add_ps(a[0], a[i]);
    return _mm512_cvtss_f32(a[0]);
}
#endif

static const struct {
    int arch;
    fma_fn *run;
    double flops; /* of one step */
} fma_of[] = {
    {ATTN_ARCH_CPU, fma_cpu, 12 * 4 * 2},
#if defined(__x86_64__)
    {ATTN_ARCH_AVX2, fma_avx2, 12 * 8 * 2},
    {ATTN_ARCH_AVX512, fma_avx512, 24 * 16 * 2},
    {ATTN_ARCH_AVX512BF16, fma_avx512bf16, 24 * 32 * 2},
#endif
};

static double fma_rate(int arch, int threads)
{
    enum { STEPS = 400000 }; /* a few milliseconds */
    for (size_t n = 0; n < sizeof fma_of / sizeof *fma_of; n++) {
        if (fma_of[n].arch != arch || !attn__arch_runs(arch))
            continue;
        float sum = 0;
        double rate = 0; /* each thread times itself: waking the others is no part of what cores can do */
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : sum, rate)
        for (int t = 0; t < threads; t++) {
            const double start = bench_now();
            sum += fma_of[n].run(STEPS);
            rate += fma_of[n].flops * STEPS / (bench_now() - start);
        }
        sink = sum;
        return rate;
    }
    return 0;
}

/* ---- READ -------------------------------------------------------------------------------------- */

enum { STEP = 256 }; /* bytes of a stream before the next one has its turn */

static struct {
    char *data;
    size_t bytes;
} pool;

char *roof_pool(size_t *bytes)
{
    const size_t want = (size_t)1 << 30, least = (size_t)64 << 20;
    if (!pool.data) {
        const size_t free_bytes = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
        size_t size = want;
        while (size > free_bytes / 2 && size > least)
            size /= 2;
        pool.data = aligned_alloc(4096, size);
        pool.bytes = pool.data ? size : 0;
        if (pool.data)
            memset(pool.data, 1, size); /* untouched pages would all be one page of zeros */
    }
    *bytes = pool.bytes;
    return pool.data;
}

ATTN_INLINE float read_streams(const char *data, size_t bytes, const int streams, const int ahead)
{
    vec16 a[4] = {{0}};
    const size_t each = bytes / (size_t)streams / STEP * STEP;
    for (size_t at = 0; at < each; at += STEP)
        for (int s = 0; s < streams; s++) {
            const char *p = data + (size_t)s * each + at;
            ATTN_UNROLL for (int k = 0; k < STEP / 64; k++) {
                if (ahead)
                    __builtin_prefetch(p + ahead + 64 * k, 0, 3);
                ATTN_UNROLL for (int m = 0; m < 4; m++)
                    a[m] += *(const vec16 *)(const void *)(p + 64 * k + 16 * m);
            }
        }
    a[0] += a[1] + a[2] + a[3];
    return a[0][0];
}

ATTN_NOINLINE float read_1(const char *data, size_t bytes) { return read_streams(data, bytes, 1, 0); }
ATTN_NOINLINE float read_1_ahead(const char *data, size_t bytes) { return read_streams(data, bytes, 1, 2048); }
ATTN_NOINLINE float read_4(const char *data, size_t bytes) { return read_streams(data, bytes, 4, 2048); }
ATTN_NOINLINE float read_8(const char *data, size_t bytes) { return read_streams(data, bytes, 8, 2048); }

static double read_rate(int threads, int turn)
{
    static float (*const ways[])(const char *, size_t) = {read_8, read_1, read_4, read_1_ahead};
    float (*const way)(const char *, size_t) = ways[turn % 4];
    size_t bytes;
    const char *data = roof_pool(&bytes);
    if (!data)
        return 0;
    const size_t share = bytes / (size_t)threads / 4096 * 4096;
    float sum = 0;
    double start = bench_now();
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : sum)
    for (int t = 0; t < threads; t++)
        sum += way(data + (size_t)t * share, share);
    double seconds = bench_now() - start;
    sink = sum;
    return (double)share * threads / seconds;
}

double roof_sample(int roof, int arch, int threads, int turn)
{
    return roof == ROOF_FMA ? fma_rate(arch, threads) : read_rate(threads, turn);
}
