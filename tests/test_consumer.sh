#!/bin/sh
# test_consumer.sh - an outside project uses attn by bare include, by pkg-config (static and shared) and as a Meson
# subproject.
. "$(dirname "$0")/check.sh"
here=$root/tests/consumer
table=$here/table.m4
instance=attn_forward_cpu_f32_d8_q32k32
cd "$tmp" || exit 1
version=$(sed -n "s/^project('attn'.* version: '\([^']*\)'.*/\1/p" "$root/meson.build")
printf 'attn %s\n%s\n' "$version" "$instance" >want

runs "bare include" "$CC" -std=c11 -Wall -Wextra -Werror -O2 -I"$root/include" "$here/header.c" -lm -o bare &&
    runs "bare include runs" ./bare
echo '#include <attn/attn.h>' >api.c
runs "attn.h alone" "$CC" -std=c11 -Wall -Wextra -Werror -pedantic -I"$root/include" -c api.c

for kind in static shared; do
    runs "configure, $kind" "$MESON" setup "b_$kind" "$root" -Dtable="$table" -Dtests=false -Dbench=false \
        -Ddefault_library=$kind --prefix "$tmp/$kind" --libdir lib || continue
    runs "install, $kind" "$MESON" install -C "b_$kind" || continue
    for pc in --static ''; do
        PKG_CONFIG_PATH=$tmp/$kind/lib/pkgconfig
        export PKG_CONFIG_PATH
        # shellcheck disable=SC2046,SC2086
        runs "pkg-config $pc, $kind" "$CC" -std=c11 -Wall -Wextra -Werror "$here/archive.c" \
            $(pkg-config --cflags --libs $pc attn) -lm -o "with_$kind" || continue
        runs "linked by pkg-config $pc, $kind" sh -c "LD_LIBRARY_PATH=$tmp/$kind/lib ./with_$kind >got"
        same "version and instances, $kind" want got
    done
    for h in $(cd "$root/include" && find attn -type f); do
        same "$h is installed" "$root/include/$h" "$tmp/$kind/include/$h"
    done
done

for library in static/lib/libattn.a shared/lib/libattn.so; do
    runs "symbols of $library" sh "$root/tests/test_symbols.sh" "$root" $library \
        "b_${library%%/*}/instantiations/instances.def"
done

mkdir outer
cp "$here"/*.c "$here"/*.h "$here"/*.m4 "$here/meson.build" outer
mkdir outer/subprojects
ln -s "$root" outer/subprojects/attn
unset PKG_CONFIG_PATH
runs "configure, subproject" "$MESON" setup b_outer outer --wrap-mode=forcefallback &&
    runs "build and test, subproject" "$MESON" test -C b_outer
runs "the subproject has the consumer's table" \
    test -e "b_outer/subprojects/attn/instantiations/libattn.a.p/meson-generated_.._$instance.c.o"
finish
