/* test_far.c - tensors that span more than 2^31 elements: no index may pass through 32 bits.
 *
 * The memory is mapped, not used: a small call's elements lie so far apart that the last one is beyond
 * 2^31 elements, and the answer must be that of the small call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/run.h>
#include "call.h"
#include "check.h"
#include "gpu.h"
#include "header_instances.h"

static const int64_t far = ((int64_t)1 << 31) + 12345;

static int on_gpu; /* the instance of the case is */

typedef struct region {
    void *data;
    size_t bytes;
} region;

static int map(region *r, int64_t bytes)
{
    r->bytes = (size_t)bytes;
    r->data = gpu_map(r->bytes, on_gpu);
    if (!r->data)
        check_skip("this much address space cannot be had");
    return r->data != NULL;
}

static void unmap(region *r)
{
    if (r->data)
        gpu_unmap(r->data, r->bytes, on_gpu);
}

static void run_and_judge(const attn_instance *t, const attn_params *p, const oracle_answer *answer)
{
    attn_info info;
    oracle_verdict verdict;
    attn_status status = run_forward(t, p, WORKSPACE_BEST, &info);
    CHECK_MSG(status == ATTN_OK, "%s: %s", attn_status_name(status), info.text);
    CHECK_MSG(status != ATTN_OK || oracle_judge(p, answer, &verdict), "%s", verdict.text);
}

/* Moves a tensor of n[4] elements to memory where dimension `dim` strides far; 0 if there is no such memory. */
static int move(attn_tensor *x, const int64_t n[4], int dim, region *to)
{
    attn_tensor from = *x;
    int64_t at[4], size = oracle_size(x->dtype), span = 1;
    x->stride[dim] = (far / (n[dim] - 1) / 64 + 1) * 64;
    for (int m = 0; m < 4; m++)
        span += (n[m] - 1) * x->stride[m];
    if (!map(to, span * size))
        return 0;
    x->data = to->data;
    for (at[0] = 0; at[0] < n[0]; at[0]++)
        for (at[1] = 0; at[1] < n[1]; at[1]++)
            for (at[2] = 0; at[2] < n[2]; at[2]++)
                for (at[3] = 0; at[3] < n[3]; at[3]++) {
                    int64_t a = 0, b = 0;
                    for (int m = 0; m < 4; m++) {
                        a += at[m] * from.stride[m];
                        b += at[m] * x->stride[m];
                    }
                    memcpy((char *)x->data + b * size, (const char *)from.data + a * size, (size_t)size);
                }
    return 1;
}

/* One tensor of a small call far apart in one dimension. */
static void far_tensor(const attn_instance *t, const test_case *c, const char *name, int dim)
{
    case_call call;
    region memory = {NULL, 0};
    CHECK(!case_make(c, check_seed(), &call));
    attn_params *p = &call.p;
    header_instance_hooks(t, &p->user);
    CHECK(!case_answer(&call, header_instance_hooks(t, &p->user)));
    int dims = *name == 'q' || *name == 'k' ? c->dim : c->dim_v,
        heads = *name == 'q' || *name == 'o' ? c->heads_q : c->heads_k;
    attn_tensor *x = *name == 'q'   ? &p->q
                     : *name == 'k' ? &p->k
                     : *name == 'v' ? &p->v
                     : *name == 'o' ? &p->o
                                    : &p->bias;
    int64_t n[4] = {c->batch, *name == 'q' || *name == 'o' ? c->seq_q : c->seq_k, heads, dims};
    if (*name == 'b') {
        const int64_t scores[4] = {c->batch, c->heads_q, c->seq_q, c->seq_k};
        memcpy(n, scores, sizeof n);
    }
    if (n[dim] > 1 && move(x, n, dim, &memory)) {
        run_and_judge(t, p, &call.answer);
        unmap(&memory);
    }
    case_free(&call);
}

static void far_lse(const attn_instance *t, const test_case *c)
{
    case_call call;
    region memory;
    CHECK(!case_make(c, check_seed(), &call));
    CHECK(!case_answer(&call, header_instance_hooks(t, &call.p.user)));
    call.p.lse_stride[0] = (far / 64 + 1) * 64;
    call.p.lse_stride[1] = c->seq_q;
    if (map(&memory, (call.p.lse_stride[0] * (c->batch - 1) + c->heads_q * c->seq_q) * 4)) {
        call.p.lse = memory.data;
        run_and_judge(t, &call.p, &call.answer);
        unmap(&memory);
    }
    case_free(&call);
}

