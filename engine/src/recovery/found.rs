//! What recovery has rebuilt, and where the log continues.

use uarr_uring::Storage;

use crate::data::applier::Applier;
use crate::data::places::Places;
use crate::data::store::RecordStore;
use crate::data::tables::Tables;
use crate::log::position::LogPosition;
use crate::report::RecoveryReport;

/// Everything that recovery rebuilds.
pub(crate) struct Recovered<S: Storage> {
    pub store: RecordStore<S::Map>,
    pub tables: Tables,
    pub applier: Applier<S::MapWriter>,
    pub data_file: S::File,
    pub log: FoundLog,
    pub next_lsn: u64,
    /// The life that begins now.
    pub life: u64,
    pub places: Places,
    /// Address space of the data file's map.
    pub reserved_bytes: u64,
    pub report: RecoveryReport,
    /// It was so late, in ms since 1970; 0: there was never a record that expires.
    pub expiry_floor_ms: u64,
}

/// Where recovery found the end of the log, and where the log continues.
pub(crate) struct FoundLog {
    /// Numbers of the segment files, ascending.
    pub present: Vec<u64>,
    /// The segment with the last group.
    pub last_segment: u64,
    /// Where the next group goes.
    pub position: LogPosition,
    /// Bytes of log since the checkpoint, room that was left in segments included.
    pub bytes: u64,
}
