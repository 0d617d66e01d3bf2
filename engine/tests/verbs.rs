//! Verbs that are made of others: counting, deleting many keys, and what tasks do besides writing.
//!
//! Promises proved: a deletion takes exactly the keys of its range, in every kind of table, and
//! leaves what is written meanwhile; verbs in `_async` need no thread of the executor.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::ops::Bound;
use std::task::{Context, Waker};

use uarr::{Db, Durability, ErrorKind, KeyKind};

fn open(kind: KeyKind) -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let options = Db::builder(dir.path()).keys(kind).durability(Durability::Manual);
    (dir, options.open().unwrap())
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task)
}

#[test]
fn keys_are_counted_as_they_come_and_go() {
    let (dir, db) = open(KeyKind::Bytes);
    assert!(db.is_empty());
    db.batch().put("a", "1").put("b", "2").put("a", "3").delete("c").commit().unwrap();
    assert_eq!(db.len(), 2);
    db.delete("a").unwrap();
    db.delete("a").unwrap();
    assert_eq!(db.len(), 1);
    db.close().unwrap();
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(db.len(), 1);
    db.delete("b").unwrap();
    assert!(db.is_empty());
}

#[test]
fn a_deletion_takes_its_range_and_no_more() {
    let (_dir, db) = open(KeyKind::Bytes);
    let name = |number: u32| format!("key:{number:05}");
    db.ingest((0..10_000).map(|number| (name(number), "x"))).unwrap();
    db.batch().put(1u64, "n").put(-1i64, "n").put(b"\xff\xff", "n").commit().unwrap();
    assert_eq!(db.delete_range(name(9000)..name(10)).unwrap(), 0, "the wrong way round");
    assert_eq!(db.delete_range(name(10)..name(9000)).unwrap(), 8990);
    assert_eq!(db.delete_range(name(10)..name(9000)).unwrap(), 0);
    assert_eq!(db.len(), 1010 + 3);
    let keys = db.range(name(0)..name(9001)).unwrap().map(|record| record.unwrap().key().to_vec());
    let expected = (0..10).chain([9000]).map(|number| name(number).into_bytes());
    assert!(keys.eq(expected));
    assert_eq!(db.delete_prefix("key:09").unwrap(), 1000);
    assert_eq!(db.delete_prefix([0xff]).unwrap(), 1, "numbers are no byte keys");
    let (low, high) = (Bound::Excluded(name(0)), Bound::Included(name(2)));
    assert_eq!(db.delete_range((low, high)).unwrap(), 2);
    assert_eq!(block_on(db.delete_range_async(..name(5))).unwrap(), 3);
    assert_eq!(block_on(db.delete_prefix_async("key:")).unwrap(), 5);
    assert_eq!(db.delete_prefix("").unwrap(), 2);
    assert!(db.is_empty() && db.first().unwrap().is_none());
}

#[test]
fn integers_are_deleted_by_ranges_only() {
    let (_dir, db) = open(KeyKind::I64);
    db.ingest((-5000..5000i64).map(|number| (number, "x"))).unwrap();
    assert_eq!(db.delete_range(-4000..4000i64).unwrap(), 8000);
    assert_eq!(db.delete_range(4999i64..).unwrap(), 1);
    assert_eq!(db.len(), 1999);
    let error = db.delete_prefix("x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("i64 keys"), "{error}");
    assert_eq!(db.delete_range(0u64..).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(db.durable().delete_range(..).unwrap(), 1999);
    assert!(db.is_empty());
}

/// A writer that is faster than the deletion does not keep it going.
#[test]
fn a_deletion_ends_beside_writers() {
    let (_dir, db) = open(KeyKind::U64);
    db.ingest((0..20_000u64).map(|number| (number, "x"))).unwrap();
    let (ended, writer) = (std::sync::atomic::AtomicBool::new(false), db.clone());
    let deleted = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 20_000u64.. {
                if ended.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                writer.put(number, "x").unwrap();
            }
        });
        let deleted = db.delete_range(..);
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        deleted.unwrap()
    });
    assert!(deleted >= 20_000);
    assert!(db.range(..20_000u64).unwrap().next().is_none());
}

#[test]
fn the_life_of_a_database_in_a_task() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let db = Db::open_async(dir.path()).await.unwrap();
        let error = Db::open_async(dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("open in this process"), "{error}");
        let count = db.ingest_async((0..1000u64).map(|number| (number, "x"))).await.unwrap();
        assert_eq!(count, 1000);
        db.sync_async().await.unwrap();
        assert_eq!(
            db.ingest_async([("", "x")]).await.unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
        let clone = db.clone();
        db.close_async().await.unwrap();
        assert_eq!(clone.put_async("a", "1").await.unwrap_err().kind(), ErrorKind::Closed);
        drop(clone);
        let db = Db::builder(dir.path()).create(false).open_async().await.unwrap();
        assert_eq!(db.len(), 1000);
        assert!(db.recovery_report().clean);
    });
}

/// What was opened for a task that lost interest is closed again.
#[test]
fn an_opening_without_its_task_leaves_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Box::pin(Db::open_async(dir.path()));
    let _ = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(task);
    while let Err(error) = Db::open(dir.path()) {
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    }
}

#[test]
fn tasks_may_change_threads() {
    fn goes<T: Send>(task: T) -> T {
        task
    }
    let (_dir, db) = open(KeyKind::Bytes);
    db.put("a", "1").unwrap();
    assert_eq!(block_on(goes(db.delete_prefix_async("a"))).unwrap(), 1);
    assert_eq!(block_on(goes(db.delete_range_async("a".to_owned()..))).unwrap(), 0);
    assert!(block_on(goes(db.insert_async("b", "1"))).unwrap().is_written());
    assert!(!block_on(goes(db.put_if_version_async("b", "1", 0))).unwrap().is_written());
    assert!(block_on(goes(db.get_and_put_async("b", "2"))).unwrap().1.is_some());
    assert_eq!(block_on(goes(db.increment_async("c", 1))).unwrap().value, 1);
    assert!(block_on(goes(db.batch().insert("d", "1").commit_if_async())).unwrap().is_some());
    block_on(goes(db.sync_async())).unwrap();
    block_on(goes(db.clone().close_async())).unwrap();
}
