//! How far readers see, and how far the log is durable.

use std::sync::atomic::{AtomicU64, Ordering};

/// Two LSNs that only rise. In `Sync` databases the visible one is never ahead of the durable one.
pub(crate) struct Visible {
    visible_lsn: AtomicU64,
    durable_lsn: AtomicU64,
}

impl Visible {
    /// Everything up to `lsn` is durable and visible.
    pub fn new(lsn: u64) -> Self {
        Self { visible_lsn: AtomicU64::new(lsn), durable_lsn: AtomicU64::new(lsn) }
    }

    /// Readers see records up to here.
    #[inline]
    pub fn lsn(&self) -> u64 {
        self.visible_lsn.load(Ordering::Acquire)
    }

    /// Records up to here survive a loss of power.
    pub fn durable_lsn(&self) -> u64 {
        self.durable_lsn.load(Ordering::Acquire)
    }

    /// Shows records that may not be durable yet. One caller at a time.
    pub fn show(&self, lsn: u64) {
        assert!(self.visible_lsn.load(Ordering::Relaxed) < lsn, "what is visible only grows");
        self.visible_lsn.store(lsn, Ordering::Release);
    }

    /// Notes that the log is durable up to `lsn`. One caller at a time.
    pub fn note_durable(&self, lsn: u64) {
        let before = self.durable_lsn.swap(lsn, Ordering::AcqRel);
        assert!(before < lsn, "groups land in the order of their LSNs");
    }

    /// Shows records that are durable. One caller at a time.
    pub fn show_durable(&self, lsn: u64) {
        assert!(lsn <= self.durable_lsn.load(Ordering::Relaxed), "durable before it is visible");
        self.show(lsn);
    }
}
