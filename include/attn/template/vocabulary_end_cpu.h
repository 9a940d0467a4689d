/* vocabulary_end_cpu.h - undoes vocabulary_cpu.h; the last thing that forward_cpu.h includes; no guard. */

#if ATTN_ARCH != ATTN_ARCH_CPU
ATTN_TARGET_END_
#endif
#undef ATTN_V
#undef ATTN_W
#undef ATTN_MR
#undef ATTN_PAIRS
#undef ATTN_MUL_ADD
#undef ATTN_NARROW2
#undef ATTN_ZIP
#undef ATTN_NR
#undef ATTN_SUB
#undef ATTN_AHEAD
#undef ATTN_WIDE_KV
#undef ATTN_KEYS
#undef ATTN_LOT
#undef ATTN_STREAM
#undef ATTN_STREAM_TWO
#undef ATTN_STREAM_BYTES
#undef ATTN_HEIGHTS
#undef ATTN_FEW
#undef ATTN_AXPY_VECS
#undef ATTN_PARTS_UNITS
#undef ATTN_PARTS_KEYS
#undef ATTN_KV_T
#undef ATTN_KV_LOAD
#undef ATTN_KV_LOAD_N
#undef ATTN_KV_SCALAR
#undef ATTN_Q_T
#undef ATTN_Q_SCALAR
#undef ATTN_Q_ROUND
#undef ATTN_LOG2E
#undef ATTN_LN2
#undef ATTN_VEC_T
