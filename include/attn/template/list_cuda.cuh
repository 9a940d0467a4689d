/* list_cuda.cuh - which tiles of keys a unit has, and which of them a block computes: parts of a fixed number of keys,
 * a share of a cluster, or a share of the list of all tiles.
 *
 * Included by decode_sm80.cuh and mla_sm90.cuh after unit_cuda.cuh, no guard.  Lengths are read here, by each warp that
 * asks; plan_cuda.cuh has said how the call is cut. */

/* The sum of x of all lanes. */
ATTN_DEVICE int ATTN_FN(_sum)(int x)
{
    ATTN_UNROLL
    for (int n = 1; n < 32; n *= 2)
        x += attn__shuffle_int(x, attn__lane() ^ n);
    return x;
}

/* ---- which tiles a unit has ------------------------------------------------------------------------- */

/* Tiles of a unit that somebody sees, counted from 0: of the sink tokens, then from tile `first` of the sequence on. */
typedef struct ATTN_FN(_tiles) {
    int sink, sinks, first, count;
} ATTN_FN(_tiles);

/* Sequence, rows, masks and tiles of a unit: KV head and block of rows number `walk` of sequence b.  One tile at least,
 * so that somebody stores what empty rows are; none if there is no row. */
ATTN_DEVICE void ATTN_FN(_tiles_of)(const ATTN_FN(_args) *a, int b, int walk, ATTN_FN(_unit) *u, ATTN_FN(_tiles) *t)
{
    const int head = a->blocks > 1 ? (int)attn__divide((unsigned)walk, a->by_blocks) : walk;
    const int block = walk - head * a->blocks;
    u->b = b;
    u->g = head;
    u->part = u->chunk = 0;
    ATTN_FN(_sequence)(a, u);
    u->row0 = block * ATTN_TILE_Q;
    const int64_t left = (int64_t)u->len_q * ATTN_FN(_group)(a) - u->row0;
    u->rows = left < ATTN_TILE_Q ? (int)left : ATTN_TILE_Q;
    t->sink = t->sinks = t->first = t->count = 0;
    if (left <= 0)
        return;
    const int plain = (!ATTN_CAUSAL || !a->p.causal || (a->p.causal == ATTN_CAUSAL_BOTTOM_RIGHT && u->len_q == 1)) &&
                      (!ATTN_WINDOW || !a->p.window) && (!ATTN_CHUNK || !a->p.chunk);
    u->span.sink_lo = u->span.sink_hi = u->span.lo = u->span.full_lo = 0;
    u->span.hi = u->span.full_hi = u->len_k;
    if (!plain) /* the rows do not see all keys */
        u->span = ATTN_FN(_span)(a, u, 0, ATTN_TILE_Q - 1);
    int end = u->span.lo < u->span.hi ? (u->span.hi + ATTN_TILE_K - 1) / ATTN_TILE_K : 0;
    t->first = u->span.lo / ATTN_TILE_K;
    if (ATTN_SINK_TOKENS && u->span.sink_lo < u->span.sink_hi) {
        const int sinks_end = (u->span.sink_hi + ATTN_TILE_K - 1) / ATTN_TILE_K;
        t->sink = u->span.sink_lo / ATTN_TILE_K;
        t->sinks = sinks_end - t->sink;
        t->first = t->first > sinks_end ? t->first : sinks_end;
    }
    t->count = t->sinks + (end > t->first ? end - t->first : 0);
    t->count = t->count ? t->count : 1;
}

/* The first key of tile n of them. */
ATTN_DEVICE int ATTN_FN(_key_of)(const ATTN_FN(_tiles) *t, int n)
{
    const int tile = ATTN_SINK_TOKENS && n < t->sinks ? t->sink + n : t->first + n - t->sinks;
    return tile * ATTN_TILE_K;
}

/* How many of them begin before `key`. */
ATTN_DEVICE int ATTN_FN(_tiles_before)(const ATTN_FN(_tiles) *t, int64_t key)
{
    const int64_t tile = key / ATTN_TILE_K, sinks = tile - t->sink, others = tile - t->first;
    const int before = (int)(sinks < 0 ? 0 : sinks < t->sinks ? sinks : t->sinks);
    return others <= 0 ? before : others < t->count - t->sinks ? t->sinks + (int)others : t->count;
}

