//! [`System`]: the [`Storage`] of a real directory.
//!
//! Invariants:
//! - [`System::open`] chooses the backend, once, and [`Storage::facts`] names it;
//! - a file opened as direct is direct wherever [`Facts::direct`] says so; elsewhere the same calls
//!   go through the page cache, and durability comes from the same flushes.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::buffer::AlignedBuffer;
use crate::device::{DirectFacts, direct_facts, direct_facts_of};
use crate::directory::Directory;
use crate::error::{MAP, invalid_input, with_path};
use crate::file::{Access, SystemFile};
use crate::holder::Holder;
use crate::lock::{self, Hold, SystemLock};
use crate::map::{Appender, Chunks, ClosedChunk, FileMap, MapOptions, MappedChunk, map_file};
use crate::owner::Owner;
use crate::pool::BufferPool;
use crate::ring::RingLog;
use crate::room;
use crate::storage::{
    Backend, CommitStrategy, DataMapWriter, Facts, GroupDone, GroupWrite, LockError, LogCounters,
    LogWriter, LogWriterOptions, OpenMode, Storage, StorageFile,
};
use crate::syscalls::SyscallLog;

/// Which way to the kernel [`System::open`] takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// io_uring if the kernel allows it, plain system calls if not ([`Facts::warning`] says why).
    #[default]
    Auto,
    /// io_uring or nothing.
    Ring,
    /// Plain system calls.
    Syscalls,
}

/// Options of [`System::open`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemOptions {
    /// Which way to the kernel to take. Default: [`BackendChoice::Auto`].
    pub backend: BackendChoice,
}

/// A directory of a real file system.
#[derive(Debug)]
pub struct System {
    directory: Directory,
    facts: Facts,
    choice: BackendChoice,
    owner: Owner,
    start: Instant,
    /// The lock, while it is held.
    hold: Mutex<Weak<Hold>>,
    /// The files that are mapped, by device and inode.
    maps: Mutex<Vec<(FileId, Weak<Chunks>)>>,
}

/// Device and inode: which file it is, under any name and handle.
type FileId = (u64, u64);

impl System {
    /// Opens a directory, which must exist, and finds out what its device wants and what the kernel
    /// allows. Leaves nothing behind.
    ///
    /// Errors: `NotFound` or `NotADirectory` for the directory. With [`BackendChoice::Ring`],
    /// `PermissionDenied`, `Unsupported` or `OutOfMemory` when io_uring cannot be used; the message
    /// says why, and what to do about it.
    pub fn open(dir: &Path, options: SystemOptions) -> io::Result<Self> {
        let directory = Directory::open(dir)?;
        let direct = direct_facts(&directory).map_err(|cause| with_path("look at", dir, cause))?;
        let (backend, warning) = match options.backend {
            BackendChoice::Syscalls => (Backend::Syscalls, None),
            BackendChoice::Ring => {
                RingLog::probe(directory.file()).map_err(|refusal| refusal.into_error())?;
                (Backend::Ring, None)
            }
            BackendChoice::Auto => match RingLog::probe(directory.file()) {
                Ok(()) => (Backend::Ring, None),
                Err(refusal) => (
                    Backend::Syscalls,
                    Some(format!(
                        "{refusal}. Using plain system calls, which are just as safe but leave \
                         the waiting thread nothing else to do"
                    )),
                ),
            },
        };
        Ok(Self::new(directory, direct, (backend, warning), options.backend))
    }

    /// Opens a directory to read files that are there, without leave to write in it, and without
    /// making any file, not even for a moment. `path` is one of them, which says what direct reads
    /// want; if it is not there, reads go through the page cache.
    ///
    /// Errors: as for [`System::open`].
    pub fn open_to_read(dir: &Path, path: &str) -> io::Result<Self> {
        let directory = Directory::open(dir)?;
        let direct =
            direct_facts_of(&directory, path).map_err(|cause| with_path("look at", dir, cause))?;
        let backend = (Backend::Syscalls, None);
        Ok(Self::new(directory, direct, backend, BackendChoice::Syscalls))
    }

