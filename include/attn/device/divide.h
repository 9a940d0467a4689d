/* divide.h - division of numbers below 2^31 by one that the host knows, without a division.
 *
 * n / d = n m / 2^p, rounded down, where m is 2^p / d rounded up: with p = 31 + ceil(log2 d) the error,
 * n (m d - 2^p) / (d 2^p), is below 1 / d for all n below 2^31.  C11, C++ and CUDA. */
#ifndef ATTN_DEVICE_DIVIDE_H
#define ATTN_DEVICE_DIVIDE_H
#include <stdint.h>

#if defined(__CUDACC__)
#define ATTN_DIVIDE_FN static __host__ __device__ __forceinline__
#else
#define ATTN_DIVIDE_FN static inline __attribute__((unused))
#endif

typedef struct attn__divisor {
    uint32_t by, multiplier, shift; /* shift: p - 32; it would be -1 of 1, by which nothing is divided */
} attn__divisor;

/* 1 <= by < 2^31. */
ATTN_DIVIDE_FN attn__divisor attn__divisor_make(uint32_t by)
{
    attn__divisor d;
    uint32_t bits = 0;
    while (((uint64_t)1 << bits) < by)
        ++bits;
    d.by = by;
    d.shift = bits ? bits - 1 : 0;
    d.multiplier = (uint32_t)((((uint64_t)1 << (31 + bits)) + by - 1) / by);
    return d;
}

ATTN_DIVIDE_FN uint32_t attn__divide(uint32_t n, attn__divisor d)
{
    return d.by == 1 ? n : (uint32_t)((uint64_t)n * d.multiplier >> 32) >> d.shift;
}

#endif /* ATTN_DEVICE_DIVIDE_H */
