/* run.h - validate, select, explain and run, over a list of instances.
 *
 * The archive's functions in attn.h are these over the archive's list; a program with its own
 * header-mode instances calls them with its own:
 *
 *     const attn_instance *mine[] = { &my_causal, &my_plain };
 *     attn_list_forward(mine, 2, &p, workspace, bytes, NULL);
 *
 * C11, C++ and CUDA; static inline functions, no allocation, no output, no lock, and no
 * state but one atomic word that caches a processor feature.  Names that begin with attn__ are private.
 *
 *     run/text.h      writes the texts of refusals, names values
 *     run/params.h    caller's struct -> complete parameter block; WHAT A LAUNCH MAY RELY ON
 *     run/validate.h  every field, checked
 *     run/select.h    which instance serves; why none does
 *     run/merge.h     merge of partial results
 *     run/append.h    new tokens into a cache
 *     run/res.h       the same steps for Attention Residuals */
#ifndef ATTN_RUN_H
#define ATTN_RUN_H

#include <attn/run/append.h>
#include <attn/run/merge.h>
#include <attn/run/res.h>
#include <attn/run/select.h>
#include <attn/run/validate.h>

/* ---- a list of instances ----------------------------------------------------------------------- */

/* Reads p into full and picks the instance. */
static inline attn_status attn__find(const attn_instance *const *list, size_t n, const attn_params *p,
                                     attn_params *full, const attn_instance **instance, attn__text *t)
{
    *instance = NULL;
    if (!list && n)
        return attn__bad(t, "list NULL: must point to %zu instances", n);
    attn_status status = attn__prepare(full, p, t);
    if (status != ATTN_OK)
        return status;
    if (!full->device)
        full->device = attn__default_device(list, n);
    return attn__select(list, n, full, instance, t);
}

/* Which instance serves p, with how much workspace; or why none does. */
static inline attn_status attn_list_query(const attn_instance *const *list, size_t n, const attn_params *p,
                                          attn_info *info)
{
    attn_params full;
    if (!info)
        return ATTN_ERR_ARG;
    attn__text t = attn__text_start(info->text, sizeof info->text);
    attn_status status = attn__find(list, n, p, &full, &info->instance, &t);
    int ask = status == ATTN_OK && attn__has_work(&full);
    info->workspace = ask ? info->instance->workspace(&full, 0) : 0;
    info->workspace_least = ask ? info->instance->workspace(&full, 1) : 0;
    return status;
}

/* The same in words, with one line for each instance that was considered. */
static inline attn_status attn_list_explain(const attn_instance *const *list, size_t n, const attn_params *p,
                                            char *buf, size_t len)
{
    attn_params full;
    const attn_instance *instance;
    if (!buf && len)
        return ATTN_ERR_ARG;
    attn__text t = attn__text_start(buf, len);
    attn_status status = attn__find(list, n, p, &full, &instance, &t);
    if (status == ATTN_ERR_ARG)
        return status;
    if (status == ATTN_OK)
        attn__put(&t, "%s serves this call", instance->name);
    attn__put_list(&t, list, n, &full);
    return status;
}

/* Computes o and lse. */
static inline attn_status attn_list_forward(const attn_instance *const *list, size_t n, const attn_params *p,
                                            void *workspace, size_t workspace_bytes, void *stream)
{
    attn_params full;
    const attn_instance *instance;
    attn__text none = { NULL, 0 };
    attn_status status = attn__find(list, n, p, &full, &instance, &none);
    if (status != ATTN_OK || !attn__has_work(&full))
        return status;
    if (!workspace)
        workspace_bytes = 0;
    if ((uintptr_t)workspace % 64 || workspace_bytes < instance->workspace(&full, 1))
        return ATTN_ERR_WORKSPACE;
    return instance->launch(&full, workspace, workspace_bytes, stream);
}

/* ---- kernels beside attention: in host memory they need no instance ------------------------------ */

/* Reads and checks p, and finds the instance that serves it; NULL: the host does. */
static inline attn_status attn__find_merge(const attn_instance *const *list, size_t n, const attn_merge_params *p,
                                           attn_merge_params *full, const attn_instance **instance, attn__text *t)
{
    if (!list && n)
        return attn__bad(t, "list NULL: must point to %zu instances", n);
    attn_status status = attn__merge_check(full, p, t);
    return status == ATTN_OK ? attn__find_kernel(list, n, ATTN_KERNEL_MERGE, full->device, instance, t) : status;
}

static inline attn_status attn__find_append(const attn_instance *const *list, size_t n, const attn_params *p,
                                            const attn_append_params *a, attn_params *full_p,
                                            attn_append_params *full_a, const attn_instance **instance, attn__text *t)
{
    if (!list && n)
        return attn__bad(t, "list NULL: must point to %zu instances", n);
    attn_status status = attn__append_check(full_p, full_a, p, a, t);
    return status == ATTN_OK ? attn__find_kernel(list, n, ATTN_KERNEL_APPEND, full_p->device, instance, t) : status;
}

/* See attn_merge and attn_append_kv. */
static inline attn_status attn_list_merge(const attn_instance *const *list, size_t n, const attn_merge_params *p,
                                          void *stream)
{
    attn_merge_params full;
    const attn_instance *instance = NULL;
    attn__text none = { NULL, 0 };
    attn_status status = attn__find_merge(list, n, p, &full, &instance, &none);
    if (status != ATTN_OK || full.batch == 0 || full.seq_q == 0)
        return status;
    if (instance)
        return instance->merge(&full, stream);
    attn__merge_host(&full);
    return ATTN_OK;
}

