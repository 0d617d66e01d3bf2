//! Locks, condition variables, and what background threads sleep on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks a mutex. A panic elsewhere has not left what it protects half changed: every critical
/// section of this crate completes its change or poisons the database.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on a condition variable; see [`lock`] for panics elsewhere.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits at most `patience`; see [`lock`] for panics elsewhere.
pub(crate) fn wait_for<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    patience: Duration,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, patience).unwrap_or_else(PoisonError::into_inner).0
}

/// Wakes a background thread; raising it twice wakes once.
#[derive(Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    mutex: Mutex<()>,
    condvar: Condvar,
}

impl Signal {
    /// True while a wake-up is pending. A caller that then changes something under a lock that the
    /// woken thread takes as well need not raise it again.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// Cheap when it is raised already.
    pub fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            let _guard = lock(&self.mutex);
            self.condvar.notify_one();
        }
    }

    /// Waits until raised, at most `patience`, and lowers it.
    pub fn wait(&self, patience: Duration) {
        let guard = lock(&self.mutex);
        if !self.raised.load(Ordering::Acquire) {
            drop(wait_for(&self.condvar, guard, patience));
        }
        self.raised.store(false, Ordering::Release);
    }
}
