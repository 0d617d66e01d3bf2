//! Constants of the record format: magic, flags, tags and limits.
//!
//! Invariants: nothing here depends on the machine; every multi-byte number on the wire is little
//! endian. A tag below [`tag::POINTER_MIN`] keeps its value in the slot, any other tag points back.

/// The first four bytes of every record.
pub const MAGIC: [u8; 4] = *b"UAR1";
/// Format version whose records this code reads and writes.
pub const VERSION_MAJOR: u8 = 1;
/// Highest minor version this code reads.
pub const VERSION_MINOR: u8 = 0;
/// Size of the record header.
pub const HEADER_BYTES: usize = 32;

/// Header flag: the CRC field covers bytes 8 up to the end of the record.
pub const FLAG_CRC: u16 = 1;
/// Header flag: shapes lie outside of the record. Reserved, rejected by this version.
pub const FLAG_SHAPED: u16 = 2;
/// Header flag: the names of every shape ascend bytewise.
pub const FLAG_SORTED: u16 = 4;

/// Longest record in bytes, header included.
pub const TOTAL_BYTES_MAX: usize = 1 << 30;
/// Most containers that may be nested in each other.
pub const DEPTH_MAX: u32 = 64;
/// Most names of one object.
pub const NAMES_MAX: usize = 1 << 24;
/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 1 << 16;
/// Largest shapes area in bytes.
pub const SHAPES_BYTES_MAX: usize = 1 << 28;
/// Most elements of one list or typed array.
pub const ELEMENTS_MAX: usize = 1 << 27;
/// Shapes with at most this many names are searched by fingerprint, larger ones by sorted hash.
pub const FINGERPRINT_NAMES_MAX: usize = 128;
/// Second half of the slot of an object without fields.
pub const SHAPE_NONE: u32 = u32::MAX;

/// The one-byte tags of values.
pub mod tag {
    /// JSON null.
    pub const NULL: u8 = 0x00;
    /// A value that is absent: left out of JSON objects.
    pub const UNDEFINED: u8 = 0x01;
    /// Boolean, slot 0 or 1.
    pub const BOOL: u8 = 0x02;
    /// Signed integer.
    pub const INT: u8 = 0x03;
    /// Unsigned integer above `i64::MAX`.
    pub const UINT: u8 = 0x04;
    /// IEEE 754 double, bits kept.
    pub const F64: u8 = 0x05;
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub const TIME: u8 = 0x06;
    /// Reference to a node by number.
    pub const NODE: u8 = 0x07;
    /// Span of nanoseconds.
    pub const DURATION: u8 = 0x08;
    /// String of no bytes; the tags of the strings of 1 to 8 bytes follow.
    pub const STRING_INLINE_MIN: u8 = 0x10;
    /// String of 8 bytes.
    pub const STRING_INLINE_MAX: u8 = 0x18;
    /// Tags from here on are pointers.
    pub const POINTER_MIN: u8 = 0x20;
    /// String of more than 8 bytes.
    pub const STRING: u8 = 0x20;
    /// Bytes.
    pub const BYTES: u8 = 0x21;
    /// Reference to a node by name.
    pub const NODE_NAME: u8 = 0x22;
    /// Integer beyond 64 bits, two's complement.
    pub const BIG_INT: u8 = 0x23;
    /// Sixteen bytes: a UUID or a 128-bit node number.
    pub const ID128: u8 = 0x24;
    /// Decimal number: 128-bit mantissa and 8-bit exponent.
    pub const DECIMAL: u8 = 0x25;
    /// Array of `i8`, the first of the typed arrays.
    pub const ARRAY_I8: u8 = 0x30;
    /// Array of `u8`.
    pub const ARRAY_U8: u8 = 0x31;
    /// Array of `i16`.
    pub const ARRAY_I16: u8 = 0x32;
    /// Array of `u16`.
    pub const ARRAY_U16: u8 = 0x33;
    /// Array of `i32`.
    pub const ARRAY_I32: u8 = 0x34;
    /// Array of `u32`.
    pub const ARRAY_U32: u8 = 0x35;
    /// Array of `i64`.
    pub const ARRAY_I64: u8 = 0x36;
    /// Array of `u64`.
    pub const ARRAY_U64: u8 = 0x37;
    /// Array of `f32`.
    pub const ARRAY_F32: u8 = 0x38;
    /// Array of `f64`.
    pub const ARRAY_F64: u8 = 0x39;
    /// Array of node references, the last of the typed arrays.
    pub const ARRAY_NODE: u8 = 0x3A;
    /// List of mixed values.
    pub const LIST: u8 = 0x40;
    /// Object whose shape lies in the record.
    pub const OBJECT: u8 = 0x41;
}

/// First element of each operation of a patch.
pub(crate) mod patch_operation {
    pub const SET: i64 = 0;
    pub const DELETE: i64 = 1;
    pub const APPEND: i64 = 2;
    pub const ARRAY_SET: i64 = 3;
}

/// Width in bytes of one element of a typed array, `None` for tags that are no typed array.
#[inline]
pub const fn element_bytes(tag: u8) -> Option<usize> {
    match tag {
        tag::ARRAY_I8 | tag::ARRAY_U8 => Some(1),
        tag::ARRAY_I16 | tag::ARRAY_U16 => Some(2),
        tag::ARRAY_I32 | tag::ARRAY_U32 | tag::ARRAY_F32 => Some(4),
        tag::ARRAY_I64 | tag::ARRAY_U64 | tag::ARRAY_F64 | tag::ARRAY_NODE => Some(8),
        _ => None,
    }
}

/// `at` rounded up to a multiple of 8.
#[inline]
pub(crate) const fn align8(at: usize) -> usize {
    (at + 7) & !7
}

/// Bytes of one entry of the end-offset table of a shape whose names have `names_bytes` bytes.
#[inline]
pub(crate) const fn end_bytes(names_bytes: usize) -> usize {
    if names_bytes <= 0xFF {
        1
    } else if names_bytes <= 0xFFFF {
        2
    } else {
        4
    }
}

/// Bytes of one entry of the permutation of a shape with `names` names (above 128).
#[inline]
pub(crate) const fn perm_bytes(names: usize) -> usize {
    if names <= 0xFFFF { 2 } else { 4 }
}

/// Bytes of the lookup part of a shape with `names` names.
#[inline]
pub(crate) const fn lookup_bytes(names: usize) -> usize {
    if names <= FINGERPRINT_NAMES_MAX { align8(names) } else { names * (4 + perm_bytes(names)) }
}
