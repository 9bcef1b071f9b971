#!/usr/bin/env bash
# All benchmarks, one after the other: figures beside their peers, measured in the same run.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
for what in "start: the idle binary" "dedup: counting in memory" "click: redirects" "ingest: batches" \
    "predict: predictions" "learn: the online model"; do
    echo "== $what"
    bash "bench/${what%%:*}.sh" || failed+=("${what%%:*}")
    echo
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
