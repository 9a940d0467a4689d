/* measure.c - one attention call: is it right, how long does it take, what could it have been. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <attn/device/mask.h>
#include "bench.h"

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *bench_alloc(size_t bytes)
{
    void *data = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!data) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return data;
}

/* The sum of 12 uniform numbers is near enough to normal, and quick. */
void bench_fill(void *data, int dtype, int64_t count, uint64_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (int64_t n = 0; n < count; n++) {
        int sum = 0;
        for (int k = 0; k < 3; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            for (int part = 0; part < 4; part++)
                sum += (int)(state >> (12 * part + 12) & 0xfff);
        }
        float x = (float)(sum - 6 * 0xfff) / 4096.0f;
        if (dtype == ATTN_F32)
            ((float *)data)[n] = x;
        else
            ((uint16_t *)data)[n] = dtype == ATTN_F16 ? attn__f32_to_f16(x) : attn__f32_to_bf16(x);
    }
}

/* ---- is it right ------------------------------------------------------------------------------- */

/* `rows` rows from `first` as a call of their own: bottom-right alignment gives them the same keys. */
static attn_params rows_of(const attn_params *p, int first, int rows)
{
    attn_params part = *p;
    const int64_t q_row = p->q.stride[1] ? p->q.stride[1] : (int64_t)p->heads_q * p->head_dim;
    const int64_t o_row =
        p->o.stride[1] ? p->o.stride[1] : (int64_t)p->heads_q * (p->head_dim_v ? p->head_dim_v : p->head_dim);
    part.q.data = (char *)p->q.data + first * q_row * oracle_size(p->q.dtype);
    part.o.data = (char *)p->o.data + first * o_row * oracle_size(p->o.dtype);
    if (p->lse) {
        part.lse = p->lse + first;
        part.lse_stride[0] = (int64_t)p->heads_q * p->seq_q;
        part.lse_stride[1] = p->seq_q;
    }
    part.seq_q = rows;
    if (p->causal)
        part.seq_k = p->seq_k - (p->seq_q - first - rows);
    return part;
}

int check_make(bench_check *check, const attn_params *p)
{
    const int rows = p->seq_q < 2 ? p->seq_q : 2, last = p->seq_q - rows;
    const int start[CHECK_RANGES] = {last, last / 2, 0};
    /* Other rows than the last would stand elsewhere without causal alignment, which matters to what depends
     * on positions. */
    const int any = p->causal || !(p->window || p->chunk || p->alibi_slopes);
    check->count = 0;
    for (int n = 0; n < (any && last > 2 ? CHECK_RANGES : 1); n++) {
        check->p[n] = rows_of(p, start[n], rows);
        if (oracle_forward(&check->p[n], NULL, &check->answer[n]))
            return -1;
        check->count++;
    }
    return 0;
}

int check_judge(bench_check *check, oracle_verdict *worst)
{
    memset(worst, 0, sizeof *worst);
    for (int n = 0; n < check->count; n++) {
        oracle_verdict v;
        if (!oracle_judge(&check->p[n], &check->answer[n], &v) && !worst->text[0])
            memcpy(worst->text, v.text, sizeof worst->text);
        worst->frobenius = fmax(worst->frobenius, v.frobenius);
        worst->max_abs = fmax(worst->max_abs, v.max_abs);
        worst->lse = fmax(worst->lse, v.lse);
    }
    return !worst->text[0];
}

void check_free(bench_check *check)
{
    for (int n = 0; n < check->count; n++)
        oracle_free(&check->answer[n]);
    check->count = 0;
}

/* ---- how long does it take --------------------------------------------------------------------- */

int job_make_cold(bench_job *job, size_t k_bytes, size_t v_bytes)
{
    size_t bytes;
    char *pool = roof_pool(&bytes);
    k_bytes = (k_bytes + 4095) / 4096 * 4096;
    v_bytes = (v_bytes + 4095) / 4096 * 4096;
    const size_t copies = bytes / (k_bytes + v_bytes);
    if (!pool || copies < 2)
        return -1;
    for (size_t n = 0; n < copies; n++) {
        memcpy(pool + n * (k_bytes + v_bytes), job->p.k.data, k_bytes);
        memcpy(pool + n * (k_bytes + v_bytes) + k_bytes, job->p.v.data, v_bytes);
    }
    job->p.k.data = pool;
    job->p.v.data = pool + k_bytes;
    job->copies = (int)copies;
    job->copy_bytes = (int64_t)(k_bytes + v_bytes);
    return 0;
}

