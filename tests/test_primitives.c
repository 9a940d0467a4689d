/* test_primitives.c - each device function against a plain definition, on the emulator and on a GPU.
 *
 * A case is one call of a kernel of primitives.cuh with random inputs, and what must come out.  It is run by the
 * emulator under several schedules and landings, and, where this program was built with nvcc and there is a GPU, by
 * that; so the two agree bit for bit wherever the function is exact.  Products are exact because their inputs are small
 * integers; each kind also has a case of random numbers with a tolerance.  --filter 'cuda tma' and the like run a part.
 * C11. */
#include "check.h"
#include "emu/emu.h"
#include "primitives.h"

#include <attn/device/convert.h>
#include <attn/param.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef PRIM_CUDA
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static uint64_t state; /* of the case's random numbers */

/* ---- running ---------------------------------------------------------------------------------------- */

/* The call in words, for the text of a failure. */
static const char *call_text(const prim_call *c)
{
    static const char *const names[] = {
#define X(name, cc) #name,
        PRIM_KERNELS(X)
#undef X
    };
    static const char *const types[] = {"", "f32", "f16", "bf16", "8-bit"};
    static char text[800];
    const prim_tensor *m = &c->map;
    size_t n = 0;
#define SAY(...) (n += (size_t)snprintf(text + n, n < sizeof text ? sizeof text - n : 0, __VA_ARGS__))
    if (c->kernel < PRIM_wgmma)
        SAY("prim_%s", names[c->kernel]);
    else
        SAY("prim_wgmma_%d", 8 * (c->kernel - PRIM_wgmma + 1));
    SAY(", grid %d, cluster %d, threads %d, shared %d, in %zu, out %zu bytes, p", c->grid, c->cluster, c->threads,
        c->shared, c->in_bytes, c->out_bytes);
    for (int i = 0; i < PRIM_NUMBERS; i++)
        SAY(" %d", c->p[i]);
    if (m->rank) {
        SAY(", map of %s, %s, swizzle %d, extent/stride/box", m->of_out ? "out" : "in", types[m->type], m->swizzle);
        for (int i = 0; i < m->rank; i++)
            SAY(" %lld/%lld/%d", (long long)m->extent[i], (long long)m->stride[i], m->box[i]);
    }
#undef SAY
    return text;
}

/* Word i of the result against the one that is wanted; `slack` has an error for each, or is NULL: equal bits.  Where a
 * wrong word is the one that is wanted at one other place alone, that place is told: it shows a wrong layout. */
static void compare(const prim_call *c, const uint32_t *got, const uint32_t *want, const float *slack,
                    const char *under)
{
    const size_t words = c->out_bytes / 4;
    size_t wrong = 0;
    for (size_t i = 0; i < words; i++) {
        float g, w;
        memcpy(&g, &got[i], 4);
        memcpy(&w, &want[i], 4);
        if (got[i] == want[i] || (slack && slack[i] > 0 && (fabsf(g - w) <= slack[i] || (isnan(g) && isnan(w)))))
            continue;
        if (wrong++ >= 6)
            continue;
        if (wrong == 1)
            check_fail(__FILE__, __LINE__, "%s: %s", under, call_text(c));
        size_t places = 0, place = 0;
        for (size_t k = 0; k < words; k++)
            if (want[k] == got[i])
                places++, place = k;
        char elsewhere[60] = "";
        if (places == 1)
            snprintf(elsewhere, sizeof elsewhere, "; belongs to word %zu", place);
        check_fail(__FILE__, __LINE__, "word %zu is %#x (%g), must be %#x (%g)%s", i, got[i], (double)g, want[i],
                   (double)w, elsewhere);
    }
    if (wrong)
        check_fail(__FILE__, __LINE__, "%zu of %zu words are wrong", wrong, words);
}

#ifdef PRIM_CUDA
static const int kernel_cc[] = {
#define X(name, cc) cc,
    PRIM_KERNELS(X)
#undef X
};

/* A fault of a kernel spoils CUDA for the process, and a kernel may wait for ever.  So a child makes the calls, and
 * another one takes its place after either.  This process never calls CUDA: its children could not use it then. */
static struct desk {
    int cc, error;
    char error_text[200];
    prim_call call;
    unsigned char data[16 << 20]; /* in, then out */
} *desk; /* both see it */
static struct {
    pid_t pid; /* 0: none */
    int ask, answer;
} child;

static size_t out_at(const prim_call *c)
{
    return (c->in_bytes + 15) / 16 * 16;
}

static void child_serve(int ask, int answer)
{
    char token = 0;
    desk->cc = prim_cuda_device();
    while (write(answer, &token, 1) == 1 && read(ask, &token, 1) == 1) {
        prim_call call = desk->call;
        call.in = desk->data;
        call.out = desk->data + out_at(&call);
        desk->error = prim_run_cuda(&call);
        snprintf(desk->error_text, sizeof desk->error_text, "%s", prim_error_cuda(desk->error));
    }
}

/* 0: the child has died, or is silent for so long. */
static int child_answers(int seconds)
{
    struct pollfd wait = {.fd = child.answer, .events = POLLIN};
    char token;
    return poll(&wait, 1, 1000 * seconds) == 1 && read(child.answer, &token, 1) == 1;
}

static void child_end(void)
{
    if (!child.pid)
        return;
    kill(child.pid, SIGKILL);
    waitpid(child.pid, NULL, 0);
    close(child.ask);
    close(child.answer);
    child.pid = 0;
}

