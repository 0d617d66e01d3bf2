//! [`MemoryLog`]: group commits of a [`crate::Memory`].
//!
//! 1. `submit` puts the bytes in flight: from now on a crash may keep any sector of them.
//! 2. `complete` asks an imagined kernel for its answers to the write and its flush. It judges them
//!    by the same rules as those of the real one ([`judge`]), and finishes the write by hand where
//!    these say so.
//! 3. `complete` brings the bytes into the durable view.
//! 4. A write that fails leaves each of its sectors on the device, given up or lost
//!    ([`crate::loss`]).
//! 5. A write whose writer is gone, or has got an error instead of the answer, ends by itself
//!    ([`crate::process`]).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use uarr_uring::parts::{Answers, BufferPool, Route, Verdict, WRITES_IN_FLIGHT_MAX, judge};
use uarr_uring::{
    AlignedBuffer, CommitStrategy, GroupDone, GroupWrite, LogCounters, LogWriter, LogWriterOptions,
};

use crate::content::{Inode, lock};
use crate::disk::{Disk, State};
use crate::faults::{FaultKind, errno};
use crate::file::MemoryFile;
use crate::flight::Ticket;
use crate::lies::Lie;
use crate::power::dead;

/// A hostile kernel answers one of so many requests with less than was asked for.
const SHORT_ODDS: u64 = 12;

/// Group commits in memory.
pub struct MemoryLog {
    disk: Arc<Disk>,
    pool: BufferPool,
    in_flight: VecDeque<(InFlight, GroupWrite<MemoryFile>)>,
    /// Reported as done before it was, and its bytes.
    deferred: Option<(InFlight, Vec<u8>)>,
    overtaken: Vec<Overtaken>,
    overtaken_count: u64,
    /// Whether it was made under the lock, which its writes hold then.
    is_fenced: bool,
    strategy: CommitStrategy,
    counters: LogCounters,
}

/// A write that was submitted.
struct InFlight {
    ticket: Ticket,
    file: Arc<MemoryFile>,
    offset: u64,
    len: usize,
    /// How many writes had been overtaken by their flushes when it was submitted: its own flush
    /// covers them.
    overtaken_count: u64,
    route: Route,
}

/// A completed write whose flush ran before it ([`Lie::FlushBeforeWrite`]).
struct Overtaken {
    /// Counted from 1.
    number: u64,
    inode: Inode,
    range: Range<u64>,
}

impl MemoryLog {
    pub(crate) fn new(disk: &Arc<Disk>, options: LogWriterOptions) -> io::Result<Self> {
        Ok(Self {
            disk: Arc::clone(disk),
            pool: BufferPool::new(options, disk.facts.block_bytes)?,
            in_flight: VecDeque::new(),
            deferred: None,
            overtaken: Vec::new(),
            overtaken_count: 0,
            is_fenced: disk.state().users.has_opener(),
            strategy: options.strategy,
            counters: LogCounters::default(),
        })
    }

    /// What becomes of a write that was in flight.
    fn finish(&mut self, done: &InFlight, bytes: &[u8]) -> io::Result<()> {
        let InFlight { file, offset, len, .. } = done;
        let abandoned = self.disk.state().faults.call(FaultKind::LogAbandoned, file.path());
        if abandoned.is_err() {
            self.leave(done);
            return abandoned;
        }
        self.counters.write_count += 1;
        self.counters.written_bytes += *len as u64;
        self.counters.flush_count += 1;
        let answers = match self.answers(done) {
            Ok(answers) => answers,
            Err(cause) => {
                lock(file.inode()).end_flight(done.ticket.number);
                return Err(cause);
            }
        };
        let unit_bytes = self.disk.facts.block_bytes as usize;
        {
            let mut inode = lock(file.inode());
            inode.end_flight(done.ticket.number);
            inode.write(bytes, *offset)?;
        }
        match judge(done.route, answers, *len, unit_bytes) {
            Verdict::Done => self.note_done(done),
            Verdict::FinishByHand { .. } => {
                self.by_hand(done)?;
                self.note_done(done)
            }
            Verdict::WriteFailed(code) | Verdict::FlushFailed(code) => {
                let cause = io::Error::from_raw_os_error(code);
                match self.drop_some(done, &cause)? {
                    true => Ok(()),
                    false => Err(cause),
                }
            }
            Verdict::Pending => unreachable!("the imagined kernel has answered everything"),
        }
    }

