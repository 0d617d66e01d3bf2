//! [`Encoder`]: writes one record from a stream of events.
//!
//! Children come before parents: the bytes of a value go straight to the output, its slot and tag
//! wait on a stack until the container that holds them is finished. A waiting pointer holds its
//! absolute target; it becomes relative when its table is written.
//!
//! Invariants: the output is always the canonical encoding of the events; the first error is kept
//! and nothing is delivered after it; after warm-up nothing is allocated.

mod lists;
mod objects;
mod scalars;
mod waiting;

use zerocopy::IntoBytes;

use self::waiting::{Waiting, fill_table, relative};
use super::buf::{Output, UArrBuf};
use super::error::BuildError;
use super::header::Header;
use super::shape_cache::{NONE, NameStack, ShapeCache};
use super::spec::{
    DEPTH_MAX, FLAG_CRC, FLAG_SORTED, HEADER_BYTES, MAGIC, TOTAL_BYTES_MAX, VERSION_MAJOR,
    VERSION_MINOR,
};
use super::static_shape::Shape;

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
    //= VAL-13
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
