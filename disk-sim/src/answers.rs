//! [`Answers`]: a device that keeps log writes for as long as a test likes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// See [`self`].
#[derive(Default)]
pub(crate) struct Answers {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Default)]
struct Counts {
    /// How many more log writes come back; `None`: all do.
    left: Option<u64>,
    /// How many were sent to the device.
    sent: u64,
}

impl Answers {
    /// From now on `count` log writes come back, and those behind them stay in flight.
    pub fn limit(&self, count: Option<u64>) {
        self.counts().left = count;
        self.changed.notify_all();
    }

    pub fn sent_count(&self) -> u64 {
        self.counts().sent
    }

    pub fn note_sent(&self) {
        self.counts().sent += 1;
    }

    /// Returns when one more log write comes back.
    pub fn wait(&self) {
        let mut counts = self.counts();
        while counts.left == Some(0) {
            counts = self.changed.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
        counts.left = counts.left.map(|left| left - 1);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Each change is complete before a panic is possible.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
