/* emu.c - launches, who runs next, and where threads meet.
 *
 * The main program admits blocks (a cluster at a time) into slots and hands over to a fiber; fibers hand over to each
 * other.  It gets control back when a cluster has ended, when a launch is given up, and when no thread can run: then
 * an operation that is adrift lands, or it is a deadlock.  C11. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda_runtime.h"

emu_options emu_set = {EMU_ROUND_ROBIN, EMU_LATE, 2, 1, 90, 4, 4 << 20, 227 << 10};
emu_thread *emu_self;
emu_index emu_block_dim, emu_grid_dim;
size_t emu_shared_bytes;
int emu_cluster;
emu_queue emu_adrift;

/* A question asked so often while nothing else happens is a deadlock. */
enum { SPINS = 4000000 };

static const emu_kernel *kernel;
static const void *kernel_args;
static emu_block *blocks;           /* [slots] */
static int slots, alive_blocks;
static emu_warp *warps[EMU_RESIDENT * EMU_WARPS]; /* of all blocks that are alive */
static int warp_count, current;     /* the warp that ran last */
static int starved;                 /* thread of each block that comes last under EMU_STARVED */
static int waiters;                 /* threads with a key */
static long spins, serial;
static int given_up;
static jmp_buf main_program;
static uint64_t random_state;

static const char *const schedules[] = {"round robin", "greedy", "random", "starved"};
static const char *const landings[] = {"early", "late", "anytime"};

/* ---- reports ------------------------------------------------------------------------------------ */

static char report[8192];
static size_t report_end;

const char *emu_report(void)
{
    return report;
}

void emu_forget(void)
{
    report[report_end = 0] = 0;
}

static void put(const char *format, va_list list)
{
    const int n = vsnprintf(report + report_end, sizeof report - report_end, format, list);
    if (n > 0)
        report_end += (size_t)n;
    if (report_end >= sizeof report)
        report_end = sizeof report - 1;
}

void emu_text(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    put(format, list);
    va_end(list);
}

static void put_head(void)
{
    emu_text("%s, %u blocks of %u threads (%s, copies %s, %d resident, seed %llu): ", kernel->name, emu_grid_dim.x,
             emu_block_dim.x, schedules[emu_set.schedule], landings[emu_set.landing], slots,
             (unsigned long long)emu_set.seed);
}

void emu_fail(const char *site, const char *format, ...)
{
    va_list list;
    put_head();
    if (emu_self)
        emu_text("block %u thread %u: ", emu_self->block->index.x, emu_self->index.x);
    va_start(list, format);
    put(format, list);
    va_end(list);
    if (site)
        emu_text(" at %s", site);
    emu_text("\n");
    given_up = 1;
    if (emu_self)
        emu_fiber_go(emu_self, NULL);
    longjmp(main_program, 1); /* something that was adrift has failed as it landed */
}

/* Lists numbers as ranges: 0-31,64. */
static void put_threads(const emu_block *b, const uint32_t *set)
{
    const char *comma = "";
    for (int i = 0; i < b->threads; i++) {
        int end = i;
        while (end < b->threads && set[end >> 5] >> (end & 31) & 1)
            end++;
        if (end > i) {
            emu_text(end - i > 1 ? "%s%d-%d" : "%s%d", comma, i, end - 1);
            comma = ",";
            i = end;
        }
    }
}

