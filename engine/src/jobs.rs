//! Background work, one step at a time.
//!
//! Every job is a step that looks at the state, does one bounded piece and says whether there was
//! something to do. Small threads drive the steps in production; tests drive them by hand.
//! - *keeper*: a log segment ahead, room in the data file ahead, pages ahead in memory, written
//!   pages on their way to the device, memory for the index, surplus segments.
//! - *checkpointer*: a checkpoint when the log has grown enough.
//! - *log thread*: writes groups that no caller leads: those of tasks, and in memory-first
//!   databases full ones when they take half of the buffers, all when their interval is over.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use uarr_layout::geometry::align_up_u64;
use uarr_uring::{Storage, StorageFile};

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::lead::Stint;
use crate::limits::{PREFAULT_AHEAD_BYTES, PREFAULT_STEP_BYTES};
use crate::options::Durability;
use crate::segments::falls_behind;
use crate::sync::{Signal, lock};
use crate::wakes::Wakes;

/// Written pages are handed to the device in pieces of this size, which bounds what a checkpoint
/// flushes.
const WRITE_BACK_PIECE_BYTES: u64 = 16 << 20;
/// How long a thread rests without being woken, and after a failure.
const REST: Duration = Duration::from_millis(500);

/// Rest between two pieces of a segment that is ahead of the log, 16 MiB a second.
const AT_LEISURE: Duration = Duration::from_millis(4);
/// Rest between two pieces of one that falls behind, about 200 MiB a second.
const CATCHING_UP: Duration = Duration::from_micros(250);

/// How long the log must not have grown until surplus segments are given back.
const RESTS_AFTER: Duration = Duration::from_secs(10);

/// What an index image takes for an entry, on average and at the most for integer keys, and
/// besides.
const IMAGE_ENTRY_BYTES: u64 = 32;
const IMAGE_BYTES_MIN: u64 = 1 << 20;

/// Since when the log has had that many bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quiet {
    log_bytes: u64,
    since: Duration,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There was nothing to do.
    Idle,
    /// Something was done, and there may be more.
    More,
    /// Something was done, and the rest is better done this much later.
    Leisure(Duration),
}

/// Bytes that the log may still take before the next segment should be ready. Writers ask for it,
/// and make it themselves if need be, as soon as what may be staged might not fit into the active
/// one; an eighth of a segment is for what else may hold the keeper up.
fn room_in_time(remaining: u64, staged_bytes_max: u64, segment_bytes: u64) -> u64 {
    remaining.saturating_sub(staged_bytes_max + segment_bytes / 8)
}

/// When to go on with a segment of which `left` bytes are to be written while the log takes
/// `in_time` more.
fn pace(left: u64, in_time: u64) -> Step {
    match left {
        0 => Step::More,
        left if falls_behind(left, in_time) => Step::More,
        left if in_time < left + left / 4 => Step::Leisure(CATCHING_UP),
        _ => Step::Leisure(AT_LEISURE),
    }
}

impl<S: Storage> Core<S> {
    /// Wakes the threads that have something to do.
    pub fn wake_background(&self) {
        if self.needs_next_segment() {
            self.keeper.raise();
        }
        if self.checkpoint_due() {
            self.checkpointer.raise();
        }
    }

    /// Does one piece of background work. `false`: there was nothing to do.
    pub fn step(&self) -> Result<bool> {
        let write = match self.options.durability {
            Durability::Interval(_) => lock(&self.staging).has_work(),
            Durability::Manual => self.has_urgent_group(&lock(&self.staging)),
            Durability::Sync => false,
        };
        if write {
            self.write_oldest(Stint::Turn, &mut Wakes::default())?;
            return Ok(true);
        }
        let is_idle = self.step_space()? == Step::Idle && self.step_checkpoint()? == Step::Idle;
        Ok(!is_idle)
    }

    fn keep_space(&self) {
        self.repeat(&self.keeper, |core| {
            let step = core.step_space()?;
            // The memory of the process is no part of what steps are made of: these can be
            // repeated.
            Ok(if uarr_index::prepare_memory() { Step::More } else { step })
        });
    }

    fn step_checkpoint(&self) -> Result<Step> {
        if !self.checkpoint_due() || self.health.check().is_err() {
            return Ok(Step::Idle);
        }
        self.checkpoint(false)?;
        Ok(Step::More)
    }

    fn step_space(&self) -> Result<Step> {
        if self.health.check().is_err() {
            return Ok(Step::Idle);
        }
        let tail = lock(&self.staging).tail;
        if self.note_lack(self.grow_ahead(tail))?
            || self.prefault_ahead(tail)
            || self.write_back(tail)?
        {
            return Ok(Step::More);
        }
        if self.needs_next_segment()
            && (self.segments.have_started() || self.has_room_ahead(self.segments.regular_bytes()))
        {
            return self.note_lack(self.prepare_ahead());
        }
        match self.trim_segments(self.rests())? {
            true => Ok(Step::More),
            false => Ok(Step::Idle),
        }
    }

