//! The content of values: kinds, views for matching, and iterators.
//!
//! Invariant: [`view`] accepts a value only if its own bytes keep the rules that can be judged
//! without the rest of the record, so everything built on it is safe for unvalidated records too.

use std::iter::FusedIterator;

use super::array_ref::ArrayRef;
use super::error::Error;
use super::number::Decimal;
use super::reference::UArrRef;
use super::shape::ShapeView;
use super::spec::{self, DEPTH_MAX, SHAPE_NONE, element_bytes, tag};

/// Kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Null.
    Null,
    /// Undefined: absent.
    Undefined,
    /// Boolean.
    Bool,
    /// Integer of 64 bits, signed or unsigned.
    Int,
    /// Double.
    F64,
    /// Point in time.
    Time,
    /// Span of time.
    Duration,
    /// Reference to a node by number.
    Node,
    /// Reference to a node by name.
    NodeName,
    /// String.
    Str,
    /// Bytes.
    Bytes,
    /// Integer beyond 64 bits.
    BigInt,
    /// Sixteen bytes.
    Id128,
    /// Decimal number.
    Decimal,
    /// Typed array.
    Array,
    /// List of mixed values.
    List,
    /// Object.
    Object,
    /// A tag without a meaning: the record was not validated and is damaged.
    Unknown,
}

impl Kind {
    #[inline]
    pub(crate) fn of(tag: u8) -> Self {
        match tag {
            tag::NULL => Self::Null,
            tag::UNDEFINED => Self::Undefined,
            tag::BOOL => Self::Bool,
            tag::INT | tag::UINT => Self::Int,
            tag::F64 => Self::F64,
            tag::TIME => Self::Time,
            tag::DURATION => Self::Duration,
            tag::NODE => Self::Node,
            tag::NODE_NAME => Self::NodeName,
            tag::STRING | tag::STRING_INLINE_MIN..=tag::STRING_INLINE_MAX => Self::Str,
            tag::BYTES => Self::Bytes,
            tag::BIG_INT => Self::BigInt,
            tag::ID128 => Self::Id128,
            tag::DECIMAL => Self::Decimal,
            tag::ARRAY_I8..=tag::ARRAY_NODE => Self::Array,
            tag::LIST => Self::List,
            tag::OBJECT => Self::Object,
            _ => Self::Unknown,
        }
    }
}

