//! What replay asks of the frames of the log before it applies them, and of where their records
//! lie: for recovery, and for who only reads.

use std::collections::BTreeMap;

use uarr_layout::chunk::{ChunkEntry, ChunkOpening, ChunkState};
use uarr_layout::frame::{FLAG_BATCH_CONTINUES, Frame, Frames};
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, GROUP_HEADER_BYTES, RECORD_ALIGN_BYTES};
use uarr_layout::limits::EXPIRES_MS_MAX;

use crate::data::applier::Replayed;
use crate::data::places::Places;
use crate::error::{Error, Result};
use crate::key::KeyKind;
use crate::key_space::KeySpace;
use crate::log::reader::LoggedGroup;
use crate::structure::Structure;

/// A frame, and where it stands.
pub(crate) struct LoggedFrame<'g> {
    pub frame: Frame<'g>,
    pub segment: u64,
    /// Of its group.
    group_offset: u64,
    /// Its own.
    pub offset: u64,
}

impl LoggedFrame<'_> {
    /// It says what cannot be.
    pub fn damage(&self, what: &str) -> Error {
        let lsn = self.frame.header.lsn.get();
        Structure::frame(self.segment).at(self.group_offset).lsn(lsn).damage(what)
    }
}

/// Gives `each` the frames of `group`, which the reader has verified, in their order. `floor_ms` is
/// how late it was before, 0 if no record has expired yet; returns how late it was behind.
pub(crate) fn each_frame(
    group: &LoggedGroup<'_>,
    kind: KeyKind,
    mut floor_ms: u64,
    mut each: impl FnMut(&LoggedFrame<'_>) -> Result<()>,
) -> Result<u64> {
    let (segment, group_offset) = (group.end.segment, group.header.offset.get());
    let mut offset = group_offset + GROUP_HEADER_BYTES as u64;
    let mut continues = false;
    for (expected_lsn, frame) in (group.header.first_lsn.get()..).zip(Frames::new(group.body)) {
        let frame = frame.expect("the reader has verified the group");
        assert_eq!(frame.header.lsn.get(), expected_lsn, "the reader has verified the group");
        let logged = LoggedFrame { frame, segment, group_offset, offset };
        offset += frame.len_in_log() as u64;
        if frame.opens_chunk() {
            each(&logged)?;
            continue;
        }
        let possible = frame.header.table.get() == 0
            && frame.can_expire()
            && KeySpace::of_stored(kind, frame.key).is_some();
        if !possible {
            return Err(logged.damage("table, expiry or key are impossible"));
        }
        if frame.header.expires_ms.get() != 0 {
            floor_ms = floor_ms.max(1);
        }
        continues = frame.header.flags & FLAG_BATCH_CONTINUES != 0;
        each(&logged)?;
    }
    //= WAL-8
    if continues {
        let frame = Structure::frame(segment).at(group_offset).lsn(group.header.last_lsn());
        return Err(frame.damage("a batch is not whole"));
    }
    //= SUP-10
    if floor_ms > 0 {
        let written_ms = (group.header.wall_ns.get() / 1_000_000).min(EXPIRES_MS_MAX);
        floor_ms = floor_ms.max(written_ms);
    }
    Ok(floor_ms)
}

/// Where the records of the log lie.
pub(crate) struct Landing {
    pub places: Places,
    /// The chunks of the checkpoint that are not in quarantine, by number.
    pub chunks: BTreeMap<u64, ChunkEntry>,
    pub chunk_bytes: u64,
}

impl Landing {
    /// Before the first frame, with the chunks of a checkpoint.
    pub fn new(chunk_bytes: u64, next_chunk: u64, table: &[ChunkEntry]) -> Self {
        let named = table.iter().filter(|chunk| chunk.state() != ChunkState::Quarantined);
        Self {
            places: Places::of_table(chunk_bytes, next_chunk, table),
            chunks: named.map(|chunk| (chunk.number.get(), *chunk)).collect(),
            chunk_bytes,
        }
    }

    /// Takes note of the chunk that a frame says to lie somewhere.
    //= DAT-8
    pub fn open_chunk(&mut self, logged: &LoggedFrame<'_>, place_max: u64) -> Result<()> {
        let address = logged.frame.header.address.get();
        let opening = ChunkOpening::load(logged.frame.value, address, self.chunk_bytes);
        let opening = opening.map_err(|defect| logged.damage(&defect.to_string()))?;
        let (place, count) = (u64::from(opening.place.get()), u64::from(opening.count.get()));
        if place + count > place_max {
            let what = "a chunk lies behind the address space; open the database with a larger \
                        address_space_bytes";
            return Err(logged.damage(what));
        }
        if !self.places.replay_opening(address / self.chunk_bytes, &opening) {
            return Err(logged.damage("its place, or its number, is that of another chunk"));
        }
        Ok(())
    }

    /// Bytes of chunk `number` that were durable at the checkpoint.
    pub fn durable_bytes(&self, number: u64) -> u64 {
        self.chunks.get(&number).map_or(0, |chunk| chunk.durable_bytes.get().into())
    }

    /// Where the record of a frame is; an error if it cannot be there. `end_of` says where the last
    /// record of a chunk, by number, ends.
    //= DAT-1
    pub fn find(
        &self,
        logged: &LoggedFrame<'_>,
        end_of: impl FnOnce(u64) -> u64,
    ) -> Result<Replayed> {
        let frame = &logged.frame;
        let address = frame.header.address.get();
        let (number, offset) = (address / self.chunk_bytes, address % self.chunk_bytes);
        let Some(chunk_count) = self.places.chunk_of(number) else {
            return Err(logged.damage("its record lies in a chunk that no frame has opened"));
        };
        let end = offset + frame.record_bytes() as u64;
        let is_possible = address.is_multiple_of(RECORD_ALIGN_BYTES)
            && offset >= CHUNK_HEADER_BYTES
            && end <= chunk_count * self.chunk_bytes
            && (chunk_count == 1 || offset == CHUNK_HEADER_BYTES);
        if !is_possible {
            return Err(logged.damage("its record does not lie in a chunk"));
        }
        //= DAT-5
        if offset < self.durable_bytes(number) {
            return Ok(Replayed::InFile);
        }
        if self.is_full(number) {
            return Err(logged.damage("its record lies in a chunk that was complete"));
        }
        match offset >= end_of(number) {
            true => Ok(Replayed::Missing),
            false => Err(logged.damage("its record lies before one of an earlier frame")),
        }
    }

    /// Whether chunk `number` was complete at the checkpoint: nothing is added to it.
    pub fn is_full(&self, number: u64) -> bool {
        self.chunks.get(&number).is_some_and(|chunk| chunk.state() != ChunkState::Open)
    }
}
