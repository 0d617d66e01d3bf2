//! Writing and waiting: a caller stages its frames and waits until they are as durable as it asked,
//! leads if no thread does, or is woken as a task.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use uarr_layout::frame::Frame;
use uarr_uring::Storage;

use crate::commit::cell::{GroupCell, GroupFacts, Settled};
use crate::commit::committer::Committer;
use crate::commit::lead::Stint;
use crate::commit::patience::{Patience, Role};
use crate::commit::receipt::Commit;
use crate::commit::turns::Premise;
use crate::commit::wakes::{OwnWaker, Place, Wakes};
use crate::error::Result;
use crate::options::WriteOptions;
use crate::sync::lock;

impl<S: Storage> Committer<S> {
    /// Has the processor fetch what applying a write of `key` will touch, if the caller is to apply
    /// it, while the caller computes checksums.
    pub fn expect_write(&self, key: &[u8]) {
        if self.options.durability.memory_first() {
            self.records.expect_write(key);
        }
    }

    /// Commits `frames` as one batch and returns when it is acknowledged as options and database
    /// say.
    pub fn write(&self, frames: &mut [Frame<'_>], options: WriteOptions) -> Result<Commit> {
        let begun_ns = self.commit_clock(options);
        let patience = Patience::Thread;
        let mut wakes = Wakes::new(Place::LogThread);
        let staged = match self.stage(frames, options, patience, Premise::default(), &mut wakes)? {
            Some(staged) => staged,
            None => {
                wakes.run();
                self.stage_in_turn(frames, options, patience)?
            }
        };
        self.finish(begun_ns, staged, wakes)
    }

    /// Returns when what was staged is acknowledged. Until then the lead may be offered to this
    /// thread at any time, so it runs no waker; afterwards those that are left.
    pub fn finish(
        &self,
        begun_ns: u64,
        (lsn, role): (u64, Role),
        mut wakes: Wakes,
    ) -> Result<Commit> {
        let cell = match role {
            Role::Done => return Ok(Commit::in_memory(lsn)),
            Role::Leader(cell) => {
                self.lead(Stint::Turn, &mut wakes);
                cell
            }
            Role::Member(cell) => cell,
        };
        loop {
            if cell.outcome().is_none() {
                self.hand_on(&mut wakes);
            }
            if let Some(facts) = cell.wait()? {
                wakes.run();
                return Ok(self.receipt(lsn, begun_ns, facts));
            }
            self.lead(Stint::Turn, &mut wakes);
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
        if !self.options.background {
            // There is no log thread to lead.
            return self.write(frames, options);
        }
        let begun_ns = self.commit_clock(options);
        let place = Cell::new(0);
        let staged = std::future::poll_fn(move |context| {
            let own = OwnWaker::of(context.waker(), &place);
            let mut wakes = Wakes::default();
            let (patience, premise) = (Patience::Task(&own), Premise::default());
            match self.stage(frames, options, patience, premise, &mut wakes).transpose() {
                None => Poll::Pending,
                Some(staged) => Poll::Ready(staged),
            }
        });
        let staged = staged.await?;
        self.finish_async(begun_ns, staged).await
    }

    /// As `finish`, for tasks.
    pub async fn finish_async(&self, begun_ns: u64, staged: (u64, Role)) -> Result<Commit> {
        match staged {
            (lsn, Role::Done) => Ok(Commit::in_memory(lsn)),
            (_, Role::Leader(..)) => unreachable!("tasks do not lead"),
            (lsn, Role::Member(cell)) => {
                let facts = Settled::new(cell).await?;
                Ok(self.receipt(lsn, begun_ns, facts))
            }
        }
    }

    /// Stages `frames` as one batch, whatever becomes of it, and notes whose outcome is to be
    /// looked at after the next `sync`.
    pub fn write_ahead(
        &self,
        frames: &mut [Frame<'_>],
        cells: &mut VecDeque<Arc<GroupCell>>,
    ) -> Result<()> {
        let (options, patience) = (WriteOptions::new().durable(), Patience::Ahead);
        let mut wakes = Wakes::default();
        let staged = self.stage(frames, options, patience, Premise::default(), &mut wakes)?;
        wakes.run();
        let (_, role) = match staged {
            Some(staged) => staged,
            None => self.stage_in_turn(frames, options, patience)?,
        };
        if let Role::Member(cell) = role
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
        let mut staging = lock(&self.staging);
        let target = staging.next_lsn - 1;
        loop {
            // A failed group is settled too, so the failure is asked for first.
            if let Some(error) = self.health.poison() {
                return Err(error);
            }
            if staging.settled_lsn >= target {
                return Ok(());
            }
            if staging.leader {
                staging.settled_waiters += 1;
                staging = crate::sync::wait(&self.settled, staging);
                staging.settled_waiters -= 1;
                continue;
            }
            let is_somewhere = staging.has_work() || staging.in_flight_count > 0;
            assert!(is_somewhere, "unsettled records are in a staged group or in flight");
            staging.leader = true;
            drop(staging);
            self.lead(Stint::Turn, wakes);
            self.pass(wakes);
            staging = lock(&self.staging);
        }
    }

    /// Writes the oldest staged group, if there is one and no thread leads.
    pub fn write_oldest(&self, stint: Stint, wakes: &mut Wakes) -> Result<()> {
        let mut staging = lock(&self.staging);
        if staging.leader {
            // The leader does not stop before the group is written.
            staging.settled_waiters += 1;
            staging = crate::sync::wait(&self.settled, staging);
            staging.settled_waiters -= 1;
        } else if staging.has_work() || staging.in_flight_count > 0 {
            staging.leader = true;
            drop(staging);
            self.lead(stint, wakes);
            self.pass(wakes);
        }
        self.health.poison().map_or(Ok(()), Err)
    }
}
