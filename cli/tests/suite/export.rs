//! `uarr export`, and `uarr import` of what it wrote.

use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uarr::{Db, Expires, Expiry, KeyKind};
use uarr_layout::uarr::{
    BigInt, Builder, Bytes, Decimal, Id128, Nanoseconds, Node, NodeName, Time, Undefined, from_json,
};

use crate::random::json;
use crate::run::{Home, Run};

/// A value of every kind that the format has, alone and in containers.
fn typed_values() -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    macro_rules! each {
        ($($value:expr),+ $(,)?) => {$(
            values.push(Builder::new().value($value).unwrap().to_vec());
            values.push(Builder::new().checksummed().value($value).unwrap().to_vec());
            let mut builder = Builder::new();
            let object = builder.object(|fields| {
                fields.field("b", $value);
                fields.list("a", |list| {
                    list.push($value);
                    list.push("text");
                });
            });
            values.push(object.unwrap().to_vec());
        )+};
    }
    each!(
        (),
        Undefined,
        true,
        0_i64,
        i64::MIN,
        u64::MAX,
        (1_i64 << 53) + 1,
        BigInt::from_decimal("-123456789012345678901234567890").unwrap(),
        0.0,
        -0.0,
        0.1,
        5e-324,
        f64::MAX,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        Decimal::new(12_345, -2).unwrap(),
        Time(1_700_000_000_123_456_789),
        Nanoseconds(-5),
        Node(7),
        NodeName("n/7"),
        Id128([7; 16]),
        Bytes(b"\x00\xff"),
        "",
        "a longer text that is not in line, with \u{1F600}, \"quotes\" and \u{0} in it",
    );
    let mut lists = Builder::new();
    let lists = lists.object(|fields| {
        fields.slice("f32", &[1.5_f32, f32::NAN]);
        fields.slice("f64", &[1.5, -0.0]);
        fields.slice("i8", &[1_i8, -1]);
        fields.slice("u16", &[1_u16, 2]);
        fields.slice::<u64>("none", &[]);
    });
    values.push(lists.unwrap().to_vec());
    let mut sorted = Builder::new().sorted();
    values.push(sorted.object(|fields| fields.field("z", 1)).unwrap().to_vec());
    values
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    json().prop_map(|json| from_json(json).unwrap().to_vec())
}

fn random_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => record(),
        2 => prop::sample::select(typed_values()),
        1 => prop::collection::vec(any::<u8>(), 0..100),
        // Nearly a record.
        1 => (record(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|damaged| {
            let (mut bytes, at, byte) = damaged;
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
    ]
}

fn random_expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        3 => Just(Expiry::Never),
        1 => (2_000_000_000_000_u64..1 << 62).prop_map(Duration::from_millis)
            .prop_map(|time| Expiry::At(UNIX_EPOCH + time)),
    ]
}

/// Puts what `key` makes of each number.
fn fill(db: &Db, rows: &[(u64, Vec<u8>, Expiry)]) {
    for (seed, value, expiry) in rows {
        let value = value.as_slice().expiring(*expiry);
        let bytes = seed.to_le_bytes();
        match (db.key_kind(), seed % 7) {
            (KeyKind::U64, _) => db.put(*seed, value),
            (KeyKind::I64, _) => db.put(seed.cast_signed(), value),
            (_, 0) => db.put(*seed, value),
            (_, 1) => db.put(seed.cast_signed(), value),
            (_, 2) => db.put(("user", *seed), value),
            (_, 3) => db.put(bytes, value),
            (_, 4) => db.put([&b"\xff"[..], &bytes].concat(), value),
            (_, 5) => {
                db.put(format!("{}:{seed}\n", ["hex", "u64", "i64"][(seed % 3) as usize]), value)
            }
            (_, _) => db.put(format!("user:\u{e9}:{seed}"), value),
        }
        .unwrap();
    }
}

fn contents(home: &Home) -> Vec<(Vec<u8>, Vec<u8>, Expiry)> {
    let db = Db::open(home.db()).unwrap();
    let all = db.range(..).unwrap().map(|record| {
        let record = record.unwrap();
        (record.key().to_vec(), record.bytes().to_vec(), record.expiry())
    });
    all.collect()
}

