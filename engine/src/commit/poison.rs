//! How a refusal of writes reaches all that wait, and who runs wakers that are due.

use std::sync::atomic::Ordering;

use uarr_uring::Storage;

use crate::commit::cell::GroupFacts;
use crate::commit::committer::Committer;
use crate::commit::staging::Staging;
use crate::commit::wakes::Wakes;
use crate::error::{Error, ErrorKind};
use crate::health::CLOSING;
use crate::sync::lock;

impl<S: Storage> Committer<S> {
    /// Poisons the database, wakes all that wait, and returns what all later writes get. The caller
    /// holds neither the staging lock nor one behind it.
    pub fn poison_by(&self, cause: &Error) -> Error {
        let error = self.health.set_poison(cause);
        assert!(self.health.poison().is_some(), "from now on no group succeeds");
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
        assert!(self.health.check().is_err(), "a sleeper that looks finds writes refused");
        let mut wakes = Wakes::default();
        if !staging.is_led() && staging.in_flight_count == 0 {
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
        for group in staging.take_all() {
            staging.note_settled(group.builder.last_lsn());
            group.cell.finish(&Err(error.clone()), GroupFacts::default(), wakes);
        }
        assert!(!staging.has_work(), "no group is left behind");
    }

    /// Runs the wakers that were due while their finder held something. The caller holds nothing.
    pub fn run_due_wakes(&self) {
        let mut wakes = Wakes::default();
        wakes.take_all(&mut lock(&self.staging).due_wakes);
        wakes.run();
    }

    /// Has the log thread run `wakes`; when the database is closed, and it has ended, a thread of
    /// their own.
    pub fn hand_on(&self, wakes: &mut Wakes) {
        if wakes.is_empty() {
            return;
        }
        assert!(self.options.background, "there are tasks only where there is a log thread");
        let mut staging = lock(&self.staging);
        if staging.log_thread_has_ended {
            drop(staging);
            wakes.run_elsewhere();
            staging = lock(&self.staging);
        }
        // Those for which there was no thread `close` runs at its end.
        wakes.hand_to(&mut staging.due_wakes);
        self.wake_log_thread(&mut staging);
    }

    /// The log thread ends, and runs what is due.
    pub fn end_log_thread(&self) {
        lock(&self.staging).log_thread_has_ended = true;
        self.run_due_wakes();
    }

    /// Runs `wakes`, or has them run, as their place asks. The caller does not lead.
    pub fn pass(&self, wakes: &mut Wakes) {
        match wakes.place() {
            crate::commit::wakes::Place::Here => wakes.run(),
            crate::commit::wakes::Place::LogThread => self.hand_on(wakes),
        }
    }
}

/// Poisons the database if it is dropped: a panic has left something half done.
pub(crate) struct Fuse<'a, S: Storage> {
    committer: &'a Committer<S>,
    what: &'static str,
}

impl<'a, S: Storage> Fuse<'a, S> {
    /// `what` was being done.
    pub fn new(committer: &'a Committer<S>, what: &'static str) -> Self {
        Self { committer, what }
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
        self.committer.poison_by(&cause);
        assert!(std::thread::panicking(), "{} ended without saying how", self.what);
    }
}
