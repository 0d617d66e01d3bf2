//! [`Builder`]: writes records with closures; [`Encode`]: what can be written.
//!
//! Invariant: a closure writes into one container only and cannot leave it open, so every record
//! that comes out is complete.

use super::buf::UArrBuf;
use super::element::Element;
use super::encode::Encoder;
use super::error::BuildError;
use super::number::{BigInt, Decimal};
use super::reference::UArrRef;
use super::static_shape::Shape;

/// A value that can be written: exactly one value per call.
pub trait Encode {
    /// Writes the value at the encoder's current place.
    fn encode(&self, encoder: &mut Encoder);

    /// Writes `values` as one value: a list, or a typed array of numbers that have one.
    fn encode_all(values: &[Self], encoder: &mut Encoder)
    where
        Self: Sized,
    {
        encoder.begin_list();
        values.iter().for_each(|value| value.encode(encoder));
        encoder.end_list();
    }
}

/// Builds records, again and again in the same storage. Nothing is allocated once the storage and
/// the shapes have been seen.
///
/// ```
/// use uarr_layout::uarr::Builder;
/// let mut builder = Builder::new();
/// let record = builder.object(|o| {
///     o.field("id", 7);
///     o.slice("vec", &[1.0f32, 2.0]);
///     o.object("pos", |pos| pos.field("x", 0.5));
///     o.list("tags", |tags| {
///         tags.push("x");
///         tags.push(());
///     });
/// })?;
/// assert_eq!(
///     record.to_string(),
///     r#"{"id":7,"vec":[1.0,2.0],"pos":{"x":0.5},"tags":["x",null]}"#
/// );
/// # Ok::<(), uarr_layout::uarr::BuildError>(())
/// ```
#[derive(Default)]
pub struct Builder {
    encoder: Encoder,
}

impl Builder {
    /// A builder without storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder that writes into the storage of `buffer`.
    #[must_use]
    pub fn with_buffer(buffer: UArrBuf) -> Self {
        Self { encoder: Encoder::with_buffer(buffer) }
    }

    /// From now on every record carries its CRC-32C: for files and networks.
    #[must_use]
    pub fn checksummed(self) -> Self {
        Self { encoder: self.encoder.checksummed() }
    }

    /// From now on every record promises that names ascend; one that does not is `NameOrder`.
    #[must_use]
    pub fn sorted(self) -> Self {
        Self { encoder: self.encoder.sorted() }
    }

    /// A record that is an object.
    ///
    /// # Errors
    /// The first limit that was exceeded, or a repeated name.
    #[inline]
    pub fn object(&mut self, fill: impl FnOnce(&mut Fields<'_>)) -> Result<&UArrBuf, BuildError> {
        self.encoder.start();
        self.encoder.begin_object();
        fill(&mut Fields { encoder: &mut self.encoder });
        self.encoder.end_object();
        self.encoder.finish()
    }

    /// A record that is an object with the names of `shape`; only values are written, in order.
    ///
    /// # Errors
    /// The first limit that was exceeded, or `FieldCount`.
    #[inline]
    pub fn shaped(
        &mut self,
        shape: &'static Shape,
        fill: impl FnOnce(&mut Elements<'_>),
    ) -> Result<&UArrBuf, BuildError> {
        self.encoder.start();
        self.encoder.begin_shaped(shape);
        fill(&mut Elements { encoder: &mut self.encoder });
        self.encoder.end_object();
        self.encoder.finish()
    }

    /// A record that is a list.
    ///
    /// # Errors
    /// The first limit that was exceeded.
    #[inline]
    pub fn list(&mut self, fill: impl FnOnce(&mut Elements<'_>)) -> Result<&UArrBuf, BuildError> {
        self.encoder.start();
        self.encoder.begin_list();
        fill(&mut Elements { encoder: &mut self.encoder });
        self.encoder.end_list();
        self.encoder.finish()
    }

    /// A record of any one value.
    ///
    /// # Errors
    /// The first limit that was exceeded.
    #[inline]
    pub fn value(&mut self, value: impl Encode) -> Result<&UArrBuf, BuildError> {
        self.encoder.start();
        value.encode(&mut self.encoder);
        self.encoder.finish()
    }

    /// The record of a JSON text.
    ///
    /// # Errors
    /// What is wrong and where.
    #[cfg(feature = "json")]
    pub fn json(&mut self, text: impl AsRef<[u8]>) -> Result<&UArrBuf, super::JsonError> {
        super::json_read::encode_json(&mut self.encoder, text.as_ref())
    }

    /// The encoder below.
    #[inline]
    pub fn encoder_mut(&mut self) -> &mut Encoder {
        &mut self.encoder
    }

    /// Takes the record built last; the next one starts with new storage.
    #[must_use]
    pub fn take(&mut self) -> UArrBuf {
        self.encoder.take()
    }
}

/// Writes the fields of an object.
pub struct Fields<'b> {
    encoder: &'b mut Encoder,
}

impl Fields<'_> {
    /// A field of any value.
    #[inline]
    pub fn field(&mut self, name: &str, value: impl Encode) {
        self.encoder.name(name);
        value.encode(self.encoder);
    }

    /// A field that is a typed array.
    #[inline]
    pub fn slice<T: Element>(&mut self, name: &str, values: &[T]) {
        self.encoder.name(name);
        self.encoder.slice(values);
    }

    /// A field that is bytes.
    #[inline]
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        self.encoder.name(name);
        self.encoder.bytes(value);
    }

