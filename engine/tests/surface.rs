//! What a caller may take for granted of the public types.
//!
//! Promise proved: each trait and type that the documentation names is there, and does what its
//! name says.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::Arc;

use uarr::value::Patch;
use uarr::{
    AsKey, Batch, Db, ErrorKind, Expiry, KeyKind, OwnedBatch, OwnedRange, OwnedRecord, Range,
    ReadOnly, ReadOnlyRange, Record, Snapshot, Stats, Storage, System, Table, Writer, uarr,
};

fn open(kind: KeyKind) -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder(dir.path()).keys(kind).open().unwrap();
    (dir, db)
}

#[test]
fn types_have_the_traits_that_callers_look_for() {
    fn shows<T: Debug>() {}
    fn is_shared<T: Send + Sync>() {}
    fn moves<T: Send + Debug + 'static>() {}
    fn survives_panics<T: UnwindSafe + RefUnwindSafe>() {}
    shows::<Db>();
    shows::<Range<'_>>();
    shows::<Batch<'_>>();
    shows::<Writer<'_>>();
    shows::<Record<'_>>();
    is_shared::<Db>();
    is_shared::<Record<'_>>();
    is_shared::<OwnedRecord>();
    is_shared::<ReadOnly>();
    shows::<ReadOnly>();
    moves::<ReadOnlyRange>();
    moves::<OwnedBatch>();
    moves::<OwnedRange>();
    moves::<OwnedRecord>();
    moves::<Snapshot>();
    moves::<Table>();
    moves::<Stats>();
    survives_panics::<Db>();
    survives_panics::<uarr::Error>();
}

#[test]
fn a_panic_of_the_caller_leaves_the_database_as_it_was() {
    let (_dir, db) = open(KeyKind::Bytes);
    let shared = db.clone();
    let panicked = std::panic::catch_unwind(move || {
        let mut batch = shared.batch();
        batch.put("a", "1");
        let records = (0..9u32).map(|number| match number {
            5 => std::panic::resume_unwind(Box::new("a test")),
            number => (number, "x"),
        });
        shared.ingest(records).unwrap();
    });
    assert!(panicked.is_err());
    db.put("b", "2").unwrap();
    assert!(db.get("a").unwrap().is_none());
    assert_eq!(db.get("b").unwrap().unwrap(), b"2");
}

#[test]
fn keys_are_what_they_own() {
    let (_dir, db) = open(KeyKind::Bytes);
    let check = |key: &dyn AsKey, value: &[u8]| assert_eq!(db.get(key).unwrap().unwrap(), value);
    db.put(Cow::Borrowed("text"), "1").unwrap();
    db.put(Box::<[u8]>::from(&b"bytes"[..]), "2").unwrap();
    db.put(7u32, "3").unwrap();
    check(&"text", b"1");
    check(&Arc::<str>::from("text"), b"1");
    check(&Rc::<str>::from("text"), b"1");
    check(&Arc::<[u8]>::from(&b"bytes"[..]), b"2");
    check(&Cow::<[u8]>::Owned(b"bytes".to_vec()), b"2");
    check(&Box::new(7u64), b"3");
    check(&7usize, b"3");
    db.put((7u128, "x"), "4").unwrap();
    check(&(7u128, "x"), b"4");
    assert!(db.get(7i64).unwrap().is_none(), "a key of its own");
}

#[test]
fn typed_tables_take_numbers_of_their_kind_in_order() {
    let (_dir, db) = open(KeyKind::U64);
    for number in [300u32, 2, 70_000] {
        db.put(number, "x").unwrap();
    }
    db.put(usize::MAX, "x").unwrap();
    let keys = db.iter().map(|record| record.unwrap().key_u64().unwrap());
    assert_eq!(keys.collect::<Vec<_>>(), [2, 300, 70_000, u64::MAX]);
    assert_eq!(db.range(2u32..=300).unwrap().count(), 2);
    for error in [db.put(5i64, "x").unwrap_err(), db.put("5", "x").unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("the table has u64 keys"), "{error}");
    }
}

