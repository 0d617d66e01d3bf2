//! The verbs that end a database.

use uarr_uring::Storage;

use crate::api::builder::unmake_directory;
use crate::api::db::Db;
use crate::api::own_thread::on_own_thread;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::jobs::checkpoint::Then;
use crate::recovery::create::{is_unused, undo};
use crate::sync::lock;

impl<S: Storage> Db<S> {
    /// Makes everything durable, takes a checkpoint and ends the background threads. Other clones
    /// can still read; their writes get `Closed`. Closing again waits for the first `close` and
    /// returns what it returned.
    ///
    /// A waker may call it, on any thread, and of another database. `Busy`: the `close` under way
    /// waits for the thread that runs the waker, so this one cannot wait in turn; the other goes
    /// on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use uarr::Db;
    ///
    /// db.put("a", b"1")?;
    /// db.close()?;
    /// let db = Db::open(&dir)?;
    /// assert!(db.recovery_report().clean); // nothing had to be replayed
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }

    /// As [`Db::close`]; but if this opening created the database, and nothing was written to it
    /// since, its files are taken away again, and the directory if opening made that. `true`: they
    /// are gone. For programs whose first write fails, which want to leave nothing behind.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let above = tempfile::tempdir()?;
    /// # let dir = above.path().join("db");
    /// use uarr::Db;
    ///
    /// let db = Db::open(&dir)?;
    /// assert!(!db.update("a", b"1")?.is_written()); // there is no record to update
    /// assert!(db.close_unused()?);
    /// assert!(!dir.exists());
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_unused(self) -> Result<bool> {
        let mut is_gone = false;
        self.handle.end(|core| {
            is_gone = take_back(core)?;
            if is_gone { Ok(()) } else { core.checkpoint(Then::Close) }
        })?;
        Ok(is_gone)
    }

    /// As [`Db::close`], for tasks of any runtime: a thread of its own closes the database while
    /// the task waits without blocking. Once it was polled the thread goes on, even if the task
    /// loses interest. A task that drops the last handle instead blocks until the database is
    /// closed.
    pub async fn close_async(self) -> Result<()> {
        on_own_thread(move || self.close()).await
    }
}

/// Takes the files of a database away that this opening created, if nothing was written since.
fn take_back<S: Storage>(core: &Core<S>) -> Result<bool> {
    // What is staged is in the log then.
    if !core.report.created || core.committer.sync().is_err() {
        return Ok(false);
    }
    let _root = lock(&core.root);
    if core.committer.health.check_root().is_err() {
        return Ok(false);
    }
    let failed = |error| Error::io(format!("cannot take back {}", core.path.display()), error);
    if !is_unused(core.storage()).map_err(failed)? {
        return Ok(false);
    }
    core.committer.health.note_closed();
    undo(core.storage()).map_err(failed)?;
    if core.options().made_directory {
        unmake_directory(&core.path);
    }
    Ok(true)
}
