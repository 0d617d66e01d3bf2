//! What one open database consists of, shared by all handles and background threads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use uarr_uring::Storage;

use crate::catalog::CatalogEntry;
use crate::checkpoint::root::Root;
use crate::commit::committer::Committer;
use crate::data::removal::Removals;
use crate::data::sweeping::Sweeping;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::report::RecoveryReport;
use crate::structure::Structure;
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
    pub removals: Ranked<Removals>,
    /// Number of the older checkpoint that the superblock names, durably; 0: none.
    pub older_checkpoint: AtomicU64,
    /// Why the last background step failed, of each task whose last one did.
    pub background_errors: Ranked<BTreeMap<Task, Error>>,
    pub report: RecoveryReport,
    pub path: PathBuf,
    pub _lock: Arc<S::Lock>,
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
    /// one. False: it was dropped before.
    #[must_use]
    pub fn note_dropped(&mut self, number: u32, lsn: u64) -> bool {
        if self.dropped.contains_key(&number) {
            return false;
        }
        self.dropped.insert(number, lsn);
        self.open.remove(&number).iter().for_each(|table| table.note_dropped(lsn));
        true
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

    /// What handles of table `name` share, of which the catalog's record with `version` says
    /// `entry`. Errors: the catalog contradicts itself.
    pub fn open_table(
        &self,
        name: &str,
        entry: &CatalogEntry,
        version: u64,
    ) -> Result<Arc<OpenTable>> {
        let known = lock(&self.open_tables).open.get(&entry.number).cloned();
        let table = known.unwrap_or_else(|| {
            let index = self.records().tables.open(entry.prefix());
            let table = Arc::new(OpenTable::new(name, entry, version, index));
            // The caller may have found its name before somebody dropped it.
            lock(&self.open_tables).enter(table)
        });
        if !table.is(name, entry) {
            return Err(number_of_two(entry.number));
        }
        table.note_options(entry, version);
        Ok(table)
    }

    /// Whether one of the tables with `numbers` has each write durable.
    pub fn have_durable_writes(&self, numbers: &BTreeSet<u32>) -> bool {
        let tables = lock(&self.open_tables);
        let mut found = numbers.iter().filter_map(|number| tables.open.get(number));
        found.any(|table| table.is_durable())
    }

    /// What was chosen when the database was opened.
    pub fn options(&self) -> &Options {
        &self.committer.options
    }
}

/// The error for two tables with one number, which the engine does not write.
#[cold]
pub(crate) fn number_of_two(number: u32) -> Error {
    let what = format!("the catalog has two tables with number {number}");
    Structure::data_file().damage(what)
}
