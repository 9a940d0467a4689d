/* res_end_cuda.cuh - the workspace of the CUDA templates of Attention Residuals, and the end of res_cuda.cuh; the last
 * thing that they include; no guard. */
#define ATTN_DEVICE_FN ATTN_FN(_device)

static size_t ATTN_FN(_workspace)(const attn_res_params *p, int least)
{
    (void)least;
    return ATTN_FN(_part_bytes)(p, ATTN_FN(_parts)(p));
}

#undef ATTN_LOG2E
#undef ATTN_LN2
#undef ATTN_THREADS
#undef ATTN_RES_BACKWARD
#undef ATTN_RES_PHASE1
#undef ATTN_RES_TABLE
#undef ATTN_FINISH_COLUMNS
#undef ATTN_FINISH_SLICES
