//! Tables: key spaces of their own in one database, made, used together, dropped.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use uarr::inspect::Inspector;
use uarr::repair::{RepairMode, repair};
use uarr::{
    AsKey, Db, Durability, ErrorKind, Expires, Expiry, Increment, KeyKind, Outcome, Table,
    TableInfo, TableOptions,
};
use uarr_disk_sim::Memory;
use uarr_uring::Storage;

const KINDS: [KeyKind; 3] = [KeyKind::Bytes, KeyKind::U64, KeyKind::I64];

fn open(disk: &Memory, default: KeyKind, durability: Durability) -> Db<Memory> {
    let builder = Db::builder("memory").durability(durability).segment_bytes(1 << 18);
    let builder = builder.chunk_bytes(1 << 16).address_space_bytes(1 << 28).keys(default);
    builder.background(false).open_on(disk.clone()).unwrap()
}

fn open_sync(disk: &Memory) -> Db<Memory> {
    open(disk, KeyKind::Bytes, Durability::Sync)
}

fn work(db: &Db<Memory>) {
    while db.step().unwrap() {}
}

/// A key of `kind` for `number`: they sort as the numbers do.
fn key(kind: KeyKind, number: i64) -> Box<dyn AsKey> {
    match kind {
        KeyKind::Bytes => Box::new(format!("{number:05}")),
        KeyKind::U64 => Box::new(number.cast_unsigned()),
        KeyKind::I64 => Box::new(number - 500),
    }
}

/// What is in `db`, read in each way, which must agree.
fn all(db: &Db<Memory>) -> Vec<Vec<u8>> {
    let forward: Vec<_> = db.iter().map(|record| Vec::from(record.unwrap())).collect();
    let mut backward: Vec<_> = db.iter().rev().map(|record| Vec::from(record.unwrap())).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    let snapshot = db.snapshot();
    let pinned: Vec<_> = snapshot.iter().map(|record| Vec::from(record.unwrap())).collect();
    let tx = db.begin().unwrap();
    let read: Vec<_> = tx.iter().map(|record| Vec::from(record.unwrap())).collect();
    assert_eq!([&pinned, &read], [&forward; 2]);
    assert_eq!(db.len(), forward.len() as u64);
    forward
}

fn infos(db: &Db<Memory>) -> Vec<TableInfo> {
    db.tables().into_iter().map(Result::unwrap).collect()
}

fn tables_of(db: &Db<Memory>) -> Vec<Table<Memory>> {
    let named = |kind: KeyKind| db.table_with(&kind.to_string(), TableOptions::new().keys(kind));
    KINDS.map(|kind| named(kind).unwrap()).into()
}

/// The same keys in all tables and the default one; each has its own records, whatever happens to
/// the others, to the log, and to the process.
#[test]
fn tables_share_no_keys_and_survive_together() {
    for (default, durability) in
        KINDS.into_iter().flat_map(|kind| [Durability::Sync, Durability::Manual].map(|d| (kind, d)))
    {
        let disk = Memory::new();
        let mut db = open(&disk, default, durability);
        let mut disk = disk;
        let mut model: Vec<BTreeMap<i64, Vec<u8>>> = vec![BTreeMap::new(); 4];
        for round in 0..6_i64 {
            let mut handles = tables_of(&db);
            let spaces: Vec<&Db<Memory>> =
                std::iter::once(&db).chain(handles.iter().map(|table| &**table)).collect();
            for (index, space) in spaces.iter().enumerate() {
                let kind = space.key_kind();
                for number in (0..400).filter(|number| (number + round) % 3 != 0) {
                    let value = format!("{index} {round} {number}").into_bytes();
                    space.put(&*key(kind, number), &value).unwrap();
                    model[index].insert(number, value);
                }
                for number in (0..400).filter(|number| (number + round) % 7 == index as i64) {
                    space.delete(&*key(kind, number)).unwrap();
                    model[index].remove(&number);
                }
            }
            for (space, model) in spaces.iter().zip(&model) {
                assert_eq!(all(space), model.values().cloned().collect::<Vec<_>>());
            }
            drop(spaces);
            handles.clear();
            db.sync().unwrap();
            match round % 3 {
                0 => disk = disk.crash(),
                1 => {
                    db.checkpoint().unwrap();
                    work(&db);
                    disk = disk.crash();
                }
                _ => db.close().unwrap(),
            }
            db = open(&disk, default, durability);
            let spaces = tables_of(&db);
            assert_eq!(all(&db), model[0].values().cloned().collect::<Vec<_>>());
            for (space, model) in spaces.iter().zip(&model[1..]) {
                assert_eq!(all(space), model.values().cloned().collect::<Vec<_>>());
            }
            assert!(db.verify(|_| {}).unwrap().is_clean());
            let infos = infos(&db);
            let counts: Vec<_> = infos.iter().map(|info| info.key_count as usize).collect();
            let lens: Vec<_> = [0, 2, 1].map(|index| model[1..][index].len()).into();
            assert_eq!(counts, lens, "by name: bytes, i64, u64");
        }
    }
}

