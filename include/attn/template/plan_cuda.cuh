/* plan_cuda.cuh - what the CUDA templates share on the host: how a call is cut into units, the workspace,
 * the arguments of a kernel.
 *
 * Included by forward_simt.cuh, forward_sm80.cuh, forward_sm90.cuh, decode_sm80.cuh and mla_sm90.cuh first of all, no
 * guard; launch_cuda.cuh is its other end.
 *
 * A unit is one sequence, one KV head, up to ATTN_TILE_Q rows, one part of the keys and one chunk of the columns of
 * V.  A row is (query position, query head of the group), position-major, so that the heads of a group share every
 * load of K and V and neighbouring rows see nearly the same keys.  Sizes alone decide how a call is cut, never the
 * contents of lengths, which the host does not know; the number of multiprocessors counts only where neither
 * num_splits, split_size nor ATTN_BATCH_INVARIANT says how keys are cut. */

#include <math.h>
#include <string.h>
#include <attn/device/cuda.cuh>
#include <attn/device/divide.h>
#include <attn/device/mask.h>
#include <attn/device/math.cuh>

#define ATTN_LOG2E 1.44269504088896340736f
#define ATTN_LN2   0.69314718055994530942f
#define ATTN_NEG_INF attn__f32_from_bits(0xff800000u)

/* Keys of a part, at least: below, merging costs more than idle multiprocessors do.  Batch-invariant parts have
 * this many exactly, whatever the call. */
#define ATTN_PART_KEYS           512
#define ATTN_PART_KEYS_INVARIANT 2048

/* What an instance with ATTN_DEBUG keeps of the workspace for its finding. */
#define ATTN_FINDING_BYTES (ATTN_DEBUG ? 64u : 0u)

/* Columns of V that one unit computes; a template with ATTN_HEAD_DIM 0 sets it before. */
#ifndef ATTN_CHUNK_V
#define ATTN_CHUNK_V ATTN_HEAD_DIM_V
#endif

#if ATTN_DTYPE == ATTN_F32
#define ATTN_Q_T         float
#define ATTN_Q_SCALAR(x) (x)
#elif ATTN_DTYPE == ATTN_F16
#define ATTN_Q_T         uint16_t
#define ATTN_Q_SCALAR(x) attn__low_f16(x)
#else
#define ATTN_Q_T         uint16_t
#define ATTN_Q_SCALAR(x) attn__low_bf16(x)
#endif
#if ATTN_KV_DTYPE == ATTN_F32
#define ATTN_KV_T         float
#define ATTN_KV_SCALAR(x) (x)
#elif ATTN_KV_DTYPE == ATTN_NARROW /* bytes, or halves of them */
#define ATTN_KV_T         uint8_t
#define ATTN_KV_SCALAR(x) (x)
#elif ATTN_KV_DTYPE == ATTN_F16
#define ATTN_KV_T         uint16_t
#define ATTN_KV_SCALAR(x) attn__low_f16(x)
#else
#define ATTN_KV_T         uint16_t
#define ATTN_KV_SCALAR(x) attn__low_bf16(x)
#endif

/* 1: the heads of a group are rows of one unit.  0: each query head has units of its own. */
#ifndef ATTN_PACK_GQA
#define ATTN_PACK_GQA 1
#endif

/* Blocks of a cluster that share a unit, at most; always a power of 2.  0: no clusters. */
#ifndef ATTN_CLUSTERS
#define ATTN_CLUSTERS 0
#endif
#define ATTN_SHARE_BEST -1 /* as _share thinks best */

/* 1: blocks may have shares of a list of all tiles (list_cuda.cuh).  Tiles of a share, at least. */
#define ATTN_LISTS (ATTN_KERNEL == ATTN_KERNEL_DECODE || ATTN_KERNEL == ATTN_KERNEL_MLA)
#ifndef ATTN_SHARE_TILES
#define ATTN_SHARE_TILES ATTN_WARPS
#endif

