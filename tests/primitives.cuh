/* primitives.cuh - the kernels of primitives.h, and PRIM_RUN, which runs one.
 *
 * Included once, by primitives_emulated.c and by primitives_cuda.cu, so in the common subset of C and CUDA.  Kernels do
 * as little as they can around the functions they are about; `p` are the numbers of the call.  C11 and CUDA. */
#include <attn/device/cluster.cuh>
#include <attn/device/copy.cuh>
#include <attn/device/cuda.cuh>
#include <attn/device/math.cuh>
#include <attn/device/mbarrier.cuh>
#include <attn/device/mma.cuh>
#include <attn/device/narrow.cuh>
#include <attn/device/tma.cuh>
#include <attn/device/wgmma.cuh>
#include "primitives.h"
#include <stdlib.h>

/* Functions that an architecture of this build has not must not be named there. */
#ifdef __CUDA_ARCH__
#define PRIM_ARCH __CUDA_ARCH__
#else
#define PRIM_ARCH 10000
#endif

typedef struct prim_args {
    attn__tma_map map;
    const unsigned char *in;
    unsigned char *out;
    int in_bytes, out_bytes;
    int p[PRIM_NUMBERS];
} prim_args;

/* All threads: `bytes` (a multiple of 4) between global and shared memory, then a barrier. */
ATTN_DEVICE void prim_fill(unsigned char *shared, const unsigned char *global, int bytes)
{
    for (int i = (int)threadIdx.x * 4; i < bytes; i += (int)blockDim.x * 4)
        *(uint32_t *)(void *)(shared + i) = *(const uint32_t *)(const void *)(global + i);
    __syncthreads();
}
ATTN_DEVICE void prim_dump(unsigned char *global, const unsigned char *shared, int bytes)
{
    for (int i = (int)threadIdx.x * 4; i < bytes; i += (int)blockDim.x * 4)
        *(uint32_t *)(void *)(global + i) = *(const uint32_t *)(const void *)(shared + i);
}

/* ---- any GPU -------------------------------------------------------------------------------------- */

/* in: x, y of each thread; out: 16 words of each. */
ATTN_GLOBAL(prim_math, prim_args, 128, 1)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    const float x = ((const float *)(const void *)a.in)[2 * i], y = ((const float *)(const void *)a.in)[2 * i + 1];
    float *out = (float *)(void *)a.out + 16 * i;
    uint32_t *bits = (uint32_t *)(void *)out;
    out[0] = attn__exp2(x);
    out[1] = attn__log2(x);
    out[2] = attn__tanh(x);
    out[3] = attn__max(x, y);
    bits[4] = attn__pack_f16(x, y);
    bits[5] = attn__pack_bf16(x, y);
    out[6] = attn__low_f16(attn__pack_f16(x, y));
    out[7] = attn__high_f16(attn__pack_f16(x, y));
    out[8] = attn__low_bf16(attn__pack_bf16(x, y));
    out[9] = attn__high_bf16(attn__pack_bf16(x, y));
    out[10] = attn__tanh_f32(x);
    out[11] = attn__reciprocal(x);
    out[12] = attn__inverse_root(x);
    out[13] = attn__tanh_near(x > -2.0f && x < 2.0f ? x : 0.0f);
    bits[14] = attn__low_halves(__float_as_uint(x), __float_as_uint(y));
    bits[15] = attn__high_halves(__float_as_uint(x), __float_as_uint(y));
}

/* in: a float of each thread; p[0]: the mask and the source.  out: 6 floats of each. */
ATTN_GLOBAL(prim_warp, prim_args, 128, 1)
{
    ATTN_SHARED(smem);
    const int i = (int)threadIdx.x, warp = i >> 5;
    float *word = (float *)(void *)smem;
    const float x = ((const float *)(const void *)a.in)[i];
    float *out = (float *)(void *)a.out + 6 * i;
    out[0] = (float)attn__lane();
    out[1] = attn__shuffle_xor(x, a.p[0]);
    out[2] = attn__shuffle(x, a.p[0]);
    out[3] = (float)attn__shuffle_int((int)x, a.p[0]);
    out[4] = (float)attn__any(x > 3.0f);
    /* Warps 0 and 1 hand over to 2 and 3, by barriers 3 and 4. */
    if (warp < 2) {
        word[i] = x;
        attn__barrier_arrive(3 + warp, 64);
        out[5] = 0.0f;
    } else {
        attn__barrier(1 + warp, 64);
        out[5] = word[i - 64];
    }
}

