//! Measuring the commit strategies of an open database again.

use uarr_uring::Storage;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::log::strategy::{CommitTuning, measure};
use crate::options::CommitPath;
use crate::sync::lock;

/// Commits measured with each strategy while a caller waits.
const ROUNDS_ON_REQUEST: usize = 1000;

impl<S: Storage> Core<S> {
    /// Measures again, stores the verdict, and follows it if the path is `Auto`.
    pub fn tune(&self) -> Result<CommitTuning> {
        let mut root = lock(&self.root);
        self.committer.health.check_root()?;
        let tuning = measure(self.storage(), ROUNDS_ON_REQUEST)
            .map_err(|error| Error::io("cannot measure the commit strategies", error))?;
        root.write(|block| tuning.store(block)).map_err(|error| {
            self.committer.judge(Error::io("cannot write the superblock", error))
        })?;
        self.committer.counters.note_measured(tuning.median_ns);
        if self.options().commit_path == CommitPath::Auto {
            self.committer.set_strategy(tuning.best)?;
        }
        Ok(tuning)
    }
}
