/* narrow.cuh - the emulator's twin of include/attn/device/narrow.cuh, which says what each of these does.  C11. */
#ifndef ATTN_DEVICE_NARROW_CUH
#define ATTN_DEVICE_NARROW_CUH

#include <attn/device/math.cuh>

ATTN_DEVICE uint32_t attn__and_xor(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) ^ z;
}

/* Sums and products of f16 are exact in f64. */
ATTN_DEVICE uint32_t attn__fma_f16x2(uint32_t x, uint32_t y, uint32_t z)
{
    uint32_t d = 0;
    for (int n = 0; n < 32; n += 16) {
        const double sum = (double)attn__low_f16(x >> n) * attn__low_f16(y >> n) + attn__low_f16(z >> n);
        d |= (attn__pack_f16((float)sum, 0.0f) & 0xffffu) << n;
    }
    return d;
}
ATTN_DEVICE uint32_t attn__add_f16x2(uint32_t x, uint32_t y)
{
    return attn__fma_f16x2(x, 0x3c003c00u, y);
}

ATTN_DEVICE uint32_t attn__e4m3_half(uint32_t x)
{
    return attn__pack_f16(attn__e4m3_to_f32((uint8_t)(x >> 8)), attn__e4m3_to_f32((uint8_t)(x >> 24)));
}
ATTN_DEVICE void attn__e4m3_to_f16x2(uint32_t x, uint32_t *d)
{
    d[0] = attn__e4m3_half(x << 8);
    d[1] = attn__e4m3_half(x);
}

ATTN_DEVICE void attn__e5m2_to_f16x2(uint32_t x, uint32_t *d)
{
    d[0] = x << 8 & 0xff00ff00u;
    d[1] = x & 0xff00ff00u;
}

ATTN_DEVICE void attn__int8_to_f16x2(uint32_t x, uint32_t *d)
{
    for (int i = 0; i < 2; i++)
        d[i] = attn__pack_f16((int8_t)(uint8_t)(x >> 8 * i), (int8_t)(uint8_t)(x >> (8 * i + 16)));
}

ATTN_DEVICE void attn__int4_to_f16x2(uint32_t x, uint32_t *d)
{
    for (int i = 0; i < 4; i++)
        d[i] = attn__pack_f16(attn__int4_to_f32((uint8_t)(x >> 4 * i), 0),
                              attn__int4_to_f32((uint8_t)(x >> (4 * i + 16)), 0));
}

#endif /* ATTN_DEVICE_NARROW_CUH */
