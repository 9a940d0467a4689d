#!/bin/sh
# gen.sh - makes the instances of a table.
#
#   gen.sh TABLE DIR      write them into DIR
#   gen.sh --list TABLE   print "FILE ARCH" for each, in order of preference
#   gen.sh --show TABLE   print the table itself: what a model or a config.json becomes
#
# TABLE is a name of tables/ (default), a key of models.tsv (llama3_8b) or the part of one before a "_"
# (gptoss), the path of a table (FILE.m4), or of a Hugging Face configuration (FILE.json).
#
#   TABLE -> table.awk (each line a row or a loop?) -> rows.m4 (each column right?) and emit.m4 (what a
#   row becomes) -> one stream -> split.awk -> NAME.c or NAME.cu, instances.def, sources.txt
#
# Needs a POSIX shell and awk, and an m4 with -P; for a .json also a C compiler.  M4, AWK and CC name others.
# wgmma.m4, which writes operand lists for include/attn/device/, is run by hand: it has no table.
set -eu
gen=$(dirname "$0")
m4=${M4:-m4} awk=${AWK:-awk}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

usage() {
    sed -n '3,5s/^# *//p' "$0" >&2
    exit 2
}

# model FILE KEY ORIGIN: the table of a model, from lines as in models.tsv.
model() {
    "$awk" -v key="$2" -v origin="$3" -v general="$gen/tables/default.m4" -f "$gen/model.awk" "$1" >"$tmp/table.m4"
}

# find TABLE: sets $table, its file, and $name, what messages and generated files call it.
find() {
    table=$tmp/table.m4
    case $1 in
    *.json)
        name=${1##*/}
        "${CC:-cc}" -std=c11 -O1 -o "$tmp/config" "$gen/config.c"
        "$tmp/config" "$1" >"$tmp/rows.tsv"
        model "$tmp/rows.tsv" config "gen/config.c from $name"
        ;;
    *.m4 | */*)
        table=$1 name=$1
        [ -f "$1" ] || { echo "$1: error: no such table" >&2; exit 1; }
        ;;
    *)
        name=$1
        if [ -f "$gen/tables/$1.m4" ]; then
            table=$gen/tables/$1.m4 name=gen/tables/$1.m4
        else
            model "$gen/models.tsv" "$1" "gen/model.awk from gen/models.tsv"
        fi
        ;;
    esac
}

# expand: $table -> $tmp/out.  Files between the steps and no pipes, which would lose a failure.
expand() {
    command -v "$m4" >/dev/null || { echo "$m4: error: not found; tables need m4, \$M4 names another" >&2; exit 1; }
    mkdir "$tmp/out"
    "$awk" -v file="$name" -f "$gen/table.awk" "$table" >"$tmp/rows.m4"
    "$m4" -P -Dattn_file="[[$name]]" -Dattn_table="[[${name##*/}]]" \
        "$gen/rows.m4" "$gen/emit.m4" "$tmp/rows.m4" >"$tmp/stream"
    "$awk" -v dir="$tmp/out" -f "$gen/split.awk" "$tmp/stream"
}

[ $# -eq 2 ] || usage
case $1 in
--show)
    find "$2"
    cat "$table"
    ;;
--list)
    find "$2"
    expand
    cat "$tmp/out/sources.txt"
    ;;
-*)
    usage
    ;;
*)
    find "$1"
    expand
    mkdir -p "$2"
    # Only what changed is written, so that only that is compiled again ...
    for f in "$tmp/out"/*; do
        cmp -s "$f" "$2/${f##*/}" || cp "$f" "$2/${f##*/}"
    done
    # ... and what left the table is removed.
    for f in "$2"/attn_*.c "$2"/attn_*.cu; do
        [ ! -e "$f" ] || [ -e "$tmp/out/${f##*/}" ] || rm "$f"
    done
    ;;
esac
