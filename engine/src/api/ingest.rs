//! Loading many records: the next ones are on their way before a commit of the last ones is done.

use std::collections::VecDeque;
use std::sync::Arc;

use uarr_uring::Storage;

use crate::api::batch::Batch;
use crate::api::collected::Asked;
use crate::api::db::Db;
use crate::api::own_thread::on_own_thread;
use crate::commit::cell::GroupCell;
use crate::error::Result;
use crate::expiry::AsValue;
use crate::key::AsKey;
use crate::key_space::KeySpace;

/// Bytes of keys and values that are staged at once: small against a group, large against what
/// staging costs.
const STEP_BYTES: usize = 32 << 10;

impl<S: Storage> Db<S> {
    /// Writes all `records` and returns how many there were once all of them survive a loss of
    /// power, with every [`crate::Durability`]. The fastest way to load data: the caller encodes
    /// records while groups before them are at the device. Any order is right; ascending keys are
    /// quickest.
    ///
    /// The load takes the memory of the group buffers, and 16 MiB or one record for records that
    /// are larger than these. Records become visible in order, step by step, as those of other
    /// writers do; they are not one transaction: after an error or a crash the first of them, up to
    /// some record, are there. With an error of the load, or a panic of its iterator, these are
    /// visible and durable before it returns.
    ///
    /// Errors: as for [`Db::put`], but buffers are waited for, with every [`crate::WhenFull`]. A
    /// record that is not allowed ends the load before it, and the last few before it may be left
    /// out, too. With `NoSpace` records may be there behind some that are not: load all again.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// let count = db.ingest((0..1000).map(|number| (format!("key:{number:04}"), [0; 100])))?;
    /// assert_eq!(count, 1000); // and all of them are durable
    /// # Ok(())
    /// # }
    /// ```
    pub fn ingest<K: AsKey, V: AsValue>(
        &self,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64> {
        let space = self.space();
        self.ingest_to(records.into_iter().map(|(key, value)| (space, key, value)))
    }

    /// The same, of several tables.
    pub(crate) fn ingest_to<K: AsKey, V: AsValue>(
        &self,
        records: impl Iterator<Item = (KeySpace, K, V)>,
    ) -> Result<u64> {
        let mut load = Load { db: self, cells: VecDeque::new(), is_settled: false };
        let mut batch = self.batch();
        let mut count = 0;
        for (space, key, value) in records {
            batch.push_to(space, &Asked::put(&key, &value));
            if batch.checked_bytes()? >= STEP_BYTES {
                load.stage(&mut batch)?;
            }
            count += 1;
        }
        batch.checked_bytes()?;
        if !batch.is_empty() {
            load.stage(&mut batch)?;
        }
        load.settle()?;
        Ok(count)
    }

    /// As [`Db::ingest`], for tasks of any runtime: a thread of its own takes the records and loads
    /// them while the task waits without blocking. Once it was polled the load goes on, even if the
    /// task loses interest. An iterator that panics does so in the task.
    pub async fn ingest_async<K: AsKey, V: AsValue>(
        &self,
        records: impl IntoIterator<Item = (K, V)> + Send + 'static,
    ) -> Result<u64> {
        let db = self.clone();
        on_own_thread(move || db.ingest(records)).await
    }
}

/// What a load has staged. The last of it may not be written until somebody waits for it.
struct Load<'a, S: Storage> {
    db: &'a Db<S>,
    /// Of groups that may not be settled.
    cells: VecDeque<Arc<GroupCell>>,
    is_settled: bool,
}

impl<S: Storage> Load<'_, S> {
    fn stage(&mut self, batch: &mut Batch<'_, S>) -> Result<()> {
        self.db.core().committer.write_ahead(&mut batch.frames(), &mut self.cells)?;
        batch.clear();
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.is_settled = true;
        self.db.core().committer.sync()?;
        self.cells.drain(..).try_for_each(|cell| cell.wait().map(drop))
    }
}

impl<S: Storage> Drop for Load<'_, S> {
    /// It ends with an error, or its source has panicked.
    fn drop(&mut self) {
        // In a forked process a thread of the parent may have held the lock.
        if !self.is_settled && !self.db.core().storage().is_forked() {
            // The caller is told the first error.
            let _ = self.settle();
        }
    }
}
