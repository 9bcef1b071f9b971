#!/usr/bin/env bash
# The idle binary: how long from its start until it is ready, and the memory it takes then.
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need curl curl

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# Memory of the process in KB.
resident() { sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$RECKON_PID/status"; }

machine
times=() sizes=()
for _ in $(seq "${ROUNDS:-5}"); do
    before=$(milliseconds)
    start_reckon
    times+=($(($(milliseconds) - before)))
    sleep 1
    sizes+=("$(resident)")
    stop_reckon
done
echo "ready after $(median "${times[@]}") ms (fresh folder; looked at every 50 ms; goal: 1,000)"
echo "resident set idle $(($(median "${sizes[@]}") / 1024)) MB (goal: 100)"
