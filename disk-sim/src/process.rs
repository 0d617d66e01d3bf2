//! [`Users`]: what processes have of a disk, the lock, and what goes on without them, log writes.
//!
//! A log write that was submitted ends at some moment, even if its process was killed, its writer
//! was dropped, or the writer got an error and stopped waiting. Until then the write is an
//! *orphan*: it may land before, during or long after the next opening. The directory stays locked
//! until the last orphan of a writer that was made under the lock has ended
//! ([`Storage::log_writer`](uarr_uring::Storage::log_writer)), so an opener waits for it: then all
//! of them land at once.

use std::io;
use std::sync::Arc;

use crate::content::{Inode, lock};
use crate::flight::Ticket;
use crate::random::Random;

/// A log write that goes on alone.
struct Orphan {
    inode: Inode,
    ticket: Ticket,
    /// It ends at this call of the disk, unless an opener waits for it.
    due_step: u64,
}

/// Who uses a disk.
#[derive(Default)]
pub(crate) struct Users {
    /// The lock file of each opener; more than one only if the lock means nothing.
    openers: Vec<Inode>,
    orphans: Vec<Orphan>,
}

impl Users {
    /// Whether the directory is locked by an opener.
    pub fn has_opener(&self) -> bool {
        !self.openers.is_empty()
    }

    /// Whether an opener holds the directory, or only this lock file where there is one given.
    pub fn is_held(&self, file: Option<&Inode>) -> bool {
        let is_meant = |opener: &Inode| file.is_none_or(|file| Arc::ptr_eq(opener, file));
        self.openers.iter().any(is_meant)
    }

    /// An opener has locked `file`.
    pub fn enter(&mut self, file: &Inode) {
        assert!(!self.is_held(Some(file)), "a lock file has one holder");
        self.openers.push(Arc::clone(file));
    }

    /// The opener that had locked `file` has released it.
    pub fn exit(&mut self, file: &Inode) {
        self.openers.retain(|opener| !Arc::ptr_eq(opener, file));
    }

    /// A log write of `inode`, of which `step_count` calls have seen nothing, goes on alone.
    pub fn leave(&mut self, inode: &Inode, ticket: Ticket, step_count: u64, random: &mut Random) {
        // In the midst of an opening, after it, or long after.
        let range = [30, 200, 1000][random.below(3) as usize];
        let due_step = step_count + 1 + random.below(range);
        self.orphans.push(Orphan { inode: Arc::clone(inode), ticket, due_step });
    }

    /// Orphans end whose time has come.
    pub fn land_due(&mut self, step_count: u64, random: &mut Random) -> io::Result<()> {
        self.land(random, |orphan| orphan.due_step <= step_count)
    }

    /// Orphans end that hold the lock: an opener waits for them.
    pub fn land_fenced(&mut self, random: &mut Random) -> io::Result<()> {
        self.land(random, |orphan| orphan.ticket.is_fenced)
    }

    fn land(
        &mut self,
        random: &mut Random,
        mut ends: impl FnMut(&Orphan) -> bool,
    ) -> io::Result<()> {
        self.orphans
            .extract_if(.., |orphan| ends(orphan))
            .try_for_each(|orphan| lock(&orphan.inode).land(orphan.ticket.number, random))
    }
}
