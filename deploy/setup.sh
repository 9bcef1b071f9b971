#!/usr/bin/env bash
# Installs what a build needs and the base image may lack. Quiet where nothing is missing.
#
#     setup.sh [node] [browser]
#
# `node`: the console is built too. `browser`: it is tested in Chromium.
set -euo pipefail

wanted=" $* "
wants() { [[ "$wanted" == *" $1 "* ]]; }

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v cmake >/dev/null || missing+=(cmake)
if wants browser && ! command -v chromium >/dev/null; then missing+=(chromium fonts-dejavu-core); fi
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
