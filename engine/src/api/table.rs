//! Tables: made, opened, listed, dropped.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use uarr_layout::uarr::uarr;
use uarr_uring::{Storage, System};

use crate::api::counter::Increment;
use crate::api::db::Db;
use crate::api::outcome::Outcome;
use crate::api::own_thread::on_own_thread;
use crate::catalog::{CATALOG, CatalogEntry, NEXT_KEY, catalog_key, check_name, mark_key, marked};
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::Expiry;
use crate::key::KeyKind;
use crate::table_prefix::{FIRST_NUMBER, TablePrefix};

/// A table of a database: a key space of its own, with keys of its own kind. It has all verbs of
/// [`Db`]. Those that are about records are about the table's: `table.get(key)`, `table.range(..)`,
/// `table.len()`, `table.transaction(..)`, `table.acquire(..)`. The others are about the database.
///
/// Any number of threads may have handles of one table. A handle keeps the database open.
pub struct Table<S: Storage = System> {
    db: Db<S>,
}

impl<S: Storage> Clone for Table<S> {
    fn clone(&self) -> Self {
        Self { db: self.db.clone() }
    }
}

impl<S: Storage> Deref for Table<S> {
    type Target = Db<S>;

    fn deref(&self) -> &Db<S> {
        &self.db
    }
}

impl<S: Storage> fmt::Debug for Table<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name()).field("keys", &self.key_kind()).finish()
    }
}

impl<S: Storage> Table<S> {
    /// Its name.
    pub fn name(&self) -> &str {
        self.db.table.as_ref().map_or("", |table| &table.name)
    }

    /// Its number, which no other table has had or will have: from 16 on.
    pub fn number(&self) -> u32 {
        self.db.table.as_ref().map_or(0, |table| table.number)
    }
}

/// What a table is to be like. What is not said is as in the table that is there, or, of a new one,
/// as [`TableOptions::new`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    keys: Option<KeyKind>,
    expires_in: Option<Duration>,
    is_durable: Option<bool>,
}

impl TableOptions {
    /// Byte keys, records that do not expire, and the durability of the database.
    pub const fn new() -> Self {
        Self { keys: None, expires_in: None, is_durable: None }
    }

    /// The kind of its keys. A table keeps it.
    #[must_use]
    pub const fn keys(self, kind: KeyKind) -> Self {
        Self { keys: Some(kind), ..self }
    }

    /// Records whose writers do not say when they expire do so this long after the write, counters
    /// after the first one; at least 1 ms. [`crate::Expires::expiring`] with [`Expiry::Never`] has
    /// a record stay.
    #[must_use]
    pub const fn expires_in(self, time: Duration) -> Self {
        Self { expires_in: Some(time), ..self }
    }

    /// Each write is durable before it is acknowledged, whatever the database promises.
    #[must_use]
    pub const fn durable(self) -> Self {
        Self { is_durable: Some(true), ..self }
    }

    /// The entry of a new table.
    fn entry(self, number: u32) -> CatalogEntry {
        let kind = self.keys.unwrap_or_default();
        let is_durable = self.is_durable.unwrap_or(false);
        CatalogEntry { number, kind, expires_in_ms: self.expires_in_ms().unwrap_or(0), is_durable }
    }

    fn expires_in_ms(self) -> Option<u64> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        self.expires_in.map(ms)
    }

    /// Errors: table `name` is not like that.
    fn check(self, name: &str, entry: &CatalogEntry) -> Result<()> {
        let differs = |what: &str, asked: &dyn fmt::Display, found: &dyn fmt::Display| {
            Err(Error::invalid(format!(
                "table '{name}' has {what} {found}, but {asked} was asked for; ask for {found}, or \
                 for none"
            )))
        };
        if let Some(asked) = self.keys.filter(|asked| *asked != entry.kind) {
            return differs("the kind of keys", &asked, &entry.kind);
        }
        if let Some(asked) = self.expires_in_ms().filter(|asked| *asked != entry.expires_in_ms) {
            return differs("the time to live in ms", &asked, &entry.expires_in_ms);
        }
        match self.is_durable.filter(|asked| *asked != entry.is_durable) {
            Some(asked) => differs("durable writes:", &asked, &entry.is_durable),
            None => Ok(()),
        }
    }
}

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
    /// When its records expire, if their writers do not say it.
    pub expiry: Expiry,
    /// Whether each write is durable before it is acknowledged.
    pub durable: bool,
    /// How many keys it has; as sure as [`Db::len`] is.
    pub key_count: u64,
}

