//! [`RingLog`]: group commits through io_uring.
//!
//! Invariants:
//! - an operation owns its file and its buffer until all its completions have been seen; dropping
//!   the log waits for them, and leaves both to the kernel if they do not come;
//! - the kernel holds the lock until the last operation has ended, because the ring has the lock's
//!   files registered ([`Hold`]): however the process ends, and even if the kernel stops to talk
//!   to it. This process releases the lock only when no operation can be left;
//! - a waiter collects completions first; then [`crate::outcome`] alone judges them;
//! - the completion queue cannot overflow: it holds all completions of [`WRITES_IN_FLIGHT_MAX`]
//!   writes, and no more are let in;
//! - a linked pair whose halves reach the kernel in different submissions counts as unlinked.
//!
//! Any thread may submit and any other may wait, one at a time. Hence no SINGLE_ISSUER, and none of
//! COOP_TASKRUN: completions are posted by the thread that *submitted*, and so is the flush that
//! follows a linked write. By default the kernel interrupts that thread for it wherever it is. With
//! COOP_TASKRUN it would wait until that thread next enters the kernel by itself; but a leader that
//! copies records meanwhile does not, so its flush would start late, and a successor that waits for
//! the completion would sleep for as long. If the submitting thread exits, the kernel cancels what
//! it has not begun (a linked flush, say), and a waiter finishes the group by system calls.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::AlignedBuffer;
use crate::file::{RETRY_COUNT_MAX, SystemFile};
use crate::lock::Hold;
use crate::operation::{Operation, addressee};
use crate::outcome::{Route, Verdict};
use crate::pool::BufferPool;
use crate::queues::Queues;
use crate::refusal::Refusal;
use crate::storage::{CommitStrategy, GroupDone, GroupWrite, LogCounters, LogWriter};
use crate::syscalls::{WRITES_IN_FLIGHT_MAX, admit, done, finish_group, write_group};

/// The kernel moves at most this much in one operation.
const WRITE_BYTES_MAX: usize = 0x7fff_f000;
/// From here on a write takes so long that its caller should not stand and wait, whichever strategy
/// is quickest for a small one: it has records to copy, and the next write to submit.
const LARGE_BYTES: usize = 64 << 10;
const _: () = assert!(LARGE_BYTES < WRITE_BYTES_MAX);
/// How long a waiter looks for completions, all in all, when the kernel refuses to wait for them.
const WATCH_PATIENCE: Duration = Duration::from_secs(30);

/// Group commits through io_uring.
pub struct RingLog {
    /// Not dropped in a forked process, which has no ring.
    queues: ManuallyDrop<Queues>,
    pool: BufferPool,
    /// The lock of the directory, if it was taken.
    hold: Option<Arc<Hold>>,
    /// Whether the kernel knows the pool's buffers.
    registered: bool,
    /// Whether the kernel still takes submissions.
    accepting: bool,
    /// When waiters stop looking for completions; set when the kernel refused to wait for them.
    watch_end: Option<Instant>,
    /// Whether an answer came that belongs to no operation: none counts after it.
    is_confused: bool,
    strategy: CommitStrategy,
    /// In the order of their tickets.
    operations: Vec<Operation>,
    /// Operations that were answered with an error because their completions did not come. The
    /// kernel may still use their files and buffers.
    given_up: Vec<Operation>,
    next_ticket: u64,
    counters: LogCounters,
}

impl RingLog {
    /// Whether a ring with all needed operations can be had here and now, with `file` registered.
    /// It never has an operation, so nothing of it outlives the call but the kernel's own cleaning.
    pub(crate) fn probe(file: &impl AsRawFd) -> Result<(), Refusal> {
        let queues = Queues::disabled()?;
        queues.register_files(&[file.as_raw_fd()])?;
        queues.enable()?;
        queues.unregister_files();
        Ok(())
    }

    /// Sets up the ring with the pool's buffers. From then on until its last operation has ended,
    /// the kernel holds the lock with it.
    pub(crate) fn new(
        pool: BufferPool,
        strategy: CommitStrategy,
        hold: Option<Arc<Hold>>,
    ) -> Result<Self, Refusal> {
        let queues = Queues::disabled()?;
        let registered = queues.register_buffers(&pool);
        if let Some(hold) = &hold {
            let files: Vec<_> = hold.files().iter().map(AsRawFd::as_raw_fd).collect();
            queues.register_files(&files)?;
        }
        queues.enable()?;
        Ok(Self {
            queues: ManuallyDrop::new(queues),
            pool,
            hold,
            registered,
            accepting: true,
            watch_end: None,
            is_confused: false,
            strategy,
            operations: Vec::with_capacity(WRITES_IN_FLIGHT_MAX),
            given_up: Vec::new(),
            next_ticket: 0,
            counters: LogCounters::default(),
        })
    }

