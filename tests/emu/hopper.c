/* hopper.c - what sm_90 adds: mbarriers, TMA, clusters, wgmma, registers that move.  The twins in attn/device call it.
 *
 * Everything is checked when a thread asks for it; an operation that lands later, perhaps while no thread runs, only
 * moves bytes, and leaves what went wrong to the next thread that calls.  C11. */
#include "hopper.h"

#include <attn/device/convert.h>
#include <math.h>
#include <stdlib.h>

enum {
    BARRIERS = 512,       /* mbarriers of a block */
    GROUPS = 64,          /* bulk groups of a thread that are remembered */
    PRODUCTS = 256,       /* wgmma under way in a warpgroup */
    SUMS = 16,            /* sets of accumulators under way in a warpgroup */
    WARPGROUP = 128,
    PROMISED = 0x7fc5a5a5 /* what accumulators hold until their wait: a NaN */
};

/* An asynchronous operation for the race detector: whose, and which. */
typedef struct stamp {
    int agent;
    uint32_t at;
} stamp;

typedef struct stamps {
    stamp *list;
    int count, room;
} stamps;

/* In shared memory lies only its handle. */
typedef struct mbarrier {
    emu_block *block;
    void *at;
    int arrivals, pending, phase;
    long bytes;            /* announced and not landed */
    int made;              /* attn__mbarrier_made came after its init */
    emu_thread *maker;
    const char *trouble;   /* found while an operation landed */
    emu_clock near, far;   /* of arrivals in this phase, from this block and from others */
    emu_clock near_done, far_done;
    stamps landed, landed_done;
} mbarrier;

typedef struct product {
    int sums; /* index */
    int n, type, a_major, b_major, keep, from_registers, done, seen;
    uint64_t a, b;
    long group;
    stamp stamp;
    const uint32_t *at[WARPGROUP]; /* registers of A */
    uint32_t held[WARPGROUP][4];   /* as they were */
} product;

typedef struct sums {
    int n, given_back; /* n = 0: free */
    float *at[WARPGROUP];
    char given[WARPGROUP];
    float value[WARPGROUP][128];
} sums;

typedef struct warpgroup {
    int first, end; /* of the ring of products */
    product ring[PRODUCTS];
    sums sums[SUMS];
} warpgroup;

typedef struct thread {
    uint32_t stamps;
    emu_queue bulk;
    long bulk_group;
    uint32_t bulk_stamp[GROUPS]; /* the latest one of each group */
    long wgmma_group, wgmma_ended, wgmma_waits;
    int fenced;
} thread;

/* What blocks and threads have here; begins anew with each block. */
typedef struct place {
    long serial;
    int barriers;
    mbarrier barrier[BARRIERS];
    thread thread[EMU_THREADS];
    warpgroup *group[EMU_WARPS / 4];
    int registers[EMU_WARPS], spare; /* per thread of a warp; in the pool */
    int cluster_here;                /* of the first block of a cluster: threads that have arrived */
    long cluster_phase;
    char cluster_arrived[EMU_RESIDENT / 2][EMU_THREADS];
    emu_clock cluster_clock, cluster_done;
} place;

static place *places[EMU_RESIDENT];

static int launch_registers(void)
{
    const int n = 65536 / (int)emu_block_dim.x & ~7;
    return n < 256 ? n : 256;
}

/* Not emu_clock_drop: what it holds may be of an earlier launch, and gone. */
static void clock_forget(emu_clock *c)
{
    c->view = NULL;
}

static place *place_of(const emu_block *b)
{
    place *p = places[b->slot];
    if (!p && !(p = places[b->slot] = calloc(1, sizeof *p)))
        emu_fail(NULL, "emulator: no memory");
    if (p->serial == b->serial)
        return p;
    p->serial = b->serial;
    for (int i = 0; i < p->barriers; i++) {
        mbarrier *m = &p->barrier[i];
        clock_forget(&m->near);
        clock_forget(&m->far);
        clock_forget(&m->near_done);
        clock_forget(&m->far_done);
        m->landed.count = m->landed_done.count = 0;
    }
    p->barriers = 0;
    for (int i = 0; i < b->threads; i++) {
        thread *t = &p->thread[i];
        const emu_queue kept = {t->bulk.at, t->bulk.size, 0, 0, t->bulk.room};
        memset(t, 0, sizeof *t);
        t->bulk = kept;
    }
    for (int i = 0; i < EMU_WARPS / 4; i++)
        if (p->group[i]) {
            p->group[i]->first = p->group[i]->end = 0;
            for (int s = 0; s < SUMS; s++)
                p->group[i]->sums[s].n = 0;
        }
    for (int w = 0; w < EMU_WARPS; w++)
        p->registers[w] = launch_registers();
    p->spare = 0;
    p->cluster_here = 0;
    p->cluster_phase = 0;
    memset(p->cluster_arrived, 0, sizeof p->cluster_arrived);
    clock_forget(&p->cluster_clock);
    clock_forget(&p->cluster_done);
    return p;
}

static thread *own_thread(void)
{
    return &place_of(emu_self->block)->thread[emu_self->index.x];
}

static emu_block *target(uint32_t address)
{
    const int rank = (int)(address >> EMU_RANK_SHIFT) - 1;
    return rank < 0 ? emu_self->block : &emu_self->block->first[rank];
}

/* emu_shared_pointer, of a block that still runs. */
static void *shared_at(uint32_t address, size_t bytes, size_t align, const char *what, const char *site)
{
    void *p = emu_shared_pointer(address, bytes, align, what, site);
    const emu_block *b = target(address);
    uint32_t alive = 0;
    for (int w = 0; w < b->warp_count; w++)
        alive |= b->warps[w].alive;
    if (!alive)
        emu_fail(site, "%s: the block of rank %d has ended, and with it its shared memory", what, b->rank);
    return p;
}

static void start(const char *what, const char *site)
{
    emu_need(90, what, site);
    emu_pause(site);
}

/* The kernel may have started early: then it has waited for the one before. */
static int early;
static void behind(const char *what, const char *site)
{
    if (early && !emu_self->block->waited)
        emu_fail(site, "%s: before attn__grid_wait, in a kernel that may have started early", what);
}

