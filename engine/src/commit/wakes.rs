//! Wakers of tasks: user code that never runs under a lock of this crate, nor on a thread that
//! leads or holds a turn.
//!
//! A waker may poll its task at once, call any verb of the database, drop its last handle, or
//! panic. Cloning and dropping one is user code too. So:
//! - a thread clones a waker before it takes the first lock ([`OwnWaker`]);
//! - a thread that finds under a lock that it must wake a task moves the waker to a [`Wakes`], and
//!   runs it when it has released all locks and handed over the lead;
//! - a thread that cannot release what it holds (a checkpoint its lock, the owner of a turn its
//!   place), or may be offered the lead at any time (its own group is not settled), hands them to
//!   the log thread, which holds nothing ([`Place::LogThread`]).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::task::Waker;

use crate::sync::holds_only;

/// The waker of a task that is being polled, cloned before any lock was taken.
pub(crate) struct OwnWaker<'a> {
    waker: Cell<Option<Waker>>,
    polls: &'a Polls,
}

/// What a task's future keeps from poll to poll.
#[derive(Default)]
pub(crate) struct Polls {
    /// Where it left a waker when it was polled before.
    place: Cell<usize>,
    /// It has asked for room.
    has_asked: Cell<bool>,
}

impl<'a> OwnWaker<'a> {
    pub fn of(waker: &Waker, polls: &'a Polls) -> Self {
        Self { waker: Cell::new(Some(waker.clone())), polls }
    }

    /// True once: the task has not yet had anyone look for room.
    pub fn asks_for_room(&self) -> bool {
        !self.polls.has_asked.replace(true)
    }

    /// The waker, for the thread that wakes the task. Once.
    pub fn take(&self) -> Option<Waker> {
        let waker = self.waker.take();
        assert!(waker.is_some(), "a poll leaves its waker in one place");
        waker
    }

    /// Leaves the waker in `list`. `false`: it is there already, as the task was polled without
    /// having been woken.
    pub fn enter(&self, list: &mut Vec<Waker>) -> bool {
        let Some(waker) = self.waker.take() else { return false };
        if list.get(self.polls.place.get()).is_some_and(|known| known.will_wake(&waker)) {
            // Dropping it is user code: not under the lock of the list.
            self.waker.set(Some(waker));
            return false;
        }
        self.polls.place.set(list.len());
        list.push(waker);
        true
    }
}

/// Where wakers that are due may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this thread, whenever it holds nothing.
    #[default]
    Here,
    /// Not on this thread, which holds a lock or a turn throughout, or may be offered the lead.
    LogThread,
}

thread_local! {
    /// Wakers that became due while this thread runs another one: a waker that writes leads, and
    /// finds more to be woken. They run when it returns, so that frames do not pile up.
    static LATER: Cell<Option<Vec<Waker>>> = const { Cell::new(None) };
}

/// Wakers that are due. Dropping runs them, so it is declared before the locks.
#[derive(Default)]
pub(crate) struct Wakes {
    due: Vec<Waker>,
    place: Place,
}

impl Wakes {
    pub fn new(place: Place) -> Self {
        Self { due: Vec::new(), place }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    pub fn push(&mut self, waker: Option<Waker>) {
        self.due.extend(waker);
    }

    /// Takes over all of `wakers`, which keep their memory.
    pub fn take_all(&mut self, wakers: &mut Vec<Waker>) {
        self.due.append(wakers);
    }

    /// Moves all to `wakers`.
    pub fn hand_to(&mut self, wakers: &mut Vec<Waker>) {
        wakers.append(&mut self.due);
    }

    /// Runs them. The caller holds no lock, does not lead and has no turn. A waker that panics has
    /// been reported by the panic's hook; it keeps no other task from being woken.
    pub fn run(&mut self) {
        assert!(holds_only(&[]), "no user code runs under a lock");
        if self.due.is_empty() || self.run_later() {
            return;
        }
        while !self.due.is_empty() {
            for waker in self.due.drain(..) {
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                    // Dropping it is user code as well, which may panic.
                    std::mem::forget(payload);
                }
            }
            let later = LATER.try_with(|later| later.replace(Some(Vec::new())));
            self.due.append(&mut later.ok().flatten().unwrap_or_default());
        }
        assert!(self.due.is_empty(), "each waker has run");
        // A thread whose memory is gone already has nothing to forget.
        let _ = LATER.try_with(Cell::take);
    }

    /// Runs them on a thread of their own, which holds nothing. If none can be started, they stay:
    /// the caller may hold what they must not run under.
    pub fn run_elsewhere(&mut self) {
        let (sender, receiver) = mpsc::channel::<Self>();
        let run = move || receiver.into_iter().for_each(|mut wakes| wakes.run());
        if std::thread::Builder::new().name("uarr-wakes".into()).spawn(run).is_ok() {
            let wakes = Self { due: std::mem::take(&mut self.due), place: Place::Here };
            assert!(sender.send(wakes).is_ok(), "the thread waits for them");
        }
    }

    /// Leaves them to the frame of this thread that runs a waker, if there is one. Else this frame
    /// is it.
    fn run_later(&mut self) -> bool {
        let is_left = LATER.try_with(|later| {
            let mut waiting = later.take();
            let is_left = waiting.is_some();
            if let Some(waiting) = &mut waiting {
                waiting.append(&mut self.due);
            }
            later.set(Some(waiting.unwrap_or_default()));
            is_left
        });
        is_left.unwrap_or(false)
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        if !self.due.is_empty() {
            self.run();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Panics(Arc<AtomicUsize>);

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a waker panics");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_from_being_woken() {
        let woken = Arc::new(AtomicUsize::new(0));
        let mut wakes = Wakes::default();
        for _ in 0..3 {
            wakes.push(Some(Waker::from(Arc::new(Panics(woken.clone())))));
        }
        drop(wakes);
        assert_eq!(woken.load(Ordering::Relaxed), 3);
    }

    /// Wakes one more from inside, so many times.
    struct Nests(AtomicUsize, Arc<AtomicUsize>);

    impl Wake for Nests {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::Relaxed);
            if self.0.fetch_sub(1, Ordering::Relaxed) > 1 {
                Wakes { due: vec![Waker::from(self)], place: Place::Here }.run();
            }
        }
    }

    #[test]
    fn wakers_that_wake_do_not_nest() {
        let woken = Arc::new(AtomicUsize::new(0));
        // As many frames would need more stack than a test has.
        let nests = Arc::new(Nests(AtomicUsize::new(1_000_000), woken.clone()));
        Wakes { due: vec![Waker::from(nests)], place: Place::Here }.run();
        assert_eq!(woken.load(Ordering::Relaxed), 1_000_000);
    }
}