    fn route(&self, write: &GroupWrite<SystemFile>) -> Route {
        if !self.accepting || write.len > WRITE_BYTES_MAX {
            return Route::ByHand;
        }
        match self.strategy {
            CommitStrategy::Syscall if write.len < LARGE_BYTES => Route::ByHand,
            CommitStrategy::Syscall | CommitStrategy::Dsync => Route::WriteThrough,
            CommitStrategy::LinkedFdatasync => Route::WriteThenFlush,
        }
    }

    /// Gives an operation to the kernel, or falls back to doing it by hand.
    fn start(&mut self, operation: &mut Operation) {
        let known = self.operations.iter().chain(&self.given_up);
        let pending_count = known.filter(|operation| !operation.has_ended()).count();
        assert!(pending_count < WRITES_IN_FLIGHT_MAX, "every completion finds room");
        let index = self.pool.index_of(&operation.write.buffer).filter(|_| self.registered);
        let entries = operation.entries(index);
        let entries = entries.as_slice();
        // SAFETY: the entries name the operation's file and a range of its buffer (checked by
        // `BufferPool::check`); both stay where they are, and alive, until `complete` has seen all
        // completions: the operation is kept in `operations`, and drop waits for it.
        unsafe { self.queues.push(entries) };
        let taken = self.submit_all(entries.len() as u32, operation);
        self.count(operation, taken);
        if taken == 0 {
            operation.route = Route::ByHand;
        } else if taken < entries.len() as u32 {
            // The flush stays behind for ever; the write is followed by one made by hand.
            operation.answers.split = true;
            operation.answers.flush = Some(-libc::ECANCELED);
        }
    }

    /// Enters the kernel until it has taken all entries; returns how many it took. Fewer than all
    /// only if it refuses the rest permanently.
    fn submit_all(&mut self, count: u32, operation: &mut Operation) -> u32 {
        let mut taken = 0;
        for attempt in 0..RETRY_COUNT_MAX {
            match self.queues.submit(count - taken) {
                Ok(more) => {
                    operation.answers.split |= more > 0 && taken + more < count;
                    taken += more;
                    if taken == count {
                        return taken;
                    }
                }
                Err(error) if !is_passing(&error) => break,
                Err(_) => {}
            }
            pause(attempt);
        }
        self.accepting = false;
        taken
    }

    fn count(&mut self, operation: &Operation, taken: u32) {
        if taken == 0 {
            return;
        }
        self.counters.write_count += 1;
        self.counters.written_bytes += operation.write.len as u64;
        let flushes = operation.route == Route::WriteThrough || taken == 2;
        self.counters.flush_count += u64::from(flushes);
    }

    /// Notes all completions that have arrived.
    fn collect(&mut self) {
        for completion in self.queues.completions() {
            let (ticket, half) = addressee(completion.user_data());
            let mut operations = self.operations.iter_mut().chain(&mut self.given_up);
            let is_expected = operations
                .find(|operation| operation.ticket == ticket)
                .is_some_and(|operation| operation.note(half, completion.result()));
            self.is_confused |= !is_expected;
        }
        self.accepting &= !self.is_confused;
        self.given_up.retain(|operation| self.is_confused || !operation.has_ended());
    }

    /// Waits for a completion that has not been collected; an error if none is to be expected.
    fn wait(&mut self) -> io::Result<()> {
        if self.is_confused {
            return Err(io::Error::other("the kernel gave an answer without a question"));
        }
        for attempt in 0..RETRY_COUNT_MAX {
            match self.queues.wait() {
                Ok(()) => return Ok(()),
                // A signal: look at the completions again, then wait on.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) if is_passing(&error) => pause(attempt),
                Err(error) => return self.watch(error),
            }
        }
        self.watch(io::ErrorKind::ResourceBusy.into())
    }

    /// Looks for a completion without the kernel's help, which `refusal` denied, perhaps because
    /// the process was put into a sandbox. Completions arrive all the same: the kernel posts them
    /// when it interrupts a thread, not when that thread asks for them.
    fn watch(&mut self, refusal: io::Error) -> io::Result<()> {
        self.accepting = false;
        let end = *self.watch_end.get_or_insert_with(|| Instant::now() + WATCH_PATIENCE);
        let mut attempt = 0;
        while self.queues.completions().is_empty() {
            if Instant::now() >= end {
                return Err(refusal);
            }
            attempt += 1;
            pause(attempt);
        }
        Ok(())
    }

