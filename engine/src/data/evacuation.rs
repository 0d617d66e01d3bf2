//! [`Places`] while records are moved: the chunk that takes them, chunks that may be evacuated, and
//! places that come free.

use std::ops::Range;

use uarr_layout::limits::ADDRESS_MAX;
use uarr_uring::CHUNK_SPAN;

use crate::data::places::{Lack, Named, PlacedChunk, Places};
use crate::data::quarantine::{Evacuated, Horizon};
use crate::data::stream::Stream;

impl Places {
    /// What is missing for a chunk of `stream`; `None`: there is one.
    pub fn lacking_cold(&self, stream: Stream) -> Option<Lack> {
        let number = self.next_chunk;
        let has_number =
            number < ADDRESS_MAX / self.chunk_bytes && number + 1 - self.first_chunk() < CHUNK_SPAN;
        let lack = || match (has_number, self.free.find(1, &[])) {
            (false, _) => Lack::Numbers,
            (true, Some(_)) => Lack::Nothing,
            (true, None) => Lack::Places(self.free.lacking(1, &[])),
        };
        self.cold[stream as usize].is_none().then(lack)
    }

    /// Opens a chunk for `stream`, for which nothing is missing.
    pub fn open_cold(&mut self, stream: Stream) {
        assert!(self.cold[stream as usize].is_none(), "one at a time");
        let place = self.free.find(1, &[]).expect("there is a place for it");
        let number = self.next_chunk;
        self.insert(number, PlacedChunk::new(place, 1, Named::Pending(0)));
        self.unsettled_count += 1;
        self.free.take(place..place + 1);
        self.next_chunk += 1;
        self.cold[stream as usize] = Some(number);
    }

    /// Chunks that may go on as one for moved records after a recovery: not the open one.
    pub fn resumable(&self) -> impl Iterator<Item = u64> {
        let open = self.open.map(|open| open.number);
        let is_other = move |number: &u64, chunk: &PlacedChunk| {
            chunk.count == 1 && chunk.named == Named::Settled && open != Some(*number)
        };
        let others = self.chunks.iter().filter(move |(number, chunk)| is_other(number, chunk));
        others.map(|(number, _)| *number)
    }

    /// Moved records go on behind what chunk `number` has.
    pub fn resume_cold(&mut self, number: u64) {
        assert!(self.chunks.get(&number).is_some_and(|chunk| chunk.full_lsn.is_none()));
        self.cold[Stream::Moved as usize] = Some(number);
    }

    /// The chunk that `stream` will go to, if no settled group says where it lies.
    pub fn unsettled_cold(&self, stream: Stream) -> Option<u64> {
        self.cold[stream as usize].filter(|cold| self.chunks[cold].named != Named::Settled)
    }

    /// The chunk that `stream` goes to, if a settled group says where it lies.
    pub fn cold(&self, stream: Stream) -> Option<u64> {
        let is_settled = |cold: &u64| self.chunks[cold].named == Named::Settled;
        self.cold[stream as usize].filter(is_settled)
    }

    /// The place of the chunk that `stream` goes to.
    pub fn cold_place(&self, stream: Stream) -> Option<u64> {
        self.cold[stream as usize].map(|cold| self.chunks[&cold].place)
    }

    /// No more is added to the chunk of `stream`. Returns its place.
    pub fn end_cold(&mut self, stream: Stream) -> Option<u64> {
        self.cold[stream as usize].take().map(|cold| self.chunks[&cold].place)
    }

    /// Chunks that may be evacuated: nothing is added to them, and each frame that names them is
    /// settled, up to `settled_lsn`. Numbers, and how many chunks each begins.
    pub fn sealed(&mut self, settled_lsn: u64, next_lsn: u64) -> Vec<(u64, u64)> {
        assert!(settled_lsn < next_lsn);
        self.note_full(next_lsn);
        let is_sealed = |chunk: &PlacedChunk| {
            let is_settled = chunk.full_lsn.is_some_and(|full| full <= settled_lsn + 1);
            chunk.named == Named::Settled && is_settled
        };
        let sealed = self.chunks.iter().filter(|(_, chunk)| is_sealed(chunk));
        sealed.map(|(number, chunk)| (*number, chunk.count)).collect()
    }

    /// Notes which chunks nothing is added to any more, behind what was staged before `next_lsn`.
    pub fn note_full(&mut self, next_lsn: u64) {
        let open = self.open.map(|open| open.number);
        for (number, chunk) in &mut self.chunks {
            if Some(*number) != open && !self.cold.contains(&Some(*number)) {
                chunk.full_lsn.get_or_insert(next_lsn);
            }
        }
    }

    /// The index names nothing in the sealed chunk `number` any more, nor does any frame staged
    /// behind `lsn`. By then it had records up to `applied_lsn`.
    pub fn end_evacuation(&mut self, number: u64, lsn: u64, applied_lsn: u64) {
        let chunk = self.chunks.remove(&number).expect("a chunk is evacuated once");
        assert!(chunk.full_lsn.is_some_and(|full| full <= lsn + 1), "it was sealed");
        assert_eq!(chunk.named, Named::Settled, "its frames are settled");
        self.used_count -= chunk.count;
        let places = chunk.place..chunk.place + chunk.count;
        self.quarantine.enter(number, places, lsn, applied_lsn);
    }

    /// No reader looks at chunk `number` any more, which has left quarantine: its places are free.
    pub fn release(&mut self, number: u64) -> Range<u64> {
        let Evacuated { place, count, .. } = self.quarantine.leave(number);
        let taken = self.taken.remove(&place);
        assert_eq!(taken, Some(count), "its places were its own");
        // Whether they have space is looked at behind the lock.
        self.free.give(place..place + count, false);
        place..place + count
    }

    /// Frees the places of chunks that the map has never had, and that are not needed any more.
    pub fn release_passed_before(&mut self, horizon: &Horizon) -> Vec<Range<u64>> {
        let passed = self.quarantine.passed_before(horizon);
        passed.into_iter().map(|number| self.release(number)).collect()
    }
}
