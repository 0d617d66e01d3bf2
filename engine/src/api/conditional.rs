//! The verbs that look at the newest version of a key before they change it.

use uarr_uring::Storage;

use crate::api::checked::Checked;
use crate::api::db::Db;
use crate::api::outcome::Outcome;
use crate::api::record::Record;
use crate::api::writer::Writer;
use crate::commit::changes::{Change, ChangeKind};
use crate::commit::premise::Expected;
use crate::commit::receipt::Commit;
use crate::error::Result;
use crate::expiry::AsValue;
use crate::key::AsKey;
use crate::options::WriteOptions;

impl<S: Storage> Db<S> {
    /// Sets `key` to `value` if there is no record of it. The condition is asked where writes are
    /// put in order: of any number of threads and tasks that insert one key, one succeeds. Needs no
    /// lock of the caller; writers of other keys share their groups.
    ///
    /// Durability and errors as for [`Db::put`]. What a refused write finds is visible to readers,
    /// and so as durable as that; through [`Db::durable`] it is durable.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// assert!(db.insert("email:ada@example.org", b"user:1")?.is_written());
    /// assert!(!db.insert("email:ada@example.org", b"user:2")?.is_written());
    /// # Ok(())
    /// # }
    /// ```
    pub fn insert(&self, key: impl AsKey, value: impl AsValue) -> Result<Outcome<'_>> {
        self.with(WriteOptions::new()).insert(key, value)
    }

    /// As [`Db::insert`], for tasks; see [`Db::put_async`].
    pub async fn insert_async(&self, key: impl AsKey, value: impl AsValue) -> Result<Outcome<'_>> {
        self.with(WriteOptions::new()).insert_async(key, value).await
    }

    /// Sets `key` to `value` if there is a record of it; otherwise as [`Db::insert`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// assert!(!db.update("session", b"renewed")?.is_written(), "it has ended");
    /// # Ok(())
    /// # }
    /// ```
    pub fn update(&self, key: impl AsKey, value: impl AsValue) -> Result<Outcome<'_>> {
        self.with(WriteOptions::new()).update(key, value)
    }

    /// As [`Db::update`], for tasks; see [`Db::put_async`].
    pub async fn update_async(&self, key: impl AsKey, value: impl AsValue) -> Result<Outcome<'_>> {
        self.with(WriteOptions::new()).update_async(key, value).await
    }

    /// Sets `key` to `value` if its newest record has `version`, that is, if nobody has
    /// written it since the caller read it. Otherwise as [`Db::insert`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.put("list", b"a")?;
    /// let list = db.get("list")?.ok_or("not found")?;
    /// let longer = [list.bytes(), b"b"].concat();
    /// assert!(db.put_if_version("list", longer, list.version())?.is_written());
    /// let refused = db.put_if_version("list", b"", list.version())?;
    /// assert_eq!(refused.found().ok_or("not found")?, b"ab");
    /// # Ok(())
    /// # }
    /// ```
    pub fn put_if_version(
        &self,
        key: impl AsKey,
        value: impl AsValue,
        version: u64,
    ) -> Result<Outcome<'_>> {
        self.with(WriteOptions::new()).put_if_version(key, value, version)
    }

    /// As [`Db::put_if_version`], for tasks; see [`Db::put_async`].
    pub async fn put_if_version_async(
        &self,
        key: impl AsKey,
        value: impl AsValue,
        version: u64,
    ) -> Result<Outcome<'_>> {
        self.with(WriteOptions::new()).put_if_version_async(key, value, version).await
    }

    /// Removes `key` if its newest record has `version`; otherwise as [`Db::insert`].
    pub fn delete_if_version(&self, key: impl AsKey, version: u64) -> Result<Outcome<'_>> {
        self.with(WriteOptions::new()).delete_if_version(key, version)
    }

    /// As [`Db::delete_if_version`], for tasks; see [`Db::put_async`].
    pub async fn delete_if_version_async(
        &self,
        key: impl AsKey,
        version: u64,
    ) -> Result<Outcome<'_>> {
        self.with(WriteOptions::new()).delete_if_version_async(key, version).await
    }

    /// Sets `key` to `value`, and returns the record that was there: no other write comes between
    /// the two. Durability and errors as for [`Db::put`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// assert!(db.get_and_put("leader", b"a")?.1.is_none());
    /// let (commit, replaced) = db.get_and_put("leader", b"b")?;
    /// let replaced = replaced.ok_or("it was put before")?;
    /// assert_eq!(replaced, b"a");
    /// assert!(replaced.version() < commit.lsn);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_and_put(
        &self,
        key: impl AsKey,
        value: impl AsValue,
    ) -> Result<(Commit, Option<Record<'_>>)> {
        self.with(WriteOptions::new()).get_and_put(key, value)
    }

    /// As [`Db::get_and_put`], for tasks; see [`Db::put_async`], and [`Db::patch_async`] for how
    /// long a task may have to wait on a key that others never stop writing.
    pub async fn get_and_put_async(
        &self,
        key: impl AsKey,
        value: impl AsValue,
    ) -> Result<(Commit, Option<Record<'_>>)> {
        self.with(WriteOptions::new()).get_and_put_async(key, value).await
    }
}

