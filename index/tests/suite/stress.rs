//! Readers beside a writer that changes shapes all the time: no wrong answer, ever.
//!
//! Keys that are multiples of four are there throughout; the others come and go. A payload always
//! belongs to its key. `UARR_STRESS_ROUNDS` multiplies the work for long runs.

use std::ops::Bound;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::keys::{Random, key_set};
use uarr_index::{ByteIndex, ByteIndexOptions, IntIndex, KeySource};

const READERS: u64 = 2;
const KEYS: usize = 20_000;

fn rounds() -> u64 {
    std::env::var("UARR_STRESS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The payload of a key: which of its versions does not matter, whose it is does.
fn payload(key: u64, version: u64) -> u64 {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xff) | (version & 0xff)
}

/// Whether the key at this place is never removed.
fn stays(at: usize) -> bool {
    at.is_multiple_of(4)
}

fn belongs(key: u64, found: u64) -> bool {
    found & !0xff == payload(key, 0)
}

fn read_beside(index: &IntIndex, keys: &[u64], stop: &AtomicBool, seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut reads = 0;
    let mut entries = Vec::new();
    let mut found = [None; 16];
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..200 {
            let at = random.below(keys.len() as u64) as usize;
            let seen = index.get(keys[at]);
            assert!(!stays(at) || seen.is_some(), "a key that stays was not found");
            assert!(seen.is_none_or(|seen| belongs(keys[at], seen)));
        }
        let at = random.below(keys.len() as u64 - 16) as usize;
        index.get_many(&keys[at..at + 16], &mut found);
        for (i, seen) in found.iter().enumerate() {
            assert!(!stays(at + i) || seen.is_some());
            assert!(seen.is_none_or(|seen| belongs(keys[at + i], seen)));
        }
        entries.clear();
        let backwards = random.below(2) == 0;
        if backwards {
            index.scan_rev(Bound::Included(keys[at]), 2000, &mut entries);
            entries.reverse();
        } else {
            index.scan(Bound::Included(keys[at]), 2000, &mut entries);
        }
        assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "a scan repeats or swaps keys");
        assert!(entries.iter().all(|&(key, seen)| belongs(key, seen)));
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            let from = keys.partition_point(|&key| key < first.0);
            let to = keys.partition_point(|&key| key <= last.0);
            let staying = (from..to).filter(|at| at % 4 == 0).count();
            let scanned =
                entries.iter().filter(|e| keys.partition_point(|&k| k < e.0) % 4 == 0).count();
            assert_eq!(staying, scanned, "a scan misses keys that stay");
        }
        reads += 216 + entries.len() as u64;
    }
    reads
}

fn churn(index: &IntIndex, keys: &[u64], rounds: u64) {
    let mut random = Random::new(1);
    for round in 0..rounds {
        // Waves in one direction, then at random: appends, splits, merges, rebuilds.
        let step = |i: usize| if round % 2 == 0 { i } else { keys.len() - 1 - i };
        for at in (0..keys.len()).map(step).filter(|at| at % 4 != 0) {
            index.insert(keys[at], payload(keys[at], round));
        }
        for _ in 0..keys.len() {
            let at = random.below(keys.len() as u64) as usize;
            if stays(at) || random.below(2) == 0 {
                index.insert(keys[at], payload(keys[at], round + 1));
            } else {
                index.remove(keys[at]);
            }
        }
        for at in (0..keys.len()).map(step).filter(|at| at % 4 != 0) {
            index.remove(keys[at]);
        }
    }
}

#[test]
fn readers_beside_a_writer_are_never_wrong() {
    for set in ["uniform", "sequential", "cantor", "exponential", "bursts"] {
        let keys = key_set(set, KEYS, 21);
        let index = IntIndex::new();
        for &key in keys.iter().step_by(4) {
            index.insert(key, payload(key, 0));
        }
        let stop = AtomicBool::new(false);
        let reads = Mutex::new(0);
        std::thread::scope(|scope| {
            for reader in 0..READERS {
                let (index, keys, stop, reads) = (&index, &keys, &stop, &reads);
                scope.spawn(move || {
                    let done = read_beside(index, keys, stop, reader);
                    *reads.lock().unwrap() += done;
                });
            }
            churn(&index, &keys, 4 * rounds());
            stop.store(true, Ordering::Relaxed);
        });
        index.verify();
        assert_eq!(index.len(), keys.len().div_ceil(4));
        println!("{set}: {} reads", reads.into_inner().unwrap());
    }
}

/// Records whose payload is twice their place, and once more for a second copy.
struct Records(Vec<Vec<u8>>);

impl KeySource for Records {
    type Error = std::convert::Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Self::Error> {
        Ok(&self.0[payload as usize / 2])
    }
}

/// With a mask of few hashes, chains are moved while they are read.
fn bytes_beside_a_writer(mask: u64, count: u64) {
    let records = Records((0..count).map(|i| format!("key/{:05}", i * 7).into_bytes()).collect());
    let options = ByteIndexOptions { ordered: true, hash_seed: 1 };
    let index = ByteIndex::with_hash_mask(options, mask);
    for at in (0..count).step_by(4) {
        index.insert(&records.0[at as usize], at * 2, &records).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..READERS {
            let (index, records, stop) = (&index, &records, &stop);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                let mut found = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let at = random.below(count);
                    let seen = index.get(&records.0[at as usize], records).unwrap();
                    assert!(
                        !stays(at as usize) || seen.is_some(),
                        "a key that stays was not found"
                    );
                    assert!(seen.is_none_or(|seen| seen / 2 == at));
                    found.clear();
                    index.scan(Bound::Unbounded, usize::MAX, records, &mut found).unwrap();
                    let order: Vec<u64> = found.iter().map(|seen| seen / 2).collect();
                    assert!(order.is_sorted_by(|a, b| a < b), "a scan repeats or swaps keys");
                    let staying = order.iter().filter(|&at| at % 4 == 0).count() as u64;
                    assert_eq!(staying, count.div_ceil(4), "a scan misses keys that stay");
                }
            });
        }
        let mut random = Random::new(99);
        for round in 0..20_000 * rounds() {
            let at = random.below(count);
            let key = &records.0[at as usize];
            if stays(at as usize) || random.below(2) == 0 {
                index.insert(key, at * 2 + round % 2, &records).unwrap();
            } else {
                index.remove(key, &records).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn byte_readers_beside_a_writer_are_never_wrong() {
    bytes_beside_a_writer(u64::MAX, 2000);
    bytes_beside_a_writer(7, 60);
}
