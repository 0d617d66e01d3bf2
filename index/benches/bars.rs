//! The index against `BTreeMap` on every key set: one process, one run, ratios.
//!
//! `cargo bench -p uarr-index --bench bars -- [keys] [set ...]`, by default 1,000,000 keys, all
//! sets and `bytes`. Each phase also adds up what it found, and both structures must agree. Times
//! are CPU time of the thread, medians of three passes where the structure is not changed. A thread
//! of its own prepares memory for the index, as the engine's keeper does. Without arguments under
//! `cargo test` a small run only checks the sums.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;

use uarr_index::{ByteIndex, ByteIndexOptions, IntIndex, KeySource, Memory};

#[allow(dead_code, reason = "tests use another part")]
#[path = "../tests/suite/keys.rs"]
mod keys;

use keys::{Random, SETS, key_set};

const SCAN_LEN: usize = 100;

/// What both structures offer to the phases below.
trait Map {
    fn load(memory: &Memory, entries: &[(u64, u64)]) -> Self;
    fn empty(memory: &Memory) -> Self;
    fn find(&self, key: u64) -> Option<u64>;
    fn put(&mut self, key: u64, payload: u64);
    fn take(&mut self, key: u64) -> Option<u64>;
    fn sum_from(&self, key: u64, buffer: &mut Vec<(u64, u64)>) -> u64;
}

impl Map for IntIndex {
    fn load(memory: &Memory, entries: &[(u64, u64)]) -> Self {
        Self::from_sorted(memory, entries)
    }

    fn empty(memory: &Memory) -> Self {
        Self::new(memory)
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.get(key)
    }

    fn put(&mut self, key: u64, payload: u64) {
        self.insert(key, payload);
    }

    fn take(&mut self, key: u64) -> Option<u64> {
        self.remove(key)
    }

    fn sum_from(&self, key: u64, buffer: &mut Vec<(u64, u64)>) -> u64 {
        buffer.clear();
        self.scan(Bound::Included(key), SCAN_LEN, buffer);
        buffer.iter().fold(0, |sum, entry| sum.wrapping_add(entry.1))
    }
}

impl Map for BTreeMap<u64, u64> {
    fn load(_: &Memory, entries: &[(u64, u64)]) -> Self {
        entries.iter().copied().collect()
    }

    fn empty(_: &Memory) -> Self {
        Self::new()
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.get(&key).copied()
    }

    fn put(&mut self, key: u64, payload: u64) {
        self.insert(key, payload);
    }

    fn take(&mut self, key: u64) -> Option<u64> {
        self.remove(&key)
    }

    fn sum_from(&self, key: u64, _: &mut Vec<(u64, u64)>) -> u64 {
        self.range(key..).take(SCAN_LEN).fold(0, |sum, entry| sum.wrapping_add(*entry.1))
    }
}

/// Nanoseconds per operation, and what the operations found.
type Timed = (f64, u64);

/// CPU time of this thread in ns: other work on the machine does not count, cache misses do.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live timespec of ours, and the clock exists on every Linux.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert!(failed == 0, "the clock of the thread can be read");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn timed(count: usize, run: impl FnOnce() -> u64) -> Timed {
    let started = cpu_ns();
    let found = run();
    ((cpu_ns() - started) as f64 / count.max(1) as f64, found)
}

fn median(mut pass: impl FnMut() -> Timed) -> Timed {
    let mut passes = [pass(), pass(), pass()];
    passes.sort_by(|a, b| a.0.total_cmp(&b.0));
    passes[1]
}

/// The keys of one run, and where their indexes lie.
struct Work {
    memory: Memory,
    sorted: Vec<(u64, u64)>,
    shuffled: Vec<u64>,
    absent: Vec<u64>,
}

impl Work {
    fn new(memory: &Memory, set: &str, count: usize) -> Self {
        let keys = key_set(set, count, 1);
        let sorted: Vec<(u64, u64)> = keys.iter().map(|&key| (key, key ^ 0x55)).collect();
        let mut shuffled = keys.clone();
        Random::new(2).shuffle(&mut shuffled);
        let mut absent: Vec<u64> = keys
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > 1)
            .map(|pair| pair[0] + (pair[1] - pair[0]) / 2)
            .collect();
        Random::new(3).shuffle(&mut absent);
        Self { memory: memory.clone(), sorted, shuffled, absent }
    }
}

fn find_all<M: Map>(map: &M, keys: &[u64]) -> Timed {
    median(|| {
        timed(keys.len(), || {
            keys.iter().fold(0, |sum: u64, &key| sum.wrapping_add(map.find(key).unwrap_or(1)))
        })
    })
}

/// Each key depends on the result before it: the latency of one lookup.
fn find_chain<M: Map>(map: &M, keys: &[u64]) -> Timed {
    let steps = keys.len().min(300_000);
    timed(steps, || {
        let mut at = 0;
        for _ in 0..steps {
            let found = map.find(keys[at]).unwrap_or(1);
            at = (at + 1 + (found & 7) as usize) % keys.len();
        }
        at as u64
    })
}

