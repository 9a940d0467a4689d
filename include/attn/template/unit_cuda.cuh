/* unit_cuda.cuh - what the CUDA forward templates share on the device: which rows and keys a unit has, where they lie.
 *
 * Included after plan_cuda.cuh, no guard.  All of a block's threads compute the same unit.  Lengths and page numbers
 * come from the caller's memory and may be wrong: they are clamped so that no row beyond the outputs is ever written
 * and no page beyond num_pages (if given) is read. */

typedef struct ATTN_FN(_unit) {
    int b, g, part, chunk;  /* sequence, head (of ATTN_FN(_args).heads), part of the keys, chunk of V's columns */
    int row0, rows;         /* of group * len_q; row = position * group + head of the group */
    int len_q, len_k;
    int from, to;           /* keys of this part, from a multiple of ATTN_TILE_K */
    int64_t base_q, base_k; /* first token of the sequence in packed q (and o), k (and v); else 0 */
    attn__mask mask;
    attn__span span;        /* keys of all rows together */
} ATTN_FN(_unit);

ATTN_DEVICE int ATTN_FN(_clamp)(int64_t x, int64_t most)
{
    return (int)(x < 0 ? 0 : x > most ? most : x);
}

/* Length and place of sequence u->b. */
ATTN_DEVICE void ATTN_FN(_sequence)(const ATTN_FN(_args) *a, ATTN_FN(_unit) *u)
{
    const attn_params *p = &a->p;
    const int b = u->b;
    u->base_q = u->base_k = 0;
    u->len_q = p->seq_q;
    u->len_k = p->seq_k;
    if (!ATTN_LISTS || !a->fixed) { /* which spares a short call 40 instructions */
        if (ATTN_VARLEN && p->cu_seqlens_q) {
            const int first = ATTN_FN(_clamp)(p->cu_seqlens_q[b], p->total_q);
            u->base_q = first;
            u->len_q = ATTN_FN(_clamp)((int64_t)p->cu_seqlens_q[b + 1] - first,
                                       p->total_q - first < p->seq_q ? p->total_q - first : p->seq_q);
        }
        if (ATTN_VARLEN && p->cu_seqlens_k) {
            const int first = p->cu_seqlens_k[b] < 0 ? 0 : p->cu_seqlens_k[b];
            u->base_k = first;
            u->len_k = ATTN_FN(_clamp)((int64_t)p->cu_seqlens_k[b + 1] - first, p->seq_k);
        }
        if (ATTN_PAGED && p->page_indptr) {
            const int64_t pages = (int64_t)p->page_indptr[b + 1] - p->page_indptr[b];
            u->len_k = pages > 0 ? ATTN_FN(_clamp)((pages - 1) * p->page_size + p->last_page_len[b], p->seq_k) : 0;
        }
        if ((ATTN_VARLEN || ATTN_PAGED) && p->seqused_k)
            u->len_k = ATTN_FN(_clamp)(p->seqused_k[b], u->len_k);
        if (ATTN_VARLEN && p->seqused_q)
            u->len_q = ATTN_FN(_clamp)(p->seqused_q[b], u->len_q);
    }
    u->mask = attn__mask_make(u->len_q, u->len_k, ATTN_CAUSAL ? p->causal : 0, ATTN_WINDOW ? p->window : 0,
                              p->window_left, p->window_right, ATTN_CHUNK ? p->chunk : 0,
                              ATTN_SINK_TOKENS ? p->sink_tokens : 0);
}

/* Query heads that share a unit: a constant where the instance says so. */
ATTN_DEVICE int ATTN_FN(_group)(const ATTN_FN(_args) *a)
{
    return !ATTN_PACK_GQA ? 1 : ATTN_GQA ? ATTN_GQA : a->group;
}
/* KV head of a unit. */
ATTN_DEVICE int ATTN_FN(_kv_head)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u)
{
#if ATTN_PACK_GQA
    (void)a;
    return u->g;
#else
    const unsigned h = (unsigned)u->g;
    return (int)(ATTN_GQA ? h / (ATTN_GQA ? ATTN_GQA : 1) : attn__divide(h, a->by_ratio));
#endif
}
ATTN_DEVICE int ATTN_FN(_dim)(const ATTN_FN(_args) *a)
{
    return ATTN_HEAD_DIM && ATTN_HEAD_DIM == ATTN_HEAD_DIM_MIN ? ATTN_HEAD_DIM : a->p.head_dim;
}
ATTN_DEVICE int ATTN_FN(_dim_v)(const ATTN_FN(_args) *a)
{
    return ATTN_HEAD_DIM && ATTN_HEAD_DIM == ATTN_HEAD_DIM_MIN ? ATTN_HEAD_DIM_V : a->p.head_dim_v;
}

/* Where a row of the unit belongs.  Rows beyond the last one are as the last one. */
typedef struct ATTN_FN(_place) {
    int row; /* of the unit */
    int i;   /* query position in the sequence */
    int sub; /* query head within the group */
} ATTN_FN(_place);