    /// Whether `bytes` may be taken before they are needed: the log's next segment and the next
    /// checkpoint's image find room all the same.
    fn has_room_ahead(&self, bytes: u64) -> bool {
        if self.storage.now() < *lock(&self.ahead_from) {
            return false;
        }
        let image_bytes = self.table.len() as u64 * IMAGE_ENTRY_BYTES + IMAGE_BYTES_MIN;
        let kept_bytes = self.segments.regular_bytes() + image_bytes;
        // Where the file system does not say, trying shows.
        let free_bytes = self.storage.free_bytes().unwrap_or(u64::MAX);
        free_bytes >= bytes.saturating_add(kept_bytes)
    }

    /// After a lack of room that only trying shows (a quota, say) nothing is done ahead for a
    /// while: each attempt takes for a moment what there is.
    fn note_lack<T>(&self, done: Result<T>) -> Result<T> {
        if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::NoSpace) {
            *lock(&self.ahead_from) = self.storage.now() + RESTS_AFTER;
        }
        done
    }

    fn needs_next_segment(&self) -> bool {
        self.segments.need_next(self.options.segment_age.is_some())
    }

    /// Whether the log has not grown for a while.
    fn rests(&self) -> bool {
        let log_bytes = self.counters.log_bytes.load(Ordering::Relaxed);
        let now = self.storage.now();
        let mut quiet = lock(&self.quiet);
        if quiet.log_bytes != log_bytes {
            *quiet = Quiet { log_bytes, since: now };
        }
        now.saturating_sub(quiet.since) >= RESTS_AFTER
    }

    /// Removes a segment that is not worth keeping, if there is one.
    fn trim_segments(&self, is_at_rest: bool) -> Result<bool> {
        if is_at_rest {
            let _staging = lock(&self.staging);
            self.segments.release_ready();
        }
        let trimmed = self.segments.trim(&self.storage, is_at_rest);
        trimmed.map_err(|error| Error::io("cannot remove a log segment", error))
    }

    /// Leaves no more space taken than a database needs that is closed. What cannot be removed is
    /// used again, or removed, when it is opened.
    pub fn give_back_space(&self) {
        let _space = lock(&self.space);
        let _ = self.segments.abandon_unfinished(&self.storage);
        while self.trim_segments(true).unwrap_or(false) {}
    }

    /// Goes on with the next segment, only so fast that it is ready before the active one is full:
    /// the device belongs to commits.
    fn prepare_ahead(&self) -> Result<Step> {
        let _space = lock(&self.space);
        if !self.needs_next_segment() {
            return Ok(Step::More);
        }
        let in_time = room_in_time(
            self.segments.active_room(),
            self.staged_bytes_max,
            self.segments.regular_bytes(),
        );
        let left = self
            .segments
            .prepare_piece(&self.storage, in_time)
            .map_err(|error| self.judge(Error::io("cannot prepare a log segment", error)))?;
        Ok(pace(left, in_time))
    }

    fn grow_ahead(&self, tail: u64) -> Result<bool> {
        let wanted = tail + self.chunk_bytes / 2;
        let growth_bytes = align_up_u64(wanted, self.chunk_bytes);
        let growth_bytes = growth_bytes.saturating_sub(self.store.allocated_bytes());
        if growth_bytes == 0
            || wanted <= self.store.allocated_bytes()
            || wanted > self.reserved_bytes
            || !self.has_room_ahead(growth_bytes)
        {
            return Ok(false);
        }
        let _space = lock(&self.space);
        self.grow_data(wanted)?;
        Ok(true)
    }

    fn prefault_ahead(&self, tail: u64) -> bool {
        let done = self.prefaulted.load(Ordering::Relaxed).max(tail);
        let goal = (tail + 2 * PREFAULT_AHEAD_BYTES).min(self.store.allocated_bytes());
        let piece = PREFAULT_STEP_BYTES.min(goal.saturating_sub(done));
        if piece == 0 {
            // At the end of the file there is nothing to bring in; do not ask again at once.
            self.prefaulted.store(tail + 2 * PREFAULT_AHEAD_BYTES, Ordering::Relaxed);
            return false;
        }
        self.store.prefault(done, piece);
        self.prefaulted.store(done + piece, Ordering::Relaxed);
        true
    }

    /// Has written pages handed to the device. It promises nothing and takes no error away: one of
    /// these pages comes out at the next flush, which is final.
    fn write_back(&self, tail: u64) -> Result<bool> {
        let start = self.written_back.load(Ordering::Relaxed);
        if tail < start + 2 * WRITE_BACK_PIECE_BYTES {
            return Ok(false);
        }
        self.data_file
            .start_write_back(start, WRITE_BACK_PIECE_BYTES)
            .map_err(|error| Error::io("cannot write back the data file", error))?;
        self.written_back.store(start + WRITE_BACK_PIECE_BYTES, Ordering::Relaxed);
        Ok(true)
    }

    /// Repeats `step`, resting on `signal` when there is nothing to do.
    fn repeat(&self, signal: &Signal, step: impl Fn(&Self) -> Result<Step>) {
        while !self.health.is_closing() {
            match step(self) {
                Ok(Step::More) => *lock(&self.background_error) = None,
                Ok(Step::Leisure(rest)) => std::thread::sleep(rest),
                Ok(Step::Idle) => signal.wait(REST),
                Err(error) => {
                    // A writer gets the lack of room itself, a failed flush has poisoned the
                    // database; `stats` shows the rest until a later attempt succeeds.
                    *lock(&self.background_error) = Some(error);
                    signal.wait(REST);
                }
            }
        }
    }

    /// Writes groups that no caller leads, and wakes tasks for threads that may not run wakers,
    /// until it is stopped.
    fn keep_log(&self) {
        let mut wakes = Wakes::default();
        let interval = match self.options.durability {
            Durability::Interval(interval) => interval,
            _ => Duration::MAX,
        };
        let mut staging = lock(&self.staging);
        let mut deadline = None;
        while !self.health.is_closing() {
            if !staging.due_wakes.is_empty() {
                wakes.take_all(&mut staging.due_wakes);
                self.leave_log(&mut staging);
                drop(staging);
                wakes.run();
                staging = lock(&self.staging);
                staging.log_thread_is_out = false;
                continue;
            }
            let now = self.storage.now();
            let due = *deadline.get_or_insert_with(|| now.saturating_add(interval));
            let is_urgent = self.has_urgent_group(&staging);
            // A thread that leads already goes on to the next group, or wakes this one for it.
            if !staging.leader && (is_urgent || (staging.has_work() && now >= due)) {
                // Full groups are older than the open one: its time runs out with theirs.
                if !is_urgent && staging.sealed.is_empty() {
                    deadline = None;
                }
                staging.leader = true;
                drop(staging);
                // A failure poisons the database: writers and `sync` report it.
                self.lead(Stint::Backlog, &mut wakes);
                staging = lock(&self.staging);
                wakes.hand_to(&mut staging.due_wakes);
                continue;
            }
            staging.log_thread_rests = true;
            staging = if staging.has_work() && !staging.leader {
                crate::sync::wait_for(&self.log_work, staging, due - now)
            } else {
                deadline = None;
                crate::sync::wait(&self.log_work, staging)
            };
            staging.log_thread_rests = false;
        }
    }
}