/* 1: blocks take tickets for units, from a word at the start of the workspace, and copy boxes that tensor maps
 * describe. */
#ifndef ATTN_PERSISTENT
#define ATTN_PERSISTENT 0
#endif
#define ATTN_TICKET_BYTES (ATTN_PERSISTENT ? 64u : 0u)

/* Neighbouring heads of which a causal call takes the longest units first, at most: as many as keep K and V in the L2,
 * and enough that blocks do not wait for the same lines.  Sections are of one size: in a small last one the longest
 * units would come when all else is done.  A tile of simt takes so long that the L2 does not matter. */
#define ATTN_SECTION_HEADS (ATTN_ARCH == ATTN_ARCH_SIMT ? 65536 : 32)

#include <attn/template/device_cuda.cuh>

/* What a kernel gets. */
typedef struct ATTN_FN(_args) {
#if ATTN_PERSISTENT
    attn__tma_map map_q, map_k, map_v, map_o;
    unsigned long long *tickets; /* of units beyond each block's first; NULL: there is none */
    uint32_t ticket_key;
    int32_t box_o;     /* map_o is made */
    attn__divisor by_ratio; /* query heads of a KV head */
#endif
#if ATTN_KERNEL == ATTN_KERNEL_MLA
    attn__tma_map map_v, map_rest; /* half of V's dims of eight keys; the dims that V has not */
    int32_t boxes;     /* they are made; else keys come by copies of 16 bytes */
#endif
    attn_params p;
    attn__divisor by_blocks, by_heads, by_section, by_turns; /* the last two: units of a section, its heads */
#if ATTN_LISTS
    attn__divisor by_page, by_walks, by_group; /* keys of a page; heads * blocks */
    attn__divisor by_side, by_rounds, by_shares; /* of a list: walks; heads * blocks of those; shares */
    int32_t cluster;   /* blocks of a cluster, which has one unit; 0: no clusters */
    int32_t cluster_log2;
    int32_t shares;    /* of the list of all tiles; 0: no list */
    int32_t share_entries; /* that a share has whole, where all of the list have as many tiles; 0: it is cut anywhere */
    int32_t merge_log2; /* of how many blocks merge a unit that is cut */
    int32_t see_all;   /* there are seq_q rows of each sequence, and they see all of its keys */
    int32_t alike;     /* all units have as many tiles, as the host knows */
    int32_t walks;     /* heads and blocks of rows that walk the list side by side, a block of threads for each */
    int64_t k_page, k_key, v_page, v_key; /* bytes from page to page and from key to key */
#if ATTN_KV_DTYPE == ATTN_NARROW
    int32_t k_groups, v_groups; /* groups of dims with scales that come with the tiles of keys; 0: none do */
    int32_t k_shift, v_shift;   /* log2 of how many times 32 dims a group has; much, if it is all dims */
#endif
#endif
    int32_t fixed;     /* all sequences have the lengths of the call */
    int32_t heads;     /* that have units: of k, or with ATTN_PACK_GQA 0 of q */
    int32_t group;     /* query heads that share a unit */
    int32_t ratio;     /* query heads of a KV head */
    int32_t section;   /* heads of all sequences whose units take turns */
    int32_t blocks;    /* blocks of ATTN_TILE_Q rows in a sequence and KV head */
    int32_t chunks;    /* chunks of V's columns */
    int32_t parts;     /* parts of the keys */
    int32_t share;     /* blocks of a cluster for a unit, or ATTN_SHARE_BEST; 0: none */
    int32_t part_keys; /* keys of each, a multiple of ATTN_TILE_K */
    int32_t wide_q, wide_k, wide_v; /* rows are contiguous and 16-byte aligned, dims a multiple of 16 bytes */
    int32_t wide_o;    /* the same, and o is of the instance's 16-bit type */
    int64_t units;     /* batch * heads * blocks * parts * chunks */
    int64_t rows;      /* batch * heads * group * seq_q */
    int64_t merge_items; /* what blocks of the merge take turns with */
    int64_t part_rows; /* rows of one part: the same, but see _share */
    float scale_log2;  /* p.scale * log2(e) */
    float *part_o;     /* [parts][part_rows][head_dim_v], not yet divided by the sum; NULL with one part */
    float *part_m;     /* [parts][part_rows] greatest score, in units of log2; -inf: no key seen */
    float *part_l;     /* [parts][part_rows] sum of 2^(score - m) */
#if ATTN_LISTS
    int32_t (*part_head)[2]; /* [batch * heads * blocks] of a unit in the list: who has its first tiles, and how many */
    int32_t (*part_cut)[3];  /* [walks] how the list is cut: list_cuda.cuh */
#endif
    float cap_unit;    /* with softcap: p.scale / p.softcap; */
    float cap[3];      /* and where the square of q.k is below cap_most, in log2: cap[0] q.k + cap[1] (q.k)^3 + .. */
    float cap_most;
    float cap_near[2]; /* below cap_near_most two terms will do */
    float cap_near_most;
#if ATTN_PERSISTENT
    int32_t boxes;     /* map_box, of the bias or the mask, is made */
    attn__tma_map map_box;
#endif
} ATTN_FN(_args);

