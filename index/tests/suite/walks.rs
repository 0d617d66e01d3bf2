//! Walks by hash: each key that stays is met exactly once, whatever comes, goes and moves
//! meanwhile.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::keys::Random;
use uarr_index::{ByteIndex, ByteIndexOptions, KeySource, Memory, WalkEntry};

const KEYS: u64 = if cfg!(miri) { 60 } else { 2000 };
/// Chains of any length, some over the end of the ring.
const MASKS: [u64; 6] = [0, 3, u64::MAX - 1, 3 << 62, 0xff, u64::MAX];

/// Payloads are numbers of keys, and versions above them.
struct Keys(Vec<Vec<u8>>);

impl Keys {
    fn new() -> Self {
        Self((0..KEYS).map(|number| format!("session:{number:08}").into_bytes()).collect())
    }
}

const VERSION: u64 = 1 << 32;

fn number(payload: u64) -> u64 {
    payload % VERSION
}

impl KeySource for Keys {
    type Error = Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Infallible> {
        Ok(&self.0[number(payload) as usize])
    }
}

fn unordered(mask: u64) -> ByteIndex {
    let options = ByteIndexOptions { ordered: false, hash_seed: 0x5eed };
    ByteIndex::with_hash_mask(&Memory::new(), options, mask)
}

/// Whether a key is never removed.
fn stays(number: u64) -> bool {
    number.is_multiple_of(3)
}

/// One change of a key, among the first `count`.
fn change(index: &ByteIndex, keys: &Keys, number: u64, version: u64) {
    let key = &keys.0[number as usize];
    match version.is_multiple_of(2) || stays(number) {
        true => drop(index.insert(key, number + version * VERSION, keys)),
        false => drop(index.remove(key, keys)),
    }
}

/// Walks `max` entries at a time and calls `between`; how often each key was met.
fn walk(index: &ByteIndex, max: usize, mut between: impl FnMut()) -> BTreeMap<u64, u64> {
    let mut met = BTreeMap::new();
    let mut place = None;
    loop {
        let mut some = Vec::new();
        place = index.walk(place, max, &mut some);
        assert!(some.len() >= max || place.is_none(), "only the last step has fewer");
        assert!(some.last().is_none_or(WalkEntry::is_boundary), "chains are whole");
        some.iter().for_each(|entry| *met.entry(number(entry.payload)).or_default() += 1);
        if place.is_none() {
            return met;
        }
        between();
    }
}

fn check_met(met: &BTreeMap<u64, u64>, count: u64, what: &str) {
    for stays in (0..count).filter(|number| stays(*number)) {
        assert_eq!(met.get(&stays), Some(&1), "{what}: key {stays}");
    }
}

#[test]
fn a_walk_meets_what_is_there() {
    let keys = Keys::new();
    for mask in MASKS {
        let count = if mask == u64::MAX { KEYS } else { KEYS.min(100) };
        let index = unordered(mask);
        assert!(walk(&index, 1, || {}).is_empty());
        (0..count).for_each(|number| change(&index, &keys, number, 0));
        for max in [1, 2, 7, 64, usize::MAX >> 8] {
            let max = max.min(4 * KEYS as usize);
            let met = walk(&index, max, || {});
            assert!(met.values().all(|times| *times == 1), "mask {mask:x}, {max} at a time");
            assert_eq!(met.len() as u64, count, "mask {mask:x}, {max} at a time");
        }
    }
}

#[test]
fn what_stays_is_met_once_among_what_moves() {
    let keys = Keys::new();
    let mut random = Random::new(7);
    for mask in MASKS {
        let count = if mask == u64::MAX { KEYS } else { KEYS.min(120) };
        let index = unordered(mask);
        for round in 0..if cfg!(miri) { 2 } else { 60 } {
            (0..count).for_each(|number| change(&index, &keys, number, round));
            let (max, mut version) = (1 + random.below(9) as usize, round);
            let met = walk(&index, max, || {
                for _ in 0..random.below(6) {
                    version += 1;
                    change(&index, &keys, random.below(count), version);
                }
            });
            check_met(&met, count, &format!("mask {mask:x}, round {round}"));
        }
    }
}

/// A reader takes up again behind the last boundary, as those do whose entries were moved.
#[test]
fn a_walk_goes_on_behind_each_boundary() {
    let keys = Keys::new();
    let mut random = Random::new(11);
    for mask in MASKS {
        let count = KEYS.min(90);
        let index = unordered(mask);
        (0..count).for_each(|number| change(&index, &keys, number, 0));
        let (mut met, mut version) = (BTreeMap::new(), 0);
        let mut goes_on = Some(None);
        while let Some(place) = goes_on {
            let mut some = Vec::new();
            index.walk(place, 8, &mut some);
            // Up to some boundary.
            let first = 1 + random.below(8) as usize;
            let mut boundaries = (0..some.len()).filter(|at| some[*at].is_boundary());
            let last = boundaries.find(|at| *at >= first).or_else(|| some.len().checked_sub(1));
            let used = last.map_or(0, |last| last + 1);
            for entry in &some[..used] {
                *met.entry(number(entry.payload)).or_default() += 1;
            }
            goes_on = some[..used].last().and_then(WalkEntry::behind).map(Some);
            for _ in 0..random.below(4) {
                version += 1;
                change(&index, &keys, random.below(count), version);
            }
        }
        check_met(&met, count, &format!("mask {mask:x}"));
    }
}

#[test]
fn what_stays_is_met_once_beside_writers() {
    let keys = Keys::new();
    for mask in [3 << 62, 0xff, u64::MAX] {
        let count = if mask == u64::MAX { KEYS } else { KEYS.min(120) };
        let index = unordered(mask);
        (0..count).for_each(|number| change(&index, &keys, number, 0));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut random = Random::new(mask);
                let mut version = 0;
                while !stop.load(Ordering::Relaxed) {
                    version += 1;
                    change(&index, &keys, random.below(count), version);
                }
            });
            for round in 0..if cfg!(miri) { 1 } else { 200 } {
                let met = walk(&index, 5 + round % 40, || {});
                check_met(&met, count, &format!("mask {mask:x}, round {round}"));
            }
            stop.store(true, Ordering::Relaxed);
            writer.join().expect("the writer writes");
        });
    }
}

#[test]
fn an_entry_is_known_by_the_hash_of_its_key() {
    let keys = Keys::new();
    let index = unordered(u64::MAX);
    (0..KEYS).for_each(|number| change(&index, &keys, number, 0));
    let mut met = Vec::new();
    assert_eq!(index.walk(None, 2 * KEYS as usize, &mut met), None);
    for entry in &met {
        let own = &keys.0[number(entry.payload) as usize];
        assert!(index.is_met(entry, own) && index.is_reached(entry, own));
        assert!(!index.is_met(entry, b"another") && !index.is_reached(entry, b"another"));
        index.remove(own, &keys).expect("all keys can be read");
        assert!(index.is_reached(entry, own), "what was removed contradicts nothing");
    }
}
