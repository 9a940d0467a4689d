/* archive_paged.c - the archive in a server: prefill of two prompts into a paged cache, then decode, step by step.
 *
 *     cc -std=c11 -O2 docs/examples/archive_paged.c $(pkg-config --cflags --libs --static attn) -lm && ./a.out
 *
 * Two sequences share one cache of pages, in any order.  Queries are packed, as a scheduler has them.  Keys and
 * values are written into the cache by the program. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/attn.h>

enum { SEQUENCES = 2, HEADS_Q = 6, HEADS_K = 2, DIM = 64, PAGE = 16, PAGES = 20, MOST_PAGES = 10, STEPS = 8 };
enum { MOST = MOST_PAGES * PAGE };

static float k_cache[PAGES][PAGE][HEADS_K][DIM], v_cache[PAGES][PAGE][HEADS_K][DIM];
static int32_t block_table[SEQUENCES][MOST_PAGES];
static int32_t length[SEQUENCES]; /* keys in the cache */

static float q[SEQUENCES * MOST][HEADS_Q][DIM], o[SEQUENCES * MOST][HEADS_Q][DIM];

/* What a model would compute for a token; any function will do. */
static float number(int what, int sequence, int position, int head, int dim)
{
    return 2 * sinf((float)(what * 7 + sequence * 3 + position * 5 + head * 11) * 0.37f + (float)dim * 1.7f);
}

/* One more token of a sequence: K and V into its page, Q into a row. */
static void add_token(int sequence, int row)
{
    const int position = length[sequence]++;
    const int page = block_table[sequence][position / PAGE], at = position % PAGE;
    for (int d = 0; d < DIM; d++) {
        for (int h = 0; h < HEADS_K; h++) {
            k_cache[page][at][h][d] = number(1, sequence, position, h, d);
            v_cache[page][at][h][d] = number(2, sequence, position, h, d);
        }
        for (int h = 0; h < HEADS_Q; h++)
            q[row][h][d] = number(3, sequence, position, h, d);
    }
}

/* Rows of sequence n are q[first[n]] to q[first[n + 1] - 1], its newest tokens.  Returns 0 if it worked. */
static int attend(const int32_t first[SEQUENCES + 1], int longest)
{
    static void *workspace;
    static size_t workspace_bytes;
    attn_params p;
    attn_info info;
    memset(&p, 0, sizeof p);
    p.struct_size = sizeof p;
    p.device = ATTN_DEVICE_CPU; /* all of it lies in host memory */
    p.batch = SEQUENCES;
    p.heads_q = HEADS_Q;
    p.heads_k = HEADS_K;
    p.head_dim = DIM;
    p.seq_q = longest;
    p.seq_k = MOST; /* the most that the table can hold; seqused_k says how many there are */
    p.total_q = first[SEQUENCES];
    p.q.data = q;
    p.k.data = k_cache;
    p.v.data = v_cache;
    p.o.data = o;
    p.q.dtype = ATTN_F32;
    p.causal = ATTN_CAUSAL_BOTTOM_RIGHT; /* the last row sees the last key, whatever came before */
    p.cu_seqlens_q = first;
    p.seqused_k = length;
    p.page_size = PAGE;
    p.num_pages = PAGES;
    p.block_table = &block_table[0][0];
    p.block_table_stride = MOST_PAGES;

    attn_status status = attn_query(&p, &info);
    if (status == ATTN_OK && info.workspace > workspace_bytes) { /* grows a few times, then never again */
        free(workspace);
        workspace_bytes = (info.workspace + 63) / 64 * 64;
        workspace = aligned_alloc(64, workspace_bytes);
    }
    if (status == ATTN_OK)
        status = attn_forward(&p, workspace, workspace_bytes, NULL);
    if (status != ATTN_OK)
        printf("%s: %s\n", attn_status_name(status), info.text);
    return status != ATTN_OK;
}

/* The newest row of a sequence, as it is defined. */
static double error_of(int sequence, int row)
{
    double worst = 0;
    for (int h = 0; h < HEADS_Q; h++) {
        double p[MOST], sum = 0;
        const int g = h / (HEADS_Q / HEADS_K), n = length[sequence];
        for (int j = 0; j < n; j++) {
            double s = 0;
            for (int d = 0; d < DIM; d++)
                s += (double)q[row][h][d] * (double)number(1, sequence, j, g, d);
            sum += p[j] = exp(s / sqrt(DIM));
        }
        for (int d = 0; d < DIM; d++) {
            double want = 0;
            for (int j = 0; j < n; j++)
                want += p[j] / sum * (double)number(2, sequence, j, g, d);
            worst = fmax(worst, fabs(want - (double)o[row][h][d]));
        }
    }
    return worst;
}

int main(void)
{
    static const int prompt[SEQUENCES] = {37, 100};
    double worst = 0;
    for (int n = 0; n < SEQUENCES; n++)
        for (int page = 0; page < MOST_PAGES; page++)
            block_table[n][page] = (n * MOST_PAGES + page) * 7 % PAGES; /* pages lie anywhere */

    /* Prefill: all tokens of both prompts in one call. */
    int32_t first[SEQUENCES + 1] = {0};
    for (int n = 0; n < SEQUENCES; n++) {
        first[n + 1] = first[n] + prompt[n];
        for (int t = 0; t < prompt[n]; t++)
            add_token(n, first[n] + t);
    }
    if (attend(first, prompt[1]))
        return 1;
    for (int n = 0; n < SEQUENCES; n++)
        worst = fmax(worst, error_of(n, first[n + 1] - 1));

    /* Decode: one token of each sequence a call. */
    for (int step = 0; step < STEPS; step++) {
        for (int n = 0; n < SEQUENCES; n++) {
            first[n + 1] = n + 1;
            add_token(n, n);
        }
        if (attend(first, 1))
            return 1;
        for (int n = 0; n < SEQUENCES; n++)
            worst = fmax(worst, error_of(n, n));
    }
    printf("attn %s: prefill of %d and %d tokens, %d steps of decode, largest error %.1e\n", attn_version(), prompt[0],
           prompt[1], (int)STEPS, worst);
    return worst > 1e-5;
}
