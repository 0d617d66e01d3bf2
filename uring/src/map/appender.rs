//! [`Appender`]: the writing side of a mapped file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::chunks::{Chunks, MappedChunk};
use super::closed::ClosedChunk;
use super::file_map::FileMap;
use super::hold::is_held;
use super::mapping::{Base, Mapping};
use super::options::MapOptions;
use super::span::Span;

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

    /// Whether each of `places` was allocated.
    pub fn are_allocated(&self, mut places: Range<u64>) -> bool {
        places.all(|place| self.mapping.chunks().is_allocated(place))
    }

    /// Bytes of the file that `places` are, if the map has so many.
    pub fn range_of(&self, places: &Range<u64>) -> Option<Range<u64>> {
        let chunk_bytes = self.mapping.chunks().chunk_bytes();
        let end = places.end.checked_mul(chunk_bytes)?;
        let is_there = places.start <= places.end && end <= self.reserve_bytes();
        is_there.then(|| places.start * chunk_bytes..end)
    }

    /// Notes that `places` have space of their own now; the caller has made sure of it.
    pub fn note_allocated(&mut self, places: Range<u64>) {
        self.mapping.note_allocated(places);
    }

    /// Notes that `places`, which no chunk has, are about to lose their space.
    pub fn note_deallocated(&mut self, places: Range<u64>) {
        self.mapping.note_deallocated(places);
    }

    /// Notes that what lies behind the published bytes of chunk `number` is about to lose its
    /// space. Returns what that is of the file.
    pub fn note_rest_given_back(&mut self, number: u64) -> Range<u64> {
        let slots = self.mapping.chunks().slots();
        let found = slots.find(number << slots.chunk_shift()).expect("the chunk is open");
        self.mapping.note_rest_given_back(found.start >> slots.chunk_shift());
        found.start + found.published_bytes..found.start + slots.chunk_bytes()
    }

    /// See [`crate::DataMapWriter::open_chunks`].
    pub fn open_chunks(&mut self, number: u64, place: u64, count: u64) -> bool {
        let is_new = self.mapping.chunks().open(number, place, count);
        if is_new {
            self.mapping.make_accessible(place..place + count);
        }
        is_new
    }

    /// See [`crate::DataMapWriter::close_chunk`].
    pub fn close_chunk(&mut self, number: u64) -> ClosedChunk {
        let places = self.mapping.chunks().close(number);
        ClosedChunk::new(self.base.0.addr(), places)
    }

    /// See [`crate::DataMapWriter::is_given_back`].
    pub fn is_given_back(&mut self, closed: &mut ClosedChunk) -> bool {
        let Some(places) = closed.places(self.base.0.addr()) else { return true };
        if !closed.is_past_grace() {
            return false;
        }
        let chunk_bytes = self.mapping.chunks().chunk_bytes();
        let range = places.start * chunk_bytes..places.end * chunk_bytes;
        let start = self.base.0.wrapping_add(range.start as usize);
        if is_held(start, (range.end - range.start) as usize) {
            return false;
        }
        self.mapping.make_inaccessible(places.clone());
        self.mapping.chunks().free(places);
        closed.note_given_back();
        true
    }

    /// See [`crate::DataMapWriter::append`].
    pub fn append(&mut self, address: u64, parts: &[&[u8]]) {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let span = self.span(address, len);
        if span.gap > 0 {
            self.zero(span.start - span.gap, span.gap as usize);
        }
        let mut target = span.start;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            self.copy(target, part);
            target += part.len() as u64;
        }
        assert!(target == span.start + len, "the parts have the length of their sum");
        span.publish(self.mapping.chunks());
    }

    /// See [`crate::DataMapWriter::append_written`]. `write` writes the bytes to an offset of the
    /// file.
    pub fn append_written(
        &mut self,
        address: u64,
        bytes: &[u8],
        write: impl FnOnce(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let span = self.span(address, bytes.len() as u64);
        assert!(span.gap == 0, "append_written at {address}, but published up to another place");
        // The kernel changes bytes that no slice covers, as `zero` and `copy` do, and its page
        // cache is what is mapped: who finds them published below sees them.
        write(bytes, span.start)?;
        span.publish(self.mapping.chunks());
        Ok(())
    }

    /// Where `len` bytes at `address` may be appended.
    #[inline]
    fn span(&self, address: u64, len: u64) -> Span {
        assert!(self.writable, "the file was opened for reading only");
        Span::find(self.mapping.chunks(), address, len)
    }

    /// Private to `append`, which has checked that nothing of the range is published, and that its
    /// places are allocated.
    fn zero(&mut self, offset: u64, len: usize) {
        // SAFETY: the offset is inside an allocated place, hence inside the mapping, which lives as
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
    use std::os::unix::fs::FileExt;

    use super::super::chunks::CHUNK_BYTES_MIN;
    use super::super::hold::Pinned;
    use super::super::pin::MapPin;
    use super::*;
    use crate::storage::{Append, DataMap};

    const CHUNK: u64 = CHUNK_BYTES_MIN;

    /// The bytes at `address`, if they are published.
    fn read<'p>(map: &'p FileMap, address: u64, len: usize, pin: &'p MapPin) -> Option<&'p [u8]> {
        map.bytes(address, len, pin).map(Pinned::bytes)
    }

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
        let chunk = |(&published_bytes, number)| MappedChunk {
            number,
            place: number,
            published_bytes,
            continues: number > 0,
        };
        numbers.map(chunk).collect()
    }

    /// Maps as many chunks, in the places of their numbers; the last ones are empty.
    fn map(chunk_count: u64, readable: &[u64]) -> (FileMap, Appender) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(chunk_count * CHUNK).unwrap();
        let options = options(chunk_count, chunk_count * CHUNK);
        let (map, mut appender, _) = map_file(&file, options, &chunks(readable)).unwrap();
        assert_eq!(map.allocated_bytes(), 0, "nothing is relied on");
        appender.note_allocated(0..chunk_count);
        assert_eq!(map.allocated_bytes(), chunk_count * CHUNK);
        let first = readable.len() as u64;
        assert!(first == chunk_count || appender.open_chunks(first, first, chunk_count - first));
        (map, appender)
    }

    #[test]
    fn published_bytes_and_only_they_are_readable() {
        let (map, mut appender) = map(2, &[]);
        assert_eq!(read(&map, 0, 1, &MapPin::enter()), None);
        appender.append(8, &[b"abc", b"", b"de"]);
        assert_eq!(read(&map, 0, 13, &MapPin::enter()), Some(b"\0\0\0\0\0\0\0\0abcde".as_slice()));
        assert_eq!(read(&map, 8, 5, &MapPin::enter()), Some(b"abcde".as_slice()));
        assert_eq!(read(&map, 13, 0, &MapPin::enter()), Some(b"".as_slice()));
        assert_eq!(read(&map, 8, 6, &MapPin::enter()), None);
        assert_eq!(read(&map, 14, 1, &MapPin::enter()), None);
        assert_eq!(read(&map, CHUNK, 1, &MapPin::enter()), None);
        assert_eq!(map.bytes_ahead(9, &MapPin::enter()).bytes(), b"bcde");
        for nothing in [13, 14, CHUNK, 2 * CHUNK, u64::MAX] {
            assert_eq!(map.bytes_from(nothing, &MapPin::enter()).bytes(), b"");
        }
        assert_eq!(read(&map, 2 * CHUNK, 1, &MapPin::enter()), None);
        assert_eq!(read(&map, u64::MAX, 1, &MapPin::enter()), None);
        assert_eq!(read(&map, 8, usize::MAX, &MapPin::enter()), None);
        appender.append(16, &[]);
        assert_eq!(read(&map, 13, 3, &MapPin::enter()), Some(b"\0\0\0".as_slice()));
        appender.append(CHUNK + 4, &[b"x"]);
        assert_eq!(read(&map, CHUNK, 5, &MapPin::enter()), Some(b"\0\0\0\0x".as_slice()));
        map.prefetch(0);
        map.prefetch(u64::MAX);
    }

    #[test]
    fn ranges_may_span_chunks() {
        let (map, mut appender) = map(4, &[]);
        let bytes: Vec<u8> = (0..2 * CHUNK + 100).map(|i| (i % 251) as u8).collect();
        appender.append(CHUNK - 50, &[&bytes[..10], &bytes[10..]]);
        let pin = MapPin::enter();
        assert!(read(&map, CHUNK - 50, bytes.len(), &pin).unwrap() == bytes);
        assert_eq!(read(&map, CHUNK - 50, bytes.len() + 1, &MapPin::enter()), None);
        assert_eq!(
            read(&map, 3 * CHUNK - 1, 51, &MapPin::enter()).unwrap()[50],
            bytes[bytes.len() - 1]
        );
        assert_eq!(read(&map, 3 * CHUNK - 1, 52, &MapPin::enter()), None);
        assert_eq!(read(&map, CHUNK, 0, &MapPin::enter()), Some(b"".as_slice()));
    }

    #[test]
    fn watermarks_given_at_birth_are_checked() {
        let (map, _) = map(2, &[CHUNK, 10]);
        assert!(read(&map, CHUNK - 1, 11, &MapPin::enter()).is_some());
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
    fn what_is_written_to_the_file_is_published_or_not() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * CHUNK).unwrap();
        let (map, mut appender, _) = map_file(&file, options(2, 2 * CHUNK), &[]).unwrap();
        appender.note_allocated(0..2);
        appender.open_chunks(5, 1, 1);
        appender.append(5 * CHUNK, &[b"abc"]);
        let end = 5 * CHUNK + 3;
        let refused = appender.append_written(end, b"xyz", |bytes, offset| {
            file.write_all_at(&bytes[..1], offset)?;
            Err(io::Error::from_raw_os_error(libc::EIO))
        });
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(map.bytes_from(5 * CHUNK, &MapPin::enter()).bytes(), b"abc");
        let write = |bytes: &[u8], offset| {
            assert_eq!(offset, CHUNK + 3, "its place is the second one");
            file.write_all_at(bytes, offset)
        };
        appender.append_written(end, b"de", write).unwrap();
        appender.append(end + 3, &[b"f"]);
        assert_eq!(map.bytes_from(5 * CHUNK, &MapPin::enter()).bytes(), b"abcde\0f");
    }

    #[test]
    #[should_panic(expected = "published up to another place")]
    fn what_is_written_to_the_file_leaves_no_gap() {
        let (_, mut appender) = map(1, &[20]);
        let _ = appender.append_written(21, b"x", |_, _| Ok(()));
    }

    #[test]
    #[should_panic(expected = "append at 19, but published before")]
    fn published_bytes_are_never_written_again() {
        let (_, mut appender) = map(1, &[20]);
        appender.append(19, &[b"x"]);
    }

    #[test]
    #[should_panic(expected = "without space")]
    fn an_append_stays_where_the_file_has_space() {
        let file = tempfile::tempfile().unwrap();
        let (_map, mut appender, _) = map_file(&file, options(2, 0), &[]).unwrap();
        appender.note_allocated(0..1);
        appender.open_chunks(7, 1, 1);
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
        appender.note_allocated(0..4);
        appender.open_chunks(6, 2, 2);
        appender.open_chunks(8, 0, 1);
        (map, appender)
    }

    #[test]
    fn addresses_name_chunks_wherever_they_lie() {
        let (map, mut appender) = spread();
        let bytes: Vec<u8> = (0..CHUNK + 100).map(|i| (i % 251) as u8).collect();
        appender.append(6 * CHUNK + 200, &[&bytes]);
        appender.append(8 * CHUNK, &[b"eight"]);
        assert!(read(&map, 6 * CHUNK + 200, bytes.len(), &MapPin::enter()).unwrap() == bytes);
        assert_eq!(read(&map, 8 * CHUNK, 5, &MapPin::enter()), Some(b"eight".as_slice()));
        assert_eq!(map.bytes_ahead(8 * CHUNK + 3, &MapPin::enter()).bytes(), b"ht");
        assert_eq!(
            read(&map, 0, 1, &MapPin::enter()),
            None,
            "the file begins with chunk 8, but 0 is its place"
        );
        assert_eq!(map.bytes_ahead(5, &MapPin::enter()).bytes(), b"");
        appender.append(7 * CHUNK + 300, &[&vec![7; CHUNK as usize - 300]]);
        assert_eq!(read(&map, 8 * CHUNK - 1, 2, &MapPin::enter()), None, "chunk 8 lies elsewhere");
    }

    #[test]
    fn a_place_is_given_back_when_no_reader_looks_at_it() {
        let (map, mut appender) = spread();
        appender.append(6 * CHUNK, &[b"six"]);
        appender.append(8 * CHUNK, &[b"eight"]);
        let pin = MapPin::enter();
        let seen = map.bytes(6 * CHUNK, 3, &pin).unwrap();
        let mut closed = appender.close_chunk(6);
        assert!(
            read(&map, 6 * CHUNK, 3, &pin).is_none() && read(&map, 7 * CHUNK, 0, &pin).is_none()
        );
        assert!(!appender.is_given_back(&mut closed), "a pin is there");
        let held = map.hold(seen, &pin);
        drop(pin);
        assert!(!appender.is_given_back(&mut closed), "bytes are held");
        let other = map.hold(map.bytes(8 * CHUNK, 5, &MapPin::enter()).unwrap(), &MapPin::enter());
        assert_eq!(held.bytes(), b"six");
        drop(held);
        assert!(appender.is_given_back(&mut closed) && appender.is_given_back(&mut closed));
        assert!(appender.open_chunks(9, 3, 1) && appender.open_chunks(10, 2, 1));
        appender.append(10 * CHUNK, &[b"ten"]);
        assert_eq!(read(&map, 10 * CHUNK, 3, &MapPin::enter()), Some(b"ten".as_slice()));
        assert_eq!(other.bytes(), b"eight");
    }

    /// A later map may get the same addresses, where a forgotten hold would keep a place for ever.
    #[test]
    fn a_hold_that_was_forgotten_ends_with_its_map() {
        let (map, mut appender) = spread();
        appender.append(6 * CHUNK, &[b"six"]);
        let pin = MapPin::enter();
        std::mem::forget(map.hold(map.bytes(6 * CHUNK, 3, &pin).unwrap(), &pin));
        drop(pin);
        let start = appender.base.0;
        assert!(is_held(start, 4 * CHUNK as usize));
        drop((map, appender));
        assert!(!is_held(start, 4 * CHUNK as usize));
    }

    /// What begins in one chunk and ends in another is held as a whole.
    #[test]
    fn chunks_that_were_opened_as_one_are_given_back_as_one() {
        let (map, mut appender) = spread();
        appender.append(6 * CHUNK, &[&vec![6; 2 * CHUNK as usize]]);
        let held = {
            let pin = MapPin::enter();
            let last = map.hold(map.bytes(7 * CHUNK + 5, 1, &pin).unwrap(), &pin);
            let both = map.hold(map.bytes(7 * CHUNK - 5, 10, &pin).unwrap(), &pin);
            [last, both]
        };
        let mut closed = appender.close_chunk(6);
        for held in held {
            assert!(!appender.is_given_back(&mut closed));
            assert!(held.bytes().iter().all(|byte| *byte == 6));
        }
        assert!(appender.is_given_back(&mut closed));
    }

    #[test]
    #[should_panic(expected = "is taken")]
    fn a_place_that_was_not_given_back_has_no_other_chunk() {
        let (_map, mut appender) = spread();
        let _closed = appender.close_chunk(8);
        appender.open_chunks(9, 0, 1);
    }

    #[test]
    fn prefault_changes_no_byte() {
        let (map, mut appender) = map(3, &[]);
        appender.append(0, &[&[7; 5000]]);
        assert_eq!(map.prefault(0, 3 * CHUNK, Append::Stored), 3 * CHUNK);
        assert_eq!(map.prefault(5000, 1, Append::Written), 1);
        assert_eq!(map.prefault(10 * CHUNK, CHUNK, Append::Stored), 0);
        assert!(read(&map, 0, 5000, &MapPin::enter()).unwrap().iter().all(|&byte| byte == 7));
        appender.append(5000, &[&[8; 10]]);
        assert_eq!(read(&map, 4999, 3, &MapPin::enter()), Some([7, 8, 8].as_slice()));
    }

    #[test]
    fn readers_see_whole_appends() {
        let (map, mut appender) = map(4, &[]);
        let reader = map.clone();
        let seen = std::thread::spawn(move || {
            let mut address = 0;
            while address < 4 * CHUNK {
                let pin = MapPin::enter();
                if let Some(bytes) = read(&reader, address, 64, &pin) {
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
