//! Space: what log and data file take, and what they do when there is little of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use uarr::value::Patch;
use uarr::{Builder, Db, Durability, ErrorKind, KeyKind, TableOptions, uarr};
use uarr_disk_sim::{FaultKind, Memory, MemoryOptions};
use uarr_uring::{OpenMode, Storage, StorageFile};

const MIB: u64 = 1 << 20;

fn builder() -> Builder {
    Db::builder("memory").keys(KeyKind::U64).segment_bytes(8 * MIB).chunk_bytes(8 * MIB)
}

/// Lengths of the log's segments. One that is being made has no number and no length to count on.
fn segments(memory: &Memory) -> Vec<u64> {
    let names = memory.list("wal").unwrap();
    let len = |name| memory.open(&format!("wal/{name}"), OpenMode::Read).and_then(|f| f.len());
    let numbered = names.iter().filter(|name| name.ends_with(".wal"));
    // A free one may just have got another number.
    numbered.filter_map(|name| len(name).ok()).collect()
}

type Verb = fn(&Db<Memory>, u64, Vec<u8>);

/// Ways to write a group that is larger than its buffer.
const VERBS: [(&str, Verb); 6] = [
    ("put", |db, key, value| {
        db.put(key, value).unwrap();
    }),
    ("put_async", |db, key, value| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(db.put_async(key, value)).unwrap();
    }),
    ("batch", |db, key, value| {
        let mut batch = db.batch();
        let parts = value.chunks(20_000).enumerate();
        parts.for_each(|(part, bytes)| {
            batch.put(key << 8 | part as u64, bytes);
        });
        batch.commit().unwrap();
    }),
    ("ingest", |db, key, value| {
        db.ingest((0..3).map(|part| (key << 8 | part, &value))).unwrap();
    }),
    ("patch", |db, key, value| {
        db.put(key, uarr!({ "text": "" })).unwrap();
        let text = String::from_utf8(vec![b'x'; value.len()]).unwrap();
        let patch = Patch::from_record(uarr!([[0, ["text"], text]])).unwrap();
        db.patch(key, &patch).unwrap();
    }),
    ("durable", |db, key, value| {
        db.durable().put(key, value).unwrap();
    }),
];

/// Each put of more than a group's buffer made a new segment, though ready ones lay there.
#[test]
fn large_groups_go_into_segments_that_are_there() {
    for durability in [Durability::Sync, Durability::Interval(Duration::from_secs(3600))] {
        for (verb, write) in VERBS {
            for value_bytes in [300_000, 1_500_000] {
                let memory = Memory::new();
                let opened = builder().durability(durability).checkpoint_log_bytes(u64::MAX);
                let db = opened.open_on(memory.clone()).unwrap();
                for key in 0..10 {
                    write(&db, key, vec![7; value_bytes]);
                }
                db.sync().unwrap();
                let written = db.stats().log_bytes;
                // What a group leaves of a segment because it does not fit is lost.
                let filled = 8 * MIB - value_bytes as u64 * 3 / 2;
                let needed_count = written.div_ceil(filled);
                let sizes = segments(&memory);
                assert!(sizes.iter().all(|bytes| *bytes == 8 * MIB), "{verb}: {sizes:?}");
                assert!(
                    sizes.len() as u64 <= needed_count + 2,
                    "{verb} of {value_bytes} bytes, {durability:?}: {written} bytes in {sizes:?}"
                );
            }
        }
    }
}

