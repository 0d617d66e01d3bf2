//! One opener at a time, even if names change; and the engine touches no file but its own.
//!
//! Promises proved: while a database is open no other opener gets it, by any path, with the lock
//! file removed, replaced or renamed; the error says who has it. A directory with files of others
//! is left as it is, and so is what links point to. A directory may be renamed while its database
//! is open. A forked process changes nothing.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use uarr::inspect::{Inspector, superblock};
use uarr::repair::{RepairMode, repair};
use uarr::{BackendChoice, Db, Durability, Error, ErrorKind};
use uarr_disk_sim::Memory;
use uarr_disk_sim::refuse::in_fork;
use uarr_tests::late_lock::LateLock;
use uarr_tests::{scratch, small, tiny};

#[track_caller]
fn check<T>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let error = result.err().expect("an error");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

/// Everything below a directory: files with their content, links with their target, folders.
fn content(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        let kind = fs::symlink_metadata(&entry).unwrap().file_type();
        if kind.is_dir() {
            all.extend(content(&entry));
            all.insert(entry, Vec::new());
        } else if kind.is_symlink() {
            let target = fs::read_link(&entry).unwrap();
            all.insert(entry, target.as_os_str().as_encoded_bytes().to_vec());
        } else {
            all.insert(entry.clone(), fs::read(entry).unwrap());
        }
    }
    all
}

#[test]
fn a_lock_file_that_is_gone_lets_nobody_in() {
    let base = scratch();
    let (path, by_link) = (base.path().join("db"), base.path().join("link"));
    symlink(&path, &by_link).unwrap();
    let open = |path: &Path| small(path).open();
    let db = open(&path).unwrap();
    db.put("before", b"1").unwrap();
    let here = format!("open in this process ({})", std::process::id());
    check(open(&path), ErrorKind::Locked, &[&here, "drop all of its handles", "clones"]);

    fs::remove_file(path.join("lock")).unwrap();
    check(open(&by_link), ErrorKind::Locked, &["open already"]);
    check(Inspector::open(&path), ErrorKind::Locked, &["open already"]);
    fs::write(path.join("lock"), "").unwrap();
    check(open(&path), ErrorKind::Locked, &["open already"]);

    // A clone that lives on after the other was dropped still has it open.
    let clone = db.clone();
    drop(db);
    check(open(&path), ErrorKind::Locked, &[]);
    clone.put("after", b"2").unwrap();
    clone.close().unwrap();
    let db = open(&path).unwrap();
    assert_eq!(db.iter().count(), 2);
    db.close().unwrap();
}

/// `repair`, `inspect` and `log-dump` listed the log and then waited for the lock: a segment that
/// the other process removed when it closed could not be opened, and one that it began was left out
/// without a word.
#[test]
fn what_is_inspected_is_what_the_one_before_left() {
    let records_in = |source: &Inspector<LateLock>| {
        let target = tiny().open_on(Memory::new()).unwrap();
        let report = repair(source, &target, RepairMode::Tolerate).unwrap();
        assert_eq!(report.damage_count, 0, "{report:?}");
        target.len()
    };
    let fill = |db: &Db<Memory>, count: u64| {
        for number in 0..count {
            db.put(number, vec![7; 1 << 15]).unwrap();
        }
    };

    let disk = Memory::new();
    let db = tiny().open_on(disk.clone()).unwrap();
    fill(&db, 1);
    let begin_segments = move || {
        fill(&db, 40);
        drop(db);
    };
    let source = Inspector::open_on(LateLock::new(disk.clone(), begin_segments), "memory").unwrap();
    assert_eq!(records_in(&source), 40);
    assert!(source.segments().len() > 1, "some were begun: {:?}", source.segments());
    drop(source);

    let db = tiny().open_on(disk.clone()).unwrap();
    fill(&db, 40);
    let close = move || db.close().unwrap();
    let source = Inspector::open_on(LateLock::new(disk, close), "memory").unwrap();
    assert_eq!(records_in(&source), 40);
}

#[test]
fn the_superblock_can_be_read_while_a_database_is_open() {
    let base = scratch();
    let path = base.path().join("db");
    let missing = superblock(&path).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(superblock(base.path()).unwrap().is_none(), "a directory without a database");
    let db = small(&path).open().unwrap();
    let before = content(&path);
    let read = superblock(&path).unwrap().expect("a database");
    assert_eq!(read.block_bytes.get(), db.stats().block_bytes);
    assert_eq!(read.strategy_ns.map(|ns| ns.get()), db.stats().strategy_ns);
    assert_eq!(content(&path), before, "nothing is written, the lock neither");
    db.close().unwrap();
    let file = path.join("superblock");
    let bytes = fs::metadata(&file).unwrap().len() as usize;
    fs::write(&file, vec![0x5a; bytes]).unwrap();
    let damaged = superblock(&path).unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Corruption, "{damaged}");
}

