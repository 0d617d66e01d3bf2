//! A file mapped once, for its whole future: [`FileMap`] for readers, [`Appender`] for the writer.
//!
//! The file is divided into chunks. Each chunk has a watermark: the number of its bytes, from its
//! start, that are published.
//!
//! ```text
//!   chunk 0                    chunk 1                    chunk 2 (no space yet)
//!   |ppppppppppppppppppppp....|pppppppp...................|.......................|
//!                         ^ watermark  ^ watermark          ^ end of the file      ^ end of the
//!                         map
//!   p published: never written again, readable by all    . unpublished: the appender's alone
//! ```
//!
//! Why `&[u8]` into a shared map is sound:
//! 1. Only bytes below a watermark are ever given out as a slice ([`FileMap::bytes`]).
//! 2. Only [`Appender::append`] writes through the map, and only at or above the watermark of the
//!    chunk. There is one appender per map, it is not `Clone`, and it writes with `&mut self`; so
//!    no two writes race, and no write touches a byte that a slice may cover.
//! 3. The appender stores the new watermark with release ordering after the bytes, a reader loads
//!    it with acquire ordering before it looks at them: the bytes are complete when they are seen.
//! 4. Watermarks only grow. The map and its watermarks live as long as any [`FileMap`].
//! 5. Published bytes lie inside the file: watermarks are checked against its length, the map is
//!    longer than the file only above it, and no file is ever truncated ([`crate::SystemFile`] has
//!    no call for it; growth that fails gives back only what it took itself). Bytes that are written have real space of their own before: what is
//!    readable at birth is not written, and all else is allocated first, also where the file is
//!    long enough, since a copy may have holes or share its space. So no access ends in SIGBUS.
//! 6. A file has one map at a time, and the handle it was mapped through refuses to write over
//!    published bytes. What remains is another handle, or another process that ignores the
//!    directory's lock: as with every map of a file, that is left to the owner of the directory.
//!
//! A read error of the device under a mapped page kills the process with SIGBUS, as with every map.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::buffer::PAGE_BYTES;
use crate::error::invalid_input;
use crate::storage::DataMap;

/// Chunks are at least this large, so that watermarks stay few.
const CHUNK_BYTES_MIN: u64 = 64 << 10;
/// Watermarks of a map at most: 128 MiB of address space for them, memory only for those of used
/// chunks.
pub(crate) const CHUNK_COUNT_MAX: u64 = 1 << 24;
/// Address space of a map at most, half of what a process has.
const RESERVE_BYTES_MAX: u64 = 1 << 46;

/// What a map is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapOptions {
    /// Address space to set aside.
    pub reserve_bytes: u64,
    /// Size of a chunk, a power of two.
    pub chunk_bytes: u64,
    /// Bytes of the file. Only those that are readable at birth are taken to be really there: the
    /// file may be a copy with holes, or grow by a part of what was asked for.
    pub file_bytes: u64,
    /// Whether the file may be written through the map.
    pub writable: bool,
    /// Whether to ask for huge pages.
    pub huge_pages: bool,
    /// Whether [`DataMap::prefault`] does anything.
    pub prefaults: bool,
}

/// How much of each chunk is published.
#[derive(Debug)]
pub(crate) struct Watermarks {
    chunk_shift: u32,
    readable: Arc<[AtomicU64]>,
}

