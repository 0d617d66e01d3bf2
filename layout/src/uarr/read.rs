//! Reading values: a record is opened or validated, and each kind of value has its way out.
//!
//! Invariants: nothing is copied, but where a method says so; what is not there, or is of another
//! kind, is `None`.

use super::array_ref::ArrayRef;
use super::element::Element;
use super::error::{Error, SliceError};
use super::header::Header;
use super::number::{BigInt, Decimal};
use super::reference::UArrRef;
use super::spec::{SHAPE_NONE, tag};
use super::static_shape::Shape;
use super::view::{Entries, Items, Kind, View};

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

    /// What kind of value this is.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::of(self.tag())
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
        self.tag() == tag::NULL
    }

    /// Whether this is undefined, which also stands for a value that is not there.
    #[inline]
    #[must_use]
    pub const fn is_undefined(&self) -> bool {
        self.tag() == tag::UNDEFINED
    }

    /// The boolean.
    #[inline]
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if self.tag() == tag::BOOL { Some(self.slot() != 0) } else { None }
    }

    /// The integer, if it fits. Doubles are not converted.
    #[inline]
    #[must_use]
    pub const fn as_i64(&self) -> Option<i64> {
        if self.tag() == tag::INT { Some(self.slot() as i64) } else { None }
    }

    /// The integer, if it is not negative and fits. Doubles are not converted.
    #[inline]
    #[must_use]
    pub const fn as_u64(&self) -> Option<u64> {
        match self.tag() {
            tag::UINT => Some(self.slot()),
            tag::INT if self.slot() >> 63 == 0 => Some(self.slot()),
            _ => None,
        }
    }

    /// The integer of up to 128 bits.
    #[must_use]
    pub fn as_i128(&self) -> Option<i128> {
        match self.tag() {
            tag::INT => Some(i128::from(self.slot() as i64)),
            tag::UINT => Some(i128::from(self.slot())),
            tag::BIG_INT => self.as_big_int()?.to_i128(),
            _ => None,
        }
    }

    /// The integer of any size.
    #[must_use]
    pub fn as_big_int(&self) -> Option<BigInt> {
        match self.tag() {
            tag::INT | tag::UINT => self.as_i128().map(BigInt::from),
            tag::BIG_INT => self.blob().map(BigInt::from_le_bytes),
            _ => None,
        }
    }

    /// The double; integers that a double holds exactly are converted.
    #[inline]
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self.tag() {
            tag::F64 => Some(f64::from_bits(self.slot())),
            tag::INT => {
                let value = self.slot() as i64;
                (value.unsigned_abs() <= 1 << 53).then_some(value as f64)
            }
            _ => None,
        }
    }

    /// The string. O(length): UTF-8 is checked.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match self.tag() {
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
        if self.tag() == tag::BYTES { self.blob() } else { None }
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    #[inline]
    #[must_use]
    pub const fn as_time(&self) -> Option<i64> {
        if self.tag() == tag::TIME { Some(self.slot() as i64) } else { None }
    }

    /// A span of time in nanoseconds.
    #[inline]
    #[must_use]
    pub const fn as_duration(&self) -> Option<i64> {
        if self.tag() == tag::DURATION { Some(self.slot() as i64) } else { None }
    }

    /// Number of the node this value refers to.
    #[inline]
    #[must_use]
    pub const fn as_node(&self) -> Option<u64> {
        if self.tag() == tag::NODE { Some(self.slot()) } else { None }
    }

    /// Name of the node this value refers to.
    #[must_use]
    pub fn as_node_name(&self) -> Option<&'a str> {
        if self.tag() != tag::NODE_NAME {
            return None;
        }
        std::str::from_utf8(self.blob()?).ok()
    }

    /// The sixteen bytes of a UUID or 128-bit node number.
    #[must_use]
    pub fn as_id128(&self) -> Option<&'a [u8; 16]> {
        if self.tag() == tag::ID128 { self.blob()?.try_into().ok() } else { None }
    }

    /// The decimal number.
    #[must_use]
    pub fn as_decimal(&self) -> Option<Decimal> {
        if self.tag() == tag::DECIMAL { Decimal::from_bytes(self.blob()?) } else { None }
    }

    /// The typed array, element type known at run time.
    #[inline]
    #[must_use]
    pub fn as_array(&self) -> Option<ArrayRef<'a>> {
        ArrayRef::of(self)
    }

    /// The typed array as a slice of the record's own bytes. An array of node references is viewed
    /// as `u64`.
    ///
    /// # Errors
    /// `Type` for another kind of value, `Misaligned` if the record's address does not suit the
    /// elements, `Endian` on big-endian machines, `Damaged`.
    #[inline]
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], SliceError> {
        let fits =
            self.tag() == T::TAG || (self.tag() == tag::ARRAY_NODE && T::TAG == tag::ARRAY_U64);
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

    /// Number of elements or fields; of a string, its bytes. `None` for other kinds.
    #[inline]
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        match self.tag() {
            tag::LIST | tag::STRING | tag::BYTES => Some(self.aux() as usize),
            tag::ARRAY_I8..=tag::ARRAY_NODE => Some(self.aux() as usize),
            tag::STRING_INLINE_MIN..=tag::STRING_INLINE_MAX => {
                Some((self.tag() - tag::STRING_INLINE_MIN) as usize)
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
        if self.tag() != tag::OBJECT || self.aux() == SHAPE_NONE {
            return None;
        }
        let area = self.shapes_area().get(self.aux() as usize..)?;
        area.starts_with(shape.blob).then(|| Items::new(self))
    }
}
