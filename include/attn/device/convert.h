/* convert.h - f16 and bf16 to f32 and back, one scalar at a time.
 *
 * Round to nearest even, subnormals and infinities exact, NaN stays NaN (made quiet, as the
 * processors' own instructions do).  The same bits on every machine, also where denormals are
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

#undef ATTN_CONVERT_
#endif /* ATTN_DEVICE_CONVERT_H */
