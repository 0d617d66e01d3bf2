//! Which of the records that were there at open have been checked since.

use std::ops::Range;
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
    /// Address that the first part begins with.
    start: u64,
    parts: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Verified {
    /// For records in `range`.
    pub fn new(range: Range<u64>) -> Self {
        let start = range.start / VERIFIED_PART_BYTES * VERIFIED_PART_BYTES;
        let count = range.end.saturating_sub(start).div_ceil(VERIFIED_PART_BYTES);
        Self { start, parts: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// Part, word and bit of the record at `address`. What lies before the start has no part.
    fn place(&self, address: u64) -> (usize, usize, u64) {
        let address = address.wrapping_sub(self.start);
        let unit = address % VERIFIED_PART_BYTES / RECORD_BYTES_MIN;
        ((address / VERIFIED_PART_BYTES) as usize, (unit / 64) as usize, 1 << (unit % 64))
    }

    pub fn contains(&self, address: u64) -> bool {
        let (part, word, bit) = self.place(address);
        let part = self.parts.get(part).and_then(OnceLock::get);
        part.is_some_and(|words| words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Records behind the end are not noted.
    pub fn insert(&self, address: u64) {
        let (part, word, bit) = self.place(address);
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
        let start = 70 * VERIFIED_PART_BYTES;
        let end = start + 3 * VERIFIED_PART_BYTES;
        let verified = Verified::new(start + 100..end - 4096);
        let addresses = [64, 112, 64 + RECORD_BYTES_MIN * 64].map(|offset| start + offset);
        let late = [start + VERIFIED_PART_BYTES, end - 4096, end - 64];
        let addresses: Vec<u64> = addresses.into_iter().chain(late).collect();
        for (index, address) in addresses.iter().enumerate() {
            assert!(!verified.contains(*address));
            verified.insert(*address);
            assert!(addresses[..=index].iter().all(|address| verified.contains(*address)));
        }
        for outside in [0, start - 64, end, 1 << 60] {
            verified.insert(outside);
            assert!(!verified.contains(outside));
        }
        assert!(!verified.contains(start + 64 + RECORD_BYTES_MIN * 32));
    }
}