impl<'db, S: Storage> Writer<'db, S> {
    /// As [`Db::insert`].
    pub fn insert(self, key: impl AsKey, value: impl AsValue) -> Result<Outcome<'db>> {
        self.put_expecting(&key, &value, Expected::Absent)
    }

    /// As [`Db::insert_async`].
    pub async fn insert_async(self, key: impl AsKey, value: impl AsValue) -> Result<Outcome<'db>> {
        self.put_expecting_async(key, value, Expected::Absent).await
    }

    /// As [`Db::update`].
    pub fn update(self, key: impl AsKey, value: impl AsValue) -> Result<Outcome<'db>> {
        self.put_expecting(&key, &value, Expected::Present)
    }

    /// As [`Db::update_async`].
    pub async fn update_async(self, key: impl AsKey, value: impl AsValue) -> Result<Outcome<'db>> {
        self.put_expecting_async(key, value, Expected::Present).await
    }

    /// As [`Db::put_if_version`].
    pub fn put_if_version(
        self,
        key: impl AsKey,
        value: impl AsValue,
        version: u64,
    ) -> Result<Outcome<'db>> {
        self.put_expecting(&key, &value, Expected::Version(version))
    }

    /// As [`Db::put_if_version_async`].
    pub async fn put_if_version_async(
        self,
        key: impl AsKey,
        value: impl AsValue,
        version: u64,
    ) -> Result<Outcome<'db>> {
        self.put_expecting_async(key, value, Expected::Version(version)).await
    }

    /// As [`Db::delete_if_version`].
    pub fn delete_if_version(self, key: impl AsKey, version: u64) -> Result<Outcome<'db>> {
        let key = self.space()?.encode(&key)?;
        let condition = Some(Expected::Version(version));
        let (kind, key) = (ChangeKind::Delete, key.as_ref());
        let change = Change { kind, key, bytes: &[], expires_ms: 0, condition };
        Outcome::of(
            self.core.committer.write_changes(&[change], self.promise()),
            self.default_kind(),
        )
    }

    /// As [`Db::delete_if_version_async`].
    pub async fn delete_if_version_async(
        self,
        key: impl AsKey,
        version: u64,
    ) -> Result<Outcome<'db>> {
        let key = self.space()?.encode(&key)?;
        let condition = Some(Expected::Version(version));
        let (kind, key) = (ChangeKind::Delete, key.as_ref());
        let change = Change { kind, key, bytes: &[], expires_ms: 0, condition };
        let written = self.core.committer.write_changes_async(&[change], self.promise()).await;
        Outcome::of(written, self.default_kind())
    }

    /// As [`Db::get_and_put`].
    pub fn get_and_put(
        self,
        key: impl AsKey,
        value: impl AsValue,
    ) -> Result<(Commit, Option<Record<'db>>)> {
        let kind = self.default_kind();
        let key = self.space()?.encode(&key)?;
        let change = put(key.as_ref(), self.core.checked(self.table, &value)?, None);
        let (commit, replaced) = self.core.committer.replace(change, self.promise())?;
        Ok((commit, replaced.map(|replaced| Record::new(replaced, kind))))
    }

    /// As [`Db::get_and_put_async`].
    pub async fn get_and_put_async(
        self,
        key: impl AsKey,
        value: impl AsValue,
    ) -> Result<(Commit, Option<Record<'db>>)> {
        let kind = self.default_kind();
        let key = self.space()?.encode(&key)?;
        let change = put(key.as_ref(), self.core.checked(self.table, &value)?, None);
        let (commit, replaced) = self.core.committer.replace_async(change, self.promise()).await?;
        Ok((commit, replaced.map(|replaced| Record::new(replaced, kind))))
    }

    fn put_expecting(
        self,
        key: &dyn AsKey,
        value: &impl AsValue,
        expected: Expected,
    ) -> Result<Outcome<'db>> {
        let key = self.space()?.encode(key)?;
        self.core.committer.expect_write(self.table_index(), key.as_ref());
        let change = put(key.as_ref(), self.core.checked(self.table, value)?, Some(expected));
        Outcome::of(
            self.core.committer.write_changes(&[change], self.promise()),
            self.default_kind(),
        )
    }

    async fn put_expecting_async(
        self,
        key: impl AsKey,
        value: impl AsValue,
        expected: Expected,
    ) -> Result<Outcome<'db>> {
        let key = self.space()?.encode(&key)?;
        let change = put(key.as_ref(), self.core.checked(self.table, &value)?, Some(expected));
        let written = self.core.committer.write_changes_async(&[change], self.promise()).await;
        Outcome::of(written, self.default_kind())
    }
}

/// The change that sets `key` to `value`.
fn put<'a>(key: &'a [u8], value: Checked<'a>, condition: Option<Expected>) -> Change<'a> {
    let Checked { bytes, expires_ms } = value;
    Change { kind: ChangeKind::Put, key, bytes, expires_ms, condition }
}
