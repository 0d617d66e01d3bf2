//! Shapes: the name tables of objects, as they are read.
//!
//! ```text
//! n u32 | names_len u32 | lookup | ends[n] | names | zero padding to 8
//! lookup, n <= 128: fingerprint[n] u8, padded to 8     n > 128: hash32[n] ascending, perm[n]
//! ```
//! Invariant: nothing here trusts the bytes. Every access is checked and an unreadable part is
//! `None`, so a damaged shape loses names but never reads outside of the record.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::key::{Key, fingerprint, hash32, names_equal};
use super::spec::{FINGERPRINT_NAMES_MAX, NAMES_MAX, align8, end_bytes, lookup_bytes, perm_bytes};

/// Number of names and index of the field called `key` in the shape at the start of `area`. Eight
/// fingerprints per step, or a search of the sorted hashes for more than 128 names: O(n / 8) and
/// O(log n). Only what the search touches is read, so this is written apart from [`ShapeView`].
#[inline]
pub(crate) fn find(area: &[u8], key: &Key<'_>) -> Option<(usize, usize)> {
    let head = u64::from_le_bytes(*area.first_chunk::<8>()?);
    let (count, names_len) = (head as u32 as usize, (head >> 32) as usize);
    if count > FINGERPRINT_NAMES_MAX || names_len > 0xFFFF {
        return find_large(area, key);
    }
    let is_wide = names_len > 0xFF;
    let ends_at = 8 + align8(count);
    let names_at = ends_at + (count << u8::from(is_wide));
    let prints = area.get(8..ends_at)?;
    let ends = area.get(ends_at..names_at)?;
    let names = area.get(names_at..)?;
    let end_of = |index: usize| {
        if is_wide {
            let bytes = ends.get(index * 2..index * 2 + 2)?;
            Some(usize::from(u16::from_le_bytes(*bytes.first_chunk()?)))
        } else {
            ends.get(index).map(|end| usize::from(*end))
        }
    };
    let name = key.name.as_bytes();
    let pattern = u64::from(fingerprint(key.hash)).wrapping_mul(LOW_BITS);
    for (step, word) in prints.as_chunks::<8>().0.iter().enumerate() {
        let mut found = matches(u64::from_le_bytes(*word), pattern);
        while found != 0 {
            let index = step * 8 + (found.trailing_zeros() / 8) as usize;
            if index >= count {
                return None;
            }
            let end = end_of(index)?;
            let start = if index == 0 { 0 } else { end_of(index - 1)? };
            if end.wrapping_sub(start) == name.len() && names_equal(names.get(start..end)?, name) {
                return Some((count, index));
            }
            found &= found - 1;
        }
    }
    None
}

#[inline(never)]
fn find_large(area: &[u8], key: &Key<'_>) -> Option<(usize, usize)> {
    let shape = ShapeView::parse(area)?;
    let index = if shape.count > FINGERPRINT_NAMES_MAX {
        shape.find_sorted(key)?
    } else {
        shape.find_fingerprint(key)?
    };
    Some((shape.count, index))
}

/// First place whose hash is not below `wanted`. Hashes are spread evenly unless an attacker chose
/// the names: the search starts where `wanted` should be and widens its steps from there, so it is
/// short for honest names and O(log n) for any.
fn lower_bound(hashes: &[U32], wanted: u32) -> usize {
    let guess = ((u64::from(wanted) * hashes.len() as u64) >> 32) as usize;
    let is_below = |at: usize| hashes[at].get() < wanted;
    let (mut low, mut high, mut step) = (guess, guess, 4);
    while high < hashes.len() && is_below(high) {
        low = high + 1;
        high = (high + step).min(hashes.len());
        step *= 2;
    }
    while low > 0 && !is_below(low - 1) {
        high = low - 1;
        low = low.saturating_sub(step);
        step *= 2;
    }
    low + hashes[low..high].partition_point(|hash| hash.get() < wanted)
}

/// The high bit of each byte of `word` that equals its byte in `pattern`. The byte above a match
/// may be flagged too: the name is compared in any case.
#[inline]
const fn matches(word: u64, pattern: u64) -> u64 {
    let x = word ^ pattern;
    x.wrapping_sub(LOW_BITS) & !x & HIGH_BITS
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// View of one shape: the ordered names of an object.
#[derive(Clone, Copy)]
pub(crate) struct ShapeView<'a> {
    /// Number of names.
    pub count: usize,
    /// Lookup part.
    pub lookup: &'a [u8],
    /// End offsets, `end_width` bytes each.
    pub ends: &'a [u8],
    /// Bytes of an end offset.
    pub end_width: usize,
    /// All names, concatenated.
    pub names: &'a [u8],
}

