#!/bin/sh
# test_subset.sh - the rules for text in include/: the C subset, asm in device/ alone, no instance parameter in
# device/, no bodies in macros, includes that point one way, plain layout.
. "$(dirname "$0")/check.sh"
cd "$root/include/attn" || exit 1
files=$(find . -name '*.h' -o -name '*.cuh' | sed 's|^\./||' | sort)

# A file without comments and strings; directives stay.
bare() {
    # shellcheck disable=SC2086
    $CC -x c -fpreprocessed -dD -E -P -w "$1" 2>/dev/null | sed 's/"[^"]*"/""/g'
}

# without PATTERN WHY FILE: no line of FILE's code has PATTERN.
without() {
    if bare "$3" | grep -nE -e "$1" >"$tmp/found"; then
        fail "$3: $2"
        head -n 3 "$tmp/found"
    else
        pass
    fi
}

# Which headers may be included from where; a directory ends in a slash.
allowed() {
    case $1 in
    param.h) echo ;;
    attn.h) echo 'param.h res.h instance.h' ;;
    res.h) echo 'param.h' ;;
    attn.cuh) echo 'attn.h device/' ;;
    instance.h) echo 'template/' ;;
    template/*) echo 'template/ device/ attn.h param.h' ;;
    device/*) echo 'device/ param.h' ;;
    run.h | run/*) echo 'run/ attn.h param.h device/convert.h device/rope.h' ;;
    esac
}

params=$(sed -n 's/^#undef \(ATTN_[A-Z0-9_]*\)$/\1/p' template/end.h | tr '\n' '|')
[ -n "$params" ] || fail "no parameter found in template/end.h"

for file in $files; do
    without '\btemplate *<|\bnamespace\b|\bstd::|\bclass\b|\bauto\b|\[[&=]?\] *\(' "C++ beyond the C subset" "$file"
    without '<(cuda/|cub/|cooperative_groups)' "a heavy header" "$file"
    without '\b(malloc|calloc|realloc|free|printf|fprintf|puts|abort|exit|getenv)\(' \
        "allocates, prints, aborts or reads the environment" "$file"
    case $file in
    device/*) without "\\b(${params}ATTN_FN)\\b" "names an instance parameter" "$file" ;;
    *) without '\b(asm|__asm|__asm__)\b' "asm outside device/" "$file" ;;
    esac

    # Bodies: over 12 lines of one macro, with a statement in it.
    if awk -v file="$file" '
        /^[ \t]*#[ \t]*define/ { start = FNR; body = 0 }
        start && /;/ { body = 1 }
        start && !/\\$/ { if (body && FNR - start >= 12) { print file ":" start; bad = 1 } start = 0 }
        END { exit !bad }' "$file"; then
        fail "$file: a body in a macro"
    else
        pass
    fi

    for include in $(sed -n 's|^ *# *include <attn/\(.*\)>.*|\1|p' "$file"); do
        ok=0
        for may in $(allowed "$file"); do
            case $include in "$may"*) ok=1 ;; esac
        done
        if [ $ok = 1 ]; then pass; else fail "$file: must not include <attn/$include>"; fi
    done
    if grep -q '^ *# *include "' "$file"; then fail "$file: include <attn/...>, not with quotes"; else pass; fi

    if awk '(length > 120 && !/^#error/) || /\t/ || /[ \r]$/ { print FILENAME ":" FNR; bad = 1 } END { exit !bad }' "$file"; then
        fail "$file: tab, trailing blank, CR, or over 120 columns"
    else
        pass
    fi
done
finish
