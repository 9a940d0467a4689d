/* instances.h - instances on the cases that their descriptors ask for, against the oracle. */
#ifndef ATTN_TESTS_INSTANCES_H
#define ATTN_TESTS_INSTANCES_H

#include <stddef.h>
#include <attn/attn.h>

/* Of this program's way to run them; each may be NULL. */
typedef struct instances_way {
    void (*before)(const attn_instance *instance, const char *case_name); /* a call */
    const char *(*reason)(void);                                          /* why it answered ATTN_ERR_CUDA */
} instances_way;

/* Those of the list that this machine cannot execute count as skipped.  level: LEVEL_SHORT ... of cases.h. */
void instances_run(const attn_instance *const *list, size_t count, int level, const instances_way *way);

#endif /* ATTN_TESTS_INSTANCES_H */
