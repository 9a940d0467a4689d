/* begin.h - checks the parameter block of one instance, fills in defaults, derives names.
 *
 * Included by instance.h alone, before the template; no guard.  Every parameter that may be
 * defined by a user is checked here, with a text that names it and what is allowed
 * (docs/parameters.md lists them; tests/test_params.sh provokes each message).
 * end.h undefines all that is defined here. */

/* ---- required --------------------------------------------------------------------------------- */
#ifndef ATTN_NAME
#error "attn: define ATTN_NAME, the prefix of all that this instance defines"
#endif
#ifndef ATTN_KERNEL
#error "attn: define ATTN_KERNEL (ATTN_KERNEL_FORWARD, _DECODE, _APPEND, _MERGE, _MLA, _RES1, _RES2, _RES1_BACKWARD or _RES2_BACKWARD)"
#elif ATTN_KERNEL < ATTN_KERNEL_FORWARD || ATTN_KERNEL > ATTN_KERNEL_RES2_BACKWARD || \
    (ATTN_KERNEL > ATTN_KERNEL_MLA && ATTN_KERNEL < ATTN_KERNEL_RES1)
#error "attn: ATTN_KERNEL must be ATTN_KERNEL_FORWARD, _DECODE, _APPEND, _MERGE, _MLA, _RES1, _RES2, _RES1_BACKWARD or _RES2_BACKWARD"
#endif
/* What serves any types, sizes and layouts with one kernel: 0 = known at run time. */
#if ATTN_KERNEL == ATTN_KERNEL_APPEND || ATTN_KERNEL == ATTN_KERNEL_MERGE
#if defined(ATTN_DTYPE) || defined(ATTN_KV_DTYPE) || defined(ATTN_HEAD_DIM) || defined(ATTN_HEAD_DIM_V) || \
    defined(ATTN_HEAD_DIM_MIN) || defined(ATTN_GQA) || defined(ATTN_TILE_Q) || defined(ATTN_TILE_K) || \
    defined(ATTN_WARPS) || defined(ATTN_STAGES) || defined(ATTN_BLOCKS) || defined(ATTN_ROWS) || \
    defined(ATTN_SPILL) || defined(ATTN_DEBUG)
#error "attn: ATTN_KERNEL_APPEND and ATTN_KERNEL_MERGE take ATTN_NAME and ATTN_ARCH alone; leave types, dims and tiles out"
#endif
#if defined(ATTN_ARCH) && ATTN_ARCH != ATTN_ARCH_SIMT
#error "attn: ATTN_ARCH must be ATTN_ARCH_SIMT for ATTN_KERNEL_APPEND and ATTN_KERNEL_MERGE"
#endif
#define ATTN_DTYPE        0
#define ATTN_KV_DTYPE     0
#define ATTN_HEAD_DIM     0
#define ATTN_HEAD_DIM_V   0
#define ATTN_HEAD_DIM_MIN 0
#define ATTN_GQA          0
#define ATTN_TILE_Q       0
#define ATTN_TILE_K       0
#define ATTN_WARPS        8
#define ATTN_STAGES       1
#define ATTN_BLOCKS       1
#define ATTN_SPILL        0
#define ATTN_DEBUG        0
#define ATTN_ANY          1
#else
#define ATTN_ANY          0
#endif
#ifndef ATTN_ARCH
#error "attn: define ATTN_ARCH (ATTN_ARCH_CPU, ATTN_ARCH_AVX2, ATTN_ARCH_AVX512, ATTN_ARCH_AVX512BF16, ATTN_ARCH_NATIVE, ATTN_ARCH_SIMT, ATTN_ARCH_SM75, ATTN_ARCH_SM80 or ATTN_ARCH_SM90)"
#elif (ATTN_ARCH < ATTN_ARCH_CPU || ATTN_ARCH > ATTN_ARCH_AVX512BF16) && ATTN_ARCH != ATTN_ARCH_SIMT && \
    ATTN_ARCH != ATTN_ARCH_SM75 && ATTN_ARCH != ATTN_ARCH_SM80 && ATTN_ARCH != ATTN_ARCH_SM90
