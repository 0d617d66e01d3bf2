//! The verbs that change records, with what their caller asks of them.

use std::fmt;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::uarr::Patch;
use uarr_uring::{Storage, System};

use crate::api::batch::Batch;
use crate::api::key_range::StoredRange;
use crate::api::range::Range;
use crate::api::table_place::index_of;
use crate::commit::changes::{Change, ChangeKind};
use crate::commit::receipt::Commit;
use crate::core::Core;
use crate::data::key_index::KeyIndex;
use crate::error::Result;
use crate::expiry::AsValue;
use crate::key::{AsKey, KeyKind, StoredKey};
use crate::key_space::KeySpace;
use crate::options::WriteOptions;
use crate::versions::open_table::OpenTable;

/// The writing verbs of a database under options of their own: what [`crate::Db::durable`] and
/// [`crate::Db::with`] return. Every verb is as that of [`crate::Db`] with the same name.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use uarr::{Db, Durability};
///
/// let db = Db::builder(&dir).durability(Durability::Manual).open()?;
/// let durable = db.durable();
/// durable.put("order:1", b"on the device")?;
/// durable.batch().put("order:2", b"with its draft").delete("draft:2").commit()?;
/// # Ok(())
/// # }
/// ```
pub struct Writer<'db, S: Storage = System> {
    pub(in crate::api) core: &'db Core<S>,
    pub(in crate::api) table: Option<&'db OpenTable>,
    pub(in crate::api) options: WriteOptions,
}

impl<S: Storage> Clone for Writer<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Storage> Copy for Writer<'_, S> {}

impl<S: Storage> fmt::Debug for Writer<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'db, S: Storage> Writer<'db, S> {
    pub(in crate::api) fn new(
        core: &'db Core<S>,
        table: Option<&'db OpenTable>,
        options: WriteOptions,
    ) -> Self {
        Self { core, table, options }
    }

    /// The same, but every write is durable before it is acknowledged.
    pub fn durable(self) -> Self {
        Self { options: self.options.durable(), ..self }
    }

    /// As [`crate::Db::put`].
    pub fn put(self, key: impl AsKey, value: impl AsValue) -> Result<Commit> {
        let key = self.space()?.encode(&key)?;
        let value = self.core.checked(self.table, &value)?;
        self.core.committer.expect_write(self.table_index(), key.as_ref());
        let frame = Frame::new(FrameKind::Put, 0, key.as_ref(), value.bytes);
        let frame = frame.expiring(value.expires_ms);
        self.core.committer.write(&mut [frame], self.promise())
    }

    /// As [`crate::Db::put_async`].
    pub async fn put_async(self, key: impl AsKey, value: impl AsValue) -> Result<Commit> {
        let key = self.space()?.encode(&key)?;
        let value = self.core.checked(self.table, &value)?;
        let frame = Frame::new(FrameKind::Put, 0, key.as_ref(), value.bytes);
        let frame = frame.expiring(value.expires_ms);
        self.core.committer.write_async(&mut [frame], self.promise()).await
    }

    /// As [`crate::Db::delete`].
    pub fn delete(self, key: impl AsKey) -> Result<Commit> {
        let key = self.space()?.encode(&key)?;
        let frame = Frame::new(FrameKind::Delete, 0, key.as_ref(), &[]);
        self.core.committer.write(&mut [frame], self.promise())
    }

    /// As [`crate::Db::delete_async`].
    pub async fn delete_async(self, key: impl AsKey) -> Result<Commit> {
        let key = self.space()?.encode(&key)?;
        let frame = Frame::new(FrameKind::Delete, 0, key.as_ref(), &[]);
        self.core.committer.write_async(&mut [frame], self.promise()).await
    }

    /// As [`crate::Db::patch`].
    pub fn patch(self, key: impl AsKey, patch: &Patch) -> Result<Commit> {
        let key = self.space()?.encode(&key)?;
        let patched = self.core.committer.write_changes(&[patched(&key, patch)], self.promise());
        Ok(patched?)
    }

    /// As [`crate::Db::patch_async`].
    pub async fn patch_async(self, key: impl AsKey, patch: &Patch) -> Result<Commit> {
        let key = self.space()?.encode(&key)?;
        let changes = [patched(&key, patch)];
        Ok(self.core.committer.write_changes_async(&changes, self.promise()).await?)
    }

    /// As [`crate::Db::batch`].
    pub fn batch(self) -> Batch<'db, S> {
        Batch::new(self.core, self.table, self.options)
    }

    /// What a write promises now: the table may have changed since this was made.
    pub(in crate::api) fn promise(self) -> WriteOptions {
        OpenTable::promise(self.table, self.options)
    }

    /// The keys of the table. Errors: it was dropped.
    pub(in crate::api) fn space(self) -> Result<KeySpace> {
        self.table.map_or(Ok(()), OpenTable::check)?;
        Ok(self.table_index().space)
    }

    /// What kind of keys the default table has, from which follows which records have what keys.
    pub(in crate::api) fn default_kind(self) -> KeyKind {
        self.core.records().key_kind()
    }

    pub(in crate::api) fn table_index(self) -> &'db KeyIndex {
        index_of(self.core, self.table)
    }

    pub(in crate::api) fn visible_lsn(self) -> u64 {
        self.core.records().visible.lsn()
    }

    pub(in crate::api) fn records_in(self, range: StoredRange) -> Range<'db, S> {
        let checked = || self.table.map_or(Ok(()), OpenTable::check);
        Range::new(self.core, self.table_index(), range).if_ok(checked)
    }
}

/// The change that `patch` makes.
fn patched<'a>(key: &'a StoredKey<'_>, patch: &'a Patch) -> Change<'a> {
    let (key, bytes) = (key.as_ref(), patch.as_bytes());
    Change { kind: ChangeKind::Patch, key, bytes, expires_ms: 0, condition: None }
}
