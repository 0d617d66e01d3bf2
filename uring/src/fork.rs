//! A process doubled, for tests of what a forked one may do.

use std::io;

/// Runs `body` in a process that is forked off this one and ends with it, and waits for that. False
/// if `body` panicked there. What it leaves is not dropped.
///
/// The new process has the calling thread alone; what other threads had locked stays locked there.
pub fn in_fork(body: impl FnOnce()) -> io::Result<bool> {
    // SAFETY: the C library lets the new process allocate; it uses nothing else that other threads
    // may have been changing, unless `body` does, and that is what is to be tested.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for writes.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(status == 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
