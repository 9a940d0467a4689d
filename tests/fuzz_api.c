/* fuzz_api.c - the API on inputs made from bytes: never a crash, never a read or write outside, and
 * query, explain and forward always say the same.
 *
 * Two programs from this file:
 *   with -DATTN_FUZZ and clang -fsanitize=fuzzer,address,undefined: a libFuzzer target
 *   without: a test that tries pseudo-random inputs (--count, --seed), best built with ASan and UBSan
 *
 * An input is read as one of two kinds.  Wild: its bytes are the struct, pointers too, so the call is only asked
 * about (attn_query and attn_explain read no memory but the struct).  Built: a call with real buffers of just the
 * right size in random layouts, whose other fields are random: whatever is accepted is run. */
#include <attn/run.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef ATTN_FUZZ
#define REQUIRE(cond) ((cond) ? (void)0 : fail(#cond))
static void fail(const char *what)
{
    fprintf(stderr, "not true: %s\n", what);
    abort();
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
#else
#include "check.h"
#define REQUIRE(cond) CHECK(cond)
#endif

/* ---- bytes as decisions ------------------------------------------------------------------------ */

static const uint8_t *input;
static size_t input_left;

/* After the last byte all is 0: the simplest choice everywhere. */
static uint8_t byte(void)
{
    if (!input_left)
        return 0;
    input_left--;
    return *input++;
}

static uint32_t word(void)
{
    uint32_t w = byte();
    w |= (uint32_t)byte() << 8;
    w |= (uint32_t)byte() << 16;
    return w | (uint32_t)byte() << 24;
}

static int range(int least, int most)
{
    return least + (int)(byte() % (unsigned)(most - least + 1));
}

/* One time in n. */
static int rarely(int n)
{
    return byte() % (unsigned)n == 1;
}

/* ---- memory ------------------------------------------------------------------------------------ */

static void *owned[96];
static int owned_count;

static void *take(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory)
        abort();
    return owned[owned_count++] = memory;
}

static void give_back(void)
{
    while (owned_count)
        free(owned[--owned_count]);
}

/* Numbers of mixed size, some of them not finite. */
static void fill(void *to, size_t bytes)
{
    uint32_t state = word() | 1, wild = rarely(4) ? ~0u : 0xbf7fbf7fu; /* |x| < 1 in f32, < 1.9 in f16, < 1 in bf16 */
    unsigned char *at = (unsigned char *)to;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525u + 1013904223u;
        at[i] = (unsigned char)((state >> 24) & (wild >> (i % 4 * 8)));
    }
}

static size_t size_of(int32_t dtype) /* 1 of int4: more than it needs */
{
    return dtype == ATTN_F32 ? 4 : dtype == ATTN_F16 || dtype == ATTN_BF16 ? 2 : 1;
}

