//! The catalog: a table of the tables there are.
//!
//! ```text
//! name of a table       UArr { number, keys, expires_in_ms, durable }; `keys` is the kind of keys,
//!                       of byte keys without order "unordered bytes"
//! 00 "next"             UArr integer: the number that was given out last
//! 00 "dropped" number   empty: a mark, until nothing of the table is left
//! ```
//! Numbers from [`FIRST_NUMBER`] on are given out, each once.

use uarr_layout::limits::EXPIRES_MS_MAX;
use uarr_layout::uarr::{UArrBuf, UArrRef, uarr};

use crate::error::{Error, Result};
use crate::key::{KeyKind, StoredKey};
use crate::key_space::KeySpace;
use crate::table_prefix::{FIRST_NUMBER, TablePrefix};

/// The table itself.
pub(crate) const CATALOG: KeySpace = KeySpace::of_table(1, KeyKind::Bytes);
/// Key of the counter of numbers.
pub(crate) const NEXT_KEY: &[u8] = b"\0next";
/// What keys of marks begin with.
pub(crate) const MARK_PREFIX: &[u8] = b"\0dropped";
/// Longest name of a table, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// What the catalog says of the keys of a table without order.
const UNORDERED_KEYS: &str = "unordered bytes";

/// What the catalog says of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CatalogEntry {
    pub number: u32,
    pub kind: KeyKind,
    /// Whether its keys, which are bytes, have no order.
    pub is_unordered: bool,
    /// When records expire whose writers do not say it: so many ms behind the write; 0: never.
    pub expires_in_ms: u64,
    /// Whether each write is durable before it is acknowledged.
    pub is_durable: bool,
}

impl CatalogEntry {
    /// Of the catalog itself, which has none.
    pub fn of_catalog() -> Self {
        let prefix = CATALOG.prefix.expect("it is not the default table");
        Self { number: prefix.number(), ..Self::new(CATALOG.kind) }
    }

    /// Of a table with keys of `kind`, in order, which has no number yet and no options.
    pub fn new(kind: KeyKind) -> Self {
        Self { number: 0, kind, is_unordered: false, expires_in_ms: 0, is_durable: false }
    }

    pub fn space(&self) -> KeySpace {
        match self.is_unordered {
            true => KeySpace::unordered(self.number),
            false => KeySpace::of_table(self.number, self.kind),
        }
    }

    pub fn prefix(&self) -> TablePrefix {
        self.space().prefix.expect("it is not the default table")
    }

    pub fn to_uarr(&self) -> UArrBuf {
        let kind = self.kind.to_string();
        // A version that knows only of order must not take it for a table of this kind.
        let keys = if self.is_unordered { UNORDERED_KEYS } else { kind.as_str() };
        uarr!({
            "number": self.number,
            "keys": keys,
            "expires_in_ms": self.expires_in_ms,
            "durable": self.is_durable
        })
    }

    /// Reads the record of table `name`.
    pub fn read(name: &str, value: &[u8]) -> Result<Self> {
        let entry = UArrRef::open(value).ok().and_then(Self::of);
        entry.ok_or_else(|| {
            Error::invalid(format!(
                "the catalog's record of table '{name}' is none that this version can read; \
                 open the database with the version of uarr that wrote it"
            ))
        })
    }

    fn of(record: UArrRef<'_>) -> Option<Self> {
        let number = u32::try_from(record.get("number")?.as_u64()?).ok()?;
        let keys = record.get("keys")?.as_str()?;
        let is_unordered = keys == UNORDERED_KEYS;
        let kind = if is_unordered { KeyKind::Bytes } else { keys.parse().ok()? };
        let expires_in_ms = record.get("expires_in_ms").and_then(|ms| ms.as_u64()).unwrap_or(0);
        let expires_in_ms = expires_in_ms.min(EXPIRES_MS_MAX);
        let is_durable = record.get("durable").and_then(|flag| flag.as_bool()).unwrap_or(false);
        let entry = Self { number, kind, is_unordered, expires_in_ms, is_durable };
        (number >= FIRST_NUMBER).then_some(entry)
    }
}

