#!/usr/bin/env bash
# The online model beside Vowpal Wabbit, on the same lines in the same run.
#
# Both predict each row before they learn it, with 2^22 weights and otherwise as they come: no option
# of either is tuned. Lines: Criteo's and Avazu's logs where RECKON_DATA has them, and impressions of
# the simulated market. One program judges the log odds of both, and tells how far apart their AUCs
# could be by chance (paired bootstrap over the rows).
#
# Time is that of learning alone, on the market's lines. reckon: rows hashed before, one thread. Vowpal
# Wabbit: from its own binary cache, where rows are hashed too, its reading thread on the other core;
# what it takes to start is measured on a cache of one row and taken off. In turns; the median of each.
# Beside it what reckon takes in its middle stretch of 256 rows: learning while nothing else has the core.
#
# Last come factorisation machines and the linear score on rows of random keys, where each comes from memory
# (crates/model/examples/learn_speed.rs; goals: 1 us to score a row of 20 fields, 150 ns for one of 12 features).
# They have no peer in this run: fwumious is in no package registry; its own figure is 27 us for an example of
# 12 features learned.
#
#   ROUNDS=3 ROWS=2000000 RECKON_DATA=... bash bench/learn.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || need a-python-with-venv python3-venv

ROUNDS="${ROUNDS:-3}"
ROWS="${ROWS:-2000000}"
BITS=22
CACHE="${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reckon-bench}"
PEER="$CACHE/vowpalwabbit"
PEER_VERSION="${PEER_VERSION:-9.11.9}"

install_peer() {
    [ -e "$PEER/$PEER_VERSION" ] && return
    echo "installing vowpalwabbit $PEER_VERSION" >&2
    mkdir -p "$CACHE"
    python3 -m venv --clear "$PEER"
    "$PEER/bin/pip" install --quiet --disable-pip-version-check "vowpalwabbit==$PEER_VERSION" >&2
    touch "$PEER/$PEER_VERSION"
}

vw() { "$PEER/bin/python" -m vowpalwabbit --loss_function logistic -b "$BITS" --quiet "$@"; }

nanoseconds() { date +%s%N; }

# time_peer NAME: nanoseconds of a run of Vowpal Wabbit over the cache of $WORK/NAME.vw.
time_peer() {
    local began
    began=$(nanoseconds)
    vw --data "$WORK/$1.vw" --cache_file "$WORK/$1.cache"
    echo $(($(nanoseconds) - began))
}

# field NAME [OF]: a number of the round's JSON; of the object OF where it is given.
field() {
    python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for name in sys.argv[2:]:
    value = value[name]
print(value)' "$WORK/round" "$@"
}

# learn NAME: both learn $WORK/NAME.vw, and the qualities are printed.
learn() {
    vw --data "$WORK/$1.vw" --cache_file "$WORK/$1.cache" --raw_predictions "$WORK/$1.scores"
    "$RECKON" bench learn "$WORK/$1.vw" --bits "$BITS" --rounds 1 --against "$WORK/$1.scores" --json >"$WORK/round"
    printf '%-10s %9s %9.1f %8.4f %8.4f %9.4f [%7.4f, %7.4f] %9.4f %8.4f %9.3f %8.3f\n' "$1" \
        "$(field rows)" "$(field features_per_row)" "$(field prediction auc)" "$(field other auc)" \
        "$(field auc_difference middle)" "$(field auc_difference low)" "$(field auc_difference high)" \
        "$(field prediction log_loss)" "$(field other log_loss)" \
        "$(field prediction calibration_ratio)" "$(field other calibration_ratio)"
}

machine
install_peer
echo "peer: Vowpal Wabbit $PEER_VERSION, --loss_function logistic -b $BITS, from PyPI"
sets=()
for name in criteo avazu; do
    log=$(find "${RECKON_DATA:-/nonexistent}/$name" -name 'train.*' 2>/dev/null | sed -n 1p)
    if [ -n "$log" ]; then
        python3 bench/vw_lines.py "$name" "$log" >"$WORK/$name.vw"
        sets+=("$name")
    else
        echo "left out: $name, which is not in RECKON_DATA"
    fi
done
"$RECKON" simulate --lines "$ROWS" --seed 1 >"$WORK/market.vw"
printf '%-10s %9s %9s %17s %28s %18s %18s\n' "" "" features "------- AUC -----" "---- difference, 95 % ----" \
    "---- log loss ----" "-- calibration --"
printf '%-10s %9s %9s %8s %8s %28s %9s %8s %9s %8s\n' lines rows "a row" reckon vw "" reckon vw reckon vw
for name in "${sets[@]}" market; do
    learn "$name"
done

sed -n 1p "$WORK/market.vw" >"$WORK/one.vw"
vw --data "$WORK/one.vw" --cache_file "$WORK/one.cache"
ours=() stretches=() theirs=() starts=()
for _ in $(seq "$ROUNDS"); do
    "$RECKON" bench learn "$WORK/market.vw" --bits "$BITS" --rounds 1 --json >"$WORK/round"
    ours+=("$(field ns_per_feature_whole_round)")
    stretches+=("$(field ns_per_feature)")
    theirs+=("$(time_peer market)")
    starts+=("$(time_peer one)")
done
features=$(python3 -c "print(round($(field rows) * $(field features_per_row)))")
our=$(median "${ours[@]}")
their=$(awk -v all="$(median "${theirs[@]}")" -v start="$(median "${starts[@]}")" -v features="$features" \
    'BEGIN { print (all - start) / features }')
printf 'learning: reckon %.1f ns a feature (%.1f in its middle stretch; goal: 25), Vowpal Wabbit %.1f (less %.2f s to start); %s times as fast\n' \
    "$our" "$(median "${stretches[@]}")" "$their" \
    "$(awk -v start="$(median "${starts[@]}")" 'BEGIN { print start / 1e9 }')" "$(ratio "$their" "$our")"

cargo run --release --quiet -p reckon-model --example learn_speed
