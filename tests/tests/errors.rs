//! Everything a user can get wrong, and everything a disk can refuse.
//!
//! Promise proved: bad arguments, a missing or read-only directory, foreign files, a second opener,
//! another format and a full disk each give an error of the right kind with a message that says
//! what to do, and the database opens and is complete afterwards.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use uarr::{
    BATCH_BYTES_MAX, Db, Durability, ErrorKind, KEY_BYTES_MAX, KeyKind, VALUE_BYTES_MAX,
    VerifyPolicy,
};
use uarr_disk_sim::Memory;
use uarr_layout::limits::FORMAT_VERSION;
use uarr_layout::superblock::{SLOT_BYTES, SLOT_STRIDE_BYTES, Superblock};
use uarr_tests::{scratch, small, tiny};
use uarr_uring::Storage;

#[track_caller]
fn check<T>(result: uarr::Result<T>, kind: ErrorKind, words: &[&str]) {
    let error = result.err().expect("this must fail");
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "'{word}' is not in: {error}");
    }
}

/// A database with one record; `complete` finds it again.
fn with_one_record(path: &Path) {
    let db = small(path).open().unwrap();
    db.put("a", b"1").unwrap();
    db.close().unwrap();
}

#[track_caller]
fn complete(path: &Path) {
    let db = small(path).open().unwrap();
    assert_eq!(&*db.get("a").unwrap().unwrap(), b"1");
    assert!(db.verify(|_| {}).unwrap().is_clean());
    db.close().unwrap();
}