static void put_deadlock(void)
{
    for (int n = 0; n < slots; n++) {
        const emu_block *b = &blocks[n];
        uint32_t told[EMU_WARPS] = {0};
        for (int i = 0; b->alive && i < b->threads; i++) {
            const emu_thread *t = &b->thread[i];
            uint32_t set[EMU_WARPS] = {0};
            const int gone = !(t->warp->alive >> t->lane & 1);
            if (told[i >> 5] >> (i & 31) & 1)
                continue;
            for (int j = i; j < b->threads; j++) {
                const emu_thread *u = &b->thread[j];
                const int u_gone = !(u->warp->alive >> u->lane & 1);
                if (gone != u_gone || (!gone && (u->what != t->what || u->detail != t->detail || u->site != t->site)))
                    continue;
                set[j >> 5] |= 1u << (j & 31);
                told[j >> 5] |= 1u << (j & 31);
            }
            emu_text("\n    block %u: threads ", b->index.x);
            put_threads(b, set);
            if (gone)
                emu_text(" have returned");
            else if (!t->what)
                emu_text(" run");
            else if (t->detail >= 0 && b->barrier[t->detail].expected)
                emu_text(" wait at %s %ld (%d of %d have come), %s", t->what, t->detail, b->barrier[t->detail].here,
                         b->barrier[t->detail].expected, t->site);
            else
                emu_text(" wait at %s, %s", t->what, t->site);
        }
    }
    emu_text("\n");
}

/* ---- random choices ----------------------------------------------------------------------------- */

uint64_t emu_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dull >> 11;
}

unsigned long long emu_swap_if(unsigned long long *p, unsigned long long seen, unsigned long long value)
{
    const unsigned long long was = *p;
    if (was == seen)
        *p = value;
    return was;
}

static int one_in(unsigned n)
{
    return emu_random() % n == 0;
}

/* ---- who runs next ------------------------------------------------------------------------------ */

/* The first lane of `ready` after `lane`, around. */
static int next_lane(uint32_t ready, int lane)
{
    const uint32_t above = lane >= 31 ? 0 : ready >> (lane + 1) << (lane + 1);
    return __builtin_ctz(above ? above : ready);
}

/* Lanes that may be chosen: not the starved one, unless all may. */
static uint32_t ready_of(const emu_warp *w, int all)
{
    return all || w->number != starved / EMU_WARP ? w->ready : w->ready & ~(1u << starved % EMU_WARP);
}

/* on: leave this warp if there is another. */
static emu_thread *choose(int on)
{
    int w = current, lane = emu_self ? emu_self->lane : 31;
    /* Now and then even that one runs: it may be what all others ask for. */
    const int all = emu_set.schedule != EMU_STARVED || one_in(4096);
    if (emu_set.schedule >= EMU_RANDOM) {
        w = (int)(emu_random() % (unsigned)warp_count);
        lane = (int)(emu_random() & 31);
    } else if (warps[w]->ready && !on &&
               (emu_set.schedule == EMU_GREEDY || next_lane(warps[w]->ready, lane) > lane)) {
        return &warps[w]->lanes[next_lane(warps[w]->ready, lane)];
    } else {
        lane = 31;
        w = w + 1 < warp_count ? w + 1 : 0;
    }
    for (int n = 0; n < (all ? 1 : 2) * warp_count; n++, w = w + 1 < warp_count ? w + 1 : 0) {
        const uint32_t ready = ready_of(warps[w], all || n >= warp_count);
        if (ready) {
            current = w;
            return &warps[w]->lanes[next_lane(ready, lane)];
        }
    }
    return NULL;
}

static void hand_over(int on)
{
    emu_thread *me = emu_self, *t = choose(on);
    if (t != me)
        emu_fiber_go(me, t);
}

static void block_me(const char *what, const char *site, long detail, const void *key)
{
    emu_thread *t = emu_self;
    t->what = what;
    t->site = site;
    t->detail = detail;
    t->key = key;
    t->warp->ready &= ~(1u << t->lane);
    hand_over(0);
    t->what = NULL;
}

/* After this thread let others go on. */
static void step(void)
{
    spins = 0;
    if (emu_set.schedule == EMU_ROUND_ROBIN)
        hand_over(1);
    else if (emu_set.schedule >= EMU_RANDOM && one_in(2))
        hand_over(0);
}

static int land_any(emu_queue *q);

