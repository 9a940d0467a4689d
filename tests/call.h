/* call.h - a test_case of cases.h made real: memory and content for one call, a run, and a judgement.
 *
 * Inputs are NaN wherever nothing is stored and end where they end; outputs lie between guard bytes.  What
 * is stored depends on the case and the seed alone, and not on where it lies, so that the same case in two
 * layouts has the same values. */
#ifndef ATTN_TESTS_CALL_H
#define ATTN_TESTS_CALL_H

#include <attn/attn.h>
#include "cases.h"
#include "oracle.h"

enum { CASE_BLOCKS = 32 };

typedef struct case_block {
    void *data;
    size_t bytes;
} case_block;

/* A case with its memory: the parameters of the call, the answer, and what to compare afterwards. */
typedef struct case_call {
    attn_params p;
    oracle_answer answer;
    case_block inputs[CASE_BLOCKS];
    int input_count;
    uint64_t input_hash;
    case_block o, lse; /* with guard bytes */
} case_call;

/* 0, or -1 without memory.  case_answer asks the oracle. */
int case_make(const test_case *c, uint64_t seed, case_call *call);
int case_answer(case_call *call, const oracle_hooks *hooks);
void case_free(case_call *call);

/* Runs p on this instance alone, with new outputs and a workspace of exactly the size asked for; info
 * is attn_query's answer. */
attn_status case_forward(case_call *call, const attn_instance *instance, int workspace, attn_info *info);

/* 1 = all as it must be; else verdict->text says what is not. */
int case_check(case_call *call, oracle_verdict *verdict);

/* Outputs with their guards, to compare two runs bit for bit: malloc'd copies. */
int case_same_bits(const case_call *a, const void *o_copy, const void *lse_copy);
void *case_copy(const case_block *block);

/* Whether this machine can execute the instance; if not, why, in words. */
int case_executes(const attn_instance *instance, char *reason, size_t size);

#endif /* ATTN_TESTS_CALL_H */
