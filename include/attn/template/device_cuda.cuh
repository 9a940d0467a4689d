/* device_cuda.cuh - what an instance of CUDA says of the current device: the descriptor's ATTN_DEVICE_FN.
 *
 * Included by plan_cuda.cuh, append_simt.cuh, merge_simt.cuh and res_cuda.cuh, no guard. */

/* The current device; cc 0 if there is none. */
static void ATTN_FN(_device)(attn_device *d)
{
    int at = 0, major = 0, minor = 0, sms = 0, shared = 0, l2 = 0;
    memset(d, 0, sizeof *d);
    if (cudaGetDevice(&at) != cudaSuccess ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, at) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, at) != cudaSuccess ||
        cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, at) != cudaSuccess ||
        cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, at) != cudaSuccess ||
        cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, at) != cudaSuccess) {
        (void)cudaGetLastError(); /* the answer says it; nothing is left behind for the caller's next check */
        return;
    }
    d->cc = 10 * major + minor;
    d->sms = sms;
    d->shared = shared;
    d->l2 = l2;
}
