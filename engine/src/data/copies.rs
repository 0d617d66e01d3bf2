//! [`Copies`]: records as they will lie at the end of another chunk, one behind the other.

use uarr_layout::checksum::Seed;
use uarr_layout::geometry::{RECORD_HEADER_BYTES, place_in_chunk};
use uarr_layout::record::Locator;
use zerocopy::IntoBytes;

use crate::data::record_view::RecordView;

/// The chunk that copies go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColdChunk {
    pub address: u64,
    /// Where in the file it lies.
    pub place: u64,
    pub chunk_bytes: u64,
}

/// Copies of records that one write brings to the end of a chunk.
pub(crate) struct Copies {
    cold: ColdChunk,
    /// Offset of the chunk at which they begin: what was published ends there.
    start: u64,
    bytes: Vec<u8>,
    seed: Seed,
}

impl Copies {
    /// None yet, of the chunk `cold`, of which so much is published.
    pub fn new(cold: ColdChunk, published_bytes: u64, seed: Seed) -> Self {
        Self { cold, start: published_bytes, bytes: Vec::new(), seed }
    }

    /// Adds a copy of the record that `view` shows, and returns where it will be; `None`: there is
    /// no room in the chunk. LSN and link to the version before stay.
    //= DAT-9
    pub fn push(&mut self, view: RecordView<'_>) -> Option<Locator> {
        let end = self.start + self.bytes.len() as u64;
        let (key_bytes, value_bytes) = (view.header.record_key_bytes(), view.value().len());
        let place = place_in_chunk(end, self.cold.chunk_bytes, key_bytes, value_bytes)?;
        let address = self.cold.address + place.start;
        let header = view.header.moved_to(view.bytes(), address, self.seed);
        self.bytes.resize((place.start - self.start) as usize, 0);
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(&view.bytes()[RECORD_HEADER_BYTES..]);
        assert_eq!(self.start + self.bytes.len() as u64, place.end, "a record ends at its end");
        Some(header.locator(address))
    }

    /// Address of the first of their bytes, and all of these.
    pub fn as_written(&self) -> (u64, &[u8]) {
        (self.cold.address + self.start, &self.bytes)
    }
}
