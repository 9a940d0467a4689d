/* select.h - which instance of a list serves a call, and the text if none does.
 *
 * The first in list order whose kernel, dtypes, head dims, GQA ratio and features cover the call and
 * whose arch this machine can execute; CPU instances for host memory, CUDA instances for a device's.
 * Otherwise the nearest one, by the order of ATTN__FIT_..., says what is missing and which row of a table
 * would serve.  C11, C++ and CUDA. */
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
    const char *name;  /* in rows */
    int (*runs)(void); /* on this processor; NULL for an arch of CUDA */
    int32_t cc_least, cc_most;
} attn__arch;

/* NULL for an arch that nothing serves. */
static inline const attn__arch *attn__arch_of(int32_t arch)
{
    static const attn__arch table[] = {
        { ATTN_ARCH_CPU, "cpu", attn__has_any_cpu, 0, 0 },
        { ATTN_ARCH_AVX2, "avx2", attn__has_avx2, 0, 0 },
        { ATTN_ARCH_AVX512, "avx512", attn__has_avx512, 0, 0 },
        { ATTN_ARCH_AVX512BF16, "avx512bf16", attn__has_avx512bf16, 0, 0 },
        { ATTN_ARCH_SIMT, "simt", NULL, 60, INT32_MAX },
        { ATTN_ARCH_SM75, "sm75", NULL, 75, INT32_MAX },
        { ATTN_ARCH_SM80, "sm80", NULL, 80, INT32_MAX },
        { ATTN_ARCH_SM90, "sm90", NULL, 90, 90 },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].arch == arch)
            return &table[i];
    return NULL;
}

/* Of a CPU: those of CUDA depend on the device, see attn__runs. */
static inline int attn__arch_runs(int32_t arch)
{
    const attn__arch *a = attn__arch_of(arch);
    return a && a->runs && a->runs();
}

static inline attn_device attn__device_of(const attn_instance *inst)
{
    attn_device d = { 0, 0, 0, 0 };
    inst->device(&d);
    return d;
}

/* Can this machine execute the instance?  If not, t says what keeps it. */
static inline int attn__runs(const attn_instance *inst, attn__text *t)
{
    const attn__arch *arch = attn__arch_of(inst->arch);
    attn_device d;
    if (!inst->device) {
        if (attn__arch_runs(inst->arch))
            return 1;
        attn__put(t, "this machine cannot execute it");
        return 0;
    }
    d = attn__device_of(inst);
    if (!d.cc)
        attn__put(t, "there is no CUDA device");
    else if (!arch || d.cc < arch->cc_least || d.cc > arch->cc_most)
        attn__put(t, "it needs compute capability %d.%d, this device has %d.%d", arch ? (int)arch->cc_least / 10 : 0,
                  arch ? (int)arch->cc_least % 10 : 0, (int)d.cc / 10, (int)d.cc % 10);
    else if (inst->shared > d.shared)
        attn__put(t, "it needs %d bytes of shared memory a block, this device has %d", (int)inst->shared,
                  (int)d.shared);
    else
        return 1;
    return 0;
}

/* Where the memory of a call lies that does not say: on a device, if there is one that the list can use. */
static inline int32_t attn__default_device(const attn_instance *const *list, size_t n)
{
    int cpu = 0, cuda = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i]->device && !cuda && attn__device_of(list[i]).cc)
            return ATTN_DEVICE_CUDA;
        cuda |= list[i]->device != NULL;
        cpu |= list[i]->device == NULL;
    }
    return cuda && !cpu ? ATTN_DEVICE_CUDA : ATTN_DEVICE_CPU;
}

/* ATTN_KERNEL_...: the names in rows. */
static inline const char *attn__kernel_name(int32_t kernel)
{
    static const char *const names[] = { "?", "forward", "decode", "append", "merge", "mla" };
    return names[kernel >= ATTN_KERNEL_FORWARD && kernel <= ATTN_KERNEL_MLA ? kernel : 0];
}

/* For a kernel that is chosen by nothing but where memory lies: its first instance that this device executes.  NULL and
 * OK for host memory, which needs none. */
