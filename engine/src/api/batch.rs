//! Batches: several changes that become durable and visible together or not at all.

use std::fmt;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::uarr::Patch;
use uarr_uring::{Storage, System};

use crate::api::checked::Checked;
use crate::api::outcome::Outcome;
use crate::api::table_place::index_of;
use crate::commit::changes::Change;
use crate::commit::premise::Expected;
use crate::commit::receipt::Commit;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::AsValue;
use crate::key::AsKey;
use crate::key_space::KeySpace;
use crate::limits::BATCH_BYTES_MAX;
use crate::options::WriteOptions;
use crate::versions::open_table::OpenTable;

/// Changes collected for one commit, applied in the order in which they were added.
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch<'db, S: Storage = System> {
    pub(in crate::api) core: &'db Core<S>,
    /// What the changes that follow are of.
    pub(in crate::api) table: Option<&'db OpenTable>,
    pub(in crate::api) options: WriteOptions,
    bytes: Vec<u8>,
    changes: Vec<Spans>,
    error: Option<Error>,
}

/// Where key and value of a change lie in the bytes of the batch.
struct Spans {
    kind: FrameKind,
    condition: Option<Expected>,
    expires_ms: u64,
    key_start: usize,
    value_start: usize,
    end: usize,
}

impl<S: Storage> fmt::Debug for Batch<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Batch");
        shown.field("change_count", &self.len()).field("bytes", &self.bytes.len());
        shown.field("options", &self.options).field("error", &self.error).finish_non_exhaustive()
    }
}

impl<'db, S: Storage> Batch<'db, S> {
    pub(in crate::api) fn new(
        core: &'db Core<S>,
        table: Option<&'db OpenTable>,
        options: WriteOptions,
    ) -> Self {
        Self { core, table, options, bytes: Vec::new(), changes: Vec::new(), error: None }
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(FrameKind::Put, &key, &value, None)
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl AsKey) -> &mut Self {
        self.push(FrameKind::Delete, &key, &[0u8; 0], None)
    }

    /// Sets `key` to `value` if there is no record of it. If there is one when the batch is
    /// committed, nothing of the batch is written; see [`Batch::commit_if`]. A key may have one
    /// condition, with the first change of it.
    pub fn insert(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(FrameKind::Put, &key, &value, Some(Expected::Absent))
    }

    /// Sets `key` to `value` if there is a record of it; otherwise as [`Batch::insert`].
    pub fn update(&mut self, key: impl AsKey, value: impl AsValue) -> &mut Self {
        self.push(FrameKind::Put, &key, &value, Some(Expected::Present))
    }

    /// Sets `key` to `value` if its newest record has `version`; otherwise as [`Batch::insert`].
    pub fn put_if_version(
        &mut self,
        key: impl AsKey,
        value: impl AsValue,
        version: u64,
    ) -> &mut Self {
        self.push(FrameKind::Put, &key, &value, Some(Expected::Version(version)))
    }

    /// Removes `key` if its newest record has `version`; otherwise as [`Batch::insert`].
    pub fn delete_if_version(&mut self, key: impl AsKey, version: u64) -> &mut Self {
        self.push(FrameKind::Delete, &key, &[0u8; 0], Some(Expected::Version(version)))
    }

    /// Changes the value of `key` by `patch`: the value that an earlier change of this batch leads
    /// to, or else the newest one when the batch is committed. See [`crate::Db::patch`] for what
    /// can go wrong; then nothing of the batch is written.
    pub fn patch(&mut self, key: impl AsKey, patch: &Patch) -> &mut Self {
        self.push(FrameKind::Patch, &key, &patch.as_bytes(), None)
    }

    /// Number of changes. The first that was not allowed and all behind it do not count, as the
    /// commit fails anyway.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are no changes that count.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Commits all changes as one, and empties the batch for the next ones. `None` if it is empty
    /// already. The first change that was not allowed is reported here. After an error the batch is
    /// as it was: commit it again if the error's kind says so, or [`Batch::clear`] it.
    ///
    /// Errors: also `ConditionFailed`, if a condition is not met; [`Batch::commit_if`] says more.
    pub fn commit(&mut self) -> Result<Option<Commit>> {
        self.commit_if()?.map(|outcome| self.receipt(outcome)).transpose()
    }

    /// As [`Batch::commit`], for tasks; see [`crate::Db::put_async`].
    pub async fn commit_async(&mut self) -> Result<Option<Commit>> {
        self.commit_if_async().await?.map(|outcome| self.receipt(outcome)).transpose()
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
        self.checked_bytes()?;
        if self.is_empty() {
            return Ok(None);
        }
        let Self { core, options, .. } = *self;
        let written = if self.has_bases() {
            let written =
                core.committer.write_changes(&self.changes().collect::<Vec<_>>(), options);
            Outcome::of(written, core.records().key_kind())?
        } else {
            Outcome::Written(core.committer.write(&mut self.frames(), options)?)
        };
        Ok(Some(self.emptied(written)))
    }

