/* shared.c - shared memory: the windows of the blocks, their addresses, and who oversteps them.  C11. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "emu.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

/* A slot is a window between two areas that cannot be touched.  A block's shared memory ends where the window does, but
 * for what the alignment to 1024 bytes leaves over; before it, the window is closed but for the rest of a page.  ASan,
 * or a look at their content afterwards, guards those two rests. */
enum { WINDOW = 256 << 10, GUARD = 64 << 10, SLOT = WINDOW + GUARD };

static char *arena;
static int unset; /* every byte of it at first */

char *emu_shared_arena(size_t *bytes)
{
    *bytes = (size_t)EMU_RESIDENT * SLOT + GUARD;
    return arena;
}

static void arena_make(void)
{
    const size_t bytes = (size_t)EMU_RESIDENT * SLOT + GUARD;
    arena = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) {
        perror("emulator: shared memory");
        exit(1);
    }
}

int emu_shared_slot(const void *p)
{
    const ptrdiff_t at = (const char *)p - arena - GUARD;
    return at < 0 || at / SLOT >= EMU_RESIDENT ? -1 : (int)(at / SLOT);
}

static size_t up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

/* Bytes from its first to the end of the window, and those before it in the same page. */
static size_t rounded(void)
{
    return up(emu_shared_bytes, 1024);
}

static size_t below(void)
{
    return up(rounded(), (size_t)sysconf(_SC_PAGESIZE)) - rounded();
}

void emu_shared_open(emu_block *b)
{
    static size_t open[EMU_RESIDENT];
    char *window = arena + GUARD + (size_t)b->slot * SLOT;
    const size_t size = below() + rounded();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(window, WINDOW); /* of a launch that was given up */
#endif
    if (open[b->slot] != size) {
        mprotect(window, WINDOW - size, PROT_NONE);
        mprotect(window + WINDOW - size, size, PROT_READ | PROT_WRITE);
        open[b->slot] = size;
    }
    b->shared = window + WINDOW - rounded();
    memset(window + WINDOW - size, unset, size);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(b->shared - below(), below());
    __asan_poison_memory_region(b->shared + emu_shared_bytes, rounded() - emu_shared_bytes);
#endif
}

int emu_shared_close(emu_block *b, long *at)
{
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(arena + GUARD + (size_t)b->slot * SLOT, WINDOW);
#endif
    for (long i = -(long)below(); i < (long)rounded(); i++)
        if ((i < 0 || i >= (long)emu_shared_bytes) && (unsigned char)b->shared[i] != unset) {
            *at = i;
            return 1;
        }
    return 0;
}

uint32_t emu_shared_address(const void *p, const char *site)
{
    const ptrdiff_t at = (const char *)p - emu_self->block->shared;
    if (at < 0 || (size_t)at > emu_shared_bytes)
        emu_fail(site, "%p is no address in this block's shared memory", p);
    return (uint32_t)(EMU_SHARED_BASE + at);
}

void *emu_shared_pointer(uint32_t address, size_t bytes, size_t align, const char *what, const char *site)
{
    emu_block *b = emu_self->block;
    const int rank = (int)(address >> EMU_RANK_SHIFT) - 1;
    const uint32_t at = address & ((1u << EMU_RANK_SHIFT) - 1);
    if (rank >= emu_cluster)
        emu_fail(site, "%s: no block of rank %d in a cluster of %d", what, rank, emu_cluster);
    if (rank >= 0)
        b = &b->first[rank];
    if (!b->alive)
        emu_fail(site, "%s: the block of rank %d has ended, and with it its shared memory", what, rank);
    if (at < EMU_SHARED_BASE || at - EMU_SHARED_BASE + bytes > emu_shared_bytes)
        emu_fail(site, "%s: bytes %ld to %ld of shared memory, which has %zu", what, (long)at - EMU_SHARED_BASE,
                 (long)(at - EMU_SHARED_BASE + bytes) - 1, emu_shared_bytes);
    if ((at - EMU_SHARED_BASE) % align)
        emu_fail(site, "%s: byte %u of shared memory is not aligned to %zu", what, at - EMU_SHARED_BASE, align);
    return b->shared + (at - EMU_SHARED_BASE);
}

/* An access to what cannot be touched, or, on x86-64, a misaligned one of 16 bytes (address 0 then).  What is no shared
 * memory is left to ASan if that is there. */
static struct sigaction old_action[2];
static const int caught[2] = {SIGSEGV, SIGBUS};

static void on_fault(int number, siginfo_t *info, void *context)
{
    const char *p = info->si_addr;
    (void)context;
    if (emu_self && arena && p >= arena && p < arena + (size_t)EMU_RESIDENT * SLOT + GUARD)
        emu_fail(NULL, "accesses byte %ld of shared memory, which has %zu", (long)(p - emu_self->block->shared),
                 emu_shared_bytes);
    if (emu_self && emu_fiber_overflow(p))
        emu_fail(NULL, "the stack of its fiber overflows");
#if !defined(__SANITIZE_ADDRESS__)
    if (emu_self)
        emu_fail(NULL, "accesses %p: nobody's, or misaligned", info->si_addr);
#endif
    /* Not ours: happens again, and goes where it went before. */
    sigaction(number, &old_action[number == SIGBUS], NULL);
}

static stack_t old_stack;

void emu_shared_begin(void)
{
    static char *own;
    if (!arena)
        arena_make();
    /* In all floating-point types: not a number; or a number, which no test for NaN finds. */
    unset = emu_set.seed & 1 ? 0xff : 0x4b;
    if (!own)
        own = malloc(64 << 10);
    stack_t stack = {.ss_sp = own, .ss_size = 64 << 10};
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    action.sa_sigaction = on_fault;
    sigaltstack(&stack, &old_stack);
    for (int i = 0; i < 2; i++)
        sigaction(caught[i], &action, &old_action[i]);
}

void emu_shared_end(void)
{
    for (int i = 0; i < 2; i++)
        sigaction(caught[i], &old_action[i], NULL);
    sigaltstack(&old_stack, NULL);
}