static inline attn_status attn__find_kernel(const attn_instance *const *list, size_t n, int32_t kernel, int32_t device,
                                            const attn_instance **instance, attn__text *t)
{
    const attn_instance *nearest = NULL;
    attn__text none = { NULL, 0 };
    *instance = NULL;
    if (!device)
        device = attn__default_device(list, n);
    if (device != ATTN_DEVICE_CUDA)
        return ATTN_OK;
    for (size_t i = 0; i < n && !*instance; i++)
        if (list[i]->kernel == kernel && list[i]->device) {
            nearest = nearest ? nearest : list[i];
            *instance = attn__runs(list[i], &none) ? list[i] : NULL;
        }
    if (*instance)
        return ATTN_OK;
    if (!nearest) {
        const char *name = attn__kernel_name(kernel);
        attn__put(t, "device ATTN_DEVICE_CUDA: this list has no %s instance; ", name);
        attn__put(t, "add attn_row(%s, simt, any, any, any, none, none, none, none)", name);
        return ATTN_ERR_UNSUPPORTED;
    }
    attn__put(t, "%s would serve this call, but ", nearest->name);
    attn__runs(nearest, t);
    return ATTN_ERR_ARCH;
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
    ATTN__FIT_DEVICE,
    ATTN__FIT_DTYPE,
    ATTN__FIT_HEAD_DIM,
    ATTN__FIT_GQA,
    ATTN__FIT_FEW, /* query rows */
    ATTN__FIT_FEATURES,
    ATTN__FIT_ARCH,
    ATTN__FIT_ROWS,
    ATTN__FIT_LATENT, /* v is not the first dims of k */
    ATTN__FITS
};

/* Is it for attn_forward? */
static inline int attn__attends(const attn_instance *inst)
{
    return inst->kernel == ATTN_KERNEL_FORWARD || inst->kernel == ATTN_KERNEL_DECODE || inst->kernel == ATTN_KERNEL_MLA;
}

/* Query rows that share a KV head. */
static inline int64_t attn__rows_of_head(const attn_params *p)
{
    return attn__mul(p->heads_q / p->heads_k, p->seq_q);
}

static inline int attn__head_dims_fit(const attn_instance *inst, const attn_params *p)
{
    if (inst->head_dim_min < inst->head_dim) /* a range */
        return inst->head_dim_min <= p->head_dim && p->head_dim <= inst->head_dim &&
               inst->head_dim_min <= p->head_dim_v && p->head_dim_v <= inst->head_dim_v;
    return (!inst->head_dim || inst->head_dim == p->head_dim) &&
           (!inst->head_dim_v || inst->head_dim_v == p->head_dim_v);
}

/* Does it read boxes, which a tensor map describes?  That has no stride below 0, and none of 2^40 bytes. */
static inline int attn__reads_boxes(const attn_instance *inst)
{
    return inst->arch == ATTN_ARCH_SM90 && inst->kernel != ATTN_KERNEL_DECODE;
}

/* Is v the first dims of k?  A stride along what is but one does not matter, nor anything without work. */
static inline int attn__v_in_k(const attn_params *p)
{
    attn__view view[ATTN__VIEWS];
    int same = p->v.data == p->k.data && p->v.dtype == p->k.dtype && p->head_dim_v <= p->head_dim &&
               p->v.dim_block == p->k.dim_block;
    attn__views((attn_params *)p, view); /* only looks */
    for (int i = 0; i < 4; i++) {
        const int many = view[ATTN__K].extent[i] > 1 || (i == 0 && p->page_size);
        same &= !many || p->v.stride[i] == p->k.stride[i];
    }
    return same || !p->seq_k || !attn__has_work(p);
}

/* Do the rows of q, k and v begin at multiples of `align` bytes, dims side by side?  If not, t says which.
 * boxes: and are the strides those of a tensor map? */
static inline int attn__rows_fit(int align, int boxes, const attn_params *p, attn__text *t)
{
    const attn_tensor *const tensors[] = { &p->q, &p->k, &p->v };
    attn__view view[ATTN__VIEWS];
    attn__views((attn_params *)p, view); /* only looks */
    for (int n = 0; n < 3 && align; n++) {
        const attn_tensor *x = tensors[n];
        const int bits = attn__dtype_of(x->dtype).bits;
        if (!x->data)
            continue;
        if (x->dim_block) {
            attn__put(t, "%s.dim_block %d", view[n].name, (int)x->dim_block);
            return 0;
        }
        if ((uintptr_t)x->data % (unsigned)align) {
            attn__put(t, "%s.data %p", view[n].name, x->data);
            return 0;
        }
        for (int i = 0; i < 4; i++) {
            /* A cache may have more pages than the call says. */
            const int many = view[n].extent[i] > 1 || (i == 0 && n != ATTN__Q && p->page_size);
            const int64_t s = x->stride[i];
            const int unmapped = boxes && (s < 0 || s >= ((int64_t)8 << 40) / bits);
            if (i == 3 ? s != 1 : many && (s % (8 * align) * bits % (8 * align) || unmapped)) {
                attn__put(t, "%s.stride[%d] %lld", view[n].name, i, (long long)s);
                return 0;
            }
        }
    }
    return 1;
}

static inline int attn__dtypes_fit(const attn_instance *inst, const attn_params *p)
{
    const int narrow = inst->kv_dtype == ATTN_NARROW && p->k.dtype >= ATTN_E4M3 && p->k.dtype <= ATTN_INT4;
    return inst->dtype == p->q.dtype && (narrow || inst->kv_dtype == p->k.dtype);
}

