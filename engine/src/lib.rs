//! `uarr`: an io_uring direct-I/O storage engine for Linux.
//!
//! Records are appended to an O_DIRECT, preallocated write-ahead log through io_uring and made
//! durable by group commits, applied to a memory-mapped data file while the device works, and found
//! again through a learned index. Nothing acknowledged is lost; a read costs memory latency.
//!
//! Map of the modules, from the caller inwards:
//! - callers see `db` (handle, verbs), `batch`, `ingest`, `range`, `record`, `key`, `options`,
//!   `error`, `stats`;
//! - `core` is what they share. `commit` stages writes (`staging`), `patch` and `turns` change
//!   values in part, `lead` brings groups (`group`) to the device; `log` and `segments` write the
//!   log, `tune` chooses how;
//! - `scan` reads the log, `chain` decides which of its groups are in force;
//! - `store` keeps records, `table` finds them, `index_walk` visits all, `tombstones` forgets
//!   deleted keys;
//! - `checkpoint`, `image_write`, `image` and `root` make state durable; `create`, `open`,
//!   `recovery` and `relog` begin it and bring it back;
//! - `jobs` drives background work; `health` says whether writes are taken, `wakes` where wakers of
//!   tasks run;
//! - `verify` checks an open database, `histogram` counts for `stats`; `inspect`, `record_scan` and
//!   `repair` look at one that is not open and may be damaged.
//!
//! The engine itself has no unsafe code. Files, time and randomness come through
//! [`uarr_uring::Storage`], so the same code runs on io_uring, on plain system calls and in memory.
//! Two things do not: the functions that open a directory by its path create it and look at it
//! through the standard library, and background threads rest by the real clock.

#![forbid(unsafe_code)]

mod api;
mod checkpoint;
mod commit;
mod core;
mod data;
mod error;
mod files;
mod health;
mod jobs;
mod key;
mod limits;
mod log;
mod meters;
mod observe;
mod options;
mod recovery;
mod report;
mod rescue;
mod sync;
mod versions;

pub use api::batch::Batch;
pub use api::builder::Builder;
pub use api::db::Db;
pub use api::range::Range;
pub use api::record::Record;
pub use commit::receipt::Commit;
pub use error::{Corruption, Error, ErrorKind, Result};
pub use key::{AsKey, KeyBytes, KeyKind, KeyRef};
pub use limits::{BATCH_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use log::strategy::CommitTuning;
pub use meters::histogram::Distribution;
pub use observe::stats::{CommitPhases, Stats};
pub use observe::verify::VerifyReport;
pub use options::{CommitPath, Durability, RecoveryMode, VerifyPolicy, WhenFull, WriteOptions};
pub use report::{RecoveryReport, TornTail};
pub use rescue::{inspect, repair};
pub use uarr_index::IndexStats;
pub use uarr_layout::uarr as value;
pub use uarr_layout::uarr::{UArrBuf, UArrRef, uarr};
pub use uarr_uring::{Backend, BackendChoice, CommitStrategy};

/// The example of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
