//! What names a range of keys.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

use crate::error::{Error, Result};
use crate::key::{AsKey, KeyKind};
use crate::key_form::stored_prefix;
use crate::key_space::KeySpace;

/// A range of keys: `a..b` and its like of any [`AsKey`], `..` for all, and pairs of [`Bound`]s.
///
/// As each such type has one kind of key, the compiler always knows it:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = uarr::Db::open(&dir)?;
/// use std::ops::Bound;
///
/// db.batch().put("a", b"1").put("b", b"2").put("c", b"3").commit()?;
/// let (low, high) = (b"a".to_vec(), String::from("c"));
/// assert_eq!(db.range(..)?.count(), 3);
/// assert_eq!(db.range(b"a"..b"c")?.count(), 2);
/// assert_eq!(db.range(&low..)?.count(), 3);
/// assert_eq!(db.range(..=&high[..])?.count(), 3);
/// assert_eq!(db.range((Bound::Excluded(&low), Bound::Unbounded))?.count(), 2);
/// # Ok(())
/// # }
/// ```
pub trait KeyRange {
    /// What its bounds are.
    type Key: AsKey + ?Sized;
    /// Where it begins.
    fn low(&self) -> Bound<&Self::Key>;
    /// Where it ends.
    fn high(&self) -> Bound<&Self::Key>;
}

macro_rules! key_ranges {
    ($($range:ty),*) => {$(
        impl<K: AsKey> KeyRange for $range {
            type Key = K;

            fn low(&self) -> Bound<&K> {
                RangeBounds::<K>::start_bound(self)
            }

            fn high(&self) -> Bound<&K> {
                RangeBounds::<K>::end_bound(self)
            }
        }
    )*};
}

key_ranges!(
    Range<K>,
    RangeInclusive<K>,
    RangeFrom<K>,
    RangeTo<K>,
    RangeToInclusive<K>,
    (Bound<K>, Bound<K>)
);

impl KeyRange for RangeFull {
    type Key = [u8];

    fn low(&self) -> Bound<&[u8]> {
        Bound::Unbounded
    }

    fn high(&self) -> Bound<&[u8]> {
        Bound::Unbounded
    }
}

impl<R: KeyRange> KeyRange for &R {
    type Key = R::Key;

    fn low(&self) -> Bound<&R::Key> {
        (**self).low()
    }

    fn high(&self) -> Bound<&R::Key> {
        (**self).high()
    }
}

/// A range in the form in which keys are stored.
#[derive(Clone)]
pub(crate) struct StoredRange {
    pub low: Bound<Vec<u8>>,
    pub high: Bound<Vec<u8>>,
}

impl StoredRange {
    /// All keys.
    pub fn all() -> Self {
        Self { low: Bound::Unbounded, high: Bound::Unbounded }
    }

    /// No key.
    pub fn empty() -> Self {
        Self { low: Bound::Unbounded, high: Bound::Excluded(Vec::new()) }
    }

    /// The keys in `range`, in a table of this kind. A bound may be empty in tables with byte keys.
    pub fn of(space: KeySpace, range: impl KeyRange) -> Result<Self> {
        let (low, high) = (low_bound(space, range.low())?, high_bound(space, range.high())?);
        Ok(Self { low, high })
    }

    /// The byte keys that start with `prefix`; all keys if it is empty.
    pub fn of_prefix(space: KeySpace, prefix: &(impl AsKey + ?Sized)) -> Result<Self> {
        space.check_order("prefixes")?;
        let kind = space.kind;
        if prefix.kind() != KeyKind::Bytes {
            return Err(Error::invalid("an integer is no prefix of keys; use a range"));
        }
        if kind != KeyKind::Bytes {
            return Err(Error::invalid(format!(
                "prefixes are for tables with bytes keys, this one has {kind} keys; use a range"
            )));
        }
        let prefix = stored_prefix(prefix.to_key().as_ref());
        let high = prefix_end(&prefix);
        let low = match prefix.is_empty() {
            true => Bound::Unbounded,
            false => Bound::Included(space.bound(prefix)),
        };
        Ok(Self { low, high: high.map(|end| space.bound(end)) })
    }
}

/// Where a range begins, in the form in which keys are stored.
pub(in crate::api) fn low_bound<K: AsKey + ?Sized>(
    space: KeySpace,
    bound: Bound<&K>,
) -> Result<Bound<Vec<u8>>> {
    Ok(match stored_bound(space, bound)? {
        // Every key lies behind the empty one.
        Bound::Included(key) if key.is_empty() => Bound::Unbounded,
        low => low.map(|key| space.bound(key)),
    })
}

/// Where a range ends, in the form in which keys are stored.
pub(in crate::api) fn high_bound<K: AsKey + ?Sized>(
    space: KeySpace,
    bound: Bound<&K>,
) -> Result<Bound<Vec<u8>>> {
    let high = match stored_bound(space, bound)? {
        // And no key is the empty one.
        Bound::Included(key) if key.is_empty() => Bound::Excluded(key),
        high => high,
    };
    Ok(high.map(|key| space.bound(key)))
}

/// The stored form of a bound. Unlike a key it may be empty in tables with byte keys.
fn stored_bound<K: AsKey + ?Sized>(space: KeySpace, bound: Bound<&K>) -> Result<Bound<Vec<u8>>> {
    let kind = space.kind;
    if !matches!(bound, Bound::Unbounded) {
        space.check_order("ranges and seek")?;
    }
    let encode = |key: &K| -> Result<Vec<u8>> {
        let is_bytes = kind == KeyKind::Bytes && key.kind() == kind;
        if is_bytes && key.to_key().as_ref().is_empty() {
            return Ok(Vec::new());
        }
        Ok(kind.encode(key)?.as_ref().to_vec())
    };
    Ok(match bound {
        Bound::Included(key) => Bound::Included(encode(key)?),
        Bound::Excluded(key) => Bound::Excluded(encode(key)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

/// The first key behind all keys that start with `prefix`.
fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff);
    match last {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(prefix_end(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), Bound::Unbounded);
        assert_eq!(prefix_end(b""), Bound::Unbounded);
    }
}
