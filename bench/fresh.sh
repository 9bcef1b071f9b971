#!/usr/bin/env bash
# Freshness: how long an acknowledged click takes to be visible in /v1/metrics, under load.
#
# First the highest rate of batches until they are counted and visible, for a short time; then the load
# is 70 % of it, in an open loop, while an ad of its own is clicked through /click over one connection
# and its clicks are asked for every 5 ms over another. Latency is from the acknowledgement (the 302)
# to the answer that has the click. Server, load and probe share the machine.
#
#   ROUNDS=3 SECONDS_EACH=10 SHARE=70 bash bench/fresh.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need curl curl

ROUNDS="${ROUNDS:-3}"
SECONDS_EACH="${SECONDS_EACH:-10}"
SHARE="${SHARE:-70}"
# Events of the run that finds the highest rate.
EVENTS="${EVENTS:-1000000}"
BATCH="${BATCH:-1000}"
CONNECTIONS="${CONNECTIONS:-8}"

# figure NAME TEXT: the number behind the name.
figure() {
    sed "s/.*\"$1\":\([0-9.]*\).*/\1/" <<<"$2"
}

ingest() {
    "$RECKON" bench ingest --to "$RECKON_URL" --batch "$BATCH" --connections "$CONNECTIONS" --json "$@" \
        >"$WORK/round"
}

machine
start_reckon
ingest --count "$EVENTS" --seconds 120
most=$(figure counted_per_second "$(cat "$WORK/round")")
most=${most%.*}
rate=$((most * SHARE / 100))
echo "load: $rate events/s, $SHARE % of $most counted a second; batches of $BATCH over $CONNECTIONS connections," \
    "$ROUNDS rounds of $SECONDS_EACH s"
middles=() lates=()
for round in $(seq "$ROUNDS"); do
    ingest --rate "$rate" --seconds "$SECONDS_EACH" --fresh
    visible=$(grep -o '"visible_ms":{[^}]*}' "$WORK/round")
    middles+=("$(figure p50 "$visible")") lates+=("$(figure p99 "$visible")")
    printf 'round %s: visible after p50 %.1f, p99 %.1f, max %.1f ms; %s clicks\n' "$round" "${middles[-1]}" \
        "${lates[-1]}" "$(figure max "$visible")" "$(figure clicks "$visible")"
done
printf 'median: p50 %.1f ms (goal: 300), p99 %.1f ms (goal: 1000)\n' \
    "$(median "${middles[@]}")" "$(median "${lates[@]}")"
