//! Rows: what is measured of whom, and the numbers that can be compared.

use serde::{Deserialize, Serialize};

use crate::measure::latencies::{Percentiles, samples_min};
use crate::measure::phases::Phase;
use crate::measure::sample::{Repetition, median};
use crate::measure::store::{Class, Contender};
use crate::measure::timeline::Series;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// O_DIRECT pwrite of 4 KiB + fdatasync into a file written before: the floor of a durable
    /// commit.
    WriteFdatasync,
    /// The same as one pwritev2 with RWF_DSYNC.
    WriteDsync,
    /// O_DIRECT read of 4 KiB at random places, one at a time.
    ReadDirect,
    /// A record read and checked at a random place of a mapped, cached file: the floor of a get.
    ReadMapped,
    /// Durable puts of one thread.
    DurablePut1,
    /// Durable puts of 16 threads.
    DurablePut16,
    /// Puts of random keys by one thread that are not waited for.
    UnsyncedPut,
    /// Gets of existing keys, uniform, by one thread; each opens its own read transaction.
    Get,
    /// The same, all in one read transaction; of stores that have such a thing.
    GetSnapshot,
    /// 80 % gets, 20 % overwrites, not waited for, one thread.
    MixedUnsynced,
    /// 80 % gets, 20 % durable overwrites, one thread.
    MixedDurable,
    /// Opening a store whose process was killed, up to the first record read.
    Reopen,
}

impl Row {
    /// All rows in the order they are shown.
    pub const ALL: [Self; 12] = [
        Self::WriteFdatasync,
        Self::WriteDsync,
        Self::DurablePut1,
        Self::DurablePut16,
        Self::UnsyncedPut,
        Self::ReadDirect,
        Self::ReadMapped,
        Self::Get,
        Self::GetSnapshot,
        Self::MixedUnsynced,
        Self::MixedDurable,
        Self::Reopen,
    ];

    /// The name in tables, JSON and target files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WriteFdatasync => "write-fdatasync",
            Self::WriteDsync => "write-dsync",
            Self::ReadDirect => "read-direct",
            Self::ReadMapped => "read-mapped",
            Self::DurablePut1 => "durable-put1",
            Self::DurablePut16 => "durable-put16",
            Self::UnsyncedPut => "unsynced-put",
            Self::Get => "get",
            Self::GetSnapshot => "get-snapshot",
            Self::MixedUnsynced => "mixed-unsynced",
            Self::MixedDurable => "mixed-durable",
            Self::Reopen => "reopen",
        }
    }

    /// What it is, in one line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::WriteFdatasync => "4 KiB O_DIRECT pwrite + fdatasync, pre-written file",
            Self::WriteDsync => "4 KiB O_DIRECT pwritev2 with RWF_DSYNC, pre-written file",
            Self::ReadDirect => "4 KiB O_DIRECT read, random, one at a time",
            Self::ReadMapped => "record read and checked in a cached map, random",
            Self::DurablePut1 => "durable put, 1 thread",
            Self::DurablePut16 => "durable put, 16 threads",
            Self::UnsyncedPut => "put of a random key, not waited for, 1 thread",
            Self::Get => "get, uniform, 1 thread, a read transaction each",
            Self::GetSnapshot => "get, uniform, 1 thread, one read transaction for all",
            Self::MixedUnsynced => "80 % get, 20 % overwrite, not waited for, 1 thread",
            Self::MixedDurable => "80 % get, 20 % durable overwrite, 1 thread",
            Self::Reopen => "open after SIGKILL, to the first record read",
        }
    }

    /// The row with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name() == name)
    }

    /// Whether the row is the device's or the memory's own, without a store.
    pub const fn is_floor(self) -> bool {
        matches!(
            self,
            Self::WriteFdatasync | Self::WriteDsync | Self::ReadDirect | Self::ReadMapped
        )
    }

    /// The floor drawn beside this row and printed as a ratio, if there is a natural one.
    pub const fn floor(self) -> Option<Self> {
        match self {
            Self::DurablePut1 => Some(Self::WriteFdatasync),
            Self::Get => Some(Self::ReadMapped),
            _ => None,
        }
    }
}

/// One row of one contender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// What is measured.
    pub row: Row,
    /// Who.
    pub contender: Contender,
    /// The durability of its writes.
    pub class: Class,
    /// Threads at work.
    pub threads: u32,
    /// The repetitions in the order of the rounds.
    pub repetitions: Vec<Repetition>,
    /// Percentiles of all repetitions together. Absent in older reports.
    #[serde(default)]
    pub merged: Option<Percentiles>,
    /// The percentile curve over all repetitions: (fraction of operations, ns).
    pub curve: Vec<(f64, f64)>,
    /// Over time. Empty in older reports.
    #[serde(default, skip_serializing_if = "Series::is_empty")]
    pub series: Series,
    /// What durable puts spent their time on; only of a store that says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
}

/// A number of a repetition that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean time of an operation, ns.
    MeanNs,
    /// Median, ns.
    P50Ns,
    /// 90th percentile, ns.
    P90Ns,
    /// 99th percentile, ns.
    P99Ns,
    /// 99.9th percentile, ns.
    P999Ns,
    /// 99.99th percentile, ns.
    P9999Ns,
    /// Mean of the slowest hundredth, ns.
    SlowestHundredthNs,
    /// Longest, ns.
    MaxNs,
    /// Operations per second.
    OpsPerSecond,
    /// CPU time per operation, ns.
    CpuNsPerOp,
    /// Flushes per commit by the store's own count.
    FlushesPerCommit,
    /// Log writes per commit by the store's own count.
    WritesPerCommit,
    /// Flushes of the whole device per operation.
    DeviceFlushesPerOp,
    /// Page faults that waited for the device.
    MajorFaults,
    /// How often a read-modify-write ran again, in the mean.
    RetriesPerTransaction,
}

