//! What opening makes of a log: the same as the writers did, however it enters it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use uarr::value::Patch;
use uarr::{Db, Durability, KeyKind, TableOptions, uarr};
use uarr_disk_sim::Memory;

const KEY_COUNT: u64 = 500;
const OPERATION_COUNT: u64 = 4000;
/// Longer than a locator can say.
const LONG_BYTES: usize = (2 << 20) + 5000;

type Model = BTreeMap<u64, Vec<u8>>;

fn open(disk: &Memory, kind: KeyKind, background: bool) -> Db<Memory> {
    let builder = Db::builder("memory").keys(kind).segment_bytes(4 << 20).chunk_bytes(1 << 18);
    let builder = builder.address_space_bytes(1 << 28).durability(Durability::Manual);
    builder.background(background).open_on(disk.clone()).unwrap()
}

fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 32
}

fn put(db: &Db<Memory>, kind: KeyKind, key: u64, value: &[u8]) {
    match kind {
        KeyKind::I64 => db.put(key.cast_signed() - 250, value).unwrap(),
        _ => db.put(key, value).unwrap(),
    };
}

fn delete(db: &Db<Memory>, kind: KeyKind, key: u64) {
    match kind {
        KeyKind::I64 => db.delete(key.cast_signed() - 250).unwrap(),
        _ => db.delete(key).unwrap(),
    };
}

fn get(db: &Db<Memory>, kind: KeyKind, key: u64) -> Option<Vec<u8>> {
    let found = match kind {
        KeyKind::I64 => db.get(key.cast_signed() - 250).unwrap(),
        _ => db.get(key).unwrap(),
    };
    found.map(|record| record.bytes().to_vec())
}

/// A database that loses its power. It was written to before and behind a checkpoint, with
/// deletions of two tables in turns, and with patches, if there are to be any, in the second half.
fn killed(kind: KeyKind, with_patches: bool) -> (Memory, Model, Model) {
    let disk = Memory::new();
    let db = open(&disk, kind, false);
    let options = TableOptions::default().keys(KeyKind::U64);
    let other = db.table_with("other", options).unwrap();
    let (mut model, mut other_model) = (Model::new(), Model::new());
    for number in 0..OPERATION_COUNT {
        let key = mix(number) % KEY_COUNT;
        let value = uarr!({ "number": number, "text": "a value of some length" });
        let value = value.as_bytes();
        match mix(number + 7) % 16 {
            0..4 => {
                delete(&db, kind, key);
                model.remove(&key);
            }
            4 => {
                other.delete(key).unwrap();
                other_model.remove(&key);
            }
            5 => {
                other.put(key, value).unwrap();
                other_model.insert(key, value.to_vec());
            }
            6 if number % 400 == 0 => {
                let long = vec![number as u8; LONG_BYTES];
                put(&db, kind, key, &long);
                model.insert(key, long);
            }
            7 if with_patches && number > OPERATION_COUNT / 2 && kind == KeyKind::U64 => {
                let patch = Patch::from_record(uarr!([[0, ["number"], 1]])).unwrap();
                if model.get(&key).is_some_and(|value| value.len() < LONG_BYTES) {
                    db.patch(key, &patch).unwrap();
                    model.insert(key, get(&db, kind, key).unwrap());
                }
            }
            _ => {
                put(&db, kind, key, value);
                model.insert(key, value.to_vec());
            }
        }
        if number == OPERATION_COUNT / 4 {
            db.checkpoint().unwrap();
        }
    }
    put(&db, kind, 3, &vec![3; LONG_BYTES]);
    model.insert(3, vec![3; LONG_BYTES]);
    db.sync().unwrap();
    let crashed = disk.crash();
    drop(other);
    drop(db);
    (crashed, model, other_model)
}

fn check(db: &Db<Memory>, kind: KeyKind, model: &Model, other_model: &Model) {
    for key in 0..KEY_COUNT {
        assert_eq!(get(db, kind, key).as_ref(), model.get(&key), "key {key}");
    }
    let other = db.table("other").unwrap();
    for key in 0..KEY_COUNT {
        let found = other.get(key).unwrap().map(|record| record.bytes().to_vec());
        assert_eq!(found.as_ref(), other_model.get(&key), "key {key} of the other table");
    }
    assert_eq!(db.stats().key_count, (model.len() + other_model.len()) as u64);
    let keys = db.iter().map(|record| record.unwrap().bytes().len());
    assert_eq!(keys.collect::<Vec<_>>(), model.values().map(Vec::len).collect::<Vec<_>>());
    assert!(db.verify(|_| ()).unwrap().is_clean());
}

#[test]
fn opening_enters_what_the_log_says_however_it_does() {
    for (kind, with_patches) in [
        (KeyKind::U64, false),
        (KeyKind::U64, true),
        (KeyKind::I64, false),
        (KeyKind::Bytes, false),
    ] {
        let (disk, model, other_model) = killed(kind, with_patches);
        for background in [false, true] {
            let db = open(&disk.crash(), kind, background);
            assert!(db.recovery_report().replayed_record_count > OPERATION_COUNT / 2);
            check(&db, kind, &model, &other_model);
        }
        // What is counted as living is what an opening counts that has no log to replay.
        let disk = disk.crash();
        let db = open(&disk, kind, false);
        while db.step().unwrap() {}
        db.checkpoint().unwrap();
        let live_bytes = db.stats().space.live_bytes;
        check(&db, kind, &model, &other_model);
        db.close().unwrap();
        let db = open(&disk, kind, false);
        assert!(db.recovery_report().clean);
        assert_eq!(db.stats().space.live_bytes, live_bytes, "{kind:?}");
        check(&db, kind, &model, &other_model);
    }
}
