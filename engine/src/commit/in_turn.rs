//! Waiting for a turn, and staging in it.

use std::sync::atomic::Ordering;

use uarr_layout::frame::Frame;
use uarr_uring::{MapPin, Storage};

use crate::commit::committer::Committer;
use crate::commit::lead::Stint;
use crate::commit::patience::{Attempt, Patience, Staged};
use crate::commit::premise::{Base, NewestVersion, Premise};
use crate::commit::recent::ReadSet;
use crate::commit::staging::Staging;
use crate::commit::turns::{LinePlace, Slot, slot_of};
use crate::commit::wakes::{Place, Wakes};
use crate::error::{Error, Result};
use crate::options::WriteOptions;
use crate::sync::{Rank, RankedGuard, holds_only, lock};

/// The right to be next. Ends when it is dropped, or when its owner has staged something. The
/// owner runs no waker: one that writes to the same key would wait for it.
struct Turn<'a, S: Storage> {
    committer: &'a Committer<S>,
    place: LinePlace,
    is_over: bool,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// Staged records are to be applied.
    Applied,
    /// Another writer's turn is to end.
    Turn,
}

impl<S: Storage> Turn<'_, S> {
    fn place(&self) -> &LinePlace {
        &self.place
    }

    /// Its owner has staged something, which ended it, and may have to lead: no waker may run here.
    fn end(mut self) {
        let holds = lock(&self.committer.staging).turns.holds(&self.place);
        assert!(!holds, "who has staged something gives up its place");
        self.is_over = true;
    }
}

impl<S: Storage> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut wakes = Wakes::default();
        let mut staging = lock(&self.committer.staging);
        staging.turns.leave(&self.place);
        self.committer.wake_turns(&mut staging, &mut wakes);
    }
}