static void own(uint32_t address, const char *what, const char *site)
{
    if (address >> EMU_RANK_SHIFT)
        emu_fail(site, "%s: a cluster address, must be a shared address of this block", what);
}

static stamp new_stamp(void)
{
    return (stamp){emu_self->agent + 1, ++own_thread()->stamps};
}

static void stamps_add(stamps *s, stamp new)
{
    for (int i = s->count; emu_racing && i-- > 0;)
        if (s->list[i].agent == new.agent) {
            if (s->list[i].at < new.at)
                s->list[i].at = new.at;
            return;
        }
    if (!emu_racing)
        return;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 16;
        s->list = realloc(s->list, (size_t)s->room * sizeof *s->list);
        if (!s->list)
            abort();
    }
    s->list[s->count++] = new;
}

/* Lets others run while this thread asks in a loop, which keeps late operations from landing by themselves. */
static void ask_again(const char *what, const char *site)
{
    static unsigned asked;
    emu_spin(what, site);
    if (++asked % 256 == 0)
        emu_land(&emu_adrift, 1);
}

/* ---- mbarriers ------------------------------------------------------------------------------------ */

static uint64_t handle_of(const place *p, int n)
{
    return 0x6d62ull << 48 | ((uint64_t)p->serial & 0xffffffu) << 24 | (uint64_t)n;
}

static mbarrier *find(uint32_t address, const char *what, const char *site)
{
    uint64_t *at = shared_at(address, 8, 8, what, site);
    place *p = place_of(target(address));
    const int n = (int)(*at & 0xffffff);
    if (n >= p->barriers || *at != handle_of(p, n) || p->barrier[n].at != at)
        emu_fail(site, "%s: no mbarrier at byte %u of shared memory: not made yet, or overwritten", what,
                 (address & ((1u << EMU_RANK_SHIFT) - 1)) - EMU_SHARED_BASE);
    mbarrier *m = &p->barrier[n];
    if (m->trouble)
        emu_fail(site, "%s: %s", what, m->trouble);
    emu_touch(at, 8, 0, site);
    return m;
}

/* One that copies and other blocks may use. */
static mbarrier *find_made(uint32_t address, const char *what, const char *site)
{
    mbarrier *m = find(address, what, site);
    if (!m->made)
        emu_fail(site, "%s: its mbarrier was made without attn__mbarrier_made", what);
    return m;
}

static void phase_check(mbarrier *m)
{
    if (m->pending)
        return;
    if (m->bytes < 0)
        m->trouble = "more bytes have landed on its mbarrier than were announced";
    else if (m->bytes == 0) {
        m->phase ^= 1;
        m->pending = m->arrivals;
        emu_clock_drop(&m->near_done);
        emu_clock_drop(&m->far_done);
        m->near_done = m->near;
        m->far_done = m->far;
        m->near.view = m->far.view = NULL;
        const stamps swapped = m->landed_done;
        m->landed_done = m->landed;
        m->landed = swapped;
        m->landed.count = 0;
    } else
        return;
    emu_wake(m);
}

static void arrive(mbarrier *m, const char *what, const char *site)
{
    if (!m->pending)
        emu_fail(site, "%s: arrival %d of a phase made for %d", what, m->arrivals + 1, m->arrivals);
    m->pending--;
    phase_check(m);
}

void emu_mbarrier_init(uint32_t address, int arrivals, const char *site)
{
    start("attn__mbarrier_init", site);
    own(address, "attn__mbarrier_init", site);
    uint64_t *at = shared_at(address, 8, 8, "attn__mbarrier_init", site);
    place *p = place_of(emu_self->block);
    if (arrivals < 1 || arrivals >= 1 << 20)
        emu_fail(site, "attn__mbarrier_init: %d arrivals, must be 1 to 2^20 - 1", arrivals);
    int n = 0;
    while (n < p->barriers && p->barrier[n].at != at)
        n++;
    if (n == BARRIERS)
        emu_fail(site, "emulator: more than %d mbarriers in a block", BARRIERS);
    mbarrier *m = &p->barrier[n];
    if (n == p->barriers) {
        const stamps lists[2] = {m->landed, m->landed_done};
        p->barriers++;
        memset(m, 0, sizeof *m);
        m->landed = lists[0];
        m->landed_done = lists[1];
    } else if (m->pending != m->arrivals || m->bytes)
        emu_fail(site, "attn__mbarrier_init: this mbarrier is in use");
    m->block = emu_self->block;
    m->at = at;
    m->arrivals = m->pending = arrivals;
    m->phase = m->made = 0;
    m->bytes = 0;
    m->maker = emu_self;
    m->trouble = NULL;
    emu_touch(at, 8, 1, site);
    *at = handle_of(p, n);
}

void emu_mbarrier_made(const char *site)
{
    start("attn__mbarrier_made", site);
    place *p = place_of(emu_self->block);
    for (int i = 0; i < p->barriers; i++)
        p->barrier[i].made |= p->barrier[i].maker == emu_self;
}

void emu_mbarrier_arrive(uint32_t address, int condition, const char *site)
{
    const char *const what = "attn__mbarrier_arrive";
    start(what, site);
    own(address, what, site);
    if (!condition)
        return;
    mbarrier *m = find(address, what, site);
    emu_release(&m->near);
    arrive(m, what, site);
}

void emu_mbarrier_expect(uint32_t address, uint32_t bytes, int arrives, const char *site)
{
    const char *const what = arrives ? "attn__mbarrier_arrive_expect" : "attn__mbarrier_expect";
    start(what, site);
    own(address, what, site);
    mbarrier *m = find(address, what, site);
    if (bytes >= 1u << 20 || m->bytes + bytes >= 1 << 20)
        emu_fail(site, "%s: announces %ld bytes in one phase, must be less than 2^20", what, m->bytes + (long)bytes);
    if (!m->pending)
        emu_fail(site, "%s: all arrivals of this phase have come", what);
    m->bytes += bytes;
    if (!arrives)
        return;
    emu_release(&m->near);
    arrive(m, what, site);
}

