//! The atomics everything here is built on: std's, or loom's when the protocols are model-checked.
//!
//! Every hand-off between the writer and its readers is written against these names, so that
//! `scripts/sanitize loom` explores the real code, see `leaf_loom`.

use std::sync::atomic::Ordering::Relaxed;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};

/// Lets another thread run: called by a reader that met a leaf in the middle of a write.
#[inline]
pub(crate) fn pause(attempts: u32) {
    #[cfg(loom)]
    {
        let _ = attempts;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if attempts.is_multiple_of(PAUSES_BEFORE_YIELD) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// A write section takes some hundred nanoseconds; after this many looks the writer has probably
/// lost its core.
#[cfg(not(loom))]
const PAUSES_BEFORE_YIELD: u32 = 64;

/// Adds to a counter that only the writer changes.
#[inline]
pub(crate) fn bump(counter: &AtomicU32, by: u32) {
    counter.store(counter.load(Relaxed).saturating_add(by), Relaxed);
}
