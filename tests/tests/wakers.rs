//! Code of users that the engine calls: wakers.
//!
//! Promise proved: a waker may poll its task at once, on any thread that calls it; it may call
//! every verb of the database, drop its last handle, and panic. Every task still gets an answer,
//! and nothing is lost.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use uarr::value::Patch;
use uarr::{Builder, Db, Durability, ErrorKind, KeyKind, WriteOptions, uarr};
use uarr_disk_sim::{Fault, FaultKind, Memory};

/// Far more than anything takes here.
const PATIENCE: Duration = Duration::from_secs(5);
const TASK_COUNT: u64 = 12;
const ROUND_COUNT: u64 = 6;
const PATCHED: u64 = u64::MAX;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
/// What a waker does before it polls its task.
type Deed = fn(&Db<Memory>);

fn builder(durability: Durability) -> Builder {
    Db::builder("memory")
        .keys(KeyKind::U64)
        .durability(durability)
        .group_bytes(1 << 14)
        .segment_bytes(1 << 20)
        .chunk_bytes(1 << 20)
        .address_space_bytes(1 << 30)
}

/// A task whose executor has no queue: to wake it is to poll it.
struct Task {
    work: Mutex<Option<Work>>,
    /// Woken while it was polled.
    again: AtomicBool,
    deed: Deed,
    db: Db<Memory>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        (self.deed)(&self.db);
        self.poll();
    }
}

