//! [`MemoryFile`]: files of a [`crate::Memory`], open and mapped.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use uarr_uring::parts::{AnonymousFile, Appender, MapOptions};
use uarr_uring::parts::{invalid_input, with_path};
use uarr_uring::{ClosedChunk, DataMapWriter, FileMap, MappedChunk, PAGE_BYTES, StorageFile};

use crate::content::{Inode, lock};
use crate::disk::{Disk, State};
use crate::faults::FaultKind;
use crate::lies::Lie;

/// An open file of a [`crate::Memory`]. Clones share the same open file.
#[derive(Clone)]
pub struct MemoryFile {
    disk: Arc<Disk>,
    inode: Inode,
    path: Arc<str>,
    unit_bytes: usize,
    writable: bool,
}

impl MemoryFile {
    pub(crate) fn new(
        disk: &Arc<Disk>,
        inode: Inode,
        path: &str,
        unit_bytes: usize,
        writable: bool,
    ) -> Self {
        Self { disk: Arc::clone(disk), inode, path: path.into(), unit_bytes, writable }
    }

    pub(crate) fn inode(&self) -> &Inode {
        &self.inode
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn map(
        &self,
        reserve_bytes: u64,
        chunk_bytes: u64,
        chunks: &[MappedChunk],
    ) -> io::Result<(FileMap, MemoryMapWriter)> {
        let filter = self.disk.state().lies.filter.clone();
        let mut state = lock(&self.inode);
        if state.is_mapped() {
            let cause = io::Error::new(io::ErrorKind::ResourceBusy, "it is mapped already");
            return Err(self.error("map", cause));
        }
        let options = MapOptions {
            reserve_bytes,
            chunk_bytes,
            file_bytes: state.len(),
            writable: self.writable,
            huge_pages: false,
            // In memory there is nothing to gain from it.
            prefaults: false,
        };
        let filter_all = |memory: &mut AnonymousFile| {
            let Some(filter) = filter else { return Ok(()) };
            let mut bytes = vec![0; memory.file_bytes() as usize];
            memory.read_at(&mut bytes, 0)?;
            filter(&self.path, &mut bytes);
            memory.write_at(&bytes, 0)
        };
        let (map, appender) =
            state.map(options, chunks, filter_all).map_err(|cause| self.error("map", cause))?;
        drop(state);
        Ok((map, MemoryMapWriter { appender, file: self.clone() }))
    }

    pub(crate) fn error(&self, action: &'static str, cause: io::Error) -> io::Error {
        with_path(action, (*self.path).as_ref(), cause)
    }

    /// Counts a call that may fail, and refuses what the file was not opened for.
    pub(crate) fn call(
        &self,
        kind: FaultKind,
        place: [u64; 2],
    ) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.step(&self.disk, kind, &self.path, place)?;
        if !self.writable && kind != FaultKind::Read && kind != FaultKind::MakeDurable {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(state)
    }

    /// Direct files take whole blocks only, as the kernel does.
    fn check_alignment(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let unit_bytes = self.unit_bytes;
        let aligned = bytes.as_ptr().addr().is_multiple_of(unit_bytes)
            && bytes.len().is_multiple_of(unit_bytes)
            && offset.is_multiple_of(unit_bytes as u64);
        if aligned { Ok(()) } else { Err(invalid_input("direct I/O that is not aligned")) }
    }

    fn take_space(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.call(FaultKind::Allocate, [range.start, range.end])?;
        if let Err(full) = state.check_room(&self.inode, range.clone()) {
            if self.disk.options.hostile {
                // What there was is taken before the lack of room is noticed.
                self.take_some_space(&mut state, range)?;
            }
            return Err(full);
        }
        lock(&self.inode).allocate(range)
    }

    fn take_some_space(&self, state: &mut State, range: Range<u64>) -> io::Result<()> {
        let middle = range.start + state.random.below(range.end - range.start);
        let part = range.start..middle;
        match state.check_room(&self.inode, part.clone()) {
            Ok(()) => lock(&self.inode).allocate(part),
            Err(_) => Ok(()),
        }
    }
}

impl StorageFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.inode).len())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset
            .checked_add(len)
            .ok_or_else(|| invalid_input(format!("allocate {len} bytes at {offset}")))?;
        self.take_space(offset..end).map_err(|cause| self.error("allocate space for", cause))
    }

    fn missing_bytes(&self, offset: u64, len: u64) -> io::Result<u64> {
        Ok(lock(&self.inode).missing_bytes(offset..offset + len))
    }

    fn space_unit_bytes(&self) -> u64 {
        self.disk.state().space_unit_bytes
    }

    fn give_back(&self, offset: u64, len: u64) -> io::Result<()> {
        let give_back = || {
            let mut state = self.call(FaultKind::Deallocate, [offset, len])?;
            let mut file = lock(&self.inode);
            if file.is_mapped() {
                return Err(invalid_input("it is mapped"));
            }
            state.punch(&mut file, offset..offset + len)
        };
        give_back().map_err(|cause| self.error("give back space of", cause))
    }

    fn whole_end(&self, offset: u64) -> io::Result<u64> {
        Ok(lock(&self.inode).whole_end(offset))
    }

    fn renew(&self, offset: u64, len: u64) -> io::Result<()> {
        let renew = || {
            let state = self.call(FaultKind::Write, [offset, len])?;
            if state.lies.has(Lie::NothingRenewed) {
                return Ok(());
            }
            let mut file = lock(&self.inode);
            if file.is_mapped() {
                return Err(invalid_input("it is mapped"));
            }
            if offset.checked_add(len).is_none_or(|end| end > file.len()) {
                return Err(invalid_input(format!("{len} bytes at {offset}, beyond the end")));
            }
            file.renew(offset, len)
        };
        renew().map_err(|cause| self.error("renew a part of", cause))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = |buffer: &mut [u8]| {
            let state = self.call(FaultKind::Read, [offset, buffer.len() as u64])?;
            self.check_alignment(buffer, offset)?;
            if state.lies.redirect(&self.path, offset) != offset {
                buffer.fill(0);
                return Ok(buffer.len());
            }
            let filter = state.lies.filter.clone();
            drop(state);
            let file = lock(&self.inode);
            let count = file.read(buffer, offset)?;
            if let Some(filter) = filter {
                // Readers of any part see the same bytes.
                let mut bytes = vec![0; file.len() as usize];
                file.read(&mut bytes, 0)?;
                filter(&self.path, &mut bytes);
                buffer[..count].copy_from_slice(&bytes[offset as usize..][..count]);
            }
            Ok(count)
        };
        read(buffer).map_err(|cause| self.error("read", cause))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let write = || {
            let mut state = self.call(FaultKind::Write, [offset, bytes.len() as u64])?;
            state.trace.mix_bytes(bytes);
            self.check_alignment(bytes, offset)?;
            let offset = state.lies.redirect(&self.path, offset);
            state.check_room(&self.inode, offset..offset + bytes.len() as u64)?;
            let mut file = lock(&self.inode);
            file.write(bytes, offset)?;
            if state.lies.loses_copy(&self.path, bytes) {
                file.lose(offset..offset + bytes.len() as u64);
            }
            Ok(())
        };
        write().map_err(|cause| self.error("write", cause))
    }

    fn make_durable(&self) -> io::Result<()> {
        let flushed = match self.call(FaultKind::MakeDurable, [0, 0]) {
            Ok(state) if state.lies.skips_flush(&self.path) => Ok(()),
            Ok(mut state) => lock(&self.inode).make_durable(&mut state.lies),
            Err(cause) => {
                let mut state = self.disk.state();
                match self.unit_bytes {
                    1 => lock(&self.inode).fail_flush(&mut state.random)?,
                    _ => lock(&self.inode).drop_some(0..u64::MAX, &mut state.random)?,
                }
                Err(cause)
            }
        };
        match flushed {
            Err(cause) if self.disk.state().retries_flush(&cause) => Ok(()),
            flushed => flushed.map_err(|cause| self.error("make durable", cause)),
        }
    }

    fn write_back(&self, _offset: u64, _len: u64) -> io::Result<()> {
        // A crash may keep any dirty page anyway; but this learns of what the kernel failed to do.
        let written = match self.call(FaultKind::MakeDurable, [0, 0]) {
            Ok(_) => lock(&self.inode).told(),
            Err(cause) => {
                let mut state = self.disk.state();
                lock(&self.inode).fail_flush(&mut state.random)?;
                Err(cause)
            }
        };
        written.map_err(|cause| self.error("write back", cause))
    }

    fn start_write_back(&self, _offset: u64, _len: u64) -> io::Result<()> {
        // Nothing is promised, and a crash may keep any dirty page anyway.
        Ok(())
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryFile").field(&self.path).finish()
    }
}

