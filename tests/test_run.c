/* test_run.c - run.h: what is refused and with which words, which instance is picked, what a launch is
 * given, workspace, merge and slopes.  The instances are stand-ins: selection works on any list. */
#include "check.h"

#include <attn/run.h>

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- stand-ins --------------------------------------------------------------------------------- */

#define ROW_FEATURES (2 * ATTN_HAS(PAGED) - 1) /* all that a row can have */

static attn_params launched; /* what the last launch got */
static const char *launched_name;
static size_t launched_bytes;
static size_t bytes_wanted, bytes_least;

static size_t stand_in_workspace(const attn_params *p, int least)
{
    (void)p;
    return least ? bytes_least : bytes_wanted;
}

static attn_status stand_in_launch(const attn_params *p, void *workspace, size_t bytes, void *stream)
{
    (void)workspace;
    launched = *p;
    launched_bytes = bytes;
    launched_name = stream ? (const char *)stream : "";
    return ATTN_OK;
}

#define STAND_IN(name, arch, q, kv, d, dv, gqa, features)                                                         \
    {                                                                                                             \
        name, ATTN_KERNEL_FORWARD, arch, q, kv, d, dv, d, gqa, 0, features, 0, 48, 64, 0, 0, stand_in_workspace,  \
            stand_in_launch, NULL, NULL, NULL, NULL, NULL                                                         \
    }

static const attn_instance any_f32 = STAND_IN("any_f32", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 0, 0, 0, ROW_FEATURES);
static const attn_instance any_bf16 = STAND_IN("any_bf16", ATTN_ARCH_CPU, ATTN_BF16, ATTN_BF16, 0, 0, 0, ROW_FEATURES);
static const attn_instance f32_f16 = STAND_IN("f32_f16", ATTN_ARCH_CPU, ATTN_F32, ATTN_F16, 0, 0, 0, 0);
static const attn_instance d64 = STAND_IN("d64", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 64, 64, 0, ATTN_HAS(CAUSAL));
static const attn_instance d128 = STAND_IN("d128", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 128, 128, 0, ATTN_HAS(CAUSAL));
static const attn_instance d192v128 = STAND_IN("d192v128", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 192, 128, 0, 0);
static const attn_instance causal = STAND_IN("causal", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 0, 0, 0, ATTN_HAS(CAUSAL));
static const attn_instance capped =
    STAND_IN("capped", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 0, 0, 0, ATTN_HAS(SOFTCAP) | ATTN_HAS(ALIBI));
static const attn_instance d64_g4 = STAND_IN("d64_g4", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 64, 64, 4, 0);
static const attn_instance d64_g8 = STAND_IN("d64_g8", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 64, 64, 8, 0);
static const attn_instance nowhere = STAND_IN("nowhere", ATTN_ARCH_AMX, ATTN_F32, ATTN_F32, 0, 0, 0, ROW_FEATURES);
static const attn_instance everything = STAND_IN("everything", ATTN_ARCH_CPU, ATTN_F32, ATTN_F32, 0, 0, 0, ~0u);

/* Tensors are never read here, so one buffer is all of them. */
static union {
    double align[64];
    float f[128];
    int32_t i[128];
    char c[512];
} buffer;

static attn_params base(void)
{
    attn_params p;
    memset(&p, 0, sizeof p);
    p.struct_size = sizeof p;
    p.batch = 2;
    p.heads_q = 4;
    p.heads_k = 2;
    p.head_dim = 64;
    p.seq_q = 8;
    p.seq_k = 12;
    p.q.dtype = ATTN_F32;
    p.q.data = p.k.data = p.v.data = p.o.data = &buffer;
    return p;
}

static attn_params paged(void)
{
    attn_params p = base();
    p.page_size = 16;
    p.block_table = p.seqused_k = buffer.i;
    return p;
}

static attn_params packed(void)
{
    attn_params p = base();
    p.cu_seqlens_q = p.cu_seqlens_k = buffer.i;
    p.total_q = 11;
    return p;
}

/* ---- refusals ---------------------------------------------------------------------------------- */

static void expect(const attn_instance *const *list, size_t n, const attn_params *p, attn_status status,
                   const char *text)
{
    char buf[1024];
    attn_info info;
    attn_status got = attn_list_query(list, n, p, &info);
    CHECK_MSG(got == status, "query says %s, not %s: %s", attn_run_status_name(got), attn_run_status_name(status),
              info.text);
    CHECK_MSG(strstr(info.text, text), "text is `%s`, not `%s`", info.text, text);
    CHECK((info.instance != NULL) == (status == ATTN_OK));
    CHECK((info.text[0] == 0) == (status == ATTN_OK));
    got = attn_list_explain(list, n, p, buf, sizeof buf);
    CHECK_MSG(got == status, "explain says %s", attn_run_status_name(got));
    CHECK_MSG(strstr(buf, text), "explain says `%s`", buf);
    got = attn_list_forward(list, n, p, NULL, 0, NULL);
    CHECK_MSG(got == status, "forward says %s", attn_run_status_name(got));
}

static const attn_instance *const all_list[] = { &any_f32, &any_bf16, &f32_f16 };
static const attn_instance *const everything_list[] = { &everything };

