# model.awk -v key=KEY -v origin=TEXT -v general=FILE - makes the table of a model from lines as in models.tsv.
# KEY is a line's key, or the part of some before a "_".  The same line may serve twice.
#
# FILE is tables/default.m4, whose rows it narrows to the model: so archs, tiles and what is tuned stand there alone.
# For each shape and type, a kernel of an arch has the first row of `all` flags there that covers the head_dim, with the
# flags of the model and what serving needs; and ahead of it, for plain causal shapes, the first `causal` row, if any
# does.  Of kernel decode it has all rows of its head_dim, which differ in how many query rows they are for.
# Rows of kernels that serve all types and dims are taken as they are.
BEGIN {
    FS = "\t"
    while ((getline line < general) > 0)
        read_general(line)
    if (general_rows == 0) {
        print general ": error: no rows to narrow to a model" > "/dev/stderr"
        failed = 1
        exit 1
    }
}

# read_general(LINE): keeps what a row of FILE says.  Its loops are those over types, T.
function read_general(line, column)
{
    sub(/\/\/.*/, "", line)
    gsub(/[ \t]/, "", line)
    if (line ~ /^attn_each/) {
        sub(/^[^(]*\([^(]*\(/, "", line)
        sub(/\).*/, "", line)
        loop = line
    }
    if (line !~ /^attn_row\(/)
        return
    gsub(/^attn_row\(|\)$/, "", line)
    split(line, column, ",")
    if (column[1] == "append" || column[1] == "merge") {
        gsub(/,/, ", ", line)
        whole = whole "attn_row(" line ")\n"
    }
    if (column[1] != "forward" && column[1] != "decode" && column[1] != "mla")
        return
    general_rows++
    arch_of[general_rows] = column[1] ", " column[2]
    types_of[general_rows] = "," (column[3] == "T" ? loop : column[3]) ","
    dims_of[general_rows] = column[4]
    flags_of[general_rows] = column[6]
    tuned_of[general_rows] = column[7] ", " column[8] ", " column[9]
    if (!(arch_of[general_rows] in known)) {
        known[arch_of[general_rows]]
        archs[++arch_count] = arch_of[general_rows]
    }
}

/^#/ { next }

$1 == key { exact[++exacts] = $0 }
index($1, key "_") == 1 { family[++families] = $0 }

# add(LINE): one shape of the model.
function add(line, n, flags, shape)
{
    split(line, column, FS)
    flags = ""
    n = 0
    if (column[6] != "0") { flags = flags "causal+"; n++ }
    if (column[7] != "-") { flags = flags "window+"; n++ }
    if (column[8] != "-") { flags = flags "chunk+"; n++ }
    if (column[10] != "-") { flags = flags "sink_logits+"; n++ }
    if (column[9] != "-") { flags = flags "softcap+"; n++ }
    if (column[11] != "-") { flags = flags "alibi+"; n++ }
    shape = column[4] " " column[5] " " column[2] / column[3] " " flags
    dtypes[column[12]]
    print "// " column[1] ": " column[13]
    if (shape in seen)
        return
    seen[shape]
    shapes[n] = shapes[n] (shapes[n] == "" ? "" : "\n") shape
}

# narrowed(DIMS, ARCH, D, DV): HEAD_DIM of the model's row for a general one with DIMS, or "" if that does not cover it.
# CUDA rows for any head_dim stay it: their tiles were chosen for that.  On tensor cores other than multiples of 8 are
# padded, by rows of a range.
function narrowed(dims, arch, d, dv, part, least, exactly)
{
    exactly = d (dv == d ? "" : "/" dv)
    if (dims == "any")
        return arch ~ /simt/ ? dims : exactly
    if (dims == exactly)
        return exactly
    if (split(dims, part, /\.\.|\//) < 2 || dims !~ /\.\./)
        return ""
    least = part[1]
    if (d + 0 < least + 0 || dv + 0 < least + 0 || d + 0 > part[2] + 0 || dv + 0 > part[part[3] == "" ? 2 : 3] + 0)
        return ""
    return d % 8 || dv % 8 ? dims : exactly
}

# row(DTYPE, ARCH, SHAPE, KIND): the one of the first general row whose flags are KIND, causal or all.  ARCH is that and
# its kernel, as in a row.
function row(dtype, arch, shape, kind, n, of, dims, flags, text, found)
{
    split(shape, of, " ")
    if (arch ~ /^mla/ && of[4] ~ /window|chunk|softcap|alibi/) # it has none of them
        return
    flags = kind == "causal" ? "causal" : of[4] "varlen" (arch == "forward, sm90" ? "" : "+paged") # no TMA of pages
    for (n = 1; n <= general_rows; n++) {
        if (arch_of[n] != arch || flags_of[n] != kind || !index(types_of[n], "," dtype ","))
            continue
        if (found && dims_of[n] ~ /\.\./)
            return
        dims = narrowed(dims_of[n], arch, of[1], of[2])
        if (dims == "")
            continue
        text = "attn_row(" arch ", " dtype ", " dims ", " of[3] ", " flags ", " tuned_of[n] ")"
        if (!(text in printed))
            print text
        printed[text]
        if (arch ~ /forward/ || dims_of[n] ~ /\.\./)
            return
        found = 1
    }
}

# rows(DTYPE): those of every arch and shape.  Fewer flags first: what a plain row accepts it serves faster.
function rows(dtype, a, n, count, i, list)
{
    print ""
    for (a = 1; a <= arch_count; a++)
        for (n = 0; n <= 6; n++) {
            count = split(shapes[n], list, "\n")
            for (i = 1; i <= count; i++) {
                if (list[i] ~ / causal\+$/)
                    row(dtype, archs[a], list[i], "causal")
                row(dtype, archs[a], list[i], "all")
            }
        }
}

END {
    if (failed)
        exit 1
    if (exacts + families == 0) {
        print key ": error: no such table: must be a name of gen/tables/, a key of gen/models.tsv, or a path that" \
            " ends in .m4 or .json" > "/dev/stderr"
        exit 1
    }
    print "// Made by gen/gen.sh with " origin ".  To change it, save it as a table of your own."
    print "//"
    for (i = 1; i <= exacts; i++)
        add(exact[i])
    for (i = 1; !exacts && i <= families; i++)
        add(family[i])
    print "//"
    print "// The rows of gen/tables/default.m4, narrowed: exact head_dim and ratio, no flag that the model lacks; what"
    print "// is constant, the compiler drops.  varlen and paged are there for serving.  Types: the model's own, and"
    print "// f32 for those who convert it."
    print "//"
    print "//       KERNEL, ARCH, DTYPE, HEAD_DIM, GQA, FLAGS, TILE_Q, TILE_K, TUNE"
    if ("bf16" in dtypes)
        rows("bf16")
    if ("f16" in dtypes)
        rows("f16")
    rows("f32")
    printf "\n%s", whole
}
