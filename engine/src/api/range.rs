//! Ordered iteration over a table, both ways, as of one moment.

use std::fmt;
use std::ops::Bound;

use uarr_uring::{Storage, System};

use crate::api::key_range::{StoredRange, high_bound, low_bound};
use crate::api::range_walk::RangeWalk;
use crate::api::record::Record;
use crate::core::Core;
use crate::data::key_index::{Direction, KeyIndex};
use crate::error::Result;
use crate::key::AsKey;
use crate::key_space::KeySpace;
use crate::versions::pins::{Keeps, LsnPin};
use crate::versions::records::Records;

/// Records of a key range in key order, as of the moment the iterator was made: it shows nothing
/// that is written or deleted later. `rev()` walks from the end. Records of a table without order
/// ([`crate::TableOptions::unordered`]) come in any order, and only forward: what walks from the
/// end gets an `InvalidArgument`, and no more.
///
/// A damaged record, if its key may lie in the range, is an error that names it, in its place. What
/// comes next lies behind it: a caller that goes on gets all that can be read. Only where index and
/// records contradict each other the error is the last item; [`Range::seek`] goes on elsewhere.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = uarr::Db::open(&dir)?;
/// db.batch().put("a", b"1").put("b", b"2").put("c", b"3").commit()?;
/// let mut range = db.range("a".."c")?;
/// db.delete("b")?; // the range still has it
/// assert_eq!(range.next_back().ok_or("no record")??.key(), b"b");
/// assert_eq!(range.next().ok_or("no record")??.key(), b"a");
/// assert!(range.next().is_none());
/// # Ok(())
/// # }
/// ```
pub struct Range<'a, S: Storage = System> {
    records: &'a Records<S>,
    index: &'a KeyIndex,
    walk: RangeWalk,
}

impl<S: Storage> fmt::Debug for Range<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Range").field(&self.walk).finish()
    }
}

impl<'a, S: Storage> Range<'a, S> {
    pub(in crate::api) fn new(core: &'a Core<S>, index: &'a KeyIndex, range: StoredRange) -> Self {
        let pin = core.records().pin(Keeps::Versions, || core.storage().now());
        Self::pinned(core, index, range, pin)
    }

    /// As of `pin`.
    pub(in crate::api) fn pinned(
        core: &'a Core<S>,
        index: &'a KeyIndex,
        range: StoredRange,
        pin: LsnPin,
    ) -> Self {
        Self { records: core.records(), index, walk: RangeWalk::new(range, pin) }
    }

    /// All that it has is the error of `checked`, if there is one.
    pub(in crate::api) fn if_ok(mut self, checked: impl FnOnce() -> Result<()>) -> Self {
        self.walk.refuse(checked().err());
        self
    }

    /// The keys of its table.
    pub(in crate::api) fn space(&self) -> KeySpace {
        self.index.space
    }

    /// Whether nothing more comes, unless somebody seeks.
    pub(in crate::api) fn is_over(&self) -> bool {
        self.walk.is_over()
    }

    /// Goes to `key`: the next record from the front is the first one at or behind it, and
    /// [`Range::seek_back`] is the same from the end. It may go ahead or back, and leaves neither
    /// the range nor what the other end has left of it. It costs a look-up, and reads nothing in
    /// between.
    ///
    /// Errors: `InvalidArgument`, as for the bounds of [`Db::range`](crate::Db::range).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.ingest((0..1000u64).map(|number| (("event", number), number.to_le_bytes())))?;
    /// let mut events = db.prefix(("event",))?;
    /// events.seek(("event", 500u64))?;
    /// assert_eq!(events.next().ok_or("no record")??.key_as::<(String, u64)>()?.1, 500);
    /// events.seek(("event", 7u64))?; // back
    /// events.seek_back(("event", 9u64))?;
    /// assert_eq!(events.count(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn seek(&mut self, key: impl AsKey) -> Result<()> {
        let from = low_bound(self.index.space, Bound::Included(&key))?;
        self.walk.seek(from, Direction::Forward);
        Ok(())
    }

    /// As [`Range::seek`], from the end: the next record from there is the last one at or
    /// before `key`.
    pub fn seek_back(&mut self, key: impl AsKey) -> Result<()> {
        let to = high_bound(self.index.space, Bound::Included(&key))?;
        self.walk.seek(to, Direction::Backward);
        Ok(())
    }
}

impl<'a, S: Storage> Iterator for Range<'a, S> {
    type Item = Result<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.walk.advance(self.records, self.index, Direction::Forward)
    }
}

impl<S: Storage> DoubleEndedIterator for Range<'_, S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.walk.advance(self.records, self.index, Direction::Backward)
    }
}

impl<S: Storage> std::iter::FusedIterator for Range<'_, S> {}
