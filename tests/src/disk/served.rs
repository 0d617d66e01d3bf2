//! The image as the one file of a FUSE file system.

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

use super::faults::{Action, Faults, Rule};
use super::medium::{Medium, SECTOR_BYTES};

/// Name of the one file.
pub(super) const IMAGE: &str = "image";
const IMAGE_INODE: INodeNo = INodeNo(2);
/// Nothing changes but content, which is never cached.
const FACTS_VALID: Duration = Duration::from_secs(3600);
/// Requests that the kernel may have at the disk at once.
const QUEUE_DEPTH: u16 = 128;

/// A request that is answered later.
pub(super) struct Waiting {
    /// `None` until it is released.
    due: Option<Instant>,
    pub(super) what: Kept,
}

/// What is kept of a request that is answered later.
pub(super) enum Kept {
    Write(usize, Vec<u8>, ReplyWrite),
    /// With the number of the last write it is for.
    Flush(u64, ReplyEmpty),
}

/// The disk and its rules.
pub(super) struct State {
    pub(super) medium: Medium,
    pub(super) faults: Faults,
    pub(super) waiting: Vec<Waiting>,
    ended: bool,
}

impl State {
    /// Lets a request happen and answers it.
    fn end(&mut self, what: Kept) {
        match what {
            Kept::Write(offset, bytes, reply) => {
                self.medium.write(offset, &bytes);
                reply.written(bytes.len() as u32);
            }
            Kept::Flush(sequence, reply) => {
                self.medium.flush(sequence);
                reply.ok();
            }
        }
    }

    fn fail(&mut self, what: Kept, rule: &Rule, errno: i32) {
        match what {
            Kept::Write(_, _, reply) => reply.error(Errno::from_i32(errno)),
            Kept::Flush(sequence, reply) => {
                self.medium.lose(sequence, |offset| rule.covers(offset));
                reply.error(Errno::from_i32(errno));
            }
        }
    }

    fn take(&mut self, what: Kept) {
        let written = match &what {
            Kept::Write(offset, bytes, _) => Some(*offset as u64..(*offset + bytes.len()) as u64),
            Kept::Flush(..) => None,
        };
        let Some(rule) = self.faults.decide(written.as_ref()) else { return self.end(what) };
        match rule.action {
            Action::Fail(errno) => self.fail(what, &rule, errno),
            Action::Delay(_, time) => {
                self.waiting.push(Waiting { due: Some(Instant::now() + time), what });
            }
            Action::Hold => self.waiting.push(Waiting { due: None, what }),
        }
    }

    /// Ends what is due, and returns how long the next one has.
    fn end_due(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let is_due = |waiting: &Waiting| waiting.due.is_some_and(|due| due <= now);
        while let Some(index) = self.waiting.iter().position(is_due) {
            let waiting = self.waiting.remove(index);
            self.end(waiting.what);
        }
        self.waiting.iter().filter_map(|waiting| waiting.due).min().map(|due| due - now)
    }
}

/// What the threads that serve the disk share with the test.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No rule any more; what was held happens now.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.faults.rules.clear();
        let now = Instant::now();
        state.waiting.iter_mut().for_each(|waiting| waiting.due = Some(waiting.due.unwrap_or(now)));
        self.changed.notify_all();
    }

    fn serve_later(&self) {
        let mut state = self.state();
        while !state.ended {
            let wait = state.end_due().unwrap_or(Duration::from_secs(3600));
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The thread that answers what is answered later; it ends when this is dropped.
pub(super) struct Later {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Later {
    pub(super) fn new(medium: Medium, seed: u64) -> Self {
        let (waiting, ended) = (Vec::new(), false);
        let state = State { medium, faults: Faults::new(seed), waiting, ended };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let serving = shared.clone();
        let thread = Some(std::thread::spawn(move || serving.serve_later()));
        Self { shared, thread }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The file system with one file.
pub(super) struct Served(pub(super) Arc<Shared>);

impl Served {
    fn facts(&self, inode: INodeNo) -> FileAttr {
        let is_image = inode == IMAGE_INODE;
        let size = if is_image { self.0.state().medium.len_bytes() as u64 } else { 0 };
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: inode,
            size,
            blocks: size / SECTOR_BYTES as u64,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if is_image { FileType::RegularFile } else { FileType::Directory },
            perm: if is_image { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn take(&self, what: Kept) {
        self.0.state().take(what);
        self.0.changed.notify_all();
    }
}

impl Filesystem for Served {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Otherwise the loop device waits for each write before it sends the next.
        let many = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).is_ok()
            && config.set_max_background(QUEUE_DEPTH).is_ok();
        if many { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == IMAGE {
            reply.entry(&FACTS_VALID, &self.facts(IMAGE_INODE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        reply.attr(&FACTS_VALID, &self.facts(inode));
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO
            | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
            | FopenFlags::FOPEN_NOFLUSH;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(self.0.state().medium.read(offset as usize, size as usize));
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.take(Kept::Write(offset as usize, data.to_vec(), reply));
    }

    fn fsync(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let sequence = self.0.state().medium.sequence();
        self.take(Kept::Flush(sequence, reply));
    }
}
