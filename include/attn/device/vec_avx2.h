/* vec_avx2.h - vectors of 8 floats with AVX2, FMA and F16C: the vocabulary of the CPU templates.
 *
 * Every vec_*.h gives the same operations under its own prefix (docs/adding-a-kernel.md lists them); a
 * template reaches them as ATTN_V(op).  max(a, b) and min(a, b) answer b if either is NaN, so a bound
 * goes first.  *_n take the first n elements, 0 <= n <= width, and give 0 for the rest. */
#ifndef ATTN_DEVICE_VEC_AVX2_H
#define ATTN_DEVICE_VEC_AVX2_H
#include <immintrin.h>
#include <attn/device/convert.h>
#include <attn/device/target.h>

#define ATTN_TARGET_BEGIN_AVX2 ATTN_TARGET_BEGIN_("avx2,fma,f16c")
ATTN_TARGET_BEGIN_AVX2

typedef __m256 attn__avx2_vec;
enum { attn__avx2_width = 8 };

ATTN_INLINE __m256 attn__avx2_set1(float x) { return _mm256_set1_ps(x); }
ATTN_INLINE __m256 attn__avx2_fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
ATTN_INLINE __m256 attn__avx2_max(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
ATTN_INLINE __m256 attn__avx2_min(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
ATTN_INLINE __m256 attn__avx2_round(__m256 a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
ATTN_INLINE __m256 attn__avx2_abs(__m256 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
ATTN_INLINE __m256 attn__avx2_copysign(__m256 a, __m256 sign)
{
    const __m256 bit = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(bit, a), _mm256_and_ps(bit, sign));
}
ATTN_INLINE __m256 attn__avx2_select_lt(__m256 a, __m256 b, __m256 yes, __m256 no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

/* p * 2^n for integral n in [-127, 127]: -127 gives 0. */
ATTN_INLINE __m256 attn__avx2_scale2(__m256 p, __m256 n)
{
    const __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return p * _mm256_castsi256_ps(_mm256_add_epi32(e, _mm256_set1_epi32(0x3f800000)));
}

ATTN_INLINE float attn__avx2_sum(__m256 a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
ATTN_INLINE float attn__avx2_top(__m256 a) /* greatest element; NaN where there is no number is not defined */
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
/* Element i = the sum of a[i]. */
ATTN_INLINE __m256 attn__avx2_sums(const __m256 a[8])
{
    __m256 t[4], u[2];
    ATTN_UNROLL for (int i = 0; i < 4; ++i)
        t[i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]) + _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    ATTN_UNROLL for (int i = 0; i < 2; ++i)
        u[i] = _mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0x44) + _mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0xee);
    return _mm256_permute2f128_ps(u[0], u[1], 0x20) + _mm256_permute2f128_ps(u[0], u[1], 0x31);
}

/* Elements first, first + 1, ...; and x where lo <= index < hi, else -inf. */
ATTN_INLINE __m256 attn__avx2_iota(float first)
{
    return _mm256_set1_ps(first) + _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
}
ATTN_INLINE __m256 attn__avx2_keep(__m256 x, int first, int lo, int hi, int lo2, int hi2)
{
    const __m256i j = _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m256i in1 = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lo), j),
                                            _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), j));
    const __m256i in2 = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lo2), j),
                                            _mm256_cmpgt_epi32(_mm256_set1_epi32(hi2), j));
    return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), x, _mm256_castsi256_ps(_mm256_or_si256(in1, in2)));
}

ATTN_INLINE __m256i attn__avx2_first_n(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
ATTN_INLINE __m256 attn__avx2_load_f32(const float *p) { return _mm256_loadu_ps(p); }
ATTN_INLINE __m256 attn__avx2_load_f32_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, attn__avx2_first_n(n));
}
ATTN_INLINE __m256 attn__avx2_once(__m256 x)
{
    __asm__("" : "+x"(x));
    return x;
}
ATTN_INLINE void attn__avx2_store_f32(float *p, __m256 a) { _mm256_storeu_ps(p, a); }
ATTN_INLINE void attn__avx2_store_f32_n(float *p, __m256 a, int n)
{
    _mm256_maskstore_ps(p, attn__avx2_first_n(n), a);
}

