/* vec_cpu.h - vectors of 4 floats in GNU C, for any processor; the operations are those of vec_avx2.h.
 *
 * gcc and clang make SSE2, NEON, VSX ... of it.  What the vector extension cannot say is a loop over
 * the four elements. */
#ifndef ATTN_DEVICE_VEC_CPU_H
#define ATTN_DEVICE_VEC_CPU_H
#include <string.h>
#include <attn/device/convert.h>
#include <attn/device/target.h>

typedef float attn__cpu_vec __attribute__((vector_size(16)));
typedef int32_t attn__cpu_int __attribute__((vector_size(16)));
typedef uint32_t attn__cpu_uint __attribute__((vector_size(16))); /* for shifts that may lose the top */
enum { attn__cpu_width = 4 };

ATTN_INLINE attn__cpu_vec attn__cpu_set1(float x) { return (attn__cpu_vec){x, x, x, x}; }
ATTN_INLINE attn__cpu_vec attn__cpu_fma(attn__cpu_vec a, attn__cpu_vec b, attn__cpu_vec c) { return a * b + c; }
ATTN_INLINE attn__cpu_vec attn__cpu_pick(attn__cpu_int m, attn__cpu_vec yes, attn__cpu_vec no)
{
    return (attn__cpu_vec)((m & (attn__cpu_int)yes) | (~m & (attn__cpu_int)no));
}
ATTN_INLINE attn__cpu_vec attn__cpu_max(attn__cpu_vec a, attn__cpu_vec b)
{
    return attn__cpu_pick((attn__cpu_int)(a > b), a, b);
}
ATTN_INLINE attn__cpu_vec attn__cpu_min(attn__cpu_vec a, attn__cpu_vec b)
{
    return attn__cpu_pick((attn__cpu_int)(a < b), a, b);
}
ATTN_INLINE attn__cpu_vec attn__cpu_select_lt(attn__cpu_vec a, attn__cpu_vec b, attn__cpu_vec yes, attn__cpu_vec no)
{
    return attn__cpu_pick((attn__cpu_int)(a < b), yes, no);
}
ATTN_INLINE attn__cpu_vec attn__cpu_round(attn__cpu_vec a) /* |a| < 2^22 */
{
    const volatile float magic = 12582912.0f; /* 1.5 * 2^23; volatile: the compiler must not cancel it */
    const attn__cpu_vec m = attn__cpu_set1(magic);
    return (a + m) - m;
}
ATTN_INLINE attn__cpu_vec attn__cpu_abs(attn__cpu_vec a)
{
    return (attn__cpu_vec)((attn__cpu_int)a & 0x7fffffff);
}
ATTN_INLINE attn__cpu_vec attn__cpu_copysign(attn__cpu_vec a, attn__cpu_vec sign)
{
    const attn__cpu_int bit = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
    return (attn__cpu_vec)(((attn__cpu_int)a & ~bit) | ((attn__cpu_int)sign & bit));
}
ATTN_INLINE attn__cpu_vec attn__cpu_scale2(attn__cpu_vec p, attn__cpu_vec n)
{
    const attn__cpu_vec t = n + attn__cpu_set1(12582912.0f); /* low bits of t = n + 2^22 */
    return p * (attn__cpu_vec)(((attn__cpu_uint)t << 23) + 0x3f800000u);
}

ATTN_INLINE float attn__cpu_sum(attn__cpu_vec a) { return (a[0] + a[2]) + (a[1] + a[3]); }
ATTN_INLINE float attn__cpu_top(attn__cpu_vec a)
{
    const float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
    return x > y ? x : y;
}
ATTN_INLINE attn__cpu_vec attn__cpu_sums(const attn__cpu_vec a[4]) /* element i = the sum of a[i] */
{
    return (attn__cpu_vec){attn__cpu_sum(a[0]), attn__cpu_sum(a[1]), attn__cpu_sum(a[2]), attn__cpu_sum(a[3])};
}

