//! What may be a key, and what a range of keys is.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::{Bound, RangeBounds};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use uarr::value::Patch;
use uarr::{
    AsKey, Builder, Db, Durability, ErrorKind, KeyBytes, KeyKind, KeyRef, WriteOptions, uarr,
};
use uarr_disk_sim::Memory;

fn builder(kind: KeyKind, durability: Durability) -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 20).chunk_bytes(1 << 20);
    let sizes = sizes.address_space_bytes(1 << 28).background(false);
    sizes.keys(kind).durability(durability)
}

/// A key type as a user may write it: it says `kind`, and its stored form is whatever it is.
#[derive(Clone)]
struct Odd {
    kind: KeyKind,
    forms: Vec<Vec<u8>>,
    asked_count: Cell<usize>,
}

impl Odd {
    fn new(kind: KeyKind, forms: &[&[u8]]) -> Self {
        let forms = forms.iter().map(|form| form.to_vec()).collect();
        Self { kind, forms, asked_count: Cell::new(0) }
    }
}

impl AsKey for Odd {
    fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Another form each time it is asked for.
    fn to_key(&self) -> KeyBytes<'_> {
        let asked_count = self.asked_count.replace(self.asked_count.get() + 1);
        KeyBytes::Slice(&self.forms[asked_count % self.forms.len()])
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a refusal waits for nothing"),
    }
}

/// Each verb with `key`, and its outcome.
fn every_verb<K: AsKey + Clone>(db: &Db<Memory>, key: &K) -> Vec<(&'static str, uarr::Result<()>)> {
    let patch = Patch::from_record(uarr!([[0, ["a"], 2]])).unwrap();
    let options = WriteOptions::new();
    let range = |range: (Bound<K>, Bound<K>)| db.range(range).map(drop);
    vec![
        ("put", db.put(key, b"odd").map(drop)),
        ("delete", db.delete(key).map(drop)),
        ("patch", db.patch(key, &patch).map(drop)),
        ("put_async", ready(db.with(options).put_async(key, b"odd")).map(drop)),
        ("delete_async", ready(db.with(options).delete_async(key)).map(drop)),
        ("patch_async", ready(db.with(options).patch_async(key, &patch)).map(drop)),
        ("batch put", db.batch().put(key, b"odd").commit().map(drop)),
        ("batch delete", db.batch().delete(key).commit().map(drop)),
        ("batch patch", db.batch().patch(key, &patch).commit().map(drop)),
        ("ingest", db.ingest([(key, b"odd")]).map(drop)),
        ("get", db.get(key).map(drop)),
        ("contains", db.contains(key).map(drop)),
        ("get_many", db.get_many(&[key]).map(drop)),
        ("range from", range((Bound::Included(key.clone()), Bound::Unbounded))),
        ("range behind", range((Bound::Excluded(key.clone()), Bound::Unbounded))),
        ("range up to", range((Bound::Unbounded, Bound::Included(key.clone())))),
        ("range before", range((Bound::Unbounded, Bound::Excluded(key.clone())))),
    ]
}

fn check_refused<K: AsKey + Clone>(db: &Db<Memory>, key: &K, what: &str) {
    for (verb, outcome) in every_verb(db, key) {
        let kind = outcome.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::InvalidArgument), "{verb} of {what}");
    }
}

/// Once, a form of the wrong width passed into the log, panicked when it was applied, and kept the
/// database from being opened again.
#[test]
fn a_key_type_that_does_not_keep_its_word_changes_nothing() {
    for durability in [Durability::Sync, Durability::Manual] {
        for kind in [KeyKind::U64, KeyKind::I64] {
            let disk = Memory::new();
            let db = builder(kind, durability).open_on(disk.clone()).unwrap();
            let sound = Odd::new(kind, &[b"8 bytes!"]);
            db.put(&sound, b"sound").unwrap();
            for form in [&b""[..], b"1", b"4444", b"7777777", b"999999999", &[0; 70_000]] {
                check_refused(&db, &Odd::new(kind, &[form]), &format!("{} bytes", form.len()));
            }
            for other in
                [KeyKind::Bytes, KeyKind::U64, KeyKind::I64].into_iter().filter(|k| *k != kind)
            {
                check_refused(&db, &Odd::new(other, &[b"8 bytes?"]), &format!("{other:?}"));
            }
            // The second form is asked for by nothing, or is checked as the first was.
            let changing = Odd::new(kind, &[b"8 bytes+", b"9 bytes -"]);
            let _ = every_verb(&db, &changing);
            db.put(&sound, b"still").unwrap();
            drop(db);
            let db = builder(kind, durability).open_on(disk).unwrap();
            assert_eq!(db.get(&sound).unwrap().unwrap().bytes(), b"still");
        }
    }
}