/* A cache of few pages in use, the last of them beyond 2^31 elements. */
static void far_pages(const attn_instance *t, const test_case *base, int form)
{
    test_case c = *base;
    case_call call;
    region k = {NULL, 0}, v = {NULL, 0};
    c.paged = form;
    c.page_size = 2;
    c.pages = PAGES_NHD;
    CHECK(!case_make(&c, check_seed(), &call));
    CHECK(!case_answer(&call, header_instance_hooks(t, &call.p.user)));
    int64_t nk[4] = {call.p.num_pages, c.page_size, c.heads_k, c.dim}, nv[4] = {nk[0], nk[1], nk[2], c.dim_v};
    if (move(&call.p.k, nk, 0, &k) && move(&call.p.v, nv, 0, &v))
        run_and_judge(t, &call.p, &call.answer);
    unmap(&k);
    unmap(&v);
    case_free(&call);
}

/* A packed cache whose second sequence begins beyond 2^31 elements. */
static void far_packed(const attn_instance *t, const test_case *base)
{
    test_case c = *base;
    case_call call;
    region k = {NULL, 0}, v = {NULL, 0};
    c.batch = 2;
    c.varlen = VARLEN_CU_K | VARLEN_USED_K;
    CHECK(!case_make(&c, check_seed(), &call));
    CHECK(!case_answer(&call, header_instance_hooks(t, &call.p.user)));
    int64_t row_k = (int64_t)c.heads_k * c.dim, row_v = (int64_t)c.heads_k * c.dim_v, size = oracle_size(c.kv_dtype);
    int32_t first = (int32_t)(far / (row_k < row_v ? row_k : row_v) + 1);
    int32_t place[3] = {0, first, first + c.seq_k + 2};
    const int32_t *old = call.p.cu_seqlens_k;
    if (map(&k, place[2] * row_k * size) && map(&v, place[2] * row_v * size)) {
        for (int b = 0; b < 2; b++) {
            memcpy((char *)k.data + place[b] * row_k * size, (char *)call.p.k.data + old[b] * row_k * size,
                   (size_t)(call.p.seqused_k[b] * row_k * size));
            memcpy((char *)v.data + place[b] * row_v * size, (char *)call.p.v.data + old[b] * row_v * size,
                   (size_t)(call.p.seqused_k[b] * row_v * size));
        }
        call.p.k.data = k.data;
        call.p.v.data = v.data;
        call.p.cu_seqlens_k = place;
        call.p.seq_k = first;
        run_and_judge(t, &call.p, &call.answer);
    }
    unmap(&k);
    unmap(&v);
    case_free(&call);
}

static void on_instance(const attn_instance *t)
{
    static const char *const tensors[] = {"q", "k", "v", "o", "bias"}, *const dims[] = {"batch", "token", "head",
                                                                                        "dim"};
    test_case c;
    on_gpu = t->device != NULL;
    case_plain(t, &c);
    c.batch = c.heads_k = 2;
    c.heads_q *= 2;
    c.lse = LSE_PADDED;
    c.o_dtype = ATTN_F32;
    c.q_layout = c.k_layout = c.v_layout = c.o_layout = LAYOUT_BSHD;
    for (int n = 0; n < 4; n++)
        for (int dim = 0; dim < 4 - (t->row_align && n < 3); dim++) /* aligned rows have their dims side by side */
            if (check_case("%s %s far apart by %s", t->name, tensors[n], dims[dim]))
                far_tensor(t, &c, tensors[n], dim);
    if (check_case("%s lse far apart by batch", t->name))
        far_lse(t, &c);
    if (t->features & ATTN_HAS(BIAS)) {
        test_case with = c;
        with.bias = ATTN_F32;
        for (int dim = 0; dim < 3; dim++)
            if (check_case("%s bias far apart by %d", t->name, dim))
                far_tensor(t, &with, "bias", dim);
    }
    c.k_layout = c.v_layout = LAYOUT_DEFAULT;
    for (int form = PAGED_TABLE; form <= PAGED_CSR && t->features & ATTN_HAS(PAGED); form++)
        if (check_case("%s pages far apart, %s", t->name, form == PAGED_CSR ? "csr" : "table"))
            far_pages(t, &c, form);
    if (t->features & ATTN_HAS(VARLEN) && check_case("%s packed far apart", t->name))
        far_packed(t, &c);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    size_t count;
    const attn_instance *const *list = tested_instances(&count);
    for (size_t m = 0; m < count && sizeof(void *) > 4; m++) {
        const attn_instance *t = list[m];
        char reason[300];
        if (!attn__attends(t) || t->kernel == ATTN_KERNEL_MLA) /* its v cannot be moved by itself */
            continue;
        if (case_executes(t, reason, sizeof reason))
            on_instance(t);
        else if (check_case("%s", t->name))
            check_skip(reason);
    }
    return check_end();
}
