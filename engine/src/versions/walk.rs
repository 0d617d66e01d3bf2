//! Walking through the whole index of a table in key order while writers go on, damaged records or
//! not.
//!
//! An integer index holds its keys. A byte index reads them from the records, so a walk continues
//! behind the last key that it could read, and skips the entries that it has met since.
//!
//! Entries are fetched some at a time. The caller makes sure that no chunk is given back
//! meanwhile: with a pin of an LSN, or because no checkpoint ends.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::vec;

use uarr_layout::record::Locator;
use uarr_uring::{MapPin, Storage};

use crate::data::key_index::{Direction, KeyIndex};
use crate::versions::records::Records;

/// Entries fetched at once.
const WINDOW_COUNT: usize = 4096;

/// What may follow the entries that were fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    #[default]
    More,
    Nothing,
}

/// A walk through the index. For each entry the caller gives the key of its record, or says that
/// the key is unknown.
#[derive(Default)]
pub(crate) struct Walk {
    /// The last key that was read.
    last: Option<Vec<u8>>,
    /// The last key of an integer index.
    last_int: Option<u64>,
    /// Entries without a key that were met behind the last one.
    passed_over: BTreeSet<Locator>,
    window: vec::IntoIter<(Option<u64>, Locator)>,
    rest: Rest,
    current: Option<(Option<u64>, Locator)>,
}

impl Walk {
    /// The next entry.
    pub fn next<S: Storage>(&mut self, records: &Records<S>, index: &KeyIndex) -> Option<Locator> {
        self.current = self.window.next();
        while self.current.is_none() && self.rest == Rest::More {
            self.fill(records, index);
            self.current = self.window.next();
        }
        self.current.map(|(_, locator)| locator)
    }

    /// The record of the current entry has `key`. False if the index has the entry under another
    /// key.
    pub fn reach(&mut self, index: &KeyIndex, key: &[u8]) -> bool {
        let Some((int, locator)) = self.current else { return false };
        let fits = match int {
            Some(int) => index.int_of(key) == Some(int),
            None => index.is_own(key) && self.last.as_deref().is_none_or(|last| last < key),
        };
        if !fits {
            self.pass_over(locator);
            return false;
        }
        self.last.get_or_insert_default().clear();
        self.last.get_or_insert_default().extend_from_slice(key);
        self.passed_over.clear();
        true
    }

    /// As [`Walk::reach`], and asks the other side of the index for the entry: a record that is
    /// whole may still be the one that an earlier life put there, which has another key.
    pub fn reach_found<S: Storage>(
        &mut self,
        records: &Records<S>,
        index: &KeyIndex,
        key: &[u8],
    ) -> bool {
        let Some((_, locator)) = self.current else { return false };
        // Writers change the ordered side first: an entry that is still there was not replaced.
        if !index.leads_to(key, locator) && self.still_meets(records, index, locator) {
            self.pass_over(locator);
            return false;
        }
        self.reach(index, key)
    }

    /// Whether the entry behind the last key is `locator`, or an entry without a key.
    fn still_meets<S: Storage>(
        &self,
        records: &Records<S>,
        index: &KeyIndex,
        locator: Locator,
    ) -> bool {
        let pin = MapPin::enter();
        let from = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut met = Vec::new();
        let count = self.passed_over.len() + 1;
        index.scan(Direction::Forward, from, count, records.reader(&pin), &mut met);
        met.contains(&locator)
    }

    /// The key of `locator`, the current entry, is not known.
    pub fn pass_over(&mut self, locator: Locator) {
        self.passed_over.insert(locator);
    }

    fn fill<S: Storage>(&mut self, records: &Records<S>, index: &KeyIndex) {
        let mut window: Vec<(Option<u64>, Locator)> = Vec::with_capacity(WINDOW_COUNT);
        let is_full;
        if let Some(entries) = index.int_entries(self.last_int, WINDOW_COUNT) {
            let first = entries.first().map(|(key, _)| *key);
            assert!(first.is_none_or(|first| self.last_int.is_none_or(|last| last < first)));
            is_full = entries.len() >= WINDOW_COUNT;
            self.last_int = entries.last().map(|(key, _)| *key);
            let named =
                entries.iter().map(|(key, bits)| Some((Some(*key), Locator::from_bits(*bits)?)));
            window.extend(named.flatten());
        } else {
            let pin = MapPin::enter();
            let from = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let wanted = WINDOW_COUNT + self.passed_over.len();
            let mut locators = Vec::with_capacity(wanted);
            let reader = records.reader(&pin);
            index.scan(Direction::Forward, from, wanted, reader, &mut locators);
            let is_new = |locator: &Locator| !self.passed_over.contains(locator);
            window.extend(locators.iter().filter(|l| is_new(l)).map(|locator| (None, *locator)));
            // Without a new key the next window would be this one again.
            is_full = locators.len() >= wanted && !window.is_empty();
        }
        self.rest = if is_full { Rest::More } else { Rest::Nothing };
        window.iter().for_each(|(_, locator)| records.store.prefetch(*locator));
        self.window = window.into_iter();
    }
}