/* in: 16 bytes of each thread, of which it copies none, 2, 4 .. 16 in the first group, and all in the second, every other one
 * as what is read once; then 4 of two threads in three; then 16 again by a load, p[0] after its own. */
ATTN_GLOBAL(prim_copy, prim_args, 128, 1)
{
    ATTN_SHARED(smem);
    const int i = (int)threadIdx.x, bytes = (int)blockDim.x * 16;
    attn__prefetch(a.in + 16 * i);
    attn__copy_async(smem + 16 * i, a.in + 16 * i, i % 9 * 2);
    attn__copy_async_commit();
    if (i % 2)
        attn__copy_async(smem + bytes + 16 * i, a.in + 16 * i, 16);
    else
        attn__copy_async_once(smem + bytes + 16 * i, a.in + 16 * i);
    attn__copy_async_commit();
    ATTN_COPY_ASYNC_WAIT(1);
    __syncthreads();
    prim_dump(a.out, smem, bytes);
    ATTN_COPY_ASYNC_WAIT(0);
    __syncthreads();
    prim_dump(a.out + bytes, smem + bytes, bytes);
    __syncthreads();
    attn__copy_async4(smem + 4 * i, a.in + 4 * i, i % 3);
    attn__copy_async_commit();
    ATTN_COPY_ASYNC_WAIT(0);
    __syncthreads();
    prim_dump(a.out + 2 * bytes, smem, bytes / 4);
    const int64_t from = attn__anew64((int64_t)i * 16 + attn__anew(a.p[0]));
    *(uint4 *)(void *)(a.out + 2 * bytes + bytes / 4 + 16 * i) = attn__load_256(a.in + from % bytes);
}

/* ---- sm_75, sm_80, sm_89 -------------------------------------------------------------------------- */

/* in: of each lane 4 words of D, 4 of A, 2 of B; out: 4 of D; p[0]: which. */
ATTN_GLOBAL(prim_mma_k8, prim_args, 32, 1)
{
#if PRIM_ARCH >= 750
    const float *d = (const float *)(const void *)a.in + 10 * threadIdx.x;
    const uint32_t *in = (const uint32_t *)(const void *)a.in + 10 * threadIdx.x;
    float *out = (float *)(void *)a.out + 4 * threadIdx.x, sum[4];
    for (int i = 0; i < 4; ++i)
        sum[i] = d[i];
    attn__mma_f16_k8(sum, in + 4, in + 8);
    for (int i = 0; i < 4; ++i)
        out[i] = sum[i];
#endif
}
ATTN_GLOBAL(prim_mma, prim_args, 32, 1)
{
#if PRIM_ARCH >= 800
    const float *d = (const float *)(const void *)a.in + 10 * threadIdx.x;
    const uint32_t *in = (const uint32_t *)(const void *)a.in + 10 * threadIdx.x;
    float *out = (float *)(void *)a.out + 4 * threadIdx.x, sum[4];
    int32_t whole[4];
    for (int i = 0; i < 4; ++i) {
        sum[i] = d[i];
        whole[i] = (int32_t)in[i];
    }
    if (a.p[0] == 0)
        attn__mma_f16(sum, in + 4, in + 8);
    else if (a.p[0] == 1)
        attn__mma_bf16(sum, in + 4, in + 8);
    else if (a.p[0] == 2)
        attn__mma_tf32(sum, in + 4, in + 8);
    else
        attn__mma_s8(whole, in + 4, in + 8);
    for (int i = 0; i < 4; ++i)
        if (a.p[0] == 3)
            ((int32_t *)(void *)out)[i] = whole[i];
        else
            out[i] = sum[i];
#endif
}
ATTN_GLOBAL(prim_mma_8bit, prim_args, 32, 1)
{
#if PRIM_ARCH >= 890
    const float *d = (const float *)(const void *)a.in + 10 * threadIdx.x;
    const uint32_t *in = (const uint32_t *)(const void *)a.in + 10 * threadIdx.x;
    float *out = (float *)(void *)a.out + 4 * threadIdx.x, sum[4];
    for (int i = 0; i < 4; ++i)
        sum[i] = d[i];
    if (a.p[0] == 0)
        attn__mma_e4m3(sum, in + 4, in + 8);
    else
        attn__mma_e5m2(sum, in + 4, in + 8);
    for (int i = 0; i < 4; ++i)
        out[i] = sum[i];
#endif
}

