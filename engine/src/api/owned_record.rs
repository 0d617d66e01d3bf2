//! A record that was copied out of the database.

use std::fmt;
use std::ops::Deref;

use uarr_layout::uarr::UArrRef;
use zerocopy::IntoBytes;

use crate::commit::written::NewValue;
use crate::data::record_view::HeldRecord;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::key::{KeyKind, KeyRef};
use crate::tuple::{FromKey, read_key};

/// A copy of a record, made by [`crate::Record::to_owned`]. It says the same, needs no database,
/// and may go to other threads and tasks.
#[derive(Clone)]
pub struct OwnedRecord {
    key_kind: KeyKind,
    stored_key: Box<[u8]>,
    /// Words, so that typed arrays in the value can be viewed in place as in the database.
    words: Box<[u64]>,
    value_bytes: usize,
    version: u64,
    /// In ms since 1970; 0: never.
    expires_ms: u64,
}

impl OwnedRecord {
    pub(crate) fn new(record: &HeldRecord<'_>, key_kind: KeyKind) -> Self {
        let version = (record.header().lsn.get(), record.expires_ms());
        Self::of_parts(key_kind, record.key(), record.value(), version)
    }

    /// The record of a value that may not be in the data file.
    pub(crate) fn of_new(key_kind: KeyKind, stored_key: &[u8], value: &NewValue) -> Self {
        let NewValue { bytes, expires_ms, version } = value;
        Self::of_parts(key_kind, stored_key, bytes, (*version, *expires_ms))
    }

    /// A record that may be in no database yet: also its version, and when it expires.
    pub(crate) fn of_parts(
        key_kind: KeyKind,
        stored_key: &[u8],
        value: &[u8],
        (version, expires_ms): (u64, u64),
    ) -> Self {
        let mut words = vec![0; value.len().div_ceil(size_of::<u64>())].into_boxed_slice();
        words.as_mut_bytes()[..value.len()].copy_from_slice(value);
        let (stored_key, value_bytes) = (stored_key.into(), value.len());
        Self { key_kind, stored_key, words, value_bytes, version, expires_ms }
    }

    /// The value. Its first byte is 8-byte aligned.
    pub fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.value_bytes]
    }

    /// The value as a UArr record; see [`crate::Record::uarr`].
    pub fn uarr(&self) -> Result<UArrRef<'_>> {
        Ok(UArrRef::open(self.bytes())?)
    }

    /// The value that `path` leads to; see [`crate::Record::path`].
    pub fn path(&self, path: &str) -> Result<Option<UArrRef<'_>>> {
        Ok(self.uarr()?.get_path(path))
    }

    /// The key's bytes: as given, or 8 bytes that sort as the number does for integers.
    pub fn key(&self) -> &[u8] {
        self.key_kind.strip(&self.stored_key)
    }

    /// The key as it was given.
    pub fn key_ref(&self) -> KeyRef<'_> {
        self.key_kind.decode(&self.stored_key)
    }

    /// The key as a Rust type; see [`crate::Record::key_as`].
    pub fn key_as<K: FromKey>(&self) -> Result<K> {
        read_key(self.key_ref())
    }

    /// The key if it was given as `u64`.
    pub fn key_u64(&self) -> Option<u64> {
        self.key_ref().as_u64()
    }

    /// The key if it was given as `i64`.
    pub fn key_i64(&self) -> Option<i64> {
        self.key_ref().as_i64()
    }

    /// The record's version: its position in the log.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// When it expires, if it does.
    pub fn expiry(&self) -> Expiry {
        Expiry::of_ms(self.expires_ms)
    }
}

impl Deref for OwnedRecord {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl AsRef<[u8]> for OwnedRecord {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl From<OwnedRecord> for Vec<u8> {
    fn from(record: OwnedRecord) -> Self {
        record.bytes().to_vec()
    }
}

impl fmt::Debug for OwnedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedRecord")
            .field("version", &self.version)
            .field("key", &self.key_ref())
            .field("value_bytes", &self.value_bytes)
            .finish()
    }
}
