//! The commit path: staging, group commit by whoever needs it, application while the device works.
//!
//! ```text
//! caller   stage: next LSN, address in the data file, frame into the open group        (staging lock)
//!          nobody leading? -> leader: 1. submit the oldest group, and full ones behind it   (log lock)
//!                                     2. apply their records to data file and index, the device is busy
//!                                     3. wait for the device
//!                                     4. durable, visible; wake the group; hand over to the next group
//!          else           -> wait on the group's one futex word: done, failed, or "lead"
//! ```
//! A lone writer never changes threads. With many writers, all that arrive during one commit share
//! the next.
//!
//! Memory-first databases apply and show records when they are staged; groups are written by the
//! log thread, or by whoever calls `sync`.
//!
//! Order of locks: root, log, space, staging, applier. A checkpoint holds root throughout, the
//! leader holds log while its group is written; no thread takes one of them while holding a later
//! one. User code, wakers above all, runs under none of them ([`crate::wakes`]).
//!
//! Failure: if a write or flush fails, what reached the device is unknown. The group gets the
//! error, all later writes get `Poisoned` ([`crate::health`]), nothing is retried; records above
//! `visible_lsn` stay unseen.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::task::Poll;

use uarr_layout::frame::{FLAG_BATCH_CONTINUES, Frame};
use uarr_layout::geometry::{Placement, align_up_u64, place};
use uarr_layout::group::GROUP_HEADER_BYTES;
use uarr_layout::limits::GROUP_BYTES_MAX;
use uarr_uring::{AlignedBuffer, Storage, StorageFile};

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{GroupCell, GroupFacts, Settled};
use crate::health::Fuse;
use crate::lead::Stint;
use crate::limits::{BUFFER_COUNT, PREFAULT_AHEAD_BYTES, RECORD_OVERHEAD_BYTES_MAX, TOGETHER_MAX};
use crate::log::{GroupBuilder, LogPosition};
use crate::options::{WhenFull, WriteOptions};
use crate::segments::Demand;
use crate::staging::{StagedGroup, Staging};
use crate::store::Appender;
use crate::sync::lock;
use crate::tombstones::Tombstones;
use crate::turns::{Premise, Ticket};
use crate::wakes::{OwnWaker, Place, Wakes};

const BUSY: &str = "the log has fallen behind and its buffers are full; nothing was written, try again \
                    (or open the database with WhenFull::Wait)";

/// Receipt of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// Position of the write in the log; of its last record if it was a batch.
    pub lsn: u64,
    /// Whether the write survives a loss of power. Otherwise it was acknowledged in memory, and the
    /// rest is 0.
    pub is_durable: bool,
    /// How many commits shared the group.
    pub group_commit_count: u32,
    /// Nanoseconds from the call until its group was given to the device.
    pub queue_ns: u64,
    /// Nanoseconds until the group was durable.
    pub io_ns: u64,
    /// Nanoseconds from then until the caller was running again.
    pub wake_ns: u64,
}

impl Commit {
    fn in_memory(lsn: u64) -> Self {
        let (is_durable, group_commit_count) = (false, 0);
        Self { lsn, is_durable, group_commit_count, queue_ns: 0, io_ns: 0, wake_ns: 0 }
    }
}

/// Applies records to data file and index.
pub(crate) struct Applier<W> {
    pub appender: Appender<W>,
    pub tombstones: Tombstones,
}

/// What a caller does after its frames were staged.
pub(crate) enum Role {
    /// Nothing: the write is acknowledged in memory.
    Done,
    /// Write the oldest groups, then wait for the own one. Between the two no user code may run:
    /// others wait for the leader.
    Leader(Arc<GroupCell>),
    /// Wait: someone else writes the group.
    Member(Arc<GroupCell>),
}

/// How a caller waits.
#[derive(Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// It blocks, and leads where nobody else does.
    Thread,
    /// It is woken; the log thread leads.
    Task(&'a OwnWaker<'a>),
    /// It blocks for room only; full groups are the log thread's.
    Ahead,
}

/// More than the record of `frame` takes in a chunk.
fn record_room_max(frame: &Frame<'_>) -> u64 {
    (frame.key.len() + frame.record_value_bytes() + RECORD_OVERHEAD_BYTES_MAX) as u64
}