static inline int attn__fit(const attn_instance *inst, const attn_params *p, uint32_t needs)
{
    attn__text none = { NULL, 0 };
    if (!attn__attends(inst))
        return ATTN__FIT_KERNEL;
    if ((inst->device != NULL) != (p->device == ATTN_DEVICE_CUDA))
        return ATTN__FIT_DEVICE;
    if (!attn__dtypes_fit(inst, p))
        return ATTN__FIT_DTYPE;
    if (!attn__head_dims_fit(inst, p))
        return ATTN__FIT_HEAD_DIM;
    if (inst->gqa && inst->gqa != p->heads_q / p->heads_k)
        return ATTN__FIT_GQA;
    if (inst->rows && inst->rows < attn__rows_of_head(p))
        return ATTN__FIT_FEW;
    if (needs & ~inst->features)
        return ATTN__FIT_FEATURES;
    if (!attn__runs(inst, &none))
        return ATTN__FIT_ARCH;
    if (!attn__rows_fit(inst->row_align, attn__reads_boxes(inst), p, &none))
        return ATTN__FIT_ROWS;
    return inst->kernel == ATTN_KERNEL_MLA && !attn__v_in_k(p) ? ATTN__FIT_LATENT : ATTN__FITS;
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
    if (fit == ATTN__FIT_DTYPE) {
        attn__put_dtypes(t, inst->dtype, inst->kv_dtype);
    } else if (fit == ATTN__FIT_HEAD_DIM) {
        if (inst->head_dim_min < inst->head_dim)
            attn__put(t, "%d..", (int)inst->head_dim_min);
        attn__put_head_dim(t, inst->head_dim, inst->head_dim_v);
    } else if (fit == ATTN__FIT_GQA) {
        attn__put(t, "%d", (int)inst->gqa);
    } else if (fit == ATTN__FIT_FEW) {
        attn__put(t, "up to %d", (int)inst->rows);
    } else if (arch) {
        attn__put(t, "%s", arch->name);
    } else {
        attn__put(t, "%d", (int)inst->arch);
    }
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

/* The CPU arch that a row should name: like the nearest instance's, if this machine executes it. */
static inline int32_t attn__cpu_arch_for(const attn_instance *nearest, const attn_params *p)
{
    static const int32_t preference[] = { ATTN_ARCH_AVX512, ATTN_ARCH_AVX2, ATTN_ARCH_CPU };
    int32_t arch = nearest && !nearest->device ? nearest->arch : 0;
    int bf16 = p->q.dtype == ATTN_BF16 && p->k.dtype == ATTN_BF16;
    if (!attn__arch_runs(arch) || (arch == ATTN_ARCH_AVX512BF16 && !bf16))
        for (int i = 2; i >= 0; i--)
            arch = attn__arch_runs(preference[i]) ? preference[i] : arch;
    return arch;
}

/* The CUDA arch that a row should name: the fastest that has these types, dims and rows, on this device. */
static inline int32_t attn__cuda_arch_for(const attn_instance *nearest, const attn_params *p)
{
    static const struct {
        int32_t arch;
        uint32_t dtypes;
    } mma[] = { { ATTN_ARCH_SM80, 1u << ATTN_F16 | 1u << ATTN_BF16 }, { ATTN_ARCH_SM75, 1u << ATTN_F16 } };
    attn__text none = { NULL, 0 };
    int32_t cc = nearest && nearest->device ? attn__device_of(nearest).cc : INT32_MAX;
    int dims = p->head_dim >= 16 && p->head_dim <= 256 && p->head_dim % 8 == 0 && p->head_dim_v >= 16 &&
               p->head_dim_v <= 256 && p->head_dim_v % 8 == 0;
    for (int i = 0; i < 2 && dims && attn__rows_fit(16, 0, p, &none); i++)
        if (cc >= attn__arch_of(mma[i].arch)->cc_least && p->k.dtype == p->q.dtype && mma[i].dtypes >> p->q.dtype & 1u)
            return mma[i].arch;
    return ATTN_ARCH_SIMT;
}

/* The row of a table that would serve the call: like the nearest instance, for an arch of this machine. */
static inline void attn__put_row(attn__text *t, const attn_instance *nearest, const attn_params *p, uint32_t needs)
{
    const int cuda = p->device == ATTN_DEVICE_CUDA;
    const int32_t arch = cuda ? attn__cuda_arch_for(nearest, p) : attn__cpu_arch_for(nearest, p);
    int tile_q = nearest ? (int)nearest->tile_q : 192, tile_k = nearest ? (int)nearest->tile_k : 128;
    if (cuda) { /* what fits everywhere: the nearest instance's tiles may go with warps that a row would have to name */
        tile_q = 64;
        tile_k = arch == ATTN_ARCH_SIMT || p->head_dim > 128 || p->head_dim_v > 128 ? 32 : 64;
    }
    attn__put(t, "; add attn_row(forward, %s, ", attn__arch_of(arch)->name);
    attn__put_dtypes(t, p->q.dtype, p->k.dtype > ATTN_BF16 ? ATTN_NARROW : p->k.dtype);
    attn__put(t, ", ");
    attn__put_head_dim(t, p->head_dim, p->head_dim_v);
    attn__put(t, ", any, ");
    attn__put_features(t, needs);
    attn__put(t, ", %d, %d, none)", tile_q, tile_k);
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
    } else if (fit == ATTN__FIT_FEW) {
        attn__put(t, "seq_q * heads_q / heads_k %lld", (long long)attn__rows_of_head(p));
    } else {
        attn__put(t, "heads_q / heads_k %d", (int)(p->heads_q / p->heads_k));
    }
}

