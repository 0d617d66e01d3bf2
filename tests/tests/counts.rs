//! How often the device and the kernel are asked.
//!
//! Promises proved: a group commit is one write and one flush with every strategy; many writers
//! share them; a warm get makes no system call at all.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use uarr::{Backend, CommitPath, CommitStrategy, Db, KeyKind};
use uarr_tests::{scratch, small};

const STRATEGIES: [CommitStrategy; 3] =
    [CommitStrategy::LinkedFdatasync, CommitStrategy::Dsync, CommitStrategy::Syscall];

fn open(path: &Path, strategy: CommitStrategy) -> Db {
    let commit_path = CommitPath::Fixed(strategy);
    small(path).keys(KeyKind::U64).commit_path(commit_path).open().unwrap()
}

#[test]
fn a_lone_put_is_one_group_one_write_one_flush() {
    const COUNT: u64 = 200;
    for strategy in STRATEGIES {
        let directory = scratch();
        let db = open(directory.path(), strategy);
        for number in 0..COUNT {
            db.put(number, vec![1; 700]).unwrap();
        }
        let stats = db.stats();
        println!(
            "{strategy:?} on {:?}: {COUNT} puts, {} flushes",
            stats.backend, stats.flush_count
        );
        assert_eq!(stats.commit_count, COUNT);
        assert_eq!(stats.record_count, COUNT);
        assert_eq!(stats.group_count, COUNT);
        assert_eq!(stats.write_count, COUNT);
        assert_eq!(stats.flush_count, COUNT);
    }
}

/// Sixteen writers: no more writes and flushes than groups, and clearly fewer than commits.
#[test]
fn writers_share_flushes() {
    const THREADS: u64 = 16;
    const STEPS: u64 = 150;
    for strategy in STRATEGIES {
        let directory = scratch();
        let db = open(directory.path(), strategy);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let db = &db;
                scope.spawn(move || {
                    for step in 0..STEPS {
                        db.put(thread << 32 | step, step.to_le_bytes()).unwrap();
                    }
                });
            }
        });
        let stats = db.stats();
        println!("{strategy:?}: {} commits, {} flushes", stats.commit_count, stats.flush_count);
        assert_eq!(stats.commit_count, THREADS * STEPS);
        assert_eq!(stats.write_count, stats.group_count);
        assert_eq!(stats.flush_count, stats.group_count);
        assert!(stats.flush_count * 2 < stats.commit_count, "{} flushes", stats.flush_count);
    }
}

/// Calls by name, as `strace` counts them; `None` if it cannot.
fn calls(directory: &Path, keys: u64, gets: u64) -> Option<BTreeMap<String, u64>> {
    let counts = directory.with_extension("counts");
    let output = Command::new("strace")
        .args(["-f", "-c", "-U", "name,calls", "-o"])
        .arg(&counts)
        .arg(env!("CARGO_BIN_EXE_reader"))
        .arg(directory)
        .args([keys.to_string(), gets.to_string()])
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: there is no strace: {error}");
            return None;
        }
    };
    let text = std::fs::read_to_string(&counts).unwrap_or_default();
    let _ = std::fs::remove_file(&counts);
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    if text.is_empty() && complained.contains("ptrace") {
        println!("skipped: strace may not trace here: {complained}");
        return None;
    }
    assert!(output.status.success(), "{complained}");
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_string(), words.next()?.parse().ok()?))
    });
    Some(rows.filter(|(name, _)| name != "total").collect())
}

/// No call more with 10,000 gets than with none, and no flush of a map or file among those of a
/// get.
#[test]
fn a_warm_get_makes_no_system_call() {
    const KEYS: u64 = 500;
    const GETS: u64 = 10_000;
    let directory = scratch();
    let path = directory.path().join("db");
    let db = small(&path).keys(KeyKind::U64).open().unwrap();
    let mut batch = db.batch();
    (0..KEYS).for_each(|number| {
        batch.put(number, vec![number as u8; 300]);
    });
    batch.commit().unwrap();
    db.close().unwrap();
    let Some(without) = calls(&path, KEYS, 0) else { return };
    let Some(with) = calls(&path, KEYS, GETS) else { return };
    let total = |calls: &BTreeMap<String, u64>| calls.values().sum::<u64>();
    println!("{GETS} gets: {} calls, none: {} calls; {with:?}", total(&with), total(&without));
    assert!(total(&without) > 20, "nothing was counted: {without:?}");
    for (name, count) in &with {
        let before = without.get(name).copied().unwrap_or(0);
        // Allocation and waiting differ a little from run to run; anything per get would be 10,000.
        let by_chance = ["brk", "futex", "madvise", "restart_syscall", "sched_yield"];
        let chance = if by_chance.contains(&name.as_str()) { 20 } else { 0 };
        assert!(*count <= before + chance, "{name}: {count} calls with gets, {before} without");
    }
    assert_eq!(with.get("msync"), None);
    for flush in ["fdatasync", "fsync", "sync_file_range"] {
        assert_eq!(with.get(flush), without.get(flush), "{flush}");
    }
}

/// The ring, where it is allowed, is what is measured above.
#[test]
fn the_backend_is_the_one_that_is_told() {
    let directory = scratch();
    let stats = small(directory.path()).open().unwrap().stats();
    match stats.backend {
        Backend::Ring => assert_eq!(stats.backend_warning, None),
        _ => assert!(stats.backend_warning.is_some_and(|warning| warning.contains("io_uring"))),
    }
}
