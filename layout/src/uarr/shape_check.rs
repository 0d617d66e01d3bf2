//! Validation of the shapes area.
//!
//! Invariants: shapes are met in the order they lie in, each is checked in full when it is first
//! used; a later use must hit the start of one that was. At the end all of the area was used.

use std::collections::HashSet;

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::error::Error;
use super::key::{fingerprint, hash32, name_hash, names_equal};
use super::shape::ShapeView;
use super::spec::{FINGERPRINT_NAMES_MAX, NAME_BYTES_MAX, NAMES_MAX, align8, lookup_bytes};

/// Words of the stack bitmap of shape starts: one bit per 8 bytes, 8 KiB of shapes.
const STACK_WORDS: usize = 16;

pub(crate) struct ShapeScan<'a> {
    area_at: usize,
    area: &'a [u8],
    is_known: bool,
    is_sorted: bool,
    /// Offset of the first shape that was not used yet.
    next: usize,
    starts: [u64; STACK_WORDS],
    /// Used instead of `starts` for an area above 8 KiB.
    more_starts: Vec<u64>,
    /// The shapes so far, for such an area.
    more_shapes: HashSet<&'a [u8]>,
}

impl<'a> ShapeScan<'a> {
    pub fn new(record: &'a [u8], area_at: usize, is_sorted: bool, known: &[u8]) -> Self {
        let area = &record[area_at..];
        // A sorted record must not be vouched for by one that made no such promise.
        let is_known = !is_sorted && !known.is_empty() && known == area;
        let words = area.len().div_ceil(512);
        let more_starts = if words > STACK_WORDS { vec![0; words] } else { Vec::new() };
        Self {
            area_at,
            area,
            is_known,
            is_sorted,
            next: 0,
            starts: [0; STACK_WORDS],
            more_starts,
            more_shapes: HashSet::new(),
        }
    }

    /// Number of names of the shape at `offset`, which is checked later.
    #[inline]
    pub fn peek_count(&self, offset: usize, slot_at: usize) -> Result<usize, Error> {
        let at = slot_at as u32;
        let head = self.area.get(offset..).and_then(|rest| rest.first_chunk::<4>());
        let Some(head) = head else { return Err(Error::Slot { at }) };
        let count = u32::from_le_bytes(*head) as usize;
        if count == 0 || count > NAMES_MAX || offset & 7 != 0 {
            return Err(Error::Slot { at });
        }
        Ok(count)
    }

    /// The object at `slot_at` is finished and has the shape at `offset`.
    #[inline]
    pub fn use_shape(&mut self, offset: usize, slot_at: usize) -> Result<(), Error> {
        let error = Error::Slot { at: slot_at as u32 };
        let (word, bit) = (offset / 512, 1u64 << (offset / 8 % 64));
        if offset < self.next {
            let is_start = self.starts().get(word).is_some_and(|word| word & bit != 0);
            return if is_start { Ok(()) } else { Err(error) };
        }
        if offset != self.next || word >= self.starts().len() {
            return Err(error);
        }
        self.check(offset)?;
        let starts = if self.more_starts.is_empty() {
            &mut self.starts[..]
        } else {
            &mut self.more_starts[..]
        };
        starts[word] |= bit;
        Ok(())
    }

    #[inline]
    fn starts(&self) -> &[u64] {
        if self.more_starts.is_empty() { &self.starts } else { &self.more_starts }
    }

    /// Whether an earlier shape has the same bytes as this one.
    fn is_repeated(&mut self, blob: &'a [u8]) -> bool {
        if !self.more_starts.is_empty() {
            return !self.more_shapes.insert(blob);
        }
        // At most 341 shapes fit 8 KiB; the first bytes tell most of them apart.
        for (index, word) in self.starts.iter().enumerate() {
            let mut bits = *word;
            while bits != 0 {
                let at = index * 512 + bits.trailing_zeros() as usize * 8;
                if self.area[at..].starts_with(blob) {
                    return true;
                }
                bits &= bits - 1;
            }
        }
        false
    }

    /// All shapes must have been used.
    pub fn finish(&self) -> Result<(), Error> {
        if self.next == self.area.len() {
            Ok(())
        } else {
            Err(Error::Trailing { at: (self.area_at + self.next) as u32 })
        }
    }

