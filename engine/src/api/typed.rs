//! Rust types as values (feature `serde`), so that a caller need not name the format.

use serde::de::{Deserialize, DeserializeOwned};
use serde::ser::Serialize;
use uarr_layout::uarr::{from_slice, to_vec};
use uarr_uring::Storage;

use crate::api::batch::Batch;
use crate::api::db::Db;
use crate::api::owned_batch::OwnedBatch;
use crate::api::owned_record::OwnedRecord;
use crate::api::record::Record;
use crate::api::writer::Writer;
use crate::commit::receipt::Commit;
use crate::error::Result;
use crate::key::AsKey;
use crate::options::WriteOptions;

impl<S: Storage> Db<S> {
    /// As [`Db::put`], with the UArr record of any type that serde can write. Feature `serde`.
    ///
    /// Errors: also `InvalidArgument` if the value exceeds a limit of the format, or has a map with
    /// keys that are no text.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct User {
    ///     name: String,
    ///     born: u16,
    /// }
    ///
    /// let ada = User { name: "Ada".into(), born: 1815 };
    /// db.put_as("user:1", &ada)?;
    /// db.batch().put_as("user:2", &User { name: "Bob".into(), born: 1900 }).commit()?;
    /// assert_eq!(db.get_as("user:1")?, Some(ada));
    /// for record in db.prefix("user:")? {
    ///     let record = record?;
    ///     let user: User = record.read_as()?;
    ///     assert_eq!(record.path("name")?.and_then(|name| name.as_str()), Some(&*user.name));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn put_as<T: Serialize + ?Sized>(&self, key: impl AsKey, value: &T) -> Result<Commit> {
        self.with(WriteOptions::new()).put_as(key, value)
    }

    /// As [`Db::put_as`], for tasks; see [`Db::put_async`].
    pub async fn put_as_async<T: Serialize + ?Sized>(
        &self,
        key: impl AsKey,
        value: &T,
    ) -> Result<Commit> {
        self.with(WriteOptions::new()).put_as_async(key, value).await
    }

    /// As [`Db::get`], with the value as a type that serde can read, which owns what it has. A type
    /// that borrows from the record reads it with [`Record::read_as`]. Feature `serde`.
    ///
    /// Errors: also `WrongValue`.
    pub fn get_as<T: DeserializeOwned>(&self, key: impl AsKey) -> Result<Option<T>> {
        self.get(key)?.map(|record| record.read_as()).transpose()
    }
}

impl<S: Storage> Writer<'_, S> {
    /// As [`Db::put_as`].
    pub fn put_as<T: Serialize + ?Sized>(self, key: impl AsKey, value: &T) -> Result<Commit> {
        self.put(key, to_vec(value)?)
    }

    /// As [`Db::put_as_async`].
    pub async fn put_as_async<T: Serialize + ?Sized>(
        self,
        key: impl AsKey,
        value: &T,
    ) -> Result<Commit> {
        self.put_async(key, to_vec(value)?).await
    }
}

impl<S: Storage> Batch<'_, S> {
    /// As [`Batch::put`]; see [`Db::put_as`].
    pub fn put_as<T: Serialize + ?Sized>(&mut self, key: impl AsKey, value: &T) -> &mut Self {
        match to_vec(value) {
            Ok(value) => self.put(key, value),
            Err(error) => self.refuse(error.into()),
        }
    }
}

impl<S: Storage> OwnedBatch<S> {
    /// As [`Batch::put_as`].
    pub fn put_as<T: Serialize + ?Sized>(&mut self, key: impl AsKey, value: &T) -> &mut Self {
        match to_vec(value) {
            Ok(value) => self.put(key, value),
            Err(error) => self.refuse(error.into()),
        }
    }
}

impl Record<'_> {
    /// The value as a type that serde can read; it may borrow text and bytes from the record.
    /// Feature `serde`.
    ///
    /// Errors: `WrongValue`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// #[derive(serde::Deserialize)]
    /// struct Name<'r> {
    ///     name: &'r str,
    /// }
    ///
    /// db.put("ada", uarr::uarr!({ "name": "Ada", "born": 1815 }))?;
    /// let record = db.get("ada")?.ok_or("not found")?;
    /// assert_eq!(record.read_as::<Name>()?.name, "Ada"); // in place, in the mapped file
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_as<'r, T: Deserialize<'r>>(&'r self) -> Result<T> {
        Ok(from_slice(self.bytes())?)
    }
}

impl OwnedRecord {
    /// The value as a type that serde can read; see [`Record::read_as`].
    pub fn read_as<'r, T: Deserialize<'r>>(&'r self) -> Result<T> {
        Ok(from_slice(self.bytes())?)
    }
}
