/* select.h - which instance of a list serves a call, and the text if none does.
 *
 * The first in list order whose kernel, dtypes, head dims, GQA ratio and features cover the call and
 * whose arch this machine can execute.  Otherwise the nearest one, by the order of ATTN__FIT_..., says
 * what is missing and which row of a table would serve.  C11, C++ and CUDA. */
#ifndef ATTN_RUN_SELECT_H
#define ATTN_RUN_SELECT_H

#include <attn/run/params.h>

/* ---- what this machine can execute ------------------------------------------------------------- */

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* clang 14's __builtin_cpu_supports does not know f16c; gcc's does, without a cpuid, which is slow in a
 * virtual machine.  All threads would store the same answer. */
static inline int attn__has_f16c(void)
{
#ifdef __clang__
    static int answer; /* 0 = not asked yet, 1 = no, 2 = yes */
    int known = __atomic_load_n(&answer, __ATOMIC_RELAXED);
    if (!known) {
        unsigned a, b, c = 0, d;
        known = __get_cpuid(1, &a, &b, &c, &d) && c >> 29 & 1u ? 2 : 1;
        __atomic_store_n(&answer, known, __ATOMIC_RELAXED);
    }
    return known == 2;
#else
    return __builtin_cpu_supports("f16c") != 0;
#endif
}

/* The builtins also ask whether the system saves the wide registers. */
static inline int attn__has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && attn__has_f16c();
}

static inline int attn__has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static inline int attn__has_avx512bf16(void)
{
    return attn__has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#else
static inline int attn__has_avx2(void)
{
    return 0;
}

static inline int attn__has_avx512(void)
{
    return 0;
}

static inline int attn__has_avx512bf16(void)
{
    return 0;
}
#endif

static inline int attn__has_any_cpu(void)
{
    return 1;
}

typedef struct attn__arch {
    int32_t arch;
    const char *name; /* in rows */
    int (*runs)(void);
} attn__arch;

/* NULL for an arch that no template serves. */
static inline const attn__arch *attn__arch_of(int32_t arch)
{
    static const attn__arch table[] = {
        { ATTN_ARCH_CPU, "cpu", attn__has_any_cpu },
        { ATTN_ARCH_AVX2, "avx2", attn__has_avx2 },
        { ATTN_ARCH_AVX512, "avx512", attn__has_avx512 },
        { ATTN_ARCH_AVX512BF16, "avx512bf16", attn__has_avx512bf16 },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].arch == arch)
            return &table[i];
    return NULL;
}

static inline int attn__arch_runs(int32_t arch)
{
    const attn__arch *a = attn__arch_of(arch);
    return a && a->runs();
}

/* ---- what a call needs ------------------------------------------------------------------------- */

typedef struct attn__cause {
    const char *field;
    double value; /* 0: the feature is off */
} attn__cause;

/* Which field asks for which feature, in the order of ATTN_FEATURES. */
static inline void attn__causes(const attn_params *p, attn__cause *cause)
{
    int lengths = p->cu_seqlens_q || p->cu_seqlens_k || p->seqused_q || (p->seqused_k && !p->page_size);
    int scaled = p->q_scale.scale || p->k_scale.scale || p->v_scale.scale;
    const attn__cause rows[ATTN_FEATURE_COUNT] = {
        { "causal", (double)p->causal },
        { "window", (double)p->window },
        { "chunk", (double)p->chunk },
        { "sink_tokens", (double)p->sink_tokens },
        { "sink_logits", (double)(p->sink_logits != NULL) },
        { "softcap", (double)p->softcap },
        { "alibi_slopes", (double)(p->alibi_slopes != NULL) },
        { "bias", (double)(p->bias.data != NULL) },
        { "mask", (double)(p->mask.data != NULL) },
        { "cu_seqlens or seqused", (double)lengths },
        { "page_size", (double)p->page_size },
        { "q_scale, k_scale or v_scale", (double)scaled },
        { "dropout_p", (double)p->dropout_p },
        { "schedule", (double)(p->schedule.row_ptr || p->schedule.runs) },
        { "rope_style", (double)p->rope_style },
    };
    memcpy(cause, rows, sizeof rows);
}

/* ATTN_HAS bits. */
static inline uint32_t attn__needs(const attn_params *p)
{
    attn__cause cause[ATTN_FEATURE_COUNT];
    uint32_t needs = 0;
    attn__causes(p, cause);
    for (int i = 0; i < ATTN_FEATURE_COUNT; i++)
        needs |= cause[i].value != 0 ? 1u << i : 0;
    return needs;
}

/* ---- does an instance fit ---------------------------------------------------------------------- */

