/* oracle.h - what the answer of an attention call is: docs/semantics.md in slow float64.
 *
 * Shares nothing with the kernels: its own conversions, its own addresses, its own reading of which
 * key is visible.  Host memory only.  Next to the exact answer it computes that of a plain
 * implementation in the inputs' own types, because a kernel may err twice as much and no more. */
#ifndef ATTN_TESTS_ORACLE_H
#define ATTN_TESTS_ORACLE_H

#include <stddef.h>
#include <stdint.h>
#include <attn/attn.h>

/* Where a score belongs: what ATTN_SCORE_MOD and ATTN_MASK of an instance are told. */
typedef struct oracle_place {
    int64_t batch, head, i, j, seq_q, seq_k;
} oracle_place;

/* The user's macros of an instance, once more, in double. */
typedef struct oracle_hooks {
    double (*score)(const void *user, const oracle_place *at, double s);
    int (*visible)(const void *user, const oracle_place *at);
} oracle_hooks;

/* A row of o and its lse. */
enum { ORACLE_ABSENT, ORACLE_ROW, ORACLE_EMPTY, ORACLE_UNDEFINED };

typedef struct oracle_answer {
    double *o;            /* [batch][seq_q][heads_q][head_dim_v] */
    double *plain;        /* the same by the plain implementation, rounded to o's type; NULL = not to be compared */
    double *lse;          /* [batch][seq_q][heads_q] */
    double *condition;    /* [batch][seq_q][heads_q] how far a relative error of the products moves lse */
    unsigned char *state; /* [batch][seq_q][heads_q] ORACLE_...: UNDEFINED = all visible scores are -inf */
} oracle_answer;

/* Fills `answer` (oracle_free releases it).  hooks may be NULL.  0, or -1 for a call with something
 * that no forward instance serves (dropout, schedule, scales of q) or without memory. */
int oracle_forward(const attn_params *p, const oracle_hooks *hooks, oracle_answer *answer);
void oracle_free(oracle_answer *answer);

/* What oracle_judge measured. */
typedef struct oracle_verdict {
    double frobenius;       /* relative, of o */
    double frobenius_plain; /* the plain implementation's */
    double max_abs;         /* of o, in units of max(1, max |o|) */
    double lse;             /* largest error of lse, in units of max(1, |lse|) */
    char text[400];         /* "" or the first thing that is wrong */
} oracle_verdict;

/* Holds p->o and p->lse against the answer and the bars of docs/semantics.md.  1 = they hold. */
int oracle_judge(const attn_params *p, const oracle_answer *answer, oracle_verdict *verdict);

/* Numbers and addresses, for those who make inputs and read outputs. */
int64_t oracle_size(int dtype); /* bytes of an element; 1 of int4, too */
int64_t oracle_bytes(int dtype, int64_t elements);
double oracle_load(int dtype, const void *data, int64_t index);
/* To nearest, ties to even; to 8 and 4 bits what is beyond the largest number becomes that. */
void oracle_store(int dtype, void *data, int64_t index, double value);
double oracle_round(int dtype, double value);

/* Element of a scale: token j of a sequence, group of dim d, KV head g. */
int64_t oracle_scale_index(const attn_params *p, const attn_scale *s, int64_t batch, int64_t j, int64_t g, int64_t d);
/* Element of k or v (dims: of a head) where dim d of key j lies. */
int64_t oracle_kv_index(const attn_params *p, const attn_tensor *t, int64_t dims, int64_t batch, int64_t j, int64_t g,
                        int64_t d);
/* x[dims] of a row of heads at a position becomes what RoPE makes of it. */
void oracle_rotate(const attn_params *p, int64_t position, double *x);
/* Position of the first row of a sequence. */
int64_t oracle_position(const attn_params *p, int64_t batch);

/* The rows in use, the keys in use, and the first packed row of q and o (0 if not packed) of a sequence. */
int64_t oracle_rows(const attn_params *p, int64_t batch);
int64_t oracle_keys(const attn_params *p, int64_t batch);
int64_t oracle_first_row(const attn_params *p, int64_t batch);
int64_t oracle_o_index(const attn_params *p, int64_t batch, int64_t i, int64_t head, int64_t dim);
int64_t oracle_lse_index(const attn_params *p, int64_t batch, int64_t i, int64_t head);

#endif /* ATTN_TESTS_ORACLE_H */
