//! Room: what a file system has left, and what the process may use.
//!
//! Writers ask for the limit before they ask the kernel for room: a process that makes a file
//! longer than RLIMIT_FSIZE allows gets a signal that kills it.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

/// Free bytes of the file system of `file` that any process may take. Which of them may take those
/// that are kept back (for root, as a rule) is for the file system to decide: its options, user
/// namespaces and capabilities play a part.
pub(crate) fn free_bytes(file: &File) -> io::Result<u64> {
    let answer = statvfs(file)?;
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

/// Free bytes of the file system of `file`, with those that are kept back: more than that no
/// process gets.
pub(crate) fn free_bytes_max(file: &File) -> io::Result<u64> {
    let answer = statvfs(file)?;
    Ok(answer.f_bfree.saturating_mul(answer.f_frsize))
}

fn statvfs(file: &File) -> io::Result<libc::statvfs> {
    let mut answer = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the descriptor is open for the whole call; `answer` is valid for writes of one
    // `statvfs`.
    let status = unsafe { libc::fstatvfs(file.as_raw_fd(), answer.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `statvfs` is made of integers, for which zeroes are valid, and it was zeroed above.
    Ok(unsafe { answer.assume_init() })
}

/// An error of kind `FileTooLarge` if the process may not write a file up to `end`.
pub(crate) fn check_file_size(end: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is valid for writes of one `rlimit`.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    if status == 0 && limit.rlim_cur != libc::RLIM_INFINITY && end > limit.rlim_cur {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

/// Whether the error says that there is no room, on the device or within a limit.
pub(crate) fn is_lacking(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// From now on a write beyond RLIMIT_FSIZE is an error of the process instead of its death. For
/// programs: files of a [`crate::System`] are checked against the limit before they are written,
/// but others, such as standard output, are not.
pub fn survive_file_size_limit() {
    // SAFETY: to ignore a signal runs no code; nothing else of the process relies on being killed
    // by it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_or_not() {
        let directory = File::open(std::env::temp_dir()).unwrap();
        assert!(free_bytes_max(&directory).unwrap() < 1 << 60);
        check_file_size(1 << 40).unwrap();
    }

    /// Root was taken for one who gets them, and so the last room went to what is prepared ahead.
    #[test]
    fn what_is_kept_back_is_not_counted_on() {
        let directory = File::open(std::env::temp_dir()).unwrap();
        let facts = statvfs(&directory).unwrap();
        let kept_back = (facts.f_bfree - facts.f_bavail) * facts.f_frsize;
        // Other processes write meanwhile.
        let uncounted = free_bytes_max(&directory).unwrap() - free_bytes(&directory).unwrap();
        assert!(uncounted.abs_diff(kept_back) < 1 << 30, "{uncounted} of {kept_back}");
    }
}
