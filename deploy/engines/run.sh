#!/usr/bin/env bash
# Every engine's suite against real servers on loopback: installs them, starts them, runs all promises
# and stops what it started. Fails where a promise fails, and where a suite did not run.
#
#     bash deploy/engines/run.sh
#
# The servers' files are below a temporary folder, or below RECKON_ENGINES_DIR, which is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

engines=(postgres redis s3 clickhouse kafka)
dir="${RECKON_ENGINES_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/reckon-engines.XXXXXX")}"
started=()

leave() {
    local status=$? engine
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
for engine in "${engines[@]}"; do
    started+=("$engine")
    bash "deploy/engines/$engine.sh" start "$dir/$engine"
    # shellcheck disable=SC1090
    source "$dir/$engine/env"
done
cargo test --workspace --locked --test engines -- --show-output --test-threads=1 2>&1 | tee "$dir/log"
echo
for engine in "${engines[@]}"; do
    if ! grep -E "^$engine: [1-9][0-9]* promises checked" "$dir/log"; then
        echo "$engine: its suite did not run" >&2
        exit 1
    fi
done
