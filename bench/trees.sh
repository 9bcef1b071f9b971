#!/usr/bin/env bash
# Models of LightGBM scored by reckon, by LightGBM's C API and by lleaves, in the same run, one thread each.
#
# 200 rows of 150 columns. Scores are compared by their sum; the middle of 101 windows each, in turns for ROUNDS
# rounds, the median of the rounds. The models of 20 trees have missing values and categories: they show what a
# node costs as trees grow past 64 leaves.
#
#   ROUNDS=3 bash bench/trees.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source bench/server.sh
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || need a-python-with-venv python3-venv

ROUNDS="${ROUNDS:-3}"
CACHE="${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reckon-bench}"
PEERS="$CACHE/tree-peers"
LIGHTGBM_VERSION="${LIGHTGBM_VERSION:-4.7.0}"
LLEAVES_VERSION="${LLEAVES_VERSION:-1.3.0}"
TREE_SPEED="${TREE_SPEED:-${CARGO_TARGET_DIR:-target}/release/examples/tree_speed}"

install_peers() {
    [ -e "$PEERS/$LIGHTGBM_VERSION-$LLEAVES_VERSION" ] && return
    echo "installing lightgbm $LIGHTGBM_VERSION and lleaves $LLEAVES_VERSION" >&2
    mkdir -p "$CACHE"
    python3 -m venv --clear "$PEERS"
    "$PEERS/bin/pip" install --quiet --disable-pip-version-check "lightgbm==$LIGHTGBM_VERSION" "lleaves==$LLEAVES_VERSION" \
        "llvmlite==0.44.0" >&2 # Later ones lack what lleaves 1.3.0 compiles with.
    touch "$PEERS/$LIGHTGBM_VERSION-$LLEAVES_VERSION"
}

# figures WHO MODEL NAME: the figure that follows NAME, one a round.
figures() {
    awk -v who="$1" -v model="$2" -v name="$3" '
        $1 == who && $2 ~ "/" model ".txt$" { for (at = 3; at < NF; at++) if ($at == name) print $(at + 1) }
    ' "$WORK/results"
}

middle_of() { median $(figures "$@"); }

machine
install_peers
[ -x "$TREE_SPEED" ] || cargo build --release -p reckon-model --example tree_speed >&2
"$PEERS/bin/python" bench/trees_peer.py make "$WORK"
declare -A goals=([100x31]=350 [500x31]=3000 [500x63]=5000)
models=(100x31 500x31 500x63 20x31 20x63 20x64 20x65 20x255 20x450)
for _ in $(seq "$ROUNDS"); do
    for model in "${models[@]}"; do
        rows="$WORK/rows.f32"
        [[ "$model" == 20x* ]] && rows="$WORK/odd.f32"
        "$TREE_SPEED" "$WORK/$model.txt" "$rows" >>"$WORK/results"
        "$PEERS/bin/python" bench/trees_peer.py measure "$WORK/$model.txt" "$rows" >>"$WORK/results"
    done
done
for model in "${models[@]}"; do
    for peer in lightgbm lleaves; do
        awk -v a="$(middle_of $peer "$model" sum)" -v b="$(middle_of reckon "$model" sum)" \
            'BEGIN { exit (a - b < 1e-6 && b - a < 1e-6) ? 0 : 1 }' || {
            echo "$peer says something else of $model" >&2
            exit 1
        }
    done
    our=$(middle_of reckon "$model" ns_per_row)
    printf '%-7s reckon %s ns/row%s, %s ns/node; lightgbm %s (%s times as long); lleaves %s (%s times, after %s s of compiling)\n' \
        "$model" "$our" "${goals[$model]:+ (goal: ${goals[$model]})}" "$(middle_of reckon "$model" ns_per_node)" \
        "$(middle_of lightgbm "$model" ns_per_row)" "$(ratio "$(middle_of lightgbm "$model" ns_per_row)" "$our")" \
        "$(middle_of lleaves "$model" ns_per_row)" "$(ratio "$(middle_of lleaves "$model" ns_per_row)" "$our")" \
        "$(middle_of lleaves "$model" compiled_s)"
done
