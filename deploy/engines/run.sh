#!/usr/bin/env bash
# Every engine's suite against real servers on loopback: installs them, starts them, runs all promises,
# holds a market counted by all of them against one counted by none, and stops what it started. Fails where
# a promise fails, and where a suite did not run.
#
#     bash deploy/engines/run.sh
#
# The servers' files are below a temporary folder, or below RECKON_ENGINES_DIR, which is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

engines=(postgres redis s3 clickhouse kafka)
dir="${RECKON_ENGINES_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/reckon-engines.XXXXXX")}"
mkdir -p "$dir"
# Servers of other users have theirs below it.
chmod 755 "$dir"
started=()
longest=""

leave() {
    local status=$? engine
    [ -z "$longest" ] || kill "$longest" 2>/dev/null || true
    for engine in "${started[@]}"; do
        bash "deploy/engines/$engine.sh" stop "$dir/$engine" || echo "$engine: could not be stopped" >&2
    done
    [ -n "${RECKON_ENGINES_DIR:-}" ] || rm -rf "$dir"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM

for engine in "${engines[@]}"; do
    bash "deploy/engines/$engine.sh" install
done
# Whatever takes long to build is built before servers are waited for. The second line makes the binary.
cargo test --workspace --locked --test engines --no-run --message-format=json-render-diagnostics >"$dir/built"
cargo test --workspace --locked --no-run
for engine in "${engines[@]}"; do
    started+=("$engine")
    bash "deploy/engines/$engine.sh" start "$dir/$engine"
    # shellcheck disable=SC1090
    source "$dir/$engine/env"
done
build_dir="${CARGO_TARGET_DIR:-target}"

# suite CRATE: runs a crate's suite as `cargo test` would, and tells of it when it has ended.
suite() {
    local crate="$1" status=0 program
    program="$(python3 - "$dir/built" "$crate" <<'PYTHON'
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    one = json.loads(line)
    if one.get("executable") and one["target"]["name"] == "engines" and f"/crates/{sys.argv[2]}#" in one["package_id"]:
        print(one["executable"])
PYTHON
)"
    (cd "crates/$crate" && "$program" --show-output --test-threads=1) >"$dir/$crate.log" 2>&1 || status=$?
    echo "== the suite of $crate"
    cat "$dir/$crate.log"
    return "$status"
}

# Two at a time: the longest beside all others.
suite rollup &
longest=$!
failed=0
for crate in books eventlog feature lake; do
    suite "$crate" || failed=1
done
wait "$longest" || failed=1
longest=""
[ "$failed" = 0 ] || exit 1
bash deploy/engines/market.sh "$build_dir/debug/reckon" "$dir/market"
echo
for engine in "${engines[@]}"; do
    if ! grep -hE "^$engine: [1-9][0-9]* promises checked" "$dir"/*.log; then
        echo "$engine: its suite did not run" >&2
        exit 1
    fi
done
