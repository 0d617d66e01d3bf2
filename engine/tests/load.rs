//! Much data at once: loads, several groups in flight, batches larger than any buffer, segments
//! that grow old.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use uarr::{Db, Durability, ErrorKind, KeyKind, WhenFull};
use uarr_disk_sim::{FaultKind, Memory, MemoryOptions};
use uarr_uring::Storage;

const RECORD_COUNT: u64 = 40_000;

fn builder() -> uarr::Builder {
    Db::builder("memory").keys(KeyKind::U64).segment_bytes(1 << 22).chunk_bytes(1 << 22)
}

/// A disk whose log writes end in any order.
fn disk(seed: u64) -> Memory {
    Memory::with_options(MemoryOptions { seed, reorder_completions: true, ..Default::default() })
}

/// Distinct keys in no order.
fn key(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn records(count: u64) -> impl Iterator<Item = (u64, [u8; 100])> {
    (0..count).map(|number| (key(number), [number as u8; 100]))
}

fn assert_first<S: Storage>(db: &Db<S>, count: u64) {
    for (key, value) in records(count) {
        assert_eq!(&*db.get(key).unwrap().unwrap(), value);
    }
}

#[test]
fn a_load_is_durable_when_it_returns() {
    for durability in
        [Durability::Sync, Durability::Interval(Duration::from_secs(3600)), Durability::Manual]
    {
        for background in [true, false] {
            for when_full in [WhenFull::Wait, WhenFull::Error] {
                let memory = disk(1);
                let opened = builder().durability(durability).background(background);
                let db = opened.when_full(when_full).open_on(memory.clone()).unwrap();
                assert_eq!(db.ingest(records(RECORD_COUNT)).unwrap(), RECORD_COUNT);
                let stats = db.stats();
                assert_eq!(stats.durable_lsn, stats.visible_lsn);
                assert!(stats.durable_lsn >= RECORD_COUNT, "chunks that are opened have LSNs, too");
                assert_eq!(db.ingest(records(0)).unwrap(), 0);
                let reopened = builder().open_on(memory.crash()).unwrap();
                assert_eq!(reopened.iter().count() as u64, RECORD_COUNT);
                assert_first(&reopened, RECORD_COUNT);
            }
        }
    }
}

#[test]
fn loads_and_single_writes_mix() {
    let memory = disk(2);
    let db = builder().open_on(memory.clone()).unwrap();
    std::thread::scope(|scope| {
        for part in 0..2u64 {
            let db = &db;
            let records = (0..RECORD_COUNT).map(move |number| (part << 32 | number, [9; 60]));
            scope.spawn(move || db.ingest(records).unwrap());
        }
        for number in 0..500u64 {
            db.put(2 << 32 | number, [1; 10]).unwrap();
        }
    });
    let db = builder().open_on(memory.crash()).unwrap();
    assert_eq!(db.iter().count() as u64, 2 * RECORD_COUNT + 500);
}

#[test]
fn a_record_that_is_not_allowed_ends_the_load_before_it() {
    let memory = disk(3);
    let db = Db::builder("memory").open_on(memory).unwrap();
    let long = vec![b'k'; 1 << 17];
    let keys = (0..5000).map(|number: i32| match number {
        3000 => long.clone(),
        _ => format!("{number:06}").into_bytes(),
    });
    let error = db.ingest(keys.map(|key| (key, [0; 50]))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    db.sync().unwrap();
    let there = db.iter().map(|record| record.unwrap().key().to_vec());
    for (number, key) in there.enumerate() {
        assert_eq!(key, format!("{number:06}").into_bytes());
        assert!(number < 3000);
    }
    db.put(b"later", b"goes on").unwrap();
}

/// What is acknowledged before a group in flight fails stays; nothing behind the failed group is
/// shown or found again without what lies before it.
#[test]
fn a_failure_among_groups_in_flight_fails_all_behind_it() {
    for seed in 0..24 {
        for kind in [FaultKind::LogWrite, FaultKind::LogFlush] {
            let memory = disk(seed);
            let db = builder().group_bytes(1 << 14).open_on(memory.clone()).unwrap();
            db.ingest(records(1000)).unwrap();
            memory.fail_next(kind, 1 + seed % 7);
            let error = db.ingest(records(RECORD_COUNT)).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{error}");
            let error = db.put(0u64, b"late").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Poisoned);
            assert!(
                error.to_string().contains("a group commit failed: "),
                "names the cause: {error}"
            );
            assert_first(&db, 1000);
            let shown = db.iter().count() as u64;
            assert_first(&db, shown);

            let reopened = builder().open_on(memory.crash_with(seed)).unwrap();
            let found = reopened.iter().count() as u64;
            assert!(found >= shown, "seed {seed}: {found} of {shown} shown records");
            assert_first(&reopened, found);
            reopened.ingest(records(RECORD_COUNT)).unwrap();
            assert_first(&reopened, RECORD_COUNT);
        }
    }
}

#[test]
fn a_full_disk_ends_a_load_and_not_the_database() {
    let memory = disk(4);
    let db = builder().open_on(memory.clone()).unwrap();
    db.ingest(records(1000)).unwrap();
    memory.set_capacity(Some(memory.used_bytes() + (6 << 20)));
    let error = db.ingest(records(4 * RECORD_COUNT)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_first(&db, 1000);
    memory.set_capacity(None);
    db.ingest(records(RECORD_COUNT)).unwrap();
    assert_first(&db, RECORD_COUNT);
}

#[test]
fn a_batch_may_be_larger_than_a_segment() {
    let memory = disk(5);
    let db = builder().open_on(memory.clone()).unwrap();
    db.put(1u64, b"before").unwrap();
    let value = vec![0xa5; 1 << 20];
    let mut batch = db.batch();
    for number in 0..72u64 {
        batch.put(100 + number, &value);
    }
    let commit = batch.commit().unwrap().unwrap();
    assert!(commit.is_durable);
    db.put(2u64, b"after").unwrap();
    let db = builder().open_on(memory.crash()).unwrap();
    assert_eq!(db.iter().count(), 74);
    assert_eq!(&*db.get(171u64).unwrap().unwrap(), &value[..]);
}

#[test]
fn old_segments_are_left_although_they_have_room() {
    let memory = disk(6);
    let aged = builder().segment_age(Duration::from_secs(1)).background(false);
    let db = aged.open_on(memory.clone()).unwrap();
    let segments = || {
        let names = memory.list("wal").unwrap();
        names.into_iter().filter(|name| name.ends_with(".wal")).count()
    };
    let before = segments();
    for number in 0..10u64 {
        while db.step().unwrap() {}
        db.put(number, b"young").unwrap();
    }
    let prepared = segments();
    assert!(prepared <= before + 1);
    for number in 0..5u64 {
        memory.advance(Duration::from_secs(2));
        db.put(100 + number, b"the first of a segment").unwrap();
        // Without a segment that is ready it would have stayed in the old one.
        while db.step().unwrap() {}
    }
    assert_eq!(segments(), prepared + 5);
    let db = builder().open_on(memory.crash()).unwrap();
    assert_eq!(db.iter().count(), 15);
}

/// A checkpoint came when groups of 4 KiB had filled 4 MiB: until then no segment was released.
#[test]
fn what_old_segments_take_is_bounded() {
    let memory = disk(7);
    let aged = builder().segment_age(Duration::from_secs(1)).segment_bytes(1 << 20);
    let aged = aged.checkpoint_log_bytes(4 << 20).background(false);
    let db = aged.open_on(memory.clone()).unwrap();
    for number in 0..200 {
        while db.step().unwrap() {}
        memory.advance(Duration::from_secs(2));
        db.put(number % 7_u64, b"the first of a segment").unwrap();
        let segment_count = memory.list("wal").unwrap().len();
        assert!(segment_count <= 16, "{segment_count} segments after {number} puts");
    }
    assert!(db.stats().checkpoint_count >= 20);
    assert_eq!(builder().open_on(memory.crash()).unwrap().len(), 7);
}

/// A new directory took 128 MiB for its first record.
#[test]
fn a_database_of_a_few_mebibytes_takes_at_most_64() {
    const MIB: u64 = 1 << 20;
    let memory = Memory::new();
    let opened = || Db::builder("memory").background(false).open_on(memory.clone()).unwrap();
    let check = |what: &str| {
        let used = memory.used_bytes();
        assert!(used <= 64 * MIB, "{used} bytes with {what}");
    };
    let db = opened();
    db.put("one", b"record").unwrap();
    while db.step().unwrap() {}
    check("one record");
    for part in 0..3 * MIB / 100_000 {
        let mut batch = db.batch();
        (0..100u64).for_each(|number| {
            batch.put((part << 32 | number).to_le_bytes(), [5; 1000]);
        });
        batch.commit().unwrap();
        while db.step().unwrap() {}
        check("three MiB in batches");
    }
    db.checkpoint().unwrap();
    check("a checkpoint");
    db.close().unwrap();
    let db = opened();
    db.put("another", b"life").unwrap();
    while db.step().unwrap() {}
    check("another life");
}

/// A load that ended early left its staged records unwritten, until another write or the close took
/// them along.
#[test]
fn what_a_load_leaves_when_it_ends_early_is_there_when_it_does() {
    for durability in [Durability::Sync, Durability::Manual] {
        for panics in [false, true] {
            let disk = Memory::new();
            let db = builder().durability(durability).background(false);
            let db = db.open_on(disk.clone()).unwrap();
            let table = db.table("bytes").unwrap();
            let source = (0..1000_u32).map(|number| {
                assert!(!panics || number < 500, "the source panics");
                let key = if number == 500 { String::new() } else { format!("{number:04}") };
                (key, [1; 100])
            });
            let load = std::panic::AssertUnwindSafe(|| table.ingest(source));
            let failed = std::panic::catch_unwind(load);
            assert_eq!(failed.is_err(), panics);
            assert!(failed.is_err() || failed.unwrap().is_err());
            let seen: Vec<_> = table.iter().map(|record| record.unwrap().key().to_vec()).collect();
            assert!((200..=500).contains(&seen.len()), "{}", seen.len());
            assert!(
                (0..).zip(&seen).all(|(n, key): (u32, _)| *key == format!("{n:04}").as_bytes())
            );
            db.put(1_u64, b"other").unwrap();
            assert_eq!(table.len(), seen.len() as u64, "nothing comes later");
            // Without power, now.
            let db = builder().open_on(disk.crash()).unwrap();
            assert_eq!(db.table("bytes").unwrap().len(), seen.len() as u64);
        }
    }
}
