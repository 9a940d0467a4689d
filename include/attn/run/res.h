/* res.h - validate, select, explain and run, for Attention Residuals (attn_res_params) over a list of instances.
 *
 * What a launch (attn_res_launch_fn) and a workspace function may rely on, and so need not check:
 *   - struct_size is sizeof(attn_res_params); key_dim, eps, scale, norm_eps, the types and strides of every tensor that
 *     the call uses, lse_stride and dw_stride are set; what the kernel does not use may hold anything
 *   - blocks and queries are those of the call; in phase 2 both are 1
 *   - p_out is set wherever the sum is to be stored
 *   - the instance serves so many blocks and queries, this dim and type, on this device; rows are as its row_align says
 *   - tokens > 0; what the kernel needs is there; a table has no NULL; products of sizes and strides fit int64
 *   - the workspace is 64-byte aligned and of at least res_workspace(p, 1) bytes
 * C11, C++ and CUDA. */
#ifndef ATTN_RUN_RES_H
#define ATTN_RUN_RES_H

#include <attn/run/select.h>
#include <attn/run/validate.h>

/* ---- what a call uses, in one table ------------------------------------------------------------ */

enum { ATTN__RES_1 = 1, ATTN__RES_2 = 2, ATTN__RES_1B = 4, ATTN__RES_2B = 8 };

static inline int attn__res_call(int32_t kernel)
{
    return kernel >= ATTN_KERNEL_RES1 && kernel <= ATTN_KERNEL_RES2_BACKWARD ? 1 << (kernel - ATTN_KERNEL_RES1) : 0;
}

static inline const char *attn__res_name(int32_t kernel)
{
    static const char *const names[] = { "res1", "res2", "res1_backward", "res2_backward" };
    return attn__res_call(kernel) ? names[kernel - ATTN_KERNEL_RES1] : "?";
}

typedef struct attn__res_view {
    const char *name;
    attn_res_tensor *tensor;
    int64_t extent[3];         /* of stride[0], of stride[1], elements of a row */
    int reads, writes, needs;  /* calls: ATTN__RES_... */
    void *const *table;        /* instead of data, or NULL */
} attn__res_view;

enum { ATTN__RES_VIEWS = 15 };

static inline void attn__res_views(attn_res_params *p, attn__res_view *view)
{
    const int mixes = p->h.data || p->norm.data ? ATTN__RES_2 : 0; /* else phase 2 is the sum alone */
    const int64_t n = p->blocks, s = p->queries, t = p->tokens, d = p->dim, r = p->key_dim;
    const attn__res_view rows[ATTN__RES_VIEWS] = {
        { "v", &p->v, { n, t, d }, ATTN__RES_1 | ATTN__RES_1B, 0, ATTN__RES_1 | ATTN__RES_1B,
          (void *const *)p->v_table },
        { "p", &p->p, { 1, t, d }, ATTN__RES_2 | ATTN__RES_2B, 0, ATTN__RES_2 | ATTN__RES_2B, NULL },
        { "w", &p->w, { s, 1, r }, ATTN__RES_1 | ATTN__RES_1B | ATTN__RES_2B | mixes, 0,
          ATTN__RES_1 | ATTN__RES_1B | ATTN__RES_2B | mixes, NULL },
        { "gain", &p->gain, { 1, 1, r }, ATTN__RES_1 | ATTN__RES_1B | ATTN__RES_2B | mixes, 0, 0, NULL },
        { "o1", &p->o1, { s, t, d }, ATTN__RES_2B | mixes, ATTN__RES_1, ATTN__RES_2B | mixes, NULL },
        { "update", &p->update, { 1, t, d }, ATTN__RES_2, 0, 0, NULL },
        { "p_out", &p->p_out, { 1, t, d }, 0, ATTN__RES_2, 0, NULL },
        { "block", &p->block, { 1, t, d }, 0, ATTN__RES_2, 0, NULL },
        { "h", &p->h, { 1, t, d }, 0, ATTN__RES_2, 0, NULL },
        { "norm", &p->norm, { 1, t, d }, 0, ATTN__RES_2, 0, NULL },
        { "norm_gain", &p->norm_gain, { 1, 1, d }, ATTN__RES_2, 0, 0, NULL },
        { "do1", &p->do1, { s, t, d }, ATTN__RES_1B, ATTN__RES_2B, ATTN__RES_1B, NULL },
        { "dv", &p->dv, { n, t, d }, 0, ATTN__RES_1B, 0, p->dv_table },
        { "dh", &p->dh, { 1, t, d }, ATTN__RES_2B, 0, ATTN__RES_2B, NULL },
        { "dp", &p->dp, { 1, t, d }, 0, ATTN__RES_2B, 0, NULL },
    };
    memcpy(view, rows, sizeof rows);
}

