/* gpu.c - see gpu.h. */
#define _DEFAULT_SOURCE
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <attn/run.h>
#include "cases.h"
#include "header_instances.h"
#include "oracle.h"

#ifndef TESTS_CUDA
#define TESTS_CUDA 0
#endif
#if TESTS_CUDA
#include <cuda_runtime_api.h>
#endif

int gpu_emulated = 0;

enum { PLACE = 256, GUARD = 256, PATTERN = 0x5a };

/* ---- memory of the device ----------------------------------------------------------------------- */

/* The text of the first error of a call. */
static char problem[200];

#if TESTS_CUDA
static cudaStream_t stream;

static int fine(cudaError_t e)
{
    if (e != cudaSuccess && !problem[0])
        snprintf(problem, sizeof problem, "%s", cudaGetErrorString(e));
    return e == cudaSuccess;
}
#else
static void *const stream = NULL;
#endif

/* 0: there is no device that could run a call. */
static int start(void)
{
    problem[0] = 0;
#if TESTS_CUDA
    if (!gpu_emulated)
        return stream || fine(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
#else
    if (!gpu_emulated)
        snprintf(problem, sizeof problem, "built without CUDA");
#endif
    return gpu_emulated;
}

static int copy(void *to, const void *from, size_t bytes)
{
#if TESTS_CUDA
    if (!gpu_emulated)
        return fine(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream)) && fine(cudaStreamSynchronize(stream));
#endif
    memcpy(to, from, bytes);
    return 1;
}

static int set(void *to, int value, size_t bytes)
{
#if TESTS_CUDA
    if (!gpu_emulated)
        return fine(cudaMemsetAsync(to, value, bytes, stream));
#endif
    memset(to, value, bytes);
    return 1;
}

/* From a multiple of PLACE. */
static char *take(size_t bytes)
{
    void *p = NULL;
#if TESTS_CUDA
    if (!gpu_emulated)
        return fine(cudaMalloc(&p, bytes)) ? p : NULL;
#endif
    return posix_memalign(&p, PLACE, bytes) ? NULL : p;
}

static void drop(void *p)
{
#if TESTS_CUDA
    if (!gpu_emulated) {
        fine(cudaFree(p));
        return;
    }
#endif
    free(p);
}

static int is_devices(const void *p)
{
#if TESTS_CUDA
    struct cudaPointerAttributes a;
    if (!gpu_emulated && fine(cudaPointerGetAttributes(&a, p)))
        return a.type == cudaMemoryTypeDevice || a.type == cudaMemoryTypeManaged;
#endif
    (void)p;
    return 0;
}

/* The status of a launch, once it is over. */
static attn_status finish(attn_status status)
{
#if TESTS_CUDA
    if (!gpu_emulated && status == ATTN_ERR_CUDA)
        fine(cudaGetLastError());
    if (!gpu_emulated && !fine(cudaStreamSynchronize(stream)))
        return ATTN_ERR_CUDA;
#endif
    return status;
}

