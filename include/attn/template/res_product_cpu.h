/* res_product_cpu.h - the two products of phase 1 and of its gradient, as tiles of registers: logits, sums over dims;
 * results, sums over rows.
 *
 * Included by res_cpu.h alone, no guard. */

/* Adds the products of elements d .. d + n - 1. */
ATTN_INLINE void ATTN_FN(_dots_step)(const void *const *v, int at, const float *w, int d, int n,
                                     ATTN_VEC_T (*sum)[ATTN_RES_SB], ATTN_VEC_T *square, int nb, int sb, int squares)
{
    ATTN_VEC_T a[2 * ATTN_RES_NB][2], b;
    if (sb > 1)
        ATTN_UNROLL for (int i = 0; i < nb; ++i)
            ATTN_FN(_load2)(a[i], v[i], at + d, n, ATTN_DTYPE);
    ATTN_UNROLL for (int i = 0; i < nb; ++i) {
        if (sb == 1) { /* one after the other: with one query registers are for more rows */
            ATTN_FN(_load2)(a[i], v[i], at + d, n, ATTN_DTYPE);
            sum[i][0] = ATTN_V(fma)(a[i][0], ATTN_V(load_f32)(w + d), sum[i][0]);
            sum[i][0] = ATTN_V(fma)(a[i][1], ATTN_V(load_f32)(w + d + ATTN_W), sum[i][0]);
        }
        ATTN_UNROLL for (int k = 0; k < 2 && squares; ++k)
            square[i] = ATTN_V(fma)(a[i][k], a[i][k], square[i]);
    }
    ATTN_UNROLL for (int s = 0; s < sb && sb > 1; ++s)
        ATTN_UNROLL for (int k = 0; k < 2; ++k) {
            b = ATTN_V(once)(ATTN_V(load_f32)(w + d * sb + s * ATTN_RES_PAIR + k * ATTN_W));
            ATTN_UNROLL for (int i = 0; i < nb; ++i)
                sum[i][s] = ATTN_V(fma)(a[i][k], b, sum[i][s]);
        }
}

/* y[i * ATTN_RES_QUERIES + s] = v[i] . w[s] over elements d .. end - 1 (of v: `at` further on) and, if `squares`,
 * square[i] = v[i] . v[i]; if `more`, not = but +=.  nb, sb and squares are constants; w is packed by sb.  Asks for
 * what lies `ahead` elements behind the rows; 0: for nothing. */
ATTN_INLINE void ATTN_FN(_dots_tile)(const void *const *rows, int at, const float *w, int d, int end, int64_t ahead,
                                     float *y, float *square, int more, int nb, int sb, int squares)
{
    ATTN_VEC_T sum[2 * ATTN_RES_NB][ATTN_RES_SB], own[2 * ATTN_RES_NB];
    const void *v[2 * ATTN_RES_NB]; /* nothing that is stored can change them */
    ATTN_UNROLL for (int i = 0; i < nb; ++i) {
        v[i] = rows[i];
        own[i] = ATTN_V(set1)(0.0f);
        ATTN_UNROLL for (int s = 0; s < sb; ++s)
            sum[i][s] = ATTN_V(set1)(0.0f);
    }
    for (; d + ATTN_RES_STEP <= end; d += ATTN_RES_STEP) {
        if (ahead)
            ATTN_UNROLL for (int i = 0; i < nb; ++i)
                ATTN_UNROLL for (int k = 0; k < ATTN_RES_STEP; k += ATTN_RES_LINE)
                    __builtin_prefetch((const ATTN_KV_T *)v[i] + at + d + k + ahead, 0, 3);
        ATTN_UNROLL for (int k = 0; k < ATTN_RES_STEP; k += ATTN_RES_PAIR)
            ATTN_FN(_dots_step)(v, at, w, d + k, ATTN_RES_PAIR, sum, own, nb, sb, squares);
    }
    for (; d < end; d += ATTN_RES_PAIR)
        ATTN_FN(_dots_step)(v, at, w, d, end - d < ATTN_RES_PAIR ? end - d : ATTN_RES_PAIR, sum, own, nb, sb, squares);
    /* All sums of the tile lane by lane together, W at a time. */
    ATTN_VEC_T all[2 * ATTN_RES_NB * ATTN_RES_SB + ATTN_W];
    float now[2 * ATTN_RES_NB * ATTN_RES_SB + ATTN_W];
    ATTN_UNROLL for (int n = 0; n < nb * sb + ATTN_W - 1; ++n)
        all[n] = n < nb * sb ? sum[n / sb][n % sb] : ATTN_V(set1)(0.0f);
    ATTN_UNROLL for (int n = 0; n < nb * sb; n += ATTN_W)
        ATTN_V(store_f32)(now + n, ATTN_V(sums)(all + n));
    ATTN_UNROLL for (int i = 0; i < nb; ++i) {
        float *to = y + i * ATTN_RES_QUERIES;
        ATTN_UNROLL for (int s = 0; s < sb; ++s)
            to[s] = more ? to[s] + now[i * sb + s] : now[i * sb + s];
        if (squares)
            square[i] = ATTN_V(sum)(own[i]) + (more ? square[i] : 0.0f);
    }
}

