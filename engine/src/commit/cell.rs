//! What the members of a group commit share: one futex word for those that block, wakers for those
//! that do not.
//!
//! Life of a cell: *waiting*, perhaps *lead* (one blocking member is asked to write the group) and
//! *led*, then *done* or *failed*, which stay. A cell serves the next group when no member holds it
//! any more, so that a commit allocates nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use uarr_uring::Futex;

use crate::commit::leadership::Lead;
use crate::commit::wakes::Wakes;
use crate::error::{Error, Result};
use crate::sync::{Rank, Ranked, holds_only, lock};

const WAITING: u32 = 0;
const LEAD: u32 = 1;
const LED: u32 = 2;
const DONE: u32 = 3;
const FAILED: u32 = 4;

/// What the members of a group wait on.
pub(crate) struct GroupCell {
    state: Futex,
    /// Threads that sleep or are about to: without any, no wake-up costs a system call.
    sleeper_count: AtomicU32,
    /// Tasks that wait; the place of one that lost interest is empty.
    wakers: Ranked<Vec<Option<Waker>>>,
    error: OnceLock<Error>,
    /// Written before the state, read after it.
    facts: Facts,
}

/// See [`GroupFacts`].
#[derive(Default)]
struct Facts {
    submitted_ns: AtomicU64,
    settled_ns: AtomicU64,
    commit_count: AtomicU32,
}

/// What became of a group, for its members' receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupFacts {
    /// When the group was given to the device, by the storage's clock.
    pub submitted_ns: u64,
    /// When it was durable.
    pub settled_ns: u64,
    /// How many commits shared it.
    pub commit_count: u32,
}

/// What a member has waited for.
#[derive(Debug)]
pub(crate) enum Waited {
    /// The outcome of its group.
    Settled(GroupFacts),
    /// It is to lead.
    Lead(Lead),
}

impl GroupCell {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Futex::new(WAITING),
            sleeper_count: AtomicU32::new(0),
            wakers: Ranked::new(Rank::Leaf, Vec::new()),
            error: OnceLock::new(),
            facts: Facts::default(),
        })
    }

    /// Makes the cell ready for another group. `false` if a member still holds it.
    pub fn renew(this: &mut Arc<Self>) -> bool {
        let Some(cell) = Arc::get_mut(this) else { return false };
        assert!(*cell.sleeper_count.get_mut() == 0, "who sleeps here holds the cell");
        assert!(cell.state.load() >= DONE, "only a settled group gives its cell away");
        cell.state.store(WAITING);
        cell.error.take();
        true
    }

    /// Asks one blocking member to lead the group.
    pub fn offer_lead(&self) {
        let state = self.state.load();
        assert!(state < DONE, "a settled group needs no leader");
        assert!(state != LEAD, "there is one lead, which is offered once");
        self.state.store(LEAD);
        if self.has_sleepers() {
            self.state.wake_one();
        }
    }

    /// Gives the members what became of the group; `wakes` gets the tasks among them. Called once.
    pub fn finish(&self, result: &Result<()>, facts: GroupFacts, wakes: &mut Wakes) {
        let state = self.state.load();
        assert!(state < DONE, "a group is settled once");
        assert!(state != LEAD, "a lead that was offered is taken before its group is settled");
        self.facts.submitted_ns.store(facts.submitted_ns, Ordering::Relaxed);
        self.facts.settled_ns.store(facts.settled_ns, Ordering::Relaxed);
        self.facts.commit_count.store(facts.commit_count, Ordering::Relaxed);
        let state = match result {
            Ok(()) => DONE,
            Err(error) => {
                // Only the leader finishes a group, and it does so once.
                let _ = self.error.set(error.clone());
                FAILED
            }
        };
        self.state.store(state);
        if self.has_sleepers() {
            self.state.wake_all();
        }
        // A task that registers from here on finds the final state first.
        lock(&self.wakers).drain(..).for_each(|waker| wakes.push(waker));
    }

    /// Asked after the state was changed. A thread that counts itself later finds the new state and
    /// does not fall asleep; the fence keeps the two steps of both sides in one order.
    fn has_sleepers(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeper_count.load(Ordering::Relaxed) > 0
    }

    /// What became of the group, if that is known.
    pub fn outcome(&self) -> Option<Result<GroupFacts>> {
        match self.state.load() {
            DONE => Some(Ok(GroupFacts {
                submitted_ns: self.facts.submitted_ns.load(Ordering::Relaxed),
                settled_ns: self.facts.settled_ns.load(Ordering::Relaxed),
                commit_count: self.facts.commit_count.load(Ordering::Relaxed),
            })),
            FAILED => Some(Err(self.error.get().cloned().expect("set before the state"))),
            _ => None,
        }
    }

    /// Waits for the group, or until this thread is asked to lead it.
    pub fn wait(&self) -> Result<Waited> {
        assert!(holds_only(&[]), "the leader may want any lock");
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome.map(Waited::Settled);
            }
            match self.state.load() {
                LEAD if self.state.compare_exchange(LEAD, LED).is_ok() => {
                    return Ok(Waited::Lead(Lead::given()));
                }
                state @ (WAITING | LED) => {
                    self.sleeper_count.fetch_add(1, Ordering::SeqCst);
                    self.state.wait(state);
                    self.sleeper_count.fetch_sub(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }
}

/// The outcome of a group, for a task. Dropping it loses interest, nothing else.
pub(crate) struct Settled {
    cell: Arc<GroupCell>,
    place: Option<usize>,
}

impl Settled {
    pub fn new(cell: Arc<GroupCell>) -> Self {
        Self { cell, place: None }
    }
}

impl Future for Settled {
    type Output = Result<GroupFacts>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { cell, place } = &mut *self;
        if let Some(outcome) = cell.outcome() {
            // The waker was taken or is about to be: nothing to withdraw.
            *place = None;
            return Poll::Ready(outcome);
        }
        let waker = context.waker();
        if place.is_some_and(|place| is_known(&lock(&cell.wakers), place, waker)) {
            return Poll::Pending;
        }
        // Cloning and dropping a waker is user code: neither happens under the lock.
        let fresh = waker.clone();
        let mut wakers = lock(&cell.wakers);
        // `finish` takes the wakers after it has set the state: either it finds this one, or this
        // finds the state.
        if let Some(outcome) = cell.outcome() {
            drop(wakers);
            *place = None;
            return Poll::Ready(outcome);
        }
        let stale = match *place {
            Some(place) => wakers[place].replace(fresh),
            None => {
                *place = Some(wakers.len());
                wakers.push(Some(fresh));
                None
            }
        };
        drop(wakers);
        drop(stale);
        Poll::Pending
    }
}

