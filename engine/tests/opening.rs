//! What opening leaves behind when it is refused, or in vain.
//!
//! Promises proved: options that are refused leave no trace, neither a directory nor a file in one;
//! nor does a creation for which there is no room; `close_unused` takes back what the same opening
//! has made, and nothing else.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a test looks at the files from outside")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use uarr::{Builder, CommitPath, CommitStrategy, Db, Durability, ErrorKind};
use uarr_disk_sim::{Fault, FaultKind, Memory};
use uarr_uring::Storage;

#[test]
fn refused_options_leave_no_trace() {
    let base = tempfile::tempdir().unwrap();
    let refused: [fn(Builder) -> Builder; 5] = [
        |options| options.segment_bytes(3),
        |options| options.group_bytes(1),
        |options| options.chunk_bytes(1 << 30).address_space_bytes(1 << 26),
        |options| options.chunk_bytes(1 << 16).address_space_bytes(1 << 41),
        |options| options.durability(Durability::Interval(Duration::ZERO)),
    ];
    for (number, refuse) in refused.into_iter().enumerate() {
        let (missing, empty) = (base.path().join("missing"), base.path().join("empty"));
        fs::create_dir_all(&empty).unwrap();
        for path in [&missing, &empty] {
            let error = refuse(Db::builder(path)).open().expect_err(&format!("options {number}"));
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "options {number}: {error:?}");
        }
        assert!(!missing.exists(), "options {number}");
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "options {number}");
    }
}

#[test]
fn a_path_that_cannot_be_a_database_says_why() {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("file");
    fs::write(&file, "mine").unwrap();
    let check = |path: &std::path::Path, kind, said: &str| {
        let error = Db::open(path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    };
    check(&file, ErrorKind::NotADatabase, "is not a directory; name one");
    check(&base.path().join("a/b"), ErrorKind::Io, "does not exist; make that first");
    check(base.path(), ErrorKind::NotADatabase, "('file'); choose an empty directory");
    let missing = Db::builder(base.path().join("c")).create(false).open().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

/// They are for databases that are to be created, and mean nothing to one that is there.
#[test]
fn options_of_creation_do_not_refuse_a_database() {
    let dir = tempfile::tempdir().unwrap();
    Db::open(dir.path()).unwrap().close().unwrap();
    let db = Db::builder(dir.path()).chunk_bytes(1 << 30).address_space_bytes(1 << 26).open();
    assert!(db.is_ok());
}

/// It left a superblock, a log and a data file, or some of them.
#[test]
fn a_creation_without_room_leaves_no_trace() {
    let options = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let options = options.address_space_bytes(1 << 26);
    let mut refused_count = 0;
    for pages in 0.. {
        let disk = Memory::new();
        disk.set_capacity(Some(pages * 4096));
        let opened = options.clone().open_on(disk.clone());
        let Err(error) = opened else { break };
        refused_count += 1;
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{pages} pages: {error}");
        assert_eq!(disk.list("").unwrap(), [""; 0], "{pages} pages");
        // It said that there was no space, but not how much it wanted.
        assert!(error.to_string().contains("takes 1 MiB"), "{pages} pages: {error}");
    }
    assert!(refused_count > 10, "log and data file take room");
}

#[test]
fn what_was_created_and_not_used_is_taken_back() {
    let base = tempfile::tempdir().unwrap();
    let (made, found) = (base.path().join("made"), base.path().join("found"));
    fs::create_dir(&found).unwrap();
    let open = |path: &std::path::Path| Db::open(path).unwrap();
    let entries = |path: &std::path::Path| fs::read_dir(path).unwrap().count();

    assert!(open(&made).close_unused().unwrap());
    assert!(!made.exists());
    assert!(open(&found).close_unused().unwrap());
    assert_eq!(entries(&found), 0, "the directory was there before");

    let db = open(&made);
    let clone = db.clone();
    fs::write(made.join("of another"), "x").unwrap();
    assert!(db.close_unused().unwrap());
    assert_eq!(entries(&made), 1);
    assert_eq!(clone.put("a", "1").unwrap_err().kind(), ErrorKind::Closed);
    assert!(clone.get("a").unwrap().is_none());
    assert!(clone.close().is_ok(), "closing again says what the first has said");

    let db = open(&found);
    db.put("a", "1").unwrap();
    db.delete("a").unwrap();
    assert!(!db.close_unused().unwrap(), "it was written to");
    assert!(!open(&found).close_unused().unwrap(), "an earlier opening has created it");
    assert!(open(&found).recovery_report().clean);
}

/// What is only in memory yet was acknowledged as well.
#[test]
fn what_is_not_durable_yet_is_a_use() {
    let base = tempfile::tempdir().unwrap();
    let db = Db::builder(base.path()).durability(Durability::Manual).open().unwrap();
    db.put("a", "1").unwrap();
    assert!(!db.close_unused().unwrap());
    assert_eq!(Db::open(base.path()).unwrap().get("a").unwrap().unwrap(), b"1");
    let empty = tempfile::tempdir().unwrap();
    Db::open(empty.path()).unwrap().table("t").unwrap();
    assert!(Db::open(empty.path()).unwrap().find_table("t").unwrap().is_some());
}

/// A loss of power at any moment leaves a whole empty database, or a place for a new one.
#[test]
fn a_loss_of_power_while_it_is_taken_back() {
    let options = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let options = options.address_space_bytes(1 << 26).background(false);
    let mut failed_count = 0;
    for call in 1.. {
        let disk = Memory::new();
        let db = options.clone().open_on(disk.clone()).unwrap();
        // There is a segment ahead.
        while db.step().unwrap() {}
        disk.fail(Fault::new(FaultKind::Name, call).errno(5));
        let taken_back = db.close_unused();
        failed_count += usize::from(taken_back.is_err());
        for seed in 0..4 {
            let left = disk.crash_with(seed);
            let db = options.clone().open_on(left).unwrap();
            assert!(db.is_empty());
            db.put("a", "1").unwrap();
        }
        if taken_back.is_ok() {
            break;
        }
    }
    assert!(failed_count > 3, "it removes files one by one");
}

/// Only the first block was looked at: a data file whose beginning is a hole was removed.
#[test]
fn a_file_that_begins_with_zeros_is_not_taken_for_an_interrupted_creation() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    let file = dir.path().join("data/records.uarr");
    let content = [vec![0; 1 << 20], b"what somebody has left".to_vec()].concat();
    fs::write(&file, &content).unwrap();
    let error = Db::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    assert_eq!(fs::read(&file).unwrap(), content);
}

/// An opener that had waited for the lock was told that its directory is missing.
#[test]
fn who_waits_for_what_is_taken_back_makes_it_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    for _ in 0..3 {
        let first = Db::open(&path).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Db::open(&path));
            // It may not wait yet: then it proves nothing, and passes.
            std::thread::sleep(Duration::from_millis(20));
            assert!(first.close_unused().unwrap());
            let second = second.join().unwrap().unwrap();
            assert!(second.close_unused().unwrap());
        });
        assert!(!path.exists());
    }
}

