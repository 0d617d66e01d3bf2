//! Every call of the disk fails in turn: the first, the second, the third, until a life goes
//! through without one.
//!
//! Promise proved: if any call fails, with any error number, once, a few times or from then on,
//! then errors name the cause; nothing panics or waits for ever; a caller that continues as if
//! nothing had happened loses nothing that is acknowledged; the next opening finds all that was
//! acknowledged, and nothing that no caller wrote.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use uarr::inspect::{Inspector, Next};
use uarr::repair::{RepairMode, repair};
use uarr::value::Patch;
use uarr::{
    Acquisition, AsKey, Builder, CommitPath, CommitStrategy, Db, ErrorKind, Expires, Expiry,
    KeyKind, TableOptions, uarr,
};
use uarr_disk_sim::{Fault, FaultKind, Memory, MemoryOptions};
use uarr_tests::files::{disk_of, files_of};
use uarr_tests::tiny;

const CALL_COUNT_MAX: u64 = 3000;
/// So many lives meet an error at least: there are a dozen log writes.
const FAILED_COUNT_MIN: u64 = 10;
/// Numbers of records that are written by verbs of one kind each.
const TOUCHED: u64 = 6;
const COUNTER: u64 = 20;
const BOTH: [u64; 2] = [21, 22];
const LEASE: u64 = 23;
const OVER: u64 = 24;
const INSERTED: u64 = 25;
const HOUR: Duration = Duration::from_secs(3600);
/// A device that fails, a full one, a quota, a limit of file sizes.
const ERRNOS: [i32; 4] = [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EFBIG];

fn options(kind: KeyKind, strategy: CommitStrategy) -> Builder {
    tiny()
        .keys(kind)
        .commit_path(CommitPath::Fixed(strategy))
        .group_bytes(1 << 14)
        .checkpoint_log_bytes(1 << 17)
}

fn record(number: u64) -> Vec<u8> {
    let filler = vec![number as u8; 20_000];
    uarr!({ "number": number, "filler": uarr::value::Bytes(&filler) }).to_vec()
}

/// What is acknowledged, and what may be there besides.
#[derive(Default)]
struct Model {
    attempted: Vec<(u64, Option<Vec<u8>>)>,
    /// Which attempt of a number was the last one that succeeded.
    acknowledged: BTreeMap<u64, usize>,
    /// What failed.
    errors: Vec<uarr::Error>,
    /// The record of [`TOUCHED`] expires.
    is_touched: bool,
    /// The token of the lease.
    granted: Option<u64>,
    table: Table,
}

/// What is known of the table.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Table {
    #[default]
    Unknown,
    There,
    Dropped,
}

impl Model {
    fn write(
        &mut self,
        number: u64,
        value: Option<Vec<u8>>,
        write: impl FnOnce() -> uarr::Result<()>,
    ) {
        self.attempted.push((number, value));
        if self.attempt(write()).is_some() {
            self.acknowledged.insert(number, self.attempted.len() - 1);
        }
    }

    /// Of a write that may lead to one of `values`, that which it returns.
    fn write_one_of(
        &mut self,
        number: u64,
        values: impl IntoIterator<Item = Option<Vec<u8>>>,
        write: impl FnOnce() -> uarr::Result<Option<Vec<u8>>>,
    ) {
        let first = self.attempted.len();
        self.attempted.extend(values.into_iter().map(|value| (number, value)));
        if let Some(written) = self.attempt(write()) {
            let possible = self.attempted[first..].iter().position(|(_, value)| *value == written);
            let index = first + possible.expect("it leads to one of them");
            self.acknowledged.insert(number, index);
        }
    }

    /// A life goes on after every failure.
    fn attempt<T>(&mut self, done: uarr::Result<T>) -> Option<T> {
        done.map_err(|error| self.errors.push(error)).ok()
    }

