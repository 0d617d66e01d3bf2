//! Touches in batches and transactions: another time, the same value, whatever others write.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use uarr::value::Patch;
use uarr::{
    Batch, Db, Durability, ErrorKind, Expires, Expiry, KeyKind, Outcome, TableOptions, uarr,
};
use uarr_disk_sim::Memory;

const SECOND: Duration = Duration::from_secs(1);
const CLASSES: [Durability; 2] = [Durability::Sync, Durability::Manual];

fn open(disk: &Memory, durability: Durability) -> Db<Memory> {
    let builder = Db::builder("memory").durability(durability).segment_bytes(1 << 18);
    let builder = builder.chunk_bytes(1 << 16).address_space_bytes(1 << 28).background(false);
    builder.open_on(disk.clone()).unwrap()
}

/// Value of `key`, and in how many seconds it expires.
fn state(disk: &Memory, db: &Db<Memory>, key: &str) -> Option<(Vec<u8>, Option<u64>)> {
    use uarr_uring::Storage;

    let now = UNIX_EPOCH + Duration::from_nanos(disk.wall_ns().cast_unsigned());
    db.get(key).unwrap().map(|record| {
        let left = match record.expiry() {
            Expiry::At(time) => Some(time.duration_since(now).unwrap().as_secs_f64().round()),
            _ => None,
        };
        (record.bytes().to_vec(), left.map(|seconds| seconds as u64))
    })
}

#[test]
fn a_batch_touches_what_is_there_or_writes_nothing() {
    for durability in CLASSES {
        let disk = Memory::new();
        let db = open(&disk, durability);
        db.put("k", b"value".expires_in(SECOND)).unwrap();
        db.put("over", b"".expires_in(SECOND / 2)).unwrap();
        let mut batch = db.batch();
        batch.put("other", b"1").touch("k", Expiry::In(SECOND * 10)).touch("k", Expiry::Never);
        batch.touch("k", Expiry::In(SECOND * 20)).commit().unwrap();
        disk.advance(SECOND * 2);
        assert_eq!(state(&disk, &db, "k"), Some((b"value".to_vec(), Some(18))));
        assert!(db.get("k").unwrap().unwrap().version() > 2, "it is another version");
        for key in ["over", "never there"] {
            batch.put("other", b"2").touch("k", Expiry::Never).touch(key, Expiry::Never);
            match batch.commit_if().unwrap().unwrap() {
                Outcome::Refused(refusal) => {
                    assert_eq!((refusal.change, refusal.found.is_none()), (2, true));
                }
                Outcome::Written(_) => panic!("{key} is not there"),
            }
            let error = batch.commit().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConditionFailed);
            let text = format!("'{key}' should be there, but there is no record; nothing");
            assert!(error.to_string().contains(&text), "{error}");
            assert_eq!(batch.len(), 3, "the batch is as it was");
            batch.clear();
        }
        db.sync().unwrap();
        let disk = disk.crash();
        let db = open(&disk, durability);
        assert_eq!(state(&disk, &db, "k"), Some((b"value".to_vec(), Some(18))));
        assert_eq!(state(&disk, &db, "other"), Some((b"1".to_vec(), None)));
        disk.advance(SECOND * 18);
        assert_eq!(db.iter().count(), 1);
    }
}

/// What a batch of `fill` leads to for "k", which was "old"; by replay, too.
fn outcome(
    durability: Durability,
    fill: impl Fn(&mut Batch<'_, Memory>),
) -> uarr::Result<Option<(Vec<u8>, Option<u64>)>> {
    let disk = Memory::new();
    let db = open(&disk, durability);
    db.put("k", uarr!({ "n": 0 }).expires_in(SECOND * 50)).unwrap();
    let mut batch = db.batch();
    fill(&mut batch);
    batch.commit()?;
    db.sync().unwrap();
    let written = state(&disk, &db, "k");
    assert_eq!(state(&disk, &open(&disk.crash(), durability), "k"), written);
    Ok(written)
}

#[test]
fn a_touch_builds_upon_what_its_batch_has_done_before() {
    let ten = Expiry::In(SECOND * 10);
    let patch = Patch::builder().set("n", 1).build().unwrap();
    let record = |n: i32| uarr!({ "n": n }).to_vec();
    for durability in CLASSES {
        let put = outcome(durability, |batch| {
            batch.put("k", b"new").touch("k", ten);
        });
        assert_eq!(put.unwrap(), Some((b"new".to_vec(), Some(10))));
        let replaced = outcome(durability, |batch| {
            batch.touch("k", ten).put("k", b"new");
        });
        assert_eq!(replaced.unwrap(), Some((b"new".to_vec(), None)));
        let patched = outcome(durability, |batch| {
            batch.patch("k", &patch).touch("k", ten);
        });
        assert_eq!(patched.unwrap(), Some((record(1), Some(10))));
        let patched = outcome(durability, |batch| {
            batch.touch("k", ten).patch("k", &patch);
        });
        assert_eq!(patched.unwrap(), Some((record(1), Some(10))));
        let met = outcome(durability, |batch| {
            batch.update("k", b"met").touch("k", Expiry::Never);
        });
        assert_eq!(met.unwrap(), Some((b"met".to_vec(), None)));
        let deleted = outcome(durability, |batch| {
            batch.delete("k").touch("k", ten);
        });
        assert_eq!(deleted.unwrap_err().kind(), ErrorKind::ConditionFailed);
        let expired = outcome(durability, |batch| {
            batch.put("k", b"1".expires_at(UNIX_EPOCH)).touch("k", ten);
        });
        assert_eq!(expired.unwrap_err().kind(), ErrorKind::ConditionFailed, "nothing comes back");
        let expired = outcome(durability, |batch| {
            batch.put("k", uarr!({ "n": 0 }).expires_at(UNIX_EPOCH)).patch("k", &patch);
        });
        assert_eq!(expired.unwrap_err().kind(), ErrorKind::KeyNotFound);
        let conditional = outcome(durability, |batch| {
            batch.touch("k", ten).insert("k", b"new");
        });
        assert_eq!(conditional.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

/// A touch reads and writes: between the two no other write is lost.
#[test]
fn no_update_is_lost_between_touches_and_writers() {
    for durability in [Durability::Sync, Durability::Interval(Duration::from_millis(2))] {
        let builder = Db::builder("memory").segment_bytes(1 << 20).chunk_bytes(1 << 20);
        let db = builder.durability(durability).open_on(Memory::new()).unwrap();
        db.put("k", uarr!(0)).unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (db, is_over) = (&db, &is_over);
            let touchers: Vec<_> = (0..3u64)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut count = 0u64;
                        while !is_over.load(Ordering::Relaxed) || count < 20 {
                            let expiry = Expiry::In(SECOND * 1000);
                            match thread {
                                0 => _ = db.touch("k", expiry).unwrap().unwrap(),
                                1 => _ = db.batch().touch("k", expiry).commit().unwrap().unwrap(),
                                _ => assert!(
                                    db.transaction(|tx| tx.touch("k", expiry)).unwrap(),
                                    "it is there"
                                ),
                            }
                            count += 1;
                            thread::yield_now();
                        }
                    })
                })
                .collect();
            let counters: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(move || {
                        for _ in 0..100 {
                            db.increment("k", 1).unwrap();
                        }
                    })
                })
                .collect();
            counters.into_iter().for_each(|thread| thread.join().unwrap());
            is_over.store(true, Ordering::Relaxed);
            touchers.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert_eq!(db.get("k").unwrap().unwrap().uarr().unwrap().as_i64(), Some(200));
        assert!(matches!(db.expiry("k").unwrap(), Some(Expiry::At(_))));
    }
}

