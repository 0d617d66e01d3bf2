//! [`ClosingWait`]: which threads wait for which while databases are closed.
//!
//! Closing waits for the background threads of the database. Such a thread may run a waker that
//! closes another database, whose threads may run one that closes this one: each would wait for the
//! other, as a thread would for itself. So who waits says so here, and waits for no thread that
//! waits for it in turn, directly or through others: that one ends when its waker has returned.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// A thread that waits, and what for.
struct Wait {
    waiter: ThreadId,
    awaited: Vec<ThreadId>,
    /// The close that it waits for, if it waits for no more than that.
    close: Option<usize>,
}

/// One at a time for each thread: no waker runs while it waits.
static WAITS: Mutex<Vec<Wait>> = Mutex::new(Vec::new());

fn waits() -> MutexGuard<'static, Vec<Wait>> {
    // Each change is one step, so a panic leaves it whole.
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as it lives, the thread that has begun it waits for others.
#[must_use = "a wait lasts until it is dropped"]
pub(crate) struct ClosingWait {
    waiter: ThreadId,
}

impl ClosingWait {
    /// Begins to wait for those of `threads` that do not wait for the caller in turn: which.
    pub fn begin(threads: impl IntoIterator<Item = ThreadId>) -> (Self, Vec<ThreadId>) {
        Self::begin_for(None, threads)
    }

    /// Begins to wait for `closer`, which does the close with this number; `None`: `closer` waits
    /// for the caller in turn.
    pub fn begin_for_close(close: usize, closer: ThreadId) -> Option<Self> {
        let (wait, awaited) = Self::begin_for(Some(close), [closer]);
        (!awaited.is_empty()).then_some(wait)
    }

    /// The close with this number is over: no thread waits for it any more, although some have not
    /// woken up yet.
    pub fn end_close(close: usize) {
        waits().retain(|wait| wait.close != Some(close));
    }

    fn begin_for(
        close: Option<usize>,
        threads: impl IntoIterator<Item = ThreadId>,
    ) -> (Self, Vec<ThreadId>) {
        let waiter = std::thread::current().id();
        let mut waits = waits();
        assert!(waits.iter().all(|wait| wait.waiter != waiter), "a thread waits for one close");
        let is_free = |thread: &ThreadId| !reaches(&waits, *thread, waiter);
        let awaited: Vec<_> = threads.into_iter().filter(is_free).collect();
        waits.push(Wait { waiter, awaited: awaited.clone(), close });
        (Self { waiter }, awaited)
    }
}

impl Drop for ClosingWait {
    fn drop(&mut self) {
        waits().retain(|wait| wait.waiter != self.waiter);
    }
}

/// Whether `from` is `to`, or waits for it, directly or through others. There is no circle.
fn reaches(waits: &[Wait], from: ThreadId, to: ThreadId) -> bool {
    let mut awaited =
        waits.iter().filter(|wait| wait.waiter == from).flat_map(|wait| &wait.awaited);
    from == to || awaited.any(|thread| reaches(waits, *thread, to))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn nobody_waits_for_who_waits_for_it() {
        let own = thread::current().id();
        let (ids, is_over) = (Mutex::new(Vec::new()), Barrier::new(4));
        let wait_for = |awaited: ThreadId| {
            let (wait, left) = ClosingWait::begin([awaited]);
            assert_eq!(left, [awaited]);
            ids.lock().unwrap().push(thread::current().id());
            is_over.wait();
            drop(wait);
        };
        thread::scope(|scope| {
            let first = scope.spawn(|| wait_for(own)).thread().id();
            let second = scope.spawn(move || wait_for(first)).thread().id();
            let other = scope.spawn(|| is_over.wait()).thread().id();
            while ids.lock().unwrap().len() < 2 {
                thread::yield_now();
            }
            let (wait, left) = ClosingWait::begin([own, first, second, other]);
            assert_eq!(left, [other]);
            drop(wait);
            is_over.wait();
        });
        let (_wait, left) = ClosingWait::begin([own]);
        assert_eq!(left, []);
    }

    /// A thread that had not woken up yet counted as waiting for a close that was over.
    #[test]
    fn a_close_that_is_over_is_not_waited_for() {
        let own = thread::current().id();
        let (is_begun, is_over) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let wait = ClosingWait::begin_for_close(7, own);
                assert!(wait.is_some());
                is_begun.wait();
                is_over.wait();
            });
            is_begun.wait();
            let other = other.thread().id();
            assert!(ClosingWait::begin_for_close(8, other).is_none(), "it waits for this thread");
            ClosingWait::end_close(7);
            assert!(ClosingWait::begin_for_close(8, other).is_some());
            is_over.wait();
        });
    }
}
