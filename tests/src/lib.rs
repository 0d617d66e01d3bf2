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
pub mod expiring;
pub mod fields;
pub mod files;
pub mod history;
pub mod late_lock;
pub mod on_disk;
pub mod reuse;
pub mod seal;
pub mod sim;
pub mod sparse;
pub mod tidy;
pub mod violation;

use std::path::Path;

use tempfile::TempDir;
use uarr::{Builder, Db};
pub use uarr_disk_sim::Random;

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

/// Options of a database on a disk in memory, as small, without checkpoints of its own: the test
/// takes the steps of background work by hand.
pub fn tiny() -> Builder {
    Db::builder("memory")
        .segment_bytes(1 << 18)
        .chunk_bytes(1 << 16)
        .address_space_bytes(1 << 26)
        .background(false)
}
