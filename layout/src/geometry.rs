//! Sizes, and arithmetic of offsets: alignment, and where a record goes in the data file.

use std::ops::Range;

use crate::limits::CHUNK_BYTES;

/// Bytes of a [`FrameHeader`](crate::frame::FrameHeader).
pub const FRAME_HEADER_BYTES: usize = 40;
/// Bytes of a [`PatchHeader`](crate::patch::PatchHeader).
pub const PATCH_HEADER_BYTES: usize = 16;
/// Bytes of a [`GroupHeader`](crate::group::GroupHeader).
pub const GROUP_HEADER_BYTES: usize = 96;
/// Bytes of a [`RecordHeader`](crate::record::RecordHeader).
pub const RECORD_HEADER_BYTES: usize = 32;
/// Bytes of the expiry that stands behind the header of a record that has one.
pub const EXPIRY_BYTES: usize = 8;
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
/// (whose records start 64-aligned too). Here and below an expiry counts as part of the key.
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

/// Where a record goes in a chunk whose records end at offset `end`: its own offset and end. `None`
/// if it does not fit. A pure function of its arguments.
//= DAT-1
pub fn place_in_chunk(
    end: u64,
    chunk_bytes: u64,
    key_bytes: usize,
    value_bytes: usize,
) -> Option<Range<u64>> {
    assert!(end >= CHUNK_HEADER_BYTES, "a chunk begins with its header");
    assert!(end <= chunk_bytes);
    let align = if value_bytes >= WIDE_VALUE_BYTES { 64 } else { RECORD_ALIGN_BYTES };
    let start = align_up_u64(end, align);
    let end = start + record_bytes(key_bytes, value_bytes) as u64;
    (end <= chunk_bytes).then_some(start..end)
}

/// How many chunks the record takes that begins behind a chunk header.
pub fn chunk_count(chunk_bytes: u64, key_bytes: usize, value_bytes: usize) -> u64 {
    (CHUNK_HEADER_BYTES + record_bytes(key_bytes, value_bytes) as u64).div_ceil(chunk_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 1 << 16;

    //= test DAT-1
    #[test]
    fn records_do_not_overlap_and_keep_their_alignment() {
        let mut tail = CHUNK_HEADER_BYTES;
        for step in 0..if cfg!(miri) { 300 } else { 20_000usize } {
            let (key, value) = (1 + step % 300, (step * 7919) % 9000);
            let Some(placed) = place_in_chunk(tail, CHUNK, key, value) else {
                let len = record_bytes(key, value) as u64;
                assert!(tail + len + 64 > CHUNK, "it would have fitted");
                assert!(place_in_chunk(CHUNK_HEADER_BYTES, CHUNK, key, value).is_some());
                tail = CHUNK_HEADER_BYTES;
                continue;
            };
            assert!(placed.start >= tail);
            assert_eq!(placed.end - placed.start, record_bytes(key, value) as u64);
            assert_eq!(placed.start % RECORD_ALIGN_BYTES, 0);
            let value_at = placed.start + value_offset(key, value) as u64;
            assert_eq!(value_at % if value >= WIDE_VALUE_BYTES { 64 } else { 8 }, 0);
            assert!(placed.end <= CHUNK);
            tail = placed.end;
        }
    }

    //= test DAT-1
    #[test]
    fn a_record_longer_than_a_chunk_fits_into_none() {
        let value = (CHUNK - CHUNK_HEADER_BYTES) as usize - 64;
        assert_eq!(place_in_chunk(64, CHUNK, 8, value), Some(64..CHUNK));
        assert_eq!(chunk_count(CHUNK, 8, value), 1);
        assert_eq!(place_in_chunk(64, CHUNK, 8, value + 1), None);
        assert_eq!(chunk_count(CHUNK, 8, value + 1), 2);
        assert_eq!(chunk_count(CHUNK, 8, 200_000), 4);
        assert_eq!(place_in_chunk(CHUNK, CHUNK, 1, 0), None);
    }
}
