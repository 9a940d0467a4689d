#!/bin/sh
# test_sanitize.sh - the C tests under ASan and UBSan, a few of them under valgrind, and some seconds of libFuzzer on
# the API.  What is not installed is skipped.  Objects of nvcc carry no checks, so they are left out.
. "$(dirname "$0")/check.sh"
cd "$tmp" || exit 1

# quiet NAME COMMAND...: succeeds, and its closing line counts no failure.
quiet() {
    name=$1
    shift
    if "$@" >log 2>&1 && tail -n 1 log | grep -q ', 0 failed,'; then
        pass
    else
        fail "$name: $*"
        tail -n 30 log
    fi
}

echo 'int main(void) { return 0; }' >one.c
if $CC -fsanitize=address,undefined one.c -o one 2>/dev/null && ./one; then
    # The table of CI has each arch and kind of row; all types of all kernels would take a quarter of an hour.
    whole="test_run test_modes test_semantics test_instances test_real test_far test_append test_res fuzz_api"
    once="test_emu test_emulated" # --count 1
    runs "configure" "$MESON" setup asan "$root" -Dtable=ci -Dcuda=disabled -Db_sanitize=address,undefined \
        -Db_lundef=false -Dbench=false -Doptimization=1 || exit 1
    # shellcheck disable=SC2046,SC2086
    runs "build" ninja -C asan $(printf 'tests/%s ' $whole $once test_property) || exit 1
    # A report of UBSan is no failure unless it is told to be.
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    export UBSAN_OPTIONS
    for t in $whole; do
        quiet "$t under ASan and UBSan" asan/tests/$t
    done
    for t in $once; do
        quiet "$t under ASan and UBSan" asan/tests/$t --count 1
    done
    quiet "test_property under ASan and UBSan" asan/tests/test_property --count 600
else
    skip "$CC has no -fsanitize=address,undefined"
fi

# Valgrind knows no AVX-512, and is slow: one portable and one AVX2 instance, short cases.
if command -v valgrind >/dev/null 2>&1; then
    printf 'attn_row(forward, %s, any, any, all, 192, 128, none)\n' 'cpu, f32' 'avx2, f16' >plain.m4
    runs "configure" "$MESON" setup plain "$root" "-Dtable=$tmp/plain.m4" -Dcuda=disabled -Dbench=false \
        -Dbuildtype=debugoptimized -Dopenmp=disabled && runs "build" ninja -C plain tests/test_instances || exit 1
    for i in cpu_f32 avx2_f16; do
        quiet "$i under valgrind" valgrind -q --error-exitcode=9 plain/tests/test_instances --count 1 \
            --filter "${i}_dany_q192k128_all b1 h1/1"
    done
else
    skip "valgrind is not installed"
fi

# The instances themselves are built without: clang takes minutes over each of them otherwise, and they ran above.
if clang -fsanitize=fuzzer,address one.c -c -o one.o 2>/dev/null; then
    echo 'attn_row(forward, cpu, f32, any, any, all, 64, 64, none)' >fuzz.m4
    fuzz() {
        "$gen" fuzz.m4 fuzzed && clang -O2 -std=gnu11 -I"$root/include" -c fuzzed/attn_*.c -o one.o &&
            clang -g -O1 -std=gnu11 -DATTN_FUZZ -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
                -I"$root/include" -Ifuzzed "$root/tests/fuzz_api.c" "$root/instantiations/attn.c" one.o -lm -o fuzz
    }
    runs "build for libFuzzer" fuzz && runs "libFuzzer" ./fuzz -runs=100000 -max_total_time=10 -max_len=4096
else
    skip "clang with libFuzzer is not installed"
fi
finish
