/* vec_avx512bf16.h - what AVX512_BF16 adds to vec_avx512.h: products of bf16 pairs, summed in f32.
 *
 * A vector of pairs is 16 lanes of 32 bits, each two bf16 with the lower index in the lower half. */
#ifndef ATTN_DEVICE_VEC_AVX512BF16_H
#define ATTN_DEVICE_VEC_AVX512BF16_H
#include <attn/device/vec_avx512.h>

#define ATTN_TARGET_BEGIN_AVX512BF16 ATTN_TARGET_BEGIN_("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
ATTN_TARGET_BEGIN_AVX512BF16

/* acc + a.lo * b.lo + a.hi * b.hi in each lane; subnormal inputs count as 0. */
ATTN_INLINE __m512 attn__avx512bf16_dot2(__m512 a, __m512 b, __m512 acc)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}

/* 32 floats, lo before hi, rounded to nearest even: 16 pairs in their order. */
ATTN_INLINE __m512 attn__avx512bf16_narrow2(__m512 lo, __m512 hi)
{
    return (__m512)_mm512_cvtne2ps_pbh(hi, lo);
}

/* Pairs (a[i], b[i]) of the first n <= 16 elements; the rest is 0, and so is all of b if it is NULL. */
ATTN_INLINE __m512 attn__avx512bf16_zip(const uint16_t *a, const uint16_t *b, int n)
{
    const __mmask16 m = attn__avx512_first_n(n);
    const __m512i lo = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, a));
    const __m512i hi = b ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, b)) : _mm512_setzero_si512();
    return _mm512_castsi512_ps(_mm512_or_epi32(lo, _mm512_slli_epi32(hi, 16)));
}

ATTN_TARGET_END_
#endif /* ATTN_DEVICE_VEC_AVX512BF16_H */
