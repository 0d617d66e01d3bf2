//! Giving back all space that can be given back now, for a caller who asks for it.

use std::sync::atomic::Ordering;

use uarr_uring::Storage;

use crate::core::Core;
use crate::error::Result;
use crate::jobs::checkpoint::Then;
use crate::jobs::keeper::Step;
use crate::jobs::mover::Pace;
use crate::sync::lock;

/// Checkpoints at most. After two a place is free that no reader needs: the older of those that are
/// kept has to know that its chunk is empty. Writers may empty others meanwhile.
const CHECKPOINT_COUNT_MAX: usize = 4;

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
        self.move_all()?;
        for _ in 0..CHECKPOINT_COUNT_MAX {
            if !self.waits_for_checkpoint() {
                break;
            }
            self.checkpoint(Then::GoOn)?;
            self.move_all()?;
        }
        Ok(CompactReport {
            moved_bytes: moved_bytes.load(Ordering::Relaxed) - moved_before,
            freed_bytes: taken_before.saturating_sub(self.taken_bytes()),
            waiting_bytes: self.committer.taken_bytes().1,
        })
    }

    /// Does all steps that there are.
    fn move_all(&self) -> Result<()> {
        // Only settled records are moved.
        self.committer.sync()?;
        loop {
            self.committer.health.check()?;
            let mut mover = lock(&self.moving);
            if self.step_mover(&mut mover, Pace::All)? == Step::Idle {
                return Ok(());
            }
        }
    }

    /// Bytes of places that chunks have.
    fn taken_bytes(&self) -> u64 {
        let (used_bytes, waiting_bytes) = self.committer.taken_bytes();
        used_bytes + waiting_bytes
    }
}
