//! Reading many records as of one moment.

use std::fmt;
use std::sync::Arc;

use uarr_uring::{Storage, System};

use crate::api::handle::Handle;
use crate::api::key_range::{KeyRange, StoredRange};
use crate::api::range::Range;
use crate::api::record::Record;
use crate::error::Result;
use crate::key::{AsKey, KeyKind};
use crate::versions::pins::{Keeps, LsnPin};

/// The records as they were when [`crate::Db::snapshot`] was called: gets and ranges all see that
/// moment, whatever is written meanwhile. It may go to other threads and tasks. Clones look at the
/// same moment.
///
/// As a clone of the database does, it keeps the database open. In `Sync` databases it sees only
/// what is durable.
///
/// What it costs: of records that are overwritten or deleted the versions that it sees are kept,
/// in the data file at first, and then in memory of up to
/// [`crate::Builder::retained_memory_max`]; beyond that the file does not shrink.
/// [`crate::SpaceStats`] has the oldest one's age.
pub struct Snapshot<S: Storage = System> {
    /// Dropped first: the last handle closes the database, which needs no old versions.
    pub(in crate::api) pin: LsnPin,
    pub(in crate::api) handle: Arc<Handle<S>>,
}

impl<S: Storage> Clone for Snapshot<S> {
    fn clone(&self) -> Self {
        Self { pin: self.pin.clone(), handle: self.handle.clone() }
    }
}

impl<S: Storage> fmt::Debug for Snapshot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl<S: Storage> Snapshot<S> {
    pub(in crate::api) fn new(handle: Arc<Handle<S>>) -> Self {
        let core = &handle.core;
        let pin = core.records().pin(Keeps::Versions, || core.storage().now());
        Self { pin, handle }
    }

    /// The newest version that it sees: no record that it shows has a later one.
    pub fn version(&self) -> u64 {
        self.pin.lsn
    }

    /// The record of `key`; errors as for [`crate::Db::get`].
    pub fn get(&self, key: impl AsKey) -> Result<Option<Record<'_>>> {
        let kind = self.key_kind();
        let key = kind.encode(&key)?;
        let record = self.handle.core.records().get_pinned(key.as_ref(), &self.pin)?;
        Ok(record.map(|record| Record::new(record, kind)))
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: impl AsKey) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The records with keys in `range`; see [`crate::Db::range`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("a", b"1").put("b", b"2").commit()?;
    /// let snapshot = db.snapshot();
    /// db.delete_prefix("")?;
    /// assert_eq!(snapshot.range("b"..)?.count(), 1);
    /// assert_eq!(snapshot.iter().rev().count(), 2);
    /// assert_eq!(db.iter().count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, range: impl KeyRange) -> Result<Range<'_, S>> {
        Ok(self.records_in(StoredRange::of(self.key_kind(), range)?))
    }

    /// All records; see [`crate::Db::iter`].
    pub fn iter(&self) -> Range<'_, S> {
        self.records_in(StoredRange::all())
    }

    /// The records whose byte keys start with `prefix`; see [`crate::Db::prefix`].
    pub fn prefix(&self, prefix: impl AsKey) -> Result<Range<'_, S>> {
        Ok(self.records_in(StoredRange::of_prefix(self.key_kind(), &prefix)?))
    }

    /// The record with the lowest key.
    pub fn first(&self) -> Result<Option<Record<'_>>> {
        self.iter().next().transpose()
    }

    /// The record with the highest key.
    pub fn last(&self) -> Result<Option<Record<'_>>> {
        self.iter().next_back().transpose()
    }

    /// What kind of keys the database has.
    pub fn key_kind(&self) -> KeyKind {
        self.handle.core.records().key_kind()
    }

    fn records_in(&self, range: StoredRange) -> Range<'_, S> {
        Range::pinned(&self.handle.core, range.low, range.high, self.pin.clone())
    }
}

impl<'a, S: Storage> IntoIterator for &'a Snapshot<S> {
    type Item = Result<Record<'a>>;
    type IntoIter = Range<'a, S>;

    /// As [`Snapshot::iter`].
    fn into_iter(self) -> Range<'a, S> {
        self.iter()
    }
}
