/* warp.c - what a warp does together (shuffles, votes, products, matrices to and from shared memory), and cp.async.
 *
 * Each is written from the layout that include/attn/device/ documents, element by element.  C11. */
#include <attn/device/convert.h>
#include <attn/device/copy.cuh>
#include <attn/device/mma.cuh>

static void nothing(void *const *arg)
{
    (void)arg;
}

const emu_op emu_syncwarp = {"__syncwarp", 0, 1, nothing};

/* ---- shuffles and votes ------------------------------------------------------------------------- */

typedef struct shuffle {
    uint32_t x, got;
    int from;
} shuffle;

static void shuffle_run(void *const *arg)
{
    for (int i = 0; i < EMU_WARP; i++) {
        shuffle *s = arg[i];
        s->got = ((const shuffle *)arg[s->from & 31])->x;
    }
}

const emu_op emu_shuffle_xor = {"attn__shuffle_xor", 0, 0, shuffle_run};
const emu_op emu_shuffle = {"attn__shuffle", 0, 0, shuffle_run};
const emu_op emu_shuffle_int = {"attn__shuffle_int", 0, 0, shuffle_run};

uint32_t emu_shuffle_at(const emu_op *op, uint32_t x, int from, const char *site)
{
    shuffle s = {x, 0, from};
    emu_meet(op, &s, site);
    return s.got;
}

static void any_run(void *const *arg)
{
    int any = 0;
    for (int i = 0; i < EMU_WARP; i++)
        any |= *(const int *)arg[i];
    for (int i = 0; i < EMU_WARP; i++)
        *(int *)arg[i] = any;
}

const emu_op emu_any = {"attn__any", 0, 0, any_run};

int emu_any_at(int condition, const char *site)
{
    emu_meet(&emu_any, &condition, site);
    return condition;
}

/* ---- products ----------------------------------------------------------------------------------- */

typedef struct mma {
    void *d;
    const uint32_t *a, *b;
} mma;

typedef float element_fn(uint32_t bits);

static float f16(uint32_t bits)
{
    return attn__f16_to_f32((uint16_t)bits);
}

static float bf16(uint32_t bits)
{
    return attn__bf16_to_f32((uint16_t)bits);
}

static float tf32(uint32_t bits)
{
    return __uint_as_float(bits & ~0x1fffu);
}

static float e4m3(uint32_t bits)
{
    const int exponent = (int)(bits >> 3 & 15), mantissa = (int)(bits & 7);
    const float x = exponent == 15 && mantissa == 7 ? NAN
                    : exponent ? ldexpf((float)(8 + mantissa), exponent - 10)
                               : ldexpf((float)mantissa, -9);
    return bits & 0x80 ? -x : x;
}

static float e5m2(uint32_t bits)
{
    return attn__f16_to_f32((uint16_t)(bits << 8));
}

/* Element `n` of a register that holds `per`. */
static inline uint32_t part(uint32_t reg, int n, int per)
{
    return per == 1 ? reg : reg >> (32 / per * n) & (per == 2 ? 0xffff : 0xff);
}

/* A[row][k] and B[k][column] of each register, for any K and any number of elements in a register: a register holds
 * `per` neighbours along k, lane l has those at l % 4 * per, and one register more is 4 * per further on. */
static inline void mma_run(void *const *arg, int per, int k_registers, element_fn *value)
{
    float a[16][32], b[32][8];
    for (int l = 0; l < EMU_WARP; l++) {
        const mma *m = arg[l];
        for (int half = 0; half < k_registers; half++)
            for (int n = 0; n < per; n++) {
                const int k = (half * 4 + l % 4) * per + n;
                a[l / 4][k] = value(part(m->a[2 * half], n, per));
                a[l / 4 + 8][k] = value(part(m->a[2 * half + 1], n, per));
                b[k][l / 4] = value(part(m->b[half], n, per));
            }
    }
    for (int row = 0; row < 16; row++) {
        float sum[8] = {0};
        for (int k = 0; k < 4 * per * k_registers; k++)
            for (int column = 0; column < 8; column++)
                sum[column] += a[row][k] * b[k][column];
        for (int column = 0; column < 8; column++)
            ((float *)((const mma *)arg[row % 8 * 4 + column / 2])->d)[row / 8 * 2 + column % 2] += sum[column];
    }
}

