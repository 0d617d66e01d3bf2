//! [`DiskRoom`]: what there is for chunks and other files, and [`Reserve`]: what is left of it to
//! those that make room.

use crate::data::places::Need;

/// Of a small database, which may take most of a small disk, at most this part of what it has in
/// use is left free for other files than chunks: by puts, and by deletions and moves.
const KEPT_SHARE_OF_PUTS: u64 = 2;
const KEPT_SHARE_OF_OTHERS: u64 = 6;
// Puts stop before the others do.
const _: () = assert!(KEPT_SHARE_OF_PUTS < KEPT_SHARE_OF_OTHERS);

/// What a file system has, and what can be given back to it. Chunks get their space in units of
/// some places; other files take any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskRoom {
    /// What the file system says to be free.
    pub free_bytes: u64,
    /// Places that have space and no chunk.
    pub ready_count: u64,
    /// Units of these that can be given back.
    pub whole_unit_count: u64,
    /// Segments of the log that are free.
    pub log_bytes: u64,
    /// Places of a unit, and bytes of one.
    pub unit_count: u64,
    pub chunk_bytes: u64,
}

/// What somebody asks for, or what is left to those that come after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub place_count: u64,
    /// Bytes of segments, images and the like.
    pub other_bytes: u64,
}

impl DiskRoom {
    fn unit_bytes(&self) -> u64 {
        self.unit_count * self.chunk_bytes
    }

    /// All of it, whatever it can be used for.
    pub fn bytes(&self) -> u64 {
        self.outside_bytes().saturating_add(self.ready_count * self.chunk_bytes)
    }

    /// What the file system has, with free segments, which are removed when it has nothing else.
    fn outside_bytes(&self) -> u64 {
        self.free_bytes.saturating_add(self.log_bytes)
    }

    /// What is left when `bytes` of the file system have become `place_count` free places.
    pub fn after(self, bytes: u64, place_count: u64) -> Option<Self> {
        let removed_bytes = bytes.saturating_sub(self.free_bytes);
        let log_bytes = self.log_bytes.checked_sub(removed_bytes)?;
        let free_bytes = self.free_bytes.saturating_sub(bytes);
        Some(Self { free_bytes, log_bytes, ready_count: self.ready_count + place_count, ..self })
    }

    /// How many of the free places have to stay, so that there is `wanted`.
    pub fn places_for(&self, wanted: Wanted) -> u64 {
        let outside_bytes = self.outside_bytes();
        let lacking_bytes = wanted.other_bytes.saturating_sub(outside_bytes);
        let given_count = lacking_bytes.div_ceil(self.unit_bytes());
        let left_bytes = outside_bytes.saturating_sub(wanted.other_bytes);
        let new_count = (left_bytes / self.unit_bytes()).saturating_mul(self.unit_count);
        let given_count = given_count.min(self.whole_unit_count);
        wanted.place_count.saturating_sub(new_count) + given_count * self.unit_count
    }

    /// Whether there is `wanted`, all of it at once.
    pub fn has(&self, wanted: Wanted) -> bool {
        let given_bytes = self.whole_unit_count * self.unit_bytes();
        let has_bytes = self.outside_bytes().saturating_add(given_bytes) >= wanted.other_bytes;
        has_bytes && self.ready_count >= self.places_for(wanted)
    }
}

/// What a database needs to make room, from which [`Reserve::left_by`] follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserve {
    /// Bytes of places that chunks have.
    pub used_bytes: u64,
    /// These chunks, and those that will be opened.
    pub used_count: u64,
    pub segment_bytes: u64,
    /// What images may take, until the sizes of two have followed that of the index.
    pub image_bytes: u64,
}

impl Reserve {
    /// What who asks with `need` leaves to those that come after: a place and a segment for each of
    /// them, and puts an image. A checkpoint that finds no room for one gives up the older one; who
    /// makes room must not wait for that. Places are whole, as less is no use; but a database of
    /// one chunk keeps none.
    pub fn left_by(&self, need: Need) -> Wanted {
        self.left_with_segments(need, 0)
    }

    /// The same, with so many segments more.
    fn left_with_segments(&self, need: Need, more_count: u64) -> Wanted {
        let others_count = self.used_count.saturating_sub(1);
        let (place_count, segment_count, image_bytes, share) = match need {
            Need::Move => (0, 0, 0, KEPT_SHARE_OF_OTHERS),
            Need::Delete => ((others_count / 2).min(1), 1, 0, KEPT_SHARE_OF_OTHERS),
            Need::Put => (others_count.min(2), 2, self.image_bytes, KEPT_SHARE_OF_PUTS),
        };
        let other_bytes = (segment_count + more_count) * self.segment_bytes + image_bytes;
        Wanted { place_count, other_bytes: other_bytes.min(self.used_bytes / share) }
    }

