//! The proof: model, damage, kill and refusal tests over the whole engine.
//!
//! The tests lie in `tests/`, one file per subject; each says which promise it proves. Here is what
//! they share: seeded randomness, directories, and histories of writes that a child process and its
//! parent can both compute.
//!
//! Environment: `UARR_SEED` repeats a random test, `UARR_TEST_DIR` moves the temporary directories
//! (for example to a journaled file system), `UARR_KILLS` sets the number of kills.

#![forbid(unsafe_code)]

pub mod disk;
pub mod fields;
pub mod files;
pub mod history;
pub mod on_disk;
pub mod seal;
pub mod sim;
pub mod tidy;

use std::path::Path;

use tempfile::TempDir;
use uarr::{Builder, Db};

/// A small, fast, seeded source of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "this is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        self.next() % bound
    }
}

/// The seed of a random test: `UARR_SEED`, or `default`. Print it when a check fails.
pub fn seed(default: u64) -> u64 {
    from_environment("UARR_SEED").unwrap_or(default)
}

/// The number in environment variable `name`.
pub fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A new empty directory, removed when dropped; below `UARR_TEST_DIR` if that is set.
pub fn scratch() -> TempDir {
    let made = match std::env::var_os("UARR_TEST_DIR") {
        Some(base) => tempfile::tempdir_in(base),
        None => tempfile::tempdir(),
    };
    made.unwrap_or_else(|error| panic!("cannot make a temporary directory: {error}"))
}

/// Options of a database whose segments and chunks are as small as allowed, so that short tests
/// cross many of their borders.
pub fn small(path: impl AsRef<Path>) -> Builder {
    Db::builder(path)
        .segment_bytes(1 << 18)
        .chunk_bytes(1 << 16)
        .checkpoint_log_bytes(1 << 20)
        .address_space_bytes(1 << 36)
}
