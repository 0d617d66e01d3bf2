//! Counters: no change is lost, none is done twice, and none waits for another.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::{Barrier, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use uarr::{Db, Durability, ErrorKind, Increment, KeyKind, uarr};
use uarr_disk_sim::{Fault, FaultKind, Memory};

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

fn counter(db: &Db<Memory>, key: u64) -> i64 {
    db.get(key).unwrap().unwrap().uarr().unwrap().as_i64().unwrap()
}

#[test]
fn a_counter_is_a_value_like_any_other() {
    for durability in CLASSES {
        let (memory, db) = in_memory(durability);
        assert_eq!(db.increment(1u64, 5).unwrap().value, 5);
        assert_eq!(db.decrement(1u64, 7).unwrap().value, -2);
        assert_eq!(counter(&db, 1), -2);
        assert_eq!(db.get(1u64).unwrap().unwrap().bytes(), &*uarr!(-2));
        db.put(1u64, uarr!(40)).unwrap();
        let count = db.increment(1u64, 2).unwrap();
        assert_eq!(count.value, 42);
        assert_eq!(db.get(1u64).unwrap().unwrap().version(), count.commit.unwrap().lsn);
        db.delete(1u64).unwrap();
        assert_eq!(db.increment(1u64, Increment::by(1).initial(9)).unwrap().value, 10);
        db.put(2u64, b"text").unwrap();
        db.put(3u64, uarr!(u64::MAX)).unwrap();
        for key in [2u64, 3] {
            let error = db.increment(key, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongValue);
            assert!(error.to_string().contains(&format!("key {key}")), "{error}");
        }
        db.sync().unwrap();
        let db = builder().open_on(memory.crash()).unwrap();
        assert_eq!(counter(&db, 1), 10);
        assert_eq!(db.increment(1u64, 1).unwrap().value, 11);
    }
}

#[test]
fn bounds_refuse_and_say_what_is_there() {
    for durability in CLASSES {
        let (_, db) = in_memory(durability);
        let take = Increment::by(3).initial(7).min(0);
        let lsn = db.decrement(1u64, take).unwrap().commit.unwrap().lsn;
        assert_eq!(db.decrement(1u64, take).unwrap().value, 1);
        let refused = db.decrement(1u64, take).unwrap();
        assert_eq!((refused.value, refused.commit), (1, None));
        assert_eq!(db.put(2u64, b"next").unwrap().lsn, lsn + 2, "nothing was written");
        let never = db.increment(3u64, Increment::by(1).max(0)).unwrap();
        assert_eq!((never.value, never.commit), (0, None), "the value it would begin with");
        assert!(!db.contains(3u64).unwrap());
        db.put(4u64, uarr!(i64::MAX)).unwrap();
        assert_eq!(db.increment(4u64, 1).unwrap().commit, None, "64 bits are its bounds");
        assert_eq!(db.decrement(4u64, i64::MIN).unwrap().commit, None);
        assert_eq!(db.increment(4u64, i64::MIN).unwrap().value, -1);
        assert_eq!(db.decrement(4u64, i64::MIN).unwrap().value, i64::MAX);
    }
}

/// Each of the values 1, 2, ... is the result of one change.
#[test]
fn changes_by_many_threads_count_once_each() {
    const THREADS: usize = 16;
    const ROUNDS: usize = 50;
    for durability in CLASSES {
        let (memory, db) = in_memory(durability);
        let seen = Mutex::new(BTreeSet::new());
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut last = 0;
                    for _ in 0..ROUNDS {
                        let value = db.increment(1u64, 1).unwrap().value;
                        assert!(value > last, "who comes later finds more");
                        last = value;
                        assert!(counter(&db, 1) >= value, "acknowledged, so visible");
                        assert!(seen.lock().unwrap().insert(value), "{value} came twice");
                    }
                });
            }
        });
        let count = (THREADS * ROUNDS) as i64;
        assert_eq!(seen.into_inner().unwrap(), (1..=count).collect());
        db.sync().unwrap();
        let db = builder().open_on(memory.crash()).unwrap();
        assert_eq!(counter(&db, 1), count);
    }
}