/* REFUSE(text, statements that spoil p): the case is named by the statements. */
#define CASE(start, list, status, text, ...)                                      \
    if (check_case("run: %s %s", #start, #__VA_ARGS__)) {                         \
        attn_params p = start();                                                  \
        __VA_ARGS__;                                                              \
        expect(list, sizeof(list) / sizeof((list)[0]), &p, status, text);         \
    }
#define REFUSE(text, ...) CASE(base, everything_list, ATTN_ERR_ARG, text, __VA_ARGS__)
#define REFUSE_PAGED(text, ...) CASE(paged, everything_list, ATTN_ERR_ARG, text, __VA_ARGS__)
#define REFUSE_PACKED(text, ...) CASE(packed, everything_list, ATTN_ERR_ARG, text, __VA_ARGS__)
#define ACCEPT(...) CASE(base, everything_list, ATTN_OK, "", __VA_ARGS__)

static void refused_numbers(void)
{
    REFUSE("struct_size 0: must be the struct's sizeof", p.struct_size = 0)
    REFUSE("struct_size 7: must be", p.struct_size = 7)
    REFUSE("struct_size 65537: must be", p.struct_size = 65537)
    REFUSE("flags 16: must be 0 in all bits but ATTN_LSE_BASE2", p.flags = 16)
    REFUSE("flags 2147483648: must be", p.flags = 1u << 31 | ATTN_FLAGS_ALL)
    REFUSE("batch -1: must be at least 0", p.batch = -1)
    REFUSE("heads_q 0: must be at least 1", p.heads_q = 0)
    REFUSE("heads_q -4: must be at least 1", p.heads_q = -4)
    REFUSE("heads_k 0: must be at least 1", p.heads_k = 0)
    REFUSE("heads_k 3: must divide heads_q 4", p.heads_k = 3)
    REFUSE("heads_k 8: must divide heads_q 4", p.heads_k = 8)
    REFUSE("head_dim 0: must be 1 to 65536", p.head_dim = 0)
    REFUSE("head_dim 65537: must be 1 to 65536", p.head_dim = 65537)
    REFUSE("head_dim_v -1: must be 1 to 65536, or 0 for head_dim", p.head_dim_v = -1)
    REFUSE("seq_q -1: must be at least 0", p.seq_q = -1)
    REFUSE("seq_k -2147483648: must be at least 0", p.seq_k = INT32_MIN)
    REFUSE("total_q -1: must be at least 0", p.total_q = -1)
    REFUSE("q.dtype 0: must be an element type", p.q.dtype = 0)
    REFUSE("q.dtype 10: must be an element type", p.q.dtype = 10)
    REFUSE("k.dtype -1: must be an element type, or 0 for q's", p.k.dtype = -1)
    REFUSE("v.dtype 99: must be an element type, or 0 for q's", p.v.dtype = 99)
    REFUSE("o.dtype 99: must be an element type, or 0 for q's", p.o.dtype = 99)
    REFUSE("bias.dtype 99: must be an element type, or 0 for q's", p.bias.dtype = 99)
    REFUSE("scale nan: must be finite", p.scale = NAN)
    REFUSE("scale inf: must be finite", p.scale = INFINITY)
    REFUSE("softcap nan: must be finite and at least 0", p.softcap = NAN)
    REFUSE("softcap -1: must be finite and at least 0", p.softcap = -1)
    REFUSE("causal 3: must be ATTN_CAUSAL_NONE, ATTN_CAUSAL_BOTTOM_RIGHT or ATTN_CAUSAL_TOP_LEFT", p.causal = 3)
    REFUSE("window 4096: must be 0 or 1; the sizes are window_left and window_right", p.window = 4096)
    REFUSE("window_left -2: must be -1 (infinite) or more", p.window = 1, p.window_left = -2)
    REFUSE("window_right -2: must be -1 (infinite) or more", p.window = 1, p.window_right = -2)
    REFUSE("chunk -1: must be at least 0", p.chunk = -1)
    REFUSE("sink_tokens -1: must be at least 0", p.sink_tokens = -1)
    REFUSE("page_size -1: must be at least 0", p.page_size = -1)
    REFUSE("num_pages -1: must be at least 0", p.num_pages = -1)
    REFUSE("q_scale.reserved 1: must be 0", p.q_scale.reserved = 1)
    REFUSE("k_scale.reserved 1: must be 0", p.k_scale.reserved = 1)
    REFUSE("v_scale.reserved 1: must be 0", p.v_scale.reserved = 1)
    REFUSE("q_scale.group 48: must be 0, 32, 64 or 128", p.q_scale.group = 48)
    REFUSE("k_scale.group -32: must be 0, 32, 64 or 128", p.k_scale.group = -32)
    REFUSE("v_scale.group 256: must be 0, 32, 64 or 128", p.v_scale.group = 256)
    REFUSE("schedule.tile_q 32: must be 16, 64 or 128", p.schedule.tile_q = 32)
    REFUSE("schedule.tile_k -16: must be 16, 64 or 128", p.schedule.tile_k = -16)
    REFUSE("dropout_p 1: must be at least 0 and below 1", p.dropout_p = 1)
    REFUSE("dropout_p -0.1: must be at least 0 and below 1", p.dropout_p = -0.1f)
    REFUSE("dropout_p nan: must be at least 0 and below 1", p.dropout_p = NAN)
    REFUSE("rope_style 3: must be ATTN_ROPE_NONE", p.rope_style = 3)
    REFUSE("rope_dim 7: must be even", p.rope_style = 1, p.rope_dim = 7)
    REFUSE("rope_dim 66: must be 0 to 64", p.rope_style = 1, p.rope_dim = 66)
    REFUSE("rope_base inf: must be finite", p.rope_style = 1, p.rope_base = INFINITY)
    REFUSE("rope_base -1: must be finite", p.rope_style = 1, p.rope_base = -1)
    REFUSE("num_splits 1025: must be 0 to 1024", p.num_splits = 1025)
    REFUSE("num_splits -1: must be 0 to 1024", p.num_splits = -1)
    REFUSE("split_size -1: must be at least 0", p.split_size = -1)
    REFUSE("threads -1: must be 0 to 1024", p.threads = -1)
}

static void refused_relations(void)
{
    REFUSE("window_left 7: needs window", p.window_left = 7)
    REFUSE("window_right 7: needs window", p.window_right = 7)
    REFUSE("alibi_stride 4: needs alibi_slopes", p.alibi_stride = 4)
    REFUSE("total_q 16: needs cu_seqlens_q", p.total_q = 16)
    REFUSE_PACKED("cu_seqlens_q: needs total_q", p.total_q = 0)
    REFUSE_PACKED("q.stride[0] 512: must be 0 with cu_seqlens_q", p.q.stride[0] = 512)
    REFUSE_PACKED("o.stride[0] 512: must be 0 with cu_seqlens_q", p.o.stride[0] = 512)
    REFUSE_PACKED("k.stride[0] 512: must be 0 with cu_seqlens_k", p.k.stride[0] = 512)
    REFUSE_PACKED("v.stride[0] 512: must be 0 with cu_seqlens_k", p.v.stride[0] = 512)
    REFUSE_PACKED("lse_stride[0] 512: must be 0 with cu_seqlens_q", p.lse_stride[0] = 512)
    REFUSE("q.dim_block 8: needs q.stride", p.q.dim_block = 8)
    REFUSE("k.dim_block 8: needs k.stride", p.k.dim_block = 8)
    REFUSE("v.dim_block 8: needs v.stride", p.v.dim_block = 8)
    REFUSE_PAGED("page_size 16: must be 0 with cu_seqlens_k", p.cu_seqlens_k = buffer.i)
    REFUSE("page_size 16: needs block_table or page_indptr", p.page_size = 16)
    REFUSE("num_pages 3: needs page_size", p.num_pages = 3)
    REFUSE_PAGED("block_table: needs page_size", p.page_size = 0)
    REFUSE_PAGED("block_table: needs seqused_k", p.seqused_k = NULL)
    REFUSE_PAGED("block_table: must be NULL with page_indptr",
                 p.page_indptr = p.page_indices = p.last_page_len = buffer.i)
    REFUSE("block_table_stride 4: needs block_table", p.block_table_stride = 4)
    REFUSE("page_indptr: needs page_size", p.page_indptr = p.page_indices = p.last_page_len = buffer.i)
    REFUSE("page_indptr: needs page_indices", p.page_size = 1, p.page_indptr = p.last_page_len = buffer.i)
    REFUSE("page_indptr: needs last_page_len", p.page_size = 1, p.page_indptr = p.page_indices = buffer.i)
    REFUSE("page_indices: needs page_indptr", p.page_indices = buffer.i)
    REFUSE("last_page_len: needs page_indptr", p.last_page_len = buffer.i)
    REFUSE("seqused_k: must be NULL with page_indptr", p.page_size = 1,
           p.page_indptr = p.page_indices = p.last_page_len = p.seqused_k = buffer.i)
    REFUSE("q_scale.scale: needs an 8- or 4-bit q.dtype", p.q_scale.scale = buffer.f)
    REFUSE("k_scale.scale: needs an 8- or 4-bit k.dtype", p.k_scale.scale = buffer.f)
    REFUSE("v_scale.scale: needs an 8- or 4-bit v.dtype", p.v_scale.scale = buffer.f)
    REFUSE("q_scale.zero: needs q_scale.scale", p.q_scale.zero = buffer.f)
    REFUSE("k_scale.zero: needs k_scale.scale", p.k_scale.zero = buffer.f)
    REFUSE("v_scale.zero: needs v_scale.scale", p.v_scale.zero = buffer.f)
    REFUSE("q_scale.group 32: needs q_scale.scale", p.q_scale.group = 32)
    REFUSE("k_scale.group 32: needs k_scale.scale", p.k_scale.group = 32)
    REFUSE("v_scale.group 32: needs v_scale.scale", p.v_scale.group = 32)
    REFUSE("schedule.row_ptr: needs schedule.col_idx", p.schedule.row_ptr = buffer.i)
    REFUSE("schedule.col_idx: needs schedule.row_ptr", p.schedule.col_idx = buffer.i)
    REFUSE("schedule.runs: must be NULL with schedule.row_ptr",
           p.schedule.row_ptr = p.schedule.col_idx = p.schedule.runs = buffer.i)
    REFUSE("schedule: needs schedule.tile_q", p.schedule.runs = buffer.i, p.schedule.tile_k = 64)
    REFUSE("schedule: needs schedule.tile_k", p.schedule.runs = buffer.i, p.schedule.tile_q = 64)
    REFUSE("schedule.tile_q 64: needs schedule.row_ptr or schedule.runs", p.schedule.tile_q = 64)
    REFUSE("schedule.tile_k 64: needs schedule.row_ptr or schedule.runs", p.schedule.tile_k = 64)
    REFUSE("schedule.head_stride 9: needs schedule.row_ptr or schedule.runs", p.schedule.head_stride = 9)
    REFUSE("rope_dim 8: needs rope_style", p.rope_dim = 8)
    REFUSE("rope_base: needs rope_style", p.rope_base = 500000)
    REFUSE("rope_cos: needs rope_style", p.rope_cos = p.rope_sin = buffer.f)
    REFUSE("rope_cos: needs rope_sin", p.rope_style = 1, p.rope_cos = buffer.f)
    REFUSE("rope_sin: needs rope_cos", p.rope_style = 1, p.rope_sin = buffer.f)
    REFUSE("rope_offset: needs rope_style", p.rope_offset = buffer.i)
    REFUSE("split_size 64: must be 0 with num_splits", p.split_size = 64, p.num_splits = 2)
}

static void refused_tensors(void)
{
    REFUSE("q.data NULL: must be set", p.q.data = NULL)
    REFUSE("k.data NULL: must be set", p.k.data = NULL)
    REFUSE("v.data NULL: must be set", p.v.data = NULL)
    REFUSE("o.data NULL: must be set", p.o.data = NULL)
    REFUSE("q.data NULL: must be set", p.q.data = NULL, p.seq_k = 0)
    REFUSE("must be a multiple of 4 bytes", p.q.data = buffer.c + 2)
    REFUSE("must be a multiple of 2 bytes", p.q.dtype = ATTN_BF16, p.k.data = buffer.c + 1)
    REFUSE("must be a multiple of 4 bytes", p.o.data = buffer.c + 2)
    REFUSE("q.dtype 6 (int8): must be f32 or f16 or bf16 or e4m3", p.q.dtype = ATTN_INT8)
    REFUSE("k.dtype 8 (bool): must be f32", p.k.dtype = p.v.dtype = ATTN_BOOL)
    REFUSE("v.dtype 2 (f16): must be k's, f32", p.v.dtype = ATTN_F16)
    REFUSE("v.dtype 1 (f32): must be k's, f16", p.k.dtype = ATTN_F16)
    REFUSE("o.dtype 4 (e4m3): must be f32 or f16 or bf16", p.o.dtype = ATTN_E4M3)
    REFUSE("bias.dtype 2 (f16): must be f32", p.bias.data = &buffer, p.bias.dtype = ATTN_F16)
    REFUSE("mask.dtype 0 (?): must be bool or bit", p.mask.data = &buffer)
    REFUSE("mask.dtype 1 (f32): must be bool or bit", p.mask.data = &buffer, p.mask.dtype = ATTN_F32)
    REFUSE("bias.stride[3] 2: must be 1", p.bias.data = &buffer, p.bias.stride[3] = 2)
    REFUSE("bias.stride[3] 0: must be 1", p.bias.data = &buffer, p.bias.stride[2] = 12)
    REFUSE("mask.stride[3] -1: must be 1", p.mask.data = &buffer, p.mask.dtype = ATTN_BOOL, p.mask.stride[3] = -1)
    REFUSE("mask.stride[2] 12: must be a multiple of 8 bits", p.mask.data = &buffer, p.mask.dtype = ATTN_BIT,
           p.mask.stride[2] = 12, p.mask.stride[3] = 1)
    REFUSE("o.dim_block 8: must be 0", p.o.dim_block = 8)
    REFUSE("bias.dim_block 8: must be 0", p.bias.data = &buffer, p.bias.dim_block = 8)
    REFUSE("mask.dim_block 8: must be 0", p.mask.data = &buffer, p.mask.dtype = ATTN_BOOL, p.mask.dim_block = 8)
    REFUSE("k.dim_block 7: must divide the head dimension 64", p.k.dim_block = 7, p.k.stride[1] = 7)
    REFUSE("k.dim_block -8: must divide the head dimension 64", p.k.dim_block = -8, p.k.stride[1] = 8)
    REFUSE("o.stride[3] 0: must not be 0, results would overlap", p.o.stride[0] = 32,
           p.o.stride[1] = 4, p.o.stride[2] = 1)
    REFUSE("o.stride[0] 0: must not be 0, results would overlap", p.o.stride[1] = 256, p.o.stride[2] = 64,
           p.o.stride[3] = 1)
    REFUSE("lse_stride[0] 0: must be at least the 8 rows", p.lse = buffer.f, p.lse_stride[1] = 8)
    REFUSE("lse_stride[1] 7: must be at least the 8 rows", p.lse = buffer.f, p.lse_stride[0] = 99,
           p.lse_stride[1] = 7)
    REFUSE_PACKED("lse_stride[1] 10: must be at least the 11 rows", p.lse = buffer.f, p.lse_stride[1] = 10)

    REFUSE("q.stride[0] 4611686018427387904: too large", p.q.stride[0] = (int64_t)1 << 62, p.q.stride[3] = 1)
    REFUSE("k.stride[1] -9223372036854775808: too large", p.k.stride[1] = INT64_MIN)
    REFUSE("o.stride[2] 9223372036854775807: too large", p.o.stride[0] = p.o.stride[1] = p.o.stride[3] = 1,
           p.o.stride[2] = INT64_MAX)
    REFUSE("bias.stride[0] 9223372036854775807: too large", p.bias.data = &buffer, p.bias.stride[0] = INT64_MAX,
           p.bias.stride[3] = 1)
    REFUSE("lse_stride[0] 9223372036854775807: too large", p.lse = buffer.f, p.lse_stride[0] = INT64_MAX,
           p.lse_stride[1] = 8)
    REFUSE("seq_q 2147483647: batch * heads_q * seq_q * head_dim must be below 2^63", p.batch = INT32_MAX,
           p.seq_q = INT32_MAX)
    REFUSE("seq_k 2147483647: batch * heads_k * seq_k * head_dim must be below 2^63", p.batch = INT32_MAX,
           p.seq_q = 1, p.seq_k = INT32_MAX)
    REFUSE_PAGED("block_table_stride 9223372036854775807: too large", p.block_table_stride = INT64_MAX)
    REFUSE("alibi_stride -9223372036854775808: too large", p.alibi_slopes = buffer.f, p.alibi_stride = INT64_MIN)
}

/* Every pointer to f32 or int32, odd by one byte. */
static void refused_pointers(void)
{
    static const struct {
        const char *field;
        size_t offset;
    } rows[] = {
#define POINTER(f) { #f, offsetof(attn_params, f) }
        POINTER(lse), POINTER(alibi_slopes), POINTER(sink_logits), POINTER(schedule.row_ptr),
        POINTER(schedule.col_idx), POINTER(schedule.runs), POINTER(cu_seqlens_q), POINTER(cu_seqlens_k),
        POINTER(seqused_q), POINTER(seqused_k), POINTER(block_table), POINTER(page_indptr), POINTER(page_indices),
        POINTER(last_page_len), POINTER(q_scale.scale), POINTER(q_scale.zero), POINTER(k_scale.scale),
        POINTER(k_scale.zero), POINTER(v_scale.scale), POINTER(v_scale.zero), POINTER(rope_cos), POINTER(rope_sin),
        POINTER(rope_offset),
#undef POINTER
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!check_case("run: pointer %s misaligned", rows[i].field))
            continue;
        char buf[256], text[64];
        attn_params p = base();
        const void *odd = buffer.c + 2;
        attn__text t = attn__text_start(buf, sizeof buf);
        attn__fill(&p);
        memcpy((char *)&p + rows[i].offset, &odd, sizeof odd);
        snprintf(text, sizeof text, "%s %p: must be a multiple of 4 bytes", rows[i].field, odd);
        CHECK(attn__check_pointers(&p, &t) == ATTN_ERR_ARG);
        CHECK_MSG(!strcmp(buf, text), "text is `%s`, not `%s`", buf, text);
    }
}

