/* params.h - from the caller's struct to the complete parameter block that a launch gets.
 *
 * What a launch (attn_launch_fn) and a workspace function may rely on, and so need not check:
 *   - struct_size is sizeof(attn_params); flags holds known bits only; reserved fields are 0
 *   - head_dim_v, scale, all dtypes of q, k, v, o and, if given, of bias and mask are set
 *   - the strides of q, k, v, o, bias and mask are set: nothing is "compact" any more.  dim_block is 0 in
 *     o, bias and mask, and divides the head dimension in q, k and v; the last stride of bias and mask is 1
 *   - packed q and o (cu_seqlens_q) or k and v (cu_seqlens_k) have stride[0] = 0; lse_stride is set, and
 *     with cu_seqlens_q is {0, from head to head}; block_table_stride is set if there is a table
 *   - window is 1 only if a side is finite; else it is 0 and both sides are -1
 *   - sink_tokens is 0 without a window
 *   - every feature that the instance has not is off
 *   - device is ATTN_DEVICE_CUDA for an instance with a device function and ATTN_DEVICE_CPU for one without; the
 *     current device executes it; rows of q, k and v are as its row_align says
 *   - there is work: batch > 0 and query rows > 0.  seq_k may be 0: o is then 0 and lse -inf (or the sink)
 *   - data pointers of q and o, of k and v if seq_k > 0, are set; all pointers are aligned to their
 *     element, no more; products of sizes, and of sizes and strides, fit int64
 *   - the workspace is 64-byte aligned and of at least workspace(p, 1) bytes
 * Not checked, because it is read only where the kernel runs: the content of lengths and tables.
 * C11, C++ and CUDA. */
#ifndef ATTN_RUN_PARAMS_H
#define ATTN_RUN_PARAMS_H

#include <attn/run/text.h>
#include <math.h>
#include <string.h>

/* ---- sizes that do not overflow ---------------------------------------------------------------- */

/* a, b >= 0.  What does not fit becomes INT64_MAX and stays it. */
static inline int64_t attn__mul(int64_t a, int64_t b)
{
    return a && b > INT64_MAX / a ? INT64_MAX : a * b;
}

static inline int64_t attn__add(int64_t a, int64_t b)
{
    return b > INT64_MAX - a ? INT64_MAX : a + b;
}

static inline int64_t attn__abs(int64_t a)
{
    return a >= 0 ? a : a == INT64_MIN ? INT64_MAX : -a;
}

static inline int64_t attn__ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/* Query rows in all, INT64_MAX at most. */
static inline int64_t attn__rows(const attn_params *p)
{
    return p->cu_seqlens_q ? p->total_q : attn__mul(p->batch, p->seq_q);
}

static inline int attn__has_work(const attn_params *p)
{
    return p->batch > 0 && p->seq_q > 0 && attn__rows(p) > 0;
}

/* ---- the tensors, in one table ----------------------------------------------------------------- */

typedef struct attn__view {
    const char *name;
    attn_tensor *tensor;
    int64_t extent[4]; /* in the order of stride[] */
    uint32_t dtypes;   /* allowed ones, 1 << ATTN_F32 ... */
    int packed;        /* no dimension 0 */
    int needed;        /* data must not be NULL */
} attn__view;

enum { ATTN__Q, ATTN__K, ATTN__V, ATTN__O, ATTN__BIAS, ATTN__MASK, ATTN__VIEWS };

static inline void attn__view_set(attn__view *view, const char *name, attn_tensor *tensor, uint32_t dtypes, int packed,
                                  int needed, int64_t n0, int64_t n1, int64_t n2, int64_t n3)
{
    attn__view v = { name, tensor, { n0, n1, n2, n3 }, dtypes, packed, needed };
    *view = v;
}

