//! Staging: a write gets its LSNs and addresses, and its frames go into the open group.

use uarr_layout::frame::{FLAG_BATCH_CONTINUES, Frame};
use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::patience::{Patience, Role};
use crate::commit::poison::Fuse;
use crate::commit::staging::Staging;
use crate::commit::turns::{Premise, Ticket};
use crate::commit::wakes::Wakes;
use crate::error::Result;
use crate::options::WriteOptions;
use crate::sync::RankedGuard;

impl<S: Storage> Committer<S> {
    /// Gives `frames` their LSNs and addresses and puts them into a group. `None`: nothing was
    /// done, because `premise` does not hold or, for a task, because there is no room; the task
    /// will be woken.
    pub fn stage(
        &self,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        patience: Patience<'_>,
        premise: Premise<'_>,
        wakes: &mut Wakes,
    ) -> Result<Option<(u64, Role)>> {
        assert!(!frames.is_empty());
        let Some(staging) = self.staging_with_room(frames, patience, premise, wakes)? else {
            return Ok(None);
        };
        let fuse = Fuse::new(self, "the staging of a write");
        let staged = self.stage_in(staging, frames, options, patience, premise.ticket, wakes);
        fuse.defuse();
        staged.map(Some)
    }

    /// As `stage`, where there is room.
    fn stage_in(
        &self,
        mut staging: RankedGuard<'_, Staging>,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        patience: Patience<'_>,
        ticket: Option<&Ticket>,
        wakes: &mut Wakes,
    ) -> Result<(u64, Role)> {
        let memory_first = self.options.durability.memory_first();
        let first_lsn = staging.next_lsn;
        let frame_count = frames.len();
        for (index, frame) in frames.iter_mut().enumerate() {
            let placed = self.records.place(staging.tail, frame);
            staging.tail = placed.end;
            frame.header.lsn = (first_lsn + index as u64).into();
            frame.header.address = placed.address.into();
            if index + 1 < frame_count {
                frame.header.flags |= FLAG_BATCH_CONTINUES;
            }
        }
        staging.next_lsn += frame_count as u64;
        let lsn = staging.next_lsn - 1;
        let group = staging.open.as_mut().expect("staging_with_room leaves a group open");
        let log_bytes = group.builder.log_bytes();
        group.builder.push(frames);
        self.segments.room.note_staged(group.builder.log_bytes() - log_bytes);
        if !memory_first {
            let results = frames.iter().filter_map(|frame| frame.result);
            results.for_each(|result| group.builder.keep_result(result));
        }
        group.commit_count += 1;
        let is_first = group.commit_count == 1;
        self.note_staged(&mut staging, frames, ticket, wakes);

        if self.records.space.needs_prefault(staging.tail) && !self.keeper.is_raised() {
            self.keeper.raise();
        }
        if memory_first {
            self.records.apply_and_show(frames, lsn);
            // Behind full groups the log thread's time runs already.
            if is_first && staging.sealed.is_empty() {
                self.wake_log_thread(&mut staging);
            }
            if !options.durable {
                return Ok((lsn, Role::Done));
            }
        }
        Ok((lsn, self.join(&mut staging, patience)))
    }

    /// Makes the caller a member of the open group, and its leader if it can be and no thread
    /// leads.
    fn join(&self, staging: &mut Staging, patience: Patience<'_>) -> Role {
        let group = staging.open.as_mut().expect("a frame was just pushed");
        let cell = group.cell.clone();
        group.is_awaited |= !matches!(patience, Patience::Ahead);
        match patience {
            Patience::Task(_) => {
                if !staging.leader {
                    self.wake_log_thread(staging);
                }
                return Role::Member(cell);
            }
            Patience::Ahead => return Role::Member(cell),
            Patience::Thread => group.thread_count += 1,
        }
        if staging.leader {
            return Role::Member(cell);
        }
        staging.leader = true;
        Role::Leader(cell)
    }

    /// The log thread looks for work when it is awake; only a sleeping one costs a system call.
    pub fn wake_log_thread(&self, staging: &mut Staging) {
        if std::mem::take(&mut staging.log_thread_rests) {
            self.log_work.notify_one();
        }
    }
}
