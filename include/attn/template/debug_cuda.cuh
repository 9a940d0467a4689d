/* debug_cuda.cuh - with ATTN_DEBUG: a kernel that reads lengths, tables and page numbers before the real one does.
 *
 * Included by launch_cuda.cuh, no guard.  What is out of range is what a CPU instance refuses.  The first finding, by
 * sequence, is left in the first bytes of the workspace; attn_debug_text puts it into words. */

#define ATTN_CHECK_THREADS 128

typedef struct ATTN_FN(_check_args) {
    attn_params p;
    attn_finding *found;
} ATTN_FN(_check_args);

/* Whether value is from least to most; if not, f says so. */
ATTN_DEVICE int ATTN_FN(_within)(attn_finding *f, int content, int b, int64_t at, int value, int64_t least,
                                 int64_t most)
{
    if (value >= least && value <= most)
        return 1;
    f->content = content;
    f->sequence = b;
    f->position = (int32_t)at;
    f->value = value;
    f->least = (int32_t)least;
    f->most = most < INT32_MAX ? (int32_t)most : INT32_MAX;
    return 0;
}

/* The content of sequence b.  Nothing is read through a number that has not been found right. */
ATTN_DEVICE void ATTN_FN(_check_sequence)(const attn_params *p, int b, attn_finding *f)
{
    int64_t len_q = p->seq_q, len_k = p->seq_k;
    if (ATTN_VARLEN && p->cu_seqlens_q) {
        const int64_t first = p->cu_seqlens_q[b], end = first + p->seq_q;
        if (!ATTN_FN(_within)(f, ATTN_CONTENT_CU_SEQLENS_Q, b, b, (int)first, 0, p->total_q) ||
            !ATTN_FN(_within)(f, ATTN_CONTENT_CU_SEQLENS_Q, b, b + 1, p->cu_seqlens_q[b + 1], first,
                              end < p->total_q ? end : p->total_q))
            return;
        len_q = p->cu_seqlens_q[b + 1] - first;
    }
    if (ATTN_VARLEN && p->cu_seqlens_k) {
        const int64_t first = p->cu_seqlens_k[b];
        if (!ATTN_FN(_within)(f, ATTN_CONTENT_CU_SEQLENS_K, b, b, (int)first, 0, INT32_MAX) ||
            !ATTN_FN(_within)(f, ATTN_CONTENT_CU_SEQLENS_K, b, b + 1, p->cu_seqlens_k[b + 1], first, first + p->seq_k))
            return;
        len_k = p->cu_seqlens_k[b + 1] - first;
    }
    if (ATTN_PAGED && p->page_indptr) {
        const int64_t first = p->page_indptr[b], most = ((int64_t)p->seq_k + p->page_size - 1) / p->page_size;
        if (!ATTN_FN(_within)(f, ATTN_CONTENT_PAGE_INDPTR, b, b, (int)first, 0, INT32_MAX) ||
            !ATTN_FN(_within)(f, ATTN_CONTENT_PAGE_INDPTR, b, b + 1, p->page_indptr[b + 1], first, first + most))
            return;
        const int64_t full = (p->page_indptr[b + 1] - first - 1) * p->page_size, left = p->seq_k - full;
        len_k = 0;
        if (full >= 0) {
            if (!ATTN_FN(_within)(f, ATTN_CONTENT_LAST_PAGE_LEN, b, b, p->last_page_len[b], 1,
                                  left < p->page_size ? left : p->page_size))
                return;
            len_k = full + p->last_page_len[b];
        }
    }
    if ((ATTN_VARLEN || ATTN_PAGED) && p->seqused_k) {
        if (!ATTN_FN(_within)(f, ATTN_CONTENT_SEQUSED_K, b, b, p->seqused_k[b], 0, len_k))
            return;
        len_k = p->seqused_k[b];
    }
    if (ATTN_VARLEN && p->seqused_q &&
        !ATTN_FN(_within)(f, ATTN_CONTENT_SEQUSED_Q, b, b, p->seqused_q[b], 0, len_q))
        return;
    if (ATTN_PAGED && p->page_size) {
        const int64_t pages = (len_k + p->page_size - 1) / p->page_size, first = p->block_table ? 0 : p->page_indptr[b];
        const int32_t *table = p->block_table ? p->block_table + b * p->block_table_stride : p->page_indices + first;
        const int content = p->block_table ? ATTN_CONTENT_BLOCK_TABLE : ATTN_CONTENT_PAGE_INDICES;
        for (int64_t n = 0; n < pages; ++n)
            if (!ATTN_FN(_within)(f, content, b, first + n, table[n], 0, p->num_pages ? p->num_pages - 1 : INT32_MAX))
                return;
    }
}

/* One block: sequences in turn, then the first finding of all. */
ATTN_GLOBAL(ATTN_FN(_check_kernel), ATTN_FN(_check_args), ATTN_CHECK_THREADS, 1)
{
    ATTN_SHARED(smem);
    attn_finding *const all = (attn_finding *)(void *)smem;
    attn_finding own;
    memset(&own, 0, sizeof own);
    for (int b = (int)threadIdx.x; b < a.p.batch && !own.content; b += ATTN_CHECK_THREADS)
        ATTN_FN(_check_sequence)(&a.p, b, &own);
    all[threadIdx.x] = own;
    __syncthreads();
    if (threadIdx.x)
        return;
    for (int n = 1; n < ATTN_CHECK_THREADS; ++n)
        if (all[n].content && (!own.content || all[n].sequence < own.sequence))
            own = all[n];
    *a.found = own;
}

/* Waits for the stream: an instance with ATTN_DEBUG cannot be captured in a graph. */
static attn_status ATTN_FN(_check)(const attn_params *p, void *workspace, void *stream)
{
    ATTN_FN(_check_args) a;
    attn_finding found;
    a.p = *p;
    a.found = (attn_finding *)workspace;
    cudaError_t e = ATTN_LAUNCH(ATTN_FN(_check_kernel), 1, ATTN_CHECK_THREADS,
                                ATTN_CHECK_THREADS * (int)sizeof(attn_finding), stream, &a);
    if (e == cudaSuccess)
        e = cudaMemcpyAsync(&found, workspace, sizeof found, cudaMemcpyDeviceToHost, (cudaStream_t)stream);
    if (e == cudaSuccess)
        e = cudaStreamSynchronize((cudaStream_t)stream);
    return e != cudaSuccess ? ATTN_ERR_CUDA : found.content ? ATTN_ERR_ARG : ATTN_OK;
}

#undef ATTN_CHECK_THREADS
