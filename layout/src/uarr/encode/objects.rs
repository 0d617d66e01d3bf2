//! Objects: their names, and the guess that an object has the shape of the one before it.

use super::{Encoder, Frame, Kind};
use crate::uarr::error::BuildError;
use crate::uarr::shape_cache::NONE;
use crate::uarr::spec::{FLAG_SORTED, NAME_BYTES_MAX, SHAPE_NONE, SHAPES_BYTES_MAX, tag};
use crate::uarr::static_shape::Shape;

/// Objects per record whose shape is remembered for the next record.
const GUESSES_MAX: usize = 64;

impl Encoder {
    /// Begins an object; each field is a [`name`](Self::name) followed by a value.
    #[inline]
    pub fn begin_object(&mut self) {
        let ordinal = self.objects;
        let guess = self.guess(ordinal);
        self.begin(Kind::Object, guess, ordinal);
        self.objects = ordinal + 1;
    }

    /// Begins an object whose names are those of `shape`; only its values follow, in order.
    #[inline]
    pub fn begin_shaped(&mut self, shape: &'static Shape) {
        let ordinal = self.objects;
        let guess = self.guess(ordinal);
        self.begin(Kind::Shaped(shape), guess, ordinal);
        self.objects = ordinal + 1;
    }

    #[inline]
    fn guess(&self, ordinal: usize) -> u32 {
        match self.frames.last() {
            Some(parent) if parent.child_shape != NONE => parent.child_shape,
            _ => self.guesses.get(ordinal % GUESSES_MAX).copied().unwrap_or(NONE),
        }
    }

    /// Names the next field of the object begun last.
    ///
    /// # Panics
    /// If no object is open, or its last name has no value yet.
    #[inline]
    pub fn name(&mut self, name: &str) {
        let frame = self.frames.last_mut().expect("a field is named inside of an object");
        assert!(matches!(frame.kind, Kind::Object), "only fields of objects are named");
        let index = self.waiting.len() - frame.first;
        assert!(frame.named == index, "each name gets one value");
        frame.named = index + 1;
        if frame.guess != NONE {
            if self.shapes.name_is(frame.guess, index, name.as_bytes()) {
                return;
            }
            self.shapes.push_names(frame.guess, index, &mut self.names);
            frame.guess = NONE;
        }
        if name.len() > NAME_BYTES_MAX {
            self.fail(BuildError::NameTooLong);
        } else if self.names.bytes_len() > SHAPES_BYTES_MAX {
            self.fail(BuildError::TooLong);
        }
        if self.error.is_some() {
            self.names.push(&[]);
        } else {
            self.names.push(name.as_bytes());
        }
    }

    /// Ends the object begun last.
    ///
    /// # Panics
    /// If the container begun last is no object, or its last name has no value.
    #[inline]
    pub fn end_object(&mut self) {
        let frame = self.frames.pop().expect("an object is ended that was begun");
        assert!(!matches!(frame.kind, Kind::List), "an object is ended as an object");
        let count = self.waiting.len() - frame.first;
        if matches!(frame.kind, Kind::Object) {
            assert!(frame.named == count, "each name gets one value");
        }
        if count == 0 && matches!(frame.kind, Kind::Object) {
            return self.push(u64::from(SHAPE_NONE) << 32, tag::OBJECT);
        }
        let shape = self.shape_of(&frame, count).and_then(|id| {
            if self.flags & FLAG_SORTED != 0
                && let Some(field_index) = self.shapes.first_unsorted(id)
            {
                return Err(BuildError::NameOrder { field_index });
            }
            self.remember(&frame, id);
            self.shapes.offset_in_record(id)
        });
        self.names.truncate(frame.names_first);
        let offset = shape.unwrap_or_else(|error| {
            self.fail(error);
            0
        });
        let at = self.write_table(frame.first);
        self.push(at | u64::from(offset) << 32, tag::OBJECT);
    }

    #[inline]
    fn remember(&mut self, frame: &Frame, id: u32) {
        if let Some(parent) = self.frames.last_mut()
            && matches!(parent.kind, Kind::List)
        {
            parent.child_shape = id;
        }
        let place = frame.ordinal % GUESSES_MAX;
        if place >= self.guesses.len() {
            self.guesses.resize(place + 1, NONE);
        }
        self.guesses[place] = id;
    }

    #[inline]
    fn shape_of(&mut self, frame: &Frame, count: usize) -> Result<u32, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if let Kind::Shaped(shape) = frame.kind {
            return self.static_shape(frame.guess, shape, count);
        }
        if frame.guess != NONE {
            if self.shapes.count(frame.guess) == count {
                return Ok(frame.guess);
            }
            self.shapes.push_names(frame.guess, count, &mut self.names);
        }
        self.shapes.intern(&self.names, frame.names_first)
    }

    #[inline]
    fn static_shape(
        &mut self,
        guess: u32,
        shape: &'static Shape,
        count: usize,
    ) -> Result<u32, BuildError> {
        if shape.names.len() != count {
            let expected = shape.names.len() as u32;
            return Err(BuildError::FieldCount { expected, present: count as u32 });
        }
        if guess != NONE && self.shapes.blob_is(guess, shape.hash, shape.blob) {
            return Ok(guess);
        }
        Ok(self.shapes.intern_blob(shape.hash, shape.blob, shape.names))
    }
}
