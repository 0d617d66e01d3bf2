//! What one open database consists of, shared by all handles and background threads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use uarr_uring::Storage;

use crate::catalog::CatalogEntry;
use crate::checkpoint::root::Root;
use crate::commit::committer::Committer;
use crate::data::removal::Removal;
use crate::data::sweeping::Sweeping;
use crate::error::Error;
use crate::options::Options;
use crate::report::RecoveryReport;
use crate::sync::{Ranked, lock};
use crate::versions::moving::Moving;
use crate::versions::open_table::OpenTable;
use crate::versions::records::Records;

/// One open database.
pub(crate) struct Core<S: Storage> {
    pub committer: Committer<S>,
    pub root: Ranked<Root<S>>,
    pub pacing: Ranked<Pacing>,
    /// What is being moved.
    pub moving: Ranked<Moving>,
    /// What is being looked through for records that have expired.
    pub sweeping: Ranked<Sweeping>,
    /// What handles of tables share, by number.
    pub open_tables: Ranked<OpenTables>,
    /// Tables that were dropped and are not gone yet.
    pub removals: Ranked<Vec<Removal>>,
    /// Number of the older checkpoint that the superblock names, durably; 0: none.
    pub older_checkpoint: AtomicU64,
    /// Why the last background step failed, of each task whose last one did.
    pub background_errors: Ranked<BTreeMap<Task, Error>>,
    pub report: RecoveryReport,
    pub path: PathBuf,
    pub _lock: S::Lock,
}

/// What a background thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    Checkpoint,
    Space,
    Moves,
    Sweep,
}

/// What the keeper remembers from step to step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pacing {
    /// How long the log was when it was last looked at, and since when.
    pub log_bytes: u64,
    pub quiet_since: Duration,
    /// When things may be done ahead again after there was no room for them.
    pub ahead_from: Duration,
    /// When a checkpoint may be tried again after there was no room for one.
    pub checkpoint_from: Duration,
}

/// What handles of tables share.
#[derive(Default)]
pub(crate) struct OpenTables {
    open: BTreeMap<u32, Arc<OpenTable>>,
    /// Tables that were dropped in this session, and with which LSN: their numbers never come back.
    dropped: BTreeMap<u32, u64>,
}

impl OpenTables {
    fn enter(&mut self, table: Arc<OpenTable>) -> Arc<OpenTable> {
        if let Some(lsn) = self.dropped.get(&table.number) {
            table.note_dropped(*lsn);
            return table;
        }
        self.open.entry(table.number).or_insert(table).clone()
    }

    /// Table `number` was dropped with `lsn`: those that have a handle learn it, and those that get
    /// one.
    pub fn note_dropped(&mut self, number: u32, lsn: u64) {
        self.dropped.insert(number, lsn);
        self.open.remove(&number).iter().for_each(|table| table.note_dropped(lsn));
    }
}

impl<S: Storage> Core<S> {
    /// What readers use.
    #[inline]
    pub fn records(&self) -> &Records<S> {
        &self.committer.records
    }

    /// The files, the clock and the kernel.
    pub fn storage(&self) -> &S {
        &self.committer.storage
    }

    /// What handles of table `name` share.
    pub fn open_table(&self, name: &str, entry: &CatalogEntry) -> Arc<OpenTable> {
        let known = lock(&self.open_tables).open.get(&entry.number).cloned();
        known.unwrap_or_else(|| {
            // The caller may have found its name before somebody dropped it.
            let dropped_lsn = lock(&self.open_tables).dropped.get(&entry.number).copied();
            let tables = &self.records().tables;
            let index = match dropped_lsn {
                None => tables.open(entry.prefix()),
                Some(_) => tables.detached(entry.prefix()),
            };
            let table = Arc::new(OpenTable::new(name, entry, index));
            lock(&self.open_tables).enter(table)
        })
    }

    /// What was chosen when the database was opened.
    pub fn options(&self) -> &Options {
        &self.committer.options
    }
}
