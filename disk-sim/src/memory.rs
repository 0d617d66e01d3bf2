//! [`Memory`]: a handle of a simulated disk: what tests do to it, and the [`Storage`] that it is.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use uarr_uring::parts::with_path;
use uarr_uring::{
    Facts, FileMap, Holder, LockError, LogWriterOptions, MappedChunk, OpenMode, Storage,
};

use crate::content::FileState;
use crate::disk::{Disk, MemoryOptions};
use crate::faults::{Fault, FaultKind, Faults};
use crate::file::{MemoryFile, MemoryMapWriter};
use crate::lies::{Lie, ReadFilter};
use crate::lock::MemoryLock;
use crate::log::MemoryLog;
use crate::names::Names;
use crate::power::Death;

/// A disk in memory. Clones are handles of the same disk.
#[derive(Clone)]
pub struct Memory {
    disk: Arc<Disk>,
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
        Self { disk: Disk::new(options) }
    }

    /// The disk after a loss of power in which everything that was not durable is lost. This disk
    /// stays as it is; its users use the past. The new disk has its lies, but not its faults,
    /// capacity and locks. The monotonic clock starts again.
    pub fn crash(&self) -> Self {
        Self { disk: self.disk.remains_of(None) }
    }

    /// The disk after a loss of power in which each sector (or page, as the seed has it) and each
    /// name that was not durable survives or not at random. Otherwise as [`Memory::crash`].
    pub fn crash_with(&self, seed: u64) -> Self {
        Self { disk: self.disk.remains_of(Some((Death::PowerLoss, seed))) }
    }

    /// The disk as the next process finds it when the one that uses it is killed: nothing that was
    /// written is lost, but what was not durable still is not, and log writes in flight go on.
    /// Otherwise as [`Memory::crash`].
    pub fn kill_with(&self, seed: u64) -> Self {
        Self { disk: self.disk.remains_of(Some((Death::Kill, seed))) }
    }

    /// The disk, or its user, dies before call number `step`, counted from now on from 1, has any
    /// effect. From then on all calls of this disk fail and change nothing, and [`Memory::remains`]
    /// has what is left.
    pub fn die_at(&self, step: u64, death: Death, seed: u64) {
        assert!(step > 0, "steps are counted from 1");
        let mut state = self.disk.state();
        state.power.death = Some((state.power.step_count + step, death, seed));
    }

    /// What is left of a disk that has died as [`Memory::die_at`] asked, and `None` before that.
    /// Takes back the wish to die.
    pub fn remains(&self) -> Option<Self> {
        self.disk.state().left_behind().map(|disk| Self { disk })
    }

    /// Whether it has died as [`Memory::die_at`] asked.
    pub fn is_dead(&self) -> bool {
        self.disk.state().is_dead()
    }

    /// How many calls there were since the disk was new or died.
    pub fn step_count(&self) -> u64 {
        self.disk.state().power.step_count
    }

    /// A hash over every call so far with all its arguments and written bytes, over all deaths. The
    /// same seed gives the same hash if the disk's user does the same things.
    pub fn trace_hash(&self) -> u64 {
        self.disk.state().trace.hash()
    }

    /// Breaks a promise from now on.
    pub fn lie(&self, lie: Lie) {
        self.disk.state().lies.tell(lie);
    }

    /// How many pages will be lost or land elsewhere by lies that were told.
    pub fn misplaced_ahead(&self) -> usize {
        self.disk.state().lies.misplaced_ahead()
    }

    /// From now on readers get what `filter` makes of the bytes of each file. One that
    /// is mapped is filtered when it is mapped for the first time.
    pub fn filter_reads(&self, filter: ReadFilter) {
        self.disk.state().lies.filter = Some(filter);
    }

    /// From now on `count` log writes come back, one after the other, and those behind them stay at
    /// the device until this is called again; `None`: all come back.
    pub fn answer(&self, count: Option<u64>) {
        self.disk.answers.limit(count);
    }

    /// How many log writes were sent to the device since the disk was new or died.
    pub fn sent_count(&self) -> u64 {
        self.disk.answers.sent_count()
    }

    /// Lets calls fail.
    pub fn fail(&self, fault: Fault) {
        self.disk.state().faults.add(fault);
    }

    /// The `nth` call of this kind from now on, counted from 1, fails with EIO.
    pub fn fail_next(&self, kind: FaultKind, nth: u64) {
        self.fail(Fault::new(kind, nth));
    }

    /// The `nth` call of this kind from now on, counted from 1, and every later one fail with EIO.
    pub fn fail_from(&self, kind: FaultKind, nth: u64) {
        self.fail(Fault::new(kind, nth).lasting());
    }

    /// Cancels all faults that have not happened yet, and heals the lasting ones.
    pub fn forget_faults(&self) {
        self.disk.state().faults = Faults::default();
    }

    /// True if any call may still fail because a test asked for that.
    pub fn has_faults(&self) -> bool {
        !self.disk.state().faults.is_empty()
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

    /// From now on mapped files get space, and give it back, in units of `bytes`, a power of two:
    /// that is what is said, and left to who asks.
    pub fn set_space_unit(&self, bytes: u64) {
        assert!(bytes.is_power_of_two());
        self.disk.state().space_unit_bytes = bytes;
    }

    /// The length of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.disk.state().used_bytes()
    }

    /// Moves both clocks forward.
    pub fn advance(&self, time: Duration) {
        self.disk.state().advance(time);
    }

    /// Moves the wall clock by this many nanoseconds, forward or back; the monotonic clock stays.
    pub fn shift_wall_ns(&self, shift_ns: i64) {
        self.disk.state().shift_wall_ns(shift_ns);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("options", &self.disk.options).finish_non_exhaustive()
    }
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
        let inode = if create {
            let inode = FileState::empty();
            let replaces = self.disk.state().lies.replaces_newest(path);
            self.change_name("create", path, |names| {
                if replaces && let Some(newest) = names.newest_beside(path) {
                    names.remove(&newest)?;
                }
                names.create(path, Arc::clone(&inode))
            })?;
            inode
        } else {
            let open = || {
                let mut state = self.disk.state();
                state.step(&self.disk, FaultKind::Name, path, [0, 0])?;
                state.names.file(path)
            };
            open().map_err(|cause| with_path("open", path.as_ref(), cause))?
        };
        let unit_bytes = if mode.is_direct() { self.disk.facts.block_bytes as usize } else { 1 };
        Ok(MemoryFile::new(&self.disk, inode, path, unit_bytes, mode.is_writable()))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        self.change_name("rename", source, |names| names.rename(source, target))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.change_name("remove", path, |names| names.remove(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.change_name("remove directory", path, |names| names.remove_directory(path))
    }

    fn make_dir_durable(&self, path: &str) -> io::Result<()> {
        let mut state = self.disk.state();
        state
            .step(&self.disk, FaultKind::MakeDirDurable, path, [0, 0])
            .and_then(|()| match state.lies.has(Lie::DirectoryFlushSkipped) {
                true => Ok(()),
                false => state.names.make_durable(path),
            })
            .map_err(|cause| with_path("make durable the directory", path.as_ref(), cause))
    }

    /// Does not wait for `patience`: a holder in this process does not go away by itself, and
    /// writes of earlier ones end when an opener waits for them.
    fn lock(&self, path: &str, _patience: Duration) -> Result<MemoryLock, LockError> {
        MemoryLock::take(&self.disk, path)
    }

    fn holder(&self, path: &str) -> io::Result<Option<Holder>> {
        let mut state = self.disk.state();
        state.step(&self.disk, FaultKind::Name, path, [0, 0])?;
        Ok(state.users.has_opener().then_some(Holder::ThisProcess))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.disk.state();
        let capacity_bytes = state.capacity_bytes.unwrap_or(u64::MAX);
        Ok(capacity_bytes.saturating_sub(state.used_bytes()))
    }

    fn map(
        &self,
        file: &MemoryFile,
        reserve_bytes: u64,
        chunk_bytes: u64,
        chunks: &[MappedChunk],
    ) -> io::Result<(FileMap, MemoryMapWriter)> {
        file.map(reserve_bytes, chunk_bytes, chunks)
    }

    fn log_writer(&self, options: LogWriterOptions) -> io::Result<MemoryLog> {
        MemoryLog::new(&self.disk, options)
    }

    fn now(&self) -> Duration {
        self.disk.state().now()
    }

    fn wall_ns(&self) -> i64 {
        self.disk.state().wall_ns()
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
            .step(&self.disk, FaultKind::Name, path, [action.len() as u64, 0])
            .and_then(|()| change(&mut state.names))
            .map_err(|cause| with_path(action, path.as_ref(), cause))
    }
}
