/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_res1_sm80_bf16_d8to512_q64k8
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_RES1
#define ATTN_ARCH ATTN_ARCH_SM80
#define ATTN_DTYPE ATTN_BF16
#define ATTN_HEAD_DIM 512
#define ATTN_HEAD_DIM_MIN 8
#define ATTN_TILE_Q 64
#define ATTN_TILE_K 8
#define ATTN_WARPS 4
#define ATTN_BLOCKS 10
#include <attn/attn.cuh>
