//! What the parts of a run measured, as data: the JSON of `commit` and `read`.
//!
//! Like [`crate::report`], the JSON is this structure, field by field, and carries the facts of the
//! machine. [`SCHEMA`] grows by one whenever a reader of the previous version would misunderstand a
//! file; a file of another schema is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::measure::latencies::Percentiles;
use crate::measure::phases::Phase;
use crate::measure::rows::Metric;
use crate::measure::sample::{Repetition, median};
use crate::measure::store::{Class, Contender, StoreFacts};
use crate::measure::timeline::Series;
use crate::report::RunSpec;
use crate::report::words::duration;

/// Version of the JSON.
pub const SCHEMA: u32 = 1;

/// A run of `commit` or `read`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Version of this structure.
    pub parts_schema: u32,
    /// Seconds, rounds and records of the run.
    pub run: RunSpec,
    /// Start, seconds since 1970-01-01T00:00:00Z.
    pub started_unix_s: u64,
    /// Facts of the machine; a fact that cannot be found is "unknown".
    pub machine: BTreeMap<String, String>,
    /// The stores.
    pub stores: Vec<StoreFacts>,
    /// Share of all processors' time that others, the kernel too, used during the run, 0 to 1.
    pub others_cpu: Option<f64>,
    /// What was looked at.
    pub parts: Vec<MeasuredPart>,
    /// What the stores took on the disk, if that was asked for.
    pub sizes: Vec<Size>,
}

/// A part: contestants that took turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredPart {
    /// Its name, as on the command line.
    pub name: String,
    /// What its table shows, ratio included.
    pub title: String,
    /// What its ratios are of.
    pub metric: Metric,
    /// The contestants, in the order of their turns.
    pub lines: Vec<Line>,
    /// What follows from them. Absent in older files.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The text that repeats it, of a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
}

/// A contestant and its result in each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its name within the part.
    pub name: String,
    /// What its writes promise; `None` of what is no store. Absent in older files.
    #[serde(default)]
    pub class: Option<Class>,
    /// Records that one operation writes or reads.
    pub records_per_op: u64,
    /// The repetitions in the order of the rounds.
    pub rounds: Vec<Repetition>,
    /// Percentiles of all rounds together. Absent in older files.
    #[serde(default)]
    pub merged: Option<Percentiles>,
    /// At a fixed rate: how late the generator of the load itself was, all rounds together. Absent
    /// in older files.
    #[serde(default)]
    pub lag: Option<Percentiles>,
    /// Of lines that differ in their load alone, what they have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<String>,
    /// In a sweep, the value of what is varied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// The percentile curve over all rounds: (fraction of operations, ns). Absent in older files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
    /// Over time. Absent in older files.
    #[serde(default, skip_serializing_if = "Series::is_empty")]
    pub series: Series,
    /// What durable puts spent their time on; only of a store that says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
}

/// Largest part of a response at the 99th percentile that the generator's lag may be.
const LAG_PART_MAX: f64 = 0.1;

impl Line {
    /// A line without a round.
    pub const fn new(name: String, class: Option<Class>) -> Self {
        Self {
            name,
            class,
            records_per_op: 1,
            rounds: Vec::new(),
            merged: None,
            lag: None,
            ladder: None,
            setting: None,
            curve: Vec::new(),
            series: Series::EMPTY,
            phases: Vec::new(),
        }
    }

    /// Why its numbers are not the store's, if they are not: the generator of the load was late.
    pub fn invalid(&self) -> Option<String> {
        let lag = self.lag?.p99_ns?;
        let response = self.value(Metric::P99Ns)?;
        (lag > LAG_PART_MAX * response).then(|| {
            let [lag, response] = [lag, response].map(|ns| duration(Some(ns)));
            format!("INVALID: generator late by {lag}, response {response} (p99)")
        })
    }

    /// The metric in each round that has it; rates are of records, not of operations.
    pub fn of(&self, metric: Metric) -> Vec<f64> {
        let scale = match metric {
            Metric::OpsPerSecond => self.records_per_op as f64,
            _ => 1.0,
        };
        self.rounds.iter().filter_map(|round| Some(metric.of(round)? * scale)).collect()
    }