#[test]
fn a_byte_table_keeps_keys_of_different_types_apart() {
    let disk = Memory::new();
    let db = builder(KeyKind::Bytes, Durability::Sync).open_on(disk.clone()).unwrap();
    // All of them have the same eight bytes, or are what the integers are stored as.
    let number = (1u64 << 63) | 5;
    let bytes = number.to_be_bytes();
    let looks: [Vec<u8>; 3] =
        [bytes.to_vec(), [&[0xff, 1][..], &bytes].concat(), [&[0xff, 2][..], &bytes].concat()];
    db.put(number, b"u64").unwrap();
    db.put(5i64, b"i64").unwrap();
    for (place, key) in looks.iter().enumerate() {
        assert!(db.get(key).unwrap().is_none(), "{key:x?}");
        db.put(key, [place as u8]).unwrap();
    }
    let check = |db: &Db<Memory>| {
        assert_eq!(db.get(number).unwrap().unwrap().bytes(), b"u64");
        assert_eq!(db.get(5i64).unwrap().unwrap().bytes(), b"i64");
        assert!(db.get(5u64).unwrap().is_none());
        for (place, found) in db.get_many(&looks).unwrap().into_iter().enumerate() {
            let found = found.unwrap();
            assert_eq!((found.bytes(), found.key()), (&[place as u8][..], &looks[place][..]));
            assert_eq!((found.key_u64(), found.key_i64()), (None, None));
        }
        let records: Vec<_> = db.iter().map(Result::unwrap).collect();
        let order: Vec<_> = records.iter().map(|record| record.key_ref()).collect();
        let [plain, like_u64, like_i64] = &looks;
        assert_eq!(
            order,
            [
                KeyRef::Bytes(plain),
                KeyRef::U64(number),
                KeyRef::I64(5),
                KeyRef::Bytes(like_u64),
                KeyRef::Bytes(like_i64),
            ]
        );
        assert_eq!(db.range(0u64..).unwrap().next().unwrap().unwrap().key_u64(), Some(number));
        assert_eq!(db.prefix([0xff]).unwrap().count(), 2, "integers have no prefix");
        assert_eq!(db.range(i64::MIN..=i64::MAX).unwrap().count(), 1);
    };
    check(&db);
    db.batch().delete(7i64).put(7u64, b"").delete(7u64).commit().unwrap();
    check(&db);
    db.close().unwrap();
    let db = builder(KeyKind::Bytes, Durability::Sync).open_on(disk).unwrap();
    check(&db);
    assert!(db.verify(|_| {}).unwrap().damages.is_empty());
    db.delete(5i64).unwrap();
    assert!(db.get(number).unwrap().is_some() && db.get(&looks[2]).unwrap().is_some());

    check_refused(&db, &Odd::new(KeyKind::U64, &[b"7 bytes"]), "7 bytes that are said to be a u64");
    check_refused(&db, &Odd::new(KeyKind::Bytes, &[&[7; 65_536]]), "65,536 bytes");
    check_refused(
        &db,
        &Odd::new(KeyKind::Bytes, &[&[0xff; 65_535]]),
        "65,535 bytes that start with 0xff",
    );
    let db = builder(KeyKind::I64, Durability::Sync).open_on(Memory::new()).unwrap();
    db.put(-5i64, b"x").unwrap();
    let record = db.first().unwrap().unwrap();
    assert_eq!((record.key_u64(), record.key_i64()), (None, Some(-5)));
}

/// Whether `key` lies in the range, as [`RangeBounds`] says; unlike `BTreeMap::range` for any pair
/// of bounds.
fn inside(key: &[u8], low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> bool {
    (low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice)).contains(key)
}

#[test]
fn ranges_are_what_their_bounds_say() {
    let db = builder(KeyKind::Bytes, Durability::Sync).open_on(Memory::new()).unwrap();
    let keys: [&[u8]; 9] =
        [b"\0", b"\0\0", b"a", b"a\0", b"ab", b"b", b"\xfe", b"\xff", b"\xff\xff"];
    let mut model = BTreeMap::new();
    for key in keys {
        db.put(key, key).unwrap();
        model.insert(key.to_vec(), ());
    }
    let mut ends: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
    ends.extend([&b""[..], b"\0\x01", b"aa", b"c", b"\xff\xff\xff"].map(<[u8]>::to_vec));
    let mut bounds = vec![Bound::Unbounded];
    for end in ends {
        bounds.extend([Bound::Included(end.clone()), Bound::Excluded(end)]);
    }
    for low in &bounds {
        for high in &bounds {
            let expected: Vec<_> =
                model.keys().filter(|key| inside(key, low, high)).cloned().collect();
            let range = || db.range((low.clone(), high.clone())).unwrap();
            let key = |record: uarr::Result<uarr::Record<'_>>| record.unwrap().key().to_vec();
            let forward: Vec<_> = range().map(key).collect();
            let mut backward: Vec<_> = range().rev().map(key).collect();
            backward.reverse();
            assert_eq!(forward, expected, "{low:?} {high:?}");
            assert_eq!(backward, expected, "{low:?} {high:?} backwards");
        }
    }
}

