//! Tables whose options change, and what is told of tables.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use uarr::inspect::Inspector;
use uarr::repair::{RepairMode, repair};
use uarr::{
    Db, Durability, Error, ErrorKind, Expires, Expiry, KeyKind, TableInfo, TableOptions,
    WriteOptions,
};
use uarr_disk_sim::{FaultKind, Memory};
use uarr_uring::{OpenMode, Storage, StorageFile};

const HOUR: Duration = Duration::from_secs(3600);

fn open(disk: &Memory, durability: Durability) -> Db<Memory> {
    let builder = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let builder = builder.address_space_bytes(1 << 28).durability(durability);
    builder.background(false).open_on(disk.clone()).unwrap()
}

fn hourly() -> TableOptions {
    TableOptions::new().expires_in(HOUR)
}

fn info(db: &Db<Memory>, name: &str) -> TableInfo {
    let mut infos = db.tables().into_iter().map(Result::unwrap);
    infos.find(|info| info.name == name).unwrap()
}

/// What a write to `db` gets: whether it is durable, and whether it expires.
fn written(db: &Db<Memory>, key: &str) -> (bool, bool) {
    let receipt = db.put(key, b"x").unwrap();
    (receipt.is_durable, db.expiry(key).unwrap() != Some(Expiry::Never))
}

#[test]
fn options_change_for_all_handles_at_once_and_for_ever() {
    let mut disk = Memory::new();
    let mut db = open(&disk, Durability::Manual);
    db.table("t").unwrap().put("from before", b"x").unwrap();
    let changes = [
        (hourly(), (false, true)),
        (TableOptions::new().durable(), (true, true)),
        (TableOptions::new().expires_never(), (true, false)),
        (hourly().durable_as_database(), (false, true)),
        (TableOptions::new().durable().expires_never(), (true, false)),
        (TableOptions::new().durable_as_database(), (false, false)),
    ];
    for (number, (options, expected)) in changes.into_iter().enumerate() {
        let (handle, clone) = (db.table("t").unwrap(), db.find_table("t").unwrap().unwrap());
        let writer = handle.with(WriteOptions::new());
        let altered = db.alter_table("t", options).unwrap().unwrap();
        for table in [&handle, &clone, &altered, &db.table("t").unwrap()] {
            assert_eq!(written(table, "k"), expected, "change {number}");
            let mut batch = db.batch();
            batch.put("k", b"").of(table).put("k", b"");
            assert_eq!(batch.commit().unwrap().unwrap().is_durable, expected.0);
            let mut tx = table.begin().unwrap();
            tx.put("in it", b"").unwrap();
            assert_eq!(tx.commit().unwrap().unwrap().is_durable, expected.0);
            assert_eq!(table.expiry("in it").unwrap() != Some(Expiry::Never), expected.1);
            assert_eq!(table.increment("n", 1).unwrap().commit.unwrap().is_durable, expected.0);
            table.delete("n").unwrap();
        }
        assert_eq!(writer.put("k", b"").unwrap().is_durable, expected.0, "it was made before");
        assert_eq!(writer.batch().put("k", b"").commit().unwrap().unwrap().is_durable, expected.0);
        assert_eq!(handle.number(), altered.number());
        // What was answered is durable, in a database that promises nothing.
        drop((handle, clone, altered));
        disk = if number % 2 == 0 { disk.crash() } else { disk.kill_with(number as u64) };
        db = open(&disk, Durability::Manual);
        assert_eq!(written(&db.table("t").unwrap(), "k"), expected, "change {number}");
        let (durable, expires) = expected;
        let info = info(&db, "t");
        assert_eq!((info.durable, info.expiry != Expiry::Never), (durable, expires));
        if number == 2 {
            db.checkpoint().unwrap();
        }
    }
    let table = db.table("t").unwrap();
    assert_eq!(table.expiry("from before").unwrap(), Some(Expiry::Never), "it has kept its time");
    assert!(db.verify(|_| {}).unwrap().is_clean());
}

