//! Point access to byte keys: hash of the key -> payload, in the same tree as integer keys.
//!
//! Probing resolves real collisions: an entry whose hash is taken lies at the next free value.
//! Invariant: from an entry's own hash up to where it lies, every value is taken. So a lookup goes
//! from the hash upwards until the stored key agrees or a value is free. Removing an entry moves
//! later entries of its chain down, which a reader could miss: it then counts on `moves`, odd while
//! a chain changes. Readers without a collision, all but one in billions, never look.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crossbeam_epoch as epoch;

use super::hash::KeyHash;
use super::key_source::KeySource;
use super::walk::{WalkEntry, WalkPlace};
use crate::huge::Memory;
use crate::leaf::Density;
use crate::shape::{Writer, build};
use crate::stats::IndexStats;
use crate::sync::{AtomicU64, fence, pause};
use crate::tree::Tree;

/// No chain of keys with the same hash is as long in practice.
const CHAIN_MAX: u64 = 1 << 16;

/// The hash side of a byte index.
pub(crate) struct Points {
    tree: Tree,
    hash: KeyHash,
    /// Bits of the hash that are kept; fewer than all only in tests of collisions.
    mask: u64,
    /// Counts chains that were moved; odd during a move.
    moves: AtomicU64,
}

/// Where a key is, or where it would be put.
pub(crate) struct Found {
    at: u64,
    pub(crate) payload: Option<u64>,
    /// Place and payload of the first entry on the way whose record cannot be read. If the key was
    /// not found it is the key's in all likelihood: two keys rarely share 64 bits.
    unreadable: Option<(u64, u64)>,
}

impl Found {
    /// The unreadable entry on the way, if there is one, taken for the key's.
    pub(crate) fn claimed(&self) -> Option<Self> {
        let (at, payload) = self.unreadable?;
        Some(Self { at, payload: Some(payload), unreadable: None })
    }
}

/// How a chain closes the gap that a removed entry leaves, all of it as one step.
pub(crate) struct Removal {
    /// Payloads to store, in order.
    moved: Vec<(u64, u64)>,
    gap: u64,
}

/// See [`Points::confirmed`].
pub(crate) struct Confirmed<'a, K> {
    points: &'a Points,
    keys: &'a K,
}

impl<K: KeySource> KeySource for Confirmed<'_, K> {
    type Error = K::Error;

    fn key(&self, payload: u64) -> Result<&[u8], K::Error> {
        self.keys.key(payload).or_else(|error| {
            let seeming = self.keys.seeming_key(payload);
            seeming.filter(|key| self.points.leads_to(key, payload)).ok_or(error)
        })
    }
}

impl Points {
    pub(crate) fn new(memory: &Memory, seed: u128, mask: u64) -> Self {
        Self::with_entries(memory, KeyHash::new(seed), mask, &[])
    }

    /// From distinct keys, each given by what `hash` makes of it.
    pub(crate) fn from_hashes(
        memory: &Memory,
        hash: KeyHash,
        mask: u64,
        mut entries: Vec<(u64, u64)>,
    ) -> Self {
        for entry in &mut entries {
            entry.0 &= mask;
        }
        entries.sort_unstable();
        let mut last = None;
        let mut wrapped = Vec::new();
        entries.retain_mut(|entry| {
            let free = last.map_or(Some(0), |last: u64| last.checked_add(1));
            match free {
                Some(free) => {
                    entry.0 = entry.0.max(free);
                    last = Some(entry.0);
                    true
                }
                None => {
                    wrapped.push(entry.1);
                    false
                }
            }
        });
        let points = Self::with_entries(memory, hash, mask, &entries);
        let mut writer = Writer::default();
        let mut at = 0;
        for payload in wrapped {
            // Chains go on at 0 behind the greatest hash.
            while points.tree.get(at, &epoch::pin()).is_some() {
                at += 1;
            }
            points.tree.insert(&mut writer, at, payload);
        }
        points
    }

    fn with_entries(memory: &Memory, hash: KeyHash, mask: u64, entries: &[(u64, u64)]) -> Self {
        let root = build(memory, entries, (0, u64::MAX), Density::LOADED);
        let tree = Tree::new(memory, root, entries.len());
        Self { tree, hash, mask, moves: AtomicU64::new(0) }
    }

    fn home(&self, key: &[u8]) -> u64 {
        self.hash.of(key) & self.mask
    }

    pub(crate) fn hash_of(&self, key: &[u8]) -> u64 {
        self.hash.of(key)
    }

    /// Fetches what lookups of keys with these hashes will touch.
    pub(crate) fn prefetch(&self, hashes: &mut [u64]) {
        hashes.iter_mut().for_each(|hash| *hash &= self.mask);
        self.tree.prefetch(hashes, &epoch::pin());
    }

    pub(crate) fn get<K: KeySource>(&self, key: &[u8], keys: &K) -> Result<Option<u64>, K::Error> {
        let mut attempts = 0;
        loop {
            let moves = self.moves.load(Acquire);
            let home = self.home(key);
            let (found, error) = self.probe(home, key, keys);
            if found.payload.is_some() || found.at == home {
                return Ok(found.payload);
            }
            if let Some(error) = error {
                return Err(error);
            }
            // The key was not in the chain: certain only if the chain was not moved meanwhile.
            fence(Acquire);
            if moves & 1 == 0 && self.moves.load(Relaxed) == moves {
                return Ok(None);
            }
            attempts += 1;
            pause(attempts);
        }
    }

