//! Room of the data file: allocated before records need it, in memory before they are written, on
//! its way to the device before a checkpoint waits for it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use uarr_layout::geometry::PAGE_BYTES;
use uarr_uring::{Append, DataMap, DataMapWriter, StorageFile};

use crate::data::applier::Applier;
use crate::data::store::RecordStore;
use crate::data::stream::{STREAM_COUNT, Stream};
use crate::error::{Error, ErrorKind, Result, attempted};
use crate::limits::{
    MOVE_BYTES_MAX, PREFAULT_AHEAD_BYTES_MAX, PREFAULT_AHEAD_BYTES_MIN, PREFAULT_STEP_BYTES,
};
use crate::sync::{Ranked, lock};

/// The data file grows ahead of its records by this part of what chunks take, by at most so many
/// bytes, or by half a chunk if that is more.
const GROWTH_AHEAD_SHARE: u64 = 16;
const GROWTH_AHEAD_BYTES_MAX: u64 = 32 << 20;

/// Written pages are handed to the device in steps of this size, which bounds what a commit waits
/// behind and what a checkpoint flushes. A page of the kernel's cache may be as large: a part of it
/// would be written with the rest, and again.
const WRITE_BACK_STEP_BYTES: u64 = 2 << 20;
/// Of copies only the blocks are dirty that they were written to, whatever the size of the page.
const COPIES_STEP_BYTES: u64 = 1 << 20;

// The pages that are handed to the device, or brought in, are whole.
const _: () = assert!(WRITE_BACK_STEP_BYTES.is_multiple_of(PAGE_BYTES));
const _: () = assert!(COPIES_STEP_BYTES.is_multiple_of(PAGE_BYTES));
const _: () = assert!(PREFAULT_STEP_BYTES.is_multiple_of(PAGE_BYTES));
// A large file is there before its pages are brought in.
const _: () = assert!(2 * PREFAULT_AHEAD_BYTES_MAX <= GROWTH_AHEAD_BYTES_MAX);

/// The data file as a file.
pub(crate) struct DataSpace<F> {
    file: F,
    chunk_bytes: u64,
    /// Address space that was asked for.
    asked_bytes: u64,
    /// Address space of the map.
    reserved_bytes: u64,
    /// The file is in memory from the tail up to here, unless the tail has gone elsewhere.
    prefaulted: AtomicU64,
    /// What lies there had no space when the keeper looked.
    prefault_lacks_space: AtomicBool,
    /// Bytes before this, in its place, were handed to the device.
    written_back: AtomicU64,
    /// The same of what the mover copies.
    copies_written_back: [AtomicU64; STREAM_COUNT],
    copies_prefaulted: [AtomicU64; STREAM_COUNT],
}

/// Address space of the data file's map.
#[derive(Clone, Copy)]
pub(crate) struct AddressSpace {
    pub asked_bytes: u64,
    pub reserved_bytes: u64,
}

impl<F: StorageFile> DataSpace<F> {
    /// The file whose records end at `tail`.
    pub fn new(file: F, chunk_bytes: u64, space: AddressSpace, tail: u64) -> Self {
        let AddressSpace { asked_bytes, reserved_bytes } = space;
        assert!(reserved_bytes <= asked_bytes, "no more is reserved than was asked for");
        assert!(tail <= reserved_bytes, "all records can be mapped");
        let (prefaulted, written_back) = (AtomicU64::new(tail), AtomicU64::new(tail));
        let (copies_written_back, copies_prefaulted) = Default::default();
        Self {
            file,
            chunk_bytes,
            asked_bytes,
            reserved_bytes,
            prefaulted,
            prefault_lacks_space: AtomicBool::new(false),
            written_back,
            copies_written_back,
            copies_prefaulted,
        }
    }

