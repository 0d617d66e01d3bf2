//! The leader: brings groups to the device, applies them while it works, settles them in LSN order.
//!
//! One group is in flight at a time, unless full ones are waiting: then up to [`GROUPS_IN_FLIGHT_MAX`] are, because
//! a large write keeps the device busy for so long that the next should be there when it ends. Many small groups
//! never are: one larger group costs less than several in flight.
//!
//! Invariants:
//! - groups are submitted, applied and settled in the order of their LSNs, whatever order the device chooses;
//! - the first failure poisons the database and fails every group behind it, also those the device has written:
//!   nobody may see a record whose predecessors may be lost;
//! - every group taken from the staging area is settled and its members are told, also if the leader panics.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use uarr_uring::{AlignedBuffer, GroupDone, Storage};

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{GroupCell, GroupFacts};
use crate::lock;
use crate::log::{Log, SubmitContext, Submitted};
use crate::staging::StagedGroup;

/// Groups handed to the device and not settled, at most.
const GROUPS_IN_FLIGHT_MAX: usize = 4;

/// How long a leader leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stint {
    /// Until what was waiting when it began is settled: a caller, who wants to go on.
    Turn,
    /// As long as full groups are waiting.
    Backlog,
}

/// A group that was taken from the staging area.
pub(crate) struct InFlight {
    cell: Arc<GroupCell>,
    last_lsn: u64,
    commit_count: u32,
    record_count: u32,
    submitted_ns: u64,
    state: State,
    /// Why it failed, if it did.
    failure: Option<Error>,
}

enum State {
    /// On its way to the device.
    Launching,
    /// The device has it.
    Submitted(Submitted),
    /// The device has answered.
    Written(Submitted),
    /// The device never had it.
    Refused(Arc<AlignedBuffer>),
}

/// The groups of a leader, oldest first.
struct Flight<'a, S: Storage> {
    core: &'a Core<S>,
    groups: VecDeque<InFlight>,
    /// That many of them are applied.
    applied_count: usize,
    /// Why nothing behind a failed group may succeed.
    poison: Option<Error>,
}

impl<S: Storage> Drop for Flight<'_, S> {
    /// There are groups left only if the leader panics: the others must not wait for ever.
    fn drop(&mut self) {
        while let Some(group) = self.groups.pop_front() {
            let cause = Error::new(ErrorKind::Io, "a group commit was abandoned by a panic");
            let result = Err(self.core.note_poison(&cause));
            let is_last = self.groups.is_empty();
            self.core.settle(group.last_lsn, None, &group.cell, &result, is_last);
            group.cell.finish(&result, GroupFacts::default());
        }
    }
}

impl<S: Storage> Core<S> {
    /// Writes `first`, the oldest group, and full ones behind it; then hands over. The caller is leader.
    pub fn lead(&self, first: StagedGroup, stint: Stint) {
        let mut log = lock(&self.log);
        // Kept between leaders, so that a commit allocates nothing.
        let groups = std::mem::take(&mut log.flight);
        let mut flight = Flight { core: self, groups, applied_count: 0, poison: None };
        flight.launch(&mut log, first);
        let mut takes_more = true;
        while !flight.groups.is_empty() {
            while takes_more && flight.has_room() {
                let Some(next) = lock(&self.staging).sealed.pop_front() else { break };
                flight.launch(&mut log, next);
            }
            takes_more = stint == Stint::Backlog;
            flight.apply();
            flight.land(&mut log);
        }
        log.flight = std::mem::take(&mut flight.groups);
        drop(log);
        self.wake_background();
    }

    /// Records the outcome of a group and, after the last one of a leader, finds the next leader.
    fn settle(
        &self,
        last_lsn: u64,
        buffer: Option<Arc<AlignedBuffer>>,
        cell: &Arc<GroupCell>,
        result: &Result<()>,
        is_last: bool,
    ) {
        let mut staging = lock(&self.staging);
        staging.keep_cell(cell);
        staging.settled_lsn = last_lsn;
        if let Some(buffer) = buffer.filter(|buffer| buffer.len() == self.buffer_bytes) {
            staging.spare.push(buffer);
        }
        if let (Err(_), Some(error)) = (result, self.poison()) {
            staging.stop = Some(error.clone());
            while is_last && let Some(group) = staging.take_oldest() {
                staging.settled_lsn = group.builder.last_lsn();
                group.cell.finish(&Err(error.clone()), GroupFacts::default());
            }
        }
        if is_last {
            // The first of its threads goes on; tasks and memory-first writes are the log thread's. Without one, the
            // first thread that waits writes what is before it.
            let backgrounds = self.options.background;
            match staging.awaited().filter(|(is_oldest, _)| *is_oldest || !backgrounds) {
                Some((_, group)) => group.cell.offer_lead(),
                None => {
                    staging.leader = false;
                    if staging.has_work() {
                        self.wake_log_thread(&mut staging);
                    }
                }
            }
        }
        staging.room_wakers.drain(..).for_each(Waker::wake);
        self.wake_turns(&mut staging);
        if staging.settled_waiters > 0 {
            self.settled.notify_all();
        }
        if staging.buffer_waiters > 0 {
            self.buffer_free.notify_all();
        }
    }

