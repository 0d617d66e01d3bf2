//! The order-preserving bytes that keys are stored as.
//!
//! An integer takes 8 bytes, big-endian, `i64` with its sign bit flipped, so that bytewise order is
//! numeric order. A table of integers has such keys only. A table with byte keys takes integers as
//! well, and stores them in forms of their own:
//!
//! ```text
//! bytes, the first below ff   as they are
//! u64                         ff 01 and the 8 bytes
//! i64                         ff 02 and the 8 bytes
//! bytes, the first is ff      ff and the bytes
//! ```
//! Invariants: the stored forms of different keys differ, and those of byte keys sort as the keys
//! do. Only this module knows the forms; others move stored keys as they are.

use crate::error::{Error, Result};
use crate::key::{AsKey, INT_KEY_BYTES, KeyKind, KeyRef, StoredKey, TYPED_KEY_BYTES, int_key};
use crate::limits::KEY_BYTES_MAX;
use crate::table_prefix::{PREFIX_BYTES, TablePrefix};

/// First byte of the keys of a byte table that are not stored as they are.
const MARK: u8 = 0xff;
/// Second byte of a `u64` in a byte table.
const U64_TAG: u8 = 1;
/// Second byte of an `i64` in a byte table.
const I64_TAG: u8 = 2;

impl KeyKind {
    /// The stored form of `key` in a table of this kind. Keys come in here and in
    /// [`KeyKind::encode_int`], nowhere else: `key` may be of any type with an [`AsKey`] of its
    /// own, so what it says is checked here, and used as it was checked.
    #[inline]
    pub(crate) fn encode<'a>(self, key: &'a (impl AsKey + ?Sized)) -> Result<StoredKey<'a>> {
        let (given, form) = (key.kind(), key.to_key());
        let bytes = form.as_ref();
        let is_marked = self == Self::Bytes && bytes.first() == Some(&MARK);
        if self == given && self.is_stored(bytes) && !is_marked {
            return Ok(StoredKey::Plain(form));
        }
        self.encode_marked(given, bytes)
    }

    /// The number that `key` is stored as in a table of integers; `None` if this is none, or `key`
    /// is no key of it.
    #[inline]
    pub(crate) fn encode_int(self, key: &(impl AsKey + ?Sized)) -> Option<u64> {
        if !self.is_int() || key.kind() != self {
            return None;
        }
        int_key(key.to_key().as_ref())
    }

    /// As [`KeyKind::encode`], of keys that are not stored as they are, or not at all.
    #[inline(never)]
    fn encode_marked(self, given: Self, bytes: &[u8]) -> Result<StoredKey<'static>> {
        let tag = match (self, given) {
            (Self::Bytes, Self::Bytes)
                if bytes.first() == Some(&MARK) && bytes.len() < KEY_BYTES_MAX =>
            {
                return Ok(StoredKey::Escaped(escape(bytes).into()));
            }
            (Self::Bytes, Self::U64) => U64_TAG,
            (Self::Bytes, Self::I64) => I64_TAG,
            _ => return Err(self.refusal(given, bytes.len())),
        };
        let number: [u8; INT_KEY_BYTES] =
            bytes.try_into().map_err(|_| given.refusal(given, bytes.len()))?;
        let mut stored = [MARK; TYPED_KEY_BYTES];
        stored[1] = tag;
        stored[2..].copy_from_slice(&number);
        Ok(StoredKey::Typed(stored))
    }

    /// The key with this stored form, of whatever table, in a database whose default table has keys
    /// of this kind. Bytes that are no stored form, as they may come from a damaged database, are a
    /// byte key.
    pub fn decode(self, stored: &[u8]) -> KeyRef<'_> {
        let (kind, own) = self.own_part(stored);
        kind.decode_own(own)
    }

    /// Kind and key, as a default table would store it, of the stored key `stored`.
    #[inline]
    fn own_part(self, stored: &[u8]) -> (Self, &[u8]) {
        let kind = TablePrefix::of(stored).and_then(Self::of_table);
        kind.map_or((self, stored), |kind| (kind, &stored[PREFIX_BYTES..]))
    }

    fn decode_own(self, stored: &[u8]) -> KeyRef<'_> {
        match (self, stored) {
            (Self::U64, _) => int_key(stored).map_or(KeyRef::Bytes(stored), KeyRef::U64),
            (Self::I64, _) => int_key(stored).map_or(KeyRef::Bytes(stored), KeyRef::of_i64),
            (Self::Bytes, [MARK, U64_TAG, number @ ..]) => {
                int_key(number).map_or(KeyRef::Bytes(stored), KeyRef::U64)
            }
            (Self::Bytes, [MARK, I64_TAG, number @ ..]) => {
                int_key(number).map_or(KeyRef::Bytes(stored), KeyRef::of_i64)
            }
            (Self::Bytes, [MARK, rest @ ..]) if rest.first() == Some(&MARK) => KeyRef::Bytes(rest),
            (Self::Bytes, _) => KeyRef::Bytes(stored),
        }
    }

    /// As [`KeyKind::decode`], without making numbers of integers.
    #[inline]
    pub(crate) fn strip(self, stored: &[u8]) -> &[u8] {
        let (kind, own) = self.own_part(stored);
        match (kind, own) {
            (Self::Bytes, [MARK, tag, rest @ ..])
                if [U64_TAG, I64_TAG].contains(tag) && rest.len() == INT_KEY_BYTES =>
            {
                rest
            }
            (Self::Bytes, [MARK, rest @ ..]) if rest.first() == Some(&MARK) => rest,
            _ => own,
        }
    }

    /// Why a key is none of this kind.
    #[cold]
    fn refusal(self, given: Self, len: usize) -> Error {
        if self != given && self.is_int() {
            return Error::invalid(format!(
                "the table has {self} keys, but a key of kind {given} was given"
            ));
        }
        match len {
            len if self.is_int() => Error::invalid(format!(
                "a key of kind {self} is stored in {INT_KEY_BYTES} bytes, the given one has {len}"
            )),
            0 => Error::invalid("a key has at least 1 byte, the given one is empty"),
            KEY_BYTES_MAX => Error::invalid(format!(
                "a key that starts with 0xff has less than {KEY_BYTES_MAX} bytes"
            )),
            len => Error::invalid(format!(
                "a key has at most {KEY_BYTES_MAX} bytes, the given one has {len}"
            )),
        }
    }
}