    /// Address space of the map.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    /// Gives `places` space of their own, and makes the file long enough. One caller at a time.
    pub fn allocate<W: DataMapWriter>(
        &self,
        places: Range<u64>,
        applier: &Ranked<Applier<W>>,
    ) -> Result<()> {
        let range = places.start * self.chunk_bytes..places.end * self.chunk_bytes;
        if range.end > self.reserved_bytes {
            return Err(self.address_space_ends(range.end));
        }
        // The slow part without the appender's lock; doing it again is quick.
        self.file
            .allocate(range.start, range.end - range.start)
            .and_then(|()| lock(applier).appender.allocate(places))
            .map_err(|error| Error::io("cannot extend the data file", error))?;
        self.prefault_lacks_space.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// How many bytes of `places` have no space of their own, as far as the file system says.
    pub fn missing_bytes(&self, places: &Range<u64>) -> u64 {
        let start = places.start * self.chunk_bytes;
        let bytes = (places.end - places.start) * self.chunk_bytes;
        self.file.missing_bytes(start, bytes).unwrap_or(bytes)
    }

    /// How many places get space, and give it back, at once.
    pub fn unit_count(&self) -> u64 {
        (self.file.space_unit_bytes() / self.chunk_bytes).max(1)
    }

    #[cold]
    fn address_space_ends(&self, target: u64) -> Error {
        let asked = self.asked_bytes;
        let message = match self.reserved_bytes {
            reserved if reserved < asked => format!(
                "the data file would grow to {target} bytes, but only {reserved} bytes of address \
                 space were free when it was opened; raise the limit of the process \
                 (ulimit -v) and open it again"
            ),
            _ => format!(
                "the data file would grow to {target} bytes, but address_space_bytes is {asked}; \
                 open the database with a larger value"
            ),
        };
        Error::new(ErrorKind::NoSpace, message)
    }

    /// Bytes that should be there for records before they need them.
    pub fn room_ahead(&self, taken_bytes: u64) -> u64 {
        // Small databases stay small; large ones do not wait for the file system at each chunk.
        (self.chunk_bytes / 2).max((taken_bytes / GROWTH_AHEAD_SHARE).min(GROWTH_AHEAD_BYTES_MAX))
    }

    /// How many places the address space has.
    pub fn place_count(&self) -> u64 {
        self.reserved_bytes / self.chunk_bytes
    }

    /// Whether pages behind `tail` should be brought into memory, and can be.
    pub fn needs_prefault(&self, tail: u64) -> bool {
        let prefaulted = self.prefaulted.load(Ordering::Relaxed);
        let ahead = prefault_ahead_bytes(tail);
        let has_gone_elsewhere = !(tail..=tail + 2 * ahead).contains(&prefaulted);
        let is_short = prefaulted < tail + ahead;
        has_gone_elsewhere || is_short && !self.prefault_lacks_space.load(Ordering::Relaxed)
    }

    /// Brings the next pages behind `tail` into memory. `false`: they are there, or have no space
    /// yet. One caller at a time.
    pub fn prefault_ahead<M: DataMap>(&self, tail: u64, store: &RecordStore<M>) -> bool {
        let done = self.prefaulted.load(Ordering::Relaxed);
        let ahead = tail..=tail + 2 * prefault_ahead_bytes(tail);
        // A chunk may lie anywhere in the file.
        let done = if ahead.contains(&done) { done } else { tail };
        let end = (done + 1).next_multiple_of(PREFAULT_STEP_BYTES);
        let step = if end <= *ahead.end() { end - done } else { 0 };
        // First: who allocates meanwhile takes it back.
        self.prefault_lacks_space.store(true, Ordering::Relaxed);
        let got = store.prefault(done, step, Append::Stored);
        assert!(got <= step, "no more is brought in than was asked for");
        self.prefaulted.store(done + got, Ordering::Relaxed);
        if got == step {
            self.prefault_lacks_space.store(false, Ordering::Relaxed);
        }
        got > 0
    }

    /// Hands written pages to the device: of the chunk that `tail` lies in, and what is left of the
    /// one before. It promises nothing and takes no error away: one of these pages comes out at the
    /// next flush, which is final. `false`: there are too few. One caller at a time.
    pub fn write_back(&self, tail: u64) -> Result<bool> {
        let start = self.written_back.load(Ordering::Relaxed);
        let place_start = |offset: u64| offset / self.chunk_bytes * self.chunk_bytes;
        let (end, next) = if place_start(start) == place_start(tail) {
            let end = whole_steps(tail, WRITE_BACK_STEP_BYTES);
            (end, end)
        } else {
            (place_start(start) + self.chunk_bytes, place_start(tail))
        };
        if end <= start {
            return Ok(false);
        }
        self.file
            .start_write_back(start, end - start)
            .map_err(|error| Error::io("cannot write back the data file", error))?;
        self.written_back.store(next, Ordering::Relaxed);
        Ok(true)
    }

    /// Brings the pages into memory that the next copies of `stream` go to: what its chunk, which
    /// lies in `place`, has behind `offset`. One caller at a time.
    pub fn prefault_copies<M: DataMap>(
        &self,
        stream: Stream,
        place: u64,
        offset: u64,
        store: &RecordStore<M>,
    ) {
        assert!(offset <= self.chunk_bytes, "a chunk ends at its end");
        let place_end = (place + 1) * self.chunk_bytes;
        let tail = place * self.chunk_bytes + offset;
        let needed = (tail + MOVE_BYTES_MAX as u64).min(place_end);
        let ahead = needed.next_multiple_of(PREFAULT_STEP_BYTES).min(place_end);
        let prefaulted = &self.copies_prefaulted[stream as usize];
        // Anything else is of a chunk before.
        if !(needed..=ahead).contains(&prefaulted.load(Ordering::Relaxed)) {
            store.prefault(tail, ahead - tail, Append::Written);
            prefaulted.store(ahead, Ordering::Relaxed);
        }
    }

    /// Brings copies of `stream`, whose chunk lies in `place` and ends at `offset` of it so far, to
    /// the device, and waits: about a step of them is in front of a commit there. Errors are
    /// final. One caller at a time.
    pub fn write_copies_back(&self, stream: Stream, place: u64, offset: u64) -> Result<()> {
        assert!(offset <= self.chunk_bytes, "a chunk ends at its end");
        let place_start = place * self.chunk_bytes;
        let written_back = &self.copies_written_back[stream as usize];
        let done = written_back.load(Ordering::Relaxed);
        // Anything else is of a chunk before, which may have had the same place.
        let is_begun = (place_start..=place_start + offset).contains(&done);
        let start = if is_begun { done } else { place_start };
        let end = match offset == self.chunk_bytes {
            true => place_start + offset,
            false => whole_steps(place_start + offset, COPIES_STEP_BYTES),
        };
        if start < end {
            self.file
                .write_back(start, end - start)
                .map_err(attempted)
                .map_err(|error| Error::io("cannot write back the data file", error))?;
            written_back.store(end, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes the file durable. The error is final: what the device holds is unknown then.
    pub fn make_durable(&self) -> Result<()> {
        let failed = |error| Error::io("cannot make the data file durable", error);
        self.file.make_durable().map_err(attempted).map_err(failed)
    }
}

/// The background prefaults when fewer than so many bytes ahead of `tail` are in memory, until it
/// is twice as much: a small database takes little memory, and little that has to be written back.
fn prefault_ahead_bytes(tail: u64) -> u64 {
    tail.clamp(PREFAULT_AHEAD_BYTES_MIN, PREFAULT_AHEAD_BYTES_MAX)
}

/// The end of the last step that is whole at `offset` of the file.
fn whole_steps(offset: u64, step_bytes: u64) -> u64 {
    offset / step_bytes * step_bytes
}

#[cfg(test)]
mod tests {
    use uarr_disk_sim::Memory;

    use super::*;
    use crate::recovery::open::open_small;

    /// Pages of places without space once passed for pages in memory: writers took the faults.
    #[test]
    fn what_gets_space_later_is_brought_in_then() {
        let core = open_small(Memory::new()).unwrap();
        let (space, store) = (&core.records().space, &core.records().store);
        let chunk_bytes = core.records().chunk_bytes();
        let prefault = || {
            while space.prefault_ahead(0, store) {}
            space.prefaulted.load(Ordering::Relaxed)
        };
        assert_eq!(prefault(), core.stats().data_allocated_bytes);
        for place_count in [2, 5] {
            core.committer.allocate_ahead(0..place_count).unwrap();
            assert!(space.needs_prefault(0), "of {place_count} places more can be brought in");
            assert_eq!(prefault(), place_count * chunk_bytes);
            assert!(!space.needs_prefault(0), "the next place has no space");
        }
    }
}
