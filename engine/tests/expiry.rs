//! Records that expire: never seen after their time, whatever the clock does, and gone some time
//! later.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uarr::value::Patch;
use uarr::{Db, Durability, ErrorKind, Expires, Expiry, Increment, KeyKind, uarr};
use uarr_disk_sim::Memory;
use uarr_uring::Storage;

/// Longer than a patch of another field.
const LONG: &str =
    "a text that is longer than the patch, so that the log gets the patch; and so on";
const SECOND: Duration = Duration::from_secs(1);

fn open(disk: &Memory) -> Db<Memory> {
    open_as(disk, Durability::Sync)
}

fn open_as(disk: &Memory, durability: Durability) -> Db<Memory> {
    let builder = Db::builder("memory").durability(durability).segment_bytes(1 << 18);
    let builder = builder.chunk_bytes(1 << 16).address_space_bytes(1 << 28).background(false);
    builder.open_on(disk.clone()).unwrap()
}

fn work(db: &Db<Memory>) {
    while db.step().unwrap() {}
}

/// What is in a row of the database's own verbs, key by key.
fn found(db: &Db<Memory>, key: &str) -> Option<Vec<u8>> {
    let got = db.get(key).unwrap().map(Vec::from);
    let many = db.get_many(&[key]).unwrap().remove(0).map(Vec::from);
    let ranged = db.range(key..=key).unwrap().next().map(|record| Vec::from(record.unwrap()));
    let snapshot = db.snapshot().get(key).unwrap().map(Vec::from);
    let read = db.begin().unwrap().get(key).unwrap().map(Vec::from);
    assert_eq!([&many, &ranged, &snapshot, &read], [&got; 4], "{key}");
    assert_eq!(db.contains(key).unwrap(), got.is_some());
    got
}

#[test]
fn nobody_sees_a_record_from_its_time_on() {
    for durability in [Durability::Sync, Durability::Manual] {
        let disk = Memory::new();
        let db = open_as(&disk, durability);
        db.put("early", b"1".expires_in(SECOND * 10)).unwrap();
        db.put("late", b"2".expires_in(SECOND * 20)).unwrap();
        db.put("never", b"3").unwrap();
        let now = UNIX_EPOCH + Duration::from_nanos(disk.wall_ns().cast_unsigned());
        db.put("at", b"4".expires_at(now + SECOND * 15)).unwrap();
        db.put("over", b"5".expires_at(UNIX_EPOCH)).unwrap();
        assert_eq!(found(&db, "over"), None);
        assert!(found(&db, "early").is_some());
        let seen =
            |db: &Db<Memory>| ["early", "at", "late", "never"].map(|key| found(db, key).is_some());
        assert_eq!(seen(&db), [true; 4]);
        disk.advance(SECOND * 10);
        assert_eq!(seen(&db), [false, true, true, true]);
        disk.advance(SECOND * 6);
        assert_eq!(seen(&db), [false, false, true, true]);
        work(&db);
        assert_eq!(seen(&db), [false, false, true, true]);
        db.close().unwrap();
        let db = open_as(&disk, durability);
        assert_eq!(seen(&db), [false, false, true, true]);
        disk.advance(SECOND * 60);
        assert_eq!(seen(&db), [false, false, false, true]);
        assert_eq!(db.iter().count(), 1);
    }
}

#[test]
fn verbs_say_when_and_change_it() {
    let disk = Memory::new();
    let db = open(&disk);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    db.put("k", b"value".expires_at(time)).unwrap();
    assert_eq!(db.expiry("k").unwrap(), Some(Expiry::At(time)));
    assert_eq!(db.get("k").unwrap().unwrap().expiry(), Expiry::At(time));
    assert_eq!(db.get("k").unwrap().unwrap().to_owned().expiry(), Expiry::At(time));
    let version = db.get("k").unwrap().unwrap().version();
    let touched = db.touch("k", Expiry::In(SECOND)).unwrap().unwrap();
    assert!(touched.lsn > version);
    assert_eq!(db.get("k").unwrap().unwrap(), b"value");
    disk.advance(SECOND);
    assert_eq!(db.expiry("k").unwrap(), None);
    assert!(db.touch("k", Expiry::Never).unwrap().is_none(), "what has expired does not come back");
    db.put("k", b"again".expires_in(SECOND)).unwrap();
    db.touch("k", Expiry::Never).unwrap().unwrap();
    disk.advance(SECOND * 100);
    assert_eq!(
        (found(&db, "k"), db.expiry("k").unwrap()),
        (Some(b"again".to_vec()), Some(Expiry::Never))
    );
    // A put says it anew.
    db.put("k", b"1".expires_in(SECOND)).unwrap();
    db.put("k", b"2").unwrap();
    assert_eq!(db.expiry("k").unwrap(), Some(Expiry::Never));
    db.put("far", b"".expires_in(Duration::MAX)).unwrap();
    assert!(found(&db, "far").is_some());
}

