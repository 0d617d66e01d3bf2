//! What image and log say together: keys in order, and where the newest record of each is.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use uarr_layout::record::Locator;
use uarr_uring::Storage;

use crate::checkpoint::image_search::{ImagePart, KeySpan};
use crate::checkpoint::image_walk::{EntryPlace, PlacedEntry};
use crate::data::key_index::Direction;
use crate::error::Result;
use crate::key_space::KeySpace;
use crate::read_only::changes::History;
use crate::read_only::view::View;
use crate::table_prefix::TablePrefix;

/// Keys that are looked up at once.
pub(crate) const COUNT_MAX: usize = 1024;
/// Bytes of records that are read at once, unless one has more.
const BYTES_MAX: usize = 4 << 20;
/// What a record counts whose length the image does not say.
const BYTES_UNKNOWN: usize = 2 << 20;

/// Where the newest record of a key is.
#[derive(Clone, Debug)]
pub(crate) enum RecordSource {
    Record(Locator),
    /// What the log says.
    Changed(History),
}

/// A key, and where its newest record is.
#[derive(Clone, Debug)]
pub(crate) struct WantedKey {
    pub key: Vec<u8>,
    pub source: RecordSource,
}

impl WantedKey {
    /// Bytes that have to be read for it, about, and its own.
    fn bytes(&self) -> usize {
        let record_bytes = match &self.source {
            RecordSource::Record(locator) if locator.line_count() == 0 => BYTES_UNKNOWN,
            RecordSource::Record(locator) => 64 * locator.line_count() as usize,
            RecordSource::Changed(history) => history.read_bytes(),
        };
        record_bytes + self.key.len()
    }
}

/// Some keys of a range, from one of its ends.
pub(crate) struct KeyStep {
    /// In the order of keys.
    pub wanted: Vec<WantedKey>,
    /// The last key that was passed; `None`: there are no more.
    pub passed: Option<Vec<u8>>,
}

/// Some keys of a table without order, as the image has them.
pub(crate) struct UnorderedStep {
    pub wanted: Vec<WantedKey>,
    pub behind: EntryPlace,
}

/// Bounds of stored keys.
pub(crate) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// `bounds` within the keys of `space`.
pub(crate) fn within(space: KeySpace, bounds: Bounds) -> Bounds {
    let Some(prefix) = space.prefix else { return bounds };
    let (low, high) = bounds;
    let mut end = prefix.as_bytes().to_vec();
    // The last byte of a prefix is 0.
    end.last_mut().into_iter().for_each(|last| *last += 1);
    let low = match low {
        Bound::Unbounded => Bound::Included(prefix.as_bytes().to_vec()),
        low => low,
    };
    let high = match high {
        Bound::Unbounded => Bound::Excluded(end),
        high => high,
    };
    (low, high)
}

/// The part of the image with the entries of the default table, or of all others with order.
fn part_of(is_default: bool) -> ImagePart {
    if is_default { ImagePart::Default } else { ImagePart::Others }
}

pub(crate) fn as_slices((low, high): &Bounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice))
}

impl<S: Storage> View<S> {
    /// The next keys of `bounds`, which lie within `space`, from the end where `direction` begins.
    pub fn step(&self, space: KeySpace, bounds: &Bounds, direction: Direction) -> Result<KeyStep> {
        let is_default = space.prefix.is_none();
        let (mut low, mut high) = as_slices(bounds);
        let span = KeySpan { part: part_of(is_default), low, high };
        let entries = match &self.image {
            Some(image) => image.entries(span, direction, COUNT_MAX)?,
            None => Vec::new(),
        };
        let mut is_last = entries.len() < COUNT_MAX;
        let ends = entries.first().map(|(key, _)| key.clone()).zip(entries.last().cloned());
        // What the image has behind its last entry here comes later.
        if let Some((first, (last, _))) = ends.as_ref().filter(|_| !is_last) {
            match direction {
                Direction::Forward => high = Bound::Included(last),
                Direction::Backward => low = Bound::Included(first),
            }
        }
        let changes = self.changes()?;
        let mut changed = changes.range(is_default, low, high);
        let mut found = BTreeMap::new();
        let mut passed = None;
        for _ in 0..COUNT_MAX {
            let next = match direction {
                Direction::Forward => changed.next(),
                Direction::Backward => changed.next_back(),
            };
            let Some((key, history)) = next else { break };
            found.insert(key.clone(), RecordSource::Changed(history.clone()));
            passed = Some(key);
        }
        let goes_on = match direction {
            Direction::Forward => changed.next().is_some(),
            Direction::Backward => changed.next_back().is_some(),
        };
        let is_passed = |key: &Vec<u8>| match (goes_on, direction) {
            (false, _) => true,
            (true, Direction::Forward) => Some(key) <= passed,
            (true, Direction::Backward) => Some(key) >= passed,
        };
        is_last &= !goes_on;
        for (key, locator) in entries.into_iter().filter(|(key, _)| is_passed(key)) {
            found.entry(key).or_insert(RecordSource::Record(locator));
        }
        let wanted = found.into_iter().map(|(key, source)| WantedKey { key, source });
        Ok(limited(wanted.collect(), is_last, direction))
    }