impl<S: Storage> Core<S> {
    /// Has the processor fetch what applying a write of `key` will touch, if the caller is to apply
    /// it, while the caller computes checksums.
    pub fn expect_write(&self, key: &[u8]) {
        if self.options.durability.memory_first() {
            self.table.prefetch(std::iter::once(key));
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

    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.storage.now().as_nanos()).unwrap_or(u64::MAX)
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

    /// Writes the oldest staged group, if there is one and nobody leads.
    pub fn write_oldest(&self, stint: Stint, wakes: &mut Wakes) -> Result<()> {
        let mut staging = lock(&self.staging);
        if staging.leader {
            // Whoever leads does not stop before the group is written.
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
        mut staging: MutexGuard<'_, Staging>,
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
        let log_bytes = group.builder.log_bytes();
        group.builder.push(frames);
        self.segments.note_staged(group.builder.log_bytes() - log_bytes);
        if !memory_first {
            let results = frames.iter().filter_map(|frame| frame.result);
            results.for_each(|result| group.builder.keep_result(result));
        }
        group.commit_count += 1;
        let is_first = group.commit_count == 1;
        self.note_staged(&mut staging, frames, ticket, wakes);

        if staging.tail + PREFAULT_AHEAD_BYTES > self.prefaulted.load(Ordering::Relaxed)
            && !self.keeper.is_raised()
        {
            self.keeper.raise();
        }
        if memory_first {
            self.apply_now(frames, lsn);
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

    /// Makes the caller a member of the open group, and its leader if it can be and nobody leads.
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

    /// The staging area with an open group that has room for the frames, and with room for them in
    /// log and data file. Waits for a free buffer if need be; `None`: `premise` does not hold, or
    /// the task will be woken when there may be a buffer.
    fn staging_with_room(
        &self,
        frames: &[Frame<'_>],
        patience: Patience<'_>,
        premise: Premise<'_>,
        wakes: &mut Wakes,
    ) -> Result<Option<MutexGuard<'_, Staging>>> {
        let frame_bytes: usize = frames.iter().map(Frame::len_in_log).sum();
        if (GROUP_HEADER_BYTES + frame_bytes) as u64 > GROUP_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the records of a batch take at most {GROUP_BYTES_MAX} bytes of the log, these take {frame_bytes}"
            )));
        }
        let buffer_bytes = GroupBuilder::buffer_bytes(self.identity.block_bytes, frame_bytes);
        let is_large = buffer_bytes > self.buffer_bytes;
        let demand = Demand { bytes: buffer_bytes as u64, is_large };
        let mut staging = lock(&self.staging);
        loop {
            self.health.check()?;
            // Asked each time the lock was let go, and before a group is opened: none stays empty.
            if !self.may_stage(&mut staging, frames, premise, patience, wakes)? {
                return Ok(None);
            }
            let may_gather =
                !is_large || self.segments.admit_large(demand.bytes, self.staged_bytes_max);
            if may_gather && !self.has_space(&staging, frames, demand) {
                drop(staging);
                self.make_space(frames, demand)?;
                staging = lock(&self.staging);
                continue;
            }
            match &staging.open {
                Some(group) if may_gather && group.builder.has_room_for(frame_bytes) => {
                    return Ok(Some(staging));
                }
                Some(_) => self.seal_open_group(&mut staging),
                None => {}
            }
            let buffer = match is_large {
                true => may_gather.then(|| self.large_buffer(buffer_bytes)),
                false => staging.spare.pop(),
            };
            if let Some(buffer) = buffer {
                let block_bytes = self.identity.block_bytes;
                let builder = GroupBuilder::new(buffer, block_bytes, staging.next_lsn);
                staging.open_group(builder);
                // Nothing is asked again: an answer that has changed since would leave the group
                // empty.
                return Ok(Some(staging));
            }
            let is_load = matches!(patience, Patience::Ahead);
            if self.options.when_full == WhenFull::Error && !is_load {
                return Err(Error::new(ErrorKind::Busy, BUSY));
            }
            match patience {
                Patience::Task(waker) => {
                    waker.enter(&mut staging.room_wakers);
                    return Ok(None);
                }
                Patience::Thread | Patience::Ahead if !staging.leader => {
                    // The log thread has fallen behind, or there is none: this thread helps.
                    drop(staging);
                    self.write_oldest(Stint::Turn, wakes)?;
                    staging = lock(&self.staging);
                }
                Patience::Thread | Patience::Ahead => {
                    staging.buffer_waiters += 1;
                    staging = crate::sync::wait(&self.buffer_free, staging);
                    staging.buffer_waiters -= 1;
                }
            }
        }
    }

