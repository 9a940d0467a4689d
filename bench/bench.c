/* bench.c - times every instance of the archive that this machine can execute on the shapes of shapes.def.
 *
 *     bench [--device cpu|cuda] [--filter TEXT] [--threads 1,2] [--quick] [--list] [--tsv FILE] [--json FILE]
 *
 * Each result is checked before it is timed; a wrong one is an error.  A row's name, which --filter looks into, is
 * `shape type arch tTHREADS`, such as `prefill d128 full f32 avx2 t1`; on a GPU there are no threads. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bench.h"

typedef struct shape {
    const char *name;
    int heads_q, heads_k, seq_q, seq_k, dim, causal, roof, cold;
} shape;

static const shape shapes[] = {
#define SHAPE(name, heads_q, heads_k, seq_q, seq_k, dim, causal, roof, cold) \
    {name, heads_q, heads_k, seq_q, seq_k, dim, causal, ROOF_##roof, cold},
#include "shapes.def"
};

enum { THREADS = 8 };

static struct {
    const char *filter;
    int threads[THREADS], thread_count;
    int device, list;
    double seconds;
    FILE *tsv, *json;
} option = {NULL, {1}, 1, ATTN_DEVICE_CPU, 0, 1.5, NULL, NULL};

static void usage(const char *problem, const char *text)
{
    fprintf(stderr,
            "bench: %s%s\nusage: bench [--device cpu|cuda] [--filter TEXT] [--threads 1,2] [--quick] [--list] "
            "[--tsv FILE] [--json FILE]\n",
            problem, text);
    exit(2);
}

static FILE *open_or_exit(const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        usage("cannot write ", path);
    return file;
}

static void parse(int argc, char **argv)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores > 1)
        option.threads[option.thread_count++] = (int)cores;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(name, "--list")) {
            option.list = 1;
            continue;
        }
        if (!strcmp(name, "--quick")) {
            option.seconds = 0.2;
            continue;
        }
        if (!value)
            usage("unknown option, or nothing after it: ", name);
        i++;
        if (!strcmp(name, "--filter"))
            option.filter = value;
        else if (!strcmp(name, "--tsv"))
            option.tsv = open_or_exit(value);
        else if (!strcmp(name, "--json"))
            option.json = open_or_exit(value);
        else if (!strcmp(name, "--device")) {
            if (strcmp(value, "cpu") && strcmp(value, "cuda"))
                usage("--device wants cpu or cuda: ", value);
            option.device = strcmp(value, "cpu") ? ATTN_DEVICE_CUDA : ATTN_DEVICE_CPU;
        } else if (!strcmp(name, "--threads")) {
            char *end = NULL;
            for (option.thread_count = 0; option.thread_count < THREADS; value = end + 1) {
                long n = strtol(value, &end, 10);
                if (n < 1 || n > 1024 || (*end && *end != ','))
                    usage("--threads wants numbers and commas: ", value);
                option.threads[option.thread_count++] = (int)n;
                if (!*end)
                    break;
            }
        } else
            usage("unknown option ", name);
    }
    if (option.device == ATTN_DEVICE_CUDA) {
        option.threads[0] = 0;
        option.thread_count = 1;
    }
}

static int wanted(const shape *s, const attn_instance *instance, int threads)
{
    char name[200], count[16] = "";
    if (threads)
        snprintf(count, sizeof count, " t%d", threads);
    snprintf(name, sizeof name, "%s %s %s%s", s->name, bench_dtype(instance->dtype), bench_arch(instance), count);
    if (option.filter && !strstr(name, option.filter))
        return 0;
    if (option.list)
        puts(name);
    return !option.list;
}

/* Whether the instance serves the shape on this machine; then p is the call without memory. */
static int serves(const shape *s, const attn_instance *instance, attn_params *p)
{
    static float somewhere[1];
    attn_info info;
    memset(p, 0, sizeof *p);
    p->struct_size = sizeof *p;
    p->device = option.device;
    p->batch = 1;
    p->heads_q = s->heads_q;
    p->heads_k = s->heads_k;
    p->seq_q = s->seq_q;
    p->seq_k = s->seq_k;
    p->head_dim = p->head_dim_v = s->dim;
    p->causal = s->causal ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    attn_tensor *tensor[] = {&p->q, &p->k, &p->v, &p->o};
    for (int n = 0; n < 4; n++) { /* [batch, head, token, dim] */
        const int heads = n == 1 || n == 2 ? s->heads_k : s->heads_q, tokens = n == 1 || n == 2 ? s->seq_k : s->seq_q;
        tensor[n]->data = somewhere;
        tensor[n]->dtype = n == 1 || n == 2 ? instance->kv_dtype : instance->dtype;
        tensor[n]->stride[3] = 1;
        tensor[n]->stride[1] = s->dim;
        tensor[n]->stride[2] = (int64_t)tokens * s->dim;
        tensor[n]->stride[0] = (int64_t)heads * tokens * s->dim;
    }
    return !instance->user && attn_run_query(instance, p, &info) == ATTN_OK;
}

