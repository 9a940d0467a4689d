/* gpu.h - calls on any instance, wherever its memory must lie.
 *
 * A test has its call in host memory.  For an instance of CUDA each tensor, length and table gets memory of its own on
 * the device, of exactly what the call says that it spans, at the same place within 256 bytes; outputs get guard bytes
 * around them.  Afterwards the outputs are copied back, and inputs and guards must be what they were.  What is the
 * device's already (gpu_map) stays there.  Without CUDA in the archive, instances of CUDA are never asked to run. */
#ifndef ATTN_TESTS_GPU_H
#define ATTN_TESTS_GPU_H

#include <stddef.h>
#include <attn/attn.h>

/* 1 = devices are the emulator's, whose memory is the host's: the same is done there. */
extern int gpu_emulated;

/* Runs p on this instance alone, with a workspace as WORKSPACE_... of cases.h says.  info is attn_query's answer; its
 * text also says what went wrong later. */
attn_status run_forward(const attn_instance *instance, const attn_params *p, int workspace, attn_info *info);

/* The same in steps. */
enum { GPU_PIECES = 40 };

typedef struct gpu_piece {
    const char *name; /* of the field */
    char *host;
    char *room;   /* allocated */
    char *device; /* where `host` is there */
    size_t bytes;
    int output;
} gpu_piece;

typedef struct gpu_call {
    attn_params p; /* for the device, and so are these */
    attn_append_params append;
    attn_merge_params merge;
    gpu_piece piece[GPU_PIECES];
    int count;
    void *workspace; /* while it runs, or until gpu_close if it is recorded */
    void *graph;     /* recorded */
} gpu_call;

/* 0, or -1 without memory, or if p is none that can run. */
int gpu_open(const attn_params *p, gpu_call *call);
/* The same for the kernels beside attention, whose caches and results are outputs; gpu_close ends each. */
int gpu_open_append(const attn_params *p, const attn_append_params *a, gpu_call *call);
int gpu_open_merge(const attn_merge_params *p, gpu_call *call);
attn_status gpu_run_append(gpu_call *call, const attn_instance *instance);
attn_status gpu_run_merge(gpu_call *call, const attn_instance *instance);
/* Why one of these failed. */
const char *gpu_problem(void);
/* Replaces 4 bytes of what the field points to, on the device alone. */
void gpu_spoil(gpu_call *call, const char *field, int64_t index, int32_t value);
/* Runs it with so many bytes of workspace; the reason of a failure in text. */
attn_status gpu_run(gpu_call *call, const attn_instance *instance, size_t workspace_bytes, char *text, size_t size);

/* Records the call, with its best workspace, as a graph; the reason of a failure in text.  Not on the emulator. */
attn_status gpu_record(gpu_call *call, const attn_instance *instance, char *text, size_t size);
/* Copies inputs to the device once more, as they are in the host's memory now, wipes outputs, runs the graph `times`
 * times and copies outputs back: 1, or 0. */
int gpu_replay(gpu_call *call, int times);
/* Runs `count` recorded calls at once, each `times` times on a stream of its own, and copies their outputs back. */
int gpu_replay_beside(gpu_call *const *calls, int count, int times);

/* Copies outputs back and releases all.  1, or 0 and a text if something was written to that must not be. */
int gpu_close(gpu_call *call, char *text, size_t size);

/* Memory that costs nothing until it is touched, for host and device both if `device`; NULL = there is not so much. */
void *gpu_map(size_t bytes, int device);
void gpu_unmap(void *data, size_t bytes, int device);

/* Waits until the device has done all it was given: 1, or 0 if something went wrong; then gpu_reason() says what. */
int gpu_wait(void);
const char *gpu_reason(void);

#endif /* ATTN_TESTS_GPU_H */
