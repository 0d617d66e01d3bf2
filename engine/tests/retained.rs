//! Old versions that readers of an earlier moment need: they find them, and nothing else stays.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use uarr::{Builder, Db, Durability, ErrorKind, KeyKind, Range};
use uarr_disk_sim::{Fault, FaultKind, Memory};

const CHUNK: u64 = 1 << 16;
const COUNT: u64 = 300;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn options(kind: KeyKind) -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(CHUNK);
    sizes.address_space_bytes(1 << 26).checkpoint_log_bytes(1 << 18).keys(kind).background(false)
}

fn work(db: &Db<Memory>) {
    while db.step().expect("a step") {}
}

fn key(kind: KeyKind, number: u64) -> Vec<u8> {
    match kind {
        KeyKind::Bytes => format!("key {number:05}").into_bytes(),
        _ => number.to_be_bytes().to_vec(),
    }
}

/// Puts a value of `len` bytes, or deletes.
fn write(db: &Db<Memory>, number: u64, value: Option<&[u8]>) {
    match (db.key_kind(), value) {
        (KeyKind::Bytes, Some(value)) => db.put(key(KeyKind::Bytes, number), value),
        (KeyKind::Bytes, None) => db.delete(key(KeyKind::Bytes, number)),
        (_, Some(value)) => db.put(number, value),
        (_, None) => db.delete(number),
    }
    .unwrap();
}

/// What `range` shows.
fn seen(range: Range<'_, Memory>) -> Model {
    let records = range.map(|record| record.unwrap());
    records.map(|record| (record.key().to_vec(), record.bytes().to_vec())).collect()
}

/// Every kind of keys and durability.
fn each(test: impl Fn(&Db<Memory>, KeyKind)) {
    for kind in [KeyKind::U64, KeyKind::Bytes] {
        for durability in [Durability::Sync, Durability::Manual] {
            let options = options(kind).durability(durability);
            test(&options.open_on(Memory::new()).unwrap(), kind);
        }
    }
}

/// Overwrites each key, deletes every seventh in turns.
fn overwrite(db: &Db<Memory>, kind: KeyKind, round: u64, model: &mut Model) {
    for number in 0..COUNT {
        let value = vec![round as u8; 500 + (number * 37 + round * 11) as usize % 1500];
        if (number + round).is_multiple_of(7) {
            write(db, number, None);
            model.remove(&key(kind, number));
        } else {
            write(db, number, Some(&value));
            model.insert(key(kind, number), value);
        }
    }
}

#[test]
fn an_iterator_held_through_many_overwrites_costs_its_own_versions() {
    each(|db, kind| {
        let mut model = Model::new();
        overwrite(db, kind, 0, &mut model);
        let (old, then) = (db.iter(), model.clone());
        for round in 1..=20 {
            overwrite(db, kind, round, &mut model);
            work(db);
            db.compact().unwrap();
        }
        let space = db.stats().space;
        // Both states, a chunk of each stream, and what a compaction leaves.
        assert!(space.retained_bytes >= then.values().map(|v| v.len() as u64).sum());
        let taken = space.live_bytes + space.retained_bytes + space.dead_bytes;
        let needed = space.live_bytes + space.retained_bytes;
        assert!(taken + space.waiting_bytes <= needed + needed / 4 + 6 * CHUNK, "{space:?}");
        assert_eq!(space.waiting_bytes, 0, "{space:?}");
        assert!(db.verify(|_| ()).unwrap().is_clean());
        assert!(seen(old) == then);
        assert!(seen(db.iter()) == model);
        db.compact().unwrap();
        assert_eq!(db.stats().space.retained_bytes, 0, "it is dropped with the iterator");
    });
}

