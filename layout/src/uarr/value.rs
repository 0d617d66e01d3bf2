//! [`Value`]: an owned tree, for values that are taken apart, changed or kept as keys.
//!
//! Invariants: the order is total and agrees with equality and hash; doubles are compared by their
//! total order, so NaN equals itself and -0.0 differs from 0.0; the fields of an object are
//! compared in their order, which is part of the value.

mod array;
mod elements;
mod order;
mod record;

use std::ops;

use super::number::{BigInt, Decimal};
pub use array::Array;
pub(super) use elements::{element_slot, scalar};

/// An owned value.
///
/// ```
/// use uarr_layout::uarr::{Value, uarr};
/// let mut value = Value::try_from(uarr!({ "props": { "size": 3 } }).as_ref())?;
/// assert_eq!(value["props"]["size"], Value::from(3));
/// value.insert("name", "Ada");
/// assert_eq!(value.to_string(), r#"{"props":{"size":3},"name":"Ada"}"#);
/// # Ok::<(), uarr_layout::uarr::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Value {
    /// Null.
    #[default]
    Null,
    /// Undefined: absent.
    Undefined,
    /// Boolean.
    Bool(bool),
    /// Signed integer.
    Int(i64),
    /// Unsigned integer; one that fits `Int` is written as such.
    Uint(u64),
    /// Integer beyond 64 bits; one that fits is written as such.
    BigInt(BigInt),
    /// Double.
    F64(f64),
    /// Decimal number.
    Decimal(Decimal),
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    /// Number of a node.
    Node(u64),
    /// Name of a node.
    NodeName(String),
    /// Sixteen bytes.
    Id128([u8; 16]),
    /// String.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Typed array.
    Array(Array),
    /// List of mixed values.
    List(Vec<Value>),
    /// Fields in order; a repeated name is an error when the object is written.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The field called `name` of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// The field called `name` of an object, to be changed.
    #[must_use]
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter_mut().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// Sets a field of an object, at its place or as the last one. Anything else becomes an object.
    pub fn insert(&mut self, name: &str, value: impl Into<Self>) {
        if !matches!(self, Self::Object(_)) {
            *self = Self::Object(Vec::new());
        }
        match (self.get_mut(name), value.into()) {
            (Some(field), value) => *field = value,
            (None, value) => {
                if let Self::Object(fields) = self {
                    fields.push((name.to_owned(), value));
                }
            }
        }
    }

    /// Removes a field of an object; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Self> {
        let Self::Object(fields) = self else { return None };
        let index = fields.iter().position(|(other, _)| other == name)?;
        Some(fields.remove(index).1)
    }

    /// Sorts the fields of all objects by name, for records that promise it.
    pub fn sort_names(&mut self) {
        match self {
            Self::List(items) => items.iter_mut().for_each(Self::sort_names),
            Self::Object(fields) => {
                fields.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
                fields.iter_mut().for_each(|(_, value)| value.sort_names());
            }
            _ => {}
        }
    }

    /// Any integer with 128 bits, `None` beyond.
    fn small_integer(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(i128::from(*number)),
            Self::Uint(number) => Some(i128::from(*number)),
            Self::BigInt(number) => number.to_i128(),
            _ => None,
        }
    }
}

impl ops::Index<&str> for Value {
    type Output = Self;

    /// The field called `name`; [`Value::Undefined`] if there is none.
    fn index(&self, name: &str) -> &Self {
        self.get(name).unwrap_or(&Self::Undefined)
    }
}

impl ops::Index<usize> for Value {
    type Output = Self;

    /// Element `index` of a list; [`Value::Undefined`] if there is none.
    fn index(&self, index: usize) -> &Self {
        let Self::List(items) = self else { return &Self::Undefined };
        items.get(index).unwrap_or(&Self::Undefined)
    }
}

macro_rules! value_from {
    ($($kind:ty: |$from:ident| $value:expr;)*) => { $(
        impl From<$kind> for Value {
            fn from($from: $kind) -> Self {
                $value
            }
        }
    )* };
}

value_from! {
    (): |_from| Self::Null;
    bool: |from| Self::Bool(from);
    i32: |from| Self::Int(i64::from(from));
    i64: |from| Self::Int(from);
    u32: |from| Self::Int(i64::from(from));
    u64: |from| Self::Uint(from);
    f64: |from| Self::F64(from);
    &str: |from| Self::Str(from.to_owned());
    String: |from| Self::Str(from);
    BigInt: |from| Self::BigInt(from);
    Decimal: |from| Self::Decimal(from);
    Array: |from| Self::Array(from);
    Vec<Value>: |from| Self::List(from);
}
