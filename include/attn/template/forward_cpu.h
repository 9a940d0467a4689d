/* forward_cpu.h - attention forward on a CPU: O = softmax(scale Q K^T + ...) V and LSE, in f32.
 *
 * Included by instance.h for ATTN_ARCH_CPU, _AVX2, _AVX512; uses every parameter of begin.h.
 *
 * What a unit of work is: one sequence, one KV head, up to ATTN_TILE_Q rows, one range of keys.  A row is
 * (query position, query head of the group), position-major: the heads of a group share every load of K and V,
 * and neighbouring rows see nearly the same keys.  Units are taken from a counter by the threads.
 *
 *            keys k0 .. k0 + TILE_K                      Q: [micro tile][dim][MR], scaled, so that a micro tile
 *          +------+------+------+------+                    reads one line after the other
 *     MR   | MRxNR|  ->  |      |      |  S, SUB rows    K: [panel][dim][NR], transposed once a tile
 *   rows   +------+------+------+------+  (L1)           S: [row][TILE_K], turned into P in place
 *     MR   |      |      |      |      |                 V: [panel of NR columns][key][NR]
 *          +------+------+------+------+                 O: [row][dim], f32
 *
 * For each tile of keys: pack K and V (any type, any strides, pages) once for all rows of the unit; then for
 * SUB rows at a time S = Q K, online softmax, O = O * alpha + P V.  Both products are one register kernel of
 * MR x NR accumulators; the panel of B (dim x NR or TILE_K x NR) stays in L1 while the rows pass.  The rescale
 * of O is the multiply-add that accumulates, so it costs nothing, and S is never touched outside L1.
 * Keys that no row of a micro tile sees are skipped, panel by panel in Q K and key by key in P V, so a causal
 * square costs little more than its half.
 *
 * Few rows (decode): packing would cost more than it saves.  Then K is read as it lies, a dot product for each
 * score, and V likewise; the memory is the limit, so the rows ahead are prefetched.
 *
 * Keys are cut into parts when there are too few units for many cores; how depends on sizes alone, never on the
 * number of threads, so results do not either. */

#include <math.h>
#include <string.h>
#if defined(_OPENMP)
#include <omp.h>
#endif
#include <attn/device/mask.h>
#include <attn/device/rope.h>
#include <attn/template/vocabulary_cpu.h>

/* ---- one call and one unit ---------------------------------------------------------------------- */

/* What is the same for all units of a call.  The floats of a thread's scratch follow each other in the
 * order of the offsets; all are multiples of 16 floats, so 64-byte aligned. */
typedef struct ATTN_FN(_call) {
    const attn_params *p;
    attn_tensor k, v;     /* how the dims of the rows lie that are computed with */
    int dim, dim_v;       /* compile-time where the instance says so */
    int steps;            /* of Q K: dim, or half of it in pairs */
    int dim_v_pad;        /* dim_v rounded up to NR: columns of O and of the V panels */
    int group;            /* query heads of a KV head */
    int block;            /* rows of a unit, a multiple of MR unless all fit */
    int blocks;           /* units over the rows of a sequence and KV head */
    int parts, part_keys; /* parts of the keys, and keys of each, a multiple of TILE_K */
    int stream;           /* K and V come from memory: 3 or 4 rows read them as a stream */
    int64_t units;        /* batch * heads_k * blocks * parts */
    int64_t part_rows;    /* rows of O in one part = batch * heads_k * group * seq_q */
    float q_scale;        /* what Q is multiplied with while it is gathered */
    float *part_o, *part_m, *part_l; /* [parts][part_rows][dim_v], [parts][part_rows] twice */
    attn__rope rope;        /* of q; half 0: there is none */
    size_t q_at, o_at, s_at, k_at, v_at, m_at, l_at, a_at, top_at, rows_at, keys_at, seen_at, wide_at, turn_at,
        scratch; /* floats */
    int64_t next, next_row; /* counters that the threads share */
    int bad;                /* a length or page out of range was met */
} ATTN_FN(_call);

/* Element d of a row whose dims may be strided or blocked. */
ATTN_INLINE int64_t ATTN_FN(_dim_at)(const attn_tensor *t, int d)
{
    return t->dim_block ? d / t->dim_block * t->stride[3] + d % t->dim_block : d * t->stride[3];
}
ATTN_INLINE int ATTN_FN(_dims_adjoin)(const attn_tensor *t)
{
    return t->stride[3] == 1 && !t->dim_block;
}

/* What is the same for all tiles of a unit. */
typedef struct ATTN_FN(_unit) {
    ATTN_FN(_call) *c;
    int b, g;          /* sequence, KV head */
    int row0, rows;    /* of group * len_q, row = position * group + head in group */
    int micro;         /* micro tiles that the rows are cut into, as evenly as can be */
    int len_q, len_k;
    int64_t base_q, base_k; /* first token of the sequence in packed q (and o), k (and v); else 0 */
    attn__mask mask;
    float *q, *o, *s, *k, *v, *m, *l, *a, *top;
    /* The rows of the current tile, K and then V, and behind them those of the next one, or of the last V, to prefetch.
     * K and V are rounded up to W rows by the last one; in a stream of two they are in the order of use. */
    const ATTN_KV_T **k_row, **v_row, **k_soon, **v_soon;
    int soon, soon_n;                 /* where rows are packed, next of those to prefetch; how many there are */
    attn__keys *keys;                 /* of each row */
    unsigned char *seen;              /* [SUB][TILE_K], only where V is not finite */
    float *wide;                      /* [2][TILE_K] rows of K and then of V in f32, of ATTN_NARROW alone */
    int wide_turn;                    /* which of the two is filled next */
    float *turn;                      /* sines and cosines of a position */
    int full_lo, full_hi;             /* all rows see all of these keys */
} ATTN_FN(_unit);

#include <attn/template/score_cpu.h>
#include <attn/template/product_cpu.h>
#include <attn/template/pack_cpu.h>


/* First row of micro tile t: heights differ by one at most, so none is left with too few accumulators. */
ATTN_INLINE int ATTN_FN(_micro_row)(const ATTN_FN(_unit) *u, int t)
{
    return (int)((int64_t)t * u->rows / u->micro);
}

