/* res_cuda.cuh - what the CUDA templates of Attention Residuals share: arguments, rows of any type by 8 elements, sums
 * of a warp, and the second stage of dw.
 *
 * Included by res1_simt.cuh, res2_simt.cuh and res1_sm80.cuh first of all, no guard;
 * res_end_cuda.cuh undoes it.
 *
 * dw is a sum over all tokens.  Each block, or each group of warps in it, adds up its own tokens in their order, in
 * registers or in a part of its own in memory; then a second kernel adds the parts in their order.  So there is no
 * atomic, and the bits are the same in every run on a device. */

#include <math.h>
#include <string.h>
#include <attn/device/cuda.cuh>
#include <attn/device/math.cuh>
#include <attn/template/device_cuda.cuh>

#define ATTN_LOG2E 1.44269504088896340736f
#define ATTN_LN2   0.69314718055994530942f
#define ATTN_THREADS (32 * ATTN_WARPS)
#define ATTN_RES_BACKWARD (ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD || ATTN_KERNEL == ATTN_KERNEL_RES2_BACKWARD)
#define ATTN_RES_PHASE1 (ATTN_KERNEL == ATTN_KERNEL_RES1 || ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD)
#define ATTN_RES_TABLE (ATTN_RES_PHASE1 ? ATTN_TILE_K : 1)

/* Tensors whose rows can be read and written by 16 bytes. */
enum {
    ATTN_FN(_wide_v) = 1,
    ATTN_FN(_wide_p) = 2,
    ATTN_FN(_wide_w) = 4,
    ATTN_FN(_wide_gain) = 8,
    ATTN_FN(_wide_o1) = 16,
    ATTN_FN(_wide_update) = 32,
    ATTN_FN(_wide_p_out) = 64,
    ATTN_FN(_wide_block) = 128,
    ATTN_FN(_wide_h) = 256,
    ATTN_FN(_wide_norm) = 512,
    ATTN_FN(_wide_norm_gain) = 1024,
    ATTN_FN(_wide_do1) = 2048,
    ATTN_FN(_wide_dv) = 4096,
    ATTN_FN(_wide_dh) = 8192,
    ATTN_FN(_wide_dp) = 16384
};

/* What a kernel gets. */
typedef struct ATTN_FN(_args) {
    attn_res_params p;
    const void *v[ATTN_RES_TABLE]; /* where row 0 of each block begins */
    void *dv[ATTN_RES_TABLE];
    int32_t wide;
    int32_t group;  /* gradient of phase 2: warps of a token */
    int64_t from;   /* tokens of earlier launches */
    int32_t stages; /* tokens in shared memory; of tensor cores: strips of a warp */
    int32_t stage_bytes;
    int32_t low;    /* the lower halves of w are kept, too */
    int32_t plain;  /* results (phase 2: rows, too) are of the instance's type, by 16 bytes */
    int64_t parts;  /* sums of dw; 0: it is not wanted */
    float *part;    /* [parts][S][R] */
    int32_t quick;  /* phase 2: w is of the instance's type, by 16 bytes, without a gain */
    float per_key, per_dim; /* 1 / their length */
} ATTN_FN(_args);

/* Are the rows of x so?  Of a tensor that is absent it does not matter. */
static int ATTN_FN(_is_wide)(const attn_res_tensor *x, const void *data)
{
    const int64_t size = x->dtype == ATTN_F32 ? 4 : 2;
    return (uintptr_t)data % 16 == 0 && x->stride[0] * size % 16 == 0 && x->stride[1] * size % 16 == 0;
}

