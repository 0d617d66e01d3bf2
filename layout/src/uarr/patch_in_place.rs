//! [`UArrMut`]: changes of numbers in a private buffer.
//!
//! Invariants: only inline slots of numbers, booleans, times and references are changed, and only
//! to a value of the same tag, and elements of typed arrays: length, order and canonical form stay
//! valid. Never used on a mapping or a log.

use super::buf::UArrBuf;
use super::header::Header;
use super::path::Step;
use super::reference::UArrRef;
use super::spec::{element_bytes, tag};
use super::value::{Value, element_slot};

/// A record in a private buffer whose numbers can be changed in place.
///
/// ```
/// use uarr_layout::uarr::{Key, UArrMut, uarr};
/// static AGE: Key = Key::new("age");
/// let mut record = uarr!({ "age": 36, "vec": f32[1.0, 2.0] });
/// let mut changes = UArrMut::new(&mut record);
/// assert!(changes.set([&AGE], 37));
/// assert!(changes.set_path("vec[1]", 2.5));
/// assert!(!changes.set([&AGE], 0.5), "an integer stays an integer");
/// drop(changes);
/// assert_eq!(record.to_string(), r#"{"age":37,"vec":[1.0,2.5]}"#);
/// ```
pub struct UArrMut<'b> {
    record: &'b mut UArrBuf,
}

impl<'b> UArrMut<'b> {
    /// Changes of `record`. When dropped, a checksum is brought up to date.
    #[must_use]
    pub fn new(record: &'b mut UArrBuf) -> Self {
        Self { record }
    }

    /// Replaces the number at a path by one of the same kind. False, and nothing is done, if there
    /// is none or its kind cannot hold the value.
    pub fn set<'k, P: Into<Step<'k>>>(
        &mut self,
        path: impl IntoIterator<Item = P>,
        value: impl Into<Value>,
    ) -> bool {
        let new = value.into();
        place_of(self.record, path.into_iter().map(Into::into))
            .is_some_and(|place| place.write(self.record, &new))
    }

    /// Like [`set`](Self::set), for a path in text: `a.b[3]`.
    pub fn set_path(&mut self, path: &str, value: impl Into<Value>) -> bool {
        let new = value.into();
        // An element of a typed array has no place of its own: its array has.
        let (parent, index) = match path.rsplit_once('[') {
            Some((parent, rest)) => {
                (parent, rest.strip_suffix(']').and_then(|index| index.parse().ok()))
            }
            None => (path, None),
        };
        let Ok(root) = UArrRef::open(self.record) else { return false };
        let place = match (index, root.get_path(parent)) {
            (Some(index), Some(parent)) => Place::of_element(&parent, index),
            (None, Some(value)) => Place::of_value(&value),
            _ => None,
        };
        place.is_some_and(|place| place.write(self.record, &new))
    }
}

impl Drop for UArrMut<'_> {
    fn drop(&mut self) {
        self.record.update_crc();
    }
}

/// Replaces the number at a path, for patches; the checksum is left to the caller.
pub(crate) fn set_in_place<'p>(
    record: &mut UArrBuf,
    path: impl Iterator<Item = Step<'p>>,
    value: &UArrRef<'_>,
) -> bool {
    let Some(new) = inline_value(value) else { return false };
    place_of(record, path).is_some_and(|place| place.write(record, &new))
}

fn inline_value(value: &UArrRef<'_>) -> Option<Value> {
    match value.tag() {
        tag::BOOL..=tag::DURATION => Value::try_from(*value).ok(),
        _ => None,
    }
}

fn place_of<'p>(record: &UArrBuf, path: impl Iterator<Item = Step<'p>>) -> Option<Place> {
    let mut value = UArrRef::open(record).ok()?;
    let mut path = path.peekable();
    while let Some(step) = path.next() {
        if let (Step::Index(index), None, true) =
            (&step, path.peek(), element_bytes(value.tag()).is_some())
        {
            return Place::of_element(&value, *index);
        }
        value = value.step(step)?;
    }
    Place::of_value(&value)
}

/// Bytes that hold one number.
struct Place {
    at: usize,
    width: usize,
    /// Tag of the value, or of the array it is an element of.
    tag: u8,
}

impl Place {
    fn of_value(value: &UArrRef<'_>) -> Option<Self> {
        let is_inline = matches!(value.tag(), tag::BOOL..=tag::DURATION);
        let is_in_record = !value.record_bytes().is_empty();
        (is_inline && is_in_record).then_some(Self {
            at: value.slot_at() as usize,
            width: 8,
            tag: value.tag(),
        })
    }

    fn of_element(array: &UArrRef<'_>, index: usize) -> Option<Self> {
        let width = element_bytes(array.tag())?;
        let count = array.as_array()?.len();
        if index >= count {
            return None;
        }
        let start = array.target((count * width) as u64)?;
        Some(Self { at: start + index * width, width, tag: array.tag() })
    }

    fn write(&self, record: &mut UArrBuf, new: &Value) -> bool {
        let slot = if self.width == 8 && element_bytes(self.tag).is_none() {
            inline_slot(self.tag, new)
        } else {
            element_slot(self.tag, new)
        };
        let target = record.bytes_mut().get_mut(self.at..self.at + self.width);
        match (slot, target) {
            (Some(slot), Some(target)) => {
                target.copy_from_slice(&slot.to_le_bytes()[..self.width]);
                true
            }
            _ => false,
        }
    }
}

/// The slot of `value` if its tag is `wanted`.
fn inline_slot(wanted: u8, value: &Value) -> Option<u64> {
    let (slot, present) = match value {
        Value::Bool(flag) => (u64::from(*flag), tag::BOOL),
        Value::Int(number) => (*number as u64, tag::INT),
        Value::Uint(number) if *number > i64::MAX as u64 => (*number, tag::UINT),
        Value::Uint(number) => (*number, tag::INT),
        Value::F64(number) => (number.to_bits(), tag::F64),
        Value::Time(nanoseconds) => (*nanoseconds as u64, tag::TIME),
        Value::Duration(nanoseconds) => (*nanoseconds as u64, tag::DURATION),
        Value::Node(id) => (*id, tag::NODE),
        _ => return None,
    };
    (present == wanted).then_some(slot)
}

impl UArrBuf {
    /// Computes the checksum anew if the record carries one.
    pub(crate) fn update_crc(&mut self) {
        if Header::parse(self).is_ok_and(Header::has_crc) {
            let bytes = self.bytes_mut();
            let crc = crc32c::crc32c(&bytes[8..]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }
}
