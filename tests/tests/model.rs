//! The engine against an ordered map.
//!
//! Promises proved: reads, walks and what survives reopening are exactly those of an ordered map,
//! for both kinds of keys, with a ring and without; a walk sees the moment it began; a batch
//! becomes visible as one; readers are never disturbed by writers and checkpoints. To run one seed
//! again: `UARR_SEED=<seed> cargo test -p uarr-tests --test model`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use uarr::{AsKey, BackendChoice, Db, Durability, KeyBytes, KeyKind};
use uarr_tests::{Random, scratch, seed, small};

type Model = BTreeMap<Key, Vec<u8>>;

/// A key in its own order, which must be that of the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Bytes(Vec<u8>),
    U64(u64),
    I64(i64),
}

impl AsKey for Key {
    fn kind(&self) -> KeyKind {
        match self {
            Self::Bytes(_) => KeyKind::Bytes,
            Self::U64(_) => KeyKind::U64,
            Self::I64(_) => KeyKind::I64,
        }
    }

    fn to_key(&self) -> KeyBytes<'_> {
        match self {
            Self::Bytes(bytes) => KeyBytes::Slice(bytes),
            Self::U64(number) => KeyBytes::Int(number.to_be_bytes()),
            Self::I64(number) => KeyBytes::Int((number.cast_unsigned() ^ 1 << 63).to_be_bytes()),
        }
    }
}

struct Run {
    random: Random,
    kind: KeyKind,
    backend: BackendChoice,
    durability: Durability,
    directory: tempfile::TempDir,
    model: Model,
    seed: u64,
    reopen_count: u64,
    checkpoint_count: u64,
}

impl Run {
    fn open(&self) -> Db {
        small(self.directory.path())
            .keys(self.kind)
            .backend(self.backend)
            .durability(self.durability)
            .open()
            .unwrap()
    }

    /// Few enough keys to meet them again; byte keys share prefixes and differ in length.
    fn key(&mut self) -> Key {
        match self.kind {
            KeyKind::Bytes => {
                let parts =
                    ["a", "ab", "a\0", "b/", "b/c", "\u{7f}", "long-common-prefix-of-keys/"];
                let mut bytes = Vec::new();
                for _ in 0..1 + self.random.below(3) {
                    bytes.extend_from_slice(parts[self.random.below(7) as usize].as_bytes());
                }
                if self.random.below(4) == 0 {
                    bytes.extend_from_slice(&[0xff; 3][..self.random.below(4) as usize]);
                }
                Key::Bytes(bytes)
            }
            KeyKind::U64 => Key::U64(match self.random.below(10) {
                0 => [0, 1, u64::MAX - 1, u64::MAX][self.random.below(4) as usize],
                _ => self.random.below(500) * 0x0123_4567,
            }),
            KeyKind::I64 => Key::I64(match self.random.below(10) {
                0 => [i64::MIN, -1, 0, i64::MAX][self.random.below(4) as usize],
                _ => self.random.below(500).cast_signed() - 250,
            }),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(50) {
            0 => self.random.below(70_000),
            1..3 => 4_000 + self.random.below(200),
            3..6 => 0,
            _ => self.random.below(250),
        };
        let byte = self.random.next() as u8;
        (0..len).map(|i| byte.wrapping_add(i as u8)).collect()
    }

    fn operate(&mut self, db: &Db) {
        match self.random.below(100) {
            0..55 => {
                let (key, value) = (self.key(), self.value());
                db.put(&key, &value).unwrap();
                self.model.insert(key, value);
            }
            55..65 => {
                let key = self.key();
                db.delete(&key).unwrap();
                self.model.remove(&key);
            }
            65..70 => self.operate_if(db),
            70..80 => {
                let mut batch = db.batch();
                for _ in 0..self.random.below(30) {
                    let key = self.key();
                    if self.random.below(3) == 0 {
                        batch.delete(&key);
                        self.model.remove(&key);
                    } else {
                        let value = self.value();
                        batch.put(&key, &value);
                        self.model.insert(key, value);
                    }
                }
                batch.commit().unwrap();
            }
            80..98 => {
                let key = self.key();
                let record = db.get(&key).unwrap();
                let value = record.map(|record| record.bytes().to_vec());
                assert_eq!(value.as_ref(), self.model.get(&key), "UARR_SEED={} {key:?}", self.seed);
                assert_eq!(db.contains(&key).unwrap(), value.is_some());
            }
            98 => self.compare_range(db),
            _ => {
                db.checkpoint().unwrap();
                self.checkpoint_count += 1;
            }
        }
    }

    /// Writes that depend on what is there.
    fn operate_if(&mut self, db: &Db) {
        let (key, value, place) = (self.key(), self.value(), self.seed);
        let there = self.model.get(&key).cloned();
        let version = db.get(&key).unwrap().map_or(0, |record| record.version());
        let choice = self.random.below(7);
        let outcome = match choice {
            0 => db.insert(&key, &value),
            1 => db.update(&key, &value),
            2 => db.put_if_version(&key, &value, version),
            3 => db.put_if_version(&key, &value, version + 1),
            4 => db.delete_if_version(&key, version),
            5 => db.delete_if_version(&key, version + 1),
            _ => {
                let replaced = db.get_and_put(&key, &value).unwrap().1;
                let replaced = replaced.map(|record| record.bytes().to_vec());
                assert_eq!(replaced, there, "UARR_SEED={place} {key:?}");
                self.model.insert(key, value);
                return;
            }
        };
        let outcome = outcome.unwrap();
        let is_met = match choice {
            0 => there.is_none(),
            1 | 2 | 4 => there.is_some(),
            _ => false,
        };
        assert_eq!(outcome.is_written(), is_met, "UARR_SEED={place} {key:?}, {choice}");
        match (is_met, choice) {
            (false, _) => {
                let found = outcome.found().map(|record| record.bytes().to_vec());
                assert_eq!(found, there, "UARR_SEED={place} {key:?}");
            }
            (true, 4) => _ = self.model.remove(&key),
            (true, _) => _ = self.model.insert(key, value),
        }
    }

    /// Some range, forward, backward and from both ends at once.
    fn compare_range(&mut self, db: &Db) {
        let (low, high) = (self.key(), self.key());
        let (low, high) = if low <= high { (low, high) } else { (high, low) };
        let bound = |random: &mut Random, key: Key| match random.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(key),
            _ => Bound::Excluded(key),
        };
        let range = (bound(&mut self.random, low.clone()), bound(&mut self.random, high));
        // An ordered map panics where the database finds nothing.
        if let (Bound::Excluded(low), Bound::Excluded(high)) = &range
            && low == high
        {
            assert_eq!(db.range(range).unwrap().count(), 0);
            return;
        }
        let expected: Vec<_> = self.model.range(range.clone()).collect();
        let place = format!("UARR_SEED={} {range:?}", self.seed);
        compare(db.range(range.clone()).unwrap(), expected.iter().copied(), &place);
        compare(db.range(range.clone()).unwrap().rev(), expected.iter().rev().copied(), &place);
        let (mut walk, mut expected) = (db.range(range).unwrap(), expected.into_iter());
        loop {
            let forward = self.random.below(2) == 0;
            let (found, expected) = match forward {
                true => (walk.next(), expected.next()),
                false => (walk.next_back(), expected.next_back()),
            };
            compare(found.into_iter(), expected.into_iter(), &place);
            if expected.is_none() {
                break;
            }
        }
        if let Key::Bytes(bytes) = &low {
            let prefix = &bytes[..self.random.below(bytes.len() as u64 + 1) as usize];
            let with_prefix = |(key, _): &(&Key, &Vec<u8>)| match key {
                Key::Bytes(bytes) => bytes.starts_with(prefix),
                _ => false,
            };
            compare(db.prefix(prefix).unwrap(), self.model.iter().filter(with_prefix), &place);
        }
    }

