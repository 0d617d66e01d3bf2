//! Room for a write before it is staged: in a group, in the log and in the data file.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uarr_layout::chunk::CHUNK_OPENING_BYTES;
use uarr_layout::frame::{Frame, frame_bytes};
use uarr_layout::geometry::{GROUP_HEADER_BYTES, align_up_u64};
use uarr_layout::limits::GROUP_BYTES_MAX;
use uarr_uring::{AlignedBuffer, Storage};

use crate::commit::committer::Committer;
use crate::commit::lead::Stint;
use crate::commit::patience::{NotYet, Patience};
use crate::commit::staging::{StagedGroup, Staging};
use crate::commit::turns::Premise;
use crate::commit::wakes::Wakes;
use crate::data::live::LINE_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{BUFFER_COUNT, RECORD_OVERHEAD_BYTES_MAX};
use crate::log::builder::GroupBuilder;
use crate::log::room::Demand;
use crate::options::WhenFull;
use crate::sync::{Rank, RankedGuard, holds, holds_only, lock};

/// How often, and how long each time, a writer waits for a place before the data file grows.
const PLACE_WAIT_COUNT_MAX: usize = 500;
/// The mover wakes up meanwhile.
const PLACE_WAIT_COUNT_MIN: usize = 3;
const PLACE_WAIT: Duration = Duration::from_millis(1);
/// Chunks that even a small database has: open ones, and what is on its way through quarantine.
const CHUNK_COUNT_FIXED: u64 = 6;

const BUSY: &str = "the log has fallen behind and its buffers are full; nothing was written, try \
                    again (or open the database with WhenFull::Wait)";

const ADDRESSES_USED_UP: &str = "the database has used up its addresses, or numbers of chunks; \
                                 `uarr repair` copies the records to a new database, which may \
                                 have larger chunks";

