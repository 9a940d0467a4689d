#!/bin/sh
# test_headers.sh - every header compiles alone, twice in a file, in each language that its first comment claims:
# C11 always, `C++` and `CUDA` if it says so; a .cuh is CUDA alone.  One without a guard must say so and is left out.
. "$(dirname "$0")/check.sh"
cd "$tmp" || exit 1
strict='-Wall -Wextra -Werror -Wundef'
nvcc_strict='-std=c++11 --Werror=all-warnings -Xcompiler=-Wall,-Wextra -gencode=arch=compute_90a,code=sm_90a'

have() { command -v "$1" >/dev/null 2>&1; }
claims() { printf '%s\n' "$comment" | grep -q "$1"; }

# alone LANGUAGE SUFFIX COMPILER...: the header $header under each compiler that is here.
alone() {
    language=$1 suffix=$2
    printf '#include <attn/%s>\n#include <attn/%s>\n' "$header" "$header" >"one.$suffix"
    case $language in C11) echo 'int attn_test_not_empty;' >>"one.$suffix" ;; esac
    shift 2
    for compiler in "$@"; do
        # shellcheck disable=SC2086
        case $language in
        C11) runs "$header, $language, $compiler" $compiler -std=c11 $strict -I"$root/include" -c "one.$suffix" ;;
        C++) runs "$header, $language, $compiler" $compiler -std=c++11 $strict -I"$root/include" -c "one.$suffix" ;;
        CUDA) runs "$header, $language, $compiler" $compiler $nvcc_strict -I"$root/include" -c "one.$suffix" ;;
        esac
    done
}

c_compilers=$CC cxx_compilers=
for compiler in gcc clang; do
    [ "$compiler" = "$CC" ] || ! have $compiler || c_compilers="$c_compilers $compiler"
done
for compiler in g++ clang++; do
    ! have $compiler || cxx_compilers="$cxx_compilers $compiler"
done

for file in $(cd "$root/include/attn" && find . -name '*.h' -o -name '*.cuh' | sort); do
    header=${file#./}
    comment=$(awk '{ print } /\*\// { exit }' "$root/include/attn/$header")
    if ! grep -q '^#ifndef ATTN_[A-Z0-9_]*_C\{0,1\}U\{0,1\}H$' "$root/include/attn/$header"; then
        if claims '[Nn][Oo] .*[Gg][Uu][Aa][Rr][Dd]\|[Ii]ncluded by'; then
            pass
        else
            fail "$header: has no guard and does not say so"
        fi
        continue
    fi
    # shellcheck disable=SC2086
    case $header in
    *.cuh) ;;
    *)
        alone C11 c $c_compilers
        if claims 'C++'; then
            if [ -n "$cxx_compilers" ]; then alone C++ cpp $cxx_compilers; else skip "$header: no C++ compiler"; fi
        fi
        claims CUDA || continue
        ;;
    esac
    if [ -n "${NVCC:-}" ]; then alone CUDA cu "$NVCC"; else skip "$header, CUDA: nvcc was not found"; fi
done
finish
