//! One measurement as it is asked for: work, threads, and how time is taken.

use std::time::Duration;

use serde::Deserialize;

use crate::measure::mix::{Mix, Parts};

/// How many times longer than asked a measurement may take that lacks operations.
pub const PATIENCE: u32 = 8;

/// A duration for measurements that end after a number of operations.
pub const ENDLESS: Duration = Duration::from_secs(1 << 32);

/// What the threads do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Writes records never written before, from number `first` on.
    Put {
        /// The first record number; thread `t` starts `t * 2^40` later.
        first: u64,
    },
    /// Writes records as `Put` does, `records` of them in one atomic batch per operation.
    Batches {
        /// See `Put`.
        first: u64,
        /// Records of a batch.
        records: u64,
    },
    /// Reads records chosen uniformly from `0 .. record_count`, all of which exist.
    Get {
        /// How many records there are.
        record_count: u64,
    },
    /// Looks for records that do not exist.
    Miss,
    /// Reads `records` of `record_count` records in key order, from a record chosen uniformly on;
    /// all of them where `records` is `record_count`.
    Scan {
        /// How many records there are.
        record_count: u64,
        /// How many are read.
        records: u64,
    },
    /// Operations of several kinds.
    Mix(Mix),
    /// Reads like `Get` four times out of five, else overwrites a record chosen the same way.
    Mixed {
        /// How many records there are.
        record_count: u64,
        /// The version written.
        version: u64,
    },
}

/// How time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Only the whole: for operations that take less time than reading the clock does.
    Whole,
    /// Every operation.
    Each,
    /// Every operation, and they begin at a fixed rate, even if those before are late. A run may
    /// begin fewer if the store cannot keep up.
    Paced {
        /// Operations per second of all threads together.
        per_second: u32,
        /// How their begins are spread.
        arrival: Arrival,
    },
}

/// How the begins of operations at a fixed rate are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// Each as long after the one before.
    Even,
    /// At random times, as callers come who know nothing of each other.
    Poisson,
}

/// What the reads of a thread see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Each read sees what was there when it began: a read transaction, or what stands for it in
    /// the store, is opened and ended by each.
    PerRead,
    /// All reads see what was there when the thread began, in one read transaction.
    Snapshot,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// What the threads do.
    pub work: Work,
    /// What its reads see; ratios are formed between equal views only.
    pub view: View,
    /// How many threads, at least 1.
    pub threads: u32,
    /// Threads beside them that only get the records of a mix, each timed by itself.
    pub readers: u32,
    /// How long.
    pub duration: Duration,
    /// Goes on until about this many are done, but not for more than [`PATIENCE`] times as long.
    pub op_count_min: u64,
    /// Ends earlier after about this many operations.
    pub op_count_max: u64,
    /// How time is taken.
    pub timing: Timing,
    /// So long after the begin another thread takes a checkpoint, or what stands for it in the
    /// store; see [`crate::measure::store::Store::prepare_reads`].
    pub checkpoint_at: Option<Duration>,
    /// Chooses the records.
    pub seed: u64,
}

impl Job {
    /// The job of the threads that read beside those of this one, if there are any.
    pub fn of_readers(&self) -> Option<Self> {
        let (Work::Mix(mix), 1..) = (self.work, self.readers) else { return None };
        let parts = Parts { get: 100, ..Parts::default() };
        let (work, timing) = (Work::Mix(Mix { parts, ..mix }), Timing::Each);
        // They choose other records than the threads beside them.
        let seed = !self.seed;
        Some(Self { work, timing, threads: self.readers, readers: 0, seed, ..*self })
    }
}

/// Nanoseconds of a duration, which is never centuries long here.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