#error "attn: ATTN_ARCH must be ATTN_ARCH_CPU, ATTN_ARCH_AVX2, ATTN_ARCH_AVX512, ATTN_ARCH_AVX512BF16, ATTN_ARCH_NATIVE, ATTN_ARCH_SIMT, ATTN_ARCH_SM75, ATTN_ARCH_SM80 or ATTN_ARCH_SM90"
#endif
#if defined(__CUDACC__) && ATTN_ARCH <= ATTN_ARCH_AVX512BF16
#error "attn: ATTN_ARCH of a CPU is for the host compiler, which unrolls its loops: put this block into a .c file"
#endif
#if !defined(__CUDACC__) && !defined(ATTN_EMULATED) && ATTN_ARCH >= ATTN_ARCH_SIMT
#error "attn: ATTN_ARCH of a GPU is for nvcc: put this block into a .cu file"
#endif
#if ATTN_ARCH >= ATTN_ARCH_AVX2 && ATTN_ARCH <= ATTN_ARCH_AVX512BF16 && !defined(__x86_64__)
#error "attn: ATTN_ARCH_AVX2, ATTN_ARCH_AVX512 and ATTN_ARCH_AVX512BF16 are for x86-64; use ATTN_ARCH_CPU"
#endif
#if ATTN_KERNEL == ATTN_KERNEL_DECODE && ATTN_ARCH != ATTN_ARCH_SM80 && ATTN_ARCH != ATTN_ARCH_SM90
#error "attn: ATTN_KERNEL_DECODE is for ATTN_ARCH_SM80 and ATTN_ARCH_SM90; use ATTN_KERNEL_FORWARD"
#endif
#if ATTN_KERNEL == ATTN_KERNEL_MLA && ATTN_ARCH != ATTN_ARCH_SM90
#error "attn: ATTN_KERNEL_MLA is for ATTN_ARCH_SM90; use ATTN_KERNEL_FORWARD"
#endif
#ifndef ATTN_DTYPE
#error "attn: define ATTN_DTYPE (ATTN_F32, ATTN_F16 or ATTN_BF16)"
#elif !ATTN_ANY && ATTN_DTYPE != ATTN_F32 && ATTN_DTYPE != ATTN_F16 && ATTN_DTYPE != ATTN_BF16
#error "attn: ATTN_DTYPE must be ATTN_F32, ATTN_F16 or ATTN_BF16"
#endif
#if ATTN_KERNEL >= ATTN_KERNEL_RES1
#include <attn/template/begin_res.h>
#else
#ifndef ATTN_HEAD_DIM
#error "attn: define ATTN_HEAD_DIM (1 to 1024, or 0 for any at run time)"
#elif ATTN_HEAD_DIM < 0 || ATTN_HEAD_DIM > 1024
#error "attn: ATTN_HEAD_DIM must be 1 to 1024, or 0 for any at run time"
#endif
#if ATTN_KERNEL == ATTN_KERNEL_MLA
#if ATTN_HEAD_DIM < 128 || ATTN_HEAD_DIM > 576 || ATTN_HEAD_DIM % 64
#error "attn: ATTN_HEAD_DIM must be a multiple of 64 from 128 to 576 in ATTN_KERNEL_MLA"
#endif
#elif ATTN_ARCH >= ATTN_ARCH_SM75 && (ATTN_HEAD_DIM < 16 || ATTN_HEAD_DIM > 256 || ATTN_HEAD_DIM % 8)
#error "attn: ATTN_HEAD_DIM must be a multiple of 8 from 16 to 256 on ATTN_ARCH_SM75, ATTN_ARCH_SM80 and ATTN_ARCH_SM90; use ATTN_ARCH_SIMT"
#endif

/* ---- optional: types and shapes --------------------------------------------------------------- */
#ifndef ATTN_KV_DTYPE
#define ATTN_KV_DTYPE ATTN_DTYPE
#elif !ATTN_ANY && ATTN_KV_DTYPE != ATTN_F32 && ATTN_KV_DTYPE != ATTN_F16 && ATTN_KV_DTYPE != ATTN_BF16 && \
    ATTN_KV_DTYPE != ATTN_NARROW
