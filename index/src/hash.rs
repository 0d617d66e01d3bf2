//! A keyed 64-bit hash of byte strings.
//!
//! 16 bytes a step through a 64 x 64 to 128 bit multiplication whose halves are folded together
//! (the idea of wyhash and its kin). Uniform and fast, about 3 ns for short keys; not
//! cryptographic: whoever knows the seed can make collisions, which cost time and never
//! correctness.

/// Digits of pi, so that no step multiplies by something simple.
const PI: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

/// The hash of `key` under `seed`. O(length).
#[inline]
pub(crate) fn hash(key: &[u8], seed: u64) -> u64 {
    let mut state = fold(seed ^ PI[0], key.len() as u64 ^ PI[1]);
    let mut rest = key;
    while rest.len() > 16 {
        state = fold(word(rest, 0) ^ state, word(rest, 8) ^ PI[2]);
        rest = &rest[16..];
    }
    let (first, last) = match rest.len() {
        8.. => (word(rest, 0), word(rest, rest.len() - 8)),
        4..8 => (half(rest, 0), half(rest, rest.len() - 4)),
        1..4 => {
            let middle = u64::from(rest[rest.len() / 2]) << 8;
            (u64::from(rest[0]) << 16 | middle | u64::from(rest[rest.len() - 1]), 0)
        }
        0 => (0, 0),
    };
    state = fold(first ^ state, last ^ PI[3]);
    fold(state ^ PI[1], seed ^ PI[2])
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u64 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u64::from(u32::from_le_bytes(half))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn similar_keys_hash_apart() {
        let mut seen = HashSet::new();
        for seed in [0, 1, u64::MAX] {
            for i in 0..20_000 {
                assert!(seen.insert(hash(format!("user:{i:010}").as_bytes(), seed)));
            }
            for len in 1..300 {
                assert!(seen.insert(hash(&vec![0; len], seed)));
                assert!(seen.insert(hash(&vec![255; len], seed)));
            }
        }
    }

    #[test]
    fn every_bit_of_a_key_changes_about_half_of_the_hash() {
        for len in [1usize, 3, 4, 7, 8, 15, 16, 17, 40] {
            let key: Vec<u8> = (0..len).map(|i| (i * 37) as u8).collect();
            let before = hash(&key, 42);
            for bit in 0..len * 8 {
                let mut changed = key.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let distance = (hash(&changed, 42) ^ before).count_ones();
                assert!((10..=54).contains(&distance), "{len} bytes, bit {bit}: {distance}");
            }
        }
    }
}