/// Copies are written to the file, so that can fail, with part of it done.
#[test]
fn copies_that_cannot_be_written_lose_nothing() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    for (kind, errno) in [(KeyKind::U64, EIO), (KeyKind::Bytes, ENOSPC)] {
        let disk = Memory::new();
        let options = options(kind).durability(Durability::Manual);
        let db = options.clone().open_on(disk.clone()).unwrap();
        let (mut model, mut failed_count) = (Model::new(), 0);
        overwrite(&db, kind, 0, &mut model);
        let (old, then) = (db.iter(), model.clone());
        for round in 1..=12 {
            overwrite(&db, kind, round, &mut model);
            disk.fail(Fault::new(FaultKind::Write, round).on("data/").errno(errno).times(2));
            while db.step().unwrap_or_else(|error| {
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                failed_count += 1;
                true
            }) {}
            assert!(seen(db.iter()) == model, "{kind:?} {round}");
        }
        assert_eq!(failed_count > 0, errno == EIO, "a lack of room is no error of the background");
        let moved = db.stats().space.moved_bytes;
        assert!(moved > 0 && db.stats().space.retained_bytes > 0, "others were written");
        assert!(seen(old) == then);
        db.compact().unwrap();
        assert!(db.verify(|_| ()).unwrap().is_clean());
        db.sync().unwrap();
        let db = options.open_on(disk.crash()).unwrap();
        assert!(seen(db.iter()) == model);
    }
}

#[test]
fn iterators_of_many_moments_each_show_their_own() {
    each(|db, kind| {
        let mut model = Model::new();
        let mut ranges = Vec::new();
        for round in 0..12 {
            overwrite(db, kind, round, &mut model);
            ranges.push((db.iter(), model.clone()));
            // Half of a round, so that moments differ within a chunk.
            for number in 0..COUNT / 2 {
                write(db, number, Some(&[round as u8; 700]));
                model.insert(key(kind, number), vec![round as u8; 700]);
            }
            if round % 3 == 2 {
                db.compact().unwrap();
            }
            if round % 4 == 3 {
                let (range, then) = ranges.swap_remove(round as usize % ranges.len());
                assert!(seen(range) == then, "{kind:?} {round}");
            }
        }
        db.compact().unwrap();
        for (range, then) in ranges {
            assert!(seen(range) == then, "{kind:?}");
            db.compact().unwrap();
        }
        assert_eq!(db.stats().space.retained_bytes, 0);
    });
}

/// Snapshots of many moments show each key, by itself and in ranges, as it was then.
#[test]
fn snapshots_of_many_moments_each_show_their_own() {
    each(|db, kind| {
        let mut model = Model::new();
        let mut snapshots = Vec::new();
        for round in 0..10 {
            overwrite(db, kind, round, &mut model);
            snapshots.push((db.snapshot(), model.clone()));
            if round % 3 == 2 {
                db.compact().unwrap();
            }
        }
        for round in 10..16 {
            overwrite(db, kind, round, &mut model);
            db.compact().unwrap();
        }
        assert!(db.stats().space.retained_bytes > 0);
        for (snapshot, then) in snapshots {
            let copy = snapshot.clone();
            drop(snapshot);
            assert!(seen(copy.iter()) == then, "{kind:?}");
            for number in 0..COUNT {
                let key = key(kind, number);
                let found = match kind {
                    KeyKind::Bytes => copy.get(&key).unwrap(),
                    _ => copy.get(number).unwrap(),
                };
                assert!(found.as_ref().is_none_or(|found| found.version() <= copy.version()));
                let found = found.map(|record| record.bytes().to_vec());
                assert!(found.as_ref() == then.get(&key), "{kind:?} {number}");
            }
        }
        db.compact().unwrap();
        assert_eq!(db.stats().space.retained_bytes, 0);
    });
}

/// The places of records that an iterator has found ahead are given away before it comes to them.
#[test]
fn an_iterator_under_way_goes_on_where_records_have_moved() {
    each(|db, kind| {
        let mut model = Model::new();
        overwrite(db, kind, 0, &mut model);
        let (mut forward, mut backward) = (db.iter(), db.iter().rev());
        let (mut fore, mut back) = (Vec::new(), Vec::new());
        let then = model.clone();
        for round in 1..=10 {
            for _ in 0..then.len() / 10 {
                fore.push(forward.next().unwrap().unwrap().key().to_vec());
                back.push(backward.next().unwrap().unwrap().key().to_vec());
            }
            overwrite(db, kind, round, &mut model);
            db.compact().unwrap();
        }
        let rest: Model = seen(forward);
        assert!(rest.iter().all(|(key, value)| then[key] == *value));
        fore.extend(rest.into_keys());
        back.extend(backward.map(|record| record.unwrap().key().to_vec()));
        back.reverse();
        assert!(fore.iter().eq(then.keys()) && back.iter().eq(then.keys()));
    });
}

