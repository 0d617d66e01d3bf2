//! What conditions, counters and transactions cost: `cargo bench -p uarr --bench conditional`.
//!
//! Each round does the same number of plain puts and of the others, one after the other in an order
//! that rotates, and the ratio of their times is formed within the round.
//!
//! - 16 threads change one counter, durably, beside 16 threads that put each their own key.
//! - One thread inserts fresh keys in memory, and durably, beside one that puts fresh keys.
//! - Transactions read a record and write it, beside puts: durably by 16 threads with a key each,
//!   in memory by one.
//! - 1000 tasks insert keys of their own, durably, beside 1000 tasks that put them.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures")]

use std::thread;
use std::time::{Duration, Instant};

use uarr::{Db, Durability, KeyKind};

const THREADS: u64 = 16;
const VALUE: [u8; 32] = [7; 32];

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    // Without `--bench` this runs as a test: it only has to work.
    let (rounds, durable_count, memory_count) =
        if is_bench { (21, 16 * 250, 300_000) } else { (1, 32, 100) };
    let durable = database(Durability::Sync);
    let memory = database(Durability::Manual);
    let mut keys = Keys::default();
    print_ratio("one counter, 16 threads", "increments per put", rounds, |first| {
        let put = || threads(durable_count, |thread| _ = durable.db.put(1 + thread, VALUE));
        let count = || threads(durable_count, |_| _ = durable.db.increment(0u64, 1));
        let (put, count) = in_turn(first, put, count);
        put / count
    });
    for (class, database, count) in
        [("in memory", &memory, memory_count), ("durably", &durable, durable_count / 16)]
    {
        print_ratio(
            &format!("insert of a fresh key, {class}"),
            "of a put's time",
            rounds,
            |first| {
                let (put_keys, insert_keys) = (keys.next(count), keys.next(count));
                let put =
                    || timed(|| put_keys.for_each(|key| _ = database.db.put(mix(key), VALUE)));
                let insert = || {
                    timed(|| insert_keys.for_each(|key| _ = database.db.insert(mix(key), VALUE)))
                };
                let (put, insert) = in_turn(first, put, insert);
                insert / put
            },
        );
    }
    transactions((&durable.db, &memory.db), (durable_count, memory_count / 4), rounds);
    tasks(&durable.db, &mut keys, rounds);
}

fn transactions(
    (durable, memory): (&Db, &Db),
    (durable_count, memory_count): (u64, u64),
    rounds: usize,
) {
    print_ratio("transactions, 16 threads, a key each", "transactions per put", rounds, |first| {
        let put = || threads(durable_count, |thread| _ = durable.put(1 + thread, VALUE));
        let run = || threads(durable_count, |thread| rewrite(durable, 1 + thread));
        let (put, run) = in_turn(first, put, run);
        put / run
    });
    print_ratio("a transaction, in memory", "of a get's and a put's time", rounds, |first| {
        let keys = 0..memory_count;
        let get_and_put = |key| {
            let found = memory.get(key).expect("no damage").is_some();
            _ = memory.put(key, [u8::from(found); 32]);
        };
        let put = || timed(|| keys.clone().for_each(get_and_put));
        let run = || timed(|| keys.clone().for_each(|key| rewrite(memory, key)));
        let (put, run) = in_turn(first, put, run);
        run / put
    });
}

fn tasks(durable: &Db, keys: &mut Keys, rounds: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    let runtime = runtime.expect("there are threads");
    let groups_before = durable.stats();
    print_ratio("insert by 1000 tasks, durably", "of a put's time", rounds, |first| {
        let (put_keys, insert_keys) = (keys.next(1000), keys.next(1000));
        let spawn = |keys: std::ops::Range<u64>, inserts: bool| {
            let tasks = keys.map(|key| {
                let db = durable.clone();
                tokio::spawn(async move {
                    match inserts {
                        true => assert!(db.insert_async(mix(key), VALUE).await?.is_written()),
                        false => _ = db.put_async(mix(key), VALUE).await?,
                    }
                    Ok::<_, uarr::Error>(())
                })
            });
            tasks.collect::<Vec<_>>()
        };
        let run = |keys: std::ops::Range<u64>, inserts: bool| {
            timed(|| {
                runtime.block_on(async {
                    for task in spawn(keys, inserts) {
                        task.await.expect("no task panics").expect("there is room");
                    }
                });
            })
        };
        let (put, insert) = in_turn(first, || run(put_keys, false), || run(insert_keys, true));
        insert / put
    });
    let stats = durable.stats();
    let commits = stats.commit_count - groups_before.commit_count;
    let groups = stats.group_count - groups_before.group_count;
    println!("tasks: {groups} groups for {commits} commits");
}

/// Reads `key` and writes it, as a transaction.
fn rewrite(db: &Db, key: u64) {
    let rewritten = db.transaction(|tx| {
        let found = tx.contains(key)?;
        tx.put(key, [u8::from(found); 32])
    });
    rewritten.expect("there is room");
}

struct Database {
    db: Db,
    _directory: tempfile::TempDir,
}

fn database(durability: Durability) -> Database {
    let directory = tempfile::tempdir().expect("there is room for a database");
    let builder = Db::builder(directory.path()).keys(KeyKind::U64).durability(durability);
    let db = builder.open().expect("an empty directory becomes a database");
    Database { db, _directory: directory }
}

/// Numbers that were not used before.
#[derive(Default)]
struct Keys(u64);

impl Keys {
    fn next(&mut self, count: u64) -> std::ops::Range<u64> {
        self.0 += count;
        self.0 - count..self.0
    }
}

/// Spreads `value` over all 64 bits; a bijection (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// Seconds that both took, of which `first` says which one begins.
fn in_turn(
    first: usize,
    one: impl FnOnce() -> Duration,
    other: impl FnOnce() -> Duration,
) -> (f64, f64) {
    match first {
        0 => {
            let one = one();
            (one.as_secs_f64(), other().as_secs_f64())
        }
        _ => {
            let other = other();
            (one().as_secs_f64(), other.as_secs_f64())
        }
    }
}

/// Time of `count` calls by [`THREADS`] threads together.
fn threads(count: u64, call: impl Fn(u64) + Sync) -> Duration {
    let call = &call;
    timed(|| {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || (0..count / THREADS).for_each(|_| call(thread)));
            }
        });
    })
}

fn print_ratio(what: &str, unit: &str, rounds: usize, mut round: impl FnMut(usize) -> f64) {
    let mut ratios: Vec<_> = (0..rounds).map(|number| round(number % 2)).collect();
    ratios.sort_by(f64::total_cmp);
    let quartile = |quarter: usize| ratios[(rounds - 1) * quarter / 4];
    println!(
        "{what}: {:.2} {unit}, median of {rounds} rounds ({:.2} to {:.2} in the middle half)",
        quartile(2),
        quartile(1),
        quartile(3)
    );
}
