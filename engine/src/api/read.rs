//! The verbs that read.

use uarr_uring::Storage;

use crate::api::db::Db;
use crate::api::key_range::{KeyRange, StoredRange};
use crate::api::range::Range;
use crate::api::record::Record;
use crate::api::table_place::index_of;
use crate::data::key_index::KeyIndex;
use crate::error::{Error, Result};
use crate::key::AsKey;
use crate::key_space::KeySpace;
use crate::limits::TOGETHER_MAX;
use crate::versions::open_table::OpenTable;

impl<S: Storage> Db<S> {
    /// The record of `key`, in place. No system call and no lock.
    ///
    /// Errors: `InvalidArgument`, `Corruption`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use uarr::uarr;
    ///
    /// db.put("user:1", uarr!({ "name": "Ada", "born": 1815 }))?;
    /// let record = db.get("user:1")?.ok_or("not found")?;
    /// let user = record.uarr()?; // a view: no field is decoded before it is read
    /// assert_eq!(user.get("born").and_then(|born| born.as_u64()), Some(1815));
    /// assert!(db.get("user:2")?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn get(&self, key: impl AsKey) -> Result<Option<Record<'_>>> {
        let (records, index) = (self.core().records(), self.index()?);
        let found = match index.space.kind.encode_int(&key) {
            Some(key) => records.get_int(index, key),
            None => records.get(index, index.space.encode(&key)?.as_ref()),
        };
        let found = found.map_err(|error| self.read_error(error))?;
        Ok(found.map(|record| Record::new(record, records.key_kind())))
    }

    /// The records of all `keys`, in the same order: as [`Db::get`] one after the other, each of
    /// them as of its own moment, but with the cache misses of 16 keys at a time overlapping.
    /// Several times faster where the data is larger than the processor's caches.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// let records = db.get_many(&["a", "b"])?;
    /// assert_eq!(records[0].as_deref(), Some(&b"1"[..]));
    /// assert!(records[1].is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_many<K: AsKey>(&self, keys: &[K]) -> Result<Vec<Option<Record<'_>>>> {
        let (core, index) = (self.core(), self.index()?);
        let kind = core.records().key_kind();
        let mut records = Vec::with_capacity(keys.len());
        for keys in keys.chunks(TOGETHER_MAX) {
            core.records()
                .get_group(index, keys, |held| {
                    records.push(held.map(|held| Record::new(held, kind)))
                })
                .map_err(|error| self.read_error(error))?;
        }
        Ok(records)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: impl AsKey) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The records with keys in `range`, in key order, as of now. `rev()` walks backwards. A range
    /// whose start lies behind its end is empty. A bound may be empty in tables with byte keys:
    /// every key lies behind it.
    ///
    /// Errors: `InvalidArgument` for keys of another kind, and in tables without order, which have
    /// no range but `..`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("a", b"1").put("b", b"2").put("c", b"3").commit()?;
    /// let mut keys = Vec::new();
    /// for record in db.range("a".."c")?.rev() {
    ///     keys.push(record?.key().to_vec());
    /// }
    /// assert_eq!(keys, [b"b", b"a"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, range: impl KeyRange) -> Result<Range<'_, S>> {
        Ok(self.records_in(StoredRange::of(self.index()?.space, range)?))
    }

    /// All records, in key order if there is one, as of now.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("b", b"2").put("a", b"1").commit()?;
    /// let values = db.iter().map(|record| Ok(record?.bytes()[0]));
    /// assert_eq!(values.collect::<uarr::Result<Vec<_>>>()?, b"12");
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> Range<'_, S> {
        self.records_in(StoredRange::all())
    }

    /// The records whose byte keys start with `prefix`, in key order, as of now; with the empty
    /// prefix all records, those of integers included. A tuple finds the tuples that begin with its
    /// elements; see [`crate::KeyElement`].
    ///
    /// Errors: `InvalidArgument` for an integer, and in tables of integers or without order.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("user:1", b"Ada").put("user:2", b"Bob").put("z", b"").commit()?;
    /// assert_eq!(db.prefix("user:")?.count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefix(&self, prefix: impl AsKey) -> Result<Range<'_, S>> {
        Ok(self.records_in(StoredRange::of_prefix(self.index()?.space, &prefix)?))
    }

    /// The record with the lowest key. Errors: also `InvalidArgument`, in tables without order.
    pub fn first(&self) -> Result<Option<Record<'_>>> {
        self.space().check_order("the first record and the last")?;
        self.iter().next().transpose()
    }

    /// The record with the highest key. Errors: as for [`Db::first`].
    pub fn last(&self) -> Result<Option<Record<'_>>> {
        self.space().check_order("the first record and the last")?;
        self.iter().next_back().transpose()
    }

    /// How many keys there are, by counters: no record is read. Exact while no thread writes;
    /// beside writers it may be ahead of what readers see, or behind. Damaged records count, and
    /// such as have expired and are not deleted yet. Takes the lock under which writes are applied,
    /// for a moment.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// assert!(db.is_empty());
    /// db.batch().put("a", b"1").put("b", b"2").put("a", b"3").commit()?;
    /// assert_eq!(db.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> u64 {
        match &self.table {
            None => self.core().records().key_count(),
            Some(table) => self.core().records().key_count_of(&table.other),
        }
    }

    /// Whether there are no keys; as sure as [`Db::len`] is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of the table, to read. Errors: it was dropped.
    #[inline]
    pub(in crate::api) fn index(&self) -> Result<&KeyIndex> {
        if let Some(table) = &self.table {
            table.check()?;
        }
        Ok(index_of(self.core(), self.table.as_deref()))
    }

    /// What a reader is told that has met `error`: what is left of a table that was dropped
    /// meanwhile may lie in chunks that are gone.
    #[cold]
    pub(in crate::api) fn read_error(&self, error: Error) -> Error {
        self.index().err().unwrap_or(error)
    }

    /// The keys of the table.
    pub(in crate::api) fn space(&self) -> KeySpace {
        index_of(self.core(), self.table.as_deref()).space
    }

    fn records_in(&self, range: StoredRange) -> Range<'_, S> {
        let table = self.table.as_deref();
        let records = Range::new(self.core(), index_of(self.core(), table), range);
        // Behind its pin: the records of a table that is not dropped yet stay as long as that.
        records.if_ok(|| table.map_or(Ok(()), OpenTable::check))
    }
}

impl<'a, S: Storage> IntoIterator for &'a Db<S> {
    type Item = Result<Record<'a>>;
    type IntoIter = Range<'a, S>;

    /// As [`Db::iter`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", b"1")?;
    /// for record in &db {
    ///     assert_eq!(record?, b"1"); // the value, as bytes
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn into_iter(self) -> Range<'a, S> {
        self.iter()
    }
}
