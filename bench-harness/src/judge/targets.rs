//! Targets: bounds in a TOML file that the run is judged by.
//!
//! ```toml
//! schema = 1
//!
//! [noise]
//! floor_drift_max = 0.15          # above these the run is inconclusive
//! others_cpu_max = 0.25           # share of all processors that others may use
//!
//! [[target]]
//! id = "P1-floor"                 # shown in the verdict
//! row = "durable-put1"            # what is measured
//! metric = "p50_ns"
//! against = "floor:durable-write" # or "floor:ROW", "peer:rocksdb", "own:ROW"; absent: itself
//! at_most = 1.2                   # or at_least
//! ```
//! The engine's row is divided by the row it is compared with, round by round; both must make one
//! promise. `floor:durable-write` is the faster of the floors that make a write durable.
//! Everything unknown in the file is an error that names the line.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::error::BenchError;
use crate::measure::rows::{Metric, Row};
use crate::measure::store::Contender;

/// Version of the file.
const SCHEMA: u32 = 1;

/// A targets file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    schema: u32,
    /// When a run is too noisy to judge.
    #[serde(default)]
    pub noise: Noise,
    /// The targets in the order of the file.
    #[serde(default, rename = "target")]
    pub targets: Vec<Target>,
}

/// When a run is too noisy to judge.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noise {
    /// Largest relative change of a floor's median between start and end.
    pub floor_drift_max: f64,
    /// Largest share of the processors that others may use during the run, 0 to 1.
    pub others_cpu_max: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self { floor_drift_max: 0.15, others_cpu_max: 0.25 }
    }
}

/// One bound on one number of the engine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawTarget")]
pub struct Target {
    /// Its name in the verdict.
    pub id: String,
    /// The engine's row.
    pub row: Row,
    /// The number.
    pub metric: Metric,
    /// What it is divided by; `None` judges the number itself.
    pub against: Option<Against>,
    /// The bound.
    pub bound: Bound,
}

/// The row a target compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The faster of the floors that make a write durable.
    WriteFloor,
    /// This floor.
    Floor(Row),
    /// The same row of a peer.
    Peer(Contender),
    /// Another row of the engine.
    Own(Row),
}

/// The name of [`Against::WriteFloor`].
const WRITE_FLOOR: &str = "durable-write";

/// On which side the number must lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Passed at or below.
    AtMost(f64),
    /// Passed at or above.
    AtLeast(f64),
}

impl Bound {
    /// Whether `value` is on the right side.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    id: String,
    row: Row,
    metric: Metric,
    against: Option<String>,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

impl TryFrom<RawTarget> for Target {
    type Error = String;

    fn try_from(raw: RawTarget) -> Result<Self, String> {
        let bound = match (raw.at_most, raw.at_least) {
            (Some(bound), None) => Bound::AtMost(bound),
            (None, Some(bound)) => Bound::AtLeast(bound),
            _ => return Err(format!("target {:?} needs either at_most or at_least", raw.id)),
        };
        let (Bound::AtMost(number) | Bound::AtLeast(number)) = bound;
        if !number.is_finite() || number < 0.0 {
            return Err(format!("target {:?}: {number} is not a bound", raw.id));
        }
        if raw.row.is_floor() {
            return Err(format!("target {:?}: a floor cannot be judged", raw.id));
        }
        let against = match &raw.against {
            Some(text) => Some(against(text).map_err(|why| format!("target {:?}: {why}", raw.id))?),
            None => None,
        };
        Ok(Self { id: raw.id, row: raw.row, metric: raw.metric, against, bound })
    }
}

/// Reads `floor:durable-write`, `floor:ROW`, `peer:STORE` or `own:ROW`.
fn against(text: &str) -> Result<Against, String> {
    let unknown = || {
        format!(
            "against = {text:?} is none of floor:durable-write, floor:ROW, peer:rocksdb, \
             peer:sqlite, own:ROW"
        )
    };
    let (kind, name) = text.split_once(':').ok_or_else(unknown)?;
    match kind {
        "floor" if name == WRITE_FLOOR => Ok(Against::WriteFloor),
        "floor" => {
            let row = Row::from_name(name).filter(|row| row.is_floor()).ok_or_else(unknown)?;
            Ok(Against::Floor(row))
        }
        "peer" => {
            let peer = Contender::from_name(name).ok_or_else(unknown)?;
            if peer == Contender::Uarr || !Contender::STORES.contains(&peer) {
                return Err(unknown());
            }
            Ok(Against::Peer(peer))
        }
        "own" => {
            let row = Row::from_name(name).filter(|row| !row.is_floor()).ok_or_else(unknown)?;
            Ok(Against::Own(row))
        }
        _ => Err(unknown()),
    }
}

impl Targets {
    /// Reads and checks a targets file.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = fs::read_to_string(path)
            .map_err(|error| BenchError::at(path, "cannot read the targets", &error))?;
        Self::parse(&text).map_err(|error| BenchError::at(path, "bad targets file", &error))
    }

