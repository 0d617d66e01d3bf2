//! The leader: brings groups to the device, applies them while it works, settles them in LSN order.
//!
//! One group is in flight at a time, unless full ones are waiting: then up to
//! [`GROUPS_IN_FLIGHT_MAX`] are, because a large write keeps the device busy for so long that the
//! next should be there when it ends. Many small groups never are: one larger group costs less than
//! several in flight.
//!
//! Invariants:
//! - the leader submits, applies and settles groups in the order of their LSNs, even if the device
//!   answers in another;
//! - the first failure poisons the database and fails every group behind it, even those the device
//!   has written: no reader may see a record whose predecessors may be lost;
//! - the leader settles every group that it takes from the staging area, and its members get the
//!   outcome, even if the leader panics;
//! - wakers run when the leader holds no lock and another thread can lead: a waker that writes, or
//!   polls its task at once, becomes leader itself if need be. The groups in flight belong to the
//!   log, not to a thread.

use std::sync::Arc;

use uarr_uring::{AlignedBuffer, GroupDone, Storage};

use crate::commit::cell::GroupFacts;
use crate::commit::committer::Committer;
use crate::commit::flight::{InFlight, Leading, State};
use crate::commit::leadership::Lead;
use crate::commit::staging::{Awaited, Staging};
use crate::commit::wakes::{Place, Wakes};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::GROUPS_IN_FLIGHT_MAX;
use crate::log::builder::{GroupBuilder, Submitted};
use crate::log::writer::SubmitContext;
use crate::sync::{RankedGuard, lock};

/// How long a leader leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stint {
    /// Until what was waiting when it began is settled: a caller, who wants to go on.
    Turn,
    /// As long as full groups are waiting: the log thread.
    Backlog,
}

/// The first group that a leader takes; those behind it are sealed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// The oldest that waits, sealed or not.
    Oldest,
    /// The oldest sealed one.
    Sealed,
}

/// Dropped by a panic of the leader, it fails what is in flight: the members must not wait
/// without end.
struct Abandoned<'a, S: Storage>(&'a Committer<S>);

impl<S: Storage> Drop for Abandoned<'_, S> {
    fn drop(&mut self) {
        let committer = self.0;
        let cause = Error::new(ErrorKind::Io, "a group commit was abandoned by a panic");
        let poison = committer.poison_by(&cause);
        let mut wakes = Wakes::new(Place::LogThread);
        let mut leading = lock(&committer.leading);
        {
            let mut staging = lock(&committer.staging);
            // The panic may have come between a group and its settlement.
            staging.in_flight_count = leading.flight.len();
            if leading.flight.is_empty() {
                committer.hand_over(&mut staging, &mut wakes);
            }
        }
        while !leading.flight.is_empty() {
            committer.settle_oldest(&mut leading, Err(poison.clone()), 0, &mut wakes);
        }
        drop(leading);
        committer.hand_on(&mut wakes);
        assert!(std::thread::panicking(), "a leader that ends as it should says so");
    }
}

const BASE_REFUSED: &str = "a group could not be written: there was no room for one before it, \
                            which this one goes on from; make room and write again";

impl<S: Storage> Committer<S> {
    /// Writes what is in flight, the oldest staged group, and full ones behind it; then hands over.
    /// The caller passes on `wakes` afterwards.
    pub fn lead(&self, lead: Lead, stint: Stint, wakes: &mut Wakes) {
        let abandoned = Abandoned(self);
        lead.end();
        let mut first = Some(First::Oldest);
        loop {
            let mut leading = lock(&self.leading);
            if let Some(group) = first
                && leading.flight.len() < GROUPS_IN_FLIGHT_MAX
            {
                self.take_groups(&mut leading, group);
                first = (stint == Stint::Backlog).then_some(First::Sealed);
            }
            self.launch_taken(&mut leading);
            self.apply_launched(&mut leading, wakes);
            if !wakes.is_empty() {
                if !self.pause(leading, stint, wakes) {
                    break;
                }
                leading = lock(&self.leading);
            }
            if !leading.flight.is_empty() {
                self.land(&mut leading, wakes);
                if leading.flight.is_empty() {
                    break;
                }
            } else if first != Some(First::Oldest) {
                // During a pause another leader has settled all.
                self.hand_over(&mut lock(&self.staging), wakes);
                break;
            }
            if !wakes.is_empty() && !self.pause(leading, stint, wakes) {
                break;
            }
        }
        std::mem::forget(abandoned);
        self.wake_background();
    }

