//! Room on the disk for what is staged, and for what makes room.
//!
//! A deletion is a record, moving records needs a chunk to move them to, each of these may need
//! one more segment of the log, and a checkpoint writes an image. So the last room is left to
//! those that make some, in this order: puts stop first, then deletions, then moves; a checkpoint
//! has what there is. Room is what the file system says to be free, and what is given back to it
//! on demand: free places of the data file that have space, and free segments of the log. A file
//! system need not know what a process may take (quotas), and others take from it at any time; so
//! of a large data file some free places are kept, whatever it says.
//!
//! A lack of room is no state: each attempt asks again. What was found last is only remembered to
//! have places given back.

use std::ops::Range;
use std::sync::atomic::Ordering;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::geometry::align_up_u64;
use uarr_uring::Storage;

use crate::catalog::marked;
use crate::commit::committer::Committer;
use crate::commit::room::{DiskRoom, Reserve, Wanted};
use crate::data::places::{KeptPlaces, Lack, Need};
use crate::error::{Error, ErrorKind, Result};
use crate::log::pool::Activity;
use crate::log::room::Demand;
use crate::sync::{Rank, holds, lock};

/// Free places that are worth keeping while records are written, or this part of those in use.
const SPARE_COUNT_MIN: u64 = 2;
const SPARE_SHARE: u64 = 32;

/// What is kept for index images, for an entry and besides: nearly three times the most for integer
/// keys, as two of the index as it is will follow those of a smaller one; one image of byte keys.
const IMAGE_ENTRY_BYTES: u64 = 32;
const IMAGE_BYTES_MIN: u64 = 128 << 10;

const ADDRESSES_USED_UP: &str = "the database has used up its addresses, or numbers of chunks; \
                                 `uarr repair` copies the records to a new database, which may \
                                 have larger chunks";

/// Who asks for room with `frames`.
pub(crate) fn need_of(frames: &[Frame<'_>]) -> Need {
    let need_of = |frame: &Frame<'_>| match frame.header.kind {
        _ if frame.opens_chunk() => Need::Move,
        // What drops a table gives back more than any deletion.
        _ if marked(frame.key).is_some() => Need::Delete,
        kind if kind == FrameKind::Delete as u8 => Need::Delete,
        _ => Need::Put,
    };
    frames.iter().map(need_of).max().unwrap_or(Need::Put)
}

/// Whether `done` has found no room.
pub(crate) fn is_lack<T>(done: &Result<T>) -> bool {
    done.as_ref().is_err_and(|error| error.kind() == ErrorKind::NoSpace)
}