int emu_mbarrier_try(uint32_t address, int parity, int far, const char *site)
{
    const char *const what = "wait for an mbarrier";
    start(what, site);
    own(address, what, site);
    if (parity != 0 && parity != 1)
        emu_fail(site, "%s: parity is %d, must be 0 or 1", what, parity);
    mbarrier *m = find(address, what, site);
    if (m->phase == parity)
        return 0;
    emu_acquire(&m->near_done);
    if (far)
        emu_acquire(&m->far_done);
    for (int i = 0; i < m->landed_done.count; i++)
        emu_see(m->landed_done.list[i].agent, m->landed_done.list[i].at);
    return 1;
}

int emu_mbarrier_ask(uint32_t address, int parity, const char *site)
{
    if (emu_mbarrier_try(address, parity, 0, site))
        return 1;
    ask_again("an mbarrier", site);
    return 0;
}

void emu_mbarrier_wait(uint32_t address, int parity, int far, const char *site)
{
    while (!emu_mbarrier_try(address, parity, far, site))
        emu_wait(find(address, "wait for an mbarrier", site),
                 parity ? "an mbarrier, parity 1" : "an mbarrier, parity 0", site);
}

static void elect_run(void *const *arg)
{
    (void)arg;
}

int emu_elect(const char *site)
{
    static const emu_op op = {"attn__elect", 1, 0, elect_run};
    emu_need(90, op.name, site);
    emu_meet(&op, NULL, site);
    /* Any lane, but always the same of a warp. */
    return emu_self->lane == (int)((unsigned)emu_self->warp->number * 7 + (unsigned)emu_set.seed * 13) % EMU_WARP;
}

void emu_fence_async(const char *site)
{
    start("attn__fence_async", site);
    if (emu_racing)
        emu_fence();
}

/* ---- operations that land on an mbarrier ----------------------------------------------------------- */

/* Bytes that go to one block's shared memory. */
typedef struct flight {
    mbarrier *barrier;
    long serial; /* of the block */
    char *to;
    uint32_t bytes;
    int kind;
    stamp stamp;
    emu_box box;          /* BOX */
    const char *from;     /* RUN: global or shared */
    float value[4];       /* VALUES */
    emu_thread *of;       /* COPIES: its cp.async, up to this group */
    long group;
} flight;
enum { BOX, RUN, VALUES, COPIES };

static uint32_t swizzled(uint32_t address, int swizzle)
{
    return address ^ ((address >> 7 & ((uint32_t)swizzle / 16 - 1)) << 4);
}

/* Each 16-byte chunk of a box: `op` gets both sides, and how many of its elements lie inside. */
static void box_walk(const emu_box *box, char *shared, void (*op)(const emu_map *, char *, char *, int))
{
    const emu_map *m = &box->map;
    const uint32_t low = (uint32_t)((uintptr_t)shared & 1023); /* windows start at multiples of 1024 */
    const int row = m->box[0] * m->size, per = 16 / m->size;
    int rows = 1;
    for (int i = 1; i < m->rank; i++)
        rows *= m->box[i];
    for (int r = 0; r < rows; r++) {
        int64_t offset = 0;
        int inside = 1;
        for (int i = 1, rest = r; i < m->rank; rest /= m->box[i++]) {
            const int64_t c = (int64_t)box->at[i] + rest % m->box[i];
            inside &= c >= 0 && c < m->extent[i];
            offset += c * m->stride[i];
        }
        for (int chunk = 0; chunk < row / 16; chunk++) {
            const uint32_t linear = low + (uint32_t)(r * row + chunk * 16);
            const uint32_t address = m->swizzle ? swizzled(linear, m->swizzle) : linear;
            const int64_t first = (int64_t)box->at[0] + chunk * per;
            const int64_t left = m->extent[0] - first;
            const int count = !inside || first < 0 || left < 0 ? 0 : left < per ? (int)left : per;
            op(m, shared - low + address, (char *)(uintptr_t)m->data + offset + first * m->size, count);
        }
    }
}

/* Elements first to end of a chunk exist, the others do not. */
static void chunk_load(const emu_map *m, char *shared, char *global, int count)
{
    memset(shared, 0, 16);
    memcpy(shared, global, (size_t)count * (size_t)m->size);
}

/* The last chunk of a row is written whole. */
static void chunk_store(const emu_map *m, char *shared, char *global, int count)
{
    (void)m;
    if (count)
        memcpy(global, shared, 16);
}

static void chunk_add(const emu_map *m, char *shared, char *global, int count)
{
    for (int i = 0; count && i < 16 / m->size; i++) {
        float x, y;
        uint16_t h, g;
        if (m->type == ATTN_F32) {
            memcpy(&x, shared + 4 * i, 4);
            memcpy(&y, global + 4 * i, 4);
            y += x;
            memcpy(global + 4 * i, &y, 4);
        } else if (m->size == 2) {
            memcpy(&h, shared + 2 * i, 2);
            memcpy(&g, global + 2 * i, 2);
            g = m->type == ATTN_F16 ? attn__f32_to_f16(attn__f16_to_f32(g) + attn__f16_to_f32(h))
                                    : attn__f32_to_bf16(attn__bf16_to_f32(g) + attn__bf16_to_f32(h));
            memcpy(global + 2 * i, &g, 2);
        } else
            global[i] = (char)(global[i] + shared[i]);
    }
}

static void flight_land(void *data)
{
    flight *f = data;
    mbarrier *m = f->barrier;
    if (!m->block->alive || m->block->serial != f->serial)
        return; /* nobody can have waited */
    if (f->kind == COPIES) {
        emu_land(&f->of->copies, f->group);
        stamps_add(&m->landed, f->stamp);
        if (!m->pending)
            m->trouble = "more arrivals than its mbarrier was made for";
        else
            m->pending--;
    } else {
        if (f->kind == BOX)
            box_walk(&f->box, f->to, chunk_load);
        else
            memcpy(f->to, f->kind == RUN ? f->from : (const char *)f->value, f->bytes);
        stamps_add(&m->landed, f->stamp);
        m->bytes -= f->bytes;
    }
    phase_check(m);
    if (m->trouble)
        emu_wake(m);
}

