//! A broken promise, as simulator and models report it.

/// The description of a broken promise.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

/// A result that may be a broken promise.
pub type Checked<T> = Result<T, Violation>;

/// Ends a check with a violation.
macro_rules! violated {
    ($($text:tt)*) => { return Err($crate::violation::Violation(format!($($text)*))) };
}
pub(crate) use violated;
