//! The tables of a database that is only read.

use uarr_uring::Storage;

use crate::api::owned_record::OwnedRecord;
use crate::api::table_list::TableInfo;
use crate::catalog::{CatalogEntry, catalog_key, check_name};
use crate::error::Result;
use crate::read_only::handle::{ReadOnly, TableHere, lookup};

impl<S: Storage> ReadOnly<S> {
    /// The table `name`, if there is one: a handle whose verbs are about it.
    ///
    /// Errors: as for [`ReadOnly::get`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.table("users")?.put("ada", b"Ada")?;
    /// let reader = uarr::Db::open_read_only(&dir)?;
    /// let users = reader.find_table("users")?.ok_or("not found")?;
    /// assert!(users.contains("ada")? && !reader.contains("ada")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn find_table(&self, name: &str) -> Result<Option<Self>> {
        check_name(name)?;
        let key = catalog_key(name.as_bytes()).as_ref().to_vec();
        let found = self.shared().read(|view| {
            let changes = view.changes_of([key.clone()])?;
            Ok(lookup(view, std::slice::from_ref(&key), &changes)?.pop().flatten())
        })?;
        let entry = found.map(|record| CatalogEntry::read(name, record.bytes())).transpose()?;
        Ok(entry.map(|entry| self.of_table(TableHere { name: name.to_owned(), entry })))
    }

    /// All tables but the default one, by name; counts their keys. In place of a table whose record
    /// in the catalog is damaged there is the error, and the errors of [`ReadOnly::get`] can come.
    pub fn tables(&self) -> Vec<Result<TableInfo>> {
        let of_record = |record: Result<OwnedRecord>| match record {
            Err(error) => Some(Err(error)),
            Ok(record) => {
                // Others of the catalog's records begin with a byte that no name has.
                let name = std::str::from_utf8(record.key()).ok()?;
                check_name(name).ok()?;
                Some(self.table_info(name, record.bytes()))
            }
        };
        self.catalog().iter().filter_map(of_record).collect()
    }

    fn table_info(&self, name: &str, record: &[u8]) -> Result<TableInfo> {
        let entry = CatalogEntry::read(name, record)?;
        let table = self.of_table(TableHere { name: name.to_owned(), entry: entry.clone() });
        Ok(TableInfo::new(name, &entry, table.count_keys()?))
    }

    fn catalog(&self) -> Self {
        let entry = CatalogEntry::of_catalog();
        self.of_table(TableHere { name: String::new(), entry })
    }
}