/* All rows, whose list goes on with the last one as far as a tile may, and all queries, in packed rows of `pitch`
 * floats; square may be NULL. */
ATTN_NOINLINE void ATTN_FN(_dots)(const ATTN_FN(_call) *c, const void *const *v, int at, const float *w, int pitch,
                                  int d, int end, int64_t ahead, float *y, float *square, int more)
{
    const int nb = c->wide == 1 ? 2 * ATTN_RES_NB : ATTN_RES_NB;
    for (int n = 0; n < c->blocks; n += nb)
        for (int s = 0; s < c->queries; s += c->wide) {
            const float *from = w + (size_t)s * (size_t)pitch;
            float *to = y + n * ATTN_RES_QUERIES + s, *own = square + n;
            const int64_t then = s ? 0 : ahead;
            const int squares = square && !s;
            if (c->wide == 1 && squares)
                ATTN_FN(_dots_tile)(v + n, at, from, d, end, then, to, own, more, 2 * ATTN_RES_NB, 1, 1);
            else if (c->wide == 1)
                ATTN_FN(_dots_tile)(v + n, at, from, d, end, then, to, own, more, 2 * ATTN_RES_NB, 1, 0);
            else if (c->wide == 4 && squares)
                ATTN_FN(_dots_tile)(v + n, at, from, d, end, then, to, own, more, ATTN_RES_NB, 4, 1);
            else if (c->wide == 4)
                ATTN_FN(_dots_tile)(v + n, at, from, d, end, then, to, own, more, ATTN_RES_NB, 4, 0);
            else if (squares)
                ATTN_FN(_dots_tile)(v + n, at, from, d, end, then, to, own, more, ATTN_RES_NB, ATTN_RES_SB, 1);
            else
                ATTN_FN(_dots_tile)(v + n, at, from, d, end, then, to, own, more, ATTN_RES_NB, ATTN_RES_SB, 0);
        }
}

/* Results of a token as sums of rows: to[o][d] = sum over k of c[o * by_out + k * by_row] row[k][d]. */
typedef struct ATTN_FN(_mixed) {
    const void *const *row; /* of the instance's type */
    const float *const *kept; /* or packed, pairs c->wide pairs apart; NULL: not so */
    int rows, outs, dims, wide, by_out, by_row;
    const float *c;
    void *const *to;
    float *const *keep; /* or to rows that are kept; NULL: not so */
    int dtype, stream;  /* of the results */
    int64_t ahead;      /* asks for what lies so many elements behind the rows, ... */
    int ask;            /* ... from this dim on */
    int add;            /* backward: to what is there */
    const float *by;    /* backward: and by[o] v[o][d]; NULL: no */
    const void *const *v;
} ATTN_FN(_mixed);

/* `outs` results from o on, of which some may not be there: dims d .. d + n - 1, at most `pairs` pairs.  What is mixed
 * are the pairs `at` of the rows, which are kept or of the instance's type.  outs, pairs and kept are constants. */
