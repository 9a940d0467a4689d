#!/bin/sh
# test_sass.sh SOURCE_ROOT - are the waits of the Hopper forward where they were put, and copies of its decode sound?
#
# A tile's exponentials run while P V is multiplied: behind the wait for S (all but one group of products are done), and
# before the wait for O (all are).  ptxas may move either; then results stay right, and a fifth of the speed is gone.
# So the machine code is read, of the tuned rows of the default table and of those of table ci: between a wait for S and
# the next wait there is no product, and an exponential for each score that a thread has of a tile; between the products
# and the wait for S, hardly any.
#
# Of a copy with a policy (attn__copy_async_once) whose shared address is a register and a uniform one ptxas 13.0 gets
# the latter and the policy's wrong: there is none of that form.
. "$(dirname "$0")/check.sh"
cd "$tmp" || exit 1
if [ -z "${NVCC:-}" ]; then
    skip "nvcc was not found"
    finish
    exit
fi

# Instructions are 16 bytes, and so are the lines of od.  The opcode is the lowest 12 bits: 308 the special functions, of
# which number 8 is ex2; 9f0 wgmma; 9c5 what waits for it, with bit 16 of the upper word, and how many groups may be left
# in the bits below.
cat >sass.awk <<'END2'
function wrong(text)
{
    printf "%s: %s\n", row, text
    bad = 1
}

{
    opcode = substr($1, 14, 3)
    low = substr($2, 13, 2)
}
opcode == "9f0" { ++products; since = 0; if (open) wrong("products between the wait for S and that for O"); next }
opcode == "308" && low == "08" { ++since; next }
$1 == "00008000000079c5" && substr($2, 12, 1) == "1" {
    if (low == "01") {
        ++waits
        if (products < 2)
            wrong("a wait for S without products of both kinds")
        if (since > scores / 8)
            wrong(since " exponentials before the wait for S")
        open = 1
    } else if (open) {
        if (since < scores)
            wrong(since " exponentials between the wait for S and that for O; a thread has " scores " scores")
        open = 0
    }
    since = products = 0
}
END {
    if (!waits)
        wrong("no wait that leaves a product under way was found")
    exit bad
}
END2

# LDGSTS is fae, and dae with a uniform register in the address.
cat >copies.awk <<'END2'
{ opcode = substr($1, 14, 3) }
opcode == "fae" { ++copies }
opcode == "dae" { ++wrong }
END {
    if (wrong || !copies)
        printf "%d copies by a uniform register, %d without\n", wrong, copies
    exit wrong || !copies
}
END2

# code NAME FILE: compiles it, words are what became of it.
code() {
    runs "$1: compile" "$NVCC" -std=c++11 -O3 -gencode=arch=compute_90a,code=sm_90a -I"$root/include" -cubin -o out.cubin \
        "$2" && od -An -tx8 -v -w16 out.cubin >words
}

# one NAME FILE: the waits of a row of forward.
one() {
    code "$1" "$2" || return
    runs "$1: waits" awk -v row="$1" -v scores="$(sed -n 's/^#define ATTN_TILE_K *\([0-9]*\)$/\1 \/ 2/p' "$2" |
        awk '{ print $1 / 2 }')" -f sass.awk words
}

for file in "$root"/instantiations/default/attn_forward_sm90_bf16_d[0-9]*varlen.cu; do
    case $file in *16to*) continue ;; esac
    one "$(basename "$file" .cu)" "$file"
done
"$gen" ci made
for file in made/attn_forward_sm90_*.cu; do
    one "ci $(basename "$file" .cu)" "$file"
done
for file in "$root"/instantiations/default/attn_decode_sm90_*_all.cu; do
    case $file in *kvnarrow*) continue ;; esac # never copies with a policy
    code "$(basename "$file" .cu)" "$file" && runs "$(basename "$file" .cu): copies" awk -f copies.awk words
done
finish