ATTN_INLINE __m256 attn__avx2_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
ATTN_INLINE __m256 attn__avx2_load_bf16(const uint16_t *p)
{
    const __m256i w = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
}
/* There is no 16-bit masked load: gather the few elements through a buffer. */
ATTN_INLINE __m256 attn__avx2_load_f16_n(const uint16_t *p, int n)
{
    uint16_t t[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int i = 0; i < n; ++i)
        t[i] = p[i];
    return attn__avx2_load_f16(t);
}
ATTN_INLINE __m256 attn__avx2_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t t[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int i = 0; i < n; ++i)
        t[i] = p[i];
    return attn__avx2_load_bf16(t);
}
/* 8 elements of 8 bits, or of 4 from an even one on. */
ATTN_INLINE __m128i attn__avx2_bytes(const uint8_t *p)
{
    return _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
ATTN_INLINE __m256 attn__avx2_load_e4m3(const uint8_t *p)
{
    /* As the exponent and fraction of an f16 it is 2^-8 of itself. */
    const __m128i b = attn__avx2_bytes(p), mag = _mm_and_si128(b, _mm_set1_epi16(0x7f));
    const __m128i nan = _mm_and_si128(_mm_cmpeq_epi16(mag, _mm_set1_epi16(0x7f)), _mm_set1_epi16(0x7e00));
    const __m128i sign = _mm_slli_epi16(_mm_andnot_si128(_mm_set1_epi16(0x7f), b), 8);
    const __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(mag, 7), nan), sign);
    return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
}
ATTN_INLINE __m256 attn__avx2_load_e5m2(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_slli_epi16(attn__avx2_bytes(p), 8));
}
ATTN_INLINE __m256 attn__avx2_load_int8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
ATTN_INLINE __m256 attn__avx2_load_int4(const uint8_t *p)
{
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    const __m256i up = _mm256_sllv_epi32(_mm256_set1_epi32(bits), _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(up, 28));
}
ATTN_INLINE __m128i attn__avx2_narrow_f16(__m256 a)
{
    return _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* As attn__f32_to_bf16, in the upper halves; what is in the lower ones has no meaning. */
ATTN_INLINE __m256i attn__avx2_round_bf16(__m256 a)
{
    const __m256i bits = _mm256_castps_si256(a), last = _mm256_srli_epi32(_mm256_slli_epi32(bits, 15), 31);
    const __m256i near = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), last);
    const __m256 quiet = _mm256_or_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x400000)));
    const __m256 nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(near), quiet, nan));
}
ATTN_INLINE __m128i attn__avx2_narrow_bf16(__m256 a)
{
    const __m256i h = _mm256_srli_epi32(attn__avx2_round_bf16(a), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}
/* 16 elements of bf16 as those at even places and those at odd ones, which takes no shuffle; and back. */
ATTN_INLINE void attn__avx2_load2_bf16(const uint16_t *p, __m256 x[2])
{
    const __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)p);
    x[0] = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
    x[1] = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32((int)0xffff0000)));
}
ATTN_INLINE __m256i attn__avx2_narrow2_bf16(const __m256 x[2])
{
    return _mm256_blend_epi16(_mm256_srli_epi32(attn__avx2_round_bf16(x[0]), 16), attn__avx2_round_bf16(x[1]), 0xaa);
}
/* Elements at even and at odd places to two vectors of elements in their order. */
ATTN_INLINE void attn__avx2_zip(__m256 x[2])
{
    const __m256 low = _mm256_unpacklo_ps(x[0], x[1]), high = _mm256_unpackhi_ps(x[0], x[1]);
    x[0] = _mm256_permute2f128_ps(low, high, 0x20);
    x[1] = _mm256_permute2f128_ps(low, high, 0x31);
}
ATTN_INLINE void attn__avx2_store_f16(uint16_t *p, __m256 a)
{
    _mm_storeu_si128((__m128i *)(void *)p, attn__avx2_narrow_f16(a));
}
ATTN_INLINE void attn__avx2_store_bf16(uint16_t *p, __m256 a)
{
    _mm_storeu_si128((__m128i *)(void *)p, attn__avx2_narrow_bf16(a));
}
ATTN_INLINE void attn__avx2_store2_bf16(uint16_t *p, const __m256 x[2])
{
    _mm256_storeu_si256((__m256i *)(void *)p, attn__avx2_narrow2_bf16(x));
}
/* Past the caches: p is aligned as what is stored; fence orders it before what follows. */
ATTN_INLINE void attn__avx2_stream_f32(float *p, __m256 a) { _mm256_stream_ps(p, a); }
ATTN_INLINE void attn__avx2_stream_f16(uint16_t *p, __m256 a)
{
    _mm_stream_si128((__m128i *)(void *)p, attn__avx2_narrow_f16(a));
}
ATTN_INLINE void attn__avx2_stream_bf16(uint16_t *p, __m256 a)
{
    _mm_stream_si128((__m128i *)(void *)p, attn__avx2_narrow_bf16(a));
}
ATTN_INLINE void attn__avx2_stream2_bf16(uint16_t *p, const __m256 x[2])
{
    _mm256_stream_si256((__m256i *)(void *)p, attn__avx2_narrow2_bf16(x));
}
ATTN_INLINE void attn__avx2_fence(void) { _mm_sfence(); }

/* 8 vectors as the rows of a matrix: transpose in place. */
ATTN_INLINE void attn__avx2_transpose(__m256 r[8])
{
    __m256 t[8], u[8];
    for (int i = 0; i < 4; ++i) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
        u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x20);
        r[4 + i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x31);
    }
}

#define ATTN_VEC(op) ATTN_CAT(attn__avx2_, op)
#include <attn/device/vec_math.h>
#undef ATTN_VEC
ATTN_TARGET_END_
#endif /* ATTN_DEVICE_VEC_AVX2_H */
