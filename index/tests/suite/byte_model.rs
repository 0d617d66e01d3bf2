//! The byte index against `BTreeMap`, on friendly and hostile keys, with and without collisions.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::keys::Random;
use uarr_index::{ByteIndex, ByteIndexOptions, KeySource, Memory};

/// Records that only hold their keys.
#[derive(Default)]
struct Records {
    keys: Vec<Vec<u8>>,
    reads: Cell<u64>,
    /// Payloads of those that cannot be read.
    damaged: BTreeSet<u64>,
    /// What the damaged ones show instead of their keys.
    shows: Shows,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Shows {
    #[default]
    Nothing,
    Key,
    OtherKey,
}

impl Records {
    fn write(&mut self, key: &[u8]) -> u64 {
        self.keys.push(key.to_vec());
        self.keys.len() as u64 - 1
    }
}

#[derive(Debug, PartialEq)]
struct Unreadable;

impl KeySource for Records {
    type Error = Unreadable;

    fn key(&self, payload: u64) -> Result<&[u8], Unreadable> {
        self.reads.set(self.reads.get() + 1);
        if self.damaged.contains(&payload) {
            return Err(Unreadable);
        }
        Ok(&self.keys[payload as usize])
    }

    fn seeming_key(&self, payload: u64) -> Option<&[u8]> {
        match self.shows {
            Shows::Nothing => None,
            Shows::Key => Some(&self.keys[payload as usize]),
            Shows::OtherKey => Some(&self.keys[payload as usize ^ 1]),
        }
    }
}

fn options(ordered: bool) -> ByteIndexOptions {
    ByteIndexOptions { ordered, hash_seed: 0x5eed }
}

/// Miri runs some ten thousand times slower.
const SCALE: usize = if cfg!(miri) { 100 } else { 1 };

const SETS: &[&str] = if cfg!(miri) {
    &["users", "zeros", "binary"]
} else {
    &["users", "paths", "zeros", "bytes", "long_prefix", "short", "binary", "huge"]
};

/// Distinct keys in a random order.
fn key_set(name: &str, count: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    let mut next: Box<dyn FnMut(usize) -> Vec<u8>> = match name {
        "users" => Box::new(|i| format!("user:{i:010}").into_bytes()),
        "paths" => Box::new(move |_| {
            let depth = 1 + random.below(6);
            let parts: Vec<String> =
                (0..depth).map(|_| format!("dir{}", random.below(9))).collect();
            format!("/{}/file{}.rs", parts.join("/"), random.below(400)).into_bytes()
        }),
        // "a", "a\0", "a\0\0" ...
        "zeros" => Box::new(move |i| {
            let mut key = vec![b'a' + (i % 3) as u8];
            key.resize(1 + random.below(300) as usize, 0);
            key
        }),
        "bytes" => Box::new(move |_| {
            let len = 1 + random.below(3);
            (0..len).map(|_| random.below(256) as u8).collect()
        }),
        "long_prefix" => Box::new(move |i| {
            let mut key = vec![7; 1000 + (i % 5)];
            key.extend(random.below(100_000).to_be_bytes());
            key
        }),
        "short" => Box::new(|i| vec![(i % 256) as u8; 1 + i / 256 % 40]),
        "binary" => Box::new(move |_| {
            let len = 1 + random.below(24);
            (0..len).map(|_| if random.below(2) == 0 { 0 } else { 255 }).collect()
        }),
        "huge" => Box::new(move |i| {
            let mut key = vec![b'x'; 65_535 - 8 - i % 3];
            key.extend((i as u64).to_be_bytes());
            key.truncate(65_535);
            key
        }),
        other => panic!("unknown set {other}"),
    };
    let count = if name == "huge" { count.min(300 / SCALE) } else { count };
    let mut keys: Vec<Vec<u8>> = (0..count).map(&mut next).collect();
    keys.sort_unstable();
    keys.dedup();
    Random::new(seed + 1).shuffle(&mut keys);
    keys
}

fn compare(name: &str, index: &ByteIndex, model: &BTreeMap<Vec<u8>, u64>, records: &Records) {
    assert_eq!(index.len(), model.len(), "{name}: length");
    for (key, &payload) in model {
        assert_eq!(index.get(key, records), Ok(Some(payload)), "{name}");
    }
    if !index.is_ordered() {
        return;
    }
    let mut found = Vec::new();
    index.scan(Bound::Unbounded, usize::MAX, records, &mut found).unwrap();
    assert!(found.iter().eq(model.values()), "{name}: scan");
    found.clear();
    index.scan_rev(Bound::Unbounded, usize::MAX, records, &mut found).unwrap();
    assert!(found.iter().eq(model.values().rev()), "{name}: reverse scan");
    let stats = index.stats().ordered.unwrap();
    assert_eq!(stats.entries, model.len());
    assert!(stats.depth <= 6, "{name}: depth {}", stats.depth);
}

fn scans(name: &str, index: &ByteIndex, model: &BTreeMap<Vec<u8>, u64>, key: &[u8], r: &Records) {
    let from = key.to_vec();
    for (low, bound) in [
        (Bound::Included(from.clone()), Bound::Included(key)),
        (Bound::Excluded(from.clone()), Bound::Excluded(key)),
    ] {
        let mut found = Vec::new();
        index.scan(bound, 100, r, &mut found).unwrap();
        let expected = model.range((low.clone(), Bound::Unbounded)).take(100);
        assert!(found.iter().eq(expected.map(|(_, v)| v)), "{name}: scan from {key:?}");
        found.clear();
        index.scan_rev(bound, 100, r, &mut found).unwrap();
        let expected = model.range((Bound::Unbounded, low)).rev().take(100);
        assert!(found.iter().eq(expected.map(|(_, v)| v)), "{name}: back from {key:?}");
    }
}

fn random_operations(name: &str, index: &ByteIndex, keys: &[Vec<u8>], count: usize) {
    let mut random = Random::new(77);
    let mut records = Records::default();
    let mut model = BTreeMap::new();
    for _ in 0..count {
        let mut key = keys[random.below(keys.len() as u64) as usize].clone();
        if random.below(8) == 0 && key.len() < 65_535 {
            key.push(random.below(2) as u8);
        }
        match random.below(12) {
            0..5 => {
                let payload = records.write(&key);
                let before = index.insert(&key, payload, &records).unwrap();
                assert_eq!(before, model.insert(key, payload), "{name}");
            }
            5..8 => {
                assert_eq!(index.remove(&key, &records), Ok(model.remove(&key)), "{name}");
            }
            8 => {
                let present = model.get(&key).copied();
                let wanted = present.unwrap_or(0) + random.below(2);
                let removed = index.remove_if(&key, wanted, &records).unwrap();
                assert_eq!(removed, present == Some(wanted), "{name}");
                if removed {
                    model.remove(&key);
                }
            }
            9 => {
                let present = model.get(&key).copied();
                let payload = records.write(&key);
                let wanted = present.unwrap_or(0);
                let replaced = index.replace_if(&key, wanted, payload, &records);
                assert_eq!(replaced, present == Some(wanted), "{name}");
                if replaced {
                    model.insert(key, payload);
                }
            }
            10 if index.is_ordered() => scans(name, index, &model, &key, &records),
            _ => assert_eq!(index.get(&key, &records), Ok(model.get(&key).copied()), "{name}"),
        }
    }
    compare(name, index, &model, &records);
    for key in model.keys() {
        assert!(index.remove(key, &records).unwrap().is_some(), "{name}");
    }
    compare(name, index, &BTreeMap::new(), &records);
}

#[test]
fn random_operations_agree_with_the_model() {
    for &name in SETS {
        let keys = key_set(name, 4000 / SCALE, 3);
        let count = if name == "huge" { 1500 } else { 25_000 } / SCALE;
        random_operations(name, &ByteIndex::new(&Memory::new(), options(true)), &keys, count);
        random_operations(name, &ByteIndex::new(&Memory::new(), options(false)), &keys, count / 4);
    }
}

/// Only a few hashes exist, one of them the greatest, so that chains are long and wrap around.
#[test]
fn collisions_are_resolved() {
    for mask in [0, 3, u64::MAX - 1, 3 << 62, 0xff] {
        for name in ["users", "zeros", "bytes"] {
            let keys = key_set(name, if cfg!(miri) { 20 } else { 150 }, 5);
            let index = ByteIndex::with_hash_mask(&Memory::new(), options(true), mask);
            random_operations(name, &index, &keys, 6000 / SCALE);
        }
    }
}

#[test]
fn every_order_of_inserts_gives_the_same_order() {
    for &name in SETS {
        let mut keys = key_set(name, 6000 / SCALE, 9);
        for order in ["shuffled", "ascending", "descending"] {
            match order {
                "ascending" => keys.sort_unstable(),
                "descending" => keys.sort_unstable_by(|a, b| b.cmp(a)),
                _ => {}
            }
            let mut records = Records::default();
            let index = ByteIndex::new(&Memory::new(), options(true));
            let mut model = BTreeMap::new();
            for key in &keys {
                let payload = records.write(key);
                assert_eq!(index.insert(key, payload, &records).unwrap(), None, "{name}");
                model.insert(key.clone(), payload);
            }
            compare(&format!("{name} {order}"), &index, &model, &records);
        }
    }
}

#[test]
fn bulk_loads_agree_with_the_model() {
    for &name in SETS {
        for count in [0, 1, 2, 57, 6000 / SCALE] {
            let mut keys = key_set(name, count, 11);
            keys.sort_unstable();
            let mut records = Records::default();
            let model: BTreeMap<Vec<u8>, u64> =
                keys.iter().map(|key| (key.clone(), records.write(key))).collect();
            let entries = || keys.iter().map(|key| (key, model[key]));
            for ordered in [true, false] {
                let index = ByteIndex::from_sorted(&Memory::new(), options(ordered), entries());
                compare(name, &index, &model, &records);
            }
        }
    }
}

/// Records that cannot be read cost lookups of their own keys and nothing else: others are
/// inserted, removed and scanned beside them, and a new record of their own key takes their place.
/// They keep their places in the order if they still show their keys; another key is not believed.
#[test]
fn unreadable_records_cost_only_their_own_keys() {
    let shows = [Shows::Nothing, Shows::Key, Shows::OtherKey];
    for (&name, shows) in SETS.iter().flat_map(|name| shows.map(|shows| (name, shows))) {
        let keys = key_set(name, 3000 / SCALE, 13);
        let index = ByteIndex::new(&Memory::new(), options(true));
        let mut records = Records { shows, ..Records::default() };
        let mut model = BTreeMap::new();
        let (early, late) = keys.split_at(keys.len() / 3);
        for key in early {
            model.insert(key.clone(), records.write(key));
            assert_eq!(index.insert(key, model[key], &records).unwrap(), None);
        }
        let damaged: Vec<&Vec<u8>> = early.iter().step_by(4).collect();
        records.damaged = damaged.iter().map(|key| model[*key]).collect();
        for key in late {
            model.insert(key.clone(), records.write(key));
            assert_eq!(index.insert(key, model[key], &records).unwrap(), None, "{name}");
        }
        for key in early.iter().skip(1).step_by(8) {
            assert_eq!(index.remove(key, &records), Ok(model.remove(key)), "{name}");
        }
        for (key, payload) in &model {
            let whole = !records.damaged.contains(payload);
            let found = index.get(key, &records);
            assert_eq!(found, if whole { Ok(Some(*payload)) } else { Err(Unreadable) }, "{name}");
            assert_eq!(index.newest(key, &records), Some(*payload), "{name}");
            assert!(index.leads_to(key, *payload));
        }
        check_beside_damage(name, &index, &model, &records);
        for (key, payload) in &model {
            assert_eq!(index.insert(key, *payload, &records).unwrap(), Some(*payload), "{name}");
        }
        check_beside_damage(name, &index, &model, &records);
        for key in damaged {
            let payload = records.write(key);
            let before = index.insert(key, payload, &records).unwrap();
            assert_eq!(before, model.insert(key.clone(), payload));
        }
        compare(name, &index, &model, &records);
    }
}

/// Scans report every entry once, readable ones in their order, from any bound.
fn check_beside_damage(
    name: &str,
    index: &ByteIndex,
    model: &BTreeMap<Vec<u8>, u64>,
    records: &Records,
) {
    let bounds = model.keys().step_by(37).map(|key| Bound::Included(key.as_slice()));
    for from in bounds.chain([Bound::Unbounded]) {
        for backward in [false, true] {
            let mut found = Vec::new();
            let knows_all = records.shows == Shows::Key;
            let whole = |payload: &&u64| knows_all || !records.damaged.contains(payload);
            let from_key = from.map(<[u8]>::to_vec);
            let expected: Vec<u64> = if backward {
                index.scan_rev(from, usize::MAX, records, &mut found).unwrap();
                let range = model.range((Bound::Unbounded, from_key));
                range.rev().map(|(_, payload)| payload).filter(whole).copied().collect()
            } else {
                index.scan(from, usize::MAX, records, &mut found).unwrap();
                let range = model.range((from_key, Bound::Unbounded));
                range.map(|(_, payload)| payload).filter(whole).copied().collect()
            };
            let readable: Vec<u64> = found.iter().filter(whole).copied().collect();
            assert_eq!(readable, expected, "{name}");
            found.sort_unstable();
            found.dedup();
            if from == Bound::Unbounded {
                assert_eq!(found.len(), model.len(), "{name}");
            }
        }
    }
}

/// Records may have other keys than they were entered with, or one record may stand under several:
/// no panic, and what was entered later is found.
#[test]
fn records_with_other_keys_end_in_no_panic() {
    for &name in SETS {
        let keys = key_set(name, 2000 / SCALE, 19);
        let mut records = Records::default();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        sorted.truncate(keys.len() / 2);
        for key in keys.iter().cycle().take(sorted.len()) {
            records.write(key);
        }
        let mut random = Random::new(23);
        let lying = sorted.iter().map(|key| (key, random.below(sorted.len() as u64)));
        let index = ByteIndex::from_sorted(&Memory::new(), options(true), lying);
        for key in &keys {
            let payload = records.write(key);
            index.insert(key, payload, &records).unwrap();
            assert_eq!(index.get(key, &records), Ok(Some(payload)), "{name}");
        }
        for key in keys.iter().step_by(2) {
            index.remove(key, &records).unwrap();
            index.scan(Bound::Excluded(key), 100, &records, &mut Vec::new()).unwrap();
        }
        for key in &keys {
            index.insert(key, records.write(key), &records).unwrap();
        }
    }
}

/// Each byte value, alone, first, last and in the middle, and equal keys that go on differently.
#[test]
fn every_byte_value_sorts_as_bytes_do() {
    let mut keys = Vec::new();
    for byte in (0..=u8::MAX).step_by(if cfg!(miri) { 51 } else { 1 }) {
        keys.push(vec![byte]);
        for other in [0, 1, 0x7f, 0x80, 0xfe, 0xff] {
            keys.push(vec![byte, other]);
            keys.push([&[other; 12][..], &[byte]].concat());
            keys.push([&[other; 5][..], &[byte], &[other; 9][..]].concat());
        }
    }
    keys.sort_unstable();
    keys.dedup();
    let mut records = Records::default();
    let model: BTreeMap<Vec<u8>, u64> =
        keys.iter().map(|key| (key.clone(), records.write(key))).collect();
    let entries = keys.iter().map(|key| (key, model[key]));
    compare(
        "loaded",
        &ByteIndex::from_sorted(&Memory::new(), options(true), entries),
        &model,
        &records,
    );
    let index = ByteIndex::new(&Memory::new(), options(true));
    Random::new(1).shuffle(&mut keys);
    for key in &keys {
        assert_eq!(index.insert(key, model[key], &records).unwrap(), None);
    }
    compare("inserted", &index, &model, &records);
}

/// Records an insert may read: a leaf that is cut reads each of its 64 entries, the ends of its
/// parts, and ties.
const READS_PER_INSERT_MAX: u64 = 80;
/// What the ordered side has of each key, and of all bytes of keys (prefixes and separators).
const ORDERED_BYTES_PER_KEY: usize = 24;
const KEY_BYTES_PER_BYTE: usize = 8;

/// What hostile keys may cost: records that are read, which is what a key of 64 KiB makes dear, and
/// memory.
#[test]
fn hostile_keys_cost_a_bounded_number_of_reads_and_bytes() {
    for &name in SETS {
        for order in ["shuffled", "ascending"] {
            let mut keys = key_set(name, 6000 / SCALE, 17);
            if order == "ascending" {
                keys.sort_unstable();
            }
            let mut records = Records::default();
            let index = ByteIndex::new(&Memory::new(), options(true));
            let mut reads_max = 0;
            for key in &keys {
                let payload = records.write(key);
                records.reads.set(0);
                index.insert(key, payload, &records).unwrap();
                reads_max = reads_max.max(records.reads.get());
            }
            assert!(reads_max <= READS_PER_INSERT_MAX, "{name} {order}: {reads_max} reads");
            let key_bytes: usize = keys.iter().map(Vec::len).sum();
            let bytes = index.stats().ordered.unwrap().bytes;
            let allowed = keys.len() * ORDERED_BYTES_PER_KEY + key_bytes / KEY_BYTES_PER_BYTE;
            assert!(bytes <= allowed, "{name} {order}: {bytes} bytes, {allowed} allowed");
            for key in &keys {
                records.reads.set(0);
                index.get(key, &records).unwrap();
                assert_eq!(records.reads.get(), 1, "{name}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "at least one byte")]
fn the_empty_key_is_refused() {
    let _ = ByteIndex::new(&Memory::new(), options(true)).insert(b"", 0, &Records::default());
}
