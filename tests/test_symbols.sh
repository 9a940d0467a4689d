#!/bin/sh
# test_symbols.sh SOURCE_ROOT [LIBRARY INSTANCES_DEF [CUDA]] - the library exports the functions of attn.h and one
# symbol for each instance, nothing else; an instance in a user's file exports nothing.  The arguments may come from
# the environment; CUDA is 1 if the library has CUDA instances.
. "$(dirname "$0")/check.sh"
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
library=$(absolute "${2:-$LIBRARY}") instances=$(absolute "${3:-$INSTANCES}") cuda=${4:-${CUDA:-0}}
cd "$tmp" || exit 1

# A prototype in attn.h begins a line and is not indented.
sed -n 's/^[a-z].*[ *]\(attn_[a-z0-9_]*\)(.*;$/\1/p' "$root/include/attn/attn.h" | grep -v '_fn$' | sort >api
if [ "$(wc -l <api)" -ge 8 ]; then pass; else fail "found only these functions in attn.h: $(cat api)"; fi
# shellcheck disable=SC2086
$CC -x c -E -P -DATTN_BUILD_CUDA="$cuda" '-DATTN_INSTANCE(name)=name' "$instances" | grep . | sort >names
if [ -s names ]; then pass; else fail "no instance in $instances"; fi
sort api names >want

case $library in
*.a) nm -g --defined-only "$library" ;;
*) nm -D -g --defined-only "$library" ;;
esac >symbols 2>/dev/null || fail "nm cannot read $library"
# Sanitizers and coverage add names of their own.
awk 'NF == 3 && $3 !~ /^(__odr_asan|__asan|__gcov|__llvm|__profc|__start_|__stop_)/ { print $3 }' symbols | sort >got
same "exported symbols of $library" want got

cat >mine.c <<'BLOCK'
#define ATTN_NAME mine
#define ATTN_KERNEL ATTN_KERNEL_FORWARD
#define ATTN_ARCH ATTN_ARCH_CPU
#define ATTN_DTYPE ATTN_F32
#define ATTN_HEAD_DIM 64
#include <attn/attn.h>
#include <attn/run.h>
attn_status use(const attn_params *p);
attn_status use(const attn_params *p)
{
    return attn_run(&mine, p, 0, 0, 0);
}
BLOCK
# shellcheck disable=SC2086
runs "an instance of one's own" $CC -std=c11 -I"$root/include" -c mine.c
nm -g --defined-only mine.o | awk 'NF == 3 { print $3 }' >got
echo use >want
same "exported symbols of a header-mode file" want got
finish
