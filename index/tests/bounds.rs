//! Depth and memory stay within bounds at every checkpoint, even if an attacker chooses the keys.
//!
//! A `BTreeMap` gets the same operations, and what it allocates is counted: the index never has
//! more than twice that. A test binary of its own, because it counts allocations.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use allocation_counter::measure;
use uarr_index::{IntIndex, Memory};

#[allow(dead_code, reason = "each test binary uses a part")]
#[path = "suite/keys.rs"]
mod keys;

use keys::{Random, SETS, key_set, runs_up_and_down};

const DEPTH_MAX: usize = 16;
/// The index never has more than this many times the bytes of a `BTreeMap`.
const BYTES_FACTOR_MAX: f64 = 2.0;
/// Of few entries the smallest leaf may have more.
const BYTES_ALWAYS_ALLOWED: usize = 32 << 10;

const KEYS: usize = if cfg!(miri) { 200 } else { 20_000 };
const CHECKPOINTS: usize = 20;

#[derive(Clone, Copy)]
enum Change {
    Put(u64),
    Take(u64),
}

/// The index and a `BTreeMap` with the same entries.
struct Pair {
    name: String,
    index: IntIndex,
    model: BTreeMap<u64, u64>,
    model_bytes: i64,
    worst: f64,
}

impl Pair {
    fn new(name: impl Into<String>, entries: &[(u64, u64)]) -> Self {
        let mut model = BTreeMap::new();
        let loaded = measure(|| model.extend(entries.iter().copied()));
        let index = IntIndex::from_sorted(&Memory::new(), entries);
        let (name, model_bytes) = (name.into(), loaded.bytes_current);
        let mut pair = Self { name, index, model, model_bytes, worst: 0.0 };
        pair.check();
        pair
    }

    fn apply(&mut self, changes: &[Change]) {
        for &change in changes {
            match change {
                Change::Put(key) => self.index.insert(key, !key),
                Change::Take(key) => self.index.remove(key),
            };
        }
        let model = &mut self.model;
        let counted = measure(|| {
            for &change in changes {
                match change {
                    Change::Put(key) => model.insert(key, !key),
                    Change::Take(key) => model.remove(&key),
                };
            }
        });
        self.model_bytes += counted.bytes_current;
        self.check();
    }

    fn check(&mut self) {
        let (name, stats) = (&self.name, self.index.stats());
        assert_eq!(stats.entries, self.model.len(), "{name}");
        assert!(stats.depth <= DEPTH_MAX, "{name}: depth {}", stats.depth);
        let allowed = (self.model_bytes as f64 * BYTES_FACTOR_MAX) as usize;
        assert!(
            stats.bytes <= allowed.max(BYTES_ALWAYS_ALLOWED),
            "{name}: {} bytes, BTreeMap {}, {} entries",
            stats.bytes,
            self.model_bytes,
            stats.entries,
        );
        if stats.bytes > BYTES_ALWAYS_ALLOWED {
            self.worst = self.worst.max(stats.bytes as f64 / self.model_bytes as f64);
        }
    }

    fn apply_in_parts(&mut self, changes: &[Change]) {
        changes
            .chunks(changes.len().div_ceil(CHECKPOINTS).max(1))
            .for_each(|part| self.apply(part));
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.index.verify();
            println!("{}: at most {:.2} times the memory", self.name, self.worst);
        }
    }
}

/// The index has allocated no more than `stats` says, up to the granularity of huge pages.
#[test]
fn stats_say_the_bytes_that_are_allocated() {
    for set in ["uniform", "sequential", "cantor"] {
        let entries: Vec<(u64, u64)> = key_set(set, 10 * KEYS, 1).iter().map(|&k| (k, k)).collect();
        let mut index = None;
        let counted = measure(|| index = Some(IntIndex::from_sorted(&Memory::new(), &entries)));
        let told = index.unwrap().stats().bytes as i64;
        assert!(counted.bytes_current <= told + told / 8 + (4 << 20), "{set}: {told}, {counted:?}");
    }
}

