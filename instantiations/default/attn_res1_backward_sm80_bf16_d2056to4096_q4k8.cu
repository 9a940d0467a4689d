/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_res1_backward_sm80_bf16_d2056to4096_q4k8
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_RES1_BACKWARD
#define ATTN_ARCH ATTN_ARCH_SM80
#define ATTN_DTYPE ATTN_BF16
#define ATTN_HEAD_DIM 4096
#define ATTN_HEAD_DIM_MIN 2056
#define ATTN_TILE_Q 4
#define ATTN_TILE_K 8
#define ATTN_WARPS 12
#define ATTN_SPILL 100
#include <attn/attn.cuh>
