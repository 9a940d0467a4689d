/* serve.c - a serving loop: a paged cache of 8-bit K and V, prefill of two prompts, then decode, step by step.
 *
 *     cc -std=c11 -O2 docs/examples/serve.c $(pkg-config --cflags --libs --static attn) -lm && ./a.out
 *     cc -std=c11 -O2 -DSERVE_CUDA docs/examples/serve.c ... the same, on a GPU: decode is a captured graph
 *
 * What a model computes for a token is made up here; all else is what a server does.  attn_append_kv rotates and
 * quantises new keys and values, writes them to their pages with their scales, and rotates q; attn_forward reads the
 * cache as it is.  Both get the same attn_params. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/attn.h>

#ifdef SERVE_CUDA
#include <cuda_runtime_api.h>
static cudaStream_t stream;
#else
static void *const stream = NULL;
#endif

enum { SEQUENCES = 2, HEADS_Q = 6, HEADS_K = 2, DIM = 64, PAGE = 16, PAGES = 24, MOST_PAGES = 10, STEPS = 8 };
enum { MOST = MOST_PAGES * PAGE, ROWS = SEQUENCES * MOST }; /* tokens of a sequence; rows of a prefill */

/* Memory that host and kernels both see: of the host, or managed by CUDA. */
static void *take(size_t bytes)
{
    void *p = NULL;
    bytes = (bytes + 63) / 64 * 64;
#ifdef SERVE_CUDA
    if (cudaMallocManaged(&p, bytes, cudaMemAttachGlobal) != cudaSuccess)
        p = NULL;
#else
    p = aligned_alloc(64, bytes);
#endif
    if (!p) {
        puts("no memory");
        exit(1);
    }
    memset(p, 0, bytes);
    return p;
}

static void wait(void)
{
#ifdef SERVE_CUDA
    cudaStreamSynchronize(stream);
#endif
}

/* ---- the cache, allocated once ---------------------------------------------------------------------------------- */

static int8_t *k_cache, *v_cache; /* [PAGES][PAGE][HEADS_K][DIM], int8 */
static float *k_scale, *v_scale;   /* [PAGES][PAGE][HEADS_K]: one of each token and head */
static int32_t *block_table;       /* [SEQUENCES][MOST_PAGES] */
static int32_t *length;            /* [SEQUENCES] tokens in the cache, those of this step too */
static int32_t *first;             /* [SEQUENCES + 1] rows of this step */

/* ---- the rows of a step ------------------------------------------------------------------------------------------ */

static float *q, *q_rotated, *o; /* [ROWS][HEADS_Q][DIM] */
static float *k, *v;             /* [ROWS][HEADS_K][DIM] */
static void *workspace;
static size_t workspace_bytes;

/* What a model would compute for a token; any function will do. */
static float number(int what, int sequence, int position, int head, int dim)
{
    return 2 * sinf((float)(what * 7 + sequence * 3 + position * 5 + head * 11) * 0.37f + (float)dim * 1.7f);
}

