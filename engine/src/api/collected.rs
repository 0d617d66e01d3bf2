//! The changes of a batch before they are committed, and their commit.

use std::fmt;
use std::ops::Deref;

use uarr_layout::frame::Frame;
use uarr_uring::Storage;

use crate::api::checked::Checked;
use crate::api::outcome::Outcome;
use crate::commit::changes::{Change, ChangeKind};
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

/// Changes in the order in which they were added; `T` is how the batch holds their tables.
pub(in crate::api) struct Collected<T> {
    options: WriteOptions,
    /// The tables of the changes, the default one aside.
    tables: Vec<T>,
    bytes: Vec<u8>,
    changes: Vec<Spans>,
    error: Option<Error>,
    /// It was emptied, and neither a table nor a change has come since.
    begins_anew: bool,
}

/// What is asked of a record.
pub(in crate::api) struct Asked<'a> {
    pub kind: ChangeKind,
    pub key: &'a dyn AsKey,
    pub value: &'a dyn AsValue,
    pub condition: Option<Expected>,
}

/// Where key and value of a change lie in the bytes of the batch.
struct Spans {
    kind: ChangeKind,
    condition: Option<Expected>,
    expires_ms: u64,
    key_start: usize,
    value_start: usize,
    end: usize,
}

impl<T> fmt::Debug for Collected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Batch");
        shown.field("change_count", &self.len()).field("bytes", &self.bytes.len());
        shown.field("options", &self.options).field("error", &self.error).finish_non_exhaustive()
    }
}

impl<'a> Asked<'a> {
    pub fn new(kind: ChangeKind, key: &'a dyn AsKey, value: &'a dyn AsValue) -> Self {
        Self { kind, key, value, condition: None }
    }

    pub fn put(key: &'a dyn AsKey, value: &'a dyn AsValue) -> Self {
        Self::new(ChangeKind::Put, key, value)
    }

    pub fn delete(key: &'a dyn AsKey) -> Self {
        Self::new(ChangeKind::Delete, key, &[0u8; 0])
    }

    /// The same, if the newest record is as `expected`.
    pub fn only_if(self, expected: Expected) -> Self {
        Self { condition: Some(expected), ..self }
    }
}

impl<T: Deref<Target = OpenTable>> Collected<T> {
    pub fn new(options: WriteOptions) -> Self {
        let (bytes, changes, tables) = (Vec::new(), Vec::new(), Vec::new());
        Self { options, tables, bytes, changes, error: None, begins_anew: false }
    }

    /// Adds a change of the table with `space`, which is `table` unless it is the default one.
    pub fn push<S: Storage>(
        &mut self,
        core: &Core<S>,
        table: Option<T>,
        space: KeySpace,
        asked: &Asked<'_>,
    ) {
        if self.error.is_some() {
            return;
        }
        if let Err(error) = self.try_push(core, table, space, asked) {
            self.refuse(error);
        }
    }

