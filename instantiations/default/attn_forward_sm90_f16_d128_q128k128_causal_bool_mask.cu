/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_forward_sm90_f16_d128_q128k128_causal_bool_mask
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_FORWARD
#define ATTN_ARCH ATTN_ARCH_SM90
#define ATTN_DTYPE ATTN_F16
#define ATTN_HEAD_DIM 128
#define ATTN_CAUSAL 1
#define ATTN_BOOL_MASK 1
#define ATTN_TILE_Q 128
#define ATTN_TILE_K 128
#define ATTN_STAGES 2
#include <attn/attn.cuh>
