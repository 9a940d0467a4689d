/* test_emulated.c - every CUDA instance of gen/tables/ci.m4 and of header_instances.cu, executed by the emulator
 * (tests/emu/emu.h), on every case that its descriptor asks for, against the float64 oracle.
 *
 * Schedule, landing, blocks at once and the device rotate over the cases.  --schedule N, --landing N, --resident N and
 * --cc N say them instead.  --count as for test_instances. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <emu/emu.h>
#include "check.h"
#include "cases.h"
#include "header_instances.h"
#include "instances.h"

/* Those that take turns. */
static const emu_options devices[] = {
    {.cc = 60, .sms = 3, .l2 = 4 << 20, .shared_optin = 48 << 10},
    {.cc = 75, .sms = 5, .l2 = 5 << 20, .shared_optin = 64 << 10},
    {.cc = 80, .sms = 4, .l2 = 40 << 20, .shared_optin = 163 << 10},
    {.cc = 86, .sms = 2, .l2 = 6 << 20, .shared_optin = 99 << 10},
    {.cc = 90, .sms = 7, .l2 = 50 << 20, .shared_optin = 227 << 10},
};
enum { DEVICES = sizeof devices / sizeof devices[0] };

static int given_schedule = -1, given_landing = -1, given_resident = -1, given_cc = -1;

static int fits(const attn_instance *t, const emu_options *d)
{
    const int least = t->arch == ATTN_ARCH_SIMT ? 60 : t->arch, most = t->arch == ATTN_ARCH_SM90 ? 90 : 999;
    return d->cc >= least && d->cc <= most && t->shared <= d->shared_optin && (given_cc < 0 || d->cc == given_cc);
}

static void before(const attn_instance *t, const char *name)
{
    uint64_t state = check_hash(t->name) ^ check_hash(name) ^ check_seed();
    int n = check_range(&state, 0, DEVICES - 1);
    for (int tried = 0; tried < DEVICES && !fits(t, &devices[n]); tried++)
        n = (n + 1) % DEVICES;
    emu_set = devices[n];
    emu_set.seed = check_rand(&state);
    emu_set.schedule = check_range(&state, 0, EMU_SCHEDULES - 1);
    emu_set.landing = check_range(&state, 0, EMU_LANDINGS - 1);
    emu_set.resident = check_range(&state, 1, 3);
    if (given_schedule >= 0)
        emu_set.schedule = given_schedule;
    if (given_landing >= 0)
        emu_set.landing = given_landing;
    if (given_resident >= 0)
        emu_set.resident = given_resident;
    emu_forget();
}

/* Takes `name` and its number out of the arguments. */
static void option(int *argc, char **argv, const char *name, int *value)
{
    for (int i = 1; i + 1 < *argc; i++)
        if (!strcmp(argv[i], name)) {
            *value = atoi(argv[i + 1]);
            memmove(&argv[i], &argv[i + 2], (size_t)(*argc - i - 1) * sizeof *argv);
            *argc -= 2;
            return;
        }
}

int main(int argc, char **argv)
{
    const instances_way way = {before, emu_report};
    size_t count;
    const attn_instance *const *list = tested_instances(&count);
    const clock_t start = clock();
    option(&argc, argv, "--schedule", &given_schedule);
    option(&argc, argv, "--landing", &given_landing);
    option(&argc, argv, "--resident", &given_resident);
    option(&argc, argv, "--cc", &given_cc);
    check_begin(argc, argv);
    instances_run(list, count, check_count(LEVEL_DEFAULT), &way);
    printf("%zu instances%s, %.1f s of CPU time\n", count, emu_racing ? ", races looked for" : "",
           (double)(clock() - start) / CLOCKS_PER_SEC);
    return check_end();
}
