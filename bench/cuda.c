/* cuda.c - the calls of measure.c on a GPU: copied there, executed and timed there, the output copied back.
 *
 * Calls are timed by events around a CUDA graph of many of them, so that what a launch costs the host is no part of
 * it: a server replays its decode steps likewise.  Where no graph can be made they are launched one by one.
 * TESTS_CUDA is 1 if the archive has instances of CUDA, as in tests/gpu.c, which does the copying. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include "bench.h"
#include "gpu.h"

#ifndef TESTS_CUDA
#define TESTS_CUDA 0
#endif
#if TESTS_CUDA
#include <cuda_runtime_api.h>

enum { MOST = 2000, LEAST = 5, GROUP = 1024 };

#define WARM_SECONDS  0.2  /* of calls before the first that counts: clocks rise */
#define GROUP_SECONDS 2e-3 /* a group of calls takes no less: events tell half a microsecond */
#define COLD_SECONDS  0.1  /* nor more, even if it has not come to all cold copies */

/* What a job needs on the device while it is timed. */
typedef struct timing {
    const bench_job *job;
    gpu_call call;
    char *workspace, *cold;
    size_t workspace_bytes;
    cudaStream_t stream;
    cudaEvent_t begin, end;
    cudaGraphExec_t graph; /* of `group` calls; NULL = launched one by one */
    int group;
    attn_status status; /* of the first call that failed */
} timing;

static int fine(cudaError_t e)
{
    return e == cudaSuccess;
}

static void enqueue(timing *t)
{
    for (int n = 0; n < t->group; n++) {
        attn_params p = t->call.p;
        if (t->cold) {
            p.k.data = t->cold + n % t->job->copies * t->job->copy_bytes;
            p.v.data = (char *)p.k.data + ((char *)t->job->p.v.data - (char *)t->job->p.k.data);
        }
        attn_status status = attn_run(t->job->instance, &p, t->workspace, t->workspace_bytes, (void *)t->stream);
        if (status != ATTN_OK && t->status == ATTN_OK)
            t->status = status;
    }
}

/* Calls of about so many seconds, of which one takes `one`; GROUP at most. */
static int calls_in(double seconds, double one)
{
    return one * GROUP > seconds ? (int)(seconds / one) + 1 : GROUP;
}

/* Seconds of one call, on average over a group; 0 after a failure. */
static double group_seconds(timing *t)
{
    float ms = 0;
    int good = fine(cudaEventRecord(t->begin, t->stream));
    if (t->graph)
        good = good && fine(cudaGraphLaunch(t->graph, t->stream));
    else
        enqueue(t);
    good = good && fine(cudaEventRecord(t->end, t->stream)) && fine(cudaEventSynchronize(t->end)) &&
           fine(cudaEventElapsedTime(&ms, t->begin, t->end));
    if (!good && t->status == ATTN_OK)
        t->status = ATTN_ERR_CUDA;
    return t->status == ATTN_OK ? 1e-3 * (double)ms / t->group : 0;
}

static void make_graph(timing *t)
{
    cudaGraph_t graph = NULL;
    if (!fine(cudaStreamBeginCapture(t->stream, cudaStreamCaptureModeThreadLocal)))
        return;
    enqueue(t);
    if (!fine(cudaStreamEndCapture(t->stream, &graph)) || t->status != ATTN_OK ||
        !fine(cudaGraphInstantiateWithFlags(&t->graph, graph, 0))) {
        t->graph = NULL;
        t->status = ATTN_OK;
        cudaGetLastError(); /* else the next call would find it */
    }
    if (graph)
        cudaGraphDestroy(graph);
}

/* Bytes a second that a copy within the device's memory reads and writes; 0 if there is no room for it. */
static double copy_rate(timing *t)
{
    enum { TIMES = 4 };
    static const size_t half = (size_t)256 << 20;
    static char *memory;
    float ms = 0;
    if (!memory && (!fine(cudaMalloc((void **)&memory, 2 * half)) || !fine(cudaMemset(memory, 0, 2 * half)))) {
        cudaGetLastError();
        return 0;
    }
    int good = fine(cudaEventRecord(t->begin, t->stream));
    for (int n = 0; n < TIMES; n++)
        good = good && fine(cudaMemcpyAsync(memory + half, memory, half, cudaMemcpyDeviceToDevice, t->stream));
    good = good && fine(cudaEventRecord(t->end, t->stream)) && fine(cudaEventSynchronize(t->end)) &&
           fine(cudaEventElapsedTime(&ms, t->begin, t->end));
    return good && ms > 0 ? 2.0 * TIMES * (double)half / (1e-3 * (double)ms) : 0;
}

