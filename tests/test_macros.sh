#!/bin/sh
# test_macros.sh - an instance leaves the macros of a file as it found them.
#
# Headers that an instance includes define their guards and their vocabulary once; these are included before the
# first list is taken, so whatever still differs after the instance was left behind by it.
. "$(dirname "$0")/check.sh"
cd "$tmp" || exit 1

# All optional parameters, and user macros: each must be gone at the end.
params=$(sed -n 's/^#undef \(ATTN_[A-Z0-9_]*\)$/\1/p' "$root/include/attn/template/end.h")
flags=$(sed -n 's/.*"attn: \(ATTN_[A-Z_]*\) must be 0 or 1".*/\1/p' "$root/include/attn/template/begin.h")

# instance ARCH DTYPE KV_DTYPE HEAD_DIM [HEAD_DIM_MIN]: a block with everything defined; or ARCH KERNEL.  Sets $api, the header that it
# is for, and $options.
instance() {
    api='attn/attn.h' options="-I$root/include"
    case $2 in
    APPEND | MERGE)
        api='attn/attn.cuh' options="-DATTN_EMULATED -I$root/tests/emu -I$root/include"
        echo "#define ATTN_NAME x"
        echo "#define ATTN_KERNEL ATTN_KERNEL_$2"
        echo "#define ATTN_ARCH ATTN_ARCH_$1"
        echo "#include <$api>"
        return
        ;;
    esac
    case $1 in
    SIMT | SM*)
        api='attn/attn.cuh' options="-DATTN_EMULATED -I$root/tests/emu -I$root/include"
        [ -z "${5:-}" ] || echo "#define ATTN_HEAD_DIM_MIN $5"
        case $1 in SM90) echo "#define ATTN_WARPS 8" ;; *) echo "#define ATTN_WARPS 4" ;; esac
        echo "#define ATTN_STAGES 2"
        echo "#define ATTN_BLOCKS 1"
        echo "#define ATTN_SPILL 8"
        echo "#define ATTN_DEBUG 1"
        ;;
    esac
    echo "#define ATTN_NAME x"
    echo "#define ATTN_KERNEL ATTN_KERNEL_FORWARD"
    echo "#define ATTN_ARCH ATTN_ARCH_$1"
    echo "#define ATTN_DTYPE ATTN_$2"
    echo "#define ATTN_KV_DTYPE ATTN_$3"
    echo "#define ATTN_HEAD_DIM $4"
    echo "#define ATTN_HEAD_DIM_V $4"
    echo "#define ATTN_GQA 4"
    echo "#define ATTN_TILE_Q 64"
    echo "#define ATTN_TILE_K 64"
    echo "#define ATTN_EXPORT 1"
    echo "#define ATTN_USER int"
    echo "#define ATTN_SCORE_MOD(s, b, h, q, k) (s)"
    echo "#define ATTN_MASK(b, h, q, k) 1"
    for flag in $flags; do
        case $flag$1$3 in
        ATTN_PAGEDSM90* | ATTN_ROPESM*) echo "#define $flag 0" ;;
        ATTN_SCALED*NARROW | ATTN_[!S]* | ATTN_S[!C]*) echo "#define $flag 1" ;;
        esac
    done
    echo "#include <$api>"
}

# res KERNEL ARCH DTYPE HEAD_DIM: the same of Attention Residuals.
res() {
    api='attn/attn.h' options="-I$root/include"
    case $2 in
    SIMT | SM*)
        api='attn/attn.cuh' options="-DATTN_EMULATED -I$root/tests/emu -I$root/include"
        printf '#define %s\n' 'ATTN_WARPS 2' 'ATTN_BLOCKS 1' 'ATTN_SPILL 8'
        ;;
    esac
    printf '#define %s\n' 'ATTN_NAME x' "ATTN_KERNEL ATTN_KERNEL_$1" "ATTN_ARCH ATTN_ARCH_$2" "ATTN_DTYPE ATTN_$3" \
        "ATTN_HEAD_DIM $4" 'ATTN_HEAD_DIM_MIN 8' 'ATTN_TILE_Q 3' 'ATTN_TILE_K 5' 'ATTN_EXPORT 1'
    echo "#include <$api>"
}

while read -r row; do
    # shellcheck disable=SC2086
    case $row in RES*) res $row ;; *) instance $row ;; esac >block.h
    { echo "#include <$api>"; cat block.h; } >first.c
    # shellcheck disable=SC2086
    $CC -std=gnu11 -H -E $options first.c 2>list >/dev/null || fail "$row: does not compile"
    sed -n 's/^\.\.* //p' list | grep -v '/attn/template/\|/attn/instance\.h\|/attn/device/vec_math\.h' |
        awk '!seen[$0]++' | sed 's/.*/#include "&"/' | grep -v '/bits/\|/sys/\|/gnu/\|intrin\.h"' >included.h
    grep -q 'device' included.h || fail "$row: no device header seen"
    { echo "#include <$api>"; cat included.h; } >before.c
    cat before.c block.h >after.c
    for f in before after; do
        # shellcheck disable=SC2086
        $CC -std=gnu11 -dM -E $options $f.c | sort >$f.txt
    done
    same "macros after an instance, $row" before.txt after.txt
done <<'END'
CPU F32 F16 0
CPU F32 F16 64
AVX2 F16 F32 0
AVX2 F16 F32 64
AVX512 F32 F16 0
AVX512 F32 F16 64
AVX512BF16 BF16 BF16 0
AVX512BF16 BF16 BF16 64
CPU F32 NARROW 64
AVX2 BF16 NARROW 0
SIMT APPEND
SIMT MERGE
SIMT F16 NARROW 0
SIMT F32 F16 0
SIMT BF16 BF16 64
SM75 F16 F16 64
SM80 BF16 BF16 192
SM80 F16 F16 64 16
SM90 BF16 BF16 64
SM90 F16 F16 256 64
RES1 CPU F32 64
RES2 AVX2 F16 64
RES1_BACKWARD AVX512 BF16 64
RES2_BACKWARD CPU F32 64
RES1 SIMT F32 64
RES1_BACKWARD SIMT F16 64
RES2 SIMT BF16 64
RES2_BACKWARD SIMT BF16 64
RES1 SM80 F16 64
RES1_BACKWARD SM80 BF16 64
END

# The parameters that begin.h knows are those that end.h undefines.
for param in $(grep -o 'ATTN_[A-Z0-9_]*' first.c block.h | sed 's/.*://' | sort -u); do
    case $param in ATTN_KERNEL_* | ATTN_ARCH_* | ATTN_F32 | ATTN_F16 | ATTN_BF16 | ATTN_NARROW) continue ;; esac
    if printf '%s\n' "$params" | grep -qx "$param"; then pass; else fail "end.h does not undefine $param"; fi
done
for param in $(sed -n 's/^#\(ifndef\|ifdef\|define\) \(ATTN_[A-Z0-9_]*\).*/\2/p' "$root/include/attn/template/begin.h" |
    sort -u); do
    if printf '%s\n' "$params" | grep -qx "$param"; then pass; else fail "end.h does not undefine $param"; fi
done
finish
