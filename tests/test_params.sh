#!/bin/sh
# test_params.sh - every #error in include/ is provoked, and is the text that was meant.
#
# The list of texts is taken from the headers, so an #error without a row here is a failure.
. "$(dirname "$0")/check.sh"
cd "$tmp" || exit 1

# A good block; a row changes it: NAME=VALUE defines, -NAME leaves out, +OPTION is for the compiler; an ARCH of CUDA
# makes it a good block for that.
good='ATTN_NAME=x ATTN_KERNEL=ATTN_KERNEL_FORWARD ATTN_ARCH=ATTN_ARCH_CPU ATTN_DTYPE=ATTN_F32 ATTN_HEAD_DIM=64'

set_cuda() {
    printf '#define ATTN_EMULATED\n#undef ATTN_ARCH\n#define ATTN_ARCH ATTN_ARCH_%s\n' "$1"
    printf '#undef ATTN_DTYPE\n#define ATTN_DTYPE ATTN_F16\n'
}

# block CHANGE...: the file of that block; options for the compiler in $options.
block() {
    options=
    echo '#include <attn/attn.h>'
    for item in $good "$@"; do
        case $item in
        SIMT | SM75 | SM80 | SM90) set_cuda "$item" ;;
        +*) options="$options ${item#+}" ;;
        -*) echo "#undef ${item#-}" ;;
        *) printf '#undef %s\n#define %s %s\n' "${item%%=*}" "${item%%=*}" "${item#*=}" ;;
        esac
    done
    echo '#include <attn/instance.h>'
}

# provokes TEXT CHANGE...: the block so changed gives an #error that has TEXT.
provokes() {
    text=$1
    shift
    block "$@" >row.c
    # shellcheck disable=SC2086
    if $CC -std=gnu11 -E $options -I"$root/tests/emu" -I"$root/include" row.c >row.i 2>row.log; then
        fail "$*: accepted, must say '$text'"
    elif grep -F -e "$text" row.log >found; then
        pass
        sed -n 's/.*#error "\(attn: .*\)".*/\1/p' found >>provoked
        sed -n 's/.*error: "\(attn: .*\)"$/\1/p' found >>provoked
    else
        fail "$*: must say '$text', says"
        grep 'error' row.log
    fi
}

: >provoked
block >row.c
# shellcheck disable=SC2086
runs "the good block" $CC -std=gnu11 -fsyntax-only -I"$root/include" row.c

while IFS='|' read -r text changes; do
    # shellcheck disable=SC2086
    [ -z "$text" ] || provokes "$text" $changes
