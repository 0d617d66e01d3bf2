//! Patches as their callers see them: verbs, batches, threads and tasks, the log and what replay
//! makes of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use uarr::value::{Bytes, Patch};
use uarr::{Db, Durability, ErrorKind, KeyKind, uarr};
use uarr_disk_sim::{FaultKind, Memory};

const INTERVAL: Durability = Durability::Interval(Duration::from_millis(2));

fn builder() -> uarr::Builder {
    Db::builder("memory").keys(KeyKind::U64).segment_bytes(1 << 20).chunk_bytes(1 << 20)
}

fn in_memory(durability: Durability) -> (Memory, Db<Memory>) {
    let memory = Memory::new();
    let db = builder().durability(durability).open_on(memory.clone()).unwrap();
    (memory, db)
}

fn set(field: &str, value: u64) -> Patch {
    Patch::from_record(uarr!([[0, [field], value]])).unwrap()
}

fn json(db: &Db<Memory>, key: u64) -> String {
    db.get(key).unwrap().unwrap().uarr().unwrap().to_string()
}

#[test]
fn what_cannot_be_patched_is_named_and_nothing_is_written() {
    for durability in [Durability::Sync, Durability::Manual] {
        let (_, db) = in_memory(durability);
        db.put(1u64, uarr!({ "a": 1, "b": [1] })).unwrap();
        db.put(2u64, b"no record").unwrap();
        let last = db.delete(3u64).unwrap().lsn;
        let check = |key: u64, patch: &Patch, kind: ErrorKind, part: &str| {
            let error = db.patch(key, patch).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(part), "{error}");
            let mut batch = db.batch();
            batch.put(9u64, b"with it").patch(key, patch);
            assert_eq!(batch.commit().unwrap_err().kind(), kind);
        };
        let one = set("a", 2);
        check(3, &one, ErrorKind::KeyNotFound, "key 3");
        check(4, &one, ErrorKind::KeyNotFound, "key 4");
        check(2, &one, ErrorKind::InvalidArgument, "no UArr record");
        let misfit = Patch::from_record(uarr!([[1, ["b", 7]]])).unwrap();
        check(1, &misfit, ErrorKind::InvalidArgument, "does not fit the value of key 1");
        assert!(!db.contains(9u64).unwrap());
        assert_eq!(db.put(5u64, b"next").unwrap().lsn, last + 1);
    }
}

#[test]
fn a_batch_patches_what_it_wrote_before() {
    let (memory, db) = in_memory(Durability::Sync);
    db.put(1u64, uarr!({ "a": 1, "b": 1 })).unwrap();
    let mut batch = db.batch();
    batch
        .patch(1u64, &set("a", 2))
        .patch(1u64, &set("b", 2))
        .put(2u64, uarr!({ "c": 1 }))
        .patch(2u64, &set("c", 2));
    batch.commit().unwrap();
    let gone = db.batch().delete(1u64).patch(1u64, &set("a", 3)).commit().unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::KeyNotFound);
    let db = builder().open_on(memory.crash()).unwrap();
    assert_eq!(json(&db, 1), r#"{"a":2,"b":2}"#);
    assert_eq!(json(&db, 2), r#"{"c":2}"#);
}

#[test]
fn the_log_gets_the_patch_and_readers_the_value() {
    let (memory, db) = in_memory(Durability::Sync);
    let filler = [7; 4000];
    let value = |number: u64| uarr!({ "number": number, "filler": Bytes(&filler) });
    let logged = |write: &dyn Fn()| {
        let before = db.stats().log_bytes;
        write();
        db.stats().log_bytes - before
    };
    let mut batch = db.batch();
    (0..100u64).for_each(|key| {
        batch.put(key, value(key));
    });
    batch.commit().unwrap();
    let whole = logged(&|| {
        let mut batch = db.batch();
        (0..100u64).for_each(|key| {
            batch.put(key, value(key + 1));
        });
        batch.commit().unwrap();
    });
    let patched = logged(&|| {
        let mut batch = db.batch();
        (0..100u64).for_each(|key| {
            batch.patch(key, &set("number", key + 2));
        });
        batch.commit().unwrap();
    });
    println!("log bytes of 100 changes of 4 KiB values: {whole} whole, {patched} as patches");
    assert!(patched * 15 < whole, "{patched} {whole}");
    let db = builder().open_on(memory.crash()).unwrap();
    assert_eq!(db.recovery_report().replayed_record_count, 300);
    for key in 0..100u64 {
        assert_eq!(db.get(key).unwrap().unwrap().bytes(), value(key + 2).as_bytes());
    }
    assert!(db.verify(|_| {}).unwrap().is_clean());
}

/// Each of `threads` changes a field of its own of one record, `rounds` times, while others put the
/// record of a neighbouring key.
fn patch_own_fields(db: &Db<Memory>, threads: u64, rounds: u64) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for round in 1..=rounds {
                    let patch = set(&format!("field-{thread}"), round);
                    db.patch(1u64, &patch).unwrap();
                    db.put(2u64, round.to_le_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn nothing_is_lost_when_threads_patch_one_record() {
    for durability in [Durability::Sync, INTERVAL] {
        let (memory, db) = in_memory(durability);
        db.put(1u64, uarr!({ "filler": Bytes(&[1; 500]) })).unwrap();
        patch_own_fields(&db, 4, 300);
        let check = |db: &Db<Memory>| {
            let record = db.get(1u64).unwrap().unwrap();
            let value = record.uarr().unwrap();
            for thread in 0..4 {
                let field = value.get(&*format!("field-{thread}"));
                assert_eq!(field.unwrap().as_u64(), Some(300), "{durability:?}");
            }
            record.bytes().to_vec()
        };
        let before = check(&db);
        db.sync().unwrap();
        let crashed = memory.crash();
        let again = crashed.crash();
        assert_eq!(check(&builder().open_on(crashed).unwrap()), before);
        // Recovery that dies and begins anew leads to the same bytes.
        assert_eq!(check(&builder().open_on(again).unwrap()), before);
    }
}

#[test]
fn tasks_and_threads_patch_one_record() {
    for durability in [Durability::Sync, INTERVAL] {
        let (_, db) = in_memory(durability);
        db.put(1u64, uarr!({ "filler": Bytes(&[1; 500]) })).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| patch_own_fields(&db, 2, 100));
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            runtime.block_on(async {
                let tasks = (0..8u64).map(|task| {
                    let db = db.clone();
                    tokio::spawn(async move {
                        for round in 1..=50 {
                            let patch = set(&format!("task-{task}"), round);
                            db.patch_async(1u64, &patch).await.unwrap();
                            let mut batch = db.batch();
                            batch.patch(1u64, &patch).put(2u64, b"x");
                            batch.commit_async().await.unwrap();
                        }
                    })
                });
                for task in tasks.collect::<Vec<_>>() {
                    task.await.unwrap();
                }
            });
        });
        let record = db.get(1u64).unwrap().unwrap();
        let value = record.uarr().unwrap();
        for task in 0..8 {
            assert_eq!(value.get(&*format!("task-{task}")).unwrap().as_u64(), Some(50));
        }
        for thread in 0..2 {
            assert_eq!(value.get(&*format!("field-{thread}")).unwrap().as_u64(), Some(100));
        }
    }
}