fn phases<M: Map>(work: &Work) -> Vec<(&'static str, Timed)> {
    let mut rows = Vec::new();
    let count = work.sorted.len();
    let mut built = None;
    rows.push((
        "bulk",
        timed(count, || {
            built = Some(M::load(&work.memory, &work.sorted));
            0
        }),
    ));
    let map = built.take().unwrap_or_else(|| M::empty(&work.memory));
    rows.push(("hit", find_all(&map, &work.shuffled)));
    rows.push(("miss", find_all(&map, &work.absent)));
    rows.push(("chain", find_chain(&map, &work.shuffled)));
    let starts = &work.shuffled[..count.min(20_000)];
    let mut buffer = Vec::new();
    rows.push((
        "scan/el",
        median(|| {
            timed(starts.len() * SCAN_LEN, || {
                starts
                    .iter()
                    .fold(0, |sum: u64, &key| sum.wrapping_add(map.sum_from(key, &mut buffer)))
            })
        }),
    ));
    drop(map);
    rows.extend(changes::<M>(work));
    rows.extend(orders::<M>(work));
    rows
}

fn changes<M: Map>(work: &Work) -> Vec<(&'static str, Timed)> {
    let mut rows = Vec::new();
    let (old, new) = work.shuffled.split_at(work.shuffled.len() / 2);
    let mut loaded: Vec<(u64, u64)> = old.iter().map(|&key| (key, key)).collect();
    loaded.sort_unstable();
    let mut map = M::load(&work.memory, &loaded);
    rows.push((
        "mixed",
        timed(new.len(), || {
            let mut sum = 0u64;
            for (&key, &other) in new.iter().zip(old).step_by(2) {
                map.put(key, key);
                sum = sum.wrapping_add(map.find(other).unwrap_or(1));
            }
            sum
        }),
    ));
    let mut map = M::load(&work.memory, &loaded);
    rows.push((
        "insert",
        timed(new.len(), || {
            new.iter().for_each(|&key| map.put(key, key));
            0
        }),
    ));
    rows.push(("hit after", find_all(&map, &work.shuffled)));
    rows.push((
        "update",
        timed(old.len(), || {
            old.iter().for_each(|&key| map.put(key, !key));
            0
        }),
    ));
    rows.push((
        "delete",
        timed(new.len(), || {
            new.iter().fold(0, |sum: u64, &key| sum.wrapping_add(map.take(key).unwrap_or(1)))
        }),
    ));
    let mut map = M::load(&work.memory, &loaded);
    let clock = (0..1000).map(|_| cpu_ns().abs_diff(cpu_ns())).min().unwrap_or(0);
    let mut each: Vec<u64> = Vec::with_capacity(new.len());
    for &key in new {
        let started = cpu_ns();
        map.put(key, key);
        each.push((cpu_ns() - started).saturating_sub(clock));
    }
    each.sort_unstable();
    if let Some(&longest) = each.last() {
        rows.push(("ins p99.9", (each[each.len() - 1 - each.len() / 1000] as f64, 0)));
        rows.push(("ins max", (longest as f64, 0)));
    }
    rows
}

fn orders<M: Map>(work: &Work) -> Vec<(&'static str, Timed)> {
    let mut rows = Vec::new();
    let ascending: Vec<u64> = work.sorted.iter().map(|entry| entry.0).collect();
    let descending: Vec<u64> = ascending.iter().rev().copied().collect();
    let names = [
        ["append", "app max", "app hit", "app scan"],
        ["prepend", "pre max", "pre hit", "pre scan"],
    ];
    for (names, keys) in names.iter().zip([&ascending, &descending]) {
        let mut map = M::empty(&work.memory);
        let mut longest = 0;
        rows.push((
            names[0],
            timed(keys.len(), || {
                keys.iter().for_each(|&key| map.put(key, key));
                0
            }),
        ));
        rows.push((names[2], find_all(&map, &work.shuffled)));
        let mut buffer = Vec::new();
        rows.push((
            names[3],
            timed(keys.len(), || {
                keys.iter()
                    .step_by(SCAN_LEN)
                    .fold(0, |sum: u64, &key| sum.wrapping_add(map.sum_from(key, &mut buffer)))
            }),
        ));
        let mut map = M::empty(&work.memory);
        for &key in keys {
            let started = cpu_ns();
            map.put(key, key);
            longest = longest.max(cpu_ns() - started);
        }
        rows.push((names[1], (longest as f64, 0)));
    }
    rows
}

/// Lookups in groups of 16, which only our index offers.
fn find_many(work: &Work) -> Timed {
    let index = IntIndex::from_sorted(&work.memory, &work.sorted);
    median(|| {
        timed(work.shuffled.len(), || {
            let mut sum = 0u64;
            for keys in work.shuffled.chunks(16) {
                index.get_many(keys, |_, found| sum = sum.wrapping_add(found.unwrap_or(1)));
            }
            sum
        })
    })
}