/* ---- one tile ----------------------------------------------------------------------------------- */

/* Keys of the tile [k0, k0 + n) that any of the rows sees, relative to k0; *full if each sees all n. */
ATTN_INLINE void ATTN_FN(_hull)(const ATTN_FN(_unit) *u, int row, int rows, int k0, int n, int *first, int *end,
                                int *full)
{
    *first = 0;
    *end = n;
    *full = 1;
    if (k0 >= u->full_lo && k0 + n <= u->full_hi)
        return;
    int lo = n, hi = 0;
    for (int r = row; r < row + rows; ++r) {
        const attn__keys *t = &u->keys[r];
        const int a = t->lo - k0 < 0 ? 0 : t->lo - k0, b = t->hi - k0 > n ? n : t->hi - k0;
        const int c = t->sink_lo - k0 < 0 ? 0 : t->sink_lo - k0, d = t->sink_hi - k0 > n ? n : t->sink_hi - k0;
        if (a < b) {
            lo = a < lo ? a : lo;
            hi = b > hi ? b : hi;
        }
        if (c < d) {
            lo = c < lo ? c : lo;
            hi = d > hi ? d : hi;
        }
        *full &= a == 0 && b == n;
    }
    *first = lo < hi ? lo : 0;
    *end = lo < hi ? hi : 0;
}

/* Whether the tile is read as a stream: all rows see all of its keys, whatever masks say, so that any order will do. */
ATTN_INLINE int ATTN_FN(_streams)(const ATTN_FN(_unit) *u, int64_t k0, int n)
{
    return ATTN_STREAM && u->c->stream && (u->rows == 3 || u->rows == 4) && n == ATTN_TILE_K && k0 >= u->full_lo &&
           k0 + n <= u->full_hi && !ATTN_FN(_has_mask)(u);
}

/* Scores of one row -> P in place, with the running maximum, sum and rescale factor of the row.
 * Columns first .. end of s are set; top is the greatest of them; all in units of log2.  ask: rows
 * of V to prefetch, 2 for each NR keys; NULL = none. */
ATTN_INLINE void ATTN_FN(_softmax)(const ATTN_FN(_unit) *u, int row, float *s, int first, int end, float top,
                                   int narrow, const ATTN_KV_T *const *ask)
{
    const float old = u->m[row], now = top > old ? top : old;
    const float zero = now == -INFINITY ? 0.0f : now; /* nothing seen yet: every score is -inf, and so is s - 0 */
    const ATTN_VEC_T m = ATTN_V(set1)(zero);
    ATTN_VEC_T sum0 = ATTN_V(set1)(0.0f), sum1 = sum0;
    for (int j = first; j < end; j += ATTN_NR) {
        for (int i = 0; ask && i < 2; ++i, ++ask)
            for (int d = 0; d < u->c->dim_v; d += 64 / (int)sizeof(ATTN_KV_T))
                __builtin_prefetch(*ask + d, 0, 3);
        const ATTN_VEC_T p0 = ATTN_V(exp2)(ATTN_V(load_f32)(s + j) - m);
        const ATTN_VEC_T p1 = ATTN_V(exp2)(ATTN_V(load_f32)(s + j + ATTN_W) - m);
        if (ATTN_PAIRS == 2 && narrow) { /* pairs of keys; never ahead of what is still to be read */
            ATTN_V(store_f32)(s + j / 2, ATTN_NARROW2(p0, p1));
        } else {
            ATTN_V(store_f32)(s + j, p0);
            ATTN_V(store_f32)(s + j + ATTN_W, p1);
        }
        sum0 += p0;
        sum1 += p1;
    }
    const float alpha = now == old ? 1.0f : ATTN_V(exp2)(ATTN_V(set1)(old - zero))[0];
    u->m[row] = now;
    u->a[row] = alpha;
    u->l[row] = u->l[row] * alpha + ATTN_V(sum)(sum0 + sum1);
}

/* Turns the scores of rows row .. row + rows (at s) into P; keys of the hull [first, end) of the tile.  top: greatest
 * scores by lane, of packed rows; NULL for rows whose P stays in f32.  ask: as above, row after row. */
ATTN_NOINLINE void ATTN_FN(_rows_softmax)(const ATTN_FN(_unit) *u, int row, int rows, int k0, int first, int end,
                                          int full, int careful, float *s, unsigned char *seen, const float *top,
                                          const ATTN_KV_T *const *ask)
{
    const int a = first / ATTN_NR * ATTN_NR, b = (end + ATTN_NR - 1) / ATTN_NR * ATTN_NR;
    for (int r = 0; r < rows; ++r) {
        float *line = s + r * ATTN_TILE_K;
        float most;
        if (full && top && end == b && !ATTN_FN(_has_score)(u))
            most = ATTN_V(top)(ATTN_V(load_f32)(top + r * ATTN_W));
        else
            most = ATTN_FN(_score_row)(u, row + r, k0, a, b, first, end, line);
        if (careful)
            for (int j = a; j < b; ++j)
                seen[r * ATTN_TILE_K + j] = line[j] != -INFINITY;
        ATTN_FN(_softmax)(u, row + r, line, a, b, most, top != 0, ask ? ask + 2 * r * (b - a) / ATTN_NR : 0);
    }
}

