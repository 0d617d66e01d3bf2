//! Changes to a leaf in place: insert, replace, remove. Writer only.
//!
//! An insert takes, in this order: a free slot at the edge (append, prepend), spare copies of a
//! neighbour next to its place, or the nearest spare copy after moving the entries between. Cost is
//! the search plus the slots written; a move never leaves the leaf, so it is bounded by its slots.

use std::sync::atomic::Ordering::Relaxed;

use super::fit::Growth;
use super::leaf::Leaf;
use crate::sync::bump;

/// Inserts after which the moved entries per insert are judged.
const JUDGED_INSERTS_MIN: u32 = 64;

/// Mean entries moved per insert from which the leaf must be laid out anew.
const SHIFTS_MAX: u32 = 48;

/// Used slots from which on a growing leaf learns a model of its own.
const LEARNT_SLOTS_MIN: usize = 128;

/// The result of an insert.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// The key was new.
    Added,
    /// The key had this payload.
    Replaced(u64),
    /// The key is new and the leaf needs another shape first; nothing was changed.
    Full,
}

/// A place between two entries: every key before `at` is smaller than `key`, the others greater.
struct Spot {
    key: u64,
    payload: u64,
    at: usize,
    begin: usize,
    end: usize,
}

impl Leaf {
    /// Stores for `key`, which lies in this leaf's range, what `payload` makes of the present
    /// payload. It is called once, just before its result is stored, and not at all if the leaf is
    /// full.
    pub(crate) fn upsert(&self, key: u64, payload: impl FnOnce(Option<u64>) -> u64) -> Inserted {
        let (begin, end) = self.bounds();
        match self.search(key, begin, end) {
            Ok(at) => {
                let before = self.slots()[at].payload();
                self.replace(at, payload(Some(before)));
                Inserted::Replaced(before)
            }
            Err(at) if self.is_full_at(at, begin, end) => Inserted::Full,
            Err(at) => self.add(&Spot { key, payload: payload(None), at, begin, end }),
        }
    }

    /// Stores `payload` for `key`, which lies in this leaf's range.
    #[cfg(all(test, loom))]
    pub(crate) fn insert(&self, key: u64, payload: u64) -> Inserted {
        self.upsert(key, |_| payload)
    }

    /// Removes `key` if `wanted` agrees with its payload, which is returned.
    pub(crate) fn remove(&self, key: u64, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let (begin, end) = self.bounds();
        let at = self.search(key, begin, end).ok()?;
        let payload = self.slots()[at].payload();
        if !wanted(payload) {
            return None;
        }
        let (first, last) = self.copies(at);
        self.write(|| self.erase(first, last, begin, end));
        let count = self.tally.count.load(Relaxed);
        self.tally.count.store(count - 1, Relaxed);
        Some(payload)
    }

    /// Whether moving entries costs so much that the leaf should be laid out anew.
    pub(crate) fn is_crowded(&self) -> bool {
        let inserts = self.tally.inserts.load(Relaxed);
        inserts >= JUDGED_INSERTS_MIN && self.tally.shifts.load(Relaxed) / inserts >= SHIFTS_MAX
    }

    /// First and last slot of the entry at slot `at`.
    fn copies(&self, at: usize) -> (usize, usize) {
        let (begin, end) = self.bounds();
        let slots = self.slots();
        let key = slots[at].key();
        let (mut first, mut last) = (at, at);
        while first > begin && slots[first - 1].key() == key {
            first -= 1;
        }
        while last + 1 < end && slots[last + 1].key() == key {
            last += 1;
        }
        (first, last)
    }

    fn replace(&self, at: usize, payload: u64) {
        let (first, last) = self.copies(at);
        self.write(|| {
            for slot in &self.slots()[first..=last] {
                slot.set_payload(payload);
            }
        });
    }

    /// Gives the slots of an entry to its neighbours, half each, or frees them at the edges.
    fn erase(&self, first: usize, last: usize, begin: usize, end: usize) {
        let slots = self.slots();
        if last + 1 == end {
            self.set_bounds(begin.min(first), first);
            return;
        }
        if first == begin {
            self.set_bounds(last + 1, end);
            return;
        }
        let middle = first + (last + 1 - first) / 2;
        let (left, right) = (&slots[first - 1], &slots[last + 1]);
        for slot in &slots[first..middle] {
            slot.set(left.key(), left.payload());
        }
        for slot in &slots[middle..=last] {
            slot.set(right.key(), right.payload());
        }
    }

    /// Whether another entry there needs a new shape first: it has no free edge, and gaps are
    /// short.
    fn is_full_at(&self, at: usize, begin: usize, end: usize) -> bool {
        let is_free =
            begin == end || at == end && end < self.slots().len() || at == begin && begin > 0;
        !is_free && (self.count() >= self.count_max() || self.is_crowded())
    }

    /// Adds an entry where the leaf is not full.
    fn add(&self, spot: &Spot) -> Inserted {
        let slot_count = self.slots().len();
        let added = if spot.begin == spot.end {
            self.add_first(spot)
        } else if spot.at == spot.end && spot.end < slot_count {
            self.append(spot)
        } else if spot.at == spot.begin && spot.begin > 0 {
            self.prepend(spot)
        } else {
            self.take_copies(spot) || self.shift(spot)
        };
        assert!(added, "a leaf below its limit has a spare slot");
        bump(&self.tally.count, 1);
        bump(&self.tally.inserts, 1);
        if spot.at == spot.end {
            bump(&self.tally.appends, 1);
        }
        if spot.at == spot.begin {
            bump(&self.tally.prepends, 1);
        }
        Inserted::Added
    }

