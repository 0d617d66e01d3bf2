//! What is done for writers before they need it: when background threads are woken, and the room
//! that these make.

use std::ops::Range;
use std::sync::atomic::Ordering;

use uarr_layout::chunk::ChunkEntry;
use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::wakes::Wakes;
use crate::data::places::Need;
use crate::error::{Error, Result};
use crate::log::pool::Activity;
use crate::log::position::LogPosition;
use crate::log::rest::give_back_log;
use crate::sync::{Rank, holds, lock};

/// What the log may take while something else holds the keeper up: 50 ms at 160 MiB a second.
const HELD_UP_BYTES: u64 = 8 << 20;

/// Bytes that the log may still take before the next segment should be ready. Writers ask for it,
/// and make it themselves if need be, as soon as what may be staged might not fit into the active
/// one; and something may hold the keeper up.
pub(crate) fn room_in_time(remaining: u64, staged_bytes_max: u64, segment_bytes: u64) -> u64 {
    remaining.saturating_sub(staged_bytes_max + HELD_UP_BYTES.min(segment_bytes / 4))
}

impl<S: Storage> Committer<S> {
    /// Wakes the threads that have something to do.
    pub fn wake_background(&self) {
        if self.needs_next_segment() {
            self.keeper.raise();
        }
        if self.checkpoint_due() {
            self.checkpointer.raise();
        }
    }

    pub fn needs_next_segment(&self) -> bool {
        self.segments.room.needs_next(self.options.segment_age)
    }

    /// Whether the log has grown enough since the last checkpoint.
    pub fn checkpoint_due(&self) -> bool {
        // The index is asked for its size only where that counts.
        let log_bytes = self.log_bytes_since_checkpoint();
        let is_long = log_bytes >= self.options.checkpoint_log_bytes
            && log_bytes >= self.checkpoint_step_bytes();
        is_long || self.counters.wants_checkpoint.load(Ordering::Acquire)
    }

    /// Bytes that the log has taken: those written, and what was left of segments that grew old.
    pub fn log_taken_bytes(&self) -> u64 {
        self.counters.log_bytes.load(Ordering::Relaxed) + self.segments.room.left_bytes()
    }

    pub fn log_bytes_since_checkpoint(&self) -> u64 {
        let log_bytes = self.log_taken_bytes();
        // A checkpoint may end between the two looks: then there is no log behind it.
        let before = self.counters.checkpoint_log_bytes.load(Ordering::Relaxed);
        let since = log_bytes.saturating_sub(before);
        since + self.counters.recovered_log_bytes.load(Ordering::Relaxed)
    }

    pub fn checkpoint_step_bytes(&self) -> u64 {
        self.options.checkpoint_log_bytes.max(self.checkpoint_step_bytes_min())
    }

    /// What two index images take, about: a checkpoint for less log than that costs more than the
    /// log.
    pub fn checkpoint_step_bytes_min(&self) -> u64 {
        2 * 16 * self.records.tables.len() as u64
    }

    /// Whether lives too short for a checkpoint have left twice as much log as should be there.
    pub fn checkpoint_overdue(&self) -> bool {
        let log_bytes = self.log_bytes_since_checkpoint();
        log_bytes >= self.checkpoint_step_bytes().saturating_mul(2)
    }

    /// Gives `places` space of their own before records need it.
    pub fn allocate_ahead(&self, places: Range<u64>) -> Result<()> {
        let _space = lock(&self.space);
        self.allocate(places, Need::Put)
    }

    /// Moves the open chunk on to its next page, and returns the chunk table of checkpoint `number`
    /// with what no writer touches any more, and the first chunk number behind it. Everything
    /// staged before is settled.
    pub fn seal_data_pages(
        &self,
        number: u64,
        wakes: &mut Wakes,
    ) -> Result<(Vec<ChunkEntry>, u64)> {
        assert!(holds(Rank::Root), "one checkpoint is taken at a time");
        let (sealed, lsn) = {
            let mut staging = lock(&self.staging);
            (staging.places.seal_page(), staging.next_lsn - 1)
        };
        self.sync_with(wakes)?;
        let mut table = {
            let staging = lock(&self.staging);
            assert!(staging.settled_lsn >= lsn, "what was staged before is settled");
            staging.places.table(&sealed, number)
        };
        self.records.seal(&mut table, sealed.open.map_or(0, |open| open.end))?;
        Ok((table, sealed.next_chunk))
    }

    /// Goes on with the next segment, only so fast that it is ready before the active one is full:
    /// the device belongs to commits. Returns how many bytes of it are left to write, and how many
    /// the log may take until then; `None`: no segment is needed.
    pub fn prepare_ahead(&self) -> Result<Option<(u64, u64)>> {
        let _space = lock(&self.space);
        if !self.needs_next_segment() {
            return Ok(None);
        }
        let in_time = room_in_time(
            self.segments.room.active_bytes(),
            self.staged_bytes_max,
            self.segments.room.regular_bytes(),
        );
        let left = self
            .segments
            .prepare_step(&*self.storage, in_time)
            .map_err(|error| self.judge(Error::io("cannot prepare a log segment", error)))?;
        assert!(left <= self.segments.room.regular_bytes(), "it is of regular size");
        self.note_room();
        Ok(Some((left, in_time)))
    }

    /// Removes a segment that is not worth keeping, if there is one.
    pub fn trim_segments(&self, activity: Activity) -> Result<bool> {
        if activity != Activity::InUse {
            let _staging = lock(&self.staging);
            self.segments.release_ready(activity);
        }
        let trimmed = self.segments.trim(&*self.storage, activity);
        trimmed.map_err(|error| Error::io("cannot remove a log segment", error))
    }

    /// Gives back all that is not worth keeping.
    pub fn trim_all(&self, activity: Activity) -> Result<()> {
        while self.trim_places(activity) {}
        let _space = lock(&self.space);
        while self.trim_segments(activity)? {}
        Ok(())
    }

    /// Leaves no more space taken than a database needs that is closed, whose log is kept from
    /// `log_start` on. What cannot be removed is used again, or removed, when it is opened. On a
    /// disk with little room all is kept that the next life may need to make some.
    pub fn give_back_space(&self, log_start: LogPosition) {
        assert!(self.health.is_closing(), "no writer needs it any more");
        let space = lock(&self.space);
        let _ = self.segments.abandon_unfinished(&*self.storage);
        let has_room = self.has_room_outside();
        drop(space);
        if !has_room {
            let _ = self.trim_all(Activity::AtRest);
            return;
        }
        let _ = self.trim_all(Activity::Closed);
        let _space = lock(&self.space);
        let numbers = self.with_places(|places, _| places.last_numbers());
        let _ = self.records.give_back_rests(numbers);
        let block_bytes = self.identity.block_bytes as u64;
        let _ = give_back_log(&*self.storage, log_start, self.log_end(), block_bytes);
    }
}