/// A value with its content.
#[derive(Clone)]
#[non_exhaustive]
pub enum View<'a> {
    /// Null.
    Null,
    /// Undefined: absent.
    Undefined,
    /// Boolean.
    Bool(bool),
    /// Signed integer.
    Int(i64),
    /// Unsigned integer above `i64::MAX`.
    Uint(u64),
    /// Double.
    F64(f64),
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    /// Number of a node.
    Node(u64),
    /// Name of a node.
    NodeName(&'a str),
    /// String.
    Str(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Integer beyond 64 bits: two's complement, little endian.
    BigInt(&'a [u8]),
    /// Sixteen bytes.
    Id128(&'a [u8; 16]),
    /// Decimal number.
    Decimal(Decimal),
    /// Typed array.
    Array(ArrayRef<'a>),
    /// List of mixed values.
    List(Items<'a>),
    /// Object.
    Object(Entries<'a>),
}

/// See [`UArrRef::view`].
#[inline]
pub(crate) fn view<'a>(value: &UArrRef<'a>) -> Result<View<'a>, Error> {
    let (slot, at) = (value.slot(), value.slot_at());
    Ok(match value.tag() {
        tag::NULL => View::Null,
        tag::UNDEFINED => View::Undefined,
        tag::BOOL if slot <= 1 => View::Bool(slot != 0),
        tag::BOOL => return Err(Error::Slot { at }),
        tag::INT => View::Int(slot as i64),
        tag::UINT => View::Uint(slot),
        tag::F64 => View::F64(f64::from_bits(slot)),
        tag::TIME => View::Time(slot as i64),
        tag::DURATION => View::Duration(slot as i64),
        tag::NODE => View::Node(slot),
        tag::STRING_INLINE_MIN..=tag::STRING_INLINE_MAX => {
            View::Str(text(value.inline_blob(), at)?)
        }
        tag::STRING => View::Str(text(value.blob(), at)?),
        tag::NODE_NAME => View::NodeName(text(value.blob(), at)?),
        tag::BYTES => View::Bytes(value.blob().ok_or(Error::Offset { at })?),
        tag::BIG_INT => View::BigInt(value.blob().ok_or(Error::Offset { at })?),
        tag::ID128 => {
            View::Id128(value.blob().and_then(|id| id.try_into().ok()).ok_or(Error::Offset { at })?)
        }
        tag::DECIMAL => View::Decimal(
            value.blob().and_then(Decimal::from_bytes).ok_or(Error::Canonical { at })?,
        ),
        tag::ARRAY_I8..=tag::ARRAY_NODE => {
            View::Array(ArrayRef::of(value).ok_or(Error::Offset { at })?)
        }
        tag::LIST => View::List(Items::of_list(value).ok_or(Error::Offset { at })?),
        tag::OBJECT => View::Object(Entries::of_object(value).ok_or(Error::Offset { at })?),
        tag => return Err(Error::Tag { at, tag }),
    })
}

#[inline]
fn text(bytes: Option<&[u8]>, at: u32) -> Result<&str, Error> {
    std::str::from_utf8(bytes.ok_or(Error::Offset { at })?).map_err(|_| Error::Utf8 { at })
}

/// Fields of an object, in order.
#[derive(Clone)]
pub struct Entries<'a> {
    owner: UArrRef<'a>,
    shape: Option<ShapeView<'a>>,
    /// All names, checked to be UTF-8 at once.
    names: &'a str,
    table: u32,
    index: usize,
    name_start: usize,
}

impl<'a> Entries<'a> {
    #[inline]
    pub(crate) fn new(owner: &UArrRef<'a>) -> Self {
        let mut entries =
            Self { owner: *owner, shape: None, names: "", table: 0, index: 0, name_start: 0 };
        if let Some((shape, table)) = owner.object()
            && let Ok(names) = std::str::from_utf8(shape.names)
        {
            entries = Self { shape: Some(shape), names, table, ..entries };
        }
        entries
    }

    /// The fields of what must be an object, `None` if it is not readable.
    pub(crate) fn of_object(owner: &UArrRef<'a>) -> Option<Self> {
        let entries = Self::new(owner);
        let is_empty = (owner.slot() >> 32) as u32 == SHAPE_NONE;
        (entries.shape.is_some() || is_empty).then_some(entries)
    }

    /// The next field, or the rule its bytes break.
    #[inline]
    pub(crate) fn try_next(&mut self) -> Option<Result<(&'a str, UArrRef<'a>), Error>> {
        let shape = self.shape.as_ref()?;
        if self.index >= shape.count {
            return None;
        }
        let at = self.owner.slot_at();
        let field = shape.end(self.index).and_then(|end| {
            let name = self.names.get(self.name_start..end)?;
            self.name_start = end;
            Some((name, self.owner.entry(self.table, shape.count, self.index)?))
        });
        self.index += 1;
        Some(field.ok_or(Error::Name { at }))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, UArrRef<'a>);

    /// The next field; in a damaged record the fields end at the first unreadable one.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.try_next()? {
            Ok(field) => Some(field),
            Err(_) => {
                self.shape = None;
                None
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.shape.as_ref().map_or(0, |shape| shape.count - self.index);
        (left.min(1), Some(left))
    }
}

impl FusedIterator for Entries<'_> {}

/// Elements of a list or typed array, or values of an object.
#[derive(Clone)]
pub struct Items<'a> {
    owner: UArrRef<'a>,
    array: Option<ArrayRef<'a>>,
    table: u32,
    count: usize,
    index: usize,
}

impl<'a> Items<'a> {
    #[inline]
    pub(crate) fn new(owner: &UArrRef<'a>) -> Self {
        let empty = Self { owner: *owner, array: None, table: 0, count: 0, index: 0 };
        if owner.tag() == tag::LIST {
            return Self::of_list(owner).unwrap_or(empty);
        }
        if let Some((shape, table)) = owner.object() {
            return Self { table, count: shape.count, ..empty };
        }
        let array = ArrayRef::of(owner);
        Self { array, count: array.map_or(0, |array| array.len()), ..empty }
    }

    /// Whether the elements are those of a typed array.
    #[cfg(feature = "serde")]
    #[inline]
    pub(crate) fn is_array(&self) -> bool {
        self.array.is_some()
    }

    /// The elements of what must be a list, `None` if it is not readable.
    #[inline]
    pub(crate) fn of_list(owner: &UArrRef<'a>) -> Option<Self> {
        let count = (owner.slot() >> 32) as usize;
        let table = if count == 0 { 0 } else { owner.target(count as u64 * 9)? as u32 };
        Some(Self { owner: *owner, array: None, table, count, index: 0 })
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = UArrRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return None;
        }
        let item = match &self.array {
            Some(array) => array.get(self.index),
            None => self.owner.entry(self.table, self.count, self.index),
        };
        self.index += 1;
        item
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count - self.index, Some(self.count - self.index))
    }
}

impl ExactSizeIterator for Items<'_> {}
impl FusedIterator for Items<'_> {}

/// What a walk over an unvalidated record may still cost.
///
/// In a valid record every value takes 9 bytes of a table or the header, and every byte belongs to
/// one value. A damaged one can alias the same bytes many times; its walk ends with an error once
/// it has seen more than the record can hold.
//= VAL-12
pub(crate) struct Budget {
    bytes: u64,
    depth: u32,
}

impl Budget {
    /// The budget for walking `value`.
    #[inline]
    pub fn new(value: &UArrRef<'_>) -> Self {
        let record = value.record_bytes().len().max(spec::HEADER_BYTES);
        Self { bytes: record as u64, depth: 0 }
    }

    /// Pays for a value: its slot, tag and out-of-line bytes.
    #[inline]
    pub fn pay(&mut self, value: &UArrRef<'_>) -> Result<(), Error> {
        let at = value.slot_at();
        let blob = match value.tag() {
            tag::STRING | tag::BYTES | tag::NODE_NAME | tag::BIG_INT => value.slot() >> 32,
            tag @ tag::ARRAY_I8..=tag::ARRAY_NODE => {
                (value.slot() >> 32) * element_bytes(tag).unwrap_or(1) as u64
            }
            _ => 0,
        };
        let left = self.bytes.checked_sub(blob + 9);
        self.bytes = left.ok_or(Error::Canonical { at })?;
        Ok(())
    }

    /// Goes into a container.
    #[inline]
    pub fn enter(&mut self, value: &UArrRef<'_>) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Error::Depth { at: value.slot_at() }) } else { Ok(()) }
    }

    /// Comes back out of a container.
    #[inline]
    pub fn leave(&mut self) {
        self.depth -= 1;
    }
}
