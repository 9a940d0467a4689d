/* race.c - who has seen what: races on shared memory, and the hooks by which gcc's -fsanitize=thread tells of accesses.
 *
 * The instances of the second build are compiled with -fsanitize=thread and linked with these hooks instead of libtsan.
 * An access races with an earlier one of another agent if one of them writes and the later agent has not seen the
 * earlier: by a barrier, __syncwarp, or what release and acquire it.  Shuffles, votes and products make lanes wait for
 * each other, but order no memory.  Each agent has a clock that ticks when it lets others see what it did; a view says
 * up to which tick of each agent somebody has seen.  Views are shared, because after a barrier all have the same.
 * TMA and wgmma must not meet what a thread wrote, by itself or by copies of 16 bytes, unless it has fenced that and they
 * have seen the fence.
 *
 * Each word of shared memory remembers its last write and six reads that are not ordered (of more, some at random);
 * a word that is accessed in parts remembers that for each byte.  Clocks go on from block to block, so nothing is
 * ever cleared: what lies before a block's first tick has been seen.  C11. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "emu.h"

int emu_racing;

typedef struct emu_view {
    int users;
    struct emu_view *next, *next_unused; /* all of a launch; those in no use */
    uint32_t at[];
} view;

typedef struct use {
    uint32_t tick;
    uint16_t agent;
    uint8_t is_site;  /* where: a text; else an address in the program */
    uint8_t by_proxy; /* by TMA or wgmma */
    const void *where;
} use;

enum { READS = 6 };

typedef struct cell {
    use write;
    use read[READS];
    int reads;
    int split; /* of a word: look at its bytes */
} cell;

static int agents, first_agent_threads;
static uint32_t latest; /* tick of anybody */
static view *all, *unused;
static uint32_t first_tick[EMU_RESIDENT]; /* of the block in each slot */
static char *arena;
static size_t arena_bytes;
static cell *words, *parts; /* of the whole arena; memory for what is touched */
static int by_proxy;        /* the access at hand is one of TMA or wgmma */

/* ---- views -------------------------------------------------------------------------------------- */

static view *view_new(void)
{
    view *v = unused;
    if (v) {
        unused = v->next_unused;
    } else {
        v = malloc(sizeof *v + (size_t)agents * sizeof v->at[0]);
        if (!v)
            abort();
        v->next = all;
        all = v;
    }
    v->users = 0;
    return v;
}

static void view_set(view **p, view *v)
{
    if (v)
        v->users++;
    if (*p && --(*p)->users == 0) {
        (*p)->next_unused = unused;
        unused = *p;
    }
    *p = v;
}

static void view_add(view *to, const view *from)
{
    for (int i = 0; from && i < agents; i++)
        to->at[i] = to->at[i] > from->at[i] ? to->at[i] : from->at[i];
}

static view *view_copy(const view *from)
{
    view *v = view_new();
    memset(v->at, 0, (size_t)agents * sizeof v->at[0]);
    view_add(v, from);
    return v;
}

static void view_add_own(view *v, const emu_thread *t)
{
    v->at[t->agent] = t->now;
    if (v->at[t->agent + 1] < t->landed)
        v->at[t->agent + 1] = t->landed;
}

static void tick(emu_thread *t)
{
    if (++t->now > latest)
        latest = t->now;
}

void emu_race_join(emu_thread *const *list, int n, const emu_clock *more)
{
    view *v = view_copy(more ? more->view : NULL);
    const view *last = NULL;
    for (int i = 0; i < n; i++) {
        if (list[i]->view != last)
            view_add(v, last = list[i]->view);
        view_add_own(v, list[i]);
    }
    v->users = 1;
    for (int i = 0; i < n; i++) {
        view_set(&list[i]->view, v);
        tick(list[i]);
    }
    view *own = v;
    view_set(&own, NULL);
}

void emu_release(emu_clock *c)
{
    if (!emu_racing)
        return;
    view *v = view_copy(c->view);
    view_add(v, emu_self->view);
    view_add_own(v, emu_self);
    view_set(&c->view, v);
    tick(emu_self);
}

