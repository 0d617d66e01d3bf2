//! Distributions of what commits take. Many threads record without a lock.
//!
//! Buckets are log-linear, as in hdrhistogram: 8 to each doubling, so a value is exact to 12.5 %.
//! Recording is two relaxed atomic additions. A reader may miss the values that other threads
//! record meanwhile, and no others.

use std::sync::atomic::{AtomicU64, Ordering};

/// This many bits number the buckets of one doubling.
const STEP_BITS: u32 = 3;
const STEPS: u64 = 1 << STEP_BITS;
/// Values from 2^40 on (18 minutes in nanoseconds) share the last bucket.
const BITS_MAX: u32 = 40;
const BUCKETS: usize = ((BITS_MAX - STEP_BITS + 1) as usize) << STEP_BITS;

/// Counts of values by size.
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

/// A distribution in numbers. Percentiles are upper bounds, at most 12.5 % too high; 0 without
/// values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Distribution {
    /// Number of values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half of them are no greater.
    pub p50: u64,
    /// 99 % of them are no greater.
    pub p99: u64,
    /// 99.9 % of them are no greater.
    pub p999: u64,
    /// The greatest.
    pub max: u64,
}

impl Histogram {
    pub fn record(&self, value: u64) {
        self.buckets[bucket_of(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }

    pub fn distribution(&self) -> Distribution {
        let counts = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        let count: u64 = counts.iter().sum();
        let max = self.max.load(Ordering::Relaxed);
        let at = |permille: u64| {
            let wanted = (count * permille).div_ceil(1000).max(1);
            let mut seen = 0;
            let bucket = counts.iter().position(|bucket| {
                seen += bucket;
                seen >= wanted
            });
            bucket.map_or(0, |bucket| last_of(bucket).min(max))
        };
        let mean = self.sum.load(Ordering::Relaxed) as f64 / count.max(1) as f64;
        Distribution { count, mean, p50: at(500), p99: at(990), p999: at(999), max }
    }
}

fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << BITS_MAX) - 1);
    let shift = (64 - STEP_BITS - 1).saturating_sub((value | STEPS).leading_zeros());
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

/// The greatest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    let step = bucket - shift * STEPS;
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_narrow() {
        let mut previous = 0;
        for exponent in 0..45 {
            for value in [1u64 << exponent, (1 << exponent) + (1 << exponent) / 3] {
                let bucket = bucket_of(value);
                assert!(bucket >= previous && bucket < BUCKETS, "{value}");
                previous = bucket;
                if value < 1 << BITS_MAX {
                    let last = last_of(bucket);
                    assert!(last >= value && last - value <= value / 8, "{value}: {last}");
                }
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_bound_the_values() {
        let histogram = Histogram::default();
        assert_eq!(histogram.distribution(), Distribution::default());
        (1..=10_000).for_each(|value| histogram.record(value));
        let seen = histogram.distribution();
        assert_eq!((seen.count, seen.max, seen.mean), (10_000, 10_000, 5000.5));
        for (percentile, exact) in [(seen.p50, 5000), (seen.p99, 9900), (seen.p999, 9990)] {
            assert!((exact..=exact + exact / 8).contains(&percentile), "{percentile} for {exact}");
        }
    }
}
