//! The segments that are not active: which are ready, which are needed, which are free. Touches no
//! file.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use crate::log::segment::Segment;

/// Free segments beyond this many are removed.
pub(crate) const FREE_COUNT_MAX: usize = 8;
/// When the database rests, that many segments are kept besides those that hold the log.
const SPARE_COUNT_AT_REST: usize = 1;

/// What a database is doing, which decides how many segments and places are worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Its log grows, or may at any moment.
    InUse,
    /// It rests.
    AtRest,
    /// It is closed, and the file system has room for its next life.
    Closed,
}

impl Activity {
    /// Segments that are kept besides those that hold the log.
    fn spare_count(self) -> usize {
        match self {
            Self::InUse => FREE_COUNT_MAX,
            Self::AtRest => SPARE_COUNT_AT_REST,
            Self::Closed => 0,
        }
    }
}

/// Segments by what they are good for, and the next number.
pub(crate) struct Pool<F> {
    ready: VecDeque<Segment<F>>,
    sealed: Vec<u64>,
    /// Sealed or free ones that are not of regular size: not worth keeping.
    odd: BTreeSet<u64>,
    free: Vec<u64>,
    /// The segment that was taken last. All sealed ones come before it, all ready ones behind.
    active: u64,
    next_number: u64,
    regular_bytes: u64,
}

impl<F> Pool<F> {
    /// `present` are the numbers of all segment files, `needed` those that a kept checkpoint may
    /// read, `active` the one being written; others were prepared but never begun, or are not
    /// needed any more.
    pub fn new(
        present: &[u64],
        needed: RangeInclusive<u64>,
        active: u64,
        regular_bytes: u64,
    ) -> Self {
        let next_number = present.iter().copied().max().unwrap_or(0).max(active) + 1;
        let others = present.iter().copied().filter(|number| *number != active);
        let (sealed, free) = others.partition::<Vec<_>, _>(|number| needed.contains(number));
        assert!(regular_bytes > 0);
        assert!(sealed.iter().all(|number| *number < active), "the log goes on behind them");
        assert!(sealed.is_sorted());
        let (ready, odd) = (VecDeque::new(), BTreeSet::new());
        Self { ready, sealed, odd, free, active, next_number, regular_bytes }
    }

    /// A number for a segment. No other segment gets it, even if this one is never made: an attempt
    /// that failed may have left a file under it.
    //= WAL-1
    pub fn give_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        assert!(number > self.active);
        assert!(self.ready.iter().all(|segment| segment.number < number));
        number
    }

    /// How many segments are ready.
    pub fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// Sizes of the ready segments, in the order of their use.
    pub fn ready_bytes(&self) -> impl ExactSizeIterator<Item = u64> {
        self.ready.iter().map(|segment| segment.bytes)
    }

    /// Takes up a segment that has just got its number.
    pub fn add_ready(&mut self, segment: Segment<F>) {
        assert!(segment.bytes >= self.regular_bytes);
        assert!(segment.number > self.active);
        assert!(segment.number < self.next_number, "the number was given");
        assert!(self.ready.back().is_none_or(|last| last.number < segment.number));
        assert!(!self.free.contains(&segment.number), "no segment is ready and free");
        self.ready.push_back(segment);
    }

    /// Takes the next ready segment of at least `bytes`, which is the active one from now on.
    /// Smaller ones before it become free: numbers are used in order.
    pub fn take(&mut self, bytes: u64) -> Option<Segment<F>> {
        let index = self.ready.iter().position(|segment| segment.bytes >= bytes)?;
        for _ in 0..index {
            let skipped = self.ready.pop_front()?;
            self.release(skipped.number, skipped.bytes);
        }
        let taken = self.ready.pop_front()?;
        assert!(taken.number > self.active, "numbers are used in order");
        assert!(taken.bytes >= bytes);
        self.active = taken.number;
        Some(taken)
    }

    /// Remembers that segment `number`, which has `bytes`, is full: the next one was taken.
    pub fn seal(&mut self, number: u64, bytes: u64) {
        assert!(number < self.active, "the active segment is not sealed");
        assert!(self.sealed.last().is_none_or(|last| *last < number), "they are sealed in order");
        assert!(!self.free.contains(&number), "no segment is free before it was sealed");
        self.sealed.push(number);
        self.note_size(number, bytes);
    }

    fn release(&mut self, number: u64, bytes: u64) {
        assert!(number != self.active);
        assert!(!self.sealed.contains(&number), "a checkpoint may read it");
        assert!(!self.free.contains(&number), "a segment is released once");
        self.free.push(number);
        self.note_size(number, bytes);
    }

    fn note_size(&mut self, number: u64, bytes: u64) {
        if bytes != self.regular_bytes {
            self.odd.insert(number);
        }
    }

    /// Segments before `first_needed` are no longer needed.
    //= WAL-11
    pub fn release_before(&mut self, first_needed: u64) {
        let (kept, released): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sealed)
            .into_iter()
            .partition(|number| *number >= first_needed);
        assert!(released.iter().all(|number| *number < self.active), "it is being written");
        let is_free = |number: &u64| self.free.contains(number);
        assert!(!released.iter().any(is_free), "a segment is released once");
        self.sealed = kept;
        self.free.extend(released);
    }

    /// Frees the ready segments that are not worth keeping.
    pub fn release_ready(&mut self, activity: Activity) {
        while self.ready.len() > activity.spare_count()
            && let Some(segment) = self.ready.pop_back()
        {
            self.release(segment.number, segment.bytes);
        }
        assert!(self.ready.len() <= activity.spare_count());
    }

    /// Whether any segment is sealed.
    pub fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Bytes of the sealed segments, at the least.
    pub fn sealed_bytes(&self) -> u64 {
        self.sealed.len() as u64 * self.regular_bytes
    }

    /// Bytes of the free segments, at the least.
    pub fn free_bytes(&self) -> u64 {
        self.free.len() as u64 * self.regular_bytes
    }

    /// Whether any segment is free.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Takes a free segment, to be used again or removed.
    pub fn take_free(&mut self) -> Option<u64> {
        let number = self.free.pop()?;
        assert!(number != self.active);
        assert!(self.ready.iter().all(|segment| segment.number != number));
        self.odd.remove(&number);
        Some(number)
    }

    /// Takes all free segments, to be removed.
    pub fn take_all_free(&mut self) -> Vec<u64> {
        let free = std::mem::take(&mut self.free);
        for number in &free {
            assert!(*number != self.active);
            self.odd.remove(number);
        }
        free
    }

    /// Takes a free segment that is not worth keeping, if there is one: of odd size, or beyond what
    /// is kept.
    pub fn take_surplus(&mut self, activity: Activity) -> Option<u64> {
        let count_max = match activity {
            Activity::InUse => activity.spare_count(),
            _ => activity.spare_count().saturating_sub(self.ready.len()),
        };
        if let Some(index) = self.free.iter().position(|number| self.odd.contains(number)) {
            let number = self.free.swap_remove(index);
            assert!(number != self.active);
            self.odd.remove(&number);
            return Some(number);
        }
        if self.free.len() > count_max { self.take_free() } else { None }
    }
}
