//! [`Memory`]: a disk that lives in memory and can lose its power.
//!
//! For tests. Everything is repeatable: time, randomness and what a crash leaves follow from seeds.
//! The disk forgets what the rules of [`crate::storage`](crate::Storage) let it forget, and no
//! more:
//! - file content and length are volatile until `make_durable`, or until a durable log write;
//! - names are volatile until `make_dir_durable`;
//! - bytes stored through a map are volatile until `make_durable` of the file, but any page of them
//!   may have reached the device before;
//! - a flush that failed leaves its bytes lost for good, and the next one does not say so.
//!
//! | module | what it holds |
//! |---|---|
//! | `image` | the bytes of one file, cached and durable |
//! | `names` | directory entries, live and durable |
//! | `log` | the path of group commits |
//! | `faults` | which calls are to fail |

mod faults;
mod image;
mod log;
mod names;
mod random;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{invalid_input, with_path};
use crate::map::{Appender, FileMap, MapOptions};
use crate::storage::{
    Backend, DataMapWriter, Facts, LockError, LogWriterOptions, OpenMode, Storage, StorageFile,
};

pub use faults::FaultKind;
pub use log::MemoryLog;

use faults::Faults;
use image::{FileState, Image};
use names::{Entries, Inode, Names};
use random::Random;

/// How far the clock of a disk moves each time somebody looks at it.
const TICK: Duration = Duration::from_micros(1);
/// The wall clock of a new disk: 2024-01-01T00:00:00Z.
const WALL_START_NS: i64 = 1_704_067_200_000_000_000;

/// Options of [`Memory::with_options`].
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// Where randomness starts. Default 0.
    pub seed: u64,
    /// Unit of direct I/O, a power of two from 512 to 4096. Default 4096.
    pub block_bytes: u32,
    /// Whether log writes in flight complete in random order, as devices do, or in theirs. Default:
    /// theirs.
    pub reorder_completions: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { seed: 0, block_bytes: 4096, reorder_completions: false }
    }
}

/// A disk in memory. Clones are handles of the same disk.
#[derive(Clone)]
pub struct Memory {
    disk: Arc<Disk>,
}

/// What all handles of a disk share. Lock order: the state before a file.
struct Disk {
    facts: Facts,
    options: MemoryOptions,
    state: Mutex<State>,
}

struct State {
    names: Names,
    locked: Vec<String>,
    faults: Faults,
    capacity_bytes: Option<u64>,
    random: Random,
    clock: Duration,
    wall_start_ns: i64,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty disk with default options.
    pub fn new() -> Self {
        Self::with_options(MemoryOptions::default())
    }

    /// An empty disk. Panics if `block_bytes` is not a power of two from 512 to 4096.
    pub fn with_options(options: MemoryOptions) -> Self {
        let block_bytes = options.block_bytes;
        assert!(block_bytes.is_power_of_two(), "a block of {block_bytes} bytes");
        assert!((512..=4096).contains(&block_bytes), "a block of {block_bytes} bytes");
        let random = Random::new(options.seed);
        Self::from_entries(options, Entries::default(), random, Duration::ZERO, WALL_START_NS)
    }

    fn from_entries(
        options: MemoryOptions,
        entries: Entries,
        random: Random,
        clock: Duration,
        wall_start_ns: i64,
    ) -> Self {
        let facts = Facts {
            block_bytes: options.block_bytes,
            direct: true,
            backend: Backend::Memory,
            warning: None,
        };
        let state = State {
            names: Names::new(entries),
            locked: Vec::new(),
            faults: Faults::default(),
            capacity_bytes: None,
            random,
            clock,
            wall_start_ns,
        };
        Self { disk: Arc::new(Disk { facts, options, state: Mutex::new(state) }) }
    }

    /// The disk after a loss of power in which everything that was not durable is lost. This disk
    /// is not changed; whoever still uses it, uses the past. Faults, capacity and locks are not
    /// carried over.
    pub fn crash(&self) -> Self {
        self.after_power_loss(None)
    }

    /// The disk after a loss of power in which each sector (or page, as the seed has it) and each
    /// name that was not durable survives or not at random. Otherwise as [`Memory::crash`].
    pub fn crash_with(&self, seed: u64) -> Self {
        self.after_power_loss(Some(Random::new(seed)))
    }

    fn after_power_loss(&self, mut random: Option<Random>) -> Self {
        let mut state = self.disk.state();
        let mut entries = state.names.survivors(random.as_mut());
        for inode in entries.files.values_mut() {
            let mut file = lock(inode);
            let content = match &mut random {
                Some(random) => file
                    .survivors(random)
                    .expect("memory files of the kernel can always be read within their length"),
                None => file.durable().clone(),
            };
            drop(file);
            *inode = Arc::new(Mutex::new(FileState::new(content)));
        }
        let next_random = Random::new(state.random.next());
        let (clock, wall_start_ns) = (state.clock, state.wall_start_ns);
        Self::from_entries(self.disk.options, entries, next_random, clock, wall_start_ns)
    }

