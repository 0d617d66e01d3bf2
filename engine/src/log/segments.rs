//! Log segments as files: preparation ahead of use, recycling.
//!
//! Life of a segment:
//! 1. *ready*: allocated, written with zeros or recycled, durable under the number it will have.
//!    Zeros are needed: a write to blocks that are only allocated is durable no earlier than the
//!    file system's journal, which a file system that shuts down may lose although it said that the
//!    write was durable;
//! 2. *active*: the log appends to it; 3. *sealed*: full, needed by a kept checkpoint;
//! 4. *free*: no longer needed; it becomes ready again under a new number, or is removed when the
//!    pool is full.
//!
//! Room is there before a group is staged ([`crate::log::room`]). A group that is longer than a
//! regular segment gets one of its own, which is removed when it is released.
//!
//! Numbers rise and are never used twice, so nothing left in a recycled file is ever taken for new:
//! segment and group headers carry the number they were written under.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::error::attempted;
use crate::files::{WAL_DIR, segment_path};
use crate::log::pool::{Activity, Pool};
use crate::log::room::{Demand, Room};
use crate::log::segment::Segment;
use crate::log::zeros::{
    HURRIED_STEP_BYTES, STEP_BYTES, Unfinished, advance, begin, falls_behind, give_up,
    remove_unfinished,
};
use crate::sync::{Rank, Ranked, RankedGuard, holds, holds_only, lock};

/// The segments that are not active, and what others than the leader may know of the one that is.
pub(crate) struct Segments<F> {
    pub room: Room,
    pool: Ranked<Pool<F>>,
    unfinished: Ranked<Option<Unfinished<F>>>,
}

impl<F: StorageFile> Segments<F> {
    /// `present` are the numbers of all segment files, `needed` those that a kept checkpoint may
    /// read, `active` the one being written; others were prepared but never begun, or are not
    /// needed any more.
    pub fn new(
        present: &[u64],
        needed: RangeInclusive<u64>,
        active: u64,
        regular_bytes: u64,
    ) -> Self {
        let pool = Pool::new(present, needed, active, regular_bytes);
        let room = Room::new(regular_bytes);
        let pool = Ranked::new(Rank::Leaf, pool);
        Self { room, pool, unfinished: Ranked::new(Rank::Segment, None) }
    }

    /// Notes that a group of `bytes` was written, which leaves `active_bytes` in the active
    /// segment.
    pub fn note_submitted(&self, bytes: u64, active_bytes: u64) {
        let _pool = self.pool();
        assert!(active_bytes + bytes <= self.room.active_bytes(), "it was written where room was");
        self.room.note_active_bytes(active_bytes);
        self.room.note_unstaged(bytes);
    }

    /// Whether `demand`, behind all that is staged, is sure to find room. The caller holds the
    /// staging area, or the lock under which segments are made.
    pub fn have_room(&self, demand: Demand) -> bool {
        // Only under the lock is it certain that there is no room, and a writer that hears so makes
        // a whole segment.
        self.room.surely_holds(demand) || {
            let pool = self.pool();
            self.room.holds(demand, pool.ready_bytes())
        }
    }

    /// Takes the next ready segment of at least `bytes`, which is the active one from now on.
    /// Smaller ones before it become free: numbers are used in order.
    pub fn take(&self, bytes: u64) -> Option<Segment<F>> {
        let mut pool = self.pool();
        let taken = pool.take(bytes)?;
        assert!(taken.bytes >= bytes);
        self.room.note_active_bytes(taken.bytes);
        self.room.note_ready_count(pool.ready_count());
        Some(taken)
    }

    /// Remembers that segment `number`, which has `bytes`, is full.
    pub fn seal(&self, number: u64, bytes: u64) {
        self.pool().seal(number, bytes);
    }

    /// Segments before `first_needed` are no longer needed.
    pub fn release_before(&self, first_needed: u64) {
        self.pool().release_before(first_needed);
    }