#[tokio::test]
async fn tasks_touch_in_batches() {
    for durability in [Durability::Sync, Durability::Manual] {
        let builder = Db::builder("memory").segment_bytes(1 << 20).chunk_bytes(1 << 20);
        let db = builder.durability(durability).open_on(Memory::new()).unwrap();
        db.put("k", b"value").unwrap();
        let mut batch = db.batch();
        batch.put("seen", b"").touch("k", Expiry::In(SECOND * 1000));
        assert!(batch.commit_async().await.unwrap().is_some());
        assert!(matches!(db.expiry("k").unwrap(), Some(Expiry::At(_))));
        batch.put("seen", b"again").touch("nobody", Expiry::Never);
        let refused = batch.commit_if_async().await.unwrap().unwrap();
        assert!(matches!(refused, Outcome::Refused(refusal) if refusal.change == 1));
        assert_eq!(db.get("seen").unwrap().unwrap(), b"");
        assert!(db.touch_async("nobody", Expiry::Never).await.unwrap().is_none());
    }
}

#[test]
fn a_transaction_touches_as_it_reads() {
    for durability in CLASSES {
        let disk = Memory::new();
        let db = open(&disk, durability);
        let options = TableOptions::new().keys(KeyKind::U64).expires_in(SECOND * 5);
        let table = db.table_with("sessions", options).unwrap();
        table.put(7u64, b"seven").unwrap();
        db.put("k", b"value".expires_in(SECOND)).unwrap();
        let ten = Expiry::In(SECOND * 10);
        let touched = db.transaction(|tx| {
            assert!(!tx.touch("nobody", ten)?);
            tx.put("own", b"own".expires_in(SECOND))?;
            assert!(tx.touch("own", ten)?, "what it has put is there");
            assert!(matches!(tx.expiry("own")?, Some(Expiry::At(_))));
            tx.put("over", b"".expires_at(UNIX_EPOCH))?;
            assert!(!tx.touch("over", ten)?, "what has expired does not come back");
            tx.delete("gone")?;
            assert!(!tx.touch("gone", ten)?);
            assert!(tx.of(&table)?.touch(7u64, Expiry::Never)?);
            assert_eq!(tx.of(&table)?.expiry(7u64)?, Some(Expiry::Never));
            assert!(!tx.of(&table)?.touch(8u64, Expiry::Never)?);
            tx.touch("k", ten)
        });
        assert!(touched.unwrap());
        db.sync().unwrap();
        let disk = disk.crash();
        let db = open(&disk, durability);
        disk.advance(SECOND * 6);
        assert_eq!(state(&disk, &db, "k"), Some((b"value".to_vec(), Some(4))));
        assert_eq!(state(&disk, &db, "own"), Some((b"own".to_vec(), Some(4))));
        assert_eq!(db.table("sessions").unwrap().get(7u64).unwrap().unwrap(), b"seven");
        assert_eq!(db.iter().count(), 2);

        let mut transaction = db.begin().unwrap();
        assert!(transaction.touch("k", Expiry::Never).unwrap());
        db.put("k", b"another").unwrap();
        assert_eq!(transaction.commit().unwrap_err().kind(), ErrorKind::Conflict);
        let mut transaction = db.begin().unwrap();
        assert!(!transaction.touch("nobody", Expiry::Never).unwrap());
        transaction.put("other", b"").unwrap();
        db.put("nobody", b"came").unwrap();
        let conflict = transaction.commit().unwrap_err();
        assert_eq!(conflict.kind(), ErrorKind::Conflict, "that it was not there was read");
    }
}
