//! A transaction that runs again reads what is staged, before it is durable or visible. Its caller
//! gets the result only when that is durable.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use uarr::value::Patch;
use uarr::{Db, ErrorKind, KeyKind, Transaction, uarr};
use uarr_disk_sim::{Fault, FaultKind, Memory};

const ENOSPC: i32 = 28;
/// By then a call that does not wait for the device is done.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);
/// The key that others write.
const HOT: u64 = 2;
/// More than there is room for behind other records of a group.
const LARGE: usize = 400 << 10;

type Put = Pin<Box<dyn Future<Output = uarr::Result<()>> + Send>>;
type Tx = Transaction<Memory>;

/// A database whose device holds a group back.
struct Held {
    memory: Memory,
    db: Db<Memory>,
    run_count: AtomicUsize,
    /// Puts of the hot key that are staged behind it.
    staged: Mutex<Vec<Put>>,
    /// What each run has found.
    found: Mutex<Vec<(Option<u8>, u64)>>,
}

/// Has the device answer.
struct Release<'a>(&'a Memory);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.answer(None);
    }
}

fn put(db: &Db<Memory>, key: u64, value: u8) -> Put {
    let db = db.clone();
    let mut put: Put = Box::pin(async move { db.put_async(key, [value]).await.map(drop) });
    assert!(put.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    put
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Why a transaction has ended: an error of the engine, or its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Error(ErrorKind),
    GivenUp,
}

impl From<uarr::Error> for End {
    fn from(error: uarr::Error) -> Self {
        Self::Error(error.kind())
    }
}

/// What a run does when it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Raise,
    /// And writes so much more that it begins the next group.
    RaiseAndMore,
    Nothing,
    GiveUp,
}

impl Then {
    const ALL: [Self; 4] = [Self::Raise, Self::RaiseAndMore, Self::Nothing, Self::GiveUp];

    fn act(self, tx: &mut Tx) -> Result<(), End> {
        match self {
            Self::Raise | Self::RaiseAndMore => {
                let found = tx.get(HOT)?.map_or(0, |found| found[0]);
                tx.put(HOT, [found + 1])?;
            }
            Self::Nothing => {}
            Self::GiveUp => return Err(End::GivenUp),
        }
        if self == Self::RaiseAndMore {
            tx.put(7_u64, vec![7; LARGE])?;
        }
        Ok(())
    }

    fn writes(self) -> bool {
        matches!(self, Self::Raise | Self::RaiseAndMore)
    }

    /// How it ends when nothing comes in between.
    fn end(self) -> Result<(), End> {
        if self == Self::GiveUp { Err(End::GivenUp) } else { Ok(()) }
    }
}

impl Held {
    /// The hot key has 10, and is visible; the device holds the group behind it.
    fn new() -> Self {
        let memory = Memory::new();
        let builder = Db::builder("memory").keys(KeyKind::U64).segment_bytes(1 << 22);
        let db = builder.chunk_bytes(1 << 20).open_on(memory.clone()).unwrap();
        db.put(HOT, [10]).unwrap();
        // From now on it is noted what is written, so none waits to begin.
        drop(db.begin().unwrap());
        memory.answer(Some(0));
        let sent = memory.sent_count();
        let first = put(&db, 1, 1);
        wait_until("the device has the first group", || memory.sent_count() == sent + 1);
        let staged = Mutex::new(vec![first]);
        Self { memory, db, run_count: AtomicUsize::new(0), staged, found: Mutex::default() }
    }

    /// One run: in the first one somebody sets the hot key to 20, so that it conflicts.
    fn run(&self, tx: &mut Tx, then: Then) -> Result<(), End> {
        let number = self.run_count.fetch_add(1, Ordering::SeqCst);
        let found = tx.get(HOT)?;
        let in_range: Vec<_> = tx.range(HOT..3)?.collect::<Result<_, _>>()?;
        assert_eq!(in_range.first().map(|one| one.bytes()), found.as_ref().map(|one| one.bytes()));
        let version = found.as_ref().map_or(0, |found| found.version());
        assert!(version <= tx.version());
        self.found.lock().unwrap().push((found.map(|found| found[0]), version));
        if number == 0 {
            self.staged.lock().unwrap().push(put(&self.db, HOT, 20));
            // Something is written, so that the commit compares.
            return Ok(tx.put(5_u64, b"5")?);
        }
        then.act(tx)
    }