#[test]
fn what_was_exported_is_imported_byte_for_byte() {
    let rows = prop::collection::vec((any::<u64>(), random_value(), random_expiry()), 0..40);
    let kinds = prop::sample::select(vec![KeyKind::Bytes, KeyKind::U64, KeyKind::I64]);
    let names = prop::sample::select(vec!["out.ndjson", "out.gz", "out.ndjson.zst"]);
    let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
    let ran = runner.run(&(rows, kinds, names), |(rows, kind, name)| {
        let (home, copy) = (Home::new(), Home::new());
        let db = Db::builder(home.db()).keys(kind).open().unwrap();
        fill(&db, &rows);
        db.close().unwrap();
        let file = home.file(name, "what was there before");
        let told = home.run(["--json", "export", &file]).json();
        assert_eq!(told["bytes"], std::fs::metadata(&file).unwrap().len());
        copy.run(["import", &file]).done();
        prop_assert_eq!(contents(&copy), contents(&home));
        prop_assert_eq!(copy.run(["export"]).done(), home.run(["export"]).done());
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn every_kind_of_value_comes_back() {
    let (home, copy) = (Home::new(), Home::new());
    let db = Db::open(home.db()).unwrap();
    for (number, value) in (0_u64..).zip(typed_values()) {
        db.put(number, value).unwrap();
    }
    db.put("a long one", vec![b'x'; 70 << 20]).unwrap();
    db.put("long JSON", Builder::new().value("\u{1}".repeat(20 << 20).as_str()).unwrap()).unwrap();
    db.close().unwrap();
    let file = home.file("out.zst", "");
    home.run(["export", &file]).done();
    copy.run(["import", &file]).done();
    assert_eq!(contents(&copy), contents(&home));
}

#[test]
fn exports_are_lines_that_people_read() {
    let home = Home::new();
    home.run(["put", "user:1", r#"{"name":"Ada","n":[1,2.5,null]}"#]).done();
    let db = Db::open(home.db()).unwrap();
    db.put(b"\xff\x00", b"\x00\xff").unwrap();
    let time = UNIX_EPOCH + Duration::from_millis(4_000_000_000_123);
    db.put("code", from_json("7").unwrap().expires_at(time)).unwrap();
    db.close().unwrap();
    let told = home.run(["export"]).done();
    let expected = [
        r#"{"uarr_export":1,"key_kind":"bytes"}"#,
        r#"{"key":"code","expires_ms":4000000000123,"value":7}"#,
        r#"{"key":"user:1","value":{"name":"Ada","n":[1,2.5,null]}}"#,
        r#"{"key":"hex:ff00","bytes":"AP8="}"#,
        r#"{"records":3}"#,
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    let told = home.run(["export", "--prefix", "user:"]).done();
    assert_eq!(told.lines().skip(1).collect::<Vec<_>>(), [expected[2], r#"{"records":1}"#]);
}

/// It came back with an order, and its records to come stayed for ever.
#[test]
fn a_table_comes_back_as_it_was() {
    let home = Home::new();
    let make = ["table", "create", "sessions", "--unordered", "--ttl", "1h", "--durable"];
    home.run(make).done();
    home.run(["--table", "sessions", "put", "a", "1"]).done();
    home.run(["put", "b", "2"]).done();
    let export = home.run(["--table", "sessions", "export", "-"]).done();
    let start =
        r#"{"uarr_export":1,"key_kind":"bytes","ordered":false,"ttl_ms":3600000,"durable":true}"#;
    assert_eq!(export.lines().next(), Some(start));
    let file = home.file("sessions", &export);
    let other = Home::new();
    other.run(["put", "b", "2"]).done();
    other.run(["--table", "visits", "import", &file]).done();
    let (then, now) = (home.run(["tables"]).done(), other.run(["tables"]).done());
    assert_eq!(now, then.replace("sessions", "visits"));
    // A table that is there stays as it is, and so does the default one.
    other.run(["table", "create", "plain"]).done();
    other.run(["--table", "plain", "import", &file]).done();
    other.run(["import", &file]).done();
    let told = other.run(["tables"]).done();
    assert!(told.contains("plain  1 record, bytes keys\n"), "{told}");
    assert_eq!(other.run(["scan", "--keys-only"]).done(), "a\nb\n");
}

#[test]
fn an_export_is_whole_or_refused() {
    let (home, copy) = (Home::new(), Home::new());
    for key in ["a", "b"] {
        home.run(["put", key, "1"]).done();
    }
    let export = home.run(["export"]).done();
    let lines: Vec<_> = export.split_inclusive('\n').collect();
    let cut = lines[..3].concat();
    copy.feed(["import", "-"], &cut)
        .failed(2, &["standard input, line 4", "is missing", "2 records"]);
    let run = copy.feed(["import", "-", "--skip-bad"], &cut);
    assert_eq!((run.code, run.stderr.lines().count()), (0, 1), "{run:?}");
    let short = [lines[0], lines[1], lines[3]].concat();
    copy.feed(["import", "-"], short).failed(2, &["line 3", "2 records, 1 came"]);
    let bad = export.replace("\"b\"", "\"hex:0\"");
    let run = copy.feed(["import", "-", "--skip-bad"], bad);
    assert!(run.code == 0 && run.stdout.contains("imported 1 record from"), "{run:?}");
    assert!(run.stdout.contains("1 bad line skipped"), "{run:?}");
    let newer = export.replace("\"uarr_export\":1", "\"uarr_export\":2");
    let run = copy.feed(["import", "-", "--skip-bad"], newer);
    run.failed(2, &["line 1", "version 2", "imported before it: 0 records"]);
    let spaced = export.replace(':', " : ").replace('{', "{\n");
    copy.feed(["import", "-"], spaced).done();
    let behind = export.clone() + "{\"key\":\"c\",\"value\":1}\n";
    copy.feed(["import", "-"], behind).failed(2, &["line 5", "out of place"]);
    let twice = export.clone() + "\n" + &export;
    assert_eq!(copy.feed(["--json", "import", "-"], twice).json()["records"], 4);
    copy.feed(["import", "-", "--key", "k"], &export).failed(2, &["an export", "--key"]);
    copy.feed(["import", "-"], "{\"k\":1}\n").failed(2, &["line 1", "--key FIELD"]);

    let numbers = Home::new();
    numbers.feed(["import", "-", "--key-kind", "u64"], &export).failed(2, &["bytes keys", "u64"]);
    assert!(!numbers.db().exists());
    numbers.run(["put", "--key-kind", "u64", "1", "1"]).done();
    numbers.feed(["import", "-"], &export).failed(2, &["line 1", "a new one"]);
    copy.feed(["import", "-", "--prefix", "p:"], &export).done();
    assert_eq!(copy.run(["scan", "--keys-only", "--prefix", "p"]).done(), "p:a\np:b\n");
}

#[test]
fn compressed_input_is_known_by_its_first_bytes() {
    let home = Home::new();
    home.run(["put", "a", "1"]).done();
    for name in ["out.gz", "out.zst"] {
        let file = home.file(name, "");
        home.run(["export", &file]).done();
        let packed = std::fs::read(&file).unwrap();
        let copy = Home::new();
        copy.feed(["import", "-"], &packed).done();
        assert_eq!(copy.run(["get", "a"]).done(), "1\n");
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        for bytes in [&damaged, &packed[..packed.len() - 3]] {
            Home::new()
                .feed(["import", "-"], bytes)
                .failed(2, &["standard input", "damaged or cut off"]);
        }
    }
}

#[test]
fn an_export_that_fails_leaves_what_was_there() {
    let home = Home::new();
    home.run(["export"]).failed(3, &["does not exist"]);
    home.run(["put", "a", "1"]).done();
    let folder = home.dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    home.run(["export", folder.to_str().unwrap()]).failed(2, &["folder", "directory"]);
    home.run(["export", "/nowhere/out"])
        .failed(2, &["cannot write /nowhere/out", "name another place"]);
    home.run(["export", "/dev/full"]).failed(5, &["/dev/full", "make room"]);
    let stdout = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = Run::of(home.command(["export"]).stdout(stdout).output().unwrap());
    run.failed(6, &["cannot write the output"]);

    // A file that grows past a limit is no export, and the one before it stays.
    home.run(["put", "b", &format!("\"{}\"", "x".repeat(100_000))]).done();
    let before = home.file("out", "before");
    let line = format!("ulimit -f 100; exec \"$0\" --db \"$1\" export {before}");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &line, env!("CARGO_BIN_EXE_uarr")]).arg(home.db());
    let run = Run::of(shell.stdin(Stdio::null()).output().unwrap());
    assert_eq!(run.code, 5, "{run:?}");
    assert_eq!(std::fs::read_to_string(&before).unwrap(), "before");
    assert!(!home.dir.path().join("out.partial").exists());
}
