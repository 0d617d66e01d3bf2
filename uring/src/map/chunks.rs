//! [`Chunks`]: which place of the file each chunk has, and how much of it is published.
//!
//! A chunk is a number that is used once; a place is a part of the file that a chunk fits into.
//! Addresses name chunks, so an old one finds nothing when its chunk is gone, and never another
//! chunk's bytes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::options::MapOptions;
use crate::error::invalid_input;

/// Chunks are at least this large, so that there are few.
pub(super) const CHUNK_BYTES_MIN: u64 = 64 << 10;
/// And at most this large: how much of one is published is a number of 32 bits.
const CHUNK_BYTES_MAX: u64 = 1 << 30;
/// Places of a map at most: 128 MiB of address space for their owners, memory only for those of
/// used ones.
const PLACE_COUNT_MAX: u64 = 1 << 24;
/// Address space of a map at most, half of what a process has.
const RESERVE_BYTES_MAX: u64 = 1 << 46;

/// Chunks of one map are numbered within so many of each other.
pub const CHUNK_SPAN: u64 = 1 << SPAN_BITS;
const SPAN_BITS: u32 = 22;
const SLOT_COUNT: usize = 1 << SPAN_BITS;
const SLOT_MASK: u64 = CHUNK_SPAN - 1;

const _: () = assert!(CHUNK_BYTES_MAX <= u32::MAX as u64);
const _: () = assert!(PLACE_COUNT_MAX <= u32::MAX as u64);

/// A chunk that a map begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedChunk {
    /// Its number.
    pub number: u64,
    /// The place of the file that it has, counted from 0.
    pub place: u64,
    /// Bytes from its start that are readable.
    pub published_bytes: u64,
}

/// What readers look up, in one line of memory.
#[derive(Debug)]
#[repr(align(16))]
struct Slot {
    /// The number of the chunk plus one; 0: none.
    tag: AtomicU64,
    place: AtomicU32,
    published_bytes: AtomicU32,
}

/// Where published bytes of a chunk lie.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// Offset of the chunk in the file.
    pub start: u64,
    pub published_bytes: u64,
}

/// The slots of all chunks, for readers to keep: that of a chunk is found by its number.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    chunk_shift: u32,
    /// The bits of an address that are its offset in the chunk.
    offset_mask: u64,
    slots: Arc<[Slot; SLOT_COUNT]>,
}

impl Slots {
    #[inline]
    fn slot(&self, number: u64) -> &Slot {
        &self.slots[(number & SLOT_MASK) as usize]
    }

    /// The chunk that `address` lies in, if it is open.
    #[inline]
    pub fn find(&self, address: u64) -> Option<Found> {
        let number = address >> self.chunk_shift;
        let slot = self.slot(number);
        if slot.tag.load(Ordering::Acquire) != number + 1 {
            return None;
        }
        // Stored before the tag.
        let start = u64::from(slot.place.load(Ordering::Relaxed)) << self.chunk_shift;
        let published_bytes = slot.published_bytes.load(Ordering::Acquire).into();
        Some(Found { start, published_bytes })
    }

    /// The offset of `address` in its chunk.
    #[inline]
    pub fn offset(&self, address: u64) -> u64 {
        address & self.offset_mask
    }

    pub fn chunk_shift(&self) -> u32 {
        self.chunk_shift
    }

    pub fn chunk_bytes(&self) -> u64 {
        1 << self.chunk_shift
    }
}

/// Which place each chunk has, and how much of it is published.
#[derive(Debug)]
pub struct Chunks {
    slots: Slots,
    /// By place: the number of its chunk plus one; 0: none.
    owners: Box<[AtomicU64]>,
}

