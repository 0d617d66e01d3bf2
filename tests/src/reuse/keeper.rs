//! The keeper's part of [`Database`]: chunks get places, and places become free.

use std::collections::BTreeSet;

use super::chunk::{CELL_COUNT, Chunk, ChunkState, Place, Stream};
use super::database::Database;
use super::figures::Event;
use super::log::{Change, Opening};
use super::mutations::Mutation;
use super::record::{Address, ChunkNumber, Lsn};

/// How many chunks the mover has ready ahead, and stay ready after a loss of power.
pub const READY_MAX: usize = 2;

impl Database {
    /// A free place gets the next chunk number. No frame says so yet.
    pub fn take_chunk(&mut self, width: usize, stream: Stream, state: ChunkState) -> ChunkNumber {
        let is_run = |place: &&Place| (**place..**place + width).all(|it| self.free.contains(&it));
        let runs: Vec<Place> = self.free.iter().filter(is_run).copied().collect();
        let end = self.map.place_count();
        let place = if runs.is_empty() { end } else { self.world.pick(&runs) };
        for place in place..place + width {
            self.free.remove(&place);
            self.map.zero(place, &mut self.world.disk.medium);
        }
        let number = self.next_chunk;
        self.next_chunk += width as ChunkNumber;
        self.world.note_number(number);
        self.add_chunk(number, Chunk::new(place, width, stream, state));
        number
    }

    pub fn add_chunk(&mut self, number: ChunkNumber, chunk: Chunk) {
        assert!(self.chunks.insert(number, chunk).is_none(), "chunk numbers are used once");
    }

    /// A chunk-open frame says which place `number` has.
    pub fn name_chunk(&mut self, number: ChunkNumber, ends_batch: bool) {
        let Chunk { place, width, stream, named, .. } = *self.chunk(number);
        if named > 0 {
            self.world.figures.note(Event::OpeningRepeated);
        }
        let opening = Opening { chunk: number, place, width, stream };
        self.chunk_mut(number).named = self.log_frame(Change::Open(opening), ends_batch);
    }

    /// RULE 1: whether a batch whose first LSN is `first` has to name `number` in front of its
    /// records there: no chunk-open frame of it is settled, and the batch has none yet.
    pub fn must_name(&self, number: ChunkNumber, first: Lsn) -> bool {
        let chunk = self.chunk(number);
        let is_named = match self.world.mutation {
            Some(Mutation::NamedOnce) => chunk.named > 0,
            Some(Mutation::NamedUntilStaged) => {
                self.log().behind(self.log().settled()).iter().any(|frame| frame.opens(number))
            }
            Some(Mutation::NamedUntilPassed) => {
                let passed = self.settled_lsn().max(self.refused);
                chunk.named >= first || (1..=passed).contains(&chunk.named)
            }
            _ => chunk.named >= first,
        };
        !chunk.is_opened && !is_named
    }

    /// RULE 1: the ready chunks that the mover may use, those of which a chunk-open frame is
    /// settled.
    fn usable(&self) -> Option<ChunkNumber> {
        let may_use = |number: &ChunkNumber| {
            self.chunk(*number).is_opened || self.has(Mutation::OpenNotSettled)
        };
        self.ready().into_iter().find(may_use)
    }

    pub fn ready(&self) -> Vec<ChunkNumber> {
        let is_ready = |chunk: &Chunk| chunk.state == ChunkState::Ready;
        self.chunks.iter().filter(|(_, chunk)| is_ready(chunk)).map(|(n, _)| *n).collect()
    }

    /// The mover names a chunk of its stream: one that is not opened yet again, or a new one.
    pub fn name_ready(&mut self) {
        let ready = self.ready();
        let unopened = ready.iter().copied().find(|number| !self.chunk(*number).is_opened);
        let chunk = match unopened {
            Some(unopened) => unopened,
            None if ready.len() >= READY_MAX => return,
            None => self.take_chunk(1, Stream::Cold, ChunkState::Ready),
        };
        self.name_chunk(chunk, true);
    }

