//! Space that comes back: what is overwritten or deleted takes none for ever.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use uarr::{Builder, Db, Durability, KeyKind, Record};
use uarr_disk_sim::Memory;

const CHUNK: u64 = 1 << 16;

fn options(kind: KeyKind) -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(CHUNK);
    sizes.address_space_bytes(1 << 26).checkpoint_log_bytes(1 << 18).keys(kind).background(false)
}

fn work(db: &Db<Memory>) {
    while db.step().expect("a step") {}
}

/// A small random number generator: the numbers of each run are the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn key(kind: KeyKind, number: u64) -> Vec<u8> {
    match kind {
        KeyKind::Bytes => format!("key {number}").into_bytes(),
        _ => number.to_be_bytes().to_vec(),
    }
}

fn put(db: &Db<Memory>, number: u64, value: &[u8]) {
    match db.key_kind() {
        KeyKind::Bytes => db.put(key(KeyKind::Bytes, number), value).expect("a put"),
        _ => db.put(number, value).expect("a put"),
    };
}

fn delete(db: &Db<Memory>, number: u64) {
    match db.key_kind() {
        KeyKind::Bytes => db.delete(key(KeyKind::Bytes, number)).expect("a deletion"),
        _ => db.delete(number).expect("a deletion"),
    };
}

fn state(db: &Db<Memory>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all = db.iter().map(|record| record.expect("a record"));
    all.map(|record| (record.key().to_vec(), record.bytes().to_vec())).collect()
}

/// Each combination of durability and keys.
fn each(test: impl Fn(Builder, KeyKind)) {
    for kind in [KeyKind::U64, KeyKind::Bytes] {
        for durability in [Durability::Sync, Durability::Manual] {
            test(options(kind).durability(durability), kind);
        }
    }
}

#[test]
fn endless_overwriting_takes_bounded_space_and_loses_nothing() {
    each(|options, kind| {
        let mut disk = Memory::new();
        let mut db = options.clone().open_on(disk.clone()).unwrap();
        let mut model = BTreeMap::new();
        let mut random = Random(7);
        let mut longest = 0;
        for step in 0..6000u64 {
            let number = random.below(150);
            if random.below(10) == 0 {
                delete(&db, number);
                model.remove(&key(kind, number));
            } else {
                let value = vec![step as u8; 1000 + random.below(2000) as usize];
                put(&db, number, &value);
                model.insert(key(kind, number), value);
            }
            if step % 7 == 0 {
                work(&db);
            }
            if step % 1500 == 1499 {
                db.sync().unwrap();
                assert!(state(&db) == model, "{kind:?} {step}");
                assert!(db.verify(|_| ()).unwrap().is_clean());
                // Half of the time it is closed.
                if step % 3000 == 1499 {
                    db.close().unwrap();
                }
                disk = disk.crash();
                db = options.clone().open_on(disk.clone()).unwrap();
                assert!(state(&db) == model, "{kind:?} {step}");
            }
            longest = longest.max(db.stats().data_allocated_bytes);
        }
        // 150 keys of 2,000 bytes; 12 MB were written.
        assert!(longest <= 24 * CHUNK, "{kind:?}: {} chunks", longest / CHUNK);
    });
}

#[test]
fn compacting_gives_back_what_was_deleted() {
    each(|options, kind| {
        let disk = Memory::new();
        let db = options.clone().open_on(disk.clone()).unwrap();
        for number in 0..1000 {
            put(&db, number, &[7; 2000]);
        }
        for number in (0..1000).filter(|number| number % 10 != 0) {
            delete(&db, number);
        }
        let before = state(&db);
        let longest = db.stats().data_allocated_bytes;
        assert_eq!(before.len(), 100);
        let report = db.compact().unwrap();
        assert!(report.freed_bytes >= 20 * CHUNK && report.moved_bytes >= 100 * 2000, "{report:?}");
        assert_eq!(report.waiting_bytes, 0);
        assert!(state(&db) == before);
        let again = db.compact().unwrap();
        assert!(again.moved_bytes < CHUNK, "there is nothing left to move: {again:?}");
        db.sync().unwrap();
        assert!(db.stats().data_allocated_bytes < longest / 2, "free places are holes");
        let db = options.clone().open_on(disk.crash()).unwrap();
        assert!(state(&db) == before, "{kind:?}");
        for number in 1000..1800 {
            put(&db, number, &[8; 2000]);
        }
        assert!(db.stats().data_allocated_bytes <= longest + 3 * CHUNK, "free places are taken");
        assert_eq!(state(&db).len(), 900);
    });
}

