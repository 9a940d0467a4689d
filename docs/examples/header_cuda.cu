/* header_cuda.cu - header mode on a GPU: two instances of your own, and the one that serves is picked at run time.
 *
 *     nvcc -O3 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
 *         -Iinclude docs/examples/header_cuda.cu && ./a.out
 *
 * Causal attention of bf16, 8 query heads on 2 KV heads, with logits of sinks.  Nothing is linked but the CUDA
 * runtime.  One kind of GPU is enough: -arch=sm_90a or -arch=sm_80 (and -arch=native on a GPU before Hopper). */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <attn/attn.cuh>
#include <attn/run.h>

enum { HEADS_Q = 8, HEADS_K = 2, TOKENS = 300 };
#define DIM 64 /* a macro, as the preprocessor must know it */

#define ATTN_NAME        my_hopper
#define ATTN_KERNEL      ATTN_KERNEL_FORWARD
#define ATTN_ARCH        ATTN_ARCH_SM90 /* TMA and wgmma: compute capability 9.0, code for sm_90a */
#define ATTN_DTYPE       ATTN_BF16
#define ATTN_HEAD_DIM    DIM
#define ATTN_CAUSAL      1
#define ATTN_SINK_LOGITS 1
#include <attn/attn.cuh>

#define ATTN_NAME        my_sm80 /* all names but this one are undefined after each include */
#define ATTN_KERNEL      ATTN_KERNEL_FORWARD
#define ATTN_ARCH        ATTN_ARCH_SM80 /* mma.sync: compute capability 8.0 and newer */
#define ATTN_DTYPE       ATTN_BF16
#define ATTN_HEAD_DIM    DIM
#define ATTN_CAUSAL      1
#define ATTN_SINK_LOGITS 1
#include <attn/attn.cuh>

/* The first that serves a call is taken: the best one comes first. */
static const attn_instance *const mine[] = { &my_hopper, &my_sm80 };
enum { MINE = sizeof mine / sizeof mine[0] };

/* The upper half of a float is a bf16. */
static uint16_t narrow(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static double wide(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* Memory that the host and kernels see. */
static void *take(size_t bytes)
{
    void *p = NULL;
    return cudaMallocManaged(&p, bytes, cudaMemAttachGlobal) == cudaSuccess ? p : NULL;
}

/* The largest error of a row of o, as it is defined. */
static double error_of(const attn_params *p, int i, int h)
{
    const uint16_t *q = (const uint16_t *)p->q.data + (i * HEADS_Q + h) * DIM;
    const int kv = h / (HEADS_Q / HEADS_K);
    double weight[TOKENS], sum = exp((double)p->sink_logits[h]), worst = 0;
    for (int j = 0; j <= i; j++) {
        const uint16_t *k = (const uint16_t *)p->k.data + (j * HEADS_K + kv) * DIM;
        double s = 0;
        for (int d = 0; d < DIM; d++)
            s += wide(q[d]) * wide(k[d]);
        sum += weight[j] = exp(s / sqrt((double)DIM));
    }
    for (int d = 0; d < DIM; d++) {
        double want = 0;
        for (int j = 0; j <= i; j++)
            want += weight[j] / sum * wide(((const uint16_t *)p->v.data)[(j * HEADS_K + kv) * DIM + d]);
        worst = fmax(worst, fabs(want - wide(((const uint16_t *)p->o.data)[(i * HEADS_Q + h) * DIM + d])));
    }
    return worst;
}

int main(void)
{
    const size_t rows_q = (size_t)TOKENS * HEADS_Q * DIM, rows_k = (size_t)TOKENS * HEADS_K * DIM;
    uint16_t *q = (uint16_t *)take(2 * rows_q), *k = (uint16_t *)take(2 * rows_k); /* [token, head, dim] */
    uint16_t *v = (uint16_t *)take(2 * rows_k), *o = (uint16_t *)take(2 * rows_q);
    float *sinks = (float *)take(HEADS_Q * sizeof *sinks);
    if (!q || !k || !v || !o || !sinks) {
        puts("no memory, or no GPU");
        return 1;
    }
    for (size_t n = 0; n < rows_q; n++)
        q[n] = narrow(2 * sinf((float)n * 0.7f));
    for (size_t n = 0; n < rows_k; n++) {
        k[n] = narrow(cosf((float)n * 1.3f));
        v[n] = narrow(sinf((float)n * 0.3f));
    }
    for (int h = 0; h < HEADS_Q; h++)
        sinks[h] = 0.5f * (float)h;

    attn_params p;
    memset(&p, 0, sizeof p); /* 0 is the default of every field */
    p.struct_size = sizeof p;
    p.batch = 1;
    p.heads_q = HEADS_Q;
    p.heads_k = HEADS_K;
    p.head_dim = DIM;
    p.seq_q = p.seq_k = TOKENS;
    p.q.data = q;
    p.q.dtype = ATTN_BF16;
    p.k.data = k;
    p.v.data = v;
    p.o.data = o;
    p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    p.sink_logits = sinks;

    attn_info info;
    attn_status status = attn_list_query(mine, MINE, &p, &info);
    if (status != ATTN_OK) {
        printf("%s: %s\n", attn_run_status_name(status), info.text);
        return 1;
    }
    void *workspace = info.workspace ? take(info.workspace) : NULL;
    cudaStream_t stream = 0;
    status = attn_list_forward(mine, MINE, &p, workspace, info.workspace, stream);
    if (cudaStreamSynchronize(stream) != cudaSuccess)
        status = ATTN_ERR_CUDA;

    double worst = 0;
    for (int h = 0; h < HEADS_Q; h++)
        for (int i = 0; i < TOKENS; i += 23)
            worst = fmax(worst, error_of(&p, i, h));
    printf("%s: %s, largest error %.1e\n", info.instance->name, attn_run_status_name(status), worst);
    cudaFree(q), cudaFree(k), cudaFree(v), cudaFree(o), cudaFree(sinks), cudaFree(workspace);
    return status != ATTN_OK || worst > 4e-3;
}
