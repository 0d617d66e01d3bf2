//! Lists, and sequences that become typed arrays.

use super::waiting::{F32_WAITING, Waiting, fill_array};
use super::{Encoder, Kind};
use crate::uarr::error::BuildError;
use crate::uarr::shape_cache::NONE;
use crate::uarr::spec::{ELEMENTS_MAX, tag};

impl Encoder {
    /// Begins a list.
    #[inline]
    pub fn begin_list(&mut self) {
        self.begin(Kind::List, NONE, 0);
    }

    /// Ends the list begun last and keeps it a list, even if all its elements have one type.
    ///
    /// # Panics
    /// If the container begun last is no list.
    pub fn end_list(&mut self) {
        let frame = self.frames.pop().expect("a list is ended that was begun");
        assert!(matches!(frame.kind, Kind::List), "a list is ended as a list");
        self.widen_f32(frame.first);
        self.write_list(frame.first);
    }

    /// Ends the list begun last. As JSON and serde write sequences: one or more plain integers
    /// become an `i64` array, doubles an `f64` array, [`f32_element`](Self::f32_element)s an `f32`
    /// array, anything else a list.
    ///
    /// # Panics
    /// If the container begun last is no list.
    pub fn end_sequence(&mut self) {
        let frame = self.frames.pop().expect("a list is ended that was begun");
        assert!(matches!(frame.kind, Kind::List), "a list is ended as a list");
        let waiting = &self.waiting[frame.first..];
        let array_tag = match waiting.first().map(|first| first.tag) {
            Some(tag::INT) => tag::ARRAY_I64,
            Some(tag::F64) => tag::ARRAY_F64,
            Some(F32_WAITING) => tag::ARRAY_F32,
            _ => tag::LIST,
        };
        if array_tag == tag::LIST || waiting.iter().any(|other| other.tag != waiting[0].tag) {
            self.widen_f32(frame.first);
            return self.write_list(frame.first);
        }
        let count = self.waiting.len() - frame.first;
        let width = if array_tag == tag::ARRAY_F32 { 4 } else { 8 };
        if count > ELEMENTS_MAX {
            self.fail(BuildError::TooLong);
        }
        let at = self.output.align().unwrap_or(0);
        if self.error.is_none() {
            match self.output.room(count * width) {
                Some(room) => fill_array(room, &self.waiting[frame.first..], width),
                None => self.error = Some(BuildError::TooLong),
            }
        }
        self.waiting.truncate(frame.first);
        self.push(at as u64 | (count as u64) << 32, array_tag);
    }

    fn widen_f32(&mut self, first: usize) {
        for Waiting { slot, tag } in &mut self.waiting[first..] {
            if *tag == F32_WAITING {
                *slot = f64::from(f32::from_bits(*slot as u32)).to_bits();
                *tag = tag::F64;
            }
        }
    }

    fn write_list(&mut self, first: usize) {
        let count = self.waiting.len() - first;
        if count == 0 {
            return self.push(0, tag::LIST);
        }
        if count > ELEMENTS_MAX {
            self.fail(BuildError::TooLong);
        }
        let at = self.write_table(first);
        self.push(at | (count as u64) << 32, tag::LIST);
    }
}
