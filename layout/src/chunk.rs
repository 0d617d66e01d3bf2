//! Chunks of the data file: what a frame of the log says when one is opened, and what a checkpoint
//! remembers of each.
//!
//! A chunk is a number that is used once. It has a *place*, the part of the data file with that
//! number, counted from 0. The address of a record is the number of its chunk times the size of
//! chunks, plus its offset in the chunk.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Defect;
use crate::geometry::PAGE_BYTES;
use crate::limits::{ADDRESS_MAX, EXPIRES_MS_MAX, PLACE_MAX};

/// Bytes of a [`ChunkOpening`].
pub const CHUNK_OPENING_BYTES: usize = 16;
/// Bytes of a [`ChunkEntry`].
pub const CHUNK_ENTRY_BYTES: usize = 32;

/// The value of a chunk-open frame: where a chunk lies. The frame has no key and no record; its
/// address is that of the chunk.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ChunkOpening {
    /// Its place.
    pub place: U32,
    /// With so many behind it, one behind the other in number and place, it holds one record that
    /// is longer than a chunk. 1: it stands alone.
    pub count: U32,
    reserved: [u8; 8],
}

/// What a checkpoint remembers of a chunk.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ChunkEntry {
    /// Its number.
    pub number: U64,
    /// Its place.
    pub place: U32,
    state: u8,
    reserved: [u8; 3],
    /// Bytes from its start that are durable and never written again; whole pages.
    pub durable_bytes: U32,
    /// Cache lines of the records in it that the image names, as their locators say.
    pub live_lines: U32,
    /// What it says depends on the state.
    mark: U64,
}

const _: () = assert!(size_of::<ChunkOpening>() == CHUNK_OPENING_BYTES);
const _: () = assert!(size_of::<ChunkEntry>() == CHUNK_ENTRY_BYTES);

/// What may become of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ChunkState {
    /// They may be, behind its durable bytes.
    Open = 1,
    /// It is complete.
    Full = 2,
    /// It is complete, and holds more of the record that begins in an earlier chunk.
    Continued = 3,
    /// Neither the image nor a frame behind it names a record in it. Its place is free for others
    /// once no kept checkpoint needs it.
    Quarantined = 4,
}

impl ChunkOpening {
    /// Says that a chunk, and with it those up to `count`, lies at `place`.
    pub fn new(place: u64, count: u64) -> Self {
        let small = |number| u32::try_from(number).expect("places are limited");
        let mut opening = Self::new_zeroed();
        (opening.place, opening.count) = (small(place).into(), small(count).into());
        opening
    }

    /// The value of a chunk-open frame; nothing is checked but its length.
    pub fn peek(value: &[u8]) -> Option<Self> {
        Self::read_from_bytes(value).ok()
    }

    /// Reads the value of a chunk-open frame at `address`.
    pub fn load(value: &[u8], address: u64, chunk_bytes: u64) -> Result<Self, Defect> {
        let opening = Self::peek(value).ok_or(Defect::Length)?;
        let (place, count) = (u64::from(opening.place.get()), u64::from(opening.count.get()));
        match () {
            () if count == 0 || place + count > PLACE_MAX => Err(Defect::Field("place")),
            () if !address.is_multiple_of(chunk_bytes) => Err(Defect::Field("address")),
            () if address / chunk_bytes + count > ADDRESS_MAX / chunk_bytes => {
                Err(Defect::Field("address"))
            }
            () if opening.reserved != [0; 8] => Err(Defect::Field("reserved bytes")),
            () => Ok(opening),
        }
    }
}

impl ChunkEntry {
    /// What is known of chunk `number`; lengths are set later.
    pub fn new(number: u64, place: u64, state: ChunkState) -> Self {
        let mut entry = Self::new_zeroed();
        entry.number = number.into();
        entry.place = u32::try_from(place).expect("places are limited").into();
        entry.state = state as u8;
        entry
    }

    /// What the checkpoint that lists it as quarantined since `checkpoint` knows of chunk `number`.
    pub fn quarantined(number: u64, place: u64, checkpoint: u64) -> Self {
        let mut entry = Self::new(number, place, ChunkState::Quarantined);
        entry.mark = checkpoint.into();
        entry
    }

    /// Of a chunk in quarantine: the checkpoint of that number, and each later one, lists it as
    /// such. Otherwise 0.
    pub fn quarantined_since(&self) -> u64 {
        if self.state() == ChunkState::Quarantined { self.mark.get() } else { 0 }
    }

    /// Of a chunk that is not in quarantine: when it is time to look for records in it that have
    /// expired, in ms since 1970; 0: never.
    pub fn sweep_ms(&self) -> u64 {
        if self.state() == ChunkState::Quarantined { 0 } else { self.mark.get() }
    }