impl<S: Storage> Db<S> {
    /// The table `name`, with byte keys if it has to be made: for others see [`Db::table_with`]. A
    /// new table is durable before this returns.
    ///
    /// A name is text of 1 to 255 bytes without control characters. Table handles are cheap; a
    /// program makes each once, and clones it.
    ///
    /// Errors: `InvalidArgument`, and those of [`Db::put`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// let (users, emails) = (db.table("users")?, db.table("emails")?);
    /// users.put("ada", b"Ada Lovelace")?;
    /// assert!(emails.get("ada")?.is_none() && db.get("ada")?.is_none());
    ///
    /// let mut batch = db.batch(); // both, or none
    /// batch.of(&users).put("bob", b"Bob").of(&emails).put("bob@example.org", b"bob");
    /// batch.commit()?;
    /// assert_eq!((users.len(), emails.len()), (2, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn table(&self, name: &str) -> Result<Table<S>> {
        self.table_with(name, TableOptions::new())
    }

    /// As [`Db::table`], with options: a new table gets them, one that is there must have them.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use std::time::Duration;
    /// use uarr::{KeyKind, TableOptions};
    ///
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// let options = TableOptions::new().keys(KeyKind::U64).expires_in(day);
    /// let sessions = db.table_with("sessions", options)?;
    /// sessions.put(7u64, b"ada")?; // until tomorrow
    /// assert!(sessions.put("seven", b"ada").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn table_with(&self, name: &str, options: TableOptions) -> Result<Table<S>> {
        check_name(name)?;
        let catalog = self.catalog();
        loop {
            let found = catalog.get(name)?;
            if let Some(record) = found {
                let entry = CatalogEntry::read(name, &record)?;
                options.check(name, &entry)?;
                // Who made it may still wait for that to be durable.
                if record.version() > self.core().records().visible.durable_lsn() {
                    self.sync()?;
                }
                return Ok(self.handle_of(name, &entry));
            }
            let number = self.new_number(&catalog)?;
            let entry = options.entry(number);
            // Another thread may have made it meanwhile.
            if catalog.durable().insert(name, entry.to_uarr())?.is_written() {
                return Ok(self.handle_of(name, &entry));
            }
        }
    }

    /// As [`Db::table_with`], for tasks of any runtime: a thread of its own does it.
    pub async fn table_async(&self, name: &str, options: TableOptions) -> Result<Table<S>> {
        let (db, name) = (self.clone(), name.to_owned());
        on_own_thread(move || db.table_with(&name, options)).await
    }

    /// The table `name`, if it is there.
    ///
    /// Errors: as for [`Db::get`].
    pub fn find_table(&self, name: &str) -> Result<Option<Table<S>>> {
        check_name(name)?;
        let catalog = self.catalog();
        let entry = catalog.get(name)?.map(|record| CatalogEntry::read(name, &record)).transpose();
        Ok(entry?.map(|entry| self.handle_of(name, &entry)))
    }

    /// All tables but the default one, by name.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.table("users")?.put("ada", b"Ada")?;
    /// let tables = db.tables()?;
    /// assert_eq!((tables[0].name.as_str(), tables[0].key_count), ("users", 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn tables(&self) -> Result<Vec<TableInfo>> {
        let mut tables = Vec::new();
        for record in self.catalog().iter() {
            let record = record?;
            // Others of the catalog's records begin with a byte that no name has.
            let Some(name) = std::str::from_utf8(record.key()).ok() else { continue };
            if check_name(name).is_err() {
                continue;
            }
            let entry = CatalogEntry::read(name, &record)?;
            let table = self.handle_of(name, &entry);
            tables.push(TableInfo {
                name: name.to_owned(),
                number: entry.number,
                keys: entry.kind,
                expiry: table.db.table.as_ref().map_or(Expiry::Never, |table| table.expiry()),
                durable: entry.is_durable,
                key_count: table.len(),
            });
        }
        Ok(tables)
    }

    /// Drops the table `name` with all its records, at once and durably; whether it was there.
    /// From then on its handles get `TableNotFound`, even after a new table of this name is made,
    /// which shares nothing with it. Snapshots and transactions from before still read it, through
    /// handles from before. Its space comes back in the background, without a deletion for each
    /// record, once no snapshot, iterator or transaction is older than the drop.
    ///
    /// Errors: as for [`Db::put`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// let old = db.table("users")?;
    /// old.put("ada", b"Ada")?;
    /// assert!(db.drop_table("users")?);
    /// assert!(old.get("ada").is_err());
    /// assert!(db.table("users")?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn drop_table(&self, name: &str) -> Result<bool> {
        Ok(self.replace_table(name, |_| None)?.is_some())
    }

    /// As [`Db::drop_table`], for tasks of any runtime: a thread of its own does it.
    pub async fn drop_table_async(&self, name: &str) -> Result<bool> {
        let (db, name) = (self.clone(), name.to_owned());
        on_own_thread(move || db.drop_table(&name)).await
    }

    /// Replaces the table `name` by an empty one of the same kind and options, at once and durably:
    /// what [`Db::drop_table`] says of the old one holds. `None`: there is none.
    ///
    /// Errors: as for [`Db::put`].
    pub fn clear_table(&self, name: &str) -> Result<Option<Table<S>>> {
        check_name(name)?;
        let number = self.new_number(&self.catalog())?;
        let replaced =
            self.replace_table(name, |entry| Some(CatalogEntry { number, ..entry.clone() }))?;
        Ok(replaced.flatten().map(|entry| self.handle_of(name, &entry)))
    }

    /// Drops the table `name`, and puts what `new` makes of its entry in its place. `None`: there
    /// was none.
    fn replace_table(
        &self,
        name: &str,
        new: impl Fn(&CatalogEntry) -> Option<CatalogEntry>,
    ) -> Result<Option<Option<CatalogEntry>>> {
        check_name(name)?;
        let catalog = self.catalog();
        loop {
            let Some(record) = catalog.get(name)? else {
                // Who dropped it may still wait for that to be durable.
                return self.sync().map(|()| None);
            };
            let (entry, version) = (CatalogEntry::read(name, &record)?, record.version());
            drop(record);
            let new = new(&entry);
            let refusal = self.core().committer.refuse_table(entry.prefix());
            let mut batch = catalog.durable().batch();
            match &new {
                None => batch.delete_if_version(name, version),
                Some(new) => batch.put_if_version(name, new.to_uarr(), version),
            };
            let dropped = batch.put(mark_key(entry.prefix()), b"").commit_if()?;
            if let Some(Outcome::Written(commit)) = dropped {
                refusal.keep();
                self.core().remove_table(entry.prefix(), commit.lsn);
                return Ok(Some(new));
            }
            // Somebody else has dropped it.
        }
    }

    /// A number that no table has had.
    fn new_number(&self, catalog: &Self) -> Result<u32> {
        let (before, last) = (i64::from(FIRST_NUMBER) - 1, i64::from(u32::MAX));
        let next = Increment::by(1).initial(before).max(last);
        let next = catalog.durable().increment(NEXT_KEY, next)?;
        let number = u32::try_from(next.value).ok().filter(|_| next.commit.is_some());
        number.ok_or_else(|| {
            Error::new(ErrorKind::NoSpace, "no number is left for a table of this database")
        })
    }

    /// Whether there is, or was, a table besides the default one.
    pub(crate) fn has_had_tables(&self) -> Result<bool> {
        Ok(self.catalog().first()?.is_some())
    }

    /// Has the catalog name each table whose number and kind `prefixes` has, and give out none of
    /// these numbers again: names and counter may be lost.
    pub(crate) fn complete_catalog(&self, prefixes: &BTreeSet<TablePrefix>) -> Result<()> {
        let catalog = self.catalog();
        let mut known = BTreeSet::new();
        for record in catalog.iter() {
            let record = record?;
            known.extend(marked(catalog_key(record.key()).as_ref()));
            let entry = std::str::from_utf8(record.key()).map(|n| CatalogEntry::read(n, &record));
            known.extend(entry.into_iter().flatten().map(|entry| entry.prefix()));
        }
        let is_callers = |prefix: &&TablePrefix| prefix.number() >= FIRST_NUMBER;
        for prefix in prefixes.difference(&known).filter(is_callers) {
            let Some(kind) = KeyKind::of_table(*prefix) else { continue };
            let entry = TableOptions::new().keys(kind).entry(prefix.number());
            let mut name = format!("recovered-{}", prefix.number());
            while !catalog.durable().insert(&name, entry.to_uarr())?.is_written() {
                name.push('+');
            }
        }
        let highest = prefixes.union(&known).map(|prefix| prefix.number()).max().unwrap_or(0);
        let last = i64::from(highest);
        if self.last_number(&catalog)? < last {
            catalog.durable().put(NEXT_KEY, uarr!(last))?;
        }
        Ok(())
    }

    /// The number that was given out last.
    fn last_number(&self, catalog: &Self) -> Result<i64> {
        let next = catalog.get(NEXT_KEY)?;
        let number = next.and_then(|record| record.uarr().ok().and_then(|number| number.as_i64()));
        Ok(number.unwrap_or(0))
    }

    fn catalog(&self) -> Self {
        let entry = CatalogEntry {
            number: CATALOG.prefix.map_or(0, |prefix| prefix.number()),
            kind: CATALOG.kind,
            expires_in_ms: 0,
            is_durable: false,
        };
        let table = Some(self.core().open_table("", &entry));
        Self { handle: self.handle.clone(), table }
    }

    fn handle_of(&self, name: &str, entry: &CatalogEntry) -> Table<S> {
        let table = Some(self.core().open_table(name, entry));
        Table { db: Self { handle: Arc::clone(&self.handle), table } }
    }
}
