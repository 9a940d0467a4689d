m4_divert(-1)
// rows.m4 - the row language: checks each attn_row(...) and hands it to emit.m4.  docs/tables.md
// describes it for those who write tables.  gen.sh runs:  m4 -P rows.m4 emit.m4 ROWS
//
// -P renames every builtin to m4_*, and every macro here is attn_* (or _* when private), so no word
// of a table or of C text expands by accident.  Keep to $1 ... $9: POSIX knows no $10.
m4_changequote([[, ]])
m4_changecom([[//]])

// ---- what columns may say: each list is the one place of its kind ---------------------------------

m4_define([[attn_kernels]], [[[[forward, decode, append, merge, mla, res1, res2, res1_backward, res2_backward]]]])
m4_define([[attn_archs]],   [[[[cpu, avx2, avx512, avx512bf16, simt, sm75, sm80, sm90]]]])
m4_define([[attn_dtypes]],  [[[[f32, f16, bf16]]]])
m4_define([[attn_kv_dtypes]], [[[[f32, f16, bf16, narrow]]]])

// The flags, in the order of ATTN_FEATURES in param.h: that is their order in a row and in a name.
m4_define([[attn_flags]],
[[[[causal, window, chunk, sink_tokens, sink_logits, softcap, alibi, bias, bool_mask, varlen, paged]]m4_dnl
[[, scaled, rope]]]])

// The pairs of kernel and arch that have a template, as in the ladder of instance.h.
m4_define([[attn_templates]],
[[[[forward cpu, forward avx2, forward avx512, forward avx512bf16, forward simt, forward sm75, ]]m4_dnl
[[forward sm80, forward sm90, decode sm80, decode sm90, append simt, merge simt, mla sm90, ]]m4_dnl
[[res1 cpu, res1 avx2, res1 avx512, res1 simt, res1 sm80, res2 cpu, res2 avx2, res2 avx512, res2 simt, ]]m4_dnl
[[res1_backward cpu, res1_backward avx2, res1_backward avx512, res1_backward simt, res1_backward sm80, ]]m4_dnl
[[res2_backward cpu, res2_backward avx2, res2_backward avx512, res2_backward simt]]]])

// Of these, one instance serves all types, dims and layouts: the columns behind ARCH say nothing.
m4_define([[attn_any_kernels]], [[[[append, merge]]]])

// Those of Attention Residuals, whose HEAD_DIM is a hidden size (or a range), TILE_Q queries and TILE_K blocks.
m4_define([[attn_res_kernels]], [[[[res1, res2, res1_backward, res2_backward]]]])

// What kernel mla cannot have.
m4_define([[attn_mla_none]], [[[[window, chunk, sink_tokens, softcap, alibi, bias, bool_mask, rope]]]])

// The archs that a C compiler builds; nvcc builds the others.  Of those, the ones whose warps work on the tiles of
// tensor cores: head dims by 8, which may be a range; and the one where four warps share a tile.
m4_define([[attn_cpu_archs]], [[[[cpu, avx2, avx512, avx512bf16]]]])
m4_define([[attn_mma_archs]], [[[[sm75, sm80, sm90]]]])

// What TUNE may set on an arch of nvcc; the least and the most of each.
m4_define([[attn_tunes]],   [[[[stages, warps, blocks, rows, spill, debug]]]])
m4_define([[_tune_stages]], [[1, 4]])
m4_define([[_tune_warps]],  [[attn_if_res([[1, 32]], [[1, 16]])]])
m4_define([[_tune_blocks]], [[1, 32]])
m4_define([[_tune_rows]],   [[1, 65536]])
m4_define([[_tune_spill]],  [[0, 65536]])
m4_define([[_tune_debug]],  [[0, 1]])

// ---- helpers --------------------------------------------------------------------------------------

// attn_at(LINE): where the next row stands.  table.awk writes it.
m4_define([[attn_at]], [[m4_define([[attn_line]], [[$1]])]])

// attn_fail(TEXT): stop with file:line, as a compiler would.
m4_define([[attn_fail]], [[m4_errprint(attn_file:attn_line[[: error: $1
]])m4_m4exit(1)]])

// attn_each(VAR, (A, B, C), BODY): BODY once for each of them, with VAR bound to it.
m4_define([[attn_each]],
[[m4_pushdef([[$1]])_each([[$1]], [[$3]], _items$2)m4_popdef([[$1]])]])
m4_define([[_items]], [[$@]])
m4_define([[_each]], [[m4_define([[$1]], [[$3]])$2[[]]m4_ifelse([[$#]], 3, [[]],
[[_each([[$1]], [[$2]], m4_shift(m4_shift(m4_shift($@))))]])]])

// attn_place(VALUE, LIST): where in LIST the VALUE stands, or -1.
m4_define([[attn_place]], [[m4_index([[, $2,]], [[, $1,]])]])

// attn_if(FLAG, YES, NO): has the row this flag?
m4_define([[attn_if]], [[m4_ifdef([[_has_$1]], [[$2]], [[$3]])]])

// attn_if_any(YES, NO): is the kernel one that needs no other columns?
m4_define([[attn_if_any]], [[m4_ifelse(attn_place(attn_KERNEL, attn_any_kernels), -1, [[$2]], [[$1]])]])

// attn_if_cpu(YES, NO): does a C compiler build the row?
m4_define([[attn_if_cpu]], [[m4_ifelse(attn_place(attn_ARCH, attn_cpu_archs), -1, [[$2]], [[$1]])]])

// attn_if_mma(YES, NO): do its warps work on the tiles of tensor cores?
m4_define([[attn_if_mma]], [[m4_ifelse(attn_place(attn_ARCH, attn_mma_archs), -1, [[$2]], [[$1]])]])

// attn_if_res(YES, NO): is it of Attention Residuals?  attn_if_range: may its HEAD_DIM be one?
m4_define([[attn_if_res]], [[m4_ifelse(attn_place(attn_KERNEL, attn_res_kernels), -1, [[$2]], [[$1]])]])
m4_define([[attn_if_range]], [[attn_if_res([[$1]], [[attn_if_mma([[$1]], [[$2]])]])]])

// _one_of(COLUMN, VALUE, LIST): refuses a VALUE that is not in LIST.
m4_define([[_one_of]], [[m4_ifelse(attn_place([[$2]], [[$3]]), -1,
[[attn_fail([[$1 is '$2', must be one of: $3]])]])]])

// _number(COLUMN, VALUE, LEAST, MOST, STEP, ELSE): refuses all but a multiple of STEP in that range.
m4_define([[_number]], [[m4_ifelse(_in_range([[$2]], $3, $4, $5), 1, [[]],
[[attn_fail([[$1 is '$2', must be ]]m4_ifelse($5, 1, [[]], [[[[a multiple of $5, ]]]])[[$3 to $4$6]])]])]])
m4_define([[_in_range]], [[m4_ifelse([[$1]], [[]], 0, m4_translit([[$1]], /0123456789, x), [[]],
[[m4_eval(m4_len([[$1]]) < 9 && (m4_index([[$1]], 0) || $1 == 0 && m4_len([[$1]]) == 1) &&
$1 >= $2 && $1 <= $3 && $1 % $4 == 0)]], 0)]])

// ---- columns: each macro checks one and binds it --------------------------------------------------

// _dtype(COLUMN, Q[, KV])
m4_define([[_dtype]], [[_one_of(dtype, [[$2]], attn_dtypes)m4_dnl
m4_define([[attn_DTYPE]], [[$2]])m4_define([[attn_KV_DTYPE]], [[$2]])m4_dnl
m4_ifelse([[$#]], 2, [[]], [[$#]], 3, [[_one_of([[dtype of k and v]], [[$3]], attn_kv_dtypes)m4_dnl
m4_ifelse([[$2]], [[$3]], [[attn_fail([[dtype is '$1', must be '$2': k and v are as q]])]])m4_dnl
m4_define([[attn_KV_DTYPE]], [[$3]])]], [[attn_fail([[dtype is '$1', must be Q or Q:KV]])]])]])

// _head_dim(COLUMN, QK[, V]); on an arch of tensor cores QK may be MIN..MAX, which becomes MIN,,MAX
m4_define([[_head_dim]], [[m4_ifelse([[$1]], any, [[attn_if_mma([[_dim(head_dim, any)]], [[_bind(any, any)]])]],
[[$#]], 2, [[_qk(head_dim, [[$2]], attn_if_range([[m4_translit([[$2]], ., [[,]])]], [[[[$2]]]]))]],
[[$#]], 3, [[_qk([[head_dim of q and k]], [[$2]], attn_if_mma([[m4_translit([[$2]], ., [[,]])]], [[[[$2]]]]))m4_dnl
_dim([[head_dim of v]], [[$3]])m4_define([[attn_HEAD_DIM_V]], [[$3]])m4_dnl
m4_ifelse([[$2]], [[$3]], [[attn_fail([[head_dim is '$1', must be '$2': that of v is the same]])]])]],
[[_dim(head_dim, [[$1]])]])m4_dnl
m4_ifelse(attn_HEAD_DIM_MIN, attn_HEAD_DIM, [[]],
[[_number([[least head_dim]], attn_HEAD_DIM_MIN, attn_if_res(8, 16), _lesser(attn_HEAD_DIM, attn_HEAD_DIM_V), 8)]])]])
m4_define([[_qk]], [[m4_ifelse([[$#$4]], 5, [[_dim([[$1]], [[$5]])_bind([[$3]], [[$5]])]],
[[_dim([[$1]], [[$2]])_bind([[$2]], [[$2]])]])]])
m4_define([[_dim]], [[_number([[$1]], [[$2]], attn_if_res([[8, 8192, 8]], [[attn_if_mma(m4_dnl
[[m4_ifelse(attn_KERNEL, mla, [[128, 576, 64]], [[16, 256, 8]])]], [[1, 1024, 1]])]]), m4_dnl
m4_ifelse([[$1]], head_dim, [[attn_if_res([[[[, MIN..MAX, or any]]]], [[[[, QK/V, or ]]attn_if_mma(MIN..MAX, any)]])]]))]])
m4_define([[_bind]], [[m4_define([[attn_HEAD_DIM_MIN]], [[$1]])m4_define([[attn_HEAD_DIM]], [[$2]])m4_dnl
m4_define([[attn_HEAD_DIM_V]], [[$2]])]])
m4_define([[_lesser]], [[m4_ifelse(m4_eval($1 < $2), 1, $1, $2)]])

m4_define([[_gqa]], [[m4_define([[attn_GQA]], [[$1]])m4_dnl
m4_ifelse([[$1]], any, [[]], [[_number(gqa, [[$1]], 1, 1024, 1, [[, or any]])]])]])

// _flags(COLUMN) sets _has_FLAG for each flag, and attn_SUFFIX to how they end a name.  What an arch cannot have is not
// among its `all`.
m4_define([[_flags]], [[m4_define([[_last]], -1)m4_define([[attn_SUFFIX]])m4_dnl
attn_each([[_f]], (attn_flags), [[m4_undefine([[_has_]]_f)]])m4_dnl
m4_ifelse([[$1]], none, [[]],
[[$1]], all, [[attn_each([[_f]], (attn_flags), [[m4_define([[_has_]]_f)]])m4_define([[attn_SUFFIX]], _all)m4_dnl
m4_ifelse(attn_KERNEL attn_ARCH, forward sm90, [[m4_undefine([[_has_paged]])]], m4_dnl
attn_KERNEL, mla, [[attn_each([[_f]], (attn_mla_none), [[m4_undefine([[_has_]]_f)]])]])m4_dnl
m4_ifelse(attn_KERNEL, forward, [[attn_if_mma([[m4_undefine([[_has_rope]])]])]])m4_dnl
m4_ifelse(attn_KV_DTYPE, narrow, [[]], [[m4_undefine([[_has_scaled]])]])]],
[[attn_each([[_f]], (m4_translit([[$1]], +, [[,]])), [[_flag([[$1]], _f)]])]])]])
m4_define([[_flag]], [[m4_ifelse(attn_place([[$2]], attn_flags), -1,
[[attn_fail([[flags is '$1': '$2' must be one of: ]]attn_flags[[; joined by +, or none, or all]])]])m4_dnl
attn_if([[$2]], [[attn_fail([[flags is '$1': '$2' stands there twice]])]])m4_dnl
m4_ifelse(m4_eval(attn_place([[$2]], attn_flags) < _last), 1,
[[attn_fail([[flags is '$1': '$2' is out of order, which is: ]]attn_flags)]])m4_dnl
m4_define([[_last]], attn_place([[$2]], attn_flags))m4_dnl
m4_define([[_has_$2]])m4_define([[attn_SUFFIX]], attn_SUFFIX[[_$2]])]])

// _tune(COLUMN) sets attn_TUNE to the #defines of its KEY=VALUE pairs, and _warps.
m4_define([[_tune]], [[m4_define([[attn_TUNE]])m4_define([[_warps]], 4)m4_dnl
attn_each([[_k]], (attn_tunes), [[m4_undefine([[_set_]]_k)]])m4_dnl
m4_ifelse([[$1]], none, [[]], [[m4_dnl
attn_if_cpu([[attn_fail([[tune is '$1', must be none on arch ']]attn_ARCH')]])m4_dnl
attn_each([[_t]], (m4_translit([[$1]], +, [[,]])), [[_key_value([[$1]], m4_translit(_t, =, [[,]]))]])]])]])
m4_define([[_key_value]], [[m4_ifelse([[$#]], 3, [[]],
[[attn_fail([[tune is '$1', must be none, or KEY=VALUE joined by +, KEY one of: ]]attn_tunes)]])m4_dnl
_one_of([[tune key]], [[$2]], attn_tunes)_number([[tune $2]], [[$3]], m4_indir([[_tune_$2]]), 1)m4_dnl
m4_ifdef([[_set_$2]], [[attn_fail([[tune is '$1': '$2' stands there twice]])]])m4_define([[_set_$2]])m4_dnl
m4_ifelse([[$2]], warps, [[m4_define([[_warps]], [[$3]])]])m4_dnl
m4_define([[attn_TUNE]], attn_TUNE[[attn_define([[$2]], $3)]])]])

// _res_most(COLUMN): the most queries (tile_q) or blocks (tile_k) of a row of Attention Residuals.
m4_define([[_res_most]], [[m4_ifelse(attn_KERNEL attn_ARCH, res1_backward sm80, 8, attn_ARCH [[$1]], sm80 tile_k, 16, 64)]])

// _tile(COLUMN, VALUE, CPU, MMA, OTHER): LEAST, MOST, STEP for each kind of arch.
m4_define([[_tile]], [[_number([[$1]], [[$2]], attn_if_res([[1, _res_most([[$1]]), 1]], m4_dnl
[[attn_if_cpu([[$3]], [[attn_if_mma([[$4]], [[$5]])]])]]))]])

// _together: refuses what begin.h would refuse of columns that are each right.
m4_define([[_together]], [[m4_ifelse(attn_ARCH, avx512bf16, [[_types(bf16)]], attn_ARCH, sm75, [[_types(f16)]],
attn_ARCH, sm80, [[_types(f16, bf16)]], attn_ARCH, sm90, [[_types(f16, bf16)]])m4_dnl
m4_ifelse(attn_KERNEL, mla, m4_dnl
[[attn_each([[_f]], (attn_mla_none), [[attn_if(_f, [[attn_fail([[flags has ']]_f[[', which kernel 'mla' has not]])]])]])m4_dnl
attn_each([[_k]], (warps, blocks), [[m4_ifdef([[_set_]]_k, m4_dnl
[[attn_fail([[tune has ']]_k[[', which kernel 'mla' sets by itself]])]])]])]])m4_dnl
m4_ifelse(attn_KERNEL attn_ARCH, forward sm90, m4_dnl
[[attn_if(paged, [[attn_fail([[flags has 'paged', must not on arch 'sm90']])]])m4_dnl
attn_each([[_k]], (warps, blocks), [[m4_ifdef([[_set_]]_k, m4_dnl
[[attn_fail([[tune has ']]_k[[', which arch 'sm90' sets by itself]])]])]])]])m4_dnl
attn_if_mma([[]], [[m4_ifdef([[_set_rows]], m4_dnl
[[attn_fail([[tune has 'rows', which is for archs 'sm75', 'sm80' and 'sm90']])]])]])m4_dnl
m4_ifelse(attn_KERNEL, forward, [[attn_if_mma([[attn_if(rope, m4_dnl
[[attn_fail([[flags has 'rope', must not on arch ']]attn_ARCH[[']])]])]])]])m4_dnl
attn_if(scaled, [[m4_ifelse(attn_KV_DTYPE, narrow, [[]], m4_dnl
[[attn_fail([[flags has 'scaled', must have dtype ']]attn_DTYPE[[:narrow' too]])]])]])m4_dnl
attn_if_res([[m4_ifelse(attn_GQA:attn_SUFFIX:attn_KV_DTYPE:attn_HEAD_DIM_V, any::attn_DTYPE:attn_HEAD_DIM, [[]], m4_dnl
[[attn_fail([[kernel ']]attn_KERNEL[[' has one type and one dim, gqa must be any and flags none]])]])m4_dnl
m4_ifelse(attn_KERNEL attn_ARCH, res1_backward sm80, [[_types(bf16)]])m4_dnl
attn_each([[_k]], (stages, debug), [[m4_ifdef([[_set_]]_k, m4_dnl
[[attn_fail([[tune has ']]_k[[', which kernel ']]attn_KERNEL[[' has not]])]])]])]])m4_dnl
m4_ifelse(attn_place(attn_KERNEL attn_ARCH, attn_templates), -1,
[[attn_fail([[no template for kernel ']]attn_KERNEL[[' on arch ']]attn_ARCH[[', have: ]]attn_templates)]])m4_dnl
attn_if(sink_tokens, [[attn_if(window, [[]],
[[attn_fail([[flags has 'sink_tokens', must have 'window' too: else no key is hidden]])]])]])]])

// _types(TYPE[, TYPE]): refuses a row whose q, k and v are not all of one of them; k and v of decode may be narrow.
m4_define([[_types]], [[m4_ifelse(attn_DTYPE:attn_KV_DTYPE, $1:$1, [[]], attn_DTYPE:attn_KV_DTYPE, $2:$2, [[]], m4_dnl
attn_KERNEL:attn_DTYPE:attn_KV_DTYPE, decode:$1:narrow, [[]], m4_dnl
attn_KERNEL:attn_DTYPE:attn_KV_DTYPE, decode:$2:narrow, [[]],
[[attn_fail([[dtype is ]]attn_DTYPE:attn_KV_DTYPE[[, must be $1]]m4_ifelse([[$2]], [[]], [[]], [[[[ or $2]]]])m4_dnl
[[ on arch ]]attn_ARCH)]])]])

// attn_row(KERNEL, ARCH, DTYPE, HEAD_DIM, GQA, FLAGS, TILE_Q, TILE_K, TUNE)
// checks the columns, binds them to attn_KERNEL ..., and their name (docs/naming.md) to attn_NAME,
// refuses a name seen before, and calls attn_emit of emit.m4.
m4_define([[attn_row]], [[m4_ifelse([[$#]], 9, [[]], [[attn_fail([[attn_row has $# columns, must have 9: ]]m4_dnl
[[KERNEL, ARCH, DTYPE, HEAD_DIM, GQA, FLAGS, TILE_Q, TILE_K, TUNE]])]])m4_dnl
_one_of(kernel, [[$1]], attn_kernels)m4_define([[attn_KERNEL]], [[$1]])m4_dnl
_one_of(arch, [[$2]], attn_archs)m4_define([[attn_ARCH]], [[$2]])m4_dnl
attn_if_any([[_any_row($@)]], [[_full_row($@)]])m4_dnl
m4_ifdef([[_line_of_]]attn_NAME, [[attn_fail([[row makes ]]attn_NAME[[, as line ]]_line_of(attn_NAME)[[ does]])]])m4_dnl
m4_define([[_line_of_]]attn_NAME, attn_line)attn_emit[[]]]])

// A row of attn_any_kernels.
m4_define([[_any_row]], [[m4_ifelse([[$3,$4,$5,$6,$7,$8,$9]], [[any,any,any,none,none,none,none]], [[]], m4_dnl
[[attn_fail([[a row of $1 must be attn_row($1, $2, any, any, any, none, none, none, none)]])]])m4_dnl
m4_ifelse(attn_place(attn_KERNEL attn_ARCH, attn_templates), -1,
[[attn_fail([[no template for kernel ']]attn_KERNEL[[' on arch ']]attn_ARCH[[', have: ]]attn_templates)]])m4_dnl
m4_define([[attn_NAME]], [[attn_$1_$2]])]])

m4_define([[_full_row]], [[m4_dnl
_dtype([[$3]], m4_translit([[$3]], :, [[,]]))m4_dnl
_head_dim([[$4]], m4_translit([[$4]], /, [[,]]))m4_dnl
_gqa([[$5]])_flags([[$6]])_tune([[$9]])m4_dnl
m4_ifelse(attn_KERNEL, decode, [[_one_of(tile_q, [[$7]], [[8, 16, 32]])_one_of(tile_k, [[$8]], [[16, 32]])]], m4_dnl
attn_KERNEL, mla, [[_one_of(tile_q, [[$7]], 64)_number(tile_k, [[$8]], 16, 96, 16)]], m4_dnl
[[_tile(tile_q, [[$7]], [[8, 1024, 1]], m4_dnl
[[m4_ifelse(attn_ARCH, sm90, [[64, 256, 64]],
[[m4_eval(16 * _warps), 1024, m4_eval(16 * _warps), [[, 16 for each of the warps]]]])]], m4_dnl
[[m4_eval(4 * _warps), 256, m4_eval(4 * _warps), [[, 4 for each of the warps]]]])m4_dnl
_tile(tile_k, [[$8]], [[32, 1024, 32]], [[16, 256, 16]], [[32, 128, 32]])]])m4_dnl
m4_define([[attn_TILE_Q]], [[$7]])m4_define([[attn_TILE_K]], [[$8]])_together[[]]m4_dnl
m4_define([[attn_NAME]], [[attn_$1_$2_]]attn_DTYPE[[]]m4_dnl
m4_ifelse(attn_KV_DTYPE, attn_DTYPE, [[]], [[[[kv]]attn_KV_DTYPE]])[[_d]]m4_dnl
m4_ifelse(attn_HEAD_DIM_MIN, attn_HEAD_DIM, [[]], [[attn_HEAD_DIM_MIN[[to]]]])attn_HEAD_DIM[[]]m4_dnl
m4_ifelse(attn_HEAD_DIM_V, attn_HEAD_DIM, [[]], [[[[v]]attn_HEAD_DIM_V]])[[]]m4_dnl
m4_ifelse(attn_GQA, any, [[]], [[[[_g]]attn_GQA]])[[_q$7k$8]]attn_SUFFIX)]])
m4_define([[_line_of]], [[m4_indir([[_line_of_$1]])]])
