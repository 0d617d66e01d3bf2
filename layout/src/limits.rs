//! Limits of what structures on disk may say. No program wrote what lies beyond: readers refuse it
//! before they compute anything from it, so sums of two such numbers, and the next ones, never
//! overflow.

use std::ops::RangeInclusive;

/// Version of all formats on disk: (major, minor). Readers refuse another major version, and a
/// newer minor one, by name.
pub const FORMAT_VERSION: (u16, u16) = (2, 0);
/// Sizes of log blocks.
pub const BLOCK_BYTES: RangeInclusive<u32> = 512..=1 << 20;
/// Regular sizes of log segments.
pub const SEGMENT_BYTES: RangeInclusive<u64> = 1 << 18..=1 << 32;
/// A segment has at least so many blocks: the eighth part of it is the largest group buffer, which
/// holds a block for the segment header and one for the group.
pub const SEGMENT_BLOCKS_MIN: u64 = 16;
/// Sizes of the chunks of the data file.
pub const CHUNK_BYTES: RangeInclusive<u64> = 1 << 16..=1 << 30;
/// The data file is no longer.
pub const DATA_BYTES_MAX: u64 = 1 << 46;
/// Addresses of records are below it: so much is written in the life of a database at most.
pub const ADDRESS_MAX: u64 = 1 << 52;
/// Places of the data file are below it.
pub const PLACE_MAX: u64 = 1 << 24;
/// Highest LSN: a crash a second, each of which skips up to 2^33, takes 17 years to come here.
pub const LSN_MAX: u64 = 1 << 62;
/// Highest number of segments, checkpoints, and generations of the superblock.
pub const NUMBER_MAX: u64 = 1 << 62;
/// Highest count of opens, the high half of a life number.
pub const LIFE_COUNT_MAX: u64 = 1 << 31;
/// No record expires later, in ms since 1970: year 142,000,000.
pub const EXPIRES_MS_MAX: u64 = 1 << 62;
/// Longest key. In a table but the default one it is 8 bytes shorter, and a key that begins with
/// `ff` takes a byte more.
pub const KEY_BYTES_MAX: usize = 65_535;
/// Longest value: 1 GiB - 4 KiB.
pub const VALUE_BYTES_MAX: usize = (1 << 30) - 4096;
/// No group is longer: it holds one value of the longest, or less.
pub const GROUP_BYTES_MAX: u64 = 2 << 30;

// The headers have 16 bits for the length of a key and 32 for that of a value.
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(VALUE_BYTES_MAX <= u32::MAX as usize);
// The smallest segment has enough of the smallest blocks.
const _: () = assert!(*SEGMENT_BYTES.start() / *BLOCK_BYTES.start() as u64 >= SEGMENT_BLOCKS_MIN);
const _: () = assert!(*BLOCK_BYTES.start() as u64 <= *CHUNK_BYTES.start());
// Sums of two such numbers do not overflow.
const _: () = assert!(LSN_MAX.checked_add(LSN_MAX).is_some());
const _: () = assert!(NUMBER_MAX.checked_add(NUMBER_MAX).is_some());
const _: () = assert!(ADDRESS_MAX.checked_add(*CHUNK_BYTES.end()).is_some());
