/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_forward_simt_f32_d128_q128k128_causal
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_FORWARD
#define ATTN_ARCH ATTN_ARCH_SIMT
#define ATTN_DTYPE ATTN_F32
#define ATTN_HEAD_DIM 128
#define ATTN_CAUSAL 1
#define ATTN_TILE_Q 128
#define ATTN_TILE_K 128
#define ATTN_WARPS 8
#include <attn/attn.cuh>
