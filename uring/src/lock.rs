//! [`SystemLock`]: one process per database directory.
//!
//! The lock is the kernel's (`flock`), so it ends with its holder however that dies. The file's
//! content, the holder's process id, is only for messages.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::time::{Duration, Instant};

use crate::directory::Directory;
use crate::storage::LockError;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);
/// Digits of a process id, with room to spare.
const PID_BYTES_MAX: u64 = 32;

/// Holds a database directory until dropped.
#[derive(Debug)]
pub struct SystemLock {
    _file: File,
}

impl SystemLock {
    /// Takes the lock, trying again until `patience` is over (at least once).
    pub(crate) fn take(
        directory: &Directory,
        path: &str,
        patience: Duration,
    ) -> Result<Self, LockError> {
        let fail = |cause| LockError::Io(directory.error("lock", path, cause));
        let mut file = directory.open_at(path, libc::O_RDWR | libc::O_CREAT).map_err(fail)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(cause))
                    if cause.kind() == io::ErrorKind::Interrupted && start.elapsed() < patience => {
                }
                Err(TryLockError::Error(cause)) => return Err(fail(cause)),
                Err(TryLockError::WouldBlock) => {
                    let left = patience.saturating_sub(start.elapsed());
                    if left.is_zero() {
                        return Err(LockError::Held { pid: read_pid(&mut file) });
                    }
                    std::thread::sleep(left.min(PAUSE));
                }
            }
        }
        write_pid(&mut file).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    file.rewind().ok()?;
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