/* Many rows: pack, then SUB rows at a time. */
ATTN_NOINLINE void ATTN_FN(_tile_packed)(ATTN_FN(_unit) *u, int k0, int n)
{
    const int steps = u->c->steps, row_o = u->c->dim_v_pad, row_s = ATTN_MR * ATTN_TILE_K; /* row_s: of a micro tile */
    int first, end, full;
    ATTN_FN(_hull)(u, 0, u->rows, k0, n, &first, &end, &full);
    if (first >= end)
        return;
    /* A pair may begin one key before the first that is seen, so that one counts, too. */
    const int careful = !(full && !ATTN_FN(_has_mask)(u)) &&
                        !ATTN_FN(_v_finite)(u, first / ATTN_PAIRS * ATTN_PAIRS, end);
    ATTN_FN(_pack_k)(u, first, end, n);
    if (!careful)
        ATTN_FN(_pack_v)(u, first, end);
    /* The next tile is asked for in small lots between the register kernels of this one. */
    const int lots = u->micro * ((end - first + ATTN_NR - 1) / ATTN_NR), lot = (u->soon_n + lots - 1) / lots;
    for (int t0 = 0; t0 < u->micro; t0 += ATTN_SUB) {
        const int tiles = u->micro - t0 < ATTN_SUB ? u->micro - t0 : ATTN_SUB;
        int row[ATTN_SUB], rows[ATTN_SUB], lo[ATTN_SUB], hi[ATTN_SUB], all[ATTN_SUB], sub_lo = n, sub_hi = 0;
        for (int t = 0; t < tiles; ++t) {
            row[t] = ATTN_FN(_micro_row)(u, t0 + t);
            rows[t] = ATTN_FN(_micro_row)(u, t0 + t + 1) - row[t];
            ATTN_FN(_hull)(u, row[t], rows[t], k0, n, &lo[t], &hi[t], &all[t]);
            if (lo[t] < hi[t]) {
                sub_lo = lo[t] < sub_lo ? lo[t] : sub_lo;
                sub_hi = hi[t] > sub_hi ? hi[t] : sub_hi;
            }
        }
        for (int r = 0; r < tiles * ATTN_MR; ++r)
            ATTN_V(store_f32)(u->top + r * ATTN_W, ATTN_V(set1)(-INFINITY));
        for (int j = sub_lo / ATTN_NR * ATTN_NR; j < sub_hi; j += ATTN_NR)
            for (int t = 0; t < tiles; ++t)
                if (j < hi[t] && j + ATTN_NR > lo[t]) {
                    ATTN_FN(_prefetch)(u, lot);
                    ATTN_FN(_qk)(rows[t], u->q + (size_t)(t0 + t) * ATTN_MR * steps, u->k + (size_t)j * steps, steps,
                                 u->c->q_scale, u->s + t * row_s + j, u->top + t * ATTN_MR * ATTN_W);
                }
        for (int t = 0; t < tiles; ++t)
            if (lo[t] < hi[t])
                ATTN_FN(_rows_softmax)(u, row[t], rows[t], k0, lo[t], hi[t], all[t], careful, u->s + t * row_s,
                                       u->seen + t * row_s, u->top + t * ATTN_MR * ATTN_W, 0);
        for (int t = 0; careful && t < tiles; ++t)
            for (int r = 0; lo[t] < hi[t] && r < rows[t]; ++r)
                ATTN_FN(_careful_row)(u, u->s + t * row_s + r * ATTN_TILE_K, u->seen + t * row_s + r * ATTN_TILE_K,
                                      lo[t], hi[t], u->a[row[t] + r], u->o + (size_t)(row[t] + r) * row_o, 1);
        for (int d = 0; !careful && d < u->c->dim_v; d += ATTN_NR)
            for (int t = 0; t < tiles; ++t)
                if (lo[t] < hi[t]) {
                    const int from = lo[t] / ATTN_PAIRS, to = (hi[t] + ATTN_PAIRS - 1) / ATTN_PAIRS;
                    ATTN_FN(_pv)(rows[t], u->s + t * row_s + from,
                                 u->v + (size_t)d * ATTN_TILE_K + (size_t)from * ATTN_NR, to - from,
                                 u->o + (size_t)row[t] * row_o + d, row_o, u->a + row[t]);
                }
    }
}

/* Few rows: no packing. */
ATTN_NOINLINE void ATTN_FN(_tile_direct)(const ATTN_FN(_unit) *u, int k0, int n)
{
    const int dim_pad = (u->c->dim + ATTN_W - 1) / ATTN_W * ATTN_W, o_row = u->c->dim_v_pad;
    int first, end, full;
    ATTN_FN(_hull)(u, 0, u->rows, k0, n, &first, &end, &full);
    if (first >= end)
        return;
    const int careful = !(full && !ATTN_FN(_has_mask)(u)) && !ATTN_FN(_v_finite)(u, first, end);
    const int stream = ATTN_FN(_streams)(u, k0, n), from = first / ATTN_W * ATTN_W;
    const ATTN_KV_T *const *ask = 0;
    if (stream) {
        ATTN_FN(_stream_dot)(u->rows, u->q, dim_pad, u->k_row, u->c->dim, u->s);
        ask = ATTN_STREAM_TWO ? u->v_row + ATTN_AHEAD - ATTN_FN(_asked)(u->rows, n) : 0;
    } else
        ATTN_FN(_dot)(u->rows, u->q, dim_pad, u->k_row + from, end - from, u->c->dim, u->s + from);
    ATTN_FN(_rows_softmax)(u, 0, u->rows, k0, first, end, full, careful, u->s, u->seen, 0, ask);
    if (careful)
        for (int r = 0; r < u->rows; ++r)
            ATTN_FN(_careful_row)(u, u->s + r * ATTN_TILE_K, u->seen + r * ATTN_TILE_K, first, end, u->a[r],
                                  u->o + (size_t)r * o_row, 0);
    else if (stream)
        ATTN_FN(_stream_axpy)(u->rows, u->s, u->v_row, u->c->dim_v, u->o, o_row, u->a);
    else
        ATTN_FN(_axpy)(u->rows, u->s + first, u->v_row + first, end - first, u->c->dim_v, u->o, o_row, u->a);
}

/* ---- rows in and out ---------------------------------------------------------------------------- */

/* Dim d of a row of q, rotated by u->turn and rounded to q's type if there is a RoPE, not scaled. */
ATTN_INLINE float ATTN_FN(_q_value)(const ATTN_FN(_unit) *u, const ATTN_Q_T *row, int d)
{
    const attn_tensor *q = &u->c->p->q;
    const attn__rope *r = &u->c->rope;
    const float own = ATTN_Q_SCALAR(row[ATTN_FN(_dim_at)(q, d)]);
    if (d >= 2 * r->half)
        return own;
    const int pair = attn__rope_pair(r, d);
    const float other = ATTN_Q_SCALAR(row[ATTN_FN(_dim_at)(q, attn__rope_other(r, d))]);
    return ATTN_Q_ROUND(
        attn__rope_turn(attn__rope_is_first(r, d), own, other, u->turn[pair], u->turn[r->half + pair]));
}

