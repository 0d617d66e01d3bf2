//! [`Value`]: an owned tree, for values that are taken apart, changed or kept as keys.
//!
//! Invariants: the order is total and agrees with equality and hash; doubles are compared by their
//! total order, so NaN equals itself and -0.0 differs from 0.0; the fields of an object are
//! compared in their order, which is part of the value.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::{fmt, ops};

use super::buf::UArrBuf;
use super::builder::Encode;
use super::element::Element;
use super::encode::Encoder;
use super::error::{BuildError, Error};
use super::number::{BigInt, Decimal};
use super::read::UArrRef;
use super::spec::{element_bytes, tag};
use super::view::{ArrayRef, Budget, View};

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

/// An owned typed array.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Array {
    tag: u8,
    /// Little-endian elements.
    bytes: Vec<u8>,
}

impl Array {
    /// The array of these elements.
    #[must_use]
    pub fn new<T: Element>(values: &[T]) -> Self {
        let mut bytes = vec![0; size_of_val(values)];
        T::write_le(values, &mut bytes);
        Self { tag: T::TAG, bytes }
    }

    /// View of the elements.
    #[must_use]
    pub fn as_array(&self) -> ArrayRef<'_> {
        ArrayRef::new(self.tag, &self.bytes)
    }

    pub(crate) fn tag(&self) -> u8 {
        self.tag
    }

    fn width(&self) -> usize {
        element_bytes(self.tag).expect("an array has the tag of a typed array")
    }

    /// The elements from `first` on.
    pub(crate) fn tail(&self, first: usize) -> Self {
        Self { tag: self.tag, bytes: self.bytes[first * self.width()..].to_vec() }
    }

    /// Appends the elements of an array of the same type. False, and nothing done, for another.
    pub(crate) fn append(&mut self, other: &Self) -> bool {
        let is_same = self.tag == other.tag;
        if is_same {
            self.bytes.extend_from_slice(&other.bytes);
        }
        is_same
    }

    /// Replaces an element. False, and nothing done, if there is none or the type cannot hold it.
    pub(crate) fn set(&mut self, index: usize, value: &Value) -> bool {
        let width = self.width();
        let target = index.checked_mul(width).and_then(|at| self.bytes.get_mut(at..at + width));
        match (target, element_slot(self.tag, value)) {
            (Some(target), Some(slot)) => {
                target.copy_from_slice(&slot.to_le_bytes()[..width]);
                true
            }
            _ => false,
        }
    }

    /// Removes an element. False if there is none.
    pub(crate) fn remove(&mut self, index: usize) -> bool {
        let width = self.width();
        let is_there = index < self.as_array().len();
        if is_there {
            self.bytes.drain(index * width..(index + 1) * width);
        }
        is_there
    }

    fn compare(&self, other: &Self) -> Ordering {
        let (a, b) = (self.as_array(), other.as_array());
        let by_element = (0..a.len().min(b.len())).map(|index| {
            let of = |array: &ArrayRef<'_>| array.get(index).map(|item| scalar(&item));
            of(&a).cmp(&of(&b))
        });
        let by_tag = self.tag.cmp(&other.tag);
        by_tag
            .then_with(|| by_element.into_iter().find(|o| o.is_ne()).unwrap_or(Ordering::Equal))
            .then_with(|| a.len().cmp(&b.len()))
            // Two NaNs of different bits that widen to the same double.
            .then_with(|| self.bytes.cmp(&other.bytes))
    }
}

/// The low bytes of `value` as an element of a typed array, `None` if the type cannot hold it
/// exactly.
pub(crate) fn element_slot(array_tag: u8, value: &Value) -> Option<u64> {
    let limits = match array_tag {
        tag::ARRAY_I8 => i128::from(i8::MIN)..=i128::from(i8::MAX),
        tag::ARRAY_U8 => 0..=i128::from(u8::MAX),
        tag::ARRAY_I16 => i128::from(i16::MIN)..=i128::from(i16::MAX),
        tag::ARRAY_U16 => 0..=i128::from(u16::MAX),
        tag::ARRAY_I32 => i128::from(i32::MIN)..=i128::from(i32::MAX),
        tag::ARRAY_U32 => 0..=i128::from(u32::MAX),
        tag::ARRAY_I64 => i128::from(i64::MIN)..=i128::from(i64::MAX),
        tag::ARRAY_U64 => 0..=i128::from(u64::MAX),
        // Doubles and references take no integers.
        _ => return other_element_slot(array_tag, value),
    };
    value.small_integer().filter(|number| limits.contains(number)).map(|number| number as u64)
}

