//! [`MemoryLog`]: group commits of a [`crate::Memory`].
//!
//! 1. `submit` brings the bytes into the cache image: from now on a crash may keep any sector of
//!    them.
//! 2. `complete` of a durable write brings them, and all writes that had completed before it was
//!    submitted, into the durable image.
//! 3. A write that fails leaves its bytes lost: a crash may keep any sector of them, no later flush
//!    does.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::names::Inode;
use super::{Disk, FaultKind, MemoryFile, lock};
use crate::buffer::AlignedBuffer;
use crate::pool::BufferPool;
use crate::storage::{
    CommitStrategy, GroupDone, GroupWrite, LogCounters, LogWriter, LogWriterOptions,
};

/// Writes submitted and not completed, at most; as many as the other backends take.
const WRITES_IN_FLIGHT_MAX: usize = crate::syscalls::WRITES_IN_FLIGHT_MAX;

/// Group commits in memory. All strategies do the same.
pub struct MemoryLog {
    disk: Arc<Disk>,
    pool: BufferPool,
    in_flight: VecDeque<InFlight>,
    debts: Vec<Debt>,
    debt_number: u64,
    next_ticket: u64,
    strategy: CommitStrategy,
    counters: LogCounters,
}

struct InFlight {
    ticket: u64,
    write: GroupWrite<MemoryFile>,
    /// Debts up to this number had been made when it was submitted.
    due_number: u64,
}

/// A completed write that is not durable.
struct Debt {
    number: u64,
    inode: Inode,
    offset: u64,
    len: usize,
}

impl MemoryLog {
    pub(super) fn new(disk: &Arc<Disk>, options: LogWriterOptions) -> io::Result<Self> {
        Ok(Self {
            disk: Arc::clone(disk),
            pool: BufferPool::new(options, disk.facts.block_bytes)?,
            in_flight: VecDeque::new(),
            debts: Vec::new(),
            debt_number: 0,
            next_ticket: 0,
            strategy: options.strategy,
            counters: LogCounters::default(),
        })
    }

    fn finish(&mut self, done: &InFlight) -> io::Result<()> {
        let GroupWrite { file, offset, len, durable, .. } = &done.write;
        self.counters.write_count += 1;
        self.counters.written_bytes += *len as u64;
        let fault = file.call(FaultKind::LogWrite).and_then(|mut state| {
            if *durable { state.faults.call(FaultKind::LogFlush) } else { Ok(()) }
        });
        if let Err(cause) = fault {
            lock(&file.inode).lose_range(*offset, *len as u64);
            return Err(cause);
        }
        if !durable {
            self.debt_number += 1;
            let inode = Arc::clone(&file.inode);
            self.debts.push(Debt { number: self.debt_number, inode, offset: *offset, len: *len });
            return Ok(());
        }
        self.counters.flush_count += 1;
        lock(&file.inode).make_range_durable(*offset, *len)?;
        let (due, later): (Vec<_>, Vec<_>) =
            self.debts.drain(..).partition(|debt| debt.number <= done.due_number);
        self.debts = later;
        for debt in due {
            lock(&debt.inode).make_range_durable(debt.offset, debt.len)?;
        }
        Ok(())
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
        {
            let state = self.disk.state();
            let end = write.offset + write.len as u64;
            state
                .check_room(&write.file.inode, end)
                .map_err(|cause| write.file.error("write", cause))?;
            let bytes = &write.buffer[write.start..write.start + write.len];
            lock(&write.file.inode).write(bytes, write.offset)?;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.in_flight.push_back(InFlight { ticket, write, due_number: self.debt_number });
        Ok(ticket)
    }

    fn complete(&mut self) -> Option<GroupDone> {
        let count = self.in_flight.len() as u64;
        if count == 0 {
            return None;
        }
        let index = if self.disk.options.reorder_completions {
            self.disk.state().random.below(count) as usize
        } else {
            0
        };
        let done = self.in_flight.remove(index)?;
        let result = self.finish(&done).map_err(|cause| done.write.file.error("write", cause));
        Some(GroupDone { ticket: done.ticket, buffer: done.write.buffer, result })
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

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog")
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}