/* Sines and cosines of query position i. */
ATTN_NOINLINE void ATTN_FN(_turn)(const ATTN_FN(_unit) *u, int i)
{
    const attn_params *p = u->c->p;
    const attn__rope *r = &u->c->rope;
    const int64_t position = i + (p->rope_offset ? p->rope_offset[u->b] : (int64_t)u->len_k - u->len_q);
    for (int n = 0; n < r->half; ++n)
        attn__rope_angle(r, n, position, &u->turn[n], &u->turn[r->half + n]);
}

/* Q of the unit, scaled: packed [micro tile][dim][MR], or rows padded with zeros. */
ATTN_NOINLINE void ATTN_FN(_gather_q)(const ATTN_FN(_unit) *u, int packed)
{
    const attn_tensor *q = &u->c->p->q;
    const int dim = u->c->dim, dim_pad = (dim + ATTN_W - 1) / ATTN_W * ATTN_W, group = u->c->group;
    const float scale = u->c->q_scale;
    for (int r = 0, t = 0, start = 0; r < u->rows; ++r) {
        const int i = (u->row0 + r) / group, h = u->g * group + (u->row0 + r) % group;
        const ATTN_Q_T *row = (const ATTN_Q_T *)q->data + (u->c->p->cu_seqlens_q ? 0 : u->b * q->stride[0]) +
                              (u->base_q + i) * q->stride[1] + h * q->stride[2];
        if (r == ATTN_FN(_micro_row)(u, t + 1))
            ++t, start = r;
        float *out = packed ? u->q + (size_t)t * ATTN_MR * u->c->steps + (r - start) : u->q + (size_t)r * dim_pad;
        const int step = packed ? ATTN_MR : 1;
        if (ATTN_ROPE && u->c->rope.half) {
            if (!r || !((u->row0 + r) % group)) /* the heads of a position are neighbours */
                ATTN_FN(_turn)(u, i);
            for (int d = 0; ATTN_PAIRS == 1 && d < dim; ++d)
                out[(size_t)d * step] = ATTN_FN(_q_value)(u, row, d) * scale;
            for (int d = 0; ATTN_PAIRS == 2 && !packed && d < dim; ++d)
                out[d] = ATTN_FN(_q_value)(u, row, d) * scale;
            for (int d = 0; ATTN_PAIRS == 2 && packed && d < u->c->steps; ++d) {
                const uint32_t low = attn__f32_to_bf16(ATTN_FN(_q_value)(u, row, 2 * d));
                const uint32_t high = 2 * d + 1 < dim ? attn__f32_to_bf16(ATTN_FN(_q_value)(u, row, 2 * d + 1)) : 0u;
                out[(size_t)d * ATTN_MR] = attn__f32_from_bits(low | high << 16);
            }
            for (int d = dim; !packed && d < dim_pad; ++d)
                out[d] = 0.0f;
            continue;
        }
        if (ATTN_PAIRS == 2 && packed) {
            const ATTN_KV_T *bits = (const ATTN_KV_T *)(const void *)row;
            for (int d = 0; d < u->c->steps; ++d)
                out[(size_t)d * ATTN_MR] = ATTN_FN(_pair)(q, bits, 2 * d, bits, 2 * d + 1, dim);
            continue;
        }
        if (ATTN_FN(_dims_adjoin)(q))
            for (int d = 0; d < dim; ++d)
                out[(size_t)d * step] = ATTN_Q_SCALAR(row[d]) * scale;
        else
            for (int d = 0; d < dim; ++d)
                out[(size_t)d * step] = ATTN_Q_SCALAR(row[ATTN_FN(_dim_at)(q, d)]) * scale;
        for (int d = dim; !packed && d < dim_pad; ++d)
            out[d] = 0.0f;
    }
}

#if ATTN_KV_DTYPE == ATTN_NARROW
/* The K and V rows of keys k0 .. k0 + n, made f32, and pointers to them.  0 if a page number is out of range. */
ATTN_NOINLINE int ATTN_FN(_rows_of)(ATTN_FN(_unit) *u, int k0, int n, const ATTN_KV_T **k_row, const ATTN_KV_T **v_row)
{
    const attn_params *p = u->c->p;
    const int dim = u->c->dim, dim_v = u->c->dim_v;
    const int32_t *pages = !(ATTN_PAGED && p->page_size) ? NULL
                           : p->block_table              ? p->block_table + u->b * p->block_table_stride
                                                         : p->page_indices + p->page_indptr[u->b];
    float *k = u->wide + (size_t)u->wide_turn * ATTN_TILE_K * (size_t)(dim + dim_v);
    float *v = k + (size_t)ATTN_TILE_K * (size_t)dim;
    u->wide_turn ^= 1;
    for (int j = 0; j < n; ++j) {
        int64_t first = p->cu_seqlens_k ? 0 : u->b, token = u->base_k + k0 + j;
        if (pages) {
            first = pages[(k0 + j) / p->page_size];
            token = (k0 + j) % p->page_size;
            if (first < 0 || (p->num_pages && first >= p->num_pages))
                return 0;
        }
        ATTN_FN(_widen_row)(&p->k, &p->k_scale, u->b, first, token, u->g, dim, k + (size_t)j * (size_t)dim);
        ATTN_FN(_widen_row)(&p->v, &p->v_scale, u->b, first, token, u->g, dim_v, v + (size_t)j * (size_t)dim_v);
        k_row[j] = k + (size_t)j * (size_t)dim;
        v_row[j] = v + (size_t)j * (size_t)dim_v;
    }
    return 1;
}
#else
/* Pointers to the K and V rows of keys k0 .. k0 + n.  0 if a page number is out of range. */
ATTN_NOINLINE int ATTN_FN(_rows_of)(const ATTN_FN(_unit) *u, int k0, int n, const ATTN_KV_T **k_row,
                                    const ATTN_KV_T **v_row)
{
    const attn_params *p = u->c->p;
    const ATTN_KV_T *k = (const ATTN_KV_T *)p->k.data + u->g * p->k.stride[2];
    const ATTN_KV_T *v = (const ATTN_KV_T *)p->v.data + u->g * p->v.stride[2];
    if (ATTN_PAGED && p->page_size) {
        const int32_t *pages = p->block_table ? p->block_table + u->b * p->block_table_stride
                                              : p->page_indices + p->page_indptr[u->b];
        for (int j = 0; j < n;) {
            const int32_t page = pages[(k0 + j) / p->page_size];
            if (page < 0 || (p->num_pages && page >= p->num_pages))
                return 0;
            for (int at = (k0 + j) % p->page_size; at < p->page_size && j < n; ++at, ++j) {
                k_row[j] = k + page * p->k.stride[0] + at * p->k.stride[1];
                v_row[j] = v + page * p->v.stride[0] + at * p->v.stride[1];
            }
        }
        return 1;
    }
    if (!p->cu_seqlens_k) {
        k += u->b * p->k.stride[0];
        v += u->b * p->v.stride[0];
    }
    for (int j = 0; j < n; ++j) {
        k_row[j] = k + (u->base_k + k0 + j) * p->k.stride[1];
        v_row[j] = v + (u->base_k + k0 + j) * p->v.stride[1];
    }
    return 1;
}
#endif

