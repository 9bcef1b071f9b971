#!/usr/bin/env bash
# Restart with a long log: time until the first redirect, and until everything in the log is counted.
#
# The log is filled with events as the edge writes them, ten impressions to a click, by
# crates/pipeline/examples/count_speed, which takes minutes less than the front door would. Then:
#
#   first    a server finds the log and has counted nothing of it
#   killed   it takes batches, is killed with kill -9 amid them, and starts again; ROUNDS times
#
# Time is from the start of the process. A redirect is a 302 that acknowledges its click, with a token
# minted before. Whole: the gauge says that nothing of the log is uncounted, and the records with a
# verdict and those that get none are as many as the log has. Before each start the log is put out of
# the page cache.
#
#   MEGABYTES=10000 ROUNDS=3 BENCH_DIR=... bash bench/restart.sh
#
# The data folder takes more than the log: rollups, checkpoints and the lake lie beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need curl curl

MEGABYTES="${MEGABYTES:-10000}"
ROUNDS="${ROUNDS:-3}"
# Sent before and while the server is killed.
EVENTS="${EVENTS:-500000}"
# Killed once so many of them are counted.
KILL_AFTER="${KILL_AFTER:-100000}"
COUNT_SPEED="${COUNT_SPEED:-${CARGO_TARGET_DIR:-target}/release/examples/count_speed}"

# gauge NAME: a number of /metrics; 0 where there is no answer.
gauge() {
    local page
    page=$(curl -fsS -m 5 -H "Authorization: Bearer $RECKON_API_KEY" "$RECKON_URL/metrics" 2>>"$WORK/reckon.err") || true
    awk -v name="$1" '$1 ~ "^" name "({|$)" { sum += $2 } END { printf "%.0f\n", sum }' <<<"$page"
}

is_whole() {
    local page
    page=$(curl -fsS -m 5 -H "Authorization: Bearer $RECKON_API_KEY" "$RECKON_URL/metrics" 2>>"$WORK/reckon.err") || return 1
    awk '/^reckon_count_lag_records / { lag = $2; told = 1 }
        /^reckon_log_end\{/ { end += $2 }
        /^reckon_records_(received|skipped|redelivered|unknown)_total / { seen += $2 }
        END { exit !(told && lag == 0 && end > 0 && seen == end) }' <<<"$page"
}

# One click, with a token that was not used yet; true where it is acknowledged.
redirect() {
    local path head
    click=$((click + 1))
    path=$(sed -n "${click}p" "$WORK/clicks")
    head=$(curl -sS -m 2 -o "$WORK/answer" -D - -A "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0.0.0" \
        "$RECKON_URL$path" 2>>"$WORK/reckon.err") || return 1
    grep -q '^HTTP/1.1 302' <<<"$head" && ! grep -qi '^reckon-degraded' <<<"$head"
}

# forget_pages FOLDER: what is synced leaves the page cache.
forget_pages() {
    find "$1" -type f -exec dd of={} oflag=nocache conv=notrunc,fdatasync count=0 status=none \;
}

seconds_since() {
    awk -v from="$1" -v to="$(date +%s%N)" 'BEGIN { printf "%.2f", (to - from) / 1e9 }'
}

# until WHAT SECONDS: runs it again and again until it is true.
until_true() {
    local deadline=$((SECONDS + $2))
    until "$1"; do
        if ! kill -0 "$RECKON_PID" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
            tail -n 20 "$WORK/reckon.err" >&2
            return 1
        fi
        sleep 0.02
    done
}

# Starts a server on the folder that is there; sets REDIRECT and WHOLE, in seconds.
start_again() {
    local began
    forget_pages "$RECKON_DIR/log"
    began=$(date +%s%N)
    RECKON__RULES__ENABLED=false "$RECKON" serve --data "$RECKON_DIR" --listen "${RECKON_URL#http://}" \
        --admin-listen "" >>"$WORK/reckon.out" 2>>"$WORK/reckon.err" &
    RECKON_PID=$!
    until_true redirect 600
    REDIRECT=$(seconds_since "$began")
    until_true is_whole 1800
    WHOLE=$(seconds_since "$began")
}

kill_reckon() {
    kill -9 "$RECKON_PID"
    wait "$RECKON_PID" 2>/dev/null || true
}

# Kills the server while it takes batches.
kill_under_load() {
    local load counted
    counted=$(gauge reckon_records_received_total)
    "$RECKON" bench ingest --to "$RECKON_URL" --count "$EVENTS" --seconds 120 --json >"$WORK/round" 2>"$WORK/load.err" &
    load=$!
    while [ "$(gauge reckon_records_received_total)" -lt $((counted + KILL_AFTER)) ]; do
        if ! kill -0 "$load" 2>/dev/null; then
            echo "the load ended before the server was killed; raise EVENTS" >&2
            return 1
        fi
        sleep 0.05
    done
    kill_reckon
    # It has lost its server, and says so.
    wait "$load" 2>/dev/null || true
}

machine
[ -x "$COUNT_SPEED" ] || cargo build --release --locked --quiet -p reckon-pipeline --example count_speed >&2
# A first start makes books and keys, and takes the lease that the filled log was written under.
start_reckon
click=0
"$RECKON" bench mint --to "$RECKON_URL" --count 100000 >"$WORK/clicks" 2>"$WORK/load.err"
kill_reckon
find "$RECKON_DIR" -mindepth 1 -maxdepth 1 ! -name 'books.db*' ! -name secrets ! -name admin.key -exec rm -rf {} +
"$COUNT_SPEED" fill "$RECKON_DIR/log" "$MEGABYTES" "$(($(date +%s) - 3000))" >"$WORK/filled"
echo "log: $(awk '$1 == "records" { print $2 }' "$WORK/filled") records," \
    "$(du -sm "$RECKON_DIR/log" | cut -f1) MB, filled in $(awk '$1 == "seconds" { print $2 }' "$WORK/filled") s"
start_again
echo "first:   first redirect after $REDIRECT s; all counted, from the log's beginning, after $WHOLE s"
redirects=() wholes=()
for round in $(seq "$ROUNDS"); do
    kill_under_load
    start_again
    redirects+=("$REDIRECT") wholes+=("$WHOLE")
    echo "killed $round: first redirect after $REDIRECT s; counts whole after $WHOLE s"
done
echo "median: first redirect after $(median "${redirects[@]}") s (goal: 1), counts whole after" \
    "$(median "${wholes[@]}") s (goal: 30), with $(du -sm "$RECKON_DIR/log" | cut -f1) MB of log," \
    "$(du -sm "$RECKON_DIR" | cut -f1) MB in all"