    /// Reads and checks the text of a targets file. The error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let targets: Self =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if targets.schema != SCHEMA {
            return Err(format!(
                "schema = {} is unknown, this program reads {SCHEMA}",
                targets.schema
            ));
        }
        if !(targets.noise.floor_drift_max > 0.0 && targets.noise.floor_drift_max.is_finite()) {
            return Err("noise.floor_drift_max must be above 0".to_owned());
        }
        if targets.noise.others_cpu_max.is_nan() || targets.noise.others_cpu_max < 0.0 {
            return Err("noise.others_cpu_max must not be below 0".to_owned());
        }
        Ok(targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(body: &str) -> String {
        format!("schema = 1\n\n[[target]]\nid = \"T\"\n{body}\n")
    }

    #[test]
    fn the_default_file_is_good() {
        let targets = Targets::parse(include_str!("../../targets/default.toml")).unwrap();
        assert!(targets.targets.len() >= 6);
        assert_eq!(targets.noise.floor_drift_max, 0.15);
    }

    #[test]
    fn each_kind_of_comparison_is_read() {
        let cases = [
            ("floor:durable-write", Against::WriteFloor),
            ("floor:write-fdatasync", Against::Floor(Row::WriteFdatasync)),
            ("peer:sqlite", Against::Peer(Contender::Sqlite)),
            ("own:durable-put1", Against::Own(Row::DurablePut1)),
        ];
        for (text, against) in cases {
            let text = target(&format!(
                "row = \"durable-put16\"\nmetric = \"ops_per_second\"\nagainst = \"{text}\"\n\
                 at_least = 2"
            ));
            let target = Targets::parse(&text).unwrap().targets.remove(0);
            assert_eq!(target.against, Some(against));
            assert_eq!(target.bound, Bound::AtLeast(2.0));
        }
    }

    #[test]
    fn errors_name_the_line_and_the_fault() {
        let row = "row = \"get\"\nmetric = \"mean_ns\"\n";
        let cases = [
            (target("row = \"nonsense\"\nmetric = \"p50_ns\"\nat_most = 1"), "line 5", "nonsense"),
            (target("row = \"get\"\nmetric = \"p51\"\nat_most = 1"), "line 6", "p51"),
            (target(row), "line 3", "either at_most or at_least"),
            (
                target(&format!("{row}at_most = 1\nat_least = 1")),
                "line 3",
                "either at_most or at_least",
            ),
            (target(&format!("{row}at_most = nan")), "line 3", "not a bound"),
            (target(&format!("{row}at_most = 1\nagainst = \"peer:uarr\"")), "line 3", "peer:uarr"),
            (target(&format!("{row}at_most = 1\nagainst = \"floor:get\"")), "line 3", "floor:get"),
            (target(&format!("{row}at_most = 1\ncolour = 3")), "line 8", "colour"),
            (
                target("row = \"read-direct\"\nmetric = \"mean_ns\"\nat_most = 1"),
                "line 3",
                "a floor",
            ),
            ("schema = 1\n[noise]\nfloor_drift_max = \"x\"".to_owned(), "line 3", "invalid type"),
            ("schema = 1\nx = ".to_owned(), "line 2", ""),
            ("schema = 7".to_owned(), "", "schema = 7"),
            ("".to_owned(), "line 1", "schema"),
            ("schema = 1\n[noise]\nfloor_drift_max = 0.0".to_owned(), "", "above 0"),
        ];
        for (text, line, fault) in cases {
            let error = Targets::parse(&text).unwrap_err();
            assert!(error.contains(line) && error.contains(fault), "{text}\ngave\n{error}");
        }
    }

    #[test]
    fn bounds_include_themselves() {
        assert!(Bound::AtMost(1.0).is_met(1.0) && !Bound::AtMost(1.0).is_met(1.01));
        assert!(Bound::AtLeast(1.0).is_met(1.0) && !Bound::AtLeast(1.0).is_met(0.99));
        assert!(!Bound::AtMost(1.0).is_met(f64::NAN));
    }
}
