//! Patches: what changed between two values, itself a value.
//!
//! ```text
//! [ [0, path, value], ... ]   0 set, 1 delete, 2 append, 3 array-set
//! ```
//! A path is a list of names and numbers from the root. *Set* replaces what the path leads to, or
//! adds a field as the last one of an existing object. *Delete* removes a field or element; the
//! rest keeps its order. *Append* adds the elements of a list (or of a typed array of the same
//! type) to the one at the path. *Array-set* replaces the element of a list or typed array.
//! Operations are applied one after the other; if one cannot be, nothing is.
//!
//! Invariants: the result is the canonical encoding of the patched value, with the flags of the
//! old record; `apply(a, diff(a, b)) == b` byte for byte.

use std::fmt;

use super::buf::UArrBuf;
use super::builder::Encode;
use super::encode::Encoder;
use super::error::{BuildError, Error};
use super::header::Header;
use super::patch_in_place::set_in_place;
use super::path::Step;
use super::reference::UArrRef;
use super::spec::patch_operation::{APPEND, ARRAY_SET, DELETE, SET};
use super::value::Value;

/// Why a patch cannot be made or applied. The old record is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatchError {
    /// The old record or the patch is damaged.
    Damaged(Error),
    /// The result exceeds a limit of the format.
    Build(BuildError),
    /// The operation is no `[op, path, value]`.
    Operation {
        /// Its place in the patch.
        operation_index: usize,
    },
    /// The path of the operation leads nowhere.
    Path {
        /// Its place in the patch.
        operation_index: usize,
    },
    /// The operation does not suit what its path leads to.
    Type {
        /// Its place in the patch.
        operation_index: usize,
    },
    /// Two records with different flags have no difference as values.
    Flags,
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(error) => fmt::Display::fmt(error, f),
            Self::Build(error) => fmt::Display::fmt(error, f),
            Self::Operation { operation_index } => {
                write!(f, "operation {operation_index} is no [op, path, value]")
            }
            Self::Path { operation_index } => {
                write!(f, "the path of operation {operation_index} leads nowhere")
            }
            Self::Type { operation_index } => {
                write!(f, "operation {operation_index} does not suit the value at its path")
            }
            Self::Flags => f.write_str("the records have different flags"),
        }
    }
}

impl std::error::Error for PatchError {}

impl From<Error> for PatchError {
    fn from(error: Error) -> Self {
        Self::Damaged(error)
    }
}

impl From<BuildError> for PatchError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

/// A list of changes.
///
/// ```
/// use uarr_layout::uarr::{diff, uarr};
/// let (old, new) = (uarr!({ "age": 36, "tags": ["x"] }), uarr!({ "age": 37, "tags": ["x", 1] }));
/// let patch = diff(&old, &new)?;
/// assert_eq!(format!("{patch:?}"), r#"[[0, ["age"], 37], [2, ["tags"], [1]]]"#);
/// assert_eq!(patch.apply(&old)?, new);
/// # Ok::<(), uarr_layout::uarr::PatchError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Patch {
    record: UArrBuf,
}

impl Patch {
    /// A patch from its bytes, which are validated.
    ///
    /// # Errors
    /// `Damaged`, or `Operation` for a record that is no list of operations.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PatchError> {
        Self::from_record(UArrBuf::from_bytes(bytes)?)
    }

    /// A patch from a record, for example a literal.
    ///
    /// # Errors
    /// `Operation` for a record that is no list of operations.
    pub fn from_record(record: UArrBuf) -> Result<Self, PatchError> {
        operations(&record.as_ref()).try_for_each(|operation| operation.map(|_| ()))?;
        Ok(Self { record })
    }

    /// The patch as a record.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.record
    }

    /// Whether the patch changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record.as_ref().is_empty()
    }

    /// The patched record.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn apply(&self, old: &[u8]) -> Result<UArrBuf, PatchError> {
        apply_value(old, &self.record.as_ref())
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.record, f)
    }
}

