/* tma.cuh - copies of boxes and of runs of bytes that a unit of their own carries out (sm_90 on).
 *
 * One thread asks for a copy; no other takes part.  A box is cut out of a tensor of up to 5 dimensions, which a map
 * describes: made on the host, handed to the kernel as a field of its parameter, passed by address.  Coordinates
 * are in elements, innermost dimension first, and may lie outside of the tensor, for a load also below 0: there a load
 * gives zeros and a store writes nothing; the bytes count all the same.  A box starts at a multiple of 16 bytes in
 * dimension 0, and that of a store or sum not below 0: elsewhere is an illegal instruction (seen on an H200).  Where
 * dimension 0 ends between such multiples, loads give zeros from its end, but stores and sums reach up to the next one.
 *
 * A box lies in shared memory row after row without gaps, from an address that is a multiple of 128 (1024, 512, 256
 * with a swizzle of 128, 64, 32: then the pattern below starts with the box).  With a swizzle of S bytes the row of the
 * box has S bytes, and the 16-byte chunk at byte address x is found at x ^ ((x >> 7 & S / 16 - 1) << 4).
 *
 * Loads land on an mbarrier: announce the box's bytes first, then load, then wait for the phase.  Shared memory that
 * was written the ordinary way before: attn__fence_async.
 * Stores and sums read shared memory: attn__fence_async by all writers, a barrier, then one thread stores, commits its
 * group, and waits: ATTN_BULK_WAIT_READ before the shared memory is written again, ATTN_BULK_WAIT before the result is
 * read.  A kernel's end waits by itself for the results, but shared memory must have been read.  CUDA. */
#ifndef ATTN_DEVICE_TMA_CUH
#define ATTN_DEVICE_TMA_CUH

#include <cuda.h>
#include <attn/device/mbarrier.cuh>
#include <attn/param.h>

/* How the copied lines of a load leave the L2: first, as usual, last. */
#define ATTN_L2_FIRST  0x12F0000000000000ull
#define ATTN_L2_NORMAL 0x1000000000000000ull
#define ATTN_L2_LAST   0x14F0000000000000ull

/* ---- maps: host --------------------------------------------------------------------------------- */

typedef CUtensorMap attn__tma_map;

/* `type` is ATTN_F32, ATTN_F16, ATTN_BF16, or one of 8 bits; dimension 0 is dense, and `stride` (elements) of the
 * others is a multiple of 16 bytes (that of 0 is not read); `data` is 16-byte aligned.  `box` is at most 256 in each
 * dimension, and box[0] a multiple of 16 bytes.  `swizzle` is 0, 32, 64 or 128; `promotion` is what the L2 fetches at
 * once: 0, 64, 128 or 256 bytes.  Fails with cudaErrorNotSupported if the driver has no tensor maps, with
 * cudaErrorInvalidValue if it refuses. */