    /// The same, with a place for who asks: it is no use without a segment that says where it lies.
    /// A put may have one; who makes room may have come because there is none.
    pub fn with_place(&self, need: Need) -> Wanted {
        let kept = self.left_with_segments(need, u64::from(need != Need::Put));
        Wanted { place_count: kept.place_count + 1, ..kept }
    }

    /// The same, with a segment of `bytes` for who asks.
    pub fn with_segment(&self, need: Need, bytes: u64) -> Wanted {
        let kept = self.left_by(need);
        Wanted { other_bytes: kept.other_bytes.saturating_add(bytes), ..kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit of places was allocated for a move from the last bytes that there were, and neither a
    /// segment nor an image found room any more.
    #[test]
    fn who_makes_room_does_not_use_up_what_the_next_ones_need() {
        let (chunk_bytes, segment_bytes, image_bytes) = (8, 10, 5);
        let (used_bytes, used_count) = (chunk_bytes * 100, 100);
        let reserve = Reserve { used_bytes, used_count, segment_bytes, image_bytes };
        for unit_count in [1, 4] {
            let unit_bytes = unit_count * chunk_bytes;
            let room = |bytes| DiskRoom {
                free_bytes: bytes,
                ready_count: 0,
                whole_unit_count: 0,
                log_bytes: 0,
                unit_count,
                chunk_bytes,
            };
            let least = |wanted| (0..).map(room).find(|room| room.has(wanted)).unwrap();
            let with_segment = |need| least(reserve.with_segment(need, segment_bytes));
            let mut left = least(reserve.left_by(Need::Put));
            assert!(left.free_bytes >= with_segment(Need::Delete).free_bytes, "puts leave one");
            left = left.after(segment_bytes, 0).unwrap();
            // A deletion leaves a place and a segment to a move.
            let moved = left.after(unit_bytes, unit_count).unwrap();
            assert!(moved.has(reserve.with_place(Need::Move)), "{unit_count}: {moved:?}");
            assert!(moved.has(reserve.with_segment(Need::Move, segment_bytes)));
            let less = room(segment_bytes - 1);
            let gained = DiskRoom { ready_count: unit_count, ..less };
            assert!(!gained.has(reserve.with_place(Need::Move)), "the place would be no use");
        }
    }

    fn wanted(place_count: u64, other_bytes: u64) -> Wanted {
        Wanted { place_count, other_bytes }
    }

    #[test]
    fn what_is_less_than_a_unit_is_no_room_for_a_chunk() {
        let room = DiskRoom {
            free_bytes: 31,
            ready_count: 0,
            whole_unit_count: 0,
            log_bytes: 0,
            unit_count: 4,
            chunk_bytes: 8,
        };
        assert!(room.has(wanted(0, 31)) && !room.has(wanted(0, 32)) && !room.has(wanted(1, 0)));
        let room = DiskRoom { free_bytes: 32, ..room };
        assert!(room.has(wanted(4, 0)) && !room.has(wanted(5, 0)) && !room.has(wanted(1, 1)));
        let room = DiskRoom { log_bytes: 1, ..room };
        assert!(room.has(wanted(4, 1)));
        assert_eq!(room.after(32, 3).map(|room| room.ready_count), Some(3));
        assert_eq!(room.after(33, 3).map(|room| room.log_bytes), Some(0), "a segment goes");
        assert_eq!(room.after(34, 3), None);
        let segments = DiskRoom { free_bytes: 0, log_bytes: 33, ..room };
        assert!(segments.has(wanted(4, 1)) && !segments.has(wanted(4, 2)));
    }

    #[test]
    fn free_places_are_room_for_other_files_in_whole_units() {
        let room = DiskRoom {
            free_bytes: 0,
            ready_count: 7,
            whole_unit_count: 1,
            log_bytes: 0,
            unit_count: 4,
            chunk_bytes: 8,
        };
        assert!(room.has(wanted(3, 32)) && !room.has(wanted(4, 1)) && !room.has(wanted(0, 33)));
        assert_eq!(room.places_for(wanted(2, 1)), 6);
        assert_eq!(room.bytes(), 56);
        let scattered = DiskRoom { whole_unit_count: 0, ..room };
        assert!(scattered.has(wanted(7, 0)) && !scattered.has(wanted(0, 1)));
        assert_eq!(scattered.places_for(wanted(2, 1)), 2, "no more can be given");
    }
}
