//! [`Disk`]: what all handles of a simulated disk share, and the gate of every call.
//!
//! Every call that reads or changes the disk passes [`State::step`]: there it is counted, there the
//! disk dies, the kernel does what it likes, and the call fails if a test asked for that.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uarr_uring::{Backend, Facts};

use crate::answers::Answers;
use crate::content::{FileState, Inode, lock};
use crate::faults::{FaultKind, Faults, errno};
use crate::flight::Ticket;
use crate::lies::{Lie, Lies};
use crate::names::{Entries, Names};
use crate::power::{Death, Power, Trace, dead};
use crate::process::Users;
use crate::random::Random;

/// How far the clock of a disk moves at each reading.
const TICK: Duration = Duration::from_micros(1);
/// The wall clock of a new disk: 2024-01-01T00:00:00Z.
const WALL_START_NS: i64 = 1_704_067_200_000_000_000;
/// A hostile kernel writes a page back at one of so many calls.
const STEAL_ODDS: u64 = 6;
const READABLE: &str = "memory files of the kernel can always be read within their length";

/// Options of [`Memory::with_options`](crate::Memory::with_options).
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// Where randomness starts. Default 0.
    pub seed: u64,
    /// Unit of direct I/O, a power of two from 512 to 4096. Default 4096.
    pub block_bytes: u32,
    /// Whether log writes in flight complete in random order, as devices do, or in theirs. Default:
    /// theirs.
    pub reorder_completions: bool,
    /// True if the disk also does what disks and kernels may do but rarely do: it writes pages back
    /// at any time, cuts log writes short or interrupts them, leaves garbage in a sector that it
    /// was writing when the power went, and allocates a part of what does not fit. Default: no.
    pub hostile: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { seed: 0, block_bytes: 4096, reorder_completions: false, hostile: false }
    }
}

/// What all handles of a disk share. Lock order: the state before a file.
pub(crate) struct Disk {
    pub facts: Facts,
    pub options: MemoryOptions,
    /// How many more log writes come back; `None`: all do.
    pub answers: Answers,
    state: Mutex<State>,
}

/// All that changes of a disk.
pub(crate) struct State {
    pub names: Names,
    pub users: Users,
    next_ticket: u64,
    pub faults: Faults,
    pub capacity_bytes: Option<u64>,
    pub space_unit_bytes: u64,
    pub random: Random,
    clock: Duration,
    wall_start_ns: i64,
    pub power: Power,
    /// Set once the disk is dead: what it left behind.
    remains: Option<Arc<Disk>>,
    pub trace: Trace,
    pub lies: Lies,
}

impl Disk {
    /// A new disk. Panics if a block is not a power of two from 512 to 4096.
    pub fn new(options: MemoryOptions) -> Arc<Self> {
        let block_bytes = options.block_bytes;
        assert!(block_bytes.is_power_of_two(), "a block of {block_bytes} bytes");
        assert!((512..=4096).contains(&block_bytes), "a block of {block_bytes} bytes");
        let state = State {
            names: Names::new(Entries::default()),
            users: Users::default(),
            next_ticket: 0,
            faults: Faults::default(),
            capacity_bytes: None,
            space_unit_bytes: 1,
            random: Random::new(options.seed),
            clock: Duration::ZERO,
            wall_start_ns: WALL_START_NS,
            power: Power::default(),
            remains: None,
            trace: Trace::default(),
            lies: Lies::default(),
        };
        Self::from_state(options, state)
    }

    fn from_state(options: MemoryOptions, state: State) -> Arc<Self> {
        let facts = Facts {
            block_bytes: options.block_bytes,
            direct: true,
            backend: Backend::Memory,
            warning: None,
        };
        Arc::new(Self { facts, options, answers: Answers::default(), state: Mutex::new(state) })
    }

