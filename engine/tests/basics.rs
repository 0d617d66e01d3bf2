//! The verbs on a real directory.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a test looks at the files from outside")]

use std::sync::Barrier;
use std::time::Duration;

use uarr::value::Patch;
use uarr::{
    AsKey, CommitPath, CommitStrategy, Db, Durability, ErrorKind, KEY_BYTES_MAX, KeyBytes, KeyKind,
    uarr,
};

fn builder(dir: &std::path::Path) -> uarr::Builder {
    Db::builder(dir).segment_bytes(1 << 20).chunk_bytes(1 << 20)
}

fn value(key: u64) -> Vec<u8> {
    (0..(key % 300)).map(|i| (key ^ i) as u8).collect()
}

#[test]
fn integers_survive_close_and_kill() {
    for durability in
        [Durability::Sync, Durability::Interval(Duration::from_millis(5)), Durability::Manual]
    {
        let dir = tempfile::tempdir().unwrap();
        let open = || builder(dir.path()).keys(KeyKind::U64).durability(durability).open().unwrap();
        let db = open();
        assert!(db.recovery_report().created);
        for key in 0..2000u64 {
            db.put(key * 7919, value(key)).unwrap();
        }
        for key in (0..2000u64).step_by(3) {
            db.delete(key * 7919).unwrap();
        }
        let check = |db: &Db| {
            for key in 0..2000u64 {
                let found = db.get(key * 7919).unwrap().map(|record| record.bytes().to_vec());
                assert_eq!(found, (key % 3 != 0).then(|| value(key)), "{key}");
            }
            let keys: Vec<_> = db.iter().map(|r| r.unwrap().key_u64().unwrap()).collect();
            assert_eq!(keys.len(), 1333);
            assert!(keys.is_sorted());
            let mut back: Vec<_> = db.iter().rev().map(|r| r.unwrap().key_u64().unwrap()).collect();
            back.reverse();
            assert_eq!(keys, back);
            let report = db.verify(|_| {}).unwrap();
            assert!(report.is_clean(), "{report:?}");
        };
        check(&db);
        db.checkpoint().unwrap();
        check(&db);
        db.close().unwrap();
        let db = open();
        assert!(db.recovery_report().clean, "{:?}", db.recovery_report());
        check(&db);
        db.put(5u64, b"after").unwrap();
        db.sync().unwrap();
        drop(db);
        let db = open();
        assert_eq!(&*db.get(5u64).unwrap().unwrap(), b"after");
    }
}

#[test]
fn threads_share_groups() {
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).keys(KeyKind::U64).open().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let db = db.clone();
            scope.spawn(move || {
                for step in 0..200u64 {
                    db.put(thread << 32 | step, step.to_le_bytes()).unwrap();
                }
            });
        }
    });
    let stats = db.stats();
    println!("{stats:#?}");
    assert_eq!(stats.commit_count, 3200);
    assert!(stats.flush_count < stats.commit_count);
    assert_eq!(db.iter().count(), 3200);
}

#[test]
fn records_are_viewed_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).open().unwrap();
    let node = uarr::uarr!({ "name": "Ada", "born": 1815, "vec": f32[1.0, 2.0] });
    db.put("ada", &node).unwrap();
    let record = db.get("ada").unwrap().unwrap();
    let view = record.uarr().unwrap();
    assert_eq!(view.get("name").unwrap().as_str(), Some("Ada"));
    assert_eq!(view.get("born").unwrap().as_i64(), Some(1815));
    assert_eq!(view.get("vec").unwrap().as_slice::<f32>().unwrap(), [1.0, 2.0]);
    db.put("text", "no record").unwrap();
    assert!(db.get("text").unwrap().unwrap().uarr().is_err());
}

/// A number as a key of any kind of table.
#[derive(Clone, Copy, Debug)]
struct Number(KeyKind, u64);

impl AsKey for Number {
    fn kind(&self) -> KeyKind {
        self.0
    }

    fn to_key(&self) -> KeyBytes<'_> {
        self.1.to_key()
    }
}

