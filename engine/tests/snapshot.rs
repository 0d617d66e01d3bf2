//! Snapshots: one moment, for gets and ranges, beside writers, in threads and tasks.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use uarr::{Db, Durability, ErrorKind, KeyKind, Snapshot};
use uarr_disk_sim::Memory;

fn in_memory(durability: Durability) -> Db<Memory> {
    let builder = Db::builder("memory").keys(KeyKind::U64).segment_bytes(1 << 20);
    builder.chunk_bytes(1 << 16).durability(durability).open_on(Memory::new()).unwrap()
}

fn amount(snapshot: &Snapshot<Memory>, key: u64) -> u64 {
    u64::from_le_bytes(snapshot.get(key).unwrap().unwrap().bytes().try_into().unwrap())
}

/// Writers move money between accounts; the sum over a snapshot never changes.
#[test]
fn gets_and_ranges_see_one_moment() {
    const ACCOUNTS: u64 = 40;
    for durability in [Durability::Sync, Durability::Manual] {
        let db = in_memory(durability);
        let mut batch = db.batch();
        (0..ACCOUNTS).for_each(|account| _ = batch.put(account, 100u64.to_le_bytes()));
        batch.commit().unwrap();
        let works = AtomicBool::new(true);
        thread::scope(|scope| {
            for writer in 0..2u64 {
                let (db, works) = (&db, &works);
                scope.spawn(move || {
                    let mut amounts = [100u64; ACCOUNTS as usize / 2];
                    for step in 0..2000usize {
                        let (from, to) = (step % 20, step * 7 % 20);
                        let moved = amounts[from].min(step as u64 % 9);
                        amounts[from] -= moved;
                        amounts[to] += moved;
                        let mut batch = db.batch();
                        for account in [from, to] {
                            let key = writer * ACCOUNTS / 2 + account as u64;
                            batch.put(key, amounts[account].to_le_bytes());
                        }
                        batch.commit().unwrap();
                        if step % 500 == 0 {
                            db.compact().unwrap();
                        }
                    }
                    works.store(false, Ordering::Release);
                });
            }
            while works.load(Ordering::Acquire) {
                let snapshot = db.snapshot();
                let sum: u64 = (0..ACCOUNTS).map(|account| amount(&snapshot, account)).sum();
                assert_eq!(sum, ACCOUNTS * 100);
                for record in snapshot.iter().rev() {
                    let record = record.unwrap();
                    let found = snapshot.get(record.key_u64().unwrap()).unwrap().unwrap();
                    assert_eq!(found.version(), record.version());
                }
            }
        });
    }
}

#[test]
fn a_snapshot_goes_where_it_is_needed() {
    let db = in_memory(Durability::Sync);
    db.put(1u64, b"then").unwrap();
    let snapshot = db.snapshot();
    db.put(1u64, b"now").unwrap();
    db.put(2u64, b"now").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let seen = snapshot.clone();
    let count = runtime.block_on(runtime.spawn(async move {
        tokio::task::yield_now().await;
        assert_eq!(seen.get(1u64).unwrap().unwrap(), b"then");
        assert!(!seen.contains(2u64).unwrap());
        seen.range(0u64..).unwrap().count()
    }));
    assert_eq!(count.unwrap(), 1);
    assert_eq!(snapshot.first().unwrap().unwrap().key_u64(), Some(1));
    assert_eq!(snapshot.last().unwrap().unwrap().key_u64(), Some(1));
    for record in &snapshot {
        assert_eq!(record.unwrap(), b"then");
    }
    assert_eq!(snapshot.get("text").unwrap_err().kind(), ErrorKind::InvalidArgument);
    // It reads on when the database is closed.
    db.close().unwrap();
    assert_eq!(snapshot.get(1u64).unwrap().unwrap(), b"then");
}

#[test]
fn a_snapshot_is_named_in_stats_while_it_is_kept() {
    let db = in_memory(Durability::Sync);
    db.put(1u64, b"x").unwrap();
    let snapshot = db.snapshot();
    let copy = snapshot.clone();
    drop(snapshot);
    assert_eq!(db.stats().space.oldest_pin, Some(copy.version()));
    drop(copy);
    assert_eq!(db.stats().space.oldest_pin, None);
}

/// It needs neither the handle nor the snapshot that it was made of, and ends as they do.
#[test]
fn an_owned_range_goes_where_it_is_needed() {
    let db = in_memory(Durability::Manual);
    (0..1000u64).for_each(|key| _ = db.put(key, key.to_le_bytes()).unwrap());
    let mut range = db.range_owned(100u64..).unwrap();
    let few = db.snapshot().into_range(..=9u64).unwrap();
    assert_eq!(db.delete_range(..).unwrap(), 1000);
    assert!(db.stats().space.oldest_pin_age.is_some());
    let refused = db.prefix_owned("1").map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::InvalidArgument));
    let other = db.clone();
    drop(db);
    let thread = thread::spawn(move || {
        let last = range.next_back().unwrap().unwrap();
        assert_eq!(range.next_in_place().unwrap().unwrap().key_u64(), Some(100));
        assert_eq!(range.next_back_in_place().unwrap().unwrap().key_u64(), Some(998));
        let rest: Vec<_> =
            range.by_ref().map(|record| record.unwrap().key_u64().unwrap()).collect();
        assert!(rest.into_iter().eq(101..998));
        assert!(range.next().is_none() && range.next_back_in_place().is_none());
        last
    });
    assert_eq!(thread.join().unwrap().bytes(), 999u64.to_le_bytes());
    let keys: Vec<_> = few.rev().map(|record| record.unwrap().key_u64().unwrap()).collect();
    assert!(keys.into_iter().eq((0..10).rev()));
    assert!(other.stats().space.oldest_pin_age.is_none(), "nothing is kept for them any more");
}
