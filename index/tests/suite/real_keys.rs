//! Keys of the machine the test runs on: every inode number, time of change and path of its root
//! file system, in random and in ascending order, against `BTreeMap`.
//!
//! `cargo test --release -p uarr-index --test suite -- --ignored real_keys --nocapture` prints
//! depth, memory and times. Ignored otherwise: what it finds depends on the machine. `UARR_WALK`
//! names another directory to walk.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::keys::Random;
use crate::machine::Machine;
use uarr_index::{ByteIndex, ByteIndexOptions, IntIndex, KeySource, Memory};

const DEPTH_MAX: usize = 16;

fn machine() -> Machine {
    Machine::walk(&std::env::var("UARR_WALK").unwrap_or_else(|_| "/".into()))
}

/// CPU time of this thread, exact to a tick of the scheduler: other work on the machine does not
/// count. Zero where there is no `/proc`.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// CPU nanoseconds of each of `count` operations.
fn each_ns(count: usize, run: impl FnOnce()) -> f64 {
    let started = cpu_ns();
    run();
    (cpu_ns() - started) as f64 / count.max(1) as f64
}

fn integers(name: &str, keys: &[u64]) {
    for order in ["random", "ascending"] {
        let mut order_keys = keys.to_vec();
        if order == "random" {
            Random::new(1).shuffle(&mut order_keys);
        }
        let index = IntIndex::new(&Memory::new());
        let mut model = BTreeMap::new();
        let insert_ns = each_ns(keys.len(), || {
            order_keys.iter().for_each(|&key| assert_eq!(index.insert(key, !key), None));
        });
        let model_insert_ns = each_ns(keys.len(), || {
            order_keys.iter().for_each(|&key| assert_eq!(model.insert(key, !key), None));
        });
        Random::new(2).shuffle(&mut order_keys);
        let get_ns = each_ns(keys.len(), || {
            order_keys.iter().for_each(|&key| assert_eq!(index.get(key), Some(!key)));
        });
        let model_get_ns = each_ns(keys.len(), || {
            order_keys.iter().for_each(|key| assert_eq!(model.get(key), Some(&!key)));
        });
        for key in order_keys.iter().flat_map(|&key| [key.wrapping_sub(1), key.wrapping_add(1)]) {
            assert_eq!(index.get(key), model.get(&key).copied());
        }
        let mut entries = Vec::with_capacity(keys.len());
        index.scan(Bound::Unbounded, usize::MAX, &mut entries);
        assert!(entries.iter().copied().eq(model.iter().map(|(&key, &payload)| (key, payload))));
        entries.clear();
        index.scan_rev(Bound::Unbounded, usize::MAX, &mut entries);
        assert!(entries.iter().rev().copied().eq(model.into_iter()));
        index.verify();
        let stats = index.stats();
        assert!(stats.depth <= DEPTH_MAX, "{stats:?}");
        println!(
            "{name} {order}: {} keys, depth {}, {:.1} B/key, insert {insert_ns:.0} ns (BTreeMap \
             {model_insert_ns:.0}), get {get_ns:.0} ns (BTreeMap {model_get_ns:.0})",
            keys.len(),
            stats.depth,
            stats.bytes as f64 / keys.len().max(1) as f64,
        );
    }
}

/// Paths; a payload is a place in the list.
struct Paths(Vec<Vec<u8>>);

impl KeySource for Paths {
    type Error = std::convert::Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Self::Error> {
        Ok(&self.0[payload as usize])
    }
}

fn bytes(paths: &Paths) {
    let count = paths.0.len();
    for order in ["random", "ascending"] {
        let mut places: Vec<usize> = (0..count).collect();
        if order == "random" {
            Random::new(1).shuffle(&mut places);
        }
        let index =
            ByteIndex::new(&Memory::new(), ByteIndexOptions { ordered: true, hash_seed: 1 });
        let mut model: BTreeMap<Box<[u8]>, u64> = BTreeMap::new();
        let insert_ns = each_ns(count, || {
            for &at in &places {
                assert_eq!(index.insert(&paths.0[at], at as u64, paths).unwrap(), None);
            }
        });
        let model_insert_ns = each_ns(count, || {
            for &at in &places {
                assert_eq!(model.insert(paths.0[at].as_slice().into(), at as u64), None);
            }
        });
        Random::new(2).shuffle(&mut places);
        let get_ns = each_ns(count, || {
            for &at in &places {
                assert_eq!(index.get(&paths.0[at], paths), Ok(Some(at as u64)));
            }
        });
        let model_get_ns = each_ns(count, || {
            for &at in &places {
                assert_eq!(model.get(paths.0[at].as_slice()), Some(&(at as u64)));
            }
        });
        let mut found = Vec::with_capacity(count);
        index.scan(Bound::Unbounded, usize::MAX, paths, &mut found);
        assert!(found.iter().eq(model.values()));
        found.clear();
        index.scan_rev(Bound::Unbounded, usize::MAX, paths, &mut found);
        assert!(found.iter().rev().eq(model.values()));
        let stats = index.stats();
        let ordered = stats.ordered.unwrap();
        assert!(stats.points.depth <= DEPTH_MAX && ordered.depth <= DEPTH_MAX);
        let each = |bytes: usize| bytes as f64 / count.max(1) as f64;
        println!(
            "paths {order}: {count} keys of {:.1} B, depth {} and {}, {:.1} and {:.1} B/key, \
             insert {insert_ns:.0} ns (BTreeMap {model_insert_ns:.0}), \
             get {get_ns:.0} ns (BTreeMap {model_get_ns:.0})",
            each(paths.0.iter().map(Vec::len).sum()),
            stats.points.depth,
            ordered.depth,
            each(stats.points.bytes),
            each(ordered.bytes),
        );
    }
}

#[test]
#[ignore = "walks the whole file system of the machine"]
fn real_keys_agree_with_the_model() {
    let machine = machine();
    integers("inodes", &machine.inodes);
    integers("mtimes", &machine.mtimes);
    bytes(&Paths(machine.paths));
}
