//! Records that expire beside records that stay: `cargo bench -p uarr --bench expiry`.
//!
//! `UARR_RECORDS` (1,000,000) records of 100 bytes expire over `UARR_SECONDS` (60), evenly, beside
//! a tenth as many that stay. A thread gets the latter, first before anything has expired, then
//! while the sweeper deletes what has; at the end there is what is left in memory and on the disk.
//! The two distributions come from one run, but one behind the other: take a quiet machine.
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use uarr::{Db, Durability, Expires, KeyKind, Stats};

/// Keys of records that stay are below it.
const FIRST_EXPIRING: u64 = 1 << 32;
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
    let begun = Instant::now();
    let first = load + quiet;
    for number in 0..count {
        let at = first + Duration::from_millis(number * seconds * 1000 / count);
        let left = at.saturating_sub(begun.elapsed());
        db.put(FIRST_EXPIRING + number, [2; 100].expires_in(left)).expect("there is room");
    }
    show("loaded", &db.stats());
    std::thread::sleep(load.saturating_sub(begun.elapsed()));
    let before = gets(&db, staying, || begun.elapsed() >= first);
    let meanwhile = gets(&db, staying, || db.stats().expired_count == count);
    let swept = begun.elapsed();
    show("swept", &db.stats());
    let (before, meanwhile) = (percentiles(&before), percentiles(&meanwhile));
    println!("gets in ns: p50 {}, p99 {}, p99.9 {} before", before[0], before[1], before[2]);
    println!(
        "            p50 {}, p99 {}, p99.9 {} meanwhile",
        meanwhile[0], meanwhile[1], meanwhile[2]
    );
    println!("p99 meanwhile by before: {:.2}", meanwhile[1] as f64 / before[1] as f64);
    let last = first + Duration::from_secs(seconds);
    let late = swept.saturating_sub(last);
    println!("all deleted {late:.1?} after the last had expired");
    assert!(late < SWEPT_AFTER, "the sweeper comes behind");
    db.compact().expect("there is room");
    show("compacted", &db.stats());
    assert_eq!(db.iter().count() as u64, staying);
}

/// Gets of records that stay, in ns, until `is_over`.
fn gets(db: &Db, staying: u64, is_over: impl Fn() -> bool) -> Histogram<u64> {
    let mut times = Histogram::new(3).expect("a histogram");
    let mut key = 0u64;
    loop {
        for _ in 0..20_000 {
            key =
                key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let begun = Instant::now();
            let found = db.get((key >> 33) % staying.max(1)).expect("it can be read");
            let took = begun.elapsed();
            assert_eq!(found.expect("it stays")[0], 1);
            times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        if is_over() {
            return times;
        }
    }
}

fn percentiles(times: &Histogram<u64>) -> [u64; 3] {
    [0.5, 0.99, 0.999].map(|quantile| times.value_at_quantile(quantile))
}

fn show(when: &str, stats: &Stats) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{when:10} {} keys, index {:.1} MiB, live {:.1} MiB, data file {:.1} MiB, {} expired",
        stats.key_count,
        mib(stats.index.bytes as u64),
        mib(stats.space.live_bytes),
        mib(stats.data_bytes),
        stats.expired_count,
    );
}
