//! Golden database directories: what this version of the format looks like, whole. They are opened
//! and hold what was written, and the same calls write the same bytes again.
//!
//! Written by `cargo test -p uarr-tests --test golden -- --ignored`; a change is a change of the
//! format, or of where things go, and belongs into docs/FORMAT.md and CHANGELOG.md.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use uarr::value::Patch;
use uarr::{Builder, CommitPath, CommitStrategy, Db, Expires, Expiry, KeyKind, TableOptions, uarr};
use uarr_disk_sim::{Memory, MemoryOptions};
use uarr_tests::files::{Files, disk_of, files_of};
use uarr_tests::{sparse, tiny};

/// Keys in their order, and their values.
type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// How a golden database came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    /// The power was lost, behind a checkpoint.
    Lost,
    /// The same before the first checkpoint.
    LostAtOnce,
}

/// Those whose name says so have tables, too.
const CASES: [(&str, KeyKind, End); 6] = [
    ("lost-tables", KeyKind::U64, End::Lost),
    ("closed-bytes", KeyKind::Bytes, End::Closed),
    ("closed-i64", KeyKind::I64, End::Closed),
    ("lost-bytes", KeyKind::Bytes, End::Lost),
    ("lost-u64", KeyKind::U64, End::Lost),
    ("new-bytes", KeyKind::Bytes, End::LostAtOnce),
];

fn options(kind: KeyKind) -> Builder {
    // Which strategy is measured to be the fastest is no part of the format.
    tiny().keys(kind).commit_path(CommitPath::Fixed(CommitStrategy::LinkedFdatasync))
}

/// The record of every ninth number expires, in 2100.
fn put(db: &Db<Memory>, number: u64, value: &[u8]) {
    let time = UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    let expiry = if number % 9 == 5 { Expiry::At(time) } else { Expiry::Never };
    let value = value.expiring(expiry);
    match db.key_kind() {
        KeyKind::Bytes if number.is_multiple_of(7) => db.put(number, value),
        KeyKind::Bytes => db.put(format!("key:{number}"), value),
        KeyKind::U64 => db.put(number << 32, value),
        KeyKind::I64 => db.put(number as i64 - 20, value),
    }
    .unwrap();
}

fn delete(db: &Db<Memory>, number: u64) {
    match db.key_kind() {
        KeyKind::Bytes if number.is_multiple_of(7) => db.delete(number),
        KeyKind::Bytes => db.delete(format!("key:{number}")),
        KeyKind::U64 => db.delete(number << 32),
        KeyKind::I64 => db.delete(number as i64 - 20),
    }
    .unwrap();
}

/// Something of everything that the files may hold, with records `from..from + 40`.
fn write(db: &Db<Memory>, from: u64) {
    let mut batch = db.batch();
    match db.key_kind() {
        KeyKind::Bytes => batch.put("a batch", "of two").put("patched", patched(from)),
        KeyKind::U64 => batch.put(1_u64, "of two").put(2_u64, patched(from)),
        KeyKind::I64 => batch.put(i64::MIN, "of two").put(i64::MAX, patched(from)),
    };
    batch.commit().unwrap();
    for number in from..from + 40 {
        put(db, number, &vec![number as u8; (number * number % 300) as usize]);
    }
    // Longer than a chunk, and than a page; mostly zeros, which golden files leave out.
    for (number, len) in [(from, 70_000), (from + 1, 5000)] {
        let mut value = vec![0; len];
        (value[0], value[len - 1]) = (1, 2);
        put(db, number, &value);
    }
    (from + 30..from + 35).for_each(|number| delete(db, number));
    let patch = Patch::from_record(uarr!([[0, ["number"], from + 1]])).unwrap();
    match db.key_kind() {
        KeyKind::Bytes => db.patch("patched", &patch),
        KeyKind::U64 => db.patch(2_u64, &patch),
        KeyKind::I64 => db.patch(i64::MAX, &patch),
    }
    .unwrap();
}

