#!/usr/bin/env bash
# All benchmarks, one after the other: figures beside their peers, measured in the same run.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
for what in "start: the idle binary" "dedup: memory of duplicates" "count: counting in memory" "click: redirects" \
    "ingest: batches" "query: questions" "fresh: until a click is visible" "hot: hot ads, users and addresses" \
    "predict: predictions" "features: rows of features" "trees: models of LightGBM" "learn: the online model" \
    "dcn: DCN-v2, served and learned" "restart: a long log"; do
    echo "== $what"
    bash "bench/${what%%:*}.sh" || failed+=("${what%%:*}")
    echo
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