#[test]
fn a_wrong_kind_is_named_as_the_option_is_spelled() {
    let (dir, db) = open(KeyKind::I64);
    db.close().unwrap();
    let error = Db::builder(dir.path()).keys(KeyKind::Bytes).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("i64 keys, but bytes keys were asked for"), "{error}");
    for kind in [KeyKind::Bytes, KeyKind::U64, KeyKind::I64] {
        assert_eq!(kind.to_string().parse::<KeyKind>().unwrap(), kind);
    }
    assert!("U64".parse::<KeyKind>().unwrap_err().to_string().contains("give bytes, u64 or i64"));
}

#[test]
fn ranges_of_all_kinds_of_bounds() {
    let (_dir, db) = open(KeyKind::Bytes);
    db.batch().put("a", "1").put("b", "2").put("c", "3").commit().unwrap();
    let count = |range: uarr::Result<Range<'_>>| range.unwrap().count();
    let (low, high) = (b"a".to_vec(), b"b".to_vec());
    assert_eq!(count(db.range(..)), 3);
    assert_eq!(count(db.range("a".."c")), 2);
    assert_eq!(count(db.range(b"a"..=b"c")), 3);
    assert_eq!(count(db.range([b'b']..)), 2);
    assert_eq!(count(db.range(&low[..]..&high[..])), 1);
    assert_eq!(count(db.range(..&high)), 1);
    assert_eq!(count(db.range(..=high.clone())), 2);
    assert_eq!(count(db.range(&(low..high.clone()))), 1);
    assert_eq!(count(db.range((Bound::Excluded(high), Bound::Unbounded))), 1);
    assert_eq!(db.into_iter().count(), 3);
}

#[test]
fn records_compare_as_their_values() {
    let (_dir, db) = open(KeyKind::Bytes);
    db.put("a", "value").unwrap();
    let record = db.get("a").unwrap().unwrap();
    let owned = record.to_owned();
    assert_eq!(record, b"value");
    assert_eq!(record, *b"value");
    assert_eq!(record, &b"value"[..]);
    assert_eq!(record, b"value"[..]);
    assert_eq!(record, b"value".to_vec());
    assert_ne!(owned, b"other");
    assert_eq!(owned, b"value".to_vec());
    assert_eq!(record.as_ref(), b"value");
    assert_eq!(Vec::from(record), b"value");
}

/// What a caller writes who names types: no parameter is needed, and one can be given.
#[test]
fn types_are_named_without_their_storage() {
    fn count(range: Range<'_>) -> usize {
        range.count()
    }
    fn fill(batch: &mut Batch<'_>) -> bool {
        batch.put("a", "1").put("b", "2").len() == 2
    }
    fn total<S: Storage>(db: &Db<S>) -> u64 {
        db.len()
    }
    let (_dir, db): (_, Db<System>) = open(KeyKind::Bytes);
    let mut batch = db.batch();
    assert!(fill(&mut batch));
    batch.clear();
    assert!(batch.is_empty() && batch.commit().unwrap().is_none());
    assert!(fill(&mut batch));
    batch.commit().unwrap();
    assert_eq!((count(db.iter()), total(&db)), (2, 2));
    assert_eq!(total(&Db::in_memory().unwrap()), 0);
}

#[test]
fn what_is_owned_goes_to_threads_and_tasks() {
    let (_dir, db) = open(KeyKind::Bytes);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let writer = db.clone();
    let written = runtime.spawn(async move {
        let mut batch = writer.batch();
        batch.put("a", "1").put("b", "2");
        batch.commit_async().await
    });
    runtime.block_on(written).unwrap().unwrap();
    let (record, snapshot) = (db.get("a").unwrap().unwrap().to_owned(), db.snapshot());
    let range = db.range_owned("b"..).unwrap();
    db.delete("a").unwrap();
    let read = runtime.spawn(async move { (record.bytes().to_vec(), range.count()) });
    assert_eq!(runtime.block_on(read).unwrap(), (b"1".to_vec(), 1));
    let read = std::thread::spawn(move || snapshot.get("a").unwrap().unwrap().bytes().to_vec());
    assert_eq!(read.join().unwrap(), b"1", "as of its moment");
}

