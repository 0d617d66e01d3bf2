//! Latencies over time: a measurement in slices, and what is drawn of them.
//!
//! An operation belongs to the slice in which it ended. All slices of a measurement together have
//! each operation once.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::measure::latencies::{Latencies, latencies, percentile};

/// Slices of a measurement, if they have a length between these two.
const SLICES_PER_MEASUREMENT: u32 = 40;
const SLICE_MIN: Duration = Duration::from_millis(50);
const SLICE_MAX: Duration = Duration::from_secs(1);
/// The last slice has everything that comes later.
const SLICE_COUNT_MAX: usize = 1000;

/// The operations that ended in a part of a measurement.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Its begin, from that of the measurement on.
    pub at: Duration,
    /// How long it is.
    pub length: Duration,
    /// What they took.
    pub latencies: Latencies,
}

/// The slices of one thread.
pub(crate) struct Timeline {
    slice: Duration,
    /// Of the last slice.
    end: Instant,
    /// When the last operation ended.
    last: Instant,
    slices: Vec<Latencies>,
}

impl Timeline {
    /// Of a measurement that begins now and is meant to last for `duration`.
    pub fn new(now: Instant, duration: Duration) -> Self {
        let slice = (duration / SLICES_PER_MEASUREMENT).clamp(SLICE_MIN, SLICE_MAX);
        Self { slice, end: now + slice, last: now, slices: vec![latencies()] }
    }

    /// An operation ended at `end`.
    #[inline]
    pub fn record(&mut self, end: Instant, ns: u64) {
        while end >= self.end && self.slices.len() < SLICE_COUNT_MAX {
            self.end += self.slice;
            self.slices.push(latencies());
        }
        let last = self.slices.last_mut().expect("there is one from the begin on");
        last.saturating_record(ns);
        self.last = end;
    }

    /// All slices. One that had only begun when the last operation ended is part of the one before:
    /// its few operations would say little.
    pub fn into_slices(mut self) -> Vec<Slice> {
        if self.slices.len() > 1 && self.end.saturating_duration_since(self.last) > self.slice / 2 {
            let rest = self.slices.pop().expect("there are two");
            let before = self.slices.last_mut().expect("there were two");
            before.add(&rest).expect("histograms of one run have the same bounds");
        }
        let length = self.slice;
        let slice = |(number, latencies)| Slice { at: length * number, length, latencies };
        (0..).zip(self.slices).map(slice).collect()
    }
}

/// Adds the slices of another thread of the same measurement.
pub(crate) fn merge_slices(all: &mut Vec<Slice>, more: Vec<Slice>) {
    for (place, slice) in more.into_iter().enumerate() {
        match all.get_mut(place) {
            Some(one) => {
                let added = one.latencies.add(&slice.latencies);
                added.expect("histograms of one run have the same bounds");
            }
            None => all.push(slice),
        }
    }
}

/// A row over time: its slices in the order of rounds, a column for each number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The round of each slice, from 0 on.
    pub round: Vec<u32>,
    /// The middle of each slice in seconds, from the begin of its round on.
    pub at_s: Vec<f64>,
    /// The median in each slice; `None` of too few operations.
    pub p50_ns: Vec<Option<f64>>,
    /// The longest operation that ended in each slice; `None` if there was none.
    pub max_ns: Vec<Option<f64>>,
    /// When something else went on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

/// A time in which something else went on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The round.
    pub round: u32,
    /// In seconds, from the begin of the round on.
    pub from_s: f64,
    /// Its end, likewise.
    pub to_s: f64,
}

impl Series {
    /// Nothing.
    pub const EMPTY: Self = Self {
        round: Vec::new(),
        at_s: Vec::new(),
        p50_ns: Vec::new(),
        max_ns: Vec::new(),
        marks: Vec::new(),
    };

    /// Whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.round.is_empty()
    }

    /// Adds a round.
    pub fn add(&mut self, round: u32, slices: &[Slice], meanwhile: Option<&Range<Duration>>) {
        for slice in slices {
            self.round.push(round);
            self.at_s.push((slice.at + slice.length / 2).as_secs_f64());
            self.p50_ns.push(percentile(&slice.latencies, 0.5));
            let max = (!slice.latencies.is_empty()).then(|| slice.latencies.max() as f64);
            self.max_ns.push(max);
        }
        let mark = |time: &Range<Duration>| {
            let (from_s, to_s) = (time.start.as_secs_f64(), time.end.as_secs_f64());
            Mark { round, from_s, to_s }
        };
        self.marks.extend(meanwhile.map(mark));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_operation_is_in_the_slice_in_which_it_ended() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, 4000 * MS);
        for (end, ns) in [(0, 1), (99, 2), (100, 3), (450, 4), (460, 5)] {
            timeline.record(start + end * MS, ns);
        }
        let slices = timeline.into_slices();
        let counts: Vec<_> = slices.iter().map(|slice| slice.latencies.len()).collect();
        assert_eq!(counts, [2, 1, 0, 0, 2]);
        assert_eq!((slices[4].at, slices[4].length), (400 * MS, 100 * MS));

        // The last slice has only begun.
        let mut timeline = Timeline::new(start, 4000 * MS);
        [50, 150, 210].into_iter().for_each(|end| timeline.record(start + end * MS, 1));
        let slices = timeline.into_slices();
        let counts: Vec<_> = slices.iter().map(|slice| slice.latencies.len()).collect();
        assert_eq!(counts, [1, 2]);

        let mut endless = Timeline::new(start, Duration::from_secs(1 << 32));
        endless.record(start + Duration::from_secs(1 << 20), 7);
        assert_eq!(endless.into_slices().len(), SLICE_COUNT_MAX);
    }

    #[test]
    fn threads_are_added_slice_by_slice_and_rounds_follow_each_other() {
        let start = Instant::now();
        let thread = |ends: &[u32]| {
            let mut timeline = Timeline::new(start, 2000 * MS);
            ends.iter().for_each(|&end| timeline.record(start + end * MS, u64::from(end)));
            timeline.into_slices()
        };
        let mut all = thread(&[10, 90]);
        merge_slices(&mut all, thread(&[20, 21, 140]));
        let counts: Vec<_> = all.iter().map(|slice| slice.latencies.len()).collect();
        assert_eq!(counts, [3, 1, 1]);
        let mut series = Series::default();
        assert!(series.is_empty());
        series.add(0, &all, None);
        series.add(1, &all[..1], Some(&(5 * MS..7 * MS)));
        assert_eq!(series.round, [0, 0, 0, 1]);
        assert_eq!(series.at_s, [0.025, 0.075, 0.125, 0.025]);
        assert_eq!(series.max_ns, [21.0, 90.0, 140.0, 21.0].map(Some));
        assert_eq!(series.p50_ns, [None; 4]);
        assert_eq!(series.marks, [Mark { round: 1, from_s: 0.005, to_s: 0.007 }]);
    }
}
