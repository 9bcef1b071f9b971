#!/usr/bin/env bash
# A Redis Cluster for tests: three masters with a replica each, on loopback.
#
#     redis.sh install            redis-server and redis-cli, where they are missing
#     redis.sh start DIR          starts it, everything below DIR; DIR/env says where it is
#     redis.sh stop DIR           ends it
#     redis.sh revive DIR PORT    starts a node again that has died
#
# The first of six ports is RECKON_REDIS_PORT, or the first free ones from 17100 on; the nodes talk to
# each other on ports 10000 higher.
set -euo pipefail

say() { echo "redis: $*" >&2; }

install() {
    command -v redis-server >/dev/null && command -v redis-cli >/dev/null && return
    say "installing redis-server"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server redis-tools >&2
}

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

ports_from() { seq "$1" "$(($1 + 5))"; }

find_ports() {
    local first port
    for first in ${RECKON_REDIS_PORT:-$(seq 17100 10 17400)}; do
        for port in $(ports_from "$first"); do
            is_free "$port" && is_free "$((port + 10000))" || continue 2
        done
        ports_from "$first"
        return
    done
    say "no six free ports in a row; name the first one by RECKON_REDIS_PORT"
    return 1
}

configure() {
    local home="$1" port="$2"
    mkdir -p "$home"
    cat >"$home/redis.conf" <<EOF
bind 127.0.0.1
port $port
dir $home
pidfile $home/pid
logfile $home/log
daemonize no
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 2000
cluster-require-full-coverage no
cluster-allow-replica-migration no
appendonly yes
appendfsync everysec
save ""
repl-diskless-sync yes
repl-diskless-sync-delay 0
EOF
}

launch() {
    local home="$1"
    redis-server "$home/redis.conf" >>"$home/out" 2>&1 </dev/null &
    echo $!
}

# Polls a condition for half a minute.
await() {
    local what="$1"
    shift
    for _ in $(seq 300); do
        "$@" && return
        sleep 0.1
    done
    say "waited in vain until $what"
    return 1
}

answers() { [ "$(redis-cli -p "$1" ping 2>/dev/null)" = PONG ]; }

is_whole() {
    local port
    for port in $(cat "$1/ports"); do
        redis-cli -p "$port" cluster info 2>/dev/null | grep -q '^cluster_state:ok' || return 1
        redis-cli -p "$port" info replication 2>/dev/null |
            grep -Eq '^(master_link_status:up|slave0:.*state=online)' || return 1
    done
}

create() {
    local dir="$1" port
    local -a nodes=()
    for port in $(cat "$dir/ports"); do
        await "the node on $port answers" answers "$port" || return 1
        nodes+=("127.0.0.1:$port")
    done
    redis-cli --cluster create "${nodes[@]}" --cluster-replicas 1 --cluster-yes >"$dir/create.log" || return 1
    await "every master has its replica" is_whole "$dir"
}

start() {
    local dir="$1" port nodes
    mkdir -p "$dir"
    dir="$(cd "$dir" && pwd)"
    : >"$dir/pids"
    find_ports >"$dir/ports"
    for port in $(cat "$dir/ports"); do
        configure "$dir/$port" "$port"
        launch "$dir/$port" >>"$dir/pids"
    done
    if ! create "$dir"; then
        tail -n 20 "$dir"/*/log "$dir/create.log" >&2 || true
        stop "$dir"
        return 1
    fi
    nodes="$(sed 's/^/127.0.0.1:/' "$dir/ports" | paste -sd,)"
    printf 'export RECKON_TEST_REDIS=%q\nexport RECKON_TEST_REDIS_DIR=%q\n' "$nodes" "$dir" >"$dir/env"
    say "a cluster of six nodes on ports $(paste -sd' ' "$dir/ports")"
}

# A process that was started here, and is still the same program.
runs() { [ -r "/proc/$1/comm" ] && [ "$(cat "/proc/$1/comm")" = redis-server ] && ! is_zombie "$1"; }
is_zombie() { grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
is_gone() { ! runs "$1"; }

stop() {
    local dir="$1" pid
    [ -e "$dir/pids" ] || return 0
    for pid in $(cat "$dir/pids"); do
        runs "$pid" && kill "$pid" || true
    done
    for pid in $(cat "$dir/pids"); do
        await "process $pid ends" is_gone "$pid" || kill -KILL "$pid" || true
    done
    rm -f "$dir/pids" "$dir/env"
}

revive() {
    local dir="$1" port="$2"
    launch "$dir/$port" >>"$dir/pids"
    await "the node on $port answers" answers "$port"
}

case "${1:-}" in
install) install ;;
start) start "${2:?start DIR}" ;;
stop) stop "${2:?stop DIR}" ;;
revive) revive "${2:?revive DIR PORT}" "${3:?revive DIR PORT}" ;;
*)
    echo "redis.sh install | start DIR | stop DIR | revive DIR PORT" >&2
    exit 2
    ;;
esac
