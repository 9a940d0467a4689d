/* test_real.c - what one layer of a language model really computes (data/README.md), on every instance
 * that serves it: prefill, prefill in chunks, decode, and the same from pages.
 *
 * The stored answer is exact for f16 and f32.  For bf16 the inputs are rounded first and the oracle
 * answers on a part of the rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/run.h>
#include "cases.h"
#include "check.h"
#include "gpu.h"
#include "header_instances.h"
#include "npy.h"
#include "oracle.h"

#ifndef ATTN_DATA_DIR
#define ATTN_DATA_DIR "data"
#endif

enum { TOKENS = 1024, HEADS_Q = 9, HEADS_K = 3, DIM = 64, PAGE = 16, PAGES = TOKENS / PAGE };

static npy_array q16, k16, v16, o32, lse32;

/* The inputs in one type; outputs; a cache of shuffled pages. */
typedef struct layer {
    int dtype;
    void *q, *k, *v, *k_pages, *v_pages;
    int32_t table[PAGES];
    float *o, *lse;
} layer;

static int load(void)
{
    static const struct {
        const char *name;
        npy_array *array;
        int dtype;
        int64_t shape[4];
    } files[] = {{"q", &q16, ATTN_F16, {TOKENS, HEADS_Q, DIM, 1}},
                 {"k", &k16, ATTN_F16, {TOKENS, HEADS_K, DIM, 1}},
                 {"v", &v16, ATTN_F16, {TOKENS, HEADS_K, DIM, 1}},
                 {"o", &o32, ATTN_F32, {TOKENS, HEADS_Q, DIM, 1}},
                 {"lse", &lse32, ATTN_F32, {HEADS_Q, TOKENS, 1, 1}}};
    int good = 1;
    for (size_t n = 0; n < sizeof files / sizeof *files; n++) {
        char path[1000], error[1100] = "";
        npy_array *a = files[n].array;
        const char *dir = getenv("ATTN_DATA_DIR");
        snprintf(path, sizeof path, "%s/smollm2_135m_layer14/%s.npy", dir ? dir : ATTN_DATA_DIR, files[n].name);
        if (!check_case("read %s.npy", files[n].name)) {
            good &= !npy_read(path, a, error, sizeof error);
            continue;
        }
        CHECK_MSG(!npy_read(path, a, error, sizeof error), "%s", error);
        CHECK(a->dtype == files[n].dtype);
        CHECK(!memcmp(a->shape, files[n].shape, sizeof a->shape));
        good &= !check_failed();
    }
    return good;
}

static void *convert(const npy_array *from, int dtype)
{
    void *to = malloc((size_t)(from->count * oracle_size(dtype)));
    for (int64_t n = 0; to && n < from->count; n++)
        oracle_store(dtype, to, n, oracle_load(from->dtype, from->data, n));
    return to;
}

static void *paged(const layer *l, const void *rows)
{
    size_t page = (size_t)(PAGE * HEADS_K * DIM * oracle_size(l->dtype));
    char *cache = malloc(PAGES * page);
    for (int n = 0; cache && n < PAGES; n++)
        memcpy(cache + (size_t)l->table[n] * page, (const char *)rows + (size_t)n * page, page);
    return cache;
}

static void layer_make(layer *l, int dtype)
{
    l->dtype = dtype;
    for (int n = 0; n < PAGES; n++)
        l->table[n] = n * 37 % PAGES; /* 37 is odd: a permutation */
    l->q = convert(&q16, dtype);
    l->k = convert(&k16, dtype);
    l->v = convert(&v16, dtype);
    l->k_pages = paged(l, l->k);
    l->v_pages = paged(l, l->v);
    l->o = malloc(sizeof(float) * TOKENS * HEADS_Q * DIM);
    l->lse = malloc(sizeof(float) * TOKENS * HEADS_Q);
    if (!l->q || !l->k || !l->v || !l->k_pages || !l->v_pages || !l->o || !l->lse)
        abort();
}

static void layer_free(layer *l)
{
    void *all[] = {l->q, l->k, l->v, l->k_pages, l->v_pages, l->o, l->lse};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++)
        free(all[n]);
}

/* Rows first..first + rows - 1 against all keys up to the last of them. */
static attn_params call_of(const layer *l, int first, int rows)
{
    attn_params p;
    memset(&p, 0, sizeof p);
    p.struct_size = sizeof p;
    p.batch = 1;
    p.heads_q = HEADS_Q;
    p.heads_k = HEADS_K;
    p.head_dim = DIM;
    p.seq_q = rows;
    p.seq_k = first + rows;
    p.q.dtype = l->dtype;
    p.q.data = (char *)l->q + (int64_t)first * HEADS_Q * DIM * oracle_size(l->dtype);
    p.k.data = l->k;
    p.v.data = l->v;
    p.o.data = l->o;
    p.o.dtype = ATTN_F32;
    p.lse = l->lse;
    p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    return p;
}