/* Fills in the table for the next tile, soon_n keys from k0.  0 if a page number is out of range. */
ATTN_NOINLINE int ATTN_FN(_rows_soon)(ATTN_FN(_unit) *u, int k0, int packed)
{
    const int n = u->soon_n, wide = (n + ATTN_W - 1) / ATTN_W * ATTN_W;
    u->v_soon = u->k_soon + wide;
    if (!ATTN_FN(_rows_of)(u, k0, n, u->k_soon, u->v_soon))
        return 0;
    if (ATTN_STREAM_TWO && !packed && ATTN_FN(_streams)(u, k0, n)) {
        const ATTN_KV_T *t[2 * ATTN_TILE_K]; /* the two halves, key by key */
        for (int tensor = 0; tensor < 2; ++tensor)
            for (int j = 0; j < ATTN_TILE_K / 2; ++j)
                for (int h = 0; h < 2; ++h)
                    t[tensor * ATTN_TILE_K + 2 * j + h] =
                        u->k_soon[tensor * ATTN_TILE_K + h * ATTN_TILE_K / 2 + j];
        memcpy(u->k_soon, t, sizeof t);
    }
    for (int j = n; j < wide; ++j) {
        u->k_soon[j] = u->k_soon[n - 1];
        u->v_soon[j] = u->v_soon[n - 1];
    }
    /* Of a last tile, places that it asks for. */
    for (int j = 2 * wide; u->k_soon > u->k_row && j < ATTN_AHEAD + ATTN_LOT; ++j)
        u->k_soon[j] = u->k_soon[j - 1];
    return 1;
}

/* One finished row: divide by the sum, add the sink logit, store o and lse.  m in units of log2. */
ATTN_NOINLINE void ATTN_FN(_finish_row)(const ATTN_FN(_unit) *u, int row, const float *o, float m, float l)
{
    const attn_params *p = u->c->p;
    const int i = row / u->c->group, h = u->g * u->c->group + row % u->c->group;
    if (ATTN_SINK_LOGITS && p->sink_logits && !(p->flags & ATTN_LSE_NO_SINK)) {
        const float z = p->sink_logits[h] * ATTN_LOG2E, top = z > m ? z : m, zero = top == -INFINITY ? 0.0f : top;
        l = l * exp2f(m - zero) + exp2f(z - zero);
        m = m - zero; /* o is in units of 2^m, l now of 2^top */
        const float lse = zero + log2f(l);
        l = l * exp2f(-m);
        if (m == -INFINITY)
            l = 0.0f; /* o is 0 */
        m = lse;
    } else
        m = l == 0.0f ? -INFINITY : m + log2f(l);
    if (p->lse) {
        float *lse = p->lse + u->b * p->lse_stride[0] + h * p->lse_stride[1] + u->base_q + i;
        *lse = p->flags & ATTN_LSE_BASE2 ? m : m * ATTN_LN2;
    }
    const float scale = l == 0.0f ? 0.0f : 1.0f / l;
    const attn_tensor *t = &p->o;
    const int dim = u->c->dim_v, adjoin = ATTN_FN(_dims_adjoin)(t);
    const int64_t at = (p->cu_seqlens_q ? 0 : u->b * t->stride[0]) + (u->base_q + i) * t->stride[1] + h * t->stride[2];
    if (t->dtype == ATTN_F32) {
        float *out = (float *)t->data + at;
        for (int d = 0; d < dim; ++d)
            out[adjoin ? d : ATTN_FN(_dim_at)(t, d)] = o[d] * scale;
    } else if (t->dtype == ATTN_F16) {
        uint16_t *out = (uint16_t *)t->data + at;
        int d = 0;
        for (; adjoin && d + ATTN_W <= dim; d += ATTN_W)
            ATTN_V(store_f16)(out + d, ATTN_V(load_f32)(o + d) * ATTN_V(set1)(scale));
        for (; d < dim; ++d)
            out[adjoin ? d : ATTN_FN(_dim_at)(t, d)] = attn__f32_to_f16(o[d] * scale);
    } else {
        uint16_t *out = (uint16_t *)t->data + at;
        for (int d = 0; d < dim; ++d)
            out[adjoin ? d : ATTN_FN(_dim_at)(t, d)] = attn__f32_to_bf16(o[d] * scale);
    }
}

/* ---- one unit ----------------------------------------------------------------------------------- */

