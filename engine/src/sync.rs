//! Locks that know their order, condition variables, and what background threads sleep on.
//!
//! A thread that holds a lock takes only locks of a higher [`Rank`]. Builds with debug assertions
//! check that at each lock: an order that a test takes cannot deadlock. They also know which locks
//! a thread holds ([`holds`], [`holds_only`]): what a caller must hold, or must not, is asserted.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The order of locks: a thread takes them in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// What is being moved; held by the thread that gives space back.
    Mover,
    /// The superblock; held by a checkpoint throughout.
    Root,
    /// The log and what is in flight; held by the leader while its group is written.
    Leading,
    /// Growth of data file and log.
    Space,
    /// The segment that is being made.
    Segment,
    /// Groups that are not submitted.
    Staging,
    /// The one writer of records.
    Applier,
    /// Taken last, and nothing under it.
    Leaf,
}

thread_local! {
    /// Ranks of the locks that this thread holds, a bit each.
    static HELD: Cell<u8> = const { Cell::new(0) };
}

/// A mutex with its place in the order of locks.
pub(crate) struct Ranked<T> {
    rank: Rank,
    mutex: Mutex<T>,
}

/// A [`Ranked`] mutex that is held.
pub(crate) struct RankedGuard<'a, T> {
    guard: Option<MutexGuard<'a, T>>,
    rank: Rank,
}

impl<T> Ranked<T> {
    /// Protects `value`.
    pub fn new(rank: Rank, value: T) -> Self {
        Self { rank, mutex: Mutex::new(value) }
    }

    /// The value, for the owner of the mutex. Takes no lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks a mutex. A panic elsewhere has not left what it protects half changed: every critical
/// section of this crate completes its change or poisons the database.
pub(crate) fn lock<T>(ranked: &Ranked<T>) -> RankedGuard<'_, T> {
    let rank = ranked.rank;
    if cfg!(debug_assertions) {
        // Where the thread's memory is gone already, nothing is checked.
        let _ = HELD.try_with(|held| {
            let higher = held.get() >> (rank as u8);
            assert!(higher == 0, "{rank:?} is locked out of order, ranks held: {:#b}", held.get());
            held.set(held.get() | bit(rank));
        });
    }
    let guard = ranked.mutex.lock().unwrap_or_else(PoisonError::into_inner);
    RankedGuard { guard: Some(guard), rank }
}

/// Whether this thread holds a lock of `rank`. For assertions: release builds keep no account of
/// locks, and this is true there.
pub(crate) fn holds(rank: Rank) -> bool {
    !cfg!(debug_assertions) || HELD.try_with(|held| held.get() & bit(rank) != 0).unwrap_or(true)
}

/// Whether this thread holds no lock but those of `ranks`, or not even these. True in release
/// builds, as [`holds`].
pub(crate) fn holds_only(ranks: &[Rank]) -> bool {
    let allowed = ranks.iter().fold(0, |bits, rank| bits | bit(*rank));
    !cfg!(debug_assertions) || HELD.try_with(|held| held.get() & !allowed == 0).unwrap_or(true)
}

const fn bit(rank: Rank) -> u8 {
    1 << (rank as u8)
}

const HELD_TWICE: &str = "a guard holds its mutex until it is dropped";

impl<T> Deref for RankedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect(HELD_TWICE)
    }
}

impl<T> DerefMut for RankedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect(HELD_TWICE)
    }
}

impl<T> Drop for RankedGuard<'_, T> {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            let _ = HELD.try_with(|held| held.set(held.get() & !bit(self.rank)));
        }
    }
}

/// Waits on a condition variable; see [`lock`] for panics elsewhere.
pub(crate) fn wait<'a, T>(condvar: &Condvar, mut guard: RankedGuard<'a, T>) -> RankedGuard<'a, T> {
    let held = guard.guard.take().expect(HELD_TWICE);
    guard.guard = Some(condvar.wait(held).unwrap_or_else(PoisonError::into_inner));
    guard
}

/// Waits at most `patience`; see [`lock`] for panics elsewhere.
pub(crate) fn wait_for<'a, T>(
    condvar: &Condvar,
    mut guard: RankedGuard<'a, T>,
    patience: Duration,
) -> RankedGuard<'a, T> {
    let held = guard.guard.take().expect(HELD_TWICE);
    let waited = condvar.wait_timeout(held, patience);
    guard.guard = Some(waited.unwrap_or_else(PoisonError::into_inner).0);
    guard
}

/// Wakes a background thread; raising it twice wakes once.
pub(crate) struct Signal {
    raised: AtomicBool,
    mutex: Ranked<()>,
    condvar: Condvar,
}

impl Default for Signal {
    fn default() -> Self {
        let (raised, condvar) = (AtomicBool::new(false), Condvar::new());
        Self { raised, mutex: Ranked::new(Rank::Leaf, ()), condvar }
    }
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn locks_are_taken_in_their_order_only() {
        let ranks = [
            Rank::Root,
            Rank::Leading,
            Rank::Space,
            Rank::Segment,
            Rank::Staging,
            Rank::Applier,
            Rank::Leaf,
        ];
        for first in ranks {
            for second in ranks {
                let (a, b) = (Ranked::new(first, 1), Ranked::new(second, 2));
                let both = catch_unwind(AssertUnwindSafe(|| {
                    let held = lock(&a);
                    *held + *lock(&b)
                }));
                let is_refused = cfg!(debug_assertions) && second <= first;
                assert_eq!(both.is_err(), is_refused, "{first:?}, then {second:?}");
                // What a panic held is free again.
                assert_eq!(*lock(&a), 1);
            }
        }
    }

    #[test]
    fn what_a_thread_holds_is_known_where_it_is_asserted() {
        let (space, staging) = (Ranked::new(Rank::Space, ()), Ranked::new(Rank::Staging, ()));
        assert!(holds_only(&[]));
        assert_eq!(holds(Rank::Space), !cfg!(debug_assertions));
        let guard = lock(&space);
        let both = (guard, lock(&staging));
        assert!(holds(Rank::Space) && holds(Rank::Staging));
        assert!(holds_only(&[Rank::Staging, Rank::Space, Rank::Root]));
        assert_eq!(holds_only(&[Rank::Space]), !cfg!(debug_assertions));
        drop(both);
        assert!(holds_only(&[]));
    }

    #[test]
    fn a_guard_that_waited_is_held_again() {
        let ranked = Ranked::new(Rank::Staging, 0);
        let mut guard = wait_for(&Condvar::new(), lock(&ranked), Duration::from_millis(1));
        *guard += 1;
        drop(guard);
        assert_eq!(*lock(&ranked), 1);
    }
}
