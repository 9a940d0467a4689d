/* cuda.cuh - the CUDA language as templates write it: function kinds, shared memory, unrolling, launches.
 *
 * A kernel has exactly one parameter, a struct by value that is called `a` in its body:
 *
 *     ATTN_GLOBAL(my_kernel, my_args, 128, 2)      128 threads a block at most, 2 blocks an SM wanted
 *     {
 *         ATTN_SHARED(smem);                       the dynamic shared memory, 1024-byte aligned
 *         ... a.field ...
 *     }
 *     cudaError_t e = ATTN_LAUNCH(my_kernel, grid, 128, bytes, stream, &args);
 *
 * Every thread of a launch comes to the same barriers; blocks have one dimension, grids have one.
 * tests/emu has a file of this name, which makes the same text run on a CPU.  CUDA. */
#ifndef ATTN_DEVICE_CUDA_CUH
#define ATTN_DEVICE_CUDA_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#define ATTN_DEVICE          static __device__ __forceinline__
#define ATTN_DEVICE_NOINLINE static __device__ __noinline__
/* Device and host. */
#define ATTN_ANYWHERE        static __host__ __device__ __forceinline__

/* Before a loop over registers: an array with an index that is not a constant lives in memory. */
#define ATTN_UNROLL    _Pragma("unroll")
#define ATTN_UNROLL_4  _Pragma("unroll 4") /* so that four loads are under way */
#define ATTN_NO_UNROLL _Pragma("unroll 1")

#define ATTN_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

/* __grid_constant__ lets a field be read where it lies, also through a pointer; Pascal has none. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 700
#define ATTN_GLOBAL(name, type, threads, blocks) \
    static __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ type a)
#else
#define ATTN_GLOBAL(name, type, threads, blocks) \
    static __global__ void __launch_bounds__(threads, blocks) name(const type a)
#endif

/* Blocks of a launch, at most; a kernel whose units are more loops over them. */
#define ATTN_GRID_MOST INT32_MAX

/* One-dimensional launch on `stream` (a cudaStream_t or void *); answers what CUDA answers. */
#define ATTN_LAUNCH(name, grid, threads, shared_bytes, stream, args) \
    attn__launch((const void *)(name), (grid), (threads), (shared_bytes), (cudaStream_t)(stream), (void *)(args))

/* More than 48 KB of dynamic shared memory must be asked for; the answer is remembered by the context, so asking
 * again costs well under a microsecond. */
static inline cudaError_t attn__launch(const void *kernel, unsigned grid, unsigned threads, int shared_bytes,
                                       cudaStream_t stream, void *args)
{
    void *list[1] = { args };
    dim3 blocks, block;
    blocks.x = grid;
    block.x = threads;
    if (shared_bytes > 48 * 1024) {
        const cudaError_t e =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
        if (e != cudaSuccess)
            return e;
    }
    return cudaLaunchKernel(kernel, blocks, block, list, (size_t)shared_bytes, stream);
}

/* x, of which the compiler no longer knows where it is from: what is computed with it is computed here, and not once
 * before a loop that has no registers to keep it in. */
ATTN_DEVICE int attn__anew(int x)
{
    asm volatile("" : "+r"(x));
    return x;
}
ATTN_DEVICE int64_t attn__anew64(int64_t x)
{
    asm volatile("" : "+l"(x));
    return x;
}

/* ---- warps: 32 lanes, all of which must call ---------------------------------------------------- */

/* Lane 0..31 of a one-dimensional block. */
ATTN_DEVICE int attn__lane(void)
{
    return (int)(threadIdx.x & 31);
}

/* The value of the lane whose number differs in the bits of `mask`. */
ATTN_DEVICE float attn__shuffle_xor(float x, int mask)
{
    return __shfl_xor_sync(0xffffffffu, x, mask);
}

/* The value of lane `from`, 0..31. */
ATTN_DEVICE float attn__shuffle(float x, int from)
{
    return __shfl_sync(0xffffffffu, x, from);
}
ATTN_DEVICE int attn__shuffle_int(int x, int from)
{
    return __shfl_sync(0xffffffffu, x, from);
}

/* The number of this thread's warp in a one-dimensional block.  So the compiler knows that all lanes have the same;
 * from threadIdx alone it holds each loop of a warp for one that may diverge. */
ATTN_DEVICE int attn__warp(void)
{
    return attn__shuffle_int((int)threadIdx.x / 32, 0);
}

/* 1 if `condition` holds in any lane of the warp. */
ATTN_DEVICE int attn__any(int condition)
{
    return __any_sync(0xffffffffu, condition);
}

/* ---- named barriers: some warps of a block ------------------------------------------------------ */

/* Barrier `id` 1..15 (0 is __syncthreads) for `threads`, a multiple of 32: waits until so many have come. */
ATTN_DEVICE void attn__barrier(int id, int threads)
{
    asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* Counts as having come to it, and goes on. */
ATTN_DEVICE void attn__barrier_arrive(int id, int threads)
{
    asm volatile("barrier.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#endif /* ATTN_DEVICE_CUDA_CUH */
