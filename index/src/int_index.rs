//! The index over 8-byte keys: the tree, its one writer's lock and the numbers kept about it.

use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use crossbeam_epoch as epoch;

use crate::huge::Memory;
use crate::leaf::{Density, Growth, Leaf, Model};
use crate::node::Child;
use crate::shape::{Writer, build};
use crate::stats::IndexStats;
use crate::tree::{LOOKUPS_TOGETHER, Tree};

/// An ordered map from `u64` keys to `u64` payloads with readers that never block.
///
/// Any number of threads read; writers take turns on a lock inside. Every method is linearizable
/// except scans, which are consistent per leaf (up to 8192 entries): each key present throughout
/// a scan is reported exactly once, in order. All values of key and payload are legal.
///
/// Expected cost: lookups touch three cache lines beyond the cached top of the tree; an update in
/// place costs the same. Inserts move a few entries; a leaf that must be laid out anew is copied
/// once, at most 8192 slots.
///
/// ```
/// let index = uarr_index::IntIndex::new(&uarr_index::Memory::new());
/// assert_eq!(index.insert(7, 70), None);
/// assert_eq!(index.insert(7, 71), Some(70));
/// assert_eq!(index.get(7), Some(71));
/// let mut entries = Vec::new();
/// index.scan(std::ops::Bound::Unbounded, 10, &mut entries);
/// assert_eq!(entries, [(7, 71)]);
/// ```
pub struct IntIndex {
    tree: Tree,
    writer: Mutex<Writer>,
}

/// Slots of the first leaf.
const FIRST_LEAF_SLOTS: usize = 32;

impl IntIndex {
    /// An empty index in `memory`.
    pub fn new(memory: &Memory) -> Self {
        let model = Model::constant(FIRST_LEAF_SLOTS / 2);
        let leaf = Leaf::empty(memory, (0, u64::MAX), FIRST_LEAF_SLOTS, model, Growth::Within);
        Self::with_tree(Tree::new(memory, Child::from_leaf(leaf), 0))
    }

