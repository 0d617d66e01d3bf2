//! A batch that owns what it needs, for threads and tasks.

use std::fmt;
use std::sync::Arc;

use uarr_layout::uarr::Patch;
use uarr_uring::{Storage, System};

use crate::api::collected::{Asked, Collected};
use crate::api::db::Db;
use crate::api::outcome::Outcome;
use crate::api::table_place::index_of;
use crate::commit::changes::ChangeKind;
use crate::commit::premise::Expected;
use crate::commit::receipt::Commit;
use crate::error::{Error, Result};
use crate::expiry::{AsValue, Expires, Expiry};
use crate::key::AsKey;
use crate::options::WriteOptions;
use crate::versions::open_table::OpenTable;

/// A [`crate::Batch`] that borrows nothing: it may go to another thread or task, and be kept. As a
/// clone of the database does, it keeps the database open. Each verb is as that of
/// [`crate::Batch`] with the same name.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let db = uarr::Db::open(&dir)?;
/// let mut batch = db.batch_owned();
/// batch.put("user:1", b"Ada").delete("draft:1");
/// let written = tokio::spawn(async move { batch.commit_async().await });
/// assert!(written.await??.is_some());
/// assert_eq!(db.get("user:1")?.ok_or("not found")?, b"Ada");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a batch does nothing until it is committed"]
pub struct OwnedBatch<S: Storage = System> {
    collected: Collected<Arc<OpenTable>>,
    /// Of the table that the first changes are of.
    db: Db<S>,
    /// What the changes that follow are of.
    table: Option<Arc<OpenTable>>,
}

impl<S: Storage> fmt::Debug for OwnedBatch<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.collected.fmt(f)
    }
}

impl<S: Storage> Db<S> {
    /// As [`Db::batch`], and it borrows nothing: for batches that go to other threads and tasks.
    pub fn batch_owned(&self) -> OwnedBatch<S> {
        let (db, table) = (self.clone(), self.table.clone());
        OwnedBatch { collected: Collected::new(WriteOptions::new()), db, table }
    }
}

impl<S: Storage> OwnedBatch<S> {
    /// Its commits are durable before they are acknowledged, whatever the database's class.
    pub fn durable(&mut self) -> &mut Self {
        self.collected.be_durable();
        self
    }

    /// As [`crate::Batch::of`].
    pub fn of(&mut self, table: &Db<S>) -> &mut Self {
        if let Err(error) = table.check_same(self.db.core()) {
            return self.refuse(error);
        }
        self.collected.begin();
        self.table.clone_from(&table.table);
        self
    }

    /// As [`crate::Batch::put`].
    pub fn put(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(&Asked::put(&key, &value))
    }

    /// As [`crate::Batch::delete`].
    pub fn delete(&mut self, key: impl AsKey) -> &mut Self {
        self.push(&Asked::delete(&key))
    }

    /// As [`crate::Batch::insert`].
    pub fn insert(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(&Asked::put(&key, &value).only_if(Expected::Absent))
    }

    /// As [`crate::Batch::update`].
    pub fn update(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(&Asked::put(&key, &value).only_if(Expected::Present))
    }

    /// As [`crate::Batch::put_if_version`].
    pub fn put_if_version(
        &mut self,
        key: impl AsKey,
        value: impl AsValue,
        version: u64,
    ) -> &mut Self {
        self.push(&Asked::put(&key, &value).only_if(Expected::Version(version)))
    }

    /// As [`crate::Batch::delete_if_version`].
    pub fn delete_if_version(&mut self, key: impl AsKey, version: u64) -> &mut Self {
        self.push(&Asked::delete(&key).only_if(Expected::Version(version)))
    }

    /// As [`crate::Batch::patch`].
    pub fn patch(&mut self, key: impl AsKey, patch: &Patch) -> &mut Self {
        self.push(&Asked::new(ChangeKind::Patch, &key, &patch.as_bytes()))
    }

    /// As [`crate::Batch::touch`].
    pub fn touch(&mut self, key: impl AsKey, expiry: Expiry) -> &mut Self {
        self.push(&Asked::new(ChangeKind::Touch, &key, &[0u8; 0].expiring(expiry)))
    }

    /// As [`crate::Batch::len`].
    pub fn len(&self) -> usize {
        self.collected.len()
    }

    /// As [`crate::Batch::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As [`crate::Batch::clear`].
    pub fn clear(&mut self) {
        self.collected.clear();
    }

    /// As [`crate::Batch::commit`].
    pub fn commit(&mut self) -> Result<Option<Commit>> {
        let core = self.db.core();
        let outcome = self.collected.commit_if(core)?;
        self.collected.receipt(core, outcome)
    }

    /// As [`crate::Batch::commit_async`].
    pub async fn commit_async(&mut self) -> Result<Option<Commit>> {
        let core = self.db.core();
        let outcome = self.collected.commit_if_async(core).await?;
        self.collected.receipt(core, outcome)
    }

    /// As [`crate::Batch::commit_if`]; what it has found is borrowed from this batch.
    pub fn commit_if(&mut self) -> Result<Option<Outcome<'_>>> {
        self.collected.commit_if(self.db.core())
    }

    /// As [`crate::Batch::commit_if_async`]; what it has found is borrowed from this batch.
    pub async fn commit_if_async(&mut self) -> Result<Option<Outcome<'_>>> {
        self.collected.commit_if_async(self.db.core()).await
    }

    fn push(&mut self, asked: &Asked<'_>) -> &mut Self {
        if self.collected.begin() {
            self.table.clone_from(&self.db.table);
        }
        let space = index_of(self.db.core(), self.table.as_deref()).space;
        self.collected.push(self.db.core(), self.table.clone(), space, asked);
        self
    }

    pub(in crate::api) fn refuse(&mut self, error: Error) -> &mut Self {
        self.collected.refuse(error);
        self
    }
}