    /// Acts on a verdict that is not pending.
    fn finish(&mut self, operation: Operation, verdict: Verdict) -> GroupDone {
        assert!(operation.has_ended(), "the kernel uses no buffer that is returned");
        let Operation { ticket, write, route, .. } = operation;
        let file = &write.file;
        let result = match verdict {
            Verdict::Pending => unreachable!("only settled operations are finished"),
            Verdict::Done => Ok(()),
            Verdict::FinishByHand { .. } if route == Route::ByHand => {
                write_group(&write, &mut self.counters)
            }
            Verdict::FinishByHand { written } => finish_group(&write, written, &mut self.counters),
            Verdict::WriteFailed(code) => {
                Err(file.error("write", io::Error::from_raw_os_error(code)))
            }
            Verdict::FlushFailed(code) => {
                Err(file.error("make durable", io::Error::from_raw_os_error(code)))
            }
        };
        done(ticket, write, result)
    }

    /// Nothing is known of the operation. The kernel may still read its buffer, so it keeps it; the
    /// caller gets another.
    fn give_up(&mut self, operation: Operation, error: io::Error) -> GroupDone {
        self.accepting = false;
        let ticket = operation.ticket;
        let error = operation.write.file.error("wait for a write of", error);
        let buffer = Arc::new(AlignedBuffer::new(operation.write.buffer.len()));
        self.given_up.push(operation);
        GroupDone { ticket, buffer, result: Err(error) }
    }
}

impl LogWriter for RingLog {
    type File = SystemFile;

    fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuffer> {
        self.pool.take(bytes)
    }

    fn submit(&mut self, write: GroupWrite<SystemFile>) -> io::Result<u64> {
        admit(&self.pool, &write, self.operations.len())?;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let route = self.route(&write);
        let mut operation = Operation::new(ticket, write, route);
        if route != Route::ByHand {
            self.start(&mut operation);
        }
        self.operations.push(operation);
        Ok(ticket)
    }

    fn complete(&mut self) -> Option<GroupDone> {
        if let Err(error) = self.pool.owner().check() {
            let operation = (!self.operations.is_empty()).then(|| self.operations.remove(0))?;
            return Some(self.give_up(operation, error));
        }
        loop {
            self.collect();
            let answered = if self.is_confused { &[] } else { self.operations.as_slice() };
            let settled = answered.iter().enumerate().find_map(|(index, operation)| {
                let verdict = operation.verdict();
                (verdict != Verdict::Pending).then_some((index, verdict))
            });
            if let Some((index, verdict)) = settled {
                let operation = self.operations.remove(index);
                return Some(self.finish(operation, verdict));
            }
            if self.operations.is_empty() {
                return None;
            }
            if let Err(error) = self.wait() {
                let operation = self.operations.remove(0);
                return Some(self.give_up(operation, error));
            }
        }
    }

    fn counters(&self) -> LogCounters {
        self.counters
    }

    fn strategy(&self) -> CommitStrategy {
        if self.accepting { self.strategy } else { CommitStrategy::Syscall }
    }

    fn set_strategy(&mut self, strategy: CommitStrategy) -> io::Result<()> {
        if !self.accepting && strategy != CommitStrategy::Syscall {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel takes no more submissions to this ring",
            ));
        }
        self.strategy = strategy;
        Ok(())
    }
}

impl RingLog {
    /// Waits until every operation has ended. False if that cannot be known. Begins nothing new:
    /// drops, unacknowledged, what it should have finished by hand.
    fn wait_for_all(&mut self) -> bool {
        loop {
            self.collect();
            if self.is_confused {
                return false;
            }
            self.operations.retain(|operation| !operation.has_ended());
            if self.operations.is_empty() && self.given_up.is_empty() {
                return true;
            }
            if self.wait().is_err() {
                return false;
            }
        }
    }
}

impl Drop for RingLog {
    fn drop(&mut self) {
        if !self.pool.owner().is_here() {
            // The ring is the parent's. Its memory was not inherited, and what lies at its address
            // now is something else's.
            return;
        }
        if self.wait_for_all() {
            self.queues.unregister_files();
        } else {
            // The kernel may still read the buffers: give them up, do not free them. The kernel
            // releases the lock when it has ended the operations.
            self.operations.append(&mut self.given_up);
            self.operations.drain(..).for_each(std::mem::forget);
            if let Some(hold) = &self.hold {
                hold.leave_to_kernel();
            }
        }
        // SAFETY: this is the only place that drops the ring, and nothing uses it afterwards.
        unsafe { ManuallyDrop::drop(&mut self.queues) };
    }
}

impl std::fmt::Debug for RingLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingLog")
            .field("registered", &self.registered)
            .field("accepting", &self.accepting)
            .field("strategy", &self.strategy)
            .field("in_flight", &self.operations.len())
            .field("given_up", &self.given_up.len())
            .finish_non_exhaustive()
    }
}