    /// The mover waits until it may use a chunk.
    fn make_usable(&mut self) -> ChunkNumber {
        if self.usable().is_none() {
            self.name_ready();
            self.settle_to(self.log().len());
        }
        self.usable().expect("its chunk-open frame is settled")
    }

    /// Whether `count` records fit into the open chunk of `stream`.
    fn fits(&self, stream: Stream, count: usize) -> bool {
        let open = self.streams.get(stream);
        open.is_some_and(|chunk| self.chunk(chunk).tail + count <= CELL_COUNT)
    }

    /// The next address of `stream`.
    pub fn allocate(&mut self, stream: Stream) -> Address {
        if !self.fits(stream, 1) {
            let next = match stream {
                Stream::User => self.take_chunk(1, stream, ChunkState::Open),
                Stream::Cold => self.make_usable(),
            };
            if let Some(full) = self.streams.get(stream) {
                self.chunk_mut(full).state = ChunkState::Full;
            }
            self.streams.set(stream, Some(next));
            self.chunk_mut(next).state = ChunkState::Open;
        }
        let chunk = self.streams.get(stream).expect("it was opened if there was none");
        let tail = &mut self.chunk_mut(chunk).tail;
        *tail += 1;
        Address { chunk, offset: *tail - 1 }
    }

    /// RULE 2: the chunks that may be evacuated. Each is full, and every frame that names it, each
    /// of its chunk-open frames too, is settled; refused frames name nothing.
    pub fn sealed(&self) -> Vec<ChunkNumber> {
        let applied = self.has(Mutation::SealedWhenApplied);
        let count = if applied { self.applied } else { self.log().settled() };
        let (lsn, is_all) = (self.log().lsn_at(count), count == self.log().len());
        let is_sealed =
            |chunk: &Chunk| chunk.state == ChunkState::Full && (chunk.named <= lsn || is_all);
        self.chunks.iter().filter(|(_, chunk)| is_sealed(chunk)).map(|(n, _)| *n).collect()
    }

    /// RULE 3: clears what the older kept checkpoint lists, and what no pin is older than or what
    /// pins need of is retained; then frees what no reader holds.
    pub fn clear(&mut self) {
        let kept =
            if self.has(Mutation::FreedEarly) { self.kept.first() } else { self.kept.last() };
        let kept = kept.expect("a slot names a checkpoint");
        let oldest_pin = self.pins.iter().map(|pin| pin.lsn).min().unwrap_or(Lsn::MAX);
        let ignores_pins = self.has(Mutation::PinsIgnored);
        let ignores_kept = self.has(Mutation::KeptIgnored);
        let is_cleared = |number: &ChunkNumber, chunk: &Chunk| {
            chunk.state == ChunkState::Quarantined
                && kept.listed.contains(number)
                && (chunk.evacuated <= oldest_pin || chunk.is_retained || ignores_pins)
                && (!self.has_kept(*number) || ignores_kept)
        };
        let cleared = self.chunks.iter().filter(|(number, chunk)| is_cleared(number, chunk));
        let cleared: Vec<ChunkNumber> = cleared.map(|(number, _)| *number).collect();
        let cleared = cleared.iter().filter_map(|number| self.chunks.remove(number));
        self.draining.extend(cleared);

        let ignores_holds = self.has(Mutation::HoldsIgnored);
        let held: BTreeSet<Place> = self.holds.iter().map(|hold| hold.place).collect();
        let is_held = |chunk: &mut Chunk| chunk.places().any(|place| held.contains(&place));
        for chunk in self.draining.extract_if(.., |chunk| ignores_holds || !is_held(chunk)) {
            self.free.extend(chunk.places());
            self.world.figures.note_times(Event::PlaceFreed, chunk.width as u64);
        }
    }
}