static inline void attn__views(attn_params *p, attn__view *view)
{
    const uint32_t wide = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16, q_types = wide | 1u << ATTN_E4M3,
                   kv_types = q_types | 1u << ATTN_E5M2 | 1u << ATTN_INT8 | 1u << ATTN_INT4;
    int work = attn__has_work(p), keys = work && p->seq_k > 0;
    int packed_q = p->cu_seqlens_q != NULL, packed_k = p->cu_seqlens_k != NULL;
    int64_t batch_q = packed_q ? 1 : p->batch, rows = packed_q ? p->total_q : p->seq_q;
    int64_t batch_k = p->batch, keys_k = p->seq_k;
    if (p->page_size) {
        batch_k = p->num_pages ? p->num_pages : 1;
        keys_k = p->page_size;
    } else if (packed_k) { /* how many in all only the device knows: at most this many */
        int64_t most = attn__mul(p->batch, p->seq_k);
        batch_k = 1;
        keys_k = most < INT32_MAX ? most : INT32_MAX;
    }
    attn__view_set(&view[ATTN__Q], "q", &p->q, q_types, packed_q, work, batch_q, rows, p->heads_q, p->head_dim);
    attn__view_set(&view[ATTN__K], "k", &p->k, kv_types, packed_k, keys, batch_k, keys_k, p->heads_k, p->head_dim);
    attn__view_set(&view[ATTN__V], "v", &p->v, kv_types, packed_k, keys, batch_k, keys_k, p->heads_k, p->head_dim_v);
    attn__view_set(&view[ATTN__O], "o", &p->o, wide, packed_q, work, batch_q, rows, p->heads_q, p->head_dim_v);
    attn__view_set(&view[ATTN__BIAS], "bias", &p->bias, 1u << ATTN_F32 | (1u << p->q.dtype & wide), 0, 0, p->batch,
                   p->heads_q, p->seq_q, p->seq_k);
    attn__view_set(&view[ATTN__MASK], "mask", &p->mask, 1u << ATTN_BOOL | 1u << ATTN_BIT, 0, 0, p->batch, p->heads_q,
                   p->seq_q, p->seq_k);
}

static inline int attn__has_strides(const attn_tensor *x)
{
    return x->stride[0] || x->stride[1] || x->stride[2] || x->stride[3];
}

/* All four strides 0: compact. */
static inline void attn__compact(attn__view *v)
{
    int64_t *s = v->tensor->stride;
    if (attn__has_strides(v->tensor))
        return;
    int64_t last = v->tensor->dtype == ATTN_BIT ? attn__mul(attn__ceil_div(v->extent[3], 8), 8) : v->extent[3];
    s[3] = 1;
    s[2] = last;
    s[1] = attn__mul(s[2], v->extent[2]);
    s[0] = v->packed ? 0 : attn__mul(s[1], v->extent[1]);
}

/* ---- read, then fill --------------------------------------------------------------------------- */

/* Copies a struct whose first field is struct_size: a shorter one is padded with zeros, a longer one must
 * be zero in what this version does not know. */
#if defined(__GNUC__)
__attribute__((noinline, unused)) /* inlined, gcc 12 takes the longer struct for a read out of bounds */
#endif
static attn_status attn__read(void *to, uint32_t size, const void *from, attn__text *t)
{
    uint32_t given;
    const unsigned char *bytes = (const unsigned char *)from;
    if (!from)
        return attn__bad(t, "params NULL: must point to a struct");
    memcpy(&given, from, sizeof given);
    if (given < 2 * sizeof given || given > 65536)
        return attn__bad(t, "struct_size %u: must be the struct's sizeof, %u in this version", given, size);
    for (uint32_t i = size; i < given; i++)
        if (bytes[i])
            return attn__bad(t, "struct_size %u: byte %u is set, but this version knows %u bytes", given, i, size);
    memset(to, 0, size);
    memcpy(to, from, given < size ? given : size);
    memcpy(to, &size, sizeof size);
    return ATTN_OK;
}

/* Fills defaults that are pure arithmetic.  The numbers are already checked, so nothing overflows. */
static inline void attn__fill(attn_params *p)
{
    attn__view view[ATTN__VIEWS];
    attn_tensor *follow[] = { &p->k, &p->v, &p->o, &p->bias };
    for (int i = 0; i < 4; i++)
        if (!follow[i]->dtype)
            follow[i]->dtype = p->q.dtype;
    if (!p->head_dim_v)
        p->head_dim_v = p->head_dim;
    if (p->scale == 0)
        p->scale = 1 / sqrtf((float)p->head_dim);

    if (!p->window || (p->window_left < 0 && p->window_right < 0)) {
        p->window = 0;
        p->window_left = p->window_right = -1;
    }
    if (!p->window)
        p->sink_tokens = 0;

    attn__views(p, view);
    for (int i = 0; i < ATTN__VIEWS; i++)
        attn__compact(&view[i]);
    if (!p->lse_stride[0] && !p->lse_stride[1]) {
        p->lse_stride[1] = view[ATTN__O].extent[1];
        p->lse_stride[0] = view[ATTN__O].packed ? 0 : attn__mul(p->heads_q, p->lse_stride[1]);
    }
    if (p->block_table && !p->block_table_stride)
        p->block_table_stride = attn__ceil_div(p->seq_k, p->page_size);
    if (p->rope_style && !p->rope_dim)
        p->rope_dim = p->head_dim;
    if (p->rope_style && p->rope_base == 0)
        p->rope_base = 10000;
}

#endif /* ATTN_RUN_PARAMS_H */
