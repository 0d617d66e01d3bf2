//! [`Watermarks`]: how much of each chunk is published.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::MapOptions;
use crate::error::invalid_input;

/// Chunks are at least this large, so that watermarks stay few.
pub(super) const CHUNK_BYTES_MIN: u64 = 64 << 10;
/// Watermarks of a map at most: 128 MiB of address space for them, memory only for those of used
/// chunks.
const CHUNK_COUNT_MAX: u64 = 1 << 24;
/// Address space of a map at most, half of what a process has.
const RESERVE_BYTES_MAX: u64 = 1 << 46;

/// How much of each chunk is published.
#[derive(Debug)]
pub struct Watermarks {
    chunk_shift: u32,
    readable: Arc<[AtomicU64]>,
}

impl Watermarks {
    pub(super) fn new(options: &MapOptions, readable: &[u64]) -> io::Result<Self> {
        let MapOptions { reserve_bytes, chunk_bytes, file_bytes, .. } = *options;
        if !chunk_bytes.is_power_of_two() || chunk_bytes < CHUNK_BYTES_MIN {
            return Err(invalid_input(format!("chunks of {chunk_bytes} bytes")));
        }
        let chunk_count = reserve_bytes.div_ceil(chunk_bytes);
        if reserve_bytes == 0 || reserve_bytes > RESERVE_BYTES_MAX || chunk_count > CHUNK_COUNT_MAX
        {
            return Err(invalid_input(format!(
                "a map of {reserve_bytes} bytes in chunks of {chunk_bytes}"
            )));
        }
        if file_bytes > reserve_bytes || readable.len() as u64 > chunk_count {
            return Err(invalid_input(format!(
                "a file of {file_bytes} bytes, {} chunks of it readable, in a map of \
                 {reserve_bytes} bytes",
                readable.len()
            )));
        }
        for (chunk_index, &bytes) in readable.iter().enumerate() {
            let end = chunk_index as u64 * chunk_bytes + bytes;
            if bytes > chunk_bytes || (bytes > 0 && end > file_bytes) {
                return Err(invalid_input(format!(
                    "chunk {chunk_index} cannot have {bytes} readable bytes: the file ends at \
                     {file_bytes}, chunks are {chunk_bytes} long"
                )));
            }
        }
        // Zeroed memory of this size comes from the kernel, which takes a page of its own for it
        // only when the page is written: chunks that are only reserved cost nothing.
        let marks = Arc::<[AtomicU64]>::new_zeroed_slice(chunk_count as usize);
        // SAFETY: all bytes are zero, which is a valid `AtomicU64`.
        let marks = unsafe { marks.assume_init() };
        for (mark, &bytes) in marks.iter().zip(readable) {
            mark.store(bytes, Ordering::Relaxed);
        }
        Ok(Self { chunk_shift: chunk_bytes.trailing_zeros(), readable: marks })
    }

    pub(super) fn chunk_shift(&self) -> u32 {
        self.chunk_shift
    }

    /// The marks themselves, for readers to keep.
    pub(super) fn readable(&self) -> &Arc<[AtomicU64]> {
        &self.readable
    }

    /// How many chunks there are.
    pub fn chunk_count(&self) -> usize {
        self.readable.len()
    }

    /// Size of a chunk.
    pub fn chunk_bytes(&self) -> u64 {
        1 << self.chunk_shift
    }

    /// Published bytes of a chunk.
    pub fn published_bytes(&self, chunk_index: usize) -> u64 {
        self.readable[chunk_index].load(Ordering::Acquire)
    }

    /// The appender has completed the first `bytes` bytes of a chunk.
    pub(super) fn publish(&self, chunk_index: usize, bytes: u64) {
        assert!(bytes <= self.chunk_bytes(), "a watermark lies in its chunk");
        assert!(bytes >= self.published_bytes(chunk_index), "watermarks only grow");
        self.readable[chunk_index].store(bytes, Ordering::Release);
    }

    /// Whether any byte of the range is published.
    pub fn intersects(&self, address: u64, len: u64) -> bool {
        if len == 0 {
            return false;
        }
        let end = address.saturating_add(len);
        let first = address >> self.chunk_shift;
        let last = ((end - 1) >> self.chunk_shift).min(self.chunk_count() as u64 - 1);
        (first..=last).any(|chunk_index| {
            let chunk_start = chunk_index << self.chunk_shift;
            // Published bytes begin with the chunk, so the range meets them if its part of the
            // chunk starts below the watermark.
            address.max(chunk_start) < chunk_start + self.published_bytes(chunk_index as usize)
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

    #[test]
    fn intersections_with_published_bytes() {
        let marks = Watermarks::new(&options(), &[10, CHUNK, 0]).unwrap();
        for (address, len, expected) in [
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
            assert_eq!(marks.intersects(address, len), expected, "{address} {len}");
        }
    }

    #[test]
    #[should_panic(expected = "watermarks only grow")]
    fn a_watermark_never_falls() {
        let marks = Watermarks::new(&options(), &[10]).unwrap();
        marks.publish(0, 11);
        marks.publish(0, 10);
    }
}
