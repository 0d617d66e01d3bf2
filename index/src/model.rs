//! The linear model of a leaf: from a key to the slot where it probably lies.
//!
//! Prediction is done in integers only. The key's distance from `base` is limited to `span`, moved
//! to the top of a 64-bit word and multiplied by a fixed-point slope:
//!
//! ```text
//! slot = (high64((min(key - base, span) << shift) * slope) + offset) >> FRACTION_BITS
//! ```
//!
//! Invariants: prediction never overflows, never falls when the key rises, and is the same in the
//! writer and in every reader. Being wrong costs time, never correctness. Doubles appear only in
//! training, on distances from the leaf's first key, so keys beyond 2^53 lose nothing.

use std::ops::Range;

/// Binary digits after the point in `slope` and `offset`.
const FRACTION_BITS: u32 = 48;

/// Predicted slots stay far below this in either direction, so that sums fit 64 bits.
const SLOT_LIMIT: f64 = 8192.0;

/// A line from keys to slots; 32 bytes, half of the line that a lookup reads from a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    base: u64,
    span: u64,
    /// Fixed-point slope; its lowest six bits hold the shift and are noise in the product.
    slope: u64,
    offset: i64,
}

impl Model {
    /// A model that predicts `slot` for every key.
    pub(crate) fn constant(slot: usize) -> Self {
        Self { base: 0, span: 0, slope: 0, offset: (slot as i64) << FRACTION_BITS }
    }

    /// The line through slot `offset` at key `base` that climbs `slots_per_key` and ends at
    /// `slot_count`, or at the last possible key.
    pub(crate) fn line(base: u64, offset: f64, slots_per_key: f64, slot_count: usize) -> Self {
        let offset = offset.clamp(-SLOT_LIMIT, SLOT_LIMIT);
        // Also false when the slope is not a number.
        let rising = slots_per_key > 0.0 && slots_per_key.is_finite();
        if !rising {
            return Self::constant(offset.max(0.0) as usize);
        }
        // The line begins at slot 0 too, for keys before `base`, as far as there are such keys.
        let before = ((offset.max(0.0) / slots_per_key) as u64).min(base);
        let base = base - before;
        let offset = offset - before as f64 * slots_per_key;
        let climb = (slot_count as f64 - offset).max(1.0);
        let span = ((climb / slots_per_key).max(1.0) as u64).min(u64::MAX - base).max(1);
        let shift = span.leading_zeros();
        let slots_in_word = slots_per_key * 2f64.powi(64 - shift as i32);
        let fixed = (slots_in_word * 2f64.powi(FRACTION_BITS as i32)).min(2f64.powi(63));
        Self {
            base,
            span,
            slope: (fixed as u64 & !63) | u64::from(shift),
            offset: (offset * 2f64.powi(FRACTION_BITS as i32)) as i64,
        }
    }

    /// Least squares of rank over key, stretched so that `entries` fill the slots `used` of a leaf
    /// of `slot_count`. `entries` are strictly ascending.
    pub(crate) fn train(entries: &[(u64, u64)], used: Range<usize>, slot_count: usize) -> Self {
        let middle = (used.start + used.end) / 2;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Self::constant(middle);
        };
        let span = (last.0 - first.0) as f64;
        if entries.len() == 1 {
            return Self::constant(middle);
        }
        let count = entries.len() as f64;
        let (mut sum_x, mut sum_xx, mut sum_xy) = (0.0f64, 0.0f64, 0.0f64);
        let scale = 1.0 / span;
        let mut rank = 0.0f64;
        for &(key, _) in entries {
            let x = (key - first.0) as f64 * scale;
            sum_x += x;
            sum_xx += x * x;
            sum_xy += x * rank;
            rank += 1.0;
        }
        let sum_y = count * (count - 1.0) * 0.5;
        let spread = count * sum_xx - sum_x * sum_x;
        let slope = if spread > 0.0 { (count * sum_xy - sum_x * sum_y) / spread } else { count };
        let offset = (sum_y - slope * sum_x) / count;
        let stretch = used.len() as f64 / count;
        let offset = used.start as f64 + offset * stretch;
        Self::line(first.0, offset, slope * stretch * scale, slot_count)
    }

    /// The predicted slot; may lie outside of the leaf on either side.
    #[inline]
    pub(crate) fn predict(&self, key: u64) -> i64 {
        let distance = key.saturating_sub(self.base).min(self.span);
        let scaled = distance.wrapping_shl(self.slope as u32);
        let climb = ((u128::from(scaled) * u128::from(self.slope)) >> 64) as i64;
        (climb + self.offset) >> FRACTION_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[u64], error_max: i64) {
        let entries: Vec<(u64, u64)> = keys.iter().map(|&k| (k, 0)).collect();
        let model = Model::train(&entries, 0..keys.len(), keys.len());
        let mut previous = i64::MIN;
        for (rank, &key) in keys.iter().enumerate() {
            let slot = model.predict(key);
            assert!(slot >= previous, "prediction falls at {key}");
            previous = slot;
            assert!((slot - rank as i64).abs() <= error_max, "{key}: {slot} for {rank}");
        }
        assert!(model.predict(0) <= model.predict(u64::MAX));
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
    fn hostile_shapes_stay_finite() {
        check(&[0, u64::MAX], 2);
        check(&[5], 1);
        check(&[0, 1, u64::MAX - 1, u64::MAX], 3);
        check(&(0..64).map(|i| 1u64 << i).collect::<Vec<u64>>(), 64);
    }
}
