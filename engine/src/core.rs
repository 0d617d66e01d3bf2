//! What one open database consists of, shared by all handles and background threads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use uarr_layout::record::Locator;
use uarr_uring::Storage;

use crate::checkpoint::root::Root;
use crate::commit::staging::Staging;
use crate::commit::turns::Waiting;
use crate::data::applier::Applier;
use crate::data::store::{RecordStore, RecordView};
use crate::data::table::Table;
use crate::error::{Error, Result};
use crate::files::DATA_FILE;
use crate::health::Health;
use crate::jobs::keeper::Quiet;
use crate::key::AsKey;
use crate::limits::TOGETHER_MAX;
use crate::log::position::{LogIdentity, LogPosition};
use crate::log::segments::Segments;
use crate::log::writer::Log;
use crate::meters::counters::{Counters, Phases};
use crate::options::Options;
use crate::report::RecoveryReport;
use crate::sync::Signal;
use crate::versions::pins::Pins;

/// One open database.
pub(crate) struct Core<S: Storage> {
    pub storage: S,
    pub options: Options,
    pub path: PathBuf,
    pub identity: LogIdentity,
    pub chunk_bytes: u64,
    pub store: RecordStore<S::Map>,
    pub table: Table,
    pub segments: Segments<S::File>,
    pub log: Mutex<Log<S>>,
    pub applier: Mutex<Applier<S::MapWriter>>,
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
    /// Address space of the data file's map.
    pub reserved_bytes: u64,
    pub data_file: S::File,
    pub root: Mutex<Root<S>>,
    pub log_end: Mutex<LogPosition>,
    pub buffer_bytes: usize,
    pub staged_bytes_max: u64,
    /// Readers see records up to here.
    pub visible_lsn: AtomicU64,
    /// Records up to here survive a loss of power.
    pub durable_lsn: AtomicU64,
    /// For those whose turn it is not.
    pub waiting: Waiting,
    /// The data file is in memory up to here.
    pub prefaulted: AtomicU64,
    /// Data file bytes before this were handed to the device.
    pub written_back: AtomicU64,
    pub pins: Pins,
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

impl<S: Storage> Core<S> {
    /// The newest visible record of `key`.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<RecordView<'_>>> {
        let visible_lsn = self.visible_lsn.load(Ordering::Acquire);
        match self.table.get(key, &self.store)? {
            Some(locator) => {
                // The locator tells how long the record is: its value is on the way while the
                // header is read.
                self.store.prefetch(locator);
                self.version_of(locator, self.store.record(locator)?, visible_lsn)
            }
            None => Ok(None),
        }
    }

    /// The key of the record at `locator`: the record's own, or, if it is damaged, the one that it
    /// seems to have, if the index leads from there to it. Errors: damage that leaves the key
    /// unknown.
    pub fn key_of(&self, locator: Locator) -> Result<&[u8]> {
        let error = match self.store.record(locator) {
            Ok(view) => return Ok(view.key()),
            Err(error) => error,
        };
        let seeming = self.store.seeming_key(locator);
        seeming.filter(|key| self.table.leads_to(key, locator)).ok_or(error)
    }

    /// Gives `take` the newest visible record of each of up to [`TOGETHER_MAX`] keys, in their
    /// order; cache misses of index and records overlap.
    pub fn get_group<'a, K: AsKey>(
        &'a self,
        keys: &[K],
        mut take: impl FnMut(Option<RecordView<'a>>),
    ) -> Result<()> {
        let visible_lsn = self.visible_lsn.load(Ordering::Acquire);
        let mut all = [None; TOGETHER_MAX];
        let locators = &mut all[..keys.len()];
        self.table.get_group(keys, &self.store, locators)?;
        for locator in locators {
            take(match *locator {
                Some(locator) => {
                    self.version_of(locator, self.store.record(locator)?, visible_lsn)?
                }
                None => None,
            });
        }
        Ok(())
    }

    /// The version at or before `lsn` of the record whose newest version is `view`, at `locator`;
    /// `None` if there was none, or if it removes its key.
    #[inline]
    pub fn version_of<'a>(
        &'a self,
        locator: Locator,
        view: RecordView<'a>,
        lsn: u64,
    ) -> Result<Option<RecordView<'a>>> {
        let view = match view.header.lsn.get() <= lsn {
            true => Some(view),
            false => self.version_before(locator, view, lsn)?,
        };
        Ok(view.filter(|view| !view.header.is_tombstone()))
    }

    /// The version at or before `lsn` that `view`, at `locator`, came after.
    #[inline(never)]
    fn version_before<'a>(
        &'a self,
        mut locator: Locator,
        mut view: RecordView<'a>,
        lsn: u64,
    ) -> Result<Option<RecordView<'a>>> {
        while view.header.lsn.get() > lsn {
            match Locator::from_bits(view.header.previous.get()) {
                Some(previous) if previous < locator => locator = previous,
                Some(_) => {
                    let lsn = Some(view.header.lsn.get());
                    let what = "previous version does not lie before the record";
                    let address = locator.address();
                    return Err(Error::corrupt(DATA_FILE, address, lsn, "record", what));
                }
                None => return Ok(None),
            }
            view = self.store.record(locator)?;
        }
        Ok(Some(view))
    }
}
