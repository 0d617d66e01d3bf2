//! [`UArrRef`]: a value where it lies, and the ways from its slot to its bytes.
//!
//! Invariants: nothing is copied; every access is checked against the record, so reading bytes
//! that were only opened, not validated, gives `None` at worst. A container must lie wholly below
//! the table that points to it, so no walk can go round in circles.

use super::header::Header;
use super::shape::ShapeView;
use super::spec::{SHAPE_NONE, tag};

/// One value inside a record: the root or any value below it. Copied like a reference.
///
/// ```
/// use uarr_layout::uarr::{UArrRef, uarr};
/// let record = uarr!({ "name": "Ada", "props": { "size": 3 }, "vec": f32[1.0, 2.0] });
/// let value = UArrRef::validate(&record)?;
/// assert_eq!(value.get("name").and_then(|name| name.as_str()), Some("Ada"));
/// assert_eq!(value.at("props").at("size").as_i64(), Some(3));
/// assert_eq!(value.at("vec").as_slice::<f32>(), Ok(&[1.0, 2.0][..]));
/// # Ok::<(), uarr_layout::uarr::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct UArrRef<'a> {
    /// The whole record.
    bytes: &'a [u8],
    slot: u64,
    /// Start of the table that holds the slot.
    base: u32,
    /// Start of the shapes area.
    shapes: u32,
    /// Where the slot lies.
    slot_at: u32,
    tag: u8,
}

impl<'a> UArrRef<'a> {
    #[inline]
    pub(crate) fn root(bytes: &'a [u8], header: &Header) -> Self {
        let shapes = header.shapes_offset.get();
        let slot = header.root_slot.get();
        Self { bytes, slot, base: shapes, shapes, slot_at: 24, tag: header.root_tag }
    }

    /// A value that stands for "nothing there".
    #[inline]
    pub(crate) const fn missing() -> Self {
        Self::inline(0, tag::UNDEFINED)
    }

    /// The element `index` of a typed array as a value of its own.
    #[inline]
    pub(crate) const fn inline(slot: u64, tag: u8) -> Self {
        Self { bytes: &[], slot, base: 0, shapes: 0, slot_at: 0, tag }
    }

    /// The value's tag as in the format.
    #[inline]
    #[must_use]
    pub const fn tag(&self) -> u8 {
        self.tag
    }

    #[inline]
    pub(crate) const fn slot(&self) -> u64 {
        self.slot
    }

    /// Where the slot lies in the record.
    #[inline]
    pub(crate) const fn slot_at(&self) -> u32 {
        self.slot_at
    }

    /// All bytes of the record that this value is part of; empty for elements of typed arrays.
    #[inline]
    #[must_use]
    pub const fn record_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The shapes area of the record; once validated, what
    /// [`validate_with`](super::validate_with) takes for similar records.
    #[inline]
    #[must_use]
    pub fn shapes_area(&self) -> &'a [u8] {
        self.bytes.get(self.shapes as usize..).unwrap_or(&[])
    }

    /// Where the target of this pointer starts, if `bytes` from there end before the table that
    /// holds the pointer.
    #[inline]
    pub(crate) fn target(&self, bytes: u64) -> Option<usize> {
        let rel = self.slot as u32;
        if bytes > u64::from(rel) {
            return None;
        }
        Some(self.base.checked_sub(rel)? as usize)
    }

    #[inline]
    pub(crate) fn aux(&self) -> u32 {
        (self.slot >> 32) as u32
    }

    /// The `aux` bytes this pointer leads to.
    #[inline]
    pub(crate) fn blob(&self) -> Option<&'a [u8]> {
        let len = self.aux();
        if len == 0 {
            return Some(&[]);
        }
        let start = self.target(u64::from(len))?;
        self.bytes.get(start..start + len as usize)
    }

    /// The bytes of a string that lies in its slot.
    #[inline]
    pub(crate) fn inline_blob(&self) -> Option<&'a [u8]> {
        let start = self.slot_at as usize;
        let len = self.tag.checked_sub(tag::STRING_INLINE_MIN)? as usize;
        self.bytes.get(start..start + len)
    }

    /// Shape and table position of a non-empty object.
    #[inline]
    pub(crate) fn object(&self) -> Option<(ShapeView<'a>, u32)> {
        if self.tag != tag::OBJECT || self.aux() == SHAPE_NONE {
            return None;
        }
        let at = (self.shapes as usize).checked_add(self.aux() as usize)?;
        let shape = ShapeView::parse(self.bytes.get(at..)?)?;
        let table = self.target(shape.count as u64 * 9)?;
        Some((shape, table as u32))
    }

    /// Value `index` of the table with `count` entries at `table`.
    #[inline]
    pub(crate) fn entry(&self, table: u32, count: usize, index: usize) -> Option<Self> {
        let start = table as usize;
        let slot_at = start + index * 8;
        let slot = u64::from_le_bytes(*self.bytes.get(slot_at..slot_at + 8)?.first_chunk()?);
        let tag = *self.bytes.get(start + count * 8 + index)?;
        Some(Self { slot, base: table, slot_at: slot_at as u32, tag, ..*self })
    }
}
