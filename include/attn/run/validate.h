/* validate.h - every field of attn_params, checked: numbers, then fields against each other, then
 * tensors.  Each is a table; the text of a refusal is `field value: what is allowed`.  C11, C++ and CUDA. */
#ifndef ATTN_RUN_VALIDATE_H
#define ATTN_RUN_VALIDATE_H

#include <attn/device/convert.h>
#include <attn/run/params.h>
#include <float.h>

/* ---- numbers ----------------------------------------------------------------------------------- */

typedef struct attn__int_row {
    const char *field;
    int64_t value, least, most;
    const char *allowed; /* NULL: the bounds say it */
} attn__int_row;

typedef struct attn__float_row {
    const char *field;
    float value, least, most;
    const char *allowed;
} attn__float_row;

static inline attn_status attn__check_ints(const attn__int_row *row, size_t n, attn__text *t)
{
    for (size_t i = 0; i < n; i++) {
        const attn__int_row *r = &row[i];
        if (r->value >= r->least && r->value <= r->most)
            continue;
        if (r->allowed)
            return attn__bad(t, "%s %lld: must be %s", r->field, (long long)r->value, r->allowed);
        if (r->most == INT32_MAX)
            return attn__bad(t, "%s %lld: must be at least %lld", r->field, (long long)r->value, (long long)r->least);
        return attn__bad(t, "%s %lld: must be %lld to %lld", r->field, (long long)r->value, (long long)r->least,
                         (long long)r->most);
    }
    return ATTN_OK;
}

/* By bits, so that it also holds where the compiler was told that there is no NaN. */
static inline int attn__is_finite(float f)
{
    return (attn__f32_bits(f) & 0x7f800000u) != 0x7f800000u;
}

