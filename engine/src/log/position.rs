//! Places in the log, and whose log it is.

use uarr_layout::DatabaseId;
use uarr_layout::superblock::Checkpoint;

/// A place in the log: between two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPosition {
    pub segment: u64,
    pub offset: u64,
    /// LSN of the last record before this place.
    pub lsn: u64,
}

/// Identity of the log that is being written.
#[derive(Clone, Copy)]
pub(crate) struct LogIdentity {
    pub database: DatabaseId,
    pub life: u64,
    pub block_bytes: usize,
}

/// Where replay starts.
pub(crate) fn start_of(checkpoint: &Checkpoint) -> LogPosition {
    LogPosition {
        segment: checkpoint.segment.get(),
        offset: checkpoint.offset.get(),
        lsn: checkpoint.lsn.get(),
    }
}
