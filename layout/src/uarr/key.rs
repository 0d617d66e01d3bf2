//! Names and their hashes.
//!
//! The hash only speeds lookups up: names are always compared, so collisions cost time, never
//! correctness. It is a `const fn`, so literal names are hashed at compile time.

const K1: u64 = 0x9E37_79B9_7F4A_7C15;
const K2: u64 = 0xC2B2_AE3D_27D4_EB4F;

/// A name with its hash, ready for lookups.
///
/// ```
/// use uarr_layout::uarr::{Key, uarr};
/// static AGE: Key = Key::new("age");
/// let record = uarr!({ "name": "Ada", "age": 36 });
/// assert_eq!(record.as_ref().get(&AGE).and_then(|age| age.as_i64()), Some(36));
/// ```
///
/// Not `Copy`, so that callers pass a static one as `&AGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<'k> {
    pub(crate) name: &'k str,
    pub(crate) hash: u64,
}

impl<'k> Key<'k> {
    /// A key for `name`; at compile time where it initialises a constant or static.
    #[inline]
    #[must_use]
    pub const fn new(name: &'k str) -> Self {
        Self { name, hash: name_hash(name.as_bytes()) }
    }

    /// The name.
    #[inline]
    #[must_use]
    pub const fn name(&self) -> &'k str {
        self.name
    }
}

impl<'k> From<&'k str> for Key<'k> {
    #[inline]
    fn from(name: &'k str) -> Self {
        Self::new(name)
    }
}

impl<'k> From<&'k String> for Key<'k> {
    #[inline]
    fn from(name: &'k String) -> Self {
        Self::new(name)
    }
}

impl<'k> From<&Key<'k>> for Key<'k> {
    #[inline]
    fn from(key: &Key<'k>) -> Self {
        Self { name: key.name, hash: key.hash }
    }
}

#[inline]
const fn load64(bytes: &[u8], at: usize) -> u64 {
    match bytes.split_at(at).1.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => 0,
    }
}

#[inline]
const fn load32(bytes: &[u8], at: usize) -> u64 {
    match bytes.split_at(at).1.first_chunk::<4>() {
        Some(chunk) => u32::from_le_bytes(*chunk) as u64,
        None => 0,
    }
}

/// The 64-bit hash of a name. O(length).
#[inline]
#[must_use]
pub const fn name_hash(name: &[u8]) -> u64 {
    let n = name.len();
    let (x, y) = if n >= 8 {
        let mut x = load64(name, 0);
        let mut at = 8;
        while at + 8 < n {
            x = (x.rotate_left(27) ^ load64(name, at)).wrapping_mul(K1);
            at += 8;
        }
        (x, load64(name, n - 8))
    } else if n >= 4 {
        (load32(name, 0), load32(name, n - 4))
    } else if n > 0 {
        let x = name[0] as u64 | (name[n / 2] as u64) << 8 | (name[n - 1] as u64) << 16;
        (x, 0)
    } else {
        (0, 0)
    };
    let h = x.wrapping_mul(K1) ^ y.wrapping_add(n as u64).wrapping_mul(K2);
    (h ^ (h >> 32)).wrapping_mul(K1)
}

/// Fingerprint of a hash: its top 8 bits, never 0.
#[inline]
#[must_use]
pub const fn fingerprint(hash: u64) -> u8 {
    let top = (hash >> 56) as u8;
    if top == 0 { 1 } else { top }
}

/// Sort hash of large shapes: the top 32 bits.
#[inline]
#[must_use]
pub const fn hash32(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Whether two names are equal; short ones by two overlapping loads instead of a call.
#[inline]
#[must_use]
pub(crate) fn names_equal(a: &[u8], b: &[u8]) -> bool {
    let n = a.len();
    if n != b.len() {
        return false;
    }
    match n {
        0 => true,
        1..=3 => a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1],
        4..=7 => load32(a, 0) == load32(b, 0) && load32(a, n - 4) == load32(b, n - 4),
        8..=16 => load64(a, 0) == load64(b, 0) && load64(a, n - 8) == load64(b, n - 8),
        _ => a == b,
    }
}

/// The up to 8 bytes of a short string as the slot holds them.
#[inline]
pub(crate) const fn pack_short(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    assert!(n <= 8, "only short strings are packed");
    match n {
        8 => load64(bytes, 0),
        4..=7 => load32(bytes, 0) | load32(bytes, n - 4) << (8 * (n - 4)),
        1..=3 => {
            bytes[0] as u64
                | (bytes[n / 2] as u64) << (8 * (n / 2))
                | (bytes[n - 1] as u64) << (8 * (n - 1))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_of_the_worked_example() {
        for (name, expected) in [
            ("x", 0xF0),
            ("y", 0x60),
            ("id", 0x76),
            ("name", 0xC8),
            ("vec", 0x30),
            ("tags", 0x82),
            ("pos", 0xC6),
        ] {
            assert_eq!(fingerprint(name_hash(name.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn short_strings_pack_low_byte_first() {
        let text = b"abcdefgh";
        for n in 0..=8 {
            let mut expected = [0; 8];
            expected[..n].copy_from_slice(&text[..n]);
            assert_eq!(pack_short(&text[..n]), u64::from_le_bytes(expected), "{n}");
        }
    }

    #[test]
    fn equal_names_are_equal_at_every_length_and_differ_at_every_byte() {
        let base: Vec<u8> = (0..40).collect();
        for n in 0..40 {
            assert!(names_equal(&base[..n], &base.clone()[..n]));
            for i in 0..n {
                let mut other = base[..n].to_vec();
                other[i] ^= 0x80;
                assert!(!names_equal(&base[..n], &other), "{n} {i}");
            }
        }
    }
}