done <<'ROWS'
define ATTN_NAME,|-ATTN_NAME
define ATTN_KERNEL (|-ATTN_KERNEL
ATTN_KERNEL must be|ATTN_KERNEL=99
ATTN_KERNEL_MERGE take ATTN_NAME and ATTN_ARCH alone|SIMT ATTN_KERNEL=ATTN_KERNEL_APPEND
ATTN_KERNEL_MERGE take ATTN_NAME and ATTN_ARCH alone|SIMT ATTN_KERNEL=ATTN_KERNEL_MERGE -ATTN_DTYPE -ATTN_HEAD_DIM ATTN_WARPS=4
ATTN_ARCH must be ATTN_ARCH_SIMT for|ATTN_KERNEL=ATTN_KERNEL_APPEND -ATTN_DTYPE -ATTN_HEAD_DIM
ATTN_KERNEL must be|ATTN_KERNEL=ATTN_KERNEL_FORWRAD
define ATTN_ARCH (|-ATTN_ARCH
ATTN_ARCH must be|ATTN_ARCH=0
ATTN_ARCH must be|ATTN_ARCH=ATTN_ARCH_AXV2
define ATTN_DTYPE (|-ATTN_DTYPE
ATTN_DTYPE must be|ATTN_DTYPE=ATTN_E4M3
ATTN_DTYPE must be|ATTN_DTYPE=ATTN_BF61
define ATTN_HEAD_DIM (|-ATTN_HEAD_DIM
ATTN_HEAD_DIM must be|ATTN_HEAD_DIM=1025
ATTN_HEAD_DIM must be|ATTN_HEAD_DIM=(-1)
ATTN_KV_DTYPE must be|ATTN_KV_DTYPE=ATTN_INT8
ATTN_KV_DTYPE must be|ATTN_KV_DTYPE=0
ATTN_ARCH_AVX512BF16 serves|ATTN_ARCH=ATTN_ARCH_AVX512BF16
ATTN_HEAD_DIM_V must be|ATTN_HEAD_DIM_V=1025
ATTN_HEAD_DIM_V must be|ATTN_HEAD_DIM_V=(-1)
ATTN_HEAD_DIM_V must be|ATTN_HEAD_DIM_V=0
ATTN_HEAD_DIM_V must be|ATTN_HEAD_DIM=0 ATTN_HEAD_DIM_V=64
ATTN_GQA must be|ATTN_GQA=-1
ATTN_GQA must be|ATTN_GQA=1025
ATTN_SINK_TOKENS needs ATTN_WINDOW|ATTN_SINK_TOKENS=1
ATTN_TILE_Q must be|ATTN_TILE_Q=7
ATTN_TILE_Q must be|ATTN_TILE_Q=1025
ATTN_TILE_K must be|ATTN_TILE_K=0
ATTN_TILE_K must be|ATTN_TILE_K=48
ATTN_TILE_K must be|ATTN_TILE_K=1056
ATTN_WARPS, ATTN_STAGES, ATTN_BLOCKS, ATTN_SPILL and ATTN_DEBUG have no meaning|ATTN_WARPS=2
ATTN_WARPS, ATTN_STAGES, ATTN_BLOCKS, ATTN_SPILL and ATTN_DEBUG have no meaning|ATTN_STAGES=2
ATTN_WARPS, ATTN_STAGES, ATTN_BLOCKS, ATTN_SPILL and ATTN_DEBUG have no meaning|ATTN_BLOCKS=2
ATTN_WARPS, ATTN_STAGES, ATTN_BLOCKS, ATTN_SPILL and ATTN_DEBUG have no meaning|ATTN_SPILL=0
ATTN_WARPS, ATTN_STAGES, ATTN_BLOCKS, ATTN_SPILL and ATTN_DEBUG have no meaning|ATTN_DEBUG=1
ATTN_HEAD_DIM_MIN has a meaning on|ATTN_HEAD_DIM_MIN=16
ATTN_HEAD_DIM_MIN has a meaning on|SIMT ATTN_HEAD_DIM_MIN=16
ATTN_ARCH of a GPU is for nvcc|SM80 -ATTN_EMULATED
ATTN_HEAD_DIM must be a multiple of 8|SM80 ATTN_HEAD_DIM=0
ATTN_HEAD_DIM must be a multiple of 8|SM80 ATTN_HEAD_DIM=20
ATTN_HEAD_DIM must be a multiple of 8|SM75 ATTN_HEAD_DIM=264
ATTN_HEAD_DIM_V must be a multiple of 8|SM80 ATTN_HEAD_DIM_V=8
ATTN_HEAD_DIM_V must be a multiple of 8|SM80 ATTN_HEAD_DIM_V=100
ATTN_HEAD_DIM_MIN must be|SM80 ATTN_HEAD_DIM_MIN=8
ATTN_HEAD_DIM_MIN must be|SM80 ATTN_HEAD_DIM_MIN=20
ATTN_HEAD_DIM_MIN must be|SM80 ATTN_HEAD_DIM_MIN=72
ATTN_HEAD_DIM_MIN must be|SM80 ATTN_HEAD_DIM_MIN=40 ATTN_HEAD_DIM_V=32
ATTN_ARCH_SM90 serve ATTN_DTYPE|SM80 ATTN_DTYPE=ATTN_F32
ATTN_ARCH_SM90 serve ATTN_DTYPE|SM80 ATTN_KV_DTYPE=ATTN_BF16
ATTN_ARCH_SM90 serve ATTN_DTYPE|SM90 ATTN_DTYPE=ATTN_F32
ATTN_ARCH_SM90 serve ATTN_DTYPE|SM90 ATTN_KV_DTYPE=ATTN_BF16
ATTN_ARCH_SM75 serves|SM75 ATTN_DTYPE=ATTN_BF16
ATTN_ARCH_SM75 serves|SM75 ATTN_KV_DTYPE=ATTN_F32
ATTN_WARPS must be|SM80 ATTN_WARPS=0
ATTN_WARPS must be|SIMT ATTN_WARPS=17
ATTN_STAGES must be 1 to 4|SM80 ATTN_STAGES=0
ATTN_STAGES must be 1 to 4|SIMT ATTN_STAGES=5
ATTN_BLOCKS must be|SM80 ATTN_BLOCKS=0
ATTN_BLOCKS must be|SIMT ATTN_BLOCKS=33
ATTN_SPILL must be|SM80 ATTN_SPILL=-1
ATTN_SPILL must be|SIMT ATTN_SPILL=65537
ATTN_DEBUG must be|SIMT ATTN_DEBUG=2
ATTN_TILE_Q must be a multiple of 16|SM80 ATTN_TILE_Q=32
ATTN_TILE_Q must be a multiple of 16|SM75 ATTN_TILE_Q=48 ATTN_WARPS=2
ATTN_TILE_Q must be a multiple of 16|SM80 ATTN_TILE_Q=1088
ATTN_TILE_Q must be a multiple of 4|SIMT ATTN_TILE_Q=24
ATTN_TILE_Q must be a multiple of 4|SIMT ATTN_TILE_Q=272
ATTN_TILE_K must be a multiple of 16|SM80 ATTN_TILE_K=24
ATTN_TILE_K must be a multiple of 16|SM80 ATTN_TILE_K=0
ATTN_TILE_K must be a multiple of 16|SM75 ATTN_TILE_K=272
ATTN_TILE_K must be a multiple of 32|SIMT ATTN_TILE_K=48
ATTN_TILE_K must be a multiple of 32|SIMT ATTN_TILE_K=160
ATTN_TILE_Q must be a multiple of 64|SM90 ATTN_TILE_Q=32
ATTN_TILE_Q must be a multiple of 64|SM90 ATTN_TILE_Q=96
ATTN_TILE_Q must be a multiple of 64|SM90 ATTN_TILE_Q=320
ATTN_TILE_K must be a multiple of 16 from 16 to 256 on ATTN_ARCH_SM90|SM90 ATTN_TILE_K=24
ATTN_TILE_K must be a multiple of 16 from 16 to 256 on ATTN_ARCH_SM90|SM90 ATTN_TILE_K=272
ATTN_WARPS must be 4 + ATTN_TILE_Q / 16|SM90 ATTN_WARPS=8
ATTN_BLOCKS must be 1 on ATTN_ARCH_SM90|SM90 ATTN_BLOCKS=2
ATTN_PAGED must be 0 on ATTN_ARCH_SM90|SM90 ATTN_PAGED=1
ATTN_KERNEL_DECODE is for|SIMT ATTN_KERNEL=ATTN_KERNEL_DECODE
ATTN_TILE_Q must be 8, 16 or 32|SM90 ATTN_KERNEL=ATTN_KERNEL_DECODE ATTN_TILE_Q=64
ATTN_TILE_K must be 16 or 32|SM80 ATTN_KERNEL=ATTN_KERNEL_DECODE ATTN_TILE_K=48
ATTN_ROWS must be 1 to 65536|SM80 ATTN_KERNEL=ATTN_KERNEL_DECODE ATTN_ROWS=0
ATTN_ROWS must be 1 to 65536|SM90 ATTN_KERNEL=ATTN_KERNEL_DECODE ATTN_ROWS=65537
ATTN_ROWS has a meaning|SIMT ATTN_ROWS=64
ATTN_ROWS must be 1 to 65536|SM90 ATTN_ROWS=0
ATTN_ROWS has a meaning|ATTN_ROWS=64
ATTN_WARPS must be 1 to 16|SM90 ATTN_KERNEL=ATTN_KERNEL_DECODE ATTN_WARPS=17
ATTN_KERNEL_MLA is for ATTN_ARCH_SM90|SM80 ATTN_KERNEL=ATTN_KERNEL_MLA
ATTN_HEAD_DIM must be a multiple of 64 from 128 to 576|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=640
ATTN_HEAD_DIM must be a multiple of 64 from 128 to 576|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=200
ATTN_HEAD_DIM_V must be a multiple of 128 from 128|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=576
ATTN_HEAD_DIM_V must be a multiple of 128 from 128|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=192 ATTN_HEAD_DIM_V=256
ATTN_HEAD_DIM_MIN has no meaning|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=256 ATTN_HEAD_DIM_MIN=128
ATTN_KERNEL_MLA has ATTN_CAUSAL|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=256 ATTN_WINDOW=1
ATTN_KERNEL_MLA has ATTN_CAUSAL|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=256 ATTN_MASK=1
ATTN_TILE_Q must be 64 in|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=256 ATTN_TILE_Q=128
ATTN_TILE_K must be a multiple of 16 from 16 to 96|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=256 ATTN_TILE_K=40
ATTN_WARPS must be 12|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=256 ATTN_WARPS=8
ATTN_BLOCKS must be 1 on ATTN_ARCH_SM90|SM90 ATTN_KERNEL=ATTN_KERNEL_MLA ATTN_HEAD_DIM=256 ATTN_BLOCKS=2
ATTN_SCALED needs ATTN_KV_DTYPE ATTN_NARROW|ATTN_SCALED=1
ATTN_SCALED needs ATTN_KV_DTYPE ATTN_NARROW|SM80 ATTN_SCALED=1
ATTN_ROPE must be 0 on ATTN_ARCH_SM75|SM80 ATTN_ROPE=1
needs too many registers|SIMT ATTN_TILE_Q=256 ATTN_TILE_K=64
needs too many registers|SIMT ATTN_TILE_Q=128 ATTN_HEAD_DIM_V=160
ATTN_TILE_Q must be a multiple of 16 * ATTN_WARPS on this arch|SM80 ATTN_TILE_Q=48
ATTN_STAGES must be 1 or 2 on this arch|SM80 ATTN_STAGES=3
ATTN_ARCH of ATTN_KERNEL_RES... must be|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_ARCH=ATTN_ARCH_AVX512BF16 ATTN_DTYPE=ATTN_BF16
ATTN_ARCH of ATTN_KERNEL_RES... must be|ATTN_KERNEL=ATTN_KERNEL_RES1 SM75
ATTN_ARCH of ATTN_KERNEL_RES... must be|ATTN_KERNEL=ATTN_KERNEL_RES1 SM90
ATTN_ARCH_SM80 has ATTN_KERNEL_RES1 and|ATTN_KERNEL=ATTN_KERNEL_RES2 SM80
ATTN_ARCH_SM80 serves ATTN_KERNEL_RES1 of|ATTN_KERNEL=ATTN_KERNEL_RES1 SM80 ATTN_DTYPE=ATTN_F32
ATTN_ARCH_SM80 serves ATTN_KERNEL_RES1 of|ATTN_KERNEL=ATTN_KERNEL_RES1_BACKWARD SM80
define ATTN_HEAD_DIM (hidden size|ATTN_KERNEL=ATTN_KERNEL_RES1 -ATTN_HEAD_DIM
ATTN_HEAD_DIM of ATTN_KERNEL_RES... must be a multiple of 8|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_HEAD_DIM=8200
ATTN_HEAD_DIM of ATTN_KERNEL_RES... must be a multiple of 8|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_HEAD_DIM=12
ATTN_HEAD_DIM of ATTN_KERNEL_RES... must not be 0|ATTN_KERNEL=ATTN_KERNEL_RES1 SM80 ATTN_HEAD_DIM=0
ATTN_HEAD_DIM_MIN of ATTN_KERNEL_RES...|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_HEAD_DIM_MIN=72
ATTN_HEAD_DIM_MIN of ATTN_KERNEL_RES...|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_HEAD_DIM_MIN=12
ATTN_TILE_Q of ATTN_KERNEL_RES...|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_TILE_Q=65
ATTN_TILE_K of ATTN_KERNEL_RES...|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_TILE_K=0
on ATTN_ARCH_SM80 ATTN_TILE_K of ATTN_KERNEL_RES1|ATTN_KERNEL=ATTN_KERNEL_RES1 SM80 ATTN_TILE_K=17
on ATTN_ARCH_SM80 ATTN_TILE_K of ATTN_KERNEL_RES1|ATTN_KERNEL=ATTN_KERNEL_RES1_BACKWARD SM80 ATTN_DTYPE=ATTN_BF16 ATTN_TILE_Q=9
ATTN_WARPS, ATTN_BLOCKS and ATTN_SPILL have no meaning|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_WARPS=2
ATTN_WARPS of ATTN_KERNEL_RES...|ATTN_KERNEL=ATTN_KERNEL_RES1 SIMT ATTN_WARPS=33
ATTN_BLOCKS of ATTN_KERNEL_RES...|ATTN_KERNEL=ATTN_KERNEL_RES1 SIMT ATTN_BLOCKS=0
ATTN_SPILL of ATTN_KERNEL_RES...|ATTN_KERNEL=ATTN_KERNEL_RES1 SIMT ATTN_SPILL=-1
has no flags, no ratio|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_CAUSAL=1
has no flags, no ratio|ATTN_KERNEL=ATTN_KERNEL_RES1 ATTN_HEAD_DIM_V=64
need a compiler with GNU vectors|-ATTN_NAME +-include +attn/device/target.h +-U__GNUC__
ATTN_ARCH of a CPU is for the host compiler|+-D__CUDACC__
and ATTN_ARCH_AVX512BF16 are for x86-64|ATTN_ARCH=ATTN_ARCH_AVX2 -__x86_64__
attn/attn.cuh needs nvcc|-ATTN_NAME +-include +attn/attn.cuh
ROWS

# Flags are alike, so their rows are made from the list in param.h.
flags=$(sed -n 's/.*"attn: \(ATTN_[A-Z_]*\) must be 0 or 1".*/\1/p' "$root/include/attn/template/begin.h")
for flag in $flags; do
    provokes "$flag must be 0 or 1" "$flag=2"
    provokes "$flag must be 0 or 1" "$flag=-1"
done

# #if takes the name of an enum constant for 0, which would mean any.
for name in ATTN_HEAD_DIM ATTN_HEAD_DIM_V ATTN_GQA; do
    block $name=four | sed '1i enum { four = 4 };' >row.c
    refuses "$name of an enum" "$name must be" $CC -std=gnu11 -fsyntax-only -I"$root/include" row.c
done

# Nothing in the headers is left unprovoked, and each text names what it is about.
grep -rh '^ *# *error' "$root/include" | sed 's/.*#error "\(.*\)".*/\1/' | sort -u >texts
sort -u provoked >seen
while read -r text; do
    if grep -qxF -e "$text" seen; then pass; else fail "no row provokes: $text"; fi
    case $text in
    "attn: "*) pass ;;
    *) fail "must begin with 'attn: ': $text" ;;
    esac
done <texts
finish
