//! [`UArrRef`]: reads values in place.
//!
//! Invariants: nothing is copied; every access is checked against the record, so reading bytes
//! that were only opened, not validated, gives `None` at worst. A container must lie wholly below
//! the table that points to it, so no walk can go round in circles.

use super::element::Element;
use super::error::{Error, SliceError};
use super::header::Header;
use super::key::Key;
use super::number::{BigInt, Decimal};
use super::shape::ShapeView;
use super::spec::{SHAPE_NONE, element_bytes, tag};
use super::static_shape::Shape;
use super::view::{ArrayRef, Entries, Items, Kind, View};

/// One value inside a record: the root or any value below it. Copied like a reference.
///
/// ```
/// use uarr_layout::uarr::{UArrRef, uarr};
/// let record = uarr!({ "name": "Ada", "props": { "size": 3 }, "vec": f32[1.0, 2.0] });
/// let value = UArrRef::validate(&record)?;
/// assert_eq!(value.get("name").and_then(|name| name.as_str()), Some("Ada"));
/// assert_eq!(value.at("props").at("size").as_i64(), Some(3));
/// assert_eq!(value.at("vec").as_slice::<f32>(), Ok(&[1.0, 2.0][..]));
/// # Ok::<(), uarr_layout::uarr::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct UArrRef<'a> {
    /// The whole record.
    bytes: &'a [u8],
    slot: u64,
    /// Start of the table that holds the slot.
    base: u32,
    /// Start of the shapes area.
    shapes: u32,
    /// Where the slot lies.
    slot_at: u32,
    tag: u8,
}

