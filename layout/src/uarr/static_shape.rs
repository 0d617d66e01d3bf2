//! Shapes whose names are known at compile time: [`shape!`](crate::uarr::shape).
//!
//! Invariant: the blob is computed by a `const fn` and is exactly what the writer would build for
//! the same names; a repeated name does not compile.

use super::key::{fingerprint, name_hash};
use super::shape_cache::shape_hash_step;
use super::spec::{FINGERPRINT_NAMES_MAX, NAME_BYTES_MAX, align8, end_bytes};

/// An ordered list of 1 to 128 names, ready to be written, and to be read again by position with
/// [`UArrRef::shaped`](super::UArrRef::shaped).
///
/// ```
/// use uarr_layout::uarr::{Builder, Shape, shape};
/// static POINT: Shape = shape!["x", "y"];
/// let mut builder = Builder::new();
/// let record = builder.shaped(&POINT, |point| {
///     point.push(0.5);
///     point.push(-1);
/// })?;
/// assert_eq!(record.to_string(), r#"{"x":0.5,"y":-1}"#);
/// # Ok::<(), uarr_layout::uarr::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub(crate) names: &'static [&'static str],
    pub(crate) blob: &'static [u8],
    pub(crate) hash: u64,
}

impl Shape {
    /// What `shape!` calls.
    #[doc(hidden)]
    #[must_use]
    pub const fn from_parts(names: &'static [&'static str], blob: &'static [u8]) -> Self {
        let mut hash = 0;
        let mut i = 0;
        while i < names.len() {
            hash = shape_hash_step(hash, names[i].as_bytes());
            i += 1;
        }
        Self { names, blob, hash }
    }

    /// The names, in order.
    #[must_use]
    pub const fn names(&self) -> &'static [&'static str] {
        self.names
    }
}

const fn names_bytes(names: &[&str]) -> usize {
    let mut bytes = 0;
    let mut i = 0;
    while i < names.len() {
        assert!(names[i].len() <= NAME_BYTES_MAX, "a name is longer than 64 KiB");
        bytes += names[i].len();
        i += 1;
    }
    bytes
}

/// Size of the blob of these names.
#[doc(hidden)]
#[must_use]
pub const fn blob_bytes(names: &[&str]) -> usize {
    let bytes = names_bytes(names);
    align8(8 + align8(names.len()) + names.len() * end_bytes(bytes) + bytes)
}

const fn put(blob: &mut [u8], at: usize, value: usize, width: usize) {
    let mut i = 0;
    while i < width {
        blob[at + i] = (value >> (8 * i)) as u8;
        i += 1;
    }
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// The blob of these names.
#[doc(hidden)]
#[must_use]
pub const fn blob<const BYTES: usize>(names: &[&str]) -> [u8; BYTES] {
    let n = names.len();
    assert!(n >= 1 && n <= FINGERPRINT_NAMES_MAX, "a static shape has 1 to 128 names");
    let bytes = names_bytes(names);
    let width = end_bytes(bytes);
    let mut blob = [0; BYTES];
    put(&mut blob, 0, n, 4);
    put(&mut blob, 4, bytes, 4);
    let ends_at = 8 + align8(n);
    let names_at = ends_at + n * width;
    let mut end = 0;
    let mut i = 0;
    while i < n {
        let name = names[i].as_bytes();
        let mut before = 0;
        while before < i {
            assert!(!equal(names[before].as_bytes(), name), "a name is repeated");
            before += 1;
        }
        blob[8 + i] = fingerprint(name_hash(name));
        let mut k = 0;
        while k < name.len() {
            blob[names_at + end + k] = name[k];
            k += 1;
        }
        end += name.len();
        put(&mut blob, ends_at + i * width, end, width);
        i += 1;
    }
    blob
}