impl Task {
    fn poll(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        loop {
            let Some(mut work) = self.work.lock().unwrap().take() else {
                return self.again.store(true, Ordering::SeqCst);
            };
            self.again.store(false, Ordering::SeqCst);
            if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return;
            }
            *self.work.lock().unwrap() = Some(work);
            if !self.again.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

fn patch(number: u64) -> Patch {
    Patch::from_record(uarr!([[0, ["n"], number]])).unwrap()
}

/// Every verb. What it returns is no matter: some runs are poisoned, some are closed.
const VERBS: [(&str, Deed); 21] = [
    ("nothing", |_| {}),
    ("get", |db| drop(db.get(1u64))),
    ("get_many", |db| drop(db.get_many(&[1u64, 2, 3]))),
    ("range", |db| drop(db.range(0u64..9).map(Iterator::count))),
    ("stats", |db| drop(db.stats())),
    ("put", |db| drop(db.put(1u64 << 60, [1; 100]))),
    ("put, durable", |db| {
        drop(db.durable().put(1u64 << 60, [1; 100]));
    }),
    ("put, large", |db| drop(db.put(1u64 << 61, [1; 40_000]))),
    ("delete", |db| drop(db.delete(1u64 << 60))),
    ("delete_range", |db| drop(db.delete_range(1u64 << 59..1 << 60))),
    ("len", |db| _ = db.len()),
    ("patch", |db| drop(db.patch(PATCHED, &patch(0)))),
    ("batch", |db| {
        drop(db.batch().put(1u64 << 60, b"x").patch(PATCHED, &patch(1)).commit());
    }),
    ("ingest", |db| drop(db.ingest((0..50u64).map(|number| (1 << 59 | number, [1; 300]))))),
    ("sync", |db| drop(db.sync())),
    ("checkpoint", |db| drop(db.checkpoint())),
    ("verify", |db| drop(db.verify(|_| {}))),
    ("step", |db| drop(db.step())),
    ("close", |db| drop(db.clone().close())),
    ("clone and drop", |db| drop(db.clone())),
    ("panic", |_| std::panic::resume_unwind(Box::new("a waker panics"))),
];

/// A waker that panics does not poll: the patient test calls it again.
fn poll_again(tasks: &Mutex<Vec<Arc<Task>>>) {
    tasks.lock().unwrap().iter().for_each(Task::poll);
}

fn put_and_patch(db: Db<Memory>, task: u64, told: Sender<u64>) -> Work {
    Box::pin(async move {
        for round in 0..ROUND_COUNT {
            let options = match task % 3 {
                0 => WriteOptions::new(),
                _ => WriteOptions::new().durable(),
            };
            let key = task << 32 | round;
            let outcome = match task % 2 {
                0 => db.with(options).put_async(key, [7; 5000]).await,
                _ => db.with(options).patch_async(PATCHED, &patch(key)).await,
            };
            if outcome.is_err() {
                break;
            }
        }
        drop(db);
        told.send(task).unwrap();
    })
}

fn wait_for_tasks(place: &str, outcomes: &Receiver<u64>, more: impl Fn()) {
    let mut missing: Vec<_> = (0..TASK_COUNT).collect();
    let begun = Instant::now();
    while !missing.is_empty() {
        match outcomes.recv_timeout(Duration::from_millis(20)) {
            Ok(task) => missing.retain(|other| *other != task),
            Err(_) if begun.elapsed() < PATIENCE => more(),
            Err(_) => panic!("{place}: no outcome for tasks {missing:?}"),
        }
    }
}

/// Tasks put, and patch one record, beside threads that do, while every waker does its deed.
fn run(verb: &'static str, deed: Deed, durability: Durability, fault: Option<Fault>) {
    let place = format!("{verb}, {durability:?}, {fault:?}");
    let disk = Memory::new();
    let db = builder(durability).open_on(disk.clone()).unwrap();
    db.put(PATCHED, uarr!({ "n": 0u64, "text": "so that a patch is shorter" })).unwrap();
    db.sync().unwrap();
    fault.into_iter().for_each(|fault| disk.fail(fault));
    let (told, outcomes) = channel();
    let ends = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2u64)
        .map(|thread| {
            let (db, ends) = (db.clone(), ends.clone());
            thread::spawn(move || {
                // Bounded, so that what wakers read stays small.
                for number in 0..2000 {
                    let is_over = ends.load(Ordering::Relaxed);
                    if is_over || db.put((thread << 50) | (number % 200), [3; 900]).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    let tasks = Arc::new(Mutex::new(Vec::new()));
    // On a thread of its own: a database that hangs must not hang the test.
    let (spawner_db, spawner_tasks) = (db.clone(), tasks.clone());
    thread::spawn(move || {
        for number in 0..TASK_COUNT {
            let work = put_and_patch(spawner_db.clone(), number, told.clone());
            let (work, again) = (Mutex::new(Some(work)), AtomicBool::new(false));
            let task = Arc::new(Task { work, again, deed, db: spawner_db.clone() });
            spawner_tasks.lock().unwrap().push(task.clone());
            task.poll();
        }
    });
    wait_for_tasks(&place, &outcomes, || {
        if verb == "panic" {
            poll_again(&tasks);
        }
    });
    ends.store(true, Ordering::Relaxed);
    let (closed, is_closed) = channel();
    thread::spawn(move || closed.send(db.close().map_err(|error| error.kind())).unwrap());
    let Ok(outcome) = is_closed.recv_timeout(PATIENCE) else { panic!("{place}: close hangs") };
    let is_expected = outcome.is_ok() || outcome == Err(ErrorKind::Poisoned);
    assert!(is_expected, "{place}: {outcome:?}");
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn every_verb_may_be_called_by_every_waker() {
    for (verb, deed) in VERBS {
        for durability in [Durability::Sync, Durability::Manual] {
            run(verb, deed, durability, None);
        }
    }
}

#[test]
fn every_verb_may_be_called_by_wakers_that_hear_of_a_failure() {
    for (verb, deed) in VERBS {
        for (kind, nth) in [(FaultKind::LogFlush, 8), (FaultKind::MakeDurable, 2)] {
            run(verb, deed, Durability::Sync, Some(Fault::new(kind, nth).errno(28)));
        }
    }
}

/// The executor is gone: to wake a task is to drop it, and with it the last handle of the database.
struct Orphan(Mutex<Option<Work>>);

impl Wake for Orphan {
    fn wake(self: Arc<Self>) {
        let work = self.0.lock().unwrap().take();
        drop(work);
    }
}

#[test]
fn a_waker_may_drop_the_last_handle() {
    const COUNT: u64 = 500;
    for durability in [Durability::Sync, Durability::Manual] {
        for round in 0..20 {
            let disk = Memory::new();
            let db = builder(durability).open_on(disk.clone()).unwrap();
            for number in 0..COUNT {
                db.put(number, b"some text").unwrap();
            }
            let work: Work = Box::pin(async move {
                let _ = db.durable().put_async(COUNT, b"x").await;
            });
            let orphan = Arc::new(Orphan(Mutex::new(None)));
            let mut work = work;
            let waker = Waker::from(orphan.clone());
            if work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                *orphan.0.lock().unwrap() = Some(work);
            }
            // The waker may have come too early; on half of the rounds it comes from here in any
            // case.
            thread::sleep(Duration::from_millis(round % 4));
            waker.wake();
            let begun = Instant::now();
            let db = loop {
                match builder(durability).open_on(disk.clone()) {
                    Ok(db) => break db,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Locked),
                }
                assert!(begun.elapsed() < PATIENCE, "the database is never closed");
                thread::sleep(Duration::from_millis(1));
            };
            assert!(db.recovery_report().clean, "it was closed in order");
            assert_eq!(db.iter().count() as u64, COUNT + 1);
        }
    }
}

/// Members of a group hear of it although the waker of another one panics.
#[test]
fn a_waker_that_panics_holds_nobody_up() {
    struct Panics(AtomicU64);
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            std::panic::resume_unwind(Box::new("a waker panics"));
        }
    }
    let db = builder(Durability::Sync).open_on(Memory::new()).unwrap();
    let panics = Arc::new(Panics(AtomicU64::new(0)));
    let waker = Waker::from(panics.clone());
    for number in 0..200u64 {
        let mut put = Box::pin(db.put_async(number, b"x"));
        let mut context = Context::from_waker(&waker);
        let is_ready = put.as_mut().poll(&mut context).is_ready();
        // Shares the group or comes behind it.
        db.put(1000 + number, b"y").unwrap();
        assert!(is_ready || put.as_mut().poll(&mut context).is_ready());
    }
    assert!(panics.0.load(Ordering::SeqCst) > 0);
    db.close().unwrap();
}

/// Puts behind more full groups, for which only tasks wait, than are at the device at once.
struct Puts {
    db: Db<Memory>,
    ended: Sender<String>,
}

impl Wake for Puts {
    fn wake(self: Arc<Self>) {
        let mut context = Context::from_waker(Waker::noop());
        let mut tasks: Vec<Work> = Vec::new();
        for key in 1..7u64 {
            let db = self.db.clone();
            tasks.push(Box::pin(async move {
                db.durable().put_async(key, [7; 12_000]).await.unwrap();
            }));
        }
        assert!(tasks.iter_mut().all(|task| task.as_mut().poll(&mut context).is_pending()));
        let commit = self.db.durable().put(9u64, [7; 12_000]).unwrap();
        assert!(commit.is_durable);
        let thread = thread::current().name().unwrap_or_default().to_owned();
        self.ended.send(thread).unwrap();
    }
}

#[test]
fn a_waker_may_wait_for_a_group_behind_those_of_tasks() {
    for durability in [Durability::Sync, Durability::Interval(Duration::from_secs(600))] {
        let db = builder(durability).open_on(Memory::new()).unwrap();
        let (ended, ends) = channel();
        let waker = Waker::from(Arc::new(Puts { db: db.clone(), ended }));
        let durable = WriteOptions::new().durable();
        // The log thread may be so quick that no task waits for a wake-up.
        let task = loop {
            let mut task = Box::pin(db.with(durable).put_async(0u64, b"x"));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                break task;
            }
        };
        let thread = ends.recv_timeout(PATIENCE).expect("the waker gets an answer");
        assert_eq!(thread, "uarr-log", "this is about the thread that writes for tasks");
        drop((task, waker));
        db.close().unwrap();
    }
}

/// Counts; holds the thread up that wakes it for so long.
struct Counts(AtomicU64, Duration);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        thread::sleep(self.1);
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_task_that_is_polled_often_is_woken_once() {
    let db = builder(Durability::Sync).open_on(Memory::new()).unwrap();
    let record = || uarr!({ "n": 1, "text": "x".repeat(12_000) });
    db.put(PATCHED, record()).unwrap();
    let options = WriteOptions::new;
    // While the log thread is held up, tasks wait for the newest version of a key, and for room.
    let holder = Waker::from(Arc::new(Counts(AtomicU64::new(0), Duration::from_millis(200))));
    let mut hold = Box::pin(db.with(options()).put_async(0u64, b"x"));
    let _ = hold.as_mut().poll(&mut Context::from_waker(&holder));
    thread::sleep(Duration::from_millis(50));
    let mut ahead: Vec<_> =
        (0..8).map(|_| Box::pin(db.with(options()).put_async(PATCHED, record()))).collect();
    for put in &mut ahead {
        let _ = put.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    let counts = [(); 2].map(|()| Arc::new(Counts(AtomicU64::new(0), Duration::ZERO)));
    let [first, second] = counts.clone().map(Waker::from);
    let change = patch(2);
    let mut patched = Box::pin(db.with(options()).patch_async(PATCHED, &change));
    let mut put = Box::pin(db.with(options()).put_async(1u64, [1; 12_000]));
    // A future that is ready must not be polled again: the log thread may have come back early.
    let poll_often = |future: &mut dyn FnMut() -> bool| (0..1000).all(|_| future());
    poll_often(&mut || patched.as_mut().poll(&mut Context::from_waker(&first)).is_pending());
    poll_often(&mut || put.as_mut().poll(&mut Context::from_waker(&second)).is_pending());
    db.sync().unwrap();
    thread::sleep(Duration::from_millis(400));
    // For room or a version, for groups that were settled before it, and for its own.
    let woken = counts.map(|count| count.0.load(Ordering::SeqCst));
    assert!(woken.iter().all(|woken| *woken < 50), "{woken:?}");
    drop((ahead, patched, put, hold));
    db.close().unwrap();
}

/// Closes another database when it is woken, once all of these are at that.
struct Closes {
    other: Mutex<Option<Db<Memory>>>,
    begun: Arc<Barrier>,
    told: Sender<uarr::Result<()>>,
}

impl Wake for Closes {
    fn wake(self: Arc<Self>) {
        let Some(other) = self.other.lock().unwrap().take() else { return };
        self.begun.wait();
        let _ = self.told.send(other.close());
    }
}

/// In a circle each log thread closes the next database, and so would wait for the one that waits
/// for it.
#[test]
fn wakers_may_close_each_others_databases() {
    for count in [2, 3] {
        let memories: Vec<_> = (0..count).map(|_| Memory::new()).collect();
        let open = |memory: &Memory| builder(Durability::Sync).open_on(memory.clone()).unwrap();
        let dbs: Vec<_> = memories.iter().map(open).collect();
        let (told, outcomes) = channel();
        let begun = Arc::new(Barrier::new(count));
        // Nothing is settled before all tasks wait.
        memories.iter().for_each(|memory| memory.answer(Some(0)));
        let mut puts = Vec::new();
        for (index, db) in dbs.iter().cloned().enumerate() {
            let other = Mutex::new(Some(dbs[(index + 1) % count].clone()));
            let closes = Closes { other, begun: begun.clone(), told: told.clone() };
            let waker = Waker::from(Arc::new(closes));
            let mut put = Box::pin(async move { db.put_async(1u64, b"x").await.map(drop) });
            assert!(put.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            puts.push(put);
        }
        memories.iter().for_each(|memory| memory.answer(None));
        for _ in 0..count {
            let outcome = outcomes.recv_timeout(PATIENCE).expect("each is closed");
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        for (db, memory) in dbs.into_iter().zip(&memories) {
            db.close().unwrap();
            let db = builder(Durability::Sync).open_on(memory.crash()).unwrap();
            assert!(db.contains(1u64).unwrap() && db.recovery_report().clean);
        }
    }
}