impl<'a> UArrRef<'a> {
    /// The root value after a check of the header alone. O(1).
    ///
    /// For bytes of a trusted source, such as the own log. Reading damaged ones is safe too, but
    /// may find values missing.
    ///
    /// # Errors
    /// `Short`, `Magic`, `Version`, `Flags`, `Reserved`, `Length`, `Align` or `Offset`.
    #[inline]
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        Header::parse(bytes).map(|header| Self::root(bytes, header))
    }

    /// The root value after a check of every byte: one pass, no allocation up to 8 KiB of shapes.
    ///
    /// # Errors
    /// The first broken rule and where.
    #[inline]
    pub fn validate(bytes: &'a [u8]) -> Result<Self, Error> {
        super::validate::validate(bytes)
    }

    #[inline]
    pub(crate) fn root(bytes: &'a [u8], header: &Header) -> Self {
        let shapes = header.shapes_offset.get();
        let slot = header.root_slot.get();
        Self { bytes, slot, base: shapes, shapes, slot_at: 24, tag: header.root_tag }
    }

    /// A value that stands for "nothing there".
    #[inline]
    pub(crate) const fn missing() -> Self {
        Self::inline(0, tag::UNDEFINED)
    }

    /// The element `index` of a typed array as a value of its own.
    #[inline]
    pub(crate) const fn inline(slot: u64, tag: u8) -> Self {
        Self { bytes: &[], slot, base: 0, shapes: 0, slot_at: 0, tag }
    }

    /// The value's tag as in the format.
    #[inline]
    #[must_use]
    pub const fn tag(&self) -> u8 {
        self.tag
    }

    #[inline]
    pub(crate) const fn slot(&self) -> u64 {
        self.slot
    }

    /// All bytes of the record that this value is part of; empty for elements of typed arrays.
    #[inline]
    #[must_use]
    pub const fn record_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The shapes area of the record; once validated, what
    /// [`validate_with`](super::validate_with) takes for similar records.
    #[inline]
    #[must_use]
    pub fn shapes_area(&self) -> &'a [u8] {
        self.bytes.get(self.shapes as usize..).unwrap_or(&[])
    }

    /// Where the target of this pointer starts, if `bytes` from there end before the table that
    /// holds the pointer.
    #[inline]
    pub(crate) fn target(&self, bytes: u64) -> Option<usize> {
        let rel = self.slot as u32;
        if bytes > u64::from(rel) {
            return None;
        }
        Some(self.base.checked_sub(rel)? as usize)
    }

    #[inline]
    fn aux(&self) -> u32 {
        (self.slot >> 32) as u32
    }

    /// The `aux` bytes this pointer leads to.
    #[inline]
    pub(crate) fn blob(&self) -> Option<&'a [u8]> {
        let len = self.aux();
        if len == 0 {
            return Some(&[]);
        }
        let start = self.target(u64::from(len))?;
        self.bytes.get(start..start + len as usize)
    }

    /// Where the slot lies in the record.
    #[inline]
    pub(crate) const fn slot_at(&self) -> u32 {
        self.slot_at
    }

    /// The bytes of a string that lies in its slot.
    #[inline]
    pub(crate) fn inline_blob(&self) -> Option<&'a [u8]> {
        let start = self.slot_at as usize;
        let len = self.tag.checked_sub(tag::STRING_INLINE_MIN)? as usize;
        self.bytes.get(start..start + len)
    }

    /// What kind of value this is.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::of(self.tag)
    }

    /// The value with its content, for matching.
    ///
    /// # Errors
    /// The rule that the value's own bytes break; only for bytes that were not validated.
    #[inline]
    pub fn view(&self) -> Result<View<'a>, Error> {
        super::view::view(self)
    }

    /// Whether this is null.
    #[inline]
    #[must_use]
    pub const fn is_null(&self) -> bool {
        self.tag == tag::NULL
    }

    /// Whether this is undefined, which also stands for a value that is not there.
    #[inline]
    #[must_use]
    pub const fn is_undefined(&self) -> bool {
        self.tag == tag::UNDEFINED
    }

    /// The boolean.
    #[inline]
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if self.tag == tag::BOOL { Some(self.slot != 0) } else { None }
    }

    /// The integer, if it fits. Doubles are not converted.
    #[inline]
    #[must_use]
    pub const fn as_i64(&self) -> Option<i64> {
        if self.tag == tag::INT { Some(self.slot as i64) } else { None }
    }

    /// The integer, if it is not negative and fits. Doubles are not converted.
    #[inline]
    #[must_use]
    pub const fn as_u64(&self) -> Option<u64> {
        match self.tag {
            tag::UINT => Some(self.slot),
            tag::INT if self.slot >> 63 == 0 => Some(self.slot),
            _ => None,
        }
    }

    /// The integer of up to 128 bits.
    #[must_use]
    pub fn as_i128(&self) -> Option<i128> {
        match self.tag {
            tag::INT => Some(i128::from(self.slot as i64)),
            tag::UINT => Some(i128::from(self.slot)),
            tag::BIG_INT => self.as_big_int()?.to_i128(),
            _ => None,
        }
    }

    /// The integer of any size.
    #[must_use]
    pub fn as_big_int(&self) -> Option<BigInt> {
        match self.tag {
            tag::INT | tag::UINT => self.as_i128().map(BigInt::from),
            tag::BIG_INT => self.blob().map(BigInt::from_le_bytes),
            _ => None,
        }
    }

    /// The double; integers that a double holds exactly are converted.
    #[inline]
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self.tag {
            tag::F64 => Some(f64::from_bits(self.slot)),
            tag::INT => {
                let value = self.slot as i64;
                (value.unsigned_abs() <= 1 << 53).then_some(value as f64)
            }
            _ => None,
        }
    }

    /// The string. O(length): UTF-8 is checked.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match self.tag {
            tag::STRING => std::str::from_utf8(self.blob()?).ok(),
            tag::STRING_INLINE_MIN..=tag::STRING_INLINE_MAX => {
                std::str::from_utf8(self.inline_blob()?).ok()
            }
            _ => None,
        }
    }

    /// The bytes of a byte string. Text and sixteen-byte ids are not converted.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if self.tag == tag::BYTES { self.blob() } else { None }
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    #[inline]
    #[must_use]
    pub const fn as_time(&self) -> Option<i64> {
        if self.tag == tag::TIME { Some(self.slot as i64) } else { None }
    }

    /// A span of time in nanoseconds.
    #[inline]
    #[must_use]
    pub const fn as_duration(&self) -> Option<i64> {
        if self.tag == tag::DURATION { Some(self.slot as i64) } else { None }
    }

    /// Number of the node this value refers to.
    #[inline]
    #[must_use]
    pub const fn as_node(&self) -> Option<u64> {
        if self.tag == tag::NODE { Some(self.slot) } else { None }
    }

    /// Name of the node this value refers to.
    #[must_use]
    pub fn as_node_name(&self) -> Option<&'a str> {
        if self.tag != tag::NODE_NAME {
            return None;
        }
        std::str::from_utf8(self.blob()?).ok()
    }

    /// The sixteen bytes of a UUID or 128-bit node number.
    #[must_use]
    pub fn as_id128(&self) -> Option<&'a [u8; 16]> {
        if self.tag == tag::ID128 { self.blob()?.try_into().ok() } else { None }
    }

    /// The decimal number.
    #[must_use]
    pub fn as_decimal(&self) -> Option<Decimal> {
        if self.tag == tag::DECIMAL { Decimal::from_bytes(self.blob()?) } else { None }
    }

    /// The typed array, element type known at run time.
    #[inline]
    #[must_use]
    pub fn as_array(&self) -> Option<ArrayRef<'a>> {
        let width = element_bytes(self.tag)?;
        let count = self.aux();
        if count == 0 {
            return Some(ArrayRef::new(self.tag, &[]));
        }
        let bytes = u64::from(count) * width as u64;
        let start = self.target(bytes)?;
        Some(ArrayRef::new(self.tag, self.bytes.get(start..start + bytes as usize)?))
    }

    /// The typed array as a slice of the record's own bytes. An array of node references is viewed
    /// as `u64`.
    ///
    /// # Errors
    /// `Type` for another kind of value, `Misaligned` if the record's address does not suit the
    /// elements, `Endian` on big-endian machines, `Damaged`.
    #[inline]
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], SliceError> {
        let fits = self.tag == T::TAG || (self.tag == tag::ARRAY_NODE && T::TAG == tag::ARRAY_U64);
        if !fits {
            return Err(SliceError::Type);
        }
        T::view(self.as_array().ok_or(SliceError::Damaged)?.bytes())
    }

    /// The typed array, copied: works at any alignment and byte order.
    ///
    /// # Errors
    /// `Type` for another kind of value, `Damaged`.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, SliceError> {
        match self.as_slice::<T>() {
            Ok(values) => Ok(values.to_vec()),
            Err(SliceError::Misaligned | SliceError::Endian) => {
                let bytes = self.as_array().ok_or(SliceError::Damaged)?.bytes();
                Ok(bytes.chunks_exact(size_of::<T>()).filter_map(T::read_le).collect())
            }
            Err(error) => Err(error),
        }
    }

    /// Shape and table position of a non-empty object.
    #[inline]
    pub(crate) fn object(&self) -> Option<(ShapeView<'a>, u32)> {
        if self.tag != tag::OBJECT || self.aux() == SHAPE_NONE {
            return None;
        }
        let at = (self.shapes as usize).checked_add(self.aux() as usize)?;
        let shape = ShapeView::parse(self.bytes.get(at..)?)?;
        let table = self.target(shape.count as u64 * 9)?;
        Some((shape, table as u32))
    }

    /// Value `index` of the table with `count` entries at `table`.
    #[inline]
    pub(crate) fn entry(&self, table: u32, count: usize, index: usize) -> Option<Self> {
        let start = table as usize;
        let slot_at = start + index * 8;
        let slot = u64::from_le_bytes(*self.bytes.get(slot_at..slot_at + 8)?.first_chunk()?);
        let tag = *self.bytes.get(start + count * 8 + index)?;
        Some(Self { slot, base: table, slot_at: slot_at as u32, tag, ..*self })
    }

    /// The field called `name` of this object: a name, or a [`Key`] hashed beforehand.
    #[inline]
    #[must_use]
    pub fn get<'k>(&self, name: impl Into<Key<'k>>) -> Option<Self> {
        if self.tag != tag::OBJECT {
            return None;
        }
        // The offset of an empty object's shape lies beyond every record.
        let at = (self.shapes as usize).checked_add(self.aux() as usize)?;
        let (count, index) = super::shape::find(self.bytes.get(at..)?, &name.into())?;
        let table = self.target(count as u64 * 9)?;
        self.entry(table as u32, count, index)
    }

    /// Value `index` of this list, typed array or object (in the order of its fields). O(1).
    #[inline]
    #[must_use]
    pub fn index(&self, index: usize) -> Option<Self> {
        if self.tag == tag::OBJECT {
            let (shape, table) = self.object()?;
            return if index < shape.count { self.entry(table, shape.count, index) } else { None };
        }
        if self.tag != tag::LIST {
            return self.as_array()?.get(index);
        }
        let count = self.aux() as usize;
        if index >= count {
            return None;
        }
        let table = self.target(count as u64 * 9)?;
        self.entry(table as u32, count, index)
    }

    /// Number of elements or fields; of a string, its bytes. `None` for other kinds.
    #[inline]
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        match self.tag {
            tag::LIST | tag::STRING | tag::BYTES => Some(self.aux() as usize),
            tag::ARRAY_I8..=tag::ARRAY_NODE => Some(self.aux() as usize),
            tag::STRING_INLINE_MIN..=tag::STRING_INLINE_MAX => {
                Some((self.tag - tag::STRING_INLINE_MIN) as usize)
            }
            tag::OBJECT if self.aux() == SHAPE_NONE => Some(0),
            tag::OBJECT => self.object().map(|(shape, _)| shape.count),
            _ => None,
        }
    }

    /// Whether this is a container or string without content.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The fields of this object in order; nothing for other kinds.
    #[inline]
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        Entries::new(self)
    }

    /// The elements of this list or typed array, or the values of this object.
    #[inline]
    #[must_use]
    pub fn iter(&self) -> Items<'a> {
        Items::new(self)
    }

    /// The values of this object in order, if its names are exactly those of `shape`: for reading
    /// by position what was written by position. One comparison of bytes, no lookup.
    ///
    /// ```
    /// use uarr_layout::uarr::{Shape, shape, uarr};
    /// static POINT: Shape = shape!["x", "y"];
    /// let point = uarr!({ "x": 1, "y": 2 }).as_ref().shaped(&POINT).map(|values| values.len());
    /// assert_eq!(point, Some(2));
    /// assert!(uarr!({ "y": 1, "x": 2 }).as_ref().shaped(&POINT).is_none());
    /// ```
    #[inline]
    #[must_use]
    pub fn shaped(&self, shape: &Shape) -> Option<Items<'a>> {
        if self.tag != tag::OBJECT || self.aux() == SHAPE_NONE {
            return None;
        }
        let area = self.shapes_area().get(self.aux() as usize..)?;
        area.starts_with(shape.blob).then(|| Items::new(self))
    }

    /// The value a path leads to: names select fields, numbers elements.
    ///
    /// ```
    /// use uarr_layout::uarr::uarr;
    /// let record = uarr!({ "a": [{ "b": 1 }, { "b": 2 }] });
    /// let value = record.as_ref();
    /// assert_eq!(value.path(["a"]).and_then(|a| a.len()), Some(2));
    /// assert_eq!(value.get_path("a[1].b").and_then(|b| b.as_i64()), Some(2));
    /// ```
    #[inline]
    #[must_use]
    pub fn path<'k, P: Into<Step<'k>>>(&self, path: impl IntoIterator<Item = P>) -> Option<Self> {
        path.into_iter().try_fold(*self, |value, step| value.step(step.into()))
    }

    /// The value one step down.
    #[inline]
    pub(crate) fn step(&self, step: Step<'_>) -> Option<Self> {
        match step {
            Step::Name(key) => self.get(key),
            Step::Index(index) => self.index(index),
        }
    }

    /// The value a path in text leads to: `a.b[3].c`. Names with dots or brackets need
    /// [`path`](Self::path).
    #[must_use]
    pub fn get_path(&self, path: &str) -> Option<Self> {
        let mut value = *self;
        if path.is_empty() {
            return Some(value);
        }
        for (number, part) in path.split('.').enumerate() {
            let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
            if number > 0 || !part.starts_with('[') {
                value = value.get(name)?;
            }
            while !rest.is_empty() {
                let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                value = value.index(index.parse().ok()?)?;
                rest = after;
            }
        }
        Some(value)
    }

    /// Like [`path`](Self::path) with one step, but a value that is not there is undefined, so
    /// steps can be chained.
    #[inline]
    #[must_use]
    pub fn at<'k>(&self, step: impl Into<Step<'k>>) -> Self {
        self.step(step.into()).unwrap_or(Self::missing())
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'k> {
    /// The field of this name.
    Name(Key<'k>),
    /// The element or field at this place.
    Index(usize),
}

impl<'k> From<&'k str> for Step<'k> {
    #[inline]
    fn from(name: &'k str) -> Self {
        Self::Name(Key::new(name))
    }
}

impl<'k> From<&'k String> for Step<'k> {
    #[inline]
    fn from(name: &'k String) -> Self {
        Self::Name(Key::new(name))
    }
}

impl<'k> From<Key<'k>> for Step<'k> {
    #[inline]
    fn from(key: Key<'k>) -> Self {
        Self::Name(key)
    }
}

impl<'k> From<&Key<'k>> for Step<'k> {
    #[inline]
    fn from(key: &Key<'k>) -> Self {
        Self::Name(Key::from(key))
    }
}

impl From<usize> for Step<'_> {
    #[inline]
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}
