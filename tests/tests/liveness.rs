//! Every caller gets an answer, even if the device fails.
//!
//! Promise proved: after any failure of the disk, with any error number, each thread, task, load,
//! `sync`, `checkpoint` and `close` under way ends within seconds, later writes are refused by
//! every verb, and nothing that was acknowledged as durable is lost.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use uarr::value::Patch;
use uarr::{Builder, Db, Durability, ErrorKind, KeyKind, WriteOptions, uarr};
use uarr_disk_sim::{Fault, FaultKind, Memory, MemoryOptions};

/// Far more than anything takes here.
const PATIENCE: Duration = Duration::from_secs(5);
const EIO: i32 = 5;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;
const INTERVAL: Durability = Durability::Interval(Duration::from_millis(2));
/// Key of the record that is patched.
const PATCHED: u64 = u64::MAX;
/// Keys of loads are above this.
const LOADED: u64 = 1 << 60;

fn builder(durability: Durability) -> Builder {
    Db::builder("memory")
        .keys(KeyKind::U64)
        .durability(durability)
        .group_bytes(1 << 14)
        .segment_bytes(1 << 18)
        .chunk_bytes(1 << 16)
        .address_space_bytes(1 << 28)
        .checkpoint_log_bytes(1 << 18)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn put_all(db: &Db<Memory>, count: u64, value: impl AsRef<[u8]>) {
    for number in 0..count {
        db.put(number, &value).unwrap();
    }
}

fn counted(count: u64) -> uarr::UArrBuf {
    uarr!({ "count": count })
}

fn count_of(record: &uarr::Record<'_>) -> u64 {
    record.uarr().unwrap().get("count").unwrap().as_u64().unwrap()
}

/// What has been acknowledged as durable: of each writer so many records, of the patched record so
/// many patches.
#[derive(Default)]
struct Durable {
    thread: AtomicU64,
    task: AtomicU64,
    patch: AtomicU64,
    load: AtomicU64,
}

/// What has been acknowledged in any way.
#[derive(Default)]
struct Acknowledged {
    durable: Durable,
    in_memory: AtomicU64,
    ends: AtomicBool,
}

/// Repeats `step` with rising numbers until it fails permanently or all are to end. Lack of room
/// alone is no end.
fn repeat(seen: &Acknowledged, mut step: impl FnMut(u64) -> uarr::Result<()>) -> Option<ErrorKind> {
    let mut number = 0;
    while !seen.ends.load(Ordering::Relaxed) {
        match step(number) {
            Ok(()) => number += 1,
            Err(error) if error.kind() == ErrorKind::NoSpace => thread::yield_now(),
            Err(error) => return Some(error.kind()),
        }
    }
    None
}

/// One who uses the database, and what it does until it fails.
type Worker = (&'static str, fn(&Db<Memory>, &Acknowledged) -> Option<ErrorKind>);

const WORKERS: [Worker; 8] = [
    ("a thread", |db, seen| {
        repeat(seen, |number| {
            let commit = db.put(number, [7; 600])?;
            seen.in_memory.store(number + 1, Ordering::SeqCst);
            if commit.is_durable {
                seen.durable.thread.fetch_max(number + 1, Ordering::SeqCst);
            }
            Ok(())
        })
    }),
    ("a thread with large batches", |db, seen| {
        repeat(seen, |number| {
            let mut batch = db.batch();
            (0..20).for_each(|_| {
                batch.put((1 << 50) | (number % 8), [1; 1000]);
            });
            batch.commit().map(drop)
        })
    }),
    ("a task", |db, seen| {
        repeat(seen, |number| {
            let durable = WriteOptions::new().durable();
            block_on(db.with(durable).put_async(1 << 40 | number, number.to_le_bytes()))?;
            seen.durable.task.store(number + 1, Ordering::SeqCst);
            Ok(())
        })
    }),
    ("a task that patches", |db, seen| {
        repeat(seen, |number| {
            let patch = Patch::from_record(uarr!([[0, ["count"], number + 1]])).unwrap();
            let durable = WriteOptions::new().durable();
            block_on(db.with(durable).patch_async(PATCHED, &patch))?;
            seen.durable.patch.store(number + 1, Ordering::SeqCst);
            Ok(())
        })
    }),
    ("a load", |db, seen| {
        repeat(seen, |number| {
            db.ingest((0..100).map(|i| (LOADED | (number * 100 + i), [3; 50])))?;
            seen.durable.load.store(number * 100 + 100, Ordering::SeqCst);
            Ok(())
        })
    }),
    ("one who syncs", |db, seen| {
        repeat(seen, |_| {
            let before = seen.in_memory.load(Ordering::SeqCst);
            db.sync()?;
            seen.durable.thread.fetch_max(before, Ordering::SeqCst);
            Ok(())
        })
    }),
    ("one who takes checkpoints", |db, seen| {
        repeat(seen, |_| {
            thread::sleep(Duration::from_millis(1));
            db.checkpoint()
        })
    }),
    ("a thread that deletes", |db, seen| {
        repeat(seen, |number| db.delete((1 << 51) | (number % 5)).map(drop))
    }),
];

/// Waits for all ends; names one that does not come.
fn wait_for_ends(place: &str, ends: &Receiver<&'static str>) {
    let mut missing: Vec<_> = WORKERS.iter().map(|(name, _)| *name).chain(["close"]).collect();
    while !missing.is_empty() {
        match ends.recv_timeout(PATIENCE) {
            Ok(name) => missing.retain(|other| *other != name),
            Err(_) => panic!("{place}: no answer for {missing:?}"),
        }
    }
}

fn spawn_all(
    db: &Db<Memory>,
    seen: &Arc<Acknowledged>,
    ended: &Sender<&'static str>,
) -> Vec<thread::JoinHandle<()>> {
    let threads = WORKERS.iter().map(|(name, work)| {
        let (db, seen, ended) = (db.clone(), seen.clone(), ended.clone());
        thread::spawn(move || {
            let end = work(&db, &seen);
            let expected = [ErrorKind::Poisoned, ErrorKind::Io, ErrorKind::Closed];
            assert!(end.is_none_or(|kind| expected.contains(&kind)), "{name}: {end:?}");
            drop(db);
            ended.send(name).unwrap();
        })
    });
    threads.collect()
}

/// Whether the database is poisoned; then every verb says so at once.
fn check_poison(db: &Db<Memory>, place: &str) -> bool {
    match db.put(1u64 << 52, b"x") {
        Err(error) if error.kind() == ErrorKind::Poisoned => {}
        _ => return false,
    }
    let durable = || WriteOptions::new().durable();
    let patch = Patch::from_record(uarr!([[0, ["count"], 1u64]])).unwrap();
    let outcomes = [
        ("put", db.put(5u64, b"x").map(drop)),
        ("durable().put", db.with(durable()).put(5u64, b"x").map(drop)),
        ("put_async", block_on(db.with(durable()).put_async(5u64, b"x")).map(drop)),
        ("delete", db.delete(5u64).map(drop)),
        ("delete_async", block_on(db.with(durable()).delete_async(5u64)).map(drop)),
        ("patch", db.patch(PATCHED, &patch).map(drop)),
        ("patch_async", block_on(db.with(durable()).patch_async(PATCHED, &patch)).map(drop)),
        ("batch", db.batch().put(5u64, b"x").commit().map(drop)),
        ("ingest", db.ingest([(5u64, b"x")]).map(drop)),
        ("sync", db.sync()),
        ("checkpoint", db.checkpoint()),
        ("tune", db.tune().map(drop)),
    ];
    for (verb, outcome) in outcomes {
        let kind = outcome.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::Poisoned), "{place}: {verb}");
    }
    assert!(db.get(PATCHED).unwrap().is_some(), "{place}: reads go on");
    true
}

