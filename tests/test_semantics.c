/* test_semantics.c - docs/semantics.md, sentence by sentence, on examples small enough for the back of an
 * envelope.  The numbers are in the test; the oracle is not used.
 *
 * Most examples have q = 0, so that every visible key weighs the same, and v of key j = 2^j: then
 * o * exp(lse) is a sum of powers of two that spells out which keys a row sees.  Others have one key:
 * its score is lse. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <attn/run.h>
#include "call.h"
#include "check.h"
#include "gpu.h"
#include "header_instances.h"
#include "oracle.h"

enum { ROOM = 4096, WIDE = 256, MOST_ROWS = 2 * 71 }; /* of a KV head */

typedef struct tiny {
    attn_params p;
    const attn_instance *on;
    double q[ROOM], k[ROOM], v[ROOM]; /* in compact order unless p says otherwise */
    float o[ROOM], lse[ROOM];
    int skipped;
} tiny;

static tiny t; /* of the running case */

/* A zero q and k, and v of key j = 2^j, for compact tensors of these sizes; o in f32. */
static void sizes(int batch, int heads_q, int heads_k, int dim, int seq_q, int seq_k)
{
    attn_params *p = &t.p;
    const attn_instance *on = t.on;
    memset(&t, 0, sizeof t);
    t.on = on;
    p->struct_size = sizeof *p;
    p->batch = batch;
    p->heads_q = heads_q;
    p->heads_k = heads_k;
    p->head_dim = dim;
    p->seq_q = seq_q;
    p->seq_k = seq_k;
    p->scale = 1;
    for (int n = 0; n < batch * seq_k * heads_k * dim; n++)
        t.v[n] = ldexp(1, n / (heads_k * dim) % (seq_k ? seq_k : 1));
}

/* Dims that the instance computes for so many of an example. */
static int dims_for(int dims, int least, int most)
{
    return !most ? dims : least == most ? most : dims > least ? (dims + 7) / 8 * 8 : least;
}

/* Whether an example may be padded with zeros for an instance of fixed dims, or of aligned rows: if all is compact. */
static int can_be_padded(const attn_params *p)
{
    const attn_tensor *const all[] = {&p->q, &p->k, &p->v, &p->o};
    for (int n = 0; n < 4; n++)
        for (int m = 0; m < 4; m++)
            if (all[n]->stride[m] || all[n]->dim_block)
                return 0;
    return 1;
}

static attn_status run(void)
{
    /* Room for the widest type. */
    static float q[ROOM * WIDE + WIDE], k[ROOM * WIDE + WIDE], v[ROOM * WIDE + WIDE], o[ROOM * WIDE + WIDE];
    attn_info info;
    attn_params p = t.p;
    if (t.on->kernel == ATTN_KERNEL_MLA) {
        check_skip("v of the example is not in k");
        t.skipped = 1;
        return ATTN_ERR_UNSUPPORTED;
    }
    const int dim = p.head_dim, dim_v = p.head_dim_v ? p.head_dim_v : dim;
    p.head_dim = dims_for(dim, t.on->head_dim_min, t.on->head_dim);
    p.head_dim_v = dims_for(dim_v, t.on->head_dim_min < t.on->head_dim ? t.on->head_dim_min : t.on->head_dim_v,
                            t.on->head_dim_v);
    if (p.head_dim > WIDE || p.head_dim_v > WIDE || dim > p.head_dim || dim_v > p.head_dim_v ||
        ((p.head_dim != dim || p.head_dim_v != dim_v) && !can_be_padded(&p))) {
        check_skip("the example has strides of its own");
        t.skipped = 1;
        return ATTN_ERR_UNSUPPORTED;
    }
    if (p.scale == 0)
        p.scale = p.head_dim == dim ? 0 : 1 / sqrtf((float)dim);
    memset(q, 0, sizeof *q * (size_t)((ROOM / dim + 1) * p.head_dim));
    memset(k, 0, sizeof *k * (size_t)((ROOM / dim + 1) * p.head_dim));
    memset(v, 0, sizeof *v * (size_t)((ROOM / dim_v + 1) * p.head_dim_v));
    const int kv_dtype = t.on->kv_dtype == ATTN_NARROW ? ATTN_E4M3 : t.on->kv_dtype;
    for (int n = 0; n < ROOM; n++)
        if (kv_dtype == ATTN_E4M3 && /* NaN is a number of it, infinity is not */
            ((!isnan(t.k[n]) && oracle_round(kv_dtype, t.k[n]) != t.k[n]) ||
             (!isnan(t.v[n]) && oracle_round(kv_dtype, t.v[n]) != t.v[n]))) {
            check_skip("the example has numbers that an 8-bit type has not");
            t.skipped = 1;
            return ATTN_ERR_UNSUPPORTED;
        }
    for (int n = 0; n < ROOM; n++) {
        const int at = n / dim * p.head_dim + n % dim, at_v = n / dim_v * p.head_dim_v + n % dim_v;
        oracle_store(t.on->dtype, q, at, t.q[n]);
        oracle_store(kv_dtype, k, at, t.k[n]);
        oracle_store(kv_dtype, v, at_v, t.v[n]);
        t.o[n] = t.lse[n] = o[at_v] = 12345;
    }
    p.q.data = q;
    p.k.data = k;
    p.v.data = v;
    p.q.dtype = t.on->dtype;
    p.k.dtype = p.v.dtype = kv_dtype;
    p.o.data = o;
    p.o.dtype = ATTN_F32;
    p.lse = t.lse;
    p.threads = 1;
    attn_status status = run_forward(t.on, &p, WORKSPACE_BEST, &info);
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), info.text);
    for (int n = 0; n < ROOM; n++)
        t.o[n] = o[n / dim_v * p.head_dim_v + n % dim_v];
    return status;
}

#define NEAR(got, want) near(__LINE__, #got, (double)(got), want)

