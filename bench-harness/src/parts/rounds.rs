//! Parts of a run in which contestants take turns, and the table of each.
//!
//! `check` shows how the engine does in the usual rows and judges it; `commit` and `read` look at
//! one path in parts, to show where its time goes when something is changed. Within a part the
//! contestants take turns in every round; ratios are formed within a round, medians over rounds.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::BenchError;
use crate::machine::{self, ProcessorTimes};
use crate::measure::rows::Metric;
use crate::measure::sample::{Repetition, Sample, median};
use crate::measure::store::StoreFacts;
use crate::progress::Progress;
use crate::report::RunSpec;
use crate::report::measured::{Line, Measured, MeasuredPart, SCHEMA, Size};
use crate::report::table::Table;
use crate::report::{text, words};

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

/// Measures the parts, in `folder`, with the stores of `stores`.
pub(crate) fn measure_all<P: Part>(
    options: &Options<P>,
    folder: &Path,
    stores: Vec<StoreFacts>,
    measure: impl Fn(P) -> Result<Vec<Line>, BenchError>,
) -> Result<Measured, BenchError> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = ProcessorTimes::now();
    let mut parts = Vec::new();
    for &part in &options.parts {
        let (name, title) = (part.name().to_owned(), part.title().to_owned());
        parts.push(MeasuredPart { name, title, metric: part.metric(), lines: measure(part)? });
    }
    let times = before.zip(ProcessorTimes::now());
    Ok(Measured {
        parts_schema: SCHEMA,
        run: RunSpec {
            seconds: options.duration.as_secs_f64(),
            repetitions: options.rounds,
            records: options.records,
            quick: false,
        },
        started_unix_s: started.as_secs(),
        machine: machine::facts(folder),
        stores,
        others_cpu: times.and_then(|(before, after)| after.others_since(before)),
        parts,
        sizes: Vec::new(),
    })
}

/// The tables of a run as text.
pub fn render(measured: &Measured) -> String {
    let mut text = String::new();
    for store in &measured.stores {
        text.push_str(&(text::store_line(store) + "\n"));
    }
    let run = &measured.run;
    let facts = ["file system", "mount options", "kernel", "cpu model", "log block"]
        .into_iter()
        .filter_map(|name| measured.machine.get(name).map(|value| format!("{name} {value}")));
    text.push_str(&format!(
        "{} rounds of {} s; 128-byte values; {}\n",
        run.repetitions,
        run.seconds,
        facts.collect::<Vec<_>>().join(", ")
    ));
    for part in &measured.parts {
        text.push_str(&format!("\n{}: {}\n\n", part.name, part.title));
        text.push_str(&table(part.metric, &part.lines).to_text());
    }
    if !measured.sizes.is_empty() {
        text.push_str("\nsizes: bytes on the disk\n\n");
        text.push_str(&size_table(measured).to_text());
    }
    text
}

fn size_table(measured: &Measured) -> Table {
    let row = |size: &Size| {
        let bytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        vec![
            size.contender.name().to_owned(),
            bytes(size.user_bytes),
            bytes(size.loaded_bytes),
            bytes(size.overwritten_bytes),
            bytes(size.fresh_bytes),
        ]
    };
    Table {
        head: vec!["", "keys and values", "loaded", "written twice", "one record, open"],
        left_count: 1,
        rows: measured.sizes.iter().map(row).collect(),
    }
}

/// A store or floor that takes part.
pub(crate) struct Contestant<'a> {
    name: String,
    /// Records that one operation writes or reads.
    records_per_op: u64,
    measure: Box<dyn FnMut(u32) -> Result<Sample, BenchError> + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(
        name: impl Into<String>,
        measure: impl FnMut(u32) -> Result<Sample, BenchError> + 'a,
    ) -> Self {
        Self { name: name.into(), records_per_op: 1, measure: Box::new(measure) }
    }

    pub fn of_batches(mut self, records: u64) -> Self {
        self.records_per_op = records;
        self
    }
}

pub(crate) fn sample_in_rounds(
    part: impl Part,
    rounds: u32,
    contestants: Vec<Contestant<'_>>,
) -> Result<Vec<Line>, BenchError> {
    let progress = Progress::new(u64::from(rounds) * contestants.len() as u64);
    progress.phase(part.name());
    let mut all: Vec<_> = contestants
        .into_iter()
        .map(|contestant| {
            let Contestant { name, records_per_op, measure } = contestant;
            let line = |name| Line { name, records_per_op, rounds: Vec::new() };
            let service = line(format!("{name}, service"));
            (measure, line(name), service)
        })
        .collect();
    for round in 0..rounds {
        for (measure, line, service) in &mut all {
            progress.now(format!("{}: {}, round {}", part.name(), line.name, round + 1));
            let mut sample = measure(round)?;
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
    let time = |metric| words::duration(line.median(metric));
    let both = line.of(metric).into_iter().zip(first.of(metric));
    let ratios: Vec<f64> = both.map(|(own, first)| own / first).collect();
    let low = ratios.iter().copied().reduce(f64::min);
    let high = ratios.iter().copied().reduce(f64::max);
    let per_second = line.median(Metric::OpsPerSecond);
    vec![
        line.name.clone(),
        per_second.map_or_else(|| "n/a".to_owned(), words::rate),
        time(Metric::P50Ns),
        time(Metric::P99Ns),
        time(Metric::P999Ns),
        time(Metric::MaxNs),
        time(Metric::CpuNsPerOp),
        words::count(line.median(Metric::FlushesPerCommit)),
        words::ratio(median(&ratios)),
        format!("{} .. {}", words::ratio(low), words::ratio(high)),
    ]
}
