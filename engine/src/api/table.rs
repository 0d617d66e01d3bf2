//! Tables: made, opened, dropped.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use uarr_layout::uarr::uarr;
use uarr_uring::{Storage, System};

use crate::api::counter::Increment;
use crate::api::db::Db;
use crate::api::outcome::Outcome;
use crate::api::own_thread::on_own_thread;
use crate::api::table_options::TableOptions;
use crate::catalog::{CatalogEntry, NEXT_KEY, catalog_key, check_name, mark_key, marked};
use crate::error::{Error, ErrorKind, Result};
use crate::key::KeyKind;
use crate::structure::Structure;
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
                self.make_durable(record.version())?;
                return self.handle_of(name, &entry, record.version());
            }
            options.check_possible()?;
            let number = self.new_number(&catalog)?;
            let entry = options.entry(number);
            // Another thread may have made it meanwhile.
            if let Outcome::Written(commit) = catalog.durable().insert(name, entry.to_uarr())? {
                return self.handle_of(name, &entry, commit.lsn);
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
        let Some(record) = catalog.get(name)? else { return Ok(None) };
        let entry = CatalogEntry::read(name, &record)?;
        self.handle_of(name, &entry, record.version()).map(Some)
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
        let new = replaced.and_then(|(new, version)| Some((new?, version)));
        new.map(|(entry, version)| self.handle_of(name, &entry, version)).transpose()
    }

    /// Drops the table `name`, and puts what `new` makes of its entry in its place: that, and the
    /// LSN with which it happened, before all later versions. `None`: there was none.
    fn replace_table(
        &self,
        name: &str,
        new: impl Fn(&CatalogEntry) -> Option<CatalogEntry>,
    ) -> Result<Option<(Option<CatalogEntry>, u64)>> {
        check_name(name)?;
        let catalog = self.catalog();
        loop {
            let Some((entry, version)) = catalog.newest_entry(name)? else { return Ok(None) };
            let new = new(&entry);
            let refusal = self.core().committer.refuse_table(entry.prefix());
            let mut batch = catalog.durable().batch();
            match &new {
                None => batch.delete_if_version(name, version),
                Some(new) => batch.put_if_version(name, new.to_uarr(), version),
            };
            let dropped = batch.put(mark_key(entry.prefix()), b"").commit_if()?;
            if let Some(Outcome::Written(commit)) = dropped {
                let removed = self.core().remove_table(entry.prefix(), commit.lsn);
                refusal.keep();
                removed?;
                return Ok(Some((new, commit.lsn)));
            }
            // Somebody else has dropped it.
        }
    }

    /// What this catalog says of table `name`, and the version of that; `None`, durably: it has no
    /// such table.
    pub(in crate::api) fn newest_entry(&self, name: &str) -> Result<Option<(CatalogEntry, u64)>> {
        match self.get(name)? {
            Some(record) => Ok(Some((CatalogEntry::read(name, &record)?, record.version()))),
            // Who dropped it may still wait for that to be durable.
            None => self.sync().map(|()| None),
        }
    }

    /// Returns when the record of the catalog with `version`, which is visible, is durable: who
    /// wrote it may still wait for that.
    pub(in crate::api) fn make_durable(&self, version: u64) -> Result<()> {
        let is_durable = version <= self.core().records().visible.durable_lsn();
        if is_durable { Ok(()) } else { self.sync() }
    }

    /// A number that no table has had. Errors: also damage, if the counter is behind a table.
    fn new_number(&self, catalog: &Self) -> Result<u32> {
        // Before the counter: what is known now was given out before.
        let highest = self.core().records().tables.highest_number();
        let (before, last) = (i64::from(FIRST_NUMBER) - 1, i64::from(u32::MAX));
        let next = Increment::by(1).initial(before).max(last);
        let next = catalog.durable().increment(NEXT_KEY, next)?;
        let number = u32::try_from(next.value).ok().filter(|_| next.commit.is_some());
        let number = number.ok_or_else(|| {
            Error::new(ErrorKind::NoSpace, "no number is left for a table of this database")
        })?;
        if number <= highest {
            return Err(Structure::data_file().damage(format!(
                "the catalog's counter gave out number {number}, but there is, or was, a table \
                 with number {highest}"
            )));
        }
        Ok(number)
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
            let (number, is_unordered) = (prefix.number(), !prefix.is_ordered());
            let entry = CatalogEntry { number, is_unordered, ..CatalogEntry::new(kind) };
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

    pub(in crate::api) fn catalog(&self) -> Self {
        let table = self.core().open_table("", &CatalogEntry::of_catalog(), 0);
        let table = Some(table.expect("no other table has its number"));
        Self { handle: self.handle.clone(), table }
    }

    /// A handle of table `name`, of which the catalog's record with `version` says `entry`.
    pub(in crate::api) fn handle_of(
        &self,
        name: &str,
        entry: &CatalogEntry,
        version: u64,
    ) -> Result<Table<S>> {
        let table = Some(self.core().open_table(name, entry, version)?);
        Ok(Table { db: Self { handle: Arc::clone(&self.handle), table } })
    }
}