#[test]
fn tasks_make_alter_and_drop_tables() {
    let db = open(&Memory::new(), Durability::Manual);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let table = db.table_async("t", hourly()).await.unwrap();
        let never = TableOptions::new().expires_never().durable();
        let altered = db.alter_table_async("t", never).await.unwrap().unwrap();
        assert_eq!(written(&table, "k"), (true, false));
        assert_eq!(altered.number(), table.number());
        let receipt = table.put_async("l", b"x").await.unwrap();
        assert!(receipt.is_durable);
        assert!(db.drop_table_async("t").await.unwrap());
        assert!(db.alter_table_async("t", never).await.unwrap().is_none());
        let error = table.put_async("l", b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TableNotFound);
    });
}

#[test]
fn what_cannot_be_altered_is_an_error() {
    let db = open(&Memory::new(), Durability::Sync);
    assert!(db.alter_table("t", hourly()).unwrap().is_none(), "it is not there");
    let table = db.table_with("t", TableOptions::new().keys(KeyKind::U64)).unwrap();
    let error = db.alter_table("t", hourly().keys(KeyKind::I64)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("table 't' has u64 keys and keeps them"), "{error}");
    assert_eq!(info(&db, "t").expiry, Expiry::Never, "nothing of it was changed");
    assert!(db.alter_table("t", hourly().keys(KeyKind::U64)).unwrap().is_some());
    let lsn = db.stats().visible_lsn;
    assert!(db.alter_table("t", hourly()).unwrap().is_some());
    assert_eq!(db.stats().visible_lsn, lsn, "it was like that already");
    assert_eq!(db.alter_table("", hourly()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let error = db.table_with("t", TableOptions::new().expires_never()).unwrap_err();
    assert!(error.to_string().contains("alter_table"), "{error}");

    // A new table of the name shares nothing with it.
    db.drop_table("t").unwrap();
    assert!(db.alter_table("t", hourly()).unwrap().is_none());
    let new = db.table("t").unwrap();
    db.alter_table("t", TableOptions::new().durable()).unwrap();
    assert_eq!(info(&db, "t").expiry, Expiry::Never);
    new.put("k", b"v").unwrap();
    assert_eq!(new.expiry("k").unwrap(), Some(Expiry::Never));
    assert_eq!(table.put(1u64, b"").unwrap_err().kind(), ErrorKind::TableNotFound);
    // One that is emptied has the options that the table had last.
    let cleared = db.clear_table("t").unwrap().unwrap();
    assert!(cleared.number() > new.number() && info(&db, "t").durable);
    let long = TableOptions::new().expires_in(Duration::MAX);
    db.alter_table("t", long).unwrap();
    cleared.put("k", b"v").unwrap();
    assert!(cleared.contains("k").unwrap());
    db.table_with("t", long).unwrap();
}

#[test]
fn what_was_collected_before_keeps_its_time_and_gets_the_promise() {
    let disk = Memory::new();
    let db = open(&disk, Durability::Manual);
    let (t, u) = (db.table("t").unwrap(), db.table("u").unwrap());
    let mut batch = t.batch();
    batch.put("k", b"x").of(&u).put("k", b"x").of(&db).put("k", b"x");
    db.alter_table("u", hourly().durable()).unwrap();
    assert!(batch.commit().unwrap().unwrap().is_durable, "one of its tables asks for it");
    assert_eq!(u.expiry("k").unwrap(), Some(Expiry::Never));
    batch.put("l", b"x");
    assert!(!batch.commit().unwrap().unwrap().is_durable, "it is emptied");
    drop(batch);

    let mut tx = t.begin().unwrap();
    tx.put("k", b"y").unwrap();
    db.alter_table("t", hourly()).unwrap();
    assert_eq!(tx.commit().unwrap_err().kind(), ErrorKind::Conflict);
    let mut count = 0;
    db.transaction(|tx| {
        count += 1;
        tx.of(&t)?.put("k", b"y")?;
        if count == 1 {
            db.alter_table("t", TableOptions::new().expires_in(HOUR * 2))?;
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(count, 2, "it ran again");
    disk.advance(HOUR + HOUR / 2);
    assert!(t.contains("k").unwrap(), "with the time that the table has now");
    disk.advance(HOUR);
    assert!(!t.contains("k").unwrap());
    t.put("k", b"z".expires_in(HOUR)).unwrap();
    assert!(t.contains("k").unwrap());
}

/// A failed change may be there or not; no caller was told of it, and no handle follows.
#[test]
fn a_change_that_failed_is_there_or_not() {
    for nth in 1..3 {
        let disk = Memory::new();
        let db = open(&disk, Durability::Manual);
        let table = db.table("t").unwrap();
        table.put("k", b"v").unwrap();
        db.sync().unwrap();
        disk.fail_from(FaultKind::LogFlush, nth);
        let answers: Vec<_> = (0..2).map(|_| db.alter_table("t", hourly()).is_ok()).collect();
        let db = open(&disk.crash(), Durability::Manual);
        let is_there = info(&db, "t").expiry != Expiry::Never;
        assert!(is_there || answers == [false, false], "{answers:?}");
    }
}

/// Threads change options, drop the table and make it again, beside each other.
#[test]
fn threads_alter_one_table() {
    let db = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let db = db.address_space_bytes(1 << 28).durability(Durability::Manual);
    let db = db.open_on(Memory::new()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let db = &db;
            scope.spawn(move || {
                for round in 0..40u64 {
                    let hours = u32::try_from(1 + thread * 40 + round).unwrap();
                    let table = db.table("t").unwrap();
                    let options = TableOptions::new().expires_in(HOUR * hours);
                    let options = match round % 2 {
                        0 => options.durable(),
                        _ => options.durable_as_database(),
                    };
                    db.alter_table("t", options).unwrap();
                    match table.put(format!("{thread}"), b"") {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::TableNotFound),
                    }
                    if thread == 0 && round % 8 == 3 {
                        db.drop_table("t").unwrap();
                    }
                }
            });
        }
    });
    // The handle that all share has followed the last of them.
    let (table, info) = (db.table("t").unwrap(), info(&db, "t"));
    let receipt = table.put("k", b"").unwrap();
    assert_eq!(receipt.is_durable, info.durable);
    let Expiry::In(time) = info.expiry else { panic!("{info:?}") };
    let Some(Expiry::At(at)) = table.expiry("k").unwrap() else { panic!("it expires") };
    let seconds = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = db.table("now").unwrap();
    now.put("k", b"".expires_in(time)).unwrap();
    let Some(Expiry::At(expected)) = now.expiry("k").unwrap() else { panic!("it expires") };
    let expected = expected.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(expected.abs_diff(seconds) < 3600, "{seconds} {expected}");
    db.close().unwrap();
}

#[test]
fn repair_keeps_changed_options() {
    for with_images in [true, false] {
        let disk = Memory::new();
        let db = open(&disk, Durability::Sync);
        db.table("t").unwrap().put("k", b"v").unwrap();
        db.checkpoint().unwrap();
        db.alter_table("t", hourly().durable()).unwrap();
        let expected = info(&db, "t");
        let disk = disk.crash();
        if !with_images {
            for image in disk.list("index").unwrap() {
                disk.remove(&format!("index/{image}")).unwrap();
            }
        }
        let source = Inspector::open_on(disk, "damaged").unwrap();
        let target = open(&Memory::new(), Durability::Sync);
        repair(&source, &target, RepairMode::Tolerate).unwrap();
        assert_eq!(info(&target, "t"), expected);
        assert_eq!(written(&target.table("t").unwrap(), "l"), (true, true));
    }
}

#[test]
fn sizes_are_told_of_each_table() {
    let db = open(&Memory::new(), Durability::Sync);
    let bytes = db.table("bytes").unwrap();
    let ints = db.table_with("ints", TableOptions::new().keys(KeyKind::U64)).unwrap();
    (0..50u64).for_each(|key| _ = db.put(key, b"").unwrap());
    (0..3000u64).for_each(|key| _ = bytes.put(key, b"").unwrap());
    (0..200u64).for_each(|key| _ = ints.put(key, b"").unwrap());
    let counts = |db: &Db<Memory>| {
        let stats = db.table_stats().unwrap();
        let sides = stats.index.bytes + stats.ordered_index.as_ref().map_or(0, |side| side.bytes);
        assert_eq!(sides, stats.index_bytes);
        (stats.key_count, stats.index.entries, stats.ordered_index.map(|side| side.entries))
    };
    assert_eq!(counts(&db), (50, 50, Some(50)));
    assert_eq!(counts(&bytes), (3000, 3000, Some(3000)));
    assert_eq!(counts(&ints), (200, 200, None));
    let bytes_of = |db: &Db<Memory>| db.table_stats().unwrap().index_bytes;
    assert!(bytes_of(&bytes) > bytes_of(&ints) && bytes_of(&ints) >= 200 * 16);
    assert_eq!(db.stats().index, db.table_stats().unwrap().index);
    db.drop_table("ints").unwrap();
    assert_eq!(ints.table_stats().unwrap_err().kind(), ErrorKind::TableNotFound);
}

/// A database with tables a, b and c, with a bit of the catalog's record of b flipped.
fn damaged_record_of_b(is_key: bool) -> Memory {
    let disk = Memory::new();
    let db = open(&disk, Durability::Sync);
    ["a", "b", "c"].iter().for_each(|name| _ = db.table(name).unwrap().put("k", name).unwrap());
    db.close().unwrap();
    let file = disk.open("data/records.uarr", OpenMode::Mapped).unwrap();
    let mut bytes = vec![0u8; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let position = |bytes: &[u8], what: &[u8]| {
        bytes.windows(what.len()).rposition(|found| found == what).unwrap()
    };
    let key = b"\xff\x04\0\0\0\x01\0\0b";
    let key_at = position(&bytes, key);
    let at = match is_key {
        true => key_at + key.len() - 1,
        false => {
            let value = bytes[key_at..].windows(7).position(|found| found == b"durable");
            key_at + value.unwrap()
        }
    };
    file.write_at(&[bytes[at] ^ 1], at as u64).unwrap();
    file.make_durable().unwrap();
    disk
}

/// All of the list was an error.
#[test]
fn a_damaged_record_of_the_catalog_hides_no_other_table() {
    for is_key in [false, true] {
        let disk = damaged_record_of_b(is_key);
        let db = open(&disk, Durability::Sync);
        let (whole, damaged): (Vec<_>, Vec<_>) = db.tables().into_iter().partition(Result::is_ok);
        let names: Vec<_> = whole.into_iter().map(|info| info.unwrap().name).collect();
        assert_eq!(names, ["a", "c"]);
        let [Err(error)] = &damaged[..] else { panic!("{damaged:?}") };
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert_eq!(error.corruption().unwrap().file, "data/records.uarr");
        assert_eq!(error.to_string().contains("record of table 'b'"), !is_key, "{error}");
        for name in ["a", "c"] {
            let table = db.find_table(name).unwrap().unwrap();
            assert_eq!(table.get("k").unwrap().unwrap(), name.as_bytes());
            assert!(db.alter_table(name, hourly()).unwrap().is_some());
        }
        for error in [
            db.find_table("b").err().unwrap(),
            db.drop_table("b").unwrap_err(),
            db.alter_table("b", hourly()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corruption, "it is not taken for absent");
        }
        drop(db);
        let source = Inspector::open_on(disk, "damaged").unwrap();
        let target = open(&Memory::new(), Durability::Sync);
        repair(&source, &target, RepairMode::Tolerate).unwrap();
        let infos: Vec<_> = target.tables().into_iter().map(Result::unwrap).collect();
        assert_eq!(infos.iter().map(|info| info.key_count).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
