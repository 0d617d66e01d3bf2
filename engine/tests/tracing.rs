//! Events for `tracing` (feature `tracing`).
//!
//! Promises proved: opening, checkpoints, new segments, poison and closing have events; a
//! subscriber may call the database, so no event comes under a lock, and may panic.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use uarr::{Db, ErrorKind, Memory};
use uarr_disk_sim::{Fault, FaultKind};

/// Notes all events, and does to the database what a subscriber may do.
#[derive(Debug)]
struct Log;

static EVENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();
static DATABASE: Mutex<Option<Db<Memory>>> = Mutex::new(None);
static PANICS: AtomicBool = AtomicBool::new(false);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?};"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// What the subscriber panics with, which panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("a test"));
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "uarr"
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string() + " ");
        event.record(&mut line);
        let db = DATABASE.lock().unwrap().clone();
        if let Some(db) = db {
            // Takes every lock that a writer takes.
            let _ = db.put("seen by the log", &line.0);
            let _ = db.stats();
        }
        EVENTS.lock().unwrap().push(line.0);
        CHANGED.notify_all();
        if PANICS.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new(Bomb));
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Waits until there is an event with these parts.
fn expect(parts: &[&str]) {
    let mut events = EVENTS.lock().unwrap();
    while !events.iter().any(|event| parts.iter().all(|part| event.contains(part))) {
        events = CHANGED.wait(events).unwrap();
    }
}

#[test]
fn what_a_database_does_is_told() {
    tracing::subscriber::set_global_default(Log).unwrap();
    let disk = Memory::new();
    let options = Db::builder("a database").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let options = options.address_space_bytes(1 << 28);
    let db = options.clone().open_on(disk.clone()).unwrap();
    expect(&["INFO opened;", "path=a database", "created=true", "replayed_records=0"]);
    *DATABASE.lock().unwrap() = Some(db.clone());
    db.checkpoint().unwrap();
    expect(&["INFO checkpoint;", "durable_lsn="]);
    for number in 0..100u32 {
        db.put(number, vec![7; 10_000]).unwrap();
    }
    expect(&["DEBUG new segment;", "segment="]);
    PANICS.store(true, Ordering::Relaxed);
    db.checkpoint().unwrap();
    PANICS.store(false, Ordering::Relaxed);
    db.put("still", "there").unwrap();

    disk.fail(Fault::new(FaultKind::LogFlush, 1).errno(5).lasting());
    assert!(db.put("a", "1").is_err());
    expect(&["ERROR poisoned;", "open it again to recover"]);
    *DATABASE.lock().unwrap() = None;
    assert!(db.close().is_err());
    expect(&["WARN closing failed;"]);
    disk.forget_faults();
    let db = options.open_on(disk).unwrap();
    expect(&["INFO opened;", "created=false", "clean=false"]);
    db.close().unwrap();
    expect(&["INFO closed;"]);
    assert_eq!(db_error(), ErrorKind::NotFound);
}

/// An opening that fails is its caller's to tell.
fn db_error() -> ErrorKind {
    Db::builder("nowhere/at all").create(false).open().unwrap_err().kind()
}