#[test]
fn conditions_take_what_has_expired_for_absent() {
    let disk = Memory::new();
    let db = open(&disk);
    let version = db.put("k", b"1".expires_in(SECOND)).unwrap().lsn;
    assert!(!db.insert("k", b"2").unwrap().is_written());
    disk.advance(SECOND);
    assert!(!db.update("k", b"2").unwrap().is_written());
    let refused = db.put_if_version("k", b"2", version).unwrap();
    assert!(refused.found().is_none());
    assert!(!db.delete_if_version("k", version).unwrap().is_written());
    assert!(db.get_and_put("k", b"2".expires_in(SECOND)).unwrap().1.is_none());
    disk.advance(SECOND);
    assert!(db.insert("k", b"3".expires_in(SECOND)).unwrap().is_written());
    assert_eq!(db.get_and_put("k", b"4").unwrap().1.unwrap(), b"3");
    let mut batch = db.batch();
    batch.put("b", b"1".expires_in(SECOND)).insert("c", b"1").commit().unwrap();
    disk.advance(SECOND);
    batch.insert("b", b"2").update("c", b"2").commit().unwrap();
    assert_eq!((found(&db, "b").unwrap(), found(&db, "c").unwrap()), (vec![b'2'], vec![b'2']));
}

#[test]
fn patches_and_counters_keep_the_time_of_what_they_change() {
    let disk = Memory::new();
    let db = open(&disk);
    db.put("doc", uarr!({ "n": 1, "text": LONG }).expires_in(SECOND * 10)).unwrap();
    let expiry = db.expiry("doc").unwrap();
    let patch = Patch::builder().set("n", 2).build().unwrap();
    db.patch("doc", &patch).unwrap();
    assert_eq!(db.expiry("doc").unwrap(), expiry);
    let count = Increment::by(1).initial(5);
    assert_eq!(db.increment("count", count).unwrap().value, 6);
    db.touch("count", Expiry::In(SECOND * 10)).unwrap().unwrap();
    assert_eq!(db.increment("count", count).unwrap().value, 7);
    db.batch().patch("doc", &patch).commit().unwrap();
    drop(db);
    let db = open(&disk.crash());
    assert_eq!(db.expiry("doc").unwrap(), expiry);
    assert!(matches!(db.expiry("count").unwrap(), Some(Expiry::At(_))));
}

#[test]
fn a_counter_that_has_expired_begins_anew() {
    let disk = Memory::new();
    for durability in [Durability::Sync, Durability::Manual] {
        let db = open_as(&disk, durability);
        let hit = Increment::by(1).max(3).expiring(Expiry::In(SECOND * 60));
        let hits = || db.increment("hits", hit).unwrap();
        assert_eq!([hits().value, hits().value, hits().value], [1, 2, 3]);
        disk.advance(SECOND * 30);
        assert!(hits().commit.is_none());
        // The clock is a moment ahead of the wall when a database is opened again at once.
        disk.advance(SECOND * 30 + SECOND / 100);
        assert_eq!(hits().value, 1);
        db.delete("hits").unwrap();
        db.close().unwrap();
    }
}

