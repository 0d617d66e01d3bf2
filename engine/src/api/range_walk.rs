//! How iterators go over a table in order, both ways, as of one moment.

use std::fmt;
use std::ops::Bound;
use std::vec;

use uarr_layout::record::Locator;
use uarr_uring::{MapPin, Storage};

use crate::api::key_range::StoredRange;
use crate::api::record::Record;
use crate::data::key_index::Direction;
use crate::data::store::{Reader, misnamed};
use crate::error::Result;
use crate::versions::pins::LsnPin;
use crate::versions::records::Records;

/// Index entries fetched at first, and at most: each time twice as many.
const WINDOW_COUNT_MIN: usize = 16;
const WINDOW_COUNT_MAX: usize = 256;

/// Records on their way from memory while one is looked at: as many as a processor core waits for
/// at a time.
const RECORDS_AHEAD: usize = 8;

/// Both ends of what is left of a key range, and the moment as of which it is read. It holds no
/// records: whoever walks says each time which they are, always the same.
pub(in crate::api) struct RangeWalk {
    pin: LsnPin,
    front: End,
    back: End,
    is_over: bool,
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

impl fmt::Debug for RangeWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RangeWalk");
        shown.field("from", &self.front.given).field("to", &self.back.given);
        shown.field("lsn", &self.pin.lsn).field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl RangeWalk {
    /// Over the records in `range`, as of `pin`.
    pub fn new(range: StoredRange, pin: LsnPin) -> Self {
        let end = |given| End {
            given,
            passed: None,
            passed_key: Vec::new(),
            window_from: None,
            window: Vec::new().into_iter(),
            window_count: WINDOW_COUNT_MIN,
            exhausted: false,
        };
        Self { pin, front: end(range.low), back: end(range.high), is_over: false }
    }

    /// The next record from the end that it walks away from.
    pub fn advance<'r, S: Storage>(
        &mut self,
        records: &'r Records<S>,
        direction: Direction,
    ) -> Option<Result<Record<'r>>> {
        if self.is_over {
            return None;
        }
        let stepped = self.step(records, direction);
        self.is_over = !matches!(stepped, Ok(Some(_)));
        stepped.transpose()
    }

    fn step<'r, S: Storage>(
        &mut self,
        records: &'r Records<S>,
        direction: Direction,
    ) -> Result<Option<Record<'r>>> {
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
