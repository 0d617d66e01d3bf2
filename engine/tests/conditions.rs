//! Writes with a condition: of many who try, those succeed that may, and the others are told why.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use uarr::value::Patch;
use uarr::{Db, Durability, ErrorKind, KeyKind, Outcome, uarr};
use uarr_disk_sim::{FaultKind, Memory};

const CLASSES: [Durability; 3] =
    [Durability::Sync, Durability::Interval(Duration::from_millis(2)), Durability::Manual];

fn builder() -> uarr::Builder {
    Db::builder("memory").keys(KeyKind::U64).segment_bytes(1 << 20).chunk_bytes(1 << 20)
}

fn in_memory(durability: Durability) -> (Memory, Db<Memory>) {
    let memory = Memory::new();
    let db = builder().durability(durability).open_on(memory.clone()).unwrap();
    (memory, db)
}

fn value(db: &Db<Memory>, key: u64) -> Option<Vec<u8>> {
    db.get(key).unwrap().map(|record| record.bytes().to_vec())
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// The version and value that a write was refused for; `None`: there was no record.
fn refused(outcome: Outcome<'_>) -> Option<(u64, Vec<u8>)> {
    match outcome {
        Outcome::Written(commit) => panic!("it was written: {commit:?}"),
        Outcome::Refused(refusal) => {
            assert_eq!(refusal.change, 0);
            refusal.found.map(|found| (found.version(), found.bytes().to_vec()))
        }
    }
}

fn written(outcome: Outcome<'_>) -> u64 {
    outcome.commit().unwrap_or_else(|| panic!("it was refused: {outcome:?}")).lsn
}

#[test]
fn a_condition_decides_and_a_refusal_tells_what_is_there() {
    for durability in CLASSES {
        let (memory, db) = in_memory(durability);
        assert_eq!(refused(db.update(1u64, b"none").unwrap()), None);
        assert_eq!(refused(db.put_if_version(1u64, b"none", 7).unwrap()), None);
        assert_eq!(refused(db.delete_if_version(1u64, 7).unwrap()), None);
        let first = written(db.insert(1u64, b"first").unwrap());
        let is_first = Some((first, b"first".to_vec()));
        assert_eq!(db.get(1u64).unwrap().unwrap().version(), first);
        assert_eq!(refused(db.insert(1u64, b"again").unwrap()), is_first);
        let second = written(db.update(1u64, b"second").unwrap());
        let is_second = Some((second, b"second".to_vec()));
        assert_eq!(refused(db.put_if_version(1u64, b"late", first).unwrap()), is_second);
        assert_eq!(refused(db.delete_if_version(1u64, first).unwrap()), is_second);
        let third = written(db.put_if_version(1u64, b"third", second).unwrap());
        db.sync().unwrap();
        drop(db);
        let db = builder().durability(durability).open_on(memory.crash()).unwrap();
        assert_eq!(value(&db, 1).unwrap(), b"third");
        written(db.delete_if_version(1u64, third).unwrap());
        assert_eq!(refused(db.update(1u64, b"gone").unwrap()), None);
        written(db.insert(1u64, b"anew").unwrap());
        let (commit, replaced) = db.get_and_put(1u64, b"last").unwrap();
        assert_eq!(replaced.unwrap(), b"anew");
        assert_eq!(db.get(1u64).unwrap().unwrap().version(), commit.lsn);
        assert!(db.get_and_put(2u64, b"new").unwrap().1.is_none());
        assert_eq!(value(&db, 2).unwrap(), b"new");
    }
}

#[test]
fn a_batch_is_written_if_all_its_conditions_are_met() {
    for durability in CLASSES {
        let (_, db) = in_memory(durability);
        let version = db.put(1u64, uarr!({ "n": 1 })).unwrap().lsn;
        db.put(2u64, b"there").unwrap();
        let mut batch = db.batch();
        let patch = Patch::builder().set("n", 2).build().unwrap();
        batch.put(9u64, b"free").put_if_version(2u64, b"new", version).insert(3u64, b"x");
        batch.patch(1u64, &patch);
        let last = db.stats().commit_count;
        match batch.commit_if().unwrap().unwrap() {
            Outcome::Written(_) => panic!("the version is another one"),
            Outcome::Refused(refusal) => {
                assert_eq!(refusal.change, 1);
                assert_eq!(refusal.found.unwrap(), b"there");
            }
        }
        let error = batch.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConditionFailed);
        assert!(
            error.to_string().contains(&format!("key 2 should have version {version}")),
            "{error}"
        );
        assert_eq!(db.stats().commit_count, last);
        assert!([3u64, 9].iter().all(|key| !db.contains(*key).unwrap()));
        let version = db.get(2u64).unwrap().unwrap().version();
        let mut batch = db.batch();
        batch.put_if_version(2u64, b"new", version).insert(3u64, b"x").put(3u64, b"y");
        batch.patch(1u64, &patch).delete(9u64);
        batch.commit().unwrap().unwrap();
        assert!(batch.is_empty());
        assert_eq!([2, 3].map(|key| value(&db, key).unwrap()), [b"new".to_vec(), b"y".to_vec()]);
        let record = db.get(1u64).unwrap().unwrap();
        assert_eq!(record.path("n").unwrap().unwrap().as_u64(), Some(2));
        let error = db.batch().put(5u64, b"a").insert(5u64, b"b").commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("key 5"), "{error}");
    }
}