static void near(int line, const char *what, double got, double want)
{
    int fine = t.skipped || (isnan(want) ? isnan(got) : got == want || fabs(got - want) <= 1e-5 * fmax(1, fabs(want)));
    if (!fine)
        check_fail(__FILE__, line, "%s is %.9g, must be %.9g", what, got, want);
}

/* The keys that a row sees, as `1101`, from v = 2^j and equal weights. */
static void seen(const float *o, float lse, int keys, char *text)
{
    double count = isinf(lse) ? 0 : exp((double)lse);
    unsigned bits = (unsigned)lrint((double)*o * count);
    for (int j = 0; j < keys; j++)
        text[j] = bits >> j & 1 ? '1' : '0';
    text[keys] = 0;
}

#define SEES(b, h, want) sees(__LINE__, b, h, want)

/* Runs, and holds the rows of a sequence and head against `1000 1100 1110`. */
static void sees(int line, int b, int h, const char *want)
{
    char got[400] = "", row[40];
    const attn_params *p = &t.p;
    for (int i = 0; i < (int)oracle_rows(p, b); i++) {
        seen(t.o + oracle_o_index(p, b, i, h, 0), t.lse[oracle_lse_index(p, b, i, h)], (int)oracle_keys(p, b), row);
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "", row);
    }
    if (!t.skipped && strcmp(got, want) != 0)
        check_fail(__FILE__, line, "batch %d head %d sees %s, must see %s", b, h, got, want);
}

/* ---- scores ----------------------------------------------------------------------------------- */

static void scale_default(void)
{
    sizes(1, 1, 1, 4, 1, 1);
    t.p.scale = 0;
    for (int d = 0; d < 4; d++)
        t.q[d] = 1, t.k[d] = 3;
    run();
    NEAR(t.lse[0], 6); /* 12 / sqrt(4) */
}

static void scale_default_is_of_qk(void)
{
    sizes(1, 1, 1, 16, 1, 1);
    t.p.scale = 0;
    t.p.head_dim_v = 4;
    for (int d = 0; d < 16; d++)
        t.q[d] = 1, t.k[d] = 1;
    run();
    NEAR(t.lse[0], 4); /* 16 / sqrt(16) */
    NEAR(t.o[3], 1);
}

static void scale_given(void)
{
    sizes(1, 1, 1, 2, 1, 1);
    t.p.scale = -0.5f;
    t.q[0] = 3;
    t.k[0] = 4;
    run();
    NEAR(t.lse[0], -6);
}

static void softmax_weights(void)
{
    sizes(1, 1, 1, 1, 1, 2);
    t.p.scale = 0.693147181f; /* ln 2, so that weights are powers of 2, which every type has */
    t.q[0] = 1;
    t.k[0] = 0;
    t.k[1] = 2;
    t.v[0] = 0;
    t.v[1] = 1;
    run();
    NEAR(t.o[0], 0.8);           /* 2^2 / (1 + 2^2) */
    NEAR(t.lse[0], 1.609437912); /* ln 5 */
}

static void softcap(void)
{
    sizes(1, 1, 1, 1, 1, 1);
    t.p.softcap = 5;
    t.q[0] = 2;
    t.k[0] = 5;
    run();
    NEAR(t.lse[0], 4.820137900); /* 5 tanh(2) */
}

static void order_of_score_terms(void)
{
    static float bias[1] = {3}, slopes[1] = {0.5f};
    sizes(1, 1, 1, 1, 1, 1);
    t.p.seq_k = 1;
    t.p.softcap = 5;
    t.p.scale = 0.5f;
    t.p.bias.data = bias;
    t.p.bias.dtype = ATTN_F32;
    t.p.alibi_slopes = slopes;
    t.q[0] = 4;
    t.k[0] = 5;
    run();
    NEAR(t.lse[0], 7.820137900); /* 5 tanh(0.5 * 20 / 5) + 3 + 0.5 * 0 */
}

static void scores_in_f32(void)
{
    sizes(1, 1, 1, 1, 1, 1);
    t.q[0] = 300;
    t.k[0] = 320;
    run();
    NEAR(t.lse[0], 96000); /* over the largest f16 */
}

static void bias_f32(void)
{
    static float bias[2 * 2 * 3] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    sizes(1, 2, 1, 1, 2, 3);
    t.p.bias.data = bias;
    t.p.bias.dtype = ATTN_F32;
    t.p.causal = ATTN_CAUSAL_NONE;
    run();
    /* ln(e^b + e^(b+1) + e^(b+2)) = b + 2.407605964; rows of head 0 begin with 0 and 3, of head 1 with 6, 9. */
    NEAR(t.lse[0], 2.407605964);
    NEAR(t.lse[1], 5.407605964);
    NEAR(t.lse[2], 8.407605964);
    NEAR(t.lse[3], 11.407605964);
}

static void bias_own_type(void)
{
    static float room[4];
    sizes(1, 1, 1, 1, 2, 1);
    oracle_store(t.on->dtype, room, 0, 1.5);
    oracle_store(t.on->dtype, room, 1, -2);
    t.p.bias.data = room;
    t.p.bias.dtype = t.on->dtype;
    run();
    NEAR(t.lse[0], 1.5);
    NEAR(t.lse[1], -2);
}

static void bias_broadcasts(void)
{
    static float bias[2] = {1, 1};
    sizes(2, 2, 1, 1, 2, 2);
    t.p.bias.data = bias;
    t.p.bias.dtype = ATTN_F32;
    t.p.bias.stride[3] = 1; /* the others 0: the same for all */
    run();
    for (int n = 0; n < 8; n++)
        NEAR(t.lse[n], 1.693147181); /* 1 + ln 2 */
}

static void bias_hides(void)
{
    static float bias[3] = {0, -INFINITY, 0};
    sizes(1, 1, 1, 1, 1, 3);
    t.p.bias.data = bias;
    t.p.bias.dtype = ATTN_F32;
    t.v[1] = NAN;
    run();
    SEES(0, 0, "101");
}