    /// The `nth` call of this kind from now on, counted from 1, fails with an error of the device.
    pub fn fail_next(&self, kind: FaultKind, nth: u64) {
        self.disk.state().faults.add(kind, nth);
    }

    /// How many of the faults asked for have not happened yet.
    pub fn faults_waiting(&self) -> usize {
        self.disk.state().faults.waiting_count()
    }

    /// From now on all files together may have this many bytes; `StorageFull` beyond. `None`: no
    /// limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.state().capacity_bytes = bytes;
    }

    /// The length of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.disk.state().used_bytes()
    }

    /// Moves both clocks forward.
    pub fn advance(&self, time: Duration) {
        self.disk.state().clock += time;
    }

    /// Moves the wall clock by this many nanoseconds, forward or back; the monotonic clock stays.
    pub fn shift_wall_ns(&self, shift_ns: i64) {
        let mut state = self.disk.state();
        state.wall_start_ns = state.wall_start_ns.saturating_add(shift_ns);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("options", &self.disk.options).finish_non_exhaustive()
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panics while it holds the lock has failed already; the others may go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        self.names.files().map(|inode| lock(inode).len()).sum()
    }

    /// `StorageFull` if a file cannot grow to `end`.
    fn check_room(&self, inode: &Inode, end: u64) -> io::Result<()> {
        let Some(capacity_bytes) = self.capacity_bytes else { return Ok(()) };
        let growth_bytes = end.saturating_sub(lock(inode).len());
        if growth_bytes > 0 && self.used_bytes().saturating_add(growth_bytes) > capacity_bytes {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}

fn lock(inode: &Inode) -> MutexGuard<'_, FileState> {
    inode.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Storage for Memory {
    type File = MemoryFile;
    type Map = FileMap;
    type MapWriter = MemoryMapWriter;
    type Log = MemoryLog;
    type Lock = MemoryLock;

    fn facts(&self) -> &Facts {
        &self.disk.facts
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.disk.state().names.list(path).map_err(|cause| with_path("list", path.as_ref(), cause))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.change_name("create directory", path, |names| names.create_directory(path))
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<MemoryFile> {
        let create = matches!(mode, OpenMode::CreateMapped | OpenMode::CreateDirect);
        let direct = matches!(mode, OpenMode::Direct | OpenMode::CreateDirect);
        let inode = if create {
            let inode = Arc::new(Mutex::new(FileState::new(Image::default())));
            self.change_name("create", path, |names| names.create(path, Arc::clone(&inode)))?;
            inode
        } else {
            let open = || {
                let mut state = self.disk.state();
                state.faults.call(FaultKind::Name)?;
                state.names.file(path)
            };
            open().map_err(|cause| with_path("open", path.as_ref(), cause))?
        };
        Ok(MemoryFile {
            disk: Arc::clone(&self.disk),
            inode,
            path: path.into(),
            unit_bytes: if direct { self.disk.facts.block_bytes as usize } else { 1 },
            writable: mode != OpenMode::Read,
        })
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        self.change_name("rename", source, |names| names.rename(source, target))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.change_name("remove", path, |names| names.remove(path))
    }

    fn make_dir_durable(&self, path: &str) -> io::Result<()> {
        let mut state = self.disk.state();
        state
            .faults
            .call(FaultKind::MakeDirDurable)
            .and_then(|()| state.names.make_durable(path))
            .map_err(|cause| with_path("make durable the directory", path.as_ref(), cause))
    }

    /// Patience is not needed here: a holder in this process will not go away by itself.
    fn lock(&self, path: &str, _patience: Duration) -> Result<MemoryLock, LockError> {
        let mut state = self.disk.state();
        if state.locked.iter().any(|locked| locked == path) {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        if state.names.file(path).is_err() {
            let inode = Arc::new(Mutex::new(FileState::new(Image::default())));
            state
                .names
                .create(path, inode)
                .map_err(|cause| LockError::Io(with_path("lock", path.as_ref(), cause)))?;
        }
        state.locked.push(path.to_owned());
        Ok(MemoryLock { disk: Arc::clone(&self.disk), path: path.to_owned() })
    }

    fn map(
        &self,
        file: &MemoryFile,
        reserve_bytes: u64,
        chunk_bytes: u64,
        readable: &[u64],
    ) -> io::Result<(FileMap, MemoryMapWriter)> {
        let mut state = lock(&file.inode);
        if state.is_mapped() {
            let cause = io::Error::new(io::ErrorKind::ResourceBusy, "it is mapped already");
            return Err(file.error("map", cause));
        }
        let options = MapOptions {
            reserve_bytes,
            chunk_bytes,
            allocated_bytes: state.len(),
            writable: file.writable,
            huge_pages: false,
        };
        let (map, appender) =
            state.map(options, readable).map_err(|cause| file.error("map", cause))?;
        drop(state);
        Ok((map, MemoryMapWriter { appender, file: file.clone() }))
    }

    fn log_writer(&self, options: LogWriterOptions) -> io::Result<MemoryLog> {
        MemoryLog::new(&self.disk, options)
    }

    fn now(&self) -> Duration {
        let mut state = self.disk.state();
        state.clock += TICK;
        state.clock
    }

    fn wall_ns(&self) -> i64 {
        let mut state = self.disk.state();
        state.clock += TICK;
        let since_start_ns = i64::try_from(state.clock.as_nanos()).unwrap_or(i64::MAX);
        state.wall_start_ns.saturating_add(since_start_ns)
    }

    fn random(&self) -> u64 {
        self.disk.state().random.next()
    }
}

impl Memory {
    fn change_name(
        &self,
        action: &'static str,
        path: &str,
        change: impl FnOnce(&mut Names) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.disk.state();
        state
            .faults
            .call(FaultKind::Name)
            .and_then(|()| change(&mut state.names))
            .map_err(|cause| with_path(action, path.as_ref(), cause))
    }
}

/// Holds a name of a [`Memory`] until dropped.
pub struct MemoryLock {
    disk: Arc<Disk>,
    path: String,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.state().locked.retain(|locked| *locked != self.path);
    }
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryLock").field(&self.path).finish()
    }
}

/// An open file of a [`Memory`]. Clones share the same open file.
#[derive(Clone)]
pub struct MemoryFile {
    disk: Arc<Disk>,
    inode: Inode,
    path: Arc<str>,
    unit_bytes: usize,
    writable: bool,
}

impl MemoryFile {
    fn error(&self, action: &'static str, cause: io::Error) -> io::Error {
        with_path(action, (*self.path).as_ref(), cause)
    }

    /// Counts a call that may fail, and refuses what the file was not opened for.
    fn call(&self, kind: FaultKind) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.faults.call(kind)?;
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

    fn grow(&self, end: u64) -> io::Result<()> {
        let state = self.call(FaultKind::Allocate)?;
        state.check_room(&self.inode, end)?;
        let mut file = lock(&self.inode);
        if end > file.len() { file.set_len(end) } else { Ok(()) }
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
        self.grow(end).map_err(|cause| self.error("allocate space for", cause))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let set = || {
            let state = self.call(FaultKind::Write)?;
            state.check_room(&self.inode, len)?;
            let mut file = lock(&self.inode);
            if file.is_mapped() {
                return Err(invalid_input("it is mapped"));
            }
            file.set_len(len)
        };
        set().map_err(|cause| self.error("set the length of", cause))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(FaultKind::Read)
            .and_then(|_| self.check_alignment(buffer, offset))
            .and_then(|()| lock(&self.inode).read(buffer, offset))
            .map_err(|cause| self.error("read", cause))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let write = || {
            let state = self.call(FaultKind::Write)?;
            self.check_alignment(bytes, offset)?;
            state.check_room(&self.inode, offset + bytes.len() as u64)?;
            lock(&self.inode).write(bytes, offset)
        };
        write().map_err(|cause| self.error("write", cause))
    }

    fn make_durable(&self) -> io::Result<()> {
        let flush = || match self.call(FaultKind::MakeDurable) {
            Ok(_state) => lock(&self.inode).make_durable(),
            Err(cause) => {
                lock(&self.inode).lose_all();
                Err(cause)
            }
        };
        flush().map_err(|cause| self.error("make durable", cause))
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

/// The only writer of a map of a [`Memory`].
pub struct MemoryMapWriter {
    appender: Appender,
    file: MemoryFile,
}

impl DataMapWriter for MemoryMapWriter {
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        if bytes <= self.appender.allocated_bytes() {
            return Ok(());
        }
        if bytes > self.appender.reserve_bytes() {
            let cause = invalid_input(format!("{bytes} bytes are more than were reserved"));
            return Err(self.file.error("grow", cause));
        }
        self.file.grow(bytes).map_err(|cause| self.file.error("grow", cause))?;
        self.appender.set_allocated_bytes(bytes);
        Ok(())
    }

    fn append(&mut self, address: u64, parts: &[&[u8]]) {
        self.appender.append(address, parts);
    }

    fn prefault(&mut self, _address: u64, _len: u64) {
        // A hint; in memory there is nothing to gain from it.
    }
}

impl fmt::Debug for MemoryMapWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryMapWriter").field(&self.file).finish()
    }
}
