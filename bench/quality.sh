#!/usr/bin/env bash
# How good our models are beside LightGBM, Vowpal Wabbit and a PyTorch DCN-v2: same rows, same columns, one judge.
#
# The logs of RECKON_DATA (criteo, mind, trivago, avazu; what is not there is left out and said) are split by time:
# seven tenths are learned from, a tenth is for stopping, options and calibration, the last two tenths are the test.
# The peers' options stand in bench/quality_peers.py, ours in crates/train/examples/quality/models.rs; both are chosen
# by the validation part with the first seed. Peers run beside ours, one thread each, so no time is compared here.
#
#   SEEDS=5 RECKON_DATA=... bash bench/quality.sh      SEEDS=1 for a quick look; KEEP=folder keeps what was answered
#   MODELS="lr fm" PEERS=vw RECKON_DATA=... bash bench/quality.sh      some of ours (lr fm trees dcn) beside some peers
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || need a-python-with-venv python3-venv

SEEDS="${SEEDS:-5}"
MODELS="${MODELS:-lr fm trees dcn}"
PEERS="${PEERS:-lightgbm vw torch-dcn}"
CACHE="${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reckon-bench}"
# The folders, versions and marks are those of trees.sh, learn.sh and dcn.sh, so nothing is fetched twice.
LIGHTGBM_VERSION="${LIGHTGBM_VERSION:-4.7.0}"
LLEAVES_VERSION="${LLEAVES_VERSION:-1.3.0}"
VW_VERSION="${VW_VERSION:-9.11.9}"
ONNX_VERSION="${ONNX_VERSION:-1.31.0}"
FOLDER="${KEEP:-$WORK/quality}"
QUALITY="${QUALITY:-${CARGO_TARGET_DIR:-target}/release/examples/quality}"

# install FOLDER MARK PACKAGE ...: a Python of its own, once.
install() {
    local at="$CACHE/$1" mark="$2"
    shift 2
    [ -e "$at/$mark" ] && return
    echo "installing $*" >&2
    mkdir -p "$CACHE"
    python3 -m venv --clear "$at"
    "$at/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
    touch "$at/$mark"
}

# peer NAME PYTHON: learns and answers.
peer() {
    VW_PYTHON="$CACHE/vowpalwabbit/bin/python" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
        "$CACHE/$2/bin/python" bench/quality_peers.py "$1" "$FOLDER" "$SEEDS"
}

# One that fails is left out of the figures, and fails the run at its end.
peers() {
    local failed=0 name python
    for name in $PEERS; do
        # Vowpal Wabbit takes another's numpy, and is itself called by its own Python.
        case "$name" in torch-dcn) python=dcn ;; *) python=tree-peers ;; esac
        peer "$name" "$python" || failed=1
    done
    return "$failed"
}

machine
install tree-peers "$LIGHTGBM_VERSION-$LLEAVES_VERSION" "lightgbm==$LIGHTGBM_VERSION" "lleaves==$LLEAVES_VERSION" \
    "llvmlite==0.44.0" # Later ones lack what lleaves 1.3.0 compiles with.
install vowpalwabbit "$VW_VERSION" "vowpalwabbit==$VW_VERSION"
install dcn "$ONNX_VERSION" "onnxruntime==$ONNX_VERSION" onnx numpy torch
if [ ! -x "$QUALITY" ] || [ -z "${QUALITY_BUILT:-}" ]; then
    exports=$(bash deploy/setup.sh lightgbm) # What LightGBM is built with; our trees are grown by it.
    eval "$exports"
    cargo build --release --quiet -p reckon-train --features lightgbm --example quality
fi
began=$SECONDS
"$QUALITY" split "$FOLDER"
[ -n "$(ls "$FOLDER" 2>/dev/null)" ] || { echo "nothing to judge: set RECKON_DATA" >&2 && exit 1; }
peers &
PEER_PID=$!
# shellcheck disable=SC2086 # A word each.
"$QUALITY" fit "$FOLDER" "$SEEDS" $MODELS
echo "ours have answered after $((SECONDS - began)) s" >&2
failed=0
wait "$PEER_PID" || failed=1
PEER_PID=""
echo "all have answered after $((SECONDS - began)) s" >&2
"$QUALITY" judge "$FOLDER" "$SEEDS"
echo "in all $((SECONDS - began)) s"
[ "$failed" = 0 ] || { echo "a peer failed: see above" >&2 && exit 1; }
