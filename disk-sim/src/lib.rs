//! The simulated disk: [`Memory`] lives in memory and can lose its power.
//!
//! For tests. Everything is repeatable: time, randomness and what a crash leaves follow from seeds.
//! The disk forgets what the rules of [`uarr_uring::Storage`] let it forget, and no
//! more:
//! - file content and length are volatile until `make_durable`, or until a durable log write;
//! - names are volatile until `make_dir_durable`;
//! - bytes stored through a map are volatile until `make_durable` of the file, but any page of them
//!   may have reached the device before;
//! - a flush that failed leaves its bytes lost although readers may see them, and the next one does
//!   not say so;
//! - a log write ends at any later moment if its process is killed or its writer gives it up, and
//!   the directory is locked until then.
//!
//! With [`MemoryOptions::hostile`] it also does all that a device and a kernel may do at any time:
//! writes pages back unasked, completes log writes out of order, short or interrupted, leaves half
//! of what did not fit. [`Memory::die_at`] ends it before a chosen call; [`Memory::lie`] makes it
//! break its promises.
//!
//! | module | what it holds |
//! |---|---|
//! | `content` | what readers of a file see, and what a crash leaves of it |
//! | `image` | the bytes of one file as one observer sees them |
//! | `names` | directory entries, live and durable |
//! | `file` | files, open and mapped |
//! | `log` | the path of group commits |
//! | `loss` | what readers see and no flush brings to the device |
//! | `process` | the lock, and log writes that go on alone |
//! | `faults` | which calls are to fail |
//! | `power` | when the disk dies, and the trace of all calls |
//! | `lies` | how it breaks its promises |
//! | `refuse` | what is taken away from a whole process, and a process doubled |

#![forbid(unsafe_code)]

mod content;
mod faults;
mod file;
mod image;
mod lies;
mod log;
mod loss;
mod names;
mod power;
mod process;
mod random;
pub mod refuse;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uarr_uring::parts::with_path;
use uarr_uring::{Backend, Facts, FileMap, LockError, LogWriterOptions, OpenMode, Storage};

pub use faults::{Fault, FaultKind};
pub use file::{MemoryFile, MemoryMapWriter};
pub use lies::{Lie, ReadFilter};
pub use log::MemoryLog;
pub use power::Death;
pub use process::MemoryLock;

use content::FileState;
use faults::Faults;
use image::Image;
use lies::Lies;
use names::{Entries, Inode, Names};
use power::{Power, Trace};
use process::Users;
use random::Random;

