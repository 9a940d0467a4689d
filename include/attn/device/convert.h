/* convert.h - f16, bf16, e4m3, e5m2, int8 and int4 to f32 and back, one scalar at a time.
 *
 * Round to nearest even, subnormals and infinities exact, NaN stays NaN (made quiet, as the
 * processors' own instructions do).  To 8 and 4 bits: what is beyond the largest number becomes that, an infinity
 * too, and NaN becomes 0 where there is none.  The same bits on every machine, also where denormals are
 * flushed: no step has a subnormal f32 operand that matters.  Selects rather than branches, so that
 * a loop over these vectorises.  C11, C++ and CUDA. */
#ifndef ATTN_DEVICE_CONVERT_H
#define ATTN_DEVICE_CONVERT_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define ATTN_CONVERT_ static __host__ __device__ inline
#else
#define ATTN_CONVERT_ static inline
#endif

ATTN_CONVERT_ uint32_t attn__f32_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

ATTN_CONVERT_ float attn__f32_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

ATTN_CONVERT_ float attn__bf16_to_f32(uint16_t b)
{
    return attn__f32_from_bits((uint32_t)b << 16);
}

ATTN_CONVERT_ uint16_t attn__f32_to_bf16(float f)
{
    uint32_t bits = attn__f32_bits(f);
    uint32_t nan = (bits >> 16) | 0x40u;
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

ATTN_CONVERT_ float attn__f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t mag = h & 0x7fffu;
    uint32_t normal = (mag << 13) + (112u << 23);
    uint32_t special = 0x7f800000u | (mag << 13) | (mag > 0x7c00u ? 0x400000u : 0u);
    /* 0.5 + mag * 2^-24 has mag as its low bits: exact, with no subnormal on the way. */
    uint32_t tiny = attn__f32_bits(attn__f32_from_bits(0x3f000000u | mag) - 0.5f);
    uint32_t bits = mag >= 0x7c00u ? special : mag >= 0x400u ? normal : tiny;
    return attn__f32_from_bits(sign | bits);
}

ATTN_CONVERT_ uint16_t attn__f32_to_f16(float f)
{
    uint32_t bits = attn__f32_bits(f);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t mag = bits & 0x7fffffffu;
    uint32_t nan = 0x7e00u | ((mag >> 13) & 0x3ffu);
    uint32_t normal = ((mag + 0xfffu + ((mag >> 13) & 1u)) >> 13) - (112u << 10); /* 65520 becomes inf by itself */
    uint32_t tiny = attn__f32_bits(attn__f32_from_bits(mag < 0x38800000u ? mag : 0u) + 0.5f) - 0x3f000000u;
    uint32_t half = mag > 0x7f800000u    ? nan
                    : mag >= 0x47800000u ? 0x7c00u
                    : mag >= 0x38800000u ? normal
                                         : tiny;
    return (uint16_t)(sign | half);
}

ATTN_CONVERT_ float attn__e4m3_to_f32(uint8_t b)
{
    const uint32_t sign = (uint32_t)(b & 0x80u) << 24, mag = b & 0x7fu;
    const uint32_t normal = (mag << 20) + (120u << 23), tiny = attn__f32_bits((float)(int32_t)mag * 0.001953125f);
    return attn__f32_from_bits(sign | (mag == 0x7fu ? 0x7fc00000u : mag >= 8u ? normal : tiny));
}

/* 448 at most. */
ATTN_CONVERT_ uint8_t attn__f32_to_e4m3(float f)
{
    const uint32_t bits = attn__f32_bits(f), mag = bits & 0x7fffffffu;
    const uint32_t top = mag < 0x43e00000u ? mag : 0x43e00000u;
    const uint32_t normal = ((top + 0x7ffffu + (top >> 20 & 1u)) >> 20) - (120u << 3);
    /* 2^14 + x has x in units of 2^-9 as its low bits. */
    const uint32_t tiny = attn__f32_bits(attn__f32_from_bits(mag < 0x3c800000u ? mag : 0u) + 16384.0f) - 0x46800000u;
    const uint32_t code = mag > 0x7f800000u ? 0x7fu : mag >= 0x3c800000u ? normal : tiny;
    return (uint8_t)((bits >> 24 & 0x80u) | code);
}

/* The upper byte of an f16. */
ATTN_CONVERT_ float attn__e5m2_to_f32(uint8_t b)
{
    return attn__f16_to_f32((uint16_t)((uint32_t)b << 8));
}

/* 57344 at most. */
ATTN_CONVERT_ uint8_t attn__f32_to_e5m2(float f)
{
    const uint32_t bits = attn__f32_bits(f), mag = bits & 0x7fffffffu;
    const uint32_t top = mag < 0x47600000u ? mag : 0x47600000u;
    const uint32_t normal = ((top + 0xfffffu + (top >> 21 & 1u)) >> 21) - (112u << 2);
    const uint32_t tiny = attn__f32_bits(attn__f32_from_bits(mag < 0x38800000u ? mag : 0u) + 128.0f) - 0x43000000u;
    const uint32_t code = mag > 0x7f800000u ? 0x7fu : mag >= 0x38800000u ? normal : tiny;
    return (uint8_t)((bits >> 24 & 0x80u) | code);
}

/* To an integer from -most to most, most at most 127. */
ATTN_CONVERT_ int attn__f32_to_int(float f, float most)
{
    const float low = f > -most ? f : -most, x = low < most ? low : most; /* NaN becomes -most, and then 0 */
    const uint32_t bits = attn__f32_bits(x + 12582912.0f); /* 2^23 + 2^22 + x has x, rounded, as its low bits */
    return f == f ? (int)(bits & 0x1ffu) - (int)(bits & 0x100u) * 2 : 0;
}

/* Nibble 0 or 1 of a byte: the lower one first. */
ATTN_CONVERT_ float attn__int4_to_f32(uint8_t pair, int nibble)
{
    return (float)((int32_t)((uint32_t)pair << (nibble ? 24 : 28)) >> 28);
}
ATTN_CONVERT_ uint8_t attn__int4_pair(int low, int high)
{
    return (uint8_t)((low & 15) | (high & 15) << 4);
}

#undef ATTN_CONVERT_
#endif /* ATTN_DEVICE_CONVERT_H */
