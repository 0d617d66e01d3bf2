//! Records compared with bytes: it is the value that counts, neither key nor version.

use crate::api::owned_record::OwnedRecord;
use crate::api::record::Record;

macro_rules! compare_with_bytes {
    ($([$($generics:tt)*] $record:ty, $bytes:ty;)*) => {$(
        impl<$($generics)*> PartialEq<$bytes> for $record {
            fn eq(&self, other: &$bytes) -> bool {
                self.bytes() == &other[..]
            }
        }
    )*};
}

compare_with_bytes! {
    [] Record<'_>, [u8];
    [] Record<'_>, &[u8];
    [] Record<'_>, Vec<u8>;
    [const N: usize] Record<'_>, [u8; N];
    [const N: usize] Record<'_>, &[u8; N];
    [] OwnedRecord, [u8];
    [] OwnedRecord, &[u8];
    [] OwnedRecord, Vec<u8>;
    [const N: usize] OwnedRecord, [u8; N];
    [const N: usize] OwnedRecord, &[u8; N];
}