static void refused_calls(void)
{
    attn_params p = base();
    attn_info info;
    const attn_instance *const *no_list = NULL;
    char buf[64];
    if (check_case("run: NULL arguments")) {
        CHECK(attn_list_query(all_list, 3, NULL, &info) == ATTN_ERR_ARG);
        CHECK(!strcmp(info.text, "params NULL: must point to a struct"));
        CHECK(attn_list_query(all_list, 3, &p, NULL) == ATTN_ERR_ARG);
        CHECK(attn_list_query(no_list, 3, &p, &info) == ATTN_ERR_ARG);
        CHECK(!strcmp(info.text, "list NULL: must point to 3 instances"));
        CHECK(attn_list_query(no_list, 0, &p, &info) == ATTN_ERR_UNSUPPORTED);
        CHECK(attn_list_explain(all_list, 3, NULL, buf, sizeof buf) == ATTN_ERR_ARG);
        CHECK(attn_list_explain(all_list, 3, &p, NULL, 5) == ATTN_ERR_ARG);
        CHECK(attn_list_explain(all_list, 3, &p, NULL, 0) == ATTN_OK);
        CHECK(attn_list_forward(all_list, 3, NULL, NULL, 0, NULL) == ATTN_ERR_ARG);
        CHECK(attn_run(NULL, &p, NULL, 0, NULL) == ATTN_ERR_UNSUPPORTED);
        CHECK(attn_run_query(NULL, &p, &info) == ATTN_ERR_UNSUPPORTED);
    }
    if (check_case("run: a short buffer is filled and terminated")) {
        for (size_t len = 1; len < sizeof buf; len++) {
            memset(buf, 'x', sizeof buf);
            p.batch = -1;
            CHECK(attn_list_explain(all_list, 3, &p, buf, len) == ATTN_ERR_ARG);
            CHECK(strlen(buf) < len && !strncmp(buf, "batch -1: must be at least 0", strlen(buf)));
            CHECK(buf[len] == 'x');
        }
    }
}

static void accepted(void)
{
    ACCEPT(p.batch = 2)
    ACCEPT(p.batch = 0, p.q.data = p.k.data = p.v.data = p.o.data = NULL)
    ACCEPT(p.seq_q = 0, p.q.data = p.k.data = p.v.data = p.o.data = NULL)
    ACCEPT(p.seq_k = 0, p.k.data = p.v.data = NULL)
    ACCEPT(p.scale = -1)
    ACCEPT(p.window_left = -1, p.window_right = -1)
    ACCEPT(p.sink_tokens = 4)
    ACCEPT(p.flags = ATTN_FLAGS_ALL)
    ACCEPT(p.q.stride[0] = -1)
    ACCEPT(p.q.stride[1] = 7, p.k.stride[3] = -5, p.v.stride[2] = 1)
    ACCEPT(p.o.stride[0] = -2048, p.o.stride[1] = 64, p.o.stride[2] = 512, p.o.stride[3] = -1)
    ACCEPT(p.batch = 1, p.o.stride[1] = 256, p.o.stride[2] = 64, p.o.stride[3] = 1)
    ACCEPT(p.k.dim_block = 8, p.k.stride[1] = 8, p.k.stride[3] = 96)
    ACCEPT(p.q.dtype = ATTN_F32, p.o.dtype = ATTN_BF16)
    ACCEPT(p.bias.data = &buffer, p.bias.stride[3] = 1)
    ACCEPT(p.mask.data = buffer.c + 1, p.mask.dtype = ATTN_BIT)
    ACCEPT(p.page_size = 1, p.page_indptr = p.page_indices = p.last_page_len = buffer.i)
    ACCEPT(p.cu_seqlens_k = buffer.i)
    ACCEPT(p.cu_seqlens_q = buffer.i, p.total_q = 3)
    ACCEPT(p.cu_seqlens_q = buffer.i, p.total_q = 0, p.seq_q = 0)
    ACCEPT(p.schedule.runs = buffer.i, p.schedule.tile_q = 16, p.schedule.tile_k = 128)
    ACCEPT(p.rope_style = 2, p.rope_cos = p.rope_sin = buffer.f, p.rope_offset = buffer.i)
    ACCEPT(p.dropout_p = 0.999f)
    ACCEPT(p.lse = buffer.f, p.lse_stride[0] = 8, p.lse_stride[1] = -16)
    CASE(paged, everything_list, ATTN_OK, "", p.num_pages = 100)
    CASE(packed, everything_list, ATTN_OK, "", p.seqused_k = buffer.i)
}

/* ---- what a launch is given -------------------------------------------------------------------- */

static void launch_with(const attn_params *p)
{
    memset(&launched, 0x55, sizeof launched);
    CHECK(attn_run(&everything, p, NULL, 0, NULL) == ATTN_OK);
}

static void check_strides(const char *name, const attn_tensor *x, int64_t s0, int64_t s1, int64_t s2, int64_t s3)
{
    const int64_t *s = x->stride;
    CHECK_MSG(s[0] == s0 && s[1] == s1 && s[2] == s2 && s[3] == s3, "%s.stride is {%lld, %lld, %lld, %lld}", name,
              (long long)s[0], (long long)s[1], (long long)s[2], (long long)s[3]);
}

static void filled(void)
{
    attn_params p = base();
    p.head_dim_v = 32;
    p.bias.data = p.mask.data = &buffer;
    p.mask.dtype = ATTN_BIT;
    p.lse = buffer.f;
    if (check_case("launch: dense defaults")) {
        launch_with(&p);
        CHECK(launched.struct_size == sizeof launched);
        CHECK(launched.k.dtype == ATTN_F32 && launched.v.dtype == ATTN_F32 && launched.o.dtype == ATTN_F32);
        CHECK(launched.bias.dtype == ATTN_F32 && launched.mask.dtype == ATTN_BIT);
        CHECK(launched.scale == 0.125f);
        CHECK(launched.window == 0 && launched.window_left == -1 && launched.window_right == -1);
        check_strides("q", &launched.q, 8 * 4 * 64, 4 * 64, 64, 1);
        check_strides("k", &launched.k, 12 * 2 * 64, 2 * 64, 64, 1);
        check_strides("v", &launched.v, 12 * 2 * 32, 2 * 32, 32, 1);
        check_strides("o", &launched.o, 8 * 4 * 32, 4 * 32, 32, 1);
        check_strides("bias", &launched.bias, 4 * 8 * 12, 8 * 12, 12, 1);
        check_strides("mask", &launched.mask, 4 * 8 * 16, 8 * 16, 16, 1);
        CHECK(launched.lse_stride[0] == 32 && launched.lse_stride[1] == 8);
    }
    if (check_case("launch: packed defaults")) {
        p = packed();
        launch_with(&p);
        check_strides("q", &launched.q, 0, 256, 64, 1);
        check_strides("k", &launched.k, 0, 128, 64, 1);
        check_strides("o", &launched.o, 0, 256, 64, 1);
        CHECK(launched.lse_stride[0] == 0 && launched.lse_stride[1] == 11);
    }
    if (check_case("launch: paged defaults")) {
        p = paged();
        p.seq_k = 33;
        launch_with(&p);
        check_strides("k", &launched.k, 16 * 128, 128, 64, 1);
        CHECK(launched.block_table_stride == 3);
    }
    if (check_case("launch: a window without a finite side is none")) {
        p = base();
        p.window = 1;
        p.window_left = p.window_right = -1;
        p.sink_tokens = 4;
        launch_with(&p);
        CHECK(launched.window == 0 && launched.sink_tokens == 0);
        p.window_right = 0;
        launch_with(&p);
        CHECK(launched.window == 1 && launched.window_left == -1 && launched.sink_tokens == 4);
    }
    if (check_case("launch: rope defaults")) {
        p = base();
        p.rope_style = ATTN_ROPE_HALF_SPLIT;
        launch_with(&p);
        CHECK(launched.rope_dim == 64 && launched.rope_base == 10000);
    }
    if (check_case("launch: given values stay")) {
        p = base();
        p.scale = -2;
        p.q.stride[1] = 64;
        p.q.stride[2] = 512;
        p.q.stride[3] = 1;
        p.block_table = p.seqused_k = buffer.i;
        p.page_size = 4;
        p.block_table_stride = 77;
        p.user = &p;
        launch_with(&p);
        check_strides("q", &launched.q, 0, 64, 512, 1);
        CHECK(launched.scale == -2 && launched.block_table_stride == 77 && launched.user == &p);
    }
    if (check_case("launch: a complete block is read as it is")) {
        attn_params once, twice;
        attn_params (*const start[])(void) = { base, packed, paged };
        for (int i = 0; i < 3; i++) {
            p = start[i]();
            p.lse = buffer.f;
            launch_with(&p);
            once = launched;
            launch_with(&once);
            twice = launched;
            CHECK(!memcmp(&once, &twice, sizeof once));
        }
    }
    if (check_case("launch: none without work")) {
        launched_bytes = 12345;
        p = base();
        p.batch = 0;
        CHECK(attn_run(&everything, &p, NULL, 0, NULL) == ATTN_OK);
        p = base();
        p.seq_q = 0;
        CHECK(attn_run(&everything, &p, NULL, 0, NULL) == ATTN_OK);
        CHECK(launched_bytes == 12345);
        p = base();
        p.batch = 0;
        CHECK(attn_list_forward(all_list, 3, &p, NULL, 0, NULL) == ATTN_OK);
        p.dropout_p = 0.5f;
        CHECK(attn_list_forward(all_list, 3, &p, NULL, 0, NULL) == ATTN_ERR_UNSUPPORTED);
    }
}

static void struct_sizes(void)
{
    attn_info info;
    char text[128];
    struct {
        attn_params p;
        char more[64];
    } longer;
    if (check_case("struct_size: an older, shorter struct")) {
        attn_params p = base();
        p.struct_size = offsetof(attn_params, q_scale);
        memset((char *)&p + p.struct_size, 0x7f, sizeof p - p.struct_size); /* not to be read */
        launch_with(&p);
        CHECK(launched.struct_size == sizeof p && launched.threads == 0 && !launched.user);
        p.struct_size = 8;
        CHECK(attn_run_query(&everything, &p, &info) == ATTN_ERR_ARG);
        CHECK(!strcmp(info.text, "heads_q 0: must be at least 1"));
    }
    if (check_case("struct_size: a newer, longer struct")) {
        memset(&longer, 0, sizeof longer);
        longer.p = base();
        longer.p.struct_size = sizeof longer;
        launch_with(&longer.p);
        CHECK(launched.struct_size == sizeof(attn_params));
        longer.more[63] = 1;
        CHECK(attn_run_query(&everything, &longer.p, &info) == ATTN_ERR_ARG);
        snprintf(text, sizeof text, "struct_size %zu: byte %zu is set, but this version knows %zu bytes",
                 sizeof longer, sizeof longer - 1, sizeof(attn_params));
        CHECK_MSG(!strcmp(info.text, text), "text is `%s`, not `%s`", info.text, text);
    }
}

/* ---- selection --------------------------------------------------------------------------------- */

static const attn_instance *const halves[] = { &causal, &capped };
static const attn_instance *const dims[] = { &d64, &d128, &d192v128, &d64, &any_bf16 };
static const attn_instance *const ratios[] = { &d64_g4, &d64_g8 };
static const attn_instance *const elsewhere[] = { &d64, &nowhere, &f32_f16 };

static const char *chosen(const attn_instance *const *list, size_t n, const attn_params *p)
{
    static attn_info info;
    return attn_list_query(list, n, p, &info) == ATTN_OK ? info.instance->name : info.text;
}

