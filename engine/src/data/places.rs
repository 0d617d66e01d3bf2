//! [`Places`]: where the next records go, and which place of the data file each chunk has.
//!
//! Staging decides where a record goes and writes that in its frame; appliers and replay obey. One
//! chunk is open: records go behind each other in it. A record that does not fit gets a new chunk;
//! of the two, the one with more room stays open. A record longer than a chunk gets as many as it
//! needs, one behind the other in number and place.
//!
//! A group of the log that holds records of a chunk also says where the chunk lies, in a chunk-open
//! frame, unless a group before it does that is *settled*. A group that is refused for lack of room
//! therefore takes no chunk away from the records of later ones.

use std::collections::{BTreeMap, BTreeSet};

use uarr_layout::chunk::ChunkOpening;
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, chunk_count, place_in_chunk};
use uarr_layout::limits::ADDRESS_MAX;
use uarr_uring::CHUNK_SPAN;

use crate::data::quarantine::{Evacuated, Horizon, Quarantine};

/// What the log says of a chunk so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Named {
    /// So many groups that are on their way say where it lies.
    Pending(u32),
    /// A settled group does.
    Settled,
}

/// A chunk, or several that hold one record: then it is the first.
#[derive(Clone, Copy, Debug)]
pub(in crate::data) struct PlacedChunk {
    pub(in crate::data) place: u64,
    pub(in crate::data) count: u64,
    pub(in crate::data) named: Named,
    /// Frames that name it have LSNs below this; `None`: more may be added, or it was not asked.
    full_lsn: Option<u64>,
}

impl PlacedChunk {
    pub(in crate::data) fn new(place: u64, count: u64, named: Named) -> Self {
        Self { place, count, named, full_lsn: None }
    }
}

/// The chunk that records are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenChunk {
    pub number: u64,
    /// Offset behind its last record.
    pub end: u64,
}

/// Which places chunks have, and where the next record goes.
#[derive(Debug)]
pub(crate) struct Places {
    pub(in crate::data) chunk_bytes: u64,
    /// Chunks that the index, or a frame, may name.
    pub(in crate::data) chunks: BTreeMap<u64, PlacedChunk>,
    /// Others, that have their places still.
    pub quarantine: Quarantine,
    /// The chunk that moved records are added to.
    cold: Option<u64>,
    /// The places that they have: the first of each, and how many.
    pub(in crate::data) taken: BTreeMap<u64, u64>,
    pub(in crate::data) open: Option<OpenChunk>,
    /// Where the open chunk begins in the file.
    open_start: u64,
    /// How many chunks no settled group names.
    unsettled_count: usize,
    pub(in crate::data) next_chunk: u64,
    /// The first number that this process gave out.
    pub(in crate::data) first_own: u64,
    /// Places before `next_place` that no chunk has.
    pub(in crate::data) free: BTreeSet<u64>,
    pub(in crate::data) next_place: u64,
}

/// Room of the data file, as the next records will take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frontier {
    /// Offset in the file where the next record goes.
    pub tail: u64,
    /// End of the last place that a chunk has.
    pub used_end: u64,
    /// Bytes before it that records may still take.
    pub room: u64,
}

/// Where records would go, step by step.
struct Cursor {
    open: Option<OpenChunk>,
    next_chunk: u64,
    next_place: u64,
    /// Free places that are taken.
    taken: Vec<u64>,
}

/// A chunk that a record needs.
struct NewChunk {
    number: u64,
    place: u64,
    count: u64,
}

impl Places {
    /// No chunk yet.
    pub fn new(chunk_bytes: u64) -> Self {
        assert!(chunk_bytes.is_power_of_two());
        Self {
            chunk_bytes,
            chunks: BTreeMap::new(),
            quarantine: Quarantine::default(),
            cold: None,
            taken: BTreeMap::new(),
            open: None,
            open_start: 0,
            unsettled_count: 0,
            next_chunk: 0,
            first_own: 0,
            free: BTreeSet::new(),
            next_place: 0,
        }
    }

