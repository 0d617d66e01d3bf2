//! [`Retained`]: old versions that pins need, and where readers find them.
//!
//! A reader at an LSN finds its version of a key behind the newest one, by the links from version
//! to version. Before a chunk is closed in which such a link ends, or a version lies, the version
//! is *kept* here: with the LSNs at which readers find it, in a copy that was made in another
//! chunk. So a reader asks here before it follows links. How what is kept is found is told in
//! [`crate::versions::needed`], the order in decision 0038.
//!
//! Invariants:
//! - kept versions of one key ascend, and the LSNs at which they are found do not overlap;
//! - what is kept in each chunk is counted: a chunk that has any is not closed;
//! - one thread adds and drops, the one that moves records. Readers only look.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};

use uarr_layout::record::Locator;

use crate::data::live::{LINE_BYTES, LiveRecords};
use crate::sync::{Rank, Ranked, lock};

/// Keys are divided into so many parts by their hashes: what pins have left behind is dropped part
/// by part, and readers wait for one of them at most.
const PART_COUNT: usize = 256;

/// Memory for a key of which a version is kept, besides its own bytes, about, and for each version
/// beyond the first.
const KEY_MEMORY_BYTES: u64 = 150;
const VERSION_MEMORY_BYTES: u64 = size_of::<KeptVersion>() as u64;

/// Old versions that pins need.
pub(crate) struct Retained {
    kept: Ranked<KeptByKey>,
    /// Whether there are any: as a rule readers need not take the lock.
    is_used: AtomicBool,
    chunk_shift: u32,
}

/// What readers find at LSNs from `from` on, and before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptVersion {
    pub from: u64,
    pub until: u64,
    /// `None`: the key is not there.
    pub place: Option<KeptRecord>,
}

/// Where a kept version lies, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptRecord {
    pub locator: Locator,
    pub lines: u32,
}

#[expect(clippy::disallowed_types, reason = "nothing depends on its order")]
type Part = std::collections::HashMap<Box<[u8]>, Vec<KeptVersion>>;

struct KeptByKey {
    /// By key.
    parts: Vec<Part>,
    hasher: RandomState,
    key_count: u64,
    version_count: u64,
    key_bytes: u64,
    /// By number.
    chunks: BTreeMap<u64, LiveRecords>,
    lines: u64,
    /// Pins that something may be kept for.
    served: BTreeSet<u64>,
    /// What pins have left behind is being dropped, out of this part next.
    sweep: Option<usize>,
}

impl KeptVersion {
    fn is_found_at(&self, lsn: u64) -> bool {
        (self.from..self.until).contains(&lsn)
    }

    /// The first of `pins`, which ascend, that finds it.
    fn first_needed_by(&self, pins: &[u64]) -> Option<u64> {
        let first = pins.partition_point(|pin| *pin < self.from);
        pins.get(first).copied().filter(|pin| *pin < self.until)
    }
}

impl KeptRecord {
    /// The record of `bytes` at `locator`.
    pub fn new(locator: Locator, bytes: u64) -> Self {
        let lines = bytes.div_ceil(LINE_BYTES);
        Self { locator, lines: u32::try_from(lines).expect("records are limited") }
    }
}

/// The one of `versions`, which ascend, that a reader at `lsn` finds.
fn find_at(versions: &[KeptVersion], lsn: u64) -> Option<&KeptVersion> {
    let behind = versions.partition_point(|kept| kept.from <= lsn);
    versions[..behind].last().filter(|kept| kept.is_found_at(lsn))
}

impl Retained {
    /// Nothing is kept.
    pub fn new(chunk_bytes: u64) -> Self {
        assert!(chunk_bytes.is_power_of_two());
        let kept = Ranked::new(Rank::Leaf, KeptByKey::new());
        let chunk_shift = chunk_bytes.trailing_zeros();
        Self { kept, is_used: AtomicBool::new(false), chunk_shift }
    }

