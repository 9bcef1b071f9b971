#!/usr/bin/env bash
# What is claimed of training, on markets whose truth is known: sampling one in ten of the rows not clicked,
# each treatment of places beside the true order, excess log loss over the truth; then click curves by rank
# of real lists, before and after, where RECKON_DATA names their folder.
#
# Markets are written straight into a lake, and read back from it. ROWS impressions for each of SEEDS seeds,
# then LARGE once; 0 leaves it out. A quick run: ROWS=100000 SEEDS=2 LARGE=0. Ten million need some 6 GB
# below TMPDIR for as long as they are looked at, and an hour.
#
#   ROWS=1000000 SEEDS=5 LARGE=10000000 RECKON_DATA=data bash bench/claims.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh

machine
cargo build --release --quiet -p reckon-train --example claims
"${CARGO_TARGET_DIR:-target}/release/examples/claims"