static inline attn_status attn__check_numbers(const attn_params *p, attn__text *t)
{
    const int64_t max = INT32_MAX;
    const char *dtype = "an element type, or 0 for q's";
    const attn__int_row ints[] = {
        { "flags", p->flags & ~ATTN_FLAGS_ALL, 0, 0, "0 in all bits but ATTN_LSE_BASE2 ... ATTN_DETERMINISTIC" },
        { "batch", p->batch, 0, max, NULL },
        { "heads_q", p->heads_q, 1, max, NULL },
        { "heads_k", p->heads_k, 1, max, NULL },
        { "head_dim", p->head_dim, 1, 65536, NULL },
        { "head_dim_v", p->head_dim_v, 0, 65536, "1 to 65536, or 0 for head_dim" },
        { "seq_q", p->seq_q, 0, max, NULL },
        { "seq_k", p->seq_k, 0, max, NULL },
        { "total_q", p->total_q, 0, max, NULL },
        { "device", p->device, 0, ATTN_DEVICE_CUDA, "ATTN_DEVICE_CPU, ATTN_DEVICE_CUDA, or 0" },
        { "q.dtype", p->q.dtype, ATTN_F32, ATTN_BIT, "an element type (ATTN_F32 ...)" },
        { "k.dtype", p->k.dtype, 0, ATTN_BIT, dtype },
        { "v.dtype", p->v.dtype, 0, ATTN_BIT, dtype },
        { "o.dtype", p->o.dtype, 0, ATTN_BIT, dtype },
        { "bias.dtype", p->bias.dtype, 0, ATTN_BIT, dtype },
        { "causal", p->causal, ATTN_CAUSAL_NONE, ATTN_CAUSAL_TOP_LEFT,
          "ATTN_CAUSAL_NONE, ATTN_CAUSAL_BOTTOM_RIGHT or ATTN_CAUSAL_TOP_LEFT" },
        { "window", p->window, 0, 1, "0 or 1; the sizes are window_left and window_right" },
        { "window_left", p->window_left, -1, max, "-1 (infinite) or more" },
        { "window_right", p->window_right, -1, max, "-1 (infinite) or more" },
        { "chunk", p->chunk, 0, max, NULL },
        { "sink_tokens", p->sink_tokens, 0, max, NULL },
        { "page_size", p->page_size, 0, max, NULL },
        { "num_pages", p->num_pages, 0, max, NULL },
        { "q_scale.reserved", p->q_scale.reserved, 0, 0, "0" },
        { "k_scale.reserved", p->k_scale.reserved, 0, 0, "0" },
        { "v_scale.reserved", p->v_scale.reserved, 0, 0, "0" },
        { "rope_style", p->rope_style, ATTN_ROPE_NONE, ATTN_ROPE_INTERLEAVED,
          "ATTN_ROPE_NONE, ATTN_ROPE_HALF_SPLIT or ATTN_ROPE_INTERLEAVED" },
        { "rope_dim", p->rope_dim, 0, p->head_dim, NULL },
        { "num_splits", p->num_splits, 0, 1024, NULL },
        { "split_size", p->split_size, 0, max, NULL },
        { "threads", p->threads, 0, 1024, NULL },
    };
    const attn__float_row floats[] = {
        { "scale", p->scale, -FLT_MAX, FLT_MAX, "finite" },
        { "softcap", p->softcap, 0, FLT_MAX, "finite and at least 0" },
        { "dropout_p", p->dropout_p, 0, 1 - FLT_EPSILON / 2, "at least 0 and below 1" },
        { "rope_base", p->rope_base == 0 ? 1 : p->rope_base, 1, FLT_MAX, "finite and at least 1, or 0 for 10000" },
    };
    const char *group = "0, 32, 64 or 128", *tile = "16, 64 or 128";
    const attn__int_row sizes[] = { /* the least of a few values: this one, 64 and 128; or 0 */
        { "q_scale.group", p->q_scale.group, 32, 128, group },
        { "k_scale.group", p->k_scale.group, 32, 128, group },
        { "v_scale.group", p->v_scale.group, 32, 128, group },
        { "schedule.tile_q", p->schedule.tile_q, 16, 128, tile },
        { "schedule.tile_k", p->schedule.tile_k, 16, 128, tile },
    };
    attn_status status = attn__check_ints(ints, sizeof ints / sizeof ints[0], t);
    if (status != ATTN_OK)
        return status;
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        const attn__float_row *r = &floats[i];
        if (!attn__is_finite(r->value) || r->value < r->least || r->value > r->most)
            return attn__bad(t, "%s %g: must be %s", r->field, (double)r->value, r->allowed);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int64_t v = sizes[i].value;
        if (v && v != sizes[i].least && v != 64 && v != 128)
            return attn__bad(t, "%s %lld: must be %s", sizes[i].field, (long long)v, sizes[i].allowed);
    }
    if (p->heads_q % p->heads_k)
        return attn__bad(t, "heads_k %d: must divide heads_q %d", (int)p->heads_k, (int)p->heads_q);
    const int32_t rope_dim = p->rope_dim ? p->rope_dim : p->head_dim;
    if (p->rope_style && (rope_dim % 2 || rope_dim > ATTN_ROPE_DIM_MOST))
        return attn__bad(t, "rope_dim %d: must be even and at most %d", (int)rope_dim, ATTN_ROPE_DIM_MOST);
    return ATTN_OK;
}

/* ---- fields against each other ----------------------------------------------------------------- */

enum { ATTN__NEEDS, ATTN__EXCLUDES };

typedef struct attn__relation {
    const char *field;
    int64_t value; /* for a pointer: is it set */
    int pointer;
    int relation;
    const char *other;
    int other_set;
} attn__relation;

/* What is written in a row, and is it set. */
#define ATTN__INT(f) #f, p->f, 0
#define ATTN__PTR(f) #f, p->f != NULL, 1
#define ATTN__SET(f) #f, p->f != 0