void emu_acquire(const emu_clock *c)
{
    if (!emu_racing || !c->view || c->view == emu_self->view)
        return;
    view *v = view_copy(emu_self->view);
    view_add(v, c->view);
    view_set(&emu_self->view, v);
}

static uint32_t stamp_tick(const emu_block *b, uint32_t stamp)
{
    const uint32_t t = first_tick[b->slot] + stamp;
    latest = latest > t ? latest : t;
    return t;
}

static void see(view **p, int agent, uint32_t t)
{
    view *v = view_copy(*p);
    v->at[agent] = v->at[agent] > t ? v->at[agent] : t;
    view_set(p, v);
}

void emu_see(int agent, uint32_t stamp)
{
    if (!emu_racing)
        return;
    const uint32_t t = stamp_tick(emu_self->block, stamp);
    if (agent == emu_self->agent + 1)
        emu_self->landed = emu_self->landed > t ? emu_self->landed : t;
    else if (!emu_self->view || emu_self->view->at[agent] < t)
        see(&emu_self->view, agent, t);
}

void emu_clock_see(emu_clock *c, int agent, uint32_t stamp)
{
    if (emu_racing)
        see(&c->view, agent, first_tick[0] + stamp);
}

void emu_clock_drop(emu_clock *c)
{
    view_set(&c->view, NULL);
}

void emu_race_launch(int threads, int cluster)
{
    agents = 2 * threads * cluster;
    first_agent_threads = threads;
    unused = NULL;
    by_proxy = 0; /* the launch before may have ended in an access */
    while (all) {
        view *v = all;
        all = v->next;
        free(v);
    }
}

void emu_race_block(emu_block *b)
{
    if (!b->rank)
        ++latest;
    first_tick[b->slot] = latest;
    for (int i = 0; i < b->threads; i++) {
        emu_thread *t = &b->thread[i];
        t->agent = 2 * (b->rank * b->threads + i);
        view_set(&t->view, NULL);
        t->now = t->landed = latest;
        t->fences = 0;
    }
}

/* ---- accesses ----------------------------------------------------------------------------------- */

/* file:line of an address in this program, if addr2line is here and knows. */
static void put_place(const use *a)
{
    extern const char __executable_start[];
    char command[200], line[500] = "";
    if (a->is_site) {
        emu_text("%s", (const char *)a->where);
        return;
    }
    uintptr_t at = (uintptr_t)a->where - 1;
    if (((const Elf64_Ehdr *)(const void *)__executable_start)->e_type == ET_DYN)
        at -= (uintptr_t)__executable_start;
    snprintf(command, sizeof command, "addr2line -e /proc/%ld/exe %#lx 2>/dev/null", (long)getpid(), (unsigned long)at);
    FILE *f = popen(command, "r");
    if (!f || !fgets(line, sizeof line, f) || line[0] == '?')
        snprintf(line, sizeof line, "address %#lx", (unsigned long)at);
    if (f)
        pclose(f);
    line[strcspn(line, " \n")] = 0;
    emu_text("%s", line);
}

static void put_access(const char *before, const use *a, int write)
{
    emu_text("\n    %s%s by thread %d", before, write ? "write" : "read", a->agent / 2 % first_agent_threads);
    if (agents > 2 * first_agent_threads)
        emu_text(" of the block of rank %d", a->agent / 2 / first_agent_threads);
    emu_text("%s at ", a->agent & 1 ? " (asynchronous)" : "");
    put_place(a);
}

static void report(const emu_block *b, const void *p, const use *then, int then_write, const use *now, int write,
                   const char *before)
{
    emu_text("race on byte %ld of the shared memory of block %u:", (long)((const char *)p - b->shared), b->index.x);
    put_access("", now, write);
    put_access(before, then, then_write);
    emu_text("\n  ");
    emu_fail(NULL, "race");
}