/* What a call must compute and read. */
static void work_of(const attn_params *p, double *flops, double *bytes)
{
    const int dim_v = p->head_dim_v ? p->head_dim_v : p->head_dim;
    const attn__mask mask = attn__mask_make(p->seq_q, p->seq_k, p->causal, p->window, p->window_left, p->window_right,
                                            p->chunk, p->sink_tokens);
    double pairs = 0;
    int32_t low = p->seq_k, high = 0;
    for (int32_t i = 0; i < p->seq_q; i++) {
        const attn__keys keys = attn__mask_row(&mask, i);
        pairs += keys.hi - keys.lo + (keys.sink_hi - keys.sink_lo);
        low = keys.lo < low ? keys.lo : low;
        high = keys.hi > high ? keys.hi : high;
    }
    *flops = 2.0 * (p->head_dim + dim_v) * pairs * p->heads_q * p->batch;
    *bytes = (double)(high > low ? high - low : 0) * (p->head_dim + dim_v) * p->heads_k * p->batch *
             (double)oracle_size(p->k.dtype ? p->k.dtype : p->q.dtype);
}

double job_intensity(const bench_job *job)
{
    double flops, bytes;
    work_of(&job->p, &flops, &bytes);
    return bytes > 0 ? flops / bytes : 0;
}

int bench_by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of processor time since the start that other processes took, or -1. */
static double others_busy(void)
{
    struct timespec own;
    unsigned long long t[8] = {0};
    FILE *file = fopen("/proc/stat", "r");
    if (!file)
        return -1;
    /* user nice system idle iowait irq softirq steal */
    const int read = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4],
                            &t[5], &t[6], &t[7]);
    fclose(file);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    const double ticks = (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]);
    return read == 8 ? ticks / (double)sysconf(_SC_CLK_TCK) - ((double)own.tv_sec + 1e-9 * (double)own.tv_nsec) : -1;
}

/* The call with its workspace. */
static attn_status prepare(const bench_job *job, void **workspace, attn_info *info)
{
    attn_status status = attn_run_query(job->instance, &job->p, info);
    *workspace = status == ATTN_OK && info->workspace ? bench_alloc(info->workspace) : NULL;
    return status;
}

attn_status job_run(const bench_job *job, char *text, size_t size)
{
    attn_info info;
    void *workspace;
    if (job->instance->device)
        return cuda_run(job, text, size);
    attn_status status = prepare(job, &workspace, &info);
    if (status == ATTN_OK)
        status = attn_run(job->instance, &job->p, workspace, info.workspace, NULL);
    if (status != ATTN_OK)
        snprintf(text, size, "%s: %s", attn_run_status_name(status), info.text);
    free(workspace);
    return status;
}

attn_status job_measure(const bench_job *job, double seconds, bench_row *row)
{
    enum { MOST = 4000, LEAST = 5 };
    static double times[MOST];
    attn_info info;
    void *workspace;
    attn_params p = job->p;
    row->instance = job->instance;
    row->roof = job->roof;
    row->threads = p.threads;
    row->copies = job->copies;
    row->calls = row->roof_samples = 0;
    row->roof_rate = 0;
    work_of(&p, &row->flops, &row->bytes);
    row->others = -1;
    if (job->instance->device)
        return cuda_measure(job, seconds, row);

    attn_status status = prepare(job, &workspace, &info);
    const double start = bench_now(), busy = others_busy();
    double sampled = 0;
    for (int n = -2; status == ATTN_OK && n < MOST; n++) { /* the first two are not counted */
        const double now = bench_now();
        if (n >= LEAST && now - start > seconds)
            break;
        if (n < 0 || now - sampled > 0.08 * (job->roof == ROOF_READ ? 5 : 1)) {
            const double rate = roof_sample(job->roof, job->instance->arch, p.threads, row->roof_samples++);
            row->roof_rate = rate > row->roof_rate ? rate : row->roof_rate;
            sampled = bench_now();
        }
        if (job->copies > 1) {
            const int64_t at = (n + 2) % job->copies * job->copy_bytes;
            p.k.data = (char *)job->p.k.data + at;
            p.v.data = (char *)job->p.v.data + at;
        }
        const double before = bench_now();
        status = attn_run(job->instance, &p, workspace, info.workspace, NULL);
        if (n >= 0)
            times[row->calls++] = bench_now() - before;
    }
    const double busy_end = others_busy();
    row->others = busy < 0 || busy_end < 0 ? -1 : (busy_end - busy) / (bench_now() - start);
    free(workspace);
    if (row->calls) {
        qsort(times, (size_t)row->calls, sizeof *times, bench_by_value);
        row->best = times[0];
        row->seconds = times[row->calls / 2];
    }
    return status;
}

double row_rate(const bench_row *row)
{
    return (row->roof == ROOF_FMA ? row->flops : row->bytes) / row->seconds;
}

double row_share(const bench_row *row)
{
    return row->roof_rate > 0 ? row_rate(row) / row->roof_rate : 0;
}
