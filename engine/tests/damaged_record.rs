//! Damage of one record costs that record: nothing else.
//!
//! A bit of the record of one key is flipped while the database is closed, in each part of it. Then
//! everything that a database can do is done with the other keys, and the damaged one is written
//! again or deleted. Before this was so, a damaged value stopped every checkpoint, made a put of
//! its key poison the database, and kept it from opening.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::ops::Range;

use uarr::value::Patch;
use uarr::{Builder, ErrorKind, Expiry, KeyKind, RecoveryMode, uarr};
use uarr_disk_sim::{Fault, FaultKind, Memory};
use uarr_uring::{OpenMode, Storage, StorageFile};

type Db = uarr::Db<Memory>;

const COUNT: u64 = 300;
const VICTIM: u64 = 137;
const HEADER_BYTES: u64 = 32;
const DATA_FILE: &str = "data/records.uarr";

fn builder(kind: KeyKind) -> Builder {
    let sizes = uarr::Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    sizes.address_space_bytes(1 << 26).keys(kind).background(false)
}

/// Keys that begin alike for longer than the index compares without looking at the records.
fn name(number: u64) -> String {
    format!("a customer with quite a long name {number:05}")
}

/// As they are stored.
fn key_bytes(kind: KeyKind, number: u64) -> Vec<u8> {
    match kind {
        KeyKind::Bytes => name(number).into_bytes(),
        _ => (number << 40).to_be_bytes().to_vec(),
    }
}

fn value(number: u64) -> Vec<u8> {
    uarr!({ "number": number, "filler": "some text, so that the value is not short" }).to_vec()
}

fn put(db: &Db, number: u64, value: &[u8]) -> uarr::Result<()> {
    match db.key_kind() {
        KeyKind::Bytes => db.put(name(number), value)?,
        _ => db.put(number << 40, value)?,
    };
    Ok(())
}

fn delete(db: &Db, number: u64) -> uarr::Result<()> {
    match db.key_kind() {
        KeyKind::Bytes => db.delete(name(number))?,
        _ => db.delete(number << 40)?,
    };
    Ok(())
}

fn patch(db: &Db, number: u64, patch: &Patch) -> uarr::Result<()> {
    match db.key_kind() {
        KeyKind::Bytes => db.patch(name(number), patch)?,
        _ => db.patch(number << 40, patch)?,
    };
    Ok(())
}

fn touch(db: &Db, number: u64) -> uarr::Result<()> {
    let touched = match db.key_kind() {
        KeyKind::Bytes => db.touch(name(number), Expiry::Never)?,
        _ => db.touch(number << 40, Expiry::Never)?,
    };
    assert!(touched.is_some(), "{number}");
    Ok(())
}

fn get(db: &Db, number: u64) -> uarr::Result<Option<Vec<u8>>> {
    let record = match db.key_kind() {
        KeyKind::Bytes => db.get(name(number))?,
        _ => db.get(number << 40)?,
    };
    Ok(record.map(|record| record.bytes().to_vec()))
}

/// Even numbers, so that others fit between.
fn make(kind: KeyKind) -> Memory {
    let disk = Memory::new();
    let db = builder(kind).open_on(disk.clone()).unwrap();
    for number in 0..COUNT {
        put(&db, 2 * number, &value(number)).unwrap();
    }
    db.close().unwrap();
    disk
}

/// Which of the records of the victim's key, in the order in which they were written.
#[derive(Clone, Copy)]
enum Which {
    First,
    Last,
}

/// What a loss of power leaves of `disk`, with a bit of byte `at` of a record of the victim
/// flipped.
fn damaged(disk: &Memory, kind: KeyKind, at: u64, which: Which) -> Memory {
    let disk = disk.crash();
    let file = disk.open(DATA_FILE, OpenMode::Mapped).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let key = key_bytes(kind, 2 * VICTIM);
    let is_key = |window: &[u8]| window == key;
    let mut keys = bytes.windows(key.len());
    let found = match which {
        Which::First => keys.position(is_key),
        Which::Last => keys.rposition(is_key),
    };
    let offset = found.unwrap() as u64 - HEADER_BYTES + at;
    file.write_at(&[bytes[offset as usize] ^ 4], offset).unwrap();
    file.make_durable().unwrap();
    drop(file);
    disk
}

