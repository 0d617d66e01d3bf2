//! [`Step`]: what one step of a long action came to.

/// Long actions stand somewhere between their steps; anything else may come between, a loss of
/// power too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    Going,
    Done,
}
