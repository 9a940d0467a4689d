/* mma.cuh - matrix products of a warp (mma.sync) and the loads that feed them (ldmatrix).
 *
 * All 32 lanes call together.  D[16x8] += A[16xK] B[Kx8], with lane l in row r = l / 4, column pair c = l % 4:
 *
 *     d[0] D[r][2c]   d[1] D[r][2c+1]   d[2] D[r+8][2c]   d[3] D[r+8][2c+1]                      f32 (s32)
 *     16-bit, K = 16: a[0] A[r][2c, 2c+1]   a[1] A[r+8][2c ..]   a[2] A[r][2c+8 ..]   a[3] A[r+8][2c+8 ..]
 *                     b[0] B[2c, 2c+1][r]   b[1] B[2c+8, 2c+9][r]          low half of a register = the first
 *     16-bit, K = 8:  a[0] A[r][2c, 2c+1]   a[1] A[r+8][2c ..]   b[0] B[2c, 2c+1][r]
 *      8-bit, K = 32: a[0] A[r][4c .. 4c+3] a[1] A[r+8][4c ..]   a[2] A[r][4c+16 ..]  a[3] A[r+8][4c+16 ..]
 *                     b[0] B[4c .. 4c+3][r] b[1] B[4c+16 ..][r]            low byte = the first
 *     f32 as tf32, K = 8: a[0] A[r][c]  a[1] A[r+8][c]  a[2] A[r][c+4]  a[3] A[r+8][c+4]
 *                     b[0] B[c][r]  b[1] B[c+4][r]
 *
 * So D of two neighbouring 16x8 products, packed by pairs, is A of a K = 16 product:
 * {d0 d1} {d2 d3} {d'0 d'1} {d'2 d'3}.
 * CUDA. */
#ifndef ATTN_DEVICE_MMA_CUH
#define ATTN_DEVICE_MMA_CUH

#include <attn/device/cuda.cuh>

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 750
/* sm_75 on. */
ATTN_DEVICE void attn__mma_f16_k8(float *d, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}
#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
/* sm_80 on. */
ATTN_DEVICE void attn__mma_f16(float *d, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
ATTN_DEVICE void attn__mma_bf16(float *d, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* Each operand is an f32 whose lower 13 bits are not read. */
ATTN_DEVICE void attn__mma_tf32(float *d, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* s8 operands, s32 sums that wrap. */
ATTN_DEVICE void attn__mma_s8(int32_t *d, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
/* sm_89 on. */
ATTN_DEVICE void attn__mma_e4m3(float *d, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
ATTN_DEVICE void attn__mma_e5m2(float *d, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 750
/* Four 8x8 matrices of 16-bit elements from shared memory: lane l gives the address (16-byte aligned) of row l % 8 of
 * matrix l / 8.  d[m] of lane l gets of matrix m row l / 4, columns 2 (l % 4) and the next.  sm_75 on. */
ATTN_DEVICE void attn__ldmatrix_x4(uint32_t *d, uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address));
}
/* The same of each matrix transposed: d[m] of lane l gets rows 2 (l % 4) and the next of column l / 4. */
ATTN_DEVICE void attn__ldmatrix_x4_trans(uint32_t *d, uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address));
}
/* One 8x8 matrix in registers, transposed: x of lane l is its row l / 4, columns 2 (l % 4) and the next; the answer the
 * same of the transpose.  sm_75 on. */
ATTN_DEVICE uint32_t attn__transpose_8x8(uint32_t x)
{
    uint32_t d;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(d) : "r"(x));
    return d;
}
#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
/* The inverse of attn__ldmatrix_x4: four 8x8 matrices to shared memory.  sm_90 on. */
ATTN_DEVICE void attn__stmatrix_x4(uint32_t address, const uint32_t *d)
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(d[0]),
                 "r"(d[1]), "r"(d[2]), "r"(d[3])
                 : "memory");
}
ATTN_DEVICE void attn__stmatrix_x4_trans(uint32_t address, const uint32_t *d)
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(d[0]),
                 "r"(d[1]), "r"(d[2]), "r"(d[3])
                 : "memory");
}
#endif

#endif /* ATTN_DEVICE_MMA_CUH */