    /// Has `wakes` run. The lead is given back meanwhile, and waiting threads may take it: a waker
    /// may call any verb, and wait for a thread that waits for a group in flight, which is asked to
    /// lead. Returns whether this thread leads again.
    fn pause(&self, leading: RankedGuard<'_, Leading<S>>, stint: Stint, wakes: &mut Wakes) -> bool {
        let awaited = leading.awaited().cloned();
        drop(leading);
        if wakes.place() == Place::LogThread {
            self.hand_on(wakes);
            return true;
        }
        let is_log_thread = stint == Stint::Backlog;
        {
            let mut staging = lock(&self.staging);
            staging.return_lead();
            if let Some(cell) = awaited {
                staging.offer_lead_in_flight(&cell);
            }
            if is_log_thread {
                self.leave_log(&mut staging);
            }
            self.wake_waiters(&staging);
        }
        wakes.run();
        let mut staging = lock(&self.staging);
        assert!(staging.log_thread_is_out || !is_log_thread, "no other thread calls it back");
        staging.log_thread_is_out &= !is_log_thread;
        staging.take_lead().map(Lead::end).is_some()
    }

    /// The log thread is about to run wakers, which may wait for a thread that waits for its group:
    /// that one leads.
    pub fn leave_log(&self, staging: &mut Staging) {
        staging.log_thread_is_out = true;
        if !staging.is_led() {
            staging.offer_lead(Awaited::Any);
        }
    }

    /// Takes `first`, and full groups behind it while there is room in flight.
    fn take_groups(&self, leading: &mut Leading<S>, first: First) {
        let mut staging = lock(&self.staging);
        assert_eq!(staging.in_flight_count, leading.flight.len());
        let mut next = match first {
            First::Oldest => staging.take_oldest(),
            First::Sealed => staging.take_sealed(),
        };
        while let Some(group) = next {
            if let Some(before) = leading.flight.back() {
                assert_eq!(before.last_lsn + 1, group.builder.first_lsn, "in order, without a gap");
            }
            staging.in_flight_count += 1;
            leading.flight.push_back(InFlight::new(group));
            let has_room = leading.flight.len() < GROUPS_IN_FLIGHT_MAX;
            next = if has_room { staging.take_sealed() } else { None };
        }
        assert!(leading.flight.len() <= GROUPS_IN_FLIGHT_MAX);
    }

    /// Notes that the oldest group in flight is settled, hands over if it was the last one, and
    /// gives its members the outcome.
    fn settle_oldest(
        &self,
        leading: &mut Leading<S>,
        result: Result<()>,
        settled_ns: u64,
        wakes: &mut Wakes,
    ) {
        let Some(group) = leading.flight.pop_front() else { return };
        let InFlight { cell, last_lsn, commit_count, submitted_ns, state, named_chunks, .. } =
            group;
        let is_written = matches!(state, State::Written(_));
        assert!(is_written || result.is_err(), "what succeeds was written");
        let buffer = match state {
            State::Written(submitted) if result.is_ok() => Some(submitted.buffer),
            State::Refused(buffer) => Some(buffer),
            // No more groups are built; the device may hold on to the buffer.
            _ => None,
        };
        {
            let mut staging = lock(&self.staging);
            staging.keep_cell(&cell);
            let is_next = staging.settled_lsn < last_lsn;
            assert!(is_next || result.is_err(), "groups are settled in the order of their LSNs");
            staging.note_settled(last_lsn);
            // Behind a failure chunks stay as they are: readers may see what was applied there.
            if result.is_ok() || self.health.poison().is_none() {
                staging.places.note_outcome(&named_chunks, result.is_ok());
            }
            if result.is_err() {
                staging.note_failed(last_lsn);
            }
            staging.in_flight_count -= 1;
            assert_eq!(staging.in_flight_count, leading.flight.len());
            match buffer {
                Some(buffer) if buffer.len() == self.buffer_bytes => staging.keep_buffer(buffer),
                Some(buffer) => self.segments.room.note_large_settled(buffer.len() as u64),
                None => {}
            }
            wakes.take_all(&mut staging.room_wakers);
            self.wake_turns(&mut staging, wakes);
            match leading.flight.is_empty() {
                true => self.hand_over(&mut staging, wakes),
                false => self.wake_waiters(&staging),
            }
        }
        cell.finish(&result, GroupFacts { submitted_ns, settled_ns, commit_count }, wakes);
    }

