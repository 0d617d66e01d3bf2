//! Limits that bind more than one file of the engine, and how they depend on each other.

use uarr_layout::geometry::{
    CHUNK_HEADER_BYTES, FRAME_HEADER_BYTES, GROUP_HEADER_BYTES, RECORD_HEADER_BYTES,
    WIDE_VALUE_BYTES, record_bytes,
};
use uarr_layout::limits::{
    BLOCK_BYTES, CHUNK_BYTES, DATA_BYTES_MAX, GROUP_BYTES_MAX, LSN_MAX, NUMBER_MAX, SEGMENT_BYTES,
};

use crate::error::{Error, Result};

pub use uarr_layout::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Groups handed to the device and not settled, at most.
pub(crate) const GROUPS_IN_FLIGHT_MAX: usize = 4;
/// Buffers of groups: four at the device, one being filled, three in between.
pub(crate) const BUFFER_COUNT: usize = 8;
/// Most bytes of keys and values that one batch may hold.
pub const BATCH_BYTES_MAX: usize = 1 << 30;
/// Most keys that the index is asked for at once: as many as have their cache misses overlap.
pub(crate) const TOGETHER_MAX: usize = uarr_index::LOOKUPS_TOGETHER;
/// Records that are copied under the lock of the one writer, and bytes of these, unless one has
/// more: what a commit may have to wait for.
pub(crate) const MOVE_COUNT_MAX: usize = 16;
pub(crate) const MOVE_BYTES_MAX: usize = 64 << 10;
/// Records of a chunk that are looked at in one step of the mover.
pub(crate) const MOVE_LOOK_COUNT_MAX: usize = 1024;
/// The background prefaults when fewer bytes ahead of the tail are in memory: in a small file as
/// many as there are before it, within these bounds.
pub(crate) const PREFAULT_AHEAD_BYTES_MIN: u64 = 1 << 20;
pub(crate) const PREFAULT_AHEAD_BYTES_MAX: u64 = 8 << 20;
/// Bytes brought into memory at once, before the keeper looks at its other jobs.
pub(crate) const PREFAULT_STEP_BYTES: u64 = 256 << 10;
/// After a crash LSNs go on at the next multiple of this: more than can ever be in flight.
pub(crate) const LSN_SKIP: u64 = 1 << 32;
/// A database is opened only if so many LSNs and numbers of segments and images are left: more than
/// one open can give out.
pub(crate) const NUMBERS_LEFT_MIN: u64 = 1 << 48;
/// Holes of a file are looked for at multiples of this.
pub(crate) const HOLE_BYTES: u64 = 1 << 20;
/// Reports list at most this many damages; the first ones are enough to act on.
pub(crate) const DAMAGE_COUNT_MAX: usize = 1000;
/// Address space that a database reserves at the least.
pub(crate) const ADDRESS_SPACE_BYTES_MIN: u64 = 1 << 26;
/// Chunks of a data file at most.
pub(crate) const CHUNK_COUNT_MAX: u64 = 1 << 24;
/// More than the record of a frame takes in a chunk beside its key and value: header, alignment of
/// record, key and value, and the chunk's own header.
pub(crate) const RECORD_OVERHEAD_BYTES_MAX: usize = 320;

// Each in-flight group has a buffer, and while as many wait the next is being filled.
const _: () = assert!(BUFFER_COUNT == 2 * GROUPS_IN_FLIGHT_MAX);
// A batch of the largest size, or a record of the longest key and value, is one group.
const _: () = assert!(
    GROUP_BYTES_MAX >= (BATCH_BYTES_MAX + 2 * FRAME_HEADER_BYTES + GROUP_HEADER_BYTES) as u64
);
const _: () = assert!(
    GROUP_BYTES_MAX
        >= (KEY_BYTES_MAX + VALUE_BYTES_MAX + 2 * FRAME_HEADER_BYTES + GROUP_HEADER_BYTES) as u64
);
// A key's length is stored in 16 bits.
const _: () = assert!(KEY_BYTES_MAX == u16::MAX as usize);
// Each LSN that is staged and not written takes a frame header of memory: more than LSN_SKIP of
// them would take 192 GiB, but groups are bounded by their buffers.
const _: () =
    assert!(LSN_SKIP * (FRAME_HEADER_BYTES as u64) > BUFFER_COUNT as u64 * GROUP_BYTES_MAX);
// The LSNs that are left hold a skip, and few of all are never given out.
const _: () = assert!(NUMBERS_LEFT_MIN > LSN_SKIP);
const _: () = assert!(NUMBERS_LEFT_MIN < LSN_MAX / 1024);
const _: () = assert!(NUMBERS_LEFT_MIN < NUMBER_MAX / 1024);
// What is promised for a record covers its worst case: a wide value behind the shortest key.
const _: () = assert!(
    record_bytes(1, WIDE_VALUE_BYTES) - 1 - WIDE_VALUE_BYTES + 63 + CHUNK_HEADER_BYTES as usize
        <= RECORD_OVERHEAD_BYTES_MAX
);
const _: () = assert!(
    RECORD_HEADER_BYTES + 15 + 63 + 63 + CHUNK_HEADER_BYTES as usize <= RECORD_OVERHEAD_BYTES_MAX
);
const _: () = assert!(PREFAULT_STEP_BYTES <= PREFAULT_AHEAD_BYTES_MIN);
const _: () = assert!(PREFAULT_AHEAD_BYTES_MIN <= PREFAULT_AHEAD_BYTES_MAX);
// A chunk of any size goes with the largest data file, and with the least address space.
const _: () = assert!(CHUNK_COUNT_MAX >= ADDRESS_SPACE_BYTES_MIN / *CHUNK_BYTES.start());
const _: () = assert!(DATA_BYTES_MAX / *CHUNK_BYTES.end() <= CHUNK_COUNT_MAX);
// A buffer of the smallest segment holds a block for its header and one for a group.
const _: () = assert!(*SEGMENT_BYTES.start() / BUFFER_COUNT as u64 >= 2 * 4096);
const _: () = assert!(HOLE_BYTES.is_multiple_of(*BLOCK_BYTES.end() as u64));

/// Checks a value's length.
pub(crate) fn check_value(value: &[u8]) -> Result<()> {
    match value.len() {
        0..=VALUE_BYTES_MAX => Ok(()),
        len => Err(Error::invalid(format!(
            "a value has at most {VALUE_BYTES_MAX} bytes, the given one has {len}"
        ))),
    }
}
