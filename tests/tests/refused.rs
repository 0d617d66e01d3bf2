//! Where the kernel refuses io_uring, and where a file system cannot give up a part of a file.
//!
//! Promise proved: the engine works on plain system calls, everything it wrote is there for a
//! process that has rings, and the other way round; it says why it does not use io_uring and what
//! to do about it. A caller that insists on rings gets an error. `make test-refused` runs the whole
//! suite like this.
//!
//! Refusals hold for a whole process and cannot be undone, so each is played in a child: this test
//! program, started again by `without-io-uring`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use uarr::{Backend, BackendChoice, CommitPath, CommitStrategy, Db, ErrorKind};
use uarr_disk_sim::refuse::{deny_fallocate_for_this_process, deny_io_uring_for_this_process};
use uarr_tests::{scratch, small};

/// In a child: the directory to use.
const CHILD: &str = "UARR_REFUSED_CHILD";
const DONE: &str = "the refused child is done";
const COUNT: u64 = 300;

fn child_directory() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs `test` of this program in a child to which io_uring is refused.
fn refuse(test: &str, directory: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_without-io-uring"));
    run(command.arg(std::env::current_exe().unwrap()), test, directory);
}

/// Runs `test` of this program by `command` in a child.
fn run(command: &mut Command, test: &str, directory: &Path) {
    let output = command.args(["--exact", test, "--nocapture"]).env(CHILD, directory).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(DONE), "{said}{complained}");
}

fn write(db: &Db, first: u64) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in (first..first + COUNT).skip(thread).step_by(4) {
                    db.put(format!("key {number:06}"), number.to_le_bytes()).unwrap();
                }
            });
        }
    });
}

fn check(db: &Db, count: u64) {
    assert_eq!(db.iter().count() as u64, count);
    for number in 0..count {
        let record = db.get(format!("key {number:06}")).unwrap();
        assert_eq!(record.as_deref(), Some(&number.to_le_bytes()[..]), "{number}");
    }
    assert!(db.verify(|_| {}).unwrap().is_clean());
}

#[test]
fn without_io_uring_all_works_and_the_reason_is_told() {
    if let Some(directory) = child_directory() {
        let db = small(&directory).open().unwrap();
        let stats = db.stats();
        assert_eq!(stats.backend, Backend::Syscalls);
        let warning = stats.backend_warning.expect("the refusal is told");
        println!("{warning}");
        for word in ["io_uring", "seccomp", "allow io_uring_setup"] {
            assert!(warning.contains(word), "'{word}' is not in: {warning}");
        }
        check(&db, COUNT);
        write(&db, COUNT);
        db.checkpoint().unwrap();
        write(&db, 2 * COUNT);
        let stats = db.stats();
        assert_eq!(stats.commit_count, 2 * COUNT);
        assert_eq!((stats.write_count, stats.flush_count), (stats.group_count, stats.group_count));
        println!("{DONE}");
        return;
    }
    let directory = scratch();
    let db = small(directory.path()).open().unwrap();
    write(&db, 0);
    db.close().unwrap();
    refuse("without_io_uring_all_works_and_the_reason_is_told", directory.path());
    let db = small(directory.path()).open().unwrap();
    check(&db, 3 * COUNT);
    write(&db, 3 * COUNT);
    check(&db, 4 * COUNT);
}

#[test]
fn whoever_insists_on_a_ring_gets_an_error() {
    if let Some(directory) = child_directory() {
        let error = small(&directory).backend(BackendChoice::Ring).open().err().unwrap();
        println!("{error:?}");
        let kinds = [ErrorKind::Unsupported, ErrorKind::PermissionDenied];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("io_uring") && text.contains("allow"), "{text}");
        let missing = directory.join("missing");
        assert!(small(&missing).backend(BackendChoice::Ring).open().is_err());
        assert!(!missing.exists(), "what was made for it is taken away");
        let fixed = CommitPath::Fixed(CommitStrategy::LinkedFdatasync);
        // A strategy that needs a ring is replaced or refused, but never pretended.
        match small(&directory).commit_path(fixed).open() {
            Ok(db) => assert_eq!(db.stats().strategy, CommitStrategy::Syscall),
            Err(error) => assert!(kinds.contains(&error.kind()), "{error:?}"),
        }
        println!("{DONE}");
        return;
    }
    let directory = scratch();
    small(directory.path()).open().unwrap().close().unwrap();
    refuse("whoever_insists_on_a_ring_gets_an_error", directory.path());
}

/// What a sandbox does to a program that has started: writers are under way, and go on.
#[test]
fn a_ring_that_is_taken_away_from_writers_costs_no_write() {
    if let Some(directory) = child_directory() {
        let db = small(&directory).open().unwrap();
        if db.stats().backend == Backend::Ring {
            std::thread::scope(|scope| {
                scope.spawn(|| write(&db, 0));
                while db.stats().commit_count < COUNT / 3 {
                    std::thread::yield_now();
                }
                deny_io_uring_for_this_process().unwrap();
            });
        } else {
            write(&db, 0);
        }
        write(&db, COUNT);
        check(&db, 2 * COUNT);
        db.close().unwrap();
        println!("{DONE}");
        return;
    }
    let directory = scratch();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = "a_ring_that_is_taken_away_from_writers_costs_no_write";
    run(&mut command, test, directory.path());
    check(&small(directory.path()).open().unwrap(), 2 * COUNT);
}

/// What a killed process left is opened where the file system can neither zero nor dig out a range:
/// it kept what stood behind the log's end, cached pages and all.
#[test]
fn the_end_of_the_data_file_is_given_up_without_fallocate() {
    const LEFT: &[u8] = b"of a write that was cut";
    if let Some(directory) = child_directory() {
        deny_fallocate_for_this_process(&[]).unwrap();
        let db = small(&directory).open().unwrap();
        assert!(!db.recovery_report().clean);
        check(&db, 2 * COUNT);
        write(&db, 2 * COUNT);
        check(&db, 3 * COUNT);
        db.close().unwrap();
        println!("{DONE}");
        return;
    }
    let (directory, copy) = (scratch(), scratch());
    let db = small(directory.path()).open().unwrap();
    write(&db, 0);
    db.checkpoint().unwrap();
    write(&db, COUNT);
    // As a kill leaves it.
    let source = format!("{}/.", directory.path().display());
    assert!(Command::new("cp").args(["-r", &source]).arg(copy.path()).status().unwrap().success());
    drop(db);
    let data = copy.path().join("data/records.uarr");
    let file = std::fs::File::options().write(true).open(&data).unwrap();
    let offset = file.metadata().unwrap().len() - 4096;
    file.write_all_at(LEFT, offset).unwrap();
    let test = "the_end_of_the_data_file_is_given_up_without_fallocate";
    run(&mut Command::new(std::env::current_exe().unwrap()), test, copy.path());
    let content = std::fs::read(&data).unwrap();
    assert!(content.windows(LEFT.len()).all(|bytes| bytes != LEFT), "it is still there");
    check(&small(copy.path()).open().unwrap(), 3 * COUNT);
}