    /// The next entries of the image from `place` on that the log has not changed, of the table
    /// without order that begins its keys with `table`, or of all such; `None`: there are no more.
    pub fn unordered_step(
        &self,
        table: Option<TablePrefix>,
        place: Option<EntryPlace>,
        count_max: usize,
    ) -> Result<Option<UnorderedStep>> {
        let Some(image) = &self.image else { return Ok(None) };
        let from = place.map_or_else(|| image.first_unordered(table), Ok)?;
        let entries = image.unordered_entries(table, from, count_max)?;
        let Some(mut behind) = entries.first().map(|first| first.behind) else { return Ok(None) };
        let changes = self.changes()?;
        let (mut wanted, mut bytes) = (Vec::new(), 0);
        for PlacedEntry { key, locator, behind: next } in entries {
            let next_wanted = WantedKey { key, source: RecordSource::Record(locator) };
            bytes += next_wanted.bytes();
            if !wanted.is_empty() && bytes > BYTES_MAX {
                break;
            }
            behind = next;
            if changes.of(&next_wanted.key).is_none() {
                wanted.push(next_wanted);
            }
        }
        Ok(Some(UnorderedStep { wanted, behind }))
    }

    /// How many keys of `space` there are; no record is read.
    pub fn count(&self, space: KeySpace) -> Result<u64> {
        let bounds = within(space, (Bound::Unbounded, Bound::Unbounded));
        let (low, high) = as_slices(&bounds);
        let is_default = space.prefix.is_none();
        let changes = self.changes()?;
        let mut changed = changes.range(is_default, low, high).peekable();
        let mut count = 0;
        if !space.is_ordered() {
            let mut place = None;
            while let Some(step) = self.unordered_step(space.prefix, place, COUNT_MAX)? {
                count += step.wanted.len() as u64;
                place = Some(step.behind);
            }
        } else if let Some(image) = &self.image {
            let part = part_of(is_default);
            image.each_from(KeySpan { part, low, high }, |key, _| {
                while let Some((_, history)) = changed.next_if(|(next, _)| next.as_slice() < key) {
                    count += u64::from(!history.is_deleted());
                }
                let history = changed.next_if(|(next, _)| next.as_slice() == key);
                count += u64::from(history.is_none_or(|(_, history)| !history.is_deleted()));
                ControlFlow::Continue(())
            })?;
        }
        Ok(count + changed.filter(|(_, history)| !history.is_deleted()).count() as u64)
    }
}

/// As many of `wanted`, the next ones from the end where `direction` begins, as are read at once.
fn limited(mut wanted: Vec<WantedKey>, mut is_last: bool, direction: Direction) -> KeyStep {
    let mut bytes = 0;
    let mut fits = |next: &WantedKey| {
        let is_first = bytes == 0;
        bytes += next.bytes();
        is_first || bytes <= BYTES_MAX
    };
    let count = match direction {
        Direction::Forward => wanted.iter().take_while(|next| fits(next)).count(),
        Direction::Backward => wanted.iter().rev().take_while(|next| fits(next)).count(),
    };
    is_last &= count == wanted.len();
    match direction {
        Direction::Forward => wanted.truncate(count),
        Direction::Backward => drop(wanted.drain(..wanted.len() - count)),
    }
    let last = match direction {
        Direction::Forward => wanted.last(),
        Direction::Backward => wanted.first(),
    };
    let passed = last.map(|last| last.key.clone()).filter(|_| !is_last);
    KeyStep { wanted, passed }
}
