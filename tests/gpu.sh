#!/bin/sh
# gpu.sh [BUILD] - the tests on a GPU: each program on the CUDA instances of the tables ci and default, thousands of
# random calls, refusals, and a reduced set under the tools of compute-sanitizer.
#
# Builds in BUILD/ci and BUILD/default (BUILD is build/gpu by default) where meson and nvcc are; else runs what was
# built there elsewhere.  COUNT is the number of random calls in all, 10000 by default; SEED is theirs.  Each line is a
# program, its time and its closing line; logs are in BUILD/log.  The last line is the sum of all.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build/gpu}
count=${COUNT:-10000} seed=${SEED:-1}
passed=0 failed=0 skipped=0
mkdir -p "$build/log" && build=$(cd "$build" && pwd) || exit 1
ATTN_DATA_DIR=$root/data # where the programs were built it may have been elsewhere
export ATTN_DATA_DIR
PATH=$PATH:/usr/local/cuda/bin

# told NAME STATUS SECONDS: the line of a program whose output is in the log of that name.
told() {
    sum=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$build/log/$1" | tail -n 1)
    # shellcheck disable=SC2086
    set -- "$1" "$2" "$3" ${sum:-0 1 0}
    [ "$2" -eq 0 ] || [ "$5" -gt 0 ] || set -- "$1" "$2" "$3" "$4" 1 "$6"
    passed=$((passed + $4)) failed=$((failed + $5)) skipped=$((skipped + $6))
    hazards=$(sed -n 's/^========= \(.*SUMMARY.*\)/; \1/p' "$build/log/$1" | tail -n 1)
    printf '%-48s %5d s  %d passed, %d failed, %d skipped%s\n' "$1" "$3" "$4" "$5" "$6" "$hazards"
    [ "$5" -eq 0 ] || grep -v '^skip' "$build/log/$1" | tail -n 20 | sed 's/^/    /'
}

# run NAME COMMAND...
run() {
    name=$1 began=$(date +%s)
    shift
    "$@" >"$build/log/$name" 2>&1
    told "$name" $? $(($(date +%s) - began))
}

# has PROGRAM TEXT: does it have a case with the text in its name?
has() { "$1" --list | grep -q -e "$2"; }

for table in ci default; do
    if command -v meson >/dev/null && command -v nvcc >/dev/null; then
        [ -f "$build/$table/build.ninja" ] || meson setup "$build/$table" "$root" -Dtable=$table || exit 1
        ninja -C "$build/$table" || exit 1
    fi >"$build/log/build_$table" 2>&1
    tests=$build/$table/tests
    if [ ! -x "$tests/test_refusals" ]; then
        echo "$table: no CUDA instance was built"
        continue
    fi
    run "${table}_refusals" "$tests/test_refusals"
    CUDA_VISIBLE_DEVICES='' run "${table}_refusals_no_device" "$tests/test_refusals"
    run "${table}_append" "$tests/test_append" --filter _simt
    for arch in simt sm75 sm80 sm90; do
        has "$tests/test_instances" "_${arch}_" || continue
        for t in instances semantics real far graph res; do
            ! has "$tests/test_$t" "_${arch}_" || run "${table}_${t}_$arch" "$tests/test_$t" --filter "_${arch}_"
        done
    done
done

# Each device function: the emulator and the GPU against the same definition.
[ ! -x "$build/ci/tests/test_primitives" ] || run primitives "$build/ci/tests/test_primitives"

# The example of a server, whose decode is a captured graph.
cuda=$(command -v nvcc) && cuda=${cuda%/bin/nvcc}
if [ -n "$cuda" ]; then
    # shellcheck disable=SC2016
    run serve_graph sh -c '"${CC:-cc}" -std=c11 -O2 -DSERVE_CUDA "-I$1/include" "-I$2/include" \
        "$1/docs/examples/serve.c" "$3/default/instantiations/libattn.a" "-L$2/lib64" -lcudart_static -lpthread -ldl \
        -lrt -lm -fopenmp -o "$3/serve" && "$3/serve" && echo "1 passed, 0 failed, 0 skipped"' \
        sh "$root" "$cuda" "$build"
fi

# Random calls: of all archs at the same time, for most of it is the oracle's.
tests=$build/ci/tests
archs=
for arch in simt sm75 sm80 sm90; do
    ! has "$tests/test_property" "_${arch}_" || archs="$archs $arch"
done
[ -n "$archs" ] || exit 1
each=$((count / $(echo "$archs" | wc -w)))
for arch in $archs; do
    {
        began=$(date +%s)
        "$tests/test_property" --filter "_${arch}_" --count $each --seed "$seed" >"$build/log/ci_property_$arch" 2>&1
        echo "$? $(($(date +%s) - began))" >"$build/log/ci_property_$arch.status"
    } &
done
wait
for arch in $archs; do
    # shellcheck disable=SC2046
    told "ci_property_$arch" $(cat "$build/log/ci_property_$arch.status")
done

if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
        # Then nothing is written to a workspace before the kernel does.
        [ $tool != initcheck ] || export ATTN_TESTS_UNWRITTEN=1
        for arch in $archs; do
            run "${tool}_$arch" compute-sanitizer --tool $tool --error-exitcode 9 \
                "$tests/test_instances" --count 1 --filter "_${arch}_"
        done
        run "${tool}_append" compute-sanitizer --tool $tool --error-exitcode 9 "$tests/test_append" --filter _simt \
            --count 60
        run "${tool}_refusals" compute-sanitizer --tool $tool --error-exitcode 9 "$tests/test_refusals"
    done
else
    echo "compute-sanitizer is not here"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
