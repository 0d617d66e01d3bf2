//! Serializer: serde's calls become events of the [`Encoder`].

use serde::ser::{self, Serialize};

use super::SerdeError;
use super::special;
use crate::uarr::buf::UArrBuf;
use crate::uarr::builder::Builder;
use crate::uarr::encode::Encoder;
use crate::uarr::number::BigInt;
use crate::uarr::spec::tag;

/// The record of a Rust value, as a plain vector.
///
/// # Errors
/// A limit of the format, a map key that is no string, or what the type complains of.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, SerdeError> {
    let mut encoder = Encoder::new();
    Ok(write(&mut encoder, value)?.to_vec())
}

/// The record of a Rust value, written into the storage of `buf`. For many values use
/// [`Builder::serialize`], which remembers names too.
///
/// # Errors
/// As [`to_vec`]; `buf` is empty then.
pub fn to_buf<T: Serialize + ?Sized>(value: &T, buf: &mut UArrBuf) -> Result<(), SerdeError> {
    let mut encoder = Encoder::with_buffer(std::mem::take(buf));
    write(&mut encoder, value)?;
    *buf = encoder.take();
    Ok(())
}

impl Builder {
    /// The record of a Rust value.
    ///
    /// # Errors
    /// A limit of the format, a map key that is no string, or what the type complains of.
    #[inline]
    pub fn serialize<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<&UArrBuf, SerdeError> {
        write(self.encoder_mut(), value)
    }
}

#[inline]
fn write<'e, T: Serialize + ?Sized>(
    encoder: &'e mut Encoder,
    value: &T,
) -> Result<&'e UArrBuf, SerdeError> {
    encoder.start();
    value.serialize(Target { encoder, is_id: false })?;
    Ok(encoder.finish()?)
}

/// One place to write a value to.
struct Target<'e> {
    encoder: &'e mut Encoder,
    /// The next bytes are a sixteen-byte id.
    is_id: bool,
}

impl<'e> Target<'e> {
    fn object(self, name: Option<&'static str>) -> Result<Object<'e>, SerdeError> {
        if let Some(name) = name {
            self.encoder.begin_object();
            self.encoder.name(name);
        }
        self.encoder.begin_object();
        check(self.encoder)?;
        Ok(Object { encoder: self.encoder, is_variant: name.is_some() })
    }

    fn list(self, name: Option<&'static str>) -> Result<List<'e>, SerdeError> {
        if let Some(name) = name {
            self.encoder.begin_object();
            self.encoder.name(name);
        }
        self.encoder.begin_list();
        check(self.encoder)?;
        Ok(List { encoder: self.encoder, is_variant: name.is_some() })
    }
}

/// Stops a deep or endless value early.
#[inline]
fn check(encoder: &Encoder) -> Result<(), SerdeError> {
    encoder.error().map_or(Ok(()), |error| Err(SerdeError::Build(error)))
}

macro_rules! scalars {
    ($($method:ident($kind:ty): |$encoder:ident, $value:ident| $write:expr;)*) => { $(
        #[inline]
        fn $method(self, $value: $kind) -> Result<(), SerdeError> {
            let $encoder = self.encoder;
            $write;
            Ok(())
        }
    )* };
}

impl<'e> ser::Serializer for Target<'e> {
    type Ok = ();
    type Error = SerdeError;
    type SerializeSeq = List<'e>;
    type SerializeTuple = List<'e>;
    type SerializeTupleStruct = List<'e>;
    type SerializeTupleVariant = List<'e>;
    type SerializeMap = Object<'e>;
    type SerializeStruct = Object<'e>;
    type SerializeStructVariant = Object<'e>;

    fn is_human_readable(&self) -> bool {
        false
    }

    scalars! {
        serialize_bool(bool): |encoder, value| encoder.bool(value);
        serialize_i8(i8): |encoder, value| encoder.int(i64::from(value));
        serialize_i16(i16): |encoder, value| encoder.int(i64::from(value));
        serialize_i32(i32): |encoder, value| encoder.int(i64::from(value));
        serialize_i64(i64): |encoder, value| encoder.int(value);
        serialize_i128(i128): |encoder, value| encoder.int128(value);
        serialize_u8(u8): |encoder, value| encoder.int(i64::from(value));
        serialize_u16(u16): |encoder, value| encoder.int(i64::from(value));
        serialize_u32(u32): |encoder, value| encoder.int(i64::from(value));
        serialize_u64(u64): |encoder, value| encoder.uint(value);
        serialize_u128(u128): |encoder, value| match i128::try_from(value) {
            Ok(small) => encoder.int128(small),
            Err(_) => encoder.big_int(&BigInt::from(value)),
        };
        serialize_f32(f32): |encoder, value| encoder.f32_element(value);
        serialize_f64(f64): |encoder, value| encoder.f64(value);
        serialize_char(char): |encoder, value| encoder.str(value.encode_utf8(&mut [0; 4]));
        serialize_str(&str): |encoder, value| encoder.str(value);
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), SerdeError> {
        match <&[u8; 16]>::try_from(value) {
            Ok(id) if self.is_id => self.encoder.id128(id),
            _ => self.encoder.bytes(value),
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), SerdeError> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), SerdeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), SerdeError> {
        self.encoder.null();
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), SerdeError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), SerdeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        let new_tag = match name {
            special::TIME => tag::TIME,
            special::DURATION => tag::DURATION,
            special::NODE => tag::NODE,
            special::ID128 => return value.serialize(Self { is_id: true, ..self }),
            _ => return value.serialize(self),
        };
        value.serialize(Target { encoder: &mut *self.encoder, is_id: false })?;
        self.encoder.retag_integer(new_tag);
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.encoder.begin_object();
        self.encoder.name(variant);
        check(self.encoder)?;
        value.serialize(Target { encoder: &mut *self.encoder, is_id: false })?;
        self.encoder.end_object();
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<List<'e>, SerdeError> {
        self.list(None)
    }

    fn serialize_tuple(self, _len: usize) -> Result<List<'e>, SerdeError> {
        self.list(None)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<List<'e>, SerdeError> {
        self.list(None)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<List<'e>, SerdeError> {
        self.list(Some(variant))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Object<'e>, SerdeError> {
        self.object(None)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Object<'e>, SerdeError> {
        self.object(None)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Object<'e>, SerdeError> {
        self.object(Some(variant))
    }
}