static void alibi(void)
{
    static float slopes[2] = {0.5f, 2};
    sizes(1, 2, 1, 1, 1, 3);
    t.p.alibi_slopes = slopes;
    run();
    /* The last query sits at key 2: biases are slope * (-2, -1, 0). */
    NEAR(t.lse[0], log(exp(-1) + exp(-0.5) + 1));
    NEAR(t.lse[1], log(exp(-4) + exp(-2) + 1));
}

static void alibi_is_not_absolute(void)
{
    static float slopes[1] = {1};
    sizes(1, 1, 1, 1, 2, 1);
    t.p.alibi_slopes = slopes;
    run();
    /* shift = -1: row 0 stands at -1 and key 0 is one ahead; row 1 stands at 0. */
    NEAR(t.lse[0], 1);
    NEAR(t.lse[1], 0);
}

static void alibi_per_batch(void)
{
    static float slopes[2] = {1, 3};
    sizes(2, 1, 1, 1, 1, 2);
    t.p.alibi_slopes = slopes;
    t.p.alibi_stride = 1;
    run();
    NEAR(t.lse[0], log(exp(-1) + 1));
    NEAR(t.lse[1], log(exp(-3) + 1));
}

static void alibi_slopes(void)
{
    float s[12];
    CHECK(attn_alibi_slopes(s, 8, ATTN_ALIBI_PRESS) == ATTN_OK);
    for (int h = 0; h < 8; h++)
        NEAR(s[h], ldexp(1, -1 - h));
    CHECK(attn_alibi_slopes(s, 8, ATTN_ALIBI_MPT) == ATTN_OK);
    for (int h = 0; h < 8; h++)
        NEAR(s[h], ldexp(1, -1 - h));
    CHECK(attn_alibi_slopes(s, 12, ATTN_ALIBI_PRESS) == ATTN_OK);
    NEAR(s[7], ldexp(1, -8)); /* those of 8 heads, */
    NEAR(s[8], 0.707106781);  /* then every other one of 16: 2^-0.5, 2^-1.5 ... */
    NEAR(s[9], 0.353553391);
    CHECK(attn_alibi_slopes(s, 3, ATTN_ALIBI_MPT) == ATTN_OK);
    NEAR(s[0], 0.0625); /* of 2^-2, 2^-4, 2^-6, 2^-8: the odd places */
    NEAR(s[1], 0.00390625);
    NEAR(s[2], 0.25); /* then the even ones */
}

static void bool_mask(void)
{
    static unsigned char mask[2 * 3] = {1, 0, 255, 0, 7, 0};
    sizes(1, 1, 1, 1, 2, 3);
    t.p.mask.data = mask;
    t.p.mask.dtype = ATTN_BOOL;
    run();
    SEES(0, 0, "101 010");
}

static void bit_mask(void)
{
    static unsigned char mask[2 * 2] = {0x05, 0x02, 0x80, 0xfd}; /* low bit first; bits 10..15 are beyond the keys */
    sizes(1, 1, 1, 1, 2, 10);
    t.p.mask.data = mask;
    t.p.mask.dtype = ATTN_BIT;
    run();
    SEES(0, 0, "1010000001 0000000110");
    CHECK(mask[3] == 0xfd);
}

/* ---- which keys are visible ------------------------------------------------------------------- */

static void no_mask(void)
{
    sizes(1, 1, 1, 1, 2, 3);
    run();
    SEES(0, 0, "111 111");
}

static void causal_square(void)
{
    sizes(1, 1, 1, 1, 4, 4);
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    run();
    SEES(0, 0, "1000 1100 1110 1111");
}

static void causal_bottom_right(void)
{
    sizes(1, 1, 1, 1, 2, 4);
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    run();
    SEES(0, 0, "1110 1111"); /* the last query sees the last key */
}

static void causal_top_left(void)
{
    sizes(1, 1, 1, 1, 2, 4);
    t.p.causal = ATTN_CAUSAL_TOP_LEFT;
    run();
    SEES(0, 0, "1000 1100");
}

static void causal_more_rows_than_keys(void)
{
    sizes(1, 1, 1, 1, 4, 2);
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    run();
    SEES(0, 0, "00 00 10 11");
    NEAR(t.o[0], 0);
    NEAR(t.lse[0], -INFINITY);
}

static void causal_top_left_more_rows(void)
{
    sizes(1, 1, 1, 1, 4, 2);
    t.p.causal = ATTN_CAUSAL_TOP_LEFT;
    run();
    SEES(0, 0, "10 11 11 11");
}

static void window(int left, int right)
{
    t.p.window = 1;
    t.p.window_left = left;
    t.p.window_right = right;
}

static void window_inclusive(void)
{
    sizes(1, 1, 1, 1, 5, 5);
    window(1, 2);
    run();
    SEES(0, 0, "11100 11110 01111 00111 00011");
}

static void window_of_itself(void)
{
    sizes(1, 1, 1, 1, 3, 3);
    window(0, 0);
    run();
    SEES(0, 0, "100 010 001");
}

static void window_infinite(void)
{
    sizes(1, 1, 1, 1, 3, 3);
    window(-1, 0);
    run();
    SEES(0, 0, "100 110 111");
    window(0, -1);
    run();
    SEES(0, 0, "111 011 001");
    window(-1, -1);
    run();
    SEES(0, 0, "111 111 111");
}

static void window_is_bottom_right(void)
{
    sizes(1, 1, 1, 1, 2, 5);
    window(1, 0);
    run();
    SEES(0, 0, "00110 00011");
}

static void window_and_causal(void)
{
    sizes(1, 1, 1, 1, 4, 4);
    window(1, 3);
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    run();
    SEES(0, 0, "1000 1100 0110 0011");
}

static void window_and_top_left(void)
{
    sizes(1, 1, 1, 1, 2, 4);
    window(1, 0);                      /* keys 1..2 and 2..3 */
    t.p.causal = ATTN_CAUSAL_TOP_LEFT; /* keys 0 and 0..1 */
    run();
    SEES(0, 0, "0000 0000");
    window(2, 0);
    run();
    SEES(0, 0, "1000 0100");
}