static void measure(timing *t, double seconds, bench_row *row)
{
    static double times[MOST];
    const bench_job *job = t->job;
    t->group = 1;
    group_seconds(t); /* the first loads the kernel */
    double one = group_seconds(t);
    const double warm = bench_now();
    while (t->status == ATTN_OK && bench_now() - warm < WARM_SECONDS)
        one = group_seconds(t);
    if (t->status != ATTN_OK)
        return;
    t->group = calls_in(GROUP_SECONDS, one);
    if (job->copies > t->group) {
        const int most = calls_in(COLD_SECONDS, one);
        t->group = job->copies < most ? job->copies : most;
    }
    make_graph(t);
    group_seconds(t);
    const double start = bench_now();
    double sampled = 0;
    for (int n = 0; t->status == ATTN_OK && n < MOST && (n < LEAST || bench_now() - start < seconds); n++) {
        if (job->roof == ROOF_READ && bench_now() - sampled > 0.2) {
            const double rate = copy_rate(t);
            row->roof_rate = rate > row->roof_rate ? rate : row->roof_rate;
            row->roof_samples++;
            sampled = bench_now();
        }
        times[n] = group_seconds(t);
        row->calls = n + 1;
    }
    if (t->status != ATTN_OK || !row->calls)
        return;
    qsort(times, (size_t)row->calls, sizeof *times, bench_by_value);
    row->best = times[0];
    row->seconds = times[row->calls / 2];
    row->calls *= t->group;
}

int cuda_describe(char *text, size_t size)
{
    struct cudaDeviceProp device;
    int number, version = 0;
    if (!fine(cudaGetDevice(&number)) || !fine(cudaGetDeviceProperties(&device, number))) {
        cudaGetLastError();
        return 0;
    }
    cudaRuntimeGetVersion(&version);
    snprintf(text, size, "%s, %d multiprocessors, compute capability %d.%d, CUDA %d.%d", device.name,
             device.multiProcessorCount, device.major, device.minor, version / 1000, version / 10 % 100);
    return 1;
}

attn_status cuda_run(const bench_job *job, char *text, size_t size)
{
    gpu_call call;
    attn_info info;
    attn_status status = attn_run_query(job->instance, &job->p, &info);
    if (status != ATTN_OK) {
        snprintf(text, size, "%s", info.text);
        return status;
    }
    snprintf(text, size, "the call could not be copied to the device");
    status = gpu_open(&job->p, &call) ? ATTN_ERR_CUDA : gpu_run(&call, job->instance, info.workspace, text, size);
    return gpu_close(&call, text, size) || status != ATTN_OK ? status : ATTN_ERR_CUDA;
}

attn_status cuda_measure(const bench_job *job, double seconds, bench_row *row)
{
    char text[200];
    attn_info info;
    timing t;
    memset(&t, 0, sizeof t);
    t.job = job;
    t.status = attn_run_query(job->instance, &job->p, &info);
    if (t.status != ATTN_OK)
        return t.status;
    t.workspace_bytes = info.workspace;
    int good = !gpu_open(&job->p, &t.call) && fine(cudaStreamCreateWithFlags(&t.stream, cudaStreamNonBlocking)) &&
               fine(cudaEventCreate(&t.begin)) && fine(cudaEventCreate(&t.end));
    good = good && (!info.workspace || fine(cudaMalloc((void **)&t.workspace, info.workspace)));
    if (good && job->copies > 1) {
        const size_t bytes = (size_t)job->copies * (size_t)job->copy_bytes;
        good = fine(cudaMalloc((void **)&t.cold, bytes)) &&
               fine(cudaMemcpy(t.cold, job->p.k.data, bytes, cudaMemcpyHostToDevice));
    }
    if (good)
        measure(&t, seconds, row);
    else
        t.status = ATTN_ERR_CUDA;
    if (t.graph)
        cudaGraphExecDestroy(t.graph);
    if (t.begin)
        cudaEventDestroy(t.begin);
    if (t.end)
        cudaEventDestroy(t.end);
    if (t.stream)
        cudaStreamDestroy(t.stream);
    cudaFree(t.workspace);
    cudaFree(t.cold);
    gpu_close(&t.call, text, sizeof text);
    return t.status;
}

#else /* no instance of CUDA is ever asked for */

int cuda_describe(char *text, size_t size)
{
    (void)text, (void)size;
    return 0;
}

attn_status cuda_run(const bench_job *job, char *text, size_t size)
{
    (void)job;
    snprintf(text, size, "built without CUDA");
    return ATTN_ERR_CUDA;
}

attn_status cuda_measure(const bench_job *job, double seconds, bench_row *row)
{
    (void)job, (void)seconds, (void)row;
    return ATTN_ERR_CUDA;
}
#endif