    /// Adds an entry for `key`, which lies beyond all entries where the leaf grows. False, and
    /// nothing changed, if there is no free slot.
    #[inline]
    pub(crate) fn push(&self, key: u64, payload: impl FnOnce(Option<u64>) -> u64) -> bool {
        let (begin, end) = self.bounds();
        let (at, pushes) = match self.growth {
            Growth::Append if end < self.slots().len() => (end, &self.tally.appends),
            Growth::Prepend if begin > 0 => (begin - 1, &self.tally.prepends),
            _ => return false,
        };
        let payload = payload(None);
        let (begin, end) = (begin.min(at), end.max(at + 1));
        self.write(|| {
            self.slots()[at].set(key, payload);
            self.set_bounds(begin, end);
        });
        bump(&self.tally.count, 1);
        bump(&self.tally.inserts, 1);
        bump(pushes, 1);
        self.learn_now_and_then(end - begin);
        true
    }

    fn add_first(&self, spot: &Spot) -> bool {
        let slot_last = self.slots().len() - 1;
        let at = match self.growth {
            Growth::Append => 0,
            Growth::Prepend => slot_last,
            Growth::Within => self.predict(spot.key),
        };
        self.fill(spot, at, at + 1, at, at + 1)
    }

    /// Where the leaf does not grow, see `push`.
    fn append(&self, spot: &Spot) -> bool {
        let at = self.predict(spot.key).max(spot.end);
        self.fill(spot, spot.end, at + 1, spot.begin, at + 1)
    }

    fn prepend(&self, spot: &Spot) -> bool {
        let at = self.predict(spot.key).min(spot.begin - 1);
        self.fill(spot, at, spot.begin, at, spot.end)
    }

    /// A leaf that grows at its edge was made with a guess for a model: it learns whenever it has
    /// doubled.
    #[inline]
    fn learn_now_and_then(&self, used_count: usize) {
        if used_count >= LEARNT_SLOTS_MIN && used_count.is_power_of_two() {
            self.learn();
        }
    }

    /// Writes the entry to `first..end`, then the bounds of the leaf.
    fn fill(
        &self,
        spot: &Spot,
        first: usize,
        end: usize,
        begin_new: usize,
        end_new: usize,
    ) -> bool {
        self.write(|| {
            for slot in &self.slots()[first..end] {
                slot.set(spot.key, spot.payload);
            }
            self.set_bounds(begin_new, end_new);
        });
        true
    }

    /// Takes spare copies of the neighbours, as far as the predicted slot. False if there is none.
    fn take_copies(&self, spot: &Spot) -> bool {
        let slots = self.slots();
        let &Spot { at, begin, end, .. } = spot;
        let start = self.start(spot.key, begin, end);
        // Slot i is spare for us if it repeats its outer neighbour.
        let spare_left = |i: usize| i > begin && slots[i].key() == slots[i - 1].key();
        let spare_right = |i: usize| i + 1 < end && slots[i].key() == slots[i + 1].key();
        let (mut first, mut last_end) = (at, at);
        if start < at {
            while first > begin && first > start && spare_left(first - 1) {
                first -= 1;
            }
        } else {
            while last_end <= start && spare_right(last_end) {
                last_end += 1;
            }
        }
        if first == last_end {
            if at > begin && spare_left(at - 1) {
                first = at - 1;
            } else if spare_right(at) {
                last_end = at + 1;
            } else {
                return false;
            }
        }
        self.fill(spot, first, last_end, begin, end)
    }

    /// Moves the entries between the spot and the nearest spare slot by one. False if there is
    /// none.
    fn shift(&self, spot: &Spot) -> bool {
        let slots = self.slots();
        let &Spot { key, payload, at, begin, end } = spot;
        let Some(spare) = self.nearest_spare(spot) else {
            return false;
        };
        bump(&self.tally.shifts, spare.abs_diff(at) as u32);
        self.write(|| {
            if spare >= at {
                for i in (at..spare).rev() {
                    slots[i + 1].set(slots[i].key(), slots[i].payload());
                }
                slots[at].set(key, payload);
            } else {
                for i in spare + 1..at {
                    slots[i - 1].set(slots[i].key(), slots[i].payload());
                }
                slots[at - 1].set(key, payload);
            }
            self.set_bounds(begin.min(spare), end.max(spare + 1));
        });
        true
    }

    /// The nearest slot that is unused or repeats a neighbour, looking both ways in step.
    fn nearest_spare(&self, spot: &Spot) -> Option<usize> {
        let slots = self.slots();
        let &Spot { at, begin, end, .. } = spot;
        let (mut right, mut left) = (at, at);
        loop {
            let (more_right, more_left) = (right < slots.len(), left > 0);
            if !more_right && !more_left {
                return None;
            }
            if more_right {
                if right >= end || right + 1 < end && slots[right].key() == slots[right + 1].key() {
                    return Some(right);
                }
                right += 1;
            }
            if more_left {
                left -= 1;
                if left < begin || left > begin && slots[left].key() == slots[left - 1].key() {
                    return Some(left);
                }
            }
        }
    }
}
