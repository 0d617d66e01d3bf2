//! Deserializer: values of a record become serde's calls.

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Visitor};

use super::SerdeError;
use crate::uarr::error::Error;
use crate::uarr::number::BigInt;
use crate::uarr::reference::UArrRef;
use crate::uarr::spec::tag;
use crate::uarr::view::{Budget, Entries, Items, View};

/// A Rust value from a record whose header is checked; the rest is checked as far as it is read.
/// Validate records of doubtful origin first.
///
/// # Errors
/// The broken rule, or what the type complains of.
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, SerdeError> {
    from_value(UArrRef::open(bytes)?)
}

/// A Rust value from any value of a record.
///
/// # Errors
/// The broken rule, or what the type complains of.
#[inline]
pub fn from_value<'de, T: Deserialize<'de>>(value: UArrRef<'de>) -> Result<T, SerdeError> {
    T::deserialize(Source { value, budget: &mut Budget::new(&value) })
}

/// One value to be read.
struct Source<'de, 'b> {
    value: UArrRef<'de>,
    budget: &'b mut Budget,
}

impl<'de> Source<'de, '_> {
    #[inline]
    fn list<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.budget.enter(&self.value)?;
        let mut items = Sequence { items: self.value.iter(), budget: &mut *self.budget };
        let read = visitor.visit_seq(&mut items)?;
        if items.items.len() != 0 {
            return Err(de::Error::custom("the sequence has more elements than the type"));
        }
        self.budget.leave();
        Ok(read)
    }

    #[inline]
    fn object<V: Visitor<'de>>(
        self,
        entries: Entries<'de>,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.budget.enter(&self.value)?;
        let mut fields = Fields { entries, waiting: None, budget: &mut *self.budget };
        let read = visitor.visit_map(&mut fields)?;
        if fields.entries.try_next().is_some() {
            return Err(de::Error::custom("the object has more fields than the type"));
        }
        self.budget.leave();
        Ok(read)
    }

    #[inline]
    fn any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.budget.pay(&self.value)?;
        match self.value.view()? {
            View::Null | View::Undefined => visitor.visit_unit(),
            View::Bool(flag) => visitor.visit_bool(flag),
            View::Int(number) | View::Time(number) | View::Duration(number) => {
                visitor.visit_i64(number)
            }
            View::Uint(number) | View::Node(number) => visitor.visit_u64(number),
            View::F64(number) => visitor.visit_f64(number),
            View::Str(text) | View::NodeName(text) => visitor.visit_borrowed_str(text),
            View::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            View::Id128(bytes) => visitor.visit_borrowed_bytes(bytes),
            View::BigInt(bytes) => big_int(bytes, visitor),
            View::Decimal(number) => visitor.visit_string(number.to_string()),
            View::Array(_) | View::List(_) => self.list(visitor),
            View::Object(entries) => self.object(entries, visitor),
        }
    }
}

#[cold]
fn big_int<'de, V: Visitor<'de>>(bytes: &[u8], visitor: V) -> Result<V::Value, SerdeError> {
    let number = BigInt::from_le_bytes(bytes);
    match (number.to_i128(), number.to_u128()) {
        (Some(small), _) => visitor.visit_i128(small),
        (_, Some(small)) => visitor.visit_u128(small),
        _ => Err(de::Error::custom("the integer has more than 128 bits")),
    }
}

macro_rules! as_any {
    ($($method:ident),* $(,)?) => { $(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            self.any(visitor)
        }
    )* };
}

macro_rules! as_number {
    ($($method:ident),* $(,)?) => { $(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            match self.value.tag() {
                tag::INT | tag::F64 => {
                    self.budget.pay(&self.value)?;
                    Number { slot: self.value.slot(), tag: self.value.tag() }.visit(visitor)
                }
                _ => self.any(visitor),
            }
        }
    )* };
}

impl<'de> Deserializer<'de> for Source<'de, '_> {
    type Error = SerdeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    as_any! {
        deserialize_any, deserialize_bool, deserialize_i128, deserialize_u128, deserialize_char,
        deserialize_unit, deserialize_seq, deserialize_map, deserialize_identifier,
    }