/* Whether this thread, or its asynchronous operations, have seen it. */
static inline int seen(const emu_thread *t, const use *a)
{
    return a->tick < first_tick[t->block->slot] || a->agent == t->agent ||
           (a->agent == t->agent + 1 && a->tick <= t->landed) || (t->view && t->view->at[a->agent] >= a->tick);
}

/* Whether its thread has called emu_fence since, and this thread has seen that. */
static int fenced(const emu_block *b, const use *a)
{
    if (a->by_proxy || a->tick < first_tick[b->slot])
        return 1;
    const int n = a->agent / 2;
    const emu_thread *t = emu_self, *by = &b->first[n / first_agent_threads].thread[n % first_agent_threads];
    const uint32_t until = by == t ? UINT32_MAX : t->view ? t->view->at[by->agent] : 0;
    for (unsigned i = by->fences; i && i + EMU_FENCES > by->fences; i--) {
        const unsigned at = (i - 1) % EMU_FENCES;
        if ((a->agent & 1 ? by->fence[at].landed : by->fence[at].now) < a->tick)
            return 0;
        if (by->fence[at].now < until)
            return 1;
    }
    return by->fences > EMU_FENCES; /* one that is forgotten */
}

static void cell_access(cell *c, const emu_block *b, const char *p, int write, const use *now)
{
    const emu_thread *t = emu_self;
    if (!seen(t, &c->write))
        report(b, p, &c->write, 1, now, write, "and before it, not seen, a ");
    if (by_proxy && !fenced(b, &c->write))
        report(b, p, &c->write, 1, now, write, "and before it, with no attn__fence_async since, a ");
    if (write) {
        for (int i = 0; i < c->reads; i++)
            if (!seen(t, &c->read[i]))
                report(b, p, &c->read[i], 0, now, 1, "and before it, not seen, a ");
        c->write = *now;
        c->reads = 0;
        return;
    }
    int to = c->reads;
    for (int i = 0; i < c->reads; i++)
        if (c->read[i].agent == now->agent || seen(t, &c->read[i])) {
            to = i;
            break;
        }
    if (to == READS)
        to = (int)(emu_random() % READS);
    c->read[to] = *now;
    c->reads += to == c->reads;
}

static void touch(const emu_block *b, const char *p, size_t bytes, int write, const use *now)
{
    const char *end = p + bytes;
    while (p < end) {
        const size_t at = (size_t)(p - arena), first = at & 3, left = (size_t)(end - p);
        cell *w = &words[at >> 2], *part = &parts[at & ~(size_t)3];
        const size_t n = left < 4 - first ? left : 4 - first;
        if (n == 4 && !w->split) {
            cell_access(w, b, p, write, now);
        } else {
            for (int i = 0; i < 4 && !w->split; i++)
                part[i] = *w;
            w->split = 1;
            for (size_t i = 0; i < n; i++)
                cell_access(&part[first + i], b, p + i, write, now);
            if (n == 4 && write) { /* all of it: in one piece again */
                *w = part[0];
                w->split = 0;
            }
        }
        p += n;
    }
}

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("emulator: memory for the race detector");
        exit(1);
    }
    return p;
}

static void find_arena(void)
{
    arena = emu_shared_arena(&arena_bytes);
    words = reserve(arena_bytes / 4 * sizeof *words);
    parts = reserve(arena_bytes * sizeof *parts);
}

static void touch_at(const void *where, int is_site, const void *p, size_t bytes, int write, int async, uint32_t at)
{
    const emu_thread *t = emu_self;
    if (!arena)
        find_arena();
    if ((const char *)p < arena || (const char *)p >= arena + arena_bytes)
        return;
    const emu_block *b = emu_block_of(p);
    const use now = {at, (uint16_t)(t->agent + async), (uint8_t)is_site, (uint8_t)by_proxy, where};
    if (!b || (const char *)p < b->shared || (const char *)p + bytes > b->shared + emu_shared_bytes) {
        put_access("out of bounds: ", &now, write);
        emu_fail(NULL, "\n    accesses byte %ld of shared memory, which has %zu",
                 (long)((const char *)p - t->block->shared), emu_shared_bytes);
    }
    touch(b, p, bytes, write, &now);
}