void emu_pause(const char *site)
{
    (void)site;
    if (emu_set.landing == EMU_ANYTIME) {
        if (one_in(8))
            land_any(&emu_self->copies);
        if (one_in(8))
            land_any(&emu_adrift);
    }
    if (emu_set.schedule >= EMU_RANDOM && one_in(8))
        hand_over(0);
}

void emu_spin(const char *what, const char *site)
{
    emu_thread *t = emu_self;
    emu_pause(site);
    t->what = what;
    t->site = site;
    t->detail = -1;
    if (++spins > SPINS && !land_any(&emu_adrift)) {
        put_head();
        emu_text("all ask and nothing happens:");
        put_deadlock();
        given_up = 1;
        emu_fiber_go(t, NULL);
    }
    hand_over(1);
    t->what = NULL;
}

void emu_wait(const void *key, const char *what, const char *site)
{
    waiters++;
    block_me(what, site, -1, key);
}

void emu_wake(const void *key)
{
    for (int n = 0; n < slots && waiters; n++)
        for (int i = 0; blocks[n].alive && i < blocks[n].threads; i++) {
            emu_thread *t = &blocks[n].thread[i];
            if (t->key == key) {
                t->key = NULL;
                t->warp->ready |= 1u << t->lane;
                waiters--;
                spins = 0;
            }
        }
}

/* ---- meetings ----------------------------------------------------------------------------------- */

static int same_site(const char *a, const char *b)
{
    return a == b || strcmp(a, b) == 0;
}

static void meet(emu_meeting *m, emu_warp *first, int place, int places, const emu_op *op, void *arg, const char *site)
{
    emu_pause(site);
    if (!m->here) {
        m->op = op;
        m->site = site;
    } else if (m->op != op) {
        emu_fail(site, "is at %s, but others of its warp are at %s, %s", op->name, m->op->name, m->site);
    } else if (op->aligned && !same_site(m->site, site)) {
        emu_fail(site, "is at %s, but others of its warp are at another one, %s", op->name, m->site);
    }
    m->arg[place] = arg;
    if (++m->here < places) {
        m->waiting[place >> 5] |= 1u << (place & 31);
        block_me(op->name, site, -1, NULL);
        return;
    }
    m->here = 0;
    if (emu_racing && op->orders) {
        emu_thread *list[4 * EMU_WARP];
        for (int i = 0; i < places; i++)
            list[i] = &first->lanes[i]; /* warps of a block lie one after the other */
        emu_race_join(list, places, NULL);
    }
    op->run(m->arg);
    for (int w = 0; w < places >> 5; w++) {
        first[w].ready |= m->waiting[w];
        m->waiting[w] = 0;
    }
    step();
}

void emu_meet(const emu_op *op, void *arg, const char *site)
{
    emu_thread *t = emu_self;
    meet(&t->warp->meeting, t->warp, t->lane, EMU_WARP, op, arg, site);
}

void emu_meet_warpgroup(const emu_op *op, void *arg, const char *site)
{
    emu_thread *t = emu_self;
    const int group = t->warp->number / 4;
    if (4 * group + 4 > t->block->warp_count)
        emu_fail(site, "%s needs a warpgroup: four warps from a multiple of four on", op->name);
    meet(&t->block->warpgroup[group], &t->block->warps[4 * group], (int)t->index.x & 127, 4 * EMU_WARP, op, arg, site);
}

static const char *const kinds[] = {"__syncthreads",       "__syncthreads_or", "__syncthreads_and",
                                    "__syncthreads_count", "named barrier",    "named barrier"};

static int barrier_open(emu_block *b, emu_barrier *bar)
{
    emu_thread *list[EMU_THREADS];
    int n = 0;
    bar->answer = bar->kind == EMU_SYNC_AND ? bar->sum == bar->expected
                  : bar->kind == EMU_SYNC_OR ? bar->sum > 0 : bar->sum;
    for (int w = 0; w < b->warp_count; w++) {
        if (emu_racing)
            for (uint32_t set = bar->waiting[w]; set; set &= set - 1)
                list[n++] = &b->warps[w].lanes[__builtin_ctz(set)];
        b->warps[w].ready |= bar->waiting[w];
        bar->waiting[w] = bar->came[w] = 0;
    }
    if (emu_racing) {
        emu_race_join(list, n, &bar->clock);
        emu_clock_drop(&bar->clock);
    }
    bar->expected = bar->here = bar->sum = 0;
    return bar->answer;
}