/* Pairs of f16 as floats. */
ATTN_DEVICE void prim_pairs(float *out, const uint32_t *d, int n)
{
    for (int i = 0; i < n; ++i) {
        out[2 * i] = attn__low_f16(d[i]);
        out[2 * i + 1] = attn__high_f16(d[i]);
    }
}
/* in: a word of each thread; out: 24 floats. */
ATTN_GLOBAL(prim_narrow, prim_args, 128, 1)
{
#if PRIM_ARCH >= 800
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    const uint32_t x = ((const uint32_t *)(const void *)a.in)[i], y = 0x3c004200u, z = 0x44003c00u;
    float *out = (float *)(void *)a.out + 24 * i;
    uint32_t d[4];
    attn__e4m3_to_f16x2(x, d);
    prim_pairs(out, d, 2);
    attn__e5m2_to_f16x2(x, d);
    prim_pairs(out + 4, d, 2);
    attn__int8_to_f16x2(x, d);
    prim_pairs(out + 8, d, 2);
    attn__int4_to_f16x2(x, d);
    prim_pairs(out + 12, d, 4);
    /* Of int8, so that sums are exact. */
    attn__int8_to_f16x2(x, d);
    d[2] = attn__add_f16x2(d[0], y);
    d[3] = attn__fma_f16x2(d[0], y, z);
    prim_pairs(out + 20, d + 2, 2);
#endif
}

/* in: 32 rows of 16 bytes; out: 4 words of each lane; p[0]: transposed, 2: afterwards, in registers. */
ATTN_GLOBAL(prim_ldmatrix, prim_args, 32, 1)
{
#if PRIM_ARCH >= 750
    ATTN_SHARED(smem);
    uint32_t d[4];
    prim_fill(smem, a.in, 512);
    if (a.p[0] == 1)
        attn__ldmatrix_x4_trans(d, attn__shared_address(smem) + 16 * threadIdx.x);
    else
        attn__ldmatrix_x4(d, attn__shared_address(smem) + 16 * threadIdx.x);
    for (int i = 0; i < 4; ++i)
        ((uint32_t *)(void *)a.out)[4 * threadIdx.x + i] = a.p[0] == 2 ? attn__transpose_8x8(d[i]) : d[i];
#endif
}
ATTN_GLOBAL(prim_stmatrix, prim_args, 32, 1)
{
#if PRIM_ARCH >= 900
    ATTN_SHARED(smem);
    const uint32_t *d = (const uint32_t *)(const void *)a.in + 4 * threadIdx.x;
    if (a.p[0])
        attn__stmatrix_x4_trans(attn__shared_address(smem) + 16 * threadIdx.x, d);
    else
        attn__stmatrix_x4(attn__shared_address(smem) + 16 * threadIdx.x, d);
    __syncthreads();
    prim_dump(a.out, smem, 512);
#endif
}

/* ---- sm_90 ----------------------------------------------------------------------------------------- */

/* A ring of two buffers of 128 words, filled by warp 0 and emptied by warps 1 to 4, p[0] times: in, +1, out.  p[1]: how
 * warp 0 fills: by stores, by cp.async, by bulk copies that one lane asks for.  `empty` has four arrivals. */
