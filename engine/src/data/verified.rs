//! Which of the records that were there at open have been checked since.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use uarr_layout::geometry::{RECORD_BYTES_MIN, record_bytes};
use uarr_layout::limits::ADDRESS_MAX;

/// Bytes of the data file that one part of [`Verified`] is about.
const VERIFIED_PART_BYTES: u64 = 64 << 20;
/// Parts of a shelf.
const SHELF_PART_COUNT: u64 = 1 << 8;
const SHELF_BYTES: u64 = SHELF_PART_COUNT * VERIFIED_PART_BYTES;

// No two records share a bit, and a part has whole words of them.
const _: () = assert!(record_bytes(1, 0) as u64 >= RECORD_BYTES_MIN);
const _: () = assert!(VERIFIED_PART_BYTES.is_multiple_of(64 * RECORD_BYTES_MIN));

// A superblock that says that all addresses are given out costs little.
const _: () = assert!(ADDRESS_MAX / SHELF_BYTES <= 1 << 18);

type Part = OnceLock<Box<[AtomicU64]>>;

/// One bit for each possible start of a record. A part takes memory once one of its records was
/// checked, and so does a shelf of parts: how many numbers chunks have had, or how long a file is,
/// says nothing about how much is there.
pub(crate) struct Verified {
    /// Address that the first shelf begins with.
    start: u64,
    shelves: Box<[OnceLock<Box<[Part]>>]>,
}

/// Where the bit of a record is.
struct BitPlace {
    shelf: usize,
    part: usize,
    word: usize,
    bit: u64,
}

impl Verified {
    /// For records in `range`.
    pub fn new(range: Range<u64>) -> Self {
        let start = range.start / VERIFIED_PART_BYTES * VERIFIED_PART_BYTES;
        let count = range.end.saturating_sub(start).div_ceil(SHELF_BYTES);
        Self { start, shelves: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// Where the bit of the record at `address` is. What lies before the start has no shelf.
    fn place(&self, address: u64) -> BitPlace {
        let address = address.wrapping_sub(self.start);
        let unit = address % VERIFIED_PART_BYTES / RECORD_BYTES_MIN;
        BitPlace {
            shelf: (address / SHELF_BYTES) as usize,
            part: (address % SHELF_BYTES / VERIFIED_PART_BYTES) as usize,
            word: (unit / 64) as usize,
            bit: 1 << (unit % 64),
        }
    }

    pub fn contains(&self, address: u64) -> bool {
        let BitPlace { shelf, part, word, bit } = self.place(address);
        let part = self.shelves.get(shelf).and_then(|shelf| shelf.get()?[part].get());
        part.is_some_and(|words| words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Records behind the last shelf are not noted.
    pub fn insert(&self, address: u64) {
        let BitPlace { shelf, part, word, bit } = self.place(address);
        let Some(shelf) = self.shelves.get(shelf) else { return };
        let parts = shelf.get_or_init(|| (0..SHELF_PART_COUNT).map(|_| Part::new()).collect());
        let word_count = (VERIFIED_PART_BYTES / RECORD_BYTES_MIN / 64) as usize;
        let words =
            parts[part].get_or_init(|| (0..word_count).map(|_| AtomicU64::new(0)).collect());
        words[word].fetch_or(bit, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A superblock can say that all numbers were given out; a note of each part cost 1.6 GB then.
    #[test]
    fn addresses_that_hold_nothing_cost_little() {
        let verified = Verified::new(64..ADDRESS_MAX);
        assert!(size_of_val(&*verified.shelves) < 8 << 20);
        verified.insert(ADDRESS_MAX - 64);
        assert!(verified.contains(ADDRESS_MAX - 64) && !verified.contains(ADDRESS_MAX - 128));
    }

    #[test]
    fn checked_records_are_noted_one_by_one() {
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
        for outside in [0, start - 64, start + SHELF_BYTES, 1 << 60] {
            verified.insert(outside);
            assert!(!verified.contains(outside));
        }
        assert!(!verified.contains(start + 64 + RECORD_BYTES_MIN * 32));
    }
}
