/* hopper.h - what hopper.c offers to the twins mbarrier.cuh, tma.cuh, cluster.cuh and wgmma.cuh.  C11. */
#ifndef EMU_HOPPER_H
#define EMU_HOPPER_H

#include <attn/param.h>
#include <cuda_runtime.h>

/* ---- mbarrier.cuh ---- */
void emu_mbarrier_init(uint32_t address, int arrivals, const char *site);
void emu_mbarrier_made(const char *site);
void emu_mbarrier_arrive(uint32_t address, int condition, const char *site);
void emu_mbarrier_expect(uint32_t address, uint32_t bytes, int arrives, const char *site);
void emu_mbarrier_arrive_copies(uint32_t address, const char *site);
/* far: sees what other blocks wrote before they arrived. */
int emu_mbarrier_ask(uint32_t address, int parity, const char *site);
void emu_mbarrier_wait(uint32_t address, int parity, int far, const char *site);
void emu_fence_async(const char *site);
int emu_elect(const char *site);

/* ---- tma.cuh ---- */

/* As large as the real one. */
typedef struct emu_map {
    uint64_t check, data;
    int64_t extent[5], stride[5]; /* stride in bytes */
    int16_t box[5], swizzle;
    int8_t rank, size, type;
    uint64_t unused[2];
} emu_map;
_Static_assert(sizeof(emu_map) == 128, "a tensor map has 128 bytes");

typedef struct emu_box {
    emu_map map;
    int at[5];
} emu_box;

int emu_tma_encode(emu_map *m, int type, const void *data, int rank, const int64_t *extent, const int64_t *stride,
                   const int *box, int swizzle, int promotion);
void emu_tma_load(uint32_t shared, const emu_map *map, uint32_t barrier, int rank, const int *at, int spread,
                  uint32_t blocks, uint64_t hint, const char *site);
void emu_tma_store(const emu_map *map, uint32_t shared, int rank, const int *at, int add, const char *site);
void emu_tma_prefetch(const emu_map *map, int rank, const int *at, const char *site);
void emu_bulk_load(uint32_t shared, const void *global, uint32_t bytes, uint32_t barrier, uint64_t hint,
                   const char *site);
void emu_bulk_store(void *global, uint32_t shared, uint32_t bytes, int add, const char *site);
void emu_bulk_commit(const char *site);
void emu_bulk_wait(int under_way, const char *site);

/* ---- cluster.cuh ---- */
int emu_launch_cluster(const emu_kernel *kernel, unsigned grid, unsigned cluster, unsigned threads, int shared_bytes,
                       const void *args);
int emu_launch_early(const emu_kernel *kernel, unsigned grid, unsigned cluster, unsigned threads, int shared_bytes,
                     const void *args);
void emu_grid_wait(const char *site);
void emu_grid_launch_next(const char *site);
uint32_t emu_cluster_map(uint32_t shared, int rank, const char *site);
void emu_cluster_arrive(const char *site);
void emu_cluster_wait(const char *site);
float emu_cluster_load(uint32_t address, const char *site);
void emu_cluster_store(uint32_t address, float x, const char *site);
void emu_cluster_mbarrier_arrive(uint32_t address, int condition, const char *site);
void emu_cluster_send(uint32_t address, uint32_t barrier, int n, float x, float y, float z, float w, const char *site);
void emu_cluster_copy(uint32_t address, uint32_t shared, uint32_t bytes, uint32_t barrier, const char *site);

/* ---- wgmma.cuh ---- */
void emu_wgmma(int n, int type, int a_major, int b_major, float *d, const uint32_t *a, uint64_t desc_a, uint64_t desc_b,
               int keep, const char *site);
void emu_wgmma_fence(const char *site);
void emu_wgmma_commit(const char *site);
void emu_wgmma_wait(int under_way, const char *site);
void emu_registers(int n, int take, const char *site);

#endif /* EMU_HOPPER_H */
