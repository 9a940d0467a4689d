#!/bin/sh
# run.sh [MODEL | CONFIG.json] - one model's attention from nothing: makes the trimmed archive of the model, builds it,
# runs prefill and decode, checks them, prints a table and draws a plot.  Installs what is missing (as root, on Debian).
#
#   sh run.sh                     SmolLM2-135M, on its own Q, K and V
#   sh run.sh llama3_8b           a key of gen/models.tsv, or the part of some before a "_"
#   sh run.sh path/config.json    a Hugging Face configuration
#
# Leaves build/MODEL/: libattn.a in instantiations/, and result.tsv and result.svg.
set -eu
root=$(cd "$(dirname "$0")" && pwd)
. "$root/setup.sh"
model=${1:-$root/data/config.json}
[ $# -le 1 ] || { sed -n '2,7s/^# *//p' "$0" >&2; exit 2; }
case $model in
*.json)
    [ -f "$model" ] || { echo "$model: no such file" >&2; exit 1; }
    model=$(cd "$(dirname "$model")" && pwd)/${model##*/}
    name=$(basename "$model" .json)
    [ "$model" != "$root/data/config.json" ] || name=smollm2_135m
    ;;
*)
    name=$model
    ;;
esac
build=$root/build/$name

need gcc:cc meson:meson ninja-build:ninja m4:m4 pkg-config:pkg-config gnuplot-nox:gnuplot

# The model's lines, as gen/models.tsv has them.
mkdir -p "$root/build"
models=$root/gen/models.tsv key=$name
case $model in
*.json)
    models=$root/build/$name.tsv
    ${CC:-cc} -std=c11 -O1 -o "$root/build/attn-config" "$root/gen/config.c"
    "$root/build/attn-config" "$model" >"$models.config"
    sed "s/^config/$name/" "$models.config" >"$models"
    rm "$models.config"
    ;;
esac

echo "the archive of $name holds:"
"$root/gen/gen.sh" --list "$model"
again=
# Code for the GPUs that are here, and none if there are none.
gpus=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -d . | sort -u | paste -sd, -)
cuda=-Dcuda=disabled
[ -z "$gpus" ] || cuda=-Dgpu_archs=$gpus
[ ! -f "$build/build.ninja" ] || again=--reconfigure
step "configuring" meson setup $again -Dtable="$model" -Dtests=false "$cuda" "$build" "$root"
step "building" ninja -C "$build" bench/attn-demo
echo "libattn.a: $(($(wc -c <"$build/instantiations/libattn.a") / 1024)) KiB"
"$build/bench/attn-demo" "$models" "$key" --tsv "$build/result.tsv"
gnuplot -e "tsv='$build/result.tsv'; svg='$build/result.svg'" "$root/bench/plot.gp"
echo "table: $build/result.tsv"
echo "plot:  $build/result.svg"