/// Everything that was acknowledged as durable is there.
fn check_durable(db: &Db<Memory>, seen: &Acknowledged, place: &str) {
    let durable = &seen.durable;
    for number in 0..durable.thread.load(Ordering::SeqCst) {
        assert!(db.get(number).unwrap().is_some(), "{place}: record {number} of the thread");
    }
    for number in 0..durable.task.load(Ordering::SeqCst) {
        assert!(
            db.get(1 << 40 | number).unwrap().is_some(),
            "{place}: record {number} of the task"
        );
    }
    for number in 0..durable.load.load(Ordering::SeqCst) {
        assert!(db.get(LOADED | number).unwrap().is_some(), "{place}: record {number} of the load");
    }
    let patched = count_of(&db.get(PATCHED).unwrap().unwrap());
    assert!(patched >= durable.patch.load(Ordering::SeqCst), "{place}: a patch is lost");
    let report = db.verify(|_| {}).unwrap();
    assert!(report.is_clean(), "{place}: {:?}", report.damages);
}

/// A life in which `fault` happens. Returns whether it poisoned the database.
fn live(durability: Durability, fault: Fault, seed: u64, place: &str) -> bool {
    let disk = Memory::with_options(MemoryOptions { seed, ..Default::default() });
    let db = builder(durability).open_on(disk.clone()).unwrap();
    db.durable().put(PATCHED, counted(0)).unwrap();
    let seen = Arc::new(Acknowledged::default());
    let (ended, ends) = channel();
    disk.fail(fault);
    let threads = spawn_all(&db, &seen, &ended);
    thread::sleep(Duration::from_millis(if seed.is_multiple_of(2) { 15 } else { 40 }));
    let (closing, poisoned) = (db.clone(), Arc::new(AtomicBool::new(false)));
    let (done, noted, at) = (seen.clone(), poisoned.clone(), place.to_string());
    // Closed among writers, or after they have ended.
    let closer = thread::spawn(move || {
        noted.store(check_poison(&closing, &at), Ordering::SeqCst);
        let closed = closing.close().map_err(|error| error.kind());
        assert!(!(closed.is_ok() && noted.load(Ordering::SeqCst)), "{at}: a poisoned one closes");
        // To sync what is durable is right for ever.
        done.ends.store(true, Ordering::Relaxed);
        ended.send("close").unwrap();
    });
    if seed.is_multiple_of(3) {
        seen.ends.store(true, Ordering::Relaxed);
    }
    wait_for_ends(place, &ends);
    threads.into_iter().chain([closer]).for_each(|thread| thread.join().unwrap());
    drop(db);
    let disk = disk.crash_with(seed);
    let db = builder(durability).open_on(disk);
    let db = db.unwrap_or_else(|error| panic!("{place}: {error:?}"));
    check_durable(&db, &seen, place);
    poisoned.load(Ordering::SeqCst)
}

