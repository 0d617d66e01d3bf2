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

mod admission;
mod api_builder;
mod appender;
mod applier;
mod batch;
mod builder;
mod chain;
mod checkpoint;
mod commit;
mod core;
mod create;
mod db;
mod entries;
mod error;
mod files;
mod flight;
mod group;
mod health;
mod histogram;
mod image;
mod image_write;
mod in_turn;
mod index_walk;
mod ingest;
pub mod inspect;
mod keeper;
mod key;
mod lead;
mod limits;
mod log;
mod log_thread;
mod meters;
mod open;
mod options;
mod patch;
mod patience;
mod pins;
mod poison;
mod position;
mod range;
mod receipt;
mod record;
mod record_scan;
mod recovery;
mod redo;
mod relog;
pub mod repair;
mod replay;
mod report;
mod root;
mod scan;
mod segment;
mod segments;
mod stage;
mod staging;
mod stats;
mod store;
mod strategy;
mod sync;
mod table;
mod threads;
mod tombstones;
mod tune;
mod turns;
mod verified;
mod verify;
mod wakes;
mod zeros;

pub use api_builder::Builder;
pub use batch::Batch;
pub use db::Db;
pub use error::{Corruption, Error, ErrorKind, Result};
pub use histogram::Distribution;
pub use key::{AsKey, KeyBytes, KeyKind, KeyRef};
pub use limits::{BATCH_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use options::{CommitPath, Durability, RecoveryMode, VerifyPolicy, WhenFull, WriteOptions};
pub use range::Range;
pub use receipt::Commit;
pub use record::Record;
pub use report::{RecoveryReport, TornTail};
pub use stats::{CommitPhases, Stats};
pub use strategy::CommitTuning;
pub use uarr_index::IndexStats;
pub use uarr_layout::uarr as value;
pub use uarr_layout::uarr::{UArrBuf, UArrRef, uarr};
pub use uarr_uring::{Backend, BackendChoice, CommitStrategy};
pub use verify::VerifyReport;

/// The example of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
