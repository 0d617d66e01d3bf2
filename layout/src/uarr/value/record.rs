//! A value as a record, and a record as a value.

use std::fmt;

use super::Value;
use super::array::Array;
use crate::uarr::buf::UArrBuf;
use crate::uarr::builder::Encode;
use crate::uarr::encode::Encoder;
use crate::uarr::error::{BuildError, Error};
use crate::uarr::number::BigInt;
use crate::uarr::reference::UArrRef;
use crate::uarr::view::{Budget, View};

impl Value {
    /// The value as a record.
    ///
    /// # Errors
    /// The limit that is exceeded, or a repeated name.
    pub fn to_buf(&self) -> Result<UArrBuf, BuildError> {
        let mut encoder = Encoder::new();
        encoder.start();
        self.encode(&mut encoder);
        encoder.finish()?;
        Ok(encoder.take())
    }
}

impl Encode for Value {
    fn encode(&self, encoder: &mut Encoder) {
        if encoder.error().is_some() {
            // Too deep or too long already: do not go further down.
            return encoder.null();
        }
        match self {
            Self::Null => encoder.null(),
            Self::Undefined => encoder.undefined(),
            Self::Bool(flag) => encoder.bool(*flag),
            Self::Int(number) => encoder.int(*number),
            Self::Uint(number) => encoder.uint(*number),
            Self::BigInt(number) => encoder.big_int(number),
            Self::F64(number) => encoder.f64(*number),
            Self::Decimal(number) => encoder.decimal(*number),
            Self::Time(nanoseconds) => encoder.time(*nanoseconds),
            Self::Duration(nanoseconds) => encoder.duration(*nanoseconds),
            Self::Node(id) => encoder.node(*id),
            Self::NodeName(name) => encoder.node_name(name),
            Self::Id128(bytes) => encoder.id128(bytes),
            Self::Str(text) => encoder.str(text),
            Self::Bytes(bytes) => encoder.bytes(bytes),
            Self::Array(array) => {
                let elements = array.as_array();
                encoder.array_bytes(elements.len(), elements.bytes(), elements.tag());
            }
            Self::List(items) => {
                encoder.begin_list();
                items.iter().for_each(|item| item.encode(encoder));
                encoder.end_list();
            }
            Self::Object(fields) => {
                encoder.begin_object();
                for (name, value) in fields {
                    encoder.name(name);
                    value.encode(encoder);
                }
                encoder.end_object();
            }
        }
    }
}

impl TryFrom<UArrRef<'_>> for Value {
    type Error = Error;

    /// The whole value, copied.
    fn try_from(value: UArrRef<'_>) -> Result<Self, Error> {
        read(&value, &mut Budget::new(&value))
    }
}

fn read(value: &UArrRef<'_>, budget: &mut Budget) -> Result<Value, Error> {
    budget.pay(value)?;
    Ok(match value.view()? {
        View::Null => Value::Null,
        View::Undefined => Value::Undefined,
        View::Bool(flag) => Value::Bool(flag),
        View::Int(number) => Value::Int(number),
        View::Uint(number) => Value::Uint(number),
        View::F64(number) => Value::F64(number),
        View::Time(nanoseconds) => Value::Time(nanoseconds),
        View::Duration(nanoseconds) => Value::Duration(nanoseconds),
        View::Node(id) => Value::Node(id),
        View::NodeName(name) => Value::NodeName(name.to_owned()),
        View::Str(text) => Value::Str(text.to_owned()),
        View::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        View::BigInt(bytes) => Value::BigInt(BigInt::from_le_bytes(bytes)),
        View::Id128(bytes) => Value::Id128(*bytes),
        View::Decimal(number) => Value::Decimal(number),
        View::Array(array) => Value::Array(Array::copy_of(&array)),
        View::List(items) => {
            budget.enter(value)?;
            // Not with the capacity that the record claims: it need not be true.
            let mut list = Vec::new();
            for item in items {
                list.push(read(&item, budget)?);
            }
            budget.leave();
            Value::List(list)
        }
        View::Object(mut entries) => {
            budget.enter(value)?;
            let mut fields = Vec::new();
            while let Some(entry) = entries.try_next() {
                let (name, field) = entry?;
                fields.push((name.to_owned(), read(&field, budget)?));
            }
            budget.leave();
            Value::Object(fields)
        }
    })
}

impl fmt::Display for Value {
    /// JSON text; of a value that cannot be a record `<why>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_buf() {
            Ok(record) => fmt::Display::fmt(&record, f),
            Err(error) => write!(f, "<{error}>"),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_buf() {
            Ok(record) => fmt::Debug::fmt(&record, f),
            Err(error) => write!(f, "<{error}>"),
        }
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Value::Array(self.clone()), f)
    }
}
