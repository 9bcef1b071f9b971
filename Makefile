# The only entry for people and for CI. Each target installs what it needs: a fresh machine passes.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: demo test build check bench quality claims sim engines-test

CONSOLE := console/dist/index.html
CONSOLE_PACKAGES := console/node_modules/.package-lock.json
CONSOLE_SOURCES := console/index.html console/vite.config.ts console/tsconfig.json \
    $(shell find console/src console/build -type f ! -name schema.ts)

# The whole system on a temporary folder, a day of a simulated market, and the proof of its figures.
demo: build
	$(TARGET)/release/reckon demo

# Everything that CI runs: the console's own tests, all of Rust's with the console built in, and the
# console in a real browser over the binary that those were run with.
test: setup-test $(CONSOLE)
	cd console && npm run --silent test
	$(SET_UP_LIGHTGBM) RECKON_CONSOLE=required RECKON_ENGINES=required \
	    RECKON_PYTHON="$$(bash deploy/setup.sh python)" \
	    cargo test --workspace --locked $(LIGHTGBM) -- --show-output
	cd console && RECKON_BINARY='$(abspath $(TARGET))/debug/reckon' \
	    RECKON_SCREENSHOTS='$(abspath $(TARGET))/console' npm run --silent browser

# The binary with its console, and with LightGBM, which fits trees. Without Node and without LightGBM's
# CMake a bare `cargo build --release` still makes one, which says what it lacks where it is asked for it.
build: setup $(CONSOLE)
	$(SET_UP_LIGHTGBM) cargo build --release --locked -p reckon-server $(LIGHTGBM)

# The files of the console, which the server's build lays into the binary.
$(CONSOLE): $(CONSOLE_SOURCES) crates/server/openapi.json $(CONSOLE_PACKAGES)
	cd console && npm run --silent build

$(CONSOLE_PACKAGES): console/package.json console/package-lock.json console/.npmrc | setup-console
	cd console && npm ci --loglevel=error
	touch $@

# What a change must pass before it is committed.
check: setup $(CONSOLE_PACKAGES)
	cd console && npm run --silent check
	cargo fmt --all --check
	$(SET_UP_LIGHTGBM) cargo clippy --workspace --all-targets --locked $(LIGHTGBM) -- -D warnings
	$(SET_UP_LIGHTGBM) RUSTDOCFLAGS="-D warnings" \
	    cargo doc --workspace --no-deps --locked --quiet $(LIGHTGBM)

# Figures beside their peers, in one run; the peers are installed outside the build.
bench: build
	bash bench/run.sh

# How good the models are beside LightGBM, Vowpal Wabbit and a PyTorch DCN-v2, on the logs of RECKON_DATA;
# SEEDS=1 for a quick look. Then what is claimed of training.
quality: setup
	bash bench/quality.sh
	bash bench/claims.sh

# What is claimed of training, on markets whose truth is known and on lists of real people.
claims: setup
	bash bench/claims.sh

# Histories of the house on disks that fail, judged by plain sets: ten thousand of them, or SEED's
# alone, told step by step.
sim: setup
	cargo run --release --locked --quiet -p reckon-sim -- $(if $(SEED),--seed $(SEED),--seeds 10000)

# The conformance suites, one a seam, against real servers of Kafka, ClickHouse, Redis Cluster, PostgreSQL
# and S3 on loopback, a market counted by all of them, and the lake opened by DuckDB and ClickHouse's
# engine. Against the embedded engines the suites run in `test`.
engines-test: setup
	bash deploy/engines/run.sh
	$(SET_UP_LIGHTGBM) RECKON_ENGINES=required RECKON_PYTHON="$$(bash deploy/setup.sh python)" \
	    cargo test --workspace --locked $(LIGHTGBM) --test it other_engines -- --show-output

TARGET := $(or $(CARGO_TARGET_DIR),target)

# Trees are fitted by LightGBM: one set of features wherever the whole workspace is built, so that nothing
# is built twice. A setup that fails ends the line, as it would not within `eval "$(...)"`.
LIGHTGBM := --features reckon-server/lightgbm
SET_UP_LIGHTGBM = exports="$$(bash deploy/setup.sh lightgbm)"; eval "$$exports";

.PHONY: setup setup-console setup-test
setup:
	@bash deploy/setup.sh

setup-console:
	@bash deploy/setup.sh node

setup-test:
	@bash deploy/setup.sh node browser
