//! Composite keys: tuples of elements, in bytes that sort as the tuples do.
//!
//! Invariants:
//! - No encoded element begins another one of its type. So two tuples of one shape have the same
//!   bytes only if they are equal, and the first element in which they differ decides their order.
//! - A tuple is a byte key like any other: what is stored of it, the log and the files know nothing
//!   of elements.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind, Result};
use crate::key::{AsKey, KeyBytes, KeyKind, KeyRef};

/// Bytes that most tuples have room in.
const TUPLE_BYTES: usize = 64;
/// Begins the end of a byte string, and stands for a zero in it if [`ZERO_GOES_ON`] follows.
const ZERO: u8 = 0;
/// Behind a zero: the byte string goes on.
const ZERO_GOES_ON: u8 = 0xff;

/// A part of a composite key: tuples of one to six elements are keys of tables with byte keys, in
/// the order of their elements.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = uarr::Db::open(&dir)?;
/// db.put(("ada", 2u64), b"second")?;
/// db.put(("ada", 10u64), b"tenth")?;
/// db.put(("adam", 1u64), b"of another one")?;
///
/// // All keys that begin with these elements: "adam" is not among them.
/// assert_eq!(db.prefix(("ada",))?.count(), 2);
/// // And some of them, by the elements that follow.
/// assert_eq!(db.range(("ada", 3u64)..=("ada", u64::MAX))?.count(), 1);
/// // All whose first element, a text, begins so.
/// assert_eq!(db.prefix("ad")?.count(), 3);
///
/// let last = db.prefix(("ada",))?.next_back().ok_or("no record")??;
/// assert_eq!(last.key_as::<(String, u64)>()?, ("ada".to_owned(), 10));
/// # Ok(())
/// # }
/// ```
///
/// # Bytes
///
/// A tuple is the bytes of its elements, one behind the other, and is a byte key of these bytes:
///
/// | element | bytes |
/// |---|---|
/// | `u8` to `u128` | 1 to 16, big-endian; `usize` as `u64` |
/// | `i8` to `i128` | the same with the sign bit flipped; `isize` as `i64` |
/// | `bool` | `00` false, `01` true |
/// | `str`, `[u8]`, `[u8; N]` | their bytes, with `00 ff` for each `00`; then `00 00` |
/// | `Option` | `00` for `None`; `01` and the element |
///
/// So `("ada", Some(-2i16))` is `61 64 61 00 00`, `01`, `7f fe`. Tuples of the same types sort as
/// their elements do: numbers by value, text and bytes bytewise, `None` and `false` first. A tuple
/// comes before all longer ones that begin with it: `..=("ada",)` ends in front of `("ada", 0u64)`.
///
/// The bytes do not say which types they are of. Keys that begin with the same elements need the
/// same types behind them; where one table holds several kinds of keys, a text that names the
/// kind, as first element, keeps them apart. A number has the width of its type: `5u32` and `5u64`
/// are different elements, and a plain `5` beside a text is an `i32`.
///
/// Tables of integers refuse tuples: `InvalidArgument`, as a tuple of more than
/// [`crate::KEY_BYTES_MAX`] bytes. A `u128` is a key as a tuple of one: `(number,)`.
///
/// # Elements of your own
///
/// ```
/// use uarr::{FromKeyElement, KeyElement};
/// struct UserId(u64);
/// impl KeyElement for UserId {
///     fn append_to(&self, key: &mut Vec<u8>) {
///         self.0.append_to(key);
///     }
/// }
/// impl FromKeyElement for UserId {
///     fn take_from(bytes: &mut &[u8]) -> Option<Self> {
///         u64::take_from(bytes).map(Self)
///     }
/// }
/// ```
pub trait KeyElement {
    /// Appends its bytes to `key`. They sort as the elements do, and those of one element never
    /// begin those of another one.
    fn append_to(&self, key: &mut Vec<u8>);
}

/// A [`KeyElement`] that can be read from a key.
pub trait FromKeyElement: Sized {
    /// Takes its bytes off the front; `None` if there are none of such an element.
    fn take_from(bytes: &mut &[u8]) -> Option<Self>;
}

