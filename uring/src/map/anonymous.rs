//! [`AnonymousFile`]: a file in memory of the kernel, for disks that are simulated.
//!
//! A map needs a file of the kernel. This one has no name and no device, goes with its last handle,
//! and is changed through its one owner alone; so what a map promises holds here without a lock:
//! the file never gets shorter, and published bytes are not written.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::appender::{Appender, map_file};
use super::chunks::{Chunks, MappedChunk};
use super::file_map::FileMap;
use super::options::MapOptions;
use crate::error::invalid_input;

/// A file in memory that can be mapped.
#[derive(Debug)]
pub struct AnonymousFile {
    file: File,
    file_bytes: u64,
    /// Of the last map.
    chunks: Option<Arc<Chunks>>,
}

impl AnonymousFile {
    /// An empty file.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the name is a string that ends in NUL and outlives the call.
        let fd = unsafe { libc::memfd_create(c"uarr".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was made just now, is valid, and has no other owner.
        let file = unsafe { File::from_raw_fd(fd) };
        Ok(Self { file, file_bytes: 0, chunks: None })
    }

    /// How long it is.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Extends it with zeros if it is shorter.
    pub fn grow_to(&mut self, len: u64) -> io::Result<()> {
        if len > self.file_bytes {
            self.file.set_len(len)?;
            self.file_bytes = len;
        }
        Ok(())
    }

    /// Fills `buffer` with what lies at `offset`; `UnexpectedEof` beyond the end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Writes, and extends the file as needed. `InvalidInput` over published bytes of a map that
    /// lives.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = bytes.len() as u64;
        let is_published = |chunks: &Arc<Chunks>| chunks.intersects(offset, len);
        if self.is_mapped() && self.chunks.as_ref().is_some_and(is_published) {
            return Err(invalid_input("write over published bytes of a mapped file"));
        }
        self.file.write_all_at(bytes, offset)?;
        self.file_bytes = self.file_bytes.max(offset + len);
        Ok(())
    }

    /// Maps the file. `ResourceBusy` while an earlier map of it lives, `InvalidInput` if the
    /// options do not fit the file.
    pub fn map(
        &mut self,
        options: MapOptions,
        chunks: &[MappedChunk],
    ) -> io::Result<(FileMap, Appender)> {
        assert!(options.file_bytes <= self.file_bytes, "a map of bytes that are not there");
        if self.is_mapped() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is mapped already"));
        }
        let (map, appender, chunks) = map_file(&self.file, options, chunks)?;
        self.chunks = Some(chunks);
        Ok((map, appender))
    }

    /// Whether a map of it lives.
    pub fn is_mapped(&self) -> bool {
        // One count is the file's own; the other is the map's.
        self.chunks.as_ref().is_some_and(|chunks| Arc::strong_count(chunks) > 1)
    }

    /// The chunks of the last map.
    pub fn chunks(&self) -> Option<&Chunks> {
        self.chunks.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::hold::Pinned;
    use super::super::pin::MapPin;
    use super::*;
    use crate::storage::DataMap;

    const CHUNK: u64 = 64 << 10;

    #[test]
    fn published_bytes_are_safe_while_the_map_lives() {
        let mut file = AnonymousFile::new().unwrap();
        file.write_at(b"abc", 0).unwrap();
        file.grow_to(CHUNK).unwrap();
        file.grow_to(10).unwrap();
        assert_eq!(file.file_bytes(), CHUNK);
        let options = MapOptions {
            reserve_bytes: 2 * CHUNK,
            chunk_bytes: CHUNK,
            file_bytes: CHUNK,
            writable: true,
            huge_pages: false,
            prefaults: false,
        };
        let (map, mut appender) = file.map(options, &[chunk(3)]).unwrap();
        assert_eq!(file.map(options, &[chunk(3)]).map(drop).unwrap_err().kind(), busy());
        appender.note_allocated(0..1);
        appender.append(3, &[b"def"]);
        assert_eq!(file.chunks().unwrap().published_bytes(0), 6);
        assert!(file.write_at(b"x", 5).is_err());
        file.write_at(b"x", 6).unwrap();
        drop(appender);
        assert!(file.is_mapped());
        assert_eq!(
            map.bytes(0, 6, &MapPin::enter()).map(Pinned::bytes),
            Some(b"abcdef".as_slice())
        );
        drop(map);
        assert!(!file.is_mapped());
        file.write_at(b"x", 0).unwrap();
        let mut bytes = [0; 7];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"xbcdefx");
        let (map, _appender) = file.map(options, &[chunk(7)]).unwrap();
        assert_eq!(map.bytes(0, 7, &MapPin::enter()).map(Pinned::bytes), Some(bytes.as_slice()));
    }

    fn chunk(published_bytes: u64) -> MappedChunk {
        MappedChunk { number: 0, place: 0, published_bytes, continues: false }
    }

    fn busy() -> io::ErrorKind {
        io::ErrorKind::ResourceBusy
    }
}
