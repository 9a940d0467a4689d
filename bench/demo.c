/* demo.c - the attention of one model, on the archive that was made for it: prefill, a late chunk of a prefill, and
 * decode; checked, timed, compared with what the machine can do.
 *
 *     attn-demo MODELS KEY [--tsv FILE] [--seconds S]
 *
 * MODELS has lines as gen/models.tsv has; KEY is one of them, or the part of some before a "_".  For the shape of
 * data/smollm2_135m_layer14 the inputs are that model's own Q, K and V and the answer is its own attention output;
 * for others they are random, and the answer is float64 arithmetic on some rows.  It says which.  Each type is computed
 * on the GPU if there is one and the archive serves it there, else on the CPU; it says where.  run.sh calls it. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bench.h"
#include "npy.h"

#ifndef ATTN_DATA_DIR
#define ATTN_DATA_DIR "data"
#endif

/* Columns of models.tsv. */
typedef struct model {
    char key[64], name[128];
    int heads_q, heads_k, dim, dim_v, causal, window, chunk, sink_logits, alibi;
    float softcap;
} model;

/* Inputs and outputs of one layer in one type, for one device; tokens rows of q, cache rows of k and v. */
typedef struct layer {
    const model *m;
    int dtype, device, rows, cache;
    void *q, *k, *v;
    float *o, *lse, *sinks, *slopes;
} layer;

static npy_array real[4]; /* q k v o */
static double seconds = 1.0;
static FILE *tsv;
static int failures;

static void fail(const char *text, const char *more)
{
    fprintf(stderr, "attn-demo: %s%s\n", text, more);
    exit(1);
}

/* ---- the model --------------------------------------------------------------------------------- */

static int number(const char *column)
{
    return strcmp(column, "-") ? atoi(column) : 0;
}

/* The next model of the key; 0 at the end.  exact: only the key itself. */
static int next_model(FILE *file, const char *key, int exact, model *m)
{
    char line[1000];
    while (fgets(line, sizeof line, file)) {
        char *column[13], *at = line;
        int n = 0;
        line[strcspn(line, "\n")] = 0;
        for (; n < 13 && at; n++) {
            column[n] = at;
            at = strchr(at, '\t');
            if (at)
                *at++ = 0;
        }
        const size_t length = strlen(key);
        if (n < 13 || *line == '#' ||
            (exact ? strcmp(column[0], key) : strncmp(column[0], key, length) || column[0][length] != '_'))
            continue;
        memset(m, 0, sizeof *m);
        snprintf(m->key, sizeof m->key, "%.63s", column[0]);
        snprintf(m->name, sizeof m->name, "%.127s", column[12]);
        m->heads_q = number(column[1]);
        m->heads_k = number(column[2]);
        m->dim = number(column[3]);
        m->dim_v = number(column[4]);
        m->causal = number(column[5]);
        m->window = strcmp(column[6], "-") ? number(column[6]) + 1 : 0; /* keys in sight; 0 = all */
        m->chunk = number(column[7]);
        m->softcap = strcmp(column[8], "-") ? (float)atof(column[8]) : 0;
        m->sink_logits = number(column[9]);
        m->alibi = !strcmp(column[10], "press") ? ATTN_ALIBI_PRESS : !strcmp(column[10], "mpt") ? ATTN_ALIBI_MPT : 0;
        return 1;
    }
    return 0;
}

/* ---- the inputs -------------------------------------------------------------------------------- */

static int has_real(const model *m)
{
    return m->heads_q == 9 && m->heads_k == 3 && m->dim == 64 && m->dim_v == 64 && m->causal && !m->window &&
           !m->chunk && m->softcap == 0 && !m->sink_logits && !m->alibi;
}

static void read_real(void)
{
    static const char *const names[] = {"q", "k", "v", "o"};
    for (int n = 0; n < 4; n++) {
        char path[1000], error[1100];
        snprintf(path, sizeof path, "%s/smollm2_135m_layer14/%s.npy", ATTN_DATA_DIR, names[n]);
        if (!real[n].data && npy_read(path, &real[n], error, sizeof error))
            fail("cannot read the model's data: ", error);
    }
}

static void *convert(const npy_array *from, int dtype)
{
    void *to = bench_alloc((size_t)(from->count * oracle_size(dtype)) + 4096); /* whole pages are copied */
    for (int64_t n = 0; n < from->count; n++)
        oracle_store(dtype, to, n, oracle_load(from->dtype, from->data, n));
    return to;
}

static void *random_of(int dtype, int64_t count, uint64_t seed)
{
    void *to = bench_alloc((size_t)(count * oracle_size(dtype)) + 4096);
    bench_fill(to, dtype, count, seed);
    return to;
}