/* A child that waits for a call, and has said in desk->cc what device there is; 0: it cannot be had. */
static int child_ready(void)
{
    int ask[2], answer[2];
    if (child.pid)
        return 1;
    if (!desk) {
        desk = mmap(NULL, sizeof *desk, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (desk == MAP_FAILED)
            abort();
        signal(SIGPIPE, SIG_IGN);
        atexit(child_end);
    }
    if (pipe(ask) || pipe(answer))
        abort();
    fflush(NULL);
    child.pid = fork();
    if (child.pid < 0)
        abort();
    if (child.pid == 0) {
        close(ask[1]);
        close(answer[0]);
        child_serve(ask[0], answer[1]);
        _exit(0);
    }
    close(ask[0]);
    close(answer[1]);
    child.ask = ask[1];
    child.answer = answer[0];
    if (child_answers(60))
        return 1;
    child_end();
    return 0;
}

static void run_cuda(const prim_call *c, const char *what, const void *want, const float *slack)
{
    enum { DEATHS_MOST = 6 }; /* of a kernel; each costs a second, or ten */
    static int deaths[PRIM_wgmma + 1];
    const int needs = c->kernel >= PRIM_wgmma ? 90 : kernel_cc[c->kernel];
    int *died = &deaths[c->kernel >= PRIM_wgmma ? PRIM_wgmma : c->kernel];
    if (!check_case("cuda %s", what))
        return;
    if (*died >= DEATHS_MOST) {
        check_skip("its kernel has faulted too often");
        return;
    }
    if (!child_ready()) {
        CHECK_MSG(0, "CUDA does not start");
        return;
    }
    if (desk->cc < needs || (needs == 90 && desk->cc != 90)) {
        check_skip(desk->cc ? "another compute capability" : "no CUDA device");
        return;
    }
    if (out_at(c) + c->out_bytes > sizeof desk->data)
        abort();
    desk->call = *c;
    memcpy(desk->data, c->in, c->in_bytes);
    memcpy(desk->data + out_at(c), c->out, c->out_bytes);
    if (write(child.ask, "", 1) != 1 || !child_answers(10)) {
        CHECK_MSG(0, "%s", call_text(c));
        CHECK_MSG(0, "no answer: the kernel waits for ever, or the process has died");
        child_end();
        *died = DEATHS_MOST;
    } else if (desk->error) {
        CHECK_MSG(0, "%s", call_text(c));
        CHECK_MSG(0, "error %d: %s", desk->error, desk->error_text);
        child_end();
        ++*died;
    } else {
        compare(c, (const uint32_t *)(const void *)(desk->data + out_at(c)), want, slack, "GPU");
    }
}
#endif

/* `combinations` of schedule and landing: 9 are all, 3 each of both. */
static void run_emulated(const prim_call *c, const char *what, const void *want, const float *slack, int combinations)
{
    static int rotate;
    if (!check_case("emulated %s", what))
        return;
    const emu_options kept = emu_set;
    prim_call call = *c;
    call.out = malloc(c->out_bytes);
    for (int n = 0; n < combinations && !check_failed(); n++) {
        char under[100];
        emu_set.landing = n % 3;
        emu_set.schedule = combinations == 9 ? n / 3 : (n + rotate) % 3;
        emu_set.resident = 1 + rotate % 3;
        emu_set.seed = check_seed() + (uint64_t)rotate++;
        snprintf(under, sizeof under, "schedule %d, landing %d, %d resident, seed %llu", emu_set.schedule,
                 emu_set.landing, emu_set.resident, (unsigned long long)emu_set.seed);
        memcpy(call.out, c->out, c->out_bytes);
        emu_forget();
        const int e = prim_run_emulated(&call);
        CHECK_MSG(!e, "error %d: %s", e, emu_report());
        if (!e)
            compare(c, call.out, want, slack, under);
    }
    emu_set = kept;
    free(call.out);
}

static void run(const prim_call *c, const char *what, const void *want, const float *slack, int combinations)
{
    run_emulated(c, what, want, slack, combinations);
#ifdef PRIM_CUDA
    run_cuda(c, what, want, slack);
#endif
}

static void *zeros(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p)
        abort();
    return p;
}

/* ---- numbers ---------------------------------------------------------------------------------------- */

static int type_size(int type)
{
    return type == ATTN_F32 ? 4 : type == ATTN_F16 || type == ATTN_BF16 ? 2 : 1;
}

/* An 8-bit float. */
static float small_value(unsigned byte, int type)
{
    const int bits = type == ATTN_E4M3 ? 3 : 2, bias = type == ATTN_E4M3 ? 7 : 15;
    const int exponent = (int)(byte & 0x7f) >> bits, fraction = (int)byte & ((1 << bits) - 1);
    const float x = exponent ? ldexpf(1.0f + (float)fraction / (float)(1 << bits), exponent - bias)
                             : ldexpf((float)fraction / (float)(1 << bits), 1 - bias);
    if (type == ATTN_E4M3 ? (byte & 0x7f) == 0x7f : exponent == 31)
        return NAN;
    return byte & 0x80 ? -x : x;
}

/* The nearest number of the type, stored at p; answers what it is. */
static float put(void *p, int type, float x)
{
    if (type == ATTN_F32) {
        memcpy(p, &x, 4);
        return x;
    }
    if (type == ATTN_F16 || type == ATTN_BF16) {
        const uint16_t h = type == ATTN_F16 ? attn__f32_to_f16(x) : attn__f32_to_bf16(x);
        memcpy(p, &h, 2);
        return type == ATTN_F16 ? attn__f16_to_f32(h) : attn__bf16_to_f32(h);
    }
    if (type == ATTN_INT8) {
        *(int8_t *)p = (int8_t)x;
        return (float)*(int8_t *)p;
    }
    static float table[2][256];
    float *value = table[type == ATTN_E5M2];
    unsigned best = 0;
    for (unsigned b = 0; b < 256 && value[1] == 0; b++)
        value[255 - b] = small_value(255 - b, type); /* 1 after all others but 0 */
    for (unsigned b = 0; b < 256; b++)
        if (fabsf(value[b] - x) < fabsf(value[best] - x))
            best = b;
    *(uint8_t *)p = (uint8_t)best;
    return value[best];
}

