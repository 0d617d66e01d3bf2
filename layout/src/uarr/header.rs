//! The 32-byte header of a record.
//!
//! Invariants: the struct is the bytes (no padding, alignment 1); [`Header::parse`] accepts a
//! header only if every field that can be judged without the body is right.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::Error;
use super::spec::{
    FLAG_CRC, FLAG_SORTED, HEADER_BYTES, MAGIC, SHAPES_BYTES_MAX, TOTAL_BYTES_MAX, VERSION_MAJOR,
    VERSION_MINOR, tag,
};

/// Header of a record as it lies in memory and on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// CRC-32C of bytes 8 to the end if [`FLAG_CRC`] is set, else 0.
    pub crc32c: U32,
    /// [`VERSION_MAJOR`].
    pub major: u8,
    /// At most [`VERSION_MINOR`].
    pub minor: u8,
    /// [`FLAG_CRC`] and [`FLAG_SORTED`], all others 0.
    pub flags: U16,
    /// Length of the record in bytes, header included; a multiple of 8.
    pub total_len: U32,
    /// Where the shapes start; a multiple of 8.
    pub shapes_offset: U32,
    /// Tag of the root value.
    pub root_tag: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Slot of the root value; its pointers count back from `shapes_offset`.
    pub root_slot: U64,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(align_of::<Header>() == 1);

impl Header {
    /// The header that is all of the record of an integer.
    #[must_use]
    pub fn of_int(value: i64) -> Self {
        Self {
            magic: MAGIC,
            crc32c: 0.into(),
            major: VERSION_MAJOR,
            minor: VERSION_MINOR,
            flags: 0.into(),
            total_len: (HEADER_BYTES as u32).into(),
            shapes_offset: (HEADER_BYTES as u32).into(),
            root_tag: tag::INT,
            reserved: [0; 3],
            root_slot: (value as u64).into(),
        }
    }

    /// The header at the start of `bytes`, judged by everything but the checksum. O(1).
    ///
    /// # Errors
    /// `Short`, `Magic`, `Version`, `Flags`, `Reserved`, `Length` or `Align`, after the field.
    //= VAL-1
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<&Self, Error> {
        let Ok((header, _)) = Self::ref_from_prefix(bytes) else { return Err(Error::Short) };
        if header.magic != MAGIC {
            return Err(Error::Magic);
        }
        if header.major != VERSION_MAJOR || header.minor > VERSION_MINOR {
            return Err(Error::Version { major: header.major, minor: header.minor });
        }
        let flags = header.flags.get();
        if flags & !(FLAG_CRC | FLAG_SORTED) != 0 {
            return Err(Error::Flags { flags });
        }
        if header.reserved != [0; 3] {
            return Err(Error::Reserved);
        }
        let total = header.total_len.get() as usize;
        let shapes = header.shapes_offset.get() as usize;
        if total != bytes.len() || total > TOTAL_BYTES_MAX {
            return Err(Error::Length { expected: header.total_len.get() });
        }
        if (total | shapes) & 7 != 0 {
            return Err(Error::Align);
        }
        if shapes < HEADER_BYTES || shapes > total || total - shapes > SHAPES_BYTES_MAX {
            return Err(Error::Offset { at: 16 });
        }
        Ok(header)
    }

    /// Whether the checksum field is in use.
    #[inline]
    #[must_use]
    pub fn has_crc(&self) -> bool {
        self.flags.get() & FLAG_CRC != 0
    }

    /// Whether the names of every shape ascend bytewise.
    #[inline]
    #[must_use]
    pub fn is_sorted(&self) -> bool {
        self.flags.get() & FLAG_SORTED != 0
    }
}