static inline cudaError_t attn__tma_encode(attn__tma_map *map, int type, const void *data, int rank,
                                           const int64_t *extent, const int64_t *stride, const int *box, int swizzle,
                                           int promotion)
{
    typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                  const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                  CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    void *entry = 0;
    cuuint64_t dims[5] = { 1, 1, 1, 1, 1 }, bytes[5] = { 0, 0, 0, 0, 0 };
    cuuint32_t boxes[5] = { 1, 1, 1, 1, 1 }, ones[5] = { 1, 1, 1, 1, 1 };
    const int size = type == ATTN_F32 ? 4 : type == ATTN_F16 || type == ATTN_BF16 ? 2 : 1;
    /* Found by name at run time, so that no program needs the driver's library to link. */
    const cudaError_t e =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found);
    if (e != cudaSuccess)
        return e;
    if (found != cudaDriverEntryPointSuccess || !entry)
        return cudaErrorNotSupported;
    if (rank < 1 || rank > 5)
        return cudaErrorInvalidValue;
    for (int i = 0; i < rank; ++i) {
        dims[i] = (cuuint64_t)extent[i];
        boxes[i] = (cuuint32_t)box[i];
        if (i > 0)
            bytes[i - 1] = (cuuint64_t)stride[i] * (cuuint64_t)size;
    }
    const CUresult made = ((encode_fn)entry)(
        map,
        type == ATTN_F32    ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
        : type == ATTN_F16  ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
        : type == ATTN_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                            : CU_TENSOR_MAP_DATA_TYPE_UINT8,
        (cuuint32_t)rank, (void *)data, dims, bytes, boxes, ones, CU_TENSOR_MAP_INTERLEAVE_NONE,
        swizzle == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
        : swizzle == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
        : swizzle == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                        : CU_TENSOR_MAP_SWIZZLE_NONE,
        promotion == 256   ? CU_TENSOR_MAP_L2_PROMOTION_L2_256B
        : promotion == 128 ? CU_TENSOR_MAP_L2_PROMOTION_L2_128B
        : promotion == 64  ? CU_TENSOR_MAP_L2_PROMOTION_L2_64B
                           : CU_TENSOR_MAP_L2_PROMOTION_NONE,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return made == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/* Fetches the map itself, ahead of its first use. */
ATTN_DEVICE void attn__tma_prefetch_map(const attn__tma_map *map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* ---- boxes: load to `shared`, landing on `barrier`; `hint` is ATTN_L2_... ------------------------ */

ATTN_DEVICE void attn__tma_load_2d(uint32_t shared, const attn__tma_map *map, uint32_t barrier, int c0, int c1,
                                   uint64_t hint)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "l"(hint)
                 : "memory");
}
ATTN_DEVICE void attn__tma_load_3d(uint32_t shared, const attn__tma_map *map, uint32_t barrier, int c0, int c1, int c2,
                                   uint64_t hint)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(shared),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "l"(hint)
                 : "memory");
}
ATTN_DEVICE void attn__tma_load_4d(uint32_t shared, const attn__tma_map *map, uint32_t barrier, int c0, int c1, int c2,
                                   int c3, uint64_t hint)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(shared),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "l"(hint)
                 : "memory");
}
ATTN_DEVICE void attn__tma_load_5d(uint32_t shared, const attn__tma_map *map, uint32_t barrier, int c0, int c1, int c2,
                                   int c3, int c4, uint64_t hint)
{
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8;" ::"r"(shared),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4), "l"(hint)
                 : "memory");
}

/* ---- the same into every block of the cluster whose bit in `blocks` (bit = rank) is set, at the same shared address,
 * landing on the barrier at the same address of each. -------------------------------------------- */

ATTN_DEVICE void attn__tma_spread_2d(uint32_t shared, const attn__tma_map *map, uint32_t barrier, int c0, int c1,
                                     uint32_t blocks, uint64_t hint)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
                 ".L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5, %6;" ::"r"(shared),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "h"((uint16_t)blocks), "l"(hint)
                 : "memory");
}
ATTN_DEVICE void attn__tma_spread_3d(uint32_t shared, const attn__tma_map *map, uint32_t barrier, int c0, int c1,
                                     int c2, uint32_t blocks, uint64_t hint)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
                 ".L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6, %7;" ::"r"(shared),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "h"((uint16_t)blocks), "l"(hint)
                 : "memory");
}
ATTN_DEVICE void attn__tma_spread_4d(uint32_t shared, const attn__tma_map *map, uint32_t barrier, int c0, int c1,
                                     int c2, int c3, uint32_t blocks, uint64_t hint)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
                 ".L2::cache_hint [%0], [%1, {%3, %4, %5, %6}], [%2], %7, %8;" ::"r"(shared),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "h"((uint16_t)blocks), "l"(hint)
                 : "memory");
}
ATTN_DEVICE void attn__tma_spread_5d(uint32_t shared, const attn__tma_map *map, uint32_t barrier, int c0, int c1,
                                     int c2, int c3, int c4, uint32_t blocks, uint64_t hint)
{
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
                 ".L2::cache_hint [%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8, %9;" ::"r"(shared),
                 "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4), "h"((uint16_t)blocks), "l"(hint)
                 : "memory");
}

/* ---- boxes: store from `shared`; add: global += shared, element by element in the map's type ----- */

ATTN_DEVICE void attn__tma_store_2d(const attn__tma_map *map, uint32_t shared, int c0, int c1)
{
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map), "r"(shared),
                 "r"(c0), "r"(c1)
                 : "memory");
}
ATTN_DEVICE void attn__tma_store_3d(const attn__tma_map *map, uint32_t shared, int c0, int c1, int c2)
{
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
                 "r"(shared), "r"(c0), "r"(c1), "r"(c2)
                 : "memory");
}
ATTN_DEVICE void attn__tma_store_4d(const attn__tma_map *map, uint32_t shared, int c0, int c1, int c2, int c3)
{
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
                 "r"(shared), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                 : "memory");
}
ATTN_DEVICE void attn__tma_store_5d(const attn__tma_map *map, uint32_t shared, int c0, int c1, int c2, int c3, int c4)
{
    asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];" ::"l"(map),
                 "r"(shared), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
                 : "memory");
}

