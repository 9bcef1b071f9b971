#!/usr/bin/env bash
# A PostgreSQL server for tests: Debian's, on loopback, with everything it has below one folder.
#
#     postgres.sh install       installs it where it is missing
#     postgres.sh start DIR     starts it, new or with what DIR holds; source DIR/env for its addresses
#     postgres.sh stop DIR      stops exactly what was started
#
# It is set up as the one of a careful owner: passwords by SCRAM, TLS, fsync, texts ordered by language
# (so that whoever needs an order of bytes has to ask for it), a user that owns one database and no more.
set -euo pipefail

die() { echo "postgres.sh: $*" >&2; exit 1; }

# The newest installed one; it may also be named: POSTGRES_BIN=/usr/lib/postgresql/16/bin.
binaries() {
    local found
    found="${POSTGRES_BIN:-$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)}"
    [ -n "$found" ] && [ -x "$found/initdb" ] && echo "$found"
}

install() {
    local missing=()
    binaries >/dev/null || missing+=(postgresql)
    command -v openssl >/dev/null || missing+=(openssl)
    command -v setpriv >/dev/null || missing+=(util-linux)
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing ${missing[*]}" >&2
    # Debian's package makes and starts a cluster of its own, unless it is told not to.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
    binaries >/dev/null || die "the package postgresql has no server in /usr/lib/postgresql"
}

# PostgreSQL refuses to run as root.
as_owner() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups "$@"
    else
        "$@"
    fi
}

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    for _ in $(seq 50); do
        port=$((54400 + RANDOM % 1000))
        is_free "$port" && { echo "$port"; return; }
    done
    die "no port is free between 54400 and 55399"
}

# A root of our own, and the server's certificate signed by it.
certificates() {
    local in="$1"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -sha256 \
        -subj "/CN=books test root" -keyout "$in/ca.key" -out "$in/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=127.0.0.1" \
        -keyout "$in/server.key" -out "$in/server.csr" 2>/dev/null
    openssl x509 -req -in "$in/server.csr" -CA "$in/ca.pem" -CAkey "$in/ca.key" -CAcreateserial \
        -days 3650 -sha256 -extfile <(echo "subjectAltName=IP:127.0.0.1") -out "$in/server.pem" 2>/dev/null
    chmod 600 "$in/server.key" "$in/ca.key"
}

# Runs statements, one a line, in a server of one user: before there is one of many. Nothing of it has
# to outlast the machine, so it does not wait for the disk.
single() { as_owner "$bin/postgres" --single -F -j -D "$1/data" "$2" >>"$1/log" 2>&1; }

create() {
    local dir="$1" password port locale=()
    password="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
    port="$(free_port)"
    as_owner "$bin/initdb" --help | grep -q -- --icu-locale && locale=(--locale-provider=icu --icu-locale=en-US)
    (umask 077 && echo "$password" >"$dir/password")
    [ "$(id -u)" != 0 ] || chown postgres "$dir/password" "$dir/log"
    as_owner "$bin/initdb" -D "$dir/data" -U postgres --pwfile="$dir/password" --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 "${locale[@]}" --no-instructions --no-sync >>"$dir/log" 2>&1
    certificates "$dir"
    [ "$(id -u)" != 0 ] || chown postgres "$dir/server.key" "$dir/server.pem"
    chmod a+r "$dir/ca.pem" "$dir/server.pem"
    as_owner tee -a "$dir/data/postgresql.conf" >/dev/null <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
fsync = on
recovery_init_sync_method = syncfs
ssl = on
ssl_cert_file = '$dir/server.pem'
ssl_key_file = '$dir/server.key'
END
    printf '%s\n\n' "CREATE ROLE reckon LOGIN PASSWORD '$password';" "CREATE DATABASE reckon OWNER reckon;" |
        single "$dir" postgres
    printf '%s\n\n' "CREATE EXTENSION amcheck;" \
        "GRANT EXECUTE ON FUNCTION bt_index_check(regclass, boolean) TO reckon;" | single "$dir" reckon
    cat >"$dir/env" <<END
export RECKON_TEST_POSTGRES='postgres://reckon:$password@127.0.0.1:$port/reckon'
export RECKON_TEST_POSTGRES_ADMIN='postgres://postgres:$password@127.0.0.1:$port/reckon'
export RECKON_TEST_POSTGRES_CA='$dir/ca.pem'
END
}

# Whether a process has ended, or does within ten seconds.
is_gone() {
    for _ in $(seq 100); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}

start() {
    bin="$(binaries)" || die "PostgreSQL is missing: run $0 install"
    mkdir -p "$1"
    dir="$(cd "$1" && pwd)"
    touch "$dir/log"
    # Whatever fails from here on shows the log and leaves nothing running.
    trap failed EXIT
    if [ "$(id -u)" = 0 ]; then
        chmod a+x "$dir"
        chown postgres "$dir/log"
        [ -d "$dir/data" ] || command install -d -m 700 -o postgres "$dir/data"
    fi
    as_owner test -x "$dir" || die "the user postgres cannot enter $dir: take a folder that it can"
    [ ! -e "$dir/pids" ] || is_gone "$(cat "$dir/pids")" || die "a server runs in $dir: stop it first"
    [ -e "$dir/env" ] || create "$dir"
    for _ in $(seq 30); do
        if as_owner "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 -s start >>"$dir/log" 2>&1; then
            head -n 1 "$dir/data/postmaster.pid" >"$dir/pids"
            trap - EXIT
            return
        fi
        # The processes of a killed server end when they look up from their work. Until then they hold
        # its memory, and PostgreSQL refuses to begin beside them: two would write to the same files.
        tail -n 12 "$dir/log" | grep -q "shared memory block .* is still in use" || die "the server did not start"
        sleep 1
    done
    die "the memory of the server before is not let go of"
}

failed() {
    tail -n 40 "$dir/log" >&2
    stop "$dir"
    exit 1
}

stop() {
    local dir="$1" pid
    bin="$(binaries)" || die "PostgreSQL is missing: run $0 install"
    [ -e "$dir/pids" ] || return 0
    pid="$(cat "$dir/pids")"
    if kill -0 "$pid" 2>/dev/null; then
        as_owner "$bin/pg_ctl" -D "$dir/data" -m fast -w -t 60 -s stop >>"$dir/log" 2>&1 ||
            kill -9 "$pid" 2>/dev/null || true
        is_gone "$pid" || die "process $pid does not end"
    fi
    rm -f "$dir/pids"
}

case "${1:-}" in
    install) install ;;
    start | stop) "$1" "${2:?postgres.sh: name a folder}" ;;
    *) die "usage: postgres.sh install | start DIR | stop DIR" ;;
esac