    /// Makes one more segment ready at once, with room for `bytes` at least, and finishes the one
    /// that was being made, without a rest between the zeros: the caller waits. One caller at a
    /// time.
    pub fn prepare<S: Storage<File = F>>(&self, storage: &S, bytes: u64) -> io::Result<()> {
        let regular_bytes = self.room.regular_bytes();
        let mut unfinished = lock(&self.unfinished);
        if unfinished.is_some() {
            while self.advance(storage, &mut unfinished, HURRIED_STEP_BYTES)? > 0 {}
            assert!(unfinished.is_none(), "a whole segment is ready");
            if bytes <= regular_bytes {
                return Ok(());
            }
        }
        if bytes <= regular_bytes && self.recycle(storage)? {
            return Ok(());
        }
        assert!(unfinished.is_none(), "one segment is made at a time");
        *unfinished = Some(begin(storage, bytes.max(regular_bytes))?);
        while self.advance(storage, &mut unfinished, HURRIED_STEP_BYTES)? > 0 {}
        assert!(
            unfinished.is_none(),
            "a long segment is not left to others, who make regular ones"
        );
        Ok(())
    }

    /// Does a step of the work of making a segment of regular size ready. One caller at a time.
    /// Returns how many bytes are still to be written. Steps are large when that is far more than
    /// the `in_time` bytes that the log may take until then.
    pub fn prepare_step<S: Storage<File = F>>(&self, storage: &S, in_time: u64) -> io::Result<u64> {
        let mut unfinished = lock(&self.unfinished);
        if let Some(segment) = &*unfinished {
            assert_eq!(segment.bytes, self.room.regular_bytes(), "longer ones are made at once");
            let is_behind = falls_behind(segment.bytes - segment.written, in_time);
            let step_bytes = if is_behind { HURRIED_STEP_BYTES } else { STEP_BYTES };
            return self.advance(storage, &mut unfinished, step_bytes);
        }
        if !self.recycle(storage)? {
            *unfinished = Some(begin(storage, self.room.regular_bytes())?);
        }
        Ok(unfinished.as_ref().map_or(0, |segment| segment.bytes))
    }

    /// Goes on with the segment that is being made, and gives it its number when it is whole.
    /// Returns how many bytes are still to be written.
    fn advance<S: Storage<File = F>>(
        &self,
        storage: &S,
        unfinished: &mut Option<Unfinished<F>>,
        step_bytes: u64,
    ) -> io::Result<u64> {
        let Some(segment) = unfinished else { return Ok(0) };
        let mut number = 0;
        let give_number = || {
            number = self.pool().give_number();
            number
        };
        match advance(storage, segment, give_number, step_bytes) {
            Ok(0) => {
                assert!(number > 0, "a whole segment got its number");
                if let Some(bytes) = unfinished.take().map(|segment| segment.bytes) {
                    self.add_ready(storage, number, bytes)?;
                }
                Ok(0)
            }
            Ok(left) => {
                assert_eq!(number, 0, "a segment has no number before it is whole");
                Ok(left)
            }
            Err(error) => {
                *unfinished = None;
                give_up(storage, error)
            }
        }
    }

    /// Takes up a segment that has just got its number, opened under its final name, so that errors
    /// show that name.
    fn add_ready<S: Storage<File = F>>(
        &self,
        storage: &S,
        number: u64,
        bytes: u64,
    ) -> io::Result<()> {
        let file = Arc::new(storage.open(&segment_path(number), OpenMode::Direct)?);
        let mut pool = self.pool();
        pool.add_ready(Segment { number, file, bytes });
        self.room.note_ready_count(pool.ready_count());
        Ok(())
    }