#[test]
fn a_directory_with_files_of_others_is_left_alone() {
    for foreign in [
        "thesis.txt",
        "data/thesis.txt",
        "data/records.uarr",
        "data/records.uarr.old",
        "data/records/a",
        "wal/notes.txt",
        "wal/1.wal",
        "wal/+000000000000001.wal",
        "wal/0000000000000001.wal",
        "wal/000000000000000A.wal",
        "wal/segment",
        "index/notes.txt",
        "index/1.img",
        "index/0000000000000001.img",
        "superblock.new",
        "superblock.old",
        "lock",
        "lock/file",
        "data",
        "wal",
        "index",
        "superblock.new/file",
    ] {
        let base = scratch();
        let file = base.path().join(foreign);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "precious").unwrap();
        let before = content(base.path());
        let error = small(base.path()).open().expect_err(foreign);
        let is_ours = foreign.contains("/000000000000000") || foreign == "data/records.uarr";
        let expected = if is_ours && !foreign.contains('A') {
            // It looks like a database that has lost its superblock.
            ErrorKind::Corruption
        } else {
            assert!(error.to_string().contains(foreign.split('/').next().unwrap()), "{error}");
            ErrorKind::NotADatabase
        };
        assert_eq!(error.kind(), expected, "{foreign}: {error}");
        let mut after = content(base.path());
        // A lock file may be left.
        if !before.contains_key(&base.path().join("lock")) {
            after.remove(&base.path().join("lock"));
        }
        assert_eq!(after, before, "{foreign}");
    }
}

#[test]
fn no_link_is_followed_and_nothing_behind_it_changes() {
    for name in [
        "superblock",
        "lock",
        "data",
        "wal",
        "index",
        "data/records.uarr",
        "wal/0000000000000001.wal",
        "superblock.new",
    ] {
        for is_dangling in [false, true] {
            let base = scratch();
            let (path, outside) = (base.path().join("db"), base.path().join("outside"));
            let link = path.join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            if !is_dangling {
                fs::create_dir(&outside).unwrap();
                fs::write(outside.join("file"), "precious").unwrap();
            }
            let is_folder = ["data", "wal", "index"].contains(&name);
            symlink(if is_folder { outside.clone() } else { outside.join("file") }, &link).unwrap();
            let before = content(base.path());
            check(small(&path).open(), ErrorKind::NotADatabase, &[name, "symbolic link"]);
            let mut after = content(base.path());
            if name != "lock" {
                after.remove(&path.join("lock"));
            }
            assert_eq!(after, before, "{name}, dangling: {is_dangling}");
        }
    }
}

/// A user has moved a file of a database to another disk and left a link in its place.
#[test]
fn a_link_in_a_database_is_named_with_what_to_do() {
    for name in ["superblock", "lock", "data", "wal", "data/records.uarr"] {
        let base = scratch();
        let (path, away) = (base.path().join("db"), base.path().join("away"));
        let db = small(&path).open().unwrap();
        db.put("a", b"1").unwrap();
        db.close().unwrap();
        fs::rename(path.join(name), &away).unwrap();
        symlink(&away, path.join(name)).unwrap();
        let before = content(base.path());
        let opened = small(&path).open();
        check(opened, ErrorKind::NotADatabase, &[name, "symbolic link", "put there what it names"]);
        let mut after = content(base.path());
        if name != "lock" {
            // It says who looked.
            after.insert(path.join("lock"), before[&path.join("lock")].clone());
        }
        assert_eq!(after, before, "{name}");
        fs::remove_file(path.join(name)).unwrap();
        fs::rename(&away, path.join(name)).unwrap();
        assert!(small(&path).open().unwrap().contains("a").unwrap());
    }
}

/// Files of others beside those of a database stay when it is used; also names that are like ours.
#[test]
fn files_of_others_stay_in_a_database_that_is_used() {
    let base = scratch();
    let path = base.path().join("db");
    small(&path).open().unwrap().close().unwrap();
    let foreign = [
        "notes.txt",
        "superblock.bak",
        "data/notes.txt",
        "wal/notes.txt",
        "wal/+000000000000009.wal",
        "wal/00000000000000FF.wal",
        "index/notes.txt",
        "index/9.img",
        "index/00000000000000FF.img",
        "index/+000000000000009.img",
    ];
    for name in foreign {
        fs::write(path.join(name), "precious").unwrap();
    }
    for round in 0..3 {
        let db = small(&path).open().unwrap();
        for step in 0..20u64 {
            db.put(format!("{step}"), vec![round; 20_000]).unwrap();
            db.checkpoint().unwrap();
        }
        let report = db.verify(|_| {}).unwrap();
        assert!(report.damages.is_empty(), "{report:?}");
        db.close().unwrap();
    }
    for name in foreign {
        assert_eq!(fs::read(path.join(name)).unwrap(), b"precious", "{name}");
    }
}