/// A type that a key can be read as, with [`crate::Record::key_as`]: tuples of up to six
/// [`FromKeyElement`], `u64`, `i64`, `String` and `Vec<u8>`.
pub trait FromKey: Sized {
    /// The key as this type; `None` if it is none.
    fn from_key(key: KeyRef<'_>) -> Option<Self>;
}

/// `key` as a `K`.
pub(crate) fn read_key<K: FromKey>(key: KeyRef<'_>) -> Result<K> {
    K::from_key(key).ok_or_else(|| {
        let asked = std::any::type_name::<K>();
        let given = match key {
            KeyRef::Bytes(bytes) => format!("a key of {} bytes", bytes.len()),
            KeyRef::U64(number) => format!("the key {number}_u64"),
            KeyRef::I64(number) => format!("the key {number}_i64"),
        };
        Error::new(ErrorKind::WrongValue, format!("{given} is no {asked}"))
    })
}

macro_rules! integers {
    ($($type:ty, stored as $stored:ty, sign $sign:expr);* $(;)?) => {$(
        impl KeyElement for $type {
            #[inline]
            fn append_to(&self, key: &mut Vec<u8>) {
                let number = *self as $stored ^ $sign;
                key.extend_from_slice(&number.to_be_bytes());
            }
        }

        impl FromKeyElement for $type {
            #[inline]
            fn take_from(bytes: &mut &[u8]) -> Option<Self> {
                let (number, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Self::try_from(<$stored>::from_be_bytes(*number) ^ $sign).ok()
            }
        }
    )*};
}

integers!(
    u8, stored as u8, sign 0;
    u16, stored as u16, sign 0;
    u32, stored as u32, sign 0;
    u64, stored as u64, sign 0;
    u128, stored as u128, sign 0;
    usize, stored as u64, sign 0;
    i8, stored as i8, sign i8::MIN;
    i16, stored as i16, sign i16::MIN;
    i32, stored as i32, sign i32::MIN;
    i64, stored as i64, sign i64::MIN;
    i128, stored as i128, sign i128::MIN;
    isize, stored as i64, sign i64::MIN;
);
const _: () = assert!(usize::BITS <= u64::BITS, "no number is cut");

impl KeyElement for bool {
    fn append_to(&self, key: &mut Vec<u8>) {
        key.push(u8::from(*self));
    }
}

impl FromKeyElement for bool {
    fn take_from(bytes: &mut &[u8]) -> Option<Self> {
        match u8::take_from(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<E: KeyElement> KeyElement for Option<E> {
    fn append_to(&self, key: &mut Vec<u8>) {
        self.is_some().append_to(key);
        if let Some(element) = self {
            element.append_to(key);
        }
    }
}

impl<E: FromKeyElement> FromKeyElement for Option<E> {
    fn take_from(bytes: &mut &[u8]) -> Option<Self> {
        match bool::take_from(bytes)? {
            false => Some(None),
            true => E::take_from(bytes).map(Some),
        }
    }
}

impl KeyElement for [u8] {
    fn append_to(&self, key: &mut Vec<u8>) {
        for (index, run) in self.split(|byte| *byte == ZERO).enumerate() {
            if index > 0 {
                key.extend_from_slice(&[ZERO, ZERO_GOES_ON]);
            }
            key.extend_from_slice(run);
        }
        key.extend_from_slice(&[ZERO, ZERO]);
    }
}

impl FromKeyElement for Vec<u8> {
    fn take_from(bytes: &mut &[u8]) -> Option<Self> {
        let mut string = Self::new();
        loop {
            let zero = bytes.iter().position(|byte| *byte == ZERO)?;
            string.extend_from_slice(&bytes[..zero]);
            let next = *bytes.get(zero + 1)?;
            *bytes = &bytes[zero + 2..];
            match next {
                ZERO => return Some(string),
                ZERO_GOES_ON => string.push(ZERO),
                _ => return None,
            }
        }
    }
}

impl<const N: usize> FromKeyElement for [u8; N] {
    fn take_from(bytes: &mut &[u8]) -> Option<Self> {
        Vec::take_from(bytes)?.try_into().ok()
    }
}

impl FromKeyElement for String {
    fn take_from(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::take_from(bytes)?).ok()
    }
}

macro_rules! byte_strings {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<$($generics)*> KeyElement for $type {
            fn append_to(&self, key: &mut Vec<u8>) {
                AsRef::<[u8]>::as_ref(self).append_to(key);
            }
        }
    )*};
}
byte_strings!([] str, [] String, [] Vec<u8>, [const N: usize] [u8; N]);

macro_rules! element_owners {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<$($generics)*> KeyElement for $type {
            fn append_to(&self, key: &mut Vec<u8>) {
                (**self).append_to(key);
            }
        }
    )*};
}
element_owners!(
    [E: KeyElement + ?Sized] &E,
    [E: KeyElement + ?Sized] Box<E>,
    [E: KeyElement + ?Sized] std::rc::Rc<E>,
    [E: KeyElement + ?Sized] std::sync::Arc<E>,
    [E: KeyElement + ToOwned + ?Sized] Cow<'_, E>
);

