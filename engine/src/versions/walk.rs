//! Walking through the whole index of a table while writers go on, damaged records or not: in key
//! order, if there is one.
//!
//! An integer index holds its keys. A byte index reads them from the records, so a walk continues
//! behind the last key that it could read, and skips the entries that it has met since. One without
//! order is walked by hash: the walk continues behind an entry, whatever becomes of its record.
//!
//! Entries are fetched some at a time. The caller makes sure that no chunk is given back
//! meanwhile: with a pin of an LSN, or because no checkpoint ends.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::vec;

use uarr_index::{WalkEntry, WalkPlace};
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

/// How an entry was met.
#[derive(Clone, Copy)]
enum Met {
    /// Under this integer.
    Int(u64),
    /// In the order of keys.
    InOrder,
    /// By the hash of its key.
    ByHash(WalkEntry),
}

/// A walk through the index. For each entry the caller gives the key of its record, or says that
/// the key is unknown.
#[derive(Default)]
pub(crate) struct Walk {
    /// The last key that was read.
    last: Option<Vec<u8>>,
    /// The last key of an integer index.
    last_int: Option<u64>,
    /// Where it goes on in an index without order.
    place: Option<WalkPlace>,
    /// Entries without a key that were met behind the last one.
    passed_over: BTreeSet<Locator>,
    window: vec::IntoIter<(Met, Locator)>,
    rest: Rest,
    current: Option<(Met, Locator)>,
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
        let Some((met, locator)) = self.current else { return false };
        let fits = match met {
            Met::Int(int) => index.int_of(key) == Some(int),
            Met::InOrder => index.is_own(key) && self.last.as_deref().is_none_or(|last| last < key),
            Met::ByHash(entry) => return index.is_met(&entry, key),
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
        let Some((met, locator)) = self.current else { return false };
        if let Met::ByHash(entry) = met {
            return index.is_met(&entry, key);
        }
        // Writers change the ordered side first: an entry that is still there was not replaced.
        if !index.leads_to(key, locator) && self.still_meets(records, index, locator) {
            self.pass_over(locator);
            return false;
        }
        self.reach(index, key)
    }

    /// Whether a lookup of `key`, which the current entry has reached, comes to it, too.
    pub fn is_found(&self, index: &KeyIndex, key: &[u8]) -> bool {
        match self.current {
            Some((Met::ByHash(entry), _)) => index.is_reached(&entry, key),
            Some((_, locator)) => index.is_found(key, locator),
            None => false,
        }
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
        if !matches!(self.current, Some((Met::ByHash(_), _))) {
            self.passed_over.insert(locator);
        }
    }

    fn fill<S: Storage>(&mut self, records: &Records<S>, index: &KeyIndex) {
        let mut window: Vec<(Met, Locator)> = Vec::with_capacity(WINDOW_COUNT);
        let is_full;
        if !index.space.is_ordered() {
            let mut entries = Vec::with_capacity(WINDOW_COUNT);
            self.place = index.walk(self.place, WINDOW_COUNT, &mut entries);
            is_full = self.place.is_some();
            let named = entries
                .iter()
                .map(|entry| Some((Met::ByHash(*entry), Locator::from_bits(entry.payload)?)));
            window.extend(named.flatten());
        } else if let Some(entries) = index.int_entries(self.last_int, WINDOW_COUNT) {
            let first = entries.first().map(|(key, _)| *key);
            assert!(first.is_none_or(|first| self.last_int.is_none_or(|last| last < first)));
            is_full = entries.len() >= WINDOW_COUNT;
            self.last_int = entries.last().map(|(key, _)| *key);
            let named = entries
                .iter()
                .map(|(key, bits)| Some((Met::Int(*key), Locator::from_bits(*bits)?)));
            window.extend(named.flatten());
        } else {
            let pin = MapPin::enter();
            let from = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let wanted = WINDOW_COUNT + self.passed_over.len();
            let mut locators = Vec::with_capacity(wanted);
            let reader = records.reader(&pin);
            index.scan(Direction::Forward, from, wanted, reader, &mut locators);
            let is_new = |locator: &Locator| !self.passed_over.contains(locator);
            let new = locators.iter().filter(|locator| is_new(locator));
            window.extend(new.map(|locator| (Met::InOrder, *locator)));
            // Without a new key the next window would be this one again.
            is_full = locators.len() >= wanted && !window.is_empty();
        }
        self.rest = if is_full { Rest::More } else { Rest::Nothing };
        window.iter().for_each(|(_, locator)| records.store.prefetch(*locator));
        self.window = window.into_iter();
    }
}