    /// Makes a free segment of regular size ready under a new number, if there is one. Others are
    /// removed.
    fn recycle<S: Storage<File = F>>(&self, storage: &S) -> io::Result<bool> {
        loop {
            let (free, number) = {
                let mut pool = self.pool();
                let Some(free) = pool.take_free() else { return Ok(false) };
                (free, pool.give_number())
            };
            assert!(free < number, "numbers are never used twice");
            let file = storage.open(&segment_path(free), OpenMode::Direct)?;
            let bytes = file.len()?;
            // Copies may have holes, or share their space.
            if bytes == self.room.regular_bytes() && file.whole_end(0)? == bytes {
                storage.rename(&segment_path(free), &segment_path(number))?;
                storage.make_dir_durable(WAL_DIR).map_err(attempted)?;
                self.add_ready(storage, number, bytes)?;
                return Ok(true);
            }
            storage.remove(&segment_path(free))?;
        }
    }

    /// Removes one free segment that the pool does not want to keep, if there is one: of odd size,
    /// or beyond what is kept. Returns whether it did.
    pub fn trim<S: Storage>(&self, storage: &S, activity: Activity) -> io::Result<bool> {
        assert!(
            holds_only(&[Rank::Mover, Rank::Root, Rank::Space]),
            "no writer waits for the file system"
        );
        let surplus = self.pool().take_surplus(activity);
        let Some(number) = surplus else { return Ok(false) };
        storage.remove(&segment_path(number)).map(|()| true)
    }

    /// Frees the ready segments that are not worth keeping. The caller holds the staging area,
    /// where nothing is staged.
    pub fn release_ready(&self, activity: Activity) {
        assert!(holds(Rank::Staging), "nothing is staged meanwhile that needs them");
        let mut pool = self.pool();
        if self.room.is_at_rest() {
            pool.release_ready(activity);
            self.room.note_ready_count(pool.ready_count());
        }
    }

    /// Bytes of the segments that a kept checkpoint may read, besides the active one, at the least.
    pub fn sealed_bytes(&self) -> u64 {
        self.pool().sealed_bytes()
    }

    /// Bytes of the segments that are free.
    pub fn free_bytes(&self) -> u64 {
        self.pool().free_bytes()
    }

    /// Whether there are segments that a kept checkpoint may read, besides the active one.
    pub fn have_sealed(&self) -> bool {
        self.pool().has_sealed()
    }

    /// Whether the next step of work needs no more room than there is: a segment is being made, or
    /// one is free.
    pub fn have_started(&self) -> bool {
        lock(&self.unfinished).is_some() || self.pool().has_free()
    }

    /// Removes what is not needed at once, for a file that finds no room. Returns whether there was
    /// anything.
    pub fn make_way<S: Storage>(&self, storage: &S) -> io::Result<bool> {
        let free = self.pool().take_all_free();
        let is_unfinished = lock(&self.unfinished).is_some();
        self.abandon_unfinished(storage)?;
        for number in &free {
            storage.remove(&segment_path(*number))?;
        }
        Ok(is_unfinished || !free.is_empty())
    }

    /// Gives up the segment that is being made.
    pub fn abandon_unfinished<S: Storage>(&self, storage: &S) -> io::Result<()> {
        match lock(&self.unfinished).take() {
            Some(_) => remove_unfinished(storage),
            None => Ok(()),
        }
    }

    fn pool(&self) -> RankedGuard<'_, Pool<F>> {
        let pool = lock(&self.pool);
        let known = self.room.ready_count();
        assert_eq!(pool.ready_count(), known, "what is known without the lock is true under it");
        pool
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::Ordering;

    use uarr_uring::AlignedBuffer;

    use super::*;
    use crate::log::pool::FREE_COUNT_MAX;
    use crate::log::zeros::create;

    /// What `act` does, by a thread that holds the staging area.
    fn staging<T>(act: impl FnOnce() -> T) -> T {
        let staging = Ranked::new(Rank::Staging, ());
        let _staging = lock(&staging);
        act()
    }