impl<S: Storage> Committer<S> {
    /// Makes room that was found missing, if all of it is to be had: who is refused takes nothing.
    pub fn make_space(&self, frames: &[Frame<'_>], demand: Demand) -> Result<()> {
        let _space = lock(&self.space);
        let (new_count, ready_count) =
            self.with_places(|places, _| (places.new_count(frames), places.free.ready_count()));
        if new_count > 1 {
            self.check_room_for(new_count, demand, need_of(frames))?;
        }
        let made = self.make_space_for(frames, demand);
        // Others may have come first, or the file system says more than it has.
        while new_count > 1 && is_lack(&made) && self.give_places_back(ready_count) {}
        made
    }

    /// Refuses what opens `new_count` chunks if there is not enough for all of them, and for the
    /// segment that it may need.
    fn check_room_for(&self, new_count: u64, demand: Demand, need: Need) -> Result<()> {
        let has_segment = self.segments.have_room(demand);
        let segment_bytes = if has_segment { 0 } else { self.new_segment_bytes(demand) };
        let kept = self.reserve(new_count).left_by(need);
        let wanted = Wanted {
            place_count: kept.place_count + new_count,
            other_bytes: kept.other_bytes.saturating_add(segment_bytes),
        };
        if self.room().has(wanted) {
            return Ok(());
        }
        let chunk_bytes = new_count * self.records.chunk_bytes();
        let act = match has_segment {
            true => "take places of the data file",
            false => "take places of the data file and extend the log",
        };
        Err(self.too_little(act, chunk_bytes.saturating_add(segment_bytes), kept))
    }

    fn make_space_for(&self, frames: &[Frame<'_>], demand: Demand) -> Result<()> {
        let need = need_of(frames);
        loop {
            self.note_room();
            let lack = lock(&self.staging).places.lacking(frames, need);
            match lack {
                Lack::Nothing => break,
                Lack::Numbers => return Err(Error::new(ErrorKind::NoSpace, ADDRESSES_USED_UP)),
                Lack::Places(places) => self.allocate(places, need)?,
            }
        }
        if !self.segments.have_room(demand) {
            self.add_segment(demand, need)?;
            // Places that were free to take may be what is left for the next one.
            self.note_room();
        }
        Ok(())
    }

    /// Gives `places` space of their own, for who asks with `need`. The caller holds `space`.
    pub fn allocate(&self, places: Range<u64>, need: Need) -> Result<()> {
        assert!(holds(Rank::Space), "places are allocated one after the other");
        let bytes = self.records.space.missing_bytes(&places);
        let (room, reserve) = (self.room(), self.reserve(1));
        let gained_count = self.with_places(|staged, _| staged.free.gained_count(&places));
        if !room.after(bytes, gained_count).is_some_and(|room| room.has(reserve.with_place(need))) {
            return Err(self.too_little("extend the data file", bytes, reserve.left_by(need)));
        }
        self.with_way_made(|| self.records.allocate(places.clone()))?;
        lock(&self.staging).places.free.note_allocated(places);
        Ok(())
    }

    /// Notes which of the free `places` have space of their own, as far as the file system says.
    pub fn find_space(&self, places: Range<u64>) -> Result<()> {
        let _space = lock(&self.space);
        let unit_count = self.with_places(|places, _| places.free.unit_count());
        for place in places.clone().step_by(unit_count as usize).chain([places.end - 1]) {
            self.find_unit(place)?;
        }
        self.note_room();
        Ok(())
    }

    /// As [`Committer::find_space`], for all free places, when nothing is known of any.
    pub fn find_all_space(&self) -> Result<()> {
        let _space = lock(&self.space);
        let space = &self.records.space;
        let holes: Vec<_> = {
            let free = &mut lock(&self.staging).places.free;
            free.set_units(space.unit_count(), space.place_count());
            free.holes().collect()
        };
        holes.into_iter().try_for_each(|place| self.find_unit(place))?;
        self.note_room();
        Ok(())
    }

    /// Notes whether the unit that `place` lies in has space.
    fn find_unit(&self, place: u64) -> Result<()> {
        let unit = self.with_places(|places, _| {
            places.free.is_hole(place).then(|| places.free.units_around(place..place + 1))
        });
        let Some(unit) = unit.filter(|unit| self.records.space.missing_bytes(unit) == 0) else {
            return Ok(());
        };
        self.records.allocate(unit.clone())?;
        lock(&self.staging).places.free.note_allocated(unit);
        Ok(())
    }

    /// Length of a new segment, one of its own for a group that is too long for others: with room
    /// for the small groups that may be staged around it, as any of them may be the first to move
    /// on to it.
    fn new_segment_bytes(&self, demand: Demand) -> u64 {
        let regular_bytes = self.segments.room.regular_bytes();
        let bytes = match demand.bytes <= regular_bytes {
            true => regular_bytes,
            false => demand.bytes + self.staged_bytes_max + self.buffer_bytes as u64,
        };
        assert!(bytes >= regular_bytes);
        align_up_u64(bytes, self.identity.block_bytes as u64)
    }

    /// Makes one more segment ready. The caller holds `space`.
    fn add_segment(&self, demand: Demand, need: Need) -> Result<()> {
        assert!(holds(Rank::Space), "segments are made one after the other");
        let (bytes, reserve) = (self.new_segment_bytes(demand), self.reserve(0));
        if !self.room().has(reserve.with_segment(need, bytes)) {
            return Err(self.too_little("extend the log", bytes, reserve.left_by(need)));
        }
        let prepare = || {
            let prepared = self.segments.prepare(&*self.storage, bytes);
            prepared.map_err(|error| self.judge(Error::io("cannot prepare a log segment", error)))
        };
        let prepared = self.with_way_made(prepare);
        match is_lack(&prepared) && self.give_places_for(bytes, need) {
            true => prepare(),
            false => prepared,
        }
    }

    /// What can be had: of the file system, with what is given back to it on demand. If it does not
    /// say, an attempt shows it.
    fn room(&self) -> DiskRoom {
        let free_bytes = self.storage.free_bytes().unwrap_or(u64::MAX);
        let (ready_count, whole_unit_count, unit_count) = self.with_places(|places, _| {
            let free = &places.free;
            (free.ready_count(), free.whole_unit_count(), free.unit_count())
        });
        let (log_bytes, chunk_bytes) = (self.segments.free_bytes(), self.records.chunk_bytes());
        DiskRoom { free_bytes, ready_count, whole_unit_count, log_bytes, unit_count, chunk_bytes }
    }

    /// What is left to those that come after. `more_count` chunks will be opened.
    fn reserve(&self, more_count: u64) -> Reserve {
        let chunk_bytes = self.records.chunk_bytes();
        let used_bytes = self.taken_bytes().0;
        Reserve {
            used_bytes,
            used_count: used_bytes / chunk_bytes + more_count,
            segment_bytes: self.segments.room.regular_bytes(),
            image_bytes: self.image_bytes_max(),
        }
    }

    /// Refuses to `act`, for which `bytes` are taken, as too little would be left for those that
    /// make room.
    fn too_little(&self, act: &str, bytes: u64, kept: Wanted) -> Error {
        let room_bytes = self.room().bytes();
        let kept_bytes = kept.place_count * self.records.chunk_bytes() + kept.other_bytes;
        let kept_bytes = kept_bytes.min(room_bytes);
        Error::new(
            ErrorKind::NoSpace,
            format!(
                "cannot {act} by {bytes} bytes: {room_bytes} bytes are left, and {kept_bytes} of \
                 them are kept for deletions, checkpoints and compaction; delete records, drop \
                 iterators that are held, and compact, or give it more space"
            ),
        )
    }

    /// Whether `wanted` may be taken from the file system before records need it.
    pub fn has_room_ahead(&self, wanted: Wanted) -> bool {
        let (room, kept) = (self.room(), self.reserve(wanted.place_count).left_by(Need::Put));
        let bytes = wanted.place_count * room.chunk_bytes + wanted.other_bytes;
        let after = room.after(bytes, wanted.place_count).filter(|_| room.free_bytes >= bytes);
        after.is_some_and(|room| room.has(kept))
    }

    /// Notes how many free places have to be left to those that make room, as long as the file
    /// system has nothing for them.
    pub fn note_room(&self) {
        let (room, reserve) = (self.room(), self.reserve(0));
        let count = |need| room.places_for(reserve.left_by(need));
        let kept = KeptPlaces { by_puts: count(Need::Put), by_deletions: count(Need::Delete) };
        lock(&self.staging).places.kept = kept;
    }

    /// What the next index image may take.
    fn image_bytes_max(&self) -> u64 {
        self.records.tables.len() as u64 * IMAGE_ENTRY_BYTES + IMAGE_BYTES_MIN
    }

    /// Does `attempt`, and again if there was no room but free segments could be removed.
    fn with_way_made<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let done = attempt();
        let way_made = || self.segments.make_way(&*self.storage).unwrap_or(false);
        if is_lack(&done) && way_made() { attempt() } else { done }
    }

    /// As [`Committer::with_way_made`], for a checkpoint, without which no place becomes free: it
    /// may have the room of all but `kept_count` of those that are.
    pub fn with_places_given<T>(
        &self,
        kept_count: u64,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let mut done = self.with_way_made(&mut attempt);
        while is_lack(&done) && self.health.check().is_ok() {
            let space = lock(&self.space);
            let room = self.room();
            let count = self.image_bytes_max().div_ceil(room.unit_count * room.chunk_bytes);
            let given_count = (0..count).take_while(|_| self.give_places_back(kept_count)).count();
            drop(space);
            if given_count == 0 {
                break;
            }
            done = attempt();
        }
        done
    }

    /// Gives the space of a unit of free places back, of the last ones too. False: there is none.
    pub fn give_last_places(&self) -> bool {
        let _space = lock(&self.space);
        self.give_places_back(0)
    }

    /// Gives so many free places back to the file system that it has `bytes`, as far as `need` may
    /// take them. False: that is not enough. The caller holds `space`.
    fn give_places_for(&self, bytes: u64, need: Need) -> bool {
        let room = self.room();
        let lacking_bytes = bytes.saturating_sub(self.storage.free_bytes().unwrap_or(0));
        let count = lacking_bytes.div_ceil(room.unit_count * room.chunk_bytes);
        // What is kept in the file is room for a segment, too; but who moves needs a place.
        let kept_count = u64::from(need != Need::Move);
        let is_enough = room.whole_unit_count >= count
            && room.ready_count >= count * room.unit_count + kept_count;
        is_enough && (0..count).all(|_| self.give_places_back(kept_count))
    }

    /// Gives the space of a unit of free places back to the file system, if more than `kept_count`
    /// besides have any. False: none was given back. The caller holds `space`.
    fn give_places_back(&self, kept_count: u64) -> bool {
        assert!(holds(Rank::Space), "a place is allocated or given back, not both");
        // From now on no chunk is opened there.
        let places = lock(&self.staging).places.free.dig(kept_count);
        // After an error the file system may have taken all of it, or some, or nothing.
        places.is_some_and(|places| self.records.deallocate(places).is_ok())
    }

    /// Gives the space of free places back that are not worth keeping, if there are any.
    pub fn trim_places(&self, activity: Activity) -> bool {
        let _space = lock(&self.space);
        let kept_count = self.with_places(|places, _| {
            let ahead = self.records.space.room_ahead(places.frontier().taken_bytes);
            let ahead = ahead.div_ceil(self.records.chunk_bytes());
            let spare = match activity {
                Activity::InUse => SPARE_COUNT_MIN.max(places.used_count() / SPARE_SHARE),
                Activity::AtRest => 0,
                Activity::Closed => return 0,
            };
            places.kept_count(Need::Put) + ahead + spare
        });
        self.give_places_back(kept_count)
    }

    /// Whether the file system has enough for all that a database takes first when it is opened
    /// again, whatever of its own has been given back.
    pub fn has_room_outside(&self) -> bool {
        let (room, reserve) = (self.room(), self.reserve(1));
        let outside = DiskRoom { ready_count: 0, whole_unit_count: 0, log_bytes: 0, ..room };
        outside.has(reserve.with_place(Need::Put))
            && outside.has(reserve.with_segment(Need::Put, reserve.segment_bytes))
    }

    /// There was no room.
    pub fn note_lack(&self) {
        self.lacks_room.store(true, Ordering::Release);
    }

    /// Whether there was no room when some was last asked for, and none has come since.
    pub fn lacks_room(&self) -> bool {
        if self.lacks_room.load(Ordering::Acquire) {
            let (room, reserve) = (self.room(), self.reserve(1));
            let has_bytes = room.has(reserve.with_place(Need::Put))
                && room.has(reserve.with_segment(Need::Put, reserve.segment_bytes));
            // The address space has an end, too.
            let place_count = self.records.space.place_count();
            let has_place = self.with_places(|places, _| {
                places.free.left_count(place_count) > places.kept_count(Need::Put)
            });
            self.lacks_room.store(!has_bytes || !has_place, Ordering::Release);
        }
        self.lacks_room.load(Ordering::Acquire)
    }

    /// Whether kept checkpoints need so much of the log that two new images take less. The newest
    /// one has `image_bytes`; 0: there is none.
    pub fn keeps_much_log(&self, image_bytes: u64) -> bool {
        let next_bytes = if image_bytes > 0 { image_bytes } else { self.image_bytes_max() };
        self.segments.sealed_bytes() > 2 * next_bytes
    }

    /// Whether there was no room, and checkpoints would let go of segments: of two in a row the
    /// older one needs none but the active segment.
    pub fn lacks_segments(&self) -> bool {
        self.lacks_room() && self.segments.have_sealed()
    }
}
