//! What readers get: a record, in place or of their own.

use std::fmt;
use std::ops::Deref;

use uarr_layout::uarr::UArrRef;

use crate::api::owned_record::OwnedRecord;
use crate::data::record_view::HeldRecord;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::key::{KeyKind, KeyRef};
use crate::tuple::{FromKey, read_key};

/// A record in the mapped data file, borrowed from the database: no copy was made. Its bytes do
/// not change while it lives, whatever becomes of its key; and the chunk of the data file that it
/// lies in, and no other, is not given back meanwhile. It may go to other threads.
///
/// What it hands out is borrowed from it: to keep a record, [`Record::to_owned`] copies it.
pub struct Record<'a> {
    record: HeldRecord<'a>,
    key_kind: KeyKind,
}

impl<'a> Record<'a> {
    #[inline]
    pub(crate) fn new(record: HeldRecord<'a>, key_kind: KeyKind) -> Self {
        Self { record, key_kind }
    }

    /// The value. Its first byte is 8-byte aligned.
    pub fn bytes(&self) -> &[u8] {
        self.record.value()
    }

    /// The value as a UArr record, for values that were written as such. Its header is checked, its
    /// fields when they are read; no field is decoded before that.
    ///
    /// Errors: `WrongValue`.
    pub fn uarr(&self) -> Result<UArrRef<'_>> {
        Ok(UArrRef::open(self.record.value())?)
    }

    /// The value inside of a UArr record that `path` leads to, such as `a.b[3]`; `None` if there is
    /// none. Names with dots or brackets need the view, [`Record::uarr`].
    ///
    /// Errors: `WrongValue`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("ada", uarr::uarr!({ "name": { "first": "Ada" }, "tags": ["x", "y"] }))?;
    /// let record = db.get("ada")?.ok_or("not found")?;
    /// assert_eq!(record.path("name.first")?.and_then(|name| name.as_str()), Some("Ada"));
    /// assert_eq!(record.path("tags[1]")?.and_then(|tag| tag.as_str()), Some("y"));
    /// assert!(record.path("tags[2]")?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn path(&self, path: &str) -> Result<Option<UArrRef<'_>>> {
        Ok(self.uarr()?.get_path(path))
    }

    /// The key's bytes: as given, or 8 bytes that sort as the number does for integers.
    pub fn key(&self) -> &[u8] {
        self.key_kind.strip(self.record.key())
    }

    pub(in crate::api) fn stored_key(&self) -> &[u8] {
        self.record.key()
    }

    /// The key as it was given.
    pub fn key_ref(&self) -> KeyRef<'_> {
        self.key_kind.decode(self.record.key())
    }

    /// The key as a Rust type: a tuple, as it was given, or a number, text or bytes.
    ///
    /// Errors: `WrongValue`, if it is no such key. Bytes do not say which types they are of: what
    /// was given as another tuple may be read as one that it could have been.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put(("mail", Some(7u32), "ada@example.org"), b"")?;
    /// let record = db.first()?.ok_or("not found")?;
    /// let (kind, number, name): (String, Option<u32>, String) = record.key_as()?;
    /// assert_eq!((&*kind, number, &*name), ("mail", Some(7), "ada@example.org"));
    /// assert!(record.key_as::<(String, u64)>().is_err());
    /// # Ok(())
    /// # }
    /// ```
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

    /// The record's version: its position in the log. Rises with each write.
    pub fn version(&self) -> u64 {
        self.record.header().lsn.get()
    }

    /// When it expires, if it does; see [`crate::Expires`].
    pub fn expiry(&self) -> Expiry {
        Expiry::of_ms(self.record.expires_ms())
    }

    /// A copy that needs no database: it may outlive it, and go to other threads and tasks.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("a", uarr::uarr!({ "born": 1815 }))?;
    /// let record = db.get("a")?.ok_or("not found")?.to_owned();
    /// db.close()?;
    /// let born = std::thread::spawn(move || record.uarr().ok()?.get("born")?.as_u64());
    /// assert_eq!(born.join().map_err(|_| "panicked")?, Some(1815));
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord::new(&self.record, self.key_kind)
    }
}

impl Deref for Record<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.record.value()
    }
}

impl AsRef<[u8]> for Record<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl From<Record<'_>> for Vec<u8> {
    fn from(record: Record<'_>) -> Self {
        record.bytes().to_vec()
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version())
            .field("key", &self.key_ref())
            .field("value_bytes", &self.bytes().len())
            .finish()
    }
}
