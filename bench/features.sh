#!/usr/bin/env bash
# What features cost: rows of 200 ads and one user with 150 columns, crosses included, of a million users
# and a hundred thousand ads by Zipf; beside it the same rows made one by one; and an event's cost. Then the
# first stage: those rows scored by 100 trees of 31 leaves, in process, in one thread and on all cores.
#
#   USERS=1000000 ADS=100000 EVENTS=2000000 bash bench/features.sh
set -euo pipefail
cd "$(dirname "$0")/.."
figures=$(cargo run --release --locked --quiet -p reckon-feature --example feature_speed -- \
    "${USERS:-1000000}" "${ADS:-100000}" "${EVENTS:-2000000}")
echo "$figures"
awk '/^rows us/ { p99 = $NF; p50 = $(NF - 2) }
    /^one by one us/ { naive = $(NF - 2) }
    /^apply ns/ { apply = $5 }
    /^stage one/ { threads = $9; rate = $10 }
    END {
        printf "rows of 200 ads: p50 %s us, p99 %s us (goal: 150); one by one %.1f times as long\n", p50, p99, naive / p50
        printf "stage one on %d cores: %.2f million predictions/s (goal: 1)\n", threads, rate / 1e6
        printf "an event taken: %.2f us (goal: 3)\n", apply / 1000
    }' <<<"$figures"