macro_rules! tuples {
    ($($($element:ident $at:tt)+),*) => {$(
        impl<$($element: KeyElement),+> AsKey for ($($element,)+) {
            fn kind(&self) -> KeyKind {
                KeyKind::Bytes
            }

            fn to_key(&self) -> KeyBytes<'_> {
                let mut key = Vec::with_capacity(TUPLE_BYTES);
                $(self.$at.append_to(&mut key);)+
                KeyBytes::Owned(key)
            }
        }

        impl<$($element: FromKeyElement),+> FromKey for ($($element,)+) {
            fn from_key(key: KeyRef<'_>) -> Option<Self> {
                let mut bytes = key.as_bytes()?;
                let tuple = ($($element::take_from(&mut bytes)?,)+);
                bytes.is_empty().then_some(tuple)
            }
        }
    )*};
}
tuples!(
    A 0,
    A 0 B 1,
    A 0 B 1 C 2,
    A 0 B 1 C 2 D 3,
    A 0 B 1 C 2 D 3 E 4,
    A 0 B 1 C 2 D 3 E 4 F 5
);

impl FromKey for u64 {
    fn from_key(key: KeyRef<'_>) -> Option<Self> {
        key.as_u64()
    }
}

impl FromKey for i64 {
    fn from_key(key: KeyRef<'_>) -> Option<Self> {
        key.as_i64()
    }
}

impl FromKey for Vec<u8> {
    fn from_key(key: KeyRef<'_>) -> Option<Self> {
        key.as_bytes().map(<[u8]>::to_vec)
    }
}

impl FromKey for String {
    fn from_key(key: KeyRef<'_>) -> Option<Self> {
        Self::from_utf8(Vec::from_key(key)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn bytes_of(key: &impl AsKey) -> Vec<u8> {
        key.to_key().as_ref().to_vec()
    }

    /// Any two of `tuples` compare as their bytes do, equal only to themselves, and each can be
    /// read again; the bytes of none begin those of another.
    fn check<T: AsKey + FromKey + Ord + Debug>(tuples: &[T]) {
        let keys: Vec<_> = tuples.iter().map(bytes_of).collect();
        for (tuple, key) in tuples.iter().zip(&keys) {
            assert_eq!(T::from_key(KeyRef::Bytes(key)).as_ref(), Some(tuple), "{key:x?}");
            for (other, other_key) in tuples.iter().zip(&keys) {
                let what = format!("{tuple:?} {other:?}");
                assert_eq!(tuple.cmp(other), key.cmp(other_key), "{what}");
                assert_eq!(key.starts_with(other_key), tuple == other, "{what}");
            }
            for end in 0..key.len() {
                assert_eq!(T::from_key(KeyRef::Bytes(&key[..end])), None, "{tuple:?}");
            }
            assert_eq!(T::from_key(KeyRef::Bytes(&[key, &[0][..]].concat())), None, "{tuple:?}");
        }
    }

    /// All strings of up to three of the bytes that matter.
    fn strings() -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        for from in [0, 1, 7] {
            for index in from..all.len() {
                for byte in [0, 1, b'a', 0xfe, 0xff] {
                    all.push([&all[index][..], &[byte]].concat());
                }
            }
        }
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn strings_keep_their_order_and_where_they_end() {
        let all = strings();
        assert!(all.len() > 100);
        check(&all.iter().map(|string| (string.clone(),)).collect::<Vec<_>>());
        // What follows begins like the end, or the going on, of the string before it.
        let pairs = all.iter().step_by(3).flat_map(|first| {
            [&b""[..], b"\0", b"\xff", b"\0\xff", b"a"].map(|next| (first.clone(), next.to_vec()))
        });
        check(&pairs.collect::<Vec<_>>());
        check(
            &["", "\0", "a", "a\0", "a\0\u{ff}", "ab", "\u{10ffff}"].map(|s| (s.to_owned(), 0u8)),
        );
    }

    #[test]
    fn numbers_of_all_widths_keep_their_order() {
        macro_rules! check_numbers {
            ($($type:ty),*) => {$({
                let (low, high) = (<$type>::MIN, <$type>::MAX);
                let all = [low, low + 1, low / 2, 0, 1, 127, high / 3, high - 1, high];
                check(&all.map(|number| (number,)));
                check(&all.map(|number| (Some(number), b"\0\xff".to_vec(), number ^ 1)));
            })*};
        }
        check_numbers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);
        assert_eq!(bytes_of(&(1usize, -1isize)), bytes_of(&(1u64, -1i64)));
        let all: Vec<_> = (0..=u16::MAX).step_by(37).map(|n| (n.cast_signed(),)).collect();
        check(&all);
    }

    #[test]
    fn long_tuples_of_all_elements_keep_their_order() {
        let mut all = Vec::new();
        for text in ["", "a", "a\0", "b"] {
            for some in [None, Some(None), Some(Some(false)), Some(Some(true))] {
                for number in [i16::MIN, -1, 0, 1] {
                    for array in [[0, 0], [0, 0xff], [1, 0]] {
                        all.push((text.to_owned(), some, number, array, text.len() == 1, 7u128));
                    }
                }
            }
        }
        check(&all);
    }

    /// Random tuples, and others that differ from them in little.
    #[test]
    fn random_tuples_keep_their_order() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..40 {
            let mut tuples: Vec<(Vec<u8>, Option<i64>, String, u32)> = Vec::new();
            for index in 0..24_usize {
                let mut tuple = match tuples.get(index / 2) {
                    Some(other) => other.clone(),
                    None => Default::default(),
                };
                match random(4) {
                    0 => tuple.0.push([0, 0xff, 1, b'a'][random(4) as usize]),
                    1 => tuple.1 = (random(3) > 0).then(|| 1_i64.rotate_left(random(64) as u32)),
                    2 => tuple.2.insert(0, ['\0', 'a', '\u{ff}'][random(3) as usize]),
                    _ => tuple.3 ^= 1 << random(32),
                }
                tuples.push(tuple);
            }
            check(&tuples);
        }
    }