void *gpu_map(size_t bytes, int device)
{
    void *p = NULL;
#if TESTS_CUDA
    if (device && !gpu_emulated)
        return cudaMallocManaged(&p, bytes, cudaMemAttachGlobal) == cudaSuccess ? p : NULL;
#endif
    (void)device;
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void gpu_unmap(void *data, size_t bytes, int device)
{
#if TESTS_CUDA
    if (device && !gpu_emulated) {
        cudaFree(data);
        return;
    }
#endif
    (void)device;
    munmap(data, bytes);
}

int gpu_wait(void)
{
    problem[0] = 0;
#if TESTS_CUDA
    return gpu_emulated || fine(cudaDeviceSynchronize());
#else
    return 1;
#endif
}

const char *gpu_reason(void)
{
    return problem;
}

/* ---- what a call spans -------------------------------------------------------------------------- */

/* Bytes from `low` to `high` around a field's pointer. */
typedef struct span {
    const char *name;
    void **field;
    int64_t low, high;
    int output;
} span;

static int64_t most(const int32_t *n, int64_t count)
{
    int64_t m = 0;
    for (int64_t i = 0; n && i < count; i++)
        m = n[i] > m ? n[i] : m;
    return m;
}

/* One more than the highest page in use. */
static int64_t pages_in_use(const attn_params *p)
{
    int64_t pages = 0;
    for (int b = 0; b < p->batch; b++) {
        const int64_t n = attn__ceil_div(oracle_keys(p, b), p->page_size);
        const int32_t *table = p->block_table ? p->block_table + b * p->block_table_stride
                                              : p->page_indices + p->page_indptr[b];
        if (n && most(table, n) + 1 > pages)
            pages = most(table, n) + 1;
    }
    return pages;
}

static void tensor_span(span *s, attn__view *v, int64_t first_dim, int64_t second_dim)
{
    const attn_tensor *t = v->tensor;
    const int64_t bits = attn__dtype_of(t->dtype).bits;
    int64_t low = 0, high = t->dim_block ? t->dim_block : 1;
    if (first_dim >= 0)
        v->extent[0] = first_dim;
    if (second_dim >= 0)
        v->extent[1] = second_dim;
    for (int m = 0; m < 4; m++) {
        const int64_t n = m == 3 && t->dim_block ? v->extent[3] / t->dim_block : v->extent[m];
        if (n <= 0)
            high = low = INT64_MIN / 4;
        else if (t->stride[m] < 0)
            low += (n - 1) * t->stride[m];
        else
            high += (n - 1) * t->stride[m];
    }
    s->low = high < 0 ? 0 : low * bits / 8;
    s->high = high < 0 ? 0 : (high * bits + 7) / 8;
}

/* A tensor beside those of attention. */
static span other_span(const char *name, void **field, attn_tensor *t, const int64_t n[4], int packed, int output)
{
    span s = {name, field, 0, 0, output};
    attn__view v;
    attn__view_set(&v, name, t, ~0u, packed, 0, n[0], n[1], n[2], n[3]);
    tensor_span(&s, &v, -1, -1);
    return s;
}

/* Floats of a table of cosines, up to the last position in use. */
static int64_t table_floats(const attn_params *p)
{
    int64_t positions = 1;
    for (int b = 0; p->rope_style && b < p->batch; b++)
        positions = oracle_position(p, b) + oracle_rows(p, b) > positions ? oracle_position(p, b) + oracle_rows(p, b)
                                                                          : positions;
    return positions * (p->rope_dim / 2);
}

/* Floats of the scales of k or v, which v has the extents of. */
static int64_t scale_floats(const attn_scale *s, const attn__view *v, const attn_params *p)
{
    const int64_t groups = s->group ? attn__ceil_div(v->extent[3], s->group) : 1;
    const int64_t first = s->stride[1] ? v->extent[0] : p->batch;
    const int64_t n[4] = {first, v->extent[1], v->extent[2], groups};
    int64_t last = 0;
    for (int m = 0; m < 4; m++)
        last += n[m] > 0 ? (n[m] - 1) * s->stride[m] : 0;
    return last + 1;
}

/* p has been completed by attn__prepare; fields are of `to`. */
static int spans(attn_params *p, attn_params *to, span *s)
{
    attn__view view[ATTN__VIEWS];
    attn_tensor *const tensors[ATTN__VIEWS] = {&to->q, &to->k, &to->v, &to->o, &to->bias, &to->mask};
    int count = 0;
    attn__views(p, view);
    for (int n = 0; n < ATTN__VIEWS; n++, count++) {
        const int is_kv = n == ATTN__K || n == ATTN__V;
        s[count] = (span){view[n].name, &tensors[n]->data, 0, 0, n == ATTN__O};
        if (view[n].tensor->data)
            tensor_span(&s[count], &view[n], is_kv && p->page_size && !p->num_pages ? pages_in_use(p) : -1,
                        is_kv && p->cu_seqlens_k ? most(p->cu_seqlens_k, p->batch + 1) : -1);
    }
    const attn_scale *const scales[] = {&p->k_scale, &p->v_scale};
    attn_scale *const scales_to[] = {&to->k_scale, &to->v_scale};
    for (int n = 0; n < 2; n++) {
        const int64_t bytes = 4 * scale_floats(scales[n], &view[ATTN__K + n], p);
        void **const scale = (void **)(uintptr_t)&scales_to[n]->scale;
        void **const zero = (void **)(uintptr_t)&scales_to[n]->zero;
        s[count++] = (span){n ? "v_scale.scale" : "k_scale.scale", scale, 0, bytes, 0};
        s[count++] = (span){n ? "v_scale.zero" : "k_scale.zero", zero, 0, bytes, 0};
    }
    const int64_t b = p->batch, last = b ? b - 1 : 0;
    const int64_t columns = p->cu_seqlens_q ? p->total_q : p->seq_q;
    const struct {
        const char *name;
        const void *field; /* of to */
        int64_t numbers;   /* of 4 bytes */
    } plain[] = {
        {"lse", &to->lse,
         b ? last * p->lse_stride[0] + (p->heads_q - 1) * p->lse_stride[1] + columns : 0},
        {"alibi_slopes", &to->alibi_slopes, last * p->alibi_stride + p->heads_q},
        {"sink_logits", &to->sink_logits, p->heads_q},
        {"cu_seqlens_q", &to->cu_seqlens_q, b + 1},
        {"cu_seqlens_k", &to->cu_seqlens_k, b + 1},
        {"seqused_q", &to->seqused_q, b},
        {"seqused_k", &to->seqused_k, b},
        {"block_table", &to->block_table,
         p->block_table ? last * p->block_table_stride + attn__ceil_div(p->seq_k, p->page_size) : 0},
        {"page_indptr", &to->page_indptr, b + 1},
        {"page_indices", &to->page_indices, p->page_indptr ? p->page_indptr[b] : 0},
        {"last_page_len", &to->last_page_len, b},
        {"rope_cos", &to->rope_cos, table_floats(p)},
        {"rope_sin", &to->rope_sin, table_floats(p)},
        {"rope_offset", &to->rope_offset, b},
        {"user", &to->user, (int64_t)sizeof(mini_user) / 4},
    };
    for (size_t n = 0; n < sizeof plain / sizeof *plain; n++)
        s[count++] = (span){plain[n].name, (void **)(uintptr_t)plain[n].field, 0, 4 * plain[n].numbers, n == 0};
    return count;
}

/* ---- a call on a device ------------------------------------------------------------------------- */

static int add(gpu_call *call, const span *s)
{
    gpu_piece *piece = &call->piece[call->count];
    piece->name = s->name;
    piece->output = s->output;
    piece->host = (char *)*s->field + s->low;
    piece->bytes = (size_t)(s->high - s->low);
    const size_t place = (uintptr_t)piece->host % PLACE, before = place + (s->output ? GUARD : 0);
    const size_t all = before + piece->bytes + (s->output ? GUARD : 0);
    piece->room = take(all ? all : 1);
    if (!piece->room)
        return 0;
    call->count++;
    piece->device = piece->room + before;
    *s->field = piece->device - s->low;
    if (s->output && !set(piece->room, PATTERN, all))
        return 0;
    return !piece->bytes || copy(piece->device, piece->host, piece->bytes);
}

/* An input that lies within one that is there already, as V may in K, does so on the device, too. */
static int shared(const gpu_call *call, const span *s)
{
    const char *const host = (const char *)*s->field + s->low;
    for (int n = 0; n < call->count && !s->output && s->high > s->low; n++) {
        const gpu_piece *piece = &call->piece[n];
        if (!piece->output && host >= piece->host && host + (s->high - s->low) <= piece->host + piece->bytes) {
            *s->field = piece->device + (host - piece->host) - s->low;
            return 1;
        }
    }
    return 0;
}

static int add_all(gpu_call *call, const span *s, int count)
{
    for (int n = 0; n < count; n++)
        if (*s[n].field && !is_devices(*s[n].field) && !shared(call, &s[n]) && !add(call, &s[n]))
            return -1;
    return 0;
}

int gpu_open(const attn_params *p, gpu_call *call)
{
    attn_params full;
    attn__text none = {NULL, 0};
    span s[GPU_PIECES];
    memset(call, 0, sizeof *call);
    call->p = *p;
    call->p.device = ATTN_DEVICE_CUDA;
    if (!start() || attn__prepare(&full, p, &none) != ATTN_OK)
        return -1;
    return add_all(call, s, spans(&full, &call->p, s));
}

int gpu_open_append(const attn_params *p, const attn_append_params *a, gpu_call *call)
{
    attn_params full;
    attn_append_params full_a;
    attn__text none = {NULL, 0};
    span s[GPU_PIECES];
    memset(call, 0, sizeof *call);
    call->p = *p;
    call->p.device = ATTN_DEVICE_CUDA;
    call->append = *a;
    if (!start() || attn__append_check(&full, &full_a, p, a, &none) != ATTN_OK)
        return -1;
    int count = spans(&full, &call->p, s);
    for (int n = 0; n < count; n++) /* the cache is an output here, and so are scales that are computed */
        if (!strcmp(s[n].name, "k") || !strcmp(s[n].name, "v") ||
            (strstr(s[n].name, "_scale.scale") && a->flags & ATTN_APPEND_SCALES))
            s[n].output = 1;
        else if (!strcmp(s[n].name, "o") || !strcmp(s[n].name, "lse"))
            s[n].high = s[n].low; /* not this call's */
    attn_tensor *const from[] = {&full_a.k, &full_a.v, &full_a.q};
    void **const field[] = {&call->append.k.data, &call->append.v.data, &call->append.q.data};
    for (int n = 0; n < 3; n++) {
        const int packed = p->cu_seqlens_q != NULL;
        const int64_t extent[4] = {packed ? 1 : p->batch, packed ? p->total_q : p->seq_q,
                                   n == 2 ? p->heads_q : p->heads_k, n == 1 ? full.head_dim_v : p->head_dim};
        s[count++] = other_span("new", field[n], from[n], extent, packed, n == 2);
    }
    return add_all(call, s, count);
}

int gpu_open_merge(const attn_merge_params *p, gpu_call *call)
{
    attn_merge_params full;
    attn__text none = {NULL, 0};
    span s[GPU_PIECES];
    memset(call, 0, sizeof *call);
    call->merge = *p;
    call->merge.device = ATTN_DEVICE_CUDA;
    if (!start() || attn__merge_check(&full, p, &none) != ATTN_OK)
        return -1;
    const int64_t n[4] = {p->batch, p->seq_q, p->heads_q, p->head_dim_v};
    const int64_t lse = 4 * ((p->batch - 1) * full.lse_stride[0] + (p->heads_q - 1) * full.lse_stride[1] + p->seq_q);
    const int64_t part_lse = 4 * ((p->parts - 1) * full.part_lse_stride[0] + (p->batch - 1) * full.part_lse_stride[1] +
                                  (p->heads_q - 1) * full.part_lse_stride[2] + p->seq_q);
    attn_merge_params *to = &call->merge;
    s[0] = other_span("part_o", &to->part_o.data, &full.part_o, n, 0, 0);
    s[0].high += (p->parts - 1) * full.part_o_stride * attn__dtype_of(full.part_o.dtype).bits / 8;
    s[1] = other_span("o", &to->o.data, &full.o, n, 0, 1);
    s[2] = (span){"part_lse", (void **)(uintptr_t)&to->part_lse, 0, part_lse, 0};
    s[3] = (span){"lse", (void **)(uintptr_t)&to->lse, 0, lse, 1};
    s[4] = (span){"sink_logits", (void **)(uintptr_t)&to->sink_logits, 0, 4 * p->heads_q, 0};
    return add_all(call, s, 5);
}

/* After gpu_open_append or gpu_open_merge. */
attn_status gpu_run_append(gpu_call *call, const attn_instance *instance)
{
    return finish(attn_list_append_kv(&instance, 1, &call->p, &call->append, (void *)stream));
}

attn_status gpu_run_merge(gpu_call *call, const attn_instance *instance)
{
    return finish(attn_list_merge(&instance, 1, &call->merge, (void *)stream));
}

const char *gpu_problem(void) { return problem; }

void gpu_spoil(gpu_call *call, const char *field, int64_t index, int32_t value)
{
    for (int n = 0; n < call->count; n++)
        if (!strcmp(call->piece[n].name, field)) {
            if ((size_t)index * 4 >= call->piece[n].bytes)
                abort();
            copy(call->piece[n].device + index * 4, &value, sizeof value);
            call->piece[n].host = NULL; /* no longer to be compared */
            return;
        }
    abort();
}

attn_status gpu_run(gpu_call *call, const attn_instance *instance, size_t bytes, char *text, size_t size)
{
    attn_finding found;
    call->workspace = bytes ? take(bytes) : NULL;
    if (bytes && !call->workspace) {
        snprintf(text, size, "workspace: %s", problem);
        return ATTN_ERR_CUDA;
    }
    /* Its content is free: NaN, or for those who look for reads of what nobody wrote, nothing.  -1, which all ones are
     * to a counter, is as good as the 0 that it should be; so it gets another NaN. */
    const uint32_t nan = 0x7fc55555u;
    if (bytes && !getenv("ATTN_TESTS_UNWRITTEN")) {
        set(call->workspace, 0xff, bytes);
        copy(call->workspace, &nan, bytes < sizeof nan ? bytes : sizeof nan);
    }
    attn_status status =
        finish(attn_list_forward(&instance, 1, &call->p, call->workspace, bytes, (void *)stream));
    if (status == ATTN_ERR_CUDA)
        snprintf(text, size, "%s", problem);
    else if (status == ATTN_ERR_ARG && bytes >= sizeof found && copy(&found, call->workspace, sizeof found))
        attn_debug_text(&found, text, size);
    if (call->workspace)
        drop(call->workspace);
    call->workspace = NULL;
    return status;
}

attn_status gpu_record(gpu_call *call, const attn_instance *instance, char *text, size_t size)
{
    attn_status status = ATTN_ERR_CUDA;
#if TESTS_CUDA
    attn_info info;
    cudaGraph_t graph;
    cudaGraphExec_t made;
    problem[0] = 0;
    status = attn_list_query(&instance, 1, &call->p, &info);
    if (status != ATTN_OK) {
        snprintf(text, size, "%s", info.text);
        return status;
    }
    call->workspace = info.workspace ? take(info.workspace) : NULL;
    if ((info.workspace && !call->workspace) ||
        !fine(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal))) {
        snprintf(text, size, "%s", problem);
        return ATTN_ERR_CUDA;
    }
    status = attn_list_forward(&instance, 1, &call->p, call->workspace, info.workspace, (void *)stream);
    if (!fine(cudaStreamEndCapture(stream, &graph)))
        status = ATTN_ERR_CUDA;
    else {
        if (fine(cudaGraphInstantiate(&made, graph, 0)))
            call->graph = made;
        else
            status = ATTN_ERR_CUDA;
        cudaGraphDestroy(graph);
    }
#else
    (void)call, (void)instance;
#endif
    snprintf(text, size, "%s", problem);
    return status;
}