#error "attn: ATTN_KV_DTYPE must be ATTN_F32, ATTN_F16, ATTN_BF16 or ATTN_NARROW"
#endif
#if ATTN_ARCH == ATTN_ARCH_AVX512BF16 && (ATTN_DTYPE != ATTN_BF16 || ATTN_KV_DTYPE != ATTN_BF16)
#error "attn: ATTN_ARCH_AVX512BF16 serves ATTN_DTYPE ATTN_BF16 alone; use ATTN_ARCH_AVX512"
#endif
#if ATTN_ARCH == ATTN_ARCH_SM75 && (ATTN_DTYPE != ATTN_F16 || ATTN_KV_DTYPE != ATTN_F16)
#error "attn: ATTN_ARCH_SM75 serves ATTN_DTYPE ATTN_F16 alone; use ATTN_ARCH_SIMT"
#endif
#if ATTN_ARCH >= ATTN_ARCH_SM80 && (ATTN_DTYPE == ATTN_F32 || (ATTN_KV_DTYPE != ATTN_DTYPE && \
    !(ATTN_KERNEL == ATTN_KERNEL_DECODE && ATTN_KV_DTYPE == ATTN_NARROW)))
#error "attn: ATTN_ARCH_SM80 and ATTN_ARCH_SM90 serve ATTN_DTYPE ATTN_F16 and ATTN_BF16, ATTN_KV_DTYPE the same or, in ATTN_KERNEL_DECODE, ATTN_NARROW; use ATTN_ARCH_SIMT"
#endif
#ifndef ATTN_HEAD_DIM_V
#define ATTN_HEAD_DIM_V ATTN_HEAD_DIM
#elif ATTN_HEAD_DIM_V < 0 || ATTN_HEAD_DIM_V > 1024 || (ATTN_HEAD_DIM_V == 0) != (ATTN_HEAD_DIM == 0)
#error "attn: ATTN_HEAD_DIM_V must be 1 to 1024, and 0 exactly if ATTN_HEAD_DIM is 0"
#endif
#if ATTN_KERNEL == ATTN_KERNEL_MLA
#if ATTN_HEAD_DIM_V < 128 || ATTN_HEAD_DIM_V > 512 || ATTN_HEAD_DIM_V % 128 || ATTN_HEAD_DIM_V > ATTN_HEAD_DIM
#error "attn: ATTN_HEAD_DIM_V must be a multiple of 128 from 128 to 512 and to ATTN_HEAD_DIM in ATTN_KERNEL_MLA"
#endif
#elif ATTN_ARCH >= ATTN_ARCH_SM75 && (ATTN_HEAD_DIM_V < 16 || ATTN_HEAD_DIM_V > 256 || ATTN_HEAD_DIM_V % 8)
#error "attn: ATTN_HEAD_DIM_V must be a multiple of 8 from 16 to 256 on ATTN_ARCH_SM75, ATTN_ARCH_SM80 and ATTN_ARCH_SM90"
#endif
#if !ATTN_ANY && defined(ATTN_HEAD_DIM_MIN) && ATTN_ARCH < ATTN_ARCH_SM75
#error "attn: ATTN_HEAD_DIM_MIN has a meaning on ATTN_ARCH_SM75, ATTN_ARCH_SM80 and ATTN_ARCH_SM90 alone; leave it out"
#endif
#ifndef ATTN_HEAD_DIM_MIN
#define ATTN_HEAD_DIM_MIN ATTN_HEAD_DIM
#elif ATTN_HEAD_DIM_MIN != ATTN_HEAD_DIM && ATTN_KERNEL == ATTN_KERNEL_MLA
#error "attn: ATTN_HEAD_DIM_MIN has no meaning in ATTN_KERNEL_MLA; leave it out"
#elif ATTN_HEAD_DIM_MIN != ATTN_HEAD_DIM && (ATTN_HEAD_DIM_MIN < 16 || ATTN_HEAD_DIM_MIN % 8 || \
    ATTN_HEAD_DIM_MIN > ATTN_HEAD_DIM || ATTN_HEAD_DIM_MIN > ATTN_HEAD_DIM_V)
