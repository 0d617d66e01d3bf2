//! [`MemoryLock`]: the lock of the directory.

use std::fmt;
use std::io;
use std::sync::Arc;

use uarr_uring::parts::with_path;
use uarr_uring::{Holder, LockError};

use crate::content::{FileState, Inode};
use crate::disk::{Disk, State};
use crate::faults::FaultKind;
use crate::lies::Lie;

/// Holds the directory of a [`Memory`](crate::Memory) until dropped.
pub struct MemoryLock {
    disk: Arc<Disk>,
    file: Inode,
}

impl MemoryLock {
    /// Takes the directory, whose lock file is `path`.
    pub(crate) fn take(disk: &Arc<Disk>, path: &str) -> Result<Self, LockError> {
        let failed = |cause| LockError::Io(with_path("lock", path.as_ref(), cause));
        let mut state = disk.state();
        state.step(disk, FaultKind::Name, path, [0, 0]).map_err(failed)?;
        let file = lock_file(&mut state, path).map_err(failed)?;
        let by_name = state.lies.has(Lie::LockByName);
        if state.users.is_held(by_name.then_some(&file)) {
            return Err(LockError::Held(Holder::ThisProcess));
        }
        let State { users, random, lies, .. } = &mut *state;
        if !lies.has(Lie::LockEndsWithProcess) {
            users.land_fenced(random).map_err(failed)?;
        }
        users.enter(&file);
        drop(state);
        Ok(Self { disk: Arc::clone(disk), file })
    }
}

/// The lock file; makes it if there is none.
fn lock_file(state: &mut State, path: &str) -> io::Result<Inode> {
    if let Ok(file) = state.names.file(path) {
        return Ok(file);
    }
    let file = FileState::empty();
    state.names.create(path, Arc::clone(&file))?;
    Ok(file)
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.state().users.exit(&self.file);
    }
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLock").finish_non_exhaustive()
    }
}
