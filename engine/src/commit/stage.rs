//! Staging: a write gets its LSNs and addresses, and its frames go into the open group.

use uarr_layout::chunk::ChunkOpening;
use uarr_layout::frame::{FLAG_BATCH_CONTINUES, Frame, FrameKind};
use uarr_uring::Storage;
use zerocopy::IntoBytes;

use crate::commit::committer::Committer;
use crate::commit::patience::{Attempt, Patience, Role, Staged};
use crate::commit::poison::Fuse;
use crate::commit::premise::Premise;
use crate::commit::staging::Staging;
use crate::commit::wakes::Wakes;
use crate::data::places::{Lack, Need};
use crate::data::stream::Stream;
use crate::error::Result;
use crate::options::WriteOptions;
use crate::sync::{RankedGuard, lock};

impl<S: Storage> Committer<S> {
    /// Gives `frames` their LSNs and addresses and puts them into a group, unless `premise` does
    /// not hold or, for a task, there is no room.
    pub fn stage(
        &self,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        patience: Patience<'_>,
        premise: Premise<'_>,
        wakes: &mut Wakes,
    ) -> Result<Attempt> {
        assert!(!frames.is_empty());
        let staging = match self.staging_with_room(frames, patience, premise, wakes)? {
            Ok(staging) => staging,
            Err(not_yet) => return Ok(Err(not_yet)),
        };
        Ok(Ok(self.stage_here(staging, frames, options, patience, premise, wakes)))
    }

    /// As `stage`, where there is room and `premise` holds.
    pub fn stage_here(
        &self,
        staging: RankedGuard<'_, Staging>,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        patience: Patience<'_>,
        premise: Premise<'_>,
        wakes: &mut Wakes,
    ) -> Staged {
        let fuse = Fuse::new(self, "the staging of a write");
        let staged = self.stage_in(staging, frames, options, patience, premise, wakes);
        fuse.defuse();
        staged
    }

    fn stage_in(
        &self,
        mut staging: RankedGuard<'_, Staging>,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        patience: Patience<'_>,
        premise: Premise<'_>,
        wakes: &mut Wakes,
    ) -> Staged {
        let memory_first = self.options.durability.memory_first();
        let first_lsn = staging.next_lsn;
        let frame_count = frames.len();
        for (index, frame) in frames.iter_mut().enumerate() {
            let (key_bytes, value_bytes) = (frame.record_key_bytes(), frame.record_value_bytes());
            frame.header.address = staging.places.place(key_bytes, value_bytes).into();
            if index + 1 < frame_count {
                frame.header.flags |= FLAG_BATCH_CONTINUES;
            }
        }
        assert!(first_lsn > staging.settled_lsn, "a new record is not settled");
        let log_bytes = staging.open.as_ref().map_or(0, |group| group.builder.log_bytes());
        if staging.places.has_unsettled() {
            self.stage_openings(&mut staging, frames);
        }
        for frame in frames.iter_mut() {
            if frame.header.expires_ms.get() != 0 {
                self.records.clock.note_used();
            }
            frame.header.lsn = staging.next_lsn.into();
            staging.next_lsn += 1;
        }
        let lsn = staging.next_lsn - 1;
        let group = staging.open.as_mut().expect("staging_with_room leaves a group open");
        group.builder.push(frames);
        assert_eq!(group.builder.last_lsn(), lsn, "a batch lies whole in one group");
        self.segments.room.note_staged(group.builder.log_bytes() - log_bytes);
        if !memory_first {
            frames.iter().for_each(|frame| group.builder.keep_result(frame));
        }
        group.commit_count += 1;
        let is_first = group.commit_count == 1;
        self.note_staged(&mut staging, frames, premise, wakes);

        if self.records.space.needs_prefault(staging.places.tail()) && !self.keeper.is_raised() {
            self.keeper.raise();
        }
        if memory_first {
            self.records.apply_and_show(frames, lsn);
            // Behind full groups the log thread's time runs already.
            if is_first && staging.sealed.is_empty() {
                self.wake_log_thread(&mut staging);
            }
            if !options.durable {
                return Staged { lsn, role: Role::Done };
            }
        }
        Staged { lsn, role: self.join(&mut staging, patience) }
    }

