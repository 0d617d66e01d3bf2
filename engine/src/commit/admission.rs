//! Room for a write before it is staged: in a group, in the log and in the data file.

use std::sync::Arc;

use uarr_layout::chunk::CHUNK_OPENING_BYTES;
use uarr_layout::frame::{Frame, frame_bytes};
use uarr_layout::geometry::GROUP_HEADER_BYTES;
use uarr_layout::limits::GROUP_BYTES_MAX;
use uarr_uring::{AlignedBuffer, Storage};

use crate::commit::committer::Committer;
use crate::commit::lead::Stint;
use crate::commit::patience::{NotYet, Patience};
use crate::commit::premise::Premise;
use crate::commit::room_wait::{RoomWait, TryAgain};
use crate::commit::space::need_of;
use crate::commit::staging::{StagedGroup, Staging};
use crate::commit::wakes::Wakes;
use crate::data::places::Lack;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{BUFFER_COUNT, RECORD_OVERHEAD_BYTES_MAX};
use crate::log::builder::GroupBuilder;
use crate::log::room::Demand;
use crate::meters::histogram::Histogram;
use crate::options::WhenFull;
use crate::sync::{Rank, RankedGuard, holds, holds_only, lock};

const BUSY: &str = "the log has fallen behind and its buffers are full; nothing was written, try \
                    again (call `sync` if no thread of the database works, or open it with \
                    WhenFull::Wait)";

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
    (frame.record_key_bytes() + frame.record_value_bytes() + RECORD_OVERHEAD_BYTES_MAX) as u64
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
        let mut wait = None;
        let staging = self.staging_in_time(frames, patience, premise, wakes, &mut wait);
        if let Some(wait) = wait {
            wait.note_in(&self.waits.room);
        }
        staging
    }

    /// The same. `wait` notes how it waits for room on a full disk.
    fn staging_in_time(
        &self,
        frames: &[Frame<'_>],
        patience: Patience<'_>,
        premise: Premise<'_>,
        wakes: &mut Wakes,
        wait: &mut Option<RoomWait>,
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
                let lack = staging.places.lacking(frames, need_of(frames));
                drop(staging);
                if lack != Lack::Nothing && !self.wait_for_places(frames, patience) {
                    return Ok(Err(NotYet::NoRoom));
                }
                if self.space_awaited(frames, demand, patience, wait)? == TryAgain::Later {
                    return Ok(Err(NotYet::NoRoom));
                }
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

    /// Gets space for `frames`, or waits for others that make some.
    fn space_awaited(
        &self,
        frames: &[Frame<'_>],
        demand: Demand,
        patience: Patience<'_>,
        wait: &mut Option<RoomWait>,
    ) -> Result<TryAgain> {
        let begun_ns = self.wait_clock();
        match self.make_space(frames, demand) {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                self.wait_for_room(frames, patience, wait).ok_or(error)
            }
            made => {
                made?;
                self.note_wait(&self.waits.space, begun_ns);
                Ok(TryAgain::Now)
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
        let is_ours = matches!(patience, Patience::Ahead) || holds(Rank::Mover);
        if self.options.when_full == WhenFull::Error && !is_ours {
            return Err(Error::new(ErrorKind::Busy, BUSY));
        }
        let is_taken = staging.has_work() || staging.in_flight_count > 0;
        assert!(is_taken, "a buffer that is not spare comes back when its group is settled");
        let begun_ns = self.wait_clock();
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
        self.note_wait(&self.waits.buffer, begun_ns);
        Ok(Ok(staging))
    }

    /// When a wait begins. `None` in a database without threads of its own: a writer does their
    /// work and waits for nobody.
    fn wait_clock(&self) -> Option<u64> {
        self.options.background.then(|| self.now_ns())
    }

    fn note_wait(&self, waits: &Histogram, begun_ns: Option<u64>) {
        if let Some(begun_ns) = begun_ns {
            waits.record(self.ns_since(begun_ns));
        }
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
        let is_roomy = staging.places.is_roomy(bytes_max);
        // Within a chunk the sum decides; where one ends, each place has to be looked at.
        let fits = || staging.places.lacking(frames, need_of(frames)) == Lack::Nothing;
        (is_roomy || fits()) && self.segments.have_room(demand)
    }
}
