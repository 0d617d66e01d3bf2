//! The commit path: staging, group commit by whoever needs it, application while the device works.
//!
//! ```text
//! caller   stage: next LSN, address in the data file, frame into the open group        (staging lock)
//!          nobody leading? -> leader: 1. submit the oldest group                       (log lock)
//!                                     2. apply its records to data file and index, the device is busy
//!                                     3. wait for the device
//!                                     4. durable, visible; wake the group; hand over to the next group
//!          else           -> wait on the group's one futex word: done, failed, or "lead"
//! ```
//! A lone writer never changes threads. With many writers, all that arrive during one commit share the next.
//!
//! Memory-first databases apply and show records when they are staged; groups are written by the log thread,
//! or by whoever calls `sync`.
//!
//! Order of locks: root, log, space, staging, applier. A checkpoint holds root throughout, the leader holds log
//! while its group is written; nobody takes one of them while holding a later one.
//!
//! Failure: if a write or flush fails, nobody knows what reached the device. The group gets the error,
//! all later writes get `Poisoned`, nothing is retried; records above `visible_lsn` stay unseen.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, MutexGuard, OnceLock};

use uarr_layout::frame::{FLAG_BATCH_CONTINUES, Frame};
use uarr_layout::geometry::{Placement, align_up_u64, place};
use uarr_uring::{AlignedBuffer, Futex, Storage, StorageFile};

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::lock;
use crate::log::{GroupBuilder, LogPosition, SubmitContext, clear};
use crate::store::Appender;
use crate::tombstones::Tombstones;

/// The background prefaults when fewer than this many bytes ahead of the tail are in memory.
pub(crate) const PREFAULT_AHEAD_BYTES: u64 = 8 << 20;

/// Receipt of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Position of the write in the log; of its last record if it was a batch.
    pub lsn: u64,
}

const WAITING: u32 = 0;
const LEAD: u32 = 1;
const LED: u32 = 2;
const DONE: u32 = 3;
const FAILED: u32 = 4;

/// What the members of a group wait on.
pub(crate) struct GroupCell {
    state: Futex,
    /// Threads that sleep or are about to: nobody is woken for nothing.
    sleeper_count: AtomicU32,
    error: OnceLock<Error>,
}