    /// What `death` leaves of it, or what is durable and no more. The disk itself is not changed.
    pub fn remains_of(&self, death: Option<(Death, u64)>) -> Arc<Self> {
        let mut state = self.state();
        match death {
            Some((death, seed)) => state.remains_of(death, seed, self.options),
            None => {
                let successor = state.after_power_loss(None, self.options);
                Self::from_state(self.options, successor)
            }
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // A test that panics while it holds the lock has failed already; the others may go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The gate of every call: counts it, lets the disk die, lets the kernel do what it likes, and
    /// fails the call if the test asked for that. The caller must not hold the lock of a file.
    pub fn step(
        &mut self,
        disk: &Disk,
        kind: FaultKind,
        path: &str,
        place: [u64; 2],
    ) -> io::Result<()> {
        if self.is_dead() {
            return Err(dead());
        }
        self.power.step_count += 1;
        self.trace.mix(kind as u64);
        self.trace.mix_bytes(path.as_bytes());
        place.into_iter().for_each(|number| self.trace.mix(number));
        if let Some((death, seed)) = self.power.dies_now() {
            self.remains = Some(self.remains_of(death, seed, disk.options));
            return Err(dead());
        }
        self.users.land_due(self.power.step_count, &mut self.random)?;
        if disk.options.hostile && self.random.below(STEAL_ODDS) == 0 {
            self.steal()?;
        }
        if let Err(cause) = self.faults.call(FaultKind::WriteBack, path) {
            self.fail_write_back(errno(&cause))?;
        }
        self.faults.call(kind, path)
    }

    /// True if it has died as a test asked.
    pub fn is_dead(&self) -> bool {
        self.remains.is_some()
    }

    /// What it left behind when it died as a test asked. Takes back the wish to die.
    pub fn left_behind(&mut self) -> Option<Arc<Disk>> {
        self.power.death = None;
        self.remains.clone()
    }

    /// A new log write, of a writer that holds the lock or does not.
    pub fn new_ticket(&mut self, is_fenced: bool) -> Ticket {
        let number = self.next_ticket;
        self.next_ticket += 1;
        Ticket { number, is_fenced }
    }

    /// The monotonic clock, which each reading moves.
    pub fn now(&mut self) -> Duration {
        self.clock += TICK;
        self.clock
    }

    /// The wall clock, which each reading moves.
    pub fn wall_ns(&mut self) -> i64 {
        self.wall_start_ns.saturating_add(nanoseconds(self.now()))
    }

    /// Moves both clocks forward.
    pub fn advance(&mut self, time: Duration) {
        self.clock += time;
    }

    /// Moves the wall clock alone.
    pub fn shift_wall_ns(&mut self, shift_ns: i64) {
        self.wall_start_ns = self.wall_start_ns.saturating_add(shift_ns);
    }

    /// True if the disk repeats a flush that failed by `cause` until it reports success.
    pub fn retries_flush(&self, cause: &io::Error) -> bool {
        let is_full = matches!(errno(cause), libc::ENOSPC | libc::EDQUOT | libc::EFBIG);
        !self.is_dead()
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

    fn remains_of(&mut self, death: Death, seed: u64, options: MemoryOptions) -> Arc<Disk> {
        let mut random = Random::new(seed);
        let state = match death {
            Death::PowerLoss => self.after_power_loss(Some(random), options),
            Death::Kill => self.after_kill(&mut random),
        };
        Disk::from_state(options, state)
    }

    fn after_kill(&mut self, random: &mut Random) -> Self {
        let mut users = Users::default();
        let names = self.names.copied(|inode| {
            let killed = lock(inode).after_kill(random).expect(READABLE);
            let in_flight = killed.in_flight();
            let inode = killed.into_inode();
            for ticket in in_flight {
                users.leave(&inode, ticket, 0, random);
            }
            inode
        });
        Self { users, ..self.successor(names, self.clock, self.wall_start_ns) }
    }

    fn after_power_loss(&mut self, mut random: Option<Random>, options: MemoryOptions) -> Self {
        let mut entries = self.names.survivors(random.as_mut());
        for inode in entries.files.values_mut() {
            let mut file = lock(inode);
            let content = match &mut random {
                Some(random) => file.survivors(random, options.hostile).expect(READABLE),
                None => file.durable().clone(),
            };
            let content = FileState::with_holes(content, &file);
            drop(file);
            *inode = content.into_inode();
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
            space_unit_bytes: self.space_unit_bytes,
            random: Random::new(self.random.next()),
            clock,
            wall_start_ns,
            power: Power::default(),
            remains: None,
            trace: self.trace,
            lies: self.lies.clone(),
        }
    }

    /// What all files together take.
    pub fn used_bytes(&self) -> u64 {
        self.names.files().map(|inode| lock(inode).allocated_bytes()).sum()
    }

    /// `StorageFull` if there is no room for what of `range` a file lacks. It grows to its end.
    pub fn check_room(&self, inode: &Inode, range: Range<u64>) -> io::Result<()> {
        let Some(capacity_bytes) = self.capacity_bytes else { return Ok(()) };
        let missing_bytes = lock(inode).missing_bytes(range);
        if missing_bytes > 0 && self.used_bytes().saturating_add(missing_bytes) > capacity_bytes {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    /// Takes the space of whole pages away. Where room is counted others may have it next: then the
    /// file system has noted that this file does not.
    pub fn punch(&mut self, file: &mut FileState, range: Range<u64>) -> io::Result<()> {
        file.punch(range.clone())?;
        match self.capacity_bytes {
            Some(_) => file.make_range_durable(range, &mut self.lies),
            None => Ok(()),
        }
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
