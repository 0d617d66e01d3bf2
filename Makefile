# Two commands do everything on a fresh Debian machine with Rust:
#   make bench   measure floor, engine, RocksDB and SQLite side by side, with a verdict
#   make test    run every test
CARGO ?= cargo
BENCH_DIR ?= bench-results
BENCH_ARGS ?=

FUZZ_COUNT ?= 200000

.PHONY: bench setup test test-refused tidy assertions fuzz reuse-model disk coverage sanitize fmt lint doc clean

# A run that was judged, whatever the verdict, is no error of make's; a script asks scripts/bench.
bench:
	@CARGO=$(CARGO) scripts/bench $(BENCH_DIR) $(BENCH_ARGS) || [ $$? -le 2 ]

test: setup fmt lint doc
	$(CARGO) test --workspace --exclude uarr-bench-peers
	$(MAKE) test-refused

# The fences of the house alone, which `test` runs too: floors, circles of files (printed), rules
# and their citations, words, sizes.
tidy:
	$(CARGO) test -p uarr-tests --test tidy -- --nocapture

# Assertions per function, by file, room and crate.
assertions:
	$(CARGO) run --quiet -p uarr-tests --bin assertions

# Everything that reaches the kernel again, where io_uring is refused as containers do it. Damage is
# found on a disk in memory, which has no ring; `real_disk` has plain system calls among its cases; the other skipped
# tests ask for a ring and need one.
test-refused:
	$(CARGO) build --profile test -p uarr-tests --bin without-io-uring
	runner=$$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/without-io-uring && \
		$(CARGO) test --config "target.'cfg(all())'.runner = '$$runner'" -p uarr -p uarr-uring -p uarr-cli -p uarr-tests -- --skip damage_of --skip real_disk \
		--skip on_ring --skip a_ring_ --skip a_short_ --skip a_write_that_cannot_be_finished --skip without_locked_memory \
		--skip what_cannot_be_waited_for --skip a_forked_process_takes_nothing \
		--skip the_lock_is_held_by_log_writers_too

# The long run of what make test does briefly: simulated lives, each bit of a database, and nonsense for every
# parser of outside bytes. Hours; FUZZ_COUNT and SIM_SEEDS set how many. UARR_SEED_FIRST begins elsewhere.
SIM_SEEDS ?= 100000
# All checks of arithmetic and all assertions, at the speed of a release.
fuzz sim: export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS = true
fuzz sim: export CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS = true
# Millions of databases are opened and closed: half of the time goes to the kernel unless freed memory is kept.
DAMAGE_ENV = MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=2000000000
# The simulator alone; prints how many deaths it has tried. Each seed has eight or so.
sim:
	UARR_SEEDS=$(SIM_SEEDS) $(CARGO) test --release -p uarr-tests --test sim -- --nocapture legal lies

fuzz: sim
	UARR_FUZZ=$(FUZZ_COUNT) $(CARGO) test --release -p uarr-tests --test fuzz -- --nocapture
	$(DAMAGE_ENV) UARR_DAMAGE=bits $(CARGO) test --release -p uarr-tests --test damage -- --nocapture closed
	$(DAMAGE_ENV) UARR_DAMAGE=all $(CARGO) test --release -p uarr-tests --test damage -- --nocapture killed
	$(CARGO) run --release -p uarr-layout --example uarr_fuzz -- $(FUZZ_COUNT)
	UARR_FUZZ=2000 $(CARGO) test --release -p uarr-cli --test suite -- fuzz
	UARR_FUZZ=$(FUZZ_COUNT) $(CARGO) test --release -p uarr-bench --test targets_fuzz -- --nocapture

# The model of the rule by which places of the data file are used again (tests/src/reuse/): seeds of the rule, and of
# each mutation of it. REUSE_SEEDS and REUSE_MUTATION_SEEDS set how many.
REUSE_SEEDS ?= 20000
REUSE_MUTATION_SEEDS ?= 3000
reuse-model:
	UARR_SEEDS=$(REUSE_SEEDS) $(CARGO) test -p uarr-tests --test reuse -- --nocapture the_rule_holds
	UARR_SEEDS=$(REUSE_MUTATION_SEEDS) $(CARGO) test -p uarr-tests --test reuse -- --nocapture every_mutation

# Long runs on file systems of the kernel, on a disk that loses power, delays and fails. Root; DISK_ROUNDS sets how many.
DISK_ROUNDS ?= 200
disk:
	UARR_DISK_ROUNDS=$(DISK_ROUNDS) $(CARGO) test -p uarr-tests --test real_disk -- --nocapture --test-threads=1

# Line coverage of layout, uring and engine by all tests.
coverage:
	scripts/coverage

# Loom; Miri, AddressSanitizer and ThreadSanitizer with a nightly toolchain. Hours.
sanitize:
	scripts/sanitize

# A compiler of C, if there is none.
setup:
	@scripts/setup

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --exclude uarr-bench-peers --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --exclude uarr-bench-peers --no-deps --quiet

clean:
	$(CARGO) clean
	rm -rf $(BENCH_DIR)