    /// The entry of `key`, or the free place at the end of its chain. Writer only.
    pub(crate) fn find<K: KeySource>(&self, key: &[u8], keys: &K) -> Found {
        self.probe(self.home(key), key, keys).0
    }

    /// Looks for `key` from `home` on, beyond records that cannot be read; with the error of the
    /// first of them.
    fn probe<K: KeySource>(&self, home: u64, key: &[u8], keys: &K) -> (Found, Option<K::Error>) {
        let guard = epoch::pin();
        let mut at = home;
        let mut unreadable = None;
        let mut first_error = None;
        loop {
            let payload = self.tree.get(at, &guard);
            let Some(present) = payload else {
                return (Found { at, payload, unreadable }, first_error);
            };
            match keys.key(present) {
                Ok(found) if found == key => {
                    return (Found { at, payload, unreadable: None }, None);
                }
                Ok(found) if self.belongs(found, at) => {}
                Ok(_) => {
                    if let Some(error) = keys.misnamed(present) {
                        unreadable.get_or_insert((at, present));
                        first_error.get_or_insert(error);
                    }
                }
                Err(error) => {
                    unreadable.get_or_insert((at, present));
                    first_error.get_or_insert(error);
                }
            }
            at = at.wrapping_add(1);
        }
    }

    /// Whether an entry of `key` may lie at `at`: no further from its hash than chains are long.
    pub(crate) fn belongs(&self, key: &[u8], at: u64) -> bool {
        at.wrapping_sub(self.home(key)) < CHAIN_MAX
    }

    /// Whether `payload` is that of an entry in the chain of `key`, so that its key is this one in
    /// all likelihood. Reads no record.
    pub(crate) fn leads_to(&self, key: &[u8], payload: u64) -> bool {
        let guard = epoch::pin();
        let mut at = self.home(key);
        while let Some(present) = self.tree.get(at, &guard) {
            if present == payload {
                return true;
            }
            at = at.wrapping_add(1);
        }
        false
    }

    /// Whether `entry`, which a walk has met, is still there.
    pub(crate) fn holds(&self, entry: &WalkEntry) -> bool {
        self.tree.get(entry.at, &epoch::pin()) == Some(entry.payload)
    }

    /// See [`super::ByteIndex::walk`].
    pub(crate) fn walk(
        &self,
        from: Option<WalkPlace>,
        max: usize,
        out: &mut Vec<WalkEntry>,
    ) -> Option<WalkPlace> {
        assert!(max > 0, "a walk goes on");
        let before_count = out.len();
        let mut attempts = 0;
        loop {
            let moves = self.moves.load(Acquire);
            let next = super::walk::step(&self.tree, from, max, out);
            // An entry that moved meanwhile may have been missed, or met twice.
            fence(Acquire);
            if moves & 1 == 0 && self.moves.load(Relaxed) == moves {
                return next;
            }
            out.truncate(before_count);
            attempts += 1;
            pause(attempts);
        }
    }

    /// `keys`, and the keys that damaged records seem to have where their hashes lead to them.
    pub(crate) fn confirmed<'a, K: KeySource>(&'a self, keys: &'a K) -> Confirmed<'a, K> {
        Confirmed { points: self, keys }
    }

    pub(crate) fn put(&self, writer: &mut Writer, found: &Found, payload: u64) {
        let before = self.tree.insert(writer, found.at, payload);
        assert!(before == found.payload, "writers take turns");
    }

    /// What has to move when the found entry goes: every later entry of the chain that could not
    /// be reached across the gap.
    pub(crate) fn plan_removal<K: KeySource>(
        &self,
        found: &Found,
        keys: &K,
    ) -> Result<Removal, K::Error> {
        let guard = epoch::pin();
        let mut removal = Removal { moved: Vec::new(), gap: found.at };
        let mut at = found.at.wrapping_add(1);
        while let Some(payload) = self.tree.get(at, &guard) {
            let home = self.home(keys.key(payload)?);
            // Distances along the ring: the entry may go to the gap if its home is not behind it.
            if at.wrapping_sub(home) >= at.wrapping_sub(removal.gap) {
                removal.moved.push((removal.gap, payload));
                removal.gap = at;
            }
            at = at.wrapping_add(1);
        }
        Ok(removal)
    }

    pub(crate) fn remove(&self, writer: &mut Writer, removal: Removal) {
        if removal.moved.is_empty() {
            self.tree.remove(writer, removal.gap, |_| true);
            return;
        }
        let moves = self.moves.load(Relaxed);
        self.moves.store(moves + 1, Relaxed);
        fence(Release);
        for (at, payload) in removal.moved {
            self.tree.insert(writer, at, payload);
        }
        self.tree.remove(writer, removal.gap, |_| true);
        self.moves.store(moves + 2, Release);
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    pub(crate) fn stats(&self, writer: &Writer) -> IndexStats {
        self.tree.stats(writer)
    }
}
