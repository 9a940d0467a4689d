# check.sh - sourced by the shell tests, which are called as `test_x.sh SOURCE_ROOT` with CC, MESON and NVCC (or
# nothing) in the environment.  Ends as check.h does: `N passed, N failed, N skipped`.
set -u
root=$(cd "$1" && pwd)
CC=${CC:-cc} MESON=${MESON:-meson}
gen=$root/gen/gen.sh
passed=0 failed=0 skipped=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

pass() { passed=$((passed + 1)); }
skip() { skipped=$((skipped + 1)); echo "skipped: $*"; }
fail() { failed=$((failed + 1)); echo "FAILED: $*"; }

# runs NAME COMMAND...: the command succeeds; else its output is shown.
runs() {
    name=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then
        pass
    else
        fail "$name: $*"
        tail -n 30 "$tmp/log"
        return 1
    fi
}

# same NAME WANT GOT: two files are equal.
same() {
    if cmp -s "$2" "$3"; then
        pass
    else
        fail "$1"
        diff "$2" "$3" | head -n 20
    fi
}

# refuses NAME TEXT COMMAND...: the command fails and says TEXT.
refuses() {
    name=$1 text=$2
    shift 2
    if "$@" >"$tmp/log" 2>&1; then
        fail "$name: was accepted"
    else
        case $(cat "$tmp/log") in
        *"$text"*) pass ;;
        *)
            fail "$name: must say '$text', says:"
            cat "$tmp/log"
            ;;
        esac
    fi
}

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}