/* Fills in the lengths and places of sequence u->b; 0 if a length is out of range. */
ATTN_NOINLINE int ATTN_FN(_sequence)(ATTN_FN(_unit) *u)
{
    const attn_params *p = u->c->p;
    const int b = u->b;
    u->base_q = u->base_k = 0;
    int64_t len_q = p->seq_q, len_k = p->seq_k;
    if (ATTN_VARLEN && p->cu_seqlens_q) {
        u->base_q = p->cu_seqlens_q[b];
        len_q = (int64_t)p->cu_seqlens_q[b + 1] - u->base_q;
        if (u->base_q < 0 || len_q < 0 || len_q > p->seq_q || u->base_q + len_q > p->total_q)
            return 0;
    }
    if (ATTN_VARLEN && p->cu_seqlens_k) {
        u->base_k = p->cu_seqlens_k[b];
        len_k = (int64_t)p->cu_seqlens_k[b + 1] - u->base_k;
        if (u->base_k < 0 || len_k < 0 || len_k > p->seq_k)
            return 0;
    }
    if (ATTN_PAGED && p->page_indptr) {
        const int64_t pages = (int64_t)p->page_indptr[b + 1] - p->page_indptr[b];
        if (p->page_indptr[b] < 0 || pages < 0 ||
            (pages && (p->last_page_len[b] < 1 || p->last_page_len[b] > p->page_size)))
            return 0;
        len_k = pages ? (pages - 1) * p->page_size + p->last_page_len[b] : 0;
        if (len_k > p->seq_k)
            return 0;
    }
    if ((ATTN_VARLEN || ATTN_PAGED) && p->seqused_k) {
        if (p->seqused_k[b] < 0 || p->seqused_k[b] > len_k)
            return 0;
        len_k = p->seqused_k[b];
    }
    if (ATTN_VARLEN && p->seqused_q) {
        if (p->seqused_q[b] < 0 || p->seqused_q[b] > len_q)
            return 0;
        len_q = p->seqused_q[b];
    }
    u->len_q = (int)len_q;
    u->len_k = (int)len_k;
    return 1;
}

/* The keys of each row, and of all rows together in *lo .. *hi and *sink. */
ATTN_NOINLINE void ATTN_FN(_rows_keys)(ATTN_FN(_unit) *u, int *lo, int *hi, int *sink)
{
    const attn_params *p = u->c->p;
    u->mask = attn__mask_make(u->len_q, u->len_k, ATTN_CAUSAL ? p->causal : 0, ATTN_WINDOW ? p->window : 0,
                              p->window_left, p->window_right, ATTN_CHUNK ? p->chunk : 0,
                              ATTN_SINK_TOKENS ? p->sink_tokens : 0);
    *lo = u->len_k;
    *hi = *sink = 0;
    u->full_lo = 0;
    u->full_hi = u->len_k;
    for (int r = 0; r < u->rows; ++r) {
        u->keys[r] = r && (u->row0 + r) % u->c->group ? u->keys[r - 1]
                                                      : attn__mask_row(&u->mask, (u->row0 + r) / u->c->group);
        const attn__keys *t = &u->keys[r];
        if (t->lo < t->hi) {
            *lo = t->lo < *lo ? t->lo : *lo;
            *hi = t->hi > *hi ? t->hi : *hi;
        }
        *sink = t->sink_hi > *sink ? t->sink_hi : *sink;
        u->full_lo = t->lo > u->full_lo ? t->lo : u->full_lo;
        u->full_hi = t->hi < u->full_hi ? t->hi : u->full_hi;
    }
}

ATTN_NOINLINE void ATTN_FN(_do_unit)(ATTN_FN(_call) *c, float *scratch, int64_t number)
{
    const attn_params *p = c->p;
    ATTN_FN(_unit) u;
    u.c = c;
    /* The last rows of a causal sequence see most keys: hand those out first. */
    const int part = (int)(number % c->parts);
    const int block = c->blocks - 1 - (int)(number / c->parts % c->blocks);
    u.g = (int)(number / c->parts / c->blocks % p->heads_k);
    u.b = (int)(number / c->parts / c->blocks / p->heads_k);
    if (!ATTN_FN(_sequence)(&u)) {
        __atomic_store_n(&c->bad, 1, __ATOMIC_RELAXED);
        return;
    }
    u.row0 = block * c->block;
    u.rows = u.len_q * c->group - u.row0;
    u.rows = u.rows < c->block ? u.rows : c->block;
    if (u.rows <= 0)
        return;
    u.q = scratch + c->q_at;
    u.o = scratch + c->o_at;
    u.s = scratch + c->s_at;
    u.k = scratch + c->k_at;
    u.v = scratch + c->v_at;
    u.m = scratch + c->m_at;
    u.l = scratch + c->l_at;
    u.a = scratch + c->a_at;
    u.top = scratch + c->top_at;
    u.k_row = u.k_soon = (const ATTN_KV_T **)(void *)(scratch + c->rows_at);
    u.keys = (attn__keys *)(void *)(scratch + c->keys_at);
    u.seen = (unsigned char *)(void *)(scratch + c->seen_at);
    u.wide = scratch + c->wide_at;
    u.wide_turn = 0;
    u.turn = scratch + c->turn_at;

    u.micro = (u.rows + ATTN_MR - 1) / ATTN_MR;
    const int packed = u.rows > ATTN_FEW || !ATTN_FN(_dims_adjoin)(&c->k) || !ATTN_FN(_dims_adjoin)(&c->v);
    ATTN_FN(_gather_q)(&u, packed);
    for (int r = 0; r < u.rows; ++r) {
        u.m[r] = -INFINITY;
        u.l[r] = 0.0f;
    }
    memset(u.o, 0, sizeof(float) * (size_t)u.rows * (size_t)c->dim_v_pad);

    int lo, hi, sink;
    ATTN_FN(_rows_keys)(&u, &lo, &hi, &sink);
    /* Tiles from `from` to `to`; between the sink tokens and the window there are none.  The rows of the tile after
     * the current one are known while it is computed, to be prefetched. */
    const int64_t from = (int64_t)part * c->part_keys, end = from + c->part_keys;
    const int64_t last = hi > sink ? hi : sink, to = end < last ? end : last;
    int64_t soon = from;
    u.soon_n = 0;
    for (int64_t k0 = -1; k0 < to; k0 = soon, soon += ATTN_TILE_K) {
        const int n = u.soon_n, wide = (n + ATTN_W - 1) / ATTN_W * ATTN_W;
        memmove(u.k_row, u.k_soon, 2 * (size_t)wide * sizeof u.k_row[0]);
        u.v_row = u.k_row + wide;
        u.k_soon = u.v_row + wide;
        if (soon >= sink && soon + ATTN_TILE_K <= lo)
            soon = lo / ATTN_TILE_K * (int64_t)ATTN_TILE_K;
        u.soon = 0;
        u.soon_n = soon >= to ? 0 : u.len_k - soon < ATTN_TILE_K ? (int)(u.len_k - soon) : ATTN_TILE_K;
        if (!ATTN_FN(_rows_soon)(&u, (int)soon, packed)) {
            __atomic_store_n(&c->bad, 1, __ATOMIC_RELAXED);
            return;
        }
        if (k0 < 0)
            continue;
        if (packed)
            ATTN_FN(_tile_packed)(&u, (int)k0, n);
        else
            ATTN_FN(_tile_direct)(&u, (int)k0, n);
    }

    if (c->parts == 1) {
        for (int r = 0; r < u.rows; ++r)
            ATTN_FN(_finish_row)(&u, u.row0 + r, u.o + (size_t)r * c->dim_v_pad, u.m[r], u.l[r]);
        return;
    }
    const int64_t head = (int64_t)u.b * p->heads_k + u.g;
    const int64_t first = part * c->part_rows + head * c->group * p->seq_q + u.row0;
    for (int r = 0; r < u.rows; ++r) {
        memcpy(c->part_o + (first + r) * c->dim_v, u.o + (size_t)r * c->dim_v_pad, sizeof(float) * (size_t)c->dim_v);
        c->part_m[first + r] = u.m[r];
        c->part_l[first + r] = u.l[r];
    }
}