/* What keeps an instance from a call, the nearest last. */
enum {
    ATTN__FIT_KERNEL,
    ATTN__FIT_DTYPE,
    ATTN__FIT_HEAD_DIM,
    ATTN__FIT_GQA,
    ATTN__FIT_FEATURES,
    ATTN__FIT_ARCH,
    ATTN__FITS
};

static inline int attn__fit(const attn_instance *inst, const attn_params *p, uint32_t needs)
{
    if (inst->kernel != ATTN_KERNEL_FORWARD)
        return ATTN__FIT_KERNEL;
    if (inst->dtype != p->q.dtype || inst->kv_dtype != p->k.dtype)
        return ATTN__FIT_DTYPE;
    if ((inst->head_dim && inst->head_dim != p->head_dim) || (inst->head_dim_v && inst->head_dim_v != p->head_dim_v))
        return ATTN__FIT_HEAD_DIM;
    if (inst->gqa && inst->gqa != p->heads_q / p->heads_k)
        return ATTN__FIT_GQA;
    if (needs & ~inst->features)
        return ATTN__FIT_FEATURES;
    return attn__arch_runs(inst->arch) ? ATTN__FITS : ATTN__FIT_ARCH;
}

static inline int attn__bits(uint32_t x)
{
    int n = 0;
    for (; x; x &= x - 1)
        n++;
    return n;
}

/* The first that fits, or the first of the nearest; NULL for an empty list. */
static inline const attn_instance *attn__nearest(const attn_instance *const *list, size_t n, const attn_params *p,
                                                 uint32_t needs, int *fit)
{
    const attn_instance *best = NULL;
    for (size_t i = 0; i < n; i++) {
        int f = attn__fit(list[i], p, needs);
        if (!best || f > *fit ||
            (f == *fit && f == ATTN__FIT_FEATURES &&
             attn__bits(needs & ~list[i]->features) < attn__bits(needs & ~best->features))) {
            best = list[i];
            *fit = f;
        }
        if (f == ATTN__FITS)
            break;
    }
    return best;
}

/* ---- texts ------------------------------------------------------------------------------------- */

/* One column of an instance, as rows write it. */
static inline void attn__put_column(attn__text *t, const attn_instance *inst, int fit)
{
    const attn__arch *arch = attn__arch_of(inst->arch);
    if (fit == ATTN__FIT_KERNEL)
        attn__put(t, "%d", (int)inst->kernel);
    else if (fit == ATTN__FIT_DTYPE)
        attn__put_dtypes(t, inst->dtype, inst->kv_dtype);
    else if (fit == ATTN__FIT_HEAD_DIM)
        attn__put_head_dim(t, inst->head_dim, inst->head_dim_v);
    else if (fit == ATTN__FIT_GQA)
        attn__put(t, "%d", (int)inst->gqa);
    else if (arch)
        attn__put(t, "%s", arch->name);
    else
        attn__put(t, "%d", (int)inst->arch);
}

/* `64, 128`: each value once that a column has in the instances that came as near. */
static inline void attn__put_values(attn__text *t, const attn_instance *const *list, size_t n, const attn_params *p,
                                    uint32_t needs, int fit)
{
    char seen[64], value[64];
    const char *join = "";
    for (size_t i = 0; i < n; i++) {
        size_t earlier = 0;
        attn__text v = attn__text_start(value, sizeof value);
        if (attn__fit(list[i], p, needs) != fit)
            continue;
        attn__put_column(&v, list[i], fit);
        for (; earlier < i; earlier++) {
            attn__text s = attn__text_start(seen, sizeof seen);
            attn__put_column(&s, list[earlier], fit);
            if (attn__fit(list[earlier], p, needs) == fit && !strcmp(seen, value))
                break;
        }
        if (earlier < i)
            continue;
        attn__put(t, "%s%s", join, value);
        join = ", ";
    }
}

/* The row of a table that would serve the call: like the nearest instance, for an arch of this machine. */
static inline void attn__put_row(attn__text *t, const attn_instance *nearest, const attn_params *p, uint32_t needs)
{
    static const int32_t preference[] = { ATTN_ARCH_AVX512, ATTN_ARCH_AVX2, ATTN_ARCH_CPU };
    int32_t arch = nearest ? nearest->arch : 0;
    int bf16 = p->q.dtype == ATTN_BF16 && p->k.dtype == ATTN_BF16;
    if (!attn__arch_runs(arch) || (arch == ATTN_ARCH_AVX512BF16 && !bf16))
        for (int i = 2; i >= 0; i--)
            arch = attn__arch_runs(preference[i]) ? preference[i] : arch;
    attn__put(t, "; add attn_row(forward, %s, ", attn__arch_of(arch)->name);
    attn__put_dtypes(t, p->q.dtype, p->k.dtype);
    attn__put(t, ", ");
    attn__put_head_dim(t, p->head_dim, p->head_dim_v);
    attn__put(t, ", any, ");
    attn__put_features(t, needs);
    attn__put(t, ", %d, %d, none)", nearest ? (int)nearest->tile_q : 192, nearest ? (int)nearest->tile_k : 128);
}

