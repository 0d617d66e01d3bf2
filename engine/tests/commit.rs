//! The commit path as its callers see it: threads, tasks, receipts, backpressure, failures.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a test measures and waits")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use uarr::{Db, Durability, ErrorKind, KeyKind, WhenFull, WriteOptions};
use uarr_disk_sim::{FaultKind, Memory};
use uarr_uring::Storage;

const HOUR: Duration = Duration::from_secs(3600);

fn builder(path: &std::path::Path) -> uarr::Builder {
    Db::builder(path).keys(KeyKind::U64).segment_bytes(1 << 22).chunk_bytes(1 << 22)
}

fn in_memory(durability: Durability) -> (Memory, Db<Memory>) {
    let memory = Memory::new();
    let db = builder("memory".as_ref()).durability(durability).open_on(memory.clone()).unwrap();
    (memory, db)
}

fn two_threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

/// `task_count` tasks each put `put_count` records of their own and check their receipts.
fn put_from_tasks<S: Storage>(db: &Db<S>, task_count: u64, put_count: u64) {
    two_threads().block_on(async {
        let tasks: Vec<_> = (0..task_count)
            .map(|task| {
                let db = db.clone();
                tokio::spawn(async move {
                    let mut last_lsn = 0;
                    for number in 0..put_count {
                        let key = task << 32 | number;
                        let options = WriteOptions::new();
                        let commit =
                            db.with(options).put_async(key, key.to_le_bytes()).await.unwrap();
                        assert!(commit.lsn > last_lsn);
                        last_lsn = commit.lsn;
                        // Acknowledged means visible, in every class.
                        assert_eq!(&*db.get(key).unwrap().unwrap(), key.to_le_bytes());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn tasks_share_groups() {
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).open().unwrap();
    put_from_tasks(&db, 64, 50);
    let stats = db.stats();
    assert_eq!(stats.commit_count, 64 * 50);
    assert!(stats.group_count < 64 * 50 / 4, "{} groups", stats.group_count);
    assert_eq!(stats.phases.queue.count, 64 * 50);
    assert_eq!(stats.phases.io.count, stats.group_count);
    assert_eq!((stats.record_count, stats.durable_lsn), (64 * 50, stats.visible_lsn));
    // The chunk that they lie in was opened, too: by each group until one was settled.
    assert!(stats.durable_lsn > 64 * 50);
    drop(db);
    let db = builder(dir.path()).open().unwrap();
    assert_eq!(db.iter().count(), 64 * 50);
}

#[test]
fn tasks_and_threads_mix() {
    for durability in [Durability::Sync, Durability::Interval(Duration::from_millis(5))] {
        let (_, db) = in_memory(durability);
        std::thread::scope(|scope| {
            scope.spawn(|| put_from_tasks(&db, 16, 200));
            for thread in 100..104u64 {
                let db = &db;
                scope.spawn(move || {
                    for number in 0..200 {
                        let options = WriteOptions::new().durable();
                        let commit = db.with(options).put(thread << 32 | number, [1; 100]).unwrap();
                        assert!(commit.is_durable);
                        assert!(commit.group_commit_count > 0);
                        assert!(db.stats().durable_lsn >= commit.lsn);
                    }
                });
            }
        });
        assert_eq!(db.iter().count(), 20 * 200);
        db.close().unwrap();
    }
}

#[test]
fn a_write_may_ask_for_more_than_its_database_promises() {
    for durability in [Durability::Interval(HOUR), Durability::Manual] {
        let (memory, db) = in_memory(durability);
        let before = db.put(1u64, b"in memory").unwrap();
        assert!(!before.is_durable);
        assert_eq!(db.stats().durable_lsn, 0);
        let durable = db.durable().put(2u64, b"durable").unwrap();
        assert!(durable.is_durable);
        assert!(db.stats().durable_lsn >= durable.lsn);
        let durable = two_threads().block_on(db.durable().put_async(3u64, b"from a task")).unwrap();
        assert!(durable.is_durable);
        let mut batch = db.durable().batch();
        batch.put(4u64, b"a").delete(1u64);
        let durable = batch.commit().unwrap().unwrap();
        assert!(db.stats().durable_lsn >= durable.lsn);
        let crashed = memory.crash();
        let db = builder("memory".as_ref()).open_on(crashed).unwrap();
        let keys: Vec<_> = db.iter().map(|record| record.unwrap().key_u64().unwrap()).collect();
        assert_eq!(keys, [2, 3, 4]);
    }
}

const GROUP_BYTES: usize = 1 << 14;

/// Puts records whose frames fill `group_count` groups of [`GROUP_BYTES`] and begin another;
/// returns the LSN of the last one.
fn fill_groups<S: Storage>(db: &Db<S>, group_count: u64) -> u64 {
    // A group has room for three of them beside its header and that of a segment.
    let value = [7; 3500];
    let put_count = group_count * 3 + 1;
    (0..put_count).fold(0, |_, key| db.put(key, value).unwrap().lsn)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn full_groups_wait_for_their_interval_while_most_buffers_are_free() {
    for durability in [Durability::Interval(HOUR), Durability::Manual] {
        let memory = Memory::new();
        let db = builder("memory".as_ref()).durability(durability).group_bytes(GROUP_BYTES);
        let db = db.open_on(memory.clone()).unwrap();
        fill_groups(&db, 3);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(db.stats().group_count, 0);
        fill_groups(&db, 1);
        wait_until("half of the buffers are in use", || db.stats().group_count > 0);
    }
}

#[test]
fn full_groups_and_the_open_one_are_durable_after_one_interval() {
    const INTERVAL: Duration = Duration::from_secs(1);
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).durability(Durability::Interval(INTERVAL));
    let db = db.group_bytes(GROUP_BYTES).open().unwrap();
    let begun = Instant::now();
    let written = fill_groups(&db, 2);
    wait_until("the interval is over", || db.stats().durable_lsn == written);
    assert!(begun.elapsed() >= INTERVAL / 2, "{:?}", begun.elapsed());
}

#[test]
fn tasks_delete_too() {
    let (memory, db) = in_memory(Durability::Sync);
    for key in [1u64, 2] {
        db.put(key, b"here").unwrap();
    }
    let runtime = two_threads();
    // One that is there, and one that is not.
    for key in [1u64, 9] {
        let commit = runtime.block_on(db.delete_async(key)).unwrap();
        assert!(commit.is_durable);
        assert!(!db.contains(key).unwrap());
    }
    let error = runtime.block_on(db.delete_async("not a number")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let db = builder("memory".as_ref()).open_on(memory.crash()).unwrap();
    let keys: Vec<_> = db.iter().map(|record| record.unwrap().key_u64().unwrap()).collect();
    assert_eq!(keys, [2]);
}

#[test]
fn a_write_that_was_not_polled_never_happens() {
    let (_, db) = in_memory(Durability::Sync);
    drop(db.put_async(1u64, b"never"));
    db.put(2u64, b"other").unwrap();
    assert!(!db.contains(1u64).unwrap());
    assert_eq!(db.stats().commit_count, 1);
}

#[test]
fn a_dropped_write_holds_nobody_up() {
    let (_, db) = in_memory(Durability::Sync);
    for round in 0..200u64 {
        {
            let write = pin!(db.put_async(round, b"dropped"));
            // Staged by the first poll; the log thread may already have finished it.
            let _ = write.poll(&mut Context::from_waker(Waker::noop()));
        }
        db.put(1000 + round, b"kept").unwrap();
    }
    db.sync().unwrap();
    assert_eq!(db.iter().count(), 400);
}

#[test]
fn full_buffers_are_an_error_if_asked_for() {
    let memory = Memory::new();
    let db = builder("memory".as_ref())
        .durability(Durability::Manual)
        .background(false)
        .when_full(WhenFull::Error)
        .open_on(memory)
        .unwrap();
    let mut accepted = 0u64;
    let error = loop {
        match db.put(accepted, [7; 10_000]) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!((200..1000).contains(&accepted), "{accepted}");
    assert_eq!(db.iter().count() as u64, accepted);
    assert!(db.step().unwrap());
    db.put(accepted, b"there is room again").unwrap();
    db.sync().unwrap();
}

#[test]
fn tasks_wait_for_room_without_a_thread() {
    let (_, db) = in_memory(Durability::Manual);
    // Far more than the buffers hold, from one thread: a task that blocked it would wait for
    // itself.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tasks = (0..64u64).map(|task| {
            let db = &db;
            async move {
                for number in 0..20 {
                    let value = [task as u8; 20_000];
                    db.put_async(task << 32 | number, value).await.unwrap();
                }
            }
        });
        all(tasks.collect()).await;
    });
    assert_eq!(db.iter().count(), 64 * 20);
    db.close().unwrap();
}

/// Polls all futures until they are done.
async fn all<F: Future<Output = ()>>(futures: Vec<F>) {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn a_failed_group_tells_all_its_tasks_and_the_cause_stays() {
    let (memory, db) = in_memory(Durability::Sync);
    db.put(1u64, b"before").unwrap();
    memory.fail_next(FaultKind::LogFlush, 1);
    let runtime = two_threads();
    let kinds: Vec<_> = runtime.block_on(async {
        let writes: Vec<_> = (0..32u64)
            .map(|task| {
                let db = db.clone();
                let put = async move { db.put_async(10 + task, b"lost").await };
                tokio::spawn(put)
            })
            .collect();
        let mut kinds = Vec::new();
        for write in writes {
            kinds.push(write.await.unwrap().unwrap_err().kind());
        }
        kinds
    });
    assert!(kinds.iter().all(|kind| matches!(kind, ErrorKind::Io | ErrorKind::Poisoned)));
    let error = db.put(2u64, b"after").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert_eq!(&*db.get(1u64).unwrap().unwrap(), b"before");
    let db = builder("memory".as_ref()).open_on(memory.crash()).unwrap();
    assert_eq!(&*db.get(1u64).unwrap().unwrap(), b"before");
}

#[test]
fn tasks_of_a_database_without_threads_commit_by_themselves() {
    let memory = Memory::new();
    let builder = builder("memory".as_ref()).background(false);
    let db = Arc::new(builder.open_on(memory).unwrap());
    let write = pin!(db.put_async(1u64, b"alone"));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(commit)) = write.poll(&mut context) else { panic!("it does not wait") };
    assert!(commit.is_durable);
}