/* Merges the parts of one row in their order. */
ATTN_NOINLINE void ATTN_FN(_merge_row)(ATTN_FN(_call) *c, float *scratch, int64_t number)
{
    const attn_params *p = c->p;
    ATTN_FN(_unit) u;
    u.c = c;
    const int per = c->group * p->seq_q, row = (int)(number % per);
    u.g = (int)(number / per % p->heads_k);
    u.b = (int)(number / per / p->heads_k);
    if (!ATTN_FN(_sequence)(&u) || row >= u.len_q * c->group)
        return;
    float m = -INFINITY, l = 0.0f, *o = scratch;
    for (int s = 0; s < c->parts; ++s) {
        const float t = c->part_m[s * c->part_rows + number];
        m = t > m ? t : m;
    }
    memset(o, 0, sizeof(float) * (size_t)c->dim_v);
    for (int s = 0; s < c->parts; ++s) {
        const int64_t at = s * c->part_rows + number;
        if (c->part_l[at] == 0.0f) /* saw no key */
            continue;
        const float w = ATTN_V(exp2)(ATTN_V(set1)(c->part_m[at] - (m == -INFINITY ? 0.0f : m)))[0];
        l += w * c->part_l[at];
        for (int d = 0; d < c->dim_v; ++d)
            o[d] += w * c->part_o[at * c->dim_v + d];
    }
    ATTN_FN(_finish_row)(&u, row, o, m, l);
}

