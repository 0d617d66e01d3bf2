//! Every call of the disk fails in turn: the first, the second, the third, until a life goes through without one.
//!
//! Promise proved: whichever call fails, once or from then on, somebody gets an error that tells the cause; nothing
//! panics; what was acknowledged is there when the database is opened again, and nothing is that was never written.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use uarr::inspect::{Inspector, Step};
use uarr::repair::{RepairMode, repair};
use uarr::value::Patch;
use uarr::{Builder, CommitPath, CommitStrategy, Db, ErrorKind, KeyKind, uarr};
use uarr_tests::files::{disk_of, files_of};
use uarr_uring::{FaultKind, Memory, MemoryOptions};

const CALL_COUNT_MAX: u64 = 3000;

fn options(kind: KeyKind, strategy: CommitStrategy) -> Builder {
    Db::builder("memory")
        .keys(kind)
        .commit_path(CommitPath::Fixed(strategy))
        .group_bytes(1 << 14)
        .segment_bytes(1 << 18)
        .chunk_bytes(1 << 16)
        .address_space_bytes(1 << 26)
        .checkpoint_log_bytes(1 << 17)
        .background(false)
}

fn record(number: u64) -> Vec<u8> {
    let filler = vec![number as u8; 20_000];
    uarr!({ "number": number, "filler": uarr::value::Bytes(&filler) }).to_vec()
}

/// What is acknowledged, and what may be there besides.
#[derive(Default)]
struct Model {
    acknowledged: BTreeMap<u64, Option<Vec<u8>>>,
    attempted: Vec<(u64, Option<Vec<u8>>)>,
}

impl Model {
    fn write(
        &mut self,
        number: u64,
        value: Option<Vec<u8>>,
        write: impl FnOnce() -> uarr::Result<()>,
    ) -> uarr::Result<()> {
        self.attempted.push((number, value.clone()));
        write()?;
        self.acknowledged.insert(number, value);
        Ok(())
    }

    fn check(&self, db: &Db<Memory>, place: &str) {
        let found: BTreeMap<u64, Vec<u8>> = db
            .iter()
            .map(|record| record.unwrap())
            .map(|record| (number_of(record.key()), record.bytes().to_vec()))
            .collect();
        for (number, value) in &found {
            let known = self.attempted.contains(&(*number, Some(value.clone())));
            assert!(known, "{place}: record {number} was never written");
        }
        for (number, value) in &self.acknowledged {
            let attempts = self.attempted.iter().filter(|(other, _)| other == number);
            let newest = attempts.map(|(_, value)| value).next_back().unwrap();
            let now = found.get(number);
            let kept = now == value.as_ref() || now == newest.as_ref();
            assert!(kept, "{place}: record {number} is not what was acknowledged");
        }
    }
}

/// Keys of both kinds are eight bytes here.
fn number_of(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().unwrap())
}

/// All that can be asked of a database, in an order that crosses segments and chunks.
fn live(disk: &Memory, options: &Builder, kind: KeyKind, model: &mut Model) -> uarr::Result<()> {
    let key = |number: u64| number.to_be_bytes();
    let db = options.clone().open_on(disk.clone())?;
    for number in 0..14u64 {
        model.write(number, Some(record(number)), || match kind {
            KeyKind::Bytes => db.put(key(number), record(number)).map(drop_commit),
            _ => db.put(number, record(number)).map(drop_commit),
        })?;
        if number % 5 == 4 {
            while db.step()? {}
        }
    }
    let patch = Patch::from_record(uarr!([[0, ["number"], 77u64]])).unwrap();
    let patched = patch.apply(&record(3)).unwrap().to_vec();
    model.write(3, Some(patched), || match kind {
        KeyKind::Bytes => db.patch(key(3), &patch).map(drop_commit),
        _ => db.patch(3u64, &patch).map(drop_commit),
    })?;
    db.checkpoint()?;
    model.write(4, None, || match kind {
        KeyKind::Bytes => db.delete(key(4)).map(drop_commit),
        _ => db.delete(4u64).map(drop_commit),
    })?;
    db.sync()?;
    for record in db.iter() {
        record?;
    }
    if let Some(damage) = db.verify(|_| {})?.damages.into_iter().next() {
        return Err(damage);
    }
    db.close()?;
    look(disk, kind)?;
    let db = options.clone().open_on(disk.clone())?;
    model.write(5, None, || match kind {
        KeyKind::Bytes => db.delete(key(5)).map(drop_commit),
        _ => db.delete(5u64).map(drop_commit),
    })
}

fn drop_commit<T>(_: T) {}

/// Looks into the closed database, and saves it into another one.
fn look(disk: &Memory, kind: KeyKind) -> uarr::Result<()> {
    let source = Inspector::open_on(disk.clone(), "closed")?;
    let mut log = source.log()?;
    while let Step::Group(_) = log.next()? {}
    for number in source.segments() {
        source.segment(*number)?;
    }
    source.chunk(0)?;
    source.image()?;
    let target = options(kind, CommitStrategy::Dsync).open_on(Memory::new())?;
    repair(&source, &target, RepairMode::Salvage).map(drop_commit)
}

/// The error of somebody who got one tells what the disk said.
#[track_caller]
fn check_cause(error: &uarr::Error, place: &str) {
    let told = error.to_string();
    let is_cause = told.contains("os error") || error.kind() == ErrorKind::Corruption;
    assert!(is_cause, "{place}: the cause is missing: {error:?}");
}

fn fail_every_call(kind: KeyKind, strategy: CommitStrategy, lasting: bool) {
    let options = options(kind, strategy);
    let mut failed_count = 0;
    for nth in 1.. {
        assert!(nth < CALL_COUNT_MAX, "a life never comes to its end");
        let place = format!("{kind:?}, {strategy:?}, lasting {lasting}, call {nth}");
        let disk = Memory::with_options(MemoryOptions { seed: nth, ..Default::default() });
        match lasting {
            true => disk.fail_from(FaultKind::Any, nth),
            false => disk.fail_next(FaultKind::Any, nth),
        }
        let mut model = Model::default();
        let lived = live(&disk, &options, kind, &mut model);
        let happened = disk.step_count() >= nth;
        disk.forget_faults();
        if let Err(error) = &lived {
            check_cause(error, &place);
            failed_count += 1;
        }
        let disk = match nth % 3 {
            0 => disk.crash(),
            1 => disk.crash_with(nth),
            _ => disk.kill_with(nth),
        };
        let db = options.clone().open_on(disk);
        let db = db.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        model.check(&db, &place);
        assert!(db.verify(|_| {}).unwrap().is_clean(), "{place}");
        if lived.is_ok() && !happened {
            println!("{place}: {failed_count} of {} lives were cut short", nth - 1);
            break;
        }
    }
    assert!(failed_count > 100, "only {failed_count} calls failed");
}

#[test]
fn every_call_fails_once_with_byte_keys() {
    fail_every_call(KeyKind::Bytes, CommitStrategy::LinkedFdatasync, false);
}

#[test]
fn every_call_fails_once_with_integer_keys() {
    fail_every_call(KeyKind::U64, CommitStrategy::Dsync, false);
}

#[test]
fn every_call_fails_from_some_call_on() {
    fail_every_call(KeyKind::U64, CommitStrategy::Syscall, true);
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