fn is_damage<T>(result: uarr::Result<T>, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: the damage was not noticed"));
    assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error}");
    assert!(error.to_string().contains(DATA_FILE), "{what}: {error}");
}

/// Walks through all find one damaged record, and `count` that are whole in their order.
fn meets_damage_once(db: &Db, count: u64, what: &str) {
    for is_reversed in [false, true] {
        let records: Vec<_> = match is_reversed {
            false => db.iter().collect(),
            true => db.iter().rev().collect(),
        };
        let (whole, damaged): (Vec<_>, Vec<_>) = records.into_iter().partition(Result::is_ok);
        assert_eq!((whole.len() as u64, damaged.len()), (count, 1), "{what}");
        is_damage(damaged.into_iter().next().unwrap(), what);
        let mut keys: Vec<_> = whole.into_iter().map(|r| r.unwrap().key().to_vec()).collect();
        if is_reversed {
            keys.reverse();
        }
        assert!(keys.is_sorted_by(|one, next| one < next), "{what}");
    }
}

/// Everything with the other keys, beside the damaged one.
fn use_others(db: &Db, what: &str) {
    for number in 0..COUNT {
        let found = get(db, 2 * number);
        match number {
            VICTIM => is_damage(found, what),
            _ => assert_eq!(found.unwrap(), Some(value(number)), "{what}: {number}"),
        }
    }
    // Between its neighbours, in their leaf of the index until it is cut, and out again.
    for number in 0..COUNT {
        put(db, 2 * number + 1, b"between").unwrap();
    }
    for number in 0..COUNT {
        delete(db, 2 * number + 1).unwrap();
    }
    let change = Patch::from_record(uarr!([[0, ["number"], 77]])).unwrap();
    patch(db, 2 * VICTIM + 2, &change).unwrap();
    put(db, 2 * VICTIM + 2, &value(VICTIM + 1)).unwrap();
    is_damage(patch(db, 2 * VICTIM, &change), what);
    // A new record with the old bytes and a checksum of its own would hide what became of them.
    is_damage(touch(db, 2 * VICTIM), what);
    touch(db, 2 * VICTIM + 2).unwrap();
    let mut batch = db.batch();
    match db.key_kind() {
        KeyKind::Bytes => (0..3).for_each(|n| {
            batch.put(name(2 * VICTIM - 2 + 4 * n), "b");
        }),
        _ => (0..3).for_each(|n| {
            batch.put((2 * VICTIM - 2 + 4 * n) << 40, "b");
        }),
    }
    batch.commit().unwrap();
    for number in [VICTIM - 1, VICTIM + 1, VICTIM + 3] {
        put(db, 2 * number, &value(number)).unwrap();
    }
    let loaded = (0..50).map(|number| (2 * number, value(number)));
    match db.key_kind() {
        KeyKind::Bytes => db.ingest(loaded.map(|(number, value)| (name(number), value))).unwrap(),
        _ => db.ingest(loaded.map(|(number, value)| (number << 40, value))).unwrap(),
    };
    db.checkpoint().unwrap();
    // Ways through all of it meet the damage once, from both ends; those that end in front of its
    // neighbour do not.
    meets_damage_once(db, COUNT - 1, what);
    let before = 2 * VICTIM - 4;
    let count = match db.key_kind() {
        KeyKind::Bytes => db.range(name(0)..=name(before)).unwrap().map(Result::unwrap).count(),
        _ => db.range(0..=before << 40).unwrap().map(Result::unwrap).count(),
    };
    assert_eq!(count as u64, VICTIM - 1, "{what}");
    let damages = db.verify(|_| {}).unwrap().damages;
    assert_eq!(damages.len(), 1, "{what}: {damages:?}");
    is_damage(Err::<(), _>(damages[0].clone()), what);
}

/// The parts of a record with a key of `key_len` bytes: header, key, padding, value.
fn parts(key_len: u64, kind: KeyKind) -> Vec<(&'static str, Range<u64>)> {
    let value_at = (HEADER_BYTES + key_len).next_multiple_of(8);
    let mut parts = vec![
        ("header checksum", 0..4),
        ("payload checksum", 4..8),
        ("LSN", 8..16),
        ("previous", 16..24),
        ("value length", 24..28),
        ("key length", 28..30),
        ("flags", 30..32),
        ("value", value_at..value_at + 60),
    ];
    if kind == KeyKind::Bytes {
        parts.push(("key, its first byte", HEADER_BYTES..HEADER_BYTES + 1));
        parts.push(("key, its last byte", HEADER_BYTES + key_len - 1..HEADER_BYTES + key_len));
    }
    parts
}