    /// What the kernel says to a write and its flush. An error: the disk is dead.
    fn answers(&self, done: &InFlight) -> io::Result<Answers> {
        let InFlight { file, offset, len, .. } = done;
        let place = [*offset, *len as u64];
        let mut answers = Answers { write: Some(*len as i32), flush: None, split: false };
        if done.route == Route::ByHand {
            return Ok(answers);
        }
        match file.call(FaultKind::LogWrite, place) {
            Ok(mut state) => {
                if self.disk.options.hostile && state.random.below(SHORT_ODDS) == 0 {
                    let short = state.random.below(*len as u64) as i32;
                    let codes = [-libc::EINTR, -libc::EAGAIN, short];
                    answers.write = Some(codes[state.random.below(3) as usize]);
                }
            }
            Err(_) if self.is_dead() => return Err(dead()),
            Err(cause) => answers.write = Some(-errno(&cause)),
        }
        let whole = answers.write == Some(*len as i32);
        if done.route == Route::WriteThenFlush && !whole {
            // The link is broken.
            answers.flush = Some(-libc::ECANCELED);
        } else if whole {
            let (flushed, failed) = match file.call(FaultKind::LogFlush, place) {
                Ok(mut state) => {
                    let goes = self.disk.options.hostile && state.random.below(SHORT_ODDS) == 0;
                    (if goes { -libc::ECANCELED } else { 0 }, false)
                }
                Err(_) if self.is_dead() => return Err(dead()),
                Err(cause) => (-errno(&cause), true),
            };
            match done.route {
                Route::WriteThenFlush => answers.flush = Some(flushed),
                // One answer for both; such a write cannot lose its flush alone.
                _ if failed => answers.write = Some(flushed),
                _ => {}
            }
        }
        Ok(answers)
    }

    /// The rest of the write and its flush, as system calls.
    fn by_hand(&self, done: &InFlight) -> io::Result<()> {
        let InFlight { file, offset, len, .. } = done;
        let place = [*offset, *len as u64];
        let call = |kind| file.call(kind, place).map(drop);
        let written = call(FaultKind::LogWrite).and_then(|()| call(FaultKind::LogFlush));
        match written {
            Err(cause) if self.drop_some(done, &cause)? => Ok(()),
            written => written,
        }
    }

    /// A write goes on without a waiter.
    fn leave(&self, write: &InFlight) {
        let mut state = self.disk.state();
        let State { users, random, power, .. } = &mut *state;
        users.leave(write.file.inode(), write.ticket, power.step_count, random);
    }

    /// A write or its flush has failed by `cause`. Returns true if the disk still reports success.
    fn drop_some(&self, done: &InFlight, cause: &io::Error) -> io::Result<bool> {
        let mut state = self.disk.state();
        let range = done.offset..done.offset + done.len as u64;
        lock(done.file.inode()).drop_some(range, &mut state.random)?;
        Ok(state.retries_flush(cause))
    }

    /// A write has succeeded: it is durable, or its flush ran too early and covers earlier ones.
    fn note_done(&mut self, done: &InFlight) -> io::Result<()> {
        let InFlight { file, offset, len, .. } = done;
        let range = *offset..offset + *len as u64;
        let mut state = self.disk.state();
        if state.is_dead() {
            // A call of another thread was its last one, and nothing is written behind that.
            return Err(dead());
        }
        let is_overtaken = state.lies.has(Lie::FlushBeforeWrite);
        if !is_overtaken {
            lock(file.inode()).make_range_durable(range.clone(), &mut state.lies)?;
        }
        let is_covered = |write: &mut Overtaken| write.number <= done.overtaken_count;
        for write in self.overtaken.extract_if(.., is_covered) {
            let mut inode = lock(&write.inode);
            inode.make_range_durable(write.range, &mut state.lies)?;
        }
        if is_overtaken {
            self.overtaken_count += 1;
            let (number, inode) = (self.overtaken_count, Arc::clone(file.inode()));
            self.overtaken.push(Overtaken { number, inode, range });
        }
        Ok(())
    }