impl<S: Storage> Committer<S> {
    /// Whether `frames` may be staged now. `false`: take a turn first, and build anew upon the
    /// newest versions. A task is woken when that may help.
    pub fn may_stage(
        &self,
        staging: &mut Staging,
        frames: &[Frame<'_>],
        premise: Premise<'_>,
        patience: Patience<'_>,
        wakes: &mut Wakes,
    ) -> Result<bool> {
        staging.refused.check(frames)?;
        if let Some(reads) = premise.reads {
            staging.check_staged(reads.staged().map(|staged| *staged.start()))?;
            staging.recent.check(reads)?;
            // Under the lock: who sees it expired before begins before this is staged, or behind.
            reads.check_expiry(|expires_ms| self.records.clock.has_passed(expires_ms))?;
        }
        let turns = &staging.turns;
        if !turns.queues.is_empty()
            && frames.iter().any(|frame| turns.is_taken(slot_of(frame.key), premise.place))
        {
            self.wake_later(staging, patience);
            return Ok(false);
        }
        if let Some(counter) = premise.counter {
            return self.may_count(staging, counter, patience);
        }
        Ok(premise.bases.is_empty() || self.are_newest(staging, premise.bases, patience, wakes)?)
    }

    /// Whether the newest versions of the keys are those that `bases` say, staged ones included. If
    /// not, a task is woken when these are in the data file, and visible.
    pub fn are_newest(
        &self,
        staging: &mut Staging,
        bases: &[Base<'_>],
        patience: Patience<'_>,
        wakes: &mut Wakes,
    ) -> Result<bool> {
        self.begin_notes(staging);
        let is_pending = |base: &Base<'_>| self.is_pending(staging, slot_of(base.key));
        // Without this comparison each insert into memory would compute slots for nothing.
        if !self.options.durability.memory_first() && bases.iter().any(is_pending) {
            self.wake_later(staging, patience);
            self.hurry(staging, patience);
            return Ok(false);
        }
        for base in bases {
            let pin = MapPin::enter();
            // Its place is no sign: the record may have been moved.
            let newest = self.records.newest_version(base.key, self.records.reader(&pin))?;
            let lsn = newest.map_or(0, |newest| newest.header.lsn.get());
            let newest = newest.map_or_else(NewestVersion::default, |newest| match () {
                () if self.records.is_live(newest) => {
                    NewestVersion { version: Some(lsn), expired: None }
                }
                () if newest.header.is_tombstone() => NewestVersion::default(),
                () => NewestVersion { version: None, expired: Some(lsn) },
            });
            if base.expected.is_met_by(newest) {
                continue;
            }
            if lsn > self.records.visible.lsn() {
                self.wake_later(staging, patience);
                self.hurry(staging, patience);
            } else if let Patience::Task(waker) = patience {
                wakes.push(waker.take());
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// From now on it is noted what was staged, for [`Committer::is_pending`], if that asks.
    pub fn begin_notes(&self, staging: &mut Staging) {
        if !self.options.durability.memory_first() {
            staging.turns.begin_notes(staging.next_lsn - 1);
        }
    }

    /// Whether a record of a key of `slot` may be staged and not applied. Memory-first databases
    /// apply what they stage before they release the lock.
    pub fn is_pending(&self, staging: &Staging, slot: Slot) -> bool {
        if self.options.durability.memory_first() {
            return false;
        }
        let staged_lsn = staging.turns.last_staged(slot);
        assert!(staged_lsn < staging.next_lsn, "it is known what was staged");
        staged_lsn > self.applied_lsn(staging)
    }

    /// Records up to here are in the data file, if they are not put there when they are staged.
    pub fn applied_lsn(&self, staging: &Staging) -> u64 {
        self.waiting.applied_lsn.load(Ordering::SeqCst).max(staging.settled_lsn)
    }

    /// Whether a caller who asked for `options` is told less than that by what is visible: in
    /// memory-first databases that may not be durable.
    pub fn is_more_than_visible(&self, options: WriteOptions) -> bool {
        options.durable && self.options.durability.memory_first()
    }

    /// Up to here records are what a caller may be told who asked for `options`.
    fn told_lsn(&self, options: WriteOptions) -> u64 {
        match self.is_more_than_visible(options) {
            true => self.records.visible.durable_lsn(),
            false => self.records.visible.lsn(),
        }
    }

    /// Whether a caller who asked for `options` may be told of the record with `lsn`, which is
    /// applied. If not, a task is woken when it may be.
    pub fn is_shown(
        &self,
        lsn: u64,
        options: WriteOptions,
        patience: Patience<'_>,
    ) -> Result<bool> {
        if lsn <= self.told_lsn(options) {
            return Ok(true);
        }
        let mut staging = lock(&self.staging);
        // Under the lock: who settles the group wakes under it, when it is visible and durable.
        let is_shown = lsn <= self.told_lsn(options);
        if !is_shown {
            // After a failure it never is, and no thread will wake the task.
            self.health.poison().map_or(Ok(()), Err)?;
            self.wake_later(&mut staging, patience);
            self.hurry(&mut staging, patience);
        }
        Ok(is_shown)
    }

    /// Returns when a caller who asked for `options` may be told of the record with `lsn`, which
    /// was staged.
    pub fn show(&self, lsn: u64, options: WriteOptions) -> Result<()> {
        if lsn <= self.told_lsn(options) {
            return Ok(());
        }
        let mut wakes = Wakes::default();
        self.settle(lsn, &mut wakes)?;
        assert!(lsn <= self.told_lsn(options), "what is settled and not lost is visible, durable");
        Ok(())
    }

    /// Stages frames that found a patch of one of their keys waiting, behind it.
    pub fn stage_in_turn(
        &self,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        patience: Patience<'_>,
        premise: Premise<'_>,
    ) -> Result<Staged> {
        let keys = frames.iter().map(|frame| frame.key).collect::<Vec<_>>();
        let attempt = |place: &LinePlace, wakes: &mut Wakes| {
            let premise = Premise { place: Some(place), ..premise };
            self.stage(frames, options, patience, premise, wakes)
        };
        let staged = self.in_turn(keys.into_iter(), std::iter::empty(), attempt, Attempt::is_ok)?;
        Ok(staged.expect("no writer comes before the owner of a turn"))
    }

    /// Makes `attempt` when the turn has come that [`Committer::take_turn`] waits for. The turn is
    /// over when that has staged something, as `is_staged` says, or when this returns.
    pub fn in_turn<'k, T, E: From<Error>>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        bases: impl Iterator<Item = &'k [u8]>,
        attempt: impl FnOnce(&LinePlace, &mut Wakes) -> Result<T, E>,
        is_staged: impl FnOnce(&T) -> bool,
    ) -> Result<T, E> {
        let turn = self.take_turn(keys, bases)?;
        let mut wakes = Wakes::new(Place::LogThread);
        let outcome = attempt(turn.place(), &mut wakes);
        self.hand_on(&mut wakes);
        let outcome = outcome?;
        if is_staged(&outcome) {
            turn.end();
        }
        Ok(outcome)
    }

    /// Waits until all writers that came before for one of `keys` are through, and the newest
    /// versions of those in `bases` are in the data file. Until the turn ends no other writer
    /// stages anything for them.
    fn take_turn<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        bases: impl Iterator<Item = &'k [u8]>,
    ) -> Result<Turn<'_, S>> {
        let (slots, bases) = (keys.map(slot_of).collect(), bases.map(slot_of).collect());
        let place = {
            let mut staging = lock(&self.staging);
            self.begin_notes(&mut staging);
            staging.turns.enter(slots, bases)
        };
        // Declared before the guard: each way out releases the lock before the turn ends.
        let turn = Turn { committer: self, place, is_over: false };
        let place = &turn.place;
        self.wait_while(|staging| {
            let is_pending = place.bases.iter().any(|slot| self.is_pending(staging, *slot));
            let is_turn = !is_pending && staging.turns.is_first(place);
            assert!(!is_turn || staging.turns.holds(place), "a turn is a place in line");
            match (is_turn, is_pending) {
                (true, _) => None,
                (false, true) => Some(Awaits::Applied),
                (false, false) => Some(Awaits::Turn),
            }
        })?;
        Ok(turn)
    }

    /// Waits as long as `awaits` names something.
    pub fn wait_while(&self, awaits: impl Fn(&Staging) -> Option<Awaits>) -> Result<()> {
        let mut staging = lock(&self.staging);
        // Counted before it is asked what is applied: a leader does it the other way round.
        self.waiting.count.fetch_add(1, Ordering::SeqCst);
        let outcome = loop {
            if let Err(error) = self.health.check() {
                break Err(error);
            }
            let Some(awaited) = awaits(&staging) else { break Ok(()) };
            staging = self.wait_turn(staging, awaited);
        };
        let count = self.waiting.count.fetch_sub(1, Ordering::SeqCst);
        assert!(count > 0, "who waits was counted");
        outcome
    }

    /// Waits until something was applied or settled, or a turn has ended. For what is to be
    /// applied, it writes a staged group that no thread writes instead.
    fn wait_turn<'a>(
        &'a self,
        mut staging: RankedGuard<'a, Staging>,
        awaited: Awaits,
    ) -> RankedGuard<'a, Staging> {
        if awaited == Awaits::Applied
            && let Some(lead) = staging.take_lead()
        {
            drop(staging);
            let mut wakes = Wakes::new(Place::LogThread);
            self.lead(lead, Stint::Turn, &mut wakes);
            self.hand_on(&mut wakes);
            return lock(&self.staging);
        }
        assert!(holds_only(&[Rank::Staging]), "the leader may want any other lock");
        assert!(self.waiting.count.load(Ordering::SeqCst) > 0, "who is not counted is not woken");
        crate::sync::wait(&self.waiting.ended, staging)
    }

