//! A transaction that goes on in another table than the one it was begun in.

use std::fmt;

use uarr_uring::{Storage, System};

use crate::api::db::Db;
use crate::api::key_range::{KeyRange, StoredRange};
use crate::api::owned_record::OwnedRecord;
use crate::api::transaction::Transaction;
use crate::api::transaction_range::TransactionRange;
use crate::error::{Error, Result};
use crate::expiry::AsValue;
use crate::key::AsKey;
use crate::versions::open_table::OpenTable;

/// The verbs of a [`Transaction`] in one table; made by [`Transaction::of`].
pub struct TransactionTable<'tx, S: Storage = System> {
    pub(in crate::api) transaction: &'tx mut Transaction<S>,
    pub(in crate::api) table: Option<&'tx OpenTable>,
}

impl<S: Storage> fmt::Debug for TransactionTable<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TransactionTable");
        shown.field("transaction", self.transaction);
        shown.field("table", &self.table.map(|table| &table.name)).finish()
    }
}

impl<S: Storage> Transaction<S> {
    /// The transaction in the table of `table`, or in the default one for the handle of the
    /// database: what is written in several tables is committed together, or not at all.
    ///
    /// Errors: `InvalidArgument` for a table of another database, `TableNotFound` if it was
    /// dropped before the transaction began.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// let (users, emails) = (db.table("users")?, db.table("emails")?);
    /// db.transaction(|tx| {
    ///     if tx.of(&emails)?.contains("ada@example.org")? {
    ///         return Ok(false); // taken
    ///     }
    ///     tx.of(&emails)?.put("ada@example.org", "ada")?;
    ///     tx.of(&users)?.put("ada", b"Ada Lovelace")?;
    ///     Ok::<_, uarr::Error>(true)
    /// })?;
    /// assert!(users.contains("ada")? && emails.contains("ada@example.org")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn of<'tx>(&'tx mut self, table: &'tx Db<S>) -> Result<TransactionTable<'tx, S>> {
        if !self.is_of(table) {
            return Err(Error::invalid("the table is of another database than the transaction"));
        }
        let table = table.table.as_deref();
        self.check_table(table)?;
        Ok(TransactionTable { transaction: self, table })
    }
}

impl<S: Storage> TransactionTable<'_, S> {
    /// As [`Transaction::get`].
    pub fn get(&self, key: impl AsKey) -> Result<Option<OwnedRecord>> {
        self.transaction.get_in(self.table, &key)
    }

    /// As [`Transaction::contains`].
    pub fn contains(&self, key: impl AsKey) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// As [`Transaction::range`].
    pub fn range(&self, range: impl KeyRange) -> Result<TransactionRange<'_, S>> {
        let range = StoredRange::of(self.transaction.space_of(self.table), range)?;
        Ok(self.transaction.records_in(self.table, range))
    }

    /// As [`Transaction::iter`].
    pub fn iter(&self) -> TransactionRange<'_, S> {
        self.transaction.records_in(self.table, StoredRange::all())
    }

    /// As [`Transaction::prefix`].
    pub fn prefix(&self, prefix: impl AsKey) -> Result<TransactionRange<'_, S>> {
        let range = StoredRange::of_prefix(self.transaction.space_of(self.table), &prefix)?;
        Ok(self.transaction.records_in(self.table, range))
    }

    /// As [`Transaction::put`].
    pub fn put(&mut self, key: impl AsKey, value: impl AsValue) -> Result<()> {
        self.transaction.put_in(self.table, &key, &value)
    }

    /// As [`Transaction::delete`].
    pub fn delete(&mut self, key: impl AsKey) -> Result<()> {
        self.transaction.delete_in(self.table, &key)
    }
}