/// Made and taken away quickly.
fn tiny(path: &std::path::Path) -> Builder {
    let sizes = Db::builder(path).segment_bytes(1 << 18).chunk_bytes(1 << 16);
    sizes.address_space_bytes(1 << 26).commit_path(CommitPath::Fixed(CommitStrategy::Syscall))
}

/// Tells threads that it is over, whatever happens.
struct EndAtDrop<'a>(&'a AtomicBool);

impl Drop for EndAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Another opener had made the directory, and taken it away again in between: opening failed with
/// `NotFound`, though it was to make one.
#[test]
fn a_directory_that_comes_and_goes_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = fs::create_dir(&path).and_then(|()| fs::remove_dir(&path));
                }
            });
        }
        let _end = EndAtDrop(&is_over);
        let mut opened = (0..150).map(|_| match tiny(&path).open() {
            Ok(db) => db.close_unused().map(drop),
            // It has been tried often.
            Err(error) if error.kind() == ErrorKind::Io => Ok(()),
            Err(error) => Err(error),
        });
        opened.try_for_each(|opened| opened).unwrap();
    });
}

/// Readers were told of damage, or that the directory cannot be used.
#[test]
fn readers_find_a_database_that_is_taken_back_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let is_over = AtomicBool::new(false);
    let read = || {
        let reader = Db::open_read_only(&path)?;
        assert_eq!(reader.count_keys()?, 0);
        let report = reader.verify(|_| {})?;
        assert!(report.is_clean(), "{:?}", report.damages);
        Ok(())
    };
    std::thread::scope(|scope| {
        let _end = EndAtDrop(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let read: uarr::Result<()> = read();
                    if let Err(error) = read {
                        let kind = error.kind();
                        let expected = [ErrorKind::NotFound, ErrorKind::Overtaken];
                        assert!(expected.contains(&kind), "{error:?}");
                    }
                }
            });
        }
        for _ in 0..100 {
            let db = tiny(&path).background(false).open().unwrap();
            assert!(db.close_unused().unwrap());
        }
    });
}
