#!/bin/sh
# test_gen.sh - the generator: the checked-in instances, every refusal, all models, the reader of config.json.
. "$(dirname "$0")/check.sh"
cd "$tmp" || exit 1

# ---- instantiations/default is what the table makes ------------------------------------------------
"$gen" default fresh
"$gen" --list default >list
for f in fresh/* "$root"/instantiations/default/*; do
    f=${f##*/}
    same "instantiations/default/$f is stale, run: gen/gen.sh default instantiations/default" \
        "fresh/$f" "$root/instantiations/default/$f"
done
same "the list is sources.txt" fresh/sources.txt list

# ---- what a row becomes -----------------------------------------------------------------------------
cat >one.m4 <<'END'
attn_row(forward, avx2, f32:f16, 192/128, 3, causal+sink_logits+paged, 96, 64, none) // a comment
END
cat >want <<'END'
/* Made by gen/gen.sh from one.m4.  Do not edit: edit the table and run gen/gen.sh (docs/tables.md). */
#define ATTN_NAME attn_forward_avx2_f32kvf16_d192v128_g3_q96k64_causal_sink_logits_paged
#define ATTN_EXPORT 1
#define ATTN_KERNEL ATTN_KERNEL_FORWARD
#define ATTN_ARCH ATTN_ARCH_AVX2
#define ATTN_DTYPE ATTN_F32
#define ATTN_KV_DTYPE ATTN_F16
#define ATTN_HEAD_DIM 192
#define ATTN_HEAD_DIM_V 128
#define ATTN_GQA 3
#define ATTN_CAUSAL 1
#define ATTN_SINK_LOGITS 1
#define ATTN_PAGED 1
#define ATTN_TILE_Q 96
#define ATTN_TILE_K 64
#include <attn/attn.h>
END
"$gen" one.m4 one
same "a row's file" want one/attn_forward_avx2_f32kvf16_d192v128_g3_q96k64_causal_sink_logits_paged.c

# Only what changed is written; what left the table is removed.
sed 's/^attn_row(.*f32:f16/&/; s/paged/varlen+paged/' one.m4 >>one.m4
"$gen" one.m4 one
touch -d '2001-01-01' one/*
"$gen" one.m4 one
find one -type f -newermt '2002-01-01' >touched
same "an unchanged file is not written" /dev/null touched
sed -i 1d one.m4
"$gen" one.m4 one
"$gen" --list one.m4 >list
find one -name 'attn_*' | sed 's,.*/,,; s/$/ avx2/' >files
same "a file whose row is gone is removed" list files

# CUDA rows: a .cu file, attn.cuh, and a place behind ATTN_BUILD_CUDA.
cat >cuda.m4 <<'END'
attn_row(forward, sm80, f16, 16..128/64, any, causal, 64, 48, stages=2+warps=2+blocks=3+spill=8+debug=1)
attn_row(forward, sm75, f16, 16..40, 4, none, 64, 64, none)
attn_row(forward, sm80, bf16, 40..40, any, none, 64, 64, none)
attn_row(forward, simt, f32:bf16, any, any, none, 64, 32, none)
END
runs "CUDA rows" "$gen" cuda.m4 cuda
cat >want <<'END'
#define ATTN_ARCH ATTN_ARCH_SM80
#define ATTN_DTYPE ATTN_F16
#define ATTN_HEAD_DIM 128
#define ATTN_HEAD_DIM_V 64
#define ATTN_HEAD_DIM_MIN 16
#define ATTN_CAUSAL 1
#define ATTN_TILE_Q 64
#define ATTN_TILE_K 48
#define ATTN_STAGES 2
#define ATTN_WARPS 2
#define ATTN_BLOCKS 3
#define ATTN_SPILL 8
#define ATTN_DEBUG 1
#include <attn/attn.cuh>
END
tail -n 14 cuda/attn_forward_sm80_f16_d16to128v64_q64k48_causal.cu >got
same "a CUDA row's file" want got
"$gen" --list cuda.m4 >got
cat >want <<'END'
attn_forward_sm80_f16_d16to128v64_q64k48_causal.cu sm80
attn_forward_sm75_f16_d16to40_g4_q64k64.cu sm75
attn_forward_sm80_bf16_d40_q64k64.cu sm80
attn_forward_simt_f32kvbf16_dany_q64k32.cu simt
END
same "CUDA rows' names" want got
sed -n '/^#if ATTN_BUILD_CUDA/,/^#endif/p' cuda/instances.def | head -n 3 >got
printf '%s\n' '#if ATTN_BUILD_CUDA' 'ATTN_INSTANCE(attn_forward_sm80_f16_d16to128v64_q64k48_causal)' '#endif' >want
same "a CUDA row's place in instances.def" want got
runs "the table of CI" "$gen" --list ci

