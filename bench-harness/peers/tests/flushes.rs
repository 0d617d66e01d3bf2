//! How often each peer flushes the device, counted at its calls of the C library: equal to what it
//! promises, and a peer that skips its flush is exposed.
//!
//! This program defines the functions of the C library that make a file durable, so the peers,
//! which are linked into it, call these. They count, and pass the call on to the kernel.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(unsafe_code, reason = "functions of the C library are replaced to count their calls")]

use std::ffi::{c_int, c_long, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "rocksdb")]
use std::time::{Duration, Instant};

#[cfg(feature = "fjall")]
use uarr_bench_peers::Fjall;
#[cfg(feature = "redb")]
use uarr_bench_peers::Redb;
#[cfg(feature = "rocksdb")]
use uarr_bench_peers::Rocks;
use uarr_bench_peers::{Durability, Lmdb, PeerOptions, PeerSession, Sqlite, View};

/// Calls after which something written is durable.
static FLUSH_COUNT: AtomicU64 = AtomicU64::new(0);

/// Durable writes counted.
const PUTS: u64 = 200;

fn counted(result: c_long) -> c_int {
    FLUSH_COUNT.fetch_add(1, Ordering::Relaxed);
    c_int::try_from(result).unwrap()
}

// SAFETY: it has the name, the signature and the effect of the function that it replaces.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    // SAFETY: the call takes a number and touches no memory.
    counted(unsafe { libc::syscall(libc::SYS_fdatasync, file) })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    // SAFETY: as above.
    counted(unsafe { libc::syscall(libc::SYS_fsync, file) })
}

/// A write through a descriptor that was opened with O_DSYNC or O_SYNC is a flush too: LMDB writes
/// its meta page so.
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(file: c_int, bytes: *const c_void, len: usize, offset: i64) -> isize {
    // SAFETY: it reads the flags of a number.
    let flags = unsafe { libc::fcntl(file, libc::F_GETFL) };
    if flags & libc::O_DSYNC != 0 {
        FLUSH_COUNT.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the caller promises `len` readable bytes, as for the function that this replaces.
    let result = unsafe { libc::syscall(libc::SYS_pwrite64, file, bytes, len, offset) };
    isize::try_from(result).unwrap()
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(file: c_int, bytes: *const c_void, len: usize, offset: i64) -> isize {
    // SAFETY: the caller promises what `pwrite` asks for.
    unsafe { pwrite(file, bytes, len, offset) }
}

fn flush_count() -> u64 {
    FLUSH_COUNT.load(Ordering::Relaxed)
}

fn options(durability: Durability) -> PeerOptions {
    let (data_bytes, cache_bytes) = (1 << 20, 2 << 20);
    PeerOptions { durability, data_bytes, cache_bytes, modifies: true, text_record_bytes: None }
}

fn new_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("uarr-flushes-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// Flushes of [`PUTS`] writes of one session, by turns a put and a transaction that modifies what
/// that has written. The first ones, which may begin files, do not count.
fn flushes_of(session: &mut impl PeerSession) -> u64 {
    const WARM: u64 = 10;
    let mut before = flush_count();
    for key in 0..WARM + PUTS {
        if key == WARM {
            before = flush_count();
        }
        match key % 2 {
            0 => session.put(key, &[7; 128]).unwrap(),
            // SQLite writes nothing where nothing changes.
            _ => assert_eq!(session.modify(key - 1, |_| vec![8; 128]).unwrap(), Some(0)),
        }
    }
    flush_count() - before
}

/// Flushes of a lone writer of SQLite, then of LMDB.
fn of_sqlite(dir: &Path, durability: Durability) -> u64 {
    let sqlite = Sqlite::open(dir, options(durability)).unwrap();
    let connection = sqlite.connect().unwrap();
    flushes_of(&mut connection.session(View::PerRead).unwrap())
}

fn of_lmdb(dir: &Path, durability: Durability) -> u64 {
    let lmdb = Lmdb::open(dir, options(durability)).unwrap();
    flushes_of(&mut lmdb.session(View::PerRead).unwrap())
}

#[cfg(feature = "rocksdb")]
fn of_rocksdb(dir: &Path, durability: Durability) -> u64 {
    let rocks = Rocks::open(dir, options(durability)).unwrap();
    let flushes = flushes_of(&mut rocks.session(View::PerRead));
    rocks.close().unwrap();
    flushes
}

#[cfg(feature = "redb")]
fn of_redb(dir: &Path, durability: Durability) -> u64 {
    let redb = Redb::open(dir, options(durability)).unwrap();
    flushes_of(&mut redb.session(View::PerRead).unwrap())
}

#[cfg(feature = "fjall")]
fn of_fjall(dir: &Path, durability: Durability) -> u64 {
    let fjall = Fjall::open(dir, options(durability)).unwrap();
    flushes_of(&mut fjall.session(View::PerRead))
}

/// RocksDB in class `Interval` flushes now and then, and for all that was written.
#[cfg(feature = "rocksdb")]
fn check_interval(dir: &Path) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let interval = Duration::from_millis(5);
    let rocks = Rocks::open(dir, options(Durability::Interval(interval))).unwrap();
    let before = flush_count();
    let start = Instant::now();
    let flushes = flushes_of(&mut rocks.session(View::PerRead));
    let intervals = start.elapsed().as_millis() as u64 / 5 + 1;
    assert!(flushes <= intervals, "{flushes} flushes in {intervals} intervals");
    while flush_count() == before {
        assert!(start.elapsed() < PATIENCE, "nothing was flushed");
        std::thread::sleep(interval);
    }
    rocks.close().unwrap();
}

/// One test, because the count is that of the whole process.
#[test]
fn each_peer_flushes_as_often_as_it_promises() {
    type Count = fn(&Path, Durability) -> u64;
    let peers: &[(&str, Count, u64)] = &[
        #[cfg(feature = "rocksdb")]
        ("rocksdb", of_rocksdb, u64::from(Rocks::FLUSHES_PER_COMMIT)),
        ("sqlite", of_sqlite, u64::from(Sqlite::FLUSHES_PER_COMMIT)),
        ("lmdb", of_lmdb, u64::from(Lmdb::FLUSHES_PER_COMMIT)),
        #[cfg(feature = "fjall")]
        ("fjall", of_fjall, u64::from(Fjall::FLUSHES_PER_COMMIT)),
    ];
    for (name, count, promised) in peers {
        let dir = new_dir(name);
        let durable = count(&dir, Durability::Durable);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(durable, promised * PUTS, "{name}, durable");
        // A peer that skips its flush is seen: this is one, on purpose.
        let skipping = count(&dir, Durability::OsCache);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(skipping, 0, "{name}, in the page cache");
    }
    // It has no writes that wait for less.
    #[cfg(feature = "redb")]
    {
        let dir = new_dir("redb");
        let durable = of_redb(&dir, Durability::Durable);
        std::fs::remove_dir_all(&dir).unwrap();
        // One that makes the file longer flushes that, too.
        let promised = u64::from(Redb::FLUSHES_PER_COMMIT) * PUTS;
        assert!((promised..=promised + PUTS / 50).contains(&durable), "redb, durable: {durable}");
    }
    #[cfg(feature = "rocksdb")]
    {
        let dir = new_dir("interval");
        check_interval(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