impl Chunks {
    pub(super) fn new(options: &MapOptions, chunks: &[MappedChunk]) -> io::Result<Self> {
        let MapOptions { reserve_bytes, chunk_bytes, file_bytes, .. } = *options;
        let sizes = CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX;
        if !chunk_bytes.is_power_of_two() || !sizes.contains(&chunk_bytes) {
            return Err(invalid_input(format!("chunks of {chunk_bytes} bytes")));
        }
        let place_count = reserve_bytes.div_ceil(chunk_bytes);
        if reserve_bytes == 0 || reserve_bytes > RESERVE_BYTES_MAX || place_count > PLACE_COUNT_MAX
        {
            return Err(invalid_input(format!(
                "a map of {reserve_bytes} bytes in chunks of {chunk_bytes}"
            )));
        }
        if file_bytes > reserve_bytes {
            return Err(invalid_input(format!(
                "a file of {file_bytes} bytes in a map of {reserve_bytes}"
            )));
        }
        // Zeroed memory of this size comes from the kernel, which takes a page of its own for it
        // only when the page is written: chunks that are not there cost nothing.
        let slots = Arc::<[Slot; SLOT_COUNT]>::new_zeroed();
        // SAFETY: all bytes are zero, which are valid atomics.
        let slots = unsafe { slots.assume_init() };
        let owners = Box::<[AtomicU64]>::new_zeroed_slice(place_count as usize);
        // SAFETY: all bytes are zero, which is a valid `AtomicU64`.
        let owners = unsafe { owners.assume_init() };
        let (chunk_shift, offset_mask) = (chunk_bytes.trailing_zeros(), chunk_bytes - 1);
        let slots = Slots { chunk_shift, offset_mask, slots };
        let all = Self { slots, owners };
        for chunk in chunks {
            all.begin_with(chunk, file_bytes)?;
        }
        Ok(all)
    }

    fn begin_with(&self, chunk: &MappedChunk, file_bytes: u64) -> io::Result<()> {
        let &MappedChunk { number, place, published_bytes } = chunk;
        let start = place.checked_mul(self.chunk_bytes());
        let end = start.and_then(|start| start.checked_add(published_bytes));
        if published_bytes > self.chunk_bytes()
            || end.is_none_or(|end| published_bytes > 0 && end > file_bytes)
        {
            return Err(invalid_input(format!(
                "chunk {number} in place {place} cannot have {published_bytes} readable bytes: \
                 the file ends at {file_bytes}, chunks are {} long",
                self.chunk_bytes()
            )));
        }
        if !self.can_open(number, place) {
            return Err(invalid_input(format!("chunk {number} cannot have place {place}")));
        }
        let is_new = self.open(number, place);
        assert!(is_new, "it can be opened");
        self.publish(number, published_bytes);
        Ok(())
    }

    fn can_open(&self, number: u64, place: u64) -> bool {
        let owner = usize::try_from(place).ok().and_then(|place| self.owners.get(place));
        number < u64::MAX >> self.chunk_shift()
            && owner.is_some_and(|owner| owner.load(Ordering::Relaxed) == 0)
            && self.slots.slot(number).tag.load(Ordering::Relaxed) == 0
    }

