//! Giving back all space that can be given back now, for a caller who asks for it.

use std::sync::atomic::Ordering;

use uarr_uring::Storage;

use crate::core::Core;
use crate::data::places::Places;
use crate::error::Result;
use crate::jobs::checkpoint::Then;
use crate::jobs::keeper::Step;
use crate::jobs::mover::{Pace, READERS_WAIT};
use crate::log::pool::Activity;
use crate::sync::lock;

/// Checkpoints at most, without any gain. After two a place is free that no reader needs: the older
/// of those that are kept has to know that its chunk is empty. Writers may empty others meanwhile.
const CHECKPOINT_COUNT_MAX: usize = 4;

/// How often readers that are at work are waited for.
const READERS_WAIT_COUNT_MAX: usize = 1000;

/// What [`crate::Db::compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Bytes of records that were moved.
    pub moved_bytes: u64,
    /// Bytes of the data file that other records may take now, and could not before.
    pub freed_bytes: u64,
    /// Bytes of the data file that hold nothing any more, but for iterators and records that
    /// readers keep: they are freed when these are dropped.
    pub waiting_bytes: u64,
}

impl<S: Storage> Core<S> {
    /// See [`crate::Db::compact`].
    pub fn compact(&self) -> Result<CompactReport> {
        let moved_bytes = &self.committer.counters.moved_bytes;
        let (moved_before, taken_before) =
            (moved_bytes.load(Ordering::Relaxed), self.taken_bytes());
        // What writers leave behind meanwhile is for the next call.
        let end = self.committer.with_places(|places, _| places.next_chunk());
        self.sweep_all()?;
        self.remove_all()?;
        self.forget_all();
        self.move_all(end)?;
        let mut count = 0;
        while count < CHECKPOINT_COUNT_MAX && self.needs_checkpoint() {
            let count_before = |places: &mut Places, _| places.chunk_count_before(end);
            let before = self.committer.with_places(count_before);
            let wants_log_back = &self.committer.counters.wants_log_back;
            wants_log_back.store(self.keeps_much_log(), Ordering::Release);
            let taken = self.checkpoint(Then::GoOn);
            wants_log_back.store(false, Ordering::Release);
            taken?;
            self.move_all(end)?;
            // On a full disk each makes room for the next moves.
            let is_further = self.committer.with_places(count_before) < before;
            count = if is_further { 0 } else { count + 1 };
        }
        // The background may have taken the last checkpoint.
        self.move_all(end)?;
        self.committer.trim_all(Activity::AtRest)?;
        Ok(CompactReport {
            moved_bytes: moved_bytes.load(Ordering::Relaxed) - moved_before,
            freed_bytes: taken_before.saturating_sub(self.taken_bytes()),
            waiting_bytes: self.committer.taken_bytes().1,
        })
    }

    /// Whether a checkpoint would give something back.
    fn needs_checkpoint(&self) -> bool {
        self.waits_for_checkpoint() || self.committer.lacks_segments() || self.keeps_much_log()
    }

    fn keeps_much_log(&self) -> bool {
        let image_bytes = lock(&self.root).block.checkpoints[0].image_bytes.get();
        self.committer.keeps_much_log(image_bytes)
    }

    /// Does all steps that there are for chunks with numbers before `end`.
    fn move_all(&self, end: u64) -> Result<()> {
        // Only settled records are moved: also beside writers all that were staged by now.
        self.committer.with_places(|places, staged| places.note_full(staged.next_lsn));
        self.committer.sync()?;
        let mut wait_count = 0;
        loop {
            self.committer.health.check()?;
            let mut mover = lock(&self.moving);
            let is_idle = self.step_mover(&mut mover, Pace::AllBefore(end))? == Step::Idle;
            let waits_for_readers = mover.waits_for_readers();
            drop(mover);
            match is_idle {
                false => {}
                // Those at work are through in a moment.
                true if waits_for_readers && wait_count < READERS_WAIT_COUNT_MAX => {
                    wait_count += 1;
                    self.committer.place_freed.wait(READERS_WAIT);
                }
                true => return Ok(()),
            }
        }
    }

    /// Bytes of places that chunks have.
    fn taken_bytes(&self) -> u64 {
        let (used_bytes, waiting_bytes) = self.committer.taken_bytes();
        used_bytes + waiting_bytes
    }
}
