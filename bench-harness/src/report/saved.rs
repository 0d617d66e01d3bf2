//! A saved report of either kind: of `check`, or of the parts of the other subcommands.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::BenchError;
use crate::measure::store::StoreFacts;
use crate::report::measured::Measured;
use crate::report::{Report, RunSpec};

/// A report.
pub enum Saved {
    /// Of `check`.
    Check(Box<Report>),
    /// Of the other subcommands.
    Parts(Box<Measured>),
}

impl Saved {
    /// Reads a JSON file of either kind.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = fs::read_to_string(path)
            .map_err(|error| BenchError::at(path, "cannot read", &error))?;
        Self::from_json(&text).map_err(|error| BenchError::at(path, "cannot use", &error))
    }

    /// Reads a JSON text of either kind.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let is_parts = serde_json::from_str::<serde_json::Value>(text)
            .map_err(|error| error.to_string())?
            .get("parts_schema")
            .is_some();
        Ok(if is_parts {
            Self::Parts(Box::new(Measured::from_json(text)?))
        } else {
            Self::Check(Box::new(Report::from_json(text)?))
        })
    }

    /// How the run was asked for.
    pub fn spec(&self) -> &RunSpec {
        match self {
            Self::Check(report) => &report.run,
            Self::Parts(measured) => &measured.run,
        }
    }

    /// Start, seconds since 1970.
    pub fn started_unix_s(&self) -> u64 {
        match self {
            Self::Check(report) => report.started_unix_s,
            Self::Parts(measured) => measured.started_unix_s,
        }
    }

    /// The stores.
    pub fn stores(&self) -> &[StoreFacts] {
        match self {
            Self::Check(report) => &report.stores,
            Self::Parts(measured) => &measured.stores,
        }
    }

    /// Facts of the machine.
    pub fn machine(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Check(report) => &report.machine,
            Self::Parts(measured) => &measured.machine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample_report::sample_report;

    #[test]
    fn reports_of_both_kinds_are_recognised() {
        let report = sample_report();
        let text = serde_json::to_string(&report).unwrap();
        assert!(matches!(Saved::from_json(&text).unwrap(), Saved::Check(_)));
        let measured = Measured {
            parts_schema: crate::report::measured::SCHEMA,
            run: report.run,
            started_unix_s: 7,
            machine: report.machine,
            stores: report.stores,
            others_cpu: None,
            parts: Vec::new(),
            sizes: Vec::new(),
        };
        let text = serde_json::to_string(&measured).unwrap();
        let saved = Saved::from_json(&text).unwrap();
        assert!(matches!(saved, Saved::Parts(_)));
        assert_eq!((saved.started_unix_s(), saved.spec().repetitions), (7, 9));
        assert!(Saved::from_json("[]").is_err());
    }
}