    fn new(
        directory: Directory,
        direct: DirectFacts,
        (backend, warning): (Backend, Option<String>),
        choice: BackendChoice,
    ) -> Self {
        let DirectFacts { block_bytes, direct } = direct;
        Self {
            directory,
            facts: Facts { block_bytes, direct, backend, warning },
            choice,
            owner: Owner::new(),
            start: Instant::now(),
            hold: Mutex::default(),
            maps: Mutex::default(),
        }
    }

    fn hold(&self) -> MutexGuard<'_, Weak<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_file(&self, path: &str, mode: OpenMode) -> io::Result<SystemFile> {
        let flags = match mode {
            OpenMode::Read | OpenMode::ReadDirect => libc::O_RDONLY,
            OpenMode::Mapped | OpenMode::Direct => libc::O_RDWR,
            OpenMode::CreateMapped | OpenMode::CreateDirect => {
                libc::O_RDWR | libc::O_CREAT | libc::O_EXCL
            }
        };
        let direct = mode.is_direct() && self.facts.direct;
        let access = Access {
            unit_bytes: if direct { self.facts.block_bytes as usize } else { 1 },
            writable: mode.is_writable(),
        };
        let flags = if direct { flags | libc::O_DIRECT } else { flags };
        let file = self.directory.open_file(path, flags)?;
        Ok(SystemFile::new(file, self.directory.path_of(path), access))
    }
}

impl Storage for System {
    type File = SystemFile;
    type Map = FileMap;
    type MapWriter = SystemMapWriter;
    type Log = SystemLog;
    type Lock = SystemLock;

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.directory.list(path)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.directory.create_dir(path)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SystemFile> {
        let action = match mode {
            OpenMode::CreateMapped | OpenMode::CreateDirect => "create",
            _ => "open",
        };
        self.open_file(path, mode).map_err(|cause| self.directory.error(action, path, cause))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        self.directory.rename(source, target)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.directory.remove(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.directory.remove_dir(path)
    }

    fn make_dir_durable(&self, path: &str) -> io::Result<()> {
        self.directory.make_durable(path)
    }

    fn lock(&self, path: &str, patience: Duration) -> Result<SystemLock, LockError> {
        let lock = SystemLock::take(&self.directory, path, patience)?;
        *self.hold() = Arc::downgrade(lock.hold());
        Ok(lock)
    }

    fn holder(&self, path: &str) -> io::Result<Option<Holder>> {
        lock::holder(&self.directory, path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        room::free_bytes(self.directory.file())
            .map_err(|cause| self.directory.error("look for free space in", "", cause))
    }

    fn map(
        &self,
        file: &SystemFile,
        reserve_bytes: u64,
        chunk_bytes: u64,
        chunks: &[MappedChunk],
    ) -> io::Result<(FileMap, SystemMapWriter)> {
        let id = file.id()?;
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.retain(|(_, chunks)| chunks.strong_count() > 0);
        if maps.iter().any(|&(mapped, _)| mapped == id) {
            let cause = io::Error::new(io::ErrorKind::ResourceBusy, "it is mapped already");
            return Err(file.error(MAP, cause));
        }
        let options = MapOptions {
            reserve_bytes,
            chunk_bytes,
            file_bytes: file.len()?,
            writable: file.is_writable(),
            huge_pages: true,
            prefaults: true,
        };
        let (map, appender, chunks) =
            map_file(file.file(), options, chunks).map_err(|cause| file.error(MAP, cause))?;
        file.set_chunks(&chunks);
        maps.push((id, Arc::downgrade(&chunks)));
        Ok((map, SystemMapWriter { appender, file: file.clone() }))
    }

    fn log_writer(&self, options: LogWriterOptions) -> io::Result<SystemLog> {
        let pool = BufferPool::new(options, self.facts.block_bytes)?;
        if self.facts.backend != Backend::Ring {
            return Ok(SystemLog::Syscalls(SyscallLog::new(pool)));
        }
        let hold = self.hold().upgrade();
        match RingLog::new(pool, options.strategy, hold) {
            Ok(log) => Ok(SystemLog::Ring(Box::new(log))),
            // Allowed at open, refused now: the process may have reached a limit since.
            Err(_) if self.choice == BackendChoice::Auto => {
                let pool = BufferPool::new(options, self.facts.block_bytes)?;
                Ok(SystemLog::Syscalls(SyscallLog::new(pool)))
            }
            Err(refusal) => Err(refusal.into_error()),
        }
    }

    fn owner(&self) -> Owner {
        self.owner
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ns(&self) -> i64 {
        // A clock before 1970 or after 2262 is a wrong clock; its nearest valid time is returned.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    fn random(&self) -> u64 {
        // Keyed by the operating system's random source, with a new key at every call.
        RandomState::new().hash_one(self.start)
    }
}

/// The only writer of a map of a [`System`].
pub struct SystemMapWriter {
    appender: Appender,
    file: SystemFile,
}

impl DataMapWriter for SystemMapWriter {
    fn allocate(&mut self, places: Range<u64>) -> io::Result<()> {
        let Some(range) = self.appender.range_of(&places) else {
            return Err(invalid_input(format!(
                "{} has no places {places:?}: {} bytes were reserved",
                self.file.path().display(),
                self.appender.reserve_bytes()
            )));
        };
        if !self.appender.are_allocated(places.clone()) {
            self.file.allocate(range.start, range.end - range.start)?;
            self.appender.note_allocated(places);
        }
        Ok(())
    }

    fn deallocate(&mut self, places: Range<u64>) -> io::Result<()> {
        self.appender.note_deallocated(places.clone());
        self.file.punch(places)
    }

    fn give_back_rest(&mut self, number: u64) -> io::Result<()> {
        let rest = self.appender.note_rest_given_back(number);
        self.file.punch_rest(rest)
    }

    fn open_chunks(&mut self, number: u64, place: u64, count: u64) -> bool {
        self.appender.open_chunks(number, place, count)
    }

    fn close_chunk(&mut self, number: u64) -> ClosedChunk {
        self.appender.close_chunk(number)
    }

    fn is_given_back(&mut self, closed: &mut ClosedChunk) -> bool {
        self.appender.is_given_back(closed)
    }

    fn append(&mut self, address: u64, parts: &[&[u8]]) {
        self.appender.append(address, parts);
    }

    fn append_written(&mut self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let Self { appender, file } = self;
        let write = |bytes: &[u8], offset| file.write_at(bytes, offset);
        match appender.append_written(address, bytes, write) {
            // A limit of the process bounds writes, and no store into space that is there.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                appender.append(address, &[bytes]);
                Ok(())
            }
            written => written,
        }
    }
}

impl fmt::Debug for SystemMapWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SystemMapWriter").field(&self.file).finish()
    }
}