/* Takes off: `f` has kind, bytes and source. */
static void take_off(flight *f, uint32_t to, uint32_t barrier, size_t align, const char *what, const char *site)
{
    f->to = shared_at(to, f->bytes, align, what, site);
    f->barrier = find_made(barrier, what, site);
    if (target(to) != f->barrier->block)
        emu_fail(site, "%s: goes to another block than its mbarrier is of", what);
    f->serial = f->barrier->block->serial;
    f->stamp = new_stamp();
    (f->kind == VALUES ? emu_touch_async : emu_touch_proxy)(f->to, f->bytes, 1, f->stamp.at, site);
    emu_defer(&emu_adrift, 0, flight_land, f, sizeof *f);
}

void emu_mbarrier_arrive_copies(uint32_t address, const char *site)
{
    const char *const what = "attn__mbarrier_arrive_copies";
    start(what, site);
    own(address, what, site);
    flight f = {.barrier = find(address, what, site), .kind = COPIES, .of = emu_self};
    f.serial = emu_self->block->serial;
    f.group = emu_self->copy_group + 1;
    f.stamp = (stamp){emu_self->agent + 1, (uint32_t)f.group};
    emu_defer(&emu_adrift, 0, flight_land, &f, sizeof f);
}

/* ---- TMA -------------------------------------------------------------------------------------------- */

static const uint64_t MAP = 0x70616d5f616d7461ull;

int emu_tma_encode(emu_map *m, int type, const void *data, int rank, const int64_t *extent, const int64_t *stride,
                   const int *box, int swizzle, int promotion)
{
    const int size = type == ATTN_F32 ? 4 : type == ATTN_F16 || type == ATTN_BF16 ? 2 : 1;
    memset(m, 0, sizeof *m);
    int bad = rank < 1 || rank > 5 || ((uintptr_t)data & 15) || !data;
    bad |= swizzle != 0 && swizzle != 32 && swizzle != 64 && swizzle != 128;
    bad |= promotion != 0 && promotion != 64 && promotion != 128 && promotion != 256;
    for (int i = 0; i < rank && !bad; i++) {
        bad |= extent[i] < 1 || extent[i] > (int64_t)1 << 32 || box[i] < 1 || box[i] > 256;
        bad |= i > 0 && (stride[i] * size % 16 || stride[i] < 0 || stride[i] * size >= (int64_t)1 << 40);
        m->extent[i] = extent[i];
        m->stride[i] = i ? stride[i] * size : size;
        m->box[i] = (int16_t)box[i];
    }
    if (bad || box[0] * size % 16 || (swizzle && box[0] * size > swizzle))
        return cudaErrorInvalidValue;
    m->check = MAP;
    m->data = (uintptr_t)data;
    m->rank = (int8_t)rank;
    m->size = (int8_t)size;
    m->type = (int8_t)type;
    m->swizzle = (int16_t)swizzle;
    return cudaSuccess;
}

static uint32_t box_bytes(const emu_map *m)
{
    uint32_t bytes = (uint32_t)m->size;
    for (int i = 0; i < m->rank; i++)
        bytes *= (uint32_t)m->box[i];
    return bytes;
}

static emu_box box_of(const emu_map *map, int rank, const int *at, const char *what, const char *site)
{
    emu_box box;
    if (map->check != MAP)
        emu_fail(site, "%s: no tensor map", what);
    if (map->rank != rank)
        emu_fail(site, "%s: a box of %d dimensions, the map has %d", what, rank, map->rank);
    if (map->swizzle && map->box[0] * map->size != map->swizzle)
        emu_fail(site, "%s: a box's row has %d bytes, the swizzle %d", what, map->box[0] * map->size, map->swizzle);
    if (at[0] * map->size % 16)
        emu_fail(site, "%s: starts %d bytes into dimension 0, must be a multiple of 16", what, at[0] * map->size);
    box.map = *map;
    memset(box.at, 0, sizeof box.at);
    memcpy(box.at, at, (size_t)rank * sizeof *at);
    return box;
}

static void check_hint(uint64_t hint, const char *what, const char *site)
{
    if (hint != 0x12F0000000000000ull && hint != 0x1000000000000000ull && hint != 0x14F0000000000000ull)
        emu_fail(site, "%s: no hint for the L2: %#llx", what, (unsigned long long)hint);
}

void emu_tma_load(uint32_t shared, const emu_map *map, uint32_t barrier, int rank, const int *at, int spread,
                  uint32_t blocks, uint64_t hint, const char *site)
{
    const char *const what = spread ? "attn__tma_spread" : "attn__tma_load";
    start(what, site);
    behind(what, site);
    own(shared, what, site);
    own(barrier, what, site);
    check_hint(hint, what, site);
    flight f = {.kind = BOX, .box = box_of(map, rank, at, what, site), .bytes = box_bytes(map)};
    if (!spread) {
        take_off(&f, shared, barrier, 128, what, site);
        return;
    }
    if (!blocks || blocks >> emu_cluster)
        emu_fail(site, "%s: to blocks %#x of a cluster of %d", what, blocks, emu_cluster);
    for (int rank_to = 0; rank_to < emu_cluster; rank_to++)
        if (blocks >> rank_to & 1)
            take_off(&f, emu_cluster_map(shared, rank_to, site), emu_cluster_map(barrier, rank_to, site), 128, what,
                     site);
}

void emu_tma_prefetch(const emu_map *map, int rank, const int *at, const char *site)
{
    start("attn__tma_prefetch", site);
    (void)box_of(map, rank, at, "attn__tma_prefetch", site);
}

void emu_bulk_load(uint32_t shared, const void *global, uint32_t bytes, uint32_t barrier, uint64_t hint,
                   const char *site)
{
    const char *const what = "attn__bulk_load";
    start(what, site);
    own(shared, what, site);
    own(barrier, what, site);
    check_hint(hint, what, site);
    if (bytes % 16 || !bytes || ((uintptr_t)global & 15))
        emu_fail(site, "%s: %u bytes from %p, both must be multiples of 16", what, bytes, global);
    flight f = {.kind = RUN, .bytes = bytes, .from = global};
    take_off(&f, shared, barrier, 16, what, site);
}

/* ---- stores and sums: land when their thread waits --------------------------------------------------- */

