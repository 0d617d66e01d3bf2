//! [`Appender`]: the writing side of a mapped file.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::chunks::{Chunks, MappedChunk};
use super::file_map::FileMap;
use super::mapping::{Base, Mapping};
use super::options::MapOptions;

/// The writing side of a mapped file: one per map.
pub struct Appender {
    base: Base,
    mapping: Arc<Mapping>,
    writable: bool,
}

/// Maps `file`. The caller makes sure that the file really has `options.file_bytes` bytes, and
/// stays at least as long as what was allocated while the map lives.
pub(crate) fn map_file(
    file: &File,
    options: MapOptions,
    chunks: &[MappedChunk],
) -> io::Result<(FileMap, Appender, Arc<Chunks>)> {
    let mapping = Arc::new(Mapping::new(file, options, chunks)?);
    let chunks = Arc::clone(mapping.chunks());
    let base = mapping.base();
    let appender = Appender { base, mapping: Arc::clone(&mapping), writable: options.writable };
    Ok((FileMap::new(mapping), appender, chunks))
}

impl Appender {
    /// Address space that was set aside.
    pub fn reserve_bytes(&self) -> u64 {
        self.mapping.reserve_bytes()
    }

    /// Bytes of real file space behind the map.
    pub fn allocated_bytes(&self) -> u64 {
        self.mapping.allocated_bytes()
    }

    /// Notes that the file now has `bytes` bytes of real space; the caller has made sure of it.
    pub fn set_allocated_bytes(&mut self, bytes: u64) {
        self.mapping.set_allocated_bytes(bytes);
    }

    /// See [`crate::DataMapWriter::open_chunk`].
    pub fn open_chunk(&mut self, number: u64, place: u64) -> bool {
        self.mapping.chunks().open(number, place)
    }