    pub(in crate::data) fn insert(&mut self, number: u64, chunk: PlacedChunk) {
        let before = self.taken.insert(chunk.place, chunk.count);
        assert!(before.is_none(), "a place has one chunk");
        assert!(self.chunks.insert(number, chunk).is_none(), "numbers are used once");
    }

    /// Notes which places no chunk has.
    pub(in crate::data) fn find_free(&mut self) {
        (self.next_place, self.free) = (0, BTreeSet::new());
        for (place, count) in &self.taken {
            self.free.extend(self.next_place..*place);
            self.next_place = place + count;
        }
    }

    /// Replay has come to a frame that opens chunks. False if that cannot be: another chunk has the
    /// number or the place, or a number too far from it. Chunks in quarantine have no right to
    /// theirs any more.
    pub fn replay_opening(&mut self, number: u64, opening: &ChunkOpening) -> bool {
        let (place, count) = (u64::from(opening.place.get()), u64::from(opening.count.get()));
        if let Some(known) = self.chunks.get(&number) {
            return (known.place, known.count) == (place, count);
        }
        let next_chunk = self.next_chunk.max(number + count);
        for chunk in self.quarantine.give_up(place, count) {
            self.taken.remove(&chunk.place);
        }
        // The last one that begins before the end has to end before the start.
        let chunk = self.chunks.range(..number + count).next_back();
        let chunk = chunk.map(|(number, chunk)| (*number, chunk.count));
        let taken = self.taken.range(..place + count).next_back();
        let taken = taken.map(|(place, count)| (*place, *count));
        let ends_before = |before: Option<(u64, u64)>, first: u64| {
            before.is_none_or(|(start, count)| start + count <= first)
        };
        let fits = next_chunk - self.first_chunk().min(number) < CHUNK_SPAN
            && ends_before(chunk, number)
            && ends_before(taken, place);
        if fits {
            self.insert(number, PlacedChunk::new(place, count, Named::Settled));
            self.next_chunk = next_chunk;
        }
        fits
    }

    /// The lowest number of a chunk, or the next one.
    pub fn first_chunk(&self) -> u64 {
        let first = self.chunks.first_key_value().map_or(self.next_chunk, |(first, _)| *first);
        first.min(self.quarantine.first().unwrap_or(first))
    }

    /// How many chunks there are, with `number`, for its records; `None` if it is not known, or
    /// holds more of a record that begins in another.
    pub fn chunk_of(&self, number: u64) -> Option<u64> {
        self.chunks.get(&number).map(|chunk| chunk.count)
    }

    /// Where the last place of chunk `number`, which is known, ends in the file.
    pub fn file_end(&self, number: u64) -> u64 {
        let chunk = self.chunks.get(&number).expect("a chunk that is known");
        (chunk.place + chunk.count) * self.chunk_bytes
    }

    /// After replay: records go on in `open`, the newest chunk that is not complete, if none is
    /// newer. Others are complete from now on: what this process writes has the highest addresses.
    pub fn resume(&mut self, open: Option<OpenChunk>) {
        self.find_free();
        self.first_own = self.next_chunk;
        let newest = self.chunks.last_key_value().filter(|(_, chunk)| chunk.count == 1);
        let is_newest = |open: &OpenChunk| newest.is_some_and(|(newest, _)| *newest == open.number);
        self.set_open(open.filter(is_newest));
        assert!(self.open.is_none_or(|open| open.end <= self.chunk_bytes));
    }

    /// The address from which on no record of an earlier life lies.
    pub fn session_start(&self) -> u64 {
        match self.open {
            Some(open) if open.number + 1 == self.next_chunk => {
                open.number * self.chunk_bytes + open.end
            }
            _ => self.next_chunk * self.chunk_bytes,
        }
    }

    /// The open chunk.
    pub fn open(&self) -> Option<OpenChunk> {
        self.open
    }

    fn cursor(&self) -> Cursor {
        let Self { open, next_chunk, next_place, .. } = *self;
        Cursor { open, next_chunk, next_place, taken: Vec::new() }
    }

