//! The verbs that look at the expiry of a record, and change it.

use uarr_uring::Storage;

use crate::api::batch::Batch;
use crate::api::collected::Asked;
use crate::api::db::Db;
use crate::api::transaction::Transaction;
use crate::api::transaction_table::TransactionTable;
use crate::api::writer::Writer;
use crate::commit::changes::{Change, ChangeKind, Stop};
use crate::commit::receipt::Commit;
use crate::error::Result;
use crate::expiry::{Expires, Expiry};
use crate::key::AsKey;
use crate::options::WriteOptions;
use crate::versions::open_table::OpenTable;

impl<S: Storage> Db<S> {
    /// When the record of `key` expires; `None`: there is none.
    ///
    /// Errors: as for [`Db::get`].
    pub fn expiry(&self, key: impl AsKey) -> Result<Option<Expiry>> {
        Ok(self.get(key)?.map(|record| record.expiry()))
    }

    /// Sets when the record of `key` expires, whatever it said before; its value stays, whatever
    /// other threads write at the same time. `None`: there is none, or it has expired. The record
    /// is written again, with its value, and so has another version.
    ///
    /// Durability and errors as for [`Db::put`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use std::time::Duration;
    /// use uarr::{Expires, Expiry};
    ///
    /// db.put("session", b"ada".expires_in(Duration::from_secs(60)))?;
    /// assert!(db.touch("session", Expiry::In(Duration::from_secs(3600)))?.is_some());
    /// assert!(matches!(db.expiry("session")?, Some(Expiry::At(_))));
    /// db.touch("session", Expiry::Never)?;
    /// assert_eq!(db.expiry("session")?, Some(Expiry::Never));
    /// assert!(db.touch("nobody", Expiry::Never)?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn touch(&self, key: impl AsKey, expiry: Expiry) -> Result<Option<Commit>> {
        self.with(WriteOptions::new()).touch(key, expiry)
    }

    /// As [`Db::touch`], for tasks; see [`Db::put_async`], and [`Db::patch_async`] for how long a
    /// task may have to wait on a key that others never stop writing.
    pub async fn touch_async(&self, key: impl AsKey, expiry: Expiry) -> Result<Option<Commit>> {
        self.with(WriteOptions::new()).touch_async(key, expiry).await
    }
}

impl<S: Storage> Writer<'_, S> {
    /// As [`Db::touch`].
    pub fn touch(self, key: impl AsKey, expiry: Expiry) -> Result<Option<Commit>> {
        let key = self.space()?.encode(&key)?;
        let change = touched(key.as_ref(), self.core.expires_ms(expiry));
        or_absent(self.core.committer.write_changes(&[change], self.promise()))
    }

    /// As [`Db::touch_async`].
    pub async fn touch_async(self, key: impl AsKey, expiry: Expiry) -> Result<Option<Commit>> {
        let key = self.space()?.encode(&key)?;
        let change = touched(key.as_ref(), self.core.expires_ms(expiry));
        or_absent(self.core.committer.write_changes_async(&[change], self.promise()).await)
    }
}

/// The change that has the record of `key` expire at `expires_ms`.
fn touched(key: &[u8], expires_ms: u64) -> Change<'_> {
    Change { kind: ChangeKind::Touch, key, bytes: &[], expires_ms, condition: None }
}

/// What became of a touch; `None`: there was no record.
fn or_absent(written: std::result::Result<Commit, Stop<'_>>) -> Result<Option<Commit>> {
    match written {
        Ok(commit) => Ok(Some(commit)),
        Err(Stop::Refused { .. }) => Ok(None),
        Err(Stop::Error(error)) => Err(error),
    }
}

impl<S: Storage> Batch<'_, S> {
    /// Sets when the record of `key` expires: the value that an earlier change of this batch leads
    /// to, or else the newest one when the batch is committed, stays as it is. If there is none,
    /// nothing of the batch is written; see [`Batch::commit_if`], which tells of this change.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use std::time::Duration;
    /// use uarr::{Expires, Expiry};
    ///
    /// let hour = Duration::from_secs(3600);
    /// db.put("session", b"ada".expires_in(hour))?;
    /// db.batch().put("seen:ada", b"today").touch("session", Expiry::In(hour)).commit()?;
    /// let refused = db.batch().put("seen:bob", b"today").touch("nobody", Expiry::Never).commit();
    /// assert_eq!(refused.unwrap_err().kind(), uarr::ErrorKind::ConditionFailed);
    /// assert!(!db.contains("seen:bob")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn touch(&mut self, key: impl AsKey, expiry: Expiry) -> &mut Self {
        self.push(&Asked::new(ChangeKind::Touch, &key, &[0u8; 0].expiring(expiry)))
    }
}

impl<S: Storage> Transaction<S> {
    /// When the record of `key` expires; as [`Transaction::get`]. `None`: there is none.
    pub fn expiry(&self, key: impl AsKey) -> Result<Option<Expiry>> {
        Ok(self.get(key)?.map(|record| record.expiry()))
    }

    /// Sets when the record of `key` expires, when it is committed; its value stays. `false`: there
    /// is none, and nothing is written. `key` counts as read.
    ///
    /// Errors: as for [`Transaction::get`] and [`Transaction::put`].
    pub fn touch(&mut self, key: impl AsKey, expiry: Expiry) -> Result<bool> {
        let table = self.table.clone();
        self.touch_in(table.as_deref(), &key, expiry)
    }

    pub(in crate::api) fn touch_in(
        &mut self,
        table: Option<&OpenTable>,
        key: &dyn AsKey,
        expiry: Expiry,
    ) -> Result<bool> {
        let Some(record) = self.get_in(table, key)? else { return Ok(false) };
        self.put_in(table, key, &record.bytes().expiring(expiry))?;
        Ok(true)
    }
}

impl<S: Storage> TransactionTable<'_, S> {
    /// As [`Transaction::expiry`].
    pub fn expiry(&self, key: impl AsKey) -> Result<Option<Expiry>> {
        Ok(self.get(key)?.map(|record| record.expiry()))
    }

    /// As [`Transaction::touch`].
    pub fn touch(&mut self, key: impl AsKey, expiry: Expiry) -> Result<bool> {
        self.transaction.touch_in(self.table, &key, expiry)
    }
}