#[test]
fn snapshots_and_transactions_stop_the_clock() {
    let disk = Memory::new();
    let db = open(&disk);
    db.put("k", b"1".expires_in(SECOND * 10)).unwrap();
    let (snapshot, mut tx) = (db.snapshot(), db.begin().unwrap());
    let mut range = db.range("a"..).unwrap();
    disk.advance(SECOND * 30);
    work(&db);
    db.compact().unwrap();
    assert_eq!(db.stats().expired_count, 1);
    assert_eq!(found(&db, "k"), None);
    assert_eq!(snapshot.get("k").unwrap().unwrap(), b"1");
    assert_eq!(snapshot.iter().count(), 1);
    assert_eq!(tx.get("k").unwrap().unwrap().bytes(), b"1");
    assert_eq!(range.next().unwrap().unwrap(), b"1");
    tx.put("own", b"2".expires_in(SECOND)).unwrap();
    assert!(matches!(tx.get("own").unwrap().unwrap().expiry(), Expiry::At(_)));
    assert_eq!(tx.iter().count(), 2);
    // What it has read was gone by then.
    assert_eq!(tx.commit().unwrap_err().kind(), ErrorKind::Conflict);
    let mut tx = db.begin().unwrap();
    assert!(tx.get("k").unwrap().is_none());
    tx.put("own", b"2".expires_in(SECOND)).unwrap();
    work(&db);
    // That the record was deleted for it is no conflict.
    tx.commit().unwrap();
    let mut tx = db.begin().unwrap();
    tx.get("k").unwrap();
    db.put("k", b"3").unwrap();
    tx.put("own", b"2").unwrap();
    assert_eq!(tx.commit().unwrap_err().kind(), ErrorKind::Conflict);
    let mut tx = db.begin().unwrap();
    tx.put("own", b"2".expires_in(SECOND)).unwrap();
    tx.commit().unwrap();
    assert!(found(&db, "own").is_some());
    disk.advance(SECOND);
    assert_eq!(found(&db, "own"), None);
}

//= test SUP-10
#[test]
fn the_clock_never_goes_back() {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let disk = Memory::new();
    let db = open(&disk);
    db.put("k", b"1".expires_in(SECOND * 10)).unwrap();
    disk.advance(SECOND * 10);
    assert_eq!(found(&db, "k"), None);
    disk.shift_wall_ns(-HOUR_NS);
    assert_eq!(found(&db, "k"), None);
    // Something durable says how late it is.
    db.put("other", b"2").unwrap();
    drop(db);
    for kept in [disk.crash(), disk.clone()] {
        let db = open(&kept);
        assert_eq!(found(&db, "k"), None);
        // Relative times go on: the clock is slow, but it does not stand.
        db.put("new", b"3".expires_in(SECOND)).unwrap();
        kept.advance(SECOND * 2 + SECOND / 10);
        assert_eq!(found(&db, "new"), None);
        db.close().unwrap();
        kept.shift_wall_ns(-HOUR_NS);
        let db = open(&kept);
        assert_eq!(found(&db, "k"), None, "the superblock says it");
        db.close().unwrap();
    }
}

#[test]
fn a_jump_ahead_is_believed_after_a_while() {
    const DAY_NS: i64 = 86_400_000_000_000;
    let disk = Memory::new();
    let db = open(&disk);
    db.put("k", b"1".expires_in(SECOND * 3600)).unwrap();
    disk.shift_wall_ns(DAY_NS);
    assert!(found(&db, "k").is_some(), "a session does not end because a clock is wrong");
    disk.advance(SECOND * 300);
    assert!(found(&db, "k").is_some());
    disk.shift_wall_ns(-DAY_NS);
    assert!(found(&db, "k").is_some());
    disk.shift_wall_ns(DAY_NS);
    assert!(found(&db, "k").is_some());
    disk.advance(SECOND * 601);
    assert_eq!(found(&db, "k"), None, "ten minutes later it is the time");
}

#[test]
fn what_has_expired_is_deleted_and_its_space_comes_back() {
    for durability in [Durability::Sync, Durability::Manual] {
        let disk = Memory::new();
        let db = open_as(&disk, durability);
        for key in 0..2000u32 {
            let expiry = Expiry::In(SECOND * (1 + key % 60));
            db.put(format!("key:{key:05}"), [7; 200].expiring(expiry)).unwrap();
        }
        db.put("stays", b"1".expires_in(SECOND * 1000)).unwrap();
        work(&db);
        let before = db.stats();
        assert_eq!((before.key_count, before.expired_count), (2001, 0));
        for _ in 0..70 {
            disk.advance(SECOND);
            work(&db);
        }
        let after = db.stats();
        assert_eq!((after.key_count, after.expired_count), (1, 2000), "{durability}");
        db.compact().unwrap();
        assert_eq!(db.iter().count(), 1);
        let space = db.stats().space;
        assert!(space.live_bytes < before.space.live_bytes / 50, "{space:?}");
        db.close().unwrap();
        let db = open_as(&disk, durability);
        assert_eq!(db.iter().count(), 1);
        disk.advance(SECOND * 1000);
        work(&db);
        assert_eq!(db.stats().key_count, 0, "a checkpoint says when to look again");
    }
}