ATTN_DEVICE void attn__tma_add_2d(const attn__tma_map *map, uint32_t shared, int c0, int c1)
{
    asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
                 "r"(shared), "r"(c0), "r"(c1)
                 : "memory");
}
ATTN_DEVICE void attn__tma_add_3d(const attn__tma_map *map, uint32_t shared, int c0, int c1, int c2)
{
    asm volatile("cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
                     map),
                 "r"(shared), "r"(c0), "r"(c1), "r"(c2)
                 : "memory");
}
ATTN_DEVICE void attn__tma_add_4d(const attn__tma_map *map, uint32_t shared, int c0, int c1, int c2, int c3)
{
    asm volatile("cp.reduce.async.bulk.tensor.4d.global.shared::cta.add.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(
                     map),
                 "r"(shared), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                 : "memory");
}
ATTN_DEVICE void attn__tma_add_5d(const attn__tma_map *map, uint32_t shared, int c0, int c1, int c2, int c3, int c4)
{
    asm volatile("cp.reduce.async.bulk.tensor.5d.global.shared::cta.add.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];" ::
                     "l"(map),
                 "r"(shared), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
                 : "memory");
}

/* ---- boxes: into the L2 alone -------------------------------------------------------------------- */

ATTN_DEVICE void attn__tma_prefetch_2d(const attn__tma_map *map, int c0, int c1)
{
    asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(map), "r"(c0), "r"(c1) : "memory");
}
ATTN_DEVICE void attn__tma_prefetch_3d(const attn__tma_map *map, int c0, int c1, int c2)
{
    asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global [%0, {%1, %2, %3}];" ::"l"(map), "r"(c0), "r"(c1), "r"(c2)
                 : "memory");
}
ATTN_DEVICE void attn__tma_prefetch_4d(const attn__tma_map *map, int c0, int c1, int c2, int c3)
{
    asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global [%0, {%1, %2, %3, %4}];" ::"l"(map), "r"(c0), "r"(c1),
                 "r"(c2), "r"(c3)
                 : "memory");
}
ATTN_DEVICE void attn__tma_prefetch_5d(const attn__tma_map *map, int c0, int c1, int c2, int c3, int c4)
{
    asm volatile("cp.async.bulk.prefetch.tensor.5d.L2.global [%0, {%1, %2, %3, %4, %5}];" ::"l"(map), "r"(c0), "r"(c1),
                 "r"(c2), "r"(c3), "r"(c4)
                 : "memory");
}

/* ---- runs of bytes: a multiple of 16, both ends 16-byte aligned ---------------------------------- */

ATTN_DEVICE void attn__bulk_load(uint32_t shared, const void *global, uint32_t bytes, uint32_t barrier, uint64_t hint)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(shared),
                 "l"(global), "r"(bytes), "r"(barrier), "l"(hint)
                 : "memory");
}
ATTN_DEVICE void attn__bulk_store(void *global, uint32_t shared, uint32_t bytes)
{
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(shared), "r"(bytes)
                 : "memory");
}
/* global += shared, as f32. */
ATTN_DEVICE void attn__bulk_add_f32(float *global, uint32_t shared, uint32_t bytes)
{
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(global),
                 "r"(shared), "r"(bytes)
                 : "memory");
}
ATTN_DEVICE void attn__bulk_prefetch(const void *global, uint32_t bytes)
{
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes) : "memory");
}

/* ---- groups of stores and sums, of the thread that asked for them -------------------------------- */

ATTN_DEVICE void attn__bulk_commit(void)
{
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* ATTN_BULK_WAIT(n): until at most the n (a constant) latest groups of this thread are under way.
 * ATTN_BULK_WAIT_READ(n): until at most n still read shared memory. */
#define ATTN_BULK_WAIT(n)      asm volatile("cp.async.bulk.wait_group %0;" ::"n"(n) : "memory")
#define ATTN_BULK_WAIT_READ(n) asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(n) : "memory")

#endif
#endif /* ATTN_DEVICE_TMA_CUH */
