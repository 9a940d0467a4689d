#!/bin/sh
# test_mutants.sh SOURCE_ROOT [all | places | NUMBER...] - plants the bugs of mutants.txt, one at a time, into a copy, and
# asks whether the emulated tests find them.  Without a word every 20th, which takes some minutes; `places` only asks
# whether all can be planted.
#
# Each is looked for in every CUDA instance of gen/tables/ci.m4 and of header_instances.cu that includes the changed file
# (in test_primitives, if that does): with the cases of --count 1, plain and with races looked for, then in the other
# tests that run emulated; unless it is the sample, with the cases of the default level, under ASan, in random calls;
# until a case fails.  JOBS (2) of them go on at once.  KEEP=DIR leaves what the tests said there.
. "$(dirname "$0")/check.sh"
shift
list=$root/tests/mutants.txt jobs=${JOBS:-2} every=20 least=0.95
[ $# -gt 0 ] || set -- sample
if ! command -v "${M4:-m4}" >/dev/null 2>&1; then
    skip "m4 is not installed"
    finish
    exit
fi
mkdir -p "${KEEP:=$tmp/said}" "$tmp/same"

# ---- the list ----------------------------------------------------------------------------------------

# Reads the list.  n: the bug of this number; its file, unless a name is given, is read after the list, changed and
# written.  Without n: one line for each bug, "NUMBER CLASS FILE".
cat >"$tmp/mutants.awk" <<'END'
function die(text)
{
    printf "mutants.txt:%d: %s\n", line, text >"/dev/stderr"
    dead = 1
    exit 2
}

FILENAME == list {
    if ($0 ~ /^#/ || $0 == "")
        next
    ++number
    if (!n) {
        if (split($0, field, / +:: +| +::$/) < 4)
            die("four fields wanted")
        print number, field[1], field[2]
    } else if (number == n) {
        line = FNR
        fields = split($0, field, / +:: +| +::$/)
    }
    next
}
{ text = text $0 "\n" }

END {
    if (dead || !n)
        exit dead
    steps = split(field[3], step, / \.\.\. /)
    at = 1
    for (i = 1; i <= steps; i++) {
        found = index(substr(text, at), step[i])
        if (!found)
            die("'" step[i] "' is not in " field[2])
        at += found - 1
        if (i == 1 && index(substr(text, at + 1), step[i]))
            die("'" step[i] "' is more than once in " field[2])
        if (i < steps)
            at += length(step[i])
    }
    printf "%s%s%s", substr(text, 1, at - 1), field[4], substr(text, at + length(step[steps])) >out
    before = substr(text, 1, at)
    printf "%s, %s:%d: '%s' -> '%s'\n", field[1], field[2], gsub(/\n/, "", before) + 1, step[steps], field[4]
}
END
mutants() { "${AWK:-awk}" -v list="$list" -f "$tmp/mutants.awk" "$@"; }

# place FILE: its path.
place() { (cd "$root" && find include/attn tests -maxdepth 3 -name "$1" ! -path 'tests/emu/*' | head -n 1); }

# All of the list, so that it cannot rot.
mutants "$list" >"$tmp/all" || fail "the list"
while read -r number class file; do
    mutants -v n="$number" -v out=/dev/null "$list" "$root/$(place "$file")" >"$tmp/log" 2>&1 ||
        fail "$number $class: $(head -n 1 "$tmp/log")"
done <"$tmp/all"
echo "$(wc -l <"$tmp/all") bugs, $failed without a place"
if [ $failed -gt 0 ] || [ "$1" = places ]; then
    [ $failed -gt 0 ] || pass
    finish
    exit
fi
steps="plain:1 races:1 asan:1 rest:plain rest:asan plain:2 asan:2 random:plain races:2"
case $1 in
all)
    echo "0 nothing -" # without a bug nothing must be found
    cat "$tmp/all"
    ;;
sample)
    steps="plain:1 rest:plain races:1" least=0.9 # for fewer cases find fewer bugs
    echo "0 nothing forward_simt.cuh plain:1 races:1" # the other tests ask all of it already
    awk -v e=$every 'NR % e == 1' "$tmp/all"
    ;;
*) for n; do sed -n "${n}p" "$tmp/all"; done ;;
esac >"$tmp/todo"

# ---- programs ----------------------------------------------------------------------------------------

flags="-std=gnu11 -fno-strict-aliasing -DATTN_EMULATED=1 -w"
list_flags="-Dattn_instances=emulated_instances -Dheader_instances=emulated_header_instances"
asan="-fsanitize=address -fno-omit-frame-pointer"