#[test]
fn bounds_and_prefixes_stay_in_their_table() {
    let db = open_sync(&Memory::new());
    let (before, users, behind) =
        (db.table("before").unwrap(), db.table("users").unwrap(), db.table("behind").unwrap());
    let keys: [&[u8]; 6] = [b"\0", b"a", b"ab", b"b", b"\xff", b"\xff\xff"];
    for space in [&db, &*before, &*users, &*behind] {
        keys.iter().for_each(|key| _ = space.put(*key, key).unwrap());
    }
    for space in [&db, &*users] {
        let found = |bounds: (Bound<&[u8]>, Bound<&[u8]>)| -> Vec<Vec<u8>> {
            let records = space.range(bounds).unwrap().map(|record| Vec::from(record.unwrap()));
            let found: Vec<_> = records.collect();
            let tx = space.begin().unwrap();
            let read = tx.range(bounds).unwrap().map(|record| Vec::from(record.unwrap()));
            assert_eq!(read.collect::<Vec<_>>(), found);
            found
        };
        use Bound::{Excluded, Included, Unbounded};
        assert_eq!(found((Unbounded, Unbounded)), keys);
        assert_eq!(found((Included(b"a"), Unbounded)), keys[1..]);
        assert_eq!(found((Excluded(b"a"), Included(b"\xff"))), keys[2..5]);
        assert_eq!(found((Included(b""), Excluded(b"b"))), keys[..3]);
        assert_eq!(found((Unbounded, Excluded(b""))), [b""; 0]);
        let of_prefix = |prefix: &[u8]| -> Vec<Vec<u8>> {
            space.prefix(prefix).unwrap().map(|record| Vec::from(record.unwrap())).collect()
        };
        assert_eq!(of_prefix(b"a"), keys[1..3]);
        assert_eq!(of_prefix(b"\xff"), keys[4..]);
        assert_eq!(of_prefix(b""), keys);
        let record = space.get("ab").unwrap().unwrap();
        assert_eq!((record.key(), record.key_ref().as_bytes()), (&b"ab"[..], Some(&b"ab"[..])));
        assert_eq!(space.first().unwrap().unwrap().key(), b"\0");
        assert_eq!(space.last().unwrap().unwrap().key(), b"\xff\xff");
        let mut range = space.range_owned(..).unwrap();
        range.seek("aa").unwrap();
        assert_eq!(range.next().unwrap().unwrap().key(), b"ab");
    }
    assert_eq!(users.delete_range(b"a"..b"b").unwrap(), 2);
    assert_eq!((users.len(), db.len(), before.len(), behind.len()), (4, 6, 6, 6));
    assert_eq!(users.get_many(&["a", "b"]).unwrap().iter().flatten().count(), 1);
}

