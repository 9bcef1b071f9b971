#!/usr/bin/env bash
# What it costs to count: records a second on one core, and bits of memory for each impression.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release --locked --quiet -p reckon-count --example fold_speed