/// The stored form of a byte key that starts with [`MARK`], or of a bound or prefix that does.
fn escape(bytes: &[u8]) -> Vec<u8> {
    assert_eq!(bytes.first(), Some(&MARK), "other keys are stored as they are");
    [&[MARK], bytes].concat()
}

/// What the stored forms of all byte keys that start with `prefix` start with, and no others.
pub(crate) fn stored_prefix(prefix: &[u8]) -> Vec<u8> {
    if prefix.first() == Some(&MARK) { escape(prefix) } else { prefix.to_vec() }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_lengths_are_checked() {
        assert!(KeyKind::U64.encode(&7i64).is_err());
        assert!(KeyKind::U64.encode("7").is_err());
        assert!(KeyKind::Bytes.encode(&[0xff; 65_534]).is_ok());
        assert!(KeyKind::Bytes.encode(&[0xff; 65_535]).is_err());
        assert!(KeyKind::Bytes.encode("").is_err());
        assert!(KeyKind::Bytes.encode(&vec![0u8; 65_535]).is_ok());
        assert!(KeyKind::Bytes.encode(&vec![0u8; 65_536]).is_err());
    }

    #[test]
    fn different_keys_have_different_forms_that_sort_alike() {
        let bytes: [&[u8]; 12] = [
            b"\0",
            b"\x01",
            b"12345678",
            b"\xfe\xff",
            b"\xff",
            b"\xff\0",
            b"\xff\x01",
            b"\xff\x0112345678",
            b"\xff\x0212345678",
            b"\xff\xff",
            b"\xff\xff\x01",
            b"\xff\xff\xff",
        ];
        let mut keys: Vec<KeyRef<'_>> =
            bytes[..4].iter().map(|bytes| KeyRef::Bytes(bytes)).collect();
        keys.extend([0, 5, (1 << 63) | 5, u64::MAX].map(KeyRef::U64));
        keys.extend([i64::MIN, -1, 0, 5, i64::MAX].map(KeyRef::I64));
        keys.extend(bytes[4..].iter().map(|bytes| KeyRef::Bytes(bytes)));
        let stored: Vec<_> =
            keys.iter().map(|key| KeyKind::Bytes.encode(key).unwrap().as_ref().to_vec()).collect();
        assert!(stored.is_sorted_by(|one, next| one < next), "{stored:x?}");
        for (key, stored) in keys.iter().zip(&stored) {
            assert_eq!(KeyKind::Bytes.decode(stored), *key);
            assert_eq!(KeyKind::Bytes.strip(stored), key.to_key().as_ref());
        }
        for prefix in bytes {
            let start = stored_prefix(prefix);
            for (key, stored) in keys.iter().zip(&stored) {
                let expected = matches!(key, KeyRef::Bytes(bytes) if bytes.starts_with(prefix));
                assert_eq!(stored.starts_with(&start), expected, "{key:?} {prefix:x?}");
            }
        }
        // No form of a key: what a damaged database may hold.
        for odd in [&b""[..], b"\xff", b"\xff\x01", b"\xff\x01123456789", b"\xff\x03"] {
            assert_eq!(KeyKind::Bytes.decode(odd), KeyRef::Bytes(odd));
            assert_eq!(KeyKind::Bytes.strip(odd), odd);
        }
    }
}
