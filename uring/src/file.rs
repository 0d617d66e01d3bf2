//! [`SystemFile`]: an open file of a real file system.
//!
//! Invariants:
//! - every error names the file and what was done to it, and keeps the kind of the kernel's error;
//! - a short count is never the end of the story: reads go on to the end of the file, writes go on
//!   until all is written or an error says why not;
//! - a file is never cut shorter than a length that a caller has seen;
//! - no call writes published bytes of a file while a map of it lives.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::buffer::AlignedBuffer;
use crate::error::{invalid_input, with_path};
use crate::map::Chunks;
use crate::storage::StorageFile;
use crate::{extents, room, write_back};

/// How often in a row an operation may be interrupted, or get nowhere, before that is an error.
pub(crate) const RETRY_COUNT_MAX: u32 = 1000;
/// A page of the kernel's cache may be as large, and a store into one allocates all of it: on ext4
/// a store beside a hole took space for the hole, and ended the process with SIGBUS where there was
/// none (kernel 6.18).
const HOLE_UNIT_BYTES: u64 = 2 << 20;
const _: () = assert!(HOLE_UNIT_BYTES.is_power_of_two());
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
/// Zeroes are written in steps of this size where the file system cannot allocate.
const ZERO_STEP_BYTES: usize = 1 << 20;

/// An open file of a [`crate::System`]. Clones share the same open file.
#[derive(Clone)]
pub struct SystemFile {
    inner: Arc<OpenFile>,
}

struct OpenFile {
    file: File,
    path: PathBuf,
    /// The unit of offsets and lengths: the block size for direct files, 1 for others.
    unit_bytes: usize,
    writable: bool,
    /// What is published of the file while it is mapped.
    chunks: Mutex<Weak<Chunks>>,
    /// Held while the file grows or is renewed. What lies before the length that is read under it
    /// is never cut off, unless by who holds it.
    growth: Mutex<()>,
}

/// How a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// The unit of offsets and lengths: the block size for direct files, 1 for others.
    pub unit_bytes: usize,
    /// Whether it may be written.
    pub writable: bool,
}