static void ATTN_FN(_describe)(const attn_res_params *p, ATTN_FN(_args) *a)
{
    const attn_res_tensor *const tensors[15] = { &p->v,    &p->p,         &p->w,   &p->gain, &p->o1,
                                                 &p->update, &p->p_out,   &p->block, &p->h,  &p->norm,
                                                 &p->norm_gain, &p->do1,  &p->dv,  &p->dh,   &p->dp };
    memset(a, 0, sizeof *a);
    a->p = *p;
    a->per_key = 1.0f / (float)p->key_dim;
    a->per_dim = 1.0f / (float)p->dim;
    for (int i = 0; i < 15; ++i)
        if (ATTN_FN(_is_wide)(tensors[i], tensors[i]->data))
            a->wide |= 1 << i;
    for (int n = 0; n < p->blocks && ATTN_RES_PHASE1; ++n) {
        const int64_t size = p->v.dtype == ATTN_F32 ? 4 : 2, size_dv = p->dv.dtype == ATTN_F32 ? 4 : 2;
        a->v[n] = p->v_table ? p->v_table[n] : (const char *)p->v.data + n * p->v.stride[0] * size;
        if (p->dv_table)
            a->dv[n] = p->dv_table[n];
        else if (p->dv.data)
            a->dv[n] = (char *)p->dv.data + n * p->dv.stride[0] * size_dv;
        if (p->v_table && (uintptr_t)p->v_table[n] % 16)
            a->wide &= ~ATTN_FN(_wide_v);
        if (p->dv_table && (uintptr_t)p->dv_table[n] % 16)
            a->wide &= ~ATTN_FN(_wide_dv);
    }
}

#if ATTN_KERNEL != ATTN_KERNEL_RES2
static int64_t ATTN_FN(_multiprocessors)(void)
{
    attn_device d;
    ATTN_FN(_device)(&d);
    return d.sms ? d.sms : 1;
}
#endif

/* Blocks of a launch that has work for `most`. */
static unsigned ATTN_FN(_grid)(int64_t most, int64_t wanted)
{
    const int64_t n = most < wanted ? most : wanted;
    return (unsigned)(n < ATTN_GRID_MOST ? n : ATTN_GRID_MOST);
}

/* The token that is the n-th to be taken; any number for those that there are not. */
ATTN_DEVICE int64_t ATTN_FN(_token)(const ATTN_FN(_args) *a, int64_t n)
{
    return a->p.flags & ATTN_RES_FROM_LAST ? a->p.tokens - 1 - n : n;
}

/* ---- rows of any type, by 8 elements -------------------------------------------------------------- */

/* As they lie in memory, in registers: loads that nothing waits for yet. */
typedef struct ATTN_FN(_raw) {
    uint4 x[2]; /* the second for f32 alone */
} ATTN_FN(_raw);

/* Elements at, at + 1, ... of data. */
ATTN_DEVICE void ATTN_FN(_fetch)(const void *data, int64_t at, int dtype, int wide, ATTN_FN(_raw) *raw)
{
    if (wide && dtype == ATTN_F32) {
        raw->x[0] = *(const uint4 *)(const void *)((const float *)data + at);
        raw->x[1] = *(const uint4 *)(const void *)((const float *)data + at + 4);
    } else if (wide) {
        raw->x[0] = *(const uint4 *)(const void *)((const uint16_t *)data + at);
    } else if (dtype == ATTN_F32) {
        const uint32_t *from = (const uint32_t *)data + at;
        raw->x[0] = make_uint4(from[0], from[1], from[2], from[3]);
        raw->x[1] = make_uint4(from[4], from[5], from[6], from[7]);
    } else {
        const uint16_t *from = (const uint16_t *)data + at;
        raw->x[0] = make_uint4(from[0] | (uint32_t)from[1] << 16, from[2] | (uint32_t)from[3] << 16,
                               from[4] | (uint32_t)from[5] << 16, from[6] | (uint32_t)from[7] << 16);
    }
}

ATTN_DEVICE void ATTN_FN(_open)(const ATTN_FN(_raw) *raw, int dtype, float *x)
{
    const uint32_t word[8] = { raw->x[0].x, raw->x[0].y, raw->x[0].z, raw->x[0].w,
                               raw->x[1].x, raw->x[1].y, raw->x[1].z, raw->x[1].w };
    if (dtype == ATTN_F32) {
        ATTN_UNROLL
        for (int d = 0; d < 8; ++d)
            x[d] = __uint_as_float(word[d]);
        return;
    }
    ATTN_UNROLL
    for (int d = 0; d < 4; ++d) {
        x[2 * d] = dtype == ATTN_F16 ? attn__low_f16(word[d]) : attn__low_bf16(word[d]);
        x[2 * d + 1] = dtype == ATTN_F16 ? attn__high_f16(word[d]) : attn__high_bf16(word[d]);
    }
}

/* Both. */
ATTN_DEVICE void ATTN_FN(_load)(const void *data, int64_t at, int dtype, int wide, float *x)
{
    ATTN_FN(_raw) raw;
    raw.x[1] = make_uint4(0, 0, 0, 0);
    ATTN_FN(_fetch)(data, at, dtype, wide, &raw);
    ATTN_FN(_open)(&raw, dtype, x);
}

