//! [`Moving`]: what is on its way when records are moved and places given back, from step to step.

use std::collections::BTreeSet;

use uarr_uring::{ClosedChunk, Grace};

use crate::data::quarantine::Horizon;
use crate::versions::needed::ClosingChunk;

/// What is on its way.
#[derive(Default)]
pub(crate) struct Moving {
    pub victim: Option<Victim>,
    /// Readers that may have found a record of these chunks are waited for.
    pub passing: Option<Passing>,
    /// Chunks that the map does not have any more, and whose bytes readers may still look at.
    pub closed: Vec<(u64, ClosedChunk)>,
    /// Chunks with a live record that is damaged: it is not copied, so they stay.
    pub stuck: BTreeSet<u64>,
    /// Old versions that pins need are being copied out of a chunk.
    pub retaining: Option<Retaining>,
    /// There was no room for copies out of this chunk: those with higher numbers come first.
    pub without_room: Option<u64>,
    /// Chunks out of which they cannot be copied: these wait until the pins end.
    pub kept: BTreeSet<u64>,
}

impl Moving {
    /// Chunk `number` is gone.
    pub fn forget(&mut self, number: u64) {
        self.stuck.remove(&number);
        self.kept.remove(&number);
    }

    /// Whether places are free as soon as readers that are at work are through.
    pub fn waits_for_readers(&self) -> bool {
        self.passing.is_some() || self.closed.iter().any(|(_, closed)| !closed.is_past_grace())
    }
}

/// A chunk that is being evacuated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Victim {
    pub number: u64,
    /// Records before it were looked at.
    pub offset: u64,
}

/// A chunk that old versions are copied out of.
#[derive(Debug)]
pub(crate) struct Retaining {
    pub chunk: ClosingChunk,
    /// Records before it were looked at.
    pub offset: u64,
}

/// Chunks that have passed the horizon.
pub(crate) struct Passing {
    /// Over when readers that may have found a record of them in the index are through.
    pub grace: Grace,
    pub numbers: Vec<u64>,
    pub horizon: Horizon,
}