    fn apply_group(&self, submitted: &Submitted) -> Result<()> {
        let block_bytes = self.identity.block_bytes;
        let begun_ns = self.now_ns();
        let mut applier = lock(&self.applier);
        self.apply_all(&mut applier, submitted.frames(block_bytes))?;
        self.forget_deleted(&mut applier)?;
        drop(applier);
        self.note_applied(submitted.position.lsn);
        self.phases.apply.record(self.now_ns().saturating_sub(begun_ns));
        Ok(())
    }
}

impl<S: Storage> Flight<'_, S> {
    fn has_room(&self) -> bool {
        self.groups.len() < GROUPS_IN_FLIGHT_MAX && self.poison.is_none()
    }

    /// Hands `group` to the device.
    fn launch(&mut self, log: &mut Log<S>, group: StagedGroup) {
        let core = self.core;
        let StagedGroup { builder, cell, commit_count, .. } = group;
        let group = InFlight {
            cell,
            last_lsn: builder.last_lsn(),
            commit_count,
            record_count: builder.record_count,
            submitted_ns: core.now_ns(),
            state: State::Launching,
            failure: None,
        };
        self.groups.push_back(group);
        let context = SubmitContext {
            storage: &core.storage,
            segments: &core.segments,
            space: &core.space,
            durable_lsn: core.durable_lsn.load(Ordering::Acquire),
            segment_age: core.options.segment_age,
        };
        let result = log.submit(builder, context);
        let index = self.groups.len() - 1;
        match result {
            Ok(submitted) => {
                let bytes = submitted.end - core.identity.block_bytes;
                core.phases.group_bytes.record(bytes as u64);
                self.groups[index].state = State::Submitted(submitted);
            }
            Err((error, buffer)) => {
                self.groups[index].state = State::Refused(buffer);
                let error = Error::io("a group could not be written", error);
                // Nothing of it was written. If that is only for lack of room, and nobody has seen its records,
                // the log goes on without it.
                let poisons =
                    error.kind() != ErrorKind::NoSpace || core.options.durability.memory_first();
                self.fail(index, error, poisons);
            }
        }
    }

    fn fail(&mut self, index: usize, error: Error, poisons: bool) {
        if poisons {
            let poison = self.core.note_poison(&error);
            self.poison.get_or_insert(poison);
        }
        self.groups[index].failure.get_or_insert(error);
    }

    /// Applies what the device is writing. In memory-first databases that was done when it was staged.
    fn apply(&mut self) {
        let is_due = !self.core.options.durability.memory_first();
        for index in self.applied_count..self.groups.len() {
            if let State::Submitted(submitted) = &self.groups[index].state
                && is_due
                && let Err(error) = self.core.apply_group(submitted)
            {
                self.fail(index, error, true);
            }
        }
        self.applied_count = self.groups.len();
    }

    /// Waits for the oldest group and settles it.
    fn land(&mut self, log: &mut Log<S>) {
        while let Some(State::Submitted(_)) = self.groups.front().map(|group| &group.state) {
            self.note_answer(log.complete());
        }
        let core = self.core;
        core.counters.note_log(log.counters(), log.strategy());
        let settled_ns = core.now_ns();
        let Some(group) = self.groups.pop_front() else { return };
        self.applied_count -= 1;
        let InFlight { cell, last_lsn, commit_count, record_count, submitted_ns, .. } = group;
        let result = match group.failure.or_else(|| self.poison.clone()) {
            Some(error) => Err(error),
            None => Ok(()),
        };
        let buffer = match group.state {
            State::Written(submitted) if result.is_ok() => {
                *lock(&core.log_end) = submitted.position;
                Some(submitted.buffer)
            }
            State::Refused(buffer) => Some(buffer),
            // No more groups are built; the device may hold on to the buffer.
            _ => None,
        };
        if result.is_ok() {
            core.durable_lsn.store(last_lsn, Ordering::Release);
            if !core.options.durability.memory_first() {
                core.visible_lsn.store(last_lsn, Ordering::Release);
            }
            core.counters.note_group(u64::from(commit_count), u64::from(record_count));
            core.phases.io.record(settled_ns.saturating_sub(submitted_ns));
            core.phases.group_commits.record(commit_count.into());
        }
        core.settle(last_lsn, buffer, &cell, &result, self.groups.is_empty());
        cell.finish(&result, GroupFacts { submitted_ns, settled_ns, commit_count });
    }

    /// Notes what the device said of one of the groups.
    fn note_answer(&mut self, done: GroupDone) {
        let GroupDone { ticket, buffer, result } = done;
        drop(buffer);
        let is_meant = |group: &InFlight| match &group.state {
            State::Submitted(submitted) => submitted.ticket == ticket,
            _ => false,
        };
        let index =
            self.groups.iter().position(is_meant).expect("the answer is to a group in flight");
        let state = std::mem::replace(&mut self.groups[index].state, State::Launching);
        if let State::Submitted(submitted) = state {
            self.groups[index].state = State::Written(submitted);
        }
        if let Err(error) = result {
            self.fail(index, Error::device("a group commit failed", error), true);
        }
    }
}