int emu_barrier_at(int id, int threads, int kind, int condition, const char *site)
{
    emu_thread *t = emu_self;
    emu_block *b = t->block;
    const int named = kind >= EMU_NAMED, w = t->warp->number;
    emu_pause(site);
    if (named && (id < 1 || id >= EMU_BARRIERS))
        emu_fail(site, "barrier %d: must be 1 to 15", id);
    if (threads < EMU_WARP || threads % EMU_WARP || threads > b->threads)
        emu_fail(site, "barrier %d for %d threads: must be a multiple of 32, and at most the block's %d", id, threads,
                 b->threads);
    emu_barrier *bar = &b->barrier[id];
    if (!bar->expected) {
        bar->expected = threads;
        bar->kind = kind;
    } else if (bar->expected != threads) {
        emu_fail(site, "barrier %d is for %d threads here, and for %d where others have come", id, threads,
                 bar->expected);
    } else if (!named && bar->kind != kind) {
        emu_fail(site, "is at %s, but others are at %s", kinds[kind], kinds[bar->kind]);
    }
    if (bar->came[w] >> t->lane & 1)
        emu_fail(site, "comes to barrier %d again before it has opened", id);
    bar->came[w] |= 1u << t->lane;
    bar->sum += condition;
    if (kind == EMU_ARRIVE)
        emu_release(&bar->clock);
    else
        bar->waiting[w] |= 1u << t->lane;
    if (++bar->here == bar->expected) {
        const int answer = barrier_open(b, bar);
        step();
        return answer;
    }
    if (kind == EMU_ARRIVE)
        return 0;
    block_me(kinds[kind], site, id, NULL);
    return bar->answer;
}

void emu_need(int cc, const char *what, const char *site)
{
    if (emu_set.cc < cc)
        emu_fail(site, "%s needs compute capability %d.%d, this device has %d.%d", what, cc / 10, cc % 10,
                 emu_set.cc / 10, emu_set.cc % 10);
}

/* ---- operations under way ----------------------------------------------------------------------- */

typedef struct job {
    emu_land_fn *land; /* NULL: has landed */
    long group;
} job;

static job *job_at(const emu_queue *q, int n)
{
    return (job *)(void *)(q->at + (size_t)n * (sizeof(job) + q->size));
}

static void land_one(emu_queue *q, int n)
{
    job *j = job_at(q, n);
    emu_land_fn *land = j->land;
    j->land = NULL;
    spins = 0;
    land(j + 1);
    while (q->first < q->end && !job_at(q, q->first)->land)
        q->first++;
    if (q->first == q->end)
        q->first = q->end = 0;
}

/* 0: there is none. */
static int land_any(emu_queue *q)
{
    if (q->first == q->end)
        return 0;
    int n = q->first;
    if (emu_set.landing == EMU_ANYTIME) {
        n += (int)(emu_random() % (unsigned)(q->end - q->first));
        while (!job_at(q, n)->land)
            n = n + 1 < q->end ? n + 1 : q->first;
    }
    land_one(q, n);
    return 1;
}

void emu_defer(emu_queue *q, long group, emu_land_fn *land, const void *data, size_t size)
{
    const size_t bytes = (size + 15) / 16 * 16;
    if (emu_set.landing == EMU_EARLY || (emu_set.landing == EMU_ANYTIME && one_in(4))) {
        _Alignas(16) char copy[bytes];
        memcpy(copy, data, size);
        land(copy);
        return;
    }
    if (q->first == q->end && q->size != bytes) {
        q->size = bytes;
        q->room = 0;
    }
    if (q->size != bytes)
        emu_fail(NULL, "emulator: one queue, two sizes of data");
    if (q->end == q->room) {
        q->room = q->room ? 2 * q->room : 64;
        q->at = realloc(q->at, (size_t)q->room * (sizeof(job) + bytes));
        if (!q->at)
            emu_fail(NULL, "emulator: no memory");
    }
    job *j = job_at(q, q->end++);
    j->land = land;
    j->group = group;
    memcpy(j + 1, data, size);
}