#[test]
fn an_iterator_and_a_record_keep_what_they_show() {
    each(|options, _| {
        let db = options.open_on(Memory::new()).unwrap();
        for number in 0..200 {
            put(&db, number, &[1; 2000]);
        }
        let before = state(&db);
        let mut range = db.iter();
        let first = range.next().unwrap().unwrap();
        for round in 2..8 {
            for number in 0..200 {
                put(&db, number, &[round; 2000]);
            }
        }
        let report = db.compact().unwrap();
        assert_eq!(report.waiting_bytes, CHUNK, "one record is held: {report:?}");
        let space = db.stats().space;
        assert!(space.retained_bytes >= 200 * 2000, "the iterator needs them: {space:?}");
        let rest: Vec<_> = range.by_ref().map(|record| record.unwrap()).collect();
        assert_eq!(rest.len(), 199);
        assert!(rest.iter().chain([&first]).all(|record| before[record.key()] == record.bytes()));
        drop(range);
        let held_count = rest.len();
        drop(rest);
        let report = db.compact().unwrap();
        assert_eq!(report.waiting_bytes, CHUNK, "one record is held: {report:?}, {held_count}");
        assert_eq!(db.stats().space.retained_bytes, 0);
        assert_eq!(first.bytes(), [1; 2000]);
        drop(first);
        assert_eq!(db.compact().unwrap().waiting_bytes, 0);
    });
}

/// A value that says which key it is of, as often as fits.
fn value_of(number: u64, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn check_kept(record: &Record<'_>) {
    let number = record.key_u64().expect("a table of integers");
    assert!(record.bytes() == value_of(number, record.len()), "key {number}");
}

/// In debug builds free places cannot be read: a reader that looks at one ends the test.
#[test]
fn readers_that_keep_records_see_them_unchanged() {
    const KEY_COUNT: u64 = 300;
    const WRITE_COUNT: u64 = if cfg!(debug_assertions) { 30_000 } else { 100_000 };
    let dir = tempfile::tempdir().expect("a directory");
    let sizes = Db::builder(&dir).segment_bytes(1 << 20).chunk_bytes(CHUNK);
    let options = sizes.keys(KeyKind::U64).durability(Durability::Manual);
    let options = options.space_amplification_max(1.2).checkpoint_log_bytes(1 << 20);
    let db = options.open().expect("a new database");
    for number in 0..KEY_COUNT {
        db.put(number, value_of(number, 500)).expect("a put");
    }
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..3 {
            let (db, ends) = (&db, &ends);
            scope.spawn(move || {
                let mut random = Random(seed);
                let mut kept = VecDeque::new();
                while !ends.load(Ordering::Relaxed) {
                    match random.below(50) {
                        0 => db.iter().take(40).for_each(|record| {
                            check_kept(&record.expect("an iterator meets no damage"));
                        }),
                        1 => {
                            let keys: Vec<_> = (0..40).map(|_| random.below(KEY_COUNT)).collect();
                            let records = db.get_many(&keys).expect("no damage");
                            kept.extend(records.into_iter().flatten().take(10));
                        }
                        _ => {
                            let number = random.below(KEY_COUNT);
                            let record = db.get(number).expect("no damage");
                            let record = record.expect("no key is ever missing");
                            check_kept(&record);
                            kept.push_back(record);
                        }
                    }
                    while kept.len() > 200 {
                        check_kept(&kept.pop_front().expect("there are many"));
                    }
                }
                kept.iter().for_each(check_kept);
            });
        }
        let mut random = Random(7);
        for _ in 0..WRITE_COUNT {
            let number = random.below(KEY_COUNT);
            db.put(number, value_of(number, 300 + random.below(2000) as usize)).expect("a put");
        }
        ends.store(true, Ordering::Relaxed);
    });
    let space = db.stats().space;
    let bytes = space.live_bytes + space.dead_bytes + space.waiting_bytes + space.free_bytes;
    println!("{space:?}");
    assert!(bytes < WRITE_COUNT * 1300 / 4, "places were used again: {space:?}");
    assert!(db.verify(|_| ()).expect("it can be read").is_clean());
    db.close().expect("it can be closed");
}

