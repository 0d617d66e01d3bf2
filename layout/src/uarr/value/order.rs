//! The order of values, with the equality and the hash that agree with it.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::Value;
use super::array::Array;
use super::elements::scalar;
use crate::uarr::array_ref::ArrayRef;

impl Array {
    fn compare(&self, other: &Self) -> Ordering {
        let (a, b) = (self.as_array(), other.as_array());
        let by_element = (0..a.len().min(b.len())).map(|index| {
            let of = |array: &ArrayRef<'_>| array.get(index).map(|item| scalar(&item));
            of(&a).cmp(&of(&b))
        });
        let by_tag = self.tag().cmp(&other.tag());
        by_tag
            .then_with(|| by_element.into_iter().find(|o| o.is_ne()).unwrap_or(Ordering::Equal))
            .then_with(|| a.len().cmp(&b.len()))
            // Two NaNs of different bits that widen to the same double.
            .then_with(|| a.bytes().cmp(b.bytes()))
    }
}

impl Value {
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
