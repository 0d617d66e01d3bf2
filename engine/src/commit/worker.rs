//! Which database a background thread works for: what it runs for users (wakers) must not wait for
//! what only this thread does.

use std::cell::Cell;

use uarr_uring::Storage;

use crate::commit::committer::Committer;

thread_local! {
    /// Address of the committer of the database that this thread works for; 0: none.
    static WORKS_FOR: Cell<usize> = const { Cell::new(0) };
}

impl<S: Storage> Committer<S> {
    /// The calling thread works for this database from now on.
    pub fn adopt_thread(&self) {
        WORKS_FOR.set(self.address());
    }

    /// Whether the calling thread works for this database.
    pub fn is_own_thread(&self) -> bool {
        WORKS_FOR.get() == self.address()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}
