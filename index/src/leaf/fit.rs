//! Where the entries of a new leaf go, and what finding them there will cost.
//!
//! Entries are placed at their predicted slots, or directly behind the previous entry if that is
//! further right; a leaf whose model would pack long runs gets evenly spread entries instead, so
//! that inserts find gaps nearby. The cost is measured on the placement itself, not on the rank
//! error of the line: with gaps most keys of a smooth leaf lie exactly where they are predicted.
//! Of many entries only evenly spaced samples are placed, each some neighbours long.

use super::model::Model;

/// Most slots of a leaf, 128 KiB: bounds what one insert may have to copy, in a tenth of a
/// millisecond. Leaves of a quarter of that are copied four times as often, which more than one
/// insert in a thousand would notice.
pub(crate) const LEAF_SLOTS_MAX: usize = 8192;

/// Least slots of a leaf.
pub(crate) const LEAF_SLOTS_MIN: usize = 16;

/// Mean entries moved per insert from which spreading is considered.
const SHIFTS_TOLERATED: f32 = 8.0;

/// Samples of a leaf's entries, and entries of a sample: leaves with fewer are measured whole.
const SAMPLE_COUNT: usize = 8;
const SAMPLE_ENTRIES: usize = 16;

/// Ranks whose predictions are tried in a leaf that is as it is.
const SAMPLE_RANKS: usize = 32;

/// Where the next keys of a leaf are expected, which decides where its free slots lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Anywhere: free slots are spread between the entries.
    Within,
    /// Behind the last key: the entries are packed at the front, without gaps.
    Append,
    /// Before the first key: the entries are packed at the back, without gaps.
    Prepend,
}

/// How full leaves are made, and how large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Density {
    /// Share of used slots.
    percent: usize,
    /// Slots of a leaf at most.
    slots_max: usize,
}

impl Density {
    /// After a bulk load.
    pub(crate) const LOADED: Self = Self { percent: 70, slots_max: LEAF_SLOTS_MAX };
    /// After a leaf grew or was split.
    pub(crate) const GROWN: Self = Self { percent: 60, slots_max: LEAF_SLOTS_MAX };
    /// Where entries come in order: their leaves are written once, and large ones would gain
    /// nothing.
    pub(crate) const EDGE: Self = Self { percent: 60, slots_max: LEAF_SLOTS_MAX / 4 };
    /// Of a leaf that such entries have left behind and that is laid out anew: as full as after a
    /// bulk load.
    pub(crate) const CLOSED: Self = Self { percent: 70, slots_max: LEAF_SLOTS_MAX * 3 / 10 };

    /// Most entries of a leaf.
    pub(crate) const fn keys_max(self) -> usize {
        self.slots_max * self.percent / 100
    }

    /// Slots of a leaf for `count` entries.
    fn slots(self, count: usize) -> usize {
        (count * 100).div_ceil(self.percent).clamp(LEAF_SLOTS_MIN, self.slots_max)
    }
}

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
    /// Mean of log2(1 + |predicted - actual slot|), from samples.
    pub(crate) error_log2: f32,
    /// Mean entries an insert has to move, if inserts hit like the present keys.
    pub(crate) shifts: f32,
}

impl Fit {
    /// The best layout of `entries` at a density.
    pub(crate) fn within(entries: &[(u64, u64)], density: Density) -> Self {
        let slot_count = density.slots(entries.len());
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

    /// A layout without gaps, all free slots behind (or before) the entries.
    pub(crate) fn at_edge(entries: &[(u64, u64)], slot_count: usize, growth: Growth) -> Self {
        assert!(entries.len() <= slot_count);
        let used_count = entries.len().max(1);
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
        let count = entries.len();
        let mut runs = Runs::default();
        let mut place = Placement::new(self, count);
        if count <= SAMPLE_COUNT * SAMPLE_ENTRIES {
            runs.add(&mut place, entries);
        } else {
            for sample in 0..SAMPLE_COUNT {
                let first = sample * (count - SAMPLE_ENTRIES) / (SAMPLE_COUNT - 1);
                place.skip_to(first);
                runs.add(&mut place, &entries[first..first + SAMPLE_ENTRIES]);
            }
        }
        let placed = runs.entry_count.max(1) as f32;
        self.error_log2 = runs.error_sum as f32 / placed;
        self.shifts = runs.square_sum as f32 / (4.0 * placed);
    }
}

/// Mean of log2(1 + distance) over samples of `count` ranks, `distance` being that of a rank's
/// prediction.
pub(crate) fn sampled_error_log2(count: usize, distance: impl Fn(usize) -> usize) -> f32 {
    let stride = (count / SAMPLE_RANKS).max(1);
    // Odd strides do not keep step with keys that come in groups of powers of two or of ten.
    let ranks = (0..count).step_by(stride | 1);
    let sampled = ranks.len().max(1) as f32;
    let errors = ranks.map(|rank| u64::from(64 - (distance(rank) as u64).leading_zeros()));
    errors.sum::<u64>() as f32 / sampled
}

/// What placing entries shows: how far they lie from their predictions, and how they clot.
#[derive(Default)]
struct Runs {
    entry_count: usize,
    /// Sum of log2(1 + |predicted - actual slot|).
    error_sum: u64,
    /// Sum of the squared lengths of runs without a gap: an insert into a run moves a quarter of
    /// it.
    square_sum: u64,
}

impl Runs {
    fn add(&mut self, place: &mut Placement, entries: &[(u64, u64)]) {
        let (mut run_first, mut run_end) = (0, 0);
        for (i, &(key, _)) in entries.iter().enumerate() {
            let at = place.next(key);
            let predicted = place.model.predict(key);
            let error = at.abs_diff(predicted) as u64;
            self.error_sum += u64::from(64 - error.leading_zeros());
            if i == 0 {
                // Pushed behind its prediction: the run began before the sample.
                run_first = predicted.min(at);
            } else if at != run_end {
                self.square_sum += ((run_end - run_first) * (run_end - run_first)) as u64;
                run_first = at;
            }
            run_end = at + 1;
        }
        self.square_sum += ((run_end - run_first) * (run_end - run_first)) as u64;
        self.entry_count += entries.len();
    }
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

    /// Goes on with the entry of this rank; those between take a slot each.
    fn skip_to(&mut self, rank: usize) {
        self.free += rank - self.rank;
        self.rank = rank;
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
