m4_changequote([[, ]])m4_changecom(//)m4_divert(-1)
// wgmma.m4 - writes include/attn/device/wgmma_operands.cuh: lists of numbered operands, which the preprocessor cannot
// count, and nothing else.  test_gen.sh holds the checked-in file against it.
//
//     m4 -P gen/wgmma.m4 >include/attn/device/wgmma_operands.cuh

// _each4(TEXT BEFORE, FIRST, TEXT BEHIND): four numbers from FIRST on, with the texts around each.
m4_define([[_each4]],
    [[$1[[]]$2$3, $1[[]]m4_eval($2 + 1)$3, $1[[]]m4_eval($2 + 2)$3, $1[[]]m4_eval($2 + 3)$3]])

// _before(N, FIRST, TEXT): TEXT, unless N is the first width.
m4_define([[_before]], [[m4_ifelse([[$1]], 8, [[]], [[$3]])]])

// _widths(N, R, BEFORE): the lines of width N, which has the accumulators 0 to R - 1, and of all that follow; each
// width adds four to the list of BEFORE, the one before it.
m4_define([[_widths]], [[
#define ATTN__WGMMA_D_$1 _before($1, , [[ATTN__WGMMA_D_$3 ]])"_before($1, , [[[[, ]]]])_each4(%, m4_eval($2 - 4))"
#define ATTN__WGMMA_ACC_$1(d) _before($1, , [[ATTN__WGMMA_ACC_$3(d)[[, ]]]])m4_dnl
_each4([["+f"((d)[]], m4_eval($2 - 4), [[])]])
#define ATTN__WGMMA_SS_$1 "%$2, %m4_eval($2 + 1)"
#define ATTN__WGMMA_SS_KEEP_$1 "%m4_eval($2 + 2)"
#define ATTN__WGMMA_RS_$1 "{_each4(%, $2)}, %m4_eval($2 + 4)"
#define ATTN__WGMMA_RS_KEEP_$1 "%m4_eval($2 + 5)"
m4_ifelse([[$1]], 256, [[]], [[_widths(m4_eval($1 + 8), m4_eval($2 + 4), $1)]])]])
m4_divert(0)m4_dnl
/* wgmma_operands.cuh - operand lists of wgmma instructions by width (wgmma.cuh uses them, nobody else).
 * Made by gen/wgmma.m4.  Do not edit.
 *
 *     D    the accumulators' numbers, in the instruction's text     ACC  the accumulators, as operands
 *     SS   those of the two descriptors    RS   those of four registers and a descriptor    KEEP  that of the predicate
 * CUDA. */
#ifndef ATTN_DEVICE_WGMMA_OPERANDS_CUH
#define ATTN_DEVICE_WGMMA_OPERANDS_CUH
_widths(8, 4, )
#endif /* ATTN_DEVICE_WGMMA_OPERANDS_CUH */
