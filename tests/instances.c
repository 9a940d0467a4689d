/* instances.c - see instances.h.  Instances that differ in their arch alone share the cases, the inputs and the
 * oracle's answer. */
#include "instances.h"
#include <stdio.h>
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
           a->head_dim_v == b->head_dim_v && a->head_dim_min == b->head_dim_min && a->gqa == b->gqa &&
           a->rows == b->rows && a->features == b->features && a->user == b->user && a->tile_q == b->tile_q &&
           a->tile_k == b->tile_k && a->row_align == b->row_align;
}

static void run_one(const attn_instance *instance, const test_case *c, case_call *call, const instances_way *way)
{
    attn_info info;
    oracle_verdict verdict;
    attn_status status = case_forward(call, instance, c->workspace, &info);
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status),
              status == ATTN_ERR_CUDA && way->reason ? way->reason() : info.text);
    if (status != ATTN_OK)
        return;
    CHECK_MSG(info.instance == instance, "another instance answers");
    CHECK_MSG(case_check(call, &verdict), "%s", verdict.text);
}

static void run_group(const group *g, int level, const instances_way *way)
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
            if (way->before)
                way->before(g->at[m], name);
            run_one(g->at[m], c, &call, way);
        }
        if (made)
            case_free(&call);
    }
    cases_free(&list);
}

void instances_run(const attn_instance *const *list, size_t count, int level, const instances_way *way)
{
    const attn_instance *todo[MOST];
    size_t left = 0;
    for (size_t n = 0; n < count && left < MOST; n++) {
        char reason[300];
        if (!attn__attends(list[n]))
            continue;
        if (case_executes(list[n], reason, sizeof reason))
            todo[left++] = list[n];
        else if (check_case("%s", list[n]->name))
            check_skip(reason);
    }
    for (size_t n = 0; n < left; n++) {
        group g = {{todo[n]}, 0, NULL, NULL};
        for (size_t m = n; todo[n] && m < left; m++)
            if (todo[m] && alike(g.at[0], todo[m])) {
                g.at[g.count++] = todo[m];
                todo[m] = m > n ? NULL : todo[m];
            }
        if (!g.count)
            continue;
        g.hooks = header_instance_hooks(g.at[0], &g.user);
        run_group(&g, level, way);
    }
}
