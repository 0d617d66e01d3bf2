//! Parts of a run in which contestants take turns.
//!
//! `check` shows how the engine does in the usual rows and judges it; `commit` and `read` look at
//! one path in parts, to show where its time goes when something is changed. Within a part the
//! contestants take turns in every round, each round beginning with the next of them. Ratios are
//! formed within a round, between those that make one promise; medians over rounds.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::BenchError;
use crate::machine::{self, ProcessorTimes};
use crate::measure::latencies::{Latencies, Percentiles, curve, merge};
use crate::measure::phases::PhaseLatencies;
use crate::measure::rotation;
use crate::measure::rows::Metric;
use crate::measure::sample::{Repetition, Sample};
use crate::measure::store::{Class, StoreFacts};
use crate::progress::Progress;
use crate::report::RunSpec;
use crate::report::measured::{Line, Measured, MeasuredPart, SCHEMA};

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
    let spec = RunSpec {
        seconds: options.duration.as_secs_f64(),
        repetitions: options.rounds,
        records: options.records,
        quick: false,
    };
    let part = |&part: &P| {
        let (name, title) = (part.name().to_owned(), part.title().to_owned());
        let (lines, notes) = (measure(part)?, Vec::new());
        Ok(MeasuredPart { name, title, metric: part.metric(), lines, notes, recipe: None })
    };
    measure_run(spec, folder, stores, || options.parts.iter().map(part).collect())
}

/// Measures what `measure` does, and notes where and when.
pub(crate) fn measure_run(
    run: RunSpec,
    folder: &Path,
    stores: Vec<StoreFacts>,
    measure: impl FnOnce() -> Result<Vec<MeasuredPart>, BenchError>,
) -> Result<Measured, BenchError> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = ProcessorTimes::now();
    let parts = measure()?;
    let times = before.zip(ProcessorTimes::now());
    Ok(Measured {
        parts_schema: SCHEMA,
        run,
        started_unix_s: started.as_secs(),
        machine: machine::facts(folder),
        stores,
        others_cpu: times.and_then(|(before, after)| after.others_since(before)),
        parts,
        sizes: Vec::new(),
    })
}

/// A store or floor that takes part.
pub(crate) struct Contestant<'a> {
    name: String,
    /// What its writes promise; `None` of what is no store.
    class: Option<Class>,
    /// Records that one operation writes or reads.
    records_per_op: u64,
    /// See [`Line::ladder`].
    ladder: Option<String>,
    measure: Box<dyn FnMut(u32) -> Result<Sample, BenchError> + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(
        name: impl Into<String>,
        class: Option<Class>,
        measure: impl FnMut(u32) -> Result<Sample, BenchError> + 'a,
    ) -> Self {
        let (records_per_op, ladder, measure) = (1, None, Box::new(measure));
        Self { name: name.into(), class, records_per_op, ladder, measure }
    }

    /// One of several that differ in their load alone: they have `name` in common.
    pub fn on_ladder(mut self, name: impl Into<String>) -> Self {
        self.ladder = Some(name.into());
        self
    }

    pub fn of_batches(mut self, records: u64) -> Self {
        self.records_per_op = records;
        self
    }
}

/// Measures the contestants of the part `name` in rounds.
pub(crate) fn sample_in_rounds(
    name: &str,
    rounds: u32,
    contestants: Vec<Contestant<'_>>,
) -> Result<Vec<Line>, BenchError> {
    let progress = Progress::new(u64::from(rounds) * contestants.len() as u64);
    progress.phase(name);
    let mut all: Vec<_> = contestants
        .into_iter()
        .map(|contestant| {
            let Contestant { name, class, records_per_op, ladder, measure } = contestant;
            let gathered = |name, ladder: Option<String>| {
                let gathered = Gathered::new(name, class);
                Gathered { line: Line { records_per_op, ladder, ..gathered.line }, ..gathered }
            };
            let times = |kind| ladder.as_ref().map(|name| format!("{name}, {kind}"));
            let service = gathered(format!("{name}, service"), times("service"));
            let beside = Beside {
                readers: Gathered::new(format!("{name}, readers beside it"), Some(Class::Read)),
                transactions: Gathered::new(format!("{name}, transactions"), class),
            };
            (measure, gathered(name, ladder), service, beside)
        })
        .collect();
    let mut is_still = true;
    for round in 0..rounds {
        for place in rotation::order(all.len(), round) {
            let (measure, response, service, beside) = &mut all[place];
            progress.now(format!("{name}: {}, round {}", response.line.name, round + 1));
            is_still &= rotation::wait_until_still();
            let mut sample = measure(round)?;
            sample.readers.take().iter().for_each(|sample| beside.readers.add(sample));
            sample.take_modified().iter().for_each(|sample| beside.transactions.add(sample));
            response.add(&sample);
            if sample.service.is_some() {
                sample.latencies = sample.service.take();
                (sample.lag, sample.phases) = (None, None);
                sample.slices.clear();
                service.add(&sample);
            }
            progress.step();
        }
    }
    progress.finish();
    if !is_still {
        eprintln!("uarr-bench: {name}: a store worked on in the turn of another");
    }
    let lines = all.into_iter().flat_map(|(_, response, service, beside)| {
        let (mut line, service) = (response.into_line(), service.into_line());
        let is_paced = !service.rounds.is_empty();
        if is_paced {
            line.name.push_str(", response");
            line.ladder = line.ladder.map(|name| format!("{name}, response"));
        }
        let service = is_paced.then_some(service);
        let beside = [beside.transactions, beside.readers].map(Gathered::into_line);
        let are_there = beside.into_iter().filter(|line| !line.rounds.is_empty());
        [line].into_iter().chain(service).chain(are_there)
    });
    Ok(lines.collect())
}