ATTN_GLOBAL(prim_mbarrier, prim_args, 160, 1)
{
#if PRIM_ARCH >= 900
    ATTN_SHARED(smem);
    const uint32_t base = attn__shared_address(smem), full = base + 1024, empty = full + 16;
    const int warp = attn__warp(), lane = attn__lane();
    if (threadIdx.x == 0) {
        for (uint32_t s = 0; s < 2; ++s) {
            attn__mbarrier_init(full + 8 * s, a.p[1] == 1 ? 32 : 1);
            attn__mbarrier_init(empty + 8 * s, 4);
        }
        attn__mbarrier_made();
    }
    __syncthreads();
    for (int n = 0; n < a.p[0]; ++n) {
        const uint32_t s = (uint32_t)n & 1;
        const int k = n >> 1 & 1;
        if (warp == 0) {
            const unsigned char *from = a.in + 512 * n;
            attn__mbarrier_wait(empty + 8 * s, k ^ 1);
            if (a.p[1] == 0) {
                for (int i = lane; i < 128; i += 32)
                    ((uint32_t *)(void *)(smem + 512 * s))[i] = ((const uint32_t *)(const void *)from)[i];
                __syncwarp();
                attn__mbarrier_arrive_if(full + 8 * s, lane == 5);
            } else if (a.p[1] == 1) {
                attn__copy_async(smem + 512 * s + 16 * lane, from + 16 * lane, 16);
                attn__mbarrier_arrive_copies(full + 8 * s);
            } else if (attn__elect()) {
                if (n & 1) {
                    attn__mbarrier_arrive_expect(full + 8 * s, 512);
                } else {
                    attn__mbarrier_expect(full + 8 * s, 512);
                    attn__mbarrier_arrive(full + 8 * s);
                }
                attn__bulk_load(base + 512 * s, from, 256, full + 8 * s, ATTN_L2_NORMAL);
                attn__bulk_load(base + 512 * s + 256, from + 256, 256, full + 8 * s, ATTN_L2_FIRST);
            }
        } else {
            const int i = (int)threadIdx.x - 32;
            if (n & 2) {
                attn__mbarrier_wait(full + 8 * s, k);
            } else {
                while (!attn__mbarrier_try(full + 8 * s, k)) {
                }
            }
            ((uint32_t *)(void *)(a.out + 512 * n))[i] = ((const uint32_t *)(const void *)(smem + 512 * s))[i] + 1;
            __syncwarp();
            if (lane == 0)
                attn__mbarrier_arrive(empty + 8 * s);
        }
    }
#endif
}

/* A box at p[1..rank], p[0] its rank and p[6] its bytes, lands at byte p[7] (a multiple of 128) of shared memory. */
ATTN_DEVICE void prim_box_load(const prim_args *a, uint32_t to, uint32_t barrier, uint64_t hint)
{
#if PRIM_ARCH >= 900
    const int *c = a->p + 1;
    switch (a->p[0]) {
    case 2: attn__tma_load_2d(to, &a->map, barrier, c[0], c[1], hint); break;
    case 3: attn__tma_load_3d(to, &a->map, barrier, c[0], c[1], c[2], hint); break;
    case 4: attn__tma_load_4d(to, &a->map, barrier, c[0], c[1], c[2], c[3], hint); break;
    default: attn__tma_load_5d(to, &a->map, barrier, c[0], c[1], c[2], c[3], c[4], hint);
    }
#else
    (void)a, (void)to, (void)barrier, (void)hint;
#endif
}
ATTN_GLOBAL(prim_tma_load, prim_args, 64, 1)
{
#if PRIM_ARCH >= 900
    ATTN_SHARED(smem);
    const int *c = a.p + 1;
    const uint32_t base = attn__shared_address(smem), barrier = base + (uint32_t)a.p[7] + (uint32_t)a.p[6];
    if (threadIdx.x == 0) {
        attn__mbarrier_init(barrier, 1);
        attn__mbarrier_made();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        attn__tma_prefetch_map(&a.map);
        switch (a.p[0]) {
        case 2: attn__tma_prefetch_2d(&a.map, c[0], c[1]); break;
        case 3: attn__tma_prefetch_3d(&a.map, c[0], c[1], c[2]); break;
        case 4: attn__tma_prefetch_4d(&a.map, c[0], c[1], c[2], c[3]); break;
        default: attn__tma_prefetch_5d(&a.map, c[0], c[1], c[2], c[3], c[4]);
        }
        attn__mbarrier_arrive_expect(barrier, (uint32_t)a.p[6]);
        prim_box_load(&a, base + (uint32_t)a.p[7], barrier, ATTN_L2_LAST);
    }
    attn__mbarrier_wait(barrier, 0);
    prim_dump(a.out, smem + a.p[7], a.p[6]);
#endif
}

