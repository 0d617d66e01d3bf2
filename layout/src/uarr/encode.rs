//! [`Encoder`]: writes one record from a stream of events.
//!
//! Children come before parents: the bytes of a value go straight to the output, its slot and tag
//! wait on a stack until the container that holds them is finished. A waiting pointer holds its
//! absolute target; it becomes relative when its table is written.
//!
//! Invariants: the output is always the canonical encoding of the events; the first error is kept
//! and nothing is delivered after it; after warm-up nothing is allocated.

use zerocopy::IntoBytes;

use super::buf::{Output, UArrBuf};
use super::element::Element;
use super::error::BuildError;
use super::header::Header;
use super::key::pack_short;
use super::number::{BigInt, Decimal};
use super::shape_cache::{NONE, NameStack, ShapeCache};
use super::spec::{
    DEPTH_MAX, ELEMENTS_MAX, FLAG_CRC, FLAG_SORTED, HEADER_BYTES, MAGIC, NAME_BYTES_MAX,
    SHAPE_NONE, SHAPES_BYTES_MAX, TOTAL_BYTES_MAX, VERSION_MAJOR, VERSION_MINOR, tag,
};
use super::static_shape::Shape;

/// Tag of a waiting `f32` element: packed or widened when its sequence ends, never written.
const F32_WAITING: u8 = 0xFE;
/// Objects per record whose shape is remembered for the next record.
const GUESSES_MAX: usize = 64;

/// A value whose container is not finished.
#[derive(Clone, Copy)]
struct Waiting {
    slot: u64,
    tag: u8,
}

#[derive(Clone, Copy)]
enum Kind {
    List,
    Object,
    Shaped(&'static Shape),
}

struct Frame {
    kind: Kind,
    /// First waiting slot of this container.
    first: usize,
    /// First name of this object on the name stack.
    names_first: usize,
    /// Fields named so far.
    named: usize,
    /// Guessed shape of this object, `NONE` once a name disagreed.
    guess: u32,
    /// Number of the object in the record.
    ordinal: usize,
    /// Shape of the last object directly in this list.
    child_shape: u32,
}

/// Writes one value from events; the streaming layer below [`Builder`](super::Builder).
///
/// Each value method writes one value at the current place: the root, the next element of a list
/// or, after [`name`](Self::name), the next field of an object. Errors are latched and come out of
/// [`finish`](Self::finish). Misuse (a field without a name, an end without a begin) panics.
#[derive(Default)]
pub struct Encoder {
    output: Output,
    waiting: Vec<Waiting>,
    frames: Vec<Frame>,
    names: NameStack,
    shapes: ShapeCache,
    guesses: Vec<u32>,
    objects: usize,
    flags: u16,
    error: Option<BuildError>,
}

impl Encoder {
    /// An encoder without storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An encoder that writes into the storage of `buffer`.
    #[must_use]
    pub fn with_buffer(buffer: UArrBuf) -> Self {
        Self { output: Output::with_buffer(buffer), ..Self::default() }
    }

    /// From now on every record carries its CRC-32C.
    #[must_use]
    pub fn checksummed(mut self) -> Self {
        self.flags |= FLAG_CRC;
        self
    }

    /// From now on every record promises that names ascend; one that does not is `NameOrder`.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.flags |= FLAG_SORTED;
        self
    }

    /// Replaces the flags; for writing a record again as it was.
    pub(crate) fn set_flags(&mut self, flags: u16) {
        self.flags = flags & (FLAG_CRC | FLAG_SORTED);
    }

    /// Begins a record, and drops what was written before.
    #[inline]
    pub fn start(&mut self) {
        self.output.restart(HEADER_BYTES);
        self.waiting.clear();
        self.frames.clear();
        self.names.truncate(0);
        self.objects = 0;
        self.error = None;
        if self.shapes.restart() {
            self.guesses.clear();
        }
    }

