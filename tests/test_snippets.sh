#!/bin/sh
# test_snippets.sh SOURCE_ROOT - what README.md and docs/ show is true: C and CUDA snippets compile and, if they have a
# main, run, those of CUDA on the emulator; tables go through the generator; shell snippets parse; links lead somewhere.
# docs/examples likewise.
#
# LIBRARY in the environment is the built library; its pkg-config file says what to link.
. "$(dirname "$0")/check.sh"
library=$(cd "$(dirname "$LIBRARY")" && pwd)/${LIBRARY##*/}
libs=$(sed -n 's/^Libs.*-lattn//p' "${library%/*/*}/meson-private/attn.pc" | tr '\n' ' ')
cd "$tmp" || exit 1

# program FILE NAME: compile; link and run if there is a main.
program() {
    warn='-std=c11 -O2 -Wall -Wextra -Werror'
    if ! grep -q '^int main' "$1"; then
        # shellcheck disable=SC2086
        runs "$2 compiles" "$CC" $warn -Wno-unused -I"$root/include" -c "$1" -o part.o
        return
    fi
    # shellcheck disable=SC2086
    runs "$2 compiles" "$CC" $warn -I"$root/include" "$1" "$library" $libs -lm -Wl,-rpath,"${library%/*}" -o program &&
        runs "$2 runs" ./program
}

# cuda_program FILE NAME: the same for CUDA: compile by nvcc if it is here, for both kinds of tensor cores; compile for the
# emulator, and run there if there is a main.
cuda_program() {
    if [ -n "${NVCC:-}" ]; then
        runs "$2 compiles with nvcc" "$NVCC" -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
            -Werror all-warnings -Xcompiler=-Wall,-Wextra,-Werror,-Wno-unused -I"$root/include" -c "$1" -o part.o
    else
        skip "$2: nvcc was not found"
    fi
    link=-c
    ! grep -q '^int main' "$1" || link=$root/tests/emu/*.c
    # shellcheck disable=SC2086
    runs "$2 compiles for the emulator" "$CC" -x c -std=gnu11 -fno-strict-aliasing -O1 -Wall -Wextra -Werror -Wno-unused \
        -DATTN_EMULATED=1 -I"$root/tests/emu" -I"$root/include" "$1" $link -lm -o program || return
    [ "$link" = -c ] || runs "$2 runs on the emulator" ./program
}

for page in README.md CONTRIBUTING.md $(cd "$root" && ls docs/*.md); do
    awk -v page="$(echo "$page" | tr '/.' '__')" '
        /^```/ && open { close(out); open = 0; next }
        /^```[a-z0-9]+$/ { out = sprintf("%s_%02d.%s", page, ++n, substr($0, 4)); printf "" > out; open = 1; next }
        /^```/ { open = 1; out = "/dev/null"; next }
        open { print > out }' "$root/$page"

    # Links to files, relative to the page.
    grep -o '](\([^)#]*\)' "$root/$page" | sed 's/^](//' | grep -v '^http' | sort -u >links
    while read -r link; do
        if [ -e "$root/$(dirname "$page")/$link" ]; then pass; else fail "$page: no such file: $link"; fi
    done <links
done

for f in *.c; do
    program "$f" "$f"
done
for f in "$root"/docs/examples/*.c; do
    program "$f" "docs/examples/${f##*/}"
done
for f in *.cu; do
    cuda_program "$f" "$f"
done
for f in "$root"/docs/examples/*.cu; do
    cuda_program "$f" "docs/examples/${f##*/}"
done
for f in *.m4; do
    runs "$f is a table" "$gen" --list "$f"
done
for f in *.sh; do
    runs "$f parses" sh -n "$f"
done

# The first two commands of README.md stand alone, for a container that has nothing.
for f in README_md_01.sh README_md_02.sh; do
    if [ -f $f ] && [ "$(grep -c . $f)" -eq 1 ]; then pass; else fail "$f: must be the one command of a sh block"; fi
    runs "$f names a script" test -f "$root/$(sed 's/^sh \([^ ]*\).*/\1/' $f)"
done
finish
