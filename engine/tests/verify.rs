//! `verify` beside all others: what it reports is damage, and its callback may call the database.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use uarr::value::Patch;
use uarr::{Db, Durability, ErrorKind, KeyKind, uarr};

const KEY_COUNT: u64 = 6000;
/// A generous bound for something that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

fn open(dir: &std::path::Path, kind: KeyKind) -> Db {
    let sizes = Db::builder(dir).segment_bytes(1 << 18).chunk_bytes(1 << 16);
    sizes.address_space_bytes(1 << 30).keys(kind).durability(Durability::Manual).open().unwrap()
}

fn put(db: &Db, n: u64) {
    let value = uarr!({ "n": n, "text": "some text that a patch does not change" });
    match db.key_kind() {
        KeyKind::Bytes => db.put(format!("key {n:05}"), value).unwrap(),
        _ => db.put(n, value).unwrap(),
    };
}

/// Something else with key `n` each time.
fn change(db: &Db, n: u64, step: u64) {
    let patch = Patch::from_record(uarr!([[0, ["n"], step]])).unwrap();
    match (db.key_kind(), step % 3) {
        (_, 0) => put(db, n),
        (KeyKind::Bytes, 1) => drop(db.delete(format!("key {n:05}")).unwrap()),
        (_, 1) => drop(db.delete(n).unwrap()),
        (KeyKind::Bytes, _) => drop(db.patch(format!("key {n:05}"), &patch)),
        _ => drop(db.patch(n, &patch)),
    }
}

/// Keys are written, deleted and patched, and checkpoints taken, so that segments and images are
/// used again while they are read. What a callback does, and its name.
type Call = (&'static str, fn(&Db));

#[test]
fn a_healthy_database_is_clean_beside_writers_and_checkpoints() {
    for kind in [KeyKind::U64, KeyKind::Bytes] {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path(), kind);
        (0..KEY_COUNT).for_each(|n| put(&db, n));
        db.checkpoint().unwrap();
        let (over, steps) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let step = steps.fetch_add(1, Ordering::Relaxed);
                    change(&db, step * 7919 % KEY_COUNT, step);
                }
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    db.checkpoint().unwrap();
                }
            });
            for run in 0..12 {
                let report = db.verify(|_| {});
                if !report.as_ref().is_ok_and(|report| report.is_clean()) {
                    over.store(true, Ordering::Relaxed);
                    panic!("{kind:?} keys, run {run}: {report:?}");
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(steps.load(Ordering::Relaxed) > 100, "the writer did not get its turn");
    }
}

#[test]
fn the_callback_of_verify_may_call_the_database() {
    let calls: [Call; 6] = [
        ("stats", |db| assert_eq!(db.stats().key_count, KEY_COUNT)),
        ("put", |db| assert!(db.put(1u64, "callback").is_ok())),
        ("sync", |db| db.sync().unwrap()),
        ("checkpoint", |db| db.checkpoint().unwrap()),
        ("verify", |db| assert!(db.verify(|_| {}).unwrap().is_clean())),
        ("close", |db| db.clone().close().unwrap()),
    ];
    for (name, call) in calls {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path(), KeyKind::U64);
        (0..KEY_COUNT).for_each(|n| put(&db, n));
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut call_count = 0;
            let report = db.verify(|_| {
                call(&db);
                call_count += 1;
            });
            let is_closed = db.put(2u64, "x").is_err_and(|e| e.kind() == ErrorKind::Closed);
            done.send((report.map(|report| report.is_clean()), call_count, is_closed)).unwrap();
        });
        let ended = ended.recv_timeout(PATIENCE);
        let (report, call_count, is_closed) = ended.unwrap_or_else(|_| panic!("{name} hangs"));
        assert!(report.unwrap(), "{name}");
        assert!(call_count > 1, "{name}");
        assert_eq!(is_closed, name == "close");
    }
}
