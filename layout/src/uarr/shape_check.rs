//! Validation of the shapes area.
//!
//! Invariants: shapes are met in the order they lie in, each is checked in full when it is first
//! used; a later use must hit the start of one that was. At the end all of the area was used.

use std::collections::HashSet;

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::error::Error;
use super::key::{fingerprint, hash32, name_hash};
use super::shape::ShapeView;
use super::spec::{FINGERPRINT_NAMES_MAX, NAME_BYTES_MAX, NAMES_MAX, align8, lookup_bytes};
use super::text::is_utf8;

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
    large: Option<LargeArea<'a>>,
}

/// What is remembered of an area above 8 KiB.
struct LargeArea<'a> {
    starts: Vec<u64>,
    /// The shapes so far.
    shapes: HashSet<&'a [u8]>,
}

impl<'a> ShapeScan<'a> {
    pub fn new(record: &'a [u8], area_at: usize, is_sorted: bool, known: &[u8]) -> Self {
        let area = &record[area_at..];
        // A sorted record must not be vouched for by one that made no such promise.
        let is_known = !is_sorted && !known.is_empty() && known == area;
        let words = area.len().div_ceil(512);
        let large = (words > STACK_WORDS)
            .then(|| LargeArea { starts: vec![0; words], shapes: HashSet::new() });
        Self { area_at, area, is_known, is_sorted, next: 0, starts: [0; STACK_WORDS], large }
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
        let starts = match &mut self.large {
            Some(large) => &mut large.starts[..],
            None => &mut self.starts[..],
        };
        starts[word] |= bit;
        Ok(())
    }

    #[inline]
    fn starts(&self) -> &[u64] {
        self.large.as_ref().map_or(&self.starts, |large| &large.starts)
    }

    /// Whether a shape before `offset` has the same bytes as this one, which starts there.
    fn is_repeated(&mut self, offset: usize, blob: &'a [u8]) -> bool {
        if let Some(large) = &mut self.large {
            return !large.shapes.insert(blob);
        }
        // At most 341 shapes fit 8 KiB; most of them differ in their first bytes.
        for (index, word) in self.starts[..=offset / 512].iter().enumerate() {
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

    //= VAL-7
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
        if self.is_repeated(offset, &self.area[offset..end]) {
            return Err(error);
        }
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Error::Pad { at: at + used as u32 });
        }
        let names_at = at + (used - shape.names.len()) as u32;
        if shape.count <= FINGERPRINT_NAMES_MAX {
            check_fingerprints(&shape, at, names_at)?;
        } else {
            let mut names = CheckedNames::new(&shape, at, names_at)?;
            (0..shape.count).try_for_each(|index| names.name(index).map(|_| ()))?;
            names.finish()?;
            check_sorted_hashes(&shape, at, names_at)?;
        }
        if self.is_sorted { check_order(&shape, names_at) } else { Ok(()) }
    }
}

/// The names of a shape one after the other, while they keep the rules: UTF-8 cut between its
/// characters, ends that ascend to the end of the names, no name beyond its limit.
//= VAL-8
struct CheckedNames<'s, 'a> {
    shape: &'s ShapeView<'a>,
    at: u32,
    names_at: u32,
    start: usize,
}

impl<'s, 'a> CheckedNames<'s, 'a> {
    fn new(shape: &'s ShapeView<'a>, at: u32, names_at: u32) -> Result<Self, Error> {
        if !is_utf8(shape.names) {
            return Err(Error::Utf8 { at: names_at });
        }
        Ok(Self { shape, at, names_at, start: 0 })
    }

    /// Name `index`, which is one more than at the last call.
    #[inline]
    fn name(&mut self, index: usize) -> Result<&'a [u8], Error> {
        let names = self.shape.names;
        let found = self.shape.end(index).and_then(|end| Some((end, names.get(self.start..end)?)));
        let Some((end, name)) = found else { return Err(Error::Shape { at: self.at }) };
        // A character goes on with bytes of the form 10xxxxxx.
        let is_cut = names.get(end).is_some_and(|byte| byte & 0xC0 == 0x80);
        if name.len() > NAME_BYTES_MAX || is_cut {
            return Err(Error::Name { at: self.names_at + self.start as u32 });
        }
        self.start = end;
        Ok(name)
    }

    /// All names were seen: nothing must be left.
    fn finish(self) -> Result<(), Error> {
        let is_end = self.start == self.shape.names.len();
        if is_end { Ok(()) } else { Err(Error::Shape { at: self.at }) }
    }
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
    let mut names = CheckedNames::new(shape, at, names_at)?;
    for (index, print) in prints.iter().enumerate() {
        let this = names.name(index)?;
        if *print != fingerprint(name_hash(this)) {
            return Err(Error::Shape { at });
        }
        let (word, bit) = (usize::from(print >> 6), 1u64 << (print & 63));
        let may_repeat = seen[word] & bit != 0;
        seen[word] |= bit;
        if may_repeat && shape.find_fingerprint_before(index, *print, this) {
            return Err(name_error(shape, index, names_at));
        }
    }
    names.finish()
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
