//! [`AlignedBuffer`]: memory that direct I/O accepts.
//!
//! Invariants:
//! - the address is a multiple of [`PAGE_BYTES`], and so is the length, which is never 0;
//! - every byte is initialised from birth: the memory is allocated zeroed;
//! - bytes at and after `dirty_bytes` are zero. A pool can therefore hand out a zeroed buffer again
//!   by clearing only what its last user touched.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut, Index, IndexMut};
use std::ptr::NonNull;
use std::slice::SliceIndex;

/// Size and alignment of a memory page, and of every [`AlignedBuffer`].
pub const PAGE_BYTES: usize = 4096;

/// The largest buffer: a guard against lengths that were computed from damaged bytes.
const BUFFER_BYTES_MAX: usize = 1 << 40;

/// Page-aligned, zeroed memory of a whole number of pages.
///
/// Derefs to `[u8]`. Writing through an index (`buffer[a..b].copy_from_slice(..)`) marks only that
/// range as used; writing through `DerefMut` marks all of it, which makes the next reuse of a
/// pooled buffer clear all of it.
pub struct AlignedBuffer {
    start: NonNull<u8>,
    len: usize,
    dirty_bytes: usize,
    registration: Option<Registration>,
}

/// Where a buffer is known to a kernel ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    /// The pool that registered it; unique in this process.
    pub pool_id: u64,
    /// Its index among the registered buffers.
    pub index: u16,
}

// SAFETY: the buffer is the only owner of its memory, as `Box<[u8]>` would be; nothing in it is
// tied to a thread.
unsafe impl Send for AlignedBuffer {}
// SAFETY: through `&AlignedBuffer` the memory can only be read.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// Zeroed memory of `len` bytes, rounded up to whole pages (at least one).
    ///
    /// Panics beyond 1 TiB; aborts, as every allocation does, when there is no memory.
    pub fn new(len: usize) -> Self {
        Self::try_new(len).unwrap_or_else(|layout| handle_alloc_error(layout))
    }

    /// As [`AlignedBuffer::new`], for lengths that come from a disk: where there is no memory, what
    /// was asked for.
    pub fn try_new(len: usize) -> Result<Self, Layout> {
        assert!(len <= BUFFER_BYTES_MAX, "a buffer of {len} bytes is a mistake");
        let len = len.max(1).next_multiple_of(PAGE_BYTES);
        let layout = Self::layout(len);
        // SAFETY: the size of `layout` is not zero: `len` was raised to at least one page.
        let memory = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(memory).ok_or(layout)?;
        Ok(Self { start, len, dirty_bytes: 0, registration: None })
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, PAGE_BYTES)
            .expect("a page is a power of two and the length is at most 1 TiB")
    }

    /// Length in bytes: a multiple of [`PAGE_BYTES`], at least one page.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Always false: a buffer has at least one page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Zeroes all that was written since the buffer was new.
    pub fn clear(&mut self) {
        let dirty_bytes = self.dirty_bytes;
        self.bytes_mut()[..dirty_bytes].fill(0);
        self.dirty_bytes = 0;
    }

    pub(crate) fn registration(&self) -> Option<Registration> {
        self.registration
    }

    pub(crate) fn set_registration(&mut self, registration: Option<Registration>) {
        self.registration = registration;
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `start` is aligned and valid for `len` bytes until drop, all initialised since
        // birth, at most `isize::MAX`; `&mut self` makes this the only reference to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is aligned and valid for `len` bytes until drop, all initialised since
        // birth, at most `isize::MAX`; `&self` keeps writers away while the slice lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.dirty_bytes = self.len;
        self.bytes_mut()
    }
}

impl<I: SliceIndex<[u8]>> Index<I> for AlignedBuffer {
    type Output = I::Output;

    fn index(&self, index: I) -> &I::Output {
        &(**self)[index]
    }
}

impl<I: SliceIndex<[u8]>> IndexMut<I> for AlignedBuffer {
    fn index_mut(&mut self, index: I) -> &mut I::Output {
        let start = self.start.as_ptr().addr();
        // Split borrows: the slice borrows from the memory, `dirty_bytes` lies beside it.
        let len = self.len;
        // SAFETY: as in `bytes_mut`; the slice borrows `*self` for as long as the result does, and
        // in between only the field `dirty_bytes`, which is not part of the memory, is touched.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), len) };
        let range = &mut bytes[index];
        // The end of the range is read off the result, because an index of any kind is accepted.
        let range_bytes = size_of_val(range);
        if range_bytes > 0 {
            let range_end = (&raw const *range).cast::<u8>().addr() + range_bytes - start;
            self.dirty_bytes = self.dirty_bytes.max(range_end);
        }
        range
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        let layout = Self::layout(self.len);
        // SAFETY: `start` came from `alloc_zeroed` with this very layout (`len` never changes) and
        // is freed only here.
        unsafe { dealloc(self.start.as_ptr(), layout) }
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer")
            .field("len", &self.len)
            .field("dirty_bytes", &self.dirty_bytes)
            .field("registration", &self.registration)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_rounded_and_zeroed() {
        for (asked, expected) in
            [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (99_999, 102_400)]
        {
            let buffer = AlignedBuffer::new(asked);
            assert_eq!(buffer.len(), expected);
            assert_eq!(buffer.as_ptr().addr() % PAGE_BYTES, 0);
            assert!(buffer.iter().all(|&byte| byte == 0));
            assert!(!buffer.is_empty());
        }
    }

    #[test]
    fn an_index_marks_what_it_gives_out() {
        let mut buffer = AlignedBuffer::new(3 * PAGE_BYTES);
        buffer[10..20].fill(7);
        assert_eq!(buffer.dirty_bytes, 20);
        buffer[5] = 1;
        assert_eq!(buffer.dirty_bytes, 20);
        buffer[4095] = 1;
        assert_eq!(buffer.dirty_bytes, 4096);
        buffer[5000..5000].fill(1);
        assert_eq!(buffer.dirty_bytes, 4096);
        assert_eq!(buffer[4095], 1);
        buffer.clear();
        assert_eq!(buffer.dirty_bytes, 0);
        assert!(buffer.iter().all(|&byte| byte == 0));
        buffer.last_mut().map(|byte| *byte = 9).unwrap();
        assert_eq!(buffer.dirty_bytes, buffer.len());
        buffer.clear();
        assert!(buffer.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn moves_between_threads() {
        let mut buffer = AlignedBuffer::new(1);
        buffer[0] = 42;
        let returned = std::thread::spawn(move || buffer).join().unwrap();
        assert_eq!(returned[0], 42);
    }
}