    /// Wakes threads that wait for a group to be settled or for a buffer: they may lead, too.
    fn wake_waiters(&self, staging: &Staging) {
        if staging.settled_waiters > 0 {
            self.settled.notify_all();
        }
        if staging.buffer_waiters > 0 {
            self.buffer_free.notify_all();
        }
        self.waiting.wake_threads();
    }

    /// Finds the next leader: nothing is in flight.
    fn hand_over(&self, staging: &mut Staging, wakes: &mut Wakes) {
        assert_eq!(staging.in_flight_count, 0, "a leader settles what is in flight");
        self.fail_staged(staging, wakes);
        // The first of its threads goes on; tasks and memory-first writes are the log thread's.
        // Where there is none, or it runs a waker, which may wait for a group behind them, the
        // first thread that waits writes what is before it.
        let has_log_thread = self.options.background && !staging.log_thread_is_out;
        let which = if has_log_thread { Awaited::Oldest } else { Awaited::Any };
        if !staging.offer_lead(which) {
            staging.return_lead();
            if staging.has_work() {
                self.wake_log_thread(staging);
            }
        }
        self.wake_waiters(staging);
    }

    /// Hands the groups that were taken to the device.
    fn launch_taken(&self, leading: &mut Leading<S>) {
        for index in 0..leading.flight.len() {
            if matches!(leading.flight[index].state, State::Taken(_))
                && let State::Taken(builder) =
                    std::mem::replace(&mut leading.flight[index].state, State::Moving)
            {
                self.launch(leading, index, builder);
            }
        }
        let is_launched =
            |group: &InFlight| !matches!(group.state, State::Taken(_) | State::Moving);
        assert!(leading.flight.iter().all(is_launched), "each is at the device or refused");
    }

    fn launch(&self, leading: &mut Leading<S>, index: usize, builder: GroupBuilder) {
        if let Some(poison) = self.health.poison() {
            leading.flight[index].state = State::Refused(builder.into_buffer());
            leading.flight[index].failure = Some(poison);
            return;
        }
        if leading.flight[index].base_lsn.is_some_and(|base| base <= leading.refused_lsn) {
            let error = Error::new(ErrorKind::NoSpace, BASE_REFUSED);
            self.refuse(leading, index, builder.into_buffer(), error);
            return;
        }
        assert_eq!(leading.flight[index].submitted_ns, 0, "a group goes to the device once");
        leading.flight[index].submitted_ns = self.now_ns();
        let context = SubmitContext {
            storage: &*self.storage,
            segments: &self.segments,
            space: &self.space,
            durable_lsn: self.records.visible.durable_lsn(),
            wall_ns: self.records.clock.group_ns(),
            segment_age: self.options.segment_age,
        };
        match leading.log.submit(builder, context) {
            Ok(submitted) => {
                assert_eq!(submitted.position.lsn, leading.flight[index].last_lsn);
                assert!(leading.waits_for(submitted.ticket).is_none(), "a ticket names one group");
                let bytes = submitted.end - self.identity.block_bytes;
                self.phases.group_bytes.record(bytes as u64);
                leading.flight[index].state = State::Submitted(submitted);
            }
            Err((error, buffer)) => {
                let error = Error::io("a group could not be written", error);
                self.refuse(leading, index, buffer, error);
            }
        }
    }