#[test]
fn many_are_found_as_one_by_one() {
    for kind in [KeyKind::U64, KeyKind::Bytes] {
        let dir = tempfile::tempdir().unwrap();
        let db = builder(dir.path()).keys(kind).open().unwrap();
        for key in 0..100u64 {
            db.put(Number(kind, key * 3), value(key)).unwrap();
            if key % 7 == 0 {
                db.delete(Number(kind, key * 3)).unwrap();
            }
        }
        db.put(Number(kind, 3), b"newer").unwrap();
        // Present, deleted and never written ones, some twice, in groups that are not full.
        for count in [0, 1, 16, 17, 250] {
            let keys: Vec<_> = (0..count).map(|i| Number(kind, i * 89 % 300)).collect();
            let many = db.get_many(&keys).unwrap();
            assert_eq!(many.len(), keys.len());
            for (key, found) in keys.iter().zip(many) {
                let one = db.get(key).unwrap();
                assert_eq!(found.as_deref(), one.as_deref(), "{key:?}");
            }
        }
        let error = db.get_many(&["", "b"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn byte_keys_are_ordered_and_prefixed() {
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).durability(Durability::Manual).open().unwrap();
    for number in 0..500 {
        db.put(format!("/usr/{:03}", (number * 37) % 500), "x").unwrap();
        db.put(format!("/var/{number}"), "y").unwrap();
    }
    let found: Vec<_> = db
        .prefix("/usr/")
        .unwrap()
        .map(|record| String::from_utf8(record.unwrap().key().to_vec()).unwrap())
        .collect();
    assert_eq!(found, (0..500).map(|n| format!("/usr/{n:03}")).collect::<Vec<_>>());
    let range = db.range("/usr/100".."/usr/103").unwrap().rev();
    let keys: Vec<_> = range.map(|record| record.unwrap().key().to_vec()).collect();
    assert_eq!(keys, [b"/usr/102".to_vec(), b"/usr/101".to_vec(), b"/usr/100".to_vec()]);
    assert_eq!(db.first().unwrap().unwrap().key(), b"/usr/000");
    assert_eq!(db.last().unwrap().unwrap().key(), b"/var/99");

    let mut view = db.prefix("/usr/49").unwrap();
    assert_eq!(view.next().unwrap().unwrap().key(), b"/usr/490");
    for number in 490..500 {
        db.delete(format!("/usr/{number}")).unwrap();
    }
    assert_eq!(view.count(), 9, "an iterator keeps its moment");
    assert_eq!(db.prefix("/usr/49").unwrap().count(), 0);
}

#[test]
fn oversize_values_and_batches_get_room_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let open = || builder(dir.path()).keys(KeyKind::I64).open().unwrap();
    let db = open();
    let large: Vec<u8> = (0..5_000_000u32).map(|i| i as u8).collect();
    db.put(-1i64, &large).unwrap();
    let mut batch = db.batch();
    for key in 0..40_000i64 {
        batch.put(key, [key as u8; 100]);
    }
    assert!(batch.commit().unwrap().is_some());
    db.put(-2i64, b"small").unwrap();
    let check = |db: &Db| {
        assert_eq!(db.get(-1i64).unwrap().unwrap().bytes(), large);
        assert_eq!(db.get(39_999i64).unwrap().unwrap().bytes(), [39_999i64 as u8; 100]);
        assert_eq!(db.first().unwrap().unwrap().key_i64(), Some(-2));
        assert_eq!(db.iter().count(), 40_002);
        assert!(db.verify(|_| {}).unwrap().is_clean());
    };
    check(&db);
    db.close().unwrap();
    check(&open());
}

#[test]
fn a_batch_is_emptied_by_its_commit_and_by_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).durability(Durability::Manual).open().unwrap();
    let mut batch = db.durable().batch();
    assert!(batch.commit().unwrap().is_none());
    let receipt = batch.put("a", "1").put("b", "2").commit().unwrap().unwrap();
    assert!(receipt.is_durable && batch.is_empty());

    let patch = Patch::from_record(uarr!([[0, ["n"], 1]])).unwrap();
    batch.put("a", "3").patch("missing", &patch);
    assert_eq!(batch.commit().unwrap_err().kind(), ErrorKind::KeyNotFound);
    assert_eq!((batch.len(), db.get("a").unwrap().unwrap().bytes()), (2, &b"1"[..]));
    db.put("missing", uarr!({})).unwrap();
    assert!(batch.commit().unwrap().is_some(), "what failed is committed when it can be");
    assert_eq!(db.get("a").unwrap().unwrap().bytes(), b"3");

    batch.put("a", "4").put("x".repeat(KEY_BYTES_MAX + 1), "");
    for _ in 0..2 {
        assert_eq!(batch.commit().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    batch.clear();
    assert!(batch.put("a", "5").commit().unwrap().is_some());
    assert_eq!(db.get("a").unwrap().unwrap().bytes(), b"5");
    assert!(db.verify(|_| {}).unwrap().is_clean());
}

/// Found by a mistyped path: opening made the lock file before it looked for a database.
#[test]
fn a_directory_that_is_refused_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let error = builder(dir.path()).create(false).open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    let error = builder(dir.path()).open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotADatabase);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Found by damaging every file in turn: a database whose superblock was deleted was taken for an
/// interrupted creation and made empty.
//= test SUP-7
#[test]
fn a_missing_superblock_is_damage_and_not_an_invitation() {
    let dir = tempfile::tempdir().unwrap();
    let open = |create| builder(dir.path()).create(create).open();
    open(true).unwrap().put("key", "value").unwrap();
    let root = dir.path().join("superblock");
    let kept = std::fs::read(&root).unwrap();
    std::fs::remove_file(&root).unwrap();
    for create in [true, false] {
        let error = open(create).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert_eq!(error.corruption().unwrap().file, "superblock");
    }
    std::fs::write(&root, kept).unwrap();
    assert_eq!(&*open(false).unwrap().get("key").unwrap().unwrap(), b"value");
}

/// The one that came second to make the directory failed with an error of the system.
#[test]
fn openers_at_once_get_the_database_or_hear_that_it_is_locked() {
    const OPENER_COUNT: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let path = dir.path().join(round.to_string());
        let path_of_commits = CommitPath::Fixed(CommitStrategy::Syscall);
        let open = || builder(&path).background(false).commit_path(path_of_commits).open();
        let (begin, end) = (Barrier::new(OPENER_COUNT), Barrier::new(OPENER_COUNT));
        let run = || {
            begin.wait();
            let opened = open();
            end.wait();
            opened.map(drop)
        };
        let opened: Vec<_> = std::thread::scope(|scope| {
            let openers: Vec<_> = (0..OPENER_COUNT).map(|_| scope.spawn(run)).collect();
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
        for error in opened.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        }
    }
}

/// It counted as an error of the system, whose kind does not point to a backup or to `repair`.
#[test]
fn a_missing_data_file_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    builder(dir.path()).open().unwrap().put("key", "value").unwrap();
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    let error = builder(dir.path()).open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    assert_eq!(error.corruption().unwrap().file, "data/records.uarr");
}