/// How far the clock of a disk moves each time somebody looks at it.
const TICK: Duration = Duration::from_micros(1);
/// The wall clock of a new disk: 2024-01-01T00:00:00Z.
const WALL_START_NS: i64 = 1_704_067_200_000_000_000;
/// A hostile kernel writes a page back at one of so many calls.
const STEAL_ODDS: u64 = 6;
const READABLE: &str = "memory files of the kernel can always be read within their length";

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
    /// Whether the disk also does what disks and kernels are allowed to do but seldom do: pages are
    /// written back at any time, log writes are short or interrupted and have to be finished, a
    /// sector that was being written when the power went may hold garbage, what does not fit is
    /// allocated in part. Default: no.
    pub hostile: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { seed: 0, block_bytes: 4096, reorder_completions: false, hostile: false }
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
    users: Users,
    next_ticket: u64,
    faults: Faults,
    capacity_bytes: Option<u64>,
    random: Random,
    clock: Duration,
    wall_start_ns: i64,
    power: Power,
    trace: Trace,
    lies: Lies,
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
        let state = State {
            names: Names::new(Entries::default()),
            users: Users::default(),
            next_ticket: 0,
            faults: Faults::default(),
            capacity_bytes: None,
            random: Random::new(options.seed),
            clock: Duration::ZERO,
            wall_start_ns: WALL_START_NS,
            power: Power::default(),
            trace: Trace::default(),
            lies: Lies::default(),
        };
        Self::from_state(options, state)
    }

    fn from_state(options: MemoryOptions, state: State) -> Self {
        let facts = Facts {
            block_bytes: options.block_bytes,
            direct: true,
            backend: Backend::Memory,
            warning: None,
        };
        Self { disk: Arc::new(Disk { facts, options, state: Mutex::new(state) }) }
    }

    /// The disk after a loss of power in which everything that was not durable is lost. This disk
    /// is not changed; whoever still uses it, uses the past. Faults, capacity and locks are not
    /// carried over, lies are. The monotonic clock starts again.
    pub fn crash(&self) -> Self {
        let mut state = self.disk.state();
        Self::from_state(self.disk.options, state.after_power_loss(None, self.disk.options))
    }

    /// The disk after a loss of power in which each sector (or page, as the seed has it) and each
    /// name that was not durable survives or not at random. Otherwise as [`Memory::crash`].
    pub fn crash_with(&self, seed: u64) -> Self {
        self.disk.state().remains(Death::PowerLoss, seed, self.disk.options)
    }

    /// The disk as the next process finds it when the one that uses it is killed: nothing that was
    /// written is lost, but what was not durable still is not, and log writes in flight go on.
    /// Otherwise as [`Memory::crash`].
    pub fn kill_with(&self, seed: u64) -> Self {
        self.disk.state().remains(Death::Kill, seed, self.disk.options)
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
        let mut state = self.disk.state();
        state.power.death = None;
        state.power.remains.clone()
    }

    /// Whether it has died as [`Memory::die_at`] asked.
    pub fn is_dead(&self) -> bool {
        self.disk.state().power.remains.is_some()
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

    /// From now on readers get what `filter` makes of the bytes; a file is filtered as a whole when
    /// it is mapped for the first time.
    pub fn filter_reads(&self, filter: ReadFilter) {
        self.disk.state().lies.filter = Some(filter);
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

    /// Takes back all faults asked for that have not happened yet, and heals the lasting ones.
    pub fn forget_faults(&self) {
        self.disk.state().faults = Faults::default();
    }

    /// Whether any call may still fail because that was asked for.
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
    /// The gate of every call: counts it, lets the disk die, lets the kernel do what it likes, and
    /// fails the call if that was asked for. No file may be locked.
    fn step(
        &mut self,
        disk: &Disk,
        kind: FaultKind,
        path: &str,
        place: [u64; 2],
    ) -> io::Result<()> {
        if self.power.remains.is_some() {
            return Err(dead());
        }
        self.power.step_count += 1;
        self.trace.mix(kind as u64);
        self.trace.mix_bytes(path.as_bytes());
        place.into_iter().for_each(|number| self.trace.mix(number));
        if let Some((death, seed)) = self.power.dies_now() {
            let remains = self.remains(death, seed, disk.options);
            self.power.remains = Some(remains);
            return Err(dead());
        }
        self.land_due()?;
        if disk.options.hostile && self.random.below(STEAL_ODDS) == 0 {
            self.steal()?;
        }
        if let Err(cause) = self.faults.call(FaultKind::WriteBack, path) {
            self.fail_write_back(errno(&cause))?;
        }
        self.faults.call(kind, path)
    }

    /// Whether a flush that failed by `cause` is repeated until it says "fine".
    fn retries_flush(&self, cause: &io::Error) -> bool {
        let is_full = matches!(errno(cause), libc::ENOSPC | libc::EDQUOT | libc::EFBIG);
        self.power.remains.is_none()
            && (self.lies.has(Lie::FlushRetried)
                || (is_full && self.lies.has(Lie::FullFlushRetried)))
    }

    /// The kernel fails to write pages of mapped files back.
    fn fail_write_back(&mut self, errno: i32) -> io::Result<()> {
        let random = &mut self.random;
        self.names.files().try_for_each(|inode| lock(inode).fail_unasked(errno, random))
    }

    fn steal(&mut self) -> io::Result<()> {
        let count = self.names.files().count() as u64;
        if count == 0 {
            return Ok(());
        }
        let index = self.random.below(count) as usize;
        let inode = self.names.files().nth(index).cloned();
        inode.map_or(Ok(()), |inode| lock(&inode).steal(&mut self.random))
    }

    fn remains(&mut self, death: Death, seed: u64, options: MemoryOptions) -> Memory {
        let mut random = Random::new(seed);
        let state = match death {
            Death::PowerLoss => self.after_power_loss(Some(random), options),
            Death::Kill => {
                let mut users = Users::default();
                let names = self.names.copied(|inode| {
                    let killed = lock(inode).after_kill(&mut random).expect(READABLE);
                    let in_flight = killed.in_flight();
                    let inode = Arc::new(Mutex::new(killed));
                    for write in in_flight {
                        users.leave(&inode, write, 0, &mut random);
                    }
                    inode
                });
                let clock = self.clock;
                Self { users, ..self.successor(names, clock, self.wall_start_ns) }
            }
        };
        Memory::from_state(options, state)
    }

    fn after_power_loss(&mut self, mut random: Option<Random>, options: MemoryOptions) -> Self {
        let mut entries = self.names.survivors(random.as_mut());
        for inode in entries.files.values_mut() {
            let mut file = lock(inode);
            let content = match &mut random {
                Some(random) => file.survivors(random, options.hostile).expect(READABLE),
                None => file.durable().clone(),
            };
            drop(file);
            *inode = Arc::new(Mutex::new(FileState::new(content)));
        }
        let wall_start_ns = self.wall_start_ns.saturating_add(nanoseconds(self.clock));
        self.successor(Names::new(entries), Duration::ZERO, wall_start_ns)
    }

    /// The state of the disk that follows this one.
    fn successor(&mut self, names: Names, clock: Duration, wall_start_ns: i64) -> Self {
        Self {
            names,
            users: Users::default(),
            next_ticket: self.next_ticket,
            faults: Faults::default(),
            capacity_bytes: None,
            random: Random::new(self.random.next()),
            clock,
            wall_start_ns,
            power: Power::default(),
            trace: self.trace,
            lies: self.lies.clone(),
        }
    }

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

/// The number of an injected error.
fn errno(cause: &io::Error) -> i32 {
    cause.raw_os_error().unwrap_or(libc::EIO)
}

fn dead() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
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
        let unit_bytes = if direct { self.disk.facts.block_bytes as usize } else { 1 };
        Ok(MemoryFile::new(&self.disk, inode, path, unit_bytes, mode != OpenMode::Read))
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
            .step(&self.disk, FaultKind::MakeDirDurable, path, [0, 0])
            .and_then(|()| match state.lies.has(Lie::DirectoryFlushSkipped) {
                true => Ok(()),
                false => state.names.make_durable(path),
            })
            .map_err(|cause| with_path("make durable the directory", path.as_ref(), cause))
    }

    /// Patience is not needed here: a holder in this process will not go away by itself, and writes
    /// of earlier ones end when they are waited for.
    fn lock(&self, path: &str, _patience: Duration) -> Result<MemoryLock, LockError> {
        MemoryLock::take(&self.disk, path)
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
        readable: &[u64],
    ) -> io::Result<(FileMap, MemoryMapWriter)> {
        file.map(reserve_bytes, chunk_bytes, readable)
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
        state.wall_start_ns.saturating_add(nanoseconds(state.clock))
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