#[test]
fn patches_and_loads_wait_for_each_other() {
    for durability in [Durability::Sync, INTERVAL] {
        let (memory, db) = in_memory(durability);
        let value = |load: u64| uarr!({ "load": load, "filler": Bytes(&[1; 500]) });
        db.put(1u64, value(0)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let records = (0..3000).map(|step| (step % 2 + 1, value(step)));
                assert_eq!(db.ingest(records).unwrap(), 3000);
            });
            scope.spawn(|| {
                for step in 0..100 {
                    db.patch(1u64, &set("patch", step)).unwrap();
                }
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for step in 0..100 {
                    let patch = set("task", step);
                    db.patch_async(1u64, &patch).await.unwrap();
                }
            });
        });
        db.put(2u64, b"end").unwrap();
        db.sync().unwrap();
        let before = db.get(1u64).unwrap().unwrap().bytes().to_vec();
        let db = builder().open_on(memory.crash()).unwrap();
        assert_eq!(db.get(1u64).unwrap().unwrap().bytes(), before);
    }
}

#[test]
fn a_dropped_patch_holds_nobody_up() {
    let (_, db) = in_memory(Durability::Sync);
    db.put(1u64, uarr!({ "a": 0 })).unwrap();
    for round in 0..200u64 {
        let patch = set("a", round);
        let first = pin!(db.patch_async(1u64, &patch));
        let second = pin!(db.patch_async(1u64, &patch));
        // The first is staged, the second has to wait for it; then no task polls them again.
        let _ = first.poll(&mut Context::from_waker(Waker::noop()));
        let _ = second.poll(&mut Context::from_waker(Waker::noop()));
        db.patch(1u64, &set("b", round)).unwrap();
    }
    assert_eq!(json(&db, 1), r#"{"a":199,"b":199}"#);
}

#[test]
fn a_failed_group_fails_the_patches_that_wait_for_it() {
    let (memory, db) = in_memory(Durability::Sync);
    db.put(1u64, uarr!({ "a": 0 })).unwrap();
    memory.fail_next(FaultKind::LogFlush, 1);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let db = &db;
            scope.spawn(move || {
                let error = db.patch(1u64, &set("a", thread)).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{error}");
            });
        }
    });
    assert_eq!(json(&db, 1), r#"{"a":0}"#);
}

#[test]
fn patches_behind_a_checkpoint_build_upon_records_before_it() {
    let (memory, db) = in_memory(Durability::Sync);
    let value = |a: u64, b: u64| uarr!({ "a": a, "b": b, "filler": Bytes(&[3; 900]) });
    for key in 0..50u64 {
        db.put(key, value(0, 0)).unwrap();
        db.patch(key, &set("a", 1)).unwrap();
    }
    db.checkpoint().unwrap();
    for key in 0..50u64 {
        db.patch(key, &set("b", 2)).unwrap();
        db.patch(key, &set("a", 3)).unwrap();
    }
    // Each recovery ends with a checkpoint of its own or does not; the bytes are the same every
    // time.
    let mut disk = memory.crash();
    for _ in 0..3 {
        let db = builder().background(false).open_on(disk.clone()).unwrap();
        for key in 0..50u64 {
            assert_eq!(db.get(key).unwrap().unwrap().bytes(), value(3, 2).as_bytes(), "{key}");
        }
        disk = disk.crash();
    }
}
