//! Keys: what callers pass, and what is stored of them ([`crate::key_form`]).

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::limits::KEY_BYTES_MAX;
use crate::table_prefix::{TablePrefix, UNORDERED};

/// Bytes of a stored integer.
pub(crate) const INT_KEY_BYTES: usize = size_of::<u64>();
/// Bytes of a stored integer in a byte table.
pub(crate) const TYPED_KEY_BYTES: usize = 2 + INT_KEY_BYTES;

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
        match prefix.kind_number()? {
            UNORDERED => Some(Self::Bytes),
            number => Self::from_number(number.into()),
        }
    }

    pub(crate) fn is_int(self) -> bool {
        self != Self::Bytes
    }

    /// Whether a table of this kind can hold a key with these stored bytes.
    pub(crate) fn is_stored(self, key: &[u8]) -> bool {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && (!self.is_int() || key.len() == INT_KEY_BYTES)
    }
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum KeyRef<'a> {
    /// Bytes or text, or a tuple.
    Bytes(&'a [u8]),
    /// A `u64`.
    U64(u64),
    /// An `i64`.
    I64(i64),
}

impl<'a> KeyRef<'a> {
    pub(crate) fn of_i64(bits: u64) -> Self {
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

/// Bytes are shown as Rust writes them: `b"user:1"`.
impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Self::U64(number) => write!(f, "{number}u64"),
            Self::I64(number) => write!(f, "{number}i64"),
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
    fn keys_are_shown_as_they_were_given() {
        let shown = |key: KeyRef<'_>| format!("{key:?}");
        assert_eq!(shown(KeyRef::Bytes(b"user:1\xff\"")), r#"b"user:1\xff\"""#);
        assert_eq!(shown(KeyRef::U64(7)), "7u64");
        assert_eq!(shown(KeyRef::I64(-7)), "-7i64");
    }
}