/* The box of the same numbers goes from shared memory, filled from `in`, to `out`; p[8]: is added to it. */
ATTN_GLOBAL(prim_tma_store, prim_args, 64, 1)
{
#if PRIM_ARCH >= 900
    ATTN_SHARED(smem);
    const int *c = a.p + 1;
    const uint32_t from = attn__shared_address(smem) + (uint32_t)a.p[7];
    prim_fill(smem + a.p[7], a.in, a.p[6]);
    attn__fence_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        switch (a.p[0] + 10 * a.p[8]) {
        case 2: attn__tma_store_2d(&a.map, from, c[0], c[1]); break;
        case 3: attn__tma_store_3d(&a.map, from, c[0], c[1], c[2]); break;
        case 4: attn__tma_store_4d(&a.map, from, c[0], c[1], c[2], c[3]); break;
        case 5: attn__tma_store_5d(&a.map, from, c[0], c[1], c[2], c[3], c[4]); break;
        case 12: attn__tma_add_2d(&a.map, from, c[0], c[1]); break;
        case 13: attn__tma_add_3d(&a.map, from, c[0], c[1], c[2]); break;
        case 14: attn__tma_add_4d(&a.map, from, c[0], c[1], c[2], c[3]); break;
        default: attn__tma_add_5d(&a.map, from, c[0], c[1], c[2], c[3], c[4]);
        }
        attn__bulk_commit();
        ATTN_BULK_WAIT_READ(0);
        ATTN_BULK_WAIT(0);
    }
#endif
}

/* p[0] bytes of floats: in -> shared -> the first part of out, and added to the second. */
ATTN_GLOBAL(prim_bulk, prim_args, 64, 1)
{
#if PRIM_ARCH >= 900
    ATTN_SHARED(smem);
    const uint32_t bytes = (uint32_t)a.p[0], base = attn__shared_address(smem), barrier = base + bytes;
    if (threadIdx.x == 0) {
        attn__mbarrier_init(barrier, 1);
        attn__mbarrier_made();
        attn__bulk_prefetch(a.in, bytes);
        attn__mbarrier_arrive_expect(barrier, bytes);
        attn__bulk_load(base, a.in, bytes, barrier, ATTN_L2_NORMAL);
        attn__mbarrier_wait(barrier, 0);
        attn__bulk_store(a.out, base, bytes);
        attn__bulk_commit();
        attn__bulk_add_f32((float *)(void *)(a.out + bytes), base, bytes);
        attn__bulk_commit();
        ATTN_BULK_WAIT(1);
        ATTN_BULK_WAIT_READ(0);
    }
#endif
}

