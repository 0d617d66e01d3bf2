//! [`ReadOnlyRange`]: records in key order.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use uarr_uring::{Storage, System};

use crate::api::owned_record::OwnedRecord;
use crate::catalog::name_lost;
use crate::checkpoint::image_walk::EntryPlace;
use crate::data::key_index::Direction;
use crate::error::Result;
use crate::key_space::KeySpace;
use crate::read_only::merged::{Bounds, COUNT_MAX, WantedKey, within};
use crate::read_only::shared::SharedView;
use crate::read_only::view::View;

/// Records that were read, in the order of keys, damage in its places.
type Records = VecDeque<Result<OwnedRecord>>;

/// Records of a key range in key order, as of the moment when the database was opened to read.
/// `rev()` walks from the end. Of a table without order they come as they lie, and then those that
/// the log behind the image has changed.
///
/// It reads some hundred records at a time, in the order in which they lie. A damaged record is an
/// error in its place; a caller that goes on gets what comes behind it. Any other error is the last
/// item.
pub struct ReadOnlyRange<S: Storage = System> {
    shared: Arc<SharedView<S>>,
    space: KeySpace,
    /// Where a table without order goes on, as long as the image has more of it.
    unordered: Option<Option<EntryPlace>>,
    /// What neither end has read.
    rest: Option<Bounds>,
    /// What the ends have read, in the order of keys.
    front: Records,
    back: Records,
}

impl<S: Storage> fmt::Debug for ReadOnlyRange<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnlyRange").field("rest", &self.rest).finish_non_exhaustive()
    }
}

impl<S: Storage> ReadOnlyRange<S> {
    pub(crate) fn new(shared: Arc<SharedView<S>>, space: KeySpace, bounds: Bounds) -> Self {
        let rest = Some(within(space, bounds));
        let unordered = (!space.is_ordered()).then_some(None);
        Self { shared, space, unordered, rest, front: VecDeque::new(), back: VecDeque::new() }
    }

    /// Reads more from the end where `direction` begins, until there is some or no more.
    fn fill(&mut self, direction: Direction) {
        while self.rest.is_some() {
            match self.fill_step(direction) {
                Ok(records) => {
                    if !records.is_empty() {
                        *self.side(direction) = records;
                        return;
                    }
                }
                Err(error) => {
                    (self.unordered, self.rest) = (None, None);
                    self.front.clear();
                    self.back.clear();
                    return self.side(direction).push_back(Err(error));
                }
            }
        }
    }

    fn fill_step(&mut self, direction: Direction) -> Result<Records> {
        if direction == Direction::Backward {
            self.space.check_order("walks from the end")?;
        }
        if let Some(place) = self.unordered {
            let (records, behind) = self.read_unordered(place)?;
            self.unordered = behind.map(Some);
            return Ok(records);
        }
        let Some(rest) = self.rest.take() else { return Ok(Records::new()) };
        let (records, behind) = self.read(&rest, direction)?;
        self.rest = behind;
        Ok(records)
    }

    /// The next records of a table without order that the image has, and the place behind them.
    fn read_unordered(&self, place: Option<EntryPlace>) -> Result<(Records, Option<EntryPlace>)> {
        self.shared.read(|view| {
            let Some(step) = view.unordered_step(self.space.prefix, place, COUNT_MAX)? else {
                return Ok((Records::new(), None));
            };
            Ok((records_of(view, &step.wanted)?, Some(step.behind)))
        })
    }

    fn side(&mut self, direction: Direction) -> &mut Records {
        match direction {
            Direction::Forward => &mut self.front,
            Direction::Backward => &mut self.back,
        }
    }

    /// The next records of `rest`, and what is left of it.
    fn read(&self, rest: &Bounds, direction: Direction) -> Result<(Records, Option<Bounds>)> {
        self.shared.read(|view| {
            let step = view.step(self.space, rest, direction)?;
            let records = records_of(view, &step.wanted)?;
            let (low, high) = rest.clone();
            let behind = step.passed.map(|passed| match direction {
                Direction::Forward => (Bound::Excluded(passed), high),
                Direction::Backward => (low, Bound::Excluded(passed)),
            });
            Ok((records, behind))
        })
    }
}

/// The records of `wanted` that are there, damage in its places.
fn records_of<S: Storage>(view: &View<S>, wanted: &[WantedKey]) -> Result<Records> {
    let is_there = |record: &OwnedRecord| !view.clock.has_passed(record.expires_ms());
    let records = view.fetch(wanted)?.into_iter().zip(wanted);
    let records = records.filter_map(|(read, wanted)| match read {
        Ok(record) => record.filter(is_there).map(Ok),
        Err(error) => Some(Err(name_lost(&wanted.key, error))),
    });
    Ok(records.collect())
}

impl<S: Storage> Iterator for ReadOnlyRange<S> {
    type Item = Result<OwnedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.front.is_empty() {
            self.fill(Direction::Forward);
        }
        self.front.pop_front().or_else(|| self.back.pop_front())
    }
}

impl<S: Storage> DoubleEndedIterator for ReadOnlyRange<S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back.is_empty() {
            self.fill(Direction::Backward);
        }
        self.back.pop_back().or_else(|| self.front.pop_back())
    }
}

impl<S: Storage> std::iter::FusedIterator for ReadOnlyRange<S> {}