static void sliding_window_of_a_model(void)
{
    sizes(1, 1, 1, 1, 5, 5);
    window(3 - 1, 0); /* sliding_window = 3: itself and two before */
    run();
    SEES(0, 0, "10000 11000 11100 01110 00111");
}

static void chunk(void)
{
    sizes(1, 1, 1, 1, 5, 5);
    t.p.chunk = 2;
    run();
    SEES(0, 0, "11000 11000 00110 00110 00001");
}

static void chunk_and_causal(void)
{
    sizes(1, 1, 1, 1, 2, 6);
    t.p.chunk = 4;
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    run();
    SEES(0, 0, "000010 000011"); /* the rows stand at 4 and 5 */
}

static void chunk_before_the_keys(void)
{
    sizes(1, 1, 1, 1, 3, 1);
    t.p.chunk = 2;
    run();
    SEES(0, 0, "0 0 1"); /* the rows stand at -2, -1 and 0; floor, not truncation, puts -1 elsewhere than 0 */
}

static void sink_tokens(void)
{
    sizes(1, 1, 1, 1, 5, 5);
    window(1, 0);
    t.p.sink_tokens = 2;
    run();
    SEES(0, 0, "11000 11000 11100 11110 11011");
}

static void sink_tokens_causal(void)
{
    sizes(1, 1, 1, 1, 4, 4);
    window(0, 0);
    t.p.sink_tokens = 2;
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    run();
    SEES(0, 0, "1000 1100 1110 1101");
}

static void sink_tokens_and_chunk(void)
{
    sizes(1, 1, 1, 1, 4, 4);
    t.p.chunk = 2;
    t.p.sink_tokens = 1; /* overrides a window, and there is none */
    run();
    SEES(0, 0, "1100 1100 0011 0011");
}

static void lengths(void)
{
    static const int32_t used[2] = {3, 1};
    sizes(2, 1, 1, 1, 1, 4);
    t.p.seqused_k = used;
    for (int b = 0; b < 2; b++)
        for (int j = used[b]; j < 4; j++)
            t.v[b * 4 + j] = t.k[b * 4 + j] = NAN;
    run();
    SEES(0, 0, "111");
    SEES(1, 0, "1");
}

static void hidden_nan(void)
{
    sizes(1, 1, 1, 1, 3, 3);
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    t.k[2] = t.v[2] = NAN;
    run();
    NEAR(t.o[0], 1);
    NEAR(t.o[1], 1.5);
    NEAR(t.lse[1], log(2));
    NEAR(t.o[2], NAN);
}

/* Enough rows to be packed; the window of the first begins at an odd key, whose neighbour must not leak. */
static void hidden_nan_before_window(void)
{
    sizes(1, 1, 1, 1, 20, 24);
    t.p.window = 1;
    t.p.window_left = 3;
    t.p.window_right = -1;
    for (int j = 0; j < 24; j++)
        t.v[j] = j ? 1 : NAN;
    run();
    for (int i = 0; i < 20; i++) /* keys i + 1 .. 23, all 1 */
        NEAR(t.o[i], 1);
}

/* ---- sink logits ------------------------------------------------------------------------------ */

static void sink_logits(void)
{
    static float z[2] = {0, 1};
    sizes(1, 2, 1, 1, 1, 3);
    t.p.sink_logits = z;
    run();
    /* Three keys of weight 1; the sink joins the denominator alone: 7 / 4, and 7 / (3 + e). */
    NEAR(t.o[0], 1.75);
    NEAR(t.o[1], 7 / (3 + exp(1)));
    NEAR(t.lse[0], log(4));
    NEAR(t.lse[1], log(3 + exp(1)));
}

static void sink_logit_identity(void)
{
    static float z[1] = {0.5f};
    sizes(1, 1, 1, 2, 1, 3);
    t.q[0] = t.q[1] = 1;
    for (int j = 0; j < 3; j++)
        t.k[2 * j] = j, t.v[2 * j] = 1 - j;
    run();
    double o = (double)t.o[0], lse = (double)t.lse[0];
    t.p.sink_logits = z;
    run();
    NEAR(t.o[0], o / (1 + exp(0.5 - lse))); /* o sigmoid(lse - z) */
    NEAR(t.lse[0], log(exp(lse) + exp(0.5)));
}

static void sink_logit_is_raw(void)
{
    static float z[1] = {6};
    sizes(1, 1, 1, 1, 1, 1);
    t.p.sink_logits = z;
    t.p.scale = 100; /* would scale it */
    run();
    NEAR(t.lse[0], log(1 + exp(6)));
}

static void sink_logit_is_not_capped(void)
{
    static float z[1] = {6};
    sizes(1, 1, 1, 1, 1, 1);
    t.p.sink_logits = z;
    t.p.softcap = 2;
    run();
    NEAR(t.lse[0], log(1 + exp(6)));
}

static void sink_logit_once_with_splits(void)
{
    static float z[1] = {0};
    for (int splits = 1; splits <= 3; splits++) {
        sizes(1, 1, 1, 1, 1, 9);
        t.p.sink_logits = z;
        t.p.num_splits = splits;
        run();
        NEAR(t.lse[0], log(10));
        NEAR(t.o[0], 511 / 10.0);
    }
}

static void sink_logit_of_an_empty_row(void)
{
    static float z[1] = {2};
    sizes(1, 1, 1, 1, 2, 1);
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    t.p.sink_logits = z;
    run();
    NEAR(t.o[0], 0);
    NEAR(t.lse[0], 2); /* logaddexp(-inf, z) */
}

/* ---- empty rows, NaN -------------------------------------------------------------------------- */

static void no_keys(void)
{
    sizes(1, 2, 1, 1, 2, 0);
    run();
    for (int n = 0; n < 4; n++) {
        NEAR(t.o[n], 0);
        NEAR(t.lse[n], -INFINITY);
    }
}

static void no_rows(void)
{
    sizes(1, 1, 1, 1, 0, 3);
    run();
    NEAR(t.o[0], 12345);
    NEAR(t.lse[0], 12345);
}

