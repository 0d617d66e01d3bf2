//! Latencies, and the percentiles that can be said of them.
//!
//! Percentiles obey the minimum-sample rule: percentile `p` of fewer than `10 / (1 - p)` samples is
//! not a number but "n/a", because fewer than ten samples lie beyond it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency of a histogram; anything longer counts as this.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// Latencies with three significant digits.
pub type Latencies = Histogram<u64>;

/// An empty histogram of latencies in nanoseconds.
pub fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
        .expect("1 ns to 120 s with three digits are bounds that a histogram can have")
}

/// Adds `more` to `all`.
pub fn merge(all: &mut Option<Latencies>, more: &Latencies) {
    match all {
        Some(all) => all.add(more).expect("histograms of one run have the same bounds"),
        None => *all = Some(more.clone()),
    }
}

/// Fewest samples for which percentile `p` (0 to 1) is a number: `10 / (1 - p)`.
pub fn samples_min(p: f64) -> u64 {
    assert!((0.0..1.0).contains(&p));
    (10.0 / (1.0 - p)).round() as u64
}

/// Percentile `p` (0 to 1) in nanoseconds, or `None` below the minimum of samples.
pub fn percentile(latencies: &Latencies, p: f64) -> Option<f64> {
    (latencies.len() >= samples_min(p)).then(|| latencies.value_at_quantile(p) as f64)
}

/// Mean of the slowest hundredth, in nanoseconds, or `None` below the minimum of samples of the
/// 99th percentile. Where about one operation in a hundred takes several times as long, that
/// percentile is either of the two from round to round; this moves little.
pub fn slowest_hundredth(latencies: &Latencies) -> Option<f64> {
    let count = latencies.len();
    if count < samples_min(0.99) {
        return None;
    }
    let slowest_count = count / 100;
    let (mut faster, mut sum) = (count - slowest_count, 0.0);
    for step in latencies.iter_recorded() {
        let of_value = step.count_since_last_iteration();
        let skipped = faster.min(of_value);
        faster -= skipped;
        sum += (of_value - skipped) as f64 * step.value_iterated_to() as f64;
    }
    Some(sum / slowest_count as f64)
}

/// Percentiles of single operations: of one round, or of all rounds together. `None` is "too few
/// samples". None is below one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50_ns: Option<f64>,
    /// See `p50_ns`.
    pub p90_ns: Option<f64>,
    /// See `p50_ns`.
    pub p99_ns: Option<f64>,
    /// See `p50_ns`.
    pub p999_ns: Option<f64>,
    /// See `p50_ns`. Absent in older reports.
    #[serde(default)]
    pub p9999_ns: Option<f64>,
    /// See [`slowest_hundredth`]. Absent in older reports.
    #[serde(default)]
    pub slowest_hundredth_ns: Option<f64>,
    /// The longest single operation.
    pub max_ns: Option<f64>,
}

impl Percentiles {
    /// Those of the latencies.
    pub fn of(latencies: &Latencies) -> Self {
        let at = |p| percentile(latencies, p);
        Self {
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            p9999_ns: at(0.9999),
            slowest_hundredth_ns: slowest_hundredth(latencies),
            max_ns: (!latencies.is_empty()).then(|| latencies.max() as f64),
        }
    }
}

/// Points of a percentile curve: (fraction of operations, latency in ns), as far as the rule
/// allows, and the maximum at its own place.
pub fn curve(latencies: &Latencies) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    // Eight points per halving of the rest beyond, from the best operation to the last that is a
    // number.
    for step in 0..200u32 {
        let beyond = 0.5f64.powf(f64::from(step) / 8.0);
        let p = 1.0 - beyond;
        if latencies.len() < samples_min(p) {
            break;
        }
        points.push((p, latencies.value_at_quantile(p) as f64));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(count: u64) -> Latencies {
        let mut all = latencies();
        for value in 1..=count {
            all.record(value).unwrap();
        }
        all
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        for (p, least) in [(0.5, 20), (0.9, 100), (0.99, 1000), (0.999, 10_000), (0.9999, 100_000)]
        {
            assert_eq!(samples_min(p), least);
            assert_eq!(percentile(&uniform(least - 1), p), None);
            let value = percentile(&uniform(least), p).unwrap();
            let exact = p * least as f64;
            assert!((value / exact - 1.0).abs() < 0.002, "p{p} is {value}, not {exact}");
        }
    }

    #[test]
    fn the_slowest_hundredth_is_what_lies_beyond_the_99th_percentile() {
        assert_eq!(slowest_hundredth(&uniform(999)), None);
        let mean = slowest_hundredth(&uniform(100_000)).unwrap();
        assert!((mean / 99_500.5 - 1.0).abs() < 0.001, "{mean}");
        // A cliff: a little more or less than one in a hundred takes three times as long.
        let of = |slow_count: u64| {
            let mut all = latencies();
            all.record_n(200, 10_000 - slow_count).unwrap();
            all.record_n(600, slow_count).unwrap();
            (percentile(&all, 0.99).unwrap(), slowest_hundredth(&all).unwrap())
        };
        assert_eq!((of(90), of(110)), ((200.0, 560.0), (600.0, 600.0)));
    }

    #[test]
    fn percentiles_of_all_rounds_together_rise() {
        // Medians over rounds do not: few samples leave a round without the higher percentile, and
        // the longest of a short round is short.
        let mut all = None;
        for (count, factor) in [(90_000_u64, 1), (900, 50), (20_000, 1)] {
            let mut round = latencies();
            (1..=count).for_each(|value| round.record(value * factor).unwrap());
            merge(&mut all, &round);
        }
        let all = Percentiles::of(&all.unwrap());
        let steps = [all.p50_ns, all.p90_ns, all.p99_ns, all.p999_ns, all.p9999_ns, all.max_ns];
        assert!(steps.windows(2).all(|pair| pair[0].unwrap() <= pair[1].unwrap()), "{all:?}");
        assert!(all.max_ns.unwrap() >= 45_000.0);
        assert_eq!(Percentiles::of(&latencies()), Percentiles::default());
    }

    #[test]
    fn a_curve_ends_where_samples_do() {
        let points = curve(&uniform(1000));
        let (last, _) = *points.last().unwrap();
        assert!(last <= 0.99 && last > 0.98, "{last}");
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        assert!(curve(&latencies()).is_empty());
    }
}
