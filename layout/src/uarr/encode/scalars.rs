//! Values that hold no others: numbers, text, bytes and typed arrays.

use super::waiting::F32_WAITING;
use super::{Encoder, Frame, Kind};
use crate::uarr::element::Element;
use crate::uarr::error::BuildError;
use crate::uarr::key::pack_short;
use crate::uarr::number::{BigInt, Decimal};
use crate::uarr::spec::{ELEMENTS_MAX, TOTAL_BYTES_MAX, tag};

impl Encoder {
    /// Writes null.
    #[inline]
    pub fn null(&mut self) {
        self.push(0, tag::NULL);
    }

    /// Writes undefined: left out of JSON objects.
    #[inline]
    pub fn undefined(&mut self) {
        self.push(0, tag::UNDEFINED);
    }

    /// Writes a boolean.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.push(u64::from(value), tag::BOOL);
    }

    /// Writes a signed integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        self.push(value as u64, tag::INT);
    }

    /// Writes an unsigned integer; as a signed one if it fits.
    #[inline]
    pub fn uint(&mut self, value: u64) {
        self.push(value, if value > i64::MAX as u64 { tag::UINT } else { tag::INT });
    }

    /// Writes a 128-bit integer in the shortest kind that holds it.
    pub fn int128(&mut self, value: i128) {
        if let Ok(small) = i64::try_from(value) {
            self.int(small);
        } else if let Ok(small) = u64::try_from(value) {
            self.uint(small);
        } else {
            self.big_int(&BigInt::from(value));
        }
    }

    /// Writes an integer of any size in the shortest kind that holds it.
    pub fn big_int(&mut self, value: &BigInt) {
        if let Some(small) = value.to_i64() {
            self.int(small);
        } else if let Some(small) = value.to_u64() {
            self.uint(small);
        } else {
            self.pointer(value.as_le_bytes(), tag::BIG_INT);
        }
    }

    /// Gives the integer written last another inline tag. Unless an integer was written last,
    /// nothing happens.
    #[cfg(feature = "serde")]
    pub(crate) fn retag_integer(&mut self, new_tag: u8) {
        if let Some(last) = self.waiting.last_mut()
            && matches!(last.tag, tag::INT | tag::UINT)
        {
            last.tag = new_tag;
        }
    }

    /// Writes a double, bits kept.
    #[inline]
    pub fn f64(&mut self, value: f64) {
        self.push(value.to_bits(), tag::F64);
    }

    /// Writes an element of a sequence of `f32`: packed to an `f32` array if all elements are.
    #[inline]
    pub fn f32_element(&mut self, value: f32) {
        if let Some(Frame { kind: Kind::List, .. }) = self.frames.last() {
            self.push(u64::from(value.to_bits()), F32_WAITING);
        } else {
            self.f64(f64::from(value));
        }
    }

    /// Writes a point in time, nanoseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub fn time(&mut self, nanoseconds: i64) {
        self.push(nanoseconds as u64, tag::TIME);
    }

    /// Writes a span of time in nanoseconds.
    #[inline]
    pub fn duration(&mut self, nanoseconds: i64) {
        self.push(nanoseconds as u64, tag::DURATION);
    }

    /// Writes a reference to a node by number.
    #[inline]
    pub fn node(&mut self, id: u64) {
        self.push(id, tag::NODE);
    }

    /// Writes a reference to a node by its name; an empty one is `EmptyNodeName`.
    pub fn node_name(&mut self, name: &str) {
        if name.is_empty() {
            self.fail(BuildError::EmptyNodeName);
        }
        self.pointer(name.as_bytes(), tag::NODE_NAME);
    }

    /// Writes a string.
    #[inline]
    pub fn str(&mut self, value: &str) {
        let bytes = value.as_bytes();
        if bytes.len() <= 8 {
            self.push(pack_short(bytes), tag::STRING_INLINE_MIN + bytes.len() as u8);
        } else {
            self.pointer(bytes, tag::STRING);
        }
    }

    /// Writes bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.pointer(value, tag::BYTES);
    }

    /// Writes sixteen bytes: a UUID or a 128-bit node number.
    pub fn id128(&mut self, value: &[u8; 16]) {
        self.output.align();
        self.pointer(value, tag::ID128);
    }

    /// Writes a decimal number.
    pub fn decimal(&mut self, value: Decimal) {
        self.pointer(&value.to_bytes(), tag::DECIMAL);
    }

    /// Writes a typed array.
    #[inline]
    pub fn slice<T: Element>(&mut self, values: &[T]) {
        let bytes = size_of_val(values);
        if let Some(room) = self.array_room(values.len(), bytes, T::TAG) {
            T::write_le(values, room);
        }
    }

    /// Writes an array of node references.
    pub fn nodes(&mut self, ids: &[u64]) {
        if let Some(room) = self.array_room(ids.len(), ids.len() * 8, tag::ARRAY_NODE) {
            u64::write_le(ids, room);
        }
    }

    /// Writes a typed array from its little-endian bytes, a whole number of elements.
    pub(crate) fn array_bytes(&mut self, count: usize, bytes: &[u8], array_tag: u8) {
        if let Some(room) = self.array_room(count, bytes.len(), array_tag) {
            room.copy_from_slice(bytes);
        }
    }

    fn array_room(&mut self, count: usize, bytes: usize, array_tag: u8) -> Option<&mut [u8]> {
        if count == 0 {
            self.push(0, array_tag);
            return None;
        }
        if count > ELEMENTS_MAX || bytes > TOTAL_BYTES_MAX {
            self.fail(BuildError::TooLong);
        }
        let at = self.output.align().unwrap_or(0);
        self.push(at as u64 | (count as u64) << 32, array_tag);
        if self.error.is_some() {
            return None;
        }
        let room = self.output.room(bytes);
        if room.is_none() {
            self.error = Some(BuildError::TooLong);
        }
        room
    }

    /// Writes the bytes of an out-of-line value at the current position; empty ones have slot 0.
    #[inline]
    fn pointer(&mut self, bytes: &[u8], pointer_tag: u8) {
        if bytes.is_empty() {
            self.push(0, pointer_tag);
            return;
        }
        self.push(self.output.at() as u64 | (bytes.len() as u64) << 32, pointer_tag);
        if self.error.is_some() {
            return;
        }
        match self.output.room(bytes.len()) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.error = Some(BuildError::TooLong),
        }
    }
}
