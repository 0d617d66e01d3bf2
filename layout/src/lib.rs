//! Bytes of the uarr storage engine: the structures on disk, and UArr values.
//!
//! Everything here is a function of bytes: no I/O, no clock, no unsafe code. Bytes from outside are
//! guests: each `load` checks length, magic, checksum, identity and position, in this order, and
//! returns the content, or a [`Defect`] that says what is wrong. `docs/FORMAT.md` says what the
//! structures mean together.
//!
//! All integers are little-endian. Structures have no implicit padding, and their sizes are
//! asserted.

#![forbid(unsafe_code)]

mod checks;
pub mod checksum;
pub mod chunk;
pub mod frame;
pub mod geometry;
pub mod group;
pub mod header_sum;
pub mod image;
pub mod limits;
pub mod packed;
pub mod patch;
pub mod record;
pub mod superblock;
pub mod uarr;

use std::fmt;

use crate::limits::FORMAT_VERSION;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Identity of a database: random, made once, part of every structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct DatabaseId(pub [u8; 16]);

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is wrong with bytes that should be a structure of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Fewer bytes than the structure has.
    Short,
    /// Something else stands there.
    Magic,
    /// All is as it should be but the magic bytes, which were changed.
    DamagedMagic,
    /// The bytes were changed.
    Checksum {
        /// Computed from the bytes.
        expected: u32,
        /// Stored in them.
        found: u32,
    },
    /// Written in a version of the format that this program does not read.
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// Belongs to another database.
    Database,
    /// Valid, but belongs elsewhere: a misdirected or stale write.
    Position {
        /// Where it was looked for.
        expected: u64,
        /// Where it says it belongs.
        found: u64,
    },
    /// Lengths contradict each other.
    Length,
    /// An entry that no index can have: its key is not above the one before, or it names no record.
    Entry,
    /// A kind that this version does not know.
    Kind(u8),
    /// Flags of which this version does not know all.
    Flags(u8),
    /// The checksum is right, but no program writes such a value into this field.
    Field(&'static str),
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "cut short"),
            Self::Magic => write!(f, "no such structure here (wrong magic bytes)"),
            Self::DamagedMagic => write!(f, "its magic bytes were changed"),
            Self::Checksum { expected, found } => {
                write!(f, "checksum mismatch: computed {expected:08x}, stored {found:08x}")
            }
            Self::Version { major, minor } => {
                let age = if *major < FORMAT_VERSION.0 { "older" } else { "newer" };
                write!(f, "format version {major}.{minor} is {age} than this program reads")
            }
            Self::Database => write!(f, "belongs to another database"),
            Self::Position { expected, found } => {
                write!(f, "belongs elsewhere: expected position {expected}, found {found}")
            }
            Self::Entry => write!(f, "an entry is out of order or names no record"),
            Self::Length => write!(f, "lengths contradict each other"),
            Self::Kind(kind) => write!(f, "unknown kind {kind}"),
            Self::Flags(flags) => write!(f, "unknown flags {flags:#x}"),
            Self::Field(name) => write!(f, "the value of field '{name}' is impossible"),
        }
    }
}

impl std::error::Error for Defect {}