ATTN_DEVICE ATTN_FN(_place) ATTN_FN(_place_of)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int row)
{
    const unsigned group = (unsigned)ATTN_FN(_group)(a);
    ATTN_FN(_place) at;
    at.row = row < u->rows ? row : u->rows - 1;
    at.i = u->row0 + at.row;
    at.sub = 0;
    if (group != 1) { /* no division in the commonest case */
#if ATTN_LISTS
        const unsigned i = ATTN_GQA ? (unsigned)at.i / group : attn__divide((unsigned)at.i, a->by_group);
#else
        const unsigned i = (unsigned)at.i / group;
#endif
        at.sub = (int)((unsigned)at.i - i * group);
        at.i = (int)i;
    }
    return at;
}

/* The place `rows` rows further, without a division for any but large groups. */
ATTN_DEVICE ATTN_FN(_place) ATTN_FN(_place_after)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, ATTN_FN(_place) at,
                                                  int rows)
{
    const int group = ATTN_FN(_group)(a), left = u->rows - 1 - at.row, by = rows < left ? rows : left;
    at.row += by;
    if (group == 1) {
        at.i += by;
        return at;
    }
    at.sub += by;
    if (at.sub >= group) {
        at.i += at.sub / group;
        at.sub %= group;
    }
    return at;
}

/* Position of a row, by itself. */
ATTN_DEVICE int ATTN_FN(_position)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int row)
{
    return ATTN_FN(_place_of)(a, u, row).i;
}

/* Query head of a place. */
ATTN_DEVICE int ATTN_FN(_head)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, ATTN_FN(_place) at)
{
    return u->g * ATTN_FN(_group)(a) + at.sub;
}

/* Keys of the rows from `first` to `last` together.  What an instance cannot do is a constant in the answer. */
ATTN_DEVICE attn__span ATTN_FN(_span)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int first, int last)
{
    const int i0 = ATTN_FN(_position)(a, u, first), i1 = ATTN_FN(_position)(a, u, last);
    if (ATTN_CHUNK || ATTN_SINK_TOKENS) {
        attn__span s = attn__mask_rows(&u->mask, i0, i1);
        if (!ATTN_SINK_TOKENS)
            s.sink_lo = s.sink_hi = 0;
        return s;
    }
    return attn__mask_band(&u->mask, i0, i1, ATTN_CAUSAL, ATTN_WINDOW);
}

/* Keys that the row at position i sees: attn__mask_row, less what the instance cannot do. */
ATTN_DEVICE attn__keys ATTN_FN(_row_keys)(const ATTN_FN(_unit) *u, int i)
{
    attn__keys r;
    if (ATTN_WINDOW || ATTN_CHUNK)
        return attn__mask_row(&u->mask, i);
    r.sink_lo = r.sink_hi = r.lo = 0;
    r.hi = ATTN_CAUSAL ? attn__mask_clip(i + u->mask.below + 1, u->len_k) : u->len_k;
    return r;
}

/* Sequence, head, part and columns of unit `number`; its block of rows. */
ATTN_DEVICE int ATTN_FN(_unit_number)(const ATTN_FN(_args) *a, int64_t number, ATTN_FN(_unit) *u)
{
    /* Blocks of rows come fastest, for they share K and V in L2; the last ones first, for under a causal mask they
     * see most keys. */
    const unsigned n = (unsigned)a->blocks;
    int block;
    if (ATTN_PERSISTENT || a->units <= INT32_MAX) { /* 64-bit division takes a hundred instructions */
        /* The same of a section's heads together: they come fastest then.  The last section may have fewer. */
        const unsigned section = attn__divide((unsigned)number, a->by_section), before = section * (unsigned)a->section;
        const unsigned rest = (unsigned)number - section * a->by_section.by;
        const unsigned others = (unsigned)(a->p.batch * a->heads) - before;
        const unsigned heads = others < (unsigned)a->section ? others : (unsigned)a->section;
        const unsigned turn = others < (unsigned)a->section ? rest / others : attn__divide(rest, a->by_turns);
        const unsigned head = before + rest - turn * heads, part = attn__divide(turn, a->by_blocks);
        block = (int)(n - 1 - (turn - part * n));
        u->part = (int)part;
        u->chunk = 0;
        if (!ATTN_PERSISTENT && a->chunks > 1)
            u->chunk = (int)(part / (unsigned)a->parts), u->part = (int)(part % (unsigned)a->parts);
        u->b = (int)attn__divide(head, a->by_heads);
        u->g = (int)head - u->b * a->heads;
    } else {
        block = (int)(n - 1 - (unsigned)(number % n)), number /= n;
        u->part = (int)(number % a->parts), number /= a->parts;
        u->chunk = (int)(number % a->chunks), number /= a->chunks;
        u->g = (int)(number % a->heads);
        u->b = (int)(number / a->heads);
    }
    return block;
}

