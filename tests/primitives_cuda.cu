/* primitives_cuda.cu - the kernels of primitives.cuh for a GPU.  CUDA. */
#include "primitives.cuh"

int prim_run_cuda(const prim_call *c)
{
    return prim_run(c);
}

const char *prim_error_cuda(int error)
{
    return cudaGetErrorString((cudaError_t)error);
}

int prim_cuda_device(void)
{
    int major = 0, minor = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    return 10 * major + minor;
}