static void selection(void)
{
    attn_params p = base();
    if (check_case("select: the first that accepts, in list order")) {
        const attn_instance *one[] = { &d64, &any_f32 }, *other[] = { &any_f32, &d64 };
        CHECK(!strcmp(chosen(one, 2, &p), "d64"));
        CHECK(!strcmp(chosen(other, 2, &p), "any_f32"));
        p.softcap = 1;
        CHECK(!strcmp(chosen(one, 2, &p), "any_f32"));
    }
    if (check_case("select: dtypes of q and of k and v")) {
        p = base();
        p.k.dtype = p.v.dtype = ATTN_F16;
        CHECK(!strcmp(chosen(all_list, 3, &p), "f32_f16"));
        p = base();
        p.q.dtype = ATTN_BF16;
        CHECK(!strcmp(chosen(all_list, 3, &p), "any_bf16"));
    }
    if (check_case("select: both head dims")) {
        p = base();
        p.head_dim = 192;
        p.head_dim_v = 128;
        CHECK(!strcmp(chosen(dims, 5, &p), "d192v128"));
    }
    if (check_case("select: gqa ratio")) {
        p = base();
        p.heads_q = 16;
        CHECK(!strcmp(chosen(ratios, 2, &p), "d64_g8"));
    }
    if (check_case("select: every feature of ATTN_FEATURES is needed by its field")) {
#define NEEDED_BY(bits, set)                            \
    p = base();                                         \
    set;                                                \
    attn__fill(&p);                                     \
    CHECK_MSG(attn__needs(&p) == (bits), "%s", #set);   \
    seen |= (bits);
        uint32_t seen = 0;
        NEEDED_BY(ATTN_HAS(CAUSAL), p.causal = ATTN_CAUSAL_TOP_LEFT)
        NEEDED_BY(ATTN_HAS(WINDOW), (p.window = 1, p.window_right = -1))
        NEEDED_BY(ATTN_HAS(CHUNK), p.chunk = 64)
        NEEDED_BY(ATTN_HAS(SINK_LOGITS), p.sink_logits = buffer.f)
        NEEDED_BY(ATTN_HAS(SOFTCAP), p.softcap = 1e-30f)
        NEEDED_BY(ATTN_HAS(ALIBI), p.alibi_slopes = buffer.f)
        NEEDED_BY(ATTN_HAS(BIAS), p.bias.data = &buffer)
        NEEDED_BY(ATTN_HAS(BOOL_MASK), p.mask.data = &buffer)
        NEEDED_BY(ATTN_HAS(VARLEN), p.cu_seqlens_q = buffer.i)
        NEEDED_BY(ATTN_HAS(VARLEN), p.cu_seqlens_k = buffer.i)
        NEEDED_BY(ATTN_HAS(VARLEN), p.seqused_q = buffer.i)
        NEEDED_BY(ATTN_HAS(VARLEN), p.seqused_k = buffer.i)
        NEEDED_BY(ATTN_HAS(PAGED), (p.page_size = 8, p.block_table = p.seqused_k = buffer.i))
        NEEDED_BY(ATTN_HAS(SCALED), p.q_scale.scale = buffer.f)
        NEEDED_BY(ATTN_HAS(SCALED), p.k_scale.scale = buffer.f)
        NEEDED_BY(ATTN_HAS(SCALED), p.v_scale.scale = buffer.f)
        NEEDED_BY(ATTN_HAS(DROPOUT), p.dropout_p = 0.1f)
        NEEDED_BY(ATTN_HAS(SCHEDULE), p.schedule.row_ptr = buffer.i)
        NEEDED_BY(ATTN_HAS(SCHEDULE), p.schedule.runs = buffer.i)
        NEEDED_BY(ATTN_HAS(ROPE), p.rope_style = ATTN_ROPE_INTERLEAVED)
        NEEDED_BY(ATTN_HAS(WINDOW) | ATTN_HAS(SINK_TOKENS), (p.window = 1, p.sink_tokens = 4))
#undef NEEDED_BY
        CHECK(seen == (1u << ATTN_FEATURE_COUNT) - 1);
    }
    if (check_case("select: an instance lacks one feature at a time")) {
        p = base();
        attn__fill(&p);
        for (int i = 0; i < ATTN_FEATURE_COUNT; i++) {
            attn_instance lacks = everything;
            lacks.features = ~(1u << i);
            CHECK(attn__fit(&lacks, &p, 1u << i) == ATTN__FIT_FEATURES);
            CHECK(attn__fit(&everything, &p, 1u << i) == ATTN__FITS);
        }
    }
    if (check_case("select: one arch of this machine at least")) {
        CHECK(attn__arch_runs(ATTN_ARCH_CPU));
        CHECK(!attn__arch_runs(ATTN_ARCH_AMX) && !attn__arch_runs(ATTN_ARCH_SIMT) && !attn__arch_runs(-1));
        CHECK(!attn__arch_runs(ATTN_ARCH_AVX512BF16) || attn__arch_runs(ATTN_ARCH_AVX512));
        CHECK(!attn__arch_runs(ATTN_ARCH_AVX512) || attn__arch_runs(ATTN_ARCH_AVX2));
    }
}

#define UNSUPPORTED(list, text, ...) CASE(base, list, ATTN_ERR_UNSUPPORTED, text, __VA_ARGS__)

static void refused_by_all(void)
{
    UNSUPPORTED(all_list,
                "dtype f16: this list has f32, bf16, f32:f16; "
                "add attn_row(forward, cpu, f16, 64, any, none, 48, 64, none)",
                p.q.dtype = ATTN_F16)
    UNSUPPORTED(all_list, "dtype bf16:f32: this list has f32, bf16, f32:f16; add attn_row(forward, cpu, bf16:f32, 64,",
                p.q.dtype = ATTN_BF16, p.k.dtype = p.v.dtype = ATTN_F32)
    UNSUPPORTED(dims, "head_dim 80: this list has 64, 128, 192/128; add attn_row(forward, cpu, f32, 80, any, causal,",
                p.head_dim = 80, p.causal = 1)
    UNSUPPORTED(dims, "head_dim 128/64: this list has 64, 128, 192/128; add attn_row(forward, cpu, f32, 128/64, any,",
                p.head_dim = 128, p.head_dim_v = 64)
    UNSUPPORTED(ratios, "heads_q / heads_k 2: this list has 4, 8; add attn_row(forward, cpu, f32, 64, any, none,",
                p.heads_q = 4)
    UNSUPPORTED(halves, "softcap 30: causal has no softcap; "
                "add attn_row(forward, cpu, f32, 64, any, causal+softcap, 48,",
                p.softcap = 30, p.causal = 1)
    UNSUPPORTED(halves, "causal 2: capped has no causal; "
                "add attn_row(forward, cpu, f32, 64, any, causal+softcap+alibi,",
                p.softcap = 30, p.causal = 2, p.alibi_slopes = buffer.f)
    UNSUPPORTED(halves, "window 1, bias 1: no instance has window+bias; "
                "add attn_row(forward, cpu, f32, 64, any, window+bias,",
                p.window = 1, p.bias.data = &buffer)

    /* What the row language has no word for is said first, with no row. */
    UNSUPPORTED(dims, "dropout_p 0.5: no instance has dropout", p.dropout_p = 0.5f, p.head_dim = 80)
    UNSUPPORTED(dims, "schedule 1: no instance has schedule", p.schedule.runs = buffer.i,
                p.schedule.tile_q = p.schedule.tile_k = 64)
    UNSUPPORTED(dims, "rope_style 1: no instance has rope", p.rope_style = 1)
    UNSUPPORTED(all_list, "q_scale, k_scale or v_scale 1: no instance has scaled", p.k.dtype = p.v.dtype = ATTN_INT8,
                p.k_scale.scale = buffer.f)
    UNSUPPORTED(all_list, "dtype f32:e4m3: this list has f32, bf16, f32:f16", p.k.dtype = p.v.dtype = ATTN_E4M3)

    if (check_case("refused: no row for what a row cannot say")) {
        attn_params p = base();
        attn_info info;
        p.dropout_p = 0.5f;
        attn_list_query(dims, 5, &p, &info);
        CHECK_MSG(!strcmp(info.text, "dropout_p 0.5: no instance has dropout"), "%s", info.text);
        p = base();
        p.k.dtype = p.v.dtype = ATTN_INT4;
        attn_list_query(all_list, 3, &p, &info);
        CHECK_MSG(!strcmp(info.text, "dtype f32:int4: this list has f32, bf16, f32:f16; add "
                                     "attn_row(forward, cpu, f32:narrow, 64, any, none, 48, 64, none)"),
                  "%s", info.text);
        p = base();
        p.q.dtype = p.o.dtype = p.k.dtype = p.v.dtype = ATTN_E4M3;
        attn_list_query(all_list, 3, &p, &info);
        CHECK_MSG(strstr(info.text, "o.dtype 4 (e4m3): must be f32 or f16 or bf16"), "%s", info.text);
        p.o.dtype = ATTN_F16;
        attn_list_query(all_list, 3, &p, &info);
        CHECK_MSG(!strcmp(info.text, "dtype e4m3: this list has f32, bf16, f32:f16"), "%s", info.text);
    }
    if (check_case("refused: an empty list")) {
        attn_params p = base();
        attn_info info;
        CHECK(attn_list_query(all_list, 0, &p, &info) == ATTN_ERR_UNSUPPORTED);
        CHECK_MSG(!strncmp(info.text, "the list of instances is empty; add attn_row(forward, ", 54), "%s", info.text);
    }
    if (check_case("refused: no instance of this kernel")) {
        attn_instance other = everything;
        attn_params p = base();
        attn_info info;
        other.kernel = 99;
        CHECK(attn_run_query(&other, &p, &info) == ATTN_ERR_UNSUPPORTED);
        CHECK_MSG(strstr(info.text, "forward: this list has no forward instance; add attn_row("), "%s", info.text);
        char buf[512];
        attn_instance const *one[] = { &other };
        attn_list_explain(one, 1, &p, buf, sizeof buf);
        CHECK_MSG(!strstr(buf, "everything"), "%s", buf); /* it was not considered */
    }
    if (check_case("refused: only another machine could")) {
        attn_params p = base();
        attn_info info;
        p.softcap = 1;
        CHECK(attn_list_query(elsewhere, 3, &p, &info) == ATTN_ERR_ARCH);
        CHECK_MSG(strstr(info.text, "arch 5: nowhere would serve this call, but this machine cannot execute it; "
                                    "add attn_row(forward, "),
                  "%s", info.text);
        CHECK(attn_list_forward(elsewhere, 3, &p, NULL, 0, NULL) == ATTN_ERR_ARCH);
    }
    if (check_case("explain: one line for each instance considered")) {
        char buf[1024];
        attn_params p = base();
        p.softcap = 1;
        attn_list_explain(elsewhere, 3, &p, buf, sizeof buf);
        CHECK_MSG(strstr(buf, "\n  d64: has no softcap\n  nowhere: arch 5\n  f32_f16: dtype f32:f16"), "%s", buf);
        p = base();
        attn_list_explain(elsewhere, 3, &p, buf, sizeof buf);
        CHECK_MSG(!strcmp(buf, "d64 serves this call\n  d64: serves"), "%s", buf);
        p.head_dim = 128;
        attn_list_explain(dims, 5, &p, buf, sizeof buf);
        CHECK_MSG(!strcmp(buf, "d128 serves this call\n  d64: head_dim 64\n  d128: serves"), "%s", buf);
        p.heads_q = 6;
        p.head_dim = 64;
        attn_list_explain(ratios, 2, &p, buf, sizeof buf);
        CHECK_MSG(strstr(buf, "\n  d64_g4: gqa 4\n  d64_g8: gqa 8"), "%s", buf);
    }
}

/* ---- devices ----------------------------------------------------------------------------------- */

static attn_device machine; /* what the stand-ins' current device is */

static void machine_device(attn_device *d)
{
    *d = machine;
}

#define ON_DEVICE(name, arch, dtype, least, d, dv, align, shared)                                                 \
    {                                                                                                             \
        name, ATTN_KERNEL_FORWARD, arch, dtype, dtype, d, dv, least, 0, 0, ROW_FEATURES, 0, 64, 64, align, shared, \
            stand_in_workspace, stand_in_launch, machine_device, NULL, NULL, NULL, NULL                           \
    }

static const attn_instance sm90_d64 = ON_DEVICE("sm90_d64", ATTN_ARCH_SM90, ATTN_F16, 64, 64, 64, 16, 200000);
static const attn_instance sm80_d64 = ON_DEVICE("sm80_d64", ATTN_ARCH_SM80, ATTN_F16, 64, 64, 64, 16, 112640);
static const attn_instance sm80_to128 = ON_DEVICE("sm80_to128", ATTN_ARCH_SM80, ATTN_F16, 16, 128, 64, 16, 50000);
static const attn_instance sm75_d64 = ON_DEVICE("sm75_d64", ATTN_ARCH_SM75, ATTN_F16, 64, 64, 64, 16, 40000);
static const attn_instance simt_f16 = ON_DEVICE("simt_f16", ATTN_ARCH_SIMT, ATTN_F16, 0, 0, 0, 0, 40000);
static const attn_instance cpu_f16 = STAND_IN("cpu_f16", ATTN_ARCH_CPU, ATTN_F16, ATTN_F16, 0, 0, 0, ROW_FEATURES);
static const attn_instance *const gpus[] = { &sm90_d64, &sm80_d64, &sm75_d64, &simt_f16 };
static const attn_instance *const one_gpu[] = { &sm80_d64 };
static const attn_instance *const mma_gpus[] = { &sm80_d64, &sm75_d64 };
static const attn_instance *const ranges[] = { &sm75_d64, &sm80_to128 };
static const attn_instance *const mixed[] = { &cpu_f16, &sm80_d64, &any_f32, &simt_f16 };

static attn_params half(void)
{
    attn_params p = base();
    p.q.dtype = ATTN_F16;
    return p;
}

/* The same, with a device like this; some cases change it. */
static attn_params on_h200(void)
{
    machine = (attn_device){ 90, 132, 232448, 52428800 };
    return half();
}

static attn_params on_t4(void)
{
    machine = (attn_device){ 75, 40, 65536, 4194304 };
    return half();
}

static attn_params on_nothing(void)
{
    machine = (attn_device){ 0, 0, 0, 0 };
    return half();
}

static void devices(void)
{
    attn_params p;
    if (check_case("device: the first that this one can run")) {
        static const struct {
            int cc, shared;
            const char *name;
        } rows[] = {
            { 60, 49152, "simt_f16" }, { 61, 49152, "simt_f16" },  { 70, 98304, "simt_f16" },
            { 75, 65536, "sm75_d64" }, { 80, 166912, "sm80_d64" }, { 86, 101376, "sm75_d64" },
            { 89, 101376, "sm75_d64" }, { 90, 232448, "sm90_d64" }, { 100, 232448, "sm80_d64" },
            { 120, 101376, "sm75_d64" },
        };
        p = half();
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            machine = (attn_device){ rows[i].cc, 100, rows[i].shared, 1 << 25 };
            const char *got = chosen(gpus, 4, &p);
            CHECK_MSG(!strcmp(got, rows[i].name), "%d: %s, not %s", rows[i].cc, got, rows[i].name);
        }
    }
    CASE(on_nothing, one_gpu, ATTN_ERR_ARCH, "arch sm80: sm80_d64 would serve this call, but there is no CUDA device",
         p.device = 0)
    CASE(on_nothing, gpus, ATTN_ERR_ARCH, "arch sm90, sm80, sm75, simt: sm90_d64 would serve this call, but there",
         p.device = ATTN_DEVICE_CUDA)
    CASE(on_t4, one_gpu, ATTN_ERR_ARCH,
         "arch sm80: sm80_d64 would serve this call, but it needs compute capability 8.0, this device has 7.5; "
         "add attn_row(forward, sm75, f16, 64, any, none, 64, 64, none)", p.device = 0)
    CASE(on_h200, one_gpu, ATTN_ERR_ARCH,
         "it needs 112640 bytes of shared memory a block, this device has 101376; add attn_row(forward, sm80, f16,",
         machine.cc = 86, machine.shared = 101376)
    CASE(on_h200, gpus, ATTN_ERR_ARCH, "sm90_d64 would serve this call, but it needs compute capability 9.0, this "
         "device has 5.2", machine.cc = 52)
    if (check_case("device: no row makes one")) {
        attn_info info;
        p = on_nothing();
        attn_list_query(one_gpu, 1, &p, &info);
        CHECK_MSG(!strstr(info.text, "attn_row"), "%s", info.text);
    }

    if (check_case("device: by default the current one, if the list has an instance for it and it is there")) {
        p = on_h200();
        CHECK(!strcmp(chosen(mixed, 4, &p), "sm80_d64"));
        p.device = ATTN_DEVICE_CPU;
        CHECK(!strcmp(chosen(mixed, 4, &p), "cpu_f16"));
        p.device = ATTN_DEVICE_CUDA;
        CHECK(!strcmp(chosen(mixed, 4, &p), "sm80_d64"));
        p = on_nothing();
        CHECK(!strcmp(chosen(mixed, 4, &p), "cpu_f16"));
        p = on_h200();
        CHECK(attn_run(&sm80_d64, &p, NULL, 0, NULL) == ATTN_OK && launched.device == ATTN_DEVICE_CUDA);
        CHECK(attn_run(&cpu_f16, &p, NULL, 0, NULL) == ATTN_OK && launched.device == ATTN_DEVICE_CPU);
    }
    CASE(on_h200, mixed, ATTN_ERR_UNSUPPORTED, "dtype f32: this list has f16; add attn_row(forward, simt, f32, 64,",
         p.q.dtype = ATTN_F32)
    CASE(on_h200, mixed, ATTN_OK, "", p.q.dtype = ATTN_F32, p.device = ATTN_DEVICE_CPU)
    CASE(on_nothing, mixed, ATTN_ERR_ARCH, "there is no CUDA device", p.device = ATTN_DEVICE_CUDA)
    CASE(on_h200, gpus, ATTN_ERR_UNSUPPORTED, "device ATTN_DEVICE_CPU: this list has no instance for it; add attn_row(",
         p.device = ATTN_DEVICE_CPU)
    CASE(on_h200, all_list, ATTN_ERR_UNSUPPORTED, "device ATTN_DEVICE_CUDA: this list has no instance for it; "
         "add attn_row(forward, sm80, f16, 64, any, none, 64, 64, none)", p.device = ATTN_DEVICE_CUDA)
    CASE(on_h200, mixed, ATTN_ERR_ARG, "device 3: must be ATTN_DEVICE_CPU, ATTN_DEVICE_CUDA, or 0", p.device = 3)
    CASE(on_h200, mixed, ATTN_ERR_ARG, "device -1: must be", p.device = -1)

    /* The range is of both dims; without one, both are exact. */
    CASE(on_h200, ranges, ATTN_OK, "", p.head_dim = 16)
    CASE(on_h200, ranges, ATTN_OK, "", p.head_dim = 128, p.head_dim_v = 64)
    CASE(on_h200, ranges, ATTN_OK, "", p.head_dim = 40, p.head_dim_v = 24)
    CASE(on_h200, ranges, ATTN_ERR_UNSUPPORTED, "head_dim 8: this list has 64, 16..128/64; add attn_row(forward, simt,",
         p.head_dim = 8)
    CASE(on_h200, ranges, ATTN_ERR_UNSUPPORTED, "head_dim 136/64: this list has 64, 16..128/64; "
         "add attn_row(forward, sm80, f16, 136/64, any, none, 64, 32, none)", p.head_dim = 136, p.head_dim_v = 64)
    CASE(on_h200, ranges, ATTN_ERR_UNSUPPORTED, "head_dim 72: this list has", p.head_dim = 72)
    CASE(on_h200, ranges, ATTN_ERR_UNSUPPORTED, "head_dim 64/8: this list has", p.head_dim_v = 8)

    CASE(on_h200, mma_gpus, ATTN_ERR_UNSUPPORTED, "k.stride[1] 65: sm80_d64 needs rows at a multiple of 16 bytes; "
         "add attn_row(forward, simt, f16, 64, any, none, 64, 32, none)",
         p.k.stride[0] = 8 * 65, p.k.stride[1] = 65, p.k.stride[2] = 8 * 1024, p.k.stride[3] = 1)
    CASE(on_h200, mma_gpus, ATTN_ERR_UNSUPPORTED, "v.stride[3] 2: sm80_d64 needs rows", p.v.stride[0] = 4096,
         p.v.stride[1] = 256, p.v.stride[2] = 128, p.v.stride[3] = 2)
    CASE(on_h200, mma_gpus, ATTN_ERR_UNSUPPORTED, "k.dim_block 8: sm80_d64 needs rows", p.k.dim_block = 8,
         p.k.stride[1] = 8, p.k.stride[3] = 128)
    CASE(on_h200, mma_gpus, ATTN_ERR_UNSUPPORTED, ": sm80_d64 needs rows at a multiple of 16 bytes",
         p.q.data = buffer.c + 8)
    CASE(on_h200, mma_gpus, ATTN_ERR_UNSUPPORTED, "q.stride[2] -68: sm80_d64 needs rows", p.q.stride[0] = 4096,
         p.q.stride[1] = 512, p.q.stride[2] = -68, p.q.stride[3] = 1)
    if (check_case("device: what is for few query rows serves no more")) {
        attn_instance few = sm80_d64;
        const attn_instance *const list[] = { &few, &sm80_d64 };
        few.name = "sm80_few";
        few.kernel = ATTN_KERNEL_DECODE;
        few.rows = 8; /* of a KV head: 4 positions of 2 heads */
        p = on_h200();
        p.seq_q = 4;
        CHECK(!strcmp(chosen(list, 2, &p), "sm80_few"));
        p.seq_q = 5;
        CHECK(!strcmp(chosen(list, 2, &p), "sm80_d64"));
        expect(list, 1, &p, ATTN_ERR_UNSUPPORTED, "seq_q * heads_q / heads_k 10: this list has up to 8; "
               "add attn_row(forward, sm80, f16, 64, any, none, 64, 64, none)");
        char buf[300];
        attn_list_explain(list, 2, &p, buf, sizeof buf);
        CHECK_MSG(strstr(buf, "sm80_few: query rows up to 8"), "%s", buf);
    }
    if (check_case("device: what has v in k serves nothing else")) {
        attn_instance latent = sm90_d64;
        const attn_instance *const list[] = { &latent, &simt_f16 };
        char buf[300];
        latent.name = "mla";
        latent.kernel = ATTN_KERNEL_MLA;
        latent.head_dim_v = 32;
        p = on_h200();
        p.head_dim_v = 32;
        p.k.stride[0] = 4096, p.k.stride[1] = p.k.stride[2] = 64, p.k.stride[3] = 1;
        p.v = p.k;
        CHECK(!strcmp(chosen(list, 2, &p), "mla"));
        p.v.stride[1] = 72;
        CHECK(!strcmp(chosen(list, 2, &p), "simt_f16"));
        attn_list_explain(list, 2, &p, buf, sizeof buf);
        CHECK_MSG(strstr(buf, "mla: v is not the first dims of k"), "%s", buf);
        expect(list, 1, &p, ATTN_ERR_UNSUPPORTED, "v: must be the first 32 dims of k, v.data and v.stride those of k, "
               "for mla");
        p.v = p.k;
        p.v.data = (char *)p.k.data + 128;
        CHECK(!strcmp(chosen(list, 2, &p), "simt_f16"));
        p.seq_k = 0;
        CHECK(!strcmp(chosen(list, 2, &p), "mla"));
    }
    if (check_case("device: what reads any rows serves them")) {
        p = on_h200();
        p.q.data = buffer.c + 8;
        CHECK(!strcmp(chosen(gpus, 4, &p), "simt_f16"));
        p = on_h200();
        p.q.data = buffer.c + 16;
        CHECK(!strcmp(chosen(gpus, 4, &p), "sm90_d64"));
        p.q.stride[0] = 4096, p.q.stride[1] = 512, p.q.stride[2] = -64, p.q.stride[3] = 1;
        CHECK(!strcmp(chosen(gpus, 4, &p), "sm80_d64"));
        p.q.stride[2] = (int64_t)1 << 39;
        CHECK(!strcmp(chosen(gpus, 4, &p), "sm80_d64"));
        p.q.stride[2] = 0;
        CHECK(!strcmp(chosen(gpus, 4, &p), "sm90_d64"));
    }
    CASE(on_h200, gpus, ATTN_OK, "", p.q.stride[0] = 4096, p.q.stride[1] = 512, p.q.stride[2] = -64,
         p.q.stride[3] = 1)
    CASE(on_h200, mma_gpus, ATTN_OK, "", p.q.stride[0] = 3, p.q.stride[1] = 264, p.q.stride[2] = 64,
         p.q.stride[3] = 1, p.batch = 1) /* no second sequence: its stride is not used */
    CASE(on_h200, mma_gpus, ATTN_OK, "", p.o.data = buffer.c + 2, p.o.stride[0] = 9999, p.o.stride[1] = 271,
         p.o.stride[2] = 67, p.o.stride[3] = 1)
    CASE(on_h200, mma_gpus, ATTN_OK, "", p.seq_k = 0, p.k.data = p.v.data = NULL)
    CASE(on_h200, mma_gpus, ATTN_ERR_UNSUPPORTED, "k.stride[0] 2050: sm80_d64 needs rows", p.page_size = 16,
         p.block_table = p.seqused_k = buffer.i, p.k.stride[0] = 2050, p.k.stride[1] = 128, p.k.stride[2] = 64,
         p.k.stride[3] = 1)
    CASE(on_h200, mma_gpus, ATTN_OK, "", p.page_size = 16, p.block_table = p.seqused_k = buffer.i)

    if (check_case("explain: devices")) {
        char buf[2048];
        p = on_t4();
        p.q.data = buffer.c + 2;
        attn_list_explain(gpus, 4, &p, buf, sizeof buf);
        CHECK_MSG(strstr(buf, "simt_f16 serves this call\n"
                              "  sm90_d64: arch sm90, it needs compute capability 9.0, this device has 7.5\n"
                              "  sm80_d64: arch sm80, it needs compute capability 8.0, this device has 7.5\n"
                              "  sm75_d64: q.data "),
                  "%s", buf);
        p.device = ATTN_DEVICE_CPU;
        attn_list_explain(mixed, 4, &p, buf, sizeof buf);
        CHECK_MSG(!strcmp(buf, "cpu_f16 serves this call\n  cpu_f16: serves"), "%s", buf);
        p.q.data = &buffer;
        p.q.dtype = ATTN_F32;
        attn_list_explain(mixed, 4, &p, buf, sizeof buf);
        CHECK_MSG(!strcmp(buf, "any_f32 serves this call\n  cpu_f16: dtype f16\n  any_f32: serves"), "%s", buf);
    }
    if (check_case("device: asked through the list")) {
        attn_device d;
        (void)on_h200();
        CHECK(attn_list_query_device(mixed, 4, &d) == ATTN_OK && !memcmp(&d, &machine, sizeof d));
        CHECK(attn_list_query_device(mixed, 4, NULL) == ATTN_ERR_ARG);
        CHECK(attn_list_query_device(all_list, 3, &d) == ATTN_ERR_ARCH && !d.cc && !d.sms && !d.shared && !d.l2);
        (void)on_nothing();
        CHECK(attn_list_query_device(mixed, 4, &d) == ATTN_ERR_ARCH && !d.cc);
    }
    if (check_case("recommended tile: by L2")) {
        static const struct {
            int l2, tile;
        } rows[] = {
            { 0, 64 },           { 2 << 20, 64 },     { 3 << 20, 64 },    { 4 << 20, 64 },   { 6 << 20, 128 },
            { 8 << 20, 128 },    { 20 << 20, 256 },   { 40 << 20, 256 },  { 50 << 20, 256 }, { 80 << 20, 256 },
        };
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            attn_device d = { 80, 100, 100000, rows[i].l2 };
            CHECK(attn_run_recommended_tile(&d) == rows[i].tile);
        }
    }
}