ATTN_INLINE attn__cpu_vec attn__cpu_iota(float first)
{
    return attn__cpu_set1(first) + (attn__cpu_vec){0, 1, 2, 3};
}
ATTN_INLINE attn__cpu_vec attn__cpu_keep(attn__cpu_vec x, int first, int lo, int hi, int lo2, int hi2)
{
    const attn__cpu_int j = (attn__cpu_int){0, 1, 2, 3} + first;
    const attn__cpu_int in = (attn__cpu_int)((j >= lo) & (j < hi)) | (attn__cpu_int)((j >= lo2) & (j < hi2));
    return attn__cpu_pick(in, x, attn__cpu_set1(-__builtin_inff()));
}

ATTN_INLINE attn__cpu_vec attn__cpu_load_f32(const float *p)
{
    attn__cpu_vec a;
    memcpy(&a, p, sizeof a);
    return a;
}
ATTN_INLINE attn__cpu_vec attn__cpu_load_f32_n(const float *p, int n)
{
    attn__cpu_vec a = {0, 0, 0, 0};
    for (int i = 0; i < n; ++i)
        a[i] = p[i];
    return a;
}
/* x, and no more loads of it: else a compiler may load it once for each use. */
ATTN_INLINE attn__cpu_vec attn__cpu_once(attn__cpu_vec x) { return x; }
ATTN_INLINE void attn__cpu_store_f32(float *p, attn__cpu_vec a) { memcpy(p, &a, sizeof a); }
ATTN_INLINE void attn__cpu_store_f32_n(float *p, attn__cpu_vec a, int n)
{
    for (int i = 0; i < n; ++i)
        p[i] = a[i];
}

