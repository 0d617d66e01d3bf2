//! A batch that goes on in another table.

use uarr_uring::Storage;

use crate::api::batch::Batch;
use crate::api::db::Db;
use crate::core::Core;
use crate::error::{Error, Result};

impl<'db, S: Storage> Batch<'db, S> {
    /// The changes that follow are of `table`, or of the default one for the handle of the
    /// database.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// let (users, log) = (db.table("users")?, db.table("log")?);
    /// let mut batch = db.batch();
    /// batch.of(&users).put("ada", b"Ada").of(&log).put("1", b"Ada came");
    /// batch.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn of(&mut self, table: &'db Db<S>) -> &mut Self {
        if let Err(error) = table.check_same(self.core) {
            return self.refuse(error);
        }
        self.go_on_in(table.table.as_deref());
        self
    }
}

impl<S: Storage> Db<S> {
    /// Errors: it is a handle of another database than that of a batch, which has `core`.
    pub(in crate::api) fn check_same(&self, core: &Core<S>) -> Result<()> {
        if std::ptr::eq(self.core(), core) {
            return Ok(());
        }
        Err(Error::invalid("a batch takes tables of its own database, this one is of another"))
    }
}