typedef struct departure {
    emu_box box; /* map.check 0: a run */
    char *from, *to;
    uint32_t bytes;
    int add;
} departure;

static void departure_land(void *data)
{
    const departure *d = data;
    if (d->box.map.check)
        box_walk(&d->box, d->from, d->add ? chunk_add : chunk_store);
    else if (!d->add)
        memcpy(d->to, d->from, d->bytes);
    for (uint32_t i = 0; d->add && !d->box.map.check && i < d->bytes; i += 4) {
        float x, y;
        memcpy(&x, d->from + i, 4);
        memcpy(&y, d->to + i, 4);
        y += x;
        memcpy(d->to + i, &y, 4);
    }
}

static void depart(departure *d, uint32_t shared, size_t align, const char *what, const char *site)
{
    thread *t = own_thread();
    behind(what, site);
    own(shared, what, site);
    d->from = shared_at(shared, d->bytes, align, what, site);
    const stamp s = new_stamp();
    t->bulk_stamp[t->bulk_group % GROUPS] = s.at;
    emu_touch_proxy(d->from, d->bytes, 0, s.at, site);
    emu_defer(&t->bulk, t->bulk_group, departure_land, d, sizeof *d);
}

void emu_tma_store(const emu_map *map, uint32_t shared, int rank, const int *at, int add, const char *site)
{
    const char *const what = add ? "attn__tma_add" : "attn__tma_store";
    start(what, site);
    for (int i = 0; i < rank; i++)
        if (at[i] < 0)
            emu_fail(site, "%s: starts at %d in dimension %d, must be at least 0", what, at[i], i);
    departure d = {.box = box_of(map, rank, at, what, site), .bytes = box_bytes(map), .add = add};
    depart(&d, shared, 128, what, site);
}

void emu_bulk_store(void *global, uint32_t shared, uint32_t bytes, int add, const char *site)
{
    const char *const what = add ? "attn__bulk_add_f32" : "attn__bulk_store";
    start(what, site);
    if (bytes % 16 || !bytes || ((uintptr_t)global & 15))
        emu_fail(site, "%s: %u bytes to %p, both must be multiples of 16", what, bytes, global);
    departure d = {.to = global, .bytes = bytes, .add = add};
    depart(&d, shared, 16, what, site);
}

void emu_bulk_commit(const char *site)
{
    start("attn__bulk_commit", site);
    thread *t = own_thread();
    const uint32_t latest = t->bulk_stamp[t->bulk_group % GROUPS];
    t->bulk_stamp[++t->bulk_group % GROUPS] = latest;
}

void emu_bulk_wait(int under_way, const char *site)
{
    start("ATTN_BULK_WAIT", site);
    thread *t = own_thread();
    const long before = t->bulk_group - under_way;
    if (before <= 0 || under_way >= GROUPS)
        return;
    emu_land(&t->bulk, before);
    emu_see(emu_self->agent + 1, t->bulk_stamp[(before - 1) % GROUPS]);
}

/* ---- clusters ----------------------------------------------------------------------------------------- */

uint32_t emu_cluster_map(uint32_t shared, int rank, const char *site)
{
    own(shared, "attn__cluster_map", site);
    if (rank < 0 || rank >= emu_cluster)
        emu_fail(site, "attn__cluster_map: rank %d in a cluster of %d", rank, emu_cluster);
    return shared | (uint32_t)(rank + 1) << EMU_RANK_SHIFT;
}

static int cluster_alive(void)
{
    int alive = 0;
    for (int i = 0; i < emu_cluster; i++)
        for (int w = 0; w < emu_self->block->first[i].warp_count; w++)
            alive += __builtin_popcount(emu_self->block->first[i].warps[w].alive);
    return alive;
}

static void cluster_check(place *p)
{
    if (p->cluster_here < cluster_alive())
        return;
    p->cluster_here = 0;
    p->cluster_phase++;
    emu_clock_drop(&p->cluster_done);
    p->cluster_done = p->cluster_clock;
    p->cluster_clock.view = NULL;
}

static void nothing(void *const *arg)
{
    (void)arg;
}

void emu_cluster_arrive(const char *site)
{
    static const emu_op op = {"attn__cluster_arrive", 1, 0, nothing};
    emu_need(90, op.name, site);
    emu_meet(&op, NULL, site);
    place *p = place_of(emu_self->block->first);
    char *arrived = &p->cluster_arrived[emu_self->block->rank][emu_self->index.x];
    if (*arrived)
        emu_fail(site, "attn__cluster_arrive: again before attn__cluster_wait");
    /* Two bits: has arrived, in which phase. */
    *arrived = (char)(1 | (p->cluster_phase & 1) << 1);
    p->cluster_here++;
    emu_release(&p->cluster_clock);
    cluster_check(p);
}

void emu_cluster_wait(const char *site)
{
    static const emu_op op = {"attn__cluster_wait", 1, 0, nothing};
    emu_need(90, op.name, site);
    emu_meet(&op, NULL, site);
    place *p = place_of(emu_self->block->first);
    char *arrived = &p->cluster_arrived[emu_self->block->rank][emu_self->index.x];
    if (!*arrived)
        emu_fail(site, "attn__cluster_wait: without attn__cluster_arrive");
    /* By asking, because threads that return count as well. */
    while ((*arrived >> 1) == (p->cluster_phase & 1)) {
        cluster_check(p);
        if ((*arrived >> 1) == (p->cluster_phase & 1))
            ask_again("attn__cluster_wait", site);
    }
    *arrived = 0;
    emu_acquire(&p->cluster_done);
}

float emu_cluster_load(uint32_t address, const char *site)
{
    start("attn__cluster_load_f32", site);
    const float *p = shared_at(address, 4, 4, "attn__cluster_load_f32", site);
    emu_touch(p, 4, 0, site);
    return *p;
}

void emu_cluster_store(uint32_t address, float x, const char *site)
{
    start("attn__cluster_store_f32", site);
    float *p = shared_at(address, 4, 4, "attn__cluster_store_f32", site);
    emu_touch(p, 4, 1, site);
    *p = x;
}

