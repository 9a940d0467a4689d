#!/bin/sh
# nvcc.sh LOG NVCC ARGUMENT... - runs nvcc, and keeps in LOG what ptxas says of each kernel and how long each phase took.
#
# tests/test_ptxas.sh reads it, so that nothing is compiled twice for it.  What is not of ptxas' report is for stderr.
set -u
log=$1
shift
rm -f "$log.time"
"$@" -Xptxas=-v --time "$log.time" 2>"$log"
status=$?
grep -v -e '^ptxas info' -e ' bytes stack frame' "$log" >&2
[ ! -f "$log.time" ] || cat "$log.time" >>"$log"
# Seconds of a processor in all: a phase's own are those of the clock, which others on the machine may stretch.
times >"$log.time"
sed -n '2s/\([0-9]*\)m\([0-9.]*\)s \([0-9]*\)m\([0-9.]*\)s/cpu \1 \2 \3 \4/p' "$log.time" >>"$log"
rm -f "$log.time"
exit $status