/* ---- what a block has to do: one unit, or part of one, after the other ------------------------------ */

typedef struct ATTN_FN(_feed) {
    int64_t number; /* parts: of the next unit.  list: of the next entry, a sequence and some of the walks */
    int walk;       /* list: in such an entry */
    int skip, left; /* list: tiles of that entry that others have; tiles of this block */
} ATTN_FN(_feed);

/* Tiles from .. to of a unit. */
typedef struct ATTN_FN(_work) {
    ATTN_FN(_tiles) tiles;
    int from, to;
    int part; /* parts: of the keys */
} ATTN_FN(_work);

/* Tiles of entry `number` of the list, as walk `walk` has it. */
ATTN_DEVICE void ATTN_FN(_entry)(const ATTN_FN(_args) *a, int number, int walk, ATTN_FN(_unit) *u, ATTN_FN(_tiles) *t)
{
    const int turns = a->heads * a->blocks / a->walks, b = turns > 1 ? number / turns : number;
    ATTN_FN(_tiles_of)(a, b, (number - b * turns) * a->walks + walk, u, t);
}
ATTN_DEVICE int ATTN_FN(_entries)(const ATTN_FN(_args) *a)
{
    return a->p.batch * (a->heads * a->blocks / a->walks);
}

/* How many tiles that are. */
ATTN_DEVICE int ATTN_FN(_entry_count)(const ATTN_FN(_args) *a, int number, int walk)
{
    ATTN_FN(_unit) u;
    ATTN_FN(_tiles) t;
    ATTN_FN(_entry)(a, number, walk, &u, &t);
    return t.count;
}

/* The first tile of share n of `shares` of a list; the first ones have one more. */
ATTN_DEVICE int ATTN_FN(_share_start)(int total, int shares, int n)
{
    const int rest = total % shares;
    return total / shares * n + (n < rest ? n : rest);
}
/* Whose share tile n is in. */
ATTN_DEVICE int ATTN_FN(_share_of)(int total, int shares, int n)
{
    const int each = total / shares, rest = total % shares, longer = rest * (each + 1);
    return n < longer ? n / (each + 1) : rest + (n - longer) / (each > 0 ? each : 1);
}

/* The list's share of this block.  A warp: each lane adds up some neighbouring entries, then those of the lane in which
 * the share starts are spread over all lanes, until a lane has one entry. */
ATTN_DEVICE void ATTN_FN(_take_share)(const ATTN_FN(_args) *a, ATTN_FN(_feed) *f)
{
    const int share = (int)blockIdx.x / a->walks, walk = (int)blockIdx.x % a->walks, lane = attn__lane();
    int first = 0, width = ATTN_FN(_entries)(a), before = 0, start = -1, each;
    f->walk = walk;
    f->skip = f->left = 0;
    do {
        int upto = 0; /* tiles of this lane's entries; with those of all lanes before, and of all entries before */
        each = (width + 31) / 32;
        ATTN_NO_UNROLL
        for (int n = lane * each; n < (lane + 1) * each && n < width; ++n)
            upto += ATTN_FN(_entry_count)(a, first + n, walk);
        const int count = upto;
        ATTN_UNROLL
        for (int n = 1; n < 32; n *= 2) {
            const int other = attn__shuffle_int(upto, lane >= n ? lane - n : lane);
            upto += lane >= n ? other : 0;
        }
        upto += before;
        if (start < 0) { /* that was all of them */
            const int total = attn__shuffle_int(upto, 31);
            start = ATTN_FN(_share_start)(total, a->shares, share);
            f->left = ATTN_FN(_share_start)(total, a->shares, share + 1) - start;
            if (!f->left)
                return;
        }
        const int at = ATTN_FN(_sum)(upto <= start); /* lanes whose entries end before the share starts */
        before = attn__shuffle_int(upto - count, at);
        first += at * each;
        width = width - at * each < each ? width - at * each : each;
    } while (each > 1);
    f->number = first;
    f->skip = start - before;
}

