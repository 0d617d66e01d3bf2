//! [`FreePlaces`]: places of the data file that no chunk has.
//!
//! Some have space of their own and can be taken at once. The others are holes of the file, or may
//! be: they are allocated first, as places behind the end of the file are. The file system gives
//! and takes space in *units*, of several places if chunks are small: so a unit is allocated as a
//! whole, and given back when all of it is free.

use std::collections::BTreeSet;
use std::ops::Range;

/// Free places, with space and without.
#[derive(Debug)]
pub(crate) struct FreePlaces {
    /// Have space of their own.
    ready: BTreeSet<u64>,
    /// Lie before `end`, and have none as far as is known.
    holes: BTreeSet<u64>,
    /// Behind the last place that a chunk has, or that the file was made long enough for.
    end: u64,
    /// How many places are a unit, and how many the file may have.
    unit_count: u64,
    end_max: u64,
}

impl Default for FreePlaces {
    fn default() -> Self {
        let (ready, holes) = (BTreeSet::new(), BTreeSet::new());
        Self { ready, holes, end: 0, unit_count: 1, end_max: u64::MAX }
    }
}

impl FreePlaces {
    /// Space comes in units of so many places, and the file has at most `end_max`.
    pub fn set_units(&mut self, unit_count: u64, end_max: u64) {
        assert!(unit_count.is_power_of_two() && end_max >= self.end);
        (self.unit_count, self.end_max) = (unit_count, end_max);
    }

    /// How many places are a unit.
    pub fn unit_count(&self) -> u64 {
        self.unit_count
    }

    /// The whole units that `places` lie in.
    pub fn units_around(&self, places: Range<u64>) -> Range<u64> {
        let start = places.start / self.unit_count * self.unit_count;
        // Beyond the address space an error says so.
        let end = places.end.next_multiple_of(self.unit_count).min(self.end_max);
        start..end.max(places.end)
    }

    /// How many of `places` can be taken when all have space, and could not before.
    pub fn gained_count(&self, places: &Range<u64>) -> u64 {
        let holes = self.holes.range(places.clone()).count() as u64;
        holes + places.end.saturating_sub(places.start.max(self.end))
    }

    /// Whether `place` is free, and has no space as far as is known.
    pub fn is_hole(&self, place: u64) -> bool {
        self.holes.contains(&place)
    }

    /// How many units are free as a whole, and have space.
    pub fn whole_unit_count(&self) -> u64 {
        let starts = self.ready.iter().filter(|place| place.is_multiple_of(self.unit_count));
        starts.filter(|start| self.is_whole(**start)).count() as u64
    }

    fn is_whole(&self, start: u64) -> bool {
        let end = (start + self.unit_count).min(self.end);
        self.ready.range(start..end).count() as u64 == end - start
    }

    /// The places before `end`, and before the last of `taken`, that none of these is, each the
    /// first of so many. None is known to have space.
    pub fn between<'t>(taken: impl Iterator<Item = (&'t u64, &'t u64)>, end: u64) -> Self {
        let mut free = Self::default();
        for (place, count) in taken {
            assert!(*place >= free.end, "places are taken once, and in order");
            free.holes.extend(free.end..*place);
            free.end = place + count;
        }
        free.holes.extend(free.end..end);
        free.end = free.end.max(end);
        free
    }

    /// Behind the last place that is known.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many can be taken at once.
    pub fn ready_count(&self) -> u64 {
        self.ready.len() as u64
    }

    /// How many are holes, or may be.
    pub fn hole_count(&self) -> u64 {
        self.holes.len() as u64
    }

    /// How many there are in a file of at most `place_count` places, as long as it may become.
    pub fn left_count(&self, place_count: u64) -> u64 {
        self.ready_count() + self.hole_count() + place_count.saturating_sub(self.end)
    }

    /// All before the end.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.ready.iter().chain(&self.holes).copied()
    }

    /// Holes, lowest first.
    pub fn holes(&self) -> impl Iterator<Item = u64> {
        self.holes.iter().copied()
    }

    /// The first of `count` places in a row that can be taken, none of `except`. A single one does
    /// not break a whole unit, which other files may need, while there is one outside of these.
    pub fn find(&self, count: u64, except: &[u64]) -> Option<u64> {
        let ready = || self.ready.iter().copied().filter(|place| !except.contains(place));
        let is_part = |place: &u64| {
            let start = place / self.unit_count * self.unit_count;
            let has_exception =
                || except.iter().any(|p| (start..start + self.unit_count).contains(p));
            has_exception() || !self.is_whole(start)
        };
        let part = (count == 1 && self.unit_count > 1).then(|| ready().find(is_part)).flatten();
        part.or_else(|| first_run(ready(), count))
    }

    /// The places that have to be allocated for `count` in a row, none of `except`, or for as many
    /// more single ones, in whole units: lowest first, behind the end if need be. Some may have
    /// space already, or a chunk.
    pub fn lacking(&self, count: u64, except: &[u64]) -> Range<u64> {
        let free = match count {
            1 => self.holes.clone(),
            _ => &self.ready | &self.holes,
        };
        let free = free.into_iter().chain(self.end..self.end + count);
        let first = first_run(free.filter(|place| !except.contains(place)), count);
        let first = first.expect("there is no end to places behind the file");
        self.units_around(first..first + count)
    }

    /// Takes `places`, which can be taken.
    pub fn take(&mut self, mut places: Range<u64>) {
        let are_ready = places.all(|place| self.ready.remove(&place));
        assert!(are_ready, "a place has space before it has a chunk");
    }

    /// `places`, which were taken, are free.
    pub fn give(&mut self, places: Range<u64>, has_space: bool) {
        assert!(places.end <= self.end, "they were there");
        for place in places {
            assert!(!self.ready.contains(&place), "a place is free once");
            let is_new =
                if has_space { self.ready.insert(place) } else { self.holes.insert(place) };
            assert!(is_new, "a place is free once");
        }
    }

    /// `places` have space now. Those that were taken meanwhile stay so.
    pub fn note_allocated(&mut self, places: Range<u64>) {
        for place in places {
            let is_new = place >= self.end;
            if is_new {
                self.holes.extend(self.end..place);
                self.end = place + 1;
            }
            if self.holes.remove(&place) || is_new {
                self.ready.insert(place);
            }
        }
    }

    /// The last unit that is free as a whole, if more than `kept` places can be taken besides, is a
    /// hole from now on.
    pub fn dig(&mut self, kept: u64) -> Option<Range<u64>> {
        let mut starts = self.ready.iter().rev().filter(|p| p.is_multiple_of(self.unit_count));
        let start = *starts.find(|start| self.is_whole(**start))?;
        let unit = start..(start + self.unit_count).min(self.end);
        if self.ready_count() < kept + (unit.end - unit.start) {
            return None;
        }
        for place in unit.clone() {
            assert!(self.ready.remove(&place) && self.holes.insert(place), "a place is free once");
        }
        Some(unit)
    }
}