    /// Gives `number` its place. No chunk within [`CHUNK_SPAN`] of it has its slot, and no other
    /// the place. False if it has the place already.
    pub(super) fn open(&self, number: u64, place: u64) -> bool {
        if self.owner(place) == Some(number) {
            return false;
        }
        assert!(self.can_open(number, place), "chunk {number} or place {place} is taken");
        let slot = self.slots.slot(number);
        slot.place.store(place as u32, Ordering::Relaxed);
        slot.published_bytes.store(0, Ordering::Relaxed);
        self.owners[place as usize].store(number + 1, Ordering::Relaxed);
        slot.tag.store(number + 1, Ordering::Release);
        true
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    fn chunk_shift(&self) -> u32 {
        self.slots.chunk_shift
    }

    /// How many chunks the map has room for.
    pub fn place_count(&self) -> usize {
        self.owners.len()
    }

    /// Size of a chunk.
    pub fn chunk_bytes(&self) -> u64 {
        self.slots.chunk_bytes()
    }

    /// Number of the chunk that has `place`.
    pub fn owner(&self, place: u64) -> Option<u64> {
        let owner = self.owners.get(usize::try_from(place).ok()?)?;
        owner.load(Ordering::Acquire).checked_sub(1)
    }

    /// Published bytes of the chunk that has `place`, from its start; 0 if none has it.
    pub fn published_bytes(&self, place: u64) -> u64 {
        let owner =
            self.owner(place).and_then(|number| self.slots.find(number << self.chunk_shift()));
        owner.map_or(0, |found| found.published_bytes)
    }

    /// The appender has completed the first `bytes` bytes of chunk `number`.
    pub(super) fn publish(&self, number: u64, bytes: u64) {
        assert!(bytes <= self.chunk_bytes(), "a watermark lies in its chunk");
        let slot = self.slots.slot(number);
        assert!(slot.tag.load(Ordering::Relaxed) == number + 1, "the chunk is open");
        let before = slot.published_bytes.load(Ordering::Relaxed);
        assert!(bytes >= before.into(), "watermarks only grow");
        slot.published_bytes.store(bytes as u32, Ordering::Release);
    }

    /// Whether any byte of the range of the file is published.
    pub fn intersects(&self, offset: u64, len: u64) -> bool {
        if len == 0 {
            return false;
        }
        let end = offset.saturating_add(len);
        let first = offset >> self.chunk_shift();
        let last = ((end - 1) >> self.chunk_shift()).min(self.place_count() as u64 - 1);
        (first..=last).any(|place| {
            let start = place << self.chunk_shift();
            // Published bytes begin with the chunk, so the range meets them if its part of the
            // chunk starts below the watermark.
            offset.max(start) < start + self.published_bytes(place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = CHUNK_BYTES_MIN;

    fn options() -> MapOptions {
        MapOptions {
            reserve_bytes: 3 * CHUNK,
            chunk_bytes: CHUNK,
            file_bytes: 3 * CHUNK,
            writable: true,
            huge_pages: false,
            prefaults: false,
        }
    }

    fn chunk(number: u64, place: u64, published_bytes: u64) -> MappedChunk {
        MappedChunk { number, place, published_bytes }
    }

    #[test]
    fn intersections_with_published_bytes() {
        let chunks = [chunk(70, 1, CHUNK), chunk(7, 0, 10), chunk(8, 2, 0)];
        let chunks = Chunks::new(&options(), &chunks).unwrap();
        for (offset, len, expected) in [
            (0, 1, true),
            (9, 1, true),
            (10, 1, false),
            (10, 0, false),
            (10, CHUNK, true),
            (2 * CHUNK - 1, 1, true),
            (2 * CHUNK, CHUNK, false),
            (9 * CHUNK, CHUNK, false),
            (0, u64::MAX, true),
        ] {
            assert_eq!(chunks.intersects(offset, len), expected, "{offset} {len}");
        }
        assert_eq!(chunks.owner(1), Some(70));
        assert_eq!(chunks.owner(3), None);
    }

    #[test]
    fn a_number_is_found_in_its_place_and_no_other_is() {
        let all = Chunks::new(&options(), &[chunk(5, 2, 10)]).unwrap();
        let found = all.slots().find(5 * CHUNK + 17).unwrap();
        assert_eq!((found.start, found.published_bytes), (2 * CHUNK, 10));
        for number in [0, 4, 6, 5 + CHUNK_SPAN, 5 + 7 * CHUNK_SPAN] {
            assert!(all.slots().find(number * CHUNK).is_none(), "{number}");
        }
        assert!(all.open(CHUNK_SPAN + 4, 0));
        assert!(!all.open(CHUNK_SPAN + 4, 0), "it is open");
        all.publish(CHUNK_SPAN + 4, 3);
        assert_eq!(all.slots().find((CHUNK_SPAN + 4) * CHUNK).unwrap().published_bytes, 3);
        assert!(all.slots().find(4 * CHUNK).is_none());
        assert!(all.slots().find(u64::MAX).is_none());
    }

    #[test]
    fn chunks_that_cannot_be_are_refused() {
        for impossible in [
            &[chunk(1, 0, CHUNK + 1)][..],
            &[chunk(1, 3, 0)],
            &[chunk(1, u64::MAX, 1)],
            &[chunk(1, 0, 1), chunk(1, 1, 1)],
            &[chunk(1, 0, 1), chunk(2, 0, 1)],
            &[chunk(1, 0, 1), chunk(1 + CHUNK_SPAN, 1, 1)],
            &[chunk(u64::MAX, 0, 1)],
        ] {
            let error = Chunks::new(&options(), impossible).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{impossible:?}");
        }
    }

    #[test]
    #[should_panic(expected = "watermarks only grow")]
    fn a_watermark_never_falls() {
        let chunks = Chunks::new(&options(), &[chunk(0, 0, 10)]).unwrap();
        chunks.publish(0, 11);
        chunks.publish(0, 10);
    }

    #[test]
    #[should_panic(expected = "is taken")]
    fn a_place_has_one_chunk() {
        let chunks = Chunks::new(&options(), &[chunk(0, 1, 10)]).unwrap();
        chunks.open(1, 1);
    }
}
