/* res.c - bench-res: times the CPU instances of Attention Residuals that this machine can execute, as
 * docs/performance.md says.
 *
 *     bench-res [--filter TEXT] [--threads N] [--quick]
 *
 * Each result is checked before it is timed; a wrong one is an error.  A row's name, which --filter looks into, is
 * `shape type arch`, such as `phase 1 n8 s8 f32 avx2`.  GPUs: peers/attnres.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "bench.h"
#include "res_oracle.h"

enum { TOKENS = 4096, DIM = 2048, CHECKED = 2, LEAST = 5, MOST = 1000 };

/* rows: of [tokens, D] that are read or written, each once; products: multiply-adds of an element. */
static const struct shape {
    const char *name;
    int kernel, blocks, queries, roof, rows, products;
} shapes[] = {
    {"phase 1 n8 s1", ATTN_KERNEL_RES1, 8, 1, ROOF_READ, 8 + 1, 8 + 2 * 8},
    {"phase 1 n8 s8", ATTN_KERNEL_RES1, 8, 8, ROOF_FMA, 8 + 8, 8 + 2 * 64},
    {"phase 2", ATTN_KERNEL_RES2, 1, 1, ROOF_READ, 3, 3},
    {"phase 2 update", ATTN_KERNEL_RES2, 1, 1, ROOF_READ, 5, 3},
    {"phase 1 backward n8 s8", ATTN_KERNEL_RES1_BACKWARD, 8, 8, ROOF_FMA, 2 * 8 + 8, 8 + 5 * 64},
    {"phase 2 backward", ATTN_KERNEL_RES2_BACKWARD, 1, 1, ROOF_READ, 5, 8},
};

static void tensor(attn_res_tensor *x, int dtype, int64_t rows, int random)
{
    const int64_t count = rows * DIM;
    x->data = bench_alloc((size_t)(count * oracle_size(dtype)));
    x->dtype = dtype;
    x->stride[0] = rows >= TOKENS ? (int64_t)TOKENS * DIM : DIM;
    x->stride[1] = DIM;
    bench_fill(x->data, dtype, count, (uint64_t)random);
}

/* A call with all its memory. */
static attn_res_params make(const struct shape *s, int dtype, int threads)
{
    attn_res_params p = {.struct_size = sizeof p, .blocks = s->blocks, .queries = s->queries, .tokens = TOKENS,
                         .dim = DIM, .key_dim = DIM, .eps = 0x1p-23f, .norm_eps = 0x1p-23f,
                         .scale = 0.022f, /* 1 / sqrt(DIM): w is as large as v */
                         .device = ATTN_DEVICE_CPU, .threads = threads, .lse_stride = TOKENS, .dw_stride = DIM};
    const int64_t n = (int64_t)s->blocks * TOKENS, q = (int64_t)s->queries * TOKENS;
    tensor(&p.w, dtype, s->queries, 1);
    tensor(&p.o1, dtype, q, 2);
    p.lse = bench_alloc(sizeof *p.lse * (size_t)q);
    memset(p.lse, 0, sizeof *p.lse * (size_t)q);
    if (s->kernel == ATTN_KERNEL_RES1 || s->kernel == ATTN_KERNEL_RES1_BACKWARD) {
        tensor(&p.v, dtype, n, 3);
    } else {
        tensor(&p.p, dtype, TOKENS, 3);
        tensor(&p.h, dtype, TOKENS, 4);
        if (strstr(s->name, "update")) {
            tensor(&p.update, dtype, TOKENS, 5);
            tensor(&p.p_out, dtype, TOKENS, 6); /* not p, so that each call has the same sum */
        }
    }
    if (s->kernel == ATTN_KERNEL_RES1_BACKWARD || s->kernel == ATTN_KERNEL_RES2_BACKWARD) {
        tensor(&p.do1, dtype, q, 7);
        tensor(&p.dv, dtype, n, 8);
        tensor(&p.dh, dtype, TOKENS, 9);
        tensor(&p.dp, dtype, TOKENS, 10);
        p.dw = bench_alloc(sizeof *p.dw * (size_t)(s->queries * DIM));
        for (int64_t i = 0; i < q; i++)
            p.lse[i] = s->kernel == ATTN_KERNEL_RES1_BACKWARD ? 2.0f : 0.0f;
    }
    return p;
}