/// The record `old` changed by the bytes of a patch. Damaged bytes of either are safe; the result
/// is canonical if `old` is valid.
///
/// Numbers that stay numbers of their kind are changed in a copy of the record; anything else is
/// written anew.
///
/// # Errors
/// Why it cannot be made.
pub fn apply(old: &[u8], patch: &[u8]) -> Result<UArrBuf, PatchError> {
    apply_value(old, &UArrRef::open(patch)?)
}

//= VAL-14
fn apply_value(old: &[u8], patch: &UArrRef<'_>) -> Result<UArrBuf, PatchError> {
    let header = Header::parse(old)?;
    if let Some(record) = apply_in_place(old, patch)? {
        return Ok(record);
    }
    let mut value = Value::try_from(UArrRef::open(old)?)?;
    for (operation_index, operation) in operations(patch).enumerate() {
        apply_one(&mut value, &operation?, operation_index)?;
    }
    if header.is_sorted() {
        value.sort_names();
    }
    encode_with_flags(&value, header.flags.get())
}

pub(crate) fn encode_with_flags(value: &Value, flags: u16) -> Result<UArrBuf, PatchError> {
    let mut encoder = Encoder::new();
    encoder.set_flags(flags);
    encoder.start();
    value.encode(&mut encoder);
    encoder.finish()?;
    Ok(encoder.take())
}

/// The patched copy, if every operation only changes numbers in their places.
fn apply_in_place(old: &[u8], patch: &UArrRef<'_>) -> Result<Option<UArrBuf>, PatchError> {
    let mut record = UArrBuf::copy_of(old);
    for operation in operations(patch) {
        let Operation { op: SET | ARRAY_SET, path, value: Some(value) } = operation? else {
            return Ok(None);
        };
        if !set_in_place(&mut record, path.iter().filter_map(|step| step_of(&step)), &value) {
            return Ok(None);
        }
    }
    record.update_crc();
    Ok(Some(record))
}

struct Operation<'p> {
    op: i64,
    path: UArrRef<'p>,
    value: Option<UArrRef<'p>>,
}

fn operations<'p>(
    patch: &UArrRef<'p>,
) -> impl Iterator<Item = Result<Operation<'p>, PatchError>> + use<'p> {
    let is_list = patch.tag() == super::spec::tag::LIST;
    let items = if is_list { patch.iter() } else { UArrRef::missing().iter() };
    let bad = (!is_list).then_some(Err(PatchError::Operation { operation_index: 0 }));
    bad.into_iter().chain(items.enumerate().map(|(operation_index, item)| {
        operation(&item).ok_or(PatchError::Operation { operation_index })
    }))
}

fn operation<'p>(item: &UArrRef<'p>) -> Option<Operation<'p>> {
    let count = item.len()?;
    let (op, path) = (item.index(0)?.as_i64()?, item.index(1)?);
    let value = item.index(2);
    let is_list = matches!(path.kind(), super::Kind::List | super::Kind::Array);
    let has_value = op != DELETE;
    let is_known = (SET..=ARRAY_SET).contains(&op);
    let steps_are_right = path.iter().all(|step| step_of(&step).is_some());
    let is_complete = value.is_some() == has_value && count == 2 + usize::from(has_value);
    (is_known && is_list && steps_are_right && is_complete).then_some(Operation { op, path, value })
}

fn step_of<'p>(step: &UArrRef<'p>) -> Option<Step<'p>> {
    match step.as_str() {
        Some(name) => Some(Step::from(name)),
        None => step.as_u64()?.try_into().ok().map(Step::Index),
    }
}

