//! The commit path by itself: strategies, threads and tasks, rotation, memory-first writes, loads.
//!
//! `check` tells how the engine does in the usual rows and judges it; this tells where a commit's
//! time goes when something is changed. Within a part the contenders take turns in every round;
//! ratios are formed within a round, medians over rounds. What was written is read back before a
//! part ends.

mod parts;
mod tasks;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::check::RunFolder;
use crate::error::BenchError;
use crate::machine;
use crate::progress::Progress;
use crate::report::Metric;
use crate::sample::{Repetition, Sample, median};
use crate::text::{self, Table};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One thread with each commit strategy, beside the floor and the peers.
    Strategies,
    /// Many threads, and many tasks on two threads.
    Threads,
    /// Whether a new segment every second is felt.
    Rotation,
    /// Writes acknowledged in memory, one by one and in batches of 1000.
    Memory,
    /// Loading an empty store, in key order and not.
    Load,
}

impl Part {
    /// All of them, in order.
    pub const ALL: [Self; 5] =
        [Self::Strategies, Self::Threads, Self::Rotation, Self::Memory, Self::Load];

    /// The name of its option value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strategies => "strategies",
            Self::Threads => "threads",
            Self::Rotation => "rotation",
            Self::Memory => "memory",
            Self::Load => "load",
        }
    }

    /// The part with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Strategies => "durable puts of one thread; ratio: p50 against the first row",
            Self::Threads => "durable puts of many; ratio: puts per second against the first row",
            Self::Rotation => "a new segment every second; ratio: p99.9 against the first row",
            Self::Memory => "puts that are not waited for; ratio: per second against the first row",
            Self::Load => {
                "loading an empty store; ratio: records per second against the first row. uarr's are \
                 durable when the time ends, the peers' are in the page cache"
            }
        }
    }

    const fn metric(self) -> Metric {
        match self {
            Self::Strategies => Metric::P50Ns,
            Self::Rotation => Metric::P999Ns,
            Self::Threads | Self::Memory | Self::Load => Metric::OpsPerSecond,
        }
    }
}

/// How to run.
#[derive(Clone, Debug)]
pub struct CommitOptions {
    /// Where; must exist.
    pub dir: PathBuf,
    /// Length of each measurement.
    pub duration: Duration,
    /// How often each is repeated.
    pub rounds: u32,
    /// Records of loads, and most records of memory-first writes.
    pub records: u64,
    /// What is looked at.
    pub parts: Vec<Part>,
}

/// Measures the parts and returns their tables as text.
pub fn run(options: &CommitOptions) -> Result<String, BenchError> {
    let folder = RunFolder::create(&options.dir)?;
    let mut text = format!(
        "{} rounds of {:?}; 128-byte values; {}\n",
        options.rounds,
        options.duration,
        place(folder.path())
    );
    for &part in &options.parts {
        let lines = parts::measure(part, options, folder.path())?;
        text.push_str(&format!("\n{}: {}\n\n", part.name(), part.title()));
        text.push_str(&table(part, &lines).to_text());
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

/// One row: a contender, and what came of it in each round.
struct Line {
    name: String,
    /// Records that one operation writes.
    records_per_op: u64,
    rounds: Vec<Repetition>,
}

/// Somebody who takes part.
struct Contestant<'a> {
    name: String,
    records_per_op: u64,
    turn: Box<dyn FnMut(u32) -> Result<Sample, BenchError> + 'a>,
}

impl<'a> Contestant<'a> {
    fn new(
        name: impl Into<String>,
        turn: impl FnMut(u32) -> Result<Sample, BenchError> + 'a,
    ) -> Self {
        Self { name: name.into(), records_per_op: 1, turn: Box::new(turn) }
    }

    fn of_batches(mut self, records: u64) -> Self {
        self.records_per_op = records;
        self
    }
}

fn take_turns(
    part: Part,
    rounds: u32,
    contestants: Vec<Contestant<'_>>,
) -> Result<Vec<Line>, BenchError> {
    let progress = Progress::new(u64::from(rounds) * contestants.len() as u64);
    progress.phase(part.name());
    let mut all: Vec<_> = contestants
        .into_iter()
        .map(|contestant| {
            let Contestant { name, records_per_op, turn } = contestant;
            (turn, Line { name, records_per_op, rounds: Vec::new() })
        })
        .collect();
    for round in 0..rounds {
        for (turn, line) in &mut all {
            progress.now(format!("{}: {}, round {}", part.name(), line.name, round + 1));
            line.rounds.push(Repetition::new(&turn(round)?, None));
            progress.step();
        }
    }
    progress.finish();
    Ok(all.into_iter().map(|(_, line)| line).collect())
}

fn table(part: Part, lines: &[Line]) -> Table {
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
    let first = &lines[0];
    let rows = lines.iter().map(|line| row(part, line, first)).collect();
    Table { head, left_count: 1, rows }
}

fn row(part: Part, line: &Line, first: &Line) -> Vec<String> {
    let of = |line: &Line, metric: Metric| -> Vec<f64> {
        let scale = match metric {
            Metric::OpsPerSecond => line.records_per_op as f64,
            _ => 1.0,
        };
        line.rounds.iter().filter_map(|round| Some(metric.of(round)? * scale)).collect()
    };
    let time = |metric| text::duration(median(&of(line, metric)));
    let ratios: Vec<f64> = of(line, part.metric())
        .into_iter()
        .zip(of(first, part.metric()))
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

/// Removes a store's directory.
fn remove(path: &Path) -> Result<(), BenchError> {
    fs::remove_dir_all(path).map_err(|error| BenchError::at(path, "cannot remove", &error))
}
