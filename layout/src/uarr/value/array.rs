//! [`Array`]: an owned typed array.

use crate::uarr::array_ref::ArrayRef;
use crate::uarr::element::Element;
use crate::uarr::spec::element_bytes;

/// An owned typed array.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Array {
    tag: u8,
    /// Little-endian elements.
    bytes: Vec<u8>,
}

impl Array {
    /// The array of these elements.
    #[must_use]
    pub fn new<T: Element>(values: &[T]) -> Self {
        let mut bytes = vec![0; size_of_val(values)];
        T::write_le(values, &mut bytes);
        Self { tag: T::TAG, bytes }
    }

    /// A copy of `array`.
    pub(super) fn copy_of(array: &ArrayRef<'_>) -> Self {
        Self { tag: array.tag(), bytes: array.bytes().to_vec() }
    }

    /// View of the elements.
    #[must_use]
    pub fn as_array(&self) -> ArrayRef<'_> {
        ArrayRef::new(self.tag, &self.bytes)
    }

    pub(crate) fn tag(&self) -> u8 {
        self.tag
    }

    fn width(&self) -> usize {
        element_bytes(self.tag).expect("an array has the tag of a typed array")
    }

    /// The elements from `first` on.
    pub(crate) fn tail(&self, first: usize) -> Self {
        Self { tag: self.tag, bytes: self.bytes[first * self.width()..].to_vec() }
    }

    /// Appends the elements of an array of the same type. False, and nothing done, for another.
    pub(crate) fn append(&mut self, other: &Self) -> bool {
        let is_same = self.tag == other.tag;
        if is_same {
            self.bytes.extend_from_slice(&other.bytes);
        }
        is_same
    }

    /// The bytes of an element.
    pub(super) fn element_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let width = self.width();
        self.bytes.chunks_exact_mut(width).nth(index)
    }

    /// Removes an element. False if there is none.
    pub(crate) fn remove(&mut self, index: usize) -> bool {
        let width = self.width();
        let is_there = index < self.as_array().len();
        if is_there {
            self.bytes.drain(index * width..(index + 1) * width);
        }
        is_there
    }
}
