/* vocabulary_cpu.h - the instruction set and the types of one CPU instance, as names that its template uses.
 *
 * Included by forward_cpu.h first of all, no guard; vocabulary_end_cpu.h undoes it. */

#if ATTN_ARCH == ATTN_ARCH_AVX512 || ATTN_ARCH == ATTN_ARCH_AVX512BF16
#include <attn/device/vec_avx512.h>
#define ATTN_V(op) ATTN_CAT(attn__avx512_, op)
#define ATTN_W   16
#define ATTN_MR  12 /* 24 accumulators + 2 of B + 1 of A: of 32 registers */
#define ATTN_FEW 8
#define ATTN_AXPY_VECS(rows) 4
#if ATTN_ARCH == ATTN_ARCH_AVX512BF16
#include <attn/device/vec_avx512bf16.h>
ATTN_TARGET_BEGIN_AVX512BF16
#else
ATTN_TARGET_BEGIN_AVX512
#endif
#elif ATTN_ARCH == ATTN_ARCH_AVX2
#include <attn/device/vec_avx2.h>
#define ATTN_V(op) ATTN_CAT(attn__avx2_, op)
#define ATTN_W   8
#define ATTN_MR  6 /* 12 accumulators + 2 of B + 1 of A: of 16 registers */
#define ATTN_FEW 16
#define ATTN_AXPY_VECS(rows) ((rows) == 4 ? 2 : 4)
ATTN_TARGET_BEGIN_AVX2
#else
#include <attn/device/vec_cpu.h>
#define ATTN_V(op) ATTN_CAT(attn__cpu_, op)
#define ATTN_W   4
#define ATTN_MR  6
#define ATTN_FEW 8
#define ATTN_AXPY_VECS(rows) 2
#endif
/* With products of bf16 pairs, the packed operands are 32-bit pairs along the summed dimension: the same panels and
 * register kernel in half the steps.  Q is then packed as it is, S scaled when it is stored, P rounded to bf16. */
#if ATTN_ARCH == ATTN_ARCH_AVX512BF16
#define ATTN_PAIRS 2
#define ATTN_MUL_ADD(a, b, acc) attn__avx512bf16_dot2(a, b, acc)
#define ATTN_NARROW2(lo, hi)    attn__avx512bf16_narrow2(lo, hi)
#define ATTN_ZIP(a, b, n)       attn__avx512bf16_zip(a, b, n)
#else
#define ATTN_PAIRS 1
#define ATTN_MUL_ADD(a, b, acc) ATTN_V(fma)(a, b, acc)
#define ATTN_NARROW2(lo, hi)    (lo) /* never reached */
#define ATTN_ZIP(a, b, n)       ATTN_V(set1)(0.0f)
#endif
#define ATTN_NR   (2 * ATTN_W)
#define ATTN_SUB 4 /* micro tiles whose scores stay in L1 together */
/* Few rows read K and V in place (docs/performance.md has what was measured).  AHEAD: rows of K or V that are asked for
 * ahead, 8 or 12 KB at 128 dims.  KEYS: keys whose dot products are computed together.  LOT: keys that pass through all
 * columns of O together; more of them cost fewer loads and stores of O, and the order of the memory. */
#define ATTN_WIDE_KV (ATTN_KV_DTYPE == ATTN_F32 || ATTN_KV_DTYPE == ATTN_NARROW)
#define ATTN_AHEAD   (ATTN_WIDE_KV ? 16 : 48)
#define ATTN_KEYS    (ATTN_W == 16 ? 4 : ATTN_WIDE_KV ? 1 : 2)
#define ATTN_LOT     (ATTN_W == 16 && !ATTN_WIDE_KV ? 16 : 8)
/* Whether 3 or 4 rows over a cache of STREAM_BYTES or more, which comes from memory, are a stream of their own, as
 * AVX-512 computes faster than memory gives; TWO: of the two halves of a tile. */
#define ATTN_STREAM       (ATTN_W == 16 && ATTN_KV_DTYPE != ATTN_NARROW)
#define ATTN_STREAM_TWO   (ATTN_STREAM && ATTN_KV_DTYPE != ATTN_F32)
#define ATTN_STREAM_BYTES ((int64_t)16 << 20) /* of K and V in a call */
#if ATTN_MR == 12
#define ATTN_HEIGHTS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#else
#define ATTN_HEIGHTS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif
#define ATTN_PARTS_UNITS 64   /* cut keys into parts until there are this many units ... */
#define ATTN_PARTS_KEYS  1024 /* ... of at least this many keys (batch-invariant: of twice this many) */

#if ATTN_KV_DTYPE == ATTN_F32 || ATTN_KV_DTYPE == ATTN_NARROW /* rows of it are made f32 first: pack_cpu.h */
#define ATTN_KV_T            float
#define ATTN_KV_LOAD(p)      ATTN_V(load_f32)(p)
#define ATTN_KV_LOAD_N(p, n) ATTN_V(load_f32_n)(p, n)
#define ATTN_KV_SCALAR(x)    (x)
#elif ATTN_KV_DTYPE == ATTN_F16
#define ATTN_KV_T            uint16_t
#define ATTN_KV_LOAD(p)      ATTN_V(load_f16)(p)
#define ATTN_KV_LOAD_N(p, n) ATTN_V(load_f16_n)(p, n)
#define ATTN_KV_SCALAR(x)    attn__f16_to_f32(x)
#else
#define ATTN_KV_T            uint16_t
#define ATTN_KV_LOAD(p)      ATTN_V(load_bf16)(p)
#define ATTN_KV_LOAD_N(p, n) ATTN_V(load_bf16_n)(p, n)
#define ATTN_KV_SCALAR(x)    attn__bf16_to_f32(x)
#endif
#if ATTN_DTYPE == ATTN_F32
#define ATTN_Q_T         float
#define ATTN_Q_SCALAR(x) (x)
#define ATTN_Q_ROUND(x)  (x)
#elif ATTN_DTYPE == ATTN_F16
#define ATTN_Q_T         uint16_t
#define ATTN_Q_SCALAR(x) attn__f16_to_f32(x)
#define ATTN_Q_ROUND(x)  attn__f16_to_f32(attn__f32_to_f16(x))
#else
#define ATTN_Q_T         uint16_t
#define ATTN_Q_SCALAR(x) attn__bf16_to_f32(x)
#define ATTN_Q_ROUND(x)  attn__bf16_to_f32(attn__f32_to_bf16(x))
#endif
#define ATTN_LOG2E 1.44269504088896340736f
#define ATTN_LN2   0.69314718055994530942f
#define ATTN_VEC_T ATTN_V(vec)