# ---- the lists of rows.m4 are those of the headers --------------------------------------------------
include=$root/include/attn
sed -n 's/^ *X(\([A-Z_]*\), \([a-z_]*\),.*/\1 \2/p' "$include/param.h" | while read -r macro flag; do
    grep -q "^#ifndef ATTN_$macro\$" "$include/template/begin.h" && echo "$flag"
done >want
printf 'm4_divert(0)attn_flags' | "${M4:-m4}" -P "$root/gen/rows.m4" - | tr -d ' ' | tr , '\n' >got
echo >>got
same "attn_flags of rows.m4 are those of ATTN_FEATURES in param.h that begin.h takes" want got
for arch in $(printf 'm4_divert(0)attn_archs' | "${M4:-m4}" -P "$root/gen/rows.m4" - | tr -d ,); do
    runs "arch '$arch' of rows.m4 is in param.h" \
        grep -qi "^#define ATTN_ARCH_$arch " "$include/param.h"
done

# ---- lists made by m4 alone -------------------------------------------------------------------------
operands=include/attn/device/wgmma_operands.cuh
"${M4:-m4}" -P "$root/gen/wgmma.m4" >got
same "$operands is stale, run: m4 -P gen/wgmma.m4 >$operands" got "$root/$operands"

# ---- what is refused, with file and line ------------------------------------------------------------
while IFS='|' read -r text row; do
    printf '// a comment\n%s\n' "$row" >bad.m4
    refuses "$row" "bad.m4:2: error: $text" "$gen" --list bad.m4