    /// See [`crate::DataMapWriter::append`].
    pub fn append(&mut self, address: u64, parts: &[&[u8]]) {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        assert!(self.writable, "the file was opened for reading only");
        let slots = self.mapping.chunks().slots();
        let (shift, chunk_bytes) = (slots.chunk_shift(), slots.chunk_bytes());
        let first = address >> shift;
        let Some(found) = slots.find(address) else {
            panic!("append at {address}, but chunk {first} is not open");
        };
        let offset = slots.offset(address);
        let end = offset.checked_add(len).expect("addresses of a map stay far below 2^64");
        assert!(offset >= found.published_bytes, "append at {offset}, but published before");
        // Behind the first one the chunks lie one behind the other, and are empty.
        let others = end.saturating_sub(1) >> shift;
        for index in 1..=others {
            let next = slots.find((first + index) << shift);
            let next = next.expect("a range spans open chunks");
            assert!(next.start == found.start + index * chunk_bytes, "one behind the other");
            assert!(next.published_bytes == 0, "append over published bytes");
        }

        let (start, gap) = (found.start + offset, offset - found.published_bytes);
        let file_end = found.start + end;
        assert!(file_end <= self.allocated_bytes(), "append to {end}, beyond the allocated file");
        if gap > 0 {
            self.zero(start - gap, gap as usize);
        }
        let mut target = start;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            self.copy(target, part);
            target += part.len() as u64;
        }
        assert!(target == file_end, "the parts have the length of their sum");
        for index in 0..=others {
            let published = (end - index * chunk_bytes).min(chunk_bytes);
            self.mapping.chunks().publish(first + index, published);
        }
    }

    /// Private to `append`, which has checked that nothing of the range is published, and that the
    /// allocated file has all of it.
    fn zero(&mut self, offset: u64, len: usize) {
        // SAFETY: the offset is inside the allocated file, hence inside the mapping, which lives as
        // long as `self`.
        let target = unsafe { self.base.0.add(offset as usize) };
        // SAFETY: `target` is valid for `len` bytes (checked by `append`) of a writable mapping
        // (asserted there). No slice covers them: they are unpublished, and `&mut self` is the only
        // writer.
        unsafe { target.write_bytes(0, len) }
    }

    /// Private to `append`, as `zero`.
    fn copy(&mut self, offset: u64, part: &[u8]) {
        // SAFETY: as in `zero`.
        let target = unsafe { self.base.0.add(offset as usize) };
        // SAFETY: as in `zero`; and the source cannot overlap: it is a live slice, hence either
        // foreign memory or published bytes.
        unsafe { target.copy_from_nonoverlapping(part.as_ptr(), part.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunks::CHUNK_BYTES_MIN;
    use super::*;
    use crate::storage::DataMap;

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

    /// Chunks with these watermarks, one behind the other.
    fn chunks(readable: &[u64]) -> Vec<MappedChunk> {
        let numbers = readable.iter().zip(0..);
        let chunk =
            |(&published_bytes, number)| MappedChunk { number, place: number, published_bytes };
        numbers.map(chunk).collect()
    }

    /// Maps as many chunks, in the places of their numbers; the last ones are empty.
    fn map(chunk_count: u64, readable: &[u64]) -> (FileMap, Appender) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(chunk_count * CHUNK).unwrap();
        let options = options(chunk_count, chunk_count * CHUNK);
        let (map, mut appender, _) = map_file(&file, options, &chunks(readable)).unwrap();
        let full_count = readable.iter().take_while(|bytes| **bytes == CHUNK).count() as u64;
        assert_eq!(map.allocated_bytes(), full_count * CHUNK, "nothing else is relied on");
        appender.set_allocated_bytes(chunk_count * CHUNK);
        let others = readable.len() as u64..chunk_count;
        others.for_each(|number| assert!(appender.open_chunk(number, number)));
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
        map.prefetch(0, 4);
        map.prefetch(u64::MAX, 4);
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
            let error = map_file(&file, options, &chunks(readable)).map(|_| ()).unwrap_err();
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
    #[should_panic(expected = "append at 19, but published before")]
    fn published_bytes_are_never_written_again() {
        let (_, mut appender) = map(1, &[20]);
        appender.append(19, &[b"x"]);
    }

    #[test]
    #[should_panic(expected = "beyond the allocated file")]
    fn an_append_stays_inside_the_file() {
        let file = tempfile::tempfile().unwrap();
        let (_map, mut appender, _) = map_file(&file, options(2, 0), &[]).unwrap();
        appender.set_allocated_bytes(CHUNK);
        appender.open_chunk(7, 1);
        appender.append(7 * CHUNK, &[b"x"]);
    }

    #[test]
    #[should_panic(expected = "over published bytes")]
    fn a_spanning_append_needs_empty_chunks() {
        let (_, mut appender) = map(2, &[0, 1]);
        appender.append(CHUNK - 1, &[b"xy"]);
    }

    #[test]
    #[should_panic(expected = "one behind the other")]
    fn a_spanning_append_needs_places_in_a_row() {
        let (_, mut appender) = spread();
        appender.append(8 * CHUNK - 1, &[b"xy"]);
    }

    #[test]
    #[should_panic(expected = "chunk 9 is not open")]
    fn an_append_needs_an_open_chunk() {
        let (_, mut appender) = spread();
        appender.append(9 * CHUNK, &[b"xy"]);
    }

    /// Chunks 6, 7 and 8 in the places 2, 3 and 0.
    fn spread() -> (FileMap, Appender) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * CHUNK).unwrap();
        let (map, mut appender, _) = map_file(&file, options(4, 4 * CHUNK), &[]).unwrap();
        appender.set_allocated_bytes(4 * CHUNK);
        for (number, place) in [(6, 2), (7, 3), (8, 0)] {
            appender.open_chunk(number, place);
        }
        (map, appender)
    }

    #[test]
    fn addresses_name_chunks_wherever_they_lie() {
        let (map, mut appender) = spread();
        let bytes: Vec<u8> = (0..CHUNK + 100).map(|i| (i % 251) as u8).collect();
        appender.append(6 * CHUNK + 200, &[&bytes]);
        appender.append(8 * CHUNK, &[b"eight"]);
        assert!(map.bytes(6 * CHUNK + 200, bytes.len()).unwrap() == bytes);
        assert_eq!(map.bytes(8 * CHUNK, 5), Some(b"eight".as_slice()));
        assert_eq!(map.bytes_from(8 * CHUNK + 3), b"ht");
        assert_eq!(map.bytes(0, 1), None, "the file begins with chunk 8, but 0 is its place");
        assert_eq!(map.bytes_from(5), b"");
        appender.append(7 * CHUNK + 300, &[&vec![7; CHUNK as usize - 300]]);
        assert_eq!(map.bytes(8 * CHUNK - 1, 2), None, "chunk 8 lies elsewhere");
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
