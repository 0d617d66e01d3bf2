//! What a process has of a disk, and what goes on without it: the lock, and log writes that go on
//! alone.
//!
//! A log write that was submitted ends at some moment, even if its process was killed, its writer
//! was dropped, or the writer got an error and stopped waiting. Until then the write is an
//! *orphan*: it may land before, during or long after the next opening. The directory stays locked
//! until the last orphan of a writer that was made under the lock has ended
//! ([`Storage::log_writer`](uarr_uring::Storage::log_writer)), so an opener waits for it: then all
//! of them land at once.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use crate::content::FileState;
use crate::image::Image;
use crate::names::Inode;
use crate::random::Random;
use crate::{Disk, FaultKind, Lie, State, lock};
use uarr_uring::parts::with_path;
use uarr_uring::{Holder, LockError};

/// A log write that goes on alone.
pub(super) struct Orphan {
    inode: Inode,
    ticket: u64,
    /// It ends at this call of the disk, unless an opener waits for it.
    due_step: u64,
    /// Whether it holds the lock.
    is_fenced: bool,
}

/// Who uses a disk.
#[derive(Default)]
pub(super) struct Users {
    /// The lock file of each opener; more than one only if the lock means nothing.
    openers: Vec<Inode>,
    orphans: Vec<Orphan>,
}

impl Users {
    /// Whether the directory is locked by an opener.
    pub fn has_opener(&self) -> bool {
        !self.openers.is_empty()
    }

    /// The log write `ticket` of `inode`, of which `step_count` calls have seen nothing, goes on
    /// alone.
    pub fn leave(
        &mut self,
        inode: &Inode,
        (ticket, is_fenced): (u64, bool),
        step_count: u64,
        random: &mut Random,
    ) {
        // In the midst of an opening, after it, or long after.
        let range = [30, 200, 1000][random.below(3) as usize];
        let due_step = step_count + 1 + random.below(range);
        let inode = Arc::clone(inode);
        self.orphans.push(Orphan { inode, ticket, due_step, is_fenced });
    }

    /// The orphans for which `is_due`.
    fn take_due(&mut self, is_due: impl FnMut(&mut Orphan) -> bool) -> Vec<Orphan> {
        self.orphans.extract_if(.., is_due).collect()
    }
}

impl State {
    /// Orphans end whose time has come.
    pub fn land_due(&mut self) -> io::Result<()> {
        if self.users.orphans.is_empty() {
            return Ok(());
        }
        let step_count = self.power.step_count;
        let due = self.users.take_due(|orphan| orphan.due_step <= step_count);
        self.land(due)
    }

    fn land(&mut self, orphans: Vec<Orphan>) -> io::Result<()> {
        orphans
            .into_iter()
            .try_for_each(|orphan| lock(&orphan.inode).land(orphan.ticket, &mut self.random))
    }

    /// Takes the directory, whose lock file is `path`.
    pub fn lock_directory(&mut self, path: &str) -> Result<Inode, LockError> {
        let failed = |cause| LockError::Io(with_path("lock", path.as_ref(), cause));
        let inode = match self.names.file(path) {
            Ok(inode) => inode,
            Err(_) => {
                let inode = Arc::new(Mutex::new(FileState::new(Image::default())));
                self.names.create(path, Arc::clone(&inode)).map_err(failed)?;
                inode
            }
        };
        let by_name = self.lies.has(Lie::LockByName);
        let is_held = |opener: &Inode| !by_name || Arc::ptr_eq(opener, &inode);
        if self.users.openers.iter().any(is_held) {
            return Err(LockError::Held(Holder::ThisProcess));
        }
        if !self.lies.has(Lie::LockEndsWithProcess) {
            let fenced = self.users.take_due(|orphan| orphan.is_fenced);
            self.land(fenced).map_err(failed)?;
        }
        self.users.openers.push(Arc::clone(&inode));
        Ok(inode)
    }
}

/// Holds the directory of a [`Memory`](crate::Memory) until dropped.
pub struct MemoryLock {
    disk: Arc<Disk>,
    file: Inode,
}

impl MemoryLock {
    pub(super) fn take(disk: &Arc<Disk>, path: &str) -> Result<Self, LockError> {
        let mut state = disk.state();
        state
            .step(disk, FaultKind::Name, path, [0, 0])
            .map_err(|cause| LockError::Io(with_path("lock", path.as_ref(), cause)))?;
        let file = state.lock_directory(path)?;
        drop(state);
        Ok(Self { disk: Arc::clone(disk), file })
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        state.users.openers.retain(|opener| !Arc::ptr_eq(opener, &self.file));
    }
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLock").finish_non_exhaustive()
    }
}
