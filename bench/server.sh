# A reckon server of our own on a temporary folder; sourced by the benchmarks beside it.
#
#   start_reckon   sets RECKON_URL, RECKON_PID, RECKON_DIR and RECKON_API_KEY
#   stop_reckon    stops it and waits until it is gone
#   median         of the numbers given
#   machine        one line on where this runs
#
# The behavioural and too-fast rules are off: a load generator is what they are there to find. The
# log is synced before every answer, as it always is. BENCH_DIR chooses the disk.

RECKON="${RECKON:-${CARGO_TARGET_DIR:-target}/release/reckon}"
WORK=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/reckon-bench.XXXXXX")
RECKON_PID=""
PEER_PID=""

start_reckon() {
    RECKON_DIR="$WORK/data-$RANDOM$RANDOM"
    RECKON__RULES__ENABLED=false "$RECKON" serve --data "$RECKON_DIR" --listen 127.0.0.1:0 \
        --admin-listen "" >"$WORK/reckon.out" 2>"$WORK/reckon.err" &
    RECKON_PID=$!
    for _ in $(seq 1200); do
        RECKON_URL=$(sed -n 's/^listening //p' "$WORK/reckon.out")
        [ -n "$RECKON_URL" ] && curl -fsS -o "$WORK/ready" "$RECKON_URL/readyz" 2>>"$WORK/reckon.err" && break
        if ! kill -0 "$RECKON_PID" 2>/dev/null; then
            cat "$WORK/reckon.err" >&2
            return 1
        fi
        sleep 0.05
    done
    RECKON_API_KEY=$(cat "$RECKON_DIR/admin.key")
    export RECKON_API_KEY
}

stop_reckon() {
    if [ -n "$RECKON_PID" ]; then
        kill "$RECKON_PID" 2>/dev/null || true
        wait "$RECKON_PID" 2>/dev/null || true
        RECKON_PID=""
        rm -rf "$RECKON_DIR"
    fi
}

stop_peer() {
    if [ -n "$PEER_PID" ]; then
        kill "$PEER_PID" 2>/dev/null || true
        wait "$PEER_PID" 2>/dev/null || true
        PEER_PID=""
    fi
}

leave() {
    stop_reckon
    stop_peer
    rm -rf "$WORK"
}
trap leave EXIT
trap 'exit 130' INT TERM

# The middle one of the numbers given; of an even count the lower of the two.
median() {
    printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"
}

ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'
}

machine() {
    local cpu
    cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | sed -n 1p)
    echo "machine: $(nproc) x ${cpu:-unknown}, $(uname -sr), disk $(df --output=source "$WORK" | tail -n 1)," \
        "load average $(cut -d' ' -f1 /proc/loadavg) at the start"
}

# Installs Debian packages whose commands are missing: need COMMAND PACKAGE ...
need() {
    local packages=()
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || packages+=("$2")
        shift 2
    done
    [ ${#packages[@]} -eq 0 ] && return
    echo "installing ${packages[*]}" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
}