#error "attn: ATTN_HEAD_DIM_MIN must be a multiple of 8 from 16 to ATTN_HEAD_DIM and ATTN_HEAD_DIM_V"
#endif
#ifndef ATTN_GQA
#define ATTN_GQA 0
#elif ATTN_GQA < 0 || ATTN_GQA > 1024
#error "attn: ATTN_GQA must be 1 to 1024 query heads per KV head, or 0 for any at run time"
#endif

/* ---- optional: flags, what the instance can do ------------------------------------------------ */
#ifndef ATTN_CAUSAL
#define ATTN_CAUSAL 0
#elif ATTN_CAUSAL != 0 && ATTN_CAUSAL != 1
#error "attn: ATTN_CAUSAL must be 0 or 1"
#endif
#ifndef ATTN_WINDOW
#define ATTN_WINDOW 0
#elif ATTN_WINDOW != 0 && ATTN_WINDOW != 1
#error "attn: ATTN_WINDOW must be 0 or 1"
#endif
#ifndef ATTN_CHUNK
#define ATTN_CHUNK 0
#elif ATTN_CHUNK != 0 && ATTN_CHUNK != 1
#error "attn: ATTN_CHUNK must be 0 or 1"
#endif
#ifndef ATTN_SINK_TOKENS
#define ATTN_SINK_TOKENS 0
#elif ATTN_SINK_TOKENS != 0 && ATTN_SINK_TOKENS != 1
#error "attn: ATTN_SINK_TOKENS must be 0 or 1"
#endif
#ifndef ATTN_SINK_LOGITS
#define ATTN_SINK_LOGITS 0
#elif ATTN_SINK_LOGITS != 0 && ATTN_SINK_LOGITS != 1
#error "attn: ATTN_SINK_LOGITS must be 0 or 1"
#endif
#ifndef ATTN_SOFTCAP
#define ATTN_SOFTCAP 0
#elif ATTN_SOFTCAP != 0 && ATTN_SOFTCAP != 1
#error "attn: ATTN_SOFTCAP must be 0 or 1"
#endif
#ifndef ATTN_ALIBI
#define ATTN_ALIBI 0
#elif ATTN_ALIBI != 0 && ATTN_ALIBI != 1
#error "attn: ATTN_ALIBI must be 0 or 1"
#endif
#ifndef ATTN_BIAS
#define ATTN_BIAS 0
#elif ATTN_BIAS != 0 && ATTN_BIAS != 1
#error "attn: ATTN_BIAS must be 0 or 1"
#endif
#ifndef ATTN_BOOL_MASK
#define ATTN_BOOL_MASK 0
#elif ATTN_BOOL_MASK != 0 && ATTN_BOOL_MASK != 1
#error "attn: ATTN_BOOL_MASK must be 0 or 1"
#endif
#ifndef ATTN_VARLEN
#define ATTN_VARLEN 0
#elif ATTN_VARLEN != 0 && ATTN_VARLEN != 1
#error "attn: ATTN_VARLEN must be 0 or 1"
#endif
#ifndef ATTN_PAGED
#define ATTN_PAGED 0
#elif ATTN_PAGED != 0 && ATTN_PAGED != 1
#error "attn: ATTN_PAGED must be 0 or 1"
#endif
#ifndef ATTN_SCALED
#define ATTN_SCALED 0
#elif ATTN_SCALED != 0 && ATTN_SCALED != 1
#error "attn: ATTN_SCALED must be 0 or 1"
#endif
#ifndef ATTN_ROPE
#define ATTN_ROPE 0
#elif ATTN_ROPE != 0 && ATTN_ROPE != 1
#error "attn: ATTN_ROPE must be 0 or 1"
#endif
#if ATTN_SCALED && ATTN_KV_DTYPE != ATTN_NARROW
#error "attn: ATTN_SCALED needs ATTN_KV_DTYPE ATTN_NARROW: no other type has scales"
#endif
#if ATTN_ROPE && ATTN_ARCH >= ATTN_ARCH_SM75 && ATTN_KERNEL != ATTN_KERNEL_DECODE
#error "attn: ATTN_ROPE must be 0 on ATTN_ARCH_SM75, ATTN_ARCH_SM80 and ATTN_ARCH_SM90 in ATTN_KERNEL_FORWARD; rotate q by attn_append_kv, or use ATTN_ARCH_SIMT"
#endif
#if ATTN_PAGED && ATTN_ARCH == ATTN_ARCH_SM90 && ATTN_KERNEL == ATTN_KERNEL_FORWARD
#error "attn: ATTN_PAGED must be 0 on ATTN_ARCH_SM90 in ATTN_KERNEL_FORWARD, which copies boxes of a tensor; use ATTN_ARCH_SM80"
#endif
#if ATTN_KERNEL == ATTN_KERNEL_MLA && (ATTN_WINDOW || ATTN_CHUNK || ATTN_SINK_TOKENS || ATTN_SOFTCAP || ATTN_ALIBI || \
    ATTN_BIAS || ATTN_BOOL_MASK || defined(ATTN_SCORE_MOD) || defined(ATTN_MASK))
