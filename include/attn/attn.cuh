/* attn.cuh - attn for CUDA: attn.h, and with ATTN_NAME defined one instance.
 *
 * The same two uses as attn.h, in a file that nvcc compiles.  (With ATTN_EMULATED the tests' C compiler does, and
 * cuda_runtime.h is the tests' own.)  Guarded common part first; the instance part at the end is meant to be
 * included many times. */
#ifndef ATTN_ATTN_CUH
#define ATTN_ATTN_CUH
#if !defined(__CUDACC__) && !defined(ATTN_EMULATED)
#error "attn: attn/attn.cuh needs nvcc; in a C or C++ file include attn/attn.h"
#endif
#include <cuda_runtime.h>
#endif /* ATTN_ATTN_CUH */
#include <attn/attn.h>