    /// The open group takes no more frames.
    fn seal_open_group(&self, staging: &mut Staging) {
        let full = staging.open.take();
        staging.sealed.extend(full);
        if self.has_due_group(staging) {
            self.wake_log_thread(staging);
        }
    }

    /// A buffer for a group that is larger than the pooled ones. The caller holds the staging area.
    fn large_buffer(&self, bytes: usize) -> Arc<AlignedBuffer> {
        let buffer = AlignedBuffer::new(bytes);
        self.segments.note_large(buffer.len() as u64);
        Arc::new(buffer)
    }

    /// Whether a group should be written without waiting for more, or for the end of its interval.
    pub fn has_urgent_group(&self, staging: &Staging) -> bool {
        let mut groups = staging.sealed.iter().chain(&staging.open);
        groups.any(|group| group.is_awaited) || self.has_due_group(staging)
    }

    /// Whether full groups should be written although nobody waits for them. In memory-first
    /// databases not before they take half of the buffers: to wake a thread for each would make one
    /// put in a thousand slow.
    fn has_due_group(&self, staging: &Staging) -> bool {
        let full_count_min =
            if self.options.durability.memory_first() { BUFFER_COUNT / 2 } else { 1 };
        let is_large = |group: &StagedGroup| group.builder.buffer_len() > self.buffer_bytes;
        staging.sealed.len() >= full_count_min || staging.sealed.iter().any(is_large)
    }