/* ---- checks ------------------------------------------------------------------------------------ */

static inline attn_status attn__res_numbers(const attn_res_params *p, int call, attn__text *t)
{
    const int one = call & (ATTN__RES_1 | ATTN__RES_1B), back = call & (ATTN__RES_1B | ATTN__RES_2B);
    const attn__int_row ints[] = {
        { "flags", p->flags & ~(back ? ATTN_RES_FLAGS_ALL : ATTN_RES_FROM_LAST), 0, 0,
          back ? "0 in all bits but ATTN_RES_ADD_DV, _DP, _DW and ATTN_RES_FROM_LAST"
               : "0 in all bits but ATTN_RES_FROM_LAST in a forward call" },
        { "blocks", one ? p->blocks : 1, 1, ATTN_RES_BLOCKS, NULL },
        { "queries", one ? p->queries : 1, 1, ATTN_RES_QUERIES, NULL },
        { "tokens", p->tokens, 0, INT64_MAX / 4, "0 to 2^61" },
        { "dim", p->dim % 8 ? 0 : p->dim, 8, ATTN_RES_DIM, NULL },
        { "key_dim", p->key_dim % 8 ? -1 : p->key_dim, 0, p->dim, NULL },
        { "device", p->device, 0, ATTN_DEVICE_CUDA, "ATTN_DEVICE_CPU, ATTN_DEVICE_CUDA, or 0" },
        { "threads", p->threads, 0, 1024, NULL },
        { "reserved", p->reserved, 0, 0, "0" },
    };
    const attn__float_row floats[] = {
        { "eps", p->eps, 0, FLT_MAX, "0 or greater, and finite" },
        { "scale", p->scale, -FLT_MAX, FLT_MAX, "finite" },
        { "norm_eps", call == ATTN__RES_2 ? p->norm_eps : 0, 0, FLT_MAX, "0 or greater, and finite" },
    };
    if (p->dim % 8)
        return attn__bad(t, "dim %d: must be a multiple of 8 from 8 to %d; pad rows with zeros, of w too, and multiply "
                            "scale with sqrt(dim / padded)", (int)p->dim, ATTN_RES_DIM);
    if (p->key_dim % 8)
        return attn__bad(t, "key_dim %d: must be a multiple of 8 up to dim %d, or 0", (int)p->key_dim, (int)p->dim);
    attn_status status = attn__check_ints(ints, sizeof ints / sizeof ints[0], t);
    for (size_t i = 0; status == ATTN_OK && i < sizeof floats / sizeof floats[0]; i++)
        if (!attn__is_finite(floats[i].value) || floats[i].value < floats[i].least)
            return attn__bad(t, "%s %g: must be %s", floats[i].field, (double)floats[i].value, floats[i].allowed);
    return status;
}

/* Only arithmetic; what the call does not use stays as it is. */
static inline void attn__res_fill(attn_res_params *p, int call)
{
    attn__res_view view[ATTN__RES_VIEWS];
    if (call & (ATTN__RES_2 | ATTN__RES_2B))
        p->blocks = p->queries = 1;
    if (!p->key_dim)
        p->key_dim = p->dim;
    p->eps = p->eps == 0 ? FLT_EPSILON : p->eps;
    p->norm_eps = p->norm_eps == 0 ? FLT_EPSILON : p->norm_eps;
    p->scale = p->scale == 0 ? 1 : p->scale;
    if (!p->lse_stride)
        p->lse_stride = p->tokens;
    if (!p->dw_stride)
        p->dw_stride = p->key_dim;
    if (call == ATTN__RES_2 && p->update.data && !p->p_out.data)
        p->p_out = p->p;
    const int32_t dtype = call & (ATTN__RES_1 | ATTN__RES_1B) ? p->v.dtype : p->p.dtype;
    attn__res_views(p, view);
    for (int i = 0; i < ATTN__RES_VIEWS; i++) {
        attn_res_tensor *x = view[i].tensor;
        if (!((view[i].reads | view[i].writes) & call))
            continue;
        if (!x->dtype)
            x->dtype = dtype;
        if (!x->stride[0] && !x->stride[1]) {
            x->stride[1] = view[i].extent[2];
            x->stride[0] = attn__mul(x->stride[1], view[i].extent[1]);
        }
    }
}