/* A cluster: block p[8] loads the box (numbers as above) into the blocks of p[9]; each that is meant dumps it. */
ATTN_GLOBAL(prim_spread, prim_args, 64, 1)
{
#if PRIM_ARCH >= 900
    ATTN_SHARED(smem);
    const int *c = a.p + 1, rank = attn__cluster_rank();
    const uint32_t base = attn__shared_address(smem), barrier = base + (uint32_t)a.p[6];
    const uint32_t blocks = (uint32_t)a.p[9];
    if (threadIdx.x == 0) {
        attn__mbarrier_init(barrier, 1);
        attn__mbarrier_made();
        if (blocks >> rank & 1)
            attn__mbarrier_arrive_expect(barrier, (uint32_t)a.p[6]);
    }
    attn__cluster_sync();
    if (threadIdx.x == 0 && rank == a.p[8]) {
        switch (a.p[0]) {
        case 2: attn__tma_spread_2d(base, &a.map, barrier, c[0], c[1], blocks, ATTN_L2_NORMAL); break;
        case 3: attn__tma_spread_3d(base, &a.map, barrier, c[0], c[1], c[2], blocks, ATTN_L2_NORMAL); break;
        case 4: attn__tma_spread_4d(base, &a.map, barrier, c[0], c[1], c[2], c[3], blocks, ATTN_L2_NORMAL); break;
        default: attn__tma_spread_5d(base, &a.map, barrier, c[0], c[1], c[2], c[3], c[4], blocks, ATTN_L2_NORMAL);
        }
    }
    if (blocks >> rank & 1) {
        attn__mbarrier_wait(barrier, 0);
        prim_dump(a.out + a.p[6] * (int)blockIdx.x, smem, a.p[6]);
    }
    attn__cluster_sync();
#endif
}

/* Each block tells the next one in its cluster (and itself, in a cluster of one) its numbers, in every way there is.
 * in: 64 floats of each block.  out: 64 floats of each: what it was told, and its rank and size. */
ATTN_GLOBAL(prim_cluster, prim_args, 64, 1)
{
#if PRIM_ARCH >= 900
    ATTN_SHARED(smem);
    float *got = (float *)(void *)smem, *own = got + 64;
    const int i = (int)threadIdx.x, rank = attn__cluster_rank(), size = attn__cluster_size();
    const int next = rank + 1 < size ? rank + 1 : 0, before = rank > 0 ? rank - 1 : size - 1;
    const uint32_t base = attn__shared_address(smem), bytes_in = base + 512, told = base + 520;
    const float *x = (const float *)(const void *)a.in + 64 * blockIdx.x;
    float *out = (float *)(void *)a.out + 64 * blockIdx.x;
    own[i] = x[i];
    if (i == 0) {
        attn__mbarrier_init(bytes_in, 1);
        attn__mbarrier_init(told, 9);
        attn__mbarrier_made();
        attn__mbarrier_arrive_expect(bytes_in, 16 * 4 + 16);
    }
    attn__fence_async();
    attn__cluster_arrive();
    attn__cluster_wait();
    const uint32_t there = attn__cluster_map(base, next), barrier = attn__cluster_map(bytes_in, next);
    /* 0-15: sent; 16-19: copied; 20-27: stored, with arrivals; 28-59: fetched. */
    if (i < 4)
        attn__cluster_send(there + 4 * (uint32_t)i, barrier, x[i]);
    else if (i < 8 && (i & 1) == 0)
        attn__cluster_send2(there + 4 * (uint32_t)i, barrier, x[i], x[i + 1]);
    else if (i == 8 || i == 12)
        attn__cluster_send4(there + 4 * (uint32_t)i, barrier, x[i], x[i + 1], x[i + 2], x[i + 3]);
    else if (i == 16)
        attn__cluster_copy(there + 64, base + 256 + 64, 16, barrier);
    else if (i >= 20 && i < 28)
        attn__cluster_store_f32(there + 4 * (uint32_t)i, x[i]);
    if (i >= 20 && i < 28)
        attn__cluster_mbarrier_arrive(attn__cluster_map(told, next));
    attn__cluster_mbarrier_arrive_if(attn__cluster_map(told, next), i == 40);
    attn__mbarrier_wait(bytes_in, 0);
    attn__cluster_mbarrier_wait(told, 0);
    if (i < 28)
        out[i] = got[i];
    else if (i < 60)
        out[i] = attn__cluster_load_f32(attn__cluster_map(base + 256 + 4 * (uint32_t)i, before));
    else
        out[i] = (float)(i == 60 ? rank : i == 61 ? size : 0);
    attn__cluster_arrive_made(); /* nobody ends while others read; nothing is shown */
    attn__cluster_wait();
#endif
}

