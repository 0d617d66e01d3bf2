//! Counters: integers that are changed by an amount.
//!
//! What a change makes of a counter is computed under the staging lock, from the value that was
//! staged last: no change waits for another one. The log gets a put of the result, so that replay
//! adds nothing up. Only where something else was staged for the key is it waited for in turn. A
//! group that is refused takes those with it that build upon it.

use std::cell::Cell;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::limits::EXPIRES_MS_MAX;
use uarr_layout::uarr::{Header, UArrRef};
use uarr_uring::{MapPin, Storage};
use zerocopy::IntoBytes;

use crate::commit::committer::Committer;
use crate::commit::counter_premise::{CounterPremise, CounterStep, FoundCounter};
use crate::commit::patience::{NotYet, Patience, Staged};
use crate::commit::premise::Premise;
use crate::commit::receipt::Commit;
use crate::commit::staged_counters::StagedCounter;
use crate::commit::staging::Staging;
use crate::commit::turns::{LinePlace, slot_of};
use crate::commit::wakes::{Place, Wakes};
use crate::error::{Error, ErrorKind, Result};
use crate::options::WriteOptions;

/// What became of a change of a counter.
pub(crate) struct Counted {
    pub value: i64,
    /// `None`: it would have left its bounds, and is as it was.
    pub commit: Option<Commit>,
}

/// The outcome of an attempt to stage one.
enum Counting {
    Staged(Staged, i64),
    NotYet(NotYet),
    /// As it was found it cannot be changed.
    Unfit(FoundCounter),
}

impl<S: Storage> Committer<S> {
    /// Changes the counter of `key` by `step`.
    pub fn count(&self, key: &[u8], step: CounterStep, options: WriteOptions) -> Result<Counted> {
        let begun_ns = self.commit_clock(options);
        let mut wakes = Wakes::new(Place::LogThread);
        let mut counting =
            self.stage_counter(key, step, options, Patience::Thread, None, &mut wakes)?;
        if let Counting::NotYet(_) = counting {
            wakes.run();
            let keys = || [key].into_iter();
            let attempt = |place: &LinePlace, wakes: &mut Wakes| {
                self.stage_counter(key, step, options, Patience::Thread, Some(place), wakes)
            };
            let is_staged = |counting: &Counting| matches!(counting, Counting::Staged(..));
            counting = self.in_turn(keys(), keys(), attempt, is_staged)?;
        }
        match counting {
            Counting::Staged(staged, value) => {
                let commit = Some(self.finish(begun_ns, staged, wakes)?);
                Ok(Counted { value, commit })
            }
            Counting::NotYet(_) => unreachable!("no writer comes before the owner of a turn"),
            Counting::Unfit(found) => {
                wakes.run();
                self.show(found.lsn, options)?;
                self.unfit(key, found)
            }
        }
    }

    /// As [`Committer::count`], without blocking; see [`Committer::write_async`].
    pub async fn count_async(
        &self,
        key: &[u8],
        step: CounterStep,
        options: WriteOptions,
    ) -> Result<Counted> {
        if !self.options.background {
            return self.count(key, step, options);
        }
        let mut value = 0;
        let committed = self.commit_as_task(options, |patience, wakes| {
            match self.stage_counter(key, step, options, patience, None, wakes)? {
                Counting::Staged(staged, result) => {
                    value = result;
                    Ok(Ok(staged))
                }
                Counting::NotYet(not_yet) => Ok(Err(not_yet)),
                Counting::Unfit(found) => match self.is_shown(found.lsn, options, patience)? {
                    true => Err(NotCounted::Unfit(found)),
                    false => Ok(Err(NotYet::OutOfTurn)),
                },
            }
        });
        match committed.await {
            Ok(commit) => Ok(Counted { value, commit: Some(commit) }),
            Err(NotCounted::Unfit(found)) => self.unfit(key, found),
            Err(NotCounted::Error(error)) => Err(error),
        }
    }

