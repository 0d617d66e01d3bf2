//! [`SystemLock`]: one opener per database directory.
//!
//! An opener locks both the directory itself and the file in it, with `flock`. The directory is
//! what counts: a removed, replaced or copied one is another directory, whereas the file can go.
//! The file is for programs that lock nothing else, and for people: it names the holder.
//!
//! Invariants:
//! - the locks belong to open files ([`Hold`]), which every ring of the opener holds too, through
//!   the kernel: after the process they live on until its last write has ended;
//! - the last of lock and log writers releases them explicitly, but never while a write may still
//!   be on its way, and never in a forked process: its open files are the parent's;
//! - a file that is a link, or has a content that no lock file has, belongs to others: the lock
//!   neither follows nor writes it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::directory::Directory;
use crate::holder::{HOLDER_BYTES_MAX, Holder};
use crate::owner::Owner;
use crate::room;
use crate::storage::LockError;

/// The kernel's list of locks.
const LOCKS: &str = "/proc/locks";
/// Pause between two attempts at first: a ring that is taken down by the kernel takes some 20 ms.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// And later, in steps of [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// Holds a database directory until it and all log writers made under it are gone, and their last
/// write has ended.
#[derive(Debug)]
pub struct SystemLock {
    hold: Arc<Hold>,
}

/// The open files that carry the locks, shared by the lock and the rings.
#[derive(Debug)]
pub(crate) struct Hold {
    files: Vec<File>,
    owner: Owner,
    /// Whether a ring was left to the kernel with a write that may not have ended.
    is_left: AtomicBool,
}

impl Hold {
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// From now on only the kernel releases the locks: when the ring that has these files
    /// registered has ended its last write.
    pub fn leave_to_kernel(&self) {
        self.is_left.store(true, Ordering::Release);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.is_left.load(Ordering::Acquire) || !self.owner.is_here() {
            return;
        }
        // Closing would do, but for rings, which the kernel takes down later, and for forked
        // processes.
        for file in &self.files {
            let _ = file.unlock();
        }
    }
}

impl SystemLock {
    /// Takes the lock, trying again until `patience` is over (at least once).
    pub(crate) fn take(
        directory: &Directory,
        path: &str,
        patience: Duration,
    ) -> Result<Self, LockError> {
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let held = match Self::attempt(directory, path)? {
                Ok(lock) => return Ok(lock),
                Err(held) => held,
            };
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(LockError::Held(held));
            }
            std::thread::sleep(left.min(pause));
            pause = (pause + PAUSE_MIN / 4).min(PAUSE_MAX);
        }
    }

    /// One attempt; the inner error says who holds the lock.
    fn attempt(directory: &Directory, path: &str) -> Result<Result<Self, Holder>, LockError> {
        let fail = |path: &str, cause| LockError::Io(directory.error("lock", path, cause));
        let itself = directory.open_folder("").map_err(LockError::Io)?;
        let is_ours = try_lock(&itself).map_err(|cause| fail("", cause))?;
        let mut file = match open_file(directory, path, is_ours) {
            Ok(file) => file,
            // The directory may be locked by a process that may not write there.
            Err(cause) if cannot_write(&cause) => None,
            Err(cause) => return Err(fail(path, cause)),
        };
        let read = file.as_mut().map_or(Ok(String::new()), read_text);
        let text = read.map_err(|cause| fail(path, cause))?;
        let is_ours = match &file {
            Some(file) if is_ours => try_lock(file).map_err(|cause| fail(path, cause))?,
            _ => is_ours,
        };
        if !is_ours {
            return Ok(Err(Holder::named_in(&text)));
        }
        if !Holder::is_content(&text) {
            let what =
                "it is not the lock file of a database; remove it or choose another directory";
            return Err(fail(path, io::Error::new(ErrorKind::InvalidData, what)));
        }
        if let Some(file) = &mut file
            && let Err(cause) = write_text(file, &Holder::own_text())
            && !cannot_write(&cause)
            // On a full disk, too, a database can be read: the text is only for messages.
            && !room::is_lacking(&cause)
        {
            return Err(fail(path, cause));
        }
        let files = std::iter::once(itself).chain(file).collect();
        let hold = Hold { files, owner: Owner::new(), is_left: AtomicBool::new(false) };
        Ok(Ok(Self { hold: Arc::new(hold) }))
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }
}

/// Who holds the directory, as the kernel's list of locks says; `None`: no opener does, or the list
/// does not say. To try the lock would keep an opener out for that moment.
pub(crate) fn holder(directory: &Directory, path: &str) -> io::Result<Option<Holder>> {
    let itself = directory.open_folder("")?;
    let inode = itself.metadata().map_err(|cause| directory.error("look at", "", cause))?.ino();
    let locks = std::fs::read_to_string(LOCKS).unwrap_or_default();
    if !locks.lines().any(|line| locked_inode(line) == Some(inode)) {
        return Ok(None);
    }
    let mut file = directory.open_file(path, libc::O_RDONLY).ok();
    let text = file.as_mut().and_then(|file| read_text(file).ok());
    Ok(Some(Holder::named_in(&text.unwrap_or_default())))
}

/// The inode that a line of the list says is locked as openers do it:
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:5489079 0 EOF`.
fn locked_inode(line: &str) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let is_flock = fields.next() == Some("FLOCK");
    fields.nth(3)?.rsplit(':').next()?.parse().ok().filter(|_| is_flock)
}

/// The file beside the database; made if `make`. `None` if there is none.
fn open_file(directory: &Directory, path: &str, make: bool) -> io::Result<Option<File>> {
    let create = if make { libc::O_CREAT } else { 0 };
    let opened = match directory.open_file(path, libc::O_RDWR | create) {
        Err(cause) if cannot_write(&cause) => directory.open_file(path, libc::O_RDONLY),
        opened => opened,
    };
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// False if another open file has the lock.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        // The next attempt will show.
        Err(std::fs::TryLockError::Error(cause)) if cause.kind() == ErrorKind::Interrupted => {
            Ok(false)
        }
        Err(std::fs::TryLockError::Error(cause)) => Err(cause),
    }
}

fn cannot_write(cause: &io::Error) -> bool {
    // A file that was opened for reading only answers EBADF.
    matches!(cause.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
        || cause.raw_os_error() == Some(libc::EBADF)
}

fn read_text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    // One more than there can be, so that a longer file is noticed.
    file.take(HOLDER_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write_text(file: &mut File, text: &str) -> io::Result<()> {
    room::check_file_size(text.len() as u64)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_openers_are_found_in_the_list() {
        let check = |line, inode| assert_eq!(locked_inode(line), inode, "{line}");
        check("1: FLOCK  ADVISORY  WRITE 4711 fe:00:5489079 0 EOF", Some(5_489_079));
        check("2: FLOCK  ADVISORY  READ -1 00:2d:7 0 EOF", Some(7));
        check("3: POSIX  ADVISORY  WRITE 4711 fe:00:5489079 0 EOF", None);
        check("1: -> FLOCK  ADVISORY  WRITE 12 fe:00:5489079 0 EOF", None);
        check("", None);
    }
}
