//! Steps from a value to one inside it: fields by name, elements by number, paths.

use super::array_ref::ArrayRef;
use super::key::Key;
use super::reference::UArrRef;
use super::shape;
use super::spec::tag;

impl UArrRef<'_> {
    /// The field called `name` of this object: a name, or a [`Key`] hashed beforehand.
    #[inline]
    #[must_use]
    pub fn get<'k>(&self, name: impl Into<Key<'k>>) -> Option<Self> {
        if self.tag() != tag::OBJECT {
            return None;
        }
        // The offset of an empty object's shape lies beyond every record.
        let area = self.shapes_area().get(self.aux() as usize..)?;
        let (count, index) = shape::find(area, &name.into())?;
        let table = self.target(count as u64 * 9)?;
        self.entry(table as u32, count, index)
    }

    /// Value `index` of this list, typed array or object (in the order of its fields). O(1).
    #[inline]
    #[must_use]
    pub fn index(&self, index: usize) -> Option<Self> {
        if self.tag() == tag::OBJECT {
            let (shape, table) = self.object()?;
            return if index < shape.count { self.entry(table, shape.count, index) } else { None };
        }
        if self.tag() != tag::LIST {
            return ArrayRef::of(self)?.get(index);
        }
        let count = self.aux() as usize;
        if index >= count {
            return None;
        }
        let table = self.target(count as u64 * 9)?;
        self.entry(table as u32, count, index)
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