#[test]
fn all_verbs_are_about_the_table() {
    let disk = Memory::new();
    let db = open_sync(&disk);
    let table = db.table("t").unwrap();
    assert!(table.insert("a", b"1").unwrap().is_written());
    assert!(db.insert("a", b"2").unwrap().is_written());
    let refused = table.insert("a", b"3").unwrap();
    let Outcome::Refused(refusal) = refused else { panic!("it is there") };
    let found = refusal.found.unwrap();
    assert_eq!((found.key(), found.bytes()), (&b"a"[..], &b"1"[..]));
    drop(found);
    assert_eq!(table.get_and_put("a", b"4").unwrap().1.unwrap(), b"1");
    assert_eq!(table.increment("n", 5).unwrap().value, 5);
    assert_eq!(db.increment("n", 1).unwrap().value, 1);
    assert_eq!(table.increment("n", 1).unwrap().value, 6);
    assert!(table.acquire("lease", "me", Duration::from_secs(1)).unwrap().granted().is_some());
    assert!(db.lease("lease").unwrap().is_none() && table.lease("lease").unwrap().is_some());
    assert_eq!(table.ingest((0..10u64).map(|number| (number, b"x"))).unwrap(), 10);
    assert_eq!((db.len(), table.len()), (2, 13));
    let error = table.patch("nobody", &uarr::value::Patch::builder().set("a", 1).build().unwrap());
    let message = error.unwrap_err().to_string();
    assert!(message.contains("key 'nobody'"), "{message}");
    assert!(table.touch("a", Expiry::In(Duration::from_secs(1))).unwrap().is_some());
    disk.advance(Duration::from_secs(2));
    assert!(table.get("a").unwrap().is_none() && db.get("a").unwrap().is_some());
    work(&db);
    assert_eq!(table.len(), 11, "what has expired is deleted");
}

#[test]
fn what_spans_tables_is_whole() {
    let disk = Memory::new();
    let db = open_sync(&disk);
    let (a, b) = (db.table("a").unwrap(), db.table_with("b", u64_keys()).unwrap());
    let mut batch = db.batch();
    batch.put("k", b"0").of(&a).put("k", b"1").of(&b).put(7u64, b"2").of(&db).put("l", b"3");
    batch.commit().unwrap();
    assert_eq!((db.len(), a.len(), b.len()), (2, 1, 1));
    let mut batch = a.batch();
    batch.put("k", b"x").of(&b).insert(7u64, b"x");
    let Some(Outcome::Refused(refusal)) = batch.commit_if().unwrap() else { panic!("7 is there") };
    assert_eq!((refusal.change, refusal.found.unwrap().key_u64()), (1, Some(7)));
    assert_eq!(a.get("k").unwrap().unwrap(), b"1", "nothing of it was written");
    let mut wrong = a.batch();
    assert_eq!(
        wrong.of(&b).put("text", b"").commit().unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );

    let snapshot = db.snapshot();
    db.transaction(|tx| {
        let moved = tx.of(&b)?.get(7u64)?.unwrap();
        tx.of(&b)?.delete(7u64)?;
        tx.of(&a)?.put("seven", moved.bytes())?;
        assert_eq!(tx.of(&a)?.iter().count(), 2, "its own writes are seen");
        assert_eq!(tx.of(&b)?.range(..)?.count(), 0);
        assert_eq!(tx.iter().count(), 2);
        Ok::<_, uarr::Error>(())
    })
    .unwrap();
    assert_eq!(all(&a), [&b"1"[..], b"2"]);
    assert!(all(&b).is_empty());
    let at = |db: &Db<Memory>| snapshot.of(db).unwrap().iter().count();
    assert_eq!((at(&a), at(&b), at(&db)), (1, 1, 2));
    let other = open_sync(&Memory::new());
    assert!(snapshot.of(&other).is_err() && db.begin().unwrap().of(&other).is_err());
    assert!(db.batch().of(&other).put("k", b"").commit().is_err());
}