/// `error` of the record with stored key `key`, with the name of the table that it is about if it
/// is damage of the catalog.
pub(crate) fn name_lost(key: &[u8], error: Error) -> Error {
    let own = CATALOG.prefix.and_then(|prefix| key.strip_prefix(prefix.as_bytes()));
    let name = own.and_then(|own| std::str::from_utf8(own).ok());
    match (name.filter(|name| check_name(name).is_ok()), error.corruption()) {
        (Some(name), Some(place)) => {
            let message = format!("the catalog's record of table '{name}' is lost: {error}");
            Error::corrupt(message, place.clone())
        }
        _ => error,
    }
}

/// Errors: `name` is none for a table.
pub(crate) fn check_name(name: &str) -> Result<()> {
    match name {
        "" => Err(Error::invalid("a table has a name of at least 1 byte, the given one is empty")),
        _ if name.len() > NAME_BYTES_MAX => Err(Error::invalid(format!(
            "the name of a table has at most {NAME_BYTES_MAX} bytes, the given one has {}",
            name.len()
        ))),
        _ if name.chars().any(char::is_control) => Err(Error::invalid(format!(
            "the name of a table has no control characters, as '{}' has",
            name.escape_debug()
        ))),
        _ => Ok(()),
    }
}

/// Key of the mark that table `prefix` was dropped.
pub(crate) fn mark_key(prefix: TablePrefix) -> Vec<u8> {
    [MARK_PREFIX, prefix.as_bytes()].concat()
}

/// The table that the mark with the stored key `key` is of; `None`: this is no mark.
pub(crate) fn marked(key: &[u8]) -> Option<TablePrefix> {
    let catalog = CATALOG.prefix.expect("it is not the default table");
    let own = key.strip_prefix(catalog.as_bytes())?.strip_prefix(MARK_PREFIX)?;
    // As the key of a record of the table would begin.
    TablePrefix::of(&[own, &[0]].concat()).filter(|prefix| prefix.as_bytes() == own)
}

/// The stored key of `own` in the catalog.
pub(crate) fn catalog_key(own: &[u8]) -> StoredKey<'static> {
    let catalog = CATALOG.prefix.expect("it is not the default table");
    StoredKey::of_parts(catalog.as_bytes(), own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_marks_read_back() {
        let entry = CatalogEntry {
            number: 17,
            kind: KeyKind::I64,
            is_unordered: false,
            expires_in_ms: 5,
            is_durable: true,
        };
        let unordered = CatalogEntry { kind: KeyKind::Bytes, is_unordered: true, ..entry.clone() };
        for entry in [&entry, &unordered] {
            assert_eq!(CatalogEntry::read("a", &entry.to_uarr()).unwrap(), *entry);
            assert_eq!(entry.space().is_ordered(), !entry.is_unordered);
        }
        let key = catalog_key(&mark_key(entry.prefix()));
        assert_eq!(marked(key.as_ref()), Some(entry.prefix()));
        assert_eq!(marked(catalog_key(b"users").as_ref()), None);
        assert_eq!(marked(catalog_key(NEXT_KEY).as_ref()), None);
        assert_eq!(marked(catalog_key(b"\0dropped1234").as_ref()), None);
    }

    #[test]
    fn what_is_no_entry_is_an_error() {
        for value in [
            uarr!({ "number": 15, "keys": "u64" }),
            uarr!({ "number": 16, "keys": "u128" }),
            uarr!({ "number": -16, "keys": "u64" }),
            uarr!({ "keys": "u64" }),
            uarr!(["number"]),
        ] {
            assert!(CatalogEntry::read("a", &value).is_err(), "{value}");
        }
        assert!(CatalogEntry::read("a", b"").is_err());
        for name in ["", "a\0", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("Gr\u{f6}\u{df}e/1").is_ok());
    }
}
