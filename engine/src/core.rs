//! What one open database consists of, shared by all handles and background threads.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use uarr_uring::Storage;

use crate::checkpoint::root::Root;
use crate::commit::staging::Staging;
use crate::commit::turns::Waiting;
use crate::error::Error;
use crate::health::Health;
use crate::jobs::keeper::Quiet;
use crate::log::position::{LogIdentity, LogPosition};
use crate::log::segments::Segments;
use crate::log::writer::Log;
use crate::meters::counters::{Counters, Phases};
use crate::options::Options;
use crate::report::RecoveryReport;
use crate::sync::Signal;
use crate::versions::records::Records;

/// One open database.
pub(crate) struct Core<S: Storage> {
    pub storage: S,
    pub options: Options,
    pub path: PathBuf,
    pub identity: LogIdentity,
    pub records: Records<S>,
    pub segments: Segments<S::File>,
    pub log: Mutex<Log<S>>,
    pub staging: Mutex<Staging>,
    /// A group was settled; waited for with `staging`.
    pub settled: Condvar,
    /// A buffer came back; waited for with `staging`.
    pub buffer_free: Condvar,
    /// The log thread has something to do; waited for with `staging`.
    pub log_work: Condvar,
    /// Serialises growth of data file and log.
    pub space: Mutex<()>,
    /// Since when the log has not grown.
    pub quiet: Mutex<Quiet>,
    /// When things may be done ahead again after there was no room for them.
    pub ahead_from: Mutex<Duration>,
    pub root: Mutex<Root<S>>,
    pub log_end: Mutex<LogPosition>,
    pub buffer_bytes: usize,
    pub staged_bytes_max: u64,
    /// For those whose turn it is not.
    pub waiting: Waiting,
    pub counters: Counters,
    pub phases: Phases,
    pub keeper: Signal,
    pub checkpointer: Signal,
    pub health: Health,
    /// Why the last background step failed.
    pub background_error: Mutex<Option<Error>>,
    pub report: RecoveryReport,
    pub _lock: S::Lock,
}