static int fetch(const gpu_call *call)
{
    int good = 1;
    for (int n = 0; n < call->count; n++)
        if (call->piece[n].output)
            good &= copy(call->piece[n].host, call->piece[n].device, call->piece[n].bytes);
    return good;
}

int gpu_replay(gpu_call *call, int times)
{
    for (int n = 0; n < call->count; n++) {
        const gpu_piece *piece = &call->piece[n];
        const int done = piece->output ? set(piece->device, PATTERN, piece->bytes)
                                       : copy(piece->device, piece->host, piece->bytes);
        if (!done)
            return 0;
    }
    return gpu_replay_beside(&call, 1, times);
}

int gpu_replay_beside(gpu_call *const *calls, int count, int times)
{
    int good = 1;
#if TESTS_CUDA
    cudaStream_t own[8] = {NULL};
    for (int n = 0; n < count; n++)
        good &= fine(cudaStreamCreateWithFlags(&own[n], cudaStreamNonBlocking));
    for (int t = 0; good && t < times; t++)
        for (int n = 0; n < count; n++)
            good &= fine(cudaGraphLaunch((cudaGraphExec_t)calls[n]->graph, own[n]));
    for (int n = 0; n < count && own[n]; n++)
        good &= fine(cudaStreamSynchronize(own[n])) && fine(cudaStreamDestroy(own[n]));
#else
    (void)times;
#endif
    for (int n = 0; n < count; n++)
        good &= fetch(calls[n]);
    return good;
}

