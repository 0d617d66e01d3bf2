//! [`Mapping`]: the address space of a mapped file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::chunks::{Chunks, MappedChunk};
use super::hold::end_holds;
use super::options::MapOptions;
use crate::buffer::PAGE_BYTES;
use crate::error::invalid_input;
use crate::storage::Append;

/// The address space, alive as long as a reader or the writer is; and so are its chunks.
#[derive(Debug)]
pub(super) struct Mapping {
    memory: MmapRaw,
    /// Places that have space of their own.
    allocated_count: AtomicU64,
    chunks: Arc<Chunks>,
    prefaults: bool,
}

/// The first byte of a mapping, kept beside it to spare readers one memory access.
#[derive(Clone, Copy)]
pub(super) struct Base(pub *mut u8);

// SAFETY: a plain address of memory that is not tied to a thread; the holder of a `Base` holds the
// mapping too.
unsafe impl Send for Base {}
// SAFETY: as above; the holders decide what may be done at the address.
unsafe impl Sync for Base {}

impl Drop for Mapping {
    fn drop(&mut self) {
        end_holds(self.memory.as_ptr(), self.memory.len());
    }
}

impl Mapping {
    /// Maps `file`, which has `chunks` at birth.
    pub fn new(file: &File, options: MapOptions, chunks: &[MappedChunk]) -> io::Result<Self> {
        let chunks = Arc::new(Chunks::new(&options, chunks)?);
        let reserve_len = usize::try_from(options.reserve_bytes)
            .map_err(|_| invalid_input("a map larger than the address space"))?;
        let mut request = MmapOptions::new();
        request.len(reserve_len);
        let memory = match options.writable {
            true => request.map_raw(file)?,
            false => request.map_raw_read_only(file)?,
        };
        // A cold fault with read-ahead costs many times one without; readers jump about.
        memory.advise(Advice::Random)?;
        if options.huge_pages {
            // Only a wish: kernels without file-backed huge pages refuse it.
            let _ = memory.advise(Advice::HugePage);
        }
        let allocated_count = AtomicU64::new(0);
        let prefaults = options.prefaults && options.writable;
        Ok(Self { memory, allocated_count, chunks, prefaults })
    }

    pub fn chunks(&self) -> &Arc<Chunks> {
        &self.chunks
    }

    pub fn base(&self) -> Base {
        Base(self.memory.as_mut_ptr())
    }

    pub fn reserve_bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_count.load(Ordering::Relaxed) * self.chunks.chunk_bytes()
    }

    /// The appender has made sure that `places` have space of their own.
    pub fn note_allocated(&self, places: Range<u64>) {
        let is_new = |place: &u64| !self.chunks.is_allocated(*place);
        let count = places.filter(is_new).map(|place| self.chunks.note_allocated(place)).count();
        self.allocated_count.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// `places`, which no chunk has, are about to lose their space.
    pub fn note_deallocated(&self, places: Range<u64>) {
        let has_space = |place: &u64| self.chunks.is_allocated(*place);
        let count = places.clone().filter(has_space).count();
        places.for_each(|place| self.chunks.note_deallocated(place));
        self.allocated_count.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// What the chunk in `place` has not published is about to lose its space.
    pub fn note_rest_given_back(&self, place: u64) {
        let had_space = self.chunks.note_rest_given_back(place);
        self.allocated_count.fetch_sub(u64::from(had_space), Ordering::Relaxed);
    }

    /// In debug builds, a read of `places`, which belong to no chunk, is found out at once.
    pub fn make_inaccessible(&self, places: Range<u64>) {
        if cfg!(debug_assertions) {
            self.protect(places, libc::PROT_NONE);
        }
    }

    /// The opposite of [`Mapping::make_inaccessible`], before a chunk is opened in them.
    pub fn make_accessible(&self, places: Range<u64>) {
        if cfg!(debug_assertions) {
            self.protect(places, libc::PROT_READ | libc::PROT_WRITE);
        }
    }

    fn protect(&self, places: Range<u64>, protection: libc::c_int) {
        let chunk_bytes = self.chunks.chunk_bytes();
        let start = places.start * chunk_bytes;
        let end = (places.end * chunk_bytes).min(self.reserve_bytes());
        assert!(start < end, "places lie in the map");
        let first = self.memory.as_mut_ptr().wrapping_add(start as usize);
        // SAFETY: the range lies in this mapping and starts with a page. It belongs to no chunk, so
        // no slice covers any of it: changing its protection invalidates nothing.
        let changed = unsafe { libc::mprotect(first.cast(), (end - start) as usize, protection) };
        assert_eq!(changed, 0, "the protection of a mapping can be changed");
    }

    /// See [`crate::DataMap::prefault`]. Pages that hold a published byte are left alone, so that a
    /// page which is on the device already does not become dirty again. The kernel changes no byte
    /// of them, so the appender need not wait; where it overtakes, its own fault waits for the
    /// page.
    pub fn prefault(&self, offset: u64, len: u64, append: Append) -> u64 {
        let page_bytes = PAGE_BYTES as u64;
        let chunk_bytes = self.chunks.chunk_bytes();
        let map_end = self.chunks.place_count() as u64 * chunk_bytes;
        let range_end = offset.saturating_add(len).min(map_end);
        let mut cursor = offset;
        while cursor < range_end && self.chunks.is_allocated(cursor / chunk_bytes) {
            let place = cursor / chunk_bytes;
            let place_start = place * chunk_bytes;
            let place_end = (place_start + chunk_bytes).min(range_end);
            let published = self.chunks.published_bytes(place);
            let start = cursor.max(place_start + published).next_multiple_of(page_bytes);
            if start < place_end && self.prefaults {
                let bytes = (place_end - start) as usize;
                // A place that is used again has pages already: to make these writable would only
                // have the next flush write them as they are.
                let is_new = !self.chunks.is_used_again(place);
                let advice = match append {
                    Append::Stored if is_new => Advice::PopulateWrite,
                    Append::Stored | Append::Written => Advice::PopulateRead,
                };
                // Only a hint: kernels before 5.14 know neither.
                let _ = self.memory.advise_range(advice, start as usize, bytes);
            }
            cursor = place_end;
        }
        cursor.saturating_sub(offset)
    }
}
