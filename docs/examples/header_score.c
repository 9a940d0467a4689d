/* header_score.c - header mode: an instance of your own, with a score that no flag offers.
 *
 *     cc -std=c11 -O3 -march=native -fopenmp -Iinclude docs/examples/header_score.c -lm && ./a.out
 *
 * Scores fade with the logarithm of the distance, at a rate for each head.  Nothing is linked but libm; without
 * -fopenmp it runs on one thread, without -march=native with portable vectors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <attn/run.h>

enum { HEADS = 4, TOKENS = 200 };
#define DIM 64 /* a macro, as the preprocessor must know it */

typedef struct fade {
    float rate[HEADS];
} fade;

/* s: the scaled score; b, h: sequence and query head; q, k: positions of query and key.  `user` is attn_params.user.
 * Keys that causality hides come by too, so what happens there must be harmless. */
#define ATTN_NAME      my_fade
#define ATTN_KERNEL    ATTN_KERNEL_FORWARD
#define ATTN_ARCH      ATTN_ARCH_NATIVE
#define ATTN_DTYPE     ATTN_F32
#define ATTN_HEAD_DIM  DIM
#define ATTN_CAUSAL    1
#define ATTN_USER      fade
#define ATTN_SCORE_MOD(s, b, h, q, k) ((s) - user->rate[h] * log1pf(fmaxf((float)((q) - (k)), 0)))
#include <attn/attn.h>

static float q[TOKENS][HEADS][DIM], k[TOKENS][HEADS][DIM], v[TOKENS][HEADS][DIM], o[TOKENS][HEADS][DIM];

/* The same for one row, as it is defined. */
static double error_of(int i, int h, const fade *f)
{
    double p[TOKENS], sum = 0, worst = 0;
    for (int j = 0; j <= i; j++) {
        double s = 0;
        for (int d = 0; d < DIM; d++)
            s += (double)q[i][h][d] * (double)k[j][h][d];
        sum += p[j] = exp(s / sqrt(DIM) - (double)f->rate[h] * log1p(i - j));
    }
    for (int d = 0; d < DIM; d++) {
        double want = 0;
        for (int j = 0; j <= i; j++)
            want += p[j] / sum * (double)v[j][h][d];
        worst = fmax(worst, fabs(want - (double)o[i][h][d]));
    }
    return worst;
}

int main(void)
{
    static const fade rates = {{0.0f, 0.5f, 1.0f, 2.0f}};
    for (int n = 0; n < TOKENS * HEADS * DIM; n++) {
        (&q[0][0][0])[n] = 2 * sinf((float)n * 0.7f);
        (&k[0][0][0])[n] = cosf((float)n * 1.3f);
        (&v[0][0][0])[n] = sinf((float)n * 0.3f);
    }
    attn_params p = {.struct_size = sizeof p, .batch = 1, .heads_q = HEADS, .heads_k = HEADS, .head_dim = DIM};
    p.seq_q = p.seq_k = TOKENS;
    p.q.data = q; /* compact [batch, token, head, dim]: no strides needed */
    p.k.data = k;
    p.v.data = v;
    p.o.data = o;
    p.q.dtype = ATTN_F32;
    p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    p.user = &rates;

    attn_info info;
    attn_status status = attn_run_query(&my_fade, &p, &info);
    if (status != ATTN_OK) {
        printf("%s: %s\n", attn_run_status_name(status), info.text);
        return 1;
    }
    void *workspace = aligned_alloc(64, (info.workspace + 63) / 64 * 64);
    status = attn_run(&my_fade, &p, workspace, info.workspace, NULL);
    free(workspace);

    double worst = 0;
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < TOKENS; i += 19)
            worst = fmax(worst, error_of(i, h, &rates));
    printf("%s: %s, largest error %.1e\n", my_fade.name, attn_run_status_name(status), worst);
    return status != ATTN_OK || worst > 1e-5;
}