/* What this block does first. */
ATTN_DEVICE void ATTN_FN(_feed_start)(const ATTN_FN(_args) *a, int clusters, ATTN_FN(_feed) *f)
{
    f->number = blockIdx.x;
    f->walk = f->skip = f->left = 0;
    if (!clusters && a->shares)
        ATTN_FN(_take_share)(a, f);
}

/* The next work; 0 if there is none.  Part 0 of a share is what it begins with. */
ATTN_DEVICE int ATTN_FN(_next_work)(const ATTN_FN(_args) *a, int clusters, ATTN_FN(_feed) *f, ATTN_FN(_work) *w,
                                    ATTN_FN(_unit) *u)
{
    const unsigned walks = a->by_walks.by;
    if (clusters) {
        const unsigned number = blockIdx.x >> a->cluster_log2, b = attn__divide(number, a->by_walks);
        const int rank = (int)blockIdx.x & (a->cluster - 1);
        if (f->left)
            return 0;
        f->left = 1;
        ATTN_FN(_tiles_of)(a, (int)b, (int)(number - b * walks), u, &w->tiles);
        w->from = w->tiles.count * rank >> a->cluster_log2;
        w->to = w->tiles.count * (rank + 1) >> a->cluster_log2;
        return w->tiles.count > 0;
    }
    if (a->shares) {
        while (f->left > 0) {
            ATTN_FN(_entry)(a, (int)f->number, f->walk, u, &w->tiles);
            ++f->number;
            w->from = f->skip;
            w->to = f->left < w->tiles.count - w->from ? w->from + f->left : w->tiles.count;
            f->skip = 0;
            f->left -= w->to - w->from;
            if (w->to > w->from)
                return 1;
        }
        return 0;
    }
    while (f->number < a->units) {
        const int64_t rest = f->number / walks;
        const int walk = (int)(f->number - rest * walks), part = (int)(rest % a->parts);
        f->number += gridDim.x;
        ATTN_FN(_tiles_of)(a, (int)(rest / a->parts), walk, u, &w->tiles);
        w->part = part;
        w->from = ATTN_FN(_tiles_before)(&w->tiles, (int64_t)part * a->part_keys);
        w->to = part + 1 < a->parts ? ATTN_FN(_tiles_before)(&w->tiles, (int64_t)(part + 1) * a->part_keys)
                                    : w->tiles.count;
        if (w->tiles.count)
            return 1;
    }
    return 0;
}

/* ---- the merge -------------------------------------------------------------------------------------- */

/* Of the list: where the partial results of a row of sequence u->b and KV head u->g lie, `row` of all of its rows;
 * 0 if there are none, because one block had the unit whole.  A warp. */
ATTN_DEVICE int ATTN_FN(_parts_of)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int row, ATTN_FN(_parts) *parts)
{
    const int block = row / ATTN_TILE_Q, walk_all = u->g * a->blocks + block, walk = walk_all % a->walks;
    const int turns = a->heads * a->blocks / a->walks, own = u->b * turns + walk_all / a->walks;
    const int entries = ATTN_FN(_entries)(a), each = (entries + 31) / 32; /* neighbours: their lengths share lines */
    int total = 0, before = 0, count = 0;
    ATTN_NO_UNROLL
    for (int number = attn__lane() * each; number < (attn__lane() + 1) * each && number < entries; ++number) {
        const int n = ATTN_FN(_entry_count)(a, number, walk);
        total += n;
        before += number < own ? n : 0;
        count += number == own ? n : 0;
    }
    total = ATTN_FN(_sum)(total);
    before = ATTN_FN(_sum)(before);
    count = ATTN_FN(_sum)(count);
    const int first = ATTN_FN(_share_of)(total, a->shares, before);
    const int last = ATTN_FN(_share_of)(total, a->shares, before + count - 1);
    const int begins = ATTN_FN(_share_start)(total, a->shares, first) == before;
    parts->count = last - first + 1;
    parts->step = (int64_t)a->walks * ATTN_TILE_Q;
    parts->first = first * parts->step + (int64_t)walk * ATTN_TILE_Q + row % ATTN_TILE_Q;
    parts->zero = parts->first + (begins ? 0 : a->part_rows);
    return count > 0 && first != last;
}
