#!/bin/sh
# test_trim.sh - the archive of one model: it configures, builds, lists its own instances and no other; a bad table
# stops the configuration; an object depends on the headers that it reads and on no others.
. "$(dirname "$0")/check.sh"
cd "$tmp" || exit 1
# Rows of GPUs are built where the library that is tested has them.
if [ -n "${NVCC:-}" ]; then cuda=auto; else cuda=disabled; fi
# configure DIR TABLE
configure() { "$MESON" setup "$1" "$root" -Dtable="$2" -Dtests=false -Dbench=false -Dcuda=$cuda -Dgpu_archs=80; }

echo 'attn_row(forward, cpu, f33, any, any, none, 32, 32, none)' >bad.m4
refuses "a bad table" "bad.m4:1: error: dtype is 'f33', must be one of: f32, f16, bf16" configure b_bad "$tmp/bad.m4"
refuses "an unknown table" "nosuch: error: no such table" configure b_bad2 nosuch
echo '{"model_type": "mamba"}' >bad.json
refuses "a bad config.json" 'bad.json: error: model_type is "mamba": must be one of' configure b_bad3 "$tmp/bad.json"

key=smollm2_135m
"$gen" --list $key >listed
awk -v cuda=$cuda 'cuda == "auto" || !/\.cu / { sub(/\.cu? .*/, ""); print }' listed >want
runs "configure" configure b $key && runs "build" ninja -C b
cat >list.c <<'END'
#include <stdio.h>
#include <attn/attn.h>
int main(void)
{
    size_t n;
    const attn_instance *const *list = attn_instances(&n);
    for (size_t i = 0; i < n; i++)
        puts(list[i]->name);
    return 0;
}
END
libs=$(sed -n 's/^Libs:.*-lattn//p' b/meson-private/attn.pc)
# shellcheck disable=SC2086
runs "link" "$CC" -std=c11 list.c -I"$root/include" b/instantiations/libattn.a $libs -o list && ./list >got
same "the archive of $key holds its instances, in order" want got
sort want >want_sorted
nm -g --defined-only b/instantiations/libattn.a | sed -n 's/.* D //p; s/.* R //p' | sort >got
same "symbols of the archive of $key" want_sorted got

# The same from the model's config.json: not one file differs, so nothing would be built again.
cp "$root/tests/configs/$key.json" .
runs "configure from config.json" configure b_json "$tmp/$key.json" &&
    runs "make the instances of config.json" ninja -C b_json instantiations/instances.def
for f in b/instantiations/attn_*.c; do
    sed 1d "$f" >want_file
    sed 1d "b_json/instantiations/${f##*/}" >got_file
    same "config.json and key make the same ${f##*/}" want_file got_file
done

# deps OBJECT HEADER: does ninja build the object again when the header changes?
ninja -C b -t deps >deps
deps() {
    awk -v object="$1" -v header="/attn/$2" '
        /^[^ ]/ { on = index($0, object) }
        on && index($0, header) { yes = 1 }
        END { exit !yes }' deps
}
avx2=_avx2_f32_d64
avx512=_avx512_f32_d64
runs "an avx2 instance follows begin.h" deps $avx2 template/begin.h
runs "an avx2 instance follows vec_avx2.h" deps $avx2 device/vec_avx2.h
refuses "an avx2 instance does not follow vec_avx512.h" "" deps $avx2 device/vec_avx512.h
runs "an avx512 instance follows vec_avx512.h" deps $avx512 device/vec_avx512.h
refuses "an avx512 instance does not follow vec_avx2.h" "" deps $avx512 device/vec_avx2.h
refuses "an instance does not follow run.h" "" deps $avx2 run.h
runs "attn.c follows run.h" deps /attn.c.o run.h
refuses "attn.c does not follow forward_cpu.h" "" deps /attn.c.o template/forward_cpu.h

# A changed table configures anew and builds what is new alone.
printf '%s\n' 'attn_row(forward, cpu, f32, 8, any, none, 32, 32, none)' >mine.m4
runs "configure with a path" configure b_mine "$tmp/mine.m4" && runs "build with a path" ninja -C b_mine
printf '%s\n' 'attn_row(forward, cpu, f32, 16, any, none, 32, 32, none)' >>mine.m4
runs "build again" ninja -v -C b_mine
grep -c -- '-c .*attn_forward_cpu_f32_d16_' "$tmp/log" >got
grep -c -- '-c .*attn_forward_cpu_f32_d8_' "$tmp/log" >>got
printf '1\n0\n' >want
same "a new row is built, an old one not again" want got
finish