void emu_cluster_mbarrier_arrive(uint32_t address, int condition, const char *site)
{
    const char *const what = "attn__cluster_mbarrier_arrive";
    start(what, site);
    if (!condition)
        return;
    mbarrier *m = find_made(address, what, site);
    emu_release(m->block == emu_self->block ? &m->near : &m->far);
    arrive(m, what, site);
}

void emu_cluster_send(uint32_t address, uint32_t barrier, int n, float x, float y, float z, float w, const char *site)
{
    start("attn__cluster_send", site);
    flight f = {.kind = VALUES, .bytes = 4 * (uint32_t)n, .value = {x, y, z, w}};
    take_off(&f, address, barrier, f.bytes, "attn__cluster_send", site);
}

void emu_cluster_copy(uint32_t address, uint32_t shared, uint32_t bytes, uint32_t barrier, const char *site)
{
    const char *const what = "attn__cluster_copy";
    start(what, site);
    own(shared, what, site);
    if (bytes % 16 || !bytes)
        emu_fail(site, "%s: %u bytes, must be a multiple of 16", what, bytes);
    flight f = {.kind = RUN, .bytes = bytes, .from = shared_at(shared, bytes, 16, what, site)};
    emu_touch_proxy(f.from, bytes, 0, own_thread()->stamps + 1, site);
    take_off(&f, address, barrier, 16, what, site);
}

int emu_launch_cluster(const emu_kernel *kernel, unsigned grid, unsigned cluster, unsigned threads, int shared_bytes,
                       const void *args)
{
    if (emu_set.cc && emu_set.cc < 90)
        return cudaErrorInvalidValue;
    if (!cluster || cluster > 16 || (cluster & (cluster - 1)))
        return cudaErrorInvalidConfiguration;
    if (shared_bytes > 48 * 1024) {
        const cudaError_t e =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
        if (e != cudaSuccess)
            return (int)e;
    }
    return emu_launch(kernel, grid, threads, (size_t)shared_bytes, cluster, args);
}

int emu_launch_early(const emu_kernel *kernel, unsigned grid, unsigned cluster, unsigned threads, int shared_bytes,
                     const void *args)
{
    early = 1;
    const int e = emu_launch_cluster(kernel, grid, cluster, threads, shared_bytes, args);
    early = 0;
    return e;
}

void emu_grid_wait(const char *site)
{
    start("attn__grid_wait", site);
    emu_self->block->waited = 1;
}

void emu_grid_launch_next(const char *site)
{
    start("attn__grid_launch_next", site);
}

/* ---- wgmma ---------------------------------------------------------------------------------------------
 *
 * A product takes place at some time between its issue and the wait, for the whole warpgroup at once; only then shared
 * memory is read, and what lies there then.  Accumulators hold PROMISED from the issue to the wait of their thread,
 * and must still hold it then; registers of A must be unchanged.  Products are late where copies are early, and
 * the other way about: what comes too early for one is what the other finds. */

static float small_float(unsigned byte, int type)
{
    const unsigned sign = byte >> 7, bits = byte & 0x7f;
    const int mantissa_bits = type == ATTN_E4M3 ? 3 : 2, bias = type == ATTN_E4M3 ? 7 : 15;
    const int exponent = (int)(bits >> mantissa_bits), mantissa = (int)(bits & ((1u << mantissa_bits) - 1));
    float x;
    if (type == ATTN_E4M3 ? bits == 0x7f : exponent == 31)
        x = type == ATTN_E5M2 && !mantissa ? INFINITY : NAN;
    else if (exponent == 0)
        x = ldexpf((float)mantissa, 1 - bias - mantissa_bits);
    else
        x = ldexpf((float)(mantissa + (1 << mantissa_bits)), exponent - bias - mantissa_bits);
    return sign ? -x : x;
}

static float small_value[2][256];

/* Elements of 16 bytes, or of one register, as floats. */
static void widen(float *to, const void *from, int bytes, int type)
{
    if (type == ATTN_F16 || type == ATTN_BF16) {
        for (int i = 0; i < bytes / 2; i++) {
            uint16_t h;
            memcpy(&h, (const char *)from + 2 * i, 2);
            to[i] = type == ATTN_F16 ? attn__f16_to_f32(h) : attn__bf16_to_f32(h);
        }
        return;
    }
    float *table = small_value[type == ATTN_E5M2];
    if (table[1] == 0)
        for (unsigned i = 0; i < 256; i++)
            table[i] = small_float(i, type);
    for (int i = 0; i < bytes; i++)
        to[i] = table[((const unsigned char *)from)[i]];
}

/* Where 16 bytes of an operand lie.  K-major: bytes 16 inner .. of row `outer`, an m or n; MN-major: the 8 m or n from
 * 8 inner on of row `outer`, a k. */
static uint32_t chunk_address(uint64_t desc, int mn_major, int outer, int inner)
{
    const uint32_t at = (uint32_t)(desc & 0x3fff) << 4, lead = (uint32_t)(desc >> 16 & 0x3fff) << 4;
    const uint32_t stride = (uint32_t)(desc >> 32 & 0x3fff) << 4, kind = (uint32_t)(desc >> 62);
    const uint32_t swizzle = kind == 1 ? 128 : kind == 2 ? 64 : kind == 3 ? 32 : 0;
    const uint32_t o = (uint32_t)outer, i = (uint32_t)inner;
    uint32_t x;
    if (!mn_major)
        x = swizzle ? at + o / 8 * stride + o % 8 * swizzle + i * 16 : at + o / 8 * stride + o % 8 * 16 + i * lead;
    else if (swizzle)
        x = at + i / (swizzle / 16) * lead + o / 8 * stride + o % 8 * swizzle + i % (swizzle / 16) * 16;
    else
        x = at + i * stride + o / 8 * lead + o % 8 * 16;
    return swizzle ? swizzled(x, (int)swizzle) : x;
}

/* op sees each chunk: its place, and where it belongs. */
typedef void chunk_fn(void *context, char *at, int outer, int inner);