#error "attn: ATTN_KERNEL_MLA has ATTN_CAUSAL, ATTN_SINK_LOGITS, ATTN_VARLEN and ATTN_PAGED alone; use ATTN_KERNEL_FORWARD"
#endif
#if ATTN_SINK_TOKENS && !ATTN_WINDOW
#error "attn: ATTN_SINK_TOKENS needs ATTN_WINDOW: without a window no key is hidden that a sink token could keep"
#endif

/* ---- optional: tiles -------------------------------------------------------------------------- */
#if ATTN_ANY
#elif ATTN_ARCH <= ATTN_ARCH_AVX512BF16
/* Defaults from docs/performance.md: as many rows as keep Q, O and one K and V tile in a 1 MB L2. */
#ifndef ATTN_TILE_Q
#define ATTN_TILE_Q 192
#elif ATTN_TILE_Q < 8 || ATTN_TILE_Q > 1024
#error "attn: ATTN_TILE_Q must be 8 to 1024 on a CPU arch"
#endif
#ifndef ATTN_TILE_K
#define ATTN_TILE_K 128
#elif ATTN_TILE_K < 32 || ATTN_TILE_K > 1024 || ATTN_TILE_K % 32
#error "attn: ATTN_TILE_K must be a multiple of 32 from 32 to 1024 on a CPU arch"
#endif
#if defined(ATTN_WARPS) || defined(ATTN_STAGES) || defined(ATTN_BLOCKS) || defined(ATTN_SPILL) || \
    defined(ATTN_DEBUG)
