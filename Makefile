# Two commands do everything on a fresh Debian machine with Rust:
#   make bench   measure floor, engine, RocksDB and SQLite side by side, with a verdict
#   make test    run every test
CARGO ?= cargo
BENCH_DIR ?= bench-results
BENCH_ARGS ?=

.PHONY: bench test check fmt lint doc setup-bench clean

bench: setup-bench
	$(CARGO) build --release -p uarr-bench --features peers
	@mkdir -p $(BENCH_DIR)
	$$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/uarr-bench check \
		--dir $(BENCH_DIR) --targets bench-harness/targets/default.toml $(BENCH_ARGS)

# What the peers need to compile: a C++ compiler, and libclang for the bindings of RocksDB.
setup-bench:
	@scripts/setup-bench

test: fmt lint doc
	$(CARGO) test --workspace --exclude uarr-bench-peers

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --exclude uarr-bench-peers --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --exclude uarr-bench-peers --no-deps --quiet

clean:
	$(CARGO) clean
	rm -rf $(BENCH_DIR)
