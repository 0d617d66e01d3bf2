//! [`Watch`]: looking at the superblock before and after other reads.

use std::sync::Arc;

use uarr_layout::DatabaseId;
use uarr_layout::superblock::Checkpoint;
use uarr_uring::{OpenMode, Storage};

use crate::checkpoint::root::{RawSlots, SlotReader, choose};
use crate::error::Result;

/// A slot that cannot be read so often in a row, and is the same each time, is damaged; one that is
/// being written changes meanwhile.
const SAME_COUNT: u32 = 4;
/// So often a slot may change under the reader's eyes.
const LOOK_COUNT_MAX: u32 = 10_000;

/// See [`self`].
pub(crate) struct Watch<S> {
    storage: Arc<S>,
}

impl<S: Storage> Watch<S> {
    pub fn new(storage: Arc<S>) -> Self {
        Self { storage }
    }

    /// Both slots, neither in the midst of being written; `None`: there is no superblock. The file
    /// is opened by its name each time: the one before may be gone, with another database in its
    /// place.
    pub fn look(&self) -> Result<Option<RawSlots>> {
        let Some(slots) = SlotReader::open(&*self.storage, OpenMode::ReadDirect)? else {
            return Ok(None);
        };
        let mut seen = slots.read()?;
        let mut same_count = 0;
        for _ in 0..LOOK_COUNT_MAX {
            if same_count == SAME_COUNT || seen.decode().iter().all(Result::is_ok) {
                break;
            }
            let again = slots.read()?;
            same_count = if again == seen { same_count + 1 } else { 0 };
            seen = again;
        }
        Ok(Some(seen))
    }

    /// Whether all that `checkpoint` of `database` needs is still as it was when the slots were
    /// `seen`.
    pub fn keeps(
        &self,
        seen: &RawSlots,
        (database, checkpoint): (DatabaseId, &Checkpoint),
    ) -> Result<bool> {
        let Some(now) = self.look()? else { return Ok(false) };
        if now == *seen {
            return Ok(true);
        }
        let in_force = choose(now.decode(), &mut Vec::new())?.block;
        let place = |kept: &Checkpoint| (kept.number, kept.segment, kept.offset);
        let has_place = in_force.checkpoints.iter().any(|kept| place(kept) == place(checkpoint));
        Ok(in_force.database == database && has_place)
    }

    /// Whether the superblock is as it was when the slots were `seen`: neither written since, nor
    /// taken away, with another one in its place perhaps.
    pub fn is_unchanged(&self, seen: &RawSlots) -> Result<bool> {
        Ok(self.look()?.as_ref() == Some(seen))
    }
}
