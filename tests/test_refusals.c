/* test_refusals.c - what a CUDA instance refuses, with which status and words, and that nothing is written then: no
 * device, another arch, too little shared memory, rows that do not lie as they must, and, with ATTN_DEBUG, lengths and
 * page numbers out of range.  Without ATTN_DEBUG those are clamped: nothing outside of the outputs is written to.
 *
 * Built twice: for a GPU, and with ATTN_EMULATED for the emulator. */
#include <stdio.h>
#include <string.h>
#include <attn/run.h>
#include "call.h"
#include "check.h"
#include "gpu.h"
#include "header_instances.h"
#ifdef ATTN_EMULATED
#include "emu.h"
#endif

enum { BATCH = 4, QUERIES = 37, KEYS = 41, PAGE = 16, MOST = 512 };

/* A case with lengths, and one number of them spoilt. */
static const struct {
    int varlen, paged;
    const char *field;
    int index, value;
    const char *text; /* how it begins */
    int harmless;     /* without ATTN_DEBUG, too: no input is read outside of its memory */
} bad[] = {
    {VARLEN_CU_Q | VARLEN_CU_K, 0, "cu_seqlens_q", 0, -1, "cu_seqlens_q[0] -1: must be 0 to ", 1},
    {VARLEN_CU_Q | VARLEN_CU_K, 0, "cu_seqlens_q", 2, -7, "cu_seqlens_q[2] -7: must be ", 1},
    {VARLEN_CU_Q | VARLEN_CU_K, 0, "cu_seqlens_q", 4, 1000000, "cu_seqlens_q[4] 1000000: must be ", 1},
    {VARLEN_CU_Q, 0, "cu_seqlens_q", 1, INT32_MAX, "cu_seqlens_q[1] 2147483647: must be 0 to ", 1},
    {VARLEN_CU_Q, 0, "cu_seqlens_q", 1, INT32_MIN, "cu_seqlens_q[1] -2147483648: must be 0 to ", 1},
    {VARLEN_CU_K, 0, "cu_seqlens_k", 0, -1, "cu_seqlens_k[0] -1: must be at least 0", 0},
    {VARLEN_CU_K, 0, "cu_seqlens_k", 3, -5, "cu_seqlens_k[3] -5: must be ", 0},
    {VARLEN_CU_K, 0, "cu_seqlens_k", 4, 99999, "cu_seqlens_k[4] 99999: must be ", 0},
    {VARLEN_USED_Q, 0, "seqused_q", 0, 100, "seqused_q[0] 100: must be 0 to 37", 1},
    {VARLEN_USED_Q, 0, "seqused_q", 3, 100, "seqused_q[3] 100: must be 0 to 37", 1},
    {VARLEN_USED_Q, 0, "seqused_q", 3, -1, "seqused_q[3] -1: must be 0 to 37", 1},
    {VARLEN_USED_K, 0, "seqused_k", 1, 42, "seqused_k[1] 42: must be 0 to 41", 1},
    {VARLEN_USED_K, 0, "seqused_k", 2, INT32_MIN, "seqused_k[2] -2147483648: must be 0 to 41", 1},
    {VARLEN_CU_Q | VARLEN_CU_K | VARLEN_USED_K, 0, "seqused_k", 3, 1, "seqused_k[3] 1: must be 0 to 0", 1},
    {0, PAGED_TABLE, "seqused_k", 1, 42, "seqused_k[1] 42: must be 0 to 41", 0},
    {0, PAGED_TABLE, "block_table", 3 * 1 + 2, 99, "block_table[1][2] 99: must be 0 to ", 1},
    {0, PAGED_TABLE, "block_table", 3 * 1 + 0, -1, "block_table[1][0] -1: must be 0 to ", 1},
    {0, PAGED_CSR, "page_indptr", 0, -1, "page_indptr[0] -1: must be at least 0", 0},
    {0, PAGED_CSR, "page_indptr", 4, 12345, "page_indptr[4] 12345: must be ", 0},
    {0, PAGED_CSR, "page_indptr", 1, INT32_MAX, "page_indptr[1] 2147483647: must be 0 to 3", 0},
    {0, PAGED_CSR, "last_page_len", 1, 0, "last_page_len[1] 0: must be 1 to 9", 0},
    {0, PAGED_CSR, "last_page_len", 1, 10, "last_page_len[1] 10: must be 1 to 9", 0},
    {0, PAGED_CSR, "page_indices", 1, 99, "page_indices[1] 99: must be 0 to ", 1},
    {0, PAGED_CSR, "page_indices", 1, -1, "page_indices[1] -1: must be 0 to ", 1},
};