static void operand_walk(const emu_block *b, uint64_t desc, int mn_major, int rows, chunk_fn *op, void *context)
{
    const int outers = mn_major ? 16 : rows, inners = mn_major ? rows / 8 : 2;
    for (int o = 0; o < outers; o++)
        for (int i = 0; i < inners; i++)
            op(context, b->shared + (chunk_address(desc, mn_major, o, i) - EMU_SHARED_BASE), o, i);
}

typedef struct gather {
    float *to; /* [k][rows] */
    int rows, mn_major, type;
} gather;

static void chunk_gather(void *context, char *at, int outer, int inner)
{
    const gather *g = context;
    float x[16];
    const int per = g->type == ATTN_F16 || g->type == ATTN_BF16 ? 8 : 16;
    widen(x, at, 16, g->type);
    for (int e = 0; e < per; e++)
        if (g->mn_major)
            g->to[outer * g->rows + inner * 8 + e] = x[e];
        else
            g->to[(inner * per + e) * g->rows + outer] = x[e];
}

static void compute(warpgroup *g, product *p)
{
    static float a[32 * 64], b[32 * 256], d[256];
    const emu_block *block = emu_self->block;
    const int wide = p->type == ATTN_F16 || p->type == ATTN_BF16, depth = wide ? 16 : 32;
    sums *s = &g->sums[p->sums];
    gather from_b = {b, p->n, p->b_major, p->type};
    operand_walk(block, p->b, p->b_major, p->n, chunk_gather, &from_b);
    if (p->from_registers) {
        for (int t = 0; t < WARPGROUP; t++)
            for (int i = 0; i < 4; i++) {
                float x[4];
                const int row = t / 32 * 16 + t % 32 / 4 + (i & 1) * 8, per = wide ? 2 : 4;
                widen(x, &p->held[t][i], 4, p->type);
                for (int e = 0; e < per; e++)
                    a[(t % 4 * per + (i >> 1) * 4 * per + e) * 64 + row] = x[e];
            }
    } else {
        gather from_a = {a, 64, p->a_major, p->type};
        operand_walk(block, p->a, p->a_major, 64, chunk_gather, &from_a);
    }
    for (int m = 0; m < 64; m++) {
        memset(d, 0, sizeof d);
        for (int k = 0; k < depth; k++)
            for (int n = 0; n < p->n; n++)
                d[n] += a[k * 64 + m] * b[k * p->n + n];
        for (int n = 0; n < p->n; n++) {
            float *v = &s->value[m / 16 * 32 + m % 8 * 4 + n % 8 / 2][n / 8 * 4 + (m >> 3 & 1) * 2 + (n & 1)];
            *v = p->keep ? *v + d[n] : d[n];
        }
    }
    p->done = 1;
}

static product *ring_at(warpgroup *g, int n)
{
    return &g->ring[n % PRODUCTS];
}

static int all_done(warpgroup *g, long group)
{
    int done = 1;
    for (int n = g->first; n < g->end && ring_at(g, n)->group < group; n++)
        done &= ring_at(g, n)->done;
    return done;
}

static void compute_before(warpgroup *g, long group)
{
    for (int n = g->first; n < g->end && ring_at(g, n)->group < group; n++)
        if (!ring_at(g, n)->done)
            compute(g, ring_at(g, n));
}

typedef struct issue {
    float *d;
    const uint32_t *a;
    product p;
    const char *site;
} issue;

typedef struct bounds {
    const char *site;
    uint32_t stamp;
} bounds;

static void chunk_touch(void *context, char *at, int outer, int inner)
{
    const bounds *b = context;
    const char *shared = emu_self->block->shared;
    (void)outer;
    (void)inner;
    if (at < shared || at + 16 > shared + emu_shared_bytes)
        emu_fail(b->site, "wgmma reads byte %ld of shared memory, which has %zu", (long)(at - shared),
                 emu_shared_bytes);
    emu_touch_proxy(at, 16, 0, b->stamp, b->site);
}

static int same_issue(const issue *x, const issue *y)
{
    return x->p.n == y->p.n && x->p.type == y->p.type && x->p.a == y->p.a && x->p.b == y->p.b &&
           x->p.keep == y->p.keep && !x->a == !y->a;
}

static warpgroup *own_warpgroup(void)
{
    place *p = place_of(emu_self->block);
    warpgroup **g = &p->group[emu_self->warp->number / 4];
    if (!*g && !(*g = calloc(1, sizeof **g)))
        emu_fail(NULL, "emulator: no memory");
    return *g;
}

static int sums_of(warpgroup *g, const issue *const *arg, const char *site)
{
    const int n = arg[0]->p.n;
    int free_one = -1;
    for (int s = 0; s < SUMS; s++) {
        sums *x = &g->sums[s];
        if (!x->n) {
            free_one = s;
            continue;
        }
        if (x->at[0] != arg[0]->d)
            continue;
        if (x->n != n)
            emu_fail(site, "wgmma: its accumulators are those of one of another width under way");
        if (x->given_back)
            emu_fail(site, "wgmma: some threads have waited for these accumulators, others have not");
        return s;
    }
    if (free_one < 0)
        emu_fail(site, "emulator: more than %d sets of accumulators under way", SUMS);
    sums *x = &g->sums[free_one];
    const uint32_t promised = PROMISED;
    x->n = n;
    x->given_back = 0;
    memset(x->given, 0, sizeof x->given);
    for (int t = 0; t < WARPGROUP; t++) {
        x->at[t] = arg[t]->d;
        memcpy(x->value[t], arg[t]->d, (size_t)n / 2 * sizeof(float));
        for (int i = 0; i < n / 2; i++)
            memcpy(&arg[t]->d[i], &promised, 4);
    }
    return free_one;
}

