//! The integer index against `BTreeMap`, on friendly and hostile keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::keys::{Random, SETS, key_set, runs_up_and_down};
use uarr_index::{IntIndex, Memory};

const DEPTH_MAX: usize = 16;
/// Operations between two full comparisons.
const CHECKPOINT: usize = 10_000;
/// Miri runs some ten thousand times slower.
const SCALE: usize = if cfg!(miri) { 400 } else { 1 };

fn compare(name: &str, index: &IntIndex, model: &BTreeMap<u64, u64>) {
    assert_eq!(index.len(), model.len(), "{name}: length");
    index.verify();
    let mut entries = Vec::new();
    index.scan(Bound::Unbounded, usize::MAX, &mut entries);
    assert!(entries.iter().copied().eq(model.iter().map(|(&k, &v)| (k, v))), "{name}: scan");
    entries.clear();
    index.scan_rev(Bound::Unbounded, usize::MAX, &mut entries);
    let reverse = model.iter().rev().map(|(&k, &v)| (k, v));
    assert!(entries.iter().copied().eq(reverse), "{name}: reverse scan");
    for (&key, &payload) in model {
        assert_eq!(index.get(key), Some(payload), "{name}: {key}");
    }
    let wanted: Vec<u64> = model.keys().flat_map(|&k| [k, k.wrapping_add(1)]).collect();
    let mut found = Vec::with_capacity(wanted.len());
    index.get_many(&wanted, |place, payload| {
        assert_eq!(place, found.len(), "{name}: in turn");
        found.push(payload);
    });
    assert_eq!(found.len(), wanted.len());
    for (key, found) in wanted.iter().zip(found) {
        assert_eq!(found, model.get(key).copied(), "{name}: {key} of many");
    }
    let stats = index.stats();
    assert_eq!(stats.entries, model.len());
    assert!(stats.depth <= DEPTH_MAX, "{name}: depth {}", stats.depth);
}

fn random_operations(name: &str, keys: &[u64], index: &IntIndex, seed: u64, count: usize) {
    let mut random = Random::new(seed);
    let mut entries = Vec::new();
    index.scan(Bound::Unbounded, usize::MAX, &mut entries);
    let mut model: BTreeMap<u64, u64> = entries.iter().copied().collect();
    for step in 0..count {
        if step % CHECKPOINT == CHECKPOINT - 1 {
            compare(name, index, &model);
        }
        let mut key = keys[random.below(keys.len() as u64) as usize];
        if random.below(8) == 0 {
            key = key.wrapping_add(random.below(3)).wrapping_sub(1);
        }
        match random.below(16) {
            0..6 => {
                let payload = random.next();
                assert_eq!(index.insert(key, payload), model.insert(key, payload), "{name} {key}");
            }
            6..10 => assert_eq!(index.remove(key), model.remove(&key), "{name} {key}"),
            10 => {
                let present = model.get(&key).copied();
                let wanted = present.unwrap_or(0).wrapping_add(random.below(2));
                let removed = index.remove_if(key, wanted);
                assert_eq!(removed, present == Some(wanted), "{name} {key}");
                if removed {
                    model.remove(&key);
                }
            }
            11 => {
                let max = random.below(300) as usize;
                let mut found = Vec::new();
                index.scan(Bound::Excluded(key), max, &mut found);
                let expected = model.range((Bound::Excluded(key), Bound::Unbounded)).take(max);
                assert!(found.iter().copied().eq(expected.map(|(&k, &v)| (k, v))), "{name} {key}");
            }
            12 => {
                let max = random.below(300) as usize;
                let mut found = Vec::new();
                index.scan_rev(Bound::Included(key), max, &mut found);
                let expected = model.range(..=key).rev().take(max);
                assert!(found.iter().copied().eq(expected.map(|(&k, &v)| (k, v))), "{name} {key}");
            }
            13 => {
                let present = model.get(&key).copied();
                let wanted = present.unwrap_or(0).wrapping_add(random.below(2));
                let replaced = index.replace_if(key, wanted, 77);
                assert_eq!(replaced, present == Some(wanted), "{name} {key}");
                if replaced {
                    model.insert(key, 77);
                }
            }
            _ => assert_eq!(index.get(key), model.get(&key).copied(), "{name} {key}"),
        }
    }
    compare(name, index, &model);
}

#[test]
fn random_operations_agree_with_the_model() {
    for (seed, name) in SETS.iter().enumerate() {
        let keys = key_set(name, 20_000 / SCALE, seed as u64);
        random_operations(name, &keys, &IntIndex::new(&Memory::new()), seed as u64, 60_000 / SCALE);
        let entries: Vec<(u64, u64)> = keys.iter().step_by(2).map(|&k| (k, !k)).collect();
        random_operations(
            name,
            &keys,
            &IntIndex::from_sorted(&Memory::new(), &entries),
            seed as u64,
            60_000 / SCALE,
        );
    }
}

fn insert_all(name: &str, order: &[u64]) {
    let index = IntIndex::new(&Memory::new());
    let mut model = BTreeMap::new();
    for (i, &key) in order.iter().enumerate() {
        assert_eq!(index.insert(key, i as u64), model.insert(key, i as u64), "{name} {key}");
    }
    compare(name, &index, &model);
    // And away again, in the same order: a queue.
    for (i, &key) in order.iter().enumerate() {
        assert_eq!(index.remove(key), Some(i as u64), "{name} {key}");
    }
    compare(name, &index, &BTreeMap::new());
    assert!(index.stats().bytes < 1 << 20, "{name}: {:?}", index.stats());
}

