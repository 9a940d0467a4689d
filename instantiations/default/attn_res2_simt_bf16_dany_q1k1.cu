/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_res2_simt_bf16_dany_q1k1
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_RES2
#define ATTN_ARCH ATTN_ARCH_SIMT
#define ATTN_DTYPE ATTN_BF16
#define ATTN_HEAD_DIM 0
#define ATTN_TILE_Q 1
#define ATTN_TILE_K 1
#define ATTN_WARPS 8
#define ATTN_BLOCKS 3
#define ATTN_SPILL 24
#include <attn/attn.cuh>
