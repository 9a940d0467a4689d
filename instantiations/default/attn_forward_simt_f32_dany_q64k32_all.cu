/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_forward_simt_f32_dany_q64k32_all
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_FORWARD
#define ATTN_ARCH ATTN_ARCH_SIMT
#define ATTN_DTYPE ATTN_F32
#define ATTN_HEAD_DIM 0
#define ATTN_CAUSAL 1
#define ATTN_WINDOW 1
#define ATTN_CHUNK 1
#define ATTN_SINK_TOKENS 1
#define ATTN_SINK_LOGITS 1
#define ATTN_SOFTCAP 1
#define ATTN_ALIBI 1
#define ATTN_BIAS 1
#define ATTN_BOOL_MASK 1
#define ATTN_VARLEN 1
#define ATTN_PAGED 1
#define ATTN_ROPE 1
#define ATTN_TILE_Q 64
#define ATTN_TILE_K 32
#define ATTN_BLOCKS 2
#include <attn/attn.cuh>
