//! Transactions: what they promise beside others, under the names that the field has for what goes
//! wrong, and a check of whole histories.
//!
//! Histories: eight threads run transactions at random and note what each has read and written. The
//! order of commits is an order in which they could have run one after the other, so the check
//! replays it: each read must have found what the last transaction before wrote, or, of one that
//! wrote nothing, what was there at one moment. That the check finds what it should is shown by
//! histories that were spoilt.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use uarr::{Db, Durability, ErrorKind, KeyKind, Transaction};
use uarr_disk_sim::Memory;
use uarr_uring::{OpenMode, Storage, StorageFile};

const DURABILITIES: [Durability; 2] = [Durability::Sync, Durability::Manual];

fn open(durability: Durability) -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let db = Db::builder(dir.path().join("db")).durability(durability).open().unwrap();
    (dir, db)
}

fn number(tx: &Transaction, key: &str) -> u64 {
    let found = tx.get(key).unwrap();
    found.map_or(0, |found| u64::from_le_bytes(found.bytes().try_into().unwrap()))
}

fn put_number(tx: &mut Transaction, key: &str, number: u64) {
    tx.put(key, number.to_le_bytes()).unwrap();
}

fn is_conflict<T: std::fmt::Debug>(result: uarr::Result<T>) -> bool {
    result.unwrap_err().kind() == ErrorKind::Conflict
}

#[test]
fn no_update_is_lost() {
    for durability in DURABILITIES {
        let (_dir, db) = open(durability);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let raise = |tx: &mut Transaction| {
                            let found = number(tx, "counter");
                            put_number(tx, "counter", found + 1);
                            Ok::<_, uarr::Error>(())
                        };
                        db.transaction(raise).unwrap();
                    }
                });
            }
        });
        assert_eq!(number(&db.begin().unwrap(), "counter"), 400, "{durability}");
    }
}

/// Two doctors are on call, and one of them has to stay; each leaves if the other is there.
#[test]
fn no_writes_are_skewed() {
    let (_dir, db) = open(Durability::Sync);
    db.batch().put("ada", [1]).put("bob", [1]).commit().unwrap();
    let [mut first, mut second] = [(); 2].map(|()| db.begin().unwrap());
    for (tx, other, own) in [(&mut first, "bob", "ada"), (&mut second, "ada", "bob")] {
        assert!(tx.contains(other).unwrap());
        tx.delete(own).unwrap();
    }
    first.commit().unwrap().unwrap();
    assert!(is_conflict(second.commit()));
    assert!(db.contains("bob").unwrap());
}

