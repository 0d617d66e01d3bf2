//! Batches: several changes that become durable and visible together or not at all.

use std::fmt;

use uarr_layout::frame::Frame;
use uarr_layout::uarr::Patch;
use uarr_uring::{Storage, System};

use crate::api::collected::{Asked, Collected};
use crate::api::outcome::Outcome;
use crate::api::table_place::index_of;
use crate::commit::changes::ChangeKind;
use crate::commit::premise::Expected;
use crate::commit::receipt::Commit;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::expiry::AsValue;
use crate::key::AsKey;
use crate::key_space::KeySpace;
use crate::options::WriteOptions;
use crate::versions::open_table::OpenTable;

/// Changes collected for one commit, applied in the order in which they were added.
/// [`crate::OwnedBatch`] is the same for other threads and tasks.
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch<'db, S: Storage = System> {
    pub(in crate::api) core: &'db Core<S>,
    /// What the first changes are of.
    first_table: Option<&'db OpenTable>,
    /// What the changes that follow are of.
    table: Option<&'db OpenTable>,
    collected: Collected<&'db OpenTable>,
}

impl<S: Storage> fmt::Debug for Batch<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.collected.fmt(f)
    }
}

impl<'db, S: Storage> Batch<'db, S> {
    pub(in crate::api) fn new(
        core: &'db Core<S>,
        table: Option<&'db OpenTable>,
        options: WriteOptions,
    ) -> Self {
        Self { core, first_table: table, table, collected: Collected::new(options) }
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(&Asked::put(&key, &value))
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl AsKey) -> &mut Self {
        self.push(&Asked::delete(&key))
    }

    /// Sets `key` to `value` if there is no record of it. If there is one when the batch is
    /// committed, nothing of the batch is written; see [`Batch::commit_if`]. A key may have one
    /// condition, with the first change of it.
    pub fn insert(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(&Asked::put(&key, &value).only_if(Expected::Absent))
    }

    /// Sets `key` to `value` if there is a record of it; otherwise as [`Batch::insert`].
    pub fn update(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(&Asked::put(&key, &value).only_if(Expected::Present))
    }

    /// Sets `key` to `value` if its newest record has `version`; otherwise as [`Batch::insert`].
    pub fn put_if_version(
        &mut self,
        key: impl AsKey,
        value: impl AsValue,
        version: u64,
    ) -> &mut Self {
        self.push(&Asked::put(&key, &value).only_if(Expected::Version(version)))
    }

    /// Removes `key` if its newest record has `version`; otherwise as [`Batch::insert`].
    pub fn delete_if_version(&mut self, key: impl AsKey, version: u64) -> &mut Self {
        self.push(&Asked::delete(&key).only_if(Expected::Version(version)))
    }

    /// Changes the value of `key` by `patch`: the value that an earlier change of this batch leads
    /// to, or else the newest one when the batch is committed. See [`crate::Db::patch`] for what
    /// can go wrong; then nothing of the batch is written.
    pub fn patch(&mut self, key: impl AsKey, patch: &Patch) -> &mut Self {
        self.push(&Asked::new(ChangeKind::Patch, &key, &patch.as_bytes()))
    }

    /// Number of changes. The first that was not allowed and all behind it do not count, as the
    /// commit fails anyway.
    pub fn len(&self) -> usize {
        self.collected.len()
    }

    /// Whether there are no changes that count.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Commits all changes as one, and empties the batch for the next ones, which are of the table
    /// that it began with. `None` if it is empty already. The first change that was not allowed is
    /// reported here. After an error the batch is as it was: commit it again if the error's kind
    /// says so, or [`Batch::clear`] it.
    ///
    /// Errors: also `ConditionFailed`, if a condition is not met; [`Batch::commit_if`] says more.
    pub fn commit(&mut self) -> Result<Option<Commit>> {
        let outcome = self.commit_if()?;
        self.collected.receipt(self.core, outcome)
    }

    /// As [`Batch::commit`], for tasks; see [`crate::Db::put_async`].
    pub async fn commit_async(&mut self) -> Result<Option<Commit>> {
        let outcome = self.commit_if_async().await?;
        self.collected.receipt(self.core, outcome)
    }

    /// As [`Batch::commit`]; that a condition is not met is an answer, no error. Then nothing was
    /// written, and the batch is as it was.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use uarr::Outcome;
    ///
    /// let stock = db.put("stock", b"1")?.lsn;
    /// let mut order = db.batch();
    /// order.put_if_version("stock", b"0", stock).insert("order:1", b"one");
    /// db.put("stock", b"0")?; // somebody was faster
    /// match order.commit_if()?.ok_or("it is not empty")? {
    ///     Outcome::Written(_) => unreachable!(),
    ///     Outcome::Refused(refusal) => assert_eq!(refusal.change, 0),
    /// }
    /// assert!(!db.contains("order:1")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit_if(&mut self) -> Result<Option<Outcome<'db>>> {
        self.collected.commit_if(self.core)
    }

    /// As [`Batch::commit_if`], for tasks; see [`crate::Db::put_async`].
    pub async fn commit_if_async(&mut self) -> Result<Option<Outcome<'db>>> {
        self.collected.commit_if_async(self.core).await
    }

    /// Forgets all changes, one that was not allowed included, and keeps their memory.
    pub fn clear(&mut self) {
        self.collected.clear();
    }

    /// Bytes of keys and values so far; the first invalid change as an error.
    pub(in crate::api) fn checked_bytes(&self) -> Result<usize> {
        self.collected.checked_bytes()
    }

    /// The changes as frames; those with a base cannot be such before that is known.
    pub(in crate::api) fn frames(&self) -> Vec<Frame<'_>> {
        self.collected.frames()
    }

    pub(in crate::api) fn push(&mut self, asked: &Asked<'_>) -> &mut Self {
        if self.collected.begin() {
            self.table = self.first_table;
        }
        self.push_to(index_of(self.core, self.table).space, asked)
    }

    /// The changes that follow are of this table.
    pub(in crate::api) fn go_on_in(&mut self, table: Option<&'db OpenTable>) {
        self.collected.begin();
        self.table = table;
    }

    /// Adds a change of the table with `space`.
    pub(in crate::api) fn push_to(&mut self, space: KeySpace, asked: &Asked<'_>) -> &mut Self {
        self.collected.push(self.core, self.table, space, asked);
        self
    }

    /// Notes that a change was not allowed, if it is the first.
    pub(in crate::api) fn refuse(&mut self, error: Error) -> &mut Self {
        self.collected.refuse(error);
        self
    }
}
