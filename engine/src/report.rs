//! What opening a database found and did.

use std::time::Duration;

use crate::error::Error;

/// A torn tail that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// Segment file.
    pub file: String,
    /// Where the log was cut.
    pub offset: u64,
    /// The last LSN that was kept.
    pub lsn: u64,
    /// What stood there.
    pub detail: String,
}

/// What opening found and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The database was created by this open.
    pub created: bool,
    /// It had been closed in order, so there was nothing to replay.
    pub clean: bool,
    /// Checkpoint that was used; 0 is the empty database.
    pub checkpoint: u64,
    /// Records that came from the checkpoint's index image.
    pub indexed_record_count: u64,
    /// Groups read from the log.
    pub replayed_group_count: u64,
    /// Records read from the log.
    pub replayed_record_count: u64,
    /// A group at the end that was not written completely and never acknowledged.
    pub torn_tail: Option<TornTail>,
    /// Damage that was got around: by the other superblock slot, or by the older checkpoint.
    pub notes: Vec<Error>,
    /// How long opening took.
    pub duration: Duration,
}