#[test]
fn ranges_of_integers_are_what_their_bounds_say() {
    let db = builder(KeyKind::I64, Durability::Sync).open_on(Memory::new()).unwrap();
    let keys = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    for key in keys {
        db.put(key, b"").unwrap();
    }
    let mut bounds = vec![Bound::Unbounded];
    bounds.extend(
        keys.iter().chain(&[7, -7]).flat_map(|k| [Bound::Included(*k), Bound::Excluded(*k)]),
    );
    for low in &bounds {
        for high in &bounds {
            let expected: Vec<_> =
                keys.iter().filter(|key| (*low, *high).contains(*key)).copied().collect();
            let range = || db.range((*low, *high)).unwrap();
            let forward: Vec<_> = range().map(|r| r.unwrap().key_i64().unwrap()).collect();
            let mut backward: Vec<_> =
                range().rev().map(|r| r.unwrap().key_i64().unwrap()).collect();
            backward.reverse();
            assert_eq!((&forward, &backward), (&expected, &expected), "{low:?} {high:?}");
        }
    }
}

/// A composite key with elements of many kinds, in order of the derived comparison.
type Composite = (String, Option<i32>, Vec<u8>);

fn composites() -> Vec<Composite> {
    let mut all = Vec::new();
    for text in ["", "\0", "a", "a\0", "a\0\u{ff}", "ab", "\u{ff}"] {
        for number in [None, Some(i32::MIN), Some(-1), Some(0), Some(7), Some(i32::MAX)] {
            for bytes in [&b""[..], b"\0", b"\0\xff", b"\xff"] {
                all.push((text.to_owned(), number, bytes.to_vec()));
            }
        }
    }
    all
}

#[test]
fn composite_keys_sort_as_their_elements_do() {
    let disk = Memory::new();
    let db = builder(KeyKind::Bytes, Durability::Manual).open_on(disk.clone()).unwrap();
    let mut all = composites();
    for (place, key) in all.iter().enumerate().rev() {
        db.put(key, place.to_be_bytes()).unwrap();
    }
    all.sort();
    let keys = |range: uarr::Result<uarr::Range<'_, Memory>>| {
        let read = |record: uarr::Result<uarr::Record<'_>>| record.unwrap().key_as().unwrap();
        range.unwrap().map(read).collect::<Vec<Composite>>()
    };
    let check = |db: &Db<Memory>| {
        assert_eq!(keys(db.range(..)), all);
        for key in &all {
            let record = db.get(key).unwrap().unwrap().to_owned();
            assert_eq!(record.key_as::<Composite>().unwrap(), *key);
            let behind: Vec<_> = all.iter().filter(|other| *other > key).cloned().collect();
            assert_eq!(keys(db.range((Bound::Excluded(key), Bound::Unbounded))), behind);

            let (text, number, _) = key;
            let by_one: Vec<_> = all.iter().filter(|other| other.0 == *text).cloned().collect();
            assert_eq!(keys(db.prefix((text,))), by_one, "{text:?}");
            assert_eq!(keys(db.snapshot().prefix((text,))), by_one, "{text:?}");
            let by_two: Vec<_> = by_one.into_iter().filter(|other| other.1 == *number).collect();
            assert_eq!(keys(db.prefix((text, number))), by_two, "{text:?} {number:?}");
        }
    };
    check(&db);
    db.close().unwrap();
    let db = builder(KeyKind::Bytes, Durability::Manual).open_on(disk).unwrap();
    check(&db);
    assert_eq!(db.begin().unwrap().prefix(("a",)).unwrap().count(), 24);
    assert_eq!(db.delete_prefix(("a",)).unwrap(), 24);
    assert_eq!(db.delete_prefix("a").unwrap(), 3 * 24, "those whose text begins so");
}

#[test]
fn numbers_near_the_highest_are_elements_like_others() {
    let db = builder(KeyKind::Bytes, Durability::Manual).open_on(Memory::new()).unwrap();
    let all = [(0u128, -1i8), (1 << 64, 0), (u128::MAX - 1, 5), (u128::MAX, -5), (u128::MAX, 5)];
    for key in all {
        db.put(key, b"").unwrap();
    }
    db.put(u64::MAX, b"a key of another type").unwrap();
    let read = |record: uarr::Result<uarr::Record<'_>>| record.unwrap().key_as::<(u128, i8)>();
    let found: Vec<_> = db.range(all[0]..=all[4]).unwrap().filter_map(|r| read(r).ok()).collect();
    assert_eq!(found, all);
    let highest = db.prefix((u128::MAX,)).unwrap().map(|record| read(record).unwrap());
    assert_eq!(highest.collect::<Vec<_>>(), all[3..]);
}

#[test]
fn tables_of_integers_and_too_long_tuples_are_refused() {
    for kind in [KeyKind::U64, KeyKind::I64] {
        let db = builder(kind, Durability::Sync).open_on(Memory::new()).unwrap();
        check_refused(&db, &(5u64,), "a tuple in a table of integers");
        let refused = db.prefix((5u64,)).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::InvalidArgument));
    }
    let db = builder(KeyKind::Bytes, Durability::Sync).open_on(Memory::new()).unwrap();
    check_refused(&db, &("a", vec![0u8; 33_000]), "a tuple of more than 65,535 bytes");
    let error = db.prefix(5u64).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    db.put((5u128,), b"of 16 bytes").unwrap();
    let record = db.first().unwrap().unwrap();
    let error = record.key_as::<(u64,)>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongValue, "{error}");
}
