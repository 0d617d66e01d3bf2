//! Ordered iteration that owns what it needs, for threads and tasks.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use uarr_uring::{Storage, System};

use crate::api::db::Db;
use crate::api::handle::Handle;
use crate::api::key_range::{KeyRange, StoredRange, high_bound, low_bound};
use crate::api::owned_record::OwnedRecord;
use crate::api::range_walk::RangeWalk;
use crate::api::record::Record;
use crate::api::snapshot::Snapshot;
use crate::api::table_place::index_of;
use crate::data::key_index::Direction;
use crate::error::Result;
use crate::key::AsKey;
use crate::key_space::KeySpace;
use crate::versions::open_table::OpenTable;

/// A [`crate::Range`] that borrows nothing: it may go to another thread or task and be kept for as
/// long as it is of use. As a clone of the database does, it keeps the database open; as a
/// [`Snapshot`], it keeps the versions that it may show.
///
/// As an iterator it gives copies of the records, which may go further than it does.
/// [`OwnedRange::next_in_place`] gives the records themselves, each borrowed from the range.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let db = uarr::Db::open(&dir)?;
/// db.batch().put("a", b"1").put("b", b"2").put("c", b"3").commit()?;
/// let mut range = db.range_owned("b"..)?;
/// let sum = tokio::spawn(async move {
///     let mut sum = 0;
///     while let Some(record) = range.next_in_place() {
///         sum += u64::from(record?[0] - b'0');
///     }
///     Ok::<_, uarr::Error>(sum)
/// });
/// db.delete("b")?; // the range may still show it
/// drop(db);
/// assert_eq!(sum.await??, 5);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
pub struct OwnedRange<S: Storage = System> {
    /// Dropped first: the last handle closes the database, which needs no old versions.
    walk: RangeWalk,
    handle: Arc<Handle<S>>,
    table: Option<Arc<OpenTable>>,
}

impl<S: Storage> fmt::Debug for OwnedRange<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedRange").field(&self.walk).finish()
    }
}

impl<S: Storage> OwnedRange<S> {
    fn of(Snapshot { pin, handle, table }: Snapshot<S>, range: StoredRange) -> Self {
        Self { walk: RangeWalk::new(range, pin), handle, table }
    }

    fn advance(&mut self, direction: Direction) -> Option<Result<Record<'_>>> {
        let core = &self.handle.core;
        let index = index_of(core, self.table.as_deref());
        self.walk.advance(core.records(), index, direction)
    }

    fn space(&self) -> KeySpace {
        index_of(&self.handle.core, self.table.as_deref()).space
    }

    /// The next record, as [`Iterator::next`], without a copy.
    pub fn next_in_place(&mut self) -> Option<Result<Record<'_>>> {
        self.advance(Direction::Forward)
    }

    /// The next record from the end, as [`DoubleEndedIterator::next_back`], without a copy.
    pub fn next_back_in_place(&mut self) -> Option<Result<Record<'_>>> {
        self.advance(Direction::Backward)
    }

    /// Goes to `key`; see [`crate::Range::seek`].
    pub fn seek(&mut self, key: impl AsKey) -> Result<()> {
        let from = low_bound(self.space(), Bound::Included(&key))?;
        self.walk.seek(from, Direction::Forward);
        Ok(())
    }

    /// As [`OwnedRange::seek`], from the end: the next record from there is the last one at or
    /// before `key`.
    pub fn seek_back(&mut self, key: impl AsKey) -> Result<()> {
        let to = high_bound(self.space(), Bound::Included(&key))?;
        self.walk.seek(to, Direction::Backward);
        Ok(())
    }
}

impl<S: Storage> Iterator for OwnedRange<S> {
    type Item = Result<OwnedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_in_place()?.map(|record| record.to_owned()))
    }
}

impl<S: Storage> DoubleEndedIterator for OwnedRange<S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        Some(self.next_back_in_place()?.map(|record| record.to_owned()))
    }
}

impl<S: Storage> std::iter::FusedIterator for OwnedRange<S> {}

impl<S: Storage> Db<S> {
    /// As [`Db::range`], for other threads and tasks; see [`OwnedRange`].
    pub fn range_owned(&self, range: impl KeyRange) -> Result<OwnedRange<S>> {
        self.snapshot().into_range(range)
    }

    /// As [`Db::prefix`], for other threads and tasks; see [`OwnedRange`].
    pub fn prefix_owned(&self, prefix: impl AsKey) -> Result<OwnedRange<S>> {
        self.snapshot().into_prefix(prefix)
    }
}

impl<S: Storage> Snapshot<S> {
    /// The records with keys in `range`, as of this moment, in a range that owns the snapshot; a
    /// clone of it serves others.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("a", b"1").put("b", b"2").commit()?;
    /// let range = db.snapshot().into_range(..)?;
    /// db.delete_prefix("")?;
    /// let keys = std::thread::spawn(move || {
    ///     range.map(|record| Ok(record?.key().to_vec())).collect::<uarr::Result<Vec<_>>>()
    /// });
    /// assert_eq!(keys.join().map_err(|_| "panicked")??, [b"a", b"b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_range(self, range: impl KeyRange) -> Result<OwnedRange<S>> {
        self.check()?;
        let range = StoredRange::of(self.space(), range)?;
        Ok(OwnedRange::of(self, range))
    }

    /// As [`Snapshot::into_range`], of the byte keys that start with `prefix`.
    pub fn into_prefix(self, prefix: impl AsKey) -> Result<OwnedRange<S>> {
        self.check()?;
        let range = StoredRange::of_prefix(self.space(), &prefix)?;
        Ok(OwnedRange::of(self, range))
    }
}
