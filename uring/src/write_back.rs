//! Writing dirty cached pages back ahead of a flush, which promises nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::error::invalid_input;

/// Starts it for `len` bytes from `offset` on.
pub(crate) fn start(file: &File, offset: u64, len: u64) -> io::Result<()> {
    sync_range(file, libc::SYNC_FILE_RANGE_WRITE, offset, len)
}

/// The same, and waits until the device has them.
pub(crate) fn wait(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let before = libc::SYNC_FILE_RANGE_WAIT_BEFORE;
    let flags = before | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, flags, offset, len)
}

/// `sync_file_range` of the kernel: not having it is no error.
fn sync_range(file: &File, flags: u32, offset: u64, len: u64) -> io::Result<()> {
    let (Ok(start), Ok(bytes)) = (i64::try_from(offset), i64::try_from(len)) else {
        return Err(invalid_input(format!("{len} bytes at {offset}")));
    };
    if len == 0 {
        return Ok(()); // To the kernel, 0 would mean "to the end".
    }
    // SAFETY: the descriptor is open for the whole call (`file`); no memory is passed.
    let status = unsafe { libc::sync_file_range(file.as_raw_fd(), start, bytes, flags) };
    if status == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        cause if matches!(cause.raw_os_error(), Some(libc::ENOSYS | libc::EINTR)) => Ok(()),
        cause => Err(cause),
    }
}
