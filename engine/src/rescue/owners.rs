//! [`Owners`]: which chunk each place of the data file belongs to.
//!
//! Places are used again, so the chunk header in one may be older than what the place was given to
//! last, or of a life whose end was lost. In this order counts:
//! 1. the chunk table of the newest image that is whole, unless it has the place in quarantine;
//! 2. a frame of the log behind that checkpoint that opens a chunk there, if it is newer than the
//!    header;
//! 3. the header of the chunk.

use std::collections::BTreeMap;

use uarr_layout::chunk::{ChunkEntry, ChunkOpening, ChunkState};
use uarr_layout::limits::ADDRESS_MAX;
use uarr_uring::Storage;

use crate::data::scan::{KnownChunk, KnownChunks, Spot};
use crate::error::Result;
use crate::log::reader::Next;
use crate::rescue::baseline::is_empty_database;
use crate::rescue::inspector::Inspector;
use crate::rescue::log::Kept;

/// Which chunk each place belongs to, as image and log say.
#[derive(Default)]
pub(crate) struct Owners {
    chunk_bytes: u64,
    /// What a checkpoint says; `None`: there is none of which it is known.
    table: Option<BTreeMap<u64, ChunkEntry>>,
    known: KnownChunks,
}

impl Owners {
    /// `table` is that of a checkpoint, if one can be read.
    pub fn new(chunk_bytes: u64, table: Option<&[ChunkEntry]>) -> Self {
        let mut owners = Self { chunk_bytes, table: None, known: KnownChunks::new() };
        let Some(table) = table else { return owners };
        let used = table.iter().filter(|entry| entry.state() != ChunkState::Quarantined);
        for entry in used.clone() {
            let chunk = KnownChunk { address: entry.number.get() * chunk_bytes, lsn: u64::MAX };
            owners.known.insert(u64::from(entry.place.get()) * chunk_bytes, chunk);
        }
        owners.table = Some(used.map(|entry| (entry.number.get(), *entry)).collect());
        owners
    }

    /// The frame with `lsn`, behind the checkpoint, opens the chunk at `address`.
    pub fn note_opening(&mut self, lsn: u64, address: u64, opening: &ChunkOpening) {
        let start = u64::from(opening.place.get()) * self.chunk_bytes;
        for index in 0..u64::from(opening.count.get()) {
            let delta = index * self.chunk_bytes;
            let chunk = KnownChunk { address: address + delta, lsn };
            let known = self.known.entry(start + delta).or_insert(chunk);
            if known.lsn < lsn {
                *known = chunk;
            }
        }
    }

    /// What is known, by the offset of the place.
    pub fn known(&self) -> &KnownChunks {
        &self.known
    }

    /// Whether a checkpoint says that what stands at `spot` is durable; true if none says anything.
    /// Elsewhere may stand what is left of earlier chunks.
    pub fn is_durable(&self, spot: Spot) -> bool {
        let Some(table) = &self.table else { return true };
        let (number, offset) = (spot.address / self.chunk_bytes, spot.address % self.chunk_bytes);
        table.get(&number).is_some_and(|entry| {
            let start = u64::from(entry.place.get()) * self.chunk_bytes;
            spot.offset == start + offset && offset < entry.durable_bytes.get().into()
        })
    }

    /// Where the record at `address` lies, which an image names.
    pub fn spot(&self, address: u64) -> Option<Spot> {
        let entry = self.table.as_ref()?.get(&(address / self.chunk_bytes))?;
        let start = u64::from(entry.place.get()) * self.chunk_bytes;
        Some(Spot { offset: start + address % self.chunk_bytes, address })
    }
}

impl<S: Storage> Inspector<S> {
    /// What the newest image that is whole and the log behind it say of places.
    pub(crate) fn owners(&self, chunk_bytes: u64) -> Result<Owners> {
        let (kept, mut owners) = self.newest_table(chunk_bytes)?;
        let mut log = self.log_since(kept)?;
        while let Next::Group(group) = log.next()? {
            for (_, frame) in group.frames().filter(|(_, frame)| frame.opens_chunk()) {
                let (lsn, address) = (frame.header.lsn.get(), frame.header.address.get());
                if let Ok(opening) = ChunkOpening::load(frame.value, address, chunk_bytes) {
                    owners.note_opening(lsn, address, &opening);
                }
            }
        }
        Ok(owners)
    }

    /// What the newest image says that is whole, and which it is.
    fn newest_table(&self, chunk_bytes: u64) -> Result<(Kept, Owners)> {
        let Some(root) = self.superblock() else {
            return Ok((Kept::Older, Owners::new(chunk_bytes, None)));
        };
        for (checkpoint, kept) in root.checkpoints.iter().zip([Kept::Newest, Kept::Older]) {
            if is_empty_database(checkpoint) {
                return Ok((kept, Owners::new(chunk_bytes, Some(&[]))));
            }
            let (number, expected) = (checkpoint.number.get(), checkpoint.entry_count.get());
            let next_chunk = ADDRESS_MAX / chunk_bytes;
            if number == 0 {
                continue;
            }
            let image = self.read_image(number, Some(expected))?;
            let is_sound =
                |chunk: &ChunkEntry| chunk.check(chunk_bytes, next_chunk, number).is_ok();
            if image.damage.is_none() && image.chunks.iter().all(is_sound) {
                return Ok((kept, Owners::new(chunk_bytes, Some(&image.chunks))));
            }
        }
        Ok((Kept::Older, Owners::new(chunk_bytes, None)))
    }
}
