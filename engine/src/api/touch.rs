//! The verbs that look at the expiry of a record, and change it.

use uarr_uring::Storage;

use crate::api::db::Db;
use crate::api::writer::Writer;
use crate::commit::receipt::Commit;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::key::AsKey;
use crate::options::WriteOptions;

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
        let expires_ms = self.core.expires_ms(expiry);
        self.core.committer.renew(key.as_ref(), expires_ms, self.options)
    }

    /// As [`Db::touch_async`].
    pub async fn touch_async(self, key: impl AsKey, expiry: Expiry) -> Result<Option<Commit>> {
        let key = self.space()?.encode(&key)?;
        let expires_ms = self.core.expires_ms(expiry);
        self.core.committer.renew_async(key.as_ref(), expires_ms, self.options).await
    }
}
