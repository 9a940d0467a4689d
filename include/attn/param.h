/* param.h - the named values that parameters and fields of attn take.
 *
 * Everything here is a plain integer macro, so that `#if ATTN_DTYPE == ATTN_BF16`
 * works in a parameter block and the same name is a value at run time.  Zero is
 * never a value: a misspelt name is 0 in `#if` and is refused by begin.h.
 * C11, C++ and CUDA; includes nothing. */
#ifndef ATTN_PARAM_H
#define ATTN_PARAM_H

/* ATTN_KERNEL: what an instance computes. */
#define ATTN_KERNEL_FORWARD 1 /* O = softmax(scale Q K^T + ...) V, and LSE */
#define ATTN_KERNEL_DECODE  2 /* the same, for calls of few query rows against a long cache */
#define ATTN_KERNEL_APPEND  3 /* new K and V into a cache: attn_append_kv; CUDA alone, a CPU needs no instance */
#define ATTN_KERNEL_MERGE   4 /* partial results into one: attn_merge; CUDA alone */
#define ATTN_KERNEL_MLA     5 /* as FORWARD, of calls whose V is the first dims of K: multi-head latent attention */
#define ATTN_KERNEL_RES1 21          /* Attention Residuals (res.h): phase 1, */
#define ATTN_KERNEL_RES2 22          /* phase 2, */
#define ATTN_KERNEL_RES1_BACKWARD 23 /* and the gradients of both */
#define ATTN_KERNEL_RES2_BACKWARD 24

/* ATTN_ARCH: the machine an instance is written for.  On a CPU that is an
 * instruction set; the archive holds several and attn_query picks the first in
 * list order that this processor can execute. */
#define ATTN_ARCH_CPU    1  /* portable C11 with GNU vectors of 16 bytes: any processor */
#define ATTN_ARCH_AVX2   2  /* x86-64 with AVX2, FMA and F16C (2013 on) */
#define ATTN_ARCH_AVX512 3  /* x86-64 with AVX-512 F, BW, DQ and VL (2017 on) */
#define ATTN_ARCH_AVX512BF16 4 /* the same and AVX512_BF16: bf16 products (2020 on); bf16 only */
#define ATTN_ARCH_AMX    5  /* reserved for AMX-BF16/FP16 tiles; no template yet */
#define ATTN_ARCH_SIMT   60 /* any CUDA GPU from Pascal on: FP32 FMA */
#define ATTN_ARCH_SM75   75 /* CUDA, compute capability 7.5 on: mma.sync m16n8k8; f16 only */
#define ATTN_ARCH_SM80   80 /* CUDA, compute capability 8.0 on: mma.sync m16n8k16 and cp.async; f16 and bf16 */
#define ATTN_ARCH_SM90   90 /* CUDA, compute capability 9.0 alone: wgmma and TMA; f16 and bf16 */

/* The best CPU architecture that the compiler's own target flags allow. */
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define ATTN_ARCH_NATIVE ATTN_ARCH_AVX512
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define ATTN_ARCH_NATIVE ATTN_ARCH_AVX2
#else
#define ATTN_ARCH_NATIVE ATTN_ARCH_CPU
#endif

/* Element types: ATTN_DTYPE, ATTN_KV_DTYPE and attn_tensor.dtype. */
#define ATTN_F32  1 /* IEEE binary32 */
#define ATTN_F16  2 /* IEEE binary16 */
#define ATTN_BF16 3 /* upper half of binary32 */
#define ATTN_E4M3 4 /* OCP 8-bit float, 448 max, no infinity */
#define ATTN_E5M2 5 /* OCP 8-bit float with infinity */
#define ATTN_INT8 6 /* signed byte, with attn_scale */
#define ATTN_INT4 7 /* two signed nibbles a byte along dim, low nibble first, -7..7 */
#define ATTN_BOOL 8 /* one byte an element, nonzero = attend: masks only */
#define ATTN_BIT  9 /* packed bits, bit k % 8 of byte k / 8, 1 = attend: masks only */
#define ATTN_NARROW 10 /* of an instance alone: any of e4m3, e5m2, int8, int4, as the call says */

/* attn_params.device: where all memory of a call lies, and so what computes it. */
#define ATTN_DEVICE_CPU  1 /* host memory; a CPU instance */
#define ATTN_DEVICE_CUDA 2 /* memory that the current CUDA device can read; a CUDA instance */

/* attn_params.causal: how the diagonal is aligned when seq_q != seq_k. */
#define ATTN_CAUSAL_NONE         0
#define ATTN_CAUSAL_BOTTOM_RIGHT 1 /* query i sees keys j <= i + seq_k - seq_q */
#define ATTN_CAUSAL_TOP_LEFT     2 /* query i sees keys j <= i */