#[test]
fn a_directory_that_is_not_there() {
    let base = scratch();
    let missing = base.path().join("missing");
    check(small(&missing).create(false).open(), ErrorKind::NotFound, &["missing", "exist"]);
    assert!(!missing.exists(), "nothing was made");
    let empty = base.path().join("empty");
    fs::create_dir(&empty).unwrap();
    check(small(&empty).create(false).open(), ErrorKind::NotFound, &["empty"]);
    let deep = base.path().join("a/b/c");
    let error = small(&deep).open().expect_err("the parent is missing");
    for part in ["a/b/c", "a/b, does not exist; make that first"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    with_one_record(&missing);
    complete(&missing);
}

#[test]
fn a_file_instead_of_a_directory() {
    let base = scratch();
    let file = base.path().join("file");
    fs::write(&file, "precious").unwrap();
    for create in [false, true] {
        let opened = small(&file).create(create).open();
        check(opened, ErrorKind::NotADatabase, &["not a directory"]);
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn foreign_files_are_left_alone() {
    let base = scratch();
    let foreign = base.path().join("thesis.txt");
    fs::write(&foreign, "precious").unwrap();
    check(small(base.path()).open(), ErrorKind::NotADatabase, &["thesis.txt"]);
    assert_eq!(fs::read(&foreign).unwrap(), b"precious");
    fs::remove_file(&foreign).unwrap();
    with_one_record(base.path());
    // Beside a database they disturb no user of it.
    fs::write(&foreign, "precious").unwrap();
    complete(base.path());
    assert_eq!(fs::read(&foreign).unwrap(), b"precious");
}

/// Without its superblock a database does not pass for a new directory: the records are still
/// there.
#[test]
fn a_missing_superblock_is_no_empty_database() {
    let base = scratch();
    with_one_record(base.path());
    let other = scratch();
    let (there, away) = (base.path().join("superblock"), other.path().join("superblock"));
    fs::rename(&there, &away).unwrap();
    let opened = small(base.path()).open();
    fs::rename(&away, &there).unwrap();
    check(opened, ErrorKind::Corruption, &["superblock"]);
    complete(base.path());
}

#[test]
fn a_second_process_is_told_who_has_the_database() {
    let base = scratch();
    let mut child = Command::new(env!("CARGO_BIN_EXE_writer"))
        .arg(base.path())
        .args(["bytes", "sync", "1", "open", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.starts_with("open"), "{line}");
    // The child must not wait for a reader of what it prints.
    let reader = std::thread::spawn(move || output.lines().count());
    let opened = small(base.path()).open();
    let pid = child.id().to_string();
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    check(opened, ErrorKind::Locked, &[&pid]);
    with_one_record(base.path());
    complete(base.path());
}

#[test]
fn one_process_cannot_open_twice() {
    let base = scratch();
    let db = small(base.path()).open().unwrap();
    db.put("a", b"1").unwrap();
    check(small(base.path()).open(), ErrorKind::Locked, &[]);
    db.put("b", b"2").unwrap();
    db.close().unwrap();
    complete(base.path());
}

#[test]
fn another_format_is_refused_by_name() {
    let base = scratch();
    with_one_record(base.path());
    let path = base.path().join("superblock");
    let old = fs::read(&path).unwrap();
    let others = [
        (FORMAT_VERSION.0, FORMAT_VERSION.1 + 1),
        (FORMAT_VERSION.0 + 1, 0),
        (FORMAT_VERSION.0 - 1, 1),
        (0, 0),
    ];
    for version in others {
        let mut bytes = old.clone();
        for slot in 0..2 {
            let start = slot * SLOT_STRIDE_BYTES as usize;
            let slot = &mut bytes[start..start + SLOT_BYTES];
            if let Some(block) = Superblock::from_slot(slot).unwrap() {
                slot.copy_from_slice(&of_version(&block, version));
            }
        }
        fs::write(&path, &bytes).unwrap();
        let named = format!("{}.{}", version.0, version.1);
        check(small(base.path()).open(), ErrorKind::OtherFormat, &["superblock", &named]);
        assert_eq!(fs::read(&path).unwrap(), bytes, "it was not touched");
    }
    fs::write(&path, &old).unwrap();
    complete(base.path());
}

/// A slot like `block`, as a program of another version would have written it. The place of the
/// version number is the same in all versions: behind magic and checksum.
fn of_version(block: &Superblock, version: (u16, u16)) -> Vec<u8> {
    const VERSION_OFFSET: usize = 12;
    let mut slot = block.to_slot();
    slot[VERSION_OFFSET..VERSION_OFFSET + 2].copy_from_slice(&version.0.to_le_bytes());
    slot[VERSION_OFFSET + 2..VERSION_OFFSET + 4].copy_from_slice(&version.1.to_le_bytes());
    let crc = uarr_layout::checksum::crc32c(&[&slot[VERSION_OFFSET..]]);
    slot[8..12].copy_from_slice(&crc.to_le_bytes());
    slot
}

#[test]
fn the_kind_of_the_keys_is_fixed() {
    let base = scratch();
    with_one_record(base.path());
    check(
        small(base.path()).keys(KeyKind::U64).open(),
        ErrorKind::InvalidArgument,
        &["bytes", "u64", "ask for bytes"],
    );
    complete(base.path());
    let numbers = scratch();
    let db = small(numbers.path()).keys(KeyKind::U64).open().unwrap();
    check(db.put("text", b""), ErrorKind::InvalidArgument, &["u64"]);
    check(db.get(-1i64), ErrorKind::InvalidArgument, &["i64"]);
    check(db.prefix("te"), ErrorKind::InvalidArgument, &["prefix"]);
    check(db.batch().put(1u64, b"").put(2i64, b"").commit(), ErrorKind::InvalidArgument, &["i64"]);
    assert_eq!(db.iter().count(), 0, "nothing of the batch was written");
}

#[test]
fn lengths_are_checked_before_anything_is_written() {
    let base = scratch();
    let db = small(base.path()).open().unwrap();
    let longest = vec![7; KEY_BYTES_MAX];
    db.put(&longest, b"1").unwrap();
    check(db.put("", b"1"), ErrorKind::InvalidArgument, &["1 byte"]);
    check(db.put(vec![7; KEY_BYTES_MAX + 1], b"1"), ErrorKind::InvalidArgument, &["65535"]);
    check(db.get(vec![7; KEY_BYTES_MAX + 1]), ErrorKind::InvalidArgument, &["65535"]);
    // Zeros that no reader touches cost no memory.
    let too_long = vec![0u8; VALUE_BYTES_MAX + 1];
    let limit = VALUE_BYTES_MAX.to_string();
    check(db.put("a", &too_long), ErrorKind::InvalidArgument, &[&limit]);
    const { assert!(VALUE_BYTES_MAX < BATCH_BYTES_MAX) };
    assert_eq!(db.iter().count(), 1);
    db.put("a", b"1").unwrap();
    db.close().unwrap();
    complete(base.path());
}

#[test]
fn options_have_limits() {
    let base = scratch();
    let invalid = |builder: uarr::Builder, word: &str| {
        check(builder.open(), ErrorKind::InvalidArgument, &[word]);
    };
    let path = base.path().join("db");
    invalid(Db::builder(&path).group_bytes(1000), "group_bytes");
    invalid(Db::builder(&path).group_bytes(1 << 21), "group_bytes");
    invalid(Db::builder(&path).segment_bytes(1000), "segment_bytes");
    invalid(Db::builder(&path).segment_bytes((1 << 20) + 1), "segment_bytes");
    invalid(Db::builder(&path).chunk_bytes(1 << 15), "chunk_bytes");
    invalid(Db::builder(&path).address_space_bytes(1), "address_space_bytes");
    let interval = Durability::Interval(std::time::Duration::ZERO);
    invalid(Db::builder(&path).durability(interval), "1 ms");
    with_one_record(&path);
    complete(&path);
}

/// Another program changes a byte of a record in the data file: the policy decides which call
/// notices it.
#[test]
fn the_policy_decides_when_a_damaged_record_is_noticed() {
    const VALUE: &[u8] = b"a value that stands once in the file";
    for policy in [VerifyPolicy::Never, VerifyPolicy::FirstTouch, VerifyPolicy::Always] {
        for reopened in [false, true] {
            let base = scratch();
            let open = || small(base.path()).verify(policy).open().unwrap();
            let db = open();
            db.put("a", VALUE).unwrap();
            let still_open = if reopened { db.close().map(|()| None).unwrap() } else { Some(db) };
            let path = base.path().join("data/records.uarr");
            let bytes = fs::read(&path).unwrap();
            let offset = bytes.windows(VALUE.len()).position(|window| window == VALUE).unwrap();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(b"A", offset as u64).unwrap();
            let db = still_open.unwrap_or_else(open);
            let noticed = match policy {
                VerifyPolicy::Never => false,
                VerifyPolicy::FirstTouch => reopened,
                _ => true,
            };
            match noticed {
                true => {
                    check(db.get("a"), ErrorKind::Corruption, &["data/records.uarr", "address"])
                }
                false => assert_eq!(db.get("a").unwrap().unwrap()[0], b'A'),
            }
            let report = db.verify(|_| {}).unwrap();
            assert!(!report.is_clean(), "verify looks at everything, whatever the policy");
        }
    }
}

/// A mounted tmpfs, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` if this process may not mount; the reason is printed.
    fn new(path: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).output();
        match output {
            Ok(output) if output.status.success() => Some(Self(path)),
            Ok(output) => {
                println!("skipped: mount: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: there is no mount: {error}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(status.success(), "remount {options}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: after a failed check the database may still be open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_read_only_file_system_is_named_and_nothing_is_lost() {
    let base = scratch();
    let Some(mounted) = Mounted::new(base.path().join("mounted"), "size=32m") else { return };
    let path = mounted.0.join("db");
    with_one_record(&path);
    mounted.remount("ro");
    check(small(&path).open(), ErrorKind::PermissionDenied, &["db"]);
    check(small(mounted.0.join("new")).open(), ErrorKind::PermissionDenied, &["new"]);
    mounted.remount("rw");
    complete(&path);
}

fn filler(number: u64) -> Vec<u8> {
    (0..3000u64).map(|i| (number * 31 + i) as u8).collect()
}

#[track_caller]
fn check_numbers<S: Storage>(db: &Db<S>, count: u64) {
    for number in 0..count {
        let record = db.get(number).unwrap();
        assert_eq!(record.as_deref(), Some(&filler(number)[..]), "record {number} of {count}");
    }
}

/// Writes until there is no room, for a while: later attempts fail in the same way. Returns how
/// many succeeded.
fn fill<S: Storage>(db: &Db<S>) -> u64 {
    let mut count = 0;
    let full = loop {
        match db.put(count, filler(count)) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 100_000, "the disk never becomes full");
    };
    assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
    for _ in 0..5 {
        if let Err(error) = db.put(u64::MAX, vec![0; 200_000]) {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        }
    }
    count
}

/// A real full disk (tmpfs): reads go on, reopening works and finds everything, and with more room
/// writes work again, without reopening and after it.
#[test]
fn a_full_disk_loses_nothing_and_works_again_with_more_room() {
    let base = scratch();
    let Some(mounted) = Mounted::new(base.path().join("mounted"), "size=6m") else { return };
    let path = mounted.0.join("db");
    let open = || small(&path).keys(KeyKind::U64).open();
    let db = open().unwrap();
    let count = fill(&db);
    println!("{count} records fit");
    assert!(count > 100);
    check_numbers(&db, count);
    drop(db);
    // Still full.
    let db = open().unwrap();
    check_numbers(&db, count);
    assert_eq!(
        db.iter().filter(|record| record.as_ref().unwrap().len() == 3000).count(),
        count as usize
    );
    mounted.remount("size=24m");
    for number in count..count + 200 {
        db.put(number, filler(number)).unwrap();
    }
    check_numbers(&db, count + 200);
    db.close().unwrap();
    let db = open().unwrap();
    check_numbers(&db, count + 200);
    assert!(db.verify(|_| {}).unwrap().is_clean());
}

/// The same at every possible limit, on a disk in memory.
#[test]
fn a_disk_that_becomes_full_anywhere_loses_nothing() {
    for step in 0..60 {
        let disk = Memory::new();
        let open = |disk: &Memory| {
            tiny().keys(KeyKind::U64).checkpoint_log_bytes(1 << 19).open_on(disk.clone())
        };
        let db = open(&disk).unwrap();
        disk.set_capacity(Some(disk.used_bytes() + step * 41_000));
        let count = fill(&db);
        check_numbers(&db, count);
        // A checkpoint may succeed or not; it must not harm.
        if let Err(error) = db.checkpoint() {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "step {step}: {error}");
        }
        check_numbers(&db, count);
        disk.set_capacity(None);
        for number in count..count + 50 {
            db.put(number, filler(number)).unwrap_or_else(|error| panic!("step {step}: {error}"));
        }
        drop(db);
        let db = open(&disk.crash()).unwrap();
        check_numbers(&db, count + 50);
        assert!(db.verify(|_| {}).unwrap().is_clean(), "step {step}");
    }
}

/// A write beyond the address space fails, and is not acknowledged; in a larger one it succeeds.
#[test]
fn a_data_file_at_the_end_of_its_address_space_takes_no_more_and_keeps_what_it_has() {
    let disk = Memory::new();
    let open = |disk: &Memory, address_space_bytes| {
        Db::builder("memory")
            .keys(KeyKind::U64)
            .segment_bytes(1 << 20)
            .chunk_bytes(1 << 20)
            .address_space_bytes(address_space_bytes)
            .background(false)
            .open_on(disk.clone())
            .unwrap()
    };
    let db = open(&disk, 1 << 26);
    let value = vec![7; 600 << 10];
    let mut count = 0u64;
    let error = loop {
        match db.put(count, &value) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 200, "the address space has 64 MiB");
    };
    check::<()>(Err(error), ErrorKind::NoSpace, &["address_space_bytes", "67108864", "larger"]);
    assert!(count > 50, "{count}");
    assert!(db.get(count - 1).unwrap().is_some());
    assert!(db.get(count).unwrap().is_none());
    drop(db);
    let db = open(&disk.crash(), 1 << 27);
    (0..count).for_each(|number| assert_eq!(&*db.get(number).unwrap().unwrap(), &value[..]));
    assert!(db.get(count).unwrap().is_none());
    db.put(count, &value).unwrap();
    assert!(db.verify(|_| {}).unwrap().is_clean());
}
