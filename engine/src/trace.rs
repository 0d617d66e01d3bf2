//! What a database does that its operator may want in a log: events for `tracing` (feature
//! `tracing`), all with target `uarr` and the path of the database.
//!
//! Subscribers are user code: no thread calls one while it holds a lock or leads. A thread that
//! opens, closes or takes a checkpoint says so at its end. What happens under locks (a new segment,
//! slow groups, poison) the keeper sees between its steps, up to half a second later; a database
//! without background threads does not say it. If a subscriber panics, that ends its event and
//! nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::report::RecoveryReport;

/// A group that takes longer at the device is slow.
pub(crate) const SLOW: Duration = Duration::from_millis(100);

/// What the keeper has seen at its last look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Segment in which the durable log ends.
    pub segment: u64,
    /// Why the database takes no more writes.
    pub poison: Option<Error>,
    /// Groups that were slow since the look before.
    pub slow_count: u64,
    /// The slowest of them.
    pub slowest: Duration,
}

/// A database was opened.
pub(crate) fn opened(path: &Path, report: &RecoveryReport) {
    quietly(|| {
        let took_ms = report.duration.as_secs_f64() * 1e3;
        let (records, groups) = (report.replayed_record_count, report.replayed_group_count);
        tracing::info!(
            target: "uarr",
            path = %path.display(),
            created = report.created,
            clean = report.clean,
            replayed_records = records,
            replayed_groups = groups,
            took_ms,
            "opened"
        );
        if let Some(tail) = &report.torn_tail {
            let (file, offset) = (tail.file.as_str(), tail.offset);
            tracing::info!(target: "uarr", path = %path.display(), file, offset, "cut a torn tail");
        }
        for note in &report.notes {
            tracing::warn!(target: "uarr", path = %path.display(), %note, "got around damage");
        }
    });
}

/// A checkpoint was taken, or failed. No clock is looked at for it: where that moves the clock, as
/// in a simulation, the feature would change what is written.
pub(crate) fn checkpointed(path: &Path, result: &Result<()>, durable_lsn: u64) {
    quietly(|| match result {
        Ok(()) => {
            let path = path.display();
            tracing::info!(target: "uarr", %path, durable_lsn, "checkpoint");
        }
        Err(error) => {
            let path = path.display();
            tracing::warn!(target: "uarr", %path, %error, "no checkpoint");
        }
    });
}

/// A database was closed, or that failed.
pub(crate) fn closed(path: &Path, result: &Result<()>) {
    quietly(|| match result {
        Ok(()) => tracing::info!(target: "uarr", path = %path.display(), "closed"),
        Err(error) => {
            tracing::warn!(target: "uarr", path = %path.display(), %error, "closing failed");
        }
    });
}

impl Seen {
    /// Says what is new `now`.
    pub fn compare(&mut self, path: &Path, now: Self) {
        quietly(|| {
            if now.segment != self.segment {
                let segment = now.segment;
                tracing::debug!(target: "uarr", path = %path.display(), segment, "new segment");
            }
            if now.slow_count > 0 {
                let (groups, slowest_ms) = (now.slow_count, now.slowest.as_secs_f64() * 1e3);
                tracing::warn!(
                    target: "uarr", path = %path.display(), groups, slowest_ms, "slow commits"
                );
            }
            if let (Some(error), None) = (&now.poison, &self.poison) {
                tracing::error!(target: "uarr", path = %path.display(), %error, "poisoned");
            }
        });
        *self = now;
    }
}

fn quietly(event: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(event)) {
        // What a subscriber panics with may panic again when it is dropped.
        std::mem::forget(payload);
    }
}
