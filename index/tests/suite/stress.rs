//! Readers beside writers that change shapes all the time: no wrong answer, ever.
//!
//! Every fourth key is there throughout, and writers replace its payload by ever newer versions;
//! the others come and go. Each key belongs to one of the writers, which knows what every call on
//! it must return. Readers check that
//! - a key that stays is found, by lookups and by scans in both directions;
//! - a payload belongs to its key, and its version is never older than one this reader saw before;
//! - scans are in order and hold no key twice.
//!
//! `UARR_STRESS_READS` is how many lookups the readers do at least, over all key sets (scanned
//! entries count apart); without it a run takes some seconds.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::keys::{Random, key_set};
use uarr_index::{ByteIndex, ByteIndexOptions, IntIndex, KeySource, Memory};

const READERS: u64 = 4;
const WRITERS: usize = 2;
const SETS: [&str; 6] = ["uniform", "sequential", "cantor", "exponential", "bursts", "tenants"];
const KEYS: usize = if cfg!(miri) { 160 } else { 20_000 };
/// Rounds each writer does at least.
const ROUNDS_MIN: u64 = if cfg!(miri) { 1 } else { 3 };
/// Lookups between two scans of a reader.
const LOOKUPS_PER_SCAN: usize = if cfg!(miri) { 20 } else { 10_000 };
const SCAN_LEN: usize = 2000;

/// Lookups all readers of a test do at least.
fn reads_wanted() -> u64 {
    std::env::var("UARR_STRESS_READS").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether the key at this place is never removed.
fn stays(at: usize) -> bool {
    at.is_multiple_of(4)
}

/// The writer that alone changes the key at this place.
fn owner(at: usize) -> usize {
    at / 4 % WRITERS
}

/// The payload of a key: whose it is in the upper half, its version in the lower.
fn payload(key: u64, version: u32) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xffff_ffff | u64::from(version)
}

/// What threads of a run share.
struct Run {
    stop: AtomicBool,
    lookups: AtomicU64,
    scanned: AtomicU64,
    lookups_wanted: u64,
}

impl Run {
    fn new(lookups_wanted: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self { stop: AtomicBool::new(false), lookups: zero(), scanned: zero(), lookups_wanted }
    }

    /// Runs writers until they have done their rounds and readers have seen enough, and readers
    /// until the writers are done.
    fn run(&self, name: &str, write: impl Fn(usize, u64) + Sync, read: impl Fn(u64) + Sync) {
        let started = Instant::now();
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS)
                .map(|reader| {
                    scope.spawn({
                        let read = &read;
                        move || read(reader)
                    })
                })
                .collect();
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let write = &write;
                    scope.spawn(move || {
                        let mut round = 0;
                        let enough = || self.lookups.load(Ordering::Relaxed) >= self.lookups_wanted;
                        while (round < ROUNDS_MIN || !enough())
                            && !self.stop.load(Ordering::Relaxed)
                        {
                            write(writer, round);
                            round += 1;
                        }
                    })
                })
                .collect();
            // A thread that fails stops the others, and its message is the test's.
            let failed = writers.into_iter().any(|writer| writer.join().is_err());
            self.stop.store(true, Ordering::Relaxed);
            let failed = readers.into_iter().any(|reader| reader.join().is_err()) || failed;
            assert!(!failed, "{name}: a wrong answer, see above");
        });
        println!(
            "{name}: {} lookups, {} entries scanned, {:.0} s",
            self.lookups.load(Ordering::Relaxed),
            self.scanned.load(Ordering::Relaxed),
            started.elapsed().as_secs_f64(),
        );
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// What one reader has seen of the integer index.
struct Reader<'a> {
    index: &'a IntIndex,
    keys: &'a [u64],
    /// The newest version seen of each key, counted from 1; 0 before the first.
    seen: Vec<u32>,
    random: Random,
    entries: Vec<(u64, u64)>,
}