static inline attn_status attn_list_append_kv(const attn_instance *const *list, size_t n, const attn_params *p,
                                              const attn_append_params *a, void *stream)
{
    attn_params full_p;
    attn_append_params full_a;
    const attn_instance *instance = NULL;
    attn__text none = { NULL, 0 };
    attn_status status = attn__find_append(list, n, p, a, &full_p, &full_a, &instance, &none);
    if (status != ATTN_OK || !attn__has_work(&full_p))
        return status;
    return instance ? instance->append(&full_p, &full_a, stream) : attn__append_host(&full_p, &full_a);
}

static inline attn_status attn__explain_kernel(attn_status status, const attn_instance *instance, attn__text *t)
{
    if (status == ATTN_OK)
        attn__put(t, instance ? "%s serves this call" : "the host serves this call%s", instance ? instance->name : "");
    return status;
}

static inline attn_status attn_list_merge_explain(const attn_instance *const *list, size_t n,
                                                  const attn_merge_params *p, char *buf, size_t len)
{
    attn_merge_params full;
    const attn_instance *instance = NULL;
    if (!buf && len)
        return ATTN_ERR_ARG;
    attn__text t = attn__text_start(buf, len);
    attn_status status = attn__find_merge(list, n, p, &full, &instance, &t);
    return attn__explain_kernel(status, instance, &t);
}

static inline attn_status attn_list_append_explain(const attn_instance *const *list, size_t n, const attn_params *p,
                                                   const attn_append_params *a, char *buf, size_t len)
{
    attn_params full_p;
    attn_append_params full_a;
    const attn_instance *instance = NULL;
    if (!buf && len)
        return ATTN_ERR_ARG;
    attn__text t = attn__text_start(buf, len);
    attn_status status = attn__find_append(list, n, p, a, &full_p, &full_a, &instance, &t);
    return attn__explain_kernel(status, instance, &t);
}

/* ---- one instance ------------------------------------------------------------------------------ */

static inline attn_status attn_run_query(const attn_instance *instance, const attn_params *p, attn_info *info)
{
    return attn_list_query(&instance, instance != NULL, p, info);
}

static inline attn_status attn_run(const attn_instance *instance, const attn_params *p, void *workspace,
                                   size_t workspace_bytes, void *stream)
{
    return attn_list_forward(&instance, instance != NULL, p, workspace, workspace_bytes, stream);
}

/* ---- helpers ----------------------------------------------------------------------------------- */

/* The current CUDA device, by the CUDA instances of a list.  See attn_query_device. */
static inline attn_status attn_list_query_device(const attn_instance *const *list, size_t n, attn_device *device)
{
    if (!device || (!list && n))
        return ATTN_ERR_ARG;
    memset(device, 0, sizeof *device);
    for (size_t i = 0; i < n && !device->cc; i++)
        if (list[i]->device)
            *device = attn__device_of(list[i]);
    return device->cc ? ATTN_OK : ATTN_ERR_ARCH;
}

/* See attn_recommended_tile; of this device, which must not be NULL. */
static inline int32_t attn_run_recommended_tile(const attn_device *device)
{
    return device->l2 <= 4 << 20 ? 64 : device->l2 <= 8 << 20 ? 128 : 256;
}

/* See attn_alibi_slopes. */
static inline attn_status attn_run_alibi_slopes(float *slopes, int32_t heads, int32_t family)
{
    if (!slopes || heads < 1 || (family != ATTN_ALIBI_PRESS && family != ATTN_ALIBI_MPT))
        return ATTN_ERR_ARG;
    int64_t power = 1; /* PRESS: the power of two <= heads; MPT: the one >= heads */
    while (family == ATTN_ALIBI_PRESS ? 2 * power <= heads : power < heads)
        power *= 2;
    for (int64_t h = 0; h < heads; h++) {
        double place = (double)(h + 1);
        if (family == ATTN_ALIBI_PRESS && h >= power)
            place = (double)(h - power) + 0.5;
        else if (family == ATTN_ALIBI_MPT && power != heads)
            place = (double)(h < power / 2 ? 2 * h + 2 : 2 * h - power + 1);
        slopes[h] = (float)exp2(-8 * place / (double)power);
    }
    return ATTN_OK;
}

/* See attn_debug_text. */
static inline attn_status attn_run_debug_text(const attn_finding *f, char *buf, size_t len)
{
#define ATTN__NAME(M, name) #name,
    static const char *const names[] = { "", ATTN_CONTENTS(ATTN__NAME) };
#undef ATTN__NAME
    if (!f || (!buf && len))
        return ATTN_ERR_ARG;
    attn__text t = attn__text_start(buf, len);
    if (f->content == ATTN_CONTENT_FINE)
        return ATTN_OK;
    if (f->content < 0 || f->content >= ATTN_CONTENT_COUNT)
        return attn__bad(&t, "content %d: not of a finding", (int)f->content);
    attn__put(&t, "%s", names[f->content]);
    if (f->content == ATTN_CONTENT_BLOCK_TABLE)
        attn__put(&t, "[%d]", (int)f->sequence);
    attn__put(&t, "[%d] %d: must be ", (int)f->position, (int)f->value);
    if (f->most == INT32_MAX)
        return attn__bad(&t, "at least %d", (int)f->least);
    return attn__bad(&t, "%d to %d", (int)f->least, (int)f->most);
}

static inline const char *attn_run_status_name(attn_status status)
{
    static const char *const names[] = {
        "ATTN_OK", "ATTN_ERR_ARG", "ATTN_ERR_UNSUPPORTED", "ATTN_ERR_WORKSPACE", "ATTN_ERR_ARCH", "ATTN_ERR_CUDA",
    };
    int i = (int)status;
    return i >= 0 && i < (int)(sizeof names / sizeof names[0]) ? names[i] : "ATTN_ERR_?";
}

#endif /* ATTN_RUN_H */
