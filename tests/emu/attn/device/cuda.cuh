/* cuda.cuh - the emulator's twin of include/attn/device/cuda.cuh, which says what each of these does.  C11. */
#ifndef ATTN_DEVICE_CUDA_CUH
#define ATTN_DEVICE_CUDA_CUH

#include <cuda_runtime.h>

#define ATTN_DEVICE          static inline __attribute__((unused))
#define ATTN_DEVICE_NOINLINE static __attribute__((noinline, unused))
#define ATTN_ANYWHERE        static inline __attribute__((unused))

/* Nothing is gained by unrolling here. */
#define ATTN_UNROLL
#define ATTN_UNROLL_4
#define ATTN_NO_UNROLL

/* So few that blocks do several units. */
#define ATTN_GRID_MOST 5


#define ATTN_SHARED(name) unsigned char *const name = (unsigned char *)emu_self->block->shared

/* A second macro, so that a name that is a macro is expanded before it is pasted. */
#define ATTN_GLOBAL(name, type, threads, blocks) EMU_GLOBAL_(name, type, threads, blocks)
#define EMU_GLOBAL_(name, type, threads, blocks)                                                            \
    static void name##__body(const type a);                                                                 \
    static void name##__enter(const void *a_)                                                               \
    {                                                                                                       \
        name##__body(*(const type *)a_);                                                                    \
    }                                                                                                       \
    static int name##__shared_most;                                                                         \
    static const emu_kernel name __attribute__((unused)) = {#name, name##__enter, threads, blocks,          \
                                                            &name##__shared_most};                          \
    static void name##__body(const type a)

#define ATTN_LAUNCH(name, grid, threads, shared_bytes, stream, args) \
    attn__launch(&(name), (grid), (threads), (shared_bytes), (cudaStream_t)(stream), (void *)(args))

static inline __attribute__((unused)) cudaError_t attn__launch(const void *kernel, unsigned grid, unsigned threads,
                                                               int shared_bytes, cudaStream_t stream, void *args)
{
    void *list[1] = {args};
    const dim3 blocks = {grid, 1, 1}, block = {threads, 1, 1};
    if (shared_bytes > 48 * 1024) {
        const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
        if (e != cudaSuccess)
            return e;
    }
    return cudaLaunchKernel(kernel, blocks, block, list, (size_t)shared_bytes, stream);
}

ATTN_DEVICE int attn__anew(int x)
{
    return x;
}
ATTN_DEVICE int64_t attn__anew64(int64_t x)
{
    return x;
}

ATTN_DEVICE int attn__lane(void)
{
    return emu_self->lane;
}

extern const emu_op emu_shuffle_xor, emu_shuffle, emu_shuffle_int;
uint32_t emu_shuffle_at(const emu_op *op, uint32_t x, int from, const char *site);
int emu_any_at(int condition, const char *site);

#define attn__shuffle_xor(x, mask) \
    __uint_as_float(emu_shuffle_at(&emu_shuffle_xor, __float_as_uint(x), attn__lane() ^ (mask), EMU_HERE))
#define attn__shuffle(x, from) __uint_as_float(emu_shuffle_at(&emu_shuffle, __float_as_uint(x), (from), EMU_HERE))
#define attn__shuffle_int(x, from) ((int)emu_shuffle_at(&emu_shuffle_int, (uint32_t)(x), (from), EMU_HERE))
#define attn__warp() attn__shuffle_int((int)threadIdx.x / 32, 0)
#define attn__any(condition) emu_any_at((condition) != 0, EMU_HERE)

#define attn__barrier(id, threads)        ((void)emu_barrier_at((id), (threads), EMU_NAMED, 0, EMU_HERE))
#define attn__barrier_arrive(id, threads) ((void)emu_barrier_at((id), (threads), EMU_ARRIVE, 0, EMU_HERE))

#endif /* ATTN_DEVICE_CUDA_CUH */
