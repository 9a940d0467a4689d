/* emu.h - the emulator: CUDA kernels on a CPU, thread by thread.
 *
 * A kernel is compiled by a C compiler with tests/emu before include/ on its include path, so that <cuda_runtime.h>
 * and <attn/device/X.cuh> are those of tests/emu.  Each CUDA thread is a fiber; a fiber runs until it meets others
 * (barrier, warp collective), waits, or lets go; which runs next, and when asynchronous copies land, is emu_set's.
 * Whatever a GPU would not forgive ends the launch with cudaErrorLaunchFailure, and emu_report() says what and where:
 * deadlocks, collectives that differ, misaligned or outlying copies, accesses outside of the shared memory, and, in
 * instances that were compiled with -fsanitize=thread, races on shared memory.
 *
 *   emu.c     launch, scheduling, meetings    race.c     who has seen what, __tsan_* hooks
 *   fiber.c   stacks and the switch           runtime.c  what <cuda_runtime.h> declares
 *   shared.c  windows, addresses, faults      warp.c     shuffles, products, copies
 *                                             hopper.c   mbarrier, TMA, wgmma, clusters
 *
 * First part: what a test uses.  The rest is what the device layer is built on: each device function of
 * include/attn/device/X.cuh has its twin in tests/emu/attn/device/X.cuh, as a macro that adds EMU_HERE, the place that
 * reports name.  What reads or writes shared memory for other threads is in a .c file, which is not instrumented and
 * says by emu_touch whose access it is.  C11. */
#ifndef EMU_EMU_H
#define EMU_EMU_H

#include <stddef.h>
#include <stdint.h>

/* ---- for tests ---------------------------------------------------------------------------------- */

/* Who runs next. */
enum {
    EMU_ROUND_ROBIN, /* the next warp, after each step */
    EMU_GREEDY,      /* the same warp, until all of its lanes wait */
    EMU_RANDOM,      /* any */
    EMU_STARVED,     /* any but one thread, while there are others */
    EMU_SCHEDULES
};

/* When an asynchronous operation takes place. */
enum {
    EMU_EARLY,   /* as it is asked for */
    EMU_LATE,    /* when a wait cannot go on without */
    EMU_ANYTIME, /* at random in between, in any order that waits allow */
    EMU_LANDINGS
};

typedef struct emu_options {
    int schedule, landing;
    int resident;  /* blocks that run at once, at least 1 (and at least a cluster) */
    uint64_t seed; /* of all random choices */
    int cc;        /* 90 = compute capability 9.0; 0 = no device */
    int sms, l2, shared_optin;
} emu_options;

extern emu_options emu_set; /* change it between launches */

/* What was wrong with the last launch that failed, and under which options; "" if none has since emu_forget. */
const char *emu_report(void);
void emu_forget(void);

/* ---- threads, warps, blocks --------------------------------------------------------------------- */

typedef struct emu_index {
    unsigned x, y, z;
} emu_index;

enum { EMU_WARP = 32, EMU_THREADS = 1024, EMU_WARPS = EMU_THREADS / EMU_WARP, EMU_RESIDENT = 32, EMU_BARRIERS = 16 };

typedef struct emu_thread emu_thread;
typedef struct emu_block emu_block;

/* A collective: all lanes must meet at the same one.  `run` sees what each lane gave to emu_meet, and writes the
 * answers to the same places. */
typedef struct emu_op {
    const char *name;
    int aligned; /* .aligned: all lanes must come from the same place in the source */
    int orders;  /* what any of them wrote before is seen by all of them after it, as __syncwarp does */
    void (*run)(void *const *arg);
} emu_op;

typedef struct emu_meeting {
    const emu_op *op;
    const char *site;
    int here;
    uint32_t waiting[4]; /* lanes, warp by warp */
    void *arg[4 * EMU_WARP];
} emu_meeting;

typedef struct emu_warp {
    emu_block *block;
    int number;
    uint32_t ready; /* lanes that can run */
    uint32_t alive; /* lanes that have not returned */
    emu_thread *lanes;
    emu_meeting meeting;
} emu_warp;

enum { EMU_FENCES = 16 }; /* of a thread, which the race detector remembers */

