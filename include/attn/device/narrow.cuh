/* narrow.cuh - numbers of 8 and 4 bits in registers, made pairs of f16, in which all of them are exact.
 *
 * A word of 8-bit numbers 0 1 2 3, the first in its lowest byte, becomes the pairs {0 2} and {1 3}; a word of int4
 * numbers 0 .. 7 becomes {0 4} {1 5} {2 6} {3 7}: those that lie 16 bits apart, which need no byte to be moved far.
 * CUDA. */
#ifndef ATTN_DEVICE_NARROW_CUH
#define ATTN_DEVICE_NARROW_CUH

#include <attn/device/math.cuh>

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 600

/* (x & y) ^ z in one instruction, where the compiler takes two, of a constant each. */
ATTN_DEVICE uint32_t attn__and_xor(uint32_t x, uint32_t y, uint32_t z)
{
    uint32_t d;
    asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(d) : "r"(x), "r"(y), "r"(z));
    return d;
}

/* Of both halves: x + y; x * y + z, rounded once.  sm_53 on. */
ATTN_DEVICE uint32_t attn__add_f16x2(uint32_t x, uint32_t y)
{
    uint32_t d;
    asm("add.f16x2 %0, %1, %2;" : "=r"(d) : "r"(x), "r"(y));
    return d;
}
ATTN_DEVICE uint32_t attn__fma_f16x2(uint32_t x, uint32_t y, uint32_t z)
{
    uint32_t d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(x), "r"(y), "r"(z));
    return d;
}

/* One half of a conversion without the instruction for it.  x: two numbers in the upper bytes of halves. */
ATTN_DEVICE uint32_t attn__e4m3_half(uint32_t x)
{
    /* Exponent and mantissa, moved to their place in f16, are 2^8 too small; NaN is 480. */
    const uint32_t size = x >> 1 & 0x3f803f80u, nan = (size + 0x00800080u) & 0x40004000u;
    return attn__fma_f16x2(size | (x & 0x80008000u), 0x5c005c00u, 0x80008000u) | ((nan << 1) - (nan >> 14));
}

ATTN_DEVICE void attn__e4m3_to_f16x2(uint32_t x, uint32_t *d)
{
#if __CUDA_ARCH__ >= 890
    asm("{\n.reg .b16 l, h;\n.reg .b32 y;\nprmt.b32 y, %2, 0, 0x3120;\nmov.b32 {l, h}, y;\n"
        "cvt.rn.f16x2.e4m3x2 %0, l;\ncvt.rn.f16x2.e4m3x2 %1, h;\n}"
        : "=r"(d[0]), "=r"(d[1])
        : "r"(x));
#else
    d[0] = attn__e4m3_half(x << 8);
    d[1] = attn__e4m3_half(x);
#endif
}

/* Its numbers are upper bytes of f16. */
ATTN_DEVICE void attn__e5m2_to_f16x2(uint32_t x, uint32_t *d)
{
    d[0] = x << 8 & 0xff00ff00u;
    d[1] = x & 0xff00ff00u;
}

/* 1024 + n has n as its low bits, for n from 0 to 1023; n is the number + 128. */
ATTN_DEVICE void attn__int8_to_f16x2(uint32_t x, uint32_t *d)
{
    d[0] = attn__add_f16x2(attn__and_xor(0x00ff00ffu, x, 0x64806480u), 0xe480e480u);
    d[1] = attn__add_f16x2(attn__and_xor(0x00ff00ffu, x >> 8, 0x64806480u), 0xe480e480u);
}

/* The same, n being the number + 8, or 16 times that. */
ATTN_DEVICE void attn__int4_to_f16x2(uint32_t x, uint32_t *d)
{
    ATTN_UNROLL
    for (int i = 0; i < 2; ++i, x >>= 8) {
        d[2 * i] = attn__add_f16x2(attn__and_xor(0x000f000fu, x, 0x64086408u), 0xe408e408u);
        d[2 * i + 1] = attn__fma_f16x2(attn__and_xor(0x00f000f0u, x, 0x64806480u), 0x2c002c00u, 0xd480d480u);
    }
}

#endif

#endif /* ATTN_DEVICE_NARROW_CUH */