    /// What readers of `key` at `lsn` find, if that is kept.
    ///
    /// A reader that is told nothing under a pin of the map finds all by links as long as it has
    /// that pin: what is kept later is kept before chunks are closed, which waits for the pin.
    pub fn version_at(&self, key: &[u8], lsn: u64) -> Option<KeptVersion> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        find_at(lock(&self.kept).of(key), lsn).copied()
    }

    /// Those of `pins` for which nothing of `key` is kept.
    pub fn not_served(&self, key: &[u8], pins: &[u64], out: &mut Vec<u64>) {
        out.clear();
        if !self.is_used.load(Ordering::Acquire) {
            return out.extend(pins);
        }
        let kept = lock(&self.kept);
        let versions = kept.of(key);
        out.extend(pins.iter().filter(|pin| find_at(versions, **pin).is_none()));
    }

    /// Whether the record of `key` at `locator`, with `lsn`, is one that is kept for one of `pins`.
    pub fn names(&self, key: &[u8], (locator, lsn): (Locator, u64), pins: &[u64]) -> bool {
        let kept = lock(&self.kept);
        let versions = kept.of(key);
        // No other version begins between a record and the LSN from which on it is kept.
        let found = versions.get(versions.partition_point(|kept| kept.from < lsn));
        found.is_some_and(|kept| {
            let is_it = kept.place.is_some_and(|place| place.locator == locator);
            is_it && kept.first_needed_by(pins).is_some()
        })
    }

    /// Something will be kept for these pins.
    pub fn serve(&self, pins: &[u64]) {
        lock(&self.kept).served.extend(pins);
    }

    /// Whether something may be kept for each of these pins.
    pub fn serves_all(&self, pins: &[u64]) -> bool {
        let kept = lock(&self.kept);
        pins.iter().all(|pin| kept.served.contains(pin))
    }

    /// Keeps a version of `key` that a reader at `lsn` finds, for whom none is kept.
    pub fn keep(&self, key: &[u8], lsn: u64, version: KeptVersion) {
        assert!(version.is_found_at(lsn), "the reader finds it");
        let mut kept = lock(&self.kept);
        kept.add(key, lsn, version);
        kept.count(version.place, self.chunk_shift);
        self.is_used.store(true, Ordering::Release);
    }

    /// The kept record of `key` at `from` has another copy.
    pub fn replace(&self, key: &[u8], from: Locator, to: KeptRecord) {
        let mut kept = lock(&self.kept);
        let part = kept.part_of(key);
        let of_key = kept.parts[part].get_mut(key).into_iter().flatten();
        let mut of_key = of_key.filter_map(|version| version.place.as_mut());
        let place = of_key.find(|place| place.locator == from);
        let place = place.expect("the one thread that drops versions has seen it");
        let old = mem::replace(place, to);
        kept.count(Some(to), self.chunk_shift);
        kept.discount(Some(old), self.chunk_shift);
    }

    /// What is kept in chunk `number`.
    pub fn in_chunk(&self, number: u64) -> LiveRecords {
        lock(&self.kept).chunks.get(&number).copied().unwrap_or_default()
    }

    /// Cache lines of all that is kept.
    pub fn total_lines(&self) -> u64 {
        lock(&self.kept).lines
    }

    /// About how much memory it takes.
    pub fn memory_bytes(&self) -> u64 {
        let kept = lock(&self.kept);
        let more_count = kept.version_count - kept.key_count;
        kept.key_bytes + kept.key_count * KEY_MEMORY_BYTES + more_count * VERSION_MEMORY_BYTES
    }

    /// Drops some of what no pin needs any more; `pins` are all there are, ascending. Whether there
    /// was something to do.
    pub fn sweep(&self, pins: &[u64]) -> bool {
        if !self.is_used.load(Ordering::Acquire) {
            return false;
        }
        let mut kept = lock(&self.kept);
        if kept.sweep.is_none() {
            let is_pinned = |lsn: &u64| pins.binary_search(lsn).is_ok();
            let served_count = kept.served.len();
            kept.served.retain(is_pinned);
            if kept.served.len() == served_count {
                return false;
            }
            kept.sweep = Some(0);
        }
        if kept.served.is_empty() {
            let all = mem::replace(&mut *kept, KeptByKey::new());
            self.is_used.store(false, Ordering::Release);
            drop(kept);
            // What may be much is freed behind the lock.
            drop(all);
            return true;
        }
        kept.sweep_some(pins, self.chunk_shift);
        true
    }
}

