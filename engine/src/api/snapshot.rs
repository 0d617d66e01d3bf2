//! Reading many records as of one moment.

use std::fmt;
use std::sync::Arc;

use uarr_uring::{Storage, System};

use crate::api::db::Db;
use crate::api::handle::Handle;
use crate::api::key_range::{KeyRange, StoredRange};
use crate::api::range::Range;
use crate::api::record::Record;
use crate::api::table_place::index_of;
use crate::catalog::CatalogEntry;
use crate::data::key_index::KeyIndex;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{AsKey, KeyKind};
use crate::key_space::KeySpace;
use crate::versions::open_table::OpenTable;
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
    pub(in crate::api) table: Option<Arc<OpenTable>>,
}

impl<S: Storage> Clone for Snapshot<S> {
    fn clone(&self) -> Self {
        let (handle, table) = (self.handle.clone(), self.table.clone());
        Self { pin: self.pin.clone(), handle, table }
    }
}

impl<S: Storage> fmt::Debug for Snapshot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl<S: Storage> Snapshot<S> {
    pub(in crate::api) fn new(handle: Arc<Handle<S>>, table: Option<Arc<OpenTable>>) -> Self {
        let core = &handle.core;
        let pin = core.records().pin(Keeps::Versions, || core.storage().now());
        Self { pin, handle, table }
    }

    /// The newest version that it sees: no record that it shows has a later one.
    pub fn version(&self) -> u64 {
        self.pin.lsn
    }

    /// The same snapshot of another table, or of the default one for the handle of the database.
    /// Tables that were dropped since are read through handles from before.
    ///
    /// Errors: `InvalidArgument` for a table of another database, `TableNotFound` for one that was
    /// dropped before the snapshot was taken.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// let users = db.table("users")?;
    /// users.put("ada", b"Ada")?;
    /// let snapshot = db.snapshot().of(&users)?;
    /// db.drop_table("users")?;
    /// assert_eq!(snapshot.get("ada")?.ok_or("not found")?, b"Ada");
    /// # Ok(())
    /// # }
    /// ```
    pub fn of(&self, table: &Db<S>) -> Result<Self> {
        if !Arc::ptr_eq(&self.handle, &table.handle) {
            return Err(Error::invalid("the table is of another database than the snapshot"));
        }
        if let Some(table) = &table.table {
            self.check_table(table)?;
        }
        Ok(Self { table: table.table.clone(), ..self.clone() })
    }

    /// Errors: its table was dropped before it was taken.
    pub(in crate::api) fn check(&self) -> Result<()> {
        let table = self.table.as_deref();
        table.map_or(Ok(()), |table| table.check_at(self.pin.lsn))
    }

    /// Errors: `table` was not there when the snapshot was taken.
    fn check_table(&self, table: &OpenTable) -> Result<()> {
        let records = self.handle.core.records();
        let found = match records.tables.of(&table.catalog_key) {
            Some(catalog) => records.get_pinned(&catalog, &table.catalog_key, &self.pin)?,
            None => None,
        };
        let entry = found.map(|record| CatalogEntry::read(&table.name, record.value()));
        match entry.transpose()? {
            Some(entry) if entry.number == table.number => Ok(()),
            _ => {
                let name = &table.name;
                let message = format!("table '{name}' was not there when the snapshot was taken");
                Err(Error::new(ErrorKind::TableNotFound, message))
            }
        }
    }

    /// The record of `key`; errors as for [`crate::Db::get`].
    pub fn get(&self, key: impl AsKey) -> Result<Option<Record<'_>>> {
        self.check()?;
        let (records, index) = (self.handle.core.records(), self.index());
        let key = index.space.encode(&key)?;
        let record = records.get_pinned(index, key.as_ref(), &self.pin)?;
        Ok(record.map(|record| Record::new(record, records.key_kind())))
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
        Ok(self.records_in(StoredRange::of(self.space(), range)?))
    }

    /// All records; see [`crate::Db::iter`].
    pub fn iter(&self) -> Range<'_, S> {
        self.records_in(StoredRange::all())
    }

    /// The records whose byte keys start with `prefix`; see [`crate::Db::prefix`].
    pub fn prefix(&self, prefix: impl AsKey) -> Result<Range<'_, S>> {
        Ok(self.records_in(StoredRange::of_prefix(self.space(), &prefix)?))
    }

    /// The record with the lowest key.
    pub fn first(&self) -> Result<Option<Record<'_>>> {
        self.space().check_order("the first record and the last")?;
        self.iter().next().transpose()
    }

    /// The record with the highest key.
    pub fn last(&self) -> Result<Option<Record<'_>>> {
        self.space().check_order("the first record and the last")?;
        self.iter().next_back().transpose()
    }

    /// What kind of keys the database has.
    pub fn key_kind(&self) -> KeyKind {
        self.space().kind
    }

    fn index(&self) -> &KeyIndex {
        index_of(&self.handle.core, self.table.as_deref())
    }

    pub(in crate::api) fn space(&self) -> KeySpace {
        self.index().space
    }

    fn records_in(&self, range: StoredRange) -> Range<'_, S> {
        Range::pinned(&self.handle.core, self.index(), range, self.pin.clone())
            .if_ok(|| self.check())
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

impl<S: Storage> Db<S> {
    /// The records as they are now, for as long as the snapshot is kept, while writers go on. See
    /// [`Snapshot`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// let snapshot = db.snapshot();
    /// db.batch().put("a", b"2").put("b", b"2").commit()?;
    /// assert_eq!(snapshot.get("a")?.ok_or("not found")?, b"1");
    /// assert!(snapshot.get("b")?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> Snapshot<S> {
        Snapshot::new(self.handle.clone(), self.table.clone())
    }
}
