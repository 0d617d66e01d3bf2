//! What one measurement yields, and the honest way to make numbers of it.
//!
//! Repetitions are combined by their median; percentiles are those of all repetitions together.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::device::DeviceCounters;
use crate::measure::latencies::{Latencies, Percentiles, latencies, merge};
use crate::measure::phases::PhaseLatencies;
use crate::measure::store::Counters;
use crate::measure::timeline::{Slice, merge_slices};

/// Read-modify-writes, each in a transaction that took effect.
#[derive(Clone, Debug)]
pub struct Modified {
    /// How many.
    pub count: u64,
    /// How often one of them ran again because another one came in between.
    pub retry_count: u64,
    /// What each took, from its real begin on, with all its retries.
    pub latencies: Latencies,
}

impl Default for Modified {
    fn default() -> Self {
        Self { count: 0, retry_count: 0, latencies: latencies() }
    }
}

impl Modified {
    /// Adds those of another thread, or of another part of the measurement.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.retry_count += other.retry_count;
        self.latencies.add(&other.latencies).expect("all have the same bounds");
    }
}

/// The raw outcome of one measurement.
#[derive(Debug, Default)]
pub struct Sample {
    /// Operations completed.
    pub op_count: u64,
    /// Wall time from the common start to the last lane's end.
    pub elapsed_ns: u64,
    /// Lanes that worked at the same time.
    pub threads: u32,
    /// What the threads together spent on these operations, if not all of the wall time.
    pub busy_ns: Option<u64>,
    /// CPU time of the whole process, background threads and kernel workers of it included. Nothing
    /// but what is measured works meanwhile (see [`crate::measure::rotation`]).
    pub cpu_ns: u64,
    /// Page faults that waited for the device.
    pub major_faults: u64,
    /// Latency of each operation, if they were timed one by one. At a fixed rate it counts from
    /// when the operation should have begun.
    pub latencies: Option<Latencies>,
    /// The same latencies in the order of time.
    pub slices: Vec<Slice>,
    /// When something else went on, from the begin on.
    pub meanwhile: Option<Range<Duration>>,
    /// What durable puts spent their time on, if the store says so.
    pub phases: Option<PhaseLatencies>,
    /// Of operations begun at a fixed rate, the latency of each from its real begin.
    pub service: Option<Latencies>,
    /// Of operations begun at a fixed rate, how late the generator began each.
    pub lag: Option<Latencies>,
    /// The read-modify-writes among the operations, if there are any.
    pub modified: Option<Modified>,
    /// What the store counted meanwhile.
    pub counters: Option<Counters>,
    /// What the whole device counted meanwhile, other processes included.
    pub device: Option<DeviceCounters>,
    /// What threads did that read meanwhile.
    pub readers: Option<Box<Self>>,
    /// Numbers of the records whose writes were acknowledged.
    pub written: Vec<Range<u64>>,
}

impl Sample {
    /// Adds the operations of a thread.
    pub(crate) fn add_slices(&mut self, slices: Vec<Slice>) {
        slices.iter().for_each(|slice| merge(&mut self.latencies, &slice.latencies));
        merge_slices(&mut self.slices, slices);
    }

    /// A sample of its read-modify-writes alone, if there are any; it leaves `modified` to that.
    /// How much of the processor's time was theirs is not known.
    pub(crate) fn take_modified(&mut self) -> Option<Self> {
        let modified = self.modified.take()?;
        let (op_count, latencies) = (modified.count, modified.latencies.clone());
        let busy_ns = Some((latencies.mean() * latencies.len() as f64) as u64);
        Some(Self {
            op_count,
            elapsed_ns: self.elapsed_ns,
            threads: self.threads,
            busy_ns,
            latencies: Some(latencies),
            modified: Some(modified),
            ..Self::default()
        })
    }

    /// Adds what came `after` it: the two are parts of one measurement.
    pub fn join(&mut self, after: Self) {
        assert_eq!(self.threads, after.threads);
        let end = self.slices.last().map_or(Duration::ZERO, |slice| slice.at + slice.length);
        let begin = end.max(Duration::from_nanos(self.elapsed_ns));
        let later = |slice: Slice| Slice { at: begin + slice.at, ..slice };
        self.slices.extend(after.slices.into_iter().map(later));
        after.phases.iter().for_each(|more| self.phases.get_or_insert_default().merge(more));
        self.op_count += after.op_count;
        self.elapsed_ns += after.elapsed_ns;
        self.cpu_ns += after.cpu_ns;
        self.major_faults += after.major_faults;
        after.latencies.iter().for_each(|latencies| merge(&mut self.latencies, latencies));
        after.service.iter().for_each(|service| merge(&mut self.service, service));
        after.lag.iter().for_each(|lag| merge(&mut self.lag, lag));
        let modified = after.modified.iter();
        modified.for_each(|more| self.modified.get_or_insert_default().add(more));
        self.counters = self.counters.zip(after.counters).map(|(one, other)| one + other);
        self.device = self.device.zip(after.device).map(|(one, other)| one + other);
        self.written.extend(after.written);
    }
}

/// The median; the mean of the two middle values of an even number. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The numbers of two contestants divided round by round, as far as both have rounds; `None` where
/// there is nothing to divide by.
pub fn ratios(own: &[f64], other: &[f64]) -> Option<Vec<f64>> {
    let pairs = own.iter().zip(other);
    pairs.map(|(own, other)| (*other > 0.0).then_some(own / other)).collect()
}