/// All keys change together, so the first is the first whose version is another one.
#[test]
fn a_batch_is_refused_for_what_was_at_one_moment() {
    const KEYS: u64 = 100;
    for durability in [Durability::Sync, Durability::Manual] {
        let (_, db) = in_memory(durability);
        let change_all = || {
            let mut batch = db.batch();
            (0..KEYS).for_each(|key| _ = batch.put(key, b"x"));
            batch.commit().unwrap().unwrap()
        };
        change_all();
        let works = AtomicBool::new(true);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while works.load(Ordering::Relaxed) {
                        change_all();
                    }
                });
            }
            for _ in 0..1000 {
                // The versions of one batch are neighbours.
                let last = db.get(KEYS - 1).unwrap().unwrap().version();
                let mut batch = db.batch();
                for key in 0..KEYS {
                    batch.put_if_version(key, b"z", last + 1 + key - KEYS);
                }
                if let Outcome::Refused(refusal) = batch.commit_if().unwrap().unwrap() {
                    assert_eq!(refusal.change, 0);
                }
            }
            works.store(false, Ordering::Relaxed);
        });
    }
}

/// Threads add to one number by comparing its version: each addition counts once.
#[test]
fn no_update_is_lost_between_threads_that_compare_versions() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 50;
    for durability in CLASSES {
        let (memory, db) = in_memory(durability);
        db.put(1u64, 0u64.to_le_bytes()).unwrap();
        let add = || {
            for _ in 0..ROUNDS {
                let mut found = db.get(1u64).unwrap().unwrap();
                loop {
                    let next = (number(&found) + 1).to_le_bytes();
                    match db.put_if_version(1u64, next, found.version()).unwrap() {
                        Outcome::Written(_) => break,
                        Outcome::Refused(refusal) => {
                            let newer = refusal.found.unwrap();
                            assert!(newer.version() > found.version());
                            found = newer;
                        }
                    }
                }
            }
        };
        thread::scope(|scope| (0..THREADS).for_each(|_| _ = scope.spawn(add)));
        db.sync().unwrap();
        let db = builder().open_on(memory.crash()).unwrap();
        assert_eq!(number(&value(&db, 1).unwrap()), THREADS * ROUNDS);
    }
}

/// Each value that was put comes back once, or is there in the end.
#[test]
fn what_is_replaced_comes_back_once() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 40;
    for durability in CLASSES {
        let (_, db) = in_memory(durability);
        let sum = AtomicU64::new(0);
        let replace = |thread: u64| {
            for round in 0..ROUNDS {
                let value = (thread * ROUNDS + round + 1).to_le_bytes();
                let replaced = db.get_and_put(1u64, value).unwrap().1;
                sum.fetch_add(replaced.map_or(0, |record| number(&record)), Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            let replace = &replace;
            (0..THREADS).for_each(|thread| _ = scope.spawn(move || replace(thread)));
        });
        let last = number(&value(&db, 1).unwrap());
        let count = THREADS * ROUNDS;
        assert_eq!(sum.into_inner() + last, count * (count + 1) / 2);
    }
}

