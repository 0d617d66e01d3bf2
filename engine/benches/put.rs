//! What a write in memory costs: `cargo bench -p uarr --bench put`.
//!
//! Records with random keys and values of 128 bytes go into an empty memory-first database, one by
//! one and in batches of 1000, beside a BTreeMap that gets the same bytes. Durable writes are
//! measured by `uarr-bench`, because they are the device's time.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uarr::{Db, Durability, KeyKind};

const VALUE_BYTES: usize = 128;
const BATCH_RECORDS: u64 = 1000;

/// Spreads `value` over all 64 bits; a bijection (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Time of `write` in a database that holds `present` records already.
fn in_database(present: u64, write: impl FnOnce(&Db)) -> Duration {
    let dir = tempfile::tempdir().expect("there is room for a database");
    let builder = Db::builder(dir.path()).keys(KeyKind::U64).durability(Durability::Manual);
    let db = builder.open().expect("an empty directory becomes a database");
    let records = (0..present).map(|number| (mix(number), [0; VALUE_BYTES]));
    db.ingest(records).expect("the disk takes the records");
    let begun = Instant::now();
    write(&db);
    begun.elapsed()
}

fn puts(criterion: &mut Criterion) {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    // Without `--bench` this runs as a test: it only has to work.
    let present = if is_bench { 1_000_000 } else { 1000 };
    let mut group = criterion.benchmark_group("put");
    group.sample_size(10);
    group.throughput(Throughput::Elements(1));
    group.bench_function("single", |bencher| {
        bencher.iter_custom(|count| {
            in_database(present, |db| {
                for number in present..present + count {
                    db.put(mix(number), [number as u8; VALUE_BYTES]).expect("there is room");
                }
            })
        });
    });
    group.throughput(Throughput::Elements(BATCH_RECORDS));
    group.bench_function("batch of 1000", |bencher| {
        bencher.iter_custom(|count| {
            in_database(present, |db| {
                for first in (present..).step_by(BATCH_RECORDS as usize).take(count as usize) {
                    let mut batch = db.batch();
                    for number in first..first + BATCH_RECORDS {
                        batch.put(mix(number), [number as u8; VALUE_BYTES]);
                    }
                    batch.commit().expect("there is room");
                }
            })
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("BTreeMap", |bencher| {
        bencher.iter_custom(|count| {
            let value = |number: u64| Box::new([number as u8; VALUE_BYTES]);
            let mut map: BTreeMap<_, _> = (0..present).map(|n| (mix(n), value(n))).collect();
            let begun = Instant::now();
            for number in present..present + count {
                map.insert(mix(number), value(number));
            }
            let elapsed = begun.elapsed();
            black_box(map);
            elapsed
        });
    });
    group.finish();
}

criterion_group!(benches, puts);
criterion_main!(benches);
