/* tma.cuh - the emulator's twin of include/attn/device/tma.cuh, which says what each of these does.  C11. */
#ifndef ATTN_DEVICE_TMA_CUH
#define ATTN_DEVICE_TMA_CUH

#include <attn/device/mbarrier.cuh>

#define ATTN_L2_FIRST  0x12F0000000000000ull
#define ATTN_L2_NORMAL 0x1000000000000000ull
#define ATTN_L2_LAST   0x14F0000000000000ull

typedef emu_map attn__tma_map;

#define attn__tma_encode(map, type, data, rank, extent, stride, box, swizzle, promotion) \
    ((cudaError_t)emu_tma_encode((map), (type), (data), (rank), (extent), (stride), (box), (swizzle), (promotion)))

#define attn__tma_prefetch_map(map) ((void)(map), emu_pause(EMU_HERE))

#define EMU_AT(...) ((const int[]){__VA_ARGS__})

#define attn__tma_load_2d(shared, map, barrier, c0, c1, hint) \
    emu_tma_load((shared), (map), (barrier), 2, EMU_AT((c0), (c1)), 0, 0, (hint), EMU_HERE)
#define attn__tma_load_3d(shared, map, barrier, c0, c1, c2, hint) \
    emu_tma_load((shared), (map), (barrier), 3, EMU_AT((c0), (c1), (c2)), 0, 0, (hint), EMU_HERE)
#define attn__tma_load_4d(shared, map, barrier, c0, c1, c2, c3, hint) \
    emu_tma_load((shared), (map), (barrier), 4, EMU_AT((c0), (c1), (c2), (c3)), 0, 0, (hint), EMU_HERE)
#define attn__tma_load_5d(shared, map, barrier, c0, c1, c2, c3, c4, hint) \
    emu_tma_load((shared), (map), (barrier), 5, EMU_AT((c0), (c1), (c2), (c3), (c4)), 0, 0, (hint), EMU_HERE)

#define attn__tma_spread_2d(shared, map, barrier, c0, c1, blocks, hint) \
    emu_tma_load((shared), (map), (barrier), 2, EMU_AT((c0), (c1)), 1, (blocks), (hint), EMU_HERE)
#define attn__tma_spread_3d(shared, map, barrier, c0, c1, c2, blocks, hint) \
    emu_tma_load((shared), (map), (barrier), 3, EMU_AT((c0), (c1), (c2)), 1, (blocks), (hint), EMU_HERE)
#define attn__tma_spread_4d(shared, map, barrier, c0, c1, c2, c3, blocks, hint) \
    emu_tma_load((shared), (map), (barrier), 4, EMU_AT((c0), (c1), (c2), (c3)), 1, (blocks), (hint), EMU_HERE)
#define attn__tma_spread_5d(shared, map, barrier, c0, c1, c2, c3, c4, blocks, hint) \
    emu_tma_load((shared), (map), (barrier), 5, EMU_AT((c0), (c1), (c2), (c3), (c4)), 1, (blocks), (hint), EMU_HERE)

#define attn__tma_store_2d(map, shared, c0, c1) emu_tma_store((map), (shared), 2, EMU_AT((c0), (c1)), 0, EMU_HERE)
#define attn__tma_store_3d(map, shared, c0, c1, c2) \
    emu_tma_store((map), (shared), 3, EMU_AT((c0), (c1), (c2)), 0, EMU_HERE)
#define attn__tma_store_4d(map, shared, c0, c1, c2, c3) \
    emu_tma_store((map), (shared), 4, EMU_AT((c0), (c1), (c2), (c3)), 0, EMU_HERE)
#define attn__tma_store_5d(map, shared, c0, c1, c2, c3, c4) \
    emu_tma_store((map), (shared), 5, EMU_AT((c0), (c1), (c2), (c3), (c4)), 0, EMU_HERE)

#define attn__tma_add_2d(map, shared, c0, c1) emu_tma_store((map), (shared), 2, EMU_AT((c0), (c1)), 1, EMU_HERE)
#define attn__tma_add_3d(map, shared, c0, c1, c2) \
    emu_tma_store((map), (shared), 3, EMU_AT((c0), (c1), (c2)), 1, EMU_HERE)
#define attn__tma_add_4d(map, shared, c0, c1, c2, c3) \
    emu_tma_store((map), (shared), 4, EMU_AT((c0), (c1), (c2), (c3)), 1, EMU_HERE)
#define attn__tma_add_5d(map, shared, c0, c1, c2, c3, c4) \
    emu_tma_store((map), (shared), 5, EMU_AT((c0), (c1), (c2), (c3), (c4)), 1, EMU_HERE)

#define attn__tma_prefetch_2d(map, c0, c1)         emu_tma_prefetch((map), 2, EMU_AT((c0), (c1)), EMU_HERE)
#define attn__tma_prefetch_3d(map, c0, c1, c2)     emu_tma_prefetch((map), 3, EMU_AT((c0), (c1), (c2)), EMU_HERE)
#define attn__tma_prefetch_4d(map, c0, c1, c2, c3) emu_tma_prefetch((map), 4, EMU_AT((c0), (c1), (c2), (c3)), EMU_HERE)
#define attn__tma_prefetch_5d(map, c0, c1, c2, c3, c4) \
    emu_tma_prefetch((map), 5, EMU_AT((c0), (c1), (c2), (c3), (c4)), EMU_HERE)

#define attn__bulk_load(shared, global, bytes, barrier, hint) \
    emu_bulk_load((shared), (global), (bytes), (barrier), (hint), EMU_HERE)
#define attn__bulk_store(global, shared, bytes)   emu_bulk_store((global), (shared), (bytes), 0, EMU_HERE)
#define attn__bulk_add_f32(global, shared, bytes) emu_bulk_store((float *)(global), (shared), (bytes), 1, EMU_HERE)
#define attn__bulk_prefetch(global, bytes)        ((void)(global), (void)(bytes), emu_pause(EMU_HERE))

/* The two waits are the same here: what has been read has been written, too. */
#define attn__bulk_commit()    emu_bulk_commit(EMU_HERE)
#define ATTN_BULK_WAIT(n)      emu_bulk_wait((n), EMU_HERE)
#define ATTN_BULK_WAIT_READ(n) emu_bulk_wait((n), EMU_HERE)

#endif /* ATTN_DEVICE_TMA_CUH */
