//! Keys: what callers pass, and the order-preserving bytes that are stored.
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

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::limits::KEY_BYTES_MAX;
use crate::table_prefix::{PREFIX_BYTES, TablePrefix};

/// Bytes of a stored integer.
const INT_KEY_BYTES: usize = size_of::<u64>();
/// First byte of the keys of a byte table that are not stored as they are.
const MARK: u8 = 0xff;
/// Second byte of a `u64` in a byte table.
const U64_TAG: u8 = 1;
/// Second byte of an `i64` in a byte table.
const I64_TAG: u8 = 2;
/// Bytes of a stored integer in a byte table.
const TYPED_KEY_BYTES: usize = 2 + INT_KEY_BYTES;

/// What keys a table has. Its text, here, in messages and on the command line, is `bytes`, `u64` or
/// `i64`:
///
/// ```
/// use uarr::KeyKind;
/// assert_eq!("u64".parse::<KeyKind>()?, KeyKind::U64);
/// assert_eq!(KeyKind::Bytes.to_string(), "bytes");
/// # Ok::<(), uarr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Byte strings and text. Integers are accepted too and are keys of their own: 5 as `u64`, 5 as
    /// `i64` and any bytes are different keys. They sort before keys that start with `0xff` and
    /// behind all others, `u64` before `i64`, each by its number.
    #[default]
    Bytes,
    /// `u64`, found directly through the learned index.
    U64,
    /// `i64`, found directly through the learned index.
    I64,
}

const KINDS: [KeyKind; 3] = [KeyKind::Bytes, KeyKind::U64, KeyKind::I64];

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bytes => "bytes",
            Self::U64 => "u64",
            Self::I64 => "i64",
        })
    }
}

impl FromStr for KeyKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        KINDS.into_iter().find(|kind| kind.to_string() == text).ok_or_else(|| {
            Error::invalid(format!("'{text}' is no kind of keys; give bytes, u64 or i64"))
        })
    }
}

impl KeyKind {
    pub(crate) const fn to_number(self) -> u32 {
        match self {
            Self::Bytes => 0,
            Self::U64 => 1,
            Self::I64 => 2,
        }
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.to_number() == number)
    }

    /// The kind of the keys of a table; `None`: there is no such table.
    pub(crate) fn of_table(prefix: TablePrefix) -> Option<Self> {
        Self::from_number(prefix.kind_number()?.into())
    }

    pub(crate) fn is_int(self) -> bool {
        self != Self::Bytes
    }

    /// Whether a table of this kind can hold a key with these stored bytes.
    pub(crate) fn is_stored(self, key: &[u8]) -> bool {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && (!self.is_int() || key.len() == INT_KEY_BYTES)
    }

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

/// A key as it is stored.
#[derive(Debug)]
pub(crate) enum StoredKey<'a> {
    /// As given.
    Plain(KeyBytes<'a>),
    /// An integer in a byte table.
    Typed([u8; TYPED_KEY_BYTES]),
    /// Another short one that was put together.
    Short { bytes: [u8; SHORT_BYTES], len: u8 },
    /// A byte key that starts with the mark, or another that was put together.
    Escaped(Box<[u8]>),
}

/// A key of 22 bytes in a table takes no memory of its own when it is stored.
const SHORT_BYTES: usize = 30;

impl StoredKey<'_> {
    /// `first` with `second` behind it.
    pub fn of_parts(first: &[u8], second: &[u8]) -> Self {
        let len = first.len() + second.len();
        if len > SHORT_BYTES {
            return Self::Escaped([first, second].concat().into());
        }
        let mut bytes = [0; SHORT_BYTES];
        bytes[..first.len()].copy_from_slice(first);
        bytes[first.len()..len].copy_from_slice(second);
        Self::Short { bytes, len: len as u8 }
    }
}

impl AsRef<[u8]> for StoredKey<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes.as_ref(),
            Self::Typed(bytes) => bytes,
            Self::Short { bytes, len } => &bytes[..usize::from(*len)],
            Self::Escaped(bytes) => bytes,
        }
    }
}

/// A key as it was given, read from its stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRef<'a> {
    /// Bytes or text, or a tuple.
    Bytes(&'a [u8]),
    /// A `u64`.
    U64(u64),
    /// An `i64`.
    I64(i64),
}

impl<'a> KeyRef<'a> {
    fn of_i64(bits: u64) -> Self {
        Self::I64((bits ^ 1 << 63).cast_signed())
    }

    /// The bytes, if the key was given as bytes or text, or as a tuple.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number, if the key was given as `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::U64(number) => Some(*number),
            _ => None,
        }
    }

    /// The number, if the key was given as `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::I64(number) => Some(*number),
            _ => None,
        }
    }
}

impl AsKey for KeyRef<'_> {
    fn kind(&self) -> KeyKind {
        match self {
            Self::Bytes(_) => KeyKind::Bytes,
            Self::U64(_) => KeyKind::U64,
            Self::I64(_) => KeyKind::I64,
        }
    }

    fn to_key(&self) -> KeyBytes<'_> {
        match self {
            Self::Bytes(bytes) => KeyBytes::Slice(bytes),
            Self::U64(number) => number.to_key(),
            Self::I64(number) => number.to_key(),
        }
    }
}

