//! How sure a median over rounds is.
//!
//! [`of_median`] gives the range between two of the sorted values that holds the true median with
//! at least the confidence asked for. It assumes of the rounds only that they are independent: the
//! true median lies below the k-th lowest value exactly if fewer than k rounds fell below it, and
//! each round does so with probability 1/2. Nine rounds at 95 %: from the second value to the last
//! but one.
//!
//! A bootstrap of the median approaches the same values and is not exact for few rounds: of 600
//! simulated runs, its interval of 95 % held the true median in 90 % with 7 and with 13 rounds.

use crate::measure::sample::median;

/// Where a true number lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The narrowest such range between two of `values`; `None` if they are too few for `confidence`
/// (0.5 to 1), see [`rounds_min`].
pub fn of_median(values: &[f64], confidence: f64) -> Option<Interval> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let beyond = values_beyond(sorted.len(), confidence)?;
    Some(Interval { low: sorted[beyond], high: sorted[sorted.len() - 1 - beyond] })
}

/// Fewest rounds that give an interval: 6 for 95 %.
pub fn rounds_min(confidence: f64) -> usize {
    assert!((0.5..1.0).contains(&confidence));
    (1..).find(|&count| values_beyond(count, confidence).is_some()).expect("chances halve")
}

/// By what factor `new` differs from `old`, rounds of two runs: the median of all quotients of one
/// round of each, and the interval that holds the true factor with at least `confidence`; `None` if
/// there are too few rounds, or a number is not above 0.
///
/// It assumes that the runs differ by a factor and in nothing else. Then how many quotients lie
/// below the factor depends on the order of the rounds alone, and all orders are equally likely:
/// the interval of Hodges and Lehmann, by the test of Mann and Whitney.
pub fn of_factor(old: &[f64], new: &[f64], confidence: f64) -> Option<(f64, Interval)> {
    if old.iter().chain(new).any(|&number| number.is_nan() || number <= 0.0) {
        return None;
    }
    let quotients = new.iter().flat_map(|new| old.iter().map(move |old| new / old));
    let mut quotients: Vec<f64> = quotients.collect();
    quotients.sort_by(f64::total_cmp);
    let beyond = quotients_beyond(old.len(), new.len(), confidence)?;
    let interval =
        Interval { low: quotients[beyond], high: quotients[quotients.len() - 1 - beyond] };
    Some((median(&quotients)?, interval))
}

/// How many of the sorted quotients lie below the interval, and as many above it.
fn quotients_beyond(old: usize, new: usize, confidence: f64) -> Option<usize> {
    let chance_max = (1.0 - confidence) / 2.0;
    let chances = rank_chances(old, new);
    let (mut sum, mut beyond) = (0.0, None);
    for (below, chance) in chances.iter().enumerate().take((old * new).div_ceil(2)) {
        sum += chance;
        if sum > chance_max {
            break;
        }
        beyond = Some(below);
    }
    beyond
}

/// The chance of each number of pairs, of `one` and `other` values, whose first is the smaller, if
/// all orders are equally likely: the coefficients of a Gaussian binomial.
fn rank_chances(one: usize, other: usize) -> Vec<f64> {
    let mut chances = vec![0.0; one * other + 1];
    chances[0] = 1.0;
    for step in 1..=one {
        let (up, down) = (other + step, step);
        for place in (up..chances.len()).rev() {
            chances[place] -= chances[place - up];
        }
        for place in down..chances.len() {
            chances[place] += chances[place - down];
        }
        // Of (other + step) / step times as many orders.
        let more = (other + step) as f64 / step as f64;
        chances.iter_mut().for_each(|chance| *chance /= more);
    }
    chances
}