/// Growing ahead took for a moment, or permanently, the room that the log needed for its next
/// segment.
#[test]
fn nothing_is_taken_ahead_that_a_write_may_need() {
    for hostile in [false, true] {
        let memory = Memory::with_options(MemoryOptions { hostile, ..Default::default() });
        let opened = builder().segment_bytes(MIB / 4).checkpoint_log_bytes(MIB).background(false);
        let db = opened.open_on(memory.clone()).unwrap();
        // Less than a chunk: not enough to grow the data file, but for the log and for checkpoints.
        memory.set_capacity(Some(memory.used_bytes() + 7 * MIB));
        let data_bytes = db.stats().data_allocated_bytes;
        for number in 0..7 * MIB / 4200 {
            db.put(number % 50, [1; 4000]).unwrap_or_else(|error| panic!("{number}: {error}"));
            for _ in 0..3 {
                db.step().unwrap();
            }
        }
        db.checkpoint().unwrap();
        assert_eq!(db.stats().data_allocated_bytes, data_bytes, "it never had to grow");
        memory.set_capacity(Some(memory.used_bytes()));
        let error = (0..4000_u64).find_map(|key| db.put(key, [1; 4000]).err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        // With room again it goes on.
        memory.set_capacity(None);
        (0..4000_u64).for_each(|key| assert!(db.put(key, [2; 4000]).is_ok()));
        db.close().unwrap();
    }
}

/// Segments that are kept for later make way for what is needed now.
#[test]
fn spare_segments_make_way_for_a_checkpoint_and_for_data() {
    let memory = Memory::new();
    let opened = builder().segment_bytes(MIB).checkpoint_log_bytes(u64::MAX).background(false);
    let db = opened.open_on(memory.clone()).unwrap();
    for round in 0..3_u64 {
        (0..1000_u64).for_each(|key| assert!(db.put(round << 32 | key, [1; 2000]).is_ok()));
        db.checkpoint().unwrap();
    }
    assert!(segments(&memory).len() >= 3, "some are free");
    memory.set_capacity(Some(memory.used_bytes()));
    db.checkpoint().unwrap();
    db.put(7_u64 << 40, b"a little").unwrap();
    db.checkpoint().unwrap();
    db.close().unwrap();
}

#[test]
fn surplus_segments_go_when_a_database_rests_or_is_closed() {
    let write = |db: &Db<Memory>| {
        for round in 0..4_u64 {
            (0..2000_u64).for_each(|key| assert!(db.put(round << 32 | key, [1; 3000]).is_ok()));
            db.checkpoint().unwrap();
        }
    };
    let opened = || builder().segment_bytes(MIB).background(false);
    for rests in [true, false] {
        let memory = Memory::new();
        let db = opened().open_on(memory.clone()).unwrap();
        write(&db);
        while db.step().unwrap() {}
        assert!(segments(&memory).len() > 8, "kept for the next writes");
        if rests {
            memory.advance(Duration::from_secs(60));
            while db.step().unwrap() {}
        } else {
            db.checkpoint().unwrap();
            db.close().unwrap();
        }
        // The active one, those of two checkpoints, and one to spare.
        let count = segments(&memory).len();
        assert!(count <= 11, "{count} segments, rests: {rests}");
        let names = memory.list("wal").unwrap();
        assert!(names.iter().all(|name| name.ends_with(".wal")), "{names:?}");
    }
    // A database that is only read takes nothing.
    let memory = Memory::new();
    opened().open_on(memory.clone()).unwrap().close().unwrap();
    let before = memory.used_bytes();
    let db = opened().open_on(memory.clone()).unwrap();
    while db.step().unwrap() {}
    assert!(db.get(1_u64).unwrap().is_none());
    db.close().unwrap();
    assert_eq!(memory.used_bytes(), before);
}

#[test]
fn options_that_do_not_go_together_are_named() {
    let check = |chunk_bytes: u64, address_space_bytes: u64, is_allowed: bool| {
        let memory = Memory::new();
        let sizes = Db::builder("memory").chunk_bytes(chunk_bytes).segment_bytes(MIB / 4);
        let opened = sizes.address_space_bytes(address_space_bytes).open_on(memory.clone());
        match opened {
            Ok(db) => {
                assert!(is_allowed);
                assert_eq!(db.stats().address_space_bytes, address_space_bytes);
            }
            Err(error) => {
                assert!(!is_allowed, "{error}");
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                let text = error.to_string();
                assert!(text.contains("chunk_bytes") && text.contains("address_space_bytes"));
                assert!(memory.list("").unwrap().iter().all(|name| name != "superblock"));
            }
        }
    };
    check(64 << 10, 1 << 40, true);
    check(64 << 10, 2 << 40, false);
    check(128 << 20, 64 << 20, false);
    check(1 << 20, 1 << 26, true);
    // Also where the chunks are those of a database that is there.
    let memory = Memory::new();
    let small = || Db::builder("memory").segment_bytes(MIB / 4);
    small().chunk_bytes(64 << 10).open_on(memory.clone()).unwrap().close().unwrap();
    let error = small().address_space_bytes(4 << 40).open_on(memory.clone()).err().unwrap();
    assert!(error.to_string().contains("chunk_bytes"), "{error}");
    small().open_on(memory).unwrap();
    let error = small().checkpoint_log_bytes(0).open_on(Memory::new()).err().unwrap();
    assert!(error.to_string().contains("checkpoint_log_bytes"), "{error}");
}

/// The older of the two checkpoints needs the log behind it, which may be longer than the data.
#[test]
fn compaction_lets_go_of_the_log() {
    let memory = Memory::new();
    let opened = builder().segment_bytes(MIB).checkpoint_log_bytes(u64::MAX).background(false);
    let db = opened.open_on(memory.clone()).unwrap();
    db.checkpoint().unwrap();
    (0..8000_u64).for_each(|step| assert!(db.put(step % 100, [1; 2000]).is_ok()));
    db.checkpoint().unwrap();
    assert!(segments(&memory).len() > 15, "{:?}", segments(&memory));
    db.compact().unwrap();
    assert!(segments(&memory).len() <= 3, "{:?}", segments(&memory));
    let count = db.stats().checkpoint_count;
    db.compact().unwrap();
    assert_eq!(db.stats().checkpoint_count, count, "nothing is left to be given back");
}

/// An image of numbers in a row takes 2 bytes a key: two more of them are cheaper than a segment,
/// although they might take as much as it does.
#[test]
fn compaction_lets_go_of_the_log_if_images_are_small() {
    const KEY_COUNT: u64 = 40_000;
    let memory = Memory::new();
    let opened = builder().segment_bytes(MIB / 4).checkpoint_log_bytes(u64::MAX).background(false);
    let db = opened.open_on(memory.clone()).unwrap();
    (0..KEY_COUNT).for_each(|key| assert!(db.put(key, b"a value").is_ok()));
    db.compact().unwrap();
    (0..400_u64).for_each(|key| assert!(db.put(KEY_COUNT + key, [1; 300]).is_ok()));
    db.checkpoint().unwrap();
    assert!(segments(&memory).len() > 3, "{:?}", segments(&memory));
    db.compact().unwrap();
    assert!(segments(&memory).len() <= 3, "{:?}", segments(&memory));
}

/// Fills a database with records of 1000 bytes, closes it, and returns what its files take.
fn closed_with(memory: &Memory, count: u64) -> u64 {
    let db = builder().background(false).open_on(memory.clone()).unwrap();
    (0..count).for_each(|key| assert!(db.put(key, [key as u8; 1000]).is_ok()));
    while db.step().unwrap() {}
    db.compact().unwrap();
    db.close().unwrap();
    memory.used_bytes()
}

/// A database of a few records took a segment and a chunk when it was closed, and one of many a
/// spare segment and free places besides.
//= test WAL-16
#[test]
fn a_closed_database_keeps_no_room_for_what_may_come() {
    for count in [100, 20_000] {
        let memory = Memory::new();
        let used_bytes = closed_with(&memory, count);
        assert!(used_bytes < count * 1100 + MIB, "{count}: {used_bytes}");
        // The first writes find room in the log; then it goes on in another segment.
        let segment_count = segments(&memory).len();
        let db = builder().background(false).open_on(memory.clone()).unwrap();
        assert!(db.recovery_report().clean);
        db.put(1_u64 << 40, b"first").unwrap();
        assert_eq!(segments(&memory).len(), segment_count, "{count}");
        (0..4000_u64).for_each(|key| assert!(db.put(2 << 40 | key, [9; 1000]).is_ok()));
        assert!(segments(&memory).len() > segment_count, "{count}");
        // What it was closed with, and what came then, is found by replay, too.
        let lost = memory.crash();
        drop(db);
        let db = builder().open_on(lost).unwrap();
        assert_eq!(db.iter().count() as u64, count + 4001);
        let is_right = |key| *db.get(key).unwrap().unwrap() == [key as u8; 1000];
        assert!((0..count).all(is_right), "{count}");
        assert!(db.verify(|damage| println!("{damage}")).unwrap().is_clean());
        db.close().unwrap();
    }
}

/// Others might take what is given back, and without it no deletion finds room.
#[test]
fn a_database_that_is_closed_on_a_full_disk_keeps_its_room() {
    let memory = Memory::new();
    let opened = || builder().background(false).open_on(memory.clone()).unwrap();
    let db = opened();
    (0..20_000_u64).for_each(|key| assert!(db.put(key, [1; 1000]).is_ok()));
    memory.set_capacity(Some(memory.used_bytes() + 4 * MIB));
    db.close().unwrap();
    // As full as others can make it.
    memory.set_capacity(Some(memory.used_bytes()));
    let db = opened();
    for key in 0..300_u64 {
        db.delete(key).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    assert_eq!(db.iter().count(), 19_700);
    memory.set_capacity(None);
    db.close().unwrap();
}

/// A group that fails has named chunks that readers see in a memory-first database: they stay, also
/// beside a compaction that gives free places back.
#[test]
fn chunks_of_a_failed_group_stay() {
    for seed in 0..150u64 {
        let memory = Memory::new();
        let options = Db::builder("memory").keys(KeyKind::U64).durability(Durability::Manual);
        let options = options.segment_bytes(1 << 18).chunk_bytes(1 << 16);
        let options = options.address_space_bytes(1 << 26).background(seed % 2 == 0);
        let db = options.open_on(memory.clone()).unwrap();
        memory.fail_next(FaultKind::LogFlush, 1 + seed % 40);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| while db.compact().is_ok() {});
            }
            for thread in 0..4u64 {
                let db = &db;
                scope.spawn(move || {
                    for round in 0.. {
                        for _ in 0..1 + seed % 5 {
                            let _ = db.put(1000 * thread + round % 3, [7; 70_000]);
                        }
                        if db.sync().is_err() {
                            return;
                        }
                    }
                });
            }
        });
        assert!(db.iter().all(|record| record.unwrap().bytes() == [7; 70_000]));
    }
}

