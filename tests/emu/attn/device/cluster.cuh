/* cluster.cuh - the emulator's twin of include/attn/device/cluster.cuh, which says what each of these does.  C11. */
#ifndef ATTN_DEVICE_CLUSTER_CUH
#define ATTN_DEVICE_CLUSTER_CUH

#include <attn/device/mbarrier.cuh>

#define ATTN_LAUNCH_CLUSTER(name, grid, cluster, threads, shared_bytes, stream, args) \
    ((void)(stream), (cudaError_t)emu_launch_cluster(&(name), (grid), (cluster), (threads), (shared_bytes), (args)))
/* A kernel has ended when the next one starts; but copies by TMA must have waited for that. */
#define ATTN_LAUNCH_EARLY(name, grid, cluster, threads, shared_bytes, stream, args) \
    ((void)(stream), (cudaError_t)emu_launch_early(&(name), (grid), (cluster), (threads), (shared_bytes), (args)))

#define attn__grid_wait()        emu_grid_wait(EMU_HERE)
#define attn__grid_launch_next() emu_grid_launch_next(EMU_HERE)

#define attn__cluster_rank() (emu_self->block->rank)
#define attn__cluster_size() emu_cluster

#define attn__cluster_map(shared, rank) emu_cluster_map((shared), (rank), EMU_HERE)
#define attn__cluster_arrive()          emu_cluster_arrive(EMU_HERE)
#define attn__cluster_arrive_made()     emu_cluster_arrive(EMU_HERE)
#define attn__cluster_wait()            emu_cluster_wait(EMU_HERE)
#define attn__cluster_sync()            (emu_cluster_arrive(EMU_HERE), emu_cluster_wait(EMU_HERE))

#define attn__cluster_load_f32(address)     emu_cluster_load((address), EMU_HERE)
#define attn__cluster_store_f32(address, x) emu_cluster_store((address), (x), EMU_HERE)

#define attn__cluster_mbarrier_arrive(barrier) emu_cluster_mbarrier_arrive((barrier), 1, EMU_HERE)
#define attn__cluster_mbarrier_arrive_if(barrier, condition) \
    emu_cluster_mbarrier_arrive((barrier), (condition) != 0, EMU_HERE)
#define attn__cluster_mbarrier_wait(barrier, parity) emu_mbarrier_wait((barrier), (parity), 1, EMU_HERE)

#define attn__cluster_send(address, barrier, x) emu_cluster_send((address), (barrier), 1, (x), 0, 0, 0, EMU_HERE)
#define attn__cluster_send2(address, barrier, x, y) \
    emu_cluster_send((address), (barrier), 2, (x), (y), 0, 0, EMU_HERE)
#define attn__cluster_send4(address, barrier, x, y, z, w) \
    emu_cluster_send((address), (barrier), 4, (x), (y), (z), (w), EMU_HERE)
#define attn__cluster_copy(address, shared, bytes, barrier) \
    emu_cluster_copy((address), (shared), (bytes), (barrier), EMU_HERE)

#endif /* ATTN_DEVICE_CLUSTER_CUH */
