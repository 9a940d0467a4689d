/* runtime.c - the functions of tests/emu/cuda_runtime.h.  C11. */
#include "cuda_runtime.h"

#include <stdlib.h>

static cudaError_t last = cudaSuccess;

static cudaError_t answer(cudaError_t e)
{
    if (e != cudaSuccess)
        last = e;
    return e;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t e = last;
    last = cudaSuccess;
    return e;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return answer(emu_set.cc ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    if (!emu_set.cc)
        return answer(cudaErrorNoDevice);
    if (device != 0)
        return answer(cudaErrorInvalidValue);
    switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = 48 * 1024; break;
    case cudaDevAttrMultiProcessorCount: *value = emu_set.sms; break;
    case cudaDevAttrL2CacheSize: *value = emu_set.l2; break;
    case cudaDevAttrComputeCapabilityMajor: *value = emu_set.cc / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = emu_set.cc % 10; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = emu_set.shared_optin; break;
    default: return answer(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
    const emu_kernel *k = kernel;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > emu_set.shared_optin)
        return answer(cudaErrorInvalidValue);
    *k->shared_most = value;
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **args, size_t shared_bytes,
                             cudaStream_t stream)
{
    (void)stream;
    if (grid.y != 1 || grid.z != 1 || block.y != 1 || block.z != 1)
        return answer(cudaErrorInvalidConfiguration);
    return answer((cudaError_t)emu_launch(kernel, grid.x, block.x, shared_bytes, 1, args[0]));
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    (void)stream;
    memset(p, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    (void)kind;
    (void)stream;
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    (void)stream;
    return cudaSuccess;
}

cudaError_t cudaMallocManaged(void **p, size_t bytes, unsigned flags)
{
    if (!emu_set.cc)
        return answer(cudaErrorNoDevice);
    if (!p || !bytes || flags != cudaMemAttachGlobal)
        return answer(cudaErrorInvalidValue);
    *p = aligned_alloc(256, (bytes + 255) / 256 * 256);
    return answer(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *p)
{
    free(p);
    return cudaSuccess;
}
