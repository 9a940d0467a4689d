/* mma.cuh - the emulator's twin of include/attn/device/mma.cuh, which says what each of these does.  C11. */
#ifndef ATTN_DEVICE_MMA_CUH
#define ATTN_DEVICE_MMA_CUH

#include <attn/device/cuda.cuh>

/* In warp.c. */
extern const emu_op emu_mma_f16_k8, emu_mma_f16, emu_mma_bf16, emu_mma_tf32, emu_mma_s8, emu_mma_e4m3, emu_mma_e5m2;
extern const emu_op emu_ldmatrix, emu_ldmatrix_trans, emu_stmatrix, emu_stmatrix_trans;
void emu_mma(const emu_op *op, int cc, void *d, const uint32_t *a, const uint32_t *b, const char *site);
void emu_load_matrix(const emu_op *op, uint32_t *d, uint32_t address, const char *site);
void emu_store_matrix(const emu_op *op, uint32_t address, const uint32_t *d, const char *site);
uint32_t emu_transpose(uint32_t x, const char *site);

#define attn__mma_f16_k8(d, a, b) emu_mma(&emu_mma_f16_k8, 75, (d), (a), (b), EMU_HERE)
#define attn__mma_f16(d, a, b)    emu_mma(&emu_mma_f16, 80, (d), (a), (b), EMU_HERE)
#define attn__mma_bf16(d, a, b)   emu_mma(&emu_mma_bf16, 80, (d), (a), (b), EMU_HERE)
#define attn__mma_tf32(d, a, b)   emu_mma(&emu_mma_tf32, 80, (d), (a), (b), EMU_HERE)
#define attn__mma_s8(d, a, b)     emu_mma(&emu_mma_s8, 80, (d), (a), (b), EMU_HERE)
#define attn__mma_e4m3(d, a, b)   emu_mma(&emu_mma_e4m3, 89, (d), (a), (b), EMU_HERE)
#define attn__mma_e5m2(d, a, b)   emu_mma(&emu_mma_e5m2, 89, (d), (a), (b), EMU_HERE)

#define attn__ldmatrix_x4(d, address)        emu_load_matrix(&emu_ldmatrix, (d), (address), EMU_HERE)
#define attn__ldmatrix_x4_trans(d, address)  emu_load_matrix(&emu_ldmatrix_trans, (d), (address), EMU_HERE)
#define attn__transpose_8x8(x)               emu_transpose((x), EMU_HERE)
#define attn__stmatrix_x4(address, d)        emu_store_matrix(&emu_stmatrix, (address), (d), EMU_HERE)
#define attn__stmatrix_x4_trans(address, d)  emu_store_matrix(&emu_stmatrix_trans, (address), (d), EMU_HERE)

#endif /* ATTN_DEVICE_MMA_CUH */