static inline attn_status attn__res_check_view(const attn__res_view *v, int call, int work, attn__text *t)
{
    const attn_res_tensor *x = v->tensor;
    const int64_t extent[3] = { v->table ? 1 : v->extent[0], v->extent[1], v->extent[2] };
    const int64_t stride[3] = { x->stride[0], x->stride[1], 1 };
    const uint32_t bytes = (uint32_t)attn__dtype_of(x->dtype).bits / 8;
    int widest = 0;
    if (!(call & (v->reads | v->writes)))
        return ATTN_OK;
    if (x->reserved)
        return attn__bad(t, "%s.reserved %d: must be 0", v->name, (int)x->reserved);
    if (x->dtype != ATTN_F32 && x->dtype != ATTN_F16 && x->dtype != ATTN_BF16) {
        if (x->data || v->table || call & v->needs)
            return attn__bad(t, "%s.dtype %d (%s): must be f32, f16 or bf16", v->name, (int)x->dtype,
                             attn__dtype_of(x->dtype).name);
        return ATTN_OK;
    }
    if (x->data && v->table)
        return attn__bad(t, "%s.data: must be NULL with %s_table", v->name, v->name);
    if (!x->data && !v->table)
        return call & v->needs && work ? attn__bad(t, "%s.data NULL: must be set, there is work to do", v->name)
                                       : ATTN_OK;
    for (int64_t n = 0; v->table && n < v->extent[0]; n++)
        if (!v->table[n] || (uintptr_t)v->table[n] % bytes)
            return attn__bad(t, "%s_table[%d] %p: must be set and a multiple of %u bytes", v->name, (int)n,
                             v->table[n], bytes);
    if ((uintptr_t)x->data % bytes)
        return attn__bad(t, "%s.data %p: must be a multiple of %u bytes", v->name, x->data, bytes);
    for (int i = 0; i < 2; i++)
        if (work && call & v->writes && extent[i] > 1 && attn__abs(stride[i]) < extent[2])
            return attn__bad(t, "%s.stride[%d] %lld: must be at least the %lld elements of a row, or results overlap",
                             v->name, i, (long long)stride[i], (long long)extent[2]);
    if (attn__reach(extent, stride, 3, &widest) > INT64_MAX / 8)
        return attn__bad(t, "%s.stride[%d] %lld: too large, %s would span over 2^63 bytes", v->name, widest,
                         (long long)stride[widest], v->name);
    return ATTN_OK;
}

static inline attn_status attn__res_check_floats(const attn_res_params *p, int call, int work, attn__text *t)
{
    const int mixes = call == ATTN__RES_2 ? p->h.data || p->norm.data : call != ATTN__RES_1;
    const attn__pointer_row rows[] = { { "lse", p->lse }, { "dlse", p->dlse }, { "dw", p->dw }, { "dgain", p->dgain } };
    const int64_t queries = p->queries;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((i == 0 || call & (ATTN__RES_1B | ATTN__RES_2B)) && (uintptr_t)rows[i].pointer % 4)
            return attn__bad(t, "%s %p: must be a multiple of 4 bytes", rows[i].field, rows[i].pointer);
    if (mixes && work && !p->lse)
        return attn__bad(t, "lse NULL: must be set, phase 1 writes it");
    if ((p->lse || p->dlse) && queries > 1 && attn__abs(p->lse_stride) < p->tokens)
        return attn__bad(t, "lse_stride %lld: must be at least the %lld tokens", (long long)p->lse_stride,
                         (long long)p->tokens);
    if (attn__mul(queries, attn__abs(p->lse_stride)) > INT64_MAX / 8)
        return attn__bad(t, "lse_stride %lld: too large, lse would span over 2^63 bytes", (long long)p->lse_stride);
    if (!(call & (ATTN__RES_1B | ATTN__RES_2B)))
        return ATTN_OK;
    if (p->dw && queries > 1 && attn__abs(p->dw_stride) < p->key_dim)
        return attn__bad(t, "dw_stride %lld: must be at least the %d elements of a query", (long long)p->dw_stride,
                         (int)p->key_dim);
    if (p->dw && attn__mul(queries, attn__abs(p->dw_stride)) > INT64_MAX / 8)
        return attn__bad(t, "dw_stride %lld: too large, dw would span over 2^63 bytes", (long long)p->dw_stride);
    if (p->dgain && !p->gain.data)
        return attn__bad(t, "dgain: must be NULL without gain");
    return ATTN_OK;
}