impl Metric {
    /// Percentiles of single operations, each with its metric.
    pub const PERCENTILES: [(f64, Self); 5] = [
        (50.0, Self::P50Ns),
        (90.0, Self::P90Ns),
        (99.0, Self::P99Ns),
        (99.9, Self::P999Ns),
        (99.99, Self::P9999Ns),
    ];

    /// The percentile that it is, if it is one.
    pub fn percentile(self) -> Option<f64> {
        Self::PERCENTILES.iter().find(|(_, metric)| *metric == self).map(|(percent, _)| *percent)
    }

    /// How many operations a round must time for it.
    pub fn samples_min(self) -> u64 {
        match self {
            Self::SlowestHundredthNs => samples_min(0.99),
            _ => self.percentile().map_or(0, |percent| samples_min(percent / 100.0)),
        }
    }

    /// The metric of one repetition.
    pub const fn of(self, repetition: &Repetition) -> Option<f64> {
        match self {
            Self::MeanNs => Some(repetition.mean_ns),
            Self::P50Ns => repetition.p50_ns,
            Self::P90Ns => repetition.p90_ns,
            Self::P99Ns => repetition.p99_ns,
            Self::P999Ns => repetition.p999_ns,
            Self::P9999Ns => repetition.p9999_ns,
            Self::SlowestHundredthNs => repetition.slowest_hundredth_ns,
            Self::MaxNs => repetition.max_ns,
            Self::OpsPerSecond => Some(repetition.ops_per_second),
            Self::CpuNsPerOp => Some(repetition.cpu_ns_per_op),
            Self::FlushesPerCommit => repetition.flushes_per_commit,
            Self::WritesPerCommit => repetition.writes_per_commit,
            Self::DeviceFlushesPerOp => repetition.device_flushes_per_op,
            Self::MajorFaults => Some(repetition.major_faults as f64),
            Self::RetriesPerTransaction => repetition.retries_per_transaction,
        }
    }

    /// The metric of all rounds together; `None` if it is no percentile.
    pub const fn merged(self, all: &Percentiles) -> Option<Option<f64>> {
        match self {
            Self::P50Ns => Some(all.p50_ns),
            Self::P90Ns => Some(all.p90_ns),
            Self::P99Ns => Some(all.p99_ns),
            Self::P999Ns => Some(all.p999_ns),
            Self::P9999Ns => Some(all.p9999_ns),
            Self::SlowestHundredthNs => Some(all.slowest_hundredth_ns),
            Self::MaxNs => Some(all.max_ns),
            _ => None,
        }
    }

    /// The name in tables and target files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MeanNs => "mean_ns",
            Self::P50Ns => "p50_ns",
            Self::P90Ns => "p90_ns",
            Self::P99Ns => "p99_ns",
            Self::P999Ns => "p999_ns",
            Self::P9999Ns => "p9999_ns",
            Self::SlowestHundredthNs => "slowest_hundredth_ns",
            Self::MaxNs => "max_ns",
            Self::OpsPerSecond => "ops_per_second",
            Self::CpuNsPerOp => "cpu_ns_per_op",
            Self::FlushesPerCommit => "flushes_per_commit",
            Self::WritesPerCommit => "writes_per_commit",
            Self::DeviceFlushesPerOp => "device_flushes_per_op",
            Self::MajorFaults => "major_faults",
            Self::RetriesPerTransaction => "retries_per_transaction",
        }
    }
}

impl RowResult {
    /// The metric of each round; `None` if any round has none.
    pub fn rounds(&self, metric: Metric) -> Option<Vec<f64>> {
        self.repetitions.iter().map(|repetition| metric.of(repetition)).collect()
    }

    /// The metric of the row: a percentile of all rounds together, or else the median over the
    /// rounds; `None` if any round has none.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        match self.merged.as_ref().and_then(|all| metric.merged(all)) {
            Some(percentile) => percentile,
            None => median(&self.rounds(metric)?),
        }
    }
}

/// The floor of a durable write: of the ways to make one durable, the one with the lower median.
pub fn write_floor(rows: &[RowResult]) -> Option<&RowResult> {
    let floors = [Row::WriteFdatasync, Row::WriteDsync];
    let floors = floors.into_iter().filter_map(|row| find(rows, row, Contender::Floor));
    let floors = floors.filter_map(|floor| Some((floor, floor.value(Metric::P50Ns)?)));
    floors.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(floor, _)| floor)
}

/// The row of a contender with the promise of `class`.
pub fn find_class(
    rows: &[RowResult],
    row: Row,
    contender: Contender,
    class: Class,
) -> Option<&RowResult> {
    let is_it = |result: &&RowResult| {
        (result.row, result.contender, result.class) == (row, contender, class)
    };
    rows.iter().find(is_it)
}

/// The first row of a contender, whatever it promises, if it was measured.
pub fn find(rows: &[RowResult], row: Row, contender: Contender) -> Option<&RowResult> {
    rows.iter().find(|result| result.row == row && result.contender == contender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        for row in Row::ALL {
            assert_eq!(serde_json::to_value(row).unwrap(), row.name());
            assert_eq!(Row::from_name(row.name()), Some(row));
        }
        assert_eq!(serde_json::to_value(Metric::P999Ns).unwrap(), Metric::P999Ns.name());
        assert_eq!(serde_json::to_value(Contender::Rocksdb).unwrap(), Contender::Rocksdb.name());
        for class in
            [Class::Sync, Class::Interval, Class::OsCache, Class::Read, Class::ReadSnapshot]
        {
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
        assert_eq!(serde_json::from_str::<Class>("\"interval\"").unwrap(), Class::Interval);
    }
}