/* ---- workspace --------------------------------------------------------------------------------- */

static void workspace(void)
{
    static union {
        char bytes[512];
        double align;
    } memory;
    char *at = memory.bytes + (64 - (uintptr_t)memory.bytes % 64) % 64;
    attn_params p = base();
    attn_info info;
    bytes_wanted = 256;
    bytes_least = 64;
    if (check_case("workspace: query gives both sizes")) {
        CHECK(attn_run_query(&everything, &p, &info) == ATTN_OK);
        CHECK(info.workspace == 256 && info.workspace_least == 64);
        p.batch = 0;
        CHECK(attn_run_query(&everything, &p, &info) == ATTN_OK);
        CHECK(info.workspace == 0 && info.workspace_least == 0);
        p = base();
    }
    if (check_case("workspace: missing, short or misaligned")) {
        CHECK(attn_run(&everything, &p, NULL, 0, NULL) == ATTN_ERR_WORKSPACE);
        CHECK(attn_run(&everything, &p, NULL, 256, NULL) == ATTN_ERR_WORKSPACE);
        CHECK(attn_run(&everything, &p, at, 0, NULL) == ATTN_ERR_WORKSPACE);
        CHECK(attn_run(&everything, &p, at, 63, NULL) == ATTN_ERR_WORKSPACE);
        CHECK(attn_run(&everything, &p, at + 1, 256, NULL) == ATTN_ERR_WORKSPACE);
        CHECK(attn_run(&everything, &p, at + 32, 256, NULL) == ATTN_ERR_WORKSPACE);
    }
    if (check_case("workspace: any amount from the least on, and the stream, reach the launch")) {
        for (size_t bytes = 64; bytes <= 256; bytes += 96) {
            CHECK(attn_run(&everything, &p, at, bytes, (void *)"a stream") == ATTN_OK);
            CHECK(launched_bytes == bytes && !strcmp(launched_name, "a stream"));
        }
    }
    bytes_least = 0;
    if (check_case("workspace: NULL where none is needed")) {
        CHECK(attn_run(&everything, &p, NULL, 999, NULL) == ATTN_OK);
        CHECK(launched_bytes == 0);
        CHECK(attn_run(&everything, &p, at, 64, NULL) == ATTN_OK);
        CHECK(launched_bytes == 64);
    }
    bytes_wanted = 0;
}