fn report(memory: &Memory, set: &str, count: usize) {
    let work = Work::new(memory, set, count);
    let ours = phases::<IntIndex>(&work);
    let theirs = phases::<BTreeMap<u64, u64>>(&work);
    println!("\n{set}, {} keys (ns; ours, BTreeMap, ratio)", work.sorted.len());
    for (our, their) in ours.iter().zip(&theirs) {
        assert!(our.1.1 == their.1.1, "{set}, {}: different results", our.0);
        let (a, b) = (our.1.0, their.1.0);
        println!("  {:10} {a:10.1} {b:10.1} {:6.2}", our.0, a / b);
    }
    let many = find_many(&work);
    assert!(many.1 == ours[1].1.1);
    println!("  {:10} {:10.1}", "hit x16", many.0);
    for (name, index) in [
        ("loaded", IntIndex::from_sorted(&work.memory, &work.sorted)),
        ("shuffled", filled(memory, &work.shuffled)),
        ("append", filled(memory, &work.sorted.iter().map(|entry| entry.0).collect::<Vec<_>>())),
        (
            "prepend",
            filled(memory, &work.sorted.iter().rev().map(|entry| entry.0).collect::<Vec<_>>()),
        ),
    ] {
        let s = index.stats();
        println!(
            "  {name:10} depth {} leaves {} inner {} B/key {:.1} error {:.2} splits {} \
             expansions {} inner changes {} rebuilds {} longest {:?}",
            s.depth,
            s.leaves,
            s.inner_nodes,
            s.bytes as f64 / s.entries.max(1) as f64,
            s.model_error_log2_mean,
            s.splits,
            s.expansions,
            s.inner_changes,
            s.rebuilds,
            s.longest_reshape,
        );
    }
    black_box(&work);
}

/// Byte keys as they stand in records; payloads are their places.
struct Records(Vec<Box<[u8]>>);

impl KeySource for Records {
    type Error = std::convert::Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Self::Error> {
        Ok(&self.0[payload as usize])
    }
}

/// `user:%010d` in both byte structures: point reads, inserts, and iteration in order.
fn report_bytes(memory: &Memory, count: usize) {
    let records =
        Records((0..count).map(|i| format!("user:{:010}", i * 7).into_bytes().into()).collect());
    let mut order: Vec<usize> = (0..count).collect();
    Random::new(5).shuffle(&mut order);
    let options = ByteIndexOptions { ordered: true, hash_seed: 1 };
    let index = ByteIndex::new(memory, options);
    let mut tree = BTreeMap::new();
    let inserts = [
        timed(count, || {
            for &i in &order {
                assert!(index.insert(&records.0[i], i as u64, &records).unwrap().is_none());
            }
            0
        }),
        timed(count, || {
            order.iter().for_each(|&i| assert!(tree.insert(records.0[i].clone(), i).is_none()));
            0
        }),
    ];
    Random::new(6).shuffle(&mut order);
    let gets = [
        median(|| {
            timed(count, || {
                let found = order.iter().map(|&i| match index.get(&records.0[i], &records) {
                    Ok(found) => found.unwrap_or(1),
                    Err(never) => match never {},
                });
                found.fold(0, u64::wrapping_add)
            })
        }),
        median(|| {
            timed(count, || {
                let found = order.iter().map(|&i| tree.get(&records.0[i]).map_or(1, |&i| i as u64));
                found.fold(0, u64::wrapping_add)
            })
        }),
    ];
    let mut payloads = Vec::with_capacity(count);
    let scans = [
        timed(count, || {
            index.scan(Bound::Unbounded, count, &records, &mut payloads);
            payloads.iter().fold(0, |sum, one| sum.wrapping_add(*one))
        }),
        timed(count, || tree.values().fold(0, |sum, &one| sum.wrapping_add(one as u64))),
    ];
    println!("\nuser:%010d, {count} keys (ns; ours, BTreeMap<Box<[u8]>>, ratio)");
    for (name, [our, their]) in [("insert", inserts), ("get", gets), ("scan/el", scans)] {
        assert!(our.1 == their.1, "{name}: different results");
        println!("  {name:10} {:10.1} {:10.1} {:6.2}", our.0, their.0, our.0 / their.0);
    }
    let stats = index.stats();
    let per_key = |bytes: usize| bytes as f64 / count as f64;
    let ordered = stats.ordered.map_or(0, |ordered| ordered.bytes);
    println!("  B/key: hash {:.1}, order {:.1}", per_key(stats.points.bytes), per_key(ordered));
}

fn filled(memory: &Memory, keys: &[u64]) -> IntIndex {
    let index = IntIndex::new(memory);
    for &key in keys {
        index.insert(key, key);
    }
    index
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let default = if measuring { 1_000_000 } else { 2000 };
    let count = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(default);
    let memory = Memory::new();
    if measuring {
        // As the engine's keeper does.
        let memory = memory.clone();
        std::thread::spawn(move || {
            loop {
                if !memory.prepare() {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        });
    }
    let chosen: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    for set in SETS {
        if chosen.is_empty() || chosen.contains(&set) {
            report(&memory, set, count);
        }
    }
    if chosen.is_empty() || chosen.contains(&"bytes") {
        report_bytes(&memory, count);
    }
}
