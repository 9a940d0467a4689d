/* end.h - emits the descriptor of one instance and undefines every parameter and derived name.
 *
 * Included by instance.h alone, after the template; no guard.  ATTN_EXPORT, set by generated files
 * alone, makes the descriptor external; otherwise it is static, so that an instance in a user's file
 * and one of the same name in the archive live in one program.
 *
 * Of a template it wants NAME_workspace and NAME_launch (on attn_res_params, of ATTN_KERNEL_RES...), or of
 * ATTN_KERNEL_APPEND and _MERGE, which have no workspace, NAME_launch alone; and the macros ATTN_ROW_ALIGN,
 * ATTN_SHARED_BYTES and ATTN_DEVICE_FN, fields of the descriptor that are no parameters. */

#define ATTN_BIT_IF_(M) ((ATTN_##M) ? ATTN_HAS(M) : 0u)

/* clang would take the descriptor for one of the device, too, where its functions are not. */
#if !(defined(__clang__) && defined(__CUDA_ARCH__))
#ifdef ATTN_EXPORT
#ifdef __cplusplus
extern "C" {
#endif
extern const attn_instance ATTN_NAME;
const attn_instance ATTN_NAME =
#else
static const attn_instance ATTN_NAME =
#endif
{
    ATTN_STR(ATTN_NAME), ATTN_KERNEL, ATTN_ARCH, ATTN_DTYPE, ATTN_KV_DTYPE,
    ATTN_HEAD_DIM, ATTN_HEAD_DIM_V, ATTN_HEAD_DIM_MIN, ATTN_GQA, ATTN_ROWS,
    ATTN_BIT_IF_(CAUSAL) | ATTN_BIT_IF_(WINDOW) | ATTN_BIT_IF_(CHUNK) | ATTN_BIT_IF_(SINK_TOKENS) |
        ATTN_BIT_IF_(SINK_LOGITS) | ATTN_BIT_IF_(SOFTCAP) | ATTN_BIT_IF_(ALIBI) | ATTN_BIT_IF_(BIAS) |
        ATTN_BIT_IF_(BOOL_MASK) | ATTN_BIT_IF_(VARLEN) | ATTN_BIT_IF_(PAGED) | ATTN_BIT_IF_(SCALED) |
        ATTN_BIT_IF_(ROPE),
#ifdef ATTN_SCORE_MOD
    1u +
#endif
#ifdef ATTN_MASK
    2u +
#endif
    0u,
    ATTN_TILE_Q, ATTN_TILE_K, ATTN_ROW_ALIGN, ATTN_SHARED_BYTES,
#if ATTN_KERNEL == ATTN_KERNEL_APPEND
    NULL, NULL, ATTN_DEVICE_FN, ATTN_FN(_launch), NULL, NULL, NULL
#elif ATTN_KERNEL == ATTN_KERNEL_MERGE
    NULL, NULL, ATTN_DEVICE_FN, NULL, ATTN_FN(_launch), NULL, NULL
#elif ATTN_KERNEL >= ATTN_KERNEL_RES1
    NULL, NULL, ATTN_DEVICE_FN, NULL, NULL, ATTN_FN(_workspace), ATTN_FN(_launch)
#else
    ATTN_FN(_workspace), ATTN_FN(_launch), ATTN_DEVICE_FN, NULL, NULL, NULL, NULL
#endif
};
#if defined(ATTN_EXPORT) && defined(__cplusplus)
}
#endif
#endif /* not the device pass of clang */

#undef ATTN_BIT_IF_
#undef ATTN_FN
#undef ATTN_NAME
#undef ATTN_EXPORT
#undef ATTN_KERNEL
#undef ATTN_ARCH
#undef ATTN_ANY
#undef ATTN_DTYPE
#undef ATTN_KV_DTYPE
#undef ATTN_HEAD_DIM
#undef ATTN_HEAD_DIM_V
#undef ATTN_HEAD_DIM_MIN
#undef ATTN_GQA
#undef ATTN_ROWS
#undef ATTN_CAUSAL
#undef ATTN_WINDOW
#undef ATTN_CHUNK
#undef ATTN_SINK_TOKENS
#undef ATTN_SINK_LOGITS
#undef ATTN_SOFTCAP
#undef ATTN_ALIBI
#undef ATTN_BIAS
#undef ATTN_BOOL_MASK
#undef ATTN_VARLEN
#undef ATTN_PAGED
#undef ATTN_SCALED
#undef ATTN_ROPE
#undef ATTN_TILE_Q
#undef ATTN_TILE_K
#undef ATTN_WARPS
#undef ATTN_STAGES
#undef ATTN_BLOCKS
#undef ATTN_SPILL
#undef ATTN_DEBUG
#undef ATTN_ROW_ALIGN
#undef ATTN_SHARED_BYTES
#undef ATTN_DEVICE_FN
#undef ATTN_SCORE_MOD
#undef ATTN_MASK
#undef ATTN_USER