static void f16_k8_run(void *const *arg)
{
    mma_run(arg, 2, 1, f16);
}
static void f16_run(void *const *arg)
{
    mma_run(arg, 2, 2, f16);
}
static void bf16_run(void *const *arg)
{
    mma_run(arg, 2, 2, bf16);
}
static void tf32_run(void *const *arg)
{
    mma_run(arg, 1, 2, tf32);
}
static void e4m3_run(void *const *arg)
{
    mma_run(arg, 4, 2, e4m3);
}
static void e5m2_run(void *const *arg)
{
    mma_run(arg, 4, 2, e5m2);
}

static void s8_run(void *const *arg)
{
    for (int l = 0; l < EMU_WARP; l++)
        for (int i = 0; i < 4; i++) {
            const int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
            uint32_t sum = ((const uint32_t *)((const mma *)arg[l])->d)[i];
            for (int k = 0; k < 32; k++) {
                const uint32_t a = ((const mma *)arg[row % 8 * 4 + k % 16 / 4])->a[row / 8 + k / 16 * 2];
                const uint32_t b = ((const mma *)arg[column * 4 + k % 16 / 4])->b[k / 16];
                sum += (uint32_t)((int8_t)part(a, k % 4, 4) * (int8_t)part(b, k % 4, 4));
            }
            ((uint32_t *)((const mma *)arg[l])->d)[i] = sum;
        }
}

const emu_op emu_mma_f16_k8 = {"attn__mma_f16_k8", 1, 0, f16_k8_run};
const emu_op emu_mma_f16 = {"attn__mma_f16", 1, 0, f16_run};
const emu_op emu_mma_bf16 = {"attn__mma_bf16", 1, 0, bf16_run};
const emu_op emu_mma_tf32 = {"attn__mma_tf32", 1, 0, tf32_run};
const emu_op emu_mma_s8 = {"attn__mma_s8", 1, 0, s8_run};
const emu_op emu_mma_e4m3 = {"attn__mma_e4m3", 1, 0, e4m3_run};
const emu_op emu_mma_e5m2 = {"attn__mma_e5m2", 1, 0, e5m2_run};

void emu_mma(const emu_op *op, int cc, void *d, const uint32_t *a, const uint32_t *b, const char *site)
{
    mma m = {d, a, b};
    emu_need(cc, op->name, site);
    emu_meet(op, &m, site);
}

/* ---- matrices in shared memory ------------------------------------------------------------------ */

typedef struct matrix {
    uint16_t *row; /* that this lane names */
    uint32_t d[4]; /* that it gets or gives */
} matrix;

/* Element e of register m of lane l, where it lies. */
static inline uint16_t *element(void *const *arg, int m, int l, int e, int trans)
{
    const int row = trans ? l % 4 * 2 + e : l / 4, column = trans ? l / 4 : l % 4 * 2 + e;
    return &((const matrix *)arg[8 * m + row])->row[column];
}

static inline void matrix_run(void *const *arg, int store, int trans)
{
    for (int l = 0; l < EMU_WARP; l++)
        for (int m = 0; m < 4; m++) {
            uint32_t *d = &((matrix *)arg[l])->d[m];
            uint16_t *low = element(arg, m, l, 0, trans), *high = element(arg, m, l, 1, trans);
            if (store) {
                *low = (uint16_t)*d;
                *high = (uint16_t)(*d >> 16);
            } else {
                *d = *low | (uint32_t)*high << 16;
            }
        }
}

static void ldmatrix_run(void *const *arg)
{
    matrix_run(arg, 0, 0);
}
static void ldmatrix_trans_run(void *const *arg)
{
    matrix_run(arg, 0, 1);
}
static void stmatrix_run(void *const *arg)
{
    matrix_run(arg, 1, 0);
}
static void stmatrix_trans_run(void *const *arg)
{
    matrix_run(arg, 1, 1);
}