    /// Runs it, and comes back when it has run twice, the second time while the device holds all.
    fn transact<'s>(
        &'s self,
        scope: &'s thread::Scope<'s, '_>,
        is_task: bool,
        then: Then,
    ) -> ScopedJoinHandle<'s, Result<(), End>> {
        let sent = self.memory.sent_count();
        let running = scope.spawn(move || match is_task {
            false => self.db.transaction(|tx| self.run(tx, then)),
            true => block_on(self.db.transaction_async(async |tx| self.run(tx, then))),
        });
        // A test that fails here does not wait for the thread.
        let release = Release(&self.memory);
        wait_until("it runs again", || self.run_count.load(Ordering::SeqCst) == 2);
        thread::sleep(PAUSE);
        assert!(!running.is_finished(), "it tells what is not durable");
        assert_eq!(self.db.get(HOT).unwrap().unwrap(), [10], "others do not see it");
        assert_eq!(self.memory.sent_count(), sent, "the device has nothing new");
        let found = self.found.lock().unwrap().clone();
        let [(first, before), (again, version)] = found[..] else { panic!("{found:?}") };
        assert_eq!((first, again), (Some(10), Some(20)));
        assert!(before < version, "it has a version already");
        std::mem::forget(release);
        running
    }

    fn found(&self) -> Vec<Option<u8>> {
        self.found.lock().unwrap().iter().map(|(found, _)| *found).collect()
    }
}

/// With a device that holds all, as a thread and as a task, for each that a run may do.
fn each(check: impl Fn(&Held, bool, Then)) {
    for then in Then::ALL {
        for is_task in [false, true] {
            check(&Held::new(), is_task, then);
        }
    }
}

#[test]
fn what_is_staged_is_gone_on_from_and_told_when_it_is_durable() {
    each(|held, is_task, then| {
        thread::scope(|scope| {
            let running = held.transact(scope, is_task, then);
            held.memory.answer(None);
            assert_eq!(running.join().unwrap(), then.end());
        });
        let hot = if then.writes() { 21 } else { 20 };
        assert_eq!(held.db.get(HOT).unwrap().unwrap(), [hot]);
        assert_eq!(held.found(), [Some(10), Some(20)]);
        assert!(!held.db.contains(5_u64).unwrap(), "the first run has written nothing");
    });
}

#[test]
fn what_is_lost_is_told_nobody() {
    each(|held, is_task, then| {
        thread::scope(|scope| {
            let running = held.transact(scope, is_task, then);
            held.memory.fail_next(FaultKind::LogWrite, 1);
            held.memory.answer(None);
            assert_eq!(running.join().unwrap(), Err(End::Error(ErrorKind::Poisoned)));
        });
        assert_eq!(held.db.get(HOT).unwrap().unwrap(), [10]);
    });
}

/// Runs it; in its second run what it has read fails with `fault`, and is settled.
fn transact_beside(held: &Held, is_task: bool, then: Then, fault: &Fault) -> Result<(), End> {
    let run = |tx: &mut Tx| {
        if held.run_count.load(Ordering::SeqCst) == 1 {
            held.memory.fail(fault.clone());
            held.memory.answer(None);
            _ = held.db.sync();
        }
        held.run(tx, then)
    };
    match is_task {
        false => held.db.transaction(run),
        true => block_on(held.db.transaction_async(async |tx| run(tx))),
    }
}

#[test]
fn what_is_refused_for_lack_of_room_takes_with_it_what_builds_upon_it() {
    each(|held, is_task, then| {
        thread::scope(|scope| {
            let running = held.transact(scope, is_task, then);
            // The group with the hot key; the log takes those behind it.
            held.memory.fail(Fault::new(FaultKind::LogRefused, 1).errno(ENOSPC));
            held.memory.answer(None);
            let outcome = running.join().unwrap();
            if then.writes() {
                assert_eq!(outcome, Err(End::Error(ErrorKind::NoSpace)));
            } else {
                assert_eq!(outcome, then.end());
                assert_eq!(held.found(), [Some(10), Some(20), Some(10)], "it ran once more");
            }
        });
        assert_eq!(held.db.get(HOT).unwrap().unwrap(), [10]);
        assert!(!held.db.contains(7_u64).unwrap());
        held.db.transaction(|tx| Then::Raise.act(tx)).unwrap();
        assert_eq!(held.db.get(HOT).unwrap().unwrap(), [11]);
    });
}

