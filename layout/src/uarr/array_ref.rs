//! [`ArrayRef`]: a typed array where it lies.

use super::reference::UArrRef;
use super::spec::{element_bytes, tag};

/// A typed array whose element type is known at run time.
#[derive(Clone, Copy)]
pub struct ArrayRef<'a> {
    tag: u8,
    bytes: &'a [u8],
}

impl<'a> ArrayRef<'a> {
    #[inline]
    pub(crate) fn new(tag: u8, bytes: &'a [u8]) -> Self {
        Self { tag, bytes }
    }

    /// The typed array that `value` is, if its bytes lie in its record.
    #[inline]
    pub(crate) fn of(value: &UArrRef<'a>) -> Option<Self> {
        let width = element_bytes(value.tag())?;
        let count = value.aux();
        if count == 0 {
            return Some(Self::new(value.tag(), &[]));
        }
        let bytes = u64::from(count) * width as u64;
        let start = value.target(bytes)?;
        let elements = value.record_bytes().get(start..start + bytes as usize)?;
        Some(Self::new(value.tag(), elements))
    }

    /// Tag of the array, one of `0x30` to `0x3A`.
    #[must_use]
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// The elements, little endian.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    fn width(&self) -> usize {
        element_bytes(self.tag).expect("an array has the tag of a typed array")
    }

    /// Number of elements.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Name of the element type, as the typed notation writes it.
    #[must_use]
    pub fn element_name(&self) -> &'static str {
        const NAMES: [&str; 11] =
            ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64", "ref"];
        NAMES[(self.tag - tag::ARRAY_I8) as usize]
    }

    /// Element `index` as a value: integers, doubles (an `f32` is widened) or references. O(1).
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<UArrRef<'a>> {
        let width = self.width();
        let start = index.checked_mul(width)?;
        let bytes = self.bytes.get(start..)?.get(..width)?;
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(bytes);
        let raw = u64::from_le_bytes(wide);
        let (slot, tag) = match self.tag {
            tag::ARRAY_I8 => (i64::from(raw as i8) as u64, tag::INT),
            tag::ARRAY_I16 => (i64::from(raw as i16) as u64, tag::INT),
            tag::ARRAY_I32 => (i64::from(raw as i32) as u64, tag::INT),
            tag::ARRAY_U64 if raw > i64::MAX as u64 => (raw, tag::UINT),
            tag::ARRAY_F32 => (f64::from(f32::from_bits(raw as u32)).to_bits(), tag::F64),
            tag::ARRAY_F64 => (raw, tag::F64),
            tag::ARRAY_NODE => (raw, tag::NODE),
            _ => (raw, tag::INT),
        };
        Some(UArrRef::inline(slot, tag))
    }
}
