/* test_graph.c - a call of CUDA recorded once as a graph, and replayed when lengths and page tables have changed; calls
 * on several streams at once.
 *
 * Nothing that a launch depends on may be read from lengths or tables, nor kept from one launch for the next: a replay
 * must answer for what memory holds then.  Not on the emulator, which has neither graphs nor streams. */
#include <stdlib.h>
#include <string.h>
#include <attn/run.h>
#include "call.h"
#include "check.h"
#include "gpu.h"
#include "header_instances.h"

enum { BATCH = 4, PAGE = 8, TIMES = 20, STREAMS = 2 };

/* Sequences of different lengths, several tiles at most. */
static void make_case(const attn_instance *t, int paged, int keys, test_case *c)
{
    case_plain(t, c);
    c->batch = BATCH;
    c->heads_k = 2;
    c->heads_q *= 2;
    c->seq_k = keys;
    c->causal = t->features & ATTN_HAS(CAUSAL) ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    c->varlen = !paged ? VARLEN_USED_K : 0;
    c->paged = paged;
    c->page_size = paged ? PAGE : 0;
    case_fit(t, c);
}

/* Turn 0: half of the keys; 1: all of them, and pages that have changed places; 2: one key. */
static void change(case_call *call, const int32_t *used, int turn)
{
    int32_t *const now = (int32_t *)(uintptr_t)call->p.seqused_k;
    for (int b = 0; b < BATCH; b++)
        now[b] = turn == 0 ? used[b] / 2 : turn == 1 ? used[b] : used[b] > 0;
    for (int b = 0; b < BATCH && turn == 1 && call->p.block_table; b++) {
        const int64_t width = call->p.block_table_stride ? call->p.block_table_stride
                                                         : attn__ceil_div(call->p.seq_k, PAGE);
        int32_t *const page = (int32_t *)(uintptr_t)call->p.block_table + b * width;
        const int whole = used[b] / PAGE;
        if (whole > 1) {
            const int32_t first = page[0];
            page[0] = page[whole - 1];
            page[whole - 1] = first;
        }
    }
}

/* Opens and records; 0 if that has failed, as it must with ATTN_DEBUG, which waits for the device. */
static int record(const attn_instance *t, const test_case *c, uint64_t seed, case_call *call, gpu_call *on)
{
    char text[400] = "";
    CHECK(!case_make(c, seed, call));
    header_instance_hooks(t, &call->p.user);
    call->p.device = ATTN_DEVICE_CUDA;
    const int opened = !gpu_open(&call->p, on);
    CHECK_MSG(opened, "%s", gpu_problem());
    const attn_status status = opened ? gpu_record(on, t, text, sizeof text) : ATTN_ERR_CUDA;
    CHECK_MSG(status == (header_debugs(t) ? ATTN_ERR_CUDA : ATTN_OK), "%s: %s", attn_status_name(status), text);
    return status == ATTN_OK;
}

static void finish(case_call *call, gpu_call *on)
{
    char text[400] = "";
    CHECK_MSG(gpu_close(on, text, sizeof text), "%s", text);
    case_free(call);
}

static void judge(const attn_instance *t, case_call *call)
{
    oracle_verdict verdict;
    CHECK(!case_answer(call, header_instance_hooks(t, &call->p.user)));
    CHECK_MSG(oracle_judge(&call->p, &call->answer, &verdict), "%s", verdict.text);
}

static void replayed(const attn_instance *t, const test_case *c)
{
    case_call call;
    gpu_call on;
    int32_t used[BATCH];
    if (record(t, c, check_seed(), &call, &on)) {
        memcpy(used, call.p.seqused_k, sizeof used);
        for (int turn = 0; turn < 3 && !check_failed(); turn++) {
            change(&call, used, turn);
            CHECK_MSG(gpu_replay(&on, 2), "turn %d: %s", turn, gpu_problem());
            judge(t, &call);
        }
    }
    finish(&call, &on);
}

static void beside(const attn_instance *t, const test_case *c)
{
    case_call call[STREAMS];
    gpu_call on[STREAMS], *const all[STREAMS] = {&on[0], &on[1]};
    int recorded = 1;
    for (int n = 0; n < STREAMS; n++) /* no && before it: each is to be closed */
        recorded = record(t, c, check_seed() + (uint64_t)n, &call[n], &on[n]) && recorded;
    if (recorded) {
        CHECK_MSG(gpu_replay_beside(all, STREAMS, TIMES), "%s", gpu_problem());
        for (int n = 0; n < STREAMS; n++)
            judge(t, &call[n]);
    }
    for (int n = 0; n < STREAMS; n++)
        finish(&call[n], &on[n]);
}

static void on_instance(const attn_instance *t)
{
    test_case c;
    for (int paged = 0; paged <= PAGED_TABLE; paged++)
        for (int keys = 3 * t->tile_k + 5; keys <= 2500; keys += 2048) { /* one part, and several */
            make_case(t, paged, keys, &c);
            if (!case_serves(t, &c))
                continue;
            if (check_case("%s %s of %d keys replayed", t->name, paged ? "pages" : "lengths", keys))
                replayed(t, &c);
            if (check_case("%s %s of %d keys on %d streams", t->name, paged ? "pages" : "lengths", keys, STREAMS))
                beside(t, &c);
        }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    size_t count;
    const attn_instance *const *list = tested_instances(&count);
    for (size_t m = 0; m < count; m++) {
        const attn_instance *t = list[m];
        char reason[300];
        if (!t->device || !attn__attends(t))
            continue;
        if (case_executes(t, reason, sizeof reason))
            on_instance(t);
        else if (check_case("%s", t->name))
            check_skip(reason);
    }
    return check_end();
}