static layer layer_make(const model *m, int dtype, int device)
{
    layer l = {.m = m, .dtype = dtype, .device = device};
    if (has_real(m)) {
        read_real();
        l.rows = l.cache = (int)real[0].shape[0];
        l.q = convert(&real[0], dtype);
        l.k = convert(&real[1], dtype);
        l.v = convert(&real[2], dtype);
    } else {
        /* As many rows as take a CPU a second or so, and a cache that no processor holds. */
        const int cuda = device == ATTN_DEVICE_CUDA;
        const double most = cuda ? 4e12 : 4e10;
        l.cache = 8192;
        for (l.rows = cuda ? l.cache : 2048; l.rows > 128; l.rows /= 2)
            if ((double)l.rows * l.rows * m->heads_q * (m->dim + m->dim_v) < most)
                break;
        l.q = random_of(dtype, (int64_t)l.rows * m->heads_q * m->dim, 1);
        l.k = random_of(dtype, (int64_t)l.cache * m->heads_k * m->dim, 2);
        l.v = random_of(dtype, (int64_t)l.cache * m->heads_k * m->dim_v, 3);
    }
    l.o = bench_alloc(sizeof(float) * (size_t)l.rows * (size_t)m->heads_q * (size_t)m->dim_v);
    l.lse = bench_alloc(sizeof(float) * (size_t)l.rows * (size_t)m->heads_q);
    l.sinks = random_of(ATTN_F32, m->heads_q, 4);
    l.slopes = bench_alloc(sizeof(float) * (size_t)m->heads_q);
    if (m->alibi)
        attn_alibi_slopes(l.slopes, m->heads_q, m->alibi);
    return l;
}

static void layer_free(layer *l)
{
    void *all[] = {l->q, l->k, l->v, l->o, l->lse, l->sinks, l->slopes};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++)
        free(all[n]);
}

/* Rows first .. first + rows of q on `keys` keys: the last row sees the last key. */
static attn_params call_of(const layer *l, int first, int rows, int keys)
{
    const model *m = l->m;
    attn_params p;
    memset(&p, 0, sizeof p);
    p.struct_size = sizeof p;
    p.device = l->device;
    p.batch = 1;
    p.heads_q = m->heads_q;
    p.heads_k = m->heads_k;
    p.head_dim = m->dim;
    p.head_dim_v = m->dim_v;
    p.seq_q = rows;
    p.seq_k = keys;
    p.q.dtype = p.k.dtype = p.v.dtype = l->dtype;
    p.q.data = (char *)l->q + (int64_t)first * m->heads_q * m->dim * oracle_size(l->dtype);
    p.k.data = l->k;
    p.v.data = l->v;
    p.o.data = l->o;
    p.o.dtype = ATTN_F32;
    p.lse = l->lse;
    p.softcap = m->softcap;
    p.causal = m->causal ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    p.chunk = m->chunk;
    if (m->window) {
        p.window = 1;
        p.window_left = m->window - 1;
        p.window_right = m->causal ? 0 : m->window - 1;
    }
    if (m->sink_logits)
        p.sink_logits = l->sinks;
    if (m->alibi)
        p.alibi_slopes = l->slopes;
    return p;
}

/* ---- one row of the table ---------------------------------------------------------------------- */

/* Relative Frobenius distance of the output from the model's own. */
static double from_model(const attn_params *p, int first)
{
    const int64_t count = (int64_t)p->seq_q * p->heads_q * p->head_dim_v;
    double error = 0, size = 0;
    for (int64_t n = 0; n < count; n++) {
        const double want = oracle_load(real[3].dtype, real[3].data, (int64_t)first * p->heads_q * p->head_dim_v + n);
        const double got = ((const float *)p->o.data)[n];
        error += (got - want) * (got - want);
        size += want * want;
    }
    return sqrt(error / size);
}

static void one(const layer *l, const char *name, int first, int rows, int keys, int threads)
{
    char text[400];
    attn_info info;
    bench_check check;
    oracle_verdict verdict;
    bench_row row = {.shape = name};
    bench_job job = {.p = call_of(l, first, rows, keys), .copies = 1};
    job.p.threads = threads;
    if (attn_query(&job.p, &info) != ATTN_OK) {
        printf("%-24s refused: %s\n", name, info.text);
        failures++;
        return;
    }
    job.instance = row.instance = info.instance;
    /* Cores do some 8 operations in the time that memory takes for a byte, tensor cores over 100. */
    job.roof = job_intensity(&job) > (info.instance->arch > ATTN_ARCH_SIMT ? 100 : 8) ? ROOF_FMA : ROOF_READ;
    report_busy("checking", &row);
    if (check_make(&check, &job.p))
        fail("no memory for the exact answer", "");
    attn_status status = job_run(&job, text, sizeof text);
    int right = status == ATTN_OK && check_judge(&check, &verdict);
    if (!right) {
        printf("%-24s WRONG: %s\n", name, status == ATTN_OK ? verdict.text : text);
        failures++;
    }
    check_free(&check);
    row.error = verdict.frobenius;
    row.against = "float64, some rows";
    if (right && has_real(l->m)) {
        /* The model's output is exact for f32 inputs: judged.  For bf16 it also shows what rounding q, k, v costs. */
        static char against[80];
        const double model_error = from_model(&job.p, first);
        if (l->dtype == ATTN_F32 || l->dtype == ATTN_F16) {
            const double bar = l->dtype == ATTN_F32 ? 1e-5 : 1e-3;
            snprintf(against, sizeof against, "model's output");
            row.error = model_error;
            if (!(model_error <= bar)) {
                printf("%-24s WRONG: %.1e from the model's own output, must be <= %.0e\n", name, model_error, bar);
                failures++;
            }
        } else
            snprintf(against, sizeof against, "float64; %.1e from model's output", model_error);
        row.against = against;
    }
    /* Every layer has its own K and V, so a decode step finds them in no cache. */
    if (rows == 1) {
        const size_t size = (size_t)oracle_size(l->dtype) * (size_t)keys * (size_t)l->m->heads_k;
        job_make_cold(&job, size * (size_t)l->m->dim, size * (size_t)l->m->dim_v);
    }
    report_busy("timing", &row);
    if (status == ATTN_OK) {
        job_measure(&job, seconds, &row);
        report_row(stdout, &row);
        if (tsv)
            report_tsv(tsv, &row);
    }
}