    fn try_push<S: Storage>(
        &mut self,
        core: &Core<S>,
        table: Option<T>,
        space: KeySpace,
        asked: &Asked<'_>,
    ) -> Result<()> {
        table.as_deref().map_or(Ok(()), OpenTable::check)?;
        let key = space.encode(asked.key)?;
        let Checked { bytes, expires_ms } = core.checked(table.as_deref(), asked.value)?;
        if self.bytes.len() + key.as_ref().len() + bytes.len() > BATCH_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a batch holds at most {BATCH_BYTES_MAX} bytes of keys and values"
            )));
        }
        // Deletions do not expire, and a patch leaves the time as it is.
        let is_timed = matches!(asked.kind, ChangeKind::Put | ChangeKind::Touch);
        let expires_ms = if is_timed { expires_ms } else { 0 };
        let key_start = self.bytes.len();
        self.bytes.extend_from_slice(key.as_ref());
        let value_start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let (kind, condition, end) = (asked.kind, asked.condition, self.bytes.len());
        self.changes.push(Spans { kind, condition, expires_ms, key_start, value_start, end });
        let is_known = |table: &T| {
            self.tables.iter().rev().any(|known| std::ptr::eq::<OpenTable>(&**known, &**table))
        };
        self.tables.extend(table.filter(|table| !is_known(table)));
        Ok(())
    }

    /// Commits all changes as one; `None`: there are none. After an error or a refusal it is as it
    /// was, otherwise empty.
    pub fn commit_if<'c, S: Storage>(&mut self, core: &'c Core<S>) -> Result<Option<Outcome<'c>>> {
        self.checked_bytes()?;
        if self.changes.is_empty() {
            return Ok(None);
        }
        let options = self.promise();
        let written = if self.has_bases() {
            let changes: Vec<_> = self.changes().collect();
            let written = core.committer.write_changes(&changes, options);
            Outcome::of(written, core.records().key_kind())?
        } else {
            Outcome::Written(core.committer.write(&mut self.frames(), options)?)
        };
        Ok(Some(self.emptied(written)))
    }

    /// As [`Collected::commit_if`], for tasks.
    pub async fn commit_if_async<'c, S: Storage>(
        &mut self,
        core: &'c Core<S>,
    ) -> Result<Option<Outcome<'c>>> {
        self.checked_bytes()?;
        if self.changes.is_empty() {
            return Ok(None);
        }
        let options = self.promise();
        let written = if self.has_bases() {
            let changes: Vec<_> = self.changes().collect();
            let written = core.committer.write_changes_async(&changes, options).await;
            Outcome::of(written, core.records().key_kind())?
        } else {
            Outcome::Written(core.committer.write_async(&mut self.frames(), options).await?)
        };
        Ok(Some(self.emptied(written)))
    }

    fn emptied<'c>(&mut self, outcome: Outcome<'c>) -> Outcome<'c> {
        if outcome.is_written() {
            self.clear();
        }
        outcome
    }

    /// The receipt, if it was written; an error if it was refused.
    pub fn receipt<S: Storage>(
        &self,
        core: &Core<S>,
        outcome: Option<Outcome<'_>>,
    ) -> Result<Option<Commit>> {
        let refusal = match outcome {
            None => return Ok(None),
            Some(Outcome::Written(commit)) => return Ok(Some(commit)),
            Some(Outcome::Refused(refusal)) => refusal,
        };
        assert!(refusal.change < self.changes.len(), "what was refused is one of the changes");
        let spans = &self.changes[refusal.change];
        let key = core.committer.shown_key(&self.bytes[spans.key_start..spans.value_start]);
        let found = match refusal.found {
            Some(found) => format!("its newest version is {}", found.version()),
            None => "there is no record".to_owned(),
        };
        // What has none was to be touched.
        let condition = spans.condition.unwrap_or(Expected::Present);
        let message = format!("{key} {condition}, but {found}; nothing of the batch was written");
        Err(Error::new(ErrorKind::ConditionFailed, message))
    }

    /// Each commit is durable before it is acknowledged.
    pub fn be_durable(&mut self) {
        self.options = self.options.durable();
    }

    /// What it promises if it is committed now.
    fn promise(&self) -> WriteOptions {
        let promise = |options, table: &T| OpenTable::promise(Some(&**table), options);
        self.tables.iter().fold(self.options, promise)
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
        self.tables.clear();
        self.error = None;
        self.begins_anew = true;
    }
}

impl<T> Collected<T> {
    /// Whether what comes now is the first since it was emptied: it is of the first table then.
    pub fn begin(&mut self) -> bool {
        std::mem::take(&mut self.begins_anew)
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Notes that a change was not allowed, if it is the first.
    pub fn refuse(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// Bytes of keys and values so far; the first invalid change as an error.
    pub fn checked_bytes(&self) -> Result<usize> {
        self.error.clone().map_or(Ok(self.bytes.len()), Err)
    }

    /// The changes as frames; those with a base cannot be such before that is known.
    pub fn frames(&self) -> Vec<Frame<'_>> {
        assert!(!self.has_bases(), "what depends on its base is no frame before that is known");
        let frame = |change: &Spans| {
            let payload = &self.bytes[change.key_start..change.end];
            let key_bytes = change.value_start - change.key_start;
            let kind = change.kind.given().expect("no change has a base");
            Frame::of_payload(kind, 0, payload, key_bytes).expiring(change.expires_ms)
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
}
