/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_res1_backward_avx512_f16_dany_q64k64
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_RES1_BACKWARD
#define ATTN_ARCH ATTN_ARCH_AVX512
#define ATTN_DTYPE ATTN_F16
#define ATTN_HEAD_DIM 0
#define ATTN_TILE_Q 64
#define ATTN_TILE_K 64
#include <attn/attn.h>
