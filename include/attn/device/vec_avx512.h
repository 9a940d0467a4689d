/* vec_avx512.h - vectors of 16 floats with AVX-512 F, BW, DQ and VL; the operations are those of vec_avx2.h. */
#ifndef ATTN_DEVICE_VEC_AVX512_H
#define ATTN_DEVICE_VEC_AVX512_H
#include <immintrin.h>
#include <attn/device/convert.h>
#include <attn/device/target.h>

#define ATTN_TARGET_BEGIN_AVX512 ATTN_TARGET_BEGIN_("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
ATTN_TARGET_BEGIN_AVX512

typedef __m512 attn__avx512_vec;
enum { attn__avx512_width = 16 };

ATTN_INLINE __m512 attn__avx512_set1(float x) { return _mm512_set1_ps(x); }
ATTN_INLINE __m512 attn__avx512_fma(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
ATTN_INLINE __m512 attn__avx512_max(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
ATTN_INLINE __m512 attn__avx512_min(__m512 a, __m512 b) { return _mm512_min_ps(a, b); }
ATTN_INLINE __m512 attn__avx512_round(__m512 a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
ATTN_INLINE __m512 attn__avx512_abs(__m512 a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
ATTN_INLINE __m512 attn__avx512_copysign(__m512 a, __m512 sign)
{
    const __m512 bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(bit, a), _mm512_and_ps(bit, sign));
}
ATTN_INLINE __m512 attn__avx512_select_lt(__m512 a, __m512 b, __m512 yes, __m512 no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

/* p * 2^n for integral n in [-127, 127]: -127 gives 0, as on the other sets, so that results agree. */
ATTN_INLINE __m512 attn__avx512_scale2(__m512 p, __m512 n)
{
    const __m512i e = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);
    return p * _mm512_castsi512_ps(_mm512_add_epi32(e, _mm512_set1_epi32(0x3f800000)));
}

ATTN_INLINE __m256 attn__avx512_upper(__m512 a) { return _mm512_extractf32x8_ps(a, 1); }
ATTN_INLINE __m256 attn__avx512_half(__m512 a)
{
    return _mm256_add_ps(_mm512_castps512_ps256(a), attn__avx512_upper(a));
}
ATTN_INLINE float attn__avx512_sum(__m512 a)
{
    const __m256 h = attn__avx512_half(a);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
ATTN_INLINE float attn__avx512_top(__m512 a)
{
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), attn__avx512_upper(a));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
/* Element i = the sum of a[i]. */
ATTN_INLINE __m512 attn__avx512_sums(const __m512 a[16])
{
    __m512 t[8], u[4], v[2];
    ATTN_UNROLL for (int i = 0; i < 8; ++i)
        t[i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]) + _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    ATTN_UNROLL for (int i = 0; i < 4; ++i)
        u[i] = _mm512_shuffle_ps(t[2 * i], t[2 * i + 1], 0x44) + _mm512_shuffle_ps(t[2 * i], t[2 * i + 1], 0xee);
    /* u[i] holds those of a[4 i] .. a[4 i + 3] in each 128-bit lane. */
    ATTN_UNROLL for (int i = 0; i < 2; ++i)
        v[i] = _mm512_shuffle_f32x4(u[2 * i], u[2 * i + 1], 0x88) + _mm512_shuffle_f32x4(u[2 * i], u[2 * i + 1], 0xdd);
    return _mm512_shuffle_f32x4(v[0], v[1], 0x88) + _mm512_shuffle_f32x4(v[0], v[1], 0xdd);
}

ATTN_INLINE __m512i attn__avx512_count(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
ATTN_INLINE __m512 attn__avx512_iota(float first)
{
    return _mm512_set1_ps(first) + _mm512_cvtepi32_ps(attn__avx512_count());
}
ATTN_INLINE __m512 attn__avx512_keep(__m512 x, int first, int lo, int hi, int lo2, int hi2)
{
    const __m512i j = _mm512_add_epi32(_mm512_set1_epi32(first), attn__avx512_count());
    const __mmask16 in1 = _mm512_cmpge_epi32_mask(j, _mm512_set1_epi32(lo)) &
                          _mm512_cmplt_epi32_mask(j, _mm512_set1_epi32(hi));
    const __mmask16 in2 = _mm512_cmpge_epi32_mask(j, _mm512_set1_epi32(lo2)) &
                          _mm512_cmplt_epi32_mask(j, _mm512_set1_epi32(hi2));
    return _mm512_mask_blend_ps((__mmask16)(in1 | in2), _mm512_set1_ps(-__builtin_inff()), x);
}

ATTN_INLINE __mmask16 attn__avx512_first_n(int n) { return (__mmask16)((1u << n) - 1u); }
ATTN_INLINE __m512 attn__avx512_load_f32(const float *p) { return _mm512_loadu_ps(p); }
ATTN_INLINE __m512 attn__avx512_load_f32_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(attn__avx512_first_n(n), p);
}
ATTN_INLINE __m512 attn__avx512_once(__m512 x)
{
    __asm__("" : "+v"(x));
    return x;
}
ATTN_INLINE void attn__avx512_store_f32(float *p, __m512 a) { _mm512_storeu_ps(p, a); }
ATTN_INLINE void attn__avx512_store_f32_n(float *p, __m512 a, int n)
{
    _mm512_mask_storeu_ps(p, attn__avx512_first_n(n), a);
}

ATTN_INLINE __m512 attn__avx512_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
ATTN_INLINE __m512 attn__avx512_load_f16_n(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(attn__avx512_first_n(n), p));
}
ATTN_INLINE __m512 attn__avx512_widen_bf16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
ATTN_INLINE __m512 attn__avx512_load_bf16(const uint16_t *p)
{
    return attn__avx512_widen_bf16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
ATTN_INLINE __m512 attn__avx512_load_bf16_n(const uint16_t *p, int n)
{
    return attn__avx512_widen_bf16(_mm256_maskz_loadu_epi16(attn__avx512_first_n(n), p));
}
/* 16 elements of 8 bits, or of 4 from an even one on. */
ATTN_INLINE __m256i attn__avx512_bytes(const uint8_t *p)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}
ATTN_INLINE __m512 attn__avx512_load_e4m3(const uint8_t *p)
{
    /* As the exponent and fraction of an f16 it is 2^-8 of itself. */
    const __m256i b = attn__avx512_bytes(p), mag = _mm256_and_si256(b, _mm256_set1_epi16(0x7f));
    const __m256i nan = _mm256_and_si256(_mm256_cmpeq_epi16(mag, _mm256_set1_epi16(0x7f)), _mm256_set1_epi16(0x7e00));
    const __m256i sign = _mm256_slli_epi16(_mm256_andnot_si256(_mm256_set1_epi16(0x7f), b), 8);
    const __m256i half = _mm256_or_si256(_mm256_or_si256(_mm256_slli_epi16(mag, 7), nan), sign);
    return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0f));
}
ATTN_INLINE __m512 attn__avx512_load_e5m2(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_slli_epi16(attn__avx512_bytes(p), 8));
}
ATTN_INLINE __m512 attn__avx512_load_int8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
ATTN_INLINE __m512 attn__avx512_load_int4(const uint8_t *p)
{
    int32_t bits[2];
    memcpy(bits, p, sizeof bits);
    const __m512i both =
        _mm512_inserti64x4(_mm512_set1_epi32(bits[0]), _mm256_set1_epi32(bits[1]), 1);
    const __m512i by = _mm512_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_sllv_epi32(both, by), 28));
}
ATTN_INLINE __m256i attn__avx512_narrow_f16(__m512 a)
{
    return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* As attn__f32_to_bf16, in the upper halves; what is in the lower ones has no meaning.  The instructions of AVX512_BF16
 * make subnormal numbers 0. */
ATTN_INLINE __m512i attn__avx512_round_bf16(__m512 a)
{
    const __m512i bits = _mm512_castps_si512(a), last = _mm512_srli_epi32(_mm512_slli_epi32(bits, 15), 31);
    const __m512i near = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), last);
    const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(near, nan, bits, _mm512_set1_epi32(0x400000));
}
ATTN_INLINE __m256i attn__avx512_narrow_bf16(__m512 a)
{
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(attn__avx512_round_bf16(a), 16));
}
/* 32 elements of bf16 as those at even places and those at odd ones, which takes no shuffle; and back. */
ATTN_INLINE void attn__avx512_load2_bf16(const uint16_t *p, __m512 x[2])
{
    const __m512i both = _mm512_loadu_si512(p);
    x[0] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    x[1] = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)));
}
ATTN_INLINE __m512i attn__avx512_narrow2_bf16(const __m512 x[2])
{
    const __m512i even = _mm512_srli_epi32(attn__avx512_round_bf16(x[0]), 16);
    return _mm512_mask_blend_epi16(0xaaaaaaaa, even, attn__avx512_round_bf16(x[1]));
}
/* Elements at even and at odd places to two vectors of elements in their order. */
ATTN_INLINE void attn__avx512_zip(__m512 x[2])
{
    const __m512 a = x[0], b = x[1];
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    x[0] = _mm512_permutex2var_ps(a, low, b);
    x[1] = _mm512_permutex2var_ps(a, _mm512_add_epi32(low, _mm512_set1_epi32(8)), b);
}
ATTN_INLINE void attn__avx512_store_f16(uint16_t *p, __m512 a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, attn__avx512_narrow_f16(a));
}
ATTN_INLINE void attn__avx512_store_bf16(uint16_t *p, __m512 a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, attn__avx512_narrow_bf16(a));
}
ATTN_INLINE void attn__avx512_store2_bf16(uint16_t *p, const __m512 x[2])
{
    _mm512_storeu_si512(p, attn__avx512_narrow2_bf16(x));
}
ATTN_INLINE void attn__avx512_stream_f32(float *p, __m512 a) { _mm512_stream_ps(p, a); }
ATTN_INLINE void attn__avx512_stream_f16(uint16_t *p, __m512 a)
{
    _mm256_stream_si256((__m256i *)(void *)p, attn__avx512_narrow_f16(a));
}
ATTN_INLINE void attn__avx512_stream_bf16(uint16_t *p, __m512 a)
{
    _mm256_stream_si256((__m256i *)(void *)p, attn__avx512_narrow_bf16(a));
}
ATTN_INLINE void attn__avx512_stream2_bf16(uint16_t *p, const __m512 x[2])
{
    _mm512_stream_si512((__m512i *)(void *)p, attn__avx512_narrow2_bf16(x));
}
ATTN_INLINE void attn__avx512_fence(void) { _mm_sfence(); }

