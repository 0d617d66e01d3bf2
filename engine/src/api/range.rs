//! Ordered iteration over a table, both ways, as of one moment.

use std::fmt;
use std::ops::Bound;
use std::vec;

use uarr_layout::record::Locator;
use uarr_uring::{MapPin, Storage, System};

use crate::api::record::Record;
use crate::core::Core;
use crate::data::key_index::Direction;
use crate::data::store::{Reader, misnamed};
use crate::error::Result;
use crate::versions::pins::{Keeps, LsnPin};
use crate::versions::records::Records;

/// Index entries fetched at first, and at most: each time twice as many.
const WINDOW_COUNT_MIN: usize = 16;
const WINDOW_COUNT_MAX: usize = 256;

/// Records on their way from memory while one is looked at: as many as a processor core waits for
/// at a time.
const RECORDS_AHEAD: usize = 8;

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
    pin: LsnPin,
    front: End,
    back: End,
    finished: bool,
}

/// One end of the range.
struct End {
    /// The caller's bound.
    given: Bound<Vec<u8>>,
    /// The record last returned, if there is one.
    passed: Option<Locator>,
    /// Its key.
    passed_key: Vec<u8>,
    /// The key behind which the window begins.
    window_from: Option<Vec<u8>>,
    window: vec::IntoIter<Locator>,
    window_count: usize,
    exhausted: bool,
}

impl<S: Storage> fmt::Debug for Range<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Range");
        shown.field("from", &self.front.given).field("to", &self.back.given);
        shown.field("lsn", &self.pin.lsn).field("finished", &self.finished).finish_non_exhaustive()
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
        let end = |given| End {
            given,
            passed: None,
            passed_key: Vec::new(),
            window_from: None,
            window: Vec::new().into_iter(),
            window_count: WINDOW_COUNT_MIN,
            exhausted: false,
        };
        Self { records: core.records(), pin, front: end(low), back: end(high), finished: false }
    }

    fn step(&mut self, direction: Direction) -> Result<Option<Record<'a>>> {
        let records = self.records;
        let pin = MapPin::enter();
        let reader = records.reader(&pin);
        // What the index names now stays there as long as this looks.
        let mut is_fresh = false;
        loop {
            let (own, other) = match direction {
                Direction::Forward => (&mut self.front, &self.back),
                Direction::Backward => (&mut self.back, &self.front),
            };
            let Some(locator) = own.window.next() else {
                if own.exhausted {
                    return Ok(None);
                }
                own.fill(records, reader, direction)?;
                is_fresh = true;
                continue;
            };
            if let Some(ahead) = own.window.as_slice().get(RECORDS_AHEAD - 1) {
                records.store.prefetch(*ahead);
            }
            let newest = match reader.record(locator) {
                Ok(newest) => newest,
                Err(_) if !is_fresh && reader.is_gone(locator) => {
                    own.look_again();
                    continue;
                }
                // Of no concern if its key is known to lie outside. It may stand in another place
                // than its key has, so how far the range has come means nothing for it.
                Err(error) => match records.index.key_of(locator, reader) {
                    Ok(key) if !own.admits(key, direction.reversed()) => continue,
                    Ok(key) if !other.admits(key, direction) => continue,
                    _ => return Err(error),
                },
            };
            // The same in every version.
            let key = newest.key();
            if !is_inside(key, own.bound(), direction.reversed()) {
                return Err(misnamed(locator));
            }
            if !is_inside(key, other.bound(), direction) {
                return Ok(None);
            }
            own.pass(key, locator);
            if let Some(view) = records.pinned_version(reader, locator, newest, &self.pin)? {
                let held = records.store.hold(view, &pin);
                return Ok(Some(Record::new(held, records.key_kind())));
            }
        }
    }

    fn advance(&mut self, direction: Direction) -> Option<Result<Record<'a>>> {
        if self.finished {
            return None;
        }
        let stepped = self.step(direction);
        self.finished = !matches!(stepped, Ok(Some(_)));
        stepped.transpose()
    }
}

impl End {
    /// The record of `key`, at `locator`, is the next one.
    fn pass(&mut self, key: &[u8], locator: Locator) {
        self.passed = Some(locator);
        self.passed_key.clear();
        self.passed_key.extend_from_slice(key);
    }

    /// True if the caller's bound, met when walking in `direction`, leaves `key` in.
    fn admits(&self, key: &[u8], direction: Direction) -> bool {
        is_inside(key, self.given.as_ref().map(Vec::as_slice), direction)
    }

    /// What is still to come lies behind it.
    fn bound(&self) -> Bound<&[u8]> {
        let given = self.given.as_ref().map(Vec::as_slice);
        self.passed.map_or(given, |_| Bound::Excluded(self.passed_key.as_slice()))
    }

    /// Records that the window names were moved since, and the places where they were given away.
    fn look_again(&mut self) {
        self.window = Vec::new().into_iter();
        (self.window_from, self.exhausted) = (None, false);
    }

    /// Takes up the next index entries.
    #[inline(never)]
    fn fill<S: Storage>(
        &mut self,
        records: &Records<S>,
        reader: Reader<'_, S::Map>,
        direction: Direction,
    ) -> Result<()> {
        let count = self.window_count;
        let mut locators = Vec::with_capacity(count);
        if let Some(locator) = self.passed {
            let key = self.passed_key.as_slice();
            // Records need not have the keys under which an image of other bytes names them: the
            // walk still goes on, and only forward.
            let goes_on = |before: &[u8]| match direction {
                Direction::Forward => before < key,
                Direction::Backward => before > key,
            };
            if !self.window_from.as_deref().is_none_or(goes_on)
                || !records.key_kind().is_stored(key)
            {
                return Err(misnamed(locator));
            }
            self.window_from = Some(key.to_vec());
        }
        records.index.scan(direction, self.bound(), count, reader, &mut locators);
        self.exhausted = locators.len() < count;
        self.window_count = (count * 2).min(WINDOW_COUNT_MAX);
        locators.iter().take(RECORDS_AHEAD).for_each(|locator| records.store.prefetch(*locator));
        self.window = locators.into_iter();
        Ok(())
    }
}

/// Whether `key`, met when walking in `direction`, still lies before the other end's `bound`.
fn is_inside(key: &[u8], bound: Bound<&[u8]>, direction: Direction) -> bool {
    match (bound, direction) {
        (Bound::Unbounded, _) => true,
        (Bound::Included(bound), Direction::Forward) => key <= bound,
        (Bound::Excluded(bound), Direction::Forward) => key < bound,
        (Bound::Included(bound), Direction::Backward) => key >= bound,
        (Bound::Excluded(bound), Direction::Backward) => key > bound,
    }
}

impl<'a, S: Storage> Iterator for Range<'a, S> {
    type Item = Result<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(Direction::Forward)
    }
}

impl<S: Storage> DoubleEndedIterator for Range<'_, S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.advance(Direction::Backward)
    }
}

impl<S: Storage> std::iter::FusedIterator for Range<'_, S> {}

/// The first key behind all keys that start with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff);
    match last {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(prefix_end(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), Bound::Unbounded);
        assert_eq!(prefix_end(b""), Bound::Unbounded);
    }
}
