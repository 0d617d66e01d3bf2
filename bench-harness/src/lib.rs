//! Latency harness: the device floor, the engine and its peers in one run, with a verdict.
//!
//! One command answers how fast the engine is on *this* disk, how far that is from what the disk
//! itself can do, and how the usual alternatives do beside it:
//!
//! ```text
//! uarr-bench check --dir DIR --targets targets/default.toml
//! ```
//!
//! How the modules fit together:
//!
//! ```text
//! check -- phases, rounds --> drive -- many threads --> stores (engine, RocksDB, SQLite, LMDB)
//!   |                           |
//!   |--> floor, reopen          '--> sample --> results --> report --> verdict <-- targets
//!   '--> machine, device, folder                              '--> text, html (plot)
//! commit --> turns, drive, floor: the commit path in parts --> measured
//! read --> turns, drive, floor, sizes: the read path in parts --> measured
//! report, measured --> page: docs/BENCHMARKS.md
//! drive --> stopwatch: operations timed one by one, in turn or begun at a fixed rate
//! ```
//!
//! Invariants:
//! - Contenders take turns inside every round; medians over rounds; ratios only inside one run.
//! - Every row names its durability; numbers of different durability are never divided.
//! - Every value read is checked, of a scan order, number and the last one. Wrong or missing data
//!   ends the run with exit code 3.
//! - A number without enough samples is "n/a", a run without a steady floor is inconclusive.
//! - Nothing of a run stays on the disk but its reports.

#![forbid(unsafe_code)]

pub mod check;
pub mod commit;
pub mod device;
pub mod drive;
pub mod error;
pub mod floor;
pub mod folder;
pub mod html;
pub mod machine;
pub mod measured;
pub mod page;
pub mod plot;
pub mod progress;
pub mod promises;
pub mod read;
pub mod record;
pub mod reopen;
pub mod report;
pub mod results;
pub mod sample;
#[cfg(test)]
mod sample_report;
mod sizes;
mod stopwatch;
pub mod store;
pub mod stores;
pub mod targets;
pub mod text;
pub mod turns;
pub mod verdict;