/* ---- merge ------------------------------------------------------------------------------------- */

enum { MERGE_MAX = 4096 };

typedef struct merge_case {
    int parts, batch, seq, heads, dim, part_dtype, o_dtype, sink, base2, spread;
} merge_case;

/* [part, batch, seq, head, dim] and [part, batch, head, seq]. */
static float merge_o[MERGE_MAX], merge_lse[MERGE_MAX];
static float merge_sink[16];
static double expect_o[MERGE_MAX], expect_lse[MERGE_MAX];

static float rounded(float f, int dtype)
{
    return dtype == ATTN_F16    ? attn__f16_to_f32(attn__f32_to_f16(f))
           : dtype == ATTN_BF16 ? attn__bf16_to_f32(attn__f32_to_bf16(f))
                                : f;
}

static void merge_fill(const merge_case *c, uint64_t *state)
{
    int rows = c->batch * c->heads * c->seq;
    for (int i = 0; i < c->parts * rows * c->dim; i++)
        merge_o[i] = rounded((float)check_normal(state), c->part_dtype);
    for (int i = 0; i < c->parts * rows; i++)
        merge_lse[i] = check_range(state, 0, 4) ? (float)(c->spread * check_normal(state)) : -INFINITY;
    for (int h = 0; h < c->heads; h++)
        merge_sink[h] = check_range(state, 0, 3) ? (float)check_normal(state) : -INFINITY;
}

/* In double, from the definition. */
static void merge_expect(const merge_case *c)
{
    const double unit = c->base2 ? log(2) : 1;
    int rows = c->batch * c->heads * c->seq;
    for (int b = 0; b < c->batch; b++)
        for (int i = 0; i < c->seq; i++)
            for (int h = 0; h < c->heads; h++) {
                int at = (b * c->heads + h) * c->seq + i, o_at = ((b * c->seq + i) * c->heads + h) * c->dim;
                double most = c->sink ? merge_sink[h] : -INFINITY, sum = 0;
                for (int n = 0; n < c->parts; n++)
                    most = fmax(most, merge_lse[n * rows + at] * unit);
                if (most > -INFINITY) {
                    sum = c->sink ? exp(merge_sink[h] - most) : 0;
                    for (int n = 0; n < c->parts; n++)
                        sum += exp(merge_lse[n * rows + at] * unit - most);
                }
                expect_lse[at] = sum > 0 ? (most + log(sum)) / unit : -INFINITY;
                for (int d = 0; d < c->dim; d++) {
                    double o = 0;
                    for (int n = 0; n < c->parts && sum > 0; n++)
                        o += exp(merge_lse[n * rows + at] * unit - most) / sum *
                             (double)merge_o[n * rows * c->dim + o_at + d];
                    expect_o[o_at + d] = o;
                }
            }
}

static void narrow(void *to, const float *from, int n, int dtype)
{
    for (int i = 0; i < n; i++)
        attn__store(to, i, dtype, from[i]);
}

static attn_merge_params merge_params(const merge_case *c)
{
    attn_merge_params p;
    memset(&p, 0x7f, sizeof p); /* padding must not matter */
    p.struct_size = sizeof p;
    p.flags = c->base2 ? ATTN_LSE_BASE2 : 0;
    p.parts = c->parts;
    p.batch = c->batch;
    p.seq_q = c->seq;
    p.heads_q = c->heads;
    p.head_dim_v = c->dim;
    memset(&p.part_o, 0, sizeof p.part_o);
    memset(&p.o, 0, sizeof p.o);
    p.part_o.dtype = c->part_dtype;
    p.o.dtype = c->o_dtype;
    p.part_o_stride = 0;
    p.part_lse = merge_lse;
    memset(p.part_lse_stride, 0, sizeof p.part_lse_stride);
    p.sink_logits = c->sink ? merge_sink : NULL;
    p.lse = NULL;
    memset(p.lse_stride, 0, sizeof p.lse_stride);
    p.threads = 0;
    p.device = ATTN_DEVICE_CPU;
    return p;
}

static void merge_compare(const merge_case *c, const void *o, const float *lse)
{
    const double tolerance = c->o_dtype == ATTN_F16 ? 1e-3 : c->o_dtype == ATTN_BF16 ? 8e-3 : 2e-6;
    int rows = c->batch * c->heads * c->seq, bad = 0;
    for (int i = 0; i < rows * c->dim && !bad; i++) {
        double got = attn__load(o, i, c->o_dtype ? c->o_dtype : ATTN_F32);
        bad = !(fabs(got - expect_o[i]) <= tolerance * fmax(1, fabs(expect_o[i])));
        CHECK_MSG(!bad, "o[%d] is %g, not %g", i, got, expect_o[i]);
    }
    for (int i = 0; i < rows && !bad && lse; i++) {
        bad = !(lse[i] == expect_lse[i] || fabs(lse[i] - expect_lse[i]) <= 2e-6 * fmax(1, fabs(expect_lse[i])));
        CHECK_MSG(!bad, "lse[%d] is %g, not %g", i, (double)lse[i], expect_lse[i]);
    }
}

