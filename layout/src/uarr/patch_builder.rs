//! [`PatchBuilder`]: a patch by the names of what it changes.

use super::builder::Encode;
use super::encode::Encoder;
use super::patch::{Patch, PatchError};
use super::path::{Step, text_steps};
use super::spec::patch_operation::{APPEND, DELETE, SET};

/// Writes a [`Patch`], operation by operation, applied in this order. A path is text such as
/// `a.b[3]`; the empty one is the whole value. A patch whose paths need names with dots or brackets
/// is made by [`Patch::from_record`].
///
/// ```
/// use uarr_layout::uarr::{Patch, uarr};
/// let old = uarr!({ "born": 1815, "tags": ["x"], "draft": true, "pos": { "x": 1 } });
/// let patch = Patch::builder()
///     .set("born", 1816)
///     .set("pos.y", 0.5)
///     .push("tags", "y")
///     .delete("draft")
///     .build()?;
/// assert_eq!(
///     patch.apply(&old)?.to_string(),
///     r#"{"born":1816,"tags":["x","y"],"pos":{"x":1,"y":0.5}}"#
/// );
/// # Ok::<(), uarr_layout::uarr::PatchError>(())
/// ```
#[must_use = "a patch is there when it is built"]
pub struct PatchBuilder {
    encoder: Encoder,
    operation_count: usize,
    error: Option<PatchError>,
}

impl Patch {
    /// A patch by the names of what it changes.
    pub fn builder() -> PatchBuilder {
        let mut encoder = Encoder::new();
        encoder.start();
        encoder.begin_list();
        PatchBuilder { encoder, operation_count: 0, error: None }
    }
}

impl PatchBuilder {
    /// Replaces what `path` leads to, or adds it as the last field of an object that is there.
    pub fn set(self, path: &str, value: impl Encode) -> Self {
        self.operation(SET, path, |encoder| value.encode(encoder))
    }

    /// Removes the field or element that `path` leads to.
    pub fn delete(self, path: &str) -> Self {
        self.operation(DELETE, path, |_| {})
    }

    /// Adds `value` as the last element of the list at `path`. A typed array of `i64` takes
    /// integers, one of `f64` doubles; others, such as what a `Vec<u64>` becomes, even if it is
    /// empty, take none: set them anew.
    pub fn push(self, path: &str, value: impl Encode) -> Self {
        self.operation(APPEND, path, |encoder| {
            encoder.begin_list();
            value.encode(encoder);
            encoder.end_sequence();
        })
    }

    /// The patch. Whether it fits a value shows when it is applied.
    ///
    /// # Errors
    /// `Path` for the first operation with a path that is none, such as `a[`; `Build` if the patch
    /// exceeds a limit of the format.
    pub fn build(mut self) -> Result<Patch, PatchError> {
        self.error.map_or(Ok(()), Err)?;
        self.encoder.end_list();
        self.encoder.finish()?;
        Patch::from_record(self.encoder.take())
    }

    fn operation(mut self, op: i64, path: &str, value: impl FnOnce(&mut Encoder)) -> Self {
        let encoder = &mut self.encoder;
        let operation_index = self.operation_count;
        self.operation_count += 1;
        encoder.begin_list();
        encoder.int(op);
        encoder.begin_list();
        for step in text_steps(path) {
            match step {
                Some(Step::Name(key)) => encoder.str(key.name()),
                Some(Step::Index(index)) => encoder.uint(index as u64),
                None => {
                    self.error.get_or_insert(PatchError::Path { operation_index });
                }
            }
        }
        encoder.end_list();
        value(encoder);
        encoder.end_list();
        self
    }
}
