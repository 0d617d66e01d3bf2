//! Keys that were chosen against the hash, or against hashes that look like it: none costs more
//! than any other key.
//!
//! Nothing here is timed. What chosen keys can make long is counted: records that a lookup reads,
//! levels of the tree, leaves, and the error of their models.

use std::cell::Cell;
use std::convert::Infallible;

use uarr_index::{ByteIndex, ByteIndexOptions, ByteIndexStats, KeySource, Memory};

const KEYS: usize = if cfg!(miri) { 200 } else { 20_000 };

/// Records by payload; counts how often one is read.
struct Counted<'a> {
    keys: &'a [Vec<u8>],
    reads: Cell<usize>,
}

impl KeySource for Counted<'_> {
    type Error = Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Infallible> {
        self.reads.set(self.reads.get() + 1);
        Ok(&self.keys[payload as usize])
    }
}

/// What keys cost: records read by their inserts, by finding each, and by missing each changed a
/// little; the tree.
struct Cost {
    inserts: usize,
    gets: usize,
    misses: usize,
    stats: ByteIndexStats,
}

fn cost_of(keys: &[Vec<u8>], name: &str) -> Cost {
    let records = Counted { keys, reads: Cell::new(0) };
    // No ordered side: it compares keys, not hashes.
    let index = ByteIndex::new(
        &Memory::new(),
        ByteIndexOptions { ordered: false, hash_seed: 0x5eed << 70 | 3 },
    );
    let reads_of = |work: &mut dyn FnMut()| {
        records.reads.set(0);
        work();
        records.reads.get()
    };
    let inserts = reads_of(&mut || {
        for (at, key) in keys.iter().enumerate() {
            let before = index.insert(key, at as u64, &records).unwrap();
            assert_eq!(before, None, "{name}: keys are distinct");
            let reads = records.reads.get();
            assert!(reads <= at / 100 + 10, "{name}: {reads} records read by {at} inserts");
        }
    });
    let gets = reads_of(&mut || {
        let found = |(at, key): (usize, &Vec<u8>)| index.get(key, &records) == Ok(Some(at as u64));
        assert!(keys.iter().enumerate().all(found), "{name}: every key is found");
    });
    let misses = reads_of(&mut || {
        for key in keys {
            let mut other = key.clone();
            other.push(0x55);
            let Ok(_) = index.get(&other, &records);
        }
    });
    Cost { inserts, gets, misses, stats: index.stats() }
}

/// A key of `len` bytes, the same in all keys but for `word` at `at` and the number of the key at
/// `number_at`.
fn with_word(len: usize, (word, at): (u64, usize), (number, number_at): (usize, usize)) -> Vec<u8> {
    let mut key = vec![b'k'; len];
    key[number_at..number_at + 3].copy_from_slice(&number.to_le_bytes()[..3]);
    key[at..at + 8].copy_from_slice(&word.to_le_bytes());
    key
}

/// Words that make something of a hash with a known structure 0, 1, or equal to its constant: plain
/// ones, digits of pi, the golden ratio, the words SipHash begins with and multipliers of hashes in
/// wide use.
const WORDS: [u64; 14] = [
    0,
    1,
    u64::MAX,
    1 << 63,
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x9e37_79b9_7f4a_7c15,
    0x736f_6d65_7073_6575,
    0x646f_7261_6e64_6f6d,
    0x6c79_6765_6e65_7261,
    0x7465_6462_7974_6573,
    0x5851_f42d_4c95_7f2d,
];

/// Sets of keys by name.
fn chosen() -> Vec<(String, Vec<Vec<u8>>)> {
    let mut sets: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
    let mut add = |name: String, key: &dyn Fn(usize) -> Vec<u8>| {
        sets.push((name, (0..KEYS).map(key).collect()));
    };
    for word in WORDS {
        // In the first and the second word of a step, in a last word that overlaps others, in a
        // later step; the number in a word before and in one behind.
        for (len, at, number_at) in
            [(16, 0, 8), (22, 8, 0), (22, 8, 16), (22, 14, 8), (40, 24, 16), (40, 24, 32)]
        {
            add(format!("{word:x} at {at} of {len}, numbers at {number_at}"), &|n| {
                with_word(len, (word, at), (n, number_at))
            });
        }
        add(format!("{word:x} backwards"), &|n| with_word(22, (word.swap_bytes(), 8), (n, 0)));
    }
    add("zeros of all lengths".into(), &|n| vec![0; n + 1]);
    add("ones of all lengths".into(), &|n| vec![0xff; n + 1]);
    add("a number and zeros".into(), &|n| [&(n as u64).to_le_bytes()[..], &[0; 56]].concat());
    add("zeros and a number".into(), &|n| [&[0; 56][..], &(n as u64).to_be_bytes()].concat());
    add("a number twice".into(), &|n| (n as u64).to_le_bytes().repeat(2));
    add("a number and its complement".into(), &|n| {
        [(n as u64).to_le_bytes(), (!(n as u64)).to_le_bytes()].concat()
    });
    add("multiples of the golden ratio".into(), &|n| {
        (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().to_vec()
    });
    // Blocks in any order: a sum or an exclusive or of them is the same.
    add("the same blocks in other orders".into(), &|n| {
        let mut blocks: Vec<u64> = (1..=9).collect();
        let mut rest = n;
        let mut key = Vec::new();
        for left in (1..=9).rev() {
            key.extend(blocks.remove(rest % left).to_le_bytes());
            rest /= left;
        }
        key
    });
    sets
}

#[test]
fn keys_chosen_against_the_hash_cost_what_others_cost() {
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state ^ state >> 29).to_le_bytes()
    };
    let ordinary: Vec<Vec<u8>> = (0..KEYS).map(|_| [random(), random()].concat()).collect();
    let ordinary = cost_of(&ordinary, "ordinary keys").stats.points;
    for (name, keys) in chosen() {
        let cost = cost_of(&keys, &name);
        // Hashes of 64 bits: 20,000 of them collide once in 10^11 sets.
        assert_eq!((cost.inserts, cost.gets, cost.misses), (0, KEYS, 0), "{name}");
        let points = cost.stats.points;
        assert_eq!(points.entries, KEYS, "{name}");
        assert!(points.depth <= ordinary.depth + 1, "{name}: {points:?}");
        assert!(points.leaves <= 2 * ordinary.leaves + 4, "{name}: {points:?}");
        assert_eq!(points.rebuilds, 0, "{name}: {points:?}");
        let (error, usual) = (points.model_error_log2_mean, ordinary.model_error_log2_mean);
        assert!(error <= 1.3 * usual + 0.3, "{name}: {error} where {usual} is usual");
    }
}
