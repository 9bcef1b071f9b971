#!/usr/bin/env bash
# What it costs to know a copy when it comes: bits of memory for each impression, beside roaring bitmaps,
# and records a second on one core. Clicks are a tenth of the impressions.
#
#   RATE=1000 bash bench/dedup.sh        impressions a second, of one hour
set -euo pipefail
cd "$(dirname "$0")/.."
RATE="${RATE:-1000}"
figures=$(cargo run --release --locked --quiet -p reckon-count --example fold_speed -- "$RATE")
echo "$figures"
awk '$1 == "impressions" { shown = $2 }
    $1 == "clicks" { clicks = $2 }
    $1 == "roaring\047s" { their_shown = $2; their_clicks = $6 }
    END {
        printf "impressions: %s bits each (goal: 16), roaring %s: %.1f times as many\n", shown, their_shown, their_shown / shown
        printf "clicks:      %s bits an impression shown (goal: 2), roaring %s: %.1f times as many\n", clicks, their_clicks, their_clicks / clicks
    }' <<<"$figures"