fn apply_one(root: &mut Value, operation: &Operation<'_>, index: usize) -> Result<(), PatchError> {
    let no_path = PatchError::Path { operation_index: index };
    let no_type = PatchError::Type { operation_index: index };
    let value = operation.value.map(Value::try_from).transpose()?;
    let steps = operation.path.len().unwrap_or(0);
    let parents = if operation.op == APPEND { steps } else { steps.saturating_sub(1) };
    let mut path = operation.path.iter().filter_map(|step| step_of(&step));
    let mut target = root;
    for step in path.by_ref().take(parents) {
        target = child(target, &step).ok_or(no_path)?;
    }
    match (operation.op, path.next(), value) {
        (SET, None, Some(value)) => *target = value,
        (SET, Some(step), Some(value)) => set(target, &step, value).ok_or(no_path)?,
        (ARRAY_SET, Some(Step::Index(at)), Some(value)) => match target {
            Value::List(items) => *items.get_mut(at).ok_or(no_path)? = value,
            Value::Array(array) if at >= array.as_array().len() => return Err(no_path),
            Value::Array(array) => array.set(at, &value).then_some(()).ok_or(no_type)?,
            _ => return Err(no_type),
        },
        (DELETE, Some(step), None) => delete(target, &step).ok_or(no_path)?,
        (APPEND, None, Some(more)) => match (target, more) {
            (Value::List(items), Value::List(more)) => items.extend(more),
            (Value::List(items), Value::Array(more)) => {
                let more = more.as_array();
                items.extend(
                    (0..more.len())
                        .filter_map(|at| more.get(at).map(|item| super::value::scalar(&item))),
                );
            }
            (Value::Array(array), Value::Array(more)) => {
                array.append(&more).then_some(()).ok_or(no_type)?;
            }
            _ => return Err(no_type),
        },
        _ => return Err(no_type),
    }
    Ok(())
}

fn child<'v>(value: &'v mut Value, step: &Step<'_>) -> Option<&'v mut Value> {
    match (value, step) {
        (value @ Value::Object(_), Step::Name(key)) => value.get_mut(key.name()),
        (Value::Object(fields), Step::Index(at)) => fields.get_mut(*at).map(|field| &mut field.1),
        (Value::List(items), Step::Index(at)) => items.get_mut(*at),
        _ => None,
    }
}

fn set(target: &mut Value, step: &Step<'_>, new: Value) -> Option<()> {
    match (target, step) {
        (object @ Value::Object(_), Step::Name(key)) => object.insert(key.name(), new),
        (Value::Array(array), Step::Index(at)) => return array.set(*at, &new).then_some(()),
        (target, step) => *child(target, step)? = new,
    }
    Some(())
}

fn delete(target: &mut Value, step: &Step<'_>) -> Option<()> {
    match (target, step) {
        (object @ Value::Object(_), Step::Name(key)) => object.remove(key.name()).map(|_| ()),
        (Value::List(items), Step::Index(at)) if *at < items.len() => {
            items.remove(*at);
            Some(())
        }
        (Value::Array(array), Step::Index(at)) => array.remove(*at).then_some(()),
        _ => None,
    }
}

/// The patch that turns the record `a` into the record `b`. Single changes are kept apart, unless
/// they take more than twice the space of setting the whole value.
///
/// # Errors
/// `Damaged`, `Build` if the patch exceeds a limit, `Flags` if the records' flags differ.
pub fn diff(a: &[u8], b: &[u8]) -> Result<Patch, PatchError> {
    if Header::parse(a)?.flags.get() != Header::parse(b)?.flags.get() {
        return Err(PatchError::Flags);
    }
    let (old, new) = (Value::try_from(UArrRef::open(a)?)?, Value::try_from(UArrRef::open(b)?)?);
    let mut operations = Vec::new();
    super::patch_diff::diff_values(&old, &new, &mut Vec::new(), &mut operations);
    let fine = Value::List(operations).to_buf()?;
    let whole = Value::List(vec![Value::List(vec![Value::Int(SET), Value::List(vec![]), new])]);
    // A value of the greatest depth has no room for the lists around it: then only fine works.
    let whole = whole.to_buf().ok().filter(|whole| whole.len() * 2 < fine.len());
    Ok(Patch { record: whole.unwrap_or(fine) })
}
