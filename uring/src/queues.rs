//! [`Queues`]: the two queues that a ring shares with the kernel, set up for the log alone.
//!
//! Set-up: create the ring disabled, probe its operations, register buffers and files, forbid
//! everything the log does not need, and only then enable it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::register::{Probe, Restriction};
use io_uring::squeue::{self, Flags};
use io_uring::{IoUring, cqueue, opcode};

use crate::pool::BufferPool;
use crate::refusal::Refusal;
use crate::syscalls::WRITES_IN_FLIGHT_MAX;

/// Room for a write and its flush, for each write in flight.
const ENTRIES: u32 = 2 * WRITES_IN_FLIGHT_MAX as u32;
/// io_uring_enter: wait for completions.
const ENTER_GETEVENTS: u32 = 1;
/// io_uring_register: forget the registered files.
const UNREGISTER_FILES: u8 = 3;

/// What the log asks of a ring.
const OPERATIONS: [(u8, &str); 3] = [
    (opcode::Write::CODE, "WRITE"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::Fsync::CODE, "FSYNC"),
];

/// A descriptor is an `int`, as the entries want it.
const _: () = assert!(size_of::<RawFd>() == 4);

/// A ring, for the log alone.
pub(crate) struct Queues(IoUring);

impl Queues {
    /// A ring that takes no submissions yet, with all operations the log needs.
    pub fn disabled() -> Result<Self, Refusal> {
        let ring = IoUring::builder()
            .dontfork()
            .setup_r_disabled()
            .build(ENTRIES)
            .map_err(|error| Refusal::of_step("io_uring_setup", &error))?;
        assert!(ring.params().cq_entries() >= ENTRIES, "every completion finds room");
        let mut probe = Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .map_err(|error| Refusal::of_step("probing its operations", &error))?;
        for (code, name) in OPERATIONS {
            if !probe.is_supported(code) {
                return Err(Refusal::missing_operation(name));
            }
        }
        Ok(Self(ring))
    }

    /// Makes the pool's buffers known to the kernel, which spares it looking up their pages for
    /// every write. False if it will not, for want of locked memory: plain writes do as well, a
    /// little slower.
    pub fn register_buffers(&self, pool: &BufferPool) -> bool {
        let mut parts: Vec<_> = pool
            .free_buffers()
            .iter()
            .map(|buffer| {
                let index = pool.index_of(buffer).expect("a pool knows its own buffers");
                let iov_base = buffer.as_ptr().cast_mut().cast();
                (index, libc::iovec { iov_base, iov_len: buffer.len() })
            })
            .collect();
        parts.sort_by_key(|&(index, _)| index);
        let is_known = |(place, (index, _)): (usize, &(u16, _))| place == usize::from(*index);
        assert!(parts.iter().enumerate().all(is_known), "a buffer is registered by its index");
        let parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
        // SAFETY: each part is a live buffer of the pool. The kernel pins their pages and reads
        // them only for operations that own the buffer; should one be freed early, its pages stay
        // pinned, and no operation names its index again, because the index goes with the buffer.
        unsafe { self.0.submitter().register_buffers(&parts) }.is_ok()
    }

    /// Makes the kernel hold these open files until the ring and its last operation are gone.
    pub fn register_files(&self, files: &[RawFd]) -> Result<(), Refusal> {
        self.0
            .submitter()
            .register_files(files)
            .map_err(|error| Refusal::of_step("having it hold the lock of the directory", &error))
    }

    /// Ends what `register_files` began, at once: the kernel takes a ring down later, and a file
    /// that it holds until then keeps a file system from being unmounted. If it refuses, that is
    /// all that is lost, because no operation is left.
    pub fn unregister_files(&self) {
        let _ = self.0.submitter().unregister_files();
    }

    /// Forbids all that the log does not need, then lets submissions in.
    pub fn enable(&self) -> Result<(), Refusal> {
        let mut allowed: Vec<_> =
            OPERATIONS.iter().map(|&(code, _)| Restriction::sqe_op(code)).collect();
        allowed.push(Restriction::sqe_flags_allowed(Flags::IO_LINK.bits()));
        allowed.push(Restriction::register_op(UNREGISTER_FILES));
        // A second fence only: a kernel that cannot do it is used without.
        let _ = self.0.submitter().register_restrictions(&mut allowed);
        self.0
            .submitter()
            .register_enable_rings()
            .map_err(|error| Refusal::of_step("enabling it", &error))
    }

    /// Puts entries into the submission queue, which is empty between submissions while the kernel
    /// takes them.
    ///
    /// # Safety
    /// The files and the memory that the entries name stay where they are, and alive, until all
    /// their completions have been seen.
    pub unsafe fn push(&mut self, entries: &[squeue::Entry]) {
        assert!(self.0.submission().is_empty(), "earlier operations leave nothing in the queue");
        // SAFETY: the caller keeps what the entries name alive.
        let pushed = unsafe { self.0.submission().push_multiple(entries) };
        pushed.expect("an empty queue has room for a pair");
    }

    /// Offers the kernel `count` entries; returns how many it took.
    pub fn submit(&self, count: u32) -> io::Result<u32> {
        let taken = self.enter(count, 0, 0)?;
        assert!(taken <= count, "the kernel takes no more than it is given");
        Ok(taken)
    }

    /// Waits until there is a completion.
    pub fn wait(&self) -> io::Result<()> {
        self.enter(0, 1, ENTER_GETEVENTS).map(drop)
    }

    /// The completions that have arrived and were not taken.
    pub fn completions(&mut self) -> cqueue::CompletionQueue<'_> {
        self.0.completion()
    }

    fn enter(&self, submit_count: u32, wait_count: u32, flags: u32) -> io::Result<u32> {
        let submitter = self.0.submitter();
        // SAFETY: the ring is open; no argument beyond numbers is passed, and what the entries in
        // the queue point to is kept alive by their operations.
        let taken =
            unsafe { submitter.enter::<libc::sigset_t>(submit_count, wait_count, flags, None) };
        taken.map(|count| u32::try_from(count).expect("at most the queue is taken"))
    }
}

impl AsRawFd for Queues {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