/* What a thread, a phase of a barrier ... has seen of all others.  Zero: nothing.  None outlives its launch. */
typedef struct emu_clock {
    struct emu_view *view;
} emu_clock;

typedef struct emu_barrier {
    int expected, here, kind; /* threads; 0 expected = nobody has come yet */
    int sum, answer;          /* of the conditions, for __syncthreads_or ... */
    uint32_t came[EMU_WARPS], waiting[EMU_WARPS];
    emu_clock clock; /* of those that came and went on */
} emu_barrier;

/* Operations under way, oldest first. */
typedef struct emu_queue {
    char *at;
    size_t size; /* bytes of data of each; the same for all of a queue */
    int first, end, room;
} emu_queue;

struct emu_thread {
    emu_index index;
    int lane, agent; /* agent: see emu_touch */
    emu_warp *warp;
    emu_block *block;
    const char *what, *site; /* while it waits: for what, where; a key for emu_wake, or NULL */
    const void *key;
    long detail; /* number of the barrier, -1 = none */
    emu_queue copies; /* cp.async */
    long copy_group;  /* groups that this thread has committed */
    struct emu_view *view;
    uint32_t now, landed; /* own clock; own asynchronous operations that it has waited for */
    struct {
        uint32_t now, landed;
    } fence[EMU_FENCES];  /* the same at its last calls of attn__fence_async, by their number */
    unsigned fences;
    void *sp;
    int fiber;
};

struct emu_block {
    emu_index index; /* blockIdx */
    int slot;        /* 0 .. resident - 1; the block that follows in a slot has another serial */
    long serial;
    int alive, threads, warp_count;
    int rank;         /* in its cluster */
    int waited;       /* some thread has, for the kernel before: see attn__grid_wait */
    emu_block *first; /* of its cluster: the blocks of a cluster are first[0] .. first[emu_cluster - 1] */
    char *shared;
    emu_warp warps[EMU_WARPS];
    emu_thread *thread; /* [threads] */
    emu_barrier barrier[EMU_BARRIERS];
    emu_meeting warpgroup[EMU_WARPS / 4];
};

extern emu_thread *emu_self;              /* NULL outside of a kernel */
extern emu_index emu_block_dim, emu_grid_dim;
extern size_t emu_shared_bytes;           /* of the launch */
extern int emu_cluster;                   /* blocks a cluster of the launch, 1 = none */

#define EMU_STR_(x) #x
#define EMU_STR(x)  EMU_STR_(x)
#define EMU_HERE    __FILE__ ":" EMU_STR(__LINE__)

/* ---- meeting, waiting, letting go --------------------------------------------------------------- */

/* Returns when all lanes of the warp have come to `op` and it ran. */
void emu_meet(const emu_op *op, void *arg, const char *site);
/* The same for the four warps from warp 4n on that this thread is of: a warpgroup, arg[0..127]. */
void emu_meet_warpgroup(const emu_op *op, void *arg, const char *site);

enum { EMU_SYNC, EMU_SYNC_OR, EMU_SYNC_AND, EMU_SYNC_COUNT, EMU_NAMED, EMU_ARRIVE };
/* Barrier `id` for `threads`; EMU_ARRIVE does not wait.  Answers what `kind` asks for. */
int emu_barrier_at(int id, int threads, int kind, int condition, const char *site);

/* Waits until emu_wake(key); whoever calls checks his condition again. */
void emu_wait(const void *key, const char *what, const char *site);
void emu_wake(const void *key);

/* Lets others run where the schedule says so.  Every device function that is no meeting begins with it. */
void emu_pause(const char *site);
/* The same, in a loop that asks until others have done something: a launch in which all only ask is a deadlock. */
void emu_spin(const char *what, const char *site);

/* Ends the launch with this text; does not return. */
#if defined(__GNUC__)
__attribute__((noreturn, format(printf, 2, 3)))
#endif
void emu_fail(const char *site, const char *format, ...);

/* Fails unless the device has compute capability `cc`. */
void emu_need(int cc, const char *what, const char *site);

uint64_t emu_random(void);

/* Writes `value` if *p is `seen`; answers what was there. */
unsigned long long emu_swap_if(unsigned long long *p, unsigned long long seen, unsigned long long value);

/* ---- shared memory ------------------------------------------------------------------------------ */

