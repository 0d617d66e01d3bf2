//! [`NewValue`]: what a key was set to and is not in the data file yet.

use std::collections::BTreeMap;

use uarr_layout::frame::FrameKind;

use crate::log::builder::StagedFrames;

/// A value that may not be in the data file.
pub(crate) struct NewValue {
    pub bytes: Box<[u8]>,
    /// When it expires, in ms since 1970; 0: never.
    pub expires_ms: u64,
    /// LSN of its record; 0: it has none yet.
    pub version: u64,
}

impl NewValue {
    /// Itself, if it has not expired at `moment_ms`.
    pub fn at(&self, moment_ms: u64) -> Option<&Self> {
        let has_expired = self.expires_ms != 0 && self.expires_ms <= moment_ms;
        (!has_expired).then_some(self)
    }
}

/// What a key was set to; `None`: it is removed.
pub(crate) type Written = Option<NewValue>;

/// What each key was set to last, by stored key.
pub(crate) type WrittenKeys = BTreeMap<Box<[u8]>, Written>;

/// What `staged` sets keys to.
pub(crate) fn written_by(staged: &StagedFrames) -> WrittenKeys {
    let records = staged.frames().filter(|frame| !frame.opens_chunk());
    let written = records.map(|frame| {
        let whole = frame.resolved().expect("the result of each patch was kept");
        let is_removed = whole.header.kind == FrameKind::Delete as u8;
        let (expires_ms, version) = (whole.header.expires_ms.get(), whole.header.lsn.get());
        let value = || NewValue { bytes: whole.value.into(), expires_ms, version };
        (frame.key.into(), (!is_removed).then(value))
    });
    written.collect()
}
