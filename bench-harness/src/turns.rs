//! Parts of a run in which contestants take turns, and the table that comes of each.
//!
//! `check` tells how the engine does in the usual rows and judges it; `commit` and `read` look at
//! one path in parts, to tell where its time goes when something is changed. Within a part the
//! contestants take turns in every round; ratios are formed within a round, medians over rounds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::BenchError;
use crate::machine;
use crate::progress::Progress;
use crate::report::Metric;
use crate::sample::{Repetition, Sample, median};
use crate::text::{self, Table};

/// What a part of a run looks at.
pub trait Part: Copy + 'static {
    /// All parts, in order.
    const ALL: &'static [Self];

    /// The name of its option value.
    fn name(self) -> &'static str;

    /// What its table says, ratio included.
    fn title(self) -> &'static str;

    /// What its ratios are of.
    fn metric(self) -> Metric;

    /// The part with this name.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|part| part.name() == name)
    }
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options<P> {
    /// Where; must exist.
    pub dir: PathBuf,
    /// Length of each measurement.
    pub duration: Duration,
    /// How often each is repeated.
    pub rounds: u32,
    /// Records of loaded stores and of loads, and most records of memory-first writes.
    pub records: u64,
    /// What is looked at.
    pub parts: Vec<P>,
}

/// Measures the parts, in `folder`, and returns their tables as text.
pub(crate) fn tables<P: Part>(
    options: &Options<P>,
    folder: &Path,
    measure: impl Fn(P) -> Result<Vec<Line>, BenchError>,
) -> Result<String, BenchError> {
    let mut text = format!(
        "{} rounds of {:?}; 128-byte values; {}\n",
        options.rounds,
        options.duration,
        place(folder)
    );
    for &part in &options.parts {
        let lines = measure(part)?;
        text.push_str(&format!("\n{}: {}\n\n", part.name(), part.title()));
        text.push_str(&table(part.metric(), &lines).to_text());
    }
    Ok(text)
}

fn place(dir: &Path) -> String {
    let facts = machine::facts(dir);
    let all: Vec<_> = ["file system", "mount options", "kernel", "cpu model", "log block"]
        .into_iter()
        .filter_map(|name| facts.get(name).map(|value| format!("{name} {value}")))
        .collect();
    all.join(", ")
}

/// One row: a contestant, and what came of it in each round.
pub(crate) struct Line {
    name: String,
    records_per_op: u64,
    rounds: Vec<Repetition>,
}

/// Somebody who takes part.
pub(crate) struct Contestant<'a> {
    name: String,
    /// Records that one operation writes or reads.
    records_per_op: u64,
    turn: Box<dyn FnMut(u32) -> Result<Sample, BenchError> + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(
        name: impl Into<String>,
        turn: impl FnMut(u32) -> Result<Sample, BenchError> + 'a,
    ) -> Self {
        Self { name: name.into(), records_per_op: 1, turn: Box::new(turn) }
    }

    pub fn of_batches(mut self, records: u64) -> Self {
        self.records_per_op = records;
        self
    }
}

pub(crate) fn take_turns(
    part: impl Part,
    rounds: u32,
    contestants: Vec<Contestant<'_>>,
) -> Result<Vec<Line>, BenchError> {
    let progress = Progress::new(u64::from(rounds) * contestants.len() as u64);
    progress.phase(part.name());
    let mut all: Vec<_> = contestants
        .into_iter()
        .map(|contestant| {
            let Contestant { name, records_per_op, turn } = contestant;
            let line = |name| Line { name, records_per_op, rounds: Vec::new() };
            let service = line(format!("{name}, service"));
            (turn, line(name), service)
        })
        .collect();
    for round in 0..rounds {
        for (turn, line, service) in &mut all {
            progress.now(format!("{}: {}, round {}", part.name(), line.name, round + 1));
            let mut sample = turn(round)?;
            line.rounds.push(Repetition::new(&sample, None));
            if sample.service.is_some() {
                sample.latencies = sample.service.take();
                service.rounds.push(Repetition::new(&sample, None));
            }
            progress.step();
        }
    }
    progress.finish();
    let lines = all.into_iter().flat_map(|(_, mut line, service)| {
        let is_paced = !service.rounds.is_empty();
        if is_paced {
            line.name.push_str(", response");
        }
        [Some(line), is_paced.then_some(service)].into_iter().flatten()
    });
    Ok(lines.collect())
}

fn table(metric: Metric, lines: &[Line]) -> Table {
    let head = vec![
        "",
        "per second",
        "p50",
        "p99",
        "p99.9",
        "max",
        "CPU/op",
        "flush/commit",
        "ratio",
        "rounds",
    ];
    let rows = lines.iter().map(|line| row(metric, line, &lines[0])).collect();
    Table { head, left_count: 1, rows }
}

fn row(metric: Metric, line: &Line, first: &Line) -> Vec<String> {
    let of = |line: &Line, metric: Metric| -> Vec<f64> {
        let scale = match metric {
            Metric::OpsPerSecond => line.records_per_op as f64,
            _ => 1.0,
        };
        line.rounds.iter().filter_map(|round| Some(metric.of(round)? * scale)).collect()
    };
    let time = |metric| text::duration(median(&of(line, metric)));
    let ratios: Vec<f64> = of(line, metric)
        .into_iter()
        .zip(of(first, metric))
        .map(|(own, first)| own / first)
        .collect();
    let low = ratios.iter().copied().reduce(f64::min);
    let high = ratios.iter().copied().reduce(f64::max);
    let per_second = median(&of(line, Metric::OpsPerSecond));
    vec![
        line.name.clone(),
        per_second.map_or_else(|| "n/a".to_owned(), text::rate),
        time(Metric::P50Ns),
        time(Metric::P99Ns),
        time(Metric::P999Ns),
        time(Metric::MaxNs),
        time(Metric::CpuNsPerOp),
        text::count(median(&of(line, Metric::FlushesPerCommit))),
        text::ratio(median(&ratios)),
        format!("{} .. {}", text::ratio(low), text::ratio(high)),
    ]
}