    fn is_dead(&self) -> bool {
        self.disk.state().is_dead()
    }

    /// Submitted bytes go in flight, with their neighbour if the disk has larger units than it
    /// says.
    fn put_in_flight(&self, write: &GroupWrite<MemoryFile>) -> io::Result<Ticket> {
        let mut state = self.disk.state();
        let ticket = state.new_ticket(self.is_fenced);
        let bytes = &write.buffer[write.start..write.start + write.len];
        state.trace.mix_bytes(bytes);
        let mut inode = lock(write.file.inode());
        let block_bytes = self.disk.facts.block_bytes as usize;
        if state.lies.has(Lie::NeighbourRewritten) && write.offset > 0 {
            let start = write.offset - block_bytes as u64;
            let mut more = vec![0; block_bytes];
            inode.read(&mut more, start)?;
            more.extend_from_slice(bytes);
            inode.submit(ticket, start, more);
        } else {
            inode.submit(ticket, write.offset, bytes.to_vec());
        }
        Ok(ticket)
    }
}

fn route(strategy: CommitStrategy) -> Route {
    match strategy {
        CommitStrategy::Syscall => Route::ByHand,
        CommitStrategy::LinkedFdatasync => Route::WriteThenFlush,
        CommitStrategy::Dsync => Route::WriteThrough,
    }
}

impl LogWriter for MemoryLog {
    type File = MemoryFile;

    fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuffer> {
        self.pool.take(bytes)
    }

    fn submit(&mut self, write: GroupWrite<MemoryFile>) -> io::Result<u64> {
        self.pool.check(&write)?;
        if self.in_flight.len() >= WRITES_IN_FLIGHT_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.is_dead() {
            return Err(dead());
        }
        let end = write.offset + write.len as u64;
        {
            let mut state = self.disk.state();
            let refused = state.faults.call(FaultKind::LogRefused, write.file.path());
            refused
                .and_then(|()| state.check_room(write.file.inode(), write.offset..end))
                .map_err(|cause| write.file.error("write", cause))?;
        }
        let ticket = self.put_in_flight(&write)?;
        let in_flight = InFlight {
            ticket,
            file: Arc::clone(&write.file),
            offset: write.offset,
            len: write.len,
            overtaken_count: self.overtaken_count,
            route: route(self.strategy),
        };
        self.in_flight.push_back((in_flight, write));
        self.disk.answers.note_sent();
        Ok(ticket.number)
    }

    fn complete(&mut self) -> Option<GroupDone> {
        let count = self.in_flight.len() as u64;
        if count == 0 {
            return None;
        }
        self.disk.answers.wait();
        let (index, early) = {
            let mut state = self.disk.state();
            let reorders = self.disk.options.reorder_completions;
            let index = if reorders { state.random.below(count) as usize } else { 0 };
            (index, state.lies.has(Lie::EarlyCompletion))
        };
        let (done, GroupWrite { buffer, start, len, .. }) = self.in_flight.remove(index)?;
        let ticket = done.ticket.number;
        let result = if early && !self.is_dead() {
            // No caller hears what really becomes of the one before.
            if let Some((deferred, bytes)) = self.deferred.take() {
                let _ = self.finish(&deferred, &bytes);
            }
            self.deferred = Some((done, buffer[start..start + len].to_vec()));
            Ok(())
        } else {
            let result = self.finish(&done, &buffer[start..start + len]);
            result.map_err(|cause| done.file.error("write", cause))
        };
        Some(GroupDone { ticket, buffer, result })
    }

    fn counters(&self) -> LogCounters {
        self.counters
    }

    fn strategy(&self) -> CommitStrategy {
        self.strategy
    }

    fn set_strategy(&mut self, strategy: CommitStrategy) -> io::Result<()> {
        self.strategy = strategy;
        Ok(())
    }
}

impl Drop for MemoryLog {
    fn drop(&mut self) {
        for (write, _) in &self.in_flight {
            self.leave(write);
        }
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog")
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}
