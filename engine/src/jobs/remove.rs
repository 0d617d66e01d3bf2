//! Removing tables that were dropped: from the index, and so from what keeps chunks.
//!
//! 1. Readers from before the drop are waited for. Those that come later get no record of it.
//! 2. The index is taken out of the set, under the lock of the one writer: for the mover all
//!    records of the table are dead from then on.
//! 3. What the index has named is no longer counted as living, some at a time. Chunks of which
//!    nothing is counted go the way of all others.
//! 4. When both kept checkpoints have begun behind that, the mark in the catalog is deleted.
//!
//! Steps 2 and 3 are not logged. After a crash the mark has them done again.

use std::sync::atomic::Ordering;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::record::Locator;
use uarr_uring::{MapPin, Storage};

use crate::catalog::{CATALOG, catalog_key, mark_key, marked};
use crate::core::{Core, number_of_two};
use crate::data::removal::{Removal, RemovalStage};
use crate::error::{ErrorKind, Result};
use crate::jobs::keeper::Step;
use crate::options::WriteOptions;
use crate::sync::lock;
use crate::table_prefix::TablePrefix;

/// Records that are taken out of the count under one hold of the lock.
const STEP_COUNT: usize = 1024;

impl<S: Storage> Core<S> {
    /// Begins to remove the table with `prefix`, which was dropped with `lsn`. Errors: another
    /// table with this number was dropped since the database was opened.
    pub fn remove_table(&self, prefix: TablePrefix, lsn: u64) -> Result<()> {
        if !lock(&self.open_tables).note_dropped(prefix.number(), lsn) {
            return Err(number_of_two(prefix.number()));
        }
        // Behind it: readers that have not seen that have pinned what is visible by now.
        let visible_lsn = self.records().visible.lsn();
        debug_assert!(lsn <= visible_lsn, "a drop is visible before its table is removed");
        let stage = RemovalStage::Readers { lsn: visible_lsn };
        lock(&self.removals).put(Removal { prefix, stage });
        self.committer.sweeper.raise();
        Ok(())
    }

    /// At open: has the tables removed that have a mark. Errors: two marks have one number.
    pub fn resume_removals(&self) -> Result<()> {
        let catalog = self.records().tables.of(catalog_key(b"\0").as_ref());
        let Some(catalog) = catalog else { return Ok(()) };
        let pin = MapPin::enter();
        let reader = self.records().reader(&pin);
        for locator in
            catalog.locators(reader).into_iter().filter(|locator| !locator.is_tombstone())
        {
            // A damaged record is reported to whoever reads it; a mark that is lost costs space.
            let Ok(view) = reader.record(locator) else { continue };
            if let Some(prefix) = marked(view.key()) {
                self.committer.refuse_table(prefix).keep();
                self.remove_table(prefix, view.header.lsn.get())?;
            }
        }
        Ok(())
    }

    /// Goes on with the removal of a table that was dropped, if there is one that need not wait.
    pub fn step_removals(&self) -> Result<Step> {
        let oldest = self.records().pins.oldest_pinned().map(|(oldest, _)| oldest);
        let older_checkpoint = self.older_checkpoint.load(Ordering::Acquire);
        let Some(mut removal) = lock(&self.removals).take(oldest, older_checkpoint) else {
            return Ok(Step::Idle);
        };
        let done = self.step_removal(&mut removal);
        if !matches!(done, Ok(None)) {
            lock(&self.removals).put(removal);
        }
        done.map(|step| step.unwrap_or(Step::More))
    }

    /// Does all that can be done now.
    pub fn remove_all(&self) -> Result<()> {
        while self.step_removals()? == Step::More {}
        Ok(())
    }

    /// What it had to wait for has passed. `None`: nothing is left to do.
    fn step_removal(&self, removal: &mut Removal) -> Result<Option<Step>> {
        match &mut removal.stage {
            RemovalStage::Readers { .. } => {
                removal.stage = RemovalStage::Records(self.take_out(removal.prefix).into_iter());
            }
            RemovalStage::Records(left) => {
                let some: Vec<_> = left.take(STEP_COUNT).collect();
                self.records().forget(&some);
                if left.len() == 0 {
                    let number = self.latest_checkpoint();
                    removal.stage = RemovalStage::Checkpoints { number };
                    self.committer.mover.raise();
                }
            }
            RemovalStage::Checkpoints { .. } => {
                return match self.delete_mark(removal.prefix) {
                    Ok(()) => Ok(None),
                    // There is no hurry: until then each opening looks for what is gone.
                    Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Busy) => {
                        Ok(Some(Step::Idle))
                    }
                    Err(error) => Err(error),
                };
            }
        }
        Ok(Some(Step::More))
    }

    /// Takes the index of the table with `prefix` out of the set: what it has named.
    fn take_out(&self, prefix: TablePrefix) -> Vec<Locator> {
        // Before the first is dead: a checkpoint that begins now has to be followed by another.
        self.committer.counters.has_moved.store(true, Ordering::Release);
        let taken = {
            let _applier = self.records().applier();
            self.records().tables.take_out(prefix)
        };
        let Some(taken) = taken else { return Vec::new() };
        let pin = MapPin::enter();
        let reader = self.records().reader(&pin);
        taken.index.locators(reader)
    }

    /// The highest number that a checkpoint has, or that one has tried that failed. None is under
    /// way.
    fn latest_checkpoint(&self) -> u64 {
        let root = lock(&self.root);
        let named = root.checkpoints().map(|named| named.number.get()).max().unwrap_or(0);
        named.max(root.image_number_tried)
    }

    fn delete_mark(&self, prefix: TablePrefix) -> Result<()> {
        let key = CATALOG.bound(mark_key(prefix));
        let mut frames = [Frame::new(FrameKind::Delete, 0, &key, &[])];
        self.committer.write(&mut frames, WriteOptions::new()).map(drop)
    }
}
