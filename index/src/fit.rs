//! Where the entries of a new leaf go, and what finding them there will cost.
//!
//! Entries are placed at their predicted slots, or directly behind the previous entry if that is
//! further right; a leaf whose model would pack long runs gets evenly spread entries instead, so
//! that inserts find gaps nearby. The cost is measured on the placement itself, not on the rank
//! error of the line: with gaps most keys of a smooth leaf lie exactly where they are predicted.

use crate::huge::UNIT_BYTES;
use crate::leaf::{Growth, LEAF_SLOTS_MAX, Slot};
use crate::model::Model;

/// Slots in a unit of memory.
const SLOTS_PER_UNIT: usize = UNIT_BYTES / size_of::<Slot>();

/// Least slots of a leaf.
pub(crate) const LEAF_SLOTS_MIN: usize = 16;

/// Share of used slots after a bulk load, in percent.
pub(crate) const FILL_LOADED: usize = 70;

/// Share of used slots after a leaf grew or was split, in percent.
pub(crate) const FILL_GROWN: usize = 60;

/// Share of used slots of a leaf that appends have left behind, in percent.
pub(crate) const FILL_CLOSED: usize = 85;

/// Density at which an appending leaf packs its entries, in percent.
const FILL_APPEND: usize = 90;

/// Mean entries moved per insert from which spreading is considered.
const SHIFTS_TOLERATED: f32 = 8.0;

/// How entries of one leaf are laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    pub(crate) model: Model,
    /// Slots of the leaf.
    pub(crate) slot_count: usize,
    /// Slots the entries are stretched over, and the first of them.
    used_first: usize,
    used_count: usize,
    /// Placed by rank instead of by model.
    spread: bool,
    /// Mean of log2(1 + |predicted - actual slot|).
    pub(crate) error_log2: f32,
    /// Mean entries an insert has to move, if inserts hit like the present keys.
    pub(crate) shifts: f32,
}

impl Fit {
    /// The best layout of `entries` at a density of `fill_percent`.
    pub(crate) fn within(entries: &[(u64, u64)], fill_percent: usize) -> Self {
        let slots = (entries.len() * 100).div_ceil(fill_percent);
        // Memory comes in units; the rest of the last one serves as gaps.
        let unit = if slots > SLOTS_PER_UNIT { SLOTS_PER_UNIT } else { 1 };
        let slot_count = slots.next_multiple_of(unit).clamp(LEAF_SLOTS_MIN, LEAF_SLOTS_MAX);
        assert!(entries.len() <= slot_count);
        let mut fit = Self {
            model: Model::train(entries, 0..slot_count, slot_count),
            slot_count,
            used_first: 0,
            used_count: slot_count,
            spread: false,
            error_log2: 0.0,
            shifts: 0.0,
        };
        fit.measure(entries);
        if fit.shifts > SHIFTS_TOLERATED {
            let mut other = Self { spread: true, ..fit };
            other.measure(entries);
            if other.cost_ns() < fit.cost_ns() {
                fit = other;
            }
        }
        fit
    }

    /// A layout with all free slots behind (or before) the entries.
    pub(crate) fn at_edge(entries: &[(u64, u64)], slot_count: usize, growth: Growth) -> Self {
        assert!(entries.len() <= slot_count);
        let used_count = (entries.len() * 100).div_ceil(FILL_APPEND).clamp(1, slot_count);
        let used_first = match growth {
            Growth::Prepend => slot_count - used_count,
            Growth::Append => 0,
            Growth::Within => (slot_count - used_count) / 2,
        };
        let mut fit = Self {
            model: Model::train(entries, used_first..used_first + used_count, slot_count),
            slot_count,
            used_first,
            used_count,
            spread: false,
            error_log2: 0.0,
            shifts: 0.0,
        };
        fit.measure(entries);
        fit
    }

    /// What a lookup and its share of inserts pay in this leaf, beyond the unavoidable.
    pub(crate) fn cost_ns(&self) -> f32 {
        self.error_log2 * 6.0 + self.shifts * 0.5
    }

    fn measure(&mut self, entries: &[(u64, u64)]) {
        if entries.is_empty() {
            return;
        }
        let mut place = Placement::new(self, entries.len());
        let (mut error_sum, mut shift_sum) = (0u64, 0u64);
        let (mut run_first, mut previous) = (0usize, usize::MAX - 1);
        for &(key, _) in entries {
            let at = place.next(key);
            let error = at.abs_diff(self.model.predict(key)) as u64;
            error_sum += u64::from(64 - error.leading_zeros());
            if at != previous + 1 {
                shift_sum += square(previous.wrapping_add(1).wrapping_sub(run_first));
                run_first = at;
            }
            previous = at;
        }
        shift_sum += square(previous + 1 - run_first);
        let count = entries.len() as f32;
        self.error_log2 = error_sum as f32 / count;
        self.shifts = shift_sum as f32 / (4.0 * count);
    }
}

fn square(run: usize) -> u64 {
    // The very first "run" ends before it begins and is none.
    if run > LEAF_SLOTS_MAX { 0 } else { (run * run) as u64 }
}

/// Hands out the slots of ascending keys one after the other.
pub(crate) struct Placement {
    model: Model,
    spread: bool,
    used_first: usize,
    used_count: usize,
    count: usize,
    rank: usize,
    /// Least slot still free.
    free: usize,
}

impl Placement {
    pub(crate) fn new(fit: &Fit, count: usize) -> Self {
        Self {
            model: fit.model,
            spread: fit.spread,
            used_first: fit.used_first,
            used_count: fit.used_count,
            count,
            rank: 0,
            free: fit.used_first,
        }
    }

    /// The slot of the next key; leaves room for all that follow.
    #[inline]
    pub(crate) fn next(&mut self, key: u64) -> usize {
        let wanted = if self.spread {
            self.used_first + self.rank * self.used_count / self.count
        } else {
            self.model.predict(key)
        };
        let slot_max = self.used_first + self.used_count - (self.count - self.rank);
        let at = wanted.clamp(self.free, slot_max);
        self.rank += 1;
        self.free = at + 1;
        at
    }
}
