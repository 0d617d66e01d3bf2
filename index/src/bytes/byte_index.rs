//! The index over byte strings: a hash side for points and an ordered side for scans.

use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use super::hash::KeyHash;
use super::key_source::KeySource;
use super::ordered::Ordered;
use super::points::{Found, Points};
use super::walk::{WalkEntry, WalkPlace};
use crate::huge::Memory;
use crate::shape::Writer;
use crate::stats::IndexStats;
use crate::tree::LOOKUPS_TOGETHER;

/// Longest key in bytes.
const KEY_LEN_MAX: usize = 65_535;

/// How a [`ByteIndex`] is made.
#[derive(Clone, Copy, Debug)]
pub struct ByteIndexOptions {
    /// Keep the ordered side too, which scans need.
    pub ordered: bool,
    /// Key of the hash. Random and secret where keys come from strangers.
    pub hash_seed: u128,
}

/// An ordered map from byte strings of 1 to 65,535 bytes (asserted) to `u64` payloads. It holds no
/// whole key: a [`KeySource`] reads them from the records.
///
/// Readers never block; writers take turns on a lock inside. Point methods are linearizable. A scan
/// reports each key that is present throughout exactly once, in order, consistent per leaf (up to
/// 64 entries). Replacing the payload of a key is done in place on both sides; a scan beside it may
/// see the new payload a moment before a `get` does.
///
/// A record that cannot be read hinders only lookups of its own key. Writes find its entry by the
/// hash and the place in the order, so a new record of the key takes its place. It keeps its place
/// in the order if its source still knows its key ([`KeySource::seeming_key`]); if not, others with
/// the same first bytes may come to lie on either side of it.
pub struct ByteIndex {
    points: Points,
    ordered: Option<Ordered>,
    writer: Mutex<Writer>,
}

/// Shape of both sides of a [`ByteIndex`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ByteIndexStats {
    /// The hash side.
    pub points: IndexStats,
    /// The ordered side, if there is one.
    pub ordered: Option<IndexStats>,
}

/// How an entry was found.
#[derive(Clone, Copy)]
enum Entry {
    /// Its record has the key, or there is none.
    Read,
    /// Its record cannot be read.
    Claimed,
}

impl ByteIndex {
    /// An empty index, whose hash side lies in `memory`.
    pub fn new(memory: &Memory, options: ByteIndexOptions) -> Self {
        Self::with_hash_mask(memory, options, u64::MAX)
    }

    /// An index whose hashes keep only the bits of `mask`, to provoke collisions in tests.
    #[doc(hidden)]
    pub fn with_hash_mask(memory: &Memory, options: ByteIndexOptions, mask: u64) -> Self {
        Self {
            points: Points::new(memory, options.hash_seed, mask),
            ordered: options.ordered.then(Ordered::new),
            writer: Mutex::new(Writer::default()),
        }
    }

    /// An index with `entries`, whose keys must be distinct and, if it is ordered, strictly
    /// ascending (asserted), and whose hash side lies in `memory`. O(n log n) for sorting the
    /// hashes.
    pub fn from_sorted<B: AsRef<[u8]>>(
        memory: &Memory,
        options: ByteIndexOptions,
        entries: impl Iterator<Item = (B, u64)>,
    ) -> Self {
        Self::from_sorted_with_mask(memory, options, entries, u64::MAX)
    }

