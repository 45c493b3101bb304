# make demo    one encrypted call from a softphone to a talking agent, on this machine
# make test    every test, with the seconds each suite took
# make test-opus  the media node's own tests once more, with Opus in it
# make lint    formatting, clippy, licences and duplicate versions
# make bench   the targets beside this machine's floor
# make fuzz    each fuzz target for SECONDS_EACH (60), on nightly
# make images  both programs as container images, without a registry: target/release/images
# make chart   what the chart copies and makes from other files, anew; then its checks
#
# Everything that is needed and missing is installed, and said: see tests/prepare.

SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(CURDIR)/target
SECONDS_EACH ?= 60
# A call needs no Kubernetes, and its client takes minutes to build.
without_operator = --bins -p trunkline-media-node -p trunkline-tests

.PHONY: demo test test-opus lint lint-code bench fuzz crds prepare images chart

prepare:
	@tests/prepare

demo: prepare
	cargo build --locked $(without_operator)
	@$(CARGO_TARGET_DIR)/debug/demo

test: prepare
	@tests/run

test-opus:
	@tests/prepare images
	cargo test --locked -p trunkline-media-node --features opus --lib --test fuzz_corpus

lint-code:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

lint: lint-code
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny (cargo install)"; cargo install --locked --quiet cargo-deny@0.20.2; }
	cargo deny --locked --offline check bans licenses sources

bench: prepare
	cargo build --locked --release $(without_operator)
	cargo bench --locked -p trunkline-media-node --bench sip --bench media
	@$(CARGO_TARGET_DIR)/release/bench

fuzz:
	@media-node/fuzz/run $(SECONDS_EACH)

# The generated custom resource definitions and the chart's copies; tests fail when they are stale.
crds:
	cargo run --locked --quiet -p trunkline-crds --example crdgen
	cp crds/yaml/*.yaml charts/trunkline/files/crds/

# With Opus, which other builds leave out: it takes cmake, and longer.
images:
	@tests/prepare images
	cargo build --locked --release --bins --features trunkline-media-node/opus
	@charts/images $(CARGO_TARGET_DIR)/release/trunkline-operator $(CARGO_TARGET_DIR)/release/trunkline-media-node

# Needs helm, and helm-docs for the chart's README.
chart:
	@charts/check --update