/// Of all who insert a key one succeeds, and the others learn of that one.
#[test]
fn a_key_is_inserted_once() {
    const KEYS: u64 = 40;
    for durability in CLASSES {
        let (_, db) = in_memory(durability);
        let (count, barrier) = (AtomicU64::new(0), Barrier::new(8));
        thread::scope(|scope| {
            for thread in 0..8u64 {
                let (db, count, barrier) = (&db, &count, &barrier);
                scope.spawn(move || {
                    for key in 0..KEYS {
                        barrier.wait();
                        match db.insert(key, thread.to_le_bytes()).unwrap() {
                            Outcome::Written(commit) => {
                                count.fetch_add(1, Ordering::Relaxed);
                                let record = db.get(key).unwrap().unwrap();
                                assert_eq!(record.version(), commit.lsn);
                            }
                            Outcome::Refused(refusal) => {
                                let found = refusal.found.unwrap();
                                assert_ne!(number(&found), thread);
                                assert_eq!(value(db, key).unwrap(), found.bytes());
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), KEYS);
    }
}

async fn all<F: Future<Output = ()> + Send + 'static>(tasks: impl Iterator<Item = F>) {
    let tasks: Vec<_> = tasks.map(tokio::spawn).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Each key is inserted twice; who is late learns who was not.
#[test]
fn tasks_insert_each_key_once() {
    const TASKS: u64 = 1000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for durability in CLASSES {
        let (_, db) = in_memory(durability);
        runtime.block_on(all((0..TASKS).map(|task| {
            let db = db.clone();
            async move {
                let outcome = db.durable().insert_async(task / 2, task.to_le_bytes()).await;
                let found = outcome.unwrap().found().map(|found| number(&found));
                assert!(found.is_none_or(|found| found == task ^ 1));
            }
        })));
        let stats = db.stats();
        assert_eq!((stats.key_count, stats.commit_count), (TASKS / 2, TASKS / 2));
    }
}

/// A unique constraint costs no group of its own: nothing is written before somebody asks for it.
#[test]
fn inserts_share_groups() {
    let (_, db) = in_memory(Durability::Manual);
    for key in 0..1000u64 {
        written(db.insert(key, b"once").unwrap());
        assert!(!db.insert(key, b"twice").unwrap().is_written());
    }
    assert_eq!(db.increment(1000u64, 1).unwrap().value, 1);
    db.sync().unwrap();
    let stats = db.stats();
    assert_eq!((stats.commit_count, stats.group_count), (1001, 1));
}

#[test]
fn tasks_use_all_conditions() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for durability in CLASSES {
        let (_, db) = in_memory(durability);
        runtime.block_on(async {
            assert!(db.update_async(1u64, b"a").await.unwrap().found().is_none());
            let first = written(db.insert_async(1u64, b"a").await.unwrap());
            let second = db.put_if_version_async(1u64, b"b", first).await.unwrap();
            assert!(db.put_if_version_async(1u64, b"c", first).await.unwrap().found().is_some());
            let (commit, replaced) = db.get_and_put_async(1u64, b"d").await.unwrap();
            assert_eq!(replaced.unwrap().version(), written(second));
            let mut batch = db.batch();
            batch.delete_if_version(1u64, first).put(2u64, b"x");
            assert!(!batch.commit_if_async().await.unwrap().unwrap().is_written());
            let kind = batch.commit_async().await.unwrap_err().kind();
            assert_eq!(kind, ErrorKind::ConditionFailed);
            written(db.delete_if_version_async(1u64, commit.lsn).await.unwrap());
        });
        assert!(db.is_empty());
    }
}

/// A refused write must not tell of a record that is lost with its group, although that lies in the
/// data file already.
#[test]
fn a_refusal_tells_of_nothing_that_is_lost() {
    let mut error_count = 0;
    for round in 0..60u64 {
        let (memory, db) = in_memory(Durability::Sync);
        db.put(0u64, b"before").unwrap();
        memory.fail_next(FaultKind::LogFlush, 1 + round % 2);
        let barrier = Barrier::new(4);
        let inserted = thread::scope(|scope| {
            let insert = |thread: u64| {
                let (db, barrier) = (&db, &barrier);
                move || {
                    barrier.wait();
                    (1..4u64).map(|key| db.insert(key, thread.to_le_bytes())).collect::<Vec<_>>()
                }
            };
            let threads: Vec<_> = (0..4u64).map(|thread| scope.spawn(insert(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let survivor = builder().open_on(memory.crash()).unwrap();
        for outcomes in inserted {
            for (key, outcome) in (1..4u64).zip(outcomes) {
                match outcome {
                    Ok(outcome) => {
                        let found = outcome.found();
                        let there = value(&survivor, key).expect("acknowledged, or found");
                        assert!(found.is_none_or(|found| found.bytes() == there), "{round}");
                    }
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned));
                        error_count += 1;
                    }
                }
            }
        }
    }
    assert!(error_count > 60);
}