impl Watermarks {
    fn new(options: &MapOptions, readable: &[u64]) -> io::Result<Self> {
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

    pub fn chunk_count(&self) -> usize {
        self.readable.len()
    }

    pub fn chunk_bytes(&self) -> u64 {
        1 << self.chunk_shift
    }

    /// Published bytes of a chunk.
    pub fn published_bytes(&self, chunk_index: usize) -> u64 {
        self.readable[chunk_index].load(Ordering::Acquire)
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

/// The address space, alive as long as a reader or the writer is; and so are its watermarks.
#[derive(Debug)]
struct Mapping {
    memory: MmapRaw,
    allocated_bytes: AtomicU64,
    marks: Arc<Watermarks>,
    prefaults: bool,
}

/// The first byte of a mapping, kept beside it to spare readers one memory access.
#[derive(Clone, Copy)]
struct Base(*mut u8);

// SAFETY: a plain address of memory that is not tied to a thread; whoever holds a `Base` holds the
// mapping too.
unsafe impl Send for Base {}
// SAFETY: as above; what may be done at the address is decided by the holders.
unsafe impl Sync for Base {}

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

/// The writing side of a mapped file: one per map.
pub(crate) struct Appender {
    base: Base,
    mapping: Arc<Mapping>,
    writable: bool,
}

/// End of the last byte that may be read at birth.
fn readable_end(chunk_bytes: u64, readable: &[u64]) -> u64 {
    let ends = readable.iter().zip(0_u64..).filter(|(bytes, _)| **bytes > 0);
    ends.last().map_or(0, |(bytes, chunk_index)| chunk_index * chunk_bytes + bytes)
}

/// Maps `file`. The caller sees to it that the file really has `options.file_bytes` bytes and is
/// not truncated below those that were allocated while the map lives.
pub(crate) fn map_file(
    file: &File,
    options: MapOptions,
    readable: &[u64],
) -> io::Result<(FileMap, Appender, Arc<Watermarks>)> {
    let marks = Arc::new(Watermarks::new(&options, readable)?);
    let reserve_len = usize::try_from(options.reserve_bytes)
        .map_err(|_| invalid_input("a map larger than the address space"))?;
    let mut request = MmapOptions::new();
    request.len(reserve_len);
    let memory =
        if options.writable { request.map_raw(file)? } else { request.map_raw_read_only(file)? };
    // A cold fault with read-ahead costs many times one without; readers jump about.
    memory.advise(Advice::Random)?;
    if options.huge_pages {
        // Only a wish: kernels without file-backed huge pages refuse it.
        let _ = memory.advise(Advice::HugePage);
    }
    let base = Base(memory.as_mut_ptr());
    let mapping = Arc::new(Mapping {
        memory,
        allocated_bytes: AtomicU64::new(readable_end(options.chunk_bytes, readable)),
        marks: Arc::clone(&marks),
        prefaults: options.prefaults && options.writable,
    });
    let map = FileMap {
        base,
        chunk_shift: marks.chunk_shift,
        readable: Arc::clone(&marks.readable),
        mapping: Arc::clone(&mapping),
    };
    let appender = Appender { base, mapping, writable: options.writable };
    Ok((map, appender, marks))
}

impl FileMap {
    /// The published bytes at `address`. Private: the callers have checked the watermarks.
    #[inline]
    fn published(&self, address: u64, len: usize) -> &[u8] {
        // SAFETY: `address .. address + len` was found to lie below watermarks, which lie inside
        // the allocated file, which lies inside the mapping; so the offset is in bounds of it, and
        // the mapping lives as long as `self`.
        let start = unsafe { self.base.0.add(address as usize) };
        // SAFETY: the bytes are mapped and backed by the file (5. above), initialised (every byte
        // of a file is), complete (3.), and never written again while `self` lives (1., 2., 4.).
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
        self.mapping.allocated_bytes.load(Ordering::Acquire)
    }

    fn prefault(&self, address: u64, len: u64) {
        self.mapping.prefault(address, len);
    }
}

impl Appender {
    pub fn reserve_bytes(&self) -> u64 {
        self.mapping.memory.len() as u64
    }

    pub fn allocated_bytes(&self) -> u64 {
        self.mapping.allocated_bytes.load(Ordering::Acquire)
    }

    /// Tells that the file now has `bytes` bytes of real space. The caller has seen to it.
    pub fn set_allocated_bytes(&mut self, bytes: u64) {
        assert!(bytes >= self.allocated_bytes(), "a mapped file never shrinks");
        assert!(bytes <= self.reserve_bytes(), "a file fits in its map");
        self.mapping.allocated_bytes.store(bytes, Ordering::Release);
    }

    /// See [`crate::DataMapWriter::append`].
    pub fn append(&mut self, address: u64, parts: &[&[u8]]) {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let end = address.checked_add(len).expect("addresses of a map stay far below 2^64");
        assert!(self.writable, "the file was opened for reading only");
        assert!(end <= self.allocated_bytes(), "append to {end}, beyond the allocated file");
        let chunk_shift = self.mapping.marks.chunk_shift;
        let chunk_bytes = self.mapping.marks.chunk_bytes();
        if len == 0 && address.is_multiple_of(chunk_bytes) {
            return;
        }
        let first = (address >> chunk_shift) as usize;
        let last = ((end - 1) >> chunk_shift) as usize;
        let first_start = first as u64 * chunk_bytes;
        let gap_start = first_start + self.mapping.marks.published_bytes(first);
        assert!(address >= gap_start, "append at {address}, but published up to {gap_start}");
        for chunk_index in first + 1..=last {
            assert!(
                self.mapping.marks.published_bytes(chunk_index) == 0,
                "append over published bytes"
            );
        }

        if address > gap_start {
            self.zero(gap_start, (address - gap_start) as usize);
        }
        let mut target = address;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            self.copy(target, part);
            target += part.len() as u64;
        }
        assert!(target == end, "the parts have the length of their sum");
        for chunk_index in first..=last {
            let published = (end - chunk_index as u64 * chunk_bytes).min(chunk_bytes);
            self.mapping.marks.readable[chunk_index].store(published, Ordering::Release);
        }
    }

    /// Where the unpublished bytes `address .. address + len` lie, checked against the allocated
    /// file.
    fn target(&mut self, address: u64, len: usize) -> *mut u8 {
        assert!(address + len as u64 <= self.allocated_bytes(), "writes stay inside the file");
        // SAFETY: the address is inside the allocated file by the line above, hence inside the
        // mapping, which lives as long as `self`.
        unsafe { self.base.0.add(address as usize) }
    }

    /// Private to `append`, which has checked that nothing of the range is published.
    fn zero(&mut self, address: u64, len: usize) {
        let target = self.target(address, len);
        // SAFETY: `target` is valid for `len` bytes (checked there) of a writable mapping (asserted
        // in `append`). No slice covers them: they are unpublished, and `&mut self` is the only
        // writer.
        unsafe { target.write_bytes(0, len) }
    }

    /// Private to `append`, which has checked that nothing of the range is published.
    fn copy(&mut self, address: u64, part: &[u8]) {
        let target = self.target(address, part.len());
        // SAFETY: as in `zero`; and the source cannot overlap: it is a live slice, hence either
        // foreign memory or published bytes.
        unsafe { target.copy_from_nonoverlapping(part.as_ptr(), part.len()) }
    }
}

impl Mapping {
    /// See [`DataMap::prefault`]. Pages that hold a published byte are left alone, so that a page
    /// which is on the device already does not become dirty again. The kernel changes no byte of
    /// them, so the appender need not wait; where it overtakes, its own fault waits for the page.
    fn prefault(&self, address: u64, len: u64) {
        if !self.prefaults {
            return;
        }
        let page_bytes = PAGE_BYTES as u64;
        let chunk_bytes = self.marks.chunk_bytes();
        let allocated_bytes = self.allocated_bytes.load(Ordering::Acquire);
        let range_end = address.saturating_add(len).min(allocated_bytes);
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

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = CHUNK_BYTES_MIN;

    fn options(chunk_count: u64, allocated_bytes: u64) -> MapOptions {
        MapOptions {
            reserve_bytes: chunk_count * CHUNK,
            chunk_bytes: CHUNK,
            file_bytes: allocated_bytes,
            writable: true,
            huge_pages: false,
            prefaults: true,
        }
    }

    fn map(chunk_count: u64, readable: &[u64]) -> (FileMap, Appender) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(chunk_count * CHUNK).unwrap();
        let (map, mut appender, _) =
            map_file(&file, options(chunk_count, chunk_count * CHUNK), readable).unwrap();
        let readable_end = map.allocated_bytes();
        assert!(readable.iter().all(|&bytes| bytes <= readable_end), "nothing else is relied on");
        appender.set_allocated_bytes(chunk_count * CHUNK);
        (map, appender)
    }

    #[test]
    fn published_bytes_and_only_they_are_readable() {
        let (map, mut appender) = map(2, &[]);
        assert_eq!(map.bytes(0, 1), None);
        appender.append(8, &[b"abc", b"", b"de"]);
        assert_eq!(map.bytes(0, 13), Some(b"\0\0\0\0\0\0\0\0abcde".as_slice()));
        assert_eq!(map.bytes(8, 5), Some(b"abcde".as_slice()));
        assert_eq!(map.bytes(13, 0), Some(b"".as_slice()));
        assert_eq!(map.bytes(8, 6), None);
        assert_eq!(map.bytes(14, 1), None);
        assert_eq!(map.bytes(CHUNK, 1), None);
        assert_eq!(map.bytes_from(9), b"bcde");
        for nothing in [13, 14, CHUNK, 2 * CHUNK, u64::MAX] {
            assert_eq!(map.bytes_from(nothing), b"");
        }
        assert_eq!(map.bytes(2 * CHUNK, 1), None);
        assert_eq!(map.bytes(u64::MAX, 1), None);
        assert_eq!(map.bytes(8, usize::MAX), None);
        appender.append(16, &[]);
        assert_eq!(map.bytes(13, 3), Some(b"\0\0\0".as_slice()));
        appender.append(CHUNK + 4, &[b"x"]);
        assert_eq!(map.bytes(CHUNK, 5), Some(b"\0\0\0\0x".as_slice()));
        map.prefetch(0);
        map.prefetch(u64::MAX);
    }

    #[test]
    fn ranges_may_span_chunks() {
        let (map, mut appender) = map(4, &[]);
        let bytes: Vec<u8> = (0..2 * CHUNK + 100).map(|i| (i % 251) as u8).collect();
        appender.append(CHUNK - 50, &[&bytes[..10], &bytes[10..]]);
        let all = map.bytes(CHUNK - 50, bytes.len()).unwrap();
        assert!(all == bytes);
        assert_eq!(map.bytes(CHUNK - 50, bytes.len() + 1), None);
        assert_eq!(map.bytes(3 * CHUNK - 1, 51).unwrap()[50], bytes[bytes.len() - 1]);
        assert_eq!(map.bytes(3 * CHUNK - 1, 52), None);
        assert_eq!(map.bytes(CHUNK, 0), Some(b"".as_slice()));
    }

    #[test]
    fn watermarks_given_at_birth_are_checked() {
        let (map, _) = map(2, &[CHUNK, 10]);
        assert!(map.bytes(CHUNK - 1, 11).is_some());
        let file = tempfile::tempfile().unwrap();
        file.set_len(CHUNK).unwrap();
        let refused = |options: MapOptions, readable: &[u64]| {
            let error = map_file(&file, options, readable).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        };
        refused(options(2, CHUNK), &[CHUNK, 1]);
        refused(options(2, CHUNK), &[CHUNK + 1]);
        refused(options(2, CHUNK), &[0, 0, 0]);
        refused(options(1, 2 * CHUNK), &[]);
        refused(options(0, 0), &[]);
        refused(MapOptions { chunk_bytes: CHUNK + 1, ..options(2, 0) }, &[]);
        refused(MapOptions { reserve_bytes: 1 << 50, ..options(2, 0) }, &[]);
    }

    #[test]
    #[should_panic(expected = "published up to 20")]
    fn published_bytes_are_never_written_again() {
        let (_, mut appender) = map(1, &[20]);
        appender.append(19, &[b"x"]);
    }

    #[test]
    #[should_panic(expected = "beyond the allocated file")]
    fn an_append_stays_inside_the_file() {
        let (_, mut appender) = map(1, &[]);
        appender.append(CHUNK - 1, &[b"xy"]);
    }

    #[test]
    #[should_panic(expected = "over published bytes")]
    fn a_spanning_append_needs_empty_chunks() {
        let (_, mut appender) = map(2, &[0, 1]);
        appender.append(CHUNK - 1, &[b"xy"]);
    }

    #[test]
    fn intersections_with_published_bytes() {
        let marks = Watermarks::new(&options(3, 3 * CHUNK), &[10, CHUNK, 0]).unwrap();
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
    fn prefault_changes_no_byte() {
        let (map, mut appender) = map(3, &[]);
        appender.append(0, &[&[7; 5000]]);
        map.prefault(0, 3 * CHUNK);
        map.prefault(5000, 1);
        map.prefault(10 * CHUNK, CHUNK);
        assert!(map.bytes(0, 5000).unwrap().iter().all(|&byte| byte == 7));
        appender.append(5000, &[&[8; 10]]);
        assert_eq!(map.bytes(4999, 3), Some([7, 8, 8].as_slice()));
    }

    #[test]
    fn readers_see_whole_appends() {
        let (map, mut appender) = map(4, &[]);
        let reader = map.clone();
        let seen = std::thread::spawn(move || {
            let mut address = 0;
            while address < 4 * CHUNK {
                if let Some(bytes) = reader.bytes(address, 64) {
                    assert!(bytes.iter().all(|&byte| byte == (address / 64 % 255) as u8 + 1));
                    address += 64;
                }
            }
        });
        for address in (0..4 * CHUNK).step_by(64) {
            appender.append(address, &[&[(address / 64 % 255) as u8 + 1; 64]]);
        }
        seen.join().unwrap();
        drop(map);
    }
}