fn u64_keys() -> TableOptions {
    TableOptions::new().keys(KeyKind::U64)
}

/// Transactions conflict by table and key.
#[test]
fn transactions_conflict_in_their_own_table_only() {
    for default in [KeyKind::Bytes, KeyKind::U64] {
        let db = open(&Memory::new(), default, Durability::Sync);
        let (a, b) = (db.table("a").unwrap(), db.table_with("b", u64_keys()).unwrap());
        let conflicts = |read: &dyn Fn(&mut uarr::Transaction<Memory>), write: &dyn Fn()| {
            let mut tx = db.begin().unwrap();
            read(&mut tx);
            tx.of(&a).unwrap().put("written", b"").unwrap();
            write();
            tx.commit().is_err_and(|error| error.kind() == ErrorKind::Conflict)
        };
        let all_of = |db: &Db<Memory>| {
            let db = db.clone();
            move |tx: &mut uarr::Transaction<Memory>| _ = tx.of(&db).unwrap().iter().count()
        };
        let put_a = || _ = a.put("k", b"").unwrap();
        let put_b = || _ = b.put(u64::MAX - 5, b"").unwrap();
        let put_default = || _ = db.put(&*key(default, 5), b"").unwrap();
        assert!(!conflicts(&all_of(&db), &put_a) && !conflicts(&all_of(&db), &put_b));
        assert!(conflicts(&all_of(&db), &put_default));
        assert!(conflicts(&all_of(&a), &put_a) && !conflicts(&all_of(&a), &put_b));
        assert!(conflicts(&all_of(&b), &put_b) && !conflicts(&all_of(&b), &put_default));
        let get_b = |tx: &mut uarr::Transaction<Memory>| {
            _ = tx.of(&b).unwrap().get(u64::MAX - 5).unwrap();
        };
        assert!(conflicts(&get_b, &put_b) && !conflicts(&get_b, &put_a));
        let drop_b = || assert!(db.drop_table("b").unwrap());
        assert!(conflicts(&get_b, &drop_b), "who drops a table writes all of it");
    }
}

#[test]
fn a_table_that_was_dropped_is_gone_for_all_but_those_from_before() {
    for durability in [Durability::Sync, Durability::Manual] {
        let disk = Memory::new();
        let db = open(&disk, KeyKind::Bytes, durability);
        let old = db.table("t").unwrap();
        let also_old = db.table("t").unwrap();
        (0..100u32).for_each(|number| _ = old.put(number, b"old").unwrap());
        let snapshot = db.snapshot().of(&old).unwrap();
        let mut range = old.range_owned(..).unwrap();
        assert!(db.drop_table("t").unwrap());
        assert!(!db.drop_table("t").unwrap(), "it is not there any more");
        assert!(db.find_table("t").unwrap().is_none() && db.tables().is_empty());
        for handle in [&old, &also_old] {
            let gone = |error: uarr::Error| assert_eq!(error.kind(), ErrorKind::TableNotFound);
            gone(handle.get(1u32).unwrap_err());
            gone(handle.get_many(&[1u32]).unwrap_err());
            gone(handle.put(1u32, b"").unwrap_err());
            gone(handle.insert(1u32, b"").unwrap_err());
            gone(handle.increment(1u32, 1).unwrap_err());
            gone(handle.delete(1u32).unwrap_err());
            gone(handle.get_and_put(1u32, b"").unwrap_err());
            gone(handle.ingest([(1u32, b"")]).unwrap_err());
            gone(handle.range(..).err().unwrap());
            gone(handle.iter().next().unwrap().unwrap_err());
            gone(handle.begin().unwrap().get(1u32).unwrap_err());
            gone(handle.begin().unwrap().put(1u32, b"").unwrap_err());
            gone(db.batch().put("a", b"").of(handle).put(1u32, b"").commit().unwrap_err());
            gone(db.snapshot().of(handle).unwrap_err());
        }
        assert!(db.get("a").unwrap().is_none());
        let new = db.table_with("t", u64_keys()).unwrap();
        assert!(new.is_empty() && new.number() > old.number());
        new.put(1u64, b"new").unwrap();
        work(&db);
        assert_eq!(snapshot.iter().filter(|record| record.is_ok()).count(), 100);
        assert_eq!(range.by_ref().filter(|record| record.is_ok()).count(), 100);
        assert!(snapshot.of(&new).is_err(), "it was not there then");
        drop((snapshot, range, old, also_old, new));
        work(&db);
        db.sync().unwrap();
        let db = open(&disk.crash(), KeyKind::Bytes, durability);
        let new = db.find_table("t").unwrap().unwrap();
        assert_eq!((new.key_kind(), all(&new)), (KeyKind::U64, vec![b"new".to_vec()]));
    }
}

