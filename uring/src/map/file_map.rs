//! [`FileMap`]: the readers' side of a mapped file.

use std::sync::Arc;

use super::chunks::{Found, Slots};
use super::hold::{Held, Pinned};
use super::mapping::{Base, Mapping};
use super::pin::MapPin;
use crate::storage::{Append, DataMap};

/// Cache lines that are fetched of a record before it is looked at: the same for all, as to count
/// them takes longer than to fetch one for nothing.
const LINES_AHEAD: usize = 3;

/// The readers' side of a mapped file; clones share the map.
///
/// [`DataMap::bytes`] within one chunk costs loads from one line, three comparisons and no call.
#[derive(Clone)]
pub struct FileMap {
    base: Base,
    reserve_bytes: u64,
    slots: Slots,
    mapping: Arc<Mapping>,
}

impl FileMap {
    pub(super) fn new(mapping: Arc<Mapping>) -> Self {
        let (base, slots) = (mapping.base(), mapping.chunks().slots().clone());
        Self { base, reserve_bytes: mapping.reserve_bytes(), slots, mapping }
    }

    /// The published bytes at `offset` of the file. Private: the callers have checked the
    /// watermarks under `_pin`.
    #[inline]
    fn published<'p>(&'p self, offset: u64, len: usize, _pin: &'p MapPin) -> Pinned<'p> {
        // SAFETY: `offset .. offset + len` was found to lie below watermarks, which lie inside
        // the file, which lies inside the mapping; so the offset is in bounds of it, and
        // the mapping lives as long as `self`.
        let start = unsafe { self.base.0.add(offset as usize) };
        // SAFETY: the bytes are mapped and backed by the file (5. of [`super`]), initialised (every
        // byte of a file is), complete (3.), and not written again while the pin lives, under which
        // their chunk was found (1., 2., 4.).
        Pinned::new(unsafe { std::slice::from_raw_parts(start, len) })
    }

    /// What is published of the chunk that was found for `address`, from there on.
    #[inline]
    fn rest_of<'p>(&'p self, found: Found, address: u64, pin: &'p MapPin) -> Pinned<'p> {
        let offset = self.slots.offset(address);
        // The watermark is at most a chunk, so what is below it does not leave the chunk.
        match found.published_bytes.checked_sub(offset) {
            Some(len) => self.published(found.start + offset, len as usize, pin),
            None => Pinned::new(&[]),
        }
    }

    /// Has the processor fetch lines at `offset` of the file.
    #[inline]
    fn fetch(&self, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = self.base.0.wrapping_add(offset as usize).cast_const().cast::<i8>();
            for line in 0..LINES_AHEAD {
                // SAFETY: a prefetch is a hint: the processor drops it for an address that is not
                // mapped, and it never reads into the program.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * 64)) }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// The rare range that crosses into other chunks: they were opened as one, and all but the last
    /// must be full.
    #[cold]
    fn bytes_across_chunks<'p>(
        &'p self,
        address: u64,
        len: usize,
        first: Found,
        pin: &'p MapPin,
    ) -> Option<Pinned<'p>> {
        let chunk_bytes = self.slots.chunk_bytes();
        let offset = self.slots.offset(address);
        let end = offset.checked_add(len as u64)?;
        let mut covered = 0;
        while covered < end {
            let found = self.slots.find((address - offset).checked_add(covered)?)?;
            let needed = (end - covered).min(chunk_bytes);
            let place = found.start >> self.slots.chunk_shift();
            let goes_on = covered + needed == end || self.mapping.chunks().goes_on(place);
            if found.start != first.start + covered || found.published_bytes < needed || !goes_on {
                return None;
            }
            covered += chunk_bytes;
        }
        Some(self.published(first.start + offset, len, pin))
    }
}

impl DataMap for FileMap {
    #[inline]
    fn bytes<'p>(&'p self, address: u64, len: usize, pin: &'p MapPin) -> Option<Pinned<'p>> {
        let found = self.slots.find(address)?;
        let offset = self.slots.offset(address);
        // The watermark is at most a chunk, so what is below it does not leave the chunk.
        if offset <= found.published_bytes && len as u64 <= found.published_bytes - offset {
            return Some(self.published(found.start + offset, len, pin));
        }
        self.bytes_across_chunks(address, len, found, pin)
    }

    #[inline]
    fn bytes_from<'p>(&'p self, address: u64, pin: &'p MapPin) -> Pinned<'p> {
        let found = self.slots.find(address);
        found.map_or(Pinned::new(&[]), |found| self.rest_of(found, address, pin))
    }

    #[inline]
    fn bytes_ahead<'p>(&'p self, address: u64, pin: &'p MapPin) -> Pinned<'p> {
        let Some(found) = self.slots.find(address) else { return Pinned::new(&[]) };
        self.fetch(found.start + self.slots.offset(address));
        self.rest_of(found, address, pin)
    }

    #[inline]
    fn hold<'m>(&'m self, pinned: Pinned<'_>, pin: &MapPin) -> Held<'m> {
        // A slice lies in one map as a whole.
        let offset = pinned.bytes().as_ptr().addr().wrapping_sub(self.base.0.addr()) as u64;
        assert!(offset < self.reserve_bytes, "what is held lies in the map that lends it");
        Held::new(pinned, pin)
    }

    #[inline]
    fn prefetch(&self, address: u64) {
        if let Some(found) = self.slots.find(address) {
            self.fetch(found.start + self.slots.offset(address));
        }
    }

    #[inline]
    fn allocated_bytes(&self) -> u64 {
        self.mapping.allocated_bytes()
    }

    fn prefault(&self, offset: u64, len: u64, append: Append) -> u64 {
        self.mapping.prefault(offset, len, append)
    }
}