fn inserts_in_every_order(set: &str, seed: u64) {
    let mut keys = key_set(set, KEYS, seed);
    let entries: Vec<(u64, u64)> = keys.iter().map(|&key| (key, key)).collect();
    drop(Pair::new(format!("{set} loaded"), &entries));
    for order in ["ascending", "descending", "shuffled"] {
        match order {
            "descending" => keys.reverse(),
            "shuffled" => Random::new(seed).shuffle(&mut keys),
            _ => {}
        }
        let changes: Vec<Change> = keys.iter().map(|&key| Change::Put(key)).collect();
        Pair::new(format!("{set} {order}"), &[]).apply_in_parts(&changes);
    }
}

fn random_operations(set: &str, seed: u64) {
    let keys = key_set(set, KEYS, seed);
    let mut random = Random::new(seed);
    let mut changes = |puts_of_16: u64| -> Vec<Change> {
        let mut change = || {
            let key = keys[random.below(keys.len() as u64) as usize];
            if random.below(16) < puts_of_16 { Change::Put(key) } else { Change::Take(key) }
        };
        (0..2 * KEYS).map(|_| change()).collect()
    };
    let mut pair = Pair::new(format!("{set} random"), &[]);
    // Grows, stays, shrinks, grows again.
    for puts_of_16 in [14, 8, 2, 14] {
        pair.apply_in_parts(&changes(puts_of_16));
    }
}

/// Queues: old keys go while new ones come.
fn moving_windows(set: &str, seed: u64) {
    for direction in ["ascending", "descending"] {
        let mut keys = key_set(set, KEYS, seed);
        if direction == "descending" {
            keys.reverse();
        }
        let window = keys.len() / 4;
        let mut changes = Vec::new();
        for (at, &key) in keys.iter().enumerate() {
            changes.push(Change::Put(key));
            changes.extend(at.checked_sub(window).map(|out| Change::Take(keys[out])));
        }
        Pair::new(format!("{set} {direction} window"), &[]).apply_in_parts(&changes);
    }
}

/// Digits in descending order once had thousands of keys rebuilt for each that was inserted: a node
/// that may not be widened was asked to be, refused, and what a rebuild made of its leaf was asked
/// and refused again.
#[test]
fn a_refused_change_of_shape_rebuilds_nothing() {
    let count = if cfg!(miri) { KEYS } else { 250_000 };
    let index = IntIndex::new(&Memory::new());
    for &key in key_set("cantor", 4 * count, 1).iter().rev().take(count) {
        index.insert(key, key);
    }
    let stats = index.stats();
    assert!(stats.rebuilds <= 1 + stats.entries as u64 / 10_000, "{stats:?}");
}

/// Every set with its seed and its bound.
fn each_set(check: fn(&str, u64)) {
    for (seed, set) in SETS.into_iter().enumerate() {
        check(set, seed as u64);
    }
}

#[test]
fn loads_and_inserts_in_every_order_stay_within_bounds() {
    each_set(inserts_in_every_order);
}

#[test]
fn random_operations_stay_within_bounds() {
    each_set(random_operations);
}

#[test]
fn moving_windows_stay_within_bounds() {
    each_set(moving_windows);
}

#[test]
fn runs_up_and_down_stay_within_bounds() {
    for seed in 0..if cfg!(miri) { 2 } else { 40 } {
        let mut pair = Pair::new(format!("runs {seed}"), &[]);
        let changes: Vec<_> =
            runs_up_and_down(3 * KEYS, seed).into_iter().map(Change::Put).collect();
        changes.chunks(changes.len() / CHECKPOINTS).for_each(|part| pair.apply(part));
    }
}

/// Counts keys below every prefix, to find where they are densest.
#[derive(Default)]
struct Densities(std::collections::HashMap<(u32, u64), u64>);

impl Densities {
    fn prefix(bits: u32, key: u64) -> (u32, u64) {
        (bits, key.checked_shr(64 - bits).unwrap_or(0))
    }

    fn count(&self, bits: u32, key: u64) -> u64 {
        self.0.get(&Self::prefix(bits, key)).copied().unwrap_or(0)
    }

    fn add(&mut self, key: u64) {
        (0..=64).for_each(|bits| *self.0.entry(Self::prefix(bits, key)).or_default() += 1);
    }

