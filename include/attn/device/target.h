/* target.h - function attributes of the CPU code: inlining, unrolling, restrict.  Guarded, C11 and C++.
 * What turns an instruction set on is in the vec_*.h of that set, as ATTN_TARGET_BEGIN_* and _END. */
#ifndef ATTN_DEVICE_TARGET_H
#define ATTN_DEVICE_TARGET_H

#include <attn/param.h>

#if !defined(__GNUC__)
#error "attn: the CPU kernels need a compiler with GNU vectors and attributes (gcc or clang)"
#endif

#define ATTN_INLINE static inline __attribute__((always_inline, unused))
#define ATTN_NOINLINE static __attribute__((noinline, unused))
#define ATTN_RESTRICT __restrict__

/* Before a loop over registers: without full unrolling an accumulator array lives in memory. */
#define ATTN_PRAGMA_(x) _Pragma(#x)
#if defined(__clang__)
#define ATTN_UNROLL ATTN_PRAGMA_(clang loop unroll(full))
#define ATTN_TARGET_BEGIN_(features) \
    ATTN_PRAGMA_(clang attribute push(__attribute__((target(features))), apply_to = function))
#define ATTN_TARGET_END_ ATTN_PRAGMA_(clang attribute pop)
#else
#define ATTN_UNROLL ATTN_PRAGMA_(GCC unroll 32)
#define ATTN_TARGET_BEGIN_(features) ATTN_PRAGMA_(GCC push_options) ATTN_PRAGMA_(GCC target(features))
#define ATTN_TARGET_END_ ATTN_PRAGMA_(GCC pop_options)
#endif

#endif /* ATTN_DEVICE_TARGET_H */
