//! Keys: what callers pass, and the order-preserving bytes that are stored.
//!
//! Byte keys are 1 to 65,535 bytes long and ordered bytewise. Integers are stored in 8 bytes, big-endian, `i64`
//! with its sign bit flipped, so that bytewise order is numeric order.

use crate::error::{Error, Result};

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 65_535;

/// What keys a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Byte strings; integers are accepted too and stored in their order-preserving form.
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

    /// The stored bytes of `key` in a table of this kind.
    #[inline]
    pub(crate) fn encode<'a>(self, key: &'a (impl AsKey + ?Sized)) -> Result<KeyBytes<'a>> {
        let (given, bytes) = (key.kind(), key.to_key());
        let fits = self == Self::Bytes || self == given;
        match bytes.as_ref().len() {
            1..=KEY_BYTES_MAX if fits => Ok(bytes),
            len => Err(self.refusal(given, len)),
        }
    }

    /// Why a key is none of this kind.
    #[cold]
    fn refusal(self, given: Self, len: usize) -> Error {
        if self != Self::Bytes && self != given {
            return Error::invalid(format!(
                "the table has {self:?} keys, but a {given:?} key was given"
            ));
        }
        match len {
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

/// Anything that can be a key: byte strings, text, `u64`, `i64`.
pub trait AsKey {
    /// Which kind of table it fits.
    fn kind(&self) -> KeyKind;
    /// The stored bytes.
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
        assert!(KeyKind::Bytes.encode(&7u64).is_ok());
        assert!(KeyKind::Bytes.encode("").is_err());
        assert!(KeyKind::Bytes.encode(&vec![0u8; 65_535]).is_ok());
        assert!(KeyKind::Bytes.encode(&vec![0u8; 65_536]).is_err());
    }
}