/* The row language has no 8-bit q, no dropout and no schedule.  No row makes a device of what is none. */
static inline int attn__row_exists(const attn_params *p, uint32_t needs, const attn_instance *nearest, int fit)
{
    return p->q.dtype <= ATTN_BF16 && p->k.dtype <= ATTN_INT4 && !(needs & (ATTN_HAS(DROPOUT) | ATTN_HAS(SCHEDULE))) &&
           !(fit == ATTN__FIT_ARCH && nearest->device && attn__device_of(nearest).cc < 60);
}

static inline attn_status attn__refuse(const attn_instance *const *list, size_t n, const attn_params *p,
                                       const attn_instance *nearest, int fit, attn__text *t)
{
    uint32_t needs = attn__needs(p), all = 0;
    attn_status status = ATTN_ERR_UNSUPPORTED;
    for (size_t i = 0; i < n; i++)
        if ((list[i]->device != NULL) == (p->device == ATTN_DEVICE_CUDA))
            all |= list[i]->features;
    if (!nearest) {
        attn__put(t, "the list of instances is empty");
    } else if (fit == ATTN__FIT_DEVICE) {
        attn__put(t, "device %s: this list has no instance for it",
                  p->device == ATTN_DEVICE_CUDA ? "ATTN_DEVICE_CUDA" : "ATTN_DEVICE_CPU");
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
        attn__put(t, ": %s would serve this call, but ", nearest->name);
        attn__runs(nearest, t);
    } else if (fit == ATTN__FIT_ROWS) {
        attn__rows_fit(nearest->row_align, attn__reads_boxes(nearest), p, t);
        attn__put(t, ": %s needs rows at a multiple of %d bytes%s", nearest->name, (int)nearest->row_align,
                  attn__reads_boxes(nearest) ? ", and no stride below 0" : "");
    } else if (fit == ATTN__FIT_LATENT) {
        attn__put(t, "v: must be the first %d dims of k, v.data and v.stride those of k, for %s", (int)p->head_dim_v,
                  nearest->name);
    } else {
        attn__put_call(t, p, fit);
        attn__put(t, ": this list has ");
        attn__put_values(t, list, n, p, needs, fit);
    }
    if (attn__row_exists(p, needs, nearest, fit))
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

/* `  NAME: ...` for each instance up to the one that serves; those for other memory are not considered. */
static inline void attn__put_list(attn__text *t, const attn_instance *const *list, size_t n, const attn_params *p)
{
    uint32_t needs = attn__needs(p);
    int fit = ATTN__FIT_KERNEL;
    for (size_t i = 0; i < n && fit != ATTN__FITS; i++) {
        static const char *const what[] = { "", "", "dtype ", "head_dim ", "gqa ", "query rows ", "has no ",
                                            "arch ", "", "v is not the first dims of k", "serves" };
        fit = attn__fit(list[i], p, needs);
        if (fit == ATTN__FIT_DEVICE || fit == ATTN__FIT_KERNEL)
            continue;
        attn__put(t, "\n  %s: %s", list[i]->name, what[fit]);
        if (fit == ATTN__FIT_FEATURES) {
            attn__put_features(t, needs & ~list[i]->features);
        } else if (fit == ATTN__FIT_ROWS) {
            attn__rows_fit(list[i]->row_align, attn__reads_boxes(list[i]), p, t);
        } else if (fit != ATTN__FITS && fit != ATTN__FIT_LATENT) {
            attn__put_column(t, list[i], fit);
        }
        if (fit == ATTN__FIT_ARCH && list[i]->device) {
            attn__put(t, ", ");
            attn__runs(list[i], t);
        }
    }
}

#endif /* ATTN_RUN_SELECT_H */