/// The way of group commits to a [`System`].
#[derive(Debug)]
pub enum SystemLog {
    /// Through io_uring. All strategies can be chosen.
    Ring(Box<RingLog>),
    /// Through plain system calls: [`CommitStrategy::Syscall`] only.
    Syscalls(SyscallLog),
}

impl LogWriter for SystemLog {
    type File = SystemFile;

    fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuffer> {
        match self {
            Self::Ring(log) => log.buffer(bytes),
            Self::Syscalls(log) => log.buffer(bytes),
        }
    }

    fn submit(&mut self, write: GroupWrite<SystemFile>) -> io::Result<u64> {
        match self {
            Self::Ring(log) => log.submit(write),
            Self::Syscalls(log) => log.submit(write),
        }
    }

    fn complete(&mut self) -> Option<GroupDone> {
        match self {
            Self::Ring(log) => log.complete(),
            Self::Syscalls(log) => log.complete(),
        }
    }

    fn counters(&self) -> LogCounters {
        match self {
            Self::Ring(log) => log.counters(),
            Self::Syscalls(log) => log.counters(),
        }
    }

    fn strategy(&self) -> CommitStrategy {
        match self {
            Self::Ring(log) => log.strategy(),
            Self::Syscalls(log) => log.strategy(),
        }
    }

    fn set_strategy(&mut self, strategy: CommitStrategy) -> io::Result<()> {
        match self {
            Self::Ring(log) => log.set_strategy(strategy),
            Self::Syscalls(log) => log.set_strategy(strategy),
        }
    }
}