#error "attn: ATTN_WARPS, ATTN_STAGES, ATTN_BLOCKS, ATTN_SPILL and ATTN_DEBUG have no meaning on a CPU arch; leave them out"
#endif
#else /* CUDA */
#if ATTN_KERNEL == ATTN_KERNEL_DECODE
/* A warp has whole tiles of keys: docs/performance.md. */
#ifndef ATTN_TILE_Q
#define ATTN_TILE_Q 16
#elif ATTN_TILE_Q != 8 && ATTN_TILE_Q != 16 && ATTN_TILE_Q != 32
#error "attn: ATTN_TILE_Q must be 8, 16 or 32 in ATTN_KERNEL_DECODE"
#endif
#ifdef ATTN_TILE_K
#elif ATTN_HEAD_DIM <= 64 && ATTN_HEAD_DIM_V <= 64 && ATTN_TILE_Q <= 16
#define ATTN_TILE_K 32
#else
#define ATTN_TILE_K 16
#endif
#if ATTN_TILE_K != 16 && ATTN_TILE_K != 32
#error "attn: ATTN_TILE_K must be 16 or 32 in ATTN_KERNEL_DECODE"
#endif
#if !defined(ATTN_WARPS) && ATTN_TILE_Q <= 16 && ATTN_HEAD_DIM <= 128 && ATTN_HEAD_DIM_V <= 128
#define ATTN_WARPS 8
#endif
#ifndef ATTN_ROWS
#define ATTN_ROWS (4 * ATTN_TILE_Q)
#endif
#elif ATTN_KERNEL == ATTN_KERNEL_MLA
#ifndef ATTN_TILE_Q
#define ATTN_TILE_Q 64
#elif ATTN_TILE_Q != 64
#error "attn: ATTN_TILE_Q must be 64 in ATTN_KERNEL_MLA; leave it out"
#endif
#ifndef ATTN_TILE_K
#define ATTN_TILE_K 48
#elif ATTN_TILE_K < 16 || ATTN_TILE_K > 96 || ATTN_TILE_K % 16
#error "attn: ATTN_TILE_K must be a multiple of 16 from 16 to 96 in ATTN_KERNEL_MLA"
#endif
#ifndef ATTN_STAGES
#define ATTN_STAGES 3
#endif
#ifndef ATTN_WARPS
#define ATTN_WARPS 12
#elif ATTN_WARPS != 12
#error "attn: ATTN_WARPS must be 12 in ATTN_KERNEL_MLA; leave it out"
#endif
#if defined(ATTN_BLOCKS) && ATTN_BLOCKS != 1
#error "attn: ATTN_BLOCKS must be 1 on ATTN_ARCH_SM90; leave it out"
#endif
#elif ATTN_ARCH == ATTN_ARCH_SM90
/* What was fastest on an H200 (docs/performance.md). */
#ifdef ATTN_TILE_Q
#elif ATTN_HEAD_DIM <= 64 && ATTN_HEAD_DIM_V <= 64
#define ATTN_TILE_Q 192
#else
#define ATTN_TILE_Q 128
#endif
#if ATTN_TILE_Q < 64 || ATTN_TILE_Q > 256 || ATTN_TILE_Q % 64
#error "attn: ATTN_TILE_Q must be a multiple of 64 from 64 to 256 on ATTN_ARCH_SM90"
#endif
#ifdef ATTN_TILE_K
#elif ATTN_HEAD_DIM <= 64 && ATTN_HEAD_DIM_V <= 64
#define ATTN_TILE_K 96
#elif ATTN_HEAD_DIM <= 128 && ATTN_HEAD_DIM_V <= 128
#define ATTN_TILE_K 128
#elif ATTN_HEAD_DIM <= 192 && ATTN_HEAD_DIM_V <= 192
#define ATTN_TILE_K 96
#else
#define ATTN_TILE_K 80
#endif
#if ATTN_TILE_K < 16 || ATTN_TILE_K > 256 || ATTN_TILE_K % 16
#error "attn: ATTN_TILE_K must be a multiple of 16 from 16 to 256 on ATTN_ARCH_SM90"
#endif
#ifndef ATTN_WARPS
#define ATTN_WARPS (4 + ATTN_TILE_Q / 16)
#elif ATTN_WARPS != 4 + ATTN_TILE_Q / 16
#error "attn: ATTN_WARPS must be 4 + ATTN_TILE_Q / 16 on ATTN_ARCH_SM90; leave it out"
#endif
#if defined(ATTN_BLOCKS) && ATTN_BLOCKS != 1
#error "attn: ATTN_BLOCKS must be 1 on ATTN_ARCH_SM90; leave it out"
#endif
#endif
#ifndef ATTN_WARPS
#define ATTN_WARPS 4
#elif (ATTN_ARCH != ATTN_ARCH_SM90 || ATTN_KERNEL == ATTN_KERNEL_DECODE) && (ATTN_WARPS < 1 || ATTN_WARPS > 16)
#error "attn: ATTN_WARPS must be 1 to 16"
#endif
#ifndef ATTN_STAGES
#define ATTN_STAGES 2
#elif ATTN_STAGES < 1 || ATTN_STAGES > 4
#error "attn: ATTN_STAGES must be 1 to 4"
#endif
#ifndef ATTN_BLOCKS
#define ATTN_BLOCKS 1
#elif ATTN_BLOCKS < 1 || ATTN_BLOCKS > 32
#error "attn: ATTN_BLOCKS must be 1 to 32"
#endif
#ifndef ATTN_SPILL
#define ATTN_SPILL 0
#elif ATTN_SPILL < 0 || ATTN_SPILL > 65536
#error "attn: ATTN_SPILL must be 0 to 65536"
#endif
#ifndef ATTN_DEBUG
#define ATTN_DEBUG 0
#elif ATTN_DEBUG != 0 && ATTN_DEBUG != 1
#error "attn: ATTN_DEBUG must be 0, or 1 to check lengths and tables before each call"
#endif
#if ATTN_ARCH == ATTN_ARCH_SIMT
/* Defaults: what fits into the 48 KB of shared memory that a block has on every GPU. */
#ifdef ATTN_TILE_Q
#elif ATTN_HEAD_DIM <= 96 && ATTN_HEAD_DIM_V <= 96
#define ATTN_TILE_Q (16 * ATTN_WARPS)
#else
#define ATTN_TILE_Q (8 * ATTN_WARPS)
#endif
#if ATTN_TILE_Q < 4 || ATTN_TILE_Q > 256 || ATTN_TILE_Q % (4 * ATTN_WARPS)
#error "attn: ATTN_TILE_Q must be a multiple of 4 * ATTN_WARPS up to 256 on ATTN_ARCH_SIMT"
#endif
#ifndef ATTN_TILE_K
#define ATTN_TILE_K 32
#elif ATTN_TILE_K < 32 || ATTN_TILE_K > 128 || ATTN_TILE_K % 32
#error "attn: ATTN_TILE_K must be a multiple of 32 from 32 to 128 on ATTN_ARCH_SIMT"
#endif
#elif ATTN_ARCH != ATTN_ARCH_SM90 && ATTN_KERNEL == ATTN_KERNEL_FORWARD
/* ATTN_ARCH_SM75 and ATTN_ARCH_SM80: a warp has whole 16-row tiles of an mma. */
#ifdef ATTN_TILE_Q
#elif ATTN_HEAD_DIM <= 128 && ATTN_HEAD_DIM_V <= 128
#define ATTN_TILE_Q (32 * ATTN_WARPS)
#else
#define ATTN_TILE_Q (16 * ATTN_WARPS)
#endif
#if ATTN_TILE_Q < 16 || ATTN_TILE_Q > 1024 || ATTN_TILE_Q % (16 * ATTN_WARPS)
#error "attn: ATTN_TILE_Q must be a multiple of 16 * ATTN_WARPS up to 1024 on ATTN_ARCH_SM75 and ATTN_ARCH_SM80"
#endif
#ifndef ATTN_TILE_K
#define ATTN_TILE_K 64
#elif ATTN_TILE_K < 16 || ATTN_TILE_K > 256 || ATTN_TILE_K % 16
#error "attn: ATTN_TILE_K must be a multiple of 16 from 16 to 256 on ATTN_ARCH_SM75 and ATTN_ARCH_SM80"
#endif
#endif
#endif
#endif /* of attention */