fn other_element_slot(array_tag: u8, value: &Value) -> Option<u64> {
    match (array_tag, value) {
        (tag::ARRAY_F64, Value::F64(number)) => Some(number.to_bits()),
        (tag::ARRAY_F32, Value::F64(number)) => {
            let narrow = *number as f32;
            let is_exact = f64::from(narrow).to_bits() == number.to_bits();
            is_exact.then_some(u64::from(narrow.to_bits()))
        }
        (tag::ARRAY_NODE, Value::Node(id)) => Some(*id),
        _ => None,
    }
}

/// An element of a typed array as a value.
pub(crate) fn scalar(value: &UArrRef<'_>) -> Value {
    match value.view() {
        Ok(View::Int(number)) => Value::Int(number),
        Ok(View::Uint(number)) => Value::Uint(number),
        Ok(View::Node(id)) => Value::Node(id),
        Ok(View::F64(number)) => Value::F64(number),
        _ => Value::Null,
    }
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

    /// Place in the order of kinds: numbers stand together.
    fn rank(&self) -> u8 {
        match self {
            Self::Undefined => 0,
            Self::Null => 1,
            Self::Bool(_) => 2,
            Self::Int(_) | Self::Uint(_) | Self::BigInt(_) => 3,
            Self::F64(_) => 4,
            Self::Decimal(_) => 5,
            Self::Time(_) => 6,
            Self::Duration(_) => 7,
            Self::Node(_) => 8,
            Self::NodeName(_) => 9,
            Self::Id128(_) => 10,
            Self::Str(_) => 11,
            Self::Bytes(_) => 12,
            Self::Array(_) => 13,
            Self::List(_) => 14,
            Self::Object(_) => 15,
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

    fn compare_integers(&self, other: &Self) -> Ordering {
        match (self.small_integer(), other.small_integer(), self, other) {
            (Some(a), Some(b), _, _) => a.cmp(&b),
            (None, None, Self::BigInt(a), Self::BigInt(b)) => a.cmp(b),
            (None, _, Self::BigInt(a), _) if a.is_negative() => Ordering::Less,
            (None, _, _, _) => Ordering::Greater,
            (_, _, _, Self::BigInt(b)) if b.is_negative() => Ordering::Greater,
            _ => Ordering::Less,
        }
    }
}

impl Ord for Value {
    /// By kind (undefined, null, bool, integers, doubles, decimals, times, durations, references,
    /// ids, strings, bytes, arrays, lists, objects), then by content: numbers by size, text by its
    /// bytes, containers element by element.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::F64(a), Self::F64(b)) => a.total_cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Time(a), Self::Time(b)) | (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            (Self::Node(a), Self::Node(b)) => a.cmp(b),
            (Self::NodeName(a), Self::NodeName(b)) | (Self::Str(a), Self::Str(b)) => a.cmp(b),
            (Self::Id128(a), Self::Id128(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) => a.compare(b),
            (Self::List(a), Self::List(b)) => a.cmp(b),
            (Self::Object(a), Self::Object(b)) => a.cmp(b),
            (a, b) if a.rank() == 3 && b.rank() == 3 => a.compare_integers(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Null | Self::Undefined => {}
            Self::Bool(flag) => flag.hash(state),
            Self::Int(_) | Self::Uint(_) | Self::BigInt(_) => match (self.small_integer(), self) {
                (None, Self::BigInt(number)) => number.hash(state),
                (small, _) => small.hash(state),
            },
            Self::F64(number) => number.to_bits().hash(state),
            Self::Decimal(number) => number.hash(state),
            Self::Time(number) | Self::Duration(number) => number.hash(state),
            Self::Node(id) => id.hash(state),
            Self::NodeName(text) | Self::Str(text) => text.hash(state),
            Self::Id128(bytes) => bytes.hash(state),
            Self::Bytes(bytes) => bytes.hash(state),
            Self::Array(array) => array.hash(state),
            Self::List(items) => items.hash(state),
            Self::Object(fields) => fields.hash(state),
        }
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
                encoder.array_bytes(array.as_array().len(), &array.bytes, array.tag);
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
        View::Array(array) => {
            Value::Array(Array { tag: array.tag(), bytes: array.bytes().to_vec() })
        }
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
