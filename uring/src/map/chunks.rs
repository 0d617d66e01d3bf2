//! [`Chunks`]: which place of the file each chunk has, and how much of it is published.
//!
//! A chunk is a number that is used once; a place is a part of the file that a chunk fits into.
//! Addresses name chunks, so an old one finds nothing when its chunk is gone, and never another
//! chunk's bytes.

use std::io;
use std::ops::Range;
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
    /// It holds more of what begins in the chunk before it, in number and place, and is closed with
    /// that one.
    pub continues: bool,
}

/// What readers look up, in one line of memory.
#[derive(Debug)]
#[repr(align(16))]
struct Slot {
    /// The number of the chunk plus one; 0: none; [`CLOSED`].
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
    /// By place: the number of its chunk plus one, with [`CONTINUES`] and the like; number 0: none.
    owners: Box<[AtomicU64]>,
}

/// Of an owner: the chunk is closed with the one before it.
const CONTINUES: u64 = 1 << 63;
/// Of an owner or a slot: the chunk is closed, and readers may still look at its bytes.
const CLOSED: u64 = 1 << 62;
/// Of an owner: another chunk had the place before.
const USED: u64 = 1 << 61;
/// Of an owner: the place has space of its own.
const ALLOCATED: u64 = 1 << 60;
/// Of an owner: the place has lost its space, and is allocated before it has a chunk.
const GIVEN_UP: u64 = 1 << 59;
/// Of an owner: what is true of the place, whichever chunk has it.
const OF_PLACE: u64 = USED | ALLOCATED | GIVEN_UP;
const NUMBER: u64 = GIVEN_UP - 1;

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
        expect_memory(size_of::<[Slot; SLOT_COUNT]>() + place_count as usize * size_of::<u64>())?;
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
        let &MappedChunk { number, place, published_bytes, continues } = chunk;
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
        let before = place.checked_sub(1).and_then(|before| self.owner(before));
        let fits = !continues || (before.is_some() && before == number.checked_sub(1));
        if !fits || !self.can_open(number, place) {
            return Err(invalid_input(format!("chunk {number} cannot have place {place}")));
        }
        self.open_one(number, place, continues);
        self.publish(number, published_bytes);
        Ok(())
    }

    fn can_open(&self, number: u64, place: u64) -> bool {
        let owner = usize::try_from(place).ok().and_then(|place| self.owners.get(place));
        number < u64::MAX >> self.chunk_shift()
            && owner.is_some_and(|owner| owner.load(Ordering::Relaxed) & !OF_PLACE == 0)
            && self.slots.slot(number).tag.load(Ordering::Relaxed) == 0
    }

    /// Gives `count` chunks from `number` on their places from `place` on; they are closed as one.
    /// No chunk within [`CHUNK_SPAN`] of them has their slots, and no other the places. False if
    /// they have the places already.
    pub(super) fn open(&self, number: u64, place: u64, count: u64) -> bool {
        if self.owner(place) == Some(number) {
            assert_eq!(self.run_len(place), count, "chunks are closed as they were opened");
            return false;
        }
        for index in 0..count {
            let (number, place) = (number + index, place + index);
            assert!(self.can_open(number, place), "chunk {number} or place {place} is taken");
            self.open_one(number, place, index > 0);
        }
        true
    }

    fn open_one(&self, number: u64, place: u64, continues: bool) {
        let slot = self.slots.slot(number);
        slot.place.store(place as u32, Ordering::Relaxed);
        slot.published_bytes.store(0, Ordering::Relaxed);
        let flags = if continues { CONTINUES } else { 0 };
        let of_place = self.owners[place as usize].load(Ordering::Relaxed) & OF_PLACE;
        self.owners[place as usize].store((number + 1) | flags | of_place, Ordering::Relaxed);
        slot.tag.store(number + 1, Ordering::Release);
    }

    /// How many chunks from `place` on were opened as one.
    fn run_len(&self, place: u64) -> u64 {
        let continues = |owner: &&AtomicU64| owner.load(Ordering::Relaxed) & CONTINUES != 0;
        1 + self.owners[place as usize + 1..].iter().take_while(continues).count() as u64
    }

    /// Readers find chunk `number`, and those that were opened with it, no more. Returns its
    /// places, which it keeps until [`Chunks::free`].
    pub(super) fn close(&self, number: u64) -> Range<u64> {
        let slot = self.slots.slot(number);
        assert!(slot.tag.load(Ordering::Relaxed) == number + 1, "chunk {number} is open");
        let place = u64::from(slot.place.load(Ordering::Relaxed));
        let places = place..place + self.run_len(place);
        for (number, place) in (number..).zip(places.clone()) {
            let owner = self.owners[place as usize].load(Ordering::Relaxed);
            assert_eq!(owner & NUMBER, number + 1, "one behind the other");
            assert_eq!(owner & CONTINUES != 0, place > places.start, "from the first on");
            self.owners[place as usize].store(owner | CLOSED, Ordering::Release);
            // No other chunk gets the slot while a reader may have found this one in it.
            self.slots.slot(number).tag.store(CLOSED, Ordering::Release);
        }
        places
    }

    /// No reader looks at the bytes of `places`, which a closed chunk had: others may have them.
    pub(super) fn free(&self, places: Range<u64>) {
        for place in places {
            let owner = self.owners[place as usize].load(Ordering::Relaxed);
            assert!(owner & CLOSED != 0, "a chunk is closed before its place is free");
            self.owners[place as usize].store(USED | owner & ALLOCATED, Ordering::Release);
            let slot = self.slots.slot((owner & NUMBER) - 1);
            assert_eq!(slot.tag.swap(0, Ordering::Release), CLOSED, "it has kept its slot");
        }
    }

    /// Whether `place` has space of its own.
    pub(super) fn is_allocated(&self, place: u64) -> bool {
        let owner = self.owners.get(place as usize).map_or(0, |o| o.load(Ordering::Relaxed));
        owner & ALLOCATED != 0
    }

    /// Whether the writer of the map has given the space of `place` back. Others that have no chunk
    /// may hold what only it knows of.
    pub(crate) fn is_given_up(&self, place: u64) -> bool {
        let owner = self.owners.get(place as usize).map_or(0, |o| o.load(Ordering::Acquire));
        owner == GIVEN_UP
    }

    /// The caller has made sure that `place` has space of its own.
    pub(super) fn note_allocated(&self, place: u64) {
        let owner = self.owners[place as usize].load(Ordering::Relaxed);
        assert!(owner & ALLOCATED == 0, "space is counted once");
        self.owners[place as usize].store((owner | ALLOCATED) & !GIVEN_UP, Ordering::Release);
    }

    /// From now on `place`, which no chunk has, is not relied on to have space, nor to have pages.
    pub(super) fn note_deallocated(&self, place: u64) {
        let owner = self.owners[place as usize].load(Ordering::Relaxed);
        assert!(owner & !OF_PLACE == 0, "a chunk needs the space of its place");
        self.owners[place as usize].store(GIVEN_UP, Ordering::Release);
    }

    /// From now on `place`, which a chunk has, is not relied on to have space for more than what is
    /// published. Returns whether it was.
    pub(super) fn note_rest_given_back(&self, place: u64) -> bool {
        let owner = self.owners[place as usize].load(Ordering::Relaxed);
        assert!(owner & !OF_PLACE != 0, "a place without a chunk has no rest");
        self.owners[place as usize].store(owner & !ALLOCATED, Ordering::Release);
        owner & ALLOCATED != 0
    }

    /// Whether the file has had bytes of another chunk in `place`.
    pub(super) fn is_used_again(&self, place: u64) -> bool {
        let owner = self.owners.get(place as usize).map_or(0, |o| o.load(Ordering::Relaxed));
        owner & USED != 0
    }

    /// Whether the chunks in `place` and the one behind were opened as one, and are open.
    pub(super) fn goes_on(&self, place: u64) -> bool {
        let next = self.owners.get(place as usize + 1).map_or(0, |o| o.load(Ordering::Acquire));
        next & (CONTINUES | CLOSED) == CONTINUES
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

    /// Number of the open chunk that has `place`.
    pub fn owner(&self, place: u64) -> Option<u64> {
        let owner = self.owners.get(usize::try_from(place).ok()?)?.load(Ordering::Acquire);
        if owner & CLOSED == 0 { (owner & NUMBER).checked_sub(1) } else { None }
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

    /// Whether readers may look at any byte of the range of the file.
    pub fn intersects(&self, offset: u64, len: u64) -> bool {
        if len == 0 {
            return false;
        }
        let end = offset.saturating_add(len);
        let first = offset >> self.chunk_shift();
        let last = ((end - 1) >> self.chunk_shift()).min(self.place_count() as u64 - 1);
        (first..=last).any(|place| {
            if self.owners[place as usize].load(Ordering::Acquire) & CLOSED != 0 {
                return true;
            }
            let start = place << self.chunk_shift();
            // Published bytes begin with the chunk, so the range meets them if its part of the
            // chunk starts below the watermark.
            offset.max(start) < start + self.published_bytes(place)
        })
    }
}

/// An error in place of the end of the process, as far as that can be known, if the limit of its
/// address space leaves no `bytes`.
fn expect_memory(bytes: usize) -> io::Result<()> {
    let reserved = Vec::<u8>::new().try_reserve_exact(bytes);
    reserved.map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))
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
        MappedChunk { number, place, published_bytes, continues: false }
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
        assert!(all.open(CHUNK_SPAN + 4, 0, 1));
        assert!(!all.open(CHUNK_SPAN + 4, 0, 1), "it is open");
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
        chunks.open(1, 1, 1);
    }

    #[test]
    fn a_closed_chunk_is_not_found_and_keeps_its_places_and_slots_until_they_are_free() {
        let all = Chunks::new(&options(), &[chunk(3, 0, 10)]).unwrap();
        assert!(all.open(7, 1, 2));
        assert!(all.goes_on(1) && !all.goes_on(0) && !all.goes_on(2));
        assert_eq!(all.close(7), 1..3);
        for number in [7, 8] {
            assert!(all.slots().find(number * CHUNK).is_none());
            assert!(!all.can_open(number + CHUNK_SPAN, 1), "its place is not free");
        }
        assert!(!all.goes_on(1));
        assert!(
            all.intersects(CHUNK, 1) && all.intersects(3 * CHUNK - 1, 1),
            "readers may be there"
        );
        assert!(!all.is_used_again(1));
        all.free(1..3);
        assert!(!all.intersects(CHUNK, 2 * CHUNK) && all.owner(1).is_none());
        assert!(all.open(7 + CHUNK_SPAN, 2, 1));
        assert!(all.open(9, 1, 1) && all.owner(1) == Some(9) && all.is_used_again(1));
        assert_eq!(all.close(9), 1..2, "the next chunk is one of its own");
    }

    #[test]
    #[should_panic(expected = "closed before its place is free")]
    fn the_place_of_an_open_chunk_is_not_free() {
        let all = Chunks::new(&options(), &[chunk(3, 0, 10)]).unwrap();
        all.free(0..1);
    }
}