#[test]
fn no_phantom_appears_in_an_empty_range() {
    for durability in DURABILITIES {
        let (_dir, db) = open(durability);
        let barrier = Barrier::new(8);
        let booked: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|guest: u8| {
                    let (db, barrier) = (&db, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let book = |tx: &mut Transaction| {
                            if tx.prefix("room:7:")?.next().is_some() {
                                return Ok(false);
                            }
                            tx.put(format!("room:7:{guest}"), [guest])?;
                            Ok::<_, uarr::Error>(true)
                        };
                        usize::from(db.transaction(book).unwrap())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((booked, db.iter().count()), (1, 1), "{durability}");
    }
}

#[test]
fn a_range_counts_as_it_was_asked_for() {
    let (_dir, db) = open(Durability::Manual);
    db.batch().put("b", b"1").put("d", b"1").commit().unwrap();
    let conflicts_with = |key: &str, read: &dyn Fn(&Transaction)| {
        let mut tx = db.begin().unwrap();
        read(&tx);
        tx.put("own", b"").unwrap();
        db.put(key, b"2").unwrap();
        match tx.commit() {
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::Conflict,
        }
    };
    let first = |tx: &Transaction| _ = tx.range("a".."d").unwrap().next();
    for (key, conflicts) in [("a", true), ("c", true), ("d", false), ("0", false), ("b", true)] {
        assert_eq!(conflicts_with(key, &first), conflicts, "{key}");
    }
    assert!(conflicts_with("nothing", &|tx| assert!(!tx.contains("nothing").unwrap())));
    assert!(!conflicts_with("other", &|tx| assert!(!tx.contains("something").unwrap())));
    assert!(!conflicts_with("b", &|tx| assert_eq!(tx.range("d".."a").unwrap().count(), 0)));
    assert!(!conflicts_with("own", &|_| {}), "who only writes never conflicts");
    assert!(conflicts_with("zz", &|tx| _ = tx.iter().next_back()));
}

#[test]
fn a_transaction_reads_what_it_has_written() {
    for kind in [KeyKind::Bytes, KeyKind::U64] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let db = Db::builder(dir.path().join("db")).keys(kind).open().unwrap();
        for number in (0..100_u64).step_by(3) {
            db.put(number, number.to_le_bytes()).unwrap();
        }
        let mut tx = db.begin().unwrap();
        let mut model: BTreeMap<u64, u64> =
            (0..100).step_by(3).map(|number| (number, number)).collect();
        for number in (0..100_u64).step_by(4) {
            if number % 8 == 0 {
                tx.delete(number).unwrap();
                model.remove(&number);
            } else {
                tx.put(number, (number + 1).to_le_bytes()).unwrap();
                model.insert(number, number + 1);
            }
        }
        db.put(50_u64, b"later").unwrap();
        let seen = |record: uarr::Result<uarr::OwnedRecord>| {
            let record = record.unwrap();
            let value = u64::from_le_bytes(record.bytes().try_into().unwrap());
            assert_eq!(record.version() == 0, record.key_u64().unwrap() % 8 == 4);
            (record.key_u64().unwrap(), value)
        };
        let model: Vec<(u64, u64)> = model.into_iter().collect();
        assert_eq!(tx.iter().map(seen).collect::<Vec<_>>(), model);
        let mut backward: Vec<_> = tx.iter().rev().map(seen).collect();
        backward.reverse();
        assert_eq!(backward, model);
        // From both ends, in any rhythm.
        for rhythm in 1..8_usize {
            let (mut range, mut front, mut back) = (tx.iter(), Vec::new(), Vec::new());
            for step in 0.. {
                let is_front = step % rhythm == 0;
                let next = if is_front { range.next() } else { range.next_back() };
                match (next, is_front) {
                    (Some(record), true) => front.push(seen(record)),
                    (Some(record), false) => back.push(seen(record)),
                    (None, _) => break,
                }
            }
            assert!(range.next().is_none() && range.next_back().is_none());
            back.reverse();
            front.append(&mut back);
            assert_eq!(front, model, "{rhythm}");
        }
        for (number, value) in [(8, None), (12, Some(13)), (9, Some(9)), (10, None)] {
            let found = tx.get(number as u64).unwrap();
            let found = found.map(|found| u64::from_le_bytes(found.bytes().try_into().unwrap()));
            assert_eq!(found, value, "{number}");
        }
        assert_eq!(tx.range(10_u64..21).unwrap().count(), 4);
        let (low, high) = (21_u64, 10);
        assert_eq!(tx.range(low..high).unwrap().count(), 0);
        assert!(is_conflict(tx.commit()), "50 is in what was iterated");
    }
}

/// Two readers must not see two independent writes in different orders.
#[test]
fn forks_are_not_long() {
    let (_dir, db) = open(Durability::Sync);
    let seen = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for key in ["x", "y"] {
            let db = &db;
            scope.spawn(move || {
                (0..200_u64).for_each(|n| _ = db.put(key, n.to_le_bytes()).unwrap())
            });
        }
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let tx = db.begin().unwrap();
                    seen.lock().unwrap().push((number(&tx, "x"), number(&tx, "y")));
                    assert!(tx.commit().unwrap().is_none());
                }
            });
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert!(seen.is_sorted_by_key(|(_, y)| *y), "one order of both for all");
}

#[test]
fn nothing_is_written_without_a_commit() {
    let (_dir, db) = open(Durability::Sync);
    let mut tx = db.begin().unwrap();
    tx.put("a", b"1").unwrap();
    drop(tx);
    let failed = db.transaction(|tx| {
        tx.put("a", b"1")?;
        Err::<(), Box<dyn std::error::Error>>("no".into())
    });
    assert!(failed.is_err());
    assert!(db.is_empty());
    let mut tx = db.begin().unwrap();
    assert_eq!(tx.put("", b"").unwrap_err().kind(), ErrorKind::InvalidArgument);
    tx.put("b", b"1").unwrap();
    db.close().unwrap();
    assert_eq!(tx.commit().unwrap_err().kind(), ErrorKind::Closed);
}

/// What was written beside a transaction is kept in bounded memory: one that more was written
/// beside is told so, although nothing of it may have been.
#[test]
fn a_transaction_that_much_was_written_beside_runs_again() {
    let (_dir, db) = open(Durability::Manual);
    let mut tx = db.begin().unwrap();
    assert!(!tx.contains("mine").unwrap());
    tx.put("mine", b"1").unwrap();
    let mut blind = db.begin().unwrap();
    blind.put("blind", b"1").unwrap();
    for round in 0..20_u32 {
        let mut batch = db.batch();
        for number in 0..900_u32 {
            let mut key = [0; 1000];
            key[..4].copy_from_slice(&number.to_be_bytes());
            key[4..8].copy_from_slice(&round.to_be_bytes());
            batch.put(key, b"");
        }
        batch.commit().unwrap();
    }
    assert!(is_conflict(tx.commit()));
    assert!(blind.commit().unwrap().is_some());
}