    fn check(&mut self, offset: usize) -> Result<(), Error> {
        let at = (self.area_at + offset) as u32;
        let error = Error::Shape { at };
        let shape = ShapeView::parse(&self.area[offset..]).ok_or(error)?;
        let used = shape.bytes_unpadded();
        let end = offset + align8(used);
        let padding = self.area.get(offset + used..end).ok_or(error)?;
        self.next = end;
        if self.is_known {
            return Ok(());
        }
        if self.is_repeated(&self.area[offset..end]) {
            return Err(error);
        }
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Error::Pad { at: at + used as u32 });
        }
        let names_at = at + (used - shape.names.len()) as u32;
        if shape.count <= FINGERPRINT_NAMES_MAX {
            check_fingerprints(&shape, at, names_at)?;
        } else {
            check_ends(&shape, at, names_at, |_, _| Ok(()))?;
            check_sorted_hashes(&shape, at, names_at)?;
        }
        if self.is_sorted { check_order(&shape, names_at) } else { Ok(()) }
    }
}

/// Ends ascend, reach the end of the names and cut between characters; names keep their limit, and
/// `check` says yes to each.
#[inline]
fn check_ends<'a>(
    shape: &ShapeView<'a>,
    at: u32,
    names_at: u32,
    mut check: impl FnMut(usize, &'a [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let text = std::str::from_utf8(shape.names).map_err(|_| Error::Utf8 { at: names_at })?;
    let mut start = 0;
    for index in 0..shape.count {
        let end = shape.end(index).ok_or(Error::Shape { at })?;
        if end < start || end > text.len() {
            return Err(Error::Shape { at });
        }
        if end - start > NAME_BYTES_MAX || !text.is_char_boundary(end) {
            return Err(Error::Name { at: names_at + start as u32 });
        }
        check(index, &shape.names[start..end])?;
        start = end;
    }
    if start == text.len() { Ok(()) } else { Err(Error::Shape { at }) }
}

fn name<'a>(shape: &ShapeView<'a>, index: usize) -> &'a [u8] {
    shape.name_bytes(index).expect("the ends were checked")
}

fn name_error(shape: &ShapeView<'_>, index: usize, names_at: u32) -> Error {
    Error::Name { at: names_at + shape.start(index).unwrap_or(0) as u32 }
}

fn check_order(shape: &ShapeView<'_>, names_at: u32) -> Result<(), Error> {
    match (1..shape.count).find(|index| name(shape, index - 1) >= name(shape, *index)) {
        Some(index) => Err(name_error(shape, index, names_at)),
        None => Ok(()),
    }
}

fn check_fingerprints(shape: &ShapeView<'_>, at: u32, names_at: u32) -> Result<(), Error> {
    let (prints, padding) = shape.lookup.split_at(shape.count);
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Error::Pad { at: at + 8 + shape.count as u32 });
    }
    let mut seen = [0u64; 4];
    check_ends(shape, at, names_at, |index, this| {
        let print = prints[index];
        if print != fingerprint(name_hash(this)) {
            return Err(Error::Shape { at });
        }
        let (word, bit) = (usize::from(print >> 6), 1u64 << (print & 63));
        let may_repeat = seen[word] & bit != 0;
        seen[word] |= bit;
        let is_same =
            |other: usize| prints[other] == print && names_equal(name(shape, other), this);
        if may_repeat && (0..index).any(is_same) {
            return Err(name_error(shape, index, names_at));
        }
        Ok(())
    })
}

fn check_sorted_hashes(shape: &ShapeView<'_>, at: u32, names_at: u32) -> Result<(), Error> {
    assert!(shape.lookup.len() == lookup_bytes(shape.count), "the view has the whole lookup");
    let error = Error::Shape { at };
    let (hashes, _) =
        <[U32]>::ref_from_prefix_with_elems(shape.lookup, shape.count).map_err(|_| error)?;
    let mut before: Option<(u32, &[u8])> = None;
    for (rank, hash) in hashes.iter().enumerate() {
        let index = shape.perm(rank).filter(|index| *index < shape.count).ok_or(error)?;
        let this = (hash.get(), name(shape, index));
        if this.0 != hash32(name_hash(this.1)) {
            return Err(error);
        }
        match before {
            Some(other) if other == this => return Err(name_error(shape, index, names_at)),
            Some(other) if other > this => return Err(error),
            _ => before = Some(this),
        }
    }
    Ok(())
}
