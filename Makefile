# The only entry for people and for CI. Each target installs what it needs: a fresh machine passes.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: demo test build check bench engines-test

# The whole system on a temporary folder, a generated day of traffic, and the proof of its figures.
demo: build
	$(TARGET)/release/reckon demo

# Everything that CI runs.
test: setup
	cargo test --workspace --locked -- --show-output

build: setup
	cargo build --release --locked

# What a change must pass before it is committed.
check: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

# Figures beside their peers, in one run; the peers are installed outside the build.
bench: build
	bash bench/run.sh

# The conformance suites, one a seam. The engines of this build are all embedded: the suites run
# against those, on the machine's disk and on the simulated one.
engines-test: setup
	cargo test --locked -p reckon-eventlog --test conformance -p reckon-rollup --test promises
	cargo test --locked -p reckon-books --lib sqlite

TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: setup
setup:
	@bash deploy/setup.sh