static int64_t ATTN_FN(_ceil)(int64_t x, int64_t y)
{
    return x / y + (x % y != 0);
}

/* Whether rows of dim elements of `size` bytes can be read and written by 16 bytes. */
static int ATTN_FN(_is_wide)(const attn_tensor *t, int dim, int size)
{
    const int64_t strides = t->stride[0] | t->stride[1] | t->stride[2] | dim;
    const uint64_t bits = (uint64_t)(uintptr_t)t->data | (uint64_t)strides * (unsigned)size;
    return bits % 16 == 0 && t->stride[3] == 1 && !t->dim_block;
}

/* The same of k or v; of narrow types by 8 elements, which are 8 bytes or 4. */
static int ATTN_FN(_is_wide_kv)(const attn_tensor *t, int dim)
{
    const int64_t strides = t->stride[0] | t->stride[1] | t->stride[2] | dim;
    if (ATTN_KV_DTYPE != ATTN_NARROW)
        return ATTN_FN(_is_wide)(t, dim, (int)sizeof(ATTN_KV_T));
    return strides % 8 == 0 && (uintptr_t)t->data % (t->dtype == ATTN_INT4 ? 4 : 8) == 0 && t->stride[3] == 1 &&
           !t->dim_block;
}

#if ATTN_KERNEL == ATTN_KERNEL_DECODE && ATTN_KV_DTYPE == ATTN_NARROW
/* A scale without zero point that holds for all keys of a head and all dims does not come with the tiles. */
static void ATTN_FN(_groups)(const attn_scale *s, int dim, int32_t *groups, int32_t *shift)
{
    const int own = s->group > 0 && s->group < dim && s->stride[3];
    *groups = !s->scale || !(own || s->stride[1] || s->zero) ? 0 : own ? (dim + s->group - 1) / s->group : 1;
    *shift = !own ? 16 : s->group == 32 ? 0 : s->group == 64 ? 1 : 2;
}
#endif

#if ATTN_LISTS
/* Who reads which keys, where the call does not say.  clusters: how many blocks share a unit; 0: as seems best, and
 * that may be a list of all tiles of which each block has an equal share (list_cuda.cuh), unless `least`.
 * Part 0 are then the first units of the shares, part 1 the last ones. */