impl SystemFile {
    pub(crate) fn new(file: File, path: PathBuf, access: Access) -> Self {
        assert!(access.unit_bytes.is_power_of_two(), "blocks are powers of two");
        let inner = OpenFile {
            file,
            path,
            unit_bytes: access.unit_bytes,
            writable: access.writable,
            chunks: Mutex::new(Weak::new()),
            growth: Mutex::new(()),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn file(&self) -> &File {
        &self.inner.file
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.inner.file.as_raw_fd()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.inner.path
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.inner.writable
    }

    pub(crate) fn unit_bytes(&self) -> usize {
        self.inner.unit_bytes
    }

    /// Device and inode: which file this is.
    pub(crate) fn id(&self) -> io::Result<(u64, u64)> {
        let facts = self.file().metadata().map_err(|cause| self.error("look at", cause))?;
        Ok((facts.dev(), facts.ino()))
    }

    pub(crate) fn error(&self, action: &'static str, cause: io::Error) -> io::Error {
        with_path(action, self.path(), cause)
    }

    /// From now on, while `chunks` live, writes to published bytes are refused.
    pub(crate) fn set_chunks(&self, chunks: &Arc<Chunks>) {
        *self.inner.chunks.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(chunks);
    }

    fn chunks(&self) -> Option<Arc<Chunks>> {
        self.inner.chunks.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// `fallocate` of the kernel; nothing to do is no error.
    fn fallocate(&self, mode: i32, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let (Ok(start), Ok(bytes)) = (i64::try_from(offset), i64::try_from(len)) else {
            return Err(invalid_input(format!("{len} bytes at {offset}")));
        };
        for _ in 0..RETRY_COUNT_MAX {
            // SAFETY: the descriptor is open for the whole call (`&self`); no memory is passed.
            let status = unsafe { libc::fallocate(self.fd(), mode, start, bytes) };
            if status == 0 {
                return Ok(());
            }
            let cause = io::Error::last_os_error();
            if cause.raw_os_error() != Some(libc::EINTR) {
                return Err(cause);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR))
    }

    /// Zeroes the range in one step where it has its space, or punches it out.
    fn give_up(&self, offset: u64, len: u64) -> io::Result<()> {
        let in_one_step = |mode| match self.fallocate(mode, offset, len) {
            // The kernel tried to write back pages that are given up here, or still had an old
            // error to report.
            Err(cause) if cause.raw_os_error() == Some(libc::EIO) => {
                self.fallocate(mode, offset, len)
            }
            done => done,
        };
        match extents::missing_bytes(self.file(), offset..offset + len) {
            Some(missing) if missing > 0 => in_one_step(PUNCH),
            _ => match in_one_step(libc::FALLOC_FL_ZERO_RANGE) {
                Err(cause) if is_unsupported(&cause) => in_one_step(PUNCH),
                // The file system lacks room for its records of the change: it needs none to write
                // where something was written.
                Err(cause) if room::is_lacking(&cause) => self.write_zeroes(offset, offset + len),
                zeroed => zeroed,
            },
        }
    }

    /// Gives the space of what no chunk needs around `places` back to the file system, if it takes
    /// it. A store into a hole asks for room again, and a page fault cannot say that there is none;
    /// so all of a unit goes, or nothing.
    pub(crate) fn punch(&self, places: Range<u64>) -> io::Result<()> {
        let Some(chunks) = self.chunks() else { return Ok(()) };
        let _growth = self.inner.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let chunk_bytes = chunks.chunk_bytes();
        let file_end = self.len()?;
        let units = units_around(places.start * chunk_bytes..places.end * chunk_bytes);
        for start in units.step_by(HOLE_UNIT_BYTES as usize) {
            let end = (start + HOLE_UNIT_BYTES).min(file_end);
            let mut neighbours = start / chunk_bytes..end.div_ceil(chunk_bytes);
            if start >= end || !neighbours.all(|place| chunks.is_given_up(place)) {
                continue;
            }
            self.dig(start, end - start)?;
        }
        Ok(())
    }

    /// Gives the units of `rest`, which a chunk has not published, back to the file system.
    pub(crate) fn punch_rest(&self, rest: Range<u64>) -> io::Result<()> {
        let _growth = self.inner.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let start = rest.start.next_multiple_of(HOLE_UNIT_BYTES);
        let end = rest.end.min(self.len()?);
        if start < end { self.dig(start, end - start) } else { Ok(()) }
    }

    /// Makes a hole of the range, if the file system can.
    fn dig(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.fallocate(PUNCH, offset, len) {
            Err(cause) if is_unsupported(&cause) => Ok(()),
            punched => punched.map_err(|cause| self.error("give back space of", cause)),
        }
    }

    /// What has to have space for a store into `range`.
    fn with_neighbours(&self, range: Range<u64>) -> Range<u64> {
        let Some(chunks) = self.chunks() else { return range };
        let map_end = chunks.place_count() as u64 * chunks.chunk_bytes();
        let units = units_around(range.clone());
        units.start..units.end.min(map_end).max(range.end)
    }

    /// The file system can neither zero nor dig out a range: cuts it off, and makes the file as
    /// long as it was.
    fn cut_and_grow(&self, offset: u64, end: u64) -> io::Result<()> {
        room::check_file_size(end)?;
        self.file().set_len(offset)?;
        self.take_room(offset..end, offset)
    }

    /// The file system cannot allocate: writes zeroes behind the end of the file instead. What lies
    /// before the end is taken to have its space already: files here grow only through `allocate`.
    fn append_zeroes(&self, offset: u64, end: u64) -> io::Result<()> {
        self.write_zeroes(self.len()?.max(offset), end)
    }

    fn write_zeroes(&self, offset: u64, end: u64) -> io::Result<()> {
        let mut cursor = offset;
        let zeroes = AlignedBuffer::new(ZERO_STEP_BYTES);
        while cursor < end {
            let step_len = (end - cursor).min(ZERO_STEP_BYTES as u64) as usize;
            self.write_all(&zeroes[..step_len], cursor)?;
            cursor += step_len as u64;
        }
        Ok(())
    }

    /// Refuses what cannot succeed before the kernel has taken anything for it. Returns whether all
    /// of `range` is known to have its space already.
    fn expect_room(&self, range: Range<u64>, len: u64) -> io::Result<bool> {
        room::check_file_size(range.end)?;
        let (start, end) = (range.start, range.end);
        let known = extents::missing_bytes(self.file(), range);
        let beyond = end.saturating_sub(len.max(start));
        let missing = known.unwrap_or(beyond);
        match missing > 0 && missing > room::free_bytes_max(self.file())? {
            true => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            false => Ok(known == Some(0) && end <= len),
        }
    }

    /// Gives `range` of the file, which has `len` bytes, space of its own.
    fn take_room(&self, range: Range<u64>, len: u64) -> io::Result<()> {
        match self.fallocate(0, range.start, range.end - range.start) {
            Err(cause) if is_unsupported(&cause) => self.append_zeroes(range.start, range.end)?,
            allocated => allocated?,
        }
        // New space is not shared.
        let old_bytes = len.min(range.end).saturating_sub(range.start);
        match self.fallocate(libc::FALLOC_FL_UNSHARE_RANGE, range.start, old_bytes) {
            Err(cause) if is_unsupported(&cause) => Ok(()),
            unshared => unshared,
        }
    }

    fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        room::check_file_size(offset.saturating_add(bytes.len() as u64))
            .map_err(|cause| self.error("write", cause))?;
        let mut progress = Progress::new(bytes.len(), self.unit_bytes());
        while let Some(done) = progress.next() {
            let attempt = self.file().write_at(&bytes[done..], offset + done as u64);
            progress.note_write(attempt).map_err(|cause| self.error("write", cause))?;
        }
        Ok(())
    }
}

impl StorageFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        let facts = self.file().metadata().map_err(|cause| self.error("look at", cause))?;
        Ok(facts.len())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let failed = |cause| self.error("allocate space for", cause);
        let Some(end) = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok()) else {
            return Err(invalid_input(format!("allocate {len} bytes at {offset}")));
        };
        let Range { start: offset, end } = self.with_neighbours(offset..end);
        let _growth = self.inner.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.len()?;
        // XFS wants room for all that it is asked for, even where it is there.
        if self.expect_room(offset..end, before).map_err(failed)? {
            return Ok(());
        }
        self.take_room(offset..end, before).map_err(|cause| {
            // The kernel keeps what it had taken when room ran out. No map reaches behind `before`:
            // it learns of bytes only when they were allocated. Blocks that lie behind the end go
            // with the same call.
            if end > before {
                let _ = self.file().set_len(before);
            }
            failed(cause)
        })
    }

    fn missing_bytes(&self, offset: u64, len: u64) -> io::Result<u64> {
        let range = self.with_neighbours(offset..offset.saturating_add(len));
        let known_end = range.end.min(self.len()?).max(range.start);
        let beyond = range.end - known_end;
        let known = range.start..known_end;
        let bytes = known_end - range.start;
        Ok(beyond + extents::missing_bytes(self.file(), known).unwrap_or(bytes))
    }

    fn space_unit_bytes(&self) -> u64 {
        HOLE_UNIT_BYTES
    }

    fn give_back(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.chunks().is_some() {
            return Err(invalid_input(format!("{} is mapped", self.path().display())));
        }
        // Who does not hear of holes would take them for space.
        if extents::missing_bytes(self.file(), offset..offset.saturating_add(len)).is_none() {
            return Ok(());
        }
        self.dig(offset, len)
    }

    fn whole_end(&self, offset: u64) -> io::Result<u64> {
        let len = self.len()?;
        if room::check_file_size(len).is_err() {
            return Ok(offset);
        }
        Ok(extents::whole_end(self.file(), offset..len).unwrap_or(len))
    }

    fn renew(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.chunks().is_some() {
            return Err(invalid_input(format!("{} is mapped", self.path().display())));
        }
        let _growth = self.inner.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let file_end = self.len()?;
        let Some(end) = offset.checked_add(len).filter(|end| *end <= file_end) else {
            return Err(invalid_input(format!(
                "renew {len} bytes at {offset}, beyond the end at {file_end}"
            )));
        };
        let renewed = match self.give_up(offset, len) {
            Err(cause) if is_unsupported(&cause) && end == file_end => {
                self.cut_and_grow(offset, end)
            }
            // Written again, a page goes to the device whatever became of it before.
            Err(cause) if is_unsupported(&cause) => self.write_zeroes(offset, end),
            renewed => renewed,
        };
        renewed.map_err(|cause| self.error("renew a part of", cause))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut progress = Progress::new(buffer.len(), self.unit_bytes());
        while let Some(done) = progress.next() {
            let attempt = self.file().read_at(&mut buffer[done..], offset + done as u64);
            progress.note_read(attempt).map_err(|cause| self.error("read", cause))?;
        }
        Ok(progress.done)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        let Ok(start) = i64::try_from(offset) else { return Ok(None) };
        // SAFETY: the descriptor is open for the whole call (`&self`); no memory is passed. The
        // position that it moves is not used: every read and write names its own.
        let found = unsafe { libc::lseek(self.fd(), start, libc::SEEK_DATA) };
        if let Ok(found) = u64::try_from(found) {
            return Ok(Some(found));
        }
        match io::Error::last_os_error() {
            cause if cause.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            // The file system does not say.
            _ => Ok(Some(offset)),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.chunks().is_some_and(|chunks| chunks.intersects(offset, bytes.len() as u64)) {
            return Err(invalid_input(format!(
                "write over published bytes of {}, which is mapped",
                self.path().display()
            )));
        }
        self.write_all(bytes, offset)
    }

    fn make_durable(&self) -> io::Result<()> {
        self.file().sync_data().map_err(|cause| self.error("make durable", cause))
    }

    fn start_write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        write_back::start(self.file(), offset, len)
            .map_err(|cause| self.error("start writing back", cause))
    }

    fn write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        write_back::wait(self.file(), offset, len).map_err(|cause| self.error("write back", cause))
    }
}

