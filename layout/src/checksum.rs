//! CRC-32C, always seeded with what the bytes belong to.
//!
//! A checksum over content alone accepts a valid block that lies in the wrong place, belongs to
//! another database or survived from an earlier life of its file. Every structure here therefore
//! mixes the identity of its database and its own position into its checksum, or carries both as
//! checked fields.

use zerocopy::IntoBytes;

use crate::DatabaseId;

/// CRC-32C (Castagnoli) of `parts`, one after the other.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

/// Continues checksum `crc` with `bytes`; start with 0.
pub fn extend(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// A payload of so many bytes is copied to one aligned place first: a second call, and bytes that
/// are summed one by one before the first aligned one, cost more.
const GATHERED_BYTES_MAX: usize = 256;

/// Checksum of a record's payload, shared by its frame and its record in the data file.
pub fn payload_crc(key: &[u8], value: &[u8]) -> u32 {
    let bytes = key.len() + value.len();
    if bytes > GATHERED_BYTES_MAX {
        return crc32c(&[key, value]);
    }
    let mut words = [0u64; GATHERED_BYTES_MAX / 8];
    let gathered = &mut words.as_mut_bytes()[..bytes];
    gathered[..key.len()].copy_from_slice(key);
    gathered[key.len()..].copy_from_slice(value);
    extend(0, gathered)
}

/// The start value of the checksums of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The seed of database `id`.
    pub fn new(id: &DatabaseId) -> Self {
        Self(crc32c::crc32c(&id.0))
    }

    /// Checksum of `bytes` of this database; where they stand must be part of them.
    pub(crate) fn crc32c(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }

    /// Checksum of `parts` as they stand at `position` of this database.
    pub fn crc32c_at(self, position: u64, parts: &[&[u8]]) -> u32 {
        let start = crc32c::crc32c_append(self.0, &position.to_le_bytes());
        parts.iter().fold(start, |crc, part| crc32c::crc32c_append(crc, part))
    }
}

/// Every bit of so many bytes, by its place. Under Miri, which takes hours for all, some fifty of
/// them.
#[cfg(test)]
pub(crate) fn bits_of(bytes: usize) -> impl Iterator<Item = usize> {
    // An odd step comes to all eight bits of a byte.
    let step = if cfg!(miri) { (bytes * 8 / 50) | 1 } else { 1 };
    (0..bytes * 8).step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_of_rfc_3720() {
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
    }

    #[test]
    fn payloads_of_all_lengths_are_summed_as_one_piece() {
        let bytes: Vec<u8> = (0..GATHERED_BYTES_MAX + 20).map(|index| index as u8).collect();
        for end in (0..20).chain(GATHERED_BYTES_MAX - 5..bytes.len()) {
            for middle in [0, 1, 7, 8, 9].into_iter().filter(|middle| *middle <= end) {
                let (key, value) = (&bytes[..middle], &bytes[middle..end]);
                assert_eq!(payload_crc(key, value), crc32c(&[&bytes[..end]]), "{middle} of {end}");
            }
        }
    }

    #[test]
    fn position_and_database_matter() {
        let (a, b) = (Seed::new(&DatabaseId([1; 16])), Seed::new(&DatabaseId([2; 16])));
        assert_ne!(a.crc32c_at(0, &[b"x"]), a.crc32c_at(16, &[b"x"]));
        assert_ne!(a.crc32c_at(0, &[b"x"]), b.crc32c_at(0, &[b"x"]));
    }
}
