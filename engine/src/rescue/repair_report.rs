//! What a repair leaves behind, and what it keeps.

use crate::error::Error;
use crate::limits::DAMAGE_COUNT_MAX;

/// What to leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairMode {
    /// Everything behind the place where the log can no longer be read in order: what is kept is
    /// the database as of one moment, but for damaged records.
    Tolerate,
    /// Only what is damaged itself: records behind a damaged part of the log are kept too. Where
    /// the log is not damaged, nothing behind its end counts, as for opening.
    Salvage,
}

/// What a repair kept and what it could not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// Records that were written to the new database.
    pub kept_count: u64,
    /// How many of them came from the log, because the data file does not have them.
    pub kept_from_log_count: u64,
    /// Keys that were found and are deleted: their newest version says so, or the newest index
    /// image that is whole does not have them any more.
    pub deleted_count: u64,
    /// The superblock cannot be read, or no index image that it names: keys that were deleted
    /// before the checkpoint may have come back, as nothing says any more that they were.
    pub may_revive_deleted: bool,
    /// Versions whose LSN is known and of which every copy is damaged. One that was replaced later
    /// is no loss.
    pub lost_count: u64,
    /// Versions that are whole and were left out, because nothing proves that they were durable or
    /// because they lie behind the end of the log.
    pub left_out_count: u64,
    /// Number of damaged places.
    pub damage_count: u64,
    /// The first 1000 of them.
    pub damages: Vec<Error>,
}

impl RepairReport {
    pub(crate) fn note(&mut self, damage: Error) {
        self.damage_count += 1;
        if self.damages.len() < DAMAGE_COUNT_MAX {
            self.damages.push(damage);
        }
    }
}
