/* check.c - the test runner of check.h. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    SHOWN_CHECKS = 5, /* failed checks printed of one case: the first ones tell */
    SHOWN_CASES = 40, /* failed cases listed at the end */
    NAME_SIZE = 256
};

static struct {
    const char *program;
    const char *filter;
    uint64_t seed;
    int count;
    int list, verbose, first, tty;
    char name[NAME_SIZE]; /* of the open case */
    int open, checks_failed, skipped_now;
    int passed, failed, skipped;
    char failures[SHOWN_CASES][NAME_SIZE];
    double started, reported; /* seconds */
} run;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void usage(const char *problem, const char *text)
{
    fprintf(stderr,
            "%s: %s%s\n"
            "usage: %s [--filter TEXT] [--seed N] [--count N] [--list] [--verbose] [--first]\n",
            run.program, problem, text, run.program);
    exit(2);
}

static uint64_t number(const char *option, const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    if (errno || end == text || *end || *text == '-')
        usage("not a number after ", option);
    return value;
}

void check_begin(int argc, char **argv)
{
    memset(&run, 0, sizeof run);
    run.program = argv[0];
    run.seed = 1;
    run.started = run.reported = now();
    run.tty = isatty(STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (!strcmp(option, "--list"))
            run.list = 1;
        else if (!strcmp(option, "--verbose"))
            run.verbose = 1;
        else if (!strcmp(option, "--first"))
            run.first = 1;
        else if (strcmp(option, "--filter") && strcmp(option, "--seed") && strcmp(option, "--count"))
            usage("unknown option ", option);
        else if (i + 1 == argc)
            usage("nothing after ", option);
        else if (!strcmp(option, "--filter"))
            run.filter = argv[++i];
        else if (!strcmp(option, "--seed"))
            run.seed = number(option, argv[++i]);
        else
            run.count = (int)number(option, argv[++i]);
    }
}

static void close_case(void)
{
    if (!run.open)
        return;
    run.open = 0;
    if (run.checks_failed > SHOWN_CHECKS)
        printf("    and %d more failed checks\n", run.checks_failed - SHOWN_CHECKS);
    if (run.checks_failed) {
        if (run.failed < SHOWN_CASES)
            memcpy(run.failures[run.failed], run.name, NAME_SIZE);
        run.failed++;
    } else if (run.skipped_now) {
        run.skipped++;
    } else {
        run.passed++;
    }
}

static void progress(void)
{
    double t = now();
    if (run.verbose) {
        fprintf(stderr, "%8.2f s  %s\n", t - run.started, run.name);
    } else if (run.tty && t - run.started > 2 && t - run.reported > 0.5) {
        fprintf(stderr, "\r%6.0f s  %d cases  %-60.60s", t - run.started, run.passed + run.failed + run.skipped,
                run.name);
        run.reported = t;
    }
}

int check_case(const char *fmt, ...)
{
    char name[NAME_SIZE];
    va_list args;
    close_case();
    if (run.first && run.failed)
        exit(check_end());
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    if (run.filter && (run.filter[0] == '=' ? strcmp(name, run.filter + 1) != 0 : !strstr(name, run.filter)))
        return 0;
    if (run.list) {
        puts(name);
        return 0;
    }
    memcpy(run.name, name, sizeof name);
    run.open = 1;
    run.checks_failed = run.skipped_now = 0;
    progress();
    return 1;
}

void check_skip(const char *why)
{
    run.skipped_now = 1;
    printf("skip %s: %s\n", run.name, why);
}

void check_fail(const char *file, int line, const char *fmt, ...)
{
    if (!run.open) { /* outside any case: still a failure of the program */
        run.open = 1;
        run.checks_failed = 0;
        snprintf(run.name, sizeof run.name, "(outside a case)");
    }
    if (run.checks_failed++ >= SHOWN_CHECKS)
        return;
    if (run.checks_failed == 1)
        printf("%sFAIL %s\n", run.tty ? "\n" : "", run.name);
    va_list args;
    va_start(args, fmt);
    printf("    %s:%d: ", file, line);
    vprintf(fmt, args);
    putchar('\n');
    va_end(args);
}

int check_failed(void)
{
    return run.open && run.checks_failed > 0;
}

/* A name in single quotes for the shell: no name of ours has one, so none is escaped. */
int check_end(void)
{
    close_case();
    if (run.list)
        return 0;
    if (run.tty && now() - run.started > 2)
        fputc('\n', stderr);
    for (int i = 0; i < run.failed && i < SHOWN_CASES; i++) /* %.0d prints nothing for 0 */
        printf("failed, seed %llu; again: %s --seed %llu%s%.0d --filter '=%s'\n", (unsigned long long)run.seed,
               run.program, (unsigned long long)run.seed, run.count ? " --count " : "", run.count, run.failures[i]);
    if (run.failed > SHOWN_CASES)
        printf("and %d more failed cases\n", run.failed - SHOWN_CASES);
    int none = run.filter && !(run.passed + run.failed + run.skipped);
    if (none) /* a misspelt filter must not look like a pass */
        printf("no case matches --filter %s\n", run.filter);
    printf("%d passed, %d failed, %d skipped\n", run.passed, run.failed, run.skipped);
    fflush(stdout);
    return run.failed || none;
}

uint64_t check_seed(void)
{
    return run.seed;
}

int check_count(int preset)
{
    return run.count ? run.count : preset;
}

/* splitmix64: every state is good and one more step is one more addition. */
uint64_t check_rand(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double check_uniform(uint64_t *state)
{
    return (double)(check_rand(state) >> 11) * 0x1p-53;
}

double check_normal(uint64_t *state)
{
    double u = 1 - check_uniform(state), v = check_uniform(state);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

int check_range(uint64_t *state, int least, int most)
{
    uint64_t span = (uint64_t)((int64_t)most - least) + 1;
    return (int)(least + (int64_t)(check_rand(state) % span));
}

/* FNV-1a. */
uint64_t check_hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

const char *check_filter(void)
{
    return run.filter;
}
