#!/usr/bin/env bash
# A server of the S3 protocol for the tests of the lake.
#
#     s3.sh install      builds it into the user's cache; quick where it is there
#     s3.sh start DIR    starts it on loopback with everything below DIR, or again where it was before
#     s3.sh kill DIR     kills it as a power cut of its process would
#     s3.sh stop DIR     ends it and waits
#
# It is versitygw over a folder: it decides conditional puts and publishes the object under one lock,
# keeps objects over a kill, keeps versions where it is told to, and every object is a file, so that a
# test can damage it behind its back. Others were looked at: s3s-fs looks whether an object is there
# before it takes the body, so two may make one object; moto keeps everything in memory.
set -euo pipefail

version=1.8.0
go_min=1.25
server="${XDG_CACHE_HOME:-$HOME/.cache}/reckon/versitygw-$version/versitygw"
export ROOT_ACCESS_KEY=reckon ROOT_SECRET_KEY=reckon-secret

fail() { echo "s3.sh: $*" >&2; exit 1; }

install() {
    [ ! -x "$server" ] || return 0
    command -v curl >/dev/null || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends curl >&2
    }
    command -v go >/dev/null || fail "Go $go_min or later is missing: the S3 server of the tests is built with it"
    echo "building versitygw $version" >&2
    local bin
    bin="$(dirname "$server")"
    mkdir -p "$bin.part"
    GOBIN="$bin.part" go install "github.com/versity/versitygw/cmd/versitygw@v$version" >&2
    rm -rf "$bin"
    mv "$bin.part" "$bin"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A process that nobody has waited for yet is dead all the same.
lives() {
    local stat
    stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 1
    [[ "${stat##*) }" != Z* ]]
}

free_port() {
    local port
    for port in $(seq 17480 17579 | shuf); do
        answers "$port" || { echo "$port"; return; }
    done
    fail "no port between 17480 and 17579 is free"
}

# Starts the server of DIR; true once it answers. It does not where another took the port meanwhile.
launch() {
    local dir="$1" port="$2" pid
    ( cd "$dir" && exec setsid "$server" --quiet --port "127.0.0.1:$port" \
        posix --versioning-dir "$dir/versions" "$dir/buckets" ) >>"$dir/log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$dir/pids"
    for _ in $(seq 200); do
        lives "$pid" || return 1
        if curl -s -o /dev/null --max-time 5 "http://127.0.0.1:$port/" && lives "$pid"; then
            return 0
        fi
        sleep 0.05
    done
    return 1
}

# A bucket that keeps versions: a lake refuses it.
keep_versions() {
    local state='<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>'
    curl -sS --fail-with-body --max-time 10 -X PUT --data "$state" -H "Content-Type: application/xml" \
        -H "x-amz-content-sha256: $(printf %s "$state" | sha256sum | cut -d' ' -f1)" \
        --aws-sigv4 aws:amz:us-east-1:s3 --user "$ROOT_ACCESS_KEY:$ROOT_SECRET_KEY" \
        "http://127.0.0.1:$1/versioned?versioning="
}

start() {
    local dir port
    [ -x "$server" ] || fail "it is not installed: s3.sh install"
    mkdir -p "$1/buckets/reckon" "$1/buckets/versioned" "$1/versions"
    dir="$(cd "$1" && pwd)"
    for _ in 1 2 3 4 5; do
        # A port once taken is kept, so that whoever knew the server finds it again.
        port="$(cat "$dir/port" 2>/dev/null || free_port)"
        if launch "$dir" "$port"; then
            if [ ! -e "$dir/port" ]; then
                keep_versions "$port" || { cat "$dir/log" >&2; stop "$dir"; fail "it keeps no versions"; }
                echo "$port" >"$dir/port"
            fi
            cat >"$dir/env" <<END
export RECKON_TEST_S3=http://127.0.0.1:$port
export RECKON_TEST_S3_KEYS=$ROOT_ACCESS_KEY:$ROOT_SECRET_KEY
export RECKON_TEST_S3_FILES=$dir/buckets
END
            return 0
        fi
        stop "$dir"
    done
    cat "$dir/log" >&2
    fail "it does not start"
}

end() {
    local dir="$1" signal="$2" pid
    for pid in $(cat "$dir/pids" 2>/dev/null); do
        kill "-$signal" "$pid" 2>/dev/null || continue
        for _ in $(seq 200); do
            lives "$pid" || break
            sleep 0.05
        done
        ! lives "$pid" || kill -KILL "$pid" || true
    done
    rm -f "$dir/pids"
}
stop() { end "$1" TERM; }

case "${1:-} $#" in
    "install 1") install ;;
    "start 2") start "$2" ;;
    "kill 2") end "$2" KILL ;;
    "stop 2") stop "$2" ;;
    *) fail "usage: s3.sh install | start DIR | kill DIR | stop DIR" ;;
esac