/// Whether the waker at `place` wakes the same task as `waker`. It is gone if the group was
/// finished meanwhile.
fn is_known(wakers: &[Option<Waker>], place: usize, waker: &Waker) -> bool {
    let known = wakers.get(place).and_then(Option::as_ref);
    known.is_some_and(|known| known.will_wake(waker))
}

impl Drop for Settled {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        // Gone already if the group has been finished.
        let waker = lock(&self.cell.wakers).get_mut(place).and_then(Option::take);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;
    use crate::error::ErrorKind;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const FACTS: GroupFacts = GroupFacts { submitted_ns: 3, settled_ns: 9, commit_count: 2 };

    #[test]
    fn tasks_are_woken_once_and_see_the_outcome() {
        let cell = GroupCell::new();
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(counted.clone());
        let mut context = Context::from_waker(&waker);
        let mut patient = Settled::new(cell.clone());
        let mut dropped = Settled::new(cell.clone());
        for _ in 0..3 {
            assert!(Pin::new(&mut patient).poll(&mut context).is_pending());
            assert!(Pin::new(&mut dropped).poll(&mut context).is_pending());
        }
        drop(dropped);
        cell.finish(&Ok(()), FACTS, &mut Wakes::default());
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
        let Poll::Ready(Ok(facts)) = Pin::new(&mut patient).poll(&mut context) else {
            panic!("a finished group has an outcome");
        };
        assert_eq!(facts, FACTS);
        let mut late = Settled::new(cell);
        assert!(Pin::new(&mut late).poll(&mut context).is_ready());
    }

    #[test]
    fn cells_are_used_again_only_when_nobody_holds_them() {
        let mut cell = GroupCell::new();
        let held = cell.clone();
        let error = Error::new(ErrorKind::Io, "a test");
        cell.finish(&Err(error), GroupFacts::default(), &mut Wakes::default());
        assert!(!GroupCell::renew(&mut cell));
        assert!(held.wait().is_err());
        drop(held);
        assert!(GroupCell::renew(&mut cell));
        assert!(cell.outcome().is_none());
        cell.offer_lead();
        let Ok(Waited::Lead(lead)) = cell.wait() else { panic!("the lead was offered") };
        lead.end();
    }
}
