/* primitives.h - one kernel for each group of device functions, run by the emulator or by a GPU.
 *
 * The kernels are in primitives.cuh, one text, which primitives_emulated.c and primitives_cuda.cu both include.  A call
 * says which kernel, with what in its memory; test_primitives.c makes the calls and knows what must come out.
 * C11 and C++. */
#ifndef ATTN_TESTS_PRIMITIVES_H
#define ATTN_TESTS_PRIMITIVES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(kernel, least compute capability); wgmma has one for each width: see PRIM_WIDTHS. */
#define PRIM_KERNELS(X) \
    X(math, 60)         \
    X(warp, 60)         \
    X(copy, 60)         \
    X(mma_k8, 75)       \
    X(mma, 80)          \
    X(narrow, 80)       \
    X(mma_8bit, 89)     \
    X(ldmatrix, 75)     \
    X(stmatrix, 90)     \
    X(mbarrier, 90)     \
    X(tma_load, 90)     \
    X(tma_store, 90)    \
    X(bulk, 90)         \
    X(spread, 90)       \
    X(cluster, 90)      \
    X(after, 90)        \
    X(registers, 90)

#define PRIM_WIDTHS(X)                                                                                              \
    X(8) X(16) X(24) X(32) X(40) X(48) X(56) X(64) X(72) X(80) X(88) X(96) X(104) X(112) X(120) X(128) X(136) X(144) \
    X(152) X(160) X(168) X(176) X(184) X(192) X(200) X(208) X(216) X(224) X(232) X(240) X(248) X(256)

enum {
#define X(name, cc) PRIM_##name,
    PRIM_KERNELS(X)
#undef X
    PRIM_wgmma, /* + n / 8 - 1 */
    PRIM_ALL = PRIM_wgmma + 32
};

/* A tensor map over the call's `in` or `out`; rank 0: none. */
typedef struct prim_tensor {
    int of_out, type, rank;
    int64_t extent[5], stride[5]; /* elements */
    int box[5], swizzle;
} prim_tensor;

enum { PRIM_NUMBERS = 16 };

typedef struct prim_call {
    int kernel;
    int grid, cluster, threads, shared; /* cluster 0: an ordinary launch */
    int p[PRIM_NUMBERS];                /* what the kernel makes of them is said there */
    const void *in;
    size_t in_bytes;
    void *out; /* its content is there when the kernel starts */
    size_t out_bytes;
    prim_tensor map;
} prim_call;

/* Runs it and waits; 0, or the error of CUDA, in words by prim_error_*. */
int prim_run_emulated(const prim_call *c);
int prim_run_cuda(const prim_call *c);
const char *prim_error_cuda(int error);

/* Compute capability of the device, 90 for 9.0; 0: there is none. */
int prim_cuda_device(void);

#ifdef __cplusplus
}
#endif
#endif /* ATTN_TESTS_PRIMITIVES_H */