/* `window 1, softcap 30`: the fields that ask for these features. */
static inline void attn__put_causes(attn__text *t, const attn_params *p, uint32_t features)
{
    attn__cause cause[ATTN_FEATURE_COUNT];
    const char *join = "";
    attn__causes(p, cause);
    for (int i = 0; i < ATTN_FEATURE_COUNT; i++)
        if (features >> i & 1u) {
            attn__put(t, "%s%s %.9g", join, cause[i].field, cause[i].value);
            join = ", ";
        }
}

/* The call's own value of what does not fit. */
static inline void attn__put_call(attn__text *t, const attn_params *p, int fit)
{
    if (fit == ATTN__FIT_DTYPE) {
        attn__put(t, "dtype ");
        attn__put_dtypes(t, p->q.dtype, p->k.dtype);
    } else if (fit == ATTN__FIT_HEAD_DIM) {
        attn__put(t, "head_dim ");
        attn__put_head_dim(t, p->head_dim, p->head_dim_v);
    } else {
        attn__put(t, "heads_q / heads_k %d", (int)(p->heads_q / p->heads_k));
    }
}

/* The row language has f32, f16 and bf16, and the features up to paged. */
static inline int attn__row_exists(const attn_params *p, uint32_t needs)
{
    return p->q.dtype <= ATTN_BF16 && p->k.dtype <= ATTN_BF16 && needs < 2 * ATTN_HAS(PAGED);
}

static inline attn_status attn__refuse(const attn_instance *const *list, size_t n, const attn_params *p,
                                       const attn_instance *nearest, int fit, attn__text *t)
{
    uint32_t needs = attn__needs(p), all = 0;
    attn_status status = ATTN_ERR_UNSUPPORTED;
    for (size_t i = 0; i < n; i++)
        all |= list[i]->features;
    if (!nearest) {
        attn__put(t, "the list of instances is empty");
    } else if (needs & ~all) { /* nothing else would help */
        attn__put_causes(t, p, needs & ~all);
        attn__put(t, ": no instance has ");
        attn__put_features(t, needs & ~all);
    } else if (fit == ATTN__FIT_KERNEL) {
        attn__put(t, "forward: this list has no forward instance");
    } else if (fit == ATTN__FIT_FEATURES) {
        attn__put_causes(t, p, needs & ~nearest->features);
        attn__put(t, ": %s has no ", nearest->name);
        attn__put_features(t, needs & ~nearest->features);
    } else if (fit == ATTN__FIT_ARCH) {
        status = ATTN_ERR_ARCH;
        attn__put(t, "arch ");
        attn__put_values(t, list, n, p, needs, fit);
        attn__put(t, ": %s would serve this call, but this machine cannot execute it", nearest->name);
    } else {
        attn__put_call(t, p, fit);
        attn__put(t, ": this list has ");
        attn__put_values(t, list, n, p, needs, fit);
    }
    if (attn__row_exists(p, needs))
        attn__put_row(t, nearest, p, needs);
    return status;
}

static inline attn_status attn__select(const attn_instance *const *list, size_t n, const attn_params *p,
                                       const attn_instance **instance, attn__text *t)
{
    int fit = ATTN__FIT_KERNEL;
    const attn_instance *nearest = attn__nearest(list, n, p, attn__needs(p), &fit);
    *instance = fit == ATTN__FITS ? nearest : NULL;
    return *instance ? ATTN_OK : attn__refuse(list, n, p, nearest, fit, t);
}

/* `  NAME: ...` for each instance up to the one that serves. */
static inline void attn__put_list(attn__text *t, const attn_instance *const *list, size_t n, const attn_params *p)
{
    uint32_t needs = attn__needs(p);
    int fit = ATTN__FIT_KERNEL;
    for (size_t i = 0; i < n && fit != ATTN__FITS; i++) {
        static const char *const what[] = { "kernel ", "dtype ", "head_dim ", "gqa ", "has no ", "arch ", "serves" };
        fit = attn__fit(list[i], p, needs);
        attn__put(t, "\n  %s: %s", list[i]->name, what[fit]);
        if (fit == ATTN__FIT_FEATURES)
            attn__put_features(t, needs & ~list[i]->features);
        else if (fit != ATTN__FITS)
            attn__put_column(t, list[i], fit);
    }
}

#endif /* ATTN_RUN_SELECT_H */
