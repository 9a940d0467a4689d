/* test_modes.c - instances in a user's own file: beside the archive with an equal name, two in one file, with user
 * macros; and no parameter is left after the include. */
#include "check.h"

#include <attn/run.h>

#include <math.h>
#include <string.h>

/* The name and parameters of an instance that the archive has too. */
#ifndef TEST_NAME
#define TEST_NAME attn_forward_cpu_f32_dany_q192k128_all
#endif
#define TEST_STR_(a) #a
#define TEST_STR(a) TEST_STR_(a)

#define ATTN_NAME        TEST_NAME
#define ATTN_KERNEL      ATTN_KERNEL_FORWARD
#define ATTN_ARCH        ATTN_ARCH_CPU
#define ATTN_DTYPE       ATTN_F32
#define ATTN_HEAD_DIM    0
#define ATTN_CAUSAL      1
#define ATTN_WINDOW      1
#define ATTN_CHUNK       1
#define ATTN_SINK_TOKENS 1
#define ATTN_SINK_LOGITS 1
#define ATTN_SOFTCAP     1
#define ATTN_ALIBI       1
#define ATTN_BIAS        1
#define ATTN_BOOL_MASK   1
#define ATTN_VARLEN      1
#define ATTN_PAGED       1
#define ATTN_ROPE        1
#include <attn/attn.h>

#if defined(ATTN_NAME) || defined(ATTN_KERNEL) || defined(ATTN_ARCH) || defined(ATTN_DTYPE) || \
    defined(ATTN_KV_DTYPE) || defined(ATTN_HEAD_DIM) || defined(ATTN_HEAD_DIM_V) || defined(ATTN_GQA) || \
    defined(ATTN_CAUSAL) || defined(ATTN_WINDOW) || defined(ATTN_CHUNK) || defined(ATTN_SINK_TOKENS) || \
    defined(ATTN_SINK_LOGITS) || defined(ATTN_SOFTCAP) || defined(ATTN_ALIBI) || defined(ATTN_BIAS) || \
    defined(ATTN_BOOL_MASK) || defined(ATTN_VARLEN) || defined(ATTN_PAGED) || defined(ATTN_SCALED) || \
    defined(ATTN_ROPE) || defined(ATTN_TILE_Q) || defined(ATTN_TILE_K) || defined(ATTN_EXPORT) || defined(ATTN_FN)
#error "a parameter is left after the instance"
#endif

/* The same file, another instance: fixed head dim, user macros. */
typedef struct modes_user {
    float slope;
    int period;
} modes_user;

#define ATTN_NAME     modes_hooks
#define ATTN_KERNEL   ATTN_KERNEL_FORWARD
#define ATTN_ARCH     ATTN_ARCH_NATIVE
#define ATTN_DTYPE    ATTN_F32
#define ATTN_HEAD_DIM 16
#define ATTN_TILE_Q   8
#define ATTN_TILE_K   32
#define ATTN_USER     modes_user
#define ATTN_SCORE_MOD(s, b, h, q, k) ((s) + user->slope * (float)((h) + 1) * (float)((q) - (k)))
#define ATTN_MASK(b, h, q, k)         (((q) + (k)) % user->period != 0)
#include <attn/attn.h>

#if defined(ATTN_USER) || defined(ATTN_SCORE_MOD) || defined(ATTN_MASK)
#error "a user macro is left after the instance"
#endif

/* A third, that has nothing but what must be. */
#define ATTN_NAME     modes_plain
#define ATTN_KERNEL   ATTN_KERNEL_FORWARD
#define ATTN_ARCH     ATTN_ARCH_CPU
#define ATTN_DTYPE    ATTN_F32
#define ATTN_HEAD_DIM 16
#include <attn/attn.h>

enum { HEADS = 2, SEQ_Q = 5, SEQ_K = 43, DIM = 16 };

static float q[SEQ_Q * HEADS * DIM], k[SEQ_K * HEADS * DIM], v[SEQ_K * HEADS * DIM];
static float first[SEQ_Q * HEADS * DIM], second[SEQ_Q * HEADS * DIM];
static union {
    double align;
    char bytes[1 << 22];
} memory;

static attn_params params(float *o)
{
    attn_params p;
    memset(&p, 0, sizeof p);
    p.struct_size = sizeof p;
    p.batch = 1;
    p.heads_q = p.heads_k = HEADS;
    p.head_dim = DIM;
    p.seq_q = SEQ_Q;
    p.seq_k = SEQ_K;
    p.q.data = q;
    p.k.data = k;
    p.v.data = v;
    p.o.data = o;
    p.q.dtype = ATTN_F32;
    p.threads = 1;
    return p;
}

static attn_status go(const attn_instance *instance, const attn_params *p)
{
    char *at = memory.bytes + (64 - (uintptr_t)memory.bytes % 64) % 64;
    return attn_run(instance, p, at, sizeof memory - 64, NULL);
}