/// At each moment of a removal a process may die, and the next one goes on with it; also one that
/// has taken no checkpoint of its own, which took the mark away too early.
#[test]
fn the_space_of_dropped_tables_comes_back_whoever_dies() {
    for (kind, steps) in [KeyKind::Bytes, KeyKind::U64]
        .into_iter()
        .flat_map(|kind| (0..40).map(move |steps| (kind, steps)))
    {
        let mut disk = Memory::new();
        let mut db = open_sync(&disk);
        let kept = db.table("kept").unwrap();
        kept.put("k", b"here").unwrap();
        let table = db.table_with("t", TableOptions::new().keys(kind)).unwrap();
        for number in 0..3000 {
            table.put(&*key(kind, number), [7; 200]).unwrap();
        }
        (0..3000).step_by(5).for_each(|number| _ = table.delete(&*key(kind, number)).unwrap());
        db.checkpoint().unwrap();
        kept.put("k", b"here").unwrap();
        drop((kept, table));
        if steps % 3 == 1 {
            db.checkpoint().unwrap();
            drop(db);
            db = open_sync(&disk);
        }
        let full = db.stats().space;
        assert!(full.live_bytes > 2400 * 200);
        assert!(db.drop_table("t").unwrap());
        for _ in 0..steps {
            db.step().unwrap();
        }
        if steps % 4 == 0 {
            db.checkpoint().unwrap();
        }
        disk = disk.crash();
        db = open_sync(&disk);
        // This life may end before it takes a checkpoint.
        (0..60 + 2 * steps).for_each(|_| _ = db.step().unwrap());
        disk = disk.crash();
        db = open_sync(&disk);
        work(&db);
        db.compact().unwrap();
        work(&db);
        let space = db.stats().space;
        assert!(space.live_bytes < 2000, "{kind} {steps}: {space:?}");
        assert!(space.waiting_bytes + space.dead_bytes < 4 << 16, "{kind} {steps}: {space:?}");
        assert_eq!(db.stats().key_count, 1);
        let kept = db.find_table("kept").unwrap().unwrap();
        assert_eq!(all(&kept), [b"here"]);
        let report = db.verify(|_| {}).unwrap();
        assert!(report.is_clean());
        assert_eq!(report.record_count, 3, "it, and two of the catalog: the mark is gone");
    }
}

#[test]
fn a_table_that_is_cleared_goes_on_empty() {
    let disk = Memory::new();
    let db = open_sync(&disk);
    assert!(db.clear_table("t").unwrap().is_none());
    let old = db.table_with("t", u64_keys().durable()).unwrap();
    old.put(1u64, b"x").unwrap();
    let new = db.clear_table("t").unwrap().unwrap();
    assert!(new.is_empty() && new.key_kind() == KeyKind::U64 && old.get(1u64).is_err());
    new.put(2u64, b"y").unwrap();
    let db = open_sync(&disk.crash());
    let new = db.table_with("t", u64_keys().durable()).unwrap();
    assert_eq!(all(&new), [b"y"]);
}

