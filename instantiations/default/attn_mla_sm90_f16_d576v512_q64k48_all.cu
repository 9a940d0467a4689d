/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_mla_sm90_f16_d576v512_q64k48_all
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_MLA
#define ATTN_ARCH ATTN_ARCH_SM90
#define ATTN_DTYPE ATTN_F16
#define ATTN_HEAD_DIM 576
#define ATTN_HEAD_DIM_V 512
#define ATTN_CAUSAL 1
#define ATTN_SINK_LOGITS 1
#define ATTN_VARLEN 1
#define ATTN_PAGED 1
#define ATTN_TILE_Q 64
#define ATTN_TILE_K 48
#define ATTN_STAGES 3
#include <attn/attn.cuh>