    fn check(&self, db: &Db<Memory>, place: &str) {
        let found: BTreeMap<u64, Vec<u8>> = db
            .iter()
            .map(|record| record.unwrap())
            .map(|record| (number_of(record.key()), record.bytes().to_vec()))
            .filter(|(number, _)| *number != LEASE)
            .collect();
        self.check_expiring(db, place);
        let is_there = |number| found.contains_key(&number);
        assert_eq!(is_there(BOTH[0]), is_there(BOTH[1]), "{place}: a transaction is whole");
        for (number, value) in &found {
            let known = self.attempted.contains(&(*number, Some(value.clone())));
            assert!(known, "{place}: record {number} was never written");
        }
        for (number, index) in &self.acknowledged {
            let later = self.attempted[*index..].iter().filter(|(other, _)| other == number);
            let is_kept =
                later.map(|(_, value)| value).any(|value| *value == found.get(number).cloned());
            assert!(is_kept, "{place}: record {number} is not what was acknowledged");
        }
    }

    /// What has to do with time and tables is as it was acknowledged.
    fn check_expiring(&self, db: &Db<Memory>, place: &str) {
        let table = db.find_table("t").unwrap();
        match self.table {
            Table::Unknown => {}
            Table::There => {
                let table = table.unwrap_or_else(|| panic!("{place}: the table is not there"));
                let found = table.get("key").unwrap().map(|record| record.bytes().to_vec());
                assert_eq!(found.as_deref(), Some(&b"value"[..]), "{place}");
            }
            Table::Dropped => assert!(table.is_none(), "{place}: the table is back"),
        }
        let expiry = match db.key_kind() {
            KeyKind::Bytes => db.expiry(TOUCHED.to_be_bytes()),
            _ => db.expiry(TOUCHED),
        };
        if self.is_touched {
            assert!(matches!(expiry.unwrap(), Some(Expiry::At(_))), "{place}: a touch is lost");
        }
        let lease = match db.key_kind() {
            KeyKind::Bytes => db.lease(LEASE.to_be_bytes()),
            _ => db.lease(LEASE),
        };
        let token = lease.unwrap().map(|lease| lease.token);
        if let Some(granted) = self.granted {
            assert_eq!(token, Some(granted), "{place}: a lease is lost");
        }
    }

    /// Each error names what the disk said, and none takes a failure for damage.
    fn check_errors(&self, place: &str) {
        for error in &self.errors {
            assert!(error.to_string().contains("os error"), "{place}: no cause: {error:?}");
            assert_ne!(error.kind(), ErrorKind::Corruption, "{place}: {error:?}");
        }
    }
}

/// Keys of both kinds are eight bytes here.
fn number_of(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().unwrap())
}

/// All calls of a database, in an order that crosses segments and chunks.
fn live(disk: &Memory, options: &Builder, kind: KeyKind, model: &mut Model) {
    let key = |number: u64| number.to_be_bytes();
    let opened = options.clone().open_on(disk.clone());
    let Some(db) = model.attempt(opened) else { return };
    for number in 0..14u64 {
        model.write(number, Some(record(number)), || match kind {
            KeyKind::Bytes => db.put(key(number), record(number)).map(drop_commit),
            _ => db.put(number, record(number)).map(drop_commit),
        });
        if number % 5 == 4 {
            while model.attempt(db.step()) == Some(true) {}
        }
    }
    let patch = Patch::from_record(uarr!([[0, ["number"], 77u64]])).unwrap();
    if model.acknowledged.contains_key(&3) {
        let patched = patch.apply(&record(3)).unwrap().to_vec();
        model.write(3, Some(patched), || match kind {
            KeyKind::Bytes => db.patch(key(3), &patch).map(drop_commit),
            _ => db.patch(3u64, &patch).map(drop_commit),
        });
    }
    match kind {
        KeyKind::Bytes => work(&db, |number| number.to_be_bytes(), model),
        _ => work(&db, |number| number, model),
    }
    // The second one finds out whether the first, if it failed, was right about what it left
    // behind.
    for _ in 0..2 {
        model.attempt(db.checkpoint());
        model.write(4, None, || match kind {
            KeyKind::Bytes => db.delete(key(4)).map(drop_commit),
            _ => db.delete(4u64).map(drop_commit),
        });
    }
    model.attempt(db.sync());
    for record in db.iter() {
        model.attempt(record);
    }
    if let Some(report) = model.attempt(db.verify(|_| {})) {
        model.errors.extend(report.damages);
    }
    if model.attempt(db.close()).is_none() {
        return;
    }
    model.attempt(look(disk, kind));
    let opened = options.clone().open_on(disk.clone());
    let Some(db) = model.attempt(opened) else { return };
    model.table = Table::Unknown;
    if model.attempt(db.drop_table("t")).is_some() {
        model.table = Table::Dropped;
    }
    model.write(5, None, || match kind {
        KeyKind::Bytes => db.delete_range(key(5)..=key(5)).map(drop_commit),
        _ => db.delete_range(5..=5u64).map(drop_commit),
    });
}