static void ATTN_FN(_share)(ATTN_FN(_args) *a, int64_t whole, int64_t tiles, int clusters, int least)
{
    const attn_params *p = &a->p;
    const int64_t walks = (int64_t)a->heads * a->blocks;
    attn_device device;
    if (clusters) { /* a block alone is none */
        a->cluster = clusters > 1 && whole * clusters <= INT32_MAX ? clusters : 0;
        return;
    }
    ATTN_FN(_device)(&device);
    const int64_t room = (int64_t)device.sms * ATTN_BLOCKS;
    /* Narrow types wait for arithmetic rather than memory: a long cache is for all multiprocessors, where that makes up
     * for what the list and the merge take. */
    const int slow = ATTN_KV_DTYPE == ATTN_NARROW && !least && tiles >= 49152 / ATTN_TILE_K;
    if (ATTN_CLUSTERS && 2 * whole <= room && !slow) {
        a->cluster = ATTN_CLUSTERS;
        /* Half of the multiprocessors read as fast as all, and of clusters above 2 no more find places side by side. */
        while (a->cluster > 1 && (a->cluster * whole > (a->cluster > 2 ? room / 2 : room) ||
                                  a->cluster / 2 * ATTN_WARPS >= tiles))
            a->cluster /= 2;
        if (a->cluster == 1)
            a->cluster = 0;
        return;
    }
    if (least || whole * (tiles + 1) > INT32_MAX)
        return;
    /* Neighbours in memory are keys of other heads, so all heads should be read at a time; unless that leaves too many
     * multiprocessors idle. */
    a->walks = (int32_t)(walks < room ? walks : room);
    while (walks % a->walks || room / a->walks * a->walks * 16 < room * 15)
        --a->walks;
    const int64_t entries = whole / a->walks, most = ATTN_FN(_ceil)(entries * tiles, ATTN_SHARE_TILES);
    const int64_t shares = room / a->walks < most ? room / a->walks : most;
    a->shares = shares > 1 ? (int32_t)shares : 1;
    a->units = (int64_t)a->shares * a->walks;
    a->by_side = attn__divisor_make((uint32_t)a->walks);
    a->by_rounds = attn__divisor_make((uint32_t)(walks / a->walks));
    a->by_shares = attn__divisor_make((uint32_t)a->shares);
    /* Where all units have as many tiles, which may be known on the device alone, shares are whole units if the longest
     * of them is longer by a sixteenth at most: a merge takes more. */
    const int64_t whole_entries = ATTN_FN(_ceil)(entries, a->shares);
    if ((whole_entries * a->shares - entries) * 16 <= entries)
        a->share_entries = (int32_t)whole_entries;
    a->see_all = !p->cu_seqlens_q && !p->seqused_q && !p->window && !p->chunk &&
                 (!p->causal || (p->causal == ATTN_CAUSAL_BOTTOM_RIGHT && p->seq_q == 1));
    a->alike = a->fixed && a->blocks == 1;
    if (!a->alike || !a->share_entries) {
        a->parts = 2;
        a->part_rows = a->units * ATTN_TILE_Q;
    }
}
#endif