#[test]
fn tables_keep_what_they_were_made_with() {
    let disk = Memory::new();
    let day = Duration::from_secs(86_400);
    let options = u64_keys().expires_in(day).durable();
    let db = open(&disk, KeyKind::Bytes, Durability::Manual);
    let table = db.table_with("sessions", options).unwrap();
    assert!(table.put(1u64, b"x").unwrap().is_durable && !db.put("a", b"").unwrap().is_durable);
    table.put(2u64, b"y".expires_in(Duration::from_secs(10))).unwrap();
    table.put(3u64, b"z".expiring(Expiry::Never)).unwrap();
    table.increment(4u64, 1).unwrap();
    table.increment(5u64, Increment::by(1).expiring(Expiry::Never)).unwrap();
    let mut batch = db.batch();
    assert!(batch.put("b", b"").of(&table).put(6u64, b"").commit().unwrap().unwrap().is_durable);
    db.transaction(|tx| tx.of(&table)?.put(7u64, b"")).unwrap();
    drop(batch);
    for wrong in [
        TableOptions::new().keys(KeyKind::Bytes),
        TableOptions::new().expires_in(Duration::from_secs(1)),
    ] {
        let error = db.table_with("sessions", wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("table 'sessions'"), "{error}");
    }
    let disk = disk.crash();
    let db = open(&disk, KeyKind::Bytes, Durability::Manual);
    let table = db.table("sessions").unwrap();
    assert_eq!(infos(&db)[0].expiry, Expiry::In(day));
    assert_eq!(table.key_kind(), KeyKind::U64);
    let there = |db: &Db<Memory>| (1..=7u64).filter(|key| db.contains(*key).unwrap()).count();
    assert_eq!(there(&table), 7);
    disk.advance(Duration::from_secs(11));
    assert_eq!(there(&table), 6);
    disk.advance(day);
    assert_eq!(there(&table), 2, "3 and 5 stay");
}

#[test]
fn names_that_cannot_be_are_refused() {
    let db = open_sync(&Memory::new());
    for name in ["", "a\nb", "\0next", &"x".repeat(256)] {
        for error in [
            db.table(name).err(),
            db.find_table(name).err(),
            db.drop_table(name).err(),
            db.clear_table(name).err(),
        ] {
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::InvalidArgument));
        }
    }
    assert!(db.table(&"\u{fc}".repeat(127)).is_ok());
    let mut key = vec![b'k'; uarr::KEY_BYTES_MAX - 8];
    let table = db.table("t").unwrap();
    table.put(&key, b"").unwrap();
    key.push(b'k');
    assert!(table.put(&key, b"").unwrap_err().to_string().contains("65527"));
}

/// Threads make, fill and drop one table beside each other: numbers never come twice, and what a
/// writer was told to be written is there until somebody drops the table.
#[test]
fn threads_make_and_drop_one_table() {
    let db = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let db = db.address_space_bytes(1 << 28).open_on(Memory::new()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6u64 {
            let db = &db;
            scope.spawn(move || {
                for round in 0..40u64 {
                    let table = db.table("t").unwrap();
                    match table.put(format!("{thread}"), round.to_le_bytes()) {
                        Ok(_) => match table.get(format!("{thread}")) {
                            Ok(found) => assert_eq!(found.unwrap(), round.to_le_bytes()),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::TableNotFound),
                        },
                        Err(error) => assert_eq!(error.kind(), ErrorKind::TableNotFound),
                    }
                    if (thread + round).is_multiple_of(4) {
                        db.drop_table("t").unwrap();
                    }
                }
            });
        }
    });
    db.drop_table("t").unwrap();
    db.compact().unwrap();
    assert!(db.tables().is_empty());
    db.table("t").unwrap().put("k", b"v").unwrap();
    assert!(db.verify(|_| {}).unwrap().is_clean());
    db.close().unwrap();
}

