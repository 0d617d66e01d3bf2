//! Gathers the samples of a run, round by round, and turns them into rows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use crate::error::BenchError;
use crate::measure::latencies::{Latencies, Percentiles, curve, merge};
use crate::measure::phases::PhaseLatencies;
use crate::measure::rows::{Row, RowResult};
use crate::measure::sample::{Repetition, Sample};
use crate::measure::store::{Class, Contender};
use crate::measure::timeline::Series;
use crate::report::hgrm;
use crate::report::hlog::Log;

/// The samples so far.
#[derive(Default)]
pub struct Results {
    /// By place of the row, contender and name of the class.
    gathered: BTreeMap<(usize, Contender, &'static str), Gathered>,
}

/// Samples of one round whose turns are shorter than it, joined by row and contender.
#[derive(Default)]
pub struct Joined {
    pub samples: BTreeMap<(Row, Contender), Sample>,
}

impl Joined {
    /// Adds a turn.
    pub fn add(&mut self, row: Row, contender: Contender, sample: Sample) {
        match self.samples.entry((row, contender)) {
            Entry::Vacant(first) => drop(first.insert(sample)),
            Entry::Occupied(mut before) => before.get_mut().join(sample),
        }
    }
}

struct Gathered {
    row: Row,
    class: Class,
    threads: u32,
    repetitions: Vec<Repetition>,
    latencies: Option<Latencies>,
    series: Series,
    phases: PhaseLatencies,
    log: Log,
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
                series: Series::default(),
                phases: PhaseLatencies::default(),
                log: Log::default(),
            });
        assert_eq!(gathered.threads, whole.threads);
        let round = gathered.repetitions.len() as u32;
        gathered.repetitions.push(Repetition::new(whole, timed));
        let timed = timed.unwrap_or(whole);
        let Some(latencies) = &timed.latencies else { return };
        merge(&mut gathered.latencies, latencies);
        gathered.series.add(round, &timed.slices, None);
        gathered.log.add(&timed.slices);
        timed.phases.iter().for_each(|phases| gathered.phases.merge(phases));
    }

    /// Writes the latencies of each row to a file in `dir`.
    pub fn write_histograms(&self, dir: &Path) -> Result<(), BenchError> {
        for ((_, contender, class), gathered) in &self.gathered {
            let Some(latencies) = &gathered.latencies else { continue };
            let name = format!("{}.{contender}.{class}", gathered.row.name());
            hgrm::write(dir, &name, latencies)?;
            gathered.log.write(dir, &name)?;
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
            series: gathered.series.clone(),
            phases: gathered.phases.results(),
        };
        self.gathered.iter().map(row).collect()
    }
}
