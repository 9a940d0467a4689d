/* mask.h - which keys may a query see, and so which key tiles can be skipped.
 *
 * The one place where causal, window, chunked attention, sink tokens and lengths act, for every
 * kernel on every arch (docs/semantics.md, "Which keys are visible").  All of them together leave a
 * row at most two intervals of keys, [sink_lo, sink_hi) and [lo, hi), whose ends never fall as the
 * row number grows; so the keys of a range of rows are known from its ends.  Tensor masks and user
 * macros are per score, and act where scores are changed.  Parameter-free; C11, C++ and CUDA. */
#ifndef ATTN_DEVICE_MASK_H
#define ATTN_DEVICE_MASK_H
#include <stdint.h>
#include <attn/param.h>

#if defined(__CUDACC__)
#define ATTN_MASK_FN static __host__ __device__ __forceinline__
#else
#define ATTN_MASK_FN static inline __attribute__((unused))
#endif

/* The rules of one sequence.  Make it with attn__mask_make. */
typedef struct attn__mask {
    int64_t shift;       /* seq_k - seq_q of this sequence */
    int64_t below;       /* causal: keys j <= i + below; a huge number if not causal */
    int64_t left, right; /* window, >= 0; huge = infinite */
    int32_t chunk;       /* C, or 0 */
    int32_t sink_tokens; /* S, or 0 */
    int32_t seq_k;       /* keys in use */
} attn__mask;

/* Keys that one row sees: [sink_lo, sink_hi) and [lo, hi), the first before the second and apart from it. */
typedef struct attn__keys {
    int32_t sink_lo, sink_hi, lo, hi;
} attn__keys;

ATTN_MASK_FN attn__mask attn__mask_make(int32_t seq_q, int32_t seq_k, int32_t causal, int32_t window, int32_t left,
                                        int32_t right, int32_t chunk, int32_t sink_tokens)
{
    const int64_t huge = (int64_t)1 << 40;
    attn__mask m;
    m.shift = (int64_t)seq_k - seq_q;
    m.below = causal == ATTN_CAUSAL_NONE ? huge : causal == ATTN_CAUSAL_TOP_LEFT ? 0 : m.shift;
    m.left = window && left >= 0 ? left : huge;
    m.right = window && right >= 0 ? right : huge;
    m.chunk = chunk;
    m.sink_tokens = sink_tokens;
    m.seq_k = seq_k;
    return m;
}

/* Keys of row i. */
ATTN_MASK_FN attn__keys attn__mask_row(const attn__mask *m, int32_t i)
{
    const int64_t at = i + m->shift; /* absolute position of the query; may be negative */
    int64_t lo = 0, hi = m->seq_k, first = 0;
    if (hi > i + m->below + 1)
        hi = i + m->below + 1;
    if (m->chunk) {
        if (at < 0)
            hi = 0; /* its chunk lies before every key */
        else {
            first = at - (int32_t)at % m->chunk; /* at fits: it is below seq_k */
            if (hi > first + m->chunk)
                hi = first + m->chunk;
        }
    }
    /* What the window does not touch is settled: [first, hi).  Sinks are its keys below sink_tokens. */
    int64_t sink_hi = m->sink_tokens < hi ? m->sink_tokens : hi;
    lo = at - m->left > first ? at - m->left : first;
    if (hi > at + m->right + 1)
        hi = at + m->right + 1;
    attn__keys r;
    if (sink_hi <= first) {
        first = sink_hi = 0;
    } else if (sink_hi >= lo) { /* the intervals touch: one */
        if (hi < sink_hi)
            hi = sink_hi;
        lo = first;
        first = sink_hi = 0;
    }
    if (hi <= lo)
        lo = hi = sink_hi;
    r.sink_lo = (int32_t)first;
    r.sink_hi = (int32_t)sink_hi;
    r.lo = (int32_t)lo;
    r.hi = (int32_t)hi;
    return r;
}