/// The only writer of a map of a [`crate::Memory`].
pub struct MemoryMapWriter {
    appender: Appender,
    file: MemoryFile,
}

impl DataMapWriter for MemoryMapWriter {
    fn allocate(&mut self, places: Range<u64>) -> io::Result<()> {
        let Some(range) = self.appender.range_of(&places) else {
            let cause = invalid_input(format!("places {places:?} are more than were reserved"));
            return Err(self.file.error("allocate", cause));
        };
        if !self.appender.are_allocated(places.clone()) {
            let failed = |cause| self.file.error("allocate", cause);
            self.file.take_space(range).map_err(failed)?;
            self.appender.note_allocated(places);
        }
        Ok(())
    }

    fn deallocate(&mut self, places: Range<u64>) -> io::Result<()> {
        let range = self.appender.range_of(&places).expect("places of the map");
        self.appender.note_deallocated(places);
        let punch = || {
            let mut state = self.file.call(FaultKind::Deallocate, [range.start, range.end])?;
            let mut file = lock(&self.file.inode);
            let range = range.start..range.end.min(file.len());
            if range.is_empty() {
                return Ok(());
            }
            state.punch(&mut file, range)
        };
        punch().map_err(|cause| self.file.error("give back space of", cause))
    }

    fn give_back_rest(&mut self, number: u64) -> io::Result<()> {
        let rest = self.appender.note_rest_given_back(number);
        let punch = || {
            let mut state = self.file.call(FaultKind::Deallocate, [rest.start, rest.end])?;
            let mut file = lock(&self.file.inode);
            let unit_bytes = state.space_unit_bytes.max(PAGE_BYTES as u64);
            let range = rest.start.next_multiple_of(unit_bytes)..rest.end.min(file.len());
            if range.is_empty() { Ok(()) } else { state.punch(&mut file, range) }
        };
        punch().map_err(|cause| self.file.error("give back space of", cause))
    }

    fn open_chunks(&mut self, number: u64, place: u64, count: u64) -> bool {
        self.file.disk.state().trace.mix(number ^ place << 32);
        self.appender.open_chunks(number, place, count)
    }

    fn close_chunk(&mut self, number: u64) -> ClosedChunk {
        self.file.disk.state().trace.mix(number);
        self.appender.close_chunk(number)
    }

    fn is_given_back(&mut self, closed: &mut ClosedChunk) -> bool {
        self.appender.is_given_back(closed)
    }

    fn append(&mut self, address: u64, parts: &[&[u8]]) {
        {
            let mut state = self.file.disk.state();
            state.trace.mix(address);
            parts.iter().for_each(|part| state.trace.mix_bytes(part));
        }
        self.appender.append(address, parts);
    }

    fn append_written(&mut self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let Self { appender, file } = self;
        appender.append_written(address, bytes, |bytes, offset| file.write_at(bytes, offset))
    }
}

impl fmt::Debug for MemoryMapWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryMapWriter").field(&self.file).finish()
    }
}