/* How the call is cut.  least: into as few parts as it may be. */
static void ATTN_FN(_plan)(const attn_params *p, int least, ATTN_FN(_args) *a)
{
    memset(a, 0, sizeof *a);
    a->p = *p;
    a->ratio = ATTN_GQA ? ATTN_GQA : p->heads_q / p->heads_k;
    a->group = ATTN_PACK_GQA ? a->ratio : 1;
    a->heads = p->heads_q / a->group;
    const int64_t rows = (int64_t)a->group * p->seq_q, tiles = ATTN_FN(_ceil)(p->seq_k, ATTN_TILE_K);
    a->blocks = (int32_t)ATTN_FN(_ceil)(rows, ATTN_TILE_Q);
    a->chunks = ATTN_CHUNK_V >= ATTN_HEAD_DIM_V && ATTN_HEAD_DIM_V > 0
                    ? 1
                    : (int32_t)ATTN_FN(_ceil)(p->head_dim_v, ATTN_CHUNK_V);
    a->rows = a->part_rows = rows * a->heads * p->batch;
    a->fixed = !p->cu_seqlens_q && !p->cu_seqlens_k && !p->seqused_q && !p->seqused_k && !p->page_indptr;
    a->scale_log2 = p->scale * ATTN_LOG2E;
    if (p->softcap > 0.0f) {
        const float unit = p->scale / p->softcap, square = unit * unit;
        a->cap_unit = unit;
        a->cap[0] = a->scale_log2 * ATTN_TANH_1;
        a->cap[1] = a->scale_log2 * ATTN_TANH_3 * square;
        a->cap[2] = a->scale_log2 * ATTN_TANH_5 * square * square;
        a->cap_most = ATTN_TANH_MOST / unit * (ATTN_TANH_MOST / unit);
        /* tanh x is x (1 - x^2 / 3 + 2 x^4 / 15 - ..); of x^4 the straight line through what x^2 is below w errs by
         * w^2 / 8 at most.  So a score errs by softcap w^(5/2) / 60, which shall be a quarter of what P is rounded by;
         * w by Newton's method. */
        const float error = (ATTN_DTYPE == ATTN_BF16 ? 0.03f : 0.006f) / p->softcap;
        float w = 0.25f;
        for (int n = 0; n < 24; ++n)
            w = 0.8f * w + 0.2f * error * error / (w * w * w * w);
        w = w < 0.1f ? w : 0.1f;
        a->cap_near[0] = a->scale_log2 * (1.0f - w * w / 60.0f);
        a->cap_near[1] = a->scale_log2 * (2.0f / 15.0f * w - 1.0f / 3.0f) * square;
        a->cap_near_most = w / square;
    }
    const int64_t heads = (int64_t)p->batch * a->heads;
    const int64_t whole = heads * a->blocks * a->chunks; /* units, if keys are not cut */
    a->section = 1;
    if (!ATTN_LISTS && heads && p->causal && !p->window && !p->chunk)
        a->section = (int32_t)ATTN_FN(_ceil)(heads, ATTN_FN(_ceil)(heads, ATTN_SECTION_HEADS));

    int64_t keys = tiles;
    if (p->split_size)
        keys = ATTN_FN(_ceil)(p->split_size, ATTN_TILE_K);
    else if (p->num_splits && p->num_splits <= ATTN_CLUSTERS && !(p->num_splits & (p->num_splits - 1)))
        a->share = p->num_splits;
    else if (p->num_splits)
        keys = ATTN_FN(_ceil)(tiles, p->num_splits);
    else if (p->flags & ATTN_BATCH_INVARIANT)
        keys = ATTN_FN(_ceil)(ATTN_PART_KEYS_INVARIANT, ATTN_TILE_K);
    else if (ATTN_LISTS)
        a->share = !least || ATTN_CLUSTERS ? ATTN_SHARE_BEST : 0;
    else if (!least && whole) {
        attn_device device;
        ATTN_FN(_device)(&device);
        int64_t parts = (int64_t)device.sms * ATTN_BLOCKS / whole;
        if (parts > p->seq_k / ATTN_PART_KEYS)
            parts = p->seq_k / ATTN_PART_KEYS;
        if (parts > 1)
            keys = ATTN_FN(_ceil)(tiles, parts);
    }
    if (keys > INT32_MAX / 2 / ATTN_TILE_K)
        keys = INT32_MAX / 2 / ATTN_TILE_K;
    const int64_t parts = keys ? ATTN_FN(_ceil)(tiles, keys) : 1;
    a->parts = parts > 1 ? (int32_t)parts : 1;
    a->part_keys = (int32_t)(keys * ATTN_TILE_K);
    a->units = whole * a->parts;
    if (a->units) { /* nothing is divided by 0 */
        a->by_blocks = attn__divisor_make((uint32_t)a->blocks);
        a->by_heads = attn__divisor_make((uint32_t)a->heads);
        if (a->units <= INT32_MAX)
            a->by_section = attn__divisor_make((uint32_t)(a->section * a->blocks * a->parts * a->chunks));
        a->by_turns = attn__divisor_make((uint32_t)a->section);
#if ATTN_LISTS
        a->by_walks = attn__divisor_make((uint32_t)(a->heads * a->blocks));
        a->by_group = attn__divisor_make((uint32_t)a->group);
#endif
    }
#if ATTN_LISTS
    if (a->share && whole)
        ATTN_FN(_share)(a, whole, tiles, a->share > 0 ? a->share : 0, least);
    while (1 << a->cluster_log2 < a->cluster)
        ++a->cluster_log2;
    a->by_page = attn__divisor_make(p->page_size ? (uint32_t)p->page_size : 1);
    /* Halves of bytes of a number. */
    const int size = ATTN_KV_DTYPE != ATTN_NARROW ? 4 : p->k.dtype == ATTN_INT4 ? 1 : 2;
    a->k_page = p->k.stride[0] * size / 2;
    a->k_key = p->k.stride[1] * size / 2;
    a->v_page = p->v.stride[0] * size / 2;
    a->v_key = p->v.stride[1] * size / 2;
#if ATTN_KV_DTYPE == ATTN_NARROW
    ATTN_FN(_groups)(&p->k_scale, p->head_dim, &a->k_groups, &a->k_shift);
    ATTN_FN(_groups)(&p->v_scale, p->head_dim_v, &a->v_groups, &a->v_shift);
#endif
#endif

    a->wide_q = ATTN_FN(_is_wide)(&p->q, p->head_dim, (int)sizeof(ATTN_Q_T));
    a->wide_k = ATTN_FN(_is_wide_kv)(&p->k, p->head_dim);
    a->wide_v = ATTN_FN(_is_wide_kv)(&p->v, p->head_dim_v);
    a->wide_o = ATTN_DTYPE != ATTN_F32 && p->o.dtype == ATTN_DTYPE && ATTN_FN(_is_wide)(&p->o, p->head_dim_v, 2);
}