#[derive(Clone, Debug, Default)]
struct Ran {
    /// What it has read: keys, and who wrote what was there.
    reads: Vec<(u8, u64)>,
    writes: Vec<u8>,
    /// Its place in the order of commits; of one that wrote nothing, what it read as of.
    lsn: u64,
    name: u64,
}

/// The first read of `history` that finds something else than if its transactions had run in the
/// order of their commits.
fn anomaly(history: &[Ran]) -> Option<String> {
    let mut history: Vec<_> = history.iter().collect();
    // Who wrote nothing comes behind the one that it has seen last.
    history.sort_by_key(|ran| (ran.lsn, ran.writes.is_empty()));
    let mut newest = BTreeMap::new();
    for ran in history {
        for (key, writer) in &ran.reads {
            let last = newest.get(key).copied().unwrap_or(0);
            if last != *writer {
                return Some(format!("{ran:?} found {key} of {writer}, not of {last}"));
            }
        }
        newest.extend(ran.writes.iter().map(|key| (*key, ran.name)));
    }
    None
}

/// Runs `count` transactions in each of eight threads.
fn history(db: &Db, count: u64) -> Vec<Ran> {
    let all = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let all = &all;
            scope.spawn(move || {
                let mut state = thread + 1;
                let mut random = move |below: u64| {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(thread * 2 + 1);
                    (state >> 33) % below
                };
                for index in 0..count {
                    let mut ran = Ran { name: thread << 32 | (index + 1), ..Ran::default() };
                    let mut tx = db.begin().unwrap();
                    let writer = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
                    for _ in 0..1 + random(4) {
                        let key = random(12) as u8;
                        if random(3) == 0 {
                            let range = tx.range([key]..=[key + 3]).unwrap();
                            let found: BTreeMap<u8, u64> = range
                                .map(|record| record.unwrap())
                                .map(|record| (record.key()[0], writer(record.bytes())))
                                .collect();
                            let read = |key| (key, found.get(&key).copied().unwrap_or(0));
                            ran.reads.extend((key..=key + 3).map(read));
                        } else {
                            let found = tx.get([key]).unwrap();
                            ran.reads.push((key, found.map_or(0, |found| writer(&found))));
                        }
                    }
                    for _ in 0..random(4) {
                        let key = random(12) as u8;
                        ran.writes.push(key);
                    }
                    ran.lsn = tx.version();
                    for key in &ran.writes {
                        tx.put([*key], ran.name.to_le_bytes()).unwrap();
                    }
                    match tx.commit() {
                        Ok(commit) => {
                            ran.lsn = commit.map_or(ran.lsn, |commit| commit.lsn);
                            all.lock().unwrap().push(ran);
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                    }
                }
            });
        }
    });
    all.into_inner().unwrap()
}

