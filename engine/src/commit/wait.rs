//! Writing and waiting: a caller stages its frames and waits until they are as durable as it asked,
//! leads if no thread does, or is woken as a task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use uarr_layout::frame::Frame;
use uarr_uring::Storage;

use crate::commit::cell::{GroupCell, GroupFacts, Settled, Waited};
use crate::commit::committer::Committer;
use crate::commit::lead::Stint;
use crate::commit::patience::{Attempt, NotYet, Patience, Role, Staged};
use crate::commit::premise::Premise;
use crate::commit::receipt::Commit;
use crate::commit::recent::ReadSet;
use crate::commit::staging::Staging;
use crate::commit::wakes::{OwnWaker, Place, Polls, Wakes};
use crate::data::key_index::KeyIndex;
use crate::error::{Error, Result};
use crate::options::WriteOptions;
use crate::sync::{Rank, RankedGuard, holds_only, lock};

impl<S: Storage> Committer<S> {
    /// Has the processor fetch what applying a write of `key` will touch in `index`, if the caller
    /// is to apply it, while the caller computes checksums.
    pub fn expect_write(&self, index: &KeyIndex, key: &[u8]) {
        if self.options.durability.memory_first() {
            index.prefetch(key);
        }
    }

    /// Commits `frames` as one batch and returns when it is acknowledged as options and database
    /// say.
    pub fn write(&self, frames: &mut [Frame<'_>], options: WriteOptions) -> Result<Commit> {
        self.write_unread(frames, options, None)
    }

    /// As `write`, if nobody has written what `reads` has.
    pub fn write_unread(
        &self,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        reads: Option<&ReadSet>,
    ) -> Result<Commit> {
        let premise = Premise { reads, ..Premise::default() };
        let begun_ns = self.commit_clock(options);
        let patience = Patience::Thread;
        let mut wakes = Wakes::new(Place::LogThread);
        let staged = match self.stage(frames, options, patience, premise, &mut wakes)? {
            Ok(staged) => staged,
            Err(not_yet) => {
                assert_eq!(not_yet, NotYet::OutOfTurn, "a thread waits for room");
                wakes.run();
                self.stage_in_turn(frames, options, patience, premise)?
            }
        };
        self.finish(begun_ns, staged, wakes)
    }

    /// Returns when what was staged is acknowledged. Until then the lead may be offered to this
    /// thread at any time, so it runs no waker; afterwards those that are left.
    pub fn finish(
        &self,
        begun_ns: u64,
        Staged { lsn, role }: Staged,
        mut wakes: Wakes,
    ) -> Result<Commit> {
        let cell = match role {
            Role::Done => return Ok(Commit::in_memory(lsn)),
            Role::Leader(cell, lead) => {
                self.lead(lead, Stint::Turn, &mut wakes);
                cell
            }
            Role::Member(cell) => cell,
        };
        loop {
            if cell.outcome().is_none() {
                self.hand_on(&mut wakes);
            }
            match cell.wait()? {
                Waited::Settled(facts) => {
                    wakes.run();
                    return Ok(self.receipt(lsn, begun_ns, facts));
                }
                Waited::Lead(lead) => self.lead(lead, Stint::Turn, &mut wakes),
            }
        }
    }

    /// As `write`, without blocking: waits for room and for the group as a task. Dropped before the
    /// first poll it has done nothing; dropped later, the write goes its way unobserved or was
    /// never staged.
    pub async fn write_async(
        &self,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
    ) -> Result<Commit> {
        self.write_unread_async(frames, options, None).await
    }

    /// As `write_async`, if nobody has written what `reads` has.
    pub async fn write_unread_async(
        &self,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        reads: Option<&ReadSet>,
    ) -> Result<Commit> {
        if !self.options.background {
            // There is no log thread to lead.
            return self.write_unread(frames, options, reads);
        }
        self.commit_as_task(options, |patience, wakes| {
            // Much may have been written since the task last looked.
            reads.map_or(Ok(()), |reads| self.compare(reads))?;
            let premise = Premise { reads, ..Premise::default() };
            self.stage(frames, options, patience, premise, wakes)
        })
        .await
    }

    /// Calls `attempt` whenever the task is woken, until it has staged something, and waits for
    /// its group.
    pub async fn commit_as_task<E: From<Error>>(
        &self,
        options: WriteOptions,
        mut attempt: impl FnMut(Patience<'_>, &mut Wakes) -> Result<Attempt, E>,
    ) -> Result<Commit, E> {
        assert!(self.options.background, "the log thread leads for tasks");
        let begun_ns = self.commit_clock(options);
        let polls = Polls::default();
        let staged = std::future::poll_fn(move |context| {
            let own = OwnWaker::of(context.waker(), &polls);
            let mut wakes = Wakes::default();
            match attempt(Patience::Task(&own), &mut wakes) {
                Ok(Ok(staged)) => Poll::Ready(Ok(staged)),
                Ok(Err(_)) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        });
        let Staged { lsn, role } = staged.await?;
        match role {
            Role::Done => Ok(Commit::in_memory(lsn)),
            Role::Leader(..) => unreachable!("tasks do not lead"),
            Role::Member(cell) => {
                let facts = Settled::new(cell).await?;
                Ok(self.receipt(lsn, begun_ns, facts))
            }
        }
    }

    /// Stages `frames` as one batch without waiting for its outcome, and notes the cell of its
    /// group, which the caller looks at after the next `sync`.
    pub fn write_ahead(
        &self,
        frames: &mut [Frame<'_>],
        cells: &mut VecDeque<Arc<GroupCell>>,
    ) -> Result<()> {
        let (options, patience) = (WriteOptions::new().durable(), Patience::Ahead);
        let mut wakes = Wakes::default();
        let staged = self.stage(frames, options, patience, Premise::default(), &mut wakes)?;
        wakes.run();
        let staged = match staged {
            Ok(staged) => staged,
            Err(_) => self.stage_in_turn(frames, options, patience, Premise::default())?,
        };
        assert!(!matches!(staged.role, Role::Leader(..)), "a load leaves its groups to others");
        if let Role::Member(cell) = staged.role
            && cells.back().is_none_or(|last| !Arc::ptr_eq(last, &cell))
        {
            cells.push_back(cell);
        }
        // Those that are settled need not be kept.
        while let Some(outcome) = cells.front().and_then(|cell| cell.outcome()) {
            outcome?;
            cells.pop_front();
        }
        Ok(())
    }

    /// The time, for writes that get a receipt with times.
    pub fn commit_clock(&self, options: WriteOptions) -> u64 {
        let timed = options.durable || !self.options.durability.memory_first();
        if timed { self.now_ns() } else { 0 }
    }

    fn receipt(&self, lsn: u64, begun_ns: u64, facts: GroupFacts) -> Commit {
        let visible = &self.records.visible;
        assert!(lsn <= visible.durable_lsn(), "acknowledged as durable, so it is");
        assert!(lsn <= visible.lsn(), "acknowledged, so it can be read");
        assert!(facts.commit_count > 0, "the caller's commit is in the group");
        let commit = Commit {
            lsn,
            is_durable: true,
            group_commit_count: facts.commit_count,
            queue_ns: facts.submitted_ns.saturating_sub(begun_ns),
            io_ns: facts.settled_ns.saturating_sub(facts.submitted_ns),
            wake_ns: self.now_ns().saturating_sub(facts.settled_ns),
        };
        self.phases.queue.record(commit.queue_ns);
        self.phases.wake.record(commit.wake_ns);
        commit
    }

    /// Returns when everything written before the call is durable.
    pub fn sync(&self) -> Result<()> {
        self.sync_with(&mut Wakes::default())
    }

    /// As `sync`; tasks are woken where `wakes` say.
    pub fn sync_with(&self, wakes: &mut Wakes) -> Result<()> {
        let target = lock(&self.staging).next_lsn - 1;
        self.settle(target, wakes)
    }

    /// Returns when what was staged up to `target` is settled. In `Sync` databases it is visible
    /// then, in all durable.
    pub fn settle(&self, target: u64, wakes: &mut Wakes) -> Result<()> {
        let mut staging = lock(&self.staging);
        assert!(target < staging.next_lsn, "it was staged");
        loop {
            // A failed group is settled too, so the failure is asked for first.
            if let Some(error) = self.health.poison() {
                return Err(error);
            }
            if staging.settled_lsn >= target {
                return Ok(());
            }
            let is_somewhere = staging.has_work() || staging.in_flight_count > 0;
            assert!(is_somewhere, "unsettled records are in a staged group or in flight");
            let Some(lead) = staging.take_lead() else {
                staging = self.wait_settled(staging);
                continue;
            };
            drop(staging);
            self.lead(lead, Stint::Turn, wakes);
            self.pass(wakes);
            staging = lock(&self.staging);
        }
    }

    /// Writes the oldest staged group, if there is one, or waits while another thread does.
    pub fn write_oldest(&self, stint: Stint, wakes: &mut Wakes) -> Result<()> {
        let mut staging = lock(&self.staging);
        if staging.is_led() {
            // The leader does not stop before the group is written.
            drop(self.wait_settled(staging));
        } else if (staging.has_work() || staging.in_flight_count > 0)
            && let Some(lead) = staging.take_lead()
        {
            drop(staging);
            self.lead(lead, stint, wakes);
            self.pass(wakes);
        }
        self.health.poison().map_or(Ok(()), Err)
    }

    /// Waits until a group was settled.
    fn wait_settled<'a>(
        &'a self,
        mut staging: RankedGuard<'a, Staging>,
    ) -> RankedGuard<'a, Staging> {
        assert!(staging.is_led(), "a leader comes past who waits here");
        assert!(holds_only(&[Rank::Mover, Rank::Root, Rank::Staging]), "and wants any other lock");
        staging.settled_waiters += 1;
        staging = crate::sync::wait(&self.settled, staging);
        staging.settled_waiters -= 1;
        staging
    }
}