static inline attn_status attn__check_relations(const attn_params *p, attn__text *t)
{
    int q_quantised = p->q.dtype >= ATTN_E4M3, k_quantised = p->k.dtype >= ATTN_E4M3,
        v_quantised = p->v.dtype >= ATTN_E4M3;
    const attn__relation rows[] = {
        { "window_left", p->window_left < 0 ? 0 : p->window_left, 0, ATTN__NEEDS, ATTN__SET(window) },
        { "window_right", p->window_right < 0 ? 0 : p->window_right, 0, ATTN__NEEDS, ATTN__SET(window) },
        { ATTN__INT(alibi_stride), ATTN__NEEDS, ATTN__SET(alibi_slopes) },

        { ATTN__INT(total_q), ATTN__NEEDS, ATTN__SET(cu_seqlens_q) },
        { "cu_seqlens_q", p->cu_seqlens_q && p->seq_q, 1, ATTN__NEEDS, ATTN__SET(total_q) },
        { ATTN__INT(q.stride[0]), ATTN__EXCLUDES, ATTN__SET(cu_seqlens_q) },
        { ATTN__INT(o.stride[0]), ATTN__EXCLUDES, ATTN__SET(cu_seqlens_q) },
        { ATTN__INT(lse_stride[0]), ATTN__EXCLUDES, ATTN__SET(cu_seqlens_q) },
        { ATTN__INT(k.stride[0]), ATTN__EXCLUDES, ATTN__SET(cu_seqlens_k) },
        { ATTN__INT(v.stride[0]), ATTN__EXCLUDES, ATTN__SET(cu_seqlens_k) },

        { ATTN__INT(q.dim_block), ATTN__NEEDS, "q.stride", attn__has_strides(&p->q) },
        { ATTN__INT(k.dim_block), ATTN__NEEDS, "k.stride", attn__has_strides(&p->k) },
        { ATTN__INT(v.dim_block), ATTN__NEEDS, "v.stride", attn__has_strides(&p->v) },

        { ATTN__INT(page_size), ATTN__EXCLUDES, ATTN__SET(cu_seqlens_k) },
        { ATTN__INT(page_size), ATTN__NEEDS, "block_table or page_indptr", p->block_table || p->page_indptr },
        { ATTN__INT(num_pages), ATTN__NEEDS, ATTN__SET(page_size) },
        { ATTN__PTR(block_table), ATTN__NEEDS, ATTN__SET(page_size) },
        { ATTN__PTR(block_table), ATTN__NEEDS, ATTN__SET(seqused_k) },
        { ATTN__PTR(block_table), ATTN__EXCLUDES, ATTN__SET(page_indptr) },
        { ATTN__INT(block_table_stride), ATTN__NEEDS, ATTN__SET(block_table) },
        { ATTN__PTR(page_indptr), ATTN__NEEDS, ATTN__SET(page_size) },
        { ATTN__PTR(page_indptr), ATTN__NEEDS, ATTN__SET(page_indices) },
        { ATTN__PTR(page_indptr), ATTN__NEEDS, ATTN__SET(last_page_len) },
        { ATTN__PTR(page_indices), ATTN__NEEDS, ATTN__SET(page_indptr) },
        { ATTN__PTR(last_page_len), ATTN__NEEDS, ATTN__SET(page_indptr) },
        { ATTN__PTR(seqused_k), ATTN__EXCLUDES, ATTN__SET(page_indptr) },

        { ATTN__PTR(q_scale.scale), ATTN__NEEDS, "an 8- or 4-bit q.dtype", q_quantised },
        { ATTN__PTR(k_scale.scale), ATTN__NEEDS, "an 8- or 4-bit k.dtype", k_quantised },
        { ATTN__PTR(v_scale.scale), ATTN__NEEDS, "an 8- or 4-bit v.dtype", v_quantised },
        { ATTN__PTR(q_scale.zero), ATTN__NEEDS, ATTN__SET(q_scale.scale) },
        { ATTN__PTR(k_scale.zero), ATTN__NEEDS, ATTN__SET(k_scale.scale) },
        { ATTN__PTR(v_scale.zero), ATTN__NEEDS, ATTN__SET(v_scale.scale) },
        { ATTN__INT(q_scale.group), ATTN__NEEDS, ATTN__SET(q_scale.scale) },
        { ATTN__INT(k_scale.group), ATTN__NEEDS, ATTN__SET(k_scale.scale) },
        { ATTN__INT(v_scale.group), ATTN__NEEDS, ATTN__SET(v_scale.scale) },

        { ATTN__PTR(schedule.row_ptr), ATTN__NEEDS, ATTN__SET(schedule.col_idx) },
        { ATTN__PTR(schedule.col_idx), ATTN__NEEDS, ATTN__SET(schedule.row_ptr) },
        { ATTN__PTR(schedule.runs), ATTN__EXCLUDES, ATTN__SET(schedule.row_ptr) },
        { "schedule", p->schedule.row_ptr || p->schedule.runs, 1, ATTN__NEEDS, ATTN__SET(schedule.tile_q) },
        { "schedule", p->schedule.row_ptr || p->schedule.runs, 1, ATTN__NEEDS, ATTN__SET(schedule.tile_k) },
        { ATTN__INT(schedule.tile_q), ATTN__NEEDS, "schedule.row_ptr or schedule.runs",
          p->schedule.row_ptr || p->schedule.runs },
        { ATTN__INT(schedule.tile_k), ATTN__NEEDS, "schedule.row_ptr or schedule.runs",
          p->schedule.row_ptr || p->schedule.runs },
        { ATTN__INT(schedule.head_stride), ATTN__NEEDS, "schedule.row_ptr or schedule.runs",
          p->schedule.row_ptr || p->schedule.runs },

        { ATTN__INT(rope_dim), ATTN__NEEDS, ATTN__SET(rope_style) },
        { "rope_base", p->rope_base != 0, 1, ATTN__NEEDS, ATTN__SET(rope_style) },
        { ATTN__PTR(rope_cos), ATTN__NEEDS, ATTN__SET(rope_style) },
        { ATTN__PTR(rope_cos), ATTN__NEEDS, ATTN__SET(rope_sin) },
        { ATTN__PTR(rope_sin), ATTN__NEEDS, ATTN__SET(rope_cos) },
        { ATTN__PTR(rope_offset), ATTN__NEEDS, ATTN__SET(rope_style) },

        { ATTN__INT(split_size), ATTN__EXCLUDES, ATTN__SET(num_splits) },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const attn__relation *r = &rows[i];
        if (!r->value || r->other_set == (r->relation == ATTN__NEEDS))
            continue;
        attn__put(t, "%s", r->field);
        if (!r->pointer)
            attn__put(t, " %lld", (long long)r->value);
        if (r->relation == ATTN__NEEDS)
            return attn__bad(t, ": needs %s", r->other);
        return attn__bad(t, ": must be %s with %s", r->pointer ? "NULL" : "0", r->other);
    }
    return ATTN_OK;
}

