/* score_cuda.cuh - what changes a score on a GPU: softcap, bias, ALiBi, user macros, tensor masks, and the intervals
 * of mask.h.  The one place; included by the CUDA forward templates after unit_cuda.cuh, no guard.
 *
 * Order: softcap, bias and ALiBi, ATTN_SCORE_MOD, masks (docs/semantics.md). */

/* Whether a tensor or macro may hide a key inside the intervals. */
ATTN_DEVICE int ATTN_FN(_has_mask)(const ATTN_FN(_args) *a)
{
#ifdef ATTN_MASK
    (void)a;
    return 1;
#else
    return (ATTN_BOOL_MASK && a->p.mask.data) || (ATTN_BIAS && a->p.bias.data);
#endif
}

/* Whether scores are changed by more than softcap and ALiBi. */
ATTN_DEVICE int ATTN_FN(_has_row)(const ATTN_FN(_args) *a)
{
#ifdef ATTN_SCORE_MOD
    (void)a;
    return 1;
#else
    return ATTN_FN(_has_mask)(a);
#endif
}

/* Whether scores are changed at all, beyond the intervals. */
ATTN_DEVICE int ATTN_FN(_has_score)(const ATTN_FN(_args) *a)
{
    /* A kernel takes the maximum before it scales, unless scores are changed. */
    return ATTN_FN(_has_row)(a) || (ATTN_SOFTCAP && a->p.softcap > 0.0f) || (ATTN_ALIBI && a->p.alibi_slopes) ||
           a->p.scale < 0.0f;
}

/* Scores of one row: query position i, query head h.  x[n], 0 <= n < count, belongs to key
 * j0 + n / pair * step + n % pair; in: q.k, out: units of log2, -inf where a tensor or macro hides the key.  Keys below
 * 0 and from u->len_k on may be among them; their scores mean nothing.  pair, step and count are constants: a step of
 * the order is one loop over registers, behind one branch. */
ATTN_DEVICE void ATTN_FN(_score_row)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int i, int h, int j0, int pair,
                                     int step, int count, float *x)
{
    const attn_params *p = &a->p;
    const int at = (int)(i + u->mask.shift);
    (void)at;
    ATTN_UNROLL
    for (int n = 0; n < count; ++n)
        x[n] *= p->scale;
    if (ATTN_SOFTCAP && p->softcap > 0.0f) {
        const float inverse = 1.0f / p->softcap;
        ATTN_UNROLL
        for (int n = 0; n < count; ++n)
            x[n] = p->softcap * (ATTN_DTYPE == ATTN_F32 ? attn__tanh_f32(x[n] * inverse) : attn__tanh(x[n] * inverse));
    }
    if (ATTN_BIAS && p->bias.data) {
        const int64_t row = u->b * p->bias.stride[0] + h * p->bias.stride[1] + i * p->bias.stride[2];
        const float *f32 = (const float *)p->bias.data + row;
        const ATTN_Q_T *own = (const ATTN_Q_T *)p->bias.data + row;
        ATTN_UNROLL
        for (int n = 0; n < count; ++n) {
            const int j = j0 + n / pair * step + n % pair;
            float add = 0.0f;
            if ((unsigned)j < (unsigned)u->len_k)
                add = p->bias.dtype == ATTN_F32 ? f32[j] : ATTN_Q_SCALAR(own[j]);
            x[n] = add == ATTN_NEG_INF ? ATTN_NEG_INF : x[n] + add;
        }
    }
    if (ATTN_ALIBI && p->alibi_slopes) {
        const float slope = p->alibi_slopes[u->b * p->alibi_stride + h];
        ATTN_UNROLL
        for (int n = 0; n < count; ++n)
            x[n] += slope * (float)(j0 + n / pair * step + n % pair - at);
    }
#if defined(ATTN_SCORE_MOD) || defined(ATTN_MASK)
    ATTN_UNROLL
    for (int n = 0; n < count; ++n) {
#ifdef ATTN_USER
        const ATTN_USER *user = (const ATTN_USER *)p->user;
#else
        const void *user = p->user;
#endif
        const int b = u->b, q = at, k = j0 + n / pair * step + n % pair;
        (void)user, (void)b, (void)h, (void)q, (void)k;
        if ((unsigned)k >= (unsigned)u->len_k)
            continue;
#ifdef ATTN_SCORE_MOD
        x[n] = (float)(ATTN_SCORE_MOD(x[n], b, h, q, k));
#endif
#ifdef ATTN_MASK
        x[n] = (ATTN_MASK(b, h, q, k)) ? x[n] : ATTN_NEG_INF;
#endif
    }
#endif
    ATTN_UNROLL
    for (int n = 0; n < count; ++n)
        x[n] *= ATTN_LOG2E;
    if (ATTN_BOOL_MASK && p->mask.data) {
        const int64_t row = u->b * p->mask.stride[0] + h * p->mask.stride[1] + i * p->mask.stride[2];
        const unsigned char *m = (const unsigned char *)p->mask.data;
        const int bit = p->mask.dtype == ATTN_BIT;
        m += bit ? row / 8 : row; /* rows of bits begin at a byte */
        ATTN_UNROLL
        for (int n = 0; n < count; ++n) {
            const int j = j0 + n / pair * step + n % pair;
            if ((unsigned)j < (unsigned)u->len_k && !(bit ? m[j >> 3] >> (j & 7) & 1 : m[j]))
                x[n] = ATTN_NEG_INF;
        }
    }
}

/* The same for one score. */
ATTN_DEVICE float ATTN_FN(_score)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int i, int h, int j, float qk)
{
    float x[1] = { qk };
    ATTN_FN(_score_row)(a, u, i, h, j, 1, 1, 1, x);
    return x[0];
}

/* Whether the row whose keys are t sees key j. */
ATTN_DEVICE int ATTN_FN(_sees)(const attn__keys *t, int j)
{
    return (j >= t->lo && j < t->hi) || (ATTN_SINK_TOKENS && j >= t->sink_lo && j < t->sink_hi);
}
