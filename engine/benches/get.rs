//! What warm reads and scans cost: `cargo bench -p uarr --bench get`.
//!
//! One million records with random keys and values of 128 bytes are loaded as a user would load
//! them, then read in random order. Every read looks at all bytes of its value, so the cache misses
//! of the value are paid inside the measurement. `UARR_BENCH_RECORDS` changes the number of
//! records. Keep a baseline with `-- --save-baseline NAME` and compare with `-- --baseline NAME`.
#![expect(clippy::disallowed_methods, reason = "the environment chooses how many")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use uarr::{Db, Durability, KeyKind, Record};

const VALUE_BYTES: usize = 128;
const LOAD_BATCH_RECORDS: u64 = 1000;
/// Reads per measured call, so that the loop of criterion costs nothing against them.
const READS_PER_CALL: u64 = 64;

/// Spreads `value` over all 64 bits; a bijection (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn record_count() -> u64 {
    let wanted = std::env::var("UARR_BENCH_RECORDS").ok().and_then(|text| text.parse().ok());
    // Without `--bench` this runs as a test: it only has to work.
    let default = if std::env::args().any(|arg| arg == "--bench") { 1_000_000 } else { 10_000 };
    wanted.unwrap_or(default)
}

/// Even numbers are stored, odd ones are not.
fn load(db: &Db, record_count: u64) {
    for first in (0..record_count).step_by(LOAD_BATCH_RECORDS as usize) {
        let mut batch = db.batch();
        for number in first..record_count.min(first + LOAD_BATCH_RECORDS) {
            batch.put(mix(number * 2), [number as u8; VALUE_BYTES]);
        }
        batch.commit().expect("the disk has room for the records");
    }
    db.sync().expect("the disk takes the records");
}

fn sum_of(value: &[u8]) -> u64 {
    let (words, _) = value.as_chunks::<8>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

fn gets(criterion: &mut Criterion) {
    let record_count = record_count();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the run");
    let builder = Db::builder(dir.path()).keys(KeyKind::U64);
    let durability = Durability::Interval(Duration::from_millis(100));
    let db = builder.durability(durability).open().expect("a database for the run");
    load(&db, record_count);

    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(READS_PER_CALL));
    let mut state = 0u64;
    let mut numbers = || -> Vec<u64> {
        let next = |_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            ((u128::from(mix(state)) * u128::from(record_count)) >> 64) as u64
        };
        (0..READS_PER_CALL).map(next).collect()
    };
    for (name, odd) in [("hit", 0), ("miss", 1)] {
        group.bench_function(BenchmarkId::new(name, record_count), |bencher| {
            let read = |numbers: Vec<u64>| {
                for number in numbers {
                    let record = db.get(mix(number * 2 + odd)).expect("the database is sound");
                    assert!(record.is_some() == (odd == 0), "record {number}");
                    black_box(record.map(|record| sum_of(record.bytes())));
                }
            };
            bencher.iter_batched(&mut numbers, read, BatchSize::SmallInput);
        });
    }
    // Which key is next depends on the record before: the latency of one read.
    group.bench_function(BenchmarkId::new("chain", record_count), |bencher| {
        let read = |numbers: Vec<u64>| {
            let mut offset = 0;
            for number in numbers {
                let number = (number + offset) % record_count;
                let record = db.get(mix(number * 2)).expect("the database is sound");
                offset = record.map_or(0, |record| sum_of(record.bytes()) & 1);
            }
            black_box(offset);
        };
        bencher.iter_batched(&mut numbers, read, BatchSize::SmallInput);
    });
    group.bench_function(BenchmarkId::new("16 at once", record_count), |bencher| {
        let read = |numbers: Vec<u64>| {
            for numbers in numbers.chunks(16) {
                let mut keys = [0; 16];
                keys.iter_mut().zip(numbers).for_each(|(key, number)| *key = mix(number * 2));
                let records = db.get_many(&keys[..numbers.len()]).expect("the database is sound");
                for record in records {
                    black_box(sum_of(record.expect("even numbers are stored").bytes()));
                }
            }
        };
        bencher.iter_batched(&mut numbers, read, BatchSize::SmallInput);
    });
    group.finish();
    scans(criterion, &db, record_count);
    db.close().expect("the database closes");
}

/// Ranges of 100 records from random keys on, and all records; times are of one record.
fn scans(criterion: &mut Criterion, db: &Db, record_count: u64) {
    const RANGE_RECORDS: u64 = 100;
    let mut group = criterion.benchmark_group("scan");
    let look = |records: &mut dyn Iterator<Item = uarr::Result<Record<'_>>>| {
        for record in records {
            black_box(sum_of(record.expect("the database is sound").bytes()));
        }
    };
    let mut start = 0u64;
    group.throughput(Throughput::Elements(RANGE_RECORDS));
    group.bench_function(BenchmarkId::new("100 records", record_count), |bencher| {
        bencher.iter(|| {
            start = mix(start + 1);
            let range = db.range(start..).expect("a range of integers");
            look(&mut range.take(RANGE_RECORDS as usize));
        });
    });
    group.throughput(Throughput::Elements(record_count));
    group.sample_size(10);
    group.bench_function(BenchmarkId::new("all records", record_count), |bencher| {
        bencher.iter(|| look(&mut db.iter()));
    });
    group.finish();
}

criterion_group!(benches, gets);
criterion_main!(benches);