/* Addresses of 32 bits: 1024 + offset in this block's own memory; with (rank + 1) << 24 added, that of the block of
 * this rank in the cluster. */
enum { EMU_SHARED_BASE = 1024, EMU_RANK_SHIFT = 24 };

uint32_t emu_shared_address(const void *p, const char *site);
/* Fails if the bytes are not all inside, or the address is no multiple of `align`. */
void *emu_shared_pointer(uint32_t address, size_t bytes, size_t align, const char *what, const char *site);

/* ---- operations that run beside the program ----------------------------------------------------- */

typedef void emu_land_fn(void *data);

/* Copies `size` bytes of `data` and calls `land` on them when emu_set.landing says.  `group` is the queue's own
 * measure of time: emu_land(q, g) forces those with group < g. */
void emu_defer(emu_queue *q, long group, emu_land_fn *land, const void *data, size_t size);
void emu_land(emu_queue *q, long before);

/* For operations that nobody waits for by number, but that end by themselves and then wake somebody (TMA): when all
 * threads wait, one of them lands. */
extern emu_queue emu_adrift;

/* ---- races on shared memory --------------------------------------------------------------------- */

/* Happens-before, kept for agents: thread t of a cluster is agent 2t, its asynchronous operations are agent 2t + 1.
 * All of this does nothing unless emu_racing, and on memory that is not shared. */
extern int emu_racing;

/* This thread reads or writes. */
void emu_touch(const void *p, size_t bytes, int write, const char *site);
/* Its asynchronous operations read or write from now on, until somebody has seen `stamp` (rising, from 1 on). */
void emu_touch_async(const void *p, size_t bytes, int write, uint32_t stamp, const char *site);
/* The same by TMA or wgmma, before which whoever wrote there must have called emu_fence, and let this thread see it.
 * A thread fences its emu_touch_async when it has seen that they have ended. */
void emu_touch_proxy(const void *p, size_t bytes, int write, uint32_t stamp, const char *site);
void emu_fence(void);
/* This thread knows that asynchronous operations of `agent` (2t + 1) up to `stamp` have ended. */
void emu_see(int agent, uint32_t stamp);

/* What this thread has done and seen goes into c; what is in c is seen by this thread. */
void emu_release(emu_clock *c);
void emu_acquire(const emu_clock *c);
/* The same for asynchronous operations that end: the stamp of an agent goes into c. */
void emu_clock_see(emu_clock *c, int agent, uint32_t stamp);
void emu_clock_drop(emu_clock *c);

/* ---- launches ----------------------------------------------------------------------------------- */

typedef struct emu_kernel {
    const char *name;
    void (*enter)(const void *args);
    int threads, blocks; /* launch bounds */
    int *shared_most;    /* dynamic shared memory that was asked for */
} emu_kernel;

/* Runs all blocks; 0 or a cudaError_t.  The grid is a multiple of `cluster` blocks. */
int emu_launch(const emu_kernel *kernel, unsigned grid, unsigned threads, size_t shared, unsigned cluster,
               const void *args);

/* ---- between the files of the emulator ---------------------------------------------------------- */

/* fiber.c */
void emu_fiber_make(emu_thread *t, int number, void (*entry)(void)); /* on stack `number` */
void emu_fiber_go(emu_thread *from, emu_thread *to);                 /* NULL: the main program */
int emu_fiber_overflow(const void *address);                         /* is it below a stack? */
void emu_fiber_give_up(void); /* what runs will not return: its red zones are forgotten */

/* shared.c */
void emu_shared_begin(void); /* a launch */
void emu_shared_end(void);
void emu_shared_open(emu_block *b);
int emu_shared_close(emu_block *b, long *at); /* whether a byte outside was written to; which */
char *emu_shared_arena(size_t *bytes);        /* where all windows lie */
int emu_shared_slot(const void *p);           /* whose window it is in or near, or -1 */

/* race.c */
void emu_race_launch(int threads, int cluster);
void emu_race_block(emu_block *b);
void emu_race_join(emu_thread *const *list, int n, const emu_clock *more);

/* emu.c */
emu_block *emu_block_of(const void *p); /* the one alive in that slot, or NULL */
void emu_text(const char *format, ...); /* adds to the report */

#endif /* EMU_EMU_H */