ATTN_INLINE void attn__avx512_transpose(__m512 r[16])
{
    __m512 t[16], u[16];
    ATTN_UNROLL for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    ATTN_UNROLL for (int i = 0; i < 4; ++i) {
        u[4 * i] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    /* u[4 i + c] holds column c of rows 4 i .. 4 i + 3 in each 128-bit lane (columns c, c + 4, c + 8, c + 12). */
    ATTN_UNROLL for (int c = 0; c < 4; ++c) {
        const __m512 a = _mm512_shuffle_f32x4(u[c], u[4 + c], 0x88);
        const __m512 b = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x88);
        const __m512 d = _mm512_shuffle_f32x4(u[c], u[4 + c], 0xdd);
        const __m512 e = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xdd);
        r[c] = _mm512_shuffle_f32x4(a, b, 0x88);
        r[8 + c] = _mm512_shuffle_f32x4(a, b, 0xdd);
        r[4 + c] = _mm512_shuffle_f32x4(d, e, 0x88);
        r[12 + c] = _mm512_shuffle_f32x4(d, e, 0xdd);
    }
}

#define ATTN_VEC(op) ATTN_CAT(attn__avx512_, op)
#include <attn/device/vec_math.h>
#undef ATTN_VEC
ATTN_TARGET_END_
#endif /* ATTN_DEVICE_VEC_AVX512_H */