#[test]
fn an_owned_batch_is_a_batch_elsewhere() {
    let (dir, db) = open(KeyKind::Bytes);
    let users = db.table("users").unwrap();
    db.batch()
        .put("touched", "t")
        .put("patched", uarr!({ "n": 1 }))
        .put("gone", "")
        .commit()
        .unwrap();
    let version = db.put("versioned", "1").unwrap().lsn;
    let patch = Patch::builder().set("n", 2).build().unwrap();
    let mut batch = db.batch_owned();
    batch.durable().of(&users).insert("ada", "Ada").of(&db).put("new", "n").delete("gone");
    batch.update("touched", "T").put_if_version("versioned", "2", version).patch("patched", &patch);
    batch.touch("new", Expiry::In(std::time::Duration::from_secs(3600)));
    assert_eq!(batch.len(), 7);
    // It keeps the database open.
    drop((db, users));
    let batch = std::thread::spawn(move || {
        batch.commit().unwrap().unwrap();
        assert!(batch.is_empty() && batch.commit().unwrap().is_none());
        batch.delete_if_version("versioned", version).put("new", "lost");
        batch
    });
    let mut batch = batch.join().unwrap();
    let error = batch.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConditionFailed);
    let refused = batch.commit_if().unwrap().unwrap().found().unwrap();
    assert_eq!(refused, b"2");
    drop(refused);
    assert_eq!(batch.len(), 2, "as it was");
    batch.clear();
    batch.put("", "no key").put("new", "behind it");
    assert_eq!(batch.commit().unwrap_err().kind(), ErrorKind::InvalidArgument);
    drop(batch);
    let db = Db::open(&dir).unwrap();
    assert_eq!(db.table("users").unwrap().get("ada").unwrap().unwrap(), b"Ada");
    assert_eq!(db.get("new").unwrap().unwrap(), b"n");
    assert_ne!(db.get("new").unwrap().unwrap().expiry(), Expiry::Never);
    assert_eq!(db.get("patched").unwrap().unwrap().uarr().unwrap().to_string(), "{\"n\":2}");
    assert_eq!(db.len(), 4);
}

#[test]
fn an_owned_batch_takes_tables_of_its_own_database() {
    let ((_dir, db), (_other_dir, other)) = (open(KeyKind::Bytes), open(KeyKind::Bytes));
    let mut batch = db.batch_owned();
    batch.of(&other).put("a", "1");
    assert_eq!(batch.commit().unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(db.is_empty() && other.is_empty());
    let table = db.table("t").unwrap();
    batch.clear();
    batch.of(&table).put("a", "1");
    db.drop_table("t").unwrap();
    assert_eq!(batch.commit().unwrap_err().kind(), ErrorKind::TableNotFound);
}

#[test]
fn patches_by_names() {
    let (_dir, db) = open(KeyKind::Bytes);
    db.put("ada", uarr!({ "born": 1815, "tags": ["x"], "a": { "b": [1, 2, 3, { "c": 4 }] } }))
        .unwrap();
    let patch = Patch::builder().set("born", 1816).push("tags", "y").delete("a.b[0]").build();
    db.patch("ada", &patch.unwrap()).unwrap();
    let record = db.get("ada").unwrap().unwrap();
    let at = |path| record.path(path).unwrap().map(|value| value.to_string());
    assert_eq!(at("born").as_deref(), Some("1816"));
    assert_eq!(at("tags[1]").as_deref(), Some("\"y\""));
    assert_eq!(at("a.b[2].c").as_deref(), Some("4"));
    assert_eq!(at("a.b[3]"), None);
}

#[expect(clippy::disallowed_types, reason = "this is about it")]
#[test]
fn collections_are_values() {
    let (_dir, db) = open(KeyKind::Bytes);
    let tags = vec![String::from("countess")];
    let ages = BTreeMap::from([("Ada".to_owned(), 36u8)]);
    let unordered: std::collections::HashMap<_, _> = [("b", 2), ("a", 1)].into();
    let (field, name) = (String::from("tags"), Arc::<str>::from("Ada"));
    let sums = vec![1u16, 2];
    let ada = uarr!({
        (field): tags, "ages": ages, "sums": sums, "name": name, "map": unordered
    });
    db.put("ada", ada).unwrap();
    let record = db.get("ada").unwrap().unwrap();
    let expected =
        r#"{"tags":["countess"],"ages":{"Ada":36},"sums":[1,2],"name":"Ada","map":{"a":1,"b":2}}"#;
    assert_eq!(record.uarr().unwrap().to_string(), expected);
    let sums = record.path("sums").unwrap().unwrap();
    assert_eq!(sums.as_slice::<u16>(), Ok(&[1, 2][..]), "numbers stay what they are");
}
