//! [`Mapping`]: the address space of a mapped file.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::options::MapOptions;
use super::watermarks::Watermarks;
use crate::buffer::PAGE_BYTES;
use crate::error::invalid_input;

/// The address space, alive as long as a reader or the writer is; and so are its watermarks.
#[derive(Debug)]
pub(super) struct Mapping {
    memory: MmapRaw,
    allocated_bytes: AtomicU64,
    marks: Arc<Watermarks>,
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

/// End of the last byte that may be read at birth.
fn readable_end(chunk_bytes: u64, readable: &[u64]) -> u64 {
    let ends = readable.iter().zip(0_u64..).filter(|(bytes, _)| **bytes > 0);
    ends.last().map_or(0, |(bytes, chunk_index)| chunk_index * chunk_bytes + bytes)
}

impl Mapping {
    /// Maps `file`, of which `readable` is published at birth.
    pub fn new(file: &File, options: MapOptions, readable: &[u64]) -> io::Result<Self> {
        let marks = Arc::new(Watermarks::new(&options, readable)?);
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
        let allocated_bytes = AtomicU64::new(readable_end(options.chunk_bytes, readable));
        let prefaults = options.prefaults && options.writable;
        Ok(Self { memory, allocated_bytes, marks, prefaults })
    }

    pub fn marks(&self) -> &Arc<Watermarks> {
        &self.marks
    }

    pub fn base(&self) -> Base {
        Base(self.memory.as_mut_ptr())
    }

    pub fn reserve_bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes.load(Ordering::Acquire)
    }

    /// The appender says that the file now has `bytes` bytes of real space.
    pub fn set_allocated_bytes(&self, bytes: u64) {
        assert!(bytes >= self.allocated_bytes(), "a mapped file never shrinks");
        assert!(bytes <= self.reserve_bytes(), "a file fits in its map");
        self.allocated_bytes.store(bytes, Ordering::Release);
    }

    /// See [`crate::DataMap::prefault`]. Pages that hold a published byte are left alone, so that a
    /// page which is on the device already does not become dirty again. The kernel changes no byte
    /// of them, so the appender need not wait; where it overtakes, its own fault waits for the
    /// page.
    pub fn prefault(&self, address: u64, len: u64) {
        if !self.prefaults {
            return;
        }
        let page_bytes = PAGE_BYTES as u64;
        let chunk_bytes = self.marks.chunk_bytes();
        let range_end = address.saturating_add(len).min(self.allocated_bytes());
        let mut cursor = address;
        while cursor < range_end {
            let chunk_index = cursor / chunk_bytes;
            let chunk_start = chunk_index * chunk_bytes;
            let chunk_end = (chunk_start + chunk_bytes).min(range_end);
            let published = self.marks.published_bytes(chunk_index as usize);
            let start = cursor.max(chunk_start + published).next_multiple_of(page_bytes);
            if start < chunk_end {
                let bytes = (chunk_end - start) as usize;
                // Only a hint: kernels before 5.14 know no MADV_POPULATE_WRITE.
                let _ = self.memory.advise_range(Advice::PopulateWrite, start as usize, bytes);
            }
            cursor = chunk_start + chunk_bytes;
        }
    }
}