static float any_number(int whole)
{
    return whole ? (float)check_range(&state, -4, 4) : (float)check_normal(&state);
}

static void fill(void *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)p)[i] = (uint8_t)check_rand(&state);
}

/* ---- any GPU ---------------------------------------------------------------------------------------- */

static float packed(int type, float x)
{
    uint16_t h = 0x7fff;
    if (!isnan(x))
        put(&h, type, x);
    return (float)h;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static void test_math(void)
{
    enum { COUNT = 512, WORDS = 16 };
    static const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1.0f, -1.0f, 0x1p-130f, 126.9f, -126.0f,
                                    65504.0f, 65519.0f, 65520.0f, 0x1p-24f, 0x1p-25f, 3.4e38f, 1.00390625f, 0.625f};
    enum { SPECIAL = sizeof special / sizeof special[0] };
    float *in = zeros(8 * COUNT), *slack = zeros(4 * WORDS * COUNT);
    uint32_t *want = zeros(4 * WORDS * COUNT), *out = zeros(4 * WORDS * COUNT);
    for (int i = 0; i < COUNT; i++) {
        const double scale = exp(check_normal(&state) * 2);
        const float x = i < SPECIAL ? special[i] : (float)(scale * check_normal(&state));
        const float y = i < SPECIAL ? special[SPECIAL - 1 - i] : (float)(scale * check_normal(&state));
        uint32_t *w = want + WORDS * i;
        float *s = slack + WORDS * i;
        in[2 * i] = x;
        in[2 * i + 1] = y;
        const float flushed = fabsf(x) < 0x1p-126f ? 0.0f : x;
        float power = exp2f(x), logarithm = log2f(flushed);
        if (power < 0x1p-126f)
            power = 0;
        w[0] = bits_of(power);
        s[0] = isinf(power) ? 0 : power * 0x1p-21f + 0x1p-126f;
        w[1] = bits_of(logarithm);
        s[1] = isinf(logarithm) ? 0 : 0x1p-21f * (1 + fabsf(logarithm));
        w[2] = w[10] = bits_of(tanhf(x));
        s[2] = 0x1p-20f;
        s[10] = 0x1p-20f * fabsf(tanhf(x)) + 0x1p-126f;
        float inverse = 1 / copysignf(flushed, x);
        if (fabsf(inverse) < 0x1p-126f)
            inverse = copysignf(0, x);
        w[11] = bits_of(inverse);
        s[11] = isinf(inverse) ? 0 : fabsf(inverse) * 0x1p-22f + 0x1p-126f;
        const float root = 1 / sqrtf(copysignf(flushed, x));
        w[12] = bits_of(root);
        s[12] = isinf(root) ? 0 : root * 0x1p-21f;
        const float near = x > -2 && x < 2 ? x : 0;
        w[13] = bits_of(tanhf(near / 4));
        s[13] = 0x1p-20f * fabsf(tanhf(near / 4)) + 0x1p-126f;
        w[14] = (bits_of(x) & 0xffffu) | bits_of(y) << 16;
        w[15] = bits_of(x) >> 16 | (bits_of(y) & 0xffff0000u);
        w[3] = bits_of(isnan(x) || y > x ? y : x);
        s[3] = x == y ? 1e-30f : 0; /* the sign of a zero */
        for (int type = ATTN_F16; type <= ATTN_BF16; type++) {
            const uint32_t low = (uint32_t)packed(type, x), high = (uint32_t)packed(type, y);
            const int n = type == ATTN_F16 ? 0 : 1;
            w[4 + n] = low | high << 16;
            w[6 + 2 * n] = bits_of(n ? attn__bf16_to_f32((uint16_t)low) : attn__f16_to_f32((uint16_t)low));
            w[7 + 2 * n] = bits_of(n ? attn__bf16_to_f32((uint16_t)high) : attn__f16_to_f32((uint16_t)high));
        }
        for (int n = 0; n < WORDS; n++)
            if (isnan(attn__f32_from_bits(w[n])) && n != 4 && n != 5 && n < 14)
                s[n] = 1; /* any NaN */
    }
    const prim_call c = {.kernel = PRIM_math, .grid = COUNT / 128, .threads = 128, .in = in, .in_bytes = 8 * COUNT,
                         .out = out, .out_bytes = 4 * WORDS * COUNT};
    run(&c, "math", want, slack, 3);
    free(in), free(slack), free(want), free(out);
}

static void test_warp(void)
{
    float in[128], want[128][6], out[128][6] = {{0}};
    for (int mask = 0; mask < 32; mask += 5) {
        char name[32];
        for (int i = 0; i < 128; i++)
            in[i] = (float)check_range(&state, i < 64 ? -9 : 3, i < 32 ? 3 : 9);
        for (int i = 0; i < 128; i++) {
            const int warp = i & ~31;
            int any = 0;
            for (int l = 0; l < 32; l++)
                any |= in[warp + l] > 3;
            want[i][0] = (float)(i & 31);
            want[i][1] = in[warp + ((i & 31) ^ mask)];
            want[i][2] = want[i][3] = in[warp + mask];
            want[i][4] = (float)any;
            want[i][5] = i < 64 ? 0 : in[i - 64];
        }
        snprintf(name, sizeof name, "warp %d", mask);
        const prim_call c = {.kernel = PRIM_warp, .grid = 1, .threads = 128, .shared = 512, .p = {mask}, .in = in,
                             .in_bytes = sizeof in, .out = out, .out_bytes = sizeof out};
        run(&c, name, want, NULL, 9);
    }
}

