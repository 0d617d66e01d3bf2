//! Sizes, and arithmetic of offsets: alignment, and where a record goes in the data file.

use crate::limits::CHUNK_BYTES;

/// Bytes of a [`FrameHeader`](crate::frame::FrameHeader).
pub const FRAME_HEADER_BYTES: usize = 40;
/// Bytes of a [`PatchHeader`](crate::patch::PatchHeader).
pub const PATCH_HEADER_BYTES: usize = 16;
/// Bytes of a [`GroupHeader`](crate::group::GroupHeader).
pub const GROUP_HEADER_BYTES: usize = 96;
/// Bytes of a [`RecordHeader`](crate::record::RecordHeader).
pub const RECORD_HEADER_BYTES: usize = 48;
/// Records start at multiples of this.
pub const RECORD_ALIGN_BYTES: u64 = 16;
/// No two records start within the same unit of this many bytes.
pub const RECORD_BYTES_MIN: u64 = 32;
/// Bytes of a [`ChunkHeader`](crate::record::ChunkHeader).
pub const CHUNK_HEADER_BYTES: u64 = 64;
/// Bytes of a [`PieceHeader`](crate::image::PieceHeader).
pub const PIECE_HEADER_BYTES: usize = 64;
/// Size of a page of the map and of the data file's durable steps.
pub const PAGE_BYTES: u64 = 4096;
/// Values at least this long start on a cache line.
pub const WIDE_VALUE_BYTES: usize = 4096;

// Values in the log are 8-aligned: a group starts with a block, and all that stands before a value
// is padded.
const _: () = assert!(GROUP_HEADER_BYTES.is_multiple_of(8));
const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(8));
const _: () = assert!(PATCH_HEADER_BYTES.is_multiple_of(8));
// A wide value starts on a cache line if its record does, and so may the first one of a chunk.
const _: () = assert!(64 % RECORD_ALIGN_BYTES == 0 && CHUNK_HEADER_BYTES.is_multiple_of(64));
const _: () = assert!(RECORD_ALIGN_BYTES.is_power_of_two() && RECORD_ALIGN_BYTES.is_multiple_of(8));
const _: () = assert!(RECORD_BYTES_MIN.is_multiple_of(RECORD_ALIGN_BYTES));
const _: () = assert!(RECORD_BYTES_MIN <= RECORD_HEADER_BYTES as u64);
const _: () = assert!(CHUNK_BYTES.start().is_multiple_of(PAGE_BYTES));

/// `value` rounded up to a multiple of `align`, a power of two.
pub const fn align_up(value: usize, align: usize) -> usize {
    (value + (align - 1)) & !(align - 1)
}

/// `value` rounded up to a multiple of `align`, a power of two.
pub const fn align_up_u64(value: u64, align: u64) -> u64 {
    (value + (align - 1)) & !(align - 1)
}

/// Offset of the value behind the start of its record: 8-aligned, 64-aligned for wide values
/// (whose records start 64-aligned too).
#[inline]
pub const fn value_offset(key_bytes: usize, value_bytes: usize) -> usize {
    let align = if value_bytes >= WIDE_VALUE_BYTES { 64 } else { 8 };
    align_up(RECORD_HEADER_BYTES + key_bytes, align)
}

/// Bytes of a record without the gap to the next one.
#[inline]
pub const fn record_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    value_offset(key_bytes, value_bytes) + value_bytes
}

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Address of the record's first byte.
    pub address: u64,
    /// First address behind it: the new tail.
    pub end: u64,
    /// Set if a chunk is begun: address of the chunk's header, which is written first.
    pub opens_chunk: Option<u64>,
}

/// Places a record behind `tail`. A pure function of its arguments, so that staging, applying and
/// replay agree. A record never straddles two chunks unless it is longer than one: then it starts
/// in a fresh chunk and runs on through as many as it needs.
//= DAT-1, DAT-2
pub fn place(tail: u64, chunk_bytes: u64, key_bytes: usize, value_bytes: usize) -> Placement {
    assert!(chunk_bytes.is_power_of_two());
    let len = record_bytes(key_bytes, value_bytes) as u64;
    let align = if value_bytes >= WIDE_VALUE_BYTES { 64 } else { RECORD_ALIGN_BYTES };
    let chunk_start = tail & !(chunk_bytes - 1);
    if tail != chunk_start {
        // Right behind where the header would be, a record opens its chunk: the end of a long
        // record that runs into a chunk must not make the next one look so.
        let address = align_up_u64(tail.max(chunk_start + CHUNK_HEADER_BYTES + 1), align);
        if address + len <= chunk_start + chunk_bytes {
            return Placement { address, end: address + len, opens_chunk: None };
        }
    }
    let start = align_up_u64(tail, chunk_bytes);
    let address = start + CHUNK_HEADER_BYTES;
    Placement { address, end: address + len, opens_chunk: Some(start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 1 << 16;

    //= test DAT-1
    #[test]
    fn the_first_record_opens_the_first_chunk() {
        let placed = place(0, CHUNK, 8, 128);
        assert_eq!(placed.opens_chunk, Some(0));
        assert_eq!(placed.address, 64);
        assert_eq!(placed.end, 64 + 56 + 128);
    }

    //= test DAT-1
    #[test]
    fn records_do_not_overlap_and_keep_their_alignment() {
        let mut tail = 0;
        for step in 0..if cfg!(miri) { 300 } else { 20_000usize } {
            let (key, value) = (1 + step % 300, (step * 7919) % 9000);
            let placed = place(tail, CHUNK, key, value);
            assert!(placed.address >= tail);
            assert_eq!(placed.address % RECORD_ALIGN_BYTES, 0);
            let value_at = placed.address + value_offset(key, value) as u64;
            assert_eq!(value_at % if value >= WIDE_VALUE_BYTES { 64 } else { 8 }, 0);
            assert_eq!(placed.address / CHUNK, (placed.end - 1) / CHUNK, "straddles a chunk");
            if let Some(start) = placed.opens_chunk {
                assert_eq!(start % CHUNK, 0);
                assert!(start >= tail);
            }
            tail = placed.end;
        }
    }

    //= test DAT-1
    #[test]
    fn a_record_longer_than_a_chunk_gets_a_fresh_one() {
        let placed = place(1000, CHUNK, 8, 200_000);
        assert_eq!(placed.opens_chunk, Some(CHUNK));
        let next = place(placed.end, CHUNK, 8, 8);
        assert_eq!(next.opens_chunk, None);
        assert!(next.address >= placed.end);
    }

    //= test DAT-2
    #[test]
    fn a_record_behind_the_end_of_a_long_one_does_not_look_like_the_first_of_its_chunk() {
        for spill in 1..200 {
            let tail = 3 * CHUNK + spill;
            for value in [0, 5000] {
                let placed = place(tail, CHUNK, 8, value);
                assert_eq!(placed.opens_chunk, None);
                assert!(placed.address >= tail);
                assert_ne!(placed.address, 3 * CHUNK + CHUNK_HEADER_BYTES);
            }
        }
    }

    //= test DAT-1
    #[test]
    fn a_tail_at_a_chunk_end_opens_the_next() {
        assert_eq!(place(CHUNK, CHUNK, 8, 8).opens_chunk, Some(CHUNK));
        assert_eq!(place(CHUNK - 8, CHUNK, 8, 8).opens_chunk, Some(CHUNK));
    }
}
