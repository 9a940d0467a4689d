/* Made by gen/gen.sh from default.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_append_simt
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_APPEND
#define ATTN_ARCH ATTN_ARCH_SIMT
#include <attn/attn.cuh>
