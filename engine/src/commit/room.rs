//! [`DiskRoom`]: what there is for chunks and other files, and whether it is enough.

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

#[cfg(test)]
mod tests {
    use super::*;

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
