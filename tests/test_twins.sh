#!/bin/sh
# test_twins.sh - each function and macro of include/attn/device/X.cuh has its twin in tests/emu/attn/device/X.cuh, and
# each twin something that it is the twin of.
. "$(dirname "$0")/check.sh"

# names FILE: the functions and macros that it defines for others.  ATTN__X and X_ are its own; attn__launch... is what
# a macro calls.
names() {
    sed -n -e 's/^ATTN_[A-Z]* .*[ *]\(attn__[a-z0-9_]*\)(.*/\1/p' -e 's/^static.*[ *]\(attn__[a-z0-9_]*\)(.*/\1/p' \
        -e 's/^# *define \(attn__[a-z0-9_]*\).*/\1/p' -e 's/^# *define \(ATTN_[A-Z0-9_]*\).*/\1/p' "$1" |
        sed '/^ATTN__/d; /_$/d; /^attn__launch/d' | sort -u
}

for file in "$root"/include/attn/device/*.cuh; do
    name=${file##*/}
    case $name in *_operands.cuh) continue ;; esac # a part of the file of that name without it
    names "$file" >"$tmp/real"
    names "$root/tests/emu/attn/device/$name" >"$tmp/twin"
    same "$name: twins" "$tmp/real" "$tmp/twin"
done
finish
