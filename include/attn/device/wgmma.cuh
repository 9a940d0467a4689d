/* wgmma.cuh - matrix products of a warpgroup, from shared memory, that run beside the program (sm_90a alone).
 *
 * A warpgroup is four warps, the first a multiple of four; all 128 threads call together.  They compute
 * D[64 x N] (+)= A[64 x K] B[K x N], N = 8, 16 .. 256, K = 16 (16-bit types) or 32 (8-bit), with sums in f32.  Thread t
 * has row r = 16 (t / 32) + t % 32 / 4 and column pair c = t % 4:
 *
 *     d[4j]   D[r][8j + 2c]      d[4j+2] D[r+8][8j + 2c]      N / 2 registers, j = 0 .. N/8 - 1
 *     d[4j+1] D[r][8j + 2c + 1]  d[4j+3] D[r+8][8j + 2c + 1]
 *     a[0] A[r][2c ..]  a[1] A[r+8][2c ..]  a[2] A[r][2c+8 ..]  a[3] A[r+8][2c+8 ..]    16-bit: two a register
 *     a[0] A[r][4c ..]  a[1] A[r+8][4c ..]  a[2] A[r][4c+16 ..] a[3] A[r+8][4c+16 ..]   8-bit: four
 *
 * So D of 16 columns, packed by pairs, is A of a 16-bit product: a[i] of step s = {d[8s + 2i], d[8s + 2i + 1]}.
 *
 * The order of calls, or results are undefined:
 *
 *     attn__wgmma_fence();                      after this program wrote or read d or a, before the first product
 *     ATTN_WGMMA_SS(...); ATTN_WGMMA_SS(...);   no product before has to end; the same d adds up in order
 *     attn__wgmma_commit();                     these are a group
 *     ATTN_WGMMA_WAIT(0);                       until then d and a must not be touched, nor the shared memory written
 *     attn__wgmma_pin(d, N / 2);
 *
 * The compiler makes products wait for each other (C7510 .. C7519 in its log) unless it can see that registers are left
 * alone: no branch between products and their wait may decide which wait runs; a is not overwritten, nor its next value
 * made elsewhere and moved; fences and pins surround the whole.  CUDA. */
#ifndef ATTN_DEVICE_WGMMA_CUH
#define ATTN_DEVICE_WGMMA_CUH

#include <attn/device/mbarrier.cuh>
#include <attn/device/wgmma_operands.cuh>
#include <attn/param.h>

/* 1 where code that uses this file compiles; elsewhere (another architecture of the same build) it must be left out. */
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ATTN_HAS_WGMMA 1
#else
#define ATTN_HAS_WGMMA 0
#endif

/* How an operand lies in shared memory: which index is the contiguous one. */
#define ATTN_K_MAJOR  0 /* A[m][k], B[n][k]: the one that is summed over */
#define ATTN_MN_MAJOR 1 /* A[k][m], B[k][n]: the other; 16-bit types only */

#if ATTN_HAS_WGMMA

/* ---- where an operand lies ------------------------------------------------------------------------ */

/* `swizzle` is that of the rows, as tma.cuh has it: 128, 64, 32 or 0; a pattern starts at a multiple of 8 rows.
 *
 *     K-major, S = 128, 64, 32   rows of S bytes; `stride` from 8 rows to the next 8 (8 S if dense), `lead` is not
 *                                read.  The next K step is 32 bytes further, to the end of the row, then in the next
 *                                panel.
 *     MN-major, S = 128, 64, 32  rows (one k each) of S bytes; `stride` from 8 k to the next 8, `lead` from S / 2 m (n)
 *                                to the next, in another panel.
 *     no swizzle                 blocks of 8 rows of 16 bytes, 128 bytes each.  K-major: `lead` to the next block along
 *                                k, `stride` along m (n).  MN-major (rows are k): `lead` along k, `stride` along m (n).
 *
 * All in bytes, multiples of 16 below 256 K.  Steps add their bytes / 16 to the result. */
ATTN_DEVICE uint64_t attn__wgmma_desc(uint32_t shared, uint32_t lead, uint32_t stride, int swizzle)
{
    const uint64_t kind = swizzle == 128 ? 1 : swizzle == 64 ? 2 : swizzle == 32 ? 3 : 0;
    return (uint64_t)((shared & 0x3ffffu) >> 4) | (uint64_t)((lead & 0x3ffffu) >> 4) << 16 |
           (uint64_t)((stride & 0x3ffffu) >> 4) << 32 | kind << 62;
}

/* ---- products -------------------------------------------------------------------------------------- */

/* ATTN_WGMMA_SS(n, type, a_major, b_major, d, a, b, keep): A and B by descriptors.
 * ATTN_WGMMA_RS(n, type, b_major, d, a, b, keep): A in four registers, uint32_t a[4].
 * `n`, `type` (ATTN_F16, ATTN_BF16, ATTN_E4M3, ATTN_E5M2) and the majors are macros or numbers, as they become text;
 * float d[n / 2]; `keep` 0: d is overwritten instead of added to.  Statements without a semicolon. */
#define ATTN_WGMMA_SS(n, type, a_major, b_major, d, a, b, keep) \
    ATTN__WGMMA_SS_(n, type, a_major, b_major, d, a, b, keep)
#define ATTN_WGMMA_RS(n, type, b_major, d, a, b, keep) ATTN__WGMMA_RS_(n, type, b_major, d, a, b, keep)