    /// A field that is an object.
    #[inline]
    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Fields<'_>)) {
        self.encoder.name(name);
        write_object(self.encoder, fill);
    }

    /// A field that is an object with the names of `shape`.
    #[inline]
    pub fn shaped(
        &mut self,
        name: &str,
        shape: &'static Shape,
        fill: impl FnOnce(&mut Elements<'_>),
    ) {
        self.encoder.name(name);
        write_shaped(self.encoder, shape, fill);
    }

    /// A field that is a list.
    #[inline]
    pub fn list(&mut self, name: &str, fill: impl FnOnce(&mut Elements<'_>)) {
        self.encoder.name(name);
        write_list(self.encoder, fill);
    }
}

/// Writes the elements of a list, or the values of an object whose shape is known.
pub struct Elements<'b> {
    encoder: &'b mut Encoder,
}

impl Elements<'_> {
    /// Any value.
    #[inline]
    pub fn push(&mut self, value: impl Encode) {
        value.encode(self.encoder);
    }

    /// A typed array.
    #[inline]
    pub fn slice<T: Element>(&mut self, values: &[T]) {
        self.encoder.slice(values);
    }

    /// Bytes.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) {
        self.encoder.bytes(value);
    }

    /// An object.
    #[inline]
    pub fn object(&mut self, fill: impl FnOnce(&mut Fields<'_>)) {
        write_object(self.encoder, fill);
    }

    /// An object with the names of `shape`.
    #[inline]
    pub fn shaped(&mut self, shape: &'static Shape, fill: impl FnOnce(&mut Elements<'_>)) {
        write_shaped(self.encoder, shape, fill);
    }

    /// A list.
    #[inline]
    pub fn list(&mut self, fill: impl FnOnce(&mut Elements<'_>)) {
        write_list(self.encoder, fill);
    }
}

#[inline]
fn write_object(encoder: &mut Encoder, fill: impl FnOnce(&mut Fields<'_>)) {
    encoder.begin_object();
    fill(&mut Fields { encoder });
    encoder.end_object();
}

#[inline]
fn write_shaped(
    encoder: &mut Encoder,
    shape: &'static Shape,
    fill: impl FnOnce(&mut Elements<'_>),
) {
    encoder.begin_shaped(shape);
    fill(&mut Elements { encoder });
    encoder.end_object();
}

#[inline]
fn write_list(encoder: &mut Encoder, fill: impl FnOnce(&mut Elements<'_>)) {
    encoder.begin_list();
    fill(&mut Elements { encoder });
    encoder.end_list();
}

/// Bytes, written as a byte string instead of an array of `u8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes<'v>(pub &'v [u8]);

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// A span of time in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanoseconds(pub i64);

/// A reference to a node by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u64);

/// A reference to a node by name, which is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeName<'v>(pub &'v str);

/// Sixteen bytes: a UUID or a 128-bit node number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id128(pub [u8; 16]);

/// The absent value: left out of JSON objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undefined;

macro_rules! encode_as {
    ($($kind:ty: |$value:ident, $encoder:ident| $write:expr;)*) => { $(
        impl Encode for $kind {
            #[inline]
            fn encode(&self, $encoder: &mut Encoder) {
                let $value = self;
                $write
            }
        }
    )* };
}

encode_as! {
    (): |_value, encoder| encoder.null();
    Undefined: |_value, encoder| encoder.undefined();
    bool: |value, encoder| encoder.bool(*value);
    isize: |value, encoder| encoder.int(*value as i64);
    usize: |value, encoder| encoder.uint(*value as u64);
    i128: |value, encoder| encoder.int128(*value);
    u128: |value, encoder| match i128::try_from(*value) {
        Ok(small) => encoder.int128(small),
        Err(_) => encoder.big_int(&BigInt::from(*value)),
    };
    str: |value, encoder| encoder.str(value);
    String: |value, encoder| encoder.str(value);
    Bytes<'_>: |value, encoder| encoder.bytes(value.0);
    Time: |value, encoder| encoder.time(value.0);
    Nanoseconds: |value, encoder| encoder.duration(value.0);
    Node: |value, encoder| encoder.node(value.0);
    NodeName<'_>: |value, encoder| encoder.node_name(value.0);
    Id128: |value, encoder| encoder.id128(&value.0);
    Decimal: |value, encoder| encoder.decimal(*value);
    BigInt: |value, encoder| encoder.big_int(value);
    UArrBuf: |value, encoder| encoder.copy(&value.as_ref());
    UArrRef<'_>: |value, encoder| encoder.copy(value);
}

macro_rules! encode_elements {
    ($($kind:ty: |$value:ident, $encoder:ident| $write:expr;)*) => { $(
        impl Encode for $kind {
            #[inline]
            fn encode(&self, $encoder: &mut Encoder) {
                let $value = *self;
                $write
            }

            #[inline]
            fn encode_all(values: &[Self], encoder: &mut Encoder) {
                encoder.slice(values);
            }
        }
    )* };
}

encode_elements! {
    i8: |value, encoder| encoder.int(i64::from(value));
    i16: |value, encoder| encoder.int(i64::from(value));
    i32: |value, encoder| encoder.int(i64::from(value));
    i64: |value, encoder| encoder.int(value);
    u8: |value, encoder| encoder.int(i64::from(value));
    u16: |value, encoder| encoder.int(i64::from(value));
    u32: |value, encoder| encoder.int(i64::from(value));
    u64: |value, encoder| encoder.uint(value);
    f32: |value, encoder| encoder.f64(f64::from(value));
    f64: |value, encoder| encoder.f64(value);
}

impl<T: Encode + ?Sized> Encode for &T {
    #[inline]
    fn encode(&self, encoder: &mut Encoder) {
        (**self).encode(encoder);
    }
}

impl<T: Encode> Encode for Option<T> {
    #[inline]
    fn encode(&self, encoder: &mut Encoder) {
        match self {
            Some(value) => value.encode(encoder),
            None => encoder.null(),
        }
    }
}
