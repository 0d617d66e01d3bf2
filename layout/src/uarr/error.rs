//! What can be wrong with bytes ([`Error`]), with a value to be written ([`BuildError`]) and with
//! a typed view ([`SliceError`]).
//!
//! Invariant: an [`Error`] always names the broken rule and the byte offset it was seen at.

use std::fmt;

/// Why bytes are no record of this format. The caller must treat the bytes as damaged or foreign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than a header has.
    Short,
    /// The first four bytes are not `UAR1`.
    Magic,
    /// A version this code does not read.
    Version {
        /// Major version found.
        major: u8,
        /// Minor version found.
        minor: u8,
    },
    /// A header flag is set that has no meaning in this version.
    Flags {
        /// Flags found.
        flags: u16,
    },
    /// A reserved header byte is not 0.
    Reserved,
    /// The length in the header is not the length of the bytes, or beyond the limit.
    Length {
        /// Length that the header claims.
        expected: u32,
    },
    /// Total length or shapes offset is no multiple of 8.
    Align,
    /// The checksum does not fit the bytes.
    Crc {
        /// Checksum that the header claims.
        expected: u32,
        /// Checksum of the bytes present.
        present: u32,
    },
    /// A tag without a meaning.
    Tag {
        /// Offset of the tag.
        at: u32,
        /// The tag found.
        tag: u8,
    },
    /// An inline slot with unused bits set or a value out of its range.
    Slot {
        /// Offset of the slot.
        at: u32,
    },
    /// A pointer that leads anywhere but to the next unread byte, or beyond its table.
    Offset {
        /// Offset of the slot with the pointer.
        at: u32,
    },
    /// A padding byte that is not 0.
    Pad {
        /// Offset of the first padding byte of the run.
        at: u32,
    },
    /// A string that is not UTF-8.
    Utf8 {
        /// Offset of the string.
        at: u32,
    },
    /// A shape with wrong sizes, ends or lookup tables.
    Shape {
        /// Offset of the shape.
        at: u32,
    },
    /// A name that is repeated, too long, out of order or cut through a character.
    Name {
        /// Offset of the name.
        at: u32,
    },
    /// More than 64 containers inside each other.
    Depth {
        /// Offset of the slot of the innermost container.
        at: u32,
    },
    /// Bytes that nothing refers to.
    Trailing {
        /// Offset of the first such byte.
        at: u32,
    },
    /// A value that is not written in its one canonical form.
    Canonical {
        /// Offset of the slot.
        at: u32,
    },
    /// A big integer that is not in its shortest form or would fit 64 bits.
    BigInt {
        /// Offset of the slot.
        at: u32,
    },
}

impl Error {
    /// The rule that is broken, as one lower-case word.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Magic => "magic",
            Self::Version { .. } => "version",
            Self::Flags { .. } => "flags",
            Self::Reserved => "reserved",
            Self::Length { .. } => "length",
            Self::Align => "align",
            Self::Crc { .. } => "crc",
            Self::Tag { .. } => "tag",
            Self::Slot { .. } => "slot",
            Self::Offset { .. } => "offset",
            Self::Pad { .. } => "pad",
            Self::Utf8 { .. } => "utf8",
            Self::Shape { .. } => "shape",
            Self::Name { .. } => "name",
            Self::Depth { .. } => "depth",
            Self::Trailing { .. } => "trailing",
            Self::Canonical { .. } => "canonical",
            Self::BigInt { .. } => "bigint",
        }
    }

    /// Byte offset in the record at which the rule is broken.
    #[must_use]
    pub fn offset(&self) -> usize {
        match *self {
            Self::Short | Self::Magic => 0,
            Self::Crc { .. } => 4,
            Self::Version { .. } => 8,
            Self::Flags { .. } => 10,
            Self::Length { .. } | Self::Align => 12,
            Self::Reserved => 21,
            Self::Tag { at, .. }
            | Self::Slot { at }
            | Self::Offset { at }
            | Self::Pad { at }
            | Self::Utf8 { at }
            | Self::Shape { at }
            | Self::Name { at }
            | Self::Depth { at }
            | Self::Trailing { at }
            | Self::Canonical { at }
            | Self::BigInt { at } => at as usize,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}` broken at byte {}", self.rule(), self.offset())?;
        match self {
            Self::Version { major, minor } => write!(f, ": version {major}.{minor}"),
            Self::Flags { flags } => write!(f, ": flags {flags:#06x}"),
            Self::Length { expected } => write!(f, ": the header says {expected} bytes"),
            Self::Crc { expected, present } => {
                write!(f, ": expected {expected:#010x}, present {present:#010x}")
            }
            Self::Tag { tag, .. } => write!(f, ": tag {tag:#04x}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Why a value cannot be written. Nothing is ever truncated instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuildError {
    /// The record would be longer than 1 GiB, or one of its parts beyond its limit.
    TooLong,
    /// More than 64 containers inside each other.
    TooDeep,
    /// An object has a name twice.
    DuplicateName {
        /// Index of the field that repeats an earlier name.
        field_index: u32,
    },
    /// A name is longer than 64 KiB.
    NameTooLong,
    /// The record promises sorted names and a name does not ascend.
    NameOrder {
        /// Index of the field that is out of order.
        field_index: u32,
    },
    /// An object of a static shape was given fewer or more values than it has names.
    FieldCount {
        /// Names of the shape.
        expected: u32,
        /// Values written.
        present: u32,
    },
    /// A reference by name needs at least one byte.
    EmptyNodeName,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the record is longer than the format allows"),
            Self::TooDeep => f.write_str("more than 64 containers inside each other"),
            Self::DuplicateName { field_index } => {
                write!(f, "field {field_index} repeats an earlier name")
            }
            Self::NameTooLong => f.write_str("a name is longer than 64 KiB"),
            Self::NameOrder { field_index } => {
                write!(f, "the name of field {field_index} does not ascend")
            }
            Self::FieldCount { expected, present } => {
                write!(f, "the shape has {expected} names but {present} values were written")
            }
            Self::EmptyNodeName => f.write_str("a reference by name is empty"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Why a value cannot be viewed as a slice of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SliceError {
    /// The value is no array of this element type.
    Type,
    /// The record does not start at a multiple of the element's alignment: copy with `to_vec`.
    Misaligned,
    /// This machine is big endian, the bytes are little endian: copy with `to_vec`.
    Endian,
    /// The record is damaged: the array does not lie inside it.
    Damaged,
}

impl fmt::Display for SliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Type => "the value is no array of this element type",
            Self::Misaligned => "the record is not aligned for this element type",
            Self::Endian => "the machine's byte order is not little endian",
            Self::Damaged => "the array does not lie inside the record",
        })
    }
}

impl std::error::Error for SliceError {}