/* The next token of a sequence goes into a row; the sequence is longer by one from here on. */
static void add_token(int sequence, int row)
{
    const int position = length[sequence]++;
    for (int d = 0; d < DIM; d++) {
        for (int h = 0; h < HEADS_K; h++) {
            k[(row * HEADS_K + h) * DIM + d] = number(1, sequence, position, h, d);
            v[(row * HEADS_K + h) * DIM + d] = number(2, sequence, position, h, d);
        }
        for (int h = 0; h < HEADS_Q; h++)
            q[(row * HEADS_Q + h) * DIM + d] = number(3, sequence, position, h, d);
    }
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Up to `longest` rows of each sequence, `rows` in all: nothing else of a call changes from step to step. */
static void describe(int longest, int rows, attn_params *p, attn_append_params *a)
{
    memset(p, 0, sizeof *p);
    p->struct_size = sizeof *p;
#ifdef SERVE_CUDA
    p->device = ATTN_DEVICE_CUDA;
#else
    p->device = ATTN_DEVICE_CPU;
#endif
    p->batch = SEQUENCES;
    p->heads_q = HEADS_Q;
    p->heads_k = HEADS_K;
    p->head_dim = DIM;
    p->seq_q = longest;
    p->total_q = rows;
    p->cu_seqlens_q = first;
    p->q.data = q;
    p->q.dtype = ATTN_F32;
    p->o.data = o;
    p->causal = ATTN_CAUSAL_BOTTOM_RIGHT;

    p->seq_k = MOST; /* the most that the table can hold; seqused_k says how many there are */
    p->seqused_k = length;
    p->page_size = PAGE;
    p->num_pages = PAGES;
    p->block_table = block_table;
    p->block_table_stride = MOST_PAGES;
    p->k.data = k_cache;
    p->v.data = v_cache;
    p->k.dtype = p->v.dtype = ATTN_INT8;
    p->k_scale.scale = k_scale;
    p->v_scale.scale = v_scale;
    const int64_t stride[4] = {PAGE * HEADS_K, HEADS_K, 1, 0}; /* page, token, head, group of dims */
    memcpy(p->k_scale.stride, stride, sizeof stride);
    memcpy(p->v_scale.stride, stride, sizeof stride);
    p->rope_style = ATTN_ROPE_HALF_SPLIT;

    memset(a, 0, sizeof *a);
    a->struct_size = sizeof *a;
    a->flags = ATTN_APPEND_SCALES;
    a->k.data = k;
    a->v.data = v;
    a->q.data = q_rotated;
}

/* What is launched: two kernels, or three.  Nothing here waits, allocates or reads a length. */
static attn_status step(const attn_params *p, const attn_append_params *a)
{
    attn_params rotated = *p;
    attn_status status = attn_append_kv(p, a, stream);
    rotated.q.data = q_rotated;
    rotated.rope_style = ATTN_ROPE_NONE;
    return status == ATTN_OK ? attn_forward(&rotated, workspace, workspace_bytes, stream) : status;
}

/* Once for each shape of a call: why it would be refused, and how much workspace it wants. */
static int prepare(const attn_params *p, const attn_append_params *a)
{
    attn_params rotated = *p;
    attn_info info;
    char text[400];
    rotated.rope_style = ATTN_ROPE_NONE;
    if (attn_append_explain(p, a, text, sizeof text) != ATTN_OK) {
        puts(text);
        return 1;
    }
    if (attn_query(&rotated, &info) != ATTN_OK) {
        puts(info.text);
        return 1;
    }
    if (info.workspace > workspace_bytes) {
        workspace_bytes = info.workspace;
        workspace = take(workspace_bytes);
    }
    return 0;
}

/* ---- the newest row of a sequence, as it is defined -------------------------------------------------------------- */

static void rotate(int position, double x[DIM])
{
    for (int n = 0; n < DIM / 2; n++) {
        const double angle = position * pow(10000, -2.0 * n / DIM), a = x[n], b = x[n + DIM / 2];
        x[n] = a * cos(angle) - b * sin(angle);
        x[n + DIM / 2] = b * cos(angle) + a * sin(angle);
    }
}

static double error_of(int sequence, int row)
{
    const int keys = length[sequence];
    double worst = 0;
    for (int h = 0; h < HEADS_Q; h++) {
        double p[MOST], x[DIM], y[DIM], sum = 0;
        const int g = h / (HEADS_Q / HEADS_K);
        for (int d = 0; d < DIM; d++)
            x[d] = (double)number(3, sequence, keys - 1, h, d);
        rotate(keys - 1, x);
        for (int j = 0; j < keys; j++) {
            double s = 0;
            for (int d = 0; d < DIM; d++)
                y[d] = (double)number(1, sequence, j, g, d);
            rotate(j, y);
            for (int d = 0; d < DIM; d++)
                s += x[d] * y[d];
            sum += p[j] = exp(s / sqrt(DIM));
        }
        for (int d = 0; d < DIM; d++) {
            double want = 0;
            for (int j = 0; j < keys; j++)
                want += p[j] / sum * (double)number(2, sequence, j, g, d);
            worst = fmax(worst, fabs(want - (double)o[(row * HEADS_Q + h) * DIM + d]));
        }
    }
    return worst;
}

int main(void)
{
    static const int prompt[SEQUENCES] = {37, 100};
    attn_params p;
    attn_append_params a;
    double worst = 0;
#ifdef SERVE_CUDA
    cudaGraph_t graph;
    cudaGraphExec_t decode = NULL;
    cudaStreamCreate(&stream);
#endif
    k_cache = take(PAGES * PAGE * HEADS_K * DIM);
    v_cache = take(PAGES * PAGE * HEADS_K * DIM);
    k_scale = take(PAGES * PAGE * HEADS_K * sizeof *k_scale);
    v_scale = take(PAGES * PAGE * HEADS_K * sizeof *v_scale);
    block_table = take(SEQUENCES * MOST_PAGES * sizeof *block_table);
    length = take(SEQUENCES * sizeof *length);
    first = take((SEQUENCES + 1) * sizeof *first);
    q = take(ROWS * HEADS_Q * DIM * sizeof *q);
    q_rotated = take(ROWS * HEADS_Q * DIM * sizeof *q);
    o = take(ROWS * HEADS_Q * DIM * sizeof *o);
    k = take(ROWS * HEADS_K * DIM * sizeof *k);
    v = take(ROWS * HEADS_K * DIM * sizeof *v);
    for (int n = 0; n < SEQUENCES * MOST_PAGES; n++)
        block_table[n] = n * 7 % PAGES; /* pages lie anywhere */

    /* Prefill: all tokens of both prompts in one call. */
    for (int n = 0; n < SEQUENCES; n++) {
        first[n + 1] = first[n] + prompt[n];
        for (int t = 0; t < prompt[n]; t++)
            add_token(n, first[n] + t);
    }
    describe(prompt[1], first[SEQUENCES], &p, &a);
    if (prepare(&p, &a) || step(&p, &a) != ATTN_OK)
        return 1;
    wait();
    for (int n = 0; n < SEQUENCES; n++)
        worst = fmax(worst, error_of(n, first[n + 1] - 1));

    /* Decode: one token of each sequence a step.  The call is always the same; what memory holds is not. */
    describe(1, SEQUENCES, &p, &a);
    if (prepare(&p, &a))
        return 1;
    for (int count = 0; count < STEPS; count++) {
        for (int n = 0; n < SEQUENCES; n++) {
            first[n + 1] = n + 1;
            add_token(n, n);
        }
#ifdef SERVE_CUDA
        if (!decode) {
            attn_status status;
            cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
            status = step(&p, &a);
            cudaStreamEndCapture(stream, &graph);
            if (status != ATTN_OK || cudaGraphInstantiate(&decode, graph, 0) != cudaSuccess)
                return 1;
        }
        cudaGraphLaunch(decode, stream);
#else
        if (step(&p, &a) != ATTN_OK)
            return 1;
#endif
        wait();
        for (int n = 0; n < SEQUENCES; n++)
            worst = fmax(worst, error_of(n, n));
    }
    printf("attn %s: prefill of %d and %d tokens, %d steps of decode on an int8 cache, largest error %.3f\n",
           attn_version(), prompt[0], prompt[1], (int)STEPS, worst);
    return worst > 0.05;
}
