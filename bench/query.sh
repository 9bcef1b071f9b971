#!/usr/bin/env bash
# Three questions over a month of minute rows, beside ClickHouse's engine (chdb) and DuckDB.
#
# The rows are made by crates/rollup/examples/query_speed.rs, which tells what they are like; it loads
# them by `apply` and `persist` and writes them as CSV, which the others load into tables of their own.
# All three answer in process, on the same machine, one after the other in the same run; answers are
# compared by how many rows they have and how many clicks these add up to. Nothing of anyone is tuned.
#
#   MILLIONS=60 ASKS=200 BENCH_DIR=... bash bench/query.sh
#
# 60 million rows take some 12 GB of disk in BENCH_DIR, and a quarter of an hour to be loaded.
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || need a-python-with-venv python3-venv

MILLIONS="${MILLIONS:-60}"
ASKS="${ASKS:-200}"
CACHE="${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reckon-bench}"
PEERS="$CACHE/query-peers"
CHDB_VERSION="${CHDB_VERSION:-4.4.0}"
DUCKDB_VERSION="${DUCKDB_VERSION:-2.0.0}"
QUERY_SPEED="${QUERY_SPEED:-${CARGO_TARGET_DIR:-target}/release/examples/query_speed}"

install_peers() {
    [ -e "$PEERS/$CHDB_VERSION-$DUCKDB_VERSION" ] && return
    echo "installing chdb $CHDB_VERSION and duckdb $DUCKDB_VERSION" >&2
    mkdir -p "$CACHE"
    python3 -m venv --clear "$PEERS"
    "$PEERS/bin/pip" install --quiet --disable-pip-version-check \
        "chdb==$CHDB_VERSION" "duckdb==$DUCKDB_VERSION" >&2
    touch "$PEERS/$CHDB_VERSION-$DUCKDB_VERSION"
}

# figure WHO QUESTION STATE NAME: the figure that follows NAME in a line of the results.
figure() {
    awk -v who="$1" -v question="$2" -v state="$3" -v name="$4" '
        $1 == who && $2 == question && $3 == state {
            for (at = 4; at < NF; at++) if ($at == name) { print $(at + 1); exit }
        }' "$WORK/results"
}

machine
install_peers
[ -x "$QUERY_SPEED" ] || cargo build --release -p reckon-rollup --example query_speed >&2
"$QUERY_SPEED" "$MILLIONS" "$WORK/rollup" "$WORK/rows.csv" | tee "$WORK/results"
"$PEERS/bin/python" bench/query_peers.py "$WORK/rows.csv" "$WORK" "$ASKS" | tee -a "$WORK/results"

declare -A goals=([ad]=5 [top]=15 [campaign]=10)
declare -A titles=([ad]="1 ad x 30 d by minute" [top]="top 100 of the last hour"
    [campaign]="1 campaign x 30 d by day x region")
printf '\n%s million rows; milliseconds, p50 / p99\n' "$MILLIONS"
for question in ad top campaign; do
    printf '%-34s reckon %s / %s (goal: p99 %s), not merged %s / %s, first %s\n' "${titles[$question]}" \
        "$(figure reckon $question merged p50)" "$(figure reckon $question merged p99)" "${goals[$question]}" \
        "$(figure reckon $question fresh p50)" "$(figure reckon $question fresh p99)" \
        "$(figure reckon $question first p50)"
    for peer in clickhouse duckdb; do
        for name in rows clicks; do
            if [ "$(figure $peer $question merged $name)" != "$(figure reckon $question merged $name)" ]; then
                echo "$peer answers something else: $name of $question differ" >&2
                exit 1
            fi
        done
        printf '%-34s %s %s / %s: %s times as long at the middle, %s at p99\n' "" "$peer" \
            "$(figure $peer $question merged p50)" "$(figure $peer $question merged p99)" \
            "$(ratio "$(figure $peer $question merged p50)" "$(figure reckon $question merged p50)")" \
            "$(ratio "$(figure $peer $question merged p99)" "$(figure reckon $question merged p99)")"
    done
done
