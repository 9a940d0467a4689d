/* score_cpu.h - what changes a score on the CPU: softcap, bias, ALiBi, user macros, tensor masks, and the
 * intervals of mask.h.  The one place; included by forward_cpu.h alone, after its vocabulary.
 *
 * Scores arrive as scale * q.k, in units of log2 unless _natural(p); they leave in units of log2, -inf where
 * the key is hidden.  Order: softcap, bias and ALiBi, ATTN_SCORE_MOD, masks (docs/semantics.md). */

/* Whether a step needs scores in natural units: the base-2 factor is then applied here, not to Q. */
ATTN_INLINE int ATTN_FN(_natural)(const attn_params *p)
{
#ifdef ATTN_SCORE_MOD
    (void)p;
    return 1;
#else
    return ATTN_SOFTCAP && p->softcap > 0.0f;
#endif
}

/* Whether a tensor or macro may hide a key inside the intervals. */
ATTN_INLINE int ATTN_FN(_has_mask)(const ATTN_FN(_unit) *u)
{
#ifdef ATTN_MASK
    (void)u;
    return 1;
#else
    const attn_params *p = u->c->p;
    return (ATTN_BOOL_MASK && p->mask.data) || (ATTN_BIAS && p->bias.data);
#endif
}

/* Whether scores are changed at all, beyond the intervals. */
ATTN_INLINE int ATTN_FN(_has_score)(const ATTN_FN(_unit) *u)
{
    const attn_params *p = u->c->p;
    return ATTN_FN(_natural)(p) || ATTN_FN(_has_mask)(u) || (ATTN_ALIBI && p->alibi_slopes);
}

#if defined(ATTN_SCORE_MOD) || defined(ATTN_MASK)
#ifdef ATTN_USER
#define ATTN_USER_T_ ATTN_USER
#else
#define ATTN_USER_T_ void
#endif
/* The user's expressions, key by key.  q is the absolute position i + shift, k the key, b and h the sequence
 * and query head, `user` points to attn_params.user. */
ATTN_NOINLINE void ATTN_FN(_user_scores)(const ATTN_FN(_unit) *u, int b, int h, int q, int k0, int first, int end,
                                         float *s)
{
    const ATTN_USER_T_ *user = (const ATTN_USER_T_ *)u->c->p->user;
    (void)user, (void)b, (void)h, (void)q;
    for (int j = first; j < end; ++j) {
        const int k = k0 + j;
        (void)k;
#ifdef ATTN_SCORE_MOD
        s[j] = (float)(ATTN_SCORE_MOD(s[j], b, h, q, k));
#endif
#ifdef ATTN_MASK
        s[j] = (ATTN_MASK(b, h, q, k)) ? s[j] : -INFINITY;
#endif
    }
}
#undef ATTN_USER_T_
#endif

/* Changes scores [a, b) of one row in place (a, b multiples of NR; [first, end) of them are keys that exist and that
 * some row sees) and answers the greatest. */
ATTN_NOINLINE float ATTN_FN(_score_row)(const ATTN_FN(_unit) *u, int r, int k0, int a, int b, int first, int end,
                                        float *s)
{
    const attn_params *p = u->c->p;
    const int row = u->row0 + r, i = row / u->c->group, h = u->g * u->c->group + row % u->c->group;
    if (ATTN_FN(_has_score)(u)) {
        if (ATTN_SOFTCAP && p->softcap > 0.0f) {
            const ATTN_VEC_T cap = ATTN_V(set1)(p->softcap), inverse = ATTN_V(set1)(1.0f / p->softcap);
            for (int j = a; j < b; j += ATTN_W)
                ATTN_V(store_f32)(s + j, cap * ATTN_V(tanh)(ATTN_V(load_f32)(s + j) * inverse));
        }
        const float unit = ATTN_FN(_natural)(p) ? 1.0f : ATTN_LOG2E; /* of what is added below */
        if (ATTN_BIAS && p->bias.data) {
            const int64_t at = u->b * p->bias.stride[0] + h * p->bias.stride[1] + i * p->bias.stride[2] + k0;
            const float *f32 = (const float *)p->bias.data + at;
            const ATTN_Q_T *own = (const ATTN_Q_T *)p->bias.data + at;
            if (p->bias.dtype == ATTN_F32)
                for (int j = first; j < end; ++j)
                    s[j] = f32[j] == -INFINITY ? -INFINITY : s[j] + f32[j] * unit;
            else
                for (int j = first; j < end; ++j)
                    s[j] = ATTN_Q_SCALAR(own[j]) == -INFINITY ? -INFINITY : s[j] + ATTN_Q_SCALAR(own[j]) * unit;
        }
        if (ATTN_ALIBI && p->alibi_slopes) {
            const float slope = p->alibi_slopes[u->b * p->alibi_stride + h] * unit;
            const float at = (float)(k0 - (i + u->mask.shift));
            for (int j = a; j < b; j += ATTN_W)
                ATTN_V(store_f32)(s + j, ATTN_V(fma)(ATTN_V(iota)((float)j + at), ATTN_V(set1)(slope),
                                                     ATTN_V(load_f32)(s + j)));
        }
#if defined(ATTN_SCORE_MOD) || defined(ATTN_MASK)
        ATTN_FN(_user_scores)(u, u->b, h, (int)(i + u->mask.shift), k0, first, end, s);
#endif
        if (ATTN_FN(_natural)(p))
            for (int j = a; j < b; j += ATTN_W)
                ATTN_V(store_f32)(s + j, ATTN_V(load_f32)(s + j) * ATTN_V(set1)(ATTN_LOG2E));
        if (ATTN_BOOL_MASK && p->mask.data) {
            const int64_t at = u->b * p->mask.stride[0] + h * p->mask.stride[1] + i * p->mask.stride[2] + k0;
            const unsigned char *m = (const unsigned char *)p->mask.data;
            if (p->mask.dtype == ATTN_BOOL)
                for (int j = first; j < end; ++j)
                    s[j] = m[at + j] ? s[j] : -INFINITY;
            else
                for (int j = first; j < end; ++j)
                    s[j] = m[(at + j) >> 3] >> ((at + j) & 7) & 1 ? s[j] : -INFINITY;
        }
    }
    const attn__keys *t = &u->keys[r];
    const int lo = t->lo > k0 ? t->lo - k0 : 0, hi = t->hi < k0 + end ? t->hi - k0 : end;
    const int sink_lo = t->sink_lo > k0 ? t->sink_lo - k0 : 0, sink_hi = t->sink_hi < k0 + end ? t->sink_hi - k0 : end;
    ATTN_VEC_T top = ATTN_V(set1)(-INFINITY);
    for (int j = a; j < b; j += ATTN_W) {
        const ATTN_VEC_T x = ATTN_V(keep)(ATTN_V(load_f32)(s + j), j, lo, hi, sink_lo, sink_hi);
        ATTN_V(store_f32)(s + j, x);
        top = ATTN_V(max)(x, top);
    }
    return ATTN_V(top)(top);
}
