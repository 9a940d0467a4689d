/* attnres_stack.c - a network of Block Attention Residuals, forward and backward: docs/attention-residuals.md.
 *
 *     cc attnres_stack.c $(pkg-config --cflags --libs --static attn) -lm && ./a.out
 *     cc -DWITH_CUDA -I/usr/local/cuda/include attnres_stack.c ... && ./a.out        on the GPU, if there is one
 *
 * 10 layers in blocks of 4.  Where a network has attention and MLPs, `layer` and `layer_backward` only rotate the
 * numbers of a tensor.  The gradients of the input and of the queries are held against differences of the loss. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/attn.h>
#ifdef WITH_CUDA
#include <cuda_runtime_api.h>
#endif

enum { LAYERS = 10, BLOCK = 4, BLOCKS = (LAYERS + BLOCK - 1) / BLOCK, TOKENS = 24, DIM = 64, ROW = TOKENS * DIM };

static int device = ATTN_DEVICE_CPU;
static void *workspace;
enum { WORKSPACE = 1 << 22 }; /* attn_res_query says what a call needs */

/* ---- memory, of the host or of the GPU --------------------------------------------------------------- */

static float *room(size_t floats)
{
    void *p = NULL;
#ifdef WITH_CUDA
    if (device == ATTN_DEVICE_CUDA)
        return cudaMalloc(&p, floats * sizeof(float)) == cudaSuccess ? p : NULL;
#endif
    p = aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64);
    return p ? p : (exit(1), NULL);
}

static void copy(float *to, const float *from, size_t floats)
{
#ifdef WITH_CUDA
    if (device == ATTN_DEVICE_CUDA) {
        cudaMemcpy(to, from, floats * sizeof(float), cudaMemcpyDefault);
        return;
    }
#endif
    memcpy(to, from, floats * sizeof(float));
}

static void zero(float *to, size_t floats)
{
#ifdef WITH_CUDA
    if (device == ATTN_DEVICE_CUDA) {
        cudaMemset(to, 0, floats * sizeof(float));
        return;
    }
#endif
    memset(to, 0, floats * sizeof(float));
}

/* ---- the calls -------------------------------------------------------------------------------------- */

typedef attn_status call(const attn_res_params *p, void *workspace, size_t bytes, void *stream);

static void run(call *f, int32_t kernel, const attn_res_params *p)
{
    attn_info info;
    if (attn_res_query(kernel, p, &info) != ATTN_OK || info.workspace > WORKSPACE) {
        puts(info.text[0] ? info.text : "workspace is too small");
        exit(1);
    }
    if (f(p, workspace, WORKSPACE, NULL) != ATTN_OK)
        exit(1);
}

static attn_res_params params(void)
{
    return (attn_res_params){.struct_size = sizeof(attn_res_params), .device = device, .tokens = TOKENS, .dim = DIM};
}

static attn_res_tensor f32(float *data)
{
    return (attn_res_tensor){.data = data, .dtype = ATTN_F32};
}

/* ---- the network ------------------------------------------------------------------------------------ */

typedef struct stack {
    float *block[BLOCKS + 1]; /* [TOKENS][DIM]: the input, then what each block of layers added up to */
    float *query;             /* [LAYERS + 1][DIM], the last one for the output */
    float *o1, *lse;          /* [BLOCK][TOKENS][DIM], [BLOCK][TOKENS]: phase 1 of a block */
    float *sum[BLOCK + 1];    /* of what the layers 0 .. i - 1 of a block gave */
    float *h, *update, *out;
    float *d_block[BLOCKS + 1], *d_query, *d_o1, *d_lse, *d_sum, *d_h, *d_out;
} stack;

/* update = f(h) of layer n, and from the gradient of the update that of h. */
static void layer(int n, float *update, const float *h)
{
    const size_t by = 17 * ((size_t)n + 1);
    copy(update, h + by, ROW - by);
    copy(update + ROW - by, h, by);
}

static void layer_backward(int n, float *d_h, const float *d_update)
{
    const size_t by = 17 * ((size_t)n + 1);
    copy(d_h + by, d_update, ROW - by);
    copy(d_h, d_update + ROW - by, by);
}

