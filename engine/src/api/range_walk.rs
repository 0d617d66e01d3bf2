//! How iterators go over a table in order, both ways, as of one moment; over one without order
//! [`HashWalk`] does.
//!
//! A damaged record is an error in its place, and the walk goes on behind it. Its key may be
//! unknown, so the walk cannot ask the index for what comes behind: it asks again for what comes
//! behind the last record that it could read, and leaves out what it has found damaged since. Where
//! index and records contradict each other the walk ends, as it would not know where it is.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::vec;

use uarr_layout::record::Locator;
use uarr_uring::{MapPin, Storage};

use crate::api::hash_walk::{HashWalk, RECORDS_AHEAD, WINDOW_COUNT_MAX, WINDOW_COUNT_MIN};
use crate::api::key_range::StoredRange;
use crate::api::record::Record;
use crate::data::key_index::{Direction, KeyIndex};
use crate::data::store::{Reader, misnamed};
use crate::error::{Error, Result};
use crate::versions::pins::LsnPin;
use crate::versions::records::Records;

/// Both ends of what is left of a key range, and the moment as of which it is read. It holds no
/// records: whoever walks says each time which they are, always the same.
pub(in crate::api) struct RangeWalk {
    pin: LsnPin,
    front: End,
    back: End,
    /// Where a table without order is walked; it has no ends.
    by_hash: HashWalk,
    is_over: bool,
    /// All that is found, behind a seek, too.
    refusal: Option<Error>,
}

