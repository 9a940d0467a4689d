# model.awk -v key=KEY -v origin=TEXT - makes the table of a model from lines as in models.tsv.
# KEY is a line's key, or the part of some before a "_".  The same line may serve twice.
BEGIN {
    FS = "\t"
    # Tiles as in tables/default.m4; they affect speed alone.
    tiles = "192, 128"
    archs = "avx512, avx2, cpu"
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
    shape = column[4] (column[5] == column[4] ? "" : "/" column[5]) ", " column[2] / column[3] ", " flags "varlen+paged"
    dtypes[column[12]]
    print "// " column[1] ": " column[13]
    if (shape in seen)
        return
    seen[shape]
    shapes[n] = shapes[n] (shapes[n] == "" ? "" : "\n") shape
}

# rows(DTYPE): those of every arch and shape.  Fewer flags first: what a plain row accepts it serves faster.
function rows(dtype, n, count, i, list)
{
    print ""
    print "attn_each([[A]], (" (dtype == "bf16" ? "avx512bf16, " : "") archs "), [["
    for (n = 0; n <= 6; n++) {
        count = split(shapes[n], list, "\n")
        for (i = 1; i <= count; i++)
            print "attn_row(forward, A, " dtype ", " list[i] ", " tiles ", none)"
    }
    print "]])"
}

END {
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
    print "// Exact head_dim and ratio, and no flag that the model lacks: what is constant, the compiler drops."
    print "// varlen and paged are there for serving.  Types: the model's own, and f32 for those who convert it."
    print "//"
    print "//       KERNEL, ARCH, DTYPE, HEAD_DIM, GQA, FLAGS, TILE_Q, TILE_K, TUNE"
    if ("bf16" in dtypes)
        rows("bf16")
    if ("f16" in dtypes)
        rows("f16")
    rows("f32")
}