    fn compare_all(&self, db: &Db) {
        let place = format!("UARR_SEED={}", self.seed);
        compare(db.iter(), self.model.iter(), &place);
        compare(db.iter().rev(), self.model.iter().rev(), &place);
        compare(db.first().transpose().into_iter(), self.model.iter().take(1), &place);
        compare(db.last().transpose().into_iter(), self.model.iter().rev().take(1), &place);
        let stats = db.stats();
        assert_eq!(stats.key_count, self.model.len() as u64, "{place}");
        let report = db.verify(|_| {}).unwrap();
        assert!(report.is_clean(), "{place}: {:?}", report.damages);
    }
}

fn compare<'a>(
    found: impl Iterator<Item = uarr::Result<uarr::Record<'a>>>,
    expected: impl Iterator<Item = (&'a Key, &'a Vec<u8>)>,
    place: &str,
) {
    let mut found = found.map(|record| record.unwrap_or_else(|error| panic!("{place}: {error}")));
    for (key, value) in expected {
        let record = found.next().unwrap_or_else(|| panic!("{place}: {key:?} is missing"));
        assert_eq!(record.key(), key.to_key().as_ref(), "{place}");
        assert_eq!(record.bytes(), value, "{place}: {key:?}");
        assert!(record.bytes().as_ptr().addr().is_multiple_of(8), "{place}: {key:?}");
    }
    assert!(found.next().is_none(), "{place}: more than expected");
}

fn run(kind: KeyKind, backend: BackendChoice, durability: Durability, default_seed: u64) {
    let seed = seed(default_seed);
    let mut run = Run {
        random: Random::new(seed),
        kind,
        backend,
        durability,
        directory: scratch(),
        model: Model::new(),
        seed,
        reopen_count: 0,
        checkpoint_count: 0,
    };
    let mut db = run.open();
    for _ in 0..6 {
        for _ in 0..250 + run.random.below(100) {
            run.operate(&db);
        }
        run.compare_all(&db);
        db.close().unwrap();
        db = run.open();
        run.reopen_count += 1;
        run.compare_all(&db);
    }
    println!(
        "{kind:?} {backend:?} {durability:?}: {} keys, {} reopened, {} checkpoints asked for",
        run.model.len(),
        run.reopen_count,
        run.checkpoint_count
    );
}