static size_t bytes_of(const attn_tensor *t)
{
    return (size_t)(t->stride[0] * oracle_size(t->dtype));
}

/* All thread counts of one instance.  Returns 0 if its results are right. */
static int time_instance(const shape *s, const attn_instance *instance, bench_job *job, bench_check *check)
{
    char text[400];
    bench_row row = {.shape = s->name, .instance = instance};
    for (int t = 0; t < option.thread_count; t++) {
        if (!wanted(s, instance, option.threads[t]))
            continue;
        oracle_verdict verdict;
        report_busy("checking", &row);
        if (!check->count && check_make(check, &job->p))
            return fprintf(stderr, "no memory for the exact answer\n"), 1;
        job->instance = instance;
        job->p.threads = option.threads[t];
        if (job_run(job, text, sizeof text) != ATTN_OK) {
            fprintf(stderr, "%s, %s: %s\n", s->name, instance->name, text);
            return 1;
        }
        if (!check_judge(check, &verdict)) {
            fprintf(stderr, "%s, %s: %s\n", s->name, instance->name, verdict.text);
            return 1;
        }
        report_busy("timing", &row);
        job_measure(job, option.seconds, &row);
        row.error = verdict.frobenius;
        row.against = "float64";
        report_row(stdout, &row);
        if (option.tsv)
            report_tsv(option.tsv, &row);
        if (option.json)
            report_json(option.json, &row);
    }
    return 0;
}

/* All instances of one type: they share the inputs and the exact answer. */
static int time_type(const shape *s, const attn_instance *const *list, size_t count, const attn_instance *first)
{
    bench_job job = {.instance = first, .roof = s->roof, .copies = 1};
    bench_check check = {.count = 0};
    int wrong = 0, made = 0;
    void *memory[4] = {NULL};
    for (size_t n = 0; n < count; n++) {
        attn_params p;
        if (list[n]->dtype != first->dtype || list[n]->kv_dtype != first->kv_dtype || !serves(s, list[n], &p))
            continue;
        int any = 0;
        for (int t = 0; t < option.thread_count; t++)
            any |= wanted(s, list[n], option.threads[t]);
        if (any && !made) {
            attn_tensor *tensor[] = {&p.q, &p.k, &p.v, &p.o};
            for (int m = 0; m < 4; m++) {
                memory[m] = tensor[m]->data = bench_alloc(bytes_of(tensor[m]) + 4096); /* whole pages are copied */
                if (m < 3)
                    bench_fill(tensor[m]->data, tensor[m]->dtype, tensor[m]->stride[0], (uint64_t)m + 1);
            }
            p.lse = NULL;
            job.p = p;
            made = 1;
            if (s->cold && job_make_cold(&job, bytes_of(&p.k), bytes_of(&p.v))) {
                printf("%s %s: left out, not enough memory for cold copies\n", s->name, bench_dtype(first->dtype));
                break;
            }
        }
        if (any)
            wrong |= time_instance(s, list[n], &job, &check);
    }
    check_free(&check);
    for (int m = 0; m < 4; m++)
        free(memory[m]);
    return wrong;
}

int main(int argc, char **argv)
{
    size_t count;
    const attn_instance *const *list = attn_instances(&count);
    int wrong = 0;
    parse(argc, argv);
    char gpu[200];
    if (option.device == ATTN_DEVICE_CUDA && !cuda_describe(gpu, sizeof gpu)) {
        fputs("bench: there is no CUDA device, or no CUDA in this archive\n", stderr);
        return 1;
    }
    if (!option.list) {
        report_machine(stdout);
        report_head(stdout);
    }
    if (option.tsv)
        report_tsv_head(option.tsv);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t n = 0; n < count; n++) {
            size_t m = 0; /* the first of its type stands for all of them */
            while (list[m]->dtype != list[n]->dtype || list[m]->kv_dtype != list[n]->kv_dtype)
                m++;
            if (m == n)
                wrong |= time_type(&shapes[s], list, count, list[n]);
        }
    if (!option.list) {
        report_foot(stdout);
        puts("Where nothing is above, no instance of this archive serves these shapes.  A warm decode may pass 100%.");
    }
    return wrong;
}
