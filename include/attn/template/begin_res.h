/* begin_res.h - begin.h's other half for the instances of Attention Residuals: checks what is theirs, defines the
 * parameters of attention as what they are without a meaning.
 *
 * Included by begin.h alone, no guard. */

#if ATTN_ARCH != ATTN_ARCH_CPU && ATTN_ARCH != ATTN_ARCH_AVX2 && ATTN_ARCH != ATTN_ARCH_AVX512 && \
    ATTN_ARCH != ATTN_ARCH_SIMT && ATTN_ARCH != ATTN_ARCH_SM80
#error "attn: ATTN_ARCH of ATTN_KERNEL_RES... must be ATTN_ARCH_CPU, ATTN_ARCH_AVX2, ATTN_ARCH_AVX512, ATTN_ARCH_SIMT or ATTN_ARCH_SM80"
#endif
#if ATTN_ARCH == ATTN_ARCH_SM80 && ATTN_KERNEL != ATTN_KERNEL_RES1 && ATTN_KERNEL != ATTN_KERNEL_RES1_BACKWARD
#error "attn: ATTN_ARCH_SM80 has ATTN_KERNEL_RES1 and ATTN_KERNEL_RES1_BACKWARD alone; ATTN_ARCH_SIMT is as fast for phase 2"
#endif
#if ATTN_ARCH == ATTN_ARCH_SM80 && (ATTN_DTYPE == ATTN_F32 || \
    (ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD && ATTN_DTYPE != ATTN_BF16))
#error "attn: ATTN_ARCH_SM80 serves ATTN_KERNEL_RES1 of ATTN_F16 and ATTN_BF16, ATTN_KERNEL_RES1_BACKWARD of ATTN_BF16; use ATTN_ARCH_SIMT"
#endif
#ifndef ATTN_HEAD_DIM
#error "attn: define ATTN_HEAD_DIM (hidden size, a multiple of 8 from 8 to 8192, or 0 for any at run time)"
#elif ATTN_HEAD_DIM < 0 || ATTN_HEAD_DIM > 8192 || ATTN_HEAD_DIM % 8
#error "attn: ATTN_HEAD_DIM of ATTN_KERNEL_RES... must be a multiple of 8 from 8 to 8192, or 0 for any at run time"
#endif
#if ATTN_ARCH == ATTN_ARCH_SM80 && ATTN_HEAD_DIM == 0
#error "attn: ATTN_HEAD_DIM of ATTN_KERNEL_RES... must not be 0 on ATTN_ARCH_SM80"
#endif
#ifndef ATTN_HEAD_DIM_MIN
#define ATTN_HEAD_DIM_MIN ATTN_HEAD_DIM
#elif ATTN_HEAD_DIM_MIN < 0 || ATTN_HEAD_DIM_MIN > ATTN_HEAD_DIM || ATTN_HEAD_DIM_MIN % 8
#error "attn: ATTN_HEAD_DIM_MIN of ATTN_KERNEL_RES... must be a multiple of 8 up to ATTN_HEAD_DIM"
#endif
/* The queries and blocks that an instance serves: of the templates for tensor cores as many as a tile has. */
#ifndef ATTN_TILE_Q
#define ATTN_TILE_Q (ATTN_ARCH == ATTN_ARCH_SM80 && ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD ? 8 : 64)
#elif ATTN_TILE_Q < 1 || ATTN_TILE_Q > 64
#error "attn: ATTN_TILE_Q of ATTN_KERNEL_RES... must be 1 to 64 queries"
#endif
#ifndef ATTN_TILE_K
#define ATTN_TILE_K (ATTN_ARCH == ATTN_ARCH_SM80 ? 8 : 64)
#elif ATTN_TILE_K < 1 || ATTN_TILE_K > 64
#error "attn: ATTN_TILE_K of ATTN_KERNEL_RES... must be 1 to 64 blocks"
#endif
#if ATTN_ARCH == ATTN_ARCH_SM80 && (ATTN_TILE_K > 16 || (ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD && \
    (ATTN_TILE_Q > 8 || ATTN_TILE_K > 8)))
#error "attn: on ATTN_ARCH_SM80 ATTN_TILE_K of ATTN_KERNEL_RES1 must be 1 to 16, ATTN_TILE_Q and ATTN_TILE_K of ATTN_KERNEL_RES1_BACKWARD 1 to 8; use ATTN_ARCH_SIMT"
#endif
#if ATTN_ARCH <= ATTN_ARCH_AVX512 && (defined(ATTN_WARPS) || defined(ATTN_BLOCKS) || defined(ATTN_SPILL))
#error "attn: ATTN_WARPS, ATTN_BLOCKS and ATTN_SPILL have no meaning on a CPU arch; leave them out"
#endif
#ifndef ATTN_WARPS
#define ATTN_WARPS 4
#elif ATTN_WARPS < 1 || ATTN_WARPS > 32
#error "attn: ATTN_WARPS of ATTN_KERNEL_RES... must be 1 to 32"
#endif
#ifndef ATTN_BLOCKS
#define ATTN_BLOCKS 1
#elif ATTN_BLOCKS < 1 || ATTN_BLOCKS > 32
#error "attn: ATTN_BLOCKS of ATTN_KERNEL_RES... must be 1 to 32"
#endif
#ifndef ATTN_SPILL
#define ATTN_SPILL 0
#elif ATTN_SPILL < 0 || ATTN_SPILL > 65536
#error "attn: ATTN_SPILL of ATTN_KERNEL_RES... must be 0 to 65536"
#endif
#if defined(ATTN_KV_DTYPE) || defined(ATTN_HEAD_DIM_V) || defined(ATTN_GQA) || defined(ATTN_CAUSAL) || \
    defined(ATTN_WINDOW) || defined(ATTN_CHUNK) || defined(ATTN_SINK_TOKENS) || defined(ATTN_SINK_LOGITS) || \
    defined(ATTN_SOFTCAP) || defined(ATTN_ALIBI) || defined(ATTN_BIAS) || defined(ATTN_BOOL_MASK) || \
    defined(ATTN_VARLEN) || defined(ATTN_PAGED) || defined(ATTN_SCALED) || defined(ATTN_ROPE) || \
    defined(ATTN_SCORE_MOD) || defined(ATTN_MASK) || \
    defined(ATTN_STAGES) || defined(ATTN_DEBUG)
#error "attn: ATTN_KERNEL_RES... has no flags, no ratio, one type and one dim; leave the parameters of attention out"
#endif
#define ATTN_KV_DTYPE    ATTN_DTYPE
#define ATTN_HEAD_DIM_V  ATTN_HEAD_DIM
#define ATTN_GQA         0
#define ATTN_CAUSAL      0
#define ATTN_WINDOW      0
#define ATTN_CHUNK       0
#define ATTN_SINK_TOKENS 0
#define ATTN_SINK_LOGITS 0
#define ATTN_SOFTCAP     0
#define ATTN_ALIBI       0
#define ATTN_BIAS        0
#define ATTN_BOOL_MASK   0
#define ATTN_VARLEN      0
#define ATTN_PAGED       0
#define ATTN_SCALED      0
#define ATTN_ROPE        0
#define ATTN_STAGES      1
#define ATTN_DEBUG       0