/* Adds 1 to every word of out; p[0]: started early, so that it must wait, behind a first launch that dawdles. */
ATTN_GLOBAL(prim_after, prim_args, 64, 1)
{
#if PRIM_ARCH >= 900
    uint32_t *word = (uint32_t *)(void *)a.out + blockIdx.x * blockDim.x + threadIdx.x;
    attn__grid_launch_next();
    attn__grid_wait();
    uint32_t x = *word;
    for (int i = 0; i < a.p[0]; ++i)
        x = x * 5 + 1;
    *word = x;
#endif
}

/* Three warpgroups share registers p[0] = 0: 24, 240, 240.  Each thread adds up what it can hold. */
ATTN_GLOBAL(prim_registers, prim_args, 384, 1)
{
#if ATTN_HAS_WGMMA
    const int group = attn__shuffle_int((int)threadIdx.x >> 7, 0);
    const float *in = (const float *)(const void *)a.in;
    float *out = (float *)(void *)a.out;
    if (group == 0) {
        ATTN_REGISTERS_GIVE(24);
        out[threadIdx.x] = in[threadIdx.x];
    } else {
        float x[160], sum = 0.0f;
        ATTN_REGISTERS_TAKE(240);
        ATTN_UNROLL for (int i = 0; i < 160; ++i)
            x[i] = in[threadIdx.x + (unsigned)i];
        __syncwarp();
        ATTN_UNROLL for (int i = 0; i < 160; ++i)
            sum += x[i] * (float)(i % 3 + (int)x[159 - i]);
        out[threadIdx.x] = sum;
    }
#endif
}

/* ---- sm_90a: wgmma, a kernel for each width ---------------------------------------------------------- */

#define PRIM_CAT_(x, y) x##y
#define PRIM_CAT(x, y)  PRIM_CAT_(x, y)

#define PRIM_N 8
#include "primitives_wgmma.cuh"
#define PRIM_N 16
#include "primitives_wgmma.cuh"
#define PRIM_N 24
#include "primitives_wgmma.cuh"
#define PRIM_N 32
#include "primitives_wgmma.cuh"
#define PRIM_N 40
#include "primitives_wgmma.cuh"
#define PRIM_N 48
#include "primitives_wgmma.cuh"
#define PRIM_N 56
#include "primitives_wgmma.cuh"
#define PRIM_N 64
#include "primitives_wgmma.cuh"
#define PRIM_N 72
#include "primitives_wgmma.cuh"
#define PRIM_N 80
#include "primitives_wgmma.cuh"
#define PRIM_N 88
#include "primitives_wgmma.cuh"
#define PRIM_N 96
#include "primitives_wgmma.cuh"
#define PRIM_N 104
#include "primitives_wgmma.cuh"
#define PRIM_N 112
#include "primitives_wgmma.cuh"
#define PRIM_N 120
#include "primitives_wgmma.cuh"
#define PRIM_N 128
#include "primitives_wgmma.cuh"
#define PRIM_N 136
#include "primitives_wgmma.cuh"
#define PRIM_N 144
#include "primitives_wgmma.cuh"
#define PRIM_N 152
#include "primitives_wgmma.cuh"
#define PRIM_N 160
#include "primitives_wgmma.cuh"
#define PRIM_N 168
#include "primitives_wgmma.cuh"
#define PRIM_N 176
#include "primitives_wgmma.cuh"
#define PRIM_N 184
#include "primitives_wgmma.cuh"
#define PRIM_N 192
#include "primitives_wgmma.cuh"
#define PRIM_N 200
#include "primitives_wgmma.cuh"
#define PRIM_N 208
#include "primitives_wgmma.cuh"
#define PRIM_N 216
#include "primitives_wgmma.cuh"
#define PRIM_N 224
#include "primitives_wgmma.cuh"
#define PRIM_N 232
#include "primitives_wgmma.cuh"
#define PRIM_N 240
#include "primitives_wgmma.cuh"
#define PRIM_N 248
#include "primitives_wgmma.cuh"
#define PRIM_N 256
#include "primitives_wgmma.cuh"