static void make(const attn_instance *t, int varlen, int paged, case_call *call)
{
    test_case c;
    case_plain(t, &c);
    c.batch = BATCH;
    c.seq_q = QUERIES;
    c.seq_k = KEYS;
    c.varlen = varlen;
    c.paged = paged;
    c.page_size = paged ? PAGE : 0;
    case_fit(t, &c);
    CHECK(!case_make(&c, 1, call));
    call->p.device = ATTN_DEVICE_CUDA;
}

static int untouched(const case_block *block)
{
    const unsigned char *bytes = block->data;
    for (size_t n = 1; n < block->bytes; n++)
        if (bytes[n] != bytes[0])
            return 0;
    return 1;
}

/* Runs p where `instance` is not to be run, and holds status, text and outputs. */
static void refused(const attn_instance *instance, case_call *call, attn_status status, const char *text)
{
    attn_info info;
    const attn_status asked = attn_list_query(&instance, 1, &call->p, &info);
    const attn_status run = attn_list_forward(&instance, 1, &call->p, NULL, 0, NULL);
    CHECK_MSG(asked == status && run == status, "%s, %s", attn_status_name(asked), attn_status_name(run));
    CHECK_MSG(strstr(info.text, text), "says: %s", info.text);
    CHECK(untouched(&call->o) && untouched(&call->lse));
}

/* Runs number n of `bad` with `value` in the spoilt place; `call` is the caller's to free. */
static void with_value(const attn_instance *t, size_t n, int value, case_call *call, attn_status want, char *text,
                       size_t size)
{
    gpu_call there;
    attn_info info;
    make(t, bad[n].varlen, bad[n].paged, call);
    attn_status status = attn_list_query(&t, 1, &call->p, &info);
    CHECK_MSG(status == ATTN_OK, "%s", info.text);
    CHECK(!gpu_open(&call->p, &there));
    if (check_failed())
        return;
    gpu_spoil(&there, bad[n].field, bad[n].index, value);
    status = gpu_run(&there, t, info.workspace, text, size);
    CHECK_MSG(status == want, "%s: %s", attn_status_name(status), text);
    char trouble[300];
    CHECK_MSG(gpu_close(&there, trouble, sizeof trouble), "%s", trouble);
}

/* Number n of `bad`, on an instance that finds it, or one that does not: a length is then the nearest one allowed. */
static void spoilt(const attn_instance *t, size_t n, int finds)
{
    case_call call, clamped;
    char text[300] = "";
    int least, most;
    with_value(t, n, bad[n].value, &call, finds ? ATTN_ERR_ARG : ATTN_OK, text, sizeof text);
    if (finds && !check_failed()) {
        CHECK_MSG(!strncmp(text, bad[n].text, strlen(bad[n].text)), "says: %s", text);
        CHECK(untouched(&call.o) && untouched(&call.lse));
    } else if (!strncmp(bad[n].field, "seqused", 7) && !check_failed()) {
        CHECK(sscanf(strstr(bad[n].text, "must be"), "must be %d to %d", &least, &most) == 2);
        with_value(t, n, bad[n].value < least ? least : most, &clamped, ATTN_OK, text, sizeof text);
        CHECK(case_same_bits(&call, clamped.o.data, clamped.lse.data));
        case_free(&clamped);
    }
    case_free(&call);
}