static void unmake(attn_res_params *p)
{
    void *all[] = {p->w.data, p->o1.data, p->lse, p->v.data, p->p.data, p->h.data, p->update.data, p->p_out.data,
                   p->do1.data, p->dv.data, p->dh.data, p->dp.data, p->dw};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

/* Relative Frobenius error of the first tokens of the greatest result; the oracle gets those tokens alone. */
static double error_of(const struct shape *s, const attn_res_params *p)
{
    const int what = s->kernel == ATTN_KERNEL_RES1 ? RES_O1 : s->kernel == ATTN_KERNEL_RES2 ? RES_H :
                     s->kernel == ATTN_KERNEL_RES1_BACKWARD ? RES_DV : RES_DP;
    const attn_res_tensor *x = what == RES_O1 ? &p->o1 : what == RES_H ? &p->h : what == RES_DV ? &p->dv : &p->dp;
    const int rows = what == RES_O1 ? s->queries : what == RES_DV ? s->blocks : 1;
    attn_res_params few = *p;
    res_answer answer;
    double off = 0, all = 0;
    few.tokens = CHECKED;
    if (res_oracle(s->kernel, &few, &answer))
        return 1;
    for (int64_t n = 0; n < rows; n++)
        for (int64_t i = 0; i < CHECKED * DIM; i++) {
            const double want = answer.at[what][n * CHECKED * DIM + i];
            const double e = oracle_load(x->dtype, x->data, n * x->stride[0] + i) - want;
            off += e * e;
            all += want * want;
        }
    res_oracle_free(&answer);
    return all > 0 ? sqrt(off / all) : off;
}

int main(int argc, char **argv)
{
    static const double bars[] = {0, 1e-5, 1e-3, 8e-3};
    const char *filter = "";
    double seconds = 1.5, times[MOST];
    int wrong = 0, threads = 1;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--quick"))
            seconds = 0.2;
        else if (!strcmp(argv[i], "--filter") && i + 1 < argc)
            filter = argv[++i];
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc && atoi(argv[i + 1]) > 0)
            threads = atoi(argv[++i]);
        else
            return fprintf(stderr, "usage: bench-res [--filter TEXT] [--threads N] [--quick]\n"), 2;
    size_t count;
    const attn_instance *const *list = attn_instances(&count);
    report_machine(stdout);
    report_head(stdout);
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++)
        for (size_t n = 0; n < count; n++) {
            const struct shape *s = &shapes[k];
            const attn_instance *t = list[n];
            bench_row row = {.shape = s->name, .instance = t, .threads = threads, .roof = s->roof, .others = -1,
                             .against = "float64"};
            char name[200];
            attn_info info;
            snprintf(name, sizeof name, "%s %s %s", s->name, bench_dtype(t->dtype), bench_arch(t));
            if (t->kernel != s->kernel || t->device || !strstr(name, filter))
                continue;
            attn_res_params p = make(s, t->dtype, threads);
            if (attn_run_res_query(t, &p, &info) == ATTN_OK) {
                void *space = info.workspace ? bench_alloc(info.workspace) : NULL;
                const double start = bench_now();
                double sampled = 0;
                row.bytes = (double)s->rows * TOKENS * DIM * oracle_size(t->dtype);
                row.flops = 2.0 * s->products * TOKENS * DIM;
                for (int c = -2; c < MOST && (c < LEAST || bench_now() - start < seconds); c++) {
                    if (c < 0 || bench_now() - sampled > 0.4) {
                        const double rate = roof_sample(s->roof, t->arch, threads, row.roof_samples++);
                        row.roof_rate = rate > row.roof_rate ? rate : row.roof_rate;
                        sampled = bench_now();
                    }
                    const double before = bench_now();
                    wrong |= attn_run_res(t, &p, space, info.workspace, NULL) != ATTN_OK;
                    if (c >= 0)
                        times[row.calls++] = bench_now() - before;
                    else if (c == -2)
                        row.error = error_of(s, &p);
                }
                qsort(times, (size_t)row.calls, sizeof *times, bench_by_value);
                row.best = times[0];
                row.seconds = times[row.calls / 2];
                report_row(stdout, &row);
                if (!(row.error <= 3 * bars[t->dtype])) {
                    fprintf(stderr, "%s: error %.2e, bar %.2e\n", t->name, row.error, 3 * bars[t->dtype]);
                    wrong = 1;
                }
                free(space);
            }
            unmake(&p);
        }
    return wrong;
}
