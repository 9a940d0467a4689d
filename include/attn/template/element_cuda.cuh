/* element_cuda.cuh - elements of tensors whose type is known at run time, one by one and four or eight at a time.
 *
 * Included by append_simt.cuh and merge_simt.cuh, no guard.  Types are the same for all lanes of a launch, so a choice
 * among them costs a branch and no more. */

ATTN_DEVICE float ATTN_FN(_get)(const void *data, int64_t i, int dtype)
{
    if (dtype == ATTN_F32)
        return ((const float *)data)[i];
    const uint16_t x = ((const uint16_t *)data)[i];
    return dtype == ATTN_F16 ? attn__low_f16(x) : attn__low_bf16(x);
}

ATTN_DEVICE void ATTN_FN(_put)(void *data, int64_t i, int dtype, float x)
{
    if (dtype == ATTN_F32)
        ((float *)data)[i] = x;
    else
        ((uint16_t *)data)[i] = (uint16_t)(dtype == ATTN_F16 ? attn__pack_f16(x, 0.0f) : attn__pack_bf16(x, 0.0f));
}

/* Four from element i on, which is aligned to their bytes. */
ATTN_DEVICE void ATTN_FN(_get4)(const void *data, int64_t i, int dtype, float *x)
{
    if (dtype == ATTN_F32) {
        const float4 y = *(const float4 *)(const void *)((const float *)data + i);
        x[0] = y.x, x[1] = y.y, x[2] = y.z, x[3] = y.w;
        return;
    }
    const uint2 y = *(const uint2 *)(const void *)((const uint16_t *)data + i);
    x[0] = dtype == ATTN_F16 ? attn__low_f16(y.x) : attn__low_bf16(y.x);
    x[1] = dtype == ATTN_F16 ? attn__high_f16(y.x) : attn__high_bf16(y.x);
    x[2] = dtype == ATTN_F16 ? attn__low_f16(y.y) : attn__low_bf16(y.y);
    x[3] = dtype == ATTN_F16 ? attn__high_f16(y.y) : attn__high_bf16(y.y);
}

ATTN_DEVICE uint32_t ATTN_FN(_pair)(int dtype, float low, float high)
{
    return dtype == ATTN_F16 ? attn__pack_f16(low, high) : attn__pack_bf16(low, high);
}

ATTN_DEVICE void ATTN_FN(_put4)(void *data, int64_t i, int dtype, const float *x)
{
    if (dtype == ATTN_F32)
        *(float4 *)(void *)((float *)data + i) = make_float4(x[0], x[1], x[2], x[3]);
    else
        *(uint2 *)(void *)((uint16_t *)data + i) =
            make_uint2(ATTN_FN(_pair)(dtype, x[0], x[1]), ATTN_FN(_pair)(dtype, x[2], x[3]));
}

/* Eight, in pieces of 16 bytes. */
ATTN_DEVICE void ATTN_FN(_get8)(const void *data, int64_t i, int dtype, float *x)
{
    if (dtype == ATTN_F32) {
        ATTN_FN(_get4)(data, i, dtype, x);
        ATTN_FN(_get4)(data, i + 4, dtype, x + 4);
        return;
    }
    const uint4 y = *(const uint4 *)(const void *)((const uint16_t *)data + i);
    const uint32_t w[4] = { y.x, y.y, y.z, y.w };
    ATTN_UNROLL
    for (int n = 0; n < 4; ++n) {
        x[2 * n] = dtype == ATTN_F16 ? attn__low_f16(w[n]) : attn__low_bf16(w[n]);
        x[2 * n + 1] = dtype == ATTN_F16 ? attn__high_f16(w[n]) : attn__high_bf16(w[n]);
    }
}

ATTN_DEVICE void ATTN_FN(_put8)(void *data, int64_t i, int dtype, const float *x)
{
    if (dtype == ATTN_F32) {
        ATTN_FN(_put4)(data, i, dtype, x);
        ATTN_FN(_put4)(data, i + 4, dtype, x + 4);
    } else {
        *(uint4 *)(void *)((uint16_t *)data + i) =
            make_uint4(ATTN_FN(_pair)(dtype, x[0], x[1]), ATTN_FN(_pair)(dtype, x[2], x[3]),
                       ATTN_FN(_pair)(dtype, x[4], x[5]), ATTN_FN(_pair)(dtype, x[6], x[7]));
    }
}

/* Whether rows of `dim` elements can be moved in pieces of `elements` that begin at multiples of `bytes`: dims lie side
 * by side, in blocks of whole pieces at least. */
static int ATTN_FN(_in_pieces)(const attn_tensor *t, int dim, int elements, int bits, int bytes)
{
    const int64_t strides = t->stride[0] | t->stride[1] | t->stride[2] | (t->dim_block ? t->stride[3] : 0);
    return dim % elements == 0 && (t->dim_block ? t->dim_block % elements == 0 : t->stride[3] == 1) &&
           (uintptr_t)t->data % (unsigned)bytes == 0 && (uint64_t)strides * (unsigned)bits / 8 % (unsigned)bytes == 0 &&
           strides % elements == 0;
}
