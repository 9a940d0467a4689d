/* cases.h - calls to try on an instance, derived from what its descriptor says it can do.
 *
 * A test_case says what a call looks like; call.h gives it memory and runs it.  The name of a case says all
 * that is not ordinary about it. */
#ifndef ATTN_TESTS_CASES_H
#define ATTN_TESTS_CASES_H

#include <stddef.h>
#include <attn/attn.h>

/* How a tensor lies in memory. */
typedef enum layout {
    LAYOUT_DEFAULT, /* all strides 0: compact */
    LAYOUT_BSHD,    /* the same, said */
    LAYOUT_BHSD,
    LAYOUT_SBHD,
    LAYOUT_PADDED,  /* BSHD, odd gaps after every head, row and sequence, first element at an odd place */
    LAYOUT_PADDED8, /* BSHD, gaps of 8 elements or more, all begins at a multiple of 8 */
    LAYOUT_PADDED32, /* the same of 32: 16 bytes of int4 */
    LAYOUT_SHIFTED, /* BSHD, but that the first element is at an odd place */
    LAYOUT_DIM2,    /* BSHD, every second element */
    LAYOUT_DMAJOR,  /* [batch, head, dim, token] */
    LAYOUT_SAME_B,  /* stride 0 between sequences */
    LAYOUT_SAME_S,  /* between tokens */
    LAYOUT_SAME_H,  /* between heads */
    LAYOUT_COUNT
} layout;

typedef enum page_layout {
    PAGES_DEFAULT, /* strides 0: NHD */
    PAGES_NHD,
    PAGES_HND,
    PAGES_DMAJOR,  /* [page, head, dim, token] */
    PAGES_BLOCKED, /* k [page, head, dim / x, token, x], v [page, head, dim, token] */
    PAGES_COUNT
} page_layout;

/* What the tensors hold. */
typedef enum filler {
    FILL_RANDOM,
    FILL_OUTLIER, /* as in a real model: a loud channel and a key 0 that draws most of the weight */
    FILL_HUGE,
    FILL_EQUAL,
    FILL_ONEHOT,
    FILL_RISING, /* each key scores above the one before: the running maximum never rests */
    FILL_FALLING,
    FILL_NAN_Q, /* in some rows */
    FILL_NAN_K, /* in some keys */
    FILL_NAN_V,
    FILL_NAN_KV, /* in the last keys, whole rows */
    FILL_INF_K,
    FILL_INF_V,
    FILL_NAN_ZERO, /* zero points of V, where there are some */
    FILL_COUNT
} filler;

enum { VARLEN_CU_Q = 1, VARLEN_CU_K = 2, VARLEN_USED_Q = 4, VARLEN_USED_K = 8 };
enum { PAGED_TABLE = 1, PAGED_CSR = 2 };
enum { SAME_BATCH = 1, SAME_HEAD = 2, SAME_QUERY = 4 }; /* bias_same, mask_same: broadcast over */
enum { SCALES_NONE, SCALES_TENSOR, SCALES_HEAD, SCALES_TOKEN }; /* one; of (sequence, head); of (token, head, group) */
enum { ROPE_TABLES = 1, ROPE_OFFSETS = 2 };
enum { LSE_COMPACT, LSE_PADDED, LSE_NONE };
enum { WORKSPACE_BEST, WORKSPACE_LEAST, WORKSPACE_BETWEEN };

typedef struct test_case {
    int dtype, kv_dtype, o_dtype;
    int batch, heads_q, heads_k, dim, dim_v, seq_q, seq_k;
    int causal, window, left, right, chunk, sink_tokens, sink_logits;
    float scale, softcap;
    int alibi;                       /* 1 shared, 2 for each sequence */
    int bias, bias_same, bias_hides; /* its dtype; SAME_...; 1 = some -inf */
    int mask, mask_same;             /* ATTN_BOOL or ATTN_BIT */
    int varlen;                      /* VARLEN_... */
    int paged, page_size, pages;     /* PAGED_..., page_layout */
    int q_layout, k_layout, v_layout, o_layout;
    int v_in_k; /* v is the first dims of k */
    int scales, group, zero;      /* SCALES_... of k and v; dims of a group; 1 = zero points */
    int rope, rope_dim, rope_how; /* ATTN_ROPE_...; ROPE_... */
    int lse;    /* LSE_... */
    uint32_t flags;
    int splits, split_size, threads, workspace;
    int fill;
} test_case;

typedef struct case_list {
    test_case *at;
    int count, room;
} case_list;

/* LEVEL_SHORT is for valgrind, LEVEL_FULL for an evening. */
enum { LEVEL_SHORT = 1, LEVEL_DEFAULT = 2, LEVEL_FULL = 3 };

/* All cases for an instance; cases_free releases them.  One random case. */
void cases_derive(const attn_instance *instance, int level, case_list *list);
void cases_free(case_list *list);
void case_random(const attn_instance *instance, uint64_t *state, test_case *c);

/* The ordinary case that others differ from: one small sequence. */
void case_plain(const attn_instance *instance, test_case *c);

/* Makes V the first dims of K, with strides that are said, for an instance that serves nothing else. */
void case_fit(const attn_instance *instance, test_case *c);

/* What an instance must have to serve a case: ATTN_HAS bits.  Whether it has, and the case makes sense. */
uint32_t case_needs(const test_case *c);
int case_serves(const attn_instance *instance, const test_case *c);

void case_name(const test_case *c, char *text, size_t size);

#endif /* ATTN_TESTS_CASES_H */
