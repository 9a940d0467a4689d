/* math.cuh - the functions of softmax on a GPU, and pairs of 16-bit numbers.
 *
 * The approximate instructions, with what they err by; CUDA's own exp2f costs three times as much.  CUDA. */
#ifndef ATTN_DEVICE_MATH_CUH
#define ATTN_DEVICE_MATH_CUH

#include <attn/device/convert.h>
#include <attn/device/cuda.cuh>

/* 2^x, relative error 2^-22; exp2(-inf) = 0, subnormal results are 0, NaN stays NaN. */
ATTN_DEVICE float attn__exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* log2 x, absolute error 2^-22 near 1, relative 2^-22 elsewhere; log2(0) = -inf. */
ATTN_DEVICE float attn__log2(float x)
{
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 1 / x, relative error 2^-23; of subnormal x infinity, of x above 2^126 0. */
ATTN_DEVICE float attn__reciprocal(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 1 / sqrt(x), relative error 2^-22; of subnormal x infinity, of infinity 0. */
ATTN_DEVICE float attn__inverse_root(float x)
{
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* tanh x, absolute error 2^-21: 1 - 2 / (1 + e^2x).  tanh.approx errs by 2^-11, which a softcap of 50 makes 0.02. */
ATTN_DEVICE float attn__tanh(float x)
{
    return 1.0f - 2.0f * attn__reciprocal(1.0f + attn__exp2(x * 2.88539008177792681472f));
}

/* The same with a relative error of 2^-21 near 0, where the difference cancels: the odd polynomial of Cephes tanhf
 * (Moshier, netlib, coefficients of its published table).  For f32. */
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

/* tanh x = T1 x + T3 x^3 + T5 x^5 where |x| < TANH_MOST, with a relative error of 6.3e-6, the least that is possible
 * (Remez). */
#define ATTN_TANH_MOST 0.4f
#define ATTN_TANH_1    0.999993753f
#define ATTN_TANH_3    (-0.332625795f)
#define ATTN_TANH_5    0.121277867f

/* tanh(u / ATTN_TANH_UNIT) of |u| < 2 with a relative error of 2^-20, by products and sums alone: the odd polynomial of
 * four terms whose greatest relative error is the least (Remez).  The highest bit of u's exponent says that it is out
 * of range. */
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

/* The greater; a NaN gives way to a number. */
ATTN_DEVICE float attn__max(float x, float y)
{
    return fmaxf(x, y);
}

/* ---- 16-bit numbers, by pairs in 32 bits: the first in the low half ------------------------------ */

ATTN_DEVICE uint32_t attn__pack_f16(float low, float high)
{
    uint32_t d;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
#else
    asm("{\n.reg .b16 l, h;\ncvt.rn.f16.f32 l, %1;\ncvt.rn.f16.f32 h, %2;\nmov.b32 %0, {l, h};\n}"
        : "=r"(d)
        : "f"(low), "f"(high));
#endif
    return d;
}

ATTN_DEVICE uint32_t attn__pack_bf16(float low, float high)
{
#if __CUDA_ARCH__ >= 800
    uint32_t d;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
#else
    return attn__f32_to_bf16(low) | (uint32_t)attn__f32_to_bf16(high) << 16;
#endif
}

/* Two pairs' first elements, or their second ones, as a pair: x's in the low half. */
ATTN_DEVICE uint32_t attn__low_halves(uint32_t x, uint32_t y)
{
    return __byte_perm(x, y, 0x5410);
}
ATTN_DEVICE uint32_t attn__high_halves(uint32_t x, uint32_t y)
{
    return __byte_perm(x, y, 0x7632);
}

ATTN_DEVICE float attn__low_f16(uint32_t pair)
{
    float f;
    asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %1;\ncvt.f32.f16 %0, l;\n}" : "=f"(f) : "r"(pair));
    return f;
}
ATTN_DEVICE float attn__high_f16(uint32_t pair)
{
    float f;
    asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %1;\ncvt.f32.f16 %0, h;\n}" : "=f"(f) : "r"(pair));
    return f;
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