fn live_with_each(kind: FaultKind, counts: &[u64]) {
    let mut poisoned_count = 0;
    let errnos = [EIO, ENOSPC, EDQUOT, EFBIG];
    for (index, nth) in counts.iter().copied().enumerate() {
        for durability in [Durability::Sync, INTERVAL, Durability::Manual] {
            for lasting in [false, true] {
                let errno = errnos[(index + usize::from(lasting)) % errnos.len()];
                let fault = Fault::new(kind, nth).errno(errno);
                let fault = if lasting { fault.lasting() } else { fault };
                let place = format!("{kind:?} {nth}, {durability:?}, errno {errno}, {lasting}");
                let seed = nth + 7 * u64::from(lasting);
                poisoned_count += u64::from(live(durability, fault, seed, &place));
            }
        }
    }
    println!("{kind:?}: {poisoned_count} of {} were poisoned", counts.len() * 6);
}

#[test]
fn all_get_an_answer_when_a_log_write_fails() {
    live_with_each(FaultKind::LogWrite, &[1, 2, 9]);
}

#[test]
fn all_get_an_answer_when_a_flush_of_the_log_fails() {
    live_with_each(FaultKind::LogFlush, &[1, 5, 30]);
}

#[test]
fn all_get_an_answer_when_a_flush_of_a_file_fails() {
    live_with_each(FaultKind::MakeDurable, &[1, 2, 3, 4, 5, 6]);
}

#[test]
fn all_get_an_answer_when_a_flush_of_a_directory_fails() {
    live_with_each(FaultKind::MakeDirDurable, &[1, 2, 3]);
}