/* ---- host -------------------------------------------------------------------------------------------- */

#ifdef ATTN_EMULATED
#define prim_alloc(p, bytes)      (*(p) = aligned_alloc(1024, ((bytes) + 1023) / 1024 * 1024), cudaSuccess)
#define prim_free(p)              free(p)
#define prim_copy_in(to, from, n) (memcpy((to), (from), (n)), cudaSuccess)
#define prim_copy_out             prim_copy_in
#define prim_settle()             cudaSuccess
#else
#define prim_alloc(p, bytes)       cudaMalloc((p), (bytes))
#define prim_free(p)               (void)cudaFree(p)
#define prim_copy_in(to, from, n)  cudaMemcpy((to), (from), (n), cudaMemcpyHostToDevice)
#define prim_copy_out(to, from, n) cudaMemcpy((to), (from), (n), cudaMemcpyDeviceToHost)
#define prim_settle()              cudaDeviceSynchronize()
#endif

static cudaError_t prim_launch(const prim_call *c, prim_args *args)
{
    const unsigned grid = (unsigned)c->grid, cluster = (unsigned)c->cluster, threads = (unsigned)c->threads;
    if (c->kernel == PRIM_after) {
        /* Two launches: the second may start before the first has ended, and must see all it wrote. */
        cudaError_t e = ATTN_LAUNCH(prim_after, grid, threads, c->shared, NULL, args);
        return e != cudaSuccess ? e : ATTN_LAUNCH_EARLY(prim_after, grid, 1, threads, c->shared, NULL, args);
    }
    switch (c->kernel) {
#define X(name, cc)                                                                                \
    case PRIM_##name:                                                                              \
        return c->cluster ? ATTN_LAUNCH_CLUSTER(prim_##name, grid, cluster, threads, c->shared, NULL, args) \
                          : ATTN_LAUNCH(prim_##name, grid, threads, c->shared, NULL, args);
        PRIM_KERNELS(X)
#undef X
#define X(n)                       \
    case PRIM_wgmma + (n) / 8 - 1: \
        return ATTN_LAUNCH(prim_wgmma_##n, grid, threads, c->shared, NULL, args);
        PRIM_WIDTHS(X)
#undef X
    }
    return cudaErrorInvalidValue;
}

static int prim_run(const prim_call *c)
{
    void *in = NULL, *out = NULL;
    prim_args args;
    memset((void *)&args, 0, sizeof args);
    cudaError_t e = prim_alloc(&in, c->in_bytes);
    if (e == cudaSuccess)
        e = prim_alloc(&out, c->out_bytes);
    if (e == cudaSuccess)
        e = prim_copy_in(in, c->in, c->in_bytes);
    if (e == cudaSuccess)
        e = prim_copy_in(out, c->out, c->out_bytes);
    if (e == cudaSuccess && c->map.rank)
        e = attn__tma_encode(&args.map, c->map.type, c->map.of_out ? out : in, c->map.rank, c->map.extent,
                             c->map.stride, c->map.box, c->map.swizzle, 128);
    if (e == cudaSuccess) {
        args.in = (const unsigned char *)in;
        args.out = (unsigned char *)out;
        args.in_bytes = (int)c->in_bytes;
        args.out_bytes = (int)c->out_bytes;
        memcpy(args.p, c->p, sizeof args.p);
        e = prim_launch(c, &args);
    }
    if (e == cudaSuccess)
        e = prim_settle();
    if (e == cudaSuccess)
        e = prim_copy_out(c->out, out, c->out_bytes);
    prim_free(in);
    prim_free(out);
    return (int)e;
}
