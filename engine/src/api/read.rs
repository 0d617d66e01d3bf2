//! The verbs that read.

use uarr_uring::Storage;

use crate::api::db::Db;
use crate::api::key_range::{KeyRange, StoredRange};
use crate::api::range::Range;
use crate::api::record::Record;
use crate::error::Result;
use crate::key::AsKey;
use crate::limits::TOGETHER_MAX;

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
        let (records, kind) = (self.core().records(), self.key_kind());
        let found = match kind.encode_int(&key) {
            Some(key) => records.get_int(key)?,
            None => records.get(kind.encode(&key)?.as_ref())?,
        };
        Ok(found.map(|record| Record::new(record, kind)))
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
        let (core, kind) = (self.core(), self.key_kind());
        let mut records = Vec::with_capacity(keys.len());
        for keys in keys.chunks(TOGETHER_MAX) {
            core.records()
                .get_group(keys, |held| records.push(held.map(|held| Record::new(held, kind))))?;
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
        Ok(self.records_in(StoredRange::of(self.key_kind(), range)?))
    }

    /// All records, in key order, as of now.
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
    /// Errors: `InvalidArgument` for an integer, and in tables of integers.
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
        self.core().records().key_count()
    }

    /// Whether there are no keys; as sure as [`Db::len`] is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn records_in(&self, range: StoredRange) -> Range<'_, S> {
        Range::new(self.core(), range.low, range.high)
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
