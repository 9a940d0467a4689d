/* header_instances.c - instances of header_instances.h, one parameter block each. */
#include "header_instances.h"

#include <string.h>

#ifndef TESTS_CUDA
#define TESTS_CUDA 0
#endif

/* What is x86-64's is portable elsewhere. */
#if defined(__x86_64__)
#define AVX2   ATTN_ARCH_AVX2
#define AVX512 ATTN_ARCH_AVX512
#else
#define AVX2   ATTN_ARCH_CPU
#define AVX512 ATTN_ARCH_CPU
#endif

/* Nothing but attention, in tiles as small as they may be. */
#define ATTN_NAME     mini_f32
#define ATTN_KERNEL   ATTN_KERNEL_FORWARD
#define ATTN_ARCH     ATTN_ARCH_CPU
#define ATTN_DTYPE    ATTN_F32
#define ATTN_HEAD_DIM 0
#define ATTN_TILE_Q   8
#define ATTN_TILE_K   32
#include <attn/attn.h>

/* A row as a model's table has it: fixed dims, fixed ratio, causal. */
#define ATTN_NAME     mini_f16_d64_g3
#define ATTN_KERNEL   ATTN_KERNEL_FORWARD
#define ATTN_ARCH     AVX2
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 64
#define ATTN_GQA      3
#define ATTN_CAUSAL   1
#define ATTN_TILE_Q   24
#define ATTN_TILE_K   32
#include <attn/attn.h>

/* Two head dims, and a window without causality. */
#define ATTN_NAME       mini_bf16_d192v128
#define ATTN_KERNEL     ATTN_KERNEL_FORWARD
#define ATTN_ARCH       AVX512
#define ATTN_DTYPE      ATTN_BF16
#define ATTN_HEAD_DIM   192
#define ATTN_HEAD_DIM_V 128
#define ATTN_WINDOW     1
#define ATTN_SINK_TOKENS 1
#define ATTN_PAGED      1
#define ATTN_TILE_Q     16
#define ATTN_TILE_K     32
#include <attn/attn.h>

/* A cache narrower than the queries. */
#define ATTN_NAME     mini_f32kvf16
#define ATTN_KERNEL   ATTN_KERNEL_FORWARD
#define ATTN_ARCH     ATTN_ARCH_CPU
#define ATTN_DTYPE    ATTN_F32
#define ATTN_KV_DTYPE ATTN_F16
#define ATTN_HEAD_DIM 0
#define ATTN_CAUSAL   1
#define ATTN_CHUNK    1
#define ATTN_ALIBI    1
#define ATTN_BIAS     1
#define ATTN_VARLEN   1
#define ATTN_TILE_Q   13
#define ATTN_TILE_K   64
#include <attn/attn.h>

/* User macros; q is the absolute position of the query, k the key. */
#define ATTN_NAME      mini_f32_user
#define ATTN_KERNEL    ATTN_KERNEL_FORWARD
#define ATTN_ARCH      AVX2
#define ATTN_DTYPE     ATTN_F32
#define ATTN_HEAD_DIM  0
#define ATTN_CAUSAL    1
#define ATTN_SOFTCAP   1
#define ATTN_ALIBI     1
#define ATTN_BOOL_MASK 1
#define ATTN_TILE_Q    16
#define ATTN_TILE_K    32
#define ATTN_USER      mini_user
#define ATTN_SCORE_MOD MINI_SCORE
#define ATTN_MASK      MINI_MASK
#include <attn/attn.h>

/* Attention Residuals: one hidden size, a range of them, few queries and blocks. */
#define ATTN_NAME     mini_res1_f16
#define ATTN_KERNEL   ATTN_KERNEL_RES1
#define ATTN_ARCH     AVX2
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 40
#define ATTN_TILE_Q   3
#define ATTN_TILE_K   5
#include <attn/attn.h>

#define ATTN_NAME     mini_res1_backward_f16
#define ATTN_KERNEL   ATTN_KERNEL_RES1_BACKWARD
#define ATTN_ARCH     AVX512
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 72
#define ATTN_HEAD_DIM_MIN 24
#define ATTN_TILE_Q   5
#define ATTN_TILE_K   6
#include <attn/attn.h>

#define ATTN_NAME     mini_res2_f32
#define ATTN_KERNEL   ATTN_KERNEL_RES2
#define ATTN_ARCH     ATTN_ARCH_NATIVE
#define ATTN_DTYPE    ATTN_F32
#define ATTN_HEAD_DIM 0
#include <attn/attn.h>

#define ATTN_NAME     mini_res2_backward_f32
#define ATTN_KERNEL   ATTN_KERNEL_RES2_BACKWARD
#define ATTN_ARCH     ATTN_ARCH_NATIVE
#define ATTN_DTYPE    ATTN_F32
#define ATTN_HEAD_DIM 0
#include <attn/attn.h>

const attn_instance *const *header_instances(size_t *n)
{
    static const attn_instance *all[32] = {
        &mini_f32,      &mini_f16_d64_g3,        &mini_bf16_d192v128, &mini_f32kvf16,         &mini_f32_user,
        &mini_res1_f16, &mini_res1_backward_f16, &mini_res2_f32,      &mini_res2_backward_f32};
    *n = 9;
#if TESTS_CUDA
    size_t more;
    const attn_instance *const *cuda = header_instances_cuda(&more);
    for (size_t i = 0; i < more; i++)
        all[(*n)++] = cuda[i];
#endif
    return all;
}

static double user_score(const void *data, const oracle_place *at, double s)
{
    const mini_user *user = data;
    int64_t q = at->i + at->seq_k - at->seq_q;
    return s * 0.75 + (double)user->slope * (double)(at->head + at->batch) - (double)0.01f * (double)(q - at->j);
}

static int user_visible(const void *data, const oracle_place *at)
{
    const mini_user *user = data;
    int64_t q = at->i + at->seq_k - at->seq_q;
    return (at->j + at->head) % user->period != 1 && q - at->j != 7;
}

int header_debugs(const attn_instance *instance)
{
    static const char *const all[] = {"mini_sm80_debug", "mini_sm90_user", "mini_sm90_decode_user"};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++)
        if (!strcmp(instance->name, all[n]))
            return 1;
    return 0;
}

const oracle_hooks *header_instance_hooks(const attn_instance *instance, const void **user)
{
    static const oracle_hooks hooks = {user_score, user_visible};
    static const mini_user data = {0.125f, 5};
    *user = instance->user ? &data : NULL;
    return *user ? &hooks : NULL;
}
