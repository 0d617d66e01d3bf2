//! Ordered iteration over a table, both ways, as of one moment.

use std::fmt;
use std::ops::Bound;

use uarr_uring::{Storage, System};

use crate::api::key_range::StoredRange;
use crate::api::range_walk::RangeWalk;
use crate::api::record::Record;
use crate::core::Core;
use crate::data::key_index::Direction;
use crate::error::Result;
use crate::versions::pins::{Keeps, LsnPin};
use crate::versions::records::Records;

/// Records of a key range in key order, as of the moment the iterator was made: it shows nothing
/// that is written or deleted later. `rev()` walks from the end. A damaged record, if its key may
/// lie in the range, ends the iterator with the error that names it; what lies behind can be read
/// from another key on.
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
    walk: RangeWalk,
}

impl<S: Storage> fmt::Debug for Range<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Range").field(&self.walk).finish()
    }
}

impl<'a, S: Storage> Range<'a, S> {
    pub(crate) fn new(core: &'a Core<S>, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> Self {
        let pin = core.records().pin(Keeps::Versions, || core.storage().now());
        Self::pinned(core, low, high, pin)
    }

    /// As of `pin`.
    pub(in crate::api) fn pinned(
        core: &'a Core<S>,
        low: Bound<Vec<u8>>,
        high: Bound<Vec<u8>>,
        pin: LsnPin,
    ) -> Self {
        Self { records: core.records(), walk: RangeWalk::new(StoredRange { low, high }, pin) }
    }
}

impl<'a, S: Storage> Iterator for Range<'a, S> {
    type Item = Result<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.walk.advance(self.records, Direction::Forward)
    }
}

impl<S: Storage> DoubleEndedIterator for Range<'_, S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.walk.advance(self.records, Direction::Backward)
    }
}

impl<S: Storage> std::iter::FusedIterator for Range<'_, S> {}