static void test_copy(void)
{
    uint8_t in[2048], want[6656] = {0}, out[6656] = {0};
    fill(in, sizeof in);
    for (int i = 0; i < 128; i++)
        memcpy(want + 16 * i, in + 16 * i, (size_t)(i % 9 * 2));
    memcpy(want + 2048, in, 2048);
    for (int i = 0; i < 128; i++)
        memcpy(want + 4096 + 4 * i, in + 4 * i, i % 3 ? 4 : 0);
    memcpy(want + 4608, in + 48, 2000);
    memcpy(want + 6608, in, 48);
    const prim_call c = {.kernel = PRIM_copy, .grid = 1, .threads = 128, .shared = 4096, .p = {48}, .in = in,
                         .in_bytes = sizeof in, .out = out, .out_bytes = sizeof out};
    run(&c, "copy", want, NULL, 9);
}

/* ---- numbers of 8 and 4 bits ------------------------------------------------------------------------- */

/* Number n of a word. */
static float narrow_number(int type, uint32_t x, int n)
{
    const uint8_t byte = (uint8_t)(x >> 8 * (n & 3));
    return type == ATTN_E4M3   ? attn__e4m3_to_f32(byte)
           : type == ATTN_E5M2 ? attn__e5m2_to_f32(byte)
           : type == ATTN_INT8 ? (float)(int8_t)byte
                               : attn__int4_to_f32((uint8_t)(x >> 4 * n), 0);
}

static void test_narrow(void)
{
    enum { COUNT = 256 };
    uint32_t in[COUNT];
    float *want = zeros(96 * COUNT), *slack = zeros(96 * COUNT), *out = zeros(96 * COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        float *w = want + 24 * i;
        in[i] = i | (255 - i) << 8 | (i * 7 & 255) << 16 | ((uint32_t)check_rand(&state) & 255) << 24;
        for (int type = ATTN_E4M3, at = 0; type <= ATTN_INT4; type++) {
            const int per = type == ATTN_INT4 ? 4 : 2;
            for (int n = 0; n < 2 * per; n++, at++)
                w[at] = narrow_number(type, in[i], n / 2 % per + n % 2 * per);
        }
        for (int n = 0; n < 2; n++) {
            const float x = narrow_number(ATTN_INT8, in[i], 2 * n);
            w[20 + n] = x + (n ? 1 : 3);
            w[22 + n] = n ? x + 4 : x * 3 + 1;
        }
        for (int n = 0; n < 24; n++)
            slack[24 * i + (uint32_t)n] = isnan(w[n]) ? 1 : 0;
    }
    const prim_call c = {.kernel = PRIM_narrow, .grid = COUNT / 128, .threads = 128, .in = in, .in_bytes = sizeof in,
                         .out = out, .out_bytes = 96 * COUNT};
    run(&c, "narrow", want, slack, 3);
    free(want), free(slack), free(out);
}

/* ---- mma, ldmatrix, stmatrix ------------------------------------------------------------------------- */

static const struct mma {
    const char *name;
    int kernel, number, type, k;
} mmas[] = {
    {"f16 k8", PRIM_mma_k8, 0, ATTN_F16, 8}, {"f16", PRIM_mma, 0, ATTN_F16, 16},
    {"bf16", PRIM_mma, 1, ATTN_BF16, 16},    {"tf32", PRIM_mma, 2, ATTN_F32, 8},
    {"s8", PRIM_mma, 3, ATTN_INT8, 32},      {"e4m3", PRIM_mma_8bit, 0, ATTN_E4M3, 32},
    {"e5m2", PRIM_mma_8bit, 1, ATTN_E5M2, 32},
};

static void test_mma(const struct mma *m, int whole)
{
    char name[64];
    static double a[16][32], b[8][32]; /* B by columns */
    uint32_t in[32][10], want[32][4], out[32][4] = {{0}};
    float slack[32][4];
    const int size = m->type == ATTN_INT8 ? 1 : type_size(m->type), per = 4 / size, both = m->k / (4 * per);
    memset(in, 0, sizeof in);
    for (int l = 0; l < 32; l++) {
        for (int i = 0; i < 2 * both; i++)
            for (int e = 0; e < per; e++) {
                char *at = (char *)&in[l][4 + i] + e * size;
                float x = any_number(whole);
                if (m->type == ATTN_INT8)
                    x = (float)check_range(&state, -128, 127);
                else if (m->type == ATTN_F32) /* a tf32: the lower bits are not read */
                    x = attn__f32_from_bits(bits_of(x) & ~0x1fffu);
                a[l / 4 + 8 * (i & 1)][per * (l % 4) + e + 4 * per * (i >> 1)] = put(at, m->type, x);
                if (m->type == ATTN_F32 && whole)
                    in[l][4 + i] |= (uint32_t)check_rand(&state) & 0x1fff;
            }
        for (int i = 0; i < both; i++)
            for (int e = 0; e < per; e++) {
                char *at = (char *)&in[l][8 + i] + e * size;
                float x = any_number(whole);
                if (m->type == ATTN_INT8)
                    x = (float)check_range(&state, -128, 127);
                else if (m->type == ATTN_F32)
                    x = attn__f32_from_bits(bits_of(x) & ~0x1fffu);
                b[l / 4][per * (l % 4) + e + 4 * per * i] = put(at, m->type, x);
            }
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            const int row = l / 4 + 8 * (i >> 1), column = 2 * (l % 4) + (i & 1);
            double sum = 0, size_of_sum = 0;
            for (int k = 0; k < m->k; k++) {
                sum += a[row][k] * b[column][k];
                size_of_sum += fabs(a[row][k] * b[column][k]);
            }
            if (m->type == ATTN_INT8) {
                in[l][i] = (uint32_t)check_rand(&state);
                want[l][i] = in[l][i] + (uint32_t)(int32_t)sum;
                slack[l][i] = 0;
                continue;
            }
            const float before = 10 * any_number(whole);
            memcpy(&in[l][i], &before, 4);
            want[l][i] = bits_of((float)(before + sum));
            slack[l][i] = whole ? 0 : (float)(size_of_sum + fabsf(before)) * (size == 1 ? 0x1p-11f : 0x1p-20f);
        }
    snprintf(name, sizeof name, "mma %s, %s", m->name, whole ? "exact" : "randn");
    const prim_call c = {.kernel = m->kernel, .grid = 1, .threads = 32, .p = {m->number}, .in = in,
                         .in_bytes = sizeof in, .out = out, .out_bytes = sizeof out};
    run(&c, name, want, &slack[0][0], 3);
}

