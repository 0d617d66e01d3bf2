//! Validation: one pass that visits every byte of a record exactly once.
//!
//! A cursor follows the walk the writer made. Each pointer must lead to the cursor, each padding
//! byte must be 0, each table must start where its children ended. So nothing overlaps, nothing
//! is shared, nothing is left out, and a record that is accepted is the only encoding of its value.
//!
//! Cost: linear in the bytes. The walk fails at the first broken rule; containers whose end has
//! not been reached yet are at most 64, so hostile counts cost no more than 64 passes.

use super::error::Error;
use super::header::Header;
use super::number::{Decimal, is_canonical_big};
use super::reference::UArrRef;
use super::shape_check::ShapeScan;
use super::spec::{DEPTH_MAX, ELEMENTS_MAX, HEADER_BYTES, SHAPE_NONE, align8, element_bytes, tag};
use super::text::is_utf8;

/// See [`UArrRef::validate`].
pub(crate) fn validate(bytes: &[u8]) -> Result<UArrRef<'_>, Error> {
    validate_with(bytes, &[])
}

/// Like [`UArrRef::validate`], for a record whose shapes area often equals `known_shapes`: the
/// shapes area of a record that was validated before. If it does, its shapes are compared instead
/// of checked again.
///
/// # Errors
/// The first broken rule and where.
pub fn validate_with<'a>(bytes: &'a [u8], known_shapes: &[u8]) -> Result<UArrRef<'a>, Error> {
    let header = Header::parse(bytes)?;
    //= VAL-1
    if header.has_crc() {
        let (expected, present) = (header.crc32c.get(), crc32c::crc32c(&bytes[8..]));
        if expected != present {
            return Err(Error::Crc { expected, present });
        }
    } else if header.crc32c.get() != 0 {
        return Err(Error::Crc { expected: header.crc32c.get(), present: 0 });
    }
    let shapes_at = header.shapes_offset.get() as usize;
    let shapes = ShapeScan::new(bytes, shapes_at, header.is_sorted(), known_shapes);
    let mut walk = Walk { bytes, cursor: HEADER_BYTES, shapes };
    let root = Raw { slot: header.root_slot.get(), tag: header.root_tag, at: 24, tag_at: 20 };
    walk.value(root, shapes_at, 0)?;
    let end = walk.padded()?;
    //= VAL-10
    if end != shapes_at {
        return Err(Error::Trailing { at: end as u32 });
    }
    walk.shapes.finish()?;
    Ok(UArrRef::root(bytes, header))
}

/// A slot and tag with their places.
#[derive(Clone, Copy)]
struct Raw {
    slot: u64,
    tag: u8,
    at: usize,
    tag_at: usize,
}

impl Raw {
    #[inline]
    fn aux(&self) -> usize {
        (self.slot >> 32) as usize
    }

    #[inline]
    fn slot_error(&self) -> Error {
        Error::Slot { at: self.at as u32 }
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    cursor: usize,
    shapes: ShapeScan<'a>,
}

impl<'a> Walk<'a> {
    /// Checks one value whose slot counts back from `base`.
    //= VAL-2, VAL-3, VAL-11
    #[inline]
    fn value(&mut self, raw: Raw, base: usize, depth: u32) -> Result<(), Error> {
        match raw.tag {
            tag::NULL | tag::UNDEFINED if raw.slot == 0 => Ok(()),
            tag::BOOL if raw.slot <= 1 => Ok(()),
            tag::INT | tag::F64 | tag::TIME | tag::NODE | tag::DURATION => Ok(()),
            tag::UINT if raw.slot > i64::MAX as u64 => Ok(()),
            tag::STRING_INLINE_MIN..=tag::STRING_INLINE_MAX => inline_string(raw),
            tag::STRING => {
                if raw.aux() <= 8 {
                    return Err(Error::Canonical { at: raw.at as u32 });
                }
                self.text(raw, base)
            }
            tag::NULL | tag::UNDEFINED | tag::BOOL | tag::UINT => Err(raw.slot_error()),
            tag::ARRAY_I8..=tag::ARRAY_NODE => self.array(raw, base),
            tag::LIST => self.list(raw, base, depth),
            tag::OBJECT => self.object(raw, base, depth),
            _ => self.rare(raw, base),
        }
    }

