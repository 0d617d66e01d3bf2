//! Deleting many keys: batch after batch, so that neither memory nor other writers suffer.

use std::ops::Bound;

use uarr_layout::geometry::record_bytes;
use uarr_uring::Storage;

use crate::api::batch::Batch;
use crate::api::db::Db;
use crate::api::key_range::{KeyRange, StoredRange};
use crate::api::writer::Writer;
use crate::error::Result;
use crate::key::AsKey;
use crate::options::WriteOptions;

/// Bytes of deletions that go as one batch: small against a group and a chunk, large against what
/// committing costs.
const STEP_BYTES: u64 = 32 << 10;

impl<S: Storage> Db<S> {
    /// Removes all keys in `range` that are there when it is called, and returns how many it has
    /// found: what others delete meanwhile they may have found, too.
    /// Durability as for [`Db::put`].
    ///
    /// They go in key order, in batches of 32 KiB of deletions: it has memory for one at a time,
    /// whatever the range. Each batch is atomic, so a range that fits one goes as a whole or not at
    /// all. A larger one does not: readers see it shrink, and after an error or a crash its first
    /// keys are gone, up to some key; call it again. For all or nothing, delete the keys in a
    /// [`Db::batch`], which has all of them in memory.
    ///
    /// A key that another writer puts meanwhile stays, unless its turn comes right then.
    ///
    /// Errors: as for [`Db::range`] and [`Db::delete`]; `InvalidArgument` in a table without order,
    /// `..` included: [`Db::clear_table`] empties one. A damaged record ends it there.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.ingest((0..1000).map(|number| (format!("log:{number:03}"), "line")))?;
    /// assert_eq!(db.delete_range("log:000".."log:900")?, 900);
    /// assert_eq!(db.len(), 100);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_range(&self, range: impl KeyRange) -> Result<u64> {
        self.with(WriteOptions::new()).delete_range(range)
    }

    /// As [`Db::delete_range`], for tasks; see [`Db::put_async`].
    pub async fn delete_range_async(&self, range: impl KeyRange) -> Result<u64> {
        self.with(WriteOptions::new()).delete_range_async(range).await
    }

    /// Removes all byte keys that start with `prefix`, as [`Db::delete_range`] does; with the empty
    /// prefix all keys, those of integers included.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.batch().put("user:1", b"Ada").put("user:2", b"Bob").put("z", b"").commit()?;
    /// assert_eq!(db.delete_prefix("user:")?, 2);
    /// assert_eq!(db.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_prefix(&self, prefix: impl AsKey) -> Result<u64> {
        self.with(WriteOptions::new()).delete_prefix(prefix)
    }

    /// As [`Db::delete_prefix`], for tasks; see [`Db::put_async`].
    pub async fn delete_prefix_async(&self, prefix: impl AsKey) -> Result<u64> {
        self.with(WriteOptions::new()).delete_prefix_async(prefix).await
    }
}

impl<S: Storage> Writer<'_, S> {
    /// As [`Db::delete_range`].
    pub fn delete_range(self, range: impl KeyRange) -> Result<u64> {
        self.delete_stored(StoredRange::of(self.space()?, range)?)
    }

    /// As [`Db::delete_range_async`].
    pub async fn delete_range_async(self, range: impl KeyRange) -> Result<u64> {
        self.delete_stored_async(StoredRange::of(self.space()?, range)?).await
    }

    /// As [`Db::delete_prefix`].
    pub fn delete_prefix(self, prefix: impl AsKey) -> Result<u64> {
        self.delete_stored(StoredRange::of_prefix(self.space()?, &prefix)?)
    }

    /// As [`Db::delete_prefix_async`].
    pub async fn delete_prefix_async(self, prefix: impl AsKey) -> Result<u64> {
        let range = StoredRange::of_prefix(self.space()?, &prefix)?;
        self.delete_stored_async(range).await
    }

    /// Errors: the table has no order, in which a step goes on behind the one before.
    fn check_deletion(self) -> Result<()> {
        self.table_index().space.check_order("deletions of ranges")
    }

    fn delete_stored(self, range: StoredRange) -> Result<u64> {
        self.check_deletion()?;
        let mut deletion = Deletion::new(self, range);
        while deletion.collect()? {
            deletion.batch.commit()?;
        }
        // That others have deleted some before is told, too.
        self.core.committer.tell_read(deletion.lsn_max, self.promise())?;
        Ok(deletion.count)
    }

    async fn delete_stored_async(self, range: StoredRange) -> Result<u64> {
        self.check_deletion()?;
        let mut deletion = Deletion::new(self, range);
        while deletion.collect()? {
            deletion.batch.commit_async().await?;
        }
        self.core.committer.tell_read_async(deletion.lsn_max, self.promise()).await?;
        Ok(deletion.count)
    }
}

/// A range on its way out.
struct Deletion<'db, S: Storage> {
    writer: Writer<'db, S>,
    /// What is left of it.
    range: StoredRange,
    /// Newer records are of others, who want them. Without this, writers could keep it going.
    lsn_max: u64,
    batch: Batch<'db, S>,
    count: u64,
}

impl<'db, S: Storage> Deletion<'db, S> {
    fn new(writer: Writer<'db, S>, range: StoredRange) -> Self {
        let lsn_max = writer.visible_lsn();
        Self { writer, range, lsn_max, batch: writer.batch(), count: 0 }
    }

    /// Puts the next keys into the batch. False: there are none.
    ///
    /// Each step walks anew behind the last key: an iterator that lives throughout would keep
    /// everything that it has seen deleted.
    fn collect(&mut self) -> Result<bool> {
        let mut batch_bytes = 0;
        for record in self.writer.records_in(self.range.clone()) {
            let record = record?;
            if record.version() > self.lsn_max {
                continue;
            }
            self.batch.delete(record.key_ref());
            self.count += 1;
            batch_bytes += record_bytes(record.stored_key().len(), 0) as u64;
            if batch_bytes >= STEP_BYTES {
                self.range.low = Bound::Excluded(record.stored_key().to_vec());
                return Ok(true);
            }
        }
        self.range = StoredRange::empty();
        Ok(!self.batch.is_empty())
    }
}
