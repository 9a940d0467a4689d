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
    return attn__shuffle_int(x, 0); /* the compiler then knows that it is the same in a warp */
}

/* The greatest x of all lanes. */
ATTN_DEVICE int ATTN_FN(_most)(int x)
{
    ATTN_UNROLL
    for (int n = 1; n < 32; n *= 2) {
        const int other = attn__shuffle_int(x, attn__lane() ^ n);
        x = other > x ? other : x;
    }
    return attn__shuffle_int(x, 0);
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
    const int b = (int)attn__divide((unsigned)number, a->by_rounds);
    ATTN_FN(_tiles_of)(a, b, (number - b * (int)a->by_rounds.by) * a->walks + walk, u, t);
}
ATTN_DEVICE int ATTN_FN(_entries)(const ATTN_FN(_args) *a)
{
    return a->p.batch * (int)a->by_rounds.by;
}

/* How many tiles that are. */
ATTN_DEVICE int ATTN_FN(_entry_count)(const ATTN_FN(_args) *a, int number, int walk)
{
    ATTN_FN(_unit) u;
    ATTN_FN(_tiles) t;
    if (a->see_all) {
        u.b = (int)attn__divide((unsigned)number, a->by_rounds);
        ATTN_FN(_sequence)(a, &u);
        return u.len_k > ATTN_TILE_K ? (u.len_k + ATTN_TILE_K - 1) / ATTN_TILE_K : 1;
    }
    ATTN_FN(_entry)(a, number, walk, &u, &t);
    return t.count;
}

/* How the list is cut: shares of `each` tiles, the first ones of one more. */
typedef struct ATTN_FN(_cut) {
    int total, each, more;
} ATTN_FN(_cut);

/* Shares are equal; but where all entries have as many tiles, which is `most`, they are whole entries if that takes
 * hardly longer: then nothing is to be merged. */
ATTN_DEVICE ATTN_FN(_cut) ATTN_FN(_cut_of)(const ATTN_FN(_args) *a, int total, int most)
{
    ATTN_FN(_cut) cut;
    cut.total = total;
    cut.each = (int)attn__divide((unsigned)total, a->by_shares);
    cut.more = total - cut.each * a->shares;
    if (a->share_entries && (int64_t)most * ATTN_FN(_entries)(a) == total)
        cut.each = a->share_entries * most, cut.more = 0;
    return cut;
}

/* The first tile of share n. */
ATTN_DEVICE int ATTN_FN(_share_start)(const ATTN_FN(_cut) *cut, int n)
{
    const int64_t start = (int64_t)cut->each * n + (n < cut->more ? n : cut->more);
    return start < cut->total ? (int)start : cut->total;
}
/* Whose share tile n is in. */
ATTN_DEVICE int ATTN_FN(_share_of)(const ATTN_FN(_cut) *cut, int n)
{
    const int longer = cut->more * (cut->each + 1);
    return n < longer ? n / (cut->each + 1) : cut->more + (n - longer) / (cut->each > 0 ? cut->each : 1);
}

/* Cuts the list, of entries of `most` tiles, and says to f how many tiles share `share` has, and to the merge how it
 * was cut.  Where the share starts. */
ATTN_DEVICE int ATTN_FN(_begin_share)(const ATTN_FN(_args) *a, ATTN_FN(_feed) *f, int share, int total, int most)
{
    const ATTN_FN(_cut) cut = ATTN_FN(_cut_of)(a, total, most);
    const int start = ATTN_FN(_share_start)(&cut, share);
    f->left = ATTN_FN(_share_start)(&cut, share + 1) - start;
    if (a->part_cut && share == 0 && threadIdx.x == 0) {
        a->part_cut[f->walk][0] = cut.total;
        a->part_cut[f->walk][1] = cut.each;
        a->part_cut[f->walk][2] = cut.more;
    }
    return start;
}

/* The list's share of this block.  A warp: each lane adds up some neighbouring entries, then those of the lane in which
 * the share starts are spread over all lanes, until a lane has one entry.  None of that where entries are alike. */
ATTN_DEVICE void ATTN_FN(_take_share)(const ATTN_FN(_args) *a, ATTN_FN(_feed) *f)
{
    const int share = (int)attn__divide(blockIdx.x, a->by_side), walk = (int)blockIdx.x - share * a->walks;
    const int lane = attn__lane();
    int first = 0, width = ATTN_FN(_entries)(a), before = 0, start = -1, most = 0, each;
    f->walk = walk;
    f->skip = f->left = 0;
    if (a->alike) {
        const int tiles = ATTN_FN(_entry_count)(a, 0, walk);
        start = ATTN_FN(_begin_share)(a, f, share, tiles * width, tiles);
        f->number = tiles ? (int)((unsigned)start / (unsigned)tiles) : 0;
        f->skip = start - (int)f->number * tiles;
        return;
    }
    do {
        int upto = 0; /* tiles of this lane's entries; with those of all lanes before, and of all entries before */
        each = (width + 31) / 32;
        ATTN_NO_UNROLL
        for (int n = lane * each; n < (lane + 1) * each && n < width; ++n) {
            const int count = ATTN_FN(_entry_count)(a, first + n, walk);
            upto += count;
            most = count > most ? count : most;
        }
        const int count = upto;
        ATTN_UNROLL
        for (int n = 1; n < 32; n *= 2) {
            const int other = attn__shuffle_int(upto, lane >= n ? lane - n : lane);
            upto += lane >= n ? other : 0;
        }
        upto += before;
        if (start < 0) { /* that was all of them */
            start = ATTN_FN(_begin_share)(a, f, share, attn__shuffle_int(upto, 31), ATTN_FN(_most)(most));
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
            w->from = f->skip;
            w->to = f->left < w->tiles.count - w->from ? w->from + f->left : w->tiles.count;
            if (a->part_head && !w->from && threadIdx.x == 0) {
                int32_t *const head = a->part_head[f->number * a->walks + f->walk];
                head[0] = (int32_t)blockIdx.x;
                head[1] = w->to;
            }
            ++f->number;
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

/* Of the list: unit number `number` and where the partial results of its first row lie; 0 if there are none, because
 * one block had the unit whole.  After the kernel: its blocks have written down who began which unit. */
ATTN_DEVICE int ATTN_FN(_parts_of)(const ATTN_FN(_args) *a, int64_t number, ATTN_FN(_unit) *u, ATTN_FN(_parts) *parts)
{
    const unsigned b = attn__divide((unsigned)number, a->by_walks);
    const int block = a->part_head[number][0], here = a->part_head[number][1]; /* nobody's, if it has no rows */
    ATTN_FN(_tiles) t;
    ATTN_FN(_tiles_of)(a, (int)b, (int)((unsigned)number - b * a->by_walks.by), u, &t);
    if (!t.count || here == t.count)
        return 0;
    const int share = (int)attn__divide((unsigned)block, a->by_side);
    const int32_t *const kept = a->part_cut[block - share * a->walks];
    const ATTN_FN(_cut) cut = { kept[0], kept[1], kept[2] };
    const int start = ATTN_FN(_share_start)(&cut, share), next = ATTN_FN(_share_start)(&cut, share + 1);
    parts->count = ATTN_FN(_share_of)(&cut, next + t.count - here - 1) - share + 1;
    parts->step = (int64_t)a->walks * ATTN_TILE_Q;
    parts->first = (int64_t)block * ATTN_TILE_Q;
    parts->zero = parts->first + (here == next - start ? 0 : a->part_rows); /* what a share begins with is in part 0 */
    return 1;
}