/* The stored answer of these rows. */
static void stored_answer(int first, int rows, oracle_answer *a)
{
    memset(a, 0, sizeof *a);
    a->o = malloc(sizeof *a->o * (size_t)rows * HEADS_Q * DIM);
    a->lse = malloc(sizeof *a->lse * (size_t)rows * HEADS_Q);
    a->condition = calloc((size_t)rows * HEADS_Q, sizeof *a->condition);
    a->state = malloc((size_t)rows * HEADS_Q);
    if (!a->o || !a->lse || !a->condition || !a->state)
        abort();
    memset(a->state, ORACLE_ROW, (size_t)rows * HEADS_Q);
    for (int64_t n = 0; n < (int64_t)rows * HEADS_Q * DIM; n++)
        a->o[n] = oracle_load(ATTN_F32, o32.data, (int64_t)first * HEADS_Q * DIM + n);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t h = 0; h < HEADS_Q; h++)
            a->lse[i * HEADS_Q + h] = oracle_load(ATTN_F32, lse32.data, h * TOKENS + first + i);
}

static void run_and_judge(const attn_instance *t, const attn_params *p, const oracle_answer *answer)
{
    attn_info info;
    oracle_verdict verdict;
    attn_status status = run_forward(t, p, WORKSPACE_BEST, &info);
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), info.text);
    CHECK_MSG(status != ATTN_OK || oracle_judge(p, answer, &verdict), "row 0 is token %d: %s", p->seq_k - p->seq_q,
              verdict.text);
}

/* Against the file where it is exact, and against the oracle, with the rule of twice the plain error. */
static void compare(const attn_instance *t, const layer *l, const attn_params *p)
{
    oracle_answer answer;
    int first = p->seq_k - p->seq_q;
    if (l->dtype != ATTN_BF16) {
        stored_answer(first, p->seq_q, &answer);
        run_and_judge(t, p, &answer);
        oracle_free(&answer);
    }
    if (p->seq_q > 64)
        return;
    CHECK(!oracle_forward(p, NULL, &answer));
    run_and_judge(t, p, &answer);
    oracle_free(&answer);
}

/* Whether so many query positions are not too many rows of a KV head. */
static int serves(const attn_instance *t, int queries)
{
    return !t->rows || HEADS_Q / HEADS_K * queries <= t->rows;
}

static void on_instance(const attn_instance *t, const layer *l)
{
    static const int chunks[][2] = {{0, 64}, {480, 64}, {960, 64}, {1000, 24}, {100, 7}};
    static const int tokens[] = {0, 1, 63, 64, 500, 1023};
    attn_params p;
    if (l->dtype != ATTN_BF16 && serves(t, TOKENS) && check_case("%s prefill", t->name)) {
        p = call_of(l, 0, TOKENS);
        compare(t, l, &p);
    }
    for (size_t n = 0; n < sizeof chunks / sizeof *chunks; n++)
        if (serves(t, chunks[n][1]) && check_case("%s chunk %d+%d", t->name, chunks[n][0], chunks[n][1])) {
            p = call_of(l, chunks[n][0], chunks[n][1]);
            compare(t, l, &p);
        }
    for (size_t n = 0; n < sizeof tokens / sizeof *tokens; n++)
        if (check_case("%s decode %d", t->name, tokens[n])) {
            p = call_of(l, tokens[n], 1);
            compare(t, l, &p);
        }
    for (int first = 1023; first > 900 && t->features & ATTN_HAS(PAGED); first -= 60)
        if (serves(t, TOKENS - first) && check_case("%s pages %d", t->name, first)) {
            int32_t keys = TOKENS;
            p = call_of(l, first, TOKENS - first);
            p.k.data = l->k_pages;
            p.v.data = l->v_pages;
            p.page_size = PAGE;
            p.num_pages = PAGES;
            p.block_table = l->table;
            p.seqused_k = &keys;
            compare(t, l, &p);
        }
}

/* The oracle itself: it must reproduce the stored answer, which another program computed. */
static void on_oracle(const layer *l)
{
    oracle_answer got, want;
    double worst_o = 0, worst_lse = 0;
    attn_params p = call_of(l, 700, 40);
    CHECK(!oracle_forward(&p, NULL, &got));
    stored_answer(700, 40, &want);
    for (int n = 0; n < 40 * HEADS_Q * DIM; n++)
        worst_o = fmax(worst_o, fabs(got.o[n] - want.o[n]));
    for (int n = 0; n < 40 * HEADS_Q; n++)
        worst_lse = fmax(worst_lse, fabs(got.lse[n] - want.lse[n]));
    CHECK_MSG(worst_o < 3e-7 && worst_lse < 1e-6, "o differs by %g, lse by %g", worst_o, worst_lse);
    oracle_free(&got);
    oracle_free(&want);
}

int main(int argc, char **argv)
{
    static const int types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    check_begin(argc, argv);
    size_t count;
    const attn_instance *const *list = tested_instances(&count);
    int good = load();
    for (int n = 0; good && n < 3; n++) {
        layer l;
        layer_make(&l, types[n]);
        if (types[n] == ATTN_F16 && check_case("oracle"))
            on_oracle(&l);
        for (size_t m = 0; m < count; m++) {
            const attn_instance *t = list[m];
            attn_info info;
            attn_params p = call_of(&l, 0, 1);
            if (t->user || attn_list_query(&t, 1, &p, &info) != ATTN_OK)
                continue; /* serves other calls */
            on_instance(t, &l);
        }
        layer_free(&l);
    }
    npy_free(&q16);
    npy_free(&k16);
    npy_free(&v16);
    npy_free(&o32);
    npy_free(&lse32);
    return check_end();
}
