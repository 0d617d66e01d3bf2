//! Entries of an index in bulk and in order, as a checkpoint wrote them.

use uarr_layout::Defect;
use uarr_layout::image::ByteEntry;
use zerocopy::FromBytes;

use crate::error::Result;
use crate::key::KeyKind;

/// Entries of an index, in bulk and in order.
pub(crate) enum Entries {
    Int(Vec<(u64, u64)>),
    Bytes(ByteEntries),
}

impl Entries {
    /// None, for a table of this kind.
    pub fn empty(kind: KeyKind) -> Self {
        if kind.is_int() { Self::Int(Vec::new()) } else { Self::Bytes(ByteEntries::default()) }
    }

    /// Keys as they are stored, and bits of their locators, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Vec<u8>, u64)> {
        let (ints, bytes) = match self {
            Self::Int(list) => (list.as_slice(), None),
            Self::Bytes(list) => (&[][..], Some(list)),
        };
        let ints = ints.iter().map(|(key, bits)| (key.to_be_bytes().to_vec(), *bits));
        ints.chain(bytes.into_iter().flat_map(ByteEntries::iter))
    }

    /// Bits of the locators of all, in order.
    pub fn locators(&self) -> impl Iterator<Item = u64> {
        let (ints, bytes) = match self {
            Self::Int(list) => (list.as_slice(), ByteLocators { rest: &[] }),
            Self::Bytes(list) => (&[][..], list.locators()),
        };
        ints.iter().map(|(_, bits)| *bits).chain(bytes)
    }
}

/// The entries of an image of byte keys, as they stand in it: whole keys may be many times as long.
#[derive(Default)]
pub(crate) struct ByteEntries {
    /// Entry after entry; the first of each piece shares nothing with the one before.
    pub bytes: Vec<u8>,
}

/// The locators of entries of byte keys that were checked.
pub(crate) struct ByteLocators<'a> {
    rest: &'a [u8],
}

impl Iterator for ByteLocators<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.rest.is_empty() {
            return None;
        }
        let (entry, _, rest) = split_entry(self.rest).expect(CHECKED);
        self.rest = rest;
        Some(entry.locator.get())
    }
}

const CHECKED: &str = "entries were checked when the image was read";

impl ByteEntries {
    /// Bits of the locators of all, in order.
    pub fn locators(&self) -> ByteLocators<'_> {
        ByteLocators { rest: &self.bytes }
    }

    /// Keys and locators, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Vec<u8>, u64)> {
        let mut rest = self.bytes.as_slice();
        let mut key = Vec::new();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (entry, suffix, behind) = split_entry(rest).expect(CHECKED);
            let shared = usize::from(entry.shared.get());
            assert!(shared <= key.len(), "the last key is as long as what is shared with it");
            rest = behind;
            key.truncate(shared);
            key.extend_from_slice(suffix);
            Some((key.clone(), entry.locator.get()))
        })
    }
}

/// The entry at the start of `bytes`, its suffix, and what stands behind it.
pub(crate) fn split_entry(bytes: &[u8]) -> Result<(&ByteEntry, &[u8], &[u8]), Defect> {
    let (entry, rest) = ByteEntry::ref_from_prefix(bytes).map_err(|_| Defect::Length)?;
    let (suffix, rest) =
        rest.split_at_checked(entry.suffix_bytes.get().into()).ok_or(Defect::Length)?;
    Ok((entry, suffix, rest))
}