static void no_batch(void)
{
    sizes(0, 1, 1, 1, 2, 3);
    run();
    NEAR(t.o[0], 12345);
}

static void masked_row_is_empty(void)
{
    static unsigned char mask[2] = {0, 0};
    sizes(1, 1, 1, 1, 1, 2);
    t.p.mask.data = mask;
    t.p.mask.dtype = ATTN_BOOL;
    t.v[0] = NAN;
    t.k[1] = INFINITY;
    run();
    NEAR(t.o[0], 0);
    NEAR(t.lse[0], -INFINITY);
}

static void nan_in_q(void)
{
    sizes(1, 1, 1, 1, 2, 2);
    t.q[1] = NAN;
    run();
    NEAR(t.o[0], 1.5);
    NEAR(t.o[1], NAN);
    NEAR(t.lse[1], NAN);
}

static void nan_in_v(void)
{
    sizes(1, 1, 1, 2, 1, 2);
    t.v[2] = NAN;
    run();
    NEAR(t.o[0], NAN);
    NEAR(t.o[1], 1.5);
    NEAR(t.lse[0], log(2));
}

/* ---- lse and merge ---------------------------------------------------------------------------- */

static void lse_natural(void)
{
    sizes(1, 1, 1, 1, 1, 8);
    run();
    NEAR(t.lse[0], 2.079441542); /* ln 8 */
}

static void lse_base_2(void)
{
    sizes(1, 1, 1, 1, 1, 8);
    t.p.flags = ATTN_LSE_BASE2;
    run();
    NEAR(t.lse[0], 3);
}

static void lse_without_sink(void)
{
    static float z[1] = {3};
    sizes(1, 1, 1, 1, 1, 2);
    t.p.sink_logits = z;
    t.p.flags = ATTN_LSE_NO_SINK;
    run();
    NEAR(t.lse[0], log(2));
    NEAR(t.o[0], 1.5);
}

static void lse_layout(void)
{
    sizes(2, 2, 1, 1, 3, 2);
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < 3; i++)
            for (int h = 0; h < 2; h++)
                t.q[(b * 3 + i) * 2 + h] = 100 * b + 10 * h + i;
    t.k[0] = t.k[1] = t.k[2] = t.k[3] = 1;
    run();
    for (int b = 0; b < 2; b++)
        for (int h = 0; h < 2; h++)
            for (int i = 0; i < 3; i++)
                NEAR(t.lse[(b * 2 + h) * 3 + i], 100 * b + 10 * h + i + log(2));
}

static void lse_layout_varlen(void)
{
    static const int32_t rows[3] = {0, 1, 3}, keys[3] = {0, 1, 2};
    sizes(2, 2, 1, 1, 2, 1);
    t.p.cu_seqlens_q = rows;
    t.p.cu_seqlens_k = keys;
    t.p.total_q = 3;
    for (int n = 0; n < 3; n++)
        for (int h = 0; h < 2; h++)
            t.q[n * 2 + h] = 10 * h + n;
    t.k[0] = t.k[1] = 1;
    run();
    for (int h = 0; h < 2; h++)
        for (int n = 0; n < 3; n++)
            NEAR(t.lse[h * 3 + n], 10 * h + n); /* [heads, total_q] */
}

static attn_status merge(int parts, const float *part_o, const float *part_lse, float *o, float *lse, uint32_t flags,
                         const float *sink)
{
    attn_merge_params m;
    memset(&m, 0, sizeof m);
    m.struct_size = sizeof m;
    m.device = ATTN_DEVICE_CPU;
    m.flags = flags;
    m.parts = parts;
    m.batch = m.seq_q = m.heads_q = m.head_dim_v = 1;
    m.part_o.data = (void *)(uintptr_t)part_o;
    m.part_o.dtype = ATTN_F32;
    m.part_lse = part_lse;
    m.o.data = o;
    m.lse = lse;
    m.sink_logits = sink;
    m.threads = 1;
    return attn_merge(&m, NULL);
}

static void merge_weights(void)
{
    const float o[2] = {2, 6}, lse[2] = {0, 1.098612289f}; /* weights 1 and 3 */
    float got_o, got_lse;
    CHECK(merge(2, o, lse, &got_o, &got_lse, 0, NULL) == ATTN_OK);
    NEAR(got_o, 5);
    NEAR(got_lse, log(4));
}

static void merge_large(void)
{
    const float o[2] = {2, 6}, lse[2] = {-5000, -5000};
    float got_o, got_lse;
    CHECK(merge(2, o, lse, &got_o, &got_lse, 0, NULL) == ATTN_OK);
    NEAR(got_o, 4);
    NEAR(got_lse, -5000 + log(2));
}

static void merge_empty(void)
{
    const float o[2] = {NAN, 0}, lse[2] = {-INFINITY, -INFINITY}, one[2] = {-INFINITY, 2}, three[2] = {0, 3};
    float got_o, got_lse;
    CHECK(merge(2, o, lse, &got_o, &got_lse, 0, NULL) == ATTN_OK);
    NEAR(got_o, 0);
    NEAR(got_lse, -INFINITY);
    CHECK(merge(2, three, one, &got_o, &got_lse, 0, NULL) == ATTN_OK);
    NEAR(got_o, 3);
    NEAR(got_lse, 2);
}

static void merge_nan(void)
{
    const float o[2] = {1, NAN}, lse[2] = {0, 0}, bad_lse[2] = {NAN, 0}, fine[2] = {1, 2};
    float got_o, got_lse;
    CHECK(merge(2, o, lse, &got_o, &got_lse, 0, NULL) == ATTN_OK);
    NEAR(got_o, NAN);
    NEAR(got_lse, log(2));
    CHECK(merge(2, fine, bad_lse, &got_o, &got_lse, 0, NULL) == ATTN_OK);
    NEAR(got_o, NAN);
    NEAR(got_lse, NAN);
}