/// What one thread does.
type Job<S> = (&'static str, fn(&Core<S>));

/// The threads of a database.
pub(crate) struct Threads {
    ids: Vec<ThreadId>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts the keeper, the checkpointer and the log thread: all of them, or after an error none.
    pub fn start<S: Storage>(core: &Arc<Core<S>>) -> Result<Self> {
        Self::start_by(core, |name, run| std::thread::Builder::new().name(name.into()).spawn(run))
    }

    fn start_by<S: Storage>(
        core: &Arc<Core<S>>,
        spawn: impl Fn(&str, Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>,
    ) -> Result<Self> {
        let jobs: [Job<S>; 3] = [
            ("uarr-keeper", Core::keep_space),
            ("uarr-checkpoint", |core| core.repeat(&core.checkpointer, Core::step_checkpoint)),
            ("uarr-log", Core::keep_log),
        ];
        let mut threads = Self { ids: Vec::new(), running: Mutex::default() };
        for (name, job) in jobs.into_iter().filter(|_| core.options.background) {
            let shared = core.clone();
            match spawn(name, Box::new(move || watch(&shared, name, job))) {
                Ok(thread) => {
                    threads.ids.push(thread.thread().id());
                    lock(&threads.running).push(thread);
                }
                Err(error) => {
                    core.begin_closing();
                    threads.stop(core);
                    return Err(Error::io(format!("cannot start thread {name}"), error));
                }
            }
        }
        Ok(threads)
    }

    /// Forgets them, in a process that was forked off theirs. Takes no lock.
    pub fn forget(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::forget(std::mem::take(running));
    }

    /// Whether the calling thread is one of them.
    pub fn include_caller(&self) -> bool {
        self.ids.contains(&std::thread::current().id())
    }

    /// Waits for the threads, which end because the database is closing. A thread does not wait for
    /// itself: called by one of them, which runs a waker, that one ends when the waker returns.
    pub fn stop<S: Storage>(&self, core: &Core<S>) {
        assert!(core.health.is_closing(), "threads end only then");
        core.keeper.raise();
        core.checkpointer.raise();
        let threads = std::mem::take(&mut *lock(&self.running));
        let caller = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != caller) {
            // A panic was caught in the thread.
            let _ = thread.join();
        }
    }
}

/// Runs `job`. A panic poisons the database: what the thread was for is not done any more.
fn watch<S: Storage>(core: &Core<S>, name: &str, job: fn(&Core<S>)) {
    let poison = || {
        core.poison_by(&Error::new(
            ErrorKind::Io,
            format!("the background thread {name} panicked"),
        ));
    };
    // Again, to wake tasks for threads that may not run wakers, until the database is closed.
    for _ in 0..2 {
        if catch_unwind(AssertUnwindSafe(|| job(core))).is_ok() {
            break;
        }
        poison();
    }
    core.run_due_wakes();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use uarr_uring::Memory;

    use super::*;
    use crate::options::Options;

    fn open(disk: &Memory) -> Result<Arc<Core<Memory>>> {
        let options = Options {
            segment_bytes: 1 << 18,
            chunk_bytes: 1 << 16,
            address_space_bytes: 1 << 26,
            ..Options::default()
        };
        crate::open::open(disk.clone(), options, "memory".into()).map(Arc::new)
    }

    #[test]
    fn a_thread_that_cannot_be_started_leaves_none_and_no_lock() {
        let disk = Memory::new();
        for count in 0..3 {
            let core = open(&disk).unwrap();
            let left = AtomicUsize::new(count);
            let started = Threads::start_by(&core, |_, run| {
                match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                {
                    Ok(_) => Ok(std::thread::spawn(run)),
                    Err(_) => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            assert!(started.is_err_and(|error| error.to_string().contains("thread uarr-")));
            assert_eq!(Arc::strong_count(&core), 1, "{count} threads were started and have ended");
        }
        let core = open(&disk).unwrap();
        let threads = Threads::start(&core).unwrap();
        assert_eq!(threads.ids.len(), 3);
        core.begin_closing();
        threads.stop(&core);
    }

    #[test]
    fn a_thread_that_panics_poisons_the_database() {
        let core = open(&Memory::new()).unwrap();
        watch(&core, "uarr-test", |_| std::panic::resume_unwind(Box::new("a test")));
        let poison = core.health.poison().expect("the database is poisoned");
        assert!(poison.to_string().contains("uarr-test"), "{poison}");
        assert!(core.sync().is_err());
    }

    const SEGMENT_BYTES: u64 = 64 << 20;
    const STAGED_BYTES_MAX: u64 = 2 << 20;

    /// Bytes of the next segment that a writer has to zero itself when the log takes
    /// `bytes_per_second`, and the keeper is held up for `held_up` once, in the middle. Pieces take
    /// what a device of 400 MiB a second takes.
    fn left_to_writers(bytes_per_second: u64, held_up: Duration) -> u64 {
        const PIECE_BYTES: u64 = 64 << 10;
        const PIECE_TIME: Duration = Duration::from_micros(160);
        let (mut now, mut left) = (Duration::ZERO, SEGMENT_BYTES);
        let mut is_held_up = false;
        loop {
            let used = (now.as_secs_f64() * bytes_per_second as f64) as u64;
            let remaining = SEGMENT_BYTES.saturating_sub(used);
            if left == 0 || remaining < STAGED_BYTES_MAX {
                return left;
            }
            if left < SEGMENT_BYTES / 2 && !std::mem::replace(&mut is_held_up, true) {
                now += held_up;
                continue;
            }
            left -= PIECE_BYTES;
            now += PIECE_TIME;
            let in_time = room_in_time(remaining, STAGED_BYTES_MAX, SEGMENT_BYTES);
            if let Step::Leisure(rest) = pace(left, in_time) {
                now += rest;
            }
        }
    }

    #[test]
    fn a_segment_is_ready_before_writers_ask_for_it_at_any_rate_that_leaves_time() {
        for mib_per_second in [1, 5, 10, 12, 14, 15, 16, 18, 20, 30, 50, 80, 100, 150] {
            for held_up in [Duration::ZERO, Duration::from_millis(40)] {
                let left = left_to_writers(mib_per_second << 20, held_up);
                assert_eq!(left, 0, "at {mib_per_second} MiB a second, held up for {held_up:?}");
            }
        }
    }
}