    fn rare(&mut self, raw: Raw, base: usize) -> Result<(), Error> {
        let at = raw.at as u32;
        match raw.tag {
            tag::BYTES if raw.aux() == 0 => empty(raw),
            tag::BYTES => self.target(raw, base, raw.aux()).map(|_| ()),
            tag::NODE_NAME if raw.aux() == 0 => Err(raw.slot_error()),
            tag::NODE_NAME => self.text(raw, base),
            tag::BIG_INT => {
                let bytes = self.target(raw, base, raw.aux())?;
                if is_canonical_big(bytes) { Ok(()) } else { Err(Error::BigInt { at }) }
            }
            tag::ID128 if raw.aux() == 16 => {
                self.padded()?;
                self.target(raw, base, 16).map(|_| ())
            }
            tag::DECIMAL if raw.aux() == Decimal::BYTES => {
                let bytes = self.target(raw, base, Decimal::BYTES)?;
                Decimal::from_bytes(bytes).map(|_| ()).ok_or(Error::Canonical { at })
            }
            tag::ID128 | tag::DECIMAL => Err(raw.slot_error()),
            tag => Err(Error::Tag { at: raw.tag_at as u32, tag }),
        }
    }

    /// Moves the cursor over its padding, which must be 0.
    //= VAL-5
    #[inline]
    fn padded(&mut self) -> Result<usize, Error> {
        let end = align8(self.cursor);
        let pad = self.bytes.get(self.cursor..end).unwrap_or(&[]);
        if pad.iter().any(|byte| *byte != 0) {
            return Err(Error::Pad { at: self.cursor as u32 });
        }
        self.cursor = end;
        Ok(end)
    }

    /// The `len` bytes a pointer leads to: they must start at the cursor and end before `base`.
    //= VAL-4
    #[inline]
    fn target(&mut self, raw: Raw, base: usize, len: usize) -> Result<&'a [u8], Error> {
        let expected = self.cursor;
        let present = base.checked_sub(raw.slot as u32 as usize);
        let room = base.checked_sub(expected);
        if present != Some(expected) || room.is_none_or(|room| len > room) {
            return Err(Error::Offset { at: raw.at as u32 });
        }
        self.cursor = expected + len;
        Ok(&self.bytes[expected..self.cursor])
    }

    //= VAL-6
    #[inline]
    fn text(&mut self, raw: Raw, base: usize) -> Result<(), Error> {
        let start = self.cursor as u32;
        let text = self.target(raw, base, raw.aux())?;
        if is_utf8(text) { Ok(()) } else { Err(Error::Utf8 { at: start }) }
    }

    #[inline]
    fn array(&mut self, raw: Raw, base: usize) -> Result<(), Error> {
        let Some(width) = element_bytes(raw.tag) else {
            return Err(Error::Tag { at: raw.tag_at as u32, tag: raw.tag });
        };
        let count = raw.aux();
        if count == 0 {
            return empty(raw);
        }
        if count > ELEMENTS_MAX {
            return Err(raw.slot_error());
        }
        self.padded()?;
        self.target(raw, base, count * width).map(|_| ())
    }

    #[inline]
    fn list(&mut self, raw: Raw, base: usize, depth: u32) -> Result<(), Error> {
        let count = raw.aux();
        if count == 0 {
            return empty(raw);
        }
        if count > ELEMENTS_MAX {
            return Err(raw.slot_error());
        }
        self.table(raw, base, count, depth)
    }

