//! What a table is to be like.

use std::fmt;
use std::time::Duration;

use uarr_layout::limits::EXPIRES_MS_MAX;

use crate::catalog::CatalogEntry;
use crate::error::{Error, Result};
use crate::key::KeyKind;

/// What a table is to be like. What is not said is as in the table that is there, or, of a new one,
/// as [`TableOptions::new`] says. All but the kind of its keys, and whether they have an order, can
/// be changed with [`crate::Db::alter_table`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    keys: Option<KeyKind>,
    is_unordered: bool,
    /// 0: they do not.
    expires_in_ms: Option<u64>,
    is_durable: Option<bool>,
}

impl TableOptions {
    /// Byte keys in order, records that do not expire, and the durability of the database.
    pub const fn new() -> Self {
        Self { keys: None, is_unordered: false, expires_in_ms: None, is_durable: None }
    }

    /// The kind of its keys. A table keeps it.
    #[must_use]
    pub const fn keys(self, kind: KeyKind) -> Self {
        Self { keys: Some(kind), ..self }
    }

    /// Its keys, which are bytes, have no order: its index takes little more than half the memory,
    /// and a new key a third fewer instructions. A table keeps that. It is for keys that are only
    /// looked up one by one: sessions, caches, blobs by digest.
    ///
    /// All records can still be walked, by [`crate::Db::iter`] and its like, in an order that means
    /// nothing and is another in each life of the database. What needs order is `InvalidArgument`:
    /// ranges other than `..`, `prefix`, `delete_range`, `delete_prefix`, `first`, `last`, `seek`,
    /// and to walk backwards. In a transaction a walk gives what it has written itself first.
    /// [`crate::ReadOnly`] looks through the part of the image that the table has for each key.
    ///
    /// Tables of integers cannot have it: they have one index anyway, the smaller one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use uarr::TableOptions;
    ///
    /// let sessions = db.table_with("sessions", TableOptions::new().unordered())?;
    /// sessions.put("8f14e45f", b"ada")?;
    /// sessions.put("c9f0f895", b"bob")?;
    /// assert_eq!(sessions.get("c9f0f895")?.ok_or("not found")?, b"bob");
    /// assert_eq!(sessions.iter().count(), 2);
    /// assert!(sessions.range("8"..).is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn unordered(self) -> Self {
        Self { is_unordered: true, ..self }
    }

    /// Records whose writers do not say when they expire do so this long after the write, counters
    /// after the first one; at least 1 ms. [`crate::Expires::expiring`] with
    /// [`crate::Expiry::Never`] has a record stay.
    #[must_use]
    pub const fn expires_in(self, time: Duration) -> Self {
        let ms = time.as_millis();
        let ms = if ms > EXPIRES_MS_MAX as u128 { EXPIRES_MS_MAX } else { ms as u64 };
        Self { expires_in_ms: Some(if ms == 0 { 1 } else { ms }), ..self }
    }

    /// Records whose writers do not say when they expire stay until they are deleted.
    #[must_use]
    pub const fn expires_never(self) -> Self {
        Self { expires_in_ms: Some(0), ..self }
    }

    /// Each write is durable before it is acknowledged, whatever the database promises.
    #[must_use]
    pub const fn durable(self) -> Self {
        Self { is_durable: Some(true), ..self }
    }

    /// Writes promise what the database promises, as its [`crate::Durability`] says.
    #[must_use]
    pub const fn durable_as_database(self) -> Self {
        Self { is_durable: Some(false), ..self }
    }

    /// The entry of a new table.
    pub(in crate::api) fn entry(self, number: u32) -> CatalogEntry {
        let (kind, is_unordered) = (self.keys.unwrap_or_default(), self.is_unordered);
        assert!(!(is_unordered && kind.is_int()), "the caller has checked the options");
        self.altered(&CatalogEntry { number, is_unordered, ..CatalogEntry::new(kind) })
    }

    /// What becomes of a table with `entry`, whose kind of keys is the one asked for.
    pub(in crate::api) fn altered(self, entry: &CatalogEntry) -> CatalogEntry {
        assert!(
            self.keys.is_none_or(|kind| kind == entry.kind),
            "a table keeps the kind of its keys"
        );
        CatalogEntry {
            expires_in_ms: self.expires_in_ms.unwrap_or(entry.expires_in_ms),
            is_durable: self.is_durable.unwrap_or(entry.is_durable),
            ..entry.clone()
        }
    }

    /// Errors: no table can be like that.
    pub(in crate::api) fn check_possible(self) -> Result<()> {
        match self.keys.filter(|kind| self.is_unordered && kind.is_int()) {
            None => Ok(()),
            Some(kind) => Err(Error::invalid(format!(
                "a table with {kind} keys has one index, and its order costs nothing: ask for \
                 {kind} keys without unordered, or for bytes keys"
            ))),
        }
    }

    /// Errors: table `name` has keys of another kind, or an order that was not asked for.
    pub(in crate::api) fn check_kind(self, name: &str, entry: &CatalogEntry) -> Result<()> {
        self.check_possible()?;
        if self.is_unordered && !entry.is_unordered {
            return Err(Error::invalid(format!(
                "table '{name}' has keys in order and keeps them so, but an unordered one was \
                 asked for; copy its records to a new table that is unordered"
            )));
        }
        match self.keys.filter(|asked| *asked != entry.kind) {
            None => Ok(()),
            Some(asked) => Err(Error::invalid(format!(
                "table '{name}' has {} keys and keeps them, but {asked} keys were asked for; copy \
                 its records to a new table with {asked} keys",
                entry.kind
            ))),
        }
    }

    /// Errors: table `name` is not like that.
    pub(in crate::api) fn check(self, name: &str, entry: &CatalogEntry) -> Result<()> {
        let differs = |what: &str, asked: &dyn fmt::Display, found: &dyn fmt::Display| {
            Err(Error::invalid(format!(
                "table '{name}' has {what} {found}, but {asked} was asked for; ask for {found}, or \
                 for none, or change the table with alter_table"
            )))
        };
        self.check_possible()?;
        if self.is_unordered && !entry.is_unordered {
            return Err(Error::invalid(format!(
                "table '{name}' has keys in order, but an unordered one was asked for; ask for \
                 one without saying so, or copy its records to a new table that is unordered"
            )));
        }
        if let Some(asked) = self.keys.filter(|asked| *asked != entry.kind) {
            return Err(Error::invalid(format!(
                "table '{name}' has the kind of keys {}, but {asked} was asked for; ask for {}, or \
                 for none",
                entry.kind, entry.kind
            )));
        }
        let ms = self.expires_in_ms.filter(|asked| *asked != entry.expires_in_ms);
        if let Some(asked) = ms {
            return differs("the time to live in ms", &asked, &entry.expires_in_ms);
        }
        match self.is_durable.filter(|asked| *asked != entry.is_durable) {
            Some(asked) => differs("durable writes:", &asked, &entry.is_durable),
            None => Ok(()),
        }
    }
}