impl Reader<'_> {
    fn check(&mut self, at: usize, found: Option<u64>) {
        assert!(!stays(at) || found.is_some(), "a key that stays was not found");
        let Some(found) = found else { return };
        let version = found as u32;
        assert!(found == payload(self.keys[at], version), "a payload of another key");
        assert!(version >= self.seen[at], "a payload older than one seen before");
        self.seen[at] = version;
    }

    fn lookups(&mut self, count: usize) {
        let mut found = [None; 16];
        for _ in 0..count / 20 {
            for _ in 0..4 {
                let at = self.random.below(self.keys.len() as u64) as usize;
                self.check(at, self.index.get(self.keys[at]));
            }
            let first = self.random.below(self.keys.len() as u64 - 15) as usize;
            self.index
                .get_many(&self.keys[first..first + 16], |place, payload| found[place] = payload);
            for (i, &found) in found.iter().enumerate() {
                self.check(first + i, found);
            }
        }
    }

    /// A scan from a random key; returns how many entries it had.
    fn scan(&mut self) -> usize {
        let from = self.random.below(self.keys.len() as u64) as usize;
        let bound = Bound::Included(self.keys[from]);
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let ascending = self.random.below(2) == 0;
        if ascending {
            self.index.scan(bound, SCAN_LEN, &mut entries);
        } else {
            self.index.scan_rev(bound, SCAN_LEN, &mut entries);
            entries.reverse();
        }
        // The places the scan went over, ends included: a short one went to the end.
        let place_of = |key: u64| self.keys.partition_point(|&other| other < key);
        let cut = entries.len() == SCAN_LEN;
        let (first, last) = match (entries.first(), entries.last()) {
            (_, Some(last)) if ascending && cut => (from, place_of(last.0)),
            (Some(first), _) if cut => (place_of(first.0), from),
            _ if ascending => (from, self.keys.len() - 1),
            _ => (0, from),
        };
        let mut next = entries.iter().peekable();
        for at in first..=last {
            let found = next.next_if(|&&(key, _)| key == self.keys[at]).map(|&(_, found)| found);
            self.check(at, found);
        }
        assert!(next.next().is_none(), "a scan repeats, swaps or invents keys");
        self.entries = entries;
        self.entries.len()
    }
}

fn read_beside(run: &Run, index: &IntIndex, keys: &[u64], seed: u64) {
    let seen = vec![0; keys.len()];
    let mut reader = Reader { index, keys, seen, random: Random::new(seed), entries: Vec::new() };
    while run.goes_on() {
        reader.lookups(LOOKUPS_PER_SCAN);
        run.lookups.fetch_add((LOOKUPS_PER_SCAN / 20 * 20) as u64, Ordering::Relaxed);
        run.scanned.fetch_add(reader.scan() as u64, Ordering::Relaxed);
    }
}

/// One writer of the integer index, which knows what is there of its own keys.
struct ChurnWriter<'a> {
    index: &'a IntIndex,
    keys: &'a [u64],
    present: Vec<Option<u64>>,
    version: u32,
}

impl ChurnWriter<'_> {
    fn put(&mut self, at: usize) {
        self.version += 1;
        let new = payload(self.keys[at], self.version);
        assert_eq!(self.index.insert(self.keys[at], new), self.present[at].replace(new));
    }

    fn take(&mut self, at: usize) {
        assert_eq!(self.index.remove(self.keys[at]), self.present[at].take());
    }

    /// Waves in one direction, then at random: appends, splits, merges, rebuilds.
    fn round(&mut self, writer: usize, round: u64) {
        let mut own: Vec<usize> = (0..self.keys.len()).filter(|&at| owner(at) == writer).collect();
        if round % 2 == 1 {
            own.reverse();
        }
        own.iter().filter(|&&at| !stays(at)).for_each(|&at| self.put(at));
        let mut random = Random::new(round * WRITERS as u64 + writer as u64);
        for _ in 0..own.len() {
            let at = own[random.below(own.len() as u64) as usize];
            if stays(at) || random.below(2) == 0 { self.put(at) } else { self.take(at) }
        }
        own.iter().filter(|&&at| !stays(at)).for_each(|&at| self.take(at));
    }
}

