/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_forward_sm90_bf16_d64_q256k64_varlen
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_FORWARD
#define ATTN_ARCH ATTN_ARCH_SM90
#define ATTN_DTYPE ATTN_BF16
#define ATTN_HEAD_DIM 64
#define ATTN_VARLEN 1
#define ATTN_TILE_Q 256
#define ATTN_TILE_K 64
#define ATTN_STAGES 4
#define ATTN_ROWS 1024
#include <attn/attn.cuh>