static void test_matrix(int store, int trans)
{
    char name[64];
    uint16_t rows[4][8][8]; /* in shared memory */
    uint32_t lanes[32][4], out[128] = {0};
    fill(rows, sizeof rows);
    for (int l = 0; l < 32; l++)
        for (int m = 0; m < 4; m++) {
            const int r = l / 4, c = 2 * (l % 4);
            lanes[l][m] = trans ? rows[m][c][r] | (uint32_t)rows[m][c + 1][r] << 16
                                : rows[m][r][c] | (uint32_t)rows[m][r][c + 1] << 16;
        }
    snprintf(name, sizeof name, "%smatrix%s", store ? "st" : "ld",
             trans == 2 ? " in registers" : trans ? " trans" : "");
    const prim_call c = {.kernel = store ? PRIM_stmatrix : PRIM_ldmatrix, .grid = 1, .threads = 32, .shared = 512,
                         .p = {trans}, .in = store ? (void *)lanes : (void *)rows, .in_bytes = 512, .out = out,
                         .out_bytes = 512};
    run(&c, name, store ? (void *)rows : (void *)lanes, NULL, 9);
}

/* ---- mbarrier, TMA, clusters ------------------------------------------------------------------------- */

static void test_mbarrier(int how)
{
    static const char *const hows[] = {"stores", "cp.async", "bulk copies"};
    enum { TIMES = 11 };
    char name[64];
    uint32_t in[TIMES * 128], want[TIMES * 128], out[TIMES * 128] = {0};
    for (int i = 0; i < TIMES * 128; i++)
        want[i] = 1 + (in[i] = (uint32_t)check_rand(&state));
    snprintf(name, sizeof name, "mbarrier, %s", hows[how]);
    const prim_call c = {.kernel = PRIM_mbarrier, .grid = 1, .threads = 160, .shared = 1024 + 32, .p = {TIMES, how},
                         .in = in, .in_bytes = sizeof in, .out = out, .out_bytes = sizeof out};
    run(&c, name, want, NULL, 9);
}

static size_t swizzled(size_t x, int swizzle)
{
    return swizzle ? x ^ ((x >> 7 & (size_t)(swizzle / 16 - 1)) << 4) : x;
}

/* A random tensor with room for it, and a box in it, which starts at a multiple of 16 bytes of dimension 0. */
typedef struct tensor {
    prim_tensor map;
    int at[5], rows;     /* where the box is; rows of box[0] elements */
    size_t bytes, box_bytes;
    int landing; /* where in shared memory */
} tensor;

