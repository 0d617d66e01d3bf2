//! Counters and times of an open database.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use uarr_uring::{CommitStrategy, LogCounters};

use crate::log::strategy;
use crate::meters::histogram::Histogram;

/// Where the time of commits goes, in nanoseconds, and how large their groups are.
#[derive(Default)]
pub(crate) struct Phases {
    pub queue: Histogram,
    pub apply: Histogram,
    pub io: Histogram,
    pub wake: Histogram,
    pub group_commits: Histogram,
    pub group_bytes: Histogram,
}

/// How long threads that write have waited before they could stage, in nanoseconds.
#[derive(Default)]
pub(crate) struct WaitTimes {
    pub buffer: Histogram,
    pub space: Histogram,
    pub garbage: Histogram,
    pub room: Histogram,
}

/// Numbers for [`crate::Stats`].
#[derive(Default)]
pub(crate) struct Counters {
    pub commit_count: AtomicU64,
    pub record_count: AtomicU64,
    pub group_count: AtomicU64,
    pub write_count: AtomicU64,
    pub flush_count: AtomicU64,
    pub log_bytes: AtomicU64,
    /// Number of the commit strategy in use.
    pub strategy: AtomicU32,
    /// Medians of each when they were last measured; 0: never.
    pub strategy_ns: [AtomicU64; 3],
    pub checkpoint_count: AtomicU64,
    /// Records that had expired and were deleted.
    pub expired_count: AtomicU64,
    /// Bytes of records that were moved.
    pub moved_bytes: AtomicU64,
    /// Records were moved since the last checkpoint began.
    pub has_moved: AtomicBool,
    /// Places wait for a checkpoint.
    pub wants_checkpoint: AtomicBool,
    /// A checkpoint is wanted for the log that it lets go of.
    pub wants_log_back: AtomicBool,
    /// A checkpoint is on its way.
    pub has_checkpoint: AtomicBool,
    /// Bytes that the log had taken when the last checkpoint began.
    pub checkpoint_log_bytes: AtomicU64,
    /// Bytes of log that recovery found behind the last checkpoint; 0 after the next one.
    pub recovered_log_bytes: AtomicU64,
    /// Groups that were slow since the keeper has last looked.
    #[cfg(feature = "tracing")]
    pub slow_count: AtomicU64,
    /// How long the slowest of them took.
    #[cfg(feature = "tracing")]
    pub slowest_ns: AtomicU64,
    /// Segment in which the log ended when the database was opened.
    #[cfg(feature = "tracing")]
    pub first_segment: AtomicU64,
}

impl Counters {
    /// Notes a checkpoint that began when the log had taken `log_bytes`.
    pub fn note_checkpoint(&self, log_bytes: u64) {
        let before = self.checkpoint_log_bytes.swap(log_bytes, Ordering::Relaxed);
        assert!(before <= log_bytes, "the log only grows");
        self.checkpoint_count.fetch_add(1, Ordering::Relaxed);
        self.recovered_log_bytes.store(0, Ordering::Relaxed);
    }

    pub fn note_group(&self, commit_count: u64, record_count: u64) {
        self.group_count.fetch_add(1, Ordering::Relaxed);
        self.commit_count.fetch_add(commit_count, Ordering::Relaxed);
        self.record_count.fetch_add(record_count, Ordering::Relaxed);
    }

    /// Notes how long a group took at the device.
    #[cfg(feature = "tracing")]
    pub fn note_io(&self, ns: u64) {
        if u128::from(ns) > crate::trace::SLOW.as_nanos() {
            self.slow_count.fetch_add(1, Ordering::Relaxed);
            self.slowest_ns.fetch_max(ns, Ordering::Relaxed);
        }
    }

    pub fn note_measured(&self, median_ns: [u64; 3]) {
        for (noted, ns) in self.strategy_ns.iter().zip(median_ns) {
            noted.store(ns, Ordering::Relaxed);
        }
    }

    pub fn note_log(&self, log: LogCounters, strategy: CommitStrategy) {
        self.strategy.store(strategy::to_number(strategy), Ordering::Relaxed);
        self.write_count.store(log.write_count, Ordering::Relaxed);
        self.flush_count.store(log.flush_count, Ordering::Relaxed);
        self.log_bytes.store(log.written_bytes, Ordering::Relaxed);
    }
}
