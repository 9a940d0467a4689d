/* math.cuh - the emulator's twin of include/attn/device/math.cuh, which says what each of these does.
 *
 * Exact where a GPU is; the approximate functions are the C library's, which err less.  C11. */
#ifndef ATTN_DEVICE_MATH_CUH
#define ATTN_DEVICE_MATH_CUH

#include <attn/device/convert.h>
#include <attn/device/cuda.cuh>

ATTN_DEVICE float attn__exp2(float x)
{
    const float y = exp2f(x);
    return y < 0x1p-126f ? 0.0f : y;
}

ATTN_DEVICE float attn__log2(float x)
{
    return log2f(fabsf(x) < 0x1p-126f ? 0.0f : x);
}

ATTN_DEVICE float attn__reciprocal(float x)
{
    const float y = 1.0f / (fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x);
    return fabsf(y) < 0x1p-126f ? copysignf(0.0f, y) : y;
}

ATTN_DEVICE float attn__inverse_root(float x)
{
    return 1.0f / sqrtf(fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x);
}

ATTN_DEVICE float attn__tanh(float x)
{
    return 1.0f - 2.0f * attn__reciprocal(1.0f + attn__exp2(x * 2.88539008177792681472f));
}

ATTN_DEVICE float attn__tanh_f32(float x)
{
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z + -5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z + -3.33332819422e-1f;
    return x > -0.625f && x < 0.625f ? p * z * x + x : attn__tanh(x);
}

#define ATTN_TANH_MOST 0.4f
#define ATTN_TANH_1    0.999993753f
#define ATTN_TANH_3    (-0.332625795f)
#define ATTN_TANH_5    0.121277867f

#define ATTN_TANH_UNIT 4.0f
ATTN_DEVICE float attn__tanh_near(float u)
{
    const float z = u * u;
    float p = -2.71009685e-6f;
    p = fmaf(p, z, 1.28811487e-4f);
    p = fmaf(p, z, -5.20723732e-3f);
    p = fmaf(p, z, 2.49999866e-1f);
    return p * u;
}

ATTN_DEVICE float attn__max(float x, float y)
{
    return x > y || y != y ? x : y;
}

/* A NaN becomes the one that cvt makes. */
ATTN_DEVICE uint32_t attn__pack_f16(float low, float high)
{
    const uint32_t l = low == low ? attn__f32_to_f16(low) : 0x7fff, h = high == high ? attn__f32_to_f16(high) : 0x7fff;
    return l | h << 16;
}

ATTN_DEVICE uint32_t attn__pack_bf16(float low, float high)
{
    const uint32_t l = low == low ? attn__f32_to_bf16(low) : 0x7fff;
    const uint32_t h = high == high ? attn__f32_to_bf16(high) : 0x7fff;
    return l | h << 16;
}

ATTN_DEVICE uint32_t attn__low_halves(uint32_t x, uint32_t y)
{
    return (x & 0xffffu) | y << 16;
}
ATTN_DEVICE uint32_t attn__high_halves(uint32_t x, uint32_t y)
{
    return x >> 16 | (y & 0xffff0000u);
}

ATTN_DEVICE float attn__low_f16(uint32_t pair)
{
    return attn__f16_to_f32((uint16_t)pair);
}
ATTN_DEVICE float attn__high_f16(uint32_t pair)
{
    return attn__f16_to_f32((uint16_t)(pair >> 16));
}
ATTN_DEVICE float attn__low_bf16(uint32_t pair)
{
    return __uint_as_float(pair << 16);
}
ATTN_DEVICE float attn__high_bf16(uint32_t pair)
{
    return __uint_as_float(pair & 0xffff0000u);
}

#endif /* ATTN_DEVICE_MATH_CUH */
