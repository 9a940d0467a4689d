/* test_instances.c - every instance that this machine can execute, on every case that its descriptor
 * asks for, against the float64 oracle.
 *
 * --count 1 is a short run (valgrind), 2 the default, 3 everything.  Instances that differ in their
 * arch alone share the cases, the inputs and the oracle's answer. */
#include <stdio.h>
#include <string.h>
#include <attn/run.h>
#include "call.h"
#include "check.h"
#include "header_instances.h"

enum { MOST = 512 };

typedef struct group {
    const attn_instance *at[MOST];
    size_t count;
    const oracle_hooks *hooks;
    const void *user;
} group;

/* Of the same shape in everything that cases are derived from. */
static int alike(const attn_instance *a, const attn_instance *b)
{
    return a->kernel == b->kernel && a->dtype == b->dtype && a->kv_dtype == b->kv_dtype && a->head_dim == b->head_dim &&
           a->head_dim_v == b->head_dim_v && a->gqa == b->gqa && a->features == b->features && a->user == b->user &&
           a->tile_q == b->tile_q && a->tile_k == b->tile_k;
}

static void run_one(const attn_instance *instance, const test_case *c, case_call *call)
{
    attn_info info;
    oracle_verdict verdict;
    attn_status status = case_forward(call, instance, c->workspace, &info);
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), info.text);
    if (status != ATTN_OK)
        return;
    CHECK_MSG(info.instance == instance, "another instance answers");
    CHECK_MSG(case_check(call, &verdict), "%s", verdict.text);
}

static void run_group(const group *g, int level)
{
    case_list list;
    cases_derive(g->at[0], level, &list);
    for (int n = 0; n < list.count; n++) {
        const test_case *c = &list.at[n];
        char name[200];
        case_call call;
        int made = 0;
        case_name(c, name, sizeof name);
        for (size_t m = 0; m < g->count; m++) {
            if (!check_case("%s %s", g->at[m]->name, name))
                continue;
            if (!made) {
                CHECK(!case_make(c, check_seed() ^ check_hash(name), &call));
                call.p.user = g->user;
                CHECK(!case_answer(&call, g->hooks));
                made = 1;
            }
            run_one(g->at[m], c, &call);
        }
        if (made)
            case_free(&call);
    }
    cases_free(&list);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    const attn_instance *todo[MOST];
    size_t archive_count, header_count, count = 0;
    const attn_instance *const *archive = attn_instances(&archive_count);
    const attn_instance *const *header = header_instances(&header_count);
    for (size_t n = 0; n < archive_count + header_count && count < MOST; n++) {
        const attn_instance *t = n < archive_count ? archive[n] : header[n - archive_count];
        char reason[300];
        if (t->kernel != ATTN_KERNEL_FORWARD)
            continue;
        if (case_executes(t, reason, sizeof reason))
            todo[count++] = t;
        else if (check_case("%s", t->name))
            check_skip(reason);
    }
    for (size_t n = 0; n < count; n++) {
        group g = {{todo[n]}, 0, NULL, NULL};
        for (size_t m = n; todo[n] && m < count; m++)
            if (todo[m] && alike(g.at[0], todo[m])) {
                g.at[g.count++] = todo[m];
                todo[m] = m > n ? NULL : todo[m];
            }
        if (!g.count)
            continue;
        g.hooks = header_instance_hooks(g.at[0], &g.user);
        run_group(&g, check_count(LEVEL_DEFAULT));
    }
    return check_end();
}
