/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_forward_sm80_f16_d96_q128k64_causal
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_FORWARD
#define ATTN_ARCH ATTN_ARCH_SM80
#define ATTN_DTYPE ATTN_F16
#define ATTN_HEAD_DIM 96
#define ATTN_CAUSAL 1
#define ATTN_TILE_Q 128
#define ATTN_TILE_K 64
#define ATTN_BLOCKS 2
#include <attn/attn.cuh>
