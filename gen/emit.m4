// emit.m4 - what a row becomes.  The result is one stream that split.awk cuts into files at its
// "==> NAME" lines.  A row writes to three diversions, which come out in this order at the end:
//   1  its instantiation file
//   2  its line of instances.def; behind what decides whether it is built
//   3  its line of sources.txt
m4_define([[_upper]], [[m4_translit([[$1]], abcdefghijklmnopqrstuvwxyz, ABCDEFGHIJKLMNOPQRSTUVWXYZ)]])
m4_define([[_file]],  [[attn_NAME[[]].attn_if_cpu(c, cu)]])

// attn_define(NAME, VALUE): the line that sets a parameter.
m4_define([[attn_define]], [[[[#define ATTN_]]_upper([[$1]]) $2
]])

m4_define([[attn_emit]], [[m4_divert(1)m4_dnl
==> _file
/* Made by gen/gen.sh from attn_table.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
attn_define(NAME, attn_NAME)m4_dnl
attn_define(EXPORT, 1)m4_dnl
attn_define(KERNEL, [[ATTN_KERNEL_]]_upper(attn_KERNEL))m4_dnl
attn_define(ARCH, [[ATTN_ARCH_]]_upper(attn_ARCH))m4_dnl
attn_if_any([[]], [[m4_dnl
attn_define(DTYPE, [[ATTN_]]_upper(attn_DTYPE))m4_dnl
m4_ifelse(attn_KV_DTYPE, attn_DTYPE, [[]], [[attn_define(KV_DTYPE, [[ATTN_]]_upper(attn_KV_DTYPE))]])m4_dnl
attn_define(HEAD_DIM, m4_ifelse(attn_HEAD_DIM, any, 0, [[attn_HEAD_DIM]]))m4_dnl
m4_ifelse(attn_HEAD_DIM_V, attn_HEAD_DIM, [[]], [[attn_define(HEAD_DIM_V, attn_HEAD_DIM_V)]])m4_dnl
m4_ifelse(attn_HEAD_DIM_MIN, attn_HEAD_DIM, [[]], [[attn_define(HEAD_DIM_MIN, attn_HEAD_DIM_MIN)]])m4_dnl
m4_ifelse(attn_GQA, any, [[]], [[attn_define(GQA, attn_GQA)]])m4_dnl
attn_each([[_f]], (attn_flags), [[attn_if(_f, [[attn_define(_f, 1)]])]])m4_dnl
attn_define(TILE_Q, attn_TILE_Q)m4_dnl
attn_define(TILE_K, attn_TILE_K)m4_dnl
attn_TUNE[[]]m4_dnl
]])m4_dnl
[[#include <attn/attn.]]attn_if_cpu(h, cuh)>
m4_divert(2)m4_dnl
m4_ifelse(attn_ARCH, cpu, [[ATTN_INSTANCE(attn_NAME)]], [[#if attn_if_cpu([[defined(__x86_64__)]], [[ATTN_BUILD_CUDA]])
ATTN_INSTANCE(attn_NAME)
#endif]])
m4_divert(3)m4_dnl
_file attn_ARCH
m4_divert(-1)]])

m4_m4wrap([[m4_divert(0)m4_undivert(1)m4_dnl
==> instances.def
/* Made by gen/gen.sh from attn_table.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md).
 * Define ATTN_INSTANCE(name) and include this; it undefines it again. */
#ifndef ATTN_INSTANCE
#error "attn: define ATTN_INSTANCE(name) before including instances.def"
#endif
m4_undivert(2)m4_dnl
#undef ATTN_INSTANCE
==> sources.txt
m4_undivert(3)]])
