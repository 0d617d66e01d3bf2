//! Latency harness: the device floor, the engine and its peers in one run, with a verdict.
//!
//! One command answers how fast the engine is on *this* disk, how far that is from what the disk
//! itself can do, and how the usual alternatives do beside it:
//!
//! ```text
//! uarr-bench check --dir DIR --targets targets/default.toml
//! ```
//!
//! The rooms, each of which knows only those below it:
//!
//! ```text
//! check     the run: phases, in rounds, reopening after a kill      parts   one path, part by part
//! report    of a run: JSON, text, HTML with plots; docs/BENCHMARKS.md
//! judge     targets, and the verdict on what was measured
//! stores    the engine, RocksDB, SQLite, LMDB, redb, fjall behind one trait
//! measure   work, driver, stopwatch, samples, the floor of the device
//! machine   what the run ran on
//! ```
//!
//! Invariants:
//! - Contenders take turns inside every round, each round beginning with the next of them; the
//!   others are still meanwhile. Medians over rounds, percentiles of all rounds together.
//! - Ratios are formed inside each round, and only between rows that make one promise: every row
//!   names its durability, and what its reads see.
//! - Every value read is checked, of a scan order, number and the last one. Wrong or missing data
//!   ends the run with exit code 3.
//! - A number without enough samples is "n/a", a run without a steady floor is inconclusive.
//! - Nothing of a run stays on the disk but its reports.

#![forbid(unsafe_code)]

pub mod check;
pub mod error;
pub mod judge;
pub mod machine;
pub mod measure;
pub mod parts;
pub mod progress;
pub mod report;
pub mod stores;
