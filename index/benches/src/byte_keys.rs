//! Byte keys: the structures and their loops.
//!
//! Ours holds no keys and reads them from the records, whose lookup is part of its times; the
//! others own a copy of each key, made while a load or an insert is timed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ops::Bound;

use blart::TreeMap;
use crossbeam_skiplist::SkipMap;
use hashbrown::HashMap;
use uarr_index::{ByteIndex, ByteIndexOptions, KeySource, Memory};

use crate::keys::Random;
use crate::machine::Machine;
use crate::{Phase, Structure, Timed, timed};

/// Keys as they stand in records; payloads are their places.
struct Records(Vec<Box<[u8]>>);

impl KeySource for Records {
    type Error = std::convert::Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Self::Error> {
        Ok(&self.0[payload as usize])
    }
}

/// The keys of one table.
pub struct ByteWork {
    /// Records lie in memory in random order.
    records: Records,
    /// Places of records in the order of their keys.
    sorted: Vec<usize>,
    /// Places in random order.
    shuffled: Vec<usize>,
    /// Half of the places, in the order of their keys; the other half of `shuffled` is not in.
    half: Vec<usize>,
    absent: Vec<Box<[u8]>>,
}

impl ByteWork {
    /// `user`: `count` keys `user:%010d`; `paths`: all paths of this machine.
    pub fn new(set: &str, count: usize) -> Self {
        let mut keys: Vec<Box<[u8]>> = match set {
            "user" => {
                (0..count).map(|i| format!("user:{:010}", i * 7).into_bytes().into()).collect()
            }
            "paths" => Machine::walk("/").paths.into_iter().map(Vec::into).collect(),
            other => panic!("unknown set {other}"),
        };
        Random::new(4).shuffle(&mut keys);
        // Each in a place of its own, in the order in which records are written.
        let keys: Vec<Box<[u8]>> = keys.iter().map(|key| key.to_vec().into()).collect();
        let mut absent: Vec<Box<[u8]>> =
            keys.iter().map(|key| [key, &b"~"[..]].concat().into()).collect();
        Random::new(7).shuffle(&mut absent);
        let mut sorted: Vec<usize> = (0..keys.len()).collect();
        sorted.sort_unstable_by(|&a, &b| keys[a].cmp(&keys[b]));
        let mut shuffled = sorted.clone();
        Random::new(5).shuffle(&mut shuffled);
        let mut half = shuffled[..shuffled.len() / 2].to_vec();
        half.sort_unstable_by(|&a, &b| keys[a].cmp(&keys[b]));
        Self { records: Records(keys), sorted, shuffled, half, absent }
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.sorted.len()
    }

    /// Bytes of all keys.
    pub fn key_bytes(&self) -> usize {
        self.records.0.iter().map(|key| key.len()).sum()
    }
}

/// What is asked of a structure over byte keys.
trait ByteMap {
    const NAME: &str;

    fn empty() -> Self;
    fn find(&self, key: &[u8], records: &Records) -> Option<u64>;
    fn put(&mut self, place: usize, records: &Records);

    fn load(places: &[usize], records: &Records) -> Self
    where
        Self: Sized,
    {
        let mut map = Self::empty();
        places.iter().for_each(|&place| map.put(place, records));
        map
    }

    /// Adds up all payloads in the order of keys, each multiplied with its rank; `None` without an
    /// order.
    fn sum_ranked(&self, records: &Records, buffer: &mut Vec<u64>) -> Option<u64>;

    fn node_bytes(&self) -> Option<usize> {
        None
    }
}

/// All structures, `BTreeMap` first.
pub fn byte_structures() -> Vec<Box<dyn Structure<ByteWork>>> {
    vec![
        Box::new(Entrant::<BTreeMap<Box<[u8]>, u64>>(None)),
        Box::new(Entrant::<ByteIndex>(None)),
        Box::new(Entrant::<HashMap<Box<[u8]>, u64>>(None)),
        Box::new(Entrant::<TreeMap<CString, u64>>(None)),
        Box::new(Entrant::<SkipMap<Box<[u8]>, u64>>(None)),
    ]
}

struct Entrant<M>(Option<M>);

impl<M: ByteMap> Entrant<M> {
    fn loaded(&self) -> &M {
        self.0.as_ref().expect("the phase `Bulk` comes first")
    }

    fn iterate(&self, work: &ByteWork) -> Option<Timed> {
        let mut buffer = Vec::with_capacity(work.sorted.len());
        let mut found = None;
        let pass = timed(work.sorted.len(), || {
            found = self.loaded().sum_ranked(&work.records, &mut buffer);
            found.unwrap_or(0)
        });
        found.map(|_| pass)
    }
}

