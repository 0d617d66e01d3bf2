//! What the writer has done to a leaf, from which it judges the leaf's shape.

use std::sync::atomic::Ordering::Relaxed;

use crate::sync::AtomicU32;

/// What the writer has done to a leaf since it was made.
pub(crate) struct Tally {
    pub(crate) count: AtomicU32,
    pub(crate) inserts: AtomicU32,
    pub(crate) appends: AtomicU32,
    pub(crate) prepends: AtomicU32,
    pub(crate) shifts: AtomicU32,
    /// Inserts from which on another shape may be asked for that was refused before.
    asks_again: AtomicU32,
}

/// Least inserts after which a refused change of shape is asked for again.
const ASKS_AGAIN_MIN: u32 = 32;

impl Tally {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count: AtomicU32::new(count as u32),
            inserts: AtomicU32::new(0),
            appends: AtomicU32::new(0),
            prepends: AtomicU32::new(0),
            shifts: AtomicU32::new(0),
            asks_again: AtomicU32::new(0),
        }
    }

    /// Whether enough was inserted since a change of shape was refused to ask for it again.
    pub(crate) fn may_ask(&self) -> bool {
        self.inserts.load(Relaxed) >= self.asks_again.load(Relaxed)
    }

    /// A change of shape was refused: asking costs more than an insert.
    pub(crate) fn refuse(&self) {
        let inserts = self.inserts.load(Relaxed);
        let pause = (inserts / 4).max(ASKS_AGAIN_MIN);
        self.asks_again.store(inserts.saturating_add(pause), Relaxed);
    }
}