    /// As [`ByteIndex::from_sorted`], with hashes as [`ByteIndex::with_hash_mask`] has them.
    #[doc(hidden)]
    pub fn from_sorted_with_mask<B: AsRef<[u8]>>(
        memory: &Memory,
        options: ByteIndexOptions,
        entries: impl Iterator<Item = (B, u64)>,
        mask: u64,
    ) -> Self {
        let hash = KeyHash::new(options.hash_seed);
        let mut hashes = Vec::with_capacity(entries.size_hint().0);
        let hashed = entries.inspect(|(key, payload)| {
            check_key(key.as_ref());
            hashes.push((hash.of(key.as_ref()), *payload));
        });
        let ordered = match options.ordered {
            true => Some(Ordered::from_sorted(hashed)),
            false => {
                hashed.for_each(drop);
                None
            }
        };
        Self {
            points: Points::from_hashes(memory, hash, mask, hashes),
            ordered,
            writer: Mutex::new(Writer::default()),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("a writer that panicked may have left a leaf half changed")
    }

    /// The payload of `key`. One lookup by hash and one comparison with the stored key.
    pub fn get<K: KeySource>(&self, key: &[u8], keys: &K) -> Result<Option<u64>, K::Error> {
        self.points.get(key, keys)
    }

    /// Fetches into the cache what lookups of `keys` by hash are about to touch; see
    /// [`crate::IntIndex::prefetch`]. At most [`LOOKUPS_TOGETHER`] keys are looked at.
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let mut hashes = [0; LOOKUPS_TOGETHER];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.points.hash_of(key);
            count += 1;
        }
        self.points.prefetch(&mut hashes[..count]);
    }

    /// Whether `payload` is stored for `key`, by its hash alone: reads no record. In practice no
    /// other key has the same hash.
    pub fn leads_to(&self, key: &[u8], payload: u64) -> bool {
        self.points.leads_to(key, payload)
    }

    /// Whether `payload` is stored for `key` on the hash side if it is on the ordered one. Reads no
    /// record, and holds writers up.
    pub fn sides_agree(&self, key: &[u8], payload: u64) -> bool {
        let _writer = self.writer();
        let is_in_order = self.ordered.as_ref().is_some_and(|o| o.holds(key, payload));
        !is_in_order || self.points.leads_to(key, payload)
    }

    /// The payload that an [`ByteIndex::upsert`] of `key` would replace: as [`ByteIndex::get`]
    /// finds it, or that of a record that cannot be read and can only be the key's.
    pub fn newest<K: KeySource>(&self, key: &[u8], keys: &K) -> Option<u64> {
        let _writer = self.writer();
        self.find(key, keys).0.payload
    }

    /// Stores `payload`, whose record can be read already, for `key`; returns the payload it
    /// replaces. Records of other keys that cannot be read are no error; there is none today.
    pub fn insert<K: KeySource>(
        &self,
        key: &[u8],
        payload: u64,
        keys: &K,
    ) -> Result<Option<u64>, K::Error> {
        Ok(self.upsert(key, keys, |_| payload))
    }

    /// Stores for `key` what `payload` makes of the payload present, and returns the one it
    /// replaces. The record of the new one can be read when `payload` returns; it is called once
    /// and must not write to the index.
    pub fn upsert<K: KeySource>(
        &self,
        key: &[u8],
        keys: &K,
        payload: impl FnOnce(Option<u64>) -> u64,
    ) -> Option<u64> {
        check_key(key);
        let mut writer = self.writer();
        let (found, entry) = self.find(key, keys);
        let payload = payload(found.payload);
        // The ordered side would lose a record that cannot be read if it replaced it by itself.
        if found.payload == Some(payload) {
            return found.payload;
        }
        if let Some(ordered) = &self.ordered {
            match (found.payload, entry) {
                (Some(before), Entry::Read) => ordered.replace(key, before, payload),
                (Some(before), Entry::Claimed) => {
                    ordered.renew(key, before, payload, &self.points.confirmed(keys));
                }
                (None, _) => ordered.insert(key, payload, &self.points.confirmed(keys)),
            }
        }
        self.points.put(&mut writer, &found, payload);
        found.payload
    }

    /// The entry of `key`. Writer only.
    fn find<K: KeySource>(&self, key: &[u8], keys: &K) -> (Found, Entry) {
        let found = self.points.find(key, keys);
        if found.payload.is_some() {
            return (found, Entry::Read);
        }
        let is_place = |payload| self.ordered.as_ref().is_none_or(|o| o.holds(key, payload));
        match found.claimed() {
            Some(claimed) if claimed.payload.is_some_and(is_place) => (claimed, Entry::Claimed),
            _ => (found, Entry::Read),
        }
    }

    /// Removes `key` and returns its payload. On error nothing was changed.
    pub fn remove<K: KeySource>(&self, key: &[u8], keys: &K) -> Result<Option<u64>, K::Error> {
        self.remove_where(key, keys, |_| true)
    }

    /// Removes `key` if it still has this payload; says whether it did. On error nothing was
    /// changed.
    pub fn remove_if<K: KeySource>(
        &self,
        key: &[u8],
        payload: u64,
        keys: &K,
    ) -> Result<bool, K::Error> {
        Ok(self.remove_where(key, keys, |present| present == payload)?.is_some())
    }

    fn remove_where<K: KeySource>(
        &self,
        key: &[u8],
        keys: &K,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Option<u64>, K::Error> {
        let mut writer = self.writer();
        let (found, _) = self.find(key, keys);
        let Some(payload) = found.payload.filter(|&payload| wanted(payload)) else {
            return Ok(None);
        };
        let removal = self.points.plan_removal(&found, keys)?;
        if let Some(ordered) = &self.ordered {
            ordered.remove(key, payload);
        }
        self.points.remove(&mut writer, removal);
        Ok(Some(payload))
    }

    /// Stores `payload` for `key` if the entry still has `expected`; says whether it did. This is
    /// how a record is moved without losing a newer version of it.
    pub fn replace_if<K: KeySource>(
        &self,
        key: &[u8],
        expected: u64,
        payload: u64,
        keys: &K,
    ) -> bool {
        let mut writer = self.writer();
        let (found, entry) = self.find(key, keys);
        if found.payload != Some(expected) {
            return false;
        }
        if let Some(ordered) = &self.ordered {
            match entry {
                Entry::Read => ordered.replace(key, expected, payload),
                Entry::Claimed => {
                    ordered.renew(key, expected, payload, &self.points.confirmed(keys));
                }
            }
        }
        self.points.put(&mut writer, &found, payload);
        true
    }

    /// Appends up to `max` payloads to `out` in ascending order of their keys, from the bound on;
    /// fewer only at the end. Records that cannot be read are reported where they may lie in the
    /// range, and are no error; there is none today. The index must be ordered (asserted).
    pub fn scan<K: KeySource>(
        &self,
        from: Bound<&[u8]>,
        max: usize,
        keys: &K,
        out: &mut Vec<u64>,
    ) -> Result<(), K::Error> {
        self.order().scan(from, max, &self.points.confirmed(keys), out);
        Ok(())
    }

    /// As [`ByteIndex::scan`], in descending order.
    pub fn scan_rev<K: KeySource>(
        &self,
        from: Bound<&[u8]>,
        max: usize,
        keys: &K,
        out: &mut Vec<u64>,
    ) -> Result<(), K::Error> {
        self.order().scan_rev(from, max, &self.points.confirmed(keys), out);
        Ok(())
    }

    /// Appends the next entries of a walk by hash, `max` of them or a few more, and returns where
    /// it goes on; `None`: it has met all. A walk begins at `None`.
    ///
    /// A key that is present throughout the walk is met exactly once, with a payload that it had
    /// meanwhile; one that comes or goes may be met or not. No record is read.
    pub fn walk(
        &self,
        from: Option<WalkPlace>,
        max: usize,
        out: &mut Vec<WalkEntry>,
    ) -> Option<WalkPlace> {
        self.points.walk(from, max, out)
    }

    /// Whether an entry of `key` may be what a walk has met as `entry`: by its hash, so that no
    /// other key may in practice.
    pub fn is_met(&self, entry: &WalkEntry, key: &[u8]) -> bool {
        self.points.belongs(key, entry.at)
    }

    /// Whether a lookup of `key` comes to `entry`, which a walk has met, if that is there still.
    /// Reads no record, and holds writers up.
    pub fn is_reached(&self, entry: &WalkEntry, key: &[u8]) -> bool {
        let _writer = self.writer();
        !self.points.holds(entry) || self.points.leads_to(key, entry.payload)
    }

    fn order(&self) -> &Ordered {
        self.ordered.as_ref().expect("scans need an index that was made with `ordered`")
    }

    /// Whether the index keeps its keys in order.
    pub fn is_ordered(&self) -> bool {
        self.ordered.is_some()
    }

    /// Entries, as of some moment during the call.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no entry, as of some moment during the call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape and history of both sides. Walks all nodes and holds writers up meanwhile.
    pub fn stats(&self) -> ByteIndexStats {
        let writer = self.writer();
        ByteIndexStats {
            points: self.points.stats(&writer),
            ordered: self.ordered.as_ref().map(Ordered::stats),
        }
    }
}

fn check_key(key: &[u8]) {
    assert!(!key.is_empty(), "a key has at least one byte");
    assert!(key.len() <= KEY_LEN_MAX, "a key has at most 65,535 bytes");
}