void emu_land(emu_queue *q, long before)
{
    /* Oldest first, or at random: what a wait covers has no order. */
    while (emu_set.landing == EMU_ANYTIME && q->end - q->first > 1 && !one_in(4)) {
        const int n = q->first + (int)(emu_random() % (unsigned)(q->end - q->first));
        if (job_at(q, n)->land && job_at(q, n)->group < before)
            land_one(q, n);
    }
    for (int n = q->first; n < q->end; n++)
        if (job_at(q, n)->land && job_at(q, n)->group < before)
            land_one(q, n);
}

static void queue_empty(emu_queue *q)
{
    q->first = q->end = 0;
}

/* ---- launches ----------------------------------------------------------------------------------- */

emu_block *emu_block_of(const void *p)
{
    const int n = emu_shared_slot(p);
    return n < 0 || n >= slots || !blocks[n].alive ? NULL : &blocks[n];
}

static void thread_main(void)
{
    kernel->enter(kernel_args);
    emu_thread *t = emu_self;
    emu_block *b = t->block;
    emu_land(&t->copies, t->copy_group + 1);
    t->warp->ready &= ~(1u << t->lane);
    t->warp->alive &= ~(1u << t->lane);
    spins = 0;
    if (!t->warp->alive) {
        int left = 0;
        for (int w = 0; w < b->warp_count; w++)
            left |= b->warps[w].alive != 0;
        if (!left) /* there may be place for another */
            emu_fiber_go(t, NULL);
    }
    hand_over(0);
    abort();
}

static void block_begin(emu_block *b, unsigned index)
{
    emu_thread *thread = b->thread;
    for (int i = 0; i < EMU_BARRIERS; i++)
        emu_clock_drop(&b->barrier[i].clock);
    memset(b->barrier, 0, sizeof b->barrier);
    memset(b->warpgroup, 0, sizeof b->warpgroup);
    b->index = (emu_index){index, 0, 0};
    b->serial = ++serial;
    b->waited = 0;
    b->alive = 1;
    b->threads = (int)emu_block_dim.x;
    b->warp_count = b->threads / EMU_WARP;
    b->rank = (int)(index % (unsigned)emu_cluster);
    b->first = b - b->rank;
    emu_shared_open(b);
    for (int w = 0; w < b->warp_count; w++) {
        emu_warp *warp = &b->warps[w];
        memset(&warp->meeting, 0, sizeof warp->meeting);
        warp->block = b;
        warp->number = w;
        warp->ready = warp->alive = ~0u;
        warp->lanes = thread + w * EMU_WARP;
    }
    for (int i = 0; i < b->threads; i++) {
        emu_thread *t = &thread[i];
        t->index = (emu_index){(unsigned)i, 0, 0};
        t->lane = i & 31;
        t->warp = &b->warps[i >> 5];
        t->block = b;
        t->what = t->site = NULL;
        t->key = NULL;
        t->copy_group = 0;
        queue_empty(&t->copies);
        emu_fiber_make(t, b->slot * EMU_THREADS + i, thread_main);
    }
    emu_race_block(b);
}

static int block_ended(const emu_block *b)
{
    for (int w = 0; w < b->warp_count; w++)
        if (b->warps[w].alive)
            return 0;
    return 1;
}