impl<'a> ShapeView<'a> {
    /// The shape at the start of `area`, `None` if its parts do not fit in.
    #[inline]
    pub fn parse(area: &'a [u8]) -> Option<Self> {
        let (head, rest) = area.split_first_chunk::<8>()?;
        let head = u64::from_le_bytes(*head);
        let count = head as u32 as usize;
        let names_len = (head >> 32) as usize;
        // With this limit no size below overflows, on machines of 32 bits neither.
        if count > NAMES_MAX {
            return None;
        }
        let end_width = end_bytes(names_len);
        let (lookup, rest) = rest.split_at_checked(lookup_bytes(count))?;
        let (ends, rest) = rest.split_at_checked(count * end_width)?;
        let names = rest.get(..names_len)?;
        Some(Self { count, lookup, ends, end_width, names })
    }

    /// Bytes of the shape without its final padding.
    pub fn bytes_unpadded(&self) -> usize {
        8 + self.lookup.len() + self.ends.len() + self.names.len()
    }

    /// End offset of name `index`.
    #[inline]
    pub fn end(&self, index: usize) -> Option<usize> {
        Some(match self.end_width {
            1 => *self.ends.get(index)? as usize,
            2 => {
                let at = index * 2;
                u16::from_le_bytes(*self.ends.get(at..at + 2)?.first_chunk()?) as usize
            }
            _ => {
                let at = index * 4;
                u32::from_le_bytes(*self.ends.get(at..at + 4)?.first_chunk()?) as usize
            }
        })
    }

    /// Start offset of name `index`.
    #[inline]
    pub fn start(&self, index: usize) -> Option<usize> {
        if index == 0 { Some(0) } else { self.end(index - 1) }
    }

    /// Bytes of name `index`.
    #[inline]
    pub fn name_bytes(&self, index: usize) -> Option<&'a [u8]> {
        self.names.get(self.start(index)?..self.end(index)?)
    }

    fn find_fingerprint(&self, key: &Key<'_>) -> Option<usize> {
        let pattern = u64::from(fingerprint(key.hash)).wrapping_mul(LOW_BITS);
        for (step, word) in self.lookup.as_chunks::<8>().0.iter().enumerate() {
            let mut found = matches(u64::from_le_bytes(*word), pattern);
            while found != 0 {
                let index = step * 8 + (found.trailing_zeros() / 8) as usize;
                if index < self.count && names_equal(self.name_bytes(index)?, key.name.as_bytes()) {
                    return Some(index);
                }
                found &= found - 1;
            }
        }
        None
    }

    /// Whether a name before `index`, with the fingerprint `print`, is `name`.
    #[inline(never)]
    pub fn find_fingerprint_before(&self, index: usize, print: u8, name: &[u8]) -> bool {
        let pattern = u64::from(print).wrapping_mul(LOW_BITS);
        let words = self.lookup.as_chunks::<8>().0.iter().take(index / 8 + 1);
        for (step, word) in words.enumerate() {
            let mut found = matches(u64::from_le_bytes(*word), pattern);
            while found != 0 {
                let other = step * 8 + (found.trailing_zeros() / 8) as usize;
                if other < index && self.name_bytes(other).is_some_and(|it| names_equal(it, name)) {
                    return true;
                }
                found &= found - 1;
            }
        }
        false
    }

    fn find_sorted(&self, key: &Key<'_>) -> Option<usize> {
        let wanted = hash32(key.hash);
        let (hashes, _) = <[U32]>::ref_from_prefix_with_elems(self.lookup, self.count).ok()?;
        let mut first = lower_bound(hashes, wanted);
        let run = hashes[first..].iter().take_while(|hash| hash.get() == wanted).count();
        if run > 1 {
            // Names of equal hash ascend bytewise: hostile names cost a binary search, no more.
            let name = key.name.as_bytes();
            let (mut low, mut high) = (first, first + run);
            while low < high {
                let middle = low + (high - low) / 2;
                if self.name_bytes(self.perm(middle)?)? < name {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            first = low;
        }
        if hashes.get(first)?.get() != wanted {
            return None;
        }
        let index = self.perm(first)?;
        (index < self.count && names_equal(self.name_bytes(index)?, key.name.as_bytes()))
            .then_some(index)
    }

    /// Field index of the `rank`-th smallest hash of a large shape.
    #[inline]
    pub fn perm(&self, rank: usize) -> Option<usize> {
        let perm = self.lookup.get(self.count * 4..)?;
        Some(match perm_bytes(self.count) {
            2 => {
                let at = rank * 2;
                u16::from_le_bytes(*perm.get(at..at + 2)?.first_chunk()?) as usize
            }
            _ => {
                let at = rank * 4;
                u32::from_le_bytes(*perm.get(at..at + 4)?.first_chunk()?) as usize
            }
        })
    }
}