    /// End of the last place, in the file, that `frames` need; `None` if there are not so many
    /// addresses.
    pub fn end_after(&self, frames: &[Frame<'_>]) -> Option<u64> {
        let mut cursor = self.cursor();
        for frame in frames {
            self.advance(&mut cursor, frame.key.len(), frame.record_value_bytes());
        }
        //= IMG-7
        let has_addresses = cursor.next_chunk <= ADDRESS_MAX / self.chunk_bytes
            && cursor.next_chunk - self.first_chunk() < CHUNK_SPAN;
        let open_end = self.open.map_or(0, |_| self.open_start + self.chunk_bytes);
        has_addresses.then_some((cursor.next_place * self.chunk_bytes).max(open_end))
    }

    /// Whether records of together at most `bytes`, gaps included, are sure to go into the open
    /// chunk, and the first `allocated` bytes of the file have its place.
    pub fn is_roomy(&self, bytes: u64, allocated: u64) -> bool {
        let is_there = self.open_start + self.chunk_bytes <= allocated;
        is_there && self.open.is_some_and(|open| open.end + bytes <= self.chunk_bytes)
    }

    pub(in crate::data) fn set_open(&mut self, open: Option<OpenChunk>) {
        self.open = open;
        let place = open.map_or(0, |open| self.chunks[&open.number].place);
        self.open_start = place * self.chunk_bytes;
    }

    /// Gives the next record its address.
    #[inline]
    pub fn place(&mut self, key_bytes: usize, value_bytes: usize) -> u64 {
        if let Some(open) = &mut self.open
            && let Some(range) = place_in_chunk(open.end, self.chunk_bytes, key_bytes, value_bytes)
        {
            open.end = range.end;
            return open.number * self.chunk_bytes + range.start;
        }
        self.place_in_new(key_bytes, value_bytes)
    }

    #[cold]
    fn place_in_new(&mut self, key_bytes: usize, value_bytes: usize) -> u64 {
        let mut cursor = self.cursor();
        let (address, new) = self.advance(&mut cursor, key_bytes, value_bytes);
        let NewChunk { number, place, count } = new.expect("it does not fit into the open one");
        self.insert(number, PlacedChunk::new(place, count, Named::Pending(0)));
        self.unsettled_count += 1;
        self.free.retain(|free| !(place..place + count).contains(free));
        (self.next_chunk, self.next_place) = (cursor.next_chunk, cursor.next_place);
        self.set_open(cursor.open);
        address
    }

    /// The address of the next record, and the chunk that is opened for it.
    fn advance(
        &self,
        cursor: &mut Cursor,
        key_bytes: usize,
        value_bytes: usize,
    ) -> (u64, Option<NewChunk>) {
        if let Some(open) = &mut cursor.open
            && let Some(range) = place_in_chunk(open.end, self.chunk_bytes, key_bytes, value_bytes)
        {
            open.end = range.end;
            return (open.number * self.chunk_bytes + range.start, None);
        }
        let count = chunk_count(self.chunk_bytes, key_bytes, value_bytes);
        let place = self.free_places(cursor, count);
        cursor.taken.extend(place..place + count);
        cursor.next_place = cursor.next_place.max(place + count);
        let number = cursor.next_chunk;
        cursor.next_chunk += count;
        if count == 1 {
            let whole =
                place_in_chunk(CHUNK_HEADER_BYTES, self.chunk_bytes, key_bytes, value_bytes);
            let end = whole.expect("one chunk is enough").end;
            if cursor.open.is_none_or(|open| end <= open.end) {
                cursor.open = Some(OpenChunk { number, end });
            }
        }
        let address = number * self.chunk_bytes + CHUNK_HEADER_BYTES;
        (address, Some(NewChunk { number, place, count }))
    }

    /// The first of `count` places in a row that no chunk has; behind the last one if need be.
    fn free_places(&self, cursor: &Cursor, count: u64) -> u64 {
        let (mut first, mut end) = (cursor.next_place, cursor.next_place);
        for place in self.free.iter().filter(|place| !cursor.taken.contains(place)) {
            if *place != end || first == cursor.next_place {
                first = *place;
            }
            end = place + 1;
            if end - first == count {
                return first;
            }
        }
        if end == cursor.next_place { first } else { cursor.next_place }
    }

    /// Whether there is a chunk of which no settled group says where it lies.
    #[inline]
    pub fn has_unsettled(&self) -> bool {
        self.unsettled_count > 0
    }

    /// The chunk that `address` lies in, if no settled group says where it lies.
    pub fn unsettled(&self, address: u64) -> Option<u64> {
        let number = address / self.chunk_bytes;
        let chunk = self.chunks.get(&number).expect("records go into chunks");
        (chunk.named != Named::Settled).then_some(number)
    }

    /// A group is about to say where `number` lies: what it says, and the address of the chunk.
    pub fn name(&mut self, number: u64) -> (u64, ChunkOpening) {
        let chunk = self.chunks.get_mut(&number).expect("a chunk that records go into");
        match &mut chunk.named {
            Named::Pending(count) => *count += 1,
            Named::Settled => unreachable!("a settled group says where it lies"),
        }
        (number * self.chunk_bytes, ChunkOpening::new(chunk.place, chunk.count))
    }

    /// A group that named `numbers` is settled, or was refused or has failed.
    pub fn note_outcome(&mut self, numbers: &[u64], is_settled: bool) {
        for number in numbers {
            let Some(chunk) = self.chunks.get_mut(number) else {
                unreachable!("a chunk that a group names stays until the group is settled")
            };
            match (&mut chunk.named, is_settled) {
                (Named::Settled, _) => {}
                (named, true) => {
                    *named = Named::Settled;
                    self.unsettled_count -= 1;
                }
                (Named::Pending(count), false) => {
                    assert!(*count > 0, "a group has one outcome");
                    *count -= 1;
                }
            }
        }
        if !numbers.is_empty() {
            self.drop_unnamed();
        }
    }

    /// Chunks that only refused groups named are as if they had never been, but for those that
    /// records are added to, which the next group names again.
    pub(in crate::data) fn drop_unnamed(&mut self) {
        if !self.has_unsettled() {
            return;
        }
        let kept = [self.open.map(|open| open.number), self.cold];
        let is_lost = |number: &u64, chunk: &mut PlacedChunk| {
            chunk.named == Named::Pending(0) && !kept.contains(&Some(*number))
        };
        for (_, chunk) in self.chunks.extract_if(.., is_lost) {
            self.unsettled_count -= 1;
            let taken = self.taken.remove(&chunk.place);
            assert_eq!(taken, Some(chunk.count), "its places were its own");
            self.free.extend(chunk.place..chunk.place + chunk.count);
        }
    }

    /// Where the file has to end for a chunk of moved records; `None`: there is one already, or no
    /// number is left for it.
    pub fn end_after_cold(&self) -> Option<u64> {
        let number = self.next_chunk;
        let has_address =
            number < ADDRESS_MAX / self.chunk_bytes && number + 1 - self.first_chunk() < CHUNK_SPAN;
        let place = self.free.first().copied().unwrap_or(self.next_place);
        (has_address && self.cold.is_none()).then_some((place + 1) * self.chunk_bytes)
    }

    /// Opens a chunk for moved records, in a place that the file has.
    pub fn open_cold(&mut self) {
        assert!(self.cold.is_none(), "one at a time");
        let place = self.free.first().copied().unwrap_or(self.next_place);
        let number = self.next_chunk;
        self.insert(number, PlacedChunk::new(place, 1, Named::Pending(0)));
        self.unsettled_count += 1;
        if !self.free.remove(&place) {
            self.next_place += 1;
        }
        self.next_chunk += 1;
        self.cold = Some(number);
    }

    /// The chunk that moved records will be added to, if no settled group says where it lies.
    pub fn unsettled_cold(&self) -> Option<u64> {
        self.cold.filter(|cold| self.chunks[cold].named != Named::Settled)
    }

    /// The chunk that moved records are added to, if a settled group says where it lies.
    pub fn cold(&self) -> Option<u64> {
        let is_settled = |cold: &u64| self.chunks[cold].named == Named::Settled;
        self.cold.filter(is_settled)
    }

    /// No more is added to the chunk of moved records. Returns its place.
    pub fn end_cold(&mut self) -> Option<u64> {
        self.cold.take().map(|cold| self.chunks[&cold].place)
    }

    /// Chunks that may be evacuated: nothing is added to them, and each frame that names them is
    /// settled, up to `settled_lsn`. Numbers, and how many chunks each begins.
    pub fn sealed(&mut self, settled_lsn: u64, next_lsn: u64) -> Vec<(u64, u64)> {
        assert!(settled_lsn < next_lsn);
        let open = self.open.map(|open| open.number);
        let mut sealed = Vec::new();
        for (number, chunk) in &mut self.chunks {
            if Some(*number) == open || Some(*number) == self.cold {
                continue;
            }
            let full_lsn = *chunk.full_lsn.get_or_insert(next_lsn);
            if chunk.named == Named::Settled && full_lsn <= settled_lsn + 1 {
                sealed.push((*number, chunk.count));
            }
        }
        sealed
    }

    /// The index names nothing in the sealed chunk `number` any more, nor does any frame staged
    /// behind `lsn`.
    pub fn end_evacuation(&mut self, number: u64, lsn: u64) {
        let chunk = self.chunks.remove(&number).expect("a chunk is evacuated once");
        assert!(chunk.full_lsn.is_some_and(|full| full <= lsn + 1), "it was sealed");
        assert_eq!(chunk.named, Named::Settled, "its frames are settled");
        self.quarantine.enter(number, chunk.place, chunk.count, lsn);
    }

    /// No reader looks at chunk `number` any more, which has left quarantine: its places are free.
    pub fn release(&mut self, number: u64) {
        let Evacuated { place, count, .. } = self.quarantine.leave(number);
        let taken = self.taken.remove(&place);
        assert_eq!(taken, Some(count), "its places were its own");
        self.free.extend(place..place + count);
    }

    /// Frees the places of chunks that the map has never had, and that are not needed any more.
    pub fn release_passed_before(&mut self, horizon: &Horizon) {
        for number in self.quarantine.passed_before(horizon) {
            self.release(number);
        }
    }

    /// How many places before the last one that a chunk has are free.
    pub fn free_count(&self) -> u64 {
        self.free.len() as u64
    }

    /// How many places chunks have that are not in quarantine.
    pub fn used_count(&self) -> u64 {
        self.chunks.values().map(|chunk| chunk.count).sum()
    }

    /// Room that records will take next.
    pub fn frontier(&self) -> Frontier {
        let used_end = self.next_place * self.chunk_bytes;
        let free_bytes = self.free.len() as u64 * self.chunk_bytes;
        let room = self.open.map_or(0, |open| self.chunk_bytes - open.end) + free_bytes;
        Frontier { tail: self.tail(), used_end, room }
    }

    /// Offset in the file where the next record goes.
    pub fn tail(&self) -> u64 {
        match self.open {
            Some(open) => self.open_start + open.end,
            None => self.next_place * self.chunk_bytes,
        }
    }

    /// The highest number that was given to a chunk, and one.
    pub fn next_chunk(&self) -> u64 {
        self.next_chunk
    }
}

#[cfg(test)]
mod tests {
    use uarr_layout::chunk::ChunkState;
    use uarr_layout::frame::FrameKind;