ATTN_DEVICE uint32_t ATTN_FN(_pack)(float low, float high, int dtype)
{
    return dtype == ATTN_F16 ? attn__pack_f16(low, high) : attn__pack_bf16(low, high);
}

ATTN_DEVICE void ATTN_FN(_store)(void *data, int64_t at, int dtype, int wide, const float *x)
{
    if (dtype == ATTN_F32) {
        float *to = (float *)data + at;
        if (wide) {
            *(float4 *)to = make_float4(x[0], x[1], x[2], x[3]);
            *(float4 *)(to + 4) = make_float4(x[4], x[5], x[6], x[7]);
        } else {
            ATTN_UNROLL
            for (int d = 0; d < 8; ++d)
                to[d] = x[d];
        }
        return;
    }
    uint16_t *to = (uint16_t *)data + at;
    uint32_t pair[4];
    ATTN_UNROLL
    for (int d = 0; d < 4; ++d)
        pair[d] = ATTN_FN(_pack)(x[2 * d], x[2 * d + 1], dtype);
    if (wide) {
        *(uint4 *)(void *)to = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    } else {
        ATTN_UNROLL
        for (int d = 0; d < 4; ++d) {
            to[2 * d] = (uint16_t)pair[d];
            to[2 * d + 1] = (uint16_t)(pair[d] >> 16);
        }
    }
}

/* dv and dp: stores x, or adds it to what is there. */
ATTN_DEVICE void ATTN_FN(_put)(void *data, int64_t at, int dtype, int wide, int add, const float *x)
{
    float y[8];
    if (add)
        ATTN_FN(_load)(data, at, dtype, wide, y);
    ATTN_UNROLL
    for (int d = 0; d < 8; ++d)
        y[d] = add ? y[d] + x[d] : x[d];
    ATTN_FN(_store)(data, at, dtype, wide, y);
}

/* x as it is after being stored and read again. */
ATTN_DEVICE void ATTN_FN(_round)(float *x, int dtype)
{
    if (dtype == ATTN_F32)
        return;
    ATTN_UNROLL
    for (int d = 0; d < 8; d += 2) {
        const uint32_t pair = ATTN_FN(_pack)(x[d], x[d + 1], dtype);
        x[d] = dtype == ATTN_F16 ? attn__low_f16(pair) : attn__low_bf16(pair);
        x[d + 1] = dtype == ATTN_F16 ? attn__high_f16(pair) : attn__high_bf16(pair);
    }
}

/* Elements d ... of w[s] times the gain. */
ATTN_DEVICE void ATTN_FN(_load_w)(const ATTN_FN(_args) *a, int s, int d, float *x)
{
    float g[8];
    ATTN_FN(_load)(a->p.w.data, s * a->p.w.stride[0] + d, a->p.w.dtype, a->wide & ATTN_FN(_wide_w), x);
    if (!a->p.gain.data)
        return;
    ATTN_FN(_load)(a->p.gain.data, d, a->p.gain.dtype, a->wide & ATTN_FN(_wide_gain), g);
    ATTN_UNROLL
    for (int i = 0; i < 8; ++i)
        x[i] *= g[i];
}

ATTN_DEVICE float ATTN_FN(_warp_sum)(float x)
{
    ATTN_UNROLL
    for (int mask = 16; mask; mask >>= 1)
        x += attn__shuffle_xor(x, mask);
    return x;
}

ATTN_DEVICE float ATTN_FN(_warp_most)(float x)
{
    ATTN_UNROLL
    for (int mask = 16; mask; mask >>= 1) {
        const float y = attn__shuffle_xor(x, mask);
        x = x > y || x != x ? x : y; /* a NaN stays */
    }
    return x;
}

/* 1 / (1 + e^x) */
ATTN_DEVICE float ATTN_FN(_sigmoid_minus)(float x)
{
    return attn__reciprocal(1.0f + attn__exp2(x * ATTN_LOG2E));
}

#if ATTN_RES_BACKWARD
/* ---- the second stage of dw ----------------------------------------------------------------------- */

#define ATTN_FINISH_COLUMNS 32
#define ATTN_FINISH_SLICES  32