static void merge_associative(void)
{
    const float o[3] = {1, 2, 4}, lse[3] = {0.5f, -1, 2};
    float whole_o, whole_lse, pair_o[2], pair_lse[2], o2, lse2;
    CHECK(merge(3, o, lse, &whole_o, &whole_lse, 0, NULL) == ATTN_OK);
    CHECK(merge(2, o, lse, pair_o, pair_lse, 0, NULL) == ATTN_OK);
    pair_o[1] = o[2];
    pair_lse[1] = lse[2];
    CHECK(merge(2, pair_o, pair_lse, &o2, &lse2, 0, NULL) == ATTN_OK);
    NEAR(o2, (double)whole_o);
    NEAR(lse2, (double)whole_lse);
}

static void merge_base_2(void)
{
    const float o[2] = {2, 6}, lse[2] = {3, 3};
    float got_o, got_lse;
    CHECK(merge(2, o, lse, &got_o, &got_lse, ATTN_LSE_BASE2, NULL) == ATTN_OK);
    NEAR(got_o, 4);
    NEAR(got_lse, 4);
}

static void merge_adds_the_sink(void)
{
    const float o[2] = {2, 6}, lse[2] = {0, 0}, z[1] = {0.693147181f};
    float got_o, got_lse;
    CHECK(merge(2, o, lse, &got_o, &got_lse, 0, z) == ATTN_OK);
    NEAR(got_o, 2); /* (2 + 6) / (1 + 1 + 2) */
    NEAR(got_lse, log(4));
}

/* ---- layouts, lengths, pages ------------------------------------------------------------------ */

static void set_strides(attn_tensor *x, int64_t s0, int64_t s1, int64_t s2, int64_t s3)
{
    const int64_t s[4] = {s0, s1, s2, s3};
    memcpy(x->stride, s, sizeof s);
}

static void bhsd_in_bhsd_out(void)
{
    sizes(1, 2, 2, 2, 3, 2);
    /* v[head][key][dim] = 1000 head + 100 key + dim, so the mean over keys is 1000 head + 50 + dim. */
    for (int h = 0; h < 2; h++)
        for (int j = 0; j < 2; j++)
            for (int d = 0; d < 2; d++)
                t.v[(h * 2 + j) * 2 + d] = 64 * h + 8 * j + d;
    set_strides(&t.p.q, 12, 2, 6, 1);
    set_strides(&t.p.k, 8, 2, 4, 1);
    set_strides(&t.p.v, 8, 2, 4, 1);
    set_strides(&t.p.o, 12, 2, 6, 1);
    run();
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 3; i++)
            for (int d = 0; d < 2; d++)
                NEAR(t.o[(h * 3 + i) * 2 + d], 64 * h + 4 + d);
}

static void output_strides_are_free(void)
{
    sizes(1, 1, 1, 2, 2, 1);
    t.v[0] = 5;
    t.v[1] = 7;
    set_strides(&t.p.o, 100, 1, 50, 10); /* [dim][row], far apart */
    run();
    NEAR(t.o[0], 5);
    NEAR(t.o[1], 5);
    NEAR(t.o[10], 7);
    NEAR(t.o[11], 7);
    NEAR(t.o[2], 12345); /* what lies between is not touched */
    NEAR(t.o[9], 12345);
}

static void varlen_packed(void)
{
    static const int32_t rows[4] = {0, 2, 2, 3}, keys[4] = {0, 3, 4, 6};
    sizes(3, 1, 1, 1, 2, 3);
    t.p.cu_seqlens_q = rows;
    t.p.cu_seqlens_k = keys;
    t.p.total_q = 3;
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    for (int n = 0; n < 6; n++) /* key j of its sequence */
        t.v[n] = ldexp(1, n < 3 ? n : n < 4 ? 0 : n - 4);
    run();
    SEES(0, 0, "110 111"); /* bottom-right of each sequence by itself */
    SEES(1, 0, "");
    SEES(2, 0, "11");
}

static void varlen_empty_keys(void)
{
    static const int32_t rows[3] = {0, 1, 2}, keys[3] = {0, 0, 1};
    sizes(2, 1, 1, 1, 1, 1);
    t.p.cu_seqlens_q = rows;
    t.p.cu_seqlens_k = keys;
    t.p.total_q = 2;
    run();
    NEAR(t.o[0], 0);
    NEAR(t.lse[0], -INFINITY);
    NEAR(t.o[1], 1);
}

static void varlen_padded(void)
{
    static const int32_t used[2] = {2, 4};
    sizes(2, 1, 1, 1, 2, 4);
    t.p.seqused_k = used;
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    run();
    SEES(0, 0, "10 11");
    SEES(1, 0, "1110 1111");
}

static void varlen_rows_in_use(void)
{
    static const int32_t used[2] = {1, 2};
    sizes(2, 1, 1, 1, 3, 3);
    t.p.seqused_q = used;
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    run();
    SEES(0, 0, "111");
    SEES(1, 0, "110 111");
    NEAR(t.o[1], 12345); /* rows beyond are not written */
    NEAR(t.lse[2], 12345);
    NEAR(t.o[5], 12345);
}

/* A cache of 5 pages of 2 tokens; sequence 0 has keys on pages 3, 1, 4; sequence 1 on page 0. */
static const int32_t table[2 * 3] = {3, 1, 4, 0, 99, 99}, used_pages[2] = {5, 1};

static void pages_of(int64_t s0, int64_t s1, int64_t s2, int64_t s3, int dims)
{
    sizes(2, 2, 2, dims, 1, 6);
    for (int n = 0; n < ROOM; n++)
        t.v[n] = NAN;
    for (int b = 0; b < 2; b++)
        for (int j = 0; j < used_pages[b]; j++)
            for (int h = 0; h < 2; h++)
                for (int d = 0; d < dims; d++)
                    t.v[table[b * 3 + j / 2] * s0 + j % 2 * s1 + h * s2 + d * s3] = ldexp(1, j + h);
    set_strides(&t.p.v, s0, s1, s2, s3);
    t.p.k = t.p.v;
    t.p.page_size = 2;
    t.p.block_table = table;
    t.p.seqused_k = used_pages;
}

