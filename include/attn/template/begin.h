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
#error "attn: define ATTN_KERNEL (ATTN_KERNEL_FORWARD)"
#elif ATTN_KERNEL != ATTN_KERNEL_FORWARD
#error "attn: ATTN_KERNEL must be ATTN_KERNEL_FORWARD"
#endif
#ifndef ATTN_ARCH
#error "attn: define ATTN_ARCH (ATTN_ARCH_CPU, ATTN_ARCH_AVX2, ATTN_ARCH_AVX512, ATTN_ARCH_AVX512BF16 or ATTN_ARCH_NATIVE)"
#elif ATTN_ARCH < ATTN_ARCH_CPU || ATTN_ARCH > ATTN_ARCH_AVX512BF16
#error "attn: ATTN_ARCH must be ATTN_ARCH_CPU, ATTN_ARCH_AVX2, ATTN_ARCH_AVX512, ATTN_ARCH_AVX512BF16 or ATTN_ARCH_NATIVE"
#endif
#if defined(__CUDACC__) && ATTN_ARCH <= ATTN_ARCH_AVX512BF16
#error "attn: ATTN_ARCH of a CPU is for the host compiler, which unrolls its loops: put this block into a .c file"
#endif
#if ATTN_ARCH >= ATTN_ARCH_AVX2 && ATTN_ARCH <= ATTN_ARCH_AVX512BF16 && !defined(__x86_64__)
#error "attn: ATTN_ARCH_AVX2, ATTN_ARCH_AVX512 and ATTN_ARCH_AVX512BF16 are for x86-64; use ATTN_ARCH_CPU"
#endif
#ifndef ATTN_DTYPE
#error "attn: define ATTN_DTYPE (ATTN_F32, ATTN_F16 or ATTN_BF16)"
#elif ATTN_DTYPE != ATTN_F32 && ATTN_DTYPE != ATTN_F16 && ATTN_DTYPE != ATTN_BF16
#error "attn: ATTN_DTYPE must be ATTN_F32, ATTN_F16 or ATTN_BF16"
#endif
#ifndef ATTN_HEAD_DIM
#error "attn: define ATTN_HEAD_DIM (1 to 1024, or 0 for any at run time)"
#elif ATTN_HEAD_DIM < 0 || ATTN_HEAD_DIM > 1024
#error "attn: ATTN_HEAD_DIM must be 1 to 1024, or 0 for any at run time"
#endif

/* ---- optional: types and shapes --------------------------------------------------------------- */
#ifndef ATTN_KV_DTYPE
#define ATTN_KV_DTYPE ATTN_DTYPE
#elif ATTN_KV_DTYPE != ATTN_F32 && ATTN_KV_DTYPE != ATTN_F16 && ATTN_KV_DTYPE != ATTN_BF16
#error "attn: ATTN_KV_DTYPE must be ATTN_F32, ATTN_F16 or ATTN_BF16"
#endif
#if ATTN_ARCH == ATTN_ARCH_AVX512BF16 && (ATTN_DTYPE != ATTN_BF16 || ATTN_KV_DTYPE != ATTN_BF16)
#error "attn: ATTN_ARCH_AVX512BF16 serves ATTN_DTYPE ATTN_BF16 alone; use ATTN_ARCH_AVX512"
#endif
#ifndef ATTN_HEAD_DIM_V
#define ATTN_HEAD_DIM_V ATTN_HEAD_DIM
#elif ATTN_HEAD_DIM_V < 0 || ATTN_HEAD_DIM_V > 1024 || (ATTN_HEAD_DIM_V == 0) != (ATTN_HEAD_DIM == 0)
#error "attn: ATTN_HEAD_DIM_V must be 1 to 1024, and 0 exactly if ATTN_HEAD_DIM is 0"
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
#if ATTN_SINK_TOKENS && !ATTN_WINDOW
#error "attn: ATTN_SINK_TOKENS needs ATTN_WINDOW: without a window no key is hidden that a sink token could keep"
#endif

/* ---- optional: tiles -------------------------------------------------------------------------- */
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
#ifdef ATTN_STAGES
#error "attn: ATTN_STAGES has no meaning on a CPU arch; leave it out"
#endif

/* ---- derived ---------------------------------------------------------------------------------- */
#define ATTN_FN(s) ATTN_CAT(ATTN_NAME, s) /* NAME_launch ...: what the instance defines */