/// The first of `count` numbers in a row.
fn first_run(numbers: impl Iterator<Item = u64>, count: u64) -> Option<u64> {
    let mut run = 0..0;
    for number in numbers {
        run = if number == run.end { run.start..number + 1 } else { number..number + 1 };
        if run.end - run.start == count {
            return Some(run.start);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_taken(taken: &[(u64, u64)], end: u64) -> FreePlaces {
        FreePlaces::between(taken.iter().map(|(place, count)| (place, count)), end)
    }

    #[test]
    fn what_no_chunk_has_is_free_and_may_be_a_hole() {
        let free = with_taken(&[(1, 1), (4, 2)], 8);
        assert_eq!(free.iter().collect::<Vec<_>>(), [0, 2, 3, 6, 7]);
        assert_eq!((free.ready_count(), free.hole_count(), free.end()), (0, 5, 8));
        assert_eq!(with_taken(&[(1, 1), (4, 2)], 3).end(), 6, "the file is shorter");
        assert_eq!(free.find(1, &[]), None);
    }

    #[test]
    fn the_first_run_that_fits_is_taken() {
        let mut free = with_taken(&[(1, 1), (4, 2)], 8);
        free.note_allocated(2..4);
        assert_eq!(free.find(1, &[]), Some(2));
        assert_eq!(free.find(1, &[2]), Some(3));
        assert_eq!(free.find(2, &[]), Some(2));
        assert_eq!(free.find(2, &[3]), None);
        free.take(2..4);
        assert_eq!((free.ready_count(), free.hole_count()), (0, 3));
        free.give(2..3, true);
        free.give(3..4, false);
        assert_eq!((free.find(2, &[]), free.lacking(2, &[])), (None, 2..4));
        assert_eq!(free.lacking(1, &[]), 0..1, "one more, whichever");
        assert_eq!(free.lacking(3, &[]), 6..9, "the file has to be longer");
        assert_eq!(free.lacking(1, &[0, 3, 6, 7]), 8..9);
    }

    #[test]
    fn places_behind_the_end_become_free_when_they_have_space() {
        let mut free = with_taken(&[(0, 1)], 1);
        free.note_allocated(2..4);
        assert_eq!((free.ready_count(), free.hole_count(), free.end()), (2, 1, 4));
        free.note_allocated(0..4);
        assert_eq!(free.find(4, &[]), None, "the first has a chunk");
        assert_eq!(free.find(3, &[]), Some(1));
        assert_eq!([free.dig(2), free.dig(2)], [Some(3..4), None]);
        assert_eq!(free.holes().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn space_comes_and_goes_in_units() {
        let mut free = with_taken(&[(1, 1), (9, 1)], 10);
        free.set_units(4, 18);
        assert_eq!(free.lacking(1, &[]), 0..4, "a hole in the first unit");
        free.note_allocated(0..4);
        assert_eq!((free.ready_count(), free.whole_unit_count()), (3, 0));
        assert_eq!(free.lacking(1, &[]), 4..8);
        free.note_allocated(4..12);
        assert_eq!((free.ready_count(), free.whole_unit_count(), free.end()), (10, 1, 12));
        assert_eq!(free.lacking(8, &[]), 8..18, "the file may have no more");
        assert_eq!(free.dig(7), None);
        assert_eq!(free.dig(6), Some(4..8));
        assert_eq!((free.ready_count(), free.hole_count()), (6, 4));
        assert_eq!(free.dig(0), None, "a chunk has one of each");
    }

    #[test]
    fn a_single_chunk_leaves_whole_units_whole() {
        let mut free = with_taken(&[(9, 1)], 12);
        free.set_units(4, 12);
        free.note_allocated(0..12);
        assert_eq!([free.find(1, &[]), free.find(1, &[8])], [Some(8), Some(10)]);
        assert_eq!(free.find(1, &[8, 10, 11]), Some(0), "there is no other");
        assert_eq!(free.find(1, &[8, 10, 11, 0]), Some(1), "that one is broken already");
        assert_eq!(free.find(2, &[]), Some(0));
    }

    #[test]
    #[should_panic(expected = "has space before it has a chunk")]
    fn a_hole_is_not_taken() {
        with_taken(&[(1, 1)], 2).take(0..1);
    }
}