impl fmt::Debug for SystemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SystemFile").field(&self.path()).finish()
    }
}

/// The whole units that `range` meets.
fn units_around(range: Range<u64>) -> Range<u64> {
    let start = range.start / HOLE_UNIT_BYTES * HOLE_UNIT_BYTES;
    start..range.end.next_multiple_of(HOLE_UNIT_BYTES)
}

fn is_unsupported(cause: &io::Error) -> bool {
    cause.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// The arithmetic of short counts, apart from any file.
///
/// A direct file only takes whole blocks at whole offsets. When the kernel stops in the middle of
/// one, a write starts that block anew, and a read has reached the end of the file.
#[derive(Debug)]
pub(crate) struct Progress {
    len: usize,
    unit_bytes: usize,
    done: usize,
    at_end: bool,
    stalls: u32,
}

impl Progress {
    pub fn new(len: usize, unit_bytes: usize) -> Self {
        Self { len, unit_bytes, done: 0, at_end: false, stalls: 0 }
    }

    /// Where to go on; `None` when there is nothing more to do.
    pub fn next(&self) -> Option<usize> {
        (self.done < self.len && !self.at_end).then_some(self.done)
    }

    /// Takes note of an attempt to read at [`Progress::next`].
    pub fn note_read(&mut self, attempt: io::Result<usize>) -> io::Result<()> {
        let Some(count) = self.count(attempt)? else { return Ok(()) };
        self.done += count;
        self.at_end = count == 0 || !self.done.is_multiple_of(self.unit_bytes);
        self.stalls = 0;
        Ok(())
    }

    /// Takes note of an attempt to write at [`Progress::next`].
    pub fn note_write(&mut self, attempt: io::Result<usize>) -> io::Result<()> {
        let Some(count) = self.count(attempt)? else { return Ok(()) };
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let written = self.done + count;
        let whole = if written == self.len { written } else { written - written % self.unit_bytes };
        if whole == self.done {
            return self.stall(io::ErrorKind::WriteZero.into());
        }
        self.done = whole;
        self.stalls = 0;
        Ok(())
    }

    /// The count of an attempt; `None` if a signal came first.
    fn count(&mut self, attempt: io::Result<usize>) -> io::Result<Option<usize>> {
        match attempt {
            Ok(count) => {
                assert!(count <= self.len - self.done, "the kernel moves no more than asked");
                Ok(Some(count))
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {
                self.stall(cause).map(|()| None)
            }
            Err(cause) => Err(cause),
        }
    }

    fn stall(&mut self, cause: io::Error) -> io::Result<()> {
        self.stalls += 1;
        if self.stalls > RETRY_COUNT_MAX { Err(cause) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interrupted() -> io::Result<usize> {
        Err(io::ErrorKind::Interrupted.into())
    }

    #[test]
    fn short_writes_go_on_at_a_block() {
        let mut progress = Progress::new(8192, 4096);
        assert_eq!(progress.next(), Some(0));
        progress.note_write(interrupted()).unwrap();
        progress.note_write(Ok(4000)).unwrap();
        assert_eq!(progress.next(), Some(0));
        progress.note_write(Ok(5000)).unwrap();
        assert_eq!(progress.next(), Some(4096));
        progress.note_write(Ok(4096)).unwrap();
        assert_eq!(progress.next(), None);
    }

    #[test]
    fn writes_that_get_nowhere_end() {
        let mut progress = Progress::new(4096, 512);
        assert_eq!(progress.note_write(Ok(0)).unwrap_err().kind(), io::ErrorKind::WriteZero);
        let stalls = (0..).take_while(|_| progress.note_write(Ok(511)).is_ok()).count();
        assert_eq!(stalls, RETRY_COUNT_MAX as usize);
        let mut progress = Progress::new(4096, 512);
        let stalls = (0..).take_while(|_| progress.note_write(interrupted()).is_ok()).count();
        assert_eq!(stalls, RETRY_COUNT_MAX as usize);
        let full = progress.note_write(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn reads_end_at_the_end_of_the_file() {
        let mut progress = Progress::new(8192, 4096);
        progress.note_read(Ok(4096)).unwrap();
        assert_eq!(progress.next(), Some(4096));
        progress.note_read(Ok(100)).unwrap();
        assert_eq!((progress.next(), progress.done), (None, 4196));
        let mut progress = Progress::new(10, 1);
        progress.note_read(Ok(3)).unwrap();
        progress.note_read(interrupted()).unwrap();
        progress.note_read(Ok(0)).unwrap();
        assert_eq!((progress.next(), progress.done), (None, 3));
    }

    #[test]
    fn a_renewed_range_is_zero_and_keeps_its_space() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        let file = options.open(dir.path().join("data")).unwrap();
        let access = Access { unit_bytes: 1, writable: true };
        let file = SystemFile::new(file, "data".into(), access);
        file.allocate(0, 8 * 4096).unwrap();
        file.write_at(&[7; 5 * 4096], 0).unwrap();
        let pages = || {
            let mut content = [9; 8 * 4096];
            assert_eq!(file.read_at(&mut content, 0).unwrap(), content.len());
            let page = |page: &[u8]| page.iter().all(|byte| *byte == page[0]).then_some(page[0]);
            content.chunks(4096).map(|bytes| page(bytes).unwrap()).collect::<Vec<_>>()
        };
        file.renew(4096, 2 * 4096).unwrap();
        assert_eq!(pages(), [7, 0, 0, 7, 7, 0, 0, 0]);
        file.renew(4 * 4096, 4 * 4096).unwrap();
        assert_eq!(pages(), [7, 0, 0, 7, 0, 0, 0, 0]);
        let blocks = file.file().metadata().unwrap().blocks();
        assert!(blocks * 512 >= 8 * 4096, "{blocks} blocks of 512 bytes");
        // What is written now is as durable as in a new file, and nothing beyond the end is
        // touched.
        file.write_at(&[8; 4096], 3 * 4096).unwrap();
        file.make_durable().unwrap();
        file.renew(8 * 4096, 0).unwrap();
        for (offset, len) in [(8 * 4096, 1), (u64::MAX, 1), (0, u64::MAX)] {
            let error = file.renew(offset, len).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{offset}: {error}");
        }
        assert_eq!(file.len().unwrap(), 8 * 4096);
    }

    #[test]
    fn zeroes_stand_in_for_allocation() {
        let file = tempfile::tempfile().unwrap();
        let access = Access { unit_bytes: 1, writable: true };
        let file = SystemFile::new(file, "data".into(), access);
        file.write_at(b"abc", 0).unwrap();
        file.append_zeroes(0, 10).unwrap();
        assert_eq!(file.len().unwrap(), 10);
        file.append_zeroes(5, (ZERO_STEP_BYTES + 20) as u64).unwrap();
        assert_eq!(file.len().unwrap(), (ZERO_STEP_BYTES + 20) as u64);
        let mut first = [9; 5];
        assert_eq!(file.read_at(&mut first, 0).unwrap(), 5);
        assert_eq!(&first, b"abc\0\0");
    }
}
