//! [`FileMap`]: the readers' side of a mapped file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::mapping::{Base, Mapping};
use crate::storage::DataMap;

/// The readers' side of a mapped file; clones share the map.
///
/// [`DataMap::bytes`] within one chunk costs one atomic load, two comparisons and no call.
#[derive(Clone)]
pub struct FileMap {
    base: Base,
    chunk_shift: u32,
    readable: Arc<[AtomicU64]>,
    mapping: Arc<Mapping>,
}

impl FileMap {
    pub(super) fn new(mapping: Arc<Mapping>) -> Self {
        let marks = mapping.marks();
        let (chunk_shift, readable) = (marks.chunk_shift(), Arc::clone(marks.readable()));
        Self { base: mapping.base(), chunk_shift, readable, mapping }
    }

    /// The published bytes at `address`. Private: the callers have checked the watermarks.
    #[inline]
    fn published(&self, address: u64, len: usize) -> &[u8] {
        // SAFETY: `address .. address + len` was found to lie below watermarks, which lie inside
        // the allocated file, which lies inside the mapping; so the offset is in bounds of it, and
        // the mapping lives as long as `self`.
        let start = unsafe { self.base.0.add(address as usize) };
        // SAFETY: the bytes are mapped and backed by the file (5. of [`super`]), initialised (every
        // byte of a file is), complete (3.), and never written again while `self` lives (1., 2.,
        // 4.).
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The rare range that crosses into other chunks: all but the last must be full.
    #[cold]
    fn bytes_across_chunks(&self, address: u64, len: usize) -> Option<&[u8]> {
        let end = address.checked_add(len as u64)?;
        let chunk_bytes = 1_u64 << self.chunk_shift;
        let first = address >> self.chunk_shift;
        let last = end.checked_sub(1)? >> self.chunk_shift;
        if first == last {
            return None;
        }
        for chunk_index in first..=last {
            let mark = self.readable.get(usize::try_from(chunk_index).ok()?)?;
            let chunk_start = chunk_index << self.chunk_shift;
            let needed = (end - chunk_start).min(chunk_bytes);
            if mark.load(Ordering::Acquire) < needed {
                return None;
            }
        }
        Some(self.published(address, len))
    }
}

impl DataMap for FileMap {
    #[inline]
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        let chunk_index = (address >> self.chunk_shift) as usize;
        let offset = address & ((1_u64 << self.chunk_shift) - 1);
        let published = self.readable.get(chunk_index)?.load(Ordering::Acquire);
        // The watermark is at most a chunk, so what is below it does not leave the chunk.
        if offset <= published && len as u64 <= published - offset {
            return Some(self.published(address, len));
        }
        self.bytes_across_chunks(address, len)
    }

    #[inline]
    fn bytes_from(&self, address: u64) -> &[u8] {
        let offset = address & ((1_u64 << self.chunk_shift) - 1);
        let mark = self.readable.get((address >> self.chunk_shift) as usize);
        let published = mark.map_or(0, |mark| mark.load(Ordering::Acquire));
        // The watermark is at most a chunk, so what is below it does not leave the chunk.
        if offset < published {
            self.published(address, (published - offset) as usize)
        } else {
            &[]
        }
    }

    #[inline]
    fn prefetch(&self, address: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = self.base.0.wrapping_add(address as usize).cast_const().cast::<i8>();
            // SAFETY: a prefetch is a hint: the processor drops it for an address that is not
            // mapped, and it never reads into the program.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    #[inline]
    fn allocated_bytes(&self) -> u64 {
        self.mapping.allocated_bytes()
    }

    fn prefault(&self, address: u64, len: u64) {
        self.mapping.prefault(address, len);
    }
}
