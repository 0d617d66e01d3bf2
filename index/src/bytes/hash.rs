//! A keyed 64-bit hash of byte strings: SipHash-1-3.
//!
//! Keys of records may come from strangers. An attacker who could make many of them with one hash,
//! or with hashes that lie close together, could make chains, and leaves, of any length. So the
//! hash is a pseudorandom function: an attacker without its key learns nothing of one value from
//! all the others. The key has 128 bits; key and hashes are only in memory.

use siphasher::sip::SipHasher13;

/// The hash under one key.
pub(crate) struct KeyHash(SipHasher13);

impl KeyHash {
    pub(crate) fn new(seed: u128) -> Self {
        Self(SipHasher13::new_with_keys(seed as u64, (seed >> 64) as u64))
    }

    /// The hash of `key`. O(length).
    #[inline]
    pub(crate) fn of(&self, key: &[u8]) -> u64 {
        self.0.hash(key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn similar_keys_and_seeds_hash_apart() {
        let mut seen = HashSet::new();
        for seed in [0, 1, 1 << 64, u128::MAX] {
            let hash = KeyHash::new(seed);
            for i in 0..20_000 {
                assert!(seen.insert(hash.of(format!("user:{i:010}").as_bytes())));
            }
            for len in 1..300 {
                assert!(seen.insert(hash.of(&vec![0; len])));
                assert!(seen.insert(hash.of(&vec![255; len])));
            }
        }
    }

    #[test]
    fn every_bit_of_key_and_seed_changes_about_half_of_the_hash() {
        let check = |before: u64, after: u64, what: &str| {
            let distance = (before ^ after).count_ones();
            assert!((10..=54).contains(&distance), "{what}: {distance}");
        };
        for len in [1usize, 3, 4, 7, 8, 15, 16, 17, 40] {
            let key: Vec<u8> = (0..len).map(|i| (i * 37) as u8).collect();
            let hash = KeyHash::new(42);
            let before = hash.of(&key);
            for bit in 0..len * 8 {
                let mut changed = key.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                check(before, hash.of(&changed), &format!("{len} bytes, bit {bit}"));
            }
            for bit in 0..128 {
                let other = KeyHash::new(42 ^ 1 << bit);
                check(before, other.of(&key), &format!("{len} bytes, bit {bit} of the seed"));
            }
        }
    }
}
