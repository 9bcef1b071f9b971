#!/usr/bin/env bash
# Ingest of traffic in which one ad, one user or one address is hot, beside uniform traffic.
#
# Clicks in batches as in bench/ingest.sh, each with an address and an agent of its own: uniform; one ad
# has all of them; one user has half; one address has half. In turns on one server; the median of each,
# and its ratio to uniform. Every click must count once. Behavioural rules are off there, since they
# are right to take hot traffic out; what they cost on it is told by crates/pipeline/examples/count_speed,
# which counts the same kinds of traffic in memory with rules, on one thread.
#
#   ROUNDS=5 EVENTS=300000 MILLIONS=3 bash bench/hot.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need curl curl

ROUNDS="${ROUNDS:-5}"
# Tokens of one ad are minted one a request, which takes longer than sending them.
EVENTS="${EVENTS:-300000}"
MILLIONS="${MILLIONS:-3}"
BATCH="${BATCH:-1000}"
CONNECTIONS="${CONNECTIONS:-8}"
KINDS="uniform hot-ad hot-user hot-ip"
COUNT_SPEED="${COUNT_SPEED:-${CARGO_TARGET_DIR:-target}/release/examples/count_speed}"

declare -A acknowledged=() counted=() folded=()

field() {
    sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$WORK/round"
}

# table TITLE NAME: medians of the rates in the array NAME, and their ratios to uniform.
table() {
    local -n rates="$2"
    local kind rate uniform
    # shellcheck disable=SC2086
    uniform=$(median ${rates[uniform]})
    for kind in $KINDS; do
        # shellcheck disable=SC2086
        rate=$(median ${rates[$kind]})
        printf '%-34s %-9s %10.0f /s, %s of uniform\n' "$1" "$kind" "$rate" "$(ratio "$rate" "$uniform")"
    done
}

machine
[ -x "$COUNT_SPEED" ] || cargo build --release --locked --quiet -p reckon-pipeline --example count_speed >&2
start_reckon
echo "load: $EVENTS events a round and kind in batches of $BATCH over $CONNECTIONS connections, $ROUNDS rounds in turns (goal: at least 0.90)"
for round in $(seq "$ROUNDS"); do
    for kind in $KINDS; do
        "$RECKON" bench ingest --to "$RECKON_URL" --count "$EVENTS" --batch "$BATCH" \
            --connections "$CONNECTIONS" --seconds 120 --traffic "$kind" --json >"$WORK/round"
        acknowledged[$kind]+=" $(field events_per_second)"
        counted[$kind]+=" $(field counted_per_second)"
        "$COUNT_SPEED" count "$MILLIONS" clicks "$kind" >"$WORK/count"
        folded[$kind]+=" $(awk '$1 == "a_second_core" { print $2 }' "$WORK/count")"
    done
    echo "round $round of $ROUNDS is done" >&2
done
table "acknowledged" acknowledged
table "until counted and visible" counted
table "in memory with rules, one core" folded