/* attn_params.rope_style: which dimensions form a rotated pair. */
#define ATTN_ROPE_NONE        0
#define ATTN_ROPE_HALF_SPLIT  1 /* (d, d + rope_dim/2): NeoX, Llama in Hugging Face's order */
#define ATTN_ROPE_INTERLEAVED 2 /* (2d, 2d + 1): GPT-J */
#define ATTN_ROPE_DIM_MOST    1024 /* rope_dim, at most */

/* attn_alibi_slopes: the two families of slopes in use. */
#define ATTN_ALIBI_PRESS 1 /* Press et al. and BLOOM */
#define ATTN_ALIBI_MPT   2 /* MPT: differs when heads is not a power of two */

/* What an instance can do, one bit each.  The list is the one place where
 * features are counted: X(MACRO SUFFIX, name in rows and texts, what it means). */
#define ATTN_FEATURES(X)                                                              \
    X(CAUSAL, causal, "a causal diagonal, either alignment")                          \
    X(WINDOW, window, "a left and right window")                                      \
    X(CHUNK, chunk, "chunked attention")                                              \
    X(SINK_TOKENS, sink_tokens, "first keys that a window never hides")               \
    X(SINK_LOGITS, sink_logits, "a learned logit per head in the denominator")        \
    X(SOFTCAP, softcap, "softcap * tanh(s / softcap)")                                \
    X(ALIBI, alibi, "linear position bias by slopes")                                 \
    X(BIAS, bias, "an additive bias tensor")                                          \
    X(BOOL_MASK, bool_mask, "a boolean or bit mask tensor")                           \
    X(VARLEN, varlen, "packed or padded sequences of different length")               \
    X(PAGED, paged, "a paged KV cache")                                               \
    X(SCALED, scaled, "scales for quantised q, k or v")                               \
    X(DROPOUT, dropout, "dropout on the probabilities")                               \
    X(SCHEDULE, schedule, "a block-sparse schedule")                                  \
    X(ROPE, rope, "rotary embedding of q inside the kernel")

#define ATTN_FEATURE_INDEX_(M, name, text) ATTN_INDEX_##M,
enum { ATTN_FEATURES(ATTN_FEATURE_INDEX_) ATTN_FEATURE_COUNT };
#undef ATTN_FEATURE_INDEX_
#define ATTN_HAS(M) (1u << ATTN_INDEX_##M) /* ATTN_HAS(CAUSAL): the bit in attn_instance.features */

/* What an instance with ATTN_DEBUG checks: lengths and tables, whose content is read only where the kernel runs. */
#define ATTN_CONTENTS(X)                    \
    X(CU_SEQLENS_Q, cu_seqlens_q)           \
    X(CU_SEQLENS_K, cu_seqlens_k)           \
    X(SEQUSED_Q, seqused_q)                 \
    X(SEQUSED_K, seqused_k)                 \
    X(BLOCK_TABLE, block_table)             \
    X(PAGE_INDPTR, page_indptr)             \
    X(PAGE_INDICES, page_indices)           \
    X(LAST_PAGE_LEN, last_page_len)

#define ATTN_CONTENT_(M, name) ATTN_CONTENT_##M,
enum { ATTN_CONTENT_FINE, ATTN_CONTENTS(ATTN_CONTENT_) ATTN_CONTENT_COUNT };
#undef ATTN_CONTENT_

/* attn_params.flags. */
#define ATTN_LSE_BASE2       1u /* lse in units of log2 instead of natural log */
#define ATTN_LSE_NO_SINK     2u /* leave the sink logit out of lse (and of o): a partial to be merged */
#define ATTN_BATCH_INVARIANT 4u /* a row's result depends on its own sequence alone, bit for bit */
#define ATTN_DETERMINISTIC   8u /* backward: the same bits in every run.  Forward always is */
#define ATTN_FLAGS_ALL (ATTN_LSE_BASE2 | ATTN_LSE_NO_SINK | ATTN_BATCH_INVARIANT | ATTN_DETERMINISTIC)

/* attn_append_params.flags. */
#define ATTN_APPEND_SCALES 1u /* the scales of what is stored are computed, and stored too */
#define ATTN_APPEND_FLAGS_ALL ATTN_APPEND_SCALES

/* Private helpers, for every header of attn. */
#define ATTN_CAT_(a, b) a##b
#define ATTN_CAT(a, b) ATTN_CAT_(a, b)
#define ATTN_STR_(a) #a
#define ATTN_STR(a) ATTN_STR_(a)
#ifdef __cplusplus
#define ATTN_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define ATTN_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#endif /* ATTN_PARAM_H */
