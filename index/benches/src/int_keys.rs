//! Integer keys: the structures and their loops.

use std::collections::BTreeMap;
use std::ops::Bound;

use blart::TreeMap;
use crossbeam_skiplist::SkipMap;
use hashbrown::HashMap;
use scc::TreeIndex;
use uarr_index::{IntIndex, Memory};

use crate::keys::{Random, key_set};
use crate::machine::Machine;
use crate::{Phase, SCAN_LEN, Structure, Timed, timed};

/// Lookups of one pass, at most: enough to miss the cache.
const LOOKUPS_MAX: usize = 2_000_000;
/// Scans of one pass.
const SCANS: usize = 20_000;

/// The keys of one table.
pub struct IntWork {
    /// All entries, ascending.
    sorted: Vec<(u64, u64)>,
    shuffled: Vec<u64>,
    /// Keys that are absent, shuffled.
    absent: Vec<u64>,
    /// Half of the keys, ascending, with themselves as payloads.
    half: Vec<(u64, u64)>,
}

impl IntWork {
    /// About `count` keys of a set of `keys`, or all inode numbers or times of change of this
    /// machine (`inodes`, `mtimes`).
    pub fn new(set: &str, count: usize) -> Self {
        let keys = match set {
            "inodes" => Machine::walk("/").inodes,
            "mtimes" => Machine::walk("/").mtimes,
            _ => key_set(set, count, 1),
        };
        let sorted: Vec<(u64, u64)> = keys.iter().map(|&key| (key, key ^ 0x55)).collect();
        let middles = keys.windows(2).filter(|pair| pair[1] - pair[0] > 1);
        let mut absent: Vec<u64> = middles.map(|pair| pair[0] + (pair[1] - pair[0]) / 2).collect();
        let mut shuffled = keys;
        Random::new(2).shuffle(&mut shuffled);
        Random::new(3).shuffle(&mut absent);
        let half = &shuffled[..shuffled.len() / 2];
        let mut half: Vec<(u64, u64)> = half.iter().map(|&key| (key, key)).collect();
        half.sort_unstable();
        Self { sorted, shuffled, absent, half }
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.sorted.len()
    }
}

/// What is asked of a structure over integer keys.
trait IntMap {
    const NAME: &str;

    fn empty() -> Self;
    fn find(&self, key: u64) -> Option<u64>;
    fn put(&mut self, key: u64, payload: u64);

    fn load(entries: &[(u64, u64)]) -> Self
    where
        Self: Sized,
    {
        let mut map = Self::empty();
        entries.iter().for_each(|&(key, payload)| map.put(key, payload));
        map
    }

    /// Adds up `len` payloads from `key` on; `None` without an order.
    fn sum_from(&self, key: u64, len: usize, buffer: &mut Vec<(u64, u64)>) -> Option<u64>;

    /// False if lookups of many keys are not offered.
    fn find_many(&self, _keys: &[u64], _found: &mut [Option<u64>]) -> bool {
        false
    }

    fn node_bytes(&self) -> Option<usize> {
        None
    }
}

/// All structures, `BTreeMap` first.
pub fn int_structures() -> Vec<Box<dyn Structure<IntWork>>> {
    vec![
        Box::new(Entrant::<BTreeMap<u64, u64>>(None)),
        Box::new(Entrant::<IntIndex>(None)),
        Box::new(Entrant::<HashMap<u64, u64>>(None)),
        Box::new(Entrant::<TreeMap<[u8; 8], u64>>(None)),
        Box::new(Entrant::<SkipMap<u64, u64>>(None)),
        Box::new(Entrant::<TreeIndex<u64, u64>>(None)),
    ]
}

struct Entrant<M>(Option<M>);

impl<M: IntMap> Entrant<M> {
    fn loaded(&self) -> &M {
        self.0.as_ref().expect("the phase `Bulk` comes first")
    }
}

impl<M: IntMap> Structure<IntWork> for Entrant<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn node_bytes(&self) -> Option<usize> {
        self.loaded().node_bytes()
    }

    fn run(&mut self, phase: Phase, work: &IntWork) -> Option<Timed> {
        match phase {
            Phase::Bulk => {
                self.0 = None;
                Some(timed(work.sorted.len(), || {
                    self.0 = Some(M::load(&work.sorted));
                    0
                }))
            }
            Phase::Hit => Some(find_all(self.loaded(), some_of(&work.shuffled))),
            // Between consecutive keys there is none to miss.
            Phase::Miss if work.absent.is_empty() => None,
            Phase::Miss => Some(find_all(self.loaded(), some_of(&work.absent))),
            Phase::HitMany => find_many(self.loaded(), some_of(&work.shuffled)),
            Phase::Scan => scan(self.loaded(), &work.shuffled),
            Phase::Iterate => None,
            Phase::Insert | Phase::Mixed => Some(change::<M>(phase, work)),
            Phase::InsertAscending => {
                let mut map = M::empty();
                Some(timed(work.sorted.len(), || {
                    work.sorted.iter().for_each(|&(key, payload)| map.put(key, payload));
                    0
                }))
            }
        }
    }
}

fn some_of(keys: &[u64]) -> &[u64] {
    &keys[..keys.len().min(LOOKUPS_MAX)]
}

fn find_all<M: IntMap>(map: &M, keys: &[u64]) -> Timed {
    timed(keys.len(), || {
        keys.iter().fold(0, |sum: u64, &key| sum.wrapping_add(map.find(key).unwrap_or(1)))
    })
}