#[test]
fn byte_keys_behave_like_an_ordered_map() {
    run(KeyKind::Bytes, BackendChoice::Auto, Durability::Sync, 1);
    run(KeyKind::Bytes, BackendChoice::Syscalls, Durability::Manual, 2);
}

#[test]
fn integer_keys_behave_like_an_ordered_map() {
    run(KeyKind::U64, BackendChoice::Syscalls, Durability::Sync, 3);
    run(KeyKind::U64, BackendChoice::Auto, Durability::Interval(Duration::from_millis(5)), 4);
}

#[test]
fn signed_keys_behave_like_an_ordered_map() {
    run(KeyKind::I64, BackendChoice::Auto, Durability::Manual, 5);
}

/// A walk, begun before, sees nothing of what is written, overwritten and deleted meanwhile.
#[test]
fn a_walk_sees_the_moment_it_began() {
    for kind in [KeyKind::U64, KeyKind::Bytes] {
        let directory = scratch();
        let manual = small(directory.path()).keys(kind).durability(Durability::Manual);
        let db = manual.open().unwrap();
        let key = |number: u64| match kind {
            KeyKind::Bytes => Key::Bytes(format!("key {number:05}").into_bytes()),
            _ => Key::U64(number),
        };
        let mut model = Model::new();
        for number in (0..3000).step_by(2) {
            db.put(key(number), number.to_le_bytes()).unwrap();
            model.insert(key(number), number.to_le_bytes().to_vec());
        }
        for backwards in [false, true] {
            let mut walk = db.iter();
            let mut expected = model.iter();
            let mut random = Random::new(seed(6));
            for _ in 0..model.len() {
                let (found, expected) = match backwards {
                    true => (walk.next_back(), expected.next_back()),
                    false => (walk.next(), expected.next()),
                };
                compare(found.into_iter(), expected.into_iter(), "walk");
                let number = random.below(3000);
                match random.below(3) {
                    0 => db.delete(key(number)).unwrap(),
                    _ => db.put(key(number), b"later").unwrap(),
                };
            }
            assert!(walk.next().is_none());
            drop(walk);
            model.clear();
            for record in db.iter() {
                let record = record.unwrap();
                let key = match record.key_u64() {
                    Some(number) => Key::U64(number),
                    None => Key::Bytes(record.key().to_vec()),
                };
                model.insert(key, record.bytes().to_vec());
            }
        }
    }
}

/// Every batch moves money between accounts: each walk over them sees the same sum. Four writers,
/// two readers, checkpoints among them; bounded by the number of batches.
#[test]
fn batches_become_visible_as_one_under_stress() {
    const ACCOUNTS: u64 = 64;
    const WRITERS: u64 = 4;
    const MONEY: u64 = 1000;
    for (durability, steps) in [(Durability::Sync, 400), (Durability::Manual, 5000)] {
        let directory = scratch();
        let open =
            || small(directory.path()).keys(KeyKind::U64).durability(durability).open().unwrap();
        let db = open();
        let mut batch = db.batch();
        for account in 0..ACCOUNTS {
            batch.put(account, MONEY.to_le_bytes());
        }
        batch.commit().unwrap();
        let sum = |db: &Db| {
            let amounts = db
                .range(0..ACCOUNTS)
                .unwrap()
                .map(|record| u64::from_le_bytes(record.unwrap().bytes().try_into().unwrap()));
            let amounts: Vec<_> = amounts.collect();
            assert_eq!(amounts.len() as u64, ACCOUNTS);
            amounts.iter().sum::<u64>()
        };
        let (working, walk_count) = (AtomicU64::new(WRITERS), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (db, working) = (&db, &working);
                scope.spawn(move || {
                    // Each writer has accounts of its own, so that it need not wait for the others.
                    let mut random = Random::new(seed(7) + writer);
                    let span = ACCOUNTS / WRITERS;
                    let mut amounts = vec![MONEY; span as usize];
                    for step in 0..steps {
                        let (from, to) = (random.below(span), random.below(span));
                        let money = random.below(amounts[from as usize] + 1);
                        amounts[from as usize] -= money;
                        amounts[to as usize] += money;
                        let mut batch = db.batch();
                        for account in [from, to] {
                            let amount = amounts[account as usize].to_le_bytes();
                            batch.put(writer * span + account, amount);
                        }
                        batch.commit().unwrap();
                        if step % 100 == 99 && writer == 0 {
                            db.checkpoint().unwrap();
                        }
                    }
                    working.fetch_sub(1, Ordering::Release);
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    while working.load(Ordering::Acquire) > 0 {
                        assert_eq!(sum(&db), ACCOUNTS * MONEY);
                        walk_count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let walk_count = walk_count.into_inner();
        println!("{durability:?}: {} batches, {walk_count} walks", WRITERS * steps);
        assert!(walk_count > 0);
        assert_eq!(sum(&db), ACCOUNTS * MONEY);
        assert!(db.verify(|_| {}).unwrap().is_clean());
        db.close().unwrap();
        assert_eq!(sum(&open()), ACCOUNTS * MONEY);
    }
}
