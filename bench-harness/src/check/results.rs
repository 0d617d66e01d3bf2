//! Gathers the samples of a run, round by round, and turns them into rows.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::BenchError;
use crate::measure::rows::{Row, RowResult};
use crate::measure::sample::{Latencies, Percentiles, Repetition, Sample, curve, merge};
use crate::measure::store::{Class, Contender};
use crate::report::hgrm;

/// The samples so far.
#[derive(Default)]
pub struct Results {
    /// By place of the row, contender and name of the class.
    gathered: BTreeMap<(usize, Contender, &'static str), Gathered>,
}

struct Gathered {
    row: Row,
    class: Class,
    threads: u32,
    repetitions: Vec<Repetition>,
    latencies: Option<Latencies>,
}

impl Results {
    /// Adds one round. Percentiles come from `timed` where it is given, else from `whole`.
    pub fn add(
        &mut self,
        row: Row,
        contender: Contender,
        class: Class,
        whole: &Sample,
        timed: Option<&Sample>,
    ) {
        let place = Row::ALL.iter().position(|&other| other == row);
        let place = place.expect("every row is in Row::ALL");
        let gathered =
            self.gathered.entry((place, contender, class.name())).or_insert_with(|| Gathered {
                row,
                class,
                threads: whole.threads,
                repetitions: Vec::new(),
                latencies: None,
            });
        assert_eq!(gathered.threads, whole.threads);
        gathered.repetitions.push(Repetition::new(whole, timed));
        let Some(latencies) = &timed.unwrap_or(whole).latencies else { return };
        merge(&mut gathered.latencies, latencies);
    }

    /// Writes the latencies of each row to a file in `dir`.
    pub fn write_histograms(&self, dir: &Path) -> Result<(), BenchError> {
        for ((_, contender, class), gathered) in &self.gathered {
            let Some(latencies) = &gathered.latencies else { continue };
            hgrm::write(dir, &format!("{}.{contender}.{class}", gathered.row.name()), latencies)?;
        }
        Ok(())
    }

    /// The rows so far, in the order they are shown.
    pub fn rows(&self) -> Vec<RowResult> {
        let row = |(key, gathered): (&(usize, Contender, &str), &Gathered)| RowResult {
            row: gathered.row,
            contender: key.1,
            class: gathered.class,
            threads: gathered.threads,
            repetitions: gathered.repetitions.clone(),
            merged: gathered.latencies.as_ref().map(Percentiles::of),
            curve: gathered.latencies.as_ref().map(curve).unwrap_or_default(),
        };
        self.gathered.iter().map(row).collect()
    }
}