/// Bytes of the chunk-open frames that staging `frames` may need. Between two chunks that are
/// opened for records of at most half a chunk lies as much; longer records fill as much themselves.
fn openings_bytes_max(frames: &[Frame<'_>], chunk_bytes: u64) -> usize {
    let mut count = frames.len() as u64;
    if count > 2 {
        let bytes = frames.iter().map(record_room_max).sum::<u64>();
        count = count.min(2 + bytes / (chunk_bytes / 2));
    }
    count as usize * frame_bytes(0, CHUNK_OPENING_BYTES)
}

/// More than the record of `frame` takes in a chunk.
fn record_room_max(frame: &Frame<'_>) -> u64 {
    (frame.key.len() + frame.record_value_bytes() + RECORD_OVERHEAD_BYTES_MAX) as u64
}

impl<S: Storage> Committer<S> {
    /// The staging area with an open group that has room for the frames, and with room for them in
    /// log and data file. Waits for a free buffer if need be; `None`: `premise` does not hold, or
    /// the task will be woken when there may be a buffer.
    pub fn staging_with_room(
        &self,
        frames: &[Frame<'_>],
        patience: Patience<'_>,
        premise: Premise<'_>,
        wakes: &mut Wakes,
    ) -> Result<std::result::Result<RankedGuard<'_, Staging>, NotYet>> {
        let frame_bytes: usize = frames.iter().map(Frame::len_in_log).sum();
        let frame_bytes = frame_bytes + openings_bytes_max(frames, self.records.chunk_bytes());
        if (GROUP_HEADER_BYTES + frame_bytes) as u64 > GROUP_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the records of a batch take at most {GROUP_BYTES_MAX} bytes of the log, these \
                 take {frame_bytes}"
            )));
        }
        let buffer_bytes = GroupBuilder::buffer_bytes(self.identity.block_bytes, frame_bytes);
        let is_large = buffer_bytes > self.buffer_bytes;
        let demand = Demand { bytes: buffer_bytes as u64, is_large };
        let mut staging = lock(&self.staging);
        loop {
            self.health.check()?;
            // Asked after each release of the lock, and before a group is opened: none stays empty.
            if !self.may_stage(&mut staging, frames, premise, patience, wakes)? {
                return Ok(Err(NotYet::OutOfTurn));
            }
            let may_gather =
                !is_large || self.segments.room.admits_large(demand.bytes, self.staged_bytes_max);
            if may_gather && !self.has_space(&staging, frames, demand) {
                let end = staging.places.end_after(frames);
                drop(staging);
                if end.is_none_or(|end| end > self.records.store.allocated_bytes()) {
                    self.wait_for_places(frames, patience);
                }
                self.make_space(frames, demand)?;
                staging = lock(&self.staging);
                continue;
            }
            match &staging.open {
                Some(group) if may_gather && group.builder.has_room_for(frame_bytes) => {
                    return Ok(Ok(staging));
                }
                Some(_) => self.seal_open_group(&mut staging),
                None => {}
            }
            let buffer = match is_large {
                true => may_gather.then(|| self.large_buffer(buffer_bytes)),
                false => staging.spare.pop(),
            };
            if let Some(buffer) = buffer {
                self.open_group(&mut staging, buffer, frame_bytes);
                // Nothing is asked again: an answer that has changed since would leave the group
                // empty.
                return Ok(Ok(staging));
            }
            match self.buffer_awaited(staging, patience, wakes)? {
                Ok(again) => staging = again,
                Err(not_yet) => return Ok(Err(not_yet)),
            }
        }
    }

    /// Opens a group in `buffer`, which the frames fit into.
    fn open_group(&self, staging: &mut Staging, buffer: Arc<AlignedBuffer>, frame_bytes: usize) {
        let block_bytes = self.identity.block_bytes;
        let builder = GroupBuilder::new(buffer, block_bytes, staging.next_lsn);
        assert!(builder.has_room_for(frame_bytes), "the buffer was chosen for the frames");
        staging.open_group(builder);
    }

    /// The staging area once a buffer may be free: the thread has written a group, or slept. The
    /// task will be woken then.
    fn buffer_awaited<'s>(
        &'s self,
        mut staging: RankedGuard<'s, Staging>,
        patience: Patience<'_>,
        wakes: &mut Wakes,
    ) -> Result<std::result::Result<RankedGuard<'s, Staging>, NotYet>> {
        let is_load = matches!(patience, Patience::Ahead);
        if self.options.when_full == WhenFull::Error && !is_load {
            return Err(Error::new(ErrorKind::Busy, BUSY));
        }
        let is_taken = staging.has_work() || staging.in_flight_count > 0;
        assert!(is_taken, "a buffer that is not spare comes back when its group is settled");
        match patience {
            Patience::Task(waker) => {
                waker.enter(&mut staging.room_wakers);
                return Ok(Err(NotYet::NoRoom));
            }
            Patience::Thread | Patience::Ahead if !staging.is_led() => {
                // The log thread has fallen behind, or there is none: this thread helps.
                drop(staging);
                self.write_oldest(Stint::Turn, wakes)?;
                staging = lock(&self.staging);
            }
            Patience::Thread | Patience::Ahead => {
                assert!(
                    holds_only(&[Rank::Mover, Rank::Staging]),
                    "the leader may want any other lock"
                );
                staging.buffer_waiters += 1;
                staging = crate::sync::wait(&self.buffer_free, staging);
                staging.buffer_waiters -= 1;
            }
        }
        Ok(Ok(staging))
    }

    /// The open group takes no more frames.
    fn seal_open_group(&self, staging: &mut Staging) {
        staging.seal_open();
        if self.has_due_group(staging) {
            self.wake_log_thread(staging);
        }
    }

    /// A buffer for a group that is larger than the pooled ones. The caller holds the staging area.
    fn large_buffer(&self, bytes: usize) -> Arc<AlignedBuffer> {
        assert!(bytes > self.buffer_bytes, "smaller groups have pooled buffers");
        let buffer = AlignedBuffer::new(bytes);
        self.segments.room.note_large(buffer.len() as u64);
        Arc::new(buffer)
    }

    /// Whether a group should be written without waiting for more, or for the end of its interval.
    pub fn has_urgent_group(&self, staging: &Staging) -> bool {
        let mut groups = staging.sealed.iter().chain(&staging.open);
        groups.any(|group| group.is_awaited) || self.has_due_group(staging)
    }

    /// Whether full groups should be written although no member waits for them. In memory-first
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
        let bytes_max = frames.iter().map(record_room_max).sum::<u64>();
        let allocated = self.records.store.allocated_bytes();
        let is_roomy = staging.places.is_roomy(bytes_max, allocated);
        // Within a chunk the sum decides; where one ends, each place has to be looked at.
        let fits = || staging.places.end_after(frames).is_some_and(|end| end <= allocated);
        (is_roomy || fits()) && self.segments.have_room(demand)
    }

    /// Gives the mover time, if the data file is larger than it may be, as long as it finds
    /// something to do or waits for a checkpoint: what an iterator keeps, or no move can gain, is
    /// no reason to wait. A task does not wait, nor does a caller who asked for an error instead,
    /// nor the mover.
    fn wait_for_places(&self, frames: &[Frame<'_>], patience: Patience<'_>) {
        let may_wait = self.options.background
            && self.options.when_full == WhenFull::Wait
            && !matches!(patience, Patience::Task(_))
            && !frames.iter().any(Frame::opens_chunk);
        if !may_wait || !self.has_too_much_garbage() {
            return;
        }
        self.mover.raise();
        for count in 0..PLACE_WAIT_COUNT_MAX {
            let has_place = self.with_places(|places, _| places.free_count() > 0);
            let is_over = has_place || (!self.gives_back() && count >= PLACE_WAIT_COUNT_MIN);
            if is_over || self.health.check().is_err() {
                break;
            }
            self.place_freed.wait(PLACE_WAIT);
        }
    }

    /// Whether places are on their way to become free.
    pub fn gives_back(&self) -> bool {
        self.mover_works.load(Ordering::Acquire)
            || self.counters.wants_checkpoint.load(Ordering::Acquire)
            || self.counters.has_checkpoint.load(Ordering::Acquire)
    }

    /// Whether chunks take more than they may, for what lives in them.
    pub fn has_too_much_garbage(&self) -> bool {
        let (used_bytes, waiting_bytes) = self.taken_bytes();
        let live_bytes = self.records.live_lines() * LINE_BYTES;
        // Two index images are there, too.
        let images_bytes = self.checkpoint_step_bytes_min();
        let beyond = (live_bytes as f64 * (self.options.space_amplification_max - 1.0)) as u64;
        let beyond = beyond.saturating_sub(images_bytes);
        let garbage_max = beyond.max(CHUNK_COUNT_FIXED * self.records.chunk_bytes());
        let keeps_garbage = self.keeps_garbage.load(Ordering::Relaxed);
        !keeps_garbage && used_bytes + waiting_bytes > live_bytes + garbage_max
    }

    /// Makes room that `has_space` found missing.
    fn make_space(&self, frames: &[Frame<'_>], demand: Demand) -> Result<()> {
        let _space = lock(&self.space);
        let end = lock(&self.staging).places.end_after(frames);
        let end = end.ok_or_else(|| Error::new(ErrorKind::NoSpace, ADDRESSES_USED_UP))?;
        self.with_way_made(|| self.records.grow(end))?;
        assert!(self.records.store.allocated_bytes() >= end, "a file that has grown has the room");
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

    /// Makes one more segment ready, one of its own for a group that is too long for others: with
    /// room for the small groups that may be staged around it, as any of them may be the first to
    /// move on to it. The caller holds `space`.
    fn add_segment(&self, demand: Demand) -> Result<()> {
        assert!(holds(Rank::Space), "segments are made one after the other");
        let bytes = match demand.bytes <= self.segments.room.regular_bytes() {
            true => 0,
            false => demand.bytes + self.staged_bytes_max + self.buffer_bytes as u64,
        };
        assert!(bytes == 0 || bytes > self.segments.room.regular_bytes());
        self.segments
            .prepare(&self.storage, align_up_u64(bytes, self.identity.block_bytes as u64))
            .map_err(|error| self.judge(Error::io("cannot prepare a log segment", error)))
    }
}
