//! [`Gathered`]: what an index of integers is built of in one go, instead of key by key.

use std::collections::BTreeMap;

use uarr_layout::frame::Frame;
use uarr_layout::record::Locator;

use crate::data::accounts::Accounts;

/// Entries of an image, and what the log changes of them.
pub(crate) struct Gathered {
    /// Keys and locators; keys ascend strictly.
    entries: Vec<(u64, u64)>,
    changes: Vec<Entered>,
    /// Bytes of the records whose locators do not say it, by address.
    long_bytes: BTreeMap<u64, u64>,
}

/// A key leads to another record.
#[derive(Clone, Copy)]
struct Entered {
    key: u64,
    lsn: u64,
    locator: Locator,
}

/// A key that the image does not have.
struct New {
    /// So many entries of the image have smaller keys.
    place: usize,
    entry: (u64, u64),
}

impl Gathered {
    pub fn new(entries: Vec<(u64, u64)>) -> Self {
        Self { entries, changes: Vec::new(), long_bytes: BTreeMap::new() }
    }

    /// Entries of the image.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Changes so far; each takes 24 bytes until all are applied.
    pub fn change_count(&self) -> usize {
        self.changes.len()
    }

    /// The key of `frame`, the next one of the log, is `key`, and leads to its record at `locator`.
    pub fn push(&mut self, key: u64, frame: &Frame<'_>, locator: Locator) {
        let lsn = frame.header.lsn.get();
        assert!(self.changes.last().is_none_or(|last| last.lsn < lsn), "in the order of the log");
        if locator.line_count() == 0 {
            self.long_bytes.insert(locator.address(), frame.record_bytes() as u64);
        }
        self.changes.push(Entered { key, lsn, locator });
    }

    /// All entries, after all changes, of which `accounts` is told.
    pub fn into_entries(mut self, accounts: &mut Accounts) -> Vec<(u64, u64)> {
        self.changes.sort_unstable_by_key(|change| (change.key, change.lsn));
        // The last one of a key counts.
        self.changes.dedup_by(|next, kept| {
            let is_same = next.key == kept.key;
            if is_same {
                *kept = *next;
            }
            is_same
        });
        let new = self.replace(accounts);
        insert(&mut self.entries, new);
        self.entries
    }

    /// Has keys of the image lead to their new records; returns the others, in order.
    fn replace(&mut self, accounts: &mut Accounts) -> Vec<New> {
        let Self { entries, changes, long_bytes } = self;
        let mut new = Vec::new();
        let mut place = 0;
        for Entered { key, lsn, locator } in std::mem::take(changes) {
            place += count_before(&entries[place..], key);
            let entry = entries.get_mut(place).filter(|(present, _)| *present == key);
            let previous = entry.as_ref().and_then(|(_, bits)| Locator::from_bits(*bits));
            match entry {
                Some((_, bits)) => *bits = locator.bits(),
                None => new.push(New { place, entry: (key, locator.bits()) }),
            }
            let bytes = long_bytes.get(&locator.address()).copied().unwrap_or(0);
            accounts.live.replace(previous, locator, bytes);
            assert!(!previous.is_some_and(Locator::is_tombstone), "images have no deletions");
            if locator.is_tombstone() {
                accounts.tombstones.enter(lsn, locator);
            }
        }
        new
    }
}

/// How many of `entries` have smaller keys than `key`: looked for near the front first, as the
/// next change is near where there are many.
fn count_before(entries: &[(u64, u64)], key: u64) -> usize {
    let mut end = 1;
    while end < entries.len() && entries[end - 1].0 < key {
        end *= 2;
    }
    let start = end / 2;
    let near = &entries[start.min(entries.len())..end.min(entries.len())];
    start.min(entries.len()) + near.partition_point(|(present, _)| *present < key)
}

/// Inserts `new`, whose keys ascend. From the end on, so that each entry moves once.
fn insert(entries: &mut Vec<(u64, u64)>, new: Vec<New>) {
    let mut source_end = entries.len();
    entries.resize(source_end + new.len(), (0, 0));
    let mut target_end = entries.len();
    for New { place, entry } in new.into_iter().rev() {
        assert!(place <= source_end, "new keys ascend");
        target_end -= source_end - place;
        entries.copy_within(place..source_end, target_end);
        source_end = place;
        target_end -= 1;
        entries[target_end] = entry;
    }
    assert_eq!(target_end, source_end, "what is before the first new key stays");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_near_the_front_and_far_from_it() {
        for len in 0..70 {
            let entries: Vec<_> = (0..len).map(|index| (2 * index + 1, 0)).collect();
            for key in 0..2 * len + 3 {
                let expected = entries.iter().filter(|(present, _)| *present < key).count();
                assert_eq!(count_before(&entries, key), expected, "{key} of {len}");
            }
        }
    }

    #[test]
    fn new_keys_come_to_their_places() {
        for (present, new) in [
            (vec![], vec![1, 2, 3]),
            (vec![5, 7], vec![]),
            (vec![5, 7], vec![1, 6, 9, 10]),
            (vec![5, 7, 9, 11], vec![6]),
            (vec![1, 2, 3], vec![7, 8]),
            (vec![7, 8], vec![1, 2, 3]),
        ] {
            let mut entries: Vec<_> = present.iter().map(|key| (*key, key * 10)).collect();
            let place_of = |key: &u64| present.iter().filter(|present| *present < key).count();
            let found = new.iter().map(|key| New { place: place_of(key), entry: (*key, key * 10) });
            insert(&mut entries, found.collect());
            let mut all: Vec<u64> = present.iter().chain(&new).copied().collect();
            all.sort_unstable();
            assert_eq!(entries, all.iter().map(|key| (*key, key * 10)).collect::<Vec<_>>());
        }
    }
}