    // What is asked for and is there needs no view of everything it could be.
    as_number! {
        deserialize_i8, deserialize_i16, deserialize_i32, deserialize_i64,
        deserialize_u8, deserialize_u16, deserialize_u32, deserialize_u64,
        deserialize_f32, deserialize_f64,
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.value.as_str() {
            Some(text) => {
                self.budget.pay(&self.value)?;
                visitor.visit_borrowed_str(text)
            }
            None => self.any(visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        if self.value.tag() == tag::ARRAY_U8 {
            self.budget.pay(&self.value)?;
            let at = self.value.slot_at();
            let array = self.value.as_array().ok_or(Error::Offset { at })?;
            return visitor.visit_borrowed_bytes(array.bytes());
        }
        self.any(visitor)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        if self.value.is_null() || self.value.is_undefined() {
            self.budget.pay(&self.value)?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.any(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.any(visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.budget.pay(&self.value)?;
        match self.value.view()? {
            View::Str(text) => visitor.visit_enum(de::value::BorrowedStrDeserializer::new(text)),
            View::Object(mut entries) => {
                let (Some(entry), None) = (entries.try_next(), entries.try_next()) else {
                    return Err(de::Error::custom("a variant is an object of one field"));
                };
                let (name, value) = entry?;
                self.budget.enter(&self.value)?;
                let variant = Variant { name, value, budget: &mut *self.budget };
                let read = visitor.visit_enum(variant)?;
                self.budget.leave();
                Ok(read)
            }
            _ => Err(de::Error::custom("a variant is a string or an object of one field")),
        }
    }

    /// Pays for the value alone: what the caller does not read is not walked.
    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.budget.pay(&self.value)?;
        visitor.visit_unit()
    }
}

/// A number on its own: an element of a typed array.
struct Number {
    slot: u64,
    tag: u8,
}

impl Number {
    #[inline]
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.tag {
            tag::F64 => visitor.visit_f64(f64::from_bits(self.slot)),
            tag::INT => visitor.visit_i64(self.slot as i64),
            _ => visitor.visit_u64(self.slot),
        }
    }
}

impl<'de> Deserializer<'de> for Number {
    type Error = SerdeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Sequence<'de, 'b> {
    items: Items<'de>,
    budget: &'b mut Budget,
}

impl<'de> de::SeqAccess<'de> for &mut Sequence<'de, '_> {
    type Error = SerdeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SerdeError> {
        let is_array = self.items.is_array();
        let Some(value) = self.items.next() else { return Ok(None) };
        if is_array {
            // The array was paid for as a whole.
            return seed.deserialize(Number { slot: value.slot(), tag: value.tag() }).map(Some);
        }
        seed.deserialize(Source { value, budget: self.budget }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Fields<'de, 'b> {
    entries: Entries<'de>,
    waiting: Option<UArrRef<'de>>,
    budget: &'b mut Budget,
}

impl<'de> de::MapAccess<'de> for &mut Fields<'de, '_> {
    type Error = SerdeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, SerdeError> {
        let Some(entry) = self.entries.try_next() else { return Ok(None) };
        let (name, value) = entry?;
        self.waiting = Some(value);
        seed.deserialize(Name { name }).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, SerdeError> {
        let Some(value) = self.waiting.take() else {
            return Err(de::Error::custom("a value is read after its key"));
        };
        seed.deserialize(Source { value, budget: self.budget })
    }

    fn size_hint(&self) -> Option<usize> {
        self.entries.size_hint().1
    }
}

/// The name of a field: text, or the number that was printed as one.
struct Name<'de> {
    name: &'de str,
}

macro_rules! parsed_names {
    ($($method:ident => $visit:ident),* $(,)?) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            match self.name.parse() {
                Ok(parsed) => visitor.$visit(parsed),
                Err(_) => visitor.visit_borrowed_str(self.name),
            }
        }
    )* };
}

impl<'de> Deserializer<'de> for Name<'de> {
    type Error = SerdeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_borrowed_str(self.name)
    }

    parsed_names! {
        deserialize_bool => visit_bool,
        deserialize_i8 => visit_i8,
        deserialize_i16 => visit_i16,
        deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64,
        deserialize_i128 => visit_i128,
        deserialize_u8 => visit_u8,
        deserialize_u16 => visit_u16,
        deserialize_u32 => visit_u32,
        deserialize_u64 => visit_u64,
        deserialize_u128 => visit_u128,
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_enum(de::value::BorrowedStrDeserializer::new(self.name))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct Variant<'de, 'b> {
    name: &'de str,
    value: UArrRef<'de>,
    budget: &'b mut Budget,
}

impl<'de, 'b> de::EnumAccess<'de> for Variant<'de, 'b> {
    type Error = SerdeError;
    type Variant = Source<'de, 'b>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Source<'de, 'b>), SerdeError> {
        let variant = seed.deserialize(Name { name: self.name })?;
        Ok((variant, Source { value: self.value, budget: self.budget }))
    }
}

impl<'de> de::VariantAccess<'de> for Source<'de, '_> {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<(), SerdeError> {
        Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, SerdeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.any(visitor)
    }
}