/* Rows and keys of a unit of that block, whose sequence is known; 0 if it has no row. */
ATTN_DEVICE int ATTN_FN(_unit_rows)(const ATTN_FN(_args) *a, int block, ATTN_FN(_unit) *u)
{
    const int64_t left = (int64_t)u->len_q * ATTN_FN(_group)(a) - (int64_t)block * ATTN_TILE_Q;
    u->row0 = block * ATTN_TILE_Q;
    u->rows = left < ATTN_TILE_Q ? (int)left : ATTN_TILE_Q;
    if (left <= 0)
        return 0;
    u->span = ATTN_FN(_span)(a, u, 0, ATTN_TILE_Q - 1);
    u->from = u->part * a->part_keys;
    const int64_t end = (int64_t)u->from + a->part_keys;
    const int last = u->span.hi > u->span.sink_hi ? u->span.hi : u->span.sink_hi;
    u->to = end < last ? (int)end : last;
    return 1;
}

/* Unit `number`; 0 if it has no row. */
ATTN_DEVICE int ATTN_FN(_unit_make)(const ATTN_FN(_args) *a, int64_t number, ATTN_FN(_unit) *u)
{
    const int block = ATTN_FN(_unit_number)(a, number, u);
    ATTN_FN(_sequence)(a, u);
    return ATTN_FN(_unit_rows)(a, block, u);
}

/* The tile of keys after the one at k0 (k0 < 0: the first one), or one at or beyond u->to if there is none.  Between
 * the sink tokens and the window there are none. */
ATTN_DEVICE int ATTN_FN(_next_tile)(const ATTN_FN(_unit) *u, int k0)
{
    int next = k0 < 0 ? u->from : k0 + ATTN_TILE_K;
    if (!ATTN_WINDOW && !ATTN_CHUNK)
        return next;
    if (ATTN_SINK_TOKENS && u->span.sink_lo < u->span.sink_hi && next < u->span.sink_hi) {
        if (next + ATTN_TILE_K <= u->span.sink_lo)
            next = u->span.sink_lo / ATTN_TILE_K * ATTN_TILE_K;
        return next;
    }
    if (next + ATTN_TILE_K <= u->span.lo)
        next = u->span.lo / ATTN_TILE_K * ATTN_TILE_K;
    return next;
}

/* Whether some row might not see some key of the tile. */
ATTN_DEVICE int ATTN_FN(_is_edge)(const attn__span *s, int k0)
{
    return k0 < s->full_lo || k0 + ATTN_TILE_K > s->full_hi;
}

/* Element of q where a row begins. */
ATTN_DEVICE int64_t ATTN_FN(_q_at)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, ATTN_FN(_place) at)
{
    const attn_tensor *q = &a->p.q;
    return (int64_t)u->b * q->stride[0] + (u->base_q + at.i) * q->stride[1] +
           (int64_t)ATTN_FN(_head)(a, u, at) * q->stride[2];
}

/* Element of k or v (t) where key j begins, 0 <= j < u->len_k.  Packed tensors have stride[0] = 0. */
ATTN_DEVICE int64_t ATTN_FN(_kv_at)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const attn_tensor *t, int j)
{
    const attn_params *p = &a->p;
    int64_t first = (int64_t)u->b * t->stride[0] + (u->base_k + j) * t->stride[1];
    if (ATTN_PAGED && p->page_size) {
        const int32_t *pages = p->block_table ? p->block_table + (int64_t)u->b * p->block_table_stride
                                              : p->page_indices + p->page_indptr[u->b];
        const int entry = (int)((unsigned)j / (unsigned)p->page_size);
        int page = pages[entry];
        if (page < 0 || (p->num_pages && page >= p->num_pages))
            page = 0;
        first = (int64_t)page * t->stride[0] + (int64_t)(j - entry * p->page_size) * t->stride[1];
    }
    return first + (int64_t)ATTN_FN(_kv_head)(a, u) * t->stride[2];
}

/* Float where the scale of key j begins: of a whole sequence, or where the key's token lies. */
ATTN_DEVICE int64_t ATTN_FN(_scale_at)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, const attn_scale *s, int j)
{
    attn_tensor as;
    if (!s->stride[1])
        return (int64_t)u->b * s->stride[0] + (int64_t)ATTN_FN(_kv_head)(a, u) * s->stride[2];
    as.stride[0] = s->stride[0];
    as.stride[1] = s->stride[1];
    as.stride[2] = s->stride[2];
    return ATTN_FN(_kv_at)(a, u, &as, j);
}

/* Elements from the start of a row to its dim d. */
ATTN_DEVICE int64_t ATTN_FN(_dim_at)(const attn_tensor *t, int d)
{
    return t->dim_block ? d / t->dim_block * t->stride[3] + d % t->dim_block : d * t->stride[3];
}
