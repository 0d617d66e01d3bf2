//! What all handles of a database share, and how it is closed.

use std::sync::{Arc, Condvar};
use std::thread::ThreadId;

use uarr_uring::Storage;

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::checkpoint::Then;
use crate::jobs::closing_wait::ClosingWait;
use crate::jobs::threads::Threads;
use crate::sync::{Rank, Ranked, lock};

const CLOSES_ALREADY: &str = "the database is being closed, and waits for this thread; let the \
                              waker that calls this return";

/// What all clones of a database share; closes it when the last of them is gone.
pub(in crate::api) struct Handle<S: Storage> {
    pub core: Arc<Core<S>>,
    threads: Threads,
    ending: Ranked<Ending>,
    /// The first `close` is through; waited for with `ending`.
    ended: Condvar,
}

/// How far closing has come.
enum Ending {
    NotBegun,
    /// This thread closes the database.
    By(ThreadId),
    Over(Result<()>),
}

impl<S: Storage> Handle<S> {
    pub fn new(core: Arc<Core<S>>, threads: Threads) -> Self {
        Self {
            core,
            threads,
            ending: Ranked::new(Rank::Leaf, Ending::NotBegun),
            ended: Condvar::new(),
        }
    }

    /// See [`crate::Db::close`].
    pub fn close(&self) -> Result<()> {
        self.end(|core| core.checkpoint(Then::Close))
    }

    /// Ends the database in the way that `last` does when there are no writers and no threads any
    /// more.
    pub fn end(&self, last: impl FnOnce(&Core<S>) -> Result<()>) -> Result<()> {
        if self.core.storage().is_forked() {
            let message = "this process was forked off the one that has the database open, which \
                           alone can close it";
            return Err(Error::new(ErrorKind::Closed, message));
        }
        if let Some(result) = self.begin_ending() {
            return result;
        }
        // If this thread panics, others must not wait for it without end.
        let mut over = Over { handle: self, result: None };
        self.core.committer.begin_closing();
        self.core.committer.run_due_wakes();
        self.threads.stop(&self.core);
        let result = last(&self.core);
        over.result = Some(result.clone());
        drop(over);
        #[cfg(feature = "tracing")]
        crate::trace::closed(&self.core.path, &result);
        result
    }

    /// `None`: the caller is the first, and has to close the database. Later callers wait for that
    /// and get its result.
    fn begin_ending(&self) -> Option<Result<()>> {
        let mut ending = lock(&self.ending);
        loop {
            let closer = match &*ending {
                Ending::NotBegun => {
                    *ending = Ending::By(std::thread::current().id());
                    return None;
                }
                Ending::Over(result) => return Some(result.clone()),
                Ending::By(closer) => *closer,
            };
            // Under the lock: the close is under way.
            let wait = ClosingWait::begin_for_close(self.number(), closer);
            if wait.is_none() || self.threads.include_caller() {
                return Some(Err(Error::new(ErrorKind::Busy, CLOSES_ALREADY)));
            }
            ending = crate::sync::wait(&self.ended, ending);
        }
    }

    /// No other handle of this process has it.
    fn number(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Ends a `close` when it is dropped.
struct Over<'a, S: Storage> {
    handle: &'a Handle<S>,
    result: Option<Result<()>>,
}

impl<S: Storage> Drop for Over<'_, S> {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| {
            let cause = Error::new(ErrorKind::Io, "closing was abandoned by a panic");
            Err(self.handle.core.committer.poison_by(&cause))
        });
        {
            let mut ending = lock(&self.handle.ending);
            ClosingWait::end_close(self.handle.number());
            *ending = Ending::Over(result);
        }
        self.handle.ended.notify_all();
    }
}

impl<S: Storage> Drop for Handle<S> {
    fn drop(&mut self) {
        if self.core.storage().is_forked() {
            // Everything but this process' memory is the parent's: end, write, unlock and wait for
            // nothing, and take no lock, which a thread of the parent may have held.
            std::mem::forget(self.core.clone());
            self.threads.forget();
            return;
        }
        // No caller is left to get the error: what was acknowledged as durable is, and reopening
        // replays the log.
        let _ = self.close();
    }
}
