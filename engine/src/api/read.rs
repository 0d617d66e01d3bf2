//! The verbs that read.

use std::ops::Bound;

use uarr_uring::Storage;

use crate::api::db::Db;
use crate::api::key_range::KeyRange;
use crate::api::range::{Range, prefix_end};
use crate::api::record::Record;
use crate::error::{Error, Result};
use crate::key::{AsKey, KeyKind, stored_prefix};
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
        let kind = self.key_kind();
        let key = kind.encode(&key)?;
        Ok(self.core().records().get(key.as_ref())?.map(|record| Record::new(record, kind)))
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
        let low = match self.bound(range.low())? {
            // Every key lies behind the empty one.
            Bound::Included(key) if key.is_empty() => Bound::Unbounded,
            low => low,
        };
        let high = match self.bound(range.high())? {
            // And no key is it.
            Bound::Included(key) if key.is_empty() => Bound::Excluded(key),
            high => high,
        };
        Ok(Range::new(self.core(), low, high))
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
        Range::new(self.core(), Bound::Unbounded, Bound::Unbounded)
    }

    /// The records whose byte keys start with `prefix`, in key order, as of now; with the empty
    /// prefix all records, those of integers included.
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
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Range<'_, S>> {
        if self.key_kind() != KeyKind::Bytes {
            return Err(Error::invalid("prefixes are for tables with byte keys; use a range"));
        }
        let prefix = stored_prefix(prefix.as_ref());
        let high = prefix_end(&prefix);
        let low = match prefix.is_empty() {
            true => Bound::Unbounded,
            false => Bound::Included(prefix),
        };
        Ok(Range::new(self.core(), low, high))
    }

    /// The record with the lowest key.
    pub fn first(&self) -> Result<Option<Record<'_>>> {
        self.iter().next().transpose()
    }

    /// The record with the highest key.
    pub fn last(&self) -> Result<Option<Record<'_>>> {
        self.iter().next_back().transpose()
    }

    /// The stored form of a bound. Unlike a key it may be empty in tables with byte keys.
    fn bound<K: AsKey + ?Sized>(&self, bound: Bound<&K>) -> Result<Bound<Vec<u8>>> {
        let kind = self.key_kind();
        let encode = |key: &K| -> Result<Vec<u8>> {
            let is_bytes = kind == KeyKind::Bytes && key.kind() == kind;
            if is_bytes && key.to_key().as_ref().is_empty() {
                return Ok(Vec::new());
            }
            Ok(kind.encode(key)?.as_ref().to_vec())
        };
        Ok(match bound {
            Bound::Included(key) => Bound::Included(encode(key)?),
            Bound::Excluded(key) => Bound::Excluded(encode(key)?),
            Bound::Unbounded => Bound::Unbounded,
        })
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
