#!/bin/sh
# test_ptxas.sh SOURCE_ROOT - what ptxas says of every CUDA row, for every processor that it is compiled for: registers,
# spills, local memory, time; and that simt rows compile for the GPUs that nvcc has left behind.
#
# The kernel NAME_kernel of a row may spill, and have of local memory, what its TUNE says (ATTN_SPILL, 0 if it says
# nothing), all others nothing.  instantiations/nvcc.sh has kept the words of ptxas beside the objects, of the archive's
# table in $LIBRARY's directory; the rows of table ci are compiled here.
. "$(dirname "$0")/check.sh"
objects=$(cd "$(dirname "$LIBRARY")" && pwd)
cd "$tmp" || exit 1
if [ -z "${NVCC:-}" ]; then
    skip "nvcc was not found"
    finish
    exit
fi

# budget LOG: the row's ATTN_SPILL; its source is beside the log, or is of the default table.
budget() {
    cu=${1%.ptxas}.cu
    [ -f "$cu" ] || cu=$root/instantiations/default/${cu##*/}
    sed -n 's/^#define ATTN_SPILL \([0-9]*\)$/\1/p' "$cu"
}

# One line a kernel: what it is, what it has, and "ok" or what is wrong; and the seconds for each processor.
cat >gate.awk <<'END'
function close_kernel(wrong)
{
    if (!entry)
        return
    main = index(entry, name "_kernel") > 0
    limit = main ? budget : 0
    wrong = ""
    if (stack > limit)
        wrong = wrong ", local memory"
    if (spill > limit)
        wrong = wrong ", spills"
    printf "%-72s %-7s %4d %6d %6d   %s\n", name (main ? "" : " (" other(entry) ")"), processor, registers, spill,
        stack, wrong ? "FAILED" wrong " over " limit : "ok"
    entry = ""
}

function other(s)
{
    return match(s, name "_[a-z0-9_]*kernel") ? substr(s, RSTART + length(name) + 1, RLENGTH - length(name) - 1) : s
}

function most(a, b) { return a > b ? a : b }

/Compiling entry function/ {
    close_kernel()
    split($0, quoted, "'")
    entry = quoted[2]
    processor = quoted[4]
    registers = stack = spill = 0
}
/bytes stack frame/ {
    stack = most(stack, $1)
    spill = most(spill, most($5, $9))
}
/Used [0-9]+ registers/ {
    for (i = 1; i < NF; i++)
        if ($i == "Used")
            registers = $(i + 1)
}
/\(C75[0-9][0-9]\)/ { printf "%s: FAILED: %s\n", name, $0 }

# The phases, as nvcc --time writes them: what is done once, and what for one processor.
/ , nvcc , .* , ms *$/ {
    n = split($0, field, " *, *")
    phase = field[2]
    if (phase !~ /driver/)
        clock += field[n - 1]
    on = field[5]
    sub(/^(compute|sm)_/, "", on)
    if (phase ~ /^(cicc|gcc \(preprocessing 1\))$/)
        front[on] += field[n - 1]
    else if (phase == "ptxas")
        back[on] += field[n - 1]
    else
        shared += field[n - 1]
}

/^cpu / { cpu = 60 * $2 + $3 + 60 * $4 + $5 }

END {
    close_kernel()
    for (on in back) {
        by = 0 # the front end whose PTX this processor's code is made of
        for (f in front)
            by = f + 0 <= on + 0 && f + 0 > by + 0 ? f : by
        printf "%.2f %s sm_%s\n", (shared + front[by] + back[on]) / clock * cpu, name, on >"/dev/stderr"
    }
}
END

# gate LOG...: a table of all kernels; the times of each row go to times.
gate() {
    printf '%-72s %-7s %4s %6s %6s\n' "kernel" "for" "regs" "spill" "local"
    for log; do
        row=${log##*/}
        allowed=$(budget "$log")
        awk -v name="${row%.ptxas}" -v budget="${allowed:-0}" -f gate.awk "$log" >lines 2>>times
        cat lines
        if ! grep -q ' ok$' lines; then
            fail "$row: has no report of ptxas"
        fi
        while read -r line; do
            case $line in *FAILED*) fail "$line" ;; *) pass ;; esac
        done <lines
    done
}

: >times
set -- "$objects"/*.ptxas
if [ -f "$1" ]; then gate "$@"; else skip "the archive has no CUDA row"; fi

# The table ci, unless that is the archive's.
"$gen" --list ci | sed -n 's/\.cu .*//p' >rows
if [ ! -f "$objects/$(head -n 1 rows).ptxas" ]; then
    # shellcheck disable=SC2046
    runs "configure table ci" "$MESON" setup ci "$root" -Dtable=ci -Dtests=false -Dbench=false &&
        runs "compile table ci" ninja -C ci $(sed 's,.*,instantiations/&.o,' rows) && gate ci/instantiations/*.ptxas
fi

# Processor seconds of nvcc for one kind of GPU.  A processor that others use, too, may take twice as long.
if [ -s times ]; then
    sort -n times >sorted
    median=$(awk '{ s[NR] = $1 } END { print s[int((NR + 1) / 2)] }' sorted)
    echo "seconds a row and processor: median $median, wanted 2.5; most: $(tail -n 1 sorted)"
    if awk -v m="$median" 'BEGIN { exit !(m <= 5) }'; then pass; else fail "compiling takes $median s, at most 2.5 wanted"; fi
fi

# ---- simt rows on Pascal and Volta: clang to PTX, and ptxas, which holds it to what its target has ----------------------
cuda=${NVCC%/bin/nvcc}
clang=
for c in clang-19 clang-18 clang-17 clang-16 clang; do
    [ -n "$clang" ] || ! command -v $c >/dev/null 2>&1 || clang=$c
done
mkdir fake
: >fake/texture_fetch_functions.h # clang wants textures, which CUDA 12 has removed; the macro below is their guard
echo '__global__ void k(float *x) { x[threadIdx.x] = 1; }' >one.cu
# ptx PROCESSOR SOURCE: SOURCE to out.ptx
ptx() {
    "$clang" -x cuda --cuda-path="$cuda" --cuda-device-only --cuda-gpu-arch="$1" -O3 -S -Ifake -I"$root/include" \
        -D__CLANG_CUDA_TEXTURE_INTRINSICS_H__ -Wno-unknown-cuda-version -std=c++17 "$2" -o out.ptx
}
if [ -z "$clang" ]; then
    skip "simt for sm_60, sm_61, sm_70: clang is not installed"
elif ! ptx sm_61 one.cu >log 2>&1; then
    skip "simt for sm_60, sm_61, sm_70: $clang cannot read the headers of $cuda: $(grep -m 1 'error' log)"
else
    "$gen" ci made
    for row in $(grep '_simt_\|_simt$' rows); do
        for processor in sm_60 sm_61 sm_70; do
            runs "$row for $processor by $clang" ptx $processor "made/$row.cu" &&
                runs "$row for $processor has its kernel" grep -q "^\.visible \.entry .*${row}_kernel" out.ptx &&
                runs "$row for $processor by ptxas" "$cuda/bin/ptxas" -arch=sm_75 out.ptx -o out.cubin
        done
    done
fi
finish