    /// A free key in the densest place: always the fuller half that is not full.
    fn densest_free(&self) -> u64 {
        let mut key = 0u64;
        for bits in 1..=64 {
            let room = |count: u64| bits <= 1 || u128::from(count) < 1u128 << (64 - bits);
            let high = key | 1 << (64 - bits);
            let (zero, one) = (self.count(bits, key), self.count(bits, high));
            if room(one) && (one >= zero || !room(zero)) {
                key = high;
            }
        }
        key
    }
}

/// Always beside the most loaded place, so that every model and every split is wrong at once.
#[test]
fn keys_beside_the_densest_place_stay_within_bounds() {
    for seed in 0..3 {
        let mut random = Random::new(seed);
        let mut densities = Densities::default();
        let mut pair = Pair::new(format!("densest place {seed}"), &[]);
        let scattered = [0, 1000, 10_000][seed as usize];
        let mut part = Vec::new();
        for at in 0..KEYS.min(20_000) {
            // A background, then the attack, with now and then a new place that becomes as dense.
            let new_place = at < scattered || random.below(5000) == 0;
            let key = if new_place { random.next() } else { densities.densest_free() };
            if densities.count(64, key) == 0 {
                densities.add(key);
                part.push(Change::Put(key));
            }
            if part.len() == 100 {
                pair.apply(&std::mem::take(&mut part));
            }
        }
        pair.apply(&part);
    }
}

/// Ways to choose the next keys; `around` is one that is present.
type Trick = fn(&mut Random, &BTreeMap<u64, u64>, u64) -> u64;

const TRICKS: [Trick; 8] = [
    |random, _, _| random.next(),
    |_, model, _| model.last_key_value().map_or(0, |(&key, _)| key.saturating_add(1)),
    |_, model, _| model.first_key_value().map_or(0, |(&key, _)| key.saturating_sub(1)),
    |_, model, around| middle(around, next_above(model, around)),
    |_, model, around| middle(next_below(model, around), around),
    |_, model, around| next_above(model, around).saturating_sub(1),
    |random, _, around| around ^ 1 << random.below(64),
    |random, _, around| around.saturating_add(random.next() >> random.below(64)),
];

fn next_above(model: &BTreeMap<u64, u64>, key: u64) -> u64 {
    model.range(key.saturating_add(1)..).next().map_or(u64::MAX, |(&above, _)| above)
}

fn next_below(model: &BTreeMap<u64, u64>, key: u64) -> u64 {
    model.range(..key).next_back().map_or(0, |(&below, _)| below)
}

fn middle(low: u64, high: u64) -> u64 {
    low + (high.max(low) - low) / 2
}

/// An adversary that watches what its tricks do to depth, memory and changes of shape, and plays
/// the one that did the most harm again and again.
#[test]
fn an_adversary_that_learns_stays_within_bounds() {
    const BLOCK: usize = 100;
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let mut pair = Pair::new(format!("learning adversary {seed}"), &[]);
        let mut harm = [f64::MAX; TRICKS.len()];
        let mut around = random.next();
        for _ in 0..KEYS / BLOCK {
            let worst = (0..TRICKS.len()).max_by(|&a, &b| harm[a].total_cmp(&harm[b])).unwrap();
            let trick = if random.below(5) == 0 { random.below(8) as usize } else { worst };
            if random.below(10) == 0 {
                around = next_above(&pair.model, random.next());
            }
            let before = pair.index.stats();
            for _ in 0..BLOCK {
                let key = TRICKS[trick](&mut random, &pair.model, around);
                pair.apply(&[Change::Put(key)]);
                around = key;
            }
            let after = pair.index.stats();
            let shapes = |s: &uarr_index::IndexStats| {
                s.splits + s.expansions + 4 * s.inner_changes + 16 * s.rebuilds
            };
            let deeper = after.depth as f64 - before.depth as f64;
            let larger = after.bytes as f64 - before.bytes as f64;
            harm[trick] =
                (shapes(&after) - shapes(&before)) as f64 + 20.0 * deeper + larger / 4096.0;
            harm.iter_mut().for_each(|harm| *harm *= 0.98);
        }
    }
}