/// Repair writes all tables, with their names, kinds and options; also where no index image is
/// left.
#[test]
fn repair_keeps_tables_apart() {
    for (default, with_images) in KINDS.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let disk = Memory::new();
        let db = open(&disk, default, Durability::Sync);
        let tables = tables_of(&db);
        let dropped = db.table("dropped").unwrap();
        for space in std::iter::once(&db).chain(tables.iter().map(|table| &**table)) {
            for number in 0..100 {
                let value = format!("{} {number}", space.key_kind());
                space.put(&*key(space.key_kind(), number), value).unwrap();
            }
            dropped.put("k", b"v").unwrap();
        }
        db.checkpoint().unwrap();
        tables.iter().for_each(|table| {
            table.delete(&*key(table.key_kind(), 7)).unwrap();
            table.put(&*key(table.key_kind(), 8), b"new").unwrap();
        });
        db.drop_table("dropped").unwrap();
        let expected: Vec<_> =
            std::iter::once(&db).chain(tables.iter().map(|table| &**table)).map(all).collect();
        let expected_infos = infos(&db);
        let disk = disk.crash();
        if !with_images {
            for image in disk.list("index").unwrap() {
                disk.remove(&format!("index/{image}")).unwrap();
            }
        }
        let source = Inspector::open_on(disk, "damaged").unwrap();
        let target = open(&Memory::new(), default, Durability::Sync);
        repair(&source, &target, RepairMode::Tolerate).unwrap();
        assert_eq!(infos(&target), expected_infos);
        let tables = tables_of(&target);
        let repaired: Vec<_> =
            std::iter::once(&target).chain(tables.iter().map(|table| &**table)).map(all).collect();
        assert_eq!(repaired, expected);
        work(&target);
        assert!(target.verify(|_| {}).unwrap().is_clean());
    }
}

/// What came next went to the last table, whatever the batch was made for.
#[test]
fn a_batch_that_is_used_again_begins_with_its_first_table() {
    let db = Db::in_memory().unwrap();
    let (users, log) = (db.table("users").unwrap(), db.table("log").unwrap());
    let has = |table: &Db<_>, key: &str| table.contains(key).unwrap();
    let (mut batch, mut owned) = (users.batch(), db.batch_owned());
    batch.put("a", b"1").of(&log).put("b", b"1").commit().unwrap();
    batch.put("c", b"1").commit().unwrap();
    assert!(has(&users, "a") && has(&log, "b") && has(&users, "c") && !has(&log, "c"));
    owned.of(&log).put("d", b"1");
    owned.clear();
    owned.put("e", b"1").commit().unwrap();
    owned.of(&log).put("f", b"1").commit().unwrap();
    owned.of(&users);
    owned.put("g", b"1");
    assert!(owned.insert("c", b"2").commit().is_err());
    // It is as it was, its table too.
    owned.put("h", b"1");
    owned.clear();
    owned.put("i", b"1").commit().unwrap();
    assert!(has(&db, "e") && has(&log, "f") && has(&db, "i"));
    assert!(!has(&users, "g") && !has(&users, "h") && !has(&log, "e"));
}

/// The background takes keys that were deleted out of the index, and then out of the count of such:
/// in between there were too few.
#[test]
fn no_key_is_missed_while_deleted_ones_are_forgotten() {
    const KEY_COUNT: u32 = 5000;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let db = Db::builder(dir.path().join("db")).durability(Durability::Manual).open().unwrap();
    let table = db.table("t").unwrap();
    for table in [&db, &*table] {
        table.put("stays", b"").unwrap();
        for _ in 0..3 {
            for number in 0..KEY_COUNT {
                table.put(number.to_be_bytes(), b"").unwrap();
            }
            let snapshot = db.snapshot();
            for number in 0..KEY_COUNT {
                table.delete(number.to_be_bytes()).unwrap();
            }
            db.sync().unwrap();
            drop(snapshot);
            let are_indexed = || table.table_stats().unwrap().index.entries > 1;
            while are_indexed() {
                (0..10_000).for_each(|_| assert_eq!(table.len(), 1));
            }
        }
    }
}