#undef ATTN__INT
#undef ATTN__PTR
#undef ATTN__SET

/* ---- tensors and pointers, on the filled block ------------------------------------------------- */

/* Elements from the first to the last one that a tensor touches, INT64_MAX if they do not fit. */
static inline int64_t attn__reach(const int64_t *extent, const int64_t *stride, int n, int *widest)
{
    int64_t span = 0, most = -1;
    for (int i = 0; i < n; i++) {
        int64_t reach = extent[i] > 0 ? attn__mul(extent[i] - 1, attn__abs(stride[i])) : 0;
        if (reach > most) {
            most = reach;
            *widest = i;
        }
        span = attn__add(span, reach);
    }
    return span;
}

static inline attn_status attn__check_dtype(const attn__view *v, attn__text *t)
{
    int32_t dtype = v->tensor->dtype;
    if (dtype >= ATTN_F32 && dtype <= ATTN_BIT && v->dtypes >> dtype & 1u)
        return ATTN_OK;
    attn__put(t, "%s.dtype %d (%s): must be", v->name, (int)dtype, attn__dtype_of(dtype).name);
    const char *join = " ";
    for (int d = ATTN_F32; d <= ATTN_BIT; d++)
        if (v->dtypes >> d & 1u) {
            attn__put(t, "%s%s", join, attn__dtype_of(d).name);
            join = " or ";
        }
    return ATTN_ERR_ARG;
}

