//! Element types of typed arrays.
//!
//! Invariant: on little-endian machines a typed view is the record's own bytes; elsewhere every
//! element is converted.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::error::SliceError;
use super::spec::tag;

mod sealed {
    pub trait Sealed {}
}

/// A number type that typed arrays are made of. Sealed.
pub trait Element:
    sealed::Sealed + Copy + FromBytes + IntoBytes + Immutable + KnownLayout + 'static
{
    /// Tag of the array of this type.
    const TAG: u8;

    /// Copies `values` to `bytes`, which is exactly as long, little endian.
    fn write_le(values: &[Self], bytes: &mut [u8]);

    /// The element at the start of `bytes`, `None` if they are too few.
    fn read_le(bytes: &[u8]) -> Option<Self>;

    /// `bytes` viewed as elements.
    ///
    /// # Errors
    /// `Misaligned` or `Endian`.
    fn view(bytes: &[u8]) -> Result<&[Self], SliceError> {
        if bytes.is_empty() {
            // No elements have no address that could be misaligned.
            Ok(&[])
        } else if cfg!(target_endian = "little") {
            <[Self]>::ref_from_bytes(bytes).map_err(|_| SliceError::Misaligned)
        } else {
            Err(SliceError::Endian)
        }
    }
}

macro_rules! elements {
    ($($kind:ty = $tag:expr),* $(,)?) => { $(
        impl sealed::Sealed for $kind {}

        impl Element for $kind {
            const TAG: u8 = $tag;

            #[inline]
            fn write_le(values: &[Self], bytes: &mut [u8]) {
                if cfg!(target_endian = "little") {
                    bytes.copy_from_slice(values.as_bytes());
                } else {
                    let targets = bytes.chunks_exact_mut(size_of::<Self>());
                    for (target, value) in targets.zip(values) {
                        target.copy_from_slice(&value.to_le_bytes());
                    }
                }
            }

            #[inline]
            fn read_le(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(*bytes.first_chunk()?))
            }
        }
    )* };
}

elements! {
    i8 = tag::ARRAY_I8,
    u8 = tag::ARRAY_U8,
    i16 = tag::ARRAY_I16,
    u16 = tag::ARRAY_U16,
    i32 = tag::ARRAY_I32,
    u32 = tag::ARRAY_U32,
    i64 = tag::ARRAY_I64,
    u64 = tag::ARRAY_U64,
    f32 = tag::ARRAY_F32,
    f64 = tag::ARRAY_F64,
}
