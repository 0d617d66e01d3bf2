//! [`Owner`]: the process that made something, as against one that was forked off it.
//!
//! A forked process shares the locks, the files and the maps of its parent, but has none of its
//! threads and none of its rings. What it drops must not end what the parent still holds.

use std::io;

/// The process that made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// This process.
    pub fn new() -> Self {
        Self(std::process::id())
    }

    /// Whether this process is the owner, and not a fork of it.
    pub fn is_here(self) -> bool {
        self.0 == std::process::id()
    }

    /// The error of a forked process that goes on with what is its parent's.
    pub fn check(self) -> io::Result<()> {
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
