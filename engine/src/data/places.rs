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

use std::collections::BTreeMap;
use std::ops::Range;

use uarr_layout::chunk::ChunkOpening;
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, chunk_count, place_in_chunk};
use uarr_layout::limits::ADDRESS_MAX;
use uarr_uring::CHUNK_SPAN;

use crate::data::free_places::FreePlaces;
use crate::data::quarantine::Quarantine;
use crate::data::stream::STREAM_COUNT;

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
    pub(in crate::data) full_lsn: Option<u64>,
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

/// Free places of a large file that are left to deletions and moves: one for each.
const KEPT_COUNT_MAX: u64 = 2;
/// One of so many places that are in use.
const KEPT_SHARE: u64 = 4;

/// Which places chunks have, and where the next record goes.
#[derive(Debug)]
pub(crate) struct Places {
    pub(in crate::data) chunk_bytes: u64,
    /// Chunks that the index, or a frame, may name.
    pub(in crate::data) chunks: BTreeMap<u64, PlacedChunk>,
    /// How many places they have.
    pub(in crate::data) used_count: u64,
    /// Others, that have their places still.
    pub quarantine: Quarantine,
    /// The chunks that copies are added to, by stream.
    pub(in crate::data) cold: [Option<u64>; STREAM_COUNT],
    /// The places that they have: the first of each, and how many.
    pub(in crate::data) taken: BTreeMap<u64, u64>,
    pub(in crate::data) open: Option<OpenChunk>,
    /// Where the open chunk begins in the file.
    open_start: u64,
    /// How many chunks no settled group names.
    pub(in crate::data) unsettled_count: usize,
    pub(in crate::data) next_chunk: u64,
    /// The first number that this process gave out.
    pub(in crate::data) first_own: u64,
    /// Places that none has.
    pub free: FreePlaces,
    pub kept: KeptPlaces,
}

/// Room of the data file, as the next records will take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frontier {
    /// Offset in the file where the next record goes.
    pub tail: u64,
    /// Bytes of places that chunks have.
    pub taken_bytes: u64,
    /// The same, but of the open chunk only what it holds.
    pub data_bytes: u64,
    /// Bytes that records may take: in the open chunk, and in free places that have space.
    pub room: u64,
}

/// Who asks for a place. The last free ones are left to those that make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Moving records, so that places become free.
    Move,
    /// A deletion, so that records can be given up.
    Delete,
    Put,
}

/// How many free places are left because there is no room elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptPlaces {
    pub by_puts: u64,
    pub by_deletions: u64,
}

/// What is missing for records to be staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    Nothing,
    /// These places have to be allocated; more may be missing then.
    Places(Range<u64>),
    /// Addresses, or numbers of chunks.
    Numbers,
}

