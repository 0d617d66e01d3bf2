//! [`Owner`]: the process that made something, as against one that was forked off it.
//!
//! A forked process shares the locks, the files and the maps of its parent, but has none of its
//! threads and none of its rings. What it drops must not end what the parent still holds.
//!
//! Asking the kernel who one is costs a system call, and each reader that ends asks. So the process
//! notes its id in a page that the kernel gives to forked processes as zeros (`MADV_WIPEONFORK`):
//! they find no id there, or the one that they have noted themselves since.

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::buffer::PAGE_BYTES;

/// The id of this process, or 0 if it was forked and has made nothing yet. `None`: the kernel has
/// no such pages. One for the process, as it is a fact of the process.
static NOTED: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();

/// The process that made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u32);

impl Default for Owner {
    /// This process.
    fn default() -> Self {
        let id = std::process::id();
        if let Some(noted) = NOTED.get_or_init(wiped_word) {
            noted.store(id, Ordering::Relaxed);
        }
        Self(id)
    }
}

impl Owner {
    /// This process.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this process is the owner, and not a fork of it.
    #[inline]
    pub fn is_here(self) -> bool {
        match NOTED.get() {
            Some(Some(noted)) => noted.load(Ordering::Relaxed) == self.0,
            _ => std::process::id() == self.0,
        }
    }

    /// The error of a forked process that goes on with what is its parent's.
    pub(crate) fn check(self) -> io::Result<()> {
        if self.is_here() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "process {} opened the database, and this one was forked off it: open it in one \
                 process only, after the fork",
                self.0
            ),
        ))
    }
}

/// A word that forked processes find to be 0. It stays for ever.
fn wiped_word() -> Option<&'static AtomicU32> {
    // Miri has no such memory, and no forks.
    if cfg!(miri) {
        return None;
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, at an address that the kernel chooses: it lies over nothing else.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page was mapped just now, whole, and nothing looks at it yet.
    if unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: the same; nothing will look at it.
        unsafe { libc::munmap(page, PAGE_BYTES) };
        return None;
    }
    // SAFETY: the page is readable, writable and never unmapped from here on; its start is aligned
    // for a word, the bytes are zeros, a valid one, and only this atomic ever accesses them.
    Some(unsafe { AtomicU32::from_ptr(page.cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::in_fork;

    #[test]
    fn a_forked_process_is_no_owner_of_what_its_parent_made() {
        let own = Owner::new();
        assert!(own.is_here());
        let went_well = in_fork(|| {
            assert!(!own.is_here() && own.check().is_err());
            let forked = Owner::new();
            assert!(forked.is_here() && !own.is_here());
            let again = in_fork(|| assert!(!forked.is_here() && !own.is_here()));
            assert!(again.unwrap() && forked.is_here());
        });
        assert!(went_well.unwrap() && own.is_here());
    }

    /// Linux has them since 4.14. Without them each question is a system call.
    #[test]
    fn the_kernel_has_pages_that_are_wiped_on_fork() {
        let word = wiped_word().expect("a kernel that this is tested on has them");
        word.store(7, Ordering::Relaxed);
        assert!(in_fork(|| assert_eq!(word.load(Ordering::Relaxed), 0)).unwrap());
        assert_eq!(word.load(Ordering::Relaxed), 7);
    }
}