#[test]
fn damage_of_a_record_costs_that_record() {
    for kind in [KeyKind::Bytes, KeyKind::U64] {
        let made = make(kind);
        let key_len = key_bytes(kind, 0).len() as u64;
        for (index, (part, range)) in parts(key_len, kind).into_iter().enumerate() {
            let what = format!("{kind:?} keys, {part}");
            let at = range.start + (range.end - range.start) / 2;
            let disk = damaged(&made, kind, at, Which::Last);
            let open = || builder(kind).open_on(disk.clone()).unwrap();
            let db = open();
            use_others(&db, &what);
            db.close().unwrap();
            // The key is not forgotten with its value.
            let db = open();
            assert!(db.recovery_report().notes.is_empty(), "{what}");
            use_others(&db, &what);
            let healed = (index % 2 == 0).then(|| b"healed".to_vec());
            match &healed {
                Some(value) => put(&db, 2 * VICTIM, value).unwrap(),
                None => delete(&db, 2 * VICTIM).unwrap(),
            }
            let check = |db: &Db| {
                assert_eq!(get(db, 2 * VICTIM).unwrap(), healed, "{what}");
                let count = db.iter().map(Result::unwrap).count() as u64;
                assert_eq!(count, COUNT - u64::from(healed.is_none()), "{what}");
                assert!(db.verify(|_| {}).unwrap().is_clean(), "{what}");
            };
            check(&db);
            db.close().unwrap();
            let db = open();
            check(&db);
            db.checkpoint().unwrap();
            check(&db);
        }
    }
}

/// Keys that begin like the one of a damaged record are written next to it, and replayed. It stays
/// where its key belongs, so that each way over its key meets it. Before this was so, walks came to
/// a later key first, and passed over the damaged one without a word.
#[test]
fn a_damaged_record_keeps_its_place_among_later_neighbours() {
    let kind = KeyKind::Bytes;
    let made = make(kind);
    let key_len = key_bytes(kind, 0).len() as u64;
    let knows_key = |part: &str| !part.starts_with("key");
    for (part, range) in parts(key_len, kind) {
        let disk = damaged(&made, kind, range.start, Which::Last);
        let db = builder(kind).open_on(disk.clone()).unwrap();
        for number in [VICTIM, VICTIM - 1] {
            put(&db, 2 * number + 1, b"between").unwrap();
        }
        let replayed = builder(kind).open_on(disk.crash()).unwrap();
        for (db, when) in [(&db, "written"), (&replayed, "replayed")] {
            let what = format!("{part}, {when}");
            meets_damage_once(db, COUNT + 1, &what);
            let (before, own, behind) =
                (name(2 * VICTIM - 1), name(2 * VICTIM), name(2 * VICTIM + 1));
            if knows_key(part) {
                let only = db.range(own.as_str()..=own.as_str()).unwrap().next().unwrap();
                is_damage(only.map(drop), &what);
                let (low, high) =
                    (db.range(..own.as_str()).unwrap(), db.range(behind.as_str()..).unwrap());
                assert_eq!(low.map(Result::unwrap).count() as u64, VICTIM + 1, "{what}");
                assert_eq!(high.map(Result::unwrap).count() as u64, COUNT - VICTIM, "{what}");
            }
            is_damage(
                db.range(before.as_str()..=behind.as_str()).unwrap().try_for_each(|r| r.map(drop)),
                &what,
            );
        }
    }
}

