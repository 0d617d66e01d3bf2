//! Whether the database takes writes: the one state that every door asks and every sleeper hears.
//!
//! ```text
//! open --> closing --> closed
//!   \________\___________\____ poisoned, which outweighs the others
//! ```
//! Bits are only ever set. What follows from it:
//! 1. A door ([`Health::check`]) is asked under the staging lock before anything is staged. Poison
//!    and closing are set first and then pass that lock: a write is either staged before, and
//!    settled with the rest, or refused.
//! 2. Setting it wakes all sleepers, threads and tasks, each of which asks again before it goes
//!    back to sleep.
//! 3. The leader fails the groups that are staged when the database is poisoned, since it comes
//!    past them in any case; if there is none, the thread that sets it does.
//! 4. No thread of the engine, and no caller in the middle of a change, ends by a panic without
//!    setting it ([`Fuse`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use uarr_uring::Storage;

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::group::GroupFacts;
use crate::staging::Staging;
use crate::sync::lock;
use crate::wakes::Wakes;

/// No new writes; the threads of the database end.
const CLOSING: u8 = 1;
/// The last checkpoint is taken: nothing is written any more.
const CLOSED: u8 = 2;
/// What an earlier write or flush left behind is unknown.
const POISONED: u8 = 4;

/// Open, closing, closed or poisoned.
#[derive(Default)]
pub(crate) struct Health {
    bits: AtomicU8,
    /// Set before the bit.
    poison: OnceLock<Error>,
}

impl Health {
    /// An error if the database takes no writes. One load where it does.
    #[inline]
    pub fn check(&self) -> Result<()> {
        match self.bits.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    #[cold]
    fn refusal(&self) -> Error {
        self.poison().unwrap_or_else(|| {
            Error::new(ErrorKind::Closed, "the database was closed; open it again")
        })
    }

    /// Why nothing more can be promised, if a failure is the reason.
    pub fn poison(&self) -> Option<Error> {
        match self.bits.load(Ordering::Acquire) & POISONED {
            0 => None,
            _ => self.poison.get().cloned(),
        }
    }

    /// An error if a checkpoint, or another change of the superblock, makes no sense any more.
    pub fn check_root(&self) -> Result<()> {
        match self.bits.load(Ordering::Acquire) & (POISONED | CLOSED) {
            0 => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    /// Whether the threads of the database are to end.
    pub fn is_closing(&self) -> bool {
        self.bits.load(Ordering::Acquire) & CLOSING != 0
    }

    /// Notes that the last checkpoint is taken.
    pub fn note_closed(&self) {
        assert!(self.is_closing(), "a database is closed only after writers were refused");
        self.bits.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Sets the state alone; the first cause stays. The caller sees to it that sleepers hear of it.
    fn set_poison(&self, cause: &Error) -> Error {
        let error = self.poison.get_or_init(|| Error::poisoned_by(cause)).clone();
        self.bits.fetch_or(POISONED, Ordering::AcqRel);
        error
    }
}

impl<S: Storage> Core<S> {
    /// Poisons the database, wakes all that wait, and returns what all later writes get. The caller
    /// holds neither the staging lock nor one behind it.
    pub fn poison_by(&self, cause: &Error) -> Error {
        let error = self.health.set_poison(cause);
        self.stop_writers(&mut lock(&self.staging));
        error
    }

    /// Poisons the database if `error` is of an attempt that may have reached the device, and
    /// returns what the caller of the verb gets.
    pub fn judge(&self, error: Error) -> Error {
        if error.is_final() { self.poison_by(&error) } else { error }
    }

    /// Refuses new writes, and wakes all that wait for room or for their turn.
    pub fn begin_closing(&self) {
        let mut staging = lock(&self.staging);
        self.health.bits.fetch_or(CLOSING, Ordering::AcqRel);
        self.stop_writers(&mut staging);
    }

    /// Has every sleeper look at the state again.
    fn stop_writers(&self, staging: &mut Staging) {
        let mut wakes = Wakes::default();
        if !staging.leader && staging.in_flight_count == 0 {
            self.fail_staged(staging, &mut wakes);
        }
        wakes.take_all(&mut staging.room_wakers);
        self.wake_turns(staging, &mut wakes);
        wakes.hand_to(&mut staging.due_wakes);
        self.settled.notify_all();
        self.buffer_free.notify_all();
        self.log_work.notify_all();
    }

    /// Fails all groups that are not handed to the device yet, if the database is poisoned.
    pub fn fail_staged(&self, staging: &mut Staging, wakes: &mut Wakes) {
        let Some(error) = self.health.poison() else { return };
        while let Some(group) = staging.take_oldest() {
            staging.note_settled(group.builder.last_lsn());
            group.cell.finish(&Err(error.clone()), GroupFacts::default(), wakes);
        }
    }

    /// Runs the wakers that were due while their finder held something. The caller holds nothing.
    pub fn run_due_wakes(&self) {
        let mut wakes = Wakes::default();
        wakes.take_all(&mut lock(&self.staging).due_wakes);
        wakes.run();
    }

    /// Has the log thread run `wakes`.
    pub fn hand_on(&self, wakes: &mut Wakes) {
        if wakes.is_empty() {
            return;
        }
        let mut staging = lock(&self.staging);
        wakes.hand_to(&mut staging.due_wakes);
        self.wake_log_thread(&mut staging);
    }

    /// Runs `wakes`, or has them run, as their place asks. The caller does not lead.
    pub fn pass(&self, wakes: &mut Wakes) {
        match wakes.place() {
            crate::wakes::Place::Here => wakes.run(),
            crate::wakes::Place::LogThread => self.hand_on(wakes),
        }
    }
}

/// Poisons the database if it is dropped: a panic has left something half done.
pub(crate) struct Fuse<'a, S: Storage> {
    core: &'a Core<S>,
    what: &'static str,
}

impl<'a, S: Storage> Fuse<'a, S> {
    /// `what` was being done.
    pub fn new(core: &'a Core<S>, what: &'static str) -> Self {
        Self { core, what }
    }

    /// All is done.
    pub fn defuse(self) {
        // It owns nothing.
        std::mem::forget(self);
    }
}

impl<S: Storage> Drop for Fuse<'_, S> {
    fn drop(&mut self) {
        let cause = Error::new(ErrorKind::Io, format!("{} was abandoned by a panic", self.what));
        self.core.poison_by(&cause);
    }
}