    /// As [`Batch::commit_if`], for tasks; see [`crate::Db::put_async`].
    pub async fn commit_if_async(&mut self) -> Result<Option<Outcome<'db>>> {
        self.checked_bytes()?;
        if self.is_empty() {
            return Ok(None);
        }
        let Self { core, options, .. } = *self;
        let written = if self.has_bases() {
            let changes: Vec<_> = self.changes().collect();
            let written = core.committer.write_changes_async(&changes, options).await;
            Outcome::of(written, core.records().key_kind())?
        } else {
            Outcome::Written(core.committer.write_async(&mut self.frames(), options).await?)
        };
        Ok(Some(self.emptied(written)))
    }

    fn emptied(&mut self, outcome: Outcome<'db>) -> Outcome<'db> {
        if outcome.is_written() {
            self.clear();
        }
        outcome
    }

    /// The receipt of a batch that was written; an error if it was refused.
    fn receipt(&self, outcome: Outcome<'_>) -> Result<Commit> {
        let refusal = match outcome {
            Outcome::Written(commit) => return Ok(commit),
            Outcome::Refused(refusal) => refusal,
        };
        let spans = &self.changes[refusal.change];
        let key = self.core.committer.shown_key(&self.bytes[spans.key_start..spans.value_start]);
        let found = match refusal.found {
            Some(found) => format!("its newest version is {}", found.version()),
            None => "there is no record".to_owned(),
        };
        let condition = spans.condition.expect("it was refused for its condition");
        let message = format!("{key} {condition}, but {found}; nothing of the batch was written");
        Err(Error::new(ErrorKind::ConditionFailed, message))
    }

    /// Forgets all changes, one that was not allowed included, and keeps their memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
        self.error = None;
    }

    /// Bytes of keys and values so far; the first invalid change as an error.
    pub(in crate::api) fn checked_bytes(&self) -> Result<usize> {
        self.error.clone().map_or(Ok(self.bytes.len()), Err)
    }

    /// The changes as frames; those with a base cannot be such before that is known.
    pub(in crate::api) fn frames(&self) -> Vec<Frame<'_>> {
        assert!(!self.has_bases(), "what depends on its base is no frame before that is known");
        let frame = |change: &Spans| {
            let payload = &self.bytes[change.key_start..change.end];
            let key_bytes = change.value_start - change.key_start;
            Frame::of_payload(change.kind, 0, payload, key_bytes).expiring(change.expires_ms)
        };
        self.changes.iter().map(frame).collect()
    }

    fn has_bases(&self) -> bool {
        self.changes().any(|change| change.has_base())
    }

    fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.changes.iter().map(|change| Change {
            kind: change.kind,
            condition: change.condition,
            expires_ms: change.expires_ms,
            key: &self.bytes[change.key_start..change.value_start],
            bytes: &self.bytes[change.value_start..change.end],
        })
    }

    fn push(
        &mut self,
        kind: FrameKind,
        key: &dyn AsKey,
        value: &dyn AsValue,
        condition: Option<Expected>,
    ) -> &mut Self {
        let space = index_of(self.core, self.table).space;
        self.push_to(space, kind, key, value, condition)
    }

    /// Sets `key` of the table with `space` to `value`.
    pub(in crate::api) fn put_to(
        &mut self,
        space: KeySpace,
        key: &dyn AsKey,
        value: &dyn AsValue,
    ) -> &mut Self {
        self.push_to(space, FrameKind::Put, key, value, None)
    }

    fn push_to(
        &mut self,
        space: KeySpace,
        kind: FrameKind,
        key: &dyn AsKey,
        value: &dyn AsValue,
        condition: Option<Expected>,
    ) -> &mut Self {
        if self.error.is_some() {
            return self;
        }
        let table = self.table.map_or(Ok(()), OpenTable::check);
        let checked = table.and_then(|()| space.encode(key)).and_then(|key| {
            let value = self.core.checked(self.table, value)?;
            if self.bytes.len() + key.as_ref().len() + value.bytes.len() > BATCH_BYTES_MAX {
                return Err(Error::invalid(format!(
                    "a batch holds at most {BATCH_BYTES_MAX} bytes of keys and values"
                )));
            }
            // Deletions do not expire, and a patch leaves the time as it is.
            let expires_ms = if kind == FrameKind::Put { value.expires_ms } else { 0 };
            Ok((key, Checked { expires_ms, ..value }))
        });
        match checked {
            Ok((key, Checked { bytes, expires_ms })) => {
                let key_start = self.bytes.len();
                self.bytes.extend_from_slice(key.as_ref());
                let value_start = self.bytes.len();
                self.bytes.extend_from_slice(bytes);
                let end = self.bytes.len();
                let spans = Spans { kind, condition, expires_ms, key_start, value_start, end };
                self.changes.push(spans);
            }
            Err(error) => return self.refuse(error),
        }
        self
    }

    /// Notes that a change was not allowed, if it is the first.
    pub(in crate::api) fn refuse(&mut self, error: Error) -> &mut Self {
        self.error.get_or_insert(error);
        self
    }
}