ATTN_INLINE void ATTN_FN(_mix_tile)(const ATTN_FN(_mixed) *m, const void *const *row, int at, int d, int n, int o,
                                    int outs, int pairs, int kept)
{
    ATTN_VEC_T sum[ATTN_RES_OB][2], x[4][2];
    const float *c = m->c + o * m->by_out;
    const int by_out = m->by_out, by_row = m->by_row, live = m->outs - o, rows = m->rows, all = outs * pairs;
    const int one = pairs > 1 ? ATTN_RES_PAIR : n;
    ATTN_UNROLL for (int i = 0; i < all; ++i)
        sum[i][0] = sum[i][1] = ATTN_V(set1)(0.0f);
    for (int k = 0; k < rows; ++k) {
        ATTN_UNROLL for (int i = 0; i < pairs; ++i)
            if (kept)
                ATTN_FN(_load_kept)(x[i], (const float *)row[k] + at + i * ATTN_RES_PAIR);
            else
                ATTN_FN(_load2)(x[i], row[k], at + i * ATTN_RES_PAIR, ATTN_RES_PAIR, ATTN_DTYPE);
        ATTN_UNROLL for (int i = 0; i < all; ++i) {
            const ATTN_VEC_T f = ATTN_V(set1)(c[i / pairs * by_out + k * by_row]);
            sum[i][0] = ATTN_V(fma)(f, x[i % pairs][0], sum[i][0]);
            sum[i][1] = ATTN_V(fma)(f, x[i % pairs][1], sum[i][1]);
        }
    }
#if ATTN_RES_BACKWARD
    ATTN_UNROLL for (int i = 0; i < all; ++i) {
        const int out = o + i / pairs, from = d + i % pairs * ATTN_RES_PAIR;
        if (i / pairs >= live)
            continue;
        if (m->by) {
            const ATTN_VEC_T f = ATTN_V(set1)(m->by[out]);
            ATTN_FN(_load2)(x[0], m->v[out], from, one, ATTN_DTYPE);
            sum[i][0] = ATTN_V(fma)(f, x[0][0], sum[i][0]);
            sum[i][1] = ATTN_V(fma)(f, x[0][1], sum[i][1]);
        }
        if (m->add) {
            if (m->keep)
                ATTN_FN(_load_kept)(x[0], m->keep[out] + from);
            else
                ATTN_FN(_load2)(x[0], m->to[out], from, one, m->dtype);
            sum[i][0] = sum[i][0] + x[0][0];
            sum[i][1] = sum[i][1] + x[0][1];
        }
    }
    if (m->keep) {
        ATTN_UNROLL for (int i = 0; i < all; ++i)
            if (i / pairs < live)
                ATTN_FN(_keep)(m->keep[o + i / pairs] + d + i % pairs * ATTN_RES_PAIR, sum[i]);
        return;
    }
#endif
    /* What is the same for all stores is asked once. */
    if (m->dtype != ATTN_DTYPE || one < ATTN_RES_PAIR)
        ATTN_UNROLL for (int i = 0; i < all; ++i) {
            if (i / pairs < live)
                ATTN_FN(_store2)(m->to[o + i / pairs], d + i % pairs * ATTN_RES_PAIR, one, m->dtype, m->stream, sum[i]);
        }
    else if (m->stream)
        ATTN_UNROLL for (int i = 0; i < all; ++i) {
            if (i / pairs < live)
                ATTN_FN(_store2)(m->to[o + i / pairs], d + i % pairs * ATTN_RES_PAIR, ATTN_RES_PAIR, ATTN_DTYPE, 1,
                                 sum[i]);
        }
    else
        ATTN_UNROLL for (int i = 0; i < all; ++i)
            if (i / pairs < live)
                ATTN_FN(_store2)(m->to[o + i / pairs], d + i % pairs * ATTN_RES_PAIR, ATTN_RES_PAIR, ATTN_DTYPE, 0,
                                 sum[i]);
}