done <<'END'
not a row: 'attn_rwo(forward, cpu, f32, any, any, none, 32, 32, none)', must be|attn_rwo(forward, cpu, f32, any, any, none, 32, 32, none)
not a row: 'attn_row(forward, cpu', must be|attn_row(forward, cpu
not a row: 'attn_row(forward) attn_row(forward)', must be|attn_row(forward) attn_row(forward)
not a row: 'attn_row(m4_dnl)', must be|attn_row(m4_dnl)
not a row: 'hello', must be|hello
not a row: 'attn_each([[D]], (), [[', must be|attn_each([[D]], (), [[
']])' ends no attn_each(...)|]])
attn_each(...) has no end, ']])' on a line of its own|attn_each([[D]], (f16, f32), [[
no attn_row(...): a table needs at least one|// nothing
attn_row has 8 columns, must have 9: KERNEL, ARCH, DTYPE, HEAD_DIM, GQA, FLAGS, TILE_Q, TILE_K, TUNE|attn_row(forward, cpu, f32, any, any, none, 32, 32)
attn_row has 10 columns, must have 9|attn_row(forward, cpu, f32, any, any, none, 32, 32, none, 1)
kernel is 'forwrad', must be one of: forward|attn_row(forwrad, cpu, f32, any, any, none, 32, 32, none)
arch is 'cpv', must be one of: cpu, avx2, avx512, avx512bf16, simt, sm75, sm80, sm90|attn_row(forward, cpv, f32, any, any, none, 32, 32, none)
dtype is 'f33', must be one of: f32, f16, bf16|attn_row(forward, cpu, f33, any, any, none, 32, 32, none)
dtype of k and v is '', must be one of: f32, f16, bf16|attn_row(forward, cpu, f32:, any, any, none, 32, 32, none)
dtype of k and v is 'int4', must be one of: f32, f16, bf16|attn_row(forward, cpu, f32:int4, any, any, none, 32, 32, none)
dtype is 'f32:f32', must be 'f32': k and v are as q|attn_row(forward, cpu, f32:f32, any, any, none, 32, 32, none)
dtype is 'f32:f16:f16', must be Q or Q:KV|attn_row(forward, cpu, f32:f16:f16, any, any, none, 32, 32, none)
dtype is f32:f32, must be bf16 on arch avx512bf16|attn_row(forward, avx512bf16, f32, any, any, none, 32, 32, none)
dtype is bf16:f32, must be bf16 on arch avx512bf16|attn_row(forward, avx512bf16, bf16:f32, any, any, none, 32, 32, none)
dtype is f32:f32, must be f16 or bf16 on arch sm80|attn_row(forward, sm80, f32, 64, any, none, 64, 64, none)
dtype is f16:bf16, must be f16 or bf16 on arch sm80|attn_row(forward, sm80, f16:bf16, 64, any, none, 64, 64, none)
dtype is f32:f32, must be f16 or bf16 on arch sm90|attn_row(forward, sm90, f32, 64, any, none, 64, 64, none)
dtype is bf16:bf16, must be f16 on arch sm75|attn_row(forward, sm75, bf16, 64, any, none, 64, 64, none)
head_dim is '16..64', must be 1 to 1024, QK/V, or any|attn_row(forward, cpu, f32, 16..64, any, none, 32, 32, none)
head_dim is '16..64', must be 1 to 1024, QK/V, or any|attn_row(forward, simt, f32, 16..64, any, none, 32, 32, none)
head_dim is 'any', must be a multiple of 8, 16 to 256, QK/V, or MIN..MAX|attn_row(forward, sm80, f16, any, any, none, 64, 64, none)
head_dim is '20', must be a multiple of 8, 16 to 256, QK/V, or MIN..MAX|attn_row(forward, sm80, f16, 20, any, none, 64, 64, none)
head_dim is '264', must be a multiple of 8, 16 to 256, QK/V, or MIN..MAX|attn_row(forward, sm75, f16, 264, any, none, 64, 64, none)
head_dim is '16...64', must be a multiple of 8|attn_row(forward, sm80, f16, 16...64, any, none, 64, 64, none)
head_dim is '16.64', must be a multiple of 8|attn_row(forward, sm80, f16, 16.64, any, none, 64, 64, none)
head_dim is '', must be a multiple of 8|attn_row(forward, sm80, f16, 16.., any, none, 64, 64, none)
least head_dim is '', must be a multiple of 8, 16 to 64|attn_row(forward, sm80, f16, ..64, any, none, 64, 64, none)
least head_dim is '12', must be a multiple of 8, 16 to 64|attn_row(forward, sm80, f16, 12..64, any, none, 64, 64, none)
least head_dim is '64', must be a multiple of 8, 16 to 32|attn_row(forward, sm80, f16, 64..32, any, none, 64, 64, none)
least head_dim is '40', must be a multiple of 8, 16 to 32|attn_row(forward, sm80, f16, 40..64/32, any, none, 64, 64, none)
head_dim is '0', must be 1 to 1024, QK/V, or any|attn_row(forward, cpu, f32, 0, any, none, 32, 32, none)
head_dim is '1025', must be 1 to 1024, QK/V, or any|attn_row(forward, cpu, f32, 1025, any, none, 32, 32, none)
head_dim is '064', must be 1 to 1024, QK/V, or any|attn_row(forward, cpu, f32, 064, any, none, 32, 32, none)
head_dim is '-64', must be 1 to 1024, QK/V, or any|attn_row(forward, cpu, f32, -64, any, none, 32, 32, none)
head_dim of v is 'any', must be 1 to 1024|attn_row(forward, cpu, f32, 64/any, any, none, 32, 32, none)
head_dim of q and k is 'any', must be 1 to 1024|attn_row(forward, cpu, f32, any/64, any, none, 32, 32, none)
head_dim is '64/64', must be '64': that of v is the same|attn_row(forward, cpu, f32, 64/64, any, none, 32, 32, none)
head_dim is '3/2/1', must be 1 to 1024, QK/V, or any|attn_row(forward, cpu, f32, 3/2/1, any, none, 32, 32, none)
gqa is '0', must be 1 to 1024, or any|attn_row(forward, cpu, f32, any, 0, none, 32, 32, none)
gqa is '4.5', must be 1 to 1024, or any|attn_row(forward, cpu, f32, any, 4.5, none, 32, 32, none)
flags is 'casual': 'casual' must be one of: causal, window|attn_row(forward, cpu, f32, any, any, casual, 32, 32, none)
flags is '': '' must be one of: causal, window|attn_row(forward, cpu, f32, any, any, , 32, 32, none)
flags is 'causal++paged': '' must be one of: causal, window|attn_row(forward, cpu, f32, any, any, causal++paged, 32, 32, none)
flags is 'causal+all': 'all' must be one of: causal, window|attn_row(forward, cpu, f32, any, any, causal+all, 32, 32, none)
flags is 'causal+causal': 'causal' stands there twice|attn_row(forward, cpu, f32, any, any, causal+causal, 32, 32, none)
flags is 'window+causal': 'causal' is out of order, which is: causal, window|attn_row(forward, cpu, f32, any, any, window+causal, 32, 32, none)
flags has 'sink_tokens', must have 'window' too: else no key is hidden|attn_row(forward, cpu, f32, any, any, sink_tokens, 32, 32, none)
tile_q is '7', must be 8 to 1024|attn_row(forward, cpu, f32, any, any, none, 7, 32, none)
tile_q is 'any', must be 8 to 1024|attn_row(forward, cpu, f32, any, any, none, any, 32, none)
tile_k is '33', must be a multiple of 32, 32 to 1024|attn_row(forward, cpu, f32, any, any, none, 32, 33, none)
tile_k is '1056', must be a multiple of 32, 32 to 1024|attn_row(forward, cpu, f32, any, any, none, 32, 1056, none)
tile_k is '99999999999999999999', must be a multiple of 32, 32 to 1024|attn_row(forward, cpu, f32, any, any, none, 32, 99999999999999999999, none)
tune is 'stages=2', must be none on arch 'cpu'|attn_row(forward, cpu, f32, any, any, none, 32, 32, stages=2)
tile_q is '32', must be a multiple of 64, 64 to 1024, 16 for each of the warps|attn_row(forward, sm80, f16, 64, any, none, 32, 64, none)
tile_q is '48', must be a multiple of 32, 32 to 1024, 16 for each of the warps|attn_row(forward, sm75, f16, 64, any, none, 48, 64, warps=2)
tile_q is '96', must be a multiple of 64, 64 to 256|attn_row(forward, sm90, f16, 64, any, none, 96, 64, none)
flags has 'paged', must not on arch 'sm90'|attn_row(forward, sm90, f16, 64, any, paged, 64, 64, none)
tune has 'warps', which arch 'sm90' sets by itself|attn_row(forward, sm90, f16, 64, any, none, 64, 64, warps=8)
tune has 'rows', which is for archs 'sm75', 'sm80' and 'sm90'|attn_row(forward, simt, f16, 64, any, none, 64, 64, rows=8)
tune rows is '0', must be 1 to 65536|attn_row(decode, sm80, f16, 64, any, none, 16, 16, rows=0)
flags has 'window', which kernel 'mla' has not|attn_row(mla, sm90, f16, 576/512, any, window, 64, 48, none)
head_dim of q and k is '600', must be a multiple of 64, 128 to 576|attn_row(mla, sm90, f16, 600/512, any, none, 64, 48, none)
tile_q is '128', must be one of: 64|attn_row(mla, sm90, f16, 576/512, any, none, 128, 48, none)
tile_k is '40', must be a multiple of 16, 16 to 96|attn_row(mla, sm90, f16, 576/512, any, none, 64, 40, none)
tune has 'warps', which kernel 'mla' sets by itself|attn_row(mla, sm90, f16, 576/512, any, none, 64, 48, warps=4)
no template for kernel 'mla' on arch 'sm80'|attn_row(mla, sm80, f16, 576/512, any, none, 64, 48, none)
tile_q is '64', must be one of: 8, 16, 32|attn_row(decode, sm80, f16, 64, any, none, 64, 16, none)
tile_k is '64', must be one of: 16, 32|attn_row(decode, sm90, f16, 64, any, none, 16, 64, none)
no template for kernel 'decode' on arch 'sm75', have: |attn_row(decode, sm75, f16, 64, any, none, 16, 16, none)
tile_k is '24', must be a multiple of 16, 16 to 256|attn_row(forward, sm80, f16, 64, any, none, 64, 24, none)
tile_q is '260', must be a multiple of 16, 16 to 256, 4 for each of the warps|attn_row(forward, simt, f32, any, any, none, 260, 32, none)
tile_k is '12', must be a multiple of 32, 32 to 128|attn_row(forward, simt, f32, any, any, none, 64, 12, none)
tune key is 'stage', must be one of: stages, warps, blocks, rows, spill, debug|attn_row(forward, sm80, f16, 64, any, none, 64, 64, stage=2)
tune stages is 'two', must be 1 to 4|attn_row(forward, sm80, f16, 64, any, none, 64, 64, stages=two)
tune warps is '17', must be 1 to 16|attn_row(forward, sm80, f16, 64, any, none, 64, 64, warps=17)
tune blocks is '0', must be 1 to 32|attn_row(forward, simt, f16, 64, any, none, 64, 64, blocks=0)
tune spill is '65537', must be 0 to 65536|attn_row(forward, simt, f16, 64, any, none, 64, 64, spill=65537)
tune debug is '2', must be 0 to 1|attn_row(forward, simt, f16, 64, any, none, 64, 64, debug=2)
tune is 'stages', must be none, or KEY=VALUE joined by +, KEY one of: stages, warps, blocks, rows, spill, debug|attn_row(forward, sm80, f16, 64, any, none, 64, 64, stages)
tune is 'warps=2+blocks=1+warps=2': 'warps' stands there twice|attn_row(forward, sm80, f16, 64, any, none, 64, 64, warps=2+blocks=1+warps=2)
END
printf 'attn_each([[D]], (f32, f16, f32), [[\n\nattn_row(forward, cpu, D, any, any, none, 32, 32, none)\n]])\n' >bad.m4
refuses "a row made twice" "bad.m4:3: error: row makes attn_forward_cpu_f32_dany_q32k32, as line 3 does" "$gen" bad.m4 bad
printf '%s\n' 'attn_row(forward, cpu, f32, 8, any, none, 32, 32, none)' >bad.m4
cat bad.m4 bad.m4 >twice.m4
refuses "a row that stands there twice" "twice.m4:2: error: row makes attn_forward_cpu_f32_d8_q32k32, as line 1 does" \
    "$gen" --list twice.m4
refuses "a table that is not there" "nosuch.m4: error: no such table" "$gen" --list nosuch.m4
refuses "a model that is not there" "nosuch: error: no such table: must be a name of gen/tables/" "$gen" --list nosuch
refuses "no m4" "nosuchm4: error: not found" env M4=nosuchm4 "$gen" --list default

# ---- models -----------------------------------------------------------------------------------------
grep -v '^#' "$root/gen/models.tsv" | cut -f1 >keys
sort keys | uniq -d >twice
same "no key of models.tsv stands there twice" /dev/null twice
for key in $(cat keys) smollm2 gptoss gemma2_2b dsv3 whisper; do
    runs "model $key" "$gen" --list "$key"
done
"$gen" --list gemma2_2b >want
{ "$gen" --list gemma2_2b_g; "$gen" --list gemma2_2b_l; } | sort -u >both
sort want >sorted
same "gemma2_2b is gemma2_2b_l and gemma2_2b_g" both sorted
"$gen" --show gptoss >shown.m4
"$gen" --list gptoss >want
"$gen" --list shown.m4 >got
same "what --show prints is a table" want got
# Tensor cores: a plain row ahead, the exact head_dim if 8 divides it, else the range that covers it.
sm80_rows() { sed -n "s/_q[0-9]*k[0-9]*//; s/\.cu sm80\$//p" got; }
printf "%s\n" attn_decode_sm80_bf16_d128_g4_causal_varlen_paged attn_forward_sm80_bf16_d128_g4_causal \
    attn_forward_sm80_bf16_d128_g4_causal_varlen_paged >want
"$gen" --list llama3_8b >got
sm80_rows >rows
same "rows of llama3_8b on tensor cores" want rows
printf "config\t8\t8\t60\t60\t1\t-\t-\t-\t-\t-\tf16\tnone\tnowhere\n" >odd.tsv
awk -v key=config -v general="$root/gen/tables/default.m4" -f "$root/gen/model.awk" odd.tsv >odd.m4
"$gen" --list odd.m4 >got
sm80_rows >rows
printf "%s\n" attn_decode_sm80_f16_d16to128_g1_causal_varlen_paged attn_forward_sm80_f16_d16to64_g1_causal_varlen_paged >want
same "rows of a head_dim of 60 on tensor cores" want rows
"$gen" --list dsv3_dec >got
sm80_rows >rows
same "a head_dim of 576 has no row on tensor cores" /dev/null rows

# ---- config.json: each file of configs/ is the model of that name -----------------------------------
runs "config.c" "$CC" -std=c11 -Wall -Wextra -Werror -O1 -o config "$root/gen/config.c"
for f in "$root"/tests/configs/*.json; do
    key=$(basename "$f" .json)
    ./config "$f" >rows 2>errors
    same "$key.json is read" /dev/null errors
    "$gen" --list "$key" >want 2>&1
    awk -v key=config -v general="$root/gen/tables/default.m4" -f "$root/gen/model.awk" rows >got.m4 &&
        "$gen" --list got.m4 >got 2>&1
    same "$key.json makes the rows of $key" want got
    # The numbers too, which no row holds: window, chunk, softcap.
    grep "^$key$(printf "\t")" "$root/gen/models.tsv" >lines || grep "^${key}_" "$root/gen/models.tsv" >lines
    awk -F '\t' '{ $1 = $13 = $14 = ""; $9 += 0; print }' lines | sort >want
    awk -F '\t' '{ $1 = $13 = $14 = ""; $9 += 0; print }' rows | sort >got
    same "$key.json has the numbers of $key" want got
done
"$gen" --list "$root/tests/configs/smollm2_135m.json" >got
"$gen" --list smollm2_135m >want
same "gen.sh takes a config.json" want got
grep -v '^#' "$root/tests/configs/refused.tsv" >refused
while IFS="$(printf '\t')" read -r text json; do
    printf '%s' "$json" >bad.json
    refuses "$json" "bad.json: error: $text" ./config bad.json
done <refused
printf '{"a": "\001"}' >bad.json
refuses "a control character" "must be a string without control characters" ./config bad.json
awk 'BEGIN { for (i = 0; i < 100; i++) printf "["; }' >bad.json
refuses "deep nesting" "must be nested at most 32 deep" ./config bad.json
awk 'BEGIN { printf "{\"a\": \""; for (i = 0; i < 1200000; i++) printf "x"; printf "\"}" }' >bad.json
refuses "a large file" "is larger than" ./config bad.json
refuses "no file" "nosuch.json: error: cannot be opened" ./config nosuch.json
refuses "a bad config.json by gen.sh" "nosuch.json: error: cannot be opened" "$gen" --list nosuch.json
finish
