//! A batch that goes on in another table.

use uarr_uring::Storage;

use crate::api::batch::Batch;
use crate::api::db::Db;
use crate::error::Error;

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
        if !std::ptr::eq(table.core(), self.core) {
            let what = "a batch takes tables of its own database, this one is of another";
            return self.refuse(Error::invalid(what));
        }
        self.table = table.table.as_deref();
        if self.table.is_some_and(|table| table.is_durable) {
            self.options = self.options.durable();
        }
        self
    }
}
