//! What a caller who asks for durability is told survives, even where nothing was written.
//!
//! A refusal, an absence and what a transaction has read are answers, and in memory-first databases
//! they may come from records that only memory has. Before this was so, `durable().insert` said
//! that a key was taken by a record that the next loss of power took away.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use uarr::value::Patch;
use uarr::{Acquisition, Db, Durability, ErrorKind, Expires, Expiry, Increment, Writer, uarr};
use uarr_disk_sim::{FaultKind, Memory};

const HOUR: Duration = Duration::from_secs(3600);

fn open(disk: &Memory, background: bool) -> Db<Memory> {
    let builder = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let builder = builder.address_space_bytes(1 << 28).background(background);
    builder.durability(Durability::Manual).open_on(disk.clone()).unwrap()
}

fn is_absent(db: &Db<Memory>, key: &str) -> bool {
    db.get(key).unwrap().is_none()
}

fn is_there(db: &Db<Memory>, key: &str) -> bool {
    !is_absent(db, key)
}

/// What only memory has, the durable verb that tells of it, and what must be after a loss of power.
struct Case {
    name: &'static str,
    write: fn(&Db<Memory>),
    ask: fn(Writer<'_, Memory>) -> uarr::Result<()>,
    ask_as_task: fn(Writer<'_, Memory>) -> uarr::Result<()>,
    holds: fn(&Db<Memory>) -> bool,
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

fn patch() -> Patch {
    Patch::builder().set("n", 2).build().unwrap()
}

fn refused(outcome: uarr::Result<uarr::Outcome<'_>>) -> uarr::Result<()> {
    outcome.map(|outcome| assert!(!outcome.is_written()))
}

fn is(error: uarr::Error, kind: ErrorKind) -> uarr::Result<()> {
    if error.kind() == kind { Ok(()) } else { Err(error) }
}

const CASES: &[Case] = &[
    Case {
        name: "insert",
        write: |db| _ = db.put("new", b"1").unwrap(),
        ask: |db| refused(db.insert("new", b"2")),
        ask_as_task: |db| refused(wait(db.insert_async("new", b"2"))),
        holds: |db| is_there(db, "new"),
    },
    Case {
        name: "update",
        write: |db| _ = db.delete("old").unwrap(),
        ask: |db| refused(db.update("old", b"2")),
        ask_as_task: |db| refused(wait(db.update_async("old", b"2"))),
        holds: |db| is_absent(db, "old"),
    },
    Case {
        name: "delete_if_version",
        write: |db| _ = db.put("old", uarr!({ "n": 9 })).unwrap(),
        ask: |db| refused(db.delete_if_version("old", 1)),
        ask_as_task: |db| refused(wait(db.delete_if_version_async("old", 1))),
        holds: |db| *db.get("old").unwrap().unwrap() == *uarr!({ "n": 9 }),
    },
    Case {
        name: "commit_if",
        write: |db| _ = db.put("new", b"1").unwrap(),
        ask: |db| db.batch().put("other", b"").insert("new", b"").commit_if().map(drop),
        ask_as_task: |db| {
            wait(async { db.batch().put("other", b"").insert("new", b"").commit_if_async().await })
                .map(drop)
        },
        holds: |db| is_there(db, "new") && is_absent(db, "other"),
    },
    Case {
        name: "touch",
        write: |db| _ = db.delete("old").unwrap(),
        ask: |db| db.touch("old", Expiry::Never).map(|touched| assert_eq!(touched, None)),
        ask_as_task: |db| {
            wait(db.touch_async("old", Expiry::Never)).map(|touched| assert_eq!(touched, None))
        },
        holds: |db| is_absent(db, "old"),
    },
    Case {
        name: "delete_range",
        write: |db| _ = db.delete("old").unwrap(),
        ask: |db| db.delete_range("a".."z").map(|count| assert_eq!(count, 0)),
        ask_as_task: |db| wait(db.delete_range_async("a".."z")).map(|count| assert_eq!(count, 0)),
        holds: |db| is_absent(db, "old"),
    },
    Case {
        name: "patch of what is gone",
        write: |db| _ = db.delete("old").unwrap(),
        ask: |db| is(db.patch("old", &patch()).unwrap_err(), ErrorKind::KeyNotFound),
        ask_as_task: |db| {
            is(wait(db.patch_async("old", &patch())).unwrap_err(), ErrorKind::KeyNotFound)
        },
        holds: |db| is_absent(db, "old"),
    },
    Case {
        name: "increment out of bounds",
        write: |db| _ = db.put("count", uarr!(10)).unwrap(),
        ask: |db| {
            let count = db.increment("count", Increment::by(1).max(10))?;
            assert_eq!((count.value, count.commit), (10, None));
            Ok(())
        },
        ask_as_task: |db| {
            let count = wait(db.increment_async("count", Increment::by(1).max(10)))?;
            assert_eq!((count.value, count.commit), (10, None));
            Ok(())
        },
        holds: |db| is_there(db, "count"),
    },
    Case {
        name: "increment out of bounds of what is gone",
        write: |db| _ = db.delete("old").unwrap(),
        ask: |db| db.increment("old", Increment::by(1).max(0)).map(|c| assert_eq!(c.value, 0)),
        ask_as_task: |db| {
            let count = wait(db.increment_async("old", Increment::by(1).max(0)))?;
            assert_eq!((count.value, count.commit), (0, None));
            Ok(())
        },
        holds: |db| is_absent(db, "old"),
    },
    Case {
        name: "increment of what is no number",
        write: |db| _ = db.put("count", b"text").unwrap(),
        ask: |db| is(db.increment("count", 1).unwrap_err(), ErrorKind::WrongValue),
        ask_as_task: |db| {
            is(wait(db.increment_async("count", 1)).unwrap_err(), ErrorKind::WrongValue)
        },
        holds: |db| is_there(db, "count"),
    },
];

fn made(background: bool) -> (Memory, Db<Memory>) {
    let disk = Memory::new();
    let db = open(&disk, background);
    db.put("old", uarr!({ "n": 1 })).unwrap();
    db.sync().unwrap();
    (disk, db)
}

#[test]
fn what_a_durable_verb_answers_survives() {
    for case in CASES {
        for is_task in [false, true] {
            let (disk, db) = made(is_task);
            (case.write)(&db);
            let ask = if is_task { case.ask_as_task } else { case.ask };
            ask(db.durable()).unwrap();
            let survivor = open(&disk.crash(), false);
            assert!((case.holds)(&survivor), "{}, as a task: {is_task}", case.name);
        }
    }
}

/// The answer is right, but what it tells could not be made durable: then there is no answer.
#[test]
fn an_answer_that_cannot_be_made_durable_is_an_error() {
    for case in CASES {
        for is_task in [false, true] {
            let (disk, db) = made(is_task);
            (case.write)(&db);
            disk.fail_next(FaultKind::LogFlush, 1);
            let ask = if is_task { case.ask_as_task } else { case.ask };
            // The verbs whose answer is an error show that another one takes its place.
            let error = ask(db.durable()).expect_err(case.name);
            let is_failure = matches!(error.kind(), ErrorKind::Poisoned | ErrorKind::Io);
            assert!(is_failure, "{}: {error}", case.name);
        }
    }
}

/// Without being asked, nobody waits for the device.
#[test]
fn other_answers_write_nothing() {
    let (disk, db) = made(false);
    let groups = db.stats().group_count;
    for case in CASES {
        (case.write)(&db);
        (case.ask)(db.with(uarr::WriteOptions::new())).unwrap();
        db.put("old", uarr!({ "n": 1 })).unwrap();
        db.delete("new").unwrap();
    }
    assert!(db.begin().unwrap().commit().unwrap().is_none());
    assert_eq!(db.stats().group_count, groups);
    drop(disk);
}

#[test]
fn what_a_durable_transaction_reads_survives() {
    for is_task in [false, true] {
        let (disk, db) = made(is_task);
        db.put("new", b"1").unwrap();
        db.delete("old").unwrap();
        let mut transaction = db.begin().unwrap();
        transaction.durable();
        assert!(transaction.contains("new").unwrap() && !transaction.contains("old").unwrap());
        let committed = match is_task {
            true => wait(transaction.commit_async()).unwrap(),
            false => transaction.commit().unwrap(),
        };
        assert_eq!(committed, None);
        let survivor = open(&disk.crash(), false);
        assert!(is_there(&survivor, "new") && is_absent(&survivor, "old"));
    }
}

/// The end of a lease that others are told of is not taken back.
#[test]
fn a_lease_of_somebody_else_is_told_of_when_it_is_durable() {
    let (disk, db) = made(false);
    let lease = db.acquire("job", "ada", HOUR).unwrap().granted().unwrap();
    let record = db.get("job").unwrap().unwrap().bytes().to_vec();
    db.put("job", record.expires_in(HOUR * 3)).unwrap();
    let Acquisition::Held(held) = db.acquire("job", "bob", HOUR).unwrap() else {
        panic!("it was granted twice");
    };
    assert!(held.token == lease.token && held.expiry != lease.expiry);
    let survivor = open(&disk.crash(), false);
    assert_eq!(survivor.lease("job").unwrap(), Some(held));
}

/// A group that failed counts as settled, and these verbs took that for durable.
#[test]
fn no_answer_is_durable_after_a_flush_of_another_has_failed() {
    let (disk, db) = made(false);
    db.delete("old").unwrap();
    let reads = db.begin().unwrap();
    disk.fail_next(FaultKind::LogFlush, 1);
    db.sync().unwrap_err();
    assert_eq!(db.durable().delete_range("a".."z").unwrap_err().kind(), ErrorKind::Poisoned);
    let mut reads = reads;
    reads.durable();
    assert!(reads.get("old").unwrap().is_none());
    assert_eq!(reads.commit().unwrap_err().kind(), ErrorKind::Poisoned);
}

/// An owner that is told that its lease has ended may not find it held after a loss of power.
#[test]
fn that_a_lease_has_ended_is_durable() {
    let (disk, db) = made(false);
    let lease = db.acquire("job", "ada", HOUR).unwrap().granted().unwrap();
    db.touch("job", Expiry::In(Duration::ZERO)).unwrap();
    assert!(!db.release("job", lease.token).unwrap());
    let renewed = open(&disk.crash(), false).acquire("job", "bob", HOUR).unwrap();
    assert!(matches!(renewed, Acquisition::Granted(_)), "{renewed:?}");
    let (disk, db) = made(false);
    let lease = db.acquire("job", "ada", HOUR).unwrap().granted().unwrap();
    db.delete("job").unwrap();
    assert!(db.renew("job", lease.token, HOUR).unwrap().is_none());
    assert!(is_absent(&open(&disk.crash(), false), "job"));
}
