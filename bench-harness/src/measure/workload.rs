//! Records whose bytes can be checked: keys that are spread over all of u64, values that follow
//! from their key and a version.
//!
//! A value is some little-endian words, 16 unless said otherwise. Word 0 is the version, word `i`
//! is `mix(key) + mix(version) + i * STEP`. [`is_right`] finds the value of another key, a mixture
//! of two versions, or a damaged byte in a few nanoseconds, so every value read is checked while it
//! is measured.

use std::hint::black_box;

/// Bytes of a value, if nothing else is said. All sizes are multiples of 8.
pub const VALUE_BYTES: usize = 128;

/// User bytes of a record: the key and the value.
pub const RECORD_BYTES: u64 = 8 + VALUE_BYTES as u64;

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads `value` over all 64 bits; a bijection (the finalizer of SplitMix64).
#[inline]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The key of the record with number `index`: distinct for distinct numbers, in random order.
#[inline]
pub const fn key_of(index: u64) -> u64 {
    mix(index.wrapping_add(STEP))
}

/// Writes the value of `key` in its given version.
#[inline]
pub fn fill(key: u64, version: u64, value: &mut [u8]) {
    let base = mix(key).wrapping_add(mix(version));
    let (words, rest) = value.as_chunks_mut::<8>();
    assert!(rest.is_empty() && !words.is_empty());
    words[0] = version.to_le_bytes();
    for (index, word) in words.iter_mut().enumerate().skip(1) {
        *word = base.wrapping_add((index as u64).wrapping_mul(STEP)).to_le_bytes();
    }
}

/// The version that [`fill`] has written into `value`.
#[inline]
pub fn version_of(value: &[u8]) -> u64 {
    let (words, _) = value.as_chunks::<8>();
    words.first().map_or(0, |word| u64::from_le_bytes(*word))
}

/// Whether `value` is what [`fill`] wrote for `key` in any version, all `value_bytes` of it.
#[inline]
pub fn is_right(key: u64, value: &[u8], value_bytes: usize) -> bool {
    if value.len() != value_bytes {
        return false;
    }
    let (words, _) = value.as_chunks::<8>();
    let Some(version) = words.first() else { return false };
    let base = mix(key).wrapping_add(mix(u64::from_le_bytes(*version)));
    let mut difference = 0;
    for (index, word) in words.iter().enumerate().skip(1) {
        let expected = base.wrapping_add((index as u64).wrapping_mul(STEP));
        difference |= u64::from_le_bytes(*word) ^ expected;
    }
    // Without the box each word is compared, and jumped after, by itself: twice the instructions,
    // which stand between one read and the next.
    black_box(difference) == 0
}

/// A small random number generator (SplitMix64): the same seed gives the same load.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that starts from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    /// The next 64 bits.
    #[inline]
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// A number below `bound`, uniform up to a bias of `bound / 2^64`.
    #[inline]
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damaged_byte_and_foreign_key_is_found() {
        for value_bytes in [8, VALUE_BYTES, 1000] {
            let mut value = vec![0; value_bytes];
            for (key, version) in [(0, 0), (1, 0), (u64::MAX, 7), (key_of(5), 1 << 40)] {
                fill(key, version, &mut value);
                assert!(is_right(key, &value, value_bytes));
                // A single word is its version and nothing else.
                assert_eq!(is_right(key ^ 1, &value, value_bytes), value_bytes == 8);
                for index in 0..if value_bytes == 8 { 0 } else { value_bytes } {
                    value[index] ^= 0x10;
                    assert!(!is_right(key, &value, value_bytes), "byte {index}");
                    value[index] ^= 0x10;
                }
                assert!(!is_right(key, &value[..value_bytes - 8], value_bytes));
            }
        }
    }

    #[test]
    fn keys_are_distinct_and_numbers_stay_below_their_bound() {
        let mut keys: Vec<u64> = (0..10_000).map(key_of).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 10_000);
        let mut random = Random::new(3);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[random.below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
    }
}