fn patched(number: u64) -> uarr::UArrBuf {
    uarr!({ "number": number, "text": "long enough to be worth a patch", "tags": ["a", null] })
}

const KINDS: [KeyKind; 3] = [KeyKind::Bytes, KeyKind::U64, KeyKind::I64];

/// The same in three tables, in one without order, and in one that is dropped.
fn write_tables(db: &Db<Memory>, from: u64) {
    for kind in KINDS {
        let options = TableOptions::new().keys(kind).expires_in(Duration::from_secs(1 << 32));
        write(&db.table_with(&kind.to_string(), options).unwrap(), from);
    }
    write(&db.table_with("unordered", TableOptions::new().unordered()).unwrap(), from);
    db.table("dropped").unwrap().put("key", "value").unwrap();
    db.drop_table("dropped").unwrap();
}

/// The files of a golden database, and what it holds.
fn make((name, kind, end): (&str, KeyKind, End)) -> (Files, Content) {
    let write = |db: &Db<Memory>, from: u64| {
        write(db, from);
        if name.ends_with("tables") {
            write_tables(db, from);
        }
    };
    let disk = Memory::with_options(MemoryOptions { seed: 7, ..Default::default() });
    let db = options(kind).open_on(disk.clone()).unwrap();
    write(&db, 0);
    if end != End::LostAtOnce {
        db.checkpoint().unwrap();
        write(&db, 20);
        db.checkpoint().unwrap();
        write(&db, 50);
    }
    let content = content(&db);
    if end == End::Closed {
        db.close().unwrap();
        return (files_of(&disk), content);
    }
    let lost = disk.crash();
    drop(db);
    (files_of(&lost), content)
}

fn content(db: &Db<Memory>) -> Content {
    let mut content = content_of(db);
    for info in db.tables().into_iter().map(Result::unwrap) {
        let table = db.find_table(&info.name).unwrap().unwrap();
        for (key, value) in content_of(&table) {
            content.insert([info.name.as_bytes(), b": ", &key].concat(), value);
        }
    }
    content
}

fn content_of(db: &Db<Memory>) -> Content {
    db.iter()
        .map(|record| {
            let record = record.unwrap();
            let expiry = format!("{:?}", record.expiry());
            (record.key().to_vec(), [record.bytes(), expiry.as_bytes()].concat())
        })
        .collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("v2.0-{name}.sparse"))
}

#[test]
fn golden_directories_hold_what_was_written() {
    for case in CASES {
        let (name, kind, end) = case;
        let files = sparse::unpack(&fs::read(path(name)).unwrap()).unwrap();
        let expected = make(case).1;
        assert!(expected.len() > 30, "{name}");
        let disk = disk_of(&files, MemoryOptions::default());
        let db = options(kind).create(false).open_on(disk).unwrap();
        assert_eq!(db.recovery_report().clean, end == End::Closed, "{name}");
        assert!(content(&db) == expected, "{name}");
        assert!(db.verify(|_| {}).unwrap().is_clean(), "{name}");
        db.close().unwrap();
    }
}

#[test]
fn they_are_written_again_byte_for_byte() {
    for case in CASES {
        let name = case.0;
        let golden = sparse::unpack(&fs::read(path(name)).unwrap()).unwrap();
        let made = make(case).0;
        assert!(golden.keys().eq(made.keys()), "{name}: {:?}", made.keys());
        for (file, bytes) in &made {
            let is_data = file == "data/records.uarr";
            // How much space the data file has ahead of its records is no matter of the format.
            assert!(is_data || golden[file].len() == bytes.len(), "{name}: {file}");
            let len = golden[file].len().max(bytes.len());
            let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
            let differs = (0..len).find(|at| byte(&golden[file], *at) != byte(bytes, *at));
            assert_eq!(differs, None, "{name}: {file}");
        }
    }
}

#[test]
#[ignore = "writes the golden directories"]
fn bless() {
    fs::create_dir_all(path("").parent().unwrap()).unwrap();
    for case in CASES {
        fs::write(path(case.0), sparse::pack(&make(case).0)).unwrap();
    }
}
