//! Records that expire beside records that stay: `cargo bench -p uarr --bench expiry`.
//!
//! `UARR_RECORDS` (1,000,000) records of 100 bytes expire over `UARR_SECONDS` (60), evenly, beside
//! a tenth as many that stay. It shows
//! - that none of those that expire is left, and what is left of their memory in the index and of
//!   their space on the disk, beside what there was before them;
//! - how long gets of those that stay take while the sweeper deletes the others, and in between,
//!   when it rests. A thread gets in blocks; one in which the sweeper has deleted something counts
//!   as swept. The two kinds alternate all the time, so what the machine does besides is in both.
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use uarr::{Db, Durability, Expires, KeyKind};

/// Keys of records that stay are below it.
const FIRST_EXPIRING: u64 = 1 << 32;
/// Gets of a block: a few ms.
const BLOCK_COUNT: usize = 10_000;
/// How long gets are measured before anything expires.
const QUIET: Duration = Duration::from_secs(10);
/// Room for the load, which must be over before the first record expires.
const LOAD: Duration = Duration::from_secs(30);
/// It is a fault if there is still something so long after the last has expired.
const SWEPT_AFTER: Duration = Duration::from_secs(120);

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let is_measured = std::env::args().any(|arg| arg == "--bench");
    let count = number_from("UARR_RECORDS", if is_measured { 1_000_000 } else { 2_000 });
    let seconds = number_from("UARR_SECONDS", if is_measured { 60 } else { 1 });
    let (quiet, load) =
        if is_measured { (QUIET, LOAD) } else { (Duration::from_secs(1), Duration::from_secs(1)) };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the run");
    let builder = Db::builder(dir.path()).keys(KeyKind::U64).durability(Durability::Manual);
    let db = builder.open().expect("it opens");
    let staying = count / 10;
    for key in 0..staying {
        db.put(key, [1; 100]).expect("there is room");
    }
    db.checkpoint().expect("there is room");
    let alone = Size::of(&db, dir.path());
    alone.show("alone");
    let begun = Instant::now();
    let first = load + quiet;
    for number in 0..count {
        let at = first + Duration::from_millis(number * seconds * 1000 / count);
        let left = at.saturating_sub(begun.elapsed());
        db.put(FIRST_EXPIRING + number, [2; 100].expires_in(left)).expect("there is room");
    }
    Size::of(&db, dir.path()).show("loaded");
    std::thread::sleep(load.saturating_sub(begun.elapsed()));
    let before = gets(&db, staying, || begun.elapsed() >= first);
    let meanwhile = gets(&db, staying, || db.stats().expired_count == count);
    let swept = begun.elapsed();
    Size::of(&db, dir.path()).show("swept");
    show_times("before", &before.resting);
    show_times("resting", &meanwhile.resting);
    show_times("sweeping", &meanwhile.sweeping);
    let ratio = p99(&meanwhile.sweeping) / p99(&meanwhile.resting);
    println!("p99 of gets, sweeping by resting: {ratio:.2}");
    let last = first + Duration::from_secs(seconds);
    let late = swept.saturating_sub(last);
    println!("all deleted {late:.1?} after the last had expired");
    assert!(late < SWEPT_AFTER, "the sweeper comes behind");
    db.compact().expect("there is room");
    let left = Size::of(&db, dir.path());
    left.show("compacted");
    let of = |left: u64, alone: u64| left as f64 / alone.max(1) as f64;
    println!(
        "left of those that expired: {} keys; index {:.2} and disk {:.2} of what was before them",
        left.key_count - staying,
        of(left.index_bytes, alone.index_bytes),
        of(left.disk_bytes, alone.disk_bytes)
    );
    assert_eq!((left.key_count, db.iter().count() as u64), (staying, staying));
}

/// What gets took, in ns: in blocks in which the sweeper deleted something, and in others.
struct Times {
    sweeping: Histogram<u64>,
    resting: Histogram<u64>,
}

/// Gets of records that stay, until `is_over`.
fn gets(db: &Db, staying: u64, is_over: impl Fn() -> bool) -> Times {
    let histogram = || Histogram::new(3).expect("a histogram");
    let mut times = Times { sweeping: histogram(), resting: histogram() };
    let mut block = Vec::with_capacity(BLOCK_COUNT);
    let mut key = 0u64;
    while !is_over() {
        let expired_count = db.stats().expired_count;
        block.clear();
        for _ in 0..BLOCK_COUNT {
            key =
                key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let begun = Instant::now();
            let found = db.get((key >> 33) % staying.max(1)).expect("it can be read");
            let took = begun.elapsed();
            assert_eq!(found.expect("it stays")[0], 1);
            block.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        let is_resting = db.stats().expired_count == expired_count;
        let into = if is_resting { &mut times.resting } else { &mut times.sweeping };
        block.iter().for_each(|ns| into.saturating_record(*ns));
    }
    times
}

fn p99(times: &Histogram<u64>) -> f64 {
    times.value_at_quantile(0.99) as f64
}

fn show_times(when: &str, times: &Histogram<u64>) {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| times.value_at_quantile(quantile));
    println!("gets in ns, {when:9} p50 {p50}, p99 {p99}, p99.9 {p999}, {} of them", times.len());
}

/// What a database takes.
struct Size {
    key_count: u64,
    index_bytes: u64,
    live_bytes: u64,
    disk_bytes: u64,
    /// Of data file, log and index images.
    parts: [u64; 3],
    expired_count: u64,
}

impl Size {
    fn of(db: &Db, dir: &Path) -> Self {
        let stats = db.stats();
        Self {
            key_count: stats.key_count,
            index_bytes: stats.index.bytes as u64,
            live_bytes: stats.space.live_bytes,
            disk_bytes: disk_bytes(dir),
            parts: ["data", "wal", "index"].map(|part| disk_bytes(&dir.join(part))),
            expired_count: stats.expired_count,
        }
    }

    fn show(&self, when: &str) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let [data, log, images] = self.parts.map(mib);
        println!(
            "{when:10} {} keys, index {:.1} MiB, live {:.1} MiB, disk {:.1} MiB (data {data:.1}, \
             log {log:.1}, images {images:.1}), {} expired",
            self.key_count,
            mib(self.index_bytes),
            mib(self.live_bytes),
            mib(self.disk_bytes),
            self.expired_count
        );
    }
}

/// What the files below `dir` take.
fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("it is a directory");
    let bytes = entries.map(|entry| {
        let entry = entry.expect("it can be listed");
        match entry.metadata() {
            Ok(facts) if facts.is_dir() => disk_bytes(&entry.path()),
            Ok(facts) => facts.blocks() * 512,
            // It was removed meanwhile.
            Err(_) => 0,
        }
    });
    bytes.sum()
}