/* What needs a device. */
static void on_device(const attn_instance *t, const attn_device *d)
{
    case_call call;
    attn_instance other = *t;
    make(t, 0, 0, &call);
    if (check_case("%s too little shared memory", t->name)) {
        char want[100];
        other.shared = d->shared + 1;
        snprintf(want, sizeof want, "it needs %d bytes of shared memory a block, this device has %d", other.shared,
                 (int)d->shared);
        refused(&other, &call, ATTN_ERR_ARCH, want);
        other.shared = t->shared;
    }
    if (d->cc != 90 && check_case("%s another arch", t->name)) {
        other.arch = ATTN_ARCH_SM90;
        refused(&other, &call, ATTN_ERR_ARCH, "it needs compute capability 9.0, this device has ");
    }
    if (t->row_align && check_case("%s misaligned", t->name)) {
        call.p.k.data = (char *)call.p.k.data + 2;
        refused(t, &call, ATTN_ERR_UNSUPPORTED, "needs rows at a multiple of 16 bytes");
        call.p.k.data = (char *)call.p.k.data - 2;
        call.p.q.stride[3] = 2;
        call.p.q.stride[2] = 2 * t->head_dim;
        call.p.q.stride[1] = call.p.q.stride[0] = 4096;
        refused(t, &call, ATTN_ERR_UNSUPPORTED, "q.stride[3] 2");
    }
    case_free(&call);
    if (!(t->features & ATTN_HAS(VARLEN)) || !(t->features & ATTN_HAS(PAGED)))
        return;
    const int finds = header_debugs(t);
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++)
        if ((finds || bad[n].harmless) &&
            check_case("%s %s[%d] = %d%s", t->name, bad[n].field, bad[n].index, bad[n].value,
                       bad[n].varlen & VARLEN_CU_K && bad[n].varlen & VARLEN_CU_Q ? " packed" : ""))
            spoilt(t, n, finds);
}

int main(int argc, char **argv)
{
    const attn_instance *list[MOST];
    size_t listed, count = 0;
    const attn_instance *const *all = tested_instances(&listed);
    attn_device d = {0};
    char text[200];
    check_begin(argc, argv);
#ifdef ATTN_EMULATED
    emu_set.sms = 4;
#endif
    for (size_t n = 0; n < listed && count < MOST; n++) {
        const attn_instance *t = all[n];
        if (t->device && attn__attends(t) && (!t->rows || t->rows >= 2 * QUERIES))
            list[count++] = t;
    }
    for (size_t n = 0; n < count; n++) {
#ifdef ATTN_EMULATED
        emu_set.cc = list[n]->arch == ATTN_ARCH_SM90 ? 90 : 80;
        emu_set.shared_optin = emu_set.cc == 90 ? 227 << 10 : 163 << 10;
#endif
        attn_list_query_device(list, count, &d);
        if (case_executes(list[n], text, sizeof text))
            on_device(list[n], &d);
        else if (d.cc && check_case("%s", list[n]->name))
            check_skip(text);
    }
#ifdef ATTN_EMULATED
    emu_set.cc = d.cc = 0;
#endif
    for (size_t n = 0; n < count && !d.cc; n++)
        if (check_case("%s no device", list[n]->name)) {
            case_call call;
            make(list[n], 0, 0, &call);
            refused(list[n], &call, ATTN_ERR_ARCH, "there is no CUDA device");
            case_free(&call);
        }
    if (check_case("text of a finding")) {
        attn_finding f = {ATTN_CONTENT_FINE, 0, 0, 0, 0, 0};
        CHECK(attn_debug_text(NULL, text, sizeof text) == ATTN_ERR_ARG);
        CHECK(attn_debug_text(&f, NULL, 1) == ATTN_ERR_ARG);
        CHECK(attn_debug_text(&f, text, sizeof text) == ATTN_OK && !text[0]);
        f = (attn_finding){ATTN_CONTENT_BLOCK_TABLE, 1, 3, 99, 0, 4};
        CHECK(attn_debug_text(&f, text, sizeof text) == ATTN_ERR_ARG);
        CHECK_MSG(!strcmp(text, "block_table[1][3] 99: must be 0 to 4"), "%s", text);
        CHECK(attn_debug_text(&f, text, 12) == ATTN_ERR_ARG && !strcmp(text, "block_table"));
        f.content = ATTN_CONTENT_COUNT;
        CHECK(attn_debug_text(&f, text, sizeof text) == ATTN_ERR_ARG);
        CHECK_MSG(!strcmp(text, "content 9: not of a finding"), "%s", text);
    }
    return check_end();
}
