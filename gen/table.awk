# table.awk -v file=NAME - checks that each line of a table is one of
#
#     attn_row(COLUMN, ...)                       a row
#     attn_each([[VAR]], (VALUE, ...), [[         a loop: what follows, once for each VALUE of VAR
#     ]])                                         its end (several may stand together)
#     // text                                     a comment, also after any of these; or nothing
#
# and writes them for m4, each row with its line number ahead: m4 takes what it does not know for
# text, and knows no line within a loop.
function fail(line, text)
{
    printf "%s:%d: error: %s\n", file, line, text > "/dev/stderr"
    failed = 1
    exit 1
}

{
    line = $0
    sub(/\/\/.*/, "", line)
    gsub(/^[ \t]+|[ \t\r]+$/, "", line)
    gsub(/[ \t]+,/, ",", line)
    gsub(/[ \t]+\)/, ")", line)
}

line == "" { next }

line ~ /^attn_row\([^][()]*\)$/ && line !~ /m4_/ {
    rows++
    print "attn_at(" FNR ")" line
    next
}

line ~ /^attn_each\(\[\[[A-Z][A-Z0-9_]*\]\],[ \t]*\([^][()]+\),[ \t]*\[\[$/ {
    open[++depth] = FNR
    print line
    next
}

line ~ /^(\]\]\))+$/ {
    depth -= length(line) / 3
    if (depth < 0)
        fail(FNR, "']])' ends no attn_each(...)")
    print line
    next
}

{
    fail(FNR, "not a row: '" line "', must be attn_row(COLUMN, ...), attn_each([[VAR]], (VALUE, ...), [[, ]])" \
        " or // text")
}

END {
    if (failed)
        exit 1
    if (depth > 0)
        fail(open[depth], "attn_each(...) has no end, ']])' on a line of its own")
    if (!rows)
        fail(FNR, "no attn_row(...): a table needs at least one")
}