static inline attn_status attn__check_view(const attn__view *v, int output, int grid, attn__text *t)
{
    const attn_tensor *x = v->tensor;
    int64_t extent[4], stride[4];
    int widest = 0, bits = attn__dtype_of(x->dtype).bits, bytes = bits / 8 ? bits / 8 : 1;
    if (!x->data)
        return v->needed ? attn__bad(t, "%s.data NULL: must be set, there is work to do", v->name) : ATTN_OK;
    if ((uintptr_t)x->data % (unsigned)bytes)
        return attn__bad(t, "%s.data %p: must be a multiple of %d bytes", v->name, x->data, bytes);
    memcpy(extent, v->extent, sizeof extent);
    memcpy(stride, x->stride, sizeof stride);
    if (x->dim_block) {
        if (output || grid)
            return attn__bad(t, "%s.dim_block %d: must be 0", v->name, (int)x->dim_block);
        if (x->dim_block < 0 || extent[3] % x->dim_block)
            return attn__bad(t, "%s.dim_block %d: must divide the head dimension %lld", v->name, (int)x->dim_block,
                             (long long)extent[3]);
        extent[3] /= x->dim_block;
    }
    if (grid && stride[3] != 1)
        return attn__bad(t, "%s.stride[3] %lld: must be 1", v->name, (long long)stride[3]);
    for (int i = 0; i < 3; i++)
        if (x->dtype == ATTN_BIT && stride[i] % 8)
            return attn__bad(t, "%s.stride[%d] %lld: must be a multiple of 8 bits", v->name, i, (long long)stride[i]);
    if (x->dtype == ATTN_INT4) { /* two dims are a byte */
        if (v->extent[3] % 2 || x->dim_block % 2)
            return attn__bad(t, "%s.dtype %d (int4): the head dimension %lld and dim_block %d must be even", v->name,
                             (int)x->dtype, (long long)v->extent[3], (int)x->dim_block);
        for (int i = 0; i < 4; i++)
            if ((i < 3 || x->dim_block) ? stride[i] % 2 : stride[i] != 1)
                return attn__bad(t, "%s.stride[%d] %lld: must be %s, two dims of int4 are a byte", v->name, i,
                                 (long long)stride[i], i < 3 || x->dim_block ? "even" : "1");
    }
    for (int i = v->packed; i < 4; i++)
        if (output && v->needed && extent[i] > 1 && !stride[i])
            return attn__bad(t, "%s.stride[%d] 0: must not be 0, results would overlap", v->name, i);
    if (attn__add(attn__reach(extent, stride, 4, &widest), x->dim_block) > INT64_MAX / bytes)
        return attn__bad(t, "%s.stride[%d] %lld: too large, %s would span over 2^63 bytes", v->name, widest,
                         (long long)stride[widest], v->name);
    return ATTN_OK;
}

/* The same for lse [batch, heads, rows], the last contiguous. */
static inline attn_status attn__check_lse(const char *name, const int64_t *stride, int64_t batch, int64_t heads,
                                          int64_t rows, attn__text *t)
{
    const int64_t extent[3] = { batch, heads, rows }, strides[3] = { stride[0], stride[1], 1 };
    int widest = 0;
    for (int i = 0; i < 2; i++)
        if (extent[i] > 1 && attn__abs(stride[i]) < rows)
            return attn__bad(t, "%s[%d] %lld: must be at least the %lld rows, results would overlap", name, i,
                             (long long)stride[i], (long long)rows);
    if (attn__reach(extent, strides, 3, &widest) > INT64_MAX / 8)
        return attn__bad(t, "%s[%d] %lld: too large, lse would span over 2^63 bytes", name, widest,
                         (long long)strides[widest]);
    return ATTN_OK;
}

typedef struct attn__pointer_row {
    const char *field;
    const void *pointer;
} attn__pointer_row;