/* All results and dims; whether the rows are packed is a constant.  copies: [rows][a pair]. */
ATTN_INLINE void ATTN_FN(_mix)(const ATTN_FN(_mixed) *m, float *copies, int kept)
{
    const void *copied[2 * ATTN_RES_QUERIES];
    const int last = m->dims - m->dims % ATTN_RES_PAIR, four = m->outs == 1 && (!kept || m->wide == 1);
    /* Lines of the next rows for each pair: row by row, as they follow each other in memory. */
    const int lines = (m->rows * (m->dims - m->ask) / ATTN_RES_LINE * ATTN_RES_PAIR + m->dims - 1) / m->dims;
    int asked = m->ahead ? 0 : m->rows, ask = m->ask;
    for (int k = 0; k < m->rows && !kept; ++k)
        copied[k] = copies + k * ATTN_RES_PAIR;
    for (int d = 0, n; d < m->dims; d += n) {
        const int copy = !kept && d == last; /* of which some elements are not there */
        const void *const *row = kept ? (const void *const *)m->kept : copy ? copied : m->row;
        const int at = kept ? d * m->wide : copy ? 0 : d;
        n = four && d + 4 * ATTN_RES_PAIR <= last ? 4 * ATTN_RES_PAIR : d < last ? ATTN_RES_PAIR : m->dims - d;
        for (int i = 0; i < (n > ATTN_RES_PAIR ? 4 * lines : lines) && asked < m->rows; ++i) {
            __builtin_prefetch((const ATTN_KV_T *)m->row[asked] + m->ahead + ask, 0, 3);
            ask += ATTN_RES_LINE;
            if (ask >= m->dims) {
                ask = m->ask;
                ++asked;
            }
        }
        for (int k = 0; k < m->rows && copy; ++k) {
            ATTN_VEC_T x[2];
            ATTN_FN(_load2)(x, m->row[k], d, n, ATTN_DTYPE);
            ATTN_FN(_keep)(copies + k * ATTN_RES_PAIR, x);
        }
        for (int o = 0, outs; o < m->outs; o += outs) {
            outs = m->outs - o > 5 ? ATTN_RES_OB : m->outs - o > 1 ? 4 : 1;
            if (n > ATTN_RES_PAIR)
                ATTN_FN(_mix_tile)(m, row, at, d, n, o, 1, 4, kept);
            else if (copy && outs == ATTN_RES_OB)
                ATTN_FN(_mix_tile)(m, row, at, d, n, o, ATTN_RES_OB, 1, 1);
            else if (copy && outs == 4)
                ATTN_FN(_mix_tile)(m, row, at, d, n, o, 4, 1, 1);
            else if (copy)
                ATTN_FN(_mix_tile)(m, row, at, d, n, o, 1, 1, 1);
            else if (outs == ATTN_RES_OB)
                ATTN_FN(_mix_tile)(m, row, at, d, n, o, ATTN_RES_OB, 1, kept);
            else if (outs == 4)
                ATTN_FN(_mix_tile)(m, row, at, d, n, o, 4, 1, kept);
            else
                ATTN_FN(_mix_tile)(m, row, at, d, n, o, 1, 1, kept);
        }
    }
}

/* Of one token: its rows of V, own->square = 1 / root of their mean squares, own->y = the logits, and own->u = their
 * products with rows of dO1, packed as two parts, unless that is NULL. */
ATTN_INLINE void ATTN_FN(_logits)(const ATTN_FN(_call) *c, ATTN_FN(_own) *own, int64_t t, const void **v,
                                  const float *do1)
{
    const attn_res_params *p = c->p;
    const int64_t next = t + 1 < p->tokens ? p->v.stride[1] : 0;
    for (int n = 0; n < c->blocks + 2 * ATTN_RES_NB; ++n)
        v[n] = ATTN_FN(_row)(&p->v, p->v_table, n < c->blocks ? n : c->blocks - 1, t, 0);
    for (int d = 0, end; do1 && d < c->first; d = end) {
        end = c->first - d > c->chunk ? d + c->chunk : c->first;
        ATTN_FN(_dots)(c, v, 0, do1, c->first_pitch, d, end, 0, own->u, NULL, d > 0);
    }
    for (int d = 0, end; d < c->key; d = end) {
        const int64_t ahead = c->first + d < c->fetch ? next : 0;
        end = c->key - d > c->chunk ? d + c->chunk : c->key;
        ATTN_FN(_dots)(c, v, c->first, c->w, c->pitch, d, end, ahead, own->y, own->square, d > 0);
        if (do1)
            ATTN_FN(_dots)(c, v, c->first, do1 + ATTN_FN(_padded)(c) * (size_t)c->first_pitch, c->pitch, d, end, 0,
                           own->u, NULL, c->first + d > 0);
    }
    for (int n = 0; n < c->blocks; ++n) {
        own->square[n] = 1.0f / sqrtf(own->square[n] / (float)c->key + p->eps);
        for (int s = 0; s < c->queries; s += ATTN_W) {
            float *y = own->y + n * ATTN_RES_QUERIES + s;
            ATTN_V(store_f32)(y, ATTN_V(load_f32)(y) * ATTN_V(set1)(own->square[n] * p->scale));
        }
    }
}