static void merge_random(void)
{
    static float o[MERGE_MAX], parts[MERGE_MAX], lse[MERGE_MAX];
    static const int dtypes[] = { 0, ATTN_F32, ATTN_F16, ATTN_BF16 };
    for (int n = 0; n < check_count(200); n++) {
        uint64_t state = check_seed() * 1000003 + (uint64_t)n;
        merge_case c = { check_range(&state, 1, 5), check_range(&state, 1, 2),  check_range(&state, 1, 3),
                         check_range(&state, 1, 4), check_range(&state, 1, 30), dtypes[check_range(&state, 1, 3)],
                         dtypes[check_range(&state, 0, 3)], check_range(&state, 0, 1), check_range(&state, 0, 1),
                         check_range(&state, 1, 60) };
        if (!check_case("merge: random %d (parts %d, batch %d, seq %d, heads %d, dim %d, %s to %s%s%s)", n, c.parts,
                        c.batch, c.seq, c.heads, c.dim, attn__dtype_of(c.part_dtype).name,
                        c.o_dtype ? attn__dtype_of(c.o_dtype).name : "default", c.sink ? ", sink" : "",
                        c.base2 ? ", base 2" : ""))
            continue;
        attn_merge_params p = merge_params(&c);
        merge_fill(&c, &state);
        merge_expect(&c);
        narrow(parts, merge_o, c.parts * c.batch * c.seq * c.heads * c.dim, c.part_dtype);
        p.part_o.data = parts;
        p.o.data = o;
        p.lse = lse;
        CHECK(attn_run_merge(&p) == ATTN_OK);
        merge_compare(&c, o, lse);
        p.lse = NULL;
        CHECK(attn_run_merge(&p) == ATTN_OK);
        merge_compare(&c, o, NULL);
    }
}

static void merge_special(void)
{
    static float o[MERGE_MAX], lse[MERGE_MAX], parts[MERGE_MAX];
    const merge_case plain = { 3, 2, 3, 2, 70, ATTN_F32, ATTN_F32, 0, 0, 5 };
    const int rows = 2 * 3 * 2, all = rows * 70;
    attn_merge_params p = merge_params(&plain);
    uint64_t state = check_seed();
    merge_fill(&plain, &state);
    merge_expect(&plain);
    p.part_o.data = merge_o;
    p.o.data = o;
    p.lse = lse;

    if (check_case("merge: in place on part 0")) {
        memcpy(parts, merge_o, sizeof parts);
        p.part_o.data = p.o.data = parts;
        CHECK(attn_run_merge(&p) == ATTN_OK);
        merge_compare(&plain, parts, lse);
        memcpy(parts, merge_o, sizeof parts);
        memcpy(lse, merge_lse, sizeof lse);
        p.part_lse = p.lse = lse;
        CHECK(attn_run_merge(&p) == ATTN_OK);
        merge_compare(&plain, parts, lse);
        p = merge_params(&plain);
        p.part_o.data = merge_o;
        p.o.data = o;
        p.lse = lse;
    }
    if (check_case("merge: strides of parts, result and lse")) {
        attn_merge_params s = p;
        static float wide[2 * 3 * MERGE_MAX], wide_lse[MERGE_MAX], to[2 * MERGE_MAX], to_lse[MERGE_MAX];
        for (int n = 0; n < 3; n++)
            for (int b = 0; b < 2; b++)
                for (int h = 0; h < 2; h++)
                    for (int i = 0; i < 3; i++) {
                        wide_lse[b * 100 + n * 20 + h * 5 + i] = merge_lse[(n * 2 + b) * 6 + h * 3 + i];
                        for (int d = 0; d < 70; d++) /* [batch, head, part, seq, dim] with dims two apart */
                            wide[(((b * 2 + h) * 3 + n) * 3 + i) * 140 + 2 * d] =
                                merge_o[(((n * 2 + b) * 3 + i) * 2 + h) * 70 + d];
                    }
        s.part_o.data = wide;
        s.part_o_stride = 3 * 140;
        s.part_o.stride[0] = 2 * 3 * 3 * 140;
        s.part_o.stride[1] = 140;
        s.part_o.stride[2] = 3 * 3 * 140;
        s.part_o.stride[3] = 2;
        s.part_lse = wide_lse;
        s.part_lse_stride[0] = 20;
        s.part_lse_stride[1] = 100;
        s.part_lse_stride[2] = 5;
        s.o.data = to;
        s.o.stride[0] = 1; /* batch innermost */
        s.o.stride[1] = 2;
        s.o.stride[2] = 6;
        s.o.stride[3] = 12;
        s.lse = to_lse + 50;
        s.lse_stride[0] = 9;
        s.lse_stride[1] = -20;
        CHECK(attn_run_merge(&s) == ATTN_OK);
        for (int b = 0; b < 2; b++)
            for (int h = 0; h < 2; h++)
                for (int i = 0; i < 3; i++) {
                    lse[(b * 2 + h) * 3 + i] = to_lse[50 + 9 * b - 20 * h + i];
                    for (int d = 0; d < 70; d++)
                        o[((b * 3 + i) * 2 + h) * 70 + d] = to[b + 2 * i + 6 * h + 12 * d];
                }
        merge_compare(&plain, o, lse);
    }
    if (check_case("merge: nothing visible in any part")) {
        for (int i = 0; i < 3 * rows; i++)
            lse[i] = -INFINITY;
        memset(parts, 0xff, sizeof parts); /* NaN: not to be read */
        attn_merge_params s = p;
        s.part_o.data = parts;
        s.part_lse = lse;
        CHECK(attn_run_merge(&s) == ATTN_OK);
        for (int i = 0; i < all; i++)
            CHECK(o[i] == 0);
        for (int i = 0; i < rows; i++)
            CHECK(lse[i] == -INFINITY);
        merge_sink[0] = 1.5f;
        merge_sink[1] = -INFINITY;
        s.sink_logits = merge_sink;
        for (int i = 0; i < 3 * rows; i++)
            lse[i] = -INFINITY;
        CHECK(attn_run_merge(&s) == ATTN_OK);
        for (int i = 0; i < rows; i++)
            CHECK(lse[i] == (i / 3 % 2 ? -INFINITY : 1.5f));
        CHECK(o[0] == 0 && o[all - 1] == 0);
    }
    if (check_case("merge: NaN and infinity spread over their own row alone")) {
        static float bad_lse[MERGE_MAX];
        const float bad[] = { NAN, INFINITY };
        for (int k = 0; k < 2; k++)
            for (int part = 0; part < 3; part++) {
                attn_merge_params s = p;
                memcpy(bad_lse, merge_lse, sizeof bad_lse);
                bad_lse[part * rows] = bad[k]; /* batch 0, head 0, row 0 */
                s.part_lse = bad_lse;
                CHECK(attn_run_merge(&s) == ATTN_OK);
                CHECK(isnan(lse[0]) && isnan(o[0]) && isnan(o[69]));
                CHECK(!isnan(lse[1]) && !isnan(o[70]) && !isnan(o[140]));
            }
        memcpy(parts, merge_o, sizeof parts);
        memcpy(bad_lse, merge_lse, sizeof bad_lse);
        bad_lse[0] = 1;
        parts[3] = NAN;
        attn_merge_params s = p;
        s.part_o.data = parts;
        s.part_lse = bad_lse;
        CHECK(attn_run_merge(&s) == ATTN_OK);
        CHECK(!isnan(lse[0]) && !isnan(o[2]) && isnan(o[3]) && !isnan(o[4]));
    }
    if (check_case("merge: associative to rounding")) {
        static float left[MERGE_MAX], left_lse[MERGE_MAX];
        attn_merge_params s = p;
        s.parts = 2; /* (0, 1), then with 2 */
        s.o.data = left;
        s.lse = left_lse;
        CHECK(attn_run_merge(&s) == ATTN_OK);
        memcpy(left + all, merge_o + 2 * all, (size_t)all * sizeof *left);
        memcpy(left_lse + rows, merge_lse + 2 * rows, (size_t)rows * sizeof *left_lse);
        s.part_o.data = left;
        s.part_lse = left_lse;
        s.o.data = o;
        s.lse = lse;
        CHECK(attn_run_merge(&s) == ATTN_OK);
        merge_compare(&plain, o, lse);
    }
    if (check_case("merge: O * sigmoid(lse - z) with one part and a sink")) {
        attn_merge_params s = p;
        s.parts = 1;
        merge_sink[0] = 0.25f;
        merge_sink[1] = -3;
        s.sink_logits = merge_sink;
        CHECK(attn_run_merge(&s) == ATTN_OK);
        for (int h = 0; h < 2; h++) {
            double keep = 1 / (1 + exp((double)merge_sink[h] - (double)merge_lse[h * 3]));
            CHECK(fabs(o[h * 70] - keep * (double)merge_o[h * 70]) < 1e-6);
        }
    }
    if (check_case("merge: no rows")) {
        attn_merge_params s = p;
        s.batch = 0;
        s.part_o.data = s.o.data = NULL;
        s.part_lse = NULL;
        CHECK(attn_run_merge(&s) == ATTN_OK);
        s.batch = 2;
        s.seq_q = 0;
        CHECK(attn_run_merge(&s) == ATTN_OK);
    }
}

