//! What attacks on tables found, above all on those that are dropped.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use uarr::inspect::Inspector;
use uarr::repair::{RepairMode, repair};
use uarr::value::Patch;
use uarr::{
    Builder, Db, Durability, ErrorKind, Expiry, Result, Table, TableInfo, TableOptions, uarr,
};
use uarr_disk_sim::{FaultKind, Memory};
use uarr_uring::{OpenMode, Storage, StorageFile};

fn small() -> Builder {
    let builder = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    builder.address_space_bytes(1 << 28)
}

fn open(disk: &Memory, durability: Durability) -> Db<Memory> {
    small().durability(durability).background(false).open_on(disk.clone()).unwrap()
}

fn infos(db: &Db<Memory>) -> Vec<TableInfo> {
    db.tables().into_iter().map(Result::unwrap).collect()
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// A deletion in a batch took the time of its table, and the database was poisoned.
#[test]
fn deletions_do_not_expire_with_their_table() {
    type Verb = fn(&Db<Memory>, &Table<Memory>, u64) -> Result<()>;
    let verbs: [Verb; 6] = [
        |_, table, _| table.delete("a").map(drop),
        |_, table, version| table.delete_if_version("a", version).map(drop),
        |db, table, _| db.transaction(|tx| tx.of(table)?.delete("a")),
        |_, table, _| table.batch().delete("a").commit().map(drop),
        |db, table, version| {
            db.batch().of(table).delete_if_version("a", version).commit().map(drop)
        },
        |_, table, _| table.delete_range(..).map(drop),
    ];
    for verb in verbs {
        let disk = Memory::new();
        let db = open(&disk, Durability::Sync);
        let options = TableOptions::new().expires_in(Duration::from_secs(60));
        let table = db.table_with("t", options).unwrap();
        let version = table.put("a", uarr!({ "n": 1 })).unwrap().lsn;
        let patch = Patch::builder().set("n", 2).build().unwrap();
        table.batch().patch("a", &patch).commit().unwrap();
        let at = table.expiry("a").unwrap();
        assert!(matches!(at, Some(Expiry::At(_))), "a patch leaves the time as it was");
        let version = table.get("a").unwrap().map_or(version, |record| record.version());
        verb(&db, &table, version).unwrap();
        assert!(!table.contains("a").unwrap());
        drop((table, db));
        let db = open(&disk.crash(), Durability::Sync);
        assert!(!db.table("t").unwrap().contains("a").unwrap());
    }
}

/// It was refused for lack of room, like a put.
#[test]
fn a_table_is_dropped_on_a_full_disk() {
    let disk = Memory::new();
    let db = small().open_on(disk.clone()).unwrap();
    let table = db.table("t").unwrap();
    disk.set_capacity(Some(disk.used_bytes() + (4 << 20)));
    let mut count = 0u32;
    while table.put(count, [1; 2000]).is_ok() {
        count += 1;
    }
    db.compact().unwrap();
    db.checkpoint().unwrap();
    assert!(db.drop_table("t").unwrap());
    db.compact().unwrap();
    db.put("k", [1; 2000]).unwrap();
}

/// Tombstones of a table that was being removed counted as the default table's.
#[test]
fn removing_a_table_changes_no_other_count() {
    let db = open(&Memory::new(), Durability::Sync);
    (0..100u32).for_each(|key| _ = db.put(key, b"x").unwrap());
    let table = db.table("t").unwrap();
    (0..6000u32).for_each(|key| _ = table.put(key, b"y").unwrap());
    let snapshot = db.snapshot();
    let mut batch = table.batch();
    (0..5500u32).for_each(|key| _ = batch.delete(key));
    batch.commit().unwrap();
    drop((batch, snapshot));
    assert_eq!((db.len(), table.len(), db.stats().key_count), (100, 500, 600));
    assert!(db.drop_table("t").unwrap());
    assert_eq!(db.stats().key_count, 100);
    while db.step().unwrap() {
        assert_eq!((db.len(), db.stats().key_count), (100, 100));
    }
}

/// The answer came from what was visible, which the crash took.
#[test]
fn an_answer_about_a_table_is_durable() {
    let disk = Memory::new();
    let db = open(&disk, Durability::Manual);
    db.table("other").unwrap();
    // The first flush is that of the counter.
    disk.fail_from(FaultKind::LogFlush, 2);
    assert!(db.table("t").is_err());
    let is_there = db.table("t").is_ok();
    let again = open(&disk.crash(), Durability::Manual);
    assert_eq!(is_there, again.find_table("t").unwrap().is_some());

    let disk = Memory::new();
    let db = open(&disk, Durability::Manual);
    db.table("t").unwrap().put("k", b"v").unwrap();
    db.sync().unwrap();
    disk.fail_from(FaultKind::LogFlush, 1);
    assert!(db.drop_table("t").is_err());
    let is_gone = db.drop_table("t").is_ok_and(|was_there| !was_there);
    let again = open(&disk.crash(), Durability::Manual);
    assert_eq!(is_gone, again.find_table("t").unwrap().is_none());
}

/// Some verbs found nothing in place of an error.
#[test]
fn handles_of_a_dropped_table_say_so_before_and_behind_its_removal() {
    let db = open(&Memory::new(), Durability::Sync);
    let old = db.table("t").unwrap();
    (0..1000u32).for_each(|key| _ = old.put(key, [7; 200]).unwrap());
    assert!(db.drop_table("t").unwrap());
    let check = || {
        let patch = Patch::builder().set("a", 1).build().unwrap();
        for (number, found) in [
            kind(old.snapshot().get(1u32)),
            kind(old.snapshot().iter().collect::<Result<Vec<_>>>()),
            kind(old.range_owned(..)),
            kind(old.begin().unwrap().iter().collect::<Result<Vec<_>>>()),
            kind(old.delete_range("y".."z")),
            kind(old.delete_prefix("y")),
            kind(old.touch(1u32, Expiry::Never)),
            kind(old.patch("u", &patch)),
            kind(db.batch().of(&old).patch("u", &patch).commit()),
            kind(old.acquire("lease", "me", Duration::from_secs(1))),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(found, Some(ErrorKind::TableNotFound), "verb {number}");
        }
    };
    check();
    while db.step().unwrap() {}
    db.compact().unwrap();
    check();
    assert!(db.verify(|_| {}).unwrap().is_clean());
}

/// Their ranges went on, their gets did not.
#[test]
fn transactions_from_before_a_drop_still_read_the_table() {
    let db = open(&Memory::new(), Durability::Sync);
    let table = db.table("t").unwrap();
    table.put("k", b"v").unwrap();
    let (mut of_db, of_table) = (db.begin().unwrap(), table.begin().unwrap());
    db.drop_table("t").unwrap();
    while db.step().unwrap() {}
    assert_eq!(of_table.iter().count(), 1);
    assert_eq!(of_table.get("k").unwrap().unwrap().bytes(), b"v");
    assert_eq!(of_db.of(&table).unwrap().iter().count(), 1);
    let written = of_db.of(&table).unwrap().put("k", b"w");
    assert_eq!(kind(written), Some(ErrorKind::TableNotFound));
}

/// A seek had an iterator forget that its table was dropped.
#[test]
fn no_seek_revives_an_iterator_of_a_dropped_table() {
    let db = open(&Memory::new(), Durability::Sync);
    let table = db.table("t").unwrap();
    table.put("a", b"1").unwrap();
    db.drop_table("t").unwrap();
    let snapshot = table.snapshot();
    for mut range in [table.iter(), snapshot.iter()] {
        for _ in 0..2 {
            let first = range.next().unwrap();
            assert_eq!(kind(first), Some(ErrorKind::TableNotFound));
            assert!(range.next().is_none());
            range.seek("a").unwrap();
        }
    }
}

/// A handle that was looked up beside the drop did not learn of it.
#[test]
fn every_handle_learns_of_a_drop() {
    let db = small().open_on(Memory::new()).unwrap();
    for round in 0..300u64 {
        let table = db.table("t").unwrap();
        table.put(round, b"x").unwrap();
        drop(table);
        let found = std::thread::scope(|scope| {
            let finder = scope.spawn(|| {
                let mut found = None;
                while let Some(table) = db.find_table("t").unwrap() {
                    found = Some(table);
                }
                found
            });
            assert!(db.drop_table("t").unwrap());
            finder.join().unwrap()
        });
        if let Some(table) = found {
            assert_eq!(kind(table.get(round)), Some(ErrorKind::TableNotFound), "round {round}");
            assert_eq!(kind(table.put(round, b"")), Some(ErrorKind::TableNotFound));
        }
    }
}

/// A closed database with tables a, b and c, whose log begins long behind their making; in its
/// data file one bit of the last record with the stored key `key` is flipped.
fn damaged(key: &[u8]) -> Memory {
    let disk = Memory::new();
    let db = open(&disk, Durability::Sync);
    for name in ["a", "b", "c"] {
        let table = db.table(name).unwrap();
        (0..50u32).for_each(|key| _ = table.put(key, name).unwrap());
    }
    for round in 0..12u8 {
        (0..400u32).for_each(|key| _ = db.put(key, [round; 1000]).unwrap());
        db.checkpoint().unwrap();
        while db.step().unwrap() {}
    }
    db.close().unwrap();
    let file = disk.open("data/records.uarr", OpenMode::Mapped).unwrap();
    let mut bytes = vec![0u8; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let at = bytes.windows(key.len()).rposition(|found| found == key).unwrap() + key.len() - 1;
    file.write_at(&[bytes[at] ^ 1], at as u64).unwrap();
    file.make_durable().unwrap();
    disk
}

/// A lost counter gave numbers out twice; a lost name left records that nobody could reach.
#[test]
fn repair_completes_the_catalog() {
    for key in [&b"\xff\x04\0\0\0\x01\0\0\0next"[..], b"\xff\x04\0\0\0\x01\0\0b"] {
        let source = Inspector::open_on(damaged(key), "damaged").unwrap();
        let target = open(&Memory::new(), Durability::Sync);
        repair(&source, &target, RepairMode::Tolerate).unwrap();
        let names: Vec<_> = infos(&target).into_iter().map(|table| table.name).collect();
        let expected = if key.ends_with(b"b") { "recovered-17" } else { "b" };
        assert!(names.contains(&expected.to_owned()), "{names:?}");
        let tables = infos(&target);
        let reached = target.len() + tables.iter().map(|table| table.key_count).sum::<u64>();
        assert_eq!((target.stats().key_count, reached), (550, 550));
        let used = open(&Memory::new(), Durability::Sync);
        used.table("gone").unwrap();
        used.drop_table("gone").unwrap();
        assert!(repair(&source, &used, RepairMode::Tolerate).is_err(), "its numbers are taken");
        let fresh = target.table("fresh").unwrap();
        assert!(fresh.is_empty() && fresh.number() > 18);
    }
}

/// Idle tables of other engines have kept their log for ever.
#[test]
fn an_idle_table_holds_up_no_log() {
    let disk = Memory::new();
    let db = open(&disk, Durability::Sync);
    let (idle, busy) = (db.table("idle").unwrap(), db.table("busy").unwrap());
    idle.put("k", b"v").unwrap();
    let segments = || disk.list("wal").unwrap().len();
    let mut most = 0;
    for round in 0..40u32 {
        (0..100u32).for_each(|key| _ = busy.put(key, [round as u8; 1000]).unwrap());
        db.checkpoint().unwrap();
        while db.step().unwrap() {}
        most = most.max(segments());
    }
    assert!(most <= 6, "{most} segments for 4 MB of log");
    assert_eq!(idle.get("k").unwrap().unwrap(), b"v");
}

/// What other engines have dropped or cleared came back with their logs.
#[test]
fn replay_brings_nothing_back_that_was_dropped() {
    let disk = Memory::new();
    let db = open(&disk, Durability::Sync);
    for round in 0..5u32 {
        let (dropped, cleared) = (db.table("dropped").unwrap(), db.table("cleared").unwrap());
        (0..50u32).for_each(|key| {
            dropped.put(key, b"x").unwrap();
            cleared.put(key, b"x").unwrap();
        });
        if round == 2 {
            db.checkpoint().unwrap();
        }
        db.drop_table("dropped").unwrap();
        db.clear_table("cleared").unwrap();
        db.table("cleared").unwrap().put("new", b"y").unwrap();
    }
    // All of it is replayed.
    for disk in [disk.crash(), disk.kill_with(1), disk.crash_with(2)] {
        let db = open(&disk, Durability::Sync);
        assert!(db.find_table("dropped").unwrap().is_none());
        assert_eq!((db.table("cleared").unwrap().len(), db.stats().key_count), (1, 1));
        assert!(db.table("dropped").unwrap().is_empty());
    }
}