fn drop_commit<T>(_: T) {}

/// The verbs that read before they write, records that expire, leases and tables.
fn work<K: AsKey + Copy>(db: &Db<Memory>, key: impl Fn(u64) -> K, model: &mut Model) {
    let batch = |expiry| db.batch().touch(key(TOUCHED), expiry).commit();
    if model.acknowledged.contains_key(&TOUCHED) {
        let alone = model.attempt(db.touch(key(TOUCHED), Expiry::In(HOUR)));
        let together = model.attempt(batch(Expiry::In(HOUR * 2)));
        model.is_touched = alone.is_some() || together.is_some();
    }
    for step in 1..3i64 {
        let values = (0..=step).map(|value| (value > 0).then(|| uarr!(value).to_vec()));
        model.write_one_of(COUNTER, values, || {
            db.increment(key(COUNTER), 1).map(|count| Some(uarr!(count.value).to_vec()))
        });
    }
    model.write(INSERTED, Some(b"new".to_vec()), || {
        db.insert(key(INSERTED), b"new").map(drop_commit)
    });
    model.write(OVER, None, || {
        db.put(key(OVER), b"over".expires_in(Duration::ZERO)).map(drop_commit)
    });
    let both = db.transaction(|tx| {
        tx.get(key(COUNTER))?;
        tx.put(key(BOTH[0]), b"both".expires_in(HOUR))?;
        tx.put(key(BOTH[1]), b"both")
    });
    model.attempted.extend(BOTH.map(|number| (number, Some(b"both".to_vec()))));
    if model.attempt(both).is_some() {
        let count = model.attempted.len();
        BOTH.iter().zip([count - 2, count - 1]).for_each(|(number, index)| {
            model.acknowledged.insert(*number, index);
        });
    }
    let acquired = model.attempt(db.acquire(key(LEASE), "owner", HOUR));
    model.granted = acquired.and_then(Acquisition::granted).map(|lease| lease.token);
    if let Some(token) = model.granted {
        model.attempt(db.renew(key(LEASE), token, HOUR * 2));
    }
    let options = TableOptions::new().expires_in(HOUR);
    if let Some(table) = model.attempt(db.table_with("t", options))
        && model.attempt(table.put("key", b"value")).is_some()
    {
        model.table = Table::There;
    }
    if model.attempt(db.table("u")).is_some() && model.attempt(db.drop_table("u")).is_some() {
        assert!(db.find_table("u").unwrap().is_none());
    }
}

/// Looks into the closed database, and saves it into another one.
fn look(disk: &Memory, kind: KeyKind) -> uarr::Result<()> {
    let source = Inspector::open_on(disk.clone(), "closed")?;
    let mut log = source.log()?;
    while let Next::Group(_) = log.next()? {}
    for number in source.segments() {
        source.segment(*number)?;
    }
    source.chunk(0)?;
    source.image()?;
    let target = options(kind, CommitStrategy::Dsync).open_on(Memory::new())?;
    repair(&source, &target, RepairMode::Salvage).map(drop_commit)
}

