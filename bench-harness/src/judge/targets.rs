//! Targets: bounds in a TOML file that the run is judged by.
//!
//! ```toml
//! schema = 2
//! confidence = 0.95          # of each finding; 0.5 to 0.999
//! close = 0.15               # of an interval that near its bound the median decides; 0 to 0.5
//!
//! [noise]
//! others_cpu_max = 0.25      # share of all processors; above it the report warns
//!
//! [[target]]
//! id = "P1-floor"            # shown in the verdict
//! row = "durable-put1"       # what is measured
//! percentile = 99.9          # 50, 90, 99, 99.9 or 99.99; or metric = "mean_ns" and the like
//! unit = "x-floor"           # of the bound: times the floor, see below
//! at_most = 1.2              # or at_least
//! ```
//!
//! | unit | the engine's number is |
//! |---|---|
//! | `absolute` | judged itself; times in ns |
//! | `x-floor` | divided by the row's floor, for durable puts the faster one |
//! | `x-floor:ROW` | divided by this floor |
//! | `x-peer:NAME` | divided by the same row of a peer, if both make one promise |
//! | `x-own:ROW` | divided by another row of the engine |
//!
//! Everything unknown in the file is an error that names the line.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::error::BenchError;
use crate::measure::rows::{Metric, Row};
use crate::measure::store::Contender;

/// Version of the file.
const SCHEMA: u32 = 2;

/// What every version of the file has.
#[derive(Deserialize)]
struct Head {
    schema: u32,
}

/// A targets file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    schema: u32,
    /// How sure each finding must be, 0.5 to 0.999: the chance that the interval around a median
    /// holds the true one.
    #[serde(default = "default_confidence")]
    pub confidence: f64,
    /// A number of which is known that it lies within this part of its bound is judged by its
    /// median, and called close. 0: none is.
    #[serde(default)]
    pub close: f64,
    /// When the report warns of other work on the machine.
    #[serde(default)]
    pub noise: Noise,
    /// The targets in the order of the file.
    #[serde(default, rename = "target")]
    pub targets: Vec<Target>,
}

const fn default_confidence() -> f64 {
    0.95
}

/// When the report warns of other work on the machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noise {
    /// Largest share of the processors that others may use during the run, 0 to 1.
    pub others_cpu_max: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self { others_cpu_max: 0.25 }
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

impl Target {
    /// Whether it takes a number of `contender` from `row`.
    fn asks_about(&self, row: Row, contender: Contender) -> bool {
        match (contender, self.against) {
            (Contender::Uarr, Some(Against::Own(own))) => row == self.row || row == own,
            (Contender::Uarr, _) => row == self.row,
            (Contender::Floor, Some(Against::WriteFloor)) => {
                matches!(row, Row::WriteFdatasync | Row::WriteDsync)
            }
            (Contender::Floor, Some(Against::Floor(floor))) => row == floor,
            (peer, Some(Against::Peer(asked))) => peer == asked && row == self.row,
            _ => false,
        }
    }
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

/// On which side the number must lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Passed at or below.
    AtMost(f64),
    /// Passed at or above.
    AtLeast(f64),
}

impl Bound {
    /// The bound itself.
    pub const fn number(self) -> f64 {
        let (Self::AtMost(number) | Self::AtLeast(number)) = self;
        number
    }

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
    metric: Option<Metric>,
    percentile: Option<f64>,
    unit: String,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

impl TryFrom<RawTarget> for Target {
    type Error = String;

