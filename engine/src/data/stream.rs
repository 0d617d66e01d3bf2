//! [`Stream`]: what the mover appends, each to a chunk of its own.

/// What is copied to a chunk of its own. It begins with what is new, and is not mixed with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Records that live, out of mostly dead chunks.
    Moved,
    /// Old versions that pins need, which are garbage when these end.
    Retained,
}

/// How many there are.
pub(in crate::data) const STREAM_COUNT: usize = 2;
