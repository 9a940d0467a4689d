#!/bin/sh
# test.sh [MESON TEST OPTION...] - builds everything and runs all tests; installs what is missing (as root, on Debian).
# The last line is the sum of what the test programs say: N passed, N failed, N skipped.  `sh test.sh --suite quick`
# runs the quick ones.
set -eu
root=$(cd "$(dirname "$0")" && pwd)
. "$root/setup.sh"
build=$root/build/tests
need gcc:cc g++:c++ meson:meson ninja-build:ninja m4:m4 pkg-config:pkg-config

again=
[ ! -f "$build/build.ninja" ] || again=--reconfigure
step "configuring" meson setup $again "$build" "$root"
step "building" ninja -C "$build"
status=0
meson test -C "$build" --no-rebuild --print-errorlogs "$@" || status=$?

# One line of JSON a test.  A test that failed and counted no failure, or that counted nothing, is one failure.
awk -v status=$status '
{
    ok = match($0, /"result": "(OK|EXPECTEDFAIL)"/) > 0
    skip = match($0, /"result": "SKIP"/) > 0
    p = f = s = counted = 0
    rest = $0
    while (match(rest, /[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped/)) { # the last one is the closing line
        split(substr(rest, RSTART, RLENGTH), n, /[^0-9]+/)
        p = n[1]; f = n[2]; s = n[3]; counted = 1
        rest = substr(rest, RSTART + RLENGTH)
    }
    if (skip && !counted)
        s = 1
    else if ((!ok || !counted) && !f)
        f = 1
    passed += p; failed += f; skipped += s
}
END {
    if (status && !failed)
        failed = 1
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit failed > 0
}' "$build/meson-logs/testlog.json"
