//! The lock of a directory: what it holds out against, and what it holds it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uarr_uring::{
    BackendChoice, CommitStrategy, GroupWrite, Holder, LockError, LogWriter, LogWriterOptions,
    OpenMode, Storage, StorageFile, System, SystemLock, SystemOptions,
};

const BLOCK: usize = 4096;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn open(path: &Path) -> System {
    System::open(path, SystemOptions { backend: BackendChoice::Auto }).unwrap()
}

fn try_lock(path: &Path) -> Result<SystemLock, LockError> {
    open(path).lock("lock", Duration::ZERO)
}

#[track_caller]
fn assert_held(path: &Path, expected: Holder) {
    match try_lock(path) {
        Err(LockError::Held(holder)) => assert_eq!(holder, expected),
        other => panic!("the lock was held, but: {other:?}"),
    }
}

#[test]
fn whatever_happens_to_the_file_there_is_one_holder() {
    let top = scratch();
    let (path, linked) = (top.path().join("db"), top.path().join("by-link"));
    fs::create_dir(&path).unwrap();
    symlink(&path, &linked).unwrap();
    let lock = open(&path).lock("lock", Duration::ZERO).unwrap();
    assert_held(&linked, Holder::ThisProcess);
    fs::remove_file(path.join("lock")).unwrap();
    assert_held(&path, Holder::Unknown);
    assert!(!path.join("lock").exists(), "who does not get the lock leaves nothing behind");
    fs::write(path.join("lock"), "").unwrap();
    assert_held(&path, Holder::Unknown);
    fs::rename(path.join("lock"), path.join("away")).unwrap();
    assert!(try_lock(&path).is_err());
    // By another name, too, it is the same directory; and a copy is another.
    let moved = top.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    assert!(try_lock(&moved).is_err());
    fs::create_dir(&path).unwrap();
    drop(try_lock(&path).unwrap());
    drop(lock);
    drop(try_lock(&moved).unwrap());
}

/// As a program would hold it that knows nothing of the lock of the directory.
#[test]
fn the_file_alone_is_respected() {
    let top = scratch();
    drop(try_lock(top.path()).unwrap());
    let file = fs::File::open(top.path().join("lock")).unwrap();
    file.lock().unwrap();
    assert_held(top.path(), Holder::ThisProcess);
    drop(file);
    drop(try_lock(top.path()).unwrap());
}

#[test]
fn a_file_that_is_not_a_lock_file_is_left_alone() {
    let top = scratch();
    let outside = top.path().join("outside");
    let path = top.path().join("db");
    fs::create_dir(&path).unwrap();
    fs::write(&outside, "precious").unwrap();
    let lock = path.join("lock");
    let check = |word: &str| match try_lock(&path) {
        Err(LockError::Io(error)) => {
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            let text = error.to_string();
            assert!(text.contains("db/lock") && text.contains(word), "{text}");
        }
        other => panic!("a foreign file, but: {other:?}"),
    };
    fs::write(&lock, "precious").unwrap();
    check("not the lock file");
    assert_eq!(fs::read(&lock).unwrap(), b"precious");
    fs::remove_file(&lock).unwrap();
    symlink(&outside, &lock).unwrap();
    check("symbolic link");
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
    fs::remove_file(&lock).unwrap();
    symlink(top.path().join("none"), &lock).unwrap();
    check("symbolic link");
    assert!(!top.path().join("none").exists());
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    check("directory");
    fs::remove_dir(&lock).unwrap();
    // What a loss of power may leave of one.
    fs::write(&lock, [0; 20]).unwrap();
    drop(try_lock(&path).unwrap());
}

fn write(system: &System, log: &mut impl LogWriter<File = uarr_uring::SystemFile>) {
    let file = Arc::new(system.open("segment", OpenMode::CreateDirect).unwrap());
    file.allocate(0, BLOCK as u64).unwrap();
    let buffer = log.buffer(BLOCK);
    log.submit(GroupWrite { file, offset: 0, buffer, start: 0, len: BLOCK }).unwrap();
}

#[test]
fn the_lock_is_held_by_log_writers_too_and_free_at_once_after_them() {
    for strategy in [CommitStrategy::LinkedFdatasync, CommitStrategy::Dsync] {
        let top = scratch();
        let system = open(top.path());
        let lock = system.lock("lock", Duration::ZERO).unwrap();
        let options = LogWriterOptions { strategy, buffer_count: 1, buffer_bytes: BLOCK };
        let mut log = system.log_writer(options).unwrap();
        let other = system.log_writer(options).unwrap();
        write(&system, &mut log);
        drop(lock);
        assert_held(top.path(), Holder::ThisProcess);
        drop(other);
        assert_held(top.path(), Holder::ThisProcess);
        drop(log);
        // The kernel takes the rings down later; no patience is needed for that.
        drop(try_lock(top.path()).unwrap());
    }
}

#[test]
fn who_only_reads_learns_the_holder_and_leaves_nothing() {
    let top = scratch();
    let path = top.path();
    let reader = System::open_to_read(path, "superblock").unwrap();
    assert!(!reader.facts().direct, "there is no file that says what direct reads want");
    assert_eq!(reader.holder("lock").unwrap(), None);
    assert_eq!(fs::read_dir(path).unwrap().count(), 0, "nothing was made");
    let lock = try_lock(path).unwrap();
    assert_eq!(reader.holder("lock").unwrap(), Some(Holder::ThisProcess));
    fs::remove_file(path.join("lock")).unwrap();
    assert_eq!(reader.holder("lock").unwrap(), Some(Holder::Unknown));
    drop(lock);
    assert_eq!(reader.holder("lock").unwrap(), None);
    drop(try_lock(path).unwrap());

    fs::write(path.join("superblock"), [7; 2 * BLOCK]).unwrap();
    let reader = System::open_to_read(path, "superblock").unwrap();
    assert_eq!(reader.facts().direct, open(path).facts().direct);
    assert_eq!(reader.facts().block_bytes, open(path).facts().block_bytes);
    for mode in [OpenMode::Read, OpenMode::ReadDirect] {
        let file = reader.open("superblock", mode).unwrap();
        let mut read = uarr_uring::AlignedBuffer::new(2 * BLOCK);
        assert_eq!(file.read_at(&mut read, 0).unwrap(), 2 * BLOCK);
        assert!(read[..2 * BLOCK].iter().all(|byte| *byte == 7));
        assert!(file.write_at(&read[..BLOCK], 0).is_err(), "it is open for reading only");
    }
}