    #[test]
    fn a_shorter_tuple_begins_the_longer_ones_and_no_other() {
        for first in strings() {
            let prefix = bytes_of(&(&first,));
            for other in strings() {
                let longer = bytes_of(&(&other, Some(0xff_u8)));
                assert_eq!(longer.starts_with(&prefix), first == other, "{first:x?} {other:x?}");
            }
        }
    }

    #[test]
    fn bytes_are_as_the_documentation_says() {
        let key = bytes_of(&("ada", Some(-2i16)));
        assert_eq!(key, [0x61, 0x64, 0x61, 0, 0, 1, 0x7f, 0xfe]);
        assert_eq!(bytes_of(&(b"a\0", true, None::<u8>)), [0x61, 0, 0xff, 0, 0, 1, 0]);
        assert_eq!(bytes_of(&(1u128 << 120, i8::MIN)), [[1].as_slice(), &[0; 16]].concat());
    }

    #[test]
    fn what_is_no_such_tuple_is_not_read_as_one() {
        fn none<T: FromKey + Debug>(key: KeyRef<'_>) {
            assert!(T::from_key(key).is_none(), "{key:x?}");
        }
        none::<(bool,)>(KeyRef::Bytes(&[2]));
        none::<(Option<u8>,)>(KeyRef::Bytes(&[2, 1]));
        none::<(Vec<u8>,)>(KeyRef::Bytes(b"a\0\x01"));
        none::<(String,)>(KeyRef::Bytes(b"\xfe\0\0"));
        none::<([u8; 2],)>(KeyRef::Bytes(b"a\0\0"));
        none::<(u64,)>(KeyRef::U64(1));
        none::<u64>(KeyRef::I64(1));
        none::<i64>(KeyRef::U64(1));
        none::<String>(KeyRef::Bytes(b"\xff"));
        none::<Vec<u8>>(KeyRef::U64(1));
        assert_eq!(String::from_key(KeyRef::Bytes(b"ada")).as_deref(), Some("ada"));
        assert_eq!(
            (u64::from_key(KeyRef::U64(1)), i64::from_key(KeyRef::I64(1))),
            (Some(1), Some(1))
        );
    }
}
