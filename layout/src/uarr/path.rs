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
        text_steps(path).try_fold(*self, |value, step| value.step(step?))
    }

    /// Like [`path`](Self::path) with one step, but a value that is not there is undefined, so
    /// steps can be chained.
    #[inline]
    #[must_use]
    pub fn at<'k>(&self, step: impl Into<Step<'k>>) -> Self {
        self.step(step.into()).unwrap_or(Self::missing())
    }
}

/// The steps of a path in text, `a.b[3].c`; `None` where it is no path. An empty one has none.
pub(crate) fn text_steps(path: &str) -> impl Iterator<Item = Option<Step<'_>>> {
    let parts = (!path.is_empty()).then(|| path.split('.').enumerate());
    parts.into_iter().flatten().flat_map(|(number, part)| {
        let (name, indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
        let has_name = number > 0 || !part.starts_with('[');
        has_name.then(|| Some(Step::from(name))).into_iter().chain(index_steps(indexes))
    })
}

/// The steps of `[3][4]`.
fn index_steps(mut rest: &str) -> impl Iterator<Item = Option<Step<'_>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (index, after) =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).unwrap_or_default();
        rest = after;
        Some(index.parse().ok().map(Step::Index))
    })
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