static inline attn_status attn__res_prepare(attn_res_params *p, int32_t kernel, const attn_res_params *given,
                                            attn__text *t)
{
    attn__res_view view[ATTN__RES_VIEWS];
    const int call = attn__res_call(kernel);
    if (!call)
        return attn__bad(t, "kernel %d: must be ATTN_KERNEL_RES1 to ATTN_KERNEL_RES2_BACKWARD", (int)kernel);
    attn_status status = attn__read(p, (uint32_t)sizeof *p, given, t);
    if (status == ATTN_OK)
        status = attn__res_numbers(p, call, t);
    if (status != ATTN_OK)
        return status;
    attn__res_fill(p, call);
    attn__res_views(p, view);
    for (int i = 0; i < ATTN__RES_VIEWS && status == ATTN_OK; i++)
        status = attn__res_check_view(&view[i], call, p->tokens > 0, t);
    if (status != ATTN_OK)
        return status;
    /* A row of these results is a sum of all rows of those inputs, of which others are still to be made. */
    if (call == ATTN__RES_1 && p->o1.data && p->o1.data == p->v.data)
        return attn__bad(t, "o1.data %p: must not be v.data", p->o1.data);
    if (call == ATTN__RES_1B && p->dv.data && p->dv.data == p->do1.data)
        return attn__bad(t, "dv.data %p: must not be do1.data", p->dv.data);
    return attn__res_check_floats(p, call, p->tokens > 0, t);
}

/* ---- which instance ---------------------------------------------------------------------------- */

/* What keeps an instance from a call, the nearest last. */
enum {
    ATTN__RES_FIT_KERNEL,
    ATTN__RES_FIT_DEVICE,
    ATTN__RES_FIT_DTYPE,
    ATTN__RES_FIT_DIM,
    ATTN__RES_FIT_QUERIES,
    ATTN__RES_FIT_BLOCKS,
    ATTN__RES_FIT_ARCH,
    ATTN__RES_FIT_ROWS,
    ATTN__RES_FITS
};

static inline int32_t attn__res_dtype(const attn_res_params *p, int32_t kernel)
{
    return attn__res_call(kernel) & (ATTN__RES_1 | ATTN__RES_1B) ? p->v.dtype : p->p.dtype;
}

/* Do all rows that it reads begin at multiples of row_align bytes, in the instance's own type?  If not, t has which. */
static inline int attn__res_rows_fit(const attn_instance *inst, const attn_res_params *p, attn__text *t)
{
    attn__res_view view[ATTN__RES_VIEWS];
    const int call = attn__res_call(inst->kernel);
    const uint32_t align = (uint32_t)inst->row_align;
    attn__res_views((attn_res_params *)p, view); /* only looks */
    for (int i = 0; i < ATTN__RES_VIEWS && align; i++) {
        const attn_res_tensor *x = view[i].tensor;
        const int64_t step = align / ((uint32_t)attn__dtype_of(inst->dtype).bits / 8);
        if (!(call & view[i].reads) || view[i].extent[1] <= 1 || (!x->data && !view[i].table))
            continue;
        if (x->dtype != inst->dtype) {
            attn__put(t, "%s.dtype %s", view[i].name, attn__dtype_of(x->dtype).name);
            return 0;
        }
        for (int64_t n = 0; n < (view[i].table ? view[i].extent[0] : 1); n++)
            if ((uintptr_t)(view[i].table ? view[i].table[n] : x->data) % align) {
                attn__put(t, "%s %p", view[i].name, view[i].table ? view[i].table[n] : x->data);
                return 0;
            }
        for (int s = 0; s < 2; s++)
            if (x->stride[s] % step && view[i].extent[s] > 1 && !(s == 0 && view[i].table)) {
                attn__put(t, "%s.stride[%d] %lld", view[i].name, s, (long long)x->stride[s]);
                return 0;
            }
    }
    return 1;
}