/// How deletions come to be there that no later write has forgotten.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deleted {
    /// By the last batch.
    Last,
    /// While a snapshot was open.
    BesideReader,
    /// In the log that is replayed.
    BeforeCrash,
}

/// Only writes forgot deletions, some with each: without further ones their records and index
/// entries stayed, and compacting gave nothing back.
#[test]
fn what_was_deleted_takes_nothing_though_nothing_is_written_behind() {
    const COUNT: u64 = 5000;
    let options = [TableOptions::new(), TableOptions::new().unordered()];
    for (durability, options, deleted, by_step) in [
        (Durability::Sync, options[0], Deleted::Last, false),
        (Durability::Sync, options[1], Deleted::Last, true),
        (Durability::Manual, options[0], Deleted::BesideReader, false),
        (Durability::Manual, options[1], Deleted::BesideReader, true),
        (Durability::Manual, options[1], Deleted::BeforeCrash, false),
        (Durability::Sync, options[0], Deleted::BeforeCrash, true),
    ] {
        let memory = Memory::new();
        let sizes = Db::builder("memory").segment_bytes(MIB).chunk_bytes(MIB / 16);
        let opened = sizes.address_space_bytes(1 << 28).durability(durability).background(false);
        let mut db = opened.clone().open_on(memory.clone()).unwrap();
        let table = db.table_with("t", options).unwrap();
        table.ingest((0..COUNT).map(|number| (number, [7; 100]))).unwrap();
        db.checkpoint().unwrap();
        let full = table.table_stats().unwrap().index_bytes;
        let snapshot = (deleted == Deleted::BesideReader).then(|| table.snapshot());
        let mut batch = table.batch_owned();
        for number in 0..COUNT {
            batch.delete(number);
        }
        batch.commit().unwrap();
        drop((batch, snapshot, table));
        if deleted == Deleted::BeforeCrash {
            db.sync().unwrap();
            db = opened.open_on(memory.crash()).unwrap();
            assert!(!db.recovery_report().clean, "{durability}");
        }
        match by_step {
            true => while db.step().unwrap() {},
            false => drop(db.compact().unwrap()),
        }
        let case = format!("{durability} {options:?} {deleted:?}");
        let (space, table) = (db.stats().space, db.table("t").unwrap());
        // What is left is of the catalog.
        assert!(space.live_bytes < 1000, "{case}: {space:?}");
        assert!(table.table_stats().unwrap().index_bytes < full / 4, "{case}");
        assert!(table.is_empty() && table.iter().next().is_none(), "{case}");
        assert!(db.verify(|_| {}).unwrap().is_clean(), "{case}");
    }
}
