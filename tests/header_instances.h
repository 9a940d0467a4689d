/* header_instances.h - instances that the tests define for themselves, through <attn/attn.h>.
 *
 * The archive serves any head dim, any ratio and every feature with few, large tiles.  These are the
 * other kinds: fixed dims and ratios, few features, small tiles, mixed types, user macros. */
#ifndef ATTN_TESTS_HEADER_INSTANCES_H
#define ATTN_TESTS_HEADER_INSTANCES_H

#include <attn/attn.h>
#include "oracle.h"

const attn_instance *const *header_instances(size_t *n);

/* The user macros of an instance for the oracle, and what `user` must point to; NULL if it has none. */
const oracle_hooks *header_instance_hooks(const attn_instance *instance, const void **user);

#endif /* ATTN_TESTS_HEADER_INSTANCES_H */