static void issue_run(void *const *arg)
{
    const issue *const *list = (const issue *const *)arg;
    const issue *first = list[0];
    warpgroup *g = own_warpgroup();
    place *place = place_of(emu_self->block);
    for (int t = 0; t < WARPGROUP; t++) {
        if (!same_issue(list[t], first))
            emu_fail(first->site, "wgmma: descriptors or `keep` differ between threads 0 and %d of a warpgroup", t);
        const thread *own = &place->thread[emu_self->warp->number / 4 * WARPGROUP + t];
        if (!own->fenced)
            emu_fail(first->site, "wgmma: no attn__wgmma_fence since the kernel began or products were waited for");
        if (own->wgmma_waits != own[-t].wgmma_waits || own->wgmma_group != own[-t].wgmma_group)
            emu_fail(first->site, "wgmma: threads 0 and %d of a warpgroup differ in how often they waited", t);
    }
    if (g->end - g->first == PRODUCTS)
        emu_fail(first->site, "emulator: more than %d products under way", PRODUCTS);
    const int s = sums_of(g, list, first->site);
    product *p = ring_at(g, g->end++);
    *p = first->p;
    p->sums = s;
    p->from_registers = first->a != NULL;
    p->done = p->seen = 0;
    p->group = own_thread()->wgmma_group;
    p->stamp = new_stamp();
    for (int t = 0; t < WARPGROUP && first->a; t++) {
        p->at[t] = list[t]->a;
        memcpy(p->held[t], list[t]->a, sizeof p->held[t]);
    }
    bounds b = {first->site, p->stamp.at};
    operand_walk(emu_self->block, p->b, p->b_major, p->n, chunk_touch, &b);
    if (!first->a)
        operand_walk(emu_self->block, p->a, p->a_major, 64, chunk_touch, &b);
    if (emu_set.landing == EMU_LATE || (emu_set.landing == EMU_ANYTIME && emu_random() % 2))
        compute_before(g, p->group + 1);
}

void emu_wgmma(int n, int type, int a_major, int b_major, float *d, const uint32_t *a, uint64_t desc_a, uint64_t desc_b,
               int keep, const char *site)
{
    static const emu_op op = {"wgmma", 1, 0, issue_run};
    emu_need(90, op.name, site);
    if (emu_set.cc != 90)
        emu_fail(site, "wgmma needs compute capability 9.0 itself");
    const int wide = type == ATTN_F16 || type == ATTN_BF16;
    const int narrow = type == ATTN_E4M3 || type == ATTN_E5M2;
    if (n < 8 || n > 256 || n % 8 || (!wide && !narrow) || (narrow && (a_major || b_major)))
        emu_fail(site, "wgmma: there is none with n %d, type %d, majors %d %d", n, type, a_major, b_major);
    issue i = {.d = d, .a = a, .site = site};
    i.p.n = n;
    i.p.type = type;
    i.p.a_major = a_major;
    i.p.b_major = b_major;
    i.p.a = desc_a;
    i.p.b = desc_b;
    i.p.keep = keep != 0;
    emu_meet_warpgroup(&op, &i, site);
}

void emu_wgmma_fence(const char *site)
{
    start("attn__wgmma_fence", site);
    own_thread()->fenced = 1;
}

void emu_wgmma_commit(const char *site)
{
    start("attn__wgmma_commit", site);
    own_thread()->wgmma_group++;
}

/* Hands this thread its accumulators that no product under way adds to. */
static void give_back(warpgroup *g, int t, long before, const char *site)
{
    for (int s = 0; s < SUMS; s++) {
        sums *x = &g->sums[s];
        int busy = !x->n || x->given[t];
        for (int n = g->first; n < g->end; n++)
            busy |= ring_at(g, n)->sums == s && ring_at(g, n)->group >= before;
        if (busy)
            continue;
        for (int i = 0; i < x->n / 2; i++) {
            const uint32_t promised = PROMISED;
            if (memcmp(&x->at[t][i], &promised, 4))
                emu_fail(site, "ATTN_WGMMA_WAIT: accumulator %d was written while products were under way", i);
        }
        memcpy(x->at[t], x->value[t], (size_t)x->n / 2 * sizeof(float));
        x->given[t] = 1;
        if (++x->given_back == WARPGROUP)
            x->n = 0;
    }
}

void emu_wgmma_wait(int under_way, const char *site)
{
    start("ATTN_WGMMA_WAIT", site);
    thread *own_state = own_thread();
    own_state->wgmma_waits++;
    const long before = own_state->wgmma_group - under_way;
    if (before <= own_state->wgmma_ended)
        return;
    warpgroup *g = own_warpgroup();
    const int t = (int)emu_self->index.x % WARPGROUP;
    /* Time for others to overwrite what is still to be read. */
    if (!all_done(g, before))
        emu_spin("ATTN_WGMMA_WAIT", site);
    compute_before(g, before);
    own_state->fenced = 0;
    for (int n = g->first; n < g->end; n++) {
        product *p = ring_at(g, n);
        if (p->group < own_state->wgmma_ended || p->group >= before)
            continue;
        if (p->from_registers && memcmp(p->at[t], p->held[t], sizeof p->held[t]))
            emu_fail(site, "ATTN_WGMMA_WAIT: a register of A was written while its product was under way");
        emu_see(p->stamp.agent, p->stamp.at);
        p->seen++;
    }
    own_state->wgmma_ended = before;
    give_back(g, t, before, site);
    while (g->first < g->end && ring_at(g, g->first)->seen == WARPGROUP)
        g->first++;
}

/* ---- registers ------------------------------------------------------------------------------------------ */

void emu_registers(int n, int take, const char *site)
{
    static const emu_op give_op = {"ATTN_REGISTERS_GIVE", 1, 0, nothing};
    static const emu_op take_op = {"ATTN_REGISTERS_TAKE", 1, 0, nothing};
    const emu_op *op = take ? &take_op : &give_op;
    emu_need(90, op->name, site);
    if (n < 24 || n > 256 || n % 8)
        emu_fail(site, "%s(%d): must be a multiple of 8, 24 to 256", op->name, n);
    place *p = place_of(emu_self->block);
    int *has = &p->registers[emu_self->warp->number];
    /* With room for 256 a kernel starts with as many as the compiler chose, perhaps fewer than it takes. */
    if (take ? n < *has && launch_registers() < 256 : n > *has)
        emu_fail(site, "%s(%d): this warp has %d already", op->name, n, *has);
    emu_meet(op, NULL, site);
    /* One lane of a warp moves them, the others see it done. */
    while (*has != n) {
        if (p->spare + 32 * (*has - n) >= 0) {
            p->spare += 32 * (*has - n);
            *has = n;
        } else
            ask_again("ATTN_REGISTERS_TAKE", site);
    }
}
