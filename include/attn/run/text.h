/* text.h - texts of refusals: a bounded writer, and the names of values in them.  C11, C++ and CUDA. */
#ifndef ATTN_RUN_TEXT_H
#define ATTN_RUN_TEXT_H

#include <attn/attn.h>
#include <stdarg.h>
#include <stdio.h>

#ifdef __GNUC__
#define ATTN_PRINTF_(f, a) __attribute__((format(printf, f, a)))
#else
#define ATTN_PRINTF_(f, a)
#endif

/* Writes into the caller's buffer and stops at its end; with no buffer it writes nothing. */
typedef struct attn__text {
    char *at;
    size_t left; /* with the final 0 */
} attn__text;

static inline attn__text attn__text_start(char *buf, size_t len)
{
    attn__text t = { buf, len };
    if (len)
        *buf = 0;
    return t;
}

static inline void attn__vput(attn__text *t, const char *fmt, va_list args)
{
    if (!t->left)
        return;
    int n = vsnprintf(t->at, t->left, fmt, args);
    size_t used = n < 0 ? 0 : (size_t)n < t->left ? (size_t)n : t->left - 1;
    t->at += used;
    t->left -= used;
}

ATTN_PRINTF_(2, 3) static inline void attn__put(attn__text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    attn__vput(t, fmt, args);
    va_end(args);
}

/* The text of a wrong argument, and its status. */
ATTN_PRINTF_(2, 3) static inline attn_status attn__bad(attn__text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    attn__vput(t, fmt, args);
    va_end(args);
    return ATTN_ERR_ARG;
}

/* Element types: the name in rows and texts, and the size. */
typedef struct attn__dtype {
    const char *name;
    int bits;
} attn__dtype;

static inline attn__dtype attn__dtype_of(int32_t dtype)
{
    static const attn__dtype table[] = {
        { "?", 0 },    { "f32", 32 }, { "f16", 16 }, { "bf16", 16 }, { "e4m3", 8 },
        { "e5m2", 8 }, { "int8", 8 }, { "int4", 4 }, { "bool", 8 },  { "bit", 1 },   { "narrow", 8 },
    };
    return table[dtype >= ATTN_F32 && dtype <= ATTN_NARROW ? dtype : 0];
}

/* `f32`, or `f32:f16` where k and v differ from q: the DTYPE column of a row. */
static inline void attn__put_dtypes(attn__text *t, int32_t q, int32_t kv)
{
    attn__put(t, "%s", attn__dtype_of(q).name);
    if (kv != q)
        attn__put(t, ":%s", attn__dtype_of(kv).name);
}

/* `128` or `192/128`: the HEAD_DIM column of a row. */
static inline void attn__put_head_dim(attn__text *t, int32_t qk, int32_t v)
{
    if (qk == v)
        attn__put(t, "%d", (int)qk);
    else
        attn__put(t, "%d/%d", (int)qk, (int)v);
}

/* `causal+window` or `none`: the FLAGS column of a row. */
static inline void attn__put_features(attn__text *t, uint32_t features)
{
#define ATTN__NAME(M, name, text) #name,
    static const char *const names[] = { ATTN_FEATURES(ATTN__NAME) };
#undef ATTN__NAME
    const char *join = "";
    for (int i = 0; i < ATTN_FEATURE_COUNT; i++)
        if (features >> i & 1u) {
            attn__put(t, "%s%s", join, names[i]);
            join = "+";
        }
    if (!features)
        attn__put(t, "none");
}

#undef ATTN_PRINTF_
#endif /* ATTN_RUN_TEXT_H */