impl<M: ByteMap> Structure<ByteWork> for Entrant<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn node_bytes(&self) -> Option<usize> {
        self.loaded().node_bytes()
    }

    fn run(&mut self, phase: Phase, work: &ByteWork) -> Option<Timed> {
        let records = &work.records;
        match phase {
            Phase::Bulk => {
                self.0 = None;
                Some(timed(work.sorted.len(), || {
                    self.0 = Some(M::load(&work.sorted, records));
                    0
                }))
            }
            Phase::Hit => Some(timed(work.shuffled.len(), || {
                let keys = work.shuffled.iter().map(|&place| &records.0[place]);
                keys.fold(0u64, |sum, key| {
                    sum.wrapping_add(self.loaded().find(key, records).unwrap_or(1))
                })
            })),
            Phase::Miss => Some(timed(work.absent.len(), || {
                work.absent.iter().fold(0u64, |sum, key| {
                    sum.wrapping_add(self.loaded().find(key, records).unwrap_or(1))
                })
            })),
            Phase::Iterate => self.iterate(work),
            Phase::Insert => {
                let mut map = M::load(&work.half, records);
                let new = &work.shuffled[work.half.len()..];
                Some(timed(new.len(), || {
                    new.iter().for_each(|&place| map.put(place, records));
                    0
                }))
            }
            Phase::InsertAscending => {
                let mut map = M::empty();
                Some(timed(work.sorted.len(), || {
                    work.sorted.iter().for_each(|&place| map.put(place, records));
                    0
                }))
            }
            Phase::HitMany | Phase::Scan | Phase::Mixed => None,
        }
    }
}

fn ranked(payloads: impl Iterator<Item = u64>) -> Option<u64> {
    let ranks = (1u64..).zip(payloads);
    Some(ranks.fold(0, |sum: u64, (rank, payload)| sum.wrapping_add(rank.wrapping_mul(payload))))
}

const OPTIONS: ByteIndexOptions = ByteIndexOptions { ordered: true, hash_seed: 1 };

impl ByteMap for ByteIndex {
    const NAME: &str = "uarr";

    fn empty() -> Self {
        Self::new(&Memory::new(), OPTIONS)
    }

    fn load(places: &[usize], records: &Records) -> Self {
        let entries = places.iter().map(|&place| (&records.0[place], place as u64));
        Self::from_sorted(&Memory::new(), OPTIONS, entries)
    }

    fn find(&self, key: &[u8], records: &Records) -> Option<u64> {
        match self.get(key, records) {
            Ok(found) => found,
            Err(never) => match never {},
        }
    }

    fn put(&mut self, place: usize, records: &Records) {
        assert!(self.insert(&records.0[place], place as u64, records).unwrap().is_none());
    }

    fn sum_ranked(&self, records: &Records, buffer: &mut Vec<u64>) -> Option<u64> {
        buffer.clear();
        self.scan(Bound::Unbounded, usize::MAX, records, buffer);
        ranked(buffer.iter().copied())
    }

    fn node_bytes(&self) -> Option<usize> {
        let stats = self.stats();
        Some(stats.points.bytes + stats.ordered.map_or(0, |ordered| ordered.bytes))
    }
}

impl ByteMap for BTreeMap<Box<[u8]>, u64> {
    const NAME: &str = "BTreeMap";

    fn empty() -> Self {
        Self::new()
    }

    fn load(places: &[usize], records: &Records) -> Self {
        places.iter().map(|&place| (records.0[place].clone(), place as u64)).collect()
    }

    fn find(&self, key: &[u8], _: &Records) -> Option<u64> {
        self.get(key).copied()
    }

    fn put(&mut self, place: usize, records: &Records) {
        self.insert(records.0[place].clone(), place as u64);
    }

    fn sum_ranked(&self, _: &Records, _: &mut Vec<u64>) -> Option<u64> {
        ranked(self.values().copied())
    }
}

impl ByteMap for HashMap<Box<[u8]>, u64> {
    const NAME: &str = "hashbrown";

    fn empty() -> Self {
        Self::new()
    }

    fn find(&self, key: &[u8], _: &Records) -> Option<u64> {
        self.get(key).copied()
    }

    fn put(&mut self, place: usize, records: &Records) {
        self.insert(records.0[place].clone(), place as u64);
    }

    fn sum_ranked(&self, _: &Records, _: &mut Vec<u64>) -> Option<u64> {
        None
    }
}

/// No key may begin with another one here, so each ends in a zero.
fn c_string(key: &[u8]) -> CString {
    CString::new(key).expect("neither paths nor user names hold a zero")
}

impl ByteMap for TreeMap<CString, u64> {
    const NAME: &str = "blart";

    fn empty() -> Self {
        Self::new()
    }

    fn find(&self, key: &[u8], _: &Records) -> Option<u64> {
        self.get(&c_string(key)).copied()
    }

    fn put(&mut self, place: usize, records: &Records) {
        self.insert(c_string(&records.0[place]), place as u64);
    }

    fn sum_ranked(&self, _: &Records, _: &mut Vec<u64>) -> Option<u64> {
        ranked(self.values().copied())
    }
}

impl ByteMap for SkipMap<Box<[u8]>, u64> {
    const NAME: &str = "SkipMap";

    fn empty() -> Self {
        Self::new()
    }

    fn find(&self, key: &[u8], _: &Records) -> Option<u64> {
        self.get(key).map(|entry| *entry.value())
    }

    fn put(&mut self, place: usize, records: &Records) {
        self.insert(records.0[place].clone(), place as u64);
    }

    fn sum_ranked(&self, _: &Records, _: &mut Vec<u64>) -> Option<u64> {
        ranked(self.iter().map(|entry| *entry.value()))
    }
}