/* Keys of the rows i0 .. i1 (both included) together: any of them sees at most [sink_lo, sink_hi) and [lo, hi), and
 * each of them sees all of [full_lo, full_hi).  What is empty has its end at or before its start. */
typedef struct attn__span {
    int32_t sink_lo, sink_hi, lo, hi, full_lo, full_hi;
} attn__span;

ATTN_MASK_FN int32_t attn__mask_clip(int64_t j, int64_t most)
{
    return (int32_t)(j < 0 ? 0 : j > most ? most : j);
}

ATTN_MASK_FN attn__span attn__mask_rows(const attn__mask *m, int32_t i0, int32_t i1)
{
    /* Before they are fitted together, each end rises with the row: the first row has the least of each. */
    const int64_t at0 = i0 + m->shift, at1 = i1 + m->shift;
    int64_t first0 = 0, first1 = 0, end0 = m->seq_k, end1 = m->seq_k; /* causal and chunk alone */
    if (end0 > i0 + m->below + 1)
        end0 = i0 + m->below + 1;
    if (end1 > i1 + m->below + 1)
        end1 = i1 + m->below + 1;
    if (m->chunk) {
        first0 = at0 < 0 ? 0 : at0 - (int32_t)at0 % m->chunk;
        first1 = at1 < 0 ? 0 : at1 - (int32_t)at1 % m->chunk;
        if (end0 > (at0 < 0 ? 0 : first0 + m->chunk))
            end0 = at0 < 0 ? 0 : first0 + m->chunk;
        if (end1 > (at1 < 0 ? 0 : first1 + m->chunk))
            end1 = at1 < 0 ? 0 : first1 + m->chunk;
    }
    attn__span r;
    const int64_t most = m->seq_k;
    r.sink_lo = attn__mask_clip(first0, most);
    r.sink_hi = attn__mask_clip(m->sink_tokens < end1 ? m->sink_tokens : end1, most);
    r.lo = attn__mask_clip(at0 - m->left > first0 ? at0 - m->left : first0, most);
    r.hi = attn__mask_clip(end1 < at1 + m->right + 1 ? end1 : at1 + m->right + 1, most);
    r.full_lo = attn__mask_clip(at1 - m->left > first1 ? at1 - m->left : first1, most);
    r.full_hi = attn__mask_clip(end0 < at0 + m->right + 1 ? end0 : at0 + m->right + 1, most);
    return r;
}

/* The same where neither chunk nor sink tokens act, in fewer steps; nor causal, nor the window, if told so. */
ATTN_MASK_FN attn__span attn__mask_band(const attn__mask *m, int32_t i0, int32_t i1, int causal, int window)
{
    attn__span r;
    r.sink_lo = r.sink_hi = r.lo = r.full_lo = 0;
    r.hi = r.full_hi = m->seq_k;
    if (causal) {
        r.hi = attn__mask_clip(i1 + m->below + 1, r.hi);
        r.full_hi = attn__mask_clip(i0 + m->below + 1, r.full_hi);
    }
    if (window) {
        r.hi = attn__mask_clip(i1 + m->shift + m->right + 1, r.hi);
        r.full_hi = attn__mask_clip(i0 + m->shift + m->right + 1, r.full_hi);
        r.lo = attn__mask_clip(i0 + m->shift - m->left, m->seq_k);
        r.full_lo = attn__mask_clip(i1 + m->shift - m->left, m->seq_k);
    }
    return r;
}

/* Keys of row i there, [*from, *to), before they are fitted to the sequence: row i + 1 has them one further on. */
ATTN_MASK_FN void attn__mask_band_row(const attn__mask *m, int32_t i, int window, int64_t *from, int64_t *to)
{
    *from = 0;
    *to = i + m->below + 1;
    if (window) {
        const int64_t at = i + m->shift, end = at + m->right + 1;
        *from = at - m->left;
        *to = end < *to ? end : *to;
    }
}

#endif /* ATTN_DEVICE_MASK_H */
