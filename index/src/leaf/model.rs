//! The linear model of a leaf: from a key to the slot where it probably lies.
//!
//! Prediction is done in integers only. The key's distance from `base` is limited to `span`, moved
//! to the top of a 64-bit word and multiplied by a fixed-point slope:
//!
//! ```text
//! slot = (high64((min(key - base, span) << shift) * slope) + offset) >> FRACTION_BITS
//! ```
//!
//! Invariants: prediction never leaves the slots of the leaf it was made for and never falls when
//! the key rises. Being wrong costs time, never correctness. Doubles appear only in training, on
//! distances from the leaf's first key, so keys beyond 2^53 lose nothing.
//!
//! The writer may teach a leaf another line while readers are under way (`SharedModel`). One of
//! them may read a mixture of both, which predicts any number: readers limit it to the slots in
//! use, as they do with any prediction, and search from there.

use std::ops::Range;
// Not those of `sync`: these words hand nothing over, and a reader may use any values of them.
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Binary digits after the point in `slope` and `offset`.
const FRACTION_BITS: u32 = 48;

/// A leaf of a model has no more slots: where one starts and how far it climbs add up in a word.
pub(super) const MODEL_SLOTS_MAX: usize = 1 << (u64::BITS - 1 - FRACTION_BITS);

/// Entries that a model is trained on, at most.
const TRAINED_MAX: usize = 128;

/// A line from keys to slots; 32 bytes, half of the line that a lookup reads from a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    base: u64,
    span: u64,
    /// Fixed-point slope; its lowest six bits hold the shift and are noise in the product.
    slope: u64,
    /// Slot at `base`, not negative.
    offset: u64,
}

impl Model {
    /// A model that predicts `slot` for every key.
    pub(crate) fn constant(slot: usize) -> Self {
        Self { base: 0, span: 0, slope: 0, offset: (slot as u64) << FRACTION_BITS }
    }

    /// The line through slot `offset` at key `base` that climbs `slots_per_key`, as far as it lies
    /// within the slots of a leaf of `slot_count`; keys beyond are predicted at its ends.
    pub(crate) fn line(base: u64, offset: f64, slots_per_key: f64, slot_count: usize) -> Self {
        // The middle of the last slot: rounding does not lead out of it.
        let top = slot_count as f64 - 0.5;
        // Also false when the slope is not a number.
        let rising = slots_per_key > 0.0 && slots_per_key.is_finite();
        if !rising {
            return Self::constant(offset.clamp(0.0, top) as usize);
        }
        // The line begins at slot 0, be it before `base` (if there are such keys) or behind.
        let before = ((offset.max(0.0) / slots_per_key) as u64).min(base);
        let behind = ((-offset).max(0.0) / slots_per_key).ceil() as u64;
        let Some(base) = (base - before).checked_add(behind) else { return Self::constant(0) };
        let offset = offset - before as f64 * slots_per_key + behind as f64 * slots_per_key;
        let offset = offset.clamp(0.0, top);
        let span = ((top - offset) / slots_per_key) as u64;
        if span == 0 {
            return Self::constant(offset as usize);
        }
        let shift = span.leading_zeros();
        let slots_in_word = slots_per_key * 2f64.powi(64 - shift as i32);
        let fixed = (slots_in_word * 2f64.powi(FRACTION_BITS as i32)).min(2f64.powi(63));
        Self {
            base,
            span,
            slope: (fixed as u64 & !63) | u64::from(shift),
            offset: (offset * 2f64.powi(FRACTION_BITS as i32)) as u64,
        }
    }

    /// Least squares of rank over key, stretched so that `entries` fill the slots `used` of a leaf
    /// of `slot_count`. `entries` are strictly ascending; of many, evenly spaced ones are taken.
    pub(crate) fn train(entries: &[(u64, u64)], used: Range<usize>, slot_count: usize) -> Self {
        Self::train_on(entries.len(), |rank| entries[rank].0, used, slot_count)
    }

    /// As `train`, on `count` keys that never fall, given by rank.
    pub(crate) fn train_on(
        count: usize,
        key: impl Fn(usize) -> u64,
        used: Range<usize>,
        slot_count: usize,
    ) -> Self {
        if count < 2 {
            return Self::constant((used.start + used.end) / 2);
        }
        let (first, last) = (key(0), key(count - 1));
        let span = (last - first) as f64;
        if first == last {
            return Self::constant((used.start + used.end) / 2);
        }
        let (entry_count, stride) = (count as f64, count.div_ceil(TRAINED_MAX));
        let (mut count, mut sum_x, mut sum_y) = (0.0f64, 0.0f64, 0.0f64);
        let (mut sum_xx, mut sum_xy) = (0.0f64, 0.0f64);
        let scale = 1.0 / span;
        for rank in (0..entry_count as usize).step_by(stride) {
            let (x, y) = ((key(rank) - first) as f64 * scale, rank as f64);
            count += 1.0;
            sum_x += x;
            sum_y += y;
            sum_xx += x * x;
            sum_xy += x * y;
        }
        let spread = count * sum_xx - sum_x * sum_x;
        let rising = spread > 0.0;
        let slope = if rising { (count * sum_xy - sum_x * sum_y) / spread } else { count };
        let offset = (sum_y - slope * sum_x) / count;
        let stretch = used.len() as f64 / entry_count;
        // Half a slot more: rounded, not cut off.
        let offset = used.start as f64 + offset * stretch + 0.5;
        Self::line(first, offset, slope * stretch * scale, slot_count)
    }