    fn try_from(raw: RawTarget) -> Result<Self, String> {
        let blame = |why: String| format!("target {:?}: {why}", raw.id);
        if raw.row.is_floor() {
            return Err(blame("a floor cannot be judged".to_owned()));
        }
        let bound = raw.bound().map_err(blame)?;
        let metric = raw.metric().map_err(blame)?;
        let against = raw.against().map_err(blame)?;
        Ok(Self { id: raw.id, row: raw.row, metric, against, bound })
    }
}

impl RawTarget {
    fn bound(&self) -> Result<Bound, String> {
        let bound = match (self.at_most, self.at_least) {
            (Some(bound), None) => Bound::AtMost(bound),
            (None, Some(bound)) => Bound::AtLeast(bound),
            _ => return Err("needs either at_most or at_least".to_owned()),
        };
        let number = bound.number();
        if !number.is_finite() || number < 0.0 {
            return Err(format!("{number} is not a bound"));
        }
        Ok(bound)
    }

    fn metric(&self) -> Result<Metric, String> {
        let percentiles = Metric::PERCENTILES;
        match (self.metric, self.percentile) {
            (Some(metric), None) => match metric.percentile() {
                None => Ok(metric),
                Some(percent) => Err(format!("write percentile = {percent}, not a metric")),
            },
            (None, Some(asked)) => {
                let found = percentiles.iter().find(|(percent, _)| *percent == asked);
                let found = found.map(|(_, metric)| *metric);
                let all = percentiles.map(|(percent, _)| percent.to_string()).join(", ");
                found.ok_or_else(|| format!("percentile = {asked} is none of {all}"))
            }
            _ => Err("needs either percentile or metric".to_owned()),
        }
    }

