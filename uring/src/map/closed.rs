//! [`ClosedChunk`]: a chunk on its way out of a map.

use std::ops::Range;

use super::pin::Grace;

/// A chunk that readers find no more, and whose places they may still look at.
#[derive(Debug)]
pub struct ClosedChunk {
    /// First byte of its map.
    base: usize,
    places: Range<u64>,
    /// `None`: the places were given back.
    grace: Option<Grace>,
}

impl ClosedChunk {
    /// The chunk that had `places` of the map at `base`, where no reader finds it from now on.
    pub(super) fn new(base: usize, places: Range<u64>) -> Self {
        Self { base, places, grace: Some(Grace::begin()) }
    }

    /// Its places in the map at `base`, where it was closed; `None` if they were given back.
    pub(super) fn places(&self, base: usize) -> Option<Range<u64>> {
        assert_eq!(self.base, base, "a chunk is given back where it was closed");
        self.grace.as_ref().map(|_| self.places.clone())
    }

    /// Whether the readers that had found it are through. Some may hold bytes of it.
    pub fn is_past_grace(&self) -> bool {
        self.grace.as_ref().is_none_or(Grace::is_over)
    }

    pub(super) fn note_given_back(&mut self) {
        self.grace = None;
    }
}