/* below: the box may start before the tensor, as a load's may. */
static tensor random_tensor(int rank, int type, int swizzle, int below)
{
    tensor t = {.map = {.type = type, .rank = rank, .swizzle = swizzle}, .rows = 1};
    const int size = type_size(type), unit = 16 / size;
    int order[5] = {0, 1, 2, 3, 4}, stride;
    t.map.box[0] = swizzle ? swizzle / size : unit * check_range(&state, 1, 8);
    t.map.extent[0] = check_range(&state, 1, 2 * t.map.box[0]);
    for (int i = 1; i < rank; i++) {
        t.map.box[i] = check_range(&state, 1, rank == 2 ? 40 : rank == 3 ? 9 : 4);
        t.map.extent[i] = check_range(&state, 1, 2 * t.map.box[i]);
        t.rows *= t.map.box[i];
        const int other = check_range(&state, 1, i);
        const int kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    /* Dimensions may lie in any order, and with gaps. */
    stride = ((int)t.map.extent[0] + unit - 1) / unit * unit + unit * check_range(&state, 0, 2);
    t.map.stride[0] = 1;
    for (int i = 1; i < rank; i++) {
        t.map.stride[order[i]] = stride;
        stride = stride * (int)t.map.extent[order[i]] + unit * check_range(&state, 0, 2);
    }
    for (int i = 0; i < rank; i++)
        t.at[i] = check_range(&state, 0, 3) ? check_range(&state, 0, (int)t.map.extent[i] - 1)
                                            : check_range(&state, below ? -t.map.box[i] : 0, (int)t.map.extent[i] + 2);
    t.at[0] = t.at[0] / unit * unit;
    t.bytes = (size_t)stride * (size_t)size;
    t.box_bytes = (size_t)t.rows * (size_t)t.map.box[0] * (size_t)size;
    t.landing = 128 * check_range(&state, 0, 7);
    return t;
}

/* Byte offset in the tensor of element `i` of row `row` of the box, or -1. */
static long element_at(const tensor *t, int row, int i)
{
    int64_t at = t->at[0] + i;
    if (at < 0 || at >= t->map.extent[0])
        return -1;
    for (int d = 1; d < t->map.rank; row /= t->map.box[d++]) {
        const int64_t x = t->at[d] + row % t->map.box[d];
        if (x < 0 || x >= t->map.extent[d])
            return -1;
        at += x * t->map.stride[d];
    }
    return (long)at * type_size(t->map.type);
}

/* Where it is in the box's shared memory. */
static size_t element_in_box(const tensor *t, int row, int i)
{
    const size_t linear = (size_t)(row * t->map.box[0] + i) * (size_t)type_size(t->map.type);
    return swizzled((size_t)t->landing + linear, t->map.swizzle) - (size_t)t->landing;
}

static prim_call box_call(const tensor *t, int kernel)
{
    prim_call c = {.kernel = kernel, .grid = 1, .threads = 64, .map = t->map};
    c.p[0] = t->map.rank;
    for (int i = 0; i < t->map.rank; i++)
        c.p[1 + i] = t->at[i];
    c.p[6] = (int)t->box_bytes;
    c.p[7] = t->landing;
    c.shared = t->landing + (int)t->box_bytes + 8;
    return c;
}

static const char *name_of(char *name, size_t size, const char *what, const tensor *t, int n)
{
    static const char *const types[] = {"", "f32", "f16", "bf16", "8-bit"};
    snprintf(name, size, "%s %dd %s, swizzle %d, %d", what, t->map.rank, types[t->map.type], t->map.swizzle, n);
    return name;
}

static void test_load(int rank, int type, int swizzle, int n)
{
    char name[80];
    const tensor t = random_tensor(rank, type, swizzle, 1);
    uint8_t *in = zeros(t.bytes), *want = zeros(t.box_bytes), *out = zeros(t.box_bytes);
    fill(in, t.bytes);
    for (int row = 0; row < t.rows; row++)
        for (int i = 0; i < t.map.box[0]; i++)
            if (element_at(&t, row, i) >= 0)
                memcpy(want + element_in_box(&t, row, i), in + element_at(&t, row, i), (size_t)type_size(type));
    prim_call c = box_call(&t, PRIM_tma_load);
    c.in = in, c.in_bytes = t.bytes, c.out = out, c.out_bytes = t.box_bytes;
    run(&c, name_of(name, sizeof name, "tma load", &t, n), want, NULL, 3);

    /* The same box into some blocks of a cluster. */
    const int cluster = 2 << check_range(&state, 0, 2), blocks = check_range(&state, 1, (1 << cluster) - 1);
    uint8_t *many = zeros(t.box_bytes * (size_t)cluster), *wanted = zeros(t.box_bytes * (size_t)cluster);
    tensor low = t;
    low.landing = 0;
    memset(want, 0, t.box_bytes);
    for (int row = 0; row < t.rows; row++)
        for (int i = 0; i < t.map.box[0]; i++)
            if (element_at(&t, row, i) >= 0)
                memcpy(want + element_in_box(&low, row, i), in + element_at(&t, row, i), (size_t)type_size(type));
    for (int i = 0; i < cluster; i++)
        if (blocks >> i & 1)
            memcpy(wanted + t.box_bytes * (size_t)i, want, t.box_bytes);
    c = box_call(&low, PRIM_spread);
    c.in = in, c.in_bytes = t.bytes, c.out = many, c.out_bytes = t.box_bytes * (size_t)cluster;
    c.grid = c.cluster = cluster;
    c.p[8] = check_range(&state, 0, cluster - 1);
    c.p[9] = blocks;
    run(&c, name_of(name, sizeof name, "tma spread", &t, n), wanted, NULL, 3);
    free(in), free(want), free(out), free(many), free(wanted);
}

/* `ragged`: dimension 0 is no multiple of 16 bytes, and is written up to the next one. */
static void test_store(int rank, int type, int swizzle, int add, int ragged, int n)
{
    char name[80];
    tensor t = random_tensor(rank, type, swizzle, 0);
    const int unit = 16 / type_size(type);
    t.map.extent[0] = (t.map.extent[0] + unit - 1) / unit * unit;
    t.map.of_out = 1;
    uint8_t *in = zeros(t.box_bytes), *want = zeros(t.bytes), *out = zeros(t.bytes);
    const size_t size = (size_t)type_size(type);
    if (add) {
        for (size_t i = 0; i < t.box_bytes; i += size)
            put(in + i, type, any_number(1));
        for (size_t i = 0; i < t.bytes; i += size)
            put(out + i, type, any_number(1));
    } else {
        fill(in, t.box_bytes);
        fill(out, t.bytes);
    }
    memcpy(want, out, t.bytes);
    for (int row = 0; row < t.rows; row++)
        for (int i = 0; i < t.map.box[0]; i++) {
            const long at = element_at(&t, row, i);
            const uint8_t *from = in + element_in_box(&t, row, i);
            if (at < 0)
                continue;
            if (!add) {
                memcpy(want + at, from, size);
                continue;
            }
            float x, y;
            uint16_t h;
            memcpy(&h, from, 2);
            memcpy(&x, from, 4 < size ? 4 : size);
            x = type == ATTN_F16 ? attn__f16_to_f32(h) : type == ATTN_BF16 ? attn__bf16_to_f32(h) : x;
            memcpy(&h, want + at, 2);
            memcpy(&y, want + at, size);
            y = type == ATTN_F16 ? attn__f16_to_f32(h) : type == ATTN_BF16 ? attn__bf16_to_f32(h) : y;
            put(want + at, type, x + y);
        }
    prim_call c = box_call(&t, PRIM_tma_store);
    c.p[8] = add;
    c.in = in, c.in_bytes = t.box_bytes, c.out = out, c.out_bytes = t.bytes;
    if (ragged)
        c.map.extent[0] -= check_range(&state, 1, unit - 1);
    name_of(name, sizeof name, ragged ? add ? "tma ragged add" : "tma ragged store" : add ? "tma add" : "tma store", &t,
            n);
    run(&c, name, want, NULL, 3);
    free(in), free(want), free(out);
}

static void test_bulk(int count)
{
    char name[32];
    float *in = zeros(4 * (size_t)count), *out = zeros(8 * (size_t)count), *want = zeros(8 * (size_t)count);
    for (int i = 0; i < count; i++) {
        want[i] = in[i] = any_number(1);
        out[count + i] = any_number(1);
        want[count + i] = out[count + i] + in[i];
    }
    snprintf(name, sizeof name, "bulk %d", 4 * count);
    const prim_call c = {.kernel = PRIM_bulk, .grid = 1, .threads = 64, .shared = 4 * count + 8, .p = {4 * count},
                         .in = in, .in_bytes = 4 * (size_t)count, .out = out, .out_bytes = 8 * (size_t)count};
    run(&c, name, want, NULL, 9);
    free(in), free(out), free(want);
}

static void test_cluster(int size)
{
    char name[32];
    const int blocks = 2 * size;
    float in[16][64], want[16][64], out[16][64] = {{0}};
    for (int b = 0; b < blocks; b++)
        for (int i = 0; i < 64; i++)
            in[b][i] = (float)check_normal(&state);
    for (int b = 0; b < blocks; b++) {
        const int rank = b % size, before = b - rank + (rank ? rank - 1 : size - 1);
        memcpy(want[b], in[before], sizeof want[b]);
        want[b][60] = (float)rank;
        want[b][61] = (float)size;
        want[b][62] = want[b][63] = 0;
    }
    snprintf(name, sizeof name, "cluster of %d", size);
    const prim_call c = {.kernel = PRIM_cluster, .grid = blocks, .cluster = size, .threads = 64, .shared = 1024,
                         .in = in, .in_bytes = (size_t)blocks * 256, .out = out, .out_bytes = (size_t)blocks * 256};
    run(&c, name, want, NULL, 9);
}

static void test_after(int n)
{
    char name[32];
    uint32_t want[1024], out[1024], in[1] = {0};
    for (int i = 0; i < 1024; i++) {
        want[i] = out[i] = (uint32_t)check_rand(&state);
        for (int k = 0; k < 2 * n; k++)
            want[i] = want[i] * 5 + 1;
    }
    snprintf(name, sizeof name, "early launch %d", n);
    const prim_call c = {.kernel = PRIM_after, .grid = 16, .threads = 64, .p = {n}, .in = in, .in_bytes = 4, .out = out,
                         .out_bytes = sizeof out};
    run(&c, name, want, NULL, 3);
}

static void test_registers(void)
{
    float in[544], want[384], out[384] = {0};
    for (int i = 0; i < 544; i++)
        in[i] = (float)check_range(&state, 0, 3);
    for (int t = 0; t < 384; t++) {
        want[t] = t < 128 ? in[t] : 0;
        for (int i = 0; i < 160 && t >= 128; i++)
            want[t] += in[t + i] * (float)(i % 3 + (int)in[t + 159 - i]);
    }
    const prim_call c = {.kernel = PRIM_registers, .grid = 2, .threads = 384, .in = in, .in_bytes = sizeof in,
                         .out = out, .out_bytes = sizeof out};
    run(&c, "registers", want, NULL, 3);
}

/* ---- wgmma ------------------------------------------------------------------------------------------- */

/* As primitives_wgmma.cuh numbers them. */
static const struct product {
    int type, a_major, b_major; /* a_major -1: from registers */
} products[] = {
    {ATTN_BF16, 0, 0}, {ATTN_BF16, 0, 1}, {ATTN_BF16, -1, 0}, {ATTN_BF16, -1, 1}, {ATTN_BF16, 1, 0}, {ATTN_BF16, 1, 1},
    {ATTN_F16, 0, 0},  {ATTN_F16, 0, 1},  {ATTN_F16, 1, 0},   {ATTN_F16, 1, 1},   {ATTN_F16, -1, 0}, {ATTN_F16, -1, 1},
    {ATTN_E4M3, 0, 0}, {ATTN_E5M2, 0, 0}, {ATTN_E4M3, -1, 0}, {ATTN_E5M2, -1, 0},
};

/* An operand of `rows` m (n) and two steps, 64 bytes, of k. */
typedef struct operand {
    int rows, major, swizzle, size; /* size of an element */
    int start, lead, stride, step, bytes;
} operand;

static operand operand_make(int rows, int major, int swizzle, int size, int start)
{
    operand o = {rows, major, swizzle, size, start, 16, 8 * swizzle, 32, 0};
    const int panels = major && swizzle ? (rows * 2 + swizzle - 1) / swizzle : 1;
    if (!major && swizzle) {
        o.step = swizzle == 32 ? rows * 32 : 32;
        o.bytes = rows * (swizzle == 32 ? 64 : swizzle);
        if (swizzle == 128 && check_range(&state, 0, 1))
            o.start += 64; /* the second half of the rows */
    } else if (swizzle) {
        o.lead = 32 * swizzle;
        o.step = 16 * swizzle;
        o.bytes = panels * 32 * swizzle;
    } else {
        o.lead = rows * 16;
        o.stride = 128;
        o.step = 2 * o.lead;
        o.bytes = rows * 64;
    }
    return o;
}

static size_t operand_at(const operand *o, int mn, int k)
{
    const int s = o->swizzle, kb = k * o->size;
    int x;
    if (!o->major && s)
        x = o->start + kb / 32 * o->step + mn * s + kb % 32;
    else if (s)
        x = o->start + mn * 2 / s * o->lead + k * s + mn * 2 % s;
    else if (!o->major)
        x = o->start + kb / 16 * o->lead + mn / 8 * 128 + mn % 8 * 16 + kb % 16;
    else
        x = o->start + k / 8 * o->lead + mn / 8 * 128 + k % 8 * 16 + mn % 8 * 2;
    return swizzled((size_t)x, s);
}

static void test_wgmma(int n, int number, int a_swizzle, int b_swizzle, int keep, int whole)
{
    static float a[64][64], b[256][64];
    char name[96];
    const struct product *p = &products[number];
    const int size = type_size(p->type), depth = 64 / size, per = 4 / size, rs = p->a_major < 0;
    const operand oa = operand_make(64, rs ? 0 : p->a_major, a_swizzle, size, 0);
    const operand ob = operand_make(n, p->b_major, b_swizzle, size, (oa.bytes + 1023) / 1024 * 1024);
    const size_t image = ((size_t)(ob.start + ob.bytes) + 1023) / 1024 * 1024;
    const size_t in_bytes = image + 128 * 32 + 128 * 2 * (size_t)n, out_bytes = 256 * (size_t)n;
    uint8_t *in = zeros(in_bytes + 64 * (size_t)n * 4);
    float *want = zeros(out_bytes), *out = zeros(out_bytes), *slack = zeros(out_bytes);
    uint32_t *words = (void *)(in + image);
    float *before = (void *)(in + image + 128 * 32);
    fill(in, image); /* what is not asked for must not be read: NaN and all */
    for (int m = 0; m < 64; m++)
        for (int k = 0; k < depth; k++) {
            uint8_t raw[4];
            a[m][k] = put(raw, p->type, any_number(whole));
            if (!rs) {
                memcpy(in + operand_at(&oa, m, k), raw, (size_t)size);
                continue;
            }
            const int step = k / (depth / 2), kk = k % (depth / 2), half = kk / (4 * per), t = m / 16 * 32 + m % 8 * 4;
            char *reg = (char *)&words[8 * (t + kk % (4 * per) / per) + 4 * step + 2 * half + (m >> 3 & 1)];
            memcpy(reg + kk % per * size, raw, (size_t)size);
        }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < depth; k++) {
            uint8_t raw[4];
            b[i][k] = put(raw, p->type, any_number(whole));
            memcpy(in + operand_at(&ob, i, k), raw, (size_t)size);
        }
    for (int t = 0; t < 128; t++)
        for (int i = 0; i < n / 2; i++) {
            const int row = t / 32 * 16 + t % 32 / 4 + 8 * (i >> 1 & 1), column = i / 4 * 8 + t % 4 * 2 + (i & 1);
            const int at = t * (n / 2) + i;
            before[at] = keep ? 8 * any_number(whole) : NAN;
            double sum = keep ? before[at] : 0, size_of_sum = fabs(sum);
            for (int k = 0; k < depth; k++) {
                sum += (double)a[row][k] * b[column][k];
                size_of_sum += fabs((double)a[row][k] * b[column][k]);
            }
            want[at] = (float)sum;
            slack[at] = whole ? 0 : (float)size_of_sum * (size == 1 ? 0x1p-10f : 0x1p-19f);
        }
    static const char *const types[] = {"", "", "f16", "bf16", "e4m3", "e5m2"}, *const majors[] = {"RS", "K", "MN"};
    snprintf(name, sizeof name, "wgmma n%d %s %s/%s, swizzle %d/%d, keep %d%s", n, types[p->type],
             majors[1 + p->a_major], majors[1 + p->b_major], a_swizzle, b_swizzle, keep, whole ? "" : ", randn");
    const prim_call c = {
        .kernel = PRIM_wgmma + n / 8 - 1, .grid = 1, .threads = 128, .shared = (int)image,
        .p = {(int)image, oa.start, oa.lead, oa.stride, oa.swizzle, oa.step, ob.start, ob.lead, ob.stride, ob.swizzle,
              ob.step, number, keep},
        .in = in, .in_bytes = in_bytes + 64 * (size_t)n * 4 - 128 * 2 * (size_t)n, .out = out, .out_bytes = out_bytes};
    run(&c, name, want, slack, 3);
    free(in), free(want), free(out), free(slack);
}