#[test]
fn histories_are_serializable_and_the_check_finds_those_that_are_not() {
    for durability in DURABILITIES {
        let (_dir, db) = open(durability);
        let history = history(&db, 400);
        assert!(history.len() > 400, "some have to get through: {}", history.len());
        assert_eq!(anomaly(&history), None);
        let mut found_count = 0;
        for index in (0..history.len()).step_by(7) {
            let mut spoilt = history.clone();
            let ran = &mut spoilt[index];
            if let Some(read) = ran.reads.first_mut() {
                read.1 ^= 1 << 40;
                found_count += usize::from(anomaly(&spoilt).is_some());
                continue;
            }
        }
        assert_eq!(found_count, history.len().div_ceil(7), "each changed read is found");
        // A transaction that others have come before: as if it had not been compared with them.
        let late = |ran: &Ran| !ran.writes.is_empty() && ran.reads.len() > 3;
        let mut moved_count = 0;
        for index in (0..history.len()).filter(|index| late(&history[*index])).step_by(2) {
            let mut spoilt = history.clone();
            spoilt[index].lsn += 400;
            moved_count += usize::from(anomaly(&spoilt).is_some());
        }
        assert!(moved_count > 3, "{moved_count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_run_transactions_and_block_no_executor() {
    let (_dir, db) = open(Durability::Sync);
    let db = Arc::new(db);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let db = Arc::clone(&db);
            tokio::spawn(async move {
                loop {
                    let mut tx = db.begin_async().await.unwrap();
                    let found = number(&tx, "counter");
                    put_number(&mut tx, "counter", found + 1);
                    match tx.commit_async().await {
                        Ok(_) => return,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let raised = db
        .transaction_async(async |tx| {
            let found = number(tx, "counter");
            put_number(tx, "counter", found + 1);
            Ok::<_, uarr::Error>(found + 1)
        })
        .await;
    assert_eq!(raised.unwrap(), 65);
}

/// When no transaction is open, nobody notes what is written; what is on its way to the device
/// when one begins, and not visible, counts all the same.
#[test]
fn what_was_on_its_way_when_a_transaction_began_counts() {
    let (_dir, db) = open(Durability::Sync);
    let is_over = AtomicBool::new(false);
    let (mut written, mut ran) = (Vec::new(), Vec::new());
    // So many that keys are not kept for long.
    let others = || {
        let mut batch = db.batch();
        (0..400_u32).for_each(|other| _ = batch.put(other, b""));
        batch
    };
    thread::scope(|scope| {
        let write = || {
            let mut lsns = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let mut batch = others();
                batch.put("hot", b"");
                lsns.push(batch.commit().unwrap().unwrap().lsn);
            }
            lsns
        };
        let threads = [scope.spawn(write), scope.spawn(write)];
        while ran.len() < 100 {
            let mut tx = db.begin().unwrap();
            let found = tx.get("hot").unwrap().map_or(0, |found| found.version());
            tx.put("hot", b"").unwrap();
            match tx.commit() {
                Ok(commit) => ran.push((found, commit.unwrap().lsn)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
            }
            (0..3).for_each(|_| _ = others().commit().unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
        written.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
    });
    written.extend(ran.iter().map(|(_, lsn)| *lsn));
    for (found, lsn) in ran {
        let between: Vec<_> =
            written.iter().filter(|other| (found + 1..lsn).contains(other)).collect();
        assert!(between.is_empty(), "{found} was read, {lsn} was written, beside {between:?}");
    }
}

/// One that waited for what was on its way found more of it when that was settled, and so on.
#[test]
fn a_transaction_begins_beside_a_load() {
    const COUNT: u64 = 1_000_000;
    let (_dir, db) = open(Durability::Sync);
    let taken = AtomicU64::new(0);
    let next = |number: u64| {
        taken.store(number, Ordering::Relaxed);
        (number.to_be_bytes(), [0; 8])
    };
    thread::scope(|scope| {
        let load = scope.spawn(|| db.ingest((0..COUNT).map(next)).unwrap());
        while taken.load(Ordering::Relaxed) < 10_000 {
            std::hint::spin_loop();
        }
        let begun = db.begin().unwrap();
        assert!(taken.load(Ordering::Relaxed) < COUNT - 1, "it has waited for the whole load");
        drop(begun);
        assert_eq!(load.join().unwrap(), COUNT);
    });
}

#[test]
fn a_range_goes_on_behind_a_damaged_record_at_both_ends() {
    let builder = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let builder = builder.address_space_bytes(1 << 26).background(false);
    let disk = Memory::new();
    let db = builder.clone().open_on(disk.clone()).unwrap();
    for number in 0..10 {
        db.put(format!("a key of some length {number}"), [7; 100]).unwrap();
    }
    db.close().unwrap();
    let disk = disk.crash();
    let file = disk.open("data/records.uarr", OpenMode::Mapped).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let key = b"a key of some length 5";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + 60;
    file.write_at(&[bytes[at] ^ 4], at as u64).unwrap();
    file.make_durable().unwrap();
    drop(file);

    let db = builder.open_on(disk).unwrap();
    let mut tx = db.begin().unwrap();
    tx.put("a key of some length 8", b"own").unwrap();
    tx.put("z", b"own").unwrap();
    let key = |record: uarr::Result<uarr::OwnedRecord>| match record {
        Ok(record) => {
            String::from_utf8(record.key().to_vec()).unwrap().split_off(record.key().len() - 1)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption);
            "damaged".to_owned()
        }
    };
    let all = ["0", "1", "2", "3", "4", "damaged", "6", "7", "8", "9", "z"];
    assert_eq!(tx.iter().map(key).collect::<Vec<_>>(), all);
    let backward = ["z", "9", "8", "7", "6", "damaged", "4", "3", "2", "1", "0"];
    assert_eq!(tx.iter().rev().map(key).collect::<Vec<_>>(), backward);
    for front_count in 0..=all.len() {
        // Each end meets what the other one has left, and the damage counts once.
        let mut both = tx.iter();
        let mut found: Vec<_> = both.by_ref().take(front_count).map(key).collect();
        let mut behind: Vec<_> = both.by_ref().rev().map(key).collect();
        assert!(both.next().is_none() && both.next_back().is_none());
        behind.reverse();
        found.append(&mut behind);
        assert_eq!(found, all, "{front_count} from the front");
    }
}