static inline int attn__res_fit(const attn_instance *inst, const attn_res_params *p, int32_t kernel)
{
    attn__text none = { NULL, 0 };
    if (inst->kernel != kernel)
        return ATTN__RES_FIT_KERNEL;
    if ((inst->device != NULL) != (p->device == ATTN_DEVICE_CUDA))
        return ATTN__RES_FIT_DEVICE;
    if (inst->dtype != attn__res_dtype(p, kernel))
        return ATTN__RES_FIT_DTYPE;
    if (inst->head_dim && (p->dim < inst->head_dim_min || p->dim > inst->head_dim))
        return ATTN__RES_FIT_DIM;
    if (p->queries > inst->tile_q)
        return ATTN__RES_FIT_QUERIES;
    if (p->blocks > inst->tile_k)
        return ATTN__RES_FIT_BLOCKS;
    if (!attn__runs(inst, &none))
        return ATTN__RES_FIT_ARCH;
    return attn__res_rows_fit(inst, p, &none) ? ATTN__RES_FITS : ATTN__RES_FIT_ROWS;
}

/* What of the instance does not fit, and what would. */
static inline void attn__res_put_misfit(attn__text *t, const attn_instance *inst, const attn_res_params *p, int fit)
{
    if (fit == ATTN__RES_FIT_DTYPE) {
        attn__put(t, "is for %s", attn__dtype_of(inst->dtype).name);
    } else if (fit == ATTN__RES_FIT_DIM) {
        attn__put(t, "is for dim %d to %d", (int)inst->head_dim_min, (int)inst->head_dim);
    } else if (fit == ATTN__RES_FIT_QUERIES) {
        attn__put(t, "is for up to %d queries", (int)inst->tile_q);
    } else if (fit == ATTN__RES_FIT_BLOCKS) {
        attn__put(t, "is for up to %d blocks", (int)inst->tile_k);
    } else if (fit == ATTN__RES_FIT_ARCH) {
        attn__put(t, "would serve this call, but ");
        attn__runs(inst, t);
    } else if (fit == ATTN__RES_FIT_ROWS) {
        attn__put(t, "reads %s, rows from multiples of %d bytes, not ", attn__dtype_of(inst->dtype).name,
                  (int)inst->row_align);
        attn__res_rows_fit(inst, p, t);
    }
}

static inline attn_status attn__res_select(const attn_instance *const *list, size_t n, const attn_res_params *p,
                                           int32_t kernel, const attn_instance **instance, attn__text *t)
{
    const attn_instance *best = NULL;
    const int32_t dtype = attn__res_dtype(p, kernel);
    int fit = ATTN__RES_FIT_KERNEL;
    for (size_t i = 0; i < n && fit != ATTN__RES_FITS; i++) {
        const int f = attn__res_fit(list[i], p, kernel);
        if (!best || f > fit) {
            best = list[i];
            fit = f;
        }
    }
    *instance = fit == ATTN__RES_FITS ? best : NULL;
    if (*instance)
        return ATTN_OK;
    if (fit <= ATTN__RES_FIT_DEVICE) {
        attn__put(t, "%s: this list has no instance of it%s", attn__res_name(kernel),
                  fit == ATTN__RES_FIT_KERNEL         ? ""
                  : p->device == ATTN_DEVICE_CUDA     ? " for ATTN_DEVICE_CUDA"
                                                      : " for ATTN_DEVICE_CPU");
    } else {
        attn__put(t, "%s of %s, dim %d, %d queries, %d blocks: %s ", attn__res_name(kernel), attn__dtype_of(dtype).name,
                  (int)p->dim, (int)p->queries, (int)p->blocks, best->name);
        attn__res_put_misfit(t, best, p, fit);
    }
    if (fit == ATTN__RES_FIT_ARCH)
        return ATTN_ERR_ARCH;
    attn__put(t, "; add attn_row(%s, %s, %s, any, any, none, %d, %d, none)", attn__res_name(kernel),
              p->device == ATTN_DEVICE_CUDA ? "simt" : "cpu", attn__dtype_of(dtype).name,
              p->queries > 1 ? ATTN_RES_QUERIES : 1, p->blocks > 1 ? ATTN_RES_BLOCKS : 1);
    return ATTN_ERR_UNSUPPORTED;
}