    /// Whether the frames are sure to find room in the log and the data file.
    fn has_space(&self, staging: &Staging, frames: &[Frame<'_>], demand: Demand) -> bool {
        let allocated = self.store.allocated_bytes();
        let bytes_max = frames.iter().map(record_room_max).sum::<u64>();
        let chunk_end = (staging.tail | (self.chunk_bytes - 1)) + 1;
        // Within a chunk the sum decides; where one ends, each place has to be looked at.
        let is_roomy = staging.tail + bytes_max <= allocated.min(chunk_end);
        let end = || frames.iter().fold(staging.tail, |tail, frame| self.place(tail, frame).end);
        (is_roomy || end() <= allocated) && self.segments.have_room(demand)
    }

    /// Makes room that `has_space` found missing.
    fn make_space(&self, frames: &[Frame<'_>], demand: Demand) -> Result<()> {
        let _space = lock(&self.space);
        let end = {
            let staging = lock(&self.staging);
            frames.iter().fold(staging.tail, |tail, frame| self.place(tail, frame).end)
        };
        self.with_way_made(|| self.grow_data(end))?;
        if !self.segments.have_room(demand) {
            self.with_way_made(|| self.add_segment(demand))?;
        }
        Ok(())
    }

    /// Does `attempt`, and again if there was no room but some could be made.
    pub fn with_way_made<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                let made = self.segments.make_way(&self.storage);
                if made.unwrap_or(false) { attempt() } else { Err(error) }
            }
            done => done,
        }
    }

    /// Makes the data file long enough for records before `end`. The caller holds `space`.
    pub fn grow_data(&self, end: u64) -> Result<()> {
        let allocated = self.store.allocated_bytes();
        if end <= allocated {
            return Ok(());
        }
        let target = align_up_u64(end, self.chunk_bytes);
        if target > self.reserved_bytes {
            return Err(self.address_space_ends(target));
        }
        // The slow part without the appender's lock; growing again over it is quick.
        self.data_file
            .allocate(allocated, target - allocated)
            .and_then(|()| lock(&self.applier).appender.grow(target))
            .map_err(|error| Error::io("cannot extend the data file", error))
    }

    #[cold]
    fn address_space_ends(&self, target: u64) -> Error {
        let asked = self.options.address_space_bytes;
        let message = match self.reserved_bytes {
            reserved if reserved < asked => format!(
                "the data file would grow to {target} bytes, but only {reserved} bytes of address space were to be had \
                 when it was opened; raise the limit of the process (ulimit -v) and open it again"
            ),
            _ => format!(
                "the data file would grow to {target} bytes, but address_space_bytes is {asked}; open the database \
                 with a larger value"
            ),
        };
        Error::new(ErrorKind::NoSpace, message)
    }

    /// Makes one more segment ready, one of its own for a group that is too long for others: with
    /// room for the small groups that may be staged around it, as any of them may be the first to
    /// move on to it. The caller holds `space`.
    fn add_segment(&self, demand: Demand) -> Result<()> {
        let bytes = match demand.bytes <= self.segments.regular_bytes() {
            true => 0,
            false => demand.bytes + self.staged_bytes_max + self.buffer_bytes as u64,
        };
        self.segments
            .prepare(&self.storage, align_up_u64(bytes, self.identity.block_bytes as u64))
            .map_err(|error| self.judge(Error::io("cannot prepare a log segment", error)))
    }

    fn place(&self, tail: u64, frame: &Frame<'_>) -> Placement {
        place(tail, self.chunk_bytes, frame.key.len(), frame.record_value_bytes())
    }

    /// Applies and shows a batch at once. The caller holds the staging lock, so order is LSN order.
    fn apply_now(&self, frames: &[Frame<'_>], lsn: u64) {
        let mut applier = lock(&self.applier);
        frames.chunks(TOGETHER_MAX).for_each(|group| self.apply(&mut applier, group));
        self.visible_lsn.store(lsn, Ordering::Release);
        self.forget_deleted(&mut applier);
    }

    /// Applies frames one after the other, with the cache misses of some overlapping.
    pub fn apply_all<'f>(
        &self,
        applier: &mut Applier<S::MapWriter>,
        frames: impl Iterator<Item = Frame<'f>>,
    ) {
        let mut frames = frames.fuse();
        while let Some(first) = frames.next() {
            let Some(second) = frames.next() else {
                return self.apply(applier, &[first]);
            };
            let mut group = [first; TOGETHER_MAX];
            group[1] = second;
            let mut count = 2;
            for (place, frame) in group[2..].iter_mut().zip(&mut frames) {
                *place = frame;
                count += 1;
            }
            self.apply(applier, &group[..count]);
        }
    }

    /// Appends the records of some frames to the data file and makes the index point to them.
    /// Damage of records that are there does not hinder it.
    fn apply(&self, applier: &mut Applier<S::MapWriter>, frames: &[Frame<'_>]) {
        let mut all: [&[u8]; TOGETHER_MAX] = [&[]; TOGETHER_MAX];
        let keys = &mut all[..frames.len()];
        keys.iter_mut().zip(frames).for_each(|(key, frame)| *key = frame.key);
        let Applier { appender, tombstones } = applier;
        self.table.append(keys, &self.store, |index, previous| {
            let frame = &frames[index];
            let whole = frame.resolved().expect("a patch that is applied knows its result");
            let locator = appender.append(&whole, previous);
            tombstones.note(frame.header.lsn.get(), previous, locator);
            locator
        });
    }

    /// Removes index entries of deleted keys that no reader can need any more, a bounded number of
    /// them.
    pub fn forget_deleted(&self, applier: &mut Applier<S::MapWriter>) {
        let count_max = applier.tombstones.forget_count();
        if applier.tombstones.indexed_count() == 0 {
            return;
        }
        let bound = self.pins.oldest(&self.visible_lsn);
        for _ in 0..count_max {
            let Some(locator) = applier.tombstones.oldest(bound) else { break };
            let removed = self
                .key_of(locator)
                .and_then(|key| self.table.remove_if(key, locator, &self.store));
            // The entry of a tombstone that is damaged stays: a get of its key finds the damage.
            applier.tombstones.drop_oldest(removed.unwrap_or(false));
        }
    }

    /// Where replay would start if all applied groups were in a checkpoint.
    pub fn log_end(&self) -> LogPosition {
        *lock(&self.log_end)
    }
}