/// Records longer than a chunk are not copied: their chunks stay until the iterator ends.
#[test]
fn long_records_stay_where_they_are() {
    each(|db, kind| {
        let long = |round: u8| vec![round; 3 * CHUNK as usize / 2];
        let mut model = Model::new();
        let put = |db: &Db<Memory>, model: &mut Model, number, value: Vec<u8>| {
            write(db, number, Some(&value));
            model.insert(key(kind, number), value);
        };
        (0..4).for_each(|number| put(db, &mut model, number, long(0)));
        (4..40).for_each(|number| put(db, &mut model, number, vec![0; 3000]));
        let (old, then) = (db.iter(), model.clone());
        for round in 1..8 {
            for number in 0..40 {
                let is_long = (number + u64::from(round)) % 10 == 0;
                put(db, &mut model, number, if is_long { long(round) } else { vec![round; 3000] });
            }
            db.compact().unwrap();
        }
        let space = db.stats().space;
        // Four of two chunks each wait; later ones of the same keys do not.
        assert!(space.waiting_bytes <= 8 * CHUNK, "{space:?}");
        assert!(seen(old) == then);
        let report = db.compact().unwrap();
        assert_eq!(report.waiting_bytes, 0);
        assert!(seen(db.iter()) == model);
    });
}

#[test]
fn without_memory_for_them_chunks_wait_for_the_iterator() {
    let options = options(KeyKind::U64).retained_memory_max(0);
    let db = options.open_on(Memory::new()).unwrap();
    let mut model = Model::new();
    overwrite(&db, KeyKind::U64, 0, &mut model);
    let (old, then) = (db.iter(), model.clone());
    for round in 1..4 {
        overwrite(&db, KeyKind::U64, round, &mut model);
        db.compact().unwrap();
    }
    let space = db.stats().space;
    assert_eq!(space.retained_bytes, 0);
    assert!(space.waiting_bytes > 0);
    assert!(seen(old) == then);
    assert_eq!(db.compact().unwrap().waiting_bytes, 0);
}

/// A key that is written again and again, between two iterators, has one version for each.
#[test]
fn a_hot_key_costs_a_version_for_each_iterator() {
    each(|db, kind| {
        let put = |round: u64| write(db, 1, Some(&round.to_be_bytes().repeat(100)));
        put(0);
        let first = db.iter();
        (1..2000).for_each(put);
        let second = db.iter();
        (2000..4000).for_each(put);
        db.compact().unwrap();
        let space = db.stats().space;
        assert!(space.retained_bytes <= 2 * 1024, "{space:?}");
        assert_eq!(space.waiting_bytes, 0);
        for (range, round) in [(first, 0u64), (second, 1999)] {
            let expected = Model::from([(key(kind, 1), round.to_be_bytes().repeat(100))]);
            assert!(seen(range) == expected);
        }
    });
}

/// Copying for an iterator that was dropped meanwhile went on in a chunk that was closed, and ended
/// in a panic.
#[test]
fn an_iterator_may_be_dropped_while_its_versions_are_copied() {
    each(|db, kind| {
        (0..COUNT).for_each(|number| write(db, number, Some(&[1; 1000])));
        for round in 0..2 {
            let old = db.iter();
            for number in (0..COUNT).cycle() {
                write(db, number, Some(&[2 + round; 1000]));
                db.step().unwrap();
                if db.stats().space.retained_bytes > 0 {
                    break;
                }
            }
            drop(old);
            work(db);
        }
        db.compact().unwrap();
        assert_eq!(db.stats().space.retained_bytes, 0, "{kind:?}");
        assert_eq!(db.iter().count() as u64, COUNT);
    });
}

/// Each iterator of a hot key cost a walk over all that the others need.
#[test]
fn a_hot_key_serves_thousands_of_iterators() {
    let db = options(KeyKind::U64).open_on(Memory::new()).unwrap();
    let count = 3000;
    let put = |round: u64| {
        db.put(1_u64, round.to_be_bytes()).unwrap();
        db.iter()
    };
    let mut ranges: Vec<_> = (0..count).map(put).collect();
    (0..2000_u64).for_each(|number| assert!(db.put(2 + number % 50, [7; 1000]).is_ok()));
    drop(put(count));
    db.compact().unwrap();
    assert_eq!(db.stats().space.waiting_bytes, 0);
    for (round, range) in ranges.iter_mut().enumerate().step_by(7) {
        let record = range.next().unwrap().unwrap();
        assert_eq!(*record.bytes(), (round as u64).to_be_bytes());
    }
}