/// Whether an error of `enter` says "later".
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// Waits a little before attempt after attempt: not at all at first, then up to a millisecond.
fn pause(attempt: u32) {
    if attempt > 3 {
        std::thread::sleep(Duration::from_micros(u64::from(attempt.min(1000))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::fd::BorrowedFd;

    use crate::directory::Directory;
    use crate::file::Access;
    use crate::lock::SystemLock;
    use crate::storage::{LockError, LogWriterOptions};

    const BLOCK: usize = 4096;

    /// A caller that has handed over a large write is free for other work, whatever the strategy.
    #[test]
    fn a_ring_takes_large_writes_with_every_strategy() {
        let top = tempfile::tempdir().unwrap();
        let directory = Directory::open(top.path()).unwrap();
        let file = directory.open_file("f", libc::O_RDWR | libc::O_CREAT | libc::O_EXCL).unwrap();
        let access = Access { unit_bytes: 1, writable: true };
        let file = Arc::new(SystemFile::new(file, directory.path_of("f"), access));
        let strategy = CommitStrategy::Syscall;
        let options = LogWriterOptions { strategy, buffer_count: 1, buffer_bytes: LARGE_BYTES };
        let pool = BufferPool::new(options, BLOCK as u32).unwrap();
        let mut log = RingLog::new(pool, strategy, None).unwrap();
        for (len, route) in [
            (BLOCK, Route::ByHand),
            (LARGE_BYTES - BLOCK, Route::ByHand),
            (LARGE_BYTES, Route::WriteThrough),
        ] {
            let (file, buffer) = (Arc::clone(&file), log.buffer(LARGE_BYTES));
            log.submit(GroupWrite { file, offset: 0, buffer, start: 0, len }).unwrap();
            assert_eq!(log.operations[0].route, route, "{len} bytes");
            log.complete().unwrap().result.unwrap();
            assert_eq!(log.counters().flush_count, log.counters().write_count);
        }
        log.accepting = false;
        let (file, buffer) = (Arc::clone(&file), log.buffer(LARGE_BYTES));
        log.submit(GroupWrite { file, offset: 0, buffer, start: 0, len: LARGE_BYTES }).unwrap();
        assert_eq!(log.operations[0].route, Route::ByHand, "the kernel takes no more");
        log.complete().unwrap().result.unwrap();
    }

    /// What the kernel says of a write is not believed any more. It keeps the file, the buffer and
    /// the lock until it has taken the ring down, and the caller gets an error, not a buffer in
    /// use.
    #[test]
    fn what_cannot_be_waited_for_keeps_its_buffer_and_the_lock() {
        let top = tempfile::tempdir().unwrap();
        let directory = Directory::open(top.path()).unwrap();
        let take = |patience| SystemLock::take(&directory, "lock", patience);
        let lock = take(Duration::ZERO).unwrap();
        let strategy = CommitStrategy::Dsync;
        let options = LogWriterOptions { strategy, buffer_count: 2, buffer_bytes: BLOCK };
        let pool = BufferPool::new(options, BLOCK as u32).unwrap();
        let hold = Some(Arc::clone(lock.hold()));
        let mut log = RingLog::new(pool, strategy, hold).unwrap();
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let file = directory.open_file("f", flags).unwrap();
        let access = Access { unit_bytes: 1, writable: true };
        let file = Arc::new(SystemFile::new(file, directory.path_of("f"), access));
        let submit = |log: &mut RingLog| {
            let buffer = log.buffer(BLOCK);
            let kept = Arc::downgrade(&buffer);
            let file = Arc::clone(&file);
            log.submit(GroupWrite { file, offset: 0, buffer, start: 0, len: BLOCK }).unwrap();
            kept
        };
        let (first, second) = (submit(&mut log), submit(&mut log));
        log.is_confused = true;
        let done = log.complete().unwrap();
        assert!(done.result.is_err());
        let in_use = first.upgrade().expect("the buffer is kept");
        assert!(!Arc::ptr_eq(&done.buffer, &in_use));
        drop((done, in_use));
        assert_eq!(log.strategy(), CommitStrategy::Syscall);

        // As an operation at the device would keep it.
        // SAFETY: the ring is open until the log is dropped.
        let ring = unsafe { BorrowedFd::borrow_raw(log.queues.as_raw_fd()) };
        let ring = ring.try_clone_to_owned().unwrap();
        drop(lock);
        drop(log);
        assert!(first.upgrade().is_some() && second.upgrade().is_some());
        let held = take(Duration::from_millis(100));
        assert!(matches!(held, Err(LockError::Held(_))), "{held:?}");
        drop(ring);
        take(Duration::from_secs(30)).unwrap();
    }
}