/* A block has 32 columns of one query, or of all of them if there is a gain whose gradient is their sum. */
ATTN_GLOBAL(ATTN_FN(_finish_kernel), ATTN_FN(_args), ATTN_FINISH_COLUMNS * ATTN_FINISH_SLICES, 1)
{
    ATTN_SHARED(shared);
    float *const sum = (float *)(void *)shared;
    const int column = (int)threadIdx.x % ATTN_FINISH_COLUMNS, slice = (int)threadIdx.x / ATTN_FINISH_COLUMNS;
    const int key = a.p.key_dim, columns = (key + ATTN_FINISH_COLUMNS - 1) / ATTN_FINISH_COLUMNS;
    const int queries = a.p.queries, together = a.p.dgain != NULL, add = (a.p.flags & ATTN_RES_ADD_DW) != 0;
    for (int64_t n = blockIdx.x; n < (together ? 1 : queries) * (int64_t)columns; n += gridDim.x) {
        const int d = (int)(n % columns) * ATTN_FINISH_COLUMNS + column, s0 = (int)(n / columns);
        float dgain = 0.0f;
        for (int s = s0; s < (together ? queries : s0 + 1); ++s) {
            float x = 0.0f;
            if (d < key) {
                ATTN_UNROLL_4
                for (int64_t i = slice; i < a.parts; i += ATTN_FINISH_SLICES)
                    x += a.part[(i * queries + s) * key + d];
            }
            sum[slice * ATTN_FINISH_COLUMNS + column] = x;
            __syncthreads();
            if (slice == 0 && d < key) {
                const int64_t w = s * a.p.w.stride[0] + d;
                float gain = 1.0f;
                for (int i = 1; i < ATTN_FINISH_SLICES; ++i)
                    x += sum[i * ATTN_FINISH_COLUMNS + column];
                if (a.p.gain.data)
                    gain = a.p.gain.dtype == ATTN_F32   ? ((const float *)a.p.gain.data)[d]
                           : a.p.gain.dtype == ATTN_F16 ? attn__low_f16(((const uint16_t *)a.p.gain.data)[d])
                                                        : attn__low_bf16(((const uint16_t *)a.p.gain.data)[d]);
                if (together)
                    dgain += x * (a.p.w.dtype == ATTN_F32   ? ((const float *)a.p.w.data)[w]
                                  : a.p.w.dtype == ATTN_F16 ? attn__low_f16(((const uint16_t *)a.p.w.data)[w])
                                                            : attn__low_bf16(((const uint16_t *)a.p.w.data)[w]));
                if (a.p.dw) {
                    float *to = a.p.dw + s * a.p.dw_stride + d;
                    *to = add ? *to + x * gain : x * gain;
                }
            }
            __syncthreads();
        }
        if (together && slice == 0 && d < key)
            a.p.dgain[d] = add ? a.p.dgain[d] + dgain : dgain;
    }
}

static cudaError_t ATTN_FN(_finish)(ATTN_FN(_args) *a, void *stream)
{
    const int64_t columns = (a->p.key_dim + ATTN_FINISH_COLUMNS - 1) / ATTN_FINISH_COLUMNS;
    if (!a->parts)
        return cudaSuccess;
    return ATTN_LAUNCH(ATTN_FN(_finish_kernel), ATTN_FN(_grid)((a->p.dgain ? 1 : a->p.queries) * columns, INT32_MAX),
                       ATTN_FINISH_COLUMNS * ATTN_FINISH_SLICES,
                       (int)sizeof(float) * ATTN_FINISH_COLUMNS * ATTN_FINISH_SLICES, stream, a);
}

#elif ATTN_RES_PHASE1
static cudaError_t ATTN_FN(_finish)(ATTN_FN(_args) *a, void *stream)
{
    (void)a;
    (void)stream;
    return cudaSuccess;
}
#endif

static size_t ATTN_FN(_part_bytes)(const attn_res_params *p, int64_t parts)
{
    return ATTN_RES_BACKWARD && (p->dw || p->dgain)
               ? sizeof(float) * (size_t)parts * (size_t)p->queries * (size_t)p->key_dim
               : 0;
}

/* The workspace has `parts` sums of dw, if it is wanted. */
static void ATTN_FN(_start)(const attn_res_params *p, void *workspace, int64_t parts, ATTN_FN(_args) *a)
{
    ATTN_FN(_describe)(p, a);
    if (ATTN_FN(_part_bytes)(p, parts)) {
        a->part = (float *)workspace;
        a->parts = parts;
    }
}
