//! What names a range of keys.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

use crate::key::AsKey;

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
