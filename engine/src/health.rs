//! Whether the database takes writes: the one state that every door asks and every sleeper hears.
//!
//! ```text
//! open --> closing --> closed
//!   \________\___________\____ poisoned, which outweighs the others
//! ```
//! Threads only ever set bits. What follows from the state:
//! 1. A writer asks ([`Health::check`]) under the staging lock before it stages anything. The
//!    thread that poisons or closes sets the state first and then passes that lock: a write is
//!    either staged before, and settled with the rest, or refused.
//! 2. That thread wakes all sleepers, threads and tasks, and each asks again before it goes back to
//!    sleep.
//! 3. The leader fails the groups that are staged when the database is poisoned, since it comes
//!    past them in any case; if there is none, the thread that sets the state does.
//! 4. No thread of the engine, and no caller in the middle of a change, ends by a panic without
//!    setting it ([`Fuse`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// No new writes; the threads of the database end.
pub(crate) const CLOSING: u8 = 1;
/// The last checkpoint is taken: no thread writes any more.
const CLOSED: u8 = 2;
/// What an earlier write or flush left behind is unknown.
const POISONED: u8 = 4;

/// Open, closing, closed or poisoned.
#[derive(Default)]
pub(crate) struct Health {
    pub bits: AtomicU8,
    /// Set before the bit.
    poison: OnceLock<Error>,
}

impl Health {
    /// An error if the database takes no writes. One load where it does.
    #[inline]
    pub fn check(&self) -> Result<()> {
        match self.bits.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    #[cold]
    fn refusal(&self) -> Error {
        self.poison().unwrap_or_else(|| {
            Error::new(ErrorKind::Closed, "the database was closed; open it again")
        })
    }

    /// Why the database promises nothing more, if a failure is the reason.
    pub fn poison(&self) -> Option<Error> {
        match self.bits.load(Ordering::Acquire) & POISONED {
            0 => None,
            _ => self.poison.get().cloned(),
        }
    }

    /// An error if a checkpoint, or another change of the superblock, makes no sense any more.
    pub fn check_root(&self) -> Result<()> {
        match self.bits.load(Ordering::Acquire) & (POISONED | CLOSED) {
            0 => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    /// Whether the threads of the database are to end.
    pub fn is_closing(&self) -> bool {
        self.bits.load(Ordering::Acquire) & CLOSING != 0
    }

    /// Notes that the last checkpoint is taken.
    pub fn note_closed(&self) {
        assert!(self.is_closing(), "a database is closed only after writers were refused");
        self.bits.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Sets the state alone; the first cause stays. The caller wakes the sleepers.
    pub fn set_poison(&self, cause: &Error) -> Error {
        let error = self.poison.get_or_init(|| Error::poisoned_by(cause)).clone();
        self.bits.fetch_or(POISONED, Ordering::AcqRel);
        error
    }
}
