//! Keys: what callers pass, and the order-preserving bytes that are stored.
//!
//! Byte keys are 1 to 65,535 bytes long and ordered bytewise. Integers are stored in 8 bytes, big-endian, `i64`
//! with its sign bit flipped, so that bytewise order is numeric order.
//!
//! Invariant: a table takes keys of its own kind only. 5 as `i64`, 2^63 + 5 as `u64` and eight bytes of text can have
//! the same stored form; in one table they would be one key without anyone having said so.

pub use uarr_layout::limits::KEY_BYTES_MAX;

use crate::error::{Error, Result};

/// Bytes of a stored integer.
const INT_KEY_BYTES: usize = size_of::<u64>();

/// What keys a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Byte strings and text. An integer is refused: in which form it is to be stored, and how it sorts among
    /// others, is for the caller to say (`number.to_be_bytes()` sorts as the number does).
    #[default]
    Bytes,
    /// `u64`, found directly through the learned index.
    U64,
    /// `i64`, found directly through the learned index.
    I64,
}

impl KeyKind {
    pub(crate) fn to_number(self) -> u32 {
        match self {
            Self::Bytes => 0,
            Self::U64 => 1,
            Self::I64 => 2,
        }
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Bytes, Self::U64, Self::I64].into_iter().find(|kind| kind.to_number() == number)
    }

    pub(crate) fn is_int(self) -> bool {
        self != Self::Bytes
    }

    /// Whether a table of this kind can hold a key with these stored bytes.
    pub(crate) fn is_stored(self, key: &[u8]) -> bool {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && (!self.is_int() || key.len() == INT_KEY_BYTES)
    }

    /// The stored bytes of `key` in a table of this kind. The one place where keys come in: `key` may be of any type
    /// with an [`AsKey`] of its own, so what it says is checked here, and used as it was checked.
    #[inline]
    pub(crate) fn encode<'a>(self, key: &'a (impl AsKey + ?Sized)) -> Result<KeyBytes<'a>> {
        let (given, bytes) = (key.kind(), key.to_key());
        match self == given && self.is_stored(bytes.as_ref()) {
            true => Ok(bytes),
            false => Err(self.refusal(given, bytes.as_ref().len())),
        }
    }

    /// Why a key is none of this kind.
    #[cold]
    fn refusal(self, given: Self, len: usize) -> Error {
        if self != given {
            let remedy = match self {
                Self::Bytes => {
                    "; give its bytes (to_be_bytes sorts as numbers do), or create a database for such keys"
                }
                Self::U64 | Self::I64 => "",
            };
            return Error::invalid(format!(
                "the table has {self:?} keys, but a {given:?} key was given{remedy}"
            ));
        }
        match len {
            len if self.is_int() => Error::invalid(format!(
                "a {self:?} key is stored in {INT_KEY_BYTES} bytes, the given one has {len}"
            )),
            0 => Error::invalid("a key has at least 1 byte, the given one is empty"),
            len => Error::invalid(format!(
                "a key has at most {KEY_BYTES_MAX} bytes, the given one has {len}"
            )),
        }
    }
}

/// The stored form of a key.
#[derive(Clone, Copy, Debug)]
pub enum KeyBytes<'a> {
    /// A byte key, as given.
    Slice(&'a [u8]),
    /// An integer, order-preserving.
    Int([u8; 8]),
}

impl AsRef<[u8]> for KeyBytes<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Slice(bytes) => bytes,
            Self::Int(bytes) => bytes,
        }
    }
}

/// Anything that can be a key: byte strings, text, `u64`, `i64`, and types of your own.
///
/// A database checks each key that it is given: one whose kind is not that of the table, or whose stored form has not
/// the length that its kind asks for, is `InvalidArgument`, and nothing is written or read.
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
    /// The kind of table it is for.
    fn kind(&self) -> KeyKind;
    /// The stored form: 8 bytes that sort as the number does for integers, 1 to [`KEY_BYTES_MAX`] bytes for others.
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

impl<K: AsKey + ?Sized> AsKey for &K {
    fn kind(&self) -> KeyKind {
        (**self).kind()
    }
    fn to_key(&self) -> KeyBytes<'_> {
        (**self).to_key()
    }
}

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
        assert!(KeyKind::Bytes.encode(&7u64).is_err());
        assert!(KeyKind::Bytes.encode(&7i64).is_err());
        assert!(KeyKind::Bytes.encode("").is_err());
        assert!(KeyKind::Bytes.encode(&vec![0u8; 65_535]).is_ok());
        assert!(KeyKind::Bytes.encode(&vec![0u8; 65_536]).is_err());
    }
}