/* f16 by integers and one multiplication: exponent moved by 2^112, which also normalises subnormals. */
ATTN_INLINE attn__cpu_vec attn__cpu_widen_f16(attn__cpu_int h)
{
    const attn__cpu_int bits = (h & 0x7fff) << 13;
    const attn__cpu_vec f = (attn__cpu_vec)bits * attn__cpu_set1(5.192296858534828e33f); /* 2^112 */
    const attn__cpu_int special = (attn__cpu_int)(bits >= 0x0f800000) & 0x7f800000; /* inf and NaN */
    return (attn__cpu_vec)((attn__cpu_int)f | special | (attn__cpu_int)((attn__cpu_uint)(h & 0x8000) << 16));
}
ATTN_INLINE attn__cpu_vec attn__cpu_load_f16(const uint16_t *p)
{
    return attn__cpu_widen_f16((attn__cpu_int){p[0], p[1], p[2], p[3]});
}
ATTN_INLINE attn__cpu_vec attn__cpu_load_bf16(const uint16_t *p)
{
    return (attn__cpu_vec)((attn__cpu_uint){p[0], p[1], p[2], p[3]} << 16);
}
ATTN_INLINE attn__cpu_vec attn__cpu_load_f16_n(const uint16_t *p, int n)
{
    attn__cpu_int h = {0, 0, 0, 0};
    for (int i = 0; i < n; ++i)
        h[i] = p[i];
    return attn__cpu_widen_f16(h);
}
ATTN_INLINE attn__cpu_vec attn__cpu_load_bf16_n(const uint16_t *p, int n)
{
    attn__cpu_uint h = {0, 0, 0, 0};
    for (int i = 0; i < n; ++i)
        h[i] = p[i];
    return (attn__cpu_vec)(h << 16);
}
/* 4 elements of 8 bits, or of 4 from an even one on. */
ATTN_INLINE attn__cpu_vec attn__cpu_load_e4m3(const uint8_t *p)
{
    return (attn__cpu_vec){attn__e4m3_to_f32(p[0]), attn__e4m3_to_f32(p[1]), attn__e4m3_to_f32(p[2]),
                           attn__e4m3_to_f32(p[3])};
}
ATTN_INLINE attn__cpu_vec attn__cpu_load_e5m2(const uint8_t *p)
{
    return attn__cpu_widen_f16((attn__cpu_int){p[0] << 8, p[1] << 8, p[2] << 8, p[3] << 8});
}
ATTN_INLINE attn__cpu_vec attn__cpu_load_int8(const uint8_t *p)
{
    return (attn__cpu_vec){(int8_t)p[0], (int8_t)p[1], (int8_t)p[2], (int8_t)p[3]};
}
ATTN_INLINE attn__cpu_vec attn__cpu_load_int4(const uint8_t *p)
{
    return (attn__cpu_vec){attn__int4_to_f32(p[0], 0), attn__int4_to_f32(p[0], 1), attn__int4_to_f32(p[1], 0),
                           attn__int4_to_f32(p[1], 1)};
}
/* Calls: conversions of scalars are too long to stand at every store of a tile. */
ATTN_NOINLINE void attn__cpu_store_f16(uint16_t *p, attn__cpu_vec a)
{
    for (int i = 0; i < 4; ++i)
        p[i] = attn__f32_to_f16(a[i]);
}
ATTN_NOINLINE void attn__cpu_store_bf16(uint16_t *p, attn__cpu_vec a)
{
    for (int i = 0; i < 4; ++i)
        p[i] = attn__f32_to_bf16(a[i]);
}
/* 8 elements of bf16 as those at even places and those at odd ones, which takes no shuffle; and back. */
ATTN_INLINE void attn__cpu_load2_bf16(const uint16_t *p, attn__cpu_vec x[2])
{
    x[0] = (attn__cpu_vec)((attn__cpu_uint){p[0], p[2], p[4], p[6]} << 16);
    x[1] = (attn__cpu_vec)((attn__cpu_uint){p[1], p[3], p[5], p[7]} << 16);
}
ATTN_NOINLINE void attn__cpu_store2_bf16(uint16_t *p, const attn__cpu_vec x[2])
{
    for (int i = 0; i < 8; ++i)
        p[i] = attn__f32_to_bf16(x[i % 2][i / 2]);
}
/* Elements at even and at odd places to two vectors of elements in their order. */
ATTN_INLINE void attn__cpu_zip(attn__cpu_vec x[2])
{
    const attn__cpu_vec a = x[0], b = x[1];
    x[0] = (attn__cpu_vec){a[0], b[0], a[1], b[1]};
    x[1] = (attn__cpu_vec){a[2], b[2], a[3], b[3]};
}
/* Past the caches, where the processor can: p is aligned as what is stored; fence orders it before what follows. */
ATTN_INLINE void attn__cpu_stream_f32(float *p, attn__cpu_vec a) { attn__cpu_store_f32(p, a); }
ATTN_INLINE void attn__cpu_stream_f16(uint16_t *p, attn__cpu_vec a) { attn__cpu_store_f16(p, a); }
ATTN_INLINE void attn__cpu_stream_bf16(uint16_t *p, attn__cpu_vec a) { attn__cpu_store_bf16(p, a); }
ATTN_INLINE void attn__cpu_stream2_bf16(uint16_t *p, const attn__cpu_vec x[2]) { attn__cpu_store2_bf16(p, x); }
ATTN_INLINE void attn__cpu_fence(void) {}

ATTN_INLINE void attn__cpu_transpose(attn__cpu_vec r[4])
{
    const attn__cpu_vec a = r[0], b = r[1], c = r[2], d = r[3];
    ATTN_UNROLL for (int i = 0; i < 4; ++i)
        r[i] = (attn__cpu_vec){a[i], b[i], c[i], d[i]};
}

#define ATTN_VEC(op) ATTN_CAT(attn__cpu_, op)
#include <attn/device/vec_math.h>
#undef ATTN_VEC
#endif /* ATTN_DEVICE_VEC_CPU_H */