/* One thread's share: units, or rows to merge, until none is left. */
ATTN_NOINLINE void ATTN_FN(_work)(ATTN_FN(_call) *c, float *scratch, int merge)
{
    if (merge)
        for (int64_t r; (r = __atomic_fetch_add(&c->next_row, 16, __ATOMIC_RELAXED)) < c->part_rows;)
            for (int64_t t = r; t < r + 16 && t < c->part_rows; ++t)
                ATTN_FN(_merge_row)(c, scratch, t);
    else
        for (int64_t n; (n = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < c->units;)
            ATTN_FN(_do_unit)(c, scratch, n);
}

/* ---- one call ----------------------------------------------------------------------------------- */

ATTN_INLINE size_t ATTN_FN(_take)(size_t *at, size_t floats)
{
    const size_t here = *at;
    *at += (floats + 15) / 16 * 16;
    return here;
}

/* How the call is cut and what a thread needs; sizes only, nothing is read. */
ATTN_NOINLINE void ATTN_FN(_plan)(const attn_params *p, ATTN_FN(_call) *c)
{
    memset(c, 0, sizeof *c);
    c->p = p;
    c->dim = ATTN_HEAD_DIM ? ATTN_HEAD_DIM : p->head_dim;
    c->dim_v = ATTN_HEAD_DIM_V ? ATTN_HEAD_DIM_V : p->head_dim_v;
    c->steps = (c->dim + ATTN_PAIRS - 1) / ATTN_PAIRS;
    c->dim_v_pad = (c->dim_v + ATTN_NR - 1) / ATTN_NR * ATTN_NR;
    c->group = ATTN_GQA ? ATTN_GQA : p->heads_q / p->heads_k;
    const int64_t rows = (int64_t)c->group * p->seq_q;
    c->blocks = (int)((rows + ATTN_TILE_Q - 1) / ATTN_TILE_Q);
    c->block = c->blocks ? (int)((rows + c->blocks - 1) / c->blocks) : 0;
    if (c->blocks > 1)
        c->block = (c->block + ATTN_MR - 1) / ATTN_MR * ATTN_MR;
    c->part_rows = rows * p->heads_k * p->batch;
    c->stream = ATTN_STREAM && !(p->flags & ATTN_BATCH_INVARIANT) &&
                (int64_t)p->batch * p->heads_k * p->seq_k * (c->dim + c->dim_v) * (int64_t)sizeof(ATTN_KV_T) >=
                    ATTN_STREAM_BYTES;
    if (ATTN_ROPE && p->rope_style)
        c->rope = attn__rope_make(p->rope_style, p->rope_dim, p->rope_base, p->rope_cos, p->rope_sin);
    c->k = p->k;
    c->v = p->v;
    if (ATTN_KV_DTYPE == ATTN_NARROW) { /* a row is made f32 first */
        c->k.stride[3] = c->v.stride[3] = 1;
        c->k.dim_block = c->v.dim_block = 0;
    }
    c->q_scale = ATTN_FN(_natural)(p) ? p->scale : p->scale * ATTN_LOG2E;

    const int64_t tiles = ((int64_t)p->seq_k + ATTN_TILE_K - 1) / ATTN_TILE_K;
    int64_t keys = tiles * ATTN_TILE_K, parts = 1;
    if (p->split_size)
        keys = p->split_size;
    else if (p->num_splits)
        keys = (tiles + p->num_splits - 1) / p->num_splits * ATTN_TILE_K;
    else if (p->flags & ATTN_BATCH_INVARIANT)
        keys = 2 * ATTN_PARTS_KEYS;
    else if (c->blocks) {
        const int64_t have = (int64_t)p->batch * p->heads_k * c->blocks;
        parts = (ATTN_PARTS_UNITS + have - 1) / have;
        if (parts > p->seq_k / ATTN_PARTS_KEYS)
            parts = p->seq_k / ATTN_PARTS_KEYS;
        if (parts > 1)
            keys = (tiles + parts - 1) / parts * ATTN_TILE_K;
    }
    keys = (keys + ATTN_TILE_K - 1) / ATTN_TILE_K * ATTN_TILE_K;
    parts = keys ? (p->seq_k + keys - 1) / keys : 1;
    c->parts = parts > 1 ? (int)parts : 1;
    c->part_keys = keys < INT32_MAX / 2 ? (int)keys : INT32_MAX / 2 / ATTN_TILE_K * ATTN_TILE_K;
    c->units = (int64_t)p->batch * p->heads_k * c->blocks * c->parts;

    const size_t block = (size_t)(c->block + ATTN_MR - 1) / ATTN_MR * ATTN_MR;
    const size_t dim_pad = (size_t)(c->dim + ATTN_W - 1) / ATTN_W * ATTN_W;
    const size_t sub = block < ATTN_SUB * ATTN_MR ? block : ATTN_SUB * ATTN_MR;
    size_t at = 0;
    c->q_at = ATTN_FN(_take)(&at, block * dim_pad);
    c->o_at = ATTN_FN(_take)(&at, block * (size_t)c->dim_v_pad);
    c->s_at = ATTN_FN(_take)(&at, sub * ATTN_TILE_K);
    c->k_at = ATTN_FN(_take)(&at, (size_t)ATTN_TILE_K * (size_t)c->dim);
    c->v_at = ATTN_FN(_take)(&at, (size_t)ATTN_TILE_K * (size_t)c->dim_v_pad);
    c->m_at = ATTN_FN(_take)(&at, block);
    c->l_at = ATTN_FN(_take)(&at, block);
    c->a_at = ATTN_FN(_take)(&at, block);
    c->top_at = ATTN_FN(_take)(&at, sub * ATTN_W);
    c->rows_at = ATTN_FN(_take)(&at, (4 * ATTN_TILE_K + ATTN_AHEAD + ATTN_LOT) * sizeof(void *) / sizeof(float));
    c->keys_at = ATTN_FN(_take)(&at, block * sizeof(attn__keys) / sizeof(float));
    c->seen_at = ATTN_FN(_take)(&at, sub * ATTN_TILE_K / sizeof(float));
    c->wide_at = ATTN_FN(_take)(&at, ATTN_KV_DTYPE == ATTN_NARROW ? 2 * ATTN_TILE_K * (size_t)(c->dim + c->dim_v) : 0);
    c->turn_at = ATTN_FN(_take)(&at, 2 * (size_t)c->rope.half);
    c->scratch = at;
}

ATTN_INLINE size_t ATTN_FN(_part_floats)(const ATTN_FN(_call) *c)
{
    size_t at = 0;
    if (c->parts > 1) {
        ATTN_FN(_take)(&at, (size_t)c->parts * (size_t)c->part_rows * (size_t)c->dim_v);
        ATTN_FN(_take)(&at, (size_t)c->parts * (size_t)c->part_rows);
        ATTN_FN(_take)(&at, (size_t)c->parts * (size_t)c->part_rows);
    }
    return at;
}

/* Threads worth starting: those asked for, no more than units, and one for each quarter of a million products. */
ATTN_NOINLINE int ATTN_FN(_threads)(const ATTN_FN(_call) *c)
{
    int64_t n = 1;
#if defined(_OPENMP)
    n = c->p->threads ? c->p->threads : omp_get_max_threads();
#endif
    const double work = (double)c->part_rows * c->p->seq_k * (c->dim + c->dim_v) / 262144.0;
    n = n < c->units ? n : c->units;
    n = (double)n < work ? n : (int64_t)work;
    return n < 1 ? 1 : (int)n;
}

static size_t ATTN_FN(_workspace)(const attn_params *p, int least)
{
    ATTN_FN(_call) c;
    ATTN_FN(_plan)(p, &c);
    if (!c.units)
        return 0;
    return sizeof(float) * (ATTN_FN(_part_floats)(&c) + c.scratch * (size_t)(least ? 1 : ATTN_FN(_threads)(&c)));
}

/* Relies on what run.h promises of p; answers ERR_ARG for a length or page number that is out of range. */
static attn_status ATTN_FN(_launch)(const attn_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    ATTN_FN(_call) c;
    (void)stream;
    ATTN_FN(_plan)(p, &c);
    if (!c.units)
        return ATTN_OK;
    const size_t parts = ATTN_FN(_part_floats)(&c);
    float *const base = (float *)workspace + parts;
    size_t at = 0;
    if (parts) {
        c.part_o = (float *)workspace + ATTN_FN(_take)(&at, (size_t)c.parts * (size_t)c.part_rows * (size_t)c.dim_v);
        c.part_m = (float *)workspace + ATTN_FN(_take)(&at, (size_t)c.parts * (size_t)c.part_rows);
        c.part_l = (float *)workspace + ATTN_FN(_take)(&at, (size_t)c.parts * (size_t)c.part_rows);
    }
    const size_t room = (workspace_bytes / sizeof(float) - parts) / c.scratch;
    int threads = ATTN_FN(_threads)(&c);
    threads = (size_t)threads < room ? threads : (int)room;
    for (int merge = 0; merge < (c.parts > 1 ? 2 : 1); ++merge) {
#if defined(_OPENMP)
#pragma omp parallel num_threads(threads) if (threads > 1)
        ATTN_FN(_work)(&c, base + (size_t)omp_get_thread_num() * c.scratch, merge);
#else
        ATTN_FN(_work)(&c, base, merge);
#endif
        if (c.bad)
            return ATTN_ERR_ARG;
    }
    return ATTN_OK;
}

/* For end.h: any strides, no shared memory, no device. */
#define ATTN_ROW_ALIGN    0
#define ATTN_SHARED_BYTES 0
#define ATTN_DEVICE_FN    NULL

#include <attn/template/vocabulary_end_cpu.h>
