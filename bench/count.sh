#!/usr/bin/env bash
# Counting in memory on one core, beside Flink on two: clicks by ad in windows of a minute.
#
# The events are those of crates/pipeline/examples/count_speed, which tells what they are like. reckon,
# one thread: bytes as the edge writes them to records, duplicates found, the edge's outcome, sums by
# second and all dimensions, behavioural rules on closed minutes. Flink, parallelism 2 in one process:
# the same events as CSV of id, ad and time, to a blackhole; once windows alone and once behind a
# deduplication by id. It runs its SQL with object reuse, mini-batches, two-phase aggregation and state
# on the heap; nothing is checkpointed, and its answers on a sample are compared before. Both by wall
# time, in turns; the median of each. `pipeline`: all of reckon's counting from a log on disk, with
# its journal and checkpoints.
#
#   ROUNDS=3 MILLIONS=6 BENCH_DIR=... bash bench/count.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need java openjdk-17-jre-headless python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || need a-python-with-venv python3-venv

ROUNDS="${ROUNDS:-3}"
MILLIONS="${MILLIONS:-6}"
SAMPLE_MILLIONS=0.5
CACHE="${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reckon-bench}"
PEER="$CACHE/flink"
FLINK_VERSION="${FLINK_VERSION:-2.3.0}"
# Half of the memory: the ids of all events stand on the heap.
HEAP_GB="${HEAP_GB:-$(awk '/^MemTotal/ { print int($2 / 2097152) }' /proc/meminfo)}"
COUNT_SPEED="${COUNT_SPEED:-${CARGO_TARGET_DIR:-target}/release/examples/count_speed}"

install_peer() {
    [ -e "$PEER/$FLINK_VERSION" ] && return
    echo "installing apache-flink $FLINK_VERSION" >&2
    mkdir -p "$CACHE"
    python3 -m venv --clear "$PEER"
    "$PEER/bin/pip" install --quiet --disable-pip-version-check "apache-flink==$FLINK_VERSION" >&2
    touch "$PEER/$FLINK_VERSION"
}

# figure FILE NAME: what follows NAME at the beginning of a line.
figure() {
    awk -v name="$2" '$1 == name { print $2; exit }' "$1"
}

# write_rows NAME MILLIONS: two files, so that Flink reads with both cores.
write_rows() {
    mkdir -p "$WORK/$1"
    "$COUNT_SPEED" csv "$2" clicks "$WORK/$1/0.csv" "$WORK/$1/1.csv" >"$WORK/$1.figures"
}

run_flink() {
    JVM_ARGS="-Xmx${HEAP_GB}g -XX:+UseParallelGC" "$PEER/bin/python" bench/flink_peer.py \
        "$WORK/sample" "$(figure "$WORK/sample.figures" rows)" "$(figure "$WORK/sample.figures" distinct)" \
        "$WORK/rows" "$(figure "$WORK/rows.figures" rows)" >"$WORK/flink" 2>"$WORK/flink.log" || {
        tail -n 30 "$WORK/flink.log" >&2
        return 1
    }
}

machine
install_peer
[ -x "$COUNT_SPEED" ] || cargo build --release --locked --quiet -p reckon-pipeline --example count_speed >&2
write_rows sample "$SAMPLE_MILLIONS"
write_rows rows "$MILLIONS"
echo "peer: Apache Flink $FLINK_VERSION from PyPI, parallelism 2, ${HEAP_GB} GB heap, $(java -version 2>&1 | sed -n 1p)"
echo "load: $MILLIONS million clicks, $ROUNDS rounds in turns; 1 % copies, 1 % refused by the edge, 1 % double clicks"
declare -A rates=()
add() { rates[$1]+=" $2"; }
for round in $(seq "$ROUNDS"); do
    for mix in clicks shown; do
        TMPDIR="$WORK" "$COUNT_SPEED" pipeline "$MILLIONS" "$mix" >"$WORK/$mix"
        for name in a_second a_second_core pipeline pipeline_core; do
            add "$mix $name" "$(figure "$WORK/$mix" "$name")"
        done
    done
    run_flink
    for name in windowed deduplicated; do
        add "$name" "$(figure "$WORK/flink" "$name")"
    done
    echo "round $round: reckon $(figure "$WORK/clicks" a_second) clicks/s on one core, flink on two" \
        "$(figure "$WORK/flink" windowed) windowed, $(figure "$WORK/flink" deduplicated) with deduplication"
done
# middle NAME: the median of the rounds.
middle() {
    # shellcheck disable=SC2086
    median ${rates[$1]}
}
our=$(middle "clicks a_second")
echo
printf 'median: reckon %s clicks/s by wall time, %s by processor time (goal: 3000000 a core)\n' \
    "$our" "$(middle "clicks a_second_core")"
printf '        ten impressions to a click: %s by wall time, %s by processor time\n' \
    "$(middle "shown a_second")" "$(middle "shown a_second_core")"
printf '        from a log on disk: %s clicks/s, %s mixed\n' "$(middle "clicks pipeline")" "$(middle "shown pipeline")"
for name in windowed deduplicated; do
    printf 'flink %-13s %s rows/s on two cores: reckon on one is %s times as fast (goal: 10)\n' "$name" \
        "$(middle $name)" "$(ratio "$our" "$(middle $name)")"
done
echo
echo "where the time goes, last round, clicks; nanoseconds a record and share:"
grep -E '^(decode|dedup|deltas|keep|rules|free) ' "$WORK/clicks"