static int guarded(const char *from, size_t bytes)
{
    char back[GUARD + PLACE];
    copy(back, from, bytes);
    for (size_t n = 0; n < bytes; n++)
        if (back[n] != PATTERN)
            return 0;
    return 1;
}

int gpu_close(gpu_call *call, char *text, size_t size)
{
    int good = 1;
    for (int n = 0; n < call->count; n++) {
        const gpu_piece *piece = &call->piece[n];
        const char *what = NULL;
        if (piece->output) {
            copy(piece->host, piece->device, piece->bytes);
            what = !guarded(piece->room, (size_t)(piece->device - piece->room)) ? "the memory before it was written to"
                   : !guarded(piece->device + piece->bytes, GUARD)             ? "the memory after it was written to"
                                                                               : NULL;
        } else if (piece->host && piece->bytes) {
            char *back = malloc(piece->bytes);
            if (!back)
                abort();
            copy(back, piece->device, piece->bytes);
            what = memcmp(back, piece->host, piece->bytes) ? "an input was changed" : NULL;
            free(back);
        }
        if (what && good)
            snprintf(text, size, "%s: %s", piece->name, what);
        good &= !what;
        drop(piece->room);
    }
    call->count = 0;
#if TESTS_CUDA
    if (call->graph)
        cudaGraphExecDestroy((cudaGraphExec_t)call->graph);
#endif
    if (call->workspace)
        drop(call->workspace);
    call->graph = call->workspace = NULL;
    return good;
}