    fn against(&self) -> Result<Option<Against>, String> {
        let unknown = || {
            format!(
                "unit = {:?} is none of absolute, x-floor, x-floor:ROW, x-peer:rocksdb, \
                 x-peer:sqlite, x-own:ROW",
                self.unit
            )
        };
        let row_named = |name| Row::from_name(name).ok_or_else(unknown);
        match self.unit.split_once(':') {
            None if self.unit == "absolute" => Ok(None),
            None if self.unit == "x-floor" => match (self.row, self.row.floor()) {
                (Row::DurablePut1 | Row::DurablePut16, _) => Ok(Some(Against::WriteFloor)),
                (_, Some(floor)) => Ok(Some(Against::Floor(floor))),
                (row, None) => Err(format!("{} has no floor of its own: name one", row.name())),
            },
            Some(("x-floor", name)) => match row_named(name)? {
                floor if floor.is_floor() => Ok(Some(Against::Floor(floor))),
                _ => Err(unknown()),
            },
            Some(("x-own", name)) => match row_named(name)? {
                floor if floor.is_floor() => Err(unknown()),
                row => Ok(Some(Against::Own(row))),
            },
            Some(("x-peer", name)) => match Contender::from_name(name).ok_or_else(unknown)? {
                Contender::Uarr => Err(unknown()),
                peer if Contender::STORES.contains(&peer) => Ok(Some(Against::Peer(peer))),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

/// The targets files that come with the program: name and text.
const PROFILES: [(&str, &str); 3] = [
    ("default", include_str!("../../targets/default.toml")),
    ("strict-nvme", include_str!("../../targets/strict-nvme.toml")),
    ("cloud-disk", include_str!("../../targets/cloud-disk.toml")),
];

impl Targets {
    /// The targets file of this name that comes with the program.
    pub fn profile(name: &str) -> Result<Self, String> {
        let found = PROFILES.iter().find(|(profile, _)| *profile == name);
        let (_, text) = found.ok_or_else(|| {
            format!("there is no such profile, only {}", PROFILES.map(|(name, _)| name).join(", "))
        })?;
        Self::parse(text)
    }

    /// How many operations a round of `row` must time for all of its percentiles that targets ask
    /// of `contender`; 0 if they ask for none.
    pub fn samples_min(&self, row: Row, contender: Contender) -> u64 {
        let asked = self.targets.iter().filter(|target| target.asks_about(row, contender));
        asked.map(|target| target.metric.samples_min()).max().unwrap_or(0)
    }

    /// Whether a target takes a number of `contender` from one of `rows`.
    pub fn ask_about(&self, rows: &[Row], contender: Contender) -> bool {
        let asks = |target: &Target| rows.iter().any(|&row| target.asks_about(row, contender));
        self.targets.iter().any(asks)
    }

    /// Reads and checks a targets file.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = fs::read_to_string(path)
            .map_err(|error| BenchError::at(path, "cannot read the targets", &error))?;
        Self::parse(&text).map_err(|error| BenchError::at(path, "bad targets file", &error))
    }

    /// Reads and checks the text of a targets file. The error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let told = |error: toml::de::Error| error.to_string().trim_end().to_owned();
        // First: a file of another version has other fields too.
        let Head { schema } = toml::from_str(text).map_err(told)?;
        if schema != SCHEMA {
            return Err(format!(
                "schema = {schema} is unknown, this program reads {SCHEMA}; \
                 bench-harness/targets/default.toml shows how a file looks"
            ));
        }
        let targets: Self = toml::from_str(text).map_err(told)?;
        if !(0.5..=0.999).contains(&targets.confidence) {
            return Err(format!("confidence = {} is not in 0.5 to 0.999", targets.confidence));
        }
        if !(0.0..=0.5).contains(&targets.close) {
            return Err(format!("close = {} is not in 0 to 0.5", targets.close));
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
        format!("schema = 2\n\n[[target]]\nid = \"T\"\n{body}\n")
    }

    #[test]
    fn the_profiles_are_good_and_judge_tails_as_well_as_medians() {
        for (name, _) in PROFILES {
            let targets = Targets::profile(name).unwrap().targets;
            assert!(targets.len() >= 6, "{name}");
            for metric in [Metric::P50Ns, Metric::P99Ns] {
                assert!(targets.iter().any(|target| target.metric == metric), "{name}");
            }
            let mut ids: Vec<_> = targets.iter().map(|target| target.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), targets.len(), "{name} uses an id twice");
        }
        assert!(Targets::profile("x").unwrap_err().contains("default, strict-nvme, cloud-disk"));
        assert_eq!(Targets::profile("default").unwrap().confidence, 0.95);
    }

    #[test]
    fn each_unit_is_read() {
        let cases = [
            ("absolute", "get", None),
            ("x-floor", "durable-put1", Some(Against::WriteFloor)),
            ("x-floor", "get", Some(Against::Floor(Row::ReadMapped))),
            ("x-floor:write-fdatasync", "get", Some(Against::Floor(Row::WriteFdatasync))),
            ("x-peer:sqlite", "get", Some(Against::Peer(Contender::Sqlite))),
            ("x-own:durable-put1", "durable-put16", Some(Against::Own(Row::DurablePut1))),
        ];
        for (unit, row, against) in cases {
            let text = target(&format!(
                "row = \"{row}\"\nmetric = \"ops_per_second\"\nunit = \"{unit}\"\nat_least = 2"
            ));
            let target = Targets::parse(&text).unwrap().targets.remove(0);
            assert_eq!(target.against, against, "{unit}");
            assert_eq!(target.bound, Bound::AtLeast(2.0));
        }
    }

    #[test]
    fn each_percentile_is_read_and_says_how_many_samples_it_needs() {
        for (percentile, metric, samples) in [
            ("50", Metric::P50Ns, 20),
            ("90.0", Metric::P90Ns, 100),
            ("99", Metric::P99Ns, 1000),
            ("99.9", Metric::P999Ns, 10_000),
            ("99.99", Metric::P9999Ns, 100_000),
        ] {
            let text = |unit: &str| {
                let row = "row = \"durable-put1\"\nat_most = 1";
                target(&format!("{row}\npercentile = {percentile}\nunit = \"{unit}\""))
            };
            let targets = Targets::parse(&text("x-floor")).unwrap();
            assert_eq!(targets.targets[0].metric, metric);
            let needed = |targets: &Targets, row, contender| targets.samples_min(row, contender);
            assert_eq!(needed(&targets, Row::DurablePut1, Contender::Uarr), samples);
            assert_eq!(needed(&targets, Row::WriteDsync, Contender::Floor), samples);
            assert_eq!(needed(&targets, Row::ReadDirect, Contender::Floor), 0);
            assert_eq!(needed(&targets, Row::DurablePut1, Contender::Rocksdb), 0);
            assert_eq!(needed(&targets, Row::Get, Contender::Uarr), 0);
            let targets = Targets::parse(&text("x-peer:rocksdb")).unwrap();
            assert_eq!(needed(&targets, Row::DurablePut1, Contender::Rocksdb), samples);
            assert_eq!(needed(&targets, Row::WriteDsync, Contender::Floor), 0);
            let rows = [Row::Get, Row::DurablePut1];
            let asked = Contender::STORES.map(|who| targets.ask_about(&rows, who));
            let expected =
                Contender::STORES.map(|who| [Contender::Uarr, Contender::Rocksdb].contains(&who));
            assert_eq!(asked, expected);
            assert!(!targets.ask_about(&[Row::Get], Contender::Uarr));
            let targets = Targets::parse(&text("x-own:get")).unwrap();
            assert_eq!(needed(&targets, Row::Get, Contender::Uarr), samples);
        }
    }

    #[test]
    fn errors_name_the_line_and_the_fault() {
        let row = "row = \"get\"\nmetric = \"mean_ns\"\nunit = \"absolute\"\n";
        let of = |unit: &str| {
            target(&format!("row = \"reopen\"\npercentile = 50\nat_most = 1\nunit = \"{unit}\""))
        };
        let percentile = |value: &str| {
            target(&format!("row = \"get\"\n{value}\nat_most = 1\nunit = \"absolute\""))
        };
        let cases = [
            (target("row = \"nonsense\"\nunit = \"absolute\"\nat_most = 1"), "line 5", "nonsense"),
            (percentile("metric = \"p51\""), "line 6", "p51"),
            (percentile("metric = \"p99_ns\""), "line 3", "write percentile = 99, not"),
            (percentile("percentile = 51"), "line 3", "none of 50, 90, 99, 99.9, 99.99"),
            (percentile("percentile = nan"), "line 3", "percentile = NaN"),
            (percentile(""), "line 3", "either percentile or metric"),
            (target(row), "line 3", "either at_most or at_least"),
            (target(&format!("{row}at_most = 1\nat_least = 1")), "line 3", "either at_most"),
            (target(&format!("{row}at_most = nan")), "line 3", "not a bound"),
            (of("x-peer:uarr"), "line 3", "x-peer:uarr"),
            (of("x-peer:floor"), "line 3", "x-peer:floor"),
            (of("x-floor:get"), "line 3", "x-floor:get"),
            (of("x-own:read-direct"), "line 3", "x-own:read-direct"),
            (of("x-floor"), "line 3", "reopen has no floor of its own"),
            (of("floor:write-dsync"), "line 3", "none of absolute"),
            (target(&format!("{row}at_most = 1\ncolour = 3")), "line 9", "colour"),
            (target("row = \"get\"\nat_most = 1"), "line 3", "unit"),
            (target(&row.replace("get", "read-direct")), "line 3", "a floor"),
            ("schema = 2\n[noise]\nothers_cpu_max = \"x\"".to_owned(), "line 3", "invalid type"),
            ("schema = 2\nx = ".to_owned(), "line 2", ""),
            ("schema = 1\n[noise]\nfloor_drift_max = 1".to_owned(), "", "schema = 1 is unknown"),
            ("".to_owned(), "line 1", "schema"),
            ("schema = 2\nconfidence = 1.0".to_owned(), "", "confidence = 1 is not in"),
            ("schema = 2\nclose = 0.6".to_owned(), "", "close = 0.6 is not in 0 to 0.5"),
            ("schema = 2\n[noise]\nothers_cpu_max = -1".to_owned(), "", "below 0"),
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