/* The largest difference of o from attention in double, with the user macros if user is not NULL. */
static double difference(const float *o, const modes_user *user)
{
    double worst = 0;
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < SEQ_Q; i++) {
            double weight[SEQ_K], sum = 0;
            for (int j = 0; j < SEQ_K; j++) {
                int at = i + SEQ_K - SEQ_Q;
                double s = 0;
                for (int d = 0; d < DIM; d++)
                    s += (double)q[(i * HEADS + h) * DIM + d] * (double)k[(j * HEADS + h) * DIM + d];
                s *= 0.25;
                if (user)
                    s += (double)user->slope * (h + 1) * (at - j);
                weight[j] = user && (at + j) % user->period == 0 ? 0 : exp(s);
                sum += weight[j];
            }
            for (int d = 0; d < DIM; d++) {
                double want = 0;
                for (int j = 0; j < SEQ_K; j++)
                    want += weight[j] / sum * (double)v[(j * HEADS + h) * DIM + d];
                worst = fmax(worst, fabs(want - (double)o[(i * HEADS + h) * DIM + d]));
            }
        }
    return worst;
}

int main(int argc, char **argv)
{
    const modes_user user = { -0.125f, 3 };
    const attn_instance *archived = NULL;
    const attn_instance *const mine[] = { &modes_plain, &TEST_NAME };
    attn_info info;
    size_t n;
    check_begin(argc, argv);
    uint64_t state = check_seed();
    for (int i = 0; i < SEQ_Q * HEADS * DIM; i++)
        q[i] = (float)check_normal(&state);
    for (int i = 0; i < SEQ_K * HEADS * DIM; i++) {
        k[i] = (float)check_normal(&state);
        v[i] = (float)check_normal(&state);
    }
    const attn_instance *const *list = attn_instances(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i]->name, TEST_STR(TEST_NAME)))
            archived = list[i];

    if (check_case("modes: an instance of the archive's name in one's own file")) {
        attn_params p = params(first);
        if (!archived)
            check_skip("the archive has no " TEST_STR(TEST_NAME));
        else {
            CHECK(archived != &TEST_NAME && archived->launch != (TEST_NAME).launch);
            CHECK(!strcmp(archived->name, (TEST_NAME).name) && archived->features == (TEST_NAME).features);
            CHECK(go(archived, &p) == ATTN_OK);
            p.o.data = second;
            CHECK(go(&TEST_NAME, &p) == ATTN_OK);
            CHECK(difference(first, NULL) < 1e-5 && difference(second, NULL) < 1e-5);
        }
    }
    if (check_case("modes: descriptors say what was defined")) {
        CHECK(!strcmp(modes_hooks.name, "modes_hooks") && modes_hooks.user == 3 && modes_hooks.features == 0);
        CHECK(modes_hooks.head_dim == 16 && modes_hooks.head_dim_v == 16 && modes_hooks.tile_k == 32);
        CHECK(modes_hooks.arch == ATTN_ARCH_NATIVE && modes_hooks.kernel == ATTN_KERNEL_FORWARD);
        CHECK(modes_plain.user == 0 && modes_plain.gqa == 0 && modes_plain.kv_dtype == ATTN_F32);
        CHECK((TEST_NAME).features == (2 * ATTN_HAS(PAGED) - 1) + ATTN_HAS(ROPE) && (TEST_NAME).head_dim == 0);
    }
    if (check_case("modes: user macros change the score and hide keys")) {
        attn_params p = params(first);
        p.user = &user;
        CHECK(go(&modes_hooks, &p) == ATTN_OK);
        CHECK_MSG(difference(first, &user) < 1e-5, "off by %g", difference(first, &user));
    }
    if (check_case("modes: a list of one's own")) {
        attn_params p = params(first);
        CHECK(attn_list_query(mine, 2, &p, &info) == ATTN_OK && info.instance == &modes_plain);
        CHECK(go(info.instance, &p) == ATTN_OK);
        CHECK(difference(first, NULL) < 1e-5);
        p.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
        CHECK(attn_list_query(mine, 2, &p, &info) == ATTN_OK && info.instance == &TEST_NAME);
    }
    if (check_case("modes: the archive's functions")) {
        static const char *version =
            TEST_STR(ATTN_VERSION_MAJOR) "." TEST_STR(ATTN_VERSION_MINOR) "." TEST_STR(ATTN_VERSION_PATCH);
        attn_params p = params(first);
        char buf[512];
        float slopes[4];
        attn_merge_params m;
        memset(&m, 0, sizeof m);
        CHECK(n > 0 && list == attn_instances(NULL));
        CHECK(attn_query(&p, &info) == attn_explain(&p, buf, sizeof buf));
        CHECK(!info.instance || strstr(buf, info.instance->name));
        CHECK(attn_forward(NULL, NULL, 0, NULL) == ATTN_ERR_ARG);
        CHECK(attn_merge(&m, NULL) == ATTN_ERR_ARG);
        attn_device device;
        CHECK(attn_query_device(NULL) == ATTN_ERR_ARG);
        CHECK(attn_query_device(&device) == (device.cc ? ATTN_OK : ATTN_ERR_ARCH));
        CHECK(attn_recommended_tile(NULL) == attn_recommended_tile(&device));
        device.l2 = 50 << 20;
        CHECK(attn_recommended_tile(&device) == 256);
        CHECK(attn_alibi_slopes(slopes, 4, ATTN_ALIBI_PRESS) == ATTN_OK && slopes[3] == 0.00390625f);
        CHECK(!strcmp(attn_status_name(ATTN_ERR_ARCH), "ATTN_ERR_ARCH"));
        CHECK(!strcmp(attn_version(), version));
    }
    return check_end();
}