/* ---- any call ----------------------------------------------------------------------------------- */

static attn_status run_device(const attn_instance *instance, const attn_params *p, size_t bytes, attn_info *info)
{
    gpu_call call;
    char text[sizeof info->text] = "";
    attn_status status = ATTN_ERR_CUDA;
    if (gpu_open(p, &call))
        snprintf(info->text, sizeof info->text, "%s", problem);
    else
        status = gpu_run(&call, instance, bytes, info->text, sizeof info->text);
    if (!gpu_close(&call, text, sizeof text) && status == ATTN_OK) {
        memcpy(info->text, text, sizeof text);
        return ATTN_ERR_CUDA;
    }
    return status;
}

static attn_status run_host(const attn_instance *instance, const attn_params *p, size_t bytes)
{
    void *space = NULL;
    if (bytes && posix_memalign(&space, 64, bytes))
        abort();
    if (space)
        memset(space, 0xff, bytes); /* NaN: its content is free */
    attn_status status = attn_list_forward(&instance, 1, p, space, bytes, NULL);
    free(space);
    return status;
}

attn_status run_forward(const attn_instance *instance, const attn_params *given, int workspace, attn_info *info)
{
    attn_params p = *given;
    p.device = instance->device ? ATTN_DEVICE_CUDA : ATTN_DEVICE_CPU;
    attn_status status = attn_list_query(&instance, 1, &p, info);
    if (status != ATTN_OK)
        return status;
    size_t bytes = workspace == WORKSPACE_LEAST     ? info->workspace_least
                   : workspace == WORKSPACE_BETWEEN ? (info->workspace + info->workspace_least) / 2
                                                    : info->workspace;
    return instance->device ? run_device(instance, &p, bytes, info) : run_host(instance, &p, bytes);
}