/// One end of the range.
struct End {
    /// The caller's bound.
    given: Bound<Vec<u8>>,
    /// Where the caller went since; it lies inside of the bound.
    sought: Option<Bound<Vec<u8>>>,
    /// The record last returned, if there is one.
    passed: Option<Locator>,
    /// Its key.
    passed_key: Vec<u8>,
    /// Records behind it that cannot be read, met since, and whether the caller knows; the others
    /// lie outside of the range.
    damaged: BTreeMap<Locator, bool>,
    /// The key behind which the window begins.
    window_from: Option<Vec<u8>>,
    /// How many were damaged then.
    window_damaged_count: usize,
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
            sought: None,
            passed: None,
            passed_key: Vec::new(),
            damaged: BTreeMap::new(),
            window_from: None,
            window_damaged_count: 0,
            window: Vec::new().into_iter(),
            window_count: WINDOW_COUNT_MIN,
            exhausted: false,
        };
        let (front, back) = (end(range.low), end(range.high));
        Self { pin, front, back, by_hash: HashWalk::new(), is_over: false, refusal: None }
    }

    /// If there is an error, it is all that is found.
    pub fn refuse(&mut self, error: Option<Error>) {
        self.refusal = error;
    }

    /// Whether nothing more comes, unless somebody seeks.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next record from the end that it walks away from.
    pub fn advance<'r, S: Storage>(
        &mut self,
        records: &'r Records<S>,
        index: &KeyIndex,
        direction: Direction,
    ) -> Option<Result<Record<'r>>> {
        if self.is_over {
            return None;
        }
        if let Some(error) = &self.refusal {
            self.is_over = true;
            return Some(Err(error.clone()));
        }
        let stepped = match index.space.is_ordered() {
            true => self.step(records, index, direction),
            false => self.step_by_hash(records, index, direction),
        };
        self.is_over |= matches!(stepped, Ok(None));
        stepped.transpose()
    }

    /// Goes on from `bound`, which is met when walking in `direction`, or from the caller's bound
    /// if that comes later.
    pub fn seek(&mut self, bound: Bound<Vec<u8>>, direction: Direction) {
        let (own, other) = match direction {
            Direction::Forward => (&mut self.front, &mut self.back),
            Direction::Backward => (&mut self.back, &mut self.front),
        };
        own.seek(bound, direction);
        // What it has found to lie beyond this end may lie inside now.
        other.damaged.retain(|_, is_told| *is_told);
        other.look_again();
        self.is_over = false;
    }

    #[inline(never)]
    fn step_by_hash<'r, S: Storage>(
        &mut self,
        records: &'r Records<S>,
        index: &KeyIndex,
        direction: Direction,
    ) -> Result<Option<Record<'r>>> {
        if direction == Direction::Backward {
            self.is_over = true;
            index.space.check_order("walks from the end")?;
        }
        let is_unbounded = |end: &End| end.given == Bound::Unbounded && end.sought.is_none();
        assert!(is_unbounded(&self.front) && is_unbounded(&self.back), "bounds were refused");
        self.by_hash.step(records, index, &self.pin)
    }

    fn step<'r, S: Storage>(
        &mut self,
        records: &'r Records<S>,
        index: &KeyIndex,
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
                if let Err(error) = own.fill(records, index, reader, direction) {
                    self.is_over = true;
                    return Err(error);
                }
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
                Err(error) => {
                    let key = records.tables.key_of(locator, reader).ok();
                    let is_known = own.has_told(locator) || other.has_told(locator);
                    let is_told = !is_known && own.may_hold(key, other, direction);
                    own.damaged.insert(locator, is_known || is_told);
                    if is_told {
                        return Err(error);
                    }
                    continue;
                }
            };
            // The same in every version.
            let key = newest.key();
            if !is_inside(key, own.bound(), direction.reversed()) {
                self.is_over = true;
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
        if !self.damaged.is_empty() {
            self.damaged.clear();
        }
    }

    /// See [`RangeWalk::seek`].
    fn seek(&mut self, bound: Bound<Vec<u8>>, direction: Direction) {
        let is_later = match &bound {
            Bound::Included(key) | Bound::Excluded(key) => {
                is_inside(key, self.given.as_ref().map(Vec::as_slice), direction.reversed())
            }
            Bound::Unbounded => false,
        };
        self.sought = is_later.then_some(bound);
        self.passed = None;
        self.damaged.clear();
        self.window_count = WINDOW_COUNT_MIN;
        self.look_again();
    }

    /// Where the caller has this end begin.
    fn start(&self) -> Bound<&[u8]> {
        self.sought.as_ref().unwrap_or(&self.given).as_ref().map(Vec::as_slice)
    }

    /// Whether a damaged record may lie in the range that ends at `other`. No, if its key is known
    /// to lie outside. It may stand in another place than its key has, so how far the range has
    /// come means nothing for it.
    fn may_hold(&self, key: Option<&[u8]>, other: &Self, direction: Direction) -> bool {
        key.is_none_or(|key| {
            is_inside(key, self.start(), direction.reversed())
                && is_inside(key, other.start(), direction)
        })
    }

    /// Whether the caller got the error of this damaged record.
    fn has_told(&self, locator: Locator) -> bool {
        self.damaged.get(&locator) == Some(&true)
    }

    /// What is still to come lies behind it.
    fn bound(&self) -> Bound<&[u8]> {
        match self.passed {
            Some(_) => Bound::Excluded(self.passed_key.as_slice()),
            None => self.start(),
        }
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
        index: &KeyIndex,
        reader: Reader<'_, S::Map>,
        direction: Direction,
    ) -> Result<()> {
        // The more are damaged the more are new each time, so that very many in a row cost little
        // more than as many that are whole.
        let damaged_count = self.damaged.len();
        let count = self.window_count.max(damaged_count) + damaged_count;
        let mut locators = Vec::with_capacity(count);
        if let Some(locator) = self.passed {
            let key = self.passed_key.as_slice();
            // Records need not have the keys under which an image of other bytes names them: the
            // walk still goes on, and only forward.
            let goes_on = |before: &[u8]| match direction {
                Direction::Forward => before < key,
                Direction::Backward => before > key,
            };
            let is_further = damaged_count > self.window_damaged_count
                || self.window_from.as_deref().is_none_or(goes_on);
            if !is_further || !index.holds(key) {
                return Err(misnamed(locator));
            }
            self.window_from = Some(key.to_vec());
        }
        index.scan(direction, self.bound(), count, reader, &mut locators);
        self.exhausted = locators.len() < count;
        self.window_damaged_count = damaged_count;
        self.window_count = (self.window_count * 2).min(WINDOW_COUNT_MAX);
        if damaged_count > 0 {
            locators.retain(|locator| !self.damaged.contains_key(locator));
        }
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
