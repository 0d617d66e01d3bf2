//! [`Places`] as a checkpoint remembers them: from its chunk table, and for the next one; and
//! whether no place was lost.

use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, PAGE_BYTES, align_up_u64};

use crate::data::places::{Named, OpenChunk, PlacedChunk, Places};

/// What a checkpoint knows of the places when it has sealed the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealedPlaces {
    /// Chunks from this number on were opened later.
    pub next_chunk: u64,
    /// The open chunk; nothing before its end is written any more.
    pub open: Option<OpenChunk>,
}

impl Places {
    /// The chunks of a checkpoint's table. It is checked: places and numbers are different.
    pub fn of_table(chunk_bytes: u64, next_chunk: u64, table: &[ChunkEntry]) -> Self {
        let mut places = Self::new(chunk_bytes);
        for entry in table {
            let (number, place) = (entry.number.get(), u64::from(entry.place.get()));
            if entry.state() == ChunkState::Quarantined {
                places.taken.insert(place, 1);
                places.quarantine.restore(number, place, entry.quarantined_since());
                continue;
            }
            if entry.state() == ChunkState::Continued {
                let mut before = places.chunks.last_entry().expect("it continues a chunk");
                let before = before.get_mut();
                before.count += 1;
                places.used_count += 1;
                places.taken.insert(before.place, before.count);
                continue;
            }
            places.insert(number, PlacedChunk::new(place, 1, Named::Settled));
            if entry.state() == ChunkState::Open {
                let end = u64::from(entry.durable_bytes.get()).max(CHUNK_HEADER_BYTES);
                places.set_open(Some(OpenChunk { number, end }));
            }
        }
        places.next_chunk = next_chunk;
        places
    }

    /// Moves the open chunk on to its next page.
    pub fn seal_page(&mut self) -> SealedPlaces {
        self.drop_unnamed();
        if let Some(open) = &mut self.open {
            open.end = align_up_u64(open.end, PAGE_BYTES);
            assert!(open.end <= self.chunk_bytes, "a chunk has whole pages");
        }
        SealedPlaces { next_chunk: self.next_chunk, open: self.open }
    }

    /// The chunks that checkpoint `checkpoint` remembers: those that were there when the page was
    /// sealed, if a settled group says where they lie, and those in quarantine that it lists.
    /// Lengths are set later.
    pub fn table(&self, sealed: &SealedPlaces, checkpoint: u64) -> Vec<ChunkEntry> {
        let open = sealed.open.map(|open| open.number);
        let mut table = Vec::new();
        for (number, chunk) in self.chunks.range(..sealed.next_chunk) {
            if chunk.named != Named::Settled {
                continue;
            }
            let first = if open == Some(*number) { ChunkState::Open } else { ChunkState::Full };
            for index in 0..chunk.count {
                let state = if index == 0 { first } else { ChunkState::Continued };
                table.push(ChunkEntry::new(number + index, chunk.place + index, state));
            }
        }
        let was_there = |(number, _): &(u64, _)| *number < sealed.next_chunk;
        for (number, chunk) in self.quarantine.iter().filter(was_there) {
            for index in 0..chunk.count {
                let (number, place) = (number + index, chunk.place + index);
                table.push(match chunk.since.filter(|since| *since <= checkpoint) {
                    Some(since) => ChunkEntry::quarantined(number, place, since),
                    // Its evacuation has ended too late for this checkpoint.
                    None if index == 0 => ChunkEntry::new(number, place, ChunkState::Full),
                    None => ChunkEntry::new(number, place, ChunkState::Continued),
                });
            }
        }
        table.sort_unstable_by_key(|entry| entry.number.get());
        table
    }

    /// Panics unless each place is in one of these: a chunk in use, one in quarantine, free.
    pub fn audit(&self) {
        let in_use = self.chunks.values().map(|chunk| (chunk.place, chunk.count));
        let waiting = self.quarantine.iter().map(|(_, chunk)| (chunk.place, chunk.count));
        let free = self.free.iter().map(|place| (place, 1));
        let mut places: Vec<_> = in_use.chain(waiting).chain(free).collect();
        places.sort_unstable();
        let end = places.iter().fold(0, |end, (place, count)| {
            assert_eq!(*place, end, "a place has two owners, or none");
            place + count
        });
        assert_eq!(end, self.free.end(), "no place is lost");
        let taken: u64 = self.taken.values().sum();
        let free_count = self.free.ready_count() + self.free.hole_count();
        assert_eq!(taken + free_count, end, "what is taken has an owner");
        let used: u64 = self.chunks.values().map(|chunk| chunk.count).sum();
        assert_eq!(used, self.used_count, "places in use are counted");
    }

    /// The first number that this process gave to a chunk.
    pub fn first_own(&self) -> u64 {
        self.first_own
    }
}