/// A copy of `parts` of a database.
fn copy_of(dir: &std::path::Path, parts: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in parts {
        let mut command = std::process::Command::new("cp");
        let status = command.arg("-r").arg(dir.join(part)).arg(copy.path()).status().unwrap();
        assert!(status.success());
    }
    copy
}

/// Programs that copy files alone leave out empty folders. A copy without the folder of the images
/// opened and took writes, but no checkpoint, and could not be closed.
#[test]
fn a_copy_without_empty_folders_is_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).background(false).open().unwrap();
    db.put("key", "value").unwrap();
    let without_image = copy_of(dir.path(), &["superblock", "data", "wal"]);
    db.close().unwrap();
    let without_log = copy_of(dir.path(), &["superblock", "data", "index"]);
    for copy in [without_image, without_log] {
        let open = || builder(copy.path()).open().unwrap();
        let db = open();
        db.put("other", "value").unwrap();
        db.checkpoint().unwrap();
        db.close().unwrap();
        assert_eq!(open().iter().map(Result::unwrap).count(), 2);
    }
}

/// Found by damaging every byte in turn: the older slot says "closed", from before the database was
/// opened again, and was believed although the newer one could not be read.
//= test SUP-3
#[test]
fn a_damaged_newest_superblock_slot_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    builder(dir.path()).open().unwrap().close().unwrap();
    // Without threads that rename segments while they are copied.
    let db = builder(dir.path()).background(false).open().unwrap();
    db.put("key", "value").unwrap();
    let root = dir.path().join("superblock");
    let copy = copy_of(dir.path(), &["superblock", "data", "wal", "index"]);
    drop(db);
    assert!(root.exists());
    for slot in [0, 65_536] {
        let path = copy.path().join("superblock");
        let kept = std::fs::read(&path).unwrap();
        let mut damaged = kept.clone();
        damaged[slot + 100] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let db = builder(copy.path()).open().unwrap();
        assert_eq!(&*db.get("key").unwrap().unwrap(), b"value");
        assert_eq!(db.recovery_report().notes.len(), 1);
    }
}