static int layers_of(int block)
{
    return LAYERS - block * BLOCK < BLOCK ? LAYERS - block * BLOCK : BLOCK;
}

static attn_res_params phase1(const stack *s, int blocks, int first_query, int queries)
{
    attn_res_params p = params();
    p.blocks = blocks;
    p.queries = queries;
    p.v.dtype = ATTN_F32;
    p.v_table = (const void *const *)s->block;
    p.w = f32(s->query + (size_t)first_query * DIM);
    p.o1 = f32(s->o1);
    p.lse = s->lse;
    return p;
}

static attn_res_params phase2(const stack *s, int query, int i, float *sum)
{
    attn_res_params p = params();
    p.p = f32(sum);
    p.w = f32(s->query + (size_t)query * DIM);
    p.o1 = f32(s->o1 + (size_t)i * ROW);
    p.lse = s->lse + i * TOKENS;
    return p;
}

/* Fills o1, lse and sum[] of one block; with `finish` the block itself.  The backward pass does it again, so that only
 * the blocks are kept between the two. */
static void forward_block(stack *s, int block, int finish)
{
    const int layers = layers_of(block), first = block * BLOCK;
    attn_res_params p = phase1(s, block + 1, first, layers);
    run(attn_res_phase1, ATTN_KERNEL_RES1, &p);
    layer(first, s->sum[1], s->o1); /* O1 of the first query is the first layer's input, its output the sum so far */
    for (int i = 1; i < layers; i++) {
        p = phase2(s, first + i, i, s->sum[i > 1 ? i - 1 : 1]);
        p.h = f32(s->h);
        if (i > 1) { /* sum[i] = sum[i - 1] + update in the same pass */
            p.update = f32(s->update);
            p.p_out = f32(s->sum[i]);
        }
        run(attn_res_phase2, ATTN_KERNEL_RES2, &p);
        layer(first + i, s->update, s->h);
    }
    if (!finish)
        return;
    p = params();
    p.p = f32(s->sum[layers > 1 ? layers - 1 : 1]);
    if (layers > 1)
        p.update = f32(s->update);
    p.p_out = f32(s->block[block + 1]);
    run(attn_res_phase2, ATTN_KERNEL_RES2, &p);
}

static void forward(stack *s)
{
    for (int block = 0; block < BLOCKS; block++)
        forward_block(s, block, 1);
    attn_res_params p = phase1(s, BLOCKS + 1, LAYERS, 1);
    p.o1 = f32(s->out);
    run(attn_res_phase1, ATTN_KERNEL_RES1, &p);
}

static attn_res_params phase1_backward(const stack *s, int blocks, int first_query, int queries, uint32_t flags)
{
    attn_res_params p = phase1(s, blocks, first_query, queries);
    p.flags = flags;
    p.dv.dtype = ATTN_F32;
    p.dv_table = (void *const *)s->d_block;
    p.dw = s->d_query + (size_t)first_query * DIM;
    return p;
}

/* From d_out to d_block[0], the gradient of the input, and d_query.  Follows forward(), whose lse of the output is
 * still there. */
static void backward(stack *s)
{
    attn_res_params p = phase1_backward(s, BLOCKS + 1, LAYERS, 1, 0);
    p.do1 = f32(s->d_out);
    run(attn_res_phase1_backward, ATTN_KERNEL_RES1_BACKWARD, &p);
    zero(s->d_query, (size_t)LAYERS * DIM); /* two calls add to the gradient of a query */
    for (int block = BLOCKS - 1; block >= 0; block--) {
        const int layers = layers_of(block), first = block * BLOCK;
        forward_block(s, block, 0);
        copy(s->d_sum, s->d_block[block + 1], ROW);
        for (int i = layers - 1; i > 0; i--) {
            layer_backward(first + i, s->d_h, s->d_sum);
            p = phase2(s, first + i, i, s->sum[i]);
            p.flags = ATTN_RES_ADD_DP | ATTN_RES_ADD_DW;
            p.dh = f32(s->d_h);
            p.dp = f32(s->d_sum);
            p.do1 = f32(s->d_o1 + (size_t)i * ROW);
            p.dlse = s->d_lse + i * TOKENS;
            p.dw = s->d_query + (size_t)(first + i) * DIM;
            run(attn_res_phase2_backward, ATTN_KERNEL_RES2_BACKWARD, &p);
        }
        layer_backward(first, s->d_o1, s->d_sum);
        zero(s->d_lse, TOKENS); /* the first query has no phase 2 */
        p = phase1_backward(s, block + 1, first, layers, ATTN_RES_ADD_DV | ATTN_RES_ADD_DW);
        p.do1 = f32(s->d_o1);
        p.dlse = s->d_lse;
        run(attn_res_phase1_backward, ATTN_KERNEL_RES1_BACKWARD, &p);
    }
}