//= test SUP-7
#[test]
fn a_creation_that_was_interrupted_is_begun_again() {
    let base = scratch();
    for dir in ["data", "wal", "index"] {
        fs::create_dir(base.path().join(dir)).unwrap();
    }
    let zeros = |name: &str, bytes: usize| {
        fs::write(base.path().join(name), vec![0; bytes]).unwrap();
    };
    zeros("data/records.uarr", 1 << 16);
    zeros("wal/0000000000000001.wal", 1 << 18);
    zeros("wal/segment.new", 1 << 17);
    zeros("wal/tune.new", 4096);
    zeros("superblock.new", 1 << 17);
    zeros("lock", 5);
    fs::create_dir(base.path().join("lost+found")).unwrap();
    fs::create_dir(base.path().join("wal/lost+found")).unwrap();
    let db = small(base.path()).open().unwrap();
    db.put("a", b"1").unwrap();
    db.close().unwrap();
    assert!(base.path().join("wal/lost+found").exists());
    assert!(!base.path().join("superblock.new").exists());
    assert!(small(base.path()).open().unwrap().contains("a").unwrap());
}

#[test]
fn a_directory_may_be_renamed_while_its_database_is_open() {
    let base = scratch();
    let (before, after) = (base.path().join("building"), base.path().join("live"));
    let db = small(&before).open().unwrap();
    db.put("first", b"1").unwrap();
    fs::rename(&before, &after).unwrap();
    // Another database where it was, as the next build of an application would make it.
    let next = small(&before).open().unwrap();
    for step in 0..40u64 {
        db.put(format!("{step}"), vec![1; 20_000]).unwrap();
        next.put(format!("next {step}"), vec![2; 20_000]).unwrap();
        if step % 8 == 0 {
            db.checkpoint().unwrap();
            next.checkpoint().unwrap();
        }
    }
    db.tune().unwrap();
    for db in [&db, &next] {
        assert!(db.verify(|_| {}).unwrap().damages.is_empty());
    }
    check(small(&after).open(), ErrorKind::Locked, &[]);
    db.close().unwrap();
    next.close().unwrap();
    for (path, count) in [(&after, 41), (&before, 40)] {
        assert_eq!(fs::read_dir(path.join("index")).unwrap().count(), 2, "old images are removed");
        assert_eq!(small(path).open().unwrap().iter().count(), count);
    }
}

/// A thread of the parent may hold any lock in the moment of the fork: a forked process that took
/// one to end a transaction waited for ever.
#[test]
fn a_forked_process_that_drops_transactions_and_snapshots_does_not_wait() {
    let base = scratch();
    let db = small(base.path()).durability(Durability::Manual).open().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut batch = db.batch();
                    (0..200_u64).for_each(|key| _ = batch.put(key.to_be_bytes(), b"v"));
                    batch.commit().unwrap();
                    drop(db.snapshot());
                }
            });
        }
        let (mut transaction, mut snapshot) = (Some(db.begin().unwrap()), Some(db.snapshot()));
        for _ in 0..40 {
            let drop_all = || {
                drop(transaction.take());
                drop(snapshot.take());
            };
            assert!(in_fork(drop_all).unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    db.close().unwrap();
}

/// As above, of ranges. Each end of a snapshot takes the lock that the end of a range takes.
#[test]
fn a_forked_process_that_drops_ranges_does_not_wait() {
    let base = scratch();
    let db = small(base.path()).durability(Durability::Manual).open().unwrap();
    db.put("a", b"1").unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    drop(db.snapshot());
                }
            });
        }
        let snapshot = db.snapshot();
        for _ in 0..40 {
            let (mut range, mut shared) = (Some(db.iter()), Some(snapshot.iter()));
            assert!(range.as_mut().unwrap().next().is_some());
            let drop_all = || {
                drop(range.take());
                drop(shared.take());
            };
            assert!(in_fork(drop_all).unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    db.close().unwrap();
}

#[test]
fn a_forked_process_that_drops_its_handles_changes_nothing() {
    for backend in [BackendChoice::Auto, BackendChoice::Syscalls] {
        for background in [false, true] {
            let base = scratch();
            let open = || small(base.path()).backend(backend).background(background).open();
            let mut db = Some(open().unwrap());
            let get = |db: &Option<Db>| db.clone().unwrap();
            get(&db).put("before", b"1").unwrap();
            let went_well = in_fork(|| {
                let clone = get(&db);
                check(clone.close(), ErrorKind::Closed, &["forked"]);
                drop(db.take());
            });
            assert!(went_well.unwrap(), "{backend:?}");
            check(open(), ErrorKind::Locked, &["this process"]);
            let db = db.unwrap();
            db.put("after", b"2").unwrap();
            db.checkpoint().unwrap();
            db.close().unwrap();
            let db = open().unwrap();
            assert_eq!(db.iter().count(), 2);
            db.close().unwrap();
        }
    }
}
