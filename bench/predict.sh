#!/usr/bin/env bash
# POST /api/predict: how many answers are possible, and how long one takes at 70 % of that.
#
# Users and ads come by Zipf from a million and from ADS of them, a tenth of them never seen before;
# the server has learned from 20,000 impressions. Each answer brings tokens for the best MINT, and the
# rows of those are handed to the log before it goes out. Server and load share the machine. The
# second table is without tokens: what is left is scoring and HTTP.
#
#   SECONDS_EACH=10 CANDIDATES="1 10 100 200 1000" MINT=10 ADS=10000 bash bench/predict.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need curl curl

SECONDS_EACH="${SECONDS_EACH:-10}"
CANDIDATES="${CANDIDATES:-1 10 100 200 1000}"
CONNECTIONS="${CONNECTIONS:-16}"
MINT="${MINT:-10}"
ADS="${ADS:-10000}"

machine
for mint in "$MINT" 0; do
    start_reckon
    "$RECKON" bench predict --to "$RECKON_URL" --seconds "$SECONDS_EACH" --connections "$CONNECTIONS" \
        --mint "$mint" --ads "$ADS" --candidates "${CANDIDATES// /,}"
    stop_reckon
    echo
done
echo "goal at 200 candidates with tokens for 10: 1,000 requests/s on 2 cores, p99 of 5 ms at 70 % of it"