#[test]
fn readers_beside_writers_are_never_wrong() {
    for set in SETS {
        let keys = key_set(set, KEYS, 21);
        let index = IntIndex::new(&Memory::new());
        let mut present = vec![None; keys.len()];
        for at in (0..keys.len()).filter(|&at| stays(at)) {
            present[at] = Some(payload(keys[at], 0));
            index.insert(keys[at], payload(keys[at], 0));
        }
        let writers: [_; WRITERS] = std::array::from_fn(|_| {
            let present = present.clone();
            std::sync::Mutex::new(ChurnWriter { index: &index, keys: &keys, present, version: 0 })
        });
        let run = Run::new(reads_wanted() / SETS.len() as u64);
        let write = |writer: usize, round| writers[writer].lock().unwrap().round(writer, round);
        run.run(set, write, |reader| read_beside(&run, &index, &keys, reader));
        index.verify();
        assert_eq!(index.len(), keys.len().div_ceil(4));
    }
}

/// Records whose payload is their place in the upper half, and a version in the lower.
struct Records(Vec<Vec<u8>>);

impl KeySource for Records {
    type Error = std::convert::Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Self::Error> {
        Ok(&self.0[(payload >> 32) as usize])
    }
}

/// One round of a writer over a byte index.
fn churn_bytes(index: &ByteIndex, records: &Records, writer: usize, round: u64) {
    let mut random = Random::new(round * WRITERS as u64 + writer as u64);
    let count = records.0.len();
    let mut version = round as u32 * 2 * count as u32;
    for _ in 0..count {
        let at = random.below(count as u64) as usize;
        let key = &records.0[at];
        if owner(at) != writer {
        } else if stays(at) || random.below(2) == 0 {
            version += 1;
            index.insert(key, (at as u64) << 32 | u64::from(version), records).unwrap();
        } else {
            index.remove(key, records).unwrap();
        }
    }
}

fn read_bytes_beside(run: &Run, index: &ByteIndex, records: &Records, seed: u64) {
    let mut random = Random::new(seed);
    let count = records.0.len();
    let mut seen = vec![0; count];
    let mut found = Vec::new();
    while run.goes_on() {
        for _ in 0..count {
            let at = random.below(count as u64) as usize;
            let payload = index.get(&records.0[at], records).unwrap();
            assert!(!stays(at) || payload.is_some(), "a key that stays was not found");
            let Some(payload) = payload else { continue };
            assert!((payload >> 32) as usize == at, "a payload of another key");
            assert!(payload as u32 >= seen[at], "a payload older than one seen before");
            seen[at] = payload as u32;
        }
        found.clear();
        if random.below(2) == 0 {
            index.scan(Bound::Unbounded, usize::MAX, records, &mut found);
        } else {
            index.scan_rev(Bound::Unbounded, usize::MAX, records, &mut found);
            found.reverse();
        }
        let order: Vec<usize> = found.iter().map(|payload| (payload >> 32) as usize).collect();
        assert!(order.is_sorted_by(|a, b| a < b), "a scan repeats or swaps keys");
        let staying = order.iter().filter(|&&at| stays(at)).count();
        assert_eq!(staying, count.div_ceil(4), "a scan misses keys that stay");
        run.lookups.fetch_add(count as u64, Ordering::Relaxed);
        run.scanned.fetch_add(found.len() as u64, Ordering::Relaxed);
    }
}

/// With a mask of few hashes, chains are moved while they are read.
fn bytes_beside_writers(mask: u64, count: usize) {
    let records = Records((0..count).map(|i| format!("key/{:05}", i * 7).into_bytes()).collect());
    let options = ByteIndexOptions { ordered: true, hash_seed: 1 };
    let index = ByteIndex::with_hash_mask(&Memory::new(), options, mask);
    for at in (0..count).filter(|&at| stays(at)) {
        index.insert(&records.0[at], (at as u64) << 32, &records).unwrap();
    }
    let run = Run::new(reads_wanted() / 100);
    let rounds = if cfg!(miri) { 1 } else { 20_000 / count as u64 };
    let write = |writer, round| {
        (0..rounds).for_each(|i| churn_bytes(&index, &records, writer, round * rounds + i));
    };
    let name = format!("{count} byte keys, mask {mask:x}");
    run.run(&name, write, |reader| read_bytes_beside(&run, &index, &records, reader));
}

#[test]
fn byte_readers_beside_writers_are_never_wrong() {
    bytes_beside_writers(u64::MAX, if cfg!(miri) { 60 } else { 2000 });
    bytes_beside_writers(7, if cfg!(miri) { 20 } else { 60 });
}