/// How many of `count` sorted values lie below the interval, and as many above it.
fn values_beyond(count: usize, confidence: f64) -> Option<usize> {
    let chance_max = (1.0 - confidence) / 2.0;
    // The chance that exactly `below` of the values lie below the true median.
    let mut chance = 0.5f64.powi(i32::try_from(count).ok()?);
    let (mut sum, mut beyond) = (0.0, None);
    for below in 0..count.div_ceil(2) {
        sum += chance;
        if sum > chance_max {
            break;
        }
        beyond = Some(below);
        chance *= (count - below) as f64 / (below + 1) as f64;
    }
    beyond
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::workload::Random;

    #[test]
    fn the_interval_ends_at_the_places_of_the_binomial_tables() {
        for (confidence, count, beyond) in [
            (0.95, 5, None),
            (0.95, 6, Some(0)),
            (0.95, 8, Some(0)),
            (0.95, 9, Some(1)),
            (0.95, 12, Some(2)),
            (0.95, 18, Some(4)),
            (0.95, 100, Some(39)),
            (0.99, 7, None),
            (0.99, 8, Some(0)),
            (0.5, 1, None),
            (0.5, 2, Some(0)),
        ] {
            assert_eq!(values_beyond(count, confidence), beyond, "{count} at {confidence}");
        }
        assert_eq!((rounds_min(0.95), rounds_min(0.99), rounds_min(0.5)), (6, 8, 2));
        let values = [9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0];
        assert_eq!(of_median(&values, 0.95), Some(Interval { low: 2.0, high: 8.0 }));
        assert_eq!(of_median(&values[..5], 0.95), None);
        assert_eq!(of_median(&[], 0.95), None);
    }

    #[test]
    fn it_holds_the_true_median_as_often_as_it_says() {
        const RUNS: u64 = 4000;
        let mut random = Random::new(5);
        for count in [6, 7, 9, 13, 18] {
            let mut held = 0;
            for _ in 0..RUNS {
                // Long tails, as latencies have: the true median is 1.
                let part = f64::from(1 << 19);
                let value = |random: &mut Random| part / (random.below(1 << 20) as f64 + 0.5);
                let values: Vec<f64> = (0..count).map(|_| value(&mut random)).collect();
                let interval = of_median(&values, 0.95).unwrap();
                let middle = median(&values).unwrap();
                assert!(interval.low <= middle && middle <= interval.high);
                held += u64::from(interval.low <= 1.0 && 1.0 <= interval.high);
            }
            // Three standard deviations of the count below 95 %.
            assert!(held >= RUNS * 94 / 100, "{held} of {RUNS} with {count} rounds");
        }
    }

    #[test]
    fn factors_lie_where_the_tables_of_mann_and_whitney_say() {
        for (old, new, beyond) in [(3, 3, None), (4, 4, Some(0)), (5, 5, Some(2)), (9, 9, Some(17))]
        {
            assert_eq!(quotients_beyond(old, new, 0.95), beyond, "{old} and {new}");
        }
        // The critical value of a table is the count at which one is still sure.
        assert_eq!(quotients_beyond(10, 8, 0.95), Some(17));
        let chances = rank_chances(2, 2);
        let exact = [1.0, 1.0, 2.0, 1.0, 1.0].map(|orders| orders / 6.0);
        assert!(chances.iter().zip(exact).all(|(chance, exact)| (chance - exact).abs() < 1e-12));
        assert!((rank_chances(100, 100).iter().sum::<f64>() - 1.0).abs() < 1e-6);
        let old = [10.0, 11.0, 12.0, 13.0];
        let (factor, interval) = of_factor(&old, &old.map(|old| old * 2.0), 0.95).unwrap();
        assert!(
            (factor - 2.0).abs() < 0.01 && interval == Interval { low: 20.0 / 13.0, high: 2.6 }
        );
        assert_eq!(of_factor(&old, &[1.0, 2.0, 3.0, 0.0], 0.95), None);
        assert_eq!(of_factor(&old, &[], 0.95), None);
    }

    #[test]
    fn a_factor_is_held_as_often_as_its_interval_says() {
        const RUNS: u64 = 2000;
        let mut random = Random::new(8);
        let mut round =
            |factor: f64| factor * (1.0 + 0.3 * random.below(1 << 20) as f64 / 1048576.0);
        for rounds in [5, 9] {
            let mut held = 0;
            for _ in 0..RUNS {
                let old: Vec<f64> = (0..rounds).map(|_| round(1.0)).collect();
                let new: Vec<f64> = (0..rounds).map(|_| round(1.2)).collect();
                let (_, interval) = of_factor(&old, &new, 0.95).unwrap();
                held += u64::from(interval.low <= 1.2 && 1.2 <= interval.high);
            }
            assert!(held >= RUNS * 93 / 100, "{held} of {RUNS} with {rounds} rounds");
        }
    }
}
