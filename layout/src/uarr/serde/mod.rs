//! Rust types to and from records (feature `serde`).
//!
//! | Rust | record |
//! |---|---|
//! | `bool`, integers up to 64 bits, `f64` | the same; `u64` above `i64::MAX` apart |
//! | `i128`, `u128` | integer or big integer, whichever is shorter |
//! | `f32` | double; a sequence of `f32` is an `f32` array |
//! | sequences and tuples | typed array if all are plain integers or doubles, else list |
//! | `char`, `str`, unit variants | string |
//! | `None`, `()`, unit structs | null |
//! | structs, maps, other variants | object; variants as `{ name: content }` |
//! | map keys | strings; integers, characters, booleans and unit variants are printed |
//! | bytes | bytes |
//! | [`Time`], [`Nanoseconds`], [`Node`], [`Id128`] | their own tags |
//!
//! Strings and bytes can be borrowed from the record. Decimals and references by name are read as
//! strings. Invariants: writing never truncates; reading costs no more than the record holds, even
//! if it was not validated.
//!
//! [`Time`]: super::Time
//! [`Nanoseconds`]: super::Nanoseconds
//! [`Node`]: super::Node
//! [`Id128`]: super::Id128

mod de;
mod ser;
mod special;

use std::fmt;

pub use de::{from_slice, from_value};
pub use ser::{to_buf, to_vec};

use super::error::{BuildError, Error};

/// Why a Rust value could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SerdeError {
    /// A limit of the format, or a repeated name.
    Build(BuildError),
    /// The bytes are damaged.
    Damaged(Error),
    /// A map key that is no string and cannot be printed as one.
    Key,
    /// What the type itself complains of: a missing field, a wrong kind.
    Type(String),
}

impl fmt::Display for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => fmt::Display::fmt(error, f),
            Self::Damaged(error) => fmt::Display::fmt(error, f),
            Self::Key => f.write_str("a map key must be a string, an integer or a unit variant"),
            Self::Type(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for SerdeError {}

impl serde::ser::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Type(message.to_string())
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Type(message.to_string())
    }
}

impl From<BuildError> for SerdeError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<Error> for SerdeError {
    fn from(error: Error) -> Self {
        Self::Damaged(error)
    }
}