#define REFUSE_MERGE(message, ...)                                                              \
    if (check_case("merge: refuse %s", #__VA_ARGS__)) {                                         \
        attn_merge_params full, p = merge_params(&plain);                                       \
        attn__text t = attn__text_start(buf, sizeof buf);                                       \
        p.part_o.data = p.o.data = &buffer;                                                     \
        __VA_ARGS__;                                                                            \
        CHECK(attn_run_merge(&p) == ATTN_ERR_ARG);                                              \
        CHECK(attn__merge_check(&full, &p, &t) == ATTN_ERR_ARG);                                \
        CHECK_MSG(strstr(buf, message), "text is `%s`, not `%s`", buf, message);                \
    }

static void merge_refused(void)
{
    const void *odd = buffer.c + 2;
    const merge_case plain = { 3, 2, 3, 2, 70, ATTN_F32, ATTN_F32, 0, 0, 5 };
    char buf[256];
    if (check_case("merge: refuse NULL"))
        CHECK(attn_run_merge(NULL) == ATTN_ERR_ARG);
    REFUSE_MERGE("struct_size 0: must be", p.struct_size = 0)
    REFUSE_MERGE("flags 2: must be 0 in all bits but ATTN_LSE_BASE2", p.flags = ATTN_LSE_NO_SINK)
    REFUSE_MERGE("parts 0: must be at least 1", p.parts = 0)
    REFUSE_MERGE("batch -1: must be at least 0", p.batch = -1)
    REFUSE_MERGE("seq_q -1: must be at least 0", p.seq_q = -1)
    REFUSE_MERGE("heads_q 0: must be at least 1", p.heads_q = 0)
    REFUSE_MERGE("head_dim_v 0: must be 1 to 65536", p.head_dim_v = 0)
    REFUSE_MERGE("threads -1: must be 0 to 1024", p.threads = -1)
    REFUSE_MERGE("part_o.dtype 0 (?): must be f32 or f16 or bf16", p.part_o.dtype = 0)
    REFUSE_MERGE("o.dtype 6 (int8): must be f32 or f16 or bf16", p.o.dtype = ATTN_INT8)
    REFUSE_MERGE("part_o.data NULL: must be set", p.part_o.data = NULL)
    REFUSE_MERGE("o.data NULL: must be set", p.o.data = NULL)
    REFUSE_MERGE("part_lse NULL: must be set", p.part_lse = NULL)
    REFUSE_MERGE("must be a multiple of 4 bytes", p.part_o.data = buffer.c + 2)
    REFUSE_MERGE("must be a multiple of 4 bytes", p.o.data = buffer.c + 1)
    REFUSE_MERGE("must be a multiple of 4 bytes", memcpy(&p.part_lse, &odd, sizeof odd))
    REFUSE_MERGE("must be a multiple of 4 bytes", memcpy(&p.sink_logits, &odd, sizeof odd))
    REFUSE_MERGE("must be a multiple of 4 bytes", memcpy(&p.lse, &odd, sizeof odd))
    REFUSE_MERGE("part_o.dim_block 2: must be 0", p.part_o.dim_block = 2)
    REFUSE_MERGE("o.dim_block 2: must be 0", p.o.dim_block = 2)
    REFUSE_MERGE("o.stride[3] 0: must not be 0, results would overlap", p.o.stride[0] = 5, p.o.stride[1] = 5,
                 p.o.stride[2] = 5)
    REFUSE_MERGE("lse_stride[1] 2: must be at least the 3 rows", p.lse = buffer.f, p.lse_stride[0] = 9,
                 p.lse_stride[1] = 2)
    REFUSE_MERGE("part_o.stride[0] 9223372036854775807: too large", p.part_o.stride[0] = INT64_MAX)
    REFUSE_MERGE("part_o_stride 9223372036854775807: too large", p.part_o_stride = INT64_MAX)
    REFUSE_MERGE("part_o_stride 420: too large", p.part_o_stride = 420, p.part_lse_stride[0] = INT64_MAX)
    REFUSE_MERGE("too large", p.parts = p.batch = p.seq_q = p.heads_q = INT32_MAX)
}

/* ---- helpers ----------------------------------------------------------------------------------- */

/* As the papers' authors write them: recursively (Press et al.), and by slicing a list (MPT). */
static int slopes_press(double *to, int heads)
{
    int power = 1;
    while (2 * power <= heads)
        power *= 2;
    double start = pow(2, -8.0 / power);
    for (int h = 0; h < power; h++)
        to[h] = pow(start, h + 1);
    if (power < heads) {
        static double twice[4096];
        double again = pow(2, -8.0 / (2 * power));
        for (int h = 0; h < 2 * power; h++)
            twice[h] = pow(again, h + 1);
        for (int h = power; h < heads; h++)
            to[h] = twice[2 * (h - power)];
    }
    return heads;
}

static int slopes_mpt(double *to, int heads)
{
    int power = (int)pow(2, ceil(log2(heads))), n = 0;
    static double all[4096];
    for (int i = 0; i < power; i++)
        all[i] = 1 / pow(2, (i + 1) * (8.0 / power));
    if (power == heads)
        for (int i = 0; i < power; i++)
            to[n++] = all[i];
    for (int first = 1; first >= 0 && power != heads; first--)
        for (int i = first; i < power && n < heads; i += 2)
            to[n++] = all[i];
    return n;
}

static void helpers(void)
{
    static const int heads[] = { 1, 2, 3, 4, 5, 7, 8, 12, 16, 20, 32, 40, 71, 112, 1000 };
    static double want[4096];
    static float got[4096];
    for (int family = ATTN_ALIBI_PRESS; family <= ATTN_ALIBI_MPT; family++)
        for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
            if (!check_case("slopes: family %d, %d heads", family, heads[i]))
                continue;
            int n = family == ATTN_ALIBI_PRESS ? slopes_press(want, heads[i]) : slopes_mpt(want, heads[i]);
            CHECK(n == heads[i]);
            got[n] = 12345;
            CHECK(attn_run_alibi_slopes(got, n, family) == ATTN_OK);
            for (int h = 0; h < n; h++)
                CHECK_MSG(fabs(got[h] - want[h]) <= 1e-7 * want[h], "slope %d is %g, not %g", h, (double)got[h],
                          want[h]);
            CHECK(got[n] == 12345);
        }
    if (check_case("slopes: refused")) {
        CHECK(attn_run_alibi_slopes(NULL, 4, ATTN_ALIBI_PRESS) == ATTN_ERR_ARG);
        CHECK(attn_run_alibi_slopes(got, 0, ATTN_ALIBI_PRESS) == ATTN_ERR_ARG);
        CHECK(attn_run_alibi_slopes(got, -1, ATTN_ALIBI_MPT) == ATTN_ERR_ARG);
        CHECK(attn_run_alibi_slopes(got, 4, 0) == ATTN_ERR_ARG);
        CHECK(attn_run_alibi_slopes(got, 4, 3) == ATTN_ERR_ARG);
    }
    if (check_case("status names")) {
        static const struct {
            int status;
            const char *name;
        } names[] = {
#define NAME(s) { s, #s }
            NAME(ATTN_OK),       NAME(ATTN_ERR_ARG),  NAME(ATTN_ERR_UNSUPPORTED), NAME(ATTN_ERR_WORKSPACE),
            NAME(ATTN_ERR_ARCH), NAME(ATTN_ERR_CUDA),
#undef NAME
            { -1, "ATTN_ERR_?" }, { 6, "ATTN_ERR_?" }, { INT_MAX, "ATTN_ERR_?" }, { INT_MIN, "ATTN_ERR_?" },
        };
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            CHECK(!strcmp(attn_run_status_name((attn_status)names[i].status), names[i].name));
    }
}

/* All numbers of each type there and back; what lies between two of them goes to the nearest, ties to even. */
static void conversions(void)
{
    if (check_case("convert: f16 and bf16 to f32 and back")) {
        for (uint32_t h = 0; h < 65536 && !check_failed(); h++) {
            int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
            double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
            float f = attn__f16_to_f32((uint16_t)h), b = attn__bf16_to_f32((uint16_t)h);
            if (exponent == 31)
                CHECK(mantissa ? isnan(f) : isinf(f));
            else
                CHECK(fabs((double)f) == value);
            CHECK(!!signbit(f) == (int)(h >> 15) && !!signbit(b) == (int)(h >> 15));
            CHECK(isnan(f) ? isnan(attn__f16_to_f32(attn__f32_to_f16(f))) : attn__f32_to_f16(f) == h);
            CHECK(isnan(b) ? isnan(attn__bf16_to_f32(attn__f32_to_bf16(b))) : attn__f32_to_bf16(b) == h);
        }
    }
    if (check_case("convert: f32 to f16 and bf16 rounds to nearest, ties to even")) {
        for (uint32_t h = 0; h < 0x7c00 && !check_failed(); h++) {
            double low = attn__f16_to_f32((uint16_t)h);
            double high = h == 0x7bff ? 65536 : (double)attn__f16_to_f32((uint16_t)(h + 1));
            float middle = (float)((low + high) / 2);
            CHECK(attn__f32_to_f16(middle) == h + (h & 1));
            CHECK(attn__f32_to_f16(nextafterf(middle, 0)) == h);
            CHECK(attn__f32_to_f16(nextafterf(middle, INFINITY)) == h + 1);
            CHECK(attn__f32_to_f16(-middle) == (0x8000 | (h + (h & 1))));
        }
        for (uint32_t h = 0; h < 0x7f80 && !check_failed(); h++) {
            float middle = attn__f32_from_bits(h << 16 | 0x8000u);
            CHECK(attn__f32_to_bf16(middle) == h + (h & 1));
            CHECK(attn__f32_to_bf16(attn__f32_from_bits(h << 16 | 0x7fffu)) == h);
            CHECK(attn__f32_to_bf16(attn__f32_from_bits(h << 16 | 0x8001u)) == h + 1);
        }
        CHECK(attn__f32_to_f16(FLT_MAX) == 0x7c00 && attn__f32_to_f16(-INFINITY) == 0xfc00);
        CHECK(attn__f32_to_f16(FLT_MIN / 4) == 0 && attn__f32_to_f16(-FLT_MIN) == 0x8000);
        CHECK(attn__f32_to_bf16(attn__f32_from_bits(0x7f800001u)) == 0x7fc0);
    }
    static const struct {
        const char *name;
        int fraction, bias; /* bits of the fraction; of the exponent */
        unsigned most;      /* code of the largest number */
        float (*wide)(uint8_t);
        uint8_t (*narrow)(float);
    } types[] = {{"e4m3", 3, 7, 0x7e, attn__e4m3_to_f32, attn__f32_to_e4m3},
                 {"e5m2", 2, 15, 0x7b, attn__e5m2_to_f32, attn__f32_to_e5m2}};
    for (int n = 0; n < 2; n++) {
        if (!check_case("convert: %s, all codes and what lies between", types[n].name))
            continue;
        for (unsigned h = 0; h <= types[n].most; h++) {
            const unsigned exponent = h >> types[n].fraction, whole = 1u << types[n].fraction, part = h % whole;
            const int place = (int)(exponent ? exponent : 1) - types[n].bias - types[n].fraction;
            const float f = types[n].wide((uint8_t)h), next = types[n].wide((uint8_t)(h + 1));
            const float middle = (f + next) / 2;
            CHECK((double)f == ldexp((double)(exponent ? whole + part : part), place));
            CHECK(types[n].wide((uint8_t)(h | 128)) == -f);
            CHECK(types[n].narrow(f) == h && types[n].narrow(-f) == (h | 128));
            if (h == types[n].most)
                continue;
            CHECK(types[n].narrow(middle) == h + (h & 1) && types[n].narrow(-middle) == (128 | (h + (h & 1))));
            CHECK(types[n].narrow(nextafterf(middle, 0)) == h && types[n].narrow(nextafterf(middle, 1e9f)) == h + 1);
        }
        for (unsigned h = types[n].most + 1; h < 128; h++)
            CHECK(n && h == 0x7c ? isinf(types[n].wide((uint8_t)h)) : isnan(types[n].wide((uint8_t)h)));
        CHECK(types[n].narrow(INFINITY) == types[n].most && types[n].narrow(-FLT_MAX) == (types[n].most | 128));
        CHECK(isnan(types[n].wide(types[n].narrow(NAN))) && types[n].narrow(FLT_MIN / 4) == 0);
    }
    if (check_case("convert: int8 and int4")) {
        for (int i = -600; i <= 600; i++) {
            const float f = (float)i / 4;
            const int want = (int)lrintf(f);
            CHECK(attn__f32_to_int(f, 127) == (want > 127 ? 127 : want < -127 ? -127 : want));
            CHECK(attn__f32_to_int(f, 7) == (want > 7 ? 7 : want < -7 ? -7 : want));
        }
        CHECK(attn__f32_to_int(INFINITY, 127) == 127 && attn__f32_to_int(-FLT_MAX, 7) == -7);
        CHECK(attn__f32_to_int(NAN, 127) == 0);
        for (int low = -8; low < 8; low++)
            for (int high = -8; high < 8; high++) {
                const uint8_t pair = attn__int4_pair(low, high);
                CHECK(attn__int4_to_f32(pair, 0) == (float)low && attn__int4_to_f32(pair, 1) == (float)high);
            }
    }
    if (check_case("rope: angles at any position")) {
        static const float bases[] = {10000, 500000, 1};
        for (int n = 0; n < 3; n++) {
            const attn__rope r = attn__rope_make(ATTN_ROPE_HALF_SPLIT, 128, bases[n], NULL, NULL);
            for (int64_t position = -7; position < INT32_MAX; position += 1 + position * (position > 0) / 3)
                for (int pair = 0; pair < 64; pair++) {
                    float sine, cosine;
                    const long double angle = (long double)position * powl((long double)bases[n], -pair / 64.0L);
                    attn__rope_angle(&r, pair, position, &sine, &cosine);
                    /* At 2^31 the double that a turn is computed from leaves 2^-21 of it. */
                    const double bar = position < 1 << 20 ? 2e-7 : 1e-5;
                    CHECK_MSG(fabs((double)(sine - sinl(angle))) < bar && fabs((double)(cosine - cosl(angle))) < bar,
                              "position %lld pair %d: %g, must be %g", (long long)position, pair, (double)sine,
                              (double)sinl(angle));
                }
        }
    }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    conversions();
    refused_numbers();
    refused_relations();
    refused_tensors();
    refused_pointers();
    refused_calls();
    refused_by_all();
    accepted();
    filled();
    struct_sizes();
    selection();
    devices();
    workspace();
    merge_random();
    merge_special();
    merge_refused();
    helpers();
    return check_end();
}