impl GroupCell {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Futex::new(WAITING),
            sleeper_count: AtomicU32::new(0),
            error: OnceLock::new(),
        })
    }

    /// Asks one member to lead the group.
    fn offer_lead(&self) {
        self.state.store(LEAD);
        if self.has_sleepers() {
            self.state.wake_one();
        }
    }

    fn finish(&self, result: &Result<()>) {
        let state = match result {
            Ok(()) => DONE,
            Err(error) => {
                // Only the leader finishes a group, and it does so once.
                let _ = self.error.set(error.clone());
                FAILED
            }
        };
        self.state.store(state);
        if self.has_sleepers() {
            self.state.wake_all();
        }
    }

    /// Asked after the state was changed. A thread that counts itself later finds the new state and does
    /// not fall asleep; the fence keeps the two steps of both sides in one order.
    fn has_sleepers(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeper_count.load(Ordering::Relaxed) > 0
    }

    /// Waits for the group. `true`: this thread is to lead it.
    fn wait(&self) -> Result<bool> {
        loop {
            match self.state.load() {
                DONE => return Ok(false),
                FAILED => {
                    return Err(self.error.get().cloned().expect("set before the state"));
                }
                LEAD => {
                    if self.state.compare_exchange(LEAD, LED).is_ok() {
                        return Ok(true);
                    }
                }
                waiting => {
                    self.sleeper_count.fetch_add(1, Ordering::SeqCst);
                    self.state.wait(waiting);
                    self.sleeper_count.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A group that has not been handed to the device.
pub(crate) struct StagedGroup {
    builder: GroupBuilder,
    cell: Arc<GroupCell>,
    commit_count: u64,
}

/// What all writers share before their group is submitted.
pub(crate) struct Staging {
    open: Option<StagedGroup>,
    sealed: VecDeque<StagedGroup>,
    spare: Vec<Arc<AlignedBuffer>>,
    pub next_lsn: u64,
    /// Where the next record goes in the data file.
    pub tail: u64,
    /// Every group up to this LSN was written or has failed.
    settled_lsn: u64,
    leader: bool,
    settled_waiters: usize,
    buffer_waiters: usize,
    /// Why there can be no more writes.
    pub stop: Option<Error>,
}

impl Staging {
    pub fn new(next_lsn: u64, tail: u64, spare: Vec<Arc<AlignedBuffer>>) -> Self {
        Self {
            open: None,
            sealed: VecDeque::new(),
            spare,
            next_lsn,
            tail,
            settled_lsn: next_lsn - 1,
            leader: false,
            settled_waiters: 0,
            buffer_waiters: 0,
            stop: None,
        }
    }

    pub fn has_work(&self) -> bool {
        self.open.is_some() || !self.sealed.is_empty()
    }

    pub fn has_full_group(&self) -> bool {
        !self.sealed.is_empty()
    }

    fn take_oldest(&mut self) -> Option<StagedGroup> {
        self.sealed.pop_front().or_else(|| self.open.take())
    }

    fn oldest_cell(&self) -> Option<&Arc<GroupCell>> {
        self.sealed.front().or(self.open.as_ref()).map(|group| &group.cell)
    }
}

/// Applies records to data file and index.
pub(crate) struct Applier<W> {
    pub appender: Appender<W>,
    pub tombstones: Tombstones,
}

/// Held by a leader while it writes: if it panics, the others must not wait for it for ever.
struct Abandoned<'a, S: Storage> {
    core: &'a Core<S>,
    cell: &'a GroupCell,
    last_lsn: u64,
}

impl<S: Storage> Drop for Abandoned<'_, S> {
    fn drop(&mut self) {
        let cause = Error::new(ErrorKind::Io, "a group commit was abandoned by a panic");
        let result = Err(self.core.note_poison(&cause));
        self.core.settle(self.last_lsn, None, &result);
        self.cell.finish(&result);
    }
}

enum Role {
    /// Nothing to wait for.
    Done,
    /// Write this group.
    Leader(StagedGroup),
    /// Someone else writes it.
    Member(Arc<GroupCell>),
}

impl<S: Storage> Core<S> {
    /// Commits `frames` as one batch and returns when the database's durability class is met.
    pub fn write(&self, frames: &mut [Frame<'_>]) -> Result<Commit> {
        assert!(!frames.is_empty());
        let (lsn, role) = self.stage(frames)?;
        let cell = match role {
            Role::Done => return Ok(Commit { lsn }),
            Role::Leader(group) => {
                let cell = group.cell.clone();
                self.lead(group);
                cell
            }
            Role::Member(cell) => cell,
        };
        while cell.wait()? {
            let group = lock(&self.staging).take_oldest();
            self.lead(group.expect("the offer to lead is made for a staged group"));
        }
        Ok(Commit { lsn })
    }

    /// Returns when everything written before the call is durable.
    pub fn sync(&self) -> Result<()> {
        let mut staging = lock(&self.staging);
        let target = staging.next_lsn - 1;
        loop {
            // A failed group is settled too, so the failure is asked for first.
            if let Some(error) = self.poison() {
                return Err(error);
            }
            if staging.settled_lsn >= target {
                return Ok(());
            }
            if staging.leader {
                staging.settled_waiters += 1;
                staging = crate::wait(&self.settled, staging);
                staging.settled_waiters -= 1;
                continue;
            }
            let group = staging.take_oldest().expect("unsettled records are in a staged group");
            staging.leader = true;
            drop(staging);
            self.lead(group);
            staging = lock(&self.staging);
        }
    }

    /// Writes the oldest staged group, if there is one and nobody leads.
    pub fn write_oldest(&self) -> Result<()> {
        let mut staging = lock(&self.staging);
        if staging.leader {
            // Whoever leads does not stop before the group is written.
            staging.settled_waiters += 1;
            staging = crate::wait(&self.settled, staging);
            staging.settled_waiters -= 1;
        } else if let Some(group) = staging.take_oldest() {
            staging.leader = true;
            drop(staging);
            self.lead(group);
        }
        self.poison().map_or(Ok(()), Err)
    }

    /// Gives `frames` their LSNs and addresses and puts them into a group.
    fn stage(&self, frames: &mut [Frame<'_>]) -> Result<(u64, Role)> {
        let frame_bytes = frames.iter().map(Frame::len_in_log).sum();
        let mut staging = self.staging_with_room(frames, frame_bytes)?;
        let first_lsn = staging.next_lsn;
        let frame_count = frames.len();
        for (index, frame) in frames.iter_mut().enumerate() {
            let placed = self.place(staging.tail, frame);
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
        frames.iter().for_each(|frame| group.builder.push(frame));
        group.commit_count += 1;
        let is_first = group.commit_count == 1;
        let cell = group.cell.clone();

        if staging.tail + PREFAULT_AHEAD_BYTES > self.prefaulted.load(Ordering::Relaxed) {
            self.keeper.raise();
        }
        if self.options.durability.memory_first() {
            if let Err(error) = self.apply_now(frames, lsn) {
                staging.stop = Some(error.clone());
                return Err(error);
            }
            if is_first {
                self.log_work.notify_one();
            }
            return Ok((lsn, Role::Done));
        }
        if staging.leader {
            return Ok((lsn, Role::Member(cell)));
        }
        staging.leader = true;
        let group = staging.take_oldest().expect("a frame was just pushed");
        Ok((lsn, Role::Leader(group)))
    }

    /// The staging area with an open group that has room for the frames, and with room for them in log and
    /// data file. Waits for a free buffer if need be.
    fn staging_with_room(
        &self,
        frames: &[Frame<'_>],
        frame_bytes: usize,
    ) -> Result<MutexGuard<'_, Staging>> {
        let buffer_bytes = GroupBuilder::buffer_bytes(self.identity.block_bytes, frame_bytes);
        let mut staging = lock(&self.staging);
        if buffer_bytes > self.buffer_bytes {
            drop(staging);
            self.prepare_segment(buffer_bytes as u64)?;
            staging = lock(&self.staging);
        }
        loop {
            if let Some(error) = &staging.stop {
                return Err(error.clone());
            }
            if !self.has_space(&staging, frames) {
                drop(staging);
                self.make_space(frames)?;
                staging = lock(&self.staging);
                continue;
            }
            match &staging.open {
                Some(group) if group.builder.has_room_for(frame_bytes) => return Ok(staging),
                Some(_) => {
                    let full = staging.open.take();
                    staging.sealed.extend(full);
                    self.log_work.notify_one();
                }
                None => {}
            }
            let buffer = if buffer_bytes > self.buffer_bytes {
                Some(Arc::new(AlignedBuffer::new(buffer_bytes)))
            } else {
                staging.spare.pop()
            };
            if let Some(buffer) = buffer {
                let block_bytes = self.identity.block_bytes;
                let builder = GroupBuilder::new(buffer, block_bytes, staging.next_lsn);
                let cell = GroupCell::new();
                staging.open = Some(StagedGroup { builder, cell, commit_count: 0 });
                continue;
            }
            if self.options.durability.memory_first() && !staging.leader {
                // The log thread has fallen behind, or there is none: this thread helps.
                drop(staging);
                self.write_oldest()?;
                staging = lock(&self.staging);
                continue;
            }
            staging.buffer_waiters += 1;
            staging = crate::wait(&self.buffer_free, staging);
            staging.buffer_waiters -= 1;
        }
    }

    /// Whether the frames are sure to find room in the log and the data file.
    fn has_space(&self, staging: &Staging, frames: &[Frame<'_>]) -> bool {
        let end = frames.iter().fold(staging.tail, |tail, frame| self.place(tail, frame).end);
        end <= self.store.allocated_bytes() && self.log_has_space()
    }

    fn log_has_space(&self) -> bool {
        self.segments.ready_count() > 0
            || self.room.remaining.load(Ordering::Acquire) >= self.staged_bytes_max
    }

    /// Makes room that `has_space` found missing.
    fn make_space(&self, frames: &[Frame<'_>]) -> Result<()> {
        let _space = lock(&self.space);
        let end = {
            let staging = lock(&self.staging);
            frames.iter().fold(staging.tail, |tail, frame| self.place(tail, frame).end)
        };
        self.grow_data(end)?;
        if !self.log_has_space() {
            self.add_segment(0)?;
        }
        Ok(())
    }

    /// Makes the data file long enough for records before `end`. The caller holds `space`.
    pub fn grow_data(&self, end: u64) -> Result<()> {
        let allocated = self.store.allocated_bytes();
        if end <= allocated {
            return Ok(());
        }
        let target = align_up_u64(end, self.chunk_bytes);
        if target > self.options.address_space_bytes {
            return Err(Error::new(
                ErrorKind::NoSpace,
                format!(
                    "the data file would grow to {target} bytes, but address_space_bytes is {}; \
                     open the database with a larger value",
                    self.options.address_space_bytes
                ),
            ));
        }
        // The slow part without the appender's lock; growing again over it is quick.
        self.data_file
            .allocate(allocated, target - allocated)
            .and_then(|()| lock(&self.applier).appender.grow(target))
            .map_err(|error| Error::io("cannot extend the data file", error))
    }

    /// Makes a segment with room for `bytes` ready.
    fn prepare_segment(&self, bytes: u64) -> Result<()> {
        let _space = lock(&self.space);
        self.add_segment(bytes + self.identity.block_bytes as u64)
    }

    /// The caller holds `space`.
    pub fn add_segment(&self, bytes: u64) -> Result<()> {
        self.segments
            .prepare(&self.storage, align_up_u64(bytes, self.identity.block_bytes as u64))
            .map_err(|error| Error::io("cannot prepare a log segment", error))
    }

    fn place(&self, tail: u64, frame: &Frame<'_>) -> Placement {
        place(tail, self.chunk_bytes, frame.key.len(), frame.value.len())
    }

    /// Applies and shows a batch at once. The caller holds the staging lock, so order is LSN order.
    fn apply_now(&self, frames: &[Frame<'_>], lsn: u64) -> Result<()> {
        let mut applier = lock(&self.applier);
        let applied = frames.iter().try_for_each(|frame| self.apply(&mut applier, frame));
        if let Err(error) = applied {
            drop(applier);
            return Err(self.note_poison(&error));
        }
        self.visible_lsn.store(lsn, Ordering::Release);
        self.forget_deleted(&mut applier)
    }

    /// Writes `group` to the device, applies it meanwhile, settles it and hands over. The caller is leader.
    fn lead(&self, group: StagedGroup) {
        let last_lsn = group.builder.last_lsn();
        let StagedGroup { builder, cell, commit_count } = group;
        let record_count = u64::from(builder.record_count);
        let abandoned = Abandoned { core: self, cell: &cell, last_lsn };
        let (result, buffer) = self.write_group(builder);
        std::mem::forget(abandoned);
        if result.is_ok() {
            self.durable_lsn.store(last_lsn, Ordering::Release);
            if !self.options.durability.memory_first() {
                self.visible_lsn.store(last_lsn, Ordering::Release);
            }
            self.counters.note_group(commit_count, record_count);
        }
        self.settle(last_lsn, buffer, &result);
        cell.finish(&result);
        self.wake_background();
    }

    fn write_group(&self, builder: GroupBuilder) -> (Result<()>, Option<Arc<AlignedBuffer>>) {
        let mut log = lock(&self.log);
        let context = SubmitContext {
            storage: &self.storage,
            segments: &self.segments,
            room: &self.room,
            space: &self.space,
            durable_lsn: self.durable_lsn.load(Ordering::Acquire),
        };
        let submitted = match log.submit(builder, context) {
            Ok(submitted) => submitted,
            Err((error, mut buffer)) => {
                let used = buffer.len();
                clear(&mut buffer, used);
                return (self.not_submitted(error), Some(buffer));
            }
        };
        let memory_first = self.options.durability.memory_first();
        let applied = if memory_first { Ok(()) } else { self.apply_group(&submitted) };
        let done = log.complete();
        self.counters.note_log(log.counters(), log.strategy());
        drop(log);
        let written = done.result.map_err(|error| Error::device("a group commit failed", error));
        drop(done.buffer);
        if let Err(error) = written.and(applied) {
            // The device may hold on to the buffer; no more groups are built in any case.
            self.note_poison(&error);
            return (Err(error), None);
        }
        *lock(&self.log_end) = submitted.position;
        let mut buffer = submitted.buffer;
        clear(&mut buffer, submitted.end);
        (Ok(()), Some(buffer))
    }

    /// Nothing of a group was written. If it was only for lack of room and nobody has seen its records, the
    /// log goes on without it.
    fn not_submitted(&self, error: io::Error) -> Result<()> {
        let error = Error::io("a group could not be written", error);
        if error.kind() != ErrorKind::NoSpace || self.options.durability.memory_first() {
            self.note_poison(&error);
        }
        Err(error)
    }

    fn apply_group(&self, submitted: &crate::log::Submitted) -> Result<()> {
        let block_bytes = self.identity.block_bytes;
        let mut applier = lock(&self.applier);
        for frame in GroupBuilder::frames(&submitted.buffer, block_bytes, submitted.end) {
            let frame = frame.expect("frames of a group that was just built are whole");
            self.apply(&mut applier, &frame)?;
        }
        self.forget_deleted(&mut applier)
    }

    /// Appends the record of `frame` to the data file and makes the index point to it.
    fn apply(&self, applier: &mut Applier<S::MapWriter>, frame: &Frame<'_>) -> Result<()> {
        let previous = self.table.get(frame.key, &self.store)?;
        let locator = applier.appender.append(frame, previous);
        self.table.set(frame.key, locator, &self.store)?;
        applier.tombstones.note(frame.header.lsn.get(), previous, locator);
        Ok(())
    }

    /// Removes index entries of deleted keys that no reader can need any more.
    pub fn forget_deleted(&self, applier: &mut Applier<S::MapWriter>) -> Result<()> {
        if applier.tombstones.indexed_count() == 0 {
            return Ok(());
        }
        let bound = self.pins.oldest(&self.visible_lsn);
        while let Some(locator) = applier.tombstones.oldest(bound) {
            let key = self.store.record(locator)?.key;
            let was_indexed = self.table.remove_if(key, locator, &self.store)?;
            applier.tombstones.drop_oldest(was_indexed);
        }
        Ok(())
    }

    /// Records the outcome of a group and finds the next leader.
    fn settle(&self, last_lsn: u64, buffer: Option<Arc<AlignedBuffer>>, result: &Result<()>) {
        let mut staging = lock(&self.staging);
        staging.settled_lsn = last_lsn;
        if let Some(buffer) = buffer.filter(|buffer| buffer.len() == self.buffer_bytes) {
            staging.spare.push(buffer);
        }
        if let (Err(_), Some(error)) = (result, self.poison()) {
            staging.stop = Some(error.clone());
            while let Some(group) = staging.take_oldest() {
                staging.settled_lsn = group.builder.last_lsn();
                group.cell.finish(&Err(error.clone()));
            }
        }
        match staging.oldest_cell() {
            Some(cell) if !self.options.durability.memory_first() => cell.offer_lead(),
            _ => staging.leader = false,
        }
        if staging.settled_waiters > 0 {
            self.settled.notify_all();
        }
        if staging.buffer_waiters > 0 {
            self.buffer_free.notify_all();
        }
    }

    /// Why the database takes no more writes, if a failure is the reason.
    pub fn poison(&self) -> Option<Error> {
        self.poisoned.get().cloned()
    }

    /// Poisons the database; the first cause stays.
    pub fn note_poison(&self, cause: &Error) -> Error {
        self.poisoned.get_or_init(|| Error::poisoned_by(cause)).clone()
    }

    /// Where replay would start if all applied groups were in a checkpoint.
    pub fn log_end(&self) -> LogPosition {
        *lock(&self.log_end)
    }
}
