#!/usr/bin/env bash
# GET /click, durable before the 302, beside nginx answering `return 302` with an access log.
#
# Both are asked by wrk with one thread, in turns, for the same URLs: every click has a token of its
# own that was minted before, so reckon has to open it, judge it, log it and sync it. nginx reads the
# same request and writes a line. Server and load share the machine.
# Prints the median of each, their ratio, and the latency at a fixed rate (open loop).
#
#   ROUNDS=3 SECONDS_EACH=4 RATE=20000 bash bench/click.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need nginx nginx-light wrk wrk curl curl

ROUNDS="${ROUNDS:-3}"
SECONDS_EACH="${SECONDS_EACH:-4}"
RATE="${RATE:-20000}"
CONNECTIONS="${CONNECTIONS:-16 64 256}"
# More than either can answer; what is not used is thrown away.
TOKENS_EACH="${TOKENS_EACH:-$((SECONDS_EACH * 110000))}"

start_nginx() {
    local nginx
    nginx=$(command -v nginx || echo /usr/sbin/nginx)
    mkdir -p "$WORK/nginx"
    for port in $(shuf -i 20000-29999 -n 20); do
        cat >"$WORK/nginx/nginx.conf" <<CONF
worker_processes auto;
daemon off;
pid $WORK/nginx/pid;
error_log $WORK/nginx/error.log;
events { worker_connections 4096; }
http {
    access_log $WORK/nginx/access.log;
    client_body_temp_path $WORK/nginx/body;
    proxy_temp_path $WORK/nginx/proxy;
    fastcgi_temp_path $WORK/nginx/fastcgi;
    uwsgi_temp_path $WORK/nginx/uwsgi;
    scgi_temp_path $WORK/nginx/scgi;
    keepalive_requests 100000000;
    server {
        listen 127.0.0.1:$port;
        location /click { return 302 https://bench.example/landing; }
    }
}
CONF
        "$nginx" -c "$WORK/nginx/nginx.conf" >"$WORK/nginx/out" 2>&1 &
        PEER_PID=$!
        NGINX_URL="http://127.0.0.1:$port"
        for _ in $(seq 40); do
            curl -sS -o "$WORK/nginx/ready" "$NGINX_URL/click" 2>>"$WORK/nginx/out" && return
            kill -0 "$PEER_PID" 2>/dev/null || break
            sleep 0.05
        done
        stop_peer
    done
    cat "$WORK/nginx/out" >&2
    return 1
}

# Requests are rendered before the clock starts. When they are used up the first ones come again.
cat >"$WORK/click.lua" <<'LUA'
local requests, count, next = {}, 0, 0
function init(args)
    wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36"
    for path in io.lines(args[1]) do
        count = count + 1
        requests[count] = wrk.format("GET", path)
    end
    collectgarbage("stop")
end
function request()
    next = next % count + 1
    return requests[next]
end
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format("RESULT %.0f %.3f %d %d\n", summary.requests / (summary.duration / 1e6),
        latency:percentile(99) / 1000, errors.status + errors.connect + errors.read + errors.timeout,
        summary.requests))
end
LUA

# run_wrk URL CONNECTIONS: sets RATE_NOW and P99_NOW; stops where an answer was wrong.
run_wrk() {
    local wrong requests
    read -r _ RATE_NOW P99_NOW wrong requests < <(
        wrk -t1 -c"$2" -d"${SECONDS_EACH}s" -s "$WORK/click.lua" "$1" -- "$WORK/clicks" | grep '^RESULT'
    )
    if [ "$wrong" != 0 ]; then
        echo "$1: $wrong of $requests answers were wrong" >&2
        return 1
    fi
    if [ "$requests" -gt "$TOKENS_EACH" ]; then
        echo "note: $1 answered more than the $TOKENS_EACH fresh requests; raise TOKENS_EACH" >&2
    fi
}

machine
start_reckon
start_nginx
echo "peer: $("$(command -v nginx || echo /usr/sbin/nginx)" -v 2>&1), return 302 + access log, auto workers"
echo "load: wrk -t1, $ROUNDS rounds of $SECONDS_EACH s each, in turns; a fresh token in every request"
printf '%12s %12s %12s %8s %14s %14s\n' connections reckon/s nginx/s ratio "reckon p99 ms" "nginx p99 ms"
for connections in $CONNECTIONS; do
    ours=() theirs=() our_p99=() their_p99=()
    for _ in $(seq "$ROUNDS"); do
        "$RECKON" bench mint --to "$RECKON_URL" --count "$TOKENS_EACH" >"$WORK/clicks"
        run_wrk "$RECKON_URL" "$connections"
        ours+=("$RATE_NOW") our_p99+=("$P99_NOW")
        run_wrk "$NGINX_URL" "$connections"
        theirs+=("$RATE_NOW") their_p99+=("$P99_NOW")
    done
    our=$(median "${ours[@]}") their=$(median "${theirs[@]}")
    printf '%12s %12s %12s %8s %14s %14s\n' "$connections" "$our" "$their" "$(ratio "$our" "$their")" \
        "$(median "${our_p99[@]}")" "$(median "${their_p99[@]}")"
done
stop_peer
echo
echo "at $RATE clicks a second (open loop, latency from when each was due; every click checked afterwards):"
"$RECKON" bench click --to "$RECKON_URL" --rate "$RATE" --seconds 10