    pub fn wake_later(&self, staging: &mut Staging, patience: Patience<'_>) {
        if let Patience::Task(waker) = patience {
            let is_new = waker.enter(&mut staging.turns.wakers);
            let count = self.waiting.count.fetch_add(u32::from(is_new), Ordering::SeqCst);
            let count = count as usize + usize::from(is_new);
            assert!(count >= staging.turns.wakers.len(), "each task that waits is counted");
        }
    }

    /// Has the newest staged group written soon, and so all of them, although no member may be in a
    /// hurry for it.
    pub fn hurry(&self, staging: &mut Staging, patience: Patience<'_>) {
        let newest = staging.open.as_mut().or(staging.sealed.back_mut());
        if let (Patience::Task(_), Some(group)) = (patience, newest) {
            group.is_awaited = true;
            if !staging.is_led() {
                self.wake_log_thread(staging);
            }
        }
    }

    /// Wakes the threads and tasks that wait for records to be applied or for a turn to end.
    pub fn wake_turns(&self, staging: &mut Staging, wakes: &mut Wakes) {
        if self.waiting.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let woken = staging.turns.wakers.len();
        wakes.take_all(&mut staging.turns.wakers);
        let woken = u32::try_from(woken).expect("each waker was counted");
        let count = self.waiting.count.fetch_sub(woken, Ordering::SeqCst);
        assert!(count >= woken, "who waits was counted");
        self.waiting.ended.notify_all();
    }

    /// Wakes those that wait for their turn: the records up to `lsn` are in data file and index. A
    /// task that just misses this is woken when the group is settled.
    pub fn note_applied(&self, lsn: u64, wakes: &mut Wakes) {
        let before = self.waiting.applied_lsn.swap(lsn, Ordering::SeqCst);
        assert!(before < lsn, "groups are applied in the order of their LSNs");
        if self.waiting.count.load(Ordering::SeqCst) > 0 {
            self.wake_turns(&mut lock(&self.staging), wakes);
        }
    }

    /// Notes what was just staged as `premise` says, and ends the turn of its writer.
    pub fn note_staged(
        &self,
        staging: &mut Staging,
        frames: &[Frame<'_>],
        premise: Premise<'_>,
        wakes: &mut Wakes,
    ) {
        let lsn = staging.next_lsn - 1;
        staging.turns.note(frames, lsn);
        // Time has taken away what a sweep deletes, and nobody has written it.
        if !premise.is_sweep() {
            staging.recent.note(frames);
        }
        if let Some(counter) = premise.counter {
            self.note_counted(staging, counter, lsn);
        }
        if let Some(staged) = premise.reads.and_then(ReadSet::staged) {
            assert!(*staged.end() < lsn, "what was read was staged before");
            if *staged.end() > staging.settled_lsn {
                staging.build_upon(*staged.start());
            }
        }
        if let Some(place) = premise.place {
            assert!(staging.turns.holds(place), "a place lasts until its owner stages");
            assert!(staging.turns.is_first(place), "who stages has the turn");
            staging.turns.leave(place);
            self.wake_turns(staging, wakes);
        }
    }
}
