//! The verbs on a real directory.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use uarr::{Db, Durability, KeyKind};

fn builder(dir: &std::path::Path) -> uarr::Builder {
    Db::builder(dir).segment_bytes(1 << 20).chunk_bytes(1 << 20)
}

fn value(key: u64) -> Vec<u8> {
    (0..(key % 300)).map(|i| (key ^ i) as u8).collect()
}

#[test]
fn integers_survive_close_and_kill() {
    for durability in
        [Durability::Sync, Durability::Interval(Duration::from_millis(5)), Durability::Manual]
    {
        let dir = tempfile::tempdir().unwrap();
        let open = || builder(dir.path()).keys(KeyKind::U64).durability(durability).open().unwrap();
        let db = open();
        assert!(db.recovery_report().created);
        for key in 0..2000u64 {
            db.put(key * 7919, value(key)).unwrap();
        }
        for key in (0..2000u64).step_by(3) {
            db.delete(key * 7919).unwrap();
        }
        let check = |db: &Db| {
            for key in 0..2000u64 {
                let found = db.get(key * 7919).unwrap().map(|record| record.bytes().to_vec());
                assert_eq!(found, (key % 3 != 0).then(|| value(key)), "{key}");
            }
            let keys: Vec<_> = db.iter().map(|r| r.unwrap().key_u64().unwrap()).collect();
            assert_eq!(keys.len(), 1333);
            assert!(keys.is_sorted());
            let mut back: Vec<_> = db.iter().rev().map(|r| r.unwrap().key_u64().unwrap()).collect();
            back.reverse();
            assert_eq!(keys, back);
            let report = db.verify(|_| {}).unwrap();
            assert!(report.is_clean(), "{report:?}");
        };
        check(&db);
        db.checkpoint().unwrap();
        check(&db);
        db.close().unwrap();
        let db = open();
        assert!(db.recovery_report().clean, "{:?}", db.recovery_report());
        check(&db);
        db.put(5u64, b"after").unwrap();
        db.sync().unwrap();
        drop(db);
        let db = open();
        assert_eq!(&*db.get(5u64).unwrap().unwrap(), b"after");
    }
}

#[test]
fn threads_share_groups() {
    let dir = tempfile::tempdir().unwrap();
    let db = builder(dir.path()).keys(KeyKind::U64).open().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let db = db.clone();
            scope.spawn(move || {
                for step in 0..200u64 {
                    db.put(thread << 32 | step, step.to_le_bytes()).unwrap();
                }
            });
        }
    });
    let stats = db.stats();
    println!("{stats:#?}");
    assert_eq!(stats.commit_count, 3200);
    assert!(stats.flush_count < stats.commit_count);
    assert_eq!(db.iter().count(), 3200);
}
