//! From one group to the next: every member hears of its group, whoever leads.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::pin::Pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use uarr::{Db, Durability, ErrorKind, KeyKind};
use uarr_disk_sim::{Fault, FaultKind, Memory};

/// By then a thread has staged its put; nobody sees it from outside.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

fn open(memory: &Memory, durability: Durability) -> Db<Memory> {
    let sizes =
        Db::builder("memory").keys(KeyKind::U64).segment_bytes(1 << 22).chunk_bytes(1 << 20);
    sizes.durability(durability).open_on(memory.clone()).unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Who puts a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Thread,
    Task,
}

type Put = Pin<Box<dyn Future<Output = uarr::Result<()>> + Send>>;

/// A durable put under way.
enum Pending {
    Thread(JoinHandle<uarr::Result<()>>),
    Task(Put),
}

impl Pending {
    fn begin(writer: Writer, db: &Db<Memory>, key: u64) -> Self {
        match writer {
            Writer::Thread => {
                let thread = Self::Thread(put_by_thread(db, key, 1));
                thread::sleep(PAUSE);
                thread
            }
            Writer::Task => Self::Task(put_by_task(db, key, 1, Waker::noop())),
        }
    }

    /// What became of it.
    fn end(self) -> uarr::Result<()> {
        match self {
            Self::Thread(thread) => thread.join().unwrap(),
            Self::Task(mut put) => {
                let begun = Instant::now();
                loop {
                    match put.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(result) => return result,
                        Poll::Pending => assert!(begun.elapsed() < PATIENCE, "no answer"),
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

fn put_by_thread(db: &Db<Memory>, key: u64, bytes: usize) -> JoinHandle<uarr::Result<()>> {
    let db = db.clone();
    thread::spawn(move || db.durable().put(key, vec![1; bytes]).map(drop))
}

/// A put that is staged, by a task that `waker` wakes.
fn put_by_task(db: &Db<Memory>, key: u64, bytes: usize, waker: &Waker) -> Put {
    let db = db.clone();
    let value = vec![1; bytes];
    let mut put: Put = Box::pin(async move { db.durable().put_async(key, value).await.map(drop) });
    assert!(put.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    put
}

/// For each class and pair of writers: the device has the group of the first, that of the second is
/// staged.
fn each_pair(check: impl Fn(&Memory, Db<Memory>, Pending, Pending)) {
    for durability in [Durability::Sync, Durability::Interval(Duration::from_secs(3600))] {
        for first in [Writer::Thread, Writer::Task] {
            for second in [Writer::Thread, Writer::Task] {
                let memory = Memory::new();
                let db = open(&memory, durability);
                let (first, second) = two_groups((first, second), &memory, &db);
                check(&memory, db, first, second);
            }
        }
    }
}

fn two_groups(
    (first, second): (Writer, Writer),
    memory: &Memory,
    db: &Db<Memory>,
) -> (Pending, Pending) {
    memory.answer(Some(0));
    let sent = memory.sent_count();
    let first = Pending::begin(first, db, 1);
    wait_until("the device has the first group", || memory.sent_count() == sent + 1);
    (first, Pending::begin(second, db, 2))
}

/// The second group fails: its members hear of it, and those before it keep what they have.
#[test]
fn a_group_behind_another_may_fail() {
    each_pair(|memory, db, first, second| {
        memory.fail(Fault::new(FaultKind::LogFlush, 2));
        memory.answer(Some(1));
        first.end().unwrap();
        memory.answer(None);
        assert_eq!(second.end().unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(db.put(3u64, b"more").unwrap_err().kind(), ErrorKind::Poisoned);
        drop(db);
        let db = open(&memory.crash(), Durability::Sync);
        assert!(db.contains(1u64).unwrap());
    });
}

/// Nobody waits without end when the database is closed meanwhile.
#[test]
fn a_database_that_ends_leaves_nobody_waiting() {
    each_pair(|memory, db, first, second| {
        memory.answer(Some(1));
        let closing = thread::spawn(move || db.close());
        first.end().unwrap();
        memory.answer(None);
        second.end().unwrap();
        closing.join().unwrap().unwrap();
        let db = open(&memory.crash(), Durability::Sync);
        assert!(db.contains(2u64).unwrap());
    });
}

/// A waker that waits until it is told to go on, and says whether it was.
struct Patient(Mutex<(Receiver<()>, Option<bool>)>);

impl Wake for Patient {
    fn wake(self: Arc<Self>) {
        let (go_on, was_told) = &mut *self.0.lock().unwrap();
        *was_told = Some(go_on.recv_timeout(PATIENCE / 3) != Err(RecvTimeoutError::Timeout));
    }
}

/// The waker of a task waits for a thread whose group is at the device already, behind that of the
/// task: that thread leads.
#[test]
fn a_waker_may_wait_for_a_group_in_flight() {
    // Two of these are more than a group holds.
    const LARGE: usize = 150 << 10;
    let memory = Memory::new();
    let db = open(&memory, Durability::Sync);
    memory.answer(Some(0));
    let first = Pending::begin(Writer::Thread, &db, 1);
    let sent = memory.sent_count();
    let (say, hear) = channel();
    let patient = Arc::new(Patient(Mutex::new((hear, None))));
    let mut task = put_by_task(&db, 10, LARGE, &Waker::from(patient.clone()));
    let thread = put_by_thread(&db, 11, LARGE);
    thread::sleep(PAUSE);
    let _behind = put_by_task(&db, 12, LARGE, Waker::noop());
    memory.answer(Some(1));
    first.end().unwrap();
    wait_until("the device has both", || memory.sent_count() >= sent + 2);
    memory.answer(None);
    thread.join().unwrap().unwrap();
    say.send(()).unwrap();
    wait_until("the waker has run", || patient.0.lock().unwrap().1.is_some());
    assert_eq!(patient.0.lock().unwrap().1, Some(true));
    let waker = Waker::noop();
    assert!(matches!(task.as_mut().poll(&mut Context::from_waker(waker)), Poll::Ready(Ok(()))));
}