static void test_wgmmas(void)
{
    static const int swizzles[] = {128, 64, 32, 0};
    for (int n = 8; n <= 256; n += 8) {
        const int all = n == 8 || n % 64 == 0;
        for (int number = 0; number < (all ? 16 : 4); number++)
            for (int s = 0; s < (all ? 4 : 1); s++)
                test_wgmma(n, number, swizzles[check_range(&state, 0, 3)], swizzles[all ? s : n / 8 % 4],
                           (n / 8 + s) & 1, 1);
    }
    for (int number = 0; number < 16; number++)
        test_wgmma(64, number, 128, 128, 1, 0);
}

int main(int argc, char **argv)
{
    static const int types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_E4M3};
    static const int swizzles[] = {0, 32, 64, 128};
    check_begin(argc, argv);
    state = check_seed();
    test_math();
    test_warp();
    test_copy();
    test_narrow();
    for (size_t i = 0; i < sizeof mmas / sizeof mmas[0]; i++) {
        test_mma(&mmas[i], 1);
        if (mmas[i].type != ATTN_INT8)
            test_mma(&mmas[i], 0);
    }
    for (int i = 0; i < 4; i++)
        test_matrix(i >> 1, i & 1);
    test_matrix(0, 2);
    for (int how = 0; how < 3; how++)
        test_mbarrier(how);
    for (int n = 0; n < check_count(2); n++)
        for (int rank = 2; rank <= 5; rank++)
            for (int s = 0; s < 4; s++) {
                test_load(rank, types[(n + rank + s) % 4], swizzles[s], n);
                for (int ragged = 0; ragged < 2; ragged++) {
                    test_store(rank, types[(n + rank + s) % 4], swizzles[s], 0, ragged, n);
                    test_store(rank, types[(n + rank + s) % 3], swizzles[s], 1, ragged, n);
                }
            }
    test_bulk(4);
    test_bulk(1024);
    for (int size = 1; size <= 8; size *= 2)
        test_cluster(size);
    test_after(3);
    test_after(100000);
    test_registers();
    test_wgmmas();
    return check_end();
}
