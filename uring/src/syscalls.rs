//! [`SyscallLog`]: group commits by plain system calls, for kernels and containers that forbid
//! rings.
//!
//! One `pwritev2` with RWF_DSYNC writes and flushes; where that is refused, `pwrite` and
//! `fdatasync`. `complete` makes the calls, because there the caller is ready to wait.
//!
//! Invariant: `complete` returns the failure of a flush and repeats no flush. The kernel reports
//! such a failure once; a second flush could succeed although the bytes are lost.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::file::{Progress, SystemFile};
use crate::pool::BufferPool;
use crate::storage::{CommitStrategy, GroupDone, GroupWrite, LogCounters, LogWriter, StorageFile};

/// Writes submitted and not completed, at most.
pub const WRITES_IN_FLIGHT_MAX: usize = 16;

/// Group commits by plain system calls.
#[derive(Debug)]
pub struct SyscallLog {
    pool: BufferPool,
    waiting: VecDeque<(u64, GroupWrite<SystemFile>)>,
    next_ticket: u64,
    counters: LogCounters,
}

impl SyscallLog {
    pub(crate) fn new(pool: BufferPool) -> Self {
        Self {
            pool,
            waiting: VecDeque::with_capacity(WRITES_IN_FLIGHT_MAX),
            next_ticket: 0,
            counters: LogCounters::default(),
        }
    }
}

impl LogWriter for SyscallLog {
    type File = SystemFile;

    fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuffer> {
        self.pool.take(bytes)
    }

    fn submit(&mut self, write: GroupWrite<SystemFile>) -> io::Result<u64> {
        admit(&self.pool, &write, self.waiting.len())?;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.push_back((ticket, write));
        Ok(ticket)
    }

    fn complete(&mut self) -> Option<GroupDone> {
        let (ticket, write) = self.waiting.pop_front()?;
        let owned = self.pool.owner().check();
        let result = owned.and_then(|()| write_group(&write, &mut self.counters));
        Some(done(ticket, write, result))
    }

    fn counters(&self) -> LogCounters {
        self.counters
    }

    fn strategy(&self) -> CommitStrategy {
        CommitStrategy::Syscall
    }

    fn set_strategy(&mut self, strategy: CommitStrategy) -> io::Result<()> {
        if strategy == CommitStrategy::Syscall {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::Unsupported, "this commit strategy needs io_uring"))
    }
}

/// The answer to a write that has ended.
pub(crate) fn done(
    ticket: u64,
    write: GroupWrite<SystemFile>,
    result: io::Result<()>,
) -> GroupDone {
    GroupDone { ticket, buffer: write.buffer, result }
}

/// Refuses a write that is malformed, one too many, or a forked process'.
pub(crate) fn admit(
    pool: &BufferPool,
    write: &GroupWrite<SystemFile>,
    in_flight: usize,
) -> io::Result<()> {
    pool.owner().check()?;
    pool.check(write)?;
    if in_flight >= WRITES_IN_FLIGHT_MAX {
        return Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            format!("{in_flight} log writes are in flight; complete one first"),
        ));
    }
    Ok(())
}

/// Writes a whole group by system calls and makes it durable.
pub(crate) fn write_group(
    write: &GroupWrite<SystemFile>,
    counters: &mut LogCounters,
) -> io::Result<()> {
    counters.written_bytes += write.len as u64;
    if write_through(write, counters)? {
        return Ok(());
    }
    finish_group(write, 0, counters)
}

/// Writes what is left of a group from `written` on, then makes all of the file durable. The way
/// out of short writes and cancelled flushes.
pub(crate) fn finish_group(
    write: &GroupWrite<SystemFile>,
    written: usize,
    counters: &mut LogCounters,
) -> io::Result<()> {
    write_plain(write, written, counters)?;
    counters.flush_count += 1;
    write.file.make_durable()
}

fn write_plain(
    write: &GroupWrite<SystemFile>,
    written: usize,
    counters: &mut LogCounters,
) -> io::Result<()> {
    let file = &write.file;
    assert!(written <= write.len, "no more was written than asked");
    let is_whole = written == write.len || written.is_multiple_of(file.unit_bytes());
    assert!(is_whole, "a write goes on at a block");
    let start = write.start + written;
    let bytes = &write.buffer[start..write.start + write.len];
    let offset = write.offset + written as u64;
    let mut progress = Progress::new(bytes.len(), file.unit_bytes());
    while let Some(done) = progress.next() {
        counters.write_count += 1;
        let attempt = file.file().write_at(&bytes[done..], offset + done as u64);
        progress.note_write(attempt).map_err(|cause| file.error("write", cause))?;
    }
    Ok(())
}

/// One write that carries its own flush. True if it wrote and flushed everything; false if it did
/// less, for any harmless reason, and the caller finishes the group in two steps.
fn write_through(write: &GroupWrite<SystemFile>, counters: &mut LogCounters) -> io::Result<bool> {
    let file = &write.file;
    let bytes = &write.buffer[write.start..write.start + write.len];
    let Ok(offset) = libc::off_t::try_from(write.offset) else { return Ok(false) };
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    counters.write_count += 1;
    // SAFETY: the descriptor is open for the whole call (`write` holds the file); `part` points to
    // one iovec that describes a live slice, which the kernel only reads.
    let count = unsafe { libc::pwritev2(file.fd(), &raw const part, 1, offset, libc::RWF_DSYNC) };
    if count >= 0 {
        counters.flush_count += 1;
        return Ok(count as usize == bytes.len());
    }
    let cause = io::Error::last_os_error();
    match cause.raw_os_error() {
        // Nothing was written: a signal came first, or the kernel or file system knows no
        // RWF_DSYNC.
        Some(libc::EINTR | libc::EAGAIN | libc::EOPNOTSUPP | libc::ENOSYS) => Ok(false),
        _ => Err(file.error("write", cause)),
    }
}
