//! Databases in memory, for tests of callers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, Instant};

use uarr::{Db, KeyKind, WhenFull};

#[test]
fn a_database_in_memory_does_what_others_do() {
    let db = Db::in_memory().unwrap();
    db.batch().put("a", b"1").put("b", b"2").commit().unwrap();
    let large = vec![7; 20 << 20];
    db.put("large", &large).unwrap();
    assert_eq!(db.get("large").unwrap().unwrap().bytes(), large, "larger than chunk and segment");
    db.ingest((0..30_000u64).map(|number| (("loaded", number), [1; 100]))).unwrap();
    assert_eq!(db.delete_prefix(("loaded",)).unwrap(), 30_000);
    db.transaction(|tx| tx.put("c", b"3")).unwrap();
    db.checkpoint().unwrap();
    db.compact().unwrap();
    assert_eq!(db.iter().count(), 4);
    assert!(db.verify(|_| {}).unwrap().is_clean());
    let other = Db::in_memory().unwrap();
    assert!(other.is_empty(), "each is a new one");
    db.close().unwrap();

    let db = Db::builder("in memory").keys(KeyKind::I64).when_full(WhenFull::Error);
    let db = db.in_memory().unwrap();
    db.put(-5i64, b"x").unwrap();
    assert_eq!((db.key_kind(), db.len()), (KeyKind::I64, 1));
}

/// The quickest of some: other tests run beside it.
#[expect(clippy::disallowed_methods, reason = "this is about the real clock")]
#[test]
fn it_opens_in_milliseconds() {
    let took = |_| {
        let start = Instant::now();
        let db = Db::in_memory().unwrap();
        let took = start.elapsed();
        db.close().unwrap();
        took
    };
    let quickest = (0..30).map(took).min().unwrap();
    assert!(quickest < Duration::from_millis(5), "{quickest:?}");
    println!("opens in {quickest:?}");
}