impl KeptByKey {
    fn new() -> Self {
        Self {
            parts: vec![Part::new(); PART_COUNT],
            hasher: RandomState::new(),
            key_count: 0,
            version_count: 0,
            key_bytes: 0,
            chunks: BTreeMap::new(),
            lines: 0,
            served: BTreeSet::new(),
            sweep: None,
        }
    }

    fn part_of(&self, key: &[u8]) -> usize {
        (self.hasher.hash_one(key) % PART_COUNT as u64) as usize
    }

    /// What is kept of `key`.
    fn of(&self, key: &[u8]) -> &[KeptVersion] {
        self.parts[self.part_of(key)].get(key).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, key: &[u8], lsn: u64, mut version: KeptVersion) {
        let part = self.part_of(key);
        let of_key = self.parts[part].entry(key.into()).or_insert_with(|| Vec::with_capacity(1));
        if of_key.is_empty() {
            self.key_count += 1;
            self.key_bytes += key.len() as u64;
        }
        // What was kept for pins that have ended may not be dropped yet: when a deletion is
        // forgotten, and the key comes again, the version before has no end any more.
        let place = of_key.partition_point(|other| other.from <= lsn);
        if let Some(before) = place.checked_sub(1).map(|before| &of_key[before]) {
            assert!(before.until <= lsn, "a reader finds one version");
            version.from = version.from.max(before.until);
        }
        if let Some(behind) = of_key.get(place) {
            version.until = version.until.min(behind.from);
        }
        of_key.insert(place, version);
        self.version_count += 1;
    }

    fn count(&mut self, place: Option<KeptRecord>, chunk_shift: u32) {
        let Some(KeptRecord { locator, lines }) = place else { return };
        let chunk = self.chunks.entry(locator.address() >> chunk_shift).or_default();
        chunk.count += 1;
        chunk.lines += lines;
        self.lines += u64::from(lines);
    }

    fn discount(&mut self, place: Option<KeptRecord>, chunk_shift: u32) {
        let Some(KeptRecord { locator, lines }) = place else { return };
        let number = locator.address() >> chunk_shift;
        let chunk = self.chunks.get_mut(&number).expect("what is kept was counted");
        assert!(chunk.count > 0 && chunk.lines >= lines, "what is kept was counted");
        chunk.count -= 1;
        chunk.lines -= lines;
        if chunk.count == 0 {
            self.chunks.remove(&number);
        }
        self.lines -= u64::from(lines);
    }

    /// Looks at the next part of a sweep.
    fn sweep_some(&mut self, pins: &[u64], chunk_shift: u32) {
        let part = self.sweep.take().expect("a sweep has begun");
        let mut dropped = Vec::new();
        let Self { parts, key_count, key_bytes, served, .. } = self;
        parts[part].retain(|key, versions| {
            dropped.extend(versions.extract_if(.., |version| {
                // A younger pin may find what was kept for another.
                let pin = version.first_needed_by(pins);
                served.extend(pin);
                pin.is_none()
            }));
            if versions.is_empty() {
                *key_count -= 1;
                *key_bytes -= key.len() as u64;
            }
            !versions.is_empty()
        });
        self.version_count -= dropped.len() as u64;
        dropped.into_iter().for_each(|version| self.discount(version.place, chunk_shift));
        self.sweep = Some(part + 1).filter(|next| *next < PART_COUNT);
    }
}

#[cfg(test)]
mod tests {
    use uarr_layout::record::RecordKind;

    use super::*;

    const CHUNK: u64 = 1 << 16;

    fn place(address: u64) -> Option<KeptRecord> {
        Some(KeptRecord::new(Locator::new(address, 100, RecordKind::Value), 100))
    }

    fn version(from: u64, until: u64, address: u64) -> KeptVersion {
        KeptVersion { from, until, place: place(address) }
    }

