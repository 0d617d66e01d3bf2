//! Entries of an index in bulk and in order, as a checkpoint wrote them.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

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
        let mut cursor = self.cursor();
        std::iter::from_fn(move || {
            let bits = cursor.advance()?;
            Some((cursor.key.clone(), bits))
        })
    }

    /// Whether no key is there twice, in whatever order they are. Takes 8 bytes of memory for each.
    pub fn are_distinct(&self) -> bool {
        let mut hashes = Vec::new();
        let mut cursor = self.cursor();
        while cursor.advance().is_some() {
            hashes.push(hash_of(cursor.key()));
        }
        hashes.sort_unstable();
        let twice = hashes.windows(2).filter(|pair| pair[0] == pair[1]);
        let twice: BTreeSet<u64> = twice.map(|pair| pair[0]).collect();
        if twice.is_empty() {
            return true;
        }
        let (mut seen, mut cursor) = (BTreeSet::new(), self.cursor());
        while cursor.advance().is_some() {
            let key = cursor.key();
            if twice.contains(&hash_of(key)) && !seen.insert(key.to_vec()) {
                return false;
            }
        }
        true
    }

    /// To go through them without a copy of each key.
    pub fn cursor(&self) -> ByteCursor<'_> {
        ByteCursor { rest: &self.bytes, key: Vec::new() }
    }
}

/// Two keys may share a hash: that only means that they have to be compared.
fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

/// Goes through entries of byte keys that were checked.
pub(crate) struct ByteCursor<'a> {
    rest: &'a [u8],
    key: Vec<u8>,
}

impl ByteCursor<'_> {
    /// Goes to the next entry; bits of its locator.
    pub fn advance(&mut self) -> Option<u64> {
        if self.rest.is_empty() {
            return None;
        }
        let (entry, suffix, behind) = split_entry(self.rest).expect(CHECKED);
        let shared = usize::from(entry.shared.get());
        assert!(shared <= self.key.len(), "the last key is as long as what is shared with it");
        self.rest = behind;
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        Some(entry.locator.get())
    }

    /// The key of the entry that it has gone to.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

/// The entry at the start of `bytes`, its suffix, and what stands behind it.
pub(crate) fn split_entry(bytes: &[u8]) -> Result<(&ByteEntry, &[u8], &[u8]), Defect> {
    let (entry, rest) = ByteEntry::ref_from_prefix(bytes).map_err(|_| Defect::Length)?;
    let (suffix, rest) =
        rest.split_at_checked(entry.suffix_bytes.get().into()).ok_or(Defect::Length)?;
    Ok((entry, suffix, rest))
}