/// A change builds upon one that is staged and not written yet: it is staged with the first poll,
/// so it takes effect although the task is never polled again.
#[test]
fn a_change_does_not_wait_for_the_one_before() {
    let (memory, db) = in_memory(Durability::Sync);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..500 {
        let task = pin!(db.increment_async(1u64, 1));
        let _ = task.poll(&mut context);
    }
    db.sync().unwrap();
    assert_eq!(counter(&db, 1), 500);
    let db = builder().open_on(memory.crash()).unwrap();
    assert_eq!(counter(&db, 1), 500);
}

#[test]
fn tasks_count_once_each() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for durability in CLASSES {
        let (_, db) = in_memory(durability);
        let counts = runtime.block_on(async {
            let count = |db: Db<Memory>| async move { db.increment_async(1u64, 1).await };
            let tasks: Vec<_> = (0..1000).map(|_| tokio::spawn(count(db.clone()))).collect();
            let mut counts = BTreeSet::new();
            for task in tasks {
                counts.insert(task.await.unwrap().unwrap().value);
            }
            counts
        });
        assert_eq!(counts, (1..=1000).collect());
    }
}

/// A group that finds no room takes those with it that go on from its counters, and no others.
#[test]
fn what_found_no_room_does_not_count() {
    let mut error_count = 0;
    for seed in 0..100u64 {
        let (memory, db) = in_memory(Durability::Sync);
        db.increment(1u64, 0).unwrap();
        memory.fail(Fault::new(FaultKind::LogRefused, 1 + seed % 5).errno(28));
        let barrier = Barrier::new(6);
        let count = |thread: u64| {
            barrier.wait();
            let mut count = 0;
            for round in 0..10u64 {
                let done = match (thread, round % 3) {
                    (0, 0) => db.put(2 + round, b"another").map(|_| 0),
                    (1, 0) => db.increment(1u64, Increment::by(1).max(20)).map(|count| {
                        assert!(count.commit.is_some() || count.value >= 20);
                        i64::from(count.commit.is_some())
                    }),
                    _ => db.increment(1u64, 1).map(|_| 1),
                };
                match done {
                    Ok(done) => count += done,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                        count += 1000;
                    }
                }
            }
            count
        };
        let done: i64 = thread::scope(|scope| {
            let count = &count;
            let threads: Vec<_> = (0..6).map(|t| scope.spawn(move || count(t))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        error_count += done / 1000;
        assert_eq!(counter(&db, 1), done % 1000, "{seed}");
        let db = builder().open_on(memory.crash()).unwrap();
        assert_eq!(counter(&db, 1), done % 1000, "{seed}");
    }
    assert!(error_count >= 50, "{error_count}");
}

/// Counters among puts and deletions of the same key: each change builds upon what came before it.
#[test]
fn other_writes_of_the_key_come_in_between() {
    for durability in CLASSES {
        let (_, db) = in_memory(durability);
        thread::scope(|scope| {
            for thread in 0..6i64 {
                let db = &db;
                scope.spawn(move || {
                    for round in 0..60i64 {
                        match (thread, round % 3) {
                            (0, 0) => _ = db.put(1u64, uarr!(1_000_000 * round)).unwrap(),
                            (0, 1) => _ = db.delete(1u64).unwrap(),
                            (1, _) => _ = db.put(2u64, b"another").unwrap(),
                            _ => {
                                let value = db.increment(1u64, 1).unwrap().value;
                                assert!((1..=300).contains(&(value % 1_000_000)), "{value}");
                            }
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn a_change_that_nobody_waits_for_is_done_or_not_at_all() {
    let (memory, db) = in_memory(Durability::Sync);
    let mut context = Context::from_waker(Waker::noop());
    for round in 0..100i64 {
        let mut task = pin!(db.increment_async(1u64, 1));
        let _ = task.as_mut().poll(&mut context);
        assert_eq!(db.increment(1u64, 1).unwrap().value, 2 * round + 2);
    }
    let db = builder().open_on(memory.crash()).unwrap();
    assert_eq!(counter(&db, 1), 200);
}

#[test]
fn a_database_without_threads_counts_too() {
    let memory = Memory::new();
    let db = builder().background(false).open_on(memory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 1..10 {
        let count = runtime.block_on(db.increment_async(1u64, 1)).unwrap();
        assert_eq!(count.value, 2 * round - 1);
        assert_eq!(db.increment(1u64, 1).unwrap().value, 2 * round);
    }
}