    use super::*;
    use crate::data::place_table::SealedPlaces;

    const CHUNK: u64 = 1 << 16;

    fn number_of(address: u64) -> u64 {
        address / CHUNK
    }

    /// Stages a record in a group of its own, and says what becomes of the group.
    fn write(places: &mut Places, value_bytes: usize, is_settled: bool) -> u64 {
        let address = places.place(8, value_bytes);
        let named: Vec<u64> = places.unsettled(address).into_iter().collect();
        for number in &named {
            places.name(*number);
        }
        places.note_outcome(&named, is_settled);
        address
    }

    #[test]
    fn the_chunk_with_more_room_stays_open() {
        let mut places = Places::new(CHUNK);
        assert_eq!(write(&mut places, 1000, true), CHUNK_HEADER_BYTES);
        // Longer than what is left: the new one has less room than the first.
        assert_eq!(number_of(write(&mut places, 65_000, true)), 1);
        assert_eq!(number_of(write(&mut places, 40_000, true)), 0);
        assert_eq!(number_of(write(&mut places, 30_000, true)), 2);
        assert_eq!(number_of(write(&mut places, 30_000, true)), 2);
        let table = places.table(&places.clone_sealed(), 1);
        let states: Vec<_> = table.iter().map(|entry| entry.state()).collect();
        assert_eq!(states, [ChunkState::Full, ChunkState::Full, ChunkState::Open]);
    }