/// A life for each call of the disk, in which that call fails by `fault`.
fn fail_every_call(kind: KeyKind, strategy: CommitStrategy, fault: impl Fn(u64) -> Fault) {
    let options = options(kind, strategy);
    let mut failed_count = 0;
    for nth in 1.. {
        assert!(nth < CALL_COUNT_MAX, "a life never comes to its end");
        let fault = fault(nth);
        let place = format!("{kind:?}, {strategy:?}, {fault:?}");
        let disk = Memory::with_options(MemoryOptions { seed: nth, ..Default::default() });
        disk.fail(fault);
        let mut model = Model::default();
        live(&disk, &options, kind, &mut model);
        let happened = disk.faults_waiting() == 0;
        disk.forget_faults();
        model.check_errors(&place);
        failed_count += u64::from(!model.errors.is_empty());
        let disk = match nth % 3 {
            0 => disk.crash(),
            1 => disk.crash_with(nth),
            _ => disk.kill_with(nth),
        };
        let db = options.clone().open_on(disk);
        let db = db.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        model.check(&db, &place);
        assert!(db.verify(|_| {}).unwrap().is_clean(), "{place}");
        if !happened {
            println!("{place}: {failed_count} of {} lives met an error", nth - 1);
            break;
        }
    }
    assert!(failed_count > FAILED_COUNT_MIN, "only {failed_count} calls failed");
}

/// Another number for each call.
fn some_errno(nth: u64) -> i32 {
    ERRNOS[nth as usize % ERRNOS.len()]
}

#[test]
fn every_call_fails_once_with_byte_keys() {
    for errno in ERRNOS {
        fail_every_call(KeyKind::Bytes, CommitStrategy::LinkedFdatasync, |nth| {
            Fault::new(FaultKind::Any, nth).errno(errno)
        });
    }
}

#[test]
fn every_call_fails_once_with_integer_keys() {
    fail_every_call(KeyKind::U64, CommitStrategy::Dsync, |nth| {
        Fault::new(FaultKind::Any, nth).errno(some_errno(nth))
    });
}

#[test]
fn every_call_fails_from_some_call_on() {
    for errno in ERRNOS {
        fail_every_call(KeyKind::U64, CommitStrategy::Syscall, |nth| {
            Fault::new(FaultKind::Any, nth).errno(errno).lasting()
        });
    }
}

#[test]
fn a_few_calls_fail_one_after_the_other() {
    fail_every_call(KeyKind::Bytes, CommitStrategy::Dsync, |nth| {
        Fault::new(FaultKind::Any, nth).errno(some_errno(nth)).times(4)
    });
}

#[test]
fn the_kernel_fails_to_write_the_data_file_back_at_every_call() {
    fail_every_call(KeyKind::U64, CommitStrategy::LinkedFdatasync, |nth| {
        Fault::new(FaultKind::WriteBack, nth).errno(some_errno(nth))
    });
}

#[test]
fn every_log_write_is_given_up() {
    fail_every_call(KeyKind::Bytes, CommitStrategy::LinkedFdatasync, |nth| {
        Fault::new(FaultKind::LogAbandoned, nth)
    });
}

/// Log blocks as small as one device takes may be too small for another.
#[test]
fn a_device_with_larger_blocks_is_refused_by_name() {
    let of_blocks = |block_bytes| MemoryOptions { block_bytes, ..Default::default() };
    let options = || options(KeyKind::Bytes, CommitStrategy::Dsync).create(false);
    let disk = Memory::with_options(of_blocks(512));
    let db = options().create(true).open_on(disk.clone()).unwrap();
    db.put("key", "value").unwrap();
    db.close().unwrap();
    let files = files_of(&disk);
    let error = options().open_on(disk_of(&files, of_blocks(4096))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    for word in ["512", "4096", "copy its records"] {
        assert!(error.to_string().contains(word), "'{word}' is not in: {error}");
    }
    let db = options().open_on(disk_of(&files, of_blocks(512))).unwrap();
    assert_eq!(db.get("key").unwrap().unwrap().bytes(), b"value");
}