fn find_many<M: IntMap>(map: &M, keys: &[u64]) -> Option<Timed> {
    let mut found = [None; 16];
    let mut offered = true;
    let pass = timed(keys.len(), || {
        keys.chunks(16).fold(0u64, |sum, keys| {
            let found = &mut found[..keys.len()];
            offered = offered && map.find_many(keys, found);
            found.iter().fold(sum, |sum, one| sum.wrapping_add(one.unwrap_or(1)))
        })
    });
    offered.then_some(pass)
}

fn scan<M: IntMap>(map: &M, keys: &[u64]) -> Option<Timed> {
    let starts = &keys[..keys.len().min(SCANS)];
    let mut buffer = Vec::new();
    let mut offered = true;
    let pass = timed(starts.len() * SCAN_LEN, || {
        starts.iter().fold(0u64, |sum, &key| {
            let found = map.sum_from(key, SCAN_LEN, &mut buffer);
            offered = offered && found.is_some();
            sum.wrapping_add(found.unwrap_or(0))
        })
    });
    offered.then_some(pass)
}

fn change<M: IntMap>(phase: Phase, work: &IntWork) -> Timed {
    let (old, new) = work.shuffled.split_at(work.shuffled.len() / 2);
    let mut map = M::load(&work.half);
    timed(new.len(), || {
        if phase == Phase::Insert {
            new.iter().for_each(|&key| map.put(key, key));
            return 0;
        }
        new.iter().zip(old).step_by(2).fold(0u64, |sum, (&key, &other)| {
            map.put(key, key);
            sum.wrapping_add(map.find(other).unwrap_or(1))
        })
    })
}

fn sum(found: impl Iterator<Item = u64>) -> Option<u64> {
    Some(found.fold(0, u64::wrapping_add))
}

impl IntMap for IntIndex {
    const NAME: &str = "uarr";

    fn empty() -> Self {
        Self::new(&Memory::new())
    }

    fn load(entries: &[(u64, u64)]) -> Self {
        Self::from_sorted(&Memory::new(), entries)
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.get(key)
    }

    fn put(&mut self, key: u64, payload: u64) {
        self.insert(key, payload);
    }

    fn sum_from(&self, key: u64, len: usize, buffer: &mut Vec<(u64, u64)>) -> Option<u64> {
        buffer.clear();
        self.scan(Bound::Included(key), len, buffer);
        sum(buffer.iter().map(|entry| entry.1))
    }

    fn find_many(&self, keys: &[u64], found: &mut [Option<u64>]) -> bool {
        self.get_many(keys, |place, payload| found[place] = payload);
        true
    }

    fn node_bytes(&self) -> Option<usize> {
        Some(self.stats().bytes)
    }
}

impl IntMap for BTreeMap<u64, u64> {
    const NAME: &str = "BTreeMap";

    fn empty() -> Self {
        Self::new()
    }

    fn load(entries: &[(u64, u64)]) -> Self {
        entries.iter().copied().collect()
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.get(&key).copied()
    }

    fn put(&mut self, key: u64, payload: u64) {
        self.insert(key, payload);
    }

    fn sum_from(&self, key: u64, len: usize, _: &mut Vec<(u64, u64)>) -> Option<u64> {
        sum(self.range(key..).take(len).map(|entry| *entry.1))
    }
}

impl IntMap for HashMap<u64, u64> {
    const NAME: &str = "hashbrown";

    fn empty() -> Self {
        Self::new()
    }

    fn load(entries: &[(u64, u64)]) -> Self {
        entries.iter().copied().collect()
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.get(&key).copied()
    }

    fn put(&mut self, key: u64, payload: u64) {
        self.insert(key, payload);
    }

    fn sum_from(&self, _: u64, _: usize, _: &mut Vec<(u64, u64)>) -> Option<u64> {
        None
    }
}

impl IntMap for TreeMap<[u8; 8], u64> {
    const NAME: &str = "blart";

    fn empty() -> Self {
        Self::new()
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.get(&key.to_be_bytes()).copied()
    }

    fn put(&mut self, key: u64, payload: u64) {
        self.insert(key.to_be_bytes(), payload);
    }

    fn sum_from(&self, key: u64, len: usize, _: &mut Vec<(u64, u64)>) -> Option<u64> {
        sum(self.range(key.to_be_bytes()..).take(len).map(|entry| *entry.1))
    }
}

impl IntMap for SkipMap<u64, u64> {
    const NAME: &str = "SkipMap";

    fn empty() -> Self {
        Self::new()
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.get(&key).map(|entry| *entry.value())
    }

    fn put(&mut self, key: u64, payload: u64) {
        self.insert(key, payload);
    }

    fn sum_from(&self, key: u64, len: usize, _: &mut Vec<(u64, u64)>) -> Option<u64> {
        sum(self.range(key..).take(len).map(|entry| *entry.value()))
    }
}

impl IntMap for TreeIndex<u64, u64> {
    const NAME: &str = "TreeIndex";

    fn empty() -> Self {
        Self::new()
    }

    fn find(&self, key: u64) -> Option<u64> {
        self.peek_with(&key, |_, &payload| payload)
    }

    fn put(&mut self, key: u64, payload: u64) {
        // Every loop here inserts a key once.
        assert!(self.insert_sync(key, payload).is_ok());
    }

    fn sum_from(&self, key: u64, len: usize, _: &mut Vec<(u64, u64)>) -> Option<u64> {
        let guard = scc::Guard::new();
        sum(self.range(key.., &guard).take(len).map(|entry| *entry.1))
    }
}