static void check_pages(void)
{
    run();
    NEAR(t.o[0], 31 / 5.0);
    NEAR(t.o[1 * t.p.head_dim], 62 / 5.0);
    NEAR(t.o[2 * t.p.head_dim], 1);
    NEAR(t.o[3 * t.p.head_dim + 1], 2);
}

static void pages_nhd(void)
{
    pages_of(8, 4, 2, 1, 2);
    check_pages();
}

static void pages_hnd(void)
{
    pages_of(8, 2, 4, 1, 2);
    check_pages();
}

static void pages_dim_major(void)
{
    pages_of(8, 1, 4, 2, 2);
    check_pages();
}

static void pages_blocked_k(void)
{
    pages_of(16, 1, 8, 2, 4);
    /* K [page, head, dim / 2, token, 2]: key j of sequence 0 has k = (0, 0, 0, j), so its score is j. */
    set_strides(&t.p.k, 16, 2, 8, 4);
    t.p.k.dim_block = 2;
    for (int j = 0; j < 5; j++)
        t.k[table[j / 2] * 16 + 0 * 8 + 1 * 4 + j % 2 * 2 + 1] = j;
    t.q[3] = 1;
    run();
    NEAR(t.lse[0], log(1 + exp(1) + exp(2) + exp(3) + exp(4)));
    NEAR(t.o[4], 62 / 5.0);
}

static void pages_csr(void)
{
    static const int32_t indptr[3] = {0, 3, 4}, indices[4] = {3, 1, 4, 0}, last[2] = {1, 1};
    pages_of(8, 4, 2, 1, 2);
    t.p.block_table = t.p.seqused_k = NULL;
    t.p.page_indptr = indptr;
    t.p.page_indices = indices;
    t.p.last_page_len = last;
    check_pages();
}

static void pages_of_one_token(void)
{
    static const int32_t single[3] = {2, 0, 1}, used[1] = {3};
    sizes(1, 1, 1, 1, 1, 3);
    t.p.page_size = 1;
    t.p.block_table = single;
    t.p.seqused_k = used;
    t.v[2] = 1; /* page of key 0 */
    t.v[0] = 2;
    t.v[1] = 4;
    t.k[1] = -INFINITY; /* key 2 does not weigh */
    t.q[0] = 1;
    run();
    NEAR(t.o[0], 1.5);
}

static void chunked_prefill(void)
{
    /* Rows 3 and 4 of a sequence of 5 as one chunk: they stand at prefix + t. */
    sizes(1, 1, 1, 1, 2, 5);
    t.p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    window(2, 0);
    run();
    SEES(0, 0, "01110 00111");
}

static void gqa(void)
{
    sizes(1, 6, 2, 1, 1, 2);
    for (int j = 0; j < 2; j++)
        for (int g = 0; g < 2; g++)
            t.v[j * 2 + g] = g ? 32 : 8;
    run();
    for (int h = 0; h < 6; h++)
        NEAR(t.o[h], h / 3 ? 32 : 8);
}

static void gqa_71(void)
{
    sizes(1, 71, 1, 1, 2, 2);
    for (int n = 0; n < 142; n++)
        t.q[n] = n % 71 / 8;
    t.k[0] = t.k[1] = 1;
    run();
    for (int h = 0; h < 71; h++)
        for (int i = 0; i < 2; i++)
            NEAR(t.lse[h * 2 + i], h / 8 + log(2));
}

static void v_of_another_width(void)
{
    sizes(1, 1, 1, 4, 1, 2);
    t.p.head_dim_v = 2;
    t.v[0] = 1, t.v[1] = 3; /* [key][2] */
    t.v[2] = 5, t.v[3] = 7;
    run();
    NEAR(t.o[0], 3);
    NEAR(t.o[1], 5);
    NEAR(t.o[2], 12345);
}

static void twice_the_same_bits(void)
{
    float o[64];
    sizes(1, 4, 2, 8, 2, 60);
    for (int n = 0; n < 1000; n++) {
        t.k[n] = sin(n);
        t.v[n] = cos(3 * n);
        t.q[n] = sin(n * 0.7);
    }
    run();
    memcpy(o, t.o, sizeof o);
    run();
    CHECK(!memcmp(o, t.o, sizeof o));
}

/* ---- the list --------------------------------------------------------------------------------- */

#define F(feature) ATTN_HAS(feature)