/* Memory for extents n in a random layout, as small as it can be. */
static void tensor(attn_tensor *x, int32_t dtype, const int64_t *n, int output, int packed)
{
    int order[4] = { 0, 1, 2, 3 }, kind = range(0, 5), block = 0;
    int64_t stride[4], low = 0, high = 0, step = 1, total = 1;
    for (int i = 0; i < 4; i++)
        total *= n[i];
    for (int i = 3; i > 0 && kind >= 2; i--) { /* any order of the dimensions */
        int j = range(0, i), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    if (kind == 5 && !output && n[3] % 2 == 0)
        block = n[3] % 8 ? 2 : 8;
    for (int i = 3; i >= 0; i--) {
        int d = order[i];
        int64_t extent = d == 3 && block ? n[3] / block : n[d];
        stride[d] = step * (block ? block : 1);
        if (kind == 3)
            step += range(0, 3);
        step *= extent > 0 ? extent : 1;
        if (kind == 4 && rarely(3))
            stride[d] = -stride[d];
        if (kind == 4 && !output && d < 3 && rarely(4))
            stride[d] = 0;
    }
    if (packed)
        stride[0] = 0;
    for (int d = 0; d < 4; d++) {
        int64_t extent = d == 3 && block ? n[3] / block : n[d], reach = extent > 0 ? (extent - 1) * stride[d] : 0;
        low += reach < 0 ? reach : 0;
        high += reach > 0 ? reach : 0;
    }
    size_t count = total ? (size_t)(high - low + 1 + (block ? block - 1 : 0)) : 0;
    char *memory = (char *)take(count * size_of(dtype));
    fill(memory, count * size_of(dtype));
    x->data = memory - (total ? low : 0) * (int64_t)size_of(dtype);
    x->dtype = dtype;
    x->dim_block = block;
    if (kind) /* 0: compact, unsaid */
        memcpy(x->stride, stride, sizeof stride);
}

/* Of the tensor, of sequences, or of each token of n[batch or page, token, head, dim]. */
static void scales(attn_scale *s, const int64_t *n, int64_t batch, int packed)
{
    static const int32_t sizes[] = { 0, 32, 64, 128 };
    int kind = range(0, 2);
    s->group = kind == 2 ? sizes[range(0, 3)] : 0;
    int64_t groups = s->group ? (n[3] + s->group - 1) / s->group : 1, count = 1;
    if (kind == 1) {
        s->stride[2] = 1;
        s->stride[0] = n[2];
        count = batch * n[2];
    } else if (kind == 2) {
        s->stride[3] = 1;
        s->stride[2] = groups;
        s->stride[1] = groups * n[2];
        s->stride[0] = packed ? 0 : groups * n[2] * n[1];
        count = groups * n[2] * n[1] * n[0];
    }
    fill(*(void **)(void *)&s->scale = take((size_t)(count + 1) * 4), (size_t)count * 4);
    if (rarely(3))
        fill(*(void **)(void *)&s->zero = take((size_t)(count + 1) * 4), (size_t)count * 4);
}

static int32_t *lengths(int n, int most)
{
    int32_t *to = (int32_t *)take((size_t)n * sizeof *to);
    for (int i = 0; i < n; i++)
        to[i] = range(0, most < 255 ? most : 255);
    return to;
}

/* ---- a call with real memory ------------------------------------------------------------------- */

static void build(attn_params *p)
{
    static const int dims[] = { 1, 3, 8, 16, 20, 40, 64, 72 };
    static const int32_t types[] = { ATTN_F32, ATTN_F16, ATTN_BF16 };
    int32_t q_type = types[range(0, 2)], kv_type = rarely(8) ? types[range(0, 2)] : q_type;
    if (rarely(3))
        kv_type = ATTN_E4M3 + range(0, 3);
    int cu_q = rarely(4), cu_k = rarely(4), pages = !cu_k && rarely(3), rows, keys;
    memset(p, 0, sizeof *p);
    p->struct_size = sizeof *p;
    p->device = ATTN_DEVICE_CPU;
    p->batch = range(0, 3);
    p->heads_k = range(1, 3);
    p->heads_q = p->heads_k * range(1, 5);
    p->head_dim = dims[range(0, 7)];
    p->head_dim_v = rarely(3) ? dims[range(0, 7)] : p->head_dim;
    p->seq_q = rarely(6) ? range(30, 250) : range(0, 20);
    p->seq_k = rarely(4) ? range(60, 255) : range(0, 40);
    rows = p->seq_q;
    keys = p->seq_k;

    int64_t n_q[4] = { p->batch, rows, p->heads_q, p->head_dim }, n_o[4] = { p->batch, rows, p->heads_q, 0 },
            n_k[4] = { p->batch, keys, p->heads_k, p->head_dim };
    if (cu_q) {
        int32_t *cu = lengths(p->batch + 1, rows);
        for (int b = p->batch; b > 0; b--)
            cu[b] = cu[b - 1];
        cu[0] = 0;
        for (int b = 0; b < p->batch; b++)
            cu[b + 1] += cu[b];
        p->cu_seqlens_q = cu;
        n_q[0] = n_o[0] = 1;
        n_q[1] = n_o[1] = p->total_q = cu[p->batch];
    } else if (rarely(4)) {
        p->seqused_q = lengths(p->batch, rows);
    }
    if (cu_k) {
        int32_t *cu = lengths(p->batch + 1, keys);
        for (int b = p->batch; b > 0; b--)
            cu[b] = cu[b - 1];
        cu[0] = 0;
        for (int b = 0; b < p->batch; b++)
            cu[b + 1] += cu[b];
        p->cu_seqlens_k = cu;
        n_k[0] = 1;
        n_k[1] = cu[p->batch];
    } else if (pages) {
        int csr = rarely(2), entries = 0, most;
        int32_t *used = lengths(p->batch, keys), *table, *indptr;
        p->page_size = rarely(2) ? 16 : range(1, 20);
        p->num_pages = range(1, 9);
        most = (keys + p->page_size - 1) / p->page_size;
        table = lengths(p->batch * most, p->num_pages - 1);
        indptr = (int32_t *)take((size_t)(p->batch + 1) * sizeof *indptr);
        indptr[0] = 0;
        for (int b = 0; b < p->batch; b++)
            indptr[b + 1] = entries += (used[b] + p->page_size - 1) / p->page_size;
        if (csr) {
            for (int b = 0; b < p->batch; b++)
                used[b] = used[b] ? (used[b] - 1) % p->page_size + 1 : 0;
            p->page_indptr = indptr;
            p->page_indices = table;
            p->last_page_len = used;
        } else {
            p->block_table = table;
            p->seqused_k = used;
        }
        n_k[0] = p->num_pages;
        n_k[1] = p->page_size;
        if (rarely(2))
            p->num_pages = 0;
    } else if (rarely(4)) {
        p->seqused_k = lengths(p->batch, keys);
    }

    int64_t n_v[4] = { n_k[0], n_k[1], n_k[2], p->head_dim_v }, grid[4] = { p->batch, p->heads_q, rows, keys };
    n_o[3] = p->head_dim_v;
    tensor(&p->q, q_type, n_q, 0, cu_q);
    tensor(&p->k, kv_type, n_k, 0, cu_k);
    tensor(&p->v, kv_type, n_v, 0, cu_k);
    if (kv_type > ATTN_BF16 && rarely(2)) {
        scales(&p->k_scale, n_k, p->batch, cu_k);
        scales(&p->v_scale, n_v, p->batch, cu_k);
    }
    if (rarely(4)) {
        p->rope_style = range(0, 2);
        if (p->rope_style && rarely(2))
            p->rope_offset = lengths(p->batch, 255);
    }
    tensor(&p->o, rarely(4) ? types[range(0, 2)] : q_type, n_o, 1, cu_q);
    if (rarely(2))
        p->lse = (float *)take((size_t)(n_o[0] * n_o[1] * n_o[2]) * sizeof(float));
    if (rarely(6)) {
        size_t bytes = (size_t)(grid[0] * grid[1] * grid[2] * grid[3]) * size_of(q_type);
        fill(p->bias.data = take(bytes), bytes);
        p->bias.dtype = q_type;
    }
    if (rarely(6)) {
        int bit = rarely(2);
        size_t row = (size_t)(bit ? (keys + 7) / 8 : keys), bytes = (size_t)(grid[0] * grid[1] * grid[2]) * row;
        fill(p->mask.data = take(bytes), bytes);
        p->mask.dtype = bit ? ATTN_BIT : ATTN_BOOL;
    }
    if (rarely(5))
        fill(*(void **)(void *)&p->alibi_slopes = take((size_t)p->heads_q * 4), (size_t)p->heads_q * 4);
    if (rarely(5))
        fill(*(void **)(void *)&p->sink_logits = take((size_t)p->heads_q * 4), (size_t)p->heads_q * 4);

    p->causal = range(0, 2);
    if (rarely(3)) {
        p->window = 1;
        p->window_left = range(-1, 40);
        p->window_right = range(-1, 40);
    }
    p->chunk = rarely(5) ? range(1, 50) : 0;
    p->sink_tokens = rarely(5) ? range(0, 9) : 0;
    p->threads = range(0, 2);
    p->num_splits = rarely(4) ? range(0, 9) : 0;
    p->split_size = !p->num_splits && rarely(4) ? range(0, 200) : 0;
    p->flags = rarely(3) ? byte() & ATTN_FLAGS_ALL : 0;
}

/* Fields that may be anything without making an accepted call unsafe. */
static void spoil(attn_params *p)
{
    int32_t *const ints[] = {
        &p->causal,       &p->window,       &p->window_left,       &p->window_right,       &p->chunk,
        &p->sink_tokens,  &p->num_splits,   &p->split_size,        &p->rope_style,         &p->rope_dim,
        &p->q_scale.group, &p->k_scale.reserved, &p->schedule.tile_q, &p->schedule.tile_k, (int32_t *)&p->flags,
        &p->o.dim_block,  &p->device,
    };
    float *const floats[] = { &p->scale, &p->softcap, &p->dropout_p, &p->rope_base };
    static const uint32_t edges[] = { 0, 1, 2, 0x7fffffffu, 0x80000000u, 0xffffffffu, 0x7f800000u, 0x7fc00000u };
    for (int n = range(0, 2); n > 0; n--) {
        uint32_t value = rarely(2) ? edges[range(0, 7)] : rarely(2) ? byte() : word();
        if (rarely(2))
            memcpy(floats[range(0, 3)], &value, 4);
        else
            memcpy(ints[range(0, (int)(sizeof ints / sizeof ints[0]) - 1)], &value, 4);
    }
}

/* ---- what must hold ---------------------------------------------------------------------------- */

/* The archive's list, or its tail: so that not only its first instances are run. */
static const attn_instance *const *list;
static size_t list_count;

static attn_status ask(const attn_params *p, attn_info *info)
{
    char text[2048];
    memset(info, 0x55, sizeof *info);
    memset(text, 0x55, sizeof text);
    list = attn_instances(&list_count);
    size_t first = rarely(2) ? (size_t)range(0, (int)list_count - 1) : 0;
    list += first;
    list_count -= first;
    attn_status status = attn_list_query(list, list_count, p, info),
                again = attn_list_explain(list, list_count, p, text, sizeof text);
    REQUIRE(status == again);
    if (!first) {
        attn_info same;
        REQUIRE(attn_query(p, &same) == status && same.instance == info->instance);
        REQUIRE(attn_explain(p, text, sizeof text) == status);
    }
    REQUIRE(status == ATTN_OK || status == ATTN_ERR_ARG || status == ATTN_ERR_UNSUPPORTED || status == ATTN_ERR_ARCH);
    REQUIRE(memchr(info->text, 0, sizeof info->text) && memchr(text, 0, sizeof text));
    REQUIRE((status == ATTN_OK) == (info->instance != NULL));
    REQUIRE((status == ATTN_OK) == (info->text[0] == 0));
    REQUIRE(info->workspace >= info->workspace_least);
    attn_list_explain(list, list_count, p, text, byte());
    return status;
}

static void wild(void)
{
    union {
        attn_params p;
        unsigned char bytes[sizeof(attn_params) + 64];
    } given;
    attn_info info;
    attn_params start;
    int keep = rarely(2); /* bytes that are 0 leave a good call as it is */
    memset(&given, 0, sizeof given);
    build(&start);
    if (keep)
        given.p = start;
    for (size_t i = 0; i < sizeof given && input_left; i++) {
        uint8_t skip = keep ? byte() : 0;
        i += skip & 127u;
        if (i < sizeof given)
            given.bytes[i] = byte();
    }
    if (given.p.struct_size > sizeof given || rarely(2))
        given.p.struct_size = sizeof(attn_params);
    ask(&given.p, &info);
}

static void built(void)
{
    attn_params p;
    attn_info info;
    char *memory, *at;
    build(&p);
    spoil(&p);
    attn_status status = ask(&p, &info);
    if (status == ATTN_OK && info.instance->device) /* the memory is the host's */
        return;
    if (status != ATTN_OK) {
        REQUIRE(attn_list_forward(list, list_count, &p, NULL, 0, NULL) == status);
        return;
    }
    size_t bytes = rarely(2) ? info.workspace_least : info.workspace;
    memory = (char *)take(bytes + 64);
    at = memory + (64 - (uintptr_t)memory % 64) % 64;
    REQUIRE(attn_list_forward(list, list_count, &p, at, bytes, NULL) == ATTN_OK);
    if (info.workspace_least) {
        REQUIRE(attn_list_forward(list, list_count, &p, NULL, bytes, NULL) == ATTN_ERR_WORKSPACE);
        REQUIRE(attn_list_forward(list, list_count, &p, at, info.workspace_least - 1, NULL) == ATTN_ERR_WORKSPACE);
    }
}

/* A call of attn_append_kv with real memory; some fields are not what they should be. */
static void appended(void)
{
    attn_params p;
    attn_append_params a;
    char text[400];
    build(&p);
    if (rarely(2))
        spoil(&p);
    memset(&a, 0, sizeof a);
    a.struct_size = sizeof a;
    a.flags = rarely(3) ? ATTN_APPEND_SCALES : 0;
    const int64_t rows = p.cu_seqlens_q ? p.total_q : p.seq_q, first = p.cu_seqlens_q ? 1 : p.batch;
    const int64_t n_k[4] = { first, rows, p.heads_k, p.head_dim }, n_v[4] = { first, rows, p.heads_k, p.head_dim_v },
                  n_q[4] = { first, rows, p.heads_q, p.head_dim };
    const int packed = p.cu_seqlens_q != NULL;
    if (!rarely(5))
        tensor(&a.k, ATTN_F32 + range(0, 2), n_k, rarely(9) ? 0 : 1, packed);
    if (!rarely(5))
        tensor(&a.v, ATTN_F32 + range(0, 2), n_v, 1, packed);
    if (rarely(3))
        tensor(&a.q, ATTN_F32 + range(0, 2), n_q, 1, packed);
    p.device = rarely(3) ? p.device : ATTN_DEVICE_CPU;
    attn_status status = attn_append_explain(&p, &a, text, sizeof text);
    REQUIRE(memchr(text, 0, sizeof text) && text[0]);
    REQUIRE(status == ATTN_OK || status == ATTN_ERR_ARG || status == ATTN_ERR_UNSUPPORTED || status == ATTN_ERR_ARCH);
    if (p.device != ATTN_DEVICE_CPU && status == ATTN_OK) /* the memory is the host's */
        return;
    attn_status again = attn_append_kv(&p, &a, NULL);
    REQUIRE(again == status || (status == ATTN_OK && again == ATTN_ERR_ARG)); /* lengths may be wrong */
}

static void one_input(const uint8_t *data, size_t size)
{
    input = data;
    input_left = size;
    if (rarely(6))
        appended();
    else if (rarely(4))
        wild();
    else
        built();
    give_back();
}

#ifdef ATTN_FUZZ
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    one_input(data, size);
    return 0;
}
#else
int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (int n = 0; n < check_count(2000); n++) {
        uint8_t data[512];
        uint64_t state = check_seed() * 1000003 + (uint64_t)n;
        if (!check_case("fuzz: input %d", n))
            continue;
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)(check_rand(&state) >> 32);
        one_input(data, (size_t)check_range(&state, 0, sizeof data));
    }
    return check_end();
}
#endif