    #[test]
    fn readers_find_what_is_kept_for_their_lsn() {
        let retained = Retained::new(CHUNK);
        assert_eq!(retained.version_at(b"a", 5), None);
        retained.serve(&[5, 12]);
        retained.keep(b"a", 12, version(12, 15, 2 * CHUNK));
        retained.keep(b"a", 5, version(3, 9, CHUNK));
        retained.keep(b"b", 5, KeptVersion { from: 0, until: 7, place: None });
        let found = |key: &[u8], lsn| retained.version_at(key, lsn).map(|kept| kept.place);
        assert_eq!(found(b"a", 2), None);
        assert_eq!([3, 8].map(|lsn| found(b"a", lsn)), [Some(place(CHUNK)); 2]);
        assert_eq!([9, 15].map(|lsn| found(b"a", lsn)), [None; 2]);
        assert_eq!(found(b"b", 6), Some(None), "it was not there");
        assert_eq!(retained.in_chunk(1), LiveRecords { count: 1, lines: 2 });
        assert_eq!(retained.total_lines(), 4);

        let old = place(CHUNK).unwrap().locator;
        assert!(retained.names(b"a", (old, 3), &[8]) && !retained.names(b"b", (old, 3), &[8]));
        assert!(!retained.names(b"a", (old, 3), &[2, 9]), "no pin needs it");
        retained.replace(b"a", old, place(7 * CHUNK).unwrap());
        assert_eq!(retained.in_chunk(1), LiveRecords::default());
        assert_eq!(found(b"a", 3), Some(place(7 * CHUNK)));
    }

    #[test]
    fn what_no_pin_needs_is_dropped() {
        let retained = Retained::new(CHUNK);
        retained.serve(&[5, 12]);
        let key_count = 3 * PART_COUNT as u64 + 7;
        for key in 1..=key_count {
            retained.keep(&key.to_be_bytes(), 5, version(3, 9, key * 128));
            retained.keep(&key.to_be_bytes(), 12, version(9, 15, key * 128 + CHUNK));
        }
        assert!(!retained.sweep(&[5, 12]), "both are there");
        assert!(!retained.sweep(&[5, 8, 12, 20]), "others are of no concern");
        while retained.sweep(&[12, 20]) {}
        assert_eq!(retained.version_at(&1u64.to_be_bytes(), 5), None);
        assert!(retained.version_at(&key_count.to_be_bytes(), 12).is_some());
        assert_eq!(retained.total_lines(), 2 * key_count);
        assert!(retained.memory_bytes() > key_count * KEY_MEMORY_BYTES);
        while retained.sweep(&[20]) {}
        assert_eq!((retained.total_lines(), retained.memory_bytes()), (0, 0));
        assert_eq!(retained.version_at(&1u64.to_be_bytes(), 12), None);
    }

    /// A version that a younger pin finds, which nothing was kept for, goes with that pin.
    #[test]
    fn what_is_kept_goes_with_the_last_pin_that_finds_it() {
        let retained = Retained::new(CHUNK);
        retained.serve(&[5, 40]);
        retained.keep(b"a", 5, version(3, 9, CHUNK));
        retained.keep(b"b", 40, version(30, 50, CHUNK + 128));
        while retained.sweep(&[8, 40]) {}
        assert!(retained.version_at(b"a", 8).is_some());
        while retained.sweep(&[40]) {}
        assert_eq!(retained.version_at(b"a", 8), None);
        assert_eq!(retained.total_lines(), 2);
    }

    /// What was kept for a pin that has ended may still be there when a key that was deleted and
    /// forgotten has come again.
    #[test]
    fn a_version_ends_where_another_begins() {
        let retained = Retained::new(CHUNK);
        retained.keep(b"a", 5, version(3, 9, CHUNK));
        retained.keep(b"a", 30, version(20, 40, CHUNK));
        let none = KeptVersion { from: 0, until: 50, place: None };
        retained.keep(b"a", 12, none);
        assert_eq!(retained.version_at(b"a", 9), Some(KeptVersion { from: 9, until: 20, ..none }));
        assert_eq!(retained.version_at(b"a", 8), Some(version(3, 9, CHUNK)));
    }

    #[test]
    #[should_panic(expected = "a reader finds one version")]
    fn no_two_versions_are_found_at_one_lsn() {
        let retained = Retained::new(CHUNK);
        retained.keep(b"a", 5, version(3, 9, CHUNK));
        retained.keep(b"a", 8, version(8, 10, CHUNK));
    }
}
