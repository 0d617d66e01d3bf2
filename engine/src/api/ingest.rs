//! Loading many records: the next ones are on their way before a commit of the last ones is done.

use std::collections::VecDeque;

use uarr_uring::Storage;

use crate::api::db::Db;
use crate::error::Result;
use crate::key::AsKey;

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
    /// some record, are there.
    ///
    /// Errors: as for [`Db::put`]; a record that is not allowed ends the load before it.
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
    pub fn ingest<K: AsKey, V: AsRef<[u8]>>(
        &self,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64> {
        let mut cells = VecDeque::new();
        let mut batch = self.batch();
        let mut count = 0;
        for (key, value) in records {
            batch.put(key, value);
            if batch.checked_bytes()? >= STEP_BYTES {
                self.core().committer.write_ahead(&mut batch.frames(), &mut cells)?;
                batch.clear();
            }
            count += 1;
        }
        batch.checked_bytes()?;
        if !batch.is_empty() {
            self.core().committer.write_ahead(&mut batch.frames(), &mut cells)?;
        }
        self.core().committer.sync()?;
        for cell in cells {
            cell.wait()?;
        }
        Ok(count)
    }
}