    /// The predicted slot, one of the leaf's unless the model is a mixture.
    #[inline]
    pub(crate) fn predict(&self, key: u64) -> usize {
        let distance = key.saturating_sub(self.base).min(self.span);
        let scaled = distance.wrapping_shl(self.slope as u32);
        let climb = ((u128::from(scaled) * u128::from(self.slope)) >> 64) as u64;
        (climb.wrapping_add(self.offset) >> FRACTION_BITS) as usize
    }
}

/// The model of a leaf, replaced by the writer beside its readers.
pub(crate) struct SharedModel {
    base: AtomicU64,
    span: AtomicU64,
    slope: AtomicU64,
    offset: AtomicU64,
}

impl SharedModel {
    pub(crate) fn new(model: Model) -> Self {
        Self {
            base: AtomicU64::new(model.base),
            span: AtomicU64::new(model.span),
            slope: AtomicU64::new(model.slope),
            offset: AtomicU64::new(model.offset),
        }
    }

    /// The model; beside `store` maybe a mixture of two.
    #[inline]
    pub(crate) fn load(&self) -> Model {
        Model {
            base: self.base.load(Relaxed),
            span: self.span.load(Relaxed),
            slope: self.slope.load(Relaxed),
            offset: self.offset.load(Relaxed),
        }
    }

    /// Writer only.
    pub(crate) fn store(&self, model: Model) {
        self.base.store(model.base, Relaxed);
        self.span.store(model.span, Relaxed);
        self.slope.store(model.slope, Relaxed);
        self.offset.store(model.offset, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[u64], error_max: usize) {
        let entries: Vec<(u64, u64)> = keys.iter().map(|&k| (k, 0)).collect();
        let model = Model::train(&entries, 0..keys.len(), keys.len());
        let mut previous = 0;
        for (rank, &key) in keys.iter().enumerate() {
            let slot = model.predict(key);
            assert!(slot >= previous, "prediction falls at {key}");
            previous = slot;
            assert!(slot.abs_diff(rank) <= error_max, "{key}: {slot} for {rank}");
        }
        assert!(model.predict(0) <= model.predict(u64::MAX));
        assert!(model.predict(u64::MAX) < keys.len());
    }

    #[test]
    fn lines_are_predicted_at_any_scale() {
        check(&(0..1000).collect::<Vec<u64>>(), 1);
        check(&(0..1000).map(|i| i << 54).collect::<Vec<u64>>(), 1);
        check(&(0..1000).map(|i| (1 << 63) + i).collect::<Vec<u64>>(), 1);
        check(&(0..1000).map(|i| u64::MAX - 999 + i).collect::<Vec<u64>>(), 1);
        check(&(0..4000).map(|i| 1_700_000_000_000_000_000 + i * 1013).collect::<Vec<u64>>(), 1);
    }

    #[test]
    fn mixtures_of_models_predict_something() {
        let models = [
            Model::constant(7),
            Model::line(5, 0.0, 1.0, 2048),
            Model::line(u64::MAX - 3000, 2047.0, 0.3, 2048),
            Model::line(1 << 40, 100.5, 1e-15, 2048),
        ];
        let count = models.len();
        for mix in 0..count.pow(4) {
            let [base, span, slope, offset] =
                std::array::from_fn(|word| models[mix / count.pow(word as u32) % count]);
            let mixture = Model {
                base: base.base,
                span: span.span,
                slope: slope.slope,
                offset: offset.offset,
            };
            let shared = SharedModel::new(models[0]);
            shared.store(mixture);
            for key in [0, 5, 1 << 40, u64::MAX - 3000, u64::MAX] {
                // Without a panic: readers limit it to their slots.
                let slot = shared.load().predict(key);
                assert!(slot <= 2 * 0xffff, "{slot}");
            }
        }
    }

    #[test]
    fn hostile_shapes_stay_finite() {
        check(&[0, u64::MAX], 2);
        check(&[5], 1);
        check(&[0, 1, u64::MAX - 1, u64::MAX], 3);
        check(&(0..64).map(|i| 1u64 << i).collect::<Vec<u64>>(), 64);
    }

    #[test]
    fn predictions_stay_inside_whatever_the_line_is() {
        let numbers = [f64::NAN, f64::INFINITY, -1e300, -7.5, 0.0, 1e-300, 0.3, 15.9, 1e6, 1e300];
        for base in [0, 1, 1 << 40, u64::MAX - 1, u64::MAX] {
            for offset in numbers.into_iter().filter(|offset| !offset.is_nan()) {
                for slope in numbers {
                    for slot_count in [1, 16, 4032] {
                        let model = Model::line(base, offset, slope, slot_count);
                        let mut keys = [0, base, base / 2, base.saturating_add(9), u64::MAX];
                        keys.sort_unstable();
                        let slots = keys.map(|key| model.predict(key));
                        assert!(slots.is_sorted(), "{base} {offset} {slope} {slot_count}");
                        assert!(slots[4] < slot_count, "{base} {offset} {slope} {slot_count}");
                    }
                }
            }
        }
    }
}