#[test]
fn all_get_an_answer_when_a_write_of_a_file_fails() {
    live_with_each(FaultKind::Write, &[1, 2, 5, 12]);
}

#[test]
fn all_get_an_answer_when_space_cannot_be_allocated() {
    live_with_each(FaultKind::Allocate, &[1, 2, 4]);
}

#[test]
fn all_get_an_answer_when_a_name_cannot_be_changed() {
    live_with_each(FaultKind::Name, &[1, 2, 3, 5]);
}

#[test]
fn all_get_an_answer_whatever_fails() {
    live_with_each(FaultKind::Any, &[1, 3, 8, 20, 50, 120]);
}

/// The calls of a checkpoint that hand something to the device: if one of them fails, with any
/// error number, the engine does not trust the device again. It may try earlier calls again.
#[test]
fn a_failed_flush_is_final_whatever_its_error_number() {
    for errno in [EIO, ENOSPC, EDQUOT, EFBIG] {
        let flushes = [
            (FaultKind::MakeDurable, "index/"),
            (FaultKind::MakeDirDurable, "index"),
            (FaultKind::MakeDurable, "data/"),
            (FaultKind::Write, "superblock"),
            (FaultKind::MakeDurable, "superblock"),
        ];
        for (kind, path) in flushes {
            check_checkpoint(Fault::new(kind, 1).on(path).errno(errno), true, path);
        }
        let before = [(FaultKind::Name, "index/"), (FaultKind::Write, "index/")];
        for (kind, path) in before {
            check_checkpoint(Fault::new(kind, 2).on(path).errno(errno), false, path);
        }
    }
}

fn check_checkpoint(fault: Fault, poisons: bool, path: &str) {
    let place = format!("{fault:?}");
    let disk = Memory::new();
    let open = |disk: &Memory| {
        let sizes = builder(Durability::Sync).segment_bytes(1 << 20).chunk_bytes(1 << 20);
        sizes.background(false).checkpoint_log_bytes(1 << 30).open_on(disk.clone()).unwrap()
    };
    let db = open(&disk);
    db.checkpoint().unwrap();
    put_all(&db, 300, [9; 2000]);
    disk.fail(fault);
    let failed = db.checkpoint();
    disk.forget_faults();
    if poisons || failed.is_err() {
        let kind = failed.unwrap_err().kind();
        assert_eq!(kind == ErrorKind::Poisoned, poisons, "{place}: {kind:?}");
    }
    let again = db.checkpoint().map_err(|error| error.kind());
    assert_eq!(again, if poisons { Err(ErrorKind::Poisoned) } else { Ok(()) }, "{place}, {path}");
    for seed in 0..4 {
        let db = open(&if seed == 0 { disk.crash() } else { disk.crash_with(seed) });
        (0..300u64).for_each(|number| {
            let record = db.get(number).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            assert!(record.is_some_and(|record| record.bytes() == [9; 2000]), "{place}: {number}");
        });
        assert!(db.verify(|_| {}).unwrap().is_clean(), "{place}");
    }
}

/// A segment that could not be made durable is never written to.
#[test]
fn a_failed_flush_of_a_segment_is_final() {
    for (kind, path) in [(FaultKind::MakeDurable, "wal/"), (FaultKind::MakeDirDurable, "wal")] {
        for errno in [EIO, ENOSPC] {
            let disk = Memory::new();
            let db = builder(Durability::Sync).background(false).open_on(disk.clone()).unwrap();
            disk.fail(Fault::new(kind, 1).on(path).errno(errno));
            let mut count = 0u64;
            let error = loop {
                match db.put(count, [4; 3000]) {
                    Ok(_) => count += 1,
                    Err(error) => break error,
                }
                assert!(count < 1000, "the first segment never ends");
            };
            assert!([ErrorKind::Poisoned, ErrorKind::Io].contains(&error.kind()), "{error:?}");
            assert!(check_poison_of_writes(&db));
            let db = builder(Durability::Sync).background(false).open_on(disk.crash()).unwrap();
            (0..count).for_each(|number| assert!(db.get(number).unwrap().is_some()));
        }
    }
}