    /// Stages a put of what `step` makes of the newest value, staged ones included.
    fn stage_counter(
        &self,
        key: &[u8],
        step: CounterStep,
        options: WriteOptions,
        patience: Patience<'_>,
        place: Option<&LinePlace>,
        wakes: &mut Wakes,
    ) -> Result<Counting> {
        let counter = CounterPremise { key, step, found: Cell::new(None) };
        let premise = Premise { place, counter: Some(&counter), ..Premise::default() };
        // Every integer takes as much room, and an expiry is all that may be added.
        let any = Header::of_int(0);
        let any = Frame::new(FrameKind::Put, 0, key, any.as_bytes()).expiring(EXPIRES_MS_MAX);
        let staging = match self.staging_with_room(&[any], patience, premise, wakes)? {
            Ok(staging) => staging,
            Err(not_yet) => {
                let found = counter.found.get();
                let unfit = found.filter(|found| found.result.is_none());
                return Ok(unfit.map_or(Counting::NotYet(not_yet), Counting::Unfit));
            }
        };
        let (result, expires_ms) = counter.result();
        let record = Header::of_int(result);
        let frame = Frame::new(FrameKind::Put, 0, key, record.as_bytes());
        let mut frames = [frame.expiring(expires_ms)];
        let staged = self.stage_here(staging, &mut frames, options, patience, premise, wakes);
        Ok(Counting::Staged(staged, result))
    }

    /// Whether the change of `counter` can be staged now, as which notes what it leads to.
    /// `false`: something else was staged for its key, or its value does not allow it.
    pub fn may_count(
        &self,
        staging: &mut Staging,
        counter: &CounterPremise<'_>,
        patience: Patience<'_>,
    ) -> Result<bool> {
        self.begin_notes(staging);
        let slot = slot_of(counter.key);
        let found = match self.is_pending(staging, slot) {
            true => {
                let lsn = staging.turns.last_staged(slot);
                let last = staging.turns.counters.last_staged(counter.key, lsn);
                let found = last.map(|last| self.staged_counter(counter, last));
                // What is only staged may be lost, so it refuses nothing.
                found.filter(|found| found.result.is_some())
            }
            false => Some(self.counter_in_place(counter)?),
        };
        counter.found.set(found);
        if found.is_none() {
            self.wake_later(staging, patience);
            self.hurry(staging, patience);
        }
        Ok(found.is_some_and(|found| found.result.is_some()))
    }

    /// The counter as it was staged last.
    fn staged_counter(&self, counter: &CounterPremise<'_>, last: StagedCounter) -> FoundCounter {
        let StagedCounter { lsn, value, expires_ms } = last;
        let (value, expires_ms) = match self.records.clock.has_passed(expires_ms) {
            true => (counter.step.initial, counter.step.initial_expires_ms),
            false => (value, expires_ms),
        };
        let result = counter.step.from(value);
        FoundCounter { lsn, is_staged: true, value: Some(value), result, expires_ms }
    }

    /// The counter as the newest record says that is applied, or its absence.
    fn counter_in_place(&self, counter: &CounterPremise<'_>) -> Result<FoundCounter> {
        let pin = MapPin::enter();
        let newest = self.records.newest_version(counter.key, self.records.reader(&pin))?;
        let live = newest.filter(|view| self.records.is_live(*view));
        let value = match live {
            Some(view) => UArrRef::open(view.value()).ok().and_then(|value| value.as_i64()),
            None => Some(counter.step.initial),
        };
        let expires_ms = live.map_or(counter.step.initial_expires_ms, |view| view.expires_ms());
        let lsn = self.lsn_of(newest);
        let result = value.and_then(|value| counter.step.from(value));
        Ok(FoundCounter { lsn, is_staged: false, value, result, expires_ms })
    }

    /// Notes that what `counter` becomes was staged with `lsn`.
    pub fn note_counted(&self, staging: &mut Staging, counter: &CounterPremise<'_>, lsn: u64) {
        if self.options.durability.memory_first() {
            // It is applied before another one is asked for.
            return;
        }
        if let Some(base) = counter.found.get().filter(|found| found.is_staged) {
            staging.build_upon(base.lsn);
        }
        let applied_lsn = self.applied_lsn(staging);
        let (value, expires_ms) = counter.result();
        let staged = StagedCounter { lsn, value, expires_ms };
        staging.turns.counters.note(counter.key, staged, applied_lsn);
    }

    /// The answer for a counter that cannot be changed as it was found.
    fn unfit(&self, key: &[u8], found: FoundCounter) -> Result<Counted> {
        let Some(value) = found.value else {
            let key = self.shown_key(key);
            let message = format!(
                "the value of {key} is no integer of 64 bits that a counter could be; put one first"
            );
            return Err(Error::new(ErrorKind::WrongValue, message));
        };
        Ok(Counted { value, commit: None })
    }
}

/// Why a task has not changed a counter.
enum NotCounted {
    Unfit(FoundCounter),
    Error(Error),
}

impl From<Error> for NotCounted {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