void emu_touch(const void *p, size_t bytes, int write, const char *site)
{
    if (emu_racing && emu_self)
        touch_at(site, 1, p, bytes, write, 0, emu_self->now);
}

void emu_touch_async(const void *p, size_t bytes, int write, uint32_t stamp, const char *site)
{
    if (emu_racing && emu_self)
        touch_at(site, 1, p, bytes, write, 1, stamp_tick(emu_self->block, stamp));
}

void emu_touch_proxy(const void *p, size_t bytes, int write, uint32_t stamp, const char *site)
{
    by_proxy = 1;
    emu_touch_async(p, bytes, write, stamp, site);
    by_proxy = 0;
}

void emu_fence(void)
{
    const unsigned at = emu_self->fences++ % EMU_FENCES;
    emu_self->fence[at].now = emu_self->now;
    emu_self->fence[at].landed = emu_self->landed;
    tick(emu_self);
}

/* ---- what gcc calls ----------------------------------------------------------------------------- */

#define HERE __builtin_return_address(0)

static inline void hook(const void *where, const void *p, size_t bytes, int write, size_t align)
{
    if (!emu_self)
        return;
    if ((uintptr_t)p % align) {
        const use a = {0, (uint16_t)emu_self->agent, 0, 0, where};
        put_access("misaligned: ", &a, write);
        emu_fail(NULL, "\n    accesses %zu bytes at %p", bytes, p);
    }
    if (!arena || (size_t)((const char *)p - arena) < arena_bytes)
        touch_at(where, 0, p, bytes, write, 0, emu_self->now);
}

#define HOOKS(n)                                              \
    void __tsan_read##n(void *p);                             \
    void __tsan_write##n(void *p);                            \
    void __tsan_unaligned_read##n(void *p);                   \
    void __tsan_unaligned_write##n(void *p);                  \
    void __tsan_read##n(void *p) { hook(HERE, p, n, 0, n); }  \
    void __tsan_write##n(void *p) { hook(HERE, p, n, 1, n); } \
    void __tsan_unaligned_read##n(void *p) { hook(HERE, p, n, 0, 1); } \
    void __tsan_unaligned_write##n(void *p) { hook(HERE, p, n, 1, 1); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)

/* Atomics do not race with each other, and order nothing; that they do with others is not looked for. */
#define ATOMIC_HOOKS(n, type)                                                  \
    type __tsan_atomic##n##_fetch_add(volatile void *p, type v, int order);     \
    type __tsan_atomic##n##_exchange(volatile void *p, type v, int order);      \
    type __tsan_atomic##n##_fetch_add(volatile void *p, type v, int order)      \
    {                                                                           \
        (void)order;                                                            \
        return __atomic_fetch_add((volatile type *)p, v, __ATOMIC_RELAXED);     \
    }                                                                           \
    type __tsan_atomic##n##_exchange(volatile void *p, type v, int order)       \
    {                                                                           \
        (void)order;                                                            \
        return __atomic_exchange_n((volatile type *)p, v, __ATOMIC_RELAXED);    \
    }
ATOMIC_HOOKS(32, uint32_t)
ATOMIC_HOOKS(64, uint64_t)

void __tsan_init(void);
void __tsan_func_entry(void *p);
void __tsan_func_exit(void *p);
void __tsan_read_range(void *p, long bytes);
void __tsan_write_range(void *p, long bytes);

/* Called before main by what was compiled with -fsanitize=thread. */
void __tsan_init(void)
{
    emu_racing = 1;
}
void __tsan_func_entry(void *p)
{
    (void)p;
}
void __tsan_func_exit(void *p)
{
    (void)p;
}
void __tsan_read_range(void *p, long bytes)
{
    hook(HERE, p, (size_t)bytes, 0, 1);
}
void __tsan_write_range(void *p, long bytes)
{
    hook(HERE, p, (size_t)bytes, 1, 1);
}