/* All but tensors point to f32 or int32. */
static inline attn_status attn__check_pointers(const attn_params *p, attn__text *t)
{
    const attn__pointer_row rows[] = {
        { "lse", p->lse },
        { "alibi_slopes", p->alibi_slopes },
        { "sink_logits", p->sink_logits },
        { "schedule.row_ptr", p->schedule.row_ptr },
        { "schedule.col_idx", p->schedule.col_idx },
        { "schedule.runs", p->schedule.runs },
        { "cu_seqlens_q", p->cu_seqlens_q },
        { "cu_seqlens_k", p->cu_seqlens_k },
        { "seqused_q", p->seqused_q },
        { "seqused_k", p->seqused_k },
        { "block_table", p->block_table },
        { "page_indptr", p->page_indptr },
        { "page_indices", p->page_indices },
        { "last_page_len", p->last_page_len },
        { "q_scale.scale", p->q_scale.scale },
        { "q_scale.zero", p->q_scale.zero },
        { "k_scale.scale", p->k_scale.scale },
        { "k_scale.zero", p->k_scale.zero },
        { "v_scale.scale", p->v_scale.scale },
        { "v_scale.zero", p->v_scale.zero },
        { "rope_cos", p->rope_cos },
        { "rope_sin", p->rope_sin },
        { "rope_offset", p->rope_offset },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((uintptr_t)rows[i].pointer % 4)
            return attn__bad(t, "%s %p: must be a multiple of 4 bytes", rows[i].field, rows[i].pointer);
    return ATTN_OK;
}

static inline attn_status attn__check_sizes(const attn_params *p, attn__text *t)
{
    int64_t dim = p->head_dim > p->head_dim_v ? p->head_dim : p->head_dim_v;
    int64_t table[2] = { p->batch, attn__abs(p->block_table_stride) };
    if (attn__mul(attn__mul(attn__mul(p->batch, p->heads_q), p->seq_q), dim) == INT64_MAX)
        return attn__bad(t, "seq_q %d: batch * heads_q * seq_q * head_dim must be below 2^63", (int)p->seq_q);
    if (attn__mul(attn__mul(attn__mul(p->batch, p->heads_k), p->seq_k), dim) == INT64_MAX)
        return attn__bad(t, "seq_k %d: batch * heads_k * seq_k * head_dim must be below 2^63", (int)p->seq_k);
    if (attn__mul(table[0], table[1]) > INT64_MAX / 8)
        return attn__bad(t, "block_table_stride %lld: too large, the table would span over 2^63 bytes",
                         (long long)p->block_table_stride);
    if (attn__mul(p->batch, attn__abs(p->alibi_stride)) > INT64_MAX / 8)
        return attn__bad(t, "alibi_stride %lld: too large, the slopes would span over 2^63 bytes",
                         (long long)p->alibi_stride);
    return ATTN_OK;
}

/* Scales of a tensor: of its tokens, or of whole sequences. */
static inline attn_status attn__check_scale(const char *name, const attn_scale *s, const attn__view *v, int64_t batch,
                                            attn__text *t)
{
    const int64_t extent[4] = { s->stride[1] ? v->extent[0] : batch, v->extent[1], v->extent[2],
                                s->group ? attn__ceil_div(v->extent[3], s->group) : 1 };
    int widest = 0;
    if (s->scale && attn__reach(extent, s->stride, 4, &widest) > INT64_MAX / 8)
        return attn__bad(t, "%s.stride[%d] %lld: too large, the scales would span over 2^63 bytes", name, widest,
                         (long long)s->stride[widest]);
    return ATTN_OK;
}

/* needed: 1 << ATTN__Q ..., tensors that must be there if there is work. */
static inline attn_status attn__check_tensors(attn_params *p, unsigned needed, attn__text *t)
{
    attn__view view[ATTN__VIEWS];
    attn_status status = attn__check_sizes(p, t);
    attn__views(p, view);
    for (int i = 0; i < ATTN__VIEWS; i++)
        view[i].needed &= (int)(needed >> i & 1u);
    for (int i = 0; i < ATTN__VIEWS && status == ATTN_OK; i++)
        if (i < ATTN__BIAS || view[i].tensor->data)
            status = attn__check_dtype(&view[i], t);
    if (status == ATTN_OK && p->v.dtype != p->k.dtype)
        status = attn__bad(t, "v.dtype %d (%s): must be k's, %s", (int)p->v.dtype, attn__dtype_of(p->v.dtype).name,
                           attn__dtype_of(p->k.dtype).name);
    for (int i = 0; i < ATTN__VIEWS && status == ATTN_OK; i++)
        status = attn__check_view(&view[i], i == ATTN__O, i >= ATTN__BIAS, t);
    if (status == ATTN_OK)
        status = attn__check_scale("q_scale", &p->q_scale, &view[ATTN__Q], p->batch, t);
    if (status == ATTN_OK)
        status = attn__check_scale("k_scale", &p->k_scale, &view[ATTN__K], p->batch, t);
    if (status == ATTN_OK)
        status = attn__check_scale("v_scale", &p->v_scale, &view[ATTN__V], p->batch, t);
    if (status == ATTN_OK && p->lse)
        status = attn__check_lse("lse_stride", p->lse_stride, view[ATTN__O].extent[0], p->heads_q,
                                 view[ATTN__O].extent[1], t);
    return status == ATTN_OK ? attn__check_pointers(p, t) : status;
}

/* From the caller's struct to a block as params.h promises it, but for what depends on an instance. */
static inline attn_status attn__prepare_for(unsigned needed, attn_params *p, const attn_params *given, attn__text *t)
{
    attn_status status = attn__read(p, (uint32_t)sizeof *p, given, t);
    if (status == ATTN_OK)
        status = attn__check_numbers(p, t);
    if (status == ATTN_OK)
        status = attn__check_relations(p, t);
    if (status != ATTN_OK)
        return status;
    attn__fill(p);
    return attn__check_tensors(p, needed, t);
}

/* For attention, which needs them all. */
static inline attn_status attn__prepare(attn_params *p, const attn_params *given, attn__text *t)
{
    return attn__prepare_for(~0u, p, given, t);
}

#endif /* ATTN_RUN_VALIDATE_H */
