/* fiber.c - the emulator's stacks, and the switch from one to another.
 *
 * The switch saves what a function must keep for its caller (callee-saved registers and the stack pointer): by hand
 * on x86-64 and AArch64, by ucontext elsewhere or with -DEMU_UCONTEXT, some six times slower.  A stack is kept for
 * the next thread of its number, and is entered anew when a launch was given up.  C11. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "emu.h"

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(EMU_UCONTEXT)
#define EMU_UCONTEXT
#endif
#ifdef EMU_UCONTEXT
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/* Stacks of which only the pages in use cost memory; below each, a page that cannot be touched. */
enum { STACK = 512 << 10, GUARD = 64 << 10, FIBERS = EMU_RESIDENT * EMU_THREADS };

static char *stacks[FIBERS];

static char *stack_of(int number)
{
    if (!stacks[number]) {
        char *p = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED || mprotect(p, GUARD, PROT_NONE)) {
            perror("emulator: a fiber's stack");
            exit(1);
        }
        stacks[number] = p;
    }
#if defined(__SANITIZE_ADDRESS__)
    /* A fiber ends in the midst of its last functions, whose frames ASan still holds for frames; they are near the top,
     * which is up to 60 * 320 bytes down. */
    __asan_unpoison_memory_region(stacks[number] + STACK - (32 << 10), 32 << 10);
#endif
    return stacks[number];
}

void emu_fiber_give_up(void)
{
#if defined(__SANITIZE_ADDRESS__)
    for (int n = 0; n < FIBERS; n++)
        if (stacks[n])
            __asan_unpoison_memory_region(stacks[n] + GUARD, STACK - GUARD);
#endif
}

int emu_fiber_overflow(const void *address)
{
    for (int n = 0; n < FIBERS; n++)
        if (stacks[n] && (const char *)address >= stacks[n] && (const char *)address < stacks[n] + GUARD)
            return 1;
    return 0;
}

/* ASan wants to know which stack is in use. */
#if defined(__SANITIZE_ADDRESS__)
static void *fake[FIBERS + 1];
static const void *main_bottom;
static size_t main_size;
static int from_main;

static void before_switch(const emu_thread *from, const emu_thread *to)
{
    from_main = !from;
    __sanitizer_start_switch_fiber(&fake[from ? from->fiber : FIBERS], to ? stacks[to->fiber] + GUARD : main_bottom,
                                   to ? STACK - GUARD : main_size);
}
static void after_switch(void *own)
{
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(own, &bottom, &size);
    if (from_main) {
        main_bottom = bottom;
        main_size = size;
    }
}
#define BEFORE_SWITCH(from, to) before_switch(from, to)
#define AFTER_SWITCH(from)      after_switch(fake[(from) ? (from)->fiber : FIBERS])
#define AT_START()              after_switch(NULL)
#else
#define BEFORE_SWITCH(from, to) ((void)0)
#define AFTER_SWITCH(from)      ((void)0)
#define AT_START()              ((void)0)
#endif

static void (*first_function)(void);

static void start(void)
{
    AT_START();
    first_function();
}

#ifdef EMU_UCONTEXT

static ucontext_t main_context, contexts[FIBERS];

void emu_fiber_make(emu_thread *t, int number, void (*entry)(void))
{
    ucontext_t *c = &contexts[number];
    t->fiber = number;
    first_function = entry;
    getcontext(c);
    c->uc_stack.ss_sp = stack_of(number) + GUARD;
    c->uc_stack.ss_size = STACK - GUARD;
    c->uc_link = NULL;
    makecontext(c, start, 0);
}

void emu_fiber_go(emu_thread *from, emu_thread *to)
{
    emu_self = to;
    BEFORE_SWITCH(from, to);
    swapcontext(from ? &contexts[from->fiber] : &main_context, to ? &contexts[to->fiber] : &main_context);
    AFTER_SWITCH(from);
}

#else

void emu_switch(void **save, void *load);

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl emu_switch\n"
        ".type emu_switch, @function\n"
        "emu_switch:\n"
        "    push %rbp\n    push %rbx\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbx\n    pop %rbp\n"
        "    ret\n"
        ".size emu_switch, . - emu_switch\n");
enum { SAVED = 6, RETURN = 6, FRAME = 8 }; /* words: registers, then where to return to, then its caller's */
#else
__asm__(".text\n"
        ".globl emu_switch\n"
        ".type emu_switch, %function\n"
        "emu_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp]\n     stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n stp x27, x28, [sp, #64]\n stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n   stp d10, d11, [sp, #112]\n stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n    str x9, [x0]\n    mov sp, x1\n"
        "    ldp x19, x20, [sp]\n     ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n ldp x27, x28, [sp, #64]\n ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n   ldp d10, d11, [sp, #112]\n ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size emu_switch, . - emu_switch\n");
enum { SAVED = 20, RETURN = 11, FRAME = 20 };
#endif

static void *main_sp;

void emu_fiber_make(emu_thread *t, int number, void (*entry)(void))
{
    /* Tops at different places of a page, or the same variable of all threads would fall into one set of the cache. */
    char *top = stack_of(number) + STACK - 64 - number % 61 * 320;
    void **frame = (void **)(void *)top - FRAME;
    t->fiber = number;
    first_function = entry;
    for (int i = 0; i < FRAME; i++)
        frame[i] = NULL;
    frame[RETURN] = (void *)start;
    t->sp = frame;
}

void emu_fiber_go(emu_thread *from, emu_thread *to)
{
    emu_self = to;
    BEFORE_SWITCH(from, to);
    emu_switch(from ? &from->sp : &main_sp, to ? to->sp : main_sp);
    AFTER_SWITCH(from);
}

#endif
