//! The macros [`uarr!`](crate::uarr::uarr) and [`shape!`](crate::uarr::shape).

use super::buf::UArrBuf;
use super::encode::Encoder;

/// Builds a record from a literal: JSON with expressions, typed arrays and references.
///
/// `f32[1.0, 2.0]` is a typed array (of `i8` to `f64`, or `ref`), `@42` and `@"name"` are
/// references, `null` and `undefined` are words, a name is a literal or an expression in
/// parentheses. Sequences of plain integers or doubles become typed arrays as in JSON. Expressions
/// may be vectors, maps, options and records ([`Encode`](crate::uarr::Encode)).
///
/// # Panics
/// If a name is repeated in an object or a limit of the format is exceeded. Values whose size is
/// not known beforehand belong to a [`Builder`](crate::uarr::Builder), which returns errors.
///
/// ```
/// use uarr_layout::uarr::uarr;
/// let name = String::from("Ada");
/// let record = uarr!({ "id": 7, "name": name, "vec": f32[1.0, 2.0], "ref": @42, "gone": null });
/// assert_eq!(
///     format!("{record:?}"),
///     r#"{"id": 7, "name": "Ada", "vec": f32[1.0, 2.0], "ref": @42, "gone": null}"#
/// );
///
/// let tags = vec!["countess", "poet"];
/// let ages = std::collections::HashMap::from([("Byron", 36), ("Ada", 37)]);
/// let record = uarr!({ (name): [1, 2], "tags": tags, "ages": ages, (format!("n{}", 1)): record });
/// assert_eq!(record.as_ref().get_path("n1.id").and_then(|id| id.as_i64()), Some(7));
/// assert_eq!(
///     uarr!([tags, ages]).to_string(),
///     r#"[["countess","poet"],{"Ada":37,"Byron":36}]"#
/// );
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __uarr {
    ($($value:tt)+) => {
        $crate::uarr::literal(|encoder| {
            $crate::__uarr_value!(encoder end $($value)+);
        })
    };
}

/// One value, then the rest of the container: `items`, `fields` or `end`.
#[macro_export]
#[doc(hidden)]
macro_rules! __uarr_value {
    ($e:ident $then:ident null $(, $($rest:tt)*)?) => {
        $e.null();
        $crate::__uarr_then!($e $then $($($rest)*)?);
    };
    ($e:ident $then:ident undefined $(, $($rest:tt)*)?) => {
        $e.undefined();
        $crate::__uarr_then!($e $then $($($rest)*)?);
    };
    ($e:ident $then:ident { $($fields:tt)* } $(, $($rest:tt)*)?) => {
        $e.begin_object();
        $crate::__uarr_then!($e fields $($fields)*);
        $e.end_object();
        $crate::__uarr_then!($e $then $($($rest)*)?);
    };
    ($e:ident $then:ident [ $($items:tt)* ] $(, $($rest:tt)*)?) => {
        $e.begin_list();
        $crate::__uarr_then!($e items $($items)*);
        $e.end_sequence();
        $crate::__uarr_then!($e $then $($($rest)*)?);
    };
    ($e:ident $then:ident @ $reference:expr $(, $($rest:tt)*)?) => {
        $crate::uarr::Reference::encode_reference(&$reference, $e);
        $crate::__uarr_then!($e $then $($($rest)*)?);
    };
    ($e:ident $then:ident ref [ $($id:expr),* $(,)? ] $(, $($rest:tt)*)?) => {
        $e.nodes(&[$($id),*]);
        $crate::__uarr_then!($e $then $($($rest)*)?);
    };
    ($e:ident $then:ident i8 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then i8 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident u8 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then u8 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident i16 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then i16 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident u16 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then u16 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident i32 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then i32 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident u32 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then u32 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident i64 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then i64 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident u64 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then u64 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident f32 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then f32 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident f64 [ $($v:tt)* ] $($rest:tt)*) => {
        $crate::__uarr_array!($e $then f64 [ $($v)* ] $($rest)*);
    };
    ($e:ident $then:ident $value:expr $(, $($rest:tt)*)?) => {
        $crate::uarr::Encode::encode(&$value, $e);
        $crate::__uarr_then!($e $then $($($rest)*)?);
    };
}

/// A typed array, then the rest.
#[macro_export]
#[doc(hidden)]
macro_rules! __uarr_array {
    ($e:ident $then:ident $kind:ident [ $($v:expr),* $(,)? ] $(, $($rest:tt)*)?) => {
        $e.slice::<$kind>(&[$($v),*]);
        $crate::__uarr_then!($e $then $($($rest)*)?);
    };
}

/// The rest of a container.
#[macro_export]
#[doc(hidden)]
macro_rules! __uarr_then {
    ($e:ident $then:ident) => {};
    ($e:ident items $($rest:tt)+) => { $crate::__uarr_value!($e items $($rest)+); };
    ($e:ident fields $name:literal : $($rest:tt)+) => {
        $e.name($name);
        $crate::__uarr_value!($e fields $($rest)+);
    };
    ($e:ident fields ( $name:expr ) : $($rest:tt)+) => {
        $e.name(::core::convert::AsRef::<str>::as_ref(&$name));
        $crate::__uarr_value!($e fields $($rest)+);
    };
}

/// A [`Shape`](crate::uarr::Shape) of the names given, computed at compile time.
///
/// Repeated names do not compile:
///
/// ```compile_fail
/// use uarr_layout::uarr::{Shape, shape};
/// static TWICE: Shape = shape!["a", "b", "a"];
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __shape {
    ($($name:expr),+ $(,)?) => {{
        const NAMES: &[&str] = &[$($name),+];
        static BLOB: [u8; $crate::uarr::blob_bytes(NAMES)] = $crate::uarr::blob(NAMES);
        $crate::uarr::Shape::from_parts(NAMES, &BLOB)
    }};
}

/// What `@` in `uarr!` takes.
#[doc(hidden)]
pub trait Reference {
    /// Writes the reference.
    fn encode_reference(&self, encoder: &mut Encoder);
}

impl Reference for u64 {
    fn encode_reference(&self, encoder: &mut Encoder) {
        encoder.node(*self);
    }
}

impl Reference for &str {
    fn encode_reference(&self, encoder: &mut Encoder) {
        encoder.node_name(self);
    }
}

impl Reference for String {
    fn encode_reference(&self, encoder: &mut Encoder) {
        encoder.node_name(self);
    }
}

/// What `uarr!` calls.
#[doc(hidden)]
pub fn literal(write: impl FnOnce(&mut Encoder)) -> UArrBuf {
    let mut encoder = Encoder::new();
    encoder.start();
    write(&mut encoder);
    let error = encoder.finish().err();
    assert!(error.is_none(), "a literal keeps the limits and does not repeat names: {error:?}");
    encoder.take()
}