static const struct {
    const char *sentence;
    uint32_t needs;
    void (*check)(void);
} sentences[] = {
    {"scale defaults to 1/sqrt(head_dim)", 0, scale_default},
    {"scale: the default is of q and k, not of v", 0, scale_default_is_of_qk},
    {"scale given, of any sign", 0, scale_given},
    {"softmax and lse", 0, softmax_weights},
    {"softcap: s = c tanh(s / c)", F(SOFTCAP), softcap},
    {"order: scale, softcap, bias and ALiBi", F(SOFTCAP) | F(BIAS) | F(ALIBI), order_of_score_terms},
    {"scores are f32 whatever the inputs are", 0, scores_in_f32},
    {"bias: f32", F(BIAS), bias_f32},
    {"bias: the type of q", F(BIAS), bias_own_type},
    {"bias: broadcast by stride 0", F(BIAS), bias_broadcasts},
    {"bias: -inf means masked", F(BIAS), bias_hides},
    {"ALiBi: slope (j - (i + shift))", F(ALIBI), alibi},
    {"ALiBi: rows before the first key", F(ALIBI), alibi_is_not_absolute},
    {"ALiBi: slopes of each sequence", F(ALIBI), alibi_per_batch},
    {"ALiBi: both families of slopes", F(ALIBI), alibi_slopes},
    {"boolean mask: true = attend", F(BOOL_MASK), bool_mask},
    {"bit mask: low bit first", F(BOOL_MASK), bit_mask},
    {"without a mask every key is visible", 0, no_mask},
    {"causal: a square", F(CAUSAL), causal_square},
    {"causal: bottom-right, the last query sees the last key", F(CAUSAL), causal_bottom_right},
    {"causal: top-left", F(CAUSAL), causal_top_left},
    {"causal: more rows than keys, the first are empty", F(CAUSAL), causal_more_rows_than_keys},
    {"causal: top-left, more rows than keys", F(CAUSAL), causal_top_left_more_rows},
    {"window: inclusive on both sides", F(WINDOW), window_inclusive},
    {"window: 0 and 0 is the key itself", F(WINDOW), window_of_itself},
    {"window: -1 is infinite", F(WINDOW), window_infinite},
    {"window: around i + shift", F(WINDOW), window_is_bottom_right},
    {"window and causal: both hold", F(WINDOW) | F(CAUSAL), window_and_causal},
    {"window and top-left causal: both hold", F(WINDOW) | F(CAUSAL), window_and_top_left},
    {"window: a model's sliding_window W is W - 1", F(WINDOW), sliding_window_of_a_model},
    {"chunk: the same floor(position / C)", F(CHUNK), chunk},
    {"chunk and causal", F(CHUNK) | F(CAUSAL), chunk_and_causal},
    {"chunk: positions before the first key", F(CHUNK), chunk_before_the_keys},
    {"sink tokens: visible whatever the window says", F(SINK_TOKENS) | F(WINDOW), sink_tokens},
    {"sink tokens: causality still applies", F(SINK_TOKENS) | F(WINDOW) | F(CAUSAL), sink_tokens_causal},
    {"sink tokens: a chunk still applies", F(SINK_TOKENS) | F(CHUNK), sink_tokens_and_chunk},
    {"sequence length hides keys", F(VARLEN), lengths},
    {"a hidden key contributes nothing, NaN neither", F(CAUSAL), hidden_nan},
    {"a NaN just before the window contributes nothing", F(WINDOW), hidden_nan_before_window},
    {"sink logits: in the denominator only", F(SINK_LOGITS), sink_logits},
    {"sink logits: o sigmoid(lse - z), logaddexp(lse, z)", F(SINK_LOGITS), sink_logit_identity},
    {"sink logits: not scaled", F(SINK_LOGITS), sink_logit_is_raw},
    {"sink logits: not capped", F(SINK_LOGITS) | F(SOFTCAP), sink_logit_is_not_capped},
    {"sink logits: once, with splits", F(SINK_LOGITS), sink_logit_once_with_splits},
    {"sink logits: of an empty row", F(SINK_LOGITS) | F(CAUSAL), sink_logit_of_an_empty_row},
    {"empty row: no keys at all", 0, no_keys},
    {"no query rows: nothing is written", 0, no_rows},
    {"zero batch: nothing is written", 0, no_batch},
    {"empty row: all masked, whatever is there", F(BOOL_MASK), masked_row_is_empty},
    {"NaN in q reaches its row", 0, nan_in_q},
    {"NaN in v reaches its dim", 0, nan_in_v},
    {"lse: natural log", 0, lse_natural},
    {"lse: base 2", 0, lse_base_2},
    {"lse: sink left out", F(SINK_LOGITS), lse_without_sink},
    {"lse: [batch, heads, rows]", 0, lse_layout},
    {"lse: varlen [heads, total_q]", F(VARLEN), lse_layout_varlen},
    {"layout: BHSD in, BHSD out", 0, bhsd_in_bhsd_out},
    {"layout: output strides are free of the input's", 0, output_strides_are_free},
    {"varlen: packed, q and k apart, causal per sequence", F(VARLEN) | F(CAUSAL), varlen_packed},
    {"varlen: a sequence without keys", F(VARLEN), varlen_empty_keys},
    {"varlen: padded, keys in use", F(VARLEN) | F(CAUSAL), varlen_padded},
    {"varlen: padded, rows in use", F(VARLEN) | F(CAUSAL), varlen_rows_in_use},
    {"paged: [page, token, head, dim]", F(PAGED), pages_nhd},
    {"paged: [page, head, token, dim]", F(PAGED), pages_hnd},
    {"paged: [page, head, dim, token]", F(PAGED), pages_dim_major},
    {"paged: k [page, head, dim / x, token, x]", F(PAGED), pages_blocked_k},
    {"paged: CSR", F(PAGED), pages_csr},
    {"paged: pages of one token", F(PAGED), pages_of_one_token},
    {"chunked prefill: row t stands at prefix + t", F(CAUSAL) | F(WINDOW), chunked_prefill},
    {"GQA: head h uses KV head h / ratio", 0, gqa},
    {"GQA: ratio 71", 0, gqa_71},
    {"types: v of another width than k", 0, v_of_another_width},
    {"determinism: twice the same bits", 0, twice_the_same_bits},
};

static const struct {
    const char *sentence;
    void (*check)(void);
} merges[] = {
    {"merge: weights exp(lse - max)", merge_weights},      {"merge: far from 0", merge_large},
    {"merge: both empty, one empty", merge_empty},         {"merge: NaN propagates", merge_nan},
    {"merge: associative to rounding", merge_associative}, {"merge: base 2", merge_base_2},
    {"merge: adds the sink once", merge_adds_the_sink},
};

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    size_t count;
    const attn_instance *const *list = tested_instances(&count);
    for (size_t n = 0; n < sizeof merges / sizeof *merges; n++)
        if (check_case("%s", merges[n].sentence))
            merges[n].check();
    for (size_t m = 0; m < count; m++) {
        char reason[300];
        t.on = list[m];
        if (!attn__attends(t.on) || t.on->gqa || (t.on->rows && t.on->rows < MOST_ROWS) || t.on->user)
            continue; /* the examples have ratios of their own */
        if (!case_executes(t.on, reason, sizeof reason)) {
            if (check_case("%s", t.on->name))
                check_skip(reason);
            continue;
        }
        for (size_t n = 0; n < sizeof sentences / sizeof *sentences; n++)
            if (!(sentences[n].needs & ~t.on->features) && check_case("%s: %s", t.on->name, sentences[n].sentence))
                sentences[n].check();
    }
    return check_end();
}
