//! Batches: several changes that become durable and visible together or not at all.

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::uarr::Patch;
use uarr_uring::Storage;

use crate::commit::patched;
use crate::commit::receipt::Commit;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::key::AsKey;
use crate::limits::{BATCH_BYTES_MAX, check_value};
use crate::options::WriteOptions;

/// Changes collected for one commit, applied in the order in which they were added.
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch<'db, S: Storage> {
    core: &'db Core<S>,
    bytes: Vec<u8>,
    changes: Vec<Change>,
    error: Option<Error>,
}

struct Change {
    kind: FrameKind,
    key_start: usize,
    value_start: usize,
    end: usize,
}

impl<'db, S: Storage> Batch<'db, S> {
    pub(crate) fn new(core: &'db Core<S>) -> Self {
        Self { core, bytes: Vec::new(), changes: Vec::new(), error: None }
    }

    /// Sets `key` to `value`.
    pub fn put(mut self, key: impl AsKey, value: impl AsRef<[u8]>) -> Self {
        self.push(FrameKind::Put, &key, value.as_ref());
        self
    }

    /// Removes `key`.
    pub fn delete(mut self, key: impl AsKey) -> Self {
        self.push(FrameKind::Delete, &key, &[]);
        self
    }

    /// Changes the value of `key` by `patch`: the value that an earlier change of this batch leads
    /// to, or else the newest one when the batch is committed. See [`crate::Db::patch`] for what
    /// can go wrong; then nothing of the batch is written.
    pub fn patch(mut self, key: impl AsKey, patch: &Patch) -> Self {
        self.push(FrameKind::Patch, &key, patch.as_bytes());
        self
    }

    /// Sets `key` to `value`, for loops.
    pub fn add_put(&mut self, key: impl AsKey, value: impl AsRef<[u8]>) {
        self.push(FrameKind::Put, &key, value.as_ref());
    }

    /// Removes `key`, for loops.
    pub fn add_delete(&mut self, key: impl AsKey) {
        self.push(FrameKind::Delete, &key, &[]);
    }

    /// Changes the value of `key` by `patch`, for loops; see [`Batch::patch`].
    pub fn add_patch(&mut self, key: impl AsKey, patch: &Patch) {
        self.push(FrameKind::Patch, &key, patch.as_bytes());
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Commits all changes as one. The first invalid change is reported here, and nothing is
    /// written. `None` if the batch is empty.
    pub fn commit(self) -> Result<Option<Commit>> {
        self.commit_with(WriteOptions::new())
    }

    /// As [`Batch::commit`], acknowledged as `options` ask.
    pub fn commit_with(self, options: WriteOptions) -> Result<Option<Commit>> {
        if self.has_patches() {
            return self.core.committer.write_patched(&self.changes()?, options).map(Some);
        }
        let mut frames = self.frames()?;
        if frames.is_empty() {
            return Ok(None);
        }
        self.core.committer.write(&mut frames, options).map(Some)
    }

    /// As [`Batch::commit_with`], for tasks; see [`crate::Db::put_async`].
    pub async fn commit_async(self, options: WriteOptions) -> Result<Option<Commit>> {
        if self.has_patches() {
            let changes = self.changes()?;
            return self.core.committer.write_patched_async(&changes, options).await.map(Some);
        }
        let mut frames = self.frames()?;
        if frames.is_empty() {
            return Ok(None);
        }
        self.core.committer.write_async(&mut frames, options).await.map(Some)
    }

    /// Bytes of keys and values so far; the first invalid change as an error.
    pub(crate) fn checked_bytes(&self) -> Result<usize> {
        self.error.clone().map_or(Ok(self.bytes.len()), Err)
    }

    /// Forgets all changes and keeps their memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
    }

    /// The changes as frames; patches cannot be such before their base is known.
    pub(crate) fn frames(&self) -> Result<Vec<Frame<'_>>> {
        assert!(!self.has_patches());
        self.checked_bytes()?;
        let frame = |change: &Change| {
            let payload = &self.bytes[change.key_start..change.end];
            Frame::of_payload(change.kind, 0, payload, change.value_start - change.key_start)
        };
        Ok(self.changes.iter().map(frame).collect())
    }

    fn has_patches(&self) -> bool {
        self.changes.iter().any(|change| change.kind == FrameKind::Patch)
    }

    fn changes(&self) -> Result<Vec<patched::Change<'_>>> {
        self.checked_bytes()?;
        Ok(self.parts().collect())
    }

    fn parts(&self) -> impl Iterator<Item = patched::Change<'_>> {
        self.changes.iter().map(|change| patched::Change {
            kind: change.kind,
            key: &self.bytes[change.key_start..change.value_start],
            bytes: &self.bytes[change.value_start..change.end],
        })
    }

    fn push(&mut self, kind: FrameKind, key: &dyn AsKey, value: &[u8]) {
        if self.error.is_some() {
            return;
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
                self.changes.push(Change { kind, key_start, value_start, end: self.bytes.len() });
            }
            Err(error) => self.error = Some(error),
        }
    }
}
