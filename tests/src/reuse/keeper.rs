//! The keeper's part of [`Database`]: chunks get places, and places become free.

use std::collections::BTreeSet;

use super::chunk::{CELL_COUNT, Chunk, ChunkState, Place, Stream};
use super::database::Database;
use super::figures::Event;
use super::log::Change;
use super::mutations::Mutation;
use super::record::{Address, ChunkNumber, Lsn};

/// How many chunks are made ready ahead, and stay ready after a loss of power.
pub const READY_MAX: usize = 2;

impl Database {
    /// A free place gets the next chunk number, and a frame says so.
    pub fn announce(&mut self, width: usize) -> ChunkNumber {
        let is_run = |place: &&Place| (**place..**place + width).all(|it| self.free.contains(&it));
        let runs: Vec<Place> = self.free.iter().filter(is_run).copied().collect();
        let end = self.map.place_count();
        let place = if runs.is_empty() { end } else { self.world.pick(&runs) };
        for place in place..place + width {
            self.free.remove(&place);
            self.map.zero(place, &mut self.world.disk.medium);
        }
        let chunk = self.next_chunk;
        let lsn = self.log_frame(Change::Open { chunk, place, width }, true);
        self.add_ready(chunk, place, width, lsn);
        self.next_chunk += width as ChunkNumber;
        chunk
    }

    pub fn add_ready(&mut self, number: ChunkNumber, place: Place, width: usize, opened: Lsn) {
        let chunk = Chunk {
            place,
            width,
            state: ChunkState::Ready,
            stream: None,
            tail: 0,
            opened,
            named: opened,
            evacuated: 0,
        };
        assert!(self.chunks.insert(number, chunk).is_none(), "chunk numbers are used once");
    }

    /// RULE 1: the ready chunks that writers and movers may use, those whose chunk-open frame is
    /// settled.
    pub fn usable(&self, width: usize) -> Vec<ChunkNumber> {
        let settled = self.settled_lsn();
        let settled = if self.has(Mutation::OpenNotSettled) { Lsn::MAX } else { settled };
        self.ready_by(width, settled)
    }

    /// All ready chunks.
    pub fn ready(&self, width: usize) -> Vec<ChunkNumber> {
        self.ready_by(width, Lsn::MAX)
    }

    fn ready_by(&self, width: usize, opened_max: Lsn) -> Vec<ChunkNumber> {
        let fits = |chunk: &Chunk| {
            chunk.state == ChunkState::Ready && chunk.width == width && chunk.opened <= opened_max
        };
        self.chunks.iter().filter(|(_, chunk)| fits(chunk)).map(|(number, _)| *number).collect()
    }

    /// Waits until a chunk is usable.
    pub fn make_usable(&mut self) {
        if !self.usable(1).is_empty() {
            return;
        }
        if self.ready(1).is_empty() {
            self.announce(1);
        }
        self.settle_to(self.log().len());
    }

    /// Whether `count` records fit into the open chunk of `stream`.
    pub fn fits(&self, stream: Stream, count: usize) -> bool {
        let open = self.streams.get(stream);
        open.is_some_and(|chunk| self.chunk(chunk).tail + count <= CELL_COUNT)
    }

    /// The next address of `stream`.
    pub fn allocate(&mut self, stream: Stream) -> Address {
        if !self.fits(stream, 1) {
            self.make_usable();
            if let Some(full) = self.streams.get(stream) {
                self.chunk_mut(full).state = ChunkState::Full;
            }
            let next = self.usable(1)[0];
            self.streams.set(stream, Some(next));
            let chunk = self.chunk_mut(next);
            (chunk.state, chunk.stream) = (ChunkState::Open, Some(stream));
        }
        let chunk = self.streams.get(stream).expect("it was opened if there was none");
        let tail = &mut self.chunk_mut(chunk).tail;
        *tail += 1;
        Address { chunk, offset: *tail - 1 }
    }

    /// RULE 2: the chunks that may be evacuated. Each is full, and every frame that names it, its
    /// chunk-open frame too, is settled; refused frames name nothing.
    pub fn sealed(&self) -> Vec<ChunkNumber> {
        let applied = self.has(Mutation::SealedWhenApplied);
        let count = if applied { self.applied } else { self.log().settled() };
        let (lsn, is_all) = (self.log().lsn_at(count), count == self.log().len());
        let is_sealed =
            |chunk: &Chunk| chunk.state == ChunkState::Full && (chunk.named <= lsn || is_all);
        self.chunks.iter().filter(|(_, chunk)| is_sealed(chunk)).map(|(n, _)| *n).collect()
    }

    /// RULE 3: clears what the older kept checkpoint lists and no pin is older than; then frees
    /// what no reader holds.
    pub fn clear(&mut self) {
        let kept =
            if self.has(Mutation::FreedEarly) { self.kept.first() } else { self.kept.last() };
        let kept = kept.expect("a slot names a checkpoint");
        let oldest_pin = self.pins.iter().map(|pin| pin.lsn).min().unwrap_or(Lsn::MAX);
        let ignores_pins = self.has(Mutation::PinsIgnored);
        let is_cleared = |number: &ChunkNumber, chunk: &mut Chunk| {
            chunk.state == ChunkState::Quarantined
                && kept.listed.contains(number)
                && (chunk.evacuated <= oldest_pin || ignores_pins)
        };
        let cleared = self.chunks.extract_if(.., is_cleared);
        self.draining.extend(cleared.map(|(_, chunk)| chunk));

        let ignores_holds = self.has(Mutation::HoldsIgnored);
        let held: BTreeSet<Place> = self.holds.iter().map(|hold| hold.place).collect();
        let is_held = |chunk: &mut Chunk| chunk.places().any(|place| held.contains(&place));
        for chunk in self.draining.extract_if(.., |chunk| ignores_holds || !is_held(chunk)) {
            self.free.extend(chunk.places());
            self.world.figures.note_times(Event::PlaceFreed, chunk.width as u64);
        }
    }
}
