/* header_instances.h - instances that the tests define for themselves, through <attn/attn.h> and <attn/attn.cuh>.
 *
 * The archive serves any head dim, any ratio and every feature with few, large tiles.  These are the
 * other kinds: fixed dims and ratios, few features, small tiles, mixed types, user macros, ATTN_DEBUG. */
#ifndef ATTN_TESTS_HEADER_INSTANCES_H
#define ATTN_TESTS_HEADER_INSTANCES_H

#include <stdlib.h>
#include <attn/attn.h>
#include "oracle.h"

/* What user macros of these instances get, and what they do with it. */
typedef struct mini_user {
    float slope;
    int period;
} mini_user;
#define MINI_SCORE(s, b, h, q, k) ((s) * 0.75f + user->slope * (float)((h) + (b)) - 0.01f * (float)((q) - (k)))
#define MINI_MASK(b, h, q, k)     (((k) + (h)) % user->period != 1 && (q) - (k) != 7)

/* With those of CUDA if the archive has such. */
const attn_instance *const *header_instances(size_t *n);

/* All that tests go through: those of the archive, then these.  In the header, for the emulator's programs have lists of
 * their own behind both names. */
static inline const attn_instance *const *tested_instances(size_t *n)
{
    enum { MOST = 512 };
    static const attn_instance *list[MOST];
    size_t archived, defined;
    const attn_instance *const *archive = attn_instances(&archived);
    const attn_instance *const *header = header_instances(&defined);
    if (archived + defined > MOST)
        abort();
    for (*n = 0; *n < archived + defined; ++*n)
        list[*n] = *n < archived ? archive[*n] : header[*n - archived];
    return list;
}

/* In header_instances.cu alone, which nvcc compiles, and for the emulator a C compiler. */
#ifdef __cplusplus
extern "C"
#endif
const attn_instance *const *header_instances_cuda(size_t *n);

/* Whether it is one of those that have ATTN_DEBUG. */
int header_debugs(const attn_instance *instance);

/* The user macros of an instance for the oracle, and what `user` must point to; NULL if it has none. */
const oracle_hooks *header_instance_hooks(const attn_instance *instance, const void **user);

#endif /* ATTN_TESTS_HEADER_INSTANCES_H */
