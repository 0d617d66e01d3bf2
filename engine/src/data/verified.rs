//! Which of the records that were there at open have been checked since.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use uarr_layout::geometry::{RECORD_BYTES_MIN, record_bytes};

/// Bytes of the data file that one part of [`Verified`] is about.
const VERIFIED_PART_BYTES: u64 = 64 << 20;

// No two records share a bit, and a part has whole words of them.
const _: () = assert!(record_bytes(1, 0) as u64 >= RECORD_BYTES_MIN);
const _: () = assert!(VERIFIED_PART_BYTES.is_multiple_of(64 * RECORD_BYTES_MIN));

/// One bit for each possible start of a record. A part takes memory once one of its records was
/// checked: the length of a file says nothing about how much of it is there.
pub(crate) struct Verified {
    parts: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Verified {
    /// For records before `end`.
    pub fn new(end: u64) -> Self {
        let count = end.div_ceil(VERIFIED_PART_BYTES);
        Self { parts: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// Part, word and bit of the record at `address`.
    fn place(address: u64) -> (usize, usize, u64) {
        let unit = address % VERIFIED_PART_BYTES / RECORD_BYTES_MIN;
        ((address / VERIFIED_PART_BYTES) as usize, (unit / 64) as usize, 1 << (unit % 64))
    }

    pub fn contains(&self, address: u64) -> bool {
        let (part, word, bit) = Self::place(address);
        let part = self.parts.get(part).and_then(OnceLock::get);
        part.is_some_and(|words| words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Records behind the end are not noted.
    pub fn insert(&self, address: u64) {
        let (part, word, bit) = Self::place(address);
        let Some(part) = self.parts.get(part) else { return };
        let word_count = (VERIFIED_PART_BYTES / RECORD_BYTES_MIN / 64) as usize;
        let words = part.get_or_init(|| (0..word_count).map(|_| AtomicU64::new(0)).collect());
        words[word].fetch_or(bit, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_records_are_noted_one_by_one_up_to_the_end() {
        let end = 3 * VERIFIED_PART_BYTES;
        let verified = Verified::new(end - 4096);
        let addresses = [64, 112, 64 + RECORD_BYTES_MIN * 64, end / 2, end - 4096, end - 64];
        for (index, address) in addresses.iter().enumerate() {
            assert!(!verified.contains(*address));
            verified.insert(*address);
            assert!(addresses[..=index].iter().all(|address| verified.contains(*address)));
        }
        verified.insert(end);
        assert!(!verified.contains(end) && !verified.contains(1 << 60));
        assert!(!verified.contains(64 + RECORD_BYTES_MIN * 32));
    }
}