fn check_poison_of_writes(db: &Db<Memory>) -> bool {
    db.put(1u64, b"x").is_err_and(|error| error.kind() == ErrorKind::Poisoned)
        && db.checkpoint().is_err_and(|error| error.kind() == ErrorKind::Poisoned)
}

/// Deaths at every call of the checkpoint that follows a failed one.
#[test]
fn a_checkpoint_after_a_failed_one_loses_nothing() {
    let sizes = || builder(Durability::Sync).background(false).checkpoint_log_bytes(1 << 30);
    for (kind, path) in [
        (FaultKind::Write, "index/"),
        (FaultKind::MakeDurable, "index/"),
        (FaultKind::MakeDurable, "superblock"),
        (FaultKind::Write, "superblock"),
    ] {
        for step in 1..30u64 {
            let disk = Memory::with_options(MemoryOptions { seed: step, ..Default::default() });
            let db = sizes().open_on(disk.clone()).unwrap();
            let put = |round: u8| (0..40u64).all(|number| db.put(number, [round; 100]).is_ok());
            assert!(put(1));
            db.checkpoint().unwrap();
            assert!(put(2));
            disk.fail(Fault::new(kind, 1).on(path).errno(ENOSPC));
            db.checkpoint().unwrap_err();
            let newest = if put(3) { 3 } else { 2 };
            disk.die_at(step, uarr_disk_sim::Death::PowerLoss, step);
            let _ = db.checkpoint();
            let after = disk.remains().unwrap_or_else(|| disk.crash_with(step));
            let db = sizes().open_on(after).unwrap();
            for number in 0..40u64 {
                let found = db.get(number).unwrap().map(|record| record.bytes()[0]);
                assert_eq!(found, Some(newest), "{kind:?} {path}, step {step}, record {number}");
            }
        }
    }
}

/// No `close` returns before everything is durable, also one that comes second.
#[test]
fn a_second_close_waits_for_the_first_and_returns_the_same() {
    const COUNT: u64 = 20_000;
    for fails in [false, true] {
        let disk = Memory::new();
        let sizes = || builder(Durability::Manual).segment_bytes(1 << 22).chunk_bytes(1 << 22);
        let db = sizes().open_on(disk.clone()).unwrap();
        put_all(&db, COUNT, [5; 10]);
        if fails {
            disk.fail(Fault::new(FaultKind::MakeDurable, 1).on("data/").errno(ENOSPC));
        }
        let barrier = Barrier::new(3);
        let close = |handle: Db<Memory>| {
            barrier.wait();
            let closed = handle.close().map_err(|error| error.kind());
            (closed, disk.crash_with(1))
        };
        let outcomes = thread::scope(|scope| {
            let handles = [db.clone(), db.clone(), db];
            let closers = handles.map(|handle| scope.spawn(|| close(handle)));
            closers.map(|closer| closer.join().unwrap())
        });
        for (closed, after) in outcomes {
            assert_eq!(closed, if fails { Err(ErrorKind::Poisoned) } else { Ok(()) });
            if closed.is_ok() {
                let db = sizes().background(false).open_on(after).unwrap();
                assert_eq!(db.stats().key_count, COUNT);
            }
        }
    }
}

/// Each call of an open fails in turn: nothing is left that would keep the next one out.
#[test]
fn a_failed_open_leaves_nothing_behind() {
    for exists in [false, true] {
        for nth in 1..200 {
            let disk = Memory::new();
            if exists {
                let db = builder(Durability::Sync).open_on(disk.clone()).unwrap();
                put_all(&db, 100, [2; 1000]);
                db.checkpoint().unwrap();
                std::mem::forget(db.clone());
                drop(db);
            }
            let disk = disk.kill_with(nth);
            disk.fail_next(FaultKind::Any, nth);
            let failed = builder(Durability::Sync).background(false).open_on(disk.clone()).is_err();
            let is_over = disk.faults_waiting() > 0;
            disk.forget_faults();
            let again = builder(Durability::Sync).open_on(disk);
            assert!(again.is_ok(), "exists {exists}, call {nth}, {failed}: {:?}", again.err());
            if is_over {
                assert!(nth > 10);
                break;
            }
        }
    }
}
