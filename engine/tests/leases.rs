//! Leases: one owner at a time, and tokens that never repeat.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use uarr::{Acquisition, Db, Durability, ErrorKind};
use uarr_disk_sim::Memory;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn open(disk: &Memory) -> Db<Memory> {
    let builder = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
    let builder = builder.address_space_bytes(1 << 28).background(false);
    builder.durability(Durability::Manual).open_on(disk.clone()).unwrap()
}

#[test]
fn a_lease_has_one_owner_at_a_time() {
    let disk = Memory::new();
    let db = open(&disk);
    let first = db.acquire("job", "ada", MINUTE).unwrap().granted().unwrap();
    assert_eq!((&first.owner[..], db.lease("job").unwrap()), (&b"ada"[..], Some(first.clone())));
    let held = Acquisition::Held(first.clone());
    assert_eq!(db.acquire("job", "bob", MINUTE).unwrap(), held);
    assert!(!db.release("job", first.token + 1).unwrap());
    assert!(db.renew("job", first.token + 1, MINUTE).unwrap().is_none());
    disk.advance(SECOND * 59);
    let renewed = db.renew("job", first.token, MINUTE).unwrap().unwrap();
    assert_eq!((renewed.token, &renewed.owner), (first.token, &first.owner));
    disk.advance(SECOND * 59);
    let again = db.acquire("job", "ada", MINUTE).unwrap().granted().unwrap();
    assert_eq!(again.token, first.token, "who has it gets it anew");
    disk.advance(MINUTE);
    assert_eq!(db.lease("job").unwrap(), None);
    assert!(db.renew("job", first.token, MINUTE).unwrap().is_none());
    assert!(!db.release("job", first.token).unwrap());
    let second = db.acquire("job", "bob", MINUTE).unwrap().granted().unwrap();
    assert!(second.token > first.token);
    assert!(db.release("job", second.token).unwrap());
    assert_eq!(db.lease("job").unwrap(), None);
    let third = db.acquire("job", "bob", MINUTE).unwrap().granted().unwrap();
    assert!(third.token > second.token, "although it is the same owner");
    db.put("other", b"no lease").unwrap();
    for failed in [
        db.acquire("other", "ada", MINUTE).map(drop),
        db.renew("other", 1, MINUTE).map(drop),
        db.release("other", 1).map(drop),
        db.lease("other").map(drop),
    ] {
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::WrongValue);
    }
}

/// Whoever got a lease and died does not lose it, and no token comes twice, whatever clocks do.
#[test]
fn tokens_rise_over_deaths_and_clocks_that_go_back() {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let mut disk = Memory::new();
    let mut last = 0;
    for life in 0..60u64 {
        let db = open(&disk);
        let held = db.lease("job").unwrap();
        for step in 0..3 {
            let owner = format!("{life}:{step}");
            match db.acquire("job", &owner, SECOND).unwrap() {
                Acquisition::Granted(lease) => {
                    assert!(lease.token > last, "life {life}: {} behind {last}", lease.token);
                    last = lease.token;
                }
                Acquisition::Held(lease) => {
                    assert_eq!(lease.token, last, "life {life}: a lease that is none");
                    assert!(db.release("job", lease.token).unwrap());
                }
            }
            if life % 4 == 1 {
                db.put("busy", b"").unwrap();
                db.checkpoint().unwrap();
            }
        }
        drop(held);
        let next = match life % 5 {
            0 => {
                db.close().unwrap();
                disk.clone()
            }
            1 | 2 => disk.crash_with(life),
            3 => disk.crash(),
            _ => disk.kill_with(life),
        };
        next.shift_wall_ns([0, -HOUR_NS, HOUR_NS, -24 * HOUR_NS][life as usize % 4]);
        next.advance(Duration::from_millis(life * 37 % 1500));
        disk = next;
    }
    assert!(last > 0);
}

/// Threads and tasks compete; the one that has the lease is alone, and its token is the highest.
#[test]
fn many_compete_and_one_has_it() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let db = Db::builder(dir.path().join("db")).open().unwrap();
    let (inside, highest) = (AtomicU64::new(0), AtomicU64::new(0));
    let tokens = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (db, inside, highest, tokens) = (&db, &inside, &highest, &tokens);
            scope.spawn(move || {
                let mut count = 0;
                while count < 20 {
                    let acquired = match count % 2 {
                        0 => db.acquire("job", thread.to_be_bytes(), MINUTE).unwrap(),
                        _ => {
                            block_on(db.acquire_async("job", thread.to_be_bytes(), MINUTE)).unwrap()
                        }
                    };
                    let Some(lease) = acquired.granted() else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "somebody else is inside");
                    assert!(highest.swap(lease.token, Ordering::SeqCst) < lease.token);
                    assert!(tokens.lock().unwrap().insert(lease.token));
                    assert!(db.renew("job", lease.token, MINUTE).unwrap().is_some());
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    let released = match count % 2 {
                        0 => db.release("job", lease.token).unwrap(),
                        _ => block_on(db.release_async("job", lease.token)).unwrap(),
                    };
                    assert!(released);
                    count += 1;
                }
            });
        }
    });
    assert_eq!(tokens.lock().unwrap().len(), 160);
}

/// Executors with several threads take no others.
#[test]
fn its_tasks_may_go_to_other_threads() {
    fn assert_send<T: Send>(task: T) -> T {
        task
    }
    let disk = Memory::new();
    let (db, key) = (open(&disk), String::from("job"));
    let lease = block_on(assert_send(db.acquire_async(&key, "ada", MINUTE))).unwrap();
    let token = lease.granted().unwrap().token;
    assert!(block_on(assert_send(db.renew_async(&key, token, MINUTE))).unwrap().is_some());
    let is_mine = block_on(assert_send(
        db.transaction_async(async move |tx| Ok::<_, uarr::Error>(tx.contains(&key)?)),
    ));
    assert!(is_mine.unwrap());
    assert!(block_on(assert_send(db.release_async("job", token))).unwrap());
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}
