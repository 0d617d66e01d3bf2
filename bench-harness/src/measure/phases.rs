//! Where the time of durable puts goes, as far as the store says so with each of them.

use serde::{Deserialize, Serialize};

use crate::measure::latencies::{Latencies, Percentiles, latencies};

/// What one put spent its time on, in the order of [`PHASES`], in nanoseconds.
pub type PutTimes = [u64; PHASES.len()];

/// The phases of a durable put, one after the other: name and meaning.
pub const PHASES: [(&str, &str); 3] = [
    ("queue", "from the call until its group goes to the device"),
    ("device", "until the group is durable"),
    ("wake", "until the caller runs again"),
];

/// The phases of many puts.
pub struct PhaseLatencies([Latencies; PHASES.len()]);

impl Default for PhaseLatencies {
    fn default() -> Self {
        Self(PHASES.map(|_| latencies()))
    }
}

impl std::fmt::Debug for PhaseLatencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.results()).finish()
    }
}

impl PhaseLatencies {
    /// Adds a put.
    #[inline]
    pub fn record(&mut self, times: PutTimes) {
        for (all, ns) in self.0.iter_mut().zip(times) {
            all.saturating_record(ns);
        }
    }

    /// Adds the puts of another thread or round.
    pub fn merge(&mut self, more: &Self) {
        for (all, more) in self.0.iter_mut().zip(&more.0) {
            all.add(more).expect("histograms of one run have the same bounds");
        }
    }

    /// As numbers; nothing if there was no put.
    pub fn results(&self) -> Vec<Phase> {
        if self.0.iter().all(Latencies::is_empty) {
            return Vec::new();
        }
        let result = |((name, _), all): (&(&str, &str), &Latencies)| Phase {
            name: (*name).to_owned(),
            mean_ns: all.mean(),
            percentiles: Percentiles::of(all),
        };
        PHASES.iter().zip(&self.0).map(result).collect()
    }
}

/// A phase of durable puts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Its mean. The means of all phases add up to that of the put, but for its return.
    pub mean_ns: f64,
    /// Of single puts.
    pub percentiles: Percentiles,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_of_all_threads_are_one_distribution_for_each_phase() {
        let mut all = PhaseLatencies::default();
        assert_eq!(all.results(), []);
        all.record([10, 200, 30]);
        let mut other = PhaseLatencies::default();
        other.record([30, 400, 50]);
        all.merge(&other);
        let results = all.results();
        let means: Vec<_> = results.iter().map(|phase| phase.mean_ns).collect();
        assert_eq!(means, [20.0, 300.0, 40.0]);
        let names: Vec<_> = results.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["queue", "device", "wake"]);
        assert_eq!(results[1].percentiles.max_ns, Some(400.0));
    }
}
