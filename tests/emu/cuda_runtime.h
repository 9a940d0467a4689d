/* cuda_runtime.h - what attn and docs/examples use of CUDA's header of this name, for the emulator.
 *
 * Memory of the device is memory of the host; streams are ignored, since a launch is over when it returns.  C11. */
#ifndef EMU_CUDA_RUNTIME_H
#define EMU_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "emu.h"

#ifndef ATTN_EMULATED /* on the command line, for attn.cuh */
#define ATTN_EMULATED 1
#endif

#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __align__(n) __attribute__((aligned(n)))

/* ---- types -------------------------------------------------------------------------------------- */

typedef struct emu_index uint3;
typedef struct dim3 {
    unsigned x, y, z;
} dim3;

typedef struct __align__(8) uint2 {
    unsigned x, y;
} uint2;
typedef struct __align__(16) uint4 {
    unsigned x, y, z, w;
} uint4;
typedef struct __align__(8) int2 {
    int x, y;
} int2;
typedef struct __align__(16) int4 {
    int x, y, z, w;
} int4;
typedef struct __align__(8) float2 {
    float x, y;
} float2;
typedef struct __align__(16) float4 {
    float x, y, z, w;
} float4;

#define EMU_UNUSED static inline __attribute__((unused))

EMU_UNUSED uint2 make_uint2(unsigned x, unsigned y)
{
    return (uint2){x, y};
}
EMU_UNUSED uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return (uint4){x, y, z, w};
}
EMU_UNUSED int2 make_int2(int x, int y)
{
    return (int2){x, y};
}
EMU_UNUSED int4 make_int4(int x, int y, int z, int w)
{
    return (int4){x, y, z, w};
}
EMU_UNUSED float2 make_float2(float x, float y)
{
    return (float2){x, y};
}
EMU_UNUSED float4 make_float4(float x, float y, float z, float w)
{
    return (float4){x, y, z, w};
}

EMU_UNUSED unsigned __float_as_uint(float x)
{
    unsigned u;
    memcpy(&u, &x, sizeof u);
    return u;
}
EMU_UNUSED float __uint_as_float(unsigned u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
EMU_UNUSED int __float_as_int(float x)
{
    return (int)__float_as_uint(x);
}
EMU_UNUSED float __int_as_float(int i)
{
    return __uint_as_float((unsigned)i);
}

/* ---- in a kernel -------------------------------------------------------------------------------- */

#define threadIdx (emu_self->index)
#define blockIdx  (emu_self->block->index)
#define blockDim  emu_block_dim
#define gridDim   emu_grid_dim

#define __syncthreads()        ((void)emu_barrier_at(0, (int)emu_block_dim.x, EMU_SYNC, 0, EMU_HERE))
#define __syncthreads_or(c)    emu_barrier_at(0, (int)emu_block_dim.x, EMU_SYNC_OR, (c) != 0, EMU_HERE)
#define __syncthreads_and(c)   emu_barrier_at(0, (int)emu_block_dim.x, EMU_SYNC_AND, (c) != 0, EMU_HERE)
#define __syncthreads_count(c) emu_barrier_at(0, (int)emu_block_dim.x, EMU_SYNC_COUNT, (c) != 0, EMU_HERE)

extern const emu_op emu_syncwarp;
#define __syncwarp() emu_meet(&emu_syncwarp, NULL, EMU_HERE)

/* Memory is that of one CPU thread: in order.  The race detector does not look at global memory. */
#define __threadfence()       emu_pause(EMU_HERE)
#define __threadfence_block() emu_pause(EMU_HERE)
#define __ldg(p)              (*(p))
#define __nanosleep(n)        emu_spin("__nanosleep", EMU_HERE)

/* int and unsigned, 32 and 64 bits; atomicCAS 64.  Others run after it, as if they asked for it in a loop. */
#define atomicAdd(p, v)  (emu_spin("atomicAdd", EMU_HERE), __atomic_fetch_add((p), (v), __ATOMIC_RELAXED))
#define atomicExch(p, v) (emu_spin("atomicExch", EMU_HERE), __atomic_exchange_n((p), (v), __ATOMIC_RELAXED))
#define atomicCAS(p, seen, v) (emu_spin("atomicCAS", EMU_HERE), emu_swap_if((p), (seen), (v)))

/* ---- the runtime -------------------------------------------------------------------------------- */

/* By other names for the linker: the real ones may be in the same program, of instances that nvcc compiled. */
#define cudaGetDevice          emu_cudaGetDevice
#define cudaDeviceGetAttribute emu_cudaDeviceGetAttribute
#define cudaFuncSetAttribute   emu_cudaFuncSetAttribute
#define cudaLaunchKernel       emu_cudaLaunchKernel
#define cudaMemsetAsync        emu_cudaMemsetAsync
#define cudaMemcpyAsync        emu_cudaMemcpyAsync
#define cudaStreamSynchronize  emu_cudaStreamSynchronize
#define cudaMallocManaged      emu_cudaMallocManaged
#define cudaFree               emu_cudaFree
#define cudaGetLastError       emu_cudaGetLastError
#define cudaPeekAtLastError    emu_cudaPeekAtLastError

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
    cudaErrorLaunchOutOfResources = 701,
    cudaErrorLaunchFailure = 719
} cudaError_t;

typedef struct CUstream_st *cudaStream_t;

typedef enum cudaDeviceAttr {
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrL2CacheSize = 38,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
} cudaDeviceAttr;

typedef enum cudaMemcpyKind { cudaMemcpyDeviceToHost = 2 } cudaMemcpyKind;

enum { cudaMemAttachGlobal = 1 };

typedef enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 } cudaFuncAttribute;

cudaError_t cudaGetDevice(int *device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value);
cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **args, size_t shared_bytes,
                             cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMallocManaged(void **p, size_t bytes, unsigned flags); /* aligned to 256, as on a device */
cudaError_t cudaFree(void *p);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);

#endif /* EMU_CUDA_RUNTIME_H */
