//! [`Chunk`]: a number and the place that it has now, and where it stands in its life.
//!
//! ```text
//! free place -> (Ready ->) Open -> Full -> Quarantined -> (cleared) -> free place
//! ```

use std::ops::Range;

use super::record::Lsn;

/// How many records fit into a chunk.
pub const CELL_COUNT: usize = 4;
/// How many of them share a page: what is written to the medium at once, and torn by a loss of
/// power.
pub const PAGE_CELL_COUNT: usize = 2;

/// Part of the data file that one chunk fits into; they are counted from 0.
pub type Place = usize;

/// Who appends to a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Writers.
    User,
    /// The mover.
    Cold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkState {
    /// Of the mover's stream: has its place, and no record.
    Ready,
    /// Is appended to.
    Open,
    /// No thread appends any more.
    Full,
    /// Evacuated: no index entry names it, older states still may.
    Quarantined,
}

#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    pub place: Place,
    /// How many places, one behind the other, it takes: a jumbo chunk, with one record, has two,
    /// and as many numbers.
    pub width: usize,
    pub state: ChunkState,
    pub stream: Stream,
    /// Where the next record goes.
    pub tail: usize,
    /// A chunk-open frame of it is settled: it has its place whatever becomes of others.
    pub is_opened: bool,
    /// The last LSN whose frame names it, refused or not; 0: none does.
    pub named: Lsn,
    /// The last LSN applied when its evacuation ended.
    pub evacuated: Lsn,
    /// What pins need of it is kept elsewhere.
    pub is_retained: bool,
}

impl Chunk {
    /// A chunk that no frame and no record names.
    pub fn new(place: Place, width: usize, stream: Stream, state: ChunkState) -> Self {
        Self {
            place,
            width,
            state,
            stream,
            tail: 0,
            is_opened: false,
            named: 0,
            evacuated: 0,
            is_retained: false,
        }
    }

    pub fn places(&self) -> Range<Place> {
        self.place..self.place + self.width
    }

    pub fn overlaps(&self, places: &Range<Place>) -> bool {
        self.place < places.end && places.start < self.place + self.width
    }

    /// The next page is the first to be written again.
    pub fn seal_page(&mut self) {
        self.tail = self.tail.next_multiple_of(PAGE_CELL_COUNT);
        assert!(self.tail <= CELL_COUNT, "pages end where chunks do");
    }
}