/// What has lines of its own beside that of a contestant, if it is there.
struct Beside {
    readers: Gathered,
    /// They are part of the contestant's operations.
    transactions: Gathered,
}

/// The rounds of a line so far.
pub(crate) struct Gathered {
    line: Line,
    latencies: Option<Latencies>,
    lag: Option<Latencies>,
    phases: PhaseLatencies,
}

impl Gathered {
    pub fn new(name: String, class: Option<Class>) -> Self {
        let line = Line::new(name, class);
        Self { line, latencies: None, lag: None, phases: PhaseLatencies::default() }
    }

    pub fn add(&mut self, sample: &Sample) {
        let round = self.line.rounds.len() as u32;
        self.line.rounds.push(Repetition::new(sample, None));
        self.line.series.add(round, &sample.slices, sample.meanwhile.as_ref());
        sample.phases.iter().for_each(|phases| self.phases.merge(phases));
        sample.latencies.iter().for_each(|latencies| merge(&mut self.latencies, latencies));
        sample.lag.iter().for_each(|lag| merge(&mut self.lag, lag));
    }

    pub fn into_line(self) -> Line {
        let merged = self.latencies.as_ref().map(Percentiles::of);
        let curve = self.latencies.as_ref().map(curve).unwrap_or_default();
        let lag = self.lag.as_ref().map(Percentiles::of);
        Line { merged, curve, lag, phases: self.phases.results(), ..self.line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::latencies::latencies;
    use crate::measure::sample::Modified;
    use crate::report::part_tables::{render, table};

    fn sample(op_count: u64, ns: u64) -> Sample {
        let mut all = latencies();
        (0..op_count).for_each(|_| all.record(ns).unwrap());
        let latencies = Some(all);
        Sample { op_count, elapsed_ns: op_count * ns, threads: 1, latencies, ..Sample::default() }
    }

    #[test]
    fn the_text_says_which_lines_are_invalid() {
        let late = |round| {
            let mut paced = sample(2000, 90 + u64::from(round));
            paced.service = paced.latencies.clone();
            paced.lag = sample(2000, 10).latencies;
            Ok(paced)
        };
        let all = vec![Contestant::new("a", Some(Class::Sync), late)];
        let lines = sample_in_rounds("gets", 2, all).unwrap();
        let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["a, response", "a, service"]);
        let (title, metric, notes) = (String::new(), Metric::P99Ns, Vec::new());
        let mut measured = Measured {
            parts_schema: SCHEMA,
            run: RunSpec { seconds: 1.0, repetitions: 2, records: 1000, quick: false },
            started_unix_s: 7,
            machine: std::collections::BTreeMap::new(),
            stores: Vec::new(),
            others_cpu: None,
            parts: vec![MeasuredPart {
                name: "paced".to_owned(),
                title,
                metric,
                lines,
                notes,
                recipe: None,
            }],
            sizes: Vec::new(),
        };
        let told = "a, response: INVALID: generator late by 10.0 ns, response 91.0 ns (p99)\n";
        assert!(measured.is_invalid());
        assert!(render(&measured).contains(told), "{}", render(&measured));
        measured.parts[0].lines[0].lag = None;
        assert!(!measured.is_invalid() && !render(&measured).contains("INVALID"));
    }

    #[test]
    fn transactions_are_compared_with_each_other() {
        let transacting = |op_count, ns| {
            move |_| {
                let latencies = sample(op_count / 2, ns).latencies.unwrap();
                let (count, retry_count) = (op_count / 2, op_count / 4);
                let modified = Some(Modified { count, retry_count, latencies });
                Ok(Sample { modified, ..sample(op_count, ns) })
            }
        };
        let sync = Some(Class::Sync);
        let all = vec![
            Contestant::new("a", sync, transacting(400, 100)),
            Contestant::new("b", sync, transacting(400, 200)),
        ];
        let lines = sample_in_rounds("both", 2, all).unwrap();
        let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["a", "a, transactions", "b", "b, transactions"]);
        assert_eq!(lines[3].rounds[0].mean_ns, 200.0);
        let text = table(Metric::OpsPerSecond, &lines).to_text();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        let of = "b, transactions";
        assert!(line(of).contains("0.50x") && line(of).ends_with("0.50"), "{text}");
        assert!(line("b ").contains("0.50x") && line("b ").trim_end().ends_with('-'), "{text}");
    }

    #[test]
    fn each_round_begins_with_the_next_and_lines_keep_their_order() {
        let calls = std::cell::RefCell::new(Vec::new());
        let contestant = |name: &'static str, class, ns| {
            let calls = &calls;
            Contestant::new(name, class, move |round| {
                calls.borrow_mut().push(format!("{name}{round}"));
                Ok(sample(60, ns))
            })
        };
        let (interval, os_cache) = (Some(Class::Interval), Some(Class::OsCache));
        let all = vec![
            contestant("a", interval, 100),
            contestant("b", os_cache, 200),
            contestant("c", None, 50),
        ];
        let lines = sample_in_rounds("gets", 2, all).unwrap();
        assert_eq!(calls.into_inner(), ["a0", "b0", "c0", "b1", "c1", "a1"]);
        let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        // 60 operations a round have no p90; 120 have.
        assert_eq!(lines[0].rounds[0].p90_ns, None);
        assert!(lines[0].value(Metric::P90Ns).is_some());
        let text = table(Metric::P50Ns, &lines).to_text();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line("a").contains("interval-100ms") && line("a").contains("1.00x"), "{text}");
        assert!(line("b").contains("os-cache") && !line("b").contains("2.00x"), "{text}");
        assert!(line("c").contains("0.50x"), "{text}");
    }
}
