/* res_end_cuda.cuh - undoes res_cuda.cuh; the last thing that its templates include; no guard. */
#define ATTN_DEVICE_FN ATTN_FN(_device)

#undef ATTN_LOG2E
#undef ATTN_LN2
#undef ATTN_THREADS
#undef ATTN_RES_BACKWARD
#undef ATTN_RES_PHASE1
#undef ATTN_RES_STAGES
#undef ATTN_RES_TABLE
#undef ATTN_FINISH_COLUMNS
#undef ATTN_FINISH_SLICES