#ifndef ATTN_ROWS
#define ATTN_ROWS 0
#elif ATTN_ARCH < ATTN_ARCH_SM75
#error "attn: ATTN_ROWS has a meaning on ATTN_ARCH_SM75, ATTN_ARCH_SM80 and ATTN_ARCH_SM90 alone; leave it out"
#elif ATTN_ROWS < 1 || ATTN_ROWS > 65536
#error "attn: ATTN_ROWS must be 1 to 65536 query rows of a KV head"
#endif

/* Where 0 means any: an enum constant is 0 to #if and not to the compiler, so the instance would be half of each. */
#if !ATTN_HEAD_DIM
ATTN_STATIC_ASSERT(!(ATTN_HEAD_DIM), "attn: ATTN_HEAD_DIM must be a number, not the name of an enum constant");
#endif
#if !ATTN_HEAD_DIM_V
ATTN_STATIC_ASSERT(!(ATTN_HEAD_DIM_V), "attn: ATTN_HEAD_DIM_V must be a number, not the name of an enum constant");
#endif
#if !ATTN_GQA
ATTN_STATIC_ASSERT(!(ATTN_GQA), "attn: ATTN_GQA must be a number, not the name of an enum constant");
#endif

/* ---- derived ---------------------------------------------------------------------------------- */
#define ATTN_FN(s) ATTN_CAT(ATTN_NAME, s) /* NAME_launch ...: what the instance defines */
