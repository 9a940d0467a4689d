/* res_oracle.h - what the answer of an Attention Residuals call is: include/attn/res.h in slow float64.
 *
 * Shares nothing with the kernels but the parameters, which must be complete (all strides, types and dims set), with
 * host memory.  Answers are arrays in compact order; NULL = not computed for this call. */
#ifndef ATTN_TESTS_RES_ORACLE_H
#define ATTN_TESTS_RES_ORACLE_H

#include <attn/attn.h>

enum { RES_O1, RES_LSE, RES_SUM, RES_H, RES_NORM, RES_DO1, RES_DLSE, RES_DV, RES_DP, RES_DW, RES_DGAIN, RES_ANSWERS };

/* An answer that is not asked for: dv of a token with a NaN or infinity in V, which spreads further in some kernels. */
#define RES_FREE (-1e308)

typedef struct res_answer {
    double *at[RES_ANSWERS];
    int64_t count[RES_ANSWERS];
    double condition; /* how far a relative error of the products moves a logit, at most */
    double scale[RES_ANSWERS]; /* of the terms that a result is the sum of: what its error is measured in, at least */
} res_answer;

/* 0, or -1 without memory. */
int res_oracle(int32_t kernel, const attn_res_params *p, res_answer *answer);
void res_oracle_free(res_answer *answer);

#endif /* ATTN_TESTS_RES_ORACLE_H */
