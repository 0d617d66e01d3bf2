//! [`Sweeping`]: the chunk that is looked through for records that have expired, from step to step.

use crate::data::expiring::Sample;

/// What is being looked through.
#[derive(Debug, Default)]
pub(crate) enum Sweeping {
    #[default]
    Nothing,
    /// By a thread that is at it.
    Busy,
    Chunk(SweptChunk),
}

/// A chunk that is being looked through.
#[derive(Debug)]
pub(crate) struct SweptChunk {
    pub number: u64,
    /// Records before it were looked at.
    pub offset: u64,
    /// Those that expire later.
    pub left: Sample,
}