/// The log is replayed over a damaged record: what was written over its key counts, and so do all
/// others.
#[test]
fn damage_of_a_record_does_not_stop_replay() {
    for kind in [KeyKind::Bytes, KeyKind::U64] {
        let disk = make(kind);
        let db = builder(kind).open_on(disk.clone()).unwrap();
        for number in 0..COUNT {
            put(&db, 2 * number + 1, b"between").unwrap();
        }
        let crashed = disk.crash();
        put(&db, 2 * VICTIM, b"newer").unwrap();
        let written = disk.crash();
        drop(db);
        for at in [4, 25, HEADER_BYTES + 2, HEADER_BYTES + 80] {
            for (disk, is_written) in [(&crashed, false), (&written, true)] {
                let disk = damaged(disk, kind, at, Which::First);
                let db = builder(kind).open_on(disk).unwrap();
                let found = get(&db, 2 * VICTIM);
                match is_written {
                    true => assert_eq!(found.unwrap().as_deref(), Some(&b"newer"[..])),
                    false => is_damage(found, "replayed"),
                }
                for number in (0..COUNT).filter(|number| *number != VICTIM) {
                    assert_eq!(get(&db, 2 * number).unwrap(), Some(value(number)));
                    assert_eq!(get(&db, 2 * number + 1).unwrap().as_deref(), Some(&b"between"[..]));
                }
                db.close().unwrap();
            }
        }
    }
}

/// Patches in the log build upon a record that is damaged: the patched key is lost, and only that.
#[test]
fn a_patch_of_a_damaged_record_is_lost_alone() {
    for kind in [KeyKind::Bytes, KeyKind::U64] {
        let disk = make(kind);
        let db = builder(kind).open_on(disk.clone()).unwrap();
        for round in 0..3u64 {
            let change = Patch::from_record(uarr!([[0, ["number"], 1000 + round]])).unwrap();
            patch(&db, 2 * VICTIM, &change).unwrap();
            patch(&db, 2 * VICTIM + 2, &change).unwrap();
        }
        let crashed = disk.crash();
        let patched = get(&db, 2 * VICTIM + 2).unwrap();
        drop(db);
        let key_len = key_bytes(kind, 0).len() as u64;
        let disk = damaged(&crashed, kind, HEADER_BYTES + key_len + 40, Which::First);

        let strict = builder(kind).recovery(RecoveryMode::Strict).open_on(disk.crash());
        is_damage(strict.map(drop), "strict");
        for _ in 0..2 {
            let db = builder(kind).open_on(disk.clone()).unwrap();
            is_damage(get(&db, 2 * VICTIM), "patched");
            assert_eq!(get(&db, 2 * VICTIM + 2).unwrap(), patched);
            for number in (0..COUNT).filter(|number| ![VICTIM, VICTIM + 1].contains(number)) {
                assert_eq!(get(&db, 2 * number).unwrap(), Some(value(number)));
            }
            db.close().unwrap();
        }
        let db = builder(kind).open_on(disk.clone()).unwrap();
        put(&db, 2 * VICTIM, b"healed").unwrap();
        db.close().unwrap();
        let db = builder(kind).open_on(disk).unwrap();
        assert_eq!(get(&db, 2 * VICTIM).unwrap().as_deref(), Some(&b"healed"[..]));
        assert!(db.verify(|_| {}).unwrap().is_clean());
    }
}

/// A database that was killed: its log patches the damaged record, then puts `number` of 0 to 255,
/// each with the value that is returned too.
fn killed_behind_a_damaged_patch(kind: KeyKind) -> (Memory, Vec<u8>) {
    let disk = make(kind);
    let db = builder(kind).background(true).open_on(disk.clone()).unwrap();
    let change = Patch::from_record(uarr!([[0, ["number"], 1000]])).unwrap();
    patch(&db, 2 * VICTIM, &change).unwrap();
    let large = vec![7; 32 << 10];
    for number in 0..256 {
        put(&db, 10_000 + number, &large).unwrap();
    }
    let crashed = disk.crash();
    drop(db);
    let key_len = key_bytes(kind, 0).len() as u64;
    (damaged(&crashed, kind, HEADER_BYTES + key_len + 40, Which::First), large)
}

/// The log is read ahead of replay: who reads must not wait for one that has ended with an error.
#[test]
fn replay_that_fails_holds_up_nobody() {
    let kind = KeyKind::U64;
    let (disk, large) = killed_behind_a_damaged_patch(kind);
    let strict = builder(kind).background(true).recovery(RecoveryMode::Strict);
    is_damage(strict.open_on(disk.crash()).map(drop), "strict");
    for background in [true, false] {
        let db = builder(kind).background(background).open_on(disk.crash()).unwrap();
        is_damage(get(&db, 2 * VICTIM), "patched");
        for number in 0..256 {
            assert_eq!(get(&db, 10_000 + number).unwrap().as_ref(), Some(&large));
        }
        assert!(db.recovery_report().replayed_record_count > 256);
    }
}