/// What an [`AsKey`] gives.
#[derive(Clone, Debug)]
pub enum KeyBytes<'a> {
    /// A byte key, as given.
    Slice(&'a [u8]),
    /// A byte key that was made for the call, of several parts.
    Owned(Vec<u8>),
    /// An integer, order-preserving.
    Int([u8; 8]),
}

impl AsRef<[u8]> for KeyBytes<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Slice(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Int(bytes) => bytes,
        }
    }
}

/// Anything that can be a key: byte strings and text, `u64` and `i64`, tuples of [`KeyElement`]s,
/// what owns or shares one of them (`Cow`, `Box`, `Rc`, `Arc`), and types of your own.
///
/// [`KeyElement`]: crate::KeyElement
///
/// A `u32` and a `usize` are the `u64` of the same number, under which other callers find them. An
/// `i32` is no key: it is what a plain `5` is for the compiler, which then says so, where a table
/// of `u64` or a reader that asks for `5u64` could only say it later.
///
/// ```compile_fail,E0277
/// fn keep(db: &uarr::Db) -> uarr::Result<uarr::Commit> {
///     db.put(5, "which number is it?")
/// }
/// ```
///
/// A database checks each key that it is given: one whose kind does not fit the table, or whose
/// form has not the length that its kind asks for, is `InvalidArgument`, and nothing is written or
/// read.
///
/// ```
/// use uarr::{AsKey, KeyBytes, KeyKind};
/// struct UserId(u64);
/// impl AsKey for UserId {
///     fn kind(&self) -> KeyKind {
///         KeyKind::U64
///     }
///     fn to_key(&self) -> KeyBytes<'_> {
///         self.0.to_key()
///     }
/// }
/// ```
pub trait AsKey {
    /// What it is. Tables of integers take keys of their kind, tables with byte keys take all.
    fn kind(&self) -> KeyKind;
    /// Its bytes: 8 bytes that sort as the number does for integers, 1 to [`KEY_BYTES_MAX`] bytes
    /// for others.
    fn to_key(&self) -> KeyBytes<'_>;
}

impl AsKey for u64 {
    #[inline]
    fn kind(&self) -> KeyKind {
        KeyKind::U64
    }
    #[inline]
    fn to_key(&self) -> KeyBytes<'_> {
        KeyBytes::Int(self.to_be_bytes())
    }
}

impl AsKey for i64 {
    #[inline]
    fn kind(&self) -> KeyKind {
        KeyKind::I64
    }
    #[inline]
    fn to_key(&self) -> KeyBytes<'_> {
        KeyBytes::Int((self.cast_unsigned() ^ 1 << 63).to_be_bytes())
    }
}

macro_rules! unsigned_keys {
    ($($type:ty),*) => {$(
        impl AsKey for $type {
            #[inline]
            fn kind(&self) -> KeyKind {
                KeyKind::U64
            }
            #[inline]
            fn to_key(&self) -> KeyBytes<'_> {
                KeyBytes::Int((*self as u64).to_be_bytes())
            }
        }
    )*};
}
unsigned_keys!(u32, usize);
const _: () = assert!(usize::BITS <= u64::BITS, "no number is cut");

macro_rules! byte_keys {
    ($($type:ty),*) => {$(
        impl AsKey for $type {
            fn kind(&self) -> KeyKind {
                KeyKind::Bytes
            }
            fn to_key(&self) -> KeyBytes<'_> {
                KeyBytes::Slice(self.as_ref())
            }
        }
    )*};
}
byte_keys!([u8], str, Vec<u8>, String);

impl<const N: usize> AsKey for [u8; N] {
    fn kind(&self) -> KeyKind {
        KeyKind::Bytes
    }
    fn to_key(&self) -> KeyBytes<'_> {
        KeyBytes::Slice(self)
    }
}

macro_rules! key_owners {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<$($generics)*> AsKey for $type {
            fn kind(&self) -> KeyKind {
                (**self).kind()
            }
            fn to_key(&self) -> KeyBytes<'_> {
                (**self).to_key()
            }
        }
    )*};
}
key_owners!(
    [K: AsKey + ?Sized] &K,
    [K: AsKey + ?Sized] Box<K>,
    [K: AsKey + ?Sized] Rc<K>,
    [K: AsKey + ?Sized] Arc<K>,
    [K: AsKey + ToOwned + ?Sized] Cow<'_, K>
);

/// The number in an 8-byte stored key, in order.
#[inline]
pub(crate) fn int_key(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_order() {
        let numbers = [i64::MIN, -1, 0, 1, i64::MAX];
        let keys: Vec<_> = numbers.iter().map(|n| n.to_key().as_ref().to_vec()).collect();
        assert!(keys.is_sorted());
        let numbers = [0u64, 1, 255, 256, u64::MAX];
        let keys: Vec<_> = numbers.iter().map(|n| n.to_key().as_ref().to_vec()).collect();
        assert!(keys.is_sorted());
        assert_eq!(int_key(&keys[3]), Some(256));
    }

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