#[cfg(test)]
mod tests {
    use uarr_disk_sim::Memory;

    use super::*;

    fn open() -> Db<Memory> {
        let builder = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
        let builder = builder.address_space_bytes(1 << 28).background(false);
        builder.open_on(Memory::new()).unwrap()
    }

    fn damage<T>(result: Result<T>) -> String {
        let error = result.err().expect("the catalog contradicts itself");
        assert_eq!(error.kind(), ErrorKind::Corruption);
        error.to_string()
    }

    /// Two tables would have shared an index.
    #[test]
    fn a_counter_that_is_behind_is_damage() {
        let db = open();
        db.table("t").unwrap().put("k", b"v").unwrap();
        for is_dropped in [false, true] {
            let highest = db.core().records().tables.highest_number();
            db.catalog().put(NEXT_KEY, uarr!(FIRST_NUMBER - 1)).unwrap();
            let message = damage(db.table("u"));
            assert!(message.contains(&format!("number {highest}")), "{message}");
            assert!(db.find_table("u").unwrap().is_none());
            db.catalog().put(NEXT_KEY, uarr!(highest)).unwrap();
            if !is_dropped {
                db.drop_table("t").unwrap();
                while db.step().unwrap() {}
            }
        }
        assert!(db.table("u").unwrap().is_empty());
    }

    #[test]
    fn two_names_of_one_table_are_damage() {
        let db = open();
        let table = db.table("a").unwrap();
        table.put("k", b"v").unwrap();
        let entry = TableOptions::new().entry(table.number());
        db.catalog().put("b", entry.to_uarr()).unwrap();
        assert!(damage(db.table("b")).contains("two tables with number 16"));
        assert!(damage(db.find_table("b")).contains("two tables"));
        assert_eq!(db.tables().iter().filter(|table| table.is_ok()).count(), 1);
        drop(table);
        assert!(db.drop_table("a").unwrap());
        while db.step().unwrap() {}
        assert!(damage(db.drop_table("b")).contains("two tables"), "it is removed once");
        while db.step().unwrap() {}
        assert!(!db.drop_table("b").unwrap());
    }

    #[test]
    fn what_an_older_record_says_comes_too_late() {
        let db = open();
        let table = db.table("t").unwrap();
        let version = db.catalog().get("t").unwrap().unwrap().version();
        let old = TableOptions::new().entry(table.number());
        let hour = std::time::Duration::from_secs(3600);
        db.alter_table("t", TableOptions::new().expires_in(hour)).unwrap();
        // A thread that has read it before opens its handle behind the change.
        let late = db.handle_of("t", &old, version).unwrap();
        for table in [&table, &late] {
            let shared = table.db.table.as_ref().unwrap();
            assert_eq!(shared.expiry(), crate::expiry::Expiry::In(hour));
        }
    }

    /// A handle that comes late entered the index of a removed table again.
    #[test]
    fn nothing_is_entered_behind_a_removal() {
        let db = open();
        let table = db.table("t").unwrap();
        table.put("k", b"v").unwrap();
        let entry = TableOptions::new().entry(table.number());
        db.drop_table("t").unwrap();
        while db.step().unwrap() {}
        let tables = &db.core().records().tables;
        let is_there = || tables.others().iter().any(|o| o.index.space == table.space());
        assert!(!is_there());
        let late = db.handle_of("t", &entry, 1).unwrap();
        assert_eq!(late.get("k").unwrap_err().kind(), ErrorKind::TableNotFound);
        assert!(!is_there());
    }
}