#define ATTN__WGMMA_SS_(n, type, a_major, b_major, d, a, b, keep)                                                    \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " ATTN__WGMMA_SS_KEEP_##n ", 0;\n"                                \
                 "wgmma.mma_async.sync.aligned.m64n" #n ATTN__WGMMA_TYPE_##type " {" ATTN__WGMMA_D_##n "}, "         \
                 ATTN__WGMMA_SS_##n ", p, 1, 1" ATTN__WGMMA_SS_MAJOR_##type##_##a_major##b_major ";\n}"              \
                 : ATTN__WGMMA_ACC_##n(d)                                                                            \
                 : "l"(a), "l"(b), "r"(keep))
#define ATTN__WGMMA_RS_(n, type, b_major, d, a, b, keep)                                                             \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " ATTN__WGMMA_RS_KEEP_##n ", 0;\n"                                \
                 "wgmma.mma_async.sync.aligned.m64n" #n ATTN__WGMMA_TYPE_##type " {" ATTN__WGMMA_D_##n "}, "         \
                 ATTN__WGMMA_RS_##n ", p, 1, 1" ATTN__WGMMA_RS_MAJOR_##type##_##b_major ";\n}"                       \
                 : ATTN__WGMMA_ACC_##n(d)                                                                            \
                 : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "l"(b), "r"(keep))

/* By the numbers of param.h: 2 f16, 3 bf16, 4 e4m3, 5 e5m2. */
#define ATTN__WGMMA_TYPE_2 "k16.f32.f16.f16"
#define ATTN__WGMMA_TYPE_3 "k16.f32.bf16.bf16"
#define ATTN__WGMMA_TYPE_4 "k32.f32.e4m3.e4m3"
#define ATTN__WGMMA_TYPE_5 "k32.f32.e5m2.e5m2"
ATTN_STATIC_ASSERT(ATTN_F16 == 2 && ATTN_BF16 == 3 && ATTN_E4M3 == 4 && ATTN_E5M2 == 5,
                   "attn: wgmma.cuh and param.h number types differently");

#define ATTN__WGMMA_SS_MAJOR_2_00 ", 0, 0"
#define ATTN__WGMMA_SS_MAJOR_2_01 ", 0, 1"
#define ATTN__WGMMA_SS_MAJOR_2_10 ", 1, 0"
#define ATTN__WGMMA_SS_MAJOR_2_11 ", 1, 1"
#define ATTN__WGMMA_SS_MAJOR_3_00 ", 0, 0"
#define ATTN__WGMMA_SS_MAJOR_3_01 ", 0, 1"
#define ATTN__WGMMA_SS_MAJOR_3_10 ", 1, 0"
#define ATTN__WGMMA_SS_MAJOR_3_11 ", 1, 1"
#define ATTN__WGMMA_SS_MAJOR_4_00 ""
#define ATTN__WGMMA_SS_MAJOR_5_00 ""
#define ATTN__WGMMA_RS_MAJOR_2_0  ", 0"
#define ATTN__WGMMA_RS_MAJOR_2_1  ", 1"
#define ATTN__WGMMA_RS_MAJOR_3_0  ", 0"
#define ATTN__WGMMA_RS_MAJOR_3_1  ", 1"
#define ATTN__WGMMA_RS_MAJOR_4_0  ""
#define ATTN__WGMMA_RS_MAJOR_5_0  ""

/* ---- order ----------------------------------------------------------------------------------------- */

ATTN_DEVICE void attn__wgmma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

/* The products since the last one are a group. */
ATTN_DEVICE void attn__wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* ATTN_WGMMA_WAIT(n): until at most the n (a constant) latest groups are under way. */
#define ATTN_WGMMA_WAIT(n) asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory")

/* Registers of products, before the fence and after the wait: nothing that computes with them moves across.  No
 * instructions. */
ATTN_DEVICE void attn__wgmma_pin(float *d, int count)
{
    ATTN_UNROLL for (int i = 0; i < count; ++i)
        asm volatile("" : "+f"(d[i])::"memory");
}
ATTN_DEVICE void attn__wgmma_pin_a(uint32_t *a, int count)
{
    ATTN_UNROLL for (int i = 0; i < count; ++i)
        asm volatile("" : "+r"(a[i])::"memory");
}

/* Keeps a wait behind the computation of x, which is never negative: the compiler moves waits ahead of arithmetic that
 * does not depend on them, and so ends the overlap.  A vote, because after a branch of single lanes it would no longer
 * know what is the same in a warp, and keep descriptors in ordinary registers. */
ATTN_DEVICE void attn__wgmma_after(float x)
{
    if (attn__any(x < 0.0f))
        __trap();
}

/* A seam in the order of instructions: a branch that is never taken, x being 0 or more, but not by what the compiler
 * knows; across it ptxas does not mix arithmetic, as it does across assembly without instructions. */
ATTN_DEVICE void attn__wgmma_seam(int x)
{
    if (x < 0)
        __trap();
}

/* ---- registers --------------------------------------------------------------------------------------- */

/* ATTN_REGISTERS_GIVE(n), ATTN_REGISTERS_TAKE(n): from here on each thread of this warpgroup has n registers, fewer or
 * more than it had: a constant, a multiple of 8, 24 to 256.  TAKE waits until others have given enough.  The kernel
 * must have launch bounds of one block an SM, and both stand right behind the one `if` that tells roles apart. */
#define ATTN_REGISTERS_GIVE(n) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n))
#define ATTN_REGISTERS_TAKE(n) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n))

#endif
#endif /* ATTN_DEVICE_WGMMA_CUH */