/// A sequence under construction.
pub struct List<'e> {
    encoder: &'e mut Encoder,
    is_variant: bool,
}

impl List<'_> {
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        value.serialize(Target { encoder: self.encoder, is_id: false })
    }

    fn close(self) {
        self.encoder.end_sequence();
        if self.is_variant {
            self.encoder.end_object();
        }
    }
}

macro_rules! sequences {
    ($($part:ident::$method:ident),*) => { $(
        impl ser::$part for List<'_> {
            type Ok = ();
            type Error = SerdeError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
                self.element(value)
            }

            fn end(self) -> Result<(), SerdeError> {
                self.close();
                Ok(())
            }
        }
    )* };
}

sequences! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
}

/// An object under construction.
pub struct Object<'e> {
    encoder: &'e mut Encoder,
    is_variant: bool,
}

impl Object<'_> {
    #[inline]
    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.encoder.name(name);
        value.serialize(Target { encoder: self.encoder, is_id: false })
    }

    #[inline]
    fn close(self) {
        self.encoder.end_object();
        if self.is_variant {
            self.encoder.end_object();
        }
    }
}

impl ser::SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.field(name, value)
    }

    #[inline]
    fn end(self) -> Result<(), SerdeError> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStructVariant for Object<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), SerdeError> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerdeError> {
        key.serialize(Name { encoder: self.encoder })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        value.serialize(Target { encoder: self.encoder, is_id: false })
    }

    fn end(self) -> Result<(), SerdeError> {
        self.close();
        Ok(())
    }
}

/// Takes a map key as the name of the next field.
struct Name<'e> {
    encoder: &'e mut Encoder,
}

macro_rules! printed_names {
    ($($method:ident($kind:ty)),*) => { $(
        fn $method(self, value: $kind) -> Result<(), SerdeError> {
            self.encoder.name(&value.to_string());
            Ok(())
        }
    )* };
}

macro_rules! no_names {
    ($($method:ident($($argument:ty),*) -> $ok:ty),* $(,)?) => { $(
        fn $method(self, $(_: $argument),*) -> Result<$ok, SerdeError> {
            Err(SerdeError::Key)
        }
    )* };
}

type Never = ser::Impossible<(), SerdeError>;

impl ser::Serializer for Name<'_> {
    type Ok = ();
    type Error = SerdeError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn is_human_readable(&self) -> bool {
        false
    }

    printed_names! {
        serialize_bool(bool), serialize_char(char),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64),
        serialize_i128(i128), serialize_u128(u128)
    }

    fn serialize_str(self, value: &str) -> Result<(), SerdeError> {
        self.encoder.name(value);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), SerdeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _value: &T) -> Result<(), SerdeError> {
        Err(SerdeError::Key)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), SerdeError> {
        Err(SerdeError::Key)
    }

    no_names! {
        serialize_f32(f32) -> (),
        serialize_f64(f64) -> (),
        serialize_bytes(&[u8]) -> (),
        serialize_none() -> (),
        serialize_unit() -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_seq(Option<usize>) -> Never,
        serialize_tuple(usize) -> Never,
        serialize_tuple_struct(&'static str, usize) -> Never,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never,
        serialize_map(Option<usize>) -> Never,
        serialize_struct(&'static str, usize) -> Never,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never,
    }
}
