//! The outcome of a run as data: what is written as JSON and read back to draw the HTML again.
//!
//! The JSON is this structure, field by field. [`SCHEMA`] grows by one whenever a reader of the
//! previous version would misunderstand a file; a file of another schema is refused by name.

mod charts;
pub mod compare;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod measured;
pub mod page;
pub mod part_tables;
mod plot;
pub mod promises;
#[cfg(test)]
pub(crate) mod sample_report;
pub mod saved;
pub mod table;
pub mod text;
pub mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::judge::flushes::BrokenPromise;
use crate::judge::verdict::{Evidence, Judgement, Outcome};
use crate::measure::rows::{Metric, Row, RowResult, find};
use crate::measure::store::{Contender, StoreFacts};

/// Version of the JSON.
pub const SCHEMA: u32 = 2;
/// The oldest that is read. Before 2, verdicts had no intervals, and drift was judged.
const SCHEMA_OLDEST: u32 = 1;

/// How the run was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Seconds of each measurement.
    pub seconds: f64,
    /// Rounds.
    pub repetitions: u32,
    /// Records of the read workloads.
    pub records: u64,
    /// True for a quick run, which only shows that everything works.
    pub quick: bool,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this structure.
    pub schema: u32,
    /// How it was asked for.
    pub run: RunSpec,
    /// Start, seconds since 1970-01-01T00:00:00Z.
    pub started_unix_s: u64,
    /// Duration.
    pub elapsed_s: f64,
    /// The load is closed-loop: response time under a fixed rate is another question.
    pub arrival: String,
    /// Facts of the machine; a fact that cannot be found is "unknown".
    pub machine: BTreeMap<String, String>,
    /// The stores.
    pub stores: Vec<StoreFacts>,
    /// The measurements.
    pub rows: Vec<RowResult>,
    /// Stores that acknowledged durable writes without a flush. Absent in older reports.
    #[serde(default)]
    pub broken: Vec<BrokenPromise>,
    /// Share of all processors' time that others, the kernel too, used during the run, 0 to 1.
    pub others_cpu: Option<f64>,
    /// Things a reader must know.
    pub notes: Vec<String>,
    /// The targets and the outcome of each.
    pub judgements: Vec<Judgement>,
    /// The verdict.
    pub outcome: Outcome,
}

impl Report {
    /// The row of a contender, if it was measured.
    pub fn find(&self, row: Row, contender: Contender) -> Option<&RowResult> {
        find(&self.rows, row, contender)
    }

    /// What its judgements rest on.
    pub fn evidence(&self) -> Evidence<'_> {
        Evidence { rows: &self.rows, broken: &self.broken, others_cpu: self.others_cpu }
    }

    /// How far each floor moved during the run: the highest median of a round above the lowest,
    /// 0.15 for 15 %. A number that says how steady the device was, and decides nothing.
    pub fn floors_moved(&self) -> Vec<(Row, f64)> {
        let floors = self.rows.iter().filter(|result| result.row.is_floor());
        let moved = |floor: &RowResult| {
            let rounds = floor.rounds(Metric::P50Ns)?;
            let low = rounds.iter().copied().reduce(f64::min)?;
            let high = rounds.iter().copied().reduce(f64::max)?;
            Some((floor.row, high / low - 1.0))
        };
        floors.filter_map(moved).collect()
    }

    /// Writes the JSON.
    pub fn write_json(&self, path: &Path) -> Result<(), BenchError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| BenchError::at(path, "cannot encode", &error))?;
        fs::write(path, text + "\n").map_err(|error| BenchError::at(path, "cannot write", &error))
    }

    /// Reads a JSON file of this schema.
    pub fn read_json(path: &Path) -> Result<Self, BenchError> {
        let text = fs::read_to_string(path)
            .map_err(|error| BenchError::at(path, "cannot read", &error))?;
        Self::from_json(&text).map_err(|error| BenchError::at(path, "cannot use", &error))
    }

    /// Reads a JSON text of this schema.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !(SCHEMA_OLDEST..=SCHEMA).contains(&head.schema) {
            return Err(format!(
                "the file has schema {}, this program reads {SCHEMA_OLDEST} to {SCHEMA}",
                head.schema
            ));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::latencies::Percentiles;
    use crate::report::sample_report::sample_report;

    #[test]
    fn json_is_read_back_equal_and_other_schemas_are_refused() {
        let report = sample_report();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(Report::from_json(&text).unwrap(), report);
        let newer = text.replacen("\"schema\":2", "\"schema\":3", 1);
        assert!(Report::from_json(&newer).unwrap_err().contains("schema 3"));
        assert!(Report::from_json("{").is_err());
    }

    #[test]
    fn floors_move_from_their_lowest_round_to_their_highest() {
        let moved = sample_report().floors_moved();
        let [(Row::WriteFdatasync, moved)] = moved[..] else { panic!("{moved:?}") };
        assert!((moved - (122.0 / 118.0 - 1.0)).abs() < 1e-9, "{moved}");
    }

    #[test]
    fn a_median_needs_every_round_and_percentiles_are_of_all_together() {
        let report = sample_report();
        let mut row = report.find(Row::DurablePut1, Contender::Uarr).unwrap().clone();
        assert!(row.value(Metric::P50Ns).is_some());
        row.repetitions[1].p50_ns = None;
        assert_eq!(row.value(Metric::P50Ns), None);
        // Rounds with too few samples have enough together.
        row.merged = Some(Percentiles { p50_ns: Some(7.0), ..Percentiles::default() });
        assert_eq!(row.value(Metric::P50Ns), Some(7.0));
        assert_eq!(row.value(Metric::P99Ns), None);
        assert!(row.value(Metric::MeanNs).is_some());
    }
}
