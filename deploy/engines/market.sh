#!/usr/bin/env bash
# One seeded market through the embedded engines and through Kafka, ClickHouse, Redis Cluster, PostgreSQL
# and S3, whose servers run already (run.sh starts them): both must have counted what the market knows that
# happened. Then the same with an adapter that loses something, which must be seen; and at last the
# demo's market on all engines of others, live.
#
#     bash deploy/engines/market.sh RECKON_BINARY FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."

reckon="$(realpath "$1")"
work="$2"
seed=7 rate=120 seconds=40 factor=2160
mkdir -p "$work"
servers=()

stop_servers() {
    local server
    for server in "${servers[@]}"; do kill -TERM "$server" 2>/dev/null || true; done
    for server in "${servers[@]}"; do wait "$server" || true; done
    servers=()
}
trap stop_servers EXIT

# serve NAME DATA ARGUMENT...: starts a server, and sets `url` and `key`.
serve() {
    local name="$1" data="$2" server
    shift 2
    # What an earlier one of this name has told is not taken for its word.
    : >"$work/$name.out"
    "$reckon" serve --data "$data" --listen 127.0.0.1:0 --admin-listen "" "$@" \
        >>"$work/$name.out" 2>"$work/$name.err" &
    server=$!
    servers+=("$server")
    until grep -q "^listening " "$work/$name.out"; do
        if ! kill -0 "$server" 2>/dev/null; then
            echo "market: the server $name has ended:" >&2
            tail -20 "$work/$name.err" >&2
            exit 1
        fi
        sleep 0.2
    done
    url="$(sed -n 's/^listening //p' "$work/$name.out")"
    key="$(cat "$data/admin.key")"
}

# configure FILE NAME: all engines of others, with places of their own.
configure() {
    local name="$2" clickhouse
    clickhouse="$(tr ' ' '\n' <<<"$RECKON_TEST_CLICKHOUSE" | sed -n 's/^current=//p')"
    psql --quiet "$RECKON_TEST_POSTGRES" --command "CREATE SCHEMA $name"
    mkdir -p "$RECKON_TEST_S3_FILES/$name"
    cat >"$1" <<END
[server]
client_ip_header = "x-forwarded-for"
[log]
engine = "kafka"
[log.kafka]
brokers = "$RECKON_TEST_KAFKA"
topic_prefix = "$name-"
partitions = 8
[rollup]
engine = "clickhouse"
[rollup.clickhouse]
url = "$clickhouse"
database = "$name"
[feature]
engine = "redis"
[feature.redis]
nodes = "$RECKON_TEST_REDIS"
prefix = "$name:"
[books]
url = "$RECKON_TEST_POSTGRES?options[search_path]=$name"
[lake]
url = "s3://$name/lake"
[lake.s3]
endpoint = "$RECKON_TEST_S3"
access_key_id = "${RECKON_TEST_S3_KEYS%%:*}"
secret_access_key = "${RECKON_TEST_S3_KEYS#*:}"
END
}

printf '[server]\nclient_ip_header = "x-forwarded-for"\n' >"$work/embedded.toml"
configure "$work/engines.toml" market

echo "== a market on the embedded engines"
serve embedded "$work/one" --config "$work/embedded.toml" --clock "scaled:$factor"
RECKON_API_KEY="$key" "$reckon" simulate --to "$url" --seed "$seed" --rate "$rate" --seconds "$seconds" \
    --trouble bot=0.02 --trouble double_click=0.3 --truth "$work/truth.json" >"$work/simulate.out"
grep -E "^(holds|FAILS)" "$work/simulate.out"
stop_servers

echo "== its log and its books moved to the engines of others, and counted there"
cp -r "$work/one" "$work/two"
"$reckon" move --data "$work/two" --from "$work/embedded.toml" --config "$work/engines.toml"

# judge: both stacks beside the truth; fails where they differ.
judge() {
    serve embedded "$work/one" --config "$work/embedded.toml"
    local judged=0 one="embedded=$url=$key"
    serve engines "$work/two" --config "$work/engines.toml"
    python3 crates/server/tests/judges/both_stacks.py "$work/truth.json" "$one" "engines=$url=$key" || judged=1
    stop_servers
    return "$judged"
}

echo "== both stacks beside the truth"
judge

for adapter in rollup log; do
    echo "== an adapter of the $adapter that loses something must be seen"
    RECKON_SABOTAGE=$adapter "$reckon" rebuild --data "$work/two" --config "$work/engines.toml" >/dev/null
    if judge >"$work/broken-$adapter.out" 2>&1; then
        cat "$work/broken-$adapter.out"
        echo "market: the $adapter loses something, and the judge has not seen it" >&2
        exit 1
    fi
    if ! grep -E "^FAILS|rows compared," "$work/broken-$adapter.out"; then
        cat "$work/broken-$adapter.out"
        echo "market: the judge ended without a judgement" >&2
        exit 1
    fi
done

echo "== the demo's market, live on all engines of others"
configure "$work/demo.toml" demo
"$reckon" demo --config "$work/demo.toml" --seconds 40 --rate 120
