//! What readers get: a record, in place.

use std::fmt;
use std::ops::Deref;

use uarr_layout::uarr::UArrRef;

use crate::data::store::RecordView;
use crate::key::{KeyKind, KeyRef};

/// A record in the mapped data file, borrowed from the database: no copy was made. Its bytes do
/// not change while the guard lives.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    view: RecordView<'a>,
    key_kind: KeyKind,
}

impl<'a> Record<'a> {
    #[inline]
    pub(crate) fn new(view: RecordView<'a>, key_kind: KeyKind) -> Self {
        Self { view, key_kind }
    }

    /// The value. Its first byte is 8-byte aligned.
    pub fn bytes(&self) -> &'a [u8] {
        self.view.value()
    }

    /// The value as a UArr record, for values that were written as such. Its header is checked, its
    /// fields when they are read; no field is decoded before that.
    pub fn uarr(&self) -> Result<UArrRef<'a>, uarr_layout::uarr::Error> {
        UArrRef::open(self.view.value())
    }

    /// The key's bytes: as given, or 8 bytes that sort as the number does for integers.
    pub fn key(&self) -> &'a [u8] {
        self.key_kind.strip(self.view.key())
    }

    /// The key as it was given.
    pub fn key_ref(&self) -> KeyRef<'a> {
        self.key_kind.decode(self.view.key())
    }

    /// The key if it was given as `u64`.
    pub fn key_u64(&self) -> Option<u64> {
        match self.key_ref() {
            KeyRef::U64(number) => Some(number),
            _ => None,
        }
    }

    /// The key if it was given as `i64`.
    pub fn key_i64(&self) -> Option<i64> {
        match self.key_ref() {
            KeyRef::I64(number) => Some(number),
            _ => None,
        }
    }

    /// The record's version: its position in the log. Rises with each write.
    pub fn version(&self) -> u64 {
        self.view.header.lsn.get()
    }
}

impl Deref for Record<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.view.value()
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version())
            .field("key", &self.key())
            .field("value_bytes", &self.bytes().len())
            .finish()
    }
}
