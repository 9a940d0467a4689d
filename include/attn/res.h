/* res.h - the parameters of Attention Residuals: softmax over the depth of a network (docs/attention-residuals.md).
 *
 * Included by attn.h, which has the functions.  N = finished blocks, S = pseudo-queries (sublayers of a block),
 * D = hidden size.  For each token:
 *
 *   phase 1   x[s][n] = scale (w[s] * gain) . v[n] / sqrt(mean(v[n]^2) + eps)
 *             O1[s] = sum over n of softmax(x[s]) v[n],   lse[s] = log sum exp x[s]
 *   phase 2   p = p + update
 *             z = scale (w * gain) . p / sqrt(mean(p^2) + eps),   a = 1 / (1 + exp(lse - z))
 *             h = O1 + a (p - O1),   norm = h / sqrt(mean(h^2) + norm_eps) * norm_gain
 *
 * With key_dim R < D the key is the last R coordinates: the product and the mean square go over those alone.  All is
 * computed in f32, squares too, so |v| up to 1e18 / sqrt(D); NaN and infinity spread to what depends on them.  C11 and
 * C++. */
#ifndef ATTN_RES_H
#define ATTN_RES_H

#include <stddef.h>
#include <stdint.h>
#include <attn/param.h>

/* attn_res_params.flags.  Of a backward call: what is already in a gradient is kept, and the new one added to it. */
#define ATTN_RES_ADD_DV 1u /* dv */
#define ATTN_RES_ADD_DP 2u /* dp */
#define ATTN_RES_ADD_DW 4u /* dw and dgain */
/* Of any call: a GPU takes the tokens from the last to the first.  A call finds in the cache what the one before it
 * touched last, if the two go opposite ways.  No result depends on it but the last bits of dw and dgain. */
#define ATTN_RES_FROM_LAST 8u
#define ATTN_RES_FLAGS_ALL (ATTN_RES_ADD_DV | ATTN_RES_ADD_DP | ATTN_RES_ADD_DW | ATTN_RES_FROM_LAST)

#define ATTN_RES_BLOCKS  64   /* most finished blocks of a call */
#define ATTN_RES_QUERIES 64   /* most pseudo-queries */
#define ATTN_RES_DIM     8192 /* greatest hidden size */

/* A tensor of rows in the caller's memory; the elements of a row adjoin. */
typedef struct attn_res_tensor {
    void *data;        /* first element; NULL = absent */
    int64_t stride[2]; /* elements from one [0] block or query, [1] token to the next.  Both 0 = compact */
    int32_t dtype;     /* ATTN_F32, ATTN_F16, ATTN_BF16; 0 = that of v, in phase 2 of p (those must say) */
    int32_t reserved;  /* 0 */
} attn_res_tensor;

/* One call.  Zero it, set struct_size, set what the call uses: 1, 2 = attn_res_phase1, attn_res_phase2; 1b, 2b = their
 * backward.  What a call does not use it does not look at, so that one struct can serve all four.
 * All memory lies where `device` says, as in attn_params.  An output may be an input of the same call if both begin at
 * the same element and have the same strides and type, but o1 not v, and dv not do1; else they must not overlap. */
typedef struct attn_res_params {
    uint32_t struct_size; /* sizeof(attn_res_params); required.  Shorter and longer ones as attn_params */
    uint32_t flags;       /* ATTN_RES_FROM_LAST; 1b, 2b: ATTN_RES_ADD_..., too */

    int32_t blocks;  /* N, 1 to 64; 1, 1b */
    int32_t queries; /* S, 1 to 64; 1, 1b.  Phase 2 has one query: w, o1, lse of that one */
    int64_t tokens;  /* 0 is legal and does nothing */
    int32_t dim;     /* D, a multiple of 8 from 8 to 8192 */
    int32_t key_dim; /* R, a multiple of 8 up to dim; 0 = dim */
    float eps;       /* of the keys' mean square; 0 = 2^-23 (write 1e-30 for none) */
    float scale;     /* of the logits; 0 = 1.  No 1/sqrt(D) is implied */
    int32_t device;  /* ATTN_DEVICE_CPU, ATTN_DEVICE_CUDA; 0 = as in attn_params */
    int32_t threads; /* CPU: threads to use; 0 = OpenMP's maximum */

    /* What is mixed. */
    attn_res_tensor v;          /* 1, 1b: finished blocks, [N, tokens, D] */
    const void *const *v_table; /* 1, 1b: or N pointers to [tokens, D], in host memory; then v.data is NULL, and
                                   stride[1] and dtype of v hold for each */
    attn_res_tensor p;          /* 2: the running sum of the current block, [tokens, D].  2b: what was mixed, so
                                   with the update */
    attn_res_tensor w;          /* pseudo-queries, [S, R]; stride[0] between queries */
    attn_res_tensor gain;       /* of the keys' normalisation, [R]; absent = 1 */
    attn_res_tensor o1;         /* [S, tokens, D]; 1: result, absent = lse is all that is wanted (with N = 1 each O1 is
                                   v[0], which phase 2 can read itself); 2, 2b: of this query */
    float *lse;                 /* [S, tokens] of o1, the last contiguous; 1: result, NULL = not wanted */
    int64_t lse_stride;         /* elements between queries, of lse and dlse; 0 = tokens */

    /* Phase 2 alone; [tokens, D] but for norm_gain. */
    attn_res_tensor update;    /* is added to p before it is mixed; absent = 0 */
    attn_res_tensor p_out;     /* where the sum, rounded to this type, goes; absent = p itself, if there is an update */
    attn_res_tensor block;     /* and once more: the place of the block that this sum finishes; absent = nowhere */
    attn_res_tensor h;         /* result; absent (and norm, too) = the sum is all that is wanted */
    attn_res_tensor norm;      /* RMSNorm of h, of h as rounded to its type; absent = not wanted */
    attn_res_tensor norm_gain; /* [D]; absent = 1 */
    float norm_eps;            /* 0 = 2^-23 */
    int32_t reserved;          /* 0 */

    /* Gradients; an absent result is not wanted. */
    attn_res_tensor do1;   /* of o1, [S, tokens, D]; 1b: given; 2b: result */
    float *dlse;           /* of lse, [S, tokens]; 1b: given, NULL = 0; 2b: result */
    attn_res_tensor dv;    /* 1b: result, [N, tokens, D] */
    void *const *dv_table; /* or N pointers in host memory, as v_table */
    attn_res_tensor dh;    /* 2b: given, of h, [tokens, D] */
    attn_res_tensor dp;    /* 2b: result, of p and of the update, [tokens, D] */
    float *dw;             /* result, f32 [S, R] */
    int64_t dw_stride;     /* elements between queries; 0 = R */
    float *dgain;          /* result, f32 [R]; needs gain */
} attn_res_params;

#endif /* ATTN_RES_H */
