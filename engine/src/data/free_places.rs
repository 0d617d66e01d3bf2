//! [`FreePlaces`]: places of the data file that no chunk has.
//!
//! Some have space of their own and can be taken at once. The others are holes of the file, or may
//! be: they are allocated first, as places behind the end of the file are.

use std::collections::BTreeSet;
use std::ops::Range;

/// Free places, with space and without.
#[derive(Debug, Default)]
pub(crate) struct FreePlaces {
    /// Have space of their own.
    ready: BTreeSet<u64>,
    /// Lie before `end`, and have none as far as is known.
    holes: BTreeSet<u64>,
    /// Behind the last place that a chunk has, or that the file was made long enough for.
    end: u64,
}

impl FreePlaces {
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

    /// The first of `count` places in a row that can be taken, none of `except`.
    pub fn find(&self, count: u64, except: &[u64]) -> Option<u64> {
        first_run(self.ready.iter().copied().filter(|place| !except.contains(place)), count)
    }

    /// The places that have to be allocated for `count` in a row, none of `except`, or for as many
    /// more single ones: lowest first, behind the end if need be. Some may have space already.
    pub fn lacking(&self, count: u64, except: &[u64]) -> Range<u64> {
        let free = match count {
            1 => self.holes.clone(),
            _ => &self.ready | &self.holes,
        };
        let free = free.into_iter().chain(self.end..self.end + count);
        let first = first_run(free.filter(|place| !except.contains(place)), count);
        let first = first.expect("there is no end to places behind the file");
        first..first + count
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

    /// The last place that can be taken, if there are more than `kept`, is a hole from now on.
    pub fn dig(&mut self, kept: u64) -> Option<u64> {
        if self.ready_count() <= kept {
            return None;
        }
        let place = self.ready.pop_last()?;
        assert!(self.holes.insert(place), "a place is free once");
        Some(place)
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
        assert_eq!([free.dig(2), free.dig(2)], [Some(3), None]);
        assert_eq!(free.holes().collect::<Vec<_>>(), [3]);
    }

    #[test]
    #[should_panic(expected = "has space before it has a chunk")]
    fn a_hole_is_not_taken() {
        with_taken(&[(1, 1)], 2).take(0..1);
    }
}