/// An older version that does not expire must not come back with the newer one's time.
#[test]
fn no_older_version_shines_through() {
    for rounds in [0, 1] {
        let disk = Memory::new();
        let db = open(&disk);
        db.put("k", b"old").unwrap();
        let snapshot = db.snapshot();
        db.put("k", b"new".expires_in(SECOND)).unwrap();
        disk.advance(SECOND * 2);
        if rounds > 0 {
            work(&db);
            db.compact().unwrap();
        }
        assert_eq!(found(&db, "k"), None);
        assert_eq!(snapshot.get("k").unwrap().unwrap(), b"old");
        drop(snapshot);
        drop(db);
        let db = open(&disk.crash());
        assert_eq!(found(&db, "k"), None);
    }
}

#[test]
fn who_writes_the_key_again_keeps_what_was_put() {
    let disk = Memory::new();
    let db = open(&disk);
    for key in 0..500u32 {
        db.put(format!("key:{key}"), b"1".expires_in(SECOND)).unwrap();
    }
    disk.advance(SECOND);
    for key in (0..500u32).step_by(2) {
        db.put(format!("key:{key}"), b"2").unwrap();
    }
    work(&db);
    assert_eq!((db.iter().count(), db.stats().expired_count), (250, 250));
}

#[test]
fn tables_of_integers_and_large_values_expire_too() {
    let disk = Memory::new();
    let builder = Db::builder("memory").keys(KeyKind::U64).segment_bytes(1 << 18);
    let builder = builder.chunk_bytes(1 << 16).address_space_bytes(1 << 28).background(false);
    let db = builder.clone().open_on(disk.clone()).unwrap();
    for (key, len) in [(1u64, 0usize), (2, 100), (3, 4096), (4, 60_000), (5, 200_000)] {
        db.put(key, vec![7; len].expires_in(SECOND)).unwrap();
        assert_eq!(db.get(key).unwrap().unwrap().bytes(), vec![7; len]);
        assert_eq!(db.get(key).unwrap().unwrap().bytes().as_ptr() as usize % 8, 0);
    }
    drop(db);
    let disk = disk.crash();
    let db = builder.open_on(disk.clone()).unwrap();
    assert_eq!(db.iter().map(|record| record.unwrap().len()).sum::<usize>(), 264_196);
    db.verify(|_| {}).unwrap();
    disk.advance(SECOND);
    assert_eq!(db.iter().count(), 0);
    db.compact().unwrap();
    assert_eq!((db.stats().key_count, db.stats().expired_count), (0, 5));
}

/// Each login writes what lives for a year and what lives for a minute.
#[test]
fn sessions_between_records_that_live_longer_are_deleted() {
    let disk = Memory::new();
    let db = open(&disk);
    let year = SECOND * 86_400 * 365;
    for login in 0..2000u32 {
        db.put(format!("token:{login}"), [1; 200].expires_in(year)).unwrap();
        db.put(format!("session:{login}"), [2; 200].expires_in(SECOND * 60)).unwrap();
    }
    disk.advance(SECOND * 61);
    db.compact().unwrap();
    assert_eq!((db.stats().key_count, db.stats().expired_count), (2000, 2000));
    for login in 0..2000u32 {
        db.put(format!("session:{login}"), [2; 200].expires_in(SECOND * 60)).unwrap();
        disk.advance(SECOND * 12);
        work(&db);
    }
    disk.advance(SECOND * 7 * 3600);
    work(&db);
    assert_eq!(db.stats().key_count, 2000, "some hours later the last are gone");
}

#[test]
fn a_transaction_does_not_see_its_own_record_that_has_expired() {
    let disk = Memory::new();
    let db = open(&disk);
    let mut tx = db.begin().unwrap();
    tx.put("k", b"1".expires_at(UNIX_EPOCH)).unwrap();
    assert!(tx.get("k").unwrap().is_none());
    assert_eq!(tx.iter().count(), 0);
}