/* ---- is it right? ----------------------------------------------------------------------------------- */

static float number(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 23) - 1;
}

static double loss(stack *s, const float *input, const float *query, const float *d_out)
{
    static float out[ROW];
    double sum = 0;
    copy(s->block[0], input, ROW);
    copy(s->query, query, (LAYERS + 1) * DIM);
    forward(s);
    copy(out, s->out, ROW);
    for (int i = 0; i < ROW; i++)
        sum += (double)out[i] * (double)d_out[i];
    return sum;
}

static int differs(const char *what, double gradient, double difference)
{
    printf("%s: %.6f, by differences %.6f\n", what, gradient, difference);
    return fabs(gradient - difference) > 5e-3 * (1 + fabs(difference));
}

int main(void)
{
    static float input[ROW], query[(LAYERS + 1) * DIM], d_out[ROW], d_input[ROW], d_query[(LAYERS + 1) * DIM];
    stack s;
    int wrong = 0;
#ifdef WITH_CUDA
    attn_device found;
    if (attn_query_device(&found) == ATTN_OK)
        device = ATTN_DEVICE_CUDA;
#endif
    for (int n = 0; n <= BLOCKS; n++) {
        s.block[n] = room(ROW);
        s.d_block[n] = room(ROW);
    }
    for (int n = 0; n <= BLOCK; n++)
        s.sum[n] = room(ROW);
    s.query = room((LAYERS + 1) * DIM), s.d_query = room((LAYERS + 1) * DIM);
    s.o1 = room(BLOCK * ROW), s.d_o1 = room(BLOCK * ROW);
    s.lse = room(BLOCK * TOKENS), s.d_lse = room(BLOCK * TOKENS);
    s.h = room(ROW), s.update = room(ROW), s.out = room(ROW);
    s.d_h = room(ROW), s.d_sum = room(ROW), s.d_out = room(ROW);
    workspace = room(WORKSPACE / sizeof(float));

    for (int i = 0; i < ROW; i++) {
        input[i] = number();
        d_out[i] = number();
    }
    for (int i = 0; i < (LAYERS + 1) * DIM; i++)
        query[i] = number() / 4;
    loss(&s, input, query, d_out);
    copy(s.d_out, d_out, ROW);
    backward(&s);
    copy(d_input, s.d_block[0], ROW);
    copy(d_query, s.d_query, (LAYERS + 1) * DIM);

    const int at[] = {0, 7 * DIM + 3, ROW - 1}, of[] = {5 * DIM + 1, 9 * DIM + 2, LAYERS * DIM + 3};
    for (int n = 0; n < 3; n++) {
        const float by = 1.0f / 64;
        float was = input[at[n]];
        input[at[n]] = was + by;
        double up = loss(&s, input, query, d_out);
        input[at[n]] = was - by;
        wrong += differs("input", (double)d_input[at[n]], (up - loss(&s, input, query, d_out)) / (2 * (double)by));
        input[at[n]] = was;

        const int q = of[n];
        was = query[q];
        query[q] = was + by;
        up = loss(&s, input, query, d_out);
        query[q] = was - by;
        wrong += differs("query", (double)d_query[q], (up - loss(&s, input, query, d_out)) / (2 * (double)by));
        query[q] = was;
    }
    puts(device == ATTN_DEVICE_CUDA ? "on the GPU" : "on the CPU");
    return wrong != 0;
}