    /// The metric: a percentile of all rounds together, or else the median over the rounds; `None`
    /// if no round has it.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        match self.merged.as_ref().and_then(|all| metric.merged(all)) {
            Some(percentile) => percentile,
            None => median(&self.of(metric)),
        }
    }

    /// Whether the two may be divided: they make one promise, or one of them is no store.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.class == other.class || self.class.is_none() || other.class.is_none()
    }
}

/// What a closed store takes on the disk, in bytes that are allocated to its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Who.
    pub contender: Contender,
    /// Bytes of keys and values.
    pub user_bytes: u64,
    /// After they were loaded in random order.
    pub loaded_bytes: u64,
    /// After each was written a second time.
    pub overwritten_bytes: u64,
    /// A database with one record, while it is open.
    pub fresh_bytes: u64,
}

impl Measured {
    /// The contestant `name` of a part, if it took part.
    pub fn find(&self, part: &str, name: &str) -> Option<&Line> {
        let part = self.parts.iter().find(|other| other.name == part)?;
        part.lines.iter().find(|line| line.name == name)
    }

    /// Whether some line is no measurement of its store.
    pub fn is_invalid(&self) -> bool {
        let mut lines = self.parts.iter().flat_map(|part| &part.lines);
        lines.any(|line| line.invalid().is_some())
    }

    /// Writes the JSON.
    pub fn write_json(&self, path: &Path) -> Result<(), BenchError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| BenchError::at(path, "cannot encode", &error))?;
        fs::write(path, text + "\n").map_err(|error| BenchError::at(path, "cannot write", &error))
    }

    /// Reads a JSON text of this schema.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            parts_schema: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if head.parts_schema != SCHEMA {
            let found = head.parts_schema;
            return Err(format!(
                "the file has schema {found} of parts, this program reads {SCHEMA}"
            ));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_back_equal_and_other_schemas_are_refused() {
        let round = |rate| Repetition { ops_per_second: rate, ..Repetition::default() };
        let line = Line {
            records_per_op: 100,
            rounds: vec![round(3.0), round(1.0), round(2.0)],
            merged: Some(Percentiles { p50_ns: Some(5.0), ..Percentiles::default() }),
            ..Line::new("uarr".to_owned(), Some(Class::Interval))
        };
        assert_eq!(line.value(Metric::OpsPerSecond), Some(200.0));
        assert_eq!(line.value(Metric::P50Ns), Some(5.0));
        assert_eq!(line.value(Metric::P99Ns), None);
        let of_class = |class| Line { class, ..line.clone() };
        assert!(line.is_comparable(&of_class(Some(Class::Interval))));
        assert!(line.is_comparable(&of_class(None)));
        assert!(!line.is_comparable(&of_class(Some(Class::OsCache))));
        let measured = Measured {
            parts_schema: SCHEMA,
            run: RunSpec { seconds: 1.0, repetitions: 3, records: 1000, quick: false },
            started_unix_s: 7,
            machine: BTreeMap::new(),
            stores: Vec::new(),
            others_cpu: Some(0.25),
            parts: vec![MeasuredPart {
                name: "scans".to_owned(),
                title: "a title".to_owned(),
                metric: Metric::OpsPerSecond,
                lines: vec![line.clone()],
                notes: vec!["a note".to_owned()],
                recipe: None,
            }],
            sizes: Vec::new(),
        };
        assert_eq!(measured.find("scans", "uarr"), Some(&line));
        assert_eq!(measured.find("gets", "uarr"), None);
        let text = serde_json::to_string(&measured).unwrap();
        assert_eq!(Measured::from_json(&text).unwrap(), measured);
        assert!(!measured.is_invalid());
        let newer = text.replacen("\"parts_schema\":1", "\"parts_schema\":2", 1);
        assert!(Measured::from_json(&newer).unwrap_err().contains("schema 2 of parts"));
        assert!(Measured::from_json("{\"schema\":1}").is_err());
    }

    #[test]
    fn a_generator_that_is_late_makes_its_line_invalid() {
        let p99 = |ns| Some(Percentiles { p99_ns: Some(ns), ..Percentiles::default() });
        let line = |lag| Line {
            merged: p99(200e3),
            lag,
            ..Line::new("uarr, response".to_owned(), Some(Class::Sync))
        };
        assert_eq!(line(None).invalid(), None);
        assert_eq!(line(p99(20e3)).invalid(), None);
        let told = line(p99(21e3)).invalid();
        assert_eq!(
            told.as_deref(),
            Some("INVALID: generator late by 21.0 us, response 200 us (p99)")
        );
    }
}