/* Ends clusters that have, and admits others; 0 when all have run. */
static int admit(volatile unsigned *next)
{
    for (int n = 0; n < slots; n += emu_cluster) {
        int ended = 1;
        for (int m = n; m < n + emu_cluster; m++)
            ended &= !blocks[m].alive || block_ended(&blocks[m]);
        if (!ended)
            continue;
        for (int m = n; m < n + emu_cluster; m++) {
            if (blocks[m].alive) {
                long at;
                blocks[m].alive = 0;
                alive_blocks--;
                if (emu_shared_close(&blocks[m], &at)) {
                    put_head();
                    emu_text("block %u has written to byte %ld of shared memory, which has %zu\n", blocks[m].index.x,
                             at, emu_shared_bytes);
                    given_up = 1;
                }
            }
            if (*next < emu_grid_dim.x) {
                block_begin(&blocks[m], (*next)++);
                alive_blocks++;
            }
        }
    }
    warp_count = 0;
    for (int n = 0; n < slots; n++)
        for (int w = 0; blocks[n].alive && w < blocks[n].warp_count; w++)
            warps[warp_count++] = &blocks[n].warps[w];
    current = current < warp_count ? current : 0;
    return alive_blocks;
}

static void run(void)
{
    volatile unsigned next = 0;
    if (setjmp(main_program))
        return;
    while (admit(&next) && !given_up) {
        emu_thread *t = choose(0);
        if (t) {
            emu_fiber_go(NULL, t);
        } else if (!land_any(&emu_adrift)) {
            put_head();
            emu_text("deadlock:");
            put_deadlock();
            given_up = 1;
        }
    }
}

int emu_launch(const emu_kernel *k, unsigned grid, unsigned threads, size_t shared, unsigned cluster, const void *args)
{
    if (!emu_set.cc)
        return cudaErrorNoDevice;
    if (!grid || !threads || grid > INT32_MAX || threads > EMU_THREADS || !cluster || grid % cluster ||
        cluster > EMU_RESIDENT / 2 || threads % EMU_WARP)
        return cudaErrorInvalidConfiguration;
    if ((int)threads > k->threads)
        return cudaErrorLaunchOutOfResources;
    if (shared > 48 * 1024 && shared > (size_t)*k->shared_most)
        return cudaErrorInvalidValue;

    kernel = k;
    kernel_args = args;
    emu_block_dim = (emu_index){threads, 1, 1};
    emu_grid_dim = (emu_index){grid, 1, 1};
    emu_shared_bytes = shared;
    emu_cluster = (int)cluster;
    slots = emu_set.resident < 1 ? 1 : emu_set.resident < EMU_RESIDENT ? emu_set.resident : EMU_RESIDENT;
    slots = (int)((unsigned)slots > grid ? grid : (unsigned)slots);
    slots = (slots + emu_cluster - 1) / emu_cluster * emu_cluster;
    random_state = (emu_set.seed + 1) * 0x9e3779b97f4a7c15ull;
    random_state ^= random_state >> 29;
    if (!random_state)
        random_state = 1;
    alive_blocks = current = waiters = given_up = 0;
    /* Half of the time one of the first warp, which in many kernels has a role of its own. */
    starved = (int)(emu_random() % (emu_random() % 2 ? threads : EMU_WARP));
    spins = 0;
    queue_empty(&emu_adrift);
    blocks = calloc((size_t)slots, sizeof *blocks);
    emu_thread *all = calloc((size_t)slots * threads, sizeof *all);
    if (!blocks || !all)
        return cudaErrorLaunchOutOfResources;
    for (int n = 0; n < slots; n++) {
        blocks[n].slot = n;
        blocks[n].thread = all + (size_t)n * threads;
    }
    emu_race_launch((int)threads, emu_cluster);

    emu_shared_begin();
    run();
    emu_shared_end();

    emu_self = NULL;
    if (given_up)
        emu_fiber_give_up();
    for (size_t i = 0; i < (size_t)slots * threads; i++)
        free(all[i].copies.at);
    free(all);
    free(blocks);
    return given_up ? cudaErrorLaunchFailure : cudaSuccess;
}