    /// An index in `memory` with `entries`, whose keys must be strictly ascending (asserted).
    /// O(n), 20 to 75 ns per entry measured.
    pub fn from_sorted(memory: &Memory, entries: &[(u64, u64)]) -> Self {
        assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "keys are strictly ascending");
        if entries.is_empty() {
            return Self::new(memory);
        }
        let root = build(memory, entries, (0, u64::MAX), Density::LOADED);
        Self::with_tree(Tree::new(memory, root, entries.len()))
    }

    fn with_tree(tree: Tree) -> Self {
        Self { tree, writer: Mutex::new(Writer::default()) }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("a writer that panicked may have left a leaf half changed")
    }

    /// The payload of `key`. Enters an epoch; callers with many lookups hold an [`Epoch`]
    /// themselves, which makes the inner one nearly free, or use [`IntIndex::get_many`].
    ///
    /// [`Epoch`]: crate::Epoch
    #[inline(always)]
    pub fn get(&self, key: u64) -> Option<u64> {
        self.tree.get(key, &epoch::pin())
    }

    /// As [`IntIndex::get`], for a caller that has entered an epoch: `guard` is one of the default
    /// collector of `crossbeam-epoch` (asserted).
    #[inline(always)]
    pub fn get_in(&self, key: u64, guard: &epoch::Guard) -> Option<u64> {
        let is_ours = guard.collector() == Some(epoch::default_collector());
        assert!(is_ours, "another collector frees nodes under this guard");
        self.tree.get(key, guard)
    }

    /// Looks up every key in turn and gives `take` its place in `keys` and its payload. The lookups
    /// are interleaved in groups of 16 and prefetched: several times faster than one after the
    /// other when the index does not fit the cache; what `take` prefetches itself overlaps as well.
    /// Each lookup is atomic for itself.
    #[inline]
    pub fn get_many(&self, keys: &[u64], take: impl FnMut(usize, Option<u64>)) {
        self.tree.get_many(keys, take, &epoch::pin());
    }

    /// Fetches into the cache what lookups and updates of `keys` are about to touch, with the cache
    /// misses of 16 keys at a time overlapping. Changes nothing.
    pub fn prefetch(&self, keys: &[u64]) {
        self.tree.prefetch(keys, &epoch::pin());
    }

    /// Stores `payload` for `key` and returns the payload it replaces.
    pub fn insert(&self, key: u64, payload: u64) -> Option<u64> {
        self.tree.insert(&mut self.writer(), key, payload)
    }

    /// For each of `keys` in turn stores what `payload` makes of its place in `keys` and of the
    /// payload present: one descent each instead of the two of a `get` and an `insert`, one lock
    /// for all, and as with [`IntIndex::prefetch`] the cache misses of 16 keys overlap. `payload`
    /// must not write to the index.
    pub fn upsert_many(&self, keys: &[u64], mut payload: impl FnMut(usize, Option<u64>) -> u64) {
        let mut writer = self.writer();
        for (group_index, group) in keys.chunks(LOOKUPS_TOGETHER).enumerate() {
            if group.len() > 1 {
                self.tree.prefetch(group, &epoch::pin());
            }
            for (index, &key) in group.iter().enumerate() {
                let place = group_index * LOOKUPS_TOGETHER + index;
                self.tree.upsert(&mut writer, key, |present| payload(place, present));
            }
        }
    }

    /// Removes `key` and returns its payload.
    pub fn remove(&self, key: u64) -> Option<u64> {
        self.tree.remove(&mut self.writer(), key, |_| true)
    }

    /// Removes `key` if it still has this payload; says whether it did.
    pub fn remove_if(&self, key: u64, payload: u64) -> bool {
        self.tree.remove(&mut self.writer(), key, |present| present == payload).is_some()
    }

    /// Stores `payload` for `key` if the entry still has `expected`; says whether it did. This is
    /// how a record is moved without losing a newer version of it.
    pub fn replace_if(&self, key: u64, expected: u64, payload: u64) -> bool {
        let mut writer = self.writer();
        let present = self.tree.get(key, &epoch::pin()) == Some(expected);
        if present {
            let replaced = self.tree.insert(&mut writer, key, payload);
            assert!(replaced == Some(expected), "writers take turns");
        }
        present
    }

    /// Appends up to `max` entries to `out`, ascending from the bound; fewer only at the end.
    pub fn scan(&self, from: Bound<u64>, max: usize, out: &mut Vec<(u64, u64)>) {
        self.tree.scan(from, max, out, &epoch::pin());
    }

    /// Appends up to `max` entries to `out`, descending from the bound; fewer only at the end.
    pub fn scan_rev(&self, from: Bound<u64>, max: usize, out: &mut Vec<(u64, u64)>) {
        self.tree.scan_rev(from, max, out, &epoch::pin());
    }

    /// Entries, as of some moment during the call.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is no entry, as of some moment during the call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics if the structure contradicts itself. Walks all entries and holds writers up.
    pub fn verify(&self) {
        let _writer = self.writer();
        self.tree.verify();
    }

    /// Shape and history of the index. Walks all nodes and holds writers up meanwhile.
    pub fn stats(&self) -> IndexStats {
        self.tree.stats(&self.writer())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn upserts_are_told_what_was_present_and_in_order() {
        let index = IntIndex::new(&Memory::new());
        let mut model = BTreeMap::new();
        let mut state = 1u64;
        for round in 0..if cfg!(miri) { 60 } else { 400u64 } {
            let keys: Vec<u64> = (0..round % 40)
                .map(|_| {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    // Some keys far apart, some close, many of them twice.
                    if state >> 63 == 0 { state >> 20 } else { (state >> 40) % 1000 }
                })
                .collect();
            let mut next_place = 0;
            index.upsert_many(&keys, |place, present| {
                assert_eq!(place, next_place);
                next_place += 1;
                let payload = round << 32 | place as u64;
                assert_eq!(present, model.insert(keys[place], payload));
                payload
            });
            assert_eq!(next_place, keys.len());
        }
        index.verify();
        assert_eq!(index.len(), model.len());
        assert!(model.iter().all(|(key, payload)| index.get(*key) == Some(*payload)));
    }
}