#[test]
fn a_clock_before_1970_stands_and_relative_times_are_not_early() {
    let disk = Memory::new();
    disk.shift_wall_ns(-disk.wall_ns() - 1_000_000_000_000);
    let db = open(&disk);
    db.put("over", b"1".expires_in(Duration::ZERO)).unwrap();
    assert_eq!(found(&db, "over"), None);
    db.close().unwrap();
    disk.shift_wall_ns(2_000_000_000_000_000);
    let db = open(&disk);
    assert_eq!((found(&db, "over"), db.snapshot().iter().count()), (None, 0));
    db.put("short", b"2".expires_in(Duration::from_micros(900))).unwrap();
    assert!(found(&db, "short").is_some(), "it has not been so long");
}

/// SUP-10 holds for whoever reads the files.
//= test SUP-10
#[test]
fn repair_brings_nothing_back_that_is_over() {
    const DAY_NS: i64 = 86_400_000_000_000;
    let disk = Memory::new();
    let db = open(&disk);
    db.put("over", b"1".expires_in(SECOND * 10)).unwrap();
    db.put("later", b"2".expires_in(SECOND * 1000)).unwrap();
    disk.advance(SECOND * 20);
    db.put("other", b"3").unwrap();
    drop(db);
    let source = uarr::inspect::Inspector::open_on(disk.crash(), "memory").unwrap();
    let new = Memory::new();
    new.shift_wall_ns(-DAY_NS);
    let target = open(&new);
    let report = uarr::repair::repair(&source, &target, uarr::repair::RepairMode::Tolerate);
    let report = report.unwrap();
    assert_eq!((report.kept_count, report.deleted_count), (2, 1));
    assert_eq!(found(&target, "over"), None);
    assert!(matches!(target.expiry("later").unwrap(), Some(Expiry::At(_))));
}

/// A transaction that has read a record acts upon it; so does another one that finds it expired.
/// Both were committed: in no order could they have run one after the other.
#[test]
fn what_expires_before_the_commit_was_written_in_between() {
    type Read = fn(&uarr::Transaction<Memory>) -> usize;
    let reads: [Read; 4] = [
        |tx| usize::from(tx.get("lease").unwrap().is_some()),
        |tx| usize::from(tx.contains("lease").unwrap()),
        |tx| tx.iter().map(Result::unwrap).count(),
        |tx| tx.prefix("le").unwrap().rev().map(Result::unwrap).count(),
    ];
    for durability in [Durability::Sync, Durability::Manual] {
        let disk = Memory::new();
        let db = open_as(&disk, durability);
        for read in reads {
            db.put("lease", b"1".expires_in(SECOND * 10)).unwrap();
            let begin = || {
                let mut tx = db.begin().unwrap();
                assert_eq!(read(&tx), 1);
                tx.put("lease", b"own").unwrap();
                tx.delete("lease").unwrap();
                tx
            };
            let (in_time, late, unread) = (begin(), begin(), db.begin().unwrap());
            disk.advance(SECOND * 9);
            in_time.commit().unwrap();
            db.put("lease", b"1".expires_in(SECOND)).unwrap();
            let last = begin();
            disk.advance(SECOND);
            assert_eq!(late.commit().unwrap_err().kind(), ErrorKind::Conflict);
            let refused = last.commit().unwrap_err();
            assert!(refused.to_string().contains("has expired since"), "{refused}");
            let mut unread = unread;
            unread.put("other", b"").unwrap();
            unread.commit().unwrap();
            // Run again, it finds nothing.
            let mut run_count = 0;
            db.put("lease", b"1".expires_in(SECOND)).unwrap();
            let again = |tx: &mut uarr::Transaction<Memory>| {
                run_count += 1;
                let count = read(tx);
                disk.advance(SECOND);
                tx.put("other", [1])?;
                Ok::<_, uarr::Error>(count)
            };
            let is_range = db.transaction(again).unwrap() > 0;
            assert_eq!(run_count, 2);
            assert_eq!(is_range, read(&db.begin().unwrap()) > 0, "`other` is in the range of all");
            db.delete("other").unwrap();
        }
    }
}

/// It has put that itself, whenever it may expire.
#[test]
fn what_a_transaction_has_put_itself_expires_without_a_conflict() {
    let disk = Memory::new();
    let db = open(&disk);
    let mut tx = db.begin().unwrap();
    tx.put("own", b"1".expires_in(SECOND)).unwrap();
    assert!(tx.contains("own").unwrap() && tx.iter().count() == 1);
    disk.advance(SECOND * 2);
    tx.commit().unwrap();
    assert!(!db.contains("own").unwrap());
}