    /// Has the open group say where the chunks lie that `frames` go into, if that is not settled.
    fn stage_openings(&self, staging: &mut Staging, frames: &[Frame<'_>]) {
        let openings = staging.name_chunks(frames);
        // The chunk before is full.
        self.mover.raise();
        for (address, opening) in &openings {
            let mut frame = Frame::new(FrameKind::ChunkOpen, 0, &[], opening.as_bytes());
            frame.header.address = (*address).into();
            frame.header.lsn = staging.next_lsn.into();
            staging.next_lsn += 1;
            let group = staging.open.as_mut().expect("it has named them");
            group.builder.push(&[frame]);
            if self.options.durability.memory_first() {
                self.records.open_chunks(&[frame]);
            }
        }
    }

    /// Has a chunk for `stream`, and a settled group that says where it lies. Returns its
    /// number; `None`: there is no number for it, or no room now.
    pub fn cold_chunk(&self, stream: Stream, wakes: &mut Wakes) -> Result<Option<u64>> {
        if let Some(cold) = lock(&self.staging).places.cold(stream) {
            return Ok(Some(cold));
        }
        self.place_cold(stream)?;
        if lock(&self.staging).places.unsettled_cold(stream).is_none() {
            return Ok(None);
        }
        // Takes as much room as the frame that is staged.
        let opening = ChunkOpening::new(0, 1);
        let frame = Frame::new(FrameKind::ChunkOpen, 0, &[], opening.as_bytes());
        let room = self.staging_with_room(&[frame], Patience::Thread, Premise::default(), wakes)?;
        let Ok(mut staging) = room else { return Ok(None) };
        let fuse = Fuse::new(self, "the staging of a chunk");
        self.stage_cold(stream, &mut staging);
        drop(staging);
        fuse.defuse();
        self.sync_with(wakes)?;
        Ok(lock(&self.staging).places.cold(stream))
    }

    /// Gives the chunk for `stream` its place, if it has none.
    fn place_cold(&self, stream: Stream) -> Result<()> {
        let _space = lock(&self.space);
        loop {
            let mut staging = lock(&self.staging);
            match staging.places.lacking_cold(stream) {
                None | Some(Lack::Numbers) => return Ok(()),
                Some(Lack::Nothing) => {
                    staging.places.open_cold(stream);
                    return Ok(());
                }
                // A writer may take it, and then there is another one to be allocated.
                Some(Lack::Places(places)) => {
                    drop(staging);
                    self.allocate(places, Need::Move)?;
                }
            }
        }
    }

    /// Has the open group, in which there is room, say where the chunk for `stream` lies.
    fn stage_cold(&self, stream: Stream, staging: &mut Staging) {
        let Some((address, opening)) = staging.name_cold(stream) else {
            // No group is left empty: this one holds a writer's frames, or none.
            assert!(staging.open.as_ref().is_some_and(|group| !group.is_empty()));
            return;
        };
        let log_bytes = staging.open.as_ref().map_or(0, |group| group.builder.log_bytes());
        let mut frame = Frame::new(FrameKind::ChunkOpen, 0, &[], opening.as_bytes());
        frame.header.address = address.into();
        let lsn = staging.next_lsn;
        frame.header.lsn = lsn.into();
        staging.next_lsn += 1;
        let group = staging.open.as_mut().expect("it has named the chunk");
        group.builder.push(&[frame]);
        self.segments.room.note_staged(group.builder.log_bytes() - log_bytes);
        if self.options.durability.memory_first() {
            self.records.open_chunks(&[frame]);
            self.records.visible.show(lsn);
        }
    }

    /// Makes the caller a member of the open group, and its leader if it can be and no thread
    /// leads.
    fn join(&self, staging: &mut Staging, patience: Patience<'_>) -> Role {
        let group = staging.open.as_mut().expect("a frame was just pushed");
        assert!(group.commit_count > 0, "its members have staged something");
        let cell = group.cell.clone();
        group.is_awaited |= !matches!(patience, Patience::Ahead);
        match patience {
            Patience::Task(_) => {
                if !staging.is_led() {
                    self.wake_log_thread(staging);
                }
                return Role::Member(cell);
            }
            Patience::Ahead => return Role::Member(cell),
            Patience::Thread => group.thread_count += 1,
        }
        match staging.take_lead() {
            Some(lead) => Role::Leader(cell, lead),
            None => Role::Member(cell),
        }
    }

    /// The log thread looks for work when it is awake; only a sleeping one costs a system call.
    pub fn wake_log_thread(&self, staging: &mut Staging) {
        if std::mem::take(&mut staging.log_thread_rests) {
            self.log_work.notify_one();
        }
    }
}
