# shellcheck shell=sh
# setup.sh - sourced by run.sh and test.sh: installs what is missing, and shows that long steps are alive.

# need PACKAGE[:PROGRAM]...: installs, on Debian and its like, packages whose program is not there.
need() {
    missing=
    for pair; do
        command -v "${pair#*:}" >/dev/null 2>&1 || missing="$missing ${pair%%:*}"
    done
    # A compiler without the C library's headers compiles nothing.
    echo '#include <stdlib.h>' | ${CC:-cc} -E - >/dev/null 2>&1 || missing="$missing libc6-dev"
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "missing:$missing; install them (apt-get install$missing), or run this as root on Debian" >&2
        exit 1
    fi
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    step "reading the list of packages" apt-get update
    # shellcheck disable=SC2086
    step "installing$missing" apt-get install -y --no-install-recommends $missing
}

# step TEXT COMMAND...: runs it with its output in a log; says now and then how long it has been running and what it
# printed last.  If it fails, shows the end of the log and leaves.
step() {
    text=$1
    shift
    log=$(mktemp)
    echo "$text ..."
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    seconds=0
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        if [ -t 2 ]; then
            printf '\r%4d s  %-70.70s' "$seconds" "$(tail -n 1 "$log" | tr -d '\r')" >&2
        elif [ $((seconds % 2)) -eq 0 ]; then
            printf '%4d s  %.100s\n' "$seconds" "$(tail -n 1 "$log" | tr -d '\r')" >&2
        fi
    done
    [ ! -t 2 ] || printf '\r%-78s\r' '' >&2
    if wait "$pid"; then
        rm -f "$log"
    else
        tail -n 40 "$log" >&2
        rm -f "$log"
        echo "failed: $*" >&2
        exit 1
    fi
}