/// Which error opening ends with does not depend on how far ahead the log is read: of a damaged
/// record and a later read that fails, replay tells of the first. Of records that were read before
/// the failure it once applied none.
#[test]
fn replay_tells_of_the_first_error() {
    let kind = KeyKind::U64;
    let (disk, _) = killed_behind_a_damaged_patch(kind);
    let strict = builder(kind).recovery(RecoveryMode::Strict);
    let opened = |background: bool, nth: u64| {
        let disk = disk.crash();
        disk.fail(Fault::new(FaultKind::Read, nth).on("wal/"));
        let error = strict.clone().background(background).open_on(disk).map(drop).unwrap_err();
        error.kind()
    };
    let one_after_the_other: Vec<_> = (1..200).map(|nth| opened(false, nth)).collect();
    assert!(one_after_the_other.contains(&ErrorKind::Io), "reads fail");
    assert_eq!(one_after_the_other.last(), Some(&ErrorKind::Corruption), "all reads went well");
    let side_by_side: Vec<_> = (1..200).map(|nth| opened(true, nth)).collect();
    assert_eq!(side_by_side, one_after_the_other);
}

/// Lets `write` write to what is left of `disk`, in one life, and ends it with a loss of power.
fn continued(disk: &Memory, kind: KeyKind, write: impl FnOnce(&Db)) -> Memory {
    let disk = disk.crash();
    let db = builder(kind).open_on(disk.clone()).unwrap();
    write(&db);
    db.checkpoint().unwrap();
    drop(db);
    disk.crash()
}

/// A device loses the last write of a page. What it shows instead is whole: the record that an
/// earlier life, which failed, had put at the same address. It is not taken for the record that the
/// index names.
#[test]
fn a_record_of_an_earlier_life_is_not_taken_for_a_later_one() {
    type Write = fn(&Db);
    let earlier: [(&str, Write); 3] = [
        ("other key", |db| put(db, 1001, b"a value").unwrap()),
        ("other length", |db| put(db, 2 * VICTIM, &[7; 200]).unwrap()),
        ("deletion", |db| delete(db, 2 * VICTIM).unwrap()),
    ];
    for kind in [KeyKind::Bytes, KeyKind::U64] {
        for (what, earlier) in &earlier {
            let made = make(kind);
            let lost = continued(&made, kind, earlier);
            let disk = continued(&made, kind, |db| put(db, 2 * VICTIM, b"a value").unwrap());
            let read = |disk: &Memory| {
                let file = disk.open(DATA_FILE, OpenMode::Mapped).unwrap();
                let mut bytes = vec![0; file.len().unwrap() as usize];
                file.read_at(&mut bytes, 0).unwrap();
                (file, bytes)
            };
            let ((file, bytes), (_, older)) = (read(&disk), read(&lost));
            let differs = (0..bytes.len()).filter(|at| bytes[*at] != older[*at]);
            let (first, last) = (differs.clone().min().unwrap(), differs.max().unwrap());
            file.write_at(&older[first..=last], first as u64).unwrap();
            file.make_durable().unwrap();

            let disk = disk.crash();
            let db = builder(kind).open_on(disk.clone()).unwrap();
            let what = format!("{kind:?} keys, {what}");
            is_damage(get(&db, 2 * VICTIM), &what);
            for number in (0..COUNT).filter(|number| *number != VICTIM) {
                assert_eq!(get(&db, 2 * number).unwrap(), Some(value(number)), "{what}");
            }
            is_damage(db.iter().try_for_each(|record| record.map(drop)), &what);
            is_damage(db.iter().rev().try_for_each(|record| record.map(drop)), &what);
            assert_eq!(db.verify(|_| {}).unwrap().damages.len(), 1, "{what}");
            put(&db, 2 * VICTIM, b"healed").unwrap();
            assert_eq!(get(&db, 2 * VICTIM).unwrap().as_deref(), Some(&b"healed"[..]), "{what}");
            assert_eq!(db.iter().map(Result::unwrap).count() as u64, COUNT, "{what}");
            assert!(db.verify(|_| {}).unwrap().is_clean(), "{what}");
            db.close().unwrap();
            let db = builder(kind).open_on(disk).unwrap();
            assert_eq!(get(&db, 2 * VICTIM).unwrap().as_deref(), Some(&b"healed"[..]), "{what}");
        }
    }
}
