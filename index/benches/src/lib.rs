//! The index beside other structures, one process, one run.
//!
//! Every structure runs the same loops over the same keys; a loop adds up what it found, and the
//! sums of all structures must agree, so a row that is fast because it is wrong does not exist.
//! Times are CPU time of the thread: other work on the machine does not count, cache misses do.
//!
//! Who takes part: `BTreeMap` (to which ratios are formed), `hashbrown` (no order), `blart` (an
//! adaptive radix tree), `crossbeam-skiplist` and `scc::TreeIndex` (ordered, many threads). Only
//! the last two and ours may be read beside a writer, and pay for that here too.

mod byte_keys;
mod int_keys;
#[path = "../../tests/suite/keys.rs"]
mod keys;
#[path = "../../tests/suite/machine.rs"]
mod machine;

pub use byte_keys::{ByteWork, byte_structures};
pub use int_keys::{IntWork, int_structures};
pub use keys::SETS;

use rustix::time::{ClockId, clock_gettime};

/// Entries of a short scan.
pub const SCAN_LEN: usize = 100;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything at once from sorted entries; one after the other where nothing else is offered.
    Bulk,
    /// Lookups of all keys in random order.
    Hit,
    /// Lookups of keys that are absent, each between two present ones.
    Miss,
    /// As `Hit`, 16 keys at a time.
    HitMany,
    /// Scans of 100 from random keys, per entry.
    Scan,
    /// All entries in order, per entry.
    Iterate,
    /// Half of the keys, in random order, into the other half.
    Insert,
    /// All keys, ascending, into an empty structure.
    InsertAscending,
    /// An insert and a lookup in turns, per operation.
    Mixed,
}

impl Phase {
    /// Whether the loaded structure stays as it is, so that passes may be repeated.
    pub fn reads(self) -> bool {
        matches!(self, Self::Hit | Self::Miss | Self::HitMany | Self::Scan | Self::Iterate)
    }

    /// The name of the row.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::HitMany => "hit, 16 at once",
            Self::Scan => "scan of 100, per entry",
            Self::Iterate => "iteration, per entry",
            Self::Insert => "insert, random",
            Self::InsertAscending => "insert, ascending",
            Self::Mixed => "insert and hit in turns",
        }
    }
}

/// One pass of a phase.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// CPU time of the whole pass.
    pub total_ns: u64,
    /// Operations of the pass.
    pub count: usize,
    /// What they found, added up.
    pub sum: u64,
}

impl Timed {
    /// CPU time per operation.
    pub fn each_ns(&self) -> f64 {
        self.total_ns as f64 / self.count.max(1) as f64
    }
}

/// A structure that takes part, with what it has loaded.
pub trait Structure<Work> {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// One pass; `None` if the structure does not offer this. `Bulk` comes before phases that read.
    fn run(&mut self, phase: Phase, work: &Work) -> Option<Timed>;

    /// Nodes and slots of what is loaded, in bytes, if the structure says.
    fn node_bytes(&self) -> Option<usize>;
}

fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn timed(count: usize, run: impl FnOnce() -> u64) -> Timed {
    let started = cpu_ns();
    let sum = run();
    Timed { total_ns: cpu_ns() - started, count, sum }
}
