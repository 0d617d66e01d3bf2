//! UArr: one self-describing value in one run of bytes, read in place.
//!
//! A record can be built in a buffer, appended to a log, mapped from a file or sent, and read
//! without decoding. Any bytes are either rejected with a precise error or safely readable; equal
//! values give equal bytes; a field is found without touching the others; numeric arrays are
//! viewed as slices.
//!
//! ```text
//! 0 .. 32            header
//! 32 .. shapes       body: out-of-line values and tables, children before parents
//! shapes .. total    shapes: the name tables
//! ```
//!
//! | to | use |
//! |---|---|
//! | write a literal | [`uarr!`] |
//! | write again and again without allocating | [`Builder`], with [`shape!`] if names are known |
//! | write from a stream of events | [`Encoder`] |
//! | read bytes of the own log | [`UArrRef::open`] |
//! | read foreign bytes | [`UArrRef::validate`] |
//! | find a field | [`UArrRef::get`], with a constant [`Key`] where the name is known |
//! | match on the content | [`UArrRef::view`] |
//! | own, change, compare a value | [`Value`], [`diff`], [`Patch`], [`PatchBuilder`], [`UArrMut`] |
//! | exchange Rust types (feature `serde`) | `to_vec`, `from_slice`, `Builder::serialize` |
//! | see the bytes explained | [`dump`] |
//! | turn JSON into a record | [`from_json`] |
//! | turn a record into JSON | `Display`, [`UArrRef::write_json`] |
//!
//! Invariants: no `unsafe`, no I/O, no clock; the format is that of `docs/FORMAT-values.md`, byte
//! for byte; nothing trusts bytes that were not checked.

mod array_ref;
mod buf;
mod builder;
mod collections;
mod copy;
mod debug;
mod dump;
mod element;
mod encode;
mod error;
mod header;
#[cfg(feature = "json")]
mod json_read;
mod json_write;
mod key;
mod macros;
mod number;
mod patch;
mod patch_builder;
mod patch_diff;
mod patch_in_place;
mod path;
mod read;
mod reference;
#[cfg(feature = "serde")]
pub mod serde;
mod shape;
mod shape_cache;
mod shape_check;
pub mod spec;
mod static_shape;
mod text;
mod validate;
mod value;
mod view;

pub use array_ref::ArrayRef;
pub use buf::UArrBuf;
pub use builder::{
    Builder, Bytes, Elements, Encode, Fields, Id128, Nanoseconds, Node, NodeName, Time, Undefined,
};
pub use copy::CopyError;
pub use dump::dump;
pub use element::Element;
pub use encode::Encoder;
pub use error::{BuildError, Error, SliceError};
pub use header::Header;
#[cfg(feature = "json")]
pub use json_read::{JsonError, JsonErrorKind, encode_json, from_json};
pub use json_write::WriteError;
pub use key::{Key, name_hash};
#[doc(hidden)]
pub use macros::{Reference, literal};
pub use number::{BigInt, Decimal};
pub use patch::{Patch, PatchError, apply, diff};
pub use patch_builder::PatchBuilder;
pub use patch_in_place::UArrMut;
pub use path::Step;
pub use reference::UArrRef;
#[cfg(feature = "serde")]
pub use serde::{SerdeError, from_slice, from_value, to_buf, to_vec};
pub use static_shape::Shape;
#[doc(hidden)]
pub use static_shape::{blob, blob_bytes};
pub use validate::validate_with;
pub use value::{Array, Value};
pub use view::{Entries, Items, Kind, View};

pub use crate::__shape as shape;
pub use crate::__uarr as uarr;