/// Only single free places were taken: each record longer than a chunk made the file longer.
#[test]
fn long_records_take_places_that_are_free() {
    each(|options, kind| {
        let db = options.open_on(Memory::new()).unwrap();
        for round in 0..120u64 {
            put(&db, round % 5, &vec![round as u8; 4 * CHUNK as usize + 1000]);
            put(&db, 10 + round % 7, &[round as u8; 3000]);
            work(&db);
        }
        let stats = db.stats();
        assert!(stats.data_allocated_bytes <= 90 * CHUNK, "{kind:?}: {:?}", stats.space);
        assert!(db.verify(|_| ()).unwrap().is_clean());
    });
}

/// Their locators do not say how long they are: they were counted as 2 MiB, and moved for ever.
#[test]
fn what_lives_is_counted_for_records_of_megabytes() {
    let options = options(KeyKind::U64).chunk_bytes(16 << 20).address_space_bytes(1 << 28);
    let options = options.durability(Durability::Manual);
    let disk = Memory::new();
    let db = options.clone().open_on(disk.clone()).unwrap();
    for number in 0..7u64 {
        put(&db, number, &vec![7; 5 << 20]);
    }
    let check = |db: &Db<Memory>| {
        let report = db.compact().unwrap();
        assert_eq!(report.moved_bytes, 0, "nothing is dead: {report:?}");
        let live_bytes = db.stats().space.live_bytes;
        let values_bytes = 35 << 20;
        assert!((values_bytes..values_bytes + 8192).contains(&live_bytes), "{live_bytes}");
    };
    check(&db);
    let db = options.open_on(disk.crash()).unwrap();
    check(&db);
    for number in 0..6u64 {
        delete(&db, number);
    }
    assert!(db.compact().unwrap().freed_bytes >= 16 << 20);
}

/// What no record fitted into at the end of a chunk passed for garbage in the next life.
#[test]
fn opening_again_moves_nothing_that_would_lie_the_same() {
    each(|options, kind| {
        let disk = Memory::new();
        let db = options.clone().open_on(disk.clone()).unwrap();
        for number in 0..20 {
            put(&db, number, &[7; 40_000]);
        }
        db.close().unwrap();
        for _ in 0..2 {
            let db = options.clone().open_on(disk.clone()).unwrap();
            work(&db);
            let space = db.stats().space;
            assert_eq!(space.moved_bytes, 0, "{kind:?}: {space:?}");
            db.close().unwrap();
        }
    });
}

/// Of small records the image of the index is a large part. Moving stopped before so much waited
/// that a checkpoint was worth one, and the file took six times what lives.
#[test]
fn small_records_are_moved_as_others_are() {
    const COUNT: u64 = 20_000;
    let options = options(KeyKind::U64).durability(Durability::Manual).background(true);
    let db = options.open_on(Memory::new()).unwrap();
    (0..COUNT).for_each(|number| put(&db, number, &[1; 60]));
    let mut random = Random(7);
    for _ in 0..8 * COUNT {
        put(&db, random.below(COUNT), &[2; 60]);
    }
    let stats = db.stats();
    let most = stats.space.live_bytes * 2 + 12 * CHUNK;
    assert!(stats.data_allocated_bytes <= most, "{most}: {stats:?}");
}