    #[test]
    fn a_record_longer_than_a_chunk_has_chunks_of_its_own() {
        let mut places = Places::new(CHUNK);
        write(&mut places, 1000, true);
        assert_eq!(write(&mut places, 150_000, true), CHUNK + CHUNK_HEADER_BYTES);
        assert_eq!(number_of(write(&mut places, 1000, true)), 0);
        assert_eq!(number_of(write(&mut places, 64_000, true)), 4);
        let table = places.table(&places.clone_sealed(), 1);
        let all: Vec<_> = table.iter().map(|e| (e.number.get(), e.place.get())).collect();
        assert_eq!(all, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        assert_eq!(table[2].state(), ChunkState::Continued);
        let again = Places::of_table(CHUNK, places.next_chunk(), &table);
        assert_eq!(again.chunk_of(1), Some(3));
        assert_eq!(again.chunk_of(2), None);
        let used_end = places.frontier().used_end;
        assert_eq!(again.frontier(), Frontier { tail: 64, used_end, room: CHUNK - 64 });
    }

    #[test]
    fn refused_groups_take_nothing_away() {
        let mut places = Places::new(CHUNK);
        let address = write(&mut places, 1000, false);
        let sealed = places.clone_sealed();
        assert_eq!(places.table(&sealed, 1), [], "no settled group says where it lies");
        // The next group names the chunk again.
        let next = places.place(8, 1000);
        assert_eq!(number_of(next), number_of(address));
        assert_eq!(places.unsettled(next), Some(0));
        let (at, opening) = places.name(0);
        assert_eq!((at, opening.place.get()), (0, 0));
        places.note_outcome(&[0], true);
        assert_eq!(places.unsettled(next), None);
        // A long one that is refused gives its places back, for chunks that fit there.
        assert_eq!(number_of(write(&mut places, 150_000, false)), 1);
        assert_eq!(places.frontier().room, CHUNK - places.open().unwrap().end + 3 * CHUNK);
        assert_eq!(number_of(write(&mut places, 65_000, true)), 4);
        let table = places.table(&places.clone_sealed(), 1);
        let all: Vec<_> = table.iter().map(|e| (e.number.get(), e.place.get())).collect();
        assert_eq!(all, [(0, 0), (4, 1)]);
        assert_eq!(number_of(write(&mut places, 150_000, true)), 5);
        let table = places.table(&places.clone_sealed(), 1);
        assert_eq!(table[2].place.get(), 2, "places one behind the other, the last of them new");
        assert_eq!(places.frontier().used_end, 5 * CHUNK);
        // In a file with gaps a long record lies in the first that it fits into.
        write(&mut places, 150_000, true);
        let [first, second] = [5, 8].map(|number| places.chunks[&number].place);
        assert_eq!((first, second), (2, 5));
        for (number, place) in [(5, 2), (8, 5)] {
            places.chunks.remove(&number);
            places.taken.remove(&place);
            places.free.extend(place..place + 3);
        }
        write(&mut places, 65_000, true);
        assert_eq!(places.chunks[&11].place, 2);
        write(&mut places, 200_000, true);
        assert_eq!(places.chunks[&12].place, 3, "beyond what was there before");
    }

    #[test]
    fn two_groups_on_their_way_both_name_their_chunk() {
        let mut places = Places::new(CHUNK);
        let (first, second) = (places.place(8, 100), places.place(8, 100));
        assert_eq!(places.unsettled(first), Some(0));
        places.name(0);
        assert_eq!(places.unsettled(second), Some(0), "it is not settled yet");
        places.name(0);
        places.note_outcome(&[0], false);
        assert_eq!(places.unsettled(second), Some(0));
        places.note_outcome(&[0], true);
        assert_eq!(places.unsettled(second), None);
    }

    #[test]
    fn openings_are_replayed_once_and_only_into_free_places() {
        let mut places = Places::new(CHUNK);
        assert!(places.replay_opening(0, &ChunkOpening::new(0, 1)));
        assert!(places.replay_opening(0, &ChunkOpening::new(0, 1)), "named again");
        assert!(!places.replay_opening(0, &ChunkOpening::new(1, 1)), "in another place");
        assert!(!places.replay_opening(0, &ChunkOpening::new(0, 2)), "of another length");
        assert!(!places.replay_opening(1, &ChunkOpening::new(0, 1)), "a taken place");
        assert!(places.replay_opening(5, &ChunkOpening::new(3, 4)));
        for (number, place, count) in [(8, 9, 1), (9, 6, 1), (4, 9, 2), (9, 2, 2), (2, 8, 7)] {
            let opening = ChunkOpening::new(place, count);
            assert!(!places.replay_opening(number, &opening), "{number} {place} {count}");
        }
        places.resume(Some(OpenChunk { number: 0, end: 5000 }));
        assert_eq!(places.open(), None, "it is not the newest one");
        assert_eq!(number_of(places.place(8, 100)), 9);
        assert_eq!(places.frontier().used_end, 7 * CHUNK, "in a place that was free");
    }

    /// The map has a slot for each of so many numbers: the next one would take that of the first,
    /// and a panic ended the writer, or the opening of a log that says so.
    //= test IMG-7
    #[test]
    fn numbers_that_are_too_far_apart_are_not_given_out() {
        let key = [7; 8];
        let frame = |value: &'static [u8]| Frame::new(FrameKind::Put, 0, &key, value);
        let small = frame(&[1; 100]);
        let large = frame(&[1; 65_000]);
        let opened = |number| {
            let mut places = Places::new(CHUNK);
            assert!(places.replay_opening(3, &ChunkOpening::new(0, 1)));
            (places.replay_opening(number, &ChunkOpening::new(1, 1)), places)
        };
        for (left, fits) in [(2, [true, true, false]), (1, [true, false, false])] {
            let (is_possible, places) = opened(3 + CHUNK_SPAN - 2 - left);
            assert!(is_possible, "{left}");
            let count_that_fit = [&[small][..], &[large; 2], &[large; 3]];
            let fit = count_that_fit.map(|frames| places.end_after(frames).is_some());
            assert_eq!(fit, fits, "{left}");
        }
        assert!(opened(3 + CHUNK_SPAN - 2).0);
        assert!(!opened(3 + CHUNK_SPAN - 1).0);
        assert!(!opened(3 + CHUNK_SPAN).0, "the slot of the first");
    }

    #[test]
    fn a_sealed_page_is_left_behind() {
        let mut places = Places::new(CHUNK);
        write(&mut places, 1000, true);
        let sealed = places.seal_page();
        assert_eq!(sealed.open, Some(OpenChunk { number: 0, end: 4096 }));
        assert_eq!(write(&mut places, 1000, true), 4096);
        write(&mut places, 60_000, true);
        assert_eq!(places.table(&sealed, 1).len(), 1, "others were opened later");
    }

    impl Places {
        /// What a checkpoint would know now.
        fn clone_sealed(&self) -> SealedPlaces {
            SealedPlaces { next_chunk: self.next_chunk, open: self.open }
        }
    }
}