    //= test WAL-2
    #[test]
    fn a_segment_that_is_needed_at_once_is_whole_and_reads_as_zeros() {
        const BYTES: u64 = 8 * STEP_BYTES;
        let storage = uarr_disk_sim::Memory::new();
        storage.create_dir(WAL_DIR).unwrap();
        create(&storage, 1, BYTES).unwrap();
        let segments = Segments::new(&[1], 1..=1, 1, BYTES);
        // Begun, one step of zeros written, then needed.
        assert_eq!(segments.prepare_step(&storage, BYTES).unwrap(), BYTES);
        assert_eq!(segments.prepare_step(&storage, BYTES).unwrap(), BYTES - STEP_BYTES);
        assert_eq!(segments.room.ready_count(), 0);
        segments.prepare(&storage, 0).unwrap();
        // Larger than regular, and nothing of it was begun.
        segments.prepare(&storage, 2 * BYTES).unwrap();
        for (number, bytes) in [(2, BYTES), (3, 2 * BYTES)] {
            let segment = segments.take(bytes).unwrap();
            assert_eq!((segment.number, segment.bytes), (number, bytes));
            let mut content = AlignedBuffer::new(2 * BYTES as usize);
            content.fill(0xff);
            assert_eq!(segment.file.read_at(&mut content, 0).unwrap() as u64, bytes);
            assert!(content[..bytes as usize].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn there_is_room_at_any_moment_when_one_segment_follows_the_other() {
        const BYTES: u64 = 2 * STEP_BYTES;
        let storage = uarr_disk_sim::Memory::new();
        storage.create_dir(WAL_DIR).unwrap();
        create(&storage, 1, BYTES).unwrap();
        let segments = Segments::new(&[1], 1..=1, 1, BYTES);
        segments.room.note_active_bytes(BYTES);
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looker = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(segments.have_room(Demand { bytes: BYTES, is_large: false }));
                }
            });
            let mut active = 1;
            for _ in 0..3000 {
                segments.prepare(&storage, 0).unwrap();
                // The active one is full but for a little, and the next takes its place.
                segments.room.note_active_bytes(BYTES / 2);
                let next = segments.take(BYTES).unwrap().number;
                segments.seal(active, BYTES);
                segments.release_before(next);
                active = next;
            }
            is_over.store(true, Ordering::Relaxed);
            looker.join().unwrap();
        });
    }

    /// If the count of room admits a group, the log finds a segment for it and for each before it.
    #[test]
    fn what_finds_room_can_be_placed() {
        const BLOCK: u64 = 4096;
        const REGULAR: u64 = 64 * BLOCK;
        const POOLED: u64 = REGULAR / 8;
        let storage = uarr_disk_sim::Memory::new();
        storage.create_dir(WAL_DIR).unwrap();
        let segments = Segments::new(&[], 1..=1, 1, REGULAR);
        let mut random = 1_u64;
        let mut below = |count: u64| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (random >> 33) % count
        };
        segments.prepare(&storage, 0).unwrap();
        let first = segments.take(0).unwrap();
        let (mut staged, mut active) = (VecDeque::new(), (first.number, first.bytes, 0));
        let mut ready_count_max = 0;
        for _ in 0..20_000 {
            // Staged: small groups, as many as there are buffers, large ones up to four segments.
            let is_large = below(3) == 0;
            let block_count_max = if below(2) == 0 { 56 } else { 248 };
            let blocks = if is_large { 9 + below(block_count_max) } else { 2 + below(7) };
            let bytes = blocks * BLOCK;
            let small_count = staged.iter().filter(|(_, is_large)| !is_large).count();
            let may = match is_large {
                true => staging(|| segments.room.admits_large(bytes, REGULAR)),
                false => small_count < 8,
            };
            if may {
                let demand = Demand { bytes, is_large };
                for attempt in 0.. {
                    if segments.have_room(demand) {
                        break;
                    }
                    assert!(attempt < 4);
                    let own = if bytes > REGULAR { bytes + REGULAR + POOLED } else { 0 };
                    segments.prepare(&storage, own).unwrap();
                }
                if is_large {
                    staging(|| segments.room.note_large(bytes));
                }
                staging(|| segments.room.note_staged(bytes - BLOCK));
                staged.push_back((bytes, is_large));
            }
            ready_count_max = ready_count_max.max(segments.room.ready_count());
            if !may || below(3) > 0 {
                // The leader takes the oldest.
                let Some((bytes, is_large)) = staged.pop_front() else { continue };
                let body = bytes - BLOCK;
                let (mut number, mut size, mut offset) = active;
                if offset + if offset == 0 { bytes } else { body } > size {
                    let next = segments.take(bytes).expect("there was room for it");
                    segments.seal(number, size);
                    (number, size, offset) = (next.number, next.bytes, 0);
                    segments.release_before(number);
                }
                offset += if offset == 0 { bytes } else { body };
                segments.note_submitted(body, size - offset);
                active = (number, size, offset);
                if is_large {
                    staging(|| segments.room.note_large_settled(bytes));
                }
            }
            while segments.trim(&storage, Activity::InUse).unwrap() {}
        }
        assert!(ready_count_max <= 4, "{ready_count_max} ready");
        assert!(storage.list(WAL_DIR).unwrap().len() <= 5 + FREE_COUNT_MAX);
    }

    #[test]
    fn at_rest_little_is_kept_and_nothing_of_odd_size() {
        const BYTES: u64 = 2 * STEP_BYTES;
        let storage = uarr_disk_sim::Memory::new();
        storage.create_dir(WAL_DIR).unwrap();
        let segments = Segments::new(&[], 1..=1, 1, BYTES);
        for bytes in [0, 0, 4 * BYTES, 0, 0] {
            segments.prepare(&storage, bytes).unwrap();
        }
        segments.take(4 * BYTES).unwrap();
        segments.take(0).unwrap();
        segments.seal(4, 4 * BYTES);
        segments.release_before(5);
        // The one of odd size is not worth keeping at any time.
        assert!(segments.trim(&storage, Activity::InUse).unwrap());
        assert!(!segments.trim(&storage, Activity::InUse).unwrap());
        assert_eq!(storage.list(WAL_DIR).unwrap().len(), 4);
        segments.prepare(&storage, 0).unwrap();
        staging(|| segments.room.note_staged(BYTES));
        staging(|| segments.release_ready(Activity::AtRest));
        assert_eq!(segments.room.ready_count(), 2, "what is staged may need them");
        segments.room.note_unstaged(BYTES);
        staging(|| segments.release_ready(Activity::AtRest));
        while segments.trim(&storage, Activity::AtRest).unwrap() {}
        assert_eq!((segments.room.ready_count(), storage.list(WAL_DIR).unwrap().len()), (1, 2));
    }

    #[test]
    fn errors_name_a_segment_as_it_is_called_now() {
        const BYTES: u64 = 2 * STEP_BYTES;
        let storage = uarr_disk_sim::Memory::new();
        storage.create_dir(WAL_DIR).unwrap();
        create(&storage, 1, BYTES).unwrap();
        let segments = Segments::new(&[1], 1..=1, 1, BYTES);
        // One that is new, and one used again.
        for number in [2, 3] {
            segments.prepare(&storage, 0).unwrap();
            let segment = segments.take(0).unwrap();
            assert_eq!(segment.number, number);
            storage.fail_next(uarr_disk_sim::FaultKind::Write, 1);
            let error = segment.file.write_at(&AlignedBuffer::new(4096), 0).unwrap_err();
            assert!(error.to_string().contains(&segment_path(number)), "{error}");
            segments.seal(number - 1, BYTES);
            segments.release_before(number);
        }
        assert_eq!(storage.list(WAL_DIR).unwrap().len(), 2);
    }
}