    /// Nothing of the group was written. If that is only for lack of room, and no reader has seen
    /// its records, the log goes on without it, and without those that build upon it.
    fn refuse(
        &self,
        leading: &mut Leading<S>,
        index: usize,
        buffer: Arc<AlignedBuffer>,
        error: Error,
    ) {
        let is_harmless =
            error.kind() == ErrorKind::NoSpace && !self.options.durability.memory_first();
        if !is_harmless {
            self.poison_by(&error);
        }
        let group = &mut leading.flight[index];
        group.state = State::Refused(buffer);
        group.failure = Some(error);
        assert!(leading.refused_lsn < group.last_lsn, "groups go to the device in their order");
        leading.refused_lsn = group.last_lsn;
    }

    /// Applies what the device is writing. In memory-first databases that was done when it was
    /// staged.
    fn apply_launched(&self, leading: &mut Leading<S>, wakes: &mut Wakes) {
        if self.options.durability.memory_first() {
            return;
        }
        for group in leading.flight.iter_mut().filter(|group| !group.is_applied) {
            if let State::Submitted(submitted) = &group.state {
                group.is_applied = true;
                self.apply_group(submitted, wakes);
            }
        }
    }

    fn apply_group(&self, submitted: &Submitted, wakes: &mut Wakes) {
        let block_bytes = self.identity.block_bytes;
        let begun_ns = self.now_ns();
        let visible_lsn = self.records.visible.lsn();
        assert!(visible_lsn < submitted.first_lsn, "no reader waits for what is not applied");
        self.records.apply(submitted.frames(block_bytes));
        self.note_applied(submitted.position.lsn, wakes);
        self.phases.apply.record(self.now_ns().saturating_sub(begun_ns));
    }

    /// Waits for the oldest group and settles it.
    fn land(&self, leading: &mut Leading<S>, wakes: &mut Wakes) {
        while let Some(State::Submitted(_)) = leading.flight.front().map(|group| &group.state) {
            let done = leading.log.complete();
            self.note_answer(leading, done);
        }
        self.counters.note_log(leading.log.counters(), leading.log.strategy());
        let settled_ns = self.now_ns();
        let Some(group) = leading.flight.front() else { return };
        // Behind a failure every group fails, even if the device has written it: its predecessors
        // may be lost.
        let result = match group.failure.clone().or_else(|| self.health.poison()) {
            Some(error) => Err(error),
            None => Ok(()),
        };
        if let (Ok(()), State::Written(submitted)) = (&result, &group.state) {
            let is_applied = group.is_applied || self.options.durability.memory_first();
            assert!(is_applied, "records are in the data file before they are shown");
            let end = &mut *lock(&self.log_end);
            let position = submitted.position;
            assert!(end.lsn < position.lsn, "the log only grows");
            let is_behind = (end.segment, end.offset) < (position.segment, position.offset);
            assert!(is_behind, "no place of the log is written twice");
            *end = submitted.position;
            self.records.visible.note_durable(group.last_lsn);
            if !self.options.durability.memory_first() {
                self.records.visible.show_durable(group.last_lsn);
            }
            let (commits, records) = (group.commit_count, group.record_count);
            self.counters.note_group(u64::from(commits), u64::from(records));
            let io_ns = settled_ns.saturating_sub(group.submitted_ns);
            self.phases.io.record(io_ns);
            #[cfg(feature = "tracing")]
            self.counters.note_io(io_ns);
            self.phases.group_commits.record(commits.into());
        }
        self.settle_oldest(leading, result, settled_ns, wakes);
    }

    /// Notes what the device said of one of the groups.
    fn note_answer(&self, leading: &mut Leading<S>, done: GroupDone) {
        let GroupDone { ticket, buffer, result } = done;
        let group = leading.waits_for(ticket).expect("the answer is to a group in flight");
        if let State::Submitted(submitted) = std::mem::replace(&mut group.state, State::Moving) {
            let is_own = Arc::ptr_eq(&buffer, &submitted.buffer);
            assert!(is_own || result.is_err(), "the kernel keeps only what has failed");
            group.state = State::Written(submitted);
        }
        drop(buffer);
        if let Err(error) = result {
            let error = Error::device("a group commit failed", error);
            self.poison_by(&error);
            group.failure.get_or_insert(error);
        }
    }
}
