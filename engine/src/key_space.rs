//! [`KeySpace`]: the stored keys of one table. What they begin with, in tables but the default one,
//! is told in [`crate::table_prefix`], the rest in [`crate::key_form`].

use crate::error::{Error, Result};
use crate::key::{AsKey, KeyKind, StoredKey};
use crate::limits::KEY_BYTES_MAX;
use crate::table_prefix::{PREFIX_BYTES, TablePrefix, UNORDERED};

/// See [`self`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeySpace {
    pub kind: KeyKind,
    /// `None`: the default table.
    pub prefix: Option<TablePrefix>,
}

impl KeySpace {
    /// The default table, with keys of `kind`.
    pub const fn default_of(kind: KeyKind) -> Self {
        Self { kind, prefix: None }
    }

    /// Table `number`.
    pub const fn of_table(number: u32, kind: KeyKind) -> Self {
        assert!(number != 0, "the default table has no number in front of its keys");
        Self { kind, prefix: Some(TablePrefix::new(number, kind.to_number() as u8)) }
    }

    /// Table `number`, with byte keys that have no order.
    pub const fn unordered(number: u32) -> Self {
        assert!(number != 0, "the default table has an order");
        Self { kind: KeyKind::Bytes, prefix: Some(TablePrefix::new(number, UNORDERED)) }
    }

    /// Whether its keys have an order.
    pub fn is_ordered(self) -> bool {
        self.prefix.is_none_or(TablePrefix::is_ordered)
    }

    /// Errors: its keys have no order, which `what` needs.
    pub fn check_order(self, what: &str) -> Result<()> {
        if self.is_ordered() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{what} need keys in order, and this table was made unordered; look keys up one by \
             one, walk all of them with iter(), or copy the records to a table with order"
        )))
    }

    /// That of the table which the stored key `key` is of, in a database whose default table has
    /// keys of `kind`; `None`: there is no such key.
    pub fn of_stored(kind: KeyKind, key: &[u8]) -> Option<Self> {
        let space = match TablePrefix::of(key) {
            Some(prefix) => Self { kind: KeyKind::of_table(prefix)?, prefix: Some(prefix) },
            None => Self::default_of(kind),
        };
        space.kind.is_stored(&key[space.prefix_bytes()..]).then_some(space)
    }

    #[inline]
    pub fn prefix_bytes(self) -> usize {
        if self.prefix.is_some() { PREFIX_BYTES } else { 0 }
    }

    /// The stored form of `key`; see [`KeyKind::encode`].
    #[inline(always)]
    pub fn encode<'a>(self, key: &'a (impl AsKey + ?Sized)) -> Result<StoredKey<'a>> {
        match self.prefix {
            None => self.kind.encode(key),
            Some(prefix) => prefixed(prefix, &self.kind.encode(key)?),
        }
    }

    /// `own`, a bound of keys as a default table would store it, among the stored ones.
    pub fn bound(self, own: Vec<u8>) -> Vec<u8> {
        match &self.prefix {
            None => own,
            Some(prefix) => [prefix.as_bytes(), &own].concat(),
        }
    }
}

#[inline(never)]
fn prefixed(prefix: TablePrefix, own: &StoredKey<'_>) -> Result<StoredKey<'static>> {
    let own = own.as_ref();
    if PREFIX_BYTES + own.len() > KEY_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a key of a table has at most {} bytes, the given one takes {}",
            KEY_BYTES_MAX - PREFIX_BYTES,
            own.len()
        )));
    }
    Ok(StoredKey::of_parts(prefix.as_bytes(), own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_says_its_table_and_its_key() {
        let users = KeySpace::of_table(16, KeyKind::Bytes);
        let sessions = KeySpace::unordered(17);
        let jobs = KeySpace::of_table(u32::MAX, KeyKind::U64);
        let long = vec![b'k'; KEY_BYTES_MAX - PREFIX_BYTES];
        for default in [KeyKind::Bytes, KeyKind::U64, KeyKind::I64] {
            for (space, key) in [
                (users, &"ada" as &dyn AsKey),
                (users, &b"\xff\x04\0\0\0\x10\0\0x"),
                (users, &7u64),
                (users, &long),
                (sessions, &"ada"),
                (sessions, &7u64),
                (jobs, &7u64),
            ] {
                let stored = space.encode(key).unwrap();
                assert_eq!(KeySpace::of_stored(default, stored.as_ref()), Some(space));
                assert_eq!(default.strip(stored.as_ref()), key.to_key().as_ref());
                assert_eq!(default.decode(stored.as_ref()).kind(), key.kind());
            }
        }
        assert!(users.encode(&vec![b'k'; KEY_BYTES_MAX - PREFIX_BYTES + 1]).is_err());
        assert!(jobs.encode(&-7i64).is_err(), "each table has its kind");
    }

    #[test]
    fn only_tables_that_were_made_so_have_no_order() {
        let all = [KeyKind::Bytes, KeyKind::U64, KeyKind::I64];
        for space in all
            .map(KeySpace::default_of)
            .into_iter()
            .chain(all.map(|kind| KeySpace::of_table(16, kind)))
        {
            assert!(space.is_ordered() && space.check_order("ranges").is_ok());
        }
        let message = KeySpace::unordered(16).check_order("ranges").unwrap_err().to_string();
        assert!(message.contains("ranges need keys in order") && message.contains("iter()"));
    }

    #[test]
    fn keys_of_the_default_table_are_of_no_other() {
        for key in [&b"\xff\x04\0\0\0\x10\0\0x"[..], b"\xff", b"\xff\x04", b"x"] {
            let stored = KeyKind::Bytes.encode(key).unwrap();
            assert_eq!(TablePrefix::of(stored.as_ref()), None);
            assert_eq!(KeyKind::Bytes.decode(stored.as_ref()).as_bytes(), Some(key));
        }
        let number = u64::from_be_bytes([0xff, 4, 0, 0, 0, 16, 0, 0]);
        assert_eq!(TablePrefix::of(KeyKind::U64.encode(&number).unwrap().as_ref()), None);
    }

    #[test]
    fn what_no_table_has_is_no_key() {
        let of = |key: &[u8]| KeySpace::of_stored(KeyKind::Bytes, key);
        assert!(of(b"\xff\x04\0\0\0\x10\0\0x").is_some());
        assert!(of(b"\xff\x04\0\0\0\0\0\0x").is_none(), "number 0");
        assert!(of(b"\xff\x04\0\0\0\x10\x04\0x").is_none(), "kind 4");
        assert!(of(b"\xff\x04\0\0\0\x10\0\x01x").is_none(), "the last byte");
        assert!(of(b"\xff\x04\0\0\0\x10\x01\x00x").is_none(), "no integer");
        assert!(KeySpace::of_stored(KeyKind::U64, b"1234567").is_none());
    }
}