/// Where records would go, step by step.
struct Cursor {
    open: Option<OpenChunk>,
    next_chunk: u64,
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
            used_count: 0,
            quarantine: Quarantine::default(),
            cold: [None; STREAM_COUNT],
            taken: BTreeMap::new(),
            open: None,
            open_start: 0,
            unsettled_count: 0,
            next_chunk: 0,
            first_own: 0,
            free: FreePlaces::default(),
            kept: KeptPlaces::default(),
        }
    }

    pub(in crate::data) fn insert(&mut self, number: u64, chunk: PlacedChunk) {
        self.used_count += chunk.count;
        let before = self.taken.insert(chunk.place, chunk.count);
        assert!(before.is_none(), "a place has one chunk");
        assert!(self.chunks.insert(number, chunk).is_none(), "numbers are used once");
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

    /// The numbers of all chunks that a settled group names and that are not in quarantine; of
    /// those that hold one record the last.
    pub fn last_numbers(&self) -> Vec<u64> {
        let settled = self.chunks.iter().filter(|(_, chunk)| chunk.named == Named::Settled);
        settled.map(|(number, chunk)| number + chunk.count - 1).collect()
    }

    /// The places of chunk `number`, which is known.
    pub fn places_of(&self, number: u64) -> Range<u64> {
        let chunk = self.chunks.get(&number).expect("a chunk that is known");
        chunk.place..chunk.place + chunk.count
    }

    /// After replay, of a file that has `place_count` places: records go on in `open`, the newest
    /// chunk that is not complete, if none is newer. Others are complete from now on: what this
    /// process writes has the highest addresses.
    pub fn resume(&mut self, open: Option<OpenChunk>, place_count: u64) {
        self.free = FreePlaces::between(self.taken.iter(), place_count);
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
        let Self { open, next_chunk, .. } = *self;
        Cursor { open, next_chunk, taken: Vec::new() }
    }

    /// How many free places are left to those that make room. Of a small file none, if there is
    /// room elsewhere: its chunks are most of it.
    pub fn kept_count(&self, need: Need) -> u64 {
        let kept_count = KEPT_COUNT_MAX.min(self.used_count() / KEPT_SHARE);
        match need {
            Need::Put => kept_count.max(self.kept.by_puts),
            Need::Delete => (kept_count / 2).max(self.kept.by_deletions),
            Need::Move => 0,
        }
    }

    /// How many chunks `frames` would open.
    pub fn new_count(&self, frames: &[Frame<'_>]) -> u64 {
        let mut cursor = self.cursor();
        for frame in frames.iter().filter(|frame| !frame.opens_chunk()) {
            let (key_bytes, value_bytes) = (frame.record_key_bytes(), frame.record_value_bytes());
            let anywhere = |_: u64, _: &[u64]| Some(0);
            self.advance_to(&mut cursor, (key_bytes, value_bytes), anywhere);
        }
        cursor.taken.len() as u64
    }

    /// What is missing for `frames` to be staged.
    pub fn lacking(&self, frames: &[Frame<'_>], need: Need) -> Lack {
        let mut cursor = self.cursor();
        for frame in frames.iter().filter(|frame| !frame.opens_chunk()) {
            let key_bytes = frame.record_key_bytes();
            let value_bytes = frame.record_value_bytes();
            if self.advance(&mut cursor, key_bytes, value_bytes).is_none() {
                let count = chunk_count(self.chunk_bytes, key_bytes, value_bytes);
                return Lack::Places(self.free.lacking(count, &cursor.taken));
            }
        }
        //= IMG-7
        let has_numbers = cursor.next_chunk <= ADDRESS_MAX / self.chunk_bytes
            && cursor.next_chunk - self.first_chunk() < CHUNK_SPAN;
        if !has_numbers {
            return Lack::Numbers;
        }
        let left = self.free.ready_count() - cursor.taken.len() as u64;
        match cursor.taken.is_empty() || left >= self.kept_count(need) {
            true => Lack::Nothing,
            false => Lack::Places(self.free.lacking(1, &[])),
        }
    }

    /// The places that should be allocated so that `room` bytes are there besides the free places
    /// that are kept; `None`: they are.
    pub fn lacking_ahead(&self, room: u64) -> Option<Range<u64>> {
        let kept = self.kept_count(Need::Put) * self.chunk_bytes;
        (self.frontier().room < room + kept).then(|| self.free.lacking(1, &[]))
    }

    /// Whether records of together at most `bytes`, gaps included, are sure to go into the open
    /// chunk.
    pub fn is_roomy(&self, bytes: u64) -> bool {
        self.open.is_some_and(|open| open.end + bytes <= self.chunk_bytes)
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
        let placed = self.advance(&mut cursor, key_bytes, value_bytes);
        let (address, new) = placed.expect("room is there before a record is staged");
        let NewChunk { number, place, count } = new.expect("it does not fit into the open one");
        self.insert(number, PlacedChunk::new(place, count, Named::Pending(0)));
        self.unsettled_count += 1;
        self.free.take(place..place + count);
        self.next_chunk = cursor.next_chunk;
        self.set_open(cursor.open);
        address
    }

    /// The address of the next record, and the chunk that is opened for it; `None`: no free place
    /// is ready for it.
    fn advance(
        &self,
        cursor: &mut Cursor,
        key_bytes: usize,
        value_bytes: usize,
    ) -> Option<(u64, Option<NewChunk>)> {
        let free = |count, taken: &[u64]| self.free.find(count, taken);
        self.advance_to(cursor, (key_bytes, value_bytes), free)
    }

    /// The same, where new chunks go to the places that `find` says: the first of so many in a row,
    /// none of those that are taken.
    fn advance_to(
        &self,
        cursor: &mut Cursor,
        (key_bytes, value_bytes): (usize, usize),
        find: impl FnOnce(u64, &[u64]) -> Option<u64>,
    ) -> Option<(u64, Option<NewChunk>)> {
        if let Some(open) = &mut cursor.open
            && let Some(range) = place_in_chunk(open.end, self.chunk_bytes, key_bytes, value_bytes)
        {
            open.end = range.end;
            return Some((open.number * self.chunk_bytes + range.start, None));
        }
        let count = chunk_count(self.chunk_bytes, key_bytes, value_bytes);
        let place = find(count, &cursor.taken)?;
        cursor.taken.extend(place..place + count);
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
        Some((address, Some(NewChunk { number, place, count })))
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
        let open = self.open.map(|open| open.number);
        let is_lost = |number: &u64, chunk: &mut PlacedChunk| {
            chunk.named == Named::Pending(0)
                && open != Some(*number)
                && !self.cold.contains(&Some(*number))
        };
        for (_, chunk) in self.chunks.extract_if(.., is_lost) {
            self.unsettled_count -= 1;
            self.used_count -= chunk.count;
            let taken = self.taken.remove(&chunk.place);
            assert_eq!(taken, Some(chunk.count), "its places were its own");
            self.free.give(chunk.place..chunk.place + chunk.count, true);
        }
    }

    /// How many chunks have lower numbers than `end`, and are not in quarantine.
    pub fn chunk_count_before(&self, end: u64) -> usize {
        self.chunks.range(..end).count()
    }

    /// How many places chunks have that are not in quarantine.
    pub fn used_count(&self) -> u64 {
        self.used_count
    }

    /// Room that records will take next.
    pub fn frontier(&self) -> Frontier {
        let taken_count = self.used_count() + self.quarantine.place_count();
        let taken_bytes = taken_count * self.chunk_bytes;
        let left = self.open.map_or(0, |open| self.chunk_bytes - open.end);
        let room = left + self.free.ready_count() * self.chunk_bytes;
        Frontier { tail: self.tail(), taken_bytes, data_bytes: taken_bytes - left, room }
    }

    /// Offset in the file where the next record goes.
    pub fn tail(&self) -> u64 {
        match self.open {
            Some(open) => self.open_start + open.end,
            None => self.free.find(1, &[]).unwrap_or(self.free.end()) * self.chunk_bytes,
        }
    }

    /// Bytes of places that have space, as far as is known.
    pub fn allocated_bytes(&self) -> u64 {
        (self.free.end() - self.free.hole_count()) * self.chunk_bytes
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
    use crate::data::stream::Stream;

    const CHUNK: u64 = 1 << 16;

    /// No chunk yet, and room in the file.
    fn places() -> Places {
        let mut places = Places::new(CHUNK);
        places.free.note_allocated(0..20);
        places
    }

    /// How many places there are before the last that a chunk has.
    fn place_count(places: &Places) -> u64 {
        places.taken.last_key_value().map_or(0, |(place, count)| place + count)
    }

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
        let mut places = places();
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
        let mut places = places();
        write(&mut places, 1000, true);
        assert_eq!(write(&mut places, 150_000, true), CHUNK + CHUNK_HEADER_BYTES);
        assert_eq!(number_of(write(&mut places, 1000, true)), 0);
        assert_eq!(number_of(write(&mut places, 64_000, true)), 4);
        let table = places.table(&places.clone_sealed(), 1);
        let all: Vec<_> = table.iter().map(|e| (e.number.get(), e.place.get())).collect();
        assert_eq!(all, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        assert_eq!(table[2].state(), ChunkState::Continued);
        let mut again = Places::of_table(CHUNK, places.next_chunk(), &table);
        again.resume(again.open(), 0);
        assert_eq!(again.chunk_of(1), Some(3));
        assert_eq!(again.chunk_of(2), None);
        assert_eq!((again.free.end(), again.free.ready_count()), (5, 0));
        assert_eq!(again.frontier().taken_bytes, 5 * CHUNK);
    }

    #[test]
    fn refused_groups_take_nothing_away() {
        let mut places = places();
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
        assert_eq!(places.free.find(3, &[]), Some(1));
        assert_eq!(number_of(write(&mut places, 65_000, true)), 4);
        let table = places.table(&places.clone_sealed(), 1);
        let all: Vec<_> = table.iter().map(|e| (e.number.get(), e.place.get())).collect();
        assert_eq!(all, [(0, 0), (4, 1)]);
        assert_eq!(number_of(write(&mut places, 150_000, true)), 5);
        let table = places.table(&places.clone_sealed(), 1);
        assert_eq!(table[2].place.get(), 2, "places one behind the other, the last of them new");
        assert_eq!(place_count(&places), 5);
        // In a file with gaps a long record lies in the first that it fits into.
        write(&mut places, 150_000, true);
        let [first, second] = [5, 8].map(|number| places.chunks[&number].place);
        assert_eq!((first, second), (2, 5));
        for (number, place) in [(5, 2), (8, 5)] {
            places.chunks.remove(&number);
            places.taken.remove(&place);
            places.used_count -= 3;
            places.free.give(place..place + 3, true);
        }
        write(&mut places, 65_000, true);
        assert_eq!(places.chunks[&11].place, 2);
        write(&mut places, 200_000, true);
        assert_eq!(places.chunks[&12].place, 3, "beyond what was there before");
    }

    #[test]
    fn two_groups_on_their_way_both_name_their_chunk() {
        let mut places = places();
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
        let mut places = places();
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
        places.resume(Some(OpenChunk { number: 0, end: 5000 }), 9);
        assert_eq!(places.open(), None, "it is not the newest one");
        assert_eq!(places.free.iter().collect::<Vec<_>>(), [1, 2, 7, 8]);
        places.free.note_allocated(2..3);
        assert_eq!(number_of(places.place(8, 100)), 9);
        assert_eq!(places.chunks[&9].place, 2, "in a place that has space");
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
            let mut places = places();
            assert!(places.replay_opening(3, &ChunkOpening::new(0, 1)));
            let is_possible = places.replay_opening(number, &ChunkOpening::new(1, 1));
            places.resume(None, 0);
            places.free.note_allocated(2..20);
            (is_possible, places)
        };
        for (left, fits) in [(2, [true, true, false]), (1, [true, false, false])] {
            let (is_possible, places) = opened(3 + CHUNK_SPAN - 2 - left);
            assert!(is_possible, "{left}");
            let count_that_fit = [&[small][..], &[large; 2], &[large; 3]];
            let fit =
                count_that_fit.map(|frames| places.lacking(frames, Need::Put) != Lack::Numbers);
            assert_eq!(fit, fits, "{left}");
        }
        assert!(opened(3 + CHUNK_SPAN - 2).0);
        assert!(!opened(3 + CHUNK_SPAN - 1).0);
        assert!(!opened(3 + CHUNK_SPAN).0, "the slot of the first");
    }

    #[test]
    fn the_last_places_are_left_to_deletions_and_moves() {
        let mut places = places();
        for _ in 0..8 {
            write(&mut places, 65_000, true);
        }
        let key = [7; 8];
        let frames = [Frame::new(FrameKind::Put, 0, &key, &[1; 65_000])];
        let with_free = |count: u64| places.clone_with_end(7 + count);
        for (count, needs) in [(3, [true; 3]), (2, [true, true, false]), (1, [true, false, false])]
        {
            let fits = [Need::Move, Need::Delete, Need::Put]
                .map(|need| with_free(count).lacking(&frames, need) == Lack::Nothing);
            assert_eq!(fits, needs, "{count} free places");
        }
        assert_eq!(with_free(0).lacking_cold(Stream::Moved), Some(Lack::Places(8..9)));
        assert_eq!(with_free(1).lacking_cold(Stream::Moved), Some(Lack::Nothing));
    }

    /// The frame that says where the last place is was taken for a record, for which the open chunk
    /// had no room: the chunk was never named, and nothing could be moved any more.
    #[test]
    fn saying_where_a_chunk_lies_takes_no_room_for_records() {
        let mut places = places();
        write(&mut places, 65_000, true);
        let mut places = places.clone_with_end(1);
        places.open_cold(Stream::Moved);
        let opening = ChunkOpening::new(1, 1);
        let frames =
            [Frame::new(FrameKind::ChunkOpen, 0, &[], zerocopy::IntoBytes::as_bytes(&opening))];
        assert_eq!(places.lacking(&frames, Need::Move), Lack::Nothing);
    }

    #[test]
    fn a_sealed_page_is_left_behind() {
        let mut places = places();
        write(&mut places, 1000, true);
        let sealed = places.seal_page();
        assert_eq!(sealed.open, Some(OpenChunk { number: 0, end: 4096 }));
        assert_eq!(write(&mut places, 1000, true), 4096);
        write(&mut places, 60_000, true);
        assert_eq!(places.table(&sealed, 1).len(), 1, "others were opened later");
    }

    impl Places {
        /// The same chunks, and free places with space up to `last`.
        fn clone_with_end(&self, last: u64) -> Self {
            let table = self.table(&self.clone_sealed(), 1);
            let mut places = Self::of_table(self.chunk_bytes, self.next_chunk, &table);
            places.resume(None, 0);
            places.free.note_allocated(0..last + 1);
            places
        }

        /// What a checkpoint would know now.
        fn clone_sealed(&self) -> SealedPlaces {
            SealedPlaces { next_chunk: self.next_chunk, open: self.open }
        }
    }
}
