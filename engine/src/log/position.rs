//! Places in the log, and whose log it is.

use uarr_layout::DatabaseId;
use uarr_layout::superblock::Checkpoint;

use crate::error::Error;
use crate::structure::Structure;

/// A place in the log: between two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPosition {
    pub segment: u64,
    pub offset: u64,
    /// LSN of the last record before this place.
    pub lsn: u64,
}

impl LogPosition {
    /// What comes next in the log, as errors name it.
    pub fn behind(self) -> Structure {
        Structure::log(self.segment).at(self.offset).lsn(self.lsn + 1)
    }

    /// The damage that a log is which ends here, although a checkpoint found it durable up to
    /// `durable_lsn`; `None` if it does not end before.
    pub fn ends_before(self, durable_lsn: u64) -> Option<Error> {
        (self.lsn < durable_lsn).then(|| {
            self.behind().damage(format!(
                "acknowledged records are missing: the last checkpoint found the log durable up to \
                 LSN {durable_lsn}, but it can be read only up to LSN {}",
                self.lsn
            ))
        })
    }
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
