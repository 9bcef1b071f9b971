#!/usr/bin/env bash
# ClickHouse for tests, on loopback, with all data below one folder.
#
#     clickhouse.sh install
#     clickhouse.sh start DIR           an old server (the distribution's own) and the current engine
#     clickhouse.sh stop DIR            ends them
#     clickhouse.sh kill DIR NAME       SIGKILL to one: `old` or `current`
#     clickhouse.sh again DIR NAME      starts one that was killed, on its folder and port
#
# `start` writes DIR/env: RECKON_TEST_CLICKHOUSE is a list of NAME=URL, RECKON_TEST_CLICKHOUSE_DIR the folder.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
names=(old current)

server() { command -v clickhouse-server || { [ -x /usr/sbin/clickhouse-server ] && echo /usr/sbin/clickhouse-server; }; }

install() {
    if ! server >/dev/null; then
        echo "installing clickhouse-server" >&2
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clickhouse-server >&2
    fi
    bash "$here/../setup.sh" python >/dev/null
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The address of a server's own port.
url() { echo "http://127.0.0.1:$(cat "$1/$2/port")"; }

configure_old() {
    local dir="$1/old"
    mkdir -p "$dir/data"
    free_port >"$dir/port"
    free_port >"$dir/native_port"
    cat >"$dir/config.xml" <<XML
<?xml version="1.0"?>
<yandex>
    <logger><level>information</level><log>$dir/server.log</log><errorlog>$dir/server.err.log</errorlog></logger>
    <http_port>$(cat "$dir/port")</http_port>
    <tcp_port>$(cat "$dir/native_port")</tcp_port>
    <listen_host>127.0.0.1</listen_host>
    <path>$dir/data/</path>
    <tmp_path>$dir/data/tmp/</tmp_path>
    <users_config>$dir/users.xml</users_config>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <timezone>UTC</timezone>
    <mark_cache_size>67108864</mark_cache_size>
    <max_connections>256</max_connections>
</yandex>
XML
    cat >"$dir/users.xml" <<'XML'
<?xml version="1.0"?>
<yandex>
    <profiles><default><max_memory_usage>2000000000</max_memory_usage></default></profiles>
    <users><default>
        <password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
    </default></users>
    <quotas><default></default></quotas>
</yandex>
XML
}

configure_current() {
    mkdir -p "$1/current"
    free_port >"$1/current/port"
}

launch() {
    local dir="$1/$2"
    case "$2" in
    old) setsid "$(server)" --config-file="$dir/config.xml" >>"$dir/out" 2>&1 </dev/null & ;;
    current)
        setsid "$(bash "$here/../setup.sh" python)" "$here/chdb_server.py" "$(cat "$dir/port")" "$dir" \
            >>"$dir/out" 2>&1 </dev/null &
        ;;
    esac
    echo $! >"$dir/pid"
    cat "$1"/*/pid >"$1/pids"
}

answers() {
    python3 - "$1" <<'PYTHON' 2>/dev/null
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=b"SELECT 1"), timeout=5).read()
PYTHON
}

await() {
    local dir="$1/$2" tries
    for tries in $(seq 150); do
        if answers "$(url "$1" "$2")"; then return; fi
        kill -0 "$(cat "$dir/pid")" 2>/dev/null || break
        sleep 0.2
    done
    echo "clickhouse ($2) does not answer:" >&2
    tail -n 40 "$dir/out" "$dir"/server.err.log >&2 2>/dev/null || true
    return 1
}

# Ends one, and waits until it is gone.
end() {
    local pid signal="$3"
    [ -e "$1/$2/pid" ] || return 0
    pid="$(cat "$1/$2/pid")"
    kill "-$signal" "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

start() {
    local dir="$1" name list=""
    install
    mkdir -p "$dir"
    dir="$(cd "$dir" && pwd)"
    for name in "${names[@]}"; do
        [ -e "$dir/$name/port" ] || "configure_$name" "$dir"
        launch "$dir" "$name"
    done
    for name in "${names[@]}"; do
        await "$dir" "$name" || { stop "$dir"; exit 1; }
        list="$list${list:+ }$name=$(url "$dir" "$name")"
    done
    {
        echo "export RECKON_TEST_CLICKHOUSE='$list'"
        echo "export RECKON_TEST_CLICKHOUSE_DIR='$dir'"
    } >"$dir/env"
}

stop() {
    local name
    for name in "${names[@]}"; do end "$1" "$name" TERM; done
    rm -f "$1/pids" "$1"/*/pid
}

case "${1:-}" in
install) install ;;
start) start "$2" ;;
stop) stop "$2" ;;
kill) end "$2" "$3" KILL ;;
again) launch "$2" "$3" && await "$2" "$3" ;;
*)
    sed -n '2,9p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
