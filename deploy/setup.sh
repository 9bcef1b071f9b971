#!/usr/bin/env bash
# Installs what a build needs and the base image may lack. Quiet where nothing is missing.
#
#     setup.sh [node] [browser] [python] [lightgbm]
#
# `node`: the console is built too. `browser`: it is tested in Chromium. `python`: other engines read
# the lake and score the trees; prints the Python that has them, kept in the user's cache. `lightgbm`:
# trees are fitted; prints the `export`s that cargo needs to build with the feature `lightgbm`, for `eval`.
set -euo pipefail

wanted=" $* "
wants() { [[ "$wanted" == *" $1 "* ]]; }

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v c++ >/dev/null || missing+=(g++)
command -v cmake >/dev/null || missing+=(cmake)
command -v make >/dev/null || missing+=(make)
if wants browser && ! command -v chromium >/dev/null; then missing+=(chromium fonts-dejavu-core); fi
if wants lightgbm && ! ls /usr/lib/llvm-*/lib/libclang[.-][0-9s]*so* >/dev/null 2>&1; then missing+=(libclang1-14); fi
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi
command -v cargo >/dev/null || { echo "Rust is missing: install the toolchain named in rust-toolchain.toml" >&2; exit 1; }
if wants node; then
    # Distributions carry older ones: which to take is for whoever owns the machine to say.
    node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null || {
        echo "Node 20.19 or later with npm is missing: the console is built with it." >&2
        echo "Without it \`cargo build --release\` makes a server that has no console." >&2
        exit 1
    }
fi
if wants python; then
    command -v python3 >/dev/null || { echo "Python 3.11 or later with venv is missing: other engines run in it" >&2; exit 1; }
    engines="${XDG_CACHE_HOME:-$HOME/.cache}/reckon/engines-2"
    # A venv is whole once the last line of this has run: half of one is made again.
    if [ ! -e "$engines/whole" ]; then
        rm -rf "$engines"
        python3 -m venv "$engines" >&2
        "$engines/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0 chdb==4.4.0 \
            lightgbm==4.7.0 numpy==2.4.6 >&2
        touch "$engines/whole"
    fi
    echo "$engines/bin/python"
fi
if wants lightgbm; then
    # LightGBM wants CMake 3.28: where the machine's is older, PyPI's is taken, in the user's cache.
    cmake="$(command -v cmake)"
    version="$("$cmake" --version | sed -n 's/^cmake version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')"
    read -r major minor <<< "$version"
    if [ "$major" -lt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -lt 28 ]; }; then
        command -v python3 >/dev/null || { echo "CMake 3.28 or later is missing, and Python 3 with venv that could install it" >&2; exit 1; }
        tools="${XDG_CACHE_HOME:-$HOME/.cache}/reckon/cmake-1"
        if [ ! -e "$tools/whole" ]; then
            rm -rf "$tools"
            python3 -m venv "$tools" >&2
            "$tools/bin/pip" install --quiet --disable-pip-version-check 'cmake>=3.28,<5' >&2
            touch "$tools/whole"
        fi
        cmake="$tools/bin/cmake"
    fi
    # Its C interface is read by libclang, which lacks the compiler's own headers: gcc has them.
    clang="$(dirname "$(ls /usr/lib/llvm-*/lib/libclang[.-][0-9s]*so* | tail -n 1)")"
    echo "export CMAKE='$cmake'"
    echo "export LIBCLANG_PATH='$clang'"
    echo "export BINDGEN_EXTRA_CLANG_ARGS='-isystem $(cc -print-file-name=include)'"
fi