const emu_op emu_ldmatrix = {"attn__ldmatrix_x4", 1, 0, ldmatrix_run};
const emu_op emu_ldmatrix_trans = {"attn__ldmatrix_x4_trans", 1, 0, ldmatrix_trans_run};
const emu_op emu_stmatrix = {"attn__stmatrix_x4", 1, 0, stmatrix_run};
const emu_op emu_stmatrix_trans = {"attn__stmatrix_x4_trans", 1, 0, stmatrix_trans_run};

/* The lane that names a row is the one that accesses it. */
static void matrix_at(const emu_op *op, matrix *m, uint32_t address, int write, const char *site)
{
    m->row = emu_shared_pointer(address, 16, 16, op->name, site);
    emu_touch(m->row, 16, write, site);
    emu_meet(op, m, site);
}

void emu_load_matrix(const emu_op *op, uint32_t *d, uint32_t address, const char *site)
{
    matrix m;
    emu_need(75, op->name, site);
    matrix_at(op, &m, address, 0, site);
    memcpy(d, m.d, sizeof m.d);
}

void emu_store_matrix(const emu_op *op, uint32_t address, const uint32_t *d, const char *site)
{
    matrix m;
    emu_need(90, op->name, site);
    memcpy(m.d, d, sizeof m.d);
    matrix_at(op, &m, address, 1, site);
}

static void transpose_run(void *const *arg)
{
    uint32_t was[EMU_WARP];
    for (int l = 0; l < EMU_WARP; l++)
        was[l] = *(const uint32_t *)arg[l];
    for (int l = 0; l < EMU_WARP; l++) { /* row l / 4 of the transpose is column l / 4 */
        const int column = l / 4, row = l % 4 * 2;
        *(uint32_t *)arg[l] = part(was[row * 4 + column / 2], column % 2, 2) |
                              (uint32_t)part(was[(row + 1) * 4 + column / 2], column % 2, 2) << 16;
    }
}

static const emu_op emu_transpose_op = {"attn__transpose_8x8", 1, 0, transpose_run};

uint32_t emu_transpose(uint32_t x, const char *site)
{
    emu_need(75, emu_transpose_op.name, site);
    emu_meet(&emu_transpose_op, &x, site);
    return x;
}

/* ---- cp.async ----------------------------------------------------------------------------------- */

typedef struct copy {
    void *to;
    const void *from;
    int room, bytes;
} copy;

static void copy_land(void *data)
{
    const copy *c = data;
    char piece[16] = {0};
    memcpy(piece, c->from, (size_t)c->bytes);
    memcpy(c->to, piece, (size_t)c->room);
}

void emu_copy_async(void *shared, const void *global, int room, int bytes, const char *site)
{
    const char *const name = room == 16 ? "attn__copy_async" : "attn__copy_async4";
    emu_thread *t = emu_self;
    emu_pause(site);
    copy c = {emu_shared_pointer(emu_shared_address(shared, site), (uint32_t)room, (uint32_t)room, name, site), global,
              room, bytes};
    if ((uintptr_t)global % (unsigned)room)
        emu_fail(site, "%s: %p is not aligned to %d", name, global, room);
    if (bytes < 0 || bytes > room)
        emu_fail(site, "%s: %d bytes, must be 0 to %d", name, bytes, room);
    if (emu_set.cc < 80) {
        emu_touch(c.to, (size_t)room, 1, site);
        copy_land(&c);
        return;
    }
    emu_touch_async(c.to, (size_t)room, 1, (uint32_t)t->copy_group + 1, site);
    emu_defer(&t->copies, t->copy_group, copy_land, &c, sizeof c);
}

void emu_copy_async_commit(const char *site)
{
    emu_pause(site);
    emu_self->copy_group++;
}

void emu_copy_async_wait(int n, const char *site)
{
    emu_thread *t = emu_self;
    emu_pause(site);
    emu_land(&t->copies, t->copy_group - n);
    emu_see(t->agent + 1, (uint32_t)(t->copy_group > n ? t->copy_group - n : 0));
}