# base DIR FLAG...: what all programs share, in DIR.  The archive's list is empty.
base() {
    dir=$1
    shift
    mkdir -p "$dir/main" "$dir/parts"
    cat >"$dir/none.c" <<'END'
#include "header_instances.h"
const attn_instance *const *header_instances_cuda(size_t *n) { return *n = 0, NULL; }
END
    for f in "$root"/tests/*.c "$root"/tests/emu/*.c "$root/tests/emulated/list.c" "$root/instantiations/attn.c" \
        "$dir/none.c"; do
        name=${f##*/} more=-O2
        o=$dir/parts/$name.o
        case $f in
        *none.c) o=$dir/none.o ;;
        */tests/header_instances.c) more=-O0 ;; # those of CPUs, which nobody asks
        */test_primitives.c) o=$dir/main/$name.o ;;
        */test_emulated.c | */test_semantics.c | */test_property.c | */test_refusals.c)
            o=$dir/main/$name.o more="-O2 $list_flags"
            ;;
        */test_*.c | */fuzz_*.c | */primitives_*.c) continue ;;
        esac
        $CC $flags $more "$@" -I"$root/tests" -I"$root/tests/emu" -I"$root/include" -I"$tmp/ci" -c "$f" -o "$o" ||
            return 1
    done
    ar rcs "$dir/parts.a" "$dir"/parts/*.o
}

# A subject is what a bug may be in: an instance, the instances of tests/header_instances.cu, or the primitives.
source_of() { # SUBJECT TREE
    case $1 in
    primitives) echo "$2/tests/primitives_emulated.c" ;;
    header_instances) echo "$2/tests/header_instances.cu" ;;
    *) echo "$tmp/ci/$1.cu" ;;
    esac
}

# object SUBJECT WAY TREE: $object, compiled once; WAY is plain, races or asan.  Those of subjects without the bug are
# the same in each tree.
object() {
    case " $subjects " in
    *" $1 "*) object=$3.bin/$1.$2.o ;;
    *) object=$tmp/same/$1.$2.o ;;
    esac
    [ ! -f "$object" ] || return 0
    case $2 in
    plain) extra= ;;
    races) extra="-g1 -fsanitize=thread" ;;
    asan) extra="-g1 $asan" ;;
    esac
    $CC $flags -O1 $extra -x c -I"$3/tests" -I"$3/tests/emu" -I"$3/include" -c "$(source_of "$1" "$3")" \
        -o "$3.bin/new.o" && mv "$3.bin/new.o" "$object" # another job may make the same
}

# program OUT MAIN WAY OBJECT...: links it, once.
program() {
    [ ! -x "$1" ] || return 0
    out=$1 main=$2 way=$3 from=$tmp/base link= none=
    shift 3
    [ "$way" != asan ] || link=$asan from=$from.asan
    case $* in *header_instances* | *primitives*) ;; *) none=$from/none.o ;; esac
    $CC $link "$from/main/$main.c.o" "$@" $none "$from/parts.a" -lm -o "$out"
}

# uses SUBJECT: the names of the files that it includes.
uses() {
    $CC $flags -x c -M -I"$root/tests" -I"$root/tests/emu" -I"$root/include" "$(source_of "$1" "$root")" |
        tr ' \\' '\n\n' | sed -n 's,.*/,,p' | sort -u
}

