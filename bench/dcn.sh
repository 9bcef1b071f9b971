#!/usr/bin/env bash
# DCN-v2 beside ONNX Runtime, on the same weights and requests, and beside PyTorch, on the same rows.
#
# Served: 50 candidates of a request, 39 fields of 16 numbers, 19 of them the user's, 3 cross layers of
# rank 64, 2 hidden layers of 256; one thread each, stacked and parallel. ONNX Runtime gets each row
# whole, with its own lookup of embeddings: it has no other way. The scores of both are compared.
# Learned: the same network with 10^6 embeddings, one pass over invented rows; PyTorch with dense Adam on
# the embeddings, as FuxiCTR has it. The last fifth of the rows judges both, the same rows for both, and the
# difference has an interval. Ours learns with `TrainerOptions::ONCE`, chosen on the last fifth of the rows
# before those; the peer's rate was tried on that part as well, and stayed what its recipe says.
#
#   ROWS=300000 BATCH=1024 bash bench/dcn.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || need a-python-with-venv python3-venv

export ROWS="${ROWS:-300000}" BATCH="${BATCH:-1024}"
CACHE="${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reckon-bench}"
PEER="${DCN_PEER:-$CACHE/dcn}"
PEER_VERSION="${PEER_VERSION:-1.31.0}"
SPEED="${CARGO_TARGET_DIR:-target}/release/examples/dcn_speed"

install_peers() {
    [ -n "${DCN_PEER:-}" ] || [ -e "$PEER/$PEER_VERSION" ] && return
    echo "installing onnxruntime $PEER_VERSION, onnx, torch" >&2
    mkdir -p "$CACHE"
    python3 -m venv --clear "$PEER"
    "$PEER/bin/pip" install --quiet --disable-pip-version-check "onnxruntime==$PEER_VERSION" onnx numpy torch >&2
    touch "$PEER/$PEER_VERSION"
}

machine
install_peers
cargo build --release --quiet -p reckon-model --example dcn_speed
for task in serve train; do
    "$SPEED" "$task" "$WORK/$task"
    "$PEER/bin/python" bench/dcn_peer.py "$task" "$WORK/$task"
done
