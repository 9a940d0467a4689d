/* cluster.cuh - clusters of blocks that reach each other's shared memory, and kernels that start early (sm_90 on).
 *
 * The blocks of a cluster are neighbours in the grid and run at the same time; rank = blockIdx.x % size.  A cluster
 * address is 32 bits and names a byte of some block of the cluster; a shared address is the cluster address of the
 * block's own byte.  No block may touch another before attn__cluster_sync (it may not have started), and none may end
 * while another still touches it.  CUDA. */
#ifndef ATTN_DEVICE_CLUSTER_CUH
#define ATTN_DEVICE_CLUSTER_CUH

#include <attn/device/mbarrier.cuh>

/* ---- launches: host ------------------------------------------------------------------------------ */

/* As ATTN_LAUNCH with clusters of `cluster` blocks, by which `grid` divides: 1 to 8; 16 where the device has room. */
#define ATTN_LAUNCH_CLUSTER(name, grid, cluster, threads, shared_bytes, stream, args)                              \
    attn__launch_cluster((const void *)(name), (grid), (cluster), (threads), (shared_bytes), (cudaStream_t)(stream), \
                         (void *)(args), 0)

/* As that, and may start while the kernel before it in the stream still runs: see attn__grid_wait. */
#define ATTN_LAUNCH_EARLY(name, grid, cluster, threads, shared_bytes, stream, args)                                \
    attn__launch_cluster((const void *)(name), (grid), (cluster), (threads), (shared_bytes), (cudaStream_t)(stream), \
                         (void *)(args), 1)

static inline cudaError_t attn__launch_cluster(const void *kernel, unsigned grid, unsigned cluster, unsigned threads,
                                               int shared_bytes, cudaStream_t stream, void *args, int early)
{
    void *list[1] = { args };
    cudaLaunchAttribute attributes[2];
    cudaLaunchConfig_t config;
    cudaError_t e = cudaSuccess;
    if (shared_bytes > 48 * 1024)
        e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    if (e == cudaSuccess && cluster > 8)
        e = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (e != cudaSuccess)
        return e;
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim.x = cluster;
    attributes[0].val.clusterDim.y = 1;
    attributes[0].val.clusterDim.z = 1;
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim.x = grid;
    config.gridDim.y = config.gridDim.z = 1;
    config.blockDim.x = threads;
    config.blockDim.y = config.blockDim.z = 1;
    config.dynamicSmemBytes = (size_t)shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = early ? 2 : 1;
    return cudaLaunchKernelExC(&config, kernel, list);
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/* ---- kernels that start early: the whole grid ---------------------------------------------------- */

/* Waits until the kernel before this one in the stream has ended and all it wrote can be seen.  In a kernel launched by
 * ATTN_LAUNCH_EARLY, before the first access to what that one writes or reads; elsewhere it returns at once. */
ATTN_DEVICE void attn__grid_wait(void)
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

/* From here on this block does not hold up the start of the next kernel, if that was launched early. */
ATTN_DEVICE void attn__grid_launch_next(void)
{
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

/* ---- who and where -------------------------------------------------------------------------------- */

ATTN_DEVICE int attn__cluster_rank(void)
{
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return (int)rank;
}
ATTN_DEVICE int attn__cluster_size(void)
{
    uint32_t size;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return (int)size;
}

/* The cluster address of that byte of block `rank` which lies where `shared` lies in this block. */
ATTN_DEVICE uint32_t attn__cluster_map(uint32_t shared, int rank)
{
    uint32_t address;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
    return address;
}

/* ---- barrier of all threads of all blocks: each arrives, then waits ------------------------------- */

/* Warps call it whole.  What was written before is seen by all after the wait. */
ATTN_DEVICE void attn__cluster_arrive(void)
{
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
/* The same, but shows mbarriers alone, after attn__mbarrier_made: it need not wait for other writes. */
ATTN_DEVICE void attn__cluster_arrive_made(void)
{
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
ATTN_DEVICE void attn__cluster_wait(void)
{
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
ATTN_DEVICE void attn__cluster_sync(void)
{
    attn__cluster_arrive();
    attn__cluster_wait();
}

/* ---- memory of other blocks, by cluster addresses ------------------------------------------------- */

ATTN_DEVICE float attn__cluster_load_f32(uint32_t address)
{
    float x;
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(x) : "r"(address) : "memory");
    return x;
}
ATTN_DEVICE void attn__cluster_store_f32(uint32_t address, float x)
{
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(x) : "memory");
}

/* One arrival at an mbarrier of another block, which shows what this thread wrote before to who waits there with
 * attn__cluster_mbarrier_wait. */
ATTN_DEVICE void attn__cluster_mbarrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}
ATTN_DEVICE void attn__cluster_mbarrier_arrive_if(uint32_t barrier, int condition)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %1, 0;\n"
                 "@p mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];\n}" ::"r"(barrier),
                 "r"(condition)
                 : "memory");
}
/* As attn__mbarrier_wait, of the block's own barrier, and also sees what other blocks wrote before they arrived. */
ATTN_DEVICE void attn__cluster_mbarrier_wait(uint32_t barrier, int parity)
{
    uint32_t done;
    do {
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    } while (!done);
}

/* Writes 4, 8, 16 bytes (so aligned) and then counts them on `barrier`, an mbarrier of the same block as `address`,
 * which has announced them.  The writer does not wait. */
ATTN_DEVICE void attn__cluster_send(uint32_t address, uint32_t barrier, float x)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %2, [%1];" ::"r"(address),
                 "r"(barrier), "f"(x)
                 : "memory");
}
ATTN_DEVICE void attn__cluster_send2(uint32_t address, uint32_t barrier, float x, float y)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%2, %3}, [%1];" ::"r"(
                     address),
                 "r"(barrier), "f"(x), "f"(y)
                 : "memory");
}
ATTN_DEVICE void attn__cluster_send4(uint32_t address, uint32_t barrier, float x, float y, float z, float w)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%2, %3, %4, %5}, [%1];" ::
                     "r"(address),
                 "r"(barrier), "f"(x), "f"(y), "f"(z), "f"(w)
                 : "memory");
}

/* Copies a run of bytes of this block (16-byte units, as in tma.cuh) to another, counted on `barrier` there. */
ATTN_DEVICE void attn__cluster_copy(uint32_t address, uint32_t shared, uint32_t bytes, uint32_t barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     address),
                 "r"(shared), "r"(bytes), "r"(barrier)
                 : "memory");
}

#endif
#endif /* ATTN_DEVICE_CLUSTER_CUH */
