//! Batches: several changes that become durable and visible together or not at all.

use std::fmt;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::uarr::Patch;
use uarr_uring::{Storage, System};

use crate::commit::changes::Change;
use crate::commit::receipt::Commit;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::key::AsKey;
use crate::limits::{BATCH_BYTES_MAX, check_value};
use crate::options::WriteOptions;

/// Changes collected for one commit, applied in the order in which they were added.
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch<'db, S: Storage = System> {
    core: &'db Core<S>,
    options: WriteOptions,
    bytes: Vec<u8>,
    changes: Vec<Spans>,
    error: Option<Error>,
}

/// Where key and value of a change lie in the bytes of the batch.
struct Spans {
    kind: FrameKind,
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
    pub(in crate::api) fn new(core: &'db Core<S>, options: WriteOptions) -> Self {
        Self { core, options, bytes: Vec::new(), changes: Vec::new(), error: None }
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl AsKey, value: impl AsRef<[u8]>) -> &mut Self {
        self.push(FrameKind::Put, &key, value.as_ref())
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl AsKey) -> &mut Self {
        self.push(FrameKind::Delete, &key, &[])
    }

    /// Changes the value of `key` by `patch`: the value that an earlier change of this batch leads
    /// to, or else the newest one when the batch is committed. See [`crate::Db::patch`] for what
    /// can go wrong; then nothing of the batch is written.
    pub fn patch(&mut self, key: impl AsKey, patch: &Patch) -> &mut Self {
        self.push(FrameKind::Patch, &key, patch.as_bytes())
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
    pub fn commit(&mut self) -> Result<Option<Commit>> {
        self.checked_bytes()?;
        if self.is_empty() {
            return Ok(None);
        }
        let receipt = if self.has_patches() {
            self.core.committer.write_patched(&self.changes(), self.options)?
        } else {
            self.core.committer.write(&mut self.frames(), self.options)?
        };
        self.clear();
        Ok(Some(receipt))
    }

    /// As [`Batch::commit`], for tasks; see [`crate::Db::put_async`].
    pub async fn commit_async(&mut self) -> Result<Option<Commit>> {
        self.checked_bytes()?;
        if self.is_empty() {
            return Ok(None);
        }
        let receipt = if self.has_patches() {
            self.core.committer.write_patched_async(&self.changes(), self.options).await?
        } else {
            self.core.committer.write_async(&mut self.frames(), self.options).await?
        };
        self.clear();
        Ok(Some(receipt))
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

    /// The changes as frames; patches cannot be such before their base is known.
    pub(in crate::api) fn frames(&self) -> Vec<Frame<'_>> {
        assert!(!self.has_patches(), "a patch is no frame before its base is known");
        let frame = |change: &Spans| {
            let payload = &self.bytes[change.key_start..change.end];
            Frame::of_payload(change.kind, 0, payload, change.value_start - change.key_start)
        };
        self.changes.iter().map(frame).collect()
    }

    fn has_patches(&self) -> bool {
        self.changes.iter().any(|change| change.kind == FrameKind::Patch)
    }

    fn changes(&self) -> Vec<Change<'_>> {
        let change = |change: &Spans| Change {
            kind: change.kind,
            key: &self.bytes[change.key_start..change.value_start],
            bytes: &self.bytes[change.value_start..change.end],
        };
        self.changes.iter().map(change).collect()
    }

    fn push(&mut self, kind: FrameKind, key: &dyn AsKey, value: &[u8]) -> &mut Self {
        if self.error.is_some() {
            return self;
        }
        let checked = self.core.records().key_kind().encode(key).and_then(|key| {
            check_value(value)?;
            if self.bytes.len() + key.as_ref().len() + value.len() > BATCH_BYTES_MAX {
                return Err(Error::invalid(format!(
                    "a batch holds at most {BATCH_BYTES_MAX} bytes of keys and values"
                )));
            }
            Ok(key)
        });
        match checked {
            Ok(key) => {
                let key_start = self.bytes.len();
                self.bytes.extend_from_slice(key.as_ref());
                let value_start = self.bytes.len();
                self.bytes.extend_from_slice(value);
                self.changes.push(Spans { kind, key_start, value_start, end: self.bytes.len() });
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