# prepare: the copies, the base of all programs, and which subject uses what.
prepare() {
    "$gen" ci "$tmp/ci" || return 1
    mkdir "$tmp/ci/emulated"
    mv "$tmp/ci/instances.def" "$tmp/ci/emulated"
    : >"$tmp/ci/instances.def" # of the archive: none
    base "$tmp/base" || return 1
    # Instances that can do all come first: they find most.
    (cd "$tmp/ci" && ls ./*_all.cu && ls ./*.cu | grep -v _all.cu) | sed 's,^\./\(.*\)\.cu$,\1,' >"$tmp/subjects"
    printf '%s\n' header_instances primitives >>"$tmp/subjects"
    while read -r subject; do
        uses "$subject" | sed "s/^/$subject /"
    done <"$tmp/subjects" >"$tmp/uses"
}

# ---- one bug -----------------------------------------------------------------------------------------

# tried BIN LOG SECONDS OPTION...: runs it until a case fails; says which.  Seconds of the processor: what goes on for
# ever has failed, too.
tried() {
    bin=$1 log=$2 seconds=$3
    shift 3
    (
        ulimit -t "$seconds"
        ASAN_OPTIONS=detect_leaks=0 exec "$bin" --first "$@"
    ) >"$log" 2>&1
    status=$?
    [ $status -ne 0 ] || return 0
    case=$(sed -n 's/^FAIL //p' "$log" | head -n 1)
    [ -n "$case" ] || case=$(sed -n 's/.*ERROR: AddressSanitizer: \([a-z-]*\).*/\1/p' "$log" | head -n 1)
    echo "found by ${bin##*/} (${case:-status $status})"
    return 1
}

# look TREE FILE LOG STEP...: in all programs with FILE (-: in all); says by which it is found.  A STEP is WAY:LEVEL, or
# rest:WAY or random:WAY, which are all instances in the other tests that are not of one instance.
look() {
    tree=$1 file=$2 log=$3
    shift 3
    rm -rf "$tree.bin"
    mkdir "$tree.bin"
    subjects=$(awk -v f="$file" 'f == "-" || $2 == f { print $1 }' "$tmp/uses" | uniq | tr '\n' ' ')
    for step; do
        way=${step%:*} level=${step#*:}
        case $step in
        *asan*)
            until [ -d "$tmp/base.asan" ]; do # one job makes it, the others wait
                if mkdir "$tmp/lock" 2>/dev/null; then
                    base "$tmp/base.new" $asan >"$log" 2>&1
                    mv "$tmp/base.new" "$tmp/base.asan"
                fi
                sleep 1
            done
            ;;
        esac
        case $way in
        rest | random) # their level is a way
            [ "$subjects" != "primitives " ] || continue
            objects=
            for subject in $(grep -v primitives "$tmp/subjects"); do
                object "$subject" "$level" "$tree" >"$log" 2>&1
                objects="$objects $object"
            done
            tests="test_semantics test_refusals" options=
            [ $way = rest ] || tests=test_property options="--count 10"
            for main in $tests; do
                program "$tree.bin/${main}_$level" $main "$level" $objects >"$log" 2>&1
                tried "$tree.bin/${main}_$level" "$log" 300 $options || return 0
            done
            continue
            ;;
        esac
        for subject in $subjects; do
            main=test_emulated options="--count $level"
            if [ "$subject" = primitives ]; then # has no level
                main=test_primitives options=
                [ "$level" = 1 ] || continue
            fi
            mkdir -p "$tree.bin/$subject"
            name=$main
            [ "$way" = plain ] || name=${main}_$way
            if ! { object "$subject" "$way" "$tree" &&
                program "$tree.bin/$subject/$name" $main "$way" "$object"; } >"$log" 2>&1; then
                echo "does not compile: $(grep -m 1 -e 'error:' -e undefined "$log")"
                return 1
            fi
            tried "$tree.bin/$subject/$name" "$log" $((60 * level)) $options || return 0
        done
    done
    echo "survived"
    return 1
}

# job J: every $jobs-th line of the list.
job() {
    tree=$tmp/tree$1
    mkdir "$tree"
    cp -R "$root/include" "$root/tests" "$tree"
    awk -v j="$1" -v jobs="$jobs" 'NR % jobs == j' "$tmp/todo" >"$tree.todo"
    while read -r number class file other; do # other steps
        if [ "$number" = 0 ]; then
            answer=$(look "$tree" "$file" "$KEEP/0" ${other:-$steps})
            echo "0 nothing: $answer"
            echo "0 nothing $answer" >>"$tree.done"
            continue
        fi
        at=$(place "$file")
        line=$(mutants -v n="$number" -v out="$tree/$at" "$list" "$root/$at")
        answer=$(look "$tree" "$file" "$KEEP/$number" $steps 2>/dev/null) # a shell tells of aborts
        cp "$root/$at" "$tree/$at"
        echo "$number $line: $answer"
        echo "$number $class $answer" >>"$tree.done"
    done <"$tree.todo"
}

if ! prepare >"$tmp/log" 2>&1; then
    cat "$tmp/log"
    fail "the programs do not compile"
    finish
    exit
fi
j=0 pids=
while [ $j -lt "$jobs" ]; do
    job $j &
    pids="$pids $!"
    j=$((j + 1))
done
trap 'kill $pids 2>/dev/null; exit 1' HUP INT TERM
wait

# ---- the sum -----------------------------------------------------------------------------------------

cat "$tmp"/tree*.done | sort -n >"$tmp/done"
awk -v least=$least '
$1 == 0 { next }
{ planted[$2]++; all++ }
$3 == "found" { found[$2]++; sum++ }
END {
    for (c in planted)
        printf "%-10s %3d planted, %3d found\n", c, planted[c], found[c] | "sort"
    close("sort")
    printf "%d found, %d survived\n", sum, all - sum
    exit sum < least * all
}' "$tmp/done" && enough=1 || enough=0
while read -r number class answer; do
    case $number.$answer in
    0.survived | [1-9]*.found*) pass ;;
    *.survived) # a few may
        if [ $enough -eq 1 ]; then skip "$number $class survived"; else fail "$number $class survived"; fi
        ;;
    *) fail "$number $class $answer" ;;
    esac
done <"$tmp/done"
[ "$(wc -l <"$tmp/done")" -eq "$(wc -l <"$tmp/todo")" ] || fail "not all were tried"
finish