#[test]
fn ordered_inserts_agree_with_the_model() {
    for (seed, name) in SETS.iter().enumerate() {
        let mut keys = key_set(name, 40_000 / SCALE, 100 + seed as u64);
        insert_all(&format!("{name} ascending"), &keys);
        keys.reverse();
        insert_all(&format!("{name} descending"), &keys);
        let mut outside_in = Vec::new();
        let (mut left, mut right) = (0, keys.len());
        while left < right {
            outside_in.push(keys[left]);
            left += 1;
            if left < right {
                right -= 1;
                outside_in.push(keys[right]);
            }
        }
        insert_all(&format!("{name} outside in"), &outside_in);
        outside_in.reverse();
        insert_all(&format!("{name} inside out"), &outside_in);
    }
}

#[test]
fn runs_up_and_down_agree_with_the_model() {
    for seed in 0..if cfg!(miri) { 2 } else { 40 } {
        let mut keys = runs_up_and_down(60_000 / SCALE, seed);
        let mut seen = std::collections::HashSet::new();
        keys.retain(|&key| seen.insert(key));
        insert_all(&format!("runs {seed}"), &keys);
    }
}

#[test]
fn ordered_inserts_hardly_ever_rebuild_however_their_density_changes() {
    const INSERTS_PER_REBUILD_MIN: u64 = 50_000;
    // Dense clusters, each twice as far away as the one before, still nest when they ascend.
    for name in SETS.iter().filter(|name| **name != "exponential") {
        let mut keys = key_set(name, 200_000 / SCALE, 7);
        for direction in ["ascending", "descending"] {
            let index = IntIndex::new(&Memory::new());
            keys.iter().for_each(|&key| _ = index.insert(key, key));
            let stats = index.stats();
            let rebuilds_max = stats.entries as u64 / INSERTS_PER_REBUILD_MIN;
            assert!(stats.rebuilds <= rebuilds_max, "{name} {direction}: {stats:?}");
            assert!(stats.depth <= DEPTH_MAX, "{name} {direction}: {stats:?}");
            keys.reverse();
        }
    }
}

#[test]
fn shuffled_inserts_agree_with_the_model() {
    for (seed, name) in SETS.iter().enumerate() {
        let mut keys = key_set(name, 40_000 / SCALE, 200 + seed as u64);
        Random::new(seed as u64).shuffle(&mut keys);
        insert_all(&format!("{name} shuffled"), &keys);
    }
}

#[test]
fn bulk_loads_agree_with_the_model() {
    for (seed, name) in SETS.iter().enumerate() {
        for count in [0, 1, 2, 3, 17, 300, 5000, 100_000] {
            let keys = key_set(name, count.min(600_000 / SCALE), 300 + seed as u64);
            let entries: Vec<(u64, u64)> = keys.iter().map(|&k| (k, k ^ 5)).collect();
            let index = IntIndex::from_sorted(&Memory::new(), &entries);
            compare(name, &index, &entries.into_iter().collect());
        }
    }
}

#[test]
fn extreme_keys_and_payloads_are_ordinary() {
    let index = IntIndex::new(&Memory::new());
    for key in [0, u64::MAX, 1, u64::MAX - 1, 1 << 63, (1 << 63) - 1] {
        for payload in [0, u64::MAX] {
            assert_eq!(index.get(key), if payload == 0 { None } else { Some(0) });
            assert_eq!(
                index.insert(key, payload),
                index.get(key).and(Some(0)).filter(|_| payload > 0)
            );
            assert_eq!(index.get(key), Some(payload));
        }
    }
    let mut entries = Vec::new();
    index.scan(Bound::Excluded(u64::MAX), 10, &mut entries);
    index.scan_rev(Bound::Excluded(0), 10, &mut entries);
    assert!(entries.is_empty());
    index.scan(Bound::Included(u64::MAX), 10, &mut entries);
    index.scan_rev(Bound::Included(0), 10, &mut entries);
    assert_eq!(entries, [(u64::MAX, u64::MAX), (0, u64::MAX)]);
}

/// Inserts always where the present keys are closest: between two neighbours, then beside them.
/// More adversaries, which also aim at memory, are in `tests/bounds.rs`.
#[test]
fn an_adversary_cannot_break_it() {
    let index = IntIndex::new(&Memory::new());
    let mut model = BTreeMap::new();
    let mut random = Random::new(9);
    let (mut low, mut high) = (0u64, u64::MAX);
    for round in 0..60_000 / SCALE as u64 {
        if round % CHECKPOINT as u64 == 0 {
            compare("adversary", &index, &model);
        }
        if high - low < 2 {
            low = random.next() >> 1;
            high = low + (random.next() >> random.below(64)).min(u64::MAX - low);
            continue;
        }
        let key = low + (high - low) / 2;
        assert_eq!(index.insert(key, round), model.insert(key, round));
        if round % 2 == 0 { low = key } else { high = key }
    }
    compare("adversary", &index, &model);
}