    /// Sets what [`ChunkEntry::sweep_ms`] says.
    pub fn set_sweep_ms(&mut self, sweep_ms: u64) {
        assert_ne!(self.state(), ChunkState::Quarantined);
        self.mark = sweep_ms.into();
    }

    /// What may become of it.
    pub fn state(&self) -> ChunkState {
        match self.state {
            1 => ChunkState::Open,
            3 => ChunkState::Continued,
            4 => ChunkState::Quarantined,
            _ => ChunkState::Full,
        }
    }

    /// Checks the fields against each other and their limits. `next_chunk` was never given out, and
    /// `checkpoint` is the number of the checkpoint whose table it stands in.
    //= IMG-7
    pub fn check(&self, chunk_bytes: u64, next_chunk: u64, checkpoint: u64) -> Result<(), Defect> {
        let (number, place) = (self.number.get(), u64::from(self.place.get()));
        let durable_bytes = u64::from(self.durable_bytes.get());
        let states = ChunkState::Open as u8..=ChunkState::Quarantined as u8;
        let (mark, is_named) = (self.mark.get(), self.live_lines.get() > 0);
        let is_mark = match self.state() {
            ChunkState::Quarantined => (1..=checkpoint).contains(&mark),
            _ => mark <= EXPIRES_MS_MAX,
        };
        let is_needed =
            self.state() != ChunkState::Quarantined || (durable_bytes == 0 && !is_named);
        let is_durable = durable_bytes <= chunk_bytes && durable_bytes.is_multiple_of(PAGE_BYTES);
        match () {
            () if number >= next_chunk => Err(Defect::Field("chunk")),
            () if place >= PLACE_MAX => Err(Defect::Field("place")),
            () if !states.contains(&self.state) => Err(Defect::Field("state of a chunk")),
            () if !is_mark || !is_needed => Err(Defect::Field("quarantine of a chunk")),
            () if !is_durable => Err(Defect::Field("durable bytes of a chunk")),
            () if self.reserved != [0; 3] => Err(Defect::Field("reserved bytes")),
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 1 << 16;

    //= test IMG-7
    #[test]
    fn entries_are_believed_only_if_a_chunk_can_be_so() {
        let mut entry = ChunkEntry::new(7, 3, ChunkState::Full);
        entry.durable_bytes = 8192.into();
        assert_eq!(entry.check(CHUNK, 8, 5), Ok(()));
        assert!(entry.check(CHUNK, 7, 5).is_err(), "it was not given out");
        assert!(entry.check(4096, 8, 5).is_err(), "more is durable than it has");
        let wrong = |change: fn(&mut ChunkEntry)| {
            let mut entry = entry;
            change(&mut entry);
            assert!(entry.check(CHUNK, 8, 5).is_err(), "{entry:?}");
        };
        wrong(|entry| entry.durable_bytes = 100.into());
        wrong(|entry| entry.state = 0);
        wrong(|entry| entry.state = 5);
        wrong(|entry| entry.reserved[1] = 1);
        wrong(|entry| entry.mark = u64::MAX.into());
        wrong(|entry| entry.place = u32::MAX.into());
        let quarantined = ChunkEntry::quarantined(7, 3, 5);
        assert_eq!(quarantined.check(CHUNK, 8, 5), Ok(()));
        assert!(quarantined.check(CHUNK, 8, 4).is_err(), "a later checkpoint listed it");
        let wrong = |change: fn(&mut ChunkEntry)| {
            let mut entry = quarantined;
            change(&mut entry);
            assert!(entry.check(CHUNK, 8, 5).is_err(), "{entry:?}");
        };
        wrong(|entry| entry.mark = 0.into());
        wrong(|entry| entry.durable_bytes = 4096.into());
        wrong(|entry| entry.live_lines = 1.into());
    }

    #[test]
    fn openings_are_believed_only_if_a_file_has_such_places() {
        let opening = ChunkOpening::new(5, 2);
        let load =
            |opening: ChunkOpening, address| ChunkOpening::load(opening.as_bytes(), address, CHUNK);
        assert_eq!(load(opening, 9 * CHUNK), Ok(opening));
        assert!(load(opening, 9 * CHUNK + 16).is_err());
        assert!(ChunkOpening::load(&opening.as_bytes()[1..], 9 * CHUNK, CHUNK).is_err());
        assert!(load(ChunkOpening::new(5, 0), 9 * CHUNK).is_err());
        assert!(load(ChunkOpening::new(PLACE_MAX, 1), 9 * CHUNK).is_err());
        assert!(load(opening, ADDRESS_MAX - CHUNK).is_err());
        let mut strange = opening.as_bytes().to_vec();
        strange[15] = 1;
        assert!(ChunkOpening::load(&strange, 9 * CHUNK, CHUNK).is_err());
    }
}