    /// Ends the record.
    ///
    /// # Errors
    /// The first error of any event since [`start`](Self::start).
    ///
    /// # Panics
    /// If not exactly one value was written or a container is still open.
    pub fn finish(&mut self) -> Result<&UArrBuf, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        assert!(self.frames.is_empty(), "every container is ended before the record");
        assert!(self.waiting.len() == 1, "a record has exactly one root value");
        let area_bytes = self.shapes.area_bytes();
        let shapes_at = self.output.align();
        let area = self.output.room(area_bytes);
        let (Some(shapes_at), Some(area)) = (shapes_at, area) else {
            return Err(self.fail(BuildError::TooLong));
        };
        self.shapes.write_area(area);
        let total = self.output.at();
        if total > TOTAL_BYTES_MAX {
            return Err(self.fail(BuildError::TooLong));
        }
        let Waiting { slot: root_slot, tag: root_tag } = self.waiting[0];
        let mut header = Header {
            magic: MAGIC,
            crc32c: 0.into(),
            major: VERSION_MAJOR,
            minor: VERSION_MINOR,
            flags: self.flags.into(),
            total_len: (total as u32).into(),
            shapes_offset: (shapes_at as u32).into(),
            root_tag,
            reserved: [0; 3],
            root_slot: relative(root_slot, root_tag, shapes_at as u32).into(),
        };
        let bytes = self.output.bytes_mut();
        bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        if self.flags & FLAG_CRC != 0 {
            header.crc32c = crc32c::crc32c(&bytes[8..]).into();
            bytes[4..8].copy_from_slice(header.crc32c.as_bytes());
        }
        Ok(self.output.seal())
    }

    /// The record that was finished last.
    #[inline]
    #[must_use]
    pub fn finished(&self) -> &UArrBuf {
        self.output.sealed()
    }

    /// Takes the finished record out; the encoder starts the next one without storage.
    pub fn take(&mut self) -> UArrBuf {
        self.output.take()
    }

    /// The first error since [`start`](Self::start).
    #[inline]
    #[must_use]
    pub fn error(&self) -> Option<BuildError> {
        self.error
    }

    #[cold]
    pub(crate) fn fail(&mut self, error: BuildError) -> BuildError {
        *self.error.get_or_insert(error)
    }

    #[inline]
    fn push(&mut self, slot: u64, tag: u8) {
        self.waiting.push(Waiting { slot, tag });
    }

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
        if let Some(Waiting { tag: last @ (tag::INT | tag::UINT), .. }) = self.waiting.last_mut() {
            *last = new_tag;
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

    /// Begins a list.
    #[inline]
    pub fn begin_list(&mut self) {
        self.begin(Kind::List, NONE, 0);
    }

    #[inline]
    fn begin(&mut self, kind: Kind, guess: u32, ordinal: usize) {
        if self.frames.len() >= DEPTH_MAX as usize {
            self.fail(BuildError::TooDeep);
        }
        self.frames.push(Frame {
            kind,
            first: self.waiting.len(),
            names_first: self.names.len(),
            named: 0,
            guess,
            ordinal,
            child_shape: NONE,
        });
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

    /// Writes the waiting slots from `first` on as a table and returns its position.
    #[inline]
    fn write_table(&mut self, first: usize) -> u64 {
        let bytes = (self.waiting.len() - first) * 9;
        let base = self.output.align().unwrap_or(0);
        if self.error.is_none() {
            match self.output.room(bytes) {
                Some(room) => fill_table(room, &self.waiting[first..], base),
                None => self.error = Some(BuildError::TooLong),
            }
        }
        self.waiting.truncate(first);
        base as u64
    }
}

#[inline]
fn fill_array(room: &mut [u8], waiting: &[Waiting], width: usize) {
    for (target, value) in room.chunks_exact_mut(width).zip(waiting) {
        target.copy_from_slice(&value.slot.to_le_bytes()[..width]);
    }
}

#[inline]
fn fill_table(room: &mut [u8], waiting: &[Waiting], base: usize) {
    let (slot_room, tag_room) = room.split_at_mut(waiting.len() * 8);
    let targets = slot_room.as_chunks_mut::<8>().0.iter_mut().zip(tag_room);
    for ((slot_room, tag_room), value) in targets.zip(waiting) {
        *slot_room = relative(value.slot, value.tag, base as u32).to_le_bytes();
        *tag_room = value.tag;
    }
}

/// The slot as the table at `base` holds it: a pointer's absolute target becomes a distance.
/// Target 0, inside the header, marks an empty value.
#[inline]
fn relative(slot: u64, tag: u8, base: u32) -> u64 {
    let target = slot as u32;
    if tag >= tag::POINTER_MIN && target != 0 {
        (slot & !0xFFFF_FFFF) | u64::from(base - target)
    } else {
        slot
    }
}