/* Floats of the partial results, each array from a multiple of 16; they lie from `at` on, if it is given. */
static size_t ATTN_FN(_part_floats)(ATTN_FN(_args) *a, float *at)
{
    const size_t rows = (size_t)a->parts * (size_t)a->part_rows;
    const size_t m_at = (rows * (size_t)a->p.head_dim_v + 15) / 16 * 16, l_at = m_at + (rows + 15) / 16 * 16;
    size_t end = l_at + (rows + 15) / 16 * 16;
    if (a->parts <= 1)
        return 0;
    if (at) {
        a->part_o = at;
        a->part_m = at + m_at;
        a->part_l = at + l_at;
    }
#if ATTN_LISTS
    if (a->shares) {
        const size_t heads = ((size_t)a->p.batch * (size_t)a->heads * (size_t)a->blocks * 2 + 15) / 16 * 16;
        if (at) {
            a->part_head = (int32_t(*)[2])(void *)(at + end);
            a->part_cut = (int32_t(*)[3])(void *)(at + end + heads);
        }
        end += heads + ((size_t)a->walks * 3 + 15) / 16 * 16;
    }
#endif
    return end;
}

/* Bytes of the rotated q, a multiple of 64. */
static size_t ATTN_FN(_rope_bytes)(const attn_params *p)
{
    const int64_t rows = p->cu_seqlens_q ? p->total_q : (int64_t)p->batch * p->seq_q;
    return ATTN_ROPE && p->rope_style
               ? ((size_t)rows * (size_t)p->heads_q * (size_t)p->head_dim * sizeof(ATTN_Q_T) + 63) / 64 * 64
               : 0;
}

static size_t ATTN_FN(_workspace)(const attn_params *p, int least)
{
    ATTN_FN(_args) a;
    ATTN_FN(_plan)(p, least, &a);
    return ATTN_FINDING_BYTES + ATTN_TICKET_BYTES + ATTN_FN(_rope_bytes)(p) +
           sizeof(float) * ATTN_FN(_part_floats)(&a, NULL);
}