#[test]
fn what_was_lost_while_it_ran_is_told_nobody() {
    each(|held, is_task, then| {
        let outcome = transact_beside(held, is_task, then, &Fault::new(FaultKind::LogWrite, 1));
        assert_eq!(outcome, Err(End::Error(ErrorKind::Poisoned)));
        assert_eq!(held.found(), [Some(10), Some(20)]);
    });
}

#[test]
fn what_was_refused_while_it_ran_is_read_anew() {
    each(|held, is_task, then| {
        let fault = Fault::new(FaultKind::LogRefused, 1).errno(ENOSPC);
        assert_eq!(transact_beside(held, is_task, then, &fault), then.end());
        assert_eq!(held.found(), [Some(10), Some(20), Some(10)]);
        let hot = if then.writes() { 11 } else { 10 };
        assert_eq!(held.db.get(HOT).unwrap().unwrap(), [hot]);
    });
}

/// The body keeps what it has read by putting another transaction in its place.
#[test]
fn a_transaction_stays_in_its_place() {
    for is_task in [false, true] {
        let held = Held::new();
        let run = |tx: &mut Tx| {
            held.run(tx, Then::Nothing)?;
            if held.run_count.load(Ordering::SeqCst) == 2 {
                let mut ahead = held.db.begin()?;
                std::mem::swap(&mut ahead, tx);
                return Ok(ahead.get(HOT)?.map(|found| found[0]));
            }
            Ok(None)
        };
        let told = match is_task {
            false => held.db.transaction(run),
            true => block_on(held.db.transaction_async(async |tx| run(tx))),
        };
        assert_eq!(told, Err(End::Error(ErrorKind::InvalidArgument)));
        held.memory.answer(None);
    }
}

/// A task was told that the database was closed, where a thread got the result.
#[test]
fn what_is_durable_is_told_although_the_database_was_closed() {
    for is_task in [false, true] {
        let held = Held::new();
        let run = |tx: &mut Tx| {
            if held.run_count.load(Ordering::SeqCst) == 1 {
                held.memory.answer(None);
                held.db.clone().close()?;
            }
            held.run(tx, Then::Nothing)
        };
        let told = match is_task {
            false => held.db.transaction(run),
            true => block_on(held.db.transaction_async(async |tx| run(tx))),
        };
        assert_eq!(told, Ok(()));
        assert_eq!(held.found(), [Some(10), Some(20)]);
    }
}

/// A short patch that leads to a long value was copied under the lock with all of that.
#[test]
fn what_is_too_long_to_copy_is_waited_for() {
    let memory = Memory::new();
    let builder = Db::builder("memory").keys(KeyKind::U64).segment_bytes(1 << 22);
    let db = builder.chunk_bytes(1 << 20).open_on(memory.clone()).unwrap();
    db.put(HOT, uarr!({ "n": 1, "text": "x".repeat(LARGE) })).unwrap();
    drop(db.begin().unwrap());
    memory.answer(Some(0));
    let sent = memory.sent_count();
    let _first = put(&db, 1, 1);
    wait_until("the device has the first group", || memory.sent_count() == sent + 1);
    let change = Patch::builder().set("n", 2).build().unwrap();
    let mut patched = Box::pin(db.patch_async(HOT, &change));
    let run_count = AtomicUsize::new(0);
    thread::scope(|scope| {
        let release = Release(&memory);
        assert!(patched.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let running = scope.spawn(|| {
            db.transaction(|tx| {
                run_count.fetch_add(1, Ordering::SeqCst);
                assert!(tx.contains(HOT)?);
                tx.put(5_u64, b"5")
            })
        });
        thread::sleep(PAUSE);
        assert_eq!(run_count.load(Ordering::SeqCst), 1);
        drop(release);
        running.join().unwrap().unwrap();
        assert_eq!(run_count.load(Ordering::SeqCst), 2);
    });
}