/// Each round left an entry in memory behind, and the next plain delete took all of them out in one
/// go.
#[test]
fn keys_deleted_and_written_again_leave_nothing_behind() {
    const KEY_COUNT: u64 = 50;
    for durability in [Durability::Manual, Durability::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let db = builder(dir.path()).durability(durability).open().unwrap();
        let round = |count: u64| {
            for number in 0..count {
                let key = (number % KEY_COUNT).to_be_bytes();
                db.batch().delete(key).put(key, b"again").commit().unwrap();
            }
        };
        // A reader that stays keeps tombstones from being forgotten.
        for keeps_reader in [false, true] {
            let reader = keeps_reader.then(|| db.iter());
            let count = if durability == Durability::Sync { 150 } else { 2000 };
            round(count);
            let grown = allocation_counter::measure(|| round(count)).bytes_current;
            assert!(grown < 2 << 10, "{grown} bytes more, {durability:?}, reader: {keeps_reader}");
            drop(reader);
        }
        assert_eq!(db.iter().count() as u64, KEY_COUNT);
    }
}

#[test]
fn deletions_held_up_by_a_reader_are_forgotten_piece_by_piece() {
    const KEY_COUNT: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let open = builder(dir.path()).keys(KeyKind::U64).durability(Durability::Manual);
    let db = open.background(false).open().unwrap();
    (0..KEY_COUNT).for_each(|key| assert!(db.put(key, b"there").is_ok()));
    let reader = db.iter();
    (0..KEY_COUNT).for_each(|key| assert!(db.delete(key).is_ok()));
    assert_eq!(reader.count() as u64, KEY_COUNT);
    assert_eq!(db.stats().key_count, 0);
    let indexed = || db.stats().index.entries as u64;
    let mut left = indexed();
    assert_eq!(left, KEY_COUNT, "the reader held them up");
    let mut rounds = 0;
    while left > 1 {
        db.put(KEY_COUNT, b"x").unwrap();
        let now = indexed();
        assert!(now < left || rounds == 0, "some are forgotten by each write");
        assert!(left - now <= 64, "{} at once", left - now);
        left = now;
        rounds += 1;
    }
}

/// Found by the simulator: the flush of the first superblock failed and left nonsense in its place.
/// The directory was refused from then on, as one with files of others.
#[test]
fn an_interrupted_creation_is_known_whatever_its_superblock_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("superblock.new");
    let mut torn = vec![0; 128 << 10];
    torn[..512].fill(0x5a);
    std::fs::write(&path, &torn).unwrap();
    builder(dir.path()).open().unwrap().close().unwrap();
    assert!(!path.exists());

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("superblock.new");
    torn[100 << 10] = 1;
    for content in [&torn[..], &torn[..512]] {
        std::fs::write(&path, content).unwrap();
        let error = builder(dir.path()).open().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotADatabase, "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content, "a file of others is left alone");
    }
}

#[test]
fn an_owned_record_outlives_its_database() {
    fn is_free<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn is_shared<T: Send + Sync>(_: &T) {}
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).open().unwrap();
    let mut kept = Vec::new();
    for len in [0, 1, 7, 8, 9, 5000] {
        let value: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        let version = db.put(len as u64, &value).unwrap().lsn;
        let record = db.get(len as u64).unwrap().unwrap();
        is_shared(&record);
        let owned = record.to_owned();
        is_free(&owned);
        assert_eq!((owned.key(), owned.key_ref()), (record.key(), record.key_ref()));
        assert_eq!(Vec::from(record), value);
        kept.push((owned, value, version));
    }
    db.put("text", uarr::uarr!({ "vec": f64[1.0, 2.5] })).unwrap();
    let text = db.get("text").unwrap().unwrap().to_owned();
    db.close().unwrap();
    for (owned, value, version) in &kept {
        assert_eq!(owned.bytes(), value);
        assert_eq!((owned.version(), owned.key_u64()), (*version, Some(value.len() as u64)));
        assert_eq!((owned.key_i64(), owned.as_ref()), (None, &value[..]));
        assert_eq!(Vec::from(owned.clone()), *value);
    }
    assert_eq!(text.uarr().unwrap().get("vec").unwrap().as_slice::<f64>(), Ok(&[1.0, 2.5][..]));
    let shown = format!("{text:?}");
    assert!(shown.contains("OwnedRecord") && shown.contains("value_bytes"), "{shown}");
}