/// One repetition of a row, reduced to numbers. `None` is "not measured" or "too few samples".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// Operations completed, timed or not.
    pub op_count: u64,
    /// Operations per second of wall time.
    pub ops_per_second: f64,
    /// Mean time of an operation as its caller sees it: wall time x threads / operations, of the
    /// part that reads no clock between operations where there is one.
    pub mean_ns: f64,
    /// Percentiles of single operations.
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
    /// See [`crate::measure::latencies::slowest_hundredth`]. Absent in older reports.
    #[serde(default)]
    pub slowest_hundredth_ns: Option<f64>,
    /// The longest single operation.
    pub max_ns: Option<f64>,
    /// CPU time of the process per operation.
    pub cpu_ns_per_op: f64,
    /// Flushes per commit by the store's own count.
    pub flushes_per_commit: Option<f64>,
    /// Log writes per commit by the store's own count.
    pub writes_per_commit: Option<f64>,
    /// Flushes the whole device saw, per operation.
    pub device_flushes_per_op: Option<f64>,
    /// Bytes the whole device was sent, per operation.
    pub device_written_bytes_per_op: Option<f64>,
    /// Page faults that waited for the device.
    pub major_faults: u64,
    /// How often a read-modify-write ran again because another one came in between, in the mean of
    /// all of them. Absent in older reports, and where nothing is modified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_per_transaction: Option<f64>,
}

impl Repetition {
    /// Reduces a measurement. Rates, means and CPU come from `whole`; percentiles from `timed`,
    /// which is the same sample where reading the clock costs nothing against the operation.
    pub fn new(whole: &Sample, timed: Option<&Sample>) -> Self {
        assert!(whole.op_count > 0, "an empty sample cannot be a repetition");
        let ops = whole.op_count as f64;
        let all_ns = whole.elapsed_ns as f64 * f64::from(whole.threads);
        let latencies = timed.unwrap_or(whole).latencies.as_ref();
        let percentiles = latencies.map(Percentiles::of).unwrap_or_default();
        let per_commit = |count: fn(&Counters) -> u64| {
            let counters = whole.counters.filter(|counters| counters.commit_count > 0)?;
            Some(count(&counters) as f64 / counters.commit_count as f64)
        };
        Self {
            op_count: whole.op_count + timed.map_or(0, |timed| timed.op_count),
            ops_per_second: ops * 1e9 / whole.elapsed_ns.max(1) as f64,
            mean_ns: whole.busy_ns.map_or(all_ns, |ns| ns as f64) / ops,
            p50_ns: percentiles.p50_ns,
            p90_ns: percentiles.p90_ns,
            p99_ns: percentiles.p99_ns,
            p999_ns: percentiles.p999_ns,
            p9999_ns: percentiles.p9999_ns,
            slowest_hundredth_ns: percentiles.slowest_hundredth_ns,
            max_ns: percentiles.max_ns,
            cpu_ns_per_op: whole.cpu_ns as f64 / ops,
            flushes_per_commit: per_commit(|counters| counters.flush_count),
            writes_per_commit: per_commit(|counters| counters.write_count),
            device_flushes_per_op: whole.device.map(|device| device.flush_count as f64 / ops),
            device_written_bytes_per_op: whole
                .device
                .map(|device| device.written_bytes as f64 / ops),
            major_faults: whole.major_faults,
            retries_per_transaction: whole
                .modified
                .as_ref()
                .map(|modified| modified.retry_count as f64 / modified.count.max(1) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::latencies::latencies;

    fn uniform(count: u64) -> Latencies {
        let mut all = latencies();
        for value in 1..=count {
            all.record(value).unwrap();
        }
        all
    }

    fn sample(op_count: u64, latencies: Option<Latencies>) -> Sample {
        Sample {
            op_count,
            elapsed_ns: op_count * 500,
            threads: 4,
            cpu_ns: op_count * 40,
            major_faults: 3,
            latencies,
            counters: Some(Counters {
                commit_count: op_count,
                flush_count: op_count / 2,
                write_count: 0,
            }),
            ..Sample::default()
        }
    }

    #[test]
    fn two_parts_are_one_measurement() {
        let mut whole = sample(1000, Some(uniform(1000)));
        whole.join(sample(3000, Some(uniform(3000))));
        assert_eq!((whole.op_count, whole.elapsed_ns, whole.cpu_ns), (4000, 2_000_000, 160_000));
        assert_eq!((whole.major_faults, whole.threads), (6, 4));
        assert_eq!(whole.latencies.as_ref().unwrap().len(), 4000);
        assert_eq!(whole.counters.unwrap().flush_count, 2000);
        assert_eq!(whole.device, None);
        assert_eq!(Repetition::new(&whole, None).mean_ns, 2000.0);
    }

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 6.0]), Some(5.5));
    }

    #[test]
    fn a_repetition_counts_per_operation_and_per_commit() {
        let one = Repetition::new(&sample(1000, Some(uniform(1000))), None);
        assert_eq!(one.mean_ns, 2000.0);
        assert_eq!(one.ops_per_second, 2e6);
        assert_eq!(one.cpu_ns_per_op, 40.0);
        assert_eq!(one.flushes_per_commit, Some(0.5));
        assert_eq!(one.p999_ns, None);
        assert_eq!(one.max_ns, Some(1000.0));
        let two = Repetition::new(&sample(10, None), Some(&sample(1000, Some(uniform(1000)))));
        assert_eq!(two.op_count, 1010);
        assert!(two.p99_ns.is_some());
    }

    #[test]
    fn ratios_are_those_of_equal_rounds() {
        assert_eq!(ratios(&[2.0, 9.0], &[1.0, 3.0]), Some(vec![2.0, 3.0]));
        assert_eq!(ratios(&[2.0, 9.0], &[1.0]), Some(vec![2.0]));
        assert_eq!(ratios(&[2.0], &[0.0]), None);
    }
}
