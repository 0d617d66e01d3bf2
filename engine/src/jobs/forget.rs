//! Taking deleted keys out of the index that no write has taken out.
//!
//! Writers forget deletions as they apply their own records, some with each, up to what is visible
//! and no reader needs. What they leave, because they were the last, or a reader held it up, or it
//! was replayed, would stay until the next write: its records, its index entries, and what each
//! walk has to step over.

use std::time::Duration;

use uarr_uring::Storage;

use crate::core::Core;
use crate::jobs::keeper::Step;

/// Keys that are taken out under one hold of the lock, which writers wait for.
const FORGET_COUNT: usize = 64;
/// Rest between two steps: some 100,000 keys a second.
const FORGET_REST: Duration = Duration::from_micros(500);

impl<S: Storage> Core<S> {
    /// Forgets some deletions.
    pub fn step_forgetting(&self) -> Step {
        // Beside writers that delete there are always a few.
        match self.forget_some() {
            FORGET_COUNT => Step::Leisure(FORGET_REST),
            _ => Step::Idle,
        }
    }

    /// Forgets all deletions that no reader needs; of those that come meanwhile some may stay.
    pub fn forget_all(&self) {
        while self.forget_some() == FORGET_COUNT {}
    }

    fn forget_some(&self) -> usize {
        match self.committer.health.check() {
            Ok(()) => {
                let count = self.records().forget_deleted(FORGET_COUNT);
                assert!(count <= FORGET_COUNT, "writers wait for so many at most");
                count
            }
            Err(_) => 0,
        }
    }
}