    #[inline]
    fn object(&mut self, raw: Raw, base: usize, depth: u32) -> Result<(), Error> {
        if raw.aux() == SHAPE_NONE as usize {
            return if raw.slot as u32 == 0 { Ok(()) } else { Err(raw.slot_error()) };
        }
        let count = self.shapes.peek_count(raw.aux(), raw.at)?;
        self.table(raw, base, count, depth)?;
        self.shapes.use_shape(raw.aux(), raw.at)
    }

    /// Checks the children of a container and then the place of its table.
    fn table(&mut self, raw: Raw, base: usize, count: usize, depth: u32) -> Result<(), Error> {
        //= VAL-9
        if depth >= DEPTH_MAX {
            return Err(Error::Depth { at: raw.at as u32 });
        }
        let offset_error = Error::Offset { at: raw.at as u32 };
        let table = base.checked_sub(raw.slot as u32 as usize).ok_or(offset_error)?;
        // Both counts are limited far below the range of usize: no overflow, on 32 bits neither.
        let entries = self.bytes[..base].get(table..table + count * 9).ok_or(offset_error)?;
        if table < self.cursor || table & 7 != 0 {
            return Err(offset_error);
        }
        let (slots, tags) = entries.split_at(count * 8);
        for (index, (slot, tag)) in slots.as_chunks::<8>().0.iter().zip(tags).enumerate() {
            let slot = u64::from_le_bytes(*slot);
            if is_plain(*tag, slot) {
                continue;
            }
            let child =
                Raw { slot, tag: *tag, at: table + index * 8, tag_at: table + count * 8 + index };
            self.value(child, table, depth + 1)?;
        }
        if self.padded()? != table {
            return Err(offset_error);
        }
        self.cursor = table + count * 9;
        Ok(())
    }
}

/// Inline tags whose slot is right if no bit of [`BITS_IN_DOUBT`] is set.
const PLAIN_TAGS: u32 = 1 << tag::NULL
    | 1 << tag::UNDEFINED
    | 1 << tag::BOOL
    | 1 << tag::INT
    | 1 << tag::F64
    | 1 << tag::TIME
    | 1 << tag::NODE
    | 1 << tag::DURATION
    | 0x1FF << tag::STRING_INLINE_MIN;

/// Bits of the slot of an inline tag that are 0 or need a closer look: unused ones, and in strings
/// the high bit of each byte.
const BITS_IN_DOUBT: [u64; 32] = {
    let mut bits = [0; 32];
    bits[tag::NULL as usize] = u64::MAX;
    bits[tag::UNDEFINED as usize] = u64::MAX;
    bits[tag::BOOL as usize] = !1;
    let mut len = 0;
    while len <= 8 {
        let unused = if len == 8 { 0 } else { u64::MAX << (8 * len) };
        bits[tag::STRING_INLINE_MIN as usize + len] = unused | 0x8080_8080_8080_8080;
        len += 1;
    }
    bits
};

/// Whether this is an inline value without a fault. Most values are; all others, right or wrong,
/// take [`Walk::value`].
#[inline]
fn is_plain(tag: u8, slot: u64) -> bool {
    let place = tag as usize % BITS_IN_DOUBT.len();
    tag < tag::POINTER_MIN && PLAIN_TAGS >> place & 1 != 0 && slot & BITS_IN_DOUBT[place] == 0
}

/// Empty arrays and bytes have no target.
#[inline]
fn empty(raw: Raw) -> Result<(), Error> {
    if raw.slot == 0 { Ok(()) } else { Err(raw.slot_error()) }
}

#[inline]
fn inline_string(raw: Raw) -> Result<(), Error> {
    let len = (raw.tag - tag::STRING_INLINE_MIN) as usize;
    if len < 8 && raw.slot >> (8 * len) != 0 {
        return Err(raw.slot_error());
    }
    if raw.slot & 0x8080_8080_8080_8080 == 0 {
        return Ok(());
    }
    match std::str::from_utf8(&raw.slot.to_le_bytes()[..len]) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Utf8 { at: raw.at as u32 }),
    }
}
