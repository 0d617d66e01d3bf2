//! `uarr`: an io_uring direct-I/O storage engine for Linux. A database is an ordered map from keys
//! to values that lies in one directory.
//!
//! Records are appended to an O_DIRECT, preallocated write-ahead log through io_uring and made
//! durable by group commits, applied to a memory-mapped data file while the device works, and found
//! again through a learned index. Nothing acknowledged is lost; a read costs memory latency.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use uarr::{Db, uarr};
//!
//! let dir = tempfile::tempdir()?; // any directory that is empty or holds a database
//! let db = Db::open(&dir)?;
//! db.put("user:1", uarr!({ "name": "Ada", "born": 1815 }))?; // returns when it is durable
//! let record = db.get("user:1")?.ok_or("not found")?; // in place: no copy, no lock
//! assert_eq!(record.uarr()?.get("born").and_then(|born| born.as_u64()), Some(1815));
//! drop(record); // what a reader keeps, keeps its space
//! db.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | open or create a database | [`Db::open`]; with options: [`Db::builder`] |
//! | change one record | [`Db::put`], [`Db::delete`], [`Db::patch`] |
//! | change several, all or none | [`Db::batch`] |
//! | change on a condition | [`Db::insert`], [`Db::update`], [`Db::put_if_version`] |
//! | count | [`Db::increment`] |
//! | change what depends on several records | [`Db::transaction`], [`Db::begin`] |
//! | keep records of several kinds apart | [`Db::table`], [`Db::alter_table`], [`Db::tables`] |
//! | load many, delete many | [`Db::ingest`], [`Db::delete_range`], [`Db::delete_prefix`] |
//! | work in a task of any runtime | [`Db::open_async`], [`Db::put_async`] and others in `_async` |
//! | choose the durability of one write | [`Db::durable`], [`Db::with`] |
//! | read, count | [`Db::get`], [`Db::get_many`], [`Db::len`] |
//! | read in key order | [`Db::range`], [`Db::prefix`], [`Db::iter`] |
//! | read all as of one moment | [`Db::snapshot`] |
//! | read beside another process, or without writing | [`Db::open_read_only`] |
//! | read in order in another thread or task | [`Db::range_owned`], [`Snapshot::into_range`] |
//! | collect changes for another thread or task | [`Db::batch_owned`] |
//! | use keys of several parts | tuples: [`KeyElement`], [`Record::key_as`] |
//! | make what was written durable | [`Db::sync`], [`Db::checkpoint`], [`Db::close`] |
//! | check and measure | [`Db::verify`], [`Db::stats`], [`Db::tune`] |
//! | look into a damaged database, and save what is left | [`mod@inspect`], [`mod@repair`] |
//! | write and read values with fields | [`mod@value`], [`uarr!`] |
//! | write and read Rust types | `Db::put_as`, `Db::get_as` (feature `serde`) |
//! | log what it does, chart its numbers | [features](#features) `tracing` and `metrics` |
//! | test a program without a directory | `Db::in_memory` (feature `in-memory`) |
//!
//! # Features
//!
//! All are off by default, and cost nothing then. No subscriber or recorder is called under a lock.
//!
//! | feature | gives |
//! |---|---|
//! | `serde` | `Db::put_as`, `Db::get_as` and the like; `value::to_vec`, `value::from_slice` |
//! | `tracing` | events with target `uarr`: opened, checkpoint, slow commits, poisoned and others |
//! | `metrics` | `Stats::record_metrics`: the statistics for the recorder of the crate `metrics` |
//! | `in-memory` | `Db::in_memory`, `Builder::in_memory`, `Memory` |
//!
//! [`Durability`] says when a write is acknowledged, [`ErrorKind`] what the caller does next after
//! an error. No user code (wakers, callbacks, key types, iterators) runs under a lock of the
//! engine.
//!
//! The engine itself has no unsafe code. Files, time and randomness come through
//! [`uarr_uring::Storage`], so the same code runs on io_uring, on plain system calls and in memory.
//! Two things do not: the functions that open a directory by its path create it and look at it
//! through the standard library, and background threads rest by the real clock.

// Map of the rooms, from the caller down; each uses only those below it:
// - `api`: the verbs, and the handle that callers hold. `rescue` looks at a database that is not
//   open and may be damaged, `read_only` reads one without writing.
// - `recovery` creates and opens, `jobs` works in the background, `observe` looks at an open
//   database. All three work on `core`, what one open database consists of.
// - `commit`: what writers share: staging, groups, the leader, turns, wakers.
// - `checkpoint` writes images and superblock; `versions` is what readers see.
// - `log` and `data` do not know each other: where groups go, and where records are.
// - `meters`, `key`, `tuple`, `expiry`, `options`, `report`, `health`, `limits`, `files`,
//   `structure`, `sync`, `trace`, `error`: the ground.

#![forbid(unsafe_code)]

mod api;
mod catalog;
mod checkpoint;
mod commit;
mod core;
mod data;
mod error;
mod expiry;
mod files;
mod health;
mod jobs;
mod key;
mod key_form;
mod key_space;
mod limits;
mod log;
mod meters;
mod observe;
mod options;
mod read_only;
mod recovery;
mod report;
mod rescue;
mod structure;
mod sync;
mod table_prefix;
#[cfg(feature = "tracing")]
mod trace;
mod tuple;
mod versions;

pub use api::batch::Batch;
pub use api::builder::Builder;
pub use api::counter::{Count, Increment};
pub use api::db::Db;
pub use api::key_range::KeyRange;
pub use api::lease::{Acquisition, Lease};
pub use api::outcome::{Outcome, Refusal};
pub use api::owned_batch::OwnedBatch;
pub use api::owned_range::OwnedRange;
pub use api::owned_record::OwnedRecord;
pub use api::range::Range;
pub use api::record::Record;
pub use api::snapshot::Snapshot;
pub use api::table::Table;
pub use api::table_list::{TableInfo, TableStats};
pub use api::table_options::TableOptions;
pub use api::transaction::Transaction;
pub use api::transaction_range::TransactionRange;
pub use api::transaction_table::TransactionTable;
pub use api::writer::Writer;
pub use commit::receipt::Commit;
pub use error::{Corruption, Error, ErrorKind, Result};
pub use expiry::{AsValue, Expires, Expiring, Expiry};
pub use jobs::compact::CompactReport;
pub use key::{AsKey, KeyBytes, KeyKind, KeyRef};
pub use limits::{BATCH_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use log::strategy::CommitTuning;
pub use meters::histogram::Distribution;
pub use observe::stats::{CommitPhases, SpaceStats, Stats, WriteWaits};
pub use observe::verify::VerifyReport;
pub use options::{CommitPath, Durability, RecoveryMode, VerifyPolicy, WhenFull, WriteOptions};
pub use read_only::facts::ReadOnlyStats;
pub use read_only::handle::ReadOnly;
pub use read_only::range::ReadOnlyRange;
pub use report::{RecoveryReport, TornTail};
pub use rescue::{inspect, repair};
pub use tuple::{FromKey, FromKeyElement, KeyElement};
#[cfg(feature = "in-memory")]
pub use uarr_disk_sim::Memory;
pub use uarr_index::IndexStats;
pub use uarr_layout::uarr as value;
pub use uarr_layout::uarr::{UArrBuf, UArrRef, uarr};
pub use uarr_uring::{Backend, BackendChoice, CommitStrategy, Storage, System};

/// The example of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Those of the recipes compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/RECIPES.md")]
struct Recipes;

/// Those of the page for operators compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/OPERATIONS.md")]
struct Operations;

/// Those of the page on knobs compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/TUNING.md")]
struct Tuning;