/* ---- a list of instances ----------------------------------------------------------------------- */

/* Reads p into full and picks the instance. */
static inline attn_status attn__res_find(const attn_instance *const *list, size_t n, int32_t kernel,
                                         const attn_res_params *p, attn_res_params *full,
                                         const attn_instance **instance, attn__text *t)
{
    *instance = NULL;
    if (!list && n)
        return attn__bad(t, "list NULL: must point to %zu instances", n);
    attn_status status = attn__res_prepare(full, kernel, p, t);
    if (status != ATTN_OK)
        return status;
    if (!full->device)
        full->device = attn__default_device(list, n);
    return attn__res_select(list, n, full, kernel, instance, t);
}

/* See attn_res_query. */
static inline attn_status attn_list_res_query(const attn_instance *const *list, size_t n, int32_t kernel,
                                              const attn_res_params *p, attn_info *info)
{
    attn_res_params full;
    if (!info)
        return ATTN_ERR_ARG;
    attn__text t = attn__text_start(info->text, sizeof info->text);
    attn_status status = attn__res_find(list, n, kernel, p, &full, &info->instance, &t);
    const int ask = status == ATTN_OK && full.tokens > 0;
    info->workspace = ask ? info->instance->res_workspace(&full, 0) : 0;
    info->workspace_least = ask ? info->instance->res_workspace(&full, 1) : 0;
    return status;
}

/* See attn_res_explain. */
static inline attn_status attn_list_res_explain(const attn_instance *const *list, size_t n, int32_t kernel,
                                                const attn_res_params *p, char *buf, size_t len)
{
    attn_res_params full;
    const attn_instance *instance;
    if (!buf && len)
        return ATTN_ERR_ARG;
    attn__text t = attn__text_start(buf, len);
    attn_status status = attn__res_find(list, n, kernel, p, &full, &instance, &t);
    if (status == ATTN_ERR_ARG)
        return status;
    if (status == ATTN_OK)
        attn__put(&t, "%s serves this call", instance->name);
    for (size_t i = 0; i < n; i++) {
        const int fit = attn__res_fit(list[i], &full, kernel);
        if (fit <= ATTN__RES_FIT_DEVICE)
            continue;
        attn__put(&t, "\n  %s %s", list[i]->name, fit == ATTN__RES_FITS ? "serves" : "");
        attn__res_put_misfit(&t, list[i], &full, fit);
        if (fit == ATTN__RES_FITS)
            break;
    }
    return status;
}

/* See attn_res_phase1 and the others. */
static inline attn_status attn_list_res(const attn_instance *const *list, size_t n, int32_t kernel,
                                        const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream)
{
    attn_res_params full;
    const attn_instance *instance;
    attn__text none = { NULL, 0 };
    attn_status status = attn__res_find(list, n, kernel, p, &full, &instance, &none);
    if (status != ATTN_OK || full.tokens == 0)
        return status;
    if (!workspace)
        workspace_bytes = 0;
    if ((uintptr_t)workspace % 64 || workspace_bytes < instance->res_workspace(&full, 1))
        return ATTN_ERR_WORKSPACE;
    return instance->res_launch(&full, workspace, workspace_bytes, stream);
}

/* ---- one instance, whose kernel says which call it is ------------------------------------------ */

static inline attn_status attn_run_res_query(const attn_instance *instance, const attn_res_params *p, attn_info *info)
{
    return attn_list_res_query(&instance, instance != NULL, instance ? instance->kernel : 0, p, info);
}

static inline attn_status attn_run_res(const attn_instance *instance, const attn_res_params *p, void *workspace,
                                       size_t workspace_bytes, void *stream)
{
    return attn_list_res(&instance, instance != NULL, instance ? instance->kernel : 0, p, workspace, workspace_bytes,
                         stream);
}

#endif /* ATTN_RUN_RES_H */
