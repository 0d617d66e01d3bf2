//! Tables: listed, and how large they are.

use std::time::Duration;

use uarr_index::IndexStats;
use uarr_uring::{MapPin, Storage};

use crate::api::db::Db;
use crate::catalog::{CatalogEntry, check_name, name_lost};
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::key::KeyKind;

/// A table, as [`Db::tables`] tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// The kind of its keys.
    pub keys: KeyKind,
    /// Whether its keys have an order; see [`crate::TableOptions::unordered`].
    pub ordered: bool,
    /// When its records expire, if their writers do not say it.
    pub expiry: Expiry,
    /// Whether each write is durable before it is acknowledged.
    pub durable: bool,
    /// How many keys it has; as sure as [`Db::len`] is.
    pub key_count: u64,
}

impl TableInfo {
    pub(crate) fn new(name: &str, entry: &CatalogEntry, key_count: u64) -> Self {
        let expiry = match entry.expires_in_ms {
            0 => Expiry::Never,
            ms => Expiry::In(Duration::from_millis(ms)),
        };
        let (name, keys, durable) = (name.to_owned(), entry.kind, entry.is_durable);
        let ordered = !entry.is_unordered;
        Self { name, number: entry.number, keys, ordered, expiry, durable, key_count }
    }
}

/// Sizes of a table, as [`Db::table_stats`] tells of them.
///
/// How many bytes its records take is not among them: tables share the chunks of the data file, and
/// what is counted there ([`crate::SpaceStats`]) is counted by chunk.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TableStats {
    /// How many keys it has; as sure as [`Db::len`] is.
    pub key_count: u64,
    /// Bytes of memory that its index takes, both sides of it where there are two.
    pub index_bytes: usize,
    /// Shape of the index: from keys, or from hashes of byte keys, to records.
    pub index: IndexStats,
    /// Shape of the second index that keeps byte keys in order; tables without order have none.
    pub ordered_index: Option<IndexStats>,
}

impl<S: Storage> Db<S> {
    /// All tables but the default one, by name. In place of a table whose record in the catalog is
    /// damaged there is the error, `Corruption`, which says its name as far as that is known; such
    /// a table cannot be opened or dropped, and [`mod@crate::repair`] saves its records. The errors
    /// of [`Db::iter`] can come, too.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.table("users")?.put("ada", b"Ada")?;
    /// for table in db.tables() {
    ///     let table = table?;
    ///     assert_eq!((table.name.as_str(), table.key_count), ("users", 1));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn tables(&self) -> Vec<Result<TableInfo>> {
        let catalog = self.catalog();
        let of_record = |record: Result<crate::Record<'_>>| match record {
            Err(error) => Some(Err(self.named(error))),
            Ok(record) => {
                // Others of the catalog's records begin with a byte that no name has.
                let name = std::str::from_utf8(record.key()).ok()?;
                check_name(name).ok()?;
                Some(self.table_info(name, &record, record.version()))
            }
        };
        catalog.iter().filter_map(of_record).collect()
    }

    fn table_info(&self, name: &str, record: &[u8], version: u64) -> Result<TableInfo> {
        let entry = CatalogEntry::read(name, record)?;
        let table = self.handle_of(name, &entry, version)?;
        Ok(TableInfo::new(name, &entry, table.len()))
    }

    /// `error`, of a record of the catalog, with the name of the table that this seems to be about.
    fn named(&self, error: Error) -> Error {
        let named = error.corruption().and_then(|place| {
            let records = self.core().records();
            let pin = MapPin::enter();
            let reader = records.reader(&pin);
            let key = reader.key_that_seems(place.offset)?;
            let locator = records.tables.newest(key, reader)?;
            let is_there = locator.address() == place.offset;
            is_there.then(|| name_lost(key, error.clone()))
        });
        named.unwrap_or(error)
    }

    /// Sizes of the table of this handle, of the default one for that of the database. Looks at all
    /// nodes of its index, and holds up writers of the table meanwhile.
    ///
    /// Errors: `TableNotFound` if it was dropped.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// let users = db.table("users")?;
    /// users.put("ada", b"Ada")?;
    /// let stats = users.table_stats()?;
    /// assert_eq!((stats.key_count, stats.index.entries), (1, 1));
    /// assert!(stats.index_bytes > 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn table_stats(&self) -> Result<TableStats> {
        let (index, ordered_index) = self.index()?.stats();
        let index_bytes = index.bytes + ordered_index.as_ref().map_or(0, |ordered| ordered.bytes);
        Ok(TableStats { key_count: self.len(), index_bytes, index, ordered_index })
    }
}
