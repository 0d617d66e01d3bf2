//! Changing the options of a table that is there.

use uarr_uring::Storage;

use crate::api::db::Db;
use crate::api::outcome::Outcome;
use crate::api::own_thread::on_own_thread;
use crate::api::table::Table;
use crate::api::table_options::TableOptions;
use crate::catalog::check_name;
use crate::error::Result;

impl<S: Storage> Db<S> {
    /// Changes what `options` says of the table `name`, durably and at once; what they do not say
    /// stays. `None`: there is no such table. When this returns, all of its handles write as the
    /// options say, those that were made before included.
    ///
    /// Records that are there keep their time, and so do those that a batch has collected. What is
    /// staged before the change promises what the table promised then. A transaction in the table
    /// that was begun before conflicts with the change, and runs again.
    ///
    /// Errors: `InvalidArgument` for another kind of keys, which a table keeps; those of
    /// [`Db::put`]. After an `Io` error the next opening decides whether the change is there.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use std::time::Duration;
    /// use uarr::{Expiry, TableOptions};
    ///
    /// let sessions = db.table("sessions")?;
    /// sessions.put("ada", b"stays")?;
    /// let hour = TableOptions::new().expires_in(Duration::from_secs(3600));
    /// assert!(db.alter_table("sessions", hour)?.is_some());
    /// sessions.put("bob", b"for an hour")?;
    /// assert_eq!(sessions.expiry("ada")?, Some(Expiry::Never));
    /// assert_ne!(sessions.expiry("bob")?, Some(Expiry::Never));
    /// db.alter_table("sessions", TableOptions::new().expires_never())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn alter_table(&self, name: &str, options: TableOptions) -> Result<Option<Table<S>>> {
        check_name(name)?;
        let catalog = self.catalog();
        loop {
            let Some((entry, version)) = catalog.newest_entry(name)? else { return Ok(None) };
            options.check_kind(name, &entry)?;
            let altered = options.altered(&entry);
            if altered == entry {
                self.make_durable(version)?;
                return self.handle_of(name, &entry, version).map(Some);
            }
            let put = catalog.durable().put_if_version(name, altered.to_uarr(), version)?;
            if let Outcome::Written(commit) = put {
                assert!(commit.is_durable, "it was asked for");
                // Handles learn of it by this.
                return self.handle_of(name, &altered, commit.lsn).map(Some);
            }
            // Another thread has changed or dropped it.
        }
    }

    /// As [`Db::alter_table`], for tasks of any runtime: a thread of its own does it.
    pub async fn alter_table_async(
        &self,
        name: &str,
        options: TableOptions,
    ) -> Result<Option<Table<S>>> {
        let (db, name) = (self.clone(), name.to_owned());
        on_own_thread(move || db.alter_table(&name, options)).await
    }
}
