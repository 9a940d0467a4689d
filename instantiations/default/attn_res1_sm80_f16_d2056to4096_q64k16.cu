/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_res1_sm80_f16_d2056to4096_q64k16
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_RES1
#define ATTN_ARCH ATTN_ARCH_SM80
#define ATTN_DTYPE ATTN_F16
#define ATTN_HEAD_DIM 4096
#define ATTN_HEAD_DIM_MIN 2056
#define ATTN_TILE_Q 64
#define ATTN_TILE_K 16
#define ATTN_WARPS 16
#include <attn/attn.cuh>
