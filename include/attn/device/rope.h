/* rope.h - rotary position embedding: the angles of a position, and the rotation of a pair.
 *
 * Pair n of `dims` rotated dims turns by position * base^(-2n / dims).  A position of a million turns by thousands of
 * radians, of which f32 keeps no fraction; so angles are counted in turns, as 64-bit fractions of one: their products
 * with positions drop whole turns by themselves, and err by less than 2^-32 of a turn up to a position of a million,
 * 2^-21 for any int32.  C11, C++ and CUDA. */
#ifndef ATTN_DEVICE_ROPE_H
#define ATTN_DEVICE_ROPE_H

#include <math.h>
#include <stdint.h>
#include <attn/param.h>

#ifdef __CUDACC__
#define ATTN_ROPE_FN static __host__ __device__ inline
#else
#define ATTN_ROPE_FN static inline __attribute__((unused))
#endif

enum { ATTN_ROPE_POWERS = 9 }; /* pairs are below 2^9: ATTN_ROPE_DIM_MOST */

/* What the host prepares, once a call. */
typedef struct attn__rope {
    int32_t style; /* ATTN_ROPE_... */
    int32_t half;  /* pairs */
    double unit;   /* 2^64 / (2 pi): of a turn a position, of pair 0 */
    double power[ATTN_ROPE_POWERS]; /* base^(-2 2^k / dims) */
    const float *cos, *sin;         /* [positions, half], or NULL */
} attn__rope;

static inline __attribute__((unused)) attn__rope attn__rope_make(int32_t style, int32_t dims, float base,
                                                                 const float *cosines, const float *sines)
{
    attn__rope r;
    r.style = style;
    r.half = dims / 2;
    r.unit = 18446744073709551616.0 / 6.28318530717958647692;
    for (int k = 0; k < ATTN_ROPE_POWERS; ++k)
        r.power[k] = style ? pow((double)base, -2.0 * (double)(1 << k) / (double)dims) : 0.0;
    r.cos = cosines;
    r.sin = sines;
    return r;
}

/* Which pair dim d belongs to, d below 2 half; which dim is the other of it. */
ATTN_ROPE_FN int attn__rope_pair(const attn__rope *r, int d)
{
    return r->style == ATTN_ROPE_INTERLEAVED ? d / 2 : d < r->half ? d : d - r->half;
}
ATTN_ROPE_FN int attn__rope_other(const attn__rope *r, int d)
{
    return r->style == ATTN_ROPE_INTERLEAVED ? d ^ 1 : d < r->half ? d + r->half : d - r->half;
}
ATTN_ROPE_FN int attn__rope_is_first(const attn__rope *r, int d)
{
    return r->style == ATTN_ROPE_INTERLEAVED ? d % 2 == 0 : d < r->half;
}

/* Sine and cosine of a fraction of a turn, error 1e-7.  The polynomials of Cephes sinf and cosf (Moshier, netlib,
 * coefficients of its published tables) on an eighth of a turn to either side of the nearest quarter. */
ATTN_ROPE_FN void attn__rope_sincos(uint32_t turn, float *sine, float *cosine)
{
    const uint32_t quarter = (turn + 0x20000000u) >> 30;
    const float x = (float)(int32_t)(turn - (quarter << 30)) * 1.46291807926715968105e-9f; /* 2 pi / 2^32 */
    const float z = x * x;
    const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    const float c =
        ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
    const float a = quarter & 1 ? c : s, b = quarter & 1 ? s : c;
    *sine = quarter & 2 ? -a : a;
    *cosine = quarter - 1 < 2u ? -b : b; /* negative in the second and third quarter */
}

/* How far a pair turns in a position, in 2^-64 of a turn. */
ATTN_ROPE_FN double attn__rope_frequency(const attn__rope *r, int pair)
{
    double f = r->unit;
    for (int k = 0; k < ATTN_ROPE_POWERS; ++k)
        f *= pair >> k & 1 ? r->power[k] : 1.0;
    return f;
}

/* Of a pair of this frequency at a position; in tables those below 0 have the angles of 0. */
ATTN_ROPE_FN void attn__rope_angle_of(const attn__rope *r, int pair, double frequency, int64_t position, float *sine,
                                      float *cosine)
{
    if (r->cos) {
        const int64_t at = (position < 0 ? 0 : position) * r->half + pair;
        *sine = r->sin[at];
        *cosine = r->cos[at];
        return;
    }
    attn__rope_sincos((uint32_t)((uint64_t)position * (uint64_t)frequency >> 32), sine, cosine);
}
ATTN_ROPE_FN void attn__rope_angle(const attn__rope *r, int pair, int64_t position, float *sine, float *cosine)
{
    attn__rope_angle_of(r, pair, attn__rope_frequency(r, pair), position, sine, cosine);
}

/* Dim d of a rotated pair: own is x[d], other is x[attn__rope_other(d)]. */
ATTN_ROPE_FN float attn__rope_turn(int is_first, float own, float other, float sine, float cosine)
{
    return is_first ? own * cosine - other * sine : own * cosine + other * sine;
}

#undef ATTN_ROPE_FN
#endif /* ATTN_DEVICE_ROPE_H */