/* All rows of one type on one device.  0, and info->text says why not, if no instance there serves the type; what it
 * said of another device is told, too. */
static int type_on(const model *m, int dtype, int device, attn_info *info)
{
    char prefill[40], chunk[40], decode[40], where[200] = "CPU", why[sizeof info->text];
    const int cuda = device == ATTN_DEVICE_CUDA, cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    memcpy(why, info->text, sizeof why);
    layer l = layer_make(m, dtype, device);
    attn_params p = call_of(&l, 0, l.rows, l.rows);
    const int serves = attn_query(&p, info) == ATTN_OK;
    if (serves) {
        const int few = l.rows < 64 ? l.rows : 64;
        if (cuda)
            cuda_describe(where, sizeof where);
        printf("%s: on the %s, by %s%s%s\n", bench_dtype(dtype), where, info->instance->name,
               *why ? "; no GPU: " : "", why);
        snprintf(prefill, sizeof prefill, "prefill %d", l.rows);
        snprintf(chunk, sizeof chunk, "prefill %d on %d", few, l.cache);
        snprintf(decode, sizeof decode, "decode 1 on %d, cold", l.cache);
        for (int threads = cuda ? 0 : 1;; threads = cores) {
            one(&l, prefill, 0, l.rows, l.rows, threads);
            one(&l, chunk, l.rows - few, few, l.cache, threads);
            one(&l, decode, l.rows - 1, 1, l.cache, threads);
            if (cuda || threads >= cores)
                break;
        }
    }
    layer_free(&l);
    return serves;
}

static void all_of(const model *m)
{
    static const int dtypes[] = {ATTN_BF16, ATTN_F16, ATTN_F32};
    printf("\n%s (%s): %d query heads, %d KV heads, head_dim %d", m->key, m->name, m->heads_q, m->heads_k, m->dim);
    if (m->dim_v != m->dim)
        printf("/%d", m->dim_v);
    printf("%s", m->causal ? ", causal" : "");
    if (m->window)
        printf(", window of %d keys", m->window);
    if (m->chunk)
        printf(", chunks of %d", m->chunk);
    if (m->softcap > 0)
        printf(", softcap %g", (double)m->softcap);
    printf("%s%s\n", m->sink_logits ? ", sink logits" : "", m->alibi ? ", ALiBi" : "");
    puts(has_real(m) ? "inputs: Q, K, V of a layer of SmolLM2-135M, 1024 tokens (data/); checked against its own output"
                     : "inputs: random, as no data of this model is here; checked against float64 on some rows");
    report_head(stdout);
    int any = 0;
    for (int d = 0; d < 3; d++) {
        attn_info info = {.text = ""};
        any |= type_on(m, dtypes[d], ATTN_DEVICE_CUDA, &info) || type_on(m, dtypes[d], ATTN_DEVICE_CPU, &info);
    }
    if (!any) {
        puts("refused: the archive has no instance for this shape");
        failures++;
    }
}

int main(int argc, char **argv)
{
    model m;
    int found = 0;
    if (argc < 3 || argc % 2 == 0)
        fail("usage: attn-demo MODELS KEY [--tsv FILE] [--seconds S]", "");
    for (int n = 3; n < argc; n += 2) {
        if (!strcmp(argv[n], "--seconds"))
            seconds = atof(argv[n + 1]);
        else if (strcmp(argv[n], "--tsv"))
            fail("unknown option ", argv[n]);
        else if (!(tsv = fopen(argv[n + 1], "w")))
            fail("cannot write ", argv[n + 1]);
    }
    FILE *file = fopen(argv[1], "r");
    if (!file)
        fail("cannot read ", argv[1]);
    report_machine(stdout);
    if (tsv)
        report_tsv_head(tsv);
    for (int exact = 1; exact >= 0 && !found; exact--) {
        rewind(file);
        for (; next_model(file, argv[2], exact, &m); found++)
            all_of(&m);
    }
    fclose(file);
    if (!found)
        fail("no such model: ", argv[2]);
    for (int n = 0; n < 4; n++)
        npy_free(&real[n]);
    report_foot(stdout);
    printf("\n%s\n", failures ? "FAILED: see WRONG or refused above" : "all results are right");
    return failures != 0;
}
